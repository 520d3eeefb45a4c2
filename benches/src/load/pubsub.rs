//! Events: `publishers` publish to one topic that `subscribers` receive.
//!
//! In a closed loop a publisher has at most `window` events that not every subscriber has got; the subscribers of this process
//! tell it ([`Pacing::Delivery`]), or the router's acknowledgement does ([`Pacing::Acknowledgement`]). With a fixed rate there is
//! no window: the router must keep up.

use std::{
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use anyhow::Result;
use tokio::{sync::Notify, task::JoinSet};

use super::{
    Measured, Pace, Phase, Run, Timing, connect_all,
    pace::{Paced, Pacer},
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

/// What a publisher and its receivers share.
#[derive(Debug, Default)]
struct Feedback {
    /// Events published.
    sent: AtomicU64,
    /// Deliveries of them, over all subscribers.
    delivered: AtomicU64,
    /// Rings whenever one more event has reached as many as there are subscribers.
    progress: Notify,
}

/// Runs the load. [`Measured::operations`] counts deliveries.
///
/// # Errors
/// When peers cannot be brought up or one fails on the way. Violations are no errors but part of the result.
pub async fn run(plan: &Plan) -> Result<Measured> {
    let peers = Peers::connect(plan).await?;
    let run = Run::new(plan.expect(), plan.timing.stop);
    let mut tasks = JoinSet::new();
    let publishing = peers.start(plan, &run, &mut tasks)?;
    let measured = run.measure(&plan.timing, &plan.pids, &mut tasks).await?;
    run.finish(measured, &plan.timing, tasks, async || publishing.is_over()).await
}

impl Plan {
    /// What the history of such a load must contain.
    pub(super) fn expect(&self) -> Expect {
        Expect::Events {
            groups: self.subscribers,
        }
    }
}

/// Publishers and subscribers that have joined and subscribed.
pub(super) struct Peers {
    publishers: Vec<Connection>,
    subscribers: Vec<Connection>,
}

/// A load of events under way; dropping it ends the pace.
pub(super) struct Publishing {
    _pacer: Option<Pacer>,
    feedback: Arc<[Feedback]>,
    subscribers: u64,
}

impl Peers {
    /// Brings up all peers of `plan`.
    pub(super) async fn connect(plan: &Plan) -> Result<Self> {
        let subscriber = |index| Role::Subscriber {
            index,
            topic: plan.topic.clone(),
        };
        let publisher = |index| Role::Publisher {
            index,
            topic: plan.topic.clone(),
        };
        let mut subscribers = Vec::new();
        let nodes = plan.subscribers_at.len();
        for (node, target) in plan.subscribers_at.iter().enumerate() {
            let roles = (0..plan.subscribers).skip(node).step_by(nodes).map(subscriber).collect();
            subscribers.append(&mut connect_all(target, roles).await?);
        }
        let publishers = connect_all(&plan.publishers_at, (0..plan.publishers).map(publisher).collect()).await?;
        tokio::time::sleep(plan.publishers_at.settling()).await;
        Ok(Self { publishers, subscribers })
    }

    /// Lets them work as tasks of `run`.
    pub(super) fn start(self, plan: &Plan, run: &Arc<Run>, tasks: &mut JoinSet<Result<()>>) -> Result<Publishing> {
        let (pacer, paces) = Pacer::start(plan.pace, run.clock, plan.publishers)?;
        let feedback: Arc<[Feedback]> = self.publishers.iter().map(|_| Feedback::default()).collect();
        for (sink, connection) in (0..).zip(self.subscribers) {
            let subscriber = Subscriber {
                run: run.clone(),
                connection,
                sink,
                feedback: feedback.clone(),
            };
            tasks.spawn(subscriber.receive(plan.payload, plan.subscribers.into()));
        }
        for ((source, connection), pace) in (0..).zip(self.publishers).zip(paces) {
            let publisher = Publisher {
                run: run.clone(),
                connection,
                source,
                pace,
                feedback: feedback.clone(),
            };
            tasks.spawn(publisher.publish(plan.clone()));
        }
        Ok(Publishing {
            _pacer: pacer,
            feedback,
            subscribers: plan.subscribers.into(),
        })
    }
}

impl Publishing {
    /// True once the drain has brought every event to every subscriber.
    pub(super) fn is_over(&self) -> bool {
        let arrived = |f: &Feedback| f.delivered.load(Ordering::Relaxed) >= f.sent.load(Ordering::Relaxed) * self.subscribers;
        self.feedback.iter().all(arrived)
    }
}

struct Subscriber {
    run: Arc<Run>,
    connection: Connection,
    sink: u32,
    feedback: Arc<[Feedback]>,
}

impl Subscriber {
    async fn receive(mut self, payload: usize, subscribers: u64) -> Result<()> {
        let mut changes = self.run.changes.subscribe();
        let mut ended = Vec::new();
        while !self.run.is(Phase::Stopped) {
            tokio::select! {
                turned = self.connection.turn() => turned?,
                _ = changes.changed() => continue,
            }
            let now = self.run.clock.nanos();
            self.take_events(payload, subscribers, &mut ended)?;
            self.run.record(now, &ended);
            ended.clear();
        }
        Ok(())
    }

    fn take_events(&mut self, payload: usize, subscribers: u64, ended: &mut Vec<u64>) -> Result<()> {
        let sink = self.sink;
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
                ended.push(sent);
                let Some(feedback) = self.feedback.get(source as usize) else {
                    continue;
                };
                let delivered = feedback.delivered.fetch_add(1, Ordering::Relaxed) + 1;
                if delivered.is_multiple_of(subscribers) {
                    feedback.progress.notify_one();
                }
            }
        }
        Ok(())
    }
}

struct Publisher {
    run: Arc<Run>,
    connection: Connection,
    source: u32,
    pace: Option<Paced>,
    feedback: Arc<[Feedback]>,
}

impl Publisher {
    async fn publish(mut self, plan: Plan) -> Result<()> {
        let mut changes = self.run.changes.subscribe();
        let mut body = blank(plan.payload);
        let mut acknowledged = 0;
        while !self.run.is(Phase::Stopped) {
            if self.run.is_sending() {
                self.fill_window(&plan, acknowledged, &mut body)?;
            }
            let feedback = &self.feedback[self.source as usize];
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

    fn fill_window(&mut self, plan: &Plan, acknowledged: u64, body: &mut [u8]) -> Result<()> {
        let now = self.run.clock.nanos();
        let acknowledge = match plan.pacing {
            Pacing::Acknowledgement => Acknowledge::Yes,
            Pacing::Delivery => Acknowledge::No,
        };
        let feedback = &self.feedback[self.source as usize];
        while !self.connection.is_congested() {
            let sequence = feedback.sent.load(Ordering::Relaxed);
            let done = match plan.pacing {
                Pacing::Acknowledgement => acknowledged,
                Pacing::Delivery => feedback.delivered.load(Ordering::Relaxed) / u64::from(plan.subscribers).max(1),
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
