//! The realms of a node by name, and who may join each.

use std::{collections::BTreeMap, sync::Arc};

use parking_lot::{Mutex, RwLock};

use super::RealmHandle;
use crate::{
    audit::Audit,
    session::{
        auth::{Guard, RealmAuth},
        quota::Quotas,
    },
    wamp::Uri,
};

/// The realms of a node: those of its configuration, and those that the log makes and takes away.
#[derive(Debug, Default)]
pub struct Realms {
    realms: BTreeMap<Uri, RealmEntry>,
    /// Of the log.
    born: RwLock<BTreeMap<Uri, RealmEntry>>,
    /// What took the place of the cluster's key for salts and stand-ins, if anything did.
    restored_key: Mutex<Option<[u8; 16]>>,
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
            born: RwLock::default(),
            restored_key: Mutex::default(),
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
        for entry in self.all() {
            self.unlock_one(&entry);
        }
    }

    /// Salts and stand-ins are made of this key from now on; [`Self::unlock`] follows.
    pub fn rekey(&self, key: [u8; 16]) {
        *self.restored_key.lock() = Some(key);
    }

    fn unlock_one(&self, entry: &RealmEntry) {
        if let Some(key) = entry.handle.cluster().secret() {
            self.guard.unlock(key);
            let restored = *self.restored_key.lock();
            entry.auth.principals.unlock(&restored.unwrap_or(key));
        }
    }

    /// Lets clients into a realm of the log, or into one that is there by other rules. It has no principals but the log's, which cost
    /// nothing to unlock.
    pub fn open(&self, handle: RealmHandle, mut auth: RealmAuth) {
        auth.generation = handle.next_generation();
        let entry = RealmEntry {
            handle,
            auth: Arc::new(auth),
        };
        self.born.write().insert(entry.handle.name().clone(), entry.clone());
        self.unlock_one(&entry);
    }

    /// Lets nobody into a realm of the log any more; also not who was about to join.
    pub fn close(&self, handle: &RealmHandle) {
        self.born.write().remove(handle.name());
        handle.next_generation();
    }

    /// True if the configuration names it.
    pub fn is_configured(&self, name: &str) -> bool {
        self.realms.contains_key(name)
    }

    /// The realm of that name.
    pub fn get(&self, name: &str) -> Option<RealmEntry> {
        let configured = self.realms.get(name).cloned();
        configured.or_else(|| self.born.read().get(name).cloned())
    }

    /// All realms: those of the configuration first.
    pub fn all(&self) -> Vec<RealmEntry> {
        self.realms
            .values()
            .cloned()
            .chain(self.born.read().values().cloned())
            .collect()
    }
}
