//! Several targets in interleaved rounds: how figures are taken that can be compared.
//!
//! On a shared machine the same load costs more at one minute than at another. So each round runs every target once, one after
//! another, and what counts is the median over the rounds, with minimum and maximum beside it, and the ratio to a reference
//! target within the same round. [`targets`] describes the file.

mod processes;
pub(crate) mod summary;
pub mod targets;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};
use tokio::process::Command;

use crate::{outcome::Outcome, progress::Progress, report};
use processes::Processes;
pub use summary::Summary;
use targets::{Target, Targets};

/// All results of a comparison.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Results {
    /// By target, in the order of the file: one outcome per round.
    pub targets: Vec<(String, Vec<Outcome>)>,
    /// By target: the name of the target it is compared with.
    pub against: BTreeMap<String, String>,
}

/// Runs the comparison that `file` describes; false if any run was wrong.
///
/// # Errors
/// When the file is not understood, a process does not start or a load cannot run.
pub async fn run(file: &Path, rounds: Option<u32>, json: Option<&Path>, html: Option<&Path>) -> Result<bool> {
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let targets = Targets::parse(&text).with_context(|| format!("{} is not understood", file.display()))?;
    let folder = std::env::temp_dir().join(format!("ringfort-bench-{}", std::process::id()));
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let results = run_rounds(&targets, rounds.unwrap_or(targets.rounds), &folder).await;
    // Left-overs in the folder for temporary files harm nobody.
    fs::remove_dir_all(&folder).ok();
    let results = results?;
    if let Some(json) = json {
        let text = serde_json::to_string_pretty(&results)?;
        fs::write(json, text).with_context(|| format!("cannot write {}", json.display()))?;
    }
    if let Some(html) = html {
        report::write(html, &report::comparison(&results))?;
    }
    println!("{}", Summary::of(&results));
    Ok(results
        .targets
        .iter()
        .flat_map(|(_, outcomes)| outcomes)
        .all(|outcome| outcome.passed))
}

async fn run_rounds(targets: &Targets, rounds: u32, folder: &Path) -> Result<Results> {
    let mut results = Results::default();
    for target in &targets.target {
        results.targets.push((target.name.clone(), Vec::new()));
        if let Some(against) = &target.against {
            results.against.insert(target.name.clone(), against.clone());
        }
    }
    let (all, mut progress) = (targets.target.len(), Progress::new());
    for round in 1..=rounds {
        for (index, target) in targets.target.iter().enumerate() {
            progress.show(&format!("round {round}/{rounds}  {}/{all}  {}", index + 1, target.name));
            let outcome = run_once(target, &targets.vars, folder)
                .await
                .with_context(|| format!("target {:?}", target.name))?;
            progress.erase();
            let cpu = outcome
                .router_cpu_us
                .map(|cpu| format!(", {cpu:.2} µs CPU"))
                .unwrap_or_default();
            let verdict = if outcome.passed { "" } else { " FAILED" };
            eprintln!(
                "round {round}/{rounds}  {:28} {:.0}/s{cpu}{verdict}",
                target.name, outcome.per_sec
            );
            results.targets[index].1.push(outcome);
        }
    }
    Ok(results)
}

/// Starts the target's processes, loads it, ends them.
async fn run_once(target: &Target, vars: &BTreeMap<String, String>, folder: &Path) -> Result<Outcome> {
    let tmp = folder.join("run");
    fs::create_dir(&tmp).with_context(|| format!("cannot make {}", tmp.display()))?;
    let loaded = async {
        let processes = Processes::start(target, vars, &tmp).await?;
        let loaded = load(target, &processes, folder).await;
        processes.stop().await;
        loaded
    };
    let loaded = loaded.await;
    let removed = fs::remove_dir_all(&tmp).with_context(|| format!("cannot remove {}", tmp.display()));
    let outcome = loaded?;
    removed?;
    Ok(outcome)
}

async fn load(target: &Target, processes: &Processes, folder: &Path) -> Result<Outcome> {
    let json: PathBuf = folder.join("outcome.json");
    // A result of an earlier run must not pass for this one's.
    fs::remove_file(&json).ok();
    let mut command = Command::new(std::env::current_exe().context("our own path is unknown")?);
    for argument in &target.run {
        command.arg(processes.fill(argument)?);
    }
    for pid in processes.pids(target)? {
        command.arg("--pid").arg(pid.to_string());
    }
    let output = command.arg("--json").arg(&json).kill_on_drop(true).output().await?;
    let Ok(text) = fs::read_to_string(&json) else {
        bail!("the load did not run: {}", String::from_utf8_lossy(&output.stderr).trim());
    };
    let outcome: Outcome = serde_json::from_str(&text)?;
    if !outcome.passed {
        // Below the line that is shown meanwhile.
        eprintln!("\n{outcome}");
    }
    Ok(outcome)
}
