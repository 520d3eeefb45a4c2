//! The smallest thing that routes WAMP correctly, so that the harness is tested without the router it is to test.
//!
//! Exact registrations and subscriptions, no authentication, no errors beyond `no_such_procedure`, except that procedures below
//! `refused.` cannot be registered and those below `ignored.` get no answer; WebSocket and RawSocket, with TLS if asked for.
#![allow(dead_code)] // Not every test uses every way to start it.

use std::{
    collections::HashMap,
    io::Cursor,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use futures_util::{SinkExt as _, StreamExt as _};
use ringfort::wamp::{
    Dict, Message, Payload, PublicationId, RegistrationId, RequestId, Serializer, SessionId, SubscriptionId,
    codec::{Frame, Limits, decode, encode},
    message::code,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpListener,
    sync::mpsc::{self, UnboundedSender},
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    },
};
use tokio_tungstenite::tungstenite::{
    Message as Ws,
    handshake::server::{Request, Response},
};

type Shared = Arc<Mutex<State>>;

#[derive(Default)]
struct State {
    sessions: HashMap<u64, Session>,
    /// The callee and the registration.
    procedures: HashMap<String, (u64, u64)>,
    topics: HashMap<String, Vec<u64>>,
    last_id: u64,
}

struct Session {
    outbox: UnboundedSender<Message>,
    /// Invocation id to (caller, request).
    open: HashMap<u64, (u64, RequestId)>,
    invocations: u64,
}

/// Starts a router on a free port.
pub(crate) async fn start() -> SocketAddr {
    serve(None).await
}

/// Starts a router on a free port that speaks TLS with `certificate` and `key`, both PEM.
pub(crate) async fn start_tls(certificate: &str, key: &str) -> SocketAddr {
    let certificates = CertificateDer::pem_slice_iter(certificate.as_bytes());
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(
            certificates.map(Result::unwrap).collect(),
            PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
        )
        .unwrap();
    serve(Some(TlsAcceptor::from(Arc::new(config)))).await
}

async fn serve(tls: Option<TlsAcceptor>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let state = Shared::default();
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            tcp.set_nodelay(true).unwrap();
            let (tls, state) = (tls.clone(), state.clone());
            tokio::spawn(async move {
                match tls {
                    None => connection(tcp, state).await,
                    // A client that does not trust us is no event for a router.
                    Some(tls) => {
                        if let Ok(stream) = tls.accept(tcp).await {
                            connection(stream, state).await;
                        }
                    }
                }
            });
        }
    });
    address
}

/// What a connection runs on.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send + 'static> Stream for T {}

async fn connection(stream: impl Stream, state: Shared) {
    let (mut reader, writer) = tokio::io::split(stream);
    let mut first = [0];
    if reader.read_exact(&mut first).await.is_err() {
        return;
    }
    let stream = tokio::io::join(Cursor::new(first).chain(reader), writer);
    if first[0] == 0x7f {
        rawsocket(stream, state).await
    } else {
        websocket(stream, state).await
    }
}

async fn websocket(tcp: impl Stream, state: Shared) {
    let mut serializer = Serializer::Json;
    #[allow(clippy::result_large_err)] // The signature is the library's.
    let choose = |request: &Request, mut response: Response| {
        let wanted = request.headers()["sec-websocket-protocol"].clone();
        serializer = match wanted.to_str() {
            Ok("wamp.2.msgpack") => Serializer::MsgPack,
            Ok("wamp.2.cbor") => Serializer::Cbor,
            _ => Serializer::Json,
        };
        response.headers_mut().insert("sec-websocket-protocol", wanted);
        Ok(response)
    };
    let Ok(socket) = tokio_tungstenite::accept_hdr_async(tcp, choose).await else {
        return;
    };
    let (mut sink, mut stream) = socket.split();
    let (outbox, mut queue) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Some(message) = queue.recv().await {
            let mut bytes = Vec::new();
            encode(&message, serializer, &mut bytes).unwrap();
            let frame = match serializer {
                Serializer::Json => Ws::Text(String::from_utf8(bytes).unwrap().into()),
                _ => Ws::Binary(bytes.into()),
            };
            if sink.send(frame).await.is_err() {
                return;
            }
        }
    });
    let session = enter(&state, outbox);
    let id = session.id;
    while let Some(Ok(frame)) = stream.next().await {
        let bytes = match frame {
            Ws::Text(text) => text.as_bytes().to_vec(),
            Ws::Binary(bytes) => bytes.to_vec(),
            _ => continue,
        };
        handle(
            &state,
            id,
            decode(serializer, Frame::Borrowed(&bytes), &Limits::default()).unwrap(),
        );
    }
}

async fn rawsocket(tcp: impl Stream, state: Shared) {
    let (mut reader, mut writer) = tokio::io::split(tcp);
    let mut hello = [0; 4];
    reader.read_exact(&mut hello).await.unwrap();
    let serializer = [Serializer::Json, Serializer::MsgPack, Serializer::Cbor][usize::from(hello[1] & 15) - 1];
    writer.write_all(&hello).await.unwrap();
    let (outbox, mut queue) = mpsc::unbounded_channel();
    let (pongs, mut echoes) = mpsc::unbounded_channel::<Vec<u8>>();
    tokio::spawn(async move {
        loop {
            let bytes = tokio::select! {
                Some(message) = queue.recv() => {
                    let mut bytes = vec![0; 4];
                    encode(&message, serializer, &mut bytes).unwrap();
                    let len = (bytes.len() - 4) as u32;
                    bytes[..4].copy_from_slice(&len.to_be_bytes());
                    bytes
                }
                Some(pong) = echoes.recv() => pong,
                else => return,
            };
            if writer.write_all(&bytes).await.is_err() {
                return;
            }
        }
    });
    let session = enter(&state, outbox);
    let id = session.id;
    while let Ok(head) = reader.read_u32().await {
        let mut bytes = vec![0; (head & 0x00ff_ffff) as usize];
        if reader.read_exact(&mut bytes).await.is_err() {
            return;
        }
        if head >> 24 == 1 {
            let pong = (2 << 24 | bytes.len() as u32).to_be_bytes();
            pongs.send([&pong[..], &bytes].concat()).ok();
            continue;
        }
        handle(
            &state,
            id,
            decode(serializer, Frame::Borrowed(&bytes), &Limits::default()).unwrap(),
        );
    }
}

/// Takes the session out of the state when its connection ends.
struct Entered {
    id: u64,
    state: Shared,
}

impl Drop for Entered {
    fn drop(&mut self) {
        let mut state = self.state.lock().unwrap();
        state.leave(self.id);
        state.sessions.remove(&self.id);
    }
}

impl State {
    fn leave(&mut self, id: u64) {
        self.procedures.retain(|_, (callee, _)| *callee != id);
        self.topics
            .values_mut()
            .for_each(|subscribers| subscribers.retain(|s| *s != id));
    }
}

fn enter(shared: &Shared, outbox: UnboundedSender<Message>) -> Entered {
    let mut state = shared.lock().unwrap();
    state.last_id += 1;
    let id = state.last_id;
    state.sessions.insert(
        id,
        Session {
            outbox,
            open: HashMap::new(),
            invocations: 0,
        },
    );
    let state = shared.clone();
    Entered { id, state }
}

fn handle(state: &Shared, id: u64, message: Message) {
    let mut state = state.lock().unwrap();
    state.last_id += 1;
    let fresh = state.last_id;
    let answer = match message {
        Message::Hello { .. } => {
            let roles = Dict::new().with("broker", Dict::new()).with("dealer", Dict::new());
            Some(Message::Welcome {
                session: SessionId::new(id).unwrap(),
                details: Dict::new().with("roles", roles),
            })
        }
        Message::Goodbye { .. } => {
            state.leave(id);
            let reason = "wamp.close.goodbye_and_out".into();
            let details = Dict::new();
            Some(Message::Goodbye { details, reason })
        }
        Message::Unregister { request, registration } => {
            let before = state.procedures.len();
            let theirs = |(callee, of): &(u64, u64)| *callee == id && *of == registration.get();
            state.procedures.retain(|_, procedure| !theirs(procedure));
            assert_eq!(state.procedures.len() + 1, before, "unregistered once");
            Some(Message::Unregistered {
                request: Some(request),
                details: Dict::new(),
            })
        }
        Message::Register { request, procedure, .. } if procedure.as_str().starts_with("refused.") => Some(Message::Error {
            request_type: code::REGISTER,
            request,
            details: Dict::new(),
            error: "wamp.error.not_authorized".into(),
            payload: Payload::EMPTY,
        }),
        Message::Register { procedure, .. } if procedure.as_str().starts_with("ignored.") => None,
        Message::Register { request, procedure, .. } => {
            state.procedures.insert(procedure.to_string(), (id, fresh));
            Some(Message::Registered {
                request,
                registration: RegistrationId::new(fresh).unwrap(),
            })
        }
        Message::Subscribe { request, topic, .. } => {
            state.topics.entry(topic.to_string()).or_default().push(id);
            Some(Message::Subscribed {
                request,
                subscription: SubscriptionId::new(fresh).unwrap(),
            })
        }
        Message::Call {
            request,
            procedure,
            payload,
            ..
        } => match state.procedures.get(procedure.as_str()).copied() {
            Some((callee, _)) => {
                invoke(&mut state, callee, id, request, payload);
                None
            }
            None => Some(Message::Error {
                request_type: code::CALL,
                request,
                details: Dict::new(),
                error: "wamp.error.no_such_procedure".into(),
                payload: Payload::EMPTY,
            }),
        },
        Message::Yield { request, payload, .. } => {
            // A second YIELD of one invocation finds nothing and is dropped, as a router should.
            let open = state.sessions.get_mut(&id).unwrap().open.remove(&request.get());
            if let Some((caller, request)) = open {
                send(
                    &state,
                    caller,
                    Message::Result {
                        request,
                        details: Dict::new(),
                        payload,
                    },
                );
            }
            None
        }
        Message::Publish {
            request,
            options,
            topic,
            payload,
        } => {
            let publication = PublicationId::new(fresh).unwrap();
            for subscriber in state.topics.get(topic.as_str()).into_iter().flatten() {
                let subscription = SubscriptionId::new(1).unwrap();
                let event = Message::Event {
                    subscription,
                    publication,
                    details: Dict::new(),
                    payload: payload.clone(),
                };
                send(&state, *subscriber, event);
            }
            options
                .bool("acknowledge")
                .map(|_| Message::Published { request, publication })
        }
        Message::Unsubscribe { request, .. } => {
            for subscribers in state.topics.values_mut() {
                subscribers.retain(|subscriber| *subscriber != id);
            }
            Some(Message::Unsubscribed {
                request: Some(request),
                details: Dict::new(),
            })
        }
        other => panic!("the mini router does not know {other:?}"),
    };
    if let Some(answer) = answer {
        send(&state, id, answer);
    }
}

fn invoke(state: &mut State, callee: u64, caller: u64, request: RequestId, payload: Payload) {
    let session = state.sessions.get_mut(&callee).unwrap();
    session.invocations += 1;
    let invocation = session.invocations;
    session.open.insert(invocation, (caller, request));
    let request = RequestId::new(invocation).unwrap();
    let registration = RegistrationId::new(1).unwrap();
    send(
        state,
        callee,
        Message::Invocation {
            request,
            registration,
            details: Dict::new(),
            payload,
        },
    );
}

fn send(state: &State, to: u64, message: Message) {
    // Who has left hears nothing more.
    if let Some(session) = state.sessions.get(&to) {
        session.outbox.send(message).ok();
    }
}
