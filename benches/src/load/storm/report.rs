//! What a storm was like: who came back when, and what the others noticed.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use crate::{
    load::Latency,
    progress::{duration, thousands},
};

/// The figures of a storm, beside those of the calls that went on through it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Storm {
    /// Sessions that were to come back.
    pub sessions: u32,
    /// Processes they lived in.
    pub processes: u32,
    /// The first and the longest wait of their backoff in seconds, drawn evenly from nothing to the whole.
    pub backoff_secs: (f64, f64),
    /// Sessions that were joined at the end.
    pub live: u32,
    /// True if every session was lost, came back and was still there at the end.
    pub all_back: bool,
    /// When the node was killed, in seconds since the measurement began.
    pub killed_at_secs: f64,
    /// Seconds from the kill until 50 % of the sessions were back; absent if it never came to that.
    pub back_50_secs: Option<f64>,
    /// Until 99 % were.
    pub back_99_secs: Option<f64>,
    /// Until all were.
    pub back_100_secs: Option<f64>,
    /// The way back: seconds since the kill, and the share of sessions that were back by then.
    pub returned: Vec<(f64, f64)>,
    /// Attempts that failed, by reason.
    pub refused: BTreeMap<String, u64>,
    /// Sessions lost before the node was killed.
    pub lost_early: u32,
    /// Sessions lost again after they had come back.
    pub lost_again: u32,
    /// The calls between surviving sessions, before the kill.
    pub before: Window,
    /// From the kill until all were back.
    pub during: Window,
    /// From then to the end.
    pub after: Window,
    /// 99th percentile of the calls during the storm by that before; absent if either is.
    pub p99_ratio: Option<f64>,
    /// The highest ratio that passes.
    pub p99_ratio_max: Option<f64>,
    /// CPU microseconds of the surviving routers for each session that came back, what the calls alone cost before taken off; absent
    /// when no process was named.
    pub router_cpu_us_per_rejoin: Option<f64>,
    /// The same with the calls.
    pub router_cpu_us_per_rejoin_gross: Option<f64>,
}

/// Calls that were due in one part of the run, whenever they were answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Window {
    /// Its length in seconds.
    pub secs: f64,
    /// Calls.
    pub operations: u64,
    /// From the instant they were due.
    pub latency: Latency,
}

/// Points of [`Storm::returned`].
const CURVE_POINTS: usize = 200;

impl Storm {
    /// Fills in the way back. `back` are seconds since the kill, one for each session that came back.
    pub(super) fn set_returns(&mut self, mut back: Vec<f64>) {
        back.sort_by(f64::total_cmp);
        let all = self.sessions as usize;
        let until = |share: f64| {
            let count = (all as f64 * share).ceil() as usize;
            back.get(count.max(1) - 1).copied()
        };
        (self.back_50_secs, self.back_99_secs, self.back_100_secs) = (until(0.5), until(0.99), until(1.0));
        let step = back.len().div_ceil(CURVE_POINTS).max(1);
        let last = back.len().saturating_sub(1);
        self.returned = (0..back.len())
            .filter(|index| index % step == 0 || *index == last)
            .map(|index| (back[index], (index + 1) as f64 / all.max(1) as f64))
            .collect();
    }

    /// Why the run does not count, whatever the history says.
    pub fn complaints(&self) -> Vec<String> {
        let mut complaints = Vec::new();
        if !self.all_back {
            complaints.push(format!("{} of {} sessions are back", self.live, self.sessions));
        }
        if self.lost_early > 0 {
            complaints.push(format!("{} sessions were lost before the node was killed", self.lost_early));
        }
        if let (Some(ratio), Some(max)) = (self.p99_ratio, self.p99_ratio_max)
            && ratio > max
        {
            complaints.push(format!("the p99 of calls rose to {ratio:.2} times, more than {max}"));
        }
        complaints
    }
}

impl fmt::Display for Storm {
    /// Lines of the human report, each ended by a line feed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secs = |secs: Option<f64>| secs.map_or("never".to_owned(), |secs| format!("{secs:.2} s"));
        writeln!(
            f,
            "  storm       {} of {} sessions back: 50 % after {}, 99 % after {}, all after {}",
            thousands(self.live.into()),
            thousands(self.sessions.into()),
            secs(self.back_50_secs),
            secs(self.back_99_secs),
            secs(self.back_100_secs)
        )?;
        let (first, longest) = self.backoff_secs;
        write!(
            f,
            "  attempts    {} failed, backoff {first} to {longest} s",
            self.refused.values().sum::<u64>()
        )?;
        for (reason, count) in &self.refused {
            write!(f, "; {count} × {reason}")?;
        }
        if self.lost_again > 0 {
            write!(f, "; {} sessions lost again", self.lost_again)?;
        }
        writeln!(f)?;
        for (name, window) in [("before", &self.before), ("during", &self.during), ("after", &self.after)] {
            let (p50, p99) = (duration(window.latency.p50_us), duration(window.latency.p99_us));
            let (calls, secs) = (thousands(window.operations as f64), window.secs);
            writeln!(f, "  {name:12}{calls} calls in {secs:.1} s, p50 {p50}, p99 {p99}")?;
        }
        if let Some(ratio) = self.p99_ratio {
            writeln!(f, "  p99 ratio   {ratio:.2} during the storm by before")?;
        }
        if let (Some(net), Some(gross)) = (self.router_cpu_us_per_rejoin, self.router_cpu_us_per_rejoin_gross) {
            writeln!(
                f,
                "  rejoin      {net:.0} µs router CPU each, {gross:.0} µs with the calls meanwhile"
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_count_against_all_sessions_not_against_those_that_came_back() {
        let mut storm = Storm {
            sessions: 1000,
            ..Storm::default()
        };
        storm.set_returns((1..=990).rev().map(|n| f64::from(n) / 100.0).collect());
        assert_eq!(
            (storm.back_50_secs, storm.back_99_secs, storm.back_100_secs),
            (Some(5.0), Some(9.9), None)
        );
        assert!(storm.returned.len() <= CURVE_POINTS + 1);
        assert_eq!(storm.returned.last(), Some(&(9.9, 0.99)));
        storm.set_returns(Vec::new());
        assert_eq!((storm.back_50_secs, storm.returned.len()), (None, 0));
    }

    #[test]
    fn a_storm_passes_only_with_all_sessions_back_and_a_ratio_within_bounds() {
        let good = Storm {
            all_back: true,
            p99_ratio: Some(1.9),
            p99_ratio_max: Some(2.0),
            ..Storm::default()
        };
        assert!(good.complaints().is_empty());
        for bad in [
            Storm {
                all_back: false,
                ..good.clone()
            },
            Storm {
                lost_early: 1,
                ..good.clone()
            },
            Storm {
                p99_ratio: Some(2.1),
                ..good.clone()
            },
        ] {
            assert_eq!(bad.complaints().len(), 1, "{bad:?}");
        }
    }
}
