//! PUBLISH, and events from other nodes.
//!
//! Spec: WAMP basic profile, "Publishing and Events"; advanced profile, "Publisher Exclusion", "Subscriber Black- and Whitelisting",
//! "Publisher Identification", "Publication Trust Levels", "Event Retention".

use std::collections::BTreeSet;

use super::{Audience, Group, Interested, Topic, delivery::answers_events};
use crate::{
    router::{
        Disclosure, Effect, MatchPolicy, NodeRef, PeerFrame, Realm, Right, SlowConsumer,
        abilities::Ability,
        kept::KeepMark,
        passthru,
        reflection::Kind,
        turn::{Turn, because},
    },
    wamp::{Dict, Message, Payload, PublicationId, RequestId, SessionId, Uri, error_uri, message::code},
};

/// An event on its way to the subscribers of this node and, from its publisher's node, to others.
pub(in crate::router) struct Event {
    pub(in crate::router) publication: PublicationId,
    pub(in crate::router) topic: Uri,
    pub(in crate::router) publisher: SessionId,
    pub(in crate::router) exclude_me: bool,
    /// Its publisher waits until it is received.
    pub(in crate::router) acknowledged: bool,
    /// Who gets it; `None`: every subscriber.
    pub(in crate::router) audience: Option<Box<Audience>>,
    /// That it is to be kept, and as of when.
    pub(in crate::router) keep: Option<Box<KeepMark>>,
    /// EVENT.Details as far as they are the same for all subscribers.
    pub(in crate::router) details: Dict,
    pub(in crate::router) payload: Payload,
}

/// What the options of a PUBLISH say.
struct Options {
    acknowledge: bool,
    acknowledge_delivery: bool,
    exclude_me: bool,
    disclose_me: bool,
    audience: Option<Box<Audience>>,
    retain: bool,
    /// The key that sharded subscriptions are divided by.
    resource: Option<String>,
    /// Of events with one such key a subscriber that does not keep up gets the newest, where the topic's policy says so.
    key: Option<String>,
    /// The option that is of a wrong type.
    mistyped: Option<String>,
}

/// Topics of this router's own meta events; clients publish nothing there.
const OWN_TOPICS: &str = "ringfort.session.";

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
        if passthru::is_used(options) && !self.sessions.get(session).is_some_and(|s| s.can(Ability::PublishSealed)) {
            let rule = "PUBLISH.Options.ppt_scheme without publisher feature payload_passthru_mode in HELLO";
            return self.abort(turn, session, rule);
        }
        let sealed = passthru::of(options);
        let options = Options::read(options);
        let acknowledged = options.acknowledge && options.acknowledge_delivery;
        let valid = topic.is_uri(self.config.uri_check) && !topic.is_reserved() && !topic.starts_with(OWN_TOPICS);
        let verdict = self.verdict(session, Right::Publish, &topic);
        let disclosure = match verdict.discloses {
            false => self.config.disclosure,
            true => self.disclosure(session, Right::Publish, &topic),
        };
        if !verdict.allowed {
            self.note_refusal(turn, session, Right::Publish, &topic);
        }
        let refused = match &options.mistyped {
            _ if !verdict.allowed => Some(self.denial(session, Right::Publish, &topic)),
            Some(option) => Some((
                error_uri::INVALID_ARGUMENT,
                because(&format!("option {option} is of a wrong type")),
            )),
            None if !valid => Some((error_uri::INVALID_URI, Dict::new())),
            None if options.disclose_me && disclosure == Disclosure::Deny => {
                self.note_ruled_out(turn, session, "disclose", &topic);
                let details =
                    because("who publishes is not disclosed here (setting disclose = \"deny\" of the realm or permission)");
                Some((error_uri::DISCLOSE_ME_DISALLOWED, details))
            }
            None if acknowledged && self.deliveries_are_full() => {
                self.note_limit(turn, session, "deliveries_max", &topic);
                let details = because("too many publications wait to be received on this node");
                Some((error_uri::UNAVAILABLE, details))
            }
            None if self.schemas.check(Kind::Topic) => {
                let verdict = self.check_event(&topic, &sealed, &payload);
                verdict.err().map(|details| (error_uri::INVALID_ARGUMENT, details))
            }
            None => None,
        };
        if let Some((error, details)) = refused {
            if options.acknowledge {
                self.refuse(turn, session, code::PUBLISH, request, error, details);
            } else {
                self.stats.dropped_publications += 1;
            }
            return;
        }
        let mut details = self.event_details(session, options.disclose_me, disclosure);
        for (key, value) in sealed.0 {
            details.set(&key, value);
        }
        if let Some(key) = options.key {
            details.set("_key", key);
        }
        let mut audience = options.audience;
        if let Some(resource) = options.resource {
            self.choose_shards(&topic, &resource, audience.get_or_insert_default());
        }
        let mut event = Event {
            publication: self.ids.publication(),
            topic,
            publisher: session,
            exclude_me: options.exclude_me,
            acknowledged,
            audience,
            keep: None,
            details,
            payload,
        };
        event.keep = self.keep_mark(turn.now, &event, options.retain);
        if acknowledged {
            return self.publish_acknowledged(turn, request, event);
        }
        let publication = event.publication;
        self.publish(turn, event);
        if options.acknowledge {
            turn.send(session, Message::Published { request, publication });
        }
    }

    /// What subscribers are told about the publisher.
    fn event_details(&self, publisher: SessionId, disclose_me: bool, disclosure: Disclosure) -> Dict {
        let disclose = disclose_me || disclosure == Disclosure::Always;
        if !disclose && self.config.trustlevels.is_empty() {
            return Dict::new();
        }
        match self.session_info(publisher) {
            Some(info) => self.details_of(publisher, &info.authid, &info.authrole, disclose),
            None => Dict::new(),
        }
    }

    /// The same of a publisher that may be gone.
    pub(in crate::router) fn details_of(&self, publisher: SessionId, authid: &str, authrole: &str, disclose: bool) -> Dict {
        let mut details = Dict::new();
        if disclose {
            details.set("publisher", publisher.get());
            details.set("publisher_authid", authid);
            details.set("publisher_authrole", authrole);
        }
        if let Some(level) = self.config.trustlevels.get(authrole) {
            details.set("trustlevel", *level);
        }
        details
    }

    /// Whom the options of a PUBLISH choose, and whether its publisher is disclosed.
    pub(in crate::router) fn audience_of(&self, topic: &Uri, options: &Dict) -> (Option<Box<Audience>>, bool) {
        let options = Options::read(options);
        let mut audience = options.audience;
        if let Some(resource) = options.resource {
            self.choose_shards(topic, &resource, audience.get_or_insert_default());
        }
        (audience, options.disclose_me)
    }

    /// Gives an event of this node to every node that wants it, and to the subscribers here.
    pub(in crate::router) fn publish(&mut self, turn: &mut Turn<'_>, event: Event) {
        self.stats.publications += 1;
        if let Some(mark) = event.keep.as_deref().copied() {
            return self.publish_kept(turn, event, mark);
        }
        let interested = &self.broker.interested;
        let exact = interested.exact(&event.topic);
        if interested.pattern_count() == 0 && exact.is_none_or(|exact| exact.shards.is_empty()) {
            for node in exact.into_iter().flat_map(|exact| &exact.nodes) {
                self.stats.events_forwarded += 1;
                turn.forward(*node, event.publisher, event.frame());
            }
        } else {
            for node in event.nodes(interested.matches(&event.topic)) {
                self.stats.events_forwarded += 1;
                turn.forward(node, event.publisher, event.frame());
            }
        }
        // After the lanes: a long fan-out may let others into the realm, and they must not overtake this on a lane.
        self.deliver(turn, event);
    }

    /// The same for one that is kept: other nodes may have to keep it too, whether or not somebody there wants it.
    fn publish_kept(&mut self, turn: &mut Turn<'_>, event: Event, mark: KeepMark) {
        let nodes = if self.is_kept_everywhere(&event.topic, &mark) {
            self.peers.clone()
        } else {
            event.nodes(self.broker.interested.matches(&event.topic))
        };
        for node in nodes {
            self.stats.events_forwarded += 1;
            turn.forward(node, event.publisher, event.frame());
        }
        self.keep(turn, &event, mark, true);
        self.deliver(turn, event);
    }

    /// Gives an event to the subscribers of this node. False if nobody here is subscribed to its topic.
    pub(in crate::router) fn deliver(&mut self, turn: &mut Turn<'_>, event: Event) -> bool {
        let slow = self.slow_consumer(&event.topic);
        let topics = &self.broker.topics;
        let exact = topics.exact(&event.topic);
        if topics.pattern_count() == 0 && exact.is_none_or(|exact| exact.shards.is_empty()) && !event.acknowledged {
            let Some(Topic {
                id, group: Some(group), ..
            }) = exact
            else {
                return false;
            };
            let (subscription, sessions) = (*id, self.receivers(&event, group));
            let message = Message::Event {
                subscription,
                publication: event.publication,
                details: event.details,
                payload: event.payload,
            };
            self.fan_out(turn, slow, sessions, message);
            return true;
        }
        let mut reached = Vec::new();
        for topic in topics.matches(&event.topic) {
            let admits = |shard| {
                event
                    .audience
                    .as_ref()
                    .is_none_or(|audience| audience.admits_shard(topic.id, shard))
            };
            let groups = topic.groups().filter(|(shard, _)| shard.is_none_or(admits));
            let sessions: Vec<SessionId> = groups.flat_map(|(_, group)| self.receivers(&event, group)).collect();
            let details = match topic.policy {
                MatchPolicy::Exact => event.details.clone(),
                MatchPolicy::Prefix | MatchPolicy::Wildcard => event.details.clone().with("topic", &*event.topic),
            };
            let message = Message::Event {
                subscription: topic.id,
                publication: event.publication,
                details,
                payload: event.payload.clone(),
            };
            reached.push((sessions, message));
        }
        let any = !reached.is_empty();
        for (sessions, message) in reached {
            let sessions = match event.acknowledged {
                true => self.fan_out_acknowledged(turn, slow, sessions, &message),
                false => sessions,
            };
            self.fan_out(turn, slow, sessions, message);
        }
        any
    }

    /// Those of a group who get the event, in the order in which they subscribed.
    fn receivers(&self, event: &Event, group: &Group) -> Vec<SessionId> {
        let excluded = event.exclude_me.then_some(event.publisher);
        // A sealed payload may be of a shape that only some can read.
        let opaque = !event.details.is_empty() && passthru::is_opaque(&event.details);
        let takes = |id: &SessionId| !opaque || self.sessions.get(*id).is_some_and(|s| s.can(Ability::OpaqueEvents));
        let others = group.active.values().copied().filter(|s| Some(*s) != excluded).filter(takes);
        match &event.audience {
            None => others.collect(),
            Some(audience) => others.filter(|session| self.is_in(*session, audience)).collect(),
        }
    }

    /// Sends an event to those of the sessions that answer it, and says so; returns the others.
    fn fan_out_acknowledged(
        &mut self,
        turn: &mut Turn<'_>,
        slow: SlowConsumer,
        sessions: Vec<SessionId>,
        message: &Message,
    ) -> Vec<SessionId> {
        let mut message = message.clone();
        let Message::Event {
            publication, details, ..
        } = &mut message
        else {
            return sessions;
        };
        let publication = *publication;
        details.set("x_acknowledged_delivery", true);
        let answers = |session: &SessionId| self.session_info(*session).is_some_and(answers_events);
        let (answering, others): (Vec<_>, Vec<_>) = sessions.into_iter().partition(answers);
        let expected = answering.iter().all(|session| self.expect_receipt(publication, *session));
        if !expected {
            return answering.into_iter().chain(others).collect();
        }
        self.fan_out(turn, slow, answering, message);
        others
    }

    fn fan_out(&mut self, turn: &mut Turn<'_>, slow: SlowConsumer, sessions: Vec<SessionId>, message: Message) {
        if sessions.is_empty() {
            return;
        }
        self.stats.events += sessions.len() as u64;
        turn.effects.push(match slow {
            SlowConsumer::DropNewest => Effect::Fanout { sessions, message },
            slow => Effect::FanoutAs { slow, sessions, message },
        });
    }

    /// True if the session is among the receivers.
    fn is_in(&self, session: SessionId, audience: &Audience) -> bool {
        audience.about.as_ref().is_none_or(|about| self.sees(session, about))
            && audience.admits_id(session)
            && (audience.is_nameless() || self.session_info(session).is_some_and(|info| audience.admits_names(info)))
    }
}

impl Event {
    /// The nodes it is for, in slot order.
    pub(super) fn nodes<'a>(&self, interested: impl Iterator<Item = &'a Interested>) -> BTreeSet<NodeRef> {
        let mut nodes = BTreeSet::new();
        for wanting in interested {
            nodes.extend(&wanting.nodes);
            for (shard, wanting_shard) in &wanting.shards {
                if self
                    .audience
                    .as_ref()
                    .is_none_or(|audience| audience.admits_shard(wanting.id, shard))
                {
                    nodes.extend(wanting_shard);
                }
            }
        }
        nodes
    }

    fn frame(&self) -> PeerFrame {
        PeerFrame::Event {
            publication: self.publication,
            topic: self.topic.clone(),
            publisher: self.publisher,
            exclude_me: self.exclude_me,
            acknowledged: self.acknowledged,
            audience: self.audience.clone(),
            keep: self.keep.clone(),
            details: self.details.clone(),
            payload: self.payload.clone(),
        }
    }
}

impl Options {
    /// Reads what is known; the rest is ignored.
    fn read(options: &Dict) -> Self {
        let mut read = Self {
            acknowledge: false,
            acknowledge_delivery: false,
            exclude_me: true,
            disclose_me: false,
            audience: None,
            retain: false,
            resource: None,
            key: None,
            mistyped: None,
        };
        for (key, value) in &options.0 {
            match key.as_str() {
                // Choice: who sends an `acknowledge` that is no boolean wants an answer, and gets the error.
                "acknowledge" => {
                    read.acknowledge = value.as_bool() != Some(false);
                    read.demand(key, value.as_bool().is_some());
                }
                "_acknowledge_delivery" => {
                    read.acknowledge_delivery = value.as_bool() == Some(true);
                    read.demand(key, value.as_bool().is_some());
                }
                "exclude_me" => {
                    read.exclude_me = value.as_bool() != Some(false);
                    read.demand(key, value.as_bool().is_some());
                }
                "disclose_me" => {
                    read.disclose_me = value.as_bool() == Some(true);
                    read.demand(key, value.as_bool().is_some());
                }
                "retain" => {
                    read.retain = value.as_bool() == Some(true);
                    read.demand(key, value.as_bool().is_some());
                }
                "rkey" => {
                    read.resource = value.as_text().map(str::to_owned);
                    read.demand(key, read.resource.is_some());
                }
                "_key" => {
                    read.key = value.as_text().map(str::to_owned);
                    read.demand(key, read.key.is_some());
                }
                key if Audience::OPTIONS.contains(&key) => {
                    let list = read.audience.get_or_insert_default().read(key, value);
                    read.demand(key, list.is_ok());
                }
                _ => {}
            }
        }
        read
    }

    fn demand(&mut self, option: &str, well_typed: bool) {
        if !well_typed {
            self.mistyped.get_or_insert_with(|| option.to_owned());
        }
    }
}
