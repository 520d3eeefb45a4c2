//! Finds the deliveries in a router's byte stream.

use anyhow::{Result, bail};
use ringfort::wamp::{
    Serializer,
    codec::{self, Frame, Limits},
};

use crate::{
    peer::wamp::is_delivery,
    ws::{self, opcode},
};

/// What a stretch of bytes is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// A whole frame with an EVENT or INVOCATION.
    Delivery,
    /// Anything else; passes as it is.
    Other,
}

/// Frames beyond this end the connection.
pub(super) const FRAME_MAX: usize = 64 << 20;

/// The longest answer to an upgrade.
const RESPONSE_MAX: usize = 16 * 1024;

/// Reads one connection's bytes from the router.
#[derive(Debug)]
pub(super) enum Frames {
    /// The answer to an HTTP upgrade has not come whole.
    Upgrading,
    WebSocket(Serializer),
    /// The RawSocket handshake's answer has not come whole.
    Shaking(Option<Serializer>),
    RawSocket(Option<Serializer>),
    /// Not WAMP, or in a serializer we do not read: everything passes.
    Opaque,
}

impl Frames {
    /// By the first four bytes of the client.
    pub(super) fn opened_by(opening: [u8; 4]) -> Self {
        if opening[0] != 0x7f {
            return Frames::Upgrading;
        }
        Frames::Shaking(match opening[1] & 0x0f {
            1 => Some(Serializer::Json),
            2 => Some(Serializer::MsgPack),
            3 => Some(Serializer::Cbor),
            _ => None,
        })
    }

    /// The next piece at the start of `input` and its length; `None` if it has not come whole.
    pub(super) fn next(&mut self, input: &[u8]) -> Result<Option<(Piece, usize)>> {
        if input.is_empty() {
            return Ok(None);
        }
        match self {
            Frames::Upgrading => {
                let Some(end) = input.windows(4).position(|w| w == b"\r\n\r\n") else {
                    if input.len() > RESPONSE_MAX {
                        bail!("the answer to the upgrade has no end");
                    }
                    return Ok(None);
                };
                *self = upgraded(&input[..end]);
                Ok(Some((Piece::Other, end + 4)))
            }
            Frames::Shaking(serializer) => {
                if input.len() < 4 {
                    return Ok(None);
                }
                *self = Frames::RawSocket(*serializer);
                Ok(Some((Piece::Other, 4)))
            }
            Frames::WebSocket(serializer) => {
                let Some(head) = ws::Head::read(input)?.filter(|head| input.len() >= head.total()) else {
                    return Ok(None);
                };
                let whole = head.fin && matches!(head.opcode, opcode::TEXT | opcode::BINARY) && head.mask.is_none();
                let piece = if whole {
                    judge(*serializer, &input[head.len..head.total()])
                } else {
                    Piece::Other
                };
                Ok(Some((piece, head.total())))
            }
            Frames::RawSocket(serializer) => {
                let Some(prefix) = input.first_chunk() else {
                    return Ok(None);
                };
                let prefix = u32::from_be_bytes(*prefix);
                let end = 4 + (prefix & 0x00ff_ffff) as usize;
                let Some(message) = input.get(4..end) else {
                    return Ok(None);
                };
                let piece = match serializer {
                    Some(serializer) if prefix >> 24 == 0 => judge(*serializer, message),
                    _ => Piece::Other,
                };
                Ok(Some((piece, end)))
            }
            Frames::Opaque => Ok(Some((Piece::Other, input.len()))),
        }
    }
}

fn judge(serializer: Serializer, message: &[u8]) -> Piece {
    match codec::decode(serializer, Frame::Borrowed(message), &Limits::default()) {
        Ok(message) if is_delivery(&message) => Piece::Delivery,
        _ => Piece::Other,
    }
}

fn upgraded(response: &[u8]) -> Frames {
    let text = String::from_utf8_lossy(response).to_ascii_lowercase();
    let mut lines = text.lines();
    if !lines.next().is_some_and(|status| status.contains(" 101")) {
        return Frames::Opaque;
    }
    match lines
        .find_map(|line| line.strip_prefix("sec-websocket-protocol:"))
        .map(str::trim)
    {
        Some("wamp.2.json") => Frames::WebSocket(Serializer::Json),
        Some("wamp.2.msgpack") => Frames::WebSocket(Serializer::MsgPack),
        Some("wamp.2.cbor") => Frames::WebSocket(Serializer::Cbor),
        _ => Frames::Opaque,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(opening: &[u8; 4], bytes: &[u8]) -> Vec<(Piece, usize)> {
        let mut frames = Frames::opened_by(*opening);
        let (mut rest, mut pieces) = (bytes, Vec::new());
        while let Some((piece, len)) = frames.next(rest).unwrap() {
            pieces.push((piece, len));
            rest = &rest[len..];
        }
        assert!(rest.is_empty());
        pieces
    }

    #[test]
    fn deliveries_are_found_on_websocket() {
        let mut bytes = b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Protocol: wamp.2.json\r\n\r\n".to_vec();
        let response = bytes.len();
        ws::append(&mut bytes, opcode::TEXT, None, b"[17,1,2]");
        ws::append(&mut bytes, opcode::PING, None, b"");
        ws::append(&mut bytes, opcode::TEXT, None, b"[36,1,2,{},[3]]");
        ws::append(&mut bytes, opcode::TEXT, None, b"[68,1,2,{}]");
        let expected = [
            (Piece::Other, response),
            (Piece::Other, 10),
            (Piece::Other, 2),
            (Piece::Delivery, 17),
            (Piece::Delivery, 13),
        ];
        assert_eq!(pieces(b"GET ", &bytes), expected);
    }

    #[test]
    fn deliveries_are_found_on_rawsocket() {
        let bytes = b"\x7f\xf1\0\0\0\0\0\x08[17,1,2]\x01\0\0\x01p\0\0\0\x0b[68,1,2,{}]";
        let expected = [
            (Piece::Other, 4),
            (Piece::Other, 12),
            (Piece::Other, 5),
            (Piece::Delivery, 15),
        ];
        assert_eq!(pieces(b"\x7f\xf1\0\0", bytes), expected);
    }

    #[test]
    fn what_is_no_wamp_passes() {
        let bytes = b"HTTP/1.1 404 Not Found\r\n\r\nnothing here";
        assert_eq!(pieces(b"GET ", bytes), [(Piece::Other, 26), (Piece::Other, 12)]);
    }
}
