//! What a document would change: standing against wanted, object by object, and the edits that lead there. Pure.

use std::collections::BTreeMap;

use ringfort_proto::admin::v1::{
    self as pb,
    difference::{Action, Kind},
};
use serde_json::Value;

use crate::{
    admin::{realms::settings_of, terms},
    auth::{Credential, Principal, Seed},
    cluster::catalog::{Itself, RealmEdit, RealmRevision},
    config,
    router::{Authority, Change, Permission},
    wamp::Uri,
};

/// A realm as the document wants it.
pub(super) struct Wanted {
    pub(super) name: Uri,
    /// `None`: it is of the configuration, and stays as that says.
    pub(super) settings: Option<config::Realm>,
    pub(super) roles: Vec<(String, Vec<Permission>)>,
    pub(super) principals: Vec<Seed>,
}

/// The same realm as it stands.
#[derive(Default)]
pub(super) struct Standing {
    /// What the log makes of it, and the revision of that.
    pub(super) settings: Option<(u64, config::Realm)>,
    pub(super) authority: Authority,
}

/// What becomes of what the document does not name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Prune {
    No,
    Yes,
}

/// What is to be done.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) differences: Vec<pb::Difference>,
    pub(super) unchanged: u64,
    /// What everything was compared with.
    pub(super) revisions: Vec<RealmRevision>,
    /// Of the realms in which something changes.
    pub(super) edits: Vec<RealmEdit>,
}

impl Plan {
    /// Compares one realm. `salt` gives the salt for the verifier of a secret that is new.
    pub(super) fn realm(&mut self, wanted: &Wanted, standing: &Standing, prune: Prune, salt: &mut dyn FnMut() -> [u8; 16]) {
        let mut edit = self.begin(&wanted.name, standing);
        if let Some(settings) = &wanted.settings {
            self.settings(&wanted.name, settings, standing, &mut edit);
        }
        self.roles(wanted, &standing.authority, prune, &mut edit.edit.changes);
        self.principals(wanted, &standing.authority, prune, salt, &mut edit.edit.changes);
        if edit.itself != Itself::Stays || !edit.edit.is_empty() {
            self.edits.push(edit);
        }
    }

    /// A realm of the log that the document does not name goes.
    pub(super) fn without(&mut self, name: &Uri, standing: &Standing) {
        let mut edit = self.begin(name, standing);
        edit.itself = Itself::Goes;
        let (roles, principals) = (standing.authority.roles().count(), standing.authority.principals().count());
        self.differences.push(pb::Difference {
            revision: edit.settings_expected.unwrap_or(0),
            before: vec![format!("{roles} roles, {principals} principals, and its definitions")],
            takes_away: true,
            ..difference(Kind::Realm, Action::Removed, name, "")
        });
        self.edits.push(edit);
    }

    /// Realms first, then roles, then principals, as they are told.
    pub(super) fn sorted(mut self) -> Self {
        let order = |one: &pb::Difference| (one.kind, one.realm.clone(), one.name.clone());
        self.differences.sort_by_key(order);
        self
    }

    fn begin(&mut self, name: &Uri, standing: &Standing) -> RealmEdit {
        let revision = RealmRevision {
            realm: name.clone(),
            settings: standing.settings.as_ref().map_or(0, |(revision, _)| *revision),
            rights: standing.authority.revision(),
        };
        let edit = RealmEdit {
            settings_expected: Some(revision.settings),
            rights_expected: Some(revision.rights),
            ..RealmEdit::of(name.clone())
        };
        self.revisions.push(revision);
        edit
    }

    fn settings(&mut self, name: &Uri, wanted: &config::Realm, standing: &Standing, edit: &mut RealmEdit) {
        let default = config::Realm::default();
        let (action, revision, former) = match &standing.settings {
            Some((_, settings)) if settings == wanted => {
                self.unchanged += 1;
                return;
            }
            Some((revision, settings)) => (Action::Changed, *revision, settings),
            None => (Action::Added, 0, &default),
        };
        let (before, after) = changed_settings(former, wanted);
        let anonymous = |realm: &config::Realm| (realm.anonymous, realm.anonymous_role.clone());
        self.differences.push(pb::Difference {
            revision,
            takes_away: action == Action::Changed && anonymous(former) != anonymous(wanted),
            before: if action == Action::Added { Vec::new() } else { before },
            after,
            ..difference(Kind::Realm, action, name, "")
        });
        edit.itself = Itself::Put(Box::new(wanted.clone()));
    }

    fn roles(&mut self, wanted: &Wanted, authority: &Authority, prune: Prune, changes: &mut Vec<Change>) {
        let standing: BTreeMap<&str, _> = authority.roles().collect();
        for (role, permissions) in &wanted.roles {
            let row = standing.get(role.as_str());
            let former = row.map_or(&[][..], |row| &row.value);
            if row.is_some() && same(former, permissions) {
                self.unchanged += 1;
                continue;
            }
            let (gone, new) = (missing(former, permissions), missing(permissions, former));
            let takes_away = gone.iter().any(|one| !one.allow.is_empty()) || new.iter().any(|one| !one.deny.is_empty());
            let action = if row.is_some() { Action::Changed } else { Action::Added };
            self.differences.push(pb::Difference {
                revision: row.map_or(0, |row| row.revision),
                takes_away: takes_away && row.is_some(),
                before: gone.into_iter().map(line).collect(),
                after: new.into_iter().map(line).collect(),
                ..difference(Kind::Role, action, &wanted.name, role)
            });
            changes.push(Change::PutRole {
                role: role.clone(),
                permissions: permissions.clone(),
            });
        }
        let named = |role: &str| wanted.roles.iter().any(|(name, _)| name == role);
        for (role, row) in standing.into_iter().filter(|(role, _)| prune == Prune::Yes && !named(role)) {
            self.differences.push(pb::Difference {
                revision: row.revision,
                takes_away: true,
                before: row.value.iter().map(line).collect(),
                ..difference(Kind::Role, Action::Removed, &wanted.name, role)
            });
            changes.push(Change::RemoveRole { role: role.to_owned() });
        }
    }

    fn principals(
        &mut self,
        wanted: &Wanted,
        authority: &Authority,
        prune: Prune,
        salt: &mut dyn FnMut() -> [u8; 16],
        changes: &mut Vec<Change>,
    ) {
        let mut named = std::collections::BTreeSet::new();
        for seed in &wanted.principals {
            let authid = seed.principal.authid.as_str();
            named.insert(authid);
            let row = authority.principal(authid);
            let former = row.map_or(&[][..], |row| &row.value.credentials);
            let principal = grown(seed, former, salt);
            if row.is_some_and(|row| row.value.role == principal.role && same(former, &principal.credentials)) {
                self.unchanged += 1;
                continue;
            }
            let (gone, new) = (
                missing(former, &principal.credentials),
                missing(&principal.credentials, former),
            );
            let role = row.map(|row| row.value.role.as_str()).filter(|role| *role != principal.role);
            let is_new = row.is_none() || role.is_some();
            let before = role.map(|role| format!("role {role}"));
            let after = is_new.then(|| format!("role {}", principal.role));
            let action = if row.is_some() { Action::Changed } else { Action::Added };
            self.differences.push(pb::Difference {
                revision: row.map_or(0, |row| row.revision),
                takes_away: row.is_some() && (role.is_some() || !gone.is_empty()),
                before: before.into_iter().chain(gone.into_iter().map(Credential::describe)).collect(),
                after: after.into_iter().chain(new.into_iter().map(Credential::describe)).collect(),
                ..difference(Kind::Principal, action, &wanted.name, authid)
            });
            changes.push(Change::PutPrincipal { principal });
        }
        for row in authority.principals() {
            let authid = row.value.authid.as_str();
            if prune == Prune::No || named.contains(authid) {
                continue;
            }
            let credentials = row.value.credentials.iter().map(Credential::describe);
            self.differences.push(pb::Difference {
                revision: row.revision,
                takes_away: true,
                before: std::iter::once(format!("role {}", row.value.role))
                    .chain(credentials)
                    .collect(),
                ..difference(Kind::Principal, Action::Removed, &wanted.name, authid)
            });
            let authid = authid.to_owned();
            changes.push(Change::RemovePrincipal { authid });
        }
    }
}

fn difference(kind: Kind, action: Action, realm: &str, name: &str) -> pb::Difference {
    pb::Difference {
        kind: kind.into(),
        action: action.into(),
        realm: realm.to_owned(),
        name: name.to_owned(),
        ..pb::Difference::default()
    }
}

/// The principal with verifiers in place of secrets. What stands already stays as it is, so that its sessions do.
fn grown(seed: &Seed, former: &[Credential], salt: &mut dyn FnMut() -> [u8; 16]) -> Principal {
    let verifier = |clear: &crate::auth::Clear| {
        let standing = former.iter().find(|credential| clear.is_behind(credential)).cloned();
        standing.or_else(|| clear.credential(salt()))
    };
    let made: Vec<Credential> = seed.clear.iter().filter_map(verifier).collect();
    Principal {
        credentials: seed.principal.credentials.iter().cloned().chain(made).collect(),
        ..seed.principal.clone()
    }
}

/// What is in `these` and not in `those`.
fn missing<'a, T: PartialEq>(these: &'a [T], those: &[T]) -> Vec<&'a T> {
    these.iter().filter(|one| !those.contains(one)).collect()
}

/// The order says nothing.
fn same<T: PartialEq>(these: &[T], those: &[T]) -> bool {
    these.len() == those.len() && missing(these, those).is_empty() && missing(those, these).is_empty()
}

/// A permission in a line, as the command line takes it.
fn line(permission: &Permission) -> String {
    let told = terms::told(permission);
    let rights = [("allow", &told.allow), ("deny", &told.deny)];
    let mut parts: Vec<String> = rights
        .iter()
        .filter(|(_, rights)| !rights.is_empty())
        .map(|(verb, rights)| format!("{verb} {}", rights.join(",")))
        .collect();
    parts.push(format!("{} \"{}\"", told.r#match, told.uri));
    if !told.disclose.is_empty() {
        parts.push(format!("disclose {}", told.disclose));
    }
    parts.join(" ")
}

/// The settings in which two realms differ, as lines of a configuration.
fn changed_settings(former: &config::Realm, wanted: &config::Realm) -> (Vec<String>, Vec<String>) {
    let (former, wanted) = (settings_of(former), settings_of(wanted));
    let lines = |these: &serde_json::Map<String, Value>, those: &serde_json::Map<String, Value>| {
        let differing = these.iter().filter(|(key, value)| those.get(*key) != Some(*value));
        differing.map(|(key, value)| format!("{key} = {value}")).collect()
    };
    (lines(&former, &wanted), lines(&wanted, &former))
}

#[cfg(test)]
#[path = "diff_tests.rs"]
mod tests;
