//! Calls that go to another callee while they have a time limit, come in parts or are cancelled.

use std::time::Duration;

use crate::{
    router::{
        BarrierOutcome::Passed,
        Effect, InvokePolicy, RealmLimits,
        frame::Refusal,
        testing::{NODE_2, TestRealm, TestSession, error_of, invoked, refusal, session},
    },
    wamp::{Dict, RegistrationId},
};

const UNAVAILABLE: &str = "wamp.error.unavailable";
const TIMEOUT: &str = "wamp.error.timeout";
const CALLEE: [&str; 5] = [
    "callee.call_canceling",
    "callee.call_reroute",
    "callee.call_timeout",
    "callee.progressive_call_invocations",
    "callee.progressive_call_results",
];

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

fn more() -> Dict {
    Dict::new().with("progress", true)
}

/// A caller, two callees that share `com.add`, of which the first is asked first, and their registration.
fn shared(options: &Dict) -> (TestRealm, TestSession, TestSession, TestSession, RegistrationId) {
    let realm = TestRealm::new();
    let alice = realm.join_with(&["caller.progressive_call_invocations", "caller.progressive_call_results"]);
    let (bob, carol) = (realm.join_with(&CALLEE), realm.join_with(&CALLEE));
    let (add, _) = bob.registers_with("com.add", options.clone().with("invoke", "first"));
    assert_eq!(carol.shares("com.add", "first"), add);
    (realm, alice, bob, carol, add)
}

#[test]
fn the_time_of_a_call_goes_on_while_it_is_passed_on() {
    let (realm, alice, bob, carol, _) = shared(&Dict::new());
    let (call, _) = alice.asks("com.add", Dict::new().with("timeout", 100_u64));
    assert_eq!(realm.pass(ms(60)), []);
    assert_eq!(invoked(&bob.fails(1, UNAVAILABLE)), carol.id);
    assert_eq!(realm.next_deadline_in(), Some(ms(40)));
    let ended = [
        carol.gets_interrupt(1, "killnowait", TIMEOUT),
        alice.gets_call_error(call, TIMEOUT, Dict::new()),
    ];
    assert_eq!(realm.pass(ms(40)), ended);
    assert_eq!(carol.yields(1), []);
}

#[test]
fn the_grace_of_callees_that_keep_the_time_is_given_once() {
    let (realm, alice, bob, carol, _) = shared(&Dict::new().with("forward_timeout", true));
    alice.asks("com.add", Dict::new().with("timeout", 100_u64));
    let limit = ms(100) + RealmLimits::default().forwarded_timeout_grace;
    assert_eq!(realm.next_deadline_in(), Some(limit));
    assert_eq!(invoked(&bob.fails(1, UNAVAILABLE)), carol.id);
    assert_eq!(realm.next_deadline_in(), Some(limit));
}

#[test]
fn a_call_that_nobody_takes_any_more_still_runs_out_of_time() {
    let (realm, alice, bob, carol, _) = shared(&Dict::new());
    let (call, _) = alice.asks("com.add", Dict::new().with("timeout", 100_u64));
    bob.fails(1, UNAVAILABLE);
    assert_eq!(carol.fails(1, UNAVAILABLE), [Effect::Barrier]);
    assert_eq!(realm.pass(ms(100)), [alice.gets_call_error(call, TIMEOUT, Dict::new())]);
    assert_eq!(realm.barrier(Passed), []);
    assert_eq!(realm.next_deadline_in(), None);
}

#[test]
fn what_is_begun_continued_or_cancelled_is_not_passed_on() {
    let (_, alice, bob, _, _) = shared(&Dict::new());
    alice.asks("com.add", Dict::new().with("receive_progress", true));
    assert_eq!(bob.yields_with(1, more()).len(), 1);
    assert_eq!(error_of(&bob.fails(1, UNAVAILABLE)), UNAVAILABLE, "a part of its result came");
    let (call, _) = alice.asks("com.add", more());
    alice.asks_again(call, "com.add", more());
    assert_eq!(
        error_of(&bob.fails(2, UNAVAILABLE)),
        UNAVAILABLE,
        "two parts of its arguments went"
    );
    let (call, _) = alice.calls("com.add");
    alice.cancels(call, "kill");
    assert_eq!(error_of(&bob.fails(3, UNAVAILABLE)), UNAVAILABLE, "it is not wanted any more");
}

#[test]
fn the_parts_of_a_call_follow_it_to_the_next_callee() {
    let (_, alice, bob, carol, add) = shared(&Dict::new());
    let (call, _) = alice.asks("com.add", more());
    assert_eq!(invoked(&bob.fails(1, UNAVAILABLE)), carol.id);
    let last = alice.asks_again(call, "com.add", Dict::new());
    assert_eq!(last, [carol.gets_invocation(1, add)]);
    assert_eq!(carol.yields(1), [alice.gets_result(call)]);
}

#[test]
fn the_parts_of_a_call_wait_as_long_as_all_callees_are_busy() {
    let realm = TestRealm::new();
    let (alice, bob) = (
        realm.join_with(&["caller.progressive_call_invocations"]),
        realm.join_with(&CALLEE),
    );
    let one_at_a_time = Dict::new().with("invoke", "first").with("concurrency", 1_u64);
    let (add, _) = bob.registers_with("com.add", one_at_a_time);
    realm.join().calls("com.add");
    // It waits behind a call that missed, and then for a callee with room.
    assert_eq!(alice.calls("com.none").1, [Effect::Barrier]);
    let (call, effects) = alice.asks("com.add", more());
    assert_eq!(effects, []);
    assert_eq!(alice.asks_again(call, "com.add", Dict::new()), []);
    let effects = realm.barrier(Passed);
    assert_eq!((effects.len(), effects.last()), (2, Some(&Effect::Barrier)));
    assert_eq!(bob.yields(1).len(), 1);
    assert_eq!(
        realm.barrier(Passed),
        [bob.gets_invocation_with(2, add, more()), bob.gets_invocation(2, add)]
    );
}

#[test]
fn a_shard_is_found_whatever_else_a_call_asks_for() {
    let (_, alice, _, _, _) = shared(&Dict::new());
    for key in ["a", "b", "c", "d", "e"] {
        let by_key = Dict::new().with("rkey", key);
        let callee = alice.reaches_with("com.add", by_key.clone());
        let timed = by_key.with("timeout", 1_000_u64).with("disclose_me", true);
        assert_eq!(alice.reaches_with("com.add", timed), callee, "{key}");
    }
    let (call, effects) = alice.asks("com.add", more().with("runmode", "nobody_knows"));
    assert_eq!(error_of(&effects), "wamp.error.invalid_argument");
    assert_eq!(alice.asks_again(call, "com.add", Dict::new()), [], "its parts are late");
}

#[test]
fn a_killed_call_is_not_passed_on_by_another_node() {
    let realm = TestRealm::new();
    let (alice, bob) = (realm.join(), realm.join());
    realm.link(NODE_2);
    realm.shared_elsewhere(NODE_2, 201, "com.add", InvokePolicy::First);
    bob.shares("com.add", "first");
    let (call, effects) = alice.calls("com.add");
    assert_eq!(invoked(&effects), session(201));
    alice.cancels(call, "kill");
    let details = Dict::new().with("_reason", "not_invoked");
    assert_eq!(
        realm.hears(NODE_2, refusal(1, session(201), Refusal::Unavailable)),
        [alice.gets_call_error(call, "wamp.error.canceled", details)]
    );
}

#[test]
fn a_shard_whose_callee_is_gone_for_its_node_has_another_one() {
    let realm = TestRealm::new();
    let alice = realm.join();
    realm.link(NODE_2);
    for callee in [201, 202] {
        realm.shared_elsewhere(NODE_2, callee, "com.add", InvokePolicy::First);
    }
    let (_, effects) = alice.asks("com.add", Dict::new().with("rkey", "a"));
    let gone = invoked(&effects);
    // The node may only be behind, so the first time the same one is asked again, behind a read barrier.
    assert_eq!(realm.hears(NODE_2, refusal(1, gone, Refusal::Stale)), [Effect::Barrier]);
    assert_eq!(invoked(&realm.barrier(Passed)), gone);
    let other = invoked(&realm.hears(NODE_2, refusal(2, gone, Refusal::Stale)));
    assert_ne!(other, gone);
    // One that is there and does not take it is the only one.
    let (_, effects) = alice.asks("com.add", Dict::new().with("rkey", "a"));
    let busy = invoked(&effects);
    let effects = realm.hears(NODE_2, refusal(4, busy, Refusal::Busy));
    assert!(!matches!(effects[..], [Effect::Forward { .. }]), "{effects:?}");
}
