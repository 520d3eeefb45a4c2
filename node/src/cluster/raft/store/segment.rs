//! The layout of one segment file of the log, and what a damaged one means.
//!
//! ```text
//! segment = magic 8 · version u32 · length u32 · crc u32 · head (RaftSegmentHead)      then frames
//! frame   = magic u32 · body length u32 · position u64 · durable u64 · zero u32 · crc u32      then body, then one end byte
//! body    = records: length u32 · crc u32 · RaftLogRecord                                        (all integers little-endian)
//! ```
//!
//! One frame is one write. `durable` says how much of the file was known to be synced when the frame was written. That is what tells
//! a torn write from rotten bytes: an unreadable frame that a later frame calls durable was acknowledged once and is now lost, and
//! the node must not vote with such a log; one that nothing vouches for, and that is short or has a sector of zeros, was never
//! acknowledged and is cut off. Behind the last frame of the segment that is being written there may be zeros, room for what follows.

use std::path::Path;

use bytes::Bytes;
use prost::Message;
use ringfort_proto::cluster::v1 as pb;

/// The version of the layout above.
pub(super) const VERSION: u32 = 1;
const MAGIC: &[u8; 8] = b"RFRTLOG\n";
const SEGMENT_FIXED: usize = 20;
const FRAME_MAGIC: u32 = 0x4d46_5246;
const FRAME_HEAD: usize = 32;
const FRAME_END: u8 = 0xa5;
const RECORD_HEAD: usize = 8;
/// The smallest unit a disk writes whole.
const SECTOR: usize = 512;

/// The name of segment `number`.
pub(super) fn name(number: u64) -> String {
    format!("log-{number:020}.rfl")
}

/// The number of a segment, where `name` is one.
pub(super) fn number(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("log-")?.strip_suffix(".rfl")?;
    (digits.len() == 20).then(|| digits.parse().ok()).flatten()
}

/// Encodes the beginning of a segment.
pub(super) fn encode_head(head: &pb::RaftSegmentHead) -> Vec<u8> {
    let body = head.encode_to_vec();
    let mut out = Vec::with_capacity(SEGMENT_FIXED + body.len());
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&length(&body).to_le_bytes());
    let mut crc = crc32fast::Hasher::new();
    crc.update(&out[8..16]);
    crc.update(&body);
    out.extend_from_slice(&crc.finalize().to_le_bytes());
    out.extend_from_slice(&body);
    out
}

/// Appends one record, with its length and checksum, to a frame body. Returns where its protobuf bytes begin in `body`.
pub(super) fn encode_record(record: &pb::RaftLogRecord, body: &mut Vec<u8>) -> usize {
    let encoded = record.encode_to_vec();
    let size = length(&encoded).to_le_bytes();
    body.extend_from_slice(&size);
    body.extend_from_slice(&record_crc(size, &encoded).to_le_bytes());
    let at = body.len();
    body.extend_from_slice(&encoded);
    at
}

/// Checks and decodes one record read back on its own, `bytes` beginning at its protobuf.
pub(super) fn decode_record(head: [u8; RECORD_HEAD], bytes: Bytes) -> Result<pb::RaftLogRecord, &'static str> {
    let (size, crc) = split_record_head(head);
    if size as usize != bytes.len() || record_crc(size.to_le_bytes(), &bytes) != crc {
        return Err("checksum of a record does not match");
    }
    pb::RaftLogRecord::decode(bytes).map_err(|_| "a record does not decode")
}

/// Encodes the head of a frame whose body has `body` bytes.
pub(super) fn encode_frame_head(body: usize, position: u64, durable: u64) -> [u8; FRAME_HEAD] {
    let mut out = [0; FRAME_HEAD];
    out[0..4].copy_from_slice(&FRAME_MAGIC.to_le_bytes());
    out[4..8].copy_from_slice(
        &u32::try_from(body)
            .expect("the writer bounds a frame well below 4 GiB")
            .to_le_bytes(),
    );
    out[8..16].copy_from_slice(&position.to_le_bytes());
    out[16..24].copy_from_slice(&durable.to_le_bytes());
    let crc = crc32fast::hash(&out[..28]);
    out[28..32].copy_from_slice(&crc.to_le_bytes());
    out
}

/// Bytes of a frame before its body.
pub(super) const fn frame_head_length() -> usize {
    FRAME_HEAD
}

/// Bytes of a record before its protobuf.
pub(super) const fn record_head_length() -> usize {
    RECORD_HEAD
}

/// The byte after every body; not zero, so that a sector never written differs from one written.
pub(super) const fn frame_end() -> u8 {
    FRAME_END
}

/// A segment as read from disk.
pub(super) struct Segment {
    pub(super) head: pb::RaftSegmentHead,
    /// Each record with the offset and length of its protobuf bytes.
    pub(super) records: Vec<(u64, u32, pb::RaftLogRecord)>,
    /// Where the last good frame ends.
    pub(super) end: u64,
    /// Bytes after `end`, the remains of a write that never completed; 0 where only room stands there that was reserved.
    pub(super) torn: u64,
}

/// Why a segment cannot be used.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Damage {
    /// The segment was being created: it holds nothing and can be removed.
    Unborn,
    /// Written by a newer version of this program.
    Newer { version: u32 },
    /// Bytes that were durable once have changed.
    Corrupt { offset: u64, what: &'static str },
}

/// Which place a segment has in the log.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// A later one exists: nothing here may be incomplete.
    Closed,
    /// The one being written when the node stopped.
    Last,
}

/// Reads a whole segment.
pub(super) fn parse(bytes: &Bytes, place: Place) -> Result<Segment, Damage> {
    let (head, start) = parse_head(bytes, place)?;
    let mut records = Vec::new();
    let mut at = start;
    while at < bytes.len() {
        match parse_frame(bytes, at, &mut records) {
            Ok(end) => at = end,
            Err(what) => {
                if place == Place::Closed || !is_torn(bytes, at) {
                    return Err(Damage::Corrupt { offset: at as u64, what });
                }
                break;
            }
        }
    }
    let rest = &bytes[at..];
    let reserved = rest.iter().all(|byte| *byte == 0);
    Ok(Segment {
        head,
        records,
        end: at as u64,
        torn: if reserved { 0 } else { rest.len() as u64 },
    })
}

/// The one line an operator needs when a log file is unreadable.
pub(super) fn describe_remedy(path: &Path) -> String {
    format!(
        "do not delete {} alone: this node may have forgotten what it acknowledged. Remove the node from the cluster, delete its whole data \
         folder, and let it join as a new node; keep a copy of the folder if no other voter is healthy",
        path.display()
    )
}

fn parse_head(bytes: &[u8], place: Place) -> Result<(pb::RaftSegmentHead, usize), Damage> {
    let what = match read_head(bytes) {
        Ok((VERSION, body, end)) => match pb::RaftSegmentHead::decode(body) {
            Ok(head) => return Ok((head, end)),
            Err(_) => "the segment's head does not decode",
        },
        Ok((version, ..)) => return Err(Damage::Newer { version }),
        Err(what) => what,
    };
    // The head is synced before the first frame is written: an incomplete one has nothing behind it.
    let is_short = bytes.len() < SEGMENT_FIXED || bytes.len() < SEGMENT_FIXED.saturating_add(u32_at(bytes, 12) as usize);
    let is_torn = is_short || has_unwritten_sector(bytes, 0, bytes.len());
    if place == Place::Last && is_torn && find_frame(bytes, 0).is_none() {
        return Err(Damage::Unborn);
    }
    Err(Damage::Corrupt { offset: 0, what })
}

/// Splits off a segment's head: its version, its bytes, and where they end.
fn read_head(bytes: &[u8]) -> Result<(u32, &[u8], usize), &'static str> {
    let fixed = bytes.get(..SEGMENT_FIXED).ok_or("the segment's head is cut short")?;
    if &fixed[..8] != MAGIC {
        return Err("the segment does not begin like one");
    }
    let end = SEGMENT_FIXED.saturating_add(u32_at(fixed, 12) as usize);
    let body = bytes.get(SEGMENT_FIXED..end).ok_or("the segment's head is cut short")?;
    let mut crc = crc32fast::Hasher::new();
    crc.update(&fixed[8..16]);
    crc.update(body);
    if crc.finalize() != u32_at(fixed, 16) {
        return Err("checksum of the segment's head does not match");
    }
    Ok((u32_at(fixed, 8), body, end))
}

/// Reads the frame at `at`; returns where it ends.
fn parse_frame(bytes: &Bytes, at: usize, records: &mut Vec<(u64, u32, pb::RaftLogRecord)>) -> Result<usize, &'static str> {
    let head = FrameHead::read(bytes, at).ok_or("the head of a frame is damaged")?;
    let end = head.end(at);
    if end > bytes.len() {
        return Err("a frame is cut short");
    }
    if bytes[end - 1] != FRAME_END {
        return Err("the end of a frame is damaged");
    }
    let (mut cursor, body_end) = (at + FRAME_HEAD, end - 1);
    let kept = records.len();
    while cursor < body_end {
        match parse_record(bytes, cursor, body_end) {
            Ok((record, length)) => {
                let from = cursor + RECORD_HEAD;
                records.push((from as u64, length, record));
                cursor = from + length as usize;
            }
            Err(what) => {
                records.truncate(kept);
                return Err(what);
            }
        }
    }
    Ok(end)
}

fn parse_record(bytes: &Bytes, at: usize, limit: usize) -> Result<(pb::RaftLogRecord, u32), &'static str> {
    let head: [u8; RECORD_HEAD] = bytes
        .get(at..at + RECORD_HEAD)
        .filter(|_| at + RECORD_HEAD <= limit)
        .and_then(|head| head.try_into().ok())
        .ok_or("a record is cut short")?;
    let size = split_record_head(head).0;
    let from = at + RECORD_HEAD;
    let to = from.saturating_add(size as usize);
    if to > limit {
        return Err("the length of a record is damaged");
    }
    // Copied out: a slice would keep the whole segment in memory for as long as one entry of it is cached.
    Ok((decode_record(head, Bytes::copy_from_slice(&bytes[from..to]))?, size))
}

/// Whether the unreadable frame at `at` may be a write that never completed.
fn is_torn(bytes: &[u8], at: usize) -> bool {
    if find_frame(bytes, at + 1).is_some_and(|durable| durable > at as u64) {
        return false;
    }
    match FrameHead::read(bytes, at) {
        Some(head) => head.end(at) > bytes.len() || has_unwritten_sector(bytes, at, head.end(at)),
        None => bytes.len() - at < FRAME_HEAD || has_unwritten_sector(bytes, at, at + FRAME_HEAD),
    }
}

/// The greatest `durable` of the readable frame heads from `from` on.
fn find_frame(bytes: &[u8], from: usize) -> Option<u64> {
    let magic = FRAME_MAGIC.to_le_bytes();
    (from..bytes.len().saturating_sub(FRAME_HEAD - 1))
        .filter(|at| bytes[*at..].starts_with(&magic))
        .filter_map(|at| FrameHead::read(bytes, at))
        .map(|head| head.durable)
        .max()
}

/// Whether some sector's share of `from..to` is all zeros, as where a file was lengthened and the data never arrived.
fn has_unwritten_sector(bytes: &[u8], from: usize, to: usize) -> bool {
    let to = to.min(bytes.len());
    let mut at = from;
    while at < to {
        let end = ((at / SECTOR + 1) * SECTOR).min(to);
        if bytes[at..end].iter().all(|byte| *byte == 0) {
            return true;
        }
        at = end;
    }
    false
}

struct FrameHead {
    body: usize,
    durable: u64,
}

impl FrameHead {
    fn read(bytes: &[u8], at: usize) -> Option<Self> {
        let head = bytes.get(at..at.checked_add(FRAME_HEAD)?)?;
        let valid =
            u32_at(head, 0) == FRAME_MAGIC && crc32fast::hash(&head[..28]) == u32_at(head, 28) && u64_at(head, 8) == at as u64;
        valid.then(|| Self {
            body: u32_at(head, 4) as usize,
            durable: u64_at(head, 16),
        })
    }

    fn end(&self, at: usize) -> usize {
        at + FRAME_HEAD + self.body + 1
    }
}

fn split_record_head(head: [u8; RECORD_HEAD]) -> (u32, u32) {
    (u32_at(&head, 0), u32_at(&head, 4))
}

fn record_crc(size: [u8; 4], encoded: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&size);
    crc.update(encoded);
    crc.finalize()
}

fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).expect("commands are bounded well below 4 GiB when they are proposed")
}

/// `bytes` is known to reach beyond `at + 4`.
fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// `bytes` is known to reach beyond `at + 8`.
fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}
