//! Roles, permissions, principals and credentials over gRPC: `proto/ringfort/admin/v1/access.proto` says what each call does.
//!
//! A change is checked here, goes into the log, and is answered once the nodes have put it in force, or after two seconds with the
//! names of those that have not said so. Credentials go in and never come out.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use ringfort_proto::admin::v1::{self as pb, principals_server::Principals, realms_server::Realms, roles_server::Roles};
use tonic::{Request, Response, Status};

use super::{caller::Caller, terms, told};
use crate::{
    audit::{Audit, Event},
    auth::{Clear, Credential, Principal, Secret},
    cluster::{
        Inspect,
        command::{Command, Outcome},
        leader::Error,
        lease::MAX_AUTHZ_STALENESS,
    },
    router::{
        Change, Changed, LogIndex, MatchPolicy, Policy, Right,
        policy::{self, Who},
    },
    session::realm::RealmHandle,
    wamp::Uri,
};

/// What the configuration of this node says of a realm, which the log does not change.
#[derive(Clone, Debug, Default)]
pub struct Fixed {
    /// Its roles.
    pub policy: Policy,
    /// Its principals, each with its role.
    pub principals: BTreeMap<String, String>,
}

/// The services.
#[derive(Clone)]
pub struct Access {
    inspect: Inspect,
    name: Arc<str>,
    audit: Audit,
    fixed: Arc<BTreeMap<Uri, Fixed>>,
}

/// How long a change waits for the nodes.
const CONFIRM_WITHIN: Duration = Duration::from_secs(2);
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Principals in one answer.
const PAGE: usize = 1_000;

type Reply<T> = Result<Response<T>, Status>;

impl Access {
    /// The services of the node `name`, whose changes are kept in `audit`.
    pub fn new(inspect: Inspect, name: &str, audit: Audit, fixed: BTreeMap<Uri, Fixed>) -> Self {
        Self {
            inspect,
            name: name.into(),
            audit,
            fixed: Arc::new(fixed),
        }
    }

    fn realm(&self, name: &str) -> Result<(RealmHandle, &Fixed), Status> {
        let fixed = self.fixed.get(name);
        let handle = self.inspect.shared.realm(&Uri::from(name));
        let found = handle.cloned().zip(fixed);
        found.ok_or_else(|| Status::not_found(format!("there is no realm {name}")))
    }

    /// Has the log make a change, and waits for the nodes. The audit log has on its disk that it was asked for before it is made, and
    /// what came of it before it is answered.
    async fn change(&self, caller: &Caller, realm: &str, change: Change, expected: Option<u64>) -> Reply<pb::ChangeReply> {
        let (handle, _) = self.realm(realm)?;
        let (kind, name) = change.describe();
        let before = handle.with_core(|core| told::standing(core.authority(), &change));
        let event = Event {
            admin: Some(caller.name.to_string()),
            source: Some(caller.source.ip()),
            realm: Some(realm.to_owned()),
            what: Some(format!("{kind} {name}")),
            before: Some(before),
            after: Some(told::wanted(&change)),
            ..Event::of("change")
        };
        let step = |step, event| Event {
            step: Some(step),
            ..event
        };
        if self.audit.is_open() {
            let asked = self.audit.commit(step("asked", event.clone())).await;
            asked.map_err(|error| Status::unavailable(format!("nothing was changed: {error}")))?;
        }
        let made = self.make(caller, realm, change, expected).await;
        if !self.audit.is_open() {
            return made;
        }
        let outcome = match &made {
            Ok(reply) => {
                let reply = reply.get_ref();
                Event {
                    revision: Some(reply.revision),
                    index: Some(reply.index),
                    unconfirmed: reply.unconfirmed.iter().map(|one| one.node.clone()).collect(),
                    ..step("done", event)
                }
            }
            Err(status) => Event {
                reason: Some(format!("{:?}: {}", status.code(), status.message())),
                ..step("failed", event)
            },
        };
        let noted = self.audit.commit(outcome).await;
        let text = |error| format!("what came of it could not be recorded, look before trying again: {error}");
        noted.map_err(|error| Status::unknown(text(error)))?;
        made
    }

    async fn make(&self, caller: &Caller, realm: &str, change: Change, expected: Option<u64>) -> Reply<pb::ChangeReply> {
        let (_, fixed) = self.realm(realm)?;
        change.check().map_err(Status::invalid_argument)?;
        let (kind, what) = change.describe();
        let stands = match &change {
            Change::PutRole { role, .. } | Change::RemoveRole { role } => fixed.policy.has_role(role),
            Change::PutPrincipal { principal } => fixed.principals.contains_key(&principal.authid),
            Change::RemovePrincipal { authid } => fixed.principals.contains_key(authid),
            Change::Seed { .. } => false,
        };
        if stands {
            let text = format!("{what} stands in the configuration of this node and is changed there");
            return Err(Status::failed_precondition(text));
        }
        tracing::info!(realm, kind, what, "a change of rights was asked for");
        let command = Command::Change {
            realm: Uri::from(realm),
            actor: format!("{} on {}", caller.name, self.name),
            request: policy::Request { change, expected },
        };
        let (index, outcome) = self.inspect.leader.propose(&command).await.map_err(refusal)?;
        let revision = match outcome {
            Outcome::Changed(Changed::Done(revision)) => revision,
            Outcome::Changed(Changed::Conflict(found)) => {
                return Err(Status::aborted(format!("it has revision {found} by now")));
            }
            Outcome::Changed(Changed::NotFound) => return Err(Status::not_found("there is nothing of that name")),
            Outcome::Changed(Changed::Full) => return Err(Status::resource_exhausted("the realm has as many as it can")),
            other => return Err(Status::internal(format!("the log answered {other:?}"))),
        };
        let (confirmed, unconfirmed) = self.wait_for_nodes(index).await;
        Ok(Response::new(pb::ChangeReply {
            revision,
            index,
            confirmed,
            unconfirmed,
        }))
    }

    /// Which of the member nodes have applied the log up to `index`, and which have not said so in time.
    pub(super) async fn wait_for_nodes(&self, index: LogIndex) -> (Vec<String>, Vec<pb::Unconfirmed>) {
        let until = Instant::now() + CONFIRM_WITHIN;
        loop {
            let table = Arc::clone(&self.inspect.view.borrow().table);
            let heard = self
                .inspect
                .heard
                .as_ref()
                .map(|heard| heard.borrow().clone())
                .unwrap_or_default();
            let own = *self.inspect.consensus.applied().borrow();
            let has = |name: &str| match heard.get(name) {
                _ if *name == *self.name => own >= index,
                Some(seen) => seen.vitals.applied >= index,
                None => false,
            };
            let names = table.live().map(|(_, row)| row.name.clone());
            let (confirmed, unconfirmed): (Vec<String>, Vec<String>) = names.partition(|name| has(name));
            if unconfirmed.is_empty() || Instant::now() >= until {
                let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                let stops_by = since + self.inspect.node_lease + MAX_AUTHZ_STALENESS;
                let stops_by_ms = u64::try_from(stops_by.as_millis()).unwrap_or(u64::MAX);
                let unconfirmed = unconfirmed.into_iter().map(|node| pb::Unconfirmed { node, stops_by_ms });
                return (confirmed, unconfirmed.collect());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

/// Who asks.
///
/// # Errors
/// The request came by another way than the admin port.
fn caller<T>(request: &Request<T>) -> Result<Caller, Status> {
    let caller = request.extensions().get::<Caller>().cloned();
    caller.ok_or_else(|| Status::unauthenticated("it is not known who asks"))
}

fn refusal(error: Error) -> Status {
    match error {
        Error::Unknown(_) | Error::Unreadable(_) => Status::unknown(error.to_string()),
        Error::NoLeader | Error::NotLeader | Error::Refused(_) => Status::unavailable(error.to_string()),
    }
}

#[tonic::async_trait]
impl Realms for Access {
    async fn list(&self, _: Request<pb::ListRealmsRequest>) -> Reply<pb::ListRealmsReply> {
        let realms = self.fixed.keys().filter_map(|name| {
            let handle = self.inspect.shared.realm(name)?;
            Some(handle.with_core(|core| {
                let authority = core.authority();
                pb::Realm {
                    name: name.to_string(),
                    revision: authority.revision(),
                    roles: core.policy().roles().count() as u64,
                    principals: authority.principals().count() as u64,
                }
            }))
        });
        let realms = realms.collect();
        Ok(Response::new(pb::ListRealmsReply { realms }))
    }
}

#[tonic::async_trait]
impl Roles for Access {
    async fn list(&self, request: Request<pb::ListRolesRequest>) -> Reply<pb::ListRolesReply> {
        let (handle, fixed) = self.realm(&request.get_ref().realm)?;
        let mut roles: Vec<pb::Role> = fixed
            .policy
            .roles()
            .map(|(name, role)| pb::Role {
                name: name.to_owned(),
                permissions: role.permissions().iter().map(terms::told).collect(),
                revision: 0,
                fixed: true,
            })
            .collect();
        handle.with_core(|core| {
            let changed = core.authority().roles().filter(|(name, _)| !fixed.policy.has_role(name));
            roles.extend(changed.map(|(name, row)| pb::Role {
                name: name.to_owned(),
                permissions: row.value.iter().map(terms::told).collect(),
                revision: row.revision,
                fixed: false,
            }));
        });
        Ok(Response::new(pb::ListRolesReply { roles }))
    }

    async fn put(&self, request: Request<pb::PutRoleRequest>) -> Reply<pb::ChangeReply> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let permissions = request.permissions.iter().map(terms::read).collect::<Result<_, _>>();
        let change = Change::PutRole {
            role: request.role,
            permissions: permissions.map_err(Status::invalid_argument)?,
        };
        self.change(&caller, &request.realm, change, request.expected).await
    }

    async fn remove(&self, request: Request<pb::RemoveRoleRequest>) -> Reply<pb::ChangeReply> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let change = Change::RemoveRole { role: request.role };
        self.change(&caller, &request.realm, change, request.expected).await
    }

    async fn why(&self, request: Request<pb::WhyRequest>) -> Reply<pb::WhyReply> {
        let request = request.into_inner();
        let (handle, fixed) = self.realm(&request.realm)?;
        let right =
            Right::from_name(&request.right).ok_or_else(|| Status::invalid_argument(format!("{} is no right", request.right)))?;
        let policy = match request.r#match.as_str() {
            "" => MatchPolicy::Exact,
            name => MatchPolicy::from_name(name)
                .ok_or_else(|| Status::invalid_argument("match is none of exact, prefix, wildcard"))?,
        };
        let explanation = handle.with_core(|core| {
            let of_log = core.authority().principal(&request.authid).map(|row| row.value.role.as_str());
            let of_file = fixed.principals.get(&request.authid).map(String::as_str);
            let given = Some(request.authrole.as_str()).filter(|role| !role.is_empty());
            let authrole = given.or(of_file).or(of_log)?;
            let who = Who {
                authid: &request.authid,
                authrole,
            };
            Some(core.policy().why(who, right, policy, &Uri::from(request.uri.as_str())))
        });
        let explanation = explanation
            .ok_or_else(|| Status::not_found(format!("{} is no principal of the realm: say its role", request.authid)))?;
        Ok(Response::new(pb::WhyReply {
            allowed: explanation.allowed,
            explanation: explanation.to_string(),
        }))
    }
}

#[tonic::async_trait]
impl Principals for Access {
    async fn list(&self, request: Request<pb::ListPrincipalsRequest>) -> Reply<pb::ListPrincipalsReply> {
        let request = request.into_inner();
        let (handle, fixed) = self.realm(&request.realm)?;
        let mut all: BTreeMap<String, pb::Principal> = BTreeMap::new();
        handle.with_core(|core| {
            let rows = core.authority().principals().filter(|row| row.value.authid > request.after);
            for row in rows.take(PAGE + 1) {
                let told = pb::Principal {
                    authid: row.value.authid.clone(),
                    role: row.value.role.clone(),
                    credentials: row.value.credentials.iter().map(|one| one.describe()).collect(),
                    revision: row.revision,
                    fixed: false,
                };
                all.insert(row.value.authid.clone(), told);
            }
        });
        for (authid, role) in fixed.principals.iter().filter(|(authid, _)| **authid > request.after) {
            let told = pb::Principal {
                authid: authid.clone(),
                role: role.clone(),
                credentials: Vec::new(),
                revision: 0,
                fixed: true,
            };
            all.insert(authid.clone(), told);
        }
        let more = all.len() > PAGE;
        let principals = all.into_values().take(PAGE).collect();
        Ok(Response::new(pb::ListPrincipalsReply { principals, more }))
    }

    async fn put(&self, request: Request<pb::PutPrincipalRequest>) -> Reply<pb::ChangeReply> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let credentials = request.credentials.into_iter().map(credential).collect::<Result<_, _>>()?;
        let principal = Principal {
            authid: request.authid,
            role: request.role,
            credentials,
        };
        self.change(&caller, &request.realm, Change::PutPrincipal { principal }, request.expected)
            .await
    }

    async fn remove(&self, request: Request<pb::RemovePrincipalRequest>) -> Reply<pb::ChangeReply> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let change = Change::RemovePrincipal { authid: request.authid };
        self.change(&caller, &request.realm, change, request.expected).await
    }
}

/// The verifier that is kept. What is wrong is said without what was given.
fn credential(given: pb::Credential) -> Result<Credential, Status> {
    use pb::credential::Credential as Given;
    match given.credential {
        Some(Given::Verifier(text)) => text.parse().map_err(|error| Status::invalid_argument(format!("{error}"))),
        Some(Given::Ticket(ticket)) if ticket.len() < TICKET_BYTES_MIN => {
            let text = format!("a ticket has at least {TICKET_BYTES_MIN} characters");
            Err(Status::invalid_argument(text))
        }
        Some(Given::Ticket(ticket)) => {
            let mut salt = [0; 16];
            getrandom::fill(&mut salt).map_err(|_| Status::unavailable("no randomness for a salt"))?;
            let clear = Clear::Ticket(Secret::new(ticket.as_bytes()));
            clear
                .credential(salt)
                .ok_or_else(|| Status::internal("the ticket cannot be hashed"))
        }
        None => Err(Status::invalid_argument("a credential that says nothing")),
    }
}

/// As in the configuration.
const TICKET_BYTES_MIN: usize = 8;
