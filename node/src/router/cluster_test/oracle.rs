//! What clients may and may not see.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::meta::MetaOracle;
use crate::{
    router::{PeerFrame, frame::CallId},
    wamp::{Dict, Message, Payload, RegistrationId, RequestId, Serializer, SessionId, SubscriptionId, Uri, Value, message::code},
};

/// Every session's view, and the calls and events as a whole.
#[derive(Default)]
pub(super) struct Oracle {
    sessions: BTreeMap<SessionId, Client>,
    /// Calls that reached a callee, as (caller, number).
    invoked: BTreeSet<(SessionId, u64)>,
    /// Which call travels under a number of a node.
    travelling: BTreeMap<(usize, CallId), (SessionId, u64)>,
    /// Calls that a node refused → the caller's last call when it was told.
    refused: BTreeMap<(SessionId, u64), u64>,
    /// Error URIs that ended calls.
    outcomes: BTreeSet<String>,
    /// News that must arrive.
    expected: Vec<Expected>,
    pub(super) meta: MetaOracle,
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

struct Client {
    node: usize,
    alive: bool,
    last_request: u64,
    calls: BTreeMap<RequestId, Call>,
    last_call: u64,
    last_news: u64,
    registering: BTreeMap<RequestId, Uri>,
    registrations: BTreeMap<RegistrationId, Uri>,
    unregistering: BTreeSet<RequestId>,
    subscribing: BTreeMap<RequestId, Wanted>,
    /// In answer order: UNSUBSCRIBEs and what they are for.
    unsubscribing: BTreeMap<RequestId, SubscriptionId>,
    subscriptions: BTreeMap<SubscriptionId, Wanted>,
    publishing: BTreeSet<RequestId>,
    invocations: BTreeMap<RequestId, Payload>,
    last_invocation: u64,
    /// The last call of each caller that came, apart from refused ones; and of all.
    called_by: BTreeMap<SessionId, (u64, u64)>,
    /// The last news of each publisher, and all news under each subscription.
    heard: BTreeMap<SessionId, u64>,
    heard_all: BTreeSet<(SessionId, u64, SubscriptionId)>,
}

struct Call {
    number: u64,
    /// Who held the procedure when it was made.
    holder: Option<(SessionId, RegistrationId)>,
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
        let held: Vec<_> = self.sessions[&session].registrations.keys().collect();
        (!held.is_empty()).then(|| *held[b % held.len()])
    }

    /// The registrations of all living sessions.
    pub(super) fn all_held(&self) -> BTreeSet<RegistrationId> {
        let living = self.sessions.values().filter(|c| c.alive);
        living.flat_map(|c| c.registrations.keys().copied()).collect()
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
        let (request, payload) = invocations.iter().nth(b % invocations.len().max(1))?;
        Some((*request, payload.clone()))
    }

    pub(super) fn outcomes(&self) -> impl Iterator<Item = String> {
        self.outcomes.iter().cloned()
    }

    /// Who holds a procedure: has heard REGISTERED, not sent UNREGISTER, and lives.
    pub(super) fn holder(&self, procedure: &Uri) -> Option<(SessionId, RegistrationId)> {
        let mut holders = self.sessions.iter().filter(|(_, c)| c.alive).flat_map(|(session, client)| {
            client
                .registrations
                .iter()
                .filter(|(_, p)| *p == procedure)
                .map(|(registration, _)| (*session, *registration))
        });
        let holder = holders.next();
        assert_eq!(holders.next(), None, "two holders of {procedure}");
        holder
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
        let holder = match message {
            Message::Call { procedure, .. } => self.holder(procedure),
            _ => None,
        };
        let client = self.client(session);
        match message {
            Message::Call { request, .. } => {
                client.calls.insert(
                    *request,
                    Call {
                        number: client.last_call,
                        holder,
                    },
                );
            }
            Message::Register { request, procedure, .. } => _ = client.registering.insert(*request, procedure.clone()),
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
                if not_found && let Some((holder, registration)) = call.holder {
                    let client = self.client(holder);
                    let stood = client.alive && client.registrations.contains_key(&registration);
                    assert!(
                        !stood,
                        "call {request} of {session} did not find {registration}, which stood all the time"
                    );
                }
                self.outcomes.insert(error.to_string());
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
                let procedure = self
                    .client(session)
                    .registering
                    .remove(&request)
                    .expect("one answer per REGISTER");
                self.client(session).registrations.insert(registration, procedure.clone());
                assert_eq!(self.holder(&procedure), Some((session, registration)));
            }
            Message::Unregistered { request, .. } => {
                let request = request.expect("nothing is revoked here");
                assert!(
                    self.client(session).unregistering.remove(&request),
                    "one answer per UNREGISTER"
                );
            }
            Message::Invocation {
                request,
                registration,
                payload,
                ..
            } => self.is_invoked(session, request, registration, payload),
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

    fn is_invoked(&mut self, callee: SessionId, request: RequestId, registration: RegistrationId, payload: Payload) {
        let (caller, number) = unpack(&payload);
        assert!(self.invoked.insert((caller, number)), "call {number} of {caller} came twice");
        let refused = self.refused.get(&(caller, number)).copied();
        let client = self.client(callee);
        client.last_invocation += 1;
        assert_eq!(request.get(), client.last_invocation, "invocation ids of {callee}");
        assert!(
            client.registrations.contains_key(&registration),
            "an invocation outside of its registration"
        );
        client.invocations.insert(request, payload);
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

fn unpack(payload: &Payload) -> (SessionId, u64) {
    let text = std::str::from_utf8(payload.bytes()).unwrap();
    let (session, number) = text.trim_matches(['[', ']']).split_once(',').unwrap();
    (SessionId::new(session.parse().unwrap()).unwrap(), number.parse().unwrap())
}
