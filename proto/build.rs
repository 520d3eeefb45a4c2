//! Compiles the `.proto` files with protox, so that no `protoc` has to be installed.
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = [
        "ringfort/admin/v1/access.proto",
        "ringfort/admin/v1/apply.proto",
        "ringfort/admin/v1/backup.proto",
        "ringfort/admin/v1/cluster.proto",
        "ringfort/admin/v1/drain.proto",
        "ringfort/admin/v1/logs.proto",
        "ringfort/admin/v1/realms.proto",
        "ringfort/admin/v1/registrations.proto",
        "ringfort/admin/v1/sessions.proto",
        "ringfort/admin/v1/settings.proto",
        "ringfort/admin/v1/slow.proto",
        "ringfort/admin/v1/subscriptions.proto",
        "ringfort/admin/v1/tap.proto",
        "ringfort/bench/v1/bench.proto",
        "ringfort/cluster/v1/control.proto",
        "ringfort/cluster/v1/fellow.proto",
        "ringfort/cluster/v1/link.proto",
        "ringfort/cluster/v1/log.proto",
        "ringfort/cluster/v1/raft.proto",
    ];
    let descriptors = protox::compile(files, ["."])?;
    // What the admin port tells of its services.
    let admin = prost_types::FileDescriptorSet {
        file: descriptors
            .file
            .iter()
            .filter(|file| file.package().starts_with("ringfort.admin"))
            .cloned()
            .collect(),
    };
    let out = std::path::PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("admin_descriptors.bin"), prost::Message::encode_to_vec(&admin))?;
    tonic_prost_build::configure().bytes(".").compile_fds(descriptors)?;
    for file in files {
        println!("cargo:rerun-if-changed={file}");
    }
    Ok(())
}
