//! Logs, always on standard error, and how much is logged, which can be changed while the node runs.

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tracing_subscriber::{Layer, Registry, filter::Targets, layer::SubscriberExt, reload, util::SubscriberInitExt};

use crate::config::{Log, LogFormat, is_level};

/// Why the level was not changed; it is as it was.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is none.
    #[error("{0:?} is no log level: write error, warn, info, debug, trace, or per module as in info,ringfort::cluster=debug")]
    NotALevel(String),
    /// Somebody else, such as a test, has begun to log in another way.
    #[error("this process does not log by its own settings")]
    NotOurs,
}

/// What logs now.
struct Running {
    filter: reload::Handle<Targets, Registry>,
    configured: Mutex<String>,
    level: Mutex<String>,
    /// Counts changes, so that an older one does not take a newer one back.
    changes: AtomicU64,
}

static RUNNING: OnceLock<Running> = OnceLock::new();

/// Starts logging as `log` says. Called once; a second call changes nothing.
pub fn start(log: &Log) {
    // `Config::load` has checked the level.
    let filter = filter(&log.level).unwrap_or_else(|_| Targets::new().with_default(tracing::Level::INFO));
    let (filter, handle) = reload::Layer::new(filter);
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(false);
    let layer = match log.format {
        LogFormat::Text => layer.boxed(),
        LogFormat::Json => layer.json().flatten_event(true).boxed(),
    };
    // Fails only if logging was started before, and then it goes on as it was.
    if tracing_subscriber::registry()
        .with(layer.with_filter(filter))
        .try_init()
        .is_ok()
    {
        let running = Running {
            filter: handle,
            configured: Mutex::new(log.level.clone()),
            level: Mutex::new(log.level.clone()),
            changes: AtomicU64::new(0),
        };
        drop(RUNNING.set(running));
    }
}

/// How much is logged now, and how much the configuration says.
///
/// # Errors
/// [`Error::NotOurs`].
pub fn level() -> Result<(String, String), Error> {
    let running = RUNNING.get().ok_or(Error::NotOurs)?;
    Ok((running.level.lock().clone(), running.configured.lock().clone()))
}

/// Changes how much is logged, written as in `log.level`; an empty text goes back to the configuration. With `back_after` it goes back by
/// itself, unless it was changed again; that needs a tokio runtime.
///
/// # Errors
/// See [`Error`].
pub fn set_level(level: &str, back_after: Option<Duration>) -> Result<(), Error> {
    let running = RUNNING.get().ok_or(Error::NotOurs)?;
    let configured = running.configured.lock().clone();
    let level = if level.trim().is_empty() { &configured } else { level };
    let change = running.set(level)?;
    if let Some(after) = back_after {
        tokio::spawn(async move {
            tokio::time::sleep(after).await;
            if running.changes.load(Ordering::Acquire) == change {
                // It was read when the node started.
                let configured = running.configured.lock().clone();
                drop(running.set(&configured));
            }
        });
    }
    Ok(())
}

/// The configuration says another level: it counts from now on, whatever was set by hand.
///
/// # Errors
/// See [`Error`].
pub fn configure(level: &str) -> Result<(), Error> {
    let running = RUNNING.get().ok_or(Error::NotOurs)?;
    running.set(level)?;
    level.clone_into(&mut running.configured.lock());
    Ok(())
}

impl Running {
    /// Returns the number of this change.
    fn set(&self, level: &str) -> Result<u64, Error> {
        let filter = filter(level)?;
        let mut present = self.level.lock();
        self.filter.reload(filter).map_err(|_| Error::NotOurs)?;
        let before = std::mem::replace(&mut *present, level.to_owned());
        let change = self.changes.fetch_add(1, Ordering::AcqRel) + 1;
        drop(present);
        tracing::warn!(before, level, "the log level was changed");
        Ok(change)
    }
}

/// What a level lets through.
fn filter(level: &str) -> Result<Targets, Error> {
    let not_a_level = || Error::NotALevel(level.to_owned());
    let wanted = level
        .parse::<Targets>()
        .ok()
        .filter(|_| is_level(level))
        .ok_or_else(not_a_level)?;
    // Libraries that tell each of their steps are heard from `warn` on, unless the setting names them.
    let quiet = Targets::new().with_targets(QUIET);
    let default = wanted.default_level().unwrap_or(tracing::level_filters::LevelFilter::OFF);
    let both = quiet.into_iter().chain(wanted);
    Ok(both.collect::<Targets>().with_default(default))
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

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn libraries_are_quiet_unless_they_are_named() {
        let debug = filter("debug").unwrap();
        assert!(debug.would_enable("ringfort::session", &Level::DEBUG));
        assert!(!debug.would_enable("openraft::core", &Level::DEBUG));
        let named = filter("warn,openraft=debug,ringfort::cluster=trace").unwrap();
        assert!(named.would_enable("openraft::core", &Level::DEBUG));
        assert!(named.would_enable("ringfort::cluster::link", &Level::TRACE));
        assert!(!named.would_enable("ringfort::session", &Level::INFO));
        assert!(matches!(filter("loud"), Err(Error::NotALevel(_))));
    }
}
