//! What the end of a session or a link means for subscriptions, and what other nodes want.

use super::Broker;
use crate::{
    router::{NodeRef, Realm, turn::Turn},
    wamp::{SessionId, Uri},
};

impl Realm {
    /// Ends all subscriptions of a session.
    pub(in crate::router) fn detach_broker(&mut self, turn: &mut Turn<'_>, session: SessionId) {
        let Some(subscriber) = self.sessions.get_mut(session) else {
            return;
        };
        for (subscription, subscribed) in std::mem::take(&mut subscriber.subscriptions) {
            self.remove_subscriber(turn, subscription, subscribed.order);
        }
    }

    /// A linked node began or ceased to want events.
    pub(in crate::router) fn on_peer_interest(&mut self, node: NodeRef, changes: Vec<(Uri, bool)>) {
        if !self.peers.contains(&node) {
            self.stats.dropped_unlinked += 1;
            return;
        }
        for (topic, wanted) in changes {
            if wanted {
                self.broker.interested.entry(topic.clone()).or_default().insert(node);
                self.broker.wanted_by.entry(node).or_default().insert(topic);
            } else {
                self.broker.lose_interest(node, &topic);
                if let Some(topics) = self.broker.wanted_by.get_mut(&node) {
                    topics.remove(&topic);
                }
            }
        }
    }
}

impl Broker {
    /// A node's link ended: what it wanted is forgotten.
    pub(in crate::router) fn forget_node(&mut self, node: NodeRef) {
        for topic in self.wanted_by.remove(&node).unwrap_or_default() {
            self.lose_interest(node, &topic);
        }
    }

    fn lose_interest(&mut self, node: NodeRef, topic: &Uri) {
        if let Some(nodes) = self.interested.get_mut(topic) {
            nodes.remove(&node);
            if nodes.is_empty() {
                self.interested.remove(topic);
            }
        }
    }
}
