//! Principals and their credentials.

use clap::Args;
use ringfort_proto::admin::v1 as pb;
use tonic::transport::Channel;

use super::reply::{changed, refused, standing};
use crate::cli::{Failure, print_line};

/// List the principals of a realm.
#[derive(Debug, Args)]
pub(super) struct List {
    realm: String,
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
}

impl List {
    pub(super) async fn ask(self, channel: Channel) -> Result<(), Failure> {
        let mut principals = pb::principals_client::PrincipalsClient::new(channel);
        let mut after = String::new();
        loop {
            let realm = self.realm.clone();
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
}

impl Put {
    pub(super) async fn ask(self, channel: Channel) -> Result<(), Failure> {
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
        changed(pb::principals_client::PrincipalsClient::new(channel).put(request).await)
    }
}

impl Remove {
    pub(super) async fn ask(self, channel: Channel) -> Result<(), Failure> {
        let request = pb::RemovePrincipalRequest {
            realm: self.realm,
            authid: self.authid,
            expected: self.revision,
        };
        changed(pb::principals_client::PrincipalsClient::new(channel).remove(request).await)
    }
}
