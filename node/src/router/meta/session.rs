//! `wamp.session.count`, `.list` and `.get`.
//!
//! Spec: WAMP advanced profile, "Session Meta API".

use super::{Outcome, Realm};
use crate::{
    router::registry::SessionRow,
    wamp::{Dict, SessionId, Value, error_uri},
};

/// A question about sessions.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Request {
    /// How many there are, in all or of some roles.
    Count { authroles: Option<Vec<String>> },
    /// Which there are, in all or of some roles.
    List { authroles: Option<Vec<String>> },
    /// Who one is.
    Get { session: SessionId },
}

pub(super) fn parser(procedure: &str) -> Option<super::Parser> {
    match procedure {
        "wamp.session.count" => Some(|args| {
            let authroles = args.optional_texts("filter_authroles")?;
            Ok(super::Request::Session(Request::Count { authroles }))
        }),
        "wamp.session.list" => Some(|args| {
            let authroles = args.optional_texts("filter_authroles")?;
            Ok(super::Request::Session(Request::List { authroles }))
        }),
        "wamp.session.get" => Some(|args| {
            let session = args.session()?;
            Ok(super::Request::Session(Request::Get { session }))
        }),
        _ => None,
    }
}

impl Realm {
    pub(super) fn answer_session(&self, request: &Request) -> Outcome {
        let of_role = |roles: &Option<Vec<String>>, row: &SessionRow| roles.as_ref().is_none_or(|r| r.contains(&row.authrole));
        match request {
            Request::Count { authroles } => {
                let count = match authroles {
                    None => self.registry.sessions().len(),
                    _ => self.registry.sessions().filter(|(_, row)| of_role(authroles, row)).count(),
                };
                Ok(vec![Value::from(count as u64)])
            }
            Request::List { authroles } => {
                let sessions = self.registry.sessions().filter(|(_, row)| of_role(authroles, row));
                let ids: Vec<Value> = sessions.map(|(id, _)| Value::from(id.get())).collect();
                Ok(vec![ids.into()])
            }
            Request::Get { session } => match self.registry.session(*session) {
                Some(row) => Ok(vec![details(*session, row).into()]),
                None => Err((error_uri::NO_SUCH_SESSION, Dict::new())),
            },
        }
    }
}

/// What `wamp.session.get` and `wamp.session.on_join` tell of a session.
pub(super) fn details(session: SessionId, row: &SessionRow) -> Dict {
    Dict::new()
        .with("session", session.get())
        .with("authid", row.authid.as_str())
        .with("authrole", row.authrole.as_str())
        .with("authmethod", row.authmethod.as_str())
        .with("authprovider", row.authprovider.as_str())
}
