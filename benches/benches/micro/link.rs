//! Router links: frames into batches of bytes, and out of them.

use divan::{Bencher, black_box, counter::ItemsCount};
use ringfort::{
    cluster::link::bench_support::{LoopLane, LoopReader},
    router::{PeerFrame, frame::CallId},
    wamp::{Dict, RegistrationId, Serializer, Uri},
};

use crate::{payload, session};

/// Calls of 64 B; as many as a lane may gather while a batch is on its way, and one alone.
const FRAMES: [usize; 3] = [1, 16, 128];

fn invoke(number: u64) -> PeerFrame {
    PeerFrame::Invoke {
        call: CallId(number),
        registration: RegistrationId::new(42).unwrap(),
        callee: session(77),
        index: 1000,
        details: Dict::new(),
        payload: payload(Serializer::MsgPack, 64),
    }
}

#[divan::bench(args = FRAMES)]
fn push_and_encode(bencher: Bencher<'_, '_>, count: usize) {
    let (mut lane, realm, frame) = (LoopLane::default(), Uri::from("realm1"), invoke(1));
    bencher.counter(ItemsCount::new(count)).bench_local(|| {
        for _ in 0..count {
            assert!(lane.push(&realm, session(5), &frame));
        }
        let mut bytes = 0;
        while let Some(batch) = lane.next_batch() {
            bytes += batch.len();
        }
        bytes
    });
}

#[divan::bench(args = FRAMES)]
fn decode(bencher: Bencher<'_, '_>, count: usize) {
    let (mut lane, realm) = (LoopLane::default(), Uri::from("realm1"));
    for number in 0..count {
        assert!(lane.push(&realm, session(5), &invoke(number as u64)));
    }
    let batches: Vec<_> = std::iter::from_fn(|| lane.next_batch()).collect();
    let mut reader = LoopReader::default();
    bencher.counter(ItemsCount::new(count)).bench_local(|| {
        let frames = batches
            .iter()
            .map(|batch| reader.read(black_box(batch.clone())).unwrap().len());
        assert_eq!(frames.sum::<usize>(), count);
    });
}
