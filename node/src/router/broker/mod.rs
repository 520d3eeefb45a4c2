//! The broker: subscriptions and events.
//!
//! Owns: who of this node gets which event, which events this node asks the others for, and which node wants which topic. Start
//! reading at `subscription`.
//!
//! Invariants: SUBSCRIBED comes before the first event of its subscription and after every linked node knows of the interest (or
//! its deadline); nothing comes after UNSUBSCRIBE was handled; a session gets an event once per subscription; events of one
//! publisher stay in order; one copy goes to each interested node and is never sent on.

mod audience;
mod delivery;
mod detach;
mod publish;
mod revoke;
mod shard;
mod slow;
mod subscription;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Instant,
};

pub use audience::Audience;
use delivery::Deliveries;
pub(super) use publish::Event;

use super::{MatchPolicy, NodeRef, Shard, SlowConsumer, TopicKey, TopicRule, pattern::Index};
use crate::wamp::{SessionId, SubscriptionId, Uri};

/// The broker's state.
#[derive(Debug, Default)]
pub(super) struct Broker {
    /// Topics and patterns with subscribers on this node.
    pub(super) topics: Index<Topic>,
    /// The topic or pattern of each subscription of this node, without shards.
    pub(super) by_id: HashMap<SubscriptionId, TopicKey>,
    /// The key announced under a ticket that was not confirmed yet.
    pub(super) tickets: BTreeMap<u64, TopicKey>,
    /// Which linked nodes want a topic or pattern.
    pub(super) interested: Index<Interested>,
    /// The topic or pattern of each subscription of linked nodes.
    pub(super) far_by_id: HashMap<SubscriptionId, (MatchPolicy, Uri)>,
    /// What a linked node wants.
    pub(super) wanted_by: BTreeMap<NodeRef, BTreeSet<TopicKey>>,
    /// Topics with a policy of their own for subscribers that do not keep up.
    pub(super) rules: Option<Box<Index<SlowConsumer>>>,
    /// Publications whose receipt is waited for.
    pub(super) deliveries: Deliveries,
    last_ticket: u64,
    last_order: u64,
}

/// A topic or pattern somebody on this node subscribes to.
#[derive(Debug)]
pub(super) struct Topic {
    pub(super) id: SubscriptionId,
    pub(super) policy: MatchPolicy,
    /// Those without a node key.
    pub(super) group: Option<Group>,
    /// Those with one, by it.
    pub(super) shards: BTreeMap<Shard, Group>,
}

/// Subscribers of this node with one key of interest.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) interest: Interest,
    /// Receivers of events, in the order in which they subscribed.
    pub(in crate::router) active: BTreeMap<u64, SessionId>,
    /// Subscribers that have not heard SUBSCRIBED, in that order.
    pub(super) pending: BTreeMap<u64, SessionId>,
}

/// What the other nodes know of this node's interest under a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Interest {
    /// Announced, not confirmed by every link. `deadline` is set while somebody waits for SUBSCRIBED.
    Announced { ticket: u64, deadline: Option<Instant> },
    /// Known to every link; a link that comes up later learns it before its node serves clients.
    Confirmed,
}

/// The linked nodes that want a topic or pattern, in slot order.
#[derive(Debug)]
pub(super) struct Interested {
    /// The subscription, which is the same on every node.
    pub(super) id: SubscriptionId,
    /// Those with subscribers without a node key.
    pub(super) nodes: BTreeSet<NodeRef>,
    /// Those with subscribers of each node key.
    pub(super) shards: BTreeMap<Shard, BTreeSet<NodeRef>>,
}

impl Broker {
    /// No subscriptions; topics are under these rules.
    pub(super) fn new(rules: &[TopicRule]) -> Self {
        Self {
            rules: slow::index(rules),
            ..Self::default()
        }
    }

    fn next_ticket(&mut self) -> u64 {
        self.last_ticket += 1;
        self.last_ticket
    }

    fn next_order(&mut self) -> u64 {
        self.last_order += 1;
        self.last_order
    }

    /// The subscribers of this node under a key, and their subscription.
    fn group_mut(&mut self, key: &TopicKey) -> Option<(SubscriptionId, &mut Group)> {
        let topic = self.topics.get_mut(key.policy, &key.uri)?;
        let group = match &key.shard {
            None => topic.group.as_mut(),
            Some(shard) => topic.shards.get_mut(shard),
        };
        Some((topic.id, group?))
    }
}

impl Topic {
    /// All its groups, each with its node key.
    pub(in crate::router) fn groups(&self) -> impl Iterator<Item = (Option<&Shard>, &Group)> {
        let shards = self.shards.iter().map(|(shard, group)| (Some(shard), group));
        self.group.iter().map(|group| (None, group)).chain(shards)
    }
}

impl Interested {
    /// The nodes that want it under a node key, or without one.
    fn nodes_mut(&mut self, shard: Option<&Shard>) -> &mut BTreeSet<NodeRef> {
        match shard {
            None => &mut self.nodes,
            Some(shard) => self.shards.entry(shard.clone()).or_default(),
        }
    }
}
