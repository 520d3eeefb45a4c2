//! How much a realm holds for one session or one link, and how long it waits.

use std::time::Duration;

/// Bounds of a realm. Each default is meant for thousands of sessions on one small machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RealmLimits {
    /// Open calls of one session, parked ones included; beyond, a CALL is answered `wamp.error.unavailable`.
    ///
    /// Too small: busy callers are refused. Too large: one caller can fill a callee's outbox.
    pub open_calls_max: usize,
    /// CALLs of one session that may wait behind a lookup that missed.
    pub parked_calls_max: usize,
    /// Payload bytes of these.
    pub parked_bytes_max: usize,
    /// Invocations from other nodes that may wait for this node's log, all links together; beyond, they are refused as stale.
    pub parked_invokes_max: usize,
    /// Payload bytes of these.
    pub parked_invokes_bytes_max: usize,
    /// Registrations of one session, REGISTERs under way included; beyond, `wamp.error.unavailable`.
    pub registrations_max: usize,
    /// Subscriptions of one session; beyond, `wamp.error.unavailable`.
    pub subscriptions_max: usize,
    /// SUBSCRIBEs of one session for one topic that may wait for their answer at once.
    pub subscribes_waiting_max: usize,
    /// Questions of one session about histories that may wait for their answer; beyond, `wamp.error.unavailable`.
    pub history_calls_max: usize,
    /// Events in the answer to one.
    pub history_answer_max: usize,
    /// How long a REGISTER waits for the log before its outcome is called unknown.
    pub register_wait: Duration,
    /// How long REGISTERED of a registration that overlaps another one waits for the logs of the linked nodes. A node that takes longer
    /// has lost its lease by then, if it does not only lag.
    pub overlap_wait: Duration,
    /// How long UNREGISTERED waits for the log; the removal on this node does not wait.
    pub unregister_wait: Duration,
    /// How long SUBSCRIBED waits for every linked node. The links reset a peer well before.
    pub subscribe_wait: Duration,
    /// Publications of this node, or here from others, that may wait to be received at once; beyond, `wamp.error.unavailable`.
    pub deliveries_max: usize,
    /// How long a publication waits to be received before its publisher is told that it was not.
    pub delivery_wait: Duration,
    /// How long a read barrier may take before it counts as failed.
    pub barrier_wait: Duration,
    /// How long an invocation from another node waits for this node's log.
    pub invoke_wait: Duration,
    /// How much longer than its callee the dealer waits, where the callee keeps the time of a call itself.
    pub forwarded_timeout_grace: Duration,
    /// Meta calls of this node's sessions that may be under way at once; beyond, `wamp.error.unavailable`. As many questions of other
    /// nodes may wait for this node's log.
    pub meta_calls_max: usize,
    /// Argument bytes of a meta call; beyond, `wamp.error.invalid_argument`.
    pub meta_call_bytes_max: usize,
    /// Testaments of one session; beyond, `wamp.error.unavailable`. They stand in the log and on every node.
    pub testaments_max: usize,
    /// Definitions of topics, procedures and errors that clients make; beyond, `wamp.error.unavailable`. They stand in the log and, compiled,
    /// on every node.
    pub definitions_max: u32,
    /// Bytes of these.
    pub definitions_bytes_max: u64,
    /// Bytes of a payload that is held to a schema; a larger one is refused. The realm stands still while it is looked at.
    pub schema_payload_bytes_max: usize,
    /// How long a meta call waits for the other nodes. Those that have not answered then are named in the answer.
    pub meta_wait: Duration,
}

impl Default for RealmLimits {
    fn default() -> Self {
        Self {
            open_calls_max: 16_384,
            parked_calls_max: 1_024,
            parked_bytes_max: 4 << 20,
            parked_invokes_max: 4_096,
            parked_invokes_bytes_max: 16 << 20,
            registrations_max: 65_536,
            subscriptions_max: 65_536,
            subscribes_waiting_max: 1_024,
            history_calls_max: 16,
            history_answer_max: 1_000,
            register_wait: Duration::from_secs(10),
            overlap_wait: Duration::from_millis(4_500),
            unregister_wait: Duration::from_secs(1),
            subscribe_wait: Duration::from_secs(5),
            deliveries_max: 16_384,
            delivery_wait: Duration::from_secs(10),
            barrier_wait: Duration::from_secs(1),
            invoke_wait: Duration::from_secs(5),
            forwarded_timeout_grace: Duration::from_secs(1),
            meta_calls_max: 1_024,
            meta_call_bytes_max: 64 << 10,
            testaments_max: 64,
            definitions_max: 512,
            definitions_bytes_max: 1 << 20,
            schema_payload_bytes_max: 1 << 20,
            meta_wait: Duration::from_millis(250),
        }
    }
}
