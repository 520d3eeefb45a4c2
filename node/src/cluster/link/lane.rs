//! A data lane: the bounded queue realms put frames into ([`queue`]), and the stream that sends what is queued.

mod queue;

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll, Waker, ready},
};

use futures_util::Stream;
use parking_lot::{Mutex, MutexGuard};
use ringfort_proto::cluster::v1 as pb;

use self::queue::{Queue, Taken};
use super::{frame, stats::Counters};
use crate::{
    router::{PeerFrame, frame::PlainFrame},
    session::cluster::Drain,
    wamp::{Dict, Payload, SessionId, Uri, codec::plain::Elements, error_uri},
};

/// One lane of a link, as both its producers and its stream see it.
pub(super) struct Lane {
    state: Mutex<State>,
    /// Set by a push, cleared by a wake: whether the lane is on its link table's list of lanes to wake.
    dirty: AtomicBool,
    /// The number of the last frame that came in on this lane.
    pub(super) received: AtomicU64,
    /// How many batches were taken: a lane that holds frames and takes none is stuck.
    pub(super) taken: AtomicU64,
    counters: Arc<Counters>,
    /// Above its threshold; a look at it costs no lock.
    congested: AtomicBool,
}

#[derive(Default)]
struct State {
    queue: Queue,
    /// What is queued and what the stream has taken but not sent.
    bytes: usize,
    closed: bool,
    waker: Option<Waker>,
    /// The weight of everything ever sent.
    sent: u64,
    /// The other node was found not to take frames: nobody waits for it until it has.
    laggard: bool,
}

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pushed {
    /// It will be sent. `first` if the lane was not yet on the list of lanes to wake.
    Queued { first: bool },
    /// It was not taken: the lane is full or closed.
    Refused,
    /// Results pile up beyond all bounds; the link has to be reset.
    Overflow,
}

impl Lane {
    pub(super) fn new(counters: Arc<Counters>) -> Self {
        Self {
            state: Mutex::default(),
            dirty: AtomicBool::new(false),
            received: AtomicU64::new(0),
            taken: AtomicU64::new(0),
            counters,
            congested: AtomicBool::new(false),
        }
    }

    /// True above its threshold.
    pub(super) fn is_congested(&self) -> bool {
        self.congested.load(Relaxed)
    }

    /// Queues a frame. Never waits: what happens when the lane is full depends on the frame (DESIGN §3.5).
    pub(super) fn push(&self, realm: &Uri, source: SessionId, frame: &PeerFrame) -> Pushed {
        let may_be_refused = matches!(
            frame,
            PeerFrame::Event { .. } | PeerFrame::Invoke { .. } | PeerFrame::Chunk { .. }
        );
        let mut state = self.state.lock();
        if state.closed {
            return Pushed::Refused;
        }
        if may_be_refused && state.bytes >= QUEUE_BYTES {
            drop(state);
            return self.refuse(frame);
        }
        if state.bytes >= RESET_BYTES {
            return Pushed::Overflow;
        }
        let mut weight = state.queue.push(realm, source, frame);
        if weight.is_none()
            && let Some(answer) = too_large(frame)
        {
            weight = state.queue.push(realm, source, &answer);
        }
        let Some(weight) = weight else {
            drop(state);
            return self.refuse(frame);
        };
        self.pushed(state, weight)
    }

    /// The same for a frame that says nothing but what every one of its kind does, with its payload.
    pub(super) fn push_plain(&self, realm: &Uri, source: SessionId, frame: PlainFrame, payload: Elements<'_>) -> Pushed {
        let mut state = self.state.lock();
        // What is out of the ordinary is left to the ordinary way.
        let weight = (!state.closed && state.bytes < QUEUE_BYTES)
            .then(|| state.queue.push_plain(realm, source, frame, payload))
            .flatten();
        let Some(weight) = weight else {
            drop(state);
            return self.push(realm, source, &frame.with(payload.to_payload()));
        };
        self.pushed(state, weight)
    }

    fn pushed(&self, mut state: MutexGuard<'_, State>, weight: usize) -> Pushed {
        state.bytes += weight;
        if state.bytes > CONGESTED_BYTES {
            self.congested.store(true, Relaxed);
        }
        drop(state);
        Pushed::Queued {
            first: !self.dirty.swap(true, Relaxed),
        }
    }

    fn refuse(&self, frame: &PeerFrame) -> Pushed {
        match frame {
            PeerFrame::Event { .. } => self.counters.events_dropped.fetch_add(1, Relaxed),
            _ => self.counters.frames_refused.fetch_add(1, Relaxed),
        };
        Pushed::Refused
    }

    /// Lets the stream look at the queue.
    pub(super) fn wake(&self) {
        self.dirty.store(false, Relaxed);
        let waker = self.state.lock().waker.take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Ends the stream; what is queued is thrown away.
    pub(super) fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        let dropped = std::mem::take(&mut state.queue);
        drop(state);
        drop(dropped);
        self.wake();
    }

    /// True if nothing is waiting to be sent.
    pub(super) fn is_empty(&self) -> bool {
        self.bytes() == 0
    }

    /// The bytes waiting to be sent.
    pub(super) fn bytes(&self) -> usize {
        self.state.lock().bytes
    }
}

impl Drain for Lane {
    fn congestion(&self) -> Option<u64> {
        let state = self.state.lock();
        (!state.closed && !state.laggard && state.bytes > CONGESTED_BYTES).then_some(state.sent)
    }

    fn set_laggard(&self) {
        self.state.lock().laggard = true;
    }
}

/// The outgoing half of a lane: yields a batch whenever something is queued. There is one per lane.
pub(super) struct LaneStream {
    lane: Arc<Lane>,
    hello: Option<pb::LinkHello>,
    next_seq: u64,
    /// Weight of what was sent since the queue's account was last settled.
    sent: usize,
    /// Set while others go first who may have more for the batch.
    pause: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl LaneStream {
    /// The stream begins with `hello`.
    pub(super) fn new(lane: Arc<Lane>, hello: pb::LinkHello) -> Self {
        Self {
            lane,
            hello: Some(hello),
            next_seq: 1,
            sent: 0,
            pause: None,
        }
    }

    fn message(&mut self, Taken { mut batch, fragment }: Taken) -> pb::LinkBatch {
        if let Some(fragment) = fragment {
            frame::write_fragment(&fragment, &mut batch.bytes);
            batch.frames += 1;
        }
        self.sent = batch.weight;
        let first_seq = self.next_seq;
        self.next_seq += u64::from(batch.frames);
        let counters = &self.lane.counters;
        self.lane.taken.fetch_add(1, Relaxed);
        counters.batches_out.fetch_add(1, Relaxed);
        counters.frames_out.fetch_add(u64::from(batch.frames), Relaxed);
        counters.bytes_out.fetch_add(batch.bytes.len() as u64, Relaxed);
        pb::LinkBatch {
            first_seq,
            ack: self.lane.received.load(Relaxed),
            packed: batch.bytes.into(),
            count: batch.frames,
            ..Default::default()
        }
    }
}

impl Stream for LaneStream {
    type Item = pb::LinkBatch;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<pb::LinkBatch>> {
        let this = &mut *self;
        if let Some(hello) = this.hello.take() {
            return Poll::Ready(Some(pb::LinkBatch {
                hello: Some(hello),
                ..Default::default()
            }));
        }
        let paused = match &mut this.pause {
            Some(pause) => {
                ready!(pause.as_mut().poll(cx));
                this.pause = None;
                true
            }
            None => false,
        };
        let taken = {
            let mut state = this.lane.state.lock();
            if state.closed {
                return Poll::Ready(None);
            }
            let sent = std::mem::take(&mut this.sent);
            state.bytes -= sent;
            state.sent += sent as u64;
            if state.bytes <= CONGESTED_BYTES && sent > 0 {
                state.laggard = false;
                this.lane.congested.store(false, Relaxed);
            }
            if !paused && state.queue.may_grow() {
                // Under load whoever else can run now has more to send, and one write for all is cheaper than one for each. This
                // is no timer: it ends as soon as the runtime has looked once at everything that is ready.
                drop(state);
                let mut pause = Box::pin(tokio::task::yield_now());
                if pause.as_mut().poll(cx).is_pending() {
                    this.pause = Some(pause);
                    return Poll::Pending;
                }
                state = this.lane.state.lock();
            }
            match state.queue.take() {
                Some(taken) => taken,
                None => {
                    match &mut state.waker {
                        Some(waker) => waker.clone_from(cx.waker()),
                        waker => *waker = Some(cx.waker().clone()),
                    }
                    return Poll::Pending;
                }
            }
        };
        Poll::Ready(Some(this.message(taken)))
    }
}

/// What goes instead of an answer, or a part of one, that is too large: the caller must get exactly one. `None` for what can be refused.
fn too_large(frame: &PeerFrame) -> Option<PeerFrame> {
    let call = match frame {
        PeerFrame::Progress { call, .. } | PeerFrame::Result { call, .. } | PeerFrame::Error { call, .. } => *call,
        _ => return None,
    };
    let error = Uri::from(error_uri::PAYLOAD_SIZE_EXCEEDED);
    Some(PeerFrame::Error {
        call,
        details: Dict::new(),
        error,
        payload: Payload::EMPTY,
    })
}

/// Above this, events are dropped and invocations refused.
pub(super) const QUEUE_BYTES: usize = 16 << 20;
/// Above this a lane asks those who fill it to wait a moment, if it drains.
const CONGESTED_BYTES: usize = QUEUE_BYTES / 8;
/// Above this, the link is reset.
pub(super) const RESET_BYTES: usize = 2 * QUEUE_BYTES;

#[cfg(test)]
mod tests;
