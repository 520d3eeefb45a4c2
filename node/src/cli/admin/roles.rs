//! Roles, their permissions, and who may do what.

use clap::Args;
use ringfort_proto::admin::v1 as pb;
use serde_json::{Value, json};
use tonic::transport::Channel;

use super::{
    output::{Output, Shown, Sure, Table, Watch},
    reply::{changed, refused, standing},
};
use crate::cli::Failure;

/// List the roles of a realm and what they may do.
#[derive(Debug, Args)]
pub(super) struct List {
    realm: String,
    #[command(flatten)]
    watch: Watch,
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
    #[command(flatten)]
    sure: Sure,
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
    pub(super) async fn ask(self, channel: Channel, output: Output) -> Result<(), Failure> {
        let mut roles = pb::roles_client::RolesClient::new(channel);
        let make = async || {
            let request = pb::ListRolesRequest {
                realm: self.realm.clone(),
            };
            let reply = roles.list(request).await.map_err(refused)?.into_inner();
            let mut table = Table::new(["ROLE", "STANDING", "ALLOW", "DENY", "MATCH", "URI"]);
            let mut rows = Vec::new();
            for role in reply.roles {
                let permissions: Vec<Value> = role.permissions.iter().map(told).collect();
                rows.push(json!({
                    "name": role.name, "permissions": permissions, "revision": role.revision, "fixed": role.fixed,
                }));
                let standing = standing(role.fixed, role.revision);
                if role.permissions.is_empty() {
                    let none = || "-".to_owned();
                    table.row([role.name.clone(), standing.clone(), none(), none(), none(), none()]);
                }
                for one in role.permissions {
                    let rights = |rights: &[String]| if rights.is_empty() { "-".to_owned() } else { rights.join(",") };
                    let (allow, deny) = (rights(&one.allow), rights(&one.deny));
                    let uri = format!("\"{}\"", one.uri);
                    table.row([role.name.clone(), standing.clone(), allow, deny, one.r#match, uri]);
                }
            }
            Ok(Shown::new(json!({ "roles": Value::from(rows) }), table.render()))
        };
        self.watch.show(output, make).await
    }
}

impl Put {
    pub(super) async fn ask(self, channel: Channel, output: Output) -> Result<(), Failure> {
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
        let reply = pb::roles_client::RolesClient::new(channel).put(request).await;
        changed(reply, output)
    }
}

impl Remove {
    pub(super) async fn ask(self, channel: Channel, output: Output) -> Result<(), Failure> {
        self.sure.ask(&format!(
            "this takes role {} of realm {} away: who acts in it may do nothing",
            self.role, self.realm
        ))?;
        let request = pb::RemoveRoleRequest {
            realm: self.realm,
            role: self.role,
            expected: self.revision,
        };
        let reply = pb::roles_client::RolesClient::new(channel).remove(request).await;
        changed(reply, output)
    }
}

impl Why {
    pub(super) async fn ask(self, channel: Channel, output: Output) -> Result<(), Failure> {
        let request = pb::WhyRequest {
            realm: self.realm,
            authid: self.authid,
            authrole: self.role,
            right: self.verb,
            uri: self.uri,
            r#match: self.policy,
        };
        let reply = pb::roles_client::RolesClient::new(channel).why(request).await;
        let reply = reply.map_err(refused)?.into_inner();
        let json = json!({ "allowed": reply.allowed, "explanation": reply.explanation });
        output.show(&Shown::new(json, reply.explanation))
    }
}

fn told(permission: &pb::Permission) -> Value {
    json!({
        "uri": permission.uri, "match": permission.r#match, "allow": permission.allow, "deny": permission.deny,
        "disclose": permission.disclose,
    })
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
