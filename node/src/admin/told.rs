//! Roles and principals as the audit log tells them: before and after a change, and never a credential.

use serde_json::{Value, json};

use super::terms;
use crate::{
    auth::Principal,
    router::{Authority, Change, Permission},
};

/// What stands of what a change is about; null if it is not there.
pub(super) fn standing(authority: &Authority, change: &Change) -> Value {
    let found = match change {
        Change::Seed { .. } => None,
        Change::PutRole { role, .. } | Change::RemoveRole { role } => {
            let row = authority.roles().find(|(name, _)| name == role);
            row.map(|(_, row)| permissions(&row.value))
        }
        Change::PutPrincipal {
            principal: Principal { authid, .. },
        }
        | Change::RemovePrincipal { authid } => authority.principal(authid).map(|row| principal(&row.value)),
    };
    found.unwrap_or(Value::Null)
}

/// What a change is to bring about; null where something goes.
pub(super) fn wanted(change: &Change) -> Value {
    match change {
        Change::PutRole { permissions: wanted, .. } => permissions(wanted),
        Change::PutPrincipal { principal: wanted } => principal(wanted),
        Change::RemoveRole { .. } | Change::RemovePrincipal { .. } | Change::Seed { .. } => Value::Null,
    }
}

fn permissions(permissions: &[Permission]) -> Value {
    let told = permissions.iter().map(|permission| {
        let told = terms::told(permission);
        json!({ "uri": told.uri, "match": told.r#match, "allow": told.allow, "deny": told.deny, "disclose": told.disclose })
    });
    json!({ "permissions": told.collect::<Vec<_>>() })
}

/// Kinds of credentials only, as lists show them.
fn principal(principal: &Principal) -> Value {
    let credentials: Vec<String> = principal.credentials.iter().map(|one| one.describe()).collect();
    json!({ "role": principal.role, "credentials": credentials })
}
