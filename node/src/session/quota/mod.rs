//! What listeners, sources, realms, roles and principals may take of this node.
//!
//! Owns: the limits of the configuration, what each scope has, and what a connection holds of them ([`Pass`]). What sessions hold
//! in their realms is counted in the core, in [`Pools`] that are made here. Does not own the limits that every session has ([`super::limits`]).
//!
//! | what is exceeded | what happens |
//! |---|---|
//! | connections or handshakes of a listener or source | HTTP 429, the refusal of RawSocket, under TLS a close: nothing costly is done for whoever comes too often |
//! | sessions or handshakes of a realm, role or principal | ABORT `wamp.error.unavailable` |
//! | messages or bytes in a second | nothing more is read for a while: the client is slowed, nothing is lost |
//! | bytes of a message | ABORT, as for `limits.message_bytes_max`: what follows it could not be told apart |
//! | subscriptions, registrations, open calls | ERROR `wamp.error.unavailable` |
//!
//! All of it counts on this node alone. Whoever has no limit has no pass: one branch for each read.

mod bucket;
mod counts;
mod meter;

use std::{
    collections::{BTreeMap, HashMap},
    hash::Hash,
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use self::meter::{Meter, Place};
pub use self::{
    counts::{Counts, Reason, Scope},
    meter::Quota,
};
use crate::{auth::throttle::Source, router::Pools, wamp::Uri};

/// The limits of a realm.
#[derive(Clone, Debug, Default)]
pub struct RealmQuotas {
    /// Of all its sessions.
    pub realm: Quota,
    /// Of the sessions of a role, and of those of each principal of it.
    pub roles: BTreeMap<String, (Quota, Quota)>,
}

/// All limits of a node and what was taken.
#[derive(Debug)]
pub struct Quotas {
    epoch: Instant,
    per_source: Quota,
    sources: Mutex<Table<Source>>,
    realms: BTreeMap<Uri, RealmMeters>,
    /// How often a limit was met.
    pub counts: Counts,
}

#[derive(Debug)]
struct RealmMeters {
    realm: Option<Arc<Meter>>,
    roles: BTreeMap<String, (Option<Arc<Meter>>, Quota)>,
    principals: Mutex<Table<(String, String)>>,
}

impl Default for Quotas {
    fn default() -> Self {
        Self::new(Quota::default(), [])
    }
}

impl Quotas {
    /// Limits of sources and realms, of which nothing is taken yet.
    pub fn new(per_source: Quota, realms: impl IntoIterator<Item = (Uri, RealmQuotas)>) -> Self {
        let counts = Counts::default();
        let meter = |scope, quota: Quota| (!quota.is_none()).then(|| Meter::new(scope, quota, &counts));
        let realms = realms.into_iter().map(|(name, quotas)| {
            let roles = quotas.roles.into_iter();
            let meters = RealmMeters {
                realm: meter(Scope::Realm, quotas.realm),
                roles: roles
                    .map(|(role, (all, each))| (role, (meter(Scope::Role, all), each)))
                    .collect(),
                principals: Mutex::default(),
            };
            (name, meters)
        });
        let realms = realms.collect();
        Self {
            epoch: Instant::now(),
            per_source,
            sources: Mutex::default(),
            realms,
            counts,
        }
    }

    /// The limits of a listener, of which nothing is taken yet.
    pub fn listener(&self, quota: Quota) -> ListenerQuota {
        ListenerQuota((!quota.is_none()).then(|| Meter::new(Scope::Listener, quota, &self.counts)))
    }

    /// A connection has come to a listener from an address: what it holds, or which limit it meets. Without limits it holds nothing.
    ///
    /// # Errors
    /// It is not let in; whose limit it is, and which.
    pub fn connection(
        self: &Arc<Self>,
        now: Instant,
        listener: &ListenerQuota,
        from: IpAddr,
    ) -> Result<Option<Box<Pass>>, (Scope, Reason)> {
        if self.per_source.is_none() && listener.0.is_none() {
            return Ok(None);
        }
        let now = now.saturating_duration_since(self.epoch);
        let mut places = Vec::new();
        // First whoever comes too often, so that it takes no part of what all share.
        if !self.per_source.is_none() {
            let meter = self.sources.lock().of(now, Source::of(from), || {
                Meter::new(Scope::Source, self.per_source, &self.counts)
            });
            places.push(meter.enter(now, &self.counts)?);
        }
        if let Some(meter) = &listener.0 {
            places.push(meter.enter(now, &self.counts)?);
        }
        Ok(Some(Box::new(Pass::new(self, places))))
    }

    /// A session is about to be established: adds its realm's, role's and principal's limits to what its connection holds.
    ///
    /// # Errors
    /// It is not let in; whose limit it is, and which.
    pub fn session(
        self: &Arc<Self>,
        now: Instant,
        pass: &mut Option<Box<Pass>>,
        (realm, role, authid): (&Uri, &str, &str),
    ) -> Result<(), (Scope, Reason)> {
        let Some(realm) = self.realms.get(realm) else {
            return Ok(());
        };
        let now = now.saturating_duration_since(self.epoch);
        let mut meters = Vec::new();
        if let Some((of_role, each)) = realm.roles.get(role) {
            if !each.is_none() {
                let key = (role.to_owned(), authid.to_owned());
                let new = || Meter::new(Scope::Principal, *each, &self.counts);
                meters.push(realm.principals.lock().of(now, key, new));
            }
            meters.extend(of_role.clone());
        }
        meters.extend(realm.realm.clone());
        if meters.is_empty() {
            return Ok(());
        }
        let places = meters
            .iter()
            .map(|meter| meter.enter(now, &self.counts))
            .collect::<Result<Vec<_>, _>>()?;
        let pass = pass.get_or_insert_with(|| Box::new(Pass::new(self, Vec::new())));
        pass.session = places;
        Ok(())
    }
}

/// The limits of one listener.
#[derive(Clone, Debug, Default)]
pub struct ListenerQuota(Option<Arc<Meter>>);

/// What a connection and its session hold of the limits they are under.
#[derive(Debug)]
pub struct Pass {
    quotas: Arc<Quotas>,
    connection: Vec<Place>,
    session: Vec<Place>,
    /// Messages that have come since the last charge.
    pub messages: u64,
    /// Nothing is read until then.
    until: Option<Instant>,
}

impl Pass {
    fn new(quotas: &Arc<Quotas>, connection: Vec<Place>) -> Self {
        Self {
            quotas: Arc::clone(quotas),
            connection,
            session: Vec::new(),
            messages: 0,
            until: None,
        }
    }

    /// The session is over; the connection goes on.
    pub fn end_session(&mut self) {
        self.session.clear();
    }

    /// Counts the messages that have come and `bytes`; nothing more is to be read while [`Self::until`] says so.
    pub fn charge(&mut self, now: Instant, bytes: u64) {
        let messages = std::mem::take(&mut self.messages);
        let time = now.saturating_duration_since(self.quotas.epoch);
        let mut longest = Duration::ZERO;
        for Place(meter) in self.connection.iter().chain(&self.session) {
            let (wait, reason) = meter.charge(time, messages, bytes);
            if !wait.is_zero() {
                self.quotas.counts.count(meter.scope, reason);
            }
            longest = longest.max(wait);
        }
        self.until = (!longest.is_zero()).then(|| now + longest);
    }

    /// Until when nothing is to be read, if so.
    pub fn until(&self) -> Option<Instant> {
        self.until
    }

    /// Time goes on.
    pub fn look(&mut self, now: Instant) {
        self.until = self.until.filter(|until| now < *until);
    }

    /// The longest message that is taken, at most `most`.
    pub fn message_bytes_max(&self, most: usize) -> usize {
        let places = self.connection.iter().chain(&self.session);
        let limits = places.map(|Place(meter)| meter.quota.message_bytes_max);
        limits.filter(|limit| *limit != 0).fold(most, usize::min)
    }

    /// What the session draws on for what it holds in its realm.
    pub fn pools(&self) -> Pools {
        let places = self.connection.iter().chain(&self.session);
        places.filter_map(|Place(meter)| meter.pool.clone()).collect()
    }
}

/// The meters of all sources, or of all principals, that have something.
#[derive(Debug)]
struct Table<K> {
    meters: HashMap<K, Arc<Meter>>,
    /// When those that have nothing were last taken out.
    swept: Duration,
}

impl<K> Default for Table<K> {
    fn default() -> Self {
        Self {
            meters: HashMap::new(),
            swept: Duration::ZERO,
        }
    }
}

/// How many there are at most. Each that is there beyond is met as if it were the only one; the limit of the listener still holds.
const METERS_MAX: usize = 65_536;
/// How many there are before those that have nothing are taken out, and how long that is left alone then.
const SWEPT_FROM: usize = 1_024;
const SWEPT_EVERY: Duration = Duration::from_secs(1);

impl<K: Eq + Hash> Table<K> {
    fn of(&mut self, now: Duration, key: K, new: impl FnOnce() -> Arc<Meter>) -> Arc<Meter> {
        if self.meters.len() >= SWEPT_FROM && now >= self.swept + SWEPT_EVERY {
            self.swept = now;
            self.meters.retain(|_, meter| !meter.is_idle(now));
        }
        if let Some(known) = self.meters.get(&key) {
            return Arc::clone(known);
        }
        let meter = new();
        if self.meters.len() < METERS_MAX {
            self.meters.insert(key, Arc::clone(&meter));
        }
        meter
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
