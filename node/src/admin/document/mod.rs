//! One document for realms, roles and principals, over gRPC: `proto/ringfort/admin/v1/apply.proto`.
//!
//! Both calls compare the document with what stands; applying does it for the revisions that the diff told, and the log refuses it
//! if one of them has changed meanwhile. Secrets are compared with the verifiers that stand, so that the same document changes nothing.

mod diff;

use std::collections::BTreeMap;

use ringfort_proto::admin::v1::{
    self as pb,
    difference::{Action, Kind},
    documents_server::Documents,
};
use serde_json::{Value, json};
use tonic::{Request, Response, Status};

use self::diff::{Plan, Prune, Standing, Wanted};
use super::{
    access::{Access, Fixed, Reply, caller},
    settings::{permission, seed},
};
use crate::{
    audit::Event,
    cluster::catalog::{Edits, RealmRevision, replicable},
    config::{self, Document},
    router::Policy,
    wamp::Uri,
};

/// Bytes of a document.
const DOCUMENT_BYTES_MAX: usize = 8 * 1024 * 1024;

#[tonic::async_trait]
impl Documents for Access {
    async fn diff(&self, request: Request<pb::DiffRequest>) -> Reply<pb::DiffReply> {
        let request = request.into_inner();
        let plan = self.compare(request.document, request.prune).await?;
        Ok(Response::new(pb::DiffReply {
            differences: plan.differences,
            unchanged: plan.unchanged,
            revisions: plan.revisions.iter().map(revision).collect(),
        }))
    }

    async fn apply(&self, request: Request<pb::ApplyRequest>) -> Reply<pb::ApplyReply> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let plan = self.compare(request.document, request.prune).await?;
        check_revisions(&plan.revisions, &request.revisions)?;
        if plan.edits.is_empty() {
            return Ok(Response::new(pb::ApplyReply {
                revisions: request.revisions,
                ..pb::ApplyReply::default()
            }));
        }
        let events = events(&plan);
        let edits = Edits {
            realms: plan.edits,
            ..Edits::default()
        };
        let made = self.edit(&caller, edits, events).await?;
        let mut revisions: BTreeMap<&Uri, pb::RealmRevisions> =
            plan.revisions.iter().map(|one| (&one.realm, revision(one))).collect();
        revisions.extend(made.revisions.iter().map(|one| (&one.realm, revision(one))));
        let gone = |name: &Uri| {
            let is_it =
                |one: &pb::Difference| one.kind() == Kind::Realm && one.action() == Action::Removed && one.realm == **name;
            plan.differences.iter().any(is_it)
        };
        revisions.retain(|name, _| !gone(name));
        Ok(Response::new(pb::ApplyReply {
            differences: plan.differences,
            revisions: revisions.into_values().collect(),
            index: made.index,
            confirmed: made.confirmed,
            unconfirmed: made.unconfirmed,
        }))
    }
}

impl Access {
    async fn compare(&self, document: String, prune: bool) -> Result<Plan, Status> {
        if document.len() > DOCUMENT_BYTES_MAX {
            let text = format!("a document has at most {DOCUMENT_BYTES_MAX} bytes: split it by realm, and do not prune");
            return Err(Status::resource_exhausted(text));
        }
        let document = Document::parse(&document).map_err(Status::invalid_argument)?;
        let wanted = self.wanted(&document)?;
        self.catch_up().await?;
        let catalog = std::sync::Arc::clone(&self.inspect.view.borrow().catalog);
        let standing = |name: &Uri| Standing {
            settings: catalog
                .settings(name)
                .map(|settings| (catalog.revision_of(name), settings.clone())),
            authority: self
                .inspect
                .shared
                .realm(name)
                .map_or_else(Default::default, |handle| handle.with_core(|core| core.authority().clone())),
        };
        let pairs: Vec<(Wanted, Standing)> = wanted
            .into_iter()
            .map(|wanted| {
                let standing = standing(&wanted.name);
                (wanted, standing)
            })
            .collect();
        let named = |name: &Uri| pairs.iter().any(|(wanted, _)| wanted.name == *name);
        let others = catalog
            .live()
            .filter(|(name, ..)| prune && !named(name) && !self.fixed().contains_key(*name));
        let others: Vec<(Uri, Standing)> = others.map(|(name, ..)| (name.clone(), standing(name))).collect();
        let prune = if prune { Prune::Yes } else { Prune::No };
        // Secrets are derived anew with the salts that stand, which takes as long as logging in with each.
        let compared = tokio::task::spawn_blocking(move || {
            let mut plan = Plan::default();
            let mut failed = false;
            for (wanted, standing) in &pairs {
                plan.realm(wanted, standing, prune, &mut || {
                    let mut salt = [0; 16];
                    failed |= getrandom::fill(&mut salt).is_err();
                    salt
                });
            }
            others.iter().for_each(|(name, standing)| plan.without(name, standing));
            (!failed).then(|| plan.sorted())
        });
        let compared = compared
            .await
            .map_err(|_| Status::internal("the document could not be compared"))?;
        compared.ok_or_else(|| Status::unavailable("no randomness for a salt"))
    }

    /// What the document wants, if this node's configuration lets the log decide about it.
    fn wanted(&self, document: &Document) -> Result<Vec<Wanted>, Status> {
        let wanted = |realm: &config::Realm| {
            let name = Uri::from(realm.name.as_str());
            let refused = |what: String| Status::failed_precondition(format!("realm {name}: {what}"));
            let settings = replicable(realm).map_err(|setting| {
                refused(format!(
                    "{setting} cannot be replicated: set it in the configuration file of each node"
                ))
            })?;
            let fixed = self.fixed().get(&name).cloned();
            if let Some(fixed) = &fixed {
                let untouched = config::Realm {
                    name: realm.name.clone(),
                    rights: config::RightsFrom::Seed,
                    ..config::Realm::default()
                };
                if settings != untouched {
                    return Err(refused(
                        "it stands in the configuration of this node, where its settings are changed: leave them out here"
                            .to_owned(),
                    ));
                }
                check_fixed(fixed, realm, document).map_err(refused)?;
            }
            Ok(Wanted {
                settings: fixed.is_none().then_some(settings),
                roles: realm
                    .roles
                    .iter()
                    .map(|role| (role.name.clone(), role.permissions.iter().map(permission).collect()))
                    .collect(),
                principals: principals_of(document, realm).map(seed).collect(),
                name,
            })
        };
        document.realms.iter().map(wanted).collect()
    }
}

fn principals_of<'a>(document: &'a Document, realm: &'a config::Realm) -> impl Iterator<Item = &'a config::Principal> {
    document.principals.iter().filter(|principal| principal.realm == realm.name)
}

/// Roles and principals of the configuration are changed there.
fn check_fixed(fixed: &Fixed, realm: &config::Realm, document: &Document) -> Result<(), String> {
    let policy: &Policy = &fixed.policy;
    let role = realm.roles.iter().find(|role| policy.has_role(&role.name));
    let principal = principals_of(document, realm).find(|one| fixed.principals.contains_key(&one.authid));
    let what = role.map(|role| format!("role {}", role.name));
    match what.or_else(|| principal.map(|one| format!("principal {}", one.authid))) {
        None => Ok(()),
        Some(what) => Err(format!(
            "{what} stands in the configuration of this node and is changed there: leave it out here, or let the realm have rights = \"seed\""
        )),
    }
}

/// Whether those who apply have seen what there is.
fn check_revisions(found: &[RealmRevision], seen: &[pb::RealmRevisions]) -> Result<(), Status> {
    for one in found {
        let Some(seen) = seen.iter().find(|seen| seen.realm == *one.realm) else {
            let text = format!(
                "revisions: realm {} is missing: take them from Diff of the same document",
                one.realm
            );
            return Err(Status::invalid_argument(text));
        };
        if *seen != revision(one) {
            let text = format!(
                "realm {} has changed since the diff: its settings have revision {}, its roles and principals {}; look at a new diff",
                one.realm, one.settings, one.rights
            );
            return Err(Status::aborted(text));
        }
    }
    Ok(())
}

fn revision(one: &RealmRevision) -> pb::RealmRevisions {
    pb::RealmRevisions {
        realm: one.realm.to_string(),
        settings: one.settings,
        rights: one.rights,
    }
}

/// One record for each realm in which something changes.
fn events(plan: &Plan) -> Vec<Event> {
    let told = |realm: &Uri, side: fn(&pb::Difference) -> &Vec<String>| {
        let differences = plan.differences.iter().filter(|one| one.realm == **realm);
        let lines = differences.map(|one| {
            let kind = one.kind().as_str_name().to_lowercase();
            (format!("{kind} {}", one.name).trim().to_owned(), json!(side(one)))
        });
        Value::Object(lines.collect())
    };
    plan.edits
        .iter()
        .map(|edit| Event {
            realm: Some(edit.realm.to_string()),
            what: Some("apply a document".to_owned()),
            before: Some(told(&edit.realm, |one| &one.before)),
            after: Some(told(&edit.realm, |one| &one.after)),
            ..Event::of("change")
        })
        .collect()
}
