//! What clients may and may not see.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::{
    created::{CreatedOracle, is_of_subscriptions},
    meta::MetaOracle,
};
use crate::{
    router::{InvokePolicy, MatchPolicy, PeerFrame, frame::CallId, pattern},
    wamp::{Dict, Message, Payload, RegistrationId, RequestId, Serializer, SessionId, SubscriptionId, Uri, Value, message::code},
};

/// Every session's view, and the calls and events as a whole.
#[derive(Default)]
pub(super) struct Oracle {
    sessions: BTreeMap<SessionId, Client>,
    /// Calls that reached a callee, as (caller, number).
    invoked: BTreeSet<(SessionId, u64)>,
    /// What calls asked for beyond one answer, by (caller, number).
    asked: BTreeMap<(SessionId, u64), Asked>,
    /// Which call travels under a number of a node.
    travelling: BTreeMap<(usize, CallId), (SessionId, u64)>,
    /// Calls that a node refused → the caller's last call when it was told.
    refused: BTreeMap<(SessionId, u64), u64>,
    /// Which procedure each call was of.
    called: BTreeMap<(SessionId, u64), Uri>,
    /// Registrations that somebody wants to take from their callees.
    revoked: BTreeSet<RegistrationId>,
    /// The registration that was invoked last.
    last_invoked: Option<RegistrationId>,
    last_serial: u64,
    /// Error URIs that ended calls.
    outcomes: BTreeSet<String>,
    /// News that must arrive.
    expected: Vec<Expected>,
    pub(super) meta: MetaOracle,
    pub(super) created: CreatedOracle,
    /// Topic and options of all news.
    news: BTreeMap<(SessionId, u64), (Uri, Dict)>,
    /// The shard of a subscription that got news with a resource key.
    sharded: BTreeMap<(SessionId, u64, SubscriptionId), String>,
}

/// What a SUBSCRIBE was for.
#[derive(Clone)]
struct Wanted {
    policy: String,
    topic: Uri,
    shard: Option<String>,
}

impl Wanted {
    fn matches(&self, topic: &str) -> bool {
        match self.policy.as_str() {
            "prefix" => topic.starts_with(&*self.topic),
            "wildcard" => {
                let (mine, its) = (self.topic.split('.'), topic.split('.'));
                mine.clone().count() == its.clone().count() && mine.zip(its).all(|(m, i)| m.is_empty() || m == i)
            }
            _ => *topic == *self.topic,
        }
    }
}

/// True if the lists of a PUBLISH admit a session.
fn admits(options: &Dict, session: SessionId) -> bool {
    let lists = |list: &str, who: Value| options.get(list).and_then(Value::as_list).map(|list| list.contains(&who));
    let (id, authid) = (Value::from(session.get()), Value::from(format!("user{session}")));
    let role = Value::from(["even", "odd"][(session.get() % 2) as usize]);
    [("", id), ("_authid", authid), ("_authrole", role)]
        .into_iter()
        .all(|(kind, who)| {
            lists(&format!("exclude{kind}"), who.clone()) != Some(true) && lists(&format!("eligible{kind}"), who) != Some(false)
        })
}

/// News of `publisher` that `subscriber`, subscribed and linked, must hear.
struct Expected {
    subscriber: SessionId,
    subscription: SubscriptionId,
    publisher: SessionId,
    number: u64,
}

/// The options of a call.
#[derive(Clone, Copy, Default)]
pub(super) struct Asked {
    pub(super) disclose: bool,
    pub(super) progress: bool,
    pub(super) in_parts: bool,
}

/// An invocation that the callee has not answered.
pub(super) struct Invoked {
    pub(super) payload: Payload,
    /// It may be answered in parts.
    pub(super) progress: bool,
    /// How many parts of its arguments came after the first; and of its result went.
    parts: u64,
    sent: u64,
    interrupted: bool,
}

struct Client {
    node: usize,
    alive: bool,
    last_request: u64,
    calls: BTreeMap<RequestId, Call>,
    last_call: u64,
    last_news: u64,
    registering: BTreeMap<RequestId, (Uri, MatchPolicy, InvokePolicy)>,
    registrations: BTreeMap<RegistrationId, Offer>,
    unregistering: BTreeSet<RequestId>,
    subscribing: BTreeMap<RequestId, Wanted>,
    /// In answer order: UNSUBSCRIBEs and what they are for.
    unsubscribing: BTreeMap<RequestId, SubscriptionId>,
    subscriptions: BTreeMap<SubscriptionId, Wanted>,
    publishing: BTreeSet<RequestId>,
    invocations: BTreeMap<RequestId, Invoked>,
    last_invocation: u64,
    /// The last call of each caller that came, apart from refused ones; and of all.
    called_by: BTreeMap<SessionId, (u64, u64)>,
    /// The last news of each publisher, and all news under each subscription.
    heard: BTreeMap<SessionId, u64>,
    heard_all: BTreeSet<(SessionId, u64, SubscriptionId)>,
}

struct Call {
    number: u64,
    /// How many parts of its result came; and of its arguments went after the first.
    received: u64,
    parts: u64,
    /// Another part of its arguments may go.
    more: bool,
    /// Who held something that it matches when it was made, and the how manieth holding that was.
    holders: Vec<(SessionId, RegistrationId, u64)>,
}

/// What a client has registered.
struct Offer {
    uri: Uri,
    policy: MatchPolicy,
    invoke: InvokePolicy,
    /// The how manieth registration this is, of all that were ever answered.
    serial: u64,
}

impl Offer {
    fn matches(&self, procedure: &Uri) -> bool {
        let mut index = pattern::Index::default();
        index.insert(self.policy, &self.uri, ());
        index.best(procedure).is_some()
    }
}

impl Oracle {
    pub(super) fn joins(&mut self, session: SessionId, node: usize) {
        let client = Client {
            node,
            alive: true,
            last_request: 0,
            calls: BTreeMap::new(),
            last_call: 0,
            last_news: 0,
            registering: BTreeMap::new(),
            registrations: BTreeMap::new(),
            unregistering: BTreeSet::new(),
            subscribing: BTreeMap::new(),
            unsubscribing: BTreeMap::new(),
            subscriptions: BTreeMap::new(),
            publishing: BTreeSet::new(),
            invocations: BTreeMap::new(),
            last_invocation: 0,
            called_by: BTreeMap::new(),
            heard: BTreeMap::new(),
            heard_all: BTreeSet::new(),
        };
        self.sessions.insert(session, client);
    }

    /// The session leaves; nothing may be sent to it from now on. Gives its node.
    pub(super) fn leaves(&mut self, session: SessionId) -> usize {
        let client = self.client(session);
        client.alive = false;
        client.node
    }

    pub(super) fn node_dies(&mut self, node: usize) {
        self.sessions
            .values_mut()
            .filter(|c| c.node == node)
            .for_each(|c| c.alive = false);
    }

    pub(super) fn living(&self) -> Vec<SessionId> {
        self.sessions.iter().filter(|(_, c)| c.alive).map(|(id, _)| *id).collect()
    }

    /// The sessions that are over.
    pub(super) fn ended(&self) -> BTreeSet<SessionId> {
        self.sessions.iter().filter(|(_, c)| !c.alive).map(|(id, _)| *id).collect()
    }

    /// True if the session has heard SUBSCRIBED of that topic.
    /// What living sessions are subscribed to.
    pub(super) fn all_subscriptions(&self) -> Vec<(SessionId, SubscriptionId, Uri)> {
        let living = self.sessions.iter().filter(|(_, client)| client.alive);
        let all = living.flat_map(|(session, client)| client.subscriptions.iter().map(|(id, wanted)| (*session, *id, wanted)));
        all.map(|(session, id, wanted)| (session, id, wanted.topic.clone())).collect()
    }

    pub(super) fn is_subscribed(&self, session: SessionId, topic: &str) -> bool {
        self.sessions[&session]
            .subscriptions
            .values()
            .any(|wanted| &*wanted.topic == topic)
    }

    pub(super) fn outcome(&mut self, outcome: &str) {
        self.outcomes.insert(outcome.to_owned());
    }

    pub(super) fn node_of(&self, session: SessionId) -> usize {
        self.sessions[&session].node
    }

    pub(super) fn next_request(&mut self, session: SessionId) -> RequestId {
        let client = self.client(session);
        client.last_request += 1;
        RequestId::new(client.last_request).unwrap()
    }

    /// The payload of a session's next call: who asks, and the how manieth call of it this is.
    pub(super) fn question(&mut self, session: SessionId) -> Payload {
        let client = self.client(session);
        client.last_call += 1;
        pack(session, client.last_call)
    }

    pub(super) fn news(&mut self, session: SessionId, topic: &Uri, options: &Dict) -> Payload {
        let client = self.client(session);
        client.last_news += 1;
        let number = client.last_news;
        self.news.insert((session, number), (topic.clone(), options.clone()));
        pack(session, number)
    }

    pub(super) fn held(&self, session: SessionId, b: usize) -> Option<RegistrationId> {
        // One that it is registering once more may be given up in the one order as in the other.
        let client = &self.sessions[&session];
        let again = |offer: &Offer| {
            client
                .registering
                .values()
                .any(|(uri, policy, _)| (uri, *policy) == (&offer.uri, offer.policy))
        };
        let held = client.registrations.iter().filter(|(_, offer)| !again(offer));
        let held: Vec<_> = held.map(|(id, _)| id).collect();
        (!held.is_empty()).then(|| *held[b % held.len()])
    }

    /// The registrations of all living sessions.
    pub(super) fn all_held(&self) -> BTreeSet<(RegistrationId, SessionId)> {
        let living = self.sessions.iter().filter(|(_, c)| c.alive);
        living
            .flat_map(|(session, c)| c.registrations.keys().map(|id| (*id, *session)))
            .collect()
    }

    pub(super) fn registration_is_revoked(&mut self, registration: RegistrationId) {
        self.revoked.insert(registration);
    }

    pub(super) fn last_invoked(&self) -> Option<RegistrationId> {
        self.last_invoked
    }

    /// The registration that a call of the procedure has to go to.
    pub(super) fn best(&self, procedure: &Uri) -> Option<RegistrationId> {
        let mut index = pattern::Index::default();
        for client in self.sessions.values().filter(|c| c.alive) {
            for (id, offer) in &client.registrations {
                index.insert(offer.policy, &offer.uri, *id);
            }
        }
        index.best(procedure).copied()
    }

    /// Living sessions with an open invocation.
    pub(super) fn invoked(&self) -> Vec<SessionId> {
        self.sessions
            .iter()
            .filter(|(_, c)| c.alive && !c.invocations.is_empty())
            .map(|(id, _)| *id)
            .collect()
    }

    pub(super) fn open_invocation(&self, session: SessionId, b: usize) -> Option<(RequestId, Payload)> {
        let invocations = &self.sessions[&session].invocations;
        let (request, invoked) = invocations.iter().nth(b % invocations.len().max(1))?;
        Some((*request, invoked.payload.clone()))
    }

    /// What a session announces: all, half of it, or nothing.
    pub(super) fn features(&self, session: SessionId) -> Vec<String> {
        let names: &[&str] = match session.get() % 4 {
            0 => &[],
            1 => &["callee.call_canceling", "caller.progressive_call_invocations"],
            _ => &[
                "callee.call_canceling",
                "callee.progressive_call_results",
                "callee.progressive_call_invocations",
                "caller.progressive_call_invocations",
            ],
        };
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn announced(&self, session: SessionId, feature: &str) -> bool {
        self.features(session).iter().any(|f| f == feature)
    }

    pub(super) fn may_call_in_parts(&self, session: SessionId) -> bool {
        self.announced(session, "caller.progressive_call_invocations")
    }

    /// The last call of a session asks for this.
    pub(super) fn asks(&mut self, session: SessionId, asked: Asked) {
        let number = self.client(session).last_call;
        self.asked.insert((session, number), asked);
    }

    /// An open call of a session.
    pub(super) fn open_call(&self, session: SessionId, b: usize) -> Option<RequestId> {
        let calls = &self.sessions[&session].calls;
        calls.keys().nth(b % calls.len().max(1)).copied()
    }

    pub(super) fn has_open_call(&self, session: SessionId, request: RequestId) -> bool {
        self.sessions[&session].calls.contains_key(&request)
    }

    /// The next part of the arguments of an open call that takes more.
    pub(super) fn next_part(&mut self, session: SessionId, b: usize, last: bool) -> Option<(RequestId, Payload)> {
        let client = self.client(session);
        let mut open: Vec<_> = client.calls.iter_mut().filter(|(_, call)| call.more).collect();
        let count = open.len().max(1);
        let (request, call) = open.get_mut(b % count)?;
        call.parts += 1;
        call.more = !last;
        Some((**request, pack_part(session, call.number, call.parts)))
    }

    /// The next part of the result of an open invocation.
    pub(super) fn next_progress(&mut self, session: SessionId, request: RequestId) -> Option<Payload> {
        let invoked = self.client(session).invocations.get_mut(&request)?;
        let (caller, number) = unpack(&invoked.payload);
        // What the callee was not asked for is dropped.
        invoked.sent += u64::from(invoked.progress);
        Some(pack_part(caller, number, invoked.sent))
    }

    pub(super) fn outcomes(&self) -> impl Iterator<Item = String> {
        self.outcomes.iter().cloned()
    }

    /// Who holds what a procedure matches: has heard REGISTERED, not sent UNREGISTER, and lives.
    fn holders(&self, procedure: &Uri) -> Vec<(SessionId, RegistrationId, u64)> {
        let living = self.sessions.iter().filter(|(_, c)| c.alive);
        let held = living.flat_map(|(session, client)| client.registrations.iter().map(|(id, offer)| (*session, *id, offer)));
        held.filter(|(_, _, offer)| offer.matches(procedure))
            .map(|(session, id, offer)| (session, id, offer.serial))
            .collect()
    }

    /// Everyone who holds the same has the same id, and one that does not share has one holder.
    fn check_holders(&self, session: SessionId, id: RegistrationId) {
        if self.revoked.contains(&id) {
            // A node whose log is behind does not know yet that it is gone.
            return;
        }
        let new = &self.sessions[&session].registrations[&id];
        let others = self.sessions.iter().filter(|(other, c)| c.alive && **other != session);
        for (other, held) in others.flat_map(|(other, c)| c.registrations.iter().map(move |(id, held)| (other, (id, held)))) {
            let (other_id, held) = held;
            if (&held.uri, held.policy) != (&new.uri, new.policy) || self.revoked.contains(other_id) {
                continue;
            }
            assert_eq!(
                (*other_id, held.invoke),
                (id, new.invoke),
                "{other} and {session} hold {}",
                new.uri
            );
            assert_ne!(new.invoke, InvokePolicy::Single, "{other} and {session} hold {}", new.uri);
        }
    }

    /// The living subscribers of a topic.
    pub(super) fn subscribers(&self, topic: &Uri) -> Vec<SessionId> {
        let subscribed = |c: &Client| c.alive && c.subscriptions.values().any(|wanted| wanted.matches(topic));
        self.sessions
            .iter()
            .filter(|(_, c)| subscribed(c))
            .map(|(id, _)| *id)
            .collect()
    }

    /// The last news of `publisher` must reach all subscribers of these nodes, apart from those it is not for, and from those with a
    /// node key where it has a resource key: which shard gets it changes with the nodes that come and go.
    pub(super) fn must_hear(&mut self, publisher: SessionId, nodes: &BTreeSet<usize>) {
        let number = self.client(publisher).last_news;
        let (topic, options) = self.news[&(publisher, number)].clone();
        for subscriber in self.subscribers(&topic) {
            if subscriber == publisher || !nodes.contains(&self.node_of(subscriber)) || !admits(&options, subscriber) {
                continue;
            }
            let client = &self.sessions[&subscriber];
            let subscriptions = client
                .subscriptions
                .iter()
                .filter(|(_, wanted)| wanted.matches(&topic) && (wanted.shard.is_none() || options.get("rkey").is_none()));
            self.expected.extend(subscriptions.map(|(subscription, _)| Expected {
                subscriber,
                subscription: *subscription,
                publisher,
                number,
            }));
        }
    }

    /// A subscription that the session may have had is over, and the session is not told.
    pub(super) fn is_revoked(&mut self, session: SessionId, subscription: SubscriptionId) {
        self.meta.revoked.insert(session);
        self.client(session).subscriptions.remove(&subscription);
        self.expected
            .retain(|e| (e.subscriber, e.subscription) != (session, subscription));
    }

    /// What is under way between two nodes is lost.
    pub(super) fn link_breaks(&mut self, i: usize, j: usize) {
        let sessions = &self.sessions;
        self.expected.retain(|e| {
            let ends = (sessions[&e.subscriber].node, sessions[&e.publisher].node);
            ends != (i, j) && ends != (j, i)
        });
    }

    /// News that should have arrived and did not.
    pub(super) fn missed(&self) -> Vec<String> {
        let missed = self.expected.iter().filter(|e| {
            let subscriber = &self.sessions[&e.subscriber];
            subscriber.alive && !subscriber.heard_all.contains(&(e.publisher, e.number, e.subscription))
        });
        missed
            .map(|e| {
                format!(
                    "news {} of {} under {} at {}",
                    e.number, e.publisher, e.subscription, e.subscriber
                )
            })
            .collect()
    }

    /// A subscription that the session was told of.
    pub(super) fn subscription(&self, session: SessionId, b: usize) -> Option<SubscriptionId> {
        let subscriptions = &self.sessions[&session].subscriptions;
        subscriptions.keys().nth(b % subscriptions.len().max(1)).copied()
    }

    pub(super) fn last_heard(&self, subscriber: SessionId, publisher: SessionId) -> Option<u64> {
        self.sessions[&subscriber].heard.get(&publisher).copied()
    }

    /// Requests of living sessions that wait for an answer.
    pub(super) fn unanswered(&self) -> Vec<String> {
        let mut open = Vec::new();
        for (id, c) in self.sessions.iter().filter(|(_, c)| c.alive) {
            open.extend(c.calls.keys().map(|r| format!("CALL {r} of {id}")));
            open.extend(c.registering.keys().map(|r| format!("REGISTER {r} of {id}")));
            open.extend(c.unregistering.iter().map(|r| format!("UNREGISTER {r} of {id}")));
            open.extend(c.subscribing.keys().map(|r| format!("SUBSCRIBE {r} of {id}")));
            open.extend(c.unsubscribing.keys().map(|r| format!("UNSUBSCRIBE {r} of {id}")));
            open.extend(c.publishing.iter().map(|r| format!("PUBLISH {r} of {id}")));
        }
        open.extend(self.unanswered_meta());
        open
    }

    /// The session sends a message; it takes effect at once. Gives its node.
    pub(super) fn says(&mut self, session: SessionId, message: &Message) -> usize {
        let holders = match message {
            Message::Call { procedure, .. } => self.holders(procedure),
            _ => Vec::new(),
        };
        let client = self.client(session);
        match message {
            Message::Call { request, .. } if client.calls.contains_key(request) => {}
            Message::Call {
                request,
                options,
                procedure,
                ..
            } => {
                let number = client.last_call;
                let call = Call {
                    number,
                    received: 0,
                    parts: 0,
                    more: options.bool("progress") == Some(true),
                    holders,
                };
                client.calls.insert(*request, call);
                self.called.insert((session, number), procedure.clone());
            }
            Message::Register {
                request,
                options,
                procedure,
            } => {
                let policy = options.text("match").and_then(MatchPolicy::from_name).unwrap();
                let invoke = options.text("invoke").and_then(InvokePolicy::from_name).unwrap();
                client.registering.insert(*request, (procedure.clone(), policy, invoke));
            }
            Message::Unregister { request, registration } => {
                client.registrations.remove(registration).expect("it was held");
                client.unregistering.insert(*request);
            }
            Message::Subscribe { request, topic, options } => {
                let wanted = Wanted {
                    policy: options.text("match").unwrap_or("exact").to_owned(),
                    topic: topic.clone(),
                    shard: options.text("nkey").map(str::to_owned),
                };
                client.subscribing.insert(*request, wanted);
            }
            Message::Unsubscribe { request, subscription } => {
                client.unsubscribing.insert(*request, *subscription);
                // Nothing has to arrive any more, and nothing may.
                self.expected
                    .retain(|e| (e.subscriber, e.subscription) != (session, *subscription));
            }
            Message::Publish { request, options, .. } if options.bool("acknowledge") == Some(true) => {
                client.publishing.insert(*request);
            }
            Message::Yield { options, .. } if options.bool("progress") == Some(true) => {}
            Message::Error { request, error, .. } if &**error == "wamp.error.unavailable" => {
                let invoked = client.invocations.remove(request).expect("it is open");
                // What went further than its beginning, or is not wanted any more, is answered like that.
                if (invoked.sent, invoked.parts, invoked.interrupted) == (0, 0, false) {
                    let (caller, number) = unpack(&invoked.payload);
                    // It goes to another callee, behind what its caller has called until then.
                    let made = self.client(caller).last_call;
                    self.invoked.remove(&(caller, number));
                    self.refused.insert((caller, number), made);
                }
            }
            Message::Yield { request, .. } | Message::Error { request, .. } => {
                client.invocations.remove(request);
            }
            _ => {}
        }
        self.node_of(session)
    }

    /// The session gets a message.
    pub(super) fn receives(&mut self, session: SessionId, message: Message) {
        assert!(self.client(session).alive, "{session} is gone and gets {message:?}");
        match message {
            Message::Result {
                request,
                details,
                payload,
            } if details.bool("progress") == Some(true) => {
                let call = self.client(session).calls.get_mut(&request);
                let call = call.expect("no part of a result after its end");
                call.received += 1;
                let expected = pack_part(session, call.number, call.received);
                assert_eq!(payload, expected, "a part of another result, or out of order");
                let number = call.number;
                assert!(self.asked.get(&(session, number)).is_some_and(|asked| asked.progress));
                self.outcomes.insert("a part of a result".into());
            }
            Message::Interrupt { request, options } => {
                assert!(self.announced(session, "callee.call_canceling"));
                let invoked = self.client(session).invocations.get_mut(&request);
                let invoked = invoked.expect("an interrupt of an invocation that has no answer yet");
                assert!(!std::mem::replace(&mut invoked.interrupted, true), "one interrupt each");
                self.outcomes
                    .insert(format!("interrupt {}", options.text("mode").expect("a mode")));
            }
            Message::Result {
                request,
                payload,
                details,
            } => {
                if self.ends_meta_call(session, request, &details, Ok(&payload)) {
                    return;
                }
                let call = self
                    .client(session)
                    .calls
                    .remove(&request)
                    .expect("one final answer per call");
                assert_eq!(unpack(&payload), (session, call.number), "the answer to another call");
            }
            Message::Error {
                request_type: code::CALL,
                request,
                error,
                details,
                ..
            } => {
                if self.ends_meta_call(session, request, &details, Err(&error)) {
                    return;
                }
                let call = self
                    .client(session)
                    .calls
                    .remove(&request)
                    .expect("one final answer per call");
                let not_found = &*error == "wamp.error.no_such_procedure" || details.text("_reason") == Some("stale_route");
                for (holder, id, serial) in call.holders.into_iter().filter(|_| not_found) {
                    let client = &self.sessions[&holder];
                    let holds = client.registrations.get(&id).is_some_and(|offer| offer.serial == serial);
                    assert!(
                        !client.alive || !holds || self.revoked.contains(&id),
                        "call {request} of {session} did not find {id}, which stood all the time"
                    );
                }
                self.outcomes.insert(error.to_string());
                self.outcomes.extend(details.text("_reason").map(str::to_owned));
            }
            Message::Error {
                request_type: code::REGISTER,
                request,
                error,
                ..
            } => {
                self.client(session)
                    .registering
                    .remove(&request)
                    .expect("one answer per REGISTER");
                self.outcomes.insert(format!("REGISTER {error}"));
            }
            Message::Error {
                request_type: code::UNSUBSCRIBE,
                request,
                ..
            } => {
                self.client(session)
                    .unsubscribing
                    .remove(&request)
                    .expect("one answer per UNSUBSCRIBE");
            }
            Message::Registered { request, registration } => {
                self.last_serial += 1;
                let serial = self.last_serial;
                let client = self.client(session);
                let (uri, policy, invoke) = client.registering.remove(&request).expect("one answer per REGISTER");
                // Who registers what it has is told the same id.
                client.registrations.entry(registration).or_insert(Offer {
                    uri,
                    policy,
                    invoke,
                    serial,
                });
                self.check_holders(session, registration);
            }
            Message::Unregistered {
                request: Some(request), ..
            } => assert!(
                self.client(session).unregistering.remove(&request),
                "one answer per UNREGISTER"
            ),
            Message::Unregistered { request: None, details } => {
                let id = details.get("registration").and_then(|id| id.as_integer());
                let id = id.and_then(|id| RegistrationId::new(id as u64)).expect("it says which");
                assert!(
                    self.client(session).registrations.remove(&id).is_some(),
                    "it lost what it had"
                );
            }
            Message::Invocation {
                request,
                registration,
                details,
                payload,
            } => {
                let procedure = details.text("procedure").map(Uri::from);
                let asked = self.asked.get(&unpack(&payload)).copied().unwrap_or_default();
                let caller = details.get("caller").and_then(Value::as_integer);
                let named = asked.disclose.then(|| i128::from(unpack(&payload).0.get()));
                assert_eq!(caller, named, "who asked for it is named, nobody else");
                let progress = details.bool("receive_progress") == Some(true);
                assert_eq!(
                    progress,
                    asked.progress && self.announced(session, "callee.progressive_call_results")
                );
                if part_of(&payload) > 0 || details.bool("progress") == Some(true) {
                    assert!(asked.in_parts && self.announced(session, "callee.progressive_call_invocations"));
                }
                if part_of(&payload) > 0 {
                    let invoked = self.client(session).invocations.get_mut(&request);
                    let invoked = invoked.expect("a further part comes to the callee of the first, before its answer");
                    assert_eq!(unpack(&invoked.payload), unpack(&payload));
                    invoked.parts += 1;
                    assert_eq!(part_of(&payload), invoked.parts, "parts in their order");
                    self.outcomes.insert("a part of arguments".into());
                } else {
                    self.is_invoked(session, request, registration, procedure, payload, progress);
                }
            }
            Message::Subscribed { request, subscription } => {
                let client = self.client(session);
                let wanted = client.subscribing.remove(&request).expect("one answer per SUBSCRIBE");
                client.subscriptions.insert(subscription, wanted);
            }
            Message::Unsubscribed { request: None, details } => {
                let subscription = details.get("subscription").and_then(Value::as_integer).unwrap();
                let subscription = SubscriptionId::new(subscription as u64).unwrap();
                assert_eq!(details.text("reason"), Some("com.why"));
                assert!(self.client(session).subscriptions.contains_key(&subscription), "it was none");
                self.is_revoked(session, subscription);
                self.outcomes.insert("revoked".to_owned());
            }
            Message::Unsubscribed {
                request: Some(request), ..
            } => {
                let client = self.client(session);
                let subscription = client.unsubscribing.remove(&request).expect("one answer per UNSUBSCRIBE");
                client
                    .subscriptions
                    .remove(&subscription)
                    .expect("SUBSCRIBED comes before UNSUBSCRIBED");
            }
            Message::Event {
                subscription,
                payload,
                publication,
                details,
                ..
            } => {
                let wanted = self.client(session).subscriptions.get(&subscription);
                let wanted = wanted.expect("an event outside of its subscription").topic.clone();
                if is_of_subscriptions(&wanted) {
                    let args = payload.to_values().unwrap().0;
                    return self.hears_of_subscription(session, &wanted, &args);
                }
                if wanted.is_reserved() {
                    return self.hears_of(session, &wanted, publication, &payload);
                }
                if details.text("topic").is_some_and(|topic| topic.starts_with("wamp.")) {
                    // Whoever wants all topics gets the router's too.
                    return self.outcome("a meta event under a pattern");
                }
                let (publisher, number) = unpack(&payload);
                self.hears(session, subscription, publisher, number, &details);
            }
            Message::Published { request, .. } => {
                assert!(self.client(session).publishing.remove(&request), "one answer per PUBLISH");
            }
            other => panic!("{session} gets {other:?}"),
        }
    }

    fn hears(&mut self, session: SessionId, subscription: SubscriptionId, publisher: SessionId, number: u64, details: &Dict) {
        let (topic, options) = self.news[&(publisher, number)].clone();
        assert!(
            admits(&options, session),
            "{session} is not to hear news {number} of {publisher}"
        );
        let client = self.client(session);
        let wanted = client
            .subscriptions
            .get(&subscription)
            .expect("an event outside of its subscription");
        assert!(wanted.matches(&topic), "{topic} at {}", wanted.topic);
        let told = (wanted.policy != "exact").then_some(&*topic);
        assert_eq!(details.text("topic"), told);
        assert_ne!(publisher, session, "its own event");
        let shard = wanted.shard.clone();
        let new = client.heard_all.insert((publisher, number, subscription));
        assert!(new, "news {number} of {publisher} came twice to {session}");
        let last = client.heard.insert(publisher, number).unwrap_or(0);
        assert!(number >= last, "news {number} of {publisher} after {last} at {session}");
        if let (Some(shard), Some(_)) = (shard, options.get("rkey")) {
            let first = self.sharded.entry((publisher, number, subscription)).or_insert(shard.clone());
            assert_eq!(*first, shard, "news {number} of {publisher} went to two shards");
            self.outcomes.insert("sharded".to_owned());
        }
    }

    fn is_invoked(
        &mut self,
        callee: SessionId,
        request: RequestId,
        registration: RegistrationId,
        named: Option<Uri>,
        payload: Payload,
        progress: bool,
    ) {
        let (caller, number) = unpack(&payload);
        let called = self.called[&(caller, number)].clone();
        self.last_invoked = Some(registration);
        assert!(self.invoked.insert((caller, number)), "call {number} of {caller} came twice");
        let refused = self.refused.get(&(caller, number)).copied();
        let client = self.client(callee);
        client.last_invocation += 1;
        assert_eq!(request.get(), client.last_invocation, "invocation ids of {callee}");
        let Some(offer) = client.registrations.get(&registration) else {
            panic!("an invocation outside of its registration")
        };
        assert!(offer.matches(&called), "{called} is none of {}", offer.uri);
        assert_eq!(named, (offer.policy != MatchPolicy::Exact).then_some(called));
        let invoked = Invoked {
            payload,
            progress,
            parts: 0,
            sent: 0,
            interrupted: false,
        };
        client.invocations.insert(request, invoked);
        let (in_order, highest) = client.called_by.entry(caller).or_default();
        match refused {
            // Calls that were under way when it was refused may have overtaken it, later ones not.
            Some(made_before) => assert!(
                *highest <= made_before,
                "call {highest} of {caller} overtook the retry of {number}"
            ),
            None => {
                assert!(number > *in_order, "call {number} of {caller} after {in_order} at {callee}");
                *in_order = number;
            }
        }
        *highest = number.max(*highest);
    }

    /// A node sends a frame.
    pub(super) fn sees_frame(&mut self, from: usize, _to: usize, frame: &PeerFrame) {
        if let PeerFrame::Invoke { call, payload, .. } = frame {
            self.travelling.insert((from, *call), unpack(payload));
        }
    }

    /// A node gets a frame.
    pub(super) fn sees_delivery(&mut self, _from: usize, to: usize, frame: &PeerFrame) {
        if let PeerFrame::Nack { call, .. } = frame
            && let Some((caller, number)) = self.travelling.get(&(to, *call)).copied()
        {
            let made = self.client(caller).last_call;
            self.refused.insert((caller, number), made);
        }
    }

    fn client(&mut self, session: SessionId) -> &mut Client {
        self.sessions.get_mut(&session).expect("it joined")
    }
}

fn pack(session: SessionId, number: u64) -> Payload {
    Payload::from_proven(Serializer::Json, 1, Bytes::from(format!("[{session},{number}]")))
}

/// A further part of the arguments or of the result of a call.
fn pack_part(session: SessionId, number: u64, part: u64) -> Payload {
    Payload::from_proven(Serializer::Json, 1, Bytes::from(format!("[{session},{number},{part}]")))
}

fn numbers(payload: &Payload) -> Vec<u64> {
    let text = std::str::from_utf8(payload.bytes()).unwrap();
    let numbers = text.trim_matches(['[', ']']).split(',');
    numbers.map(|number| number.parse().unwrap()).collect()
}

fn unpack(payload: &Payload) -> (SessionId, u64) {
    let numbers = numbers(payload);
    (SessionId::new(numbers[0]).unwrap(), numbers[1])
}

/// Which part after the first it is; 0 for the first and for what comes whole.
fn part_of(payload: &Payload) -> u64 {
    numbers(payload).get(2).copied().unwrap_or(0)
}
