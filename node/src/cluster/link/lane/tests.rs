use std::task::Waker;

use super::*;
use crate::{
    cluster::link::{
        fragment::{FRAME_BYTES_MAX, OPEN_MAX},
        receive::LaneReader,
    },
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
        audience: None,
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

fn poll(stream: &mut LaneStream) -> Poll<Option<pb::LinkBatch>> {
    Pin::new(stream).poll_next(&mut Context::from_waker(Waker::noop()))
}

/// What the stream yields now, or after it has let others go first.
fn next(stream: &mut LaneStream) -> Option<pb::LinkBatch> {
    match poll(stream) {
        Poll::Ready(batch) => batch,
        Poll::Pending => match poll(stream) {
            Poll::Ready(batch) => batch,
            Poll::Pending => None,
        },
    }
}

fn push(lane: &Lane, source: u64, frame: PeerFrame) -> Pushed {
    lane.push(&"realm1".into(), session(source), &frame)
}

/// Everything that is queued, as the other end reads it.
fn frames(stream: &mut LaneStream) -> Vec<PeerFrame> {
    let (mut reader, received, counters) = (LaneReader::default(), AtomicU64::new(0), Counters::default());
    let mut found = Vec::new();
    while let Some(batch) = next(stream) {
        let mut frames = reader.read(&received, &counters, batch).unwrap();
        while let Some(realm) = frames.next_realm() {
            assert_eq!(&*realm, "realm1");
            found.extend(std::iter::from_fn(|| frames.next_frame()));
        }
        assert_eq!(frames.finish(), Ok(()));
    }
    found
}

/// The numbers of all queued events, in the order of arrival.
fn arrivals(stream: &mut LaneStream) -> Vec<u64> {
    let number = |frame: &PeerFrame| match frame {
        PeerFrame::Event { publication, .. } => publication.get(),
        other => panic!("not an event: {other:?}"),
    };
    frames(stream).iter().map(number).collect()
}

#[test]
fn a_batch_is_what_is_queued_up_to_its_limits() {
    let (lane, mut stream) = lane();
    for i in 1..=200 {
        push(&lane, 1, event(i, 10));
    }
    assert_eq!(next(&mut stream).map(|b| (b.first_seq, b.count)), Some((1, 128)));
    assert_eq!(next(&mut stream).map(|b| (b.first_seq, b.count)), Some((129, 72)));
    assert!(next(&mut stream).is_none());
    for i in 1..=10 {
        push(&lane, 1, event(i, 30_000));
    }
    assert_eq!(next(&mut stream).map(|b| b.count), Some(3));
}

#[test]
fn a_single_frame_goes_at_once_and_several_let_others_add_to_them_once() {
    let (lane, mut stream) = lane();
    push(&lane, 1, event(1, 10));
    assert!(matches!(poll(&mut stream), Poll::Ready(Some(batch)) if batch.count == 1));
    push(&lane, 1, event(2, 10));
    push(&lane, 1, event(3, 10));
    assert!(poll(&mut stream).is_pending());
    push(&lane, 2, event(4, 10));
    assert!(matches!(poll(&mut stream), Poll::Ready(Some(batch)) if batch.count == 3));
    for i in 5..=300 {
        push(&lane, 1, event(i, 10));
    }
    assert!(
        matches!(poll(&mut stream), Poll::Ready(Some(batch)) if batch.count == 128),
        "a full one waits for nobody"
    );
}

#[test]
fn a_large_frame_lets_other_sources_pass_but_not_its_own() {
    let (lane, mut stream) = lane();
    push(&lane, 1, event(1, 200_000));
    push(&lane, 1, event(2, 10));
    push(&lane, 2, event(3, 10));
    push(&lane, 1, event(4, 100_000));
    push(&lane, 1, event(5, 10));
    assert_eq!(arrivals(&mut stream), [3, 1, 2, 4, 5]);
    assert!(lane.is_empty(), "everything sent is off the account");
}

#[test]
fn a_large_frame_does_not_overtake_what_its_source_sent_before_it() {
    let (lane, mut stream) = lane();
    for i in 1..=600 {
        push(&lane, 2, event(i, 10));
    }
    push(&lane, 1, event(601, 10));
    push(&lane, 1, event(602, 70_000));
    push(&lane, 2, event(603, 10));
    push(&lane, 1, event(604, 10));
    let arrived = arrivals(&mut stream);
    let own: Vec<u64> = arrived
        .into_iter()
        .filter(|number| [601, 602, 604].contains(number))
        .collect();
    assert_eq!(own, [601, 602, 604]);
}

#[test]
fn more_large_frames_than_may_be_under_way_wait_in_their_order() {
    let (lane, mut stream) = lane();
    let sources = OPEN_MAX as u64 + 20;
    for source in 1..=sources {
        push(&lane, source, event(source, 70_000));
        push(&lane, source, event(1_000 + source, 10));
    }
    let arrived = arrivals(&mut stream);
    assert_eq!(arrived.len() as u64, 2 * sources);
    for source in 1..=sources {
        let place = |number| arrived.iter().position(|found| *found == number);
        assert!(place(source) < place(1_000 + source), "source {source}");
    }
    assert!(lane.is_empty());
}

#[test]
fn the_payload_of_a_large_frame_is_not_copied_while_it_is_queued() {
    let mut queue = Queue::default();
    let large = event(1, 200_000);
    let PeerFrame::Event { payload, .. } = &large else { panic!() };
    queue.push(&"realm1".into(), session(1), &large);
    let mut taken = std::iter::from_fn(|| queue.take()).filter_map(|taken| taken.fragment);
    assert!(taken.any(|fragment| payload.bytes().as_ptr_range().contains(&fragment.bytes.as_ptr())));
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
    let [PeerFrame::Error { call, error, .. }] = &frames(&mut stream)[..] else {
        panic!("not an error")
    };
    assert_eq!((call.0, &**error), (7, error_uri::PAYLOAD_SIZE_EXCEEDED));
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
