//! Principals and their credentials.

use clap::Args;
use ringfort_proto::admin::v1 as pb;
use serde_json::{Value, json};
use tonic::transport::Channel;

use super::{
    output::{Output, Shown, Sure, Table, Watch},
    reply::{changed, refused, standing},
};
use crate::cli::Failure;

/// List the principals of a realm.
#[derive(Debug, Args)]
pub(super) struct List {
    realm: String,
    #[command(flatten)]
    watch: Watch,
}

/// Let somebody in by these credentials and no other. Sessions end if the role changes or a credential goes.
#[derive(Debug, Args)]
pub(super) struct Put {
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
}

/// Revoke somebody: its sessions end on every node.
#[derive(Debug, Args)]
pub(super) struct Remove {
    realm: String,
    authid: String,
    /// Only if it still has this revision.
    #[arg(long)]
    revision: Option<u64>,
    #[command(flatten)]
    sure: Sure,
}

impl List {
    pub(super) async fn ask(self, channel: Channel, output: Output) -> Result<(), Failure> {
        let mut principals = pb::principals_client::PrincipalsClient::new(channel);
        let make = async || {
            let mut table = Table::new(["PRINCIPAL", "ROLE", "STANDING", "CREDENTIALS"]);
            let (mut rows, mut after) = (Vec::new(), String::new());
            loop {
                let realm = self.realm.clone();
                let request = pb::ListPrincipalsRequest { realm, after };
                let reply = principals.list(request).await.map_err(refused)?.into_inner();
                for one in &reply.principals {
                    rows.push(json!({
                        "authid": one.authid, "role": one.role, "credentials": one.credentials, "revision": one.revision,
                        "fixed": one.fixed,
                    }));
                    let standing = standing(one.fixed, one.revision);
                    table.row([one.authid.clone(), one.role.clone(), standing, one.credentials.join(", ")]);
                }
                match reply.principals.last() {
                    Some(last) if reply.more => after = last.authid.clone(),
                    _ => break,
                }
            }
            Ok(Shown::new(json!({ "principals": Value::from(rows) }), table.render()))
        };
        self.watch.show(output, make).await
    }
}

impl Put {
    pub(super) async fn ask(self, channel: Channel, output: Output) -> Result<(), Failure> {
        use pb::credential::Credential as Given;
        let mut given: Vec<Given> = self.credential.into_iter().map(Given::Verifier).collect();
        if let Some(file) = self.ticket_file {
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
            realm: self.realm,
            authid: self.authid,
            role: self.role,
            credentials,
            expected: self.revision,
        };
        let reply = pb::principals_client::PrincipalsClient::new(channel).put(request).await;
        changed(reply, output)
    }
}

impl Remove {
    pub(super) async fn ask(self, channel: Channel, output: Output) -> Result<(), Failure> {
        self.sure.ask(&format!(
            "this revokes {} in realm {} and ends its sessions",
            self.authid, self.realm
        ))?;
        let request = pb::RemovePrincipalRequest {
            realm: self.realm,
            authid: self.authid,
            expected: self.revision,
        };
        let reply = pb::principals_client::PrincipalsClient::new(channel).remove(request).await;
        changed(reply, output)
    }
}
