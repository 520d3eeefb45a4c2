//! Where open calls between this node and others are found again.

use std::collections::BTreeMap;

use crate::{
    router::{NodeRef, frame::CallId},
    wamp::{RequestId, SessionId, id::IdMap},
};

/// (node, call) → a session of this node and its request.
///
/// Looked up twice for every call between nodes, so the calls of a node are hashed. Their numbers are drawn by a node of this
/// cluster, never by a client.
#[derive(Debug, Default)]
pub(in crate::router) struct CallIndex {
    nodes: BTreeMap<NodeRef, IdMap<CallId, (SessionId, RequestId)>>,
}

impl CallIndex {
    pub(in crate::router) fn insert(&mut self, (node, call): (NodeRef, CallId), of: (SessionId, RequestId)) {
        self.nodes.entry(node).or_default().insert(call, of);
    }

    pub(in crate::router) fn get(&self, (node, call): &(NodeRef, CallId)) -> Option<&(SessionId, RequestId)> {
        self.nodes.get(node)?.get(call)
    }

    pub(in crate::router) fn contains_key(&self, key: &(NodeRef, CallId)) -> bool {
        self.get(key).is_some()
    }

    pub(in crate::router) fn remove(&mut self, (node, call): &(NodeRef, CallId)) -> Option<(SessionId, RequestId)> {
        let calls = self.nodes.get_mut(node)?;
        let removed = calls.remove(call);
        if calls.is_empty() && calls.capacity() > KEPT_MAX {
            *calls = IdMap::default();
        }
        removed
    }

    /// The open calls with a node, in the order in which they were made.
    pub(in crate::router) fn calls_of(&self, node: NodeRef) -> Vec<CallId> {
        let mut calls: Vec<_> = self.nodes.get(&node).into_iter().flat_map(IdMap::keys).copied().collect();
        calls.sort_unstable();
        calls
    }

    /// Forgets a node life that is over, and whatever is still open with it.
    pub(in crate::router) fn forget(&mut self, node: NodeRef) {
        self.nodes.remove(&node);
    }

    pub(in crate::router) fn len(&self) -> usize {
        self.nodes.values().map(IdMap::len).sum()
    }

    #[cfg(test)]
    pub(in crate::router) fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// An empty table larger than this is freed.
const KEPT_MAX: usize = 4_096;
