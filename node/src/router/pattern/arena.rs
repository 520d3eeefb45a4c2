//! The nodes of a tree in one array, so that trees are copied and dropped without recursion, however deep a peer makes them.

use std::ops::{Index, IndexMut};

/// Where a node stands.
pub(super) type At = usize;

/// Nodes by place. A place is used again once its node was taken out.
#[derive(Clone, Debug)]
pub(super) struct Arena<N> {
    nodes: Vec<N>,
    free: Vec<At>,
}

impl<N: Default> Arena<N> {
    /// An arena with one node: the root, at 0.
    pub(super) fn with_root() -> Self {
        Self {
            nodes: vec![N::default()],
            free: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, node: N) -> At {
        match self.free.pop() {
            Some(at) => {
                self.nodes[at] = node;
                at
            }
            None => {
                self.nodes.push(node);
                self.nodes.len() - 1
            }
        }
    }

    /// Takes a node out that no other node points to any more.
    pub(super) fn take(&mut self, at: At) -> N {
        self.free.push(at);
        std::mem::take(&mut self.nodes[at])
    }

    /// How many nodes are in use.
    #[cfg(test)]
    pub(super) fn used(&self) -> usize {
        self.nodes.len() - self.free.len()
    }
}

impl<N> Index<At> for Arena<N> {
    type Output = N;
    fn index(&self, at: At) -> &N {
        &self.nodes[at]
    }
}

impl<N> IndexMut<At> for Arena<N> {
    fn index_mut(&mut self, at: At) -> &mut N {
        &mut self.nodes[at]
    }
}
