//! The gathering of an answer, the same for every store: what the asker may see, and when it is enough.

use super::Effort;
use crate::wamp::history::{Filter, Found, KeptEvent};

/// An answer that is being gathered.
pub(super) struct Answer<'f> {
    filter: &'f Filter,
    effort: Effort,
    scanned: usize,
    bytes: usize,
    pub(super) found: Found,
}

impl<'f> Answer<'f> {
    pub(super) fn new(filter: &'f Filter, effort: Effort) -> Self {
        Self {
            filter,
            effort,
            scanned: 0,
            bytes: 0,
            found: Found::default(),
        }
    }

    /// True if there is no need for another event; the answer then says that it is cut.
    pub(super) fn is_full(&mut self) -> bool {
        let full = self.found.events.len() >= self.filter.limit || self.scanned >= self.effort.scanned_max;
        self.found.cut |= full;
        full
    }

    /// Adds an event if the asker may see it; to be asked [`Self::is_full`] before. False: it is too much for one answer.
    pub(super) fn add(&mut self, event: KeptEvent) -> bool {
        self.scanned += 1;
        if self.filter.asker.as_ref().is_some_and(|asker| !event.is_for(asker)) {
            return true;
        }
        self.bytes = self.bytes.saturating_add(event.bytes());
        if self.bytes > self.effort.bytes_max && !self.found.events.is_empty() {
            self.found.cut = true;
            return false;
        }
        self.found.events.push(event);
        true
    }
}
