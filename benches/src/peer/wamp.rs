//! A lean WAMP peer on WebSocket or RawSocket: joins, registers or subscribes, then echoes, calls, publishes or listens.
//!
//! The payload of a load message is one text argument, the tagged body. It is spliced from a template, since nothing but the tag
//! changes, and read without building values whenever the router passed it on in its usual form.

use std::ops::Range;

use anyhow::{Context as _, Result, bail};
use ringfort::wamp::{
    Dict, Message, Payload, RequestId, Serializer, Uri, Value,
    codec::{self, Frame, Limits},
};

use super::{
    Acknowledge, Body, Connection, Incoming, Protocol, Role,
    framing::{Framing, Taken},
};
use crate::wire::{Endpoint, Transport, Wire};

/// Connects, joins `realm` and makes the role ready.
pub(super) async fn connect(
    endpoint: &Endpoint,
    realm: &str,
    serializer: Serializer,
    ticket: Option<&(String, String)>,
    role: &Role,
) -> Result<Connection> {
    let uri = match role {
        Role::Caller { procedure: uri, .. } | Role::Callee { procedure: uri, .. } => uri,
        Role::Publisher { topic: uri, .. } | Role::Subscriber { topic: uri, .. } => uri,
    };
    let (mut wire, mut wamp) = open(endpoint, serializer, uri).await?;
    wamp.join(&mut wire, realm, ticket).await?;
    wamp.take_role(&mut wire, role).await?;
    Ok(Connection::new(wire, Box::new(wamp)))
}

/// Connects as far as the transport's handshake; `uri` is what the peer will call, answer, publish or listen to.
pub(super) async fn open(endpoint: &Endpoint, serializer: Serializer, uri: &str) -> Result<(Wire, Wamp)> {
    let (subprotocol, number) = match serializer {
        Serializer::Json => ("wamp.2.json", 1),
        Serializer::MsgPack => ("wamp.2.msgpack", 2),
        Serializer::Cbor => ("wamp.2.cbor", 3),
    };
    let io = endpoint.dial().await?;
    let (wire, framing) = match endpoint.transport {
        Transport::WebSocket => Framing::websocket(endpoint, io, Some(subprotocol)).await?,
        Transport::RawSocket => Framing::rawsocket(endpoint, io, number).await?,
        Transport::Nats => bail!("{} is not a WAMP router", endpoint.url),
    };
    let template = Template {
        serializer,
        bytes: Vec::new(),
        place: 0..0,
    };
    let wamp = Wamp {
        framing,
        serializer,
        limits: Limits::default(),
        uri: Uri::from(uri),
        template,
        scratch: Vec::new(),
    };
    Ok((wire, wamp))
}

/// The state of one session beside its wire.
pub(super) struct Wamp {
    framing: Framing,
    serializer: Serializer,
    limits: Limits,
    /// The procedure or topic.
    uri: Uri,
    template: Template,
    scratch: Vec<u8>,
}

impl Wamp {
    pub(super) async fn join(&mut self, wire: &mut Wire, realm: &str, ticket: Option<&(String, String)>) -> Result<()> {
        let mut roles = Dict::new();
        for role in ["caller", "callee", "publisher", "subscriber"] {
            roles.set(role, Dict::new());
        }
        let method = if ticket.is_some() { "ticket" } else { "anonymous" };
        let mut details = Dict::new().with("roles", roles).with("agent", "ringfort-bench");
        details.set("authmethods", vec![Value::from(method)]);
        if let Some((authid, _)) = ticket {
            details.set("authid", authid.as_str());
        }
        self.send(
            wire,
            &Message::Hello {
                realm: realm.into(),
                details,
            },
        )?;
        loop {
            match (self.receive(wire).await?, ticket) {
                (Message::Welcome { .. }, _) => return Ok(()),
                (Message::Challenge { method, .. }, Some((_, secret))) if method == "ticket" => {
                    let signature = secret.clone();
                    self.send(
                        wire,
                        &Message::Authenticate {
                            signature,
                            extra: Dict::new(),
                        },
                    )?;
                }
                (other, _) => bail!("expected WELCOME, got {other:?}"),
            }
        }
    }

    async fn take_role(&mut self, wire: &mut Wire, role: &Role) -> Result<()> {
        let request = RequestId::new(1).context("1 is an id")?;
        match role {
            Role::Caller { .. } | Role::Publisher { .. } => Ok(()),
            Role::Callee { invoke, .. } => {
                let options = invoke
                    .iter()
                    .fold(Dict::new(), |options, policy| options.with("invoke", policy.as_str()));
                self.send(
                    wire,
                    &Message::Register {
                        request,
                        options,
                        procedure: self.uri.clone(),
                    },
                )?;
                match self.receive(wire).await? {
                    Message::Registered { .. } => Ok(()),
                    other => bail!("expected REGISTERED, got {other:?}"),
                }
            }
            Role::Subscriber { .. } => {
                self.send(
                    wire,
                    &Message::Subscribe {
                        request,
                        options: Dict::new(),
                        topic: self.uri.clone(),
                    },
                )?;
                match self.receive(wire).await? {
                    Message::Subscribed { .. } => Ok(()),
                    other => bail!("expected SUBSCRIBED, got {other:?}"),
                }
            }
        }
    }

    pub(super) fn send(&mut self, wire: &mut Wire, message: &Message) -> Result<()> {
        self.scratch.clear();
        codec::encode(message, self.serializer, &mut self.scratch)?;
        self.framing.put(wire, &self.scratch)
    }

    pub(super) async fn receive(&mut self, wire: &mut Wire) -> Result<Message> {
        loop {
            if let Some(message) = self.decode_next(wire)? {
                return Ok(message);
            }
            wire.turn().await?;
        }
    }

    pub(super) fn decode_next(&mut self, wire: &mut Wire) -> Result<Option<Message>> {
        let Some(taken) = self.framing.take(wire)? else {
            return Ok(None);
        };
        let message = self.decode(wire, &taken)?;
        taken.done(wire);
        Ok(Some(message))
    }

    /// A round trip of the transport alone; what else comes meanwhile is an error, since nothing was asked for.
    pub(super) async fn ping(&mut self, wire: &mut Wire) -> Result<()> {
        let before = self.framing.pongs();
        self.framing.ping(wire)?;
        loop {
            if let Some(message) = self.decode_next(wire)? {
                bail!("expected a pong, got {message:?}");
            }
            if self.framing.pongs() > before {
                return Ok(());
            }
            wire.turn().await?;
        }
    }

    /// The payload that carries `body`.
    pub(super) fn payload(&mut self, body: &[u8]) -> Result<Payload> {
        self.template.fill(body)
    }

    fn decode(&mut self, wire: &mut Wire, taken: &Taken) -> Result<Message> {
        let bytes = self.framing.message(wire, taken);
        Ok(codec::decode(self.serializer, Frame::Borrowed(bytes), &self.limits)?)
    }
}

impl Protocol for Wamp {
    fn call(&mut self, wire: &mut Wire, sequence: u64, body: &[u8]) -> Result<()> {
        let (request, payload) = (request(sequence)?, self.template.fill(body)?);
        let call = Message::Call {
            request,
            options: Dict::new(),
            procedure: self.uri.clone(),
            payload,
        };
        self.send(wire, &call)
    }

    fn publish(&mut self, wire: &mut Wire, sequence: u64, body: &[u8], acknowledge: Acknowledge) -> Result<()> {
        let (request, payload) = (request(sequence)?, self.template.fill(body)?);
        let options = match acknowledge {
            Acknowledge::Yes => Dict::new().with("acknowledge", true),
            Acknowledge::No => Dict::new(),
        };
        self.send(
            wire,
            &Message::Publish {
                request,
                options,
                topic: self.uri.clone(),
                payload,
            },
        )
    }

    fn take(&mut self, wire: &mut Wire) -> Result<Option<Incoming>> {
        let Some(message) = self.decode_next(wire)? else {
            return Ok(None);
        };
        Ok(Some(match message {
            Message::Invocation { request, payload, .. } => {
                let body = body(&payload);
                self.send(
                    wire,
                    &Message::Yield {
                        request,
                        options: Dict::new(),
                        payload,
                    },
                )?;
                Incoming::Invoked(body)
            }
            Message::Result { request, payload, .. } => Incoming::Answered {
                sequence: request.get() - 1,
                body: body(&payload),
            },
            Message::Error { request, error, .. } => Incoming::Failed {
                sequence: request.get() - 1,
                reason: error.as_str().to_owned(),
            },
            Message::Event { payload, .. } => Incoming::Event(body(&payload)),
            Message::Published { request, .. } => Incoming::Acknowledged {
                sequence: request.get() - 1,
            },
            other => bail!("the router sent {other:?}"),
        }))
    }
}

/// Request ids begin at 1 and grow by 1; load connections make no other requests before.
fn request(sequence: u64) -> Result<RequestId> {
    RequestId::new(sequence + 1).context("the session has used up its request ids")
}

/// The payload's bytes with room for the body.
struct Template {
    serializer: Serializer,
    bytes: Vec<u8>,
    place: Range<usize>,
}

impl Template {
    fn fill(&mut self, body: &[u8]) -> Result<Payload> {
        if self.place.len() != body.len() {
            let text = "x".repeat(body.len());
            let payload = Payload::from_values(self.serializer, &[Value::Text(text)], &Dict::new());
            self.bytes = payload.bytes().to_vec();
            self.place = text_place(self.serializer, &self.bytes).context("our own payload is not what we read")?;
        }
        let mut bytes = self.bytes.clone();
        bytes[self.place.clone()].copy_from_slice(body);
        Ok(Payload::from_proven(self.serializer, 1, bytes.into()))
    }
}

/// The body inside a payload of one text.
pub(super) fn body(payload: &Payload) -> Body {
    if let Some(place) = text_place(payload.serializer(), payload.bytes()) {
        return Body::of(&payload.bytes()[place]);
    }
    match payload.to_values() {
        Ok((args, _)) => Body::of(args.first().and_then(Value::as_text).unwrap_or_default().as_bytes()),
        Err(_) => Body {
            tag: None,
            len: payload.bytes().len(),
        },
    }
}

/// Where the text lies in `[text]`; `None` for anything else, escapes in JSON included.
fn text_place(serializer: Serializer, bytes: &[u8]) -> Option<Range<usize>> {
    let (head, len) = match (serializer, bytes) {
        (Serializer::Json, [b'[', b'"', text @ .., b'"', b']']) => {
            return (!text.iter().any(|b| matches!(b, b'"' | b'\\'))).then_some(2..2 + text.len());
        }
        (Serializer::MsgPack, [0x91, len @ 0xa0..=0xbf, ..]) => (2, usize::from(len & 0x1f)),
        (Serializer::MsgPack, [0x91, 0xd9, a, ..]) | (Serializer::Cbor, [0x81, 0x78, a, ..]) => (3, usize::from(*a)),
        (Serializer::MsgPack, [0x91, 0xda, a, b, ..]) | (Serializer::Cbor, [0x81, 0x79, a, b, ..]) => {
            (4, usize::from(u16::from_be_bytes([*a, *b])))
        }
        (Serializer::MsgPack, [0x91, 0xdb, a, b, c, d, ..]) | (Serializer::Cbor, [0x81, 0x7a, a, b, c, d, ..]) => {
            (6, u32::from_be_bytes([*a, *b, *c, *d]) as usize)
        }
        (Serializer::Cbor, [0x81, len @ 0x60..=0x77, ..]) => (2, usize::from(len & 0x1f)),
        _ => return None,
    };
    (bytes.len() == head + len).then_some(head..head + len)
}

/// True for the messages whose order and number the checker judges.
pub(crate) fn is_delivery(message: &Message) -> bool {
    matches!(message, Message::Event { .. } | Message::Invocation { .. })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tag::{Tag, blank};

    #[test]
    fn bodies_of_every_length_survive_every_serializer() {
        for serializer in [Serializer::Json, Serializer::MsgPack, Serializer::Cbor] {
            for len in [40, 64, 255, 256, 1024, 65_535, 65_536, 70_000] {
                let mut sent = blank(len);
                let tag = Tag {
                    source: 3,
                    sequence: len as u64,
                    sent: 5,
                };
                tag.write(&mut sent);
                let mut template = Template {
                    serializer,
                    bytes: Vec::new(),
                    place: 0..0,
                };
                let payload = template.fill(&sent).unwrap();
                assert_eq!(body(&payload), Body { tag: Some(tag), len }, "{serializer:?} {len}");
                assert!(text_place(serializer, payload.bytes()).is_some());
                let (args, _) = payload.to_values().unwrap();
                assert_eq!(args[0].as_text().unwrap().as_bytes(), sent);
            }
        }
    }

    #[test]
    fn an_unusual_form_is_read_as_well() {
        let mut sent = blank(64);
        Tag {
            source: 1,
            sequence: 2,
            sent: 3,
        }
        .write(&mut sent);
        let text = String::from_utf8(sent).unwrap().replace('x', "\\u0078");
        let payload = Payload::from_proven(Serializer::Json, 1, format!("[ \"{text}\" ]").into_bytes().into());
        assert_eq!(
            body(&payload),
            Body {
                tag: Some(Tag {
                    source: 1,
                    sequence: 2,
                    sent: 3
                }),
                len: 64
            }
        );
        assert_eq!(body(&Payload::EMPTY).tag, None);
    }
}
