//! Slowing a flood at its source: a session that has filled outboxes of peers that read, or lanes to nodes that do, is not read
//! itself for a moment. Where the outbox is on another node, that node asks for it (`cluster/floods`).
//!
//! A peer must earn that: it has to drain at a good rate, or it counts as a laggard for whom nobody waits. So neither a stuck
//! subscriber nor a trickling one can stop a publisher, at worst it slows it for [`WINDOW`] once each time it falls behind.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::cluster::Drain;

/// A pause in reading from one session for the sake of congested outboxes.
pub(super) struct Hold {
    queues: Vec<Awaited>,
    check_at: Instant,
    /// When to read again in any case.
    until: Instant,
}

/// A congested queue that is worth waiting for, until it has drained or is found not to.
pub struct Awaited {
    queue: Arc<dyn Drain>,
    /// How much it had ever passed on when the window began.
    before: u64,
    window: Instant,
}

/// How often to look whether the outboxes have drained.
pub const CHECK: Duration = Duration::from_millis(2);

/// What an outbox must write in each such time to be waited for. The time is long enough for a peer that reads but does not get
/// the processor for a while.
const WINDOW: Duration = Duration::from_millis(250);
const WINDOW_BYTES: u64 = 256 * 1024;

/// The longest hold between two batches.
pub const LONGEST: Duration = Duration::from_secs(1);

/// How long a session is held at the request of another node, unless that node asks again, as it does every [`AGAIN`].
pub(super) const HELD: Duration = Duration::from_millis(120);

/// How often a node asks for the same session to be held.
pub const AGAIN: Duration = Duration::from_millis(40);

impl Awaited {
    /// `None` if it is not congested, or is a laggard.
    pub fn begin(queue: Arc<dyn Drain>, now: Instant) -> Option<Self> {
        let before = queue.congestion()?;
        let window = now;
        Some(Self { queue, before, window })
    }

    /// True when it is not worth waiting for any more; a laggard is marked as one.
    pub fn is_over(&mut self, now: Instant) -> bool {
        let Some(written) = self.queue.congestion() else {
            return true;
        };
        if now < self.window + WINDOW {
            return false;
        }
        let lags = written.saturating_sub(self.before) < WINDOW_BYTES;
        if lags {
            self.queue.set_laggard();
        }
        (self.before, self.window) = (written, now);
        lags
    }

    /// True if this is about that queue.
    pub fn is_for(&self, queue: &Arc<dyn Drain>) -> bool {
        Arc::ptr_eq(&self.queue, queue)
    }
}

impl Hold {
    /// A hold for those of the outboxes and lanes that are still congested after the flush, if any.
    pub(super) fn begin(congested: impl Iterator<Item = Arc<dyn Drain>>, now: Instant) -> Option<Self> {
        let queues: Vec<_> = congested.filter_map(|queue| Awaited::begin(queue, now)).collect();
        (!queues.is_empty()).then(|| Self {
            queues,
            check_at: now + CHECK,
            until: now + LONGEST,
        })
    }

    /// When to ask [`Self::is_over`] again.
    pub(super) fn check_at(&self) -> Instant {
        self.check_at
    }

    /// True when no outbox is worth waiting for any more.
    pub(super) fn is_over(&mut self, now: Instant) -> bool {
        if now < self.check_at {
            return false;
        }
        self.check_at = now + CHECK;
        self.queues.retain_mut(|queue| !queue.is_over(now));
        self.queues.is_empty() || now >= self.until
    }
}
