//! Which types openraft is instantiated with, under short names.
//!
//! Nothing but [`Types`] names an async runtime: the log and the state machine are written against [`RaftTypes`], so that a
//! simulator can declare its own configuration over a virtual clock and reuse them as they are.

use std::fmt;

use bytes::Bytes;
use openraft::{RaftTypeConfig, impls::leader_id_adv};

openraft::declare_raft_types!(
    /// The configuration of a running node: tokio's clock and tasks.
    pub(crate) Types:
        D = Command,
        R = Outcome,
        NodeId = u64,
        Node = MemberName,
);

/// Any configuration that differs from [`Types`] in its runtime only.
pub(crate) trait RaftTypes:
    RaftTypeConfig<
        D = Command,
        R = Outcome,
        NodeId = u64,
        Node = MemberName,
        Term = u64,
        LeaderId = LeaderId,
        Vote = Vote,
        Payload = Payload,
        Entry = Entry,
    >
{
}

impl<C> RaftTypes for C where
    C: RaftTypeConfig<
            D = Command,
            R = Outcome,
            NodeId = u64,
            Node = MemberName,
            Term = u64,
            LeaderId = LeaderId,
            Vote = Vote,
            Payload = Payload,
            Entry = Entry,
        >
{
}

/// The pair of term and node that names a leader.
pub(crate) type LeaderId = leader_id_adv::LeaderId<u64, u64>;
/// Position of an entry and the leader that put it there.
pub(crate) type LogId = openraft::LogId<LeaderId>;
/// A vote, or a leadership once committed.
pub(crate) type Vote = openraft::Vote<LeaderId>;
/// What an entry carries.
pub(crate) type Payload = openraft::EntryPayload<Command, u64, MemberName>;
/// One entry of the log.
pub(crate) type Entry = openraft::Entry<LeaderId, Payload>;
/// Voters and learners with their names.
pub(crate) type Membership = openraft::Membership<u64, MemberName>;
/// A membership and the entry that set it.
pub(crate) type StoredMembership = openraft::StoredMembership<LeaderId, u64, MemberName>;
/// What a snapshot covers.
pub(crate) type SnapshotMeta = openraft::SnapshotMeta<LeaderId, u64, MemberName>;
/// A snapshot: what it covers, and the state machine's bytes.
pub(crate) type Snapshot = openraft::Snapshot<LeaderId, u64, MemberName, Bytes>;

/// One command of the state machine, opaque to this layer.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Command(pub(crate) Bytes);

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Command {
    /// States the length only: commands may hold credentials and never reach a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "command of {} bytes", self.0.len())
    }
}

/// What the state machine answered to one command.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Outcome(pub(crate) Bytes);

impl fmt::Debug for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "outcome of {} bytes", self.0.len())
    }
}

/// A member as the log knows it: its name. Addresses stay outside, because rewriting them through the log can split a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct MemberName(pub(crate) String);

impl fmt::Display for MemberName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How many bytes an entry weighs in caches and messages.
pub(crate) fn weight(entry: &Entry) -> usize {
    /// Log id, tags and lengths, roughly.
    const HEAD: usize = 64;
    HEAD + match &entry.payload {
        Payload::Normal(command) => command.0.len(),
        Payload::Blank => 0,
        Payload::Membership(members) => members.nodes().map(|(_, name)| 32 + name.0.len()).sum(),
    }
}
