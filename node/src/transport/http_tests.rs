use super::*;

const MAX: usize = 4096;

#[test]
fn a_head_is_read_when_it_is_complete_and_not_before() {
    let text = b"GET /a/b?c=d HTTP/1.1\r\nHost: x\r\nConnection: keep-alive\r\nconnection: Upgrade\r\n\r\nbody";
    for len in 0..text.len() - 4 {
        assert!(matches!(Head::parse(&text[..len], MAX), Ok(None)), "at {len}");
    }
    let head = Head::parse(text, MAX).unwrap().unwrap();
    assert_eq!(
        (head.method.as_str(), head.path(), head.bytes),
        ("GET", "/a/b", text.len() - 4)
    );
    assert!(head.has_token(header::CONNECTION, "upgrade"));
    assert_eq!(head.field(header::HOST), Some("x"));
}

#[test]
fn heads_that_are_none_or_too_long_are_refused() {
    assert_eq!(Head::parse(b"\x16\x03\x01\x02\x00\x01", MAX).err(), Some(BadHead::Malformed));
    let long = format!("GET / HTTP/1.1\r\nX: {}", "a".repeat(MAX));
    assert_eq!(Head::parse(long.as_bytes(), MAX).err(), Some(BadHead::TooLong));
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "X: a\r\n".repeat(100));
    assert_eq!(Head::parse(many.as_bytes(), MAX).err(), Some(BadHead::TooLong));
}
