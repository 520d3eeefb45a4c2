//! A map whose keys come in rising order and mostly go soon after: open calls by request id, open invocations by theirs.
//!
//! The newest stretch of ids is an array, so that adding, finding and removing cost the same however many are open. What stays
//! open for long moves to a tree, and the array never spans more than [`SPAN_MAX`] ids: a peer that leaves one call open, or that
//! draws its ids at random, costs no memory beyond its open calls.

use std::collections::{BTreeMap, VecDeque, btree_map};

use crate::wamp::RequestId;

/// How many consecutive ids the array spans at most.
const SPAN_MAX: usize = 1_024;

/// Room for so many ids is kept when the last one goes.
const KEEP_MAX: usize = 256;

/// Values by request id; iterated in the order of the ids.
#[derive(Debug)]
pub(super) struct Window<V> {
    /// The id of the first place of `recent`.
    first: u64,
    /// Ends with a value; begins with one, too.
    recent: VecDeque<Option<V>>,
    /// What lies before `first`.
    older: BTreeMap<RequestId, V>,
    len: usize,
}

impl<V> Default for Window<V> {
    fn default() -> Self {
        Self {
            first: 0,
            recent: VecDeque::new(),
            older: BTreeMap::new(),
            len: 0,
        }
    }
}

impl<V> Window<V> {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Adds or replaces a value; the one replaced comes back.
    pub(super) fn insert(&mut self, key: RequestId, value: V) -> Option<V> {
        let id = key.get();
        if self.recent.is_empty() {
            // What is older must stay below.
            match self.older.last_key_value() {
                Some((last, _)) if last.get() >= id => self.first = last.get() + 1,
                _ => self.first = id,
            }
        }
        let replaced = if id < self.first {
            self.older.insert(key, value)
        } else {
            self.make_room(id);
            let at = (id - self.first) as usize;
            match self.recent.get_mut(at) {
                Some(place) => place.replace(value),
                None => {
                    while self.recent.len() < at {
                        self.recent.push_back(None);
                    }
                    self.recent.push_back(Some(value));
                    None
                }
            }
        };
        self.len += usize::from(replaced.is_none());
        replaced
    }

    /// Takes a value out.
    pub(super) fn remove(&mut self, key: &RequestId) -> Option<V> {
        let removed = match self.place(key) {
            Some(at) => self.recent.get_mut(at)?.take(),
            None => self.older.remove(key),
        }?;
        self.len -= 1;
        while let Some(None) = self.recent.front() {
            self.recent.pop_front();
            self.first += 1;
        }
        while let Some(None) = self.recent.back() {
            self.recent.pop_back();
        }
        if self.recent.is_empty() && self.recent.capacity() > KEEP_MAX {
            self.recent = VecDeque::new();
        }
        Some(removed)
    }

    /// The value of that id.
    pub(super) fn get(&self, key: &RequestId) -> Option<&V> {
        match self.place(key) {
            Some(at) => self.recent.get(at)?.as_ref(),
            None => self.older.get(key),
        }
    }

    /// The value of that id, to be changed.
    pub(super) fn get_mut(&mut self, key: &RequestId) -> Option<&mut V> {
        match self.place(key) {
            Some(at) => self.recent.get_mut(at)?.as_mut(),
            None => self.older.get_mut(key),
        }
    }

    /// True if there is a value of that id.
    pub(super) fn contains_key(&self, key: &RequestId) -> bool {
        self.get(key).is_some()
    }

    /// All, in the order of their ids.
    pub(super) fn iter(&self) -> impl Iterator<Item = (RequestId, &V)> {
        let recent = self.recent.iter().zip(self.first..);
        let recent = recent.filter_map(|(value, id)| Some((RequestId::new(id)?, value.as_ref()?)));
        self.older.iter().map(|(id, value)| (*id, value)).chain(recent)
    }

    /// All values, in the order of their ids.
    pub(super) fn into_values(self) -> impl Iterator<Item = V> {
        let older: btree_map::IntoValues<_, _> = self.older.into_values();
        older.chain(self.recent.into_iter().flatten())
    }

    /// Where `key` lies in `recent`; `None` if it is older.
    fn place(&self, key: &RequestId) -> Option<usize> {
        usize::try_from(key.get().checked_sub(self.first)?).ok()
    }

    /// Moves the oldest of the array to the tree until it may span `id`.
    fn make_room(&mut self, id: u64) {
        while id - self.first >= SPAN_MAX as u64 {
            let Some(value) = self.recent.pop_front() else {
                self.first = id;
                return;
            };
            if let (Some(value), Some(key)) = (value, RequestId::new(self.first)) {
                self.older.insert(key, value);
            }
            self.first += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(raw: u64) -> RequestId {
        RequestId::new(raw).unwrap()
    }

    #[derive(Clone, Debug)]
    enum Step {
        Insert(u64),
        Remove(u64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        // Rising ids as a client sends them, jumps as old clients make them, and ids that were seen before.
        let key = prop_oneof![1u64..40, 1u64..5_000, 1u64..=1 << 53];
        let step = prop_oneof![key.clone().prop_map(Step::Insert), key.prop_map(Step::Remove)];
        prop::collection::vec(step, 0..200)
    }

    proptest! {
        #[test]
        fn it_does_what_a_tree_does(steps in steps(), rising in 0u64..3_000) {
            let mut window = Window::default();
            let mut tree = BTreeMap::new();
            for n in 1..=rising {
                assert_eq!(window.insert(id(n), n), tree.insert(id(n), n));
                if n % 7 != 0 {
                    assert_eq!(window.remove(&id(n)), tree.remove(&id(n)));
                }
            }
            for (n, step) in (10_000..).zip(steps) {
                match step {
                    Step::Insert(key) => assert_eq!(window.insert(id(key), n), tree.insert(id(key), n)),
                    Step::Remove(key) => assert_eq!(window.remove(&id(key)), tree.remove(&id(key))),
                }
                assert_eq!(window.len(), tree.len());
                assert!(window.recent.len() <= SPAN_MAX);
            }
            assert!(tree.iter().all(|(key, value)| window.get(key) == Some(value) && window.contains_key(key)));
            assert!(tree.iter_mut().all(|(key, value)| window.get_mut(key) == Some(value)));
            assert_eq!(window.iter().collect::<Vec<_>>(), tree.iter().map(|(k, v)| (*k, v)).collect::<Vec<_>>());
            assert_eq!(window.into_values().collect::<Vec<_>>(), tree.into_values().collect::<Vec<_>>());
        }
    }

    #[test]
    fn one_call_that_stays_open_costs_one_entry() {
        let mut window = Window::default();
        window.insert(id(1), ());
        for n in 2..100_000 {
            window.insert(id(n), ());
            window.remove(&id(n));
        }
        assert!(window.recent.capacity() <= SPAN_MAX * 2 && window.len() == 1 && window.contains_key(&id(1)));
    }
}
