//! Settings that change while the node runs: the file is read again, held against what is in force, and put in force as far as that can be.
//!
//! A file that is wrong changes nothing. What is taken over at once says [`Config::reloaded`]; the rest is named as waiting for a
//! restart, each time, until the node has been started again or the file says what it said before.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::sync::Mutex;

use super::{check_definitions, check_issuers, check_traces, fixed, of_realm, quota, realm_config, realm_quotas, seed};
use super::{session_limits, throttle};
use crate::{
    admin::{
        access::FixedRights,
        reload::{Reloaded, Standing, Trigger},
    },
    audit::{Audit, Event},
    auth::Seed,
    config::{Config, RightsFrom, Source},
    router::policy::Resettled,
    session::{realm::RealmHandle, sessions::Service},
    telemetry::{self, logging, names, traces::Tracer},
    wamp::Uri,
};

/// How often the file is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// What settings are put in force in.
pub(super) struct Parts {
    pub(super) service: Arc<Service>,
    pub(super) realms: BTreeMap<Uri, RealmHandle>,
    pub(super) fixed: FixedRights,
    pub(super) tracer: Option<Arc<Tracer>>,
    pub(super) audit: Audit,
    pub(super) standing: Arc<Standing>,
}

/// What reads the settings of a node again.
pub(super) struct Reloader {
    source: Source,
    environment: Vec<(String, String)>,
    /// What is in force.
    config: Mutex<Config>,
    parts: Parts,
}

impl Reloader {
    pub(super) fn new(config: Config, parts: Parts, source: Source, environment: Vec<(String, String)>) -> Arc<Self> {
        let reloader = Arc::new(Self {
            source,
            environment,
            config: Mutex::new(config),
            parts,
        });
        if let Source::File(_) = reloader.source {
            let by = Arc::downgrade(&reloader);
            reloader.parts.standing.reload_by(Box::new(move |trigger| {
                let reloader = by.upgrade();
                Box::pin(async move { Some(reloader?.reload(&trigger).await) })
            }));
        }
        reloader
    }

    /// Looks at the file every so often, for ever.
    pub(super) async fn watch(self: Arc<Self>) {
        let Source::File(file) = &self.source else { return };
        let mut known = look(file).await;
        let mut before = known;
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let now = look(file).await;
            // A file that is not there is being replaced, and one that has just changed may be half written.
            if now.is_some() && now != known && now == before {
                known = now;
                self.reload(&Trigger::File).await;
            }
            before = now;
        }
    }

    async fn reload(&self, trigger: &Trigger) -> Reloaded {
        let mut config = self.config.lock().await;
        let reloaded = match self.read().await {
            Err(refused) => Reloaded {
                refused,
                ..Reloaded::default()
            },
            Ok(newer) => {
                let without_effect = config.seeds_changed_in(&newer);
                let in_force = config.reloaded(&newer);
                let mut reloaded = Reloaded {
                    applied: config.changed_in(&in_force),
                    refused: Vec::new(),
                    needs_restart: in_force.changed_in(&newer),
                    without_effect,
                };
                let seeded: Vec<&str> = seeded(&newer).collect();
                reloaded.applied.retain(|path| !is_of_seed(path, &in_force, &seeded));
                self.put_in_force(&config, &in_force).await;
                *config = in_force;
                reloaded
            }
        };
        drop(config);
        self.tell(trigger, &reloaded);
        self.parts.standing.note(reloaded.clone());
        reloaded
    }

    /// The file as it is now, if it could be started with.
    async fn read(&self) -> Result<Config, Vec<String>> {
        let (source, environment) = (self.source.clone(), self.environment.clone());
        let load = move || {
            let config = Config::load(&source, environment).map_err(|report| report.lines())?;
            check_definitions(&config).map_err(|error| vec![error.to_string()])?;
            check_issuers(&config).map_err(|error| vec![error.to_string()])?;
            check_traces(&config).map_err(|error| vec![error.to_string()])?;
            Ok(config)
        };
        let loaded = tokio::task::spawn_blocking(load).await;
        loaded.unwrap_or_else(|error| Err(vec![format!("it could not be read: {error}")]))
    }

    async fn put_in_force(&self, old: &Config, new: &Config) {
        let Parts {
            service,
            realms,
            fixed: rights,
            tracer,
            ..
        } = &self.parts;
        if old.log.level != new.log.level
            && let Err(error) = logging::configure(&new.log.level)
        {
            tracing::warn!(%error, "the log level stays as it is");
        }
        if old.limits != new.limits {
            service.relimit(session_limits(&new.limits));
            service.realms.guard.set(throttle(&new.limits));
        }
        service
            .realms
            .quotas
            .set(quota(new.limits.per_source), new.realms.iter().map(realm_quotas));
        if let Some(tracer) = tracer {
            tracer.set(&new.observability.traces);
        }
        for realm in &new.realms {
            let Some(handle) = realms.get(realm.name.as_str()) else {
                continue;
            };
            let former = old.realms.iter().find(|former| former.name == realm.name);
            let mut settings = Resettled::from(realm_config(handle.name(), Some(realm), Vec::new(), new));
            if former.is_some_and(|former| former.roles == realm.roles) {
                settings.policy = None;
            }
            let same = of_realm(&old.principals, realm).eq(of_realm(&new.principals, realm));
            let entry = service.realms.get(&realm.name);
            let principals = entry.map(|entry| Arc::clone(&entry.auth.principals));
            match principals.filter(|_| !same && realm.rights == RightsFrom::Fixed) {
                None => handle.resettle(settings, None),
                Some(principals) => {
                    let seeds: Vec<Seed> = of_realm(&new.principals, realm).map(seed).collect();
                    let making = Arc::clone(&principals);
                    match tokio::task::spawn_blocking(move || making.prepare(seeds)).await {
                        Ok(prepared) => handle.resettle(settings, Some((&principals, prepared))),
                        Err(error) => tracing::error!(%error, "the principals could not be made ready and stay as they are"),
                    }
                }
            }
        }
        let new = fixed(new).into_iter().map(|(name, fixed)| (name, Arc::new(fixed)));
        *rights.write() = new.collect();
    }

    fn tell(&self, trigger: &Trigger, reloaded: &Reloaded) {
        let by = match trigger {
            Trigger::File => "the file has changed",
            Trigger::Signal => "SIGHUP",
            Trigger::Admin(_) => "ringfort admin",
        };
        let Reloaded {
            applied,
            refused,
            needs_restart,
            without_effect,
        } = reloaded;
        let outcome = match (refused.is_empty(), applied.is_empty()) {
            (false, _) => "refused",
            (true, true) => "unchanged",
            (true, false) => "applied",
        };
        telemetry::count(&names::SETTINGS_RELOADS, &[outcome]);
        if !refused.is_empty() {
            tracing::error!(by, ?refused, "the settings are wrong; the former stay in force");
        } else {
            tracing::info!(by, ?applied, "the settings were read again");
            if !needs_restart.is_empty() {
                tracing::warn!(?needs_restart, "these settings need a restart to be in force");
            }
            if !without_effect.is_empty() {
                tracing::warn!(?without_effect, "these settings have no effect any more: use ringfort admin");
            }
        }
        let caller = match trigger {
            Trigger::Admin(caller) => Some(caller),
            Trigger::File | Trigger::Signal => None,
        };
        self.parts.audit.note(Event {
            admin: caller.map(|caller| caller.name.to_string()),
            source: caller.map(|caller| caller.source.ip()),
            what: Some(format!("settings: {by}")),
            reason: (!refused.is_empty()).then(|| refused.join("; ")),
            after: Some(serde_json::json!({ "applied": applied, "needs_restart": needs_restart })),
            step: Some(if refused.is_empty() { "done" } else { "failed" }),
            ..Event::of("change")
        });
    }
}

/// The realms whose rights are only begun with.
fn seeded(config: &Config) -> impl Iterator<Item = &str> {
    let realms = config.realms.iter().filter(|realm| realm.rights == RightsFrom::Seed);
    realms.map(|realm| realm.name.as_str())
}

/// True if the path is of rights that a seeded realm does not take from the file.
fn is_of_seed(path: &str, config: &Config, seeded: &[&str]) -> bool {
    let index = |section: &str| {
        let rest = path.strip_prefix(section)?.strip_prefix('[')?;
        rest.split_once(']')?.0.parse::<usize>().ok()
    };
    if let Some(realm) = index("realm").and_then(|at| config.realms.get(at)) {
        return path.ends_with(".roles") && seeded.contains(&realm.name.as_str());
    }
    if let Some(principal) = index("principal").and_then(|at| config.principals.get(at)) {
        return seeded.contains(&principal.realm.as_str());
    }
    let gone = path.strip_prefix("principal ").and_then(|rest| rest.split_once(" of "));
    gone.is_some_and(|(_, rest)| seeded.iter().any(|realm| rest.split(" (").next() == Some(realm)))
}

/// What the file looks like from outside, links followed; `None` if it is not there.
async fn look(file: &Path) -> Option<(u64, Option<SystemTime>)> {
    let metadata = tokio::fs::metadata(file).await.ok()?;
    Some((metadata.len(), metadata.modified().ok()))
}
