//! Worker processes of `ringfort-bench`, and the coordinator that steers them.

use std::{
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::{Instant, sleep, timeout};

use crate::process::{Process, bench_binary};

/// A worker process, and where it listens.
#[derive(Debug)]
pub struct Worker {
    /// The process.
    pub process: Process,
    /// Its `host:port`.
    pub address: String,
}

impl Worker {
    /// Starts one on a free port, with its output in `dir`.
    ///
    /// # Errors
    /// If it does not listen within 20 s.
    pub async fn start(dir: &TempDir, name: &str) -> Result<Self> {
        let mut command = Command::new(bench_binary());
        command
            .args(["worker", "--listen", "127.0.0.1:0"])
            .env("RINGFORT_BENCH_TOKEN", TOKEN);
        let process = Process::start(name, command, dir.path())?;
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let said = process.stdout();
            if let Some((address, _)) = said.strip_prefix("worker listens on ").and_then(|rest| rest.split_once('\n')) {
                let address = address.to_owned();
                return Ok(Self { process, address });
            }
            ensure!(Instant::now() < deadline, "{name} does not listen: {}", process.log_tail());
            sleep(Duration::from_millis(10)).await;
        }
    }
}

const TOKEN: &str = "only-for-this-test";

/// A run that has ended.
#[derive(Debug)]
pub struct Coordinated {
    /// The coordinator's exit code.
    pub code: Option<i32>,
    /// What it printed.
    pub said: String,
    /// The result, if it wrote one.
    pub outcome: Option<Value>,
    /// The page, if it wrote one.
    pub page: Option<String>,
}

/// Runs `plan` (TOML) on `workers`.
///
/// # Errors
/// If the coordinator does not end within two minutes, or writes what is no JSON.
pub async fn coordinate(dir: &TempDir, name: &str, workers: &[&Worker], plan: &str) -> Result<Coordinated> {
    let [file, json, html] = ["toml", "json", "html"].map(|kind| dir.path().join(format!("{name}.{kind}")));
    std::fs::write(&file, plan)?;
    let addresses: Vec<&str> = workers.iter().map(|worker| worker.address.as_str()).collect();
    let mut command = tokio::process::Command::new(bench_binary());
    command
        .arg("coordinate")
        .arg(&file)
        .arg("--json")
        .arg(&json)
        .arg("--html")
        .arg(&html);
    command
        .args(["--workers", &addresses.join(",")])
        .env("RINGFORT_BENCH_TOKEN", TOKEN)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let output = timeout(Duration::from_secs(120), command.output())
        .await
        .with_context(|| format!("{name}: no end"))??;
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    println!("--- {name}\n{said}");
    let outcome = std::fs::read_to_string(&json).ok().map(|text| serde_json::from_str(&text));
    Ok(Coordinated {
        code: output.status.code(),
        said,
        outcome: outcome.transpose()?,
        page: std::fs::read_to_string(&html).ok(),
    })
}
