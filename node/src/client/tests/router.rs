//! A router of a few lines for one client at a time: enough to hear and answer everything the client says.

use std::{collections::HashMap, net::SocketAddr, sync::Arc};

use futures_util::{SinkExt, StreamExt};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::tungstenite::{
    Message as WsMessage, Utf8Bytes,
    handshake::server::{ErrorResponse, Request, Response},
};

use super::{Dict, Message, Payload, PublicationId, RegistrationId, RequestId, Serializer, SessionId, SubscriptionId, Uri};
use crate::wamp::codec::{self, Frame, Limits};

pub(crate) struct Router {
    address: SocketAddr,
}

impl Router {
    /// Listens on loopback, with TLS if it is given a certificate and key.
    pub(crate) async fn start(tls: Option<(CertificateDer<'static>, Vec<u8>)>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let tls = tls.map(|(certificate, key)| {
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let builder = rustls::ServerConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .unwrap();
            let key = PrivateKeyDer::Pkcs8(key.into());
            TlsAcceptor::from(Arc::new(
                builder
                    .with_no_client_auth()
                    .with_single_cert(vec![certificate], key)
                    .unwrap(),
            ))
        });
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let tls = tls.clone();
                tokio::spawn(async move {
                    match tls {
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                websocket_or_rawsocket(stream).await;
                            }
                        }
                        None => accept_plain(stream).await,
                    }
                });
            }
        });
        Self { address }
    }

    pub(crate) fn url(&self, scheme: &str) -> String {
        let path = if scheme.starts_with("ws") { "/ws" } else { "" };
        format!("{scheme}://localhost:{}{path}", self.address.port())
    }
}

async fn accept_plain(stream: TcpStream) {
    websocket_or_rawsocket(stream).await;
}

async fn websocket_or_rawsocket<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(mut stream: S) {
    let mut first = [0; 1];
    if stream.read_exact(&mut first).await.is_err() {
        return;
    }
    let (to_client, from_router) = mpsc::channel(64);
    let (to_router, from_client) = mpsc::channel(64);
    let serializer;
    if first == [0x7F] {
        let mut rest = [0; 3];
        stream.read_exact(&mut rest).await.unwrap();
        serializer = [Serializer::Json, Serializer::MsgPack, Serializer::Cbor][usize::from(rest[0] & 15) - 1];
        stream.write_all(&[0x7F, rest[0], 0, 0]).await.unwrap();
        // A PING in the middle of the handshake: the client must answer with the same bytes.
        stream.write_all(&[1, 0, 0, 3, b'a', b'b', b'c']).await.unwrap();
        tokio::spawn(rawsocket(stream, to_router, from_router));
    } else {
        let mut chosen = None;
        #[allow(clippy::result_large_err)] // the type is tungstenite's
        let check = |request: &Request, mut response: Response| {
            if request.uri().path() != "/ws" {
                return Err(Response::builder().status(404).body(None::<String>).unwrap()) as Result<Response, ErrorResponse>;
            }
            let protocol = request.headers()["sec-websocket-protocol"].clone();
            chosen = Some(match protocol.to_str().unwrap() {
                "wamp.2.json" => Serializer::Json,
                "wamp.2.msgpack" => Serializer::MsgPack,
                _ => Serializer::Cbor,
            });
            response.headers_mut().insert("sec-websocket-protocol", protocol);
            Ok(response)
        };
        let stream = Prefixed {
            first: Some(first[0]),
            stream,
        };
        let Ok(socket) = tokio_tungstenite::accept_hdr_async(stream, check).await else {
            return;
        };
        serializer = chosen.unwrap();
        tokio::spawn(websocket(socket, serializer, to_router, from_router));
    }
    Session::new(serializer, to_client).run(from_client).await;
}

async fn rawsocket<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    to_router: mpsc::Sender<Vec<u8>>,
    mut from_router: mpsc::Receiver<Vec<u8>>,
) {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let read = async {
        let mut ponged = false;
        loop {
            let Ok(prefix) = reader.read_u32().await else { return };
            let length = if prefix & 0x0800_0000 != 0 {
                1 << 24
            } else {
                prefix & 0x00FF_FFFF
            };
            let mut frame = vec![0; length as usize];
            reader.read_exact(&mut frame).await.unwrap();
            if prefix >> 24 == 2 {
                assert_eq!(frame, b"abc");
                ponged = true;
                continue;
            }
            assert!(ponged || frame.len() < 1000, "messages after HELLO, but no PONG yet");
            if to_router.send(frame).await.is_err() {
                return;
            }
        }
    };
    let write = async {
        while let Some(frame) = from_router.recv().await {
            let prefix = frame.len() as u32;
            let sent = async {
                writer.write_all(&prefix.to_be_bytes()).await?;
                writer.write_all(&frame).await
            };
            if sent.await.is_err() {
                return;
            }
        }
    };
    tokio::select! { () = read => {}, () = write => {} }
}

async fn websocket<S: AsyncRead + AsyncWrite + Unpin>(
    socket: tokio_tungstenite::WebSocketStream<S>,
    serializer: Serializer,
    to_router: mpsc::Sender<Vec<u8>>,
    mut from_router: mpsc::Receiver<Vec<u8>>,
) {
    let (mut sink, mut stream) = socket.split();
    let read = async {
        while let Some(Ok(message)) = stream.next().await {
            match message {
                WsMessage::Text(_) | WsMessage::Binary(_) => {
                    assert_eq!(message.is_text(), serializer == Serializer::Json);
                    if to_router.send(message.into_data().to_vec()).await.is_err() {
                        return;
                    }
                }
                _ => {}
            }
        }
    };
    let write = async {
        while let Some(frame) = from_router.recv().await {
            let message = match serializer {
                Serializer::Json => WsMessage::Text(Utf8Bytes::try_from(bytes::Bytes::from(frame)).unwrap()),
                _ => WsMessage::Binary(frame.into()),
            };
            if sink.send(message).await.is_err() {
                return;
            }
        }
        drop(sink.close().await);
    };
    tokio::select! { () = read => {}, () = write => {} }
}

/// The router's half of one session, which calls and publishes to itself.
struct Session {
    serializer: Serializer,
    to_client: mpsc::Sender<Vec<u8>>,
    last_request: u64,
    invocations: u64,
    procedures: HashMap<String, RegistrationId>,
    topics: HashMap<String, SubscriptionId>,
    calls: HashMap<RequestId, RequestId>,
}

impl Session {
    fn new(serializer: Serializer, to_client: mpsc::Sender<Vec<u8>>) -> Self {
        let (procedures, topics, calls) = Default::default();
        Self {
            serializer,
            to_client,
            last_request: 0,
            invocations: 0,
            procedures,
            topics,
            calls,
        }
    }

    async fn run(mut self, mut from_client: mpsc::Receiver<Vec<u8>>) {
        while let Some(frame) = from_client.recv().await {
            let message = codec::decode(self.serializer, Frame::Owned(frame.into()), &Limits::default()).unwrap();
            for answer in self.answers(message) {
                let Some(answer) = answer else { return };
                let mut frame = Vec::new();
                codec::encode(&answer, self.serializer, &mut frame).unwrap();
                if self.to_client.send(frame).await.is_err() {
                    return;
                }
            }
        }
    }

    /// What is sent back; `None` ends the connection.
    fn answers(&mut self, message: Message) -> Vec<Option<Message>> {
        self.check_request_id(&message);
        let id = self.last_request.max(1);
        let answer = match message {
            Message::Hello { realm, details } => match (&*realm, details.text("authid")) {
                ("realm1", None) => welcome("anonymous"),
                ("realm1", Some(_)) => Message::Challenge {
                    method: "ticket".to_owned(),
                    extra: Dict::new(),
                },
                _ => abort("wamp.error.no_such_realm", Dict::new()),
            },
            Message::Authenticate { signature, .. } if signature == "open sesame" => welcome("lamp"),
            Message::Authenticate { .. } => abort(
                "wamp.error.authentication_failed",
                Dict::new().with("message", "not that ticket"),
            ),
            Message::Goodbye { .. } => goodbye("wamp.close.goodbye_and_out"),
            Message::Call {
                request,
                procedure,
                payload,
                ..
            } => match (&*procedure, self.procedures.get(&*procedure)) {
                (_, Some(registration)) => {
                    let registration = *registration;
                    self.invocations += 1;
                    let invocation = RequestId::new(self.invocations).unwrap();
                    self.calls.insert(invocation, request);
                    Message::Invocation {
                        request: invocation,
                        registration,
                        details: Dict::new(),
                        payload,
                    }
                }
                ("echo", _) => Message::Result {
                    request,
                    details: Dict::new(),
                    payload,
                },
                ("silence", _) => return Vec::new(),
                ("die", _) => return vec![None],
                ("goodbye", _) => goodbye("wamp.close.system_shutdown"),
                _ => error(48, request, "wamp.error.no_such_procedure", Payload::EMPTY),
            },
            Message::Yield { request, payload, .. } => Message::Result {
                request: self.calls.remove(&request).unwrap(),
                details: Dict::new(),
                payload,
            },
            Message::Error {
                request,
                error: uri,
                payload,
                ..
            } => error(48, self.calls.remove(&request).unwrap(), &uri, payload),
            Message::Register { request, procedure, .. } => {
                let registration = RegistrationId::new(id).unwrap();
                self.procedures.insert(procedure.to_string(), registration);
                Message::Registered { request, registration }
            }
            Message::Unregister { request, registration } => {
                self.procedures.retain(|_, id| *id != registration);
                Message::Unregistered {
                    request: Some(request),
                    details: Dict::new(),
                }
            }
            Message::Subscribe { request, topic, .. } => {
                let subscription = *self
                    .topics
                    .entry(topic.to_string())
                    .or_insert_with(|| SubscriptionId::new(id).unwrap());
                Message::Subscribed { request, subscription }
            }
            Message::Unsubscribe { request, subscription } => {
                self.topics.retain(|_, id| *id != subscription);
                Message::Unsubscribed {
                    request: Some(request),
                    details: Dict::new(),
                }
            }
            Message::Publish {
                request,
                topic,
                options,
                payload,
            } => {
                let publication = PublicationId::new(id).unwrap();
                let published = Some(Message::Published { request, publication });
                let published = published.filter(|_| options.bool("acknowledge") == Some(true));
                let event = self.topics.get(&*topic).map(|subscription| Message::Event {
                    subscription: *subscription,
                    publication,
                    details: Dict::new(),
                    payload,
                });
                return published.into_iter().chain(event).map(Some).collect();
            }
            other => panic!("a client sent {other:?}"),
        };
        vec![Some(answer)]
    }

    fn check_request_id(&mut self, message: &Message) {
        if let Message::Call { request, .. }
        | Message::Register { request, .. }
        | Message::Unregister { request, .. }
        | Message::Subscribe { request, .. }
        | Message::Unsubscribe { request, .. }
        | Message::Publish { request, .. } = message
        {
            assert_eq!(request.get(), self.last_request + 1, "request ids have a gap");
            self.last_request = request.get();
        }
    }
}

fn welcome(authid: &str) -> Message {
    Message::Welcome {
        session: SessionId::new(7).unwrap(),
        details: Dict::new().with("authid", authid),
    }
}

fn abort(reason: &str, details: Dict) -> Message {
    Message::Abort {
        details,
        reason: Uri::from(reason),
        payload: Payload::EMPTY,
    }
}

fn goodbye(reason: &str) -> Message {
    Message::Goodbye {
        details: Dict::new(),
        reason: Uri::from(reason),
    }
}

fn error(request_type: u64, request: RequestId, uri: &str, payload: Payload) -> Message {
    Message::Error {
        request_type,
        request,
        details: Dict::new(),
        error: Uri::from(uri),
        payload,
    }
}

/// A stream whose first byte was read already.
struct Prefixed<S> {
    first: Option<u8>,
    stream: S,
}

impl<S: AsyncRead + Unpin> AsyncRead for Prefixed<S> {
    fn poll_read(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
        buffer: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        if let Some(first) = self.first.take() {
            buffer.put_slice(&[first]);
            return std::task::Poll::Ready(Ok(()));
        }
        std::pin::Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Prefixed<S> {
    fn poll_write(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
        bytes: &[u8],
    ) -> std::task::Poll<std::io::Result<usize>> {
        std::pin::Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::pin::Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::pin::Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
