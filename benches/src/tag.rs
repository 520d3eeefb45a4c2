//! The tag at the head of every payload: who sent it, as which message of its sequence, and when.
//!
//! It is plain hexadecimal text, so it survives every serializer unchanged and reads the same behind WAMP, NATS and a bare relay.
//! The receiver needs nothing but the payload to check order and to take the latency.

use std::time::{Duration, Instant};

/// Bytes a tag takes, and so the smallest payload a load can use.
pub const TAG_LEN: usize = 40;

/// What a payload says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag {
    /// The sending session, numbered from 0 within the run.
    pub source: u32,
    /// The position among the messages of that source, from 0 without gaps.
    pub sequence: u64,
    /// When it was (or in fixed-rate mode: should have been) sent, in nanoseconds of the run's [`Clock`].
    pub sent: u64,
}

impl Tag {
    /// Writes the tag over the first [`TAG_LEN`] bytes of `body`.
    ///
    /// # Panics
    /// If `body` is shorter than that; the command line refuses such payload sizes.
    pub fn write(self, body: &mut [u8]) {
        hex(&mut body[..8], self.source.into());
        hex(&mut body[8..24], self.sequence);
        hex(&mut body[24..TAG_LEN], self.sent);
    }

    /// The tag at the head of `body`, if there is one.
    pub fn read(body: &[u8]) -> Option<Self> {
        let source = unhex(body.get(..8)?)?;
        let sequence = unhex(body.get(8..24)?)?;
        let sent = unhex(body.get(24..TAG_LEN)?)?;
        Some(Self {
            source: u32::try_from(source).ok()?,
            sequence,
            sent,
        })
    }
}

/// A payload of `len` bytes whose head is still to be filled by [`Tag::write`].
pub fn blank(len: usize) -> Vec<u8> {
    vec![b'x'; len.max(TAG_LEN)]
}

/// The clock of a run: nanoseconds since it was made. Processes on one machine do not share it.
#[derive(Clone, Copy, Debug)]
pub struct Clock(Instant);

impl Clock {
    /// A clock that begins now.
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Nanoseconds since the start.
    pub fn nanos(&self) -> u64 {
        u64::try_from(self.0.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// The instant that lies `nanos` after the start.
    pub fn instant(&self, nanos: u64) -> Instant {
        self.0 + Duration::from_nanos(nanos)
    }
}

const DIGITS: &[u8; 16] = b"0123456789abcdef";

fn hex(out: &mut [u8], mut value: u64) {
    for byte in out.iter_mut().rev() {
        *byte = DIGITS[(value & 15) as usize];
        value >>= 4;
    }
}

fn unhex(text: &[u8]) -> Option<u64> {
    let mut value = 0;
    for &byte in text {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            _ => return None,
        };
        value = value << 4 | u64::from(digit);
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_survives_the_trip_through_a_payload() {
        let tag = Tag {
            source: 0xfedc_ba98,
            sequence: u64::MAX - 1,
            sent: 12_345_678_901,
        };
        let mut body = blank(64);
        tag.write(&mut body);
        assert_eq!(Tag::read(&body), Some(tag));
        assert_eq!(body.len(), 64);
        assert!(body[TAG_LEN..].iter().all(|b| *b == b'x'));
    }

    #[test]
    fn a_damaged_or_short_payload_has_no_tag() {
        let mut body = blank(TAG_LEN);
        Tag {
            source: 1,
            sequence: 2,
            sent: 3,
        }
        .write(&mut body);
        assert_eq!(Tag::read(&body[..TAG_LEN - 1]), None);
        body[17] = b'X';
        assert_eq!(Tag::read(&body), None);
    }
}
