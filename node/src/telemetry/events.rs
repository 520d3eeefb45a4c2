//! Events that no part counts for itself, told to the `metrics` facade.
//!
//! Where no port for metrics is configured there is no recorder, and an event costs one look at a flag.

use std::sync::{
    OnceLock,
    atomic::{AtomicBool, Ordering},
};

use metrics::{Recorder as _, SharedString};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

use super::{
    metric::{Kind, Metric, Values},
    names::EVENTS,
    page::{METADATA, describe, key},
};

static ON: AtomicBool = AtomicBool::new(false);
static RECORDER: OnceLock<PrometheusHandle> = OnceLock::new();

/// Begins to count events, all at zero. Returns what renders them; a second call returns the same.
///
/// # Errors
/// The library does not take the bounds of a histogram.
pub fn install() -> Result<PrometheusHandle, BuildError> {
    if let Some(handle) = RECORDER.get() {
        return Ok(handle.clone());
    }
    let mut builder = PrometheusBuilder::new();
    for metric in EVENTS {
        if let Kind::Histogram(bounds) = metric.kind {
            builder = builder.set_buckets_for_metric(Matcher::Full(metric.name.clone().into_owned()), bounds)?;
        }
    }
    let recorder = builder.build_recorder();
    for metric in EVENTS {
        describe(&recorder, metric);
        for values in series(metric) {
            let key = key(metric, values.into_iter().map(SharedString::from));
            match metric.kind {
                Kind::Counter => drop(recorder.register_counter(&key, &METADATA)),
                Kind::Gauge => drop(recorder.register_gauge(&key, &METADATA)),
                Kind::Histogram(_) => drop(recorder.register_histogram(&key, &METADATA)),
            }
        }
    }
    let handle = RECORDER.get_or_init(|| recorder.handle()).clone();
    // Where another thread was faster its recorder stands, and its handle is the one above.
    let _ = metrics::set_global_recorder(recorder);
    ON.store(true, Ordering::Release);
    Ok(handle)
}

/// True if anybody wants to know.
fn on() -> bool {
    ON.load(Ordering::Relaxed)
}

/// Counts one event of `metric`, one of [`EVENTS`]; `values` are those of its labels, in their order.
pub fn count(metric: &'static Metric, values: &[&'static str]) {
    if on() {
        let key = key(metric, values.iter().map(|value| SharedString::const_str(value)));
        metrics::with_recorder(|recorder| recorder.register_counter(&key, &METADATA).increment(1));
    }
}

/// Takes one value of a histogram without labels.
pub fn observe(metric: &'static Metric, value: f64) {
    if on() {
        let key = key(metric, std::iter::empty());
        metrics::with_recorder(|recorder| recorder.register_histogram(&key, &METADATA).record(value));
    }
}

/// All series that a metric can have; events have labels with stated values only.
fn series(metric: &Metric) -> Vec<Vec<&'static str>> {
    metric.labels.iter().fold(vec![Vec::new()], |series, label| {
        let values = match label.values {
            Values::OneOf(values) => values,
            Values::PerEach(_) => &[],
        };
        let longer = |begun: &Vec<&'static str>| {
            let begun = begun.clone();
            values.iter().map(move |value| {
                let mut whole = begun.clone();
                whole.push(*value);
                whole
            })
        };
        series.iter().flat_map(longer).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::names::{ADMIN_REQUESTS, CONNECTIONS_ACCEPTED, RAFT_SYNC_SECONDS};

    #[test]
    fn events_stand_at_zero_until_they_happen() {
        assert_eq!(series(&CONNECTIONS_ACCEPTED), [["taken"], ["full"]]);
        assert_eq!(series(&RAFT_SYNC_SECONDS), [Vec::<&str>::new()]);
        // Other tests of this process may count too, so only what none of them does is compared.
        let handle = install().unwrap();
        let of = |handle: &PrometheusHandle, series: &str| {
            let text = handle.render();
            let line = text
                .lines()
                .find_map(|line| line.strip_prefix(series)?.trim().parse::<u64>().ok());
            line.unwrap_or_else(|| panic!("{series} is not in\n{text}"))
        };
        let before = of(&handle, "ringfort_admin_requests_total{protocol=\"grpc\"}");
        count(&ADMIN_REQUESTS, &["grpc"]);
        let again = install().unwrap();
        assert!(of(&again, "ringfort_admin_requests_total{protocol=\"grpc\"}") > before);
        let before = of(&handle, "ringfort_raft_sync_seconds_count");
        observe(&RAFT_SYNC_SECONDS, 0.0003);
        assert!(of(&handle, "ringfort_raft_sync_seconds_count") > before);
        assert!(handle.render().contains("ringfort_raft_sync_seconds_bucket{le=\"0.0005\"}"));
    }
}
