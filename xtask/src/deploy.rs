//! The suites about deployment, which stand in `deploy/checks` as Python: the Helm chart, the Terraform modules, the images, and
//! the chart run as pods out of the image.
//!
//! Owns what they need: an environment of Python packages, and tools that `deploy/checks/fetch.py` gets by name, all under the target
//! folder and left alone once they are there.

use std::{path::PathBuf, process::Command};

use anyhow::Result;

use crate::{
    setup,
    shell::{must, program, root, target},
};

/// The suites, quick ones first.
pub(crate) const SUITES: [&str; 4] = ["terraform", "image", "pods", "charts"];

/// Installs what the suites need.
///
/// # Errors
/// If a package or a tool can neither be found nor installed.
pub(crate) fn setup() -> Result<()> {
    let checks = root().join("deploy/checks");
    setup::deploy_packages(&checks.join("requirements.txt"))?;
    must(python().arg(checks.join("fetch.py")))
}

/// One suite, to be run and its result lines added up.
pub(crate) fn suite(name: &str) -> Command {
    let release = target().join("release");
    let mut command = python();
    command
        .arg("-B")
        .arg(root().join(format!("deploy/checks/{name}.py")))
        .env("CARGO_TARGET_DIR", target())
        .env("HELM", tools().join("helm"))
        .env("RINGFORT_BIN", release.join("ringfort"))
        .env("RINGFORT_BENCH_BIN", release.join("ringfort-bench"))
        .env("RINGFORT_XTASK", std::env::current_exe().unwrap_or_default());
    command
}

/// Whether a suite runs the release binaries.
pub(crate) fn needs_build(suite: &str) -> bool {
    suite != "terraform"
}

fn python() -> Command {
    let mut command = program(&target().join("deploy/bin/python").to_string_lossy(), &[]);
    command.env("CARGO_TARGET_DIR", target()).env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

fn tools() -> PathBuf {
    target().join("deploy-tools")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_suite_is_there() {
        for name in SUITES {
            assert!(root().join(format!("deploy/checks/{name}.py")).is_file(), "{name}");
        }
    }
}
