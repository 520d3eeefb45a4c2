//! What the end of a session or a link means for subscriptions, and what other nodes want.

use super::{Broker, Interested};
use crate::{
    router::{NodeRef, Realm, TopicKey, turn::Turn},
    wamp::SessionId,
};

impl Realm {
    /// Ends all subscriptions of a session.
    pub(in crate::router) fn detach_broker(&mut self, turn: &mut Turn<'_>, session: SessionId) {
        self.detach_deliveries(turn, session);
        let Some(subscriber) = self.sessions.get_mut(session) else {
            return;
        };
        let subscriptions = std::mem::take(&mut subscriber.subscriptions);
        // It is off every topic before anything is told of it: it hears none of that any more.
        let mut went = Vec::new();
        for (subscription, subscribed) in subscriptions {
            let key = self.take_off_topic(turn, subscription, &subscribed);
            went.extend(key.map(|key| (subscription, key)));
        }
        for (subscription, key) in went {
            self.on_subscriber_went(turn, session, subscription, &key);
        }
    }

    /// A linked node began or ceased to want events.
    pub(in crate::router) fn on_peer_interest(&mut self, node: NodeRef, changes: Vec<(TopicKey, bool)>) {
        if !self.peers.contains(&node) {
            self.stats.dropped_unlinked += 1;
            return;
        }
        for (key, wanted) in changes {
            if wanted {
                self.gain_interest(node, key);
            } else {
                self.broker.lose_interest(node, &key);
                if let Some(keys) = self.broker.wanted_by.get_mut(&node) {
                    keys.remove(&key);
                }
            }
        }
    }

    fn gain_interest(&mut self, node: NodeRef, key: TopicKey) {
        let interested = &mut self.broker.interested;
        match interested.get_mut(key.policy, &key.uri) {
            Some(known) => {
                known.nodes_mut(key.shard.as_ref()).insert(node);
            }
            None => {
                let id = self.ids.subscription(key.policy, &key.uri);
                let mut new = Interested {
                    id,
                    nodes: Default::default(),
                    shards: Default::default(),
                };
                new.nodes_mut(key.shard.as_ref()).insert(node);
                interested.insert(key.policy, &key.uri, new);
                self.broker.far_by_id.insert(id, (key.policy, key.uri.clone()));
            }
        }
        self.broker.wanted_by.entry(node).or_default().insert(key);
    }
}

impl Broker {
    /// A node's link ended: what it wanted is forgotten.
    pub(in crate::router) fn forget_node(&mut self, node: NodeRef) {
        for key in self.wanted_by.remove(&node).unwrap_or_default() {
            self.lose_interest(node, &key);
        }
    }

    fn lose_interest(&mut self, node: NodeRef, key: &TopicKey) {
        let Some(known) = self.interested.get_mut(key.policy, &key.uri) else {
            return;
        };
        match &key.shard {
            None => _ = known.nodes.remove(&node),
            Some(shard) => {
                if let Some(nodes) = known.shards.get_mut(shard) {
                    nodes.remove(&node);
                    if nodes.is_empty() {
                        known.shards.remove(shard);
                    }
                }
            }
        }
        if known.nodes.is_empty()
            && known.shards.is_empty()
            && let Some(gone) = self.interested.remove(key.policy, &key.uri)
        {
            self.far_by_id.remove(&gone.id);
        }
    }
}
