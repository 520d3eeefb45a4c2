//! The realms that the log makes: replicated state, a pure function of the edits applied so far.
//!
//! A realm of a configuration file is each node's own and is not in here. The name of a realm that was removed stays, so that its revision
//! is never given again; such names are bounded too, and may be used again.

use std::collections::BTreeMap;

use super::command::DecodeError;
use crate::{
    config,
    router::{Edit, reflection::Definition},
    wamp::Uri,
};

/// Realms of the log at a time.
pub const REALMS_MAX: usize = 1_000;
/// Names that realms of the log have ever had.
pub const NAMES_MAX: usize = 4_000;
/// Definitions that one edit may bring.
pub const DEFINITIONS_MAX: usize = 10_000;

/// A realm that the log makes, or has made.
#[derive(Clone, Debug, PartialEq)]
pub struct RealmRow {
    /// Of its last change.
    pub revision: u64,
    /// What it is like, its name included; `None`: it was removed.
    pub settings: Option<config::Realm>,
}

/// All of them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Catalog {
    /// Of the last change of any of them.
    pub revision: u64,
    /// By name.
    pub rows: BTreeMap<Uri, RealmRow>,
}

/// What is asked of the log about several realms: all of it is done, or nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Edits {
    /// Who asks.
    pub actor: String,
    /// Only where nothing was changed before but what the expectations name.
    pub fresh: bool,
    /// What salts and stand-ins are made of from now on.
    pub key: Option<[u8; 16]>,
    /// One for each realm.
    pub realms: Vec<RealmEdit>,
}

/// What is done to one realm.
#[derive(Clone, Debug, PartialEq)]
pub struct RealmEdit {
    /// Its name.
    pub realm: Uri,
    /// Only if its roles and principals have this revision.
    pub rights_expected: Option<u64>,
    /// Only if its settings have this revision, 0 for none.
    pub settings_expected: Option<u64>,
    /// What becomes of the realm itself.
    pub itself: Itself,
    /// What becomes of its roles, principals and definitions.
    pub edit: Edit,
}

/// What becomes of a realm.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Itself {
    /// It stays as it is.
    #[default]
    Stays,
    /// It is like this.
    Put(Box<config::Realm>),
    /// It goes.
    Goes,
}

/// The revisions of a realm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RealmRevision {
    /// Its name.
    pub realm: Uri,
    /// Of its settings, or of its removal; 0 if the log does not make it.
    pub settings: u64,
    /// Of its roles and principals.
    pub rights: u64,
}

impl RealmEdit {
    /// Nothing is done to that realm.
    pub fn of(realm: Uri) -> Self {
        Self {
            realm,
            rights_expected: None,
            settings_expected: None,
            itself: Itself::Stays,
            edit: Edit::default(),
        }
    }
}

impl Catalog {
    /// What a realm is like that clients can join because the log says so.
    pub fn settings(&self, realm: &str) -> Option<&config::Realm> {
        self.rows.get(realm)?.settings.as_ref()
    }

    /// The revision to be expected of a realm's settings: 0 if it is not there.
    pub fn revision_of(&self, realm: &str) -> u64 {
        let row = self.rows.get(realm).filter(|row| row.settings.is_some());
        row.map_or(0, |row| row.revision)
    }

    /// True if a realm of that name was removed and not made again.
    pub fn was_removed(&self, realm: &str) -> bool {
        self.rows.get(realm).is_some_and(|row| row.settings.is_none())
    }

    /// Those that are there.
    pub fn live(&self) -> impl Iterator<Item = (&Uri, u64, &config::Realm)> {
        let live = self.rows.iter();
        live.filter_map(|(name, row)| Some((name, row.revision, row.settings.as_ref()?)))
    }

    /// True if the edits do not lead beyond the bounds.
    pub fn has_room_for(&self, edits: &[RealmEdit]) -> bool {
        let mut live: BTreeMap<&str, bool> = self
            .rows
            .iter()
            .map(|(name, row)| (name.as_str(), row.settings.is_some()))
            .collect();
        for edit in edits {
            match &edit.itself {
                Itself::Stays => {}
                Itself::Put(_) => _ = live.insert(&edit.realm, true),
                Itself::Goes => _ = live.insert(&edit.realm, false),
            }
        }
        live.values().filter(|live| **live).count() <= REALMS_MAX && live.len() <= NAMES_MAX
    }

    /// Puts a realm there or takes it away. Returns its revision.
    pub fn set(&mut self, realm: &Uri, settings: Option<config::Realm>) -> u64 {
        self.revision += 1;
        let row = RealmRow {
            revision: self.revision,
            settings,
        };
        self.rows.insert(realm.clone(), row);
        self.revision
    }
}

/// What of `[[realm]]` is replicated: the settings that mean the same on every node and name no file of one.
///
/// # Errors
/// The setting that is not.
pub fn replicable(realm: &config::Realm) -> Result<config::Realm, &'static str> {
    let none = [
        ("topics", realm.topics.is_empty()),
        ("definitions", realm.definitions.is_empty()),
        ("jwt", realm.jwt.is_empty()),
    ];
    if let Some((name, _)) = none.iter().find(|(_, empty)| !empty) {
        return Err(name);
    }
    let plain = |role: &config::Role| {
        role.authorizer.is_empty() && role.quota == config::Quota::default() && role.per_principal == config::Quota::default()
    };
    if !realm.roles.iter().all(plain) {
        return Err("roles.authorizer, roles.quota and roles.per_principal");
    }
    Ok(config::Realm {
        roles: Vec::new(),
        rights: config::RightsFrom::Seed,
        ..realm.clone()
    })
}

/// Why bytes are no edits.
pub(super) const fn broken(what: &'static str) -> DecodeError {
    DecodeError::Field(what)
}

/// Definitions as the router has them, from the parts of the log's message.
pub(super) fn no_more_than_fit(definitions: &[Definition]) -> Result<(), DecodeError> {
    match definitions.len() {
        0..=DEFINITIONS_MAX => Ok(()),
        _ => Err(broken("more definitions than fit into one edit")),
    }
}
