//! The frames between load client and relay: kind (1 byte), peer (4, big-endian), sequence (8), then the payload.
//!
//! The first frame of a connection states its role and number; the relay nods with [`Kind::Ready`]. A call travels under its
//! caller's number, and so does the answer, by which the relay finds the way back.

/// Bytes before the payload.
pub const HEAD_LEN: usize = 13;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// First frame of a connection that calls.
    Caller = 1,
    /// First frame of a connection that answers.
    Callee,
    /// First frame of a connection that publishes.
    Publisher,
    /// First frame of a connection that listens.
    Subscriber,
    /// The relay knows the connection now.
    Ready,
    /// Caller to callee.
    Call,
    /// Callee to caller.
    Answer,
    /// Publisher to every subscriber.
    Event,
}

/// The head of a frame.
pub fn head(kind: Kind, peer: u32, sequence: u64) -> [u8; HEAD_LEN] {
    let mut head = [0; HEAD_LEN];
    head[0] = kind as u8;
    head[1..5].copy_from_slice(&peer.to_be_bytes());
    head[5..].copy_from_slice(&sequence.to_be_bytes());
    head
}

/// Kind, peer, sequence and payload; `None` if it is no frame of ours.
pub fn read(frame: &[u8]) -> Option<(Kind, u32, u64, &[u8])> {
    let (head, body) = frame.split_first_chunk::<HEAD_LEN>()?;
    let kind = match head[0] {
        1 => Kind::Caller,
        2 => Kind::Callee,
        3 => Kind::Publisher,
        4 => Kind::Subscriber,
        5 => Kind::Ready,
        6 => Kind::Call,
        7 => Kind::Answer,
        8 => Kind::Event,
        _ => return None,
    };
    let [_, peer @ .., _, _, _, _, _, _, _, _] = head;
    let [_, _, _, _, _, sequence @ ..] = head;
    Some((kind, u32::from_be_bytes(*peer), u64::from_be_bytes(*sequence), body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_read_back() {
        for (number, kind) in [
            Kind::Caller,
            Kind::Callee,
            Kind::Publisher,
            Kind::Subscriber,
            Kind::Ready,
            Kind::Call,
            Kind::Answer,
            Kind::Event,
        ]
        .into_iter()
        .enumerate()
        {
            let mut frame = head(kind, 0x0102_0304, 0x0506_0708_090a_0b0c).to_vec();
            frame.extend_from_slice(b"body");
            assert_eq!(read(&frame), Some((kind, 0x0102_0304, 0x0506_0708_090a_0b0c, &b"body"[..])));
            assert_eq!(usize::from(frame[0]), number + 1);
        }
        assert_eq!(read(&[9; HEAD_LEN]), None);
        assert_eq!(read(&[6; HEAD_LEN - 1]), None);
    }
}
