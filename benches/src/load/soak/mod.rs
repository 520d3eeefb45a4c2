//! Hours of mixed load: calls and events at fixed rates, sessions that come and go, and the memory of the routers all the while.
//!
//! What a short run cannot show: a record that is never freed, an id that runs out, a queue that grows by one a minute. So the
//! rates are meant to be modest, the history is checked over the whole time, and the verdict on memory is its trend over the
//! second half, when caches are warm.

pub mod churn;
pub mod memory;
pub mod report;

use std::{collections::BTreeMap, future::pending, sync::Arc, time::Duration};

use anyhow::Result;
use tokio::{task::JoinSet, time::sleep};

use super::{
    Latency, Measured, Measurement, Run, Stop, Timing, pubsub,
    recorder::{self, count_error, histogram},
    rpc, unless_a_task_ends,
};
use crate::history::Expect;
use memory::{Memory, Watching};
use report::{Part, Soak};

/// A mixed load.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Calls, at a fixed rate. `timing` and `pids` are not used.
    pub calls: rpc::Plan,
    /// Events, at a fixed rate. `timing` and `pids` are not used.
    pub events: pubsub::Plan,
    /// Sessions, registrations and subscriptions that come and go.
    pub churn: churn::Plan,
    /// How long.
    pub timing: Timing,
    /// The router's processes.
    pub pids: Vec<u32>,
    /// The time between two looks at memory.
    pub sample_every: Duration,
    /// The steepest growth of a router that passes, in KiB per hour.
    pub rss_growth_max_kib_per_hour: Option<f64>,
}

/// Runs the load. [`Measured`] has calls and events together. A router or a peer that is gone ends it early, and the report says so.
///
/// # Errors
/// When peers cannot be brought up.
pub async fn run(plan: &Plan) -> Result<(Measured, Soak)> {
    let callers = rpc::Peers::connect(&plan.calls).await?;
    let publishers = pubsub::Peers::connect(&plan.events).await?;
    let (calls, events) = (
        Run::new("calls", Expect::Calls, plan.timing.stop),
        Run::new("events", plan.events.expect(), plan.timing.stop),
    );
    let cycles = Arc::new(recorder::Shared::default());
    let (mut call_tasks, mut event_tasks, mut churn_tasks) = (JoinSet::new(), JoinSet::new(), JoinSet::new());
    let calling = callers.start(&plan.calls, &calls, &mut call_tasks)?;
    let publishing = publishers.start(&plan.events, &events, &mut event_tasks)?;
    churn::start(&plan.churn, &cycles, &mut churn_tasks);
    let both = [&*calls, &*events];

    let warming = sleep(plan.timing.warmup);
    unless_one_ends(&mut call_tasks, &mut event_tasks, warming).await?;
    cycles.lock().exchange(&mut histogram());
    let measurement = Measurement::start(&both, plan.timing.stop, &plan.pids)?;
    for run in both {
        let now = run.clock.nanos();
        run.recorder.lock().open_window(now);
    }
    let mut watching = Watching::start(&plan.pids, plan.sample_every)?;
    let passing = async {
        match plan.timing.stop {
            Stop::After(time) => sleep(time).await,
            Stop::Operations(_) => calls.enough.notified().await,
        }
    };
    let (memory, interrupted) = tokio::select! {
        ended = unless_one_ends(&mut call_tasks, &mut event_tasks, passing) => {
            (None, ended.err().map(|error| format!("{error:#}")))
        }
        (memory, reason) = watching.until_gone() => (Some(memory), Some(reason)),
    };
    churn_tasks.shutdown().await;
    let memory = match memory {
        Some(memory) => memory,
        None => watching.finish().await,
    };

    let timing = &plan.timing;
    let mut measured = match interrupted {
        None => {
            let measured = measurement.end(&both).await?;
            let measured = calls.finish_alone(measured, timing, call_tasks, || calling.is_over()).await?;
            let of_calls = (measured.history.clone(), measured.trace.errors.clone());
            let first_failure = measured.first_failure.clone();
            let mut measured = events
                .finish_alone(measured, timing, event_tasks, || publishing.is_over())
                .await?;
            measured.first_failure = first_failure.or(measured.first_failure);
            add(&mut measured, of_calls);
            measured
        }
        Some(_) => {
            let mut measured = measurement.end_of_broken(&both).await?;
            call_tasks.shutdown().await;
            event_tasks.shutdown().await;
            for run in both {
                let mut recorder = run.recorder.lock();
                let errors = std::mem::take(&mut recorder.errors);
                measured.first_failure = measured.first_failure.or(recorder.first_failure.take());
                drop(recorder);
                let history = run.history.lock().report();
                add(&mut measured, (history, errors));
            }
            measured
        }
    };
    let soak = describe(plan, &both, &cycles, memory, interrupted);
    measured.first_failure = measured.first_failure.or(cycles.lock().first_failure.take());
    Ok((measured, soak))
}

async fn unless_one_ends(
    first: &mut JoinSet<Result<()>>,
    second: &mut JoinSet<Result<()>>,
    waiting: impl Future<Output = ()>,
) -> Result<()> {
    tokio::select! {
        ended = unless_a_task_ends(first, waiting) => ended,
        ended = unless_a_task_ends(second, pending()) => ended,
    }
}

/// Adds the verdict and the errors of one kind of load.
fn add(measured: &mut Measured, (history, errors): (crate::history::Report, BTreeMap<String, u64>)) {
    measured.history.add(&history);
    for (reason, count) in errors {
        count_error(&mut measured.trace.errors, reason, count);
    }
}

fn describe(plan: &Plan, both: &[&Run; 2], cycles: &recorder::Shared, memory: Memory, interrupted: Option<String>) -> Soak {
    let [calls, events] = both.map(|run| {
        let (operations, latency) = run.recorder.lock().windows().first().copied().unwrap_or_default();
        Part { operations, latency }
    });
    let mut of_cycles = histogram();
    let mut recorder = cycles.lock();
    recorder.exchange(&mut of_cycles);
    Soak {
        calls,
        events,
        cycles: Part {
            operations: of_cycles.len(),
            latency: Latency::of(&of_cycles),
        },
        cycle_errors: std::mem::take(&mut recorder.errors),
        memory,
        rss_growth_max_kib_per_hour: plan.rss_growth_max_kib_per_hour,
        interrupted,
    }
}
