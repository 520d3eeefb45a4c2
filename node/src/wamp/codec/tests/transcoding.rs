//! Payloads from one serializer into another: what stays, what changes as documented, what is refused.

use super::*;

use Serializer::{Cbor, Json, MsgPack};

fn args(serializer: Serializer, bytes: &[u8]) -> Payload {
    let head: &[u8] = match serializer {
        Json => b"[70,1,{},",
        MsgPack => b"\x94\x46\x01\x80",
        Cbor => b"\x84\x18\x46\x01\xa0",
    };
    let end: &[u8] = if serializer == Json { b"]" } else { b"" };
    let message = read(serializer, &[head, bytes, end].concat()).expect("a yield");
    payload_of(&message)
}

fn json(text: &str) -> Payload {
    args(Json, text.as_bytes())
}

fn msgpack(bytes: &str) -> Payload {
    args(MsgPack, &hex(bytes))
}

fn cbor(bytes: &str) -> Payload {
    args(Cbor, &hex(bytes))
}

fn as_text(payload: &Payload) -> Result<String, TranscodeError> {
    payload
        .transcode(Json)
        .map(|payload| String::from_utf8(payload.bytes().to_vec()).expect("utf-8"))
}

fn as_hex(payload: &Payload, to: Serializer) -> Result<String, TranscodeError> {
    payload
        .transcode(to)
        .map(|payload| payload.bytes().iter().map(|byte| format!("{byte:02x}")).collect())
}

#[test]
fn json_into_both_others() {
    for (text, in_msgpack, in_cbor) in [
        ("[null,true,false]", "93 c0 c3 c2", "83 f6 f5 f4"),
        (
            "[0,127,128,255,256,65535,65536]",
            "97 00 7f cc80 ccff cd0100 cdffff ce00010000",
            "87 00 187f 1880 18ff 190100 19ffff 1a00010000",
        ),
        (
            "[-1,-32,-33,-128,-129,-32769]",
            "96 ff e0 d0df d080 d1ff7f d2ffff7fff",
            "86 20 381f 3820 387f 3880 398000",
        ),
        (
            "[4294967295,4294967296]",
            "92 ceffffffff cf0000000100000000",
            "82 1affffffff 1b0000000100000000",
        ),
        ("[-9223372036854775808]", "91 d38000000000000000", "81 3b7fffffffffffffff"),
        ("[18446744073709551615]", "91 cfffffffffffffffff", "81 1bffffffffffffffff"),
        ("[18446744073709551616]", "91 cb43f0000000000000", "81 fb43f0000000000000"),
        (
            "[1.0,-0.0,1e2]",
            "93 cb3ff0000000000000 cb8000000000000000 cb4059000000000000",
            "83 fb3ff0000000000000 fb8000000000000000 fb4059000000000000",
        ),
        ("[0.1]", "91 cb3fb999999999999a", "81 fb3fb999999999999a"),
        (
            r#"["","a\u00e9\"\\\/\b\f\n\r\t"]"#,
            "92 a0 ab61c3a9225c2f080c0a0d09",
            "82 60 6b61c3a9225c2f080c0a0d09",
        ),
        (
            r#"["\ud83d\ude00","\ufffd"]"#,
            "92 a4f09f9880 a3efbfbd",
            "82 64f09f9880 63efbfbd",
        ),
        (
            r#"["\u0000","\u0000AQI=","\u0000\u0041Q\u0049="]"#,
            "93 c400 c4020102 c4020102",
            "83 40 420102 420102",
        ),
        ("[[],{},[[]],{\"\":{}}]", "94 90 80 91 90 81 a0 80", "84 80 a0 81 80 a1 60 a0"),
        (
            "[[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16]]",
            "91 dc0010 0102030405060708090a0b0c0d0e0f10",
            "81 90 0102030405060708090a0b0c0d0e0f10",
        ),
        ("[{\"a\":1,\"a\":2}]", "91 82 a161 01 a161 02", "81 a2 6161 01 6161 02"),
        ("[],{\"k\":[\"v\"]}", "90 81 a16b 91 a176", "80 a1 616b 81 6176"),
    ] {
        assert_eq!(as_hex(&json(text), MsgPack), Ok(in_msgpack.replace(' ', "")), "{text}");
        assert_eq!(as_hex(&json(text), Cbor), Ok(in_cbor.replace(' ', "")), "{text}");
    }
}

#[test]
fn msgpack_into_json() {
    for (bytes, text) in [
        ("93 c0 c3 c2", "[null,true,false]"),
        ("95 cc01 cd0001 ce00000001 cf0000000000000001 01", "[1,1,1,1,1]"),
        ("95 d0ff d1ffff d2ffffffff d3ffffffffffffffff ff", "[-1,-1,-1,-1,-1]"),
        (
            "92 cfffffffffffffffff d38000000000000000",
            "[18446744073709551615,-9223372036854775808]",
        ),
        ("93 ca3fc00000 cb3ff0000000000000 cb8000000000000000", "[1.5,1.0,-0.0]"),
        ("92 cb7fefffffffffffff cb0000000000000001", "[1.7976931348623157e308,5e-324]"),
        ("93 d900 da000161 db00000001 22", r#"["","a","\""]"#),
        ("91 a6 07 08 0a 1f 7f 5c", "[\"\\u0007\\u0008\\n\\u001f\u{7f}\\\\\"]"),
        ("93 c400 c4020102 c5000100", r#"["\u0000","\u0000AQI=","\u0000AA=="]"#),
        (
            "91 85 01 02 e0 03 c3 04 c0 05 cb3ff8000000000000 06",
            r#"[{"1":2,"-32":3,"true":4,"null":5,"1.5":6}]"#,
        ),
        ("91 81 a200 61 01", r#"[{"\u0000a":1}]"#),
        ("dd00000001 df00000000", "[{}]"),
    ] {
        assert_eq!(as_text(&msgpack(bytes)).as_deref(), Ok(text), "{bytes}");
    }
}

#[test]
fn cbor_into_json() {
    for (bytes, text) in [
        ("84 f6 f5 f4 f7", "[null,true,false,null]"),
        ("85 1801 190001 1a00000001 1b0000000000000001 01", "[1,1,1,1,1]"),
        (
            "82 1bffffffffffffffff 3bffffffffffffffff",
            "[18446744073709551615,-18446744073709551616]",
        ),
        (
            "85 f93e00 f90001 f9fbff f98000 f9c400",
            "[1.5,5.960464477539063e-8,-65504.0,-0.0,-4.0]",
        ),
        (
            "83 fa3fc00000 fb3fb999999999999a fa00000001",
            "[1.5,0.1,1.401298464324817e-45]",
        ),
        ("82 c2 420100 c3 4100", "[256,-1]"),
        (
            "82 c2 49 00ffffffffffffffff c3 48 ffffffffffffffff",
            "[18446744073709551615,-18446744073709551616]",
        ),
        ("82 c2 5f 4101 4100 ff c2 40", "[256,0]"),
        ("82 c0 6161 d82043010203", r#"["a","\u0000AQID"]"#),
        (
            "9f 7f 6161 60 6162 ff 5f 4101 4102 ff 9f ff bf ff ff",
            r#"["ab","\u0000AQI=",[],{}]"#,
        ),
        (
            "81 bf 6161 9f 01 bf 01 02 ff ff 7f 62c3a9 ff 02 ff",
            r#"[{"a":[1,{"1":2}],"é":2}]"#,
        ),
        (
            "81 a5 01 02 20 03 f5 04 f6 05 f93e00 06",
            r#"[{"1":2,"-1":3,"true":4,"null":5,"1.5":6}]"#,
        ),
        ("81 a1 c2 4102 01", r#"[{"2":1}]"#),
    ] {
        assert_eq!(as_text(&cbor(bytes)).as_deref(), Ok(text), "{bytes}");
    }
}

#[test]
fn msgpack_and_cbor_keep_keys_floats_and_nan() {
    for (in_msgpack, in_cbor) in [
        ("91 84 01 02 c3 03 c40161 04 91 05 06", "81 a4 01 02 f5 03 4161 04 81 05 06"),
        ("91 cb7ff8000000000000", "81 fb7ff8000000000000"),
        (
            "92 cb7ff0000000000000 cbfff0000000000000",
            "82 fb7ff0000000000000 fbfff0000000000000",
        ),
        ("91 cb8000000000000000", "81 fb8000000000000000"),
        ("91 a200 61", "81 6200 61"),
        ("91 81 81 01 02 03", "81 a1 a1 01 02 03"),
    ] {
        assert_eq!(as_hex(&msgpack(in_msgpack), Cbor), Ok(in_cbor.replace(' ', "")));
        assert_eq!(as_hex(&cbor(in_cbor), MsgPack), Ok(in_msgpack.replace(' ', "")));
    }
    assert_eq!(
        as_hex(&cbor("83 f97e00 f97c00 f9fc00"), MsgPack),
        as_hex(&msgpack("93 ca7fc00000 ca7f800000 caff800000"), Cbor)
            .map(|_| { "93cb7ff8000000000000cb7ff0000000000000cbfff0000000000000".to_owned() })
    );
}

#[test]
fn what_has_no_counterpart_is_refused() {
    use ValueError::*;
    for (payload, to, error) in [
        (msgpack("91 cb7ff8000000000000"), Json, NotFinite),
        (msgpack("91 ca7f800000"), Json, NotFinite),
        (cbor("81 f9fc00"), Json, NotFinite),
        (msgpack("91 d40501"), Json, Extension { kind: 5 }),
        (msgpack("91 d6ff00000000"), Cbor, Extension { kind: -1 }),
        (msgpack("91 c70080"), Cbor, Extension { kind: -128 }),
        (msgpack("91 a200 61"), Json, NulText),
        (cbor("81 6100"), Json, NulText),
        (cbor("81 3b8000000000000000"), MsgPack, IntegerTooWide),
        (cbor("81 c2 49 010000000000000000"), Json, IntegerTooWide),
        (cbor("81 c3 49 010000000000000000"), MsgPack, IntegerTooWide),
        (cbor("81 c2 01"), Json, Bignum),
        (cbor("81 c2 6161"), MsgPack, Bignum),
        (cbor("81 e0"), Json, Simple { value: 0 }),
        (cbor("81 f8ff"), MsgPack, Simple { value: 255 }),
        (msgpack("91 81 90 01"), Json, Key { found: "a list or dict" }),
        (msgpack("91 81 c40161 01"), Json, Key { found: "binary" }),
        (cbor("81 a1 f97e00 01"), Json, NotFinite),
        (json(r#"["\u0000!"]"#), Cbor, BadBase64),
        (json(r#"["\u0000AQI"]"#), MsgPack, BadBase64),
        (json(r#"["\u0000AQJ="]"#), MsgPack, BadBase64),
        (json("[1e400]"), Cbor, NumberTooLarge),
        (json("[-1e400]"), MsgPack, NumberTooLarge),
    ] {
        assert_eq!(payload.transcode(to), Err(error.into()), "{payload:?}");
        assert_eq!(
            payload.transcode(payload.serializer()).as_ref(),
            Ok(&payload),
            "its own serializer keeps it"
        );
    }
    let digits = format!("[{}]", "9".repeat(400));
    assert_eq!(json(&digits).transcode(Cbor), Err(NumberTooLarge.into()));
}

#[test]
fn json_integers_beyond_64_bits_become_the_nearest_double() {
    for (text, double) in [
        ("[36893488147419103232]", 2f64.powi(65)),
        ("[-18446744073709551617]", -2f64.powi(64)),
        ("[123456789012345678901234567890]", 123456789012345678901234567890.0),
    ] {
        assert_eq!(json(text).to_values().map(|v| v.0), Ok(vec![Value::Float(double)]));
    }
    assert_eq!(
        json("[-18446744073709551616]").to_values().map(|v| v.0),
        Ok(vec![Value::Integer(-(1 << 64))])
    );
}

#[test]
fn value_trees_follow_the_json_mapping_of_keys_and_the_last_equal_key_counts() {
    let dict = |payload: Payload| match payload.to_values().expect("values").0.pop() {
        Some(Value::Dict(dict)) => dict,
        other => panic!("{other:?}"),
    };
    assert_eq!(dict(cbor("81 a2 01 02 6131 03")), Dict::new().with("1", 3u64));
    assert_eq!(
        dict(json(r#"[{"a":1,"b":2,"a":3}]"#)),
        Dict(vec![("b".into(), 2u64.into()), ("a".into(), 3u64.into())])
    );
    let many: Vec<String> = (0..1000).map(|i| format!("\"k{}\":{i}", i % 100)).collect();
    let many = dict(json(&format!("[{{{}}}]", many.join(","))));
    assert_eq!(
        many.0,
        (0..100u64).map(|i| (format!("k{i}"), (900 + i).into())).collect::<Vec<_>>()
    );
}

#[test]
fn values_that_the_asked_serializer_cannot_carry_come_in_cbor() {
    for (serializer, value) in [
        (Json, Value::Float(f64::INFINITY)),
        (Json, "\0".into()),
        (MsgPack, Value::Integer(-(1 << 64))),
    ] {
        let payload = Payload::from_values(serializer, std::slice::from_ref(&value), &Dict::new());
        assert_eq!(payload.serializer(), Cbor);
        assert_eq!(payload.to_values(), Ok((vec![value], Dict::new())));
        assert!(payload.transcode(serializer).is_err());
    }
    // Outside the range a value may have, yet no reason to panic.
    let payload = Payload::from_values(MsgPack, &[Value::Integer(i128::MAX), Value::Integer(i128::MIN)], &Dict::new());
    assert_eq!(payload.serializer(), Cbor);
    assert_eq!(payload.transcode(Json), Err(ValueError::IntegerTooWide.into()));
}

#[test]
fn long_payloads_with_unknown_lengths_are_exact() {
    for len in [15, 16, 23, 24, 255, 256, 65_535, 65_536] {
        let text = format!(
            "[{}],{{\"k\":{{{}}}}}",
            vec!["[7]"; len].join(","),
            (0..len).map(|i| format!("\"{i}\":[]")).collect::<Vec<_>>().join(",")
        );
        let payload = json(&text);
        for to in [MsgPack, Cbor] {
            let there = payload.transcode(to).expect("plain values");
            assert_eq!(there.to_values(), payload.to_values());
            assert_eq!(
                there,
                Payload::from_values(
                    to,
                    &payload.to_values().expect("values").0,
                    &payload.to_values().expect("values").1
                )
            );
            assert_eq!(there.transcode(Json).as_ref(), Ok(&payload));
        }
    }
}

#[test]
fn serializers_go_by_these_names() {
    for (serializer, subprotocol, id, binary) in [
        (Json, "wamp.2.json", 1, false),
        (MsgPack, "wamp.2.msgpack", 2, true),
        (Cbor, "wamp.2.cbor", 3, true),
    ] {
        assert_eq!(serializer.subprotocol(), subprotocol);
        assert_eq!(Serializer::from_subprotocol(subprotocol), Some(serializer));
        assert_eq!(serializer.rawsocket_id(), id);
        assert_eq!(Serializer::from_rawsocket_id(id), Some(serializer));
        assert_eq!(Serializer::from_name(serializer.name()), Some(serializer));
        assert_eq!(serializer.is_binary(), binary);
    }
    assert_eq!(Serializer::from_subprotocol("wamp.2.json.batched"), None);
    assert_eq!(
        (Serializer::from_rawsocket_id(0), Serializer::from_rawsocket_id(4)),
        (None, None)
    );
}
