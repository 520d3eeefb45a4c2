use super::*;
use crate::{
    cluster::link::{
        fragment::Outgoing,
        frame::{self, write_fragment},
    },
    router::frame::{CallId, Refusal},
    wamp::{Payload, SessionId},
};

fn nack(call: u64) -> PeerFrame {
    PeerFrame::Nack {
        call: CallId(call),
        callee: SessionId::new(7).unwrap(),
        why: Refusal::Stale,
        payload: Payload::EMPTY,
    }
}

fn put(realm: Option<&str>, frame: &PeerFrame, out: &mut Vec<u8>) {
    frame::write(realm.map(Uri::from).as_ref(), frame, out).finish(out);
}

/// Reads one batch with a reader of its own: what was delivered, and what was wrong.
fn read(count: u32, packed: Vec<u8>) -> (Vec<(String, PeerFrame)>, Result<(), Malformed>) {
    let (mut reader, counters) = (LaneReader::default(), Counters::default());
    let batch = pb::LinkBatch {
        first_seq: 1,
        count,
        packed: packed.into(),
        ..Default::default()
    };
    let mut frames = reader.read(&AtomicU64::new(0), &counters, batch).unwrap();
    let mut found = Vec::new();
    while let Some(realm) = frames.next_realm() {
        while let Some(frame) = frames.next_frame() {
            found.push((realm.to_string(), frame));
        }
        assert_eq!(frames.next_frame(), None, "the next run is not begun by itself");
    }
    (found, frames.finish())
}

#[test]
fn frames_come_in_runs_of_one_realm() {
    let mut packed = Vec::new();
    for (realm, call) in [(Some("a"), 1), (None, 2), (Some("a"), 3), (Some("b"), 4), (Some("a"), 5)] {
        put(realm, &nack(call), &mut packed);
    }
    let (found, outcome) = read(5, packed);
    let expected = [("a", 1), ("a", 2), ("a", 3), ("b", 4), ("a", 5)];
    assert_eq!(found, expected.map(|(realm, call)| (realm.to_owned(), nack(call))));
    assert_eq!(outcome, Ok(()));
}

#[test]
fn what_a_receiver_leaves_is_skipped_and_still_checked() {
    let (mut reader, counters) = (LaneReader::default(), Counters::default());
    let mut packed = Vec::new();
    for (realm, call) in [(Some("a"), 1), (None, 2), (Some("b"), 3)] {
        put(realm, &nack(call), &mut packed);
    }
    packed.extend_from_slice(&[1, 0, 0, 0]);
    let batch = pb::LinkBatch {
        first_seq: 1,
        count: 4,
        packed: packed.into(),
        ..Default::default()
    };
    let mut frames = reader.read(&AtomicU64::new(0), &counters, batch).unwrap();
    assert_eq!(frames.next_realm().as_deref(), Some("a"));
    assert_eq!(frames.next_realm().as_deref(), Some("b"));
    assert_eq!(frames.next_frame(), Some(nack(3)));
    assert_eq!(frames.finish(), Err(Malformed::Frame));
}

#[test]
fn frames_before_a_fault_are_delivered_and_none_after_it() {
    let mut packed = Vec::new();
    put(Some("a"), &nack(1), &mut packed);
    packed.extend_from_slice(&[1, 0, 0, 0, 4]);
    put(None, &nack(3), &mut packed);
    assert_eq!(read(3, packed), (vec![("a".to_owned(), nack(1))], Err(Malformed::Frame)));
}

#[test]
fn a_batch_has_to_hold_what_it_says_and_to_begin_with_a_realm() {
    let mut packed = Vec::new();
    put(Some("a"), &nack(1), &mut packed);
    assert_eq!(read(2, packed).1, Err(Malformed::Count { said: 2, held: 1 }));
    let mut packed = Vec::new();
    put(None, &nack(1), &mut packed);
    assert_eq!(read(1, packed), (Vec::new(), Err(Malformed::NoRealm)));
    let mut packed = Vec::new();
    frame::write_parts(b"\x84\x01\xff\x01", &[], &mut packed);
    assert_eq!(read(1, packed), (Vec::new(), Err(Malformed::Text("realm"))));
}

#[test]
fn a_gap_is_noticed() {
    let received = AtomicU64::new(0);
    assert_eq!(note_received(&received, 1, 3), Ok(()));
    assert_eq!(note_received(&received, 9, 0), Ok(()), "an empty batch says nothing");
    assert_eq!(note_received(&received, 5, 1), Err("frame 5 follows frame 3".to_owned()));
    assert_eq!(note_received(&received, 3, 1), Err("frame 3 follows frame 3".to_owned()));
}

#[test]
fn fragments_make_a_frame_with_a_realm_of_its_own() {
    let large = PeerFrame::Result {
        call: CallId(2),
        details: Default::default(),
        payload: Payload::from_proven(crate::wamp::Serializer::Json, 1, vec![b'1'; 100_000].into()),
    };
    let mut bytes = Vec::new();
    let (head, payload) = frame::write(Some(&"b".into()), &large, &mut bytes).split(&mut bytes);
    let mut outgoing = Outgoing::new(1, head.clone(), payload);
    let mut packed = Vec::new();
    put(Some("a"), &nack(1), &mut packed);
    let mut count = 1;
    while !outgoing.is_done() {
        write_fragment(&outgoing.next_fragment(), &mut packed);
        count += 1;
    }
    let (found, outcome) = read(count, packed);
    assert_eq!(found, [("a".to_owned(), nack(1)), ("b".to_owned(), large)]);
    assert_eq!(outcome, Ok(()));

    // A frame of fragments may not be a fragment, whatever a peer thinks of.
    let mut inner = Vec::new();
    write_fragment(&Outgoing::new(2, head, Bytes::from_static(b"x")).next_fragment(), &mut inner);
    let mut outer = Outgoing::new(3, Bytes::copy_from_slice(&inner[frame::LENGTH_BYTES..]), Bytes::new());
    let mut packed = Vec::new();
    write_fragment(&outer.next_fragment(), &mut packed);
    assert!(matches!(read(1, packed).1, Err(Malformed::Fragment(_))));
}
