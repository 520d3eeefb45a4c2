//! Calls: `callers` keep a window of calls open against `callees` that echo.

use std::{
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use anyhow::Result;
use tokio::task::JoinSet;

use super::{
    Measured, Pace, Phase, Run, Timing, connect_all,
    ensemble::{Alone, Ensemble, Share, Shares, Witness},
    pace::{Paced, Pacer},
    ready,
};
use crate::{
    history::{Answer, Expect, Observation},
    peer::{Connection, Incoming, Role, Target},
    tag::{Tag, blank},
};

/// A load of calls.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where the callers connect.
    pub callers_at: Target,
    /// Where the callees connect; another node of the router, for figures across nodes.
    pub callees_at: Target,
    /// The number of callers, one connection each.
    pub callers: u32,
    /// The number of callees, one connection each.
    pub callees: u32,
    /// With an invocation policy all callees register one procedure; otherwise each has its own, and callers take turns.
    pub invoke: Option<String>,
    /// The procedure, or its beginning.
    pub procedure: String,
    /// Calls that one caller keeps open.
    pub window: u32,
    /// Bytes of payload.
    pub payload: usize,
    /// How fast.
    pub pace: Pace,
    /// How long.
    pub timing: Timing,
    /// The router's processes.
    pub pids: Vec<u32>,
}

/// Runs the load.
///
/// # Errors
/// When peers cannot be brought up or one fails on the way. Violations are no errors but part of the result.
pub async fn run(plan: &Plan) -> Result<Measured> {
    let shares = Shares {
        senders: Share::whole(plan.callers),
        receivers: Share::whole(plan.callees),
    };
    Ok(run_share(plan, &shares, &mut Alone).await?.judged())
}

/// Runs a part of the load, in step with the processes that run the others.
///
/// # Errors
/// As for [`run`], and when the ensemble breaks.
pub async fn run_share(plan: &Plan, shares: &Shares, ensemble: &mut impl Ensemble) -> Result<Witness> {
    let mut peers = Peers::connect_share(plan, shares).await?;
    let run = Run::new("calls", Expect::Calls, plan.timing.stop);
    let mut tasks = JoinSet::new();
    peers.answer(plan, &run, &mut tasks);
    ready(ensemble, &mut tasks, &mut peers.callers).await?;
    let calling = peers.call(plan, &run, &mut tasks)?;
    let watched = run.clone();
    ensemble.watch(Box::new(move || watched.recorder.lock().operations()));
    let measured = run.measure(&plan.timing, &plan.pids, &mut tasks).await?;
    // A caller has drained when it has all its answers; it needs no count of anybody's messages.
    let drained = |_| calling.is_over();
    run.finish(measured, &plan.timing, tasks, ensemble, || Some(0), drained).await
}

/// Callers and callees that have joined and registered.
pub(super) struct Peers {
    shares: Shares,
    callers: Vec<Connection>,
    callees: Vec<Connection>,
}

/// A load of calls under way; dropping it ends the pace.
pub(super) struct Calling {
    _pacer: Option<Pacer>,
    /// Callers that still have calls open.
    callers: Arc<AtomicUsize>,
}

impl Peers {
    /// Brings up all peers of `plan`.
    pub(super) async fn connect(plan: &Plan) -> Result<Self> {
        let shares = Shares {
            senders: Share::whole(plan.callers),
            receivers: Share::whole(plan.callees),
        };
        Self::connect_share(plan, &shares).await
    }

    async fn connect_share(plan: &Plan, shares: &Shares) -> Result<Self> {
        let procedure = |index: u32| match plan.invoke {
            Some(_) => plan.procedure.clone(),
            None => format!("{}.{}", plan.procedure, index % plan.callees.max(1)),
        };
        let callee = |index| Role::Callee {
            index,
            procedure: procedure(index),
            invoke: plan.invoke.clone(),
        };
        let caller = |index| Role::Caller {
            index,
            procedure: procedure(index),
        };
        let callees = connect_all(&plan.callees_at, shares.receivers.range().map(callee).collect()).await?;
        let callers = connect_all(&plan.callers_at, shares.senders.range().map(caller).collect()).await?;
        tokio::time::sleep(plan.callees_at.settling()).await;
        Ok(Self {
            shares: *shares,
            callers,
            callees,
        })
    }

    /// Lets all of them work as tasks of `run`.
    pub(super) fn start(mut self, plan: &Plan, run: &Arc<Run>, tasks: &mut JoinSet<Result<()>>) -> Result<Calling> {
        self.answer(plan, run, tasks);
        self.call(plan, run, tasks)
    }

    fn answer(&mut self, plan: &Plan, run: &Arc<Run>, tasks: &mut JoinSet<Result<()>>) {
        for (sink, connection) in (self.shares.receivers.first..).zip(self.callees.drain(..)) {
            tasks.spawn(answer(run.clone(), connection, sink, plan.payload));
        }
    }

    fn call(self, plan: &Plan, run: &Arc<Run>, tasks: &mut JoinSet<Result<()>>) -> Result<Calling> {
        let senders = self.shares.senders;
        let (pacer, paces) = Pacer::start(senders.pace(plan.pace), run.clock, senders.count)?;
        let calling = Arc::new(AtomicUsize::new(self.callers.len()));
        for ((source, connection), pace) in (senders.first..).zip(self.callers).zip(paces) {
            let caller = Caller {
                run: run.clone(),
                connection,
                source,
                window: plan.window,
                pace,
                calling: calling.clone(),
            };
            tasks.spawn(caller.call(plan.payload));
        }
        Ok(Calling {
            _pacer: pacer,
            callers: calling,
        })
    }
}

impl Calling {
    /// True once the drain has brought an answer to every call.
    pub(super) fn is_over(&self) -> bool {
        self.callers.load(Ordering::Relaxed) == 0
    }
}

/// A callee: the protocol echoes, this only keeps the history.
async fn answer(run: Arc<Run>, mut connection: Connection, sink: u32, payload: usize) -> Result<()> {
    let mut changes = run.changes.subscribe();
    while !run.is(Phase::Stopped) {
        tokio::select! {
            turned = connection.turn() => turned?,
            _ = changes.changed() => continue,
        }
        let mut history = run.history.lock();
        while let Some(incoming) = connection.take()? {
            if let Incoming::Invoked(body) = incoming
                && let Some(Tag { source, sequence, .. }) = Run::checked(&mut history, body, payload)
            {
                history.apply(Observation::Delivered {
                    group: 0,
                    sink,
                    source,
                    sequence,
                });
            }
        }
    }
    Ok(())
}

struct Caller {
    run: Arc<Run>,
    connection: Connection,
    source: u32,
    window: u32,
    pace: Option<Paced>,
    /// Callers that still have calls open.
    calling: Arc<AtomicUsize>,
}

impl Caller {
    async fn call(mut self, payload: usize) -> Result<()> {
        let mut changes = self.run.changes.subscribe();
        let mut body = blank(payload);
        let (mut sequence, mut open, mut ended) = (0, 0, Vec::new());
        let mut calling = true;
        while !self.run.is(Phase::Stopped) {
            if self.run.is_sending() {
                self.fill_window(&mut sequence, &mut open, &mut body)?;
            } else if open == 0 && calling {
                // The connection stays, so that an answer too many is noticed.
                calling = false;
                self.calling.fetch_sub(1, Ordering::Relaxed);
            }
            let bell = async {
                match &self.pace {
                    Some(paced) if open < self.window => paced.bell.notified().await,
                    _ => pending().await,
                }
            };
            tokio::select! {
                turned = self.connection.turn() => turned?,
                () = bell => continue,
                _ = changes.changed() => continue,
            }
            let now = self.run.clock.nanos();
            open -= self.take_answers(payload, &mut ended)?.min(open);
            self.run.record(now, &ended);
            ended.clear();
        }
        Ok(())
    }

    fn fill_window(&mut self, sequence: &mut u64, open: &mut u32, body: &mut [u8]) -> Result<()> {
        let now = self.run.clock.nanos();
        while *open < self.window && !self.connection.is_congested() {
            let sent = match &mut self.pace {
                None => now,
                Some(paced) => match paced.schedule.take(now) {
                    Some(due) => due,
                    None => break,
                },
            };
            Tag {
                source: self.source,
                sequence: *sequence,
                sent,
            }
            .write(body);
            self.run.history.lock().apply(Observation::Sent {
                source: self.source,
                sequence: *sequence,
            });
            self.connection.call(*sequence, body)?;
            *sequence += 1;
            *open += 1;
        }
        Ok(())
    }

    /// Takes what came; `ended` gets the sending times of what was answered, the result counts all final answers.
    fn take_answers(&mut self, payload: usize, ended: &mut Vec<u64>) -> Result<u32> {
        let mut count = 0;
        let mut history = self.run.history.lock();
        while let Some(incoming) = self.connection.take()? {
            let (sequence, answer) = match incoming {
                Incoming::Answered { sequence, body } => {
                    if let Some(tag) = Run::checked(&mut history, body, payload) {
                        if (tag.source, tag.sequence) != (self.source, sequence) {
                            history.apply(Observation::Misdirected);
                        }
                        ended.push(tag.sent);
                    }
                    (sequence, Answer::Result)
                }
                Incoming::Failed { sequence, reason } => {
                    self.run.failure(reason);
                    (sequence, Answer::Error)
                }
                _ => continue,
            };
            count += 1;
            history.apply(Observation::Answered {
                source: self.source,
                sequence,
                answer,
            });
        }
        Ok(count)
    }
}
