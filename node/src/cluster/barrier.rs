//! Read barriers: what makes "no such procedure" a statement about the cluster, not about this node's lag.
//!
//! A barrier asks the leader for the index that a read started now has to wait for, and waits until that is applied here. Requests
//! join the next barrier to *start*: one in flight may have got its index before their caller's registration was committed.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use super::leader::Leader;
use crate::{
    router::{BarrierOutcome, LogIndex},
    wamp::Uri,
};

/// Asking and waiting together take no longer.
const DEADLINE: Duration = Duration::from_millis(1_000);
/// Pause between two attempts within the deadline.
const RETRY: Duration = Duration::from_millis(20);

/// The realms that wait for the next barrier, once per request.
#[derive(Default)]
pub struct BarrierQueue {
    waiting: Mutex<Vec<Uri>>,
    filled: Notify,
}

impl BarrierQueue {
    /// Asks for a barrier that starts later than now.
    pub fn push(&self, realm: &Uri) {
        self.waiting.lock().push(realm.clone());
    }

    /// Wakes the keeper if anybody waits.
    pub fn flush(&self) {
        if !self.waiting.lock().is_empty() {
            self.filled.notify_one();
        }
    }
}

/// Runs one barrier after the other; `done` hears each request's outcome.
pub async fn run(
    queue: &BarrierQueue,
    leader: Leader,
    mut applied: watch::Receiver<LogIndex>,
    done: impl Fn(&Uri, BarrierOutcome),
) {
    loop {
        let realms = std::mem::take(&mut *queue.waiting.lock());
        if realms.is_empty() {
            queue.filled.notified().await;
            continue;
        }
        let outcome = match tokio::time::timeout(DEADLINE, pass(&leader, &mut applied)).await {
            Ok(()) => BarrierOutcome::Passed,
            Err(_) => BarrierOutcome::Failed,
        };
        for realm in &realms {
            done(realm, outcome);
        }
    }
}

async fn pass(leader: &Leader, applied: &mut watch::Receiver<LogIndex>) {
    loop {
        match leader.read_index().await {
            Ok(index) => {
                // The sender lives as long as consensus does; when it is gone there is nothing to wait for but the deadline.
                if applied.wait_for(|at| *at >= index).await.is_ok() {
                    return;
                }
            }
            Err(error) => tracing::debug!(%error, "read barrier"),
        }
        tokio::time::sleep(RETRY).await;
    }
}
