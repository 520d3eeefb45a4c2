//! Messages on a byte stream, client side: WebSocket, RawSocket, and the floors' plain length prefix.

use std::ops::Range;

use anyhow::{Context as _, Result, bail};
use tokio_tungstenite::tungstenite::{client::IntoClientRequest, http::HeaderValue, protocol::WebSocketConfig};

use crate::{
    wire::{Endpoint, Io, Wire},
    ws::{self, opcode},
};

/// RawSocket frame types.
const RAW_MESSAGE: u8 = 0;
const RAW_PING: u8 = 1;
const RAW_PONG: u8 = 2;

/// Bytes read at once during the WebSocket handshake.
const HANDSHAKE_ROOM: usize = 4096;

/// What separates messages on this connection.
pub(super) enum Framing {
    WebSocket(WebSocket),
    RawSocket {
        /// Pongs so far.
        pongs: u64,
    },
    /// Four bytes of length, big-endian, then the message.
    Prefixed,
}

/// State of a WebSocket client.
pub(super) struct WebSocket {
    opcode: u8,
    mask: u32,
    /// Fragments of an unfinished message.
    fragments: Vec<u8>,
    /// `fragments` holds a message that was handed out and can go.
    handed_out: bool,
    /// Pongs so far.
    pongs: u64,
}

/// Where [`Framing::take`] found a message.
pub(super) enum Taken {
    /// In the wire's input; consume up to `end` after use.
    Input { message: Range<usize>, end: usize },
    /// In the framing's own memory, put together from fragments.
    Assembled,
}

impl Framing {
    /// Upgrades to WebSocket, asking for `protocol`.
    pub(super) async fn websocket(
        endpoint: &Endpoint,
        io: Box<dyn Io>,
        protocol: Option<&'static str>,
    ) -> Result<(Wire, Framing)> {
        let mut request = endpoint.url.clone().into_client_request()?;
        if let Some(protocol) = protocol {
            request
                .headers_mut()
                .insert("sec-websocket-protocol", HeaderValue::from_static(protocol));
        }
        // Only the handshake is the library's, so its buffers can be small.
        let config = WebSocketConfig::default().read_buffer_size(HANDSHAKE_ROOM);
        let upgrade = tokio_tungstenite::client_async_with_config(request, io, Some(config)).await;
        let (stream, _) = upgrade.with_context(|| format!("{} did not upgrade to WebSocket", endpoint.url))?;
        let opcode = if protocol == Some("wamp.2.json") {
            opcode::TEXT
        } else {
            opcode::BINARY
        };
        // The server speaks only after our first message, so the handshake has read nothing beyond its own bytes.
        let wire = Wire::new(stream.into_inner());
        Ok((
            wire,
            Framing::WebSocket(WebSocket {
                opcode,
                mask: 0x9e37_79b9,
                fragments: Vec::new(),
                handed_out: false,
                pongs: 0,
            }),
        ))
    }

    /// Shakes hands for RawSocket with the serializer's number.
    pub(super) async fn rawsocket(endpoint: &Endpoint, io: Box<dyn Io>, serializer: u8) -> Result<(Wire, Framing)> {
        let mut wire = Wire::new(io);
        // 0xf: we take messages of up to 16 MiB.
        wire.output.extend_from_slice(&[0x7f, 0xf0 | serializer, 0, 0]);
        while wire.input().len() < 4 {
            wire.turn().await?;
        }
        let reply = [wire.input()[0], wire.input()[1]];
        if reply[0] != 0x7f || reply[1] & 0x0f != serializer {
            bail!("{} refused the RawSocket handshake with {reply:02x?}", endpoint.url);
        }
        wire.consume(4);
        Ok((wire, Framing::RawSocket { pongs: 0 }))
    }

    /// Appends a message to the output.
    pub(super) fn put(&mut self, wire: &mut Wire, message: &[u8]) -> Result<()> {
        match self {
            Framing::WebSocket(socket) => {
                let (opcode, mask) = (socket.opcode, socket.next_mask());
                ws::append(&mut wire.output, opcode, Some(mask), message);
            }
            Framing::RawSocket { .. } => put_raw(wire, RAW_MESSAGE, message)?,
            Framing::Prefixed => {
                let len = u32::try_from(message.len()).context("message too large")?;
                wire.output.extend_from_slice(&len.to_be_bytes());
                wire.output.extend_from_slice(message);
            }
        }
        Ok(())
    }

    /// Appends a ping of the transport; its echo shows in [`Framing::pongs`].
    pub(super) fn ping(&mut self, wire: &mut Wire) -> Result<()> {
        match self {
            Framing::WebSocket(socket) => {
                let mask = socket.next_mask();
                ws::append(&mut wire.output, opcode::PING, Some(mask), b"ringfort");
                Ok(())
            }
            Framing::RawSocket { .. } => put_raw(wire, RAW_PING, b"ringfort"),
            Framing::Prefixed => bail!("plain frames know no ping"),
        }
    }

    /// Pongs received so far.
    pub(super) fn pongs(&self) -> u64 {
        match self {
            Framing::WebSocket(socket) => socket.pongs,
            Framing::RawSocket { pongs } => *pongs,
            Framing::Prefixed => 0,
        }
    }

    /// Finds the next message in the input; pings are answered on the way.
    pub(super) fn take(&mut self, wire: &mut Wire) -> Result<Option<Taken>> {
        match self {
            Framing::WebSocket(socket) => socket.take(wire),
            Framing::RawSocket { pongs } => take_raw(wire, pongs),
            Framing::Prefixed => {
                let Some((prefix, rest)) = wire.input().split_first_chunk() else {
                    return Ok(None);
                };
                let end = 4 + u32::from_be_bytes(*prefix) as usize;
                Ok((rest.len() + 4 >= end).then_some(Taken::Input { message: 4..end, end }))
            }
        }
    }

    /// The bytes of what was taken.
    pub(super) fn message<'a>(&'a self, wire: &'a mut Wire, taken: &Taken) -> &'a [u8] {
        match (taken, self) {
            (Taken::Input { message, .. }, _) => &wire.input()[message.clone()],
            (Taken::Assembled, Framing::WebSocket(socket)) => &socket.fragments,
            (Taken::Assembled, _) => &[],
        }
    }
}

impl Taken {
    /// Frees the message's place in the input.
    pub(super) fn done(self, wire: &mut Wire) {
        if let Taken::Input { end, .. } = self {
            wire.consume(end);
        }
    }
}

impl WebSocket {
    /// Keys only have to differ from the payload's patterns here, so a small generator does (xorshift).
    fn next_mask(&mut self) -> [u8; 4] {
        self.mask ^= self.mask << 13;
        self.mask ^= self.mask >> 17;
        self.mask ^= self.mask << 5;
        self.mask.to_ne_bytes()
    }

    fn take(&mut self, wire: &mut Wire) -> Result<Option<Taken>> {
        if self.handed_out {
            self.fragments.clear();
            self.handed_out = false;
        }
        loop {
            let input = wire.input();
            let Some(head) = ws::Head::read(input)?.filter(|head| input.len() >= head.total()) else {
                return Ok(None);
            };
            if head.mask.is_some() {
                bail!("the server sent a masked frame");
            }
            let payload = head.len..head.total();
            match head.opcode {
                opcode::TEXT | opcode::BINARY if head.fin => {
                    return Ok(Some(Taken::Input {
                        message: payload,
                        end: head.total(),
                    }));
                }
                opcode::TEXT | opcode::BINARY | opcode::CONTINUATION => {
                    self.fragments.extend_from_slice(&input[payload]);
                    wire.consume(head.total());
                    if head.fin {
                        self.handed_out = true;
                        return Ok(Some(Taken::Assembled));
                    }
                }
                opcode::PING => {
                    let echo = input[payload].to_vec();
                    wire.consume(head.total());
                    let mask = self.next_mask();
                    ws::append(&mut wire.output, opcode::PONG, Some(mask), &echo);
                }
                opcode::PONG => {
                    self.pongs += 1;
                    wire.consume(head.total());
                }
                opcode::CLOSE => bail!(
                    "the server closed the WebSocket: {}",
                    String::from_utf8_lossy(&input[payload])
                ),
                other => bail!("a WebSocket frame with opcode {other}"),
            }
        }
    }
}

fn put_raw(wire: &mut Wire, kind: u8, message: &[u8]) -> Result<()> {
    let len = u32::try_from(message.len())
        .ok()
        .filter(|len| *len < 1 << 24)
        .context("message too large for RawSocket")?;
    wire.output.extend_from_slice(&(u32::from(kind) << 24 | len).to_be_bytes());
    wire.output.extend_from_slice(message);
    Ok(())
}

fn take_raw(wire: &mut Wire, pongs: &mut u64) -> Result<Option<Taken>> {
    loop {
        let input = wire.input();
        let Some(prefix) = input.first_chunk() else {
            return Ok(None);
        };
        let prefix = u32::from_be_bytes(*prefix);
        let end = 4 + (prefix & 0x00ff_ffff) as usize;
        if input.len() < end {
            return Ok(None);
        }
        match (prefix >> 24) as u8 {
            RAW_MESSAGE => return Ok(Some(Taken::Input { message: 4..end, end })),
            RAW_PING => {
                let echo = input[4..end].to_vec();
                wire.consume(end);
                put_raw(wire, RAW_PONG, &echo)?;
            }
            RAW_PONG => {
                *pongs += 1;
                wire.consume(end);
            }
            other => bail!("a RawSocket frame of type {other}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;

    fn websocket() -> (Wire, Framing, DuplexStream) {
        let (near, far) = duplex(1 << 16);
        let socket = WebSocket {
            opcode: opcode::BINARY,
            mask: 1,
            fragments: Vec::new(),
            handed_out: false,
            pongs: 0,
        };
        (Wire::new(Box::new(near)), Framing::WebSocket(socket), far)
    }

    fn next(framing: &mut Framing, wire: &mut Wire) -> Option<Vec<u8>> {
        let taken = framing.take(wire).unwrap()?;
        let message = framing.message(wire, &taken).to_vec();
        taken.done(wire);
        Some(message)
    }

    #[tokio::test]
    async fn fragments_become_one_message_also_with_a_ping_between() {
        let (mut wire, mut framing, mut far) = websocket();
        let mut bytes = vec![0x02, 2, b'a', b'b', 0x89, 1, b'p', 0x00, 1, b'c', 0x80, 1, b'd'];
        ws::append(&mut bytes, opcode::BINARY, None, b"whole");
        far.write_all(&bytes).await.unwrap();
        wire.turn().await.unwrap();
        assert_eq!(next(&mut framing, &mut wire).unwrap(), b"abcd");
        assert_eq!(next(&mut framing, &mut wire).unwrap(), b"whole");
        assert_eq!(next(&mut framing, &mut wire), None);
        wire.flush().await.unwrap();
        let mut pong = [0; 7];
        far.read_exact(&mut pong).await.unwrap();
        let head = ws::Head::read(&pong).unwrap().unwrap();
        ws::apply_mask(&mut pong[head.len..], head.mask.unwrap());
        assert_eq!((head.opcode, &pong[head.len..]), (opcode::PONG, &b"p"[..]));
    }

    #[tokio::test]
    async fn rawsocket_answers_pings_and_waits_for_whole_frames() {
        let (near, mut far) = duplex(1 << 16);
        let mut wire = Wire::new(Box::new(near));
        let mut framing = Framing::RawSocket { pongs: 0 };
        far.write_all(&[1, 0, 0, 2, 8, 9, 0, 0, 0, 3, b'x', b'y']).await.unwrap();
        wire.turn().await.unwrap();
        assert_eq!(next(&mut framing, &mut wire), None);
        far.write_all(b"z").await.unwrap();
        wire.turn().await.unwrap();
        assert_eq!(next(&mut framing, &mut wire).unwrap(), b"xyz");
        let mut pong = [0; 6];
        far.read_exact(&mut pong).await.unwrap();
        assert_eq!(pong, [2, 0, 0, 2, 8, 9]);
    }

    #[tokio::test]
    async fn a_server_that_closes_or_masks_is_an_error() {
        for bytes in [&[0x88, 2, 3, 0xe9][..], &[0x82, 0x81, 1, 2, 3, 4, 5], &[0x83, 0]] {
            let (mut wire, mut framing, mut far) = websocket();
            far.write_all(bytes).await.unwrap();
            wire.turn().await.unwrap();
            assert!(framing.take(&mut wire).is_err(), "{bytes:?}");
        }
    }
}
