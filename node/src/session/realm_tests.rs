use std::{
    sync::atomic::{AtomicU64, AtomicUsize},
    thread,
};

use super::*;
use crate::{
    router::{NodeRef, PeerFrame, Policy, RealmConfig, TopicKey},
    session::{
        limits::SessionLimits,
        loopback::{self, ME},
        outbox::WireFormat,
    },
    transport::framing::Framing,
    wamp::{
        Dict, Payload, RequestId, Serializer, Value,
        codec::{self, Frame},
        error_uri,
    },
};

/// A session without a socket: a test reads its outbox.
struct Member {
    realm: RealmHandle,
    session: SessionId,
    outbox: Arc<Outbox>,
    requests: u64,
}

fn info() -> SessionInfo {
    SessionInfo {
        authid: "x".into(),
        authrole: "guest".into(),
        authmethod: "anonymous".into(),
        authprovider: "static".into(),
        trustlevel: None,
        features: Vec::new(),
        compat: crate::router::Compat::default(),
        pools: crate::router::Pools::default(),
        whence: None,
    }
}

#[tokio::test]
async fn who_is_removed_after_its_credential_was_judged_is_not_let_in() {
    use crate::auth::{Credential, Principal, Principals};
    for removed in [false, true] {
        let realm = loopback::realm("realm1");
        let principals = Arc::new(Principals::new("realm1", Vec::new()));
        realm.keep_principals(Arc::clone(&principals));
        let lamp = Principal {
            authid: "lamp".into(),
            role: "device".into(),
            credentials: vec![Credential::CryptoSign([7; 32])],
        };
        let change = |change| crate::router::policy::Request { change, expected: None };
        let put = crate::router::Change::PutPrincipal { principal: lamp };
        assert!(matches!(realm.change(1, &change(put)), crate::router::Changed::Done(_)));
        // Its credential is judged: it is the principal of now.
        let principal = principals.by_authid("lamp").unwrap();
        if removed {
            let remove = crate::router::Change::RemovePrincipal { authid: "lamp".into() };
            assert!(matches!(realm.change(2, &change(remove)), crate::router::Changed::Done(_)));
        }
        let wire = WireFormat {
            serializer: Serializer::Json,
            framing: Framing::RawSocket,
            message_bytes_max: usize::MAX,
        };
        let outbox = Outbox::new(wire, &SessionLimits::default(), None, Arc::default());
        let session = SessionId::new(4711).unwrap();
        let welcome = Message::Welcome {
            session,
            details: Dict::new(),
        };
        let terms = Terms {
            principal: Some((principals, principal)),
            bearer: None,
        };
        let admitted = realm.admit(session, info(), &welcome, &outbox, &mut Touched::new(), terms);
        assert_eq!((admitted, realm.has(session)), (!removed, !removed));
    }
}

impl Member {
    fn join(realm: &RealmHandle) -> Self {
        Self::with(realm, &SessionLimits::default(), usize::MAX)
    }

    fn with(realm: &RealmHandle, limits: &SessionLimits, message_bytes_max: usize) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let session = SessionId::new(NEXT.fetch_add(1, Ordering::Relaxed)).unwrap();
        let wire = WireFormat {
            serializer: Serializer::Json,
            framing: Framing::RawSocket,
            message_bytes_max,
        };
        let outbox = Outbox::new(wire, limits, None, Arc::default());
        let welcome = Message::Welcome {
            session,
            details: Dict::new(),
        };
        realm.join(session, info(), &welcome, &outbox, &mut Touched::new());
        let member = Self {
            realm: realm.clone(),
            session,
            outbox,
            requests: 0,
        };
        assert_eq!(member.heard(), [welcome], "WELCOME is the first message");
        member
    }

    /// What came since the last look.
    fn heard(&self) -> Vec<Message> {
        let mut messages = Vec::new();
        while let Some(mut chunk) = self.outbox.begin_write() {
            let mut rest = chunk.rest();
            while let [a, b, c, d, after @ ..] = rest {
                let (message, after) = after.split_at(u32::from_be_bytes([*a, *b, *c, *d]) as usize);
                messages.push(codec::decode(Serializer::Json, Frame::Borrowed(message), &codec::Limits::default()).unwrap());
                rest = after;
            }
            chunk.advance(usize::MAX / 2);
            self.outbox.end_write(chunk);
        }
        messages
    }

    /// Waits until something came.
    fn next(&self) -> Vec<Message> {
        let start = Instant::now();
        loop {
            let heard = self.heard();
            if !heard.is_empty() {
                return heard;
            }
            assert!(start.elapsed() < Duration::from_secs(20), "nothing came");
            thread::yield_now();
        }
    }

    fn request(&mut self) -> RequestId {
        self.requests += 1;
        RequestId::new(self.requests).unwrap()
    }

    fn says(&self, message: Message) {
        self.realm.messages(self.session, [message], &mut Touched::new());
        self.realm.flush();
    }

    fn subscribes(&mut self, topic: &str) {
        let request = self.request();
        self.says(Message::Subscribe {
            request,
            options: Dict::new(),
            topic: topic.into(),
        });
    }

    fn registers(&mut self, procedure: &str) {
        let request = self.request();
        self.says(Message::Register {
            request,
            options: Dict::new(),
            procedure: procedure.into(),
        });
        assert!(matches!(self.next()[..], [Message::Registered { .. }]));
    }

    fn publishes(&mut self, topic: &str, value: u64) {
        let request = self.request();
        self.says(Message::Publish {
            request,
            options: Dict::new(),
            topic: topic.into(),
            payload: args(&[value]),
        });
    }

    fn calls(&mut self, procedure: &str, payload: Payload) {
        let request = self.request();
        self.says(Message::Call {
            request,
            options: Dict::new(),
            procedure: procedure.into(),
            payload,
        });
    }
}

fn args(values: &[u64]) -> Payload {
    let values: Vec<Value> = values.iter().map(|v| (*v).into()).collect();
    Payload::from_values(Serializer::Json, &values, &Dict::new())
}

fn first_arg(payload: &Payload) -> u64 {
    payload.to_values().unwrap().0[0].as_integer().unwrap() as u64
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_threads_events_come_only_between_subscribed_and_unsubscribed_and_in_each_publishers_order() {
    const PUBLISHERS: u64 = 2;
    const CROWD: usize = 2 * FANOUT_CHUNK;
    const ROUNDS: usize = 60;
    let realm = loopback::realm("realm1");
    // So many that every fan-out releases the realm between chunks, while others come and go.
    let mut crowd: Vec<Member> = (0..CROWD).map(|_| Member::join(&realm)).collect();
    for member in &mut crowd {
        member.subscribes("com.topic");
        assert!(matches!(member.next()[0], Message::Subscribed { .. }));
    }
    let busy = AtomicUsize::new(4);
    let published: Vec<AtomicU64> = (0..PUBLISHERS).map(|_| AtomicU64::new(0)).collect();
    thread::scope(|scope| {
        for publisher in 0..PUBLISHERS {
            let (realm, busy, published) = (&realm, &busy, &published);
            scope.spawn(move || {
                let mut member = Member::join(realm);
                let mut n = 0;
                while busy.load(Ordering::Relaxed) > 0 {
                    // The publisher's number in the upper digits.
                    member.publishes("com.topic", publisher << 40 | n);
                    n += 1;
                }
                published[publisher as usize].store(n, Ordering::Relaxed);
            });
        }
        for _ in 0..4 {
            let (realm, busy) = (&realm, &busy);
            scope.spawn(move || {
                let _done = Done(busy);
                let mut member = Member::join(realm);
                let mut last = [None; PUBLISHERS as usize];
                let mut events = 0;
                for round in 0..ROUNDS {
                    // Every other round leaves at once, the others in the midst of the events.
                    let enough = if round % 2 == 0 { 0 } else { events + 3 };
                    member.subscribes("com.topic");
                    let mut subscription = None;
                    let mut leaving = false;
                    let mut over = false;
                    while !over {
                        for message in member.next() {
                            assert!(!over, "{message:?} after UNSUBSCRIBED");
                            match message {
                                Message::Subscribed { subscription: s, .. } => subscription = Some(s),
                                Message::Event {
                                    subscription: s,
                                    payload,
                                    ..
                                } => {
                                    assert_eq!(Some(s), subscription, "EVENT before SUBSCRIBED");
                                    let value = first_arg(&payload);
                                    let (publisher, n) = ((value >> 40) as usize, value & ((1 << 40) - 1));
                                    assert!(last[publisher].is_none_or(|before| before < n), "{n} after {last:?}");
                                    last[publisher] = Some(n);
                                    events += 1;
                                }
                                Message::Unsubscribed { .. } => over = true,
                                other => panic!("{other:?}"),
                            }
                        }
                        if let (Some(subscription), false) = (subscription, leaving || events < enough) {
                            leaving = true;
                            let request = member.request();
                            member.says(Message::Unsubscribe { request, subscription });
                        }
                    }
                }
                assert!(events >= ROUNDS / 2 * 3, "the test saw too few events");
            });
        }
    });
    // The crowd missed nothing of what events may take of an outbox.
    let total: u64 = published.iter().map(|n| n.load(Ordering::Relaxed)).sum();
    for member in &crowd {
        let heard = member.heard().len() as u64;
        let dropped = member.outbox.stats().events_dropped_full.load(Ordering::Relaxed);
        assert_eq!(heard + dropped, total);
    }
}

/// Counts a thread as done, also when it panics: the publishers stop then, and the test fails instead of hanging.
struct Done<'a>(&'a AtomicUsize);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_threads_invocation_ids_reach_the_callee_in_order_and_every_call_gets_one_answer() {
    const CALLERS: u64 = 4;
    const CALLS: u64 = 300;
    let realm = loopback::realm("realm1");
    let mut callee = Member::join(&realm);
    callee.registers("com.proc");
    thread::scope(|scope| {
        for _ in 0..CALLERS {
            let realm = &realm;
            scope.spawn(move || {
                let mut caller = Member::join(realm);
                for n in 0..CALLS {
                    caller.calls("com.proc", args(&[n]));
                }
                let mut answers = Vec::new();
                while answers.len() < CALLS as usize {
                    for message in caller.next() {
                        let Message::Result { payload, .. } = message else {
                            panic!("{message:?}")
                        };
                        answers.push(first_arg(&payload));
                    }
                }
                assert!(answers.iter().copied().eq(0..CALLS), "answers in the order of the calls");
            });
        }
        let mut expected = 1;
        while expected <= CALLERS * CALLS {
            for message in callee.next() {
                let Message::Invocation { request, payload, .. } = message else {
                    panic!("{message:?}")
                };
                assert_eq!(request.get(), expected);
                expected += 1;
                callee.says(Message::Yield {
                    request,
                    options: Dict::new(),
                    payload,
                });
            }
        }
    });
}

#[tokio::test]
async fn a_slow_subscriber_loses_events_and_keeps_its_session() {
    let realm = loopback::realm("realm1");
    let limits = SessionLimits {
        outbox_bytes_max: 1000,
        ..SessionLimits::default()
    };
    let mut slow = Member::with(&realm, &limits, usize::MAX);
    slow.subscribes("com.topic");
    wait(|| slow.outbox.queued_bytes() > 0).await;
    slow.heard();
    let mut publisher = Member::join(&realm);
    for n in 0..100 {
        publisher.publishes("com.topic", n);
    }
    assert!(realm.has(slow.session));
    let kept = slow.heard().len() as u64;
    assert!(kept > 0 && kept < 100);
    assert_eq!(kept + slow.outbox.stats().events_dropped_full.load(Ordering::Relaxed), 100);
}

/// The values of events and the gaps before them.
fn values(messages: &[Message]) -> Vec<(u64, Option<i128>)> {
    let value = |message: &Message| match message {
        Message::Event { payload, details, .. } => {
            let gap = details.get("_gap").and_then(Value::as_integer);
            Some((first_arg(payload), gap))
        }
        _ => None,
    };
    messages.iter().filter_map(value).collect()
}

#[tokio::test]
async fn a_slow_subscriber_sees_the_gap_and_others_hear_of_it_once_and_miss_nothing() {
    const META: &str = "ringfort.session.on_slow_consumer";
    let realm = loopback::realm("realm1");
    let limits = SessionLimits {
        outbox_bytes_max: 1000,
        ..SessionLimits::default()
    };
    let mut slow = Member::with(&realm, &limits, usize::MAX);
    let (mut quick, mut watcher) = (Member::join(&realm), Member::join(&realm));
    for (member, topic) in [(&mut slow, "com.topic"), (&mut quick, "com.topic"), (&mut watcher, META)] {
        member.subscribes(topic);
        wait(|| member.outbox.queued_bytes() > 0).await;
        member.heard();
    }
    let mut publisher = Member::join(&realm);
    for round in 0..2 {
        for n in 0..100 {
            publisher.publishes("com.topic", n);
        }
        let kept = values(&slow.heard());
        assert!(!kept.is_empty() && kept.len() < 100);
        publisher.publishes("com.topic", 100);
        assert_eq!(values(&slow.heard()), [(100, Some(100 - kept.len() as i128))]);
        assert_eq!(values(&quick.heard()).len(), 101, "round {round}");
        let told = watcher.heard();
        assert_eq!(values(&told), [(slow.session.get(), None)]);
        assert_eq!(quick.outbox.queued_bytes(), 0);
    }
}

#[tokio::test]
async fn a_callee_that_does_not_read_is_ended_and_its_callers_hear_of_it() {
    let realm = loopback::realm("realm1");
    let limits = SessionLimits {
        outbox_bytes_max: 1000,
        ..SessionLimits::default()
    };
    let mut slow = Member::with(&realm, &limits, usize::MAX);
    let request = slow.request();
    slow.says(Message::Register {
        request,
        options: Dict::new(),
        procedure: "com.slow".into(),
    });
    wait(|| slow.outbox.queued_bytes() > 0).await;
    slow.heard();
    let mut caller = Member::join(&realm);
    let mut answers = 0;
    for n in 0..50 {
        caller.calls("com.slow", args(&[n]));
    }
    assert!(!realm.has(slow.session));
    assert_eq!(slow.outbox.end(), Some(End::SlowConsumer));
    while answers < 50 {
        wait(|| caller.outbox.queued_bytes() > 0).await;
        for message in caller.heard() {
            assert!(matches!(message, Message::Error { .. }), "{message:?}");
            answers += 1;
        }
    }
}

#[tokio::test]
async fn an_invocation_the_callee_cannot_take_is_answered_to_the_caller_and_the_callee_stays() {
    let realm = loopback::realm("realm1");
    let mut callee = Member::with(&realm, &SessionLimits::default(), 512);
    let request = callee.request();
    callee.says(Message::Register {
        request,
        options: Dict::new(),
        procedure: "com.small".into(),
    });
    wait(|| callee.outbox.queued_bytes() > 0).await;
    callee.heard();
    let mut caller = Member::join(&realm);
    caller.calls("com.small", args(&[1; 600]));
    match &caller.heard()[..] {
        [Message::Error { error, .. }] => assert_eq!(&**error, error_uri::PAYLOAD_SIZE_EXCEEDED),
        other => panic!("{other:?}"),
    }
    assert!(callee.heard().is_empty());
    assert_eq!(realm.stats().undeliverable, 1);
    caller.calls("com.small", args(&[1]));
    assert!(matches!(callee.heard()[..], [Message::Invocation { .. }]));
}

#[tokio::test]
async fn a_session_that_breaks_the_protocol_is_gone_before_anybody_else_enters() {
    let realm = loopback::realm("realm1");
    let mut member = Member::join(&realm);
    member.requests = 10;
    member.calls("com.gap", args(&[]));
    assert!(matches!(&member.heard()[..], [Message::Abort { reason, .. }] if &**reason == error_uri::PROTOCOL_VIOLATION));
    assert!(!realm.has(member.session));
    assert_eq!(member.outbox.end(), Some(End::Aborted));
}

/// A cluster that takes everything and answers nothing.
struct Mute;

impl Cluster for Mute {
    fn propose(&self, _: &Uri, _: Op) {}
    fn forward(&self, _: &Uri, _: NodeRef, _: SessionId, _: PeerFrame) {}
    fn interest(&self, _: &Uri, _: &TopicKey, _: bool, _: u64) {}
    fn barrier(&self, _: &Uri) {}
    fn flush(&self) {}
    fn new_session_id(&self) -> Option<SessionId> {
        None
    }
}

fn mute_realm() -> RealmHandle {
    let mut config = RealmConfig::new("realm1".into(), 1, [1; 16]);
    config.policy = Policy::open();
    RealmHandle::new("realm1".into(), Realm::new(config, ME), Arc::new(Mute))
}

async fn wait(mut condition: impl FnMut() -> bool) {
    crate::session::testing::eventually("the condition of the test", &mut condition).await;
}

#[tokio::test]
async fn leaving_waits_for_the_commit_and_no_longer_than_its_bound() {
    let realm = loopback::realm("realm1");
    let member = Member::join(&realm);
    assert!(realm.leave(member.session, Duration::from_secs(20)).await, "committed");
    let realm = mute_realm();
    let member = Member::join(&realm);
    let leaving = realm.leave(member.session, Duration::from_millis(20));
    assert!(!realm.has(member.session), "local removal does not wait");
    assert!(!leaving.await, "never committed");
    assert!(realm.shared.lock().leaving.is_empty());
}

#[tokio::test]
async fn the_core_gets_its_ticks() {
    let realm = mute_realm();
    let mut caller = Member::join(&realm);
    // A miss waits for a read barrier that never ends here; the core gives up by itself.
    caller.calls("com.nobody", args(&[]));
    assert!(caller.heard().is_empty());
    assert!(realm.with_core(|core| core.next_deadline()).is_some());
    wait(|| caller.outbox.queued_bytes() > 0).await;
    assert!(matches!(caller.heard()[..], [Message::Error { .. }]));
}

#[tokio::test]
async fn the_deadline_keeper_ends_with_the_realm() {
    let realm = mute_realm();
    let weak = Arc::downgrade(&realm.shared);
    drop(realm);
    wait(|| weak.strong_count() == 0).await;
}
