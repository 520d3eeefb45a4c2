//! Frames of a data lane as bytes: what a batch's `packed` field holds.
//!
//! A batch is a row of frames, each `length (4 bytes, little endian) ‖ tag ‖ [realm] ‖ fields ‖ [details] ‖ [payload]`. The tag is a
//! kind and the flags that say which of the optional parts are there. A frame without a realm belongs to the realm of the frame
//! before it in its batch. Numbers drawn at random are eight bytes, counters are varints, texts carry their length, and a payload
//! is whatever is left: `serializer and element count (1 byte) ‖ bytes`. Bytes after the fields of a frame without payload are a
//! newer version's and are ignored; a kind that is not known is skipped by its length.
//!
//! An incoming payload is trusted to be well-formed, for the peer's codec has proven it before the peer accepted it from its
//! client; ids, texts, tags and lengths are checked here, and no bytes panic.

use std::ops::Range;

use bytes::Bytes;

use super::{convert::Malformed, details};
use crate::{
    router::{
        Audience, PeerFrame,
        frame::{CallId, FloodSource, InterruptMode, PlainFrame, Refusal},
        kept::KeepMark,
    },
    wamp::{Dict, Payload, PublicationId, RegistrationId, Serializer, SessionId, SubscriptionId, Uri, codec::plain::Elements},
};

/// Appends all of a frame but the bytes of its payload, which [`Written::payload`] returns, and leaves its length open.
///
/// `realm` is `None` where the frame before it in the batch is of the same realm.
pub(super) fn write<'a>(realm: Option<&Uri>, frame: &'a PeerFrame, out: &mut Vec<u8>) -> Written<'a> {
    let at = out.len();
    out.extend_from_slice(&[0; LENGTH_BYTES]);
    let (kind, details, payload) = match frame {
        PeerFrame::Invoke { details, payload, .. } => (INVOKE, Some(details), Some(payload)),
        PeerFrame::Chunk { details, payload, .. } => (CHUNK, Some(details), Some(payload)),
        PeerFrame::Progress { details, payload, .. } => (PROGRESS, Some(details), Some(payload)),
        PeerFrame::Result { details, payload, .. } => (RESULT, Some(details), Some(payload)),
        PeerFrame::Error { details, payload, .. } => (ERROR, Some(details), Some(payload)),
        PeerFrame::Nack { payload, .. } => (NACK, None, Some(payload)),
        PeerFrame::Forget { .. } => (FORGET, None, None),
        PeerFrame::RevokeSubscription { .. } => (REVOKE_SUBSCRIPTION, None, None),
        PeerFrame::Delivered { .. } => (DELIVERED, None, None),
        PeerFrame::Flood { .. } => (FLOOD, None, None),
        PeerFrame::Interrupt { .. } => (INTERRUPT, None, None),
        PeerFrame::Event { details, payload, .. } => (EVENT, Some(details), Some(payload)),
        PeerFrame::Kept { what } => (KEPT, Some(what), None),
        PeerFrame::MetaAsk { question, .. } => (META_ASK, Some(question), None),
        PeerFrame::MetaAnswer { answer, .. } => (META_ANSWER, Some(answer), None),
    };
    let details = details.filter(|details| !details.is_empty());
    let payload = payload.filter(|payload| !payload.is_empty());
    let mut tag = kind;
    for (flag, set) in [
        (HAS_REALM, realm.is_some()),
        (HAS_DETAILS, details.is_some()),
        (HAS_PAYLOAD, payload.is_some()),
    ] {
        if set {
            tag |= flag;
        }
    }
    out.push(tag);
    if let Some(realm) = realm {
        put_bytes(realm.as_bytes(), out);
    }
    match frame {
        PeerFrame::Invoke {
            call,
            registration,
            callee,
            index,
            ..
        } => {
            put_varint(call.0, out);
            put_varint(registration.get(), out);
            put_fixed(callee.get(), out);
            put_varint(*index, out);
        }
        PeerFrame::Chunk {
            call,
            registration,
            callee,
            ..
        } => {
            put_varint(call.0, out);
            put_varint(registration.get(), out);
            put_fixed(callee.get(), out);
        }
        PeerFrame::Interrupt { call, mode, reason } => {
            put_varint(call.0, out);
            out.push(match mode {
                InterruptMode::Kill => 0,
                InterruptMode::KillNoWait => 1,
            });
            put_bytes(reason.as_bytes(), out);
        }
        PeerFrame::Error { call, error, .. } => {
            put_varint(call.0, out);
            put_bytes(error.as_bytes(), out);
        }
        PeerFrame::Nack { call, callee, why, .. } => {
            put_varint(call.0, out);
            put_fixed(callee.get(), out);
            out.push(why.code());
        }
        PeerFrame::Progress { call, .. } | PeerFrame::Result { call, .. } | PeerFrame::Forget { call } => put_varint(call.0, out),
        PeerFrame::Flood { source, hold } => {
            out.push(u8::from(*hold));
            match source {
                FloodSource::Publisher(session) => {
                    out.push(PUBLISHER);
                    put_fixed(session.get(), out);
                }
                FloodSource::Call(call) => {
                    out.push(CALL);
                    put_varint(call.0, out);
                }
                FloodSource::Answer(call) => {
                    out.push(ANSWER);
                    put_varint(call.0, out);
                }
            }
        }
        PeerFrame::Event {
            publication,
            topic,
            publisher,
            exclude_me,
            acknowledged,
            audience,
            keep,
            ..
        } => {
            put_fixed(publication.get(), out);
            put_bytes(topic.as_bytes(), out);
            put_fixed(publisher.get(), out);
            let flags = [
                (*exclude_me, EXCLUDE_ME),
                (audience.is_some(), HAS_AUDIENCE),
                (*acknowledged, ACKNOWLEDGED),
            ];
            let flags: u8 = flags.iter().map(|(set, flag)| u8::from(*set) * flag).sum();
            out.push(flags | keep_flags(keep.as_deref()));
            if let Some(audience) = audience {
                put_dict(&audience.to_dict(), out);
            }
            if let Some(mark) = keep {
                put_varint(mark.time, out);
            }
        }
        PeerFrame::Kept { .. } => {}
        PeerFrame::MetaAsk { ask, .. } => put_varint(*ask, out),
        PeerFrame::MetaAnswer { ask, index, .. } => {
            put_varint(*ask, out);
            put_varint(*index, out);
        }
        PeerFrame::Delivered { publication } => put_fixed(publication.get(), out),
        PeerFrame::RevokeSubscription {
            session,
            subscription,
            reason,
        } => {
            put_fixed(session.get(), out);
            put_fixed(subscription.get(), out);
            put_bytes(reason.as_bytes(), out);
        }
    }
    if let Some(details) = details {
        put_dict(details, out);
    }
    if let Some(payload) = payload {
        out.push(serializer_out(payload.serializer()) | payload.elements() << 4);
    }
    Written {
        at,
        payload: payload.map(Payload::bytes),
    }
}

/// Appends a frame that says nothing but what every one of its kind does, with its payload.
pub(super) fn write_plain(realm: Option<&Uri>, frame: PlainFrame, payload: Elements<'_>, out: &mut Vec<u8>) {
    let at = out.len();
    out.reserve(PLAIN_HEAD_BYTES + payload.bytes.len());
    out.extend_from_slice(&[0; LENGTH_BYTES]);
    let kind = match frame {
        PlainFrame::Invoke { .. } => INVOKE,
        PlainFrame::Result { .. } => RESULT,
    };
    let has_realm = if realm.is_some() { HAS_REALM } else { 0 };
    let has_payload = if payload.count > 0 { HAS_PAYLOAD } else { 0 };
    out.push(kind | has_realm | has_payload);
    if let Some(realm) = realm {
        put_bytes(realm.as_bytes(), out);
    }
    match frame {
        PlainFrame::Invoke {
            call,
            registration,
            callee,
            index,
        } => {
            put_varint(call.0, out);
            put_varint(registration.get(), out);
            put_fixed(callee.get(), out);
            put_varint(index, out);
        }
        PlainFrame::Result { call } => put_varint(call.0, out),
    }
    if payload.count > 0 {
        out.push(serializer_out(payload.serializer) | payload.count << 4);
        out.extend_from_slice(payload.bytes);
    }
    set_length(at, out);
}

/// What a plain frame has beside its payload, and then some; without the name of a realm.
const PLAIN_HEAD_BYTES: usize = LENGTH_BYTES + 1 + 3 * 10 + 8 + 1;

/// A frame of which all but the payload's bytes was written.
pub(super) struct Written<'a> {
    at: usize,
    payload: Option<&'a Bytes>,
}

impl Written<'_> {
    /// How many bytes it takes, its payload included.
    pub(super) fn len(&self, out: &[u8]) -> usize {
        out.len() - self.at + self.payload.map_or(0, Bytes::len)
    }

    /// Appends the payload and closes the frame.
    pub(super) fn finish(self, out: &mut Vec<u8>) {
        if let Some(payload) = self.payload {
            out.extend_from_slice(payload);
        }
        set_length(self.at, out);
    }

    /// Takes the frame out of `out`: its head, without length, and its payload, which is not copied.
    pub(super) fn split(self, out: &mut Vec<u8>) -> (Bytes, Bytes) {
        let head = Bytes::copy_from_slice(&out[self.at + LENGTH_BYTES..]);
        out.truncate(self.at);
        (head, self.payload.cloned().unwrap_or_default())
    }
}

/// Appends a frame that was taken out before ([`Written::split`]).
pub(super) fn write_parts(head: &[u8], payload: &[u8], out: &mut Vec<u8>) {
    let at = out.len();
    out.extend_from_slice(&[0; LENGTH_BYTES]);
    out.extend_from_slice(head);
    out.extend_from_slice(payload);
    set_length(at, out);
}

/// Appends a part of a frame that is too large for one batch. `total` is the length of the whole, without the four bytes that say
/// so; it stands in the first part only.
pub(super) fn write_fragment(fragment: &Fragment, out: &mut Vec<u8>) {
    let at = out.len();
    out.extend_from_slice(&[0; LENGTH_BYTES]);
    out.push(FRAGMENT);
    put_varint(fragment.id, out);
    put_varint(fragment.total, out);
    out.push(u8::from(fragment.last));
    out.extend_from_slice(&fragment.bytes);
    set_length(at, out);
}

/// A part of a frame that is too large for one batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fragment {
    /// Which frame of this stream it is a part of.
    pub(super) id: u64,
    pub(super) bytes: Bytes,
    /// How long the whole frame is; 0 but in its first fragment.
    pub(super) total: u64,
    pub(super) last: bool,
}

/// A frame whose tag is read and whose fields are not, by where it stands in some bytes. The methods want those same bytes.
#[derive(Clone, Copy)]
pub(super) struct Packed {
    tag: u8,
    /// What is left to read.
    at: usize,
    end: usize,
}

/// The payload of a plain frame, by where it stands in the batch.
#[derive(Default)]
pub(super) struct PlainTail(Option<(Serializer, u8, Range<usize>)>);

impl PlainTail {
    pub(super) fn of(self, batch: &[u8]) -> Elements<'_> {
        let found = self.0.and_then(|(serializer, count, at)| {
            let bytes = batch.get(at)?;
            Some(Elements {
                serializer,
                count,
                bytes,
            })
        });
        found.unwrap_or(Elements::NONE)
    }
}

/// What a frame turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// For the core of a realm.
    Peer,
    /// A part of a larger frame.
    Fragment,
    /// Of a kind this version does not know.
    Unknown,
}

impl Packed {
    /// The frame that begins at `at`, which is moved behind it; `None` at the end of the batch.
    pub(super) fn next(batch: &[u8], at: &mut usize) -> Result<Option<Self>, Malformed> {
        let rest = batch.get(*at..).unwrap_or_default();
        let Some((length, rest)) = rest.split_first_chunk::<LENGTH_BYTES>() else {
            return if rest.is_empty() { Ok(None) } else { Err(Malformed::Frame) };
        };
        let length = u32::from_le_bytes(*length) as usize;
        let frame = rest.get(..length).ok_or(Malformed::Frame)?;
        *at += LENGTH_BYTES;
        let mut packed = Self::whole(frame)?;
        packed.at += *at;
        packed.end += *at;
        *at += length;
        Ok(Some(packed))
    }

    /// A frame without its length.
    pub(super) fn whole(frame: &[u8]) -> Result<Self, Malformed> {
        let tag = *frame.first().ok_or(Malformed::Frame)?;
        let (at, end) = (1, frame.len());
        Ok(Self { tag, at, end })
    }

    pub(super) fn shape(&self) -> Shape {
        match self.tag & KIND {
            INVOKE..=EVENT | FLOOD..=DELIVERED | KEPT | META_ASK | META_ANSWER => Shape::Peer,
            FRAGMENT => Shape::Fragment,
            _ => Shape::Unknown,
        }
    }

    /// The name of its realm, if it says one; to be asked once, before [`Self::peer`].
    pub(super) fn realm<'a>(&mut self, batch: &'a [u8]) -> Result<Option<&'a [u8]>, Malformed> {
        if self.tag & HAS_REALM == 0 {
            return Ok(None);
        }
        self.tag &= !HAS_REALM;
        let mut fields = self.fields(batch)?;
        let name = fields.bytes()?;
        self.at = self.end - fields.0.len();
        Ok(Some(name))
    }

    /// Reads a frame of [`Shape::Peer`]; its payload is a slice of `batch`.
    pub(super) fn peer(&self, batch: &Bytes) -> Result<PeerFrame, Malformed> {
        let mut fields = self.fields(batch)?;
        Ok(match self.tag & KIND {
            INVOKE => {
                let call = CallId(fields.varint()?);
                let registration = RegistrationId::new(fields.varint()?).ok_or(Malformed::Id("registration"))?;
                let callee = session(fields.fixed()?, "callee")?;
                let index = fields.varint()?;
                let (details, payload) = self.tail(fields, batch)?;
                PeerFrame::Invoke {
                    call,
                    registration,
                    callee,
                    index,
                    details,
                    payload,
                }
            }
            RESULT => {
                let call = CallId(fields.varint()?);
                let (details, payload) = self.tail(fields, batch)?;
                PeerFrame::Result { call, details, payload }
            }
            ERROR => {
                let call = CallId(fields.varint()?);
                let error = text(fields.bytes()?, "error")?;
                let (details, payload) = self.tail(fields, batch)?;
                PeerFrame::Error {
                    call,
                    details,
                    error,
                    payload,
                }
            }
            CHUNK => {
                let call = CallId(fields.varint()?);
                let registration = RegistrationId::new(fields.varint()?).ok_or(Malformed::Id("registration"))?;
                let callee = session(fields.fixed()?, "callee")?;
                let (details, payload) = self.tail(fields, batch)?;
                PeerFrame::Chunk {
                    call,
                    registration,
                    callee,
                    details,
                    payload,
                }
            }
            PROGRESS => {
                let call = CallId(fields.varint()?);
                let (details, payload) = self.tail(fields, batch)?;
                PeerFrame::Progress { call, details, payload }
            }
            INTERRUPT => PeerFrame::Interrupt {
                call: CallId(fields.varint()?),
                mode: match fields.byte()? {
                    0 => InterruptMode::Kill,
                    1 => InterruptMode::KillNoWait,
                    _ => return Err(Malformed::Frame),
                },
                reason: text(fields.bytes()?, "reason")?,
            },
            NACK => PeerFrame::Nack {
                call: CallId(fields.varint()?),
                callee: session(fields.fixed()?, "callee")?,
                why: Refusal::from_code(fields.byte()?),
                payload: self.tail(fields, batch)?.1,
            },
            FORGET => PeerFrame::Forget {
                call: CallId(fields.varint()?),
            },
            FLOOD => {
                let hold = fields.byte()? != 0;
                let source = match fields.byte()? {
                    PUBLISHER => FloodSource::Publisher(session(fields.fixed()?, "publisher")?),
                    CALL => FloodSource::Call(CallId(fields.varint()?)),
                    ANSWER => FloodSource::Answer(CallId(fields.varint()?)),
                    _ => return Err(Malformed::Frame),
                };
                PeerFrame::Flood { source, hold }
            }
            EVENT => {
                let publication = PublicationId::new(fields.fixed()?).ok_or(Malformed::Id("publication"))?;
                let topic = text(fields.bytes()?, "topic")?;
                let publisher = session(fields.fixed()?, "publisher")?;
                let flags = fields.byte()?;
                let audience = match flags & HAS_AUDIENCE {
                    0 => None,
                    _ => Some(Box::new(fields.audience()?)),
                };
                let keep = match flags & IS_KEPT {
                    0 => None,
                    _ => Some(Box::new(KeepMark {
                        time: fields.varint()?,
                        retain: flags & IS_RETAINED != 0,
                    })),
                };
                let (details, payload) = self.tail(fields, batch)?;
                PeerFrame::Event {
                    publication,
                    topic,
                    publisher,
                    exclude_me: flags & EXCLUDE_ME != 0,
                    acknowledged: flags & ACKNOWLEDGED != 0,
                    audience,
                    keep,
                    details,
                    payload,
                }
            }
            DELIVERED => PeerFrame::Delivered {
                publication: PublicationId::new(fields.fixed()?).ok_or(Malformed::Id("publication"))?,
            },
            KEPT => PeerFrame::Kept {
                what: self.tail(fields, batch)?.0,
            },
            META_ASK => {
                let ask = fields.varint()?;
                let question = self.tail(fields, batch)?.0;
                PeerFrame::MetaAsk { ask, question }
            }
            META_ANSWER => {
                let (ask, index) = (fields.varint()?, fields.varint()?);
                let answer = self.tail(fields, batch)?.0;
                PeerFrame::MetaAnswer { ask, index, answer }
            }
            REVOKE_SUBSCRIPTION => PeerFrame::RevokeSubscription {
                session: session(fields.fixed()?, "session")?,
                subscription: SubscriptionId::new(fields.fixed()?).ok_or(Malformed::Id("subscription"))?,
                reason: text(fields.bytes()?, "reason")?,
            },
            _ => return Err(Malformed::Frame),
        })
    }

    /// The same of a frame that says nothing but what every one of its kind does, and where its payload is; `None` for any other, and
    /// for a malformed one.
    pub(super) fn plain(&self, batch: &[u8]) -> Option<(PlainFrame, PlainTail)> {
        let mut fields = self.fields(batch).ok()?;
        let frame = match self.tag & (KIND | HAS_DETAILS) {
            INVOKE => PlainFrame::Invoke {
                call: CallId(fields.varint().ok()?),
                registration: RegistrationId::new(fields.varint().ok()?)?,
                callee: SessionId::new(fields.fixed().ok()?)?,
                index: fields.varint().ok()?,
            },
            RESULT => PlainFrame::Result {
                call: CallId(fields.varint().ok()?),
            },
            _ => return None,
        };
        let tail = if self.tag & HAS_PAYLOAD == 0 {
            PlainTail::default()
        } else {
            let kind = fields.byte().ok()?;
            let (serializer, count) = (serializer_in(kind & 0x0f)?, kind >> 4);
            if !matches!(count, 1 | 2) || fields.0.is_empty() {
                return None;
            }
            PlainTail(Some((serializer, count, self.end - fields.0.len()..self.end)))
        };
        Some((frame, tail))
    }

    /// Reads a frame of [`Shape::Fragment`]; its bytes are a slice of `batch`.
    pub(super) fn fragment(&self, batch: &Bytes) -> Result<Fragment, Malformed> {
        let mut fields = self.fields(batch)?;
        let (id, total, last) = (fields.varint()?, fields.varint()?, fields.byte()? != 0);
        let bytes = batch.slice_ref(fields.0);
        Ok(Fragment { id, bytes, total, last })
    }

    fn fields<'a>(&self, batch: &'a [u8]) -> Result<Fields<'a>, Malformed> {
        batch.get(self.at..self.end).map(Fields).ok_or(Malformed::Frame)
    }

    fn tail(&self, mut fields: Fields<'_>, batch: &Bytes) -> Result<(Dict, Payload), Malformed> {
        let details = if self.tag & HAS_DETAILS == 0 {
            Dict::new()
        } else {
            details::decode(fields.bytes()?).ok_or(Malformed::Details)?
        };
        if self.tag & HAS_PAYLOAD == 0 {
            return Ok((details, Payload::EMPTY));
        }
        let kind = fields.byte()?;
        let (serializer, elements) = (kind & 0x0f, kind >> 4);
        match (serializer_in(serializer), elements, fields.0) {
            (Some(serializer), 1 | 2, bytes @ [_, ..]) => {
                Ok((details, Payload::from_proven(serializer, elements, batch.slice_ref(bytes))))
            }
            (_, _, bytes) => Err(Malformed::Payload {
                serializer: serializer.into(),
                elements: elements.into(),
                bytes: bytes.len(),
            }),
        }
    }
}

/// The names of the realms a lane has spoken of lately, so that a frame does not cost a name of its own.
#[derive(Default)]
pub(super) struct Realms(Vec<Uri>);

impl Realms {
    /// The realm of that name.
    pub(super) fn name(&mut self, bytes: &[u8]) -> Result<Uri, Malformed> {
        if let Some(known) = self.0.iter().find(|known| known.as_bytes() == bytes) {
            return Ok(known.clone());
        }
        let name = text(bytes, "realm")?;
        if self.0.len() == REALMS_KEPT {
            self.0.clear();
        }
        self.0.push(name.clone());
        Ok(name)
    }
}

const REALMS_KEPT: usize = 16;

/// The fields of a frame that are still to be read.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn byte(&mut self) -> Result<u8, Malformed> {
        let (&byte, rest) = self.0.split_first().ok_or(Malformed::Frame)?;
        self.0 = rest;
        Ok(byte)
    }

    fn fixed(&mut self) -> Result<u64, Malformed> {
        let (bytes, rest) = self.0.split_first_chunk::<8>().ok_or(Malformed::Frame)?;
        self.0 = rest;
        Ok(u64::from_le_bytes(*bytes))
    }

    fn varint(&mut self) -> Result<u64, Malformed> {
        let mut number = 0;
        for shift in (0..70).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            // The tenth byte has room for one bit.
            if shift == 63 && bits > 1 {
                return Err(Malformed::Frame);
            }
            number |= bits << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(Malformed::Frame)
    }

    fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let length = usize::try_from(self.varint()?).map_err(|_| Malformed::Frame)?;
        let (bytes, rest) = self.0.split_at_checked(length).ok_or(Malformed::Frame)?;
        self.0 = rest;
        Ok(bytes)
    }

    fn audience(&mut self) -> Result<Audience, Malformed> {
        let dict = details::decode(self.bytes()?).ok_or(Malformed::Details)?;
        Audience::from_dict(&dict).map_err(|_| Malformed::Details)
    }
}

fn put_dict(dict: &Dict, out: &mut Vec<u8>) {
    let mut bytes = Vec::new();
    details::encode(dict, &mut bytes);
    put_bytes(&bytes, out);
}

fn put_varint(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn put_fixed(number: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(&number.to_le_bytes());
}

fn put_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    put_varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

/// Closes the frame that begins at `at`. No frame comes near 4 GiB: larger ones are refused or travel in parts.
fn set_length(at: usize, out: &mut [u8]) {
    let length = (out.len() - at - LENGTH_BYTES) as u32;
    out[at..at + LENGTH_BYTES].copy_from_slice(&length.to_le_bytes());
}

fn text(bytes: &[u8], what: &'static str) -> Result<Uri, Malformed> {
    std::str::from_utf8(bytes).map(Uri::from).map_err(|_| Malformed::Text(what))
}

fn session(raw: u64, what: &'static str) -> Result<SessionId, Malformed> {
    SessionId::new(raw).ok_or(Malformed::Id(what))
}

const fn serializer_out(serializer: Serializer) -> u8 {
    serializer.rawsocket_id()
}

fn serializer_in(number: u8) -> Option<Serializer> {
    Serializer::from_rawsocket_id(number)
}

/// The bytes of a frame's length.
pub(super) const LENGTH_BYTES: usize = 4;

const KIND: u8 = 0x1f;
const INVOKE: u8 = 1;
const RESULT: u8 = 2;
const ERROR: u8 = 3;
const NACK: u8 = 4;
const FORGET: u8 = 5;
const EVENT: u8 = 6;
const FRAGMENT: u8 = 7;
const KEPT: u8 = 24;
const META_ASK: u8 = 20;
const META_ANSWER: u8 = 21;
const FLOOD: u8 = 8;
const REVOKE_SUBSCRIPTION: u8 = 9;
const CHUNK: u8 = 10;
const PROGRESS: u8 = 11;
const INTERRUPT: u8 = 12;
const DELIVERED: u8 = 13;

/// The flags of an event.
const EXCLUDE_ME: u8 = 1;
const HAS_AUDIENCE: u8 = 2;
const ACKNOWLEDGED: u8 = 4;
const IS_KEPT: u8 = 64;
const IS_RETAINED: u8 = 128;

fn keep_flags(mark: Option<&KeepMark>) -> u8 {
    mark.map_or(0, |mark| IS_KEPT | (u8::from(mark.retain) * IS_RETAINED))
}

const PUBLISHER: u8 = 0;
const CALL: u8 = 1;
const ANSWER: u8 = 2;

const HAS_REALM: u8 = 0x80;
const HAS_DETAILS: u8 = 0x40;
const HAS_PAYLOAD: u8 = 0x20;

#[cfg(test)]
mod tests;
