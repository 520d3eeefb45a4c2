//! The public port: accepts connections, finds out what each speaks, and sees it through its transport handshake.
//!
//! WebSocket, RawSocket, HTTP and TLS share a port and are told apart by the first bytes. A connection that says nothing costs a
//! task and a socket, no buffer, and not for longer than the handshake timeout; how many there are is limited.

use std::{
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use ::http::StatusCode;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};

use super::{
    client_certificate,
    framing::{Decoder, Framing},
    http::{self, BadHead, Pages},
    io::{Io, Stream, watch_peer},
    rawsocket,
    reload::{self, Reloading},
    tls, websocket,
};
use crate::{
    router::Compat,
    session::{
        auth::{
            PeerFacts,
            cookie::{self, Cookies},
        },
        outbox::WireFormat,
        sessions::Service,
        task::{self, Connection},
    },
    wamp::Serializer,
};

/// What a listener is made of.
#[derive(Clone)]
pub struct ListenerConfig {
    /// Where to listen; port 0 takes a free one.
    pub address: SocketAddr,
    /// The path of the WebSocket endpoint.
    pub path: String,
    /// Which web pages may connect.
    pub origins: websocket::Origins,
    /// Whether RawSocket is spoken too.
    pub rawsocket: bool,
    /// How far those who come this way are trusted; `None`: nobody is told.
    pub trustlevel: Option<u16>,
    /// Whether WebSocket clients have to name a subprotocol.
    pub subprotocol: websocket::Subprotocol,
    /// How the sessions that come this way are met.
    pub compat: Compat,
    /// Whether WebSockets get a cookie for the method `cookie`.
    pub cookies: bool,
    /// Certificate and key; without them the port is plain.
    pub tls: Option<tls::TlsFiles>,
    /// Whether a port with TLS takes plain connections as well. Default false.
    pub plain_beside_tls: bool,
    /// What browsers get.
    pub pages: Arc<dyn Pages>,
    /// How many connections there may be at a time. Default 20,000, what small machines let a process open. Too small turns
    /// devices away; more than the process may open makes accepting fail.
    pub connections_max: usize,
}

impl Default for ListenerConfig {
    fn default() -> Self {
        Self {
            address: SocketAddr::from(([127, 0, 0, 1], 8080)),
            path: "/ws".to_owned(),
            origins: websocket::Origins::SameHost,
            rawsocket: true,
            trustlevel: None,
            subprotocol: websocket::Subprotocol::Required,
            compat: Compat::default(),
            cookies: false,
            tls: None,
            plain_beside_tls: false,
            pages: Arc::new(http::NoPages),
            connections_max: 20_000,
        }
    }
}

impl std::fmt::Debug for ListenerConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ListenerConfig")
            .field("address", &self.address)
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// Why a listener cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address cannot be bound. Nothing is listening; another address, or ending whoever has this one, helps.
    #[error("cannot listen on {address}; {}", bind_remedy(source))]
    Bind {
        /// The configured address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// TLS cannot be set up.
    #[error("listener {address} cannot use TLS")]
    Tls {
        /// The configured address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: tls::Error,
    },
}

fn bind_remedy(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::AddrInUse => "another process has this port: end it or configure another port",
        io::ErrorKind::PermissionDenied => "ports below 1024 need a privilege: configure a higher port or grant it",
        io::ErrorKind::AddrNotAvailable => "this machine does not have that address: configure one it has",
        _ => "check the configured address",
    }
}

/// A listener that is bound but does not accept yet: clients wait in the system's queue.
#[derive(Debug)]
pub struct BoundListener {
    socket: TcpListener,
    local: SocketAddr,
    port: Arc<Port>,
}

/// What the connections of a listener share.
struct Port {
    config: ListenerConfig,
    tls: Option<Arc<Reloading>>,
    service: Arc<Service>,
    places: Arc<Semaphore>,
    /// For telling a few of those who find the listener full so.
    refusals: Arc<Semaphore>,
}

impl std::fmt::Debug for Port {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.config.fmt(f)
    }
}

/// How many clients are told at a time that the listener is full.
const REFUSALS_MAX: usize = 64;

/// Binds a listener.
///
/// # Errors
/// The address or the TLS files cannot be used.
pub async fn bind(config: ListenerConfig, service: Arc<Service>) -> Result<BoundListener, Error> {
    let address = config.address;
    let tls = config
        .tls
        .as_ref()
        .map(Reloading::new)
        .transpose()
        .map_err(|source| Error::Tls { address, source })?;
    let bound = async {
        let socket = TcpListener::bind(address).await?;
        let local = socket.local_addr()?;
        Ok((socket, local))
    };
    let (socket, local) = bound.await.map_err(|source| Error::Bind { address, source })?;
    let places = Arc::new(Semaphore::new(config.connections_max.min(Semaphore::MAX_PERMITS)));
    let port = Port {
        config,
        tls: tls.map(Arc::new),
        service,
        places,
        refusals: Arc::new(Semaphore::new(REFUSALS_MAX)),
    };
    Ok(BoundListener {
        socket,
        local,
        port: Arc::new(port),
    })
}

impl BoundListener {
    /// The address it listens on, with the port it got.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// True if it speaks TLS.
    pub fn is_tls(&self) -> bool {
        self.port.tls.is_some()
    }

    /// Accepts connections until `shutdown` resolves. Connections go on; see [`crate::session::sessions::Sessions::close_all`].
    pub async fn serve(self, shutdown: impl Future<Output = ()>) {
        let mut shutdown = std::pin::pin!(shutdown);
        let watching = self
            .port
            .tls
            .clone()
            .map(|material| tokio::spawn(material.watch(reload::LOOK_EVERY)));
        let _watching = watching.map(AbortOnDrop);
        loop {
            let accepted = tokio::select! {
                () = &mut shutdown => return,
                accepted = self.socket.accept() => accepted,
            };
            match accepted {
                Ok((socket, peer)) => self.admit(socket, peer),
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "cannot accept connections; trying again");
                    // Out of files or memory: others have to end first.
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }

    fn admit(&self, socket: TcpStream, peer: SocketAddr) {
        let place = match self.port.places.clone().try_acquire_owned() {
            Ok(permit) => Place {
                full: false,
                _permit: permit,
            },
            Err(_) => match self.port.refusals.clone().try_acquire_owned() {
                Ok(permit) => Place {
                    full: true,
                    _permit: permit,
                },
                Err(_) => return,
            },
        };
        let port = self.port.clone();
        tokio::spawn(async move { port.connection(socket, peer, place).await });
    }
}

/// A task that ends with whoever began it.
struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A connection's right to be there; counted by its existence.
struct Place {
    /// The listener is full, and the connection is only there to be told so.
    full: bool,
    _permit: OwnedSemaphorePermit,
}

/// Errors of accept that concern the connection, which is gone, and not the listener.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted
    )
}

/// What a connection turned out to be.
enum Spoken {
    Wamp(Connection),
    Pages { stream: Stream, ahead: Vec<u8> },
}

impl Port {
    async fn connection(self: Arc<Self>, socket: TcpStream, peer: SocketAddr, place: Place) {
        let since = tokio::time::Instant::now();
        let timeout = self.service.limits.handshake_timeout;
        // Boxed, so that its state is gone when the session begins.
        let handshake = Box::pin(tokio::time::timeout_at(
            since + timeout,
            self.handshake(socket, peer, since.into_std(), place.full),
        ));
        let spoken = match handshake.await {
            Ok(Ok(Some(spoken))) => spoken,
            // Refused, failed or too slow.
            Ok(Ok(None) | Err(_)) | Err(_) => return,
        };
        match spoken {
            Spoken::Wamp(connection) => Box::pin(task::run(connection, self.service.clone())).await,
            Spoken::Pages { stream, ahead } => Box::pin(http::serve_pages(stream, ahead, self.config.pages.clone())).await,
        }
        drop(place);
    }

    /// Finds out what the connection speaks; `None` if it was refused.
    async fn handshake(&self, socket: TcpStream, peer: SocketAddr, since: Instant, full: bool) -> io::Result<Option<Spoken>> {
        socket.set_nodelay(true)?;
        let limits = &self.service.limits;
        watch_peer(&socket, limits.ping_after, limits.dead_after)?;
        let local = socket.local_addr().ok();
        let Some(mut stream) = self.secure(socket).await? else {
            return Ok(None);
        };
        let mut first = [0; 1];
        if stream.read(&mut first).await? == 0 {
            return Ok(None);
        }
        let mut peer = PeerFacts {
            trustlevel: self.config.trustlevel,
            listener: local,
            ..PeerFacts::from_address(peer.ip())
        };
        if let Stream::Tls(tls) = &stream {
            peer.tls = Some(Arc::new(client_certificate::facts(tls.get_ref().1)));
        }
        let wamp = if first[0] == rawsocket::MAGIC && self.config.rawsocket {
            self.rawsocket(&mut stream, full).await?
        } else {
            let mut ahead = first.to_vec();
            let head = match http::read_head(&mut stream, &mut ahead).await? {
                Ok(head) => head,
                Err(bad) => {
                    let status = match bad {
                        BadHead::Malformed => StatusCode::BAD_REQUEST,
                        BadHead::TooLong => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                    };
                    http::refuse(&mut stream, status, "").await?;
                    return Ok(None);
                }
            };
            if full {
                http::refuse(&mut stream, StatusCode::SERVICE_UNAVAILABLE, "Retry-After: 5\r\n").await?;
                return Ok(None);
            }
            if !websocket::is_upgrade(&head) || head.path() != self.config.path {
                return Ok(Some(Spoken::Pages { stream, ahead }));
            }
            let after = ahead.split_off(head.bytes);
            let (field, is_new) = self.cookie(&head, &mut peer);
            self.websocket(&mut stream, &head, after, field.filter(|_| is_new)).await?
        };
        Ok(wamp.map(|(decoder, wire, read_ahead)| {
            Spoken::Wamp(Connection {
                io: Io::from(stream),
                decoder,
                wire,
                peer: Arc::new(peer),
                compat: self.config.compat,
                read_ahead,
                since,
            })
        }))
    }

    /// Does the TLS handshake where the client begins one. A port with TLS refuses others, unless it is configured to take them.
    async fn secure(&self, socket: TcpStream) -> io::Result<Option<Stream>> {
        let Some(material) = &self.tls else {
            return Ok(Some(Stream::Plain(socket)));
        };
        let mut first = [0; 1];
        if socket.peek(&mut first).await? == 0 {
            return Ok(None);
        }
        if first[0] == TLS_HANDSHAKE {
            return Ok(Some(Stream::Tls(Box::new(material.acceptor().accept(socket).await?))));
        }
        if self.config.plain_beside_tls {
            return Ok(Some(Stream::Plain(socket)));
        }
        // What an ordinary web server says to plain HTTP on its TLS port; to anything else it is as good as a close.
        http::refuse(&mut Stream::Plain(socket), StatusCode::BAD_REQUEST, "").await?;
        Ok(None)
    }

    async fn rawsocket(&self, stream: &mut Stream, full: bool) -> io::Result<Option<Handshaken>> {
        let mut rest = [0; 3];
        stream.read_exact(&mut rest).await?;
        let request = rawsocket::accept([rawsocket::MAGIC, rest[0], rest[1], rest[2]]);
        let request = match request {
            Ok(_) if full => Err(rawsocket::Refusal::Connections),
            request => request,
        };
        let request = match request {
            Ok(request) => request,
            Err(refusal) => {
                stream.write_all(&refusal.reply()).await?;
                stream.shutdown().await?;
                return Ok(None);
            }
        };
        let takes = self.service.limits.message_bytes_max;
        stream.write_all(&rawsocket::reply(request.serializer, takes)).await?;
        stream.flush().await?;
        let decoder = Decoder::RawSocket(rawsocket::frame::Decoder::new(rawsocket::announced_bytes_max(takes)));
        let wire = WireFormat {
            serializer: request.serializer,
            framing: Framing::RawSocket,
            message_bytes_max: request.receives_bytes_max,
        };
        Ok(Some((decoder, wire, Vec::new())))
    }

    /// The cookie of a WebSocket, where the listener has them: the browser's own or a new one. Returns the field that sets it, and
    /// whether it is new.
    fn cookie(&self, head: &http::Head, peer: &mut PeerFacts) -> (Option<String>, bool) {
        if !self.config.cookies {
            return (None, false);
        }
        let known = head.field(::http::header::COOKIE).and_then(Cookies::read);
        let is_new = known.is_none();
        peer.cookie = known.or_else(Cookies::draw);
        let field = peer.cookie.as_ref().map(|cookie| {
            let secure = if self.tls.is_some() { "; Secure" } else { "" };
            let seconds = self.service.realms.guard.cookies.lifetime.as_secs();
            format!(
                "Set-Cookie: {}={cookie}; Path={}; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}\r\n",
                cookie::NAME,
                self.config.path
            )
        });
        (field, is_new)
    }

    async fn websocket(
        &self,
        stream: &mut Stream,
        head: &http::Head,
        after: Vec<u8>,
        cookie: Option<String>,
    ) -> io::Result<Option<Handshaken>> {
        if !self.service.sessions.is_ready() {
            http::refuse(stream, StatusCode::SERVICE_UNAVAILABLE, "Retry-After: 1\r\n").await?;
            return Ok(None);
        }
        let fields = cookie.as_deref().unwrap_or_default();
        let upgrade = match websocket::accept(head, &self.config.origins, self.config.subprotocol, fields) {
            Ok(upgrade) => upgrade,
            Err(refusal) => {
                http::refuse(stream, refusal.status, refusal.fields).await?;
                return Ok(None);
            }
        };
        stream.write_all(upgrade.response.as_bytes()).await?;
        stream.flush().await?;
        let framing = match upgrade.serializer {
            Serializer::Json => Framing::WebSocketText,
            Serializer::MsgPack | Serializer::Cbor => Framing::WebSocketBinary,
        };
        let decoder = Decoder::WebSocket(websocket::frame::Decoder::new(self.service.limits.message_bytes_max));
        let wire = WireFormat {
            serializer: upgrade.serializer,
            framing,
            message_bytes_max: usize::MAX,
        };
        Ok(Some((decoder, wire, after)))
    }
}

/// The decoder, how to write, and what was read ahead.
type Handshaken = (Decoder, WireFormat, Vec<u8>);

/// The first byte of a TLS connection: a handshake record.
const TLS_HANDSHAKE: u8 = 0x16;

#[cfg(test)]
#[path = "listener_tests.rs"]
mod tests;
