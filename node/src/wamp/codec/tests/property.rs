//! Properties over generated messages and mangled bytes.

use proptest::{collection::vec, prelude::*, sample::Index};

use super::*;

/// Any value that all three serializers carry.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(|v| Value::Integer(v.into())),
        any::<u64>().prop_map(|v| Value::Integer(v.into())),
        (-300i64..300).prop_map(|v| Value::Integer(v.into())),
        any::<f64>().prop_filter("finite", |v| v.is_finite()).prop_map(Value::Float),
        any::<i32>().prop_map(|v| Value::Float(v.into())),
        text().prop_map(Value::Text),
        vec(any::<u8>(), 0..40).prop_map(Value::Binary),
    ];
    leaf.prop_recursive(5, 60, 20, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..20).prop_map(Value::List),
            entries(inner, 20).prop_map(Value::Dict)
        ]
    })
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[ -~]{0,40}", any::<String>(), "[\"\\\\\u{1}-\u{1f}/é😀]{0,12}"]
        .prop_filter("no u+0000 in front", |t| !t.starts_with('\0'))
}

fn entries(value: impl Strategy<Value = Value>, most: usize) -> impl Strategy<Value = Dict> {
    vec((text(), value), 0..most).prop_map(|entries| {
        entries
            .into_iter()
            .fold(Dict::new(), |dict, (key, value)| dict.with(key, value))
    })
}

/// Options whose keys the protocol does not name.
fn options() -> impl Strategy<Value = Dict> {
    prop_oneof![
        Just(Dict::new()),
        entries(value(), 6)
            .prop_map(|Dict(entries)| Dict(entries.into_iter().map(|(key, value)| (format!("_{key}"), value)).collect()))
    ]
}

fn serializer() -> impl Strategy<Value = Serializer> {
    prop::sample::select(Serializer::ALL.to_vec())
}

fn payload() -> impl Strategy<Value = Payload> {
    (serializer(), vec(value(), 0..5), entries(value(), 5))
        .prop_map(|(serializer, args, kwargs)| Payload::from_values(serializer, &args, &kwargs))
}

fn id() -> impl Strategy<Value = u64> {
    prop_oneof![1u64..300, 1..=crate::wamp::id::ID_MAX]
}

fn message() -> impl Strategy<Value = Message> {
    (0u8..26, id(), id(), options(), text(), payload()).prop_map(|(which, a, b, dict, text, payload)| {
        let (uri, request) = (Uri::new(text.as_str()), request(a));
        match which {
            0 => Message::Hello {
                realm: uri,
                details: dict,
            },
            1 => Message::Welcome {
                session: session(a),
                details: dict,
            },
            2 => Message::Abort {
                details: dict,
                reason: uri,
                payload,
            },
            3 => Message::Challenge {
                method: text,
                extra: dict,
            },
            4 => Message::Authenticate {
                signature: text,
                extra: dict,
            },
            5 => Message::Goodbye {
                details: dict,
                reason: uri,
            },
            6 => Message::Error {
                request_type: 68,
                request,
                details: dict,
                error: uri,
                payload,
            },
            7 => Message::Publish {
                request,
                options: dict,
                topic: uri,
                payload,
            },
            8 => Message::Published {
                request,
                publication: publication(b),
            },
            9 => Message::Subscribe {
                request,
                options: dict,
                topic: uri,
            },
            10 => Message::Subscribed {
                request,
                subscription: subscription(b),
            },
            11 => Message::Unsubscribe {
                request,
                subscription: subscription(b),
            },
            12 => Message::Unsubscribed {
                request: (a % 2 == 0).then_some(request),
                details: dict,
            },
            13 => Message::Event {
                subscription: subscription(a),
                publication: publication(b),
                details: dict,
                payload,
            },
            14 | 15 => Message::Call {
                request,
                options: dict,
                procedure: uri,
                payload,
            },
            16 => Message::Cancel { request, options: dict },
            17 => Message::Result {
                request,
                details: dict,
                payload,
            },
            18 => Message::Register {
                request,
                options: dict,
                procedure: uri,
            },
            19 => Message::Registered {
                request,
                registration: registration(b),
            },
            20 => Message::Unregister {
                request,
                registration: registration(b),
            },
            21 => Message::Unregistered {
                request: (a % 2 == 0).then_some(request),
                details: dict,
            },
            22 => Message::Invocation {
                request,
                registration: registration(b),
                details: dict,
                payload,
            },
            23 => Message::Interrupt { request, options: dict },
            24 => Message::Yield {
                request,
                options: dict,
                payload,
            },
            _ => Message::EventReceived {
                publication: publication(a),
            },
        }
    })
}

/// The same message with its payload in `to`; `-0.0` and `0.0` stay apart in the text compared.
fn shown(message: &Message, to: Serializer) -> String {
    let payload = payload_of(message).transcode(to).expect("every serializer carries it");
    let head = write(message, Serializer::Cbor);
    format!("{} {:?} {:?}", payload.elements(), payload.to_values(), head)
}

/// What a peer may do to bytes.
#[derive(Clone, Debug)]
enum Mangle {
    Set(Index, u8),
    Insert(Index, u8),
    Remove(Index),
    Cut(Index),
    Double(Index, Index),
}

fn mangle() -> impl Strategy<Value = Mangle> {
    let byte = || {
        prop_oneof![
            any::<u8>(),
            prop::sample::select(b"[]{}\",:\\u0-e.\x9f\xbf\xff\xdd\xdf\xdb\x9b\x7b\xc2".to_vec())
        ]
    };
    prop_oneof![
        (any::<Index>(), byte()).prop_map(|(at, byte)| Mangle::Set(at, byte)),
        (any::<Index>(), byte()).prop_map(|(at, byte)| Mangle::Insert(at, byte)),
        any::<Index>().prop_map(Mangle::Remove),
        any::<Index>().prop_map(Mangle::Cut),
        (any::<Index>(), any::<Index>()).prop_map(|(from, to)| Mangle::Double(from, to)),
    ]
}

fn apply(bytes: &mut Vec<u8>, mangle: &Mangle) {
    if bytes.is_empty() {
        return;
    }
    let len = bytes.len();
    match mangle {
        Mangle::Set(at, byte) => bytes[at.index(len)] = *byte,
        Mangle::Insert(at, byte) => bytes.insert(at.index(len), *byte),
        Mangle::Remove(at) => {
            bytes.remove(at.index(len));
        }
        Mangle::Cut(at) => bytes.truncate(at.index(len)),
        Mangle::Double(from, to) => {
            let (from, to) = (from.index(len), to.index(len));
            bytes.extend_from_within(from.min(to)..from.max(to));
        }
    }
}

/// Whatever these bytes are, everything the router may do with them goes without a panic, and agrees with itself.
fn handle(serializer: Serializer, bytes: &[u8]) {
    let Ok(message) = read(serializer, bytes) else { return };
    let _ = payload_of(&message).to_values();
    for to in Serializer::ALL {
        let mut out = Vec::new();
        match (encode(&message, to, &mut out), payload_of(&message).transcode(to)) {
            (Ok(()), payload) => {
                let again = read(to, &out).expect("what was written can be read");
                assert_eq!(&again.code(), &message.code());
                let payload = payload.expect("the message was written");
                assert_eq!(payload_of(&again).bytes(), payload.bytes());
            }
            (Err(_), _) => assert!(out.is_empty()),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn a_message_survives_every_serializer(message in message(), to in serializer()) {
        let back = read(to, &write(&message, to)).expect("a message we wrote");
        prop_assert_eq!(shown(&back, to), shown(&message, to));
        // Once in `to`, it is the same message in every respect, and written the same.
        prop_assert_eq!(read(to, &write(&back, to)), Ok(back));
    }

    #[test]
    fn a_payload_survives_any_way_through_the_serializers(payload in payload(), way in vec(serializer(), 1..6)) {
        let values = payload.to_values().expect("values");
        let mut last = payload.clone();
        for to in way {
            last = last.transcode(to).expect("values that all carry");
            let direct = Payload::from_values(to, &values.0, &values.1);
            prop_assert_eq!(last.bytes(), direct.bytes(), "transcoding writes what values write");
            prop_assert_eq!(format!("{:?}", last.to_values()), format!("{:?}", Ok::<_, ()>(values.clone())));
        }
    }

    #[test]
    fn mangled_bytes_never_panic(message in message(), serializer in serializer(), mangles in vec(mangle(), 1..6)) {
        let mut bytes = write(&message, serializer);
        for mangle in &mangles {
            apply(&mut bytes, mangle);
        }
        handle(serializer, &bytes);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in vec(any::<u8>(), 0..200), serializer in serializer()) {
        handle(serializer, &bytes);
        handle(Serializer::MsgPack, &[&b"\x95\x30\x01\x80\xa1p\x91"[..], &bytes].concat());
        handle(Serializer::Cbor, &[&b"\x9f\x18\x30\x01\xa0\x61p\x9f"[..], &bytes, b"\xff\xff"].concat());
        handle(Serializer::Json, &[&b"[48,1,{},\"p\",["[..], &bytes, b"]]"].concat());
    }

    #[test]
    fn floats_keep_every_bit(bits: u64) {
        let value = f64::from_bits(bits);
        let payload = Payload::from_values(Serializer::MsgPack, &[Value::Float(value)], &Dict::new());
        let cbor = payload.transcode(Serializer::Cbor).expect("cbor carries it");
        prop_assert_eq!(&cbor.bytes()[2..], &bits.to_be_bytes());
        prop_assert_eq!(cbor.transcode(Serializer::MsgPack), Ok(payload.clone()));
        if value.is_finite() {
            let json = payload.transcode(Serializer::Json).expect("json carries it");
            prop_assert_eq!(json.transcode(Serializer::MsgPack), Ok(payload));
        }
    }
}
