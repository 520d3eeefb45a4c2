//! The loads: what is sent, how fast, for how long, and what is measured meanwhile.
//!
//! A run connects all peers, warms up, measures, drains and judges. Everything runs as one task per connection, by default on one
//! thread. Latency is taken from the tag in each payload:
//!
//! - **Closed loop** ([`Pace::Closed`]): each caller or publisher keeps `window` messages in flight. The latency is what one
//!   message took; a stalled router is asked less meanwhile, so such percentiles compare equal loads and say nothing about
//!   arrival rates.
//! - **Fixed rate** ([`Pace::Rate`]): every message has an instant at which it is due, whatever the router does, and its latency
//!   counts from there. A stall is charged to every message that had to wait for it (no coordinated omission).
//!
//! A load can also be carried by several processes, see [`ensemble`].

pub mod churn;
mod detail;
pub mod ensemble;
pub mod fill;
pub mod idle;
mod pace;
pub mod pubsub;
mod recorder;
pub mod register;
pub mod rpc;
mod sampler;
pub mod series;
pub mod soak;
pub mod storm;

use std::{
    collections::BTreeMap,
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use futures_util::{
    StreamExt as _, TryStreamExt as _,
    stream::{self, FuturesUnordered},
};
use hdrhistogram::Histogram;
use tokio::{
    sync::{Notify, watch},
    task::JoinSet,
    time::{sleep, timeout},
};

pub use detail::Detail;
pub use pace::Pace;
pub use recorder::{Latency, histogram};
use sampler::{Sampled, Sampler, Subject};
use series::Trace;

use self::ensemble::{Alone, Ensemble, Witness};
use crate::{
    history::{self, Expect, History},
    peer::{Body, Connection, Role, Target},
    progress::{Progress, thousands},
    tag::Clock,
    usage::{self, Usage},
};

/// How long a run takes.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// Load that is not measured, at the beginning.
    pub warmup: Duration,
    /// When the measurement ends.
    pub stop: Stop,
    /// The longest wait for what is still under way at the end; what has not come by then is lost.
    pub drain: Duration,
}

/// The end of a measurement.
#[derive(Clone, Copy, Debug)]
pub enum Stop {
    /// After this time.
    After(Duration),
    /// After this many operations.
    Operations(u64),
}

/// What was measured between warm-up and drain.
#[derive(Clone, Debug)]
pub struct Measured {
    /// The length of the measurement.
    pub elapsed: Duration,
    /// Calls answered, or events delivered.
    pub operations: u64,
    /// Their latencies.
    pub latency: Latency,
    /// The latencies in full, in nanoseconds.
    pub histogram: Histogram<u64>,
    /// The run over time, the curve of latencies, and the errors by URI.
    pub trace: Trace,
    /// CPU time spent by each router process meanwhile, and its memory at the end.
    pub routers: BTreeMap<u32, Usage>,
    /// CPU time this process spent meanwhile.
    pub client_cpu_us: u64,
    /// The verdict over the whole run, warm-up and drain included.
    pub history: history::Report,
    /// The first error that a call was answered by.
    pub first_failure: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Warmup,
    Measuring,
    Draining,
    Stopped,
}

/// A late duplicate has this long to show up after the last message.
const SETTLE: Duration = Duration::from_millis(100);

/// Connections opened at the same time; a listen queue is finite.
const CONNECTING_MAX: usize = 64;

/// What the tasks of a run share.
struct Run {
    /// What the line on the terminal begins with.
    title: &'static str,
    clock: Clock,
    /// The phase twice: cheap to look at for every batch, and waited for by sleeping tasks.
    phase: AtomicU8,
    changes: watch::Sender<Phase>,
    expect: Expect,
    history: history::Shared,
    recorder: Arc<recorder::Shared>,
    /// The number of operations to stop at.
    quota: u64,
    enough: Notify,
}

impl Run {
    fn new(title: &'static str, expect: Expect, stop: Stop) -> Arc<Self> {
        let quota = match stop {
            Stop::After(_) => u64::MAX,
            Stop::Operations(count) => count,
        };
        Arc::new(Self {
            title,
            clock: Clock::start(),
            phase: AtomicU8::new(Phase::Warmup as u8),
            changes: watch::Sender::new(Phase::Warmup),
            expect,
            history: history::Shared::new(expect),
            recorder: Arc::default(),
            quota,
            enough: Notify::new(),
        })
    }

    fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::SeqCst);
        self.changes.send_replace(phase);
    }

    fn is(&self, phase: Phase) -> bool {
        self.phase.load(Ordering::Relaxed) == phase as u8
    }

    /// True while new messages are to be sent.
    fn is_sending(&self) -> bool {
        self.phase.load(Ordering::Relaxed) <= Phase::Measuring as u8
    }

    /// Records operations that ended `now`, if they are to be measured.
    fn record(&self, now: u64, ended: &[u64]) {
        self.record_with_foreign(now, ended, 0);
    }

    /// The same, with as many operations whose beginning was timed by another process's clock.
    fn record_with_foreign(&self, now: u64, ended: &[u64], foreign: u64) {
        if (ended.is_empty() && foreign == 0) || self.is(Phase::Warmup) {
            return;
        }
        let mut recorder = self.recorder.lock();
        for sent in ended {
            recorder.record_in_window(*sent, now.saturating_sub(*sent));
        }
        if !self.is(Phase::Measuring) {
            return;
        }
        for sent in ended {
            recorder.record(now.saturating_sub(*sent));
        }
        recorder.count_foreign(foreign);
        if recorder.operations() >= self.quota {
            self.enough.notify_one();
        }
    }

    /// Notes a call's error.
    fn failure(&self, reason: String) {
        self.recorder.lock().failure(reason);
    }

    /// The tag of a payload of the right length, or a note in the history.
    fn checked(history: &mut history::History, body: Body, len: usize) -> Option<crate::tag::Tag> {
        let tag = body.tag.filter(|_| body.len == len);
        if tag.is_none() {
            history.apply(history::Observation::Damaged);
        }
        tag
    }

    /// Warms up, measures and leaves the phase at `Draining`. A task that ends before is the run's error.
    async fn measure(&self, timing: &Timing, pids: &[u32], tasks: &mut JoinSet<Result<()>>) -> Result<Measured> {
        unless_a_task_ends(tasks, sleep(timing.warmup)).await?;
        let measurement = Measurement::start(&[self], timing.stop, pids)?;
        match timing.stop {
            Stop::After(duration) => unless_a_task_ends(tasks, sleep(duration)).await?,
            Stop::Operations(_) => unless_a_task_ends(tasks, self.enough.notified()).await?,
        }
        measurement.end(&[self]).await
    }

    /// Waits until all processes have `sent` what they send and all of it has `drained`, stops every task and takes what was seen.
    /// `sent` is `None` while something is still to be sent; `drained` is given what was sent by all. Neither is waited for longer
    /// than patience lasts.
    async fn finish(
        &self,
        mut measured: Measured,
        timing: &Timing,
        mut tasks: JoinSet<Result<()>>,
        ensemble: &mut impl Ensemble,
        sent: impl Fn() -> Option<u64>,
        drained: impl Fn(u64) -> bool,
    ) -> Result<Witness> {
        let waiting = async {
            // Running out of patience is no error of its own: the history will show what is missing.
            patiently(timing.drain, || sent().is_some()).await;
            let all = ensemble.sent(sent().unwrap_or_default()).await?;
            patiently(timing.drain, || drained(all)).await;
            ensemble.drained().await
        };
        tokio::select! {
            waited = waiting => waited?,
            error = until_a_task_fails(&mut tasks) => return Err(error),
        }
        sleep(SETTLE).await;
        self.enter(Phase::Stopped);
        while let Some(ended) = tasks.join_next().await {
            ended.context("a task of the load has panicked")??;
        }
        let mut recorder = self.recorder.lock();
        measured.first_failure = recorder.first_failure.take();
        measured.trace.errors = std::mem::take(&mut recorder.errors);
        drop(recorder);
        Ok(Witness {
            latencies: measured.histogram.clone(),
            measured,
            history: std::mem::replace(&mut *self.history.lock(), History::new(self.expect)),
        })
    }

    /// [`Run::finish`] of a load that no other process carries: passes the verdict as well.
    async fn finish_alone(
        &self,
        measured: Measured,
        timing: &Timing,
        tasks: JoinSet<Result<()>>,
        drained: impl Fn() -> bool,
    ) -> Result<Measured> {
        let drained = |_| drained();
        let witness = self.finish(measured, timing, tasks, &mut Alone, || Some(0), drained).await?;
        Ok(witness.judged())
    }
}

async fn patiently(patience: Duration, reached: impl Fn() -> bool) {
    let waiting = async {
        while !reached() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(patience, waiting).await.ok();
}

/// Waits for the other processes. Receivers must be at work already, since others may begin to send earlier; senders only must not
/// leave the router's pings unanswered meanwhile.
async fn ready(ensemble: &mut impl Ensemble, receivers: &mut JoinSet<Result<()>>, senders: &mut [Connection]) -> Result<()> {
    let mut tending: FuturesUnordered<_> = senders.iter_mut().map(tend).collect();
    tokio::select! {
        biased; // Alone, there is nothing to wait for, and nothing should be read.
        all = ensemble.ready() => all,
        Err(error) = unless_a_task_ends(receivers, pending()) => Err(error),
        Some(Err(error)) = tending.next() => Err(error.context("a session ended before the load began")),
    }
}

async fn tend(connection: &mut Connection) -> Result<()> {
    loop {
        connection.turn().await?;
        while connection.take()?.is_some() {}
    }
}

/// The time between warm-up and drain, of one run or of several side by side.
struct Measurement {
    start: Instant,
    routers: BTreeMap<u32, Usage>,
    client_cpu_us: u64,
    sampler: Sampler,
}

impl Measurement {
    /// Enters `Measuring`.
    fn start(runs: &[&Run], stop: Stop, pids: &[u32]) -> Result<Self> {
        let (routers, client_cpu_us) = (usage::sample(pids)?, usage::own_cpu_us()?);
        let title = match runs {
            [run] => run.title,
            _ => "mixed load",
        };
        let start = Instant::now();
        let sampler = Sampler::start(Subject {
            title: title.to_owned(),
            recorders: runs.iter().map(|run| run.recorder.clone()).collect(),
            routers: routers.clone(),
            planned: match stop {
                Stop::After(duration) => Some(duration),
                Stop::Operations(_) => None,
            },
        })?;
        runs.iter().for_each(|run| run.enter(Phase::Measuring));
        Ok(Self {
            start,
            routers,
            client_cpu_us,
            sampler,
        })
    }

    /// What the line on the terminal says at its end; see [`sampler::Note`].
    fn note(&self) -> sampler::Note {
        self.sampler.note()
    }

    /// Enters `Draining`.
    async fn end(self, runs: &[&Run]) -> Result<Measured> {
        runs.iter().for_each(|run| run.enter(Phase::Draining));
        let pids: Vec<u32> = self.routers.keys().copied().collect();
        let after = usage::sample(&pids)?;
        self.conclude(runs, after).await
    }

    /// The same after a failure, which may be that a router has died: then there is nothing to read about it.
    async fn end_of_broken(self, runs: &[&Run]) -> Result<Measured> {
        runs.iter().for_each(|run| run.enter(Phase::Draining));
        let after = self.routers.keys().flat_map(|pid| usage::sample(&[*pid]).unwrap_or_default());
        let after = after.collect();
        self.conclude(runs, after).await
    }

    async fn conclude(self, runs: &[&Run], mut routers: BTreeMap<u32, Usage>) -> Result<Measured> {
        let elapsed = self.start.elapsed();
        for (pid, usage) in &mut routers {
            usage.cpu_us = usage.cpu_us.saturating_sub(self.routers[pid].cpu_us);
        }
        let client_cpu_us = usage::own_cpu_us()?.saturating_sub(self.client_cpu_us);
        let Sampled { histogram, series } = self.sampler.finish().await?;
        Ok(Measured {
            elapsed,
            operations: runs.iter().map(|run| run.recorder.lock().operations()).sum(),
            latency: Latency::of(&histogram),
            trace: Trace {
                series,
                ..Trace::of(&histogram)
            },
            histogram,
            routers,
            client_cpu_us,
            history: history::Report::default(),
            first_failure: None,
        })
    }
}

async fn unless_a_task_ends(tasks: &mut JoinSet<Result<()>>, waiting: impl Future<Output = ()>) -> Result<()> {
    tokio::select! {
        () = waiting => Ok(()),
        Some(ended) = tasks.join_next() => {
            ended.context("a task of the load has panicked")??;
            bail!("a peer of the load left before the end")
        }
    }
}

/// Tasks that are done by the end of a run may leave; one that fails is the run's error.
async fn until_a_task_fails(tasks: &mut JoinSet<Result<()>>) -> anyhow::Error {
    while let Some(ended) = tasks.join_next().await {
        if let Err(error) = ended.context("a task of the load has panicked").flatten() {
            return error;
        }
    }
    pending().await
}

/// Connects all `roles`, in order of the result.
async fn connect_all(target: &Target, roles: Vec<Role>) -> Result<Vec<Connection>> {
    let wanted = roles.len();
    let connecting = roles.into_iter().map(|role| async move {
        target
            .connect(&role)
            .await
            .with_context(|| format!("cannot bring up {role:?}"))
    });
    let mut connecting = stream::iter(connecting).buffered(CONNECTING_MAX);
    let (mut connected, mut progress) = (Vec::with_capacity(wanted), Progress::new());
    while let Some(connection) = connecting.try_next().await? {
        connected.push(connection);
        if connected.len().is_multiple_of(CONNECTING_MAX) {
            let (count, all) = (thousands(connected.len() as f64), thousands(wanted as f64));
            progress.show(&format!("connecting  {count}/{all}"));
        }
    }
    Ok(connected)
}
