//! JSON numbers: their grammar, and what they are as integers and doubles.

use std::io::Write as _;

use super::super::{
    DecodeError, ValueError,
    stream::{Event, Step, integral},
};

/// A proven number.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    start: usize,
    /// The offset behind it.
    pub(super) end: usize,
    /// Neither a fraction nor an exponent: an integer by its text.
    integer: bool,
}

/// Reads the plain digits that begin at `start`, if they are an unsigned integer that surely fits, and the offset behind them.
#[inline]
pub(super) fn small(frame: &[u8], start: usize) -> Option<(u64, usize)> {
    const DIGITS_MAX: usize = 18;
    let mut value = 0;
    let mut at = start;
    while let Some(byte @ b'0'..=b'9') = frame.get(at) {
        value = value * 10 + u64::from(byte & 15);
        at += 1;
        if at - start > DIGITS_MAX {
            return None;
        }
    }
    let plain = matches!(frame.get(at), Some(b',' | b']' | b'}' | b' '));
    let zeros = at == start || (frame[start] == b'0' && at > start + 1);
    (plain && !zeros).then_some((value, at))
}

/// Proves the number that begins at `start`.
#[inline]
pub(super) fn scan(frame: &[u8], start: usize) -> Result<Span, DecodeError> {
    let mut at = start;
    let byte = |at: usize| frame.get(at).copied().unwrap_or(0);
    let digits = |at: usize| {
        let len = frame
            .get(at..)
            .unwrap_or_default()
            .iter()
            .take_while(|b| b.is_ascii_digit())
            .count();
        match (len, frame.get(at)) {
            (0, None) => Err(DecodeError::Truncated { at }),
            (0, Some(_)) => Err(DecodeError::Syntax {
                what: "expected a digit",
                at,
            }),
            _ => Ok(at + len),
        }
    };
    if byte(at) == b'-' {
        at += 1;
    }
    at = if byte(at) == b'0' { at + 1 } else { digits(at)? };
    let mut integer = true;
    if byte(at) == b'.' {
        integer = false;
        at = digits(at + 1)?;
    }
    if matches!(byte(at), b'e' | b'E') {
        integer = false;
        at += 1;
        if matches!(byte(at), b'+' | b'-') {
            at += 1;
        }
        at = digits(at)?;
    }
    Ok(Span { start, end: at, integer })
}

impl Span {
    /// The value, if it is an integer in 0..=2^64-1 or a float without a fraction up to 2^53.
    #[inline]
    pub(super) fn unsigned(self, frame: &str) -> Option<u64> {
        let digits = &frame[self.start..self.end];
        if !self.integer {
            return integral(digits.parse().ok()?);
        }
        digits.parse().ok()
    }

    /// The value.
    pub(super) fn event(self, frame: &str) -> Result<Event<'static>, ValueError> {
        const RANGE: std::ops::RangeInclusive<i128> = -(1 << 64)..=(1 << 64) - 1;
        let digits = &frame[self.start..self.end];
        let integer = if self.integer { digits.parse::<i128>().ok() } else { None };
        if let Some(value) = integer.filter(|value| RANGE.contains(value)) {
            return Ok(Event::Integer(value));
        }
        match digits.parse::<f64>() {
            Ok(value) if value.is_finite() => Ok(Event::Float(value)),
            _ => Err(ValueError::NumberTooLarge),
        }
    }
}

/// Appends the decimal digits of `value`.
pub(super) fn write_integer(out: &mut Vec<u8>, value: i128) {
    let Ok(mut rest) = u64::try_from(value.unsigned_abs()) else {
        // Only -2^64 comes here. A write to a vector cannot fail.
        let _ = write!(out, "{value}");
        return;
    };
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if value < 0 {
        out.push(b'-');
    }
    out.extend_from_slice(&digits[at..]);
}

/// Appends the shortest text that reads back as the same finite double, with a point or an exponent so that it stays one.
pub(super) fn write_float(out: &mut Vec<u8>, value: f64) -> Step {
    if !value.is_finite() {
        return Err(ValueError::NotFinite);
    }
    // A write to a vector cannot fail.
    let _ = write!(out, "{value:?}");
    Ok(())
}
