//! The retained events of a realm, in memory and bounded.
//!
//! Invariants: the events of a topic are in order, the newest first, and all newer than what was cleared; at most one is for
//! everybody, and it is the oldest; the counts are those of what is there.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    sync::Arc,
};

use crate::wamp::{
    Uri,
    history::{Asker, KeptEvent, Stamp},
};

/// How much is retained in a realm; what was retained longest ago goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetainedLimits {
    /// Topics, those that were cleared included: nodes that missed the clearing must hear of it.
    pub topics_max: usize,
    /// Bytes of all events.
    pub bytes_max: usize,
    /// Retained events that one SUBSCRIBE is answered with, as patterns match many topics.
    pub replay_max: usize,
}

impl Default for RetainedLimits {
    fn default() -> Self {
        Self {
            topics_max: 100_000,
            bytes_max: 64 << 20,
            replay_max: 10_000,
        }
    }
}

/// What a topic retains.
#[derive(Clone, Debug, PartialEq)]
pub struct Retained {
    /// The topic.
    pub topic: Uri,
    /// Everything up to here was cleared.
    pub cleared: Option<Stamp>,
    /// The events, newest first. Those for some only stand before the newest that is for everybody.
    pub events: Vec<Arc<KeptEvent>>,
}

/// Events for some only that a topic retains, besides the one for everybody.
const SUPPLEMENTS_MAX: usize = 8;

#[derive(Debug, Default)]
struct Topic {
    cleared: Option<Stamp>,
    events: Vec<Arc<KeptEvent>>,
}

impl Topic {
    fn newest(&self) -> Option<Stamp> {
        self.events.first().map(|event| event.stamp).max(self.cleared)
    }

    fn bytes(&self) -> usize {
        64 + self.events.iter().map(|event| event.bytes()).sum::<usize>()
    }

    /// Drops what nobody would be given any more.
    fn tidy(&mut self) {
        let cleared = self.cleared;
        self.events
            .retain(|event| cleared.is_none_or(|cleared| event.stamp > cleared));
        self.events.sort_by_key(|event| std::cmp::Reverse(event.stamp));
        self.events.dedup_by_key(|event| event.stamp);
        if let Some(at) = self.events.iter().position(|event| event.audience.is_none()) {
            self.events.truncate(at + 1);
        }
        while self.events.len() > SUPPLEMENTS_MAX + 1 {
            self.events.remove(SUPPLEMENTS_MAX);
        }
    }
}

/// All topics that retain something.
#[derive(Debug)]
pub(in crate::router) struct Table {
    limits: RetainedLimits,
    topics: BTreeMap<Uri, Topic>,
    by_age: BTreeSet<(Stamp, Uri)>,
    bytes: usize,
}

impl Table {
    pub(super) fn new(limits: RetainedLimits) -> Self {
        Self {
            limits,
            topics: BTreeMap::new(),
            by_age: BTreeSet::new(),
            bytes: 0,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.topics.is_empty()
    }

    pub(in crate::router) fn get(&self, topic: &Uri) -> Option<Retained> {
        self.topics.get(topic).map(|of| of.told(topic))
    }

    /// The newest thing known of a topic.
    pub(super) fn newest(&self, topic: &str) -> Option<Stamp> {
        self.topics.get(topic)?.newest()
    }

    /// Takes an event in; false if it is no news.
    pub(super) fn put(&mut self, event: Arc<KeptEvent>) -> bool {
        let topic = event.topic.clone();
        self.change(&topic, |of| of.events.push(event))
    }

    /// Clears a topic up to a stamp; false if that is no news.
    pub(super) fn clear(&mut self, topic: &Uri, up_to: Stamp) -> bool {
        self.change(topic, |of| of.cleared = of.cleared.max(Some(up_to)))
    }

    /// Takes in what another node or the store knows of a topic; false if it is no news.
    pub(super) fn merge(&mut self, retained: Retained) -> bool {
        let Retained { topic, cleared, events } = retained;
        self.change(&topic, |of| {
            of.cleared = of.cleared.max(cleared);
            of.events.extend(events);
        })
    }

    fn change(&mut self, topic: &Uri, change: impl FnOnce(&mut Topic)) -> bool {
        let mut of = self.topics.remove(topic).unwrap_or_default();
        if let Some(newest) = of.newest() {
            self.by_age.remove(&(newest, topic.clone()));
            self.bytes = self.bytes.saturating_sub(of.bytes());
        }
        let stamps = |of: &Topic| (of.cleared, of.events.iter().map(|event| event.stamp).collect::<Vec<_>>());
        let before = stamps(&of);
        change(&mut of);
        of.tidy();
        let changed = stamps(&of) != before;
        if let Some(newest) = of.newest() {
            self.by_age.insert((newest, topic.clone()));
            self.bytes += of.bytes();
            self.topics.insert(topic.clone(), of);
        }
        changed
    }

    /// Forgets what was retained longest ago until the bounds are kept; returns the topics.
    pub(super) fn make_room(&mut self) -> Vec<Uri> {
        let mut forgotten = Vec::new();
        while self.topics.len() > self.limits.topics_max || self.bytes > self.limits.bytes_max {
            let Some((_, topic)) = self.by_age.pop_first() else { break };
            if let Some(of) = self.topics.remove(&topic) {
                self.bytes = self.bytes.saturating_sub(of.bytes());
            }
            forgotten.push(topic);
        }
        forgotten
    }

    /// The newest event of one topic that `asker` may receive.
    pub(super) fn newest_for(&self, topic: &str, asker: &Asker) -> Option<Arc<KeptEvent>> {
        let events = &self.topics.get(topic)?.events;
        events.iter().find(|event| event.is_for(asker)).cloned()
    }

    /// The same for every topic that begins with `start` and passes `matches`, in the order of topics.
    pub(super) fn newest_of_all(&self, start: &str, matches: impl Fn(&str) -> bool, asker: &Asker) -> Vec<Arc<KeptEvent>> {
        let range = self.topics.range::<str, _>((Bound::Included(start), Bound::Unbounded));
        range
            .take_while(|(topic, _)| topic.starts_with(start))
            .filter(|(topic, _)| matches(topic))
            .filter_map(|(_, of)| of.events.iter().find(|event| event.is_for(asker)).cloned())
            .take(self.limits.replay_max)
            .collect()
    }

    /// Everything behind `after`, as much as is good for one message; and the topic after which it goes on, if it does.
    pub(super) fn part(&self, after: Option<&str>) -> (Vec<Retained>, Option<Uri>) {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut part = Vec::new();
        let mut bytes = 0;
        for (topic, of) in self.topics.range::<str, _>((from, Bound::Unbounded)) {
            if bytes > PART_BYTES {
                let last = part.last().map(|retained: &Retained| retained.topic.clone());
                return (part, last);
            }
            bytes += of.bytes() + topic.len();
            part.push(of.told(topic));
        }
        (part, None)
    }

    pub(in crate::router) fn check(&self) -> Result<(), String> {
        let bytes: usize = self.topics.values().map(Topic::bytes).sum();
        let ages: BTreeSet<_> = self
            .topics
            .iter()
            .filter_map(|(topic, of)| Some((of.newest()?, topic.clone())))
            .collect();
        if bytes != self.bytes || ages != self.by_age {
            return Err("the counts of retained events are not those of what is there".to_owned());
        }
        for (topic, of) in &self.topics {
            let ordered = of.events.is_sorted_by(|a, b| a.stamp > b.stamp);
            let cleared = of
                .events
                .iter()
                .all(|event| of.cleared.is_none_or(|cleared| event.stamp > cleared));
            let open = of.events.iter().position(|event| event.audience.is_none());
            if !ordered || !cleared || open.is_some_and(|at| at + 1 != of.events.len()) {
                return Err(format!("the retained events of {topic} are out of order"));
            }
        }
        Ok(())
    }
}

/// About how much one message about retained events holds.
const PART_BYTES: usize = 128 << 10;

impl Topic {
    fn told(&self, topic: &Uri) -> Retained {
        Retained {
            topic: topic.clone(),
            cleared: self.cleared,
            events: self.events.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;
    use crate::wamp::{Dict, Payload, PublicationId, history::Audience};

    fn event(topic: u8, time: u64, restricted: bool) -> Arc<KeptEvent> {
        Arc::new(KeptEvent {
            stamp: Stamp {
                time,
                publication: PublicationId::new(time + 1).unwrap(),
            },
            topic: Uri::from(format!("t.{topic}").as_str()),
            audience: restricted.then(|| {
                Box::new(Audience {
                    eligible_authid: Some(vec!["alice".to_owned()]),
                    ..Audience::default()
                })
            }),
            details: Dict::new(),
            payload: Payload::EMPTY,
        })
    }

    proptest! {
        /// Two nodes that hear of the same changes in different orders end up with the same.
        #[test]
        fn the_order_in_which_changes_come_does_not_show(
            mut changes in vec((0u8..3, 0u64..30, any::<bool>(), any::<bool>()), 0..30),
            order in any::<u64>(),
        ) {
            let limits = RetainedLimits::default();
            let play = |changes: &[(u8, u64, bool, bool)]| {
                let mut table = Table::new(limits);
                for (topic, time, restricted, clear) in changes {
                    let event = event(*topic, *time, *restricted);
                    if *clear { table.clear(&event.topic, event.stamp) } else { table.put(event) };
                    table.check().unwrap();
                }
                table.part(None).0
            };
            // What a stamp stands for is the same everywhere.
            changes.sort_by_key(|change| (change.0, change.1));
            changes.dedup_by_key(|change| (change.0, change.1));
            let first = play(&changes);
            let count = changes.len().max(1);
            changes.rotate_left(order as usize % count);
            changes.reverse();
            // Supplements beyond their bound may differ; so few are made here that none is.
            if first.iter().all(|retained| retained.events.len() <= SUPPLEMENTS_MAX) {
                prop_assert_eq!(play(&changes), first);
            }
        }
    }

    #[test]
    fn what_was_retained_longest_ago_goes_when_there_is_no_room() {
        let mut table = Table::new(RetainedLimits {
            topics_max: 2,
            ..RetainedLimits::default()
        });
        for (topic, time) in [(1, 5), (2, 1), (3, 3)] {
            assert!(table.put(event(topic, time, false)));
        }
        assert_eq!(table.make_room(), [Uri::from("t.2")]);
        table.check().unwrap();
    }

    #[test]
    fn parts_of_a_large_table_make_the_whole() {
        let mut table = Table::new(RetainedLimits::default());
        for topic in 0..200 {
            let mut event = (*event(topic, 1, false)).clone();
            event.payload = Payload::from_proven(crate::wamp::Serializer::Json, 1, vec![b' '; 4_000].into());
            table.put(Arc::new(event));
        }
        let (mut after, mut seen, mut parts) = (None, 0, 0);
        loop {
            let (part, next) = table.part(after.as_deref());
            seen += part.len();
            parts += 1;
            after = next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(seen, 200);
        assert!(parts > 3, "{parts}");
    }
}
