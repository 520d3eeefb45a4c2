//! The realms of a node by name, and who may join each.

use std::{collections::BTreeMap, sync::Arc};

use super::RealmHandle;
use crate::{
    audit::Audit,
    session::{
        auth::{Guard, RealmAuth},
        quota::Quotas,
    },
    wamp::Uri,
};

/// The realms of a node, fixed at start.
#[derive(Debug, Default)]
pub struct Realms {
    realms: BTreeMap<Uri, RealmEntry>,
    /// What their handshakes share.
    pub guard: Arc<Guard>,
    /// What clients may take.
    pub quotas: Arc<Quotas>,
    /// Who keeps what was refused.
    pub audit: Audit,
}

/// A realm and who may join it.
#[derive(Clone, Debug)]
pub struct RealmEntry {
    /// Its shell.
    pub handle: RealmHandle,
    /// Who may join it, and how.
    pub auth: Arc<RealmAuth>,
}

impl Realms {
    /// The realms of a node.
    pub fn new(realms: impl IntoIterator<Item = (RealmHandle, RealmAuth)>) -> Self {
        let entry = |(handle, auth): (RealmHandle, RealmAuth)| {
            (
                handle.name().clone(),
                RealmEntry {
                    handle,
                    auth: Arc::new(auth),
                },
            )
        };
        Self {
            realms: realms.into_iter().map(entry).collect(),
            guard: Arc::default(),
            quotas: Arc::default(),
            audit: Audit::default(),
        }
    }

    /// The same realms, with limits.
    #[must_use]
    pub fn limited_by(mut self, quotas: Quotas) -> Self {
        self.quotas = Arc::new(quotas);
        self
    }

    /// The same realms, whose refusals and revocations are kept there.
    #[must_use]
    pub fn audited_by(mut self, audit: &Audit) -> Self {
        for entry in self.realms.values() {
            entry.handle.audit_in(audit.clone());
        }
        self.audit = audit.clone();
        self
    }

    /// The same realms, with another guard.
    #[must_use]
    pub fn guarded_by(mut self, guard: Guard) -> Self {
        self.guard = Arc::new(guard);
        self
    }

    /// Opens the realms to those with a credential, once the node knows the key that the cluster shares. Until then nobody has any.
    /// Takes as long as the configured KDFs cost: not for an async thread.
    pub fn unlock(&self) {
        for entry in self.realms.values() {
            if let Some(key) = entry.handle.cluster().secret() {
                self.guard.unlock(key);
                entry.auth.principals.unlock(&key);
            }
        }
    }

    /// The realm of that name.
    pub fn get(&self, name: &str) -> Option<&RealmEntry> {
        self.realms.get(name)
    }

    /// All realms, ordered by name.
    pub fn iter(&self) -> impl Iterator<Item = &RealmEntry> {
        self.realms.values()
    }
}
