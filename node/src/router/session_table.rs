//! The sessions of this node in one realm, each with everything that ends with it.
//!
//! Invariants: the record of an open call lives with its caller under (session, request), that of an open invocation with its
//! callee under (session, request); the two name each other. Request ids of invocations are 1, 2, 3 … per callee session.

use std::{
    collections::{BTreeMap, VecDeque},
    num::NonZeroU32,
    time::Instant,
};

use super::{
    InvokePolicy, LogIndex, MatchPolicy, NodeRef, RealmConfig, RequestIdCheck, SessionInfo, Shard, TimeoutUnit,
    abilities::{Abilities, Ability},
    asker::asker,
    dealer::Flow,
    frame::{CallId, Refusal},
    invocations::Invocations,
    policy::May,
    pools::{Draw, Pooled},
    registry::Callee,
    streams::Streams,
    window::Window,
};
use crate::wamp::{
    Payload, PublicationId, RegistrationId, RequestId, SessionId, SubscriptionId, Uri,
    id::{ID_MAX, IdMap},
};

/// All sessions of this node.
#[derive(Debug, Default)]
pub(super) struct SessionTable {
    // Looked up, never iterated where the order could reach an effect.
    sessions: IdMap<SessionId, Session>,
}

/// One session of this node.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) info: SessionInfo,
    /// How the ids of its requests are checked.
    pub(super) request_id_check: RequestIdCheck,
    /// In what it writes and reads time limits.
    pub(super) timeout_unit: TimeoutUnit,
    /// What of its features the core asks for.
    pub(super) abilities: Abilities,
    /// What it may do.
    pub(super) may: May,
    /// The client's last request id.
    pub(super) last_request: u64,
    /// The last request id given to an INVOCATION.
    pub(super) last_invocation: u64,
    /// As caller: calls that are with a callee.
    pub(super) calls: Window<Call>,
    /// As caller: which calls come in parts; `None` until the first one.
    pub(super) streams: Option<Box<Streams>>,
    /// As caller: calls that wait for a read barrier, and those behind them; in the order in which they were made.
    pub(super) parked: VecDeque<ParkedCall>,
    /// Payload bytes of [`Self::parked`].
    pub(super) parked_bytes: usize,
    /// Payload bytes of [`Self::calls`] that are kept for another callee.
    pub(super) kept_bytes: usize,
    /// As callee: invocations without a final answer.
    pub(super) invocations: Invocations,
    /// As callee: REGISTERs that wait for the log.
    pub(super) registering: BTreeMap<RequestId, Registering>,
    /// As callee: what it registered. Only [`Held::Active`] ones are invoked.
    pub(super) registrations: BTreeMap<RegistrationId, Held>,
    /// As publisher: PUBLISHes whose events are still to be received.
    pub(super) delivering: BTreeMap<RequestId, PublicationId>,
    /// As subscriber.
    pub(super) subscriptions: BTreeMap<SubscriptionId, Subscribed>,
    /// What it has taken of the pools it draws on; `None` if it draws on none.
    pub(super) draw: Option<Box<Draw>>,
}

/// An open call, kept with its caller.
#[derive(Debug)]
pub(super) enum Call {
    /// The callee is a session of this node.
    Local {
        /// The callee.
        callee: SessionId,
        /// The request id of its INVOCATION.
        invocation: RequestId,
        /// What is needed to ask another callee; `None` if there is none, or if too much is kept for this caller already.
        again: Option<Box<Again>>,
        /// What the CALL asked for beyond one plain answer.
        flow: Option<Box<Flow>>,
    },
    /// The callee is a session of another node.
    Remote {
        /// The callee's node.
        node: NodeRef,
        /// The call's number on that link.
        call: CallId,
        /// What is needed to look up once more, or to ask another callee.
        again: Asked,
        /// What the CALL asked for beyond one plain answer.
        flow: Option<Box<Flow>>,
    },
}

impl Call {
    pub(super) fn flow(&self) -> Option<&Flow> {
        match self {
            Self::Local { flow, .. } | Self::Remote { flow, .. } => flow.as_deref(),
        }
    }

    pub(super) fn flow_mut(&mut self) -> &mut Option<Box<Flow>> {
        match self {
            Self::Local { flow, .. } | Self::Remote { flow, .. } => flow,
        }
    }

    /// Payload bytes that are kept for another callee of this node's choice. What is with another node is bounded by its lane.
    pub(super) fn kept_bytes(&self) -> usize {
        match self {
            Self::Local { again: Some(again), .. } => again.payload.bytes().len(),
            _ => 0,
        }
    }
}

/// A call's request, as far as it is kept while it is with another node.
#[derive(Debug)]
pub(super) enum Asked {
    /// Whole.
    Kept(Box<Again>),
    /// Of a call that took the short way: its payload comes back with a refusal, and only one callee could take it.
    Plain {
        /// See [`Again::order`].
        order: u64,
        /// Shares the memory of the registration.
        procedure: Uri,
        /// The registration it went to.
        registration: RegistrationId,
    },
}

impl Asked {
    pub(super) fn procedure(&self) -> &Uri {
        match self {
            Self::Kept(again) => &again.procedure,
            Self::Plain { procedure, .. } => procedure,
        }
    }
}

/// A call's request, kept until it is certain that it was delivered or never will be.
#[derive(Debug)]
pub(super) struct Again {
    /// Its place among all calls of this node, in the order in which they were made.
    pub(super) order: u64,
    pub(super) procedure: Uri,
    pub(super) payload: Payload,
    /// What the CALL asked for beyond one plain answer; while the call is with a callee elsewhere, its record has it.
    pub(super) flow: Option<Box<Flow>>,
    /// How it has fared so far; `None` for a plain call that goes its way.
    pub(super) tries: Option<Box<Tries>>,
    /// The registration it went to; `None` before it went anywhere.
    pub(super) registration: Option<RegistrationId>,
}

/// What is known of a call that cannot go to any callee.
#[derive(Clone, Debug, Default)]
pub(super) struct Tries {
    /// The hash of its `rkey`: it is for one callee only.
    pub(super) shard: Option<u64>,
    /// Who did not take it, and under which registration, since it was looked up last.
    pub(super) asked: Vec<(RegistrationId, Callee)>,
    /// The registration it stays with, since one of its callees has seen it or was too busy.
    pub(super) bound_to: Option<RegistrationId>,
    /// The refusal that says most.
    pub(super) worst: Option<Refusal>,
    /// It was looked up again behind a read barrier.
    pub(super) retried: bool,
}

impl Tries {
    /// Those of a call for one shard, which has not gone anywhere yet.
    pub(super) fn of_shard(shard: u64) -> Box<Self> {
        Box::new(Self {
            shard: Some(shard),
            ..Self::default()
        })
    }
}

/// Whether a session of this node takes an invocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Readiness {
    /// It does.
    Ready,
    /// It has as many open ones as it asked for.
    Busy,
    /// It does not, or no longer, hold the registration.
    Gone,
}

/// A call that waits for a read barrier, or behind one that does.
#[derive(Debug)]
pub(super) struct ParkedCall {
    pub(super) request: RequestId,
    pub(super) what: Again,
    /// The barrier after which a miss is final; `None`: it was no miss when it came, it only waits its turn.
    pub(super) wait: Option<u64>,
    /// A node refused it as stale: not even a hit counts before the barrier, and there is no further retry.
    pub(super) retried: bool,
    /// Its barrier has passed, and it waits on since its procedure is about to be registered again.
    pub(super) held: bool,
    /// What came after the first part of its arguments; see [`Streams`].
    pub(super) parts: Vec<Part>,
}

/// A further part of the arguments of a call.
#[derive(Debug)]
pub(super) struct Part {
    /// Another one follows.
    pub(super) more: bool,
    pub(super) payload: Payload,
}

impl ParkedCall {
    /// Payload bytes that wait with it.
    pub(super) fn bytes(&self) -> usize {
        let parts: usize = self.parts.iter().map(|part| part.payload.bytes().len()).sum();
        self.what.payload.bytes().len() + parts
    }
}

/// Who an invocation is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Caller {
    /// A session of this node.
    Local {
        /// The caller.
        session: SessionId,
        /// The request id of its CALL.
        request: RequestId,
    },
    /// A session of another node.
    Remote {
        /// The caller's node.
        node: NodeRef,
        /// The call's number there.
        call: CallId,
    },
}

/// An open invocation, kept with its callee.
#[derive(Debug)]
pub(super) struct Invocation {
    pub(super) caller: Caller,
    /// The low bits of the id of its registration. Ids count up, so of all that one callee holds at a time none has the same.
    pub(super) of: u32,
    /// The callee may answer in parts.
    pub(super) in_parts: bool,
    /// It has sent one.
    pub(super) begun: bool,
    /// The callee was told to give up.
    pub(super) interrupted: bool,
    /// The callee was sent more than the first part of its arguments.
    pub(super) continued: bool,
}

/// A REGISTER on its way through the log.
#[derive(Debug)]
pub(super) struct Registering {
    pub(super) procedure: Uri,
    pub(super) policy: MatchPolicy,
    pub(super) invoke: InvokePolicy,
    /// How many invocations it takes at once; `None` for any number.
    pub(super) concurrency: Option<NonZeroU32>,
    pub(super) deadline: Instant,
}

/// A registration of a session of this node.
#[derive(Debug)]
pub(super) enum Held {
    /// May be invoked.
    Active {
        /// The log index at which it came to be.
        since: LogIndex,
    },
    /// The log has it, REGISTERED is not sent: other nodes are to know of it first. Not invoked.
    Arriving {
        /// The log index at which it came to be.
        since: LogIndex,
        /// The REGISTERs to be answered: that one, and what the session asked for once more meanwhile.
        requests: Vec<RequestId>,
    },
    /// UNREGISTER came, or it came to be too late: no invocation any more. The answer goes out with the log or at the deadline.
    Leaving {
        /// The log index at which it came to be.
        since: LogIndex,
        /// The UNREGISTER and its deadline; `None` once answered, or if there is none to answer.
        waiting: Option<(RequestId, Instant)>,
    },
}

impl Held {
    /// The log index at which it came to be.
    pub(super) fn since(&self) -> LogIndex {
        match self {
            Self::Active { since } | Self::Arriving { since, .. } | Self::Leaving { since, .. } => *since,
        }
    }

    /// It may be invoked from now on; gives the REGISTERs that are to be answered.
    pub(super) fn arrive(&mut self) -> Vec<RequestId> {
        let Self::Arriving { since, requests } = self else {
            return Vec::new();
        };
        let (since, requests) = (*since, std::mem::take(requests));
        *self = Self::Active { since };
        requests
    }
}

/// A subscription of a session of this node.
#[derive(Debug)]
pub(super) struct Subscribed {
    /// Its place in the order of subscribing; the key in the topic's list.
    pub(super) order: u64,
    /// The node key it was asked for with, if any.
    pub(super) shard: Option<Shard>,
    /// SUBSCRIBEs to answer once the interest is confirmed; no event before. Empty: active.
    pub(super) waiting: Vec<RequestId>,
}

/// What the check of a client's request id says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RequestIdVerdict {
    Fine,
    /// Not the successor of the last one.
    OutOfOrder,
    /// A request of that id waits for its answer.
    InFlight,
}

impl SessionTable {
    /// Adds a session; false if it is there already.
    pub(super) fn add(&mut self, id: SessionId, info: SessionInfo, may: May, config: &RealmConfig) -> bool {
        if self.sessions.contains_key(&id) {
            return false;
        }
        self.sessions.insert(id, Session::new(info, may, config));
        true
    }

    pub(super) fn get(&self, id: SessionId) -> Option<&Session> {
        self.sessions.get(&id)
    }

    pub(super) fn get_mut(&mut self, id: SessionId) -> Option<&mut Session> {
        self.sessions.get_mut(&id)
    }

    pub(super) fn remove(&mut self, id: SessionId) -> Option<Session> {
        self.sessions.remove(&id)
    }

    /// How many clients there are.
    pub(super) fn len(&self) -> usize {
        self.sessions.len() - usize::from(self.sessions.contains_key(&asker()))
    }

    /// All clients, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (SessionId, &Session)> {
        let clients = self.sessions.iter().filter(|(id, _)| **id != asker());
        clients.map(|(id, session)| (*id, session))
    }

    /// The ids of all clients, sorted: for the rare walks whose order reaches an effect.
    pub(super) fn ids(&self) -> Vec<SessionId> {
        let mut ids: Vec<SessionId> = self.sessions.keys().copied().filter(|id| *id != asker()).collect();
        ids.sort_unstable();
        ids
    }

    /// Whether a session of this node takes an invocation of the registration.
    pub(super) fn readiness(&self, callee: SessionId, registration: RegistrationId) -> Readiness {
        match self.get(callee) {
            Some(session) if matches!(session.registrations.get(&registration), Some(Held::Active { .. })) => {
                if session.invocations.is_full(registration) {
                    Readiness::Busy
                } else {
                    Readiness::Ready
                }
            }
            _ => Readiness::Gone,
        }
    }

    /// True if a session of this node has the registration, be it about to leave it, and was told so.
    pub(super) fn holds(&self, callee: SessionId, registration: RegistrationId) -> bool {
        let held = self.get(callee).and_then(|s| s.registrations.get(&registration));
        held.is_some_and(|held| !matches!(held, Held::Arriving { .. }))
    }

    /// True if REGISTERED of that is still to be sent to a session of this node.
    pub(super) fn awaits_registered(&self, callee: SessionId, registration: RegistrationId) -> bool {
        let held = self.get(callee).and_then(|s| s.registrations.get(&registration));
        matches!(held, Some(Held::Arriving { .. }))
    }
}

impl Session {
    fn new(info: SessionInfo, may: May, config: &RealmConfig) -> Self {
        let compat = &info.compat;
        Self {
            may,
            request_id_check: compat.request_id_check.unwrap_or(config.request_id_check),
            timeout_unit: compat.timeout_unit.unwrap_or(config.call_timeouts.unit),
            abilities: Abilities::from_features(&info.features, compat.progress_without_canceling),
            streams: None,
            draw: Draw::of(&info.pools),
            info,
            last_request: 0,
            last_invocation: 0,
            calls: Window::default(),
            parked: VecDeque::new(),
            parked_bytes: 0,
            kept_bytes: 0,
            invocations: Invocations::default(),
            registering: BTreeMap::new(),
            registrations: BTreeMap::new(),
            delivering: BTreeMap::new(),
            subscriptions: BTreeMap::new(),
        }
    }

    /// Judges the id of a client's next request and remembers it.
    ///
    /// Spec: WAMP basic profile, "IDs": session scope, from 1, by 1, back to 1 after 2^53.
    /// Choice: a setting relaxes it, since no other router enforces it and old clients draw ids at random.
    pub(super) fn judge_request_id(&mut self, request: RequestId) -> RequestIdVerdict {
        let expected = self.last_request % ID_MAX + 1;
        let before = std::mem::replace(&mut self.last_request, request.get());
        match self.request_id_check {
            RequestIdCheck::Strict if request.get() == expected => RequestIdVerdict::Fine,
            RequestIdCheck::Strict => {
                // A further part of an earlier call leaves the count as it was.
                self.last_request = before;
                RequestIdVerdict::OutOfOrder
            }
            _ if self.is_in_flight(request) => RequestIdVerdict::InFlight,
            _ => RequestIdVerdict::Fine,
        }
    }

    /// The request id of the next INVOCATION. 2^53 invocations of one session are out of reach.
    pub(super) fn next_invocation(&mut self) -> RequestId {
        self.last_invocation = self.last_invocation % ID_MAX + 1;
        RequestId::new(self.last_invocation).expect("a remainder by ID_MAX plus one lies in the id range")
    }

    /// The session has the registration, and is invoked for it unless it is about to leave it.
    pub(super) fn hold(&mut self, registration: RegistrationId, since: LogIndex, concurrency: Option<NonZeroU32>) {
        self.registrations.entry(registration).or_insert(Held::Active { since });
        if let Some(max) = concurrency {
            self.invocations.bound(registration, max);
        }
        self.recount(Pooled::Registrations);
    }

    /// The session has the registration no more.
    pub(super) fn let_go(&mut self, registration: RegistrationId) -> Option<Held> {
        self.invocations.unbound(registration);
        let held = self.registrations.remove(&registration);
        self.recount(Pooled::Registrations);
        held
    }

    /// A REGISTER waits for the log no more.
    pub(super) fn end_registering(&mut self, request: RequestId) -> Option<Registering> {
        let ended = self.registering.remove(&request);
        self.recount(Pooled::Registrations);
        ended
    }

    /// Adds an open call.
    pub(super) fn add_call(&mut self, request: RequestId, call: Call) {
        self.kept_bytes += call.kept_bytes();
        self.calls.insert(request, call);
        self.recount(Pooled::Calls);
    }

    /// Takes an open call out.
    pub(super) fn take_call(&mut self, request: RequestId) -> Option<Call> {
        let call = self.calls.remove(&request)?;
        self.kept_bytes -= call.kept_bytes();
        self.recount(Pooled::Calls);
        Some(call)
    }

    /// Puts a parked call where its order belongs: nearly always at the end, a retried one further ahead.
    pub(super) fn park(&mut self, call: ParkedCall) {
        self.parked_bytes += call.bytes();
        let at = self.parked.partition_point(|p| p.what.order < call.what.order);
        self.parked.insert(at, call);
        self.recount(Pooled::Calls);
    }

    /// Takes the first parked call out, which keeps its place among the open ones until [`Self::recount`].
    pub(super) fn unpark(&mut self) -> Option<ParkedCall> {
        let call = self.parked.pop_front()?;
        self.parked_bytes -= call.bytes();
        Some(call)
    }

    /// Takes out the parked call of that id.
    pub(super) fn unpark_call(&mut self, request: RequestId) -> Option<ParkedCall> {
        let at = self.parked.iter().position(|parked| parked.request == request)?;
        let call = self.parked.remove(at)?;
        self.parked_bytes -= call.bytes();
        self.recount(Pooled::Calls);
        Some(call)
    }

    /// True if the client announced it.
    pub(super) fn can(&self, ability: Ability) -> bool {
        self.abilities.has(ability)
    }

    fn is_in_flight(&self, request: RequestId) -> bool {
        self.calls.contains_key(&request)
            || self.registering.contains_key(&request)
            || self.delivering.contains_key(&request)
            || self.parked.iter().any(|p| p.request == request)
            || self.subscriptions.values().any(|s| s.waiting.contains(&request))
            || self.registrations.values().any(|held| match held {
                Held::Leaving { waiting, .. } => waiting.is_some_and(|(waiting, _)| waiting == request),
                Held::Arriving { requests, .. } => requests.contains(&request),
                Held::Active { .. } => false,
            })
    }
}
