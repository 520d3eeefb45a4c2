//! The only place where generated types meet ours.
//!
//! An incoming payload is trusted to be well-formed, for the peer's codec has proven it before the peer accepted it from its
//! client; ids, texts, tags and counts are checked here.

use bytes::Bytes;
use prost::Message;
use ringfort_proto::cluster::v1 as pb;

use super::details;
use crate::{
    cluster::interest::{self, Change},
    router::{NodeRef, PeerFrame, Slot, frame::CallId},
    wamp::{Dict, Payload, PublicationId, RegistrationId, Serializer, SessionId, Uri},
};

/// What is wrong with something a peer sent. The link ends.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("{0} is not an id")]
    Id(&'static str),
    #[error("{0} is not UTF-8")]
    Text(&'static str),
    #[error("details are not a dictionary")]
    Details,
    #[error("payload with serializer {serializer} and {elements} elements in {bytes} bytes")]
    Payload { serializer: u32, elements: u32, bytes: usize },
    #[error("fragments do not make a frame: {0}")]
    Fragment(&'static str),
}

/// A frame of a data lane as it travels.
pub(super) fn frame_out(realm: Bytes, frame: &PeerFrame) -> pb::LinkFrame {
    use pb::link_frame::Kind;
    let kind = match frame {
        PeerFrame::Invoke {
            call,
            registration,
            callee,
            index,
            details,
            payload,
        } => Kind::Invoke(pb::LinkInvoke {
            call: call.0,
            registration: registration.get(),
            callee: callee.get(),
            index: *index,
            details: details_out(details),
            payload: payload_out(payload),
        }),
        PeerFrame::Result { call, details, payload } => Kind::Result(pb::LinkResult {
            call: call.0,
            details: details_out(details),
            payload: payload_out(payload),
        }),
        PeerFrame::Error {
            call,
            details,
            error,
            payload,
        } => Kind::Error(pb::LinkError {
            call: call.0,
            details: details_out(details),
            error: text_out(error),
            payload: payload_out(payload),
        }),
        PeerFrame::Nack { call } => Kind::Nack(pb::LinkNack { call: call.0 }),
        PeerFrame::Forget { call } => Kind::Forget(pb::LinkForget { call: call.0 }),
        PeerFrame::Event {
            publication,
            topic,
            publisher,
            exclude_me,
            details,
            payload,
        } => Kind::Event(pb::LinkEvent {
            publication: publication.get(),
            topic: text_out(topic),
            publisher: publisher.get(),
            exclude_me: *exclude_me,
            details: details_out(details),
            payload: payload_out(payload),
        }),
    };
    pb::LinkFrame { realm, kind: Some(kind) }
}

/// What a frame of a data lane holds.
pub(super) enum Incoming {
    /// For the core of that realm.
    Frame(Uri, PeerFrame),
    /// A part of a larger frame.
    Fragment(pb::LinkFragment),
    /// Of a kind this version does not know, or one that has no business on a lane.
    Unknown,
}

/// Reads a frame of a data lane; `realms` makes the realm's name.
pub(super) fn frame_in(frame: pb::LinkFrame, realms: &mut Realms) -> Result<Incoming, Malformed> {
    use pb::link_frame::Kind;
    let peer_frame = match frame.kind {
        Some(Kind::Invoke(invoke)) => PeerFrame::Invoke {
            call: CallId(invoke.call),
            registration: RegistrationId::new(invoke.registration).ok_or(Malformed::Id("registration"))?,
            callee: session_in(invoke.callee, "callee")?,
            index: invoke.index,
            details: details_in(&invoke.details)?,
            payload: payload_in(invoke.payload)?,
        },
        Some(Kind::Result(result)) => PeerFrame::Result {
            call: CallId(result.call),
            details: details_in(&result.details)?,
            payload: payload_in(result.payload)?,
        },
        Some(Kind::Error(error)) => PeerFrame::Error {
            call: CallId(error.call),
            details: details_in(&error.details)?,
            error: text_in(&error.error, "error")?,
            payload: payload_in(error.payload)?,
        },
        Some(Kind::Nack(nack)) => PeerFrame::Nack { call: CallId(nack.call) },
        Some(Kind::Forget(forget)) => PeerFrame::Forget {
            call: CallId(forget.call),
        },
        Some(Kind::Event(event)) => PeerFrame::Event {
            publication: PublicationId::new(event.publication).ok_or(Malformed::Id("publication"))?,
            topic: text_in(&event.topic, "topic")?,
            publisher: session_in(event.publisher, "publisher")?,
            exclude_me: event.exclude_me,
            details: details_in(&event.details)?,
            payload: payload_in(event.payload)?,
        },
        Some(Kind::Fragment(fragment)) => return Ok(Incoming::Fragment(fragment)),
        _ => return Ok(Incoming::Unknown),
    };
    Ok(Incoming::Frame(realms.name(&frame.realm)?, peer_frame))
}

/// The names of the realms a lane has spoken of lately, so that a frame does not cost a name of its own.
#[derive(Default)]
pub(super) struct Realms(Vec<Uri>);

impl Realms {
    fn name(&mut self, bytes: &[u8]) -> Result<Uri, Malformed> {
        if let Some(known) = self.0.iter().find(|known| known.as_bytes() == bytes) {
            return Ok(known.clone());
        }
        let name = text_in(bytes, "realm")?;
        if self.0.len() == REALMS_KEPT {
            self.0.clear();
        }
        self.0.push(name.clone());
        Ok(name)
    }
}

const REALMS_KEPT: usize = 16;

/// The bytes of a frame too large for one batch.
pub(super) fn frame_bytes(frame: &pb::LinkFrame) -> Bytes {
    frame.encode_to_vec().into()
}

/// The frame whose fragments were put together; its payload stays a slice of `bytes`.
pub(super) fn frame_from_bytes(bytes: Bytes) -> Result<pb::LinkFrame, Malformed> {
    pb::LinkFrame::decode(bytes).map_err(|_| Malformed::Fragment("not a frame"))
}

/// A node life as it travels.
pub(super) fn node_out(node: NodeRef, name: &str) -> pb::LinkNode {
    pb::LinkNode {
        slot: node.slot.0.into(),
        epoch: node.epoch,
        name: name.to_owned(),
    }
}

/// The node life a peer names.
pub(super) fn node_in(node: &pb::LinkNode) -> Option<NodeRef> {
    let slot = u16::try_from(node.slot).ok().filter(|slot| (1..=4095).contains(slot))?;
    Some(NodeRef {
        slot: Slot(slot),
        epoch: node.epoch,
    })
}

/// A part of the interest, as the control stream carries it.
pub(super) fn interest_out(message: interest::Message) -> pb::LinkFrame {
    use pb::link_frame::Kind;
    let kind = match message {
        interest::Message::Snapshot {
            first,
            last,
            version,
            digest,
            changes,
        } => Kind::InterestSnapshot(pb::InterestSnapshot {
            first,
            last,
            version,
            digest,
            realms: changes_out(&changes),
        }),
        interest::Message::Delta {
            from_version,
            version,
            digest,
            changes,
        } => Kind::InterestDelta(pb::InterestDelta {
            from_version,
            version,
            digest,
            realms: changes_out(&changes),
        }),
    };
    pb::LinkFrame {
        realm: Bytes::new(),
        kind: Some(kind),
    }
}

/// A snapshot part as the interest table takes it.
pub(super) fn snapshot_in(snapshot: pb::InterestSnapshot) -> Result<interest::Message, Malformed> {
    let pb::InterestSnapshot {
        first,
        last,
        version,
        digest,
        realms,
    } = snapshot;
    Ok(interest::Message::Snapshot {
        first,
        last,
        version,
        digest,
        changes: changes_in(&realms)?,
    })
}

/// A delta as the interest table takes it.
pub(super) fn delta_in(delta: pb::InterestDelta) -> Result<interest::Message, Malformed> {
    let pb::InterestDelta {
        from_version,
        version,
        digest,
        realms,
    } = delta;
    Ok(interest::Message::Delta {
        from_version,
        version,
        digest,
        changes: changes_in(&realms)?,
    })
}

/// Changes in their order, consecutive ones of a realm together.
pub(super) fn changes_out(changes: &[Change]) -> Vec<pb::InterestRealm> {
    let same_realm = changes.chunk_by(|a, b| a.realm == b.realm);
    let realms = same_realm.map(|group| pb::InterestRealm {
        realm: text_out(&group[0].realm),
        changes: group
            .iter()
            .map(|change| pb::InterestChange {
                topic: text_out(&change.topic),
                wanted: change.wanted,
            })
            .collect(),
    });
    realms.collect()
}

/// The reverse of [`changes_out`].
pub(super) fn changes_in(realms: &[pb::InterestRealm]) -> Result<Vec<Change>, Malformed> {
    let mut changes = Vec::with_capacity(realms.iter().map(|group| group.changes.len()).sum());
    for group in realms {
        let realm = text_in(&group.realm, "realm")?;
        for change in &group.changes {
            changes.push(Change {
                realm: realm.clone(),
                topic: text_in(&change.topic, "topic")?,
                wanted: change.wanted,
            });
        }
    }
    Ok(changes)
}

/// A name as the bytes it travels as.
pub(super) fn text_out(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn text_in(bytes: &[u8], what: &'static str) -> Result<Uri, Malformed> {
    std::str::from_utf8(bytes).map(Uri::from).map_err(|_| Malformed::Text(what))
}

fn session_in(raw: u64, what: &'static str) -> Result<SessionId, Malformed> {
    SessionId::new(raw).ok_or(Malformed::Id(what))
}

fn details_out(details: &Dict) -> Bytes {
    let mut out = Vec::new();
    details::encode(details, &mut out);
    out.into()
}

fn details_in(bytes: &[u8]) -> Result<Dict, Malformed> {
    details::decode(bytes).ok_or(Malformed::Details)
}

fn payload_out(payload: &Payload) -> Option<pb::LinkPayload> {
    if payload.is_empty() {
        return None;
    }
    let serializer = match payload.serializer() {
        Serializer::Json => 1,
        Serializer::MsgPack => 2,
        Serializer::Cbor => 3,
    };
    Some(pb::LinkPayload {
        serializer,
        elements: payload.elements().into(),
        bytes: payload.bytes().clone(),
    })
}

fn payload_in(payload: Option<pb::LinkPayload>) -> Result<Payload, Malformed> {
    let Some(pb::LinkPayload {
        serializer,
        elements,
        bytes,
    }) = payload
    else {
        return Ok(Payload::EMPTY);
    };
    let known = match serializer {
        1 => Some(Serializer::Json),
        2 => Some(Serializer::MsgPack),
        3 => Some(Serializer::Cbor),
        _ => None,
    };
    match (known, elements, bytes.is_empty()) {
        (_, 0, true) => Ok(Payload::EMPTY),
        (Some(serializer), 1 | 2, false) => Ok(Payload::from_proven(serializer, elements as u8, bytes)),
        _ => Err(Malformed::Payload {
            serializer,
            elements,
            bytes: bytes.len(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id<T>(make: impl Fn(u64) -> Option<T>) -> T {
        make(1 << 53).unwrap()
    }

    fn every_frame() -> Vec<PeerFrame> {
        let payload = Payload::from_proven(Serializer::Cbor, 2, Bytes::from_static(&[0x80, 0xa0]));
        let details = Dict::new().with("progress", true).with("_n", -5i64);
        let call = CallId(u64::MAX);
        vec![
            PeerFrame::Invoke {
                call,
                registration: id(RegistrationId::new),
                callee: id(SessionId::new),
                index: 9,
                details: details.clone(),
                payload: payload.clone(),
            },
            PeerFrame::Result {
                call,
                details: Dict::new(),
                payload: Payload::EMPTY,
            },
            PeerFrame::Error {
                call,
                details,
                error: "wamp.error.x".into(),
                payload: payload.clone(),
            },
            PeerFrame::Nack { call },
            PeerFrame::Forget { call },
            PeerFrame::Event {
                publication: id(PublicationId::new),
                topic: "com.lamp.é".into(),
                publisher: id(SessionId::new),
                exclude_me: true,
                details: Dict::new(),
                payload,
            },
        ]
    }

    fn back(frame: pb::LinkFrame) -> Result<Incoming, Malformed> {
        frame_in(frame, &mut Realms::default())
    }

    #[test]
    fn every_frame_comes_back_as_it_was() {
        for frame in every_frame() {
            let bytes = frame_bytes(&frame_out(text_out("realm1"), &frame));
            match back(frame_from_bytes(bytes).unwrap()) {
                Ok(Incoming::Frame(realm, found)) => assert_eq!((realm, found), ("realm1".into(), frame)),
                _ => panic!("{frame:?} was lost"),
            }
        }
    }

    #[test]
    fn a_payload_is_not_copied_when_it_arrives() {
        let payload = Payload::from_proven(Serializer::Json, 1, Bytes::from(vec![b'7'; 1000]));
        let frame = PeerFrame::Result {
            call: CallId(1),
            details: Dict::new(),
            payload,
        };
        let bytes = frame_bytes(&frame_out(Bytes::new(), &frame));
        let Ok(Incoming::Frame(_, PeerFrame::Result { payload, .. })) = back(frame_from_bytes(bytes.clone()).unwrap()) else {
            panic!("not a result")
        };
        assert!(bytes.as_ptr_range().contains(&payload.bytes().as_ptr()));
    }

    #[test]
    fn ids_texts_and_payload_tags_of_a_peer_are_checked() {
        use pb::link_frame::Kind;
        let check = |kind, realm: &'static [u8]| {
            back(pb::LinkFrame {
                realm: Bytes::from_static(realm),
                kind: Some(kind),
            })
            .err()
        };
        let event = pb::LinkEvent {
            publication: 1,
            publisher: 1,
            topic: "t".into(),
            ..Default::default()
        };
        let payload = |serializer, elements, bytes: &'static [u8]| {
            Some(pb::LinkPayload {
                serializer,
                elements,
                bytes: Bytes::from_static(bytes),
            })
        };
        let result = |payload| {
            Kind::Result(pb::LinkResult {
                call: 1,
                details: Bytes::new(),
                payload,
            })
        };

        assert_eq!(check(Kind::Event(event.clone()), b"r"), None);
        assert_eq!(check(Kind::Event(event.clone()), b"\xff"), Some(Malformed::Text("realm")));
        let wrong = pb::LinkEvent {
            publication: 0,
            ..event.clone()
        };
        assert_eq!(check(Kind::Event(wrong), b"r"), Some(Malformed::Id("publication")));
        let wrong = pb::LinkEvent {
            publisher: (1 << 53) + 1,
            ..event.clone()
        };
        assert_eq!(check(Kind::Event(wrong), b"r"), Some(Malformed::Id("publisher")));
        let wrong = pb::LinkEvent {
            topic: Bytes::from_static(b"\xc3"),
            ..event.clone()
        };
        assert_eq!(check(Kind::Event(wrong), b"r"), Some(Malformed::Text("topic")));
        let wrong = pb::LinkEvent {
            details: Bytes::from_static(b"\x05"),
            ..event
        };
        assert_eq!(check(Kind::Event(wrong), b"r"), Some(Malformed::Details));
        for (serializer, elements, bytes) in [(0, 1, &b"[]"[..]), (4, 1, b"[]"), (1, 3, b"[]"), (1, 0, b"[]"), (1, 1, b"")] {
            let found = check(result(payload(serializer, elements, bytes)), b"r");
            assert_eq!(
                found,
                Some(Malformed::Payload {
                    serializer,
                    elements,
                    bytes: bytes.len()
                })
            );
        }
    }

    #[test]
    fn an_unknown_kind_is_no_error() {
        assert!(matches!(
            back(pb::LinkFrame {
                realm: Bytes::new(),
                kind: None
            }),
            Ok(Incoming::Unknown)
        ));
    }
}
