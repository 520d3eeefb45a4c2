//! The task that sends spans to the collector, a batch at a time.

use std::{
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use opentelemetry_proto::tonic::{collector::trace::v1::trace_service_client::TraceServiceClient, resource::v1::Resource};
use tokio::{sync::mpsc, time::timeout};
use tonic::{
    metadata::{Ascii, MetadataKey, MetadataValue},
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint},
};

use super::{Counts, Span, Tracer, convert};
use crate::config;

/// Why nothing can be traced like this.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address of the collector.
    #[error("observability.traces.endpoint {endpoint}: {why}: write http://HOST:4317, or https://HOST:4317")]
    Endpoint { endpoint: String, why: String },
    /// The file of authorities.
    #[error("observability.traces.ca {}: {why}", file.display())]
    Authorities { file: PathBuf, why: String },
    /// A header. Its value is not shown.
    #[error("observability.traces.headers[{index}] is no header: write \"name: value\"")]
    Header { index: usize },
}

/// A header sent with each export, its name and its value.
type Header = (MetadataKey<Ascii>, MetadataValue<Ascii>);

/// What sends the spans of a node.
pub struct Exporter {
    client: TraceServiceClient<Channel>,
    headers: Vec<Header>,
    resource: Resource,
    queue: mpsc::Receiver<Span>,
    counts: Arc<Counts>,
}

/// Spans in one request.
const BATCH: usize = 512;
/// How long the first span of a batch waits for others.
const GATHER: Duration = Duration::from_millis(500);
/// How long the collector may take.
const WITHIN: Duration = Duration::from_secs(5);
/// After a failure, so that a collector that is gone is not asked without pause.
const PAUSE: Duration = Duration::from_secs(1);

impl Exporter {
    /// What traces as `settings` say, for the node of that name; nothing is connected yet.
    ///
    /// # Errors
    /// See [`Error`].
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn new(settings: &config::Traces, node: &str) -> Result<(Arc<Tracer>, Self), Error> {
        let channel = channel(settings)?.connect_lazy();
        let (sender, queue) = mpsc::channel(settings.queue_max.max(1));
        let counts = Arc::<Counts>::default();
        let exporter = Self {
            client: TraceServiceClient::new(channel),
            headers: headers(settings)?,
            resource: convert::resource(&settings.service_name, node),
            queue,
            counts: Arc::clone(&counts),
        };
        Ok((Arc::new(Tracer::new(settings, sender, counts)), exporter))
    }

    /// Looks over what [`Self::new`] would refuse.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn check(settings: &config::Traces) -> Result<(), Error> {
        if settings.is_on() {
            channel(settings)?;
            headers(settings)?;
        }
        Ok(())
    }

    /// Sends until the task is aborted, or everybody who had a tracer is gone and the queue is empty.
    pub async fn run(mut self) {
        let mut complained = false;
        while let Some(batch) = self.next().await {
            let count = batch.len() as u64;
            let sent = self.send(batch).await;
            self.counts.sending.store(false, Ordering::Release);
            match sent {
                Ok(()) => {
                    self.counts.exported.fetch_add(count, Ordering::Relaxed);
                    if std::mem::take(&mut complained) {
                        tracing::info!("the collector takes traces again");
                    }
                }
                Err(why) => {
                    self.counts.failed.fetch_add(count, Ordering::Relaxed);
                    if !std::mem::replace(&mut complained, true) {
                        tracing::warn!(
                            why,
                            "the collector does not take traces; they are dropped and counted until it does"
                        );
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    async fn next(&mut self) -> Option<Vec<Span>> {
        let first = self.queue.recv().await?;
        self.counts.sending.store(true, Ordering::Release);
        let mut batch = vec![first];
        let gather = async {
            while batch.len() < BATCH {
                let room = BATCH - batch.len();
                if self.queue.recv_many(&mut batch, room).await == 0 {
                    return;
                }
            }
        };
        // What was received stays in the batch.
        let _ = timeout(GATHER, gather).await;
        Some(batch)
    }

    async fn send(&mut self, batch: Vec<Span>) -> Result<(), String> {
        let mut request = tonic::Request::new(convert::request(&self.resource, batch));
        for (name, value) in &self.headers {
            request.metadata_mut().insert(name.clone(), value.clone());
        }
        match timeout(WITHIN, self.client.export(request)).await {
            Ok(Ok(answer)) => {
                if let Some(partial) = answer
                    .into_inner()
                    .partial_success
                    .filter(|partial| partial.rejected_spans > 0)
                {
                    tracing::debug!(rejected = partial.rejected_spans, "the collector has rejected some spans");
                }
                Ok(())
            }
            // Not the message: it is another program's, and may hold what it was sent.
            Ok(Err(status)) => Err(format!("{:?}", status.code())),
            Err(_) => Err("no answer in time".to_owned()),
        }
    }
}

fn channel(settings: &config::Traces) -> Result<Endpoint, Error> {
    let refused = |why: String| Error::Endpoint {
        endpoint: settings.endpoint.clone(),
        why,
    };
    let endpoint = Endpoint::from_shared(settings.endpoint.clone()).map_err(|error| refused(error.to_string()))?;
    let endpoint = endpoint.connect_timeout(WITHIN).timeout(WITHIN);
    if endpoint.uri().scheme_str() != Some("https") {
        return Ok(endpoint);
    }
    let tls = match &settings.ca {
        None => ClientTlsConfig::new().with_native_roots(),
        Some(file) => {
            let pem = std::fs::read(file).map_err(|error| Error::Authorities {
                file: file.clone(),
                why: error.to_string(),
            })?;
            ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem))
        }
    };
    endpoint.tls_config(tls).map_err(|error| match &settings.ca {
        Some(file) => Error::Authorities {
            file: file.clone(),
            why: chain(&error),
        },
        None => refused(chain(&error)),
    })
}

fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

fn headers(settings: &config::Traces) -> Result<Vec<Header>, Error> {
    let read = |header: &config::Secret| {
        let (name, value) = header.expose().split_once(':')?;
        let key: MetadataKey<Ascii> = name.trim().to_ascii_lowercase().parse().ok()?;
        let mut value: MetadataValue<Ascii> = value.trim().parse().ok()?;
        value.set_sensitive(true);
        Some((key, value))
    };
    let all = settings.headers.iter().enumerate();
    all.map(|(index, header)| read(header).ok_or(Error::Header { index }))
        .collect()
}
