//! openraft's view of the replicated state machine.
//!
//! The machine itself is a [`StateMachine`]: commands in, outcomes out. Here stand the marks openraft wants kept beside it, the
//! snapshots, and the watch that tells everyone else how far this node has applied.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use openraft::{
    OptionalSend,
    storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine},
};
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use super::{
    store::snapshot::Snapshots,
    types::{LogId, Outcome, Payload, RaftTypes, Snapshot, SnapshotMeta, StoredMembership, weight},
};
use crate::{
    cluster::consensus::StateMachine,
    telemetry::{self, names},
};

/// See the module's text. Clones share one machine.
#[derive(Clone)]
pub(crate) struct Machine(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    snapshots: Snapshots,
    applied: watch::Sender<u64>,
    /// Bytes applied since the last snapshot was begun.
    grown: AtomicU64,
    grown_max: u64,
    /// Wakes whoever asks openraft for a snapshot.
    snapshot_due: Arc<Notify>,
}

struct State {
    machine: Box<dyn StateMachine>,
    last_applied: Option<LogId>,
    membership: StoredMembership,
}

impl Machine {
    /// `snapshot_due` is notified when commands of `grown_max` bytes were applied since the last snapshot.
    pub(crate) fn new(machine: Box<dyn StateMachine>, snapshots: Snapshots, grown_max: u64, snapshot_due: Arc<Notify>) -> Self {
        let state = State {
            machine,
            last_applied: None,
            membership: StoredMembership::default(),
        };
        Self(Arc::new(Shared {
            state: Mutex::new(state),
            snapshots,
            applied: watch::Sender::new(0),
            grown: AtomicU64::new(0),
            grown_max,
            snapshot_due,
        }))
    }

    /// The index up to which everything is applied; 0 before anything was.
    pub(crate) fn applied(&self) -> watch::Receiver<u64> {
        self.0.applied.subscribe()
    }

    /// What the newest snapshot covers.
    pub(crate) fn snapshot_index(&self) -> Option<u64> {
        self.0
            .snapshots
            .newest_meta()
            .and_then(|meta| meta.last_log_id)
            .map(|id| id.index())
    }

    /// The whole state and how far it goes.
    pub(crate) fn state(&self) -> (u64, Bytes) {
        let state = self.0.state.lock();
        (state.last_applied.map_or(0, |id| id.index()), state.machine.snapshot().into())
    }

    fn publish(&self, index: u64) {
        self.0
            .applied
            .send_if_modified(|applied| std::mem::replace(applied, index) != index);
    }
}

impl<C: RaftTypes> RaftStateMachine<C> for Machine {
    type SnapshotData = Bytes;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        let state = self.0.state.lock();
        Ok((state.last_applied, state.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<C>, io::Error>> + Unpin + OptionalSend,
    {
        let mut applied = None;
        let mut bytes = 0;
        while let Some(item) = entries.next().await {
            let (entry, responder) = item?;
            bytes += weight(&entry) as u64;
            let outcome = self.0.state.lock().apply(entry.log_id, &entry.payload);
            applied = Some(entry.log_id.index());
            if let Some(responder) = responder {
                responder.send(outcome);
            }
        }
        if let Some(index) = applied {
            self.0.state.lock().machine.applied_to(index);
            self.publish(index);
        }
        if self.0.grown.fetch_add(bytes, Ordering::Relaxed) + bytes >= self.0.grown_max {
            self.0.snapshot_due.notify_one();
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        let state = self.0.state.lock();
        self.0.grown.store(0, Ordering::Relaxed);
        let meta = SnapshotMeta {
            last_log_id: state.last_applied,
            last_membership: state.membership.clone(),
        };
        Builder {
            snapshot: Snapshot {
                meta,
                snapshot: state.machine.snapshot().into(),
            },
            snapshots: self.0.snapshots.clone(),
        }
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, snapshot: Bytes) -> Result<(), io::Error> {
        let index = meta.last_log_id.map_or(0, |id| id.index());
        {
            let mut state = self.0.state.lock();
            state
                .machine
                .restore(index, &snapshot)
                .map_err(|text| io::Error::new(io::ErrorKind::InvalidData, text))?;
            state.last_applied = meta.last_log_id;
            state.membership = meta.last_membership.clone();
        }
        self.0
            .snapshots
            .save(Snapshot {
                meta: meta.clone(),
                snapshot,
            })
            .await?;
        self.0.grown.store(0, Ordering::Relaxed);
        self.publish(index);
        telemetry::count(&names::RAFT_SNAPSHOTS, &["installed"]);
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, io::Error> {
        self.0.snapshots.newest().await
    }
}

impl State {
    fn apply(&mut self, log_id: LogId, payload: &Payload) -> Outcome {
        self.last_applied = Some(log_id);
        match payload {
            Payload::Blank => Outcome::default(),
            Payload::Normal(command) => Outcome(self.machine.apply(log_id.index(), &command.0)),
            Payload::Membership(membership) => {
                self.membership = StoredMembership::new(Some(log_id), membership.clone());
                Outcome::default()
            }
        }
    }
}

/// A snapshot taken and not yet kept.
pub(crate) struct Builder {
    snapshot: Snapshot,
    snapshots: Snapshots,
}

impl<C: RaftTypes> RaftSnapshotBuilder<C> for Builder {
    type SnapshotData = Bytes;

    async fn build_snapshot(&mut self) -> Result<Snapshot, io::Error> {
        self.snapshots.save(self.snapshot.clone()).await?;
        telemetry::count(&names::RAFT_SNAPSHOTS, &["taken"]);
        Ok(self.snapshot.clone())
    }
}
