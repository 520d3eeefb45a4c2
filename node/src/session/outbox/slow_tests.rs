use std::{collections::BTreeMap, sync::atomic::Ordering};

use proptest::prelude::*;

use super::*;
use crate::{
    session::{
        limits::SessionLimits,
        outbox::{End, WireFormat},
    },
    transport::framing::Framing,
    wamp::{Dict, Payload, PublicationId, RequestId, Serializer, Value},
};

use SlowConsumer::{DropNewest, DropOldest, EndSession, KeepLast};

/// Half of it is for events, an eighth (1,000 bytes) may be full before events wait apart, and 2,000 bytes wait apart.
const BYTES: usize = 8_000;

fn outbox() -> Arc<Outbox> {
    let limits = SessionLimits {
        outbox_bytes_max: BYTES,
        ..SessionLimits::default()
    };
    let wire = WireFormat {
        serializer: Serializer::Json,
        framing: Framing::RawSocket,
        message_bytes_max: usize::MAX,
    };
    Outbox::new(wire, &limits, None, Arc::default())
}

/// Event `number` of a subscription, about 400 bytes long.
fn event(subscription: u64, number: u64, key: Option<&str>) -> Message {
    let mut details = Dict::new();
    if let Some(key) = key {
        details.set("_key", key);
    }
    Message::Event {
        subscription: SubscriptionId::new(subscription).unwrap(),
        publication: PublicationId::new(number).unwrap(),
        details,
        payload: Payload::from_values(Serializer::Json, &[Value::Text("x".repeat(370))], &Dict::new()),
    }
}

fn push(outbox: &Arc<Outbox>, message: &Message, policy: SlowConsumer) -> Pushed {
    outbox.push_event(&mut Shared::new(message), policy, &mut Touched::new())
}

/// What was written of an event: its subscription, its number and its gap.
type Got = (u64, u64, u64);

/// Writes one chunk; false if there is none.
fn write(outbox: &Outbox, got: &mut Vec<Got>) -> bool {
    let Some(mut chunk) = outbox.begin_write() else {
        return false;
    };
    let mut rest = chunk.rest();
    while let [a, b, c, d, after @ ..] = rest {
        let (message, after) = after.split_at(u32::from_be_bytes([*a, *b, *c, *d]) as usize);
        let message: serde_json::Value = serde_json::from_slice(message).unwrap();
        if message[0] == 36 {
            let number = |at: usize| message[at].as_u64().unwrap();
            got.push((number(1), number(2), message[3]["_gap"].as_u64().unwrap_or(0)));
        }
        rest = after;
    }
    chunk.advance(usize::MAX / 2);
    outbox.end_write(chunk);
    true
}

fn drain(outbox: &Outbox) -> Vec<Got> {
    let mut got = Vec::new();
    while write(outbox, &mut got) {}
    got
}

fn numbers(got: &[Got]) -> Vec<u64> {
    got.iter().map(|(_, number, _)| *number).collect()
}

#[test]
fn of_new_events_that_are_dropped_the_next_one_tells_the_number() {
    let outbox = outbox();
    let pushed: Vec<_> = (1..=20).map(|n| push(&outbox, &event(1, n, None), DropNewest)).collect();
    let queued = pushed.iter().filter(|p| **p == Pushed::Queued).count() as u64;
    assert_eq!(pushed[queued as usize], Pushed::Losing, "the first loss is told");
    assert!(pushed[queued as usize + 1..].iter().all(|p| *p == Pushed::Dropped));
    assert_eq!(numbers(&drain(&outbox)), (1..=queued).collect::<Vec<_>>());
    push(&outbox, &event(2, 21, None), DropNewest);
    push(&outbox, &event(1, 22, None), DropNewest);
    push(&outbox, &event(1, 23, None), DropNewest);
    assert_eq!(drain(&outbox), [(2, 21, 0), (1, 22, 20 - queued), (1, 23, 0)]);
    assert!(outbox.inner.lock().slow.is_none(), "all is well again");
}

#[test]
fn the_oldest_give_way_so_that_the_newest_arrive() {
    let outbox = outbox();
    let pushed: Vec<_> = (1..=50).map(|n| push(&outbox, &event(1, n, None), DropOldest)).collect();
    assert_eq!(pushed.iter().filter(|p| **p == Pushed::Losing).count(), 1);
    assert!(outbox.queued_bytes() < BYTES / 4);
    let got = drain(&outbox);
    let lost: u64 = got.iter().map(|(_, _, gap)| gap).sum();
    assert_eq!(lost + got.len() as u64, 50);
    assert_eq!(lost, outbox.stats.events_given_way.load(Ordering::Relaxed));
    let tail = numbers(&got[got.len() - 4..]);
    assert_eq!(tail, [47, 48, 49, 50]);
    let marked: Vec<_> = got.iter().filter(|(_, _, gap)| *gap > 0).collect();
    assert_eq!(marked.len(), 1, "one gap: {got:?}");
    assert_eq!(
        marked[0].1,
        got.iter().position(|g| g == marked[0]).unwrap() as u64 + 1 + lost
    );
}

#[test]
fn of_each_key_the_last_is_kept() {
    let outbox = outbox();
    for n in 1..=60 {
        push(&outbox, &event(1, n, Some(["a", "b", "c"][n as usize % 3])), KeepLast);
    }
    let got = drain(&outbox);
    assert_eq!(numbers(&got[got.len() - 3..]), [58, 59, 60]);
    assert!(got.len() <= 6, "{got:?}");
    let lost: u64 = got.iter().map(|(_, _, gap)| gap).sum();
    assert_eq!(lost + got.len() as u64, 60);
}

#[test]
fn who_must_not_miss_an_event_loses_its_session() {
    let outbox = outbox();
    let pushed: Vec<_> = (1..=20).map(|n| push(&outbox, &event(1, n, None), EndSession)).collect();
    let ended = pushed.iter().position(|p| *p == Pushed::SlowConsumer).unwrap();
    assert!(pushed[..ended].iter().all(|p| *p == Pushed::Queued) && ended > 5);
    assert_eq!(outbox.end(), Some(End::SlowConsumer));
    let behind_others = self::outbox();
    (1..=30).for_each(|n| _ = push(&behind_others, &event(1, n, None), DropOldest));
    let pushed: Vec<_> = (1..=10)
        .map(|n| push(&behind_others, &event(2, n, None), EndSession))
        .collect();
    assert_eq!(pushed.last(), Some(&Pushed::Closed));
}

#[test]
fn answers_fit_beside_events_that_wait_and_end_nothing() {
    let outbox = outbox();
    (1..=30).for_each(|n| _ = push(&outbox, &event(1, n, None), DropOldest));
    let answer = Message::Published {
        request: RequestId::new(1).unwrap(),
        publication: PublicationId::new(1).unwrap(),
    };
    for _ in 0..50 {
        assert_eq!(outbox.push(&answer, &mut Touched::new()), Pushed::Queued);
    }
    assert_eq!(drain(&outbox).last().unwrap().1, 30);
}

#[test]
fn nothing_that_waits_follows_the_end_of_its_subscription_or_session() {
    let outbox = outbox();
    for n in 1..=30 {
        push(&outbox, &event(1 + n % 2, n, None), DropOldest);
    }
    let before = outbox.begin_write().unwrap();
    outbox.leave_write(before);
    outbox.unblock();
    outbox.forget_subscription(SubscriptionId::new(1).unwrap());
    let mut got = Vec::new();
    write(&outbox, &mut got);
    got.clear();
    while write(&outbox, &mut got) {}
    assert!(
        !got.is_empty() && got.iter().all(|(subscription, ..)| *subscription == 2),
        "{got:?}"
    );
    (1..=30).for_each(|n| _ = push(&outbox, &event(1, n, None), DropOldest));
    let goodbye = Message::Goodbye {
        details: Dict::new(),
        reason: "wamp.close.normal".into(),
    };
    outbox.push(&goodbye, &mut Touched::new());
    assert!(drain(&outbox).last().unwrap().1 < 10, "what waited apart is gone");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is sent and written in whatever order: events arrive in order, none twice, and the gaps tell exactly what is missing.
    #[test]
    fn gaps_and_events_add_up_and_orders_hold(steps in prop::collection::vec((0..10u8, 1..4u64, 0..3u8), 1..200)) {
        let outbox = outbox();
        let (mut sent, mut got) = (BTreeMap::new(), Vec::new());
        let mut number = 0;
        for (what, subscription, policy) in steps {
            if what == 0 {
                write(&outbox, &mut got);
                continue;
            }
            number += 1;
            *sent.entry(subscription).or_insert(0) += 1;
            let key = (what < 5).then_some("k");
            let policy = [DropNewest, DropOldest, KeepLast][usize::from(policy)];
            let pushed = push(&outbox, &event(subscription, number, key), policy);
            prop_assert!(matches!(pushed, Pushed::Queued | Pushed::Dropped | Pushed::Losing));
            let inner = outbox.inner.lock();
            prop_assert!(inner.queued_bytes() <= BYTES / 4 * 3);
            if let Some(slow) = &inner.slow {
                let bytes: usize = slow.held.values().map(|held| held.bytes).sum();
                prop_assert!(bytes == slow.bytes && bytes <= BYTES / 4);
                prop_assert!(slow.yielding.iter().all(|at| slow.held.contains_key(at)));
                prop_assert!(slow.last.values().all(|at| slow.held.contains_key(at)));
            }
        }
        while write(&outbox, &mut got) {}
        for subscription in 1..4 {
            number += 1;
            *sent.entry(subscription).or_insert(0) += 1;
            push(&outbox, &event(subscription, number, None), DropNewest);
        }
        while write(&outbox, &mut got) {}
        prop_assert!(got.is_sorted_by(|a, b| a.1 < b.1), "{:?}", got);
        for (subscription, sent) in sent {
            let of_it = got.iter().filter(|(s, ..)| *s == subscription);
            prop_assert_eq!(of_it.map(|(_, _, gap)| gap + 1).sum::<u64>(), sent);
        }
        prop_assert!(outbox.inner.lock().slow.is_none());
    }
}
