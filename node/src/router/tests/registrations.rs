//! REGISTER and UNREGISTER through the log.

use crate::{
    router::{
        Effect, InvokePolicy, MatchPolicy, NodeRef, OnConflict, Op, RealmLimits,
        testing::{ME, NODE_2, TestRealm, error_of, register_op, registration, secs},
    },
    wamp::{Dict, Message, Uri, Value, message::code},
};

#[test]
fn registered_follows_the_commit() {
    let realm = TestRealm::new();
    let bob = realm.join();
    let (request, effects) = bob.asks_to_register("com.add", Dict::new());
    let op = Op::Register {
        session: bob.id,
        request,
        procedure: Uri::from("com.add"),
        policy: MatchPolicy::Exact,
        invoke: InvokePolicy::Single,
        conflict: OnConflict::Refuse,
    };
    assert_eq!(effects, [Effect::Propose { op }]);
    let registered = Message::Registered {
        request,
        registration: registration(1),
    };
    assert_eq!(realm.commit(), [bob.gets(registered)]);
}

#[test]
fn the_second_of_two_registers_is_refused_wherever_it_comes_from() {
    let realm = TestRealm::new();
    let (alice, bob) = (realm.join(), realm.join());
    bob.registers("com.add");
    let (request, _) = alice.asks_to_register("com.add", Dict::new());
    let refused = |request| {
        let details = Dict::new().with("message", "registered already, with invoke = \"single\"");
        alice.gets_error(code::REGISTER, request, "wamp.error.procedure_already_exists", details)
    };
    assert_eq!(realm.commit(), [refused(request)]);
    realm.registered_elsewhere(NODE_2, 201, "com.sub");
    let (request, _) = alice.asks_to_register("com.sub", Dict::new());
    assert_eq!(realm.commit(), [refused(request)]);
}

#[test]
fn a_session_may_not_register_a_procedure_twice() {
    let realm = TestRealm::new();
    let bob = realm.join();
    bob.registers("com.add");
    bob.asks_to_register("com.add", Dict::new());
    assert_eq!(error_of(&realm.commit()), "wamp.error.procedure_already_exists");
}

#[test]
fn options_that_nobody_knows_are_refused() {
    let realm = TestRealm::new();
    let bob = realm.join();
    let cases = [
        ("force_reregister", Value::from(true), "wamp.error.option_not_allowed"),
        ("invoke", Value::from("all"), "wamp.error.invalid_argument"),
        ("concurrency", Value::from(1_u64 << 40), "wamp.error.invalid_argument"),
        ("match", Value::from("fuzzy"), "wamp.error.invalid_argument"),
        ("match", Value::from(1_u64), "wamp.error.invalid_argument"),
        ("invoke", Value::Null, "wamp.error.invalid_argument"),
    ];
    for (option, value, error) in cases {
        let (_, effects) = bob.asks_to_register("com.add", Dict::new().with(option, value.clone()));
        assert_eq!(error_of(&effects), error, "{option} = {value:?}");
    }
    let plain = Dict::new().with("match", "exact").with("invoke", "single");
    assert!(matches!(
        bob.asks_to_register("com.add", plain).1.as_slice(),
        [Effect::Propose { .. }]
    ));
}

#[test]
fn malformed_and_reserved_procedures_are_refused() {
    let realm = TestRealm::new();
    let bob = realm.join();
    for bad in ["", "com..add", "com add", "wamp.session.count", "wamp"] {
        assert_eq!(
            error_of(&bob.asks_to_register(bad, Dict::new()).1),
            "wamp.error.invalid_uri",
            "{bad:?}"
        );
    }
}

#[test]
fn unregistered_follows_the_commit_and_frees_the_procedure() {
    let realm = TestRealm::new();
    let (alice, bob) = (realm.join(), realm.join());
    let add = bob.registers("com.add");
    let (request, effects) = bob.unregisters(add);
    let op = Op::Unregister {
        session: bob.id,
        request: Some(request),
        registration: add,
    };
    assert_eq!(effects, [Effect::Propose { op }]);
    let unregistered = Message::Unregistered {
        request: Some(request),
        details: Dict::new(),
    };
    assert_eq!(realm.commit(), [bob.gets(unregistered)]);
    assert_eq!(alice.registers("com.add"), registration(2));
}

#[test]
fn nothing_is_invoked_once_unregister_was_handled() {
    let realm = TestRealm::new();
    let (alice, bob) = (realm.join(), realm.join());
    let add = bob.registers("com.add");
    bob.unregisters(add);
    assert_eq!(alice.calls("com.add").1, [Effect::Barrier]);
}

#[test]
fn an_open_invocation_may_be_answered_after_unregister() {
    let realm = TestRealm::new();
    let (alice, bob) = (realm.join(), realm.join());
    let add = bob.registers("com.add");
    let (call, _) = alice.calls("com.add");
    bob.unregisters(add);
    realm.commit();
    assert_eq!(bob.yields(1), [alice.gets_result(call)]);
}

#[test]
fn unregistered_waits_a_second_for_the_log_and_no_longer() {
    let realm = TestRealm::new();
    let bob = realm.join();
    let add = bob.registers("com.add");
    let (request, _) = bob.unregisters(add);
    assert_eq!(realm.pass(secs(1) / 2), []);
    let unregistered = Message::Unregistered {
        request: Some(request),
        details: Dict::new(),
    };
    assert_eq!(realm.pass(secs(1) / 2), [bob.gets(unregistered)]);
    assert_eq!(realm.commit(), []);
    assert_eq!(error_of(&bob.unregisters(add).1), "wamp.error.no_such_registration");
}

#[test]
fn only_what_the_session_holds_can_be_unregistered_and_once() {
    let realm = TestRealm::new();
    let (alice, bob) = (realm.join(), realm.join());
    let add = bob.registers("com.add");
    assert_eq!(
        error_of(&bob.unregisters(registration(99)).1),
        "wamp.error.no_such_registration"
    );
    assert_eq!(error_of(&alice.unregisters(add).1), "wamp.error.no_such_registration");
    bob.unregisters(add);
    assert_eq!(error_of(&bob.unregisters(add).1), "wamp.error.no_such_registration");
}

#[test]
fn a_register_that_is_never_applied_is_answered_as_unknown() {
    let realm = TestRealm::new();
    let bob = realm.join();
    let (request, _) = bob.asks_to_register("com.add", Dict::new());
    realm.lose_proposals();
    assert_eq!(realm.next_deadline_in(), Some(secs(10)));
    let details = Dict::new().with("message", "no quorum, outcome unknown");
    let unknown = bob.gets_error(code::REGISTER, request, "wamp.error.unavailable", details);
    assert_eq!(realm.pass(secs(10)), [unknown]);
    assert_eq!(realm.next_deadline_in(), None);
}

#[test]
fn a_registration_that_comes_too_late_is_taken_back_and_never_invoked() {
    let realm = TestRealm::new();
    let (alice, bob) = (realm.join(), realm.join());
    let (request, effects) = bob.asks_to_register("com.add", Dict::new());
    let [Effect::Propose { op }] = effects.as_slice() else {
        panic!("{effects:?}")
    };
    realm.lose_proposals();
    realm.pass(secs(10));
    let back = Op::Unregister {
        session: bob.id,
        request: None,
        registration: registration(1),
    };
    assert_eq!(realm.commit_by(ME, op.clone()), [Effect::Propose { op: back }]);
    assert_eq!(alice.calls("com.add").1, [Effect::Barrier]);
    assert_eq!(realm.commit(), []);
    assert_eq!(realm.inside(|r| r.registry().registrations().len()), 0);
    assert_ne!(request, bob.next());
}

#[test]
fn the_registrations_of_a_session_that_leaves_go_with_it() {
    let realm = TestRealm::new();
    let (alice, bob) = (realm.join(), realm.join());
    bob.registers("com.add");
    // This one is still on its way when its session leaves: the ops are applied in their order.
    bob.asks_to_register("com.sub", Dict::new());
    assert_eq!(bob.leaves(), [bob.gone()]);
    assert_eq!(realm.next_deadline_in(), None);
    assert_eq!(realm.commit(), []);
    assert_eq!(
        realm.inside(|r| (r.registry().registrations().len(), r.registry().sessions().len())),
        (0, 1)
    );
    alice.registers("com.add");
    alice.registers("com.sub");
}

#[test]
fn a_fenced_node_frees_its_procedures() {
    let realm = TestRealm::new();
    let bob = realm.join();
    realm.registered_elsewhere(NODE_2, 201, "com.add");
    assert_eq!(realm.fence(NODE_2), []);
    bob.registers("com.add");
    // What the dead life still had in the log changes nothing.
    assert_eq!(realm.commit_by(NODE_2, register_op(201, "com.sub")), []);
    bob.registers("com.sub");
}

#[test]
fn the_end_of_the_own_life_takes_every_registration_away() {
    let realm = TestRealm::new();
    let (alice, bob) = (realm.join(), realm.join());
    bob.registers("com.add");
    assert_eq!(realm.fence(ME), []);
    assert_eq!(alice.calls("com.add").1, [Effect::Barrier]);
    let (request, _) = bob.asks_to_register("com.add", Dict::new());
    let details = Dict::new().with("message", "this node is no longer a member");
    assert_eq!(
        realm.commit(),
        [bob.gets_error(code::REGISTER, request, "wamp.error.unavailable", details)]
    );
}

#[test]
fn too_many_registrations_of_one_session_are_refused() {
    let realm = TestRealm::with(|c| {
        c.limits = RealmLimits {
            registrations_max: 2,
            ..RealmLimits::default()
        }
    });
    let bob = realm.join();
    bob.registers("com.a");
    bob.asks_to_register("com.b", Dict::new());
    assert_eq!(
        error_of(&bob.asks_to_register("com.c", Dict::new()).1),
        "wamp.error.unavailable"
    );
}

#[test]
fn a_new_life_of_this_node_starts_without_a_lease_and_with_the_key_it_is_told() {
    let realm = TestRealm::new();
    let topic_id = || realm.inside(|r| r.ids.subscription(MatchPolicy::Exact, "com.news"));
    let before = topic_id();
    assert_eq!(realm.fence(ME), []);
    let next = NodeRef {
        slot: ME.slot,
        epoch: ME.epoch + 1,
    };
    realm.inside(|r| r.set_identity(next, [1; 16]));
    assert_ne!(topic_id(), before);
    let bob = realm.join_uncommitted();
    let (request, effects) = bob.asks_to_register("com.add", Dict::new());
    let [Effect::Propose { op }] = effects.as_slice() else {
        panic!("{effects:?}")
    };
    let registered = Message::Registered {
        request,
        registration: registration(1),
    };
    assert_eq!(realm.commit_by(next, op.clone()), [bob.gets(registered)]);
    assert_eq!(error_of(&bob.calls("com.add").1), "wamp.error.no_available_callee");
}
