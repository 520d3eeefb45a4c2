//! RawSocket: the handshake of four octets each way.
//!
//! Spec: WAMP advanced profile, "RawSocket Transport". Frames are in [`frame`].

pub mod frame;

use crate::wamp::Serializer;

/// The first octet of a RawSocket connection, by which it is told from HTTP and TLS.
pub const MAGIC: u8 = 0x7F;

/// What a client asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// The serializer of both directions.
    pub serializer: Serializer,
    /// The longest message the client receives.
    pub receives_bytes_max: usize,
}

/// Why a handshake is refused; the numbers are those of the error reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A serializer this router does not speak.
    Serializer = 1,
    /// The client receives less than this listener demands.
    MessageLength = 2,
    /// Reserved bits were used.
    ReservedBits = 3,
    /// The listener is full.
    Connections = 4,
}

impl Refusal {
    /// The error reply.
    pub fn reply(self) -> [u8; 4] {
        [MAGIC, (self as u8) << 4, 0, 0]
    }
}

/// Judges a client's four octets. The first is known to be [`MAGIC`].
///
/// # Errors
/// What to answer instead of a success reply, before closing.
pub fn accept(octets: [u8; 4]) -> Result<Request, Refusal> {
    if octets[2] != 0 || octets[3] != 0 {
        return Err(Refusal::ReservedBits);
    }
    let serializer = Serializer::from_rawsocket_id(octets[1] & 0x0F).ok_or(Refusal::Serializer)?;
    Ok(Request {
        serializer,
        receives_bytes_max: 1 << (9 + (octets[1] >> 4)),
    })
}

/// The success reply: this router receives messages of up to [`announced_bytes_max`] of `message_bytes_max`.
pub fn reply(serializer: Serializer, message_bytes_max: usize) -> [u8; 4] {
    [MAGIC, exponent(message_bytes_max) << 4 | serializer.rawsocket_id(), 0, 0]
}

/// The largest announceable limit, a power of two from 2^9 to 2^24, that is not above `message_bytes_max` (but at least 2^9).
pub fn announced_bytes_max(message_bytes_max: usize) -> usize {
    1 << (9 + exponent(message_bytes_max))
}

fn exponent(message_bytes_max: usize) -> u8 {
    let log = message_bytes_max.max(1).ilog2().clamp(9, 24);
    (log - 9) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_and_serializer_is_read_from_the_octets() {
        for length in 0..16u8 {
            for (nibble, serializer) in [(1, Serializer::Json), (2, Serializer::MsgPack), (3, Serializer::Cbor)] {
                let request = accept([MAGIC, length << 4 | nibble, 0, 0]).unwrap();
                assert_eq!(
                    request,
                    Request {
                        serializer,
                        receives_bytes_max: 512 << length
                    }
                );
            }
        }
    }

    #[test]
    fn refusals_name_their_reason() {
        assert_eq!(accept([MAGIC, 0xF0, 0, 0]), Err(Refusal::Serializer));
        assert_eq!(accept([MAGIC, 0xF4, 0, 0]), Err(Refusal::Serializer));
        assert_eq!(accept([MAGIC, 0xF1, 1, 0]), Err(Refusal::ReservedBits));
        assert_eq!(accept([MAGIC, 0xF1, 0, 1]), Err(Refusal::ReservedBits));
        assert_eq!(Refusal::ReservedBits.reply(), [0x7F, 0x30, 0, 0]);
        assert_eq!(Refusal::Connections.reply(), [0x7F, 0x40, 0, 0]);
    }

    #[test]
    fn the_reply_mirrors_the_serializer_and_announces_a_power_of_two() {
        assert_eq!(reply(Serializer::Cbor, 16 << 20), [0x7F, 0xF3, 0, 0]);
        assert_eq!(reply(Serializer::Json, 1), [0x7F, 0x01, 0, 0]);
        assert_eq!(reply(Serializer::MsgPack, 1500), [0x7F, 0x12, 0, 0]);
        assert_eq!(announced_bytes_max(1500), 1024);
        assert_eq!(announced_bytes_max(usize::MAX), 1 << 24);
    }
}
