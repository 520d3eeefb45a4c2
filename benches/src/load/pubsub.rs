//! Events: `publishers` publish to one topic that `subscribers` receive.
//!
//! In a closed loop a publisher has at most `window` events that not every subscriber has got; the subscribers of this process
//! tell it ([`Pacing::Delivery`]), or the router's acknowledgement does ([`Pacing::Acknowledgement`]). With a fixed rate there is
//! no window: the router must keep up. Where several processes carry the load, the subscribers of the publisher's own process open
//! its window and take latencies, since they share a clock with it; the others count and check.

use std::{
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use anyhow::{Context as _, Result};
use tokio::{sync::Notify, task::JoinSet};

use super::{
    Measured, Pace, Phase, Run, Timing, connect_all,
    ensemble::{Alone, Ensemble, Share, Shares, Witness},
    pace::{Paced, Pacer},
    ready,
};
use crate::{
    history::{Answer, Expect, Observation},
    peer::{Acknowledge, Connection, Incoming, Role, Target},
    tag::{Tag, blank},
};

/// A load of events.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where the publishers connect.
    pub publishers_at: Target,
    /// Where the subscribers connect, in turn; several nodes of one router, for figures across nodes.
    pub subscribers_at: Vec<Target>,
    /// The number of publishers, one connection each.
    pub publishers: u32,
    /// The number of subscribers, one connection each.
    pub subscribers: u32,
    /// The topic.
    pub topic: String,
    /// Events of one publisher under way; not used with a fixed rate.
    pub window: u32,
    /// What opens the window again.
    pub pacing: Pacing,
    /// Bytes of payload.
    pub payload: usize,
    /// How fast.
    pub pace: Pace,
    /// How long.
    pub timing: Timing,
    /// The router's processes.
    pub pids: Vec<u32>,
}

/// What a publisher in a closed loop waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pacing {
    /// That every subscriber has the event.
    Delivery,
    /// That the router acknowledges it.
    Acknowledgement,
}

/// What the publishers and subscribers of this process share.
struct Board {
    /// By publisher of this process.
    own: Box<[Feedback]>,
    /// The number of the first of those.
    first: u32,
    /// Subscribers in this process.
    subscribers: u64,
    /// Deliveries of events from publishers of other processes.
    foreign: AtomicU64,
    /// Publishers of this process that may still publish.
    publishing: AtomicUsize,
}

impl Board {
    /// The publisher `source`, if it is one of this process.
    fn own(&self, source: u32) -> Option<&Feedback> {
        self.own.get(source.checked_sub(self.first)? as usize)
    }

    /// How much this process has published, once that is final.
    fn sent(&self) -> Option<u64> {
        let sent = || self.own.iter().map(|own| own.sent.load(Ordering::Relaxed)).sum();
        (self.publishing.load(Ordering::Acquire) == 0).then(sent)
    }

    /// Deliveries to the subscribers of this process.
    fn delivered(&self) -> u64 {
        let own = self.own.iter().map(|own| own.delivered.load(Ordering::Relaxed));
        own.sum::<u64>() + self.foreign.load(Ordering::Relaxed)
    }
}

/// What a publisher and the subscribers of its process share.
#[derive(Debug, Default)]
struct Feedback {
    /// Events published.
    sent: AtomicU64,
    /// Deliveries of them, over all subscribers of this process.
    delivered: AtomicU64,
    /// Rings whenever one more event has reached as many as there are subscribers.
    progress: Notify,
}

/// Runs the load. [`Measured::operations`] counts deliveries.
///
/// # Errors
/// When peers cannot be brought up or one fails on the way. Violations are no errors but part of the result.
pub async fn run(plan: &Plan) -> Result<Measured> {
    Ok(run_share(plan, &plan.whole(), &mut Alone).await?.judged())
}

/// Runs a part of the load, in step with the processes that run the others.
///
/// # Errors
/// As for [`run`], and when the ensemble breaks.
pub async fn run_share(plan: &Plan, shares: &Shares, ensemble: &mut impl Ensemble) -> Result<Witness> {
    let mut peers = Peers::connect_share(plan, shares).await?;
    let run = Run::new("events", plan.expect(), plan.timing.stop);
    let mut tasks = JoinSet::new();
    peers.listen(plan, &run, &mut tasks);
    ready(ensemble, &mut tasks, &mut peers.publishers).await?;
    let publishing = peers.publish(plan, &run, &mut tasks)?;
    let board = publishing.board.clone();
    let watched = run.clone();
    ensemble.watch(Box::new(move || watched.recorder.lock().operations()));
    let measured = run.measure(&plan.timing, &plan.pids, &mut tasks).await?;
    let drained = |sent: u64| board.delivered() >= sent.saturating_mul(board.subscribers);
    run.finish(measured, &plan.timing, tasks, ensemble, || board.sent(), drained)
        .await
}

impl Plan {
    /// What the history of such a load must contain.
    pub(super) fn expect(&self) -> Expect {
        Expect::Events {
            groups: self.subscribers,
        }
    }

    fn whole(&self) -> Shares {
        Shares {
            senders: Share::whole(self.publishers),
            receivers: Share::whole(self.subscribers),
        }
    }
}

/// Publishers and subscribers that have joined and subscribed.
pub(super) struct Peers {
    shares: Shares,
    board: Arc<Board>,
    publishers: Vec<Connection>,
    /// With their numbers.
    subscribers: Vec<(u32, Connection)>,
}

/// A load of events under way; dropping it ends the pace.
pub(super) struct Publishing {
    _pacer: Option<Pacer>,
    board: Arc<Board>,
}

impl Peers {
    /// Brings up all peers of `plan`.
    pub(super) async fn connect(plan: &Plan) -> Result<Self> {
        Self::connect_share(plan, &plan.whole()).await
    }

    async fn connect_share(plan: &Plan, shares: &Shares) -> Result<Self> {
        let subscriber = |index| Role::Subscriber {
            index,
            topic: plan.topic.clone(),
        };
        let publisher = |index| Role::Publisher {
            index,
            topic: plan.topic.clone(),
        };
        let Shares { senders, receivers } = *shares;
        let mut subscribers = Vec::new();
        let nodes = plan.subscribers_at.len() as u32;
        for (node, target) in (0..).zip(&plan.subscribers_at) {
            let here: Vec<u32> = receivers.range().filter(|index| index % nodes == node).collect();
            let joined = connect_all(target, here.iter().copied().map(subscriber).collect()).await?;
            subscribers.extend(here.into_iter().zip(joined));
        }
        let publishers = connect_all(&plan.publishers_at, senders.range().map(publisher).collect()).await?;
        tokio::time::sleep(plan.publishers_at.settling()).await;
        let board = Arc::new(Board {
            own: publishers.iter().map(|_| Feedback::default()).collect(),
            first: senders.first,
            subscribers: receivers.count.into(),
            foreign: AtomicU64::new(0),
            publishing: AtomicUsize::new(publishers.len()),
        });
        Ok(Self {
            shares: *shares,
            board,
            publishers,
            subscribers,
        })
    }

    /// Lets all of them work as tasks of `run`.
    pub(super) fn start(mut self, plan: &Plan, run: &Arc<Run>, tasks: &mut JoinSet<Result<()>>) -> Result<Publishing> {
        self.listen(plan, run, tasks);
        self.publish(plan, run, tasks)
    }

    fn listen(&mut self, plan: &Plan, run: &Arc<Run>, tasks: &mut JoinSet<Result<()>>) {
        for (sink, connection) in self.subscribers.drain(..) {
            let subscriber = Subscriber {
                run: run.clone(),
                connection,
                sink,
                board: self.board.clone(),
            };
            tasks.spawn(subscriber.receive(plan.payload));
        }
    }

    fn publish(self, plan: &Plan, run: &Arc<Run>, tasks: &mut JoinSet<Result<()>>) -> Result<Publishing> {
        let senders = self.shares.senders;
        let (pacer, paces) = Pacer::start(senders.pace(plan.pace), run.clock, senders.count)?;
        for ((source, connection), pace) in (senders.first..).zip(self.publishers).zip(paces) {
            let publisher = Publisher {
                run: run.clone(),
                connection,
                source,
                pace,
                board: self.board.clone(),
            };
            tasks.spawn(publisher.publish(plan.clone()));
        }
        Ok(Publishing {
            _pacer: pacer,
            board: self.board,
        })
    }
}

impl Publishing {
    /// True once the drain has brought every event to every subscriber.
    pub(super) fn is_over(&self) -> bool {
        let board = &self.board;
        let arrived = |sent: u64| board.delivered() >= sent.saturating_mul(board.subscribers);
        board.sent().is_some_and(arrived)
    }
}

struct Subscriber {
    run: Arc<Run>,
    connection: Connection,
    sink: u32,
    board: Arc<Board>,
}

impl Subscriber {
    async fn receive(mut self, payload: usize) -> Result<()> {
        let mut changes = self.run.changes.subscribe();
        let mut ended = Vec::new();
        while !self.run.is(Phase::Stopped) {
            tokio::select! {
                turned = self.connection.turn() => turned?,
                _ = changes.changed() => continue,
            }
            let now = self.run.clock.nanos();
            let foreign = self.take_events(payload, &mut ended)?;
            self.run.record_with_foreign(now, &ended, foreign);
            ended.clear();
        }
        Ok(())
    }

    /// Takes what came; `ended` gets the sending times of this process's publishers, the result counts the events of others.
    fn take_events(&mut self, payload: usize, ended: &mut Vec<u64>) -> Result<u64> {
        let (sink, mut foreign) = (self.sink, 0);
        let mut history = self.run.history.lock();
        while let Some(incoming) = self.connection.take()? {
            if let Incoming::Event(body) = incoming
                && let Some(Tag { source, sequence, sent }) = Run::checked(&mut history, body, payload)
            {
                history.apply(Observation::Delivered {
                    group: sink,
                    sink,
                    source,
                    sequence,
                });
                let Some(feedback) = self.board.own(source) else {
                    foreign += 1;
                    continue;
                };
                ended.push(sent);
                let delivered = feedback.delivered.fetch_add(1, Ordering::Relaxed) + 1;
                if delivered.is_multiple_of(self.board.subscribers) {
                    feedback.progress.notify_one();
                }
            }
        }
        self.board.foreign.fetch_add(foreign, Ordering::Relaxed);
        Ok(foreign)
    }
}

struct Publisher {
    run: Arc<Run>,
    connection: Connection,
    source: u32,
    pace: Option<Paced>,
    board: Arc<Board>,
}

impl Publisher {
    async fn publish(mut self, plan: Plan) -> Result<()> {
        let mut changes = self.run.changes.subscribe();
        let mut body = blank(plan.payload);
        let (mut acknowledged, mut publishing) = (0, true);
        let board = self.board.clone();
        let feedback = board.own(self.source).context("a publisher has its place on the board")?;
        while !self.run.is(Phase::Stopped) {
            if self.run.is_sending() {
                self.fill_window(&plan, feedback, acknowledged, &mut body)?;
            } else if publishing {
                publishing = false;
                self.board.publishing.fetch_sub(1, Ordering::Release);
            }
            let bell = async {
                match &self.pace {
                    Some(paced) => paced.bell.notified().await,
                    None if plan.pacing == Pacing::Delivery => feedback.progress.notified().await,
                    None => pending().await,
                }
            };
            tokio::select! {
                turned = self.connection.turn() => turned?,
                () = bell => continue,
                _ = changes.changed() => continue,
            }
            acknowledged += self.take_answers()?;
        }
        Ok(())
    }

    fn fill_window(&mut self, plan: &Plan, feedback: &Feedback, acknowledged: u64, body: &mut [u8]) -> Result<()> {
        let now = self.run.clock.nanos();
        let acknowledge = match plan.pacing {
            Pacing::Acknowledgement => Acknowledge::Yes,
            Pacing::Delivery => Acknowledge::No,
        };
        while !self.connection.is_congested() {
            let sequence = feedback.sent.load(Ordering::Relaxed);
            let done = match plan.pacing {
                Pacing::Acknowledgement => acknowledged,
                Pacing::Delivery => feedback.delivered.load(Ordering::Relaxed) / self.board.subscribers.max(1),
            };
            let sent = match &mut self.pace {
                None if sequence - done.min(sequence) < u64::from(plan.window) => now,
                None => break,
                Some(paced) => match paced.schedule.take(now) {
                    Some(due) => due,
                    None => break,
                },
            };
            Tag {
                source: self.source,
                sequence,
                sent,
            }
            .write(body);
            feedback.sent.store(sequence + 1, Ordering::Relaxed);
            self.run.history.lock().apply(Observation::Sent {
                source: self.source,
                sequence,
            });
            self.connection.publish(sequence, body, acknowledge)?;
        }
        Ok(())
    }

    fn take_answers(&mut self) -> Result<u64> {
        let mut count = 0;
        let mut history = self.run.history.lock();
        while let Some(incoming) = self.connection.take()? {
            let (sequence, answer) = match incoming {
                Incoming::Acknowledged { sequence } => (sequence, Answer::Result),
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
