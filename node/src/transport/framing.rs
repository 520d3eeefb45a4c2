//! What the two message transports share: the shape of what comes in, and the framing of what goes out.

use std::ops::Range;

use super::{rawsocket, websocket};
use crate::wamp::Serializer;

/// How a session's outgoing messages are framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// One unmasked WebSocket text frame per message.
    WebSocketText,
    /// One unmasked WebSocket binary frame per message.
    WebSocketBinary,
    /// Unmasked WebSocket text frames of messages that each end with [`websocket::batch::SEPARATOR`].
    WebSocketTextBatch,
    /// Unmasked WebSocket binary frames of messages that are each prefixed by their length in four octets.
    WebSocketBinaryBatch,
    /// One RawSocket frame per message, prefixed by four octets.
    RawSocket,
}

/// Whether a WebSocket frame holds one message or several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Batching {
    /// One.
    No,
    /// Several.
    Yes,
}

impl Framing {
    /// That of a WebSocket.
    pub fn websocket(serializer: Serializer, batching: Batching) -> Self {
        match (serializer, batching) {
            (Serializer::Json, Batching::No) => Framing::WebSocketText,
            (Serializer::Json, Batching::Yes) => Framing::WebSocketTextBatch,
            (Serializer::MsgPack | Serializer::Cbor, Batching::No) => Framing::WebSocketBinary,
            (Serializer::MsgPack | Serializer::Cbor, Batching::Yes) => Framing::WebSocketBinaryBatch,
        }
    }

    /// True if its messages come in text frames.
    pub fn is_text(self) -> bool {
        matches!(self, Framing::WebSocketText | Framing::WebSocketTextBatch)
    }

    /// True if what is ready goes out in one frame.
    pub fn is_batched(self) -> bool {
        matches!(self, Framing::WebSocketTextBatch | Framing::WebSocketBinaryBatch)
    }

    /// What follows a message.
    pub fn trailer(self) -> &'static [u8] {
        match self {
            Framing::WebSocketTextBatch => &[websocket::batch::SEPARATOR],
            _ => &[],
        }
    }

    /// What precedes a message of `len` bytes: the frame header, and in a binary batch its length; [`Self::trailer`] counts.
    pub fn header(self, len: usize) -> Header {
        match self {
            Framing::WebSocketText => websocket::frame::header(websocket::frame::Opcode::Text, len),
            Framing::WebSocketBinary => websocket::frame::header(websocket::frame::Opcode::Binary, len),
            Framing::RawSocket => rawsocket::frame::header(rawsocket::frame::Kind::Message, len),
            Framing::WebSocketTextBatch => websocket::frame::header(websocket::frame::Opcode::Text, len + 1),
            Framing::WebSocketBinaryBatch => {
                // Nothing of 4 GiB is ever written: whoever sent it was limited to less.
                let prefix = u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes();
                websocket::frame::header(websocket::frame::Opcode::Binary, len + prefix.len()).followed_by(prefix)
            }
        }
    }

    /// How long the header of a message of `len` bytes is.
    fn header_len(self, len: usize) -> usize {
        let len = match self {
            Framing::WebSocketTextBatch => len + 1,
            Framing::WebSocketBinaryBatch => return 4 + Framing::WebSocketBinary.header_len(len + 4),
            _ => len,
        };
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
        out.extend_from_slice(&[0; HEADER_BYTES_MAX][..room]);
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
            out.extend_from_slice(&[0; HEADER_BYTES_MAX][..header.len() - room]);
            out.copy_within(start + room..end, start + header.len());
        }
        out[start..start + header.len()].copy_from_slice(header);
        out.extend_from_slice(self.trailer());
        Ok(())
    }
}

/// The longest header: that of a WebSocket frame and the length of its only message.
const HEADER_BYTES_MAX: usize = 14;

/// The header of an outgoing frame, 2 to 14 bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Header {
    bytes: [u8; HEADER_BYTES_MAX],
    len: u8,
}

impl Header {
    /// The first `len` of `bytes`.
    #[inline]
    pub(super) fn new([a, b, c, d, e, f, g, h, i, j]: [u8; 10], len: u8) -> Self {
        let bytes = [a, b, c, d, e, f, g, h, i, j, 0, 0, 0, 0];
        Self { bytes, len }
    }

    /// This header and four octets more.
    fn followed_by(mut self, octets: [u8; 4]) -> Self {
        let at = usize::from(self.len);
        self.bytes[at..at + octets.len()].copy_from_slice(&octets);
        self.len += 4;
        self
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
    /// WebSocket frames of several messages each.
    Batched(Box<websocket::batch::Decoder>),
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
            Decoder::Batched(d) => d.next(input, at),
            Decoder::RawSocket(d) => d.next(input, at),
        }
    }

    /// From now on messages up to `bytes` are accepted.
    pub fn set_message_bytes_max(&mut self, bytes: usize) {
        match self {
            Decoder::WebSocket(d) => d.message_bytes_max = bytes,
            Decoder::Batched(d) => d.frames.message_bytes_max = bytes,
            Decoder::RawSocket(d) => d.message_bytes_max = bytes,
        }
    }

    /// What was taken from the input and not handed out; whoever stops in the middle puts it in front of the input that is left.
    pub fn unread(&mut self) -> Vec<u8> {
        match self {
            Decoder::Batched(d) => d.unread(),
            Decoder::WebSocket(_) | Decoder::RawSocket(_) => Vec::new(),
        }
    }

    /// What ends the peer's messages in a batch of text.
    pub fn separator(&self) -> Option<u8> {
        match self {
            Decoder::Batched(d) => Some(d.separator()),
            Decoder::WebSocket(_) | Decoder::RawSocket(_) => None,
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
