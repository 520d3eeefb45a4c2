//! The log as readers see it: which entries exist, where they lie, and the most recent of them in memory.
//!
//! Invariant: `slots` are the entries `first..first + slots.len()` without a gap, and once start-up is over `first` follows the purge mark.

use std::{collections::VecDeque, io, ops::Range};

use super::super::types::{Entry, LogId, Vote, weight};

/// The marks a log carries besides its entries.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Marks {
    pub(crate) vote: Option<Vote>,
    pub(crate) committed: Option<LogId>,
    /// Everything up to here is gone, being part of a snapshot.
    pub(crate) purged: Option<LogId>,
    /// The last entry, or the purge mark where there is none.
    pub(crate) last: Option<LogId>,
}

/// A change of the log, as one record of the journal states it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Effect {
    Append(LogId),
    TruncateAfter(Option<LogId>),
    PurgeUpTo(LogId),
    Vote(Vote),
    Committed(LogId),
}

impl Marks {
    pub(super) fn apply(&mut self, effect: Effect) {
        match effect {
            Effect::Append(id) => self.last = Some(id),
            Effect::TruncateAfter(id) => self.last = self.last.min(id).max(self.purged),
            Effect::PurgeUpTo(id) => {
                self.purged = self.purged.max(Some(id));
                self.last = self.last.max(self.purged);
            }
            Effect::Vote(vote) => self.vote = Some(vote),
            Effect::Committed(id) => self.committed = Some(id),
        }
    }
}

/// Where an entry's record lies on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Location {
    pub(super) segment: u64,
    pub(super) offset: u64,
    pub(super) length: u32,
}

struct Slot {
    log_id: LogId,
    /// Absent while the entry is on its way to the disk, and always in a log without one.
    location: Option<Location>,
    /// Absent once evicted, which takes a location.
    entry: Option<Entry>,
}

/// One entry of a read.
pub(super) enum Found {
    Cached(Entry),
    OnDisk(LogId, Location),
}

/// See the module's text.
pub(super) struct Front {
    pub(super) marks: Marks,
    first: u64,
    slots: VecDeque<Slot>,
    /// Weight of the entries in memory.
    cached: usize,
    cached_max: usize,
    /// Everything below is evicted or was when last looked at.
    evict_from: u64,
}

impl Front {
    pub(super) fn new(marks: Marks, cached_max: usize) -> Self {
        let first = after(marks.last);
        Self {
            marks,
            first,
            slots: VecDeque::new(),
            cached: 0,
            cached_max,
            evict_from: first,
        }
    }

    /// The index the next entry must have.
    pub(super) fn next_index(&self) -> u64 {
        self.first + self.slots.len() as u64
    }

    /// Whether entries between the purge mark and the first one are missing.
    pub(super) fn has_hole(&self) -> bool {
        self.first > after(self.marks.purged)
    }

    /// Adds an entry at the end; `location` where it comes from the disk.
    pub(super) fn append(&mut self, entry: Entry, location: Option<Location>) -> io::Result<()> {
        let (log_id, expected) = (entry.log_id, self.next_index());
        if self.slots.is_empty() && log_id.index() > expected {
            // A log without entries may begin anywhere; whether that leaves a hole is seen when it is opened.
            self.first = log_id.index();
            self.evict_from = self.first;
        } else if log_id.index() != expected {
            let text = format!("entry {} stands where {expected} belongs", log_id.index());
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        self.cached += weight(&entry);
        self.slots.push_back(Slot {
            log_id,
            location,
            entry: Some(entry),
        });
        self.marks.apply(Effect::Append(log_id));
        self.evict();
        Ok(())
    }

    /// Drops everything after `log_id`.
    pub(super) fn truncate_after(&mut self, log_id: Option<LogId>) {
        let next = after(log_id);
        if next <= self.first {
            self.first = next;
            self.drop_entries(0..self.slots.len());
        } else {
            let keep = usize::try_from(next - self.first).unwrap_or(usize::MAX).min(self.slots.len());
            self.drop_entries(keep..self.slots.len());
        }
        self.evict_from = self.evict_from.min(self.next_index());
        self.marks.apply(Effect::TruncateAfter(log_id));
    }

    /// Drops everything up to `log_id`, which may lie beyond the last entry.
    pub(super) fn purge(&mut self, log_id: LogId) {
        let next = after(Some(log_id));
        if next > self.first {
            let count = usize::try_from(next - self.first).unwrap_or(usize::MAX).min(self.slots.len());
            self.drop_entries(0..count);
            self.first = next;
        }
        self.evict_from = self.evict_from.max(self.first);
        self.marks.apply(Effect::PurgeUpTo(log_id));
    }

    /// Notes where an entry was written, unless another took its place meanwhile.
    pub(super) fn placed(&mut self, log_id: LogId, location: Location) {
        if let Some(at) = log_id.index().checked_sub(self.first).and_then(|at| usize::try_from(at).ok())
            && let Some(slot) = self.slots.get_mut(at)
            && slot.log_id == log_id
        {
            slot.location = Some(location);
        }
    }

    /// Forgets entries on disk, oldest first, until the cache is within its bound.
    pub(super) fn evict(&mut self) {
        while self.cached > self.cached_max && self.evict_from < self.next_index() {
            let at = usize::try_from(self.evict_from.saturating_sub(self.first)).unwrap_or(usize::MAX);
            let Some(slot) = self.slots.get_mut(at).filter(|slot| slot.location.is_some()) else {
                return;
            };
            if let Some(entry) = slot.entry.take() {
                self.cached -= weight(&entry);
            }
            self.evict_from += 1;
        }
    }

    /// The entries of `range` that exist.
    pub(super) fn find(&self, range: Range<u64>) -> impl Iterator<Item = Found> + '_ {
        let from = range.start.max(self.first) - self.first;
        let to = range.end.min(self.next_index()).max(self.first) - self.first;
        let from = usize::try_from(from).unwrap_or(usize::MAX).min(self.slots.len());
        let to = usize::try_from(to).unwrap_or(usize::MAX).clamp(from, self.slots.len());
        self.slots.range(from..to).map(|slot| match (&slot.entry, slot.location) {
            (Some(entry), _) => Found::Cached(entry.clone()),
            (None, Some(location)) => Found::OnDisk(slot.log_id, location),
            (None, None) => unreachable!("only entries with a location are evicted"),
        })
    }

    fn drop_entries(&mut self, range: Range<usize>) {
        let cached: usize = self
            .slots
            .drain(range)
            .filter_map(|slot| slot.entry)
            .map(|entry| weight(&entry))
            .sum();
        self.cached -= cached;
    }
}

fn after(log_id: Option<LogId>) -> u64 {
    log_id.map_or(0, |id| id.index().saturating_add(1))
}
