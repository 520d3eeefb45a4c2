//! The realms of a node as its links reach them: those of the configuration, and those that came later.
//!
//! A realm that comes later is found by name without a lock, as the others are, and is there until the process ends: the links look one up
//! for every batch of frames. Invariant: it has heard of the node's life, lease and links what the others have, in the same order; whoever
//! tells all realms something and whoever makes one exclude each other.

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Arc, OnceLock},
    time::Instant,
};

use parking_lot::Mutex;

use super::Shared;
use crate::{
    config,
    router::{Input, NodeRef},
    session::realm::RealmHandle,
    wamp::Uri,
};

/// Makes the shell of a realm that the configuration does not name.
pub type MakeRealm = Box<dyn Fn(&Arc<Shared>, &Uri) -> RealmHandle + Send + Sync>;

/// Realms that came later than the configuration, of one process; above what the log allows.
const LATER_MAX: usize = 4_096;
const PLACES: usize = 2 * LATER_MAX;

/// See the module.
#[derive(Default)]
pub(super) struct RealmTable {
    configured: OnceLock<BTreeMap<Uri, RealmHandle>>,
    /// By hash; a place that is taken stays so. Made with the first of them.
    later: OnceLock<Box<[OnceLock<RealmHandle>]>>,
    life: Mutex<Life>,
    make: OnceLock<MakeRealm>,
}

/// What all realms were told.
#[derive(Default)]
struct Life {
    identity: Option<(NodeRef, [u8; 16])>,
    lease: Option<Instant>,
    /// The linked nodes, and whether each is ready.
    linked: BTreeMap<NodeRef, bool>,
    stale: bool,
    /// Realms that came later.
    later: usize,
}

impl RealmTable {
    pub(super) fn all(&self) -> impl Iterator<Item = &RealmHandle> {
        let configured = self.configured.get().into_iter().flat_map(BTreeMap::values);
        configured.chain(self.later.get().into_iter().flatten().filter_map(OnceLock::get))
    }

    pub(super) fn get(&self, name: &str) -> Option<&RealmHandle> {
        let configured = self.configured.get().and_then(|realms| realms.get(name));
        configured.or_else(|| {
            let places = self.later.get()?;
            let taken = places_of(name).map_while(|at| places[at].get());
            taken.into_iter().find(|realm| realm.name().as_str() == name)
        })
    }
}

/// The places at which a realm of that name may be, in the order in which they are tried.
fn places_of(name: &str) -> impl Iterator<Item = usize> {
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    let start = (hasher.finish() % PLACES as u64) as usize;
    (0..PLACES).map(move |n| (start + n) % PLACES)
}

impl Shared {
    /// Says which realms the configuration names, and how others are made. Once, before any session.
    pub fn wire(&self, realms: BTreeMap<Uri, RealmHandle>, make: MakeRealm) {
        let _ = self.realms.configured.set(realms);
        let _ = self.realms.make.set(make);
    }

    /// The realm of that name; where there is none it is made, as far as there is room. Nobody can join it by that. No realm may be held.
    pub fn realm_or_new(self: &Arc<Self>, name: &Uri) -> Option<&RealmHandle> {
        if let Some(realm) = self.realm(name) {
            return Some(realm);
        }
        let make = self.realms.make.get().filter(|_| config::Realm::is_name(name))?;
        let mut life = self.realms.life.lock();
        if self.realm(name).is_none() {
            if life.later >= LATER_MAX {
                return None;
            }
            let places = self
                .realms
                .later
                .get_or_init(|| std::iter::repeat_with(OnceLock::new).take(PLACES).collect());
            let free = places_of(name).find(|at| places[*at].get().is_none())?;
            let realm = make(self, name);
            life.tell(&realm);
            life.later += 1;
            // Only whoever holds the life puts one there.
            let _ = places[free].set(realm);
        }
        drop(life);
        self.realm(name)
    }

    /// A life of this node begins: tells every realm.
    pub fn begin_life(&self, me: NodeRef, key: [u8; 16]) {
        let mut life = self.realms.life.lock();
        (life.identity, life.lease) = (Some((me, key)), None);
        for realm in self.realms() {
            realm.change_core(|core, _, _| core.set_identity(me, key));
        }
    }

    /// Tells every realm something about this node's life, lease or links.
    pub(in crate::cluster) fn tell_all(&self, input: &Input) {
        let mut life = self.realms.life.lock();
        life.note(input);
        for realm in self.realms() {
            realm.input(input.clone());
        }
    }
}

impl Life {
    fn note(&mut self, input: &Input) {
        match input {
            Input::Lease { until } => self.lease = Some(*until),
            Input::PeerUp { node } => _ = self.linked.insert(*node, false),
            Input::PeerReady { node } => _ = self.linked.insert(*node, true),
            Input::PeerDown { node } => _ = self.linked.remove(node),
            Input::RightsStale => self.stale = true,
            Input::RightsKnown => self.stale = false,
            _ => {}
        }
    }

    /// Tells a new realm what the others know.
    fn tell(&self, realm: &RealmHandle) {
        if let Some((me, key)) = self.identity {
            realm.change_core(|core, _, _| core.set_identity(me, key));
        }
        if let Some(until) = self.lease {
            realm.input(Input::Lease { until });
        }
        for (node, ready) in &self.linked {
            realm.input(Input::PeerUp { node: *node });
            if *ready {
                realm.input(Input::PeerReady { node: *node });
            }
        }
        if self.stale {
            realm.input(Input::RightsStale);
        }
    }
}
