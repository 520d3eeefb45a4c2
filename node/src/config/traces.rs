//! `[observability.traces]`: which calls and publications are traced, and where the traces go.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{Problem, Secret};

/// Traces, sent over OTLP (gRPC) to a collector of OpenTelemetry: what becomes of single calls and publications on every node they
/// cross. Realm, URI, node, session ids and outcome are told, never a payload or secret.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Traces {
    /// The collector: `http://HOST:4317`, or `https://HOST:4317` with TLS. Default empty: nothing is traced, and what clients send as
    /// `_traceparent` is handed on as it is. A collector that cannot be reached costs nothing but a counter.
    pub endpoint: String,
    /// Which part of the calls and publications is traced that come without a `_traceparent` of their own, from 0 to 1. Default 0.01. Each
    /// traced one costs some microseconds more than others, on each node it crosses.
    pub ratio: f64,
    /// How many of those a second at most. Default 100; a second's worth may come at once. `0` stands for none.
    pub per_second_max: u32,
    /// How many a second at most because clients say so: a `_traceparent` whose flag is set is followed, and one whose flag is not set is
    /// never traced. Default 100, of all clients of this node together, so that none floods the collector; `0` does not listen to clients.
    pub from_clients_per_second_max: u32,
    /// Headers of each request to the collector, each as `name: value`, such as `authorization: Bearer …`. Never logged. Best given as
    /// `RINGFORT__OBSERVABILITY__TRACES__HEADERS`. Default none.
    pub headers: Vec<Secret>,
    /// PEM file of the authorities that sign the collector's certificate. Default none: those the system trusts.
    pub ca: Option<PathBuf>,
    /// What this service is called in traces. Default `ringfort`. The node's name is told beside it, as `service.instance.id`.
    pub service_name: String,
    /// Spans that may wait to be sent. Default 4096, each about half a kilobyte. Those beyond are dropped and counted.
    pub queue_max: usize,
}

impl Default for Traces {
    fn default() -> Self {
        Self {
            endpoint: String::new(),
            ratio: 0.01,
            per_second_max: 100,
            from_clients_per_second_max: 100,
            headers: Vec::new(),
            ca: None,
            service_name: "ringfort".to_owned(),
            queue_max: 4_096,
        }
    }
}

impl Traces {
    /// True if there is a collector.
    pub fn is_on(&self) -> bool {
        !self.endpoint.is_empty()
    }
}

/// What is wrong with these settings.
pub(super) fn validate(traces: &Traces, problems: &mut Vec<Problem>) {
    let mut wrong = |key: &str, what: &str, remedy: &str, value: Option<String>| {
        let problem = Problem::new(format!("observability.traces.{key}"), what, remedy);
        problems.push(match value {
            Some(value) => problem.value(value),
            None => problem,
        });
    };
    let endpoint = &traces.endpoint;
    let is_url = ["http://", "https://"].iter().any(|scheme| {
        let host = endpoint.strip_prefix(scheme).unwrap_or_default();
        !host.is_empty() && !host.starts_with('/')
    });
    if traces.is_on() && !is_url {
        let remedy = "write http://HOST:4317, or https://HOST:4317; leave it out for no traces";
        wrong(
            "endpoint",
            "not the address of a collector",
            remedy,
            Some(format!("\"{endpoint}\"")),
        );
    }
    if !(0.0..=1.0).contains(&traces.ratio) {
        wrong(
            "ratio",
            "not from 0 to 1",
            "write 0.01 for one in a hundred",
            Some(traces.ratio.to_string()),
        );
    }
    if !(1..=QUEUE_MAX).contains(&traces.queue_max) {
        wrong(
            "queue_max",
            "not from 1 to 1000000",
            "write 4096",
            Some(traces.queue_max.to_string()),
        );
    }
    if traces.service_name.is_empty() {
        wrong("service_name", "empty", "write ringfort", None);
    }
    if traces.ca.is_some() && endpoint.starts_with("http://") {
        wrong(
            "ca",
            "the endpoint is without TLS",
            "write https:// in endpoint, or leave ca out",
            None,
        );
    }
    for (index, header) in traces.headers.iter().enumerate() {
        let named = header.expose().split_once(':').is_some_and(|(name, _)| {
            let name = name.trim();
            !name.is_empty()
                && name
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        });
        if !named {
            let remedy = "write \"name: value\", such as \"authorization: Bearer …\"";
            wrong(&format!("headers[{index}]"), "not a header", remedy, None);
        }
    }
}

const QUEUE_MAX: usize = 1_000_000;
