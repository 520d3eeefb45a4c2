//! Logs, always on standard error.

use tracing_subscriber::{Layer, filter::Targets, layer::SubscriberExt, util::SubscriberInitExt};

use crate::config::{Log, LogFormat};

/// Starts logging as `log` says. Called once; a second call changes nothing.
pub(super) fn start(log: &Log) {
    // `Config::load` has checked the level.
    let wanted: Targets = log
        .level
        .parse()
        .unwrap_or_else(|_| Targets::new().with_default(tracing::Level::INFO));
    // Libraries that tell each of their steps are heard from `warn` on, unless the setting names them.
    let quiet = Targets::new().with_targets(QUIET);
    let filter: Targets = quiet
        .into_iter()
        .chain(wanted.clone())
        .collect::<Targets>()
        .with_default(wanted.default_level().unwrap_or(tracing::level_filters::LevelFilter::OFF));
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(false);
    let layer = match log.format {
        LogFormat::Text => layer.boxed(),
        LogFormat::Json => layer.json().flatten_event(true).boxed(),
    };
    // Fails only if logging was started before, and then it goes on as it was.
    drop(tracing_subscriber::registry().with(layer.with_filter(filter)).try_init());
}

/// From which level on the libraries are heard. A node that is down fails a heartbeat five times a second; the links report it once.
const QUIET: [(&str, tracing::Level); 6] = [
    ("openraft", tracing::Level::WARN),
    ("openraft::core::heartbeat", tracing::Level::ERROR),
    ("openraft::engine::handler::replication_handler", tracing::Level::ERROR),
    ("openraft::replication", tracing::Level::ERROR),
    ("openraft::raft::responder", tracing::Level::ERROR),
    ("chitchat", tracing::Level::WARN),
];
