//! Counters of one link, read by metrics and admin.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Instant,
};

use parking_lot::Mutex;

/// What a link has done since it came up. Every dropped frame is in one of them.
#[derive(Debug, Default)]
pub struct Counters {
    /// Frames and fragments sent.
    pub frames_out: AtomicU64,
    /// Batches sent.
    pub batches_out: AtomicU64,
    /// Frames and fragments received.
    pub frames_in: AtomicU64,
    /// Events not sent because the lane was full, or they were larger than any frame may be.
    pub events_dropped: AtomicU64,
    /// Other frames not taken for the same reasons; their callers were told.
    pub frames_refused: AtomicU64,
    /// Frames of a kind this version does not know.
    pub unknown_frames: AtomicU64,
    /// Bytes of the batches sent.
    pub bytes_out: AtomicU64,
    /// Bytes of those received.
    pub bytes_in: AtomicU64,
    /// Microseconds from the last answered ping to its answer; 0 before the first.
    pub rtt_micros: AtomicU64,
    /// When the ping that is not answered yet was asked for.
    pinged: Mutex<Option<Instant>>,
}

impl Counters {
    /// A ping goes out.
    pub(super) fn pinged(&self) {
        // A later one does not count while the first is not answered.
        self.pinged.lock().get_or_insert_with(Instant::now);
    }

    /// A ping was answered.
    pub(super) fn ponged(&self) {
        if let Some(pinged) = self.pinged.lock().take() {
            let micros = u64::try_from(pinged.elapsed().as_micros()).unwrap_or(u64::MAX);
            self.rtt_micros.store(micros.max(1), Relaxed);
        }
    }
}
