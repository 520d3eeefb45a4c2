//! Registrations with several callees: the policies, who comes next, and who has room.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    router::{
        BarrierOutcome::Passed,
        Effect, InvokePolicy,
        frame::Refusal,
        testing::{NODE_2, NODE_3, TestRealm, TestSession, error_of, invoke, invoked, payload, refusal, request, session},
    },
    wamp::{Dict, Message, SessionId},
};

/// A caller and three callees of `com.add`.
fn three(invoke: &str) -> (TestRealm, TestSession, [TestSession; 3]) {
    let realm = TestRealm::new();
    let alice = realm.join();
    let callees = [(); 3].map(|()| realm.join_with(&["callee.call_reroute"]));
    let ids: BTreeSet<_> = callees.iter().map(|callee| callee.shares("com.add", invoke)).collect();
    assert_eq!(ids.len(), 1, "one id for all callees");
    (realm, alice, callees)
}

fn reached(alice: &TestSession, calls: usize) -> Vec<SessionId> {
    (0..calls).map(|_| alice.reaches("com.add")).collect()
}

#[test]
fn first_and_last_go_by_the_order_of_registration() {
    let (_, alice, [bob, _, _]) = three("first");
    assert_eq!(reached(&alice, 2), [bob.id, bob.id]);
    let (realm, alice, [_, carol, dave]) = three("last");
    assert_eq!(reached(&alice, 2), [dave.id, dave.id]);
    dave.leaves();
    realm.commit();
    assert_eq!(reached(&alice, 1), [carol.id]);
}

#[test]
fn roundrobin_goes_round_in_the_order_of_registration() {
    let (realm, alice, [bob, carol, dave]) = three("roundrobin");
    let round = [bob.id, carol.id, dave.id];
    assert_eq!(reached(&alice, 7), [&round[..], &round, &round[..1]].concat());
    // A newcomer comes last in the round.
    let erin = realm.join();
    erin.shares("com.add", "roundrobin");
    assert_eq!(reached(&alice, 4), [carol.id, dave.id, erin.id, bob.id]);
}

#[test]
fn random_reaches_everyone_about_equally_and_the_same_in_every_run() {
    let (_, alice, callees) = three("random");
    let seen = reached(&alice, 600);
    let mut counts = BTreeMap::new();
    seen.iter().for_each(|callee| *counts.entry(*callee).or_insert(0) += 1);
    assert!(
        callees.iter().all(|callee| (150..250).contains(&counts[&callee.id])),
        "{counts:?}"
    );
    assert_eq!(seen, reached(&three("random").1, 600));
}

#[test]
fn the_first_register_fixes_the_policy() {
    let realm = TestRealm::new();
    let (bob, carol) = (realm.join(), realm.join());
    bob.shares("com.add", "roundrobin");
    for other in ["single", "first", "last", "random"] {
        carol.asks_to_register("com.add", Dict::new().with("invoke", other));
        let effects = realm.commit();
        assert_eq!(error_of(&effects), "wamp.error.procedure_already_exists");
        let Effect::Send {
            message: Message::Error { details, .. },
            ..
        } = &effects[0]
        else {
            panic!("{effects:?}")
        };
        assert!(details.text("message").unwrap().contains("\"roundrobin\""));
    }
}

#[test]
fn who_registers_twice_is_told_the_same_id_and_counts_once() {
    let (realm, alice, [bob, carol, _]) = three("roundrobin");
    let id = bob.shares("com.add", "roundrobin");
    assert_eq!(carol.shares("com.add", "roundrobin"), id);
    assert_eq!(realm.inside(|r| r.registry().registration(id).unwrap().callees.len()), 3);
    assert_eq!(reached(&alice, 4).iter().filter(|callee| **callee == bob.id).count(), 2);
    bob.unregisters(id);
    realm.commit();
    assert!(!reached(&alice, 4).contains(&bob.id));
}

#[test]
fn callees_that_are_leaving_or_out_of_reach_are_passed_over() {
    let realm = TestRealm::new();
    let (alice, bob) = (realm.join(), realm.join());
    realm.shared_elsewhere(NODE_2, 201, "com.add", InvokePolicy::RoundRobin);
    realm.shared_elsewhere(NODE_3, 301, "com.add", InvokePolicy::RoundRobin);
    let id = bob.shares("com.add", "roundrobin");
    realm.link(NODE_3);
    let round = [session(301), bob.id];
    assert_eq!(reached(&alice, 4), [round, round].concat());
    bob.unregisters(id);
    assert_eq!(reached(&alice, 2), [session(301), session(301)]);
}

#[test]
fn a_realm_may_prefer_callees_of_the_callers_node() {
    let realm = TestRealm::with(|c| c.prefer_local_callees = true);
    let (alice, bob, carol) = (realm.join(), realm.join(), realm.join());
    realm.link(NODE_2);
    realm.shared_elsewhere(NODE_2, 201, "com.add", InvokePolicy::RoundRobin);
    let id = bob.shares("com.add", "roundrobin");
    carol.shares("com.add", "roundrobin");
    assert_eq!(reached(&alice, 4), [bob.id, carol.id, bob.id, carol.id]);
    bob.unregisters(id);
    carol.unregisters(id);
    assert_eq!(reached(&alice, 1), [session(201)]);
}

#[test]
fn a_refused_route_goes_to_the_next_callee_at_once_and_to_nobody_twice() {
    let realm = TestRealm::new();
    let alice = realm.join();
    for (node, callee) in [(NODE_2, 201), (NODE_3, 301)] {
        realm.link(node);
        realm.shared_elsewhere(node, callee, "com.add", InvokePolicy::First);
    }
    let (call, effects) = alice.calls("com.add");
    assert_eq!(invoked(&effects), session(201));
    let next = realm.hears(NODE_2, refusal(1, session(201), Refusal::Stale));
    assert_eq!(invoked(&next), session(301));
    // All are stale: looked up again behind a barrier, once.
    assert_eq!(
        realm.hears(NODE_3, refusal(2, session(301), Refusal::Stale)),
        [Effect::Barrier]
    );
    assert_eq!(invoked(&realm.barrier(Passed)), session(201));
    assert_eq!(
        invoked(&realm.hears(NODE_2, refusal(3, session(201), Refusal::Stale))),
        session(301)
    );
    let stale = Dict::new().with("_reason", "stale_route");
    assert_eq!(
        realm.hears(NODE_3, refusal(4, session(301), Refusal::Stale)),
        [alice.gets_call_error(call, "wamp.error.no_such_procedure", stale)]
    );
}

#[test]
fn a_lost_lease_is_told_from_a_stale_route() {
    let realm = TestRealm::new();
    let alice = realm.join();
    realm.link(NODE_2);
    realm.registered_elsewhere(NODE_2, 201, "com.add");
    let (call, _) = alice.calls("com.add");
    assert_eq!(
        realm.hears(NODE_2, refusal(1, session(201), Refusal::NoLease)),
        [Effect::Barrier]
    );
    realm.barrier(Passed);
    let details = Dict::new().with("_reason", "callee_node_without_lease");
    assert_eq!(
        realm.hears(NODE_2, refusal(2, session(201), Refusal::NoLease)),
        [alice.gets_call_error(call, "wamp.error.no_available_callee", details)]
    );
}

fn bounded(max: u64) -> Dict {
    Dict::new().with("invoke", "roundrobin").with("concurrency", max)
}

fn full(alice: &TestSession, number: u64) -> Effect {
    let details = Dict::new().with("_reason", "max_concurrency_reached");
    alice.gets_call_error(request(number), "wamp.error.no_available_callee", details)
}

#[test]
fn no_callee_has_more_open_invocations_than_it_asked_for() {
    let realm = TestRealm::new();
    let (alice, bob, carol) = (realm.join(), realm.join(), realm.join());
    bob.registers_with("com.add", bounded(1));
    carol.registers_with("com.add", bounded(2));
    assert_eq!(reached(&alice, 3), [bob.id, carol.id, carol.id]);
    assert_eq!(alice.calls("com.add").1, [full(&alice, 4)]);
    assert_eq!(carol.yields(1).len(), 1);
    assert_eq!(reached(&alice, 1), [carol.id]);
    assert_eq!(bob.fails(1, "com.error").len(), 1);
    assert_eq!(reached(&alice, 1), [bob.id]);
}

#[test]
fn a_callee_elsewhere_that_is_full_gives_way_to_the_next() {
    let realm = TestRealm::new();
    let (alice, bob) = (realm.join(), realm.join());
    realm.link(NODE_2);
    realm.shared_elsewhere(NODE_2, 201, "com.add", InvokePolicy::First);
    let options = Dict::new().with("invoke", "first").with("concurrency", 1_u64);
    bob.registers_with("com.add", options);
    alice.calls("com.add");
    assert_eq!(invoked(&realm.hears(NODE_2, refusal(1, session(201), Refusal::Busy))), bob.id);
    let (second, _) = alice.calls("com.add");
    let effects = realm.hears(NODE_2, refusal(2, session(201), Refusal::Busy));
    assert_eq!(effects, [full(&alice, second.get())]);
}

#[test]
fn a_full_callee_says_so_to_the_callers_node() {
    let realm = TestRealm::new();
    let bob = realm.join();
    realm.link(NODE_2);
    let (add, _) = bob.registers_with("com.add", bounded(1));
    assert_eq!(invoked(&realm.hears(NODE_2, invoke(1, add, bob.id, 1))), bob.id);
    let refused = Effect::Forward {
        to: NODE_2,
        source: bob.id,
        frame: refusal(2, bob.id, Refusal::Busy),
    };
    assert_eq!(realm.hears(NODE_2, invoke(2, add, bob.id, 1)), [refused]);
    bob.yields(1);
    assert_eq!(invoked(&realm.hears(NODE_2, invoke(3, add, bob.id, 1))), bob.id);
}

#[test]
fn a_callee_whose_joining_the_log_has_not_told_yet_waits_although_the_registration_stands() {
    let realm = TestRealm::new();
    let bob = realm.join();
    realm.link(NODE_2);
    realm.shared_elsewhere(NODE_2, 201, "com.add", InvokePolicy::First);
    let id = realm.inside(|r| r.registry().lookup(&"com.add".into()).unwrap().id);
    let ahead = realm.index() + 1;
    assert_eq!(realm.hears(NODE_2, invoke(1, id, bob.id, ahead)), []);
    bob.asks_to_register("com.add", Dict::new().with("invoke", "first"));
    assert_eq!(realm.commit()[1..], [bob.gets_invocation(1, id)]);
}

#[test]
fn a_key_goes_to_the_same_callee_from_every_node_and_moves_only_with_its_callee() {
    let keys: Vec<String> = (0..200).map(|n| format!("key{n}")).collect();
    let owners = |alice: &TestSession| -> Vec<SessionId> {
        let by_key = |key: &String| alice.reaches_with("com.add", Dict::new().with("rkey", key.as_str()));
        keys.iter().map(by_key).collect()
    };
    let (realm, alice, [bob, carol, dave]) = three("roundrobin");
    let before = owners(&alice);
    assert_eq!(before, owners(&alice));
    for callee in [&bob, &carol, &dave] {
        let share = before.iter().filter(|owner| **owner == callee.id).count();
        assert!((35..100).contains(&share), "{share} of 200");
    }
    carol.leaves();
    realm.commit();
    let after = owners(&alice);
    for (was, is) in before.iter().zip(&after) {
        assert!(was == is || *was == carol.id && *is != carol.id);
    }
}

#[test]
fn a_call_in_partition_mode_needs_a_key() {
    let (_, alice, _) = three("roundrobin");
    let call = |options: Dict| {
        alice.says(Message::Call {
            request: alice.next(),
            options,
            procedure: "com.add".into(),
            payload: payload("question"),
        })
    };
    assert_eq!(
        error_of(&call(Dict::new().with("runmode", "partition"))),
        "wamp.error.invalid_argument"
    );
    assert_eq!(
        error_of(&call(Dict::new().with("runmode", "all"))),
        "wamp.error.invalid_argument"
    );
    invoked(&call(Dict::new().with("runmode", "partition").with("rkey", "a")));
}
