//! What nodes tell each other of retained events when their link comes up.
//!
//! Each tells the other all it knows, part by part: the next part is sent when the one before was taken in, so that a lane never holds
//! more than one. Who knows a thing already drops it. A part that is lost, because its lane was full, ends the telling; what is
//! published afterwards reaches every node all the same.

use std::sync::Arc;

use super::{Retained, Stamp};
use crate::{
    router::{NodeRef, PeerFrame, Realm, broker::Audience, turn::Turn},
    wamp::{
        Dict, Payload, PublicationId, Serializer, SessionId, Uri, Value,
        history::{self, KeptEvent},
    },
};

impl Realm {
    /// A link is up: its node is told what is retained here.
    pub(in crate::router) fn share_retained(&mut self, turn: &mut Turn<'_>, node: NodeRef) {
        if !self.keeper.retained.is_empty() {
            self.tell_retained(turn, node, None);
        }
    }

    fn tell_retained(&mut self, turn: &mut Turn<'_>, node: NodeRef, after: Option<&str>) {
        let (part, next) = self.keeper.retained.part(after);
        let topics: Vec<Value> = part.iter().map(|retained| Value::Dict(write(retained))).collect();
        let mut what = Dict::new().with("topics", topics);
        if let Some(next) = next {
            what.set("more_after", next.as_str());
        }
        turn.forward(node, any_lane(), PeerFrame::Kept { what });
    }

    /// Another node tells what is retained there, or took in what it was told.
    pub(in crate::router) fn on_kept(&mut self, turn: &mut Turn<'_>, from: NodeRef, what: &Dict) {
        self.on_catch_up(turn, from, what);
        if let Some(after) = what.text("go_on_after") {
            self.tell_retained(turn, from, Some(after));
        }
        for retained in what.get("topics").and_then(Value::as_list).unwrap_or_default() {
            let Some(retained) = retained.as_dict().and_then(read) else {
                self.stats.dropped_late_frames += 1;
                continue;
            };
            if self.keeper.rules.retain(&retained.topic) == super::Retain::Never {
                continue;
            }
            let topic = retained.topic.clone();
            if self.keeper.retained.merge(retained) {
                self.keep_retained(turn, &topic, false);
            }
        }
        if let Some(after) = what.text("more_after") {
            let what = Dict::new().with("go_on_after", after);
            turn.forward(from, any_lane(), PeerFrame::Kept { what });
        }
    }

    /// What the store has of an earlier life of this node, or of all nodes.
    pub(in crate::router) fn on_retained(&mut self, turn: &mut Turn<'_>, retained: Vec<Retained>) {
        for retained in retained {
            if self.keeper.rules.retain(&retained.topic) != super::Retain::Never {
                self.keeper.retained.merge(retained);
            }
        }
        let forgotten = self.keeper.retained.make_room();
        self.forget_retained(turn, &forgotten);
    }
}

pub(super) fn write(retained: &Retained) -> Dict {
    let stamp = |stamp: &Stamp| vec![Value::from(stamp.time), Value::from(stamp.publication.get())];
    let event = |event: &Arc<KeptEvent>| {
        let payload = &event.payload;
        let mut dict = Dict::new()
            .with("stamp", stamp(&event.stamp))
            .with("serializer", u64::from(payload.serializer().rawsocket_id()))
            .with("elements", u64::from(payload.elements()))
            .with("payload", Value::Binary(payload.bytes().to_vec()));
        if !event.details.is_empty() {
            dict.set("details", event.details.clone());
        }
        if let Some(audience) = &event.audience {
            dict.set("audience", lists(audience));
        }
        Value::Dict(dict)
    };
    let mut dict = Dict::new()
        .with("topic", retained.topic.as_str())
        .with("events", retained.events.iter().map(event).collect::<Vec<_>>());
    if let Some(cleared) = &retained.cleared {
        dict.set("cleared", stamp(cleared));
    }
    dict
}

/// `None` if it is nothing that [`write()`] wrote.
pub(super) fn read(dict: &Dict) -> Option<Retained> {
    let number = |value: &Value| value.as_integer().and_then(|n| u64::try_from(n).ok());
    let stamp = |value: &Value| match value.as_list()? {
        [time, publication] => Some(Stamp {
            time: number(time)?,
            publication: PublicationId::new(number(publication)?)?,
        }),
        _ => None,
    };
    let topic = Uri::from(dict.text("topic")?);
    let event = |value: &Value| {
        let dict = value.as_dict()?;
        let serializer = Serializer::from_rawsocket_id(u8::try_from(number(dict.get("serializer")?)?).ok()?)?;
        let payload = match (number(dict.get("elements")?)?, dict.get("payload")?) {
            (0, _) => Payload::EMPTY,
            (elements @ 1..=2, Value::Binary(bytes)) if !bytes.is_empty() => {
                Payload::from_proven(serializer, elements as u8, bytes.clone().into())
            }
            _ => return None,
        };
        let audience = match dict.dict("audience") {
            None => None,
            Some(lists) => super::kept_audience(Some(&Audience::from_dict(lists).ok()?)).ok()?,
        };
        Some(Arc::new(KeptEvent {
            stamp: stamp(dict.get("stamp")?)?,
            topic: topic.clone(),
            audience,
            details: dict.dict("details").cloned().unwrap_or_default(),
            payload,
        }))
    };
    let cleared = match dict.get("cleared") {
        None => None,
        Some(value) => Some(stamp(value)?),
    };
    let events = dict.get("events")?.as_list()?.iter().map(event).collect::<Option<_>>()?;
    Some(Retained { topic, cleared, events })
}

/// The lists as options of a PUBLISH, which [`Audience::from_dict`] reads.
fn lists(audience: &history::Audience) -> Dict {
    let texts = |list: &[String]| list.iter().map(|text| Value::from(text.as_str())).collect::<Vec<_>>();
    let mut dict = Dict::new()
        .with("exclude_authid", texts(&audience.exclude_authid))
        .with("exclude_authrole", texts(&audience.exclude_authrole));
    if let Some(list) = &audience.eligible_authid {
        dict.set("eligible_authid", texts(list));
    }
    if let Some(list) = &audience.eligible_authrole {
        dict.set("eligible_authrole", texts(list));
    }
    dict
}

/// Whose lane it takes: it belongs to no session, and no order with other frames is promised.
pub(super) fn any_lane() -> SessionId {
    SessionId::new(1).expect("1 lies in the id range")
}
