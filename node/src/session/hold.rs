//! Slowing a flood at its source: a session that has filled outboxes of peers that read, or lanes to nodes that do, is not read
//! itself for a moment.
//!
//! A peer must earn that: it has to drain at a good rate, or it counts as a laggard for whom nobody waits. So neither a stuck
//! subscriber nor a trickling one can stop a publisher, at worst it slows it for [`WINDOW`] once per quarter of an outbox.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::cluster::Drain;

/// A pause in reading from one session for the sake of congested outboxes.
pub(super) struct Hold {
    /// Each with its count of written bytes at `window`.
    queues: Vec<(Arc<dyn Drain>, u64)>,
    /// When the counts were taken.
    window: Instant,
    check_at: Instant,
    /// When to read again in any case.
    until: Instant,
}

/// How often to look whether the outboxes have drained.
const CHECK: Duration = Duration::from_millis(2);

/// What an outbox must write in each such time to be waited for.
const WINDOW: Duration = Duration::from_millis(100);
const WINDOW_BYTES: u64 = 256 * 1024;

/// The longest hold between two batches.
const LONGEST: Duration = Duration::from_secs(1);

impl Hold {
    /// A hold for those of the outboxes and lanes that are still congested after the flush, if any.
    pub(super) fn begin(congested: impl Iterator<Item = Arc<dyn Drain>>, now: Instant) -> Option<Self> {
        let still = |queue: Arc<dyn Drain>| queue.congestion().map(|written| (queue, written));
        let queues: Vec<_> = congested.filter_map(still).collect();
        (!queues.is_empty()).then(|| Self {
            queues,
            window: now,
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
        let window_over = now >= self.window + WINDOW;
        self.queues.retain_mut(|(queue, before)| match queue.congestion() {
            None => false,
            Some(written) if window_over && written.saturating_sub(*before) < WINDOW_BYTES => {
                queue.set_laggard();
                false
            }
            Some(written) => {
                if window_over {
                    *before = written;
                }
                true
            }
        });
        if window_over {
            self.window = now;
        }
        self.queues.is_empty() || now >= self.until
    }
}
