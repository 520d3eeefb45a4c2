//! The result of a run, as JSON and as a table.

use std::{fmt, fs, path::Path};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::{
    history,
    load::{Detail, Latency, Measured, Pace, series::Trace},
    usage::Usage,
};

/// One run: what was asked, what was measured, and whether it counts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// The load as it was asked for.
    pub load: Load,
    /// Length of the measurement in seconds.
    pub secs: f64,
    /// Operations measured: answered calls, deliveries of events, in a soak both; sessions joined, cycles, registrations.
    pub operations: u64,
    /// Operations per second.
    pub per_sec: f64,
    /// Their latencies.
    pub latency: Latency,
    /// CPU time of all router processes per operation in microseconds; absent when no process was named.
    pub router_cpu_us: Option<f64>,
    /// Each router process: CPU time during the measurement, memory at its end.
    pub routers: Vec<Router>,
    /// CPU time of the load client per operation in microseconds.
    pub client_cpu_us: f64,
    /// The verdict of the history checker over the whole run.
    pub history: history::Report,
    /// The first error that was answered, if any.
    pub first_failure: Option<String>,
    /// The run over time, the curve of latencies, and the errors by URI.
    #[serde(flatten)]
    pub trace: Trace,
    /// What only this scenario measures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<Detail>,
    /// True if nothing was lost, doubled, reordered or refused, and no limit was broken; figures of other runs do not count.
    pub passed: bool,
}

/// The load of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Load {
    /// `rpc`, `pubsub`, `idle`, `churn-connect`, `churn-cycle`, `register`, `storm` or `soak`.
    pub scenario: String,
    /// Where, the callees' or subscribers' addresses last.
    pub urls: Vec<String>,
    /// The serializer, where there is one.
    pub serializer: Option<String>,
    /// Callers, publishers, lanes of churn or sessions.
    pub senders: u32,
    /// Callees or subscribers; 0 where there are none.
    pub receivers: u32,
    /// Messages each sender keeps under way; 0 where it sends none.
    pub window: u32,
    /// Bytes of payload.
    pub payload: usize,
    /// Messages per second asked for; absent in a closed loop. Latencies count from the instant a message was due.
    pub rate: Option<f64>,
}

/// One router process (with its children).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Router {
    /// Process id.
    pub pid: u32,
    /// What it used.
    #[serde(flatten)]
    pub usage: Usage,
}

impl Outcome {
    /// Puts the result of a run together.
    pub fn new(load: Load, measured: Measured) -> Self {
        let secs = measured.elapsed.as_secs_f64();
        let per = |us: u64| us as f64 / measured.operations.max(1) as f64;
        let cpu: u64 = measured.routers.values().map(|usage| usage.cpu_us).sum();
        Self {
            load,
            secs,
            operations: measured.operations,
            per_sec: measured.operations as f64 / secs,
            latency: measured.latency,
            router_cpu_us: (!measured.routers.is_empty()).then(|| per(cpu)),
            routers: measured
                .routers
                .into_iter()
                .map(|(pid, usage)| Router { pid, usage })
                .collect(),
            client_cpu_us: per(measured.client_cpu_us),
            passed: measured.history.is_clean() && measured.history.failed == 0 && measured.operations > 0,
            history: measured.history,
            first_failure: measured.first_failure,
            trace: measured.trace,
            detail: None,
        }
    }

    /// Adds what only this scenario measures; its complaints make the run a failure.
    pub fn with_detail(mut self, detail: Detail) -> Self {
        self.passed &= detail.complaints().is_empty();
        self.detail = Some(detail);
        self
    }

    /// What the run cost: the router's CPU time per operation, or what the scenario is about instead. Equal scenarios compare.
    pub fn cost(&self) -> Option<f64> {
        self.detail.as_ref().and_then(Detail::cost).or(self.router_cpu_us)
    }

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

impl Load {
    /// The rate as a [`Pace`] reads in a result.
    pub fn rate_of(pace: Pace) -> Option<f64> {
        match pace {
            Pace::Closed => None,
            Pace::Rate(rate) => Some(rate),
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { load, latency, .. } = self;
        let (senders, receivers, unit) = match load.scenario.as_str() {
            "rpc" | "storm" => ("callers", "callees", "calls"),
            "soak" => ("callers and publishers", "callees and subscribers", "messages"),
            "idle" => ("sessions", "", "joins"),
            "churn-connect" | "churn-cycle" => ("lanes", "", "cycles"),
            "register" => ("sessions", "", "registrations"),
            _ => ("publishers", "subscribers", "deliveries"),
        };
        let pace = match load.rate {
            None => format!("window {}", load.window),
            Some(rate) => format!("{rate} messages/s"),
        };
        let serializer = load.serializer.as_deref().map(|name| format!(", {name}")).unwrap_or_default();
        writeln!(f, "{} {}{serializer}", load.scenario, load.urls.join(" → "))?;
        write!(f, "  load        {} {senders}", load.senders)?;
        if load.receivers > 0 {
            write!(f, ", {} {receivers}", load.receivers)?;
        }
        if load.window > 0 {
            write!(f, ", {pace}")?;
        }
        if load.payload > 0 {
            write!(f, ", {} B", load.payload)?;
        }
        writeln!(f)?;
        writeln!(
            f,
            "  throughput  {:.0} {unit}/s ({} in {:.2} s)",
            self.per_sec, self.operations, self.secs
        )?;
        let basis = if load.rate.is_some() {
            "from the instant due"
        } else {
            "closed loop"
        };
        writeln!(
            f,
            "  latency     p50 {:.0} µs, p99 {:.0} µs, p99.9 {:.0} µs, max {:.0} µs ({basis})",
            latency.p50_us, latency.p99_us, latency.p999_us, latency.max_us
        )?;
        if let Some(cpu) = self.router_cpu_us {
            writeln!(
                f,
                "  router CPU  {cpu:.2} µs per operation, over {} process(es)",
                self.routers.len()
            )?;
        }
        for Router { pid, usage } in &self.routers {
            let (cpu, rss, pss) = (usage.cpu_us / 1000, usage.rss_kib, usage.pss_kib);
            writeln!(f, "    pid {pid}: {cpu} ms CPU, {rss} KiB RSS, {pss} KiB PSS")?;
        }
        writeln!(f, "  client CPU  {:.2} µs per operation", self.client_cpu_us)?;
        if let Some(detail) = &self.detail {
            detail.fmt(f)?;
        }
        // Scenarios about connections send nothing that has a history.
        if self.history != history::Report::default() {
            writeln!(f, "  history     {}", self.history)?;
        }
        if let Some(failure) = &self.first_failure {
            writeln!(f, "  first error {failure}")?;
        }
        if !self.trace.errors.is_empty() {
            let errors: Vec<_> = self
                .trace
                .errors
                .iter()
                .map(|(uri, count)| format!("{uri} × {count}"))
                .collect();
            writeln!(f, "  errors      {}", errors.join(", "))?;
        }
        write!(f, "  {}", if self.passed { "passed" } else { "FAILED" })
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, time::Duration};

    use super::*;

    fn measured() -> Measured {
        let usage = |cpu_us| Usage {
            cpu_us,
            rss_kib: 2048,
            pss_kib: 1024,
        };
        Measured {
            elapsed: Duration::from_secs(2),
            operations: 100_000,
            latency: Latency {
                p50_us: 10.0,
                p99_us: 20.0,
                p999_us: 30.0,
                max_us: 40.0,
                mean_us: 11.0,
            },
            routers: BTreeMap::from([(11, usage(300_000)), (12, usage(200_000))]),
            client_cpu_us: 400_000,
            history: history::Report {
                sent: 120_000,
                delivered: 120_000,
                answered: 120_000,
                ..Default::default()
            },
            first_failure: None,
            histogram: hdrhistogram::Histogram::new(3).unwrap(),
            trace: Trace::default(),
        }
    }

    fn load() -> Load {
        Load {
            scenario: "rpc".into(),
            urls: vec!["ws://a".into()],
            serializer: Some("msgpack".into()),
            senders: 16,
            receivers: 1,
            window: 8,
            payload: 64,
            rate: None,
        }
    }

    #[test]
    fn cost_is_summed_over_nodes_and_divided_by_operations() {
        let outcome = Outcome::new(load(), measured());
        assert_eq!(
            (outcome.router_cpu_us, outcome.client_cpu_us, outcome.per_sec),
            (Some(5.0), 4.0, 50_000.0)
        );
        assert!(outcome.passed);
        let text = outcome.to_string();
        assert!(text.contains("router CPU  5.00 µs") && text.ends_with("passed"), "{text}");
    }

    #[test]
    fn the_result_reads_back_from_its_file() {
        let outcome = Outcome::new(load(), measured());
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("r.json");
        outcome.save(&file).unwrap();
        let text = fs::read_to_string(&file).unwrap();
        assert_eq!(serde_json::from_str::<Outcome>(&text).unwrap(), outcome);
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["routers"][1]["cpu_us"], 200_000);
        assert_eq!(value["history"]["lost"], 0);
    }

    #[test]
    fn violations_errors_and_empty_runs_fail() {
        let mut lost = measured();
        lost.history.lost = 1;
        let mut refused = measured();
        refused.history.failed = 1;
        let mut empty = measured();
        empty.operations = 0;
        for bad in [lost, refused, empty] {
            let outcome = Outcome::new(load(), bad);
            assert!(!outcome.passed && outcome.to_string().ends_with("FAILED"));
        }
    }
}
