//! The result of a run over several workers.

use std::{fmt, fs, path::Path};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::{load::Latency, outcome::Outcome};

/// The outcome of all together, and what each contributed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SpreadOutcome {
    /// As for a run of one process; written as its fields.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// Operations whose latency was taken: those that began and ended at the same worker, since workers share no clock.
    pub latencies: u64,
    /// In the order of their numbers.
    pub workers: Vec<WorkerOutcome>,
}

/// What one worker contributed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkerOutcome {
    /// Where it listens.
    pub address: String,
    /// Callers or publishers there.
    pub senders: u32,
    /// Callees or subscribers there.
    pub receivers: u32,
    /// Operations it has measured.
    pub operations: u64,
    /// The same per second.
    pub per_sec: f64,
    /// Their latencies, as far as they were taken.
    pub latency: Latency,
    /// Its CPU time per operation in microseconds.
    pub client_cpu_us: f64,
}

impl SpreadOutcome {
    /// Writes the result as JSON.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save(&self, file: &Path) -> Result<()> {
        let mut text = serde_json::to_string_pretty(self)?;
        text.push('\n');
        fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
    }
}

impl fmt::Display for SpreadOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for worker in &self.workers {
            let latency = match worker.latency.max_us {
                0.0 => "no latencies".to_owned(),
                _ => format!("p50 {:.0} µs, p99 {:.0} µs", worker.latency.p50_us, worker.latency.p99_us),
            };
            writeln!(
                f,
                "worker {}: {} + {} sessions, {:.0}/s, {latency}, {:.2} µs CPU per operation",
                worker.address, worker.senders, worker.receivers, worker.per_sec, worker.client_cpu_us
            )?;
        }
        if self.latencies < self.outcome.operations {
            let (taken, all) = (self.latencies, self.outcome.operations);
            writeln!(
                f,
                "latencies of the {taken} of {all} operations that began and ended at one worker"
            )?;
        }
        self.outcome.fmt(f)
    }
}
