//! `cargo xtask image`: container images out of release binaries, without a daemon and without a base image.
//!
//! An image holds the stripped program, the few system libraries it is linked with, names of users, the certificates the system
//! trusts, and its bill of materials; no shell, no package manager. It is an OCI image layout in a tar file, which `podman load`,
//! `docker load` and `skopeo copy oci-archive:` read. The same inputs give the same bytes: no clock enters, entries are sorted, and
//! every file belongs to root with the time 0.
//!
//! Start reading at [`run`]; [`tar`] writes archives, [`libraries`] finds what a program is linked with, [`sbom`] lists what is in it.

mod libraries;
mod sbom;
mod tar;

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};
use flate2::{Compression, GzBuilder};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::shell::{cargo, must, output_of, program, root, target};
use tar::{Archive, Entry};

/// The images: program, which is also the image's and the package's name, the bytes it may have unpacked, and whether it has a place
/// for data.
const IMAGES: [(&str, u64, bool); 2] = [("ringfort", 40_000_000, true), ("ringfort-bench", 40_000_000, false)];

/// The user that the program runs as. Charts name it by number, since Kubernetes cannot tell who a name is.
const USER: u32 = 65532;

/// Where the images go.
pub(crate) fn folder() -> PathBuf {
    target().join("images")
}

/// Packs all images from the programs in `from`, or from a release build that is made first.
///
/// # Errors
/// If a build, a tool or a file fails, or an image is too large.
pub(crate) fn run(from: Option<&Path>) -> Result<bool> {
    let programs = if let Some(folder) = from {
        folder.to_owned()
    } else {
        let packages = ["build", "--release", "--package", "ringfort", "--package", "ringfort-bench"];
        must(&mut cargo(&packages))?;
        target().join("release")
    };
    fs::create_dir_all(folder())?;
    for (name, bytes_max, data) in IMAGES {
        let image = pack(name, &programs.join(name), data)?;
        println!(
            "{}: {:.1} MB unpacked, {:.1} MB to pull, {}",
            image.file.display(),
            image.unpacked as f64 / 1e6,
            image.packed as f64 / 1e6,
            image.digest
        );
        ensure!(
            image.unpacked <= bytes_max,
            "{name}: {} bytes are more than {bytes_max}",
            image.unpacked
        );
    }
    Ok(true)
}

/// An image that was written.
struct Image {
    file: PathBuf,
    /// Digest of its manifest, by which it is pulled.
    digest: String,
    /// Bytes of its files.
    unpacked: u64,
    /// Bytes of its layers as they travel.
    packed: u64,
}

fn pack(name: &str, binary: &Path, data: bool) -> Result<Image> {
    let bare = stripped(name, binary)?;
    let sbom = serde_json::to_vec_pretty(&sbom::of(name, &libraries::of(binary)?)?)?;
    fs::write(folder().join(format!("{name}.cdx.json")), &sbom)?;

    let layers = [system(binary)?, own(name, &bare, sbom, data)?];
    let unpacked = layers.iter().flatten().map(|entry| entry.data.len() as u64).sum();
    let mut blobs = Vec::new();
    let mut described = Vec::new();
    let mut inside = Vec::new();
    for entries in layers {
        let plain = Archive::of(entries)?;
        inside.push(format!("sha256:{}", hex(&plain)));
        // No name and no time in the head of the stream.
        let mut packer = GzBuilder::new().mtime(0).write(Vec::new(), Compression::best());
        packer.write_all(&plain)?;
        let packed = packer.finish()?;
        described.push(descriptor("application/vnd.oci.image.layer.v1.tar+gzip", &packed));
        blobs.push(packed);
    }
    let packed = blobs.iter().map(|blob| blob.len() as u64).sum();
    let config = serde_json::to_vec(&config(name, &inside)?)?;
    let manifest = serde_json::to_vec(&json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
        "layers": described,
    }))?;
    let mut head = descriptor("application/vnd.oci.image.manifest.v1+json", &manifest);
    let digest = head["digest"].as_str().unwrap_or_default().to_owned();
    let version = env!("CARGO_PKG_VERSION");
    head["annotations"] = json!({ "org.opencontainers.image.ref.name": version, "io.containerd.image.name": format!("localhost/{name}:{version}") });
    head["platform"] = json!({ "architecture": architecture()?, "os": "linux" });
    let index = json!({ "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [head] });

    blobs.extend([config, manifest]);
    let mut entries = vec![
        Entry::file("oci-layout", 0o644, br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec()),
        Entry::file("index.json", 0o644, serde_json::to_vec(&index)?),
    ];
    for blob in blobs {
        entries.push(Entry::file(&format!("blobs/sha256/{}", hex(&blob)), 0o644, blob));
    }
    let file = folder().join(format!("{name}-{version}-linux-{}.tar", architecture()?));
    fs::write(&file, Archive::of(entries)?).with_context(|| file.display().to_string())?;
    Ok(Image {
        file,
        digest,
        unpacked,
        packed,
    })
}

/// The program without what debuggers want.
fn stripped(name: &str, binary: &Path) -> Result<Vec<u8>> {
    let bare = folder().join(format!("{name}.stripped"));
    let shown = bare.to_string_lossy();
    must(program("strip", &["--strip-all", "-o", &shown]).arg(binary)).context("strip comes with binutils")?;
    let bytes = fs::read(&bare)?;
    fs::remove_file(&bare)?;
    Ok(bytes)
}

/// The layer below: libraries and what they look for.
fn system(binary: &Path) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for library in libraries::of(binary)? {
        let bytes = fs::read(&library.path).with_context(|| library.path.display().to_string())?;
        entries.push(Entry::file(&library.path.to_string_lossy(), 0o755, bytes));
    }
    let users = format!("root:x:0:0:root:/:/none\nringfort:x:{USER}:{USER}:ringfort:/var/lib/ringfort:/none\n");
    entries.push(Entry::file("etc/passwd", 0o644, users.into_bytes()));
    entries.push(Entry::file(
        "etc/group",
        0o644,
        format!("root:x:0:\nringfort:x:{USER}:\n").into_bytes(),
    ));
    entries.push(Entry::file("etc/nsswitch.conf", 0o644, b"hosts: files dns\n".to_vec()));
    // Where runtimes mount what the kernel tells.
    entries.extend(["dev", "proc", "sys"].map(|path| Entry::folder(path, 0o755, 0)));
    // For rediss:// and for the client commands, which trust what the system trusts. A machine without them makes an image without.
    let trusted = Path::new("/etc/ssl/certs/ca-certificates.crt");
    if let Ok(bytes) = fs::read(trusted) {
        entries.push(Entry::file(&trusted.to_string_lossy(), 0o644, bytes));
    }
    Ok(entries)
}

/// The layer above: the program, its licence, what it is made of, and where its data go.
fn own(name: &str, bare: &[u8], sbom: Vec<u8>, data: bool) -> Result<Vec<Entry>> {
    let mut entries = vec![
        Entry::file(name, 0o755, bare.to_vec()),
        Entry::file(
            &format!("usr/share/doc/{name}/LICENSE"),
            0o644,
            fs::read(root().join("LICENSE"))?,
        ),
        Entry::file(&format!("usr/share/sbom/{name}.cdx.json"), 0o644, sbom),
    ];
    if data {
        entries.push(Entry::folder("var/lib/ringfort", 0o700, USER));
        entries.push(Entry::folder("etc/ringfort", 0o755, 0));
    }
    Ok(entries)
}

fn config(name: &str, layers: &[String]) -> Result<Value> {
    let mut inner = json!({
        "User": format!("{USER}:{USER}"),
        "Entrypoint": [format!("/{name}")],
        "WorkingDir": "/",
        "Labels": {
            "org.opencontainers.image.title": name,
            "org.opencontainers.image.version": env!("CARGO_PKG_VERSION"),
            "org.opencontainers.image.licenses": "Apache-2.0",
        },
    });
    if name == "ringfort" {
        inner["Cmd"] = json!(["serve", "--config", "/etc/ringfort/ringfort.toml"]);
        inner["StopSignal"] = json!("SIGTERM");
        inner["Volumes"] = json!({ "/var/lib/ringfort": {} });
    }
    Ok(json!({
        "architecture": architecture()?,
        "os": "linux",
        "config": inner,
        "rootfs": { "type": "layers", "diff_ids": layers },
    }))
}

fn architecture() -> Result<&'static str> {
    match std::env::consts::ARCH {
        "x86_64" => Ok("amd64"),
        "aarch64" => Ok("arm64"),
        other => bail!("images for {other} are not known"),
    }
}

fn descriptor(media_type: &str, bytes: &[u8]) -> Value {
    json!({ "mediaType": media_type, "digest": format!("sha256:{}", hex(bytes)), "size": bytes.len() })
}

/// SHA-256 as hex.
fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `cargo metadata` of the workspace.
fn metadata() -> Result<Value> {
    let text = output_of(&mut cargo(&["metadata", "--format-version", "1"]))?;
    serde_json::from_str(&text).context("cargo metadata")
}
