//! What goes wrong in a random walk, and what is done about it.

use super::{Control, Entry, NODES, World};
use crate::router::Input;

impl World {
    /// What is sent from now on is lost, and so is what is under way; each end notices in its own time.
    pub(super) fn break_link(&mut self, i: usize, j: usize) {
        if i == j || !self.is_whole(i, j) {
            return;
        }
        self.clear_link(i, j);
        self.lose(i, j);
    }

    pub(super) fn notice_loss(&mut self, a: usize) {
        let ends: Vec<(usize, usize)> = self
            .up
            .iter()
            .copied()
            .filter(|(i, j)| self.nodes[*i].alive && !self.is_whole(*i, *j))
            .collect();
        if let Some((i, j)) = ends.get(a % ends.len().max(1)) {
            self.lose(*i, *j);
        }
    }

    pub(super) fn lose(&mut self, i: usize, j: usize) {
        self.up.remove(&(i, j));
        let node = self.nodes[j].me;
        self.nodes[i]
            .unconfirmed
            .values_mut()
            .for_each(|waiting| _ = waiting.remove(&j));
        self.input(i, Input::PeerDown { node });
    }

    pub(super) fn clear_link(&mut self, i: usize, j: usize) {
        self.broken.extend([(i, j), (j, i)].into_iter().filter(|_| i != j));
        self.oracle.link_breaks(i, j);
        self.data
            .retain(|(from, to, _), _| (*from, *to) != (i, j) && (*from, *to) != (j, i));
        self.control.retain(|link, _| *link != (i, j) && *link != (j, i));
    }

    pub(super) fn reconnect(&mut self, a: usize) {
        let mut apart = Vec::new();
        for i in self.alive() {
            for j in self.alive().into_iter().filter(|j| i < *j) {
                if !self.up.contains(&(i, j)) && !self.up.contains(&(j, i)) {
                    apart.push((i, j));
                }
            }
        }
        if let Some((i, j)) = apart.get(a % apart.len().max(1)) {
            self.connect(*i, *j);
        }
    }

    pub(super) fn connect(&mut self, i: usize, j: usize) {
        for (here, there) in [(i, j), (j, i)] {
            self.up.insert((here, there));
            let node = self.nodes[there].me;
            self.input(here, Input::PeerUp { node });
            let interest = self.nodes[here].realm.topics().into_iter();
            let interest = interest.map(|topic| Control::Interest {
                topic,
                wanted: true,
                ticket: None,
            });
            self.control.entry((here, there)).or_default().extend(interest);
        }
        for (here, there) in [(i, j), (j, i)] {
            let node = self.nodes[there].me;
            self.input(here, Input::PeerReady { node });
        }
    }

    pub(super) fn kill(&mut self, node: usize) {
        if self.alive().len() < NODES || !self.nodes[node].alive || (self.alone && node == 0) {
            return;
        }
        self.nodes[node].alive = false;
        self.oracle.node_dies(node);
        self.unfenced.push(node);
        for other in 0..NODES {
            self.clear_link(node, other);
            self.up.remove(&(node, other));
        }
    }

    pub(super) fn fence(&mut self) {
        if let Some(node) = self.unfenced.pop() {
            self.log.push(Entry::Fence(self.nodes[node].me));
            self.snapshots.push(None);
        }
    }
}
