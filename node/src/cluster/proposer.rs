//! From effects to the log: gathers the ops of this node, in order, and commits them batch by batch.
//!
//! One batch is under way at a time; what gathers meanwhile is the next one, so a slow disk makes batches larger, not the queue of
//! commits longer. A batch whose outcome is unknown is sent again under the same number: the state machine recognises the repeat.

use std::{
    collections::VecDeque,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::{
    command::{Command, Outcome},
    leader::{Error, Leader},
};
use crate::{
    router::{NodeRef, Op},
    wamp::Uri,
};

/// At most this many ops in one batch.
const BATCH_OPS_MAX: usize = 512;
/// Beyond this no registration is queued and no session begins; ends of sessions always are queued.
const QUEUED_MAX: usize = 100_000;
/// Pause before a batch is sent again.
const RETRY: Duration = Duration::from_millis(50);

/// The ops that wait for the log.
#[derive(Default)]
pub struct OpQueue {
    ops: Mutex<VecDeque<(Uri, Op)>>,
    filled: Notify,
}

impl OpQueue {
    /// Queues an op; never blocks. A REGISTER beyond the bound is dropped: its session hears `unavailable` when the core's deadline
    /// passes.
    pub fn push(&self, realm: &Uri, op: Op) {
        let mut ops = self.ops.lock();
        if ops.len() >= QUEUED_MAX && matches!(op, Op::Register { .. }) {
            tracing::warn!("the log does not keep up: a registration was dropped");
            return;
        }
        ops.push_back((realm.clone(), op));
    }

    /// True while the log is so far behind that no session should be added to what it has to be told.
    pub fn is_full(&self) -> bool {
        self.ops.lock().len() >= QUEUED_MAX
    }

    /// How many ops wait.
    pub fn len(&self) -> usize {
        self.ops.lock().len()
    }

    /// True if none waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Wakes the proposer if there is anything to do.
    pub fn flush(&self) {
        if !self.ops.lock().is_empty() {
            self.filled.notify_one();
        }
    }

    /// Forgets everything queued: the node life it belonged to is over.
    pub fn clear(&self) {
        self.ops.lock().clear();
    }

    fn take(&self) -> Vec<(Uri, Op)> {
        let mut ops = self.ops.lock();
        let count = ops.len().min(BATCH_OPS_MAX);
        ops.drain(..count).collect()
    }
}

/// The time, milliseconds since 1970 (UTC); 0 on a clock that is before that.
fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Commits what is queued for as long as `node` lives; returns when the log says that this life is over.
pub async fn run(queue: &OpQueue, node: NodeRef, leader: Leader) {
    let mut seq = 0;
    loop {
        let ops = queue.take();
        if ops.is_empty() {
            queue.filled.notified().await;
            continue;
        }
        seq += 1;
        let at_ms = unix_ms();
        let batch = Command::Batch { node, seq, at_ms, ops };
        let mut failing = false;
        loop {
            match leader.propose(&batch).await {
                Ok((_, Outcome::Done)) => break,
                Ok((_, Outcome::Fenced)) => return,
                Ok((_, outcome)) => {
                    tracing::error!(?outcome, seq, "a batch was refused");
                    break;
                }
                Err(error) => {
                    if !failing && !matches!(error, Error::NoLeader | Error::NotLeader) {
                        tracing::warn!(%error, "batch not committed yet");
                    }
                    failing = true;
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }
}
