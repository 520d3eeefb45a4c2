//! One realm: where inputs enter and effects leave.
//!
//! Invariants: an input is handled whole before the next; a session that broke the protocol is gone at once, whatever it still
//! sends; at most one read barrier runs.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use super::{
    Effect, Input, LogIndex, NodeRef, OnConflict, Policy, RealmLimits, Registry, Stats, TopicRule,
    asker::Asker,
    bearer::Bearers,
    broker::Broker,
    dealer::CallKind,
    dealer::Dealer,
    ids::IdSource,
    kept::{Keeper, KeptRule, RetainedLimits},
    meta::Meta,
    reflection::{Definition, Kind, Schemas},
    session_table::RequestIdVerdict,
    session_table::SessionTable,
    streams::Repeat,
    streams::Streams,
    timers::Timer,
    timers::Timers,
    turn::Turn,
    turn::because,
};
use crate::wamp::{Dict, Message, Payload, RequestId, SessionId, Uri, UriCheck, error_uri, message::code};

/// How strictly the request ids of clients are checked (setting `request_id_check`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RequestIdCheck {
    /// 1, 2, 3 … as the specification says; anything else ends the session.
    #[default]
    Strict,
    /// Any id that is not in flight; one that is ends the session.
    Lenient,
    /// Any id; a request whose id is in flight is refused, since its answer could not be told apart.
    Off,
}

/// Whether callees learn who calls them, and subscribers who publishes (setting `disclose`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Disclosure {
    /// Where the caller or the callee asks for it.
    #[default]
    Allow,
    /// Never; who asks gets an error.
    Deny,
    /// Always.
    Always,
}

impl Disclosure {
    /// Its number in the log and in snapshots, from 1; never changes.
    pub const fn code(self) -> u8 {
        match self {
            Self::Allow => 1,
            Self::Deny => 2,
            Self::Always => 3,
        }
    }

    /// The one with that number.
    pub fn from_code(code: u8) -> Option<Self> {
        [Self::Allow, Self::Deny, Self::Always]
            .into_iter()
            .find(|disclosure| disclosure.code() == code)
    }
}

/// In what clients of a realm count timeouts (setting `timeout_unit`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TimeoutUnit {
    /// As the specification says.
    #[default]
    Milliseconds,
    /// As clients do that were written for routers that read seconds.
    Seconds,
}

/// How long calls may take (settings `call_timeout_min`, `call_timeout_default`, `call_timeout_max`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CallTimeouts {
    /// The shortest time a caller gets, whatever it asks for.
    pub min: Duration,
    /// For calls that name none; `None`: no end.
    pub default: Option<Duration>,
    /// The longest time, also for calls that name none; `None`: no bound.
    pub max: Option<Duration>,
    /// In what CALL and INVOCATION say it.
    pub unit: TimeoutUnit,
}

/// What a realm is built from.
#[derive(Clone, Debug)]
pub struct RealmConfig {
    /// Its name.
    pub name: Uri,
    /// Seed of publication ids: different on every node and at every start.
    pub seed: u64,
    /// Key of the subscription id hash, fixed when the cluster is initialised, equal on every node.
    pub id_key: [u8; 16],
    /// How request ids are checked.
    pub request_id_check: RequestIdCheck,
    /// How URIs are checked.
    pub uri_check: UriCheck,
    /// A callee of a shared registration on the caller's own node is preferred to those on others.
    pub prefer_local_callees: bool,
    /// REGISTER.Options.force_reregister, of Crossbar, may take a procedure from whoever holds it.
    pub allow_force_reregister: bool,
    /// Clients may say what topics, procedures and errors are like, and so what is let through (`wamp.reflect.define`).
    pub allow_define: bool,
    /// What is said of them from the start, the same on every node; clients cannot change it.
    pub definitions: Vec<Definition>,
    /// What a REGISTER does to a `single` registration of the same procedure; [`OnConflict::Replace`] lets everyone replace everyone.
    pub on_conflict: OnConflict,
    /// Puts `_fence`, registration id and epoch, into INVOCATION.Details, so that a callee can guard side effects.
    pub fence_details: bool,
    /// How long an authorizer may take.
    pub authorizer_timeout: Duration,
    /// How long its decisions count for the session they were made about.
    pub authorizer_cache: Duration,
    /// Who may do what. Nobody anything, unless it is said.
    pub policy: Policy,
    /// The realm itself is of the log, which may take it away.
    pub of_the_log: bool,
    /// Who learns who calls and publishes.
    pub disclosure: Disclosure,
    /// How long calls may take.
    pub call_timeouts: CallTimeouts,
    /// The trust level of callers and publishers by their role, 0 lowest; a role that is not here has none.
    pub trustlevels: BTreeMap<String, u64>,
    /// Topics whose events are not to be treated as others.
    pub topics: Vec<TopicRule>,
    /// What is kept of which topics, the same on every node.
    pub kept: Vec<KeptRule>,
    /// How much is retained.
    pub retained: RetainedLimits,
    /// Its bounds.
    pub limits: RealmLimits,
    /// Refusals and revocations are kept for the record: [`Effect::Note`].
    pub noted: bool,
}

impl RealmConfig {
    /// A realm with default settings.
    pub fn new(name: Uri, seed: u64, id_key: [u8; 16]) -> Self {
        Self {
            name,
            seed,
            id_key,
            request_id_check: RequestIdCheck::default(),
            uri_check: UriCheck::default(),
            prefer_local_callees: false,
            allow_force_reregister: false,
            allow_define: false,
            definitions: Vec::new(),
            on_conflict: OnConflict::Refuse,
            fence_details: false,
            authorizer_timeout: Duration::from_secs(3),
            authorizer_cache: Duration::from_secs(60),
            policy: Policy::default(),
            of_the_log: false,
            disclosure: Disclosure::default(),
            call_timeouts: CallTimeouts::default(),
            trustlevels: BTreeMap::new(),
            topics: Vec::new(),
            kept: Vec::new(),
            retained: RetainedLimits::default(),
            limits: RealmLimits::default(),
            noted: false,
        }
    }
}

/// The pure core of one realm on one node.
#[derive(Debug)]
pub struct Realm {
    pub(super) config: RealmConfig,
    pub(super) me: NodeRef,
    pub(super) registry: Registry,
    /// Everything up to this index is applied.
    pub(super) applied: LogIndex,
    pub(super) lease_until: Option<Instant>,
    pub(super) sessions: SessionTable,
    /// Node lives with a link that is up.
    pub(super) peers: BTreeSet<NodeRef>,
    pub(super) dealer: Dealer,
    pub(super) broker: Broker,
    pub(super) meta: Meta,
    /// Sessions that end with a token.
    pub(super) bearers: Bearers,
    /// Questions of the router to procedures of clients.
    pub(super) asker: Asker,
    /// The request under way is refused since nobody has decided about it.
    pub(super) undecided: bool,
    pub(super) keeper: Keeper,
    pub(super) ids: IdSource,
    pub(super) timers: Timers,
    /// What payloads are held to.
    pub(super) schemas: Schemas,
    /// Who may do what, as it is in force.
    pub(super) policy: Policy,
    /// A snapshot has changed roles or principals, and these have lost what their sessions stood on; `None` if it changed nothing.
    pub(super) unsettled: Option<Vec<String>>,
    /// The log may have taken rights away without this node knowing.
    pub(super) rights_stale: bool,
    /// A CALL without options gets nothing but its answer: neither a time limit nor a word about its caller, and nothing is checked.
    pub(super) calls_are_plain: bool,
    /// A session has come of which callees are told how far to trust it.
    pub(super) trust_told: bool,
    pub(super) stats: Stats,
}

impl Realm {
    /// An empty realm on the node life `me`.
    pub fn new(config: RealmConfig, me: NodeRef) -> Self {
        let broker = Broker::new(&config.topics);
        let ids = IdSource::new(config.seed, config.id_key, config.name.clone());
        let keeper = Keeper::new(&config.kept, config.retained);
        let schemas = Schemas::new(&config.definitions);
        let mut realm = Self {
            schemas,
            calls_are_plain: false,
            trust_told: false,
            policy: config.policy.clone(),
            unsettled: None,
            rights_stale: false,
            config,
            me,
            registry: Registry::default(),
            applied: 0,
            lease_until: None,
            sessions: SessionTable::default(),
            peers: BTreeSet::new(),
            dealer: Dealer::default(),
            broker,
            meta: Meta::default(),
            bearers: Bearers::default(),
            asker: Asker::default(),
            undecided: false,
            keeper,
            ids,
            timers: Timers::default(),
            stats: Stats::default(),
        };
        realm.name_histories();
        realm.judge_plainness();
        realm
    }

    /// Finds out anew whether a CALL without options gets nothing but its answer.
    pub(super) fn judge_plainness(&mut self) {
        let timeouts = &self.config.call_timeouts;
        self.calls_are_plain = timeouts.default.is_none()
            && timeouts.max.is_none()
            && self.config.disclosure != Disclosure::Always
            && self.config.trustlevels.is_empty()
            && !self.trust_told
            && !self.schemas.check(Kind::Procedure);
    }

    /// Applies one input; appends its consequences to `effects` in delivery order.
    pub fn handle(&mut self, now: Instant, input: Input, effects: &mut Vec<Effect>) {
        let turn = &mut Turn { now, effects };
        match input {
            Input::SessionJoined { session, info } => self.on_session_joined(turn, session, info),
            Input::Bearer { session, bearer } => self.on_bearer(session, *bearer),
            Input::Ask(ask) => self.on_ask(turn, *ask),
            Input::Refreshed(refreshed) => self.on_refreshed(turn, *refreshed),
            Input::Message { session, message } => self.on_message(turn, session, message),
            Input::InvocationUndelivered { session, request, error } => {
                self.on_invocation_undelivered(turn, session, request, error);
            }
            Input::ProgressUndelivered { session, request, error } => {
                self.give_up_call(turn, session, request, Some(&error), &error);
            }
            Input::DismissShared { hold_ms } => self.on_dismiss_shared(turn, hold_ms),
            Input::Dismiss { session, hold_ms } => self.on_dismiss(turn, session, hold_ms),
            Input::SessionGone { session } => self.detach(turn, session),
            Input::Applied { index, by, op } => self.on_log_op(turn, index, by, op),
            Input::LogTime { unix_ms } => self.on_log_time(turn, unix_ms),
            Input::NodeFenced { index, node } => self.on_log_fence(turn, index, node),
            Input::AppliedTo { index } => {
                self.settle_authority(turn);
                self.on_applied_to(turn, index);
                self.look_again(turn);
                self.on_meta_progress(turn);
            }
            Input::Barrier { outcome } => self.on_barrier(turn, outcome),
            Input::InterestAcked { ticket } => self.on_interest_acked(turn, ticket),
            Input::RevokeSubscription {
                session,
                subscription,
                reason,
            } => self.on_revoke_subscription(turn, session, subscription, reason),
            Input::SlowConsumer { session, subscription } => self.on_slow_consumer(turn, session, subscription),
            Input::PeerUp { node } => self.on_peer_up(node),
            Input::PeerReady { node } => self.on_peer_ready(turn, node),
            Input::PeerDown { node } => self.on_peer_down(turn, node),
            Input::PeerInterest { node, changes } => self.on_peer_interest(node, changes),
            Input::Peer { from, frame } => self.on_frame(turn, from, frame),
            Input::HistoryAnswer(answer) => self.on_history_answer(turn, *answer),
            Input::HistoryPage(page) => self.on_history_page(turn, *page),
            Input::Retained(retained) => self.on_retained(turn, retained),
            Input::Lease { until } => self.lease_until = Some(until),
            Input::RightsStale => self.on_rights_stale(turn),
            Input::RightsKnown => self.rights_stale = false,
            Input::Tick => self.on_tick(turn),
        }
        self.hear_answers(turn);
        // Last, so that every lookup that missed during this input joins a barrier that starts after it.
        self.start_wanted_barrier(turn);
    }

    /// Begins a life of this node: who it is, and the key of subscription ids. No lease is carried over from the life before.
    ///
    /// No session of this node may be in the realm.
    pub fn set_identity(&mut self, me: NodeRef, id_key: [u8; 16]) {
        self.me = me;
        self.ids.set_key(id_key);
        self.name_histories();
        self.lease_until = None;
        self.meta.forget_own();
    }

    /// When the realm next wants [`Input::Tick`]; `None` if nothing is pending.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// The registry of this realm as bytes; equal registries give equal bytes.
    pub fn snapshot_registry(&self, out: &mut Vec<u8>) {
        self.registry.write_snapshot(out);
    }

    /// Replaces the registry by a snapshot taken at `index`. Local sessions whose registrations it lacks are told by the shell.
    ///
    /// REGISTER and UNREGISTER of this node whose entries the snapshot has swallowed are answered. [`Input::AppliedTo`] follows.
    ///
    /// # Errors
    /// The bytes are not a snapshot of a version this build knows; nothing was changed.
    pub fn restore_registry(&mut self, index: LogIndex, bytes: &[u8], effects: &mut Vec<Effect>) -> Result<(), String> {
        let registry = Registry::read_snapshot(bytes)?;
        let before = self.look_before_restore();
        self.note_authority(&registry.authority);
        self.registry = registry;
        self.refresh_schemas();
        self.applied = self.applied.max(index);
        self.settle_registrations(effects);
        self.note_restored(before);
        Ok(())
    }

    fn on_message(&mut self, turn: &mut Turn<'_>, session: SessionId, message: Message) {
        match self.sessions.get(session) {
            None => self.stats.dropped_no_session += 1,
            Some(asking) if asking.may.asks() => self.on_message_in_question(turn, session, message),
            Some(_) => self.dispatch(turn, session, message),
        }
    }

    /// Handles a message about which nobody has to be asked any more.
    pub(super) fn dispatch(&mut self, turn: &mut Turn<'_>, session: SessionId, message: Message) {
        match message {
            Message::Call {
                request,
                options,
                procedure,
                payload,
            } => match self.accept_call(turn, session, request) {
                CallKind::New => self.on_call(turn, session, request, &options, procedure, payload),
                CallKind::Part => self.on_call_part(turn, session, request, &options, payload),
                CallKind::Settled => {}
            },
            Message::Yield {
                request,
                options,
                payload,
            } => self.on_yield(turn, session, request, &options, payload),
            Message::Error {
                request_type: code::INVOCATION,
                request,
                details,
                error,
                payload,
            } => {
                if error.is_loose() {
                    self.on_callee_error(turn, session, request, details, error, payload);
                } else {
                    // Some callers end their session over what is none: it stays with the one who sent it.
                    self.abort(turn, session, "the error of an ERROR is no URI");
                }
            }
            Message::Publish {
                request,
                options,
                topic,
                payload,
            } => {
                if self.accept_request(turn, session, code::PUBLISH, request) {
                    self.on_publish(turn, session, request, &options, topic, payload);
                }
            }
            Message::Subscribe { request, options, topic } => {
                if self.accept_request(turn, session, code::SUBSCRIBE, request) {
                    self.on_subscribe(turn, session, request, &options, topic);
                }
            }
            Message::Unsubscribe { request, subscription } => {
                if self.accept_request(turn, session, code::UNSUBSCRIBE, request) {
                    self.on_unsubscribe(turn, session, request, subscription);
                }
            }
            Message::Register {
                request,
                options,
                procedure,
            } => {
                if self.accept_request(turn, session, code::REGISTER, request) {
                    self.on_register(turn, session, request, &options, procedure);
                }
            }
            Message::Unregister { request, registration } => {
                if self.accept_request(turn, session, code::UNREGISTER, request) {
                    self.on_unregister(turn, session, request, registration);
                }
            }
            Message::Cancel { request, options } => self.on_cancel(turn, session, request, &options),
            Message::EventReceived { publication } => self.on_event_received(turn, session, publication),
            Message::Error { .. } => self.abort(
                turn,
                session,
                "ERROR of a client answers an INVOCATION (request type 68) only",
            ),
            _ => self.abort(turn, session, "a client may not send this message in an established session"),
        }
    }

    /// Checks the id of a client's request. False: the session is gone, or the request was refused.
    fn accept_request(&mut self, turn: &mut Turn<'_>, session: SessionId, request_type: u64, request: RequestId) -> bool {
        let judged = self
            .sessions
            .get_mut(session)
            .map(|s| (s.request_id_check, s.judge_request_id(request)));
        let Some((check, mut verdict)) = judged else {
            return false;
        };
        // Meta calls are rare, and looked for only where ids may repeat.
        if check != RequestIdCheck::Strict
            && verdict == RequestIdVerdict::Fine
            && awaits_answer(&self.meta, &self.keeper, &self.bearers, session, request)
        {
            verdict = RequestIdVerdict::InFlight;
        }
        if verdict != RequestIdVerdict::Fine {
            self.object_to_request(turn, session, (request_type, request), verdict, check);
        }
        verdict == RequestIdVerdict::Fine
    }

    /// As [`Self::accept_request`] for a CALL, which may be a further part of an earlier one.
    fn accept_call(&mut self, turn: &mut Turn<'_>, session: SessionId, request: RequestId) -> CallKind {
        let Some(caller) = self.sessions.get_mut(session) else {
            return CallKind::Settled;
        };
        let check = caller.request_id_check;
        // Meta calls are rare, and looked for only where ids may repeat.
        let awaited = check != RequestIdCheck::Strict && awaits_answer(&self.meta, &self.keeper, &self.bearers, session, request);
        let rising = check == RequestIdCheck::Strict;
        let judge = |streams: &Option<Box<Streams>>| streams.as_ref().map_or(Repeat::Wrong, |s| s.judge(request, rising));
        // Where ids need not rise, that of a further part could as well be a new one.
        let mut repeat = if rising { Repeat::Wrong } else { judge(&caller.streams) };
        if repeat == Repeat::Wrong {
            let mut verdict = caller.judge_request_id(request);
            if awaited && verdict == RequestIdVerdict::Fine {
                verdict = RequestIdVerdict::InFlight;
            }
            if verdict == RequestIdVerdict::Fine {
                return CallKind::New;
            }
            repeat = judge(&caller.streams);
            if repeat == Repeat::Wrong {
                self.object_to_request(turn, session, (code::CALL, request), verdict, check);
            }
        }
        match repeat {
            Repeat::Part => CallKind::Part,
            Repeat::Late => {
                self.stats.dropped_late_parts += 1;
                CallKind::Settled
            }
            Repeat::Wrong => CallKind::Settled,
        }
    }

    /// Ends the session whose request had a wrong id, or refuses the request.
    fn object_to_request(
        &mut self,
        turn: &mut Turn<'_>,
        session: SessionId,
        (request_type, request): (u64, RequestId),
        verdict: RequestIdVerdict,
        check: RequestIdCheck,
    ) {
        match (verdict, check) {
            (RequestIdVerdict::Fine, _) => {}
            (RequestIdVerdict::OutOfOrder, _) => {
                self.abort(
                    turn,
                    session,
                    "request ids must be 1, 2, 3 … without gap or repeat (setting request_id_check = \"strict\")",
                );
            }
            (RequestIdVerdict::InFlight, RequestIdCheck::Off) => {
                let details = because("a request of this id is still in flight");
                self.refuse(turn, session, request_type, request, error_uri::INVALID_ARGUMENT, details);
            }
            (RequestIdVerdict::InFlight, _) => {
                self.abort(
                    turn,
                    session,
                    "a request of this id is still in flight (setting request_id_check = \"lenient\")",
                );
            }
        }
    }

    /// How far callees are told to trust a session; `None`: they are told nothing.
    pub(super) fn trustlevel(&self, session: SessionId) -> Option<u64> {
        let info = &self.sessions.get(session)?.info;
        self.config.trustlevels.get(&info.authrole).copied().or(info.trustlevel)
    }

    /// Refuses a request with an ERROR.
    pub(super) fn refuse(
        &mut self,
        turn: &mut Turn<'_>,
        session: SessionId,
        request_type: u64,
        request: RequestId,
        error: &str,
        details: Dict,
    ) {
        match request_type {
            code::CALL => self.stats.call_errors += 1,
            _ => self.stats.refusals += 1,
        }
        let error = self.error_name(session, error, &details);
        turn.error(session, request_type, request, error, details);
    }

    /// By which name a session of this node knows an error of the router.
    pub(super) fn error_name<'a>(&self, session: SessionId, error: &'a str, details: &Dict) -> &'a str {
        let uris = self.sessions.get(session).map(|s| s.info.compat.error_uris);
        uris.unwrap_or_default().name(error, details)
    }

    /// Ends a session that broke the protocol. Everything it had goes at once; what it still sends is ignored.
    pub(super) fn abort(&mut self, turn: &mut Turn<'_>, session: SessionId, rule: &str) {
        self.stats.aborts += 1;
        let reason = Uri::from(error_uri::PROTOCOL_VIOLATION);
        let message = Message::Abort {
            details: because(rule),
            reason,
            payload: Payload::EMPTY,
        };
        turn.effects.push(Effect::Abort { session, message });
        self.detach(turn, session);
    }

    /// True while this node may start invocations of `single` registrations (DESIGN §4.2).
    pub(super) fn has_lease(&self, now: Instant) -> bool {
        self.lease_until.is_some_and(|until| now < until)
    }

    fn on_tick(&mut self, turn: &mut Turn<'_>) {
        while let Some(timer) = self.timers.pop_due(turn.now) {
            match timer {
                Timer::Barrier => self.on_barrier_overdue(turn),
                Timer::Register(session, request) => self.on_register_overdue(turn, session, request),
                Timer::Unregister(session, registration) => self.on_unregister_overdue(turn, session, registration),
                Timer::Expected => self.on_expected_overdue(turn),
                Timer::Interest(ticket) => self.on_interest_overdue(turn, ticket),
                Timer::Delivery(publication) => self.on_delivery_overdue(turn, publication),
                Timer::Meta(ask) => self.on_meta_overdue(turn, ask),
                Timer::Invoke(callee) => self.on_invoke_overdue(turn, callee),
                Timer::Call(session, request) => self.on_call_overdue(turn, session, request),
                Timer::Bearer(session) => self.on_bearer_overdue(turn, session),
            }
        }
    }
}

/// True if the session waits for the router itself to answer its CALL of that id.
fn awaits_answer(meta: &Meta, keeper: &Keeper, bearers: &Bearers, session: SessionId, request: RequestId) -> bool {
    meta.awaits(session, request) || keeper.asking.contains(&(session, request)) || bearers.awaits(session, request)
}
