//! The session behind a [`Client`]: its handshake, its one task, and what waits for answers.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::{Notify, mpsc, oneshot, watch};

use super::{
    Auth, Client, Error, Event, Invocation, Options, Outgoing, Registration, Reply, Subscription,
    transport::{self, Connection, Incoming, Reader, Writer},
};
use crate::wamp::{
    Dict, Message, Payload, PublicationId, RegistrationId, RequestId, Serializer, SessionId, SubscriptionId, Uri, Value,
    codec::{self, Frame, Limits},
};

/// A request that waits for its answer.
pub(super) enum Pending {
    Call(oneshot::Sender<Result<Reply, Error>>),
    Publish(oneshot::Sender<Result<PublicationId, Error>>),
    Subscribe(oneshot::Sender<Result<Subscription, Error>>),
    Register(oneshot::Sender<Result<Registration, Error>>),
    /// UNSUBSCRIBE and UNREGISTER.
    Done(oneshot::Sender<Result<(), Error>>),
}

/// What the clones of a client and its task share.
pub(super) struct Shared {
    pub(super) session: SessionId,
    pub(super) welcome: Dict,
    pub(super) serializer: Serializer,
    message_bytes_max: usize,
    queue: usize,
    state: Mutex<State>,
    goodbye: Notify,
    closed: watch::Sender<Option<Error>>,
}

#[derive(Default)]
struct State {
    /// The last request id that was drawn.
    last_request: u64,
    /// True once the session has ended: nothing may start to wait.
    ended: bool,
    pending: HashMap<RequestId, Pending>,
    /// Several subscriptions to one topic share an id.
    subscriptions: HashMap<SubscriptionId, Vec<mpsc::Sender<Event>>>,
    registrations: HashMap<RegistrationId, mpsc::Sender<Invocation>>,
}

/// Connects, greets, authenticates, and starts the session's task.
pub(super) async fn join(options: Options) -> Result<Client, Error> {
    let mut connection = transport::connect(&options).await?;
    let (session, welcome) = greet(&mut connection, &options).await?;
    let (outgoing, queue) = mpsc::channel(options.queue.max(1));
    let shared = std::sync::Arc::new(Shared {
        session,
        welcome,
        serializer: options.serializer,
        message_bytes_max: connection.message_bytes_max,
        queue: options.queue.max(1),
        state: Mutex::default(),
        goodbye: Notify::new(),
        closed: watch::Sender::new(None),
    });
    let Connection {
        mut reader, mut writer, ..
    } = connection;
    let (weak, task_shared) = (outgoing.downgrade(), shared.clone());
    tokio::spawn(async move {
        let why = tokio::select! {
            read = task_shared.read(&mut reader, &weak) => read,
            written = write(&mut writer, queue) => written,
        };
        // A peer that does not read must not keep the socket.
        drop(tokio::time::timeout(Duration::from_secs(1), writer.close()).await);
        task_shared.end(why.err().unwrap_or(Error::Closed {
            why: "this client left".to_owned(),
        }));
    });
    Ok(Client {
        outgoing,
        shared,
        timeout: options.timeout,
    })
}

/// HELLO, perhaps CHALLENGE and AUTHENTICATE, WELCOME.
async fn greet(connection: &mut Connection, options: &Options) -> Result<(SessionId, Dict), Error> {
    let features =
        |names: &[&str]| Dict::new().with("features", names.iter().fold(Dict::new(), |all, name| all.with(*name, true)));
    let roles = Dict::new()
        .with("caller", features(&[]))
        .with("callee", features(&[]))
        .with("publisher", features(&[]))
        .with("subscriber", features(&[]));
    let (method, authid) = match &options.auth {
        Auth::Anonymous => ("anonymous", None),
        Auth::Ticket { authid, .. } => ("ticket", Some(authid.as_str())),
    };
    let mut details = Dict::new()
        .with("roles", roles)
        .with("agent", concat!("ringfort-client-", env!("CARGO_PKG_VERSION")))
        .with("authmethods", vec![Value::from(method)]);
    if let Some(authid) = authid {
        details.set("authid", authid);
    }
    let hello = Message::Hello {
        realm: Uri::from(options.realm.as_str()),
        details,
    };
    send(&mut connection.writer, &hello, options.serializer).await?;
    loop {
        let frame = match connection.reader.next().await? {
            Some(Incoming::Message(frame)) => frame,
            Some(Incoming::Ping(payload)) => {
                connection.writer.feed(Outgoing::Pong(payload)).await?;
                connection.writer.flush().await?;
                continue;
            }
            None => {
                return Err(Error::Closed {
                    why: "the router closed the connection instead of a WELCOME".to_owned(),
                });
            }
        };
        match (decode(options.serializer, frame)?, &options.auth) {
            (Message::Welcome { session, details }, _) => return Ok((session, details)),
            (Message::Abort { details, reason, .. }, _) => return Err(aborted(&details, &reason)),
            (Message::Challenge { method, .. }, Auth::Ticket { ticket, .. }) if method == "ticket" => {
                let authenticate = Message::Authenticate {
                    signature: ticket.expose().to_owned(),
                    extra: Dict::new(),
                };
                send(&mut connection.writer, &authenticate, options.serializer).await?;
            }
            (Message::Challenge { method, .. }, _) => {
                return Err(Error::Protocol {
                    why: format!("it asks for {method}, which was not offered"),
                });
            }
            _ => {
                return Err(Error::Protocol {
                    why: "it sent something else than WELCOME".to_owned(),
                });
            }
        }
    }
}

async fn send(writer: &mut Writer, message: &Message, serializer: Serializer) -> Result<(), Error> {
    writer.feed(Outgoing::Message(encode(message, serializer)?)).await?;
    writer.flush().await
}

/// Writes what is queued until [`Outgoing::Close`], or until the last client is gone.
async fn write(writer: &mut Writer, mut queue: mpsc::Receiver<Outgoing>) -> Result<(), Error> {
    while let Some(first) = queue.recv().await {
        let mut next = Some(first);
        while let Some(outgoing) = next {
            if matches!(outgoing, Outgoing::Close) {
                return writer.flush().await;
            }
            writer.feed(outgoing).await?;
            next = queue.try_recv().ok();
        }
        writer.flush().await?;
    }
    Ok(())
}

impl Shared {
    /// Draws a request id, notes who waits for it, and hands the encoded message to `enqueue`, all at once.
    pub(super) fn start(
        &self,
        message: impl FnOnce(RequestId) -> Message,
        pending: Option<Pending>,
        enqueue: impl FnOnce(Vec<u8>),
    ) -> Result<RequestId, Error> {
        let mut state = self.lock();
        if state.ended {
            drop(state);
            return Err(self.closed_error());
        }
        let request = RequestId::new(state.last_request + 1).ok_or(Error::Closed {
            why: "request ids are used up".to_owned(),
        })?;
        // The id is taken only if the message goes out, so that ids stay without gaps.
        let frame = self.encode(&message(request))?;
        state.last_request = request.get();
        if let Some(pending) = pending {
            state.pending.insert(request, pending);
        }
        enqueue(frame);
        Ok(request)
    }

    /// The bytes of a message, if the router takes that many.
    pub(super) fn encode(&self, message: &Message) -> Result<Vec<u8>, Error> {
        let frame = encode(message, self.serializer)?;
        if frame.len() > self.message_bytes_max {
            return Err(Error::TooLarge {
                bytes: frame.len(),
                limit: self.message_bytes_max,
            });
        }
        Ok(frame)
    }

    /// Resolves when the router has said goodbye.
    pub(super) fn expect_goodbye(&self) -> tokio::sync::futures::Notified<'_> {
        self.goodbye.notified()
    }

    pub(super) fn forget_request(&self, request: RequestId) {
        self.lock().pending.remove(&request);
    }

    /// Takes out the subscriptions that are closed; true if none is left and the router should know.
    pub(super) fn forget_subscription(&self, id: SubscriptionId) -> bool {
        let mut state = self.lock();
        let Some(subscribers) = state.subscriptions.get_mut(&id) else {
            return false;
        };
        subscribers.retain(|subscriber| !subscriber.is_closed());
        let last = subscribers.is_empty();
        if last {
            state.subscriptions.remove(&id);
        }
        last
    }

    pub(super) fn forget_registration(&self, id: RegistrationId) {
        self.lock().registrations.remove(&id);
    }

    pub(super) async fn wait_closed(&self) {
        // `self` holds the sender, so the wait cannot fail.
        drop(self.closed.subscribe().wait_for(Option::is_some).await);
    }

    /// Why the session has ended.
    pub(super) fn closed_error(&self) -> Error {
        self.closed.borrow().clone().unwrap_or(Error::Closed {
            why: "it is being closed".to_owned(),
        })
    }

    /// Handles what the router sends until the session ends.
    async fn read(&self, reader: &mut Reader, outgoing: &mpsc::WeakSender<Outgoing>) -> Result<(), Error> {
        let closed = || Error::Closed {
            why: "the router closed the connection".to_owned(),
        };
        loop {
            match reader.next().await?.ok_or_else(closed)? {
                Incoming::Message(frame) => self.on_message(decode(self.serializer, frame)?, outgoing).await?,
                Incoming::Ping(payload) => reply(outgoing, Outgoing::Pong(payload)).await,
            }
        }
    }

    async fn on_message(&self, message: Message, outgoing: &mpsc::WeakSender<Outgoing>) -> Result<(), Error> {
        match message {
            Message::Event {
                subscription,
                publication,
                details,
                payload,
            } => {
                let (args, kwargs) = values(&payload)?;
                let subscribers = self.lock().subscriptions.get(&subscription).cloned().unwrap_or_default();
                let event = Event {
                    publication,
                    details,
                    args,
                    kwargs,
                };
                for subscriber in subscribers {
                    // A subscription that nobody holds any more wants no events.
                    drop(subscriber.send(event.clone()).await);
                }
            }
            Message::Invocation {
                request,
                registration,
                details,
                payload,
            } => {
                let (args, kwargs) = values(&payload)?;
                let callee = self.lock().registrations.get(&registration).cloned();
                let outgoing = outgoing.upgrade();
                let invocation = Invocation {
                    details,
                    args,
                    kwargs,
                    request,
                    serializer: self.serializer,
                    outgoing,
                };
                // Unheard, the invocation is dropped, which answers its caller.
                if let Some(callee) = callee {
                    drop(callee.send(invocation).await);
                }
            }
            Message::Goodbye { reason, .. } => {
                self.goodbye.notify_waiters();
                if &*reason != "wamp.close.goodbye_and_out" {
                    let echo = Message::Goodbye {
                        details: Dict::new(),
                        reason: Uri::from("wamp.close.goodbye_and_out"),
                    };
                    reply(outgoing, Outgoing::Message(encode(&echo, self.serializer)?)).await;
                    reply(outgoing, Outgoing::Close).await;
                    self.end(Error::Closed {
                        why: format!("the router said goodbye: {reason}"),
                    });
                }
            }
            Message::Abort { details, reason, .. } => return Err(aborted(&details, &reason)),
            Message::Unsubscribed { request: None, .. } | Message::Unregistered { request: None, .. } => {}
            answer => self.on_answer(answer)?,
        }
        Ok(())
    }

    /// Matches an answer to its request. An answer to a request that was given up is dropped.
    fn on_answer(&self, message: Message) -> Result<(), Error> {
        let unexpected = || Error::Protocol {
            why: "it sent a message that no client gets".to_owned(),
        };
        let request = match &message {
            Message::Result { request, .. }
            | Message::Error { request, .. }
            | Message::Published { request, .. }
            | Message::Subscribed { request, .. }
            | Message::Registered { request, .. }
            | Message::Unsubscribed {
                request: Some(request), ..
            }
            | Message::Unregistered {
                request: Some(request), ..
            } => *request,
            _ => return Err(unexpected()),
        };
        let mut state = self.lock();
        let Some(pending) = state.pending.remove(&request) else {
            return Ok(());
        };
        // A requester that has gone away wants no answer: failed sends are dropped.
        match (message, pending) {
            (Message::Error { error, payload, .. }, pending) => {
                let (args, kwargs) = values(&payload)?;
                pending.fail(Error::Refused {
                    error: error.to_string(),
                    args,
                    kwargs,
                });
            }
            (Message::Result { payload, .. }, Pending::Call(answer)) => {
                let (args, kwargs) = values(&payload)?;
                drop(answer.send(Ok(Reply { args, kwargs })));
            }
            (Message::Published { publication, .. }, Pending::Publish(answer)) => drop(answer.send(Ok(publication))),
            (Message::Subscribed { subscription: id, .. }, Pending::Subscribe(answer)) => {
                let (sender, events) = mpsc::channel(self.queue);
                state.subscriptions.entry(id).or_default().push(sender);
                drop(answer.send(Ok(Subscription { id, events })));
            }
            (Message::Registered { registration: id, .. }, Pending::Register(answer)) => {
                let (sender, invocations) = mpsc::channel(self.queue);
                state.registrations.insert(id, sender);
                drop(answer.send(Ok(Registration { id, invocations })));
            }
            (Message::Unsubscribed { .. } | Message::Unregistered { .. }, Pending::Done(answer)) => drop(answer.send(Ok(()))),
            _ => {
                return Err(Error::Protocol {
                    why: "it answered a request with the answer to another".to_owned(),
                });
            }
        }
        Ok(())
    }

    /// Ends everything that waits. The first reason stays.
    fn end(&self, why: Error) {
        self.closed.send_if_modified(|closed| match closed {
            Some(_) => false,
            None => {
                *closed = Some(why);
                true
            }
        });
        self.goodbye.notify_waiters();
        let mut state = self.lock();
        state.ended = true;
        let State {
            pending,
            subscriptions,
            registrations,
            ..
        } = &mut *state;
        subscriptions.clear();
        registrations.clear();
        for (_, pending) in pending.drain() {
            pending.fail(self.closed_error());
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock; if it did, the maps would still be whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pending {
    fn fail(self, error: Error) {
        match self {
            Pending::Call(answer) => drop(answer.send(Err(error))),
            Pending::Publish(answer) => drop(answer.send(Err(error))),
            Pending::Subscribe(answer) => drop(answer.send(Err(error))),
            Pending::Register(answer) => drop(answer.send(Err(error))),
            Pending::Done(answer) => drop(answer.send(Err(error))),
        }
    }
}

async fn reply(outgoing: &mpsc::WeakSender<Outgoing>, what: Outgoing) {
    if let Some(outgoing) = outgoing.upgrade() {
        // The writing side may have ended first, which ends this side too.
        drop(outgoing.send(what).await);
    }
}

fn aborted(details: &Dict, reason: &Uri) -> Error {
    Error::Aborted {
        reason: reason.to_string(),
        message: details.text("message").map(str::to_owned),
    }
}

/// The values as the tail of a message; nothing for nothing.
pub(super) fn payload(serializer: Serializer, args: &[Value], kwargs: &Dict) -> Payload {
    Payload::from_values(serializer, args, kwargs)
}

/// The bytes of a message.
pub(super) fn encode(message: &Message, serializer: Serializer) -> Result<Vec<u8>, Error> {
    let mut frame = Vec::new();
    codec::encode(message, serializer, &mut frame).map_err(|error| Error::Encode { why: error.to_string() })?;
    Ok(frame)
}

fn decode(serializer: Serializer, frame: bytes::Bytes) -> Result<Message, Error> {
    codec::decode(serializer, Frame::Owned(frame), &Limits::default()).map_err(|error| Error::Protocol { why: error.to_string() })
}

fn values(payload: &Payload) -> Result<(Vec<Value>, Dict), Error> {
    payload
        .to_values()
        .map_err(|error| Error::Protocol { why: error.to_string() })
}
