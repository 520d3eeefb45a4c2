//! PUBLISH, and events from other nodes.
//!
//! Spec: WAMP basic profile, "Publishing and Events"; advanced profile, "Publisher Exclusion".

use crate::{
    router::{
        Effect, PeerFrame, Realm,
        abilities::Ability,
        passthru,
        turn::{Turn, because},
    },
    wamp::{Dict, Message, Payload, PublicationId, RequestId, SessionId, Uri, Value, error_uri, message::code},
};

/// A payload and the details that belong to it.
struct Content {
    details: Dict,
    payload: Payload,
}

impl Realm {
    pub(in crate::router) fn on_publish(
        &mut self,
        turn: &mut Turn<'_>,
        session: SessionId,
        request: RequestId,
        options: &Dict,
        topic: Uri,
        payload: Payload,
    ) {
        // Choice: who sends an `acknowledge` that is no boolean wants an answer, and gets the error.
        let (acknowledge, well_typed) = match options.get("acknowledge") {
            None => (false, true),
            Some(Value::Bool(wanted)) => (*wanted, true),
            Some(_) => (true, false),
        };
        let exclude_me = match options.get("exclude_me") {
            None => Some(true),
            Some(value) => value.as_bool(),
        };
        if passthru::is_used(options) && !self.sessions.get(session).is_some_and(|s| s.can(Ability::PublishSealed)) {
            let rule = "PUBLISH.Options.ppt_scheme without publisher feature payload_passthru_mode in HELLO";
            return self.abort(turn, session, rule);
        }
        let valid = topic.is_uri(self.config.uri_check) && !topic.is_reserved();
        let refused = match exclude_me {
            _ if !well_typed => Some((error_uri::INVALID_ARGUMENT, because("option acknowledge is no boolean"))),
            None => Some((error_uri::INVALID_ARGUMENT, because("option exclude_me is no boolean"))),
            _ if !valid => Some((error_uri::INVALID_URI, Dict::new())),
            _ => None,
        };
        if let Some((error, details)) = refused {
            if acknowledge {
                self.refuse(turn, session, code::PUBLISH, request, error, details);
            } else {
                self.stats.dropped_publications += 1;
            }
            return;
        }
        self.publish(
            turn,
            session,
            topic,
            exclude_me != Some(false),
            Content {
                details: passthru::of(options),
                payload,
            },
            acknowledge.then_some(request),
        );
    }

    fn publish(
        &mut self,
        turn: &mut Turn<'_>,
        publisher: SessionId,
        topic: Uri,
        exclude_me: bool,
        Content { details, payload }: Content,
        acknowledge: Option<RequestId>,
    ) {
        self.stats.publications += 1;
        let publication = self.ids.publication();
        let exclude = exclude_me.then_some(publisher);
        for node in self.broker.interested.get(&topic).into_iter().flatten() {
            self.stats.events_forwarded += 1;
            let (topic, details, payload) = (topic.clone(), details.clone(), payload.clone());
            turn.forward(
                *node,
                publisher,
                PeerFrame::Event {
                    publication,
                    topic,
                    publisher,
                    exclude_me,
                    details,
                    payload,
                },
            );
        }
        // After the lanes: a long fan-out may let others into the realm, and they must not overtake this on a lane.
        self.deliver(turn, &topic, publication, exclude, details, payload);
        if let Some(request) = acknowledge {
            turn.send(publisher, Message::Published { request, publication });
        }
    }

    /// Gives an event to the subscribers of this node.
    pub(in crate::router) fn deliver(
        &mut self,
        turn: &mut Turn<'_>,
        topic: &Uri,
        publication: PublicationId,
        exclude: Option<SessionId>,
        details: Dict,
        payload: Payload,
    ) {
        let Some(entry) = self.broker.topics.get(topic) else { return };
        let mut sessions: Vec<SessionId> = entry.active.values().copied().filter(|s| Some(*s) != exclude).collect();
        if !details.is_empty() && passthru::is_opaque(&details) {
            let takes = |id: &SessionId| self.sessions.get(*id).is_some_and(|s| s.can(Ability::OpaqueEvents));
            sessions.retain(takes);
        }
        if sessions.is_empty() {
            return;
        }
        self.stats.events += sessions.len() as u64;
        let message = Message::Event {
            subscription: entry.id,
            publication,
            details,
            payload,
        };
        turn.effects.push(Effect::Fanout { sessions, message });
    }
}
