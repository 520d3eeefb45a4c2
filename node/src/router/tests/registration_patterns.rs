//! Registrations by prefix and wildcard.

use crate::{
    router::{
        Effect, PeerFrame,
        testing::{
            NODE_2, TestRealm, TestSession, error_of, invoked, payload, refusal, register_op, registration, request, session,
        },
        {MatchPolicy, Op, frame::Refusal},
    },
    wamp::{Dict, Message},
};

fn by(policy: &str) -> Dict {
    Dict::new().with("match", policy)
}

fn calls(caller: &TestSession, procedure: &str) -> Vec<Effect> {
    caller.calls(procedure).1
}

#[test]
fn a_call_goes_to_the_best_match_and_says_what_was_called() {
    let realm = TestRealm::new();
    let (alice, exact, short, long, wild) = (realm.join(), realm.join(), realm.join(), realm.join(), realm.join());
    exact.registers("com.lamp.on");
    short.registers_with("com.", by("prefix"));
    let (lamps, _) = long.registers_with("com.lamp", by("prefix"));
    wild.registers_with("org..on", by("wildcard"));
    let plain = calls(&alice, "com.lamp.on");
    assert_eq!(plain, [exact.gets_invocation(1, registration(1))]);
    let named = long.gets(Message::Invocation {
        request: request(1),
        registration: lamps,
        details: Dict::new().with("procedure", "com.lamp-2.off"),
        payload: payload("question"),
    });
    assert_eq!(calls(&alice, "com.lamp-2.off"), [named]);
    assert_eq!(alice.reaches("com.door"), short.id);
    assert_eq!(alice.reaches("org.lamp.on"), wild.id);
    assert_eq!(calls(&alice, "org.lamp.off"), [Effect::Barrier]);
}

#[test]
fn a_pattern_of_another_node_travels_with_the_procedure_that_was_called() {
    let realm = TestRealm::new();
    let alice = realm.join();
    realm.link(NODE_2);
    let mut op = register_op(201, "com.");
    if let Op::Register { policy, .. } = &mut op {
        *policy = MatchPolicy::Prefix;
    }
    realm.commit_by(NODE_2, op);
    let effects = calls(&alice, "com.door");
    assert_eq!(invoked(&effects), session(201));
    let [
        Effect::Forward {
            frame: PeerFrame::Invoke { details, .. },
            ..
        },
    ] = effects.as_slice()
    else {
        panic!("{effects:?}")
    };
    assert_eq!(*details, Dict::new().with("procedure", "com.door"));
}

#[test]
fn a_pattern_is_held_beside_the_same_text_as_a_procedure() {
    let realm = TestRealm::new();
    let bob = realm.join();
    let first = bob.registers("com.a");
    let (second, _) = bob.registers_with("com.a", by("prefix"));
    let (third, _) = bob.registers_with("com.a", by("wildcard"));
    assert!(first != second && second != third);
    bob.asks_to_register("com.a", by("prefix"));
    assert_eq!(error_of(&realm.commit()), "wamp.error.procedure_already_exists");
}

#[test]
fn malformed_and_reserved_patterns_are_refused() {
    let realm = TestRealm::new();
    let bob = realm.join();
    for (policy, bad) in [
        ("prefix", "a..b"),
        ("prefix", "a b"),
        ("prefix", "wamp."),
        ("wildcard", "a.#"),
        ("wildcard", "wamp..count"),
        ("exact", "a."),
    ] {
        let (_, effects) = bob.asks_to_register(bad, by(policy));
        assert_eq!(error_of(&effects), "wamp.error.invalid_uri", "{policy} {bad:?}");
    }
}

#[test]
fn no_pattern_reaches_what_is_the_protocols_own() {
    let realm = TestRealm::new();
    let (alice, bob) = (realm.join(), realm.join());
    bob.registers_with("", by("prefix"));
    bob.registers_with("..", by("wildcard"));
    assert_eq!(alice.reaches("wam.session.count"), bob.id);
    assert_eq!(calls(&alice, "wamp.session.counts"), [Effect::Barrier]);
}

#[test]
fn a_registration_whose_callee_leaves_gives_way_to_the_next_match_at_once() {
    let realm = TestRealm::new();
    let (alice, bob, carol) = (realm.join(), realm.join(), realm.join());
    let exact = bob.registers("com.a");
    carol.registers_with("com.", by("prefix"));
    bob.unregisters(exact);
    assert_eq!(alice.reaches("com.a"), carol.id);
}

#[test]
fn a_stale_route_gives_way_to_the_next_match_at_once() {
    let realm = TestRealm::new();
    let (alice, carol) = (realm.join(), realm.join());
    realm.link(NODE_2);
    realm.registered_elsewhere(NODE_2, 201, "com.a");
    carol.registers_with("com.", by("prefix"));
    assert_eq!(alice.reaches("com.a"), session(201));
    let effects = realm.hears(NODE_2, refusal(1, session(201), Refusal::Stale));
    assert_eq!(invoked(&effects), carol.id);
}

#[test]
fn a_callee_that_left_one_registration_is_asked_under_the_next_one() {
    let realm = TestRealm::new();
    let alice = realm.join();
    realm.link(NODE_2);
    realm.registered_elsewhere(NODE_2, 201, "com.a");
    let mut op = register_op(201, "com.");
    if let Op::Register { policy, .. } = &mut op {
        *policy = MatchPolicy::Prefix;
    }
    realm.commit_by(NODE_2, op);
    alice.calls("com.a");
    let effects = realm.hears(NODE_2, refusal(1, session(201), Refusal::Stale));
    let [
        Effect::Forward {
            frame: PeerFrame::Invoke { registration: next, .. },
            ..
        },
    ] = effects.as_slice()
    else {
        panic!("{effects:?}")
    };
    assert_eq!(*next, registration(2));
}
