//! `[store]`: how much is kept of events, and where.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Secret;

/// Bounds of what is kept of events. Which topics have a history says `realm.topics`; any topic may retain an event.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Store {
    /// Topics of a realm that retain an event. Default 100000. What was retained longest ago goes first.
    pub retained_topics_max: usize,
    /// Bytes of the retained events of a realm, which every node holds in memory. Default 67108864.
    pub retained_bytes_max: usize,
    /// Events in one answer of `wamp.subscription.get_events`. Default 1000. `is_limit_reached` tells that there are more.
    pub answer_events_max: usize,
    /// Bytes of one answer. Default 1048576; at most a quarter of `limits.message_bytes_max`, since other serializers take more room.
    pub answer_bytes_max: usize,
    /// Bytes of events that may wait to be written. Default 67108864. Publishers are slowed above a quarter of it; beyond, what was to be
    /// kept is dropped and counted.
    pub queue_bytes_max: usize,
    /// Questions that a store answers at a time. Default 8; others wait.
    pub queries_max: usize,
    /// Bytes of the embedded database that are held in memory. Default 16777216.
    pub cache_bytes: usize,
    /// A Redis server for the topics that say `store = "redis"`; see below. Default none.
    pub redis: Option<StoreRedis>,
}

/// The Redis server, version 5 or newer, that all nodes share. It should write what it holds to a disk (`appendonly yes`) and must
/// not evict keys (`maxmemory-policy noeviction`).
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct StoreRedis {
    /// `redis://user:password@host:6379/0`, or `rediss://…` for TLS with the certificates that the system trusts. Required; never
    /// logged. Better given as `RINGFORT__STORE__REDIS__URL` than written into a file that others can read.
    pub url: Secret,
    /// What the names of all keys begin with, followed by `cluster.id`. Default `ringfort`.
    pub prefix: String,
    /// Milliseconds that an answer may take. Default 5000.
    pub timeout_ms: u64,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            retained_topics_max: 100_000,
            retained_bytes_max: 64 << 20,
            answer_events_max: 1_000,
            answer_bytes_max: 1 << 20,
            queue_bytes_max: 64 << 20,
            queries_max: 8,
            cache_bytes: 16 << 20,
            redis: None,
        }
    }
}

impl Default for StoreRedis {
    fn default() -> Self {
        Self {
            url: Secret::default(),
            prefix: "ringfort".to_owned(),
            timeout_ms: 5_000,
        }
    }
}

impl StoreRedis {
    /// How long an answer may take.
    pub fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }
}
