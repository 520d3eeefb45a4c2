//! Every message in every serializer, byte by byte.

use super::*;

/// A message, and its bytes as JSON text and as MessagePack and CBOR in hexadecimal.
type Golden = (Message, &'static str, &'static str, &'static str);

fn goldens() -> Vec<Golden> {
    let details = Dict::new().with("a", true);
    let payload = |serializer| Payload::from_values(serializer, &[Value::from(7u64)], &Dict::new().with("k", "v"));
    vec![
        (
            Message::Hello {
                realm: "r".into(),
                details: details.clone(),
            },
            r#"[1,"r",{"a":true}]"#,
            "93 01 a172 81 a161 c3",
            "83 01 6172 a1 6161 f5",
        ),
        (
            Message::Welcome {
                session: session(1 << 53),
                details: Dict::new(),
            },
            "[2,9007199254740992,{}]",
            "93 02 cf0020000000000000 80",
            "83 02 1b0020000000000000 a0",
        ),
        (
            Message::Abort {
                details: Dict::new(),
                reason: "x".into(),
                payload: payload(Serializer::Json),
            },
            r#"[3,{},"x",[7],{"k":"v"}]"#,
            "95 03 80 a178 91 07 81 a16b a176",
            "85 03 a0 6178 81 07 a1 616b 6176",
        ),
        (
            Message::Challenge {
                method: "ticket".into(),
                extra: Dict::new(),
            },
            r#"[4,"ticket",{}]"#,
            "93 04 a67469636b6574 80",
            "83 04 667469636b6574 a0",
        ),
        (
            Message::Authenticate {
                signature: "s\"\n".into(),
                extra: Dict::new(),
            },
            r#"[5,"s\"\n",{}]"#,
            "93 05 a3 73220a 80",
            "83 05 63 73220a a0",
        ),
        (
            Message::Goodbye {
                details: Dict::new(),
                reason: "b".into(),
            },
            r#"[6,{},"b"]"#,
            "93 06 80 a162",
            "83 06 a0 6162",
        ),
        (
            Message::Error {
                request_type: 48,
                request: request(255),
                details: Dict::new(),
                error: "e".into(),
                payload: payload(Serializer::Cbor),
            },
            r#"[8,48,255,{},"e",[7],{"k":"v"}]"#,
            "97 08 30 ccff 80 a165 91 07 81 a16b a176",
            "87 08 1830 18ff a0 6165 81 07 a1 616b 6176",
        ),
        (
            Message::Publish {
                request: request(256),
                options: details.clone(),
                topic: "t".into(),
                payload: payload(Serializer::MsgPack),
            },
            r#"[16,256,{"a":true},"t",[7],{"k":"v"}]"#,
            "96 10 cd0100 81 a161 c3 a174 91 07 81 a16b a176",
            "86 10 190100 a1 6161 f5 6174 81 07 a1 616b 6176",
        ),
        (
            Message::Published {
                request: request(1),
                publication: publication(65_535),
            },
            "[17,1,65535]",
            "93 11 01 cdffff",
            "83 11 01 19ffff",
        ),
        (
            Message::Subscribe {
                request: request(23),
                options: Dict::new(),
                topic: "t".into(),
            },
            r#"[32,23,{},"t"]"#,
            "94 20 17 80 a174",
            "84 1820 17 a0 6174",
        ),
        (
            Message::Subscribed {
                request: request(24),
                subscription: subscription(65_536),
            },
            "[33,24,65536]",
            "93 21 18 ce00010000",
            "83 1821 1818 1a00010000",
        ),
        (
            Message::Unsubscribe {
                request: request(127),
                subscription: subscription(128),
            },
            "[34,127,128]",
            "93 22 7f cc80",
            "83 1822 187f 1880",
        ),
        (
            Message::Unsubscribed {
                request: Some(request(1)),
                details: Dict::new(),
            },
            "[35,1]",
            "92 23 01",
            "82 1823 01",
        ),
        (
            Message::Unsubscribed {
                request: None,
                details: details.clone(),
            },
            r#"[35,0,{"a":true}]"#,
            "93 23 00 81 a161 c3",
            "83 1823 00 a1 6161 f5",
        ),
        (
            Message::Event {
                subscription: subscription(1),
                publication: publication(2),
                details: Dict::new(),
                payload: payload(Serializer::Json),
            },
            r#"[36,1,2,{},[7],{"k":"v"}]"#,
            "96 24 01 02 80 91 07 81 a16b a176",
            "86 1824 01 02 a0 81 07 a1 616b 6176",
        ),
        (
            Message::Call {
                request: request(1),
                options: Dict::new(),
                procedure: "p".into(),
                payload: Payload::EMPTY,
            },
            r#"[48,1,{},"p"]"#,
            "94 30 01 80 a170",
            "84 1830 01 a0 6170",
        ),
        (
            Message::Cancel {
                request: request(1),
                options: Dict::new().with("mode", "kill"),
            },
            r#"[49,1,{"mode":"kill"}]"#,
            "93 31 01 81 a46d6f6465 a46b696c6c",
            "83 1831 01 a1 646d6f6465 646b696c6c",
        ),
        (
            Message::Result {
                request: request(1),
                details: Dict::new(),
                payload: payload(Serializer::Cbor),
            },
            r#"[50,1,{},[7],{"k":"v"}]"#,
            "95 32 01 80 91 07 81 a16b a176",
            "85 1832 01 a0 81 07 a1 616b 6176",
        ),
        (
            Message::Register {
                request: request(1),
                options: Dict::new(),
                procedure: "p".into(),
            },
            r#"[64,1,{},"p"]"#,
            "94 40 01 80 a170",
            "84 1840 01 a0 6170",
        ),
        (
            Message::Registered {
                request: request(1),
                registration: registration(2),
            },
            "[65,1,2]",
            "93 41 01 02",
            "83 1841 01 02",
        ),
        (
            Message::Unregister {
                request: request(1),
                registration: registration(1 << 32),
            },
            "[66,1,4294967296]",
            "93 42 01 cf0000000100000000",
            "83 1842 01 1b0000000100000000",
        ),
        (
            Message::Unregistered {
                request: Some(request(1)),
                details: Dict::new(),
            },
            "[67,1]",
            "92 43 01",
            "82 1843 01",
        ),
        (
            Message::Unregistered {
                request: None,
                details: Dict::new(),
            },
            "[67,0,{}]",
            "93 43 00 80",
            "83 1843 00 a0",
        ),
        (
            Message::Invocation {
                request: request(1),
                registration: registration(2),
                details: Dict::new(),
                payload: payload(Serializer::MsgPack),
            },
            r#"[68,1,2,{},[7],{"k":"v"}]"#,
            "96 44 01 02 80 91 07 81 a16b a176",
            "86 1844 01 02 a0 81 07 a1 616b 6176",
        ),
        (
            Message::Interrupt {
                request: request(1),
                options: Dict::new(),
            },
            "[69,1,{}]",
            "93 45 01 80",
            "83 1845 01 a0",
        ),
        (
            Message::Yield {
                request: request(1),
                options: Dict::new(),
                payload: payload(Serializer::Json),
            },
            r#"[70,1,{},[7],{"k":"v"}]"#,
            "95 46 01 80 91 07 81 a16b a176",
            "85 1846 01 a0 81 07 a1 616b 6176",
        ),
        (
            Message::EventReceived {
                publication: publication(5),
            },
            "[337,5]",
            "92 cd0151 05",
            "82 190151 05",
        ),
    ]
}

#[test]
fn every_message_has_these_bytes_and_comes_back_from_them() {
    for (message, json, msgpack, cbor) in goldens() {
        for (serializer, bytes) in [
            (Serializer::Json, json.as_bytes().to_vec()),
            (Serializer::MsgPack, hex(msgpack)),
            (Serializer::Cbor, hex(cbor)),
        ] {
            let written = write(&message, serializer);
            assert_eq!(written, bytes, "{serializer:?} {}", String::from_utf8_lossy(&written));
            let back = read(serializer, &bytes).expect("golden bytes");
            assert_eq!(back.code(), message.code());
            // The payload comes back in the serializer of the frame: compare what it says, then everything else.
            assert_eq!(payload_of(&back).to_values(), payload_of(&message).to_values());
            for again in Serializer::ALL {
                assert_eq!(write(&back, again), write(&message, again));
            }
        }
    }
}

#[test]
fn goldens_cover_every_message() {
    let codes: std::collections::BTreeSet<u64> = goldens().iter().map(|golden| golden.0.code()).collect();
    let named: std::collections::BTreeSet<u64> = (0..1024).filter(|code| crate::wamp::message::name(*code).is_some()).collect();
    assert_eq!(codes, named);
    assert_eq!(codes.len(), 25);
}

#[test]
fn ids_come_in_every_width_and_as_floats_without_fraction() {
    let expected = Message::Published {
        request: request(1),
        publication: publication(2),
    };
    for json in ["[17,1,2]", "[17.0,1.0,2e0]", " [ 17 , 1 , 0.2e1 ] \n", "[17,1,2.0000]"] {
        assert_eq!(read(Serializer::Json, json.as_bytes()).as_ref(), Ok(&expected), "{json}");
    }
    for bytes in [
        "93 cc11 cd0001 ce00000002",
        "93 d011 d10001 d200000002",
        "93 cf0000000000000011 d30000000000000001 cb4000000000000000",
        "dc0003 11 01 02",
        "dd00000003 11 ca3f800000 ca40000000",
    ] {
        assert_eq!(read(Serializer::MsgPack, &hex(bytes)).as_ref(), Ok(&expected), "{bytes}");
    }
    for bytes in [
        "83 1811 190001 1a00000002",
        "9803 190011 1b0000000000000001 f94000",
        "9f 11 fa3f800000 fb4000000000000000 ff",
        "9b0000000000000003 11 01 02",
    ] {
        assert_eq!(read(Serializer::Cbor, &hex(bytes)).as_ref(), Ok(&expected), "{bytes}");
    }
    let top = Message::Published {
        request: request(1 << 53),
        publication: publication(1),
    };
    assert_eq!(read(Serializer::Json, b"[17,9007199254740992.0,1]"), Ok(top));
}

#[test]
fn the_payload_is_the_slice_of_the_frame_between_head_and_end() {
    let message = read(Serializer::Json, b"[ 48 ,1, { } , \"p\" , [ 1,\t2 ] , {\"k\" : [ ]} ]").expect("a call");
    assert_eq!(payload_of(&message).elements(), 2);
    assert_eq!(&payload_of(&message).bytes()[..], b"[ 1,\t2 ] , {\"k\" : [ ]}");
    assert_eq!(
        write(&message, Serializer::Json),
        b"[48,1,{},\"p\",[ 1,\t2 ] , {\"k\" : [ ]}]"
    );

    let frame = Bytes::from_static(b"[48,1,{},\"p\",[1,2]]");
    let Ok(Message::Call { payload, .. }) = decode(Serializer::Json, Frame::Owned(frame.clone()), &Limits::default()) else {
        panic!("no call");
    };
    assert_eq!(payload.bytes().as_ptr(), frame[13..].as_ptr(), "an owned frame is not copied");
}

#[test]
fn empty_args_and_kwargs_are_left_out() {
    for (json, elements, bytes) in [
        ("[70,1,{},[]]", 0, ""),
        ("[70,1,{},[],{}]", 0, ""),
        ("[70,1,{},[1],{}]", 1, "[1]"),
        ("[70,1,{},[],{\"k\":1}]", 2, "[],{\"k\":1}"),
    ] {
        let message = read(Serializer::Json, json.as_bytes()).expect("a yield");
        assert_eq!(payload_of(&message).elements(), elements, "{json}");
        assert_eq!(&payload_of(&message).bytes()[..], bytes.as_bytes(), "{json}");
    }
    let kwargs = Dict::new().with("k", 1u64);
    assert_eq!(Payload::from_values(Serializer::Json, &[], &Dict::new()), Payload::EMPTY);
    assert_eq!(
        &Payload::from_values(Serializer::Json, &[], &kwargs).bytes()[..],
        b"[],{\"k\":1}"
    );
    assert_eq!(
        &Payload::from_values(Serializer::Json, &[Value::Null], &Dict::new()).bytes()[..],
        b"[null]"
    );
}

#[test]
fn a_revocation_needs_its_details_and_an_answer_may_have_them() {
    let details = Dict::new().with("reason", "r");
    assert_eq!(
        read(Serializer::Json, b"[67,0]"),
        Err(DecodeError::Missing {
            message: "UNREGISTERED",
            field: "details"
        })
    );
    assert_eq!(
        read(Serializer::Json, b"[67,5,{\"reason\":\"r\"}]"),
        Ok(Message::Unregistered {
            request: Some(request(5)),
            details: details.clone()
        })
    );
    assert_eq!(
        read(Serializer::Json, b"[35,0,{\"reason\":\"r\"}]"),
        Ok(Message::Unsubscribed { request: None, details })
    );
}

#[test]
fn options_are_read_in_full() {
    let json = br#"[64,1,{"n":null,"i":-5,"f":1.5,"l":[1,"\u00e9\ud83d\ude00\/",{"x":false}],"b":"\u0000AAH/"},"p"]"#;
    let Ok(Message::Register { options, .. }) = read(Serializer::Json, json) else {
        panic!("no register")
    };
    let expected = Dict::new()
        .with("n", Value::Null)
        .with("i", -5i64)
        .with("f", 1.5)
        .with(
            "l",
            vec![Value::from(1u64), "é😀/".into(), Dict::new().with("x", false).into()],
        )
        .with("b", Value::Binary(vec![0, 1, 255]));
    assert_eq!(options, expected);
    for serializer in Serializer::ALL {
        let message = Message::Register {
            request: request(1),
            options: options.clone(),
            procedure: "p".into(),
        };
        assert_eq!(read(serializer, &write(&message, serializer)), Ok(message));
    }
}

#[test]
fn a_message_that_cannot_be_written_leaves_the_buffer_as_it_was() {
    let mut out = b"before".to_vec();
    let nan = Payload::from_values(Serializer::Cbor, &[Value::Float(f64::NAN)], &Dict::new());
    let message = Message::Yield {
        request: request(1),
        options: Dict::new(),
        payload: nan,
    };
    assert_eq!(
        encode(&message, Serializer::Json, &mut out),
        Err(EncodeError::Payload(ValueError::NotFinite.into()))
    );
    let message = Message::Cancel {
        request: request(1),
        options: Dict::new().with("x", f64::INFINITY),
    };
    assert_eq!(
        encode(&message, Serializer::Json, &mut out),
        Err(EncodeError::Head(ValueError::NotFinite))
    );
    assert_eq!(out, b"before");
}

#[test]
fn an_undefined_option_is_an_absent_one() {
    // [32, 1, {"match": undefined, "x": 7}, "a"], as wampy writes options that are not set.
    let msgpack = b"\x94\x20\x01\x82\xa5match\xd4\x00\x00\xa1x\x07\xa1a";
    let cbor = b"\x84\x18\x20\x01\xa2\x65match\xf7\x61x\x07\x61a";
    for (serializer, bytes) in [(Serializer::MsgPack, &msgpack[..]), (Serializer::Cbor, &cbor[..])] {
        let Ok(Message::Subscribe { options, .. }) = read(serializer, bytes) else {
            panic!("{serializer:?}")
        };
        assert_eq!(options, Dict::new().with("x", 7u64));
    }
}
