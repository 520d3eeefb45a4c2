//! Calls that cross nodes, seen from either end.

use crate::{
    router::{
        BarrierOutcome::{Failed, Passed},
        Effect, Input, InvokePolicy, MatchPolicy, OnConflict, Op, PeerFrame, RealmLimits, RegisterWishes,
        dealer::plain::PlainAnswer,
        frame::{CallId, FloodSource, InterruptMode, PlainFrame, Refusal},
        testing::{
            ME, NODE_2, NODE_3, TestRealm, TestSession, error_of, invoke, payload, refusal, register_op, registration, request,
            result, secs, session,
        },
    },
    wamp::{Dict, Message, RegistrationId, RequestId, Uri},
};

/// A caller here, and `com.add` of session 201 on node 2.
fn caller() -> (TestRealm, TestSession, RegistrationId) {
    let realm = TestRealm::new();
    let alice = realm.join();
    let add = realm.registered_elsewhere(NODE_2, 201, "com.add");
    realm.link(NODE_2);
    (realm, alice, add)
}

/// A callee of `com.add` here, linked to nodes 2 and 3.
fn callee() -> (TestRealm, TestSession, RegistrationId) {
    let realm = TestRealm::new();
    let bob = realm.join();
    let add = bob.registers("com.add");
    realm.link(NODE_2);
    realm.link(NODE_3);
    (realm, bob, add)
}

fn forward(source: &TestSession, frame: PeerFrame) -> Effect {
    Effect::Forward {
        to: NODE_2,
        source: source.id,
        frame,
    }
}

/// What a node hears of session 201 on node 2.
fn nack(call: u64) -> PeerFrame {
    refusal(call, session(201), Refusal::Stale)
}

fn lost(alice: &TestSession, call: RequestId) -> Effect {
    alice.gets_call_error(
        call,
        "wamp.error.network_failure",
        Dict::new().with("_reason", "callee_node_lost"),
    )
}

fn stale(alice: &TestSession, call: RequestId) -> Effect {
    alice.gets_call_error(
        call,
        "wamp.error.no_such_procedure",
        Dict::new().with("_reason", "stale_route"),
    )
}

#[test]
fn a_call_travels_to_the_callees_node_and_its_result_back() {
    let (realm, alice, add) = caller();
    let (call, effects) = alice.calls("com.add");
    assert_eq!(effects, [forward(&alice, invoke(1, add, session(201), 2))]);
    assert_eq!(realm.hears(NODE_2, result(1)), [alice.gets_result(call)]);
    assert_eq!(realm.hears(NODE_2, result(1)), []);
    assert_eq!(realm.stats().dropped_late_frames, 1);
}

#[test]
fn an_error_travels_back_with_details_and_payload() {
    let (realm, alice, _) = caller();
    let (request, _) = alice.calls("com.add");
    let (details, error) = (Dict::new().with("_a", true), Uri::from("com.error"));
    let frame = PeerFrame::Error {
        call: CallId(1),
        details: details.clone(),
        error: error.clone(),
        payload: payload("why"),
    };
    let expected = crate::wamp::Message::Error {
        request_type: 48,
        request,
        details,
        error,
        payload: payload("why"),
    };
    assert_eq!(realm.hears(NODE_2, frame), [alice.gets(expected)]);
}

#[test]
fn the_answer_of_another_node_with_the_same_number_is_not_taken() {
    let (realm, alice, _) = caller();
    realm.link(NODE_3);
    alice.calls("com.add");
    assert_eq!(realm.hears(NODE_3, result(1)), []);
    assert_eq!(realm.inside(|r| r.open_call_count()), 1);
}

#[test]
fn without_a_link_the_call_is_refused_at_once() {
    let realm = TestRealm::new();
    let alice = realm.join();
    realm.registered_elsewhere(NODE_2, 201, "com.add");
    assert_eq!(error_of(&alice.calls("com.add").1), "wamp.error.no_available_callee");
    assert_eq!(realm.hears(NODE_2, result(1)), []);
    assert_eq!(realm.stats().dropped_unlinked, 1);
}

#[test]
fn without_a_lease_no_call_leaves_the_node() {
    let (realm, alice, _) = caller();
    realm.input(Input::Lease { until: realm.now() });
    assert_eq!(error_of(&alice.calls("com.add").1), "wamp.error.no_available_callee");
}

#[test]
fn a_refused_route_is_looked_up_once_more_after_a_barrier() {
    let (realm, alice, add) = caller();
    let (call, _) = alice.calls("com.add");
    assert_eq!(realm.hears(NODE_2, nack(1)), [Effect::Barrier]);
    assert_eq!(realm.barrier(Passed), [forward(&alice, invoke(2, add, session(201), 2))]);
    assert_eq!(realm.hears(NODE_2, nack(2)), [stale(&alice, call)]);
}

#[test]
fn a_refused_call_of_the_short_way_is_sent_again_with_what_comes_back() {
    let (realm, alice, add) = caller();
    let now = realm.now();
    let short = |n| {
        realm.inside(|core| {
            let route = core.plain_route(now, alice.id, request(n), "com.add")?;
            core.plain_call_there(alice.id, request(n), route)
        })
    };
    let (node, frame) = short(1).expect("one callee, behind a link");
    assert_eq!(
        (node, frame.with(payload("question"))),
        (NODE_2, invoke(1, add, session(201), 2))
    );
    assert_eq!(realm.hears(NODE_2, nack(1)), [Effect::Barrier]);
    assert_eq!(short(2), None, "it waits behind the first");
    assert_eq!(realm.barrier(Passed), [forward(&alice, invoke(2, add, session(201), 2))]);
    assert_eq!(realm.hears(NODE_2, nack(2)), [stale(&alice, request(1))]);

    // Its callee has seen it: there is nothing to send to another one.
    short(2).expect("nothing is in front any more");
    let unavailable = realm.hears(NODE_2, refusal(3, session(201), Refusal::Unavailable));
    assert_eq!(error_of(&unavailable), "wamp.error.no_available_callee");

    // It can be cancelled like any other, and a lost node ends it.
    short(3).expect("open");
    let options = Dict::new().with("mode", "kill");
    let effects = alice.says(Message::Cancel {
        request: request(3),
        options,
    });
    assert!(
        matches!(
            effects[..],
            [Effect::Forward {
                frame: PeerFrame::Interrupt { .. },
                ..
            }]
        ),
        "{effects:?}"
    );
    let result = realm.inside(|core| core.plain_result(NODE_2, CallId(4)));
    assert_eq!(result, None, "what was asked for is looked at");
    short(4).expect("open");
    let effects = realm.input(Input::PeerDown { node: NODE_2 });
    assert!(effects.contains(&lost(&alice, request(4))), "{effects:?}");
    assert_eq!(short(5), None, "no link");
}

#[test]
fn a_call_from_elsewhere_takes_the_short_way_only_where_nothing_is_in_its_way() {
    let realm = TestRealm::new();
    let bob = realm.join();
    let add = bob.registers("com.add");
    let frame = |call, index| PlainFrame::Invoke {
        call: CallId(call),
        registration: add,
        callee: bob.id,
        index,
    };
    let (now, index) = (realm.now(), realm.index());
    let short = |call, index| realm.inside(|core| core.plain_invoke(now, NODE_2, frame(call, index)));
    assert_eq!(short(1, index), None, "no link");
    realm.link(NODE_2);
    assert_eq!(short(1, index), Some(request(1)));
    assert_eq!(short(1, index), None, "twice");
    let there = PlainAnswer::There {
        node: NODE_2,
        call: CallId(1),
    };
    realm.inside(|core| {
        assert_eq!(core.plain_answer(bob.id, request(1)), Some(there));
        core.plain_yield(bob.id, request(1), there);
        core.check_invariants().expect("nothing is left of it");
    });
    realm.input(Input::Lease { until: realm.now() });
    assert_eq!(short(2, index), None, "no lease");
}

#[test]
fn a_refused_route_that_the_barrier_takes_away_does_not_exist() {
    let (realm, alice, add) = caller();
    let (call, _) = alice.calls("com.add");
    realm.hears(NODE_2, nack(1));
    realm.commit_by(
        NODE_2,
        Op::Unregister {
            session: session(201),
            request: None,
            registration: add,
        },
    );
    assert_eq!(
        realm.barrier(Passed),
        [alice.gets_call_error(call, "wamp.error.no_such_procedure", Dict::new())]
    );
}

#[test]
fn a_refused_route_stays_unanswerable_without_a_quorum() {
    let (realm, alice, _) = caller();
    alice.calls("com.add");
    realm.hears(NODE_2, nack(1));
    assert_eq!(error_of(&realm.barrier(Failed)), "wamp.error.unavailable");
}

#[test]
fn what_the_caller_calls_after_a_refusal_waits_behind_it() {
    let (realm, alice, add) = caller();
    alice.calls("com.add");
    alice.calls("com.add");
    assert_eq!(realm.hears(NODE_2, nack(1)), [Effect::Barrier]);
    assert_eq!(alice.calls("com.add").1, []);
    // The second call was under way already; refused too, it comes after the first and before the third.
    assert_eq!(realm.hears(NODE_2, nack(2)), []);
    assert_eq!(
        realm.barrier(Passed),
        [forward(&alice, invoke(3, add, session(201), 2)), Effect::Barrier]
    );
    let expected = [
        forward(&alice, invoke(4, add, session(201), 2)),
        forward(&alice, invoke(5, add, session(201), 2)),
    ];
    assert_eq!(realm.barrier(Passed), expected);
}

#[test]
fn the_loss_of_the_link_ends_its_calls_with_a_reason() {
    let (realm, alice, _) = caller();
    let (first, second) = (alice.calls("com.add").0, alice.calls("com.add").0);
    assert_eq!(
        realm.input(Input::PeerDown { node: NODE_2 }),
        [lost(&alice, first), lost(&alice, second)]
    );
    assert_eq!(realm.hears(NODE_2, result(1)), []);
    assert_eq!(error_of(&alice.calls("com.add").1), "wamp.error.no_available_callee");
}

#[test]
fn the_fencing_of_the_node_ends_its_calls_and_the_link_loss_adds_nothing() {
    let (realm, alice, _) = caller();
    let (call, _) = alice.calls("com.add");
    assert_eq!(realm.fence(NODE_2), [lost(&alice, call)]);
    assert_eq!(realm.input(Input::PeerDown { node: NODE_2 }), []);
    assert_eq!(alice.calls("com.add").1, [Effect::Barrier]);
}

#[test]
fn a_caller_that_leaves_says_so_to_the_callees_node() {
    let (realm, alice, _) = caller();
    alice.calls("com.add");
    assert_eq!(
        alice.leaves(),
        [
            forward(
                &alice,
                PeerFrame::Interrupt {
                    call: CallId(1),
                    mode: InterruptMode::KillNoWait,
                    reason: Uri::from("wamp.error.canceled")
                }
            ),
            alice.gone()
        ]
    );
    assert_eq!(realm.hears(NODE_2, result(1)), []);
    assert_eq!(realm.stats().dropped_late_frames, 1);
}

#[test]
fn whoever_floods_an_outbox_elsewhere_is_held_by_name_or_by_an_open_call() {
    let (realm, alice, _) = caller();
    let flood = |source, hold| realm.hears(NODE_2, PeerFrame::Flood { source, hold });
    let held = |hold| Effect::Flood { session: alice.id, hold };
    assert_eq!(flood(FloodSource::Publisher(alice.id), true), [held(true)]);
    assert_eq!(flood(FloodSource::Publisher(alice.id), false), [held(false)]);
    assert_eq!(flood(FloodSource::Call(CallId(1)), true), [], "no call is open");
    let (call, _) = alice.calls("com.add");
    assert_eq!(flood(FloodSource::Call(CallId(1)), true), [held(true)]);
    assert_eq!(realm.hears(NODE_2, result(1)), [alice.gets_result(call)]);
    assert_eq!(flood(FloodSource::Call(CallId(1)), true), []);
    alice.leaves();
    assert_eq!(flood(FloodSource::Publisher(alice.id), true), [], "it has left");
}

#[test]
fn an_invocation_from_elsewhere_reaches_the_callee_and_its_answer_goes_back() {
    let (realm, bob, add) = callee();
    assert_eq!(realm.hears(NODE_2, invoke(9, add, bob.id, 2)), [bob.gets_invocation(1, add)]);
    assert_eq!(bob.yields(1), [forward(&bob, result(9))]);
    assert_eq!(bob.yields(1), []);
    assert_eq!(realm.stats().dropped_late_answers, 1);
}

#[test]
fn the_same_number_from_two_nodes_is_two_calls() {
    let (realm, bob, add) = callee();
    assert_eq!(realm.hears(NODE_2, invoke(9, add, bob.id, 2)), [bob.gets_invocation(1, add)]);
    assert_eq!(realm.hears(NODE_3, invoke(9, add, bob.id, 2)), [bob.gets_invocation(2, add)]);
    assert_eq!(realm.hears(NODE_2, invoke(9, add, bob.id, 2)), []);
    assert_eq!(realm.stats().dropped_repeated_frames, 1);
    assert_eq!(
        bob.yields(2),
        [Effect::Forward {
            to: NODE_3,
            source: bob.id,
            frame: result(9)
        }]
    );
}

#[test]
fn a_stale_invocation_is_refused() {
    let (realm, bob, add) = callee();
    // No such registration, of another session, of no session.
    for (registration, callee) in [(registration(99), bob.id), (add, session(999))] {
        let expected = Effect::Forward {
            to: NODE_2,
            source: callee,
            frame: refusal(9, callee, Refusal::Stale),
        };
        assert_eq!(realm.hears(NODE_2, invoke(9, registration, callee, 2)), [expected]);
    }
    bob.unregisters(add);
    assert_eq!(
        realm.hears(NODE_2, invoke(9, add, bob.id, 2)),
        [forward(&bob, refusal(9, bob.id, Refusal::Stale))]
    );
}

#[test]
fn without_a_lease_an_invocation_is_refused() {
    let (realm, bob, add) = callee();
    realm.input(Input::Lease { until: realm.now() });
    assert_eq!(
        realm.hears(NODE_2, invoke(9, add, bob.id, 2)),
        [forward(&bob, refusal(9, bob.id, Refusal::NoLease))]
    );
}

#[test]
fn an_invocation_ahead_of_the_log_waits_and_later_ones_wait_behind_it() {
    let (realm, bob, add) = callee();
    let (ahead, sub) = (realm.index() + 1, registration(2));
    assert_eq!(realm.hears(NODE_2, invoke(1, sub, bob.id, ahead)), []);
    assert_eq!(realm.hears(NODE_2, invoke(2, add, bob.id, 2)), []);
    bob.asks_to_register("com.sub", Dict::new());
    let effects = realm.commit();
    assert!(
        matches!(
            effects[0],
            Effect::Send {
                message: crate::wamp::Message::Registered { .. },
                ..
            }
        ),
        "{effects:?}"
    );
    assert_eq!(effects[1..], [bob.gets_invocation(1, sub), bob.gets_invocation(2, add)]);
    assert_eq!(realm.stats().invokes_parked, 2);
    assert_eq!(realm.next_deadline_in(), None);
}

#[test]
fn an_invocation_that_the_log_does_not_explain_is_refused() {
    let (realm, bob, _) = callee();
    let ahead = realm.index() + 1;
    assert_eq!(realm.hears(NODE_2, invoke(1, registration(2), bob.id, ahead)), []);
    assert_eq!(
        realm.commit_by(NODE_2, register_op(201, "com.other")),
        [forward(&bob, refusal(1, bob.id, Refusal::Stale))]
    );
}

#[test]
fn an_entry_counts_as_applied_when_all_of_its_ops_are() {
    let (realm, bob, _) = callee();
    bob.asks_to_register("com.sub", Dict::new());
    realm.lose_proposals();
    let index = realm.next_index();
    let applied = |op| Input::Applied { index, by: ME, op };
    realm.input(applied(register_op(bob.id.get(), "com.other")));
    assert_eq!(realm.hears(NODE_2, invoke(1, registration(3), bob.id, index)), []);
    let (session, procedure) = (bob.id, Uri::from("com.sub"));
    let op = Op::Register {
        session,
        request: request(2),
        procedure,
        policy: MatchPolicy::Exact,
        wishes: RegisterWishes::NONE,
        invoke: InvokePolicy::Single,
        conflict: OnConflict::Refuse,
    };
    realm.input(applied(op));
    assert_eq!(
        realm.input(Input::AppliedTo { index }),
        [bob.gets_invocation(1, registration(3))]
    );
}

#[test]
fn an_invocation_waits_five_seconds_for_the_log() {
    let (realm, bob, add) = callee();
    let ahead = realm.index() + 1;
    realm.hears(NODE_2, invoke(1, registration(2), bob.id, ahead));
    realm.hears(NODE_2, invoke(2, add, bob.id, 2));
    assert_eq!(realm.pass(secs(4)), []);
    assert_eq!(
        realm.pass(secs(1)),
        [forward(&bob, refusal(1, bob.id, Refusal::Stale)), bob.gets_invocation(1, add)]
    );
}

#[test]
fn invocations_that_wait_are_bounded_and_forgettable() {
    let realm = TestRealm::with(|c| {
        c.limits = RealmLimits {
            parked_invokes_max: 2,
            ..RealmLimits::default()
        }
    });
    let bob = realm.join();
    realm.link(NODE_2);
    realm.link(NODE_3);
    let ahead = || invoke(1, registration(1), bob.id, 99);
    assert_eq!(realm.hears(NODE_2, ahead()), []);
    assert_eq!(realm.hears(NODE_3, ahead()), []);
    assert_eq!(
        realm.hears(NODE_2, invoke(2, registration(1), bob.id, 99)),
        [forward(&bob, refusal(2, bob.id, Refusal::Stale))]
    );
    assert_eq!(realm.hears(NODE_2, PeerFrame::Forget { call: CallId(1) }), []);
    assert_eq!(realm.input(Input::PeerDown { node: NODE_3 }), []);
    assert_eq!(realm.inside(|r| r.dealer.parked.count), 0);
}

#[test]
fn a_callee_that_leaves_refuses_what_waits_and_cancels_what_is_open() {
    let (realm, bob, add) = callee();
    realm.hears(NODE_2, invoke(1, add, bob.id, 2));
    realm.hears(NODE_2, invoke(2, registration(2), bob.id, 99));
    let details = Dict::new().with("_reason", "callee_gone");
    let (error, payload) = (Uri::from("wamp.error.canceled"), crate::wamp::Payload::EMPTY);
    let canceled = PeerFrame::Error {
        call: CallId(1),
        details,
        error,
        payload,
    };
    assert_eq!(
        bob.leaves(),
        [
            forward(&bob, canceled),
            forward(&bob, refusal(2, bob.id, Refusal::Stale)),
            bob.gone()
        ]
    );
}

#[test]
fn a_forgotten_call_is_answered_to_nobody() {
    let (realm, bob, add) = callee();
    realm.hears(NODE_2, invoke(1, add, bob.id, 2));
    assert_eq!(realm.hears(NODE_2, PeerFrame::Forget { call: CallId(1) }), []);
    assert_eq!(bob.yields(1), []);
    assert_eq!(realm.hears(NODE_2, PeerFrame::Forget { call: CallId(1) }), []);
    assert_eq!(
        (realm.stats().dropped_late_answers, realm.stats().dropped_late_frames),
        (1, 1)
    );
}

#[test]
fn the_callers_of_a_lost_node_are_forgotten() {
    let (realm, bob, add) = callee();
    realm.hears(NODE_2, invoke(1, add, bob.id, 2));
    realm.hears(NODE_3, invoke(1, add, bob.id, 2));
    assert_eq!(realm.input(Input::PeerDown { node: NODE_2 }), []);
    assert_eq!(bob.yields(1), []);
    assert_eq!(
        bob.yields(2),
        [Effect::Forward {
            to: NODE_3,
            source: bob.id,
            frame: result(1)
        }]
    );
}
