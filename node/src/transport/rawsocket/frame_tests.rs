use proptest::prelude::*;

use super::*;
use crate::transport::framing::Framing;

fn frame(kind: Kind, payload: &[u8]) -> Vec<u8> {
    [header(kind, payload.len()).bytes(), payload].concat()
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    Message(Vec<u8>),
    Ping(Vec<u8>),
    Pong,
    Fault(Fault),
}

fn decode(input: &[u8], pieces: &[usize], limit: usize) -> Vec<Seen> {
    let mut decoder = Decoder::new(limit);
    let mut seen = Vec::new();
    let mut from = 0usize;
    for len in pieces.iter().copied().chain([usize::MAX]) {
        let to = from.saturating_add(len).min(input.len());
        let mut piece = input[from..to].to_vec();
        from = to;
        let mut at = 0;
        loop {
            match decoder.next(&mut piece, &mut at) {
                Ok(None) => break,
                Ok(Some(Incoming::Message { text, data })) => {
                    assert_eq!(text, None);
                    seen.push(Seen::Message(data.bytes(&piece).to_vec()));
                }
                Ok(Some(Incoming::Ping(data))) => seen.push(Seen::Ping(data.bytes(&piece).to_vec())),
                Ok(Some(Incoming::Pong)) => seen.push(Seen::Pong),
                Ok(Some(Incoming::Close(code))) => panic!("a close of {code:?}"),
                Err(fault) => {
                    seen.push(Seen::Fault(fault));
                    return seen;
                }
            }
        }
    }
    seen
}

#[test]
fn frames_are_understood_whole_and_split_at_every_position() {
    let bytes = [
        frame(Kind::Message, b"[1]"),
        frame(Kind::Ping, b"there?"),
        frame(Kind::Message, b""),
        frame(Kind::Pong, b"x"),
        frame(Kind::Message, &[9; 300]),
    ]
    .concat();
    let expected = [
        Seen::Message(b"[1]".to_vec()),
        Seen::Ping(b"there?".to_vec()),
        Seen::Message(vec![]),
        Seen::Pong,
        Seen::Message(vec![9; 300]),
    ];
    for split in 0..=bytes.len() {
        assert_eq!(decode(&bytes, &[split], 512), expected, "split at {split}");
    }
    assert_eq!(decode(&bytes, &vec![1; bytes.len()], 512), expected);
}

#[test]
fn reserved_bits_and_types_and_long_messages_fail_the_connection() {
    for first in [0x10, 0x20, 0x40, 0x80] {
        assert_eq!(
            decode(&[first], &[], 512),
            [Seen::Fault(Fault::Protocol("reserved bits set"))]
        );
    }
    for kind in 3..8 {
        assert_eq!(
            decode(&[kind, 0, 0, 0], &[], 512),
            [Seen::Fault(Fault::Protocol("reserved frame type"))]
        );
    }
    assert_eq!(decode(&[0, 0, 2, 1], &[], 512), [Seen::Fault(Fault::TooBig)]);
    assert_eq!(
        decode(&[0x08, 0, 0, 1], &[], 1 << 24),
        [Seen::Fault(Fault::Protocol("length above 2^24"))]
    );
    assert_eq!(decode(&[0x08, 0, 0, 0], &[], (1 << 24) - 1), [Seen::Fault(Fault::TooBig)]);
}

#[test]
fn the_25th_bit_stands_for_2_to_the_24() {
    assert_eq!(header(Kind::Message, 1 << 24).bytes(), [0x08, 0, 0, 0]);
    assert_eq!(header(Kind::Message, (1 << 24) - 1).bytes(), [0, 0xFF, 0xFF, 0xFF]);
    assert_eq!(header(Kind::Pong, 258).bytes(), [2, 0, 1, 2]);
    let payload = vec![3; 1 << 24];
    let seen = decode(&frame(Kind::Message, &payload), &[100, 1 << 20], 1 << 24);
    assert!(seen == [Seen::Message(payload)]);
}

#[test]
fn an_announced_length_costs_no_memory_before_the_bytes_come_and_no_slack_after() {
    let mut decoder = Decoder::new(1 << 24);
    let mut at = 0;
    assert_eq!(decoder.next(&mut [0, 0x10, 0, 0, 1, 2, 3], &mut at), Ok(None));
    assert!(decoder.gathered.capacity() <= 64 * 1024);
    let mut at = 0;
    let Ok(Some(Incoming::Message {
        data: Data::Owned(bytes),
        ..
    })) = decoder.next(&mut vec![5; (1 << 20) - 3], &mut at)
    else {
        panic!("no message")
    };
    assert_eq!((bytes.len(), bytes.capacity()), (1 << 20, 1 << 20));
}

#[test]
fn a_message_keeps_its_bytes_behind_the_prefix() {
    let mut out = Vec::new();
    let append = |out: &mut Vec<u8>| {
        out.extend_from_slice(b"hello");
        Ok::<_, ()>(())
    };
    Framing::RawSocket.append_with(&mut out, 1_000_000, append).unwrap();
    assert_eq!(out, b"\0\0\0\x05hello");
}

proptest! {
    #[test]
    fn splits_do_not_change_the_meaning_of_anything(
        bytes in proptest::collection::vec(prop_oneof![3 => 0u8..3, 1 => any::<u8>()], 0..600),
        pieces in proptest::collection::vec(0usize..60, 0..20),
    ) {
        prop_assert_eq!(decode(&bytes, &pieces, 300), decode(&bytes, &[], 300));
    }
}
