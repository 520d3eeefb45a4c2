//! One life of a link: from the moment all its streams are open until the first of them ends.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, Ordering::Relaxed},
    },
    time::Duration,
};

use parking_lot::Mutex;
use ringfort_proto::cluster::v1 as pb;
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, MissedTickBehavior, interval, sleep_until},
};
use tonic::Streaming;

use super::{
    Phase, Shared,
    accept::LaneIn,
    control::Control,
    convert::{self, Malformed},
    lane::Lane,
    receive::{LaneReader, note_received},
    stats::Counters,
};
use crate::{
    cluster::{
        interest::{self, Change},
        net::Bundle,
    },
    router::NodeRef,
};

/// What both ends of a link share on this node: its queues and how it stands.
pub(super) struct Link {
    /// The life of this node that made it.
    pub(super) made_by: NodeRef,
    /// The other end.
    pub(super) node: NodeRef,
    pub(super) name: String,
    pub(super) attempt: u64,
    pub(super) control: Arc<Control>,
    pub(super) lanes: Vec<Arc<Lane>>,
    pub(super) counters: Arc<Counters>,
    /// Why it has ended; set once.
    end: watch::Sender<Option<Arc<str>>>,
    /// True once nothing of it will be heard any more.
    over: watch::Sender<bool>,
    phase: AtomicU8,
    /// The peer's snapshot is applied here.
    peer_known: AtomicBool,
    /// So is ours over there.
    synced: AtomicBool,
    /// To the task that applies the peer's interest, while the link is up.
    apply: Mutex<Option<mpsc::Sender<Apply>>>,
}

/// What the applying task gets, in order.
pub(super) enum Apply {
    /// From the owner over the link.
    Message(interest::Message),
    /// The owner's table from wherever it was pulled.
    Table { version: u64, entries: Vec<Change> },
    /// The link takes frames.
    Ready,
}

impl Link {
    pub(super) fn new(made_by: NodeRef, node: NodeRef, name: String, attempt: u64, lanes: u32) -> Arc<Self> {
        let counters = Arc::<Counters>::default();
        Arc::new(Self {
            made_by,
            node,
            name,
            attempt,
            control: Arc::default(),
            lanes: (0..lanes).map(|_| Arc::new(Lane::new(counters.clone()))).collect(),
            counters,
            end: watch::Sender::new(None),
            over: watch::Sender::new(false),
            phase: AtomicU8::new(Phase::Handshaking as u8),
            peer_known: AtomicBool::new(false),
            synced: AtomicBool::new(false),
            apply: Mutex::new(None),
        })
    }

    /// Ends the link, whatever state it is in. The first reason stands.
    pub(super) fn end(&self, reason: &str) {
        self.end.send_if_modified(|end| {
            let first = end.is_none();
            end.get_or_insert_with(|| reason.into());
            first
        });
        self.control.close();
        self.lanes.iter().for_each(|lane| lane.close());
    }

    /// Why it has ended, if it has.
    pub(super) fn ended(&self) -> Option<Arc<str>> {
        self.end.borrow().clone()
    }

    /// Waits until it has ended.
    pub(super) async fn until_ended(&self) -> Arc<str> {
        let mut end = self.end.subscribe();
        match end.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or_else(|| "ended".into()),
            Err(_) => "ended".into(),
        }
    }

    /// Says that nothing of it will be heard any more.
    pub(super) fn set_over(&self) {
        self.over.send_replace(true);
    }

    /// Waits for that.
    pub(super) async fn until_over(&self) {
        // The sender lives in `self`.
        let _ = self.over.subscribe().wait_for(|over| *over).await;
    }

    pub(super) fn phase(&self) -> Phase {
        Phase::from_u8(self.phase.load(Relaxed))
    }

    pub(super) fn set_phase(&self, phase: Phase) {
        self.phase.store(phase as u8, Relaxed);
    }

    /// Hands something to the task that applies the peer's interest; false if it is not running or has too much to do.
    pub(super) fn apply(&self, what: Apply) -> bool {
        self.apply.lock().as_ref().is_some_and(|apply| apply.try_send(what).is_ok())
    }

    /// True once each end has applied the other's whole interest.
    pub(super) fn is_synced(&self) -> bool {
        self.synced.load(Relaxed)
    }

    fn note_synced(&self, shared: &Shared) {
        let both = self.peer_known.load(Relaxed) && shared.own.lock().snapshot_acked(self.node);
        if both && !self.synced.swap(true, Relaxed) {
            if self.phase() == Phase::Syncing {
                self.set_phase(Phase::Up);
            }
            tracing::info!(peer = %self.name, "router link synced");
            shared.changed();
        }
    }
}

/// Lives through a link all of whose streams are open, and tells the events about it. `early` is what the control stream has said
/// already. Runs on the control runtime.
pub(super) async fn live(
    shared: Arc<Shared>,
    link: Arc<Link>,
    (early, control_in): (Option<pb::LinkBatch>, Streaming<pb::LinkBatch>),
    lanes_in: Vec<LaneIn>,
) -> Arc<str> {
    let (apply, to_apply) = mpsc::channel(interest::WINDOW as usize + PULLED_MAX + 1);
    let (told_up, up) = oneshot::channel();
    let applying = shared
        .data
        .spawn(apply_interest(shared.clone(), link.clone(), to_apply, told_up));
    // An error means that the events panicked; there is no link then.
    if up.await.is_ok() {
        *link.apply.lock() = Some(apply);
        link.set_phase(Phase::Syncing);
        shared.own.lock().follow(link.node, std::time::Instant::now());
        shared.table.write().insert(link.node, link.clone());
        link.apply(Apply::Ready);
        shared.changed();
        tracing::info!(peer = %link.name, slot = link.node.slot.0, epoch = link.node.epoch, "router link up");
        link.control.wake();

        let lanes = link.lanes.iter().zip(lanes_in);
        let readers: Vec<_> = lanes
            .map(|(lane, (stream, bundle))| Reader::start(&bundle, read_lane(shared.clone(), link.clone(), lane.clone(), stream)))
            .collect();
        if let Some(Err(reason)) = early.map(|batch| on_control(&shared, &link, batch)) {
            link.end(&reason);
        }
        watch_over(&shared, &link, control_in).await;

        shared.table.write().remove(&link.node);
        shared.own.lock().unfollow(link.node);
        shared.acks.notify_one();
        for reader in readers {
            reader.stop().await;
        }
    }
    link.apply.lock().take();
    // Its last deed is to tell the events that the link is down.
    if applying.await.is_err() {
        link.end("the receiver of its events panicked");
    }
    shared.changed();
    let reason = link.until_ended().await;
    tracing::warn!(peer = %link.name, slot = link.node.slot.0, epoch = link.node.epoch, reason = &*reason, "router link down");
    reason
}

/// Reads the control stream and watches for silence, until the link has ended.
async fn watch_over(shared: &Shared, link: &Link, mut stream: Streaming<pb::LinkBatch>) {
    let config = &shared.config;
    let mut heard = Instant::now();
    let mut pinged = Instant::now();
    let mut tick = interval(config.ping_interval / 4);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut stuck = Stuck::new(link);
    let mut ended = std::pin::pin!(link.until_ended());
    loop {
        tokio::select! {
            // Read before judging: after a pause of this process, what has been said meanwhile counts.
            biased;
            _ = &mut ended => return,
            message = stream.message() => match message {
                Ok(Some(batch)) => {
                    heard = Instant::now();
                    if let Err(reason) = on_control(shared, link, batch) {
                        link.end(&reason);
                    }
                }
                Ok(None) => link.end("the peer ended it"),
                Err(status) => link.end(&describe(&status)),
            },
            () = sleep_until(heard + config.silence_max) => {
                link.end(&format!("nothing was heard for {:?}", config.silence_max));
            }
            _ = tick.tick() => {
                if pinged.elapsed() >= config.ping_interval {
                    pinged = Instant::now();
                    link.counters.pinged();
                    link.control.ping();
                }
                if shared.own.lock().overdue(std::time::Instant::now(), config.ack_deadline).contains(&link.node) {
                    link.end(&format!("interest was not acknowledged within {:?}", config.ack_deadline));
                }
                if stuck.for_longer_than(link, config.stall_max) {
                    link.end(&format!("a data lane took nothing for {:?}", config.stall_max));
                }
            }
        }
    }
}

/// Notices a lane that holds frames and sends none.
struct Stuck(Vec<(u64, Instant)>);

impl Stuck {
    fn new(link: &Link) -> Self {
        Self(link.lanes.iter().map(|_| (0, Instant::now())).collect())
    }

    fn for_longer_than(&mut self, link: &Link, limit: Duration) -> bool {
        self.0.iter_mut().zip(&link.lanes).any(|((taken, since), lane)| {
            let now_taken = lane.taken.load(Relaxed);
            if lane.is_empty() || now_taken != *taken {
                (*taken, *since) = (now_taken, Instant::now());
            }
            since.elapsed() > limit
        })
    }
}

fn on_control(shared: &Shared, link: &Link, batch: pb::LinkBatch) -> Result<(), String> {
    use pb::link_frame::Kind;
    note_received(&link.control.received, batch.first_seq, batch.frames.len() as u64)?;
    for frame in batch.frames {
        match frame.kind {
            Some(Kind::Ping(_)) => link.control.pong(),
            Some(Kind::Pong(_)) => link.counters.ponged(),
            Some(Kind::InterestSnapshot(snapshot)) => offer(link, convert::snapshot_in(snapshot))?,
            Some(Kind::InterestDelta(delta)) => offer(link, convert::delta_in(delta))?,
            Some(Kind::InterestAck(ack)) => {
                let now = std::time::Instant::now();
                shared
                    .own
                    .lock()
                    .acked(link.node, ack.messages, ack.version, now)
                    .map_err(|broken| broken.to_string())?;
                shared.acks.notify_one();
                link.note_synced(shared);
                // The window has opened.
                link.control.wake();
            }
            Some(Kind::Cookies(news)) => {
                for news in convert::cookies_in(news) {
                    shared.events.cookie(news);
                }
            }
            Some(Kind::Logins(reports)) => {
                for report in convert::logins_in(reports) {
                    shared.events.login(report);
                }
            }
            Some(Kind::Drain(_)) => {
                link.set_phase(Phase::Draining);
                shared.changed();
            }
            _ => {
                link.counters.unknown_frames.fetch_add(1, Relaxed);
            }
        }
    }
    Ok(())
}

fn offer(link: &Link, message: Result<interest::Message, Malformed>) -> Result<(), String> {
    let message = message.map_err(|malformed| malformed.to_string())?;
    // The peer waits for acknowledgements after a window of messages, so a full queue is its fault.
    if link.apply(Apply::Message(message)) {
        Ok(())
    } else {
        Err("more interest than was acknowledged".to_owned())
    }
}

/// Tells the events that the link is up, applies the peer's interest, and tells them that the link is down. The order of these is
/// what this task is for. Runs on the main runtime, since realms are locked for it.
async fn apply_interest(shared: Arc<Shared>, link: Arc<Link>, mut messages: mpsc::Receiver<Apply>, told_up: oneshot::Sender<()>) {
    shared.events.up(link.node);
    let _ = told_up.send(());
    let mut applied = 0;
    while let Some(what) = messages.recv().await {
        if link.ended().is_some() {
            break;
        }
        let (changes, acknowledge) = match what {
            Apply::Message(message) => {
                applied += 1;
                let last = matches!(message, interest::Message::Snapshot { last: true, .. });
                let outcome = shared.replicas.lock().apply(link.node, message);
                match outcome {
                    Ok((changes, version)) => (changes, Some((version, last))),
                    Err(broken) => {
                        link.end(&broken.to_string());
                        break;
                    }
                }
            }
            Apply::Ready => {
                shared.events.ready(link.node);
                continue;
            }
            Apply::Table { version, entries } => (shared.replicas.lock().replace(link.node, version, &entries), None),
        };
        for (realm, changes) in interest::by_realm(&changes) {
            shared.events.interest(link.node, &realm, changes);
        }
        if let Some((version, last)) = acknowledge {
            link.control.ack(applied, version);
            if last {
                link.peer_known.store(true, Relaxed);
                link.note_synced(&shared);
            }
        }
        tokio::task::consume_budget().await;
    }
    // The link may still be up after an error: wait until its readers are gone, which closes the channel.
    while messages.recv().await.is_some() {}
    shared.events.down(link.node);
}

/// A future in the task of a lane's connection that can be stopped.
struct Reader {
    stop: oneshot::Sender<()>,
    gone: oneshot::Receiver<()>,
}

impl Reader {
    fn start(bundle: &Bundle, reading: impl Future<Output = ()> + Send + 'static) -> Self {
        let ((stop, stopped), (going, gone)) = (oneshot::channel::<()>(), oneshot::channel::<()>());
        bundle.run(async move {
            // Dropped after the reading, however this ends.
            let _going = going;
            tokio::select! {
                biased;
                _ = stopped => {}
                () = reading => {}
            }
        });
        Self { stop, gone }
    }

    /// After this nothing is delivered any more.
    async fn stop(self) {
        drop(self.stop);
        // Nothing is ever sent: this is the end of the sender.
        let _ = self.gone.await;
    }
}

/// Delivers a lane's frames in order. Never waits for anything but the lane.
async fn read_lane(shared: Arc<Shared>, link: Arc<Link>, lane: Arc<Lane>, mut stream: Streaming<pb::LinkBatch>) {
    let mut reader = LaneReader::default();
    let reason = loop {
        match stream.message().await {
            Ok(Some(batch)) => match reader.read(&lane.received, &link.counters, batch) {
                Ok(mut frames) => {
                    shared.events.frames(link.node, &mut frames);
                    if let Err(malformed) = frames.finish() {
                        break malformed.to_string();
                    }
                }
                Err(reason) => break reason,
            },
            Ok(None) => break "the peer ended a data lane".to_owned(),
            Err(status) => break describe(&status),
        }
        tokio::task::consume_budget().await;
    };
    link.end(&reason);
}

/// A gRPC status in a log line.
pub(super) fn describe(status: &tonic::Status) -> String {
    match status.code() {
        tonic::Code::Aborted | tonic::Code::FailedPrecondition => status.message().to_owned(),
        _ => crate::cluster::net::explain(status),
    }
}

/// How many pulled tables may wait beside the peer's own messages.
const PULLED_MAX: usize = 4;
