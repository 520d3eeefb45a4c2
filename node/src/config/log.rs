//! `[log]`: what the node writes to standard error.

use serde::{Deserialize, Serialize};

/// The log.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// How much is logged: `error`, `warn`, `info`, `debug`, `trace`, or per module as in `info,ringfort::cluster=debug`.
    /// Default `info`. The consensus and gossip libraries are heard from `warn` on, unless named: `info,openraft=info`. Payload and
    /// secrets are logged at no level.
    pub level: String,
    /// `text` for people, `json` for machines: one object a line. Default `text`.
    pub format: LogFormat,
}

/// The shape of a log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One readable line.
    #[default]
    Text,
    /// One JSON object.
    Json,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            level: "info".to_owned(),
            format: LogFormat::Text,
        }
    }
}
