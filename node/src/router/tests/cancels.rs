//! CANCEL and INTERRUPT, on one node and seen from either end of a link.

use crate::{
    router::{
        Effect, Input, PeerFrame,
        frame::{CallId, InterruptMode, Refusal},
        testing::{NODE_2, TestRealm, TestSession, invoke, payload, refusal, registration, request, result, session},
    },
    wamp::{Dict, Message, Payload, RegistrationId, Uri, message::code},
};

const CANCELED: &str = "wamp.error.canceled";

/// A caller, and a callee of `com.add` that gives up when it is told to.
fn both() -> (TestRealm, TestSession, TestSession, RegistrationId) {
    let realm = TestRealm::new();
    let (alice, bob) = (realm.join(), realm.join_with(&["callee.call_canceling"]));
    let add = bob.registers("com.add");
    (realm, alice, bob, add)
}

fn interrupt(call: u64, mode: InterruptMode) -> PeerFrame {
    PeerFrame::Interrupt {
        call: CallId(call),
        mode,
        reason: Uri::from(CANCELED),
    }
}

fn error(call: u64, details: Dict) -> PeerFrame {
    PeerFrame::Error {
        call: CallId(call),
        details,
        error: Uri::from(CANCELED),
        payload: Payload::EMPTY,
    }
}

fn forward(source: &TestSession, frame: PeerFrame) -> Effect {
    Effect::Forward {
        to: NODE_2,
        source: source.id,
        frame,
    }
}

fn callee_error(invocation: u64) -> Message {
    Message::Error {
        request_type: code::INVOCATION,
        request: request(invocation),
        details: Dict::new(),
        error: Uri::from("com.gave_up"),
        payload: payload("why"),
    }
}

#[test]
fn killnowait_answers_at_once_and_interrupts_and_it_is_the_default() {
    for mode in ["killnowait", ""] {
        let (realm, alice, bob, _) = both();
        let (call, _) = alice.calls("com.add");
        let expected = [
            bob.gets_interrupt(1, "killnowait", CANCELED),
            alice.gets_call_error(call, CANCELED, Dict::new()),
        ];
        assert_eq!(alice.cancels(call, mode), expected);
        // Whatever the callee says now is its innocent race.
        assert_eq!(bob.yields(1), []);
        assert_eq!(bob.says(callee_error(1)), []);
        assert_eq!(realm.stats().dropped_late_answers, 2);
    }
}

#[test]
fn skip_answers_at_once_and_tells_the_callee_nothing() {
    let (_, alice, bob, _) = both();
    let (call, _) = alice.calls("com.add");
    assert_eq!(
        alice.cancels(call, "skip"),
        [alice.gets_call_error(call, CANCELED, Dict::new())]
    );
    assert_eq!(bob.yields(1), []);
}

#[test]
fn kill_waits_for_whatever_the_callee_says() {
    let (_, alice, bob, _) = both();
    let (first, second) = (alice.calls("com.add").0, alice.calls("com.add").0);
    assert_eq!(alice.cancels(first, "kill"), [bob.gets_interrupt(1, "kill", CANCELED)]);
    assert_eq!(alice.cancels(second, "kill"), [bob.gets_interrupt(2, "kill", CANCELED)]);
    let answer = Message::Error {
        request_type: code::CALL,
        request: first,
        details: Dict::new(),
        error: Uri::from("com.gave_up"),
        payload: payload("why"),
    };
    assert_eq!(bob.says(callee_error(1)), [alice.gets(answer)]);
    assert_eq!(bob.yields(2), [alice.gets_result(second)]);
}

#[test]
fn a_callee_is_interrupted_once() {
    let (realm, alice, bob, _) = both();
    let (call, _) = alice.calls("com.add");
    assert_eq!(alice.cancels(call, "kill").len(), 1);
    assert_eq!(alice.cancels(call, "kill"), []);
    assert_eq!(
        alice.cancels(call, "killnowait"),
        [alice.gets_call_error(call, CANCELED, Dict::new())]
    );
    assert_eq!(alice.cancels(call, "killnowait"), []);
    assert_eq!(bob.yields(1), []);
    assert_eq!((realm.stats().interrupts, realm.stats().dropped_cancels), (1, 1));
}

#[test]
fn a_callee_that_did_not_announce_it_makes_every_mode_skip() {
    for mode in ["skip", "kill", "killnowait", ""] {
        let realm = TestRealm::new();
        let (alice, bob) = (realm.join(), realm.join());
        bob.registers("com.add");
        let (call, _) = alice.calls("com.add");
        assert_eq!(
            alice.cancels(call, mode),
            [alice.gets_call_error(call, CANCELED, Dict::new())]
        );
        assert_eq!(bob.yields(1), []);
    }
}

#[test]
fn the_spelling_with_two_l_counts() {
    let realm = TestRealm::new();
    let (alice, bob) = (realm.join(), realm.join_with(&["callee.call_cancelling"]));
    bob.registers("com.add");
    let (call, _) = alice.calls("com.add");
    assert_eq!(alice.cancels(call, "kill"), [bob.gets_interrupt(1, "kill", CANCELED)]);
}

#[test]
fn an_unknown_mode_ends_the_call_and_says_why() {
    let (_, alice, bob, _) = both();
    let (call, _) = alice.calls("com.add");
    let expected = [
        bob.gets_interrupt(1, "killnowait", CANCELED),
        alice.gets_call_error(call, "wamp.error.invalid_argument", Dict::new()),
    ];
    assert_eq!(alice.cancels(call, "murder"), expected);
}

#[test]
fn a_cancel_of_a_call_that_ended_or_never_was_is_ignored() {
    let (realm, alice, bob, _) = both();
    let (call, _) = alice.calls("com.add");
    bob.yields(1);
    for mode in ["skip", "kill", "killnowait", "murder", ""] {
        assert_eq!(alice.cancels(call, mode), []);
        assert_eq!(alice.cancels(request(99), mode), []);
    }
    assert_eq!(realm.stats().dropped_cancels, 10);
}

#[test]
fn another_sessions_call_cannot_be_cancelled() {
    let (realm, alice, bob, _) = both();
    let mallory = realm.join();
    let (call, _) = alice.calls("com.add");
    assert_eq!(mallory.cancels(call, "kill"), []);
    assert_eq!(bob.yields(1), [alice.gets_result(call)]);
}

#[test]
fn a_parked_call_can_be_cancelled_and_those_behind_it_go_on() {
    for mode in ["skip", "kill", "killnowait"] {
        let (_, alice, bob, add) = both();
        let (miss, effects) = alice.calls("com.miss");
        assert_eq!(effects, [Effect::Barrier]);
        let (behind, effects) = alice.calls("com.add");
        assert_eq!(effects, []);
        let expected = [
            alice.gets_call_error(miss, CANCELED, Dict::new()),
            bob.gets_invocation(1, add),
        ];
        assert_eq!(alice.cancels(miss, mode), expected);
        assert_eq!(bob.yields(1), [alice.gets_result(behind)]);
    }
}

#[test]
fn a_parked_call_in_the_middle_is_taken_out_alone() {
    let (_, alice, _, _) = both();
    alice.calls("com.miss");
    let (behind, _) = alice.calls("com.add");
    assert_eq!(
        alice.cancels(behind, "skip"),
        [alice.gets_call_error(behind, CANCELED, Dict::new())]
    );
}

#[test]
fn the_callees_of_a_caller_that_leaves_are_interrupted() {
    let (_, alice, bob, _) = both();
    alice.calls("com.add");
    let (killed, _) = alice.calls("com.add");
    alice.cancels(killed, "kill");
    assert_eq!(
        alice.leaves(),
        [bob.gets_interrupt(1, "killnowait", CANCELED), alice.gone()],
        "the second was told already"
    );
    assert_eq!(bob.yields(1), []);
}

#[test]
fn a_session_that_calls_itself_and_leaves_gets_nothing() {
    let (_, _, bob, _) = both();
    bob.calls("com.add");
    assert_eq!(bob.leaves(), [bob.gone()]);
}

/// A caller here, and `com.add` of session 201 on node 2.
fn caller() -> (TestRealm, TestSession) {
    let realm = TestRealm::new();
    let alice = realm.join();
    realm.registered_elsewhere(NODE_2, 201, "com.add");
    realm.link(NODE_2);
    (realm, alice)
}

#[test]
fn a_cancel_travels_to_the_callees_node() {
    let (realm, alice) = caller();
    let canceled = |call| alice.gets_call_error(call, CANCELED, Dict::new());
    let (call, _) = alice.calls("com.add");
    assert_eq!(
        alice.cancels(call, "killnowait"),
        [forward(&alice, interrupt(1, InterruptMode::KillNoWait)), canceled(call)]
    );
    let (call, _) = alice.calls("com.add");
    assert_eq!(
        alice.cancels(call, "skip"),
        [forward(&alice, PeerFrame::Forget { call: CallId(2) }), canceled(call)]
    );
    assert_eq!(realm.hears(NODE_2, result(1)), []);
    assert_eq!(realm.hears(NODE_2, result(2)), []);
    assert_eq!(realm.stats().dropped_late_frames, 2);
    let (call, _) = alice.calls("com.add");
    assert_eq!(
        alice.cancels(call, "kill"),
        [forward(&alice, interrupt(3, InterruptMode::Kill))]
    );
    assert_eq!(alice.cancels(call, "kill"), []);
    assert_eq!(realm.hears(NODE_2, result(3)), [alice.gets_result(call)]);
}

#[test]
fn a_killed_call_that_was_refused_elsewhere_is_not_tried_again() {
    let (realm, alice) = caller();
    let (call, _) = alice.calls("com.add");
    alice.cancels(call, "kill");
    let details = Dict::new().with("_reason", "not_invoked");
    assert_eq!(
        realm.hears(NODE_2, refusal(1, session(201), Refusal::Stale)),
        [alice.gets_call_error(call, CANCELED, details)]
    );
}

#[test]
fn a_cancel_from_elsewhere_reaches_the_callee() {
    let (realm, _, bob, add) = both();
    realm.link(NODE_2);
    for (n, mode) in [(1, InterruptMode::KillNoWait), (2, InterruptMode::Kill)] {
        realm.hears(NODE_2, invoke(n, add, bob.id, 2));
        assert_eq!(
            realm.hears(NODE_2, interrupt(n, mode)),
            [bob.gets_interrupt(n, mode.name(), CANCELED)]
        );
    }
    assert_eq!(bob.yields(1), [], "nobody waits for it");
    assert_eq!(bob.yields(2), [forward(&bob, result(2))]);
    assert_eq!(realm.hears(NODE_2, interrupt(2, InterruptMode::Kill)), []);
    assert_eq!(realm.hears(NODE_2, interrupt(99, InterruptMode::KillNoWait)), []);
    assert_eq!(realm.stats().dropped_late_frames, 2);
}

#[test]
fn the_node_of_a_callee_that_cannot_be_told_answers_in_its_place() {
    let realm = TestRealm::new();
    let bob = realm.join();
    let add = bob.registers("com.add");
    realm.link(NODE_2);
    realm.hears(NODE_2, invoke(1, add, bob.id, 2));
    assert_eq!(
        realm.hears(NODE_2, interrupt(1, InterruptMode::Kill)),
        [forward(&bob, error(1, Dict::new()))]
    );
    realm.hears(NODE_2, invoke(2, add, bob.id, 2));
    assert_eq!(realm.hears(NODE_2, interrupt(2, InterruptMode::KillNoWait)), []);
    assert_eq!((bob.yields(1), bob.yields(2)), (vec![], vec![]));
}

#[test]
fn an_invocation_that_waits_for_the_log_can_be_cancelled() {
    let (realm, _, bob, _) = both();
    realm.link(NODE_2);
    realm.hears(NODE_2, invoke(1, registration(2), bob.id, 99));
    realm.hears(NODE_2, invoke(2, registration(2), bob.id, 99));
    let details = Dict::new().with("_reason", "not_invoked");
    assert_eq!(
        realm.hears(NODE_2, interrupt(1, InterruptMode::Kill)),
        [forward(&bob, error(1, details))]
    );
    assert_eq!(realm.hears(NODE_2, interrupt(2, InterruptMode::KillNoWait)), []);
    assert_eq!(realm.inside(|r| r.dealer.parked.count), 0);
}

#[test]
fn the_callees_of_a_lost_node_are_interrupted() {
    let (realm, _, bob, add) = both();
    realm.link(NODE_2);
    realm.hears(NODE_2, invoke(1, add, bob.id, 2));
    assert_eq!(
        realm.input(Input::PeerDown { node: NODE_2 }),
        [bob.gets_interrupt(1, "killnowait", CANCELED)]
    );
    assert_eq!(bob.yields(1), []);
}
