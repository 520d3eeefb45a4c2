//! Roles, their permissions, and who may do what.

use clap::Args;
use ringfort_proto::admin::v1 as pb;
use tonic::transport::Channel;

use super::reply::{changed, refused, standing};
use crate::cli::{Failure, print_line};

/// List the roles of a realm and what they may do.
#[derive(Debug, Args)]
pub(super) struct List {
    realm: String,
}

/// Give a role these permissions and no other; add it if it is not there.
#[derive(Debug, Args)]
pub(super) struct Put {
    realm: String,
    role: String,
    /// Rights, joined by commas, then exact, prefix or wildcard, then a URI: "call,subscribe prefix com.example."
    #[arg(long, value_name = "RIGHTS MATCH URI")]
    allow: Vec<String>,
    /// The same of what is denied.
    #[arg(long, value_name = "RIGHTS MATCH URI")]
    deny: Vec<String>,
    /// Only if it still has this revision, 0 if it must be new.
    #[arg(long)]
    revision: Option<u64>,
}

/// Take a role away: who acts in it may do nothing.
#[derive(Debug, Args)]
pub(super) struct Remove {
    realm: String,
    role: String,
    /// Only if it still has this revision.
    #[arg(long)]
    revision: Option<u64>,
}

/// Tell whether somebody may do something, and which permission decides. Exit code 0 either way.
#[derive(Debug, Args)]
pub(super) struct Why {
    authid: String,
    /// call, register, publish, subscribe, register_pattern, subscribe_pattern or force_reregister.
    verb: String,
    uri: String,
    /// The realm.
    #[arg(long, default_value = "realm1")]
    realm: String,
    /// The role, for somebody who is no principal.
    #[arg(long, default_value = "")]
    role: String,
    /// How the URI is meant: exact, prefix or wildcard.
    #[arg(long = "match", default_value = "exact")]
    policy: String,
}

impl List {
    pub(super) async fn ask(self, channel: Channel) -> Result<(), Failure> {
        let request = pb::ListRolesRequest { realm: self.realm };
        let reply = pb::roles_client::RolesClient::new(channel).list(request).await;
        for role in reply.map_err(refused)?.into_inner().roles {
            print_line(&format!("{} ({})", role.name, standing(role.fixed, role.revision)))?;
            for permission in role.permissions {
                print_line(&format!("  {}", told(&permission)))?;
            }
        }
        Ok(())
    }
}

impl Put {
    pub(super) async fn ask(self, channel: Channel) -> Result<(), Failure> {
        let mut permissions = Vec::new();
        for text in &self.allow {
            let (rights, mut permission) = permission(text)?;
            permission.allow = rights;
            permissions.push(permission);
        }
        for text in &self.deny {
            let (rights, mut permission) = permission(text)?;
            permission.deny = rights;
            permissions.push(permission);
        }
        let request = pb::PutRoleRequest {
            realm: self.realm,
            role: self.role,
            permissions,
            expected: self.revision,
        };
        changed(pb::roles_client::RolesClient::new(channel).put(request).await)
    }
}

impl Remove {
    pub(super) async fn ask(self, channel: Channel) -> Result<(), Failure> {
        let request = pb::RemoveRoleRequest {
            realm: self.realm,
            role: self.role,
            expected: self.revision,
        };
        changed(pb::roles_client::RolesClient::new(channel).remove(request).await)
    }
}

impl Why {
    pub(super) async fn ask(self, channel: Channel) -> Result<(), Failure> {
        let request = pb::WhyRequest {
            realm: self.realm,
            authid: self.authid,
            authrole: self.role,
            right: self.verb,
            uri: self.uri,
            r#match: self.policy,
        };
        let reply = pb::roles_client::RolesClient::new(channel).why(request).await;
        print_line(&reply.map_err(refused)?.into_inner().explanation)
    }
}

fn told(permission: &pb::Permission) -> String {
    let mut parts = Vec::new();
    for (verb, rights) in [("allow", &permission.allow), ("deny", &permission.deny)] {
        if !rights.is_empty() {
            parts.push(format!("{verb} {}", rights.join(",")));
        }
    }
    format!("{} {} \"{}\"", parts.join(" and "), permission.r#match, permission.uri)
}

/// Reads `call,subscribe prefix com.example.`; the URI may be left out for everything.
fn permission(text: &str) -> Result<(Vec<String>, pb::Permission), Failure> {
    let mut words = text.split_whitespace();
    let (Some(rights), Some(r#match), uri, None) = (words.next(), words.next(), words.next(), words.next()) else {
        let text =
            format!("\"{text}\": write rights, then exact, prefix or wildcard, then a URI, such as \"call,publish prefix com.\"");
        return Err(Failure { code: 2, text });
    };
    let permission = pb::Permission {
        uri: uri.unwrap_or_default().to_owned(),
        r#match: r#match.to_owned(),
        ..pb::Permission::default()
    };
    Ok((rights.split(',').map(str::to_owned).collect(), permission))
}
