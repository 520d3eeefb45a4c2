//! A set of sequence numbers that is one integer while they come in order.

use std::collections::BTreeMap;

/// Every number below `next`, and the runs in `beyond`. Hours after a number that never comes, the rest is still one run.
#[derive(Debug, Default)]
pub(super) struct SequenceSet {
    next: u64,
    /// By its first number, the number behind the last one of each run; runs neither touch nor overlap.
    beyond: BTreeMap<u64, u64>,
    /// Numbers in `beyond`.
    count_beyond: u64,
}

impl SequenceSet {
    /// Adds `sequence`; false if it was there already.
    pub(super) fn insert(&mut self, sequence: u64) -> bool {
        if sequence == self.next {
            self.next += 1;
            if let Some(end) = self.beyond.remove(&self.next) {
                self.count_beyond -= end - self.next;
                self.next = end;
            }
            return true;
        }
        // No message has the very last number; who sends it all the same gets it refused like a double.
        let Some(behind) = sequence.checked_add(1).filter(|_| !self.contains(sequence)) else {
            return false;
        };
        self.count_beyond += 1;
        let end = self.beyond.remove(&behind).unwrap_or(behind);
        match self.beyond.range_mut(..sequence).next_back() {
            Some((_, before)) if *before == sequence => *before = end,
            _ => {
                self.beyond.insert(sequence, end);
            }
        }
        true
    }

    pub(super) fn contains(&self, sequence: u64) -> bool {
        let before = || self.beyond.range(..=sequence).next_back();
        sequence < self.next || before().is_some_and(|(_, end)| sequence < *end)
    }

    pub(super) fn len(&self) -> u64 {
        self.next + self.count_beyond
    }

    /// The members that `other` lacks, in order.
    pub(super) fn missing_from<'a>(&'a self, other: &'a SequenceSet) -> impl Iterator<Item = u64> + 'a {
        let dense = other.next.min(self.next)..self.next;
        let runs = self.beyond.iter().flat_map(|(first, end)| *first..*end);
        dense.chain(runs).filter(|sequence| !other.contains(*sequence))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_any_order_end_as_one_integer() {
        let mut set = SequenceSet::default();
        for sequence in [0, 3, 1, 5, 2, 4] {
            assert!(set.insert(sequence));
        }
        assert_eq!((set.next, set.beyond.len(), set.len()), (6, 0, 6));
        assert!(!set.insert(3));
        assert!(set.insert(9));
        assert!(!set.insert(9));
        assert!(set.contains(9) && set.contains(5) && !set.contains(6));
    }

    #[test]
    fn after_a_gap_the_rest_is_one_run_whatever_the_order() {
        let mut set = SequenceSet::default();
        let mut order: Vec<u64> = (0..1000).filter(|sequence| *sequence != 10).collect();
        // Swaps neighbours and blocks, so that runs grow at both ends and join.
        order.chunks_mut(7).for_each(|chunk| chunk.reverse());
        order.chunks_mut(50).for_each(|chunk| chunk.rotate_left(20));
        for sequence in &order {
            assert!(!set.contains(*sequence) && set.insert(*sequence), "{sequence}");
            assert!(set.contains(*sequence) && !set.insert(*sequence), "{sequence}");
        }
        assert_eq!(
            (set.next, set.beyond.clone(), set.len()),
            (10, BTreeMap::from([(11, 1000)]), 999)
        );
        assert!(!set.contains(10) && !set.contains(1000) && !set.insert(u64::MAX));
        assert!(set.insert(10));
        assert_eq!((set.next, set.beyond.len(), set.count_beyond), (1000, 0, 0));
    }

    #[test]
    fn what_the_other_lacks_is_listed_once() {
        let (mut all, mut some) = (SequenceSet::default(), SequenceSet::default());
        for sequence in [0, 1, 2, 3, 4, 8, 9] {
            all.insert(sequence);
        }
        for sequence in [0, 2, 9] {
            some.insert(sequence);
        }
        assert_eq!(all.missing_from(&some).collect::<Vec<_>>(), [1, 3, 4, 8]);
        assert_eq!(some.missing_from(&all).count(), 0);
    }
}
