//! Registrations that come and go: how long until REGISTERED.
//!
//! Each session keeps `window` procedures of its own on the way: REGISTER, REGISTERED, UNREGISTER, UNREGISTERED, and again. With
//! window 1 it is one after the other. An operation is a REGISTERED, its latency runs from the REGISTER; UNREGISTERED is reported
//! apart.
//!
//! What a disk and the network take is measured [`beside`]: a router that keeps registrations on the disks of three nodes owes us
//! REGISTERED after some of both.

pub mod beside;
mod lane;

use std::{
    fmt,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
};

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use super::{Latency, Measured, Run, Timing, recorder};
use crate::{
    history::Expect,
    limits,
    peer::{Target, session::Session, within},
};
use beside::{Beside, Probes};

/// A load of registrations.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where.
    pub at: Target,
    /// Sessions that register.
    pub sessions: u32,
    /// Procedures that each session has on the way at the same time.
    pub window: u32,
    /// The beginning of their names.
    pub procedure: String,
    /// How long; operations are registrations.
    pub timing: Timing,
    /// The router's processes.
    pub pids: Vec<u32>,
    /// The folder in which writing and syncing a small record is measured beside; on the disk the router uses.
    pub fsync_dir: Option<PathBuf>,
    /// Whether round trips are measured beside.
    pub round_trips: bool,
    /// A 99th percentile above so many times (3 syncs + 2 round trips) makes the run a failure.
    pub ratio_max: Option<f64>,
}

/// The figures of a register run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Register {
    /// From UNREGISTER to UNREGISTERED.
    pub unregister: Latency,
    /// Syncs and round trips in a quiet moment, half of them before the load and half after; absent when none were asked for.
    pub quiet: Option<Beside>,
    /// The same while the load runs, a few at a time.
    pub loaded: Option<Beside>,
    /// The bound that was set, see [`Plan::ratio_max`].
    pub ratio_max: Option<f64>,
}

/// What the sessions share beside the [`Run`].
struct Lanes {
    run: Arc<Run>,
    plan: Plan,
    running: AtomicU32,
    refused: AtomicU64,
    unanswered: AtomicU64,
    unregister: recorder::Shared,
}

/// Runs the load.
///
/// # Errors
/// When sessions cannot be brought up or end, or the router refuses many times in a row. Single refusals are part of the result.
pub async fn run(plan: &Plan) -> Result<(Measured, Register)> {
    ensure!(
        plan.sessions > 0 && plan.window > 0,
        "register needs at least one session and a window"
    );
    limits::allow_connections(u64::from(plan.sessions) + 1)?;
    let probes = Probes::open(plan).await?;
    let (quiet, loaded) = (beside::Records::default(), Arc::new(beside::Records::default()));
    let probes = probes.measure_quietly(&quiet).await?;

    let mut sessions = Vec::new();
    for _ in 0..plan.sessions {
        sessions.push(within("join", Session::joined(&plan.at)).await?);
    }
    let run = Run::new("registrations", Expect::Calls, plan.timing.stop);
    let lanes = Arc::new(Lanes {
        run: run.clone(),
        plan: plan.clone(),
        running: AtomicU32::new(plan.sessions),
        refused: AtomicU64::new(0),
        unanswered: AtomicU64::new(0),
        unregister: recorder::Shared::default(),
    });
    let mut tasks = JoinSet::new();
    for (lane, session) in (0..).zip(sessions) {
        tasks.spawn(lane::run(lanes.clone(), session, lane));
    }
    let beside = tokio::spawn(probes.measure_along(run.clone(), loaded.clone()));
    let measured = run.measure(&plan.timing, &plan.pids, &mut tasks).await?;
    let drained = || lanes.running.load(Ordering::Relaxed) == 0;
    let mut measured = run.finish_alone(measured, &plan.timing, tasks, drained).await?;
    let probes = beside.await.context("measuring beside has panicked")??;
    probes.measure_quietly(&quiet).await?;

    measured.history.unanswered += lanes.unanswered.load(Ordering::Relaxed);
    measured.history.failed += lanes.refused.load(Ordering::Relaxed);
    let p99_us = measured.latency.p99_us;
    let register = Register {
        unregister: lanes.unregister.lock().latency(),
        quiet: quiet.sum_up(p99_us),
        loaded: loaded.sum_up(p99_us),
        ratio_max: plan.ratio_max,
    };
    Ok((measured, register))
}

impl Register {
    pub(super) fn complaints(&self) -> Vec<String> {
        let Some(max) = self.ratio_max else {
            return Vec::new();
        };
        match self.quiet.as_ref().and_then(|quiet| quiet.ratio) {
            Some(ratio) if ratio > max => vec![format!(
                "p99 is {ratio:.2} times (3 fsyncs + 2 round trips), {max} were allowed"
            )],
            Some(_) => Vec::new(),
            None => vec!["the bound was to be judged, which needs --fsync-dir and --rtt".to_owned()],
        }
    }
}

impl fmt::Display for Register {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "  unregister  {}", self.unregister)?;
        for (when, beside) in [("quiet", &self.quiet), ("loaded", &self.loaded)] {
            if let Some(beside) = beside {
                writeln!(f, "  beside, {when}:")?;
                beside.fmt(f)?;
            }
        }
        Ok(())
    }
}
