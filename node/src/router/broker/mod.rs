//! The broker: subscriptions and events.
//!
//! Owns: who of this node gets which event, which events this node asks the others for, and which node wants which topic. Start
//! reading at `subscription`.
//!
//! Invariants: SUBSCRIBED comes before the first event of its subscription and after every linked node knows of the interest (or
//! its deadline); nothing comes after UNSUBSCRIBE was handled; a session gets an event once per subscription; events of one
//! publisher stay in order; one copy goes to each interested node and is never sent on.

mod audience;
mod detach;
mod publish;
mod subscription;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Instant,
};

pub use audience::Audience;
pub(super) use publish::Event;

use super::NodeRef;
use crate::wamp::{SessionId, SubscriptionId, Uri};

/// The broker's state.
#[derive(Debug, Default)]
pub(super) struct Broker {
    /// Topics with subscribers on this node.
    pub(super) topics: HashMap<Uri, Topic>,
    /// The topic of each subscription of this node.
    pub(super) by_id: HashMap<SubscriptionId, Uri>,
    /// The topic announced under a ticket that was not confirmed yet.
    pub(super) tickets: BTreeMap<u64, Uri>,
    /// Which linked nodes want a topic, in slot order.
    pub(super) interested: HashMap<Uri, BTreeSet<NodeRef>>,
    /// Which topics a linked node wants.
    pub(super) wanted_by: BTreeMap<NodeRef, BTreeSet<Uri>>,
    last_ticket: u64,
    last_order: u64,
}

/// A topic somebody on this node subscribes to.
#[derive(Debug)]
pub(super) struct Topic {
    pub(super) id: SubscriptionId,
    pub(super) interest: Interest,
    /// Receivers of events, in the order in which they subscribed.
    pub(super) active: BTreeMap<u64, SessionId>,
    /// Subscribers that have not heard SUBSCRIBED, in that order.
    pub(super) pending: BTreeMap<u64, SessionId>,
}

/// What the other nodes know of this node's interest in a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Interest {
    /// Announced, not confirmed by every link. `deadline` is set while somebody waits for SUBSCRIBED.
    Announced { ticket: u64, deadline: Option<Instant> },
    /// Known to every link; a link that comes up later learns it before its node serves clients.
    Confirmed,
}

impl Broker {
    fn next_ticket(&mut self) -> u64 {
        self.last_ticket += 1;
        self.last_ticket
    }

    fn next_order(&mut self) -> u64 {
        self.last_order += 1;
        self.last_order
    }
}
