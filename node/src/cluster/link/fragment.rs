//! Large frames in pieces, so that none of them holds up a lane, and back together again.

use std::collections::HashMap;

use bytes::{Bytes, BytesMut};

use super::{convert::Malformed, frame::Fragment};

/// A large frame on its way out. Its payload is not copied before its turn comes.
pub(super) struct Outgoing {
    id: u64,
    head: Bytes,
    payload: Bytes,
    total: Option<u64>,
}

impl Outgoing {
    /// A frame whose bytes are those of `head`, then those of `payload`. `id` is unused on this stream.
    pub(super) fn new(id: u64, head: Bytes, payload: Bytes) -> Self {
        Self {
            id,
            total: Some((head.len() + payload.len()) as u64),
            head,
            payload,
        }
    }

    /// The next piece.
    pub(super) fn next_fragment(&mut self) -> Fragment {
        let rest = if self.head.is_empty() {
            &mut self.payload
        } else {
            &mut self.head
        };
        let bytes = rest.split_to(rest.len().min(FRAGMENT_BYTES));
        Fragment {
            id: self.id,
            bytes,
            total: self.total.take().unwrap_or(0),
            last: self.is_done(),
        }
    }

    /// True after the last piece.
    pub(super) fn is_done(&self) -> bool {
        self.head.is_empty() && self.payload.is_empty()
    }
}

/// Frames of a stream whose pieces are still coming in. Bounded in number, in the size of each and in their sum.
#[derive(Default)]
pub(super) struct Reassembly {
    open: HashMap<u64, Partial>,
    bytes: u64,
}

struct Partial {
    bytes: BytesMut,
    total: u64,
}

impl Reassembly {
    /// Takes a piece; the whole frame if it was the last one.
    pub(super) fn add(&mut self, fragment: Fragment) -> Result<Option<Bytes>, Malformed> {
        if !self.open.contains_key(&fragment.id) {
            self.begin(&fragment)?;
        }
        let Some(partial) = self.open.get_mut(&fragment.id) else {
            return Err(Malformed::Fragment("no such frame"));
        };
        if fragment.bytes.is_empty() {
            return Err(Malformed::Fragment("an empty piece"));
        }
        partial.bytes.extend_from_slice(&fragment.bytes);
        let complete = partial.bytes.len() as u64;
        if complete > partial.total || (fragment.last != (complete == partial.total)) {
            return Err(Malformed::Fragment("not of the announced length"));
        }
        if !fragment.last {
            return Ok(None);
        }
        self.bytes -= partial.total;
        Ok(self.open.remove(&fragment.id).map(|partial| partial.bytes.freeze()))
    }

    fn begin(&mut self, first: &Fragment) -> Result<(), Malformed> {
        let total = first.total;
        if total == 0 || total > ENCODED_BYTES_MAX {
            return Err(Malformed::Fragment("length out of range"));
        }
        if self.open.len() >= OPEN_MAX || self.bytes + total > REASSEMBLY_BYTES_MAX {
            return Err(Malformed::Fragment("too many at a time"));
        }
        self.bytes += total;
        // Grown as pieces arrive: an announcement alone costs nothing.
        self.open.insert(
            first.id,
            Partial {
                bytes: BytesMut::new(),
                total,
            },
        );
        Ok(())
    }
}

/// Frames above this travel in pieces of this size.
pub(super) const FRAGMENT_BYTES: usize = 64 << 10;
/// No frame weighs more.
pub(super) const FRAME_BYTES_MAX: usize = 32 << 20;
/// What a frame of that weight may come to; weights are estimates.
const ENCODED_BYTES_MAX: u64 = FRAME_BYTES_MAX as u64 + FRAGMENT_BYTES as u64;
/// How many frames of a lane may be in pieces at a time.
pub(super) const OPEN_MAX: usize = 64;
/// What a lane may queue ([`super::lane::RESET_BYTES`]) and one frame more.
const REASSEMBLY_BYTES_MAX: u64 = super::lane::RESET_BYTES as u64 + ENCODED_BYTES_MAX;

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(id: u64, frame: Bytes) -> Vec<Fragment> {
        let head = frame.slice(..frame.len() / 3);
        let mut outgoing = Outgoing::new(id, head.clone(), frame.slice(head.len()..));
        let mut pieces = vec![outgoing.next_fragment()];
        while !outgoing.is_done() {
            pieces.push(outgoing.next_fragment());
        }
        pieces
    }

    #[test]
    fn interleaved_pieces_make_the_frames_again() {
        let frames: Vec<Bytes> = [1, FRAGMENT_BYTES, FRAGMENT_BYTES + 1, 300_000]
            .iter()
            .map(|&length| (0..length).map(|i| (i % 251) as u8).collect())
            .collect();
        let mut queues: Vec<_> = frames
            .iter()
            .enumerate()
            .map(|(id, frame)| pieces(id as u64, frame.clone()).into_iter())
            .collect();
        let (mut reassembly, mut found) = (Reassembly::default(), Vec::new());
        while found.len() < frames.len() {
            for queue in &mut queues {
                if let Some(piece) = queue.next() {
                    found.extend(reassembly.add(piece).unwrap());
                }
            }
        }
        assert_eq!(found, frames);
        assert_eq!((reassembly.bytes, reassembly.open.len()), (0, 0));
    }

    #[test]
    fn what_does_not_add_up_is_refused() {
        let piece = |id, length, total, last| Fragment {
            id,
            bytes: vec![0; length].into(),
            total,
            last,
        };
        let first_error = |pieces: Vec<Fragment>| {
            let mut reassembly = Reassembly::default();
            pieces.into_iter().find_map(|piece| reassembly.add(piece).err())
        };
        assert!(first_error(vec![piece(1, 5, 10, false), piece(1, 5, 0, true)]).is_none());
        assert!(
            first_error(vec![piece(1, 5, 10, false), piece(1, 6, 0, true)]).is_some(),
            "too long"
        );
        assert!(first_error(vec![piece(1, 5, 10, true)]).is_some(), "too short");
        assert!(first_error(vec![piece(1, 5, 0, false)]).is_some(), "no length");
        assert!(first_error(vec![piece(1, 0, 5, false)]).is_some(), "empty");
        assert!(
            first_error(vec![piece(1, 5, ENCODED_BYTES_MAX + 1, false)]).is_some(),
            "too large"
        );
        assert!(
            first_error((0..=OPEN_MAX as u64).map(|id| piece(id, 5, 10, false)).collect()).is_some(),
            "too many"
        );
        let large = (0..3).map(|id| piece(id, 5, FRAME_BYTES_MAX as u64, false)).collect();
        assert!(first_error(large).is_some(), "too much together");
    }
}
