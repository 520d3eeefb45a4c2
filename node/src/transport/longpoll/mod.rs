//! HTTP long-poll: WAMP for clients that have nothing but requests and answers.
//!
//! `POST PATH/open` makes a transport, `PATH/ID/receive` waits for messages to the client, `PATH/ID/send` brings messages of it,
//! `PATH/ID/close` ends it. To the session a transport is a RawSocket connection over a pipe in memory ([`pipe`]), so everything a
//! session is held to holds here too, and what nobody polls for fills an outbox like that of any client that does not read. A transport
//! nobody polls ends after [`Settings::idle`]; it takes one of the listener's places.
//!
//! A transport lives on the node where it was opened: a balancer has to send all requests of a client to the same node. Cookies and TLS
//! certificates prove nothing here, since the requests of a transport may come over any connection; its id does, which cannot be guessed.
//!
//! Spec: WAMP advanced profile, "HTTP Longpoll Transport".
//! Choice: a poll that finds nothing within [`Settings::wait`] is answered 204, so that no proxy cuts it, and the client polls again.
//! An id that is not, or no longer, known is answered 404. The text says 202 `("no content")` for send and close; 202 is what it gets,
//! 204 where the listener's profile says so, which browsers' Autobahn needs.

pub mod pipe;

use std::{
    collections::HashMap,
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use parking_lot::Mutex;
use tokio::{
    io::DuplexStream,
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::{Instant, timeout_at},
};

use self::pipe::{Form, Reader, Writer};
use super::{
    framing::{Batching, Decoder, Framing},
    io::Io,
    rawsocket,
    reload::Reloading,
    turned_away::Stranger,
    websocket::{self, Origins},
};
use crate::{
    router::Compat,
    session::{
        auth::{PeerFacts, TlsFacts},
        outbox::WireFormat,
        quota::{ListenerQuota, Pass},
        sessions::Service,
        task::{self, Connection},
    },
    wamp::Serializer,
};

/// How a listener does it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The path under which `/open` is.
    pub path: String,
    /// How long a poll waits for a message. Default 10 s; browsers' Autobahn gives a request up after 12 s.
    pub wait: Duration,
    /// How long a client may not poll before its session ends. Default 30 s.
    pub idle: Duration,
    /// How what is taken is acknowledged: 202, or 204.
    pub taken: StatusCode,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            path: "/lp".to_owned(),
            wait: Duration::from_secs(10),
            idle: Duration::from_secs(30),
            taken: StatusCode::ACCEPTED,
        }
    }
}

/// The long-poll transports of a listener.
pub struct LongPoll {
    settings: Settings,
    origins: Origins,
    compat: Compat,
    service: Arc<Service>,
    places: Arc<Semaphore>,
    quota: ListenerQuota,
    /// What has judged the certificates of those who come.
    tls: Option<Arc<Reloading>>,
    transports: Mutex<HashMap<String, Arc<Transport>>>,
}

/// One of them.
struct Transport {
    form: Form,
    reader: tokio::sync::Mutex<Reader>,
    writer: tokio::sync::Mutex<Writer>,
    polls: Mutex<Polls>,
    /// True once it is over.
    ended: watch::Sender<bool>,
    _place: OwnedSemaphorePermit,
}

/// Who waits for messages.
struct Polls {
    open: usize,
    /// When the last one ended.
    since: Instant,
}

/// A poll; counted by its existence.
struct Poll<'a>(&'a Transport);

impl<'a> Poll<'a> {
    fn begin(transport: &'a Transport) -> Self {
        transport.polls.lock().open += 1;
        Self(transport)
    }
}

impl Drop for Poll<'_> {
    fn drop(&mut self) {
        let mut polls = self.0.polls.lock();
        polls.open -= 1;
        polls.since = Instant::now();
    }
}

type Answer = Response<Full<Bytes>>;

/// Until when a connection that brings requests may stay.
#[derive(Debug)]
pub struct Stay {
    begun: Instant,
    millis: AtomicU64,
}

impl Stay {
    /// A connection of which nothing is known may stay that long.
    pub fn new(first: Duration) -> Self {
        let stay = Self {
            begun: Instant::now(),
            millis: AtomicU64::new(0),
        };
        stay.at_least(first);
        stay
    }

    /// From now on at least that long.
    fn at_least(&self, more: Duration) {
        let until = (self.begun.elapsed() + more).as_millis();
        self.millis
            .fetch_max(u64::try_from(until).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Until then.
    pub fn until(&self) -> Instant {
        self.begun + Duration::from_millis(self.millis.load(Ordering::Relaxed))
    }
}

impl LongPoll {
    /// No transport yet; each will take one of `places`, and what a connection takes of `quota`.
    pub fn new(
        settings: Settings,
        (origins, compat): (Origins, Compat),
        service: Arc<Service>,
        (places, quota): (Arc<Semaphore>, ListenerQuota),
        tls: Option<Arc<Reloading>>,
    ) -> Arc<Self> {
        Arc::new(Self {
            settings,
            origins,
            compat,
            service,
            places,
            quota,
            tls,
            transports: Mutex::default(),
        })
    }

    /// What a path asks of this; `None` if it belongs to the pages.
    pub fn route<'a>(&self, path: &'a str) -> Option<Route<'a>> {
        let rest = path.strip_prefix(self.settings.path.as_str())?;
        let rest = if self.settings.path.ends_with('/') {
            rest
        } else {
            rest.strip_prefix('/')?
        };
        match rest.split_once('/') {
            None if rest == "open" => Some(Route::Open),
            Some((id, "receive")) => Some(Route::Receive(id)),
            Some((id, "send")) => Some(Route::Send(id)),
            Some((id, "close")) => Some(Route::Close(id)),
            _ => None,
        }
    }

    /// Answers a request that belongs here.
    pub async fn answer(self: &Arc<Self>, route: Route<'_>, request: Request<Incoming>, peer: &PeerFacts, stay: &Stay) -> Answer {
        stay.at_least(self.settings.wait + BODY_WITHIN + BODY_WITHIN);
        // Without a host no origin can be judged.
        let origin = request.headers().get(header::ORIGIN).cloned();
        let origin = origin.filter(|_| request.headers().contains_key(header::HOST));
        let acted = match self.judge(&request) {
            Ok(()) => self.act(route, request, peer).await,
            Err(refusal) => {
                if refusal.status == StatusCode::FORBIDDEN {
                    let origin = origin.as_ref().and_then(|origin| origin.to_str().ok());
                    let stranger = Stranger {
                        source: peer.source,
                        listener: peer.listener,
                    };
                    stranger.note(&self.service, "origin", "origin not allowed", origin.unwrap_or("not text"));
                }
                Err(refusal)
            }
        };
        let mut answer = acted.unwrap_or_else(Refusal::answer);
        if answer.status() == StatusCode::FORBIDDEN {
            return answer;
        }
        let fields = answer.headers_mut();
        fields.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        // A page of another origin that may connect may read the answer too.
        if let Some(origin) = origin {
            fields.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            fields.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
            fields.insert(header::VARY, HeaderValue::from_static("origin"));
        }
        answer
    }

    /// Whether the request may be made at all.
    fn judge(&self, request: &Request<Incoming>) -> Result<(), Refusal> {
        let fields = request.headers();
        let host = fields.get(header::HOST).and_then(|host| host.to_str().ok());
        let Some(host) = host else {
            return Err(plain(StatusCode::BAD_REQUEST));
        };
        let admitted = |origin: &HeaderValue| origin.to_str().is_ok_and(|origin| self.origins.admit(origin, host));
        if fields.get(header::ORIGIN).is_some_and(|origin| !admitted(origin)) {
            return Err(plain(StatusCode::FORBIDDEN));
        }
        match *request.method() {
            Method::POST => Ok(()),
            // A browser asks before it sends JSON to another origin.
            Method::OPTIONS => Err(Refusal::of(StatusCode::NO_CONTENT, Beside::Preflight)),
            _ => Err(Refusal::of(StatusCode::METHOD_NOT_ALLOWED, Beside::Allow)),
        }
    }

    async fn act(self: &Arc<Self>, route: Route<'_>, request: Request<Incoming>, peer: &PeerFacts) -> Result<Answer, Refusal> {
        match route {
            Route::Open => {
                let body = body(request, OPEN_BYTES_MAX).await?;
                self.open(&body, peer)
            }
            Route::Receive(id) => self.receive(id).await,
            Route::Send(id) => self.send(id, request).await,
            Route::Close(id) => {
                self.find(id)?;
                self.end(id);
                Ok(empty(self.settings.taken))
            }
        }
    }

    /// `POST PATH/open`: `{"protocols": [...]}` is answered by `{"protocol": ..., "transport": ...}`.
    fn open(self: &Arc<Self>, body: &[u8], peer: &PeerFacts) -> Result<Answer, Refusal> {
        let asked: serde_json::Value = serde_json::from_slice(body).map_err(|_| plain(StatusCode::BAD_REQUEST))?;
        let offered = asked.get("protocols").and_then(serde_json::Value::as_array);
        let mut offered = offered.into_iter().flatten().filter_map(serde_json::Value::as_str);
        let chosen = offered.find_map(|offered| Some((offered, websocket::spoken(offered)?)));
        let Some((protocol, (serializer, batching))) = chosen else {
            return Err(plain(StatusCode::BAD_REQUEST));
        };
        if !self.service.sessions.is_ready() {
            return Err(retry(1));
        }
        let stranger = Stranger {
            source: peer.source,
            listener: peer.listener,
        };
        let place = self.places.clone().try_acquire_owned().map_err(|_| {
            stranger.note(&self.service, "limit", "limits.sessions_max", "long-poll transport");
            retry(5)
        })?;
        let quotas = &self.service.realms.quotas;
        let pass = quotas.connection(Instant::now().into_std(), &self.quota, peer.source);
        let pass = pass.map_err(|(scope, reason)| {
            stranger.note(&self.service, "limit", scope.refusal(reason), "long-poll transport");
            Refusal::of(StatusCode::TOO_MANY_REQUESTS, Beside::Retry(5))
        })?;
        let mut random = [0; ID_BYTES];
        getrandom::fill(&mut random).map_err(|_| plain(StatusCode::SERVICE_UNAVAILABLE))?;
        let id = BASE64_URL_SAFE_NO_PAD.encode(random);
        let (near, far) = tokio::io::duplex(PIPE_BYTES);
        let (read, write) = tokio::io::split(near);
        let form = Form { serializer, batching };
        let transport = Arc::new(Transport {
            form,
            reader: tokio::sync::Mutex::new(Reader::new(read)),
            writer: tokio::sync::Mutex::new(Writer::new(write)),
            polls: Mutex::new(Polls {
                open: 0,
                since: Instant::now(),
            }),
            ended: watch::Sender::new(false),
            _place: place,
        });
        let session = task::run(self.connection(far, serializer, peer, pass), self.service.clone());
        // It is among the sessions from here on: new material finds it there, or is found here. The connection may be older than that.
        let shown = peer.tls.as_ref().and_then(|tls| tls.shown.as_deref());
        if let (Some(tls), Some(shown)) = (&self.tls, shown)
            && tls.has_revoked(shown)
        {
            stranger.note(&self.service, "tls", "client certificate revoked", "long-poll transport");
            return Err(plain(StatusCode::FORBIDDEN));
        }
        self.transports.lock().insert(id.clone(), transport.clone());
        tokio::spawn(session);
        tokio::spawn(watch_polls(Arc::downgrade(self), id.clone(), transport, self.settings.idle));
        let text = serde_json::json!({ "protocol": protocol, "transport": id }).to_string();
        Ok(content(form_of_open(), text.into()))
    }

    /// What the session task gets: a RawSocket connection over a pipe.
    fn connection(&self, far: DuplexStream, serializer: Serializer, peer: &PeerFacts, pass: Option<Box<Pass>>) -> Connection {
        let bytes_max = self.service.limits.message_bytes_max;
        // It has no TLS of its own, nor is a certificate its proof; but it ends with the one that it came in by.
        let tls = peer.tls.as_ref().map(|tls| TlsFacts {
            shown: tls.shown.clone(),
            ..TlsFacts::default()
        });
        let peer = PeerFacts {
            tls: tls.map(Arc::new),
            cookie: None,
            ..peer.clone()
        };
        Connection {
            io: Io::piped(far),
            decoder: Decoder::RawSocket(rawsocket::frame::Decoder::new(bytes_max)),
            wire: WireFormat {
                serializer,
                framing: Framing::RawSocket,
                message_bytes_max: rawsocket::frame::PAYLOAD_BYTES_MAX,
            },
            peer: Arc::new(peer),
            compat: self.compat,
            read_ahead: Vec::new(),
            since: Instant::now().into_std(),
            pass,
        }
    }

    /// `POST PATH/ID/receive`: the next message, or all that are there where they are batched.
    async fn receive(&self, id: &str) -> Result<Answer, Refusal> {
        let transport = self.find(id)?;
        let _poll = Poll::begin(&transport);
        let mut ended = transport.ended.subscribe();
        let messages = async {
            let mut reader = transport.reader.lock().await;
            let body_max = self.service.limits.message_bytes_max;
            reader.next(transport.form, body_max).await
        };
        let messages = tokio::select! {
            biased;
            _ = ended.wait_for(|ended| *ended) => return Err(plain(StatusCode::NOT_FOUND)),
            messages = timeout_at(Instant::now() + self.settings.wait, messages) => messages,
        };
        match messages {
            Ok(Ok(messages)) => Ok(content(transport.form.content_type(), messages)),
            // The session is over, and all it had to say was said.
            Ok(Err(_)) => {
                self.end(id);
                Err(plain(StatusCode::NOT_FOUND))
            }
            Err(_) => Ok(empty(StatusCode::NO_CONTENT)),
        }
    }

    /// `POST PATH/ID/send`: one message, or a batch.
    async fn send(&self, id: &str, request: Request<Incoming>) -> Result<Answer, Refusal> {
        let transport = self.find(id)?;
        let limits = &self.service.limits;
        // Who has no session yet has little to say.
        let welcome = transport.reader.try_lock().map_or(true, |reader| reader.welcome);
        let bytes_max = if welcome {
            limits.message_bytes_max
        } else {
            limits.handshake_bytes_max
        };
        let body = body(request, bytes_max).await?;
        let mut writer = timeout_at(Instant::now() + BODY_WITHIN, transport.writer.lock())
            .await
            .map_err(|_| retry(1))?;
        let written = async {
            // Slow if the session does not read, as when it has filled other outboxes. What an earlier request has left goes first.
            writer.write().await.map_err(|_| plain(StatusCode::NOT_FOUND))?;
            writer
                .take(transport.form, &body)
                .map_err(|_| plain(StatusCode::BAD_REQUEST))?;
            writer.write().await.map_err(|_| plain(StatusCode::NOT_FOUND))
        };
        match timeout_at(Instant::now() + BODY_WITHIN, written).await {
            Ok(Ok(())) => Ok(empty(self.settings.taken)),
            Ok(Err(refused)) => Err(refused),
            Err(_) => Err(retry(1)),
        }
    }

    fn find(&self, id: &str) -> Result<Arc<Transport>, Refusal> {
        let known = self.transports.lock().get(id).cloned();
        known.ok_or_else(|| plain(StatusCode::NOT_FOUND))
    }

    fn end(&self, id: &str) {
        let transport = self.transports.lock().remove(id);
        if let Some(transport) = transport {
            transport.ended.send_replace(true);
        }
    }
}

impl std::fmt::Debug for LongPoll {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LongPoll")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

/// What a request is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route<'a> {
    /// A new transport.
    Open,
    /// Messages to the client with that transport.
    Receive(&'a str),
    /// Messages of it.
    Send(&'a str),
    /// Its end.
    Close(&'a str),
}

/// Ends a transport that nobody polls.
async fn watch_polls(of: Weak<LongPoll>, id: String, transport: Arc<Transport>, idle: Duration) {
    let mut ended = transport.ended.subscribe();
    loop {
        let until = {
            let polls = transport.polls.lock();
            if polls.open > 0 {
                Instant::now() + idle
            } else {
                polls.since + idle
            }
        };
        if until <= Instant::now() {
            break;
        }
        if timeout_at(until, ended.wait_for(|ended| *ended)).await.is_ok() {
            return;
        }
    }
    if let Some(of) = of.upgrade() {
        of.end(&id);
    }
}

/// The body of a request.
async fn body(request: Request<Incoming>, bytes_max: usize) -> Result<Bytes, Refusal> {
    let collected = Limited::new(request.into_body(), bytes_max).collect();
    match timeout_at(Instant::now() + BODY_WITHIN, collected).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(closing(StatusCode::PAYLOAD_TOO_LARGE)),
        Ok(Err(_)) => Err(closing(StatusCode::BAD_REQUEST)),
        Err(_) => Err(closing(StatusCode::REQUEST_TIMEOUT)),
    }
}

fn form_of_open() -> &'static str {
    Form {
        serializer: Serializer::Json,
        batching: Batching::No,
    }
    .content_type()
}

fn content(content_type: &'static str, content: Bytes) -> Answer {
    let mut answer = Response::new(Full::new(content));
    let fields = answer.headers_mut();
    fields.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    fields.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    answer
}

fn empty(status: StatusCode) -> Answer {
    let mut answer = Response::new(Full::default());
    *answer.status_mut() = status;
    answer
}

/// An answer other than the wanted one.
#[derive(Clone, Copy, Debug)]
struct Refusal {
    status: StatusCode,
    beside: Beside,
}

/// What its head says besides.
#[derive(Clone, Copy, Debug)]
enum Beside {
    Nothing,
    /// The body of the request was not read to its end.
    Close,
    /// In so many seconds it may be otherwise.
    Retry(u16),
    /// What a page of another origin may send.
    Preflight,
    /// Which method it is to be.
    Allow,
}

impl Refusal {
    fn of(status: StatusCode, beside: Beside) -> Self {
        Self { status, beside }
    }

    fn answer(self) -> Answer {
        let mut answer = if self.status == StatusCode::NO_CONTENT {
            empty(self.status)
        } else {
            let text = format!("{}\n", self.status.canonical_reason().unwrap_or_default());
            content("text/plain", text.into())
        };
        *answer.status_mut() = self.status;
        let fields = answer.headers_mut();
        match self.beside {
            Beside::Nothing => {}
            Beside::Close => _ = fields.insert(header::CONNECTION, HeaderValue::from_static("close")),
            Beside::Retry(seconds) => _ = fields.insert(header::RETRY_AFTER, seconds.into()),
            Beside::Allow => _ = fields.insert(header::ALLOW, HeaderValue::from_static("POST")),
            Beside::Preflight => {
                fields.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("POST"));
                fields.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("content-type"));
                fields.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
            }
        }
        answer
    }
}

fn plain(status: StatusCode) -> Refusal {
    Refusal::of(status, Beside::Nothing)
}

fn closing(status: StatusCode) -> Refusal {
    Refusal::of(status, Beside::Close)
}

fn retry(seconds: u16) -> Refusal {
    Refusal::of(StatusCode::SERVICE_UNAVAILABLE, Beside::Retry(seconds))
}

/// Randomness of an id.
const ID_BYTES: usize = 24;

/// What a client may say when it opens a transport.
const OPEN_BYTES_MAX: usize = 4096;

/// What lies in the pipe of a session at most, each way.
const PIPE_BYTES: usize = 64 * 1024;

/// How long a request's body may take to come in, and to be taken by the session.
const BODY_WITHIN: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests;
