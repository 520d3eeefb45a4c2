//! What can go wrong between bytes and messages.

/// A frame that is not a WAMP message. Every variant is a protocol violation of the peer that sent the frame.
///
/// Nothing of the frame's content is in the text, only its shape and a byte offset, so the text may be logged and sent back.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes are no well-formed encoding.
    #[error("{what} at byte {at}")]
    Syntax { what: &'static str, at: usize },
    /// The frame ends inside a value, or states a length that it does not hold.
    #[error("frame ends within a value at byte {at}")]
    Truncated { at: usize },
    /// Text that is not UTF-8, or an escape that names no Unicode character (a lone surrogate).
    #[error("invalid unicode at byte {at}")]
    Unicode { at: usize },
    /// Lists and dicts are nested deeper than [`super::Limits::depth_max`].
    #[error("values nested deeper than the limit at byte {at}")]
    TooDeep { at: usize },
    /// Bytes follow the end of the message.
    #[error("bytes after the end of the message at byte {at}")]
    Trailing { at: usize },
    /// The frame holds a value that is not a list.
    #[error("message is not a list")]
    NotAList,
    /// The first element is missing or no integer.
    #[error("message does not begin with an integer code")]
    NoCode,
    /// The code names no message.
    #[error("unknown message code {code}")]
    UnknownCode { code: u64 },
    /// The list ends before a field that the message must have.
    #[error("{message} ends before its {field}")]
    Missing { message: &'static str, field: &'static str },
    /// The list goes on after the last field that the message can have.
    #[error("{message} has too many elements at byte {at}")]
    TooMany { message: &'static str, at: usize },
    /// A field is of the wrong type.
    #[error("{message}.{field} is not {expected} at byte {at}")]
    Type {
        message: &'static str,
        field: &'static str,
        expected: &'static str,
        at: usize,
    },
    /// A field has the right type and a value out of range.
    #[error("{message}.{field} is out of range at byte {at}")]
    Range {
        message: &'static str,
        field: &'static str,
        at: usize,
    },
    /// The options or details hold a value that cannot be read.
    #[error("{message}.{field} cannot be read: {cause}")]
    Dict {
        message: &'static str,
        field: &'static str,
        cause: ValueError,
    },
    /// An option that the protocol names is of the wrong type.
    #[error("{message}.{field}.{key} is not {expected}")]
    Option {
        message: &'static str,
        field: &'static str,
        key: &'static str,
        expected: &'static str,
    },
}

/// A payload that cannot be turned into another serializer, or into values.
///
/// Nobody broke the protocol: the message is dropped for this one receiver, or its sender gets an ERROR.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum TranscodeError {
    /// The payload is not what its tag says. It was never proven, so a link or a store is at fault.
    #[error("payload is malformed: {0}")]
    Malformed(DecodeError),
    /// It holds a value that has no counterpart.
    #[error("{0}")]
    Value(ValueError),
}

/// A value that the target serializer cannot carry, or that has no meaning outside its own serializer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// NaN or an infinity, which JSON cannot write.
    #[error("nan and infinities cannot be written in json")]
    NotFinite,
    /// An integer outside the range of the target: below -2^63 for MessagePack, beyond ±2^64 anywhere.
    #[error("integer is too wide for the target serializer")]
    IntegerTooWide,
    /// A JSON number beyond the range of a double.
    #[error("number is beyond the range of a double")]
    NumberTooLarge,
    /// A JSON string that begins with U+0000, as binary does, and goes on with something else than base64.
    #[error("json string begins with u+0000 and is not base64")]
    BadBase64,
    /// Text that begins with U+0000: a JSON reader would take it for binary.
    #[error("text that begins with u+0000 cannot be told from binary in json")]
    NulText,
    /// A dict key that the target cannot write: lists, dicts, binary, NaN; in protocol dicts everything but text.
    #[error("{found} as the key of a dict")]
    Key { found: &'static str },
    /// The same key twice in a protocol dict.
    #[error("a key stands twice in one dict")]
    DuplicateKey,
    /// A MessagePack extension type. There is no mapping that would not lose its meaning.
    #[error("messagepack extension type {kind} has no counterpart")]
    Extension { kind: i8 },
    /// A CBOR simple value other than false, true, null and undefined.
    #[error("cbor simple value {value} has no counterpart")]
    Simple { value: u8 },
    /// A CBOR bignum (tag 2 or 3) that is no byte string.
    #[error("cbor bignum is not a byte string")]
    Bignum,
    /// More values than the receiver of a value tree is ready to hold.
    #[error("more than {max} values")]
    TooManyValues { max: usize },
    /// A text, binary, list or dict longer than the target can state.
    #[error("value is too long for the target serializer")]
    TooLong,
}

impl From<DecodeError> for TranscodeError {
    fn from(cause: DecodeError) -> Self {
        Self::Malformed(cause)
    }
}

impl From<ValueError> for TranscodeError {
    fn from(cause: ValueError) -> Self {
        Self::Value(cause)
    }
}

/// A message that cannot be written in the serializer of its receiver.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum EncodeError {
    /// The payload came in another serializer and has no counterpart in this one.
    #[error("payload cannot be written for this receiver")]
    Payload(#[source] TranscodeError),
    /// A field of the head cannot be written.
    #[error("head of the message cannot be written for this receiver")]
    Head(#[source] ValueError),
}
