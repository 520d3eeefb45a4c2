//! The bounded queue in front of a store, and the task that empties it.
//!
//! What is queued while a batch is written is the next batch: a store commits once for all of it. A batch that fails is tried again,
//! for no batch harms when it is written twice; meanwhile the queue fills, and what finds no room is dropped and counted.

use std::{
    sync::{
        Arc,
        atomic::{
            AtomicBool, AtomicU64, AtomicUsize,
            Ordering::{AcqRel, Acquire, Relaxed, Release},
        },
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio::sync::{Semaphore, mpsc, oneshot};

use super::{Effort, Error, LogName, RetainedTopic, Store, Write};
use crate::wamp::{
    Uri,
    history::{Filter, Found},
    timestamp::Micros,
};

/// How much may wait for a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueBounds {
    /// Changes.
    pub writes_max: usize,
    /// Their bytes.
    pub bytes_max: usize,
    /// Questions asked at a time; further ones wait, up to eight times as many, and beyond are refused.
    pub queries_max: usize,
}

impl Default for QueueBounds {
    fn default() -> Self {
        Self {
            writes_max: 262_144,
            bytes_max: 64 << 20,
            queries_max: 8,
        }
    }
}

/// What a store's queue has counted since it was built.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreStats {
    /// Changes written.
    pub written: u64,
    /// Batches written.
    pub batches: u64,
    /// Batches that failed and were tried again.
    pub failed: u64,
    /// Changes dropped because the queue was full.
    pub dropped: u64,
}

/// A cheap handle on a store. Writes are queued, questions wait for the writes of this node that came before them.
#[derive(Clone)]
pub struct StoreHandle {
    shared: Arc<Shared>,
}

struct Shared {
    store: Arc<dyn Store>,
    queue: mpsc::Sender<Write>,
    bounds: QueueBounds,
    questions: Semaphore,
    waiting: AtomicUsize,
    queued_bytes: Arc<AtomicUsize>,
    counters: Arc<Counters>,
    laggard: AtomicBool,
}

#[derive(Default)]
struct Counters {
    written: AtomicU64,
    written_bytes: AtomicU64,
    batches: AtomicU64,
    failed: AtomicU64,
    dropped: AtomicU64,
}

/// How many changes one batch has at most.
const BATCH_MAX: usize = 8_192;
/// The pauses between two tries of a batch.
const AGAIN_FIRST: Duration = Duration::from_millis(50);
const AGAIN_LAST: Duration = Duration::from_secs(5);

impl StoreHandle {
    /// Puts a queue before `store` and starts the task that empties it; the task ends when the last handle is dropped and everything
    /// is written.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn start(store: Arc<dyn Store>, bounds: QueueBounds) -> Self {
        let (queue, writes) = mpsc::channel(bounds.writes_max.max(1));
        let (queued_bytes, counters) = (Arc::new(AtomicUsize::new(0)), Arc::new(Counters::default()));
        tokio::spawn(empty(
            Arc::clone(&store),
            writes,
            Arc::clone(&queued_bytes),
            Arc::clone(&counters),
        ));
        let shared = Shared {
            store,
            queue,
            bounds,
            questions: Semaphore::new(bounds.queries_max.max(1)),
            waiting: AtomicUsize::new(0),
            queued_bytes,
            counters,
            laggard: AtomicBool::new(false),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Queues a change; false if there was no room. Never waits.
    pub fn write(&self, write: Write) -> bool {
        let shared = &*self.shared;
        let bytes = write.bytes();
        let room = shared.queued_bytes.fetch_add(bytes, AcqRel).saturating_add(bytes) <= shared.bounds.bytes_max;
        if room && shared.queue.try_send(write).is_ok() {
            return true;
        }
        shared.queued_bytes.fetch_sub(bytes, AcqRel);
        if shared.counters.dropped.fetch_add(1, Relaxed).is_power_of_two() {
            tracing::warn!(
                "the queue of a store is full: what was to be kept is dropped (settings store.queue_bytes_max, queue_writes_max)"
            );
        }
        false
    }

    /// Waits until everything queued before is written.
    ///
    /// # Errors
    /// The store is shut down.
    pub async fn flush(&self) -> Result<(), Error> {
        let (done, written) = oneshot::channel();
        let flush = Write::Flush(done);
        self.shared.queued_bytes.fetch_add(flush.bytes(), AcqRel);
        self.shared.queue.send(flush).await.map_err(|_| Error::Closed)?;
        written.await.map_err(|_| Error::Closed)
    }

    /// The events of a history, those queued before included.
    ///
    /// # Errors
    /// See [`Error`]; also when too many ask at once, or the store does not catch up within ten seconds.
    pub async fn query(&self, log: &LogName, filter: &Filter, effort: Effort) -> Result<Found, Error> {
        let shared = &*self.shared;
        let busy = |reason: &str| Error::Unavailable {
            what: "asking the store",
            reason: reason.to_owned(),
        };
        let _waiting = Waiting::join(&shared.waiting, shared.bounds.queries_max.saturating_mul(9).max(1))
            .ok_or_else(|| busy("too many questions wait (setting store.queries_max)"))?;
        let answer = async {
            let _turn = shared.questions.acquire().await.map_err(|_| Error::Closed)?;
            self.flush().await?;
            shared.store.query(log, filter, effort).await
        };
        let answered = tokio::time::timeout(ANSWER_WITHIN, answer).await;
        answered.unwrap_or_else(|_| Err(busy("it does not answer in time")))
    }

    /// Everything that is retained in a realm.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn retained(&self, realm: &Uri) -> Result<Vec<RetainedTopic>, Error> {
        self.shared.store.retained(realm).await
    }

    /// True if the store outlives this process.
    pub fn is_durable(&self) -> bool {
        self.shared.store.is_durable()
    }

    /// True if all nodes share it.
    pub fn is_shared(&self) -> bool {
        self.shared.store.is_shared()
    }

    /// What was counted.
    pub fn stats(&self) -> StoreStats {
        let counters = &self.shared.counters;
        StoreStats {
            written: counters.written.load(Relaxed),
            batches: counters.batches.load(Relaxed),
            failed: counters.failed.load(Relaxed),
            dropped: counters.dropped.load(Relaxed),
        }
    }

    /// Bytes that wait to be written.
    pub fn queued_bytes(&self) -> usize {
        self.shared.queued_bytes.load(Acquire)
    }

    /// How many bytes were ever written, while the queue is above a quarter of its bound and not given up as too slow.
    pub fn congestion(&self) -> Option<u64> {
        let shared = &*self.shared;
        if shared.queued_bytes.load(Acquire) <= shared.bounds.bytes_max / 4 {
            shared.laggard.store(false, Release);
            return None;
        }
        let written = shared.counters.written_bytes.load(Acquire);
        (!shared.laggard.load(Acquire)).then_some(written)
    }

    /// Nobody waits for it any more until its queue has drained to a quarter.
    pub fn set_laggard(&self) {
        self.shared.laggard.store(true, Release);
    }
}

/// How long a question may take, the writes before it included.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// A place among those who wait for an answer.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn join(count: &'a AtomicUsize, max: usize) -> Option<Self> {
        let joined = Self(count);
        (count.fetch_add(1, AcqRel) < max).then_some(joined)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, AcqRel);
    }
}

/// Writes what comes until no handle is left.
async fn empty(
    store: Arc<dyn Store>,
    mut writes: mpsc::Receiver<Write>,
    queued_bytes: Arc<AtomicUsize>,
    counters: Arc<Counters>,
) {
    let mut batch = Vec::new();
    while writes.recv_many(&mut batch, BATCH_MAX).await > 0 {
        let mut pause = AGAIN_FIRST;
        while let Err(error) = store.write(&batch, now()).await {
            counters.failed.fetch_add(1, Relaxed);
            tracing::warn!(%error, "writing to the store; it is tried again");
            if writes.is_closed() {
                return;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(AGAIN_LAST);
        }
        let bytes: usize = batch.iter().map(Write::bytes).sum();
        counters.written.fetch_add(batch.len() as u64, Relaxed);
        counters.batches.fetch_add(1, Relaxed);
        counters.written_bytes.fetch_add(bytes as u64, Release);
        queued_bytes.fetch_sub(bytes, AcqRel);
        for write in batch.drain(..) {
            if let Write::Flush(done) = write {
                // Who asked may have given up.
                let _ = done.send(());
            }
        }
    }
}

fn now() -> Micros {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Micros::try_from(since.as_micros()).unwrap_or(Micros::MAX)
}
