//! How often a limit was met, by whose it was and what it limits.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use crate::router::{Pooled, Tally};

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

/// The counters. Refusals for [`Reason::Sessions`] and [`Reason::Handshakes`], pauses for the others; refusals for what is held together.
#[derive(Debug)]
pub struct Counts {
    met: [[AtomicU64; REASONS.len()]; SCOPES.len()],
    held: [Arc<Tally>; SCOPES.len()],
}

impl Default for Counts {
    fn default() -> Self {
        let tally = |(scope, name): (Scope, &'static str)| {
            let reasons = [SUBSCRIPTIONS, REGISTRATIONS, CALLS].map(|setting| setting[scope as usize]);
            Arc::new(Tally::new(name, reasons))
        };
        Self {
            met: Default::default(),
            held: SCOPES.map(tally),
        }
    }
}

/// What the record says of a setting that was met, by the scope whose it is.
macro_rules! of_each_scope {
    ($setting:literal) => {
        [
            concat!($setting, " of the listener"),
            concat!($setting, " of the source"),
            concat!($setting, " of the realm"),
            concat!($setting, " of the role"),
            concat!($setting, " of the principal"),
        ]
    };
}

const SESSIONS: [&str; SCOPES.len()] = of_each_scope!("sessions_max");
const HANDSHAKES: [&str; SCOPES.len()] = of_each_scope!("handshakes_per_sec");
const SUBSCRIPTIONS: [&str; SCOPES.len()] = of_each_scope!("subscriptions_max");
const REGISTRATIONS: [&str; SCOPES.len()] = of_each_scope!("registrations_max");
const CALLS: [&str; SCOPES.len()] = of_each_scope!("calls_max");

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

const HELD: [(Pooled, &str); 3] = [
    (Pooled::Subscriptions, "subscriptions_refused"),
    (Pooled::Registrations, "registrations_refused"),
    (Pooled::Calls, "calls_refused"),
];

impl Counts {
    pub(super) fn count(&self, scope: Scope, reason: Reason) {
        self.met[scope as usize][reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn held(&self, scope: Scope) -> &Arc<Tally> {
        &self.held[scope as usize]
    }

    /// Each counter with its scope and what it counts, in words.
    pub fn all(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
        SCOPES.iter().flat_map(move |(scope, scope_name)| {
            let met = REASONS.iter().map(move |(reason, reason_name)| {
                let count = self.met[*scope as usize][*reason as usize].load(Ordering::Relaxed);
                (*scope_name, *reason_name, count)
            });
            let held = HELD.iter().map(move |(what, reason_name)| {
                let count = self.held[*scope as usize].refused(*what);
                (*scope_name, *reason_name, count)
            });
            met.chain(held)
        })
    }
}

impl Scope {
    /// As it stands in what people read.
    pub fn name(self) -> &'static str {
        SCOPES[self as usize].1
    }

    /// What the record says of somebody who is not let in for `reason`.
    pub fn refusal(self, reason: Reason) -> &'static str {
        match reason {
            Reason::Handshakes => HANDSHAKES[self as usize],
            Reason::Sessions | Reason::Messages | Reason::Bytes => SESSIONS[self as usize],
        }
    }
}
