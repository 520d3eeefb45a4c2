//! A batch of changes as one transaction.

use std::collections::{BTreeMap, HashMap};

use redb::{ReadableTable, ReadableTableMetadata, Table, WriteTransaction};

use super::{EVENTS, Failure, LOGS, PUBLICATIONS, RETAINED, Shared, TOPICS, TOTALS};
use crate::{
    store::{Error, LogName, Write, record},
    wamp::{Uri, history::Stamp, timestamp::Micros},
};

/// A change that owns what it needs, with the records made.
pub(super) enum Change {
    Append {
        log: Keep,
        stamp: Stamp,
        topic: Uri,
        record: Vec<u8>,
        bytes: u64,
    },
    Trim(Keep),
    Retain {
        realm: Uri,
        topic: Uri,
        newest: Option<Stamp>,
        record: Vec<u8>,
    },
    Forget {
        realm: Uri,
        topic: Uri,
    },
}

/// A history and how much it keeps.
#[derive(Clone)]
pub(super) struct Keep {
    name: String,
    is_pattern: bool,
    events_max: u64,
    bytes_max: u64,
    oldest: Micros,
}

impl Keep {
    fn new(log: &LogName, bounds: &crate::store::Bounds, now: Micros) -> Self {
        Self {
            name: log.to_string(),
            is_pattern: log.is_pattern(),
            events_max: bounds.events_max,
            bytes_max: bounds.bytes_max,
            oldest: bounds.oldest(now),
        }
    }
}

impl Change {
    pub(super) fn of_batch(batch: &[Write], now: Micros) -> Vec<Self> {
        let change = |write: &Write| {
            Some(match write {
                Write::Append { log, bounds, event } => Change::Append {
                    log: Keep::new(log, bounds, now),
                    stamp: event.stamp,
                    topic: event.topic.clone(),
                    record: record::write(event),
                    bytes: event.bytes() as u64,
                },
                Write::Trim { log, bounds } => Change::Trim(Keep::new(log, bounds, now)),
                Write::Retain { realm, topic } => Change::Retain {
                    realm: realm.clone(),
                    topic: topic.topic.clone(),
                    newest: topic.newest(),
                    record: record::write_retained(topic),
                },
                Write::Forget { realm, topic } => Change::Forget {
                    realm: realm.clone(),
                    topic: topic.clone(),
                },
                Write::Flush(_) => return None,
            })
        };
        batch.iter().filter_map(change).collect()
    }
}

/// How many events of one history go at most in one transaction: a bound that was lowered is reached step by step.
const TRIMMED_MAX: usize = 16_384;

impl Shared {
    pub(super) fn write(&self, changes: &[Change]) -> Result<(), Error> {
        if changes.is_empty() {
            return Ok(());
        }
        let write = || -> Result<HashMap<String, u32>, Failure> {
            let transaction = self.database.begin_write()?;
            let numbers = Logs::open(&transaction, self.logs.lock().clone())?.carry_out(changes)?;
            transaction.commit()?;
            Ok(numbers)
        };
        let numbers = write().map_err(Failure::or("writing to the store"))?;
        *self.logs.lock() = numbers;
        Ok(())
    }
}

/// The tables of one transaction.
struct Logs<'t> {
    logs: Table<'t, &'static str, u32>,
    events: Table<'t, (u32, u64, u64), &'static [u8]>,
    publications: Table<'t, (u32, u64), u64>,
    topics: Table<'t, (u32, &'static str, u64, u64), ()>,
    totals: Table<'t, u32, (u64, u64)>,
    retained: Table<'t, (&'static str, &'static str), &'static [u8]>,
    numbers: HashMap<String, u32>,
    /// The histories this transaction has touched, with how many events and bytes they have now.
    touched: BTreeMap<u32, (Keep, u64, u64)>,
}

impl<'t> Logs<'t> {
    fn open(transaction: &'t WriteTransaction, numbers: HashMap<String, u32>) -> Result<Self, Failure> {
        Ok(Self {
            logs: transaction.open_table(LOGS)?,
            events: transaction.open_table(EVENTS)?,
            publications: transaction.open_table(PUBLICATIONS)?,
            topics: transaction.open_table(TOPICS)?,
            totals: transaction.open_table(TOTALS)?,
            retained: transaction.open_table(RETAINED)?,
            numbers,
            touched: BTreeMap::new(),
        })
    }

    /// Carries out the changes; returns the numbers of all histories that are known now.
    fn carry_out(mut self, changes: &[Change]) -> Result<HashMap<String, u32>, Failure> {
        for change in changes {
            match change {
                Change::Append {
                    log,
                    stamp,
                    topic,
                    record,
                    bytes,
                } => self.append(log, *stamp, topic, record, *bytes)?,
                Change::Trim(log) => drop(self.touch(log)?),
                Change::Retain {
                    realm,
                    topic,
                    newest,
                    record,
                } => self.retain(realm, topic, *newest, record)?,
                Change::Forget { realm, topic } => drop(self.retained.remove((&**realm, &**topic))?),
            }
        }
        for (log, (keep, events, bytes)) in std::mem::take(&mut self.touched) {
            self.trim(log, &keep, events, bytes)?;
        }
        Ok(self.numbers)
    }

    /// The number of a history, which is noted for its trimming.
    fn touch(&mut self, keep: &Keep) -> Result<u32, Failure> {
        let number = match self.numbers.get(&keep.name) {
            Some(number) => *number,
            None => {
                let known = self.logs.get(&*keep.name)?.map(|number| number.value());
                let number = match known {
                    Some(number) => number,
                    None => {
                        let number = u32::try_from(self.logs.len()?).map_err(|_| Error::Damaged("too many histories"))?;
                        self.logs.insert(&*keep.name, number)?;
                        number
                    }
                };
                self.numbers.insert(keep.name.clone(), number);
                number
            }
        };
        if !self.touched.contains_key(&number) {
            let (events, bytes) = self.totals.get(number)?.map(|totals| totals.value()).unwrap_or_default();
            self.touched.insert(number, (keep.clone(), events, bytes));
        }
        Ok(number)
    }

    fn append(&mut self, keep: &Keep, stamp: Stamp, topic: &str, record: &[u8], bytes: u64) -> Result<(), Failure> {
        let number = self.touch(keep)?;
        let (time, publication) = (stamp.time, stamp.publication.get());
        if self.publications.get((number, publication))?.is_some() {
            return Ok(());
        }
        self.publications.insert((number, publication), time)?;
        // The size stands in front, so that trimming need not read the record.
        let mut value = bytes.to_be_bytes().to_vec();
        value.extend_from_slice(record);
        self.events.insert((number, time, publication), &*value)?;
        if keep.is_pattern {
            self.topics.insert((number, topic, time, publication), ())?;
        }
        if let Some((_, events, all)) = self.touched.get_mut(&number) {
            *events += 1;
            *all += bytes;
        }
        Ok(())
    }

    /// Takes out the oldest events of a history until it is within its bounds, and notes what is left.
    fn trim(&mut self, log: u32, keep: &Keep, mut events: u64, mut bytes: u64) -> Result<(), Failure> {
        for _ in 0..TRIMMED_MAX {
            let full = events > keep.events_max || bytes > keep.bytes_max;
            if events == 0 || !full && keep.oldest == 0 {
                break;
            }
            let Some(first) = self.first(log)? else {
                (events, bytes) = (0, 0);
                break;
            };
            if !full && first.time >= keep.oldest {
                break;
            }
            let (time, publication) = (first.time, first.publication);
            self.events.remove((log, time, publication))?;
            self.publications.remove((log, publication))?;
            if keep.is_pattern {
                self.topics.remove((log, &*first.topic, time, publication))?;
            }
            events = events.saturating_sub(1);
            bytes = bytes.saturating_sub(first.size);
        }
        self.totals.insert(log, (events, bytes))?;
        Ok(())
    }

    /// The oldest event of a history.
    fn first(&self, log: u32) -> Result<Option<First>, Failure> {
        let Some(first) = self.events.range((log, 0, 0)..=(log, u64::MAX, u64::MAX))?.next() else {
            return Ok(None);
        };
        let (key, value) = first?;
        let (_, time, publication) = key.value();
        let (size, record) = super::query::split_size(value.value())?;
        Ok(Some(First {
            time,
            publication,
            size,
            topic: record::topic(record)?.to_owned(),
        }))
    }

    fn retain(&mut self, realm: &str, topic: &str, newest: Option<Stamp>, record: &[u8]) -> Result<(), Failure> {
        let known = self.retained.get((realm, topic))?;
        // A record that cannot be read is replaced.
        let known = known.and_then(|bytes| record::read_retained(topic, bytes.value()).ok());
        if known.is_some_and(|known| known.newest() > newest) {
            return Ok(());
        }
        self.retained.insert((realm, topic), record)?;
        Ok(())
    }
}

/// The oldest event of a history, as far as trimming needs it.
struct First {
    time: Micros,
    publication: u64,
    size: u64,
    topic: String,
}
