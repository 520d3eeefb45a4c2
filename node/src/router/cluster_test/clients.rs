//! What clients do in a random walk: only what the protocol allows.

use std::collections::BTreeSet;

use super::{NODES, OFFERS, PATTERNS, TOPICS, World};
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
        let node = if self.alone { 0 } else { alive[a % alive.len()] };
        self.join_at(node);
    }

    pub(super) fn join_at(&mut self, node: usize) -> SessionId {
        self.last_session += 1;
        let session = SessionId::new(self.last_session).unwrap();
        self.oracle.joins(session, node);
        let text = |t: &str| t.to_owned();
        let mut features = self.oracle.features(session);
        features.extend(["callee.call_reroute", "callee.registration_revocation"].map(text));
        features.extend(is_told_of_revocations(session).then(|| text("subscriber.subscription_revocation")));
        features.sort_unstable();
        let info = SessionInfo {
            authid: format!("user{session}"),
            authrole: text(if self.last_session.is_multiple_of(2) { "even" } else { "odd" }),
            authmethod: text("anonymous"),
            authprovider: text("static"),
            trustlevel: None,
            features,
            compat: crate::router::Compat::default(),
            bounds: crate::router::Bounds::default(),
            whence: None,
        };
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
    pub(super) fn revoke_registration(&mut self, a: usize, b: usize) {
        let Some(session) = self.pick(a) else { return };
        let Some(registration) = self.oracle.held(session, b) else {
            return;
        };
        self.oracle.registration_is_revoked(registration);
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

    pub(super) fn subscribe(&mut self, a: usize, (policy, topic): (MatchPolicy, &str)) {
        let Some(session) = self.pick(a) else { return };
        let request = self.oracle.next_request(session);
        let mut options = Dict::new();
        match policy {
            MatchPolicy::Exact => {}
            MatchPolicy::Prefix => options.set("match", "prefix"),
            MatchPolicy::Wildcard => options.set("match", "wildcard"),
        }
        if topic == ".y" && !session.get().is_multiple_of(4) {
            options.set("nkey", format!("n{}", session.get() % 4));
        }
        // Nothing is retained here, but it has to wait for what other nodes have sent.
        if a.is_multiple_of(3) {
            options.set("get_retained", true);
        }
        self.says(
            session,
            Message::Subscribe {
                request,
                options,
                topic: Uri::from(topic),
            },
        );
    }

    pub(super) fn unsubscribe(&mut self, a: usize, b: usize) {
        let Some(session) = self.pick(a) else { return };
        let subscription = self.subscription(session, b);
        let request = self.oracle.next_request(session);
        self.says(session, Message::Unsubscribe { request, subscription });
    }

    /// Ends a subscription that a session may have, from its node or, if the session will be told, from another.
    pub(super) fn revoke(&mut self, a: usize, b: usize) {
        let Some(session) = self.pick(a) else { return };
        let known = self.oracle.subscription(session, b / 3);
        let subscription = known.unwrap_or_else(|| self.subscription(session, b / 3));
        let told = is_told_of_revocations(session);
        let alive = self.alive();
        let node = if told {
            alive[b % alive.len()]
        } else {
            self.oracle.node_of(session)
        };
        let reason = Uri::from("com.why");
        self.input(
            node,
            Input::RevokeSubscription {
                session,
                subscription,
                reason,
            },
        );
        if !told {
            self.oracle.is_revoked(session, subscription);
        }
    }

    /// Also an id that the client was not told yet: it is the same for everyone.
    fn subscription(&self, session: SessionId, b: usize) -> SubscriptionId {
        let (policy, topic) = PATTERNS[b % PATTERNS.len()];
        self.nodes[self.oracle.node_of(session)].realm.ids.subscription(policy, topic)
    }

    pub(super) fn publish(&mut self, a: usize, b: usize) {
        let Some(session) = self.pick(a) else { return };
        let topic = Uri::from(TOPICS[b % TOPICS.len()]);
        let options = self.options(b / TOPICS.len()).with("acknowledge", b.is_multiple_of(4));
        let payload = self.oracle.news(session, &topic, &options);
        let request = self.oracle.next_request(session);
        let node = self.oracle.node_of(session);
        // Who was told SUBSCRIBED before every node knew is not counted on either.
        let sure = |n: &usize| !self.broken.contains(&(node, *n)) && self.nodes[*n].realm.stats().subscribed_unconfirmed == 0;
        let reached: BTreeSet<usize> = (0..NODES).filter(sure).collect();
        self.oracle.must_hear(session, &reached);
        self.says(
            session,
            Message::Publish {
                request,
                options,
                topic,
                payload,
            },
        );
    }

    /// Mostly none; else lists of all kinds, or a resource key.
    fn options(&self, b: usize) -> Dict {
        let Some(someone) = self.pick(b / 12) else {
            return Dict::new();
        };
        let (id, authid) = (vec![someone.get().into()], vec![format!("user{someone}").into()]);
        let role = vec![["even", "odd"][b / 12 % 2].into()];
        match b % 12 {
            0 => Dict::new().with("exclude", id),
            1 => Dict::new().with("eligible", id),
            2 => Dict::new().with("exclude_authid", authid),
            3 => Dict::new().with("eligible_authid", authid),
            4 => Dict::new().with("exclude_authrole", role),
            5 => Dict::new().with("eligible_authrole", role).with("exclude", id),
            6..=8 => Dict::new().with("rkey", format!("r{}", b / 12 % 5)),
            _ => Dict::new(),
        }
    }
}

/// Every second session announces that it can be told.
fn is_told_of_revocations(session: SessionId) -> bool {
    session.get().is_multiple_of(2)
}
