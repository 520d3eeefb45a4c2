//! Frames that are not messages. Each must end in an error, quickly and without a panic.

use super::*;

fn refuse(serializer: Serializer, bytes: &[u8]) -> DecodeError {
    match read(serializer, bytes) {
        Err(error) => error,
        Ok(message) => panic!("accepted {} as {message:?}", String::from_utf8_lossy(bytes)),
    }
}

fn refuse_json(text: &str) -> DecodeError {
    refuse(Serializer::Json, text.as_bytes())
}

#[test]
fn malformed_json() {
    for text in [
        "",
        " ",
        "flurry",
        "{\"a\": 1}",
        "\"abc\"",
        "42",
        "null",
        "[]",
        "[ ]",
        "[48, 1, {}, \"acc.x\"",
        "[\"48\", 1, {}, \"acc.x\"]",
        "[48.5, 1, {}, \"acc.x\"]",
        "[null]",
        "[-1, 1]",
        "[999, 1, {}]",
        "[0]",
        "[99999999999999999999999, 1]",
        "[[48], 1]",
        "[48, 1, {}, \"acc.x\", [NaN]]",
        "[48, 1, {}, \"acc.x\", [Infinity]]",
        "[48, 1, {}, \"acc.x\", [-Infinity]]",
        "[48, 1, {\"\\ud800\": 1}, 5]",
        "[true]",
        "[48,1,{},\"p\"]x",
        "[48,1,{},\"p\"][]",
        "[48,1,{},\"p\"],",
        "[48,1,{},\"p\",]",
        "[,48,1,{},\"p\"]",
        "[48 1,{},\"p\"]",
        "[48,1,{},\"p\",[1,]]",
        "[48,1,{},\"p\",[,1]]",
        "[48,1,{},\"p\",[1 2]]",
        "[48,1,{},\"p\",[1}]",
        "[48,1,{},\"p\",[],{\"k\":1,}]",
        "[48,1,{},\"p\",[],{k:1}]",
        "[48,1,{},\"p\",[],{\"k\"}]",
        "[48,1,{},\"p\",[],{\"k\" 1}]",
        "[48,1,{},\"p\",[],{1:1}]",
        "[48,1,{},\"p\",[01]]",
        "[48,1,{},\"p\",[+1]]",
        "[48,1,{},\"p\",[.5]]",
        "[48,1,{},\"p\",[5.]]",
        "[48,1,{},\"p\",[1e]]",
        "[48,1,{},\"p\",[1e+]]",
        "[48,1,{},\"p\",[-]]",
        "[48,1,{},\"p\",[0x10]]",
        "[48,1,{},\"p\",[tru]]",
        "[48,1,{},\"p\",[truefalse]]",
        "[48,1,{},\"p\",['a']]",
        "[48,1,{},\"p\",[\"a\nb\"]]",
        "[48,1,{},\"p\",[\"a\u{1}b\"]]",
        "[48,1,{},\"p\",[\"\\x\"]]",
        "[48,1,{},\"p\",[\"\\u12g4\"]]",
        "[48,1,{},\"p\",[\"\\u+123\"]]",
        "[48,1,{},\"p\",[\"\\u12",
        "[48,1,{},\"p\",[\"\\",
        "[48,1,{},\"p\",[\"abc",
        "[48,1,{},\"p\",[\"abc\\\"]]",
        "[48,1,{},\"p\",[\"\\ud800\"]]",
        "[48,1,{},\"p\",[\"\\udc00\"]]",
        "[48,1,{},\"p\",[\"\\ud800\\ud800\"]]",
        "[48,1,{},\"p\",[\"\\ud800x\"]]",
        "[48,1,{},\"p\",[\"\\ud800\\n\"]]",
        "[48,1,{},\"p\",[\"\\ud83d\\ude0",
        "\u{feff}[48,1,{},\"p\"]",
        "[48,1,{},\"p\" /* */]",
        "[48,1,{},\"p\"\u{a0}]",
        "[48,1,{},\"\\u0000AAAA\"]",
    ] {
        refuse_json(text);
    }
    refuse(Serializer::Json, b"[48,1,{},\"p\",[\"\xff\"]]");
    refuse(Serializer::Json, b"[48,1,{},\"p\",[\"\xed\xa0\x80\"]]");
    refuse(Serializer::Json, b"[48,1,{},\"p\",[\"\0\"]]");
    for cut in 0..51 {
        refuse_json(&r#"[48, 1, {"x": [1.5e3, "\u00e9"]}, "p", [true], {"k": 1}]"#[..cut]);
    }
}

#[test]
fn wrong_fields() {
    for text in [
        "[48,1,{}]",
        "[48,1,{},\"p\",[],{},7]",
        "[48,1,[],\"p\"]",
        "[48,1,null,\"p\"]",
        "[48,1,{},5]",
        "[48,1,{},null]",
        "[48,1,{},\"p\",{}]",
        "[48,1,{},\"p\",\"abc\"]",
        "[48,1,{},\"p\",null]",
        "[48,1,{},\"p\",[],[]]",
        "[48,1,{},\"p\",[],null]",
        "[48,\"1\",{},\"p\"]",
        "[48,1.5,{},\"p\"]",
        "[48,true,{},\"p\"]",
        "[48,0,{},\"p\"]",
        "[48,-1,{},\"p\"]",
        "[48,9007199254740993,{},\"p\"]",
        "[48,9007199254740994.0,{},\"p\"]",
        "[48,-0,{},\"p\"]",
        "[48,1e400,{},\"p\"]",
        "[64,1,{}]",
        "[64,1,\"x\",\"p\"]",
        "[64,1,{},[\"p\"]]",
        "[64,0,{},\"p\"]",
        "[64,1,{},\"p\",[]]",
        "[32,1]",
        "[32,1,{},{}]",
        "[32,null,{},\"p\"]",
        "[16,1,{},\"p\",5]",
        "[16,1,{},\"p\",[],\"k\"]",
        "[16]",
        "[66,1,\"x\"]",
        "[66,1,2,{}]",
        "[34,1,-5]",
        "[34,1]",
        "[49]",
        "[49,1,\"kill\"]",
        "[70]",
        "[70,1,{},\"x\"]",
        "[8,77,1,{},\"e\"]",
        "[8,49,1,{},\"e\"]",
        "[8,68]",
        "[8,68,1,{}]",
        "[6]",
        "[6,{},5]",
        "[6,{}]",
        "[6,{},\"b\",[]]",
        "[2,0,{}]",
        "[2,5]",
        "[3,{}]",
        "[3,{},\"r\",{}]",
        "[4,\"t\"]",
        "[4,5,{}]",
        "[5,{},{}]",
        "[1]",
        "[1,\"r\"]",
        "[1,5,{}]",
        "[1,\"r\",[]]",
        "[1,\"r\",{},[]]",
        "[35]",
        "[35,-1]",
        "[35,0]",
        "[35,1,2]",
        "[35,1,{},{}]",
        "[36,1,2]",
        "[36,0,2,{}]",
        "[36,1,0,{}]",
        "[337]",
        "[337,0]",
        "[337,1,{}]",
        "[17,1]",
        "[17,1,2,3]",
        "[69,1]",
        "[68,1,{}]",
        "[50,1]",
    ] {
        let error = refuse_json(text);
        assert!(
            matches!(
                error,
                DecodeError::Missing { .. } | DecodeError::TooMany { .. } | DecodeError::Type { .. } | DecodeError::Range { .. }
            ),
            "{text}: {error:?}"
        );
    }
}

#[test]
fn errors_say_what_and_where() {
    for (text, said) in [
        ("[48,1,{},5]", "CALL.procedure is not text at byte 9"),
        ("[48,1,{}]", "CALL ends before its procedure"),
        ("[48,1,{},\"p\",[],{},7]", "CALL has too many elements at byte 19"),
        ("[48,0,{},\"p\"]", "CALL.request is out of range at byte 5"),
        ("[48,1,{},\"p\",[1,]]", "expected a json value at byte 16"),
        ("[48,1,{},\"p\",[\"\\ud800\"]]", "invalid unicode at byte 15"),
        ("[48,1,{},\"p\"", "frame ends within a value at byte 12"),
        ("[48,1,{},\"p\"]]", "bytes after the end of the message at byte 13"),
        (
            "[48,1,{\"timeout\":\"x\"},\"p\"]",
            "CALL.options.timeout is not an integer from 0 on",
        ),
        (
            "[48,1,{\"a\":1,\"a\":2},\"p\"]",
            "CALL.options cannot be read: a key stands twice in one dict",
        ),
        ("[999]", "unknown message code 999"),
        ("{}", "message is not a list"),
        ("[\"48\"]", "message does not begin with an integer code"),
    ] {
        assert_eq!(refuse_json(text).to_string(), said, "{text}");
    }
}

#[test]
fn malformed_msgpack() {
    let call = hex("96 30 01 80 a170 91 a3616263 81 a161 93 01 02 03");
    read(Serializer::MsgPack, &call).expect("a call");
    for cut in 0..call.len() {
        refuse(Serializer::MsgPack, &call[..cut]);
    }
    for bytes in [
        "c1c1c1",
        "81a16101",
        "05",
        "96 30 01 80 a170 91 a3616263 81 a161 93 01 02 03 01",
        "ddffffffff30",
        "94 30 01 80 db7fffffff 616263",
        "94 30 01 80 a3fffefd",
        "94 30 01 81 01 02 a170",
        "94 30 01 80 c401 70",
        "95 30 01 80 a170 91 c1",
        "95 30 01 80 a170 dc0002 01",
        "95 30 01 80 a170 c403616263",
        "95 30 01 80 a170 91 a2c328",
        "96 30 01 80 a170 90 81 01 02",
        "96 30 01 80 a170 90 81 c40161 02",
        "94 30 c3 80 a170",
        "94 30 ff 80 a170",
        "94 30 cb3ff8000000000000 80 a170",
        "94 30 cb7ff8000000000000 80 a170",
        "94 30 01 c0 a170",
        "94 30 01 81 a161 d40100 a170",
        "95 30 01 80 a170 dfffffffff",
        "95 30 01 80 a170 91 c6ffffffff00",
        "95 30 01 80 a170 91 c9ffffffff0100",
        "94 cfffffffffffffffff 01 80 a170",
        "90",
        "80",
        "c0",
        "94 30 01 82 a161 01 a161 02 a170",
    ] {
        refuse(Serializer::MsgPack, &hex(bytes));
    }
}

#[test]
fn malformed_cbor() {
    let call = hex("86 1830 01 a0 6170 81 63616263 a1 6161 83 01 02 03");
    read(Serializer::Cbor, &call).expect("a call");
    for cut in 0..call.len() {
        refuse(Serializer::Cbor, &call[..cut]);
    }
    for bytes in [
        "ffffff",
        "a1616101",
        "05",
        "86 1830 01 a0 6170 81 63616263 a1 6161 83 01 02 03 01",
        "9b7fffffffffffffff 1830",
        "84 1830 01 a0 7b000000ffffffffff 616263",
        "84 1830 01 a0 63fffefd",
        "84 1830 01 a1 01 02 6170",
        "84 1830 01 a0 1c",
        "9f 1830 01",
        "84 1830 01 a0 4170",
        "9b8000000000000000",
        "84 1830 01 a0 7bffffffffffffffff 61",
        "9f 1830 01 a0 6170",
        "85 1830 01 a0 6170 9f 01",
        "85 1830 01 a0 6170 81 ff",
        "85 1830 01 a0 6170 81 f800",
        "85 1830 01 a0 6170 81 f81f",
        "85 1830 01 a0 6170 81 1f",
        "85 1830 01 a0 6170 81 df00",
        "85 1830 01 a0 6170 81 7f 4161 ff",
        "85 1830 01 a0 6170 81 7f 7f 6161 ff ff",
        "85 1830 01 a0 6170 81 7f 61c3 61a9 ff",
        "85 1830 01 a0 6170 81 5f 6161 ff",
        "85 1830 01 a0 6170 bf ff",
        "86 1830 01 a0 6170 80 bf 01 02 ff",
        "86 1830 01 a0 6170 80 bf 6161 ff",
        "86 1830 01 a0 6170 80 a1 4161 01",
        "84 1830 f5 a0 6170",
        "84 1830 20 a0 6170",
        "84 1830 f93e00 a0 6170",
        "84 1830 01 f6 6170",
        "84 d9d9f7 1830 01 a0 6170",
        "84 1830 01 d8 20 a0 6170",
        "84 1830 01 a2 6161 01 6161 02 6170",
        "84 1830 01 a1 6161 f0 6170",
        "9e",
        "ff",
        "f6",
        "80",
        "9fff",
        "85 1830 01 a0 6170 bb8000000000000000",
    ] {
        refuse(Serializer::Cbor, &hex(bytes));
    }
}

#[test]
fn deep_nesting_costs_nothing_and_is_an_error() {
    let deep = |open: &str, count: usize| open.repeat(count);
    assert!(matches!(refuse_json(&deep("[", 100_000)), DecodeError::TooDeep { .. }));
    for head in ["[48,1,{},\"p\",", "[48,1,{\"x\":", "[48,1,{},\"p\",[],{\"x\":"] {
        assert!(matches!(
            refuse_json(&format!("{head}{}", deep("[", 100_000))),
            DecodeError::TooDeep { .. }
        ));
        assert!(matches!(
            refuse_json(&format!("{head}{}", deep("{\"a\":", 100_000))),
            DecodeError::TooDeep { .. } | DecodeError::Type { .. }
        ));
    }
    for (serializer, head, open) in [
        (Serializer::MsgPack, "95 30 01 80 a170", "91"),
        (Serializer::MsgPack, "95 30 01 80 a170", "81a161"),
        (Serializer::MsgPack, "94 30 01 81 a161", "91"),
        (Serializer::Cbor, "85 1830 01 a0 6170", "81"),
        (Serializer::Cbor, "85 1830 01 a0 6170 81", "9f"),
        (Serializer::Cbor, "85 1830 01 a0 6170 81", "c6"),
        (Serializer::Cbor, "84 1830 01 a1 6161", "bf6161"),
    ] {
        let error = refuse(serializer, &[hex(head), hex(open).repeat(200_000)].concat());
        assert!(
            matches!(error, DecodeError::TooDeep { .. } | DecodeError::Type { .. }),
            "{head} {open}: {error:?}"
        );
    }
    // Tags in options are passed one by one and held nowhere.
    refuse(
        Serializer::Cbor,
        &[hex("84 1830 01 a1 6161"), hex("c6").repeat(200_000)].concat(),
    );
    refuse(Serializer::MsgPack, &[0x91; 200_000]);
    refuse(Serializer::Cbor, &[0x81; 200_000]);
}

#[test]
fn the_depth_limit_counts_the_message_and_reaches_no_further_than_the_ceiling() {
    let call = |levels: usize| format!("[48,1,{{}},\"p\",{}{}]", "[".repeat(levels), "]".repeat(levels));
    let within = |depth_max, levels| {
        read_within(
            Serializer::Json,
            call(levels).as_bytes(),
            &Limits {
                depth_max,
                ..Limits::default()
            },
        )
        .is_ok()
    };
    assert!(within(128, 127) && !within(128, 128));
    assert!(within(2, 1) && !within(2, 2) && !within(1, 1) && !within(0, 1));
    assert!(within(usize::MAX, 255) && !within(usize::MAX, 256));
    // What the widest setting lets in can still be transcoded, there and back.
    let deep = read_within(
        Serializer::Json,
        call(255).as_bytes(),
        &Limits {
            depth_max: 256,
            ..Limits::default()
        },
    )
    .expect("a call");
    let there = payload_of(&deep).transcode(Serializer::Cbor).expect("cbor");
    assert_eq!(there.transcode(Serializer::Json).expect("json"), payload_of(&deep));
}

#[test]
fn options_cannot_grow_without_bound() {
    let limits = Limits {
        dict_values_max: 100,
        ..Limits::default()
    };
    let register = |items: usize| format!("[64,1,{{\"x\":[{}]}},\"p\"]", vec!["0"; items].join(","));
    assert!(read_within(Serializer::Json, register(97).as_bytes(), &limits).is_ok());
    assert_eq!(
        read_within(Serializer::Json, register(98).as_bytes(), &limits),
        Err(DecodeError::Dict {
            message: "REGISTER",
            field: "options",
            cause: ValueError::TooManyValues { max: 100 }
        })
    );
}

#[test]
fn a_bare_payload_needs_the_setting_and_the_option() {
    let limits = Limits {
        payload_transparency: true,
        ..Limits::default()
    };
    let with = br#"[48,1,{"enc_algo":"cryptobox"},"p","\u0000AAAA"]"#;
    let without = br#"[48,1,{},"p","\u0000AAAA"]"#;
    refuse(Serializer::Json, with);
    refuse(Serializer::Json, without);
    assert!(read_within(Serializer::Json, without, &limits).is_err());
    let message = read_within(Serializer::Json, with, &limits).expect("a call");
    assert_eq!(
        payload_of(&message).to_values(),
        Ok((vec![Value::Binary(vec![0; 3])], Dict::new()))
    );
    assert_eq!(
        write(&message, Serializer::Cbor),
        hex("85 1830 01 a1 68656e635f616c676f 6963727970746f626f78 6170 43000000")
    );
}

#[test]
fn unproven_payload_bytes_end_in_an_error() {
    for serializer in Serializer::ALL {
        for (elements, bytes) in [
            (1, &b"\xff\xfe"[..]),
            (2, b"["),
            (1, b""),
            (2, b"[1][2]"),
            (1, b"[]x"),
            (2, b"\x90\x80\x80"),
            (1, b"\x91"),
        ] {
            let payload = Payload::from_proven(serializer, elements, Bytes::from_static(bytes));
            for to in Serializer::ALL.into_iter().filter(|to| *to != serializer) {
                assert!(
                    matches!(payload.transcode(to), Err(TranscodeError::Malformed(_))),
                    "{serializer:?} {bytes:?}"
                );
            }
            assert!(payload.to_values().is_err());
        }
    }
}
