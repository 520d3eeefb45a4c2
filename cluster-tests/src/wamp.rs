//! A small WAMP client over WebSocket and JSON, written from the protocol and not from the router.
//!
//! One task per client reads the socket and hands every message to the one it is for, in the order of arrival: the channel of a
//! subscription is made by that task when SUBSCRIBED comes in, so an EVENT right behind it cannot be missed.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result, bail};
use futures_util::{SinkExt, StreamExt, stream::SplitSink};
use serde_json::{Value, json};
use tokio::{
    net::TcpStream,
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::timeout,
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Message, client::IntoClientRequest, http::HeaderValue},
};

/// Longest wait for an answer that should come at once.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// An ERROR message: the URI, and the details, args and kwargs after it.
#[derive(Clone, Debug, PartialEq)]
pub struct WampError {
    /// The error's URI.
    pub uri: String,
    /// ERROR.Details.
    pub details: Value,
    /// Everything that came with it.
    pub rest: Vec<Value>,
}

impl fmt::Display for WampError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.uri, self.rest)
    }
}

impl std::error::Error for WampError {}

/// An invocation that a callee got.
#[derive(Clone, Debug, PartialEq)]
pub struct Invocation {
    /// The id to answer to.
    pub request: u64,
    /// INVOCATION.Details.
    pub details: Value,
    /// The positional arguments.
    pub args: Vec<Value>,
    /// The keyword arguments, null if there were none.
    pub kwargs: Value,
}

/// An event that a subscriber got.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// The publication's id.
    pub publication: u64,
    /// EVENT.Details.
    pub details: Value,
    /// The positional arguments.
    pub args: Vec<Value>,
    /// The keyword arguments, null if there were none.
    pub kwargs: Value,
}

/// A registration and what arrives for it.
#[derive(Debug)]
pub struct Registration {
    /// The registration's id.
    pub id: u64,
    /// Its invocations, in the order of arrival. Not bounded: a test that overruns it has asked for what it gets.
    pub invocations: mpsc::UnboundedReceiver<Invocation>,
}

/// A subscription and what arrives for it.
#[derive(Debug)]
pub struct Subscription {
    /// The subscription's id.
    pub id: u64,
    /// Its events, in the order of arrival.
    pub events: mpsc::UnboundedReceiver<Event>,
}

/// How a request ended.
type Outcome<T> = Result<T, WampError>;

/// The answer to a call, once it is there.
#[derive(Debug)]
pub struct Answer(oneshot::Receiver<Outcome<Vec<Value>>>);

impl Answer {
    /// Waits for RESULT (its args) or ERROR.
    ///
    /// # Errors
    /// The outer error says that no answer came: the session ended or `patience` ran out.
    pub async fn within(self, patience: Duration) -> Result<Outcome<Vec<Value>>> {
        timeout(patience, self.0)
            .await
            .with_context(|| format!("no final answer within {patience:?}"))?
            .context("session ended")
    }
}

/// What waits for an answer of the router.
enum Pending {
    Call(oneshot::Sender<Outcome<Vec<Value>>>),
    Register(oneshot::Sender<Outcome<Registration>>),
    Subscribe(oneshot::Sender<Outcome<Subscription>>),
    Id(oneshot::Sender<Outcome<u64>>),
}

#[derive(Default)]
struct Routes {
    pending: HashMap<u64, Pending>,
    invocations: HashMap<u64, mpsc::UnboundedSender<Invocation>>,
    events: HashMap<u64, mpsc::UnboundedSender<Event>>,
    ended: Option<String>,
}

type Sink = SplitSink<WebSocketStream<MaybeTlsStream<TcpStream>>, Message>;

/// A joined session. Dropping it closes the socket without a GOODBYE.
pub struct Client {
    session: u64,
    welcome: Value,
    sink: Arc<tokio::sync::Mutex<Sink>>,
    routes: Arc<Mutex<Routes>>,
    next_request: AtomicU64,
    reader: JoinHandle<()>,
    /// Messages that came for nobody: a router that sends them is wrong, and tests may look.
    pub strays: mpsc::UnboundedReceiver<Value>,
}

impl Client {
    /// Connects to `url` and joins `realm` as anonymous.
    ///
    /// # Errors
    /// If the connection fails or the router answers with anything but WELCOME.
    pub async fn join(url: &str, realm: &str) -> Result<Self> {
        timeout(PATIENCE, Self::connect(url, realm, None))
            .await
            .with_context(|| format!("{url}: no WELCOME within {PATIENCE:?}"))?
    }

    /// Connects to `url` and joins `realm` as `authid` with a ticket.
    ///
    /// # Errors
    /// If the connection fails or the router answers with anything but CHALLENGE and WELCOME.
    pub async fn login(url: &str, realm: &str, authid: &str, ticket: &str) -> Result<Self> {
        timeout(PATIENCE, Self::connect(url, realm, Some((authid, ticket))))
            .await
            .with_context(|| format!("{url}: no WELCOME within {PATIENCE:?}"))?
    }

    async fn connect(url: &str, realm: &str, login: Option<(&str, &str)>) -> Result<Self> {
        let mut request = url.into_client_request()?;
        request
            .headers_mut()
            .insert("Sec-WebSocket-Protocol", HeaderValue::from_static("wamp.2.json"));
        let (socket, _) = connect_async(request).await.with_context(|| format!("connect to {url}"))?;
        let (mut sink, mut stream) = socket.split();
        let roles = json!({"caller": {}, "callee": {}, "publisher": {}, "subscriber": {}});
        let hello = match login {
            None => json!([1, realm, {"roles": roles, "authmethods": ["anonymous"]}]),
            Some((authid, _)) => json!([1, realm, {"roles": roles, "authmethods": ["ticket"], "authid": authid}]),
        };
        sink.send(Message::text(hello.to_string())).await?;
        let first = loop {
            match stream.next().await.context("closed before WELCOME")?? {
                Message::Text(text) => {
                    let message = serde_json::from_str::<Value>(&text)?;
                    match login {
                        Some((_, ticket)) if message[0] == 4 => {
                            sink.send(Message::text(json!([5, ticket, {}]).to_string())).await?;
                        }
                        _ => break message,
                    }
                }
                Message::Close(frame) => bail!("closed before WELCOME: {frame:?}"),
                _ => {}
            }
        };
        if first[0] != 2 {
            bail!("{url}: expected WELCOME, got {first}");
        }
        let session = first[1].as_u64().context("session id")?;
        let routes = Arc::new(Mutex::new(Routes::default()));
        let (stray, strays) = mpsc::unbounded_channel();
        let reader_routes = Arc::clone(&routes);
        let reader = tokio::spawn(async move {
            let end = loop {
                match stream.next().await {
                    Some(Ok(Message::Text(text))) => match serde_json::from_str::<Value>(&text) {
                        Ok(message) => {
                            if let Some(message) = deliver(&reader_routes, message) {
                                let _ = stray.send(message);
                            }
                        }
                        Err(error) => break format!("not JSON: {error}: {text}"),
                    },
                    Some(Ok(Message::Close(frame))) => break format!("closed: {frame:?}"),
                    Some(Ok(_)) => {}
                    Some(Err(error)) => break error.to_string(),
                    None => break "end of stream".to_owned(),
                }
            };
            let mut routes = lock(&reader_routes);
            *routes = Routes {
                ended: Some(end),
                ..Routes::default()
            };
        });
        Ok(Self {
            session,
            welcome: first[2].clone(),
            sink: Arc::new(tokio::sync::Mutex::new(sink)),
            routes,
            next_request: AtomicU64::new(1),
            reader,
            strays,
        })
    }

    /// The session id of the WELCOME.
    pub fn session(&self) -> u64 {
        self.session
    }

    /// WELCOME.Details.
    pub fn welcome(&self) -> &Value {
        &self.welcome
    }

    /// Why the session ended, if it has.
    pub fn ended(&self) -> Option<String> {
        lock(&self.routes).ended.clone()
    }

    /// Registers `procedure`.
    ///
    /// # Errors
    /// The outer error means no answer; the inner is the router's ERROR.
    pub async fn register(&self, procedure: &str) -> Result<Outcome<Registration>> {
        self.register_with(procedure, json!({})).await
    }

    /// Registers `procedure` with REGISTER.Options.
    ///
    /// # Errors
    /// As for [`Client::register`].
    pub async fn register_with(&self, procedure: &str, options: Value) -> Result<Outcome<Registration>> {
        let (tx, rx) = oneshot::channel();
        self.request(Pending::Register(tx), |id| json!([64, id, options, procedure]))
            .await?;
        answer(rx, "REGISTERED").await
    }

    /// Gives a registration up.
    ///
    /// # Errors
    /// As for [`Client::register`].
    pub async fn unregister(&self, registration: u64) -> Result<Outcome<u64>> {
        let (tx, rx) = oneshot::channel();
        self.request(Pending::Id(tx), |id| json!([66, id, registration])).await?;
        answer(rx, "UNREGISTERED").await
    }

    /// Subscribes to `topic`.
    ///
    /// # Errors
    /// As for [`Client::register`].
    pub async fn subscribe(&self, topic: &str) -> Result<Outcome<Subscription>> {
        self.subscribe_with(topic, json!({})).await
    }

    /// Subscribes to `topic` with SUBSCRIBE.Options.
    ///
    /// # Errors
    /// As for [`Client::register`].
    pub async fn subscribe_with(&self, topic: &str, options: Value) -> Result<Outcome<Subscription>> {
        let (tx, rx) = oneshot::channel();
        self.request(Pending::Subscribe(tx), |id| json!([32, id, options, topic]))
            .await?;
        answer(rx, "SUBSCRIBED").await
    }

    /// Ends a subscription.
    ///
    /// # Errors
    /// As for [`Client::register`].
    pub async fn unsubscribe(&self, subscription: u64) -> Result<Outcome<u64>> {
        let (tx, rx) = oneshot::channel();
        self.request(Pending::Id(tx), |id| json!([34, id, subscription])).await?;
        answer(rx, "UNSUBSCRIBED").await
    }

    /// Sends a CALL and does not wait for its answer.
    ///
    /// # Errors
    /// If the session is gone.
    pub async fn start_call(&self, procedure: &str, args: &[Value]) -> Result<Answer> {
        self.start_call_with(procedure, json!({}), args).await
    }

    /// The same with CALL.Options.
    ///
    /// # Errors
    /// If the session is gone.
    pub async fn start_call_with(&self, procedure: &str, options: Value, args: &[Value]) -> Result<Answer> {
        let (tx, rx) = oneshot::channel();
        self.request(Pending::Call(tx), |id| json!([48, id, options, procedure, args]))
            .await?;
        Ok(Answer(rx))
    }

    /// Calls `procedure` and waits for the answer.
    ///
    /// # Errors
    /// As for [`Client::register`].
    pub async fn call(&self, procedure: &str, args: &[Value]) -> Result<Outcome<Vec<Value>>> {
        self.start_call(procedure, args)
            .await?
            .within(PATIENCE)
            .await
            .with_context(|| format!("call of {procedure}"))
    }

    /// The same with keyword arguments.
    ///
    /// # Errors
    /// As for [`Client::register`].
    pub async fn call_with(&self, procedure: &str, args: &[Value], kwargs: Value) -> Result<Outcome<Vec<Value>>> {
        let (tx, rx) = oneshot::channel();
        self.request(Pending::Call(tx), |id| json!([48, id, {}, procedure, args, kwargs]))
            .await?;
        answer(rx, procedure).await
    }

    /// Publishes without asking for an acknowledgement.
    ///
    /// # Errors
    /// If the session is gone.
    pub async fn publish(&self, topic: &str, args: &[Value]) -> Result<()> {
        let mut sink = self.sink.lock().await;
        let id = self.next_request.fetch_add(1, Ordering::SeqCst);
        sink.send(Message::text(json!([16, id, {}, topic, args]).to_string()))
            .await
            .context("send")
    }

    /// Publishes and waits for PUBLISHED.
    ///
    /// # Errors
    /// As for [`Client::register`].
    pub async fn publish_acknowledged(&self, topic: &str, args: &[Value]) -> Result<Outcome<u64>> {
        self.publish_with(topic, json!({"acknowledge": true}), args).await
    }

    /// Publishes with PUBLISH.Options, among which has to be `acknowledge`, and waits for PUBLISHED.
    ///
    /// # Errors
    /// As for [`Client::register`].
    pub async fn publish_with(&self, topic: &str, options: Value, args: &[Value]) -> Result<Outcome<u64>> {
        let (tx, rx) = oneshot::channel();
        self.request(Pending::Id(tx), |id| json!([16, id, options, topic, args]))
            .await?;
        answer(rx, "PUBLISHED").await
    }

    /// Answers an invocation with a result.
    ///
    /// # Errors
    /// If the session is gone.
    pub async fn yields(&self, invocation: u64, args: &[Value]) -> Result<()> {
        self.send(&json!([70, invocation, {}, args])).await
    }

    /// A task that answers every invocation of `registration` with its own arguments, until the session ends.
    pub fn serve_echo(&self, mut registration: Registration) -> JoinHandle<u64> {
        let sink = Arc::clone(&self.sink);
        tokio::spawn(async move {
            let mut answered = 0;
            while let Some(invocation) = registration.invocations.recv().await {
                let text = json!([70, invocation.request, {}, invocation.args]).to_string();
                if sink.lock().await.send(Message::text(text)).await.is_err() {
                    break;
                }
                answered += 1;
            }
            answered
        })
    }

    /// Waits for the router's GOODBYE and echoes it; gives its details and reason. `None` if the session ends without one.
    pub async fn sent_away(&mut self) -> Option<(Value, String)> {
        loop {
            let message = self.strays.recv().await?;
            if message[0] == 6 {
                // The router closes either way.
                let _ = self.send(&json!([6, {}, "wamp.close.goodbye_and_out"])).await;
                return Some((message[1].clone(), message[2].as_str().unwrap_or_default().to_owned()));
            }
        }
    }

    /// Leaves in order: GOODBYE, and waits until the router has closed its side.
    ///
    /// # Errors
    /// If the router does not end the session.
    pub async fn leave(mut self) -> Result<()> {
        self.send(&json!([6, {}, "wamp.close.close_realm"])).await?;
        let farewell = async {
            while let Some(message) = self.strays.recv().await {
                if message[0] == 6 {
                    return Ok(());
                }
            }
            bail!("closed without GOODBYE: {:?}", self.ended())
        };
        timeout(PATIENCE, farewell).await.context("no GOODBYE")?
    }

    async fn request(&self, pending: Pending, build: impl FnOnce(u64) -> Value) -> Result<()> {
        // The sink is held from the choice of the id to the write, since ids must reach the router in order.
        let mut sink = self.sink.lock().await;
        let id = self.next_request.fetch_add(1, Ordering::SeqCst);
        {
            let mut routes = lock(&self.routes);
            if let Some(end) = &routes.ended {
                bail!("session ended: {end}");
            }
            routes.pending.insert(id, pending);
        }
        sink.send(Message::text(build(id).to_string())).await.context("send")
    }

    async fn send(&self, message: &Value) -> Result<()> {
        self.sink
            .lock()
            .await
            .send(Message::text(message.to_string()))
            .await
            .context("send")
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

async fn answer<T>(rx: oneshot::Receiver<Outcome<T>>, what: &str) -> Result<Outcome<T>> {
    timeout(PATIENCE, rx)
        .await
        .with_context(|| format!("no {what} within {PATIENCE:?}"))?
        .with_context(|| format!("session ended before {what}"))
}

fn lock(routes: &Mutex<Routes>) -> std::sync::MutexGuard<'_, Routes> {
    routes.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Hands a message to the one who waits for it; gives it back if nobody does.
fn deliver(routes: &Mutex<Routes>, message: Value) -> Option<Value> {
    let mut routes = lock(routes);
    let id = |at: usize| message[at].as_u64().unwrap_or_default();
    let list = |at: usize| message.get(at).and_then(Value::as_array).cloned().unwrap_or_default();
    let any = |at: usize| message.get(at).cloned().unwrap_or(Value::Null);
    match message[0].as_u64() {
        Some(8) => {
            let error = WampError {
                uri: message[4].as_str().unwrap_or_default().to_owned(),
                details: any(3),
                rest: message
                    .as_array()
                    .map(|all| all.iter().skip(5).cloned().collect())
                    .unwrap_or_default(),
            };
            match routes.pending.remove(&id(2)) {
                Some(Pending::Call(tx)) => drop(tx.send(Err(error))),
                Some(Pending::Register(tx)) => drop(tx.send(Err(error))),
                Some(Pending::Subscribe(tx)) => drop(tx.send(Err(error))),
                Some(Pending::Id(tx)) => drop(tx.send(Err(error))),
                None => return Some(message),
            }
        }
        Some(50) => match routes.pending.remove(&id(1)) {
            Some(Pending::Call(tx)) => drop(tx.send(Ok(list(3)))),
            _ => return Some(message),
        },
        Some(65) => match routes.pending.remove(&id(1)) {
            Some(Pending::Register(tx)) => {
                let (sender, invocations) = mpsc::unbounded_channel();
                routes.invocations.insert(id(2), sender);
                drop(tx.send(Ok(Registration { id: id(2), invocations })));
            }
            _ => return Some(message),
        },
        Some(33) => match routes.pending.remove(&id(1)) {
            Some(Pending::Subscribe(tx)) => {
                let (sender, events) = mpsc::unbounded_channel();
                routes.events.insert(id(2), sender);
                drop(tx.send(Ok(Subscription { id: id(2), events })));
            }
            _ => return Some(message),
        },
        Some(17 | 35 | 67) => match routes.pending.remove(&id(1)) {
            Some(Pending::Id(tx)) => drop(tx.send(Ok(id(2)))),
            _ => return Some(message),
        },
        Some(68) => match routes.invocations.get(&id(2)) {
            Some(tx) => drop(tx.send(Invocation {
                request: id(1),
                details: any(3),
                args: list(4),
                kwargs: any(5),
            })),
            None => return Some(message),
        },
        Some(36) => match routes.events.get(&id(1)) {
            Some(tx) => drop(tx.send(Event {
                publication: id(2),
                details: any(3),
                args: list(4),
                kwargs: any(5),
            })),
            None => return Some(message),
        },
        _ => return Some(message),
    }
    None
}
