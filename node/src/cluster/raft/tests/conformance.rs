//! openraft's own suite for stores, over both logs.

use std::sync::Arc;

use bytes::Bytes;
use openraft::{
    StorageError,
    testing::log::{StoreBuilder, Suite},
};
use tokio::sync::Notify;

use crate::cluster::{
    consensus::StateMachine,
    raft::{
        state_machine::Machine,
        store::{
            Log,
            disk::{Disk, RealDisk},
            file::{FileLog, Sizes},
            memory::MemoryLog,
            snapshot::Snapshots,
        },
        types::Types,
    },
};

struct Nothing;

impl StateMachine for Nothing {
    fn apply(&mut self, _: u64, _: &[u8]) -> Bytes {
        Bytes::new()
    }

    fn applied_to(&mut self, _: u64) {}

    fn snapshot(&self) -> Vec<u8> {
        Vec::new()
    }

    fn restore(&mut self, _: u64, _: &[u8]) -> Result<(), String> {
        Ok(())
    }
}

fn machine(snapshots: Snapshots) -> Machine {
    Machine::new(Box::new(Nothing), snapshots, u64::MAX, Arc::new(Notify::new()))
}

/// Tiny segments and hardly any cache, so that rotation and reading back take part.
fn on(disk: Arc<dyn Disk>) -> (Log, Machine) {
    let sizes = Sizes {
        segment_bytes: 4096,
        reserve_bytes: 512,
        cache_bytes: 256,
    };
    let log = FileLog::open(disk.clone(), "test", 0, sizes, Arc::new(|error| panic!("{error}"))).expect("a log");
    let snapshots = Snapshots::on_disk(disk, "test", None).expect("snapshots");
    (Log::new(Arc::new(log)), machine(snapshots))
}

struct InMemory;

impl StoreBuilder<Types, Log, Machine, ()> for InMemory {
    async fn build(&self) -> Result<((), Log, Machine), StorageError<Types>> {
        Ok(((), Log::new(Arc::new(MemoryLog::new())), machine(Snapshots::in_memory())))
    }
}

struct OnRealDisk;

impl StoreBuilder<Types, Log, Machine, tempfile::TempDir> for OnRealDisk {
    async fn build(&self) -> Result<(tempfile::TempDir, Log, Machine), StorageError<Types>> {
        let folder = tempfile::tempdir().expect("a folder");
        let (log, machine) = on(Arc::new(RealDisk::open(folder.path()).expect("a disk")));
        Ok((folder, log, machine))
    }
}

#[tokio::test]
async fn the_log_in_memory_passes_openrafts_suite() {
    Suite::test_all(InMemory).await.expect("conformance");
}

#[tokio::test]
async fn the_log_in_files_passes_openrafts_suite() {
    Suite::test_all(OnRealDisk).await.expect("conformance");
}
