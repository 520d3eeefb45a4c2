//! Realms whose roles and principals are the log's, which begins with those of the configuration.
//!
//! The rule: such a realm is seeded once, as a whole, while its revision is 0, by whichever node opens it first. What the configuration
//! says of it afterwards is only compared, so that the log of the node tells an operator who edits the file that it has no effect.

use std::{sync::Arc, time::Duration};

use super::policy;
use crate::{
    audit::{Audit, Event},
    auth::{Principal, Principals, Seed},
    cluster::{
        command::{Command, Outcome},
        leader::Leader,
    },
    config,
    router::{Authority, Change, Changed, Permission, policy::Request},
    session::realm::RealmHandle,
};

/// With what one realm begins.
pub(super) struct Plan {
    handle: RealmHandle,
    principals: Arc<Principals>,
    roles: Vec<(String, Vec<Permission>)>,
    seeds: Vec<Seed>,
}

/// What the seeds of a node need.
pub(super) struct Seeding {
    pub(super) plans: Vec<Plan>,
    pub(super) leader: Leader,
    pub(super) audit: Audit,
}

/// How often the log is asked, half a second apart, before clients are let in all the same.
const TRIES: usize = 20;
const RETRY: Duration = Duration::from_millis(500);
/// How many names a warning holds.
const NAMES_MAX: usize = 10;

impl Plan {
    /// What `realm` begins with; `None` where the configuration keeps its roles and principals.
    pub(super) fn of(
        realm: &config::Realm,
        seeds: Vec<Seed>,
        handle: &RealmHandle,
        principals: &Arc<Principals>,
    ) -> Option<Self> {
        let seeded = realm.rights == config::RightsFrom::Seed;
        seeded.then(|| Self {
            handle: handle.clone(),
            principals: Arc::clone(principals),
            roles: policy::roles(realm),
            seeds,
        })
    }

    /// Roles and principals of whom the log says something else than the configuration. Credentials are not compared.
    fn differing(&self, authority: &Authority) -> Vec<String> {
        let roles = self.roles.iter().filter(|(name, permissions)| {
            let standing = authority.roles().find(|(role, _)| role == name);
            standing.is_none_or(|(_, row)| row.value != *permissions)
        });
        let principals = self.seeds.iter().map(|seed| &seed.principal);
        let principals = principals.filter(|one| authority.principal(&one.authid).is_none_or(|row| row.value.role != one.role));
        let roles = roles.map(|(name, _)| format!("role {name}"));
        roles
            .chain(principals.map(|one| format!("principal {}", one.authid)))
            .collect()
    }
}

impl Seeding {
    /// Seeds what was not yet, before clients come.
    pub(super) async fn run(&self) {
        for plan in &self.plans {
            let revision = plan.handle.with_core(|core| core.authority().revision());
            if revision == 0 && (!plan.roles.is_empty() || !plan.seeds.is_empty()) {
                self.seed(plan).await;
            }
            let differing = plan.handle.with_core(|core| plan.differing(core.authority()));
            if !differing.is_empty() {
                let names = differing
                    .iter()
                    .take(NAMES_MAX)
                    .map(String::as_str)
                    .collect::<Vec<_>>()
                    .join(", ");
                tracing::warn!(
                    realm = %plan.handle.name(),
                    count = differing.len(),
                    %names,
                    "the realm was seeded before: what the configuration says of these is not what stands; use ringfort admin"
                );
            }
        }
    }

    async fn seed(&self, plan: &Plan) {
        let Some(key) = plan.handle.cluster().secret() else { return };
        let (principals, seeds) = (Arc::clone(&plan.principals), plan.seeds.clone());
        let grown = tokio::task::spawn_blocking(move || principals.grown(&key, &seeds)).await;
        // A panic in the arithmetic. Nobody can log in then, as where unlocking fails.
        let Ok(grown) = grown else {
            tracing::error!("the credentials of the configuration could not be prepared");
            return;
        };
        let told: Vec<String> = grown.iter().map(|one: &Principal| one.authid.clone()).collect();
        let realm = plan.handle.name();
        let command = Command::Change {
            realm: realm.clone(),
            actor: "configuration".to_owned(),
            request: Request {
                change: Change::Seed {
                    roles: plan.roles.clone(),
                    principals: grown,
                },
                expected: None,
            },
        };
        for _ in 0..TRIES {
            match self.leader.propose(&command).await {
                Ok((index, Outcome::Changed(Changed::Done(revision)))) => {
                    tracing::info!(%realm, index, principals = told.len(), "the realm was seeded from the configuration");
                    let roles: Vec<&str> = plan.roles.iter().map(|(name, _)| name.as_str()).collect();
                    self.audit.note(Event {
                        step: Some("done"),
                        reason: Some("seeded from the configuration".to_owned()),
                        realm: Some(realm.to_string()),
                        what: Some("seed roles and principals".to_owned()),
                        after: Some(serde_json::json!({ "roles": roles, "principals": told })),
                        revision: Some(revision),
                        index: Some(index),
                        ..Event::of("change")
                    });
                    return self.applied(plan, revision).await;
                }
                // Another node was first, or somebody has changed something already.
                Ok((_, Outcome::Changed(Changed::Conflict(revision)))) => return self.applied(plan, revision).await,
                Ok((_, outcome)) => {
                    tracing::error!(%realm, ?outcome, "the realm could not be seeded from the configuration");
                    return;
                }
                Err(error) => tracing::warn!(%realm, %error, "seeding the realm; trying again"),
            }
            tokio::time::sleep(RETRY).await;
        }
        tracing::error!(%realm, "the realm could not be seeded from the configuration: restart a node once there is a leader");
    }

    /// Waits, bounded, until this node has applied it.
    async fn applied(&self, plan: &Plan, revision: u64) {
        for _ in 0..TRIES * 10 {
            if plan.handle.with_core(|core| core.authority().revision()) >= revision {
                return;
            }
            tokio::time::sleep(RETRY / 10).await;
        }
    }
}
