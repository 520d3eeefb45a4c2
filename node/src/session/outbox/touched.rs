//! Which outboxes somebody has filled and not flushed yet.

use std::{sync::Arc, time::Instant};

use super::Outbox;
use crate::router::frame::FloodSource;

/// The outboxes that were filled since the last flush. Whoever fills one without finding it here already has to flush it; that
/// also happens when this is dropped, so no message is left lying by an early return or a panic.
#[derive(Debug, Default)]
pub struct Touched {
    outboxes: Vec<Arc<Outbox>>,
    congested: Vec<Congested>,
    source: Option<FloodSource>,
    forwarded: bool,
    time: Option<Instant>,
}

/// An outbox that was filled above its threshold.
#[derive(Debug)]
pub struct Congested {
    /// Itself.
    pub outbox: Arc<Outbox>,
    /// Who filled it from another node; `None` if that was a session of this one.
    pub source: Option<FloodSource>,
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

    /// How many outboxes wait for the flush.
    pub fn len(&self) -> usize {
        self.outboxes.len()
    }

    /// True if there is nothing to flush.
    pub fn is_empty(&self) -> bool {
        self.outboxes.is_empty()
    }

    /// The time of this batch: the clock is asked once between two flushes, which are a read of at most 64 KiB apart.
    pub(in crate::session) fn time(&mut self, clock: fn() -> Instant) -> Instant {
        *self.time.get_or_insert_with(clock)
    }

    pub(super) fn note(&mut self, outbox: &Arc<Outbox>) {
        self.outboxes.push(outbox.clone());
    }

    pub(super) fn note_congested(&mut self, outbox: &Arc<Outbox>) {
        let source = self.source;
        let is_call = |source| matches!(source, Some(FloodSource::Call(_)));
        for known in self.congested.iter_mut().filter(|known| Arc::ptr_eq(&known.outbox, outbox)) {
            // Any call names its caller while it is open, and the latest is open longest.
            if known.source == source || is_call(known.source) && is_call(source) {
                known.source = source;
                return;
            }
        }
        if self.congested.len() < CONGESTED_MAX {
            let outbox = outbox.clone();
            self.congested.push(Congested { outbox, source });
        }
    }

    /// The outboxes that a batch has filled above their threshold; some of them, where they are many.
    pub fn take_congested(&mut self) -> Vec<Congested> {
        std::mem::take(&mut self.congested)
    }

    /// Says on whose behalf outboxes are filled from now on, if that is somebody on another node.
    pub(in crate::session) fn on_behalf_of(&mut self, source: Option<FloodSource>) {
        self.source = source;
    }

    pub(in crate::session) fn note_forwarded(&mut self) {
        self.forwarded = true;
    }

    /// True if frames went into lanes to other nodes since this was asked last.
    pub(in crate::session) fn take_forwarded(&mut self) -> bool {
        std::mem::take(&mut self.forwarded)
    }

    /// Writes the first few outboxes and wakes the tasks of the others. Never called with a realm locked.
    pub fn flush(&mut self) {
        self.flush_own(OWN_FLUSHES_MAX);
    }

    /// As [`Self::flush`] with up to `own_max` outboxes written: for a link, whose batch is for many sessions.
    pub fn flush_own(&mut self, own_max: usize) {
        self.time = None;
        for (n, outbox) in self.outboxes.drain(..).enumerate() {
            if n < own_max { outbox.flush() } else { outbox.wake() }
        }
    }
}

impl Drop for Touched {
    fn drop(&mut self) {
        self.flush();
    }
}
