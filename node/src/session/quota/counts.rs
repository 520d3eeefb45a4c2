//! How often a limit was met, by whose it was and what it limits.

use std::sync::atomic::{AtomicU64, Ordering};

/// Whose limit it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Of a listener.
    Listener,
    /// Of an IPv4 address or an IPv6 /64.
    Source,
    /// Of a realm.
    Realm,
    /// Of a role.
    Role,
    /// Of a principal.
    Principal,
}

/// What it limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// How many there are at a time.
    Sessions,
    /// How many come in a second.
    Handshakes,
    /// Messages in a second.
    Messages,
    /// Bytes in a second.
    Bytes,
}

/// The counters. Refusals for [`Reason::Sessions`] and [`Reason::Handshakes`], pauses for the others.
#[derive(Debug, Default)]
pub struct Counts([[AtomicU64; REASONS.len()]; SCOPES.len()]);

const SCOPES: [(Scope, &str); 5] = [
    (Scope::Listener, "listener"),
    (Scope::Source, "source"),
    (Scope::Realm, "realm"),
    (Scope::Role, "role"),
    (Scope::Principal, "principal"),
];
const REASONS: [(Reason, &str); 4] = [
    (Reason::Sessions, "sessions_refused"),
    (Reason::Handshakes, "handshakes_refused"),
    (Reason::Messages, "messages_slowed"),
    (Reason::Bytes, "bytes_slowed"),
];

impl Counts {
    pub(super) fn count(&self, scope: Scope, reason: Reason) {
        self.0[scope as usize][reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Each counter with its scope and what it counts, in words.
    pub fn all(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
        SCOPES.iter().flat_map(move |(scope, scope_name)| {
            REASONS.iter().map(move |(reason, reason_name)| {
                let count = self.0[*scope as usize][*reason as usize].load(Ordering::Relaxed);
                (*scope_name, *reason_name, count)
            })
        })
    }
}

impl Scope {
    /// As it stands in what people read.
    pub fn name(self) -> &'static str {
        SCOPES[self as usize].1
    }
}
