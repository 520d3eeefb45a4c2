//! JSON strings: where they end, what their escapes say, and how text is escaped.

use std::borrow::Cow;

use super::super::DecodeError;

/// A proven string: the offsets of its content, quotes excluded.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    start: usize,
    /// The offset of the closing quote.
    pub(super) end: usize,
    escaped: bool,
}

impl Span {
    /// True if the string stands for binary: its first character is U+0000.
    pub(super) fn is_binary(self, frame: &[u8]) -> bool {
        self.escaped && begins_with_nul(frame, self.start - 1)
    }

    /// The text it stands for.
    pub(super) fn text(self, frame: &str) -> Cow<'_, str> {
        let raw = &frame[self.start..self.end];
        if self.escaped {
            Cow::Owned(unescape(raw))
        } else {
            Cow::Borrowed(raw)
        }
    }
}

/// True if the string whose opening quote stands at `quote` begins with U+0000, which only an escape can write.
pub(super) fn begins_with_nul(frame: &[u8], quote: usize) -> bool {
    frame[quote..].starts_with(br#""\u0000"#)
}

/// Proves the string whose opening quote stands at `quote`.
#[inline]
pub(super) fn scan(frame: &[u8], quote: usize) -> Result<Span, DecodeError> {
    let start = quote + 1;
    let mut at = start;
    let mut escaped = false;
    loop {
        at = next_special(frame, at);
        match frame.get(at) {
            Some(b'"') => return Ok(Span { start, end: at, escaped }),
            Some(b'\\') => {
                escaped = true;
                at = scan_escape(frame, at)?;
            }
            Some(_) => {
                return Err(DecodeError::Syntax {
                    what: "control character in a json string",
                    at,
                });
            }
            None => return Err(DecodeError::Truncated { at }),
        }
    }
}

/// The first quote, backslash or control character at or after `at`, or the end.
#[inline]
pub(super) fn next_special(bytes: &[u8], mut at: usize) -> usize {
    // Long plain stretches in blocks that the compiler turns into vector instructions.
    while let Some(block) = bytes.get(at..).and_then(|rest| rest.first_chunk::<32>()) {
        if block
            .iter()
            .fold(false, |any, &byte| any | (byte == b'"') | (byte == b'\\') | (byte < 0x20))
        {
            break;
        }
        at += 32;
    }
    while let Some(chunk) = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let found = specials(u64::from_le_bytes(*chunk));
        if found != 0 {
            return at + (found.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    while let Some(&byte) = bytes.get(at) {
        if matches!(byte, b'"' | b'\\' | 0..0x20) {
            break;
        }
        at += 1;
    }
    at
}

/// Sets the top bit of every special byte of `word`. A borrow may set bits above the lowest one set, which alone is looked at.
#[inline]
fn specials(word: u64) -> u64 {
    const ONES: u64 = u64::MAX / 255;
    const TOPS: u64 = ONES * 0x80;
    let quote = word ^ (ONES * b'"' as u64);
    let backslash = word ^ (ONES * b'\\' as u64);
    let zero = |v: u64| v.wrapping_sub(ONES) & !v;
    (zero(quote) | zero(backslash) | (word.wrapping_sub(ONES * 0x20) & !word)) & TOPS
}

/// Proves the escape at `at` and returns the offset behind it.
fn scan_escape(frame: &[u8], at: usize) -> Result<usize, DecodeError> {
    match frame.get(at + 1) {
        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(at + 2),
        Some(b'u') => match hex4(frame, at + 2)? {
            0xd800..0xdc00 => match (frame.get(at + 6), frame.get(at + 7)) {
                (Some(b'\\'), Some(b'u')) if matches!(hex4(frame, at + 8)?, 0xdc00..0xe000) => Ok(at + 12),
                (None, _) | (Some(b'\\'), None) => Err(DecodeError::Truncated { at: frame.len() }),
                _ => Err(DecodeError::Unicode { at }),
            },
            0xdc00..0xe000 => Err(DecodeError::Unicode { at }),
            _ => Ok(at + 6),
        },
        Some(_) => Err(DecodeError::Syntax {
            what: "unknown escape in a json string",
            at,
        }),
        None => Err(DecodeError::Truncated { at: at + 1 }),
    }
}

/// The four hexadecimal digits at `at`.
fn hex4(frame: &[u8], at: usize) -> Result<u32, DecodeError> {
    let mut value = 0;
    for at in at..at + 4 {
        let byte = *frame.get(at).ok_or(DecodeError::Truncated { at })?;
        let digit = (byte as char).to_digit(16).ok_or(DecodeError::Syntax {
            what: "expected a hexadecimal digit",
            at,
        })?;
        value = value << 4 | digit;
    }
    Ok(value)
}

/// Resolves the escapes of proven content.
fn unescape(raw: &str) -> String {
    let bytes = raw.as_bytes();
    let mut text = String::with_capacity(raw.len());
    let mut at = 0;
    while let Some(skip) = bytes[at..].iter().position(|&b| b == b'\\') {
        text.push_str(&raw[at..at + skip]);
        at += skip;
        let (c, width) = match bytes.get(at + 1) {
            Some(b'b') => ('\u{8}', 2),
            Some(b'f') => ('\u{c}', 2),
            Some(b'n') => ('\n', 2),
            Some(b'r') => ('\r', 2),
            Some(b't') => ('\t', 2),
            Some(b'u') => unicode_escape(bytes, at),
            Some(&other) => (other as char, 2),
            None => (char::REPLACEMENT_CHARACTER, 1),
        };
        text.push(c);
        at += width;
    }
    text.push_str(&raw[at..]);
    text
}

/// The character of the proven escape `\u…` at `at`, or of the pair of them, and its width.
fn unicode_escape(bytes: &[u8], at: usize) -> (char, usize) {
    let unit = |at| hex4(bytes, at).unwrap_or(0xfffd);
    match unit(at + 2) {
        high @ 0xd800..0xdc00 => {
            let low = unit(at + 8) & 0x3ff;
            (
                char::from_u32(0x10000 + ((high & 0x3ff) << 10) + low).unwrap_or(char::REPLACEMENT_CHARACTER),
                12,
            )
        }
        unit => (char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER), 6),
    }
}

/// Appends `text` as a JSON string, quotes included.
pub(super) fn write(out: &mut Vec<u8>, text: &str) {
    let bytes = text.as_bytes();
    out.push(b'"');
    let mut from = 0;
    loop {
        let at = next_special(bytes, from);
        out.extend_from_slice(&bytes[from..at]);
        let Some(&byte) = bytes.get(at) else { break };
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            _ => {
                let hex = |nibble: u8| b"0123456789abcdef"[usize::from(nibble & 15)];
                out.extend_from_slice(&[b'\\', b'u', b'0', b'0', hex(byte >> 4), hex(byte)]);
            }
        }
        from = at + 1;
    }
    out.push(b'"');
}
