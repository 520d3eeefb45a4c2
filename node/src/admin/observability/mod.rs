//! The observability port: probes for whatever keeps the node running, and metrics for Prometheus.
//!
//! Owns: that port and its answers, over plain HTTP/1.1. It may be reachable from other machines, so nothing here changes anything or
//! shows a URI, a session, a payload or a secret.
//!
//! | path | answer |
//! |---|---|
//! | `/metrics` | what is measured, as Prometheus text; `docs/metrics.md` lists it |
//! | `/livez` | 200 while the process itself goes on, quorum or not; else 503 |
//! | `/readyz` | 200 while clients are served as they should be; else 503, and which condition does not hold |
//! | `/startupz` | 200 from the moment the node was ready for the first time |

mod catalogue;
mod collect;
mod probes;

use std::{convert::Infallible, io, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};

use self::{collect::Collector, probes::Probes};
use super::{reply, status::Source};
use crate::{
    session::sessions::Service,
    store::StoreHandle,
    telemetry::{self, traces::Tracer},
};

/// At most this many connections at once; a probe and a few scrapers need one each.
const CONNECTIONS_MAX: usize = 64;
/// Who says nothing for this long is let go.
const HEAD_WITHIN: Duration = Duration::from_secs(30);
/// How often what was observed is put into the buckets of histograms; it takes memory until then.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);

/// What there is to look at.
pub struct Observed {
    /// Consensus, links, realms.
    pub source: Source,
    /// Connections.
    pub service: Arc<Service>,
    /// The stores, by the names that metrics give them.
    pub stores: Vec<(&'static str, StoreHandle)>,
    /// The folder whose disk is watched.
    pub data_dir: Option<PathBuf>,
    /// Certificates by what they are of: `listener[0]`, `cluster`.
    pub certificates: Vec<(String, PathBuf)>,
    /// How many connections all listeners take.
    pub connections_max: usize,
    /// How many nodes the configuration names.
    pub members_expected: usize,
    /// What traces calls and publications, if something does.
    pub tracer: Option<Arc<Tracer>>,
}

/// A bound observability port.
pub struct Server {
    listener: TcpListener,
    parts: Arc<Parts>,
}

/// What all requests share.
struct Parts {
    probes: Probes,
    collector: Collector,
    events: PrometheusHandle,
    /// One scrape at a time: a second one would only see the same.
    scraping: tokio::sync::Mutex<()>,
}

impl Server {
    /// Listens on `address`, and begins to count what is not counted without a port to show it.
    ///
    /// # Errors
    /// The address cannot be listened on.
    pub async fn bind(address: SocketAddr, observed: Observed) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let events = telemetry::install().map_err(io::Error::other)?;
        let probes = Probes::new(observed.source.inspect.clone(), Arc::clone(&observed.service));
        let parts = Parts {
            probes,
            collector: Collector(observed),
            events,
            scraping: tokio::sync::Mutex::new(()),
        };
        Ok(Self {
            listener,
            parts: Arc::new(parts),
        })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// The operating system does not tell.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Answers until the task is aborted.
    pub async fn run(self) {
        let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let mut upkeep = tokio::time::interval(UPKEEP_EVERY);
        loop {
            let accepted = tokio::select! {
                _ = upkeep.tick() => {
                    self.parts.events.run_upkeep();
                    // Notices by itself that the node is ready, so that /startupz need not be asked at the right moment.
                    self.parts.probes.ready();
                    continue;
                }
                accepted = self.listener.accept() => accepted,
            };
            match accepted {
                // One too many is closed: whoever watches the node asks again.
                Ok((stream, _)) => {
                    if let Ok(permit) = permits.clone().try_acquire_owned() {
                        tokio::spawn(serve(stream, Arc::clone(&self.parts), permit));
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept on the observability address");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }
}

async fn serve(stream: TcpStream, parts: Arc<Parts>, permit: OwnedSemaphorePermit) {
    let service = service_fn(move |request: Request<Incoming>| {
        let parts = Arc::clone(&parts);
        async move { Ok::<_, Infallible>(answer(parts, request.method(), request.uri().path()).await) }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_WITHIN);
    if let Err(error) = builder.serve_connection(TokioIo::new(stream), service).await {
        tracing::debug!(%error, "observability connection");
    }
    drop(permit);
}

async fn answer(parts: Arc<Parts>, method: &Method, path: &str) -> Response<Full<Bytes>> {
    if method != Method::GET && method != Method::HEAD {
        return reply(StatusCode::METHOD_NOT_ALLOWED, "text/plain", "only GET and HEAD\n");
    }
    match path {
        "/metrics" => scrape(parts).await,
        "/livez" => probe(&parts.probes.live()),
        "/readyz" => probe(&parts.probes.ready()),
        "/startupz" => probe(&parts.probes.started()),
        _ => reply(
            StatusCode::NOT_FOUND,
            "text/plain",
            "try /metrics, /livez, /readyz or /startupz\n",
        ),
    }
}

fn probe(conditions: &[probes::Condition]) -> Response<Full<Bytes>> {
    let status = if conditions.iter().all(|condition| condition.holds) {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let lines: Vec<String> = conditions.iter().map(ToString::to_string).collect();
    reply(status, "text/plain", lines.concat())
}

/// The text format that every Prometheus reads.
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

async fn scrape(parts: Arc<Parts>) -> Response<Full<Bytes>> {
    let _turn = parts.scraping.lock().await;
    let shared = Arc::clone(&parts);
    // It looks at every outbox: not for a thread that serves them.
    let text = tokio::task::spawn_blocking(move || {
        let ready = probes::all_hold(&shared.probes.ready());
        let mut text = shared.collector.collect(ready);
        text.push_str(&shared.events.render());
        text
    });
    match text.await {
        Ok(text) => reply(StatusCode::OK, METRICS_TYPE, text),
        Err(error) => {
            tracing::error!(%error, "reading the metrics");
            reply(StatusCode::INTERNAL_SERVER_ERROR, "text/plain", "see the log\n")
        }
    }
}
