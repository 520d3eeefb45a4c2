//! Calls that take too long.

use std::time::Duration;

use crate::{
    router::{
        CallTimeouts, Effect, PeerFrame, TimeoutUnit,
        frame::{CallId, InterruptMode, Refusal},
        testing::{NODE_2, TestRealm, TestSession, refusal, result, secs, session},
    },
    wamp::{Dict, Message, Payload, RegistrationId, Uri, message::code},
};

const TIMEOUT: &str = "wamp.error.timeout";

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn limit(n: u64) -> Dict {
    Dict::new().with("timeout", n)
}

fn both(features: &[&str]) -> (TestRealm, TestSession, TestSession, RegistrationId) {
    let realm = TestRealm::new();
    let (alice, bob) = (realm.join(), realm.join_with(features));
    let add = bob.registers("com.add");
    (realm, alice, bob, add)
}

#[test]
fn a_call_that_takes_too_long_ends_and_its_callee_is_interrupted() {
    let (realm, alice, bob, add) = both(&["callee.call_canceling"]);
    let (call, effects) = alice.asks("com.add", limit(100));
    assert_eq!(effects, [bob.gets_invocation(1, add)], "the callee need not know");
    assert_eq!(realm.pass(ms(99)), []);
    let expected = [
        bob.gets_interrupt(1, "killnowait", TIMEOUT),
        alice.gets_call_error(call, TIMEOUT, Dict::new()),
    ];
    assert_eq!(realm.pass(ms(1)), expected);
    assert_eq!(bob.yields(1), []);
    assert_eq!((realm.stats().calls_timed_out, realm.stats().dropped_late_answers), (1, 1));
}

#[test]
fn a_call_that_the_router_answers_itself_leaves_no_clock_and_no_part_behind() {
    let realm = TestRealm::new();
    let alice = realm.join_with(&["caller.progressive_call_invocations"]);
    let call = alice.next();
    let part = |options: Dict| Message::Call {
        request: call,
        options,
        procedure: Uri::from("wamp.session.count"),
        payload: Payload::EMPTY,
    };
    let effects = alice.says(part(limit(100).with("progress", true)));
    assert!(
        matches!(
            effects[..],
            [Effect::Send {
                message: Message::Result { .. },
                ..
            }]
        ),
        "{effects:?}"
    );
    assert_eq!(realm.inside(|realm| realm.next_deadline()), None);
    assert_eq!(realm.pass(ms(100)), []);
    assert_eq!(realm.stats().calls_timed_out, 0);
    assert_eq!(alice.says(part(Dict::new())), [], "a part of a call that has ended");
    assert_eq!(realm.stats().dropped_late_parts, 1);
}

#[test]
fn a_callee_that_cannot_be_told_is_not() {
    let (realm, alice, bob, _) = both(&[]);
    let (call, _) = alice.asks("com.add", limit(100));
    assert_eq!(realm.pass(ms(100)), [alice.gets_call_error(call, TIMEOUT, Dict::new())]);
    assert_eq!(bob.yields(1), []);
}

#[test]
fn the_clock_stops_with_the_call_however_it_ends() {
    let (realm, alice, bob, _) = both(&["callee.call_canceling"]);
    let ends: [&dyn Fn(crate::wamp::RequestId, u64); 4] = [
        &|_, n| drop(bob.yields(n)),
        &|call, _| drop(alice.cancels(call, "skip")),
        &|call, _| drop(alice.cancels(call, "killnowait")),
        &|call, n| {
            alice.cancels(call, "kill");
            bob.yields(n);
        },
    ];
    for (n, end) in (1..).zip(ends) {
        let (call, _) = alice.asks("com.add", limit(100));
        assert_eq!(realm.next_deadline_in(), Some(ms(100)));
        end(call, n);
        assert_eq!(realm.next_deadline_in(), None);
    }
    alice.asks("com.add", limit(100));
    bob.leaves();
    assert_eq!(realm.next_deadline_in(), None);
    alice.asks("com.miss", limit(100));
    alice.leaves();
    realm.pass(secs(2));
    assert_eq!(realm.next_deadline_in(), None);
}

#[test]
fn zero_is_no_limit() {
    let (realm, alice, bob, add) = both(&[]);
    let (_, effects) = alice.asks("com.add", limit(0));
    assert_eq!(effects, [bob.gets_invocation(1, add)]);
    assert_eq!(realm.next_deadline_in(), None);
}

#[test]
fn a_killed_call_whose_callee_stays_silent_ends_by_its_limit() {
    let (realm, alice, bob, _) = both(&["callee.call_canceling"]);
    let (call, _) = alice.asks("com.add", limit(100));
    assert_eq!(alice.cancels(call, "kill").len(), 1);
    assert_eq!(realm.pass(ms(100)), [alice.gets_call_error(call, TIMEOUT, Dict::new())]);
    assert_eq!(bob.yields(1), []);
}

#[test]
fn a_parked_call_has_its_limit_too() {
    let (realm, alice, bob, add) = both(&[]);
    let (miss, effects) = alice.asks("com.miss", limit(100));
    assert_eq!(effects, [Effect::Barrier]);
    alice.calls("com.add");
    assert_eq!(
        realm.pass(ms(100)),
        [alice.gets_call_error(miss, TIMEOUT, Dict::new()), bob.gets_invocation(1, add)]
    );
}

#[test]
fn a_call_elsewhere_is_timed_on_the_callers_node() {
    let realm = TestRealm::new();
    let alice = realm.join();
    realm.registered_elsewhere(NODE_2, 201, "com.add");
    realm.link(NODE_2);
    let (call, _) = alice.asks("com.add", limit(100));
    let interrupt = Effect::Forward {
        to: NODE_2,
        source: alice.id,
        frame: PeerFrame::Interrupt {
            call: CallId(1),
            mode: InterruptMode::KillNoWait,
            reason: Uri::from(TIMEOUT),
        },
    };
    assert_eq!(
        realm.pass(ms(100)),
        [interrupt, alice.gets_call_error(call, TIMEOUT, Dict::new())]
    );
    assert_eq!(realm.hears(NODE_2, result(1)), []);
}

#[test]
fn a_call_that_is_looked_up_again_keeps_its_limit() {
    let realm = TestRealm::new();
    let alice = realm.join();
    realm.registered_elsewhere(NODE_2, 201, "com.add");
    realm.link(NODE_2);
    let (call, _) = alice.asks("com.add", limit(100));
    realm.pass(ms(60));
    assert_eq!(
        realm.hears(NODE_2, refusal(1, session(201), Refusal::Stale)),
        [Effect::Barrier]
    );
    assert_eq!(realm.next_deadline_in(), Some(ms(40)));
    assert_eq!(realm.pass(ms(40)), [alice.gets_call_error(call, TIMEOUT, Dict::new())]);
}

#[test]
fn every_part_of_a_result_starts_the_clock_anew() {
    let (realm, alice, bob, _) = both(&["callee.call_canceling", "callee.progressive_call_results"]);
    let (call, _) = alice.asks("com.add", limit(100).with("receive_progress", true));
    let progress = || Dict::new().with("progress", true);
    for _ in 0..3 {
        assert_eq!(realm.pass(ms(99)), []);
        assert_eq!(bob.yields_with(1, progress()), [alice.gets_result_with(call, progress())]);
    }
    let ended = realm.pass(ms(100));
    assert_eq!(ended.last(), Some(&alice.gets_call_error(call, TIMEOUT, Dict::new())));
    assert_eq!(bob.yields_with(1, progress()), []);
}

#[test]
fn a_callee_that_keeps_the_time_itself_is_told_it_and_given_a_second_more() {
    let realm = TestRealm::new();
    let (alice, bob) = (realm.join(), realm.join_with(&["callee.call_timeout"]));
    let (add, _) = bob.registers_with("com.add", Dict::new().with("forward_timeout", true));
    let (call, effects) = alice.asks("com.add", limit(100));
    assert_eq!(effects, [bob.gets_invocation_with(1, add, limit(100))]);
    assert_eq!(realm.pass(ms(200)), []);
    let answer = |request_type, request| Message::Error {
        request_type,
        request,
        details: Dict::new(),
        error: Uri::from(TIMEOUT),
        payload: Payload::EMPTY,
    };
    let request = crate::router::testing::request(1);
    assert_eq!(
        bob.says(answer(code::INVOCATION, request)),
        [alice.gets(answer(code::CALL, call))]
    );
    let (call, _) = alice.asks("com.add", limit(100));
    assert_eq!(realm.pass(ms(1_099)), []);
    assert_eq!(realm.pass(ms(1)), [alice.gets_call_error(call, TIMEOUT, Dict::new())]);
    assert_eq!(
        alice.calls("com.add").1,
        [bob.gets_invocation(3, add)],
        "no limit, nothing to say"
    );
}

#[test]
fn a_limit_is_forwarded_only_to_callees_that_announced_it() {
    let realm = TestRealm::new();
    let (alice, bob) = (realm.join(), realm.join());
    let (add, _) = bob.registers_with("com.add", Dict::new().with("forward_timeout", true));
    let (call, effects) = alice.asks("com.add", limit(100));
    assert_eq!(effects, [bob.gets_invocation(1, add)]);
    assert_eq!(realm.pass(ms(100)), [alice.gets_call_error(call, TIMEOUT, Dict::new())]);
}

#[test]
fn a_realm_may_have_a_limit_for_every_call_and_count_in_seconds() {
    let realm = TestRealm::with(|config| {
        config.call_timeouts = CallTimeouts {
            default: Some(secs(5)),
            unit: TimeoutUnit::Seconds,
            ..CallTimeouts::default()
        };
    });
    let (alice, bob) = (realm.join(), realm.join());
    bob.registers("com.add");
    let (plain, _) = alice.calls("com.add");
    let (patient, _) = alice.asks("com.add", limit(7));
    assert_eq!(realm.pass(secs(5)), [alice.gets_call_error(plain, TIMEOUT, Dict::new())]);
    assert_eq!(realm.pass(secs(2)), [alice.gets_call_error(patient, TIMEOUT, Dict::new())]);
}

#[test]
fn the_answer_of_a_call_with_a_limit_does_not_take_the_short_way() {
    let (realm, alice, bob, _) = both(&[]);
    let invocation = crate::router::testing::request;
    alice.calls("com.add");
    alice.asks("com.add", limit(100));
    let short = |n| realm.inside(|r| r.plain_answer(bob.id, invocation(n)).is_some());
    assert_eq!((short(1), short(2)), (true, false));
}
