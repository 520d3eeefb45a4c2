//! A lane without a network, for the micro-benchmarks of `ringfort-bench` alone: what batching a frame costs, bytes included.
//!
//! Generated types stay in here: a benchmark sees frames and bytes.

use std::{
    pin::Pin,
    sync::{Arc, atomic::AtomicU64},
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use futures_util::Stream as _;
use prost::Message as _;
use ringfort_proto::cluster::v1 as pb;

use super::{
    Counters,
    lane::{Lane, LaneStream, Pushed},
    receive::LaneReader,
};
use crate::{
    router::PeerFrame,
    wamp::{SessionId, Uri},
};

/// One lane: frames go in, batches come out as the bytes of their gRPC messages.
pub struct LoopLane {
    lane: Arc<Lane>,
    stream: LaneStream,
}

/// The reading end of a lane.
#[derive(Default)]
pub struct LoopReader {
    reader: LaneReader,
    counters: Counters,
}

impl Default for LoopLane {
    fn default() -> Self {
        let lane = Arc::new(Lane::new(Arc::new(Counters::default())));
        let mut stream = LaneStream::new(lane.clone(), pb::LinkHello::default());
        // The handshake is not what is measured.
        let mut context = Context::from_waker(Waker::noop());
        let _hello = Pin::new(&mut stream).poll_next(&mut context);
        Self { lane, stream }
    }
}

impl LoopLane {
    /// Queues a frame; false if the lane is full.
    pub fn push(&self, realm: &Uri, source: SessionId, frame: &PeerFrame) -> bool {
        matches!(self.lane.push(realm, source, frame), Pushed::Queued { .. })
    }

    /// The next batch of what is queued; `None` if nothing is.
    pub fn next_batch(&mut self) -> Option<Bytes> {
        let mut context = Context::from_waker(Waker::noop());
        // A batch of several frames lets others add to it once.
        (0..2).find_map(|_| match Pin::new(&mut self.stream).poll_next(&mut context) {
            Poll::Ready(Some(batch)) => Some(batch.encode_to_vec().into()),
            Poll::Ready(None) | Poll::Pending => None,
        })
    }
}

impl LoopReader {
    /// The frames of a batch, if it is one. It may be read any number of times.
    pub fn read(&mut self, batch: Bytes) -> Option<Vec<(Uri, PeerFrame)>> {
        let batch = pb::LinkBatch::decode(batch).ok()?;
        let received = AtomicU64::new(batch.first_seq.saturating_sub(1));
        let mut frames = self.reader.read(&received, &self.counters, batch).ok()?;
        let mut found = Vec::new();
        while let Some(realm) = frames.next_realm() {
            while let Some(frame) = frames.next_frame() {
                found.push((realm.clone(), frame));
            }
        }
        frames.finish().ok()?;
        Some(found)
    }
}
