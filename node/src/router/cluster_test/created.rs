//! Subscriptions come and go at random, without faults: everybody hears of each creation and each end once, in turn.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use proptest::prelude::*;

use super::{NODES, PATTERNS, World, oracle::Oracle, walks};
use crate::{
    router::MatchPolicy,
    wamp::{SessionId, Uri, Value},
};

const EVENTS: [&str; 4] = [
    "wamp.subscription.on_create",
    "wamp.subscription.on_subscribe",
    "wamp.subscription.on_unsubscribe",
    "wamp.subscription.on_delete",
];

/// What the watchers have heard of subscriptions.
#[derive(Default)]
pub(super) struct CreatedOracle {
    pub(super) watchers: BTreeSet<SessionId>,
    /// By watcher and subscription: its subscribers, while it stands.
    standing: BTreeMap<(SessionId, i128), BTreeSet<i128>>,
    told: usize,
}

/// True if the topic is one of these events.
pub(super) fn is_of_subscriptions(topic: &Uri) -> bool {
    topic.starts_with("wamp.subscription.")
}

impl Oracle {
    pub(super) fn hears_of_subscription(&mut self, watcher: SessionId, topic: &Uri, args: &[Value]) {
        let number = |value: &Value| value.as_integer().expect("an id");
        let session = number(&args[0]);
        let subscription = match &args[1] {
            Value::Dict(details) => number(details.get("id").expect("an id")),
            id => number(id),
        };
        let oracle = &mut self.created;
        oracle.told += 1;
        let key = (watcher, subscription);
        let what = format!("{watcher} hears {topic} of {subscription} by {session}");
        match topic.trim_start_matches("wamp.subscription.") {
            "on_create" => assert!(oracle.standing.insert(key, BTreeSet::new()).is_none(), "{what}, which stands"),
            "on_delete" => match oracle.standing.remove(&key) {
                Some(subscribers) => assert!(subscribers.is_empty(), "{what}, which has {subscribers:?}"),
                None => panic!("{what}, which does not stand"),
            },
            "on_subscribe" => {
                let subscribers = oracle
                    .standing
                    .get_mut(&key)
                    .unwrap_or_else(|| panic!("{what}, which does not stand"));
                assert!(subscribers.insert(session), "{what} again");
            }
            _ => {
                let subscribers = oracle
                    .standing
                    .get_mut(&key)
                    .unwrap_or_else(|| panic!("{what}, which does not stand"));
                assert!(subscribers.remove(&session), "{what}, who is none");
            }
        }
    }

    /// Everything has come to rest: what was told is how it is.
    fn creations_are_complete(&self) {
        let mut there: BTreeMap<i128, BTreeSet<i128>> = BTreeMap::new();
        for (session, subscription, uri) in self.all_subscriptions() {
            if !uri.starts_with("wamp.") {
                let subscribers = there.entry(i128::from(subscription.get())).or_default();
                subscribers.insert(i128::from(session.get()));
            }
        }
        for watcher in &self.created.watchers {
            let of_watcher = self.created.standing.iter().filter(|((who, _), _)| who == watcher);
            let told: BTreeMap<i128, BTreeSet<i128>> = of_watcher.map(|((_, id), of)| (*id, of.clone())).collect();
            assert_eq!(told, there, "what {watcher} was told");
        }
    }
}

impl World {
    /// A watcher on every node, or several on one.
    fn watch_subscriptions(&mut self) {
        for node in 0..NODES {
            let watcher = self.join_at(if self.alone { 0 } else { node });
            self.oracle.created.watchers.insert(watcher);
            let at = self
                .oracle
                .living()
                .iter()
                .position(|session| *session == watcher)
                .expect("it lives");
            for topic in EVENTS {
                self.subscribe(at, (MatchPolicy::Exact, topic));
            }
        }
        self.run_dry();
    }

    fn creation_step(&mut self, (kind, a, b): (u8, u16, u16)) {
        let (a, b) = (usize::from(a), usize::from(b));
        let watches = self
            .pick(a)
            .is_some_and(|session| self.oracle.created.watchers.contains(&session));
        match kind {
            0..=7 => self.join(a),
            8..=11 if !watches => self.leave(a),
            12..=39 => self.subscribe(a, PATTERNS[b % 4]),
            40..=54 if !watches => self.unsubscribe(a, b),
            55..=78 => self.deliver_data(a),
            79..=88 => self.deliver_control(a),
            89..=94 => self.confirm(a),
            95..=96 => self.commit(a, 1),
            97..=98 => self.apply(a),
            99 => self.pass(Duration::from_millis(1 + b as u64 % 300)),
            _ => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: walks(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_subscription_is_created_and_deleted_once_and_in_turn(
        steps in prop::collection::vec((0..100_u8, any::<u16>(), any::<u16>()), 1..400),
        alone in any::<bool>(),
    ) {
        let mut world = World::new();
        world.alone = alone;
        world.watch_subscriptions();
        steps.into_iter().for_each(|step| world.creation_step(step));
        world.run_dry();
        world.pass(Duration::from_secs(11));
        world.run_dry();
        world.oracle.creations_are_complete();
    }
}
