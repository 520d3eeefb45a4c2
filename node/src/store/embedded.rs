//! The store of a node's own: a redb database, a file under `cluster.data_dir`, or in memory where there is none.
//!
//! A history is a run of keys (history, time, publication), so its order is that of the keys; beside it stand where each publication
//! lies and, for patterns, which keys belong to a topic. A question thus finds its first event by one descent and walks from there.
//! Every batch is one transaction with one sync.

mod query;
mod write;

use std::{collections::HashMap, path::Path, sync::Arc};

use parking_lot::Mutex;
use redb::{Builder, Database, ReadableDatabase, TableDefinition, backends::InMemoryBackend};

use super::{Effort, Error, LogName, Pending, RetainedTopic, Store, Write, record};
use crate::wamp::{
    Uri,
    history::{Filter, Found},
    timestamp::Micros,
};

/// The number of each history, by its name.
const LOGS: TableDefinition<'_, &str, u32> = TableDefinition::new("logs");
/// The events: (history, time, publication) to record.
const EVENTS: TableDefinition<'_, (u32, u64, u64), &[u8]> = TableDefinition::new("events");
/// When a publication took place: (history, publication) to time.
const PUBLICATIONS: TableDefinition<'_, (u32, u64), u64> = TableDefinition::new("publications");
/// The events of a topic within the history of a pattern: (history, topic, time, publication).
const TOPICS: TableDefinition<'_, (u32, &str, u64, u64), ()> = TableDefinition::new("topics");
/// Events and bytes of each history.
const TOTALS: TableDefinition<'_, u32, (u64, u64)> = TableDefinition::new("totals");
/// What is retained: (realm, topic) to record.
const RETAINED: TableDefinition<'_, (&str, &str), &[u8]> = TableDefinition::new("retained");

/// The database of this node.
#[derive(Clone)]
pub struct Embedded {
    shared: Arc<Shared>,
}

struct Shared {
    database: Database,
    durable: bool,
    /// Numbers of histories that are committed.
    logs: Mutex<HashMap<String, u32>>,
}

impl Embedded {
    /// Opens the database file, or makes it; `cache_bytes` is how much of it is kept in memory.
    ///
    /// # Errors
    /// The file cannot be opened or made, another process has it, or it is damaged.
    pub fn open(path: &Path, cache_bytes: usize) -> Result<Self, Error> {
        let database = Builder::new().set_cache_size(cache_bytes).create(path);
        let database = database.map_err(|error| Error::Unavailable {
            what: "opening the store of events",
            reason: format!(
                "{}: {error}: end the process that has it, or put a backup in its place",
                path.display()
            ),
        })?;
        Self::new(database, true)
    }

    /// A database that lives in memory and ends with this process.
    ///
    /// # Errors
    /// None that is known.
    pub fn in_memory() -> Result<Self, Error> {
        let builder = &mut Builder::new();
        let database = builder.set_cache_size(1 << 20).create_with_backend(InMemoryBackend::new());
        let database = database.map_err(|error| Error::unavailable("making the store")(error.into()))?;
        Self::new(database, false)
    }

    fn new(database: Database, durable: bool) -> Result<Self, Error> {
        let make = || -> Result<(), redb::Error> {
            let transaction = database.begin_write()?;
            transaction.open_table(LOGS)?;
            transaction.open_table(EVENTS)?;
            transaction.open_table(PUBLICATIONS)?;
            transaction.open_table(TOPICS)?;
            transaction.open_table(TOTALS)?;
            transaction.open_table(RETAINED)?;
            Ok(transaction.commit()?)
        };
        make().map_err(|error| Error::unavailable("making the store's tables")(error.into()))?;
        let logs = Mutex::default();
        Ok(Self {
            shared: Arc::new(Shared { database, durable, logs }),
        })
    }

    /// Runs `work`, which reads or writes the disk, on a thread for such things.
    async fn apart<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shared) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let shared = Arc::clone(&self.shared);
        let done = tokio::task::spawn_blocking(move || work(&shared)).await;
        // A panic of `work` or the end of the runtime: nothing was committed.
        done.unwrap_or(Err(Error::Closed))
    }
}

impl Store for Embedded {
    fn write<'a>(&'a self, batch: &'a [Write], now: Micros) -> Pending<'a, ()> {
        // The records are made here, so that the batch need not move to the other thread.
        let changes = write::Change::of_batch(batch, now);
        Box::pin(self.apart(move |shared| shared.write(&changes)))
    }

    fn query<'a>(&'a self, log: &'a LogName, filter: &'a Filter, effort: Effort) -> Pending<'a, Found> {
        let (log, filter) = (log.clone(), filter.clone());
        Box::pin(self.apart(move |shared| shared.query(&log, &filter, effort)))
    }

    fn retained<'a>(&'a self, realm: &'a Uri) -> Pending<'a, Vec<RetainedTopic>> {
        let realm = realm.clone();
        Box::pin(self.apart(move |shared| shared.retained(&realm)))
    }

    fn is_durable(&self) -> bool {
        self.shared.durable
    }

    fn is_shared(&self) -> bool {
        false
    }
}

impl Shared {
    fn retained(&self, realm: &str) -> Result<Vec<RetainedTopic>, Error> {
        let read = || -> Result<Vec<RetainedTopic>, Failure> {
            let table = self.database.begin_read()?.open_table(RETAINED)?;
            let mut topics = Vec::new();
            for entry in table.range((realm, "")..)? {
                let (key, bytes) = entry?;
                let (of, topic) = key.value();
                if of != realm {
                    break;
                }
                topics.push(record::read_retained(topic, bytes.value())?);
            }
            Ok(topics)
        };
        read().map_err(Failure::or("reading what is retained"))
    }
}

/// What can go wrong inside a transaction.
enum Failure {
    Database(redb::Error),
    Ours(Error),
}

impl Failure {
    fn or(what: &'static str) -> impl FnOnce(Self) -> Error {
        move |failure| match failure {
            Failure::Database(error) => Error::unavailable(what)(error.into()),
            Failure::Ours(error) => error,
        }
    }
}

macro_rules! database_failures {
    ($($error:ty),*) => {
        $(impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                Failure::Database(error.into())
            }
        })*
    };
}

database_failures!(
    redb::TransactionError,
    redb::TableError,
    redb::StorageError,
    redb::CommitError
);

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::Ours(error)
    }
}
