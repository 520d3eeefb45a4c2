//! What a soak was like: each kind of load by itself, and the memory it left behind.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use super::memory::Memory;
use crate::{
    load::Latency,
    progress::{duration, thousands},
};

/// The figures of a soak, beside those of its calls and events together.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Soak {
    /// Calls answered.
    pub calls: Part,
    /// Events delivered.
    pub events: Part,
    /// Sessions that came, registered, subscribed, were called, heard an event and left.
    pub cycles: Part,
    /// Cycles that failed, by URI or reason.
    pub cycle_errors: BTreeMap<String, u64>,
    /// The memory of the routers.
    pub memory: Memory,
    /// The steepest growth of a router that passes, in KiB per hour.
    pub rss_growth_max_kib_per_hour: Option<f64>,
    /// Why it ended early; what was under way then counts as lost.
    pub interrupted: Option<String>,
}

/// One kind of load.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Part {
    /// How much of it was measured.
    pub operations: u64,
    /// Its latencies; of calls and events from the instant they were due.
    pub latency: Latency,
}

impl Soak {
    /// Why the run does not count, whatever the history says.
    pub fn complaints(&self) -> Vec<String> {
        let mut complaints = Vec::new();
        if let Some(reason) = &self.interrupted {
            complaints.push(format!("it ended early: {reason}"));
        }
        let failed: u64 = self.cycle_errors.values().sum();
        if failed > 0 {
            complaints.push(format!("{failed} sessions could not come, work and go"));
        }
        if let Some(max) = self.rss_growth_max_kib_per_hour {
            let grown = self.memory.pids.iter().zip(&self.memory.trends);
            for (pid, trend) in grown.filter(|(_, trend)| trend.kib_per_hour > max) {
                complaints.push(format!(
                    "pid {pid} grows by {:.0} KiB an hour, more than {max}",
                    trend.kib_per_hour
                ));
            }
        }
        complaints
    }
}

impl fmt::Display for Soak {
    /// Lines of the human report, each ended by a line feed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, part) in [("calls", &self.calls), ("events", &self.events), ("cycles", &self.cycles)] {
            let Part { operations, latency } = part;
            writeln!(
                f,
                "  {name:12}{}, p50 {}, p99 {}, max {}",
                thousands(*operations as f64),
                duration(latency.p50_us),
                duration(latency.p99_us),
                duration(latency.max_us)
            )?;
        }
        for (reason, count) in &self.cycle_errors {
            writeln!(f, "    {count} × {reason}")?;
        }
        for (index, (pid, trend)) in self.memory.pids.iter().zip(&self.memory.trends).enumerate() {
            let rss = |sample: &super::memory::Sample| sample.rss_kib.get(index).copied().unwrap_or_default();
            let (first, last) = (self.memory.samples.first(), self.memory.samples.last());
            let most = self.memory.samples.iter().map(rss).max().unwrap_or_default();
            writeln!(
                f,
                "  memory      pid {pid}: {} → {} KiB RSS, at most {most}; {:+.0} KiB per hour over the second half",
                first.map_or(0, rss),
                last.map_or(0, rss),
                trend.kib_per_hour
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{super::memory::Trend, *};

    #[test]
    fn growth_failed_cycles_and_early_ends_are_complaints() {
        let mut soak = Soak {
            memory: Memory::of(vec![7, 8]),
            ..Soak::default()
        };
        soak.memory.trends = [10.0, 300.0]
            .map(|kib_per_hour| Trend {
                kib_per_hour,
                start_kib: 0.0,
            })
            .to_vec();
        assert!(soak.complaints().is_empty());
        soak.rss_growth_max_kib_per_hour = Some(300.0);
        assert!(soak.complaints().is_empty());
        soak.rss_growth_max_kib_per_hour = Some(299.0);
        assert!(soak.complaints()[0].contains("pid 8"), "{:?}", soak.complaints());
        soak.cycle_errors.insert("wamp.error.x".into(), 2);
        soak.interrupted = Some("gone".into());
        assert_eq!(soak.complaints().len(), 3);
    }
}
