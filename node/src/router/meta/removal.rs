//! `wamp.registration.remove_callee` and `wamp.subscription.remove_subscriber`: the router takes back what a session has.
//!
//! Spec: none; they are Crossbar's, and end registrations and subscriptions as WAMP advanced profile, "Registration Revocation" and
//! "Subscription Revocation", describe it. A callee is removed by the log, so the answer comes when it is gone on every node that has
//! come that far; a subscriber by its own node.

use super::{
    Args, Outcome, Own, Realm, Refusal,
    args::{invalid_uri, text},
};
use crate::{
    router::{
        Op,
        policy::About,
        registry::Registration,
        turn::{Turn, because},
    },
    wamp::{Dict, RegistrationId, SessionId, SubscriptionId, Uri, Value, error_uri},
};

/// What is taken from whom.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Request {
    /// A registration from one of its callees.
    Callee {
        registration: RegistrationId,
        session: SessionId,
        reason: String,
    },
    /// A subscription from one of its subscribers.
    Subscriber(Order),
}

/// What the nodes are told to do.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Order {
    subscription: SubscriptionId,
    session: SessionId,
    reason: String,
}

pub(super) fn parser(procedure: &str) -> Option<super::Parser> {
    match procedure {
        "wamp.registration.remove_callee" => Some(|args| {
            let (registration, session) = (args.registration()?, args.session()?);
            let reason = reason(args)?;
            let request = Request::Callee {
                registration,
                session,
                reason,
            };
            Ok(super::Request::Removal(request))
        }),
        "wamp.subscription.remove_subscriber" => Some(|args| {
            let (subscription, session) = (args.subscription()?, args.session()?);
            let reason = reason(args)?;
            let order = Order {
                subscription,
                session,
                reason,
            };
            Ok(super::Request::Removal(Request::Subscriber(order)))
        }),
        _ => None,
    }
}

/// The reason, positional or by keyword as Crossbar's clients give it.
///
/// Choice: it has to be a URI, as that of `wamp.session.kill`. Clients (autobahn-python) end their session on another, so whoever may
/// remove could end sessions by it.
fn reason(args: &mut Args) -> Result<String, Refusal> {
    let reason = args.optional().or_else(|| args.keyword("reason"));
    let reason = reason.map_or_else(|| Ok(error_uri::KILLED.to_owned()), |reason| text(reason, "reason"))?;
    if Uri::from(reason.as_str()).is_uri(args.check) {
        Ok(reason)
    } else {
        Err(invalid_uri("reason"))
    }
}

impl Order {
    pub(super) fn to_dict(&self) -> Dict {
        Dict::new()
            .with("subscription", self.subscription.get())
            .with("session", self.session.get())
            .with("reason", self.reason.as_str())
    }

    pub(super) fn from_dict(dict: &Dict) -> Option<Self> {
        let raw = |key: &str| u64::try_from(dict.get(key)?.as_integer()?).ok();
        Some(Self {
            subscription: SubscriptionId::new(raw("subscription")?)?,
            session: SessionId::new(raw("session")?)?,
            reason: dict.text("reason")?.to_owned(),
        })
    }
}

impl Realm {
    /// Has the log take a registration from a callee.
    pub(super) fn propose_removal(
        &mut self,
        turn: &mut Turn<'_>,
        asker: SessionId,
        registration: RegistrationId,
        session: SessionId,
        reason: &str,
    ) -> Result<(), Refusal> {
        let seen = |found: &&Registration| self.sees(asker, &About::Registration(found.policy, found.procedure.clone()));
        let Some(standing) = self.registry.registration(registration).filter(seen) else {
            return Err((error_uri::NO_SUCH_REGISTRATION, Dict::new()));
        };
        if !standing.callees.iter().any(|callee| callee.session == session) {
            let details = because("the session is no callee of that registration");
            return Err((error_uri::NO_SUCH_SESSION, details));
        }
        self.meta.note_proposed(session, Own::Removal(registration));
        turn.propose(Op::Revoke {
            registration,
            callee: Some(session),
            reason: reason.to_owned(),
        });
        Ok(())
    }

    /// Takes a subscription from a session of this node, if it is one and has it.
    pub(super) fn carry_out_removal(&mut self, turn: &mut Turn<'_>, order: &Order) -> Dict {
        let subscriber = self.sessions.get(order.session);
        if !subscriber.is_some_and(|session| session.subscriptions.contains_key(&order.subscription)) {
            return Dict::new();
        }
        self.revoke_here(turn, order.session, order.subscription, Uri::from(order.reason.as_str()));
        Dict::new().with("removed", true)
    }
}

/// The answer. `missing`: not all nodes, or not the log, have said what became of it.
pub(super) fn answer(request: &Request, answers: &[Dict], missing: bool) -> Outcome {
    let removed = match request {
        Request::Callee { .. } => !missing,
        Request::Subscriber(_) => answers
            .iter()
            .any(|answer| answer.get("removed").and_then(Value::as_bool) == Some(true)),
    };
    if removed {
        return Ok(Vec::new());
    }
    if missing {
        return Err((
            error_uri::UNAVAILABLE,
            because("not all nodes have answered, outcome unknown"),
        ));
    }
    Err((
        error_uri::NO_SUCH_SUBSCRIPTION,
        because("the session has no such subscription"),
    ))
}
