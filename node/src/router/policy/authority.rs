//! The roles and principals of a realm that are changed at run time: replicated state, a pure function of the changes applied so far.
//!
//! Every change that is made gets the next revision of its realm. Who changes something may say which revision of it he has seen; if
//! it has changed since, nothing is done. Bounds are the same on every node, since they decide what an entry of the log does.

use std::collections::BTreeMap;

use super::Permission;
use crate::auth::Principal;

/// Roles of a realm; beyond it none is added.
pub const ROLES_MAX: usize = 1_000;
/// Permissions of one role.
pub const PERMISSIONS_MAX: usize = 1_000;
/// Principals of a realm.
pub const PRINCIPALS_MAX: usize = 100_000;
/// Credentials of one principal.
pub const CREDENTIALS_MAX: usize = 32;
/// Bytes of a name.
pub const NAME_BYTES_MAX: usize = 255;

/// What is asked of the log.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// A role may do this and nothing else.
    PutRole { role: String, permissions: Vec<Permission> },
    /// A role may do nothing any more.
    RemoveRole { role: String },
    /// Somebody may join. What its sessions stood on before ends them: another role, or a credential that is gone.
    PutPrincipal { principal: Principal },
    /// Somebody may not join any more; its sessions end.
    RemovePrincipal { authid: String },
    /// With what a realm begins. Done only where nothing was ever changed in it, so once, whichever node asks first; after that it is
    /// a conflict, even if all of it was removed again.
    Seed {
        /// Roles and what they may do.
        roles: Vec<(String, Vec<Permission>)>,
        /// Who may join.
        principals: Vec<Principal>,
    },
}

/// A [`Change`] and what whoever asks for it has seen.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// What.
    pub change: Change,
    /// The revision of the role or principal, 0 if there was none; `None`: whatever it is.
    pub expected: Option<u64>,
}

/// What came of a [`Request`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changed {
    /// It was done; this is its revision.
    Done(u64),
    /// It has another revision than expected: this one, 0 if it is not there.
    Conflict(u64),
    /// There is nothing to remove.
    NotFound,
    /// There is no room for it.
    Full,
}

/// A value and when it was changed.
#[derive(Clone, Debug, PartialEq)]
pub struct Row<T> {
    /// The revision of the last change.
    pub revision: u64,
    /// What there is.
    pub value: T,
}

/// All of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Authority {
    pub(in crate::router) revision: u64,
    pub(in crate::router) roles: BTreeMap<String, Row<Vec<Permission>>>,
    pub(in crate::router) principals: BTreeMap<String, Row<Principal>>,
}

impl Authority {
    /// The revision of the last change; 0 before the first.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// The roles, by name.
    pub fn roles(&self) -> impl Iterator<Item = (&str, &Row<Vec<Permission>>)> {
        self.roles.iter().map(|(name, row)| (name.as_str(), row))
    }

    /// The principals, by authid.
    pub fn principals(&self) -> impl Iterator<Item = &Row<Principal>> {
        self.principals.values()
    }

    /// The principal of that name.
    pub fn principal(&self, authid: &str) -> Option<&Row<Principal>> {
        self.principals.get(authid)
    }

    /// Applies one change.
    pub(in crate::router) fn apply(&mut self, request: &Request) -> Changed {
        match &request.change {
            Change::PutRole { role, permissions } => put(
                &mut self.roles,
                &mut self.revision,
                (role, permissions.clone()),
                request.expected,
                ROLES_MAX,
            ),
            Change::RemoveRole { role } => remove(&mut self.roles, &mut self.revision, role, request.expected),
            Change::PutPrincipal { principal } => put(
                &mut self.principals,
                &mut self.revision,
                (&principal.authid, principal.clone()),
                request.expected,
                PRINCIPALS_MAX,
            ),
            Change::RemovePrincipal { authid } => remove(&mut self.principals, &mut self.revision, authid, request.expected),
            Change::Seed { roles, principals } => self.seed(roles, principals),
        }
    }

    fn seed(&mut self, roles: &[(String, Vec<Permission>)], principals: &[Principal]) -> Changed {
        if self.revision > 0 {
            return Changed::Conflict(self.revision);
        }
        if roles.len() > ROLES_MAX || principals.len() > PRINCIPALS_MAX {
            return Changed::Full;
        }
        self.revision = 1;
        let row = |value| Row { revision: 1, value };
        self.roles = roles
            .iter()
            .map(|(role, permissions)| (role.clone(), row(permissions.clone())))
            .collect();
        let row = |value| Row { revision: 1, value };
        self.principals = principals.iter().map(|one| (one.authid.clone(), row(one.clone()))).collect();
        Changed::Done(1)
    }

    /// Those whose sessions do not stand any more once `newer` is in force: they are gone, or act in another role, or have lost a
    /// credential.
    pub(in crate::router) fn revoked_by(&self, newer: &Authority) -> Vec<String> {
        let stands = |old: &Principal| {
            let new = newer.principals.get(&old.authid).map(|row| &row.value);
            new.is_some_and(|new| old.stands_as(new))
        };
        let revoked = self.principals.values().filter(|row| !stands(&row.value));
        revoked.map(|row| row.value.authid.clone()).collect()
    }
}

fn conflict<T>(rows: &BTreeMap<String, Row<T>>, name: &str, expected: Option<u64>) -> Option<Changed> {
    let found = rows.get(name).map_or(0, |row| row.revision);
    expected
        .filter(|expected| *expected != found)
        .map(|_| Changed::Conflict(found))
}

fn put<T>(
    rows: &mut BTreeMap<String, Row<T>>,
    revision: &mut u64,
    (name, value): (&str, T),
    expected: Option<u64>,
    max: usize,
) -> Changed {
    if let Some(conflict) = conflict(rows, name, expected) {
        return conflict;
    }
    if rows.len() >= max && !rows.contains_key(name) {
        return Changed::Full;
    }
    *revision += 1;
    let row = Row {
        revision: *revision,
        value,
    };
    rows.insert(name.to_owned(), row);
    Changed::Done(*revision)
}

fn remove<T>(rows: &mut BTreeMap<String, Row<T>>, revision: &mut u64, name: &str, expected: Option<u64>) -> Changed {
    if let Some(conflict) = conflict(rows, name, expected) {
        return conflict;
    }
    if rows.remove(name).is_none() {
        return Changed::NotFound;
    }
    *revision += 1;
    Changed::Done(*revision)
}

impl Change {
    /// What is wrong with it, for whoever asks for it. A change that passes is applied as it is on every node.
    ///
    /// # Errors
    /// Says what is wrong.
    pub fn check(&self) -> Result<(), String> {
        let name = |what: &str, name: &str| match name.len() {
            0 => Err(format!("{what} is empty")),
            1..=NAME_BYTES_MAX => Ok(()),
            _ => Err(format!("{what} is longer than {NAME_BYTES_MAX} bytes")),
        };
        let role_is = |role: &str, permissions: &[Permission]| {
            name("the role", role)?;
            if permissions.len() > PERMISSIONS_MAX {
                return Err(format!("more than {PERMISSIONS_MAX} permissions"));
            }
            for (at, permission) in permissions.iter().enumerate() {
                permission.check().map_err(|what| format!("permission {}: {what}", at + 1))?;
            }
            Ok(())
        };
        let principal_is = |principal: &Principal| {
            name("the authid", &principal.authid)?;
            name("the role", &principal.role)?;
            if principal.credentials.len() > CREDENTIALS_MAX {
                return Err(format!("more than {CREDENTIALS_MAX} credentials"));
            }
            Ok(())
        };
        match self {
            Self::PutRole { role, permissions } => role_is(role, permissions),
            Self::RemoveRole { role } => name("the role", role),
            Self::PutPrincipal { principal } => principal_is(principal),
            Self::RemovePrincipal { authid } => name("the authid", authid),
            Self::Seed { roles, principals } => {
                roles.iter().try_for_each(|(role, permissions)| role_is(role, permissions))?;
                principals.iter().try_for_each(principal_is)
            }
        }
    }

    /// What it does and to whom, without any secret: for logs.
    pub fn describe(&self) -> (&'static str, &str) {
        match self {
            Self::PutRole { role, .. } => ("put_role", role),
            Self::RemoveRole { role } => ("remove_role", role),
            Self::PutPrincipal { principal } => ("put_principal", &principal.authid),
            Self::RemovePrincipal { authid } => ("remove_principal", authid),
            Self::Seed { .. } => ("seed", "roles and principals"),
        }
    }
}
