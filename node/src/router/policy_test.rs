//! Random policies, changed while sessions call, answer, publish, subscribe, register and ask the meta API on one node and on three.
//!
//! What every session hears is held against an oracle that works out from the text of the rule who may do what: nothing that is not
//! permitted is delivered, invoked or revealed, and nothing that is permitted is refused. Each node takes a new policy at a time of
//! its own, as it would from the log; what a session may do is what its node has in force.

mod oracle;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::{Duration, Instant},
};

use proptest::prelude::*;

use super::{
    BarrierOutcome, Effect, Input, MatchPolicy, NodeRef, Op, PeerFrame, Permission, Policy, Realm, RealmConfig, Right, Role,
    SessionInfo, Slot, testing::some_instant, turn::Turn,
};
use crate::wamp::{Dict, Message, Payload, RequestId, Serializer, SessionId, Uri, Value, error_uri, message::code};
use oracle::{Person, Rule};

const ROLES: usize = 6;
const AUTHIDS: [&str; 4] = ["a", "b", "x", "a.b"];
const WORDS: [&str; 3] = ["a", "b", "ab"];
const VERBS: [&str; 6] = [
    "call",
    "register",
    "publish",
    "subscribe",
    "register_pattern",
    "subscribe_pattern",
];
const HOWS: [&str; 3] = ["exact", "prefix", "wildcard"];

/// One random step; the numbers pick among what is possible.
#[derive(Clone, Copy, Debug)]
struct Step {
    kind: u8,
    a: u16,
    b: u16,
    c: u16,
}

struct Client {
    node: usize,
    person: Person,
    last_request: u64,
    /// What it asked for, by request id: the verb and the URI, and whether it was permitted then.
    asked: BTreeMap<u64, (&'static str, String, bool)>,
    invocations: Vec<RequestId>,
}

struct Node {
    me: NodeRef,
    realm: Realm,
    roles: Vec<Vec<Rule>>,
}

struct World {
    nodes: Vec<Node>,
    clients: BTreeMap<SessionId, Client>,
    log: u64,
    wire: VecDeque<(usize, usize, PeerFrame)>,
    /// Of every call and publication, by the number it carries: its URI, and whether it was permitted.
    sent: Vec<(String, bool)>,
    newest: Vec<Vec<Rule>>,
    universe: Vec<String>,
    now: Instant,
    seen: BTreeSet<&'static str>,
}

fn universe() -> Vec<String> {
    let one = WORDS.map(str::to_owned).to_vec();
    let deeper = |uris: &[String]| -> Vec<String> {
        let with = |uri: &String| WORDS.map(|word| format!("{uri}.{word}"));
        uris.iter().flat_map(with).collect()
    };
    let two = deeper(&one);
    let three = deeper(&two);
    [one, two, three].concat()
}

/// A pattern, or a URI, out of a number.
fn pattern(how: &str, mut n: usize) -> String {
    let mut take = |of: usize| {
        let picked = n % of;
        n /= of;
        picked
    };
    let depth = 1 + take(3);
    let parts: Vec<&str> = (0..depth)
        .map(|_| match (how, take(5)) {
            ("wildcard", 3 | 4) => "",
            (_, picked) => WORDS[picked % 3],
        })
        .collect();
    let text = parts.join(".");
    match (how, take(4)) {
        ("prefix", 0) => String::new(),
        ("prefix", 1) => format!("{text}."),
        ("prefix", 2) => format!("{text}.a"),
        ("wildcard", 0) => format!("{text}."),
        _ => text,
    }
}

fn rules() -> impl Strategy<Value = Vec<Vec<Rule>>> {
    let rule = (0..3_usize, any::<u16>(), 0..64_u8, 0..64_u8, 0..8_u8).prop_map(|(how, n, allow, deny, dice)| {
        let how = HOWS[how];
        let mut uri = pattern(how, usize::from(n));
        if dice == 0 {
            uri = uri.replacen('b', "{authid}", 1);
        }
        let verbs = |bits: u8| {
            VERBS
                .iter()
                .enumerate()
                .filter(|(n, _)| bits & 1 << n != 0)
                .map(|(_, verb)| *verb)
                .collect()
        };
        let (allow, deny) = if dice < 6 { (allow | 0b100, 0) } else { (0, deny | 0b1000) };
        Rule {
            how,
            uri,
            allow: verbs(allow),
            deny: verbs(deny),
        }
    });
    prop::collection::vec(prop::collection::vec(rule, 0..7), ROLES)
}

fn policy(roles: &[Vec<Rule>]) -> Policy {
    let rights = |names: &[&str]| names.iter().filter_map(|name| Right::from_name(name)).collect();
    let permission = |rule: &Rule| Permission {
        uri: Uri::from(rule.uri.as_str()),
        policy: MatchPolicy::from_name(rule.how).unwrap(),
        allow: rights(&rule.allow),
        deny: rights(&rule.deny),
        disclose: None,
    };
    let role = |(n, rules): (usize, &Vec<Rule>)| {
        let mut permissions: Vec<Permission> = rules.iter().map(permission).collect();
        // The meta API itself is open to all: what it tells is what is looked at.
        for (names, policy) in [("call", MatchPolicy::Prefix), ("subscribe", MatchPolicy::Prefix)] {
            permissions.push(Permission {
                uri: Uri::from("wamp."),
                policy,
                allow: [Right::from_name(names).unwrap()].into_iter().collect(),
                deny: [].into_iter().collect(),
                disclose: None,
            });
        }
        (format!("r{n}"), Role::new(permissions))
    };
    Policy::new(roles.iter().enumerate().map(role))
}

impl World {
    fn new(count: usize, roles: Vec<Vec<Rule>>) -> Self {
        let now = some_instant();
        let nodes = (0..count).map(|n| {
            let mut config = RealmConfig::new(Uri::from("realm1"), n as u64, [9; 16]);
            config.policy = policy(&roles);
            let me = NodeRef {
                slot: Slot(n as u16 + 1),
                epoch: 1,
            };
            let realm = Realm::new(config, me);
            Node {
                me,
                realm,
                roles: roles.clone(),
            }
        });
        let mut world = Self {
            nodes: nodes.collect(),
            clients: BTreeMap::new(),
            log: 0,
            wire: VecDeque::new(),
            sent: Vec::new(),
            newest: roles,
            universe: universe(),
            now,
            seen: BTreeSet::new(),
        };
        for n in 0..count {
            let until = now + Duration::from_secs(1_000_000);
            world.input(n, Input::Lease { until });
            for peer in (0..count).filter(|peer| *peer != n) {
                let node = world.nodes[peer].me;
                world.input(n, Input::PeerUp { node });
                world.input(n, Input::PeerReady { node });
            }
        }
        for n in 0..2 * ROLES {
            let session = SessionId::new(100 + n as u64).unwrap();
            let person = Person {
                authid: AUTHIDS[n % AUTHIDS.len()].to_owned(),
                role: n % ROLES,
            };
            let info = SessionInfo {
                authid: person.authid.clone(),
                authrole: format!("r{}", person.role),
                authmethod: "ticket".into(),
                authprovider: "static".into(),
                trustlevel: None,
                features: Vec::new(),
                compat: crate::router::Compat::default(),
                pools: crate::router::Pools::default(),
                whence: None,
            };
            let node = n % count;
            let client = Client {
                node,
                person,
                last_request: 0,
                asked: BTreeMap::new(),
                invocations: Vec::new(),
            };
            world.clients.insert(session, client);
            world.input(node, Input::SessionJoined { session, info });
            for topic in ["registration.on_create", "subscription.on_create"] {
                let topic = Uri::from(format!("wamp.{topic}").as_str());
                world.request(session, "subscribe", &topic.clone(), |request| Message::Subscribe {
                    request,
                    options: Dict::new(),
                    topic,
                });
            }
        }
        world
    }

    fn may(&self, session: SessionId, verb: &str, uri: &str) -> bool {
        let client = &self.clients[&session];
        uri.starts_with("wamp.") || oracle::may(&self.nodes[client.node].roles, &client.person, verb, uri)
    }

    /// True if all of a pattern is permitted, as far as this world goes.
    fn may_all(&self, session: SessionId, verb: &str, how: &str, uri: &str) -> bool {
        let client = &self.clients[&session];
        let roles = &self.nodes[client.node].roles;
        how == "exact" && self.may(session, verb, uri)
            || how != "exact" && oracle::may_all(roles, &client.person, verb, how, uri, &self.universe)
    }

    /// True if the session may know of a registration or subscription.
    fn sees(&self, session: SessionId, verbs: [&str; 2], how: &str, uri: &str) -> bool {
        uri.starts_with("wamp.") || verbs.iter().any(|verb| self.may_all(session, verb, how, uri))
    }

    fn request(&mut self, session: SessionId, verb: &'static str, uri: &Uri, message: impl FnOnce(RequestId) -> Message) {
        let allowed = self.may(session, verb, uri);
        let client = self.clients.get_mut(&session).unwrap();
        client.last_request += 1;
        let request = RequestId::new(client.last_request).unwrap();
        client.asked.insert(request.get(), (verb, uri.to_string(), allowed));
        let (node, message) = (client.node, message(request));
        self.input(node, Input::Message { session, message });
    }

    fn input(&mut self, node: usize, input: Input) {
        let mut effects = Vec::new();
        self.nodes[node].realm.handle(self.now, input, &mut effects);
        self.carry_out(node, effects);
    }

    fn carry_out(&mut self, node: usize, effects: Vec<Effect>) {
        self.nodes[node].realm.check_invariants().expect("invariants hold");
        for effect in effects {
            match effect {
                Effect::Send { session, message } => self.hears(session, &message),
                Effect::Fanout { sessions, message } => sessions.into_iter().for_each(|session| self.hears(session, &message)),
                Effect::Propose { op } => self.commit(node, &op),
                Effect::Barrier => {
                    let outcome = BarrierOutcome::Passed;
                    self.input(node, Input::Barrier { outcome });
                }
                Effect::Interest { topic, wanted, ticket } => {
                    let me = self.nodes[node].me;
                    for peer in (0..self.nodes.len()).filter(|peer| *peer != node) {
                        let changes = vec![(topic.clone(), wanted)];
                        self.input(peer, Input::PeerInterest { node: me, changes });
                    }
                    if wanted {
                        self.input(node, Input::InterestAcked { ticket });
                    }
                }
                Effect::Forward { to, frame, .. } => self.wire.push_back((node, usize::from(to.slot.0) - 1, frame)),
                Effect::SubscriptionEnded { .. } => {}
                other => panic!("nobody asked for {other:?}"),
            }
        }
    }

    fn commit(&mut self, by: usize, op: &Op) {
        self.log += 1;
        let (index, by) = (self.log, self.nodes[by].me);
        for node in 0..self.nodes.len() {
            let op = op.clone();
            self.input(node, Input::Applied { index, by, op });
            self.input(node, Input::AppliedTo { index });
        }
    }

    fn deliver(&mut self) {
        if let Some((from, to, frame)) = self.wire.pop_front() {
            let from = self.nodes[from].me;
            self.input(to, Input::Peer { from, frame });
        }
    }

    /// A session hears something: it must be permitted, by what its node has in force.
    fn hears(&mut self, session: SessionId, message: &Message) {
        match message {
            Message::Invocation { request, payload, .. } => {
                let (uri, permitted) = self.sent[number(payload)].clone();
                assert!(permitted, "{session} is invoked by a call of {uri} that was not permitted");
                assert!(self.may(session, "register", &uri), "{session} is invoked as {uri}");
                self.clients.get_mut(&session).unwrap().invocations.push(*request);
                self.seen.insert("invocation");
            }
            Message::Event { payload, .. } => self.hears_event(session, payload),
            Message::Result { request, payload, .. } => self.hears_result(session, *request, payload),
            Message::Error {
                request_type,
                request,
                error,
                ..
            } => {
                let (verb, uri, permitted) = self.clients[&session].asked[&request.get()].clone();
                let denied = error.as_str() == error_uri::NOT_AUTHORIZED;
                let now = self.may(session, verb, &uri);
                if !permitted {
                    assert!(denied, "{session} learns {error} about {verb} {uri}");
                    self.seen.insert("denied");
                } else if denied && verb != "by pattern" {
                    assert!(!now, "{session} may {verb} {uri} and is told that it may not");
                    assert_ne!(*request_type, code::PUBLISH);
                    self.seen.insert("ended");
                }
            }
            Message::Subscribed { request, .. } | Message::Registered { request, .. } | Message::Published { request, .. } => {
                let (verb, uri, permitted) = &self.clients[&session].asked[&request.get()];
                assert!(permitted, "{session} did {verb} {uri}");
                self.seen.insert("done");
            }
            Message::Unsubscribed { .. } | Message::Unregistered { .. } => {}
            other => panic!("{session} kept the protocol and got {other:?}"),
        }
    }

    fn hears_event(&mut self, session: SessionId, payload: &Payload) {
        let (args, _) = payload.to_values().unwrap();
        if let [Value::Integer(_), Value::Dict(about)] = &args[..] {
            let (how, uri) = (about.text("match").unwrap(), about.text("uri").unwrap());
            let verbs = if about.get("invoke").is_some() {
                ["call", "register"]
            } else {
                ["publish", "subscribe"]
            };
            assert!(self.sees(session, verbs, how, uri), "{session} hears of {how} {uri}");
            self.seen.insert("meta event");
            return;
        }
        if args.len() > 1 {
            // Of something by its id alone, to those who subscribe to everything.
            return;
        }
        let (uri, permitted) = self.sent[number(payload)].clone();
        assert!(permitted, "{session} gets an event of {uri} that nobody might publish");
        assert!(self.may(session, "subscribe", &uri), "{session} gets an event of {uri}");
        self.seen.insert("event");
    }

    fn hears_result(&mut self, session: SessionId, request: RequestId, payload: &Payload) {
        let (_, uri, permitted) = self.clients[&session].asked[&request.get()].clone();
        assert!(
            permitted && self.may(session, "call", &uri),
            "{session} gets a result of {uri}"
        );
        self.seen.insert("result");
        if !uri.starts_with("wamp.") {
            return;
        }
        let (args, _) = payload.to_values().unwrap();
        let verbs = if uri.contains("registration") {
            ["call", "register"]
        } else {
            ["publish", "subscribe"]
        };
        let Some(Value::Dict(lists)) = args.first() else {
            panic!("{args:?}")
        };
        for (how, ids) in &lists.0 {
            for id in ids.as_list().unwrap() {
                let id = u64::try_from(id.as_integer().unwrap()).unwrap();
                let known = self.name_of(uri.contains("registration"), id);
                if let Some(known) = known {
                    assert!(self.sees(session, verbs, how, &known), "{session} is shown {how} {known}");
                    self.seen.insert("list");
                }
            }
        }
    }

    /// What stands under an id somewhere.
    fn name_of(&self, registration: bool, id: u64) -> Option<String> {
        self.nodes.iter().find_map(|node| {
            if registration {
                let id = crate::wamp::RegistrationId::new(id)?;
                return node
                    .realm
                    .registry()
                    .registration(id)
                    .map(|found| found.procedure.to_string());
            }
            let id = crate::wamp::SubscriptionId::new(id)?;
            node.realm.broker.by_id.get(&id).map(|key| key.uri.to_string())
        })
    }

    /// What stands on a node is permitted there.
    fn check_standing(&self, node: usize) {
        for (session, client) in self.clients.iter().filter(|(_, client)| client.node == node) {
            let Some(standing) = self.nodes[node].realm.sessions.get(*session) else {
                continue;
            };
            for id in standing.subscriptions.keys() {
                let key = &self.nodes[node].realm.broker.by_id[id];
                let how = key.policy.name();
                let reserved = key.uri.starts_with("wamp.");
                assert!(
                    reserved || self.may_all(*session, "subscribe", how, &key.uri),
                    "{session} is subscribed to {}",
                    key.uri
                );
            }
            for (request, _) in standing.calls.iter() {
                let (_, uri, _) = &client.asked[&request.get()];
                assert!(self.may(*session, "call", uri), "{session} still calls {uri}");
            }
        }
    }

    fn step(&mut self, Step { kind, a, b, c }: Step, policies: &[Vec<Vec<Rule>>]) {
        let sessions: Vec<SessionId> = self.clients.keys().copied().collect();
        let (session, b, c) = (sessions[usize::from(a) % sessions.len()], usize::from(b), usize::from(c));
        let uri = self.universe[b % self.universe.len()].clone();
        match kind {
            0..=3 => self.send(session, "call", &uri),
            4..=7 => self.send(session, "publish", &uri),
            8..=12 => self.stand(session, true, c, b),
            13..=17 => self.stand(session, false, c, b),
            18..=22 => self.answer(session),
            23 => self.list(session, ["registration", "subscription"][b % 2]),
            24 => self.newest = policies[b % policies.len()].clone(),
            25..=27 => {
                let node = b % self.nodes.len();
                self.take_policy(node);
            }
            _ => self.deliver(),
        }
    }

    fn take_policy(&mut self, node: usize) {
        let newest = self.newest.clone();
        let mut effects = Vec::new();
        let turn = &mut Turn {
            now: self.now,
            effects: &mut effects,
        };
        self.nodes[node].realm.put_in_force(turn, policy(&newest));
        self.nodes[node].roles = newest;
        self.carry_out(node, effects);
        self.check_standing(node);
    }

    fn send(&mut self, session: SessionId, verb: &'static str, uri: &str) {
        self.sent.push((uri.to_owned(), self.may(session, verb, uri)));
        let payload = Payload::from_values(Serializer::Cbor, &[(self.sent.len() as u64 - 1).into()], &Dict::new());
        let name = Uri::from(uri);
        let loud = Dict::new().with("acknowledge", true);
        self.request(session, verb, &name.clone(), |request| match verb {
            "call" => Message::Call {
                request,
                options: Dict::new(),
                procedure: name,
                payload,
            },
            _ => Message::Publish {
                request,
                options: loud,
                topic: name,
                payload,
            },
        });
    }

    /// SUBSCRIBE or REGISTER, by some way of matching.
    fn stand(&mut self, session: SessionId, subscribe: bool, how: usize, n: usize) {
        let how = HOWS[how % 3];
        let name = Uri::from(pattern(how, n).as_str());
        if !name.is_uri(super::UriCheck::Loose) && how == "exact" {
            return;
        }
        let verb = if subscribe { "subscribe" } else { "register" };
        let options = Dict::new()
            .with("match", how)
            .with("invoke", if subscribe { "" } else { "roundrobin" });
        let options = if subscribe { Dict::new().with("match", how) } else { options };
        let asked = if how == "exact" { verb } else { "by pattern" };
        let whole = self.may_all(session, verb, how, &name);
        let client = self.clients.get_mut(&session).unwrap();
        client.last_request += 1;
        let request = RequestId::new(client.last_request).unwrap();
        // Of a pattern the oracle knows no more than what it matches in this world: refused it may be, taken only if all is permitted.
        client.asked.insert(request.get(), (asked, name.to_string(), whole));
        let node = client.node;
        let message = match subscribe {
            true => Message::Subscribe {
                request,
                options,
                topic: name,
            },
            false => Message::Register {
                request,
                options,
                procedure: name,
            },
        };
        self.input(node, Input::Message { session, message });
    }

    fn answer(&mut self, session: SessionId) {
        let client = self.clients.get_mut(&session).unwrap();
        let node = client.node;
        let Some(request) = client.invocations.pop() else { return };
        let message = Message::Yield {
            request,
            options: Dict::new(),
            payload: Payload::EMPTY,
        };
        self.input(node, Input::Message { session, message });
    }

    fn list(&mut self, session: SessionId, what: &str) {
        let name = Uri::from(format!("wamp.{what}.list").as_str());
        self.request(session, "call", &name.clone(), |request| Message::Call {
            request,
            options: Dict::new(),
            procedure: name,
            payload: Payload::EMPTY,
        });
    }

    /// All nodes come to the newest policy; then everything is taken from everybody.
    fn settle(&mut self) {
        for roles in [self.newest.clone(), vec![Vec::new(); ROLES]] {
            self.newest = roles;
            for node in 0..self.nodes.len() {
                self.take_policy(node);
            }
            while !self.wire.is_empty() {
                self.deliver();
            }
            (0..self.nodes.len()).for_each(|node| self.check_standing(node));
        }
        assert_eq!(self.nodes[0].realm.registry().registration_count(), 0);
    }
}

fn number(payload: &Payload) -> usize {
    let (args, _) = payload.to_values().unwrap();
    usize::try_from(args[0].as_integer().unwrap()).unwrap()
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = (0..44_u8, any::<u16>(), any::<u16>(), any::<u16>()).prop_map(|(kind, a, b, c)| Step { kind, a, b, c });
    prop::collection::vec(step, 1..250)
}

fn walk(count: usize, policies: &[Vec<Vec<Rule>>], steps: Vec<Step>) -> BTreeSet<&'static str> {
    let mut world = World::new(count, policies[0].clone());
    steps.into_iter().for_each(|step| world.step(step, policies));
    world.settle();
    world.seen
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, max_shrink_iters: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn nothing_unpermitted_is_delivered_invoked_or_revealed_on_one_node(
        policies in prop::collection::vec(rules(), 3), steps in steps()
    ) {
        walk(1, &policies, steps);
    }

    #[test]
    fn nothing_unpermitted_is_delivered_invoked_or_revealed_on_three_nodes(
        policies in prop::collection::vec(rules(), 3), steps in steps()
    ) {
        walk(3, &policies, steps);
    }
}

/// The walk is worth something only if it gets everywhere.
#[test]
fn the_random_policies_let_everything_happen() {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut seen = BTreeSet::new();
    for _ in 0..60 {
        let (policies, steps) = (prop::collection::vec(rules(), 3), steps())
            .new_tree(&mut runner)
            .expect("no filter")
            .current();
        seen.extend(walk(3, &policies, steps));
    }
    let expected = [
        "denied",
        "done",
        "ended",
        "event",
        "invocation",
        "list",
        "meta event",
        "result",
    ];
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), expected);
}
