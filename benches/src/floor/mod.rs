//! The floors: what moving the bytes costs when nobody thinks about them. Relays without WAMP, to measure a router against.
//!
//! All of them run on one thread (tokio's current-thread runtime) and share the routing table of [`hub`]. What a client sends is
//! read until its socket has nothing more, and each frame goes into the queue of its receiver; all that is queued for a client
//! (up to [`BATCH_MAX`] frames) is written before one flush. Queues are bounded; a client whose queue overflows is dropped.
//! `TCP_NODELAY` is set everywhere.
//!
//! | floor | what it is |
//! |---|---|
//! | [`ws_relay`] | tokio-tungstenite with its default settings on both buffers (128 KiB read, 128 KiB write, no limits changed), binary messages, a task that reads and a task that writes for each connection, no copies of the payload beyond tungstenite's own |
//! | [`link`] | two such relays in two processes, joined by one tonic bidirectional stream; callers and publishers on one, callees and subscribers on the other |
//! | [`tcp_relay`] | four bytes of length before each frame on plain TCP; one task for each connection, reads into a buffer of 64 KiB, frames are slices of it, answers gathered into one write |
//!
//! [`frame`] describes the thirteen bytes of head the frames carry.

pub mod frame;
pub mod hub;
pub mod link;
pub mod tcp_relay;
pub mod ws_relay;

/// Frames written between two flushes at most.
pub const BATCH_MAX: usize = 256;

/// Frames that may wait for one client: more than any closed loop keeps in flight, so an overflow means a client that hangs.
pub const QUEUE_MAX: usize = 65_536;
