//! What a lane is to send: frames in batches, in order per source.
//!
//! A frame is encoded where it is put in, into the batch that is being filled. One above [`FRAGMENT_BYTES`] goes in parts, one with
//! each batch, its payload uncopied until then; what its source sends meanwhile waits behind it, what others send passes.
//!
//! Invariants: no batch in the queue is empty; a large frame begins after every batch that was begun before it was put in, and
//! what its source sends later is put into a batch after its last part was taken.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::{
    cluster::link::{
        fragment::{FRAGMENT_BYTES, FRAME_BYTES_MAX, OPEN_MAX, Outgoing},
        frame::{self, Fragment},
    },
    router::{PeerFrame, frame::PlainFrame},
    wamp::{SessionId, Uri, codec::plain::Elements},
};

/// The queue of a lane. Its bounds are the lane's business.
#[derive(Default)]
pub(super) struct Queue {
    /// Oldest first; the last one is being filled.
    batches: VecDeque<Batch>,
    /// How many were ever begun, and how many were taken.
    begun: u64,
    taken: u64,
    /// Large frames on their way out in turns.
    large: VecDeque<Large>,
    /// What came while too many large frames were on their way; the first of it is one more.
    waiting: VecDeque<Apart>,
    last_large: u64,
    /// How long the last batch was: the next one is likely to be as long.
    batch_bytes: usize,
}

/// Frames as they travel.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) bytes: Vec<u8>,
    pub(super) frames: u32,
    /// What its frames were counted for, and those that its fragment completes.
    pub(super) weight: usize,
    /// The realm of the last frame, if the next one of that realm need not name it.
    realm: Option<Uri>,
}

/// What the stream gets: a batch, and the fragment that goes with it. One of them may be empty.
pub(super) struct Taken {
    pub(super) batch: Batch,
    pub(super) fragment: Option<Fragment>,
}

/// A frame that travels in parts.
struct Large {
    source: SessionId,
    frame: Outgoing,
    weight: usize,
    /// It begins when so many batches were taken.
    after: u64,
    /// Later frames of its source.
    behind: VecDeque<Apart>,
}

/// A frame that is not in a batch, in two parts; the second is its payload.
struct Apart {
    source: SessionId,
    head: Bytes,
    payload: Bytes,
}

impl Apart {
    fn weight(&self) -> usize {
        frame::LENGTH_BYTES + self.head.len() + self.payload.len()
    }
}

impl Batch {
    fn is_full(&self) -> bool {
        self.frames >= BATCH_FRAMES || self.weight >= BATCH_BYTES
    }
}

impl Queue {
    /// Puts a frame in and returns its weight; `None`, and nothing put in, if it is larger than any frame may be.
    pub(super) fn push(&mut self, realm: &Uri, source: SessionId, frame: &PeerFrame) -> Option<usize> {
        let free = self.waiting.is_empty() && self.large.iter().all(|large| large.source != source);
        if free
            && payload_bytes(frame) <= FRAGMENT_BYTES
            && let Some(weight) = self.push_small(realm, frame)
        {
            return Some(weight);
        }
        let mut bytes = Vec::new();
        // It may come between any others, so it names its realm.
        let written = frame::write(Some(realm), frame, &mut bytes);
        let weight = written.len(&bytes);
        if weight > FRAME_BYTES_MAX {
            return None;
        }
        let (head, payload) = written.split(&mut bytes);
        let apart = Apart { source, head, payload };
        if !self.waiting.is_empty() {
            self.waiting.push_back(apart);
        } else if let Some(apart) = self.place(apart) {
            self.waiting.push_back(apart);
        }
        Some(weight)
    }

    /// Puts a frame in that says nothing but what every one of its kind does; `None`, and nothing put in, unless it goes into the batch
    /// that is being filled.
    pub(super) fn push_plain(
        &mut self,
        realm: &Uri,
        source: SessionId,
        plain: PlainFrame,
        payload: Elements<'_>,
    ) -> Option<usize> {
        let free = self.waiting.is_empty() && self.large.iter().all(|large| large.source != source);
        if !free || payload.bytes.len() > PLAIN_BYTES_MAX {
            return None;
        }
        let batch = self.open_batch();
        let before = batch.bytes.len();
        let other = batch.realm.as_ref() != Some(realm);
        frame::write_plain(other.then_some(realm), plain, payload, &mut batch.bytes);
        let weight = batch.bytes.len() - before;
        batch.frames += 1;
        batch.weight += weight;
        if other {
            batch.realm = Some(realm.clone());
        }
        Some(weight)
    }

    /// Puts a frame into the batch that is being filled; `None` if it turns out to be large.
    fn push_small(&mut self, realm: &Uri, frame: &PeerFrame) -> Option<usize> {
        let batch = self.open_batch();
        let before = batch.bytes.len();
        let other = batch.realm.as_ref() != Some(realm);
        let written = frame::write(other.then_some(realm), frame, &mut batch.bytes);
        let weight = written.len(&batch.bytes);
        if weight > FRAGMENT_BYTES {
            batch.bytes.truncate(before);
            if batch.frames == 0 {
                self.batches.pop_back();
                self.begun -= 1;
            }
            return None;
        }
        written.finish(&mut batch.bytes);
        batch.frames += 1;
        batch.weight += weight;
        if other {
            batch.realm = Some(realm.clone());
        }
        Some(weight)
    }

    fn open_batch(&mut self) -> &mut Batch {
        if self.batches.back().is_none_or(Batch::is_full) {
            self.begun += 1;
            self.batches.push_back(Batch {
                bytes: Vec::with_capacity(self.batch_bytes),
                ..Batch::default()
            });
        }
        self.batches
            .back_mut()
            .expect("there is one: it was just pushed if there was none")
    }

    /// Puts a frame where it belongs; gives it back if it is large and too many are on their way.
    fn place(&mut self, apart: Apart) -> Option<Apart> {
        if let Some(large) = self.large.iter_mut().find(|large| large.source == apart.source) {
            large.behind.push_back(apart);
            return None;
        }
        let weight = apart.weight();
        if weight <= FRAGMENT_BYTES {
            let batch = self.open_batch();
            frame::write_parts(&apart.head, &apart.payload, &mut batch.bytes);
            batch.frames += 1;
            batch.weight += weight;
            batch.realm = None;
            return None;
        }
        if self.large.len() >= OPEN_MAX {
            return Some(apart);
        }
        self.last_large += 1;
        self.large.push_back(Large {
            source: apart.source,
            frame: Outgoing::new(self.last_large, apart.head, apart.payload),
            weight,
            after: self.begun,
            behind: VecDeque::new(),
        });
        None
    }

    /// True if what goes next is one batch of several frames with room for more. A single frame is as likely alone.
    pub(super) fn may_grow(&self) -> bool {
        self.large.is_empty()
            && self.batches.len() == 1
            && self.batches.front().is_some_and(|batch| batch.frames > 1 && !batch.is_full())
    }

    /// What goes next; `None` if there is nothing.
    pub(super) fn take(&mut self) -> Option<Taken> {
        let batch = self.batches.pop_front();
        if let Some(batch) = &batch {
            self.taken += 1;
            self.batch_bytes = batch.bytes.len().next_power_of_two().min(BATCH_BYTES);
        }
        let next = self.large.iter().position(|large| large.after <= self.taken);
        let Some(mut large) = next.and_then(|next| self.large.remove(next)) else {
            return batch.map(|batch| Taken { batch, fragment: None });
        };
        let mut batch = batch.unwrap_or_default();
        let fragment = Some(large.frame.next_fragment());
        if large.frame.is_done() {
            batch.weight += large.weight;
            self.go_on(large.behind);
        } else {
            self.large.push_back(large);
        }
        Some(Taken { batch, fragment })
    }

    /// A large frame is through: what waited for it, and what waited for its place, goes on.
    fn go_on(&mut self, behind: VecDeque<Apart>) {
        // There is a place for one, and the others of this source follow it, so this gives none back.
        let back: Vec<_> = behind.into_iter().filter_map(|apart| self.place(apart)).collect();
        back.into_iter().rev().for_each(|apart| self.waiting.push_front(apart));
        while let Some(apart) = self.waiting.pop_front() {
            if let Some(apart) = self.place(apart) {
                self.waiting.push_front(apart);
                return;
            }
        }
    }
}

fn payload_bytes(frame: &PeerFrame) -> usize {
    match frame {
        PeerFrame::Invoke { payload, .. }
        | PeerFrame::Chunk { payload, .. }
        | PeerFrame::Progress { payload, .. }
        | PeerFrame::Result { payload, .. }
        | PeerFrame::Error { payload, .. }
        | PeerFrame::Nack { payload, .. }
        | PeerFrame::Event { payload, .. } => payload.bytes().len(),
        PeerFrame::Forget { .. }
        | PeerFrame::Flood { .. }
        | PeerFrame::Delivered { .. }
        | PeerFrame::Interrupt { .. }
        | PeerFrame::RevokeSubscription { .. }
        | PeerFrame::Kept { .. }
        | PeerFrame::MetaAsk { .. }
        | PeerFrame::MetaAnswer { .. } => 0,
    }
}

/// A payload up to this leaves room for the rest of its frame in what does not go in parts.
const PLAIN_BYTES_MAX: usize = FRAGMENT_BYTES - 8_192;

/// A batch takes what is queued up to this; nothing waits for a batch to fill.
const BATCH_BYTES: usize = 64 << 10;
const BATCH_FRAMES: u32 = 128;
