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
}

impl SessionIds {
    /// The ids of `node` under the cluster's `key`.
    pub fn new(key: [u8; 16], node: NodeRef) -> Self {
        Self { key, node, next: 0 }
    }

    /// The next id; `None` once a life has used up its 67 million, after which the node has to join anew.
    pub fn draw(&mut self) -> Option<SessionId> {
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
    fn another_key_gives_other_ids() {
        let node = NodeRef { slot: Slot(1), epoch: 1 };
        assert_ne!(SessionIds::new([1; 16], node).draw(), SessionIds::new([2; 16], node).draw());
    }
}
