//! The peers a load is made of: one connection in one role, speaking WAMP, NATS or a floor's bare framing.
//!
//! The loops in [`crate::load`] are written once against [`Connection`], so every target gets the same load shape: the same
//! windows, the same batches of writes, the same payloads. A protocol turns bytes into [`Incoming`] and answers invocations
//! itself, by echoing the payload.

pub mod floor;
mod framing;
pub mod nats;
pub mod session;
pub mod wamp;

use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::{
    tag::Tag,
    wire::{Endpoint, Wire},
};

/// What a connection does in a run.
#[derive(Clone, Debug)]
pub enum Role {
    /// Calls `procedure`.
    Caller {
        /// Number within the run, from 0.
        index: u32,
        /// What to call.
        procedure: String,
    },
    /// Answers `procedure` by echoing.
    Callee {
        /// Number within the run, from 0.
        index: u32,
        /// What to answer.
        procedure: String,
        /// WAMP's invocation policy, for procedures with several callees.
        invoke: Option<String>,
    },
    /// Publishes to `topic`.
    Publisher {
        /// Number within the run, from 0.
        index: u32,
        /// Where to.
        topic: String,
    },
    /// Receives `topic`.
    Subscriber {
        /// Number within the run, from 0.
        index: u32,
        /// What.
        topic: String,
    },
}

/// What a payload said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Body {
    /// Its tag, unless it is damaged.
    pub tag: Option<Tag>,
    /// Its length.
    pub len: usize,
}

impl Body {
    /// Reads the tag of a payload.
    pub fn of(payload: &[u8]) -> Self {
        Self {
            tag: Tag::read(payload),
            len: payload.len(),
        }
    }
}

/// What came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incoming {
    /// A call reached this callee; the echo is already in the output.
    Invoked(Body),
    /// The call or publication number `sequence` of this connection succeeded.
    Answered {
        /// As given to [`Protocol::call`].
        sequence: u64,
        /// The echo.
        body: Body,
    },
    /// It failed.
    Failed {
        /// As given to [`Protocol::call`] or [`Protocol::publish`].
        sequence: u64,
        /// The error's URI or text.
        reason: String,
    },
    /// An event reached this subscriber.
    Event(Body),
    /// The publication was acknowledged.
    Acknowledged {
        /// As given to [`Protocol::publish`].
        sequence: u64,
    },
}

/// Whether a publication asks for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acknowledge {
    /// Yes: [`Incoming::Acknowledged`] follows.
    Yes,
    /// No.
    No,
}

/// One protocol on one connection. Sequences given to `call` and `publish` count up from 0 without gaps.
pub trait Protocol: Send {
    /// Appends a call with `body` to the output.
    ///
    /// # Errors
    /// When the message cannot be encoded or the protocol has no such thing.
    fn call(&mut self, wire: &mut Wire, sequence: u64, body: &[u8]) -> Result<()>;

    /// Appends a publication to the output.
    ///
    /// # Errors
    /// When the message cannot be encoded or the protocol has no such thing.
    fn publish(&mut self, wire: &mut Wire, sequence: u64, body: &[u8], acknowledge: Acknowledge) -> Result<()>;

    /// Takes the next thing of interest out of the input, answering pings and invocations on the way.
    ///
    /// # Errors
    /// When the peer breaks the protocol or ends the session.
    fn take(&mut self, wire: &mut Wire) -> Result<Option<Incoming>>;
}

/// A peer of the run, ready to work.
pub struct Connection {
    wire: Wire,
    protocol: Box<dyn Protocol>,
}

impl Connection {
    /// Joins a connected wire and its protocol.
    pub fn new(wire: Wire, protocol: Box<dyn Protocol>) -> Self {
        Self { wire, protocol }
    }

    /// See [`Protocol::call`].
    pub fn call(&mut self, sequence: u64, body: &[u8]) -> Result<()> {
        self.protocol.call(&mut self.wire, sequence, body)
    }

    /// See [`Protocol::publish`].
    pub fn publish(&mut self, sequence: u64, body: &[u8], acknowledge: Acknowledge) -> Result<()> {
        self.protocol.publish(&mut self.wire, sequence, body, acknowledge)
    }

    /// See [`Protocol::take`].
    pub fn take(&mut self) -> Result<Option<Incoming>> {
        self.protocol.take(&mut self.wire)
    }

    /// See [`Wire::turn`].
    pub async fn turn(&mut self) -> Result<()> {
        Ok(self.wire.turn().await?)
    }

    /// See [`Wire::flush`].
    pub async fn flush(&mut self) -> Result<()> {
        Ok(self.wire.flush().await?)
    }

    /// See [`Wire::slim`].
    pub fn slim(&mut self) {
        self.wire.slim();
    }

    /// See [`Wire::is_congested`].
    pub fn is_congested(&self) -> bool {
        self.wire.is_congested()
    }
}

/// How to reach a target and what to speak there.
#[derive(Clone, Debug)]
pub enum Target {
    /// A WAMP router.
    Wamp {
        /// Where.
        endpoint: Endpoint,
        /// The realm to join.
        realm: String,
        /// How messages are written.
        serializer: ringfort::wamp::Serializer,
        /// `authid` and secret for ticket authentication; anonymous otherwise.
        ticket: Option<(String, String)>,
    },
    /// A NATS server.
    Nats {
        /// Where.
        endpoint: Endpoint,
    },
    /// One of [`crate::floor`]'s relays.
    Floor {
        /// Where; the scheme decides the framing.
        endpoint: Endpoint,
    },
}

/// Time for connecting and joining; generous, since hundreds join at once.
const SETUP_TIMEOUT: Duration = Duration::from_secs(30);

/// Bounds a step of a session that has no other bound.
///
/// # Errors
/// The step's own, or that it takes more than 30 s.
pub(crate) async fn within<T>(what: &str, step: impl Future<Output = Result<T>>) -> Result<T> {
    let ended = tokio::time::timeout(SETUP_TIMEOUT, Box::pin(step)).await;
    ended
        .with_context(|| format!("cannot {what} within 30 s"))?
        .with_context(|| format!("cannot {what}"))
}

impl Target {
    /// Connects, and goes as far as the role needs to take part: joined, registered, subscribed.
    ///
    /// # Errors
    /// When that fails or takes more than 30 s.
    pub async fn connect(&self, role: &Role) -> Result<Connection> {
        let joining = async {
            match self {
                Target::Wamp {
                    endpoint,
                    realm,
                    serializer,
                    ticket,
                } => wamp::connect(endpoint, realm, *serializer, ticket.as_ref(), role).await,
                Target::Nats { endpoint } => nats::connect(endpoint, role).await,
                Target::Floor { endpoint } => floor::connect(endpoint, role).await,
            }
        };
        let joined = tokio::time::timeout(SETUP_TIMEOUT, Box::pin(joining)).await;
        joined.with_context(|| format!("{} did not let us in within 30 s", self.endpoint().url))?
    }

    /// Connects and goes no further than being let in: joined to the realm, greeted by NATS, upgraded at a floor.
    ///
    /// # Errors
    /// When that fails or takes more than 30 s.
    pub async fn enter(&self) -> Result<Connection> {
        if let Target::Floor { endpoint } = self {
            let entering = tokio::time::timeout(SETUP_TIMEOUT, Box::pin(floor::enter(endpoint))).await;
            return entering.with_context(|| format!("{} did not let us in within 30 s", endpoint.url))?;
        }
        let (index, topic) = (0, String::new());
        self.connect(&Role::Publisher { index, topic }).await
    }

    /// The same target, reached from the local address `source`.
    pub fn from_source(&self, source: std::net::IpAddr) -> Self {
        let mut target = self.clone();
        let (Target::Wamp { endpoint, .. } | Target::Nats { endpoint } | Target::Floor { endpoint }) = &mut target;
        *endpoint = endpoint.clone().from_source(source);
        target
    }

    /// How long to wait between the last subscription and the first message. Servers of a NATS cluster tell each other what
    /// is subscribed some time after they confirm it; WAMP's REGISTERED and SUBSCRIBED must mean what they say.
    pub fn settling(&self) -> Duration {
        match self {
            Target::Nats { .. } => Duration::from_millis(500),
            Target::Wamp { .. } | Target::Floor { .. } => Duration::ZERO,
        }
    }

    /// The address.
    pub fn endpoint(&self) -> &Endpoint {
        match self {
            Target::Wamp { endpoint, .. } | Target::Nats { endpoint } | Target::Floor { endpoint } => endpoint,
        }
    }
}
