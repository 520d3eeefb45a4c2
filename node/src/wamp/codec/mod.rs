//! Bytes to messages and back, in three serializers.
//!
//! [`decode`] builds the head of a message (code, ids, options, URI) and proves in one pass without allocation that the rest is
//! exactly `[args [, kwargs]]`: well formed, valid Unicode, bounded in depth, nothing after it. That tail travels as bytes in
//! [`Payload`]. [`encode`] writes the head and splices the tail, or transcodes it where the serializers differ.
//!
//! # What transcoding keeps
//!
//! | value | mapping |
//! |---|---|
//! | null, booleans, text, lists, dicts | themselves; `undefined` (CBOR's, and MessagePack extension type 0 of one byte 0) becomes null |
//! | integers -2^64..=2^64-1 | themselves; MessagePack reaches down to -2^63 only, below is an error |
//! | JSON integers beyond | the nearest double, as JSON has no other meaning for them |
//! | CBOR bignums (tags 2 and 3) | integers where they lie in that range, else an error |
//! | doubles | themselves, to the bit; shortest decimal text in JSON, always with `.` or `e`; half and single floats widen |
//! | NaN, infinities | themselves between MessagePack and CBOR, an error towards JSON |
//! | binary | itself; in JSON a string of U+0000 and base64 (RFC 4648 section 4, padded), both ways |
//! | JSON string of U+0000 and no base64 | an error |
//! | text that begins with U+0000 | an error towards JSON, where it would turn into binary |
//! | dict keys | themselves between MessagePack and CBOR; towards JSON integers, floats, booleans and null become their JSON text (`1` → `"1"`), other keys are an error; keys never carry binary in JSON |
//! | equal keys in one payload dict | kept, in order; readers of a [`Value`] tree see the last |
//! | other CBOR tags | dropped, their content stays |
//! | CBOR simple values without a name, MessagePack extension types | an error; kept where the serializer stays the same |
//!
//! Within one serializer a payload is never touched, so it keeps all of these.
//!
//! # Protocol dicts
//!
//! Options and details have text keys, each once, at every level; anything else is a [`DecodeError`]. So is an option that the
//! protocol names and that has another type than it says ([`options`]); unknown keys pass. An entry whose value is `undefined` is as
//! if it were not there: JavaScript clients write one for an option they do not set.

mod cbor;
mod cursor;
mod error;
mod json;
mod layout;
mod lengths;
mod msgpack;
pub mod options;
pub mod plain;
mod stream;
mod tree;

#[cfg(test)]
mod tests;

pub use error::{DecodeError, EncodeError, TranscodeError, ValueError};

use bytes::Bytes;

use super::{Dict, Message, Payload, Serializer, Value};
use cbor::{CborReader, CborWriter};
use json::{JsonReader, JsonWriter};
use msgpack::{MsgPackReader, MsgPackWriter};
use stream::{DEPTH_CEILING, Reader, Sink, Writer, pump};
use tree::Tree;

/// A received frame, and who keeps its memory.
#[derive(Clone, Debug)]
pub enum Frame<'a> {
    /// The frame lies in a buffer that will be used again: the payload is copied out.
    Borrowed(&'a [u8]),
    /// The frame owns its memory: the payload is a slice of it.
    Owned(Bytes),
}

impl Frame<'_> {
    /// The bytes of the frame.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Frame::Borrowed(bytes) => bytes,
            Frame::Owned(bytes) => bytes,
        }
    }

    /// The part of the frame between two offsets, as bytes of their own.
    fn part(&self, from: usize, to: usize) -> Bytes {
        match self {
            Frame::Borrowed(bytes) => Bytes::copy_from_slice(&bytes[from..to]),
            Frame::Owned(bytes) => bytes.slice(from..to),
        }
    }
}

/// What a frame may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How deep lists and dicts may nest, the message itself included; above 256 counts as 256. Deep values cost every
    /// receiver stack. 128 is what common JSON readers stop at; below 8 ordinary clients fail.
    pub depth_max: usize,
    /// How many values the options or details of one message may hold. Each costs about 50 bytes of memory while the message
    /// is routed; long black and white lists are what needs room.
    pub dict_values_max: usize,
    /// Whether a message whose options name `enc_algo` may carry one text or binary in place of `args` (the older "payload
    /// transparency" of Autobahn and Crossbar). Off: a router that does not forward `enc_algo` and its companions would hand
    /// receivers a message they cannot read.
    pub payload_transparency: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            depth_max: 128,
            dict_values_max: 65_536,
            payload_transparency: false,
        }
    }
}

/// Reads one message.
///
/// # Errors
/// The frame is not a WAMP message: a protocol violation of the peer, whatever the variant.
pub fn decode(serializer: Serializer, frame: Frame<'_>, limits: &Limits) -> Result<Message, DecodeError> {
    let depth = limits.depth_max.min(DEPTH_CEILING);
    let bytes = frame.bytes();
    match serializer {
        Serializer::Json => layout::read(&mut JsonReader::new(bytes, depth)?, &frame, serializer, limits),
        Serializer::MsgPack => layout::read(&mut MsgPackReader::new(bytes, depth), &frame, serializer, limits),
        Serializer::Cbor => layout::read(&mut CborReader::new(bytes, depth), &frame, serializer, limits),
    }
}

/// Appends one message to `out`; its payload is transcoded where it comes in another serializer.
///
/// # Errors
/// The message cannot be written in this serializer. `out` is as it was.
pub fn encode(message: &Message, serializer: Serializer, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    let before = out.len();
    let written = match serializer {
        Serializer::Json => layout::write(message, serializer, JsonWriter::new(out)),
        Serializer::MsgPack => layout::write(message, serializer, MsgPackWriter::new(out)),
        Serializer::Cbor => layout::write(message, serializer, CborWriter::new(out)),
    };
    if written.is_err() {
        out.truncate(before);
    }
    written
}

/// Feeds the elements of `payload` to `sink`, as items `first` and following of a list around them.
fn pump_payload<S: Sink>(payload: &Payload, first: usize, sink: &mut S) -> Result<(), TranscodeError> {
    match payload.serializer() {
        Serializer::Json => pump_elements(JsonReader::elements(payload.bytes(), DEPTH_CEILING)?, payload, first, sink),
        Serializer::MsgPack => pump_elements(
            MsgPackReader::elements(payload.bytes(), payload.elements(), DEPTH_CEILING),
            payload,
            first,
            sink,
        ),
        Serializer::Cbor => pump_elements(
            CborReader::elements(payload.bytes(), payload.elements(), DEPTH_CEILING),
            payload,
            first,
            sink,
        ),
    }
}

fn pump_elements<'a, R: Reader<'a>, S: Sink>(
    mut reader: R,
    payload: &Payload,
    first: usize,
    sink: &mut S,
) -> Result<(), TranscodeError> {
    for index in 0..usize::from(payload.elements()) {
        if !reader.next()? {
            return Err(DecodeError::Truncated { at: reader.offset() }.into());
        }
        sink.item(first + index);
        pump(&mut reader, sink)?;
    }
    Ok(reader.finish()?)
}

/// The elements of `payload` in the serializer `to`.
pub(super) fn transcode_payload(payload: &Payload, to: Serializer) -> Result<Vec<u8>, TranscodeError> {
    // Base64 and decimal digits make JSON the longest of the three; a quarter more covers what is common.
    let mut out = Vec::with_capacity(payload.bytes().len() + payload.bytes().len() / 4 + 16);
    match to {
        Serializer::Json => write_elements(payload, JsonWriter::new(&mut out))?,
        Serializer::MsgPack => write_elements(payload, MsgPackWriter::new(&mut out))?,
        Serializer::Cbor => write_elements(payload, CborWriter::new(&mut out))?,
    }
    Ok(out)
}

fn write_elements<W: Writer>(payload: &Payload, mut writer: W) -> Result<(), TranscodeError> {
    pump_payload(payload, 0, &mut writer)?;
    writer.finish();
    Ok(())
}

/// The bytes of `args`, or of `args` and `kwargs`, in `serializer`.
pub(super) fn values_to_elements(serializer: Serializer, args: &[Value], kwargs: Option<&Dict>) -> Result<Vec<u8>, ValueError> {
    fn write<W: Writer>(mut writer: W, args: &[Value], kwargs: Option<&Dict>) -> Result<(), ValueError> {
        writer.item(0);
        tree::write_list(args, &mut writer)?;
        if let Some(kwargs) = kwargs {
            writer.item(1);
            tree::write_dict(kwargs, &mut writer)?;
        }
        writer.finish();
        Ok(())
    }
    let mut out = Vec::with_capacity(64);
    match serializer {
        Serializer::Json => write(JsonWriter::new(&mut out), args, kwargs)?,
        Serializer::MsgPack => write(MsgPackWriter::new(&mut out), args, kwargs)?,
        Serializer::Cbor => write(CborWriter::new(&mut out), args, kwargs)?,
    }
    Ok(out)
}

/// The same in CBOR, which can carry every [`Value`].
pub(super) fn values_to_cbor(args: &[Value], kwargs: Option<&Dict>) -> Vec<u8> {
    values_to_elements(Serializer::Cbor, args, kwargs).expect("no step of the cbor writer fails")
}

/// The elements of `payload` as value trees, at most `values_max` values in all.
pub(super) fn elements_to_values(payload: &Payload, values_max: usize) -> Result<Vec<Value>, TranscodeError> {
    let mut tree = Tree::loose(values_max);
    pump_payload(payload, 0, &mut tree)?;
    Ok(tree.into_values())
}
