//! `[limits]`: the bounds that keep one client, or many, from taking the whole node.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Quota;

/// Bounds of this node; each holds for this node alone.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Connections at a time on each listener; further ones are closed at once. Default 20000. Each takes a file descriptor:
    /// `ulimit -n` must be larger, or accepting fails. Too small turns devices away.
    pub sessions_max: usize,
    /// Seconds from the connection to WELCOME. Default 10. Phones on bad networks need a few.
    pub handshake_secs: u64,
    /// Bytes a connection may send before WELCOME: HTTP head, HELLO and AUTHENTICATE together. Default 16384.
    pub handshake_bytes_max: usize,
    /// Bytes of one message before WELCOME, of the head of an HTTP request, and of a TLS handshake where no client certificates are asked
    /// for (else `handshake_bytes_max` holds for that). Default 4096. This is what somebody unknown can have the node keep; with what the
    /// node needs itself a connection then stays below 16 KiB. Raise it for long JWTs, or for browsers with many cookies.
    pub handshake_message_bytes_max: usize,
    /// Bytes of one WAMP message, from a client or to it. Default 16777216, the most RawSocket can carry. RawSocket announces
    /// the next lower power of two.
    pub message_bytes_max: usize,
    /// Nested lists and maps in one message. Default 128. No serializer needs memory for more.
    pub depth_max: usize,
    /// Bytes that may wait for one slow client. Default 33554432; at least `message_bytes_max`. Then events are dropped and
    /// counted, and a client that must have an answer loses its session. Where a topic's `slow_consumer` keeps the newest events,
    /// those that wait for that take up to a quarter more.
    pub outbox_bytes_max: usize,
    /// Messages that may wait for one slow client. Default 65536. The same happens.
    pub outbox_messages_max: usize,
    /// Subscriptions of one session. Default 10000. Further ones get an ERROR.
    pub subscriptions_per_session_max: usize,
    /// Registrations of one session. Default 10000. Further ones get an ERROR.
    pub registrations_per_session_max: usize,
    /// Calls of one session that wait for an answer. Default 65536. Further ones get an ERROR.
    pub calls_per_session_max: usize,
    /// Meta calls (`wamp.session.count`, …) of this node's clients that are under way. Default 1024. Further ones get an ERROR.
    pub meta_calls_max: usize,
    /// Bytes of the arguments of one meta call, and so of a testament. Default 65536. Larger ones get an ERROR.
    pub meta_call_bytes_max: usize,
    /// Testaments of one session. Default 64. Further ones get an ERROR. They stand in the log and in the memory of every node.
    pub testaments_per_session_max: usize,
    /// Definitions that the clients of a realm make with `wamp.reflect.define`, of all nodes together. Default 512. Further ones get an
    /// ERROR. Each stands in the log and, compiled, in the memory of every node: kilobytes, or megabytes where it has many regular
    /// expressions.
    pub definitions_max: u32,
    /// Bytes of these, URI and JSON text. Default 1048576. A single one is a meta call, see `meta_call_bytes_max`.
    pub definitions_bytes_max: u64,
    /// Bytes of a payload that is held to a JSON Schema. Default 1048576. Larger ones get an ERROR, since the realm stands still while
    /// it looks at one.
    pub schema_payload_bytes_max: usize,
    /// Milliseconds for which a meta call waits for the other nodes; those that have not answered then are named in
    /// RESULT.Details `_missing`. A SUBSCRIBE with `get_retained` waits as long for what they have sent. Default 250. Larger waits
    /// longer for nodes that hang, smaller leaves out slow ones.
    pub meta_wait_ms: u64,
    /// Failed logins of one source (an IPv4 address, or the /64 of an IPv6 address), or of one principal, that cost nothing. Default 5.
    /// Beyond, each further attempt waits: first `failed_logins_delay_ms`, then twice as long each time. Failures are counted over all nodes.
    pub failed_logins_free: u32,
    /// Failed logins of one source after which it is refused, whoever it says it is. Default 20. Too small turns away whole offices
    /// behind one address; too large lets them guess.
    pub failed_logins_per_source_max: u32,
    /// Failed logins of one principal after which it is refused from where it has not logged in lately. Default 50.
    pub failed_logins_per_principal_max: u32,
    /// Milliseconds the first slowed attempt waits. Default 250.
    pub failed_logins_delay_ms: u64,
    /// Milliseconds an attempt waits at most. Default 4000; below `handshake_secs`.
    pub failed_logins_delay_max_ms: u64,
    /// Seconds in which one failure is forgotten, and so one more attempt is possible for who is refused. Default 30.
    pub failed_logins_forget_secs: u64,
    /// Milliseconds for which REGISTERED of a registration that overlaps another one (the same procedure by a pattern) waits until all
    /// nodes know of it, so that a call made then goes to it from any node. Default 4500: a node that takes longer has lost its lease,
    /// unless it only lags. Smaller risks that such a node sends calls to the other registration for a moment.
    pub overlap_wait_ms: u64,
    /// Seconds of silence after which a WebSocket client is pinged. Default 10. Smaller costs batteries.
    pub keepalive_secs: u64,
    /// Seconds of silence after which a client that was pinged counts as dead. Default 25; more than `keepalive_secs`.
    pub dead_peer_secs: u64,
    /// What each source may take, an IPv4 address or the /64 of an IPv6 address; see `[limits.per_source]`. Default: anything. Offices and
    /// mobile networks share one address.
    pub per_source: Quota,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            sessions_max: 20_000,
            handshake_secs: 10,
            handshake_bytes_max: 16_384,
            handshake_message_bytes_max: 4_096,
            message_bytes_max: 16 * 1024 * 1024,
            depth_max: 128,
            outbox_bytes_max: 32 * 1024 * 1024,
            outbox_messages_max: 65_536,
            subscriptions_per_session_max: 10_000,
            registrations_per_session_max: 10_000,
            calls_per_session_max: 65_536,
            meta_calls_max: 1_024,
            meta_call_bytes_max: 65_536,
            testaments_per_session_max: 64,
            definitions_max: 512,
            definitions_bytes_max: 1 << 20,
            schema_payload_bytes_max: 1 << 20,
            meta_wait_ms: 250,
            failed_logins_free: 5,
            failed_logins_per_source_max: 20,
            failed_logins_per_principal_max: 50,
            failed_logins_delay_ms: 250,
            failed_logins_delay_max_ms: 4_000,
            failed_logins_forget_secs: 30,
            overlap_wait_ms: 4_500,
            keepalive_secs: 10,
            dead_peer_secs: 25,
            per_source: Quota::default(),
        }
    }
}

impl Limits {
    /// Time from the connection to WELCOME.
    pub fn handshake(&self) -> Duration {
        Duration::from_secs(self.handshake_secs)
    }

    /// Silence before a ping.
    pub fn keepalive(&self) -> Duration {
        Duration::from_secs(self.keepalive_secs)
    }

    /// Silence before a client counts as dead.
    pub fn dead_peer(&self) -> Duration {
        Duration::from_secs(self.dead_peer_secs)
    }
}
