use super::{number, string};

#[test]
fn every_special_byte_is_found_at_every_place_and_no_other() {
    for filler in [b'x', 0x7f, 0x80, 0xff, b' ', b'!', b'#', b'[', b']'] {
        for byte in 0..=255u8 {
            for at in 0..75 {
                let mut bytes = [filler; 75];
                bytes[at] = byte;
                let special = matches!(byte, b'"' | b'\\') || byte < 0x20;
                assert_eq!(
                    string::next_special(&bytes, 0),
                    if special { at } else { bytes.len() },
                    "{byte:#x} at {at}"
                );
                assert_eq!(string::next_special(&bytes, at + 1), bytes.len());
            }
        }
    }
}

#[test]
fn small_integers_are_taken_only_where_they_are_plain() {
    for (text, expected) in [
        ("0,", Some((0, 1))),
        ("42]", Some((42, 2))),
        ("999999999999999999 ", Some((999_999_999_999_999_999, 18))),
        ("9999999999999999999,", None),
        ("007,", None),
        ("1.0,", None),
        ("1e2]", None),
        ("-1]", None),
        ("12", None),
        (",", None),
    ] {
        assert_eq!(number::small(text.as_bytes(), 0), expected, "{text}");
    }
}

#[test]
fn integers_are_written_in_full() {
    for value in [
        0,
        7,
        10,
        -1,
        i128::from(u64::MAX),
        -i128::from(u64::MAX),
        -(1 << 64),
        i128::from(i64::MIN),
    ] {
        let mut out = Vec::new();
        number::write_integer(&mut out, value);
        assert_eq!(String::from_utf8(out).expect("digits"), value.to_string());
    }
}
