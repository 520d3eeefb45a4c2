//! Details dictionaries as bytes: a tag per value, lengths as varints. Small, total, and free of WAMP's serializer rules.

use crate::wamp::{Dict, Value};

/// Appends the encoding of `dict`; nothing at all for an empty one.
///
/// Choice: what is nested deeper than [`DEPTH_MAX`] is replaced by null. No client's options come near it (the codec bounds them),
/// and a link must not end because of one call.
pub(super) fn encode(dict: &Dict, out: &mut Vec<u8>) {
    if !dict.is_empty() {
        put_dict(dict, out, 1);
    }
}

/// Reads what [`encode`] wrote; `None` if the bytes are anything else.
pub(super) fn decode(bytes: &[u8]) -> Option<Dict> {
    if bytes.is_empty() {
        return Some(Dict::new());
    }
    let mut rest = bytes;
    let dict = take_dict(&mut rest, 1)?;
    rest.is_empty().then_some(dict)
}

const NULL: u8 = 0;
const FALSE: u8 = 1;
const TRUE: u8 = 2;
/// Followed by a varint: the integer itself.
const POSITIVE: u8 = 3;
/// Followed by a varint: -1 minus the integer.
const NEGATIVE: u8 = 4;
const FLOAT: u8 = 5;
const TEXT: u8 = 6;
const BINARY: u8 = 7;
const LIST: u8 = 8;
const DICT: u8 = 9;

/// How deep a value may be nested; bounds the stack of the reader.
const DEPTH_MAX: usize = 200;

fn put_dict(dict: &Dict, out: &mut Vec<u8>, depth: usize) {
    put_varint(dict.0.len() as u128, out);
    for (key, value) in &dict.0 {
        put_bytes(key.as_bytes(), out);
        put_value(value, out, depth);
    }
}

fn put_value(value: &Value, out: &mut Vec<u8>, depth: usize) {
    match value {
        Value::List(_) | Value::Dict(_) if depth >= DEPTH_MAX => out.push(NULL),
        Value::Null => out.push(NULL),
        Value::Bool(false) => out.push(FALSE),
        Value::Bool(true) => out.push(TRUE),
        Value::Integer(integer) => {
            // `!i` is -1 - i, which cannot overflow.
            let (tag, magnitude) = if *integer < 0 {
                (NEGATIVE, !*integer)
            } else {
                (POSITIVE, *integer)
            };
            out.push(tag);
            put_varint(magnitude.unsigned_abs(), out);
        }
        Value::Float(float) => {
            out.push(FLOAT);
            out.extend_from_slice(&float.to_le_bytes());
        }
        Value::Text(text) => {
            out.push(TEXT);
            put_bytes(text.as_bytes(), out);
        }
        Value::Binary(bytes) => {
            out.push(BINARY);
            put_bytes(bytes, out);
        }
        Value::List(list) => {
            out.push(LIST);
            put_varint(list.len() as u128, out);
            list.iter().for_each(|value| put_value(value, out, depth + 1));
        }
        Value::Dict(dict) => {
            out.push(DICT);
            put_dict(dict, out, depth + 1);
        }
    }
}

fn put_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    put_varint(bytes.len() as u128, out);
    out.extend_from_slice(bytes);
}

fn put_varint(mut number: u128, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn take_dict(rest: &mut &[u8], depth: usize) -> Option<Dict> {
    let count = take_length(rest)?;
    // Each entry takes at least two bytes: a short message cannot ask for much memory.
    let mut entries = Vec::with_capacity(count.min(rest.len() / 2));
    for _ in 0..count {
        let key = take_text(rest)?;
        entries.push((key, take_value(rest, depth)?));
    }
    Some(Dict(entries))
}

fn take_value(rest: &mut &[u8], depth: usize) -> Option<Value> {
    let (&tag, after) = rest.split_first()?;
    *rest = after;
    Some(match tag {
        NULL => Value::Null,
        FALSE => Value::Bool(false),
        TRUE => Value::Bool(true),
        POSITIVE => Value::Integer(i128::try_from(take_varint(rest)?).ok()?),
        NEGATIVE => Value::Integer(!i128::try_from(take_varint(rest)?).ok()?),
        FLOAT => {
            let (bytes, after) = rest.split_first_chunk::<8>()?;
            *rest = after;
            Value::Float(f64::from_le_bytes(*bytes))
        }
        TEXT => Value::Text(take_text(rest)?),
        BINARY => Value::Binary(take_bytes(rest)?.to_vec()),
        LIST | DICT if depth >= DEPTH_MAX => return None,
        LIST => {
            let count = take_length(rest)?;
            let mut list = Vec::with_capacity(count.min(rest.len()));
            for _ in 0..count {
                list.push(take_value(rest, depth + 1)?);
            }
            Value::List(list)
        }
        DICT => Value::Dict(take_dict(rest, depth + 1)?),
        _ => return None,
    })
}

fn take_text(rest: &mut &[u8]) -> Option<String> {
    String::from_utf8(take_bytes(rest)?.to_vec()).ok()
}

fn take_bytes<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = take_length(rest)?;
    let (bytes, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(bytes)
}

fn take_length(rest: &mut &[u8]) -> Option<usize> {
    usize::try_from(take_varint(rest)?).ok()
}

fn take_varint(rest: &mut &[u8]) -> Option<u128> {
    let mut number = 0u128;
    for shift in (0..126).step_by(7) {
        let (&byte, after) = rest.split_first()?;
        *rest = after;
        number |= u128::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bool),
            (-(1i128 << 64)..(1i128 << 64)).prop_map(Value::Integer),
            any::<f64>()
                .prop_filter("NaN is not equal to itself", |f| !f.is_nan())
                .prop_map(Value::Float),
            ".{0,12}".prop_map(Value::Text),
            proptest::collection::vec(any::<u8>(), 0..12).prop_map(Value::Binary),
        ];
        leaf.prop_recursive(6, 40, 6, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::List),
                proptest::collection::vec((".{0,6}", inner), 0..6).prop_map(|entries| Value::Dict(Dict(entries))),
            ]
        })
    }

    proptest! {
        #[test]
        fn every_dict_comes_back_as_it_was(entries in proptest::collection::vec((".{0,6}", value()), 0..6)) {
            let dict = Dict(entries);
            let mut bytes = Vec::new();
            encode(&dict, &mut bytes);
            prop_assert_eq!(decode(&bytes), Some(dict));
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = decode(&bytes);
        }
    }

    #[test]
    fn deep_nesting_is_cut_by_the_writer_and_refused_by_the_reader() {
        let mut value = Value::Bool(true);
        for _ in 0..5_000 {
            value = Value::List(vec![value]);
        }
        let mut bytes = Vec::new();
        encode(&Dict(vec![("deep".into(), value)]), &mut bytes);
        assert!(decode(&bytes).is_some_and(|dict| dict.get("deep").is_some()));
        let mut bomb = vec![1, 1, b'x'];
        bomb.extend([LIST, 1].repeat(100_000));
        assert_eq!(decode(&bomb), None);
    }

    #[test]
    fn a_length_beyond_the_bytes_reserves_nothing_and_is_refused() {
        assert_eq!(decode(&[0xff, 0xff, 0xff, 0xff, 0x7f]), None);
        assert_eq!(decode(&[1, 1, b'k', TEXT, 0xff, 0xff, 0xff, 0x7f]), None);
    }
}
