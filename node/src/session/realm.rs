//! The shell around a realm: its lock, its sessions' outboxes, and the carrying out of effects.
//!
//! Whoever has an input, a session's task or the cluster, enters here: it takes the lock, lets the pure core judge, and carries
//! out the effects in their order while it still holds the lock (messages into outboxes, requests into the cluster's queues), so
//! that what the core decided first is seen first. Sockets are written and tasks woken after the lock was released.
//!
//! Lock order: realm, then outbox. Nothing waits while a realm is held.

mod edit;
mod keeper;
mod kinds;
mod noting;
mod plain;
mod present;
mod realms;
mod tapping;
mod terms;
mod traced;

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, OnceLock, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::{Mutex, MutexGuard};
use tokio::{
    runtime::Handle,
    sync::{Notify, oneshot},
};

use super::{
    auth::Tokens,
    cluster::{Cluster, Drain},
    keeping::Keeping,
    outbox::{End, Outbox, Pushed, Shared, Touched, Undelivered},
};
use keeper::Keeper;
use kinds::{is_for_the_cluster, may_invoke, revoked_by};
pub use plain::Gathered;
pub use present::ByWire;
use present::Present;
pub use realms::{RealmEntry, Realms};
pub use tapping::Tapping;
use tapping::Taps;
pub use terms::Terms;
use terms::TokenJudge;
use traced::Traces;

use crate::{
    audit::Audit,
    auth::{Principals, principals::Prepared},
    router::{
        Ask, Change, Changed, Effect, Input, LogIndex, Op, Realm, SessionInfo, SlowConsumer,
        kept::{HistoryAnswer, HistoryFailure},
        policy::{Request, Resettled},
    },
    telemetry::traces::Tracer,
    wamp::{Message, Payload, SessionId, SubscriptionId, Uri, error_uri},
};

/// A cheap handle on one realm of this node.
#[derive(Clone)]
pub struct RealmHandle {
    shared: Arc<Shell>,
}

impl std::fmt::Debug for RealmHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("RealmHandle").field(&self.shared.name).finish()
    }
}

struct Shell {
    name: Uri,
    cluster: Arc<dyn Cluster>,
    state: Mutex<State>,
    /// Wakes the deadline keeper when the core's next deadline got earlier.
    rearm: Arc<Notify>,
    /// The core panicked: its state cannot be trusted, nothing enters any more.
    failed: AtomicBool,
    failure: Notify,
    /// Counts the rules by which sessions are let in; grows while the realm is locked.
    generation: AtomicU64,
    /// Where events are kept; nowhere until it is said.
    keeping: OnceLock<Keeper>,
    /// Who may join, as far as the log says it.
    principals: OnceLock<Arc<Principals>>,
    /// Who keeps what is noted.
    audit: OnceLock<Audit>,
    /// Who judges tokens; nobody unless it is said.
    tokens: OnceLock<TokenJudge>,
}

struct State {
    core: Realm,
    outboxes: Present,
    /// Reused between inputs.
    effects: Vec<Effect>,
    /// Inputs that carrying out effects brought about; handled before the lock is released.
    followups: VecDeque<Input>,
    /// Who waits for the commit of a session's end.
    leaving: HashMap<SessionId, oneshot::Sender<()>>,
    /// Who waits for the answer of a procedure.
    asked: HashMap<u64, oneshot::Sender<Result<Payload, Uri>>>,
    last_asked: u64,
    /// When the deadline keeper will look again.
    armed: Option<Instant>,
    /// Fan-outs that have released the lock between two chunks.
    open_fanouts: usize,
    /// Subscriptions given up while a fan-out was open: its later chunks skip them.
    given_up: Vec<(SessionId, SubscriptionId)>,
    /// Who looks at messages; `None` while nobody does.
    taps: Option<Box<Taps>>,
    stats: ShellStats,
    /// What is traced; nothing if there is none.
    traces: Option<Box<Traces>>,
}

/// What the shell of a realm counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShellStats {
    /// Sessions of this node that are in the realm now.
    pub sessions: usize,
    /// The same by what their connections speak.
    pub by_wire: ByWire,
    /// Sessions that were ever welcomed.
    pub joined: u64,
    /// Inputs the core has handled.
    pub inputs: u64,
    /// Messages put into outboxes, each receiver of an event counted.
    pub sent: u64,
    /// Messages whose session had left.
    pub sent_to_nobody: u64,
    /// Calls that ended in an ERROR because the transport or serializer of their callee cannot carry the invocation, or that of their
    /// caller a part of the result.
    pub undeliverable: u64,
}

/// A message for many sessions.
struct Many {
    message: Message,
    /// What gives way where it does not fit.
    slow: SlowConsumer,
    /// Nobody may enter the realm before all have it.
    ordered: bool,
}

/// How many outboxes a fan-out fills before others may enter the realm.
const FANOUT_CHUNK: usize = 256;

impl RealmHandle {
    /// Puts `core` behind a lock and starts the task that tells it the time; it ends when the last handle is dropped.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn new(name: Uri, core: Realm, cluster: Arc<dyn Cluster>) -> Self {
        let rearm = Arc::new(Notify::new());
        let shared = Arc::new(Shell {
            name,
            cluster,
            state: Mutex::new(State {
                core,
                outboxes: Present::default(),
                effects: Vec::new(),
                followups: VecDeque::new(),
                leaving: HashMap::new(),
                asked: HashMap::new(),
                last_asked: 0,
                armed: None,
                open_fanouts: 0,
                given_up: Vec::new(),
                taps: None,
                stats: ShellStats::default(),
                traces: None,
            }),
            rearm: rearm.clone(),
            failed: AtomicBool::new(false),
            failure: Notify::new(),
            generation: AtomicU64::new(0),
            keeping: OnceLock::new(),
            principals: OnceLock::new(),
            audit: OnceLock::new(),
            tokens: OnceLock::new(),
        });
        tokio::spawn(keep_deadlines(Arc::downgrade(&shared), rearm));
        Self { shared }
    }

    /// Says where the events of this realm are kept. Called once; until then nothing is, and no history can be asked for.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn keep_in(&self, keeping: Keeping) {
        let keeper = Keeper {
            keeping: Arc::new(keeping),
            runtime: Handle::current(),
            shell: Arc::downgrade(&self.shared),
        };
        // The second call is a mistake that changes nothing.
        let _ = self.shared.keeping.set(keeper);
    }

    /// The lanes and stores that this node's sessions have filled faster than they drain.
    pub fn congested(&self) -> Vec<Arc<dyn Drain>> {
        let mut congested = self.shared.cluster.congested();
        if let Some(keeper) = self.shared.keeping.get() {
            congested.extend(keeper.keeping.congested());
        }
        congested
    }

    /// The realm's name.
    pub fn name(&self) -> &Uri {
        &self.shared.name
    }

    /// The cluster behind it.
    pub fn cluster(&self) -> &Arc<dyn Cluster> {
        &self.shared.cluster
    }

    /// Admits an established session: its WELCOME is the first message of the session in its outbox, then the core hears of it.
    pub fn join(&self, session: SessionId, info: SessionInfo, welcome: &Message, outbox: &Arc<Outbox>, touched: &mut Touched) {
        self.admit(session, info, welcome, outbox, touched, Terms::default());
    }

    /// As [`Self::join`], on terms. False: they do not hold any more, and nothing was done. What the log takes away is taken under
    /// the same lock, so whoever is let in here is there to be ended.
    pub fn admit(
        &self,
        session: SessionId,
        info: SessionInfo,
        welcome: &Message,
        outbox: &Arc<Outbox>,
        touched: &mut Touched,
        terms: Terms,
    ) -> bool {
        let mut state = self.shared.lock();
        if !terms.hold(self.shared.generation.load(Ordering::Acquire)) {
            return false;
        }
        outbox.begin();
        // Pushed under the lock: nothing of the realm can come before it.
        outbox.push(welcome, touched);
        state.outboxes.insert(session, outbox.clone());
        state.stats.joined += 1;
        self.shared.take(&mut state, Input::SessionJoined { session, info }, touched);
        if let Some(bearer) = terms.bearer {
            self.shared.take(&mut state, Input::Bearer { session, bearer }, touched);
        }
        self.shared.settle(state);
        true
    }

    /// Handles messages that an established session may legally send, in their order; what follows the end of the session is
    /// dropped. The caller flushes `touched` and calls [`Self::flush`] after its batch.
    pub fn messages(&self, session: SessionId, messages: impl IntoIterator<Item = Message>, touched: &mut Touched) {
        let mut state = self.shared.lock();
        let tapped = state.taps.is_some();
        for message in messages {
            if !state.outboxes.contains_key(&session) {
                break;
            }
            if tapped {
                state.tap_incoming(session, &message);
            }
            self.shared.message(&mut state, session, message, false, touched);
        }
        self.shared.settle(state);
    }

    /// Ends a session, the one way out. Does nothing if it has ended already.
    pub fn gone(&self, session: SessionId) {
        let mut touched = Touched::new();
        self.shared.gone(session, &mut touched);
        drop(touched);
        self.flush();
    }

    /// Ends a session as [`Self::gone`] does, and resolves when the commit that frees its registrations is applied here, or
    /// after `bound`. Returns false if the bound ended it.
    pub fn leave(&self, session: SessionId, bound: Duration) -> impl Future<Output = bool> + Send + use<> {
        let (sender, receiver) = oneshot::channel();
        self.shared.lock().leaving.insert(session, sender);
        self.gone(session);
        let shell = Arc::downgrade(&self.shared);
        async move {
            let committed = matches!(tokio::time::timeout(bound, receiver).await, Ok(Ok(())));
            if !committed && let Some(shell) = shell.upgrade() {
                shell.lock().leaving.remove(&session);
            }
            committed
        }
    }

    /// Handles one input from the cluster: log, links, lease, barriers.
    pub fn input(&self, input: Input) {
        let mut touched = Touched::new();
        self.input_batched(input, &mut touched);
        drop(touched);
        self.flush();
    }

    /// As [`Self::input`], for a batch: the caller flushes `touched` and calls [`Self::flush`] after the last one.
    pub fn input_batched(&self, input: Input, touched: &mut Touched) {
        let state = self.shared.lock();
        self.shared.enter(state, input, touched);
    }

    /// Wakes what the inputs since the last flush have put into the cluster's queues.
    pub fn flush(&self) {
        self.shared.cluster.flush();
    }

    /// Runs `f` on the core with the realm locked, for snapshots and inspection. It must be quick and must not enter the realm.
    pub fn with_core<R>(&self, f: impl FnOnce(&Realm) -> R) -> R {
        f(&self.shared.lock().core)
    }

    /// Runs `f` on the core and carries out the effects it appends, for restoring a snapshot.
    pub fn change_core<R>(&self, f: impl FnOnce(&mut Realm, Instant, &mut Vec<Effect>) -> R) -> R {
        let mut touched = Touched::new();
        let mut state = self.shared.lock();
        let mut effects = std::mem::take(&mut state.effects);
        let result = f(&mut state.core, now(), &mut effects);
        self.shared.carry_out(&mut state, &mut effects, &mut touched);
        state.effects = effects;
        self.shared.follow_up(&mut state, &mut touched);
        self.shared.settle(state);
        drop(touched);
        self.flush();
        result
    }

    /// Says who keeps what is noted of rights. Called once; until then nobody does.
    pub fn audit_in(&self, audit: Audit) {
        // The second call is a mistake that changes nothing.
        let _ = self.shared.audit.set(audit);
    }

    /// Says whose table of principals follows what the log says of this realm. Called once, before the log is applied.
    pub fn keep_principals(&self, principals: Arc<Principals>) {
        // The second call is a mistake that changes nothing.
        let _ = self.shared.principals.set(principals);
    }

    /// The log reached a change of roles or principals. Who is revoked cannot join any more before the sessions end that it has.
    pub fn change(&self, index: LogIndex, request: &Request) -> Changed {
        self.change_core(|core, now, effects| {
            let changed = core.change(now, index, request, effects);
            if let (Changed::Done(_), Some(principals)) = (changed, self.shared.principals.get()) {
                match &request.change {
                    Change::PutPrincipal { principal } => principals.put(principal.clone()),
                    Change::RemovePrincipal { authid } => principals.remove(authid),
                    Change::PutRole { .. } | Change::RemoveRole { .. } => {}
                    Change::Seed { principals: seeds, .. } => principals.replace(seeds.iter().cloned()),
                }
            }
            changed
        })
    }

    /// Puts other settings of the configuration in force, and its principals, if they have changed. Who is revoked cannot join any more before
    /// the sessions end that it has.
    pub fn resettle(&self, settings: Resettled, principals: Option<(&Principals, Prepared)>) {
        self.change_core(|core, now, effects| {
            let revoked = principals
                .map(|(principals, prepared)| principals.refix(prepared))
                .unwrap_or_default();
            core.resettle(now, settings, &revoked, effects);
        });
    }

    /// Replaces what the log says of this realm by a snapshot taken at `index`.
    ///
    /// # Errors
    /// The bytes are not a snapshot of a version this build knows; nothing was changed.
    pub fn restore(&self, index: LogIndex, registry: &[u8]) -> Result<(), String> {
        self.change_core(|core, _, effects| {
            core.restore_registry(index, registry, effects)?;
            if let Some(principals) = self.shared.principals.get() {
                principals.replace(core.authority().principals().map(|row| row.value.clone()));
            }
            Ok(())
        })
    }

    /// Has what happens in this realm traced from now on, as that of the node of this name.
    pub fn trace_by(&self, tracer: Arc<Tracer>, node: Arc<str>) {
        let traces = Traces::new(tracer, self.shared.name.clone(), node);
        self.shared.lock().traces = Some(Box::new(traces));
    }

    /// Says who judges the newer tokens that sessions of this realm show. Called once.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn judge_tokens_by(&self, tokens: Arc<Tokens>) {
        let judge = TokenJudge::new(tokens, Handle::current(), Arc::downgrade(&self.shared));
        // The second call is a mistake that changes nothing.
        let _ = self.shared.tokens.set(judge);
    }

    /// Calls a procedure of a client of this realm, on whatever node it is, in the router's own name. Resolves to what it yields, or to the
    /// error the call ends with, at the latest after `timeout`.
    pub fn ask(
        &self,
        procedure: Uri,
        payload: Payload,
        timeout: Duration,
    ) -> impl Future<Output = Result<Payload, Uri>> + Send + use<> {
        let (sender, receiver) = oneshot::channel();
        let mut touched = Touched::new();
        let mut state = self.shared.lock();
        state.last_asked += 1;
        let ticket = state.last_asked;
        state.asked.insert(ticket, sender);
        let ask = Ask {
            ticket,
            procedure,
            payload,
            timeout,
        };
        self.shared.enter(state, Input::Ask(Box::new(ask)), &mut touched);
        drop(touched);
        self.flush();
        async move { receiver.await.unwrap_or_else(|_| Err(Uri::from(error_uri::CANCELED))) }
    }

    /// What the shell has counted.
    pub fn stats(&self) -> ShellStats {
        let state = self.shared.lock();
        ShellStats {
            sessions: state.outboxes.len(),
            by_wire: state.outboxes.by_wire(),
            ..state.stats
        }
    }

    /// True if `session` is in this realm on this node.
    pub fn has(&self, session: SessionId) -> bool {
        self.shared.lock().outboxes.contains_key(&session)
    }

    /// Asks the task of a session to end it with a GOODBYE; false if there is no such session here.
    pub fn kill(&self, session: SessionId, reason: Uri) -> bool {
        let outbox = self.shared.lock().outboxes.get(&session).cloned();
        outbox.map(|outbox| outbox.request_end(End::Goodbye(reason))).is_some()
    }

    /// Asks the task of a session to send it away: the node goes. False if there is no such session here.
    pub fn send_away(&self, session: SessionId, reconnect_after: Duration) -> bool {
        let outbox = self.shared.lock().outboxes.get(&session).cloned();
        outbox
            .map(|outbox| outbox.request_end(End::SentAway { reconnect_after }))
            .is_some()
    }

    /// Asks the task of a session not to read from it for a moment, so that what it has asked for can be answered.
    pub fn pause(&self, session: SessionId) {
        if let Some(outbox) = self.shared.lock().outboxes.get(&session) {
            outbox.hold(true);
        }
    }

    /// True if the core has panicked; see [`Self::failed`].
    pub fn has_failed(&self) -> bool {
        self.shared.failed.load(Ordering::Acquire)
    }

    /// Resolves if the core panics: this node's copy of the realm is then not to be trusted, and the node has to end.
    pub async fn failed(&self) {
        loop {
            let notified = self.shared.failure.notified();
            if self.shared.failed.load(Ordering::Acquire) {
                return;
            }
            notified.await;
        }
    }
}

impl Shell {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    fn gone(&self, session: SessionId, touched: &mut Touched) {
        let mut state = self.lock();
        if state.outboxes.remove(&session).is_some() {
            self.enter(state, Input::SessionGone { session }, touched);
        }
    }

    /// Lets the core judge `input` and whatever follows from it, then releases the realm.
    fn enter(&self, mut state: MutexGuard<'_, State>, input: Input, touched: &mut Touched) {
        self.take(&mut state, input, touched);
        self.settle(state);
    }

    /// Lets the core judge `input` and whatever follows from it.
    fn take(&self, state: &mut MutexGuard<'_, State>, input: Input, touched: &mut Touched) {
        if self.has_failed() {
            return;
        }
        let committed_end = match &input {
            Input::Applied {
                op: Op::SessionGone { session },
                ..
            } => Some(*session),
            _ => None,
        };
        if let Some((session, subscription)) = revoked_by(&input) {
            state.gave_up(session, subscription);
        }
        self.handle(state, input, touched);
        if let Some(waiting) = committed_end.and_then(|session| state.leaving.remove(&session)) {
            // Nobody may be waiting any more; that is fine.
            let _ = waiting.send(());
        }
        self.follow_up(state, touched);
    }

    /// Handles what carrying out effects has brought about.
    fn follow_up(&self, state: &mut MutexGuard<'_, State>, touched: &mut Touched) {
        while let Some(input) = state.followups.pop_front() {
            self.handle(state, input, touched);
        }
    }

    /// Arms the deadline, releases the realm.
    fn settle(&self, mut state: MutexGuard<'_, State>) {
        if let Some(next) = state.core.next_deadline()
            && state.armed.is_none_or(|armed| next < armed)
        {
            state.armed = Some(next);
            drop(state);
            self.rearm.notify_one();
        }
    }

    /// One input through the core, its effects carried out.
    fn handle(&self, state: &mut MutexGuard<'_, State>, input: Input, touched: &mut Touched) {
        let mut effects = std::mem::take(&mut state.effects);
        state.stats.inputs += 1;
        let watch = FailureWatch(self);
        // Whatever may start an invocation is judged by the clock, not by the batch's time: this process may have been stopped
        // since, and its lease with it.
        let time = if may_invoke(&input) || state.core.awaits_answers() {
            now()
        } else {
            touched.time(now)
        };
        if let Some(traces) = &mut state.traces {
            traces.input(&input);
        }
        state.core.handle(time, input, &mut effects);
        std::mem::forget(watch);
        self.carry_out(state, &mut effects, touched);
        state.effects = effects;
    }

    fn carry_out(&self, state: &mut MutexGuard<'_, State>, effects: &mut Vec<Effect>, touched: &mut Touched) {
        if let Some(traces) = &mut state.traces {
            traces.effects(effects);
        }
        if state.taps.is_some() {
            state.tap_outgoing(effects);
        }
        let mut rest = effects.drain(..);
        // What was given up before this is nothing to the fan-outs of these effects.
        let mut released = None;
        while let Some(effect) = rest.next() {
            match effect {
                Effect::Send { session, message } => {
                    state.send(session, touched, &message, |outbox, touched| outbox.push(&message, touched))
                }
                Effect::Fanout { sessions, message } => {
                    // Requests to the cluster keep the core's order only while nobody else gets in between.
                    let ordered = rest.as_slice().iter().any(is_for_the_cluster);
                    let slow = SlowConsumer::default();
                    self.fan_out(state, &sessions, Many { message, slow, ordered }, &mut released, touched);
                }
                Effect::FanoutAs { slow, sessions, message } => {
                    let ordered = rest.as_slice().iter().any(is_for_the_cluster);
                    self.fan_out(state, &sessions, Many { message, slow, ordered }, &mut released, touched);
                }
                Effect::Abort { session, message } => {
                    if let Some(outbox) = state.outboxes.remove(&session) {
                        outbox.abort(&message);
                        state.followups.push_back(Input::SessionGone { session });
                    }
                }
                Effect::Kill { session, goodbye } => {
                    if let (Some(outbox), Message::Goodbye { details, reason }) = (state.outboxes.remove(&session), goodbye) {
                        let text = details.text("message").map(str::to_owned);
                        outbox.request_end(End::Killed { reason, text });
                    }
                }
                Effect::SubscriptionEnded { session, subscription } => state.gave_up(session, subscription),
                Effect::Keep(keep) => {
                    if let Some(keeper) = self.keeping.get() {
                        keeper.keeping.keep(*keep);
                        touched.note_forwarded();
                    }
                }
                Effect::AskHistory(ask) => match self.keeping.get() {
                    Some(keeper) => keeper.ask(*ask),
                    None => {
                        let (session, request, result) = (ask.session, ask.request, Err(HistoryFailure::Unavailable));
                        let answer = HistoryAnswer {
                            session,
                            request,
                            result,
                        };
                        state.followups.push_back(Input::HistoryAnswer(Box::new(answer)));
                    }
                },
                Effect::TellHistory(tell) => {
                    if let Some(keeper) = self.keeping.get() {
                        keeper.tell(*tell);
                    }
                }
                Effect::Note(noted) => {
                    if let Some(audit) = self.audit.get() {
                        noting::note(audit, &self.name, &noted);
                    }
                }
                Effect::Flood { session, hold } => {
                    if let Some(outbox) = state.outboxes.get(&session) {
                        outbox.hold(hold);
                    }
                }
                Effect::Answered(answered) => {
                    if let Some(waiting) = state.asked.remove(&answered.ticket) {
                        // Nobody may be waiting any more; that is fine.
                        let _ = waiting.send(answered.outcome);
                    }
                }
                Effect::Refresh(refresh) => match self.tokens.get() {
                    Some(judge) => judge.judge(*refresh),
                    None => state.followups.push_back(terms::refused(&refresh)),
                },
                Effect::Propose { op } => self.cluster.propose(&self.name, op),
                Effect::Barrier => self.cluster.barrier(&self.name),
                Effect::Interest { topic, wanted, ticket } => self.cluster.interest(&self.name, &topic, wanted, ticket),
                Effect::Forward { to, source, frame } => {
                    self.cluster.forward(&self.name, to, source, frame);
                    touched.note_forwarded();
                }
            }
        }
        if let Some(traces) = &mut state.traces {
            traces.carried_out();
        }
        if released.is_some() {
            state.open_fanouts -= 1;
            if state.open_fanouts == 0 {
                state.given_up.clear();
            }
        }
    }

    /// Puts one message into many outboxes. A long list is done in chunks between which others may enter, unless `ordered`.
    ///
    /// `released` is set once others may have entered since these effects came to be: it says how many subscriptions had been given
    /// up then. Those given up since are skipped, also by the fan-outs that follow, for an event has one for each subscription.
    fn fan_out(
        &self,
        state: &mut MutexGuard<'_, State>,
        sessions: &[SessionId],
        Many { message, slow, ordered }: Many,
        released: &mut Option<usize>,
        touched: &mut Touched,
    ) {
        let message = &message;
        let mut shared = Shared::new(message);
        if released.is_none() && (ordered || sessions.len() <= FANOUT_CHUNK) {
            for session in sessions {
                state.send(*session, touched, message, |outbox, touched| {
                    outbox.push_event(&mut shared, slow, touched)
                });
            }
            return;
        }
        let subscription = match message {
            Message::Event { subscription, .. } => Some(*subscription),
            _ => None,
        };
        let given_up_before = match *released {
            Some(before) => before,
            None => {
                state.open_fanouts += 1;
                *released.insert(state.given_up.len())
            }
        };
        for (n, chunk) in sessions.chunks(FANOUT_CHUNK).enumerate() {
            if n > 0 && !ordered {
                MutexGuard::unlocked_fair(state, || touched.flush_many());
            }
            touched.note_events(chunk.len());
            for session in chunk {
                // A session that has left is not found; one that has given the subscription up must hear nothing after that.
                if subscription.is_some_and(|s| state.given_up[given_up_before..].contains(&(*session, s))) {
                    continue;
                }
                state.send(*session, touched, message, |outbox, touched| {
                    outbox.push_event(&mut shared, slow, touched)
                });
            }
        }
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        // The deadline keeper finds that the realm is gone.
        self.rearm.notify_one();
    }
}

impl State {
    /// Puts `message` into the session's outbox by `push`, and has the core told where that changes what the core believes.
    fn send(
        &mut self,
        session: SessionId,
        touched: &mut Touched,
        message: &Message,
        push: impl FnOnce(&Arc<Outbox>, &mut Touched) -> Pushed,
    ) {
        let Some(outbox) = self.outboxes.get(&session) else {
            self.stats.sent_to_nobody += 1;
            return;
        };
        let pushed = push(outbox, touched);
        let about = match message {
            Message::Invocation { request, .. } => About::Undelivered(Undelivered::Invocation(*request)),
            Message::Result { request, .. } => About::Undelivered(Undelivered::Progress(*request)),
            Message::Event { subscription, .. } => About::Event(*subscription),
            _ => About::Other,
        };
        self.pushed(session, about, pushed);
    }

    /// Nothing of a subscription is for the session any more.
    fn gave_up(&mut self, session: SessionId, subscription: SubscriptionId) {
        if let Some(outbox) = self.outboxes.get(&session) {
            outbox.forget_subscription(subscription);
        }
        if self.open_fanouts > 0 {
            self.given_up.push((session, subscription));
        }
    }

    /// Notes what became of a message to `session`.
    fn pushed(&mut self, session: SessionId, about: About, pushed: Pushed) {
        match pushed {
            Pushed::Queued => self.stats.sent += 1,
            // Counted by the outbox. A closed one belongs to a session whose end is on its way.
            Pushed::Dropped | Pushed::Closed => {}
            Pushed::Losing => {
                if let About::Event(subscription) = about {
                    self.followups.push_back(Input::SlowConsumer { session, subscription });
                }
            }
            Pushed::Undeliverable(error) => {
                if let About::Undelivered(what) = about {
                    self.stats.undeliverable += 1;
                    self.followups.push_back(not_delivered(session, what, error));
                }
            }
            Pushed::SlowConsumer => {
                self.outboxes.remove(&session);
                self.followups.push_back(Input::SessionGone { session });
            }
        }
    }
}

/// What a message is, as far as it matters when it was not put in.
#[derive(Clone, Copy)]
enum About {
    /// It is missed where it cannot be written.
    Undelivered(Undelivered),
    Event(SubscriptionId),
    Other,
}

/// What the core is told of a message that could not be written to its session.
pub(super) fn not_delivered(session: SessionId, what: Undelivered, error: &str) -> Input {
    let error = error.into();
    match what {
        Undelivered::Invocation(request) => Input::InvocationUndelivered { session, request, error },
        Undelivered::Progress(request) => Input::ProgressUndelivered { session, request, error },
    }
}

/// The clock of the core; tokio's, so that tests can pause it.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// Marks the realm as failed when the core panics.
struct FailureWatch<'a>(&'a Shell);

impl Drop for FailureWatch<'_> {
    fn drop(&mut self) {
        self.0.failed.store(true, Ordering::Release);
        self.0.failure.notify_waiters();
    }
}

/// Sends the core its ticks; ends with the realm.
async fn keep_deadlines(shell: Weak<Shell>, rearm: Arc<Notify>) {
    loop {
        let next = match shell.upgrade() {
            None => return,
            Some(shell) => {
                let mut state = shell.lock();
                state.armed = state.core.next_deadline();
                state.armed
            }
        };
        let reached = match next {
            None => {
                rearm.notified().await;
                false
            }
            Some(next) => {
                tokio::select! {
                    () = rearm.notified() => false,
                    () = tokio::time::sleep_until(next.into()) => true,
                }
            }
        };
        if reached && let Some(shell) = shell.upgrade() {
            let mut touched = Touched::new();
            let mut state = shell.lock();
            state.armed = None;
            shell.enter(state, Input::Tick, &mut touched);
            drop(touched);
            shell.cluster.flush();
        }
    }
}

#[cfg(test)]
#[path = "realm_tests.rs"]
mod tests;
