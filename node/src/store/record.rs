//! Kept events as bytes.
//!
//! An event: `version ‖ topic ‖ extras ‖ kind of payload ‖ payload`. Texts and extras carry their length as varint; extras are details and
//! audience as one CBOR dict, or nothing. Bytes are checked when they are read, a payload by building its values once: what comes
//! from a disk or a server is spliced into messages to clients.

use bytes::Bytes;

use super::{Error, RetainedTopic};
use crate::wamp::{
    Dict, Payload, PublicationId, Serializer, Uri, Value,
    history::{Audience, KeptEvent, Stamp},
};

const VERSION: u8 = 1;

/// The bytes of an event, all but its stamp.
pub(super) fn write(event: &KeptEvent) -> Vec<u8> {
    let mut out = Vec::with_capacity(16 + event.topic.len() + event.payload.bytes().len());
    out.push(VERSION);
    put_bytes(event.topic.as_bytes(), &mut out);
    let extras = extras(event);
    put_bytes(extras.bytes(), &mut out);
    let payload = &event.payload;
    out.push(payload.serializer().rawsocket_id() | payload.elements() << 4);
    out.extend_from_slice(payload.bytes());
    out
}

/// Reads what [`write()`] wrote.
pub(super) fn read(stamp: Stamp, bytes: &[u8]) -> Result<KeptEvent, Error> {
    let mut fields = Fields(bytes);
    if fields.byte()? != VERSION {
        return Err(Error::Damaged("an unknown version"));
    }
    let topic = fields.text()?;
    let (audience, details) = split_extras(fields.bytes()?)?;
    let kind = fields.byte()?;
    let serializer = Serializer::from_rawsocket_id(kind & 0x0f).ok_or(Error::Damaged("a payload"))?;
    let payload = match (kind >> 4, fields.0) {
        (0, []) => Payload::EMPTY,
        (elements @ 1..=2, bytes) => Payload::from_proven(serializer, elements, Bytes::copy_from_slice(bytes)),
        _ => return Err(Error::Damaged("a payload")),
    };
    if payload.to_values().is_err() {
        return Err(Error::Damaged("a payload"));
    }
    Ok(KeptEvent {
        stamp,
        topic: Uri::from(topic),
        audience,
        details,
        payload,
    })
}

/// The topic of an event, without reading the rest.
pub(super) fn topic(bytes: &[u8]) -> Result<&str, Error> {
    let mut fields = Fields(bytes);
    match fields.byte()? {
        VERSION => fields.text(),
        _ => Err(Error::Damaged("an unknown version")),
    }
}

/// The bytes of what is retained of a topic.
pub(super) fn write_retained(topic: &RetainedTopic) -> Vec<u8> {
    let mut out = vec![VERSION];
    out.push(u8::from(topic.cleared.is_some()));
    if let Some(stamp) = topic.cleared {
        put_stamp(stamp, &mut out);
    }
    for event in &topic.events {
        put_stamp(event.stamp, &mut out);
        put_bytes(&write(event), &mut out);
    }
    out
}

/// Reads what [`write_retained`] wrote.
pub(super) fn read_retained(topic: &str, bytes: &[u8]) -> Result<RetainedTopic, Error> {
    let mut fields = Fields(bytes);
    if fields.byte()? != VERSION {
        return Err(Error::Damaged("an unknown version"));
    }
    let cleared = match fields.byte()? {
        0 => None,
        _ => Some(fields.stamp()?),
    };
    let mut events = Vec::new();
    while !fields.0.is_empty() {
        let stamp = fields.stamp()?;
        events.push(read(stamp, fields.bytes()?)?);
    }
    Ok(RetainedTopic {
        topic: Uri::from(topic),
        cleared,
        events,
    })
}

fn extras(event: &KeptEvent) -> Payload {
    let mut extras = Dict::new();
    if !event.details.is_empty() {
        extras.set("details", event.details.clone());
    }
    if let Some(audience) = &event.audience {
        let texts = |list: &[String]| Value::List(list.iter().map(|text| Value::from(text.as_str())).collect());
        for (key, list) in [
            ("eligible_authid", &audience.eligible_authid),
            ("eligible_authrole", &audience.eligible_authrole),
        ] {
            if let Some(list) = list {
                extras.set(key, texts(list));
            }
        }
        extras.set("exclude_authid", texts(&audience.exclude_authid));
        extras.set("exclude_authrole", texts(&audience.exclude_authrole));
    }
    Payload::from_values(Serializer::Cbor, &[], &extras)
}

fn split_extras(bytes: &[u8]) -> Result<(Option<Box<Audience>>, Dict), Error> {
    const DAMAGED: Error = Error::Damaged("details or audience");
    if bytes.is_empty() {
        return Ok((None, Dict::new()));
    }
    let bytes = Payload::from_proven(Serializer::Cbor, 2, Bytes::copy_from_slice(bytes));
    let (_, extras) = bytes.to_values().map_err(|_| DAMAGED)?;
    let details = extras.dict("details").cloned().unwrap_or_default();
    let texts = |key: &str| -> Result<Option<Vec<String>>, Error> {
        let Some(value) = extras.get(key) else { return Ok(None) };
        let list = value.as_list().ok_or(DAMAGED)?;
        let texts = list.iter().map(|value| value.as_text().map(str::to_owned));
        texts.collect::<Option<_>>().map(Some).ok_or(DAMAGED)
    };
    let Some(exclude_authid) = texts("exclude_authid")? else {
        return Ok((None, details));
    };
    let audience = Audience {
        eligible_authid: texts("eligible_authid")?,
        eligible_authrole: texts("eligible_authrole")?,
        exclude_authid,
        exclude_authrole: texts("exclude_authrole")?.unwrap_or_default(),
    };
    Ok((Some(Box::new(audience)), details))
}

/// What is left to read of some bytes.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn byte(&mut self) -> Result<u8, Error> {
        let (&byte, rest) = self.0.split_first().ok_or(Error::Damaged("its end is missing"))?;
        self.0 = rest;
        Ok(byte)
    }

    fn number(&mut self) -> Result<u64, Error> {
        let (bytes, rest) = self.0.split_first_chunk::<8>().ok_or(Error::Damaged("its end is missing"))?;
        self.0 = rest;
        Ok(u64::from_be_bytes(*bytes))
    }

    fn stamp(&mut self) -> Result<Stamp, Error> {
        let (time, publication) = (self.number()?, self.number()?);
        stamp(time, publication)
    }

    fn bytes(&mut self) -> Result<&'a [u8], Error> {
        let mut length = 0usize;
        for shift in (0..35).step_by(7) {
            let byte = self.byte()?;
            length |= usize::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                let (bytes, rest) = self.0.split_at_checked(length).ok_or(Error::Damaged("its end is missing"))?;
                self.0 = rest;
                return Ok(bytes);
            }
        }
        Err(Error::Damaged("a length"))
    }

    fn text(&mut self) -> Result<&'a str, Error> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Error::Damaged("a text"))
    }
}

/// The stamp of two numbers that were kept.
pub(super) fn stamp(time: u64, publication: u64) -> Result<Stamp, Error> {
    let publication = PublicationId::new(publication).ok_or(Error::Damaged("a publication id"))?;
    Ok(Stamp { time, publication })
}

fn put_stamp(stamp: Stamp, out: &mut Vec<u8>) {
    out.extend_from_slice(&stamp.time.to_be_bytes());
    out.extend_from_slice(&stamp.publication.get().to_be_bytes());
}

/// Appends a length and so many bytes; nothing a message can carry comes near 4 GiB.
fn put_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    let mut length = bytes.len();
    while length >= 0x80 {
        out.push(length as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::store::tests::events::event;

    proptest! {
        #[test]
        fn every_event_comes_back_as_it_was(event in event()) {
            let bytes = write(&event);
            prop_assert_eq!(read(event.stamp, &bytes).unwrap(), event.clone());
            let topic = RetainedTopic { topic: event.topic.clone(), cleared: Some(event.stamp), events: vec![event.clone(), event] };
            prop_assert_eq!(read_retained(&topic.topic, &write_retained(&topic)).unwrap(), topic);
        }

        #[test]
        fn no_bytes_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..64), at in 0usize..64, flip in any::<u8>(), event in event()) {
            let stamp = event.stamp;
            let _ = read(stamp, &bytes);
            bytes.insert(0, VERSION);
            let _ = read(stamp, &bytes);
            let _ = read_retained("a", &bytes);
            let mut bytes = write(&event);
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= flip;
            }
            let _ = read(stamp, &bytes);
        }
    }
}
