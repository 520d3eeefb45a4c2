//! `[[realm.topics]]`: the rules of a topic, or of all topics that match a pattern.

use serde::{Deserialize, Serialize};

/// A topic, or a pattern of topics, with its own rules. Of several that match a topic the best one counts: the exact one, else the
/// longest prefix, else the wildcard pattern whose components are named furthest. On retention the best one counts that says something
/// of it, and a history is kept for each that asks for one. The same list on every node.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Topic {
    /// The topic, or the pattern, such as `com.example.lamp`. Required.
    pub uri: String,
    /// How `uri` is compared: `exact`, `prefix` or `wildcard`, as in SUBSCRIBE. Default `exact`.
    pub r#match: Match,
    /// Whether the newest event is retained for those who subscribe later with `get_retained`: `asked` if its PUBLISH says `retain`,
    /// `always` in any case, `never`. Default: what the next best entry says, and `asked` without any.
    pub retain: Option<Retain>,
    /// Whether an event without arguments clears what is retained, instead of being retained. Default `false`. Takes effect in
    /// an entry that says `retain`.
    pub empty_clears: bool,
    /// Where histories and retained events are kept: `embedded`, a database of each node in `cluster.data_dir` (in memory where there
    /// is none), to which every event is sent; or `redis`, a server that all nodes share, see `[store.redis]`. Default `embedded`.
    pub store: StoreKind,
    /// What gives way when a subscriber does not take events as fast as they come: `drop_newest` the new event, `drop_oldest` the
    /// oldest that waits, `keep_last` the same, and of events with the same topic and the same `_key` (an option of PUBLISH) only
    /// the newest waits, `end_session` the session. The subscriber sees how many events it lost as `_gap` in the details of its
    /// next event. Default `drop_newest`.
    pub slow_consumer: SlowConsumer,
    /// How much of the past is kept for `wamp.subscription.get_events`; see below. Default: nothing.
    pub history: Option<History>,
}

/// The history of a topic, or of all topics that match the pattern; whatever goes beyond one of the bounds, the oldest first, is
/// forgotten. `history = {}` keeps one with these defaults.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct History {
    /// Events. Default 100000.
    pub max_events: u64,
    /// Bytes. Default 268435456.
    pub max_bytes: u64,
    /// Seconds. Default 0: any age.
    pub max_age_secs: u64,
}

impl Default for History {
    fn default() -> Self {
        Self {
            max_events: 100_000,
            max_bytes: 256 << 20,
            max_age_secs: 0,
        }
    }
}

/// How a topic is compared with the URI of an entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Match {
    /// Equality.
    #[default]
    Exact,
    /// Leading characters.
    Prefix,
    /// Component by component, an empty one matches any one.
    Wildcard,
}

/// Whether events are retained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Retain {
    /// Never.
    Never,
    /// If the publisher asks for it.
    Asked,
    /// Always.
    Always,
}

/// A place where events are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum StoreKind {
    /// Each node's own.
    #[default]
    Embedded,
    /// Shared.
    Redis,
}

/// What gives way when a subscriber does not keep up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SlowConsumer {
    /// The new event.
    #[default]
    DropNewest,
    /// The oldest event.
    DropOldest,
    /// Older events of the same key.
    KeepLast,
    /// The session.
    EndSession,
}
