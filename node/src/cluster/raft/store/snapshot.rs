//! Snapshots of the state machine: as files, or in memory where there is no disk.
//!
//! ```text
//! file = magic 8 · version u32 · head length u32 · data length u64 · crc u32 · head (RaftSnapshotFile) · data    (little-endian)
//! ```
//!
//! A file appears under its name only when it is whole and durable. The newest and the one before are kept; the log is purged behind
//! the newest alone, so falling back to the older one is possible only while the log still reaches that far.

use std::{io, sync::Arc};

use bytes::Bytes;
use parking_lot::Mutex;
use prost::Message;
use ringfort_proto::cluster::v1 as pb;
use tokio::sync::oneshot;

use super::{OpenError, disk::Disk};
use crate::cluster::raft::{
    convert,
    types::{LogId, Snapshot, SnapshotMeta},
};

/// Where snapshots are kept. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Snapshots(Arc<Place>);

enum Place {
    Memory(Mutex<Option<Snapshot>>),
    Disk {
        disk: Arc<dyn Disk>,
        cluster_id: String,
        newest: Mutex<Option<SnapshotMeta>>,
    },
}

impl Snapshots {
    /// Keeps the newest snapshot in memory.
    pub(crate) fn in_memory() -> Self {
        Self(Arc::new(Place::Memory(Mutex::new(None))))
    }

    /// Keeps snapshots as files, and finds those that are there. `purged` is how far the log has been dropped.
    ///
    /// # Errors
    /// Where no readable snapshot reaches `purged`: what lies before it is lost on this node.
    pub(crate) fn on_disk(disk: Arc<dyn Disk>, cluster_id: &str, purged: Option<LogId>) -> Result<Self, OpenError> {
        let io = |source| OpenError::Io {
            path: disk.path(""),
            source,
        };
        let names = disk.list().map_err(io)?;
        for unfinished in names.iter().filter(|name| name.starts_with(PREFIX) && name.ends_with(".tmp")) {
            disk.remove(unfinished).map_err(io)?;
        }
        let mut newest = None;
        let mut damage = None;
        for name in sorted(names).iter().rev() {
            match load(&*disk, name, cluster_id) {
                Ok(snapshot) if snapshot.meta.last_log_id >= purged => {
                    newest = Some(snapshot.meta);
                    break;
                }
                Ok(_) => break,
                Err(error @ (OpenError::Newer { .. } | OpenError::Foreign { .. })) => return Err(error),
                Err(error) => {
                    tracing::warn!(%error, "a snapshot is unreadable, trying the one before it");
                    damage = damage.or(Some(error));
                }
            }
        }
        if newest.is_none() && purged.is_some() {
            return Err(damage.unwrap_or_else(|| OpenError::Corrupt {
                path: disk.path(PREFIX),
                offset: 0,
                what: "the log was shortened behind a snapshot that is not here".to_owned(),
                remedy: super::segment::describe_remedy(&disk.path("")),
            }));
        }
        Ok(Self(Arc::new(Place::Disk {
            disk,
            cluster_id: cluster_id.to_owned(),
            newest: Mutex::new(newest),
        })))
    }

    /// Whether there is any.
    pub(crate) fn is_empty(&self) -> bool {
        self.newest_meta().is_none()
    }

    /// What the newest snapshot covers.
    pub(crate) fn newest_meta(&self) -> Option<SnapshotMeta> {
        match &*self.0 {
            Place::Memory(snapshot) => snapshot.lock().as_ref().map(|snapshot| snapshot.meta.clone()),
            Place::Disk { newest, .. } => newest.lock().clone(),
        }
    }

    /// The newest snapshot.
    pub(crate) async fn newest(&self) -> io::Result<Option<Snapshot>> {
        match &*self.0 {
            Place::Memory(snapshot) => Ok(snapshot.lock().clone()),
            Place::Disk { .. } => {
                let place = self.0.clone();
                off_thread(move || {
                    let Place::Disk {
                        disk,
                        cluster_id,
                        newest,
                    } = &*place
                    else {
                        return Ok(None);
                    };
                    let Some(meta) = newest.lock().clone() else { return Ok(None) };
                    load(&**disk, &name(&meta), cluster_id).map(Some).map_err(io::Error::other)
                })
                .await
            }
        }
    }

    /// Keeps `snapshot`, durably on a disk, unless a newer one is kept already.
    pub(crate) async fn save(&self, snapshot: Snapshot) -> io::Result<()> {
        match &*self.0 {
            Place::Memory(kept) => {
                let mut kept = kept.lock();
                if kept
                    .as_ref()
                    .is_none_or(|kept| kept.meta.last_log_id <= snapshot.meta.last_log_id)
                {
                    *kept = Some(snapshot);
                }
                Ok(())
            }
            Place::Disk { .. } => {
                let place = self.0.clone();
                off_thread(move || {
                    let Place::Disk {
                        disk,
                        cluster_id,
                        newest,
                    } = &*place
                    else {
                        return Ok(());
                    };
                    // Held while writing: a snapshot built here and one received at the same moment take turns.
                    let mut newest = newest.lock();
                    if newest
                        .as_ref()
                        .is_some_and(|kept| kept.last_log_id >= snapshot.meta.last_log_id)
                    {
                        return Ok(());
                    }
                    store(&**disk, cluster_id, &snapshot)?;
                    *newest = Some(snapshot.meta);
                    for old in sorted(disk.list()?).iter().rev().skip(KEPT) {
                        disk.remove(old)?;
                    }
                    Ok(())
                })
                .await
            }
        }
    }
}

fn store(disk: &dyn Disk, cluster_id: &str, snapshot: &Snapshot) -> io::Result<()> {
    let meta = Some(convert::snapshot_meta_to_pb(&snapshot.meta));
    let head = pb::RaftSnapshotFile {
        cluster_id: cluster_id.to_owned(),
        meta,
    }
    .encode_to_vec();
    let mut fixed = Vec::with_capacity(FIXED);
    fixed.extend_from_slice(MAGIC);
    fixed.extend_from_slice(&VERSION.to_le_bytes());
    fixed.extend_from_slice(&u32::try_from(head.len()).map_err(io::Error::other)?.to_le_bytes());
    fixed.extend_from_slice(&(snapshot.snapshot.len() as u64).to_le_bytes());
    fixed.extend_from_slice(&checksum(&fixed[8..], &head, &snapshot.snapshot).to_le_bytes());
    disk.write_whole(&name(&snapshot.meta), &[&fixed, &head, &snapshot.snapshot])
}

fn load(disk: &dyn Disk, name: &str, cluster_id: &str) -> Result<Snapshot, OpenError> {
    let path = disk.path(name);
    let corrupt = |what: &str| OpenError::Corrupt {
        path: path.clone(),
        offset: 0,
        what: what.to_owned(),
        remedy: super::segment::describe_remedy(&path),
    };
    let bytes = Bytes::from(disk.read(name).map_err(|source| OpenError::Io {
        path: path.clone(),
        source,
    })?);
    let fixed = bytes.get(..FIXED).ok_or_else(|| corrupt("the snapshot is cut short"))?;
    if &fixed[..8] != MAGIC {
        return Err(corrupt("the file does not begin like a snapshot"));
    }
    let number = |from: usize, to: usize| {
        fixed[from..to]
            .iter()
            .rev()
            .fold(0u64, |sum, byte| sum << 8 | u64::from(*byte))
    };
    let head_length = usize::try_from(number(12, 16)).unwrap_or(usize::MAX);
    let data_length = usize::try_from(number(16, 24)).unwrap_or(usize::MAX);
    let data_at = FIXED.saturating_add(head_length);
    if data_at.saturating_add(data_length) != bytes.len() {
        return Err(corrupt("the lengths do not add up"));
    }
    let (head, data) = (&bytes[FIXED..data_at], bytes.slice(data_at..));
    if u64::from(checksum(&fixed[8..24], head, &data)) != number(24, 28) {
        return Err(corrupt("checksum does not match"));
    }
    let version = u32::try_from(number(8, 12)).unwrap_or(u32::MAX);
    if version != VERSION {
        return Err(OpenError::Newer {
            path,
            found: version,
            known: VERSION,
        });
    }
    let head = pb::RaftSnapshotFile::decode(head).map_err(|_| corrupt("the head does not decode"))?;
    if head.cluster_id != cluster_id {
        let text = |id: &str| format!("of cluster \"{id}\"");
        return Err(OpenError::Foreign {
            path,
            found: text(&head.cluster_id),
            expected: text(cluster_id),
        });
    }
    let meta = head.meta.as_ref().ok_or_else(|| corrupt("it does not say what it covers"))?;
    let meta = convert::snapshot_meta_from_pb(meta).map_err(|error| corrupt(&error.to_string()))?;
    Ok(Snapshot { meta, snapshot: data })
}

fn checksum(fixed: &[u8], head: &[u8], data: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(fixed);
    crc.update(head);
    crc.update(data);
    crc.finalize()
}

/// Names sort by index and then term, as log ids do within one history.
fn name(meta: &SnapshotMeta) -> String {
    let (index, term) = meta
        .last_log_id
        .map_or((0, 0), |id| (id.index(), id.committed_leader_id().term));
    format!("{PREFIX}{index:020}-{term:020}{SUFFIX}")
}

fn sorted(mut names: Vec<String>) -> Vec<String> {
    names.retain(|name| name.starts_with(PREFIX) && name.ends_with(SUFFIX));
    names.sort_unstable();
    names
}

/// Runs blocking file work on a thread of its own: the caller's thread also keeps the heartbeats.
async fn off_thread<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    let (done, result) = oneshot::channel();
    std::thread::Builder::new().name("raft-snapshot".to_owned()).spawn(move || {
        // The receiver is gone only when the node is stopping.
        let _ = done.send(work());
    })?;
    result.await.map_err(|_| io::Error::other("the snapshot thread panicked"))?
}

const MAGIC: &[u8; 8] = b"RFRTSNP\n";
const VERSION: u32 = 1;
const FIXED: usize = 28;
const PREFIX: &str = "snapshot-";
const SUFFIX: &str = ".rfs";
/// How many snapshot files stay.
const KEPT: usize = 2;
