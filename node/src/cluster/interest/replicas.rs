//! What other nodes said about their interest: a copy of each node's table.

use std::collections::HashMap;

use super::{Broken, Change, Key, Message, Table};
use crate::router::NodeRef;

/// What other nodes said about their interest.
pub struct Replicas {
    key: Key,
    tables: HashMap<NodeRef, Replica>,
}

struct Replica {
    table: Table,
    /// False between the first and the last part of a snapshot.
    whole: bool,
}

impl Replicas {
    /// Nothing is known.
    pub fn new(key: Key) -> Self {
        Self {
            key,
            tables: HashMap::new(),
        }
    }

    /// Applies what the owner said; returns what changed and the version to acknowledge (0 while a snapshot is not whole).
    pub fn apply(&mut self, owner: NodeRef, message: Message) -> Result<(Vec<Change>, u64), Broken> {
        let replica = self.tables.entry(owner).or_insert_with(|| Replica {
            table: Table::new(self.key),
            whole: false,
        });
        let table = &mut replica.table;
        let (changes, version, digest) = match message {
            Message::Snapshot {
                first,
                last,
                version,
                digest,
                changes,
            } => {
                if first {
                    *table = Table::new(self.key);
                } else if replica.whole {
                    return Err(Broken::NoSnapshot);
                }
                replica.whole = last;
                changes.iter().for_each(|change| {
                    table.set(change, version);
                });
                if !last {
                    return Ok((changes, 0));
                }
                (changes, version, digest)
            }
            Message::Delta { .. } if !replica.whole => return Err(Broken::NoSnapshot),
            // A pull has brought these changes already.
            Message::Delta { version, .. } if version <= table.version => return Ok((Vec::new(), table.version)),
            Message::Delta {
                from_version,
                version,
                digest,
                changes,
            } => {
                if from_version > table.version {
                    return Err(Broken::Gap {
                        have: table.version,
                        from: from_version,
                    });
                }
                changes.iter().for_each(|change| {
                    table.set(change, version);
                });
                (changes, version, digest)
            }
        };
        table.version = version;
        if table.digest != digest {
            return Err(Broken::Digest { version });
        }
        Ok((changes, version))
    }

    /// Replaces a table by one that was pulled; returns what that changes, nothing if it is older than what is known.
    pub fn replace(&mut self, owner: NodeRef, version: u64, entries: &[Change]) -> Vec<Change> {
        let replica = self.tables.entry(owner).or_insert_with(|| Replica {
            table: Table::new(self.key),
            whole: true,
        });
        if !replica.whole || version < replica.table.version {
            return Vec::new();
        }
        let mut pulled = Table::new(self.key);
        pulled.version = version;
        for entry in entries {
            pulled.set(entry, version);
        }
        let missing = |from: &Table, entry: &Change| from.since(&entry.realm, &entry.topic).is_none();
        let gone = replica.table.entries().into_iter().filter(|entry| missing(&pulled, entry));
        let mut changes: Vec<Change> = gone.map(|entry| Change { wanted: false, ..entry }).collect();
        changes.extend(pulled.entries().into_iter().filter(|entry| missing(&replica.table, entry)));
        replica.table = pulled;
        changes
    }

    /// True if what is known of `owner` is older than, or at the same version differs from, what the gossip says.
    pub fn disagrees(&self, owner: NodeRef, version: u64, digest: u64) -> bool {
        match self.tables.get(&owner) {
            None => version > 0,
            Some(replica) if !replica.whole => false,
            Some(Replica { table, .. }) => version > table.version || (version == table.version && digest != table.digest),
        }
    }

    /// What is known of a node, if it is known as a whole.
    pub fn get(&self, owner: NodeRef) -> Option<&Table> {
        self.tables
            .get(&owner)
            .filter(|replica| replica.whole)
            .map(|replica| &replica.table)
    }

    /// Forgets the nodes that are no longer members.
    pub fn retain(&mut self, members: impl Fn(NodeRef) -> bool) {
        self.tables.retain(|node, _| members(*node));
    }
}
