//! RawSocket frames: a resumable decoder, and the four octets before what is sent.
//!
//! Spec: WAMP advanced profile, "RawSocket Transport". A prefix is: four reserved bits, the 25th bit of the length, three bits of
//! type, 24 bits of length, big-endian.

use crate::transport::framing::{Data, Fault, Header, Incoming, reserve_announced};

/// The frame types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A WAMP message.
    Message = 0,
    /// To be answered by a [`Kind::Pong`] with the same payload.
    Ping = 1,
    /// The answer to a ping.
    Pong = 2,
}

/// The longest payload a frame can carry: 2^24, which needs the 25th bit.
pub const PAYLOAD_BYTES_MAX: usize = 1 << 24;

/// The prefix of a frame. `len` is at most [`PAYLOAD_BYTES_MAX`]: the outbox refuses longer messages before.
pub fn header(kind: Kind, len: usize) -> Header {
    debug_assert!(len <= PAYLOAD_BYTES_MAX);
    let extra = if len == PAYLOAD_BYTES_MAX { 0x08 } else { 0 };
    let [_, a, b, c] = (len as u32 & 0x00FF_FFFF).to_be_bytes();
    Header::new([extra | kind as u8, a, b, c, 0, 0, 0, 0, 0, 0], 4)
}

/// The incoming side of one RawSocket connection.
#[derive(Debug, Default)]
pub struct Decoder {
    /// The longest payload that is accepted.
    pub message_bytes_max: usize,
    head: [u8; 4],
    head_len: usize,
    frame: Option<Frame>,
    gathered: Vec<u8>,
}

/// A frame whose prefix is complete.
#[derive(Clone, Copy, Debug)]
struct Frame {
    kind: Kind,
    taken: usize,
    left: usize,
}

impl Decoder {
    /// A decoder behind the handshake.
    pub fn new(message_bytes_max: usize) -> Self {
        Self {
            message_bytes_max,
            ..Self::default()
        }
    }

    /// See [`crate::transport::framing::Decoder::next`].
    ///
    /// # Errors
    /// The peer used reserved bits or types, or exceeded the announced limit.
    pub fn next(&mut self, input: &mut [u8], at: &mut usize) -> Result<Option<Incoming>, Fault> {
        let mut frame = match self.frame {
            Some(frame) => frame,
            None => match self.header(input, at)? {
                Some(frame) => frame,
                None => return Ok(None),
            },
        };
        let take = frame.left.min(input.len() - *at);
        let range = *at..*at + take;
        *at += take;
        frame.taken += take;
        frame.left -= take;
        let data = if frame.left == 0 && frame.taken == take {
            Data::Input(range)
        } else {
            let mut piece = &input[range];
            while !piece.is_empty() {
                reserve_announced(&mut self.gathered, piece.len() + frame.left);
                let (now, later) = piece.split_at(piece.len().min(self.gathered.capacity() - self.gathered.len()));
                self.gathered.extend_from_slice(now);
                piece = later;
            }
            if frame.left > 0 {
                self.frame = Some(frame);
                return Ok(None);
            }
            Data::Owned(std::mem::take(&mut self.gathered))
        };
        self.frame = None;
        Ok(Some(match frame.kind {
            Kind::Message => Incoming::Message { text: None, data },
            Kind::Ping => Incoming::Ping(data),
            Kind::Pong => Incoming::Pong,
        }))
    }

    fn header(&mut self, input: &[u8], at: &mut usize) -> Result<Option<Frame>, Fault> {
        while self.head_len < 4 {
            let Some(&byte) = input.get(*at) else { return Ok(None) };
            self.head[self.head_len] = byte;
            self.head_len += 1;
            *at += 1;
            if self.head_len == 1 && byte & 0xF0 != 0 {
                return Err(Fault::Protocol("reserved bits set"));
            }
        }
        self.head_len = 0;
        let [first, a, b, c] = self.head;
        let kind = match first & 0x07 {
            0 => Kind::Message,
            1 => Kind::Ping,
            2 => Kind::Pong,
            _ => return Err(Fault::Protocol("reserved frame type")),
        };
        let mut left = u32::from_be_bytes([0, a, b, c]) as usize;
        if first & 0x08 != 0 {
            if left != 0 {
                return Err(Fault::Protocol("length above 2^24"));
            }
            left = PAYLOAD_BYTES_MAX;
        }
        if left > self.message_bytes_max {
            return Err(Fault::TooBig);
        }
        let frame = Frame { kind, taken: 0, left };
        self.frame = Some(frame);
        Ok(Some(frame))
    }
}

#[cfg(test)]
#[path = "frame_tests.rs"]
mod tests;
