//! Batched WebSocket: several messages in one WebSocket message, both ways.
//!
//! JSON messages each end with one octet, binary ones each follow their length in four octets. The incoming side wraps the decoder of
//! [`super::frame`], so that an unbatched connection knows nothing of it. The outgoing side fills its outbox with batches of one, which
//! are whole frames, and [`join`] makes one frame of what is ready when it is written.
//!
//! Spec: WAMP advanced profile, "Batched WebSocket Transport".
//! Choice: the text ends JSON messages with the octet 30; Autobahn|Python ends them with 24 (it writes the number in octal). JSON holds
//! neither, so both are read, and a peer hears the one that it used first.

use super::frame::{self, Opcode, header};
use crate::transport::framing::{Data, Fault, Incoming};

/// What ends each JSON message of a batch.
pub const SEPARATOR: u8 = 0x1E;

/// What ends each JSON message of a batch of Autobahn|Python.
const SEPARATOR_OF_AUTOBAHN: u8 = 0x18;

/// What the messages of a batch are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// JSON, each ended by an octet.
    Text,
    /// Each behind its length, 32 bits, big-endian.
    Binary,
}

/// The incoming side of a batched WebSocket connection.
#[derive(Debug)]
pub struct Decoder {
    /// Its frames; their limit is that of a whole batch.
    pub frames: frame::Decoder,
    kind: Kind,
    rest: Rest,
    /// What ended the last JSON message.
    separator: u8,
}

/// What is left of a batch.
#[derive(Debug)]
enum Rest {
    /// Nothing: a frame comes next.
    Nothing,
    /// So many bytes, at the front of the input.
    Input(usize),
    /// These bytes, from there on.
    Owned(Vec<u8>, usize),
}

/// Where a message lies in what is left of a batch.
struct Piece {
    start: usize,
    end: usize,
    /// Where the next one begins.
    next: usize,
}

impl Decoder {
    /// A decoder at the beginning of a connection.
    pub fn new(kind: Kind, message_bytes_max: usize) -> Self {
        Self {
            frames: frame::Decoder::new(message_bytes_max),
            kind,
            rest: Rest::Nothing,
            separator: SEPARATOR,
        }
    }

    /// What ends the peer's JSON messages.
    pub fn separator(&self) -> u8 {
        self.separator
    }

    /// See [`crate::transport::framing::Decoder::next`]. A frame of the wrong type comes out as it is.
    ///
    /// # Errors
    /// The peer broke RFC 6455, the size limit, or the form of a batch; an empty batch is an error too.
    pub fn next(&mut self, input: &mut [u8], at: &mut usize) -> Result<Option<Incoming>, Fault> {
        loop {
            let text = Some(self.kind == Kind::Text);
            match &mut self.rest {
                Rest::Nothing => match self.frames.next(input, at)? {
                    Some(Incoming::Message { text: came, data }) if came == text => match data {
                        _ if data.bytes(input).is_empty() => return Err(Fault::Protocol("an empty batch")),
                        Data::Input(range) => {
                            *at = range.start;
                            self.rest = Rest::Input(range.len());
                        }
                        Data::Owned(bytes) => self.rest = Rest::Owned(bytes, 0),
                    },
                    other => return Ok(other),
                },
                Rest::Input(left) => {
                    let bytes = input.get(*at..).and_then(|input| input.get(..*left)).unwrap_or_default();
                    let piece = piece(self.kind, bytes, &mut self.separator)?;
                    let range = *at + piece.start..*at + piece.end;
                    *at += piece.next;
                    *left -= piece.next;
                    if *left == 0 {
                        self.rest = Rest::Nothing;
                    }
                    let data = Data::Input(range);
                    return Ok(Some(Incoming::Message { text, data }));
                }
                Rest::Owned(bytes, from) => {
                    let piece = piece(self.kind, &bytes[*from..], &mut self.separator)?;
                    let range = *from + piece.start..*from + piece.end;
                    *from += piece.next;
                    let data = if *from < bytes.len() {
                        bytes[range].to_vec()
                    } else {
                        // The last one, which in a batch of one is nearly all of it, is not copied.
                        let mut bytes = std::mem::take(bytes);
                        bytes.truncate(range.end);
                        bytes.drain(..range.start);
                        self.rest = Rest::Nothing;
                        bytes
                    };
                    let data = Data::Owned(data);
                    return Ok(Some(Incoming::Message { text, data }));
                }
            }
        }
    }

    /// What is left of a batch that does not lie in the input. The caller puts it in front of the input that is left.
    pub fn unread(&mut self) -> Vec<u8> {
        match std::mem::replace(&mut self.rest, Rest::Nothing) {
            Rest::Owned(mut bytes, from) => {
                bytes.drain(..from);
                self.rest = Rest::Input(bytes.len());
                bytes
            }
            rest => {
                self.rest = rest;
                Vec::new()
            }
        }
    }
}

/// The first message of what is left of a batch.
fn piece(kind: Kind, bytes: &[u8], separator: &mut u8) -> Result<Piece, Fault> {
    let (start, end, next) = match kind {
        Kind::Text => {
            let ends = |byte: &u8| matches!(*byte, SEPARATOR | SEPARATOR_OF_AUTOBAHN);
            let end = bytes
                .iter()
                .position(ends)
                .ok_or(Fault::Protocol("a message of a batch has no end"))?;
            *separator = bytes[end];
            (0, end, end + 1)
        }
        Kind::Binary => {
            let beyond = Fault::Protocol("a message reaches beyond its batch");
            let (len, after) = bytes.split_first_chunk().ok_or(beyond)?;
            let len = usize::try_from(u32::from_be_bytes(*len)).map_err(|_| beyond)?;
            if len > after.len() {
                return Err(beyond);
            }
            (4, 4 + len, 4 + len)
        }
    };
    Ok(Piece { start, end, next })
}

/// All messages of a whole batch.
///
/// # Errors
/// It has none, or does not end with the end of one.
pub fn split(kind: Kind, batch: &[u8]) -> Result<Vec<&[u8]>, Fault> {
    let mut separator = SEPARATOR;
    let mut messages = Vec::new();
    let mut rest = batch;
    while !rest.is_empty() {
        let piece = piece(kind, rest, &mut separator)?;
        messages.push(&rest[piece.start..piece.end]);
        rest = &rest[piece.next..];
    }
    if messages.is_empty() {
        return Err(Fault::Protocol("an empty batch"));
    }
    Ok(messages)
}

/// The longest batch that is made of several messages; a longer message has a batch of its own.
pub const BATCH_BYTES_MAX: usize = 64 * 1024;

/// Makes one frame of data frames that follow each other, up to `payload_bytes_max`. `frames` are this router's own: whole and unmasked.
/// What ends JSON messages becomes `separator`.
pub fn join(mut frames: Vec<u8>, payload_bytes_max: usize, separator: u8) -> Vec<u8> {
    if separator != SEPARATOR {
        let mut at = 0;
        while let Some(own) = Own::read(&frames[at..]) {
            at += own.header + own.payload;
            if own.first == TEXT {
                frames[at - 1] = separator;
            }
        }
    }
    match Own::read(&frames) {
        Some(first) if first.header + first.payload < frames.len() => {}
        _ => return frames,
    }
    let mut out = Vec::with_capacity(frames.len());
    let mut at = 0;
    while let Some(first) = Own::read(&frames[at..]) {
        let mut payload = first.payload;
        let mut end = at + first.header + first.payload;
        if first.is_data() {
            while let Some(next) = Own::read(&frames[end..]) {
                if next.first != first.first || payload + next.payload > payload_bytes_max {
                    break;
                }
                payload += next.payload;
                end += next.header + next.payload;
            }
        }
        let opcode = if first.first == TEXT { Opcode::Text } else { Opcode::Binary };
        if first.is_data() {
            out.extend_from_slice(header(opcode, payload).bytes());
        } else {
            out.extend_from_slice(&frames[at..at + first.header]);
        }
        while at < end {
            let Some(own) = Own::read(&frames[at..]) else { break };
            at += own.header;
            out.extend_from_slice(&frames[at..at + own.payload]);
            at += own.payload;
        }
    }
    out.extend_from_slice(&frames[at..]);
    out
}

/// The first octet of a whole frame of data.
const TEXT: u8 = 0x80 | Opcode::Text as u8;
const BINARY: u8 = 0x80 | Opcode::Binary as u8;

/// The header of a frame of this router.
struct Own {
    first: u8,
    header: usize,
    payload: usize,
}

impl Own {
    fn read(bytes: &[u8]) -> Option<Self> {
        let (first, header, payload) = match *bytes {
            [first, 126, a, b, ..] => (first, 4, usize::from(u16::from_be_bytes([a, b]))),
            [first, 127, a, b, c, d, e, f, g, h, ..] => {
                let len = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
                (first, 10, usize::try_from(len).ok()?)
            }
            [first, len, ..] => (first, 2, usize::from(len)),
            _ => return None,
        };
        let whole = header + payload <= bytes.len();
        whole.then_some(Self { first, header, payload })
    }

    fn is_data(&self) -> bool {
        self.first == TEXT || self.first == BINARY
    }
}

#[cfg(test)]
#[path = "batch_tests.rs"]
mod tests;
