//! Logs, always on standard error.

use tracing_subscriber::{Layer, filter::Targets, layer::SubscriberExt, util::SubscriberInitExt};

use crate::config::{Log, LogFormat};

/// Starts logging as `log` says. Called once; a second call changes nothing.
pub(super) fn start(log: &Log) {
    // `Config::load` has checked the level.
    let filter: Targets = log
        .level
        .parse()
        .unwrap_or_else(|_| Targets::new().with_default(tracing::Level::INFO));
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(false);
    let layer = match log.format {
        LogFormat::Text => layer.boxed(),
        LogFormat::Json => layer.json().flatten_event(true).boxed(),
    };
    // Fails only if logging was started before, and then it goes on as it was.
    drop(tracing_subscriber::registry().with(layer.with_filter(filter)).try_init());
}
