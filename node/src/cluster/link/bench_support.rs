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
    lane: LaneReader,
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
    pub fn push(&self, realm: &Uri, source: SessionId, frame: PeerFrame) -> bool {
        matches!(self.lane.push(realm, source, &frame), Pushed::Queued { .. })
    }

    /// The next batch of what is queued; `None` if nothing is.
    pub fn next_batch(&mut self) -> Option<Bytes> {
        let mut context = Context::from_waker(Waker::noop());
        // A batch that may still grow lets others go first, once.
        for _ in 0..2 {
            if let Poll::Ready(batch) = Pin::new(&mut self.stream).poll_next(&mut context) {
                return batch.map(|batch| batch.encode_to_vec().into());
            }
        }
        None
    }
}

impl LoopReader {
    /// The frames of a batch, if it is one. Fragments are kept until the last one.
    pub fn read(&mut self, batch: Bytes) -> Option<Vec<(Uri, PeerFrame)>> {
        let batch = pb::LinkBatch::decode(batch).ok()?;
        // A benchmark reads the same batch again and again.
        let received = AtomicU64::new(batch.first_seq.saturating_sub(1));
        let mut frames = self.lane.read(&received, &self.counters, batch).ok()?;
        let mut all = Vec::new();
        while let Some(realm) = frames.next_realm() {
            while let Some(frame) = frames.next_frame() {
                all.push((realm.clone(), frame));
            }
        }
        frames.finish().ok()?;
        Some(all)
    }
}
