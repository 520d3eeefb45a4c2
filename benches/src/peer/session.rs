//! A WAMP session step by step, for the scenarios about connections and registrations, where [`Connection`](super::Connection)
//! is made for streams of messages.
//!
//! Each step waits for its answer; an ERROR or anything unexpected ends the step with an error that names it. Between the steps
//! [`Session::send`] and [`Session::take`] pass messages as they are. No step has a bound of its own in time.

use anyhow::{Context as _, Result, bail};
use ringfort::wamp::{Dict, Message, Payload, RegistrationId, RequestId, Uri};

use super::{
    Body, Target,
    wamp::{self, Wamp},
};
use crate::wire::Wire;

/// The reason with which sessions leave.
const CLOSE_REALM: &str = "wamp.close.close_realm";

/// A connection on its way through the life of a WAMP session.
pub struct Session {
    wire: Wire,
    wamp: Wamp,
    realm: String,
    ticket: Option<(String, String)>,
    requests: u64,
}

/// How an [echoed](Session::echo) call went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Echo {
    /// The bodies of the invocations that came before the answer; one, unless something is wrong.
    pub invoked: Vec<Body>,
    /// The body of the RESULT.
    pub answered: Body,
}

impl Session {
    /// Connects: socket, TLS where asked for, and the handshake of WebSocket or RawSocket.
    ///
    /// # Errors
    /// When that fails, or `target` speaks no WAMP.
    pub async fn open(target: &Target) -> Result<Self> {
        let Target::Wamp {
            endpoint,
            realm,
            serializer,
            ticket,
        } = target
        else {
            bail!("{} is no WAMP router", target.endpoint().url);
        };
        let (wire, wamp) = wamp::open(endpoint, *serializer, "").await?;
        Ok(Self {
            wire,
            wamp,
            realm: realm.clone(),
            ticket: ticket.clone(),
            requests: 0,
        })
    }

    /// A session that has joined.
    ///
    /// # Errors
    /// As [`Session::open`] and [`Session::join`].
    pub async fn joined(target: &Target) -> Result<Self> {
        let mut session = Self::open(target).await?;
        session.join().await?;
        Ok(session)
    }

    /// HELLO to WELCOME.
    ///
    /// # Errors
    /// When the router does not welcome us.
    pub async fn join(&mut self) -> Result<()> {
        self.wamp.join(&mut self.wire, &self.realm, self.ticket.as_ref()).await
    }

    /// REGISTER to REGISTERED.
    ///
    /// # Errors
    /// When the router answers otherwise.
    pub async fn register(&mut self, procedure: &str) -> Result<RegistrationId> {
        let request = self.next_request()?;
        self.send(&Message::Register {
            request,
            options: Dict::new(),
            procedure: Uri::from(procedure),
        })?;
        match self.receive().await? {
            Message::Registered {
                request: answered,
                registration,
            } if answered == request => Ok(registration),
            other => bail!("expected REGISTERED, got {other:?}"),
        }
    }

    /// Calls `procedure`, which this very session has registered, and answers the invocation with what it brought.
    ///
    /// # Errors
    /// When the router answers by anything but an INVOCATION and a RESULT.
    pub async fn echo(&mut self, procedure: &str, body: &[u8]) -> Result<Echo> {
        let (call, payload) = (self.next_request()?, self.wamp.payload(body)?);
        self.send(&Message::Call {
            request: call,
            options: Dict::new(),
            procedure: Uri::from(procedure),
            payload,
        })?;
        let mut invoked = Vec::new();
        loop {
            match self.receive().await? {
                Message::Invocation { request, payload, .. } => {
                    invoked.push(wamp::body(&payload));
                    let options = Dict::new();
                    self.send(&Message::Yield {
                        request,
                        options,
                        payload,
                    })?;
                }
                Message::Result { request, payload, .. } if request == call => {
                    let answered = wamp::body(&payload);
                    return Ok(Echo { invoked, answered });
                }
                other => bail!("expected an INVOCATION or the RESULT, got {other:?}"),
            }
        }
    }

    /// GOODBYE and its echo; the connection closes when the session is dropped.
    ///
    /// # Errors
    /// When no echo comes. A message that was under way before it is no error.
    pub async fn leave(&mut self) -> Result<()> {
        self.send(&Message::Goodbye {
            details: Dict::new(),
            reason: Uri::from(CLOSE_REALM),
        })?;
        loop {
            if let Message::Goodbye { .. } = self.receive().await? {
                return Ok(());
            }
        }
    }

    /// A ping of the transport and its pong.
    ///
    /// # Errors
    /// When the connection ends or something else than the pong comes.
    pub async fn ping(&mut self) -> Result<()> {
        self.wamp.ping(&mut self.wire).await
    }

    /// The next request id of this session.
    ///
    /// # Errors
    /// After 2^53 requests.
    pub fn next_request(&mut self) -> Result<RequestId> {
        self.requests += 1;
        RequestId::new(self.requests).context("the session has used up its request ids")
    }

    /// Appends `message` to what is written at the next [turn](Session::turn).
    ///
    /// # Errors
    /// When it cannot be encoded.
    pub fn send(&mut self, message: &Message) -> Result<()> {
        self.wamp.send(&mut self.wire, message)
    }

    /// The next message that has come.
    ///
    /// # Errors
    /// When it is none.
    pub fn take(&mut self) -> Result<Option<Message>> {
        self.wamp.decode_next(&mut self.wire)
    }

    /// See [`Wire::turn`]. Cancel safe.
    ///
    /// # Errors
    /// When the connection ends.
    pub async fn turn(&mut self) -> Result<()> {
        Ok(self.wire.turn().await?)
    }

    /// See [`Wire::flush`]. Cancel safe.
    ///
    /// # Errors
    /// When the connection ends.
    pub async fn flush(&mut self) -> Result<()> {
        Ok(self.wire.flush().await?)
    }

    /// A payload of one text, as this session writes it.
    ///
    /// # Errors
    /// When it cannot be encoded.
    pub fn payload(&mut self, text: &str) -> Result<Payload> {
        self.wamp.payload(text.as_bytes())
    }

    /// The next message, whatever it is.
    ///
    /// # Errors
    /// When the connection ends, or what comes is no WAMP message.
    pub async fn receive(&mut self) -> Result<Message> {
        self.wamp.receive(&mut self.wire).await
    }
}
