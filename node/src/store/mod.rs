//! Where events are kept: histories of topics, and the retained event of each topic that has one.
//!
//! Owns: the trait [`Store`] with its two implementations, [`embedded`] (redb, on this node's disk or in its memory) and [`redis`]
//! (streams of a Redis server, shared by all nodes), and the bounded queue in front of each ([`StoreHandle`]). Types of redb and
//! redis stay in here. Does not own what is kept, or who may see it: the realms decide that, this remembers.
//!
//! A topic that asks for nothing never comes here. Start reading at [`Store`], then `queue`.

mod answer;
mod embedded;
mod queue;
mod record;
mod redis;

#[cfg(test)]
mod tests;

use std::{fmt, pin::Pin, sync::Arc, time::Duration};

use tokio::sync::oneshot;

use crate::wamp::{
    PublicationId, Uri,
    history::{Filter, Found, KeptEvent, Stamp},
    timestamp::Micros,
};

pub use embedded::Embedded;
pub use queue::{QueueBounds, StoreHandle, StoreStats};
pub use redis::{Redis, RedisSettings};

/// Names one history: the topics of one entry of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LogName {
    /// The realm.
    pub realm: Uri,
    /// How [`Self::uri`] is compared: `exact`, `prefix` or `wildcard`.
    pub policy: &'static str,
    /// The topic or pattern.
    pub uri: Uri,
}

impl LogName {
    /// True if events of more than one topic are in it.
    fn is_pattern(&self) -> bool {
        self.policy != "exact"
    }
}

impl fmt::Display for LogName {
    /// Unambiguous: neither a realm's name nor a policy holds a space.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.realm, self.policy, self.uri)
    }
}

/// How much one history keeps; the oldest events go first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Events.
    pub events_max: u64,
    /// Bytes, as [`KeptEvent::bytes`] counts them.
    pub bytes_max: u64,
    /// Age; `None` for any.
    pub age_max: Option<Duration>,
}

impl Bounds {
    /// Events older than that go.
    fn oldest(&self, now: Micros) -> Micros {
        let age = self.age_max.map_or(u128::MAX, |age| age.as_micros());
        u64::try_from(age).map_or(0, |age| now.saturating_sub(age))
    }
}

/// The retained events of one topic, newest first: at most one that is for everybody, and it is the last.
#[derive(Clone, Debug, PartialEq)]
pub struct RetainedTopic {
    /// The topic.
    pub topic: Uri,
    /// Everything up to here was cleared.
    pub cleared: Option<Stamp>,
    /// The events.
    pub events: Vec<KeptEvent>,
}

impl RetainedTopic {
    /// The newest thing known of the topic.
    fn newest(&self) -> Option<Stamp> {
        self.events.iter().map(|event| event.stamp).chain(self.cleared).max()
    }
}

/// A change of a store.
#[derive(Debug)]
pub enum Write {
    /// Adds an event to a history, which then is trimmed to `bounds`. One that is there already is left alone.
    Append {
        /// The history.
        log: Arc<LogName>,
        /// How much it keeps.
        bounds: Bounds,
        /// The event.
        event: Arc<KeptEvent>,
    },
    /// Trims a history.
    Trim {
        /// The history.
        log: Arc<LogName>,
        /// How much it keeps.
        bounds: Bounds,
    },
    /// Replaces what is retained of a topic, unless something newer is there.
    Retain {
        /// The realm.
        realm: Uri,
        /// What is retained now.
        topic: Box<RetainedTopic>,
    },
    /// Forgets what is retained of a topic.
    Forget {
        /// The realm.
        realm: Uri,
        /// The topic.
        topic: Uri,
    },
    /// Answered once everything before it is written.
    Flush(oneshot::Sender<()>),
}

impl Write {
    /// About how many bytes it takes in the queue.
    fn bytes(&self) -> usize {
        64 + match self {
            Write::Append { event, .. } => event.bytes(),
            Write::Retain { topic, .. } => topic.events.iter().map(KeptEvent::bytes).sum(),
            Write::Trim { .. } | Write::Forget { .. } | Write::Flush(_) => 0,
        }
    }
}

/// How much work one question may make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effort {
    /// Bytes of the answer, as [`KeptEvent::bytes`] counts them; the first event comes whatever its size.
    pub bytes_max: usize,
    /// Events looked at, those the asker may not see included.
    pub scanned_max: usize,
}

/// A store could not do what it was asked to; nothing is known to have changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The event that a filter names is not in this history: it never was, or it was trimmed.
    #[error("publication {0} is not in this history")]
    UnknownPublication(PublicationId),
    /// The database cannot be opened, or read, or written; it may help to try again.
    #[error("{what}: {reason}")]
    Unavailable {
        /// What was attempted.
        what: &'static str,
        /// Why it failed.
        reason: String,
    },
    /// What was read is nothing that this version wrote.
    #[error("the store holds a record that cannot be read: {0}")]
    Damaged(&'static str),
    /// The store is shut down.
    #[error("the store is closed")]
    Closed,
}

impl Error {
    fn unavailable(what: &'static str) -> impl FnOnce(Box<dyn std::error::Error>) -> Self {
        move |error| Self::Unavailable {
            what,
            reason: error.to_string(),
        }
    }
}

/// What a [`Store`] answers later.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send + 'a>>;

/// A place where events are kept. Questions take time proportional to their answer.
pub trait Store: Send + Sync + 'static {
    /// Carries out a batch in its order; on an error it may be tried again as a whole. `now` is what ages are reckoned from.
    fn write<'a>(&'a self, batch: &'a [Write], now: Micros) -> Pending<'a, ()>;
    /// The events of a history that `filter` asks for.
    fn query<'a>(&'a self, log: &'a LogName, filter: &'a Filter, effort: Effort) -> Pending<'a, Found>;
    /// Everything that is retained in a realm.
    fn retained<'a>(&'a self, realm: &'a Uri) -> Pending<'a, Vec<RetainedTopic>>;
    /// True if it outlives this process.
    fn is_durable(&self) -> bool;
    /// True if all nodes share it: an event is then written by its publisher's node alone.
    fn is_shared(&self) -> bool;
}
