//! Whether a subscription is created, or deleted, in the cluster: one node keeps account of each, and tells.
//!
//! The keeper of a subscription is found by rendezvous hashing over the nodes that are linked. Where a session becomes or ceases to be a
//! subscriber, its node reports so to the keeper, all about one subscription on one lane. The keeper knows which nodes have subscribers and
//! publishes the events, again on one lane: so every subscriber of them hears each creation and each end once, in turn, and what lies
//! between them in between, wherever the sessions are and however long messages take.
//!
//! Where links come or go, some keepers change; nodes then report to the new one what they have, of which nothing is told. While that goes
//! on, and of what a lost node had, an event may be missing or told twice.

use std::collections::BTreeSet;

use super::{Question, Realm, subscription::Row};
use crate::{
    router::{MatchPolicy, NodeRef, PeerFrame, Slot, policy::About, turn::Turn},
    wamp::{Dict, SessionId, SubscriptionId, Uri, Value},
};

/// What a node tells the keeper of a subscription.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Report {
    /// A session has become or ceased to be a subscriber.
    Change(Change),
    /// These have subscribers there, as before.
    There(Vec<SubscriptionId>),
}

/// A session has become or ceased to be a subscriber.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Change {
    pub(super) session: SessionId,
    pub(super) subscription: SubscriptionId,
    pub(super) policy: MatchPolicy,
    pub(super) uri: Uri,
    pub(super) what: What,
}

/// How.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// It came; if it is the first of its node, since when (milliseconds since 1970, UTC).
    Came { first: Option<u64> },
    /// It went, maybe as the last of its node.
    Went { last: bool },
}

/// How many subscriptions one frame reports as there.
const TOGETHER_MAX: usize = 256;

impl Report {
    pub(super) fn to_dict(&self) -> Dict {
        match self {
            Self::There(ids) => {
                let ids: Vec<Value> = ids.iter().map(|id| Value::from(id.get())).collect();
                Dict::new().with("there", ids)
            }
            Self::Change(change) => {
                let dict = Dict::new()
                    .with("session", change.session.get())
                    .with("id", change.subscription.get())
                    .with("match", change.policy.name())
                    .with("uri", &*change.uri);
                match change.what {
                    What::Came { first: Some(created) } => dict.with("came", true).with("first", created),
                    What::Came { first: None } => dict.with("came", true),
                    What::Went { last } => dict.with("came", false).with("last", last),
                }
            }
        }
    }

    pub(super) fn from_dict(dict: &Dict) -> Option<Self> {
        let raw = |value: &Value| u64::try_from(value.as_integer()?).ok();
        if let Some(there) = dict.get("there") {
            let ids = there.as_list()?.iter().map(|id| SubscriptionId::new(raw(id)?));
            return ids.collect::<Option<_>>().map(Self::There);
        }
        let what = match (dict.bool("came")?, dict.get("first")) {
            (true, Some(created)) => What::Came {
                first: Some(raw(created)?),
            },
            (true, None) => What::Came { first: None },
            (false, _) => What::Went {
                last: dict.bool("last")?,
            },
        };
        Some(Self::Change(Change {
            session: SessionId::new(raw(dict.get("session")?)?)?,
            subscription: SubscriptionId::new(raw(dict.get("id")?)?)?,
            policy: MatchPolicy::from_name(dict.text("match")?)?,
            uri: Uri::from(dict.text("uri")?),
            what,
        }))
    }
}

impl Realm {
    /// A session of this node has become or ceased to be a subscriber.
    pub(super) fn report(&mut self, turn: &mut Turn<'_>, change: Change) {
        let keeper = keeper(change.subscription, self.me, &self.meta.ready);
        if keeper == self.me {
            return self.take_change(turn, self.me, &change);
        }
        let lane = lane(change.subscription);
        self.tell_keeper(turn, keeper, lane, Report::Change(change));
    }

    /// Another node reports.
    pub(super) fn take_report(&mut self, turn: &mut Turn<'_>, from: NodeRef, report: Report) {
        match report {
            Report::Change(change) => self.take_change(turn, from, &change),
            Report::There(ids) => ids.into_iter().for_each(|id| _ = self.note_presence(id, from)),
        }
    }

    fn take_change(&mut self, turn: &mut Turn<'_>, from: NodeRef, change: &Change) {
        let id = change.subscription;
        let about = || About::Subscription(change.policy, change.uri.clone());
        match change.what {
            What::Came { first } => {
                if let Some(created_ms) = first
                    && self.note_presence(id, from)
                {
                    let row = Row {
                        policy: change.policy,
                        uri: change.uri.clone(),
                        created_ms,
                        subscribers: Vec::new(),
                    };
                    self.tell_created(turn, change.session, id, &row);
                }
                self.tell_subscribed(turn, change.session, id, about());
            }
            What::Went { last } => {
                self.tell_unsubscribed(turn, change.session, id, about());
                if last && self.forget_presence(id, from) {
                    self.tell_deleted(turn, change.session, id, about());
                }
            }
        }
    }

    /// Notes that a node has subscribers; true if no other had.
    fn note_presence(&mut self, id: SubscriptionId, node: NodeRef) -> bool {
        let nodes = self.meta.presence.entry(id).or_insert_with(|| Vec::with_capacity(1));
        let first = nodes.is_empty();
        if !nodes.contains(&node) {
            nodes.push(node);
        }
        first
    }

    /// Notes that a node has none any more; true if it was the last one.
    fn forget_presence(&mut self, id: SubscriptionId, node: NodeRef) -> bool {
        let Some(nodes) = self.meta.presence.get_mut(&id) else {
            return false;
        };
        nodes.retain(|known| *known != node);
        let none_left = nodes.is_empty();
        if none_left {
            self.meta.presence.remove(&id);
        }
        none_left
    }

    /// Another node can keep account.
    pub(in crate::router) fn share_presence(&mut self, turn: &mut Turn<'_>, node: NodeRef) {
        let before = self.meta.ready.clone();
        self.meta.ready.insert(node);
        self.report_anew(turn, &before);
    }

    /// Another node cannot any more.
    pub(super) fn detach_node_from_presence(&mut self, turn: &mut Turn<'_>, node: NodeRef) {
        self.meta.presence.retain(|_, nodes| {
            nodes.retain(|known| *known != node);
            !nodes.is_empty()
        });
        let before = self.meta.ready.clone();
        if self.meta.ready.remove(&node) {
            self.report_anew(turn, &before);
        }
    }

    /// Tells new keepers what this node has; what it does not keep any more it forgets.
    fn report_anew(&mut self, turn: &mut Turn<'_>, before: &BTreeSet<NodeRef>) {
        let (me, after) = (self.me, self.meta.ready.clone());
        self.meta.presence.retain(|id, _| keeper(*id, me, &after) == me);
        let here = self.meta.created.keys().copied();
        let mut moved: Vec<(NodeRef, SubscriptionId)> = here
            .filter(|id| keeper(*id, me, before) != keeper(*id, me, &after))
            .filter(|id| self.broker.by_id.get(id).is_some_and(|key| !key.uri.is_reserved()))
            .map(|id| (keeper(id, me, &after), id))
            .collect();
        // By lane, so that each report keeps its place before the changes that follow it there.
        moved.sort_unstable_by_key(|(node, id)| (*node, lane(*id), *id));
        for group in moved.chunk_by(|(a, one), (b, other)| a == b && lane(*one) == lane(*other)) {
            for some in group.chunks(TOGETHER_MAX) {
                let (keeper, first) = some[0];
                let ids = some.iter().map(|(_, id)| *id).collect();
                if keeper == me {
                    self.take_report(turn, me, Report::There(ids));
                } else {
                    self.tell_keeper(turn, keeper, lane(first), Report::There(ids));
                }
            }
        }
    }

    fn tell_keeper(&mut self, turn: &mut Turn<'_>, keeper: NodeRef, lane: SessionId, report: Report) {
        let question = Question::Report(report).to_dict();
        turn.forward(
            keeper,
            lane,
            PeerFrame::MetaAsk {
                ask: NO_ANSWER,
                question,
            },
        );
    }
}

/// Reports are not answered.
const NO_ANSWER: u64 = 0;

/// What takes the place of a session where a lane is chosen: equal for all that is said of a subscription.
pub(super) fn lane(subscription: SubscriptionId) -> SessionId {
    SessionId::new(subscription.get() % LANES + 1).expect("it lies in the id range")
}

/// Over how many lanes, at most, what is said of subscriptions is spread.
const LANES: u64 = 64;

/// Who keeps account of a subscription.
fn keeper(subscription: SubscriptionId, me: NodeRef, others: &BTreeSet<NodeRef>) -> NodeRef {
    let weight = |node: &NodeRef| (weight(subscription, node.slot), *node);
    others.iter().map(weight).fold(weight(&me), Ord::max).1
}

/// Rendezvous hashing: the finalizer of SplitMix64. Ids of subscriptions are keyed hashes, so nobody chooses who keeps one.
fn weight(subscription: SubscriptionId, slot: Slot) -> u64 {
    let mut x = subscription.get() ^ (u64::from(slot.0) + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_come_through_as_they_are() {
        let (session, subscription) = (SessionId::new(7).unwrap(), SubscriptionId::new(9).unwrap());
        let all = [
            What::Came { first: Some(1234) },
            What::Came { first: None },
            What::Went { last: true },
            What::Went { last: false },
        ];
        let changes = all.map(|what| {
            Report::Change(Change {
                session,
                subscription,
                policy: MatchPolicy::Prefix,
                uri: "com.".into(),
                what,
            })
        });
        for report in changes.into_iter().chain([Report::There(vec![subscription])]) {
            assert_eq!(Report::from_dict(&report.to_dict()), Some(report));
        }
        assert_eq!(Report::from_dict(&Dict::new().with("came", true)), None);
        assert_eq!(Report::from_dict(&Dict::new().with("there", vec![Value::from(0_u64)])), None);
    }

    #[test]
    fn all_nodes_agree_on_the_keeper_and_share_the_work() {
        let node = |slot: u16| NodeRef {
            slot: Slot(slot),
            epoch: u32::from(slot),
        };
        let mut kept = [0; 3];
        for id in (1..3000).map(|n| SubscriptionId::new(n * 7919).unwrap()) {
            let view = |me: u16| {
                let others = (1..=3).filter(|slot| *slot != me).map(node).collect();
                keeper(id, node(me), &others)
            };
            assert!(view(1) == view(2) && view(2) == view(3));
            kept[usize::from(view(1).slot.0) - 1] += 1;
            // One that goes moves none but its own.
            let without_3 = keeper(id, node(1), &[node(2)].into());
            assert!(view(1) == node(3) || without_3 == view(1));
        }
        assert!(kept.iter().all(|count| *count > 800), "{kept:?}");
    }
}
