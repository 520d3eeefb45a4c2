//! The short way of a call: CALL and YIELD without options, which nearly all are, as places in the bytes they came in, and INVOCATION
//! and RESULT without details around a payload that is still there.
//!
//! The same rules as in [`super::layout`] and the same bytes; whatever is not of that kind, malformed ones included, is left to it.

use std::{borrow::Cow, ops::Range};

use bytes::Bytes;

use super::{
    Limits,
    cbor::CborReader,
    json::JsonReader,
    msgpack::MsgPackReader,
    stream::{DEPTH_CEILING, Keys, Kind, Reader},
};
use crate::wamp::{Payload, RegistrationId, RequestId, Serializer, id::ID_MAX, message::code};

/// A CALL or YIELD without options, by where its parts lie in some bytes. The methods want those same bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plain {
    /// Which of the two.
    pub verb: Verb,
    /// Its request id.
    pub request: RequestId,
    procedure: Place,
    payload: Place,
    elements: u8,
}

/// What a [`Plain`] message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// `[48, request, {}, procedure, [args], [kwargs]]`
    Call,
    /// `[70, request, {}, [args], [kwargs]]`
    Yield,
}

/// A payload in somebody else's bytes, proven like a [`Payload`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elements<'a> {
    /// The serializer of the bytes.
    pub serializer: Serializer,
    /// 0: nothing, 1: args, 2: args and kwargs.
    pub count: u8,
    /// The raw elements.
    pub bytes: &'a [u8],
}

impl Elements<'_> {
    /// Neither args nor kwargs.
    pub const NONE: Self = Elements {
        serializer: Serializer::Json,
        count: 0,
        bytes: &[],
    };

    /// True if they can stand in a message of `serializer` as they are.
    pub fn suits(&self, serializer: Serializer) -> bool {
        self.count == 0 || self.serializer == serializer
    }

    /// The same, owned.
    pub fn to_payload(self) -> Payload {
        match self.count {
            0 => Payload::EMPTY,
            count => Payload::from_proven(self.serializer, count, Bytes::copy_from_slice(self.bytes)),
        }
    }
}

/// A message for a callee or caller, but for its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlainHead {
    /// `[68, request, registration, {}, …]`
    Invocation {
        /// Its request id at the callee.
        request: RequestId,
        /// What is invoked.
        registration: RegistrationId,
    },
    /// `[50, request, {}, …]`
    Result {
        /// The request id of the call.
        request: RequestId,
    },
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Place {
    from: u32,
    to: u32,
}

impl Place {
    /// `None` for bytes that nobody reads at once.
    fn new(range: Range<usize>) -> Option<Self> {
        let (from, to) = (u32::try_from(range.start).ok()?, u32::try_from(range.end).ok()?);
        Some(Self { from, to })
    }

    fn of(self, bytes: &[u8]) -> &[u8] {
        bytes.get(self.from as usize..self.to as usize).unwrap_or_default()
    }
}

impl Plain {
    /// Reads the message in `bytes[at]`; `None` for any other, and for a malformed one.
    pub fn read(serializer: Serializer, bytes: &[u8], at: Range<usize>, limits: &Limits) -> Option<Self> {
        let frame = bytes.get(at.clone())?;
        let depth = limits.depth_max.min(DEPTH_CEILING);
        match serializer {
            Serializer::Json => read(JsonReader::new(frame, depth).ok()?, frame, at.start),
            Serializer::MsgPack => read(MsgPackReader::new(frame, depth), frame, at.start),
            Serializer::Cbor => read(CborReader::new(frame, depth), frame, at.start),
        }
    }

    /// What is called; empty for YIELD.
    pub fn procedure(self, bytes: &[u8]) -> &str {
        std::str::from_utf8(self.procedure.of(bytes)).unwrap_or_default()
    }

    /// Its payload.
    pub fn payload(self, bytes: &[u8], serializer: Serializer) -> Elements<'_> {
        Elements {
            serializer,
            count: self.elements,
            bytes: self.payload.of(bytes),
        }
    }
}

fn read<'a, R: Reader<'a>>(mut reader: R, frame: &'a [u8], base: usize) -> Option<Plain> {
    reader.open().ok()?;
    let next = |reader: &mut R| reader.next().ok()?.then_some(());
    next(&mut reader)?;
    let verb = match reader.unsigned().ok()?? {
        code::CALL => Verb::Call,
        code::YIELD => Verb::Yield,
        _ => return None,
    };
    next(&mut reader)?;
    let request = RequestId::new(reader.unsigned().ok()??)?;
    next(&mut reader)?;
    if !reader.empty_dict() {
        return None;
    }
    let place = |range: Range<usize>| Place::new(base + range.start..base + range.end);
    let mut procedure = Place::default();
    if verb == Verb::Call {
        next(&mut reader)?;
        if reader.kind().ok()? != Kind::Text {
            return None;
        }
        // One with escapes is in no buffer.
        let Cow::Borrowed(text) = reader.text().ok()? else {
            return None;
        };
        let from = (text.as_ptr() as usize).checked_sub(frame.as_ptr() as usize)?;
        procedure = place(from..from + text.len())?;
    }
    let (mut elements, mut range) = (0, 0..0);
    if reader.next().ok()? {
        let start = reader.offset();
        if reader.kind().ok()? != Kind::List {
            return None;
        }
        if reader.skip(Keys::Any).ok()? > 0 {
            (elements, range) = (1, start..reader.offset());
        }
        if reader.next().ok()? {
            if reader.kind().ok()? != Kind::Dict {
                return None;
            }
            if reader.skip(Keys::Text).ok()? > 0 {
                (elements, range) = (2, start..reader.offset());
            }
            if reader.next().ok()? {
                return None;
            }
        }
    }
    reader.finish().ok()?;
    Some(Plain {
        verb,
        request,
        procedure,
        payload: place(range)?,
        elements,
    })
}

/// What stands before a payload, at most [`HEAD_BYTES_MAX`] bytes, and after it.
#[derive(Clone, Copy, Debug)]
pub struct HeadBytes {
    bytes: [u8; HEAD_BYTES_MAX],
    len: u8,
    after: &'static [u8],
}

/// JSON's `[68,9007199254740992,9007199254740992,{},` is the longest.
const HEAD_BYTES_MAX: usize = 48;

impl HeadBytes {
    /// What stands before the payload.
    pub fn before(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// What stands after it.
    pub fn after(&self) -> &'static [u8] {
        self.after
    }

    fn push(&mut self, bytes: &[u8]) {
        let at = usize::from(self.len);
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len() as u8;
    }
}

impl PlainHead {
    /// Writes the head of a message whose payload has so many elements.
    pub fn write(self, serializer: Serializer, elements: u8) -> HeadBytes {
        let mut out = HeadBytes {
            bytes: [0; HEAD_BYTES_MAX],
            len: 0,
            after: b"",
        };
        let (code, first, second) = match self {
            Self::Invocation { request, registration } => (code::INVOCATION, request.get(), Some(registration.get())),
            Self::Result { request } => (code::RESULT, request.get(), None),
        };
        let ids = std::iter::once(first).chain(second);
        let fields = 3 + u8::from(second.is_some()) + elements;
        match serializer {
            Serializer::MsgPack => {
                out.push(&[0x90 | fields, code as u8]);
                ids.for_each(|id| push_msgpack(id, &mut out));
                out.push(&[0x80]);
            }
            Serializer::Cbor => {
                out.push(&[0x80 | fields]);
                push_cbor(code, &mut out);
                ids.for_each(|id| push_cbor(id, &mut out));
                out.push(&[0xa0]);
            }
            Serializer::Json => {
                out.push(b"[");
                push_decimal(code, &mut out);
                for id in ids {
                    out.push(b",");
                    push_decimal(id, &mut out);
                }
                out.push(if elements > 0 { b",{}," } else { b",{}" });
                out.after = b"]";
            }
        }
        out
    }
}

const _: () = assert!(ID_MAX < 10_u64.pow(16), "an id has at most 16 digits");

fn push_msgpack(id: u64, out: &mut HeadBytes) {
    match id {
        0..=0x7f => out.push(&[id as u8]),
        0x80..=0xff => out.push(&[0xcc, id as u8]),
        0x100..=0xffff => {
            out.push(&[0xcd]);
            out.push(&(id as u16).to_be_bytes());
        }
        0x1_0000..=0xffff_ffff => {
            out.push(&[0xce]);
            out.push(&(id as u32).to_be_bytes());
        }
        _ => {
            out.push(&[0xcf]);
            out.push(&id.to_be_bytes());
        }
    }
}

fn push_cbor(id: u64, out: &mut HeadBytes) {
    match id {
        0..=0x17 => out.push(&[id as u8]),
        0x18..=0xff => out.push(&[0x18, id as u8]),
        0x100..=0xffff => {
            out.push(&[0x19]);
            out.push(&(id as u16).to_be_bytes());
        }
        0x1_0000..=0xffff_ffff => {
            out.push(&[0x1a]);
            out.push(&(id as u32).to_be_bytes());
        }
        _ => {
            out.push(&[0x1b]);
            out.push(&id.to_be_bytes());
        }
    }
}

fn push_decimal(mut id: u64, out: &mut HeadBytes) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (id % 10) as u8;
        id /= 10;
        if id == 0 {
            break;
        }
    }
    out.push(&digits[at..]);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wamp::{
        Dict, Message, Value,
        codec::{self, Frame},
    };

    fn id() -> impl Strategy<Value = u64> {
        prop_oneof![1u64..300, 60_000u64..70_000, (1u64 << 32) - 3..(1 << 32) + 3, 1..=ID_MAX]
    }

    fn payload(serializer: Serializer, elements: u8) -> Payload {
        let args = [Value::Text("é".into()), Value::Integer(-5)];
        let kwargs = Dict::new().with("k", 7i64);
        match elements {
            0 => Payload::EMPTY,
            1 => Payload::from_values(serializer, &args, &Dict::new()),
            _ => Payload::from_values(serializer, &args, &kwargs),
        }
    }

    proptest! {
        #[test]
        fn heads_are_written_as_the_codec_writes_them(request in id(), registration in id(), elements in 0u8..3) {
            let (request, registration) = (RequestId::new(request).unwrap(), RegistrationId::new(registration).unwrap());
            for serializer in Serializer::ALL {
                let payload = payload(serializer, elements);
                let details = Dict::new();
                for (head, message) in [
                    (
                        PlainHead::Invocation { request, registration },
                        Message::Invocation { request, registration, details: details.clone(), payload: payload.clone() },
                    ),
                    (PlainHead::Result { request }, Message::Result { request, details, payload: payload.clone() }),
                ] {
                    let mut expected = Vec::new();
                    codec::encode(&message, serializer, &mut expected).unwrap();
                    let head = head.write(serializer, elements);
                    prop_assert_eq!([head.before(), payload.bytes(), head.after()].concat(), expected);
                }
            }
        }

        #[test]
        fn what_is_read_plainly_is_what_the_codec_reads(request in id(), elements in 0u8..3, cut in 0usize..80, flip in 0usize..80, by: u8) {
            for serializer in Serializer::ALL {
                let payload = payload(serializer, elements);
                let request = RequestId::new(request).unwrap();
                for message in [
                    Message::Call { request, options: Dict::new(), procedure: "com.add".into(), payload: payload.clone() },
                    Message::Yield { request, options: Dict::new(), payload: payload.clone() },
                ] {
                    let mut bytes = b"before".to_vec();
                    codec::encode(&message, serializer, &mut bytes).unwrap();
                    prop_assert_eq!(as_message(&bytes, serializer), Some(message));
                    // Mangled: it may be something else, or nothing, but never something other than what the codec finds.
                    bytes.truncate(bytes.len().max(7).min(7 + cut));
                    if let Some(byte) = bytes.get_mut(6 + flip) {
                        *byte ^= by;
                    }
                    if let Some(plain) = as_message(&bytes, serializer) {
                        let decoded = codec::decode(serializer, Frame::Borrowed(&bytes[6..]), &Limits::default());
                        prop_assert_eq!(decoded, Ok(plain));
                    }
                }
            }
        }
    }

    fn as_message(bytes: &[u8], serializer: Serializer) -> Option<Message> {
        let plain = Plain::read(serializer, bytes, 6..bytes.len(), &Limits::default())?;
        let (request, options, payload) = (plain.request, Dict::new(), plain.payload(bytes, serializer).to_payload());
        Some(match plain.verb {
            Verb::Call => Message::Call {
                request,
                options,
                procedure: plain.procedure(bytes).into(),
                payload,
            },
            Verb::Yield => Message::Yield {
                request,
                options,
                payload,
            },
        })
    }

    #[test]
    fn whatever_has_options_or_is_another_message_is_left_to_the_codec() {
        let request = RequestId::MIN;
        for message in [
            Message::Yield {
                request,
                options: Dict::new().with("progress", true),
                payload: Payload::EMPTY,
            },
            Message::Result {
                request,
                details: Dict::new(),
                payload: Payload::EMPTY,
            },
        ] {
            for serializer in Serializer::ALL {
                let mut bytes = Vec::new();
                codec::encode(&message, serializer, &mut bytes).unwrap();
                assert_eq!(Plain::read(serializer, &bytes, 0..bytes.len(), &Limits::default()), None);
            }
        }
    }
}
