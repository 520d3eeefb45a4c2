//! The principals of one realm, looked up by name, public key or certificate.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::RwLock;

use super::{CertificateMatch, Clear, Credential, Principal, hmac_sha256, mock::Shapes};

/// Who may join one realm with a credential; shared by all handshakes and by what changes it.
#[derive(Debug)]
pub struct Principals {
    realm: String,
    /// Those of the configuration.
    seeds: RwLock<Vec<Seed>>,
    table: RwLock<Table>,
    verifications: AtomicU64,
    /// What those look like that an authenticator has named.
    learned: RwLock<Shapes>,
}

/// A principal of the configuration, whose secrets may be given in clear.
#[derive(Clone, Debug)]
pub struct Seed {
    /// Name, role and the credentials that need nothing made of them.
    pub principal: Principal,
    /// Secrets of which verifiers are made when the realm is unlocked.
    pub clear: Vec<Clear>,
}

/// Principals of the configuration, made ready to be put in force.
#[derive(Debug)]
pub struct Prepared {
    seeds: Vec<Seed>,
    /// `None` where the realm was not unlocked.
    fixed: Option<Vec<Principal>>,
}

#[derive(Debug, Default)]
struct Table {
    /// Decides over stand-ins and the salts of secrets given in clear; `None` before the realm is unlocked.
    key: Option<[u8; 32]>,
    fixed: HashMap<String, Arc<Principal>>,
    replicated: HashMap<String, Arc<Principal>>,
    by_key: HashMap<[u8; 32], Arc<Principal>>,
    by_certificate: HashMap<CertificateMatch, Arc<Principal>>,
    shapes: Shapes,
}

impl Principals {
    /// The principals of `realm` that its configuration names. Nobody is found before [`Self::unlock`].
    pub fn new(realm: &str, seeds: Vec<Seed>) -> Self {
        Self {
            realm: realm.to_owned(),
            seeds: RwLock::new(seeds),
            table: RwLock::default(),
            verifications: AtomicU64::new(0),
            learned: RwLock::default(),
        }
    }

    /// Makes verifiers of the secrets that the configuration gives in clear, and opens the realm. `key` is the cluster's, the same on
    /// every node and secret: salts and stand-ins are made of it, so that they are the same everywhere and after a restart. Again
    /// with the same key it does nothing. Takes as long as the configured KDFs cost: not for an async thread.
    pub fn unlock(&self, key: &[u8]) {
        let key = hmac_sha256(key, &[b"ringfort principals", self.realm.as_bytes()]);
        if self.table.read().key == Some(key) {
            return;
        }
        let seeds = self.seeds.read().clone();
        let fixed: Vec<Principal> = seeds.iter().map(|seed| seed.grown(&key)).collect();
        let mut table = self.table.write();
        table.key = Some(key);
        table.fixed = fixed.into_iter().map(|one| (one.authid.clone(), Arc::new(one))).collect();
        table.index();
    }

    /// What [`Self::refix`] puts in the place of those of the configuration. Takes as long as the configured KDFs cost: not for an async
    /// thread.
    pub fn prepare(&self, seeds: Vec<Seed>) -> Prepared {
        let key = self.table.read().key;
        let fixed = key.map(|key| seeds.iter().map(|seed| seed.grown(&key)).collect());
        Prepared { seeds, fixed }
    }

    /// Replaces the principals of the configuration. Returns those whose sessions do not stand any more: they are gone, or act in another
    /// role, or have lost a credential.
    pub fn refix(&self, prepared: Prepared) -> Vec<String> {
        let Prepared { seeds, fixed } = prepared;
        *self.seeds.write() = seeds;
        // Nobody is in a realm that is not unlocked; what was prepared then is made when it is.
        let Some(fixed) = fixed else { return Vec::new() };
        let mut table = self.table.write();
        let fixed = fixed.into_iter().map(|one| (one.authid.clone(), Arc::new(one)));
        let former = std::mem::replace(&mut table.fixed, fixed.collect());
        table.index();
        let stands = |old: &Principal| table.find(&old.authid).is_some_and(|new| old.stands_as(new));
        former
            .into_values()
            .filter(|old| !stands(old))
            .map(|old| old.authid.clone())
            .collect()
    }

    /// The principals that `seeds` become in a realm of this name, with the key of its cluster, as [`Self::unlock`] does it.
    pub fn grown(&self, key: &[u8], seeds: &[Seed]) -> Vec<Principal> {
        let key = hmac_sha256(key, &[b"ringfort principals", self.realm.as_bytes()]);
        seeds.iter().map(|seed| seed.grown(&key)).collect()
    }

    /// Replaces all replicated principals.
    pub fn replace(&self, principals: impl IntoIterator<Item = Principal>) {
        let replicated = principals.into_iter().map(|one| (one.authid.clone(), Arc::new(one)));
        let mut table = self.table.write();
        table.replicated = replicated.collect();
        table.index();
    }

    /// Adds a replicated principal, or puts it in the place of that of its name.
    pub fn put(&self, principal: Principal) {
        let mut table = self.table.write();
        let principal = Arc::new(principal);
        let former = table.replicated.insert(principal.authid.clone(), Arc::clone(&principal));
        table.swap(former, Some(principal));
    }

    /// Removes a replicated principal.
    pub fn remove(&self, authid: &str) {
        let mut table = self.table.write();
        let former = table.replicated.remove(authid);
        table.swap(former, None);
    }

    /// True if `authid` stands in the configuration, and so is not changed at run time.
    pub fn is_fixed(&self, authid: &str) -> bool {
        self.seeds.read().iter().any(|seed| seed.principal.authid == authid)
    }

    /// The principal of that name.
    pub fn by_authid(&self, authid: &str) -> Option<Arc<Principal>> {
        self.table.read().find(authid).cloned()
    }

    /// The principal with that Ed25519 public key; of several the first by name, those of the configuration before others.
    pub fn by_key(&self, key: &[u8; 32]) -> Option<Arc<Principal>> {
        self.table.read().by_key.get(key).cloned()
    }

    /// The principal of a certificate with these names, tried in order.
    pub fn by_certificate<'a>(&self, names: impl IntoIterator<Item = &'a CertificateMatch>) -> Option<Arc<Principal>> {
        let table = self.table.read();
        names.into_iter().find_map(|name| table.by_certificate.get(name)).cloned()
    }

    /// True if this is still the principal of its name: whoever began to authenticate as somebody who was removed or changed
    /// meanwhile is not let in.
    pub fn is_current(&self, principal: &Arc<Principal>) -> bool {
        let table = self.table.read();
        table
            .find(&principal.authid)
            .is_some_and(|current| Arc::ptr_eq(current, principal) || **current == **principal)
    }

    /// The stand-in for a name that nobody has, with a credential for which `is` holds if anybody has one; see [`super::mock`].
    pub fn stand_in(&self, authid: &str, is: impl Fn(&Credential) -> bool) -> Arc<Principal> {
        let table = self.table.read();
        Arc::new(table.shapes.stand_in(&table.key.unwrap_or_default(), authid, is))
    }

    /// Remembers what somebody looks like whom an authenticator has named, as far as there is room.
    pub fn learn(&self, principal: &Principal) {
        let mut learned = self.learned.write();
        if learned.len() < LEARNED_MAX || learned.has(principal) {
            learned.add(principal);
        }
    }

    /// The stand-in for a name that an authenticator does not know: it looks like those that it does.
    pub fn stand_in_like_learned(&self, authid: &str, method: &str) -> Arc<Principal> {
        let kind = match method {
            "wamp-scram" => "scram",
            other => other,
        };
        let is = |one: &Credential| one.kind() == kind;
        let key = self.table.read().key.unwrap_or_default();
        let learned = self.learned.read();
        let mut stand_in = if learned.any(is) {
            learned.stand_in(&key, authid, is)
        } else {
            // Nobody was named yet: it looks like what is usual.
            let mut usual = Shapes::default();
            usual.add(&Principal {
                authid: String::new(),
                role: String::new(),
                credentials: super::mock::usual(kind).into_iter().collect(),
            });
            usual.stand_in(&key, authid, is)
        };
        stand_in.credentials.retain(is);
        Arc::new(stand_in)
    }

    /// Whether anybody here has a credential for which `is` holds.
    pub fn any(&self, is: impl Fn(&Credential) -> bool) -> bool {
        self.table.read().shapes.any(is)
    }

    /// Counts a run of a verifier, whoever it was for.
    pub fn count_verification(&self) {
        self.verifications.fetch_add(1, Ordering::Relaxed);
    }

    /// How often a verifier has run.
    pub fn verifications(&self) -> u64 {
        self.verifications.load(Ordering::Relaxed)
    }
}

/// Kinds of principals that are remembered of an authenticator.
const LEARNED_MAX: usize = 64;

impl Seed {
    fn grown(&self, key: &[u8; 32]) -> Principal {
        let mut principal = self.principal.clone();
        // Clear secrets come first, in a fixed order, so that a principal looks the same on every node.
        let made = self.clear.iter().filter_map(|clear| {
            let mut salt = [0; 16];
            let hash = hmac_sha256(key, &[b"salt", clear.kind().as_bytes(), &[0], principal.authid.as_bytes()]);
            salt.copy_from_slice(&hash[..16]);
            clear.credential(salt)
        });
        let made: Vec<Credential> = made.collect();
        principal.credentials.splice(0..0, made);
        principal
    }
}

impl Table {
    fn find(&self, authid: &str) -> Option<&Arc<Principal>> {
        self.fixed.get(authid).or_else(|| self.replicated.get(authid))
    }

    /// Builds the indices anew.
    fn index(&mut self) {
        self.by_key.clear();
        self.by_certificate.clear();
        self.shapes = Shapes::default();
        let mut seen: Vec<_> = self.fixed.values().cloned().collect();
        seen.extend(
            self.replicated
                .values()
                .filter(|one| !self.fixed.contains_key(&one.authid))
                .cloned(),
        );
        seen.sort_by(|a, b| a.authid.cmp(&b.authid));
        seen.sort_by_key(|one| !self.fixed.contains_key(&one.authid));
        for principal in seen {
            self.enter(&principal);
        }
    }

    fn enter(&mut self, principal: &Arc<Principal>) {
        self.shapes.add(principal);
        for credential in &principal.credentials {
            match credential {
                Credential::CryptoSign(key) => {
                    self.by_key.entry(*key).or_insert_with(|| principal.clone());
                }
                Credential::Certificate(certificate) => {
                    self.by_certificate
                        .entry(certificate.clone())
                        .or_insert_with(|| principal.clone());
                }
                Credential::Ticket(_) | Credential::WampCra(_) | Credential::Scram(_) => {}
            }
        }
    }

    /// Puts one replicated principal in the place of another in the indices.
    fn swap(&mut self, former: Option<Arc<Principal>>, new: Option<Arc<Principal>>) {
        let authid = former.as_ref().or(new.as_ref()).map(|one| one.authid.clone());
        if authid.is_none_or(|authid| self.fixed.contains_key(&authid)) {
            return;
        }
        if former.as_ref().is_some_and(|former| former.is_indexed()) {
            // A key may be another's now.
            return self.index();
        }
        if let Some(former) = former {
            self.shapes.remove(&former);
        }
        if let Some(new) = new {
            self.enter(&new);
        }
    }
}

impl Principal {
    /// True if the sessions of a principal go on where it is changed like this: its role is the same, and no credential is gone.
    pub fn stands_as(&self, new: &Principal) -> bool {
        self.role == new.role && self.credentials.iter().all(|credential| new.credentials.contains(credential))
    }

    /// True if it can be found by something else than its name.
    fn is_indexed(&self) -> bool {
        let indexed = |one: &Credential| matches!(one, Credential::CryptoSign(_) | Credential::Certificate(_));
        self.credentials.iter().any(indexed)
    }
}

#[cfg(test)]
#[path = "principals_tests.rs"]
mod tests;
