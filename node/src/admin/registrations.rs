//! Registrations over gRPC: `proto/ringfort/admin/v1/registrations.proto`.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use ringfort_proto::{
    admin::v1::{self as pb, registrations_server::Registrations},
    cluster::v1::{CalleesOf, answer::Answer, question::Question},
};
use serde_json::json;
use tonic::{Code, Request, Response, Status};

use super::{
    access::Access,
    look::{Look, caller, policy},
    page::{self, Place},
    refusal::{invalid, not_found, refusal},
    sessions::session_id,
};
use crate::{
    audit::Event,
    cluster::member::Stage,
    router::{Effect, Op, Registry, registry::Registration},
    session::realm::RealmHandle,
    wamp::{RegistrationId, SessionId, Uri, UriCheck, error_uri},
};

/// The service.
#[derive(Clone)]
pub(super) struct Service {
    pub(super) look: Look,
    /// Waits for nodes as other changes do.
    pub(super) access: Access,
}

/// Callees in one answer.
const CALLEES_MAX: usize = 1_000;
/// How long a removal may take to come back from the log.
const APPLIED_WITHIN: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(10);

type Reply<T> = Result<Response<T>, Status>;

fn place(registration: &pb::Registration) -> Place {
    Place {
        realm: registration.realm.clone(),
        id: registration.id,
    }
}

impl Service {
    fn told(&self, realm: &RealmHandle, registration: &Registration) -> pb::Registration {
        let lives: BTreeSet<_> = registration.callees.iter().map(|callee| callee.node).collect();
        pb::Registration {
            id: registration.id.get(),
            realm: realm.name().to_string(),
            uri: registration.procedure.to_string(),
            r#match: registration.policy.name().to_owned(),
            invoke: registration.invoke.name().to_owned(),
            created_ms: registration.created_ms,
            callees: registration.callees.len() as u64,
            nodes: lives
                .into_iter()
                .map(|life| self.look.inspect.fellows.name_of(life))
                .collect(),
        }
    }

    /// A callee as the log has it.
    fn callee(&self, registry: &Registry, session: SessionId) -> Option<pb::Callee> {
        let row = registry.session(session)?;
        Some(pb::Callee {
            session: session.get(),
            node: self.look.inspect.fellows.name_of(row.node),
            authid: row.authid.clone(),
            state: None,
        })
    }
}

fn no_such(realm: &RealmHandle, what: &str) -> Status {
    not_found(
        &format!("there is no registration {what} in realm {}", realm.name()),
        "list those there are",
    )
}

#[tonic::async_trait]
impl Registrations for Service {
    async fn list(&self, request: Request<pb::ListRegistrationsRequest>) -> Reply<pb::ListRegistrationsReply> {
        let filter = request.get_ref();
        let size = page::size(filter.page_size);
        let from = Place::read(&filter.page_token)?;
        let index = *self.look.inspect.consensus.applied().borrow();
        let lives = self.look.lives(&filter.node)?;
        let wanted = |one: &Registration| {
            one.procedure.starts_with(&filter.uri_prefix)
                && (filter.node.is_empty() || one.callees.iter().any(|callee| lives.contains(&callee.node)))
        };
        let mut registrations: Vec<pb::Registration> = Vec::new();
        for realm in self.look.realms(&filter.realm)? {
            let Some(after) = Place::after(from.as_ref(), realm.name()) else {
                continue;
            };
            let (after, room) = (after.and_then(RegistrationId::new), size + 1 - registrations.len());
            let found = realm.with_core(|core| {
                let ids = core.registry().registrations_after(after, room, wanted);
                let found = ids.into_iter().filter_map(|id| core.registry().registration(id));
                found.map(|registration| self.told(&realm, registration)).collect::<Vec<_>>()
            });
            registrations.extend(found);
            if registrations.len() > size {
                break;
            }
        }
        let next_page_token = page::cut(&mut registrations, size, place);
        Ok(Response::new(pb::ListRegistrationsReply {
            registrations,
            next_page_token,
            index,
        }))
    }

    async fn get(&self, request: Request<pb::GetRegistrationRequest>) -> Reply<pb::GetRegistrationReply> {
        let wanted = request.get_ref();
        let realm = self.look.realm(&wanted.realm)?;
        let policy = policy(&wanted.r#match)?;
        let uri = Uri::from(wanted.uri.as_str());
        if (wanted.id == 0) == wanted.uri.is_empty() {
            return Err(invalid("which registration is not said", "give either its id or its uri"));
        }
        let found = realm.with_core(|core| {
            let registry = core.registry();
            let found = match RegistrationId::new(wanted.id) {
                Some(id) => registry.registration(id),
                None => registry.lookup_pattern(policy, &uri),
            };
            let found = found?;
            let callees = found.callees.iter().take(CALLEES_MAX);
            let callees = callees.filter_map(|callee| self.callee(registry, callee.session));
            Some((found.id, self.told(&realm, found), callees.collect::<Vec<_>>()))
        });
        let what = if wanted.id == 0 {
            wanted.uri.clone()
        } else {
            wanted.id.to_string()
        };
        let (id, registration, mut callees) = found.ok_or_else(|| no_such(&realm, &what))?;
        let question = Question::Callees(CalleesOf {
            realm: wanted.realm.clone(),
            registration: id.get(),
        });
        let nodes = registration.nodes.iter().filter(|name| !name.is_empty()).cloned();
        let asked = self.look.ask(&request, nodes.collect(), &question).await;
        let states = asked.answers.into_iter().flat_map(|(_, answer)| match answer {
            Answer::Callees(states) => states.by_session.into_iter().collect(),
            _ => Vec::new(),
        });
        let states: BTreeMap<u64, pb::CalleeState> = states.collect();
        for callee in &mut callees {
            callee.state = states.get(&callee.session).copied();
        }
        Ok(Response::new(pb::GetRegistrationReply {
            registration: Some(registration),
            callees,
            missing: asked.missing,
        }))
    }

    async fn remove(&self, request: Request<pb::RemoveRegistrationRequest>) -> Reply<pb::RemoveRegistrationReply> {
        let who = caller(&request)?;
        let wanted = request.into_inner();
        let realm = self.look.realm(&wanted.realm)?;
        let id = RegistrationId::new(wanted.id)
            .ok_or_else(|| invalid(&format!("{} is no registration id", wanted.id), "ids are from 1 to 2^53"))?;
        let session = match wanted.session {
            0 => None,
            raw => Some(session_id(raw)?),
        };
        let reason = match wanted.reason.as_str() {
            "" => error_uri::KILLED.to_owned(),
            reason if Uri::from(reason).is_uri(UriCheck::Loose) => reason.to_owned(),
            reason => {
                return Err(invalid(
                    &format!("reason is {reason}"),
                    "write a URI, such as wamp.close.killed",
                ));
            }
        };
        let standing = realm.with_core(|core| {
            let found = core.registry().registration(id)?;
            Some((self.told(&realm, found), holders(found, session)))
        });
        let (before, victims) = standing.ok_or_else(|| no_such(&realm, &id.to_string()))?;
        if victims.is_empty() {
            let what = format!("session {} is no callee of registration {id}", wanted.session);
            return Err(not_found(&what, "get the registration to see its callees"));
        }
        if !matches!(*self.look.inspect.stage.borrow(), Stage::Member(_)) {
            let remedy = "ask another node, or wait until this one is ready";
            return Err(refusal(
                Code::Unavailable,
                "NOT_A_MEMBER",
                "this node is no member just now",
                remedy,
            ));
        }
        let event = Event {
            admin: Some(who.name.to_string()),
            source: Some(who.source.ip()),
            realm: Some(wanted.realm.clone()),
            session: session.map(SessionId::get),
            what: Some(format!("remove_registration {} {}", before.r#match, before.uri)),
            before: Some(json!({ "registration": before.id, "callees": before.callees })),
            ..Event::of("change")
        };
        self.look.record_asked(event.clone()).await?;
        tracing::info!(realm = %realm.name(), registration = id.get(), admin = &*who.name, "a registration is taken back on an operator's word");
        let op = Op::Revoke {
            registration: id,
            callee: session,
            reason,
        };
        realm.change_core(|_, _, effects| effects.push(Effect::Propose { op }));
        let removed = self.removed(&realm, id, &victims).await;
        let outcome = match &removed {
            Err(status) => return self.look.record_outcome(event, Some(status)).await.and(Err(status.clone())),
            Ok(removed) => *removed,
        };
        let index = realm.with_core(|core| core.applied());
        let (confirmed, unconfirmed) = self.access.wait_for_nodes(index).await;
        let done = Event {
            count: Some(outcome),
            index: Some(index),
            unconfirmed: unconfirmed.iter().map(|one| one.node.clone()).collect(),
            ..event
        };
        self.look.record_outcome(done, None).await?;
        Ok(Response::new(pb::RemoveRegistrationReply {
            removed: outcome,
            confirmed,
            unconfirmed,
        }))
    }
}

/// The callees that a removal is about.
fn holders(registration: &Registration, session: Option<SessionId>) -> Vec<SessionId> {
    let callees = registration.callees.iter().map(|callee| callee.session);
    callees
        .filter(|callee| session.is_none_or(|session| session == *callee))
        .collect()
}

impl Service {
    /// Waits until the log has taken the registration from all of them here.
    async fn removed(&self, realm: &RealmHandle, id: RegistrationId, victims: &[SessionId]) -> Result<u64, Status> {
        let until = Instant::now() + APPLIED_WITHIN;
        loop {
            let left = realm.with_core(|core| match core.registry().registration(id) {
                None => false,
                Some(registration) => registration.callees.iter().any(|callee| victims.contains(&callee.session)),
            });
            if !left {
                return Ok(victims.len() as u64);
            }
            if Instant::now() >= until {
                let remedy = "look at the registration before trying again; the log may yet do it";
                return Err(refusal(
                    Code::Unknown,
                    "NOT_APPLIED",
                    "the log has not done it within 5 s",
                    remedy,
                ));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}
