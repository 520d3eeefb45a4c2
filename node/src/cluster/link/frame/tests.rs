use proptest::prelude::*;

use super::*;

fn id<T>(make: impl Fn(u64) -> Option<T>) -> T {
    make(1 << 53).unwrap()
}

fn every_frame() -> Vec<PeerFrame> {
    let payload = Payload::from_proven(Serializer::Cbor, 2, Bytes::from_static(&[0x80, 0xa0]));
    let details = Dict::new().with("progress", true).with("_n", -5i64);
    let call = CallId(u64::MAX);
    vec![
        PeerFrame::Invoke {
            call,
            registration: id(RegistrationId::new),
            callee: id(SessionId::new),
            index: 9,
            details: details.clone(),
            payload: payload.clone(),
        },
        PeerFrame::Chunk {
            call,
            registration: id(RegistrationId::new),
            callee: id(SessionId::new),
            details: details.clone(),
            payload: payload.clone(),
        },
        PeerFrame::Progress {
            call,
            details: details.clone(),
            payload: payload.clone(),
        },
        PeerFrame::Interrupt {
            call,
            mode: InterruptMode::Kill,
            reason: "wamp.error.canceled".into(),
        },
        PeerFrame::Interrupt {
            call,
            mode: InterruptMode::KillNoWait,
            reason: "wamp.error.timeout".into(),
        },
        PeerFrame::Result {
            call,
            details: Dict::new(),
            payload: Payload::EMPTY,
        },
        PeerFrame::Error {
            call,
            details,
            error: "wamp.error.x".into(),
            payload: payload.clone(),
        },
        PeerFrame::Nack {
            call,
            callee: id(SessionId::new),
            why: Refusal::Unavailable,
            payload: payload.clone(),
        },
        PeerFrame::Forget { call },
        PeerFrame::Delivered {
            publication: id(PublicationId::new),
        },
        PeerFrame::RevokeSubscription {
            session: id(SessionId::new),
            subscription: id(SubscriptionId::new),
            reason: "com.why".into(),
        },
        PeerFrame::Flood {
            source: FloodSource::Publisher(id(SessionId::new)),
            hold: true,
        },
        PeerFrame::Flood {
            source: FloodSource::Answer(call),
            hold: true,
        },
        PeerFrame::Flood {
            source: FloodSource::Call(call),
            hold: false,
        },
        PeerFrame::Event {
            publication: id(PublicationId::new),
            topic: "com.lamp".into(),
            publisher: id(SessionId::new),
            exclude_me: false,
            acknowledged: true,
            audience: Some(Box::new(audience())),
            keep: Some(Box::new(crate::router::kept::KeepMark {
                time: 1_700_000_000_123_456,
                retain: true,
            })),
            details: Dict::new().with("publisher", 7u64),
            payload: Payload::EMPTY,
        },
        PeerFrame::Event {
            publication: id(PublicationId::new),
            topic: "com.lamp.é".into(),
            publisher: id(SessionId::new),
            exclude_me: true,
            acknowledged: true,
            audience: None,
            keep: None,
            details: Dict::new(),
            payload,
        },
        PeerFrame::Kept {
            what: Dict::new().with("go_on_after", "com.lamp"),
        },
        PeerFrame::MetaAsk {
            ask: 300,
            question: Dict::new().with("what", "flush"),
        },
        PeerFrame::MetaAnswer {
            ask: 300,
            index: 1 << 40,
            answer: Dict::new(),
        },
    ]
}

fn audience() -> Audience {
    let lists = Dict::new()
        .with("exclude", vec![1u64.into(), (1u64 << 53).into()])
        .with("eligible", Vec::new())
        .with("eligible_authid", vec!["ann".into(), "bob".into()])
        .with("exclude_authrole", vec!["guest".into()]);
    Audience::from_dict(&lists).unwrap()
}

fn written(realm: Option<&str>, frame: &PeerFrame) -> Vec<u8> {
    let mut out = Vec::new();
    write(realm.map(Uri::from).as_ref(), frame, &mut out).finish(&mut out);
    out
}

#[test]
fn a_plain_frame_is_the_same_in_both_ways() {
    let payload = Payload::from_values(Serializer::Cbor, &[7u64.into()], &Dict::new().with("k", "v"));
    let args = Payload::from_values(Serializer::MsgPack, &["é".into()], &Dict::new());
    let call = CallId(1 << 40);
    let invoke = PlainFrame::Invoke {
        call,
        registration: id(RegistrationId::new),
        callee: id(SessionId::new),
        index: 300,
    };
    for frame in [invoke, PlainFrame::Result { call }] {
        for payload in [&payload, &args, &Payload::EMPTY] {
            let whole = frame.with(payload.clone());
            for realm in [None, Some("realm1")] {
                let elements = Elements {
                    serializer: payload.serializer(),
                    count: payload.elements(),
                    bytes: payload.bytes(),
                };
                let mut out = Vec::new();
                write_plain(realm.map(Uri::from).as_ref(), frame, elements, &mut out);
                assert_eq!(out, written(realm, &whole));
                let (mut packed, mut at) = (Packed::next(&out, &mut 0).unwrap().unwrap(), 0);
                assert_eq!(packed.realm(&out).unwrap(), realm.map(str::as_bytes));
                let (read, tail) = packed.plain(&out).unwrap();
                assert_eq!((read, tail.of(&out).to_payload()), (frame, payload.clone()));
                for end in 0..out.len() {
                    // Cut off: no panic, and nothing that is not there.
                    let _ = Packed::next(&out[..end], &mut at).map(|packed| packed.map(|packed| packed.plain(&out[..end])));
                }
            }
        }
    }
    let mut out = written(
        None,
        &PeerFrame::Nack {
            call,
            callee: id(SessionId::new),
            why: Refusal::Stale,
            payload,
        },
    );
    assert!(Packed::next(&out, &mut 0).unwrap().unwrap().plain(&out).is_none());
    let details = Dict::new().with("progress", true);
    out = written(
        None,
        &PeerFrame::Result {
            call,
            details,
            payload: args,
        },
    );
    assert!(Packed::next(&out, &mut 0).unwrap().unwrap().plain(&out).is_none());
}

/// Reads all frames of a batch, with the realm each names.
fn read(batch: &Bytes) -> Result<Vec<(Option<String>, PeerFrame)>, Malformed> {
    let (mut at, mut found) = (0, Vec::new());
    while let Some(mut packed) = Packed::next(batch, &mut at)? {
        match packed.shape() {
            Shape::Peer => {
                let realm = packed.realm(batch)?.map(|name| String::from_utf8_lossy(name).into_owned());
                found.push((realm, packed.peer(batch)?));
            }
            Shape::Fragment => drop(packed.fragment(batch)?),
            Shape::Unknown => {}
        }
    }
    Ok(found)
}

#[test]
fn every_frame_comes_back_as_it_was_alone_and_in_a_row() {
    let mut row = Vec::new();
    for frame in every_frame() {
        for realm in [Some("realm1"), None] {
            let bytes = written(realm, &frame);
            row.extend_from_slice(&bytes);
            assert_eq!(read(&bytes.into()), Ok(vec![(realm.map(str::to_owned), frame.clone())]));
        }
    }
    let found: Vec<_> = read(&row.into()).unwrap().into_iter().map(|(_, frame)| frame).collect();
    let expected: Vec<_> = every_frame().into_iter().flat_map(|frame| [frame.clone(), frame]).collect();
    assert_eq!(found, expected);
}

#[test]
fn the_layout_is_that_of_version_3() {
    let result = PeerFrame::Result {
        call: CallId(300),
        details: Dict::new(),
        payload: Payload::from_proven(Serializer::MsgPack, 1, Bytes::from_static(&[0x91, 7])),
    };
    let bytes = [&[8, 0, 0, 0, 0xa2, 1, b'r', 0xac, 2, 0x12, 0x91, 7][..]].concat();
    assert_eq!(written(Some("r"), &result), bytes);
}

#[test]
fn a_payload_is_not_copied_when_it_arrives() {
    let payload = Payload::from_proven(Serializer::Json, 1, Bytes::from(vec![b'7'; 1000]));
    let frame = PeerFrame::Result {
        call: CallId(1),
        details: Dict::new(),
        payload,
    };
    let bytes = Bytes::from(written(None, &frame));
    let Some((_, PeerFrame::Result { payload, .. })) = read(&bytes).unwrap().pop() else {
        panic!("not a result")
    };
    assert!(bytes.as_ptr_range().contains(&payload.bytes().as_ptr()));
}

#[test]
fn a_frame_taken_out_and_put_back_is_the_same() {
    for frame in every_frame() {
        let mut out = b"before".to_vec();
        let (head, payload) = write(Some(&"realm1".into()), &frame, &mut out).split(&mut out);
        assert_eq!(out, b"before");
        let mut again = Vec::new();
        write_parts(&head, &payload, &mut again);
        assert_eq!(again, written(Some("realm1"), &frame));
    }
}

#[test]
fn ids_texts_and_payload_tags_of_a_peer_are_checked() {
    let fault = |tag: u8, fields: &[&[u8]]| {
        let body = [&[tag][..], &fields.concat()].concat();
        let bytes = [&(body.len() as u32).to_le_bytes()[..], &body].concat();
        read(&bytes.into()).err()
    };
    let (one, none, over): (&[u8], &[u8], &[u8]) = (&[1, 0, 0, 0, 0, 0, 0, 0], &[0; 8], &[1, 0, 0, 0, 0, 0, 0x20, 0]);
    assert_eq!(fault(EVENT, &[one, b"\x01t", one, &[1]]), None);
    assert_eq!(fault(EVENT, &[none, b"\x01t", one, &[1]]), Some(Malformed::Id("publication")));
    assert_eq!(fault(EVENT, &[one, b"\x01t", over, &[1]]), Some(Malformed::Id("publisher")));
    assert_eq!(fault(EVENT, &[one, b"\x01\xc3", one, &[1]]), Some(Malformed::Text("topic")));
    assert_eq!(fault(EVENT, &[one, b"\x05t", one, &[1]]), Some(Malformed::Frame));
    assert_eq!(
        fault(EVENT | HAS_DETAILS, &[one, b"\x01t", one, &[1], b"\x01\x05"]),
        Some(Malformed::Details)
    );
    // {"eligible": [0]}: no session has that id.
    let lists: &[u8] = b"\x0e\x01\x08eligible\x08\x01\x03\x00";
    assert_eq!(fault(EVENT, &[one, b"\x01t", one, &[3], lists]), Some(Malformed::Details));
    assert_eq!(fault(EVENT, &[one, b"\x01t", one, &[3], b"\x00"]), None);
    assert_eq!(fault(INVOKE, &[&[1, 0], one, &[1]]), Some(Malformed::Id("registration")));
    assert_eq!(fault(INVOKE, &[&[1, 1], none, &[1]]), Some(Malformed::Id("callee")));
    assert_eq!(fault(INVOKE, &[&[1]]), Some(Malformed::Frame));
    assert_eq!(fault(INTERRUPT, &[&[1, 1], b"\x01r"]), None);
    assert_eq!(
        fault(INTERRUPT, &[&[1, 2], b"\x01r"]),
        Some(Malformed::Frame),
        "a mode of no name"
    );
    assert_eq!(fault(INTERRUPT, &[&[1, 1], b"\x01\xc3"]), Some(Malformed::Text("reason")));
    assert_eq!(fault(CHUNK, &[&[1, 1], none]), Some(Malformed::Id("callee")));
    assert_eq!(fault(FORGET, &[&[0xff; 9], &[1]]), None);
    assert_eq!(
        fault(FORGET, &[&[0xff; 9], &[2]]),
        Some(Malformed::Frame),
        "a number of 65 bits"
    );
    assert_eq!(fault(FORGET, &[&[0xff; 11]]), Some(Malformed::Frame), "a number without end");
    assert_eq!(fault(FORGET, &[&[1], b"of a newer version"]), None);
    assert_eq!(fault(NACK, &[&[1], one, &[3], b"of a newer version"]), None);
    assert_eq!(fault(NACK, &[&[1], over, &[3]]), Some(Malformed::Id("callee")));
    assert_eq!(fault(NACK, &[&[1], one]), Some(Malformed::Frame));
    assert_eq!(fault(31, &[b"of a newer version"]), None);
    for (kind, bytes) in [(0x10, &b"[]"[..]), (0x14, b"[]"), (0x31, b"[]"), (0x01, b"[]"), (0x11, b"")] {
        let (serializer, elements) = (u32::from(kind) & 0x0f, u32::from(kind) >> 4);
        let expected = Malformed::Payload {
            serializer,
            elements,
            bytes: bytes.len(),
        };
        assert_eq!(fault(RESULT | HAS_PAYLOAD, &[&[1, kind], bytes]), Some(expected));
    }
    assert_eq!(read(&Bytes::from_static(&[0, 0, 0, 0])), Err(Malformed::Frame), "no tag");
    assert_eq!(
        read(&Bytes::from_static(&[9, 0, 0, 0, NACK, 1])),
        Err(Malformed::Frame),
        "cut off"
    );
    assert_eq!(read(&Bytes::from_static(&[1, 0])), Err(Malformed::Frame), "a length cut off");
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..96)) {
        let _ = read(&bytes.into());
    }

    #[test]
    fn no_mangled_frame_panics(which in 0usize..13, at in any::<usize>(), byte in any::<u8>(), cut in any::<usize>()) {
        let mut bytes = written(Some("realm1"), &every_frame()[which]);
        let length = bytes.len();
        bytes[at % length] = byte;
        bytes.truncate(cut % (length + 1));
        let _ = read(&bytes.into());
    }
}
