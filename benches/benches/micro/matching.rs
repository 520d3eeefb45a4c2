//! A realm among many registrations and subscriptions: finding those that a message is for, and what routing it takes.

use std::time::{Duration, Instant};

use divan::Bencher;
use ringfort::{
    router::{Compat, Effect, Input, Policy, Realm, RealmConfig, SessionInfo},
    wamp::{Dict, Message, Serializer, Uri},
};

use crate::{
    ME, call, payload,
    registry::{procedure, some},
    request, session, sizes,
};

/// A realm with its log and its sessions, whatever it asks for done at once.
struct Node {
    realm: Realm,
    now: Instant,
    index: u64,
    effects: Vec<Effect>,
}

impl Node {
    fn new() -> Self {
        let mut config = RealmConfig::new("realm1".into(), 7, [7; 16]);
        config.policy = Policy::open();
        (config.limits.subscriptions_max, config.limits.registrations_max) = (usize::MAX, usize::MAX);
        let now = Instant::now();
        let mut node = Self {
            realm: Realm::new(config, ME),
            now,
            index: 0,
            effects: Vec::new(),
        };
        node.input(Input::Lease {
            until: now + Duration::from_secs(24 * 3600),
        });
        node
    }

    /// Handles one input and leaves its effects to be read.
    fn input(&mut self, input: Input) {
        self.effects.clear();
        self.realm.handle(self.now, input, &mut self.effects);
    }

    fn message(&mut self, from: u64, message: Message) {
        let session = session(from);
        self.input(Input::Message { session, message });
    }

    fn join(&mut self, number: u64) {
        let info = SessionInfo {
            authid: format!("user{number}"),
            authrole: "user".to_owned(),
            authmethod: "anonymous".to_owned(),
            authprovider: "static".to_owned(),
            trustlevel: None,
            features: Vec::new(),
            compat: Compat::default(),
            pools: ringfort::router::Pools::default(),
            whence: None,
        };
        let session = session(number);
        self.input(Input::SessionJoined { session, info });
    }

    fn register(&mut self, callee: u64, number: u64, procedure: Uri) {
        let register = Message::Register {
            request: request(number),
            options: Dict::new(),
            procedure,
        };
        self.message(callee, register);
        let Some(Effect::Propose { op }) = self.effects.pop() else {
            panic!("nothing was proposed");
        };
        self.index += 1;
        let index = self.index;
        self.input(Input::Applied { index, by: ME, op });
    }

    fn subscribe(&mut self, subscriber: u64, number: u64, topic: Uri) {
        let subscribe = Message::Subscribe {
            request: request(number),
            options: Dict::new(),
            topic,
        };
        self.message(subscriber, subscribe);
        let tickets: Vec<u64> = self
            .effects
            .iter()
            .filter_map(|effect| match effect {
                Effect::Interest { ticket, .. } => Some(*ticket),
                _ => None,
            })
            .collect();
        for ticket in tickets {
            self.input(Input::InterestAcked { ticket });
        }
    }

    /// One call from caller to callee and its result back.
    fn call(&mut self, number: u64, call: Message) {
        self.message(CALLER, call);
        let invocation = self.effects.iter().find_map(|effect| match effect {
            Effect::Send {
                message: Message::Invocation { request, payload, .. },
                ..
            } => Some((*request, payload.clone())),
            _ => None,
        });
        let (request, payload) = invocation.unwrap_or_else(|| panic!("call {number} was not routed: {:?}", self.effects));
        let answer = Message::Yield {
            request,
            options: Dict::new(),
            payload,
        };
        self.message(CALLEE, answer);
        assert!(matches!(
            self.effects[..],
            [Effect::Send {
                message: Message::Result { .. },
                ..
            }]
        ));
    }
}

const CALLER: u64 = 1;
const CALLEE: u64 = 2;

/// CALL, INVOCATION, YIELD and RESULT through the core, each call to another of so many procedures.
#[divan::bench(args = sizes())]
fn call_among_registrations(bencher: Bencher<'_, '_>, count: usize) {
    let mut node = Node::new();
    node.join(CALLER);
    node.join(CALLEE);
    for number in 0..count {
        node.register(CALLEE, number as u64 + 1, procedure(number));
    }
    let (mut number, payload, mut wanted) = (0, payload(Serializer::MsgPack, 64), some(count));
    bencher.bench_local(|| {
        number += 1;
        node.call(number, call(number, wanted.next().unwrap(), payload.clone()));
    });
}

/// An event for one subscriber, each to another of so many topics.
#[divan::bench(args = sizes())]
fn publish_among_subscriptions(bencher: Bencher<'_, '_>, count: usize) {
    let mut node = Node::new();
    node.join(CALLER);
    node.join(CALLEE);
    for number in 0..count {
        node.subscribe(CALLEE, number as u64 + 1, procedure(number));
    }
    let (mut number, payload, mut wanted) = (0, payload(Serializer::MsgPack, 64), some(count));
    bencher.bench_local(|| {
        number += 1;
        let publish = publish(number, wanted.next().unwrap(), payload.clone());
        node.message(CALLER, publish);
        assert_eq!(node.effects.len(), 1, "{:?}", node.effects);
    });
}

/// An event for a thousand subscribers: one list of receivers, whatever their number.
#[divan::bench]
fn publish_to_1000_subscribers(bencher: Bencher<'_, '_>) {
    let mut node = Node::new();
    node.join(CALLER);
    for subscriber in 10..1010 {
        node.join(subscriber);
        node.subscribe(subscriber, 1, "com.example.topic".into());
    }
    let (mut number, payload) = (0, payload(Serializer::MsgPack, 64));
    bencher.bench_local(|| {
        number += 1;
        node.message(CALLER, publish(number, "com.example.topic".into(), payload.clone()));
        assert!(matches!(&node.effects[..], [Effect::Fanout { sessions, .. }] if sessions.len() == 1000));
    });
}

fn publish(number: u64, topic: Uri, payload: ringfort::wamp::Payload) -> Message {
    Message::Publish {
        request: request(number),
        options: Dict::new(),
        topic,
        payload,
    }
}
