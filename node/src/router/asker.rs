//! The router as a caller: questions to procedures that clients have registered.
//!
//! Who comes in may be decided by such a procedure, and who may do what (`realm.authenticator`, `realm.authorizer`). The router calls it
//! as anybody would, so it may be registered on any node, by a pattern, by several callees. It does so as a session that exists in
//! this node's table only: no log, no meta API and no other node knows of it, it may call everything, and it never ends. What it is
//! answered is taken out of the effects before they leave the core.
//!
//! Invariants: each question gets exactly one answer, after its timeout at the latest; the session of [`asker`] has an open or parked call
//! for each open question and no other.

use std::{collections::BTreeMap, time::Duration};

use super::{Compat, Effect, Realm, SessionInfo, TimeoutUnit, policy::Asked, policy::May, turn::Turn};
use crate::wamp::{Dict, Message, Payload, RequestId, SessionId, Uri, id::ID_MAX};

/// The router's own session on each node.
///
/// Choice: the last id of the range. That a client draws it has a chance of one in 2^53, and then it is not let in.
pub(super) fn asker() -> SessionId {
    SessionId::new(ID_MAX).expect("ID_MAX lies in the id range")
}

/// A question of the shell.
#[derive(Clone, Debug, PartialEq)]
pub struct Ask {
    /// The shell's number for it.
    pub ticket: u64,
    /// What is called.
    pub procedure: Uri,
    /// With what.
    pub payload: Payload,
    /// How long the answer may take.
    pub timeout: Duration,
}

/// The answer: what the procedure yielded, or the error it ended with.
#[derive(Clone, Debug, PartialEq)]
pub struct Answered {
    /// The number of the question.
    pub ticket: u64,
    /// What came of it.
    pub outcome: Result<Payload, Uri>,
}

/// The open questions of a realm.
#[derive(Debug, Default)]
pub(super) struct Asker {
    open: BTreeMap<RequestId, Purpose>,
    last: u64,
}

/// What an answer is for.
#[derive(Debug)]
pub(super) enum Purpose {
    /// The shell has asked.
    Shell { ticket: u64 },
    /// A session wants to do something.
    Authorize(Box<Asked>),
}

impl Asker {
    /// How many questions are open.
    pub(super) fn open(&self) -> usize {
        self.open.len()
    }
}

impl Realm {
    /// True while procedures of clients are asked: any answer may let requests go on that waited for it.
    pub fn awaits_answers(&self) -> bool {
        self.asker.open() > 0
    }

    /// The shell asks.
    pub(super) fn on_ask(&mut self, turn: &mut Turn<'_>, ask: Ask) {
        let purpose = Purpose::Shell { ticket: ask.ticket };
        self.ask(turn, ask.procedure, ask.payload, ask.timeout, purpose);
    }

    /// Calls a procedure of a client in the router's own name.
    pub(super) fn ask(&mut self, turn: &mut Turn<'_>, procedure: Uri, payload: Payload, timeout: Duration, purpose: Purpose) {
        if self.sessions.get(asker()).is_none() {
            let info = SessionInfo {
                authid: "ringfort".to_owned(),
                authrole: "ringfort".to_owned(),
                authmethod: "router".to_owned(),
                authprovider: "router".to_owned(),
                trustlevel: None,
                features: Vec::new(),
                compat: Compat {
                    timeout_unit: Some(TimeoutUnit::Milliseconds),
                    ..Compat::default()
                },
                pools: crate::router::Pools::default(),
                whence: None,
            };
            self.sessions.add(asker(), info, May::everything(), &self.config);
        }
        self.asker.last += 1;
        // 2^53 questions are out of reach.
        let Some(request) = RequestId::new(self.asker.last) else {
            return;
        };
        self.asker.open.insert(request, purpose);
        self.stats.questions += 1;
        let millis = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX).max(1);
        // With a time limit a call has a record of its own, so it never takes the short way past the effects.
        let options = Dict::new().with("timeout", millis);
        self.on_call(turn, asker(), request, &options, procedure, payload);
    }

    /// Takes the answers to open questions out of the effects, and acts on them. They may lead to further questions.
    pub(super) fn hear_answers(&mut self, turn: &mut Turn<'_>) {
        while self.asker.open() > 0 {
            let to_asker = |effect: &Effect| matches!(effect, Effect::Send { session, .. } if *session == asker());
            let Some(at) = turn.effects.iter().position(to_asker) else {
                return;
            };
            let Effect::Send { message, .. } = turn.effects.remove(at) else {
                return;
            };
            let (request, outcome) = match message {
                Message::Result { request, payload, .. } => (request, Ok(payload)),
                Message::Error { request, error, .. } => (request, Err(error)),
                // Nothing else is sent to somebody who only calls.
                _ => continue,
            };
            match self.asker.open.remove(&request) {
                Some(Purpose::Shell { ticket }) => {
                    let answered = Answered { ticket, outcome };
                    turn.effects.push(Effect::Answered(Box::new(answered)));
                }
                Some(Purpose::Authorize(asked)) => self.on_decision(turn, *asked, outcome),
                None => {}
            }
        }
    }
}
