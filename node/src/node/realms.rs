//! The realms that the log makes, on this node: what the state machine asks for, built from the settings that the log has.

use std::{sync::Arc, time::Duration};

use ed25519_dalek::SigningKey;
use tokio::runtime::Handle;

use super::{keeping, quota, realm_auth, realm_config};
use crate::{
    audit::Audit,
    auth::Principals,
    cluster::{
        machine::RealmHost,
        shared::{MakeRealm, Shared},
    },
    config::{self, Config},
    router::{NodeRef, Realm, Slot},
    session::{
        auth::{Authenticator, RealmAuth},
        cluster::Cluster,
        realm::{RealmHandle, Realms},
    },
    telemetry::traces::Tracer,
    wamp::Uri,
};

/// See the module.
pub(super) struct Host {
    pub(super) shared: Arc<Shared>,
    pub(super) realms: Arc<Realms>,
    pub(super) config: Config,
    pub(super) router_key: Option<Arc<SigningKey>>,
    pub(super) make: MakeRealm,
    /// Where what serves clients runs.
    pub(super) runtime: Handle,
}

/// A realm that nobody can join yet, and that knows no lease and no slot.
pub(super) fn shell(shared: &Arc<Shared>, name: &Uri, core: crate::router::RealmConfig) -> RealmHandle {
    let nobody = NodeRef { slot: Slot(0), epoch: 0 };
    RealmHandle::new(name.clone(), Realm::new(core, nobody), Arc::clone(shared) as Arc<dyn Cluster>)
}

/// How realms are made that the configuration does not name.
pub(super) fn maker(config: &Config, audit: &Audit, tracer: Option<Arc<Tracer>>) -> MakeRealm {
    let (config, audit, runtime) = (config.clone(), audit.clone(), Handle::current());
    let node: Arc<str> = config.node.name.as_str().into();
    Box::new(move |shared, name| {
        let _entered = runtime.enter();
        let realm = shell(shared, name, realm_config(name, None, Vec::new(), &config));
        keeping::tell_time(&realm);
        realm.keep_principals(Arc::new(Principals::new(name, Vec::new())));
        realm.audit_in(audit.clone());
        if let Some(tracer) = &tracer {
            realm.trace_by(Arc::clone(tracer), Arc::clone(&node));
        }
        realm
    })
}

impl RealmHost for Host {
    fn shell(&self, name: &Uri) -> RealmHandle {
        let shared = self.shared.realm_or_new(name).cloned();
        // Above all bounds: kept for the log's sake only.
        shared.unwrap_or_else(|| (self.make)(&self.shared, name))
    }

    fn open(&self, realm: &RealmHandle, settings: &config::Realm) {
        if self.realms.is_configured(realm.name()) {
            tracing::warn!(realm = %realm.name(), "the log makes a realm that the configuration of this node has: the latter's settings stand");
            return;
        }
        let Some(principals) = realm.principals() else { return };
        let authenticator = (!settings.authenticator.is_empty()).then(|| {
            let timeout = Duration::from_millis(u64::from(settings.authenticator_timeout_ms));
            Arc::new(Authenticator::new(
                realm.clone(),
                Uri::from(settings.authenticator.as_str()),
                timeout,
            ))
        });
        let auth = RealmAuth {
            principals: Arc::clone(principals),
            authenticator,
            ..realm_auth(settings, Vec::new(), self.router_key.clone())
        };
        let mut core = realm_config(realm.name(), Some(settings), Vec::new(), &self.config);
        core.of_the_log = true;
        let anonymous = (settings.anonymous != config::Anonymous::Off).then_some(settings.anonymous_role.as_str());
        self.realms.quotas.limit_realm(realm.name(), quota(settings.quota));
        // Twice, since whoever was let in by the rules before may have come between: what they have more goes.
        realm.configure(core.clone(), anonymous);
        self.realms.open(realm.clone(), auth);
        realm.configure(core, anonymous);
        tracing::info!(realm = %realm.name(), "the realm is open");
    }

    fn close(&self, realm: &RealmHandle) {
        if self.realms.is_configured(realm.name()) {
            return;
        }
        self.realms.close(realm);
        realm.close();
        tracing::info!(realm = %realm.name(), "the realm was removed");
    }

    fn rekey(&self, key: [u8; 16]) {
        self.realms.rekey(key);
        let realms = Arc::clone(&self.realms);
        // As long as the KDFs of the configuration cost.
        self.runtime.spawn_blocking(move || realms.unlock());
    }
}

/// Tells realms that came after the start the time, as [`keeping::look_after`] does with others.
pub(super) async fn tell_later_ones_the_time(shared: Arc<Shared>, realms: Arc<Realms>) {
    let mut tick = tokio::time::interval(keeping::EVERY);
    loop {
        tick.tick().await;
        let later = shared.realms().filter(|realm| !realms.is_configured(realm.name()));
        later.for_each(keeping::tell_time);
    }
}
