//! What operators look at, over plain HTTP on the admin address: health, readiness, status and the newest log entries; and what they
//! change there, over gRPC: realms, roles, permissions, principals and credentials ([`access`]), all of these by a document or a backup
//! ([`backup`]), the nodes ([`nodes`]), how much is logged ([`logs`]), and the settings of the file ([`reload`]); and who is there, with
//! what (`sessions`, `registrations`, `subscriptions`), and what passes (`tap`), on all nodes ([`local`], `look`).
//!
//! Owns: that port and its answers, and who may have which ([`caller`]). On a loopback address without TLS whoever reaches it is
//! trusted; else clients show certificates. Nothing here shows a payload or a secret.
//!
//! | path | answer |
//! |---|---|
//! | `/healthz` | 200 while the process works at all |
//! | `/readyz` | 200 while clients are served, else 503 |
//! | `/status` | JSON: name, node, leader, ready, durable, applied, members, links, realms |
//! | `/log?from=N` | JSON: applied commands from log index N on, oldest first |
//!
//! Beside the services of `proto/ringfort/admin/v1` there are gRPC's own health checking and server reflection.

pub mod access;
pub mod backup;
pub mod caller;
mod deadline;
mod document;
mod drain;
mod edits;
pub mod local;
pub mod logs;
mod look;
pub mod nodes;
pub mod observability;
mod page;
mod realms;
mod recorded;
mod refusal;
mod registrations;
pub mod reload;
mod sessions;
pub mod settings;
pub mod status;
mod subscriptions;
mod tap;
mod terms;
pub mod tls;
mod told;

use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use ringfort_proto::admin::v1::{
    DESCRIPTORS, backup_server::BackupServer, cluster_server::ClusterServer, documents_server::DocumentsServer,
    drain_server::DrainServer, logs_server::LogsServer, principals_server::PrincipalsServer, realms_server::RealmsServer,
    registrations_server::RegistrationsServer, roles_server::RolesServer, sessions_server::SessionsServer,
    settings_server::SettingsServer, slow_consumers_server::SlowConsumersServer, subscriptions_server::SubscriptionsServer,
    tap_server::TapServer,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tonic::{Status, body::Body, service::Routes};
use tonic_health::{ServingStatus, server::HealthReporter};
use tower::Service;

use self::{
    access::Access,
    caller::{Caller, Callers},
    deadline::Deadline,
    drain::Drains,
    logs::LogLevels,
    look::Look,
    nodes::Nodes,
    reload::SettingsService,
    status::Source,
};
use crate::{
    audit::{Audit, Refusal},
    config::{self, AdminTls},
    telemetry::{self, names},
    transport::client_certificate,
};

/// At most this many admin connections at once.
const CONNECTIONS_MAX: usize = 64;
const HEAD_WITHIN: Duration = Duration::from_secs(5);
/// How long a client may take for its TLS handshake.
const TLS_WITHIN: Duration = Duration::from_secs(5);

/// A bound admin port.
pub struct Server {
    listener: TcpListener,
    tls: Option<Arc<tls::Acceptor>>,
    health: HealthReporter,
    port: Port,
}

/// What every connection needs.
#[derive(Clone)]
struct Port {
    source: Source,
    services: Routes,
    callers: Callers,
    audit: Audit,
}

/// An admin port that cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The address.
    #[error(transparent)]
    Address(#[from] io::Error),
    /// The certificates.
    #[error("admin.tls: {0}")]
    Tls(#[from] tls::Error),
}

impl Server {
    /// Listens on `address`, for those of `settings`.
    ///
    /// # Errors
    /// The address cannot be listened on, or the certificates cannot be used.
    pub async fn bind(address: SocketAddr, settings: &config::Admin, source: Source, access: Access) -> Result<Self, BindError> {
        let nodes = Nodes::new(source.inspect.clone(), &source.name, source.realms.audit.clone());
        let (health, health_service) = tonic_health::server::health_reporter();
        let look = Look {
            inspect: source.inspect.clone(),
            audit: source.realms.audit.clone(),
        };
        let registrations = registrations::Service {
            look: look.clone(),
            access: access.clone(),
        };
        let subscriptions = subscriptions::Service(look.clone());
        // Made at build time; were it none, reflection alone would be missing.
        let mut services = Routes::new(RealmsServer::new(access.clone()))
            .add_service(RolesServer::new(access.clone()))
            .add_service(PrincipalsServer::new(access.clone()))
            .add_service(DocumentsServer::new(access.clone()).max_decoding_message_size(DOCUMENT_MESSAGE_BYTES_MAX))
            .add_service(BackupServer::new(access))
            .add_service(LogsServer::new(LogLevels))
            .add_service(SettingsServer::new(SettingsService(Arc::clone(&source.settings))))
            .add_service(ClusterServer::new(nodes))
            .add_service(DrainServer::new(Drains::new(&source)))
            .add_service(SessionsServer::new(sessions::Service(look.clone())))
            .add_service(RegistrationsServer::new(registrations))
            .add_service(SubscriptionsServer::new(subscriptions.clone()))
            .add_service(SlowConsumersServer::new(subscriptions))
            .add_service(TapServer::new(tap::Service(look)))
            .add_service(health_service);
        let described = || {
            tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(DESCRIPTORS)
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        };
        match (described().build_v1(), described().build_v1alpha()) {
            (Ok(current), Ok(former)) => services = services.add_service(current).add_service(former),
            (Err(error), _) | (_, Err(error)) => tracing::error!(%error, "the admin services cannot be described"),
        }
        let acceptor = |files: &AdminTls| tls::Acceptor::new(files).map(Arc::new);
        let tls = settings.tls.as_ref().map(acceptor).transpose()?;
        Ok(Self {
            listener: TcpListener::bind(address).await?,
            health,
            port: Port {
                callers: match tls {
                    Some(_) => Callers::named(&settings.clients),
                    None => Callers::Anybody,
                },
                audit: source.realms.audit.clone(),
                services,
                source,
            },
            tls,
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
        tokio::join!(
            keep_health(self.health, self.port.source.clone()),
            accept(self.listener, self.tls, self.port, permits),
        );
    }
}

async fn accept(listener: TcpListener, tls: Option<Arc<tls::Acceptor>>, port: Port, permits: Arc<Semaphore>) {
    loop {
        let Ok(permit) = permits.clone().acquire_owned().await else {
            return;
        };
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept on the admin address");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (tls, port) = (tls.clone(), port.clone());
        tokio::spawn(async move {
            match tls {
                None => {
                    let caller = port.callers.identify(peer, &[]);
                    port.serve(stream, caller).await;
                }
                Some(tls) => port.serve_tls(&tls, stream, peer).await,
            }
            drop(permit);
        });
    }
}

/// Keeps what gRPC's health checking tells as it is.
async fn keep_health(reporter: HealthReporter, source: Source) {
    let (mut stage, mut drain) = (source.inspect.stage.clone(), source.inspect.drain.progress());
    loop {
        let status = match source.ready() {
            true => ServingStatus::Serving,
            false => ServingStatus::NotServing,
        };
        reporter.set_service_status("", status).await;
        let changed = tokio::select! {
            changed = stage.changed() => changed,
            changed = drain.changed() => changed,
        };
        if changed.is_err() {
            return;
        }
    }
}

impl Port {
    async fn serve_tls(self, tls: &tls::Acceptor, stream: TcpStream, peer: SocketAddr) {
        let accepted = tokio::time::timeout(TLS_WITHIN, tls.current().accept(stream)).await;
        let why = match accepted {
            Ok(Ok(stream)) => {
                let facts = client_certificate::facts(stream.get_ref().1, 0, 0);
                // Only its names count here: no session is made of it.
                let caller = self.callers.identify(peer, &facts.certificate);
                return self.serve(stream, caller).await;
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => "too slow".to_owned(),
        };
        tracing::info!(%peer, %why, "no TLS on the admin port");
        self.audit.refused(&Refusal {
            source: Some(peer.ip()),
            what: &why,
            ..Refusal::of("admin", "no TLS, or a certificate that is not trusted")
        });
    }

    async fn serve(self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, caller: Caller) {
        let service = service_fn(move |mut request: Request<Incoming>| {
            let (port, caller) = (self.clone(), caller.clone());
            async move {
                telemetry::count(&names::ADMIN_REQUESTS, &[if is_grpc(&request) { "grpc" } else { "http" }]);
                if let Err(why) = caller.may(request.uri().path()) {
                    return Ok(port.refuse(&request, &caller, &why));
                }
                if is_grpc(&request) {
                    request.extensions_mut().insert(caller);
                    return port.call(request).await;
                }
                Ok(answer(&port.source, &request).map(Body::new))
            }
        });
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_WITHIN);
        builder.http2().timer(TokioTimer::new()).max_concurrent_streams(STREAMS_MAX);
        let served = builder.serve_connection(TokioIo::new(stream), service).await;
        if let Err(error) = served {
            tracing::debug!(%error, "admin connection");
        }
    }

    /// Has a service answer, for as long as the client waits.
    async fn call(&self, mut request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
        let mut services = self.services.clone();
        let Some(within) = deadline::of(request.headers()) else {
            return services.call(request.map(Body::new)).await;
        };
        request.extensions_mut().insert(Deadline(Instant::now() + within));
        let answer = tokio::time::timeout(within, services.call(request.map(Body::new))).await;
        answer.unwrap_or_else(|_| Ok(Status::deadline_exceeded("the answer was not there in time").into_http()))
    }

    fn refuse(&self, request: &Request<Incoming>, caller: &Caller, why: &str) -> Response<Body> {
        self.audit.refused(&Refusal {
            source: Some(caller.source.ip()),
            admin: &caller.name,
            role: caller.role.map_or("", config::AdminRole::name),
            what: request.uri().path(),
            ..Refusal::of("admin", "role does not suffice")
        });
        if is_grpc(request) {
            return Status::permission_denied(why).into_http();
        }
        reply(StatusCode::FORBIDDEN, "text/plain", format!("{why}\n")).map(Body::new)
    }
}

/// A document, and the rest of its message.
const DOCUMENT_MESSAGE_BYTES_MAX: usize = 9 * 1024 * 1024;

/// Requests under way on one connection.
const STREAMS_MAX: u32 = 64;

fn is_grpc(request: &Request<Incoming>) -> bool {
    let kind = request.headers().get(header::CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

fn answer(source: &Source, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return reply(StatusCode::METHOD_NOT_ALLOWED, "text/plain", "only GET and HEAD\n");
    }
    match request.uri().path() {
        "/healthz" => reply(StatusCode::OK, "text/plain", "ok\n"),
        "/readyz" if source.ready() => reply(StatusCode::OK, "text/plain", "ready\n"),
        "/readyz" => reply(StatusCode::SERVICE_UNAVAILABLE, "text/plain", "not ready\n"),
        "/status" => json(&source.status()),
        "/log" => {
            let from = request
                .uri()
                .query()
                .and_then(|query| query.strip_prefix("from="))
                .map_or(Ok(0), str::parse);
            match from {
                Ok(from) => json(&source.log(from)),
                Err(_) => reply(StatusCode::BAD_REQUEST, "text/plain", "use /log?from=INDEX\n"),
            }
        }
        _ => reply(
            StatusCode::NOT_FOUND,
            "text/plain",
            "try /status, /log, /healthz or /readyz\n",
        ),
    }
}

fn json(value: &serde_json::Value) -> Response<Full<Bytes>> {
    reply(StatusCode::OK, "application/json", value.to_string())
}

fn reply(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, header::HeaderValue::from_static(content_type));
    response
}
