//! From an outbox to its socket: one writer at a time, whoever comes first, with no lock held over the system call.

use std::{io, sync::atomic::Ordering};

use super::{
    End, Inner, Later, Outbox,
    encoding::{Instead, Refused, instead_of},
};
use crate::transport::websocket::batch;

/// Bytes on their way to the socket.
#[derive(Debug, Default)]
pub struct Chunk {
    pub(super) bytes: Vec<u8>,
    written: usize,
}

impl Chunk {
    fn new(bytes: Vec<u8>) -> Self {
        Self { bytes, written: 0 }
    }

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
pub(super) const KEEP_BYTES_MAX: usize = 16 * 1024;

impl Outbox {
    /// Writes what is there, from any thread, as far as the socket takes it without waiting; else wakes the session's task.
    pub fn flush(&self) {
        let Some(socket) = &self.socket else {
            self.wake();
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
        if inner.writing || inner.blocked || inner.is_lost() {
            return None;
        }
        if !inner.front.rest().is_empty() {
            let chunk = std::mem::take(&mut inner.front);
            return Some(inner.take_out(chunk));
        }
        if inner.slow.is_some() && inner.back.is_empty() && inner.later.is_empty() {
            self.release(&mut inner);
        }
        if !inner.back.is_empty() {
            // The drained front, if it was kept, becomes the next back: two small buffers take turns.
            let mut spare = std::mem::take(&mut inner.front.bytes);
            spare.clear();
            let chunk = Chunk::new(std::mem::replace(&mut inner.back, spare));
            inner.back_bytes -= chunk.bytes.len();
            inner.front_messages = inner.back_messages - inner.later_messages;
            inner.back_messages = inner.later_messages;
            let chunk = inner.take_out(chunk);
            drop(inner);
            return self.batched(chunk);
        }
        let later = inner.later.pop_front()?;
        let counted = later.estimate + later.after.len();
        inner.back_bytes -= counted;
        inner.later_messages -= later.messages;
        inner.back_messages -= later.messages;
        inner.front_messages = later.messages;
        inner.in_flight_bytes = counted;
        inner.writing = true;
        drop(inner);

        // Here nothing is held: this is where long payloads are transcoded.
        let chunk = Chunk::new(self.encode(later));

        let mut inner = self.inner.lock();
        inner.admitted = (inner.admitted + chunk.bytes.len() as u64).saturating_sub(counted as u64);
        if inner.is_lost() {
            inner.writing = false;
            inner.in_flight_bytes = 0;
            return None;
        }
        // An empty one, of an event that cannot be carried, is written like any other.
        let chunk = inner.take_out(chunk);
        drop(inner);
        self.batched(chunk)
    }

    /// A chunk that was just taken out, with its messages in as few frames as may be where the transport batches them.
    fn batched(&self, mut chunk: Chunk) -> Option<Chunk> {
        if !self.wire.framing.is_batched() {
            return Some(chunk);
        }
        let before = chunk.bytes.len();
        let separator = self.separator.load(Ordering::Relaxed);
        chunk.bytes = batch::join(std::mem::take(&mut chunk.bytes), self.batch_bytes_max, separator);
        let mut inner = self.inner.lock();
        inner.admitted = inner.admitted.saturating_sub(before.saturating_sub(chunk.bytes.len()) as u64);
        if inner.is_lost() {
            inner.writing = false;
            inner.in_flight_bytes = 0;
            return None;
        }
        Some(inner.take_out(chunk))
    }

    /// The bytes of a message that was put off, or of what stands in for it, and those that follow it.
    fn encode(&self, later: Later) -> Vec<u8> {
        let mut out = Vec::with_capacity(later.estimate + later.after.len());
        if let Err(refused) = self.wire.append_encoded(&later.encoding, &mut out) {
            let message = later.encoding.message();
            self.count_refused(message, refused);
            match instead_of(message, refused) {
                Instead::Nothing => {}
                Instead::Message(substitute) => {
                    if self.wire.append(&substitute, &mut out).is_err() {
                        self.request_end(End::SlowConsumer);
                    }
                }
                Instead::Refuse(request) => {
                    let mut inner = self.inner.lock();
                    if inner.generation == later.generation {
                        inner.refused.push((request, refused.error()));
                    }
                    drop(inner);
                    self.wake.notify_one();
                }
                Instead::End => self.request_end(End::SlowConsumer),
            }
        }
        out.extend_from_slice(&later.after);
        out
    }

    pub(super) fn count_refused(&self, message: &crate::wamp::Message, refused: Refused) {
        let counter = match (message, refused) {
            (crate::wamp::Message::Event { .. }, Refused::Size) => &self.stats.events_dropped_size,
            (crate::wamp::Message::Event { .. }, Refused::Payload) => &self.stats.events_dropped_payload,
            _ => &self.stats.replaced_by_error,
        };
        counter.fetch_add(1, Ordering::Relaxed);
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
    pub(super) fn leave_write(&self, chunk: Chunk) {
        let mut inner = self.inner.lock();
        inner.writing = false;
        inner.in_flight_bytes = 0;
        if !inner.is_lost() {
            inner.front = chunk;
            inner.blocked = true;
        }
    }

    /// Notes how much of a chunk that its writer keeps is still to be written.
    pub fn note_in_flight(&self, bytes: usize) {
        self.inner.lock().in_flight_bytes = bytes;
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
        if inner.later.is_empty() {
            inner.later.shrink_to_fit();
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
}

impl Inner {
    fn take_out(&mut self, chunk: Chunk) -> Chunk {
        self.in_flight_bytes = chunk.rest().len();
        self.writing = true;
        chunk
    }

    /// Nobody will read what is written.
    fn is_lost(&self) -> bool {
        matches!(self.end, Some(End::Broken | End::SlowConsumer))
    }
}
