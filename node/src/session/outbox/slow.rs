//! Events for a session that does not take them as fast as they come: what waits apart from the bytes of the outbox, what is lost,
//! and how the subscriber learns of it.
//!
//! Events under a policy that prefers the newest ([`SlowConsumer::DropOldest`], [`SlowConsumer::KeepLast`]) wait here from an eighth
//! of the outbox on, not encoded, so that older ones can still give way; while any wait here, later events of all policies wait
//! behind them, for the order of a publisher's events holds across topics. They are encoded when the bytes before them are written.
//! What waits here is bounded by a quarter of the outbox's bounds, beside those.
//!
//! The next EVENT of a subscription that has lost some says in EVENT.Details how many: `_gap`. Losses in the middle of what waits are
//! told with the next event of the subscription that goes out, be it older than they were.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use parking_lot::MutexGuard;

use super::{
    Inner, Later, Outbox, Pushed, Shared, Touched,
    encoding::{Encoding, deferred_bytes},
    most_of, unix_ms,
};
use crate::{
    router::SlowConsumer,
    wamp::{Message, SubscriptionId},
};

/// The events of one session that wait apart, and the count of those that were lost.
#[derive(Debug, Default)]
pub(super) struct Slow {
    /// In the order in which they came.
    held: BTreeMap<u64, Held>,
    /// Those that may give way to newer ones.
    yielding: BTreeSet<u64>,
    /// The one that waits under a key.
    last: HashMap<Key, u64>,
    next: u64,
    bytes: usize,
    /// Lost before the next event of the subscription that goes out.
    lost_before: HashMap<SubscriptionId, u64>,
    /// Lost behind all that wait: before the next event of the subscription that comes.
    lost_behind: HashMap<SubscriptionId, u64>,
    /// The router was told that events are lost.
    told: bool,
    /// When the first event was lost or held back, milliseconds since 1970 (UTC); 0 before.
    since_ms: u64,
    /// How many were lost since then.
    dropped: u64,
}

/// How a session stands that does not keep up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slowness {
    /// What waits for its socket.
    pub bytes: usize,
    /// The same as messages.
    pub messages: usize,
    /// How many bytes may wait.
    pub bytes_max: usize,
    /// Events that wait apart.
    pub held: usize,
    /// Events lost since it fell behind.
    pub dropped: u64,
    /// When the first of them was lost or held back, milliseconds since 1970 (UTC); 0 if none was yet.
    pub since_ms: u64,
}

#[derive(Debug)]
struct Held {
    encoding: Arc<Encoding>,
    subscription: SubscriptionId,
    bytes: usize,
    /// How many of its subscription were lost just before it.
    lost: u64,
    key: Option<Key>,
}

/// Subscription, topic as EVENT.Details tells it, and the publisher's `_key`.
type Key = (SubscriptionId, Option<String>, Option<String>);

impl Outbox {
    /// How the session stands if it does not keep up: it has lost events or some wait apart, it was found not to drain, or what waits is
    /// more than events may take.
    pub fn slowness(&self) -> Option<Slowness> {
        let inner = self.inner.lock();
        let (bytes, messages) = (inner.queued_bytes(), inner.queued_messages());
        let full = bytes > most_of(self.bytes_max) || messages > most_of(self.messages_max);
        if inner.slow.is_none() && !inner.laggard && !full {
            return None;
        }
        let slow = inner.slow.as_deref();
        Some(Slowness {
            bytes,
            messages,
            bytes_max: self.bytes_max,
            held: slow.map_or(0, |slow| slow.held.len()),
            dropped: slow.map_or(0, |slow| slow.dropped),
            since_ms: slow.map_or(0, |slow| slow.since_ms),
        })
    }

    /// Puts an event in that is encoded once for many sessions; `policy` says what gives way where it does not fit.
    pub fn push_event(self: &Arc<Self>, message: &mut Shared<'_>, policy: SlowConsumer, touched: &mut Touched) -> Pushed {
        let encoding = message.encoding(self.wire.serializer);
        let mut inner = self.inner.lock();
        if !self.is_open() {
            return Pushed::Closed;
        }
        if inner.slow.is_none() {
            match policy {
                SlowConsumer::DropNewest => return self.put_encoding(inner, encoding, touched),
                SlowConsumer::DropOldest | SlowConsumer::KeepLast if !self.is_congested(&inner) => {
                    return self.put_encoding(inner, encoding, touched);
                }
                SlowConsumer::EndSession if !self.fits(&inner, estimate(encoding), encoding.message()) => {
                    return self.overrun(inner);
                }
                SlowConsumer::EndSession => return self.put_encoding(inner, encoding, touched),
                SlowConsumer::DropOldest | SlowConsumer::KeepLast => {}
            }
        }
        let Message::Event { subscription, .. } = encoding.message() else {
            return self.put_encoding(inner, encoding, touched);
        };
        let subscription = *subscription;
        let patient = matches!(policy, SlowConsumer::DropOldest | SlowConsumer::KeepLast);
        let room = if patient {
            !self.is_congested(&inner)
        } else {
            self.fits(&inner, estimate(encoding), encoding.message())
        };
        let slow = inner.slow.get_or_insert_default();
        if slow.held.is_empty() && room {
            return self.put_after_loss(inner, encoding, subscription, touched);
        }
        if slow.held.is_empty() && !patient {
            return if policy == SlowConsumer::EndSession {
                self.overrun(inner)
            } else {
                self.lose(&mut inner, subscription)
            };
        }
        self.hold_event(inner, encoding, subscription, policy, touched)
    }

    /// Puts an event in directly, with what was lost before it.
    fn put_after_loss(
        self: &Arc<Self>,
        mut inner: MutexGuard<'_, Inner>,
        encoding: &Arc<Encoding>,
        subscription: SubscriptionId,
        touched: &mut Touched,
    ) -> Pushed {
        let slow = inner.slow.get_or_insert_default();
        let lost = slow.lost_before.remove(&subscription).unwrap_or(0) + slow.lost_behind.remove(&subscription).unwrap_or(0);
        if slow.is_over() {
            inner.slow = None;
        }
        let pushed = self.put_encoding(inner, &with_gap(encoding, lost), touched);
        if lost > 0 && matches!(pushed, Pushed::Dropped | Pushed::Losing) {
            let mut inner = self.inner.lock();
            let slow = inner.slow.get_or_insert_default();
            *slow.lost_behind.entry(subscription).or_default() += lost;
        }
        pushed
    }

    /// Keeps an event apart, where others or it may have to give way.
    fn hold_event(
        self: &Arc<Self>,
        mut inner: MutexGuard<'_, Inner>,
        encoding: &Arc<Encoding>,
        subscription: SubscriptionId,
        policy: SlowConsumer,
        touched: &mut Touched,
    ) -> Pushed {
        let (bytes_max, messages_max) = (self.bytes_max / 4, self.messages_max / 4);
        let bytes = estimate(encoding);
        let slow = inner.slow.get_or_insert_default();
        let key = (policy == SlowConsumer::KeepLast).then(|| key_of(encoding.message(), subscription));
        let mut given_way = Vec::new();
        if let Some(known) = key.as_ref().and_then(|key| slow.last.get(key).copied()) {
            given_way.extend(slow.take(known));
        }
        let patient = key.is_some() || policy == SlowConsumer::DropOldest;
        let full = |slow: &Slow| !slow.held.is_empty() && (slow.bytes + bytes > bytes_max || slow.held.len() >= messages_max);
        while patient
            && full(slow)
            && let Some(oldest) = slow.yielding.first().copied()
        {
            given_way.extend(slow.take(oldest));
        }
        let fits = !full(slow);
        if !fits && policy == SlowConsumer::EndSession {
            return self.overrun(inner);
        }
        if fits {
            let lost = slow.lost_behind.remove(&subscription).unwrap_or(0);
            slow.add(
                Held {
                    encoding: encoding.clone(),
                    subscription,
                    bytes,
                    lost,
                    key,
                },
                patient,
            );
            self.stats.events_held.fetch_add(1, Relaxed);
        }
        let mut pushed = Pushed::Queued;
        for gone in given_way {
            *slow.lost_before.entry(gone.subscription).or_default() += gone.lost + 1;
            pushed = self.note_loss(slow, &self.stats.events_given_way, pushed);
        }
        if !fits {
            return self.lose(&mut inner, subscription);
        }
        self.touch(&mut inner, touched);
        pushed
    }

    /// Notes that an event gave way; the first one since all was well is to be told.
    fn note_loss(&self, slow: &mut Slow, counter: &AtomicU64, before: Pushed) -> Pushed {
        counter.fetch_add(1, Relaxed);
        slow.dropped += 1;
        slow.fell_behind();
        if std::mem::replace(&mut slow.told, true) {
            before
        } else {
            Pushed::Losing
        }
    }

    /// Notes that a new event of a subscription is lost.
    pub(super) fn lose(&self, inner: &mut Inner, subscription: SubscriptionId) -> Pushed {
        let slow = inner.slow.get_or_insert_default();
        *slow.lost_behind.entry(subscription).or_default() += 1;
        self.note_loss(slow, &self.stats.events_dropped_full, Pushed::Dropped)
    }

    /// The session has given a subscription up: nothing of it may follow.
    pub fn forget_subscription(&self, subscription: SubscriptionId) {
        let mut inner = self.inner.lock();
        if let Some(slow) = &mut inner.slow {
            let of_it = slow.held.iter().filter(|(_, held)| held.subscription == subscription);
            for at in of_it.map(|(at, _)| *at).collect::<Vec<_>>() {
                slow.take(at);
            }
            slow.lost_before.remove(&subscription);
            slow.lost_behind.remove(&subscription);
            if slow.is_over() {
                inner.slow = None;
            }
        }
    }

    /// Encodes the first of the events that wait apart, once all before them is written.
    pub(super) fn release(&self, inner: &mut Inner) {
        let Some(mut slow) = inner.slow.take() else { return };
        if slow.held.is_empty() {
            // The subscriber has caught up: the next loss is news.
            slow.told = false;
        }
        while inner.back_bytes < RELEASE_BYTES
            && let Some((first, _)) = slow.held.first_key_value()
            && let first = *first
            && let Some(held) = slow.take(first)
        {
            let lost = held.lost + slow.lost_before.remove(&held.subscription).unwrap_or(0);
            self.append(inner, &with_gap(&held.encoding, lost));
        }
        if !slow.is_over() {
            inner.slow = Some(slow);
        }
    }

    fn append(&self, inner: &mut Inner, encoding: &Arc<Encoding>) {
        if let Some(estimate) = deferred_bytes(encoding.message(), self.wire.serializer) {
            let generation = inner.generation;
            inner.later.push_back(Later {
                encoding: encoding.clone(),
                estimate,
                generation,
                after: Vec::new(),
                messages: 0,
            });
            return inner.count(estimate);
        }
        let tail = inner.tail();
        let start = tail.len();
        match self.wire.append_encoded(encoding, tail) {
            Ok(()) => {
                let added = tail.len() - start;
                inner.count(added);
            }
            Err(refused) => self.count_refused(encoding.message(), refused),
        }
    }
}

impl Slow {
    fn fell_behind(&mut self) {
        if self.since_ms == 0 {
            self.since_ms = unix_ms();
        }
    }

    fn add(&mut self, held: Held, yields: bool) {
        self.fell_behind();
        let at = self.next;
        self.next += 1;
        self.bytes += held.bytes;
        if yields {
            self.yielding.insert(at);
        }
        if let Some(key) = &held.key {
            self.last.insert(key.clone(), at);
        }
        self.held.insert(at, held);
    }

    fn take(&mut self, at: u64) -> Option<Held> {
        let held = self.held.remove(&at)?;
        self.bytes -= held.bytes;
        self.yielding.remove(&at);
        if let Some(key) = &held.key {
            self.last.remove(key);
        }
        Some(held)
    }

    /// Nothing waits, and nothing is to be told.
    fn is_over(&self) -> bool {
        self.held.is_empty() && self.lost_before.is_empty() && self.lost_behind.is_empty()
    }
}

fn key_of(message: &Message, subscription: SubscriptionId) -> Key {
    let Message::Event { details, .. } = message else {
        return (subscription, None, None);
    };
    let text = |key: &str| details.text(key).map(str::to_owned);
    (subscription, text("topic"), text("_key"))
}

/// The event, and how many were lost before it.
fn with_gap(encoding: &Arc<Encoding>, lost: u64) -> Arc<Encoding> {
    if lost == 0 {
        return encoding.clone();
    }
    let mut message = encoding.message().clone();
    if let Message::Event { details, .. } = &mut message {
        details.set("_gap", lost);
    }
    Encoding::new(message, encoding.serializer())
}

/// About how many bytes an event takes; it is not encoded to know.
fn estimate(encoding: &Encoding) -> usize {
    encoding.message().payload().map_or(0, |payload| payload.bytes().len()) + 64
}

/// How much is encoded at once of what waits apart.
const RELEASE_BYTES: usize = 64 << 10;

#[cfg(test)]
#[path = "slow_tests.rs"]
mod tests;
