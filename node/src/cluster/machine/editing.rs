//! Edits: changes of several realms at once, and the realms that the log makes and takes away.
//!
//! Invariants: whether an edit is done is decided by the replicated state and the edit alone, before anything of it is done; what the
//! configuration of a node says of a realm decides only whether this node serves the log's realm of that name.

use std::sync::Arc;

use ringfort_proto::cluster::v1 as pb;

use super::Machine;
use crate::{
    cluster::{
        catalog::{Catalog, Edits, Itself, RealmRevision, RealmRow},
        command::{DecodeError, Outcome},
        edits::settings_from_pb,
        settings,
    },
    config,
    router::{Changed, Edit, LogIndex},
    session::realm::RealmHandle,
    wamp::Uri,
};

/// The realms of this node, for the state machine.
pub trait RealmHost: Send {
    /// The shell of a realm that the configuration does not name; the same for the same name.
    fn shell(&self, name: &Uri) -> RealmHandle;
    /// Lets clients into a realm of the log, unless the configuration names one; also where it is open and has other settings now.
    fn open(&self, realm: &RealmHandle, settings: &config::Realm);
    /// Ends the sessions of such a realm, and lets nobody in any more.
    fn close(&self, realm: &RealmHandle);
    /// Salts and stand-ins are made of this key from now on.
    fn rekey(&self, key: [u8; 16]);
}

/// Why a backup is not put into place.
pub const NOT_FRESH: &str = "the cluster has realms, roles or principals of its own";

impl Machine {
    pub(super) fn edit(&mut self, index: LogIndex, edits: &Edits) -> Outcome {
        if let Some(refused) = self.refusal(edits) {
            return refused;
        }
        if let Some(key) = edits.key {
            self.restored_key = Some(key);
            self.host.rekey(key);
        }
        let mut done = Vec::with_capacity(edits.realms.len());
        for edit in &edits.realms {
            let name = &edit.realm;
            self.remember(index, "edit", format!("{name} by {}", edits.actor));
            let realm = self.realm(name);
            let mut settings_revision = self.catalog.revision_of(name);
            let rights = match &edit.itself {
                Itself::Stays => realm.edit(index, &edit.edit),
                // First who may join, then the door.
                Itself::Put(settings) => {
                    let rights = realm.edit(index, &edit.edit);
                    settings_revision = Arc::make_mut(&mut self.catalog).set(name, Some((**settings).clone()));
                    self.host.open(&realm, settings);
                    rights
                }
                Itself::Goes => {
                    settings_revision = Arc::make_mut(&mut self.catalog).set(name, None);
                    self.host.close(&realm);
                    let all = Edit {
                        clear: true,
                        ..Edit::default()
                    };
                    realm.edit(index, &all)
                }
            };
            done.push(RealmRevision {
                realm: name.clone(),
                settings: settings_revision,
                rights,
            });
        }
        self.publish();
        Outcome::Edited(done)
    }

    fn refusal(&self, edits: &Edits) -> Option<Outcome> {
        if !self.catalog.has_room_for(&edits.realms) {
            return Some(Outcome::Changed(Changed::Full));
        }
        let mut names = std::collections::BTreeSet::new();
        for edit in &edits.realms {
            let name = &edit.realm;
            if !names.insert(name) {
                return Some(Outcome::Refused(format!("realm {name} is named twice")));
            }
            let found = RealmRevision {
                realm: name.clone(),
                settings: self.catalog.revision_of(name),
                rights: self.rights_of(name),
            };
            let stale = edit.settings_expected.is_some_and(|expected| expected != found.settings)
                || edit.rights_expected.is_some_and(|expected| expected != found.rights);
            if stale {
                return Some(Outcome::Stale(found));
            }
            let missing = match edit.itself {
                Itself::Goes => found.settings == 0,
                Itself::Stays => self.catalog.was_removed(name) && !edit.edit.is_empty(),
                Itself::Put(_) => false,
            };
            if missing {
                return Some(Outcome::Changed(Changed::NotFound));
            }
            let has_room = self
                .realms
                .get(name)
                .is_none_or(|realm| realm.with_core(|core| core.authority().has_room_for(&edit.edit)));
            if !has_room {
                return Some(Outcome::Changed(Changed::Full));
            }
        }
        (edits.fresh && !self.is_fresh(edits)).then(|| Outcome::Refused(NOT_FRESH.to_owned()))
    }

    /// True if there is nothing of the log's own, or nothing but what the edits expect by its revision.
    fn is_fresh(&self, edits: &Edits) -> bool {
        let expected = |name: &Uri| {
            edits
                .realms
                .iter()
                .any(|edit| edit.realm == *name && edit.rights_expected.is_some())
        };
        self.catalog.live().next().is_none()
            && self.realms.iter().all(|(name, realm)| {
                let empty = realm.with_core(|core| {
                    let authority = core.authority();
                    authority.roles().next().is_none() && authority.principals().next().is_none()
                });
                empty || expected(name)
            })
    }

    fn rights_of(&self, name: &Uri) -> u64 {
        let realm = self.realms.get(name);
        realm.map_or(0, |realm| realm.with_core(|core| core.authority().revision()))
    }

    /// Opens and closes realms as a snapshot has them, once the realms have what it says of them.
    pub(super) fn restore_catalog(&mut self, catalog: Catalog, key: Option<[u8; 16]>) {
        let former = std::mem::replace(&mut self.catalog, Arc::new(catalog));
        let catalog = Arc::clone(&self.catalog);
        for (name, row) in &catalog.rows {
            let realm = self.realm(name);
            match &row.settings {
                Some(settings) if former.settings(name) != Some(settings) => self.host.open(&realm, settings),
                None if former.settings(name).is_some() => self.host.close(&realm),
                _ => {}
            }
        }
        for (name, _, _) in former.live().filter(|(name, ..)| !catalog.rows.contains_key(*name)) {
            let realm = self.realm(name);
            self.host.close(&realm);
        }
        if key != self.restored_key {
            self.restored_key = key;
            if let Some(key) = key {
                self.host.rekey(key);
            }
        }
    }
}

pub(super) fn catalog_to_pb(catalog: &Catalog) -> Vec<pb::RealmRow> {
    let row = |(name, row): (&Uri, &RealmRow)| pb::RealmRow {
        realm: name.to_string(),
        revision: row.revision,
        settings: row.settings.as_ref().map(settings::to_pb),
    };
    catalog.rows.iter().map(row).collect()
}

pub(super) fn catalog_from_pb(revision: u64, rows: Vec<pb::RealmRow>) -> Result<Catalog, DecodeError> {
    let mut catalog = Catalog {
        revision,
        ..Catalog::default()
    };
    for row in rows {
        let settings = row
            .settings
            .as_ref()
            .map(|put| settings_from_pb(&row.realm, put))
            .transpose()?;
        let revision = row.revision;
        catalog.rows.insert(Uri::new(row.realm), RealmRow { revision, settings });
    }
    Ok(catalog)
}
