//! Idle sessions: many that are only there, and the memory they take in the router.
//!
//! All sessions join (a floor is upgraded, NATS greeted: see [`Target::enter`]), then nothing is sent for a while, and the router's
//! memory is compared with what it was before the first of them. Sessions that end meanwhile are failures.
//!
//! One process may open so many files and one source address has so many ports: sessions can be spread over the sources 127.0.0.1,
//! 127.0.0.2, … and over [child processes](children), which do their [`Share`] and keep it until they are told to end.

pub mod children;
mod herd;

use std::{
    collections::BTreeMap,
    fmt,
    net::IpAddr,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use super::{Latency, Measured, recorder, series::Trace};
use crate::{
    history, limits,
    peer::Target,
    usage::{self, Usage},
};
use children::Children;
pub use children::serve_share;
use herd::Herd;
pub use herd::Joined;

/// A load of idle sessions.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where.
    pub at: Target,
    /// How many.
    pub sessions: u32,
    /// Local addresses to connect from, in turn; empty for the system's choice.
    pub sources: Vec<IpAddr>,
    /// Sessions that join at the same time.
    pub joining: u32,
    /// Time from the last join to the measurement.
    pub settle: Duration,
    /// The router's processes.
    pub pids: Vec<u32>,
    /// More resident memory per session than this, in KiB, makes the run a failure.
    pub rss_max_kib: Option<f64>,
}

/// A part of a plan's sessions: number `index` of `count`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// From 0.
    pub index: u32,
    /// At least 1.
    pub count: u32,
}

/// The figures of an idle run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Idle {
    /// Sessions that were asked for.
    pub sessions: u32,
    /// Sessions that were let in.
    pub joined: u32,
    /// Those of them that ended before they were told to.
    pub ended: u32,
    /// Seconds from the last join to the measurement.
    pub settle_secs: f64,
    /// Memory of the router's processes before the first session; absent when none was named.
    pub before: Option<Memory>,
    /// The same at the end, with all sessions there.
    pub after: Option<Memory>,
    /// The difference, divided by the sessions.
    pub per_session: Option<PerSession>,
    /// The memory per session that was allowed, in KiB RSS.
    pub rss_max_kib: Option<f64>,
}

/// Memory of all router processes together.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    /// Resident, in KiB.
    pub rss_kib: u64,
    /// Proportional, in KiB; 0 where the kernel does not tell.
    pub pss_kib: u64,
}

/// Memory per session.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PerSession {
    /// Resident, in KiB.
    pub rss_kib: f64,
    /// Proportional, in KiB.
    pub pss_kib: f64,
}

/// Runs the load. With `children`, their processes hold the sessions, else this one does. An operation is a join.
///
/// # Errors
/// When the router's processes cannot be measured, or this machine cannot hold so many connections. Refused and lost sessions are
/// part of the result.
pub async fn run(plan: &Plan, children: Option<Children>) -> Result<(Measured, Idle)> {
    ensure!(plan.sessions > 0, "idle needs at least one session");
    let before = usage::sample(&plan.pids)?;
    let own = usage::own_cpu_us()?;
    let start = Instant::now();
    let mut holding = match children {
        None => Holding::Here(Herd::join(plan, Share { index: 0, count: 1 }).await?),
        Some(children) => Holding::There(children.start().await?),
    };
    let elapsed = start.elapsed();
    let after_joining = usage::sample(&plan.pids)?;
    let client_cpu_us = usage::own_cpu_us()?.saturating_sub(own) + holding.cpu_us();
    sleep(plan.settle).await;
    let after = usage::sample(&plan.pids)?;
    let joined = holding.end().await?;

    let recorder = recorder::Shared::default();
    recorder.lock().add(&joined.latencies);
    let idle = Idle::new(plan, &joined, &before, &after);
    let spent = |(pid, mut usage): (u32, Usage)| {
        usage.cpu_us = after_joining[&pid].cpu_us.saturating_sub(before[&pid].cpu_us);
        (pid, usage)
    };
    let mut histogram = recorder::histogram();
    recorder.lock().exchange(&mut histogram);
    let measured = Measured {
        elapsed,
        operations: joined.joined.into(),
        latency: Latency::of(&histogram),
        routers: after.into_iter().map(spent).collect(),
        client_cpu_us,
        history: history::Report::default(),
        first_failure: joined.first_failure,
        trace: Trace::of(&histogram),
        histogram,
    };
    Ok((measured, idle))
}

/// Who holds the sessions.
enum Holding {
    Here(Herd),
    There(children::Running),
}

impl Holding {
    /// CPU time that other processes of the load have spent.
    fn cpu_us(&self) -> u64 {
        match self {
            Holding::Here(_) => 0,
            Holding::There(running) => running.cpu_us(),
        }
    }

    async fn end(&mut self) -> Result<Joined> {
        match self {
            Holding::Here(herd) => Ok(herd.end()),
            Holding::There(running) => running.end().await,
        }
    }
}

impl Share {
    /// How many of `total` fall to it; the shares add up to `total`.
    pub fn of(self, total: u32) -> u32 {
        let count = self.count.max(1);
        total / count + u32::from(self.index < total % count)
    }
}

impl Idle {
    fn new(plan: &Plan, joined: &Joined, before: &BTreeMap<u32, Usage>, after: &BTreeMap<u32, Usage>) -> Self {
        let memory = |usages: &BTreeMap<u32, Usage>| Memory {
            rss_kib: usages.values().map(|usage| usage.rss_kib).sum(),
            pss_kib: usages.values().map(|usage| usage.pss_kib).sum(),
        };
        let (before, after) = match plan.pids.is_empty() {
            true => (None, None),
            false => (Some(memory(before)), Some(memory(after))),
        };
        let per = |before: u64, after: u64| (after as f64 - before as f64) / f64::from(joined.joined.max(1));
        Self {
            sessions: plan.sessions,
            joined: joined.joined,
            ended: joined.ended,
            settle_secs: plan.settle.as_secs_f64(),
            before,
            after,
            per_session: before.zip(after).map(|(before, after)| PerSession {
                rss_kib: per(before.rss_kib, after.rss_kib),
                pss_kib: per(before.pss_kib, after.pss_kib),
            }),
            rss_max_kib: plan.rss_max_kib,
        }
    }

    pub(super) fn complaints(&self) -> Vec<String> {
        let mut complaints = Vec::new();
        if self.joined < self.sessions {
            complaints.push(format!(
                "{} of {} sessions did not get in",
                self.sessions - self.joined,
                self.sessions
            ));
        }
        if self.ended > 0 {
            complaints.push(format!("{} sessions ended before they were told to", self.ended));
        }
        match (self.rss_max_kib, self.per_session) {
            (Some(max), Some(per)) if per.rss_kib > max => {
                complaints.push(format!("a session takes {:.2} KiB RSS, {max} were allowed", per.rss_kib));
            }
            (Some(_), None) => complaints.push("memory was to be judged, but no --pid was named".to_owned()),
            _ => {}
        }
        complaints
    }
}

impl fmt::Display for Idle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let (Some(before), Some(after), Some(per)) = (self.before, self.after, self.per_session) {
            writeln!(f, "  per session {:.2} KiB RSS, {:.2} KiB PSS", per.rss_kib, per.pss_kib)?;
            writeln!(
                f,
                "  memory      RSS {} → {} KiB, PSS {} → {} KiB, {} s after the last join",
                before.rss_kib, after.rss_kib, before.pss_kib, after.pss_kib, self.settle_secs
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn idle(joined: u32, ended: u32, rss_max_kib: Option<f64>) -> Idle {
        let memory = |rss_kib| {
            Some(Memory {
                rss_kib,
                pss_kib: rss_kib,
            })
        };
        Idle {
            sessions: 100,
            joined,
            ended,
            settle_secs: 1.0,
            before: memory(1000),
            after: memory(1600),
            per_session: Some(PerSession {
                rss_kib: 6.0,
                pss_kib: 5.5,
            }),
            rss_max_kib,
        }
    }

    #[test]
    fn shares_add_up() {
        for (total, count) in [(5000, 3), (2, 5), (7, 7), (0, 2), (10, 1)] {
            let shares = (0..count).map(|index| Share { index, count }.of(total));
            assert_eq!(shares.sum::<u32>(), total);
        }
    }

    #[test]
    fn missing_sessions_lost_sessions_and_too_much_memory_are_complaints() {
        assert_eq!(idle(100, 0, Some(6.0)).complaints(), Vec::<String>::new());
        assert!(idle(99, 0, None).complaints()[0].starts_with("1 of 100"));
        assert!(idle(100, 3, None).complaints()[0].starts_with("3 sessions ended"));
        assert!(idle(100, 0, Some(5.9)).complaints()[0].contains("6.00 KiB"));
        let mut unmeasured = idle(100, 0, Some(6.0));
        unmeasured.per_session = None;
        assert!(unmeasured.complaints()[0].contains("--pid"));
    }
}
