//! What operators look at, over plain HTTP on the admin address: health, readiness, status and the newest log entries; and what they
//! change there, over gRPC: roles, permissions, principals and credentials ([`access`]), and how much is logged ([`logs`]).
//!
//! Owns: that port and its answers. The address is a loopback one: whoever reaches it is trusted. Nothing here shows a payload or a
//! secret.
//!
//! | path | answer |
//! |---|---|
//! | `/healthz` | 200 while the process works at all |
//! | `/readyz` | 200 while clients are served, else 503 |
//! | `/status` | JSON: name, node, leader, ready, durable, applied, members, links, realms |
//! | `/log?from=N` | JSON: applied commands from log index N on, oldest first |

pub mod access;
pub mod logs;
pub mod observability;
pub mod status;
mod terms;

use std::{io, net::SocketAddr};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use ringfort_proto::admin::v1::{
    logs_server::LogsServer, principals_server::PrincipalsServer, realms_server::RealmsServer, roles_server::RolesServer,
};
use tokio::{net::TcpListener, sync::Semaphore};
use tonic::{body::Body, service::Routes};
use tower::Service;

use self::{access::Access, logs::LogLevels, status::Source};
use crate::telemetry::{self, names};

/// At most this many admin connections at once.
const CONNECTIONS_MAX: usize = 64;
const HEAD_WITHIN: std::time::Duration = std::time::Duration::from_secs(5);

/// A bound admin port.
pub struct Server {
    listener: TcpListener,
    source: Source,
    services: Routes,
}

impl Server {
    /// Listens on `address`.
    ///
    /// # Errors
    /// The address cannot be listened on.
    pub async fn bind(address: SocketAddr, source: Source, access: Access) -> io::Result<Self> {
        let services = Routes::new(RealmsServer::new(access.clone()))
            .add_service(RolesServer::new(access.clone()))
            .add_service(PrincipalsServer::new(access))
            .add_service(LogsServer::new(LogLevels));
        Ok(Self {
            listener: TcpListener::bind(address).await?,
            services,
            source,
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
        let permits = std::sync::Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let Ok(permit) = permits.clone().acquire_owned().await else {
                return;
            };
            let stream = match self.listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept on the admin address");
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                    continue;
                }
            };
            let (source, services) = (self.source.clone(), self.services.clone());
            tokio::spawn(async move {
                let service = service_fn(move |request: Request<Incoming>| {
                    let (source, mut services) = (source.clone(), services.clone());
                    async move {
                        let grpc = is_grpc(&request);
                        telemetry::count(&names::ADMIN_REQUESTS, &[if grpc { "grpc" } else { "http" }]);
                        if grpc {
                            return services.call(request.map(Body::new)).await;
                        }
                        Ok(answer(&source, &request).map(Body::new))
                    }
                });
                let mut builder = auto::Builder::new(TokioExecutor::new());
                builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_WITHIN);
                builder.http2().timer(TokioTimer::new()).max_concurrent_streams(STREAMS_MAX);
                let served = builder.serve_connection(TokioIo::new(stream), service).await;
                if let Err(error) = served {
                    tracing::debug!(%error, "admin connection");
                }
                drop(permit);
            });
        }
    }
}

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
