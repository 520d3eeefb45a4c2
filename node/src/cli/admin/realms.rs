//! Realms.

use clap::Args;
use ringfort_proto::admin::v1 as pb;
use serde_json::{Value, json};
use tonic::transport::Channel;

use super::{
    output::{Output, Shown, Table, Watch},
    reply::refused,
};
use crate::cli::Failure;

/// List the realms.
#[derive(Debug, Args)]
pub(super) struct List {
    #[command(flatten)]
    watch: Watch,
}

impl List {
    pub(super) async fn ask(self, channel: Channel, output: Output) -> Result<(), Failure> {
        let mut realms = pb::realms_client::RealmsClient::new(channel);
        let make = async || {
            let reply = realms.list(pb::ListRealmsRequest {}).await.map_err(refused)?.into_inner();
            let mut table = Table::new(["REALM", "ROLES", "PRINCIPALS", "REVISION"]);
            let mut rows = Vec::new();
            for realm in reply.realms {
                rows.push(json!({
                    "name": realm.name, "roles": realm.roles, "principals": realm.principals, "revision": realm.revision,
                }));
                let numbers = [realm.roles, realm.principals, realm.revision].map(|number| number.to_string());
                let [roles, principals, revision] = numbers;
                table.row([realm.name, roles, principals, revision]);
            }
            Ok(Shown::new(json!({ "realms": Value::from(rows) }), table.render()))
        };
        self.watch.show(output, make).await
    }
}
