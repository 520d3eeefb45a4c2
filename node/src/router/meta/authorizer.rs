//! `ringfort.authorizer.invalidate`: sessions forget what authorizers have decided about them, on every node.
//!
//! Spec: none. Without it a decision counts until its time is over (`realm.authorizer_cache_secs`), or as long as what stands on it.

use super::{Outcome, Realm, Refusal, args::text};
use crate::{
    router::turn::Turn,
    wamp::{Dict, Value},
};

/// Whose decisions are forgotten.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Order {
    /// Of all sessions of that name; `None`: of all.
    authid: Option<String>,
}

pub(super) fn parser(procedure: &str) -> Option<super::Parser> {
    if procedure != "ringfort.authorizer.invalidate" {
        return None;
    }
    Some(|args| {
        let authid = args.optional().or_else(|| args.keyword("authid"));
        let authid: Result<Option<String>, Refusal> = authid.map(|authid| text(authid, "authid")).transpose();
        Ok(super::Request::Authorizer(Order { authid: authid? }))
    })
}

impl Order {
    pub(super) fn to_dict(&self) -> Dict {
        match &self.authid {
            Some(authid) => Dict::new().with("authid", authid.as_str()),
            None => Dict::new(),
        }
    }

    pub(super) fn from_dict(dict: &Dict) -> Option<Self> {
        let authid = match dict.get("authid") {
            None => None,
            Some(authid) => Some(authid.as_text()?.to_owned()),
        };
        Some(Self { authid })
    }
}

impl Realm {
    /// This node's part.
    pub(super) fn carry_out_invalidation(&mut self, turn: &mut Turn<'_>, order: &Order) -> Dict {
        let count = self.forget_decisions(turn, order.authid.as_deref());
        Dict::new().with("sessions", count)
    }
}

/// The answer: how many sessions have forgotten. Nodes that have not answered are named beside it.
pub(super) fn answer(answers: &[Dict]) -> Outcome {
    let of = |answer: &Dict| answer.get("sessions").and_then(Value::as_integer).unwrap_or(0);
    let count: i128 = answers.iter().map(of).fold(0, i128::saturating_add);
    Ok(vec![Value::Integer(count)])
}
