//! The dealer: registrations and calls.
//!
//! Owns: where a CALL goes, who waits for which answer, and the read barriers that a miss asks for. Does not own the registrations
//! themselves: those are replicated, in [`super::registry`]. Start reading at `call`, then `choice`.
//!
//! Invariants: a call ends in exactly one final answer, or silently if its caller left; it is delivered at most once; calls of one
//! caller reach a callee in the order in which they were made, apart from one that a callee or its node did not take and that was
//! sent to another one, or looked up again, while later ones were under way; no invocation comes before REGISTERED or after UNREGISTER was handled.

mod barrier;
mod call;
mod cancel;
mod choice;
mod departure;
mod detach;
mod flow;
mod index;
mod invoke;
mod parts;
pub mod plain;
mod registration;
mod revocation;

use super::frame::CallId;

pub(super) use call::Answer;
pub(super) use flow::Flow;
pub(super) use invoke::Invoke;
pub(super) use parts::CallKind;

use barrier::Barriers;
use choice::Rounds;
use departure::Expected;
pub use departure::{Departing, UnderWay};
use index::CallIndex;
use invoke::ParkedInvokes;

/// The dealer's state beside the session table's records: indices, counters and what waits.
#[derive(Debug, Default)]
pub(super) struct Dealer {
    /// Read barriers and who waits for one.
    pub(super) barriers: Barriers,
    /// Calls of this node that are with a callee elsewhere → their caller and its request.
    pub(super) outgoing: CallIndex,
    /// Calls of other nodes that are with a callee here → the callee and its invocation.
    pub(super) incoming: CallIndex,
    /// Calls of other nodes that wait for this node's log.
    pub(super) parked: ParkedInvokes,
    /// Procedures whose callee was sent away.
    pub(super) expected: Expected,
    /// Where the rounds of shared registrations stand.
    pub(super) rounds: Rounds,
    last_call: u64,
    last_order: u64,
}

impl Dealer {
    /// A fresh call number, unique in this node's life and realm.
    fn next_call(&mut self) -> CallId {
        self.last_call += 1;
        CallId(self.last_call)
    }

    /// The place of a new CALL among all calls of this node.
    fn next_order(&mut self) -> u64 {
        self.last_order += 1;
        self.last_order
    }
}
