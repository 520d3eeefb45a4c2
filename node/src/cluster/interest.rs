//! Topic interest: which node wants events of which topics, patterns and shards of them. Pure; the links carry its messages and tell it the time.
//!
//! Every node is the only writer of its own table, so there is nothing to agree on: [`Own`] numbers each change, sends every
//! linked node a snapshot followed by deltas, and knows what each of them has applied. [`Replicas`] holds what other nodes said.
//! Version and digest of a table travel in the gossip, so a replica that went astray is noticed by whoever holds it.
//!
//! Invariants: a table's version grows by one per change; its digest depends on its entries alone; a ticket is answered once,
//! and not before every follower has applied the entry it waits for; a follower gets the changes in order, without a gap.

mod replicas;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, HashMap, VecDeque, hash_map::Entry},
    hash::Hasher,
    time::{Duration, Instant},
};

use siphasher::sip::SipHasher13;

use crate::{
    router::{NodeRef, TopicKey},
    wamp::Uri,
};

pub use replicas::Replicas;

/// A node begins (`wanted`) or ceases to want events of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The realm of the topic.
    pub realm: Uri,
    /// The topic, pattern or shard.
    pub topic: TopicKey,
    /// Whether events of it are wanted from now on.
    pub wanted: bool,
}

/// What the owner of a table tells a follower.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// A part of the whole table at `version`; everything known before its first part is void.
    Snapshot {
        first: bool,
        last: bool,
        version: u64,
        digest: u64,
        changes: Vec<Change>,
    },
    /// What leads from the table at `from_version` to the one at `version`.
    Delta {
        from_version: u64,
        version: u64,
        digest: u64,
        changes: Vec<Change>,
    },
}

/// The key of a cluster's digests: the same on each of its nodes.
#[derive(Clone, Copy, Debug)]
pub struct Key(u64);

impl Key {
    /// The key of the cluster with this id.
    pub fn of(cluster_id: &str) -> Self {
        let mut hasher = SipHasher13::new();
        hasher.write(cluster_id.as_bytes());
        Self(hasher.finish())
    }

    fn digest(self, realm: &str, topic: &TopicKey) -> u64 {
        let mut hasher = SipHasher13::new_with_keys(self.0, realm.len() as u64);
        hasher.write(realm.as_bytes());
        hasher.write(&[topic.policy.code(), u8::from(topic.shard.is_some())]);
        hasher.write(&(topic.uri.len() as u64).to_le_bytes());
        hasher.write(topic.uri.as_bytes());
        hasher.write(topic.shard.as_deref().unwrap_or_default().as_bytes());
        hasher.finish()
    }
}

/// One node's interest: a set of (realm, key) with a version and a digest.
#[derive(Clone, Debug)]
pub struct Table {
    key: Key,
    /// Per topic the version at which it came.
    realms: HashMap<Uri, HashMap<TopicKey, u64>>,
    version: u64,
    digest: u64,
}

impl Table {
    /// An empty table at version 0.
    pub fn new(key: Key) -> Self {
        Self {
            key,
            realms: HashMap::new(),
            version: 0,
            digest: 0,
        }
    }

    /// The number of changes so far.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The exclusive or of the hashes of all entries.
    pub fn digest(&self) -> u64 {
        self.digest
    }

    /// Every entry, realm by realm.
    pub fn entries(&self) -> Vec<Change> {
        let all = self.realms.iter().flat_map(|(realm, topics)| {
            topics.keys().map(|topic| Change {
                realm: realm.clone(),
                topic: topic.clone(),
                wanted: true,
            })
        });
        all.collect()
    }

    fn since(&self, realm: &str, topic: &TopicKey) -> Option<u64> {
        self.realms.get(realm)?.get(topic).copied()
    }

    /// Makes the change as that of `version`; false if the table was like that already.
    fn set(&mut self, change: &Change, version: u64) -> bool {
        let topics = self.realms.entry(change.realm.clone()).or_default();
        let changed = if change.wanted {
            match topics.entry(change.topic.clone()) {
                Entry::Vacant(free) => {
                    free.insert(version);
                    true
                }
                Entry::Occupied(_) => false,
            }
        } else {
            topics.remove(&change.topic).is_some()
        };
        if topics.is_empty() {
            self.realms.remove(&change.realm);
        }
        if changed {
            self.digest ^= self.key.digest(&change.realm, &change.topic);
        }
        changed
    }
}

/// This node's own interest, and what each linked node knows of it.
pub struct Own {
    table: Table,
    /// The latest changes with the digest after each; the first has version `table.version - log.len() + 1`.
    log: VecDeque<(Change, u64)>,
    followers: BTreeMap<NodeRef, Follower>,
    /// Tickets by the version every follower has to reach.
    waiting: BTreeMap<u64, Vec<Ticket>>,
    ready: Vec<Ticket>,
    /// Topics nobody here wants any more, with the time at which the others are told.
    lingering: HashMap<(Uri, TopicKey), Instant>,
    lingering_order: VecDeque<(Instant, Uri, TopicKey)>,
    linger: Duration,
    log_max: usize,
}

/// A realm and the number under which it waits.
pub type Ticket = (Uri, u64);

struct Follower {
    snapshot: Option<Snapshot>,
    /// What it has been sent: the table up to here.
    cursor: u64,
    sent: u64,
    acked: u64,
    acked_version: u64,
    /// The number of messages at which the snapshot was whole.
    snapshot_sent: Option<u64>,
    /// Since when it has not made progress although it is behind.
    behind_since: Option<Instant>,
}

struct Snapshot {
    rest: std::vec::IntoIter<Change>,
    first: bool,
    version: u64,
    digest: u64,
}

/// A follower cannot be served any longer; its link has to be reset.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    #[error("interest changed faster than the node takes it")]
    Lagging,
    #[error("acknowledged interest that was never sent")]
    Acknowledged,
    #[error("interest from version {from} follows version {have}")]
    Gap { have: u64, from: u64 },
    #[error("interest at version {version} has another digest than announced")]
    Digest { version: u64 },
    #[error("interest before its snapshot")]
    NoSnapshot,
}

impl Own {
    /// No interest; `linger` is how long a topic nobody wants any more is kept, to damp flapping.
    pub fn new(key: Key, linger: Duration) -> Self {
        Self {
            table: Table::new(key),
            log: VecDeque::new(),
            followers: BTreeMap::new(),
            waiting: BTreeMap::new(),
            ready: Vec::new(),
            lingering: HashMap::new(),
            lingering_order: VecDeque::new(),
            linger,
            log_max: LOG_MAX,
        }
    }

    /// The table as it is announced.
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// A topic is wanted; `ticket` becomes ready once every follower knows.
    pub fn want(&mut self, realm: &Uri, topic: &TopicKey, ticket: u64, now: Instant) {
        self.lingering.remove(&(realm.clone(), topic.clone()));
        if realm.len() + topic.text_bytes() > TEXT_BYTES_MAX {
            // No realm allows such URIs. Other nodes do not hear of it, and nobody waits for them.
            self.ready.push((realm.clone(), ticket));
            return;
        }
        let since = match self.table.since(realm, topic) {
            Some(since) => since,
            None => self.record(
                Change {
                    realm: realm.clone(),
                    topic: topic.clone(),
                    wanted: true,
                },
                now,
            ),
        };
        self.waiting.entry(since).or_default().push((realm.clone(), ticket));
        self.settle();
    }

    /// A topic is no longer wanted; the others are told when it has lingered.
    pub fn unwant(&mut self, realm: &Uri, topic: &TopicKey, now: Instant) {
        let until = now + self.linger;
        if self.table.since(realm, topic).is_some() {
            self.lingering.insert((realm.clone(), topic.clone()), until);
            self.lingering_order.push_back((until, realm.clone(), topic.clone()));
        }
        self.expire(now);
    }

    /// Announces the end of interest in what has lingered long enough. True if there was any.
    pub fn expire(&mut self, now: Instant) -> bool {
        let before = self.table.version;
        while let Some((until, ..)) = self.lingering_order.front()
            && *until <= now
        {
            let Some((until, realm, topic)) = self.lingering_order.pop_front() else {
                break;
            };
            let key = (realm, topic);
            // Wanted again meanwhile, or given up again later: then this entry of the order is not the valid one.
            if self.lingering.get(&key) == Some(&until) {
                self.lingering.remove(&key);
                let (realm, topic) = key;
                self.record(
                    Change {
                        realm,
                        topic,
                        wanted: false,
                    },
                    now,
                );
            }
        }
        self.table.version != before
    }

    /// A link to `node` is up: it gets the whole table, then the changes.
    pub fn follow(&mut self, node: NodeRef, now: Instant) {
        let (version, digest) = (self.table.version, self.table.digest);
        let snapshot = Snapshot {
            rest: self.table.entries().into_iter(),
            first: true,
            version,
            digest,
        };
        let follower = Follower {
            snapshot: Some(snapshot),
            cursor: version,
            sent: 0,
            acked: 0,
            acked_version: 0,
            snapshot_sent: None,
            behind_since: Some(now),
        };
        self.followers.insert(node, follower);
    }

    /// The link to `node` is gone: nobody waits for it any more.
    pub fn unfollow(&mut self, node: NodeRef) {
        self.followers.remove(&node);
        self.settle();
        self.trim();
    }

    /// What to send to `node` next; nothing while it knows everything or has [`WINDOW`] messages to acknowledge.
    pub fn next_message(&mut self, node: NodeRef) -> Result<Option<Message>, Broken> {
        let (version, log_len) = (self.table.version, self.log.len() as u64);
        let Some(follower) = self.followers.get_mut(&node) else {
            return Ok(None);
        };
        if follower.sent - follower.acked >= WINDOW {
            return Ok(None);
        }
        let message = if let Some(snapshot) = &mut follower.snapshot {
            let changes = chunk(&mut snapshot.rest);
            let last = snapshot.rest.len() == 0;
            let first = std::mem::take(&mut snapshot.first);
            let message = Message::Snapshot {
                first,
                last,
                version: snapshot.version,
                digest: snapshot.digest,
                changes,
            };
            if last {
                follower.snapshot = None;
                follower.snapshot_sent = Some(follower.sent + 1);
            }
            message
        } else if follower.cursor < version {
            let from_version = follower.cursor;
            let before_log = version - log_len;
            let Some(skip) = from_version.checked_sub(before_log) else {
                return Err(Broken::Lagging);
            };
            let mut bytes = 0;
            let (mut changes, mut digest) = (Vec::new(), 0);
            for (change, after) in self.log.range(skip as usize..) {
                if !fits(changes.len(), &mut bytes, change) {
                    break;
                }
                changes.push(change.clone());
                digest = *after;
            }
            follower.cursor += changes.len() as u64;
            Message::Delta {
                from_version,
                version: follower.cursor,
                digest,
                changes,
            }
        } else {
            return Ok(None);
        };
        follower.sent += 1;
        self.trim();
        Ok(Some(message))
    }

    /// `node` has applied `messages` messages and stands at `version`.
    pub fn acked(&mut self, node: NodeRef, messages: u64, version: u64, now: Instant) -> Result<(), Broken> {
        let current = self.table.version;
        let Some(follower) = self.followers.get_mut(&node) else {
            return Ok(());
        };
        if messages > follower.sent || messages < follower.acked || version > follower.cursor {
            return Err(Broken::Acknowledged);
        }
        follower.acked = messages;
        follower.acked_version = follower.acked_version.max(version);
        let idle = follower.acked == follower.sent && follower.snapshot.is_none() && follower.cursor == current;
        follower.behind_since = if idle { None } else { Some(now) };
        self.settle();
        Ok(())
    }

    /// True once `node` has acknowledged the whole snapshot of its link.
    pub fn snapshot_acked(&self, node: NodeRef) -> bool {
        self.followers
            .get(&node)
            .is_some_and(|f| f.snapshot_sent.is_some_and(|sent| f.acked >= sent))
    }

    /// The followers that have been behind without progress for longer than `deadline`.
    pub fn overdue(&self, now: Instant, deadline: Duration) -> Vec<NodeRef> {
        let late = self.followers.iter().filter(|(_, follower)| {
            follower
                .behind_since
                .is_some_and(|since| now.saturating_duration_since(since) > deadline)
        });
        late.map(|(node, _)| *node).collect()
    }

    /// The tickets whose topics every follower knows; each is handed out once.
    pub fn take_ready(&mut self) -> Vec<Ticket> {
        std::mem::take(&mut self.ready)
    }

    /// Makes a change and returns its version.
    fn record(&mut self, change: Change, now: Instant) -> u64 {
        let version = self.table.version + 1;
        self.table.set(&change, version);
        self.table.version = version;
        if !self.followers.is_empty() {
            self.log.push_back((change, self.table.digest));
            if self.log.len() > self.log_max {
                self.log.pop_front();
            }
        }
        for follower in self.followers.values_mut() {
            follower.behind_since.get_or_insert(now);
        }
        version
    }

    /// Makes tickets ready that every follower has reached.
    fn settle(&mut self) {
        let floor = self
            .followers
            .values()
            .map(|follower| follower.acked_version)
            .min()
            .unwrap_or(u64::MAX);
        while let Some(first) = self.waiting.first_entry()
            && *first.key() <= floor
        {
            self.ready.append(&mut first.remove());
        }
    }

    /// Forgets changes that every follower has been sent.
    fn trim(&mut self) {
        let needed = self
            .followers
            .values()
            .map(|follower| self.table.version - follower.cursor)
            .max()
            .unwrap_or(0);
        while self.log.len() as u64 > needed {
            self.log.pop_front();
        }
    }
}

/// Consecutive changes of one realm together, as the realm's core takes them.
pub fn by_realm(changes: &[Change]) -> Vec<(Uri, Vec<(TopicKey, bool)>)> {
    let groups = changes.chunk_by(|a, b| a.realm == b.realm);
    groups
        .map(|group| {
            (
                group[0].realm.clone(),
                group.iter().map(|c| (c.topic.clone(), c.wanted)).collect(),
            )
        })
        .collect()
}

/// Splits `entries` into parts that fit a message; at least one.
pub fn parts(entries: Vec<Change>) -> Vec<Vec<Change>> {
    let mut rest = entries.into_iter();
    let mut parts = vec![chunk(&mut rest)];
    while rest.len() > 0 {
        parts.push(chunk(&mut rest));
    }
    parts
}

/// Takes as many changes as fit a message.
fn chunk(rest: &mut std::vec::IntoIter<Change>) -> Vec<Change> {
    let mut bytes = 0;
    let count = rest
        .as_slice()
        .iter()
        .enumerate()
        .take_while(|(taken, change)| fits(*taken, &mut bytes, change))
        .count();
    rest.take(count).collect()
}

/// Whether one more change fits behind `taken` others that hold `bytes` bytes; the first always does.
fn fits(taken: usize, bytes: &mut usize, change: &Change) -> bool {
    *bytes += change.realm.len() + change.topic.text_bytes() + 12;
    taken == 0 || (taken < MESSAGE_CHANGES && *bytes <= MESSAGE_BYTES)
}

/// How many messages a follower may have to acknowledge: bounds what its node queues for its realms.
pub const WINDOW: u64 = 16;
const MESSAGE_CHANGES: usize = 512;
const MESSAGE_BYTES: usize = 48 << 10;
/// The longest realm and topic that are announced, together.
const TEXT_BYTES_MAX: usize = 16 << 10;
/// How many changes are kept for followers that are behind; one that is further behind starts over with a snapshot.
const LOG_MAX: usize = 1 << 18;
