//! Churn: sessions that come and go in some lanes, each lane one after the other.
//!
//! - [`Kind::Connect`]: connect and join, then close the socket. A floor is only upgraded, NATS greeted: see
//!   [`Target::enter`](crate::peer::Target::enter).
//! - [`Kind::Cycle`]: connect, join, register a procedure, call it, leave with GOODBYE. Each call carries a tag and is judged by the
//!   history checker.
//!
//! An operation is a whole cycle, its latency runs from dialling to the end; the steps are reported apart. The router's memory is
//! sampled along the way ([`curve`]), since what is not freed with a session shows there.

pub mod curve;
pub mod cycle;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};

use super::{Measured, Run, Timing};
use crate::{history::Expect, limits, peer::Target, usage::Watch};
use curve::{Curve, Memory};

/// What comes and goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Connections that are let in and closed.
    Connect,
    /// Sessions that also register, call and leave.
    Cycle,
}

/// A load of cycles.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where.
    pub at: Target,
    /// What.
    pub kind: Kind,
    /// Lanes that run cycles at the same time.
    pub lanes: u32,
    /// The beginning of the procedures, one for each lane.
    pub procedure: String,
    /// Bytes of payload of each call.
    pub payload: usize,
    /// How long; operations are cycles.
    pub timing: Timing,
    /// The router's processes.
    pub pids: Vec<u32>,
    /// Time between two samples of memory; it doubles whenever the curve becomes too long.
    pub sample_every: Duration,
    /// Time for the router to notice that the last sessions have gone, before its memory is taken for the last time.
    pub settle: Duration,
    /// More growth of the router's resident memory than this, in KiB, makes the run a failure.
    pub growth_max_kib: Option<f64>,
}

/// The figures of a churn run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Churn {
    /// Cycles that did not go through, warm-up included.
    pub failed_cycles: u64,
    /// The latencies of the steps of a cycle, in their order.
    pub steps: Vec<cycle::StepLatency>,
    /// The memory of the router's processes together; absent when no process was named.
    pub memory: Option<Memory>,
    /// The growth that was allowed, in KiB.
    pub growth_max_kib: Option<f64>,
}

/// A cycle that takes longer has failed.
const CYCLE_TIMEOUT: Duration = Duration::from_secs(30);

/// A lane that fails so often in a row ends the run: it would only hammer a router that is not there.
const FAILURES_MAX: u32 = 20;

/// What the lanes share beside the [`Run`].
struct Lanes {
    run: Arc<Run>,
    plan: Plan,
    running: AtomicU32,
    failed: AtomicU64,
    steps: cycle::Steps,
}

/// Runs the load.
///
/// # Errors
/// When nothing can be measured, or a lane fails many times in a row. Single failures are part of the result.
pub async fn run(plan: &Plan) -> Result<(Measured, Churn)> {
    ensure!(plan.lanes > 0, "churn needs at least one lane");
    ensure!(
        plan.kind == Kind::Connect || matches!(plan.at, Target::Wamp { .. }),
        "only WAMP routers know whole cycles"
    );
    limits::allow_connections(plan.lanes.into())?;
    let rss_kib = || Watch::new(plan.pids.clone()).rss_kib();
    let before_kib = (!plan.pids.is_empty()).then(rss_kib).transpose()?;
    let run = Run::new("cycles", Expect::Calls, plan.timing.stop);
    let lanes = Arc::new(Lanes {
        run: run.clone(),
        plan: plan.clone(),
        running: AtomicU32::new(plan.lanes),
        failed: AtomicU64::new(0),
        steps: cycle::Steps::default(),
    });
    let mut tasks = JoinSet::new();
    for lane in 0..plan.lanes {
        tasks.spawn(lanes.clone().run(lane));
    }
    let curve = Arc::new(Curve::default());
    if !plan.pids.is_empty() {
        tasks.spawn(curve.clone().draw(run.clone(), plan.pids.clone(), plan.sample_every));
    }
    let measured = run.measure(&plan.timing, &plan.pids, &mut tasks).await?;
    let drained = || lanes.running.load(Ordering::Relaxed) == 0;
    let measured = run.finish_alone(measured, &plan.timing, tasks, drained).await?;
    let mut memory = None;
    if let Some(before_kib) = before_kib {
        sleep(plan.settle).await;
        memory = curve.memory(before_kib, rss_kib()?);
    }
    let churn = Churn {
        failed_cycles: lanes.failed.load(Ordering::Relaxed),
        steps: lanes.steps.latencies(),
        memory,
        growth_max_kib: plan.growth_max_kib,
    };
    Ok((measured, churn))
}

impl Lanes {
    /// One lane: cycle after cycle until the measurement is over.
    async fn run(self: Arc<Self>, lane: u32) -> Result<()> {
        let run = self.run.clone();
        let mut lane = cycle::Lane::new(&self.plan, lane);
        let mut failures = 0;
        while run.is_sending() {
            let began = run.clock.nanos();
            let cycle = lane.cycle(&self.plan, &run, &self.steps);
            let ended = timeout(CYCLE_TIMEOUT, Box::pin(cycle))
                .await
                .context("a cycle took more than 30 s");
            match ended.flatten() {
                Ok(()) => {
                    failures = 0;
                    run.record(run.clock.nanos(), &[began]);
                }
                Err(error) => {
                    lane.excuse(&run);
                    failures += 1;
                    ensure!(
                        failures < FAILURES_MAX,
                        "{failures} cycles failed in a row, the last one: {error:#}"
                    );
                    self.failed.fetch_add(1, Ordering::Relaxed);
                    run.failure(format!("{error:#}"));
                }
            }
        }
        self.running.fetch_sub(1, Ordering::Relaxed);
        Ok(())
    }
}

impl Churn {
    pub(super) fn complaints(&self) -> Vec<String> {
        let mut complaints = Vec::new();
        if self.failed_cycles > 0 {
            complaints.push(format!("{} cycles failed", self.failed_cycles));
        }
        match (self.growth_max_kib, &self.memory) {
            (Some(max), Some(memory)) if memory.growth_kib > max => complaints.push(format!(
                "the router's memory grew by {:.0} KiB, {max:.0} were allowed",
                memory.growth_kib
            )),
            (Some(_), None) => complaints.push("growth of memory was to be judged, but no --pid was named".to_owned()),
            _ => {}
        }
        complaints
    }
}

impl fmt::Display for Churn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for cycle::StepLatency { name, latency } in &self.steps {
            writeln!(f, "    {name:9} {latency}")?;
        }
        match &self.memory {
            Some(memory) => memory.fmt(f),
            None => Ok(()),
        }
    }
}
