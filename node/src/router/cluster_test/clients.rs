//! What clients do in a random walk: only what the protocol allows.

use std::collections::BTreeSet;

use super::{NODES, OFFERS, TOPICS, World};
use crate::{
    router::{Input, MatchPolicy, Op, SessionInfo},
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
            features: vec![text("callee.call_reroute"), text("callee.registration_revocation")],
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

    pub(super) fn register(&mut self, a: usize, b: usize) {
        let Some(session) = self.pick(a) else { return };
        let (procedure, policy, invoke) = OFFERS[b % OFFERS.len()];
        let mut options = Dict::new().with("match", policy.name()).with("invoke", invoke.name());
        if b.is_multiple_of(3) {
            options.set("concurrency", 1_u64);
        }
        let request = self.oracle.next_request(session);
        self.says(
            session,
            Message::Register {
                request,
                options,
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

    /// Somebody on some node takes a registration from its callee, or from all of them.
    pub(super) fn revoke(&mut self, a: usize, b: usize) {
        let Some(session) = self.pick(a) else { return };
        let Some(registration) = self.oracle.held(session, b) else {
            return;
        };
        self.oracle.is_revoked(registration);
        let alive = self.alive();
        let node = alive[b % alive.len()];
        self.nodes[node].proposals.push_back(Op::Revoke {
            registration,
            callee: b.is_multiple_of(2).then_some(session),
            reason: "moved".to_owned(),
        });
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
        let message = if b.is_multiple_of(5) || b % 5 == 2 {
            let error = if b % 5 == 2 { "wamp.error.unavailable" } else { "com.error" };
            let (details, error) = (Dict::new(), Uri::from(error));
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
