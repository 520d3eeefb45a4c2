//! Traces of this node: made of the configuration, wired into the realms, sent by a task of its own.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::task::JoinHandle;

use crate::{
    config::Config,
    session::realm::RealmHandle,
    telemetry::traces::{Error, Exporter, Tracer},
    wamp::Uri,
};

/// What traces this node, if it is traced.
#[derive(Default)]
pub(super) struct Tracing {
    pub(super) tracer: Option<Arc<Tracer>>,
    exporter: Option<JoinHandle<()>>,
}

impl Tracing {
    /// Begins to trace these realms, if the configuration names a collector.
    pub(super) fn start(config: &Config, realms: &BTreeMap<Uri, RealmHandle>) -> Result<Self, Error> {
        let settings = &config.observability.traces;
        if !settings.is_on() {
            return Ok(Self::default());
        }
        let (tracer, exporter) = Exporter::new(settings, &config.node.name)?;
        let node: Arc<str> = config.node.name.as_str().into();
        for realm in realms.values() {
            realm.trace_by(Arc::clone(&tracer), Arc::clone(&node));
        }
        Ok(Self {
            tracer: Some(tracer),
            exporter: Some(tokio::spawn(exporter.run())),
        })
    }

    /// What waits to be sent is given a moment.
    pub(super) async fn finish(self) {
        let Some(exporter) = self.exporter else { return };
        if let Some(tracer) = &self.tracer {
            tracer.drained(FINISH_WITHIN).await;
        }
        exporter.abort();
    }
}

/// A collector that does not answer must not hold a node that stops.
const FINISH_WITHIN: Duration = Duration::from_millis(1_500);

/// Looks over what [`super::start`] would refuse.
///
/// # Errors
/// As there.
pub fn check_traces(config: &Config) -> Result<(), Error> {
    Exporter::check(&config.observability.traces)
}
