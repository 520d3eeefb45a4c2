//! Compiles the `.proto` files with protox, so that no `protoc` has to be installed.
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = [
        "ringfort/admin/v1/access.proto",
        "ringfort/admin/v1/logs.proto",
        "ringfort/bench/v1/bench.proto",
        "ringfort/cluster/v1/control.proto",
        "ringfort/cluster/v1/link.proto",
        "ringfort/cluster/v1/log.proto",
        "ringfort/cluster/v1/raft.proto",
    ];
    let descriptors = protox::compile(files, ["."])?;
    tonic_prost_build::configure().bytes(".").compile_fds(descriptors)?;
    for file in files {
        println!("cargo:rerun-if-changed={file}");
    }
    Ok(())
}
