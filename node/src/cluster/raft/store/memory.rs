//! The log of a node without a data folder: gone with the process, and said so in every reply that matters.

use std::{io, ops::Range};

use parking_lot::Mutex;

use super::{
    Done, LogStats, LogStore, Marks,
    front::{Effect, Found, Front},
};
use crate::cluster::raft::types::{Entry, LogId, Vote, weight};

/// See the module's text.
pub(crate) struct MemoryLog {
    front: Mutex<Front>,
}

impl MemoryLog {
    pub(crate) fn new() -> Self {
        Self {
            front: Mutex::new(Front::new(Marks::default(), usize::MAX)),
        }
    }
}

impl LogStore for MemoryLog {
    fn marks(&self) -> Marks {
        self.front.lock().marks
    }

    fn entries(&self, range: Range<u64>, bytes_max: usize) -> io::Result<Vec<Entry>> {
        let (mut out, mut bytes) = (Vec::new(), 0);
        for found in self.front.lock().find(range) {
            let Found::Cached(entry) = found else {
                return Err(io::Error::other("an entry left memory that has no other place"));
            };
            bytes += weight(&entry);
            if bytes > bytes_max && !out.is_empty() {
                break;
            }
            out.push(entry);
        }
        Ok(out)
    }

    fn append(&self, entries: Vec<Entry>, done: Done) -> io::Result<()> {
        let mut front = self.front.lock();
        for entry in entries {
            front.append(entry, None)?;
        }
        drop(front);
        done(Ok(()));
        Ok(())
    }

    fn save_vote(&self, vote: Vote, done: Done) -> io::Result<()> {
        self.front.lock().marks.apply(Effect::Vote(vote));
        done(Ok(()));
        Ok(())
    }

    fn save_committed(&self, log_id: LogId) -> io::Result<()> {
        self.front.lock().marks.apply(Effect::Committed(log_id));
        Ok(())
    }

    fn truncate_after(&self, log_id: Option<LogId>) -> io::Result<()> {
        self.front.lock().truncate_after(log_id);
        Ok(())
    }

    fn purge(&self, log_id: LogId) -> io::Result<()> {
        self.front.lock().purge(log_id);
        Ok(())
    }

    fn stats(&self) -> LogStats {
        LogStats::default()
    }
}
