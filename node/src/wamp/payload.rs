//! Payloads: `args` and `kwargs` carried as proven bytes in the serializer they came in.

use bytes::Bytes;

use super::{
    Dict, Value,
    codec::{self, TranscodeError},
};

/// A serializer of the wire. Spec: WAMP basic profile, "Serializers".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Serializer {
    /// `wamp.2.json`, RawSocket nibble 1.
    Json,
    /// `wamp.2.msgpack`, RawSocket nibble 2.
    MsgPack,
    /// `wamp.2.cbor`, RawSocket nibble 3.
    Cbor,
}

impl Serializer {
    /// All of them, in the order of preference where a peer leaves the choice.
    pub const ALL: [Serializer; 3] = [Serializer::Cbor, Serializer::MsgPack, Serializer::Json];

    /// The WebSocket subprotocol that stands for it.
    pub const fn subprotocol(self) -> &'static str {
        match self {
            Serializer::Json => "wamp.2.json",
            Serializer::MsgPack => "wamp.2.msgpack",
            Serializer::Cbor => "wamp.2.cbor",
        }
    }

    /// The serializer that a WebSocket subprotocol stands for.
    pub fn from_subprotocol(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|serializer| serializer.subprotocol() == name)
    }

    /// The number that stands for it in the RawSocket handshake.
    pub const fn rawsocket_id(self) -> u8 {
        match self {
            Serializer::Json => 1,
            Serializer::MsgPack => 2,
            Serializer::Cbor => 3,
        }
    }

    /// The serializer that a number of the RawSocket handshake stands for.
    pub fn from_rawsocket_id(id: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|serializer| serializer.rawsocket_id() == id)
    }

    /// True if its WebSocket frames are binary, false if they are text.
    pub const fn is_binary(self) -> bool {
        !matches!(self, Serializer::Json)
    }

    /// Its short name: `json`, `msgpack` or `cbor`.
    pub const fn name(self) -> &'static str {
        match self {
            Serializer::Json => "json",
            Serializer::MsgPack => "msgpack",
            Serializer::Cbor => "cbor",
        }
    }

    /// The serializer of a short name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|serializer| serializer.name() == name)
    }
}

/// The tail of a message: nothing, `args`, or `args` and `kwargs`, as the bytes of its serializer.
///
/// The bytes are the concatenated encodings of the elements, without the surrounding message array; in JSON they are joined by
/// a comma (`[1,2],{"k":3}`). They were proven well-formed when they were decoded, so they may be spliced into another message
/// of the same serializer as they are.
#[derive(Clone, PartialEq)]
pub struct Payload {
    serializer: Serializer,
    elements: u8,
    bytes: Bytes,
}

impl Payload {
    /// Neither args nor kwargs.
    pub const EMPTY: Payload = Payload {
        serializer: Serializer::Json,
        elements: 0,
        bytes: Bytes::new(),
    };

    /// Wraps bytes that are known to be `elements` (0, 1 or 2) well-formed elements of `serializer`.
    ///
    /// The caller vouches for that: the codec after its scan, a router link for bytes that the sending node's codec has proven.
    pub fn from_proven(serializer: Serializer, elements: u8, bytes: Bytes) -> Self {
        debug_assert!(elements <= 2 && (elements > 0 || bytes.is_empty()));
        Self {
            serializer,
            elements,
            bytes,
        }
    }

    /// The serializer of [`Self::bytes`]; of no meaning when the payload is empty.
    pub fn serializer(&self) -> Serializer {
        self.serializer
    }

    /// 0: nothing, 1: args, 2: args and kwargs.
    pub fn elements(&self) -> u8 {
        self.elements
    }

    /// The raw elements.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// True if there are neither args nor kwargs.
    pub fn is_empty(&self) -> bool {
        self.elements == 0
    }

    /// The same payload in memory of its own: one that is kept must not hold the memory of a whole batch.
    pub fn apart(&self) -> Self {
        Self {
            bytes: Bytes::copy_from_slice(&self.bytes),
            ..*self
        }
    }

    /// The same payload in the serializer `to`; no copy where it is in it already.
    ///
    /// # Errors
    /// The payload holds something that `to` cannot carry ([`codec`] lists what).
    pub fn transcode(&self, to: Serializer) -> Result<Payload, TranscodeError> {
        if self.is_empty() || self.serializer == to {
            return Ok(self.clone());
        }
        let bytes = codec::transcode_payload(self, to)?;
        Ok(Self {
            serializer: to,
            elements: self.elements,
            bytes: bytes.into(),
        })
    }

    /// A payload of the router's own making. Empty kwargs are left out, and so are empty args where there are no kwargs.
    ///
    /// Where `serializer` cannot carry the values (NaN in JSON, integers below -2^63 in MessagePack, text that begins with
    /// U+0000 in JSON) the payload comes in CBOR, which can; the error then shows when it is transcoded.
    pub fn from_values(serializer: Serializer, args: &[Value], kwargs: &Dict) -> Self {
        let elements = match (args.is_empty(), kwargs.is_empty()) {
            (true, true) => return Self::EMPTY,
            (false, true) => 1,
            (_, false) => 2,
        };
        let kwargs = (elements == 2).then_some(kwargs);
        let (serializer, bytes) = match codec::values_to_elements(serializer, args, kwargs) {
            Ok(bytes) => (serializer, bytes),
            Err(_) => (Serializer::Cbor, codec::values_to_cbor(args, kwargs)),
        };
        Self {
            serializer,
            elements,
            bytes: bytes.into(),
        }
    }

    /// The args and kwargs as value trees. Meant for the router's own procedures and for clients; routing never needs it.
    ///
    /// A payload that is one text or binary in place of args ("payload transparency") comes back as args of that one value.
    ///
    /// # Errors
    /// The payload holds something that a [`Value`] cannot, or more than [`Self::VALUES_MAX`] values.
    pub fn to_values(&self) -> Result<(Vec<Value>, Dict), TranscodeError> {
        let mut elements = codec::elements_to_values(self, Self::VALUES_MAX)?.into_iter();
        let args = match elements.next() {
            None => Vec::new(),
            Some(Value::List(args)) => args,
            Some(opaque) => vec![opaque],
        };
        match elements.next() {
            Some(Value::Dict(kwargs)) => Ok((args, kwargs)),
            _ => Ok((args, Dict::new())),
        }
    }

    /// The most values [`Self::to_values`] builds; each takes about 50 bytes, however small it is on the wire.
    pub const VALUES_MAX: usize = 1 << 20;
}

impl std::fmt::Debug for Payload {
    /// Never prints the content: payloads do not belong in logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Payload({:?}, {} elements, {} bytes)",
            self.serializer,
            self.elements,
            self.bytes.len()
        )
    }
}
