//! `[listener.quota]`, `[limits.per_source]`, `[realm.quota]`, `[realm.roles.quota]`, `[realm.roles.per_principal]`: what a part of the clients may take.

use serde::{Deserialize, Serialize};

/// Limits of a listener, a source, a realm, a role or a principal, on this node alone. `0`, the default of all, stands for none. Where several
/// scopes limit the same, each counts. `/status` counts how often each was met.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Quota {
    /// Connections at a time of a listener or source, sessions of a realm, role or principal. Connections beyond are answered 429 (503
    /// where the listener is full), or closed; sessions get ABORT.
    pub sessions_max: u32,
    /// New connections, or sessions, in a second; a second's worth may come at once. What happens beyond is the same. Under TLS whoever
    /// comes too often is closed before the handshake.
    pub handshakes_per_sec: u32,
    /// Messages in a second that clients may send, all sessions of the scope together; a second's worth may come at once. Beyond, they are
    /// not read for a while: they are slowed, and lose nothing. What one read brings, up to 64 KiB, is taken as a whole and waited for
    /// afterwards, at most 30 seconds.
    pub messages_per_sec: u32,
    /// Bytes in a second, in the same way.
    pub bytes_per_sec: u64,
    /// Bytes of one message of an established session. Who sends a longer one loses its session.
    pub message_bytes_max: usize,
    /// Subscriptions, all sessions of the scope together. Further ones get an ERROR that names the scope.
    pub subscriptions_max: u32,
    /// Registrations, all sessions of the scope together. Further ones get an ERROR that names the scope.
    pub registrations_max: u32,
    /// Calls that wait for an answer, all sessions of the scope together. Further ones get an ERROR that names the scope.
    pub calls_max: u32,
}
