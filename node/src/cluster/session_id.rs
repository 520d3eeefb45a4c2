//! Session ids: unique by construction, and they look uniformly random.
//!
//! `slot 12 ‖ epoch 15 ‖ counter 26` is 53 bits; a keyed permutation of those bits, plus one, is the id. Two lives of any node never
//! share an id, and no node has to ask another. Spec: WAMP basic profile, "IDs" (global scope). Choice: a keyed permutation is our
//! reading of "drawn uniformly at random"; the key is drawn once, when the cluster is initialised.

use std::hash::Hasher;

use siphasher::sip::SipHasher13;

use crate::{router::NodeRef, wamp::SessionId};

const COUNTER_BITS: u32 = 26;
const EPOCH_BITS: u32 = 15;
const HALF_BITS: u32 = 27;
const HALF_MASK: u64 = (1 << HALF_BITS) - 1;
const ROUNDS: u8 = 6;

/// Hands out the session ids of one node life.
#[derive(Debug)]
pub struct SessionIds {
    key: [u8; 16],
    node: NodeRef,
    next: u64,
    /// Ids that were promised to sessions that did not come about.
    spare: Vec<SessionId>,
}

/// How many ids that came back are kept.
const SPARE_MAX: usize = 1024;

impl SessionIds {
    /// The ids of `node` under the cluster's `key`.
    pub fn new(key: [u8; 16], node: NodeRef) -> Self {
        Self {
            key,
            node,
            next: 0,
            spare: Vec::new(),
        }
    }

    /// The key under which ids are drawn, the same on all nodes.
    pub fn secret(&self) -> [u8; 16] {
        self.key
    }

    /// The next id; `None` once a life has used up its 67 million, after which the node has to join anew.
    pub fn draw(&mut self) -> Option<SessionId> {
        if let Some(spare) = self.spare.pop() {
            return Some(spare);
        }
        if self.next >> COUNTER_BITS != 0 {
            return None;
        }
        let plain = (u64::from(self.node.slot.0) << (EPOCH_BITS + COUNTER_BITS))
            | (u64::from(self.node.epoch) << COUNTER_BITS)
            | self.next;
        self.next += 1;
        SessionId::new(permute(&self.key, plain) + 1)
    }
}

impl SessionIds {
    /// Takes back an id that no session got.
    pub fn give_back(&mut self, session: SessionId) {
        if self.spare.len() < SPARE_MAX && self.is_own(session) {
            self.spare.push(session);
        }
    }

    /// True if the id is of this life.
    pub fn is_own(&self, session: SessionId) -> bool {
        let life = (u64::from(self.node.slot.0) << EPOCH_BITS) | u64::from(self.node.epoch);
        unpermute(&self.key, session.get() - 1) >> COUNTER_BITS == life
    }
}

/// A permutation of 0..2^53: a balanced Feistel network over 54 bits, walked until it lands below 2^53.
fn permute(key: &[u8; 16], plain: u64) -> u64 {
    let mut value = plain;
    loop {
        let (mut left, mut right) = (value >> HALF_BITS, value & HALF_MASK);
        for round in 0..ROUNDS {
            let mut hasher = SipHasher13::new_with_key(key);
            hasher.write_u8(round);
            hasher.write_u64(right);
            (left, right) = (right, left ^ (hasher.finish() & HALF_MASK));
        }
        value = (left << HALF_BITS) | right;
        if value >> 53 == 0 {
            return value;
        }
    }
}

/// The inverse of [`permute`].
fn unpermute(key: &[u8; 16], permuted: u64) -> u64 {
    let mut value = permuted;
    loop {
        let (mut left, mut right) = (value >> HALF_BITS, value & HALF_MASK);
        for round in (0..ROUNDS).rev() {
            let mut hasher = SipHasher13::new_with_key(key);
            hasher.write_u8(round);
            hasher.write_u64(left);
            (left, right) = (right ^ (hasher.finish() & HALF_MASK), left);
        }
        value = (left << HALF_BITS) | right;
        if value >> 53 == 0 {
            return value;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::router::Slot;

    #[test]
    fn ids_of_several_lives_are_distinct_and_spread_over_the_whole_range() {
        let mut seen = HashSet::new();
        let mut high = 0;
        for (slot, epoch) in [(1, 1), (1, 2), (2, 1), (4095, 32_767)] {
            let mut ids = SessionIds::new([3; 16], NodeRef { slot: Slot(slot), epoch });
            for _ in 0..5_000 {
                let id = ids.draw().unwrap();
                assert!(seen.insert(id));
                high += usize::from(id.get() > 1 << 52);
            }
        }
        assert!((9_000..11_000).contains(&high), "{high} of 20000 in the upper half");
    }

    #[test]
    fn an_id_that_comes_back_is_used_again_and_only_in_the_life_it_is_of() {
        let life = |epoch| SessionIds::new([3; 16], NodeRef { slot: Slot(7), epoch });
        let (mut one, mut two) = (life(1), life(2));
        let ids: Vec<_> = (0..100).map(|_| one.draw().unwrap()).collect();
        for id in &ids {
            assert!(one.is_own(*id) && !two.is_own(*id));
            two.give_back(*id);
        }
        assert!(two.is_own(two.spare.first().copied().unwrap_or(life(2).draw().unwrap())));
        assert!(two.spare.is_empty());
        one.give_back(ids[4]);
        assert_eq!(one.draw(), Some(ids[4]));
        assert!(!ids.contains(&one.draw().unwrap()));
    }

    #[test]
    fn another_key_gives_other_ids() {
        let node = NodeRef { slot: Slot(1), epoch: 1 };
        assert_ne!(SessionIds::new([1; 16], node).draw(), SessionIds::new([2; 16], node).draw());
    }
}
