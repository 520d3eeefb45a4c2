//! How nodes reach each other: one TCP port per node, mutual TLS, and HTTP/2 settings that raft, gossip and links share.
//!
//! Owns: who a node is on the wire ([`Identity`]), certificates ([`tls`]), dialing and addresses ([`peers`]), the accept loop
//! ([`acceptor`]). Does not own what is said over a connection. Start reading here, then [`peers`].
//!
//! A connection begins with TLS 1.3 in which both sides show a certificate of the cluster's authority whose URI SAN is
//! `ringfort://<cluster_id>/<node_name>`; then the dialer writes four bytes that say what the connection is for ([`Kind`]);
//! from there on it is plain HTTP/2. Where every address is a loopback address, TLS may be left out.

pub mod acceptor;
pub mod bundle;
pub mod io;
pub mod peers;
#[cfg(test)]
pub(crate) mod tests;
pub mod tls;

use std::{future::Future, net::SocketAddr, pin::Pin, time::Duration};

use tokio::runtime::Handle;
use tonic::transport::{Endpoint, Server};

pub use acceptor::{Acceptor, Incoming};
pub use bundle::Bundle;
pub use io::{ClusterIo, PeerIdentity};
pub use peers::{Addresses, Dialer, PeerChannels};
pub use tls::{ClusterTls, TlsFiles};

/// Who a node is among the nodes of its cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    cluster_id: String,
    name: String,
}

impl Identity {
    /// An identity out of a cluster id and a node name.
    ///
    /// # Errors
    /// Either is empty, longer than 64 bytes, or holds anything but ASCII letters, digits, `.`, `_` and `-`: both are parts of
    /// the URI in a certificate.
    pub fn new(cluster_id: impl Into<String>, name: impl Into<String>) -> Result<Self, Error> {
        let (cluster_id, name) = (cluster_id.into(), name.into());
        for (what, text) in [("cluster id", &cluster_id), ("node name", &name)] {
            let plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_".contains(&b));
            if text.is_empty() || text.len() > 64 || !plain {
                return Err(Error::Name {
                    what,
                    text: text.chars().take(80).collect(),
                });
            }
        }
        Ok(Self { cluster_id, name })
    }

    /// The cluster.
    pub fn cluster_id(&self) -> &str {
        &self.cluster_id
    }

    /// The node's name, unique in the cluster.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The URI a node's certificate has to carry as a subject alternative name.
    pub fn uri(&self) -> String {
        format!("ringfort://{}/{}", self.cluster_id, self.name)
    }
}

/// Whether connections between nodes are encrypted and both ends proven.
#[derive(Clone, Debug)]
pub enum Security {
    /// Mutual TLS.
    Tls(ClusterTls),
    /// Neither; only between processes of one machine.
    Plain,
}

impl Security {
    /// No TLS, which is allowed only if every address of the cluster is a loopback address.
    ///
    /// # Errors
    /// Names the first address that is not.
    pub fn plain<'a>(addresses: impl IntoIterator<Item = &'a str>) -> Result<Self, Error> {
        for address in addresses {
            let loopback = match address.parse::<SocketAddr>() {
                Ok(address) => address.ip().is_loopback(),
                Err(_) => address.rsplit_once(':').is_some_and(|(host, _)| host == "localhost"),
            };
            if !loopback {
                return Err(Error::PlainBeyondLoopback {
                    address: address.to_owned(),
                });
            }
        }
        Ok(Self::Plain)
    }
}

/// What a connection is for, said by its first four bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Raft, gossip, leases and the control streams of links; served on the control runtime.
    Control,
    /// A data lane; served on the main runtime.
    Data,
}

impl Kind {
    /// The bytes the dialer writes first.
    pub const fn magic(self) -> [u8; 4] {
        match self {
            Kind::Control => *b"RFC1",
            Kind::Data => *b"RFD1",
        }
    }

    /// What the first bytes of a connection say.
    pub fn from_magic(magic: [u8; 4]) -> Option<Self> {
        [Kind::Control, Kind::Data].into_iter().find(|kind| kind.magic() == magic)
    }
}

/// The HTTP/2 settings of the accepting side. Raft, gossip and links are added to what this returns.
pub fn server() -> Server {
    Server::builder()
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .tcp_nodelay(true)
}

/// Serves one connection as [`server`] would, all of it in the task of `bundle`. `service` finds the peer's [`PeerIdentity`] and
/// the bundle in the extensions of each request.
pub fn serve_in<S>(bundle: &Bundle, io: ClusterIo, service: S)
where
    S: tower::Service<
            http::Request<tonic::body::Body>,
            Response = http::Response<tonic::body::Body>,
            Error = std::convert::Infallible,
        > + Clone
        + Send
        + 'static,
    S::Future: Send + 'static,
{
    let (peer, extension) = (io.peer.clone(), bundle.clone());
    let service = hyper::service::service_fn(move |request: http::Request<hyper::body::Incoming>| {
        let mut request = request.map(tonic::body::Body::new);
        request.extensions_mut().insert(peer.clone());
        request.extensions_mut().insert(extension.clone());
        service.clone().call(request)
    });
    let connection = hyper::server::conn::http2::Builder::new(bundle.clone())
        .timer(hyper_util::rt::TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .keep_alive_interval(Some(KEEPALIVE_INTERVAL))
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .serve_connection(hyper_util::rt::TokioIo::new(io), service);
    bundle.run(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection between nodes ended");
        }
    });
}

/// The HTTP/2 settings of the dialing side; every task of the connection runs where `executor` says.
pub fn endpoint<E>(executor: E) -> Endpoint
where
    E: hyper::rt::Executor<Pin<Box<dyn Future<Output = ()> + Send>>> + Send + Sync + 'static,
{
    // The address is the connector's business; this one never resolves.
    Endpoint::from_static("http://node.ringfort.invalid")
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .tcp_nodelay(true)
        .executor(executor)
}

/// Spawns onto a given runtime whatever thread asks for it.
#[derive(Clone)]
pub struct On(pub Handle);

impl hyper::rt::Executor<Pin<Box<dyn Future<Output = ()> + Send>>> for On {
    fn execute(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>) {
        self.0.spawn(future);
    }
}

// Whether the *receiver* has wide windows decides the throughput of a lane, by a factor of 2.5 to 7.5; both ends receive.
const STREAM_WINDOW_BYTES: u32 = 8 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 32 << 20;
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long dialing, TLS and the first bytes may take together, on either side.
const IDENTIFY_WITHIN: Duration = Duration::from_secs(5);

/// Why a connection between nodes cannot be had, or the settings for it cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operator's: a name that cannot stand in a certificate's URI.
    #[error("the {what} {text:?} is not usable: give it 1 to 64 ASCII letters, digits, '.', '_' or '-'")]
    Name { what: &'static str, text: String },
    /// The operator's: no TLS although other machines are involved.
    #[error(
        "cluster address {address} is not a loopback address: configure [cluster.tls] (`ringfort ca` makes the files), or use loopback addresses only"
    )]
    PlainBeyondLoopback { address: String },
    /// The operator's: a certificate or key that cannot be used.
    #[error("{file}: {wrong}; {remedy}")]
    Certificate { file: String, wrong: String, remedy: String },
    /// Nobody has said where that node is yet. Retrying helps once somebody does.
    #[error("no address is known for node {node}")]
    NoAddress { node: String },
    /// The other end did not answer as a TCP peer. Retrying helps if it is merely down.
    #[error("cannot reach node {node} at {address}")]
    Unreachable {
        node: String,
        address: String,
        source: std::io::Error,
    },
    /// The TLS handshake failed: a foreign authority, an expired certificate, or no TLS at all on one side.
    #[error("TLS with {peer} failed: {source}")]
    Handshake { peer: String, source: std::io::Error },
    /// The other end has proven to be somebody else.
    #[error("{peer} shows a certificate for {found}, expected {expected}")]
    WrongPeer { peer: String, found: String, expected: String },
    /// The other end took too long to identify itself.
    #[error("{peer} did not identify itself within {} s", IDENTIFY_WITHIN.as_secs())]
    TooSlow { peer: String },
    /// The other end speaks another protocol, or another version of this one.
    #[error("{peer} began with {found:02x?}, which is neither a control nor a data connection")]
    Magic { peer: String, found: [u8; 4] },
    /// The socket failed.
    #[error("connection to {peer} failed")]
    Io { peer: String, source: std::io::Error },
    /// The connection could not be made or not be agreed on; [`explain`] tells the cause.
    #[error("cannot connect to node {node}")]
    Connect { node: String, source: tonic::transport::Error },
    /// This process is shutting down.
    #[error("not connecting to node {node}: shutting down")]
    Stopped { node: String },
    /// The cluster address cannot be listened on.
    #[error("cannot listen on cluster address {address}: {source}; free the port or change cluster.address")]
    Listen { address: String, source: std::io::Error },
}

impl Error {
    /// Why somebody was refused, in words for the record; `None` if the connection merely broke, or was this node's own.
    pub fn refusal(&self) -> Option<&'static str> {
        match self {
            Self::Handshake { source, .. } => {
                let of_tls = source.get_ref().is_some_and(|source| source.is::<rustls::Error>());
                of_tls.then_some("TLS handshake failed")
            }
            Self::WrongPeer { .. } => Some("certificate of no node of this cluster"),
            Self::TooSlow { .. } => Some("not identified in time"),
            Self::Magic { .. } => Some("another protocol"),
            _ => None,
        }
    }
}

/// An error with its causes on one line: tonic hides ours among its sources.
pub fn explain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let said = cause.to_string();
        if !text.ends_with(&said) {
            text = format!("{text}: {said}");
        }
        next = cause.source();
    }
    text
}
