//! Realms.

use clap::Args;
use ringfort_proto::admin::v1 as pb;
use tonic::transport::Channel;

use super::reply::refused;
use crate::cli::{Failure, print_line};

/// List the realms.
#[derive(Debug, Args)]
pub(super) struct List {}

impl List {
    pub(super) async fn ask(self, channel: Channel) -> Result<(), Failure> {
        let mut realms = pb::realms_client::RealmsClient::new(channel);
        let reply = realms.list(pb::ListRealmsRequest {}).await.map_err(refused)?.into_inner();
        for realm in reply.realms {
            print_line(&format!(
                "{}: {} roles, {} principals of the log, revision {}",
                realm.name, realm.roles, realm.principals, realm.revision
            ))?;
        }
        Ok(())
    }
}
