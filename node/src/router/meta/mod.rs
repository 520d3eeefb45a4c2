//! The meta API: procedures and events of the router itself, about all nodes alike.
//!
//! Owns: CALLs of `wamp.*`, the questions that nodes ask each other to answer one, and the meta events. Does not own what it tells
//! of: that stands in the registry, the session table and the broker.
//!
//! A meta call is parsed ([`args`], one file per family of procedures), asked of every linked node ([`ask`]), and answered when all
//! have answered and this node's log has come to where they were. A node that does not answer in time, or has no link, is named in
//! RESULT.Details `_missing` as `slot.epoch`. Meta events of sessions and registrations are derived from the log on every node and
//! given to its own subscribers ([`events`]).
//!
//! Invariants: a meta call gets one answer, or none if its caller left; it waits no longer than `meta_wait`; a caller sees every
//! session whose WELCOME, and every registration whose REGISTERED, was sent by a linked node before the call was made.
//!
//! Spec: WAMP advanced profile, "Session Meta API", "Registration Meta API", "Subscription Meta API", "Interface Reflection".

mod args;
mod ask;
mod authorizer;
mod echo;
mod events;
mod kill;
mod overlap;
mod presence;
mod reflection;
mod registration;
mod removal;
mod session;
mod subscription;
mod testament;
mod time;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    time::Instant,
};

use super::{
    LogIndex, NodeRef, OpOutcome, PeerFrame, Realm,
    compat::MetaResults,
    ids::IdSource,
    timers::Timer,
    turn::{Turn, because},
};
use crate::wamp::{
    Dict, Message, Payload, RequestId, Serializer, SessionId, SubscriptionId, Uri, UriCheck, Value, error_uri, message::code,
};
use args::Args;
use ask::{FlushWaiter, Question};

pub(super) use ask::Own;

/// The meta API's state in a realm.
#[derive(Debug, Default)]
pub(super) struct Meta {
    /// Meta calls of this node that wait for other nodes or the log.
    pub(super) pending: BTreeMap<u64, Pending>,
    /// Which nodes have subscribers of the subscriptions that this node keeps account of.
    pub(super) presence: HashMap<SubscriptionId, Vec<NodeRef>>,
    /// The other nodes that keep account of some.
    pub(super) ready: BTreeSet<NodeRef>,
    /// Questions of this node about how far the logs of others are, on which REGISTEREDs wait.
    pub(super) overlaps: BTreeMap<u64, overlap::Overlap>,
    /// SUBSCRIBEs that wait for what other nodes have sent before.
    pub(super) echoes: BTreeMap<u64, echo::Echo>,
    /// REGISTERs of the entry that is being applied, for the next such question.
    arriving: Vec<overlap::Arriving>,
    /// Other nodes that wait for an entry of the log.
    appliers: Vec<overlap::ApplyWaiter>,
    last_ask: u64,
    /// Other nodes that wait for this node's log, in the order in which they asked.
    flushes: VecDeque<FlushWaiter>,
    /// What the log was told about this node's sessions and has not applied, in order.
    own: VecDeque<(SessionId, Own)>,
    last_testament: u64,
    last_definition: u64,
    /// How many have left the front of [`Self::own`].
    settled: u64,
    /// The time of the newest ops, milliseconds since 1970 (UTC), and when it was heard.
    clock: Option<(Instant, u64)>,
    /// When the first of its present subscribers came, for each subscription of this node with one; milliseconds since 1970 (UTC).
    created: HashMap<SubscriptionId, u64>,
    /// What a snapshot has changed and nobody was told yet.
    untold: Vec<events::Change>,
}

/// A meta call under way.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) session: SessionId,
    request: RequestId,
    serializer: Serializer,
    what: Request,
    /// Nodes whose answer is awaited.
    pub(super) waiting: BTreeSet<NodeRef>,
    answered: BTreeSet<NodeRef>,
    /// Nodes that were asked and did not answer.
    missing: BTreeSet<NodeRef>,
    /// How far this node's own joins and ends have to be settled.
    own: u64,
    /// How far the log has to be applied.
    index: LogIndex,
    answers: Vec<Dict>,
    /// What a change of testaments is answered with where the caller expects Crossbar's answer.
    told: Option<u64>,
    /// The number of the change of definitions that it asks for.
    definition: Option<u64>,
    /// What the log made of that.
    outcome: Option<OpOutcome>,
    /// It is tried once more when the log is here.
    again: bool,
    pub(super) deadline: Instant,
}

/// A meta call, parsed.
#[derive(Clone, Debug, PartialEq)]
enum Request {
    Session(session::Request),
    Kill(kill::Request),
    Registration(registration::Request),
    Subscription(subscription::Request),
    Removal(removal::Request),
    Testament(testament::Request),
    Reflection(reflection::Request),
    Authorizer(authorizer::Order),
}

/// Why a meta call fails: the error URI and its details.
type Refusal = (&'static str, Dict);

/// Reads the arguments of one procedure.
type Parser = fn(&mut Args) -> Result<Request, Refusal>;

/// What a meta call yields: positional results.
type Outcome = Result<Vec<Value>, Refusal>;

impl Request {
    /// Reads a CALL; `None` if the router has no such procedure.
    fn parse(procedure: &str, payload: &Payload, bytes_max: usize, check: UriCheck) -> Option<Result<Self, Refusal>> {
        let parse = Self::parser(procedure)?;
        if payload.bytes().len() > bytes_max {
            let text = format!("the arguments take more than {bytes_max} bytes (setting meta_call_bytes_max)");
            return Some(Err((error_uri::INVALID_ARGUMENT, because(&text))));
        }
        Some(Args::read(payload, check).and_then(|mut args| {
            let request = parse(&mut args)?;
            args.end()?;
            Ok(request)
        }))
    }

    fn parser(procedure: &str) -> Option<Parser> {
        session::parser(procedure)
            .or_else(|| kill::parser(procedure))
            .or_else(|| registration::parser(procedure))
            .or_else(|| subscription::parser(procedure))
            .or_else(|| removal::parser(procedure))
            .or_else(|| testament::parser(procedure))
            .or_else(|| reflection::parser(procedure))
            .or_else(|| authorizer::parser(procedure))
    }

    /// What the nodes are asked so that it can be answered; `None`: it is for the log.
    fn question(&self, caller: SessionId, ids: &IdSource) -> Option<Question> {
        match self {
            Self::Session(_) | Self::Registration(_) => Some(Question::Flush),
            Self::Reflection(request) => (!request.changes()).then_some(Question::Flush),
            Self::Kill(request) => Some(Question::Kill(request.order(caller))),
            Self::Subscription(request) => {
                let which = request.which(|policy, topic| ids.subscription(policy, topic));
                Some(Question::Subscriptions(which))
            }
            Self::Authorizer(order) => Some(Question::Invalidate(order.clone())),
            Self::Removal(removal::Request::Subscriber(order)) => Some(Question::Remove(order.clone())),
            Self::Removal(removal::Request::Callee { .. }) | Self::Testament(_) => None,
        }
    }
}

impl Realm {
    /// A CALL of a `wamp.*` procedure. False: the router has no such procedure.
    pub(super) fn on_meta_call(
        &mut self,
        turn: &mut Turn<'_>,
        session: SessionId,
        request: RequestId,
        procedure: &Uri,
        payload: &Payload,
    ) -> bool {
        let bytes_max = self.config.limits.meta_call_bytes_max;
        let what = match Request::parse(procedure, payload, bytes_max, self.config.uri_check) {
            None => return false,
            Some(Ok(what)) => what,
            Some(Err((error, details))) => {
                self.refuse_meta_call(turn, session, request, error, details);
                return true;
            }
        };
        if self.meta.pending.len() >= self.config.limits.meta_calls_max {
            let details = because("too many meta calls are under way on this node (setting meta_calls_max)");
            self.refuse_meta_call(turn, session, request, error_uri::UNAVAILABLE, details);
            return true;
        }
        let asker = session;
        let proposed = match &what {
            Request::Testament(change) => self
                .propose_testament(turn, session, payload.serializer(), change)
                .map(|told| (Some(told), None)),
            Request::Reflection(request) => self.propose_definition(turn, session, request).map(|change| (None, change)),
            Request::Removal(removal::Request::Callee {
                registration,
                session,
                reason,
            }) => self
                .propose_removal(turn, asker, *registration, *session, reason)
                .map(|()| (None, None)),
            _ => Ok((None, None)),
        };
        // What is not found may be in the log and not here yet: the others are asked how far it is.
        let again = proposed.is_err() && matches!(what, Request::Removal(removal::Request::Callee { .. }));
        let (told, definition) = match proposed {
            Ok(proposed) => proposed,
            Err(_) if again => (None, None),
            Err((error, details)) => {
                self.refuse_meta_call(turn, session, request, error, details);
                return true;
            }
        };
        self.stats.meta_calls += 1;
        let question = if again {
            Some(Question::Flush)
        } else {
            what.question(session, &self.ids)
        };
        let mut pending = Pending {
            session,
            request,
            serializer: payload.serializer(),
            what,
            waiting: BTreeSet::new(),
            answered: BTreeSet::new(),
            missing: BTreeSet::new(),
            own: self.meta.proposed(),
            index: 0,
            answers: Vec::new(),
            told,
            definition,
            outcome: None,
            again,
            deadline: turn.now + self.config.limits.register_wait,
        };
        let ask = self.meta.next_ask();
        if let Some(question) = question {
            pending.deadline = turn.now + self.config.limits.meta_wait;
            pending.waiting.clone_from(&self.peers);
            if question != Question::Flush {
                pending.own = 0;
            }
            for node in &pending.waiting {
                let question = question.to_dict();
                turn.forward(*node, session, PeerFrame::MetaAsk { ask, question });
            }
            pending.answers.push(self.answer_here(turn, question));
        }
        self.timers.set(pending.deadline, Timer::Meta(ask));
        self.meta.pending.insert(ask, pending);
        self.advance_meta_call(turn, ask);
        true
    }

    /// Answers a meta call if nothing is left to wait for.
    fn advance_meta_call(&mut self, turn: &mut Turn<'_>, ask: u64) {
        let done = self.meta.pending.get(&ask).is_some_and(|pending| {
            pending.waiting.is_empty() && pending.own <= self.meta.settled && pending.index <= self.applied
        });
        if !done {
            return;
        }
        if let Some(pending) = self.meta.pending.remove(&ask) {
            self.timers.unset(pending.deadline, Timer::Meta(ask));
            self.finish_meta_call(turn, pending);
        }
    }

    /// A meta call waited long enough: whoever has not answered is named. The timer is out already.
    pub(super) fn on_meta_overdue(&mut self, turn: &mut Turn<'_>, ask: u64) {
        if self.on_overlap_overdue(turn, ask) || self.on_echo_overdue(turn, ask) {
            return;
        }
        let Some(mut pending) = self.meta.pending.remove(&ask) else {
            return;
        };
        self.stats.meta_overdue += 1;
        pending.missing.append(&mut pending.waiting);
        if pending.own > self.meta.settled || pending.index > self.applied {
            // It is this node's log that did not get there.
            pending.missing.insert(self.me);
        }
        self.finish_meta_call(turn, pending);
    }

    /// Takes a registration from a callee that was not found before the log was here.
    fn try_removal_again(&mut self, turn: &mut Turn<'_>, mut pending: Pending) {
        let Request::Removal(removal::Request::Callee {
            registration,
            session,
            reason,
        }) = &pending.what
        else {
            return;
        };
        if let Err((error, details)) = self.propose_removal(turn, pending.session, *registration, *session, reason) {
            return self.refuse_meta_call(turn, pending.session, pending.request, error, details);
        }
        pending.own = self.meta.proposed();
        pending.index = 0;
        pending.deadline = turn.now + self.config.limits.register_wait;
        pending.missing.clear();
        let ask = self.meta.next_ask();
        self.timers.set(pending.deadline, Timer::Meta(ask));
        self.meta.pending.insert(ask, pending);
        self.advance_meta_call(turn, ask);
    }

    fn finish_meta_call(&mut self, turn: &mut Turn<'_>, mut pending: Pending) {
        if std::mem::take(&mut pending.again) {
            return self.try_removal_again(turn, pending);
        }
        if pending.what.question(pending.session, &self.ids).is_some() {
            // A node without a link when the others were asked: whatever its sessions are about may have changed meanwhile.
            let others = self.registry.nodes().filter(|node| *node != self.me);
            pending.missing.extend(others.filter(|node| !pending.answered.contains(node)));
        }
        let form = self.sessions.get(pending.session).map(|s| s.info.compat.meta_results);
        let form = form.unwrap_or_default();
        let outcome = match &pending.what {
            Request::Session(request) => self.answer_session(request),
            Request::Kill(request) => kill::answer(request, &pending.answers, !pending.missing.is_empty(), form),
            Request::Registration(request) => self.answer_registration(pending.session, request),
            Request::Subscription(request) => {
                let asker = pending.session;
                subscription::answer(request, &pending.answers, |about| self.sees(asker, about))
            }
            Request::Removal(request) => removal::answer(request, &pending.answers, !pending.missing.is_empty()),
            Request::Authorizer(_) => authorizer::answer(&pending.answers),
            Request::Reflection(request) => self.answer_reflection(request, pending.outcome.as_ref()),
            Request::Testament(_) => {
                let told = pending.told.filter(|_| form == MetaResults::Crossbar);
                Self::answer_testament(pending.missing.contains(&self.me), told)
            }
        };
        let mut details = Dict::new();
        if !pending.missing.is_empty() {
            let name = |node: &NodeRef| Value::Text(format!("{}.{}", node.slot.0, node.epoch));
            details.set("_missing", pending.missing.iter().map(name).collect::<Vec<_>>());
        }
        match outcome {
            Ok(results) => {
                self.stats.results += 1;
                let message = Message::Result {
                    request: pending.request,
                    details,
                    payload: Payload::from_values(pending.serializer, &results, &Dict::new()),
                };
                turn.send(pending.session, message);
            }
            Err((error, because)) => {
                details.0.extend(because.0);
                self.refuse_meta_call(turn, pending.session, pending.request, error, details);
            }
        }
    }

    /// Refuses a meta call. The words of the details are its argument too: many clients show their users nothing else.
    fn refuse_meta_call(&mut self, turn: &mut Turn<'_>, session: SessionId, request: RequestId, error: &str, details: Dict) {
        self.stats.call_errors += 1;
        let words: Vec<Value> = details.text("message").map(Value::from).into_iter().collect();
        let message = Message::Error {
            request_type: code::CALL,
            request,
            payload: Payload::from_values(Serializer::Json, &words, &Dict::new()),
            error: Uri::from(self.error_name(session, error, &details)),
            details,
        };
        turn.send(session, message);
    }

    /// The log went on: whatever waited for it goes on too.
    pub(super) fn on_meta_progress(&mut self, turn: &mut Turn<'_>) {
        self.tell_untold(turn);
        self.answer_flushes(turn);
        self.answer_appliers(turn);
        self.ask_about_overlaps(turn);
        if self.meta.pending.is_empty() {
            return;
        }
        let all: Vec<u64> = self.meta.pending.keys().copied().collect();
        all.into_iter().for_each(|ask| self.advance_meta_call(turn, ask));
    }

    /// A session is gone: nobody waits for its meta calls.
    pub(super) fn detach_meta(&mut self, session: SessionId) {
        self.detach_echoes(session);
        if self.meta.pending.is_empty() {
            return;
        }
        let of_session = |(_, pending): &(&u64, &Pending)| pending.session == session;
        let gone: Vec<u64> = self.meta.pending.iter().filter(of_session).map(|(ask, _)| *ask).collect();
        for ask in gone {
            if let Some(pending) = self.meta.pending.remove(&ask) {
                self.timers.unset(pending.deadline, Timer::Meta(ask));
            }
        }
    }
}

impl Meta {
    /// True if the session waits for the answer of a meta call of that id.
    pub(super) fn awaits(&self, session: SessionId, request: RequestId) -> bool {
        self.pending.values().any(|p| p.session == session && p.request == request)
    }

    /// The number of a question; 0 is none.
    fn next_ask(&mut self) -> u64 {
        self.last_ask += 1;
        self.last_ask
    }
}
