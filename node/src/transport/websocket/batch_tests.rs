use super::*;
use crate::transport::framing::Framing;

/// A masked frame of a client.
fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [1, 2, 3, 4];
    let mut frame = vec![first];
    match payload.len() {
        len @ 0..=125 => frame.push(0x80 | len as u8),
        len => {
            frame.push(0x80 | 126);
            frame.extend((len as u16).to_be_bytes());
        }
    }
    frame.extend(mask);
    frame.extend(payload.iter().enumerate().map(|(n, byte)| byte ^ mask[n % 4]));
    frame
}

fn binary(messages: &[&[u8]]) -> Vec<u8> {
    let mut batch = Vec::new();
    for message in messages {
        batch.extend((message.len() as u32).to_be_bytes());
        batch.extend_from_slice(message);
    }
    batch
}

/// What the decoder makes of `stream` when it comes in pieces of that size.
fn decode(kind: Kind, stream: &[u8], size: usize) -> Result<Vec<Vec<u8>>, Fault> {
    let mut decoder = Decoder::new(kind, 1000);
    let mut messages = Vec::new();
    for piece in stream.chunks(size) {
        let (mut input, mut at) = (piece.to_vec(), 0);
        while let Some(incoming) = decoder.next(&mut input, &mut at)? {
            match incoming {
                Incoming::Message { text, data } => {
                    assert_eq!(text, Some(kind == Kind::Text));
                    messages.push(data.bytes(&input).to_vec());
                }
                Incoming::Ping(_) => messages.push(b"ping".to_vec()),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(at, input.len());
    }
    Ok(messages)
}

#[test]
fn a_batch_is_taken_apart_however_it_comes_in() {
    let long = vec![b'x'; 300];
    let mut stream = masked(0x81, b"[1]\x1e[2,3]\x1e");
    stream.extend(masked(0x89, b""));
    stream.extend(masked(0x81, &[&long[..], b"\x1e[4]\x18"].concat()));
    // In fragments, a ping between them.
    stream.extend(masked(0x01, b"[5]\x1e["));
    stream.extend(masked(0x89, b""));
    stream.extend(masked(0x80, b"6]\x1e"));
    let expected = [b"[1]", &b"[2,3]"[..], b"ping", &long, b"[4]", b"ping", b"[5]", b"[6]"];
    for size in 1..=stream.len() {
        assert_eq!(decode(Kind::Text, &stream, size).unwrap(), expected, "in pieces of {size}");
    }
    let stream = [masked(0x82, &binary(&[b"a", b"", &long])), masked(0x82, &binary(&[b"\x1e"]))].concat();
    for size in 1..=stream.len() {
        assert_eq!(
            decode(Kind::Binary, &stream, size).unwrap(),
            [b"a", &b""[..], &long, b"\x1e"],
            "in pieces of {size}"
        );
    }
}

#[test]
fn broken_batches_fail_the_transport_after_what_was_whole() {
    let of = |kind, first, payload: &[u8]| decode(kind, &masked(first, payload), 4096);
    assert_eq!(of(Kind::Text, 0x81, b""), Err(Fault::Protocol("an empty batch")));
    assert_eq!(of(Kind::Binary, 0x82, b""), Err(Fault::Protocol("an empty batch")));
    assert!(of(Kind::Text, 0x81, b"[1]\x1e[2]").is_err(), "no end");
    assert!(of(Kind::Binary, 0x82, &[0, 0, 0]).is_err(), "half a length");
    assert!(of(Kind::Binary, 0x82, &[0, 0, 0, 2, 9]).is_err(), "half a message");
    assert!(of(Kind::Binary, 0x82, &[0xFF; 9]).is_err(), "a length beyond everything");
    assert_eq!(
        of(Kind::Text, 0x81, &[b'x'; 1001]),
        Err(Fault::TooBig),
        "the limit is that of the batch"
    );
    let mut decoder = Decoder::new(Kind::Text, 1000);
    let (mut input, mut at) = (masked(0x81, b"[1]\x1e[2"), 0);
    assert!(decoder.next(&mut input, &mut at).unwrap().is_some());
    assert!(decoder.next(&mut input, &mut at).is_err());
}

#[test]
fn a_frame_of_the_wrong_type_comes_out_as_it_is() {
    let mut decoder = Decoder::new(Kind::Text, 1000);
    let (mut input, mut at) = (masked(0x82, b"x"), 0);
    let incoming = decoder.next(&mut input, &mut at).unwrap();
    assert!(
        matches!(incoming, Some(Incoming::Message { text: Some(false), .. })),
        "{incoming:?}"
    );
}

#[test]
fn what_a_stop_leaves_of_a_batch_can_be_read_from_another_buffer() {
    for (size, stream) in [
        (1, masked(0x81, b"[1]\x1e[2]\x1e[3]\x1e")),
        (100, masked(0x81, b"[1]\x1e[2]\x1e[3]\x1e")),
    ] {
        let mut decoder = Decoder::new(Kind::Text, 1000);
        let mut left = Vec::new();
        for piece in stream.chunks(size) {
            let (mut input, mut at) = (piece.to_vec(), 0);
            if decoder.next(&mut input, &mut at).unwrap().is_some() {
                left = decoder.unread();
                left.extend_from_slice(&input[at..]);
                break;
            }
        }
        let mut at = 0;
        let mut messages = Vec::new();
        while let Some(Incoming::Message { data, .. }) = decoder.next(&mut left, &mut at).unwrap() {
            messages.push(data.bytes(&left).to_vec());
        }
        assert_eq!(messages, [b"[2]", b"[3]"], "read in pieces of {size}");
    }
}

fn batches(framing: Framing, messages: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    for message in messages {
        let write = |out: &mut Vec<u8>| {
            out.extend_from_slice(message);
            Ok::<_, ()>(())
        };
        framing.append_with(&mut out, 3, write).unwrap();
    }
    out
}

#[test]
fn what_is_ready_becomes_one_frame_and_control_frames_stay_between() {
    let text = batches(Framing::WebSocketTextBatch, &[b"[1]", b"[2]"]);
    assert_eq!(text, b"\x81\x04[1]\x1e\x81\x04[2]\x1e", "batches of one");
    assert_eq!(join(text.clone(), 100, SEPARATOR), b"\x81\x08[1]\x1e[2]\x1e");
    assert_eq!(join(text.clone(), 100, 0x18), b"\x81\x08[1]\x18[2]\x18");
    assert_eq!(join(text[..6].to_vec(), 100, 0x18), b"\x81\x04[1]\x18");
    assert_eq!(join(text.clone(), 7, SEPARATOR), text, "above the limit");
    let mut with_pong = text.clone();
    frame::append_control(Opcode::Pong, b"p", &mut with_pong);
    with_pong.extend(&text);
    frame::append_close(1000, "", &mut with_pong);
    assert_eq!(
        join(with_pong, 100, SEPARATOR),
        b"\x81\x08[1]\x1e[2]\x1e\x8a\x01p\x81\x08[1]\x1e[2]\x1e\x88\x02\x03\xe8"
    );
    let long = vec![7; 70_000];
    let several = batches(Framing::WebSocketBinaryBatch, &[b"a", &long[..200], &long, b"b", b"c"]);
    let joined = join(several, BATCH_BYTES_MAX, SEPARATOR);
    let mut expected = Vec::new();
    for batch in [binary(&[b"a", &long[..200]]), binary(&[&long]), binary(&[b"b", b"c"])] {
        expected.extend_from_slice(header(Opcode::Binary, batch.len()).bytes());
        expected.extend(batch);
    }
    assert_eq!(joined, expected);
    assert!(join(Vec::new(), 100, SEPARATOR).is_empty());
}
