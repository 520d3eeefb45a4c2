//! What the administration interface and tests may look at. Nothing here changes anything.

use std::time::Instant;

use super::{LogIndex, NodeRef, Realm, Registry, SessionInfo, Stats, TopicKey};
use crate::wamp::{SessionId, Uri};

impl Realm {
    /// Its name.
    pub fn name(&self) -> &Uri {
        &self.config.name
    }

    /// The node life it belongs to.
    pub fn node(&self) -> NodeRef {
        self.me
    }

    /// Registrations and session index of the whole cluster, as far as this node's log goes.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// The index up to which the log is applied for certain.
    pub fn applied(&self) -> LogIndex {
        self.applied
    }

    /// What it counted so far.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// How many sessions of this node are in the realm.
    pub fn session_count(&self) -> usize {
        self.sessions.len()
    }

    /// Who a session of this node is.
    pub fn session_info(&self, session: SessionId) -> Option<&SessionInfo> {
        self.sessions.get(session).map(|s| &s.info)
    }

    /// The sessions of this node, sorted.
    pub fn session_ids(&self) -> Vec<SessionId> {
        self.sessions.ids()
    }

    /// How many topics and patterns have subscribers on this node.
    pub fn topic_count(&self) -> usize {
        self.broker.topics.len()
    }

    /// How many subscriptions the sessions of this node have, one per session and topic.
    pub fn subscription_count(&self) -> usize {
        let topics = self.broker.by_id.values();
        let topics = topics.filter_map(|key| self.broker.topics.get(key.policy, &key.uri));
        topics
            .flat_map(|t| t.groups())
            .map(|(_, g)| g.active.len() + g.pending.len())
            .sum()
    }

    /// The topics, patterns and shards with subscribers on this node, sorted: what a new link is told.
    pub fn topics(&self) -> Vec<TopicKey> {
        let mut keys = Vec::new();
        for key in self.broker.by_id.values() {
            let topic = self.broker.topics.get(key.policy, &key.uri);
            let shards = topic.into_iter().flat_map(|t| t.groups()).map(|(shard, _)| shard.cloned());
            keys.extend(shards.map(|shard| TopicKey { shard, ..key.clone() }));
        }
        keys.sort_unstable();
        keys
    }

    /// The node lives with a link that is up.
    pub fn peers(&self) -> impl ExactSizeIterator<Item = NodeRef> {
        self.peers.iter().copied()
    }

    /// How many invocations of this node's callees have no final answer.
    pub fn open_invocation_count(&self) -> usize {
        self.sessions
            .ids()
            .iter()
            .filter_map(|id| self.sessions.get(*id))
            .map(|s| s.invocations.len())
            .sum()
    }

    /// How many calls of this node's callers have no final answer, parked ones included.
    pub fn open_call_count(&self) -> usize {
        self.sessions
            .ids()
            .iter()
            .filter_map(|id| self.sessions.get(*id))
            .map(|s| s.calls.len() + s.parked.len())
            .sum()
    }

    /// Until when this node may start invocations of `single` registrations.
    pub fn lease_until(&self) -> Option<Instant> {
        self.lease_until
    }
}
