//! The accept loop of the cluster address: finds out who dials and what for, then hands the connection on.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::AsyncReadExt,
    net::{TcpListener, TcpStream},
    runtime::Handle,
    sync::{Semaphore, mpsc},
    time::timeout,
};
use tokio_rustls::TlsAcceptor;
use tokio_stream::wrappers::ReceiverStream;

use crate::audit::{Audit, Refusal};

use super::{
    ClusterIo, Error, IDENTIFY_WITHIN, Identity, Kind, PeerIdentity, Security,
    io::{Socket, Stream},
    tls,
};

/// Identified connections of one kind, for `serve_with_incoming`.
pub type Incoming = ReceiverStream<Result<ClusterIo, io::Error>>;

/// Listens on the cluster address.
pub struct Acceptor {
    listener: TcpListener,
    identity: Identity,
    security: Security,
    data: Handle,
    to_control: mpsc::Sender<Result<ClusterIo, io::Error>>,
    to_data: mpsc::Sender<Result<ClusterIo, io::Error>>,
    refused: Arc<AtomicU64>,
    audit: Audit,
}

impl Acceptor {
    /// Listens on `address`. Returns the acceptor, the control connections and the data connections; the sockets of the
    /// latter are moved to the runtime `data`. Call it on the control runtime.
    ///
    /// # Errors
    /// The address cannot be listened on.
    pub async fn bind(
        address: &str,
        identity: Identity,
        security: Security,
        data: Handle,
    ) -> Result<(Self, Incoming, Incoming), Error> {
        let listener = TcpListener::bind(address).await.map_err(|source| Error::Listen {
            address: address.to_owned(),
            source,
        })?;
        let (to_control, control) = mpsc::channel(HANDED_OVER_MAX);
        let (to_data, lanes) = mpsc::channel(HANDED_OVER_MAX);
        let refused = Arc::default();
        let acceptor = Self {
            listener,
            identity,
            security,
            data,
            to_control,
            to_data,
            refused,
            audit: Audit::default(),
        };
        Ok((acceptor, ReceiverStream::new(control), ReceiverStream::new(lanes)))
    }

    /// Has the audit log keep who is refused.
    #[must_use]
    pub fn audited_by(self, audit: Audit) -> Self {
        Self { audit, ..self }
    }

    /// Where it listens, with the port the system chose if the configured one was 0.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// How many connections were refused so far; each of them was logged.
    pub fn refused(&self) -> Arc<AtomicU64> {
        self.refused.clone()
    }

    /// Accepts until both receivers of connections are gone, or the task is aborted.
    pub async fn run(self) {
        let unidentified = Arc::new(Semaphore::new(UNIDENTIFIED_MAX));
        let this = Arc::new(self);
        loop {
            let (stream, from) = match this.listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of descriptors, mostly. They come back when something closes, not by trying at once.
                    tracing::warn!(%error, "cannot accept on the cluster address");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            if this.to_control.is_closed() && this.to_data.is_closed() {
                return;
            }
            let Ok(permit) = unidentified.clone().try_acquire_owned() else {
                this.refused.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(%from, "cluster connection refused: too many unidentified ones");
                this.note(from, "too many unidentified connections", "");
                continue;
            };
            let this = this.clone();
            tokio::spawn(async move {
                let identified = timeout(IDENTIFY_WITHIN, this.identify(stream, from)).await;
                drop(permit);
                let handed = match identified.unwrap_or_else(|_| Err(Error::TooSlow { peer: from.to_string() })) {
                    Ok((Kind::Control, io)) => this.to_control.try_send(Ok(io)).is_ok(),
                    Ok((Kind::Data, io)) => this.to_data.try_send(Ok(io)).is_ok(),
                    Err(error) => {
                        tracing::warn!(%from, %error, "cluster connection refused");
                        if let Some(reason) = error.refusal() {
                            this.note(from, reason, &super::explain(&error));
                        }
                        false
                    }
                };
                if !handed {
                    this.refused.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    }

    fn note(&self, from: SocketAddr, reason: &'static str, what: &str) {
        self.audit.refused(&Refusal {
            source: Some(from.ip().to_canonical()),
            listener: self.local_addr().ok(),
            what,
            ..Refusal::of("cluster", reason)
        });
    }

    async fn identify(&self, stream: TcpStream, from: SocketAddr) -> Result<(Kind, ClusterIo), Error> {
        let peer = || from.to_string();
        let socket = Socket::new(stream).map_err(|source| Error::Io { peer: peer(), source })?;
        let mut io = match &self.security {
            Security::Plain => ClusterIo {
                stream: Stream::Plain(socket),
                peer: PeerIdentity { name: None },
            },
            Security::Tls(tls) => {
                let stream = TlsAcceptor::from(tls.server.clone())
                    .accept(socket)
                    .await
                    .map_err(|source| Error::Handshake { peer: peer(), source })?;
                let chain = stream.get_ref().1.peer_certificates();
                let Some(name) = tls::peer_name(&self.identity, chain) else {
                    let expected = format!("a node of cluster {}", self.identity.cluster_id());
                    return Err(Error::WrongPeer {
                        peer: peer(),
                        found: tls::shown(chain),
                        expected,
                    });
                };
                ClusterIo {
                    stream: Stream::Server(Box::new(stream)),
                    peer: PeerIdentity { name: Some(name) },
                }
            }
        };
        let mut magic = [0; 4];
        io.read_exact(&mut magic)
            .await
            .map_err(|source| Error::Io { peer: peer(), source })?;
        let kind = Kind::from_magic(magic).ok_or_else(|| Error::Magic {
            peer: peer(),
            found: magic,
        })?;
        if kind == Kind::Data {
            io.rehome(&self.data).map_err(|source| Error::Io { peer: peer(), source })?;
        }
        Ok((kind, io))
    }
}

/// How many connections may be unidentified at a time; further ones are closed at once.
const UNIDENTIFIED_MAX: usize = 256;
/// How many identified connections may wait for their server to take them.
const HANDED_OVER_MAX: usize = 256;
