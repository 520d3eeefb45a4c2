//! Every store answers as a plain list does.

use std::sync::Arc;

use proptest::{collection::vec, prelude::*, test_runner::TestRunner};

use super::{events, server::Server};
use crate::{
    store::{Bounds, Effort, Embedded, Error, LogName, RetainedTopic, Store, Write},
    wamp::{
        PublicationId, Uri,
        history::{Filter, Found, KeptEvent, Stamp},
    },
};

const EFFORT: Effort = Effort {
    bytes_max: usize::MAX,
    scanned_max: usize::MAX,
};

/// A history as a list, in order.
#[derive(Default)]
struct Oracle(Vec<KeptEvent>);

impl Oracle {
    fn append(&mut self, event: &KeptEvent, bounds: &Bounds, oldest: u64) {
        if !self.0.iter().any(|known| known.stamp.publication == event.stamp.publication) {
            self.0.push(event.clone());
            self.0.sort_by_key(|event| event.stamp);
        }
        let too_much = |list: &[KeptEvent]| {
            list.len() as u64 > bounds.events_max
                || list.iter().map(KeptEvent::bytes).sum::<usize>() as u64 > bounds.bytes_max
                || list.first().is_some_and(|first| first.stamp.time < oldest)
        };
        while too_much(&self.0) {
            self.0.remove(0);
        }
    }

    fn query(&self, filter: &Filter) -> Option<Found> {
        let place = |publication: Option<PublicationId>| match publication {
            None => Some(None),
            Some(id) => self.0.iter().position(|event| event.stamp.publication == id).map(Some),
        };
        let (from, after) = (place(filter.from_publication)?, place(filter.after_publication)?);
        let (before, until) = (place(filter.before_publication)?, place(filter.until_publication)?);
        let mut numbered: Vec<(usize, &KeptEvent)> = self.0.iter().enumerate().collect();
        if filter.reverse {
            numbered.reverse();
        }
        let wanted = numbered.into_iter().filter(|(at, event)| {
            filter.times.contains(&event.stamp.time)
                && from.is_none_or(|from| *at >= from)
                && after.is_none_or(|after| *at > after)
                && before.is_none_or(|before| *at < before)
                && until.is_none_or(|until| *at <= until)
                && filter.topic.as_ref().is_none_or(|topic| *topic == event.topic)
        });
        let allowed = |event: &KeptEvent| filter.asker.as_ref().is_none_or(|asker| event.is_for(asker));
        let (mut events, mut cut) = (Vec::new(), false);
        for (_, event) in wanted {
            if events.len() == filter.limit {
                cut = true;
                break;
            }
            if allowed(event) {
                events.push(event.clone());
            }
        }
        Some(Found { events, cut })
    }
}

fn log(policy: &'static str, name: &str) -> Arc<LogName> {
    Arc::new(LogName {
        realm: Uri::from("realm1"),
        policy,
        uri: Uri::from(name),
    })
}

/// Events of distinct publications and growing times, in batches, and questions after each batch.
type Round = (Vec<KeptEvent>, Vec<Filter>);

fn rounds() -> impl Strategy<Value = Vec<Round>> {
    let round = (vec(events::event(), 0..20), vec(events::filter(200, 80), 1..8));
    vec(round, 1..4).prop_map(|mut rounds| {
        let mut time = 0;
        // 79 is a prime: no publication comes twice, and they are in no order.
        for (n, event) in (0..79).zip(rounds.iter_mut().flat_map(|(events, _)| events)) {
            time += event.stamp.time % 4 + 1;
            let publication = PublicationId::new(n * 37 % 79 + 1).unwrap();
            event.stamp = Stamp { time, publication };
        }
        rounds
    })
}

fn bounds() -> impl Strategy<Value = (Bounds, u64)> {
    let bound = |most: u64| prop_oneof![Just(u64::MAX), 1..most];
    (bound(30), bound(3_000), prop_oneof![Just(None), (1u64..60).prop_map(Some)]).prop_map(|(events_max, bytes_max, age)| {
        let bounds = Bounds {
            events_max: events_max.min(1 << 40),
            bytes_max: bytes_max.min(1 << 40),
            age_max: age.map(std::time::Duration::from_micros),
        };
        (bounds, 100)
    })
}

/// Plays the rounds on `store` and on the list; `n` makes the histories of this case new ones.
async fn play(store: &dyn Store, n: u64, policy: &'static str, bounds: Bounds, now: u64, rounds: &[Round]) {
    let log = log(policy, &format!("case{n}"));
    let mut oracle = Oracle::default();
    for (events, filters) in rounds {
        let mut batch = Vec::new();
        for event in events {
            let event = match policy {
                "exact" => KeptEvent {
                    topic: log.uri.clone(),
                    ..event.clone()
                },
                _ => event.clone(),
            };
            oracle.append(&event, &bounds, bounds.oldest(now));
            let (log, event) = (Arc::clone(&log), Arc::new(event));
            batch.push(Write::Append { log, bounds, event });
        }
        store.write(&batch, now).await.unwrap();
        // Once more: nothing changes.
        store.write(&batch, now).await.unwrap();
        for filter in filters {
            match (store.query(&log, filter, EFFORT).await, oracle.query(filter)) {
                (Ok(found), Some(expected)) => assert_eq!(found, expected, "{filter:?}"),
                (Err(Error::UnknownPublication(_)), None) => {}
                (found, expected) => panic!("{filter:?}: {found:?} instead of {expected:?}"),
            }
        }
    }
}

/// Whole histories: two writes of the same batch change nothing only if what was trimmed does not come back.
fn check(store: &dyn Store, cases: u32) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let mut runner = TestRunner::new(ProptestConfig::with_cases(cases));
    let n = std::cell::Cell::new(0);
    let policy = prop_oneof![Just("exact"), Just("prefix")];
    runner
        .run(&(policy, bounds(), rounds()), |(policy, (bounds, now), rounds)| {
            n.set(n.get() + 1);
            runtime.block_on(play(store, n.get(), policy, bounds, now, &rounds));
            Ok(())
        })
        .unwrap();
}

#[test]
fn the_embedded_store_answers_as_a_list_does() {
    check(&Embedded::in_memory().unwrap(), 250);
}

#[test]
fn the_embedded_store_on_a_disk_answers_as_a_list_does() {
    let folder = tempfile::tempdir().unwrap();
    check(&Embedded::open(&folder.path().join("store.redb"), 1 << 20).unwrap(), 20);
}

#[test]
fn redis_answers_as_a_list_does() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let _inside = runtime.enter();
    let server = Server::start();
    check(&server.store(), 120);
}

/// The retained events of every topic come back, the newest of each, and none of another realm.
async fn retains(store: &dyn Store) {
    let realm = Uri::from("realm1");
    let topic = |name: &str, time: u64| {
        let stamp = Stamp {
            time,
            publication: PublicationId::new(time + 1).unwrap(),
        };
        let event = KeptEvent {
            stamp,
            topic: Uri::from(name),
            audience: None,
            details: Default::default(),
            payload: crate::wamp::Payload::EMPTY,
        };
        RetainedTopic {
            topic: event.topic.clone(),
            cleared: None,
            events: vec![event],
        }
    };
    let retain = |realm: &str, name: &str, time: u64| Write::Retain {
        realm: Uri::from(realm),
        topic: Box::new(topic(name, time)),
    };
    let cleared = RetainedTopic {
        events: Vec::new(),
        cleared: Some(topic("c", 9).events[0].stamp),
        ..topic("c", 9)
    };
    let batch = [
        retain("realm1", "a", 1),
        retain("realm1", "b", 5),
        retain("realm1", "a", 2),
        retain("realm1", "b", 4),
        retain("realm1", "c", 8),
        Write::Retain {
            realm: realm.clone(),
            topic: Box::new(cleared.clone()),
        },
        retain("realm1", "d", 8),
        retain("realm10", "a", 7),
        Write::Forget {
            realm: realm.clone(),
            topic: Uri::from("d"),
        },
    ];
    store.write(&batch, 0).await.unwrap();
    let expected = vec![topic("a", 2), topic("b", 5), cleared];
    assert_eq!(store.retained(&realm).await.unwrap(), expected);
    assert_eq!(store.retained(&Uri::from("realm")).await.unwrap(), []);
}

#[tokio::test]
async fn what_is_retained_comes_back() {
    retains(&Embedded::in_memory().unwrap()).await;
    retains(&Server::start().store()).await;
}

#[tokio::test]
async fn an_embedded_store_keeps_all_over_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    retains(&Embedded::open(&path, 1 << 20).unwrap()).await;
    let again = Embedded::open(&path, 1 << 20).unwrap();
    assert_eq!(again.retained(&Uri::from("realm1")).await.unwrap().len(), 3);
    drop(again);
    std::fs::write(&path, b"nothing of the kind").unwrap();
    assert!(Embedded::open(&path, 1 << 20).is_err());
}

/// A large history for a build without optimisation; `cluster-tests/tests/history_store.rs` has 100,000 events of real nodes.
const EVENTS: u64 = 30_000;

/// A question looks at about what it answers.
async fn is_quick(store: &dyn Store) {
    let log = log("prefix", "big");
    let bounds = Bounds {
        events_max: 1 << 40,
        bytes_max: 1 << 40,
        age_max: None,
    };
    let event = |n: u64| KeptEvent {
        stamp: Stamp {
            time: n * 10,
            publication: PublicationId::new((n * 7_919) % 1_000_003 + 1).unwrap(),
        },
        topic: Uri::from(if n.is_multiple_of(1_000) { "big.rare" } else { "big.often" }),
        audience: None,
        details: Default::default(),
        payload: crate::wamp::Payload::EMPTY,
    };
    for start in (0..EVENTS).step_by(10_000) {
        let append = |n| Write::Append {
            log: Arc::clone(&log),
            bounds,
            event: Arc::new(event(n)),
        };
        let batch: Vec<Write> = (start..start + 10_000).map(append).collect();
        store.write(&batch, 0).await.unwrap();
    }
    // Few looks are allowed: were the whole history walked, the answers would be cut.
    let effort = Effort {
        bytes_max: usize::MAX,
        scanned_max: 31,
    };
    let stamps = |found: Found| -> Vec<u64> { found.events.iter().map(|event| event.stamp.time / 10).collect() };
    let rare = Filter {
        topic: Some(Uri::from("big.rare")),
        ..Filter::all(1_000)
    };
    let found = store.query(&log, &rare, effort).await.unwrap();
    assert!(!found.cut);
    assert_eq!(stamps(found), (0..30).map(|n| n * 1_000).collect::<Vec<_>>());
    let middle = Filter {
        times: 150_000..=150_100,
        ..Filter::all(1_000)
    };
    assert_eq!(
        stamps(store.query(&log, &middle, effort).await.unwrap()),
        (15_000..=15_010).collect::<Vec<_>>()
    );
    let before = Filter {
        reverse: true,
        before_publication: Some(event(20_000).stamp.publication),
        ..Filter::all(5)
    };
    let found = store.query(&log, &before, effort).await.unwrap();
    assert!(found.cut);
    assert_eq!(stamps(found), [19_999, 19_998, 19_997, 19_996, 19_995]);
}

#[tokio::test]
async fn a_large_history_answers_in_time_proportional_to_the_answer() {
    is_quick(&Embedded::in_memory().unwrap()).await;
    is_quick(&Server::start().store()).await;
}
