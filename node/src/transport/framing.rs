//! What the two message transports share: the shape of what comes in, and the framing of what goes out.

use std::ops::Range;

use super::{rawsocket, websocket};

/// How a session's outgoing messages are framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// One unmasked WebSocket text frame per message.
    WebSocketText,
    /// One unmasked WebSocket binary frame per message.
    WebSocketBinary,
    /// One RawSocket frame per message, prefixed by four octets.
    RawSocket,
}

impl Framing {
    /// The frame header of a message of `len` bytes.
    pub fn header(self, len: usize) -> Header {
        match self {
            Framing::WebSocketText => websocket::frame::header(websocket::frame::Opcode::Text, len),
            Framing::WebSocketBinary => websocket::frame::header(websocket::frame::Opcode::Binary, len),
            Framing::RawSocket => rawsocket::frame::header(rawsocket::frame::Kind::Message, len),
        }
    }

    /// How long the header of a message of `len` bytes is.
    fn header_len(self, len: usize) -> usize {
        match (self, len) {
            (Framing::RawSocket, _) => 4,
            (_, 0..=125) => 2,
            (_, 126..=0xFFFF) => 4,
            _ => 10,
        }
    }

    /// Appends one framed message whose bytes `write` appends, about `estimate` of them. When `write` fails, `out` is as it was.
    pub fn append_with<E>(
        self,
        out: &mut Vec<u8>,
        estimate: usize,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<(), E> {
        // The header's length depends on the message's. Room for the likely one is left; where the guess was wrong, the message
        // is moved.
        let room = self.header_len(estimate);
        let start = out.len();
        out.reserve(room + estimate);
        out.extend_from_slice(&[0; 10][..room]);
        if let Err(error) = write(out) {
            out.truncate(start);
            return Err(error);
        }
        let len = out.len() - start - room;
        let header = self.header(len);
        let header = header.bytes();
        if header.len() < room {
            out.copy_within(start + room.., start + header.len());
            out.truncate(start + header.len() + len);
        } else if header.len() > room {
            let end = out.len();
            out.extend_from_slice(&[0; 10][..header.len() - room]);
            out.copy_within(start + room..end, start + header.len());
        }
        out[start..start + header.len()].copy_from_slice(header);
        Ok(())
    }
}

/// The header of an outgoing frame, 2 to 10 bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Header {
    bytes: [u8; 10],
    len: u8,
}

impl Header {
    /// The first `len` of `bytes`.
    #[inline]
    pub(super) fn new(bytes: [u8; 10], len: u8) -> Self {
        Self { bytes, len }
    }

    /// The header's bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

/// Where the bytes of something that came in are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data {
    /// In the input that was handed to the decoder.
    Input(Range<usize>),
    /// Gathered from several reads or frames.
    Owned(Vec<u8>),
}

impl Data {
    /// The bytes; `input` is what was handed to the decoder.
    pub fn bytes<'a>(&'a self, input: &'a [u8]) -> &'a [u8] {
        match self {
            Data::Input(range) => &input[range.clone()],
            Data::Owned(bytes) => bytes,
        }
    }
}

/// One thing a peer said on its transport.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incoming {
    /// A whole message. `text` is the WebSocket frame type; RawSocket has none.
    Message { text: Option<bool>, data: Data },
    /// A ping, to be answered by a pong with the same bytes.
    Ping(Data),
    /// A pong.
    Pong,
    /// The peer closes; the code is what it said, if anything.
    Close(Option<u16>),
}

/// Why a transport has to be failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The peer broke the framing.
    #[error("transport protocol broken: {0}")]
    Protocol(&'static str),
    /// A text message that is not UTF-8.
    #[error("text message is not UTF-8")]
    NotUtf8,
    /// A message above the limit.
    #[error("message longer than the limit")]
    TooBig,
}

/// The incoming side of a message transport.
#[derive(Debug)]
pub enum Decoder {
    /// WebSocket frames of a client: masked.
    WebSocket(websocket::frame::Decoder),
    /// RawSocket frames.
    RawSocket(rawsocket::frame::Decoder),
}

impl Decoder {
    /// The next thing in `input[*at..]`; advances `at`. `None` when all of the input was taken and more is needed.
    ///
    /// # Errors
    /// The peer broke the framing or a limit; the decoder must not be used again.
    pub fn next(&mut self, input: &mut [u8], at: &mut usize) -> Result<Option<Incoming>, Fault> {
        match self {
            Decoder::WebSocket(d) => d.next(input, at),
            Decoder::RawSocket(d) => d.next(input, at),
        }
    }

    /// From now on messages up to `bytes` are accepted.
    pub fn set_message_bytes_max(&mut self, bytes: usize) {
        match self {
            Decoder::WebSocket(d) => d.message_bytes_max = bytes,
            Decoder::RawSocket(d) => d.message_bytes_max = bytes,
        }
    }
}

/// Grows `buffer` for `wanted` more bytes that a peer has announced: never by much more than it has sent, so that an announcement
/// alone costs nothing, and never past what was announced, so that a finished message owns no slack.
pub(super) fn reserve_announced(buffer: &mut Vec<u8>, wanted: usize) {
    const FIRST: usize = 64 * 1024;
    if buffer.capacity() - buffer.len() == 0 {
        buffer.reserve_exact(wanted.min(buffer.len().max(FIRST)));
    }
}
