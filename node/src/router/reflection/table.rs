//! The definitions of a realm as the log has them: the same on every node.

use std::collections::BTreeMap;

use super::{Definition, Key, Kind};
use crate::{
    router::{MatchPolicy, NodeRef, OpOutcome},
    wamp::Uri,
};

/// How many definitions there may be. The node that proposes one says it, so that all nodes decide alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Definitions.
    pub count_max: u32,
    /// Bytes of their URIs and texts.
    pub bytes_max: u64,
}

/// What defining did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// There was none.
    New,
    /// There was another one.
    Changed,
    /// The same was there.
    Unchanged,
}

/// A definition that stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// What was said.
    pub definition: Definition,
    /// Which of all that ever stood it is; no two have one number.
    pub number: u64,
}

/// All definitions of a realm.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Definitions {
    rows: BTreeMap<Key, Row>,
    bytes: usize,
    /// How many numbers were given.
    given: u64,
    /// The newest change of definitions that each node life asked for, by that node's own count.
    settled: BTreeMap<NodeRef, u64>,
}

impl Definitions {
    /// Adds or replaces one; `number` counts the changes that the node asks for.
    pub(in crate::router) fn define(&mut self, by: NodeRef, number: u64, definition: &Definition, room: Room) -> OpOutcome {
        self.settled.insert(by, number);
        let key = definition.key();
        let standing = self.rows.get(&key).map(|row| &row.definition);
        let freed = standing.map_or(0, Definition::bytes);
        let change = match standing {
            None => Change::New,
            Some(same) if same == definition => return OpOutcome::Defined(Change::Unchanged),
            Some(_) => Change::Changed,
        };
        let count = self.rows.len() + usize::from(change == Change::New);
        let bytes = self.bytes - freed + definition.bytes();
        if count as u64 > u64::from(room.count_max) || bytes as u64 > room.bytes_max {
            return OpOutcome::NoRoom;
        }
        self.bytes = bytes;
        self.given += 1;
        let row = Row {
            definition: definition.clone(),
            number: self.given,
        };
        self.rows.insert(key, row);
        OpOutcome::Defined(change)
    }

    /// Takes one away, or those of all kinds.
    pub(in crate::router) fn undefine(
        &mut self,
        by: NodeRef,
        number: u64,
        kind: Option<Kind>,
        policy: MatchPolicy,
        uri: &Uri,
    ) -> OpOutcome {
        self.settled.insert(by, number);
        let mut outcome = OpOutcome::NotFound;
        for kind in Kind::ALL.into_iter().filter(|k| kind.is_none_or(|kind| *k == kind)) {
            if let Some(row) = self.rows.remove(&(kind, policy, uri.clone())) {
                self.bytes -= row.definition.bytes();
                outcome = OpOutcome::Done;
            }
        }
        outcome
    }

    /// A node life is over: nobody asks any more how far it came.
    pub(in crate::router) fn forget(&mut self, is_over: impl Fn(NodeRef) -> bool) {
        self.settled.retain(|node, _| !is_over(*node));
    }

    /// The number of the newest change that a node life asked for and that was applied.
    pub(in crate::router) fn settled(&self, node: NodeRef) -> u64 {
        self.settled.get(&node).copied().unwrap_or(0)
    }

    /// The definition under that key.
    pub fn get(&self, key: &Key) -> Option<&Row> {
        self.rows.get(key)
    }

    /// All of them, by key.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Row> {
        self.rows.values()
    }

    /// Forgets all of them. Numbers are not given again.
    pub(in crate::router) fn clear(&mut self) {
        self.rows.clear();
        self.bytes = 0;
    }

    /// Adds or replaces one, for whom room was found before.
    pub(in crate::router) fn put(&mut self, definition: &Definition) {
        let key = definition.key();
        if let Some(former) = self.rows.remove(&key) {
            self.bytes -= former.definition.bytes();
        }
        self.bytes += definition.bytes();
        self.given += 1;
        let row = Row {
            definition: definition.clone(),
            number: self.given,
        };
        self.rows.insert(key, row);
    }

    /// For snapshots: how many numbers were given, and how far each node life came.
    pub(in crate::router) fn counters(&self) -> (u64, impl ExactSizeIterator<Item = (NodeRef, u64)>) {
        (self.given, self.settled.iter().map(|(node, number)| (*node, *number)))
    }

    /// For snapshots: puts the counters back.
    pub(in crate::router) fn set_counters(&mut self, given: u64, settled: BTreeMap<NodeRef, u64>) {
        (self.given, self.settled) = (given, settled);
    }

    /// For snapshots: puts a row back. False if there is one under its key.
    pub(in crate::router) fn restore(&mut self, row: Row) -> bool {
        self.bytes += row.definition.bytes();
        self.rows.insert(row.definition.key(), row).is_none()
    }

    /// Walks the table.
    ///
    /// # Errors
    /// Says what disagrees.
    pub(in crate::router) fn check(&self) -> Result<(), String> {
        if self.bytes != self.rows.values().map(|row| row.definition.bytes()).sum::<usize>() {
            return Err("the bytes of definitions are miscounted".into());
        }
        match self
            .rows
            .iter()
            .find(|(key, row)| **key != row.definition.key() || row.number > self.given)
        {
            Some((key, _)) => Err(format!(
                "the definition of {} stands under another key or was never numbered",
                key.2
            )),
            None => Ok(()),
        }
    }
}
