//! `[drain]`: how a node goes away.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Config;

/// How a node of a cluster goes away, told by SIGTERM, Ctrl-C or `ringfort admin drain`; docs/operating.md shows the order. Every bound here is a most:
/// a node without sessions, or without other nodes to send them to, is gone at once. `ringfort check` prints what they come to
/// together, which has to be less than the grace period of whatever stops the process. A second signal skips what is left.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Drain {
    /// Milliseconds between the moment at which a node says that it is not ready and the one at which it takes no more clients. Default 0, which
    /// suits clients that know several nodes; behind a load balancer a little more than it takes to notice, such as 10000. Too small
    /// refuses the clients that are still sent here, too large only takes longer.
    pub load_balancer_delay_ms: u64,
    /// Milliseconds a leader may take to hand the leadership to the voter whose log is the most complete. Default 5000. After it the node
    /// goes on, and the others elect when it is gone.
    pub leadership_ms: u64,
    /// Milliseconds a session's open calls and invocations may take to end before it is told GOODBYE, counted from its turn. Default 15000.
    /// Calls that take longer end in an error. Too small fails calls that would have been answered, too large waits for
    /// those that never are.
    pub open_calls_ms: u64,
    /// Milliseconds over which the sessions are told GOODBYE at most, callees first, mere subscribers last; each is told to come back
    /// (`_reconnect_after_ms`) at a random moment in as many. Default 60000. Few sessions take less, see `goodbyes_per_sec`.
    /// Too small has all clients storm the other nodes at once, too large delays a restart.
    pub window_ms: u64,
    /// Sessions that are told GOODBYE in a second; `window_ms` goes before it where there are more. Default 200.
    pub goodbyes_per_sec: u32,
    /// Milliseconds for which calls wait, on every node, for a procedure whose only callee was sent away, until it is registered
    /// again; callees are told to come back in at most a quarter of it. Default 3000, at most 60000; `0`: they fail at once with
    /// `no_such_procedure`. Too small fails calls of callees that are slow to come back, too large lets callers wait for those that never do.
    pub callee_wait_ms: u32,
}

impl Default for Drain {
    fn default() -> Self {
        Self {
            load_balancer_delay_ms: 0,
            leadership_ms: 5_000,
            open_calls_ms: 15_000,
            window_ms: 60_000,
            goodbyes_per_sec: 200,
            callee_wait_ms: 3_000,
        }
    }
}

/// What the node takes beside the settings: the entries of the log that take registrations from callees, its farewell to the cluster, and
/// the writing of what its stores still have.
const BESIDE: Duration = Duration::from_secs(1 + 3 + 5);

/// Longer than this nobody waits for a node to go.
pub(super) const MOST: Duration = Duration::from_secs(3600);

impl Drain {
    /// The longest that calls may wait for a callee that was sent away, in milliseconds.
    pub(super) const CALLEE_WAIT_MAX_MS: u32 = 60_000;
}

impl Config {
    /// How long a node with these settings takes at most from the signal to its end.
    pub fn stops_within(&self) -> Duration {
        let drain = &self.drain;
        let millis = [
            drain.load_balancer_delay_ms,
            drain.leadership_ms,
            drain.window_ms,
            drain.open_calls_ms,
        ];
        let settings = millis.into_iter().fold(0_u64, u64::saturating_add);
        let goodbye = Duration::from_secs(self.node.drain_secs);
        Duration::from_millis(settings).saturating_add(goodbye).saturating_add(BESIDE)
    }
}
