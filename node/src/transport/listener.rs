//! The public port: accepts connections, finds out what each speaks, and sees it through its transport handshake.
//!
//! WebSocket, RawSocket, HTTP and TLS share a port and are told apart by the first bytes. A connection that says nothing costs a
//! task and a socket, no buffer, and not for longer than the handshake timeout; how many there are is limited.

use std::{
    io,
    net::SocketAddr,
    sync::Arc,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use ::http::StatusCode;
use rustls::HandshakeKind;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};

use super::{
    bounded::Bounded,
    client_certificate,
    framing::{Decoder, Framing},
    http::{self, BadHead, Pages},
    io::{Io, Stream, watch_peer},
    longpoll::{self, LongPoll},
    rawsocket,
    reload::{self, Reloading},
    tls::{self, Standing},
    turned_away::{Stranger, tls_refusal},
    websocket,
};
use crate::{
    router::Compat,
    session::{
        auth::{
            Cookie, PeerFacts, Shown,
            cookie::{self, Cookies},
        },
        outbox::WireFormat,
        quota::{ListenerQuota, Pass, Quota, Reason},
        sessions::Service,
        task::{self, Connection},
    },
    telemetry::{self, names},
    wamp::{Uri, error_uri},
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
    /// Whether tickets are taken without TLS from other machines.
    pub tickets_in_clear: bool,
    /// Whether WebSockets get a cookie for the method `cookie`.
    pub cookies: bool,
    /// Whether, and how, HTTP long-poll is spoken.
    pub longpoll: Option<longpoll::Settings>,
    /// Certificate and key; without them the port is plain.
    pub tls: Option<tls::TlsFiles>,
    /// Whether a port with TLS takes plain connections as well. Default false.
    pub plain_beside_tls: bool,
    /// What browsers get.
    pub pages: Arc<dyn Pages>,
    /// What all that come this way may take together. Default: anything.
    pub quota: Quota,
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
            tickets_in_clear: false,
            cookies: false,
            longpoll: None,
            tls: None,
            plain_beside_tls: false,
            pages: Arc::new(http::NoPages),
            quota: Quota::default(),
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
    /// Its number among the listeners of the process.
    number: u64,
    config: ListenerConfig,
    tls: Option<Arc<Reloading>>,
    service: Arc<Service>,
    places: Arc<Semaphore>,
    longpoll: Option<Arc<LongPoll>>,
    quota: ListenerQuota,
    /// For telling a few of those who find the listener full so.
    refusals: Arc<Semaphore>,
}

impl std::fmt::Debug for Port {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.config.fmt(f)
    }
}

/// Numbers the listeners of the process.
static NUMBERS: AtomicU64 = AtomicU64::new(0);

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
        .map_err(|source| Error::Tls { address, source })?
        .map(Arc::new);
    let bound = async {
        let socket = TcpListener::bind(address).await?;
        let local = socket.local_addr()?;
        Ok((socket, local))
    };
    let (socket, local) = bound.await.map_err(|source| Error::Bind { address, source })?;
    let places = Arc::new(Semaphore::new(config.connections_max.min(Semaphore::MAX_PERMITS)));
    let quota = service.realms.quotas.listener(config.quota);
    let longpoll = config.longpoll.as_ref().map(|settings| {
        let (held_to, taken) = ((config.origins.clone(), config.compat), (places.clone(), quota.clone()));
        LongPoll::new(settings.clone(), held_to, service.clone(), taken, tls.clone())
    });
    let port = Port {
        quota,
        number: NUMBERS.fetch_add(1, Ordering::Relaxed),
        config,
        tls,
        service,
        places,
        longpoll,
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
        let watching = self.port.tls.clone().map(|material| {
            let port = self.port.clone();
            tokio::spawn(material.watch(reload::LOOK_EVERY, move || port.clone().end_revoked()))
        });
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
        let (port, now) = (&self.port, tokio::time::Instant::now().into_std());
        let stranger = Stranger {
            source: peer.ip(),
            listener: Some(self.local),
        };
        let (full, pass) = match port.service.realms.quotas.connection(now, &port.quota, peer.ip()) {
            Ok(pass) => (None, pass),
            Err((scope, reason)) => {
                stranger.note(&port.service, "limit", scope.refusal(reason), "connection");
                if port.tls.is_some() {
                    // Nothing costly is done for somebody who comes too often.
                    telemetry::count(&names::CONNECTIONS_ACCEPTED, &["full"]);
                    return;
                }
                let often = reason == Reason::Handshakes;
                (Some(if often { Full::Often } else { Full::Many }), None)
            }
        };
        let (full, permit) = match full {
            None => match port.places.clone().try_acquire_owned() {
                Ok(permit) => (None, Ok(permit)),
                Err(_) => {
                    stranger.note(&port.service, "limit", "limits.sessions_max", "connection");
                    (Some(Full::Listener), port.refusals.clone().try_acquire_owned())
                }
            },
            full => (full, port.refusals.clone().try_acquire_owned()),
        };
        telemetry::count(&names::CONNECTIONS_ACCEPTED, &[if full.is_none() { "taken" } else { "full" }]);
        let Ok(permit) = permit else { return };
        let place = Place {
            full,
            pass,
            _permit: permit,
        };
        let port = port.clone();
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
    /// The connection is only there to be told why it is not let in.
    full: Option<Full>,
    /// What it holds of the limits it is under.
    pass: Option<Box<Pass>>,
    _permit: OwnedSemaphorePermit,
}

/// Why a connection is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Full {
    /// There are as many as the listener may have.
    Listener,
    /// There are as many as a quota allows.
    Many,
    /// More come than a quota allows.
    Often,
}

impl Full {
    fn status(self) -> (StatusCode, &'static str) {
        match self {
            Full::Listener => (StatusCode::SERVICE_UNAVAILABLE, "Retry-After: 5\r\n"),
            Full::Many => (StatusCode::TOO_MANY_REQUESTS, "Retry-After: 5\r\n"),
            Full::Often => (StatusCode::TOO_MANY_REQUESTS, "Retry-After: 1\r\n"),
        }
    }
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
    Http {
        stream: Stream,
        ahead: Vec<u8>,
        peer: Arc<PeerFacts>,
    },
}

impl Port {
    async fn connection(self: Arc<Self>, socket: TcpStream, peer: SocketAddr, mut place: Place) {
        let since = tokio::time::Instant::now();
        let timeout = self.service.limits.handshake_timeout;
        let stranger = Stranger {
            source: peer.ip(),
            listener: socket.local_addr().ok(),
        };
        // Boxed, so that its state is gone when the session begins.
        let handshake = Box::pin(tokio::time::timeout_at(
            since + timeout,
            self.handshake(socket, stranger, since.into_std(), place.full),
        ));
        let spoken = match handshake.await {
            Ok(Ok(Some(spoken))) => spoken,
            // Refused or failed.
            Ok(Ok(None) | Err(_)) => return,
            Err(_) => return stranger.note(&self.service, "limit", "handshake_secs", "connection"),
        };
        match spoken {
            Spoken::Wamp(mut connection) => {
                connection.pass = place.pass.take();
                let tls = connection.peer.tls.clone();
                // It is among the sessions from here on: new material finds it there, or is found here.
                let session = Box::pin(task::run(connection, self.service.clone()));
                if self.was_revoked(tls.as_ref().and_then(|tls| tls.shown.as_deref())) {
                    return;
                }
                drop(tls);
                session.await;
            }
            Spoken::Http { mut stream, ahead, peer } => {
                // Long-poll brings messages as long as they may be.
                if self.longpoll.is_some() {
                    stream.unbind();
                }
                let (pages, longpoll) = (self.config.pages.clone(), self.longpoll.clone());
                Box::pin(http::serve(stream, ahead, pages, longpoll, peer)).await;
            }
        }
        drop(place);
    }

    /// Finds out what the connection speaks; `None` if it was refused.
    async fn handshake(
        &self,
        socket: TcpStream,
        stranger: Stranger,
        since: Instant,
        full: Option<Full>,
    ) -> io::Result<Option<Spoken>> {
        socket.set_nodelay(true)?;
        let limits = &self.service.limits;
        watch_peer(&socket, limits.ping_after, limits.dead_after)?;
        let Some((mut stream, generation)) = self.secure(socket, stranger).await? else {
            return Ok(None);
        };
        let mut first = [0; 1];
        if stream.read(&mut first).await? == 0 {
            return Ok(None);
        }
        let mut peer = PeerFacts {
            trustlevel: self.config.trustlevel,
            listener: stranger.listener,
            ..PeerFacts::from_address(stranger.source)
        };
        peer.tickets_in_clear = self.config.tickets_in_clear;
        if let Stream::Tls(tls) = &stream {
            peer.tls = Some(Arc::new(client_certificate::facts(tls.get_ref().1, self.number, generation)));
        }
        let wamp = if first[0] == rawsocket::MAGIC && self.config.rawsocket {
            self.rawsocket(&mut stream, full).await?
        } else {
            let mut ahead = first.to_vec();
            let head = match http::read_head(&mut stream, &mut ahead, limits.handshake_message_bytes_max).await? {
                Ok(head) => head,
                Err(bad) => {
                    let status = match bad {
                        BadHead::Malformed => StatusCode::BAD_REQUEST,
                        BadHead::TooLong => {
                            stranger.note(&self.service, "limit", "handshake_message_bytes_max", "HTTP head");
                            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE
                        }
                    };
                    http::refuse(&mut stream, status, "").await?;
                    return Ok(None);
                }
            };
            if let Some(full) = full {
                let (status, fields) = full.status();
                http::refuse(&mut stream, status, fields).await?;
                return Ok(None);
            }
            if !websocket::is_upgrade(&head) || head.path() != self.config.path {
                let peer = Arc::new(peer);
                return Ok(Some(Spoken::Http { stream, ahead, peer }));
            }
            let after = ahead.split_off(head.bytes);
            let (field, is_new) = self.cookie(&head, &mut peer);
            self.websocket(&mut stream, &head, after, field.filter(|_| is_new), stranger)
                .await?
        };
        Ok(wamp.map(|(decoder, wire, read_ahead)| {
            Spoken::Wamp(Connection {
                io: Io::from(stream),
                decoder,
                wire,
                peer: Arc::new(peer),
                compat: self.config.compat,
                pass: None,
                read_ahead,
                since,
            })
        }))
    }

    /// Does the TLS handshake where the client begins one, and says which material it was done with. A port with TLS refuses others,
    /// unless it is configured to take them.
    async fn secure(&self, socket: TcpStream, stranger: Stranger) -> io::Result<Option<(Stream, u64)>> {
        let Some(reloading) = &self.tls else {
            return Ok(Some((Stream::Plain(socket), 0)));
        };
        let mut first = [0; 1];
        if socket.peek(&mut first).await? == 0 {
            return Ok(None);
        }
        if first[0] == TLS_HANDSHAKE {
            let (material, generation) = reloading.current();
            let bounded = Bounded::new(socket, self.tls_bytes_max());
            // Boxed, so that what the handshake took is free again when it is done.
            let accepted = Box::pin(material.acceptor.accept(bounded)).await;
            telemetry::count(&names::TLS_HANDSHAKES, &[if accepted.is_ok() { "done" } else { "failed" }]);
            let mut stream = match accepted {
                Ok(stream) => Box::new(stream),
                Err(error) => {
                    if let Some(reason) = tls_refusal(&error) {
                        stranger.note(&self.service, "tls", reason, "");
                    }
                    return Err(error);
                }
            };
            let (socket, connection) = stream.get_mut();
            socket.handshaken(self.service.limits.handshake_message_bytes_max);
            // Who goes on with a former handshake shows no certificate: the one it has shown then is judged as it stands now.
            if connection.handshake_kind() == Some(HandshakeKind::Resumed)
                && material.standing(connection.peer_certificates().unwrap_or_default()) != Standing::Good
            {
                stranger.note(&self.service, "tls", "client certificate of a ticket no longer valid", "");
                return Ok(None);
            }
            return Ok(Some((Stream::Tls(stream), generation)));
        }
        if self.config.plain_beside_tls {
            return Ok(Some((Stream::Plain(socket), 0)));
        }
        stranger.note(&self.service, "tls", "plain connection to a port with TLS", "");
        // What an ordinary web server says to plain HTTP on its TLS port; to anything else it is as good as a close.
        http::refuse(&mut Stream::Plain(socket), StatusCode::BAD_REQUEST, "").await?;
        Ok(None)
    }

    /// How much a client may send for the handshake of TLS. Certificates make it long; where none are asked for, a ClientHello is most of it.
    fn tls_bytes_max(&self) -> usize {
        let limits = &self.service.limits;
        match self.config.tls.as_ref().map(|files| &files.clients) {
            Some(tls::ClientCertificates::Optional(_) | tls::ClientCertificates::Required(_)) => limits.handshake_bytes_max,
            _ => limits.handshake_message_bytes_max,
        }
    }

    /// True if new material has come to count since a client was let in, and calls its certificate revoked.
    fn was_revoked(&self, shown: Option<&Shown>) -> bool {
        let (Some(reloading), Some(shown)) = (&self.tls, shown) else {
            return false;
        };
        reloading.has_revoked(shown)
    }

    /// Ends the sessions of this listener whose certificates were revoked.
    async fn end_revoked(self: Arc<Self>) {
        let judging = tokio::task::spawn_blocking(move || {
            let Some(reloading) = &self.tls else { return 0 };
            let (material, _) = reloading.current();
            let is_revoked =
                |shown: &Shown| shown.listener == self.number && material.standing(&shown.chain) == Standing::Revoked;
            self.service.sessions.end_revoked(&Uri::from(error_uri::KILLED), is_revoked)
        });
        match judging.await {
            Ok(0) => {}
            Ok(ended) => tracing::warn!(ended, "sessions were ended: their certificates were revoked"),
            Err(error) => tracing::error!(%error, "the certificates of open sessions could not be judged"),
        }
    }

    async fn rawsocket(&self, stream: &mut Stream, full: Option<Full>) -> io::Result<Option<Handshaken>> {
        let mut rest = [0; 3];
        stream.read_exact(&mut rest).await?;
        let request = rawsocket::accept([rawsocket::MAGIC, rest[0], rest[1], rest[2]]);
        let request = match request {
            Ok(_) if full.is_some() => Err(rawsocket::Refusal::Connections),
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

    /// The cookie of a WebSocket, where the listener has them: the browser's own if it stands for somebody, or a new one. Returns the field that sets it, and
    /// whether it is new.
    fn cookie(&self, head: &http::Head, peer: &mut PeerFacts) -> (Option<String>, bool) {
        if !self.config.cookies {
            return (None, false);
        }
        let cookies = &self.service.realms.guard.cookies;
        let known = head.field(::http::header::COOKIE).and_then(Cookies::read);
        let known = known.filter(|cookie| cookies.is_bound(cookie));
        let drawn = known.is_none();
        let value = known.or_else(Cookies::draw);
        peer.cookie = value.map(|value| Cookie { value, drawn });
        let field = peer.cookie.as_ref().map(|Cookie { value, .. }| {
            let secure = if self.tls.is_some() { "; Secure" } else { "" };
            let seconds = cookies.lifetime.as_secs();
            format!(
                "Set-Cookie: {}={value}; Path={}; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}\r\n",
                cookie::NAME,
                self.config.path
            )
        });
        (field, drawn)
    }

    async fn websocket(
        &self,
        stream: &mut Stream,
        head: &http::Head,
        after: Vec<u8>,
        cookie: Option<String>,
        stranger: Stranger,
    ) -> io::Result<Option<Handshaken>> {
        if !self.service.sessions.is_ready() {
            http::refuse(stream, StatusCode::SERVICE_UNAVAILABLE, "Retry-After: 1\r\n").await?;
            return Ok(None);
        }
        let fields = cookie.as_deref().unwrap_or_default();
        let upgrade = match websocket::accept(head, &self.config.origins, self.config.subprotocol, fields) {
            Ok(upgrade) => upgrade,
            Err(refusal) => {
                if refusal.status == StatusCode::FORBIDDEN {
                    let origin = head.field(::http::header::ORIGIN).unwrap_or("not text");
                    stranger.note(&self.service, "origin", "origin not allowed", origin);
                }
                http::refuse(stream, refusal.status, refusal.fields).await?;
                return Ok(None);
            }
        };
        stream.write_all(upgrade.response.as_bytes()).await?;
        stream.flush().await?;
        let bytes_max = self.service.limits.message_bytes_max;
        let batched = |kind| Decoder::Batched(Box::new(websocket::batch::Decoder::new(kind, bytes_max)));
        let decoder = match upgrade.framing {
            Framing::WebSocketTextBatch => batched(websocket::batch::Kind::Text),
            Framing::WebSocketBinaryBatch => batched(websocket::batch::Kind::Binary),
            _ => Decoder::WebSocket(websocket::frame::Decoder::new(bytes_max)),
        };
        let wire = WireFormat {
            serializer: upgrade.serializer,
            framing: upgrade.framing,
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
