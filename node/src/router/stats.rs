//! What a realm counts. The shell exports it; the core never reads it back.
//!
//! Invariants kept here: every message the core drops and every refusal moves exactly one of these counters.

/// Declares the counters, and lists them with what their doc comments say, so that none can be forgotten where they are shown.
macro_rules! counters {
    ($(#[$about:meta])* pub struct $name:ident { $($(#[doc = $doc:literal])+ pub $field:ident: u64,)* }) => {
        $(#[$about])*
        pub struct $name {
            $($(#[doc = $doc])+ pub $field: u64,)*
        }

        impl $name {
            /// Name and meaning of each counter, in the order of their values in [`Self::values`].
            pub const NAMES: &[(&str, &str)] = &[$((stringify!($field), concat!($($doc,)+)),)*];

            /// What each has counted.
            pub fn values(&self) -> [u64; Self::NAMES.len()] {
                [$(self.$field,)*]
            }
        }
    };
}

counters! {
/// Counters of one realm since it was built.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// CALLs that were accepted for routing (parked ones included).
    pub calls: u64,
    /// INVOCATIONs sent to callees of this node.
    pub invocations: u64,
    /// Invocations sent to other nodes.
    pub invocations_forwarded: u64,
    /// RESULTs sent to callers of this node.
    pub results: u64,
    /// ERRORs that ended a call of this node.
    pub call_errors: u64,
    /// CALLs that had to wait for a read barrier.
    pub calls_parked: u64,
    /// CALLs that had to wait for a procedure whose callee was sent away by its node.
    pub calls_held: u64,
    /// Calls that were looked up again after a node refused them as stale.
    pub calls_retried: u64,
    /// Calls that were sent to another callee since one did not take them.
    pub calls_rerouted: u64,
    /// Registrations that the router took from sessions of this node.
    pub registrations_revoked: u64,
    /// Read barriers asked for.
    pub barriers: u64,
    /// Read barriers that failed or took too long.
    pub barriers_failed: u64,
    /// Requests that their session had no right to, and calls that ended when their caller lost it.
    pub unauthorized: u64,
    /// Requests that were refused since a limit is reached: of the session, of the node, or of a scope that the session is counted in.
    pub over_limits: u64,
    /// PUBLISHes that were accepted.
    pub publications: u64,
    /// EVENTs put into outboxes of this node's sessions, one per receiver.
    pub events: u64,
    /// Events sent to other nodes, one per node.
    pub events_forwarded: u64,
    /// Events given to the store for a history.
    pub events_kept: u64,
    /// Events for a history that another node had and this one lacked, or had as well.
    pub events_caught_up: u64,
    /// Events that became the retained one of their topic, or cleared it.
    pub events_retained: u64,
    /// Topics whose retained events had to go for want of room.
    pub retained_evicted: u64,
    /// Questions about histories that were given to the store.
    pub history_calls: u64,
    /// ERRORs that refused a request other than a CALL.
    pub refusals: u64,
    /// Sessions ended for breaking the protocol.
    pub aborts: u64,
    /// Subscriptions that were ended without their sessions' asking.
    pub subscriptions_revoked: u64,
    /// Times that a session of this node began to lose events.
    pub slow_consumers: u64,
    /// SUBSCRIBED sent although not every linked node had confirmed the interest in time.
    pub subscribed_unconfirmed: u64,
    /// UNREGISTERED sent before the log confirmed it.
    pub unregistered_unconfirmed: u64,
    /// REGISTERED sent although not every linked node knew of a registration that overlaps another one.
    pub registered_unconfirmed: u64,
    /// REGISTERs answered with an unknown outcome.
    pub registers_expired: u64,
    /// Registrations that came to be after their REGISTER was given up, and were taken back.
    pub registers_late: u64,
    /// Invocations from other nodes that waited for this node's log.
    pub invokes_parked: u64,
    /// Invocations from other nodes that were refused as stale.
    pub invokes_refused: u64,
    /// Meta calls that were accepted.
    pub meta_calls: u64,
    /// Meta calls that were answered without some node's part.
    pub meta_overdue: u64,
    /// Sessions of this node ended by a meta call.
    pub sessions_killed: u64,
    /// Sessions of this node ended since their token had expired.
    pub sessions_expired: u64,
    /// Procedures of clients that the router has called, to ask who somebody is or whether something is permitted.
    pub questions: u64,
    /// Requests about which an authorizer should have decided and did not.
    pub undecided: u64,
    /// Payloads that broke a rule of their URI's schema.
    pub schema_violations: u64,
    /// Testaments published to the subscribers of this node.
    pub testaments: u64,
    /// Dropped: a question of another node that this version does not know, or one too many.
    pub dropped_meta_asks: u64,
    /// Dropped: input for a session that is not, or no longer, here.
    pub dropped_no_session: u64,
    /// Dropped: an answer of a callee to an invocation that has ended.
    pub dropped_late_answers: u64,
    /// RESULTs sent that were not the last of their call.
    pub progressive_results: u64,
    /// CALLs that were a further part of the arguments of an open call.
    pub call_parts: u64,
    /// INVOCATIONs sent that were a further part of the arguments of an open one.
    pub invocation_parts: u64,
    /// Calls that ended by CANCEL before their callee answered.
    pub calls_canceled: u64,
    /// Calls that ended since nothing came in the time given for it.
    pub calls_timed_out: u64,
    /// INTERRUPTs sent to callees of this node.
    pub interrupts: u64,
    /// Dropped: a progressive YIELD that its caller did not ask for.
    pub dropped_progress: u64,
    /// Dropped: a PUBLISH that was refused without its publisher having asked for an answer.
    pub dropped_publications: u64,
    /// Publications that were not received by all in time.
    pub deliveries_expired: u64,
    /// Events from other nodes that nobody will say to have been received, for too many waited.
    pub deliveries_untracked: u64,
    /// Dropped: EVENT_RECEIVED, or its like of another node, that nobody waits for.
    pub dropped_event_received: u64,
    /// Dropped: a further part of the arguments of a call that has ended.
    pub dropped_late_parts: u64,
    /// Dropped: CANCEL of a call that has ended or never was.
    pub dropped_cancels: u64,
    /// Dropped: a frame or interest of a node without a link.
    pub dropped_unlinked: u64,
    /// Dropped: a frame of another node about a call that has ended.
    pub dropped_late_frames: u64,
    /// Dropped: a frame of another node that repeats a call number still in use.
    pub dropped_repeated_frames: u64,
    /// Dropped: an event of another node that no session here wants any more.
    pub dropped_unwanted_events: u64,
    /// Dropped: the answer of a read barrier nobody waits for any more.
    pub dropped_late_barriers: u64,
}
}
