//! `wamp.registration.list`, `.lookup`, `.match`, `.get`, `.list_callees` and `.count_callees`.
//!
//! Spec: WAMP advanced profile, "Registration Meta API".

use super::{Outcome, Realm, time::iso_8601};
use crate::{
    router::{MatchPolicy, policy::About, registry::Registration},
    wamp::{Dict, RegistrationId, SessionId, Uri, Value, error_uri},
};

/// A question about registrations.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Request {
    /// All ids, or those of one callee, by match policy.
    List { callee: Option<SessionId> },
    /// The registration of a URI under a policy.
    Lookup { procedure: Uri, policy: MatchPolicy },
    /// The registration that a CALL would go to.
    Match { procedure: Uri },
    /// What one is.
    Get { registration: RegistrationId },
    /// Who answers it.
    ListCallees { registration: RegistrationId },
    /// How many answer it.
    CountCallees { registration: RegistrationId },
}

pub(super) fn parser(procedure: &str) -> Option<super::Parser> {
    use super::Request::Registration as Of;
    match procedure {
        "wamp.registration.list" => Some(|args| {
            let callee = args.optional_session()?;
            Ok(Of(Request::List { callee }))
        }),
        "wamp.registration.lookup" => Some(|args| {
            let (procedure, policy) = args.uri_and_match("procedure")?;
            Ok(Of(Request::Lookup { procedure, policy }))
        }),
        "wamp.registration.match" => Some(|args| {
            let procedure = args.uri("procedure")?;
            Ok(Of(Request::Match { procedure }))
        }),
        "wamp.registration.get" => Some(|args| {
            let registration = args.registration()?;
            Ok(Of(Request::Get { registration }))
        }),
        "wamp.registration.list_callees" => Some(|args| {
            let registration = args.registration()?;
            Ok(Of(Request::ListCallees { registration }))
        }),
        "wamp.registration.count_callees" => Some(|args| {
            let registration = args.registration()?;
            Ok(Of(Request::CountCallees { registration }))
        }),
        _ => None,
    }
}

impl Realm {
    /// What a session may not know of is not there for it.
    pub(super) fn answer_registration(&self, asker: SessionId, request: &Request) -> Outcome {
        let seen = |found: &&Registration| {
            let about = About::Registration(found.policy, found.procedure.clone());
            self.sees(asker, &about)
        };
        let id_or_null = |found: Option<&Registration>| vec![found.filter(seen).map_or(Value::Null, |r| Value::from(r.id.get()))];
        let existing = |id: RegistrationId| {
            let found = self.registry.registration(id).filter(seen);
            found.ok_or_else(|| (error_uri::NO_SUCH_REGISTRATION, Dict::new()))
        };
        Ok(match request {
            Request::List { callee } => {
                let is_its = |found: &&Registration| {
                    let callees = || found.callees.iter().map(|callee| callee.session);
                    callee.is_none_or(|of| callees().any(|session| session == of))
                };
                let mut lists: [(MatchPolicy, Vec<Value>); 3] =
                    [MatchPolicy::Exact, MatchPolicy::Prefix, MatchPolicy::Wildcard].map(|policy| (policy, Vec::new()));
                for registration in self.registry.registrations().filter(is_its).filter(seen) {
                    for (policy, list) in &mut lists {
                        if registration.policy == *policy {
                            list.push(Value::from(registration.id.get()));
                        }
                    }
                }
                let entries = lists
                    .into_iter()
                    .map(|(policy, list)| (policy.name().to_owned(), list.into()));
                vec![Dict(entries.collect()).into()]
            }
            Request::Lookup { procedure, policy } => id_or_null(self.registry.lookup_pattern(*policy, procedure)),
            Request::Match { procedure } => id_or_null(self.registry.best_match(procedure)),
            Request::Get { registration } => vec![details(existing(*registration)?).into()],
            Request::ListCallees { registration } => {
                let callees = &existing(*registration)?.callees;
                let ids: Vec<Value> = callees.iter().map(|callee| Value::from(callee.session.get())).collect();
                vec![ids.into()]
            }
            Request::CountCallees { registration } => vec![Value::from(existing(*registration)?.callees.len() as u64)],
        })
    }
}

/// What `wamp.registration.get` and `wamp.registration.on_create` tell of a registration.
pub(super) fn details(registration: &Registration) -> Dict {
    Dict::new()
        .with("id", registration.id.get())
        .with("created", iso_8601(registration.created_ms))
        .with("uri", registration.procedure.as_str())
        .with("match", registration.policy.name())
        .with("invoke", registration.invoke.name())
}
