use std::task::Waker;

use super::*;
use crate::{
    router::frame::CallId,
    wamp::{PublicationId, RegistrationId, Serializer},
};

fn session(id: u64) -> SessionId {
    SessionId::new(id).unwrap()
}

fn bytes(length: usize) -> Payload {
    Payload::from_proven(Serializer::Json, 1, vec![b'1'; length].into())
}

fn event(number: u64, length: usize) -> PeerFrame {
    let publication = PublicationId::new(number).unwrap();
    let (topic, details, payload) = ("t".into(), Dict::new(), bytes(length));
    PeerFrame::Event {
        publication,
        topic,
        publisher: session(1),
        exclude_me: true,
        details,
        payload,
    }
}

fn lane() -> (Arc<Lane>, LaneStream) {
    let lane = Arc::new(Lane::new(Arc::default()));
    let mut stream = LaneStream::new(lane.clone(), pb::LinkHello::default());
    assert!(next(&mut stream).is_some_and(|batch| batch.hello.is_some()));
    (lane, stream)
}

fn next(stream: &mut LaneStream) -> Option<pb::LinkBatch> {
    match Pin::new(stream).poll_next(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(batch) => batch,
        Poll::Pending => None,
    }
}

fn push(lane: &Lane, source: u64, frame: PeerFrame) -> Pushed {
    lane.push(&"realm1".into(), session(source), frame)
}

#[test]
fn a_batch_is_what_is_queued_up_to_its_limits() {
    let (lane, mut stream) = lane();
    for i in 1..=200 {
        push(&lane, 1, event(i, 10));
    }
    assert_eq!(next(&mut stream).map(|b| (b.first_seq, b.frames.len())), Some((1, 128)));
    assert_eq!(next(&mut stream).map(|b| (b.first_seq, b.frames.len())), Some((129, 72)));
    assert!(next(&mut stream).is_none());
    for i in 1..=10 {
        push(&lane, 1, event(i, 30_000));
    }
    assert_eq!(next(&mut stream).map(|b| b.frames.len()), Some(3));
}

#[test]
fn a_large_frame_lets_other_sources_pass_but_not_its_own() {
    let (lane, mut stream) = lane();
    push(&lane, 1, event(1, 200_000));
    push(&lane, 1, event(2, 10));
    push(&lane, 2, event(3, 10));
    push(&lane, 1, event(4, 100_000));
    push(&lane, 1, event(5, 10));
    let mut arrived = Vec::new();
    let mut reassembly = super::super::fragment::Reassembly::default();
    let mut realms = convert::Realms::default();
    let mut seq = 1;
    while let Some(batch) = next(&mut stream) {
        assert_eq!(batch.first_seq, seq);
        seq += batch.frames.len() as u64;
        for frame in batch.frames {
            let mut found = convert::frame_in(frame, &mut realms).unwrap();
            if let convert::Incoming::Fragment(fragment) = found {
                let Some(whole) = reassembly.add(fragment).unwrap() else {
                    continue;
                };
                found = convert::frame_in(convert::frame_from_bytes(whole).unwrap(), &mut realms).unwrap();
            }
            match found {
                convert::Incoming::Frame(_, PeerFrame::Event { publication, .. }) => arrived.push(publication.get()),
                _ => panic!("not an event"),
            }
        }
    }
    assert_eq!(arrived, [3, 1, 2, 4, 5]);
    assert!(lane.is_empty(), "everything sent is off the account");
}

#[test]
fn a_full_lane_drops_events_refuses_invocations_and_keeps_results_until_twice_full() {
    let (lane, mut stream) = lane();
    let mega = 1 << 20;
    let result = || PeerFrame::Result {
        call: CallId(1),
        details: Dict::new(),
        payload: bytes(mega),
    };
    let invoke = || PeerFrame::Invoke {
        call: CallId(1),
        registration: RegistrationId::new(1).unwrap(),
        callee: session(1),
        index: 1,
        details: Dict::new(),
        payload: bytes(1),
    };
    assert_eq!(push(&lane, 1, event(1, mega)), Pushed::Queued { first: true });
    for i in 2..=16 {
        assert_eq!(push(&lane, 1, event(i, mega)), Pushed::Queued { first: false });
    }
    assert_eq!(push(&lane, 1, event(17, 1)), Pushed::Refused);
    assert_eq!(push(&lane, 1, invoke()), Pushed::Refused);
    assert_eq!(lane.counters.events_dropped.load(Relaxed), 1);
    assert_eq!(lane.counters.frames_refused.load(Relaxed), 1);
    for _ in 0..16 {
        assert_eq!(push(&lane, 1, result()), Pushed::Queued { first: false });
    }
    assert_eq!(push(&lane, 1, result()), Pushed::Overflow);
    while next(&mut stream).is_some() {}
    assert!(lane.is_empty());
    lane.wake();
    assert_eq!(push(&lane, 1, invoke()), Pushed::Queued { first: true });
}

#[test]
fn a_result_larger_than_any_frame_becomes_an_error() {
    let (lane, mut stream) = lane();
    let payload = bytes(FRAME_BYTES_MAX);
    push(
        &lane,
        1,
        PeerFrame::Result {
            call: CallId(7),
            details: Dict::new(),
            payload,
        },
    );
    let frame = next(&mut stream).unwrap().frames.remove(0);
    assert!(matches!(frame.kind, Some(pb::link_frame::Kind::Error(error)) if error.call == 7));
    assert_eq!(push(&lane, 1, event(1, FRAME_BYTES_MAX)), Pushed::Refused);
}

#[test]
fn a_closed_lane_ends_its_stream_and_takes_nothing() {
    let (lane, mut stream) = lane();
    push(&lane, 1, event(1, 1));
    lane.close();
    assert_eq!(push(&lane, 1, event(2, 1)), Pushed::Refused);
    assert!(matches!(
        Pin::new(&mut stream).poll_next(&mut Context::from_waker(Waker::noop())),
        Poll::Ready(None)
    ));
}
