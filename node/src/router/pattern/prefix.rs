//! Prefix patterns: a radix tree over bytes.
//!
//! A prefix is compared by characters, not by components: `a.b` matches `a.b-x`. UTF-8 makes a prefix in characters one in bytes.
//!
//! Invariants: a node other than the root has a value or at least two children; the labels of siblings begin with different bytes
//! and are sorted by them.

use super::arena::{Arena, At};

/// Values by prefix.
#[derive(Clone, Debug)]
pub(super) struct PrefixTree<V> {
    nodes: Arena<Node<V>>,
    len: usize,
}

#[derive(Clone, Debug)]
struct Node<V> {
    /// What its prefix has beyond that of its parent.
    label: Box<[u8]>,
    value: Option<V>,
    parent: At,
    children: Vec<At>,
}

impl<V> Default for Node<V> {
    fn default() -> Self {
        Self {
            label: Box::default(),
            value: None,
            parent: ROOT,
            children: Vec::new(),
        }
    }
}

impl<V> Default for PrefixTree<V> {
    fn default() -> Self {
        Self {
            nodes: Arena::with_root(),
            len: 0,
        }
    }
}

const ROOT: At = 0;

impl<V> PrefixTree<V> {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn insert(&mut self, prefix: &str, value: V) -> Option<V> {
        let (mut at, mut rest) = (ROOT, prefix.as_bytes());
        while let Some(first) = rest.first() {
            match self.child(at, *first) {
                Err(place) => {
                    let leaf = self.nodes.add(Node {
                        label: rest.into(),
                        parent: at,
                        ..Node::default()
                    });
                    self.nodes[at].children.insert(place, leaf);
                    (at, rest) = (leaf, &[]);
                }
                Ok(place) => {
                    let child = self.nodes[at].children[place];
                    let common = common(&self.nodes[child].label, rest);
                    if common < self.nodes[child].label.len() {
                        self.split(child, common);
                    }
                    (at, rest) = (self.nodes[at].children[place], &rest[common..]);
                }
            }
        }
        let before = self.nodes[at].value.replace(value);
        self.len += usize::from(before.is_none());
        before
    }

    pub(super) fn remove(&mut self, prefix: &str) -> Option<V> {
        let at = self.find(prefix)?;
        let value = self.nodes[at].value.take()?;
        self.len -= 1;
        if self.len == 0 {
            *self = Self::default();
        } else {
            self.tidy(at);
        }
        Some(value)
    }

    pub(super) fn get(&self, prefix: &str) -> Option<&V> {
        self.nodes[self.find(prefix)?].value.as_ref()
    }

    pub(super) fn get_mut(&mut self, prefix: &str) -> Option<&mut V> {
        let at = self.find(prefix)?;
        self.nodes[at].value.as_mut()
    }

    /// The values of all prefixes of `uri`, the longest first.
    pub(super) fn matches<'a>(&'a self, uri: &str) -> impl Iterator<Item = &'a V> + use<'a, V> {
        let (deepest, _) = self.descend(uri.as_bytes());
        // The prefixes of a prefix are its ancestors.
        let up = std::iter::successors(Some(deepest), |at| (*at != ROOT).then(|| self.nodes[*at].parent));
        up.filter_map(|at| self.nodes[at].value.as_ref())
    }

    /// The deepest node whose prefix `text` begins with, and what is left of `text` behind it.
    fn descend<'t>(&self, text: &'t [u8]) -> (At, &'t [u8]) {
        let (mut at, mut rest) = (ROOT, text);
        while let Some(first) = rest.first()
            && let Ok(place) = self.child(at, *first)
            && let child = self.nodes[at].children[place]
            && let Some(behind) = rest.strip_prefix(&*self.nodes[child].label)
        {
            (at, rest) = (child, behind);
        }
        (at, rest)
    }

    fn find(&self, prefix: &str) -> Option<At> {
        let (at, rest) = self.descend(prefix.as_bytes());
        rest.is_empty().then_some(at)
    }

    /// Which child's label begins with that byte, or where it would stand.
    fn child(&self, at: At, first: u8) -> Result<usize, usize> {
        self.nodes[at]
            .children
            .binary_search_by_key(&Some(&first), |child| self.nodes[*child].label.first())
    }

    /// Puts a node between `at` and its parent that takes the first `common` bytes of its label.
    fn split(&mut self, at: At, common: usize) {
        let label = std::mem::take(&mut self.nodes[at].label);
        let (front, back) = label.split_at(common);
        let parent = self.nodes[at].parent;
        let between = self.nodes.add(Node {
            label: front.into(),
            parent,
            children: vec![at],
            ..Node::default()
        });
        self.replace_child(parent, at, between);
        self.nodes[at].label = back.into();
        self.nodes[at].parent = between;
    }

    /// Takes a node out that has no value any more and is no fork either; then looks at its parent.
    fn tidy(&mut self, at: At) {
        let node = &self.nodes[at];
        if at == ROOT || node.value.is_some() {
            return;
        }
        match node.children[..] {
            [] => {
                let parent = self.nodes.take(at).parent;
                self.nodes[parent].children.retain(|child| *child != at);
                // It had another child at least, so this goes one step up and no further.
                self.tidy(parent);
            }
            [only] => {
                let Node { label, parent, .. } = self.nodes.take(at);
                self.nodes[only].label = [label, std::mem::take(&mut self.nodes[only].label)].concat().into();
                self.nodes[only].parent = parent;
                self.replace_child(parent, at, only);
            }
            _ => {}
        }
    }

    fn replace_child(&mut self, parent: At, old: At, new: At) {
        if let Some(child) = self.nodes[parent].children.iter_mut().find(|child| **child == old) {
            *child = new;
        }
    }

    #[cfg(test)]
    pub(super) fn node_count(&self) -> usize {
        self.nodes.used()
    }
}

/// How many leading bytes two texts share.
fn common(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}
