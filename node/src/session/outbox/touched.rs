//! Which outboxes somebody has filled and not flushed yet.

use std::{sync::Arc, time::Instant};

use tokio::runtime::{Handle, RuntimeFlavor};

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
    /// Events put into outboxes since the last flush.
    events: usize,
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

/// How many plaintext outboxes beyond those are written by one task, which is cheaper than waking the task of each.
const FLUSHED_TOGETHER: usize = 32;

/// How many events wait at most in filled outboxes while more of the same batch are put in: less than a millisecond's worth. What a
/// publisher sends in one read goes out to each subscriber in one write.
const EVENTS_MAX: usize = 4096;

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

    /// Notes that events went into outboxes.
    pub(in crate::session) fn note_events(&mut self, count: usize) {
        self.events += count;
    }

    /// As [`Self::flush`], once many events wait for it.
    pub(in crate::session) fn flush_many(&mut self) {
        if self.events >= EVENTS_MAX {
            self.flush();
        }
    }

    /// Writes the first few outboxes and has tasks write the others. Never called with a realm locked.
    pub fn flush(&mut self) {
        self.flush_own(OWN_FLUSHES_MAX);
    }

    /// As [`Self::flush`] with up to `own_max` outboxes written: for a link, whose batch is for many sessions.
    pub fn flush_own(&mut self, own_max: usize) {
        self.time = None;
        self.events = 0;
        if self.outboxes.len() <= own_max + 1 {
            for (n, outbox) in self.outboxes.drain(..).enumerate() {
                if n < own_max { outbox.flush() } else { outbox.wake() }
            }
            return;
        }
        // A list of thousands is not kept for the next, short one.
        let mut rest = std::mem::take(&mut self.outboxes).into_iter();
        rest.by_ref().take(own_max).for_each(|outbox| outbox.flush());
        // The control runtime's only thread has other things to do.
        let workers = Handle::try_current()
            .ok()
            .filter(|handle| handle.runtime_flavor() == RuntimeFlavor::MultiThread);
        let Some(workers) = workers else {
            return rest.for_each(|outbox| outbox.wake());
        };
        while rest.len() > 0 {
            let together = Together(rest.by_ref().take(FLUSHED_TOGETHER).collect());
            workers.spawn(async move { together.flush() });
        }
    }
}

/// Outboxes that one task writes. What it does not come to, because its runtime ends, is woken.
struct Together(Vec<Arc<Outbox>>);

impl Together {
    fn flush(mut self) {
        self.0.drain(..).for_each(|outbox| outbox.flush());
    }
}

impl Drop for Together {
    fn drop(&mut self) {
        self.0.drain(..).for_each(|outbox| outbox.wake());
    }
}

impl Drop for Touched {
    fn drop(&mut self) {
        self.flush();
    }
}

#[cfg(test)]
#[path = "touched_tests.rs"]
mod tests;
