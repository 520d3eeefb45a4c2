//! The node table: which slots are taken, by which life of which node. Part of the replicated state, pure.
//!
//! Invariants: an epoch of a slot is given out once; a slot has at most one live life; a disk (`raft_id`) has at most one. Of an edge
//! node nothing but the epoch of its slot is left when its life is over.

use std::collections::BTreeMap;

use crate::router::{NodeRef, Slot};

/// One slot and its newest life.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SlotRow {
    /// The newest epoch given out, 1..=32767.
    pub epoch: u32,
    /// False once that life was fenced.
    pub live: bool,
    /// The disk it runs on.
    pub raft_id: u64,
    /// Which joining of that disk.
    pub incarnation: u64,
    /// The node's name in the configuration.
    pub name: String,
    /// The build it runs.
    pub version: String,
    /// Sequence number of the last batch applied in that life.
    pub last_seq: u64,
    /// It has no disk and no vote.
    pub edge: bool,
    /// Where other nodes reach it; empty if it did not say.
    pub address: String,
}

/// A node that joins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joining {
    /// Its disk.
    pub raft_id: u64,
    /// Which joining of that disk.
    pub incarnation: u64,
    /// Its name in the configuration.
    pub name: String,
    /// The build it runs.
    pub version: String,
    /// It has no disk and no vote.
    pub edge: bool,
    /// Where other nodes reach it.
    pub address: String,
}

/// Every slot that was ever given out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeTable {
    rows: BTreeMap<Slot, SlotRow>,
}

const SLOT_MAX: u16 = 4095;
const EPOCH_MAX: u32 = 32_767;

impl NodeTable {
    /// A table with these rows, as a snapshot has them.
    pub fn from_rows(rows: impl IntoIterator<Item = (Slot, SlotRow)>) -> Self {
        Self {
            rows: rows.into_iter().collect(),
        }
    }

    /// All rows by slot.
    pub fn rows(&self) -> impl Iterator<Item = (Slot, &SlotRow)> {
        self.rows.iter().map(|(slot, row)| (*slot, row))
    }

    /// The lives that are not fenced, by slot.
    pub fn live(&self) -> impl Iterator<Item = (NodeRef, &SlotRow)> {
        self.rows()
            .filter(|(_, row)| row.live)
            .map(|(slot, row)| (NodeRef { slot, epoch: row.epoch }, row))
    }

    /// True while that life is neither fenced nor superseded.
    pub fn is_live(&self, node: NodeRef) -> bool {
        self.rows
            .get(&node.slot)
            .is_some_and(|row| row.live && row.epoch == node.epoch)
    }

    /// The row of a live life, to be changed.
    pub fn live_mut(&mut self, node: NodeRef) -> Option<&mut SlotRow> {
        self.rows
            .get_mut(&node.slot)
            .filter(|row| row.live && row.epoch == node.epoch)
    }

    /// Ends a life. False if it was over already. An edge node does not come back, so its row is a number from then on.
    pub fn fence(&mut self, node: NodeRef) -> bool {
        let Some(row) = self.live_mut(node) else {
            return false;
        };
        row.live = false;
        if row.edge {
            *row = SlotRow {
                epoch: row.epoch,
                edge: true,
                ..SlotRow::default()
            };
        }
        true
    }

    /// Gives a joining node its life; the second value is an earlier life of the same disk that ends with it.
    ///
    /// A repeat of the same joining gets the same life. The slot of a core node is the one the disk, else the name, had before, so that
    /// numbers stay small and familiar; else the lowest that was never given out; else the lowest that is free. Edge nodes come and go:
    /// theirs is the lowest that another one has left. `None` if there is none.
    pub fn join(&mut self, joining: Joining) -> Option<(NodeRef, Option<NodeRef>)> {
        let held = self
            .live()
            .find(|(_, row)| row.raft_id == joining.raft_id)
            .map(|(node, row)| (node, row.incarnation));
        if let Some((node, held_incarnation)) = held
            && held_incarnation == joining.incarnation
        {
            return Some((node, None));
        }
        let ended = held.map(|(node, _)| node);
        if let Some(node) = ended {
            self.fence(node);
        }
        let free = |row: &SlotRow| !row.live && row.epoch < EPOCH_MAX;
        let left_behind = |wanted: &dyn Fn(&SlotRow) -> bool| {
            let mut rows = self.rows().filter(|(_, row)| free(row) && row.edge == joining.edge);
            rows.find(|(_, row)| wanted(row)).map(|(slot, _)| slot)
        };
        let known = match joining.edge {
            true => left_behind(&|_| true),
            false => left_behind(&|row| row.raft_id == joining.raft_id).or_else(|| left_behind(&|row| row.name == joining.name)),
        };
        let slot = known
            .or_else(|| (1..=SLOT_MAX).map(Slot).find(|slot| !self.rows.contains_key(slot)))
            .or_else(|| self.rows().find(|(_, row)| free(row)).map(|(slot, _)| slot))?;
        let epoch = self.rows.get(&slot).map_or(0, |row| row.epoch) + 1;
        self.rows.insert(
            slot,
            SlotRow {
                epoch,
                live: true,
                raft_id: joining.raft_id,
                incarnation: joining.incarnation,
                name: joining.name,
                version: joining.version,
                last_seq: 0,
                edge: joining.edge,
                address: joining.address,
            },
        );
        Some((NodeRef { slot, epoch }, ended))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn join(table: &mut NodeTable, raft_id: u64, incarnation: u64, name: &str) -> (NodeRef, Option<NodeRef>) {
        table.join(joining(raft_id, incarnation, name, false)).unwrap()
    }

    fn joining(raft_id: u64, incarnation: u64, name: &str, edge: bool) -> Joining {
        Joining {
            raft_id,
            incarnation,
            name: name.into(),
            version: "v".into(),
            edge,
            address: "127.0.0.1:7400".into(),
        }
    }

    #[test]
    fn edge_nodes_that_come_and_go_leave_one_number_and_no_text() {
        let mut table = NodeTable::default();
        for raft_id in 1..=3 {
            join(&mut table, raft_id, 1, &format!("n{raft_id}"));
        }
        for round in 1..=50_u64 {
            let (life, ended) = table.join(joining(100 + round, 1, &format!("edge-{round}"), true)).unwrap();
            assert_eq!((life, ended), (node(4, u32::try_from(round).unwrap()), None));
            assert!(table.fence(life) && !table.is_live(life));
        }
        let left: Vec<&SlotRow> = table.rows().skip(3).map(|(_, row)| row).collect();
        let only = SlotRow {
            epoch: 50,
            edge: true,
            ..SlotRow::default()
        };
        assert_eq!(left, [&only]);
        // A core node that comes anew does not take what an edge node has left, nor the other way round.
        assert_eq!(join(&mut table, 9, 1, "n4"), (node(5, 1), None));
        assert!(table.fence(node(5, 1)));
        assert_eq!(table.join(joining(200, 1, "n4", true)).unwrap().0, node(4, 51));
    }

    fn node(slot: u16, epoch: u32) -> NodeRef {
        NodeRef { slot: Slot(slot), epoch }
    }

    #[test]
    fn a_repeated_join_gets_the_same_life() {
        let mut table = NodeTable::default();
        assert_eq!(join(&mut table, 10, 1, "n1"), (node(1, 1), None));
        assert_eq!(join(&mut table, 10, 1, "n1"), (node(1, 1), None));
        assert_eq!(join(&mut table, 20, 1, "n2"), (node(2, 1), None));
    }

    #[test]
    fn a_restarted_disk_supersedes_its_earlier_life_in_the_same_slot() {
        let mut table = NodeTable::default();
        join(&mut table, 10, 1, "n1");
        assert_eq!(join(&mut table, 10, 2, "n1"), (node(1, 2), Some(node(1, 1))));
        assert!(!table.is_live(node(1, 1)) && table.is_live(node(1, 2)));
    }

    #[test]
    fn a_new_disk_of_the_same_name_waits_for_the_fence_before_it_gets_the_slot() {
        let mut table = NodeTable::default();
        join(&mut table, 10, 1, "n1");
        assert_eq!(join(&mut table, 11, 1, "n1"), (node(2, 1), None));
        assert!(table.fence(node(1, 1)) && !table.fence(node(1, 1)));
        assert_eq!(join(&mut table, 12, 1, "n1"), (node(1, 2), None));
    }

    #[test]
    fn no_epoch_of_a_slot_is_given_out_twice_even_when_slots_run_out() {
        let mut table = NodeTable::default();
        let mut seen = std::collections::HashSet::new();
        for round in 0..4_500u64 {
            let (life, _) = join(&mut table, round, 1, &format!("n{round}"));
            assert!(seen.insert(life));
            table.fence(life);
        }
        assert!(table.rows().count() <= SLOT_MAX.into());
    }
}
