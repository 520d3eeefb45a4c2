//! The settings of a node, read again while it runs.

use clap::Args;
use ringfort_proto::admin::v1 as pb;
use serde_json::json;
use tonic::transport::Channel;

use super::{
    output::{Output, Shown},
    reply::refused,
};
use crate::cli::Failure;

/// The exit code of settings that are wrong, as that of a node that does not start with them.
const WRONG: u8 = 3;

/// Have the node that is asked read its configuration file again, and tell what came of it. Exit code 3 if the file is wrong.
#[derive(Debug, Args)]
pub(super) struct Reload {}

impl Reload {
    /// Has it done, and prints what came of it.
    pub(super) async fn ask(self, channel: Channel, output: Output) -> Result<(), Failure> {
        let mut settings = pb::settings_client::SettingsClient::new(channel);
        let reply = settings.reload(pb::ReloadRequest {}).await.map_err(refused)?.into_inner();
        let json = json!({
            "applied": reply.applied, "refused": reply.refused,
            "needs_restart": reply.needs_restart, "without_effect": reply.without_effect,
        });
        let mut lines = Vec::new();
        for (what, paths) in [
            ("applied", &reply.applied),
            ("needs a restart", &reply.needs_restart),
            ("has no effect (use ringfort admin)", &reply.without_effect),
        ] {
            lines.extend(paths.iter().map(|path| format!("{what}: {path}")));
        }
        if lines.is_empty() && reply.refused.is_empty() {
            lines.push("nothing has changed".to_owned());
        }
        if !lines.is_empty() || output == Output::Json {
            output.show(&Shown::new(json, lines.join("\n")))?;
        }
        if reply.refused.is_empty() {
            return Ok(());
        }
        Err(Failure {
            code: WRONG,
            text: format!("refused, and nothing was changed:\n{}", reply.refused.join("\n")),
        })
    }
}
