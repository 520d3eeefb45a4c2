//! Acknowledged delivery: a PUBLISHED that means that the subscribers have the event.
//!
//! Spec: none beyond the message EVENT_RECEIVED, which Autobahn sends where EVENT.Details say `x_acknowledged_delivery` and both
//! sides announced `x_acknowledged_event_delivery`.
//! Choice: it is asked for by the publisher, with `acknowledge` and `_acknowledge_delivery` in PUBLISH.Options. Then PUBLISHED waits
//! until every subscriber on any node that announced the feature has answered each EVENT of the publication, or left. Where one does
//! not answer in time, the publisher gets ERROR `wamp.error.timeout`: the event is out, but who has it is not known. Subscribers that
//! did not announce the feature are not waited for.
//!
//! Invariants: a delivery is settled once; it has a timer while it is open; a receiver that is waited for is a session of this node.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use super::Event;
use crate::{
    router::{
        NodeRef, PeerFrame, Realm, SessionInfo,
        timers::Timer,
        turn::{Turn, because},
    },
    wamp::{Message, PublicationId, RequestId, SessionId, error_uri, message::code},
};

/// Publications that somebody waits for to be received.
#[derive(Debug, Default)]
pub(in crate::router) struct Deliveries {
    pub(in crate::router) open: BTreeMap<PublicationId, Delivery>,
    /// What is waited for from a session of this node.
    expected: BTreeMap<SessionId, BTreeSet<PublicationId>>,
}

#[derive(Debug)]
pub(in crate::router) struct Delivery {
    whose: Whose,
    /// Sessions of this node, and how many EVENTs each has to answer.
    receivers: BTreeMap<SessionId, u32>,
    /// Nodes whose sessions have not all answered.
    nodes: BTreeSet<NodeRef>,
    pub(in crate::router) deadline: Instant,
}

/// Who is to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::router) enum Whose {
    /// A session of this node, that sent this PUBLISH.
    Publisher(SessionId, RequestId),
    /// The node of this publisher.
    Node(NodeRef, SessionId),
}

impl Realm {
    /// True while no further publication may be waited for.
    pub(super) fn deliveries_are_full(&self) -> bool {
        self.broker.deliveries.open.len() >= self.config.limits.deliveries_max
    }

    /// Publishes an event of a session of this node that is to be received.
    pub(super) fn publish_acknowledged(&mut self, turn: &mut Turn<'_>, request: RequestId, event: Event) {
        let (publication, publisher) = (event.publication, event.publisher);
        let nodes = event.nodes(self.broker.interested.matches(&event.topic));
        if let Some(session) = self.sessions.get_mut(publisher) {
            session.delivering.insert(request, publication);
        }
        self.open_delivery(turn, publication, Whose::Publisher(publisher, request), nodes);
        self.publish(turn, event);
        self.settle_delivery(turn, publication);
    }

    /// Delivers an event of another node that is to be received here; false if nobody here is subscribed to its topic.
    pub(in crate::router) fn deliver_acknowledged(&mut self, turn: &mut Turn<'_>, from: NodeRef, event: Event) -> bool {
        let (publication, publisher) = (event.publication, event.publisher);
        if self.deliveries_are_full() || self.broker.deliveries.open.contains_key(&publication) {
            // It is delivered, and its publisher will not hear that it was.
            self.stats.deliveries_untracked += 1;
            return self.deliver(turn, event);
        }
        self.open_delivery(turn, publication, Whose::Node(from, publisher), BTreeSet::new());
        let wanted = self.deliver(turn, event);
        self.settle_delivery(turn, publication);
        wanted
    }

    fn open_delivery(&mut self, turn: &Turn<'_>, publication: PublicationId, whose: Whose, nodes: BTreeSet<NodeRef>) {
        let deadline = turn.now + self.config.limits.delivery_wait;
        self.timers.set(deadline, Timer::Delivery(publication));
        let delivery = Delivery {
            whose,
            receivers: BTreeMap::new(),
            nodes,
            deadline,
        };
        self.broker.deliveries.open.insert(publication, delivery);
    }

    /// An EVENT of a publication goes to a session that will answer it; false if nobody waits for the answer.
    pub(super) fn expect_receipt(&mut self, publication: PublicationId, session: SessionId) -> bool {
        let deliveries = &mut self.broker.deliveries;
        let Some(delivery) = deliveries.open.get_mut(&publication) else {
            return false;
        };
        *delivery.receivers.entry(session).or_default() += 1;
        deliveries.expected.entry(session).or_default().insert(publication);
        true
    }

    /// EVENT_RECEIVED.
    pub(in crate::router) fn on_event_received(&mut self, turn: &mut Turn<'_>, session: SessionId, publication: PublicationId) {
        let open = self.broker.deliveries.open.get_mut(&publication);
        let Some(left) = open.and_then(|delivery| delivery.receivers.get_mut(&session)) else {
            self.stats.dropped_event_received += 1;
            return;
        };
        *left -= 1;
        if *left == 0 {
            self.broker.deliveries.forget_receiver(publication, session);
            self.settle_delivery(turn, publication);
        }
    }

    /// Another node says that its subscribers have the event.
    pub(in crate::router) fn on_delivered(&mut self, turn: &mut Turn<'_>, node: NodeRef, publication: PublicationId) {
        let open = self.broker.deliveries.open.get_mut(&publication);
        if open.is_some_and(|delivery| delivery.nodes.remove(&node)) {
            self.settle_delivery(turn, publication);
        } else {
            self.stats.dropped_event_received += 1;
        }
    }

    pub(in crate::router) fn on_delivery_overdue(&mut self, turn: &mut Turn<'_>, publication: PublicationId) {
        let Some(delivery) = self.broker.deliveries.close(publication) else {
            return;
        };
        self.stats.deliveries_expired += 1;
        if let Whose::Publisher(session, request) = delivery.whose {
            self.forget_delivering(session, request);
            let details = because("not every subscriber that acknowledges events has received it in time")
                .with("_publication", publication.get());
            self.refuse(turn, session, code::PUBLISH, request, error_uri::TIMEOUT, details);
        }
    }

    /// The end of a session: nobody waits for it, nor it for anybody.
    pub(super) fn detach_deliveries(&mut self, turn: &mut Turn<'_>, session: SessionId) {
        let published = self.sessions.get_mut(session).map(|s| std::mem::take(&mut s.delivering));
        for publication in published.into_iter().flat_map(BTreeMap::into_values) {
            self.drop_delivery(publication);
        }
        for publication in self.broker.deliveries.expected.remove(&session).unwrap_or_default() {
            if let Some(delivery) = self.broker.deliveries.open.get_mut(&publication) {
                delivery.receivers.remove(&session);
            }
            self.settle_delivery(turn, publication);
        }
    }

    /// The end of a link.
    pub(in crate::router) fn end_deliveries_with(&mut self, turn: &mut Turn<'_>, node: NodeRef) {
        for publication in self.broker.deliveries.open.keys().copied().collect::<Vec<_>>() {
            let Some(delivery) = self.broker.deliveries.open.get_mut(&publication) else {
                continue;
            };
            match delivery.whose {
                Whose::Node(whose, _) if whose == node => self.drop_delivery(publication),
                _ if delivery.nodes.remove(&node) => self.settle_delivery(turn, publication),
                _ => {}
            }
        }
    }

    fn drop_delivery(&mut self, publication: PublicationId) {
        if let Some(delivery) = self.broker.deliveries.close(publication) {
            self.timers.unset(delivery.deadline, Timer::Delivery(publication));
        }
    }

    /// Tells whoever waits, once all have the event.
    fn settle_delivery(&mut self, turn: &mut Turn<'_>, publication: PublicationId) {
        let Some(delivery) = self.broker.deliveries.open.get(&publication) else {
            return;
        };
        if !delivery.receivers.is_empty() || !delivery.nodes.is_empty() {
            return;
        }
        let whose = delivery.whose;
        self.drop_delivery(publication);
        match whose {
            Whose::Publisher(session, request) => {
                self.forget_delivering(session, request);
                turn.send(session, Message::Published { request, publication });
            }
            Whose::Node(node, publisher) => turn.forward(node, publisher, PeerFrame::Delivered { publication }),
        }
    }

    fn forget_delivering(&mut self, session: SessionId, request: RequestId) {
        if let Some(publisher) = self.sessions.get_mut(session) {
            publisher.delivering.remove(&request);
        }
    }
}

impl Deliveries {
    fn forget_receiver(&mut self, publication: PublicationId, session: SessionId) {
        if let Some(delivery) = self.open.get_mut(&publication) {
            delivery.receivers.remove(&session);
        }
        if let Some(publications) = self.expected.get_mut(&session) {
            publications.remove(&publication);
            if publications.is_empty() {
                self.expected.remove(&session);
            }
        }
    }

    fn close(&mut self, publication: PublicationId) -> Option<Delivery> {
        let receivers: Vec<_> = self.open.get(&publication)?.receivers.keys().copied().collect();
        for session in receivers {
            self.forget_receiver(publication, session);
        }
        self.open.remove(&publication)
    }

    /// How many receivers are waited for, counted both ways; equal unless an index is wrong.
    pub(in crate::router) fn counts(&self) -> (usize, usize) {
        let waiting = self.open.values().map(|delivery| delivery.receivers.len()).sum();
        (waiting, self.expected.values().map(BTreeSet::len).sum())
    }
}

/// True for a subscriber that announced that it answers events.
///
/// Choice: as publisher it may say so too, for that is where autobahn-python's subscribers do.
pub(super) fn answers_events(info: &SessionInfo) -> bool {
    ["subscriber", "publisher"]
        .into_iter()
        .any(|role| info.announced(&format!("{role}.x_acknowledged_event_delivery")))
}
