//! Lookups that miss, and the order of what waits.

use crate::{
    router::{
        BarrierOutcome::{Failed, Passed},
        Effect, RealmLimits,
        testing::{ME, NODE_2, TestRealm, error_of, payload, register_op, secs},
    },
    wamp::Dict,
};

const NO_SUCH: &str = "wamp.error.no_such_procedure";

#[test]
fn a_miss_is_final_only_after_a_barrier() {
    let realm = TestRealm::new();
    let alice = realm.join();
    let (call, effects) = alice.calls("com.add");
    assert_eq!(effects, [Effect::Barrier]);
    assert_eq!(realm.barrier(Passed), [alice.gets_call_error(call, NO_SUCH, Dict::new())]);
}

#[test]
fn unknown_meta_procedures_miss_like_any_other() {
    let realm = TestRealm::new();
    let alice = realm.join();
    let (call, effects) = alice.calls("wamp.session.dance");
    assert_eq!(effects, [Effect::Barrier]);
    assert_eq!(realm.barrier(Passed), [alice.gets_call_error(call, NO_SUCH, Dict::new())]);
}

#[test]
fn what_the_barrier_brings_is_found() {
    let realm = TestRealm::new();
    let (alice, bob) = (realm.join(), realm.join());
    let (_, effects) = alice.calls("com.add");
    assert_eq!(effects, [Effect::Barrier]);
    let add = bob.registers("com.add");
    assert_eq!(realm.barrier(Passed), [bob.gets_invocation(1, add)]);
}

#[test]
fn a_failed_barrier_leaves_the_answer_open() {
    let realm = TestRealm::new();
    let alice = realm.join();
    alice.calls("com.add");
    assert_eq!(error_of(&realm.barrier(Failed)), "wamp.error.unavailable");
    assert_eq!(realm.stats().barriers_failed, 1);
}

#[test]
fn a_miss_never_joins_a_barrier_in_flight() {
    let realm = TestRealm::new();
    let (alice, bob, carol) = (realm.join(), realm.join(), realm.join());
    let (first, effects) = alice.calls("com.a");
    assert_eq!(effects, [Effect::Barrier]);
    // These two share the next one, which starts when the running one has ended.
    let (second, effects) = bob.calls("com.b");
    assert_eq!(effects, []);
    let (third, effects) = carol.calls("com.c");
    assert_eq!(effects, []);
    assert_eq!(
        realm.barrier(Passed),
        [alice.gets_call_error(first, NO_SUCH, Dict::new()), Effect::Barrier]
    );
    let expected = [
        bob.gets_call_error(second, NO_SUCH, Dict::new()),
        carol.gets_call_error(third, NO_SUCH, Dict::new()),
    ];
    assert_eq!(realm.barrier(Passed), expected);
    assert_eq!(realm.stats().barriers, 2);
}

#[test]
fn later_calls_of_the_session_wait_in_order_and_nothing_else_does() {
    let realm = TestRealm::new();
    let (alice, bob) = (realm.join(), realm.join());
    let add = bob.registers("com.add");
    let news = bob.subscribes("com.news");
    let (missing, _) = alice.calls("com.missing");
    assert_eq!(alice.calls("com.add").1, []);
    let (_, effects) = alice.publishes("com.news", Dict::new());
    assert!(matches!(effects.as_slice(), [Effect::Fanout { .. }]), "{effects:?} {news}");
    // Another session is not held up.
    assert_eq!(bob.calls("com.add").1, [bob.gets_invocation(1, add)]);
    let expected = [
        alice.gets_call_error(missing, NO_SUCH, Dict::new()),
        bob.gets_invocation(2, add),
    ];
    assert_eq!(realm.barrier(Passed), expected);
    assert_eq!(alice.calls("com.add").1, [bob.gets_invocation(3, add)]);
}

#[test]
fn a_later_miss_behind_a_parked_call_waits_for_its_own_barrier() {
    let realm = TestRealm::new();
    let alice = realm.join();
    let (first, _) = alice.calls("com.a");
    let (second, effects) = alice.calls("com.b");
    assert_eq!(effects, []);
    assert_eq!(
        realm.barrier(Passed),
        [alice.gets_call_error(first, NO_SUCH, Dict::new()), Effect::Barrier]
    );
    assert_eq!(realm.barrier(Passed), [alice.gets_call_error(second, NO_SUCH, Dict::new())]);
}

#[test]
fn a_hit_that_turns_into_a_miss_while_it_waits_gets_a_barrier() {
    let realm = TestRealm::new();
    let (alice, bob) = (realm.join(), realm.join());
    bob.registers("com.add");
    let (first, _) = alice.calls("com.a");
    let (second, _) = alice.calls("com.add");
    bob.leaves();
    assert_eq!(
        realm.barrier(Passed),
        [alice.gets_call_error(first, NO_SUCH, Dict::new()), Effect::Barrier]
    );
    assert_eq!(realm.barrier(Passed), [alice.gets_call_error(second, NO_SUCH, Dict::new())]);
}

#[test]
fn a_barrier_that_takes_too_long_has_failed_and_its_answer_is_ignored() {
    let realm = TestRealm::new();
    let (alice, bob) = (realm.join(), realm.join());
    alice.calls("com.a");
    let (waits, _) = bob.calls("com.b");
    let effects = realm.pass(secs(1));
    assert_eq!(error_of(&effects[..1]), "wamp.error.unavailable");
    assert_eq!(effects[1..], [Effect::Barrier]);
    // The late answer of the first says nothing about the second.
    assert_eq!(realm.barrier(Passed), []);
    assert_eq!(realm.stats().dropped_late_barriers, 1);
    assert_eq!(realm.barrier(Passed), [bob.gets_call_error(waits, NO_SUCH, Dict::new())]);
}

#[test]
fn an_answer_nobody_asked_for_is_ignored() {
    let realm = TestRealm::new();
    assert_eq!(realm.barrier(Passed), []);
    assert_eq!(realm.stats().dropped_late_barriers, 1);
}

#[test]
fn a_caller_that_leaves_waits_no_more() {
    let realm = TestRealm::new();
    let (alice, bob) = (realm.join(), realm.join());
    alice.calls("com.a");
    bob.calls("com.b");
    assert_eq!(alice.leaves(), [alice.gone()]);
    assert_eq!(bob.leaves(), [bob.gone()]);
    assert_eq!(realm.barrier(Passed), []);
}

#[test]
fn what_waits_is_bounded_in_number_and_bytes() {
    let limits = RealmLimits {
        parked_calls_max: 3,
        parked_bytes_max: 20,
        ..RealmLimits::default()
    };
    let realm = TestRealm::with(|c| c.limits = limits);
    let alice = realm.join();
    alice.calls_with("com.a", payload("12345678"));
    assert_eq!(
        error_of(&alice.calls_with("com.b", payload("12345678")).1),
        "wamp.error.unavailable"
    );
    alice.calls_with("com.c", payload("1"));
    alice.calls_with("com.d", crate::wamp::Payload::EMPTY);
    assert_eq!(
        error_of(&alice.calls_with("com.e", crate::wamp::Payload::EMPTY).1),
        "wamp.error.unavailable"
    );
    assert_eq!(realm.stats().calls, 3);
}

#[test]
fn a_registration_of_an_earlier_life_of_this_node_is_no_local_one() {
    let realm = TestRealm::new();
    let alice = realm.join();
    let before = crate::router::NodeRef { slot: ME.slot, epoch: 0 };
    realm.commit_by(before, register_op(201, "com.add"));
    assert_eq!(error_of(&alice.calls("com.add").1), "wamp.error.no_available_callee");
    realm.registered_elsewhere(NODE_2, 202, "com.sub");
    assert_eq!(error_of(&alice.calls("com.sub").1), "wamp.error.no_available_callee");
}
