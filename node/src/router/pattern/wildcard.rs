//! Wildcard patterns: a tree over components.
//!
//! An empty component of a pattern matches any one component. Where the patterns that match a URI fork, one goes on with the
//! URI's own component and the other with an empty one: the former is the better match, whatever follows. That is the text's rule
//! of comparing the runs of components from the left, since two patterns that match the same URI and agree up to there have runs
//! of the same length up to there.
//!
//! Invariant: a node other than the root has a value or children.

use std::collections::HashMap;

use super::arena::{Arena, At};

/// Values by wildcard pattern.
#[derive(Clone, Debug)]
pub(super) struct WildcardTree<V> {
    nodes: Arena<Node<V>>,
    len: usize,
}

#[derive(Clone, Debug)]
struct Node<V> {
    value: Option<V>,
    /// The child under an empty component.
    any: Option<At>,
    /// The children under other components. Looked up, never iterated.
    named: HashMap<Box<str>, At>,
}

impl<V> Default for Node<V> {
    fn default() -> Self {
        Self {
            value: None,
            any: None,
            named: HashMap::new(),
        }
    }
}

impl<V> Default for WildcardTree<V> {
    fn default() -> Self {
        Self {
            nodes: Arena::with_root(),
            len: 0,
        }
    }
}

const ROOT: At = 0;

impl<V> WildcardTree<V> {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn insert(&mut self, pattern: &str, value: V) -> Option<V> {
        let mut at = ROOT;
        for component in pattern.split('.') {
            at = match self.child(at, component) {
                Some(child) => child,
                None => {
                    let child = self.nodes.add(Node::default());
                    if component.is_empty() {
                        self.nodes[at].any = Some(child);
                    } else {
                        self.nodes[at].named.insert(component.into(), child);
                    }
                    child
                }
            };
        }
        let before = self.nodes[at].value.replace(value);
        self.len += usize::from(before.is_none());
        before
    }

    pub(super) fn remove(&mut self, pattern: &str) -> Option<V> {
        let mut path = Vec::new();
        let mut at = ROOT;
        for component in pattern.split('.') {
            path.push((at, component));
            at = self.child(at, component)?;
        }
        let value = self.nodes[at].value.take()?;
        self.len -= 1;
        if self.len == 0 {
            *self = Self::default();
            return Some(value);
        }
        while let Some((parent, component)) = path.pop() {
            let node = &self.nodes[at];
            if node.value.is_some() || node.any.is_some() || !node.named.is_empty() {
                break;
            }
            self.nodes.take(at);
            if component.is_empty() {
                self.nodes[parent].any = None;
            } else {
                self.nodes[parent].named.remove(component);
            }
            at = parent;
        }
        Some(value)
    }

    pub(super) fn get(&self, pattern: &str) -> Option<&V> {
        self.nodes[self.find(pattern)?].value.as_ref()
    }

    pub(super) fn get_mut(&mut self, pattern: &str) -> Option<&mut V> {
        let at = self.find(pattern)?;
        self.nodes[at].value.as_mut()
    }

    /// The values of all patterns that `uri` matches, the best first.
    pub(super) fn matches<'a, 'u>(&'a self, uri: &'u str) -> impl Iterator<Item = &'a V> + use<'a, 'u, V> {
        // Where to go on, and what of the URI is left from there; what is on top comes first.
        let mut open = Vec::new();
        if self.len > 0 {
            open.push((ROOT, Some(uri)));
        }
        std::iter::from_fn(move || {
            while let Some((at, rest)) = open.pop() {
                let node = &self.nodes[at];
                let Some(rest) = rest else {
                    match &node.value {
                        Some(value) => return Some(value),
                        None => continue,
                    }
                };
                let (component, rest) = match rest.split_once('.') {
                    Some((component, rest)) => (component, Some(rest)),
                    None => (rest, None),
                };
                open.extend(node.any.map(|child| (child, rest)));
                open.extend(node.named.get(component).map(|child| (*child, rest)));
            }
            None
        })
    }

    fn find(&self, pattern: &str) -> Option<At> {
        pattern.split('.').try_fold(ROOT, |at, component| self.child(at, component))
    }

    fn child(&self, at: At, component: &str) -> Option<At> {
        let node = &self.nodes[at];
        if component.is_empty() {
            node.any
        } else {
            node.named.get(component).copied()
        }
    }

    #[cfg(test)]
    pub(super) fn node_count(&self) -> usize {
        self.nodes.used()
    }
}
