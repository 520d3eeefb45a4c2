//! How messages become framed bytes, and what stands in for one that cannot.

use std::sync::{Arc, OnceLock};

use crate::{
    transport::{
        framing::Framing,
        rawsocket::{self, frame::PAYLOAD_BYTES_MAX},
        websocket,
    },
    wamp::{Dict, Message, Payload, RequestId, Serializer, codec, error_uri, message::code},
};

/// How a session's messages are written.
#[derive(Clone, Copy, Debug)]
pub struct WireFormat {
    /// The serializer.
    pub serializer: Serializer,
    /// The framing of the transport.
    pub framing: Framing,
    /// The longest message the peer takes; WebSocket peers announce none.
    pub message_bytes_max: usize,
}

/// Why a message cannot be written to a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// Longer than the peer takes.
    Size,
    /// The serializer cannot carry it.
    Payload,
}

impl Refused {
    /// What the other side of a call is told.
    pub(super) fn error(self) -> &'static str {
        match self {
            Refused::Size => error_uri::PAYLOAD_SIZE_EXCEEDED,
            Refused::Payload => INVALID_PAYLOAD,
        }
    }
}

/// Spec: WAMP names no URI for a payload that the receiver's serializer cannot carry (NaN in JSON, for one).
const INVALID_PAYLOAD: &str = "wamp.error.invalid_payload";

impl WireFormat {
    /// Appends the message, encoded and framed. On an error nothing was appended.
    pub(super) fn append(self, message: &Message, out: &mut Vec<u8>) -> Result<(), Refused> {
        self.framing.append_with(out, likely_bytes(message), |out| {
            let start = out.len();
            codec::encode(message, self.serializer, out).map_err(|_| Refused::Payload)?;
            if out.len() - start > self.message_bytes_max {
                Err(Refused::Size)
            } else {
                Ok(())
            }
        })
    }

    /// Appends an encoded message, framed. On an error nothing was appended.
    pub(super) fn append_encoded(self, encoding: &Encoding, out: &mut Vec<u8>) -> Result<(), Refused> {
        let body = encoding.body().ok_or(Refused::Payload)?;
        if body.len() > self.message_bytes_max {
            return Err(Refused::Size);
        }
        out.extend_from_slice(self.framing.header(body.len()).bytes());
        out.extend_from_slice(body);
        out.extend_from_slice(self.framing.trailer());
        Ok(())
    }
}

/// About how long an encoded message will be: right for the messages that are many, those of calls.
fn likely_bytes(message: &Message) -> usize {
    match message {
        Message::Result { payload, .. } => payload.bytes().len() + 8,
        Message::Invocation { payload, .. } => payload.bytes().len() + 14,
        Message::Event { payload, .. } => payload.bytes().len() + 24,
        Message::Error { payload, error, .. } => payload.bytes().len() + error.len() + 16,
        _ => 32,
    }
}

/// A message in one serializer, encoded when that is first needed and never twice.
#[derive(Debug)]
pub(super) struct Encoding {
    message: Message,
    serializer: Serializer,
    body: OnceLock<Option<Vec<u8>>>,
}

/// Foreign payloads above this are transcoded where no realm is held. Below it costs less than a message kept for later.
const DEFER_BYTES_MIN: usize = 2048;

impl Encoding {
    pub(super) fn new(message: Message, serializer: Serializer) -> Arc<Self> {
        Arc::new(Self {
            message,
            serializer,
            body: OnceLock::new(),
        })
    }

    pub(super) fn serializer(&self) -> Serializer {
        self.serializer
    }

    pub(super) fn message(&self) -> &Message {
        &self.message
    }

    /// The bytes without a frame; `None` if the serializer cannot carry the message.
    fn body(&self) -> Option<&[u8]> {
        let encode = || {
            let mut body = Vec::new();
            codec::encode(&self.message, self.serializer, &mut body).ok().map(|()| body)
        };
        self.body.get_or_init(encode).as_deref()
    }
}

/// About how long the message will be, if encoding it should not happen under a realm's lock.
pub(super) fn deferred_bytes(message: &Message, serializer: Serializer) -> Option<usize> {
    let payload = match message {
        Message::Event { payload, .. }
        | Message::Result { payload, .. }
        | Message::Invocation { payload, .. }
        | Message::Error { payload, .. } => payload,
        _ => return None,
    };
    let long = payload.serializer() != serializer && payload.bytes().len() > DEFER_BYTES_MIN;
    long.then(|| payload.bytes().len() + 128)
}

/// A message for many sessions: encoded at most once per serializer.
#[derive(Debug)]
pub struct Shared<'a> {
    message: &'a Message,
    encodings: [Option<Arc<Encoding>>; 3],
}

impl<'a> Shared<'a> {
    /// Nothing is encoded yet.
    pub fn new(message: &'a Message) -> Self {
        Self {
            message,
            encodings: [const { None }; 3],
        }
    }

    pub(super) fn encoding(&mut self, serializer: Serializer) -> &Arc<Encoding> {
        let slot = match serializer {
            Serializer::Json => 0,
            Serializer::MsgPack => 1,
            Serializer::Cbor => 2,
        };
        self.encodings[slot].get_or_insert_with(|| Encoding::new(self.message.clone(), serializer))
    }
}

/// A message that was not written and of which the core has to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Undelivered {
    /// An INVOCATION of that id: its caller is owed an error.
    Invocation(RequestId),
    /// A part of the result of the CALL of that id: the call cannot go on.
    Progress(RequestId),
}

/// What becomes of a message that cannot be written.
pub(super) enum Instead {
    /// Nothing: it was an event.
    Nothing,
    /// This message is written; it has no payload.
    Message(Message),
    /// Nothing is written, and the core has to know.
    Refuse(Undelivered),
    /// The session cannot go on without it.
    End,
}

/// What becomes of `message`, which was refused.
pub(super) fn instead_of(message: &Message, refused: Refused) -> Instead {
    match message {
        Message::Event { .. } => Instead::Nothing,
        Message::Invocation { request, .. } => Instead::Refuse(Undelivered::Invocation(*request)),
        // More would follow an ERROR written here: the call has to end first.
        Message::Result { request, details, .. } if details.bool("progress") == Some(true) => {
            Instead::Refuse(Undelivered::Progress(*request))
        }
        Message::Result { request, .. } => Instead::Message(Message::Error {
            request_type: code::CALL,
            request: *request,
            details: Dict::new(),
            error: refused.error().into(),
            payload: Payload::EMPTY,
        }),
        // The error itself is more useful than the news that its arguments were too much.
        Message::Error {
            request_type,
            request,
            error,
            payload,
            ..
        } if !payload.is_empty() => Instead::Message(Message::Error {
            request_type: *request_type,
            request: *request,
            details: Dict::new(),
            error: error.clone(),
            payload: Payload::EMPTY,
        }),
        // A small board that takes 512 bytes does without the list of features, which it could not use up in such messages.
        Message::Welcome { session, details } if refused == Refused::Size => {
            let mut details = details.clone();
            let roles = ["broker", "dealer"].map(|role| (role.to_owned(), Dict::new().into()));
            details.set("roles", Dict(roles.into()));
            let session = *session;
            Instead::Message(Message::Welcome { session, details })
        }
        // Nothing else has a payload: its details alone are more than the peer takes.
        _ => Instead::End,
    }
}

/// The pong to a peer's ping, in the framing of `wire`.
pub fn pong(wire: WireFormat, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(payload.len().min(PAYLOAD_BYTES_MAX) + 4);
    match wire.framing {
        Framing::RawSocket => {
            frame.extend_from_slice(rawsocket::frame::header(rawsocket::frame::Kind::Pong, payload.len()).bytes());
            frame.extend_from_slice(payload);
        }
        _ => websocket::frame::append_control(websocket::frame::Opcode::Pong, payload, &mut frame),
    }
    frame
}

/// A ping of the router's own, in the framing of `wire`.
pub fn ping(wire: WireFormat) -> Vec<u8> {
    let mut frame = Vec::new();
    match wire.framing {
        Framing::RawSocket => frame.extend_from_slice(rawsocket::frame::header(rawsocket::frame::Kind::Ping, 0).bytes()),
        _ => websocket::frame::append_control(websocket::frame::Opcode::Ping, &[], &mut frame),
    }
    frame
}
