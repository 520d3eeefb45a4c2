//! A lane without a network, for the micro-benchmarks of `ringfort-bench` alone: what batching a frame costs, bytes included.
//!
//! Generated types stay in here: a benchmark sees frames and bytes.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use futures_util::Stream as _;
use prost::Message as _;
use ringfort_proto::cluster::v1 as pb;

use super::{
    Counters,
    convert::{self, Incoming, Realms},
    lane::{Lane, LaneStream, Pushed},
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
pub struct LoopReader(Realms);

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
        matches!(self.lane.push(realm, source, frame), Pushed::Queued { .. })
    }

    /// The next batch of what is queued; `None` if nothing is.
    pub fn next_batch(&mut self) -> Option<Bytes> {
        let mut context = Context::from_waker(Waker::noop());
        match Pin::new(&mut self.stream).poll_next(&mut context) {
            Poll::Ready(Some(batch)) => Some(batch.encode_to_vec().into()),
            Poll::Ready(None) | Poll::Pending => None,
        }
    }
}

impl LoopReader {
    /// The frames of a batch, if it is one and holds no fragments.
    pub fn read(&mut self, batch: Bytes) -> Option<Vec<(Uri, PeerFrame)>> {
        let batch = pb::LinkBatch::decode(batch).ok()?;
        let frames = batch
            .frames
            .into_iter()
            .map(|frame| match convert::frame_in(frame, &mut self.0) {
                Ok(Incoming::Frame(realm, frame)) => Some((realm, frame)),
                _ => None,
            });
        frames.collect()
    }
}
