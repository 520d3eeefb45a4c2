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

impl Log {
    /// True if `level` can be understood. The library would take a word that is no level for the name of a module.
    pub fn is_level(&self) -> bool {
        is_level(&self.level)
    }
}

/// See [`Log::is_level`].
pub fn is_level(text: &str) -> bool {
    let is_known = |word: &str| {
        // The library takes nothing for `error`.
        !word.is_empty() && (word.contains('=') || word.parse::<tracing::level_filters::LevelFilter>().is_ok())
    };
    text.split(',').all(is_known) && text.parse::<tracing_subscriber::filter::Targets>().is_ok()
}

impl Default for Log {
    fn default() -> Self {
        Self {
            level: "info".to_owned(),
            format: LogFormat::Text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_that_is_no_level_is_not_taken_for_a_module() {
        for good in ["info", "off", "DEBUG", "info,ringfort::cluster=debug", "warn,openraft=off"] {
            assert!(is_level(good), "{good}");
        }
        for bad in ["", "loud", "info,loud", "ringfort=loud", "info,,warn", "ringfort::cluster"] {
            assert!(!is_level(bad), "{bad}");
        }
    }
}
