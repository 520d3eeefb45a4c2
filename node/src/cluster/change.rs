//! Changes of roles and principals as bytes of the log.

use ringfort_proto::cluster::v1 as pb;

use super::command::DecodeError;
use crate::{
    auth::{Credential, Principal},
    router::{Change, Disclosure, MatchPolicy, Permission, Rights, policy::Request},
    wamp::Uri,
};

pub(super) fn to_pb(realm: &Uri, actor: &str, request: &Request) -> pb::Change {
    use pb::change::Change as P;
    let change = match &request.change {
        Change::PutRole { role, permissions } => P::PutRole(role_to_pb(role, permissions)),
        Change::RemoveRole { role } => P::RemoveRole(role.clone()),
        Change::PutPrincipal { principal } => P::PutPrincipal(principal_to_pb(principal)),
        Change::RemovePrincipal { authid } => P::RemovePrincipal(authid.clone()),
        Change::Seed { roles, principals } => P::Seed(pb::Seed {
            roles: roles
                .iter()
                .map(|(role, permissions)| role_to_pb(role, permissions))
                .collect(),
            principals: principals.iter().map(principal_to_pb).collect(),
        }),
    };
    pb::Change {
        realm: realm.to_string(),
        conditional: request.expected.is_some(),
        expected: request.expected.unwrap_or(0),
        actor: actor.to_owned(),
        change: Some(change),
    }
}

pub(super) fn from_pb(change: pb::Change) -> Result<(Uri, String, Request), DecodeError> {
    use pb::change::Change as P;
    let decoded = match change.change.ok_or(DecodeError::Field("change this build does not know"))? {
        P::PutRole(put) => {
            let (role, permissions) = role_from_pb(put)?;
            Change::PutRole { role, permissions }
        }
        P::RemoveRole(role) => Change::RemoveRole { role },
        P::PutPrincipal(put) => Change::PutPrincipal {
            principal: principal_from_pb(put)?,
        },
        P::RemovePrincipal(authid) => Change::RemovePrincipal { authid },
        P::Seed(seed) => Change::Seed {
            roles: seed.roles.into_iter().map(role_from_pb).collect::<Result<_, _>>()?,
            principals: seed.principals.into_iter().map(principal_from_pb).collect::<Result<_, _>>()?,
        },
    };
    let request = Request {
        change: decoded,
        expected: change.conditional.then_some(change.expected),
    };
    Ok((Uri::new(change.realm), change.actor, request))
}

fn role_to_pb(role: &str, permissions: &[Permission]) -> pb::PutRole {
    pb::PutRole {
        role: role.to_owned(),
        permissions: permissions.iter().map(permission_to_pb).collect(),
    }
}

fn role_from_pb(put: pb::PutRole) -> Result<(String, Vec<Permission>), DecodeError> {
    let permissions = put.permissions.iter().map(permission_from_pb).collect::<Result<_, _>>()?;
    Ok((put.role, permissions))
}

fn principal_to_pb(principal: &Principal) -> pb::PutPrincipal {
    pb::PutPrincipal {
        authid: principal.authid.clone(),
        role: principal.role.clone(),
        credentials: principal.credentials.iter().map(Credential::to_text).collect(),
    }
}

fn principal_from_pb(put: pb::PutPrincipal) -> Result<Principal, DecodeError> {
    Ok(Principal {
        authid: put.authid,
        role: put.role,
        credentials: put
            .credentials
            .iter()
            .map(|text| credential(text))
            .collect::<Result<_, _>>()?,
    })
}

fn permission_to_pb(permission: &Permission) -> pb::Permission {
    pb::Permission {
        uri: permission.uri.to_string(),
        r#match: permission.policy.code().into(),
        allow: permission.allow.code().into(),
        deny: permission.deny.code().into(),
        disclose: permission.disclose.map_or(0, Disclosure::code).into(),
    }
}

fn permission_from_pb(permission: &pb::Permission) -> Result<Permission, DecodeError> {
    let small = |code: u32| u8::try_from(code).ok();
    let rights = |code| {
        let rights = small(code).and_then(Rights::from_code);
        rights.ok_or(DecodeError::Field("rights this build does not know"))
    };
    Ok(Permission {
        uri: Uri::from(permission.uri.as_str()),
        policy: small(permission.r#match)
            .and_then(MatchPolicy::from_code)
            .ok_or(DecodeError::Field("match policy this build does not know"))?,
        allow: rights(permission.allow)?,
        deny: rights(permission.deny)?,
        disclose: match permission.disclose {
            0 => None,
            code => {
                let disclosure = small(code).and_then(Disclosure::from_code);
                Some(disclosure.ok_or(DecodeError::Field("disclosure this build does not know"))?)
            }
        },
    })
}

fn credential(text: &str) -> Result<Credential, DecodeError> {
    text.parse()
        .map_err(|_| DecodeError::Field("credential this build cannot read"))
}
