//! Results and arguments that come in parts, on one node and seen from either end of a link.

use crate::{
    router::{
        BarrierOutcome::Passed,
        Effect, Input, PeerFrame, RealmLimits, RequestIdCheck,
        frame::{CallId, FloodSource, InterruptMode, Refusal},
        testing::{NODE_2, TestRealm, TestSession, error_of, invoke, is_abort, payload, refusal, registration, request, session},
    },
    wamp::{Dict, RegistrationId, RequestId, Uri},
};

const CALLER: [&str; 2] = ["caller.progressive_call_results", "caller.progressive_call_invocations"];
const CALLEE: [&str; 3] = [
    "callee.call_canceling",
    "callee.progressive_call_results",
    "callee.progressive_call_invocations",
];

fn more() -> Dict {
    Dict::new().with("progress", true)
}

fn wanted() -> Dict {
    Dict::new().with("receive_progress", true)
}

fn both() -> (TestRealm, TestSession, TestSession, RegistrationId) {
    both_with(|_| {})
}

fn both_with(change: impl FnOnce(&mut crate::router::RealmConfig)) -> (TestRealm, TestSession, TestSession, RegistrationId) {
    let realm = TestRealm::with(change);
    let (alice, bob) = (realm.join_with(&CALLER), realm.join_with(&CALLEE));
    let add = bob.registers("com.add");
    (realm, alice, bob, add)
}

/// A caller here, and `com.add` of session 201 on node 2.
fn caller() -> (TestRealm, TestSession, RegistrationId) {
    let realm = TestRealm::new();
    let alice = realm.join_with(&CALLER);
    let add = realm.registered_elsewhere(NODE_2, 201, "com.add");
    realm.link(NODE_2);
    (realm, alice, add)
}

fn forward(source: &TestSession, frame: PeerFrame) -> Effect {
    Effect::Forward {
        to: NODE_2,
        source: source.id,
        frame,
    }
}

fn chunk(call: u64, registration: RegistrationId, callee: u64, details: Dict) -> PeerFrame {
    PeerFrame::Chunk {
        call: CallId(call),
        registration,
        callee: session(callee),
        details,
        payload: payload("question"),
    }
}

fn begin(call: u64, registration: RegistrationId, callee: &TestSession, index: u64, with: Dict) -> PeerFrame {
    let mut frame = invoke(call, registration, callee.id, index);
    if let PeerFrame::Invoke { details, .. } = &mut frame {
        *details = with;
    }
    frame
}

fn progress(call: u64) -> PeerFrame {
    PeerFrame::Progress {
        call: CallId(call),
        details: Dict::new(),
        payload: payload("answer"),
    }
}

#[test]
fn parts_of_a_result_reach_the_caller_at_once_and_in_order() {
    let (realm, alice, bob, add) = both();
    let (call, effects) = alice.asks("com.add", wanted());
    assert_eq!(effects, [bob.gets_invocation_with(1, add, wanted())]);
    for _ in 0..3 {
        assert_eq!(bob.yields_with(1, more()), [alice.gets_result_with(call, more())]);
    }
    assert_eq!(bob.yields(1), [alice.gets_result(call)]);
    assert_eq!(bob.yields_with(1, more()), []);
    assert_eq!(
        (realm.stats().progressive_results, realm.stats().dropped_late_answers),
        (3, 1)
    );
}

#[test]
fn who_did_not_ask_gets_no_parts() {
    let (realm, alice, bob, _) = both();
    let (call, _) = alice.calls("com.add");
    assert_eq!(bob.yields_with(1, more()), []);
    assert_eq!(realm.stats().dropped_progress, 1);
    assert_eq!(bob.yields(1), [alice.gets_result(call)]);
}

#[test]
fn a_callee_that_cannot_be_canceled_is_not_asked_for_parts() {
    for features in [&["callee.progressive_call_results"][..], &["callee.call_canceling"], &[]] {
        let realm = TestRealm::new();
        let (alice, bob) = (realm.join_with(&CALLER), realm.join_with(features));
        let add = bob.registers("com.add");
        let (call, effects) = alice.asks("com.add", wanted());
        assert_eq!(effects, [bob.gets_invocation(1, add)], "{features:?}");
        assert_eq!(bob.yields_with(1, more()), []);
        assert_eq!(bob.yields(1), [alice.gets_result(call)]);
    }
}

#[test]
fn a_part_for_an_invocation_never_sent_ends_the_session() {
    let (_, _, bob, _) = both();
    assert!(is_abort(&bob.yields_with(9, more()), &bob, "never sent"));
}

#[test]
fn parts_of_a_result_cross_nodes() {
    let (realm, _, bob, add) = both();
    realm.link(NODE_2);
    let effects = realm.hears(NODE_2, begin(4, add, &bob, 2, wanted()));
    assert_eq!(effects, [bob.gets_invocation_with(1, add, wanted())]);
    assert_eq!(bob.yields_with(1, more()), [forward(&bob, progress(4))]);
    let (realm, alice, _) = caller();
    let (call, _) = alice.asks("com.add", wanted());
    assert_eq!(realm.hears(NODE_2, progress(1)), [alice.gets_result_with(call, more())]);
    assert_eq!(realm.hears(NODE_2, progress(2)), []);
    assert_eq!(realm.stats().dropped_late_frames, 1);
}

#[test]
fn parts_of_arguments_reach_one_callee_under_one_id() {
    let (realm, alice, bob, add) = both();
    let (call, effects) = alice.asks("com.add", more());
    assert_eq!(effects, [bob.gets_invocation_with(1, add, more())]);
    let (other, effects) = alice.calls("com.add");
    assert_eq!(effects, [bob.gets_invocation(2, add)]);
    assert_eq!(
        alice.asks_again(call, "com.add", more()),
        [bob.gets_invocation_with(1, add, more())]
    );
    assert_eq!(alice.asks_again(call, "com.add", Dict::new()), [bob.gets_invocation(1, add)]);
    assert_eq!(bob.yields(1), [alice.gets_result(call)]);
    assert_eq!(bob.yields(2), [alice.gets_result(other)]);
    assert_eq!((realm.stats().call_parts, realm.stats().invocation_parts), (2, 2));
    assert_eq!(alice.calls("com.add").1, [bob.gets_invocation(3, add)], "the count went on");
}

#[test]
fn the_options_of_the_first_part_hold_for_all() {
    let (realm, alice, bob, add) = both();
    let first = wanted().with("progress", true).with("timeout", 500_u64);
    let (call, effects) = alice.asks("com.add", first);
    let details = wanted().with("progress", true);
    assert_eq!(effects, [bob.gets_invocation_with(1, add, details.clone())]);
    let other = more().with("disclose_me", true).with("timeout", 1_u64);
    assert_eq!(
        alice.asks_again(call, "com.add", other),
        [bob.gets_invocation_with(1, add, details)]
    );
    assert_eq!(
        bob.yields_with(1, more()),
        [alice.gets_result_with(call, more())],
        "before the last part"
    );
    assert_eq!(
        alice.asks_again(call, "com.add", Dict::new()),
        [bob.gets_invocation_with(1, add, wanted())]
    );
    assert_eq!(realm.next_deadline_in(), Some(std::time::Duration::from_millis(500)));
}

#[test]
fn who_did_not_announce_it_may_not_send_parts() {
    let realm = TestRealm::new();
    let (alice, bob) = (realm.join(), realm.join_with(&CALLEE));
    bob.registers("com.add");
    assert!(is_abort(
        &alice.asks("com.add", more()).1,
        &alice,
        "progressive_call_invocations"
    ));
}

#[test]
fn a_callee_that_cannot_take_parts_gets_none() {
    for features in [&["callee.progressive_call_invocations"][..], &["callee.call_canceling"], &[]] {
        let realm = TestRealm::new();
        let (alice, bob) = (realm.join_with(&CALLER), realm.join_with(features));
        let add = bob.registers("com.add");
        let (call, effects) = alice.asks("com.add", more());
        assert_eq!(error_of(&effects), "wamp.error.feature_not_supported");
        assert_eq!(alice.asks_again(call, "com.add", more()), [], "it was on its way");
        realm.link(NODE_2);
        match realm.hears(NODE_2, begin(3, add, &bob, 2, more())).as_slice() {
            [
                Effect::Forward {
                    frame: PeerFrame::Error { error, .. },
                    ..
                },
            ] => assert_eq!(error.as_str(), "wamp.error.feature_not_supported"),
            other => panic!("{other:?}"),
        }
        assert_eq!(realm.hears(NODE_2, chunk(3, add, bob.id.get(), more())), []);
        assert_eq!(realm.stats().dropped_late_parts, 1);
    }
}

#[test]
fn a_part_that_crosses_the_end_of_its_call_is_dropped() {
    let (realm, alice, bob, _) = both();
    let (call, _) = alice.asks("com.add", more());
    assert_eq!(bob.yields(1), [alice.gets_result(call)]);
    assert_eq!(alice.asks_again(call, "com.add", more()), []);
    assert_eq!(alice.asks_again(call, "com.add", Dict::new()), []);
    assert_eq!(realm.stats().dropped_late_parts, 2);
    let (call, _) = alice.asks("com.add", more());
    alice.cancels(call, "skip");
    assert_eq!(alice.asks_again(call, "com.add", more()), []);
    let refused = alice.asks("com.add", more().with("timeout", 0_u64)).0;
    assert_eq!(refused.get(), 3);
}

#[test]
fn an_id_of_another_call_or_beyond_the_last_part_ends_the_session() {
    type Wrong<'a> = &'a dyn Fn(&TestSession, RequestId) -> Vec<Effect>;
    let wrong: [Wrong<'_>; 4] = [
        &|alice, _| {
            let (plain, _) = alice.calls("com.add");
            alice.asks_again(plain, "com.add", more())
        },
        &|alice, call| {
            alice.asks_again(call, "com.add", Dict::new());
            alice.asks_again(call, "com.add", Dict::new())
        },
        &|alice, _| alice.asks_again(request(9), "com.add", more()),
        &|alice, call| {
            alice.cancels(call, "skip");
            alice.calls("com.add");
            alice.asks_again(request(call.get() + 1), "com.add", Dict::new())
        },
    ];
    for (n, wrong) in wrong.into_iter().enumerate() {
        let (_, alice, _, _) = both();
        let (call, _) = alice.asks("com.add", more());
        let effects = wrong(&alice, call);
        assert!(is_abort(&effects, &alice, "request_id_check"), "{n}: {effects:?}");
    }
}

#[test]
fn where_ids_are_drawn_parts_are_told_from_new_calls() {
    for check in [RequestIdCheck::Lenient, RequestIdCheck::Off] {
        let (realm, alice, bob, add) = both_with(|config| config.request_id_check = check);
        let call = request(777);
        assert_eq!(
            alice.asks_again(call, "com.add", more()),
            [bob.gets_invocation_with(1, add, more())]
        );
        assert_eq!(
            alice.asks_again(request(5), "com.add", Dict::new()),
            [bob.gets_invocation(2, add)]
        );
        assert_eq!(
            alice.asks_again(call, "com.add", more()),
            [bob.gets_invocation_with(1, add, more())]
        );
        bob.yields(1);
        assert_eq!(alice.asks_again(call, "com.add", more()), []);
        assert_eq!(realm.stats().dropped_late_parts, 1);
    }
}

#[test]
fn parts_wait_with_the_call_they_belong_to() {
    let (realm, alice, bob, _) = both();
    let (call, effects) = alice.asks("com.sub", more());
    assert_eq!(effects, [Effect::Barrier]);
    assert_eq!(alice.asks_again(call, "com.sub", more()), []);
    assert_eq!(alice.asks_again(call, "com.sub", Dict::new()), []);
    let sub = bob.registers("com.sub");
    let expected = [
        bob.gets_invocation_with(1, sub, more()),
        bob.gets_invocation_with(1, sub, more()),
        bob.gets_invocation(1, sub),
    ];
    assert_eq!(realm.barrier(Passed), expected);
}

#[test]
fn parts_that_wait_are_bounded() {
    let (_, alice, _, _) = both_with(|config| {
        config.limits = RealmLimits {
            parked_bytes_max: 30,
            ..RealmLimits::default()
        }
    });
    let (call, effects) = alice.asks("com.sub", more());
    assert_eq!(effects, [Effect::Barrier]);
    assert_eq!(alice.asks_again(call, "com.sub", more()), []);
    assert_eq!(error_of(&alice.asks_again(call, "com.sub", more())), "wamp.error.unavailable");
    assert_eq!(alice.asks_again(call, "com.sub", more()), []);
}

#[test]
fn parts_of_arguments_cross_nodes() {
    let (_, alice, add) = caller();
    let (call, _) = alice.asks("com.add", more());
    assert_eq!(
        alice.asks_again(call, "com.add", more()),
        [forward(&alice, chunk(1, add, 201, more()))]
    );
    assert_eq!(
        alice.asks_again(call, "com.add", Dict::new()),
        [forward(&alice, chunk(1, add, 201, Dict::new()))]
    );
    let (realm, _, bob, add) = both();
    realm.link(NODE_2);
    let effects = realm.hears(NODE_2, begin(8, add, &bob, 2, more()));
    assert_eq!(effects, [bob.gets_invocation_with(1, add, more())]);
    assert_eq!(
        realm.hears(NODE_2, chunk(8, add, bob.id.get(), Dict::new())),
        [bob.gets_invocation(1, add)]
    );
    bob.yields(1);
    assert_eq!(realm.hears(NODE_2, chunk(8, add, bob.id.get(), Dict::new())), []);
    assert_eq!(realm.stats().dropped_late_frames, 1);
}

#[test]
fn parts_wait_for_the_log_behind_the_first() {
    let (realm, _, bob, _) = both();
    realm.link(NODE_2);
    let sub = registration(2);
    let ahead = realm.index() + 1;
    assert_eq!(realm.hears(NODE_2, begin(8, sub, &bob, ahead, more())), []);
    assert_eq!(realm.hears(NODE_2, chunk(8, sub, bob.id.get(), Dict::new())), []);
    bob.asks_to_register("com.sub", Dict::new());
    let effects = realm.commit();
    assert_eq!(
        effects[1..],
        [bob.gets_invocation_with(1, sub, more()), bob.gets_invocation(1, sub)]
    );
}

#[test]
fn a_call_whose_parts_are_under_way_is_not_begun_elsewhere() {
    let (realm, alice, _) = caller();
    let (call, _) = alice.asks("com.add", more());
    let nack = |call| refusal(call, session(201), Refusal::Stale);
    assert_eq!(
        realm.hears(NODE_2, nack(1)),
        [Effect::Barrier],
        "nothing but the first part was sent"
    );
    assert_eq!(alice.asks_again(call, "com.add", more()), []);
    assert_eq!(realm.barrier(Passed).len(), 2);
    let effects = realm.hears(NODE_2, nack(2));
    let interrupt = PeerFrame::Interrupt {
        call: CallId(2),
        mode: InterruptMode::KillNoWait,
        reason: Uri::from("wamp.error.canceled"),
    };
    assert_eq!(effects[0], forward(&alice, interrupt));
    assert_eq!(error_of(&effects[1..]), "wamp.error.no_available_callee");
    assert_eq!(alice.asks_again(call, "com.add", more()), []);
}

#[test]
fn a_caller_that_leaves_in_the_middle_interrupts_the_callee() {
    let (_, alice, bob, _) = both();
    alice.asks("com.add", more());
    assert_eq!(
        alice.leaves(),
        [bob.gets_interrupt(1, "killnowait", "wamp.error.canceled"), alice.gone()]
    );
}

#[test]
fn a_part_that_the_caller_cannot_take_ends_the_call() {
    let (realm, alice, bob, _) = both();
    let (call, _) = alice.asks("com.add", wanted());
    bob.yields_with(1, more());
    let error = "wamp.error.payload_size_exceeded";
    let effects = realm.input(Input::ProgressUndelivered {
        session: alice.id,
        request: call,
        error: Uri::from(error),
    });
    let expected = [
        bob.gets_interrupt(1, "killnowait", error),
        alice.gets_call_error(call, error, Dict::new()),
    ];
    assert_eq!(effects, expected);
    assert_eq!(bob.yields(1), []);
}

#[test]
fn a_part_that_the_callee_cannot_take_ends_the_call_and_the_callee_is_told() {
    let (realm, alice, bob, _) = both();
    let undelivered = |n| {
        realm.input(Input::InvocationUndelivered {
            session: bob.id,
            request: request(n),
            error: Uri::from("wamp.error.payload_size_exceeded"),
        })
    };
    let error = "wamp.error.payload_size_exceeded";
    let (first, _) = alice.asks("com.add", more());
    assert_eq!(
        undelivered(1),
        [alice.gets_call_error(first, error, Dict::new())],
        "the callee knows nothing of it"
    );
    let (second, _) = alice.asks("com.add", more());
    alice.asks_again(second, "com.add", more());
    let expected = [
        bob.gets_interrupt(2, "killnowait", error),
        alice.gets_call_error(second, error, Dict::new()),
    ];
    assert_eq!(undelivered(2), expected);
    assert_eq!(bob.yields(2), []);
}

#[test]
fn a_callee_whose_parts_fill_an_outbox_elsewhere_is_held() {
    let (realm, _, bob, add) = both();
    realm.link(NODE_2);
    let flood = || {
        let source = FloodSource::Answer(CallId(4));
        realm.hears(NODE_2, PeerFrame::Flood { source, hold: true })
    };
    assert_eq!(flood(), [], "no such call");
    realm.hears(NODE_2, begin(4, add, &bob, 2, wanted()));
    assert_eq!(
        flood(),
        [Effect::Flood {
            session: bob.id,
            hold: true
        }]
    );
    bob.yields(1);
    assert_eq!(flood(), []);
}
