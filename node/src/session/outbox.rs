//! The outbox: what one session is still to be sent, as framed bytes, and who writes them.
//!
//! One outbox per connection, so everything a session hears has one order. It is bounded in bytes and messages. Messages are put
//! in under the realm's lock (lock order: realm, then outbox); nobody waits for a socket there. Plaintext bytes are written by
//! whoever has just filled the outbox ([`Outbox::flush`]), one writer at a time and with no lock held over the system call; when
//! the socket is full, and always under TLS, the session's own task writes.
//!
//! What happens when it is full is decided here and nowhere else: an event is dropped and counted (a slow subscriber loses
//! events, not its session), anything else ends the session (a slow consumer must not lose answers silently). Events never use
//! more than half of the budget, so that replies fit beside them.
//!
//! Before it comes to that, whoever fills an outbox above a quarter is told ([`Touched::take_congested`]), and its session's task
//! reads no more from its own peer while the congested one drains briskly. So a flood towards a healthy peer is slowed at its
//! source instead of being dropped, while a peer that does not read, or only trickles, holds nobody up for long.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;
use tokio::{net::TcpStream, sync::Notify};

use super::limits::SessionLimits;
use crate::{
    transport::{
        framing::Framing,
        rawsocket::{self, frame::PAYLOAD_BYTES_MAX},
        websocket,
    },
    wamp::{Dict, Message, Payload, Serializer, Uri, codec, error_uri, message::code},
};

/// How a session's messages are written.
#[derive(Clone, Copy, Debug)]
pub struct WireFormat {
    /// The serializer.
    pub serializer: Serializer,
    /// The framing of the transport.
    pub framing: Framing,
    /// The longest message the peer takes; WebSocket peers announce none.
    pub message_bytes_max: usize,
}

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
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// It, or the ERROR that had to replace it, is in the outbox.
    Queued,
    /// It was an event the session cannot take now, or ever; counted.
    Dropped,
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
    /// The socket, where anybody may write it; `None` under TLS.
    socket: Option<Arc<TcpStream>>,
    stats: Arc<OutboxStats>,
    wake: Notify,
    /// False as soon as nothing may be put in; a fast look at `Inner::end`.
    open: AtomicBool,
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
    /// What follows.
    back: Vec<u8>,
    back_messages: usize,
    /// A writer has taken the front out; others leave the outbox to it.
    writing: bool,
    /// The socket was full; only the session's task goes on, when it is writable.
    blocked: bool,
    /// The session's task does not read until more was written.
    paused: bool,
    /// All bytes ever put in.
    admitted: u64,
    /// The peer was found not to drain: nobody waits for it until it has.
    laggard: bool,
    /// Somebody has undertaken to flush or wake.
    touched: bool,
    end: Option<End>,
}

/// Bytes on their way to the socket.
#[derive(Debug, Default)]
pub struct Chunk {
    bytes: Vec<u8>,
    written: usize,
}

impl Chunk {
    /// The bytes still to be written.
    pub fn rest(&self) -> &[u8] {
        &self.bytes[self.written..]
    }

    /// Notes that the socket took `bytes` of [`Self::rest`].
    pub fn advance(&mut self, bytes: usize) {
        self.written = (self.written + bytes).min(self.bytes.len());
    }
}

/// Buffers up to this size are kept when they are drained.
const KEEP_BYTES_MAX: usize = 16 * 1024;

impl Inner {
    fn queued_bytes(&self) -> usize {
        self.in_flight_bytes + self.front.rest().len() + self.back.len()
    }

    fn queued_messages(&self) -> usize {
        self.front_messages + self.back_messages
    }

    fn clear(&mut self) {
        self.front = Chunk::default();
        self.back = Vec::new();
        self.front_messages = 0;
        self.back_messages = 0;
    }
}

impl Outbox {
    /// An empty outbox; `socket` is `None` where only the session's task can write (TLS).
    pub fn new(wire: WireFormat, limits: &SessionLimits, socket: Option<Arc<TcpStream>>, stats: Arc<OutboxStats>) -> Arc<Self> {
        Arc::new(Self {
            wire,
            bytes_max: limits.outbox_bytes_max,
            messages_max: limits.outbox_messages_max,
            socket,
            stats,
            wake: Notify::new(),
            open: AtomicBool::new(true),
            inner: Mutex::new(Inner::default()),
        })
    }

    /// Where this outbox counts.
    pub fn stats(&self) -> &OutboxStats {
        &self.stats
    }

    /// How messages are written here.
    pub fn wire(&self) -> WireFormat {
        self.wire
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
        let event = matches!(message, Message::Event { .. });
        let mut inner = self.inner.lock();
        if !self.is_open() {
            return Pushed::Closed;
        }
        let start = inner.back.len();
        let outcome = self.append(message, &mut inner.back);
        if let Err(refused) = outcome {
            return self.replace(message, refused, inner, touched);
        }
        let added = inner.back.len() - start;
        self.admit(inner, start, added, event, touched)
    }

    /// Puts an event in that is encoded once for many sessions.
    pub fn push_shared(self: &Arc<Self>, message: &mut Shared<'_>, touched: &mut Touched) -> Pushed {
        let original = message.message;
        let event = matches!(original, Message::Event { .. });
        let body = match message.body(self.wire.serializer) {
            Some(body) if body.len() <= self.wire.message_bytes_max => body,
            // Cannot be carried, or is too long: the slow way decides.
            _ => return self.push(original, touched),
        };
        let mut inner = self.inner.lock();
        if !self.is_open() {
            return Pushed::Closed;
        }
        let header = self.wire.framing.header(body.len());
        let start = inner.back.len();
        inner.back.extend_from_slice(header.bytes());
        inner.back.extend_from_slice(body);
        let added = inner.back.len() - start;
        self.admit(inner, start, added, event, touched)
    }

    /// Puts ready frames in that are no WAMP message: pongs, pings, close frames. False, and nothing put in, above half the
    /// budget: a peer that asks for more pongs than it reads gets none.
    pub fn push_raw(&self, frame: &[u8]) -> bool {
        let mut inner = self.inner.lock();
        if inner.queued_bytes() + frame.len() > self.bytes_max / 2 && inner.queued_bytes() > 0 || inner.end == Some(End::Broken) {
            return false;
        }
        inner.back.extend_from_slice(frame);
        inner.back_messages += 1;
        inner.admitted += frame.len() as u64;
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
        // An ABORT is small and its payload, if any, is ours: it fits, or the connection just closes.
        let start = inner.back.len();
        let _ = self.append(message, &mut inner.back);
        inner.back_messages += 1;
        inner.admitted += (inner.back.len() - start) as u64;
        drop(inner);
        self.wake.notify_one();
    }

    /// Asks the session's task to end the session; the first reason stands, except that a GOODBYE gives way.
    pub fn request_end(&self, end: End) {
        let mut inner = self.inner.lock();
        if matches!(inner.end, None | Some(End::Goodbye(_))) {
            if !matches!(end, End::Goodbye(_)) {
                self.open.store(false, Ordering::Release);
            }
            inner.end = Some(end);
        }
        drop(inner);
        self.wake.notify_one();
    }

    /// True while more than half of the budget is in use; the session's task then does not read, and is woken when it may.
    pub fn above_half(&self) -> bool {
        let mut inner = self.inner.lock();
        inner.paused = inner.queued_bytes() > self.bytes_max / 2 || inner.queued_messages() > self.messages_max / 2;
        inner.paused
    }

    /// True above a quarter of the budget.
    fn is_congested(&self, inner: &Inner) -> bool {
        inner.queued_bytes() > self.bytes_max / 4 || inner.queued_messages() > self.messages_max / 4
    }

    /// How many bytes were ever written, while the outbox is above a quarter of its budget and not given up as a laggard.
    pub fn congestion(&self) -> Option<u64> {
        let inner = self.inner.lock();
        let congested = self.is_open() && !inner.laggard && self.is_congested(&inner);
        congested.then(|| inner.admitted - inner.queued_bytes() as u64)
    }

    /// Nobody waits for this peer any more until it has drained its outbox to a quarter.
    pub fn set_laggard(&self) {
        self.inner.lock().laggard = true;
    }

    /// Bytes that were not written yet.
    pub fn queued_bytes(&self) -> usize {
        self.inner.lock().queued_bytes()
    }

    /// Encodes, frames and checks against the peer's limit. On an error nothing was appended.
    fn append(&self, message: &Message, out: &mut Vec<u8>) -> Result<(), Refused> {
        let limit = self.wire.message_bytes_max;
        self.wire.framing.append_with(out, |out| {
            let start = out.len();
            codec::encode(message, self.wire.serializer, out).map_err(|_| Refused::Payload)?;
            if out.len() - start > limit {
                Err(Refused::Size)
            } else {
                Ok(())
            }
        })
    }

    /// Keeps the `added` bytes from `start` on, or takes them back where they do not fit.
    fn admit(
        self: &Arc<Self>,
        mut inner: parking_lot::MutexGuard<'_, Inner>,
        start: usize,
        added: usize,
        event: bool,
        touched: &mut Touched,
    ) -> Pushed {
        let before = inner.queued_bytes() - added;
        let (bytes_max, messages_max) = if event {
            (self.bytes_max / 2, self.messages_max / 2)
        } else {
            (self.bytes_max, self.messages_max)
        };
        // Anything fits into an empty outbox: a single message is bounded by its sender's limit.
        if before > 0 && (before + added > bytes_max || inner.queued_messages() >= messages_max) {
            if event {
                inner.back.truncate(start);
                self.stats.events_dropped_full.fetch_add(1, Ordering::Relaxed);
                return Pushed::Dropped;
            }
            self.open.store(false, Ordering::Release);
            inner.end = Some(End::SlowConsumer);
            inner.clear();
            drop(inner);
            self.stats.slow_consumers.fetch_add(1, Ordering::Relaxed);
            self.wake.notify_one();
            return Pushed::SlowConsumer;
        }
        inner.back_messages += 1;
        inner.admitted += added as u64;
        if !inner.touched {
            inner.touched = true;
            touched.outboxes.push(self.clone());
        }
        if !self.is_congested(&inner) {
            inner.laggard = false;
        } else if !inner.laggard {
            touched.note_congested(self);
        }
        Pushed::Queued
    }

    /// Does for a message that cannot be written to this peer what its kind demands.
    fn replace(
        self: &Arc<Self>,
        message: &Message,
        refused: Refused,
        mut inner: parking_lot::MutexGuard<'_, Inner>,
        touched: &mut Touched,
    ) -> Pushed {
        let error = match refused {
            Refused::Size => error_uri::PAYLOAD_SIZE_EXCEEDED,
            Refused::Payload => INVALID_PAYLOAD,
        };
        let substitute = match message {
            Message::Event { .. } => {
                let counter = match refused {
                    Refused::Size => &self.stats.events_dropped_size,
                    Refused::Payload => &self.stats.events_dropped_payload,
                };
                counter.fetch_add(1, Ordering::Relaxed);
                return Pushed::Dropped;
            }
            Message::Invocation { .. } => {
                self.stats.replaced_by_error.fetch_add(1, Ordering::Relaxed);
                return Pushed::Undeliverable(error);
            }
            Message::Result { request, .. } => Message::Error {
                request_type: code::CALL,
                request: *request,
                details: Dict::new(),
                error: error.into(),
                payload: Payload::EMPTY,
            },
            // The error itself is more useful than the news that its arguments were too much.
            Message::Error {
                request_type,
                request,
                error,
                ..
            } => Message::Error {
                request_type: *request_type,
                request: *request,
                details: Dict::new(),
                error: error.clone(),
                payload: Payload::EMPTY,
            },
            // Nothing else has a payload; its options alone are longer than the peer takes. It cannot go on without.
            _ => {
                self.open.store(false, Ordering::Release);
                inner.end = Some(End::SlowConsumer);
                drop(inner);
                self.wake.notify_one();
                return Pushed::SlowConsumer;
            }
        };
        self.stats.replaced_by_error.fetch_add(1, Ordering::Relaxed);
        let start = inner.back.len();
        if self.append(&substitute, &mut inner.back).is_err() {
            self.open.store(false, Ordering::Release);
            inner.end = Some(End::SlowConsumer);
            drop(inner);
            self.wake.notify_one();
            return Pushed::SlowConsumer;
        }
        let added = inner.back.len() - start;
        self.admit(inner, start, added, false, touched)
    }

    /// Writes what is there, from any thread, as far as the socket takes it without waiting; else wakes the session's task.
    pub fn flush(&self) {
        let Some(socket) = &self.socket else {
            self.inner.lock().touched = false;
            self.wake.notify_one();
            return;
        };
        while let Some(mut chunk) = self.begin_write() {
            let result = loop {
                if chunk.rest().is_empty() {
                    break Ok(());
                }
                match socket.try_write(chunk.rest()) {
                    Ok(0) => break Err(io::ErrorKind::WriteZero.into()),
                    Ok(written) => chunk.advance(written),
                    Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                    Err(e) => break Err(e),
                }
            };
            match result {
                Ok(()) => self.end_write(chunk),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    self.leave_write(chunk);
                    self.wake.notify_one();
                    return;
                }
                Err(_) => {
                    self.broken();
                    return;
                }
            }
        }
    }

    /// Takes the next chunk out for writing; `None` if there is none, or somebody else is at it, or the socket is full.
    pub fn begin_write(&self) -> Option<Chunk> {
        let mut inner = self.inner.lock();
        inner.touched = false;
        if inner.writing || inner.blocked || matches!(inner.end, Some(End::Broken | End::SlowConsumer)) {
            return None;
        }
        if inner.front.rest().is_empty() {
            if inner.back.is_empty() {
                return None;
            }
            // The drained front, if it was kept, becomes the next back: two small buffers take turns.
            let mut spare = std::mem::take(&mut inner.front.bytes);
            spare.clear();
            inner.front = Chunk {
                bytes: std::mem::replace(&mut inner.back, spare),
                written: 0,
            };
            inner.front_messages = std::mem::take(&mut inner.back_messages);
        }
        let chunk = std::mem::take(&mut inner.front);
        inner.in_flight_bytes = chunk.rest().len();
        inner.writing = true;
        Some(chunk)
    }

    /// Gives a chunk back that was written whole.
    pub fn end_write(&self, mut chunk: Chunk) {
        debug_assert!(chunk.rest().is_empty());
        let mut inner = self.inner.lock();
        inner.writing = false;
        inner.in_flight_bytes = 0;
        inner.front_messages = 0;
        if chunk.bytes.capacity() > KEEP_BYTES_MAX {
            chunk = Chunk::default();
        }
        chunk.bytes.clear();
        chunk.written = 0;
        inner.front = chunk;
        if std::mem::take(&mut inner.paused) {
            drop(inner);
            self.wake.notify_one();
        }
    }

    /// Gives a chunk back that the socket did not take whole; nobody writes until [`Self::unblock`].
    fn leave_write(&self, chunk: Chunk) {
        let mut inner = self.inner.lock();
        inner.writing = false;
        inner.in_flight_bytes = 0;
        if matches!(inner.end, Some(End::SlowConsumer)) {
            return;
        }
        inner.front = chunk;
        inner.blocked = true;
    }

    /// Notes how much of a chunk that its writer keeps has been written.
    pub fn note_in_flight(&self, bytes: usize) {
        self.inner.lock().in_flight_bytes = bytes;
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

    /// Frees buffers that stand empty; called now and then, so that an idle session owns none.
    pub fn trim(&self) {
        let mut inner = self.inner.lock();
        if inner.back.is_empty() {
            inner.back = Vec::new();
        }
        if !inner.writing && inner.front.rest().is_empty() {
            inner.front = Chunk::default();
        }
    }

    /// True while the socket was full when last written.
    pub fn is_blocked(&self) -> bool {
        self.inner.lock().blocked
    }

    /// The socket is writable again; called by the session's task, which flushes next.
    pub fn unblock(&self) {
        self.inner.lock().blocked = false;
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

/// Spec: WAMP names no URI for a payload that the receiver's serializer cannot carry (NaN in JSON, for one).
const INVALID_PAYLOAD: &str = "wamp.error.invalid_payload";

#[derive(Clone, Copy, Debug)]
enum Refused {
    /// Longer than the peer takes.
    Size,
    /// The serializer cannot carry it.
    Payload,
}

/// A message for many sessions: encoded at most once per serializer.
#[derive(Debug)]
pub struct Shared<'a> {
    message: &'a Message,
    bodies: [Option<Option<Vec<u8>>>; 3],
}

impl<'a> Shared<'a> {
    /// Nothing is encoded yet.
    pub fn new(message: &'a Message) -> Self {
        Self {
            message,
            bodies: [const { None }; 3],
        }
    }

    /// The message in `serializer`, without a frame; `None` if it cannot be carried.
    fn body(&mut self, serializer: Serializer) -> Option<&[u8]> {
        let slot = match serializer {
            Serializer::Json => 0,
            Serializer::MsgPack => 1,
            Serializer::Cbor => 2,
        };
        let message = self.message;
        self.bodies[slot]
            .get_or_insert_with(|| {
                let mut body = Vec::new();
                codec::encode(message, serializer, &mut body).ok().map(|()| body)
            })
            .as_deref()
    }
}

/// The outboxes that were filled since the last flush. Whoever fills one without finding it here already has to flush it; that
/// also happens when this is dropped, so no message is left lying by an early return or a panic.
#[derive(Debug, Default)]
pub struct Touched {
    outboxes: Vec<Arc<Outbox>>,
    congested: Vec<Arc<Outbox>>,
}

/// How many plaintext outboxes a sender flushes itself.
const OWN_FLUSHES_MAX: usize = 4;

/// How many congested outboxes a batch remembers.
const CONGESTED_MAX: usize = 16;

impl Touched {
    /// Nothing touched.
    pub fn new() -> Self {
        Self::default()
    }

    /// True if there is nothing to flush.
    pub fn is_empty(&self) -> bool {
        self.outboxes.is_empty()
    }

    /// The outboxes that a batch has filled above a quarter; some of them, where they are many.
    pub fn take_congested(&mut self) -> Vec<Arc<Outbox>> {
        std::mem::take(&mut self.congested)
    }

    fn note_congested(&mut self, outbox: &Arc<Outbox>) {
        if self.congested.len() < CONGESTED_MAX && !self.congested.iter().any(|known| Arc::ptr_eq(known, outbox)) {
            self.congested.push(outbox.clone());
        }
    }

    /// Writes the first few outboxes and wakes the tasks of the others. Never called with a realm locked.
    pub fn flush(&mut self) {
        for (n, outbox) in self.outboxes.drain(..).enumerate() {
            if n < OWN_FLUSHES_MAX { outbox.flush() } else { outbox.wake() }
        }
    }
}

impl Drop for Touched {
    fn drop(&mut self) {
        self.flush();
    }
}

/// The pong to a peer's ping, in the framing of `wire`.
pub fn pong(wire: WireFormat, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(payload.len().min(PAYLOAD_BYTES_MAX) + 4);
    match wire.framing {
        Framing::WebSocketText | Framing::WebSocketBinary => {
            websocket::frame::append_control(websocket::frame::Opcode::Pong, payload, &mut frame);
        }
        Framing::RawSocket => {
            frame.extend_from_slice(rawsocket::frame::header(rawsocket::frame::Kind::Pong, payload.len()).bytes());
            frame.extend_from_slice(payload);
        }
    }
    frame
}

#[cfg(test)]
#[path = "outbox_tests.rs"]
mod tests;
