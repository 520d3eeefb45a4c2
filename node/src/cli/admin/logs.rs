//! How much a node logs.

use clap::Args;
use ringfort_proto::admin::v1 as pb;
use serde_json::json;
use tonic::transport::Channel;

use super::{
    output::{Output, Shown},
    reply::refused,
};
use crate::cli::Failure;

/// Tell how much the node that is asked logs, or change that until it stops.
#[derive(Debug, Args)]
pub(super) struct Level {
    /// As the setting log.level, such as debug or info,ringfort::cluster=debug; "configured" goes back to the configuration.
    level: Option<String>,
    /// Go back to the configuration after this many seconds, at most a day.
    #[arg(long, value_name = "SECONDS", requires = "level")]
    back_after: Option<u32>,
}

impl Level {
    /// Asks for the log level or changes it, and prints what it is now.
    pub(super) async fn ask(self, channel: Channel, output: Output) -> Result<(), Failure> {
        let mut logs = pb::logs_client::LogsClient::new(channel);
        let answer = match self.level {
            None => logs.get_log_level(pb::GetLogLevelRequest {}).await,
            Some(level) => {
                let change = pb::SetLogLevelRequest {
                    level: if level == "configured" { String::new() } else { level },
                    back_after_secs: self.back_after.unwrap_or(0),
                };
                logs.set_log_level(change).await
            }
        };
        let pb::LogLevel { level, configured } = answer.map_err(refused)?.into_inner();
        let text = format!("{level} (configured: {configured})");
        output.show(&Shown::new(json!({ "level": level, "configured": configured }), text))
    }
}
