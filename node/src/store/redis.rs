//! The store that all nodes share: streams of a Redis server.
//!
//! Of each history there is a stream whose ids are `microseconds-n`, a hash that says where each publication lies, for patterns a
//! sorted set of the ids of each topic, and a hash with the newest id and the bytes. One script changes all of them together, so
//! that a node that is lost leaves nothing half done, and an event that is written twice is there once. The order is that in which the server
//! was told: a time that is behind the newest one counts as the newest. All keys of a history have the same hash tag.
//!
//! A batch travels as one pipeline. Where the server cannot be reached, writes wait in their queue and questions are refused.

mod query;

use ::redis::{Client, Cmd, Pipeline, RedisError, Script, aio::ConnectionManager, aio::ConnectionManagerConfig};
use std::time::Duration;

use super::{Bounds, Effort, Error, LogName, Pending, RetainedTopic, Store, Write, record};
use crate::wamp::{
    Uri,
    history::{Filter, Found},
    timestamp::Micros,
};

/// Where the server is.
#[derive(Clone, Debug)]
pub struct RedisSettings {
    /// `redis://[user:password@]host:port/database`, or `rediss://` for TLS.
    pub url: String,
    /// What the names of all keys begin with: nodes of one cluster share it, other users of the server do not.
    pub prefix: String,
    /// How long an answer may take.
    pub timeout: Duration,
}

/// A Redis server.
#[derive(Clone)]
pub struct Redis {
    connection: ConnectionManager,
    prefix: String,
}

/// Appends an event and trims. Key: the history's. Arguments: time, publication, topic or nothing, record, size, and the bounds.
const APPEND: &str = include_str!("redis/append.lua");
/// Trims only. Arguments: the bounds.
const TRIM: &str = include_str!("redis/trim.lua");
/// What both begin with.
const COMMON: &str = include_str!("redis/common.lua");
/// Replaces a field unless a newer one is there. Key: the hash. Arguments: field, its stamp as text in order, value.
const RETAIN: &str = include_str!("redis/retain.lua");

impl Redis {
    /// A client of the server, which need not be up yet.
    ///
    /// # Errors
    /// The URL is none.
    pub fn new(settings: RedisSettings) -> Result<Self, Error> {
        let client = Client::open(settings.url).map_err(|error| Error::unavailable("the address of redis")(error.into()))?;
        let config = ConnectionManagerConfig::new()
            .set_number_of_retries(1)
            .set_max_delay(Duration::from_secs(1))
            .set_response_timeout(Some(settings.timeout))
            .set_connection_timeout(Some(settings.timeout));
        let connection = ConnectionManager::new_lazy_with_config(client, config);
        Ok(Self {
            connection: connection.map_err(|error| failed(&error))?,
            prefix: settings.prefix,
        })
    }

    /// The key of a history. Braces make a hash tag, and so may not stand in a name.
    fn key(&self, log: &LogName) -> String {
        format!("{}:{{{}}}", self.prefix, without_braces(&log.to_string()))
    }

    fn retained_key(&self, realm: &str) -> String {
        format!("{}:{{{} retained}}", self.prefix, without_braces(realm))
    }

    fn pipeline(&self, batch: &[Write], now: Micros) -> Pipeline {
        let mut scripts = Scripts::default();
        let mut pipeline = ::redis::pipe();
        for write in batch {
            let command = match write {
                Write::Append { log, bounds, event } => {
                    let mut command = scripts.append.call(&self.key(log));
                    let topic = if log.is_pattern() { &*event.topic } else { "" };
                    command.arg(event.stamp.time).arg(event.stamp.publication.get()).arg(topic);
                    command.arg(record::write(event)).arg(event.bytes());
                    add_bounds(command, bounds, now)
                }
                Write::Trim { log, bounds } => add_bounds(scripts.trim.call(&self.key(log)), bounds, now),
                Write::Retain { realm, topic } => {
                    let mut command = scripts.retain.call(&self.retained_key(realm));
                    let newest = topic
                        .newest()
                        .map_or((0, 0), |newest| (newest.time, newest.publication.get()));
                    let order = format!("{:020} {:020}", newest.0, newest.1);
                    command.arg(&*topic.topic).arg(order).arg(record::write_retained(topic));
                    command
                }
                Write::Forget { realm, topic } => {
                    let mut command = ::redis::cmd("HDEL");
                    command.arg(self.retained_key(realm)).arg(&**topic);
                    command
                }
                Write::Flush(_) => continue,
            };
            pipeline.add_command(command).ignore();
        }
        pipeline
    }
}

fn add_bounds(mut command: Cmd, bounds: &Bounds, now: Micros) -> Cmd {
    command.arg(bounds.events_max).arg(bounds.bytes_max).arg(bounds.oldest(now));
    command
}

fn without_braces(name: &str) -> String {
    name.replace('%', "%25").replace('{', "%7B").replace('}', "%7D")
}

/// The scripts of one pipeline: the first use of each sends its text, which the server keeps for the others.
struct Scripts {
    append: OneScript,
    trim: OneScript,
    retain: OneScript,
}

impl Default for Scripts {
    fn default() -> Self {
        Self {
            append: OneScript::new(format!("{COMMON}\n{APPEND}")),
            trim: OneScript::new(format!("{COMMON}\n{TRIM}")),
            retain: OneScript::new(RETAIN.to_owned()),
        }
    }
}

struct OneScript {
    text: String,
    sent: Option<String>,
}

impl OneScript {
    fn new(text: String) -> Self {
        Self { text, sent: None }
    }

    fn call(&mut self, key: &str) -> Cmd {
        let mut command = match &self.sent {
            Some(hash) => {
                let mut command = ::redis::cmd("EVALSHA");
                command.arg(hash);
                command
            }
            None => {
                let mut command = ::redis::cmd("EVAL");
                command.arg(&self.text);
                self.sent = Some(Script::new(&self.text).get_hash().to_owned());
                command
            }
        };
        command.arg(1).arg(key);
        command
    }
}

/// How many changes travel as one pipeline, so that an answer comes within the timeout.
const PIPELINE_MAX: usize = 1_024;

impl Store for Redis {
    fn write<'a>(&'a self, batch: &'a [Write], now: Micros) -> Pending<'a, ()> {
        Box::pin(async move {
            for part in batch.chunks(PIPELINE_MAX) {
                let pipeline = self.pipeline(part, now);
                if !pipeline.is_empty() {
                    let mut connection = self.connection.clone();
                    pipeline
                        .query_async::<()>(&mut connection)
                        .await
                        .map_err(|error| failed(&error))?;
                }
            }
            Ok(())
        })
    }

    fn query<'a>(&'a self, log: &'a LogName, filter: &'a Filter, effort: Effort) -> Pending<'a, Found> {
        Box::pin(self.ask(log, filter, effort))
    }

    fn retained<'a>(&'a self, realm: &'a Uri) -> Pending<'a, Vec<RetainedTopic>> {
        Box::pin(async move {
            let key = self.retained_key(realm);
            let (mut cursor, mut topics) = (0u64, std::collections::BTreeMap::new());
            loop {
                let mut command = ::redis::cmd("HSCAN");
                command.arg(&key).arg(cursor).arg("COUNT").arg(512);
                let (next, fields): (u64, Vec<(String, Vec<u8>)>) = command
                    .query_async(&mut self.connection.clone())
                    .await
                    .map_err(|error| failed(&error))?;
                for (topic, value) in fields {
                    let value = value.get(STAMP_CHARS..).ok_or(Error::Damaged("a retained event"))?;
                    let retained = record::read_retained(&topic, value)?;
                    topics.insert(topic, retained);
                }
                if next == 0 {
                    return Ok(topics.into_values().collect());
                }
                cursor = next;
            }
        })
    }

    fn is_durable(&self) -> bool {
        true
    }

    fn is_shared(&self) -> bool {
        true
    }
}

/// The characters of a stamp before the record of a retained topic.
const STAMP_CHARS: usize = 41;

fn failed(error: &RedisError) -> Error {
    Error::Unavailable {
        what: "redis",
        reason: error.to_string(),
    }
}
