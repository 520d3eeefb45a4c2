//! A node sends its sessions away: who goes first, what is taken from callees before, and who waits for them to come back.

use std::{num::NonZeroU32, time::Duration};

use crate::{
    router::{
        BarrierOutcome::{Failed, Passed},
        Departing, Effect, Input, InvokePolicy, Op, UnderWay,
        frame::Refusal,
        testing::{ME, NODE_2, NODE_3, TestRealm, error_of, invoke, invoked, refusal, register_op, request, session},
    },
    wamp::{Dict, RegistrationId, SessionId},
};

const NO_SUCH: &str = "wamp.error.no_such_procedure";
const HOLD_MS: u32 = 2_000;
const HOLD: Duration = Duration::from_millis(2_000);

fn dismissal(session: SessionId, registration: RegistrationId) -> Op {
    Op::Dismiss {
        session,
        registration,
        hold_ms: NonZeroU32::new(HOLD_MS).unwrap(),
    }
}

fn dismiss(realm: &TestRealm, session: SessionId) -> Vec<Effect> {
    let hold_ms = HOLD_MS;
    realm.input(Input::Dismiss { session, hold_ms })
}

#[test]
fn a_dismissed_callee_is_invoked_until_the_log_says_so_and_ends_what_it_has_begun() {
    let realm = TestRealm::new();
    let (alice, bob) = (realm.join(), realm.join());
    let add = bob.registers("com.add");
    let (first, _) = alice.calls("com.add");
    let op = dismissal(bob.id, add);
    assert_eq!(dismiss(&realm, bob.id), [Effect::Propose { op }]);
    let (second, effects) = alice.calls("com.add");
    assert_eq!(invoked(&effects), bob.id);
    // The callee hears nothing of it: it is to hear GOODBYE.
    assert_eq!(realm.commit(), []);
    let under_way = |id| realm.inside(|core| core.under_way(id));
    let two = UnderWay {
        invocations: 2,
        ..UnderWay::default()
    };
    assert_eq!(under_way(bob.id), two);
    assert_eq!((under_way(alice.id).calls, under_way(alice.id).is_done()), (2, false));
    assert_eq!(bob.yields(1), [alice.gets_result(first)]);
    assert_eq!(bob.yields(2), [alice.gets_result(second)]);
    assert!(under_way(bob.id).is_done() && under_way(alice.id).is_done());
}

#[test]
fn calls_wait_for_a_dismissed_callee_to_come_back_on_any_node_and_keep_their_order() {
    let realm = TestRealm::new();
    realm.link(NODE_2);
    let (alice, bob) = (realm.join(), realm.join());
    bob.registers("com.add");
    let other = bob.registers("com.other");
    dismiss(&realm, bob.id);
    realm.commit();
    assert_eq!(alice.calls("com.add").1, [Effect::Barrier]);
    assert_eq!(realm.barrier(Passed), []);
    assert_eq!(alice.calls("com.add").1, [Effect::Barrier]);
    assert_eq!(realm.stats().calls_held, 1);
    // A barrier that others asked for, and that fails, is not its own.
    assert_eq!(realm.barrier(Failed), []);
    bob.leaves();
    assert_eq!(realm.commit(), []);
    let effects = realm.commit_by(NODE_2, register_op(201, "com.add"));
    assert_eq!(effects.len(), 2, "both calls: {effects:?}");
    assert_eq!(invoked(&effects[..1]), session(201));
    assert_eq!(invoked(&effects[1..]), session(201));
    assert_ne!(other.get(), 0);
}

#[test]
fn calls_wait_no_longer_than_the_dismissal_said() {
    let realm = TestRealm::new();
    let (alice, bob) = (realm.join(), realm.join());
    bob.registers("com.add");
    dismiss(&realm, bob.id);
    realm.commit();
    assert_eq!(realm.pass(HOLD / 2), []);
    let (call, _) = alice.calls("com.add");
    assert_eq!(realm.barrier(Passed), []);
    assert_eq!(realm.pass(HOLD / 4), []);
    assert_eq!(realm.pass(HOLD / 4), [alice.gets_call_error(call, NO_SUCH, Dict::new())]);
    // And nobody waits after that.
    let (call, _) = alice.calls("com.add");
    assert_eq!(realm.barrier(Passed), [alice.gets_call_error(call, NO_SUCH, Dict::new())]);
    assert_eq!(realm.next_deadline_in(), None);
}

#[test]
fn nobody_waits_for_what_was_given_up_or_for_a_dismissal_without_time() {
    let realm = TestRealm::new();
    let (alice, bob) = (realm.join(), realm.join());
    bob.registers("com.add");
    realm.input(Input::Dismiss {
        session: bob.id,
        hold_ms: 0,
    });
    assert_eq!(realm.commit(), []);
    let (call, _) = alice.calls("com.add");
    assert_eq!(realm.barrier(Passed), [alice.gets_call_error(call, NO_SUCH, Dict::new())]);
    let add = bob.registers("com.add");
    bob.unregisters(add);
    realm.commit();
    alice.calls("com.add");
    assert_eq!(error_of(&realm.barrier(Passed)), NO_SUCH);
}

#[test]
fn a_pattern_is_waited_for_as_well() {
    let realm = TestRealm::new();
    let (alice, bob) = (realm.join(), realm.join());
    let by_prefix = || Dict::new().with("match", "prefix");
    bob.registers_with("dev.", by_prefix());
    dismiss(&realm, bob.id);
    realm.commit();
    alice.calls("dev.7.reboot");
    assert_eq!(realm.barrier(Passed), []);
    let carol = realm.join();
    let (_, effects) = carol.asks_to_register("dev.", by_prefix());
    assert!(matches!(effects.as_slice(), [Effect::Propose { .. }]));
    let effects = realm.commit();
    assert_eq!(effects.len(), 2, "REGISTERED and the call: {effects:?}");
    assert_eq!(invoked(&effects[1..]), carol.id);
}

#[test]
fn a_call_that_was_on_its_way_when_its_callee_was_dismissed_is_refused_and_waits_too() {
    let realm = TestRealm::new();
    realm.link(NODE_2);
    let alice = realm.join();
    let add = realm.registered_elsewhere(NODE_2, 201, "com.add");
    alice.calls("com.add");
    realm.commit_by(NODE_2, dismissal(session(201), add));
    assert_eq!(
        realm.hears(NODE_2, refusal(1, session(201), Refusal::Stale)),
        [Effect::Barrier]
    );
    assert_eq!(realm.barrier(Passed), []);
    realm.link(NODE_3);
    let effects = realm.commit_by(NODE_3, register_op(301, "com.add"));
    assert_eq!(invoked(&effects), session(301));
}

#[test]
fn the_node_of_a_dismissed_callee_refuses_what_comes_late() {
    let realm = TestRealm::new();
    realm.link(NODE_2);
    let bob = realm.join();
    let add = bob.registers("com.add");
    let index = realm.index();
    dismiss(&realm, bob.id);
    // The log has not said so: who looks again would find the same callee.
    assert_eq!(invoked(&realm.hears(NODE_2, invoke(1, add, bob.id, index))), bob.id);
    realm.commit();
    let refused = refusal(2, bob.id, Refusal::Stale);
    let effects = realm.hears(NODE_2, invoke(2, add, bob.id, index));
    assert!(
        matches!(effects.as_slice(), [Effect::Forward { frame, .. }] if *frame == refused),
        "{effects:?}"
    );
}

#[test]
fn only_callees_that_have_others_elsewhere_are_dismissed_together() {
    let realm = TestRealm::new();
    realm.link(NODE_2);
    let (alice, bob, carol) = (realm.join(), realm.join(), realm.join());
    bob.registers("com.single");
    bob.shares("com.near", "roundrobin");
    carol.shares("com.near", "roundrobin");
    let far = bob.shares("com.far", "first");
    realm.shared_elsewhere(NODE_2, 201, "com.far", InvokePolicy::First);
    assert_eq!(realm.inside(|core| core.shared_registration_count()), 1);
    assert_eq!(alice.reaches("com.far"), bob.id);
    let op = dismissal(bob.id, far);
    let hold_ms = HOLD_MS;
    assert_eq!(realm.input(Input::DismissShared { hold_ms }), [Effect::Propose { op }]);
    realm.commit();
    assert_eq!(realm.inside(|core| core.shared_registration_count()), 0);
    assert_eq!(alice.reaches("com.far"), session(201));
    assert_eq!(alice.reaches("com.single"), bob.id);
}

#[test]
fn callees_go_first_and_mere_subscribers_last() {
    let realm = TestRealm::new();
    let (subscriber, client, callee, late) = (realm.join(), realm.join(), realm.join(), realm.join());
    subscriber.subscribes("com.news");
    callee.subscribes("com.news");
    callee.registers("com.add");
    late.asks_to_register("com.late", Dict::new());
    let expected = [
        (Departing::Callee, callee.id),
        (Departing::Callee, late.id),
        (Departing::Client, client.id),
        (Departing::Subscriber, subscriber.id),
    ];
    assert_eq!(realm.inside(|core| core.departures()), expected);
}

#[test]
fn an_unregister_that_crosses_a_dismissal_is_answered() {
    let realm = TestRealm::new();
    let bob = realm.join();
    let add = bob.registers("com.add");
    dismiss(&realm, bob.id);
    let (asked, _) = bob.unregisters(add);
    let effects = realm.commit();
    assert!(
        matches!(effects.as_slice(), [Effect::Send { session, message: crate::wamp::Message::Unregistered { request: Some(r), .. } }]
            if *session == bob.id && *r == asked),
        "{effects:?}"
    );
    assert_eq!(asked, request(2));
    let foreign = realm.commit_by(ME, dismissal(bob.id, add));
    assert_eq!(foreign, [], "a second one finds nothing");
}
