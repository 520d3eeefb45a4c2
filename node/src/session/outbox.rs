//! The outbox: what one session is still to be sent, as framed bytes, and who writes them.
//!
//! One outbox per connection, so everything a session hears has one order. It is bounded in bytes and messages. Messages are put
//! in under the realm's lock (lock order: realm, then outbox); nobody waits for a socket there. Plaintext bytes are written by
//! whoever has just filled the outbox ([`Outbox::flush`]), one writer at a time and with no lock held over the system call; when
//! the socket is full, and always under TLS, the session's own task writes.
//!
//! What happens when it is full is decided here and nowhere else: an event is dropped and counted, or gives way as its topic's
//! policy says (`outbox/slow.rs`; a slow subscriber loses events, not its session), anything else ends the session (a slow consumer must not lose answers silently). Events never use
//! more than three quarters of the budget, so that replies fit beside them.
//!
//! Before it comes to that, whoever fills an outbox above an eighth is told ([`Touched::take_congested`]), and its session's task
//! reads no more from its own peer while the congested one drains briskly. So a flood towards a healthy peer is slowed at its
//! source, also where that is on another node ([`Outbox::hold`]), instead of being dropped, while a peer that does not read, or only trickles, holds nobody up for long.
//!
//! A long payload in another serializer is not transcoded when it is put in, under the realm's lock, but when it is written
//! (`outbox/writing.rs`); it keeps its place in the order.

mod encoding;
mod plain;
mod slow;
mod touched;
mod writing;

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use parking_lot::{Mutex, MutexGuard};
use tokio::{net::TcpStream, sync::Notify};

use super::{cluster::Drain, limits::SessionLimits};
use crate::{
    router::SlowConsumer,
    transport::websocket::batch,
    wamp::{Message, Uri},
};
use encoding::{Encoding, Instead, Refused, deferred_bytes, instead_of};
pub use encoding::{Shared, Undelivered, WireFormat, ping, pong};
pub use slow::Slowness;
pub use touched::{Congested, Touched};
pub use writing::Chunk;

/// Why a session, or its connection, has to end. Set once by whoever finds out; the session's task acts on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// An ABORT is the last thing in the outbox; nothing may follow it.
    Aborted,
    /// The peer did not read its answers.
    SlowConsumer,
    /// Writing failed.
    Broken,
    /// The router ends the session with a GOODBYE of this reason.
    Goodbye(Uri),
    /// The same, since the certificate that it came in by was revoked.
    Revoked(Uri),
    /// The node goes away and tells the session so, and how long to wait before it comes back, to another node.
    SentAway { reconnect_after: Duration },
    /// Somebody had the session ended: its realm has forgotten it, and a GOODBYE of this reason and `message` is still to be said.
    Killed { reason: Uri, text: Option<String> },
}

impl End {
    /// True if a GOODBYE says it, which still gives way to a worse end.
    const fn is_goodbye(&self) -> bool {
        matches!(
            self,
            Self::Goodbye(_) | Self::Revoked(_) | Self::SentAway { .. } | Self::Killed { .. }
        )
    }
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// It, or the ERROR that had to replace it, is in the outbox.
    Queued,
    /// It was an event the session cannot take now, or ever; counted.
    Dropped,
    /// An event of the session was lost, this or an older one: the first since it had caught up. Counted.
    Losing,
    /// It was an INVOCATION that cannot be written to this session; the callee never sees it and its caller is owed this error.
    Undeliverable(&'static str),
    /// The session did not read its answers and is over.
    SlowConsumer,
    /// The outbox takes nothing any more.
    Closed,
}

/// What outboxes count, for all sessions of a node together.
#[derive(Debug, Default)]
pub struct OutboxStats {
    /// Events not put into a full outbox.
    pub events_dropped_full: AtomicU64,
    /// Events that waited apart from a full outbox, by the policy of their topic.
    pub events_held: AtomicU64,
    /// Those of them that gave way to newer ones.
    pub events_given_way: AtomicU64,
    /// Events longer than the subscriber's transport allows.
    pub events_dropped_size: AtomicU64,
    /// Events whose payload the subscriber's serializer cannot carry.
    pub events_dropped_payload: AtomicU64,
    /// Answers and invocations replaced by an ERROR because they were too long or could not be carried.
    pub replaced_by_error: AtomicU64,
    /// Sessions ended because they did not read.
    pub slow_consumers: AtomicU64,
}

/// One connection's outgoing bytes.
#[derive(Debug)]
pub struct Outbox {
    wire: WireFormat,
    bytes_max: usize,
    messages_max: usize,
    /// The longest message that [`Self::push_plain`] writes as it comes.
    plain_bytes_max: usize,
    /// The longest batch of several messages, where they are batched.
    batch_bytes_max: usize,
    /// What ends messages in a batch of text.
    separator: AtomicU8,
    /// The socket, where anybody may write it; `None` under TLS.
    socket: Option<Arc<TcpStream>>,
    stats: Arc<OutboxStats>,
    wake: Notify,
    /// False as soon as nothing may be put in; a fast look at `Inner::end`.
    open: AtomicBool,
    /// What other nodes want of the session's reading: [`HOLD_NEWS`] and, if it is to be held, [`HOLD`].
    hold: AtomicU8,
    /// When the present session of the connection was welcomed, milliseconds since 1970 (UTC); 0 before the first.
    since_ms: AtomicU64,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// The chunk whose writing was begun, while nobody is writing it.
    front: Chunk,
    /// Bytes of the chunk that a writer has taken out.
    in_flight_bytes: usize,
    /// Messages of the chunk that was begun, wherever it is.
    front_messages: usize,
    /// What follows, encoded.
    back: Vec<u8>,
    /// What follows that, beginning with a message that is encoded when its turn comes.
    later: VecDeque<Later>,
    /// Bytes of `back` and `later`.
    back_bytes: usize,
    /// Messages of `back` and `later`.
    back_messages: usize,
    /// Messages of `later`.
    later_messages: usize,
    /// All bytes ever put in.
    admitted: u64,
    /// A writer has taken the front out; others leave the outbox to it.
    writing: bool,
    /// The socket was full; only the session's task goes on, when it is writable.
    blocked: bool,
    /// The session's task does not read until more was written.
    paused: bool,
    /// The peer was found not to drain: nobody waits for it until it has.
    laggard: bool,
    /// Somebody has undertaken to flush or wake.
    touched: bool,
    /// Which of the connection's sessions, one after the other, messages are for.
    generation: u32,
    /// Invocations that turned out not to be writable; the session's task answers them.
    refused: Vec<(Undelivered, &'static str)>,
    /// Events that wait apart and the count of lost ones; `None` while the session keeps up.
    slow: Option<Box<slow::Slow>>,
    end: Option<End>,
}

/// A message that is encoded when its turn comes, and what follows it.
#[derive(Debug)]
struct Later {
    encoding: Arc<Encoding>,
    /// What it counts for until then.
    estimate: usize,
    generation: u32,
    after: Vec<u8>,
    /// Itself and those in `after`.
    messages: usize,
}

impl Inner {
    fn queued_bytes(&self) -> usize {
        self.in_flight_bytes + self.front.rest().len() + self.back_bytes
    }

    fn queued_messages(&self) -> usize {
        self.front_messages + self.back_messages
    }

    /// Where the next encoded message goes.
    fn tail(&mut self) -> &mut Vec<u8> {
        match self.later.back_mut() {
            Some(later) => &mut later.after,
            None => &mut self.back,
        }
    }

    /// Counts a message that was appended to [`Self::tail`].
    fn count(&mut self, bytes: usize) {
        self.back_bytes += bytes;
        self.admitted += bytes as u64;
        self.back_messages += 1;
        if let Some(later) = self.later.back_mut() {
            later.messages += 1;
            self.later_messages += 1;
        }
    }

    fn clear(&mut self) {
        self.front = Chunk::default();
        self.back = Vec::new();
        self.later = VecDeque::new();
        self.slow = None;
        self.back_bytes = 0;
        self.front_messages = 0;
        self.back_messages = 0;
        self.later_messages = 0;
    }
}

/// What events may take of a budget; the rest is for replies.
fn most_of(budget: usize) -> usize {
    budget - budget / 4
}

/// What people are told of times; nothing is decided by it.
fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

const HOLD_NEWS: u8 = 1;
const HOLD: u8 = 2;

impl Drain for Outbox {
    fn congestion(&self) -> Option<u64> {
        let inner = self.inner.lock();
        let congested = self.is_open() && !inner.laggard && self.is_congested(&inner);
        congested.then(|| inner.admitted - inner.queued_bytes() as u64)
    }

    fn set_laggard(&self) {
        self.inner.lock().laggard = true;
    }
}

impl Outbox {
    /// An empty outbox; `socket` is `None` where only the session's task can write (TLS).
    pub fn new(wire: WireFormat, limits: &SessionLimits, socket: Option<Arc<TcpStream>>, stats: Arc<OutboxStats>) -> Arc<Self> {
        Arc::new(Self {
            wire,
            bytes_max: limits.outbox_bytes_max,
            messages_max: limits.outbox_messages_max,
            // Something follows a message in a batch of text; the short way has nothing behind one.
            plain_bytes_max: if wire.framing.trailer().is_empty() {
                wire.message_bytes_max
            } else {
                0
            },
            batch_bytes_max: batch::BATCH_BYTES_MAX.min(limits.message_bytes_max),
            separator: AtomicU8::new(batch::SEPARATOR),
            socket,
            stats,
            wake: Notify::new(),
            open: AtomicBool::new(true),
            hold: AtomicU8::new(0),
            since_ms: AtomicU64::new(0),
            inner: Mutex::new(Inner::default()),
        })
    }

    /// Where this outbox counts.
    pub fn stats(&self) -> &OutboxStats {
        &self.stats
    }

    /// Bytes and messages that wait here.
    pub fn queued(&self) -> (usize, usize) {
        let inner = self.inner.lock();
        (inner.queued_bytes(), inner.queued_messages())
    }

    /// Bytes ever put in, for whatever session of the connection.
    pub fn admitted_bytes(&self) -> u64 {
        self.inner.lock().admitted
    }

    /// A session begins on the connection.
    pub fn begin(&self) {
        self.since_ms.store(unix_ms(), Ordering::Relaxed);
    }

    /// When the present session began, milliseconds since 1970 (UTC).
    pub fn since_ms(&self) -> u64 {
        self.since_ms.load(Ordering::Relaxed)
    }

    /// True if the connection is encrypted.
    pub fn is_tls(&self) -> bool {
        self.socket.is_none()
    }

    /// How messages are written here.
    pub fn wire(&self) -> WireFormat {
        self.wire
    }

    /// What ends the peer's messages in a batch of text, and shall end those to it.
    pub fn set_separator(&self, separator: u8) {
        self.separator.store(separator, Ordering::Relaxed);
    }

    /// False once nothing is taken any more.
    pub fn is_open(&self) -> bool {
        self.open.load(Ordering::Acquire)
    }

    /// Why the session has to end, if it has to.
    pub fn end(&self) -> Option<End> {
        self.inner.lock().end.clone()
    }

    /// Puts one message in. The caller flushes later, through [`Touched`].
    pub fn push(self: &Arc<Self>, message: &Message, touched: &mut Touched) -> Pushed {
        let mut inner = self.inner.lock();
        if !self.is_open() {
            return Pushed::Closed;
        }
        if inner.slow.is_some() {
            match message {
                Message::Event { .. } => {
                    drop(inner);
                    return self.push_event(&mut Shared::new(message), SlowConsumer::default(), touched);
                }
                // No event may follow the session's end.
                Message::Goodbye { .. } => inner.slow = None,
                _ => {}
            }
        }
        match deferred_bytes(message, self.wire.serializer) {
            Some(estimate) => self.put_off(inner, Encoding::new(message.clone(), self.wire.serializer), estimate, touched),
            None => self.put(inner, message, |out| self.wire.append(message, out), touched),
        }
    }

    /// Puts a message in that is encoded once for many sessions.
    pub fn push_shared(self: &Arc<Self>, message: &mut Shared<'_>, touched: &mut Touched) -> Pushed {
        self.push_event(message, SlowConsumer::default(), touched)
    }

    fn put_encoding(self: &Arc<Self>, inner: MutexGuard<'_, Inner>, encoding: &Arc<Encoding>, touched: &mut Touched) -> Pushed {
        match deferred_bytes(encoding.message(), self.wire.serializer) {
            Some(estimate) => self.put_off(inner, encoding.clone(), estimate, touched),
            None => self.put(
                inner,
                encoding.message(),
                |out| self.wire.append_encoded(encoding, out),
                touched,
            ),
        }
    }

    /// Puts a message in that `append` encodes, or does what its kind demands if it cannot be written.
    fn put(
        self: &Arc<Self>,
        mut inner: MutexGuard<'_, Inner>,
        message: &Message,
        append: impl FnOnce(&mut Vec<u8>) -> Result<(), Refused>,
        touched: &mut Touched,
    ) -> Pushed {
        let tail = inner.tail();
        let start = tail.len();
        let Err(refused) = append(tail) else {
            return self.admit(inner, start, message, touched);
        };
        self.count_refused(message, refused);
        match instead_of(message, refused) {
            Instead::Nothing => Pushed::Dropped,
            Instead::Refuse(_) => Pushed::Undeliverable(refused.error()),
            Instead::Message(substitute) if self.wire.append(&substitute, tail).is_ok() => {
                self.admit(inner, start, &substitute, touched)
            }
            Instead::Message(_) | Instead::End => self.overrun(inner),
        }
    }

    /// Keeps what was appended from `start` on, or takes it back where it does not fit.
    fn admit(
        self: &Arc<Self>,
        mut inner: MutexGuard<'_, Inner>,
        start: usize,
        message: &Message,
        touched: &mut Touched,
    ) -> Pushed {
        let added = inner.tail().len() - start;
        // Far from every bound, as an outbox nearly always is, there is nothing more to ask.
        if self.would_congest(&inner, added) || inner.laggard {
            if !self.fits(&inner, added, message) {
                inner.tail().truncate(start);
                return self.full(inner, message);
            }
            inner.count(added);
            self.touch(&mut inner, touched);
            return Pushed::Queued;
        }
        inner.count(added);
        if !inner.touched {
            inner.touched = true;
            touched.note(self);
        }
        Pushed::Queued
    }

    /// Puts a message in that is encoded when it is written.
    fn put_off(
        self: &Arc<Self>,
        mut inner: MutexGuard<'_, Inner>,
        encoding: Arc<Encoding>,
        estimate: usize,
        touched: &mut Touched,
    ) -> Pushed {
        if !self.fits(&inner, estimate, encoding.message()) {
            return self.full(inner, encoding.message());
        }
        let generation = inner.generation;
        inner.later.push_back(Later {
            encoding,
            estimate,
            generation,
            after: Vec::new(),
            messages: 0,
        });
        inner.count(estimate);
        self.touch(&mut inner, touched);
        Pushed::Queued
    }

    /// True if a message of that many bytes may be added. Anything fits into an empty outbox: a single message is bounded by
    /// its sender's limit.
    fn fits(&self, inner: &Inner, added: usize, message: &Message) -> bool {
        let (bytes_max, messages_max) = if matches!(message, Message::Event { .. }) {
            (most_of(self.bytes_max), most_of(self.messages_max))
        } else {
            (self.bytes_max, self.messages_max)
        };
        let before = inner.queued_bytes();
        before == 0 || before + added <= bytes_max && inner.queued_messages() < messages_max
    }

    /// The policy of a full outbox.
    fn full(&self, mut inner: MutexGuard<'_, Inner>, message: &Message) -> Pushed {
        if let Message::Event { subscription, .. } = message {
            return self.lose(&mut inner, *subscription);
        }
        self.overrun(inner)
    }

    /// Ends a session that does not take what it is owed.
    fn overrun(&self, mut inner: MutexGuard<'_, Inner>) -> Pushed {
        self.open.store(false, Ordering::Release);
        inner.end = Some(End::SlowConsumer);
        inner.clear();
        drop(inner);
        self.stats.slow_consumers.fetch_add(1, Ordering::Relaxed);
        self.wake.notify_one();
        Pushed::SlowConsumer
    }

    /// Sees to it that somebody flushes, and that whoever floods hears of it.
    fn touch(self: &Arc<Self>, inner: &mut Inner, touched: &mut Touched) {
        if !inner.touched {
            inner.touched = true;
            touched.note(self);
        }
        if !self.is_congested(inner) {
            inner.laggard = false;
        } else if !inner.laggard {
            touched.note_congested(self);
        }
    }

    /// Puts ready frames in that are no WAMP message: pongs, pings, close frames. False, and nothing put in, above half the
    /// budget: a peer that asks for more pongs than it reads gets none.
    pub fn push_raw(&self, frame: &[u8]) -> bool {
        let mut inner = self.inner.lock();
        let queued = inner.queued_bytes();
        if queued > 0 && queued + frame.len() > self.bytes_max / 2 || inner.end == Some(End::Broken) {
            return false;
        }
        inner.tail().extend_from_slice(frame);
        inner.count(frame.len());
        true
    }

    /// Puts an ABORT in as the last message; the session's task closes the connection after it was written.
    pub fn abort(&self, message: &Message) {
        let mut inner = self.inner.lock();
        if !self.is_open() {
            return;
        }
        self.open.store(false, Ordering::Release);
        inner.end = Some(End::Aborted);
        inner.slow = None;
        let tail = inner.tail();
        let start = tail.len();
        // An ABORT has little to say, so it fits; one that does not is left out, and the connection just closes.
        if self.wire.append(message, tail).is_ok() {
            let added = tail.len() - start;
            inner.count(added);
        }
        drop(inner);
        self.wake.notify_one();
    }

    /// What turned out not to be writable, each with the error the caller is owed.
    pub fn take_refused(&self) -> Vec<(Undelivered, &'static str)> {
        std::mem::take(&mut self.inner.lock().refused)
    }

    /// A session on this connection is over and another may follow: what was refused before is nobody's any more.
    pub fn next_session(&self) {
        let mut inner = self.inner.lock();
        inner.generation = inner.generation.wrapping_add(1);
        inner.refused.clear();
        inner.slow = None;
    }

    /// Another node asks the session's task not to read for a moment, or to read again.
    pub fn hold(&self, hold: bool) {
        let news = if hold { HOLD_NEWS | HOLD } else { HOLD_NEWS };
        self.hold.store(news, Ordering::Release);
        self.wake.notify_one();
    }

    /// What [`Self::hold`] said last, if the session's task has not heard it.
    pub fn take_hold(&self) -> Option<bool> {
        if self.hold.load(Ordering::Acquire) == 0 {
            return None;
        }
        Some(self.hold.swap(0, Ordering::AcqRel) & HOLD != 0)
    }

    /// Asks the session's task to end the session; the first reason stands, except that a GOODBYE gives way.
    pub fn request_end(&self, end: End) {
        let mut inner = self.inner.lock();
        if inner.end.as_ref().is_none_or(End::is_goodbye) {
            if !end.is_goodbye() {
                self.open.store(false, Ordering::Release);
            }
            inner.end = Some(end);
        }
        drop(inner);
        self.wake.notify_one();
    }

    /// True while more than three quarters of the budget are in use; the session's task then does not read, and is woken when it may.
    pub fn above_most(&self) -> bool {
        let mut inner = self.inner.lock();
        inner.paused = inner.queued_bytes() > most_of(self.bytes_max) || inner.queued_messages() > most_of(self.messages_max);
        inner.paused
    }

    /// True above an eighth of the budget: events have three quarters of it, and what is under way in lanes when a source is told to hold
    /// has to fit in as well.
    fn is_congested(&self, inner: &Inner) -> bool {
        inner.queued_bytes() > self.bytes_max / 8 || inner.queued_messages() > self.messages_max / 8
    }

    /// True if one more message of that many bytes makes it congested.
    fn would_congest(&self, inner: &Inner, added: usize) -> bool {
        inner.queued_bytes() + added > self.bytes_max / 8 || inner.queued_messages() + 1 > self.messages_max / 8
    }

    /// Bytes that were not written yet.
    pub fn queued_bytes(&self) -> usize {
        self.inner.lock().queued_bytes()
    }

    /// The connection cannot be written any more.
    pub fn broken(&self) {
        let mut inner = self.inner.lock();
        self.open.store(false, Ordering::Release);
        if !matches!(inner.end, Some(End::SlowConsumer)) {
            inner.end = Some(End::Broken);
        }
        inner.clear();
        inner.writing = false;
        inner.in_flight_bytes = 0;
        drop(inner);
        self.wake.notify_one();
    }

    /// Resolves when the session's task has something to do: bytes to write or an end to act on. Only that task waits here.
    pub async fn woken(&self) {
        self.wake.notified().await;
    }

    fn wake(&self) {
        self.inner.lock().touched = false;
        self.wake.notify_one();
    }
}

#[cfg(test)]
#[path = "outbox_tests.rs"]
mod tests;
