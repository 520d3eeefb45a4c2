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

pub mod ensemble;
mod pace;
pub mod pubsub;
mod recorder;
pub mod rpc;

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
use tokio::{
    sync::{Notify, watch},
    task::JoinSet,
    time::{sleep, timeout},
};

pub use pace::Pace;
pub use recorder::{Latency, histogram};

use self::ensemble::{Ensemble, Witness};
use crate::{
    history::{self, Expect, History},
    peer::{Body, Connection, Role, Target},
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
    clock: Clock,
    /// The phase twice: cheap to look at for every batch, and waited for by sleeping tasks.
    phase: AtomicU8,
    changes: watch::Sender<Phase>,
    expect: Expect,
    history: history::Shared,
    recorder: recorder::Shared,
    /// The number of operations to stop at.
    quota: u64,
    enough: Notify,
}

impl Run {
    fn new(expect: Expect, stop: Stop) -> Arc<Self> {
        let quota = match stop {
            Stop::After(_) => u64::MAX,
            Stop::Operations(count) => count,
        };
        Arc::new(Self {
            clock: Clock::start(),
            phase: AtomicU8::new(Phase::Warmup as u8),
            changes: watch::Sender::new(Phase::Warmup),
            expect,
            history: history::Shared::new(expect),
            recorder: recorder::Shared::default(),
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
        if (ended.is_empty() && foreign == 0) || !self.is(Phase::Measuring) {
            return;
        }
        let mut recorder = self.recorder.lock();
        for sent in ended {
            recorder.record(now.saturating_sub(*sent));
        }
        recorder.foreign += foreign;
        if recorder.operations() >= self.quota {
            self.enough.notify_one();
        }
    }

    /// Notes a call's error; only the first is kept in words.
    fn failure(&self, reason: String) {
        self.recorder.lock().first_failure.get_or_insert(reason);
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
        let (routers, client) = (usage::sample(pids)?, usage::own_cpu_us()?);
        let start = Instant::now();
        self.enter(Phase::Measuring);
        match timing.stop {
            Stop::After(duration) => unless_a_task_ends(tasks, sleep(duration)).await?,
            Stop::Operations(_) => unless_a_task_ends(tasks, self.enough.notified()).await?,
        }
        self.enter(Phase::Draining);
        let elapsed = start.elapsed();
        let mut after = usage::sample(pids)?;
        for (pid, usage) in &mut after {
            usage.cpu_us = usage.cpu_us.saturating_sub(routers[pid].cpu_us);
        }
        let client_cpu_us = usage::own_cpu_us()?.saturating_sub(client);
        let recorder = self.recorder.lock();
        Ok(Measured {
            elapsed,
            operations: recorder.operations(),
            latency: recorder.latency(),
            routers: after,
            client_cpu_us,
            history: history::Report::default(),
            first_failure: None,
        })
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
            Err(error) = unless_a_task_ends(&mut tasks, pending()) => return Err(error),
        }
        sleep(SETTLE).await;
        self.enter(Phase::Stopped);
        while let Some(ended) = tasks.join_next().await {
            ended.context("a task of the load has panicked")??;
        }
        let mut recorder = self.recorder.lock();
        measured.first_failure = recorder.first_failure.take();
        Ok(Witness {
            measured,
            history: std::mem::replace(&mut *self.history.lock(), History::new(self.expect)),
            latencies: recorder.histogram().clone(),
        })
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

async fn unless_a_task_ends(tasks: &mut JoinSet<Result<()>>, waiting: impl Future<Output = ()>) -> Result<()> {
    tokio::select! {
        () = waiting => Ok(()),
        Some(ended) = tasks.join_next() => {
            ended.context("a task of the load has panicked")??;
            bail!("a peer of the load left before the end")
        }
    }
}

/// Connects all `roles`, in order of the result.
async fn connect_all(target: &Target, roles: Vec<Role>) -> Result<Vec<Connection>> {
    let connecting = roles.into_iter().map(|role| async move {
        target
            .connect(&role)
            .await
            .with_context(|| format!("cannot bring up {role:?}"))
    });
    stream::iter(connecting).buffered(CONNECTING_MAX).try_collect().await
}
