//! What a procedure of a client decides about: requests of roles with an authorizer that no permission decides.
//!
//! A denial of a permission stands, and so does an allowance; neither is asked about. Of the rest the authorizer is asked by a CALL:
//! session details, URI, action (`call`, `register`, `publish`, `subscribe`) and the options of the request. It answers true or false, or
//! `{allow, disclose, cache}`. While it is asked, the requests of that session wait in their order; its answers to invocations do not,
//! or an authorizer could wait for itself.
//!
//! What was decided is remembered with the session, bounded, for `authorizer_cache` or for that one request. Where there is no answer, or
//! none that can be read, the request is refused, and so are others like it for a second, lest each of many waits for the whole timeout.
//!
//! `ringfort.authorizer.invalidate` makes sessions forget what was decided about them, on all nodes; what they have subscribed to and
//! registered by such a decision is then asked about anew, and ends where it is not allowed any more.
//!
//! Invariants: nothing that no permission decides is done without an authorizer having allowed it to that session; requests of a session
//! are handled in the order in which they came; at most one question of a session is open.
//!
//! Spec: WAMP advanced profile, "Authorization", "Dynamic authorization" (a sketch); the signature is Crossbar's.

use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};

use super::{Right, known::Verdict};
use crate::{
    router::{Disclosure, Effect, MatchPolicy, Realm, SessionInfo, asker::Purpose, turn::Turn},
    wamp::{Dict, Message, Payload, Serializer, SessionId, Uri, UriCheck, Value},
};

/// What is asked about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::router) struct Key {
    pub(in crate::router) right: Right,
    pub(in crate::router) policy: MatchPolicy,
    pub(in crate::router) uri: Uri,
}

/// A question that is open.
#[derive(Debug)]
pub(in crate::router) struct Asked {
    session: SessionId,
    key: Key,
    /// What the session had been made to forget when it was asked.
    generation: u64,
    /// It is about what the session has already.
    standing: bool,
}

/// What was decided.
#[derive(Clone, Copy, Debug)]
struct Decision {
    allowed: bool,
    /// Nobody has decided.
    failed: bool,
    disclose: Option<Disclosure>,
    until: Instant,
    /// For the request that was asked about only.
    once: bool,
}

/// What a session of a role with an authorizer waits for and knows.
#[derive(Debug, Default)]
pub(in crate::router) struct Dynamic {
    /// Whom to ask; `None`: the role has none any more, and what waits goes on.
    pub(in crate::router) authorizer: Option<Uri>,
    decisions: HashMap<Key, Decision>,
    /// Requests that came since the first of them was asked about.
    waiting: VecDeque<Message>,
    waiting_bytes: usize,
    /// A question is open.
    asking: bool,
    /// What the session has and is to be asked about anew.
    standing: VecDeque<Key>,
    generation: u64,
}

/// Decisions that are remembered of a session.
const DECISIONS_MAX: usize = 512;
/// Requests of a session that wait, after which it is not read from.
const WAITING_SLOW: usize = 64;
/// Requests of a session that wait at most; then it ends.
const WAITING_MAX: usize = 4_096;
/// How long it counts that nobody has decided.
const FAILURE_COUNTS: Duration = Duration::from_secs(1);

impl Dynamic {
    /// Nothing is known.
    pub(in crate::router) fn new(authorizer: Option<Uri>) -> Self {
        Self {
            authorizer,
            ..Self::default()
        }
    }

    /// True if requests wait.
    pub(in crate::router) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// What was decided about a request that no permission decides.
    pub(in crate::router) fn verdict(&self, right: Right, policy: MatchPolicy, uri: &Uri) -> Verdict {
        let uri = uri.clone();
        let decision = self.decisions.get(&Key { right, policy, uri });
        Verdict {
            allowed: decision.is_some_and(|decision| decision.allowed),
            discloses: decision.is_some_and(|decision| decision.disclose.is_some()),
        }
    }

    /// True unless it was decided that it may not be.
    pub(in crate::router) fn lets_stand(&self, right: Right, policy: MatchPolicy, uri: &Uri) -> bool {
        let uri = uri.clone();
        let decision = self.decisions.get(&Key { right, policy, uri });
        self.authorizer.is_some() && decision.is_none_or(|decision| decision.allowed)
    }

    /// What was decided about the disclosure of a caller or publisher.
    pub(in crate::router) fn disclosure(&self, right: Right, uri: &str) -> Option<Disclosure> {
        let key = Key {
            right,
            policy: MatchPolicy::Exact,
            uri: Uri::from(uri),
        };
        self.decisions.get(&key).and_then(|decision| decision.disclose)
    }

    /// Takes over what a session waits for when its role changes.
    pub(in crate::router) fn succeed(&mut self, former: Self) {
        let authorizer = self.authorizer.take();
        *self = Self {
            authorizer,
            decisions: HashMap::new(),
            generation: former.generation + 1,
            ..former
        };
    }

    fn store(&mut self, now: Instant, key: Key, decision: Decision) {
        if self.decisions.len() >= DECISIONS_MAX {
            self.decisions.retain(|_, known| known.until > now);
        }
        if self.decisions.len() >= DECISIONS_MAX {
            self.decisions.clear();
        }
        self.decisions.insert(key, decision);
    }

    /// True if a decision is there that counts now. One that does not is forgotten.
    fn knows(&mut self, now: Instant, key: &Key) -> bool {
        match self.decisions.get(key) {
            Some(decision) if decision.once || decision.until > now => true,
            Some(_) => {
                self.decisions.remove(key);
                false
            }
            None => false,
        }
    }
}

/// What a message asks for, as far as an authorizer may be asked.
fn key_of(message: &Message) -> Option<Key> {
    let matching = |options: &Dict| match options.text("match") {
        None => Some(MatchPolicy::Exact),
        Some(name) => MatchPolicy::from_name(name),
    };
    let (right, policy, uri) = match message {
        Message::Call { procedure, .. } => (Right::Call, MatchPolicy::Exact, procedure),
        Message::Publish { topic, .. } => (Right::Publish, MatchPolicy::Exact, topic),
        Message::Subscribe { options, topic, .. } => (Right::Subscribe, matching(options)?, topic),
        Message::Register { options, procedure, .. } => (Right::Register, matching(options)?, procedure),
        _ => return None,
    };
    let uri = uri.clone();
    Some(Key { right, policy, uri })
}

/// The options of a request.
fn options_of(message: &Message) -> Dict {
    match message {
        Message::Call { options, .. }
        | Message::Publish { options, .. }
        | Message::Subscribe { options, .. }
        | Message::Register { options, .. } => options.clone(),
        _ => Dict::new(),
    }
}

/// True for what has to wait behind a request that is asked about.
fn is_request(message: &Message) -> bool {
    matches!(
        message,
        Message::Call { .. }
            | Message::Cancel { .. }
            | Message::Publish { .. }
            | Message::Subscribe { .. }
            | Message::Unsubscribe { .. }
            | Message::Register { .. }
            | Message::Unregister { .. }
    )
}

fn bytes_of(message: &Message) -> usize {
    let payload = match message {
        Message::Call { payload, .. } | Message::Publish { payload, .. } => payload.bytes().len(),
        _ => 0,
    };
    // What the rest takes is bounded by the length of a message; this is what it takes in nearly all.
    payload + 256
}

impl Realm {
    /// A message of a session whose role has an authorizer: it is handled, or waits.
    pub(in crate::router) fn on_message_in_question(&mut self, turn: &mut Turn<'_>, session: SessionId, message: Message) {
        let waits = self.dynamic(session).is_some_and(|dynamic| dynamic.is_waiting());
        if !is_request(&message) {
            return self.dispatch(turn, session, message);
        }
        if !waits && self.question(turn.now, session, &message).is_none() {
            return self.carry_on(turn, session, message);
        }
        let bytes_max = self.config.limits.parked_bytes_max;
        let Some(dynamic) = self.dynamic(session) else { return };
        dynamic.waiting_bytes += bytes_of(&message);
        dynamic.waiting.push_back(message);
        let (count, bytes) = (dynamic.waiting.len(), dynamic.waiting_bytes);
        if count > WAITING_MAX || bytes > bytes_max {
            self.abort(
                turn,
                session,
                "more requests than are taken while an authorizer is asked about the first",
            );
            return;
        }
        if count >= WAITING_SLOW {
            turn.effects.push(Effect::Flood { session, hold: true });
        }
        self.go_on(turn, session);
    }

    fn dynamic(&mut self, session: SessionId) -> Option<&mut Dynamic> {
        self.sessions.get_mut(session)?.may.dynamic()
    }

    /// What the authorizer is to be asked before a message is handled; `None`: nothing.
    fn question(&mut self, now: Instant, session: SessionId, message: &Message) -> Option<Key> {
        let key = key_of(message)?;
        let valid = match key.policy {
            MatchPolicy::Exact => key.uri.is_uri(UriCheck::Loose),
            MatchPolicy::Prefix => key.uri.is_prefix(UriCheck::Loose),
            MatchPolicy::Wildcard => key.uri.is_wildcard(UriCheck::Loose),
        };
        let asking = self.sessions.get_mut(session)?;
        if !valid || asking.may.is_decided(&asking.info, key.right, key.policy, &key.uri) {
            return None;
        }
        let dynamic = asking.may.dynamic()?;
        dynamic.authorizer.as_ref()?;
        (!dynamic.knows(now, &key)).then_some(key)
    }

    /// Handles what waits, as far as it was decided about, and asks about the next.
    fn go_on(&mut self, turn: &mut Turn<'_>, session: SessionId) {
        loop {
            let Some(dynamic) = self.dynamic(session).filter(|dynamic| !dynamic.asking) else {
                return;
            };
            let Some(message) = dynamic.waiting.pop_front() else { break };
            if let Some(key) = self.question(turn.now, session, &message) {
                let options = options_of(&message);
                if let Some(dynamic) = self.dynamic(session) {
                    dynamic.waiting.push_front(message);
                }
                return self.ask_authorizer(turn, session, key, options, false);
            }
            let Some(dynamic) = self.dynamic(session) else { return };
            dynamic.waiting_bytes = dynamic.waiting_bytes.saturating_sub(bytes_of(&message));
            if dynamic.waiting.len() + 1 == WAITING_SLOW {
                turn.effects.push(Effect::Flood { session, hold: false });
            }
            self.carry_on(turn, session, message);
        }
        // Nothing waits: what the session has is asked about, if it is to be.
        let Some(dynamic) = self.dynamic(session) else { return };
        if let Some(key) = dynamic.standing.pop_front() {
            let options = Dict::new().with("match", key.policy.name());
            self.ask_authorizer(turn, session, key, options, true);
        }
    }

    /// Handles a request about which everything is known.
    fn carry_on(&mut self, turn: &mut Turn<'_>, session: SessionId, message: Message) {
        let key = key_of(&message);
        let Some(asking) = self.sessions.get_mut(session) else {
            return;
        };
        let dynamic = asking.may.dynamic();
        let decision = key
            .as_ref()
            .zip(dynamic)
            .and_then(|(key, dynamic)| dynamic.decisions.get(key).copied());
        self.undecided = decision.is_some_and(|decision| decision.failed);
        self.dispatch(turn, session, message);
        self.undecided = false;
        if let (Some(key), Some(decision)) = (key, decision)
            && decision.once
            && let Some(dynamic) = self.dynamic(session)
        {
            dynamic.decisions.remove(&key);
        }
    }

    fn ask_authorizer(&mut self, turn: &mut Turn<'_>, session: SessionId, key: Key, options: Dict, standing: bool) {
        let realm = self.config.name.clone();
        let Some(asking) = self.sessions.get_mut(session) else {
            return;
        };
        let details = details_of(&realm, session, &asking.info);
        let Some(dynamic) = asking.may.dynamic() else { return };
        let Some(authorizer) = dynamic.authorizer.clone() else {
            return;
        };
        dynamic.asking = true;
        let args = [
            Value::from(details),
            Value::from(&*key.uri),
            Value::from(key.right.name()),
            Value::from(options),
        ];
        let asked = Asked {
            session,
            generation: dynamic.generation,
            key,
            standing,
        };
        let payload = Payload::from_values(Serializer::Cbor, &args, &Dict::new());
        let timeout = self.config.authorizer_timeout;
        self.ask(turn, authorizer, payload, timeout, Purpose::Authorize(Box::new(asked)));
    }

    /// The authorizer has answered, or not.
    pub(in crate::router) fn on_decision(&mut self, turn: &mut Turn<'_>, asked: Asked, outcome: Result<Payload, Uri>) {
        let cache = self.config.authorizer_cache;
        let Asked {
            session,
            key,
            generation,
            standing,
        } = asked;
        let now = turn.now;
        let Some(dynamic) = self.dynamic(session) else { return };
        dynamic.asking = false;
        if dynamic.generation != generation {
            // It may have decided before it was told otherwise: it is asked again.
            if standing {
                dynamic.standing.push_back(key);
            }
            return self.go_on(turn, session);
        }
        let decision = outcome.ok().and_then(|payload| read(&payload));
        let decision = match decision {
            Some((allowed, disclose, cached)) => Decision {
                allowed,
                failed: false,
                disclose,
                until: now + cache,
                once: !cached || cache.is_zero(),
            },
            None => {
                self.stats.undecided += 1;
                Decision {
                    allowed: false,
                    failed: true,
                    disclose: None,
                    until: now + FAILURE_COUNTS,
                    once: false,
                }
            }
        };
        if let Some(dynamic) = self.dynamic(session) {
            dynamic.store(now, key.clone(), decision);
        }
        if standing {
            if !decision.allowed {
                self.end_unauthorized_subscriptions(turn, session);
                self.end_unauthorized_registrations(turn, session);
            }
            if let Some(dynamic) = self.dynamic(session).filter(|_| decision.once) {
                dynamic.decisions.remove(&key);
            }
        }
        self.go_on(turn, session);
    }

    /// Sessions of this node forget what was decided about them: those of a principal, or all. Returns how many.
    pub(in crate::router) fn forget_decisions(&mut self, turn: &mut Turn<'_>, authid: Option<&str>) -> u64 {
        let mut count = 0;
        for session in self.sessions.ids() {
            let Some(asking) = self.sessions.get(session) else { continue };
            let meant = authid.is_none_or(|authid| authid == asking.info.authid);
            if !meant || !asking.may.asks() {
                continue;
            }
            let standing = self.standing_in_question(session);
            let Some(dynamic) = self.dynamic(session) else { continue };
            count += 1;
            dynamic.generation += 1;
            dynamic.decisions.clear();
            dynamic.standing = standing;
            self.go_on(turn, session);
        }
        count
    }
}

/// Who asks, as Crossbar's authorizers expect it.
fn details_of(realm: &Uri, session: SessionId, info: &SessionInfo) -> Dict {
    Dict::new()
        .with("realm", &**realm)
        .with("session", session.get())
        .with("authid", info.authid.as_str())
        .with("authrole", info.authrole.as_str())
        .with("authmethod", info.authmethod.as_str())
        .with("authprovider", info.authprovider.as_str())
}

/// Reads an answer: whether it is allowed, what is said about disclosure, whether it may be remembered. `None`: it is no answer.
fn read(payload: &Payload) -> Option<(bool, Option<Disclosure>, bool)> {
    let (args, kwargs) = payload.to_values().ok()?;
    let dict = match args.first() {
        Some(Value::Bool(allowed)) => return Some((*allowed, None, true)),
        Some(Value::Dict(dict)) => dict,
        Some(_) => return None,
        None => &kwargs,
    };
    let disclose = match dict.get("disclose") {
        Some(Value::Bool(true)) => Some(Disclosure::Always),
        _ => None,
    };
    let cache = dict.bool("cache").unwrap_or(true);
    Some((dict.bool("allow")?, disclose, cache))
}
