//! Installs what the tests need beside Rust: a browser, Python and JavaScript clients, routers and servers to compare with.
//!
//! Debian packages come by name through `apt-get`, Python packages into virtual environments and JavaScript packages into a
//! folder, all under the target folder. What is there already is left alone. Crossbar is large and one suite wants it, so it is
//! installed for that suite only, in an environment of its own: it asks for older versions of what the client scripts use.

use std::{fs, path::Path};

use anyhow::{Context, Result, bail};

use crate::shell::{must, program, root, target};

/// Programs that must be found, and the Debian package that brings each.
const PROGRAMS: &[(&str, &str)] = &[
    ("cc", "gcc"),
    ("make", "make"),
    ("python3", "python3"),
    ("node", "nodejs"),
    ("npm", "npm"),
    ("chromium", "chromium"),
    ("nats-server", "nats-server"),
    ("redis-server", "redis-server"),
    ("prometheus", "prometheus"),
    ("promtool", "prometheus"),
    ("systemd-analyze", "systemd"),
    ("ip", "iproute2"),
    ("nft", "nftables"),
];

/// Whether Crossbar is wanted too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Crossbar {
    Wanted,
    NotWanted,
}

/// Installs everything that is missing.
///
/// # Errors
/// If something can neither be found nor installed; the text says what.
pub(crate) fn run(crossbar: Crossbar) -> Result<()> {
    system_packages(PROGRAMS)?;
    let clients = root().join("cluster-tests/clients");
    python_packages(&clients.join("requirements.txt"), "python").context("Python packages")?;
    if crossbar == Crossbar::Wanted {
        python_packages(&clients.join("crossbar-requirements.txt"), "crossbar").context("Crossbar")?;
    }
    javascript_packages().context("JavaScript packages")
}

fn found(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // `ip` and `nft` lie where a plain user's PATH does not look.
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    folders.into_iter().any(|folder| folder.join(name).is_file())
}

fn venv_works() -> bool {
    program("python3", &["-c", "import venv, ensurepip"])
        .status()
        .is_ok_and(|status| status.success())
}

/// Sees to it that each program is found, by its Debian package.
fn system_packages(programs: &[(&str, &'static str)]) -> Result<()> {
    let mut missing: Vec<&str> = programs
        .iter()
        .filter(|(name, _)| !found(name))
        .map(|(_, package)| *package)
        .collect();
    if found("python3") && !venv_works() {
        missing.push("python3-venv");
    }
    if missing.is_empty() {
        return Ok(());
    }
    if !found("apt-get") {
        bail!("please install: {} (there is no apt-get to do it with)", missing.join(", "));
    }
    println!("installing {}", missing.join(", "));
    let apt = |arguments: &[&str]| {
        let mut command = program("apt-get", arguments);
        command.env("DEBIAN_FRONTEND", "noninteractive");
        must(&mut command).with_context(|| format!("as root: apt-get install {}", missing.join(" ")))
    };
    apt(&["update", "-qq"])?;
    let mut install = vec!["install", "-y", "-qq", "--no-install-recommends"];
    install.extend(&missing);
    apt(&install)
}

/// Runs `install` unless `folder` holds what `list` names already.
fn once(list: &Path, folder: &Path, install: impl FnOnce() -> Result<()>) -> Result<()> {
    let wanted = fs::read(list).with_context(|| list.display().to_string())?;
    let stamp = folder.join("installed-from");
    if fs::read(&stamp).is_ok_and(|have| have == wanted) {
        return Ok(());
    }
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| folder.display().to_string())?;
    }
    fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    println!("installing {} into {}", list.display(), folder.display());
    install()?;
    fs::write(&stamp, wanted).with_context(|| stamp.display().to_string())
}

/// Installs what the checks of deployments need: some programs, and the packages that `list` names.
///
/// # Errors
/// If something can neither be found nor installed; the text says what.
pub(crate) fn deploy_packages(list: &Path) -> Result<()> {
    const NAMES: &[(&str, &str)] = &[
        ("python3", "python3"),
        ("npm", "npm"),
        ("strip", "binutils"),
        ("openssl", "openssl"),
        ("unshare", "util-linux"),
        ("ip", "iproute2"),
        ("curl", "curl"),
    ];
    system_packages(NAMES)?;
    python_packages(list, "deploy").context("Python packages")
}

/// Installs what `list` names into a virtual environment of its own in the target folder.
fn python_packages(list: &Path, folder: &str) -> Result<()> {
    let folder = target().join(folder);
    once(list, &folder, || {
        must(program("python3", &["-m", "venv"]).arg(&folder))?;
        let python = folder.join("bin/python");
        let pip = [
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--requirement",
        ];
        must(program(&python.to_string_lossy(), &pip).arg(list))
    })
}

fn javascript_packages() -> Result<()> {
    let (list, folder) = (root().join("cluster-tests/clients/package.json"), target().join("js"));
    once(&list, &folder, || {
        fs::copy(&list, folder.join("package.json")).with_context(|| list.display().to_string())?;
        // No lock file: it would name the registry it was made with. The list pins what matters, `overrides` included.
        let mut npm = program(
            "npm",
            &["install", "--no-audit", "--no-fund", "--no-package-lock", "--loglevel=error"],
        );
        must(npm.current_dir(&folder))
    })
}
