//! Which registrations and subscriptions a URI matches, and which of them comes first.
//!
//! Owns: the three ways of matching and the order among them. Does not own what is matched: an [`Index`] holds whatever its user
//! puts under a pattern. Start reading at [`Index`]; then `prefix` and `wildcard`, one tree each.
//!
//! Invariants: the order in which patterns were added or removed shows in no answer; a lookup walks along the URI alone, so its
//! cost does not grow with the patterns that do not begin like it.
//!
//! Spec: WAMP advanced profile, "Pattern-based Registrations" (precedence) and "Pattern-based Subscriptions"; basic profile, "URIs".

mod arena;
mod prefix;
mod wildcard;

use std::{borrow::Borrow, collections::HashMap};

use super::MatchPolicy;
use crate::wamp::{Uri, UriCheck, uri::BYTES_MAX};
use prefix::PrefixTree;
use wildcard::WildcardTree;

/// The most components of a wildcard pattern. Choice: the text knows no bound, but each component is a node of a tree.
pub const WILDCARD_COMPONENTS_MAX: usize = 64;

/// True if `uri` can stand in a REGISTER or SUBSCRIBE of this match policy.
pub fn is_valid(policy: MatchPolicy, uri: &Uri, check: UriCheck) -> bool {
    match policy {
        MatchPolicy::Exact => uri.is_uri(check),
        MatchPolicy::Prefix => uri.len() <= BYTES_MAX && uri.is_prefix(check),
        MatchPolicy::Wildcard => {
            uri.len() <= BYTES_MAX && uri.split('.').count() <= WILDCARD_COMPONENTS_MAX && uri.is_wildcard(check)
        }
    }
}

/// True if `uri` has as many components as `pattern`, and each equals the pattern's or meets an empty one there.
pub fn wildcard_matches(pattern: &str, uri: &str) -> bool {
    let mut components = uri.split('.');
    let all = pattern.split('.').all(|wanted| {
        components
            .next()
            .is_some_and(|component| wanted.is_empty() || wanted == component)
    });
    all && components.next().is_none()
}

/// Values under patterns, each under one pattern and one match policy.
#[derive(Clone, Debug)]
pub struct Index<V> {
    exact: HashMap<Uri, V>,
    prefix: PrefixTree<V>,
    wildcard: WildcardTree<V>,
}

impl<V> Default for Index<V> {
    fn default() -> Self {
        Self {
            exact: HashMap::new(),
            prefix: PrefixTree::default(),
            wildcard: WildcardTree::default(),
        }
    }
}

impl<V> Index<V> {
    /// Puts a value under a pattern; the one it replaces comes back.
    pub fn insert(&mut self, policy: MatchPolicy, pattern: &Uri, value: V) -> Option<V> {
        match policy {
            MatchPolicy::Exact => self.exact.insert(pattern.clone(), value),
            MatchPolicy::Prefix => self.prefix.insert(pattern, value),
            MatchPolicy::Wildcard => self.wildcard.insert(pattern, value),
        }
    }

    /// Takes the value of a pattern out.
    pub fn remove(&mut self, policy: MatchPolicy, pattern: &str) -> Option<V> {
        match policy {
            MatchPolicy::Exact => self.exact.remove(pattern),
            MatchPolicy::Prefix => self.prefix.remove(pattern),
            MatchPolicy::Wildcard => self.wildcard.remove(pattern),
        }
    }

    /// The value of this very pattern.
    pub fn get(&self, policy: MatchPolicy, pattern: &str) -> Option<&V> {
        match policy {
            MatchPolicy::Exact => self.exact.get(pattern),
            MatchPolicy::Prefix => self.prefix.get(pattern),
            MatchPolicy::Wildcard => self.wildcard.get(pattern),
        }
    }

    /// The value of this very pattern, to be changed.
    pub fn get_mut(&mut self, policy: MatchPolicy, pattern: &str) -> Option<&mut V> {
        match policy {
            MatchPolicy::Exact => self.exact.get_mut(pattern),
            MatchPolicy::Prefix => self.prefix.get_mut(pattern),
            MatchPolicy::Wildcard => self.wildcard.get_mut(pattern),
        }
    }

    /// The value under `uri` itself, by equality: one hash lookup.
    pub fn exact<Q>(&self, uri: &Q) -> Option<&V>
    where
        Uri: Borrow<Q>,
        Q: std::hash::Hash + Eq + ?Sized,
    {
        self.exact.get(uri)
    }

    /// The value a CALL of `uri` goes to: the exact one; else that of the longest prefix; else that of the wildcard pattern which
    /// has a component where the others, at the first place at which they differ in that, have none.
    pub fn best(&self, uri: &str) -> Option<&V> {
        if let Some(exact) = self.exact.get(uri) {
            return Some(exact);
        }
        self.patterns(uri).next()
    }

    /// Every value that `uri` matches, the best first, in the order of [`Self::best`].
    pub fn matches<'a, 'u>(&'a self, uri: &'u str) -> impl Iterator<Item = &'a V> + use<'a, 'u, V> {
        self.exact.get(uri).into_iter().chain(self.patterns(uri))
    }

    /// The values whose prefix or wildcard pattern `uri` matches, the best first.
    pub fn patterns<'a, 'u>(&'a self, uri: &'u str) -> impl Iterator<Item = &'a V> + use<'a, 'u, V> {
        self.prefix.matches(uri).chain(self.wildcard.matches(uri))
    }

    /// How many values there are.
    pub fn len(&self) -> usize {
        self.exact.len() + self.pattern_count()
    }

    /// True if there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many of them stand under a wildcard pattern.
    pub fn wildcard_count(&self) -> usize {
        self.wildcard.len()
    }

    /// How many of them stand under a prefix or wildcard pattern.
    pub fn pattern_count(&self) -> usize {
        self.prefix.len() + self.wildcard.len()
    }
}

#[cfg(test)]
mod tests;
