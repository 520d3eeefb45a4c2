//! The log: where votes and entries stand, and openraft's view of it.
//!
//! [`LogStore`] is the boundary: [`file::FileLog`] keeps the log in segment files and syncs before it acknowledges, [`memory::MemoryLog`]
//! keeps it in memory for nodes without a data folder. [`Log`] makes either one openraft's log store. Start with `segment.rs` for the
//! format on disk and the rule for damaged files, `journal.rs` for the one thread that writes.
//!
//! Choice: our own segment files instead of the raft-log crate. That crate takes a damaged length in the middle of the last file for an
//! incomplete write and drops every record after it, acknowledged ones included; and with a batch wait of zero it syncs each write on
//! its own instead of what is queued.

pub(crate) mod disk;
pub(crate) mod file;
mod front;
mod journal;
pub(crate) mod memory;
mod segment;
pub(crate) mod snapshot;

use std::{
    fmt::Debug,
    io,
    ops::{Bound, Range, RangeBounds},
    path::PathBuf,
    sync::Arc,
};

use openraft::{
    OptionalSend,
    storage::{IOFlushed, LogState, RaftLogReader, RaftLogStorage},
};
use tokio::sync::{Semaphore, oneshot};

pub(crate) use self::front::Marks;
use super::types::{Entry, LogId, RaftTypes, Vote, weight};

/// Called once what it was handed with is durable, or has failed to become so; from any thread.
pub(crate) type Done = Box<dyn FnOnce(io::Result<()>) + Send>;

/// Why a log cannot be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    /// Reading, creating or locking failed; nothing was changed.
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: io::Error },
    /// Bytes that had been durable are damaged. Starting over with the rest could undo acknowledged writes.
    #[error("{path} is damaged at offset {offset}: {what}; {remedy}")]
    Corrupt {
        path: PathBuf,
        offset: u64,
        what: String,
        remedy: String,
    },
    /// Written by a newer version.
    #[error("{path} has format version {found}, this program reads up to {known}; start the newer version again")]
    Newer { path: PathBuf, found: u32, known: u32 },
    /// The folder belongs to another node or cluster.
    #[error("{path} belongs to node {found}, this is {expected}; configure the data folder of this node")]
    Foreign { path: PathBuf, found: String, expected: String },
}

/// What an operator may want to know about a log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LogStats {
    /// Whether acknowledged entries survive the end of the process.
    pub(crate) durable: bool,
    /// How often data was synced to disk since the start.
    pub(crate) syncs: u64,
    /// How many appends, votes and the like those syncs made durable.
    pub(crate) acknowledged: u64,
}

/// A log of one voter. Changes are visible to readers when a method returns, and durable, in the order of the calls, when `done` is called.
pub(crate) trait LogStore: Send + Sync + 'static {
    fn marks(&self) -> Marks;
    /// The existing entries of `range`, in order, ending early once `bytes_max` is passed; at least one if there is any.
    fn entries(&self, range: Range<u64>, bytes_max: usize) -> io::Result<Vec<Entry>>;
    /// Adds entries that follow the last one.
    fn append(&self, entries: Vec<Entry>, done: Done) -> io::Result<()>;
    fn save_vote(&self, vote: Vote, done: Done) -> io::Result<()>;
    /// Durable with whatever is synced next: a lost mark is learnt again from the leader.
    fn save_committed(&self, log_id: LogId) -> io::Result<()>;
    /// Durable before anything handed in later.
    fn truncate_after(&self, log_id: Option<LogId>) -> io::Result<()>;
    /// Durable before anything handed in later.
    fn purge(&self, log_id: LogId) -> io::Result<()>;
    fn stats(&self) -> LogStats;
}

/// openraft's handle to a [`LogStore`].
#[derive(Clone)]
pub(crate) struct Log {
    store: Arc<dyn LogStore>,
    /// Bounds the bytes handed in and not yet durable, in KiB.
    room: Arc<Semaphore>,
}

impl Log {
    pub(crate) fn new(store: Arc<dyn LogStore>) -> Self {
        Self {
            store,
            room: Arc::new(Semaphore::new(UNSYNCED_KIB_MAX as usize)),
        }
    }
}

impl<C: RaftTypes> RaftLogReader<C> for Log {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, io::Error> {
        let start = match range.start_bound() {
            Bound::Included(at) => *at,
            Bound::Excluded(at) => at.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(at) => at.saturating_add(1),
            Bound::Excluded(at) => *at,
            Bound::Unbounded => u64::MAX,
        };
        self.store.entries(start..end.max(start), usize::MAX)
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        Ok(self.store.marks().vote)
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<Entry>, io::Error> {
        self.store.entries(start..end.max(start), REPLICATED_BYTES_MAX)
    }
}

impl<C: RaftTypes> RaftLogStorage<C> for Log {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<C>, io::Error> {
        let marks = self.store.marks();
        Ok(LogState {
            last_purged_log_id: marks.purged,
            last_log_id: marks.last,
        })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        let (done, written) = oneshot::channel();
        self.store.save_vote(
            *vote,
            Box::new(move |result| {
                // The receiver is gone only when the node is stopping.
                let _ = done.send(result);
            }),
        )?;
        written.await.map_err(|_| io::Error::other("the log's writer has stopped"))?
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        committed.map_or(Ok(()), |log_id| self.store.save_committed(log_id))
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        Ok(self.store.marks().committed)
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<C>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<Entry> = entries.into_iter().collect();
        let bytes: usize = entries.iter().map(weight).sum();
        let kib = u32::try_from(bytes / 1024 + 1).unwrap_or(u32::MAX).min(UNSYNCED_KIB_MAX);
        let room = self.room.clone().acquire_many_owned(kib).await.map_err(io::Error::other)?;
        self.store.append(
            entries,
            Box::new(move |result| {
                drop(room);
                callback.io_completed(result);
            }),
        )
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogId>) -> Result<(), io::Error> {
        self.store.truncate_after(last_log_id)
    }

    async fn purge(&mut self, log_id: LogId) -> Result<(), io::Error> {
        self.store.purge(log_id)
    }
}

/// What may wait for the disk before appending waits too.
const UNSYNCED_KIB_MAX: u32 = 64 * 1024;
/// What one message to a follower holds at most, unless a single entry is larger.
const REPLICATED_BYTES_MAX: usize = 2 * 1024 * 1024;
