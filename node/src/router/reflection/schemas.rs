//! The definitions of a realm ready for use: which one counts for a URI, and what it checks.

use std::{collections::BTreeMap, sync::Arc};

use super::{Checks, Definition, Key, Kind};
use crate::{router::pattern::Index, wamp::Uri};

/// Those of the log and of the configuration, compiled.
#[derive(Debug, Default)]
pub(in crate::router) struct Schemas {
    topics: Index<Arc<Entry>>,
    procedures: Index<Arc<Entry>>,
    errors: Index<Arc<Entry>>,
    /// Those of the configuration. Nothing in the log takes their place.
    fixed: BTreeMap<Key, Definition>,
    /// How many topics, procedures and errors have something to check.
    checking: [usize; 3],
}

#[derive(Debug)]
struct Entry {
    definition: Definition,
    /// `None`: there is nothing to check.
    checks: Option<Arc<Checks>>,
}

impl Schemas {
    /// Those of the configuration.
    pub(in crate::router) fn new(fixed: &[Definition]) -> Self {
        let mut schemas = Self::default();
        for definition in fixed {
            schemas.install(definition);
            schemas.fixed.insert(definition.key(), definition.clone());
        }
        schemas
    }

    /// The log has one more, or another one.
    pub(in crate::router) fn put(&mut self, definition: &Definition) {
        if !self.fixed.contains_key(&definition.key()) {
            self.install(definition);
        }
    }

    /// The log has it no more.
    pub(in crate::router) fn take(&mut self, key: &Key) {
        if !self.fixed.contains_key(key) {
            let removed = self.index_mut(key.0).remove(key.1, &key.2);
            self.uncount(removed);
        }
    }

    /// The log now has these and no others. What stays is not compiled anew.
    pub(in crate::router) fn replace<'a>(&mut self, definitions: impl Iterator<Item = &'a Definition>) {
        let old = std::mem::take(self);
        self.fixed = old.fixed.clone();
        for definition in old.fixed.values() {
            self.adopt(&old, definition);
        }
        for definition in definitions {
            if !self.fixed.contains_key(&definition.key()) {
                self.adopt(&old, definition);
            }
        }
    }

    /// True if definitions of that kind check anything.
    pub(in crate::router) fn check(&self, kind: Kind) -> bool {
        self.checking[kind as usize] > 0
    }

    /// True if the configuration says what stands under that key.
    pub(in crate::router) fn is_fixed(&self, key: &Key) -> bool {
        self.fixed.contains_key(key)
    }

    /// Those of the configuration, by key.
    pub(in crate::router) fn fixed(&self) -> impl Iterator<Item = &Definition> {
        self.fixed.values()
    }

    /// The definition that counts for a URI.
    pub(in crate::router) fn best(&self, kind: Kind, uri: &Uri) -> Option<&Definition> {
        self.entry(kind, uri).map(|entry| &entry.definition)
    }

    /// What is to be checked of a payload to or from a URI.
    pub(in crate::router) fn checks(&self, kind: Kind, uri: &Uri) -> Option<&Arc<Checks>> {
        self.entry(kind, uri)?.checks.as_ref()
    }

    fn entry(&self, kind: Kind, uri: &Uri) -> Option<&Arc<Entry>> {
        // A pattern is no way around the rule that nobody speaks for what is the protocol's own.
        if uri.is_reserved() { None } else { self.index(kind).best(uri) }
    }

    /// Takes a definition over from `old`, or compiles it.
    fn adopt(&mut self, old: &Self, definition: &Definition) {
        let known = old.index(definition.kind).get(definition.policy, &definition.uri);
        match known.filter(|known| known.definition == *definition) {
            Some(known) => self.insert(Arc::clone(known)),
            None => self.install(definition),
        }
    }

    fn install(&mut self, definition: &Definition) {
        let checks = match Checks::of(definition) {
            Ok(checks) => checks,
            // It was compiled where it was proposed. A build that cannot must not wave through what others would stop.
            Err(why) => Some(Checks::impassable(why)),
        };
        self.insert(Arc::new(Entry {
            definition: definition.clone(),
            checks: checks.map(Arc::new),
        }));
    }

    fn insert(&mut self, entry: Arc<Entry>) {
        let (kind, policy, uri) = entry.definition.key();
        self.checking[kind as usize] += usize::from(entry.checks.is_some());
        let before = self.index_mut(kind).insert(policy, &uri, entry);
        self.uncount(before);
    }

    fn uncount(&mut self, removed: Option<Arc<Entry>>) {
        if let Some(entry) = removed.filter(|entry| entry.checks.is_some()) {
            self.checking[entry.definition.kind as usize] -= 1;
        }
    }

    fn index(&self, kind: Kind) -> &Index<Arc<Entry>> {
        match kind {
            Kind::Topic => &self.topics,
            Kind::Procedure => &self.procedures,
            Kind::Error => &self.errors,
        }
    }

    fn index_mut(&mut self, kind: Kind) -> &mut Index<Arc<Entry>> {
        match kind {
            Kind::Topic => &mut self.topics,
            Kind::Procedure => &mut self.procedures,
            Kind::Error => &mut self.errors,
        }
    }
}
