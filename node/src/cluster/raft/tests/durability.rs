//! What was acknowledged survives: power cuts on the simulated disk, restarts on the real one.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use parking_lot::Mutex;

use super::{
    disk::TestDisk,
    support::{Directory, History, LONG, Node, Recorder, leader, members, propose, quick, within},
};
use crate::cluster::{
    consensus::{Consensus, ConsensusConfig, Peers, StartError},
    raft::{
        store::{
            LogStore,
            disk::RealDisk,
            file::{FileLog, Sizes},
        },
        types::{Command, Entry, LeaderId, LogId, Payload, Vote},
    },
};

pub(super) fn id(term: u64, index: u64) -> LogId {
    LogId::new(LeaderId { term, node_id: 1 }, index)
}

pub(super) fn entry(term: u64, index: u64, bytes: usize) -> Entry {
    Entry {
        log_id: id(term, index),
        payload: Payload::Normal(Command(Bytes::from(vec![b'x'; bytes]))),
    }
}

pub(super) fn vote(term: u64) -> Vote {
    Vote {
        leader_id: LeaderId { term, node_id: 1 },
        committed: false,
    }
}

pub(super) fn open(disk: &Arc<TestDisk>, segment_bytes: u64) -> FileLog {
    open_with_room(disk, segment_bytes, 0)
}

/// A log that makes so much room at a time.
pub(super) fn open_with_room(disk: &Arc<TestDisk>, segment_bytes: u64, reserve_bytes: u64) -> FileLog {
    let sizes = Sizes {
        segment_bytes,
        reserve_bytes,
        cache_bytes: 1024,
    };
    FileLog::open(disk.clone(), "test", 1, sizes, Arc::new(|error| panic!("{error}"))).expect("a log")
}

/// Appends and waits.
pub(super) fn append(log: &FileLog, entries: Vec<Entry>) {
    let (done, written) = mpsc::channel();
    log.append(entries, Box::new(move |result| done.send(result).expect("a listener")))
        .expect("a writer");
    written.recv_timeout(LONG).expect("an answer").expect("a healthy disk");
}

pub(super) fn save_vote(log: &FileLog, vote: Vote) {
    let (done, written) = mpsc::channel();
    log.save_vote(vote, Box::new(move |result| done.send(result).expect("a listener")))
        .expect("a writer");
    written.recv_timeout(LONG).expect("an answer").expect("a healthy disk");
}

pub(super) fn indices(log: &FileLog) -> Vec<(u64, u64)> {
    let entries = log.entries(0..u64::MAX, usize::MAX).expect("a healthy disk");
    entries
        .iter()
        .map(|entry| (entry.log_id.committed_leader_id().term, entry.log_id.index()))
        .collect()
}

/// Runs a history of appends, votes, truncations and purges, and cuts the power after each acknowledgement. Returns how many cuts
/// lost something acknowledged.
fn cut_power_everywhere(disk: &Arc<TestDisk>, reserve_bytes: u64) -> usize {
    let log = open_with_room(disk, 600, reserve_bytes);
    let mut lost = 0;
    let mut check = |log: &FileLog, vote: u64| {
        for survives in [0, 7, usize::MAX] {
            let cut = disk.after_power_cut(|rest| survives.min(rest));
            let sizes = Sizes {
                segment_bytes: 600,
                reserve_bytes,
                cache_bytes: 1024,
            };
            let found = FileLog::open(cut, "test", 1, sizes, Arc::new(|error| panic!("{error}")));
            let whole = found.is_ok_and(|found| {
                indices(&found) == indices(log) && found.marks().vote.map_or(0, |vote| vote.leader_id.term) == vote
            });
            lost += usize::from(!whole);
        }
    };
    for index in 0..20 {
        append(&log, vec![entry(1, index, 50)]);
        check(&log, 0);
    }
    save_vote(&log, vote(2));
    check(&log, 2);
    log.truncate_after(Some(id(1, 14))).expect("a writer");
    append(&log, vec![entry(2, 15, 300), entry(2, 16, 10)]);
    check(&log, 2);
    log.save_committed(id(2, 15)).expect("a writer");
    log.purge(id(1, 9)).expect("a writer");
    save_vote(&log, vote(3));
    check(&log, 3);
    append(&log, (17..60).map(|index| entry(3, index, 40)).collect());
    log.purge(id(3, 55)).expect("a writer");
    save_vote(&log, vote(4));
    check(&log, 4);
    assert!(
        disk.names("log-").len() < 4,
        "purged segments are removed: {:?}",
        disk.names("log-")
    );
    lost
}

#[test]
fn what_was_acknowledged_survives_a_power_cut_at_any_moment() {
    for reserve_bytes in [0, 100, 5_000] {
        assert_eq!(
            cut_power_everywhere(&Arc::new(TestDisk::default()), reserve_bytes),
            0,
            "{reserve_bytes}"
        );
    }
}

#[test]
fn the_power_cut_test_convicts_a_log_that_does_not_sync() {
    let disk = Arc::new(TestDisk::default());
    disk.lie();
    assert!(cut_power_everywhere(&disk, 0) > 20);
    let disk = Arc::new(TestDisk::default());
    disk.lie();
    assert!(cut_power_everywhere(&disk, 5_000) > 20);
}

#[test]
fn what_a_process_left_unsynced_is_synced_before_the_next_one_vouches_for_it() {
    let disk = Arc::new(TestDisk::default());
    let log = open(&disk, 1 << 20);
    append(&log, vec![entry(1, 0, 10)]);
    // The process ends between writing an entry and syncing it; what it wrote is in the machine's cache.
    disk.lie();
    append(&log, vec![entry(1, 1, 10)]);
    drop(log);
    disk.be_honest();
    assert_eq!(indices(&open(&disk, 1 << 20)), [(1, 0), (1, 1)]);
    let after = disk.after_power_cut(|_| 0);
    assert_eq!(indices(&open(&after, 1 << 20)), [(1, 0), (1, 1)]);
}

#[test]
fn each_acknowledgement_follows_a_sync_and_queued_ones_share_it() {
    let disk = Arc::new(TestDisk::default());
    let log = open(&disk, 1 << 20);
    let before = disk.syncs();
    for index in 0..10 {
        append(&log, vec![entry(1, index, 10)]);
        assert!(disk.syncs() - before > index, "acknowledged without a sync");
    }
    let (first_done, first) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    // The writer is held in the first acknowledgement while a hundred appends queue up behind it.
    let held = Box::new(move |result: io::Result<()>| {
        first_done.send(result).expect("a listener");
        released.recv_timeout(LONG).expect("a release");
    });
    log.append(vec![entry(1, 10, 10)], held).expect("a writer");
    first.recv_timeout(LONG).expect("an answer").expect("a healthy disk");
    let before = disk.syncs();
    let acknowledged = Arc::new(AtomicU64::new(0));
    let (done, all) = mpsc::channel();
    for index in 11..111 {
        let (acknowledged, done) = (acknowledged.clone(), done.clone());
        let callback = move |result: io::Result<()>| {
            result.expect("a healthy disk");
            if acknowledged.fetch_add(1, Ordering::SeqCst) == 99 {
                done.send(()).expect("a listener");
            }
        };
        log.append(vec![entry(1, index, 10)], Box::new(callback)).expect("a writer");
    }
    assert_eq!(acknowledged.load(Ordering::SeqCst), 0);
    release.send(()).expect("a writer");
    all.recv_timeout(LONG).expect("an answer");
    assert_eq!(
        disk.syncs() - before,
        1,
        "a hundred queued appends are one frame and one sync"
    );
    assert_eq!(indices(&log).len(), 111);
}

#[test]
fn a_disk_that_refuses_to_sync_ends_it() {
    let disk = Arc::new(TestDisk::default());
    let failures = Arc::new(Mutex::new(Vec::new()));
    let told = failures.clone();
    let log = FileLog::open(
        disk.clone(),
        "test",
        1,
        Sizes::default(),
        Arc::new(move |error| told.lock().push(error.to_string())),
    )
    .expect("a log");
    append(&log, vec![entry(1, 0, 10)]);
    disk.refuse_syncs();
    for index in 1..3 {
        let (done, written) = mpsc::channel();
        let sent = log.append(
            vec![entry(1, index, 10)],
            Box::new(move |result| done.send(result).expect("a listener")),
        );
        let refused = sent.is_err() || written.recv_timeout(LONG).expect("an answer").is_err();
        assert!(refused, "nothing is acknowledged after a failed sync");
    }
    assert_eq!(*failures.lock(), ["the disk refuses"]);
}

#[test]
fn entries_that_left_the_cache_are_read_back() {
    let disk = Arc::new(TestDisk::default());
    let log = open(&disk, 2000);
    append(&log, (0..100).map(|index| entry(1, index, 200)).collect());
    let entries = log.entries(0..100, usize::MAX).expect("a healthy disk");
    assert_eq!(entries, (0..100).map(|index| entry(1, index, 200)).collect::<Vec<_>>());
    let some = log.entries(20..100, 1000).expect("a healthy disk");
    assert!(
        !some.is_empty() && some.len() < 5 && some[0].log_id.index() == 20,
        "bounded by bytes: {}",
        some.len()
    );
    drop(log);
    assert_eq!(indices(&open(&disk, 2000)).len(), 100);
}

struct Nobody;

impl Peers for Nobody {
    fn channel(&self, _: &str) -> Option<tonic::transport::Channel> {
        None
    }
}

/// Makes a node a cluster of its own, and waits until it leads.
async fn initialize(consensus: &Consensus) {
    consensus.initialize(members([1])).await.expect("a first membership");
    within(consensus.leadership().wait_for(|now| now.is_me))
        .await
        .expect("a running node");
}

async fn start_alone(config: ConsensusConfig) -> Result<(Consensus, Arc<Mutex<History>>), StartError> {
    let history = Arc::new(Mutex::new(History::default()));
    let consensus = Consensus::start(config, Box::new(Recorder(history.clone())), Arc::new(Nobody)).await?;
    Ok((consensus, history))
}

#[tokio::test]
async fn three_nodes_restarted_from_disk_hold_every_acknowledged_command_in_order() {
    let folders: Vec<_> = (0..3).map(|_| tempfile::tempdir().expect("a folder")).collect();
    let mut acknowledged = Vec::new();
    for round in 0..3 {
        let directory = Arc::new(Directory::default());
        let mut nodes = Vec::new();
        for (folder, id) in folders.iter().zip(1..) {
            let small = |config: &mut ConsensusConfig| {
                (config.snapshot_entries, config.kept_entries, config.segment_bytes) = (150, 20, 4096)
            };
            nodes.push(Node::start(&directory, id, Some(folder.path().to_owned()), small).await);
        }
        if round == 0 {
            nodes[0]
                .consensus
                .initialize(members(1..=3))
                .await
                .expect("a first membership");
        }
        let at = leader(&nodes).await;
        let before = nodes[at].consensus.log_state();
        let mut last = 0;
        let commands: Vec<String> = (0..200).map(|n| format!("{round} {n}")).collect();
        for batch in commands.chunks(10) {
            last = *propose(&nodes[at], batch.to_vec()).await.last().expect("some");
            acknowledged.extend(batch.iter().map(|command| command.clone().into_bytes()));
        }
        let after = nodes[at].consensus.log_state();
        assert!(
            after.durable && after.syncs - before.syncs >= 20,
            "twenty batches, one after the other: {before:?} {after:?}"
        );
        for node in &nodes {
            node.applied(last).await;
            assert_eq!(node.commands(), acknowledged, "on {} in round {round}", node.name);
        }
        for node in nodes {
            node.kill(&directory).await;
        }
    }
    for folder in &folders {
        let kept = || {
            let names = std::fs::read_dir(folder.path().join("raft"))
                .expect("a folder")
                .map(|entry| entry.expect("an entry").file_name());
            names.filter(|name| name.to_string_lossy().starts_with("snapshot-")).count()
        };
        // The thread that writes a snapshot outlives the node: for a moment there is a new one beside the two.
        let begun = Instant::now();
        while !(1..=2).contains(&kept()) {
            assert!(begun.elapsed() < LONG, "{} snapshots are kept", kept());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

#[tokio::test]
async fn a_lone_node_comes_back_with_its_log_and_at_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = || {
        let mut config = ConsensusConfig::new("test", 1, "n1");
        config.data_dir = Some(folder.path().to_owned());
        (config.election_min, config.election_max) = (Duration::from_secs(30), Duration::from_secs(31));
        (config.quorum_loss_probe, config.propose_timeout) = (Duration::from_secs(62), Duration::from_secs(60));
        config.snapshot_timeout = Duration::from_secs(60);
        config
    };
    let (consensus, _) = start_alone(config()).await.expect("a start");
    initialize(&consensus).await;
    let answers = consensus
        .propose((0..100).map(|n| Bytes::from(format!("{n}"))).collect())
        .await;
    assert!(answers.iter().all(Result::is_ok));
    let second = start_alone(config()).await.err().expect("the folder is in use");
    assert!(
        matches!(&second, StartError::Io { source, .. } if source.kind() == io::ErrorKind::WouldBlock),
        "{second}"
    );
    consensus.shutdown().await;
    drop(consensus);
    let begun = Instant::now();
    let (consensus, history) = start_again(config).await;
    assert!(consensus.is_initialized());
    // The commit mark is stored: most is applied before anyone is elected.
    assert!(history.lock().applied.len() >= 90, "{}", history.lock().applied.len());
    within(consensus.leadership().wait_for(|now| now.is_me))
        .await
        .expect("a running node");
    consensus
        .propose(vec![Bytes::from_static(b"100")])
        .await
        .remove(0)
        .expect("an outcome");
    // Its lease and timeout would take a minute.
    assert!(
        begun.elapsed() < LONG,
        "a lone voter waits for no lease: {:?}",
        begun.elapsed()
    );
    let expected: Vec<Vec<u8>> = (0..=100).map(|n| format!("{n}").into_bytes()).collect();
    assert_eq!(
        history
            .lock()
            .applied
            .iter()
            .map(|(_, command)| command.clone())
            .collect::<Vec<_>>(),
        expected
    );
}

/// The tasks of a node that was shut down let go of its files a moment later.
async fn start_again(config: impl Fn() -> ConsensusConfig) -> (Consensus, Arc<Mutex<History>>) {
    let begun = Instant::now();
    loop {
        match start_alone(config()).await {
            Ok(started) => return started,
            Err(StartError::Io { source, .. }) if source.kind() == io::ErrorKind::WouldBlock && begun.elapsed() < LONG => {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test]
async fn a_folder_of_another_node_or_cluster_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut config = quick(1);
    config.data_dir = Some(folder.path().to_owned());
    let (consensus, _) = start_alone(config.clone()).await.expect("a start");
    consensus.shutdown().await;
    drop(consensus);
    drop(start_again(|| config.clone()).await);
    let mut other = config.clone();
    other.raft_id = 2;
    let mut foreign = config.clone();
    foreign.cluster_id = "another".to_owned();
    for wrong in [other, foreign] {
        let begun = Instant::now();
        loop {
            match start_alone(wrong.clone()).await.err().expect("a refusal") {
                StartError::Foreign(text) => {
                    assert!(text.contains("belongs to node") && text.contains("log-"), "{text}");
                    break;
                }
                StartError::Io { .. } if begun.elapsed() < LONG => tokio::time::sleep(Duration::from_millis(5)).await,
                error => panic!("{error}"),
            }
        }
    }
}

#[test]
fn snapshots_without_a_log_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = || {
        let mut config = quick(1);
        config.data_dir = Some(folder.path().to_owned());
        (config.snapshot_entries, config.kept_entries) = (50, 0);
        config
    };
    // Each run has a runtime of its own: when it is gone, so are all tasks and locks.
    let run = |work: fn(Consensus) -> futures_util::future::BoxFuture<'static, ()>| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let (consensus, _) = start_alone(config()).await?;
            work(consensus).await;
            Ok::<_, StartError>(())
        })
    };
    run(|consensus| {
        Box::pin(async move {
            initialize(&consensus).await;
            consensus
                .propose((0..200).map(|n| Bytes::from(format!("{n}"))).collect())
                .await;
            let begun = Instant::now();
            while consensus.log_state().purged.is_none() {
                assert!(begun.elapsed() < LONG, "{:?}", consensus.log_state());
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
    })
    .expect("a start");
    for entry in std::fs::read_dir(folder.path().join("raft")).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|extension| extension == "rfl") {
            std::fs::remove_file(path).expect("a file");
        }
    }
    let refused = run(|_| Box::pin(async {})).expect_err("a refusal");
    assert!(
        matches!(&refused, StartError::Corrupt(text) if text.contains("snapshots but no log")),
        "{refused}"
    );
}

#[test]
fn a_real_disk_is_locked_and_keeps_what_is_written() {
    use crate::cluster::raft::store::disk::Disk;
    let folder = tempfile::tempdir().expect("a folder");
    let disk = RealDisk::open(&folder.path().join("new")).expect("a disk");
    disk.write_whole("a", &[b"12", b"345"]).expect("a file");
    assert_eq!(disk.list().expect("names"), ["a"]);
    assert_eq!(disk.read_at("a", 1, 3).expect("bytes"), b"234");
    let mut file = disk.open("a", 2).expect("a file");
    file.append(b"6").expect("a write");
    assert_eq!(disk.read("a").expect("bytes"), b"126");
    assert_eq!(
        RealDisk::open(&folder.path().join("new")).err().map(|error| error.kind()),
        Some(io::ErrorKind::WouldBlock)
    );
}
