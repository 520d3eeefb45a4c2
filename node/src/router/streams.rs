//! Calls whose arguments come in parts: which ids of a caller may be used again, and which were until a moment ago.
//!
//! Spec: WAMP advanced profile, "Progressive Call Invocations", "Verification of CALL Request IDs". A part may cross the end of its
//! call on the way, so the ids of calls that ended before their last part came are remembered. Choice: by number instead of by time,
//! since the core keeps no clock for it: the latest [`REMEMBERED_MAX`]; of what lies before those, everything counts as crossed.

use std::collections::BTreeSet;

use crate::wamp::RequestId;

/// How many calls that ended before their last part are remembered for one session.
const REMEMBERED_MAX: usize = 1_024;

/// The calls of one session that come in parts.
#[derive(Debug, Default)]
pub(super) struct Streams {
    /// Open calls of which another part is to come.
    open: BTreeSet<RequestId>,
    /// Calls that ended before their last part came.
    ended: BTreeSet<RequestId>,
    /// Every id up to this one may belong to a call that was forgotten.
    forgotten: u64,
}

/// What a CALL whose id is not new turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Repeat {
    /// A further part of an open call.
    Part,
    /// A part of a call that has ended.
    Late,
    /// Neither.
    Wrong,
}

impl Streams {
    /// A call began whose first part is not its last.
    pub(super) fn begin(&mut self, request: RequestId) {
        self.ended.remove(&request);
        self.open.insert(request);
    }

    /// The last part came.
    pub(super) fn complete(&mut self, request: RequestId) {
        self.open.remove(&request);
    }

    /// The call ended.
    pub(super) fn end(&mut self, request: RequestId) {
        if self.open.remove(&request) && self.ended.insert(request) && self.ended.len() > REMEMBERED_MAX {
            let oldest = self.ended.pop_first();
            self.forgotten = oldest.map_or(self.forgotten, |id| id.get().max(self.forgotten));
        }
    }

    /// Judges the id of a CALL that is not the next one. `rising`: ids count up, so that what lies below is old.
    pub(super) fn judge(&self, request: RequestId, rising: bool) -> Repeat {
        if self.open.contains(&request) {
            Repeat::Part
        } else if self.ended.contains(&request) || (rising && request.get() <= self.forgotten) {
            Repeat::Late
        } else {
            Repeat::Wrong
        }
    }

    /// The open ones.
    pub(super) fn open(&self) -> impl Iterator<Item = RequestId> {
        self.open.iter().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(raw: u64) -> RequestId {
        RequestId::new(raw).unwrap()
    }

    #[test]
    fn an_id_is_a_part_then_late_and_wrong_where_it_never_was() {
        let mut streams = Streams::default();
        assert_eq!(streams.judge(id(1), true), Repeat::Wrong);
        streams.begin(id(1));
        assert_eq!(streams.judge(id(1), true), Repeat::Part);
        streams.end(id(1));
        assert_eq!(streams.judge(id(1), true), Repeat::Late);
        streams.begin(id(2));
        streams.complete(id(2));
        streams.end(id(2));
        assert_eq!(streams.judge(id(2), true), Repeat::Wrong, "its last part has come");
    }

    #[test]
    fn what_is_remembered_is_bounded_and_what_was_forgotten_harms_nobody() {
        let mut streams = Streams::default();
        for n in 1..=REMEMBERED_MAX as u64 + 2 {
            streams.begin(id(n));
            streams.end(id(n));
        }
        assert_eq!(streams.ended.len(), REMEMBERED_MAX);
        assert_eq!(streams.judge(id(1), true), Repeat::Late);
        assert_eq!(
            streams.judge(id(1), false),
            Repeat::Wrong,
            "where ids are drawn it is a new call"
        );
        assert_eq!(streams.judge(id(9_999), true), Repeat::Wrong);
    }
}
