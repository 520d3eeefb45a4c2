//! The durable log: segment files behind a cache of recent entries.

use std::{
    collections::VecDeque,
    io,
    ops::Range,
    path::Path,
    sync::{Arc, atomic::Ordering, mpsc},
    thread::JoinHandle,
};

use bytes::Bytes;
use parking_lot::Mutex;
use ringfort_proto::cluster::v1 as pb;

use super::{
    Done, LogStats, LogStore, Marks, OpenError,
    disk::Disk,
    front::{Effect, Found, Front, Location},
    journal::{self, Closed, Counters, Request, Sync, Writer},
    segment::{self, Damage, Place},
};
use crate::cluster::raft::{
    convert,
    types::{Entry, LogId, Vote, weight},
};

pub(crate) use super::journal::OnFailure;

/// Sizes of a log on disk.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    /// A segment is closed once it is larger. Smaller ones free space sooner after a snapshot, larger ones mean fewer files.
    pub(crate) segment_bytes: u64,
    /// How much of the file is written with zeros at a time, ahead of what goes there: a sync of what is written into them is about half
    /// as long as one that has to put a new length of the file on the disk too. 0: nothing is.
    pub(crate) reserve_bytes: u64,
    /// How much of the log stays in memory; older entries are read from disk when a follower lags that far.
    pub(crate) cache_bytes: usize,
}

impl Default for Sizes {
    fn default() -> Self {
        Self {
            segment_bytes: 16 * 1024 * 1024,
            reserve_bytes: 1024 * 1024,
            cache_bytes: 32 * 1024 * 1024,
        }
    }
}

/// See the module's text. Dropping it writes out what is queued and stops the writer.
pub(crate) struct FileLog {
    disk: Arc<dyn Disk>,
    front: Arc<Mutex<Front>>,
    counters: Arc<Counters>,
    /// `None` only while being dropped.
    requests: Option<mpsc::Sender<Request>>,
    writer: Option<JoinHandle<()>>,
}

impl FileLog {
    /// Reads the log back, cutting off a write that never completed, and starts its writer.
    ///
    /// # Errors
    /// See [`OpenError`]; the log is left as it was.
    pub(crate) fn open(
        disk: Arc<dyn Disk>,
        cluster_id: &str,
        raft_id: u64,
        sizes: Sizes,
        on_failure: OnFailure,
    ) -> Result<Self, OpenError> {
        let identity = (cluster_id.to_owned(), raft_id);
        let Replayed { front, mut closed, last } = replay(&*disk, &identity, sizes)?;
        let io = |source| OpenError::Io {
            path: disk.path(""),
            source,
        };
        let marks = front.marks;
        let (number, file, length, greatest) = match last {
            Some(Last { number, end, greatest }) => {
                let mut file = disk.open(&segment::name(number), end).map_err(io)?;
                // What was read may never have been synced, and is now vouched for again.
                file.sync_data().map_err(io)?;
                disk.sync_names().map_err(io)?;
                (number, file, end, greatest)
            }
            None => {
                let number = closed.back().map_or(1, |segment| segment.number + 1);
                let (file, length) = journal::create(&*disk, number, &identity, &marks).map_err(io)?;
                (number, file, length, None)
            }
        };
        closed.make_contiguous();
        let front = Arc::new(Mutex::new(front));
        let counters = Arc::new(Counters::default());
        let writer = Writer {
            disk: disk.clone(),
            front: front.clone(),
            counters: counters.clone(),
            on_failure,
            marks,
            identity,
            segment_bytes: sizes.segment_bytes,
            reserve_bytes: sizes.reserve_bytes,
            number,
            file,
            length,
            durable: length,
            reserved: length,
            greatest,
            closed,
        };
        let (requests, writer) = writer.spawn().map_err(io)?;
        Ok(Self {
            disk,
            front,
            counters,
            requests: Some(requests),
            writer: Some(writer),
        })
    }

    /// Whether nothing was ever written.
    pub(crate) fn is_new(&self) -> bool {
        self.front.lock().marks == Marks::default()
    }

    fn send(&self, records: Vec<(Effect, pb::RaftLogRecord)>, sync: Sync, done: Option<Done>) -> io::Result<()> {
        let stopped = || io::Error::other("the log's writer has stopped");
        let request = Request { records, sync, done };
        self.requests
            .as_ref()
            .ok_or_else(stopped)?
            .send(request)
            .map_err(|_| stopped())
    }

    fn read(&self, log_id: LogId, location: Location) -> io::Result<Entry> {
        use pb::raft_log_record::Record;
        let name = segment::name(location.segment);
        let bad = |what: &str| {
            let path = self.disk.path(&name);
            let remedy = segment::describe_remedy(&path);
            let text = format!(
                "{} is damaged at offset {}: {what}; {remedy}",
                path.display(),
                location.offset
            );
            io::Error::new(io::ErrorKind::InvalidData, text)
        };
        let head = segment::record_head_length();
        let mut bytes = Bytes::from(
            self.disk
                .read_at(&name, location.offset - head as u64, head + location.length as usize)?,
        );
        let record = bytes.split_to(head);
        let record = record
            .as_ref()
            .try_into()
            .map_err(|_| bad("the head of a record is cut short"))?;
        match segment::decode_record(record, bytes).map_err(bad)?.record {
            Some(Record::Append(entry)) => {
                let entry = convert::entry_from_pb(entry).map_err(|error| bad(&error.to_string()))?;
                if entry.log_id == log_id {
                    Ok(entry)
                } else {
                    Err(bad("another entry stands here"))
                }
            }
            _ => Err(bad("no entry stands here")),
        }
    }
}

impl LogStore for FileLog {
    fn marks(&self) -> Marks {
        self.front.lock().marks
    }

    fn entries(&self, range: Range<u64>, bytes_max: usize) -> io::Result<Vec<Entry>> {
        let (mut out, mut bytes) = (Vec::new(), 0);
        // The lock keeps a purge from being accepted meanwhile, and the writer removes no file before it was.
        let front = self.front.lock();
        for found in front.find(range) {
            let entry = match found {
                Found::Cached(entry) => entry,
                Found::OnDisk(log_id, location) => self.read(log_id, location)?,
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
        let mut records = Vec::with_capacity(entries.len());
        let mut front = self.front.lock();
        for entry in &entries {
            records.push((
                Effect::Append(entry.log_id),
                record(pb::raft_log_record::Record::Append(convert::entry_to_pb(entry))),
            ));
            front.append(entry.clone(), None)?;
        }
        drop(front);
        // Large appends are several frames, of which the last one reports.
        let mut pending = Vec::new();
        let mut bytes = 0;
        for (item, entry) in records.into_iter().zip(&entries) {
            bytes += weight(entry);
            pending.push(item);
            if bytes >= REQUEST_BYTES {
                self.send(std::mem::take(&mut pending), Sync::Required, None)?;
                bytes = 0;
            }
        }
        self.send(pending, Sync::Required, Some(done))
    }

    fn save_vote(&self, vote: Vote, done: Done) -> io::Result<()> {
        self.front.lock().marks.apply(Effect::Vote(vote));
        let record = record(pb::raft_log_record::Record::Vote(convert::vote_to_pb(&vote)));
        self.send(vec![(Effect::Vote(vote), record)], Sync::Required, Some(done))
    }

    fn save_committed(&self, log_id: LogId) -> io::Result<()> {
        self.front.lock().marks.apply(Effect::Committed(log_id));
        let record = record(pb::raft_log_record::Record::Committed(mark(Some(log_id))));
        self.send(vec![(Effect::Committed(log_id), record)], Sync::Later, None)
    }

    fn truncate_after(&self, log_id: Option<LogId>) -> io::Result<()> {
        self.front.lock().truncate_after(log_id);
        let record = record(pb::raft_log_record::Record::TruncateAfter(mark(log_id)));
        self.send(vec![(Effect::TruncateAfter(log_id), record)], Sync::Required, None)
    }

    fn purge(&self, log_id: LogId) -> io::Result<()> {
        self.front.lock().purge(log_id);
        let record = record(pb::raft_log_record::Record::PurgeUpTo(mark(Some(log_id))));
        self.send(vec![(Effect::PurgeUpTo(log_id), record)], Sync::Required, None)
    }

    fn stats(&self) -> LogStats {
        LogStats {
            durable: true,
            syncs: self.counters.syncs.load(Ordering::Relaxed),
            acknowledged: self.counters.acknowledged.load(Ordering::Relaxed),
        }
    }
}

impl Drop for FileLog {
    fn drop(&mut self) {
        self.requests = None;
        // The writer itself may be what drops the last reference, inside a callback.
        if let Some(writer) = self.writer.take()
            && writer.thread().id() != std::thread::current().id()
        {
            // A panic there was already printed; there is nothing left to protect.
            let _ = writer.join();
        }
    }
}

struct Replayed {
    front: Front,
    closed: VecDeque<Closed>,
    /// Absent where a new segment has to be created.
    last: Option<Last>,
}

struct Last {
    number: u64,
    end: u64,
    greatest: Option<u64>,
}

/// Reads all segments, oldest first.
fn replay(disk: &dyn Disk, identity: &(String, u64), sizes: Sizes) -> Result<Replayed, OpenError> {
    let io = |source| OpenError::Io {
        path: disk.path(""),
        source,
    };
    let mut numbers: Vec<u64> = disk
        .list()
        .map_err(io)?
        .iter()
        .filter_map(|name| segment::number(name))
        .collect();
    numbers.sort_unstable();
    let mut out = Replayed {
        front: Front::new(Marks::default(), sizes.cache_bytes),
        closed: VecDeque::new(),
        last: None,
    };
    for (at, number) in numbers.iter().copied().enumerate() {
        let name = segment::name(number);
        let path = disk.path(&name);
        let corrupt = |offset, what: &str| OpenError::Corrupt {
            path: path.clone(),
            offset,
            what: what.to_owned(),
            remedy: segment::describe_remedy(&path),
        };
        if at > 0 && numbers[at - 1] + 1 != number {
            return Err(corrupt(0, "the segment before it is missing"));
        }
        let bytes = Bytes::from(disk.read(&name).map_err(|source| OpenError::Io {
            path: path.clone(),
            source,
        })?);
        let is_last = at + 1 == numbers.len();
        let parsed = match segment::parse(&bytes, if is_last { Place::Last } else { Place::Closed }) {
            Ok(parsed) => parsed,
            Err(Damage::Unborn) => {
                tracing::warn!(file = %path.display(), "removing a log segment whose creation was interrupted");
                disk.remove(&name).and_then(|()| disk.sync_names()).map_err(io)?;
                break;
            }
            Err(Damage::Newer { version }) => {
                return Err(OpenError::Newer {
                    path,
                    found: version,
                    known: segment::VERSION,
                });
            }
            Err(Damage::Corrupt { offset, what }) => return Err(corrupt(offset, what)),
        };
        check_identity(&path, &parsed.head, identity)?;
        let head = marks_of(&parsed.head);
        if at == 0 {
            out.front = Front::new(head, sizes.cache_bytes);
        } else if out.front.marks != head {
            return Err(corrupt(0, "the segment does not continue the one before it"));
        }
        if parsed.torn > 0 {
            tracing::warn!(file = %path.display(), offset = parsed.end, bytes = parsed.torn, "cutting off a write that never completed");
        }
        let mut greatest = None;
        for (offset, length, record) in parsed.records {
            let location = Location {
                segment: number,
                offset,
                length,
            };
            let appended = apply(&mut out.front, record, location).map_err(|what| corrupt(offset, &what))?;
            greatest = greatest.max(appended);
        }
        if is_last {
            out.last = Some(Last {
                number,
                end: parsed.end,
                greatest,
            });
        } else {
            out.closed.push_back(Closed { number, greatest });
        }
    }
    if out.front.has_hole() {
        return Err(OpenError::Corrupt {
            path: disk.path(&segment::name(numbers.first().copied().unwrap_or(0))),
            offset: 0,
            what: "entries before this segment are neither present nor purged".to_owned(),
            remedy: segment::describe_remedy(&disk.path("")),
        });
    }
    Ok(out)
}

/// Repeats one record; returns the index of an appended entry.
fn apply(front: &mut Front, record: pb::RaftLogRecord, location: Location) -> Result<Option<u64>, String> {
    use pb::raft_log_record::Record;
    let id = |mark: &pb::RaftLogMark| mark.log_id.as_ref().map(convert::log_id_from_pb);
    match record.record.ok_or("a record of a kind this version does not know")? {
        Record::Append(entry) => {
            let entry = convert::entry_from_pb(entry).map_err(|error| error.to_string())?;
            let index = entry.log_id.index();
            front.append(entry, Some(location)).map_err(|error| error.to_string())?;
            return Ok(Some(index));
        }
        Record::TruncateAfter(mark) => front.truncate_after(id(&mark)),
        Record::PurgeUpTo(mark) => front.purge(id(&mark).ok_or("a purge without a log id")?),
        Record::Vote(vote) => front.marks.apply(Effect::Vote(convert::vote_from_pb(&vote))),
        Record::Committed(mark) => front
            .marks
            .apply(Effect::Committed(id(&mark).ok_or("a commit without a log id")?)),
    }
    Ok(None)
}

fn check_identity(path: &Path, head: &pb::RaftSegmentHead, identity: &(String, u64)) -> Result<(), OpenError> {
    if head.cluster_id == identity.0 && head.raft_id == identity.1 {
        return Ok(());
    }
    let text = |cluster: &str, id: u64| format!("{id:016x} of cluster \"{cluster}\"");
    Err(OpenError::Foreign {
        path: path.to_owned(),
        found: text(&head.cluster_id, head.raft_id),
        expected: text(&identity.0, identity.1),
    })
}

fn marks_of(head: &pb::RaftSegmentHead) -> Marks {
    Marks {
        vote: head.vote.as_ref().map(convert::vote_from_pb),
        committed: head.committed.as_ref().map(convert::log_id_from_pb),
        purged: head.purged.as_ref().map(convert::log_id_from_pb),
        last: head.last.as_ref().map(convert::log_id_from_pb),
    }
}

fn record(record: pb::raft_log_record::Record) -> pb::RaftLogRecord {
    pb::RaftLogRecord { record: Some(record) }
}

fn mark(log_id: Option<LogId>) -> pb::RaftLogMark {
    pb::RaftLogMark {
        log_id: log_id.as_ref().map(convert::log_id_to_pb),
    }
}

/// Appends are handed to the writer in pieces of about this size.
const REQUEST_BYTES: usize = 4 * 1024 * 1024;
