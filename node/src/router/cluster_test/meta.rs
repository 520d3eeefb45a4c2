//! Meta calls and meta events in a random walk, and what they must say.

use std::collections::{BTreeMap, BTreeSet};

use super::{World, oracle::Oracle};
use crate::router::MatchPolicy;
use crate::wamp::{Dict, Message, Payload, PublicationId, RequestId, Serializer, SessionId, Uri, Value};

const EVENTS: [&str; 2] = ["wamp.session.on_leave", "wamp.session.on_join"];
const ON_DEFINE: &str = "wamp.reflect.on_define";

/// What is known of meta calls and meta events.
#[derive(Default)]
pub(super) struct MetaOracle {
    calls: BTreeMap<(SessionId, RequestId), MetaCall>,
    heard: BTreeSet<(SessionId, Uri, SessionId)>,
    /// Who has heard of whose join, and will have to hear of the end.
    owed: BTreeSet<(SessionId, SessionId)>,
    /// Who lost a subscription, maybe that of the ends.
    pub(super) revoked: BTreeSet<SessionId>,
    publications: BTreeMap<(Uri, SessionId), PublicationId>,
    /// Who has heard of which definition, and what it says.
    defined: BTreeSet<(SessionId, PublicationId)>,
    definitions: BTreeMap<PublicationId, Vec<Value>>,
}

/// A meta call without an answer.
enum MetaCall {
    List {
        /// Sessions whose WELCOME came before, on nodes to which the caller's node had a link.
        there: BTreeSet<SessionId>,
        /// Sessions that had ended before.
        gone: BTreeSet<SessionId>,
    },
    Kill(SessionId),
    Define,
}

impl World {
    /// Says of a procedure or topic what all that is sent there satisfies, or takes it back: the long way must lead where the short one
    /// does.
    pub(super) fn define(&mut self, a: usize, b: usize) {
        let Some(caller) = self.pick(a) else { return };
        let (uri, kind, message) = match b % 5 {
            0..=2 => (super::PROCEDURES[b % super::PROCEDURES.len()], "procedure", "call"),
            3 => ("com.", "procedure", "result"),
            _ => (super::TOPICS[b % super::TOPICS.len()], "topic", "event"),
        };
        let shape = Dict::new().with("args", Dict::new().with("minItems", (b / 8 % 2) as u64));
        let policy = if uri.ends_with('.') { "prefix" } else { "exact" };
        let about = Dict::new().with("type", kind).with("match", policy);
        let (procedure, about) = match b / 16 % 4 {
            0 => ("wamp.reflect.undefine", about),
            _ => ("wamp.reflect.define", about.with(message, shape)),
        };
        self.meta_call(caller, procedure, &[uri.into(), about.into()], MetaCall::Define);
    }

    pub(super) fn list_sessions(&mut self, a: usize) {
        let Some(caller) = self.pick(a) else { return };
        let here = self.oracle.node_of(caller);
        let linked = |session: &SessionId| {
            let node = self.oracle.node_of(*session);
            node == here || self.up.contains(&(here, node))
        };
        let there = self.oracle.living().into_iter().filter(linked).collect();
        let gone = self.oracle.ended();
        self.meta_call(caller, "wamp.session.list", &[], MetaCall::List { there, gone });
    }

    pub(super) fn kill_session(&mut self, a: usize, b: usize) {
        let (Some(caller), Some(victim)) = (self.pick(a), self.pick(b)) else {
            return;
        };
        self.meta_call(caller, "wamp.session.kill", &[victim.get().into()], MetaCall::Kill(victim));
    }

    fn meta_call(&mut self, caller: SessionId, procedure: &str, args: &[Value], call: MetaCall) {
        let request = self.oracle.next_request(caller);
        self.oracle.meta.calls.insert((caller, request), call);
        let message = Message::Call {
            request,
            options: Dict::new(),
            procedure: Uri::from(procedure),
            payload: Payload::from_values(Serializer::Json, args, &Dict::new()),
        };
        self.says_meta(caller, message);
    }

    pub(super) fn watch_sessions(&mut self, a: usize) {
        for topic in EVENTS {
            self.subscribe(a, (MatchPolicy::Exact, topic));
        }
        self.subscribe(a, (MatchPolicy::Exact, ON_DEFINE));
    }
}

impl Oracle {
    /// A RESULT or ERROR, if it is that of a meta call. `error`: its URI.
    pub(super) fn ends_meta_call(
        &mut self,
        caller: SessionId,
        request: RequestId,
        details: &Dict,
        answer: Result<&Payload, &Uri>,
    ) -> bool {
        let Some(call) = self.meta.calls.remove(&(caller, request)) else {
            return false;
        };
        match (call, answer) {
            (MetaCall::List { there, gone }, Ok(payload)) => {
                let args = payload.to_values().unwrap().0;
                let id = |value: &Value| SessionId::new(u64::try_from(value.as_integer().unwrap()).unwrap()).unwrap();
                let listed: BTreeSet<SessionId> = args[0].as_list().unwrap().iter().map(id).collect();
                if details.get("_missing").is_some() {
                    self.outcome("listed with nodes missing");
                    return true;
                }
                let living: BTreeSet<SessionId> = self.living().into_iter().collect();
                let must: BTreeSet<SessionId> = there.intersection(&living).copied().collect();
                assert!(must.is_subset(&listed), "{must:?} are not all in {listed:?}");
                assert!(gone.is_disjoint(&listed), "of {gone:?} some are in {listed:?}");
                self.outcome("listed exactly");
            }
            (MetaCall::Kill(victim), Ok(_)) => {
                assert!(!self.living().contains(&victim), "{victim} was killed and lives");
                self.outcome("killed");
            }
            (MetaCall::Define, Ok(payload)) => match &payload.to_values().unwrap().0[..] {
                [Value::Bool(true)] => self.outcome("defined anew"),
                [Value::Bool(false)] => self.outcome("defined otherwise"),
                [Value::Text(_)] => self.outcome("undefined"),
                [Value::Null] => self.outcome("defined already, or not at all"),
                other => panic!("a change of a definition yields {other:?}"),
            },
            (MetaCall::Define, Err(error)) => self.outcome(&format!("define {error}")),
            (MetaCall::Kill(_), Err(error)) => self.outcome(&format!("kill {error}")),
            (MetaCall::List { .. }, Err(error)) => panic!("a list fails with {error}"),
        }
        true
    }

    /// An EVENT of the router.
    pub(super) fn hears_of(&mut self, session: SessionId, topic: &Uri, publication: PublicationId, payload: &Payload) {
        let args = payload.to_values().unwrap().0;
        if &**topic == ON_DEFINE {
            // Each definition has one publication, wherever and however a node learns of it.
            assert!(
                self.meta.defined.insert((session, publication)),
                "{session} hears twice of a definition"
            );
            let known = self.meta.definitions.entry(publication).or_insert_with(|| args[..2].to_vec());
            assert_eq!(*known, args[..2], "two definitions under one publication");
            return self.outcome(topic);
        }
        let about = match &args[0] {
            Value::Dict(details) => details.get("session").cloned().unwrap(),
            id => id.clone(),
        };
        let about = SessionId::new(u64::try_from(about.as_integer().unwrap()).unwrap()).unwrap();
        assert!(
            self.meta.heard.insert((session, topic.clone(), about)),
            "{session} hears twice of {topic} of {about}"
        );
        if &**topic == EVENTS[1] {
            let left = (session, Uri::from(EVENTS[0]), about);
            assert!(
                !self.meta.heard.contains(&left),
                "{session} hears of the join of {about} after its end"
            );
        }
        if &**topic == EVENTS[1] && self.is_subscribed(session, EVENTS[0]) {
            self.meta.owed.insert((session, about));
        }
        let known = *self.meta.publications.entry((topic.clone(), about)).or_insert(publication);
        assert_eq!(known, publication, "two publications of {topic} of {about}");
        self.outcome(topic);
    }

    /// Everything has come to rest: who has heard of a join has heard of the end.
    pub(super) fn meta_is_complete(&self) {
        let living = self.living();
        for (session, about) in &self.meta.owed {
            if living.contains(session) && !self.meta.revoked.contains(session) && !living.contains(about) {
                let left = (*session, Uri::from(EVENTS[0]), *about);
                assert!(
                    self.meta.heard.contains(&left),
                    "{session} has not heard of the end of {about}"
                );
            }
        }
    }

    /// Meta calls of living sessions without an answer.
    pub(super) fn unanswered_meta(&self) -> Vec<String> {
        let living = self.living();
        let open = self.meta.calls.keys().filter(|(caller, _)| living.contains(caller));
        open.map(|(caller, request)| format!("meta CALL {request} of {caller}"))
            .collect()
    }
}
