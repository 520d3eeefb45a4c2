//! The one thread that writes the log.
//!
//! It takes whatever is queued, writes it as one frame, syncs once, and only then reports. Under load the queue fills while the disk
//! syncs, so that batches grow by themselves and nobody waits for a timer.

use std::{
    collections::VecDeque,
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread::JoinHandle,
    time::Instant,
};

use parking_lot::Mutex;
use ringfort_proto::cluster::v1 as pb;

use super::{
    Done, Marks,
    disk::{Disk, DiskFile},
    front::{Effect, Front, Location},
    segment,
};
use crate::{
    cluster::raft::{convert, types::LogId},
    telemetry::{self, names},
};

/// One thing to write.
pub(super) struct Request {
    pub(super) records: Vec<(Effect, pb::RaftLogRecord)>,
    pub(super) sync: Sync,
    pub(super) done: Option<Done>,
}

/// Whether a write has to be durable before the next batch.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Sync {
    Required,
    /// Written now, synced with whatever needs it next.
    Later,
}

/// Counters the writer keeps.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) syncs: AtomicU64,
    pub(super) acknowledged: AtomicU64,
}

/// What happens when the disk refuses. It must not return in a running node: after a failed sync the kernel may have dropped the
/// data and report success the next time, so the only safe memory is the one a restart reads back.
pub(crate) type OnFailure = Arc<dyn Fn(&io::Error) + Send + std::marker::Sync>;

/// A closed segment that still holds entries.
pub(super) struct Closed {
    pub(super) number: u64,
    /// The greatest index appended in it; the file can go once that is purged.
    pub(super) greatest: Option<u64>,
}

/// The writer's side of the log.
pub(super) struct Writer {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) front: Arc<Mutex<Front>>,
    pub(super) counters: Arc<Counters>,
    pub(super) on_failure: OnFailure,
    /// What all records written so far amount to.
    pub(super) marks: Marks,
    pub(super) identity: (String, u64),
    pub(super) segment_bytes: u64,
    /// How much room is made at a time, see [`DiskFile::reserve`]; 0 for none.
    pub(super) reserve_bytes: u64,
    pub(super) number: u64,
    pub(super) file: Box<dyn DiskFile>,
    /// Bytes in the current segment, and how many of them are synced.
    pub(super) length: u64,
    pub(super) durable: u64,
    /// Up to where there is room in it.
    pub(super) reserved: u64,
    pub(super) greatest: Option<u64>,
    pub(super) closed: VecDeque<Closed>,
}

impl Writer {
    /// Runs the writer until the sender is gone.
    pub(super) fn spawn(self) -> io::Result<(mpsc::Sender<Request>, JoinHandle<()>)> {
        let (sender, requests) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("raft-log".to_owned())
            .spawn(move || self.run(&requests))?;
        Ok((sender, thread))
    }

    fn run(mut self, requests: &mpsc::Receiver<Request>) {
        while let Ok(first) = requests.recv() {
            let batch = gather(first, requests);
            if let Err(error) = self.write(batch) {
                (self.on_failure)(&error);
                // Only where that returned, which is in tests: nothing is acknowledged ever after.
                for request in requests {
                    fail(request.done, &error);
                }
                return;
            }
        }
    }

    /// Writes a batch as one frame and reports it. On error everything of the batch has been reported as failed.
    fn write(&mut self, batch: Vec<Request>) -> io::Result<()> {
        let sync = batch.iter().any(|request| request.sync == Sync::Required);
        let head = segment::frame_head_length();
        let mut frame = vec![0; head];
        let mut placed: Vec<(LogId, Location)> = Vec::new();
        let mut marks = self.marks;
        for (effect, record) in batch.iter().flat_map(|request| &request.records) {
            let at = segment::encode_record(record, &mut frame);
            marks.apply(*effect);
            if let Effect::Append(log_id) = effect {
                let length = u32::try_from(frame.len() - at).unwrap_or(u32::MAX);
                placed.push((
                    *log_id,
                    Location {
                        segment: self.number,
                        offset: self.length + at as u64,
                        length,
                    },
                ));
            }
        }
        let written = self.write_frame(frame, head, sync);
        if let Err(error) = written {
            for request in batch {
                fail(request.done, &error);
            }
            return Err(error);
        }
        self.marks = marks;
        self.greatest = self.greatest.max(placed.iter().map(|(id, _)| id.index()).max());
        let mut front = self.front.lock();
        for (log_id, location) in placed {
            front.placed(log_id, location);
        }
        front.evict();
        drop(front);
        for done in batch.into_iter().filter_map(|request| request.done) {
            self.counters.acknowledged.fetch_add(1, Ordering::Relaxed);
            done(Ok(()));
        }
        if sync {
            self.remove_purged()?;
        }
        if self.length >= self.segment_bytes {
            self.rotate()
        } else {
            Ok(())
        }
    }

    fn write_frame(&mut self, mut frame: Vec<u8>, head: usize, sync: bool) -> io::Result<()> {
        let body = frame.len() - head;
        if body > 0 {
            frame[..head].copy_from_slice(&segment::encode_frame_head(body, self.length, self.durable));
            frame.push(segment::frame_end());
            self.make_room(frame.len() as u64);
            self.file.append(&frame)?;
            self.length += frame.len() as u64;
        }
        if sync {
            self.sync()?;
        }
        Ok(())
    }

    /// Reserves room where the next `bytes` bytes have none.
    fn make_room(&mut self, bytes: u64) {
        let wanted = self.length + bytes;
        if self.reserve_bytes == 0 || wanted <= self.reserved {
            return;
        }
        self.reserved = wanted + self.reserve_bytes;
        // A disk without room for it may have room for what is to be written; if not, that says so.
        if let Err(error) = self.file.reserve(bytes + self.reserve_bytes) {
            tracing::debug!(%error, "reserving room for the log");
        }
    }

    fn sync(&mut self) -> io::Result<()> {
        let began = Instant::now();
        self.file.sync_data()?;
        telemetry::observe(&names::RAFT_SYNC_SECONDS, began.elapsed().as_secs_f64());
        self.counters.syncs.fetch_add(1, Ordering::Relaxed);
        self.durable = self.length;
        Ok(())
    }

    /// Begins a new segment; the old one is synced first, so that only the last one can ever be torn.
    fn rotate(&mut self) -> io::Result<()> {
        self.file.trim()?;
        self.sync()?;
        self.closed.push_back(Closed {
            number: self.number,
            greatest: self.greatest.take(),
        });
        self.number += 1;
        (self.file, self.length) = create(&*self.disk, self.number, &self.identity, &self.marks)?;
        self.durable = self.length;
        self.reserved = self.length;
        self.remove_purged()
    }

    /// Removes segments whose entries are all purged, oldest first. The purge mark is durable by now.
    fn remove_purged(&mut self) -> io::Result<()> {
        let purged = self.marks.purged.map(|id| id.index());
        let before = self.closed.len();
        while let Some(oldest) = self.closed.front()
            && oldest.greatest <= purged
        {
            self.disk.remove(&segment::name(oldest.number))?;
            self.closed.pop_front();
        }
        if self.closed.len() < before {
            self.disk.sync_names()
        } else {
            Ok(())
        }
    }
}

/// Creates segment `number`, durable before it is used. Returns it with its length.
pub(super) fn create(
    disk: &dyn Disk,
    number: u64,
    identity: &(String, u64),
    marks: &Marks,
) -> io::Result<(Box<dyn DiskFile>, u64)> {
    let head = segment::encode_head(&pb::RaftSegmentHead {
        cluster_id: identity.0.clone(),
        raft_id: identity.1,
        vote: marks.vote.as_ref().map(convert::vote_to_pb),
        committed: marks.committed.as_ref().map(convert::log_id_to_pb),
        purged: marks.purged.as_ref().map(convert::log_id_to_pb),
        last: marks.last.as_ref().map(convert::log_id_to_pb),
    });
    let mut file = disk.create(&segment::name(number))?;
    file.append(&head)?;
    file.sync_data()?;
    disk.sync_names()?;
    Ok((file, head.len() as u64))
}

/// What is queued by now, up to a bound.
fn gather(first: Request, requests: &mpsc::Receiver<Request>) -> Vec<Request> {
    let mut records = first.records.len();
    let mut bytes = size(&first);
    let mut batch = vec![first];
    while bytes < BATCH_BYTES_MAX
        && records < BATCH_RECORDS_MAX
        && let Ok(next) = requests.try_recv()
    {
        records += next.records.len();
        bytes += size(&next);
        batch.push(next);
    }
    batch
}

fn size(request: &Request) -> usize {
    use pb::{raft_entry::Payload, raft_log_record::Record};
    let of = |record: &pb::RaftLogRecord| match &record.record {
        Some(Record::Append(pb::RaftEntry {
            payload: Some(Payload::Command(command)),
            ..
        })) => command.len(),
        _ => 0,
    };
    request.records.iter().map(|(_, record)| of(record)).sum()
}

fn fail(done: Option<Done>, error: &io::Error) {
    if let Some(done) = done {
        done(Err(io::Error::new(error.kind(), error.to_string())));
    }
}

/// What one frame holds at most, give or take one request; a request is bounded where it is made.
const BATCH_BYTES_MAX: usize = 4 * 1024 * 1024;
const BATCH_RECORDS_MAX: usize = 16 * 1024;
