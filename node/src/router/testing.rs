//! The tiny language the tests of the core are written in: one realm on one node, its log, its clock and its sessions.
//!
//! Every input is followed by a walk over all invariants. What the realm proposes waits until [`TestRealm::commit`].

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    rc::Rc,
    time::{Duration, Instant},
};

use bytes::Bytes;

use super::{
    BarrierOutcome, Compat, Effect, Input, InvokePolicy, MatchPolicy, NodeRef, OnConflict, Op, PeerFrame, Policy, Realm,
    RealmConfig, RegisterWishes, SessionInfo, Slot, Stats,
    frame::{CallId, Refusal},
};
use crate::wamp::{
    Dict, Message, Payload, PublicationId, RegistrationId, RequestId, Serializer, SessionId, SubscriptionId, Uri, Value,
    message::code,
};

/// This node in all tests.
pub(super) const ME: NodeRef = NodeRef { slot: Slot(1), epoch: 1 };
/// Two others.
pub(super) const NODE_2: NodeRef = NodeRef { slot: Slot(2), epoch: 1 };
pub(super) const NODE_3: NodeRef = NodeRef { slot: Slot(3), epoch: 7 };

/// One realm and the world around it.
#[derive(Clone)]
pub(super) struct TestRealm(Rc<RefCell<World>>);

struct World {
    realm: Realm,
    now: Instant,
    index: u64,
    last_session: u64,
    proposed: VecDeque<Op>,
}

/// A client of the realm.
pub(super) struct TestSession {
    pub(super) id: SessionId,
    realm: TestRealm,
    last_request: Cell<u64>,
}

impl TestRealm {
    /// A realm with a lease for an hour and no links.
    pub(super) fn new() -> Self {
        Self::with(|_| {})
    }

    /// The same with other settings.
    pub(super) fn with(change: impl FnOnce(&mut RealmConfig)) -> Self {
        let realm = Self::without_lease(change);
        let until = realm.now() + Duration::from_secs(3600);
        assert_eq!(realm.input(Input::Lease { until }), []);
        realm
    }

    pub(super) fn without_lease(change: impl FnOnce(&mut RealmConfig)) -> Self {
        let mut config = RealmConfig::new(Uri::from("realm1"), 7, [7; 16]);
        config.policy = Policy::open();
        change(&mut config);
        let now = some_instant();
        let realm = Realm::new(config, ME);
        Self(Rc::new(RefCell::new(World {
            realm,
            now,
            index: 0,
            last_session: 100,
            proposed: VecDeque::new(),
        })))
    }

    pub(super) fn input(&self, input: Input) -> Vec<Effect> {
        let world = &mut *self.0.borrow_mut();
        let mut effects = Vec::new();
        world.realm.handle(world.now, input, &mut effects);
        world.proposed.extend(effects.iter().filter_map(|e| match e {
            Effect::Propose { op } => Some(op.clone()),
            _ => None,
        }));
        world.realm.check_invariants().expect("invariants hold");
        effects
    }

    pub(super) fn now(&self) -> Instant {
        self.0.borrow().now
    }

    /// Lets time pass and sends the ticks that are due.
    pub(super) fn pass(&self, time: Duration) -> Vec<Effect> {
        self.0.borrow_mut().now += time;
        let due = self.0.borrow().realm.next_deadline().is_some_and(|at| at <= self.now());
        if due { self.input(Input::Tick) } else { Vec::new() }
    }

    pub(super) fn next_deadline_in(&self) -> Option<Duration> {
        self.0.borrow().realm.next_deadline().map(|at| at - self.now())
    }

    /// A new session; its row is committed.
    pub(super) fn join(&self) -> TestSession {
        let session = self.join_uncommitted();
        assert_eq!(self.commit(), []);
        session
    }

    /// A new session that announced these features (`callee.call_canceling`); its row is committed.
    pub(super) fn join_with(&self, features: &[&str]) -> TestSession {
        let session = self.join_announcing(features);
        assert_eq!(self.commit(), []);
        session
    }

    pub(super) fn join_uncommitted(&self) -> TestSession {
        self.join_changed(|_| {})
    }

    /// A session whose facts `change` has altered; its row is not committed.
    pub(super) fn join_changed(&self, change: impl FnOnce(&mut SessionInfo)) -> TestSession {
        self.join_made(&[], None, change)
    }

    /// A new session that came by a listener with this trust level; its row is committed.
    pub(super) fn join_from(&self, trustlevel: Option<u64>) -> TestSession {
        let session = self.join_made(&[], trustlevel, |_| {});
        assert_eq!(self.commit(), []);
        session
    }

    /// A new session of that authid, or of one of its own; its row is not committed.
    pub(super) fn join_as(&self, authid: Option<&str>, features: &[&str]) -> TestSession {
        self.join_made(features, None, |info| {
            if let Some(authid) = authid {
                authid.clone_into(&mut info.authid);
            }
        })
    }

    fn join_announcing(&self, features: &[&str]) -> TestSession {
        self.join_made(features, None, |_| {})
    }

    fn join_made(&self, features: &[&str], trustlevel: Option<u64>, change: impl FnOnce(&mut SessionInfo)) -> TestSession {
        let id = {
            let mut world = self.0.borrow_mut();
            world.last_session += 1;
            SessionId::new(world.last_session).unwrap()
        };
        let mut info = SessionInfo {
            authid: format!("user{id}"),
            authrole: "tester".into(),
            authmethod: "anonymous".into(),
            authprovider: "static".into(),
            trustlevel,
            features: features.iter().map(|feature| (*feature).to_owned()).collect(),
            compat: Compat::default(),
            pools: crate::router::Pools::default(),
            whence: None,
        };
        change(&mut info);
        let joined = Op::SessionJoined {
            session: id,
            authid: info.authid.clone(),
            authrole: info.authrole.clone(),
            authmethod: info.authmethod.clone(),
            authprovider: info.authprovider.clone(),
        };
        assert_eq!(
            self.input(Input::SessionJoined { session: id, info }),
            [Effect::Propose { op: joined }]
        );
        TestSession {
            id,
            realm: self.clone(),
            last_request: Cell::new(0),
        }
    }

    /// Commits what was proposed, op by op, and says so.
    pub(super) fn commit(&self) -> Vec<Effect> {
        let mut effects = Vec::new();
        loop {
            let op = self.0.borrow_mut().proposed.pop_front();
            let Some(op) = op else { return effects };
            effects.extend(self.commit_by(ME, op));
        }
    }

    /// Loses what was proposed.
    pub(super) fn lose_proposals(&self) {
        self.0.borrow_mut().proposed.clear();
    }

    /// Commits one op of a node life.
    pub(super) fn commit_by(&self, by: NodeRef, op: Op) -> Vec<Effect> {
        let index = self.next_index();
        let mut effects = self.input(Input::Applied { index, by, op });
        effects.extend(self.input(Input::AppliedTo { index }));
        effects
    }

    /// Commits a registration of another node's session that shares.
    pub(super) fn shared_elsewhere(&self, node: NodeRef, session: u64, procedure: &str, invoke: InvokePolicy) {
        let mut op = register_op(session, procedure);
        if let Op::Register { invoke: by, .. } = &mut op {
            *by = invoke;
        }
        assert_eq!(self.commit_by(node, op), []);
    }

    /// Commits a registration of another node's session; gives its id.
    pub(super) fn registered_elsewhere(&self, node: NodeRef, session: u64, procedure: &str) -> RegistrationId {
        let op = register_op(session, procedure);
        assert_eq!(self.commit_by(node, op), []);
        let world = self.0.borrow();
        world
            .realm
            .registry()
            .lookup(&Uri::from(procedure))
            .expect("just registered")
            .id
    }

    pub(super) fn fence(&self, node: NodeRef) -> Vec<Effect> {
        let index = self.next_index();
        self.input(Input::NodeFenced { index, node })
    }

    pub(super) fn next_index(&self) -> u64 {
        let mut world = self.0.borrow_mut();
        world.index += 1;
        world.index
    }

    pub(super) fn index(&self) -> u64 {
        self.0.borrow().index
    }

    pub(super) fn link(&self, node: NodeRef) {
        assert_eq!(self.input(Input::PeerUp { node }), []);
    }

    pub(super) fn hears(&self, from: NodeRef, frame: PeerFrame) -> Vec<Effect> {
        self.input(Input::Peer { from, frame })
    }

    pub(super) fn barrier(&self, outcome: BarrierOutcome) -> Vec<Effect> {
        self.input(Input::Barrier { outcome })
    }

    pub(super) fn stats(&self) -> Stats {
        *self.0.borrow().realm.stats()
    }

    /// Looks at, or changes, the realm itself.
    pub(super) fn inside<T>(&self, look: impl FnOnce(&mut Realm) -> T) -> T {
        look(&mut self.0.borrow_mut().realm)
    }
}

impl TestSession {
    /// Sends a message as it is.
    pub(super) fn says(&self, message: Message) -> Vec<Effect> {
        self.realm.input(Input::Message {
            session: self.id,
            message,
        })
    }

    /// Takes the next request id.
    pub(super) fn next(&self) -> RequestId {
        self.last_request.set(self.last_request.get() + 1);
        request(self.last_request.get())
    }

    pub(super) fn leaves(&self) -> Vec<Effect> {
        self.realm.input(Input::SessionGone { session: self.id })
    }

    /// Sends REGISTER; nothing is committed.
    pub(super) fn asks_to_register(&self, procedure: &str, options: Dict) -> (RequestId, Vec<Effect>) {
        let request = self.next();
        (
            request,
            self.says(Message::Register {
                request,
                options,
                procedure: Uri::from(procedure),
            }),
        )
    }

    /// Registers and sees it committed.
    pub(super) fn registers(&self, procedure: &str) -> RegistrationId {
        let (request, effects) = self.asks_to_register(procedure, Dict::new());
        let op = Op::Register {
            session: self.id,
            request,
            procedure: Uri::from(procedure),
            policy: MatchPolicy::Exact,
            wishes: RegisterWishes::NONE,
            invoke: InvokePolicy::Single,
            conflict: OnConflict::Refuse,
        };
        assert_eq!(effects, [Effect::Propose { op }]);
        match self.realm.commit().as_slice() {
            [
                Effect::Send {
                    session,
                    message:
                        Message::Registered {
                            request: r,
                            registration,
                        },
                },
            ] if (*session, *r) == (self.id, request) => *registration,
            other => panic!("not REGISTERED but {other:?}"),
        }
    }

    /// Registers with options and sees it committed; tells what else came of it before REGISTERED.
    pub(super) fn registers_with(&self, procedure: &str, options: Dict) -> (RegistrationId, Vec<Effect>) {
        let (request, _) = self.asks_to_register(procedure, options);
        let mut effects = self.realm.commit();
        match effects.pop() {
            Some(Effect::Send {
                session,
                message: Message::Registered {
                    request: r,
                    registration,
                },
            }) if (session, r) == (self.id, request) => (registration, effects),
            other => panic!("not REGISTERED but {other:?}"),
        }
    }

    /// Registers by an invocation policy and sees it committed.
    pub(super) fn shares(&self, procedure: &str, invoke: &str) -> RegistrationId {
        self.registers_with(procedure, Dict::new().with("invoke", invoke)).0
    }

    /// Calls, and tells who was invoked.
    pub(super) fn reaches(&self, procedure: &str) -> SessionId {
        self.reaches_with(procedure, Dict::new())
    }

    pub(super) fn reaches_with(&self, procedure: &str, options: Dict) -> SessionId {
        let (request, payload) = (self.next(), payload("question"));
        let procedure = Uri::from(procedure);
        let effects = self.says(Message::Call {
            request,
            options,
            procedure,
            payload,
        });
        invoked(&effects)
    }

    /// Answers an invocation with an error.
    pub(super) fn fails(&self, invocation: u64, error: &str) -> Vec<Effect> {
        self.says(Message::Error {
            request_type: code::INVOCATION,
            request: request(invocation),
            details: Dict::new(),
            error: Uri::from(error),
            payload: Payload::EMPTY,
        })
    }

    /// A CALL with options under the next request id.
    pub(super) fn asks(&self, procedure: &str, options: Dict) -> (RequestId, Vec<Effect>) {
        let request = self.next();
        (request, self.asks_again(request, procedure, options))
    }

    /// A CALL with options under a request id of its own choice.
    pub(super) fn asks_again(&self, request: RequestId, procedure: &str, options: Dict) -> Vec<Effect> {
        self.says(Message::Call {
            request,
            options,
            procedure: Uri::from(procedure),
            payload: payload("question"),
        })
    }

    /// CANCEL; without a mode where it is empty.
    pub(super) fn cancels(&self, request: RequestId, mode: &str) -> Vec<Effect> {
        let mut options = Dict::new();
        if !mode.is_empty() {
            options.set("mode", mode);
        }
        self.says(Message::Cancel { request, options })
    }

    pub(super) fn yields_with(&self, invocation: u64, options: Dict) -> Vec<Effect> {
        self.says(Message::Yield {
            request: request(invocation),
            options,
            payload: payload("answer"),
        })
    }

    pub(super) fn unregisters(&self, registration: RegistrationId) -> (RequestId, Vec<Effect>) {
        let request = self.next();
        (request, self.says(Message::Unregister { request, registration }))
    }

    pub(super) fn calls(&self, procedure: &str) -> (RequestId, Vec<Effect>) {
        self.calls_with(procedure, payload("question"))
    }

    pub(super) fn calls_with(&self, procedure: &str, payload: Payload) -> (RequestId, Vec<Effect>) {
        let request = self.next();
        let procedure = Uri::from(procedure);
        (
            request,
            self.says(Message::Call {
                request,
                options: Dict::new(),
                procedure,
                payload,
            }),
        )
    }

    pub(super) fn yields(&self, invocation: u64) -> Vec<Effect> {
        self.says(Message::Yield {
            request: request(invocation),
            options: Dict::new(),
            payload: payload("answer"),
        })
    }

    pub(super) fn asks_to_subscribe(&self, topic: &str) -> (RequestId, Vec<Effect>) {
        let request = self.next();
        (
            request,
            self.says(Message::Subscribe {
                request,
                options: Dict::new(),
                topic: Uri::from(topic),
            }),
        )
    }

    /// Subscribes, and every node confirms at once.
    pub(super) fn subscribes(&self, topic: &str) -> SubscriptionId {
        self.subscribes_with(topic, Dict::new())
    }

    /// As [`Self::subscribes`], with options.
    pub(super) fn subscribes_with(&self, topic: &str, options: Dict) -> SubscriptionId {
        let (request, topic) = (self.next(), Uri::from(topic));
        let mut effects = self.says(Message::Subscribe { request, options, topic });
        if let [
            Effect::Interest {
                wanted: true, ticket, ..
            },
        ] = effects.as_slice()
        {
            effects = self.realm.input(Input::InterestAcked { ticket: *ticket });
        }
        match effects.as_slice() {
            [
                Effect::Send {
                    session,
                    message: Message::Subscribed { subscription, .. },
                },
                // One that matches all topics hears of itself.
                ..,
            ] if *session == self.id => *subscription,
            other => panic!("not SUBSCRIBED but {other:?}"),
        }
    }

    pub(super) fn unsubscribes(&self, subscription: SubscriptionId) -> (RequestId, Vec<Effect>) {
        let request = self.next();
        (request, self.says(Message::Unsubscribe { request, subscription }))
    }

    pub(super) fn publishes(&self, topic: &str, options: Dict) -> (RequestId, Vec<Effect>) {
        let request = self.next();
        (
            request,
            self.says(Message::Publish {
                request,
                options,
                topic: Uri::from(topic),
                payload: payload("news"),
            }),
        )
    }

    /// The effect of sending it `message`.
    pub(super) fn gets(&self, message: Message) -> Effect {
        Effect::Send {
            session: self.id,
            message,
        }
    }

    pub(super) fn gets_invocation(&self, invocation: u64, registration: RegistrationId) -> Effect {
        let request = request(invocation);
        self.gets(Message::Invocation {
            request,
            registration,
            details: Dict::new(),
            payload: payload("question"),
        })
    }

    pub(super) fn gets_invocation_with(&self, invocation: u64, registration: RegistrationId, details: Dict) -> Effect {
        let request = request(invocation);
        self.gets(Message::Invocation {
            request,
            registration,
            details,
            payload: payload("question"),
        })
    }

    pub(super) fn gets_interrupt(&self, invocation: u64, mode: &str, reason: &str) -> Effect {
        let request = request(invocation);
        let options = Dict::new().with("mode", mode).with("reason", reason);
        self.gets(Message::Interrupt { request, options })
    }

    pub(super) fn gets_result(&self, request: RequestId) -> Effect {
        self.gets_result_with(request, Dict::new())
    }

    pub(super) fn gets_result_with(&self, request: RequestId, details: Dict) -> Effect {
        self.gets(Message::Result {
            request,
            details,
            payload: payload("answer"),
        })
    }

    /// An ERROR without payload.
    pub(super) fn gets_error(&self, request_type: u64, request: RequestId, error: &str, details: Dict) -> Effect {
        self.gets(Message::Error {
            request_type,
            request,
            details,
            error: Uri::from(error),
            payload: Payload::EMPTY,
        })
    }

    pub(super) fn gets_call_error(&self, request: RequestId, error: &str, details: Dict) -> Effect {
        self.gets_error(code::CALL, request, error, details)
    }

    /// What the end of a session without anything open brings about.
    pub(super) fn gone(&self) -> Effect {
        Effect::Propose {
            op: Op::SessionGone { session: self.id },
        }
    }
}

/// Where a test's clock starts. Any instant will do: the core is told the time, and the tests move it.
impl Realm {
    /// The open invocations of a session, by request id.
    pub fn open_invocations(&self, session: SessionId) -> Vec<RequestId> {
        let session = self.sessions.get(session);
        session.map_or(Vec::new(), |s| s.invocations.iter().map(|(request, _)| request).collect())
    }
}

pub(super) fn some_instant() -> Instant {
    Instant::now()
}

/// Who the one invocation is for, be it here or elsewhere; panics if the effects are anything else.
pub(super) fn invoked(effects: &[Effect]) -> SessionId {
    match effects {
        [
            Effect::Send {
                session,
                message: Message::Invocation { .. },
            },
        ] => *session,
        [
            Effect::Forward {
                frame: PeerFrame::Invoke { callee, .. },
                ..
            },
        ] => *callee,
        other => panic!("not one invocation but {other:?}"),
    }
}

/// The error URI an answer of one ERROR carries; panics if it is anything else.
pub(super) fn error_of(effects: &[Effect]) -> &str {
    match effects {
        [
            Effect::Send {
                message: Message::Error { error, .. },
                ..
            },
        ] => error,
        other => panic!("not one ERROR but {other:?}"),
    }
}

/// True if the effects begin with an ABORT `wamp.error.protocol_violation` of `session` that says `text`, and end with its end.
pub(super) fn is_abort(effects: &[Effect], who: &TestSession, text: &str) -> bool {
    match (effects.first(), effects.last()) {
        (
            Some(Effect::Abort {
                session,
                message: Message::Abort { details, reason, .. },
            }),
            Some(last),
        ) => {
            *session == who.id
                && reason.as_str() == "wamp.error.protocol_violation"
                && details.text("message").is_some_and(|m| m.contains(text))
                && *last == who.gone()
        }
        _ => false,
    }
}

pub(super) fn request(raw: u64) -> RequestId {
    RequestId::new(raw).unwrap()
}

pub(super) fn session(raw: u64) -> SessionId {
    SessionId::new(raw).unwrap()
}

pub(super) fn registration(raw: u64) -> RegistrationId {
    RegistrationId::new(raw).unwrap()
}

pub(super) fn publication(raw: u64) -> PublicationId {
    PublicationId::new(raw).unwrap()
}

pub(super) fn payload(text: &str) -> Payload {
    Payload::from_proven(Serializer::Json, 1, Bytes::from(format!("[\"{text}\"]")))
}

pub(super) fn register_op(session: u64, procedure: &str) -> Op {
    let session = SessionId::new(session).unwrap();
    Op::Register {
        session,
        request: request(1),
        procedure: Uri::from(procedure),
        policy: MatchPolicy::Exact,
        wishes: RegisterWishes::NONE,
        invoke: InvokePolicy::Single,
        conflict: OnConflict::Refuse,
    }
}

pub(super) fn invoke(call: u64, registration: RegistrationId, callee: SessionId, index: u64) -> PeerFrame {
    let (call, details, payload) = (CallId(call), Dict::new(), payload("question"));
    PeerFrame::Invoke {
        call,
        registration,
        callee,
        index,
        details,
        payload,
    }
}

pub(super) fn refusal(call: u64, callee: SessionId, why: Refusal) -> PeerFrame {
    let call = CallId(call);
    // What `invoke` brought goes back, unless the callee has seen it.
    let payload = if why == Refusal::Unavailable {
        Payload::EMPTY
    } else {
        payload("question")
    };
    PeerFrame::Nack {
        call,
        callee,
        why,
        payload,
    }
}

pub(super) fn result(call: u64) -> PeerFrame {
    PeerFrame::Result {
        call: CallId(call),
        details: Dict::new(),
        payload: payload("answer"),
    }
}

pub(super) fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// Calls a meta procedure.
pub(super) fn meta_call(who: &TestSession, procedure: &str, args: &[Value], kwargs: Dict) -> Vec<Effect> {
    let (_, effects) = who.calls_with(procedure, Payload::from_values(Serializer::Cbor, args, &kwargs));
    effects
}

/// The positional results of the one RESULT that `who` gets, which is the last effect.
pub(super) fn result_of(effects: &[Effect], who: &TestSession) -> Vec<Value> {
    match effects.last() {
        Some(Effect::Send {
            session,
            message: Message::Result { payload, .. },
        }) if *session == who.id => payload.to_values().unwrap().0,
        other => panic!("not a RESULT but {other:?}"),
    }
}

/// The positional arguments of the events among effects.
pub(super) fn values(effects: &[Effect]) -> Vec<Vec<Value>> {
    let events = effects.iter().filter_map(|effect| match effect {
        Effect::Fanout {
            message: Message::Event { payload, .. },
            ..
        } => Some(payload.to_values().unwrap().0),
        _ => None,
    });
    events.collect()
}

/// The topics of the events among effects.
pub(super) fn topics(realm: &TestRealm, effects: &[Effect]) -> Vec<String> {
    let events = effects.iter().filter_map(|effect| match effect {
        Effect::Fanout {
            message: Message::Event { subscription, .. },
            ..
        } => Some(realm.inside(|realm| realm.broker.by_id[subscription].uri.to_string())),
        _ => None,
    });
    events.collect()
}
