//! A WAMP client: what the command line, the demo's lamp and the tests speak to a router with.
//!
//! Owns: connecting to any WAMP router over WebSocket or RawSocket, with and without TLS; the client's side of the handshake; the
//! matching of answers to requests. Knows the wire ([`crate::wamp`]) and nothing of Ringfort's own router. Every queue is bounded,
//! and nothing that arrives is dropped: whoever leaves a [`Subscription`] or [`Registration`] unread for long stops the client's
//! reading, and with it the answers it waits for.
//!
//! Start reading at [`Client`], then [`session`].

mod error;
mod options;
mod rawsocket;
mod session;
mod tls;
mod transport;

#[cfg(test)]
pub(crate) mod tests;

use std::{sync::Arc, time::Duration};

use tokio::sync::{mpsc, oneshot};

use self::session::{Pending, Shared};
use crate::wamp::{
    Dict, Message, Payload, PublicationId, RegistrationId, RequestId, Serializer, SessionId, SubscriptionId, Uri, Value,
};

pub use error::Error;
pub use options::{Auth, Options, Scheme, Ticket, Trust, Url};

/// One session with a router. Clones share it; it ends with [`Client::leave`] or when the last clone is dropped.
#[derive(Clone)]
pub struct Client {
    outgoing: mpsc::Sender<Outgoing>,
    shared: Arc<Shared>,
    timeout: Duration,
}

/// What is sent to the router.
#[derive(Debug)]
enum Outgoing {
    /// An encoded WAMP message.
    Message(Vec<u8>),
    /// The answer to a RawSocket PING.
    Pong(bytes::Bytes),
    /// The end of the connection.
    Close,
}

/// What comes back for a call, and what a callee gives back.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reply {
    /// Positional values.
    pub args: Vec<Value>,
    /// Named values.
    pub kwargs: Dict,
}

/// Something that was published.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// The publication.
    pub publication: PublicationId,
    /// The router's details, such as the publisher where it is disclosed.
    pub details: Dict,
    /// Positional values.
    pub args: Vec<Value>,
    /// Named values.
    pub kwargs: Dict,
}

/// Events of one topic, in the order in which the router sent them.
pub struct Subscription {
    id: SubscriptionId,
    events: mpsc::Receiver<Event>,
}

/// Invocations of one procedure, in the order in which the router sent them.
pub struct Registration {
    id: RegistrationId,
    invocations: mpsc::Receiver<Invocation>,
}

/// A call to answer: with [`Invocation::reply`] or [`Invocation::fail`]. Dropped unanswered, its caller gets an ERROR.
#[derive(Debug)]
pub struct Invocation {
    /// The router's details, such as the caller where it is disclosed.
    pub details: Dict,
    /// Positional values.
    pub args: Vec<Value>,
    /// Named values.
    pub kwargs: Dict,
    request: RequestId,
    serializer: Serializer,
    outgoing: Option<mpsc::Sender<Outgoing>>,
}

impl Client {
    /// Connects and joins the realm.
    ///
    /// # Errors
    /// The router cannot be reached, is none, or refuses the session; nothing stays open then.
    pub async fn connect(options: Options) -> Result<Self, Error> {
        let deadline = options.timeout;
        let joined = Box::pin(session::join(options));
        tokio::time::timeout(deadline, joined).await.unwrap_or(Err(Error::Timeout {
            what: "WELCOME",
            after: deadline,
        }))
    }

    /// The session's id.
    pub fn session(&self) -> SessionId {
        self.shared.session
    }

    /// The router's details in WELCOME: its roles and features, and who this session is.
    pub fn welcome(&self) -> &Dict {
        &self.shared.welcome
    }

    /// Calls a procedure and waits for its result.
    ///
    /// # Errors
    /// [`Error::Refused`] is the ERROR of the router or the callee. After [`Error::Timeout`] and [`Error::Closed`] the outcome is unknown.
    pub async fn call(&self, procedure: &str, args: &[Value], kwargs: &Dict) -> Result<Reply, Error> {
        let payload = self.payload(args, kwargs);
        let procedure = Uri::from(procedure);
        let call = |request| Message::Call {
            request,
            options: Dict::new(),
            procedure,
            payload,
        };
        self.request("RESULT", call, Pending::Call).await
    }

    /// Publishes, and waits until the router has acknowledged it.
    ///
    /// # Errors
    /// [`Error::Refused`] when the router does not let it through. After [`Error::Timeout`] and [`Error::Closed`] the outcome is unknown.
    pub async fn publish(&self, topic: &str, args: &[Value], kwargs: &Dict) -> Result<PublicationId, Error> {
        let payload = self.payload(args, kwargs);
        let topic = Uri::from(topic);
        let options = Dict::new().with("acknowledge", true);
        self.request(
            "PUBLISHED",
            |request| Message::Publish {
                request,
                options,
                topic,
                payload,
            },
            Pending::Publish,
        )
        .await
    }

    /// Publishes without an acknowledgement; a refusal is heard by nobody.
    ///
    /// # Errors
    /// The session has ended, or the message is too large for the router.
    pub async fn publish_unacknowledged(&self, topic: &str, args: &[Value], kwargs: &Dict) -> Result<(), Error> {
        let payload = self.payload(args, kwargs);
        let topic = Uri::from(topic);
        self.send(
            |request| Message::Publish {
                request,
                options: Dict::new(),
                topic,
                payload,
            },
            None,
        )
        .await
        .map(drop)
    }

    /// Subscribes to a topic. Every event that the router sends after SUBSCRIBED is in the subscription.
    ///
    /// # Errors
    /// [`Error::Refused`] when the router does not let it.
    pub async fn subscribe(&self, topic: &str) -> Result<Subscription, Error> {
        let topic = Uri::from(topic);
        self.request(
            "SUBSCRIBED",
            |request| Message::Subscribe {
                request,
                options: Dict::new(),
                topic,
            },
            Pending::Subscribe,
        )
        .await
    }

    /// Ends a subscription; other subscriptions of this client to the same topic go on.
    ///
    /// # Errors
    /// [`Error::Refused`] when the router no longer knows it.
    pub async fn unsubscribe(&self, mut subscription: Subscription) -> Result<(), Error> {
        subscription.events.close();
        if !self.shared.forget_subscription(subscription.id) {
            return Ok(());
        }
        let subscription = subscription.id;
        self.request(
            "UNSUBSCRIBED",
            |request| Message::Unsubscribe { request, subscription },
            Pending::Done,
        )
        .await
    }

    /// Registers a procedure. Every invocation that the router sends after REGISTERED is in the registration.
    ///
    /// # Errors
    /// [`Error::Refused`] when the procedure is taken or the router does not let it.
    pub async fn register(&self, procedure: &str) -> Result<Registration, Error> {
        let procedure = Uri::from(procedure);
        self.request(
            "REGISTERED",
            |request| Message::Register {
                request,
                options: Dict::new(),
                procedure,
            },
            Pending::Register,
        )
        .await
    }

    /// Ends a registration. Invocations that wait in it are answered with an ERROR.
    ///
    /// # Errors
    /// [`Error::Refused`] when the router no longer knows it.
    pub async fn unregister(&self, registration: Registration) -> Result<(), Error> {
        let id = registration.id;
        let done = self
            .request(
                "UNREGISTERED",
                |request| Message::Unregister {
                    request,
                    registration: id,
                },
                Pending::Done,
            )
            .await;
        self.shared.forget_registration(id);
        drop(registration);
        done
    }

    /// Says goodbye, waits for the router's, and closes the connection.
    ///
    /// # Errors
    /// [`Error::Timeout`] when the router did not answer; the connection is closed all the same.
    pub async fn leave(&self) -> Result<(), Error> {
        let goodbye = Message::Goodbye {
            details: Dict::new(),
            reason: Uri::from("wamp.close.close_realm"),
        };
        let answered = self.shared.expect_goodbye();
        let frame = self.shared.encode(&goodbye)?;
        self.outgoing
            .send(Outgoing::Message(frame))
            .await
            .map_err(|_| self.shared.closed_error())?;
        let heard = tokio::time::timeout(self.timeout, answered).await;
        // The session may be gone already, which is what closing is for.
        drop(self.outgoing.send(Outgoing::Close).await);
        if tokio::time::timeout(self.timeout, self.closed()).await.is_err() || heard.is_err() {
            return Err(Error::Timeout {
                what: "GOODBYE",
                after: self.timeout,
            });
        }
        Ok(())
    }

    /// Waits until the session has ended, and tells why.
    pub async fn closed(&self) -> Error {
        self.shared.wait_closed().await;
        self.shared.closed_error()
    }

    fn payload(&self, args: &[Value], kwargs: &Dict) -> Payload {
        session::payload(self.shared.serializer, args, kwargs)
    }

    /// Sends a request and waits for its answer.
    async fn request<T>(
        &self,
        what: &'static str,
        message: impl FnOnce(RequestId) -> Message,
        pending: impl FnOnce(oneshot::Sender<Result<T, Error>>) -> Pending,
    ) -> Result<T, Error> {
        let (answer, answered) = oneshot::channel();
        let request = self.send(message, Some(pending(answer))).await?;
        match tokio::time::timeout(self.timeout, answered).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(self.shared.closed_error()),
            Err(_) => {
                self.shared.forget_request(request);
                Err(Error::Timeout {
                    what,
                    after: self.timeout,
                })
            }
        }
    }

    /// Draws the next request id and enqueues the message in the same breath, so that ids are in order on the wire.
    async fn send(&self, message: impl FnOnce(RequestId) -> Message, pending: Option<Pending>) -> Result<RequestId, Error> {
        let permit = self.outgoing.reserve().await.map_err(|_| self.shared.closed_error())?;
        self.shared
            .start(message, pending, |frame| permit.send(Outgoing::Message(frame)))
    }
}

impl Subscription {
    /// The subscription's id.
    pub fn id(&self) -> SubscriptionId {
        self.id
    }

    /// The next event; `None` when the session or the subscription has ended.
    pub async fn next(&mut self) -> Option<Event> {
        self.events.recv().await
    }
}

impl Registration {
    /// The registration's id.
    pub fn id(&self) -> RegistrationId {
        self.id
    }

    /// The next invocation; `None` when the session or the registration has ended.
    pub async fn next(&mut self) -> Option<Invocation> {
        self.invocations.recv().await
    }

    /// Answers every invocation with what `handler` makes of it, one after the other, until the registration ends.
    pub async fn serve<F, R>(&mut self, mut handler: F)
    where
        F: FnMut(Vec<Value>, Dict) -> R,
        R: Future<Output = Result<Reply, Failure>>,
    {
        while let Some(mut invocation) = self.next().await {
            let (args, kwargs) = (std::mem::take(&mut invocation.args), std::mem::take(&mut invocation.kwargs));
            match handler(args, kwargs).await {
                Ok(reply) => invocation.reply(&reply).await,
                Err(failure) => invocation.fail(&failure).await,
            }
        }
    }
}

/// Why a callee cannot answer: the ERROR its caller gets.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    /// The error's URI.
    pub error: String,
    /// A sentence for the reader.
    pub message: String,
}

impl Invocation {
    /// Gives the result to the caller.
    pub async fn reply(mut self, reply: &Reply) {
        let payload = session::payload(self.serializer, &reply.args, &reply.kwargs);
        let message = Message::Yield {
            request: self.request,
            options: Dict::new(),
            payload,
        };
        self.answer(&message).await;
    }

    /// Gives an ERROR to the caller.
    pub async fn fail(mut self, failure: &Failure) {
        let message = error_message(self.request, self.serializer, &failure.error, &failure.message);
        self.answer(&message).await;
    }

    async fn answer(&mut self, message: &Message) {
        let Some(outgoing) = self.outgoing.take() else { return };
        let frame = session::encode(message, self.serializer).or_else(|error| {
            let failed = error_message(
                self.request,
                self.serializer,
                "wamp.error.invalid_argument",
                &error.to_string(),
            );
            session::encode(&failed, self.serializer)
        });
        if let Ok(frame) = frame {
            // A session that has ended has no caller to answer.
            drop(outgoing.send(Outgoing::Message(frame)).await);
        }
    }
}

impl Drop for Invocation {
    fn drop(&mut self) {
        let Some(outgoing) = self.outgoing.take() else { return };
        let message = error_message(
            self.request,
            self.serializer,
            "wamp.error.canceled",
            "the callee dropped the invocation",
        );
        if let Ok(frame) = session::encode(&message, self.serializer) {
            // With a full queue the caller is left to its own timeout.
            drop(outgoing.try_send(Outgoing::Message(frame)));
        }
    }
}

fn error_message(request: RequestId, serializer: Serializer, error: &str, text: &str) -> Message {
    let payload = session::payload(serializer, &[Value::from(text)], &Dict::new());
    let request_type = crate::wamp::message::code::INVOCATION;
    Message::Error {
        request_type,
        request,
        details: Dict::new(),
        error: Uri::from(error),
        payload,
    }
}
