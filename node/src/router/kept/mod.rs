//! Kept events: the retained event of a topic, and the histories of topics.
//!
//! Owns: which events are kept, the retained ones themselves, and the answering of `wamp.subscription.get_events`. Does not own where
//! histories lie: the core asks its shell to keep an event ([`Keep`]) and to look one up ([`AskHistory`]).
//!
//! An event that is kept is stamped by its publisher's node and travels with that stamp to every node that has to keep it: retained ones
//! to all, for each node answers from its own memory; those of a history to all as well where nodes keep them on their own, and no
//! further than usual where they share a store. Nodes tell each other what is retained when their link comes up ([`share`]), and ask each
//! other for what their own histories lack ([`catch_up`]). An event
//! whose PUBLISH lists session ids is never kept: ids mean nothing later.
//!
//! Invariants: of two retained events of a topic the one with the larger stamp wins on every node, whatever the order in which they
//! came; stamps of one node grow strictly; retained events come after SUBSCRIBED and before any event that is published later;
//! a `get_events` gets one answer, or none if its caller left.
//!
//! Spec: WAMP advanced profile, "Event Retention", "Event History".

mod ask;
mod catch_up;
mod replay;
mod retained;
mod rules;
mod share;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Instant,
};

use super::{
    Effect, NodeRef, Realm, Slot,
    broker::{Audience, Event},
    turn::Turn,
};
use crate::wamp::{
    RequestId, SessionId, SubscriptionId, Uri,
    history::{self, KeptEvent, Stamp},
    timestamp::Micros,
};

pub use ask::{AskHistory, HistoryAnswer, HistoryFailure, history_payload};
pub use catch_up::{HistoryPage, TellHistory};
pub use retained::{Retained, RetainedLimits};
pub use rules::{Copies, KeptRule, Retain};

/// What an event that is kept carries along.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeepMark {
    /// When its publisher's node took it.
    pub time: Micros,
    /// Whether it becomes the retained event of its topic.
    pub retain: bool,
}

/// A request to the store.
#[derive(Clone, Debug, PartialEq)]
pub enum Keep {
    /// Add the event to the histories of these entries of the configuration.
    Append {
        /// Places in [`super::RealmConfig::kept`].
        rules: Vec<usize>,
        /// The event.
        event: Arc<KeptEvent>,
        /// True on the publisher's node, which alone writes to a store that all nodes share.
        own: bool,
    },
    /// This is what the topic retains now.
    Retain {
        /// The entry of the configuration that says where; `None`: the default.
        rule: Option<usize>,
        /// The topic and its events.
        retained: Box<Retained>,
        /// As above.
        own: bool,
    },
    /// The topic retains nothing any more, for want of room.
    Forget {
        /// The entry of the configuration that says where.
        rule: Option<usize>,
        /// The topic.
        topic: Uri,
    },
}

/// The state of what is kept, in a realm.
#[derive(Debug)]
pub(super) struct Keeper {
    rules: rules::Rules,
    /// The entry of the configuration behind the subscription that stands for it.
    histories: HashMap<SubscriptionId, usize>,
    pub(super) retained: retained::Table,
    /// SUBSCRIBEs that wait for their answer and want retained events after it.
    pub(super) wanted: BTreeSet<(SessionId, RequestId)>,
    /// `get_events` under way.
    pub(super) asking: BTreeSet<(SessionId, RequestId)>,
    /// What the clock said, and when.
    clock: Option<(Instant, Micros)>,
    last: Micros,
    /// When the newest event of each history was published that an earlier life of this node has kept.
    ends: Vec<Micros>,
    /// Until when there was a link to the node of a slot.
    heard_until: BTreeMap<Slot, Micros>,
}

impl Keeper {
    pub(super) fn new(rules: &[KeptRule], limits: RetainedLimits) -> Self {
        Self {
            rules: rules::Rules::new(rules),
            histories: HashMap::new(),
            retained: retained::Table::new(limits),
            wanted: BTreeSet::new(),
            asking: BTreeSet::new(),
            clock: None,
            last: 0,
            ends: Vec::new(),
            heard_until: BTreeMap::new(),
        }
    }

    /// What the clock says.
    fn time(&self, now: Instant) -> Micros {
        self.clock.map_or(0, |(at, time)| {
            let since = now.saturating_duration_since(at).as_micros();
            time.saturating_add(Micros::try_from(since).unwrap_or(Micros::MAX))
        })
    }

    /// The time of an event: what the clock says, and always later than the one before. An event that is retained is also later than
    /// the one it replaces: a clock that was set back must not keep a topic from changing.
    fn stamp(&mut self, now: Instant, retained: Option<&Uri>) -> Micros {
        self.last = self.time(now).max(self.last.saturating_add(1));
        let newest = retained.and_then(|topic| self.retained.newest(topic));
        newest.map_or(self.last, |newest| self.last.max(newest.time.saturating_add(1)))
    }

    /// An event of another node came: what this node publishes from now on is later, unless their clocks are far apart.
    fn heard(&mut self, now: Instant, time: Micros) {
        if time <= self.time(now).saturating_add(SKEW_MAX) {
            self.last = self.last.max(time);
        }
    }

    /// A session is gone: nobody waits for what it asked.
    pub(super) fn detach(&mut self, session: SessionId) {
        self.wanted.retain(|(of, _)| *of != session);
        self.asking.retain(|(of, _)| *of != session);
    }
}

impl Realm {
    /// Says what time it is, in microseconds since 1970. Without it, kept events are numbered from 1.
    pub fn set_wall_clock(&mut self, now: Instant, time: Micros) {
        self.keeper.clock = Some((now, time));
    }

    /// The cluster has told the key of subscription ids: the histories' ids follow from it.
    pub(super) fn name_histories(&mut self) {
        let ids = self.keeper.rules.histories();
        self.keeper.histories = ids
            .map(|(at, rule)| (self.ids.subscription(rule.policy, &rule.uri), at))
            .collect();
    }

    /// The mark of an event of this node; `None`: nobody keeps it.
    pub(super) fn keep_mark(&mut self, now: Instant, event: &Event, retain: bool) -> Option<Box<KeepMark>> {
        let retain = self.is_kept(event, retain)?;
        let time = self.keeper.stamp(now, retain.then_some(&event.topic));
        Some(Box::new(KeepMark { time, retain }))
    }

    /// The mark of the `nth` testament of a session that was on `node`; `None`: nobody keeps it.
    ///
    /// Every node makes it for itself. The time is the one at which the session's node said that the session is over, so that it follows
    /// whatever the session had published there. Of a node that was lost the log has no such time: then it is this node's. A store
    /// takes a publication once, and of a retained one that has two times either will do.
    pub(super) fn testament_mark(&self, now: Instant, event: &Event, retain: bool, nth: u64, node: NodeRef) -> Option<KeepMark> {
        let retain = self.is_kept(event, retain)?;
        let told = self.registry.time_ms().saturating_add(1).saturating_mul(1_000);
        let is_lost = node != self.me && !self.peers.contains(&node);
        let time = if is_lost { told.max(self.keeper.time(now)) } else { told };
        let newest = self.keeper.retained.newest(&event.topic).filter(|_| retain);
        let time = newest.map_or(time, |newest| time.max(newest.time.saturating_add(1)));
        Some(KeepMark {
            time: time.saturating_add(nth),
            retain,
        })
    }

    /// Whether an event is retained, if it is kept at all.
    fn is_kept(&self, event: &Event, retain: bool) -> Option<bool> {
        if !retain && self.keeper.rules.is_empty() {
            return None;
        }
        let retain = match self.keeper.rules.retain(&event.topic) {
            Retain::Never => false,
            Retain::Asked => retain,
            Retain::Always => true,
        };
        let kept = (retain || self.keeper.rules.has_history(&event.topic)) && kept_audience(event.audience.as_deref()).is_ok();
        kept.then_some(retain)
    }

    /// True if nodes that nobody asked for the event have to get it too, in order to keep it.
    pub(super) fn is_kept_everywhere(&self, topic: &Uri, mark: &KeepMark) -> bool {
        mark.retain || self.keeper.rules.has_own_history(topic)
    }

    /// Keeps a marked event on this node, as far as its configuration says.
    pub(super) fn keep(&mut self, turn: &mut Turn<'_>, event: &Event, mark: KeepMark, own: bool) {
        let Ok(audience) = kept_audience(event.audience.as_deref()) else {
            return;
        };
        self.keeper.heard(turn.now, mark.time);
        let stamp = Stamp {
            time: mark.time,
            publication: event.publication,
        };
        let kept = Arc::new(KeptEvent {
            stamp,
            topic: event.topic.clone(),
            audience,
            details: event.details.clone(),
            payload: event.payload.apart(),
        });
        let rules = self.keeper.rules.kept_by(&event.topic);
        if !rules.is_empty() {
            self.stats.events_kept += 1;
            let event = Arc::clone(&kept);
            turn.effects.push(Effect::Keep(Box::new(Keep::Append { rules, event, own })));
        }
        if mark.retain && self.keeper.rules.retain(&event.topic) != Retain::Never {
            self.retain(turn, kept, own);
        }
    }

    fn retain(&mut self, turn: &mut Turn<'_>, event: Arc<KeptEvent>, own: bool) {
        let topic = event.topic.clone();
        let changed = if event.payload.is_empty() && event.audience.is_none() && self.keeper.rules.clears(&topic) {
            self.keeper.retained.clear(&topic, event.stamp)
        } else {
            self.keeper.retained.put(event)
        };
        if changed {
            self.stats.events_retained += 1;
            self.keep_retained(turn, &topic, own);
        }
    }

    /// Tells the store what the topic retains now, and what had to go for it.
    fn keep_retained(&mut self, turn: &mut Turn<'_>, topic: &Uri, own: bool) {
        let forgotten = self.keeper.retained.make_room();
        if let Some(retained) = self.keeper.retained.get(topic) {
            turn.effects.push(Effect::Keep(Box::new(Keep::Retain {
                rule: self.keeper.rules.retain_rule(topic),
                retained: Box::new(retained),
                own,
            })));
        }
        self.forget_retained(turn, &forgotten);
    }

    fn forget_retained(&mut self, turn: &mut Turn<'_>, topics: &[Uri]) {
        self.stats.retained_evicted += topics.len() as u64;
        for topic in topics {
            turn.effects.push(Effect::Keep(Box::new(Keep::Forget {
                rule: self.keeper.rules.retain_rule(topic),
                topic: topic.clone(),
            })));
        }
    }
}

/// How far ahead another node's clock may be to be followed: a second.
const SKEW_MAX: Micros = 1_000_000;

/// The receivers of an event as they are kept.
///
/// # Errors
/// The lists name session ids: the event is not kept.
fn kept_audience(audience: Option<&Audience>) -> Result<Option<Box<history::Audience>>, ()> {
    let Some(audience) = audience else { return Ok(None) };
    let lists = audience.to_dict();
    if lists.get("exclude").is_some() || lists.get("eligible").is_some() {
        return Err(());
    }
    let texts = |key: &str| {
        let list = lists.get(key)?.as_list()?.iter();
        Some(
            list.filter_map(|value| value.as_text().map(str::to_owned))
                .collect::<Vec<String>>(),
        )
    };
    let audience = history::Audience {
        eligible_authid: texts("eligible_authid"),
        eligible_authrole: texts("eligible_authrole"),
        exclude_authid: texts("exclude_authid").unwrap_or_default(),
        exclude_authrole: texts("exclude_authrole").unwrap_or_default(),
    };
    // What chooses among shards only is for everybody.
    Ok((audience != history::Audience::default()).then(|| Box::new(audience)))
}
