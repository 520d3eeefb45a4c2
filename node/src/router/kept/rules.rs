//! What the configuration says about topics.

use crate::{
    router::{MatchPolicy, pattern::Index},
    wamp::Uri,
};

/// One entry of the configuration: what is kept of the topics that it matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptRule {
    /// How [`Self::uri`] is compared.
    pub policy: MatchPolicy,
    /// A topic or a pattern.
    pub uri: Uri,
    /// Whether events are retained; `None`: the next best entry says, and without any [`Retain::Asked`].
    pub retain: Option<Retain>,
    /// Whether an empty event clears what is retained. Read where [`Self::retain`] is.
    pub empty_clears: bool,
    /// Whether there is a history, and whether each node keeps its own copy.
    pub history: Option<Copies>,
}

/// Whether the event of a PUBLISH becomes the retained event of its topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retain {
    /// Never.
    Never,
    /// If its publisher asks for it.
    Asked,
    /// Always.
    Always,
}

/// Where the copies of a history are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Copies {
    /// On each node.
    OnEachNode,
    /// In a store that all nodes share.
    Shared,
}

/// All entries. Unlike patterns of sessions they are few and fixed.
#[derive(Debug)]
pub(super) struct Rules {
    rules: Vec<KeptRule>,
    index: Index<usize>,
}

impl Rules {
    pub(super) fn new(rules: &[KeptRule]) -> Self {
        let mut index = Index::default();
        for (at, rule) in rules.iter().enumerate() {
            index.insert(rule.policy, &rule.uri, at);
        }
        Self {
            rules: rules.to_vec(),
            index,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    fn of(&self, topic: &str) -> impl Iterator<Item = (usize, &KeptRule)> {
        self.index.matches(topic).filter_map(|at| Some((*at, self.rules.get(*at)?)))
    }

    /// The best entry that speaks of retention.
    pub(super) fn retain_rule(&self, topic: &str) -> Option<usize> {
        self.of(topic).find(|(_, rule)| rule.retain.is_some()).map(|(at, _)| at)
    }

    pub(super) fn retain(&self, topic: &str) -> Retain {
        self.of(topic).find_map(|(_, rule)| rule.retain).unwrap_or(Retain::Asked)
    }

    pub(super) fn clears(&self, topic: &str) -> bool {
        self.retain_rule(topic)
            .and_then(|at| self.rules.get(at))
            .is_some_and(|rule| rule.empty_clears)
    }

    pub(super) fn has_history(&self, topic: &str) -> bool {
        self.of(topic).any(|(_, rule)| rule.history.is_some())
    }

    /// True if each node keeps the events of the topic on its own.
    pub(super) fn has_own_history(&self, topic: &str) -> bool {
        self.of(topic).any(|(_, rule)| rule.history == Some(Copies::OnEachNode))
    }

    /// The entries in whose history the events of the topic are.
    pub(super) fn kept_by(&self, topic: &str) -> Vec<usize> {
        self.of(topic)
            .filter(|(_, rule)| rule.history.is_some())
            .map(|(at, _)| at)
            .collect()
    }

    /// The entries with a history, and their places.
    pub(super) fn histories(&self) -> impl Iterator<Item = (usize, &KeptRule)> {
        self.rules.iter().enumerate().filter(|(_, rule)| rule.history.is_some())
    }

    pub(super) fn get(&self, at: usize) -> Option<&KeptRule> {
        self.rules.get(at)
    }
}
