//! `ringfort admin`: roles, permissions and principals of a running cluster, and its nodes, through any of them.

mod channel;
mod drain;

use clap::{Args, Subcommand};
use ringfort_proto::admin::v1 as pb;
use tonic::transport::Channel;

use self::channel::Target;
use super::{Failure, print_line, small_runtime};

/// Look at who may do what in a running cluster, and change it on every node.
///
/// Asks the admin port of any node. What the configuration files say is shown as fixed and is changed there. A change is answered once
/// the nodes have put it in force; those that have not said so are named.
#[derive(Debug, Args)]
pub(super) struct Admin {
    #[command(flatten)]
    target: Target,
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// List the realms.
    Realms,
    /// List the roles of a realm and what they may do.
    Roles {
        realm: String,
    },
    /// Give a role these permissions and no other; add it if it is not there.
    PutRole {
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
    },
    /// Take a role away: who acts in it may do nothing.
    RemoveRole {
        realm: String,
        role: String,
        /// Only if it still has this revision.
        #[arg(long)]
        revision: Option<u64>,
    },
    /// List the principals of a realm.
    Principals {
        realm: String,
    },
    /// Let somebody in by these credentials and no other. Sessions end if the role changes or a credential goes.
    PutPrincipal {
        realm: String,
        authid: String,
        role: String,
        /// The text form of a verifier, such as cryptosign:HEX.
        #[arg(long, value_name = "TEXT")]
        credential: Vec<String>,
        /// A file with a ticket in its first line; a salted hash of it is kept.
        #[arg(long, value_name = "FILE")]
        ticket_file: Option<std::path::PathBuf>,
        /// Only if it still has this revision, 0 if it must be new.
        #[arg(long)]
        revision: Option<u64>,
    },
    /// Revoke somebody: its sessions end on every node.
    RemovePrincipal {
        realm: String,
        authid: String,
        /// Only if it still has this revision.
        #[arg(long)]
        revision: Option<u64>,
    },
    Drain(drain::Drain),
    /// Tell how much the node that is asked logs, or change that until it stops.
    LogLevel {
        /// As the setting log.level, such as debug or info,ringfort::cluster=debug; "configured" goes back to the configuration.
        level: Option<String>,
        /// Go back to the configuration after this many seconds, at most a day.
        #[arg(long, value_name = "SECONDS", requires = "level")]
        back_after: Option<u32>,
    },
    /// Tell whether somebody may do something, and which permission decides. Exit code 0 either way.
    Why {
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
    },
}

impl Admin {
    pub(super) fn run(self) -> Result<(), Failure> {
        small_runtime()?.block_on(async {
            let channel = self.target.connect().await?;
            self.what.ask(channel).await
        })
    }
}

/// Asks for the log level or changes it, and prints what it is now.
async fn log_level(channel: Channel, level: Option<String>, back_after: Option<u32>) -> Result<(), Failure> {
    let mut logs = pb::logs_client::LogsClient::new(channel);
    let answer = match level {
        None => logs.get_log_level(pb::GetLogLevelRequest {}).await,
        Some(level) => {
            let change = pb::SetLogLevelRequest {
                level: if level == "configured" { String::new() } else { level },
                back_after_secs: back_after.unwrap_or(0),
            };
            logs.set_log_level(change).await
        }
    };
    let pb::LogLevel { level, configured } = answer.map_err(refused)?.into_inner();
    print_line(&format!("{level} (configured: {configured})"))
}

impl What {
    async fn ask(self, channel: Channel) -> Result<(), Failure> {
        let mut realms = pb::realms_client::RealmsClient::new(channel.clone());
        let mut roles = pb::roles_client::RolesClient::new(channel.clone());
        let mut principals = pb::principals_client::PrincipalsClient::new(channel.clone());
        match self {
            Self::Drain(drain) => drain.ask(channel).await,
            Self::LogLevel { level, back_after } => log_level(channel, level, back_after).await,
            Self::Realms => {
                let reply = realms.list(pb::ListRealmsRequest {}).await.map_err(refused)?.into_inner();
                for realm in reply.realms {
                    print_line(&format!(
                        "{}: {} roles, {} principals of the log, revision {}",
                        realm.name, realm.roles, realm.principals, realm.revision
                    ))?;
                }
                Ok(())
            }
            Self::Roles { realm } => {
                let reply = roles
                    .list(pb::ListRolesRequest { realm })
                    .await
                    .map_err(refused)?
                    .into_inner();
                for role in reply.roles {
                    print_line(&format!("{} ({})", role.name, standing(role.fixed, role.revision)))?;
                    for permission in role.permissions {
                        print_line(&format!("  {}", told(&permission)))?;
                    }
                }
                Ok(())
            }
            Self::PutRole {
                realm,
                role,
                allow,
                deny,
                revision: expected,
            } => {
                let mut permissions = Vec::new();
                for text in &allow {
                    let (rights, mut permission) = permission(text)?;
                    permission.allow = rights;
                    permissions.push(permission);
                }
                for text in &deny {
                    let (rights, mut permission) = permission(text)?;
                    permission.deny = rights;
                    permissions.push(permission);
                }
                let request = pb::PutRoleRequest {
                    realm,
                    role,
                    permissions,
                    expected,
                };
                changed(roles.put(request).await)
            }
            Self::RemoveRole {
                realm,
                role,
                revision: expected,
            } => changed(roles.remove(pb::RemoveRoleRequest { realm, role, expected }).await),
            Self::Principals { realm } => {
                let mut after = String::new();
                loop {
                    let realm = realm.clone();
                    let request = pb::ListPrincipalsRequest { realm, after };
                    let reply = principals.list(request).await.map_err(refused)?.into_inner();
                    for one in &reply.principals {
                        let standing = standing(one.fixed, one.revision);
                        let credentials = one.credentials.join(", ");
                        print_line(&format!("{} {} ({standing}) {credentials}", one.authid, one.role))?;
                    }
                    match reply.principals.last() {
                        Some(last) if reply.more => after = last.authid.clone(),
                        _ => return Ok(()),
                    }
                }
            }
            Self::PutPrincipal {
                realm,
                authid,
                role,
                credential,
                ticket_file,
                revision: expected,
            } => {
                use pb::credential::Credential as Given;
                let mut given: Vec<Given> = credential.into_iter().map(Given::Verifier).collect();
                if let Some(file) = ticket_file {
                    let text = std::fs::read_to_string(&file);
                    let text = text.map_err(|error| Failure::new(format!("{}: {error}", file.display())))?;
                    given.push(Given::Ticket(text.lines().next().unwrap_or_default().to_owned()));
                }
                let credentials = given
                    .into_iter()
                    .map(|credential| pb::Credential {
                        credential: Some(credential),
                    })
                    .collect();
                let request = pb::PutPrincipalRequest {
                    realm,
                    authid,
                    role,
                    credentials,
                    expected,
                };
                changed(principals.put(request).await)
            }
            Self::RemovePrincipal {
                realm,
                authid,
                revision: expected,
            } => changed(
                principals
                    .remove(pb::RemovePrincipalRequest { realm, authid, expected })
                    .await,
            ),
            Self::Why {
                authid,
                verb: right,
                uri,
                realm,
                role: authrole,
                policy,
            } => {
                let request = pb::WhyRequest {
                    realm,
                    authid,
                    authrole,
                    right,
                    uri,
                    r#match: policy,
                };
                let reply = roles.why(request).await.map_err(refused)?.into_inner();
                print_line(&reply.explanation)
            }
        }
    }
}

fn changed(reply: Result<tonic::Response<pb::ChangeReply>, tonic::Status>) -> Result<(), Failure> {
    let reply = reply.map_err(refused)?.into_inner();
    print_line(&format!(
        "revision {} at log index {}, in force on {}",
        reply.revision,
        reply.index,
        reply.confirmed.join(", ")
    ))?;
    if reply.unconfirmed.is_empty() {
        return Ok(());
    }
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    let unconfirmed = reply.unconfirmed.iter().map(|one| {
        let left = one.stops_by_ms.saturating_sub(u64::try_from(now.as_millis()).unwrap_or(0));
        format!("{}, which stops within {} s if it is cut off", one.node, left.div_ceil(1_000))
    });
    let unconfirmed: Vec<String> = unconfirmed.collect();
    Err(Failure {
        code: UNCONFIRMED,
        text: format!("not confirmed by {}", unconfirmed.join(", ")),
    })
}

/// The exit code where a change was made and some node has not said that it is in force there.
const UNCONFIRMED: u8 = 7;

fn refused(status: tonic::Status) -> Failure {
    Failure::new(format!("{:?}: {}", status.code(), status.message()))
}

fn standing(fixed: bool, revision: u64) -> String {
    if fixed {
        "fixed by the configuration".to_owned()
    } else {
        format!("revision {revision}")
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
