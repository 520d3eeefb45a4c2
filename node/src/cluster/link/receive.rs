//! The incoming half of a data lane: batches in, frames out, run by run of one realm.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use bytes::Bytes;
use ringfort_proto::cluster::v1 as pb;

use super::{
    convert::Malformed,
    fragment::Reassembly,
    frame::{Packed, Realms, Shape},
    stats::Counters,
};
use crate::{
    router::PeerFrame,
    session::cluster::{Arrived, Incoming},
    wamp::Uri,
};

/// What is kept between the batches of a lane.
#[derive(Default)]
pub(super) struct LaneReader {
    realms: Realms,
    reassembly: Reassembly,
}

impl LaneReader {
    /// The frames of a batch; `received` counts those before it.
    pub(super) fn read<'a>(
        &'a mut self,
        received: &AtomicU64,
        counters: &'a Counters,
        batch: pb::LinkBatch,
    ) -> Result<Frames<'a>, String> {
        let said = u64::from(batch.count);
        note_received(received, batch.first_seq, said)?;
        counters.frames_in.fetch_add(said, Relaxed);
        counters.bytes_in.fetch_add(batch.packed.len() as u64, Relaxed);
        Ok(Frames {
            reader: self,
            counters,
            batch: batch.packed,
            at: 0,
            said,
            held: 0,
            realm: None,
            ahead: None,
            between: false,
            fault: None,
        })
    }
}

/// Checks that no frame is missing before a batch of `count` whose first one is number `first`, and notes its last one.
pub(super) fn note_received(received: &AtomicU64, first: u64, count: u64) -> Result<(), String> {
    let have = received.load(Relaxed);
    if count == 0 {
        return Ok(());
    }
    if first != have + 1 {
        return Err(format!("frame {first} follows frame {have}"));
    }
    received.store(have + count, Relaxed);
    Ok(())
}

/// The frames of one batch in order: [`Self::next_realm`] begins a run of frames of one realm, [`Self::next_frame`] yields them.
pub struct Frames<'a> {
    reader: &'a mut LaneReader,
    counters: &'a Counters,
    batch: Bytes,
    at: usize,
    /// How many frames the batch says that it has, and how many were found.
    said: u64,
    held: u64,
    realm: Option<Uri>,
    /// The first frame of the next run.
    ahead: Option<Found>,
    /// A run has ended, and the next one is not begun.
    between: bool,
    fault: Option<Malformed>,
}

/// A frame for a core, and the bytes it stands in; those of the batch where it says none.
struct Found(Packed, Option<Bytes>);

impl Frames<'_> {
    /// The realm of the frames that follow; what is left of the run before is skipped. `None` at the end of the batch.
    pub fn next_realm(&mut self) -> Option<Uri> {
        while self.next().is_some() {}
        if std::mem::take(&mut self.between) {
            self.realm.clone()
        } else {
            None
        }
    }

    /// The next frame of the run; `None` at its end.
    pub fn next_frame(&mut self) -> Option<PeerFrame> {
        Some(match self.next()? {
            Arrived::Plain(frame, payload) => frame.with(payload.to_payload()),
            Arrived::Frame(frame) => frame,
        })
    }

    /// Skips what is left, and says what was wrong with the batch. Frames before the fault were delivered.
    pub(super) fn finish(mut self) -> Result<(), Malformed> {
        while self.next_realm().is_some() {}
        match self.fault {
            Some(fault) => Err(fault),
            None if self.said != self.held => Err(Malformed::Count {
                said: self.said,
                held: self.held,
            }),
            None => Ok(()),
        }
    }

    /// The next frame of this run, not read yet; that of another realm is put by.
    fn find(&mut self) -> Option<Found> {
        let found = match self.step() {
            Ok(Some((found, false))) => return Some(found),
            Ok(Some((found, true))) => found,
            Ok(None) => return None,
            Err(fault) => return self.give_up(fault),
        };
        self.ahead = Some(found);
        self.between = true;
        None
    }

    /// The next frame for a core, and whether it is of another realm than the one before it.
    fn step(&mut self) -> Result<Option<(Found, bool)>, Malformed> {
        while let Some(mut packed) = Packed::next(&self.batch, &mut self.at)? {
            self.held += 1;
            let mut whole = None;
            if packed.shape() == Shape::Fragment {
                let Some(bytes) = self.reader.reassembly.add(packed.fragment(&self.batch)?)? else {
                    continue;
                };
                packed = Packed::whole(&bytes)?;
                if packed.shape() == Shape::Fragment {
                    return Err(Malformed::Fragment("a fragment in fragments"));
                }
                whole = Some(bytes);
            }
            if packed.shape() == Shape::Unknown {
                self.counters.unknown_frames.fetch_add(1, Relaxed);
                continue;
            }
            let said = packed.realm(whole.as_ref().unwrap_or(&self.batch))?;
            let other = match (said, &self.realm) {
                (None, Some(_)) => false,
                (Some(name), Some(realm)) if name == realm.as_bytes() => false,
                (Some(name), _) => {
                    self.realm = Some(self.reader.realms.name(name)?);
                    true
                }
                (None, None) => return Err(Malformed::NoRealm),
            };
            return Ok(Some((Found(packed, whole), other)));
        }
        Ok(None)
    }

    fn give_up<T>(&mut self, fault: Malformed) -> Option<T> {
        self.fault.get_or_insert(fault);
        self.at = self.batch.len();
        None
    }
}

impl Incoming for Frames<'_> {
    fn next(&mut self) -> Option<Arrived<'_>> {
        if self.between {
            return None;
        }
        let Found(packed, whole) = match self.ahead.take() {
            Some(found) => found,
            None => self.find()?,
        };
        let frame = match &whole {
            None => match packed.plain(&self.batch) {
                Some((frame, tail)) => return Some(Arrived::Plain(frame, tail.of(&self.batch))),
                None => packed.peer(&self.batch),
            },
            Some(whole) => packed.peer(whole),
        };
        match frame {
            Ok(frame) => Some(Arrived::Frame(frame)),
            Err(fault) => self.give_up(fault),
        }
    }
}

#[cfg(test)]
mod tests;
