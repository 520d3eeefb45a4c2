//! The near end of a session's pipe: RawSocket frames on this side of it, bodies of requests and answers on the other.
//!
//! Both halves keep what they are at in themselves, so that a request that is given up in the middle breaks nothing.

use std::io;

use bytes::{BufMut, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf};

use crate::{
    transport::{
        framing::Batching,
        rawsocket::frame::{Kind, PAYLOAD_BYTES_MAX, header},
        websocket::batch,
    },
    wamp::Serializer,
};

/// What bodies consist of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    /// The serializer.
    pub serializer: Serializer,
    /// Whether a body holds one message or several.
    pub batching: Batching,
}

impl Form {
    /// The content type of a body.
    pub fn content_type(self) -> &'static str {
        match self.serializer {
            Serializer::Json => "application/json; charset=utf-8",
            Serializer::MsgPack => "application/x-msgpack",
            Serializer::Cbor => "application/cbor",
        }
    }

    /// The messages of a body.
    ///
    /// # Errors
    /// It has none, or ends within one.
    fn messages(self, body: &[u8]) -> Result<Vec<&[u8]>, BadBody> {
        if body.is_empty() {
            return Err(BadBody);
        }
        let kind = match (self.batching, self.serializer) {
            (Batching::No, _) => return Ok(vec![body]),
            (Batching::Yes, Serializer::Json) => batch::Kind::Text,
            (Batching::Yes, Serializer::MsgPack | Serializer::Cbor) => batch::Kind::Binary,
        };
        batch::split(kind, body).map_err(|_| BadBody)
    }

    /// True if the message can be nothing but WELCOME.
    fn is_welcome(self, message: &[u8]) -> bool {
        match self.serializer {
            Serializer::Json => message.starts_with(b"[2,"),
            Serializer::MsgPack => message.starts_with(&[0x93, 2]),
            Serializer::Cbor => message.starts_with(&[0x83, 2]),
        }
    }
}

/// A body that is no message, or no batch of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadBody;

/// From the session to polls.
#[derive(Debug)]
pub struct Reader {
    half: ReadHalf<DuplexStream>,
    /// What was read and not handed out: frames, the last of which may not be whole.
    ahead: BytesMut,
    /// The session was told that it is one.
    pub welcome: bool,
}

impl Reader {
    /// Nothing was read yet.
    pub fn new(half: ReadHalf<DuplexStream>) -> Self {
        Self {
            half,
            ahead: BytesMut::new(),
            welcome: false,
        }
    }

    /// The body of the next answer: one message, or as many as are there and fit into `body_bytes_max`. Waits for the first.
    ///
    /// Nothing is lost when this is given up.
    ///
    /// # Errors
    /// The session has nothing to say any more.
    pub async fn next(&mut self, form: Form, body_bytes_max: usize) -> io::Result<Bytes> {
        while !self.is_whole() {
            self.ahead.reserve(4096);
            if self.half.read_buf(&mut self.ahead).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        let mut body = BytesMut::new();
        while self.is_whole() {
            let len = self.len().unwrap_or_default();
            if !body.is_empty() && (form.batching == Batching::No || body.len() + len > body_bytes_max) {
                break;
            }
            let message = self.ahead.split_to(4 + len).split_off(4);
            self.welcome |= form.is_welcome(&message);
            match (form.batching, form.serializer) {
                (Batching::No, _) => return Ok(message.freeze()),
                (Batching::Yes, Serializer::Json) => {
                    body.reserve(len + 1);
                    body.put_slice(&message);
                    body.put_u8(batch::SEPARATOR);
                }
                (Batching::Yes, Serializer::MsgPack | Serializer::Cbor) => {
                    body.reserve(len + 4);
                    body.put_u32(u32::try_from(len).unwrap_or(u32::MAX));
                    body.put_slice(&message);
                }
            }
        }
        Ok(body.freeze())
    }

    /// How long the first message is. The session sends nothing but messages here: it pings no RawSocket that has not pinged it.
    fn len(&self) -> Option<usize> {
        let [kind, a, b, c] = *self.ahead.first_chunk()?;
        let extra = if kind & 8 != 0 { PAYLOAD_BYTES_MAX } else { 0 };
        Some(extra + usize::try_from(u32::from_be_bytes([0, a, b, c])).unwrap_or(0))
    }

    fn is_whole(&self) -> bool {
        self.len().is_some_and(|len| self.ahead.len() >= 4 + len)
    }
}

/// From requests to the session.
#[derive(Debug)]
pub struct Writer {
    half: WriteHalf<DuplexStream>,
    /// Frames that were taken and not written yet.
    left: BytesMut,
}

impl Writer {
    /// Nothing is to be written yet.
    pub fn new(half: WriteHalf<DuplexStream>) -> Self {
        Self {
            half,
            left: BytesMut::new(),
        }
    }

    /// Takes the messages of a body, to be written behind what an earlier request has left.
    ///
    /// # Errors
    /// The body is none; nothing was taken.
    pub fn take(&mut self, form: Form, body: &[u8]) -> Result<(), BadBody> {
        let messages = form.messages(body)?;
        for message in messages {
            if message.len() > PAYLOAD_BYTES_MAX {
                return Err(BadBody);
            }
            let prefix = header(Kind::Message, message.len());
            self.left.reserve(prefix.bytes().len() + message.len());
            self.left.put_slice(prefix.bytes());
            self.left.put_slice(message);
        }
        Ok(())
    }

    /// Writes what was taken. What is left when this is given up is written the next time.
    ///
    /// # Errors
    /// The session reads no more.
    pub async fn write(&mut self) -> io::Result<()> {
        while !self.left.is_empty() {
            self.half.write_buf(&mut self.left).await?;
        }
        Ok(())
    }
}
