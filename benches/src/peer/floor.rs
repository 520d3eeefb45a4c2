//! The client of the floors' relays: the same load without WAMP. See [`crate::floor`] for the frames.

use anyhow::{Result, bail};

use super::{Acknowledge, Body, Connection, Incoming, Protocol, Role, framing::Framing};
use crate::{
    floor::frame::{self, Kind},
    wire::{Endpoint, Transport, Wire},
};

/// Connects and upgrades to WebSocket, no more: what a floor's accepting costs. Plain TCP has no upgrade; there a publisher's
/// hello and the nod stand for it.
pub(super) async fn enter(endpoint: &Endpoint) -> Result<Connection> {
    if endpoint.transport != Transport::WebSocket {
        let (index, topic) = (0, String::new());
        return connect(endpoint, &Role::Publisher { index, topic }).await;
    }
    let (wire, framing) = Framing::websocket(endpoint, endpoint.dial().await?, None).await?;
    let floor = Floor {
        framing,
        peer: 0,
        scratch: Vec::new(),
    };
    Ok(Connection::new(wire, Box::new(floor)))
}

/// Connects, says which role this is and waits for the relay's nod.
pub(super) async fn connect(endpoint: &Endpoint, role: &Role) -> Result<Connection> {
    let io = endpoint.dial().await?;
    let (mut wire, mut framing) = match endpoint.transport {
        Transport::WebSocket => Framing::websocket(endpoint, io, None).await?,
        Transport::RawSocket => (Wire::new(io), Framing::Prefixed),
        Transport::Nats => bail!("{} is not a floor", endpoint.url),
    };
    let (kind, peer) = match role {
        Role::Caller { index, .. } => (Kind::Caller, *index),
        Role::Callee { index, .. } => (Kind::Callee, *index),
        Role::Publisher { index, .. } => (Kind::Publisher, *index),
        Role::Subscriber { index, .. } => (Kind::Subscriber, *index),
    };
    framing.put(&mut wire, &frame::head(kind, peer, 0))?;
    let mut floor = Floor {
        framing,
        peer,
        scratch: Vec::new(),
    };
    loop {
        if let Some(taken) = floor.framing.take(&mut wire)? {
            taken.done(&mut wire);
            return Ok(Connection::new(wire, Box::new(floor)));
        }
        wire.turn().await?;
    }
}

struct Floor {
    framing: Framing,
    peer: u32,
    scratch: Vec<u8>,
}

impl Floor {
    fn send(&mut self, wire: &mut Wire, kind: Kind, peer: u32, sequence: u64, body: &[u8]) -> Result<()> {
        self.scratch.clear();
        self.scratch.extend_from_slice(&frame::head(kind, peer, sequence));
        self.scratch.extend_from_slice(body);
        self.framing.put(wire, &self.scratch)
    }
}

impl Protocol for Floor {
    fn call(&mut self, wire: &mut Wire, sequence: u64, body: &[u8]) -> Result<()> {
        self.send(wire, Kind::Call, self.peer, sequence, body)
    }

    fn publish(&mut self, wire: &mut Wire, sequence: u64, body: &[u8], acknowledge: Acknowledge) -> Result<()> {
        if acknowledge == Acknowledge::Yes {
            bail!("the floors do not acknowledge publications");
        }
        self.send(wire, Kind::Event, self.peer, sequence, body)
    }

    fn take(&mut self, wire: &mut Wire) -> Result<Option<Incoming>> {
        let Some(taken) = self.framing.take(wire)? else {
            return Ok(None);
        };
        let message = self.framing.message(wire, &taken);
        let Some((kind, peer, sequence, body)) = frame::read(message) else {
            bail!("the relay sent {} bytes without a head", message.len());
        };
        let incoming = match kind {
            Kind::Call => {
                self.scratch.clear();
                self.scratch.extend_from_slice(&frame::head(Kind::Answer, peer, sequence));
                self.scratch.extend_from_slice(body);
                let body = Body::of(body);
                self.framing.put(wire, &self.scratch)?;
                Incoming::Invoked(body)
            }
            Kind::Answer => Incoming::Answered {
                sequence,
                body: Body::of(body),
            },
            Kind::Event => Incoming::Event(Body::of(body)),
            other => bail!("the relay sent a {other:?}"),
        };
        taken.done(wire);
        Ok(Some(incoming))
    }
}
