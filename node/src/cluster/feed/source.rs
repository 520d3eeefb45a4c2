//! Where followers get the log from: one task for each, at the follower's pace.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use parking_lot::Mutex;
use ringfort_proto::cluster::v1 as pb;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    time::{Instant, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::tail::{Since, Tail};
use crate::{cluster::consensus::Consensus, router::LogIndex};

/// At most so many followers of one node; further ones ask another.
const FOLLOWERS_MAX: usize = 512;
/// A piece of a state, and about as much of the tail, goes into one message.
pub(super) const PART_BYTES: usize = 256 * 1024;
/// Messages that wait for a follower.
const PARTS_MAX: usize = 4;
/// How often a follower hears of its source at least.
const PULSE_EVERY: Duration = Duration::from_millis(250);
/// A follower that takes nothing for this long is let go.
const TAKE_WITHIN: Duration = Duration::from_secs(10);

type Part = Result<pb::FeedPart, Status>;

/// A cheap handle.
#[derive(Clone)]
pub struct Source {
    consensus: Consensus,
    tail: Arc<Tail>,
    /// The newest state that was taken, for all who come while its tail is there.
    state: Arc<Mutex<Option<State>>>,
    places: Arc<Semaphore>,
}

/// A state and how far it goes.
#[derive(Clone)]
struct State {
    index: LogIndex,
    bytes: Bytes,
    crc: u32,
}

/// The follower is gone.
struct Gone;

impl Source {
    /// Serves what `consensus` applies and `tail` keeps.
    pub fn new(consensus: Consensus, tail: Arc<Tail>) -> Self {
        Self {
            consensus,
            tail,
            state: Arc::default(),
            places: Arc::new(Semaphore::new(FOLLOWERS_MAX)),
        }
    }

    /// Feeds a follower that has applied everything up to `applied`, for as long as it listens.
    ///
    /// # Errors
    /// This node has the log itself from another, has none yet, or feeds as many as it can.
    pub fn follow(&self, applied: LogIndex) -> Result<ReceiverStream<Part>, Status> {
        if !self.consensus.keeps_the_log() {
            return Err(Status::failed_precondition(
                "this node has no log of its own: ask a core node",
            ));
        }
        if !self.consensus.is_initialized() {
            return Err(Status::failed_precondition(
                "this node belongs to no cluster yet: ask another one",
            ));
        }
        let place = Arc::clone(&self.places).try_acquire_owned();
        let place = place.map_err(|_| Status::failed_precondition("this node feeds as many as it can: ask another one"))?;
        let (to, parts) = mpsc::channel(PARTS_MAX);
        let feed = Feed {
            source: self.clone(),
            at: applied,
            to,
            _place: place,
        };
        tokio::spawn(feed.run());
        Ok(ReceiverStream::new(parts))
    }

    fn state(&self) -> State {
        let mut kept = self.state.lock();
        if let Some(state) = &*kept
            && self.tail.since(state.index, 1) != Since::Gone
        {
            return state.clone();
        }
        let (index, bytes) = self.consensus.state();
        let crc = crc32fast::hash(&bytes);
        kept.insert(State { index, bytes, crc }).clone()
    }

    fn pulse(&self) -> pb::feed_part::Part {
        let leadership = self.consensus.leadership().borrow().clone();
        let (leader_id, leader) = leadership.leader.unwrap_or_default();
        let members = self.consensus.members().into_iter().map(|member| pb::FeedMember {
            raft_id: member.id,
            name: member.name,
            voter: member.voter,
        });
        pb::feed_part::Part::Pulse(pb::FeedPulse {
            applied: *self.consensus.applied().borrow(),
            term: leadership.term,
            leader,
            leader_id,
            members: members.collect(),
            durable: self.consensus.log_state().durable,
        })
    }
}

/// One follower.
struct Feed {
    source: Source,
    at: LogIndex,
    to: mpsc::Sender<Part>,
    _place: OwnedSemaphorePermit,
}

impl Feed {
    async fn run(mut self) {
        // Either way nobody listens any more.
        let _ = self.feed().await;
    }

    async fn feed(&mut self) -> Result<(), Gone> {
        let (mut end, mut leadership) = (self.source.tail.end(), self.source.consensus.leadership());
        let mut pulsed: Option<Instant> = None;
        loop {
            let moved = leadership.has_changed().unwrap_or(false);
            if moved || pulsed.is_none_or(|at| at.elapsed() >= PULSE_EVERY) {
                drop(leadership.borrow_and_update());
                self.send(self.source.pulse()).await?;
                pulsed = Some(Instant::now());
            }
            drop(end.borrow_and_update());
            match self.source.tail.since(self.at, PART_BYTES) {
                Since::Gone => self.send_state().await?,
                Since::Entries { first, commands } => {
                    self.at = first + commands.len() as LogIndex - 1;
                    let entries = pb::FeedEntries { first, commands };
                    self.send(pb::feed_part::Part::Entries(entries)).await?;
                }
                Since::Nothing => tokio::select! {
                    () = self.to.closed() => return Err(Gone),
                    changed = end.changed() => changed.map_err(|_| Gone)?,
                    changed = leadership.changed() => changed.map_err(|_| Gone)?,
                    () = tokio::time::sleep(PULSE_EVERY) => {}
                },
            }
        }
    }

    async fn send_state(&mut self) -> Result<(), Gone> {
        let State { index, bytes, crc } = self.source.state();
        let head = pb::FeedSnapshot {
            index,
            bytes: bytes.len() as u64,
            crc,
        };
        self.send(pb::feed_part::Part::Snapshot(head)).await?;
        let mut rest = bytes;
        while !rest.is_empty() {
            let piece = rest.split_to(PART_BYTES.min(rest.len()));
            self.send(pb::feed_part::Part::Piece(piece)).await?;
        }
        self.at = index;
        Ok(())
    }

    async fn send(&self, part: pb::feed_part::Part) -> Result<(), Gone> {
        let part = pb::FeedPart { part: Some(part) };
        match timeout(TAKE_WITHIN, self.to.send(Ok(part))).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Gone),
        }
    }
}
