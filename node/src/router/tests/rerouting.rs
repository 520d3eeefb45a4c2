//! Calls that a callee passes on, and registrations that the router takes back.

use crate::{
    router::{
        BarrierOutcome::Passed,
        Effect, InvokePolicy, OnConflict, Op, RealmLimits,
        frame::Refusal,
        testing::{NODE_2, TestRealm, TestSession, error_of, invoke, invoked, payload, refusal, registration, session},
    },
    wamp::{Dict, Message, RegistrationId, RequestId},
};

const UNAVAILABLE: &str = "wamp.error.unavailable";
const REROUTE: &str = "callee.call_reroute";
const REVOCATION: &str = "callee.registration_revocation";

fn nobody(alice: &TestSession, call: RequestId) -> Effect {
    let details = Dict::new().with("_reason", "callees_unavailable");
    alice.gets_call_error(call, "wamp.error.no_available_callee", details)
}

#[test]
fn an_unavailable_callee_passes_its_call_on_until_nobody_is_left() {
    for (policy, order) in [("roundrobin", [0, 1, 2]), ("first", [0, 1, 2]), ("last", [2, 1, 0])] {
        let realm = TestRealm::new();
        let alice = realm.join();
        let callees = [(); 3].map(|()| realm.join_with(&[REROUTE]));
        callees.iter().for_each(|callee| _ = callee.shares("com.add", policy));
        let (call, effects) = alice.calls("com.add");
        assert_eq!(invoked(&effects), callees[order[0]].id, "{policy}");
        for pair in order.windows(2) {
            assert_eq!(
                invoked(&callees[pair[0]].fails(1, UNAVAILABLE)),
                callees[pair[1]].id,
                "{policy}"
            );
        }
        assert_eq!(callees[order[2]].fails(1, UNAVAILABLE), [Effect::Barrier], "{policy}");
        assert_eq!(realm.barrier(Passed), [nobody(&alice, call)], "{policy}");
        assert_eq!(realm.stats().calls_rerouted, 2);
    }
}

#[test]
fn a_random_callee_passes_on_to_another_one_and_its_answer_is_the_calls() {
    let realm = TestRealm::new();
    let alice = realm.join();
    let callees = [(); 2].map(|()| realm.join_with(&[REROUTE]));
    callees.iter().for_each(|callee| _ = callee.shares("com.add", "random"));
    let (call, effects) = alice.calls("com.add");
    let (first, second) = if invoked(&effects) == callees[0].id { (0, 1) } else { (1, 0) };
    assert_eq!(invoked(&callees[first].fails(1, UNAVAILABLE)), callees[second].id);
    assert_eq!(callees[second].yields(1), [alice.gets_result(call)]);
}

#[test]
fn a_single_callee_that_is_unavailable_leaves_nobody() {
    let realm = TestRealm::new();
    let (alice, bob) = (realm.join(), realm.join_with(&[REROUTE]));
    bob.registers("com.add");
    let (call, _) = alice.calls("com.add");
    assert_eq!(bob.fails(1, UNAVAILABLE), [nobody(&alice, call)]);
}

#[test]
fn the_error_of_a_callee_that_announced_nothing_is_the_callers() {
    let realm = TestRealm::new();
    let (alice, bob, carol) = (realm.join(), realm.join(), realm.join());
    bob.shares("com.add", "first");
    carol.shares("com.add", "first");
    alice.calls("com.add");
    assert_eq!(error_of(&bob.fails(1, UNAVAILABLE)), UNAVAILABLE);
}

#[test]
fn a_call_is_passed_on_from_node_to_node() {
    let realm = TestRealm::new();
    let (alice, bob) = (realm.join(), realm.join_with(&[REROUTE]));
    realm.link(NODE_2);
    realm.shared_elsewhere(NODE_2, 201, "com.add", InvokePolicy::First);
    let id = bob.shares("com.add", "first");
    let (call, effects) = alice.calls("com.add");
    assert_eq!(invoked(&effects), session(201));
    let effects = realm.hears(NODE_2, refusal(1, session(201), Refusal::Unavailable));
    assert_eq!(effects, [bob.gets_invocation(1, id)]);
    assert_eq!(bob.fails(1, UNAVAILABLE), [Effect::Barrier]);
    assert_eq!(realm.barrier(Passed), [nobody(&alice, call)]);
    // The other way round: who is asked by a call from elsewhere tells its node.
    realm.hears(NODE_2, invoke(7, id, bob.id, 1));
    let back = Effect::Forward {
        to: NODE_2,
        source: bob.id,
        frame: refusal(7, bob.id, Refusal::Unavailable),
    };
    assert_eq!(bob.fails(2, UNAVAILABLE), [back]);
}

#[test]
fn the_payloads_kept_for_another_callee_are_bounded() {
    let realm = TestRealm::with(|c| {
        c.limits = RealmLimits {
            parked_bytes_max: 20,
            ..RealmLimits::default()
        }
    });
    let alice = realm.join();
    let callees = [(); 2].map(|()| realm.join_with(&[REROUTE]));
    callees.iter().for_each(|callee| _ = callee.shares("com.add", "first"));
    let (_, first) = alice.calls_with("com.add", payload("fifteen bytes"));
    assert_eq!(invoked(&first), callees[0].id);
    let (second, _) = alice.calls_with("com.add", payload("fifteen bytes"));
    assert_eq!(callees[0].fails(2, UNAVAILABLE), [nobody(&alice, second)]);
    assert_eq!(invoked(&callees[0].fails(1, UNAVAILABLE)), callees[1].id);
}

fn revoked(callee: &TestSession, registration: RegistrationId, reason: &str) -> Effect {
    let details = Dict::new().with("registration", registration.get()).with("reason", reason);
    callee.gets(Message::Unregistered { request: None, details })
}

#[test]
fn a_revoked_registration_is_told_to_those_who_announced_it_and_gone_for_all() {
    let realm = TestRealm::new();
    let (alice, bob, carol) = (realm.join(), realm.join_with(&[REVOCATION]), realm.join());
    let add = bob.shares("com.add", "first");
    carol.shares("com.add", "first");
    let revoke = |callee| Op::Revoke {
        registration: add,
        callee,
        reason: "moved".into(),
    };
    assert_eq!(realm.commit_by(NODE_2, revoke(Some(bob.id))), [revoked(&bob, add, "moved")]);
    assert_eq!(alice.reaches("com.add"), carol.id);
    assert_eq!(realm.commit_by(NODE_2, revoke(Some(bob.id))), []);
    assert_eq!(realm.commit_by(NODE_2, revoke(None)), []);
    assert_eq!(alice.calls("com.add").1, [Effect::Barrier]);
    assert_eq!(error_of(&carol.unregisters(add).1), "wamp.error.no_such_registration");
    // What was open before may still be answered.
    assert_eq!(carol.yields(1).len(), 1);
    assert_eq!(realm.stats().registrations_revoked, 2);
}

#[test]
fn an_unregister_that_waits_is_answered_by_the_revocation() {
    let realm = TestRealm::new();
    let bob = realm.join_with(&[REVOCATION]);
    let add = bob.registers("com.add");
    let (request, _) = bob.unregisters(add);
    let (registration, callee, reason) = (add, None, "moved".to_owned());
    let answered = bob.gets(Message::Unregistered {
        request: Some(request),
        details: Dict::new(),
    });
    let revoke = Op::Revoke {
        registration,
        callee,
        reason,
    };
    assert_eq!(realm.commit_by(NODE_2, revoke), [answered]);
    assert_eq!(realm.commit(), []);
}

const REPLACED: &str = "ringfort.registration.replaced";

#[test]
fn who_may_force_it_takes_the_procedure_from_all_its_callees() {
    let realm = TestRealm::with(|c| c.allow_force_reregister = true);
    let (alice, bob, carol, dave) = (realm.join(), realm.join_with(&[REVOCATION]), realm.join(), realm.join());
    let add = bob.shares("com.add", "first");
    carol.shares("com.add", "first");
    let (new, before) = dave.registers_with("com.add", Dict::new().with("force_reregister", true));
    assert_ne!(new, add);
    assert_eq!(before, [revoked(&bob, add, REPLACED)]);
    assert_eq!(alice.reaches("com.add"), dave.id);
    assert_eq!(error_of(&carol.unregisters(add).1), "wamp.error.no_such_registration");
}

#[test]
fn the_same_principal_takes_the_place_of_its_old_session_where_the_realm_says_so() {
    let realm = TestRealm::with(|c| c.on_conflict = OnConflict::SamePrincipalReplaces);
    let lamp = |features: &[&str]| {
        let session = realm.join_as(Some("lamp"), features);
        realm.commit();
        session
    };
    let (alice, old, new) = (realm.join(), lamp(&[REVOCATION]), lamp(&[]));
    assert_eq!(old.registers_with("com.lamp", Dict::new()).0, registration(1));
    alice.asks_to_register("com.lamp", Dict::new());
    assert_eq!(error_of(&realm.commit()), "wamp.error.procedure_already_exists");
    let (second, before) = new.registers_with("com.lamp", Dict::new());
    assert_eq!(
        (second, before),
        (registration(2), vec![revoked(&old, registration(1), REPLACED)])
    );
    assert_eq!(alice.reaches("com.lamp"), new.id);
    // Not its own, though.
    new.asks_to_register("com.lamp", Dict::new());
    assert_eq!(error_of(&realm.commit()), "wamp.error.procedure_already_exists");
}
