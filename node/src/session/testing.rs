//! A node of one realm on loopback, and a client that speaks both transports and all serializers; for tests.

use std::{
    collections::{HashMap, VecDeque},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{self, client::IntoClientRequest},
};

use super::{
    auth::{Anonymous, RealmAuth},
    limits::SessionLimits,
    loopback,
    realm::{RealmHandle, Realms},
    sessions::Service,
};
use crate::{
    transport::{
        listener::{self, ListenerConfig},
        rawsocket::frame::Kind,
    },
    wamp::{
        Dict, Message, Payload, RegistrationId, RequestId, Serializer, SessionId, SubscriptionId, Value,
        codec::{self, Frame},
    },
};

/// A listener with the realm `realm1`, open to anonymous, where `lamp` has the ticket `shines`, and the realm `closed`.
pub(crate) struct TestNode {
    pub(crate) address: SocketAddr,
    pub(crate) service: Arc<Service>,
    pub(crate) realm: RealmHandle,
}

impl TestNode {
    pub(crate) async fn start() -> Self {
        Self::with(SessionLimits::default(), ListenerConfig::default()).await
    }

    pub(crate) async fn with_limits(limits: SessionLimits) -> Self {
        Self::with(limits, ListenerConfig::default()).await
    }

    pub(crate) async fn with(limits: SessionLimits, config: ListenerConfig) -> Self {
        let (realms, realm) = realms();
        let service = Service::new(realms, limits);
        service.sessions.set_ready(true);
        let config = ListenerConfig {
            address: ([127, 0, 0, 1], 0).into(),
            ..config
        };
        let bound = listener::bind(config, service.clone()).await.unwrap();
        let address = bound.local_addr();
        tokio::spawn(bound.serve(std::future::pending()));
        Self { address, service, realm }
    }

    /// A connection without a session.
    pub(crate) async fn connect(&self, way: Way) -> TestClient {
        TestClient::connect(self.address, way).await
    }

    /// A session.
    pub(crate) async fn join(&self, way: Way) -> TestClient {
        let mut client = self.connect(way).await;
        client.hello().await;
        client
    }
}

/// The realms of a [`TestNode`].
pub(crate) fn realms() -> (Arc<Realms>, RealmHandle) {
    let lamp = ("lamp".to_owned(), ("device".to_owned(), "shines".to_owned()));
    let open = RealmAuth {
        anonymous: Anonymous::On,
        anonymous_role: "guest".into(),
        ..RealmAuth::with_tickets("realm1", &HashMap::from([lamp]))
    };
    let realm = loopback::realm("realm1");
    let closed = (loopback::realm("closed"), RealmAuth::default());
    (Arc::new(Realms::new([(realm.clone(), open), closed])), realm)
}

/// A transport and a serializer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Way {
    pub(crate) raw: bool,
    /// Whether a WebSocket frame holds several messages.
    pub(crate) batched: bool,
    pub(crate) serializer: Serializer,
}

/// Every transport with every serializer.
pub(crate) fn ways() -> impl Iterator<Item = Way> {
    [(false, false), (false, true), (true, false)]
        .into_iter()
        .flat_map(|(raw, batched)| {
            Serializer::ALL.map(|serializer| Way {
                raw,
                batched,
                serializer,
            })
        })
}

/// The way of tests to which it does not matter.
pub(crate) const JSON: Way = Way {
    raw: false,
    batched: false,
    serializer: Serializer::Json,
};

pub(crate) struct TestClient {
    wire: Wire,
    serializer: Serializer,
    /// What is left of the last batch, where messages come in batches.
    batch: Option<VecDeque<Bytes>>,
    requests: u64,
    /// Messages read while others were waited for.
    pub(crate) read: Vec<Message>,
}

enum Wire {
    WebSocket(Box<WebSocketStream<TcpStream>>),
    RawSocket(TcpStream),
}

/// How long a test waits for what must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

impl TestClient {
    pub(crate) async fn connect(address: SocketAddr, way: Way) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        if way.raw {
            Self::raw(stream, way.serializer, 15).await
        } else {
            Self::websocket(stream, way).await
        }
    }

    async fn websocket(stream: TcpStream, way: Way) -> Self {
        let batched = if way.batched { ".batched" } else { "" };
        let subprotocol = format!("{}{batched}", way.serializer.subprotocol());
        let mut request = "ws://127.0.0.1/ws".into_client_request().unwrap();
        request
            .headers_mut()
            .insert("Sec-WebSocket-Protocol", subprotocol.parse().unwrap());
        let (socket, response) = tokio_tungstenite::client_async(request, stream).await.unwrap();
        assert_eq!(response.headers()["Sec-WebSocket-Protocol"], subprotocol);
        Self {
            wire: Wire::WebSocket(Box::new(socket)),
            serializer: way.serializer,
            batch: way.batched.then(VecDeque::new),
            requests: 0,
            read: Vec::new(),
        }
    }

    /// A RawSocket client that receives up to `2^(9 + exponent)` bytes.
    pub(crate) async fn raw(mut stream: TcpStream, serializer: Serializer, exponent: u8) -> Self {
        stream
            .write_all(&[0x7F, exponent << 4 | serializer.rawsocket_id(), 0, 0])
            .await
            .unwrap();
        let mut reply = [0; 4];
        stream.read_exact(&mut reply).await.unwrap();
        assert_eq!(reply, [0x7F, 0xF0 | serializer.rawsocket_id(), 0, 0]);
        Self {
            wire: Wire::RawSocket(stream),
            serializer,
            batch: None,
            requests: 0,
            read: Vec::new(),
        }
    }

    pub(crate) async fn send(&mut self, message: &Message) {
        let mut bytes = Vec::new();
        codec::encode(message, self.serializer, &mut bytes).unwrap();
        self.send_bytes(bytes).await;
    }

    /// Sends one WAMP message of these bytes. Failing is fine: the router may have closed already.
    pub(crate) async fn send_bytes(&mut self, mut bytes: Vec<u8>) {
        if self.batch.is_some() {
            self.batch_one(&mut bytes);
        }
        match &mut self.wire {
            Wire::WebSocket(socket) => {
                let message = match self.serializer {
                    Serializer::Json => tungstenite::Message::Text(String::from_utf8(bytes).unwrap().into()),
                    _ => tungstenite::Message::Binary(bytes.into()),
                };
                let _ = socket.send(message).await;
            }
            Wire::RawSocket(stream) => {
                let prefix = crate::transport::rawsocket::frame::header(Kind::Message, bytes.len());
                let _ = stream.write_all(&[prefix.bytes(), &bytes].concat()).await;
            }
        }
    }

    /// Several messages in one frame.
    pub(crate) async fn send_batch(&mut self, messages: &[Message]) {
        let mut batch = Vec::new();
        for message in messages {
            let mut bytes = Vec::new();
            codec::encode(message, self.serializer, &mut bytes).unwrap();
            self.batch_one(&mut bytes);
            batch.append(&mut bytes);
        }
        let kept = self.batch.take();
        self.send_bytes(batch).await;
        self.batch = kept;
    }

    fn batch_one(&self, bytes: &mut Vec<u8>) {
        match self.serializer {
            Serializer::Json => bytes.push(0x1E),
            _ => drop(bytes.splice(..0, (bytes.len() as u32).to_be_bytes())),
        }
    }

    /// Takes a frame apart into the messages of its batch.
    fn unbatch(serializer: Serializer, frame: &Bytes) -> VecDeque<Bytes> {
        let mut messages = VecDeque::new();
        let mut rest = &frame[..];
        while !rest.is_empty() {
            let (start, len, next) = match serializer {
                Serializer::Json => {
                    let end = rest.iter().position(|byte| *byte == 0x1E).expect("an end");
                    (0, end, end + 1)
                }
                _ => {
                    let len = u32::from_be_bytes(*rest.first_chunk().expect("a length")) as usize;
                    (4, len, 4 + len)
                }
            };
            messages.push_back(frame.slice_ref(&rest[start..start + len]));
            rest = &rest[next..];
        }
        assert!(!messages.is_empty(), "the router sends no empty batch");
        messages
    }

    /// How many messages of the last batch were not asked for yet.
    pub(crate) fn batched(&self) -> usize {
        self.batch.as_ref().map_or(0, VecDeque::len)
    }

    /// Sends bytes below the framing.
    pub(crate) async fn send_raw(&mut self, bytes: &[u8]) {
        self.stream().write_all(bytes).await.unwrap();
    }

    pub(crate) fn stream(&mut self) -> &mut TcpStream {
        match &mut self.wire {
            Wire::WebSocket(socket) => socket.get_mut(),
            Wire::RawSocket(stream) => stream,
        }
    }

    /// The next message; `None` when the connection was closed.
    pub(crate) async fn recv(&mut self) -> Option<Message> {
        if !self.read.is_empty() {
            return Some(self.read.remove(0));
        }
        timeout(PATIENCE, self.read_one())
            .await
            .expect("a message or the end in time")
    }

    async fn read_one(&mut self) -> Option<Message> {
        loop {
            let next = self.batch.as_mut().and_then(VecDeque::pop_front);
            let from_batch = next.is_some();
            let bytes: Bytes = match &mut self.wire {
                _ if next.is_some() => next.unwrap_or_default(),
                Wire::WebSocket(socket) => match socket.next().await? {
                    Ok(tungstenite::Message::Text(text)) if self.serializer == Serializer::Json => text.into(),
                    Ok(tungstenite::Message::Binary(bytes)) if self.serializer != Serializer::Json => bytes,
                    Ok(tungstenite::Message::Ping(_) | tungstenite::Message::Pong(_)) => continue,
                    Ok(tungstenite::Message::Close(_)) | Err(_) => return None,
                    Ok(other) => panic!("wrong frame type: {other:?}"),
                },
                Wire::RawSocket(stream) => {
                    let mut prefix = [0; 4];
                    stream.read_exact(&mut prefix).await.ok()?;
                    assert_eq!(prefix[0], 0, "a WAMP frame");
                    let mut bytes = vec![0; u32::from_be_bytes(prefix) as usize];
                    stream.read_exact(&mut bytes).await.ok()?;
                    bytes.into()
                }
            };
            let bytes = match &mut self.batch {
                Some(batch) if batch.is_empty() && !from_batch => {
                    *batch = Self::unbatch(self.serializer, &bytes);
                    batch.pop_front().unwrap_or_default()
                }
                _ => bytes,
            };
            let message = codec::decode(self.serializer, Frame::Owned(bytes), &codec::Limits::default());
            return Some(message.expect("the router sends what it would take"));
        }
    }

    /// The WebSocket close code, after everything that came before it.
    pub(crate) async fn close_code(&mut self) -> Option<u16> {
        let Wire::WebSocket(socket) = &mut self.wire else {
            panic!("WebSocket only")
        };
        let end = async {
            while let Some(Ok(message)) = socket.next().await {
                if let tungstenite::Message::Close(frame) = message {
                    return frame.map(|frame| frame.code.into());
                }
            }
            None
        };
        timeout(PATIENCE, end).await.expect("a close in time")
    }

    pub(crate) async fn hello(&mut self) -> SessionId {
        self.send(&hello("realm1", roles())).await;
        match self.recv().await {
            Some(Message::Welcome { session, .. }) => {
                self.requests = 0;
                session
            }
            other => panic!("no WELCOME but {other:?}"),
        }
    }

    pub(crate) fn next_request(&mut self) -> RequestId {
        self.requests += 1;
        RequestId::new(self.requests).unwrap()
    }

    pub(crate) async fn register(&mut self, procedure: &str) -> RegistrationId {
        let request = self.next_request();
        self.send(&Message::Register {
            request,
            options: Dict::new(),
            procedure: procedure.into(),
        })
        .await;
        match self.recv().await {
            Some(Message::Registered {
                request: r,
                registration,
            }) if r == request => registration,
            other => panic!("no REGISTERED but {other:?}"),
        }
    }

    pub(crate) async fn subscribe(&mut self, topic: &str) -> SubscriptionId {
        let request = self.next_request();
        self.send(&Message::Subscribe {
            request,
            options: Dict::new(),
            topic: topic.into(),
        })
        .await;
        match self.recv().await {
            Some(Message::Subscribed {
                request: r,
                subscription,
            }) if r == request => subscription,
            other => panic!("no SUBSCRIBED but {other:?}"),
        }
    }

    pub(crate) async fn call(&mut self, procedure: &str, args: &[Value]) -> RequestId {
        let request = self.next_request();
        let payload = self.payload(args);
        self.send(&Message::Call {
            request,
            options: Dict::new(),
            procedure: procedure.into(),
            payload,
        })
        .await;
        request
    }

    pub(crate) async fn publish(&mut self, topic: &str, args: &[Value], acknowledge: bool) -> RequestId {
        let request = self.next_request();
        let options = if acknowledge {
            Dict::new().with("acknowledge", true)
        } else {
            Dict::new()
        };
        let payload = self.payload(args);
        self.send(&Message::Publish {
            request,
            options,
            topic: topic.into(),
            payload,
        })
        .await;
        request
    }

    /// Answers the invocation that comes next with its own args.
    pub(crate) async fn echo(&mut self) {
        match self.recv().await {
            Some(Message::Invocation { request, payload, .. }) => {
                self.send(&Message::Yield {
                    request,
                    options: Dict::new(),
                    payload,
                })
                .await;
            }
            other => panic!("no INVOCATION but {other:?}"),
        }
    }

    pub(crate) fn payload(&self, args: &[Value]) -> Payload {
        Payload::from_values(self.serializer, args, &Dict::new())
    }

    /// The reason of the ABORT that must come next; then the connection must be closed.
    pub(crate) async fn aborted(&mut self) -> String {
        let reason = match self.recv().await {
            Some(Message::Abort { reason, .. }) => reason.to_string(),
            other => panic!("no ABORT but {other:?}"),
        };
        assert_eq!(self.recv().await, None, "closed after ABORT");
        reason
    }

    /// True while the session answers.
    pub(crate) async fn is_alive(&mut self) -> bool {
        let request = self.call("com.nobody.registered.this", &[]).await;
        matches!(self.recv().await, Some(Message::Error { request: r, .. }) if r == request)
    }
}

pub(crate) fn roles() -> Dict {
    let mut roles = Dict::new();
    for role in ["publisher", "subscriber", "caller", "callee"] {
        roles.set(role, Dict::new());
    }
    Dict::new().with("roles", roles)
}

pub(crate) fn hello(realm: &str, details: Dict) -> Message {
    Message::Hello {
        realm: realm.into(),
        details,
    }
}

/// Waits until `condition` holds.
pub(crate) async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let patience = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(PATIENCE, patience)
        .await
        .unwrap_or_else(|_| panic!("in vain: {what}"));
}
