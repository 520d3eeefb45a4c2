//! Whether a subscription was created, or deleted, in the cluster: the node where its first subscriber came, or its last one went,
//! asks the others. Only where somebody wants to know.
//!
//! Two nodes that get their first subscriber at the same time find each other's; the one whose subscriber came first, by the time of
//! the log and then by slot, is the creator. That time is as exact as the nodes' logs are close (milliseconds), so within it both may
//! tell of the creation. Two that lose their last one in the very same moment may both tell of the end.

use std::{collections::BTreeSet, time::Instant};

use super::{Question, Realm, subscription::Row};
use crate::{
    router::{MatchPolicy, NodeRef, PeerFrame, policy, timers::Timer, turn::Turn},
    wamp::{Dict, SessionId, SubscriptionId, Uri, Value},
};

/// A question to the other nodes whose answer decides about an event.
#[derive(Debug)]
pub(in crate::router) struct Decision {
    pub(super) subscription: SubscriptionId,
    policy: MatchPolicy,
    uri: Uri,
    about: About,
    /// Nodes whose answer is awaited.
    pub(in crate::router) waiting: BTreeSet<NodeRef>,
    /// Another node has it too, or had it before.
    elsewhere: bool,
    pub(in crate::router) deadline: Instant,
}

#[derive(Debug)]
enum About {
    /// These have come, the first of them at that time; nothing is told of them before it is decided.
    Creation { subscribers: Vec<SessionId>, created_ms: u64 },
    /// This one has gone as the last.
    Deletion { session: SessionId },
}

impl Realm {
    /// The first subscriber of this node has come.
    pub(super) fn decide_creation(&mut self, turn: &mut Turn<'_>, session: SessionId, id: SubscriptionId, row: &Row) {
        let about = About::Creation {
            subscribers: vec![session],
            created_ms: row.created_ms,
        };
        self.decide(turn, session, id, (row.policy, row.uri.clone()), about);
    }

    /// The last subscriber of this node has gone.
    pub(super) fn decide_deletion(
        &mut self,
        turn: &mut Turn<'_>,
        session: SessionId,
        id: SubscriptionId,
        key: (MatchPolicy, Uri),
    ) {
        self.decide(turn, session, id, key, About::Deletion { session });
    }

    fn decide(
        &mut self,
        turn: &mut Turn<'_>,
        session: SessionId,
        subscription: SubscriptionId,
        (policy, uri): (MatchPolicy, Uri),
        about: About,
    ) {
        let mut decision = Decision {
            subscription,
            policy,
            uri,
            about,
            waiting: self.peers.clone(),
            elsewhere: false,
            deadline: turn.now + self.config.limits.meta_wait,
        };
        if self.meta.decisions.len() >= self.config.limits.meta_calls_max {
            // Too much is open to ask: what the others have said they want is nearly as good.
            decision.elsewhere = self.broker.interested.get(policy, &decision.uri).is_some();
            decision.waiting.clear();
        }
        if decision.waiting.is_empty() {
            return self.conclude_decision(turn, decision);
        }
        let ask = self.meta.next_ask();
        let question = Question::Subscriptions(super::subscription::Which::Id(subscription));
        for node in &decision.waiting {
            let question = question.to_dict();
            turn.forward(*node, session, PeerFrame::MetaAsk { ask, question });
        }
        self.timers.set(decision.deadline, Timer::Meta(ask));
        self.meta.decisions.insert(ask, decision);
    }

    /// Lets a subscriber wait for the decision about its subscription's creation; false if there is none.
    pub(super) fn joins_decision(&mut self, session: SessionId, id: SubscriptionId) -> bool {
        for decision in self.meta.decisions.values_mut().filter(|d| d.subscription == id) {
            if let About::Creation { subscribers, .. } = &mut decision.about {
                subscribers.push(session);
                return true;
            }
        }
        false
    }

    /// Decides by what is known so far: something else is to be told of that subscription.
    pub(super) fn hasten_decision(&mut self, turn: &mut Turn<'_>, id: SubscriptionId) {
        let of_it = |(_, decision): &(&u64, &Decision)| decision.subscription == id;
        let asks: Vec<u64> = self.meta.decisions.iter().filter(of_it).map(|(ask, _)| *ask).collect();
        asks.into_iter().for_each(|ask| self.end_decision(turn, ask));
    }

    /// Takes an answer if it is to such a question.
    pub(super) fn on_decisive_answer(&mut self, turn: &mut Turn<'_>, from: NodeRef, ask: u64, answer: &Dict) -> bool {
        let Some(decision) = self.meta.decisions.get_mut(&ask) else {
            return false;
        };
        if !decision.waiting.remove(&from) {
            return false;
        }
        let rows = answer.get("rows").and_then(Value::as_list).unwrap_or_default();
        for (_, row) in rows.iter().filter_map(Row::from_value) {
            decision.elsewhere |= match &decision.about {
                About::Creation { created_ms, .. } => (row.created_ms, from.slot) < (*created_ms, self.me.slot),
                About::Deletion { .. } => true,
            };
        }
        if decision.waiting.is_empty() {
            self.end_decision(turn, ask);
        }
        true
    }

    /// The link to a node ended: it decides nothing.
    pub(super) fn detach_node_from_decisions(&mut self, turn: &mut Turn<'_>, node: NodeRef) {
        let mut done = Vec::new();
        for (ask, decision) in &mut self.meta.decisions {
            if decision.waiting.remove(&node) && decision.waiting.is_empty() {
                done.push(*ask);
            }
        }
        done.into_iter().for_each(|ask| self.end_decision(turn, ask));
    }

    fn end_decision(&mut self, turn: &mut Turn<'_>, ask: u64) {
        if let Some(decision) = self.meta.decisions.remove(&ask) {
            self.timers.unset(decision.deadline, Timer::Meta(ask));
            self.conclude_decision(turn, decision);
        }
    }

    /// Tells what was decided.
    pub(super) fn conclude_decision(&mut self, turn: &mut Turn<'_>, decision: Decision) {
        let Decision {
            subscription,
            policy,
            uri,
            about,
            elsewhere,
            ..
        } = decision;
        let of = policy::About::Subscription(policy, uri.clone());
        match about {
            About::Creation { subscribers, created_ms } => {
                if let Some(first) = subscribers.first().filter(|_| !elsewhere) {
                    let row = Row {
                        policy,
                        uri,
                        created_ms,
                        subscribers: Vec::new(),
                    };
                    self.tell_created(turn, *first, subscription, &row);
                }
                for session in subscribers {
                    self.tell_subscribed(turn, session, subscription, of.clone());
                }
            }
            // Somebody may have come here again.
            About::Deletion { session } if !elsewhere && !self.meta.created.contains_key(&subscription) => {
                self.tell_deleted(turn, session, subscription, of);
            }
            About::Deletion { .. } => {}
        }
    }
}
