//! A real Prometheus for a test, and its rule checker.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::{http, ports::free_port, process::Process};

/// `prometheus` on a port of its own; it ends with the test.
#[derive(Debug)]
pub struct Prometheus {
    process: Process,
    url: String,
}

impl Prometheus {
    /// Has it ask `targets` (`host:port`) every second, under the job `ringfort`, and judge the rules of a file. Its data goes to `dir`.
    ///
    /// # Errors
    /// If it is not ready within 30 s; `cargo xtask setup` installs it.
    pub async fn start(dir: &Path, targets: &[String], rules: &Path) -> Result<Self> {
        let mut config = format!(
            "global: {{ scrape_interval: 1s, evaluation_interval: 1s }}\nrule_files: [{rules:?}]\n\
             scrape_configs:\n  - job_name: ringfort\n    static_configs:\n      - targets:\n"
        );
        for target in targets {
            writeln!(config, "          - {target:?}")?;
        }
        let file = dir.join("prometheus.yml");
        std::fs::write(&file, config)?;
        let address = format!("127.0.0.1:{}", free_port());
        let mut command = Command::new("prometheus");
        command
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", dir.join("prometheus").display()))
            .arg(format!("--web.listen-address={address}"));
        let process = Process::start("prometheus", command, dir).context("prometheus; cargo xtask setup installs it")?;
        let started = Self {
            process,
            url: format!("http://{address}"),
        };
        let deadline = Instant::now() + Duration::from_secs(30);
        while !matches!(http::get(&format!("{}/-/ready", started.url)).await, Ok((200, _))) {
            ensure!(Instant::now() < deadline, "prometheus: {}", started.process.log_tail());
            sleep(Duration::from_millis(100)).await;
        }
        Ok(started)
    }

    /// The values that a query has now.
    ///
    /// # Errors
    /// If the query is wrong, or Prometheus does not answer.
    pub async fn query(&self, query: &str) -> Result<Vec<f64>> {
        let url = format!("{}/api/v1/query?query={}", self.url, escaped(query));
        let (status, body) = http::get(&url).await?;
        ensure!(status == 200, "{query}: {status}: {body}");
        let answer: Value = serde_json::from_str(&body).with_context(|| body.clone())?;
        let result = answer["data"]["result"].as_array().context("a vector")?;
        let value = |series: &Value| series["value"][1].as_str().and_then(|text| text.parse().ok());
        result
            .iter()
            .map(|series| value(series).with_context(|| format!("{query}: {series}")))
            .collect()
    }

    /// Name, health (`ok` if its expression can be judged) and state (`firing`, …) of each alert rule.
    ///
    /// # Errors
    /// If Prometheus does not answer.
    pub async fn alerts(&self) -> Result<Vec<[String; 3]>> {
        let answer = http::get_json(&format!("{}/api/v1/rules", self.url)).await?;
        let groups = answer["data"]["groups"].as_array().cloned().unwrap_or_default();
        let rules = groups
            .iter()
            .flat_map(|group| group["rules"].as_array().cloned().unwrap_or_default());
        let text = |rule: &Value, key: &str| rule[key].as_str().unwrap_or_default().to_owned();
        Ok(rules
            .map(|rule| [text(&rule, "name"), text(&rule, "health"), text(&rule, "state")])
            .collect())
    }
}

/// Runs `promtool` and gives what it said.
///
/// # Errors
/// If it cannot be started; `cargo xtask setup` installs it.
pub fn promtool(arguments: &[&str], input: Option<&PathBuf>) -> Result<Output> {
    let mut command = Command::new("promtool");
    command.args(arguments);
    if let Some(input) = input {
        command.stdin(std::fs::File::open(input)?);
    }
    command.output().context("promtool; cargo xtask setup installs it")
}

fn escaped(query: &str) -> String {
    let mut escaped = String::new();
    for byte in query.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'_' | b'.' | b'-' => escaped.push(byte.into()),
            // Writing to a text does not fail.
            _ => drop(write!(escaped, "%{byte:02X}")),
        }
    }
    escaped
}
