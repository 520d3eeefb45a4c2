//! Damaged files: a torn end is cut off, everything else keeps the node from starting.

use std::sync::Arc;

use super::{
    disk::TestDisk,
    durability::{append, entry, id, indices, open, open_with_room, save_vote, vote},
};
use crate::cluster::raft::store::{
    LogStore, OpenError,
    disk::Disk,
    file::{FileLog, Sizes},
};

fn reopen(disk: Arc<TestDisk>) -> Result<FileLog, OpenError> {
    let sizes = Sizes {
        segment_bytes: 1 << 20,
        reserve_bytes: 0,
        cache_bytes: 1 << 20,
    };
    FileLog::open(disk, "test", 1, sizes, Arc::new(|error| panic!("{error}")))
}

/// One segment: a vote and four entries, each acknowledged before the next.
fn written() -> (Arc<TestDisk>, String) {
    let disk = Arc::new(TestDisk::default());
    let log = open(&disk, 1 << 20);
    save_vote(&log, vote(1));
    for index in 0..4 {
        append(&log, vec![entry(1, index, 20)]);
    }
    drop(log);
    let name = disk.names("log-")[0].clone();
    (disk, name)
}

/// Where the last frame of `written` begins.
fn last_frame(disk: &TestDisk, name: &str) -> usize {
    let bytes = disk.read(name).expect("the file");
    bytes
        .windows(4)
        .rposition(|four| four == 0x4d46_5246_u32.to_le_bytes())
        .expect("a frame")
}

#[test]
fn a_log_cut_anywhere_keeps_what_stands_before_the_cut() {
    let (disk, name) = written();
    let length = disk.read(&name).expect("the file").len();
    let mut seen = Vec::new();
    for cut in 0..=length {
        let copy = disk.copy();
        copy.edit(&name, |bytes| bytes.truncate(cut));
        let log = reopen(copy.clone()).expect("a torn end is no damage");
        let found = indices(&log);
        assert_eq!(found, (0..found.len() as u64).map(|index| (1, index)).collect::<Vec<_>>());
        seen.push(found.len());
        // It goes on where it was cut, and stands another restart.
        append(&log, vec![entry(2, found.len() as u64, 5)]);
        drop(log);
        assert_eq!(indices(&reopen(copy).expect("a whole log")).len(), found.len() + 1);
    }
    assert!(seen.is_sorted());
    assert_eq!(seen.last(), Some(&4));
}

#[test]
fn a_flipped_bit_anywhere_keeps_the_node_from_starting() {
    let (disk, name) = written();
    let length = disk.read(&name).expect("the file").len();
    for at in 0..length {
        for bit in [0, 7] {
            let copy = disk.copy();
            copy.edit(&name, |bytes| bytes[at] ^= 1 << bit);
            match reopen(copy).err() {
                Some(OpenError::Corrupt { path, remedy, .. }) => {
                    assert!(path.ends_with(&name) && remedy.contains("join as a new node"));
                }
                other => panic!("byte {at} bit {bit}: {other:?}"),
            }
        }
    }
}

#[test]
fn the_error_names_file_offset_and_remedy() {
    let (disk, name) = written();
    let at = last_frame(&disk, &name);
    disk.edit(&name, |bytes| bytes[at + 40] ^= 1);
    let text = reopen(disk).err().expect("a refusal").to_string();
    assert!(
        text.contains(&format!("/test/{name} is damaged at offset {at}:")) && text.contains("Remove the node from the cluster"),
        "{text}"
    );
}

#[test]
fn a_damaged_length_in_the_middle_is_not_taken_for_the_end() {
    let (disk, name) = written();
    let bytes = disk.read(&name).expect("the file");
    let second = bytes
        .windows(4)
        .position(|four| four == 0x4d46_5246_u32.to_le_bytes())
        .expect("a frame");
    disk.edit(&name, |bytes| bytes[second + 6] = 0x7f);
    assert!(matches!(reopen(disk).err(), Some(OpenError::Corrupt { .. })));
}

#[test]
fn a_file_lengthened_without_its_data_is_cut_back() {
    let (disk, name) = written();
    let whole = disk.copy();
    whole.edit(&name, |bytes| bytes.resize(bytes.len() + 2000, 0));
    assert_eq!(indices(&reopen(whole).expect("a torn end")).len(), 4);
    // The last frame spans sectors, one of which never arrived.
    let log = open(&disk, 1 << 20);
    append(&log, vec![entry(1, 4, 3000)]);
    drop(log);
    let at = last_frame(&disk, &name);
    disk.edit(&name, |bytes| bytes[(at / 512 + 2) * 512..(at / 512 + 3) * 512].fill(0));
    assert_eq!(indices(&reopen(disk).expect("a torn end")).len(), 4);
}

#[test]
fn room_for_what_follows_is_no_damage_and_a_write_torn_in_it_is_cut_off() {
    let disk = Arc::new(TestDisk::default());
    let log = open_with_room(&disk, 1 << 20, 4096);
    append(&log, vec![entry(1, 0, 20)]);
    append(&log, vec![entry(1, 1, 3000)]);
    drop(log);
    let name = disk.names("log-")[0].clone();
    let bytes = disk.read(&name).expect("the file");
    assert!(bytes.ends_with(&[0; 900]), "there is room");
    assert_eq!(indices(&reopen(disk.copy()).expect("a whole log")), [(1, 0), (1, 1)]);
    // The last frame's second sector was lost while it was written; nothing vouches for it.
    let torn = disk.copy();
    let at = last_frame(&disk, &name);
    torn.edit(&name, |bytes| bytes[(at / 512 + 1) * 512..(at / 512 + 2) * 512].fill(0));
    assert_eq!(indices(&reopen(torn).expect("a torn end")), [(1, 0)]);
    // One that is vouched for is damage, whatever follows.
    let log = open_with_room(&disk, 1 << 20, 4096);
    append(&log, vec![entry(1, 2, 20)]);
    drop(log);
    disk.edit(&name, |bytes| bytes[(at / 512 + 1) * 512..(at / 512 + 2) * 512].fill(0));
    assert!(matches!(reopen(disk).err(), Some(OpenError::Corrupt { .. })));
}

#[test]
fn what_was_never_synced_may_be_damaged_in_any_order() {
    let (disk, name) = written();
    let log = open(&disk, 1 << 20);
    // Written without a sync: two frames nobody vouches for, of which the first did not arrive.
    log.save_committed(id(1, 1)).expect("a writer");
    drop(log);
    let log = reopen(disk.clone()).expect("a whole log");
    let at = disk.read(&name).expect("the file").len();
    log.save_committed(id(1, 2)).expect("a writer");
    drop(log);
    assert!(disk.read(&name).expect("the file").len() > at);
    disk.edit(&name, |bytes| bytes[at..at + 32].fill(0));
    let log = reopen(disk).expect("a torn end");
    assert_eq!((indices(&log).len(), log.marks().committed), (4, Some(id(1, 1))));
}

#[test]
fn only_the_last_segment_may_be_torn() {
    let disk = Arc::new(TestDisk::default());
    let log = open(&disk, 600);
    for index in 0..30 {
        append(&log, vec![entry(1, index, 50)]);
    }
    drop(log);
    let names = disk.names("log-");
    assert!(names.len() > 3, "{names:?}");
    let short = disk.copy();
    short.edit(&names[1], |bytes| bytes.truncate(bytes.len() - 1));
    assert!(matches!(reopen(short).err(), Some(OpenError::Corrupt { .. })));
    for missing in &names[..names.len() - 1] {
        let copy = disk.copy();
        copy.remove(missing).expect("the file");
        let error = reopen(copy).err().expect("a refusal").to_string();
        assert!(
            error.contains("missing") || error.contains("neither present nor purged"),
            "{error}"
        );
    }
    let unborn = disk.copy();
    unborn.edit(names.last().expect("some"), |bytes| bytes.truncate(10));
    let before = indices(&reopen(unborn.clone()).expect("an interrupted creation"));
    assert!(!before.is_empty() && indices(&reopen(unborn).expect("a whole log")) == before);
}

#[test]
fn a_newer_format_is_left_alone() {
    let (disk, name) = written();
    disk.edit(&name, |bytes| {
        bytes[8..12].copy_from_slice(&2u32.to_le_bytes());
        let head = 20 + u32::from_le_bytes(bytes[12..16].try_into().expect("four bytes")) as usize;
        let mut crc = crc32fast::Hasher::new();
        crc.update(&bytes[8..16]);
        crc.update(&bytes[20..head]);
        let crc = crc.finalize();
        bytes[16..20].copy_from_slice(&crc.to_le_bytes());
    });
    let before = disk.read(&name).expect("the file");
    assert!(matches!(
        reopen(disk.clone()).err(),
        Some(OpenError::Newer { found: 2, known: 1, .. })
    ));
    assert_eq!(disk.read(&name).expect("the file"), before);
}

mod snapshots {
    use std::sync::Arc;

    use bytes::Bytes;

    use super::{TestDisk, id};
    use crate::cluster::raft::{
        store::{OpenError, disk::Disk, snapshot::Snapshots},
        types::{LogId, Snapshot, SnapshotMeta, StoredMembership},
    };

    fn snapshot(index: u64) -> Snapshot {
        let meta = SnapshotMeta {
            last_log_id: Some(id(1, index)),
            last_membership: StoredMembership::default(),
        };
        Snapshot {
            meta,
            snapshot: Bytes::from(format!("state at {index}")),
        }
    }

    fn open(disk: &Arc<TestDisk>, purged: Option<LogId>) -> Result<Snapshots, OpenError> {
        Snapshots::on_disk(disk.clone(), "test", purged)
    }

    async fn newest(snapshots: &Snapshots) -> Bytes {
        snapshots
            .newest()
            .await
            .expect("a healthy disk")
            .expect("a snapshot")
            .snapshot
    }

    #[tokio::test]
    async fn the_last_two_are_kept_and_survive_a_power_cut() {
        let disk = Arc::new(TestDisk::default());
        let kept = open(&disk, None).expect("a folder");
        for index in [5, 9, 12] {
            kept.save(snapshot(index)).await.expect("a healthy disk");
            let cut = disk.after_power_cut(|_| 0);
            assert_eq!(
                newest(&open(&cut, None).expect("a folder")).await,
                format!("state at {index}")
            );
        }
        kept.save(snapshot(7)).await.expect("an older one is no news");
        assert_eq!(newest(&kept).await, "state at 12");
        assert_eq!(disk.names("snapshot-").len(), 2);
        let mut other = disk.copy();
        assert!(matches!(
            Snapshots::on_disk(other.clone(), "another", None).err(),
            Some(OpenError::Foreign { .. })
        ));
        // An unfinished one is swept away.
        drop(other.create("snapshot-x.rfs.tmp").expect("a file"));
        open(&other, None).expect("a folder");
        assert_eq!(other.names("").len(), 2);
        other = disk.copy();
        assert_eq!(newest(&open(&other, Some(id(1, 12))).expect("a folder")).await, "state at 12");
        assert!(
            matches!(open(&other, Some(id(1, 13))).err(), Some(OpenError::Corrupt { .. })),
            "the log is purged beyond it"
        );
    }

    #[tokio::test]
    async fn a_damaged_one_is_passed_over_while_the_log_reaches_the_one_before() {
        let disk = Arc::new(TestDisk::default());
        let kept = open(&disk, None).expect("a folder");
        kept.save(snapshot(5)).await.expect("a healthy disk");
        kept.save(snapshot(9)).await.expect("a healthy disk");
        let name = disk.names("snapshot-")[1].clone();
        for at in 0..disk.read(&name).expect("the file").len() {
            let copy = disk.copy();
            copy.edit(&name, |bytes| bytes[at] ^= 0x40);
            assert_eq!(
                newest(&open(&copy, Some(id(1, 4))).expect("the older one")).await,
                "state at 5"
            );
            let refused = open(&copy, Some(id(1, 9))).err().expect("a refusal").to_string();
            assert!(refused.contains(&name), "{refused}");
        }
    }
}
