//! Free loopback ports that stay free.
//!
//! A port of the system's ephemeral range could be taken by an outgoing connection between the choice and the bind, or while a
//! killed node is down. So ports come from below that range, starting at a place that differs between test processes.

use std::{
    net::TcpListener,
    sync::atomic::{AtomicU16, Ordering},
};

/// First port ever handed out.
const FIRST: u16 = 12_000;
/// How many ports the walk goes over before it starts again; their end lies below the ephemeral range.
const COUNT: u16 = 18_000;

static NEXT: AtomicU16 = AtomicU16::new(0);

/// A port of 127.0.0.1 that nothing listens on, given out once per turn of the walk.
///
/// # Panics
/// If no port of the range is free.
pub fn free_port() -> u16 {
    let start = (std::process::id().wrapping_mul(97) % u32::from(COUNT)) as u16;
    for _ in 0..COUNT {
        let step = NEXT.fetch_add(1, Ordering::Relaxed) % COUNT;
        let port = FIRST + (start + step) % COUNT;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no free port between {FIRST} and {}", FIRST + COUNT);
}
