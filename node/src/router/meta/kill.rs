//! `wamp.session.kill`, `.kill_by_authid`, `.kill_by_authrole` and `.kill_all`, on every node.
//!
//! Each node ends the sessions that it has itself, by what it knows of them itself: a session that the log does not know yet is
//! killed too. The caller's own session is never among them.
//!
//! Spec: WAMP advanced profile, "Session Meta API".
//! Choice: closing all sessions is told to nobody, as the text says; the ends of sessions killed in other ways are meta events.

use std::time::Instant;

use super::{
    Args, Outcome, Realm, Refusal,
    args::{invalid_uri, text},
};
use crate::{
    router::{
        Effect, Op, SessionInfo,
        compat::MetaResults,
        turn::{Turn, because},
    },
    wamp::{Dict, Message, SessionId, Uri, Value, error_uri},
};

/// Which sessions.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Whom {
    /// One.
    Session(SessionId),
    /// All of a name.
    Authid(String),
    /// All of a role.
    Authrole(String),
    /// All.
    All,
}

/// A call of one of the procedures.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Request {
    whom: Whom,
    reason: Uri,
    message: Option<String>,
}

/// What the nodes are told to do.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Order {
    request: Request,
    /// Whose order it is.
    caller: SessionId,
}

pub(super) fn parser(procedure: &str) -> Option<super::Parser> {
    match procedure {
        "wamp.session.kill" => Some(|args| {
            let whom = Whom::Session(args.session()?);
            request(whom, args)
        }),
        "wamp.session.kill_by_authid" => Some(|args| {
            let whom = Whom::Authid(args.text("authid")?);
            request(whom, args)
        }),
        "wamp.session.kill_by_authrole" => Some(|args| {
            let whom = Whom::Authrole(args.text("authrole")?);
            request(whom, args)
        }),
        "wamp.session.kill_all" => Some(|args| request(Whom::All, args)),
        _ => None,
    }
}

fn request(whom: Whom, args: &mut Args) -> Result<super::Request, Refusal> {
    let reason = match args.keyword("reason") {
        None => Uri::from(error_uri::KILLED),
        Some(Value::Text(reason)) => Uri::new(reason),
        Some(_) => return Err(invalid_uri("reason")),
    };
    if !reason.is_uri(args.check) {
        return Err(invalid_uri("reason"));
    }
    let message = args.keyword("message").map(|value| text(value, "message")).transpose()?;
    Ok(super::Request::Kill(Request { whom, reason, message }))
}

impl Request {
    pub(super) fn order(&self, caller: SessionId) -> Order {
        Order {
            request: self.clone(),
            caller,
        }
    }
}

impl Order {
    pub(super) fn to_dict(&self) -> Dict {
        let dict = Dict::new()
            .with("caller", self.caller.get())
            .with("reason", self.request.reason.as_str());
        let dict = match &self.request.message {
            Some(message) => dict.with("message", message.as_str()),
            None => dict,
        };
        match &self.request.whom {
            Whom::Session(session) => dict.with("session", session.get()),
            Whom::Authid(authid) => dict.with("authid", authid.as_str()),
            Whom::Authrole(authrole) => dict.with("authrole", authrole.as_str()),
            Whom::All => dict,
        }
    }

    pub(super) fn from_dict(dict: &Dict) -> Option<Self> {
        let session = |value: &Value| SessionId::new(u64::try_from(value.as_integer()?).ok()?);
        let whom = match (dict.get("session"), dict.text("authid"), dict.text("authrole")) {
            (Some(id), _, _) => Whom::Session(session(id)?),
            (None, Some(authid), _) => Whom::Authid(authid.to_owned()),
            (None, None, Some(authrole)) => Whom::Authrole(authrole.to_owned()),
            (None, None, None) => Whom::All,
        };
        let request = Request {
            whom,
            reason: Uri::from(dict.text("reason")?),
            message: dict.text("message").map(str::to_owned),
        };
        let caller = session(dict.get("caller")?)?;
        Some(Self { request, caller })
    }

    fn is_for(&self, session: SessionId, info: &SessionInfo) -> bool {
        session != self.caller
            && match &self.request.whom {
                Whom::Session(id) => *id == session,
                Whom::Authid(authid) => *authid == info.authid,
                Whom::Authrole(authrole) => *authrole == info.authrole,
                Whom::All => true,
            }
    }
}

impl Realm {
    /// Ends the sessions of this node that an order is for; tells which they were.
    pub(super) fn carry_out_kill(&mut self, turn: &mut Turn<'_>, order: &Order) -> Dict {
        let there = match order.request.whom {
            Whom::Session(session) => vec![session],
            _ => self.sessions.ids(),
        };
        let is_for = |id: &SessionId| self.sessions.get(*id).is_some_and(|s| order.is_for(*id, &s.info));
        let victims: Vec<SessionId> = there.into_iter().filter(is_for).collect();
        let mut killed = Vec::with_capacity(victims.len());
        for session in victims {
            if order.request.whom == Whom::All {
                turn.propose(Op::Hush { session });
            }
            self.kill_session(turn, session, &order.request.reason, order.request.message.as_deref());
            killed.push(Value::from(session.get()));
        }
        Dict::new().with("killed", killed)
    }

    fn kill_session(&mut self, turn: &mut Turn<'_>, session: SessionId, reason: &Uri, message: Option<&str>) {
        let goodbye = Message::Goodbye {
            details: message.map(because).unwrap_or_default(),
            reason: reason.clone(),
        };
        turn.effects.push(Effect::Kill { session, goodbye });
        self.detach(turn, session);
        self.stats.sessions_killed += 1;
    }

    /// Ends sessions of this node because an operator wants it; those that are gone already are passed over. Returns how many it ended.
    pub fn end_sessions(
        &mut self,
        now: Instant,
        sessions: &[SessionId],
        reason: &Uri,
        message: Option<&str>,
        effects: &mut Vec<Effect>,
    ) -> usize {
        let turn = &mut Turn { now, effects };
        let mut ended = 0;
        for session in sessions {
            if self.sessions.get(*session).is_some() {
                self.kill_session(turn, *session, reason, message);
                ended += 1;
            }
        }
        self.hear_answers(turn);
        self.start_wanted_barrier(turn);
        ended
    }
}

/// The answer, from what the nodes say that they have ended. `missing`: not all of them have said it.
///
/// Choice: where the text has a number and Crossbar the sessions themselves, the caller's listener says which.
pub(super) fn answer(request: &Request, answers: &[Dict], missing: bool, form: MetaResults) -> Outcome {
    let mut killed: Vec<i128> = answers
        .iter()
        .filter_map(|answer| answer.get("killed").and_then(Value::as_list))
        .flatten()
        .filter_map(Value::as_integer)
        .collect();
    killed.sort_unstable();
    match request.whom {
        Whom::Session(_) if !killed.is_empty() => Ok(Vec::new()),
        // A node that has not answered may have had it, and may have ended it.
        Whom::Session(_) if missing => {
            let details = because("not every node has answered: whether the session was there is unknown");
            Err((error_uri::UNAVAILABLE, details))
        }
        Whom::Session(_) => Err((error_uri::NO_SUCH_SESSION, Dict::new())),
        Whom::Authrole(_) | Whom::All if form == MetaResults::Wamp => Ok(vec![Value::from(killed.len() as u64)]),
        Whom::Authid(_) | Whom::Authrole(_) | Whom::All => {
            Ok(vec![killed.into_iter().map(Value::Integer).collect::<Vec<_>>().into()])
        }
    }
}
