//! A set of sequence numbers that is one integer while they come in order.

use std::collections::BTreeSet;

/// Every number below `next`, and the stragglers in `beyond`.
#[derive(Debug, Default)]
pub(super) struct SequenceSet {
    next: u64,
    beyond: BTreeSet<u64>,
}

impl SequenceSet {
    /// Adds `sequence`; false if it was there already.
    pub(super) fn insert(&mut self, sequence: u64) -> bool {
        if sequence != self.next {
            return sequence > self.next && self.beyond.insert(sequence);
        }
        self.next += 1;
        while self.beyond.first() == Some(&self.next) {
            self.beyond.pop_first();
            self.next += 1;
        }
        true
    }

    pub(super) fn contains(&self, sequence: u64) -> bool {
        sequence < self.next || self.beyond.contains(&sequence)
    }

    pub(super) fn len(&self) -> u64 {
        self.next + self.beyond.len() as u64
    }

    /// The members that `other` lacks, in order.
    pub(super) fn missing_from<'a>(&'a self, other: &'a SequenceSet) -> impl Iterator<Item = u64> + 'a {
        let dense = other.next.min(self.next)..self.next;
        dense
            .chain(self.beyond.iter().copied())
            .filter(|sequence| !other.contains(*sequence))
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
