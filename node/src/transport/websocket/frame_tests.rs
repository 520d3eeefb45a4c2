use proptest::prelude::*;

use super::*;
use crate::transport::framing::Framing;

/// A masked client frame.
fn frame(first: u8, payload: &[u8], mask: [u8; 4]) -> Vec<u8> {
    let mut out = vec![first];
    match payload.len() {
        0..=125 => out.push(0x80 | payload.len() as u8),
        126..=0xFFFF => {
            out.push(0x80 | 126);
            out.extend_from_slice(&(payload.len() as u16).to_be_bytes());
        }
        _ => {
            out.push(0x80 | 127);
            out.extend_from_slice(&(payload.len() as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&mask);
    out.extend(payload.iter().enumerate().map(|(i, byte)| byte ^ mask[i % 4]));
    out
}

/// What the decoder made of it, with the bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    Message(bool, Vec<u8>),
    Ping(Vec<u8>),
    Pong,
    Close(Option<u16>),
    Fault(Fault),
}

/// Feeds `input` in pieces of the given lengths; the last piece is the rest.
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
                    seen.push(Seen::Message(text.unwrap(), data.bytes(&piece).to_vec()))
                }
                Ok(Some(Incoming::Ping(data))) => seen.push(Seen::Ping(data.bytes(&piece).to_vec())),
                Ok(Some(Incoming::Pong)) => seen.push(Seen::Pong),
                Ok(Some(Incoming::Close(code))) => seen.push(Seen::Close(code)),
                Err(fault) => {
                    seen.push(Seen::Fault(fault));
                    return seen;
                }
            }
        }
        assert_eq!(at, piece.len(), "the decoder left input behind");
    }
    seen
}

const MASK: [u8; 4] = [0x1F, 0x80, 0x03, 0xC4];

/// A fragmented text with control frames between, a ping, a binary message, an empty text, a close.
fn conversation() -> (Vec<u8>, Vec<Seen>) {
    let mut bytes = Vec::new();
    bytes.extend(frame(0x01, "grü".as_bytes(), MASK));
    bytes.extend(frame(0x89, b"are you there", MASK));
    bytes.extend(frame(0x00, b"", MASK));
    bytes.extend(frame(0x8A, b"yes", MASK));
    bytes.extend(frame(0x80, "ße".as_bytes(), [0; 4]));
    bytes.extend(frame(0x89, b"", MASK));
    bytes.extend(frame(0x82, &[7; 300], MASK));
    bytes.extend(frame(0x81, b"", MASK));
    bytes.extend(frame(0x88, &[0x03, 0xE9, b'o', b'k'], MASK));
    let seen = vec![
        Seen::Ping(b"are you there".to_vec()),
        Seen::Pong,
        Seen::Message(true, "grüße".as_bytes().to_vec()),
        Seen::Ping(vec![]),
        Seen::Message(false, vec![7; 300]),
        Seen::Message(true, vec![]),
        Seen::Close(Some(1001)),
    ];
    (bytes, seen)
}

#[test]
fn a_conversation_is_understood_whole_and_split_at_every_position() {
    let (bytes, expected) = conversation();
    assert_eq!(decode(&bytes, &[], 1000), expected);
    for split in 0..=bytes.len() {
        assert_eq!(decode(&bytes, &[split], 1000), expected, "split at {split}");
    }
    assert_eq!(decode(&bytes, &vec![1; bytes.len()], 1000), expected, "byte by byte");
}

#[test]
fn long_lengths_are_read_in_all_three_forms() {
    for len in [125, 126, 127, 65_535, 65_536, 70_001] {
        let payload: Vec<u8> = (0..len).map(|i| i as u8).collect();
        assert_eq!(
            decode(&frame(0x82, &payload, MASK), &[3, 4096, 1], 1 << 20),
            [Seen::Message(false, payload)]
        );
    }
}

#[test]
fn broken_frames_fail_the_connection() {
    let protocol = |bytes: &[u8]| match decode(bytes, &[], 1000).as_slice() {
        [Seen::Fault(Fault::Protocol(text))] => *text,
        other => panic!("{other:?}"),
    };
    assert_eq!(protocol(b"\x81\x05hello"), "client frame is not masked");
    assert_eq!(protocol(&frame(0xC1, b"x", MASK)), "reserved bits set");
    assert_eq!(protocol(&frame(0xA1, b"x", MASK)), "reserved bits set");
    assert_eq!(protocol(&frame(0x91, b"x", MASK)), "reserved bits set");
    for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
        assert_eq!(protocol(&frame(0x80 | opcode, b"x", MASK)), "reserved opcode");
    }
    assert_eq!(protocol(&frame(0x09, b"x", MASK)), "fragmented control frame");
    assert_eq!(
        protocol(&frame(0x89, &[b'x'; 126], MASK)),
        "control frame longer than 125 bytes"
    );
    assert_eq!(protocol(&frame(0x80, b"x", MASK)), "continuation of no message");
    assert_eq!(
        protocol(&[frame(0x01, b"x", MASK), frame(0x81, b"y", MASK)].concat()),
        "new message inside a fragmented one"
    );
    assert_eq!(protocol(&frame(0x88, b"x", MASK)), "close frame of one byte");
    assert_eq!(protocol(&frame(0x88, &[0x03, 0xED], MASK)), "illegal close code");
    assert_eq!(
        protocol(&[0x82, 0xFF, 0xFF, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4]),
        "frame length above 2^63"
    );
}

#[test]
fn text_must_be_utf_8_and_binary_need_not() {
    let bad = [b'a', 0xFF];
    assert_eq!(decode(&frame(0x81, &bad, MASK), &[], 1000), [Seen::Fault(Fault::NotUtf8)]);
    assert_eq!(
        decode(&frame(0x82, &bad, MASK), &[], 1000),
        [Seen::Message(false, bad.to_vec())]
    );
    // A character cut in two by fragmentation is whole again in the message; one that stays cut is not.
    let halves = [frame(0x01, &[0xC3], MASK), frame(0x80, &[0xBC], MASK)].concat();
    assert_eq!(decode(&halves, &[], 1000), [Seen::Message(true, "ü".as_bytes().to_vec())]);
    let half = [frame(0x01, b"a", MASK), frame(0x80, &[0xC3], MASK)].concat();
    assert_eq!(decode(&half, &[], 1000), [Seen::Fault(Fault::NotUtf8)]);
    assert_eq!(
        decode(&frame(0x88, &[0x03, 0xE8, 0xFF], MASK), &[], 1000),
        [Seen::Fault(Fault::NotUtf8)]
    );
}

#[test]
fn the_limit_counts_all_fragments_and_holds_before_the_payload_comes() {
    assert_eq!(
        decode(&frame(0x82, &[1; 100], MASK), &[], 100),
        [Seen::Message(false, vec![1; 100])]
    );
    assert_eq!(
        decode(&frame(0x82, &[1; 101], MASK)[..6], &[], 100),
        [Seen::Fault(Fault::TooBig)]
    );
    let parts = [frame(0x02, &[1; 60], MASK), frame(0x80, &[1; 41], MASK)].concat();
    assert_eq!(decode(&parts, &[], 100), [Seen::Fault(Fault::TooBig)]);
    // Control frames do not count.
    let parts = [
        frame(0x02, &[1; 60], MASK),
        frame(0x89, &[1; 100], MASK),
        frame(0x80, &[1; 40], MASK),
    ]
    .concat();
    assert_eq!(decode(&parts, &[], 100).last(), Some(&Seen::Message(false, vec![1; 100])));
    assert_eq!(
        decode(
            &[0x82, 0xFF, 0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0],
            &[],
            100
        ),
        [Seen::Fault(Fault::TooBig)]
    );
}

#[test]
fn an_announced_length_costs_no_memory_before_the_bytes_come() {
    let mut decoder = Decoder::new(16 << 20);
    let mut head = frame(0x82, &[0; 70_000], MASK)[..20].to_vec();
    head[2..10].copy_from_slice(&(16u64 << 20).to_be_bytes());
    let mut at = 0;
    assert_eq!(decoder.next(&mut head, &mut at), Ok(None));
    assert!(decoder.message.as_ref().unwrap().bytes.capacity() <= 64 * 1024);
}

#[test]
fn headers_are_the_shortest_and_a_message_keeps_its_bytes_behind_each() {
    assert_eq!(header(Opcode::Text, 5).bytes(), [0x81, 5]);
    assert_eq!(header(Opcode::Binary, 126).bytes(), [0x82, 126, 0, 126]);
    assert_eq!(header(Opcode::Binary, 65_536).bytes(), [0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
    let lengths = [0, 1, 125, 126, 65_535, 65_536, 100_000];
    for (len, estimate) in lengths.into_iter().flat_map(|len| lengths.map(|estimate| (len, estimate))) {
        let message: Vec<u8> = (0..len).map(|i| (i * 7) as u8).collect();
        let mut out = b"before".to_vec();
        let append = |out: &mut Vec<u8>| {
            out.extend_from_slice(&message);
            Ok::<_, ()>(())
        };
        Framing::WebSocketBinary.append_with(&mut out, estimate, append).unwrap();
        let expected = [b"before", header(Opcode::Binary, len).bytes(), &message].concat();
        assert!(out == expected, "length {len}, taken for {estimate}");
    }
    let mut out = b"before".to_vec();
    let failing = |out: &mut Vec<u8>| {
        out.extend_from_slice(b"half");
        Err(())
    };
    assert_eq!(Framing::WebSocketText.append_with(&mut out, 4, failing), Err(()));
    assert_eq!(out, b"before");
}

#[test]
fn control_frames_are_never_longer_than_allowed() {
    let mut out = Vec::new();
    append_control(Opcode::Pong, &[1; 200], &mut out);
    assert_eq!((out[0], out[1], out.len()), (0x8A, 125, 127));
    out.clear();
    append_close(1002, "why", &mut out);
    assert_eq!(out, b"\x88\x05\x03\xEAwhy");
}

proptest! {
    #[test]
    fn any_message_survives_any_fragmentation_and_any_split(
        payload in proptest::collection::vec(any::<u8>(), 0..2000),
        cuts in proptest::collection::vec(0usize..2000, 0..5),
        masks in proptest::collection::vec(any::<[u8; 4]>(), 6),
        pieces in proptest::collection::vec(0usize..400, 0..20),
    ) {
        let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(payload.len())).collect();
        cuts.sort_unstable();
        let mut bytes = Vec::new();
        let mut from = 0usize;
        let fragments = cuts.len() + 1;
        for (n, mask) in masks.iter().enumerate().take(fragments) {
            let to = cuts.get(n).copied().unwrap_or(payload.len());
            let first = if n == 0 { 0x02 } else { 0x00 } | if n + 1 == fragments { 0x80 } else { 0 };
            bytes.extend(frame(first, &payload[from..to], *mask));
            from = to;
        }
        prop_assert_eq!(decode(&bytes, &pieces, 4000), vec![Seen::Message(false, payload)]);
    }

    #[test]
    fn garbage_never_panics_and_splits_do_not_change_its_meaning(
        bytes in proptest::collection::vec(any::<u8>(), 0..600),
        pieces in proptest::collection::vec(0usize..60, 0..20),
    ) {
        prop_assert_eq!(decode(&bytes, &pieces, 300), decode(&bytes, &[], 300));
    }

    #[test]
    fn mutated_conversations_never_panic(at in 0usize..400, byte in any::<u8>()) {
        let (mut bytes, _) = conversation();
        let len = bytes.len();
        bytes[at % len] = byte;
        decode(&bytes, &[5, 50], 1000);
    }
}
