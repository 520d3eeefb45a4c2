//! What clients do in a random walk: only what the protocol allows.

use std::collections::BTreeSet;

use super::{NODES, TOPICS, World};
use crate::{
    router::{Input, MatchPolicy, SessionInfo},
    wamp::{Dict, Message, SessionId, SubscriptionId, Uri, message::code},
};

impl World {
    pub(super) fn join(&mut self, a: usize) {
        let alive = self.alive();
        if self.oracle.living().len() >= 10 {
            return;
        }
        let node = alive[a % alive.len()];
        self.join_at(node);
    }

    pub(super) fn join_at(&mut self, node: usize) -> SessionId {
        self.last_session += 1;
        let session = SessionId::new(self.last_session).unwrap();
        let text = |t: &str| t.to_owned();
        let info = SessionInfo {
            authid: format!("user{session}"),
            authrole: text("tester"),
            authmethod: text("anonymous"),
            authprovider: text("static"),
            features: Vec::new(),
        };
        self.oracle.joins(session, node);
        self.input(node, Input::SessionJoined { session, info });
        session
    }

    pub(super) fn leave(&mut self, a: usize) {
        let Some(session) = self.pick(a) else { return };
        let node = self.oracle.leaves(session);
        self.input(node, Input::SessionGone { session });
    }

    pub(super) fn says(&mut self, session: SessionId, message: Message) {
        let node = self.oracle.says(session, &message);
        self.input(node, Input::Message { session, message });
    }

    /// Says what the oracle of calls does not follow.
    pub(super) fn says_meta(&mut self, session: SessionId, message: Message) {
        let node = self.oracle.node_of(session);
        self.input(node, Input::Message { session, message });
    }

    pub(super) fn register(&mut self, a: usize, procedure: &str) {
        let Some(session) = self.pick(a) else { return };
        let request = self.oracle.next_request(session);
        self.says(
            session,
            Message::Register {
                request,
                options: Dict::new(),
                procedure: Uri::from(procedure),
            },
        );
    }

    pub(super) fn unregister(&mut self, a: usize, b: usize) {
        let Some(session) = self.pick(a) else { return };
        let Some(registration) = self.oracle.held(session, b) else {
            return;
        };
        let request = self.oracle.next_request(session);
        self.says(session, Message::Unregister { request, registration });
    }

    pub(super) fn call(&mut self, a: usize, procedure: &str) {
        let Some(session) = self.pick(a) else { return };
        let payload = self.oracle.question(session);
        let request = self.oracle.next_request(session);
        self.says(
            session,
            Message::Call {
                request,
                options: Dict::new(),
                procedure: Uri::from(procedure),
                payload,
            },
        );
    }

    pub(super) fn answer(&mut self, a: usize, b: usize) {
        let invoked = self.oracle.invoked();
        if invoked.is_empty() {
            return;
        }
        let session = invoked[a % invoked.len()];
        let Some((request, payload)) = self.oracle.open_invocation(session, b) else {
            return;
        };
        let message = if b.is_multiple_of(5) {
            let (details, error) = (Dict::new(), Uri::from("com.error"));
            Message::Error {
                request_type: code::INVOCATION,
                request,
                details,
                error,
                payload,
            }
        } else {
            Message::Yield {
                request,
                options: Dict::new(),
                payload,
            }
        };
        self.says(session, message);
    }

    pub(super) fn subscribe(&mut self, a: usize, topic: &str) {
        let Some(session) = self.pick(a) else { return };
        let request = self.oracle.next_request(session);
        self.says(
            session,
            Message::Subscribe {
                request,
                options: Dict::new(),
                topic: Uri::from(topic),
            },
        );
    }

    pub(super) fn unsubscribe(&mut self, a: usize, b: usize) {
        let Some(session) = self.pick(a) else { return };
        let node = self.oracle.node_of(session);
        // Also an id that the client was not told yet: it is the same for everyone.
        let topic = Uri::from(TOPICS[b % TOPICS.len()]);
        let subscription: SubscriptionId = self.nodes[node].realm.ids.subscription(MatchPolicy::Exact, &topic);
        let request = self.oracle.next_request(session);
        self.says(session, Message::Unsubscribe { request, subscription });
    }

    pub(super) fn publish(&mut self, a: usize, topic: &str, acknowledge: bool) {
        let Some(session) = self.pick(a) else { return };
        let payload = self.oracle.news(session);
        let request = self.oracle.next_request(session);
        let options = Dict::new().with("acknowledge", acknowledge);
        let node = self.oracle.node_of(session);
        // Who was told SUBSCRIBED before every node knew is not counted on either.
        let sure = |n: &usize| !self.broken.contains(&(node, *n)) && self.nodes[*n].realm.stats().subscribed_unconfirmed == 0;
        let reached: BTreeSet<usize> = (0..NODES).filter(sure).collect();
        self.oracle.must_hear(session, &Uri::from(topic), &reached);
        self.says(
            session,
            Message::Publish {
                request,
                options,
                topic: Uri::from(topic),
                payload,
            },
        );
    }
}
