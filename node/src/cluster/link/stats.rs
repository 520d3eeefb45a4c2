//! Counters of one link, read by metrics and admin.

use std::sync::atomic::AtomicU64;

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
}
