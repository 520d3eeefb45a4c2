//! A set of sequence numbers that is one integer while they come in order, and little more than a bit for each otherwise.

use std::collections::BTreeMap;

/// Every number below `next`, and the stragglers in `beyond`.
///
/// Sinks that share the calls of a source see gaps for good, so stragglers may be many: they are kept in words of 64.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SequenceSet {
    next: u64,
    /// By number / 64: one bit for each member. Words are never empty and have no bit below or at `next`.
    beyond: BTreeMap<u64, u64>,
}

impl SequenceSet {
    /// The set of all numbers below `next` and the bits of `words`: the word `(index, bits)` stands for 64 numbers from 64 × index.
    pub fn from_parts(next: u64, words: impl IntoIterator<Item = (u64, u64)>) -> Self {
        let mut set = Self {
            next,
            beyond: BTreeMap::new(),
        };
        for (index, bits) in words {
            *set.beyond.entry(index).or_default() |= bits;
        }
        set.settle();
        set
    }

    /// What [`Self::from_parts`] takes, the words in order.
    pub fn parts(&self) -> (u64, impl Iterator<Item = (u64, u64)>) {
        (self.next, self.beyond.iter().map(|(index, bits)| (*index, *bits)))
    }

    /// True if there is no member.
    pub fn is_empty(&self) -> bool {
        self.next == 0 && self.beyond.is_empty()
    }

    /// Adds `sequence`; false if it was there already.
    pub(super) fn insert(&mut self, sequence: u64) -> bool {
        if sequence < self.next {
            return false;
        }
        if sequence > self.next {
            let word = self.beyond.entry(sequence / 64).or_default();
            let before = *word;
            *word |= bit(sequence);
            return *word != before;
        }
        self.next += 1;
        if !self.beyond.is_empty() {
            self.advance();
        }
        true
    }

    /// Adds the members of `other`; the number of those that were there already.
    pub(super) fn absorb(&mut self, other: &SequenceSet) -> u64 {
        let before = self.len() + other.len();
        self.next = self.next.max(other.next);
        for (index, bits) in &other.beyond {
            *self.beyond.entry(*index).or_default() |= bits;
        }
        self.settle();
        before - self.len()
    }

    pub(super) fn contains(&self, sequence: u64) -> bool {
        sequence < self.next
            || self
                .beyond
                .get(&(sequence / 64))
                .is_some_and(|word| word & bit(sequence) != 0)
    }

    pub(super) fn len(&self) -> u64 {
        self.next + self.beyond.values().map(|word| u64::from(word.count_ones())).sum::<u64>()
    }

    /// The members that `other` lacks, in order.
    pub(super) fn missing_from<'a>(&'a self, other: &'a SequenceSet) -> impl Iterator<Item = u64> + 'a {
        let dense = other.next.min(self.next)..self.next;
        let beyond = self.beyond.iter().flat_map(|(index, word)| {
            let numbers = (0..64).map(move |place| index * 64 + place);
            numbers.filter(move |sequence| word & bit(*sequence) != 0)
        });
        dense.chain(beyond).filter(|sequence| !other.contains(*sequence))
    }

    /// Drops what lies below `next` and restores what the fields promise.
    fn settle(&mut self) {
        self.beyond = self.beyond.split_off(&(self.next / 64));
        if let Some(word) = self.beyond.get_mut(&(self.next / 64)) {
            *word &= u64::MAX << (self.next % 64);
        }
        self.beyond.retain(|_, word| *word != 0);
        self.advance();
    }

    /// Takes the run of members that begins at `next` out of the first word, and goes on with the word behind if that was all.
    fn advance(&mut self) {
        while let Some(mut first) = self.beyond.first_entry() {
            let (index, word) = (*first.key(), *first.get());
            if index != self.next / 64 {
                return;
            }
            let run = (!(word >> (self.next % 64))).trailing_zeros();
            self.next += u64::from(run);
            let rest = if index == self.next / 64 {
                word & (u64::MAX << (self.next % 64))
            } else {
                0
            };
            if rest != 0 {
                first.insert(rest);
                return;
            }
            first.remove();
        }
    }
}

fn bit(sequence: u64) -> u64 {
    1 << (sequence % 64)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn set(members: impl IntoIterator<Item = u64>) -> SequenceSet {
        let mut set = SequenceSet::default();
        for member in members {
            set.insert(member);
        }
        set
    }

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
    fn runs_go_over_the_ends_of_words() {
        let mut backwards = set((1..1000).rev());
        assert_eq!((backwards.next, backwards.len()), (0, 999));
        assert!(backwards.insert(0));
        assert_eq!((backwards.next, backwards.beyond.len()), (1000, 0));
    }

    #[test]
    fn what_the_other_lacks_is_listed_once() {
        let (all, some) = (set([0, 1, 2, 3, 4, 8, 9]), set([0, 2, 9]));
        assert_eq!(all.missing_from(&some).collect::<Vec<_>>(), [1, 3, 4, 8]);
        assert_eq!(some.missing_from(&all).count(), 0);
    }

    /// Against a plain set, with numbers from a small generator, dense enough for runs and gaps alike.
    #[test]
    fn it_agrees_with_a_plain_set() {
        let mut state = 7u64;
        let mut random = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) % below
        };
        for _ in 0..200 {
            let plain: [BTreeSet<u64>; 2] = std::array::from_fn(|_| {
                let (count, below) = (random(400), 1 + random(300));
                (0..count).map(|_| random(below)).collect()
            });
            let [mut one, other] = plain.clone().map(set);
            assert_eq!(one.len(), plain[0].len() as u64);
            assert!((0..310).all(|n| one.contains(n) == plain[0].contains(&n)));
            let missing: Vec<u64> = plain[0].difference(&plain[1]).copied().collect();
            assert_eq!(one.missing_from(&other).collect::<Vec<_>>(), missing);
            let (next, words) = one.parts();
            assert_eq!(SequenceSet::from_parts(next, words), one);
            let both = plain[0].intersection(&plain[1]).count() as u64;
            assert_eq!(one.absorb(&other), both);
            assert_eq!(one, set(plain[0].union(&plain[1]).copied()));
        }
    }

    #[test]
    fn parts_that_overlap_or_are_empty_make_a_proper_set() {
        let odd = SequenceSet::from_parts(66, [(0, u64::MAX), (1, 0b1100), (1, 0b0010), (3, 0)]);
        assert_eq!(odd, set(0..68));
        let last = SequenceSet::from_parts(0, [(u64::MAX / 64, u64::MAX)]);
        assert!(last.contains(u64::MAX) && last.len() == 64);
    }
}
