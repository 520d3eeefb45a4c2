//! RawSocket from the client's side.
//!
//! Spec: WAMP basic profile, "RawSocket Transport".

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::Error;
use crate::wamp::Serializer;

const MAGIC: u8 = 0x7F;
/// The length code of 16 MiB, the most a client can announce to receive.
const LENGTH_CODE_MAX: u8 = 15;

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Message = 0,
    Ping = 1,
    Pong = 2,
}

/// Exchanges the handshake; returns the bytes that the router takes in one message.
pub(super) async fn handshake<S>(stream: &mut S, serializer: Serializer, address: &str) -> Result<usize, Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let error = |why: String| Error::Handshake {
        address: address.to_owned(),
        why,
    };
    let serializer = match serializer {
        Serializer::Json => 1,
        Serializer::MsgPack => 2,
        Serializer::Cbor => 3,
    };
    stream
        .write_all(&[MAGIC, LENGTH_CODE_MAX << 4 | serializer, 0, 0])
        .await
        .map_err(|cause| error(cause.to_string()))?;
    stream.flush().await.map_err(|cause| error(cause.to_string()))?;
    let mut reply = [0; 4];
    stream
        .read_exact(&mut reply)
        .await
        .map_err(|_| error("it closed the connection without a RawSocket handshake".to_owned()))?;
    match reply {
        [MAGIC, code, 0, 0] if code & 0x0F == serializer => Ok(1 << (9 + (code >> 4))),
        [MAGIC, code, 0, 0] if code & 0x0F == 0 => Err(error(
            match code >> 4 {
                1 => "it does not speak this serializer",
                2 => "it does not take the maximum length",
                3 => "it wants reserved bits used otherwise",
                4 => "it has as many connections as it takes",
                _ => "it refused with an unknown code",
            }
            .to_owned(),
        )),
        _ => Err(error("it did not answer the RawSocket handshake".to_owned())),
    }
}

/// The frames that come in. Safe to drop while it waits: what was read of a frame is kept.
pub(super) struct Frames<R> {
    reader: R,
    buffer: BytesMut,
}

impl<R: AsyncRead + Unpin> Frames<R> {
    pub(super) fn new(reader: R) -> Self {
        Self {
            reader,
            buffer: BytesMut::new(),
        }
    }

    /// The next frame; `None` when the router has closed the connection between two frames.
    pub(super) async fn next(&mut self) -> Result<Option<(Kind, Bytes)>, Error> {
        let protocol = |why: &str| Error::Protocol { why: why.to_owned() };
        loop {
            if let Some(prefix) = self.buffer.first_chunk::<4>() {
                let prefix = u32::from_be_bytes(*prefix);
                let kind = match prefix >> 24 & 0xF7 {
                    0 => Kind::Message,
                    1 => Kind::Ping,
                    2 => Kind::Pong,
                    _ => return Err(protocol("a RawSocket frame of an unknown kind")),
                };
                let extended = prefix & 0x0800_0000 != 0;
                let length = (prefix & 0x00FF_FFFF) as usize;
                if extended && length != 0 {
                    return Err(protocol("a RawSocket frame longer than 16 MiB"));
                }
                let length = if extended { 1 << 24 } else { length };
                if self.buffer.len() >= 4 + length {
                    let mut frame = self.buffer.split_to(4 + length).freeze();
                    return Ok(Some((kind, frame.split_off(4))));
                }
                self.buffer.reserve(4 + length - self.buffer.len());
            }
            let count = self
                .reader
                .read_buf(&mut self.buffer)
                .await
                .map_err(|error| Error::Closed { why: error.to_string() })?;
            match (count, self.buffer.is_empty()) {
                (0, true) => return Ok(None),
                (0, false) => return Err(protocol("the connection ended within a frame")),
                _ => {}
            }
        }
    }
}

/// Appends one frame to `out`. `body` was checked against the router's limit, which is at most 16 MiB.
pub(super) fn append(out: &mut Vec<u8>, kind: Kind, body: &[u8]) {
    // 2^24 itself sets the 25th bit, which is where it belongs.
    let prefix = (kind as u32) << 24 | body.len() as u32;
    out.extend_from_slice(&prefix.to_be_bytes());
    out.extend_from_slice(body);
}
