//! The pure core: one [`Realm`] is a dealer, a broker and the realm's part of the replicated registry.
//!
//! Owns: who gets what. No socket, task, clock or randomness: everything that can happen is an [`Input`], everything the core can
//! ask for is an [`Effect`], time and seed come in. The same seed and inputs give the same effects. A realm shares nothing with
//! another realm. To the core a remote node is one more peer: calls and events travel to it as [`PeerFrame`]s.
//!
//! Start reading at [`input`] and [`effect`], then [`realm`], then `dealer/` and `broker/`, one verb per file.

pub mod compat;
pub mod effect;
pub mod features;
pub mod frame;
pub mod input;
pub mod kept;
pub mod limits;
pub mod listing;
pub mod op;
pub mod pattern;
pub mod policy;
pub mod pools;
pub mod realm;
pub mod reflection;
pub mod registry;
pub mod slow;
pub mod stats;
pub mod topic;

mod abilities;
mod asker;
mod bearer;
mod broker;
pub mod dealer;
mod detach;
mod ids;
mod inspect;
mod invariants;
mod invocations;
mod meta;
mod passthru;
mod peers;
mod session_table;
mod streams;
mod timers;
mod turn;
mod window;

#[cfg(test)]
mod cluster_test;
#[cfg(test)]
mod policy_test;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use asker::{Answered, Ask};
pub use bearer::{Bearer, REFRESH, Refresh, Refreshed};
pub use broker::Audience;
pub use compat::{CancelAnswer, Compat, ErrorUris, MetaResults, OnLeave};
pub use dealer::{Departing, UnderWay};
pub use effect::Effect;
pub use features::announced_roles;
pub use frame::PeerFrame;
pub use input::{BarrierOutcome, Input, SessionInfo, Whence};
pub use limits::RealmLimits;
pub use op::{InvokePolicy, MatchPolicy, OnConflict, Op, OpOutcome, Origin, RegisterWishes, Testament, TestamentScope};
pub use policy::{Authority, Change, Changed, Edit, Permission, Policy, Right, Rights, Role};
pub use pools::{Pool, Pooled, Pools, Tally};
pub use realm::{CallTimeouts, Disclosure, Realm, RealmConfig, RequestIdCheck, TimeoutUnit};
pub use registry::Registry;
pub use slow::{SlowConsumer, TopicRule};
pub use stats::Stats;
pub use topic::{Shard, TopicKey};

// The type of a setting of `RealmConfig`.
pub use crate::wamp::UriCheck;

/// A node's slot: a small number that names a member of the cluster, 1..=4095. Reused only under a new [`NodeRef::epoch`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(pub u16);

/// One life of a node: its slot and the epoch it got when it joined. An epoch of a slot is never reused, 1..=32767.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeRef {
    /// Which member.
    pub slot: Slot,
    /// Which life of it.
    pub epoch: u32,
}

/// The index of an entry in the committed log; 0 before the first.
pub type LogIndex = u64;
