//! Calls between sessions of one node.

use crate::{
    router::{
        Effect, Input, Op, RealmLimits,
        testing::{TestRealm, error_of, is_abort, payload, request, secs},
    },
    wamp::{Dict, Message, Payload, Uri, message::code},
};

#[test]
fn a_call_reaches_the_callee_and_its_result_the_caller() {
    let realm = TestRealm::new();
    let (alice, bob) = (realm.join(), realm.join());
    let add = bob.registers("com.add");
    let (call, effects) = alice.calls("com.add");
    assert_eq!(effects, [bob.gets_invocation(1, add)]);
    assert_eq!(bob.yields(1), [alice.gets_result(call)]);
    assert_eq!(
        (realm.stats().calls, realm.stats().invocations, realm.stats().results),
        (1, 1, 1)
    );
}

#[test]
fn invocation_ids_count_up_per_callee() {
    let realm = TestRealm::new();
    let (alice, bob, carol) = (realm.join(), realm.join(), realm.join());
    let (add, sub, mul) = (bob.registers("com.add"), bob.registers("com.sub"), carol.registers("com.mul"));
    assert_eq!(alice.calls("com.add").1, [bob.gets_invocation(1, add)]);
    assert_eq!(alice.calls("com.mul").1, [carol.gets_invocation(1, mul)]);
    assert_eq!(carol.calls("com.sub").1, [bob.gets_invocation(2, sub)]);
}

#[test]
fn results_may_come_in_any_order() {
    let realm = TestRealm::new();
    let (alice, bob) = (realm.join(), realm.join());
    bob.registers("com.add");
    let (first, second) = (alice.calls("com.add").0, alice.calls("com.add").0);
    assert_eq!(bob.yields(2), [alice.gets_result(second)]);
    assert_eq!(bob.yields(1), [alice.gets_result(first)]);
}

#[test]
fn an_error_of_the_callee_passes_with_details_and_payload() {
    let realm = TestRealm::new();
    let (alice, bob) = (realm.join(), realm.join());
    bob.registers("com.add");
    let (call, _) = alice.calls("com.add");
    let (details, error) = (Dict::new().with("_why", "overflow"), Uri::from("com.error.overflow"));
    let answer = |request_type, request| {
        let (details, error) = (details.clone(), error.clone());
        Message::Error {
            request_type,
            request,
            details,
            error,
            payload: payload("too big"),
        }
    };
    assert_eq!(
        bob.says(answer(code::INVOCATION, request(1))),
        [alice.gets(answer(code::CALL, call))]
    );
}

#[test]
fn the_options_of_a_yield_do_not_reach_the_caller() {
    let realm = TestRealm::new();
    let (alice, bob) = (realm.join(), realm.join());
    bob.registers("com.add");
    let (call, _) = alice.calls("com.add");
    let yielded = Message::Yield {
        request: request(1),
        options: Dict::new().with("_x", true),
        payload: payload("answer"),
    };
    assert_eq!(bob.says(yielded), [alice.gets_result(call)]);
}

#[test]
fn a_progressive_yield_nobody_asked_for_is_dropped_and_the_call_goes_on() {
    let realm = TestRealm::new();
    let (alice, bob) = (realm.join(), realm.join());
    bob.registers("com.add");
    let (call, _) = alice.calls("com.add");
    let progress = Message::Yield {
        request: request(1),
        options: Dict::new().with("progress", true),
        payload: Payload::EMPTY,
    };
    assert_eq!(bob.says(progress), []);
    assert_eq!(realm.stats().dropped_progress, 1);
    assert_eq!(bob.yields(1), [alice.gets_result(call)]);
}

#[test]
fn a_second_answer_is_dropped_and_counted() {
    let realm = TestRealm::new();
    let (alice, bob) = (realm.join(), realm.join());
    bob.registers("com.add");
    let (call, _) = alice.calls("com.add");
    assert_eq!(bob.yields(1), [alice.gets_result(call)]);
    assert_eq!(bob.yields(1), []);
    assert_eq!(realm.stats().dropped_late_answers, 1);
}

#[test]
fn an_error_that_is_no_uri_ends_the_session_of_the_callee_and_reaches_nobody() {
    for error in ["", "not a uri", "a..b", "#a"] {
        let realm = TestRealm::new();
        let (alice, bob) = (realm.join(), realm.join());
        bob.registers("com.add");
        let (call, _) = alice.calls("com.add");
        let effects = bob.says(Message::Error {
            request_type: code::INVOCATION,
            request: request(1),
            details: Dict::new(),
            error: Uri::from(error),
            payload: Payload::EMPTY,
        });
        assert!(
            matches!(&effects[0], Effect::Abort { session, .. } if *session == bob.id),
            "{effects:?}"
        );
        let canceled = alice.gets_call_error(call, "wamp.error.canceled", Dict::new().with("_reason", "callee_gone"));
        assert!(effects.contains(&canceled), "{effects:?}");
    }
}

#[test]
fn an_answer_to_an_invocation_never_sent_ends_the_session() {
    let realm = TestRealm::new();
    let (alice, bob) = (realm.join(), realm.join());
    bob.registers("com.add");
    let (call, _) = alice.calls("com.add");
    let effects = bob.yields(2);
    assert!(is_abort(&effects, &bob, "never sent"), "{effects:?}");
    assert_eq!(
        effects[1],
        alice.gets_call_error(call, "wamp.error.canceled", Dict::new().with("_reason", "callee_gone"))
    );
}

#[test]
fn a_callee_that_leaves_cancels_its_calls() {
    let realm = TestRealm::new();
    let (alice, bob) = (realm.join(), realm.join());
    bob.registers("com.add");
    let (first, second) = (alice.calls("com.add").0, alice.calls("com.add").0);
    let gone = || Dict::new().with("_reason", "callee_gone");
    let canceled = "wamp.error.canceled";
    let expected = [
        alice.gets_call_error(first, canceled, gone()),
        alice.gets_call_error(second, canceled, gone()),
        bob.gone(),
    ];
    assert_eq!(bob.leaves(), expected);
}

#[test]
fn a_caller_that_leaves_is_forgotten_and_the_late_answer_dropped() {
    let realm = TestRealm::new();
    let (alice, bob) = (realm.join(), realm.join());
    bob.registers("com.add");
    alice.calls("com.add");
    assert_eq!(alice.leaves(), [alice.gone()]);
    assert_eq!(bob.yields(1), []);
    assert_eq!(realm.stats().dropped_late_answers, 1);
}

#[test]
fn a_session_may_call_itself_and_leave_meanwhile() {
    let realm = TestRealm::new();
    let bob = realm.join();
    let add = bob.registers("com.add");
    assert_eq!(bob.calls("com.add").1, [bob.gets_invocation(1, add)]);
    assert_eq!(bob.leaves(), [bob.gone()]);
}

#[test]
fn a_malformed_procedure_is_refused() {
    let realm = TestRealm::new();
    let alice = realm.join();
    for bad in ["", "com..add", "com add", "com.add#"] {
        assert_eq!(error_of(&alice.calls(bad).1), "wamp.error.invalid_uri", "{bad:?}");
    }
}

#[test]
fn strict_realms_refuse_what_loose_ones_take() {
    let realm = TestRealm::with(|c| c.uri_check = crate::wamp::UriCheck::Strict);
    let alice = realm.join();
    assert_eq!(error_of(&alice.calls("com.Add").1), "wamp.error.invalid_uri");
    assert_eq!(alice.calls("com.add").1, [Effect::Barrier]);
}

#[test]
fn without_a_lease_nothing_is_invoked() {
    let realm = TestRealm::without_lease(|_| {});
    let (alice, bob) = (realm.join(), realm.join());
    let add = bob.registers("com.add");
    assert_eq!(error_of(&alice.calls("com.add").1), "wamp.error.no_available_callee");
    realm.input(Input::Lease {
        until: realm.now() + secs(4),
    });
    assert_eq!(alice.calls("com.add").1, [bob.gets_invocation(1, add)]);
    realm.pass(secs(4));
    assert_eq!(error_of(&alice.calls("com.add").1), "wamp.error.no_available_callee");
}

#[test]
fn too_many_open_calls_are_refused_until_one_ends() {
    let realm = TestRealm::with(|c| {
        c.limits = RealmLimits {
            open_calls_max: 2,
            ..RealmLimits::default()
        }
    });
    let (alice, bob) = (realm.join(), realm.join());
    let add = bob.registers("com.add");
    alice.calls("com.add");
    alice.calls("com.add");
    assert_eq!(error_of(&alice.calls("com.add").1), "wamp.error.unavailable");
    bob.yields(1);
    assert_eq!(alice.calls("com.add").1, [bob.gets_invocation(3, add)]);
}

#[test]
fn fence_details_name_registration_and_epoch_where_asked_for() {
    let realm = TestRealm::with(|c| c.fence_details = true);
    let (alice, bob) = (realm.join(), realm.join());
    let add = bob.registers("com.add");
    let fence = Dict::new().with("registration", add.get()).with("epoch", 1_u64);
    let details = Dict::new().with("_fence", fence);
    let invocation = Message::Invocation {
        request: request(1),
        registration: add,
        details,
        payload: payload("question"),
    };
    assert_eq!(alice.calls("com.add").1, [bob.gets(invocation)]);
}

#[test]
fn the_end_of_a_session_is_told_once() {
    let realm = TestRealm::new();
    let alice = realm.join();
    assert_eq!(
        alice.leaves(),
        [Effect::Propose {
            op: Op::SessionGone { session: alice.id }
        }]
    );
    assert_eq!(alice.leaves(), []);
    assert_eq!(alice.calls("com.add").1, []);
    assert_eq!(realm.stats().dropped_no_session, 1);
}
