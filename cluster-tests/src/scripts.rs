//! Runs scripts of other people's WAMP clients with the Python and the Node.js packages that `cargo xtask test` has installed.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use tokio::{process::Command, time::timeout};

/// What a script printed and how it ended.
#[derive(Debug)]
pub struct Finished {
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// Whether its exit code was 0.
    pub success: bool,
}

/// The Python interpreter with the packages of `cluster-tests/clients/requirements.txt`: `RINGFORT_PYTHON`, else the virtual
/// environment in the target folder.
pub fn python() -> PathBuf {
    std::env::var_os("RINGFORT_PYTHON").map_or_else(|| crate::target_dir().join("python/bin/python"), PathBuf::from)
}

/// The folder that holds `node_modules` with the packages of `cluster-tests/clients/package.json`.
pub fn node_packages() -> PathBuf {
    std::env::var_os("RINGFORT_JS").map_or_else(|| crate::target_dir().join("js"), PathBuf::from)
}

/// Folder of the client scripts.
pub fn clients_dir() -> PathBuf {
    crate::workspace_root().join("cluster-tests/clients")
}

/// A command that runs a Python script.
///
/// # Errors
/// If the packages are not installed.
pub fn python_command(script: &Path) -> Result<Command> {
    let python = python();
    ensure!(python.is_file(), "{} is missing: run `cargo xtask setup`", python.display());
    let mut command = Command::new(python);
    command
        .arg(script)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("PYTHONUNBUFFERED", "1");
    Ok(command)
}

/// A command that runs a Node.js script with the installed packages in reach of `require`.
///
/// # Errors
/// If the packages are not installed.
pub fn node_command(script: &Path) -> Result<Command> {
    let modules = node_packages().join("node_modules");
    ensure!(modules.is_dir(), "{} is missing: run `cargo xtask setup`", modules.display());
    let mut command = Command::new("node");
    command.arg(script).env("NODE_PATH", modules);
    Ok(command)
}

/// Runs a command to its end and collects what it printed; it is killed when `patience` is over.
///
/// # Errors
/// If it cannot be started or does not end.
pub async fn run(mut command: Command, patience: Duration) -> Result<Finished> {
    let name = format!("{:?}", command.as_std());
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let output = timeout(patience, command.output())
        .await
        .with_context(|| format!("{name}: no end within {patience:?}"))?;
    let output = output.with_context(|| name.clone())?;
    Ok(Finished {
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        success: output.status.success(),
    })
}

impl Finished {
    /// The last line of standard output that is not empty.
    pub fn last_line(&self) -> &str {
        self.stdout
            .lines()
            .rev()
            .find(|line| !line.trim().is_empty())
            .unwrap_or_default()
    }

    /// Passes if the script succeeded, fails with all it printed otherwise.
    ///
    /// # Errors
    /// If its exit code was not 0.
    pub fn checked(self) -> Result<Self> {
        ensure!(
            self.success,
            "script failed\n--- stdout\n{}\n--- stderr\n{}",
            self.stdout,
            self.stderr
        );
        Ok(self)
    }
}
