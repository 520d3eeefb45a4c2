//! Tests of the codec as a whole.

mod golden;
mod malformed;
mod property;
mod transcoding;
mod vectors;

use super::*;
use crate::wamp::{PublicationId, RegistrationId, RequestId, SessionId, SubscriptionId, Uri};

/// The bytes that `digits` spell; spaces do not count.
fn hex(digits: &str) -> Vec<u8> {
    let digits: Vec<u8> = digits.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
    let digit = |b: u8| (b as char).to_digit(16).expect("a hexadecimal digit") as u8;
    digits.chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

/// Decodes both kinds of frame and holds them against each other.
fn read(serializer: Serializer, bytes: &[u8]) -> Result<Message, DecodeError> {
    read_within(serializer, bytes, &Limits::default())
}

fn read_within(serializer: Serializer, bytes: &[u8], limits: &Limits) -> Result<Message, DecodeError> {
    let borrowed = decode(serializer, Frame::Borrowed(bytes), limits);
    let owned = decode(serializer, Frame::Owned(Bytes::copy_from_slice(bytes)), limits);
    assert_eq!(borrowed, owned);
    borrowed
}

fn write(message: &Message, serializer: Serializer) -> Vec<u8> {
    let mut out = b"kept".to_vec();
    encode(message, serializer, &mut out).expect("a message that every serializer carries");
    assert_eq!(&out[..4], b"kept");
    out.split_off(4)
}

fn payload_of(message: &Message) -> Payload {
    message.payload().cloned().unwrap_or(Payload::EMPTY)
}

fn request(raw: u64) -> RequestId {
    RequestId::new(raw).expect("an id")
}

fn session(raw: u64) -> SessionId {
    SessionId::new(raw).expect("an id")
}

fn publication(raw: u64) -> PublicationId {
    PublicationId::new(raw).expect("an id")
}

fn subscription(raw: u64) -> SubscriptionId {
    SubscriptionId::new(raw).expect("an id")
}

fn registration(raw: u64) -> RegistrationId {
    RegistrationId::new(raw).expect("an id")
}
