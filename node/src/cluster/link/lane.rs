//! A data lane: the bounded queue realms put frames into, and the stream that turns what is queued into batches.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use futures_util::Stream;
use parking_lot::Mutex;
use ringfort_proto::cluster::v1 as pb;

use super::{
    convert,
    fragment::{FRAGMENT_BYTES, FRAME_BYTES_MAX, OPEN_MAX, Outgoing},
    stats::Counters,
};
use crate::{
    router::PeerFrame,
    session::cluster::Drain,
    wamp::{Dict, Payload, SessionId, Uri, Value, error_uri},
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
    /// Above a quarter of its bound; a look at it costs no lock.
    congested: AtomicBool,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Queued>,
    /// What is queued and what the stream has taken but not sent.
    bytes: usize,
    closed: bool,
    waker: Option<Waker>,
    /// The weight of everything ever sent.
    sent: u64,
    /// The other node was found not to take frames: nobody waits for it until it has.
    laggard: bool,
}

struct Queued {
    source: SessionId,
    realm: Uri,
    frame: PeerFrame,
    weight: usize,
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

    /// True above a quarter of its bound.
    pub(super) fn is_congested(&self) -> bool {
        self.congested.load(Relaxed)
    }

    /// Queues a frame. Never waits: what happens when the lane is full depends on the frame (DESIGN §3.5).
    pub(super) fn push(&self, realm: &Uri, source: SessionId, mut frame: PeerFrame) -> Pushed {
        let mut weight = weight(&frame) + realm.len();
        if weight > FRAME_BYTES_MAX {
            match too_large(&frame) {
                Some(answer) => (weight, frame) = (FRAME_OVERHEAD + realm.len(), answer),
                None => return self.refuse(&frame),
            }
        }
        let mut state = self.state.lock();
        if state.closed {
            return Pushed::Refused;
        }
        let may_be_refused = matches!(frame, PeerFrame::Event { .. } | PeerFrame::Invoke { .. });
        if may_be_refused && state.bytes >= QUEUE_BYTES {
            drop(state);
            return self.refuse(&frame);
        }
        if state.bytes >= RESET_BYTES {
            return Pushed::Overflow;
        }
        state.bytes += weight;
        if state.bytes > CONGESTED_BYTES {
            self.congested.store(true, Relaxed);
        }
        state.queue.push_back(Queued {
            source,
            realm: realm.clone(),
            frame,
            weight,
        });
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
    next_fragment_id: u64,
    /// Taken from the queue, not sent yet; those of `ready` come first.
    ready: VecDeque<Queued>,
    popped: VecDeque<Queued>,
    /// Large frames on their way out in turns, each with the frames of its source that must not overtake it.
    large: VecDeque<Large>,
    /// Weight of what was sent since the queue's account was last settled.
    sent: usize,
    /// The last realm and its name as bytes.
    realm: Option<(Uri, Bytes)>,
}

struct Large {
    source: SessionId,
    frame: Outgoing,
    weight: usize,
    behind: VecDeque<Queued>,
}

impl LaneStream {
    /// The stream begins with `hello`.
    pub(super) fn new(lane: Arc<Lane>, hello: pb::LinkHello) -> Self {
        Self {
            lane,
            hello: Some(hello),
            next_seq: 1,
            next_fragment_id: 1,
            ready: VecDeque::new(),
            popped: VecDeque::new(),
            large: VecDeque::new(),
            sent: 0,
            realm: None,
        }
    }

    /// The next batch, if there is anything to send.
    fn batch(&mut self) -> Option<pb::LinkBatch> {
        let mut frames = Vec::new();
        let mut bytes = 0;
        while frames.len() < BATCH_FRAMES && bytes < BATCH_BYTES {
            let Some(queued) = self.ready.pop_front().or_else(|| self.popped.pop_front()) else {
                break;
            };
            if let Some(large) = self.large.iter_mut().find(|large| large.source == queued.source) {
                large.behind.push_back(queued);
                continue;
            }
            if queued.weight <= FRAGMENT_BYTES {
                bytes += queued.weight;
                self.sent += queued.weight;
                frames.push(self.encode(&queued));
            } else if self.large.len() < OPEN_MAX {
                let frame = Outgoing::new(self.next_fragment_id, convert::frame_bytes(&self.encode(&queued)));
                self.next_fragment_id += 1;
                let Queued { source, weight, .. } = queued;
                self.large.push_back(Large {
                    source,
                    frame,
                    weight,
                    behind: VecDeque::new(),
                });
            } else {
                self.ready.push_front(queued);
                break;
            }
        }
        if let Some(mut large) = self.large.pop_front() {
            let kind = pb::link_frame::Kind::Fragment(large.frame.next_fragment());
            frames.push(pb::LinkFrame {
                realm: Bytes::new(),
                kind: Some(kind),
            });
            if large.frame.is_done() {
                self.sent += large.weight;
                // They came before anything of their source that is still queued.
                self.ready.extend(large.behind);
            } else {
                self.large.push_back(large);
            }
        }
        if frames.is_empty() {
            return None;
        }
        let first_seq = self.next_seq;
        self.next_seq += frames.len() as u64;
        self.lane.taken.fetch_add(1, Relaxed);
        self.lane.counters.batches_out.fetch_add(1, Relaxed);
        self.lane.counters.frames_out.fetch_add(frames.len() as u64, Relaxed);
        Some(pb::LinkBatch {
            first_seq,
            ack: self.lane.received.load(Relaxed),
            frames,
            hello: None,
        })
    }

    fn encode(&mut self, queued: &Queued) -> pb::LinkFrame {
        let realm = match &self.realm {
            Some((realm, bytes)) if *realm == queued.realm => bytes.clone(),
            _ => {
                let bytes = convert::text_out(&queued.realm);
                self.realm = Some((queued.realm.clone(), bytes.clone()));
                bytes
            }
        };
        convert::frame_out(realm, &queued.frame)
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
        {
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
            let mut room = BATCH_FRAMES.saturating_sub(this.ready.len() + this.popped.len());
            let mut bytes = 0;
            while room > 0
                && bytes < BATCH_BYTES
                && let Some(queued) = state.queue.pop_front()
            {
                room -= 1;
                bytes += queued.weight;
                this.popped.push_back(queued);
            }
            if this.ready.is_empty() && this.popped.is_empty() && this.large.is_empty() {
                state.waker = Some(cx.waker().clone());
                return Poll::Pending;
            }
        }
        match this.batch() {
            Some(batch) => Poll::Ready(Some(batch)),
            // Unreachable: something was there, and whatever is there yields a frame. Look again rather than stall.
            None => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }
}

/// Roughly what a frame costs on the wire and in memory.
fn weight(frame: &PeerFrame) -> usize {
    let payload = |payload: &Payload| payload.bytes().len();
    FRAME_OVERHEAD
        + match frame {
            PeerFrame::Invoke { details, payload: p, .. } | PeerFrame::Result { details, payload: p, .. } => {
                dict_weight(details) + payload(p)
            }
            PeerFrame::Error {
                details,
                error,
                payload: p,
                ..
            } => dict_weight(details) + error.len() + payload(p),
            PeerFrame::Event {
                topic,
                details,
                payload: p,
                ..
            } => topic.len() + dict_weight(details) + payload(p),
            PeerFrame::Nack { .. } | PeerFrame::Forget { .. } => 0,
        }
}

fn dict_weight(dict: &Dict) -> usize {
    dict.0.iter().map(|(key, value)| 4 + key.len() + value_weight(value)).sum()
}

fn value_weight(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) => 1,
        Value::Integer(_) | Value::Float(_) => 12,
        Value::Text(text) => 8 + text.len(),
        Value::Binary(bytes) => 8 + bytes.len(),
        Value::List(list) => 8 + list.iter().map(value_weight).sum::<usize>(),
        Value::Dict(dict) => 8 + dict_weight(dict),
    }
}

/// What goes instead of a final answer that is too large: the caller must get exactly one. `None` for what can be refused.
fn too_large(frame: &PeerFrame) -> Option<PeerFrame> {
    let call = match frame {
        PeerFrame::Result { call, .. } | PeerFrame::Error { call, .. } => *call,
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
const CONGESTED_BYTES: usize = QUEUE_BYTES / 4;
/// Above this, the link is reset.
pub(super) const RESET_BYTES: usize = 2 * QUEUE_BYTES;
/// A batch takes what is queued up to this; nothing waits for a batch to fill.
const BATCH_BYTES: usize = 64 << 10;
const BATCH_FRAMES: usize = 128;
const FRAME_OVERHEAD: usize = 96;

#[cfg(test)]
mod tests;
