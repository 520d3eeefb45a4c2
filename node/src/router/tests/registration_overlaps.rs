//! REGISTERED of a registration that overlaps another one: every linked node knows of it first.

use crate::{
    router::{
        Effect, Input, PeerFrame,
        testing::{ME, NODE_2, NODE_3, TestRealm, TestSession, error_of, invoke, invoked, registration, secs},
    },
    wamp::{Dict, Message},
};

fn by(policy: &str) -> Dict {
    Dict::new().with("match", policy)
}

/// The questions whether a log is there, and to whom.
fn questions(effects: &[Effect]) -> Vec<(crate::router::NodeRef, u64, i128)> {
    let asked = effects.iter().filter_map(|effect| match effect {
        Effect::Forward {
            to,
            frame: PeerFrame::MetaAsk { ask, question },
            ..
        } if question.text("what") == Some("applied") => Some((*to, *ask, question.get("index")?.as_integer()?)),
        _ => None,
    });
    asked.collect()
}

fn answers(ask: u64) -> PeerFrame {
    PeerFrame::MetaAnswer {
        ask,
        index: 0,
        answer: Dict::new(),
    }
}

fn is_registered(effects: &[Effect], who: &TestSession) -> bool {
    let registered =
        |effect: &Effect| matches!(effect, Effect::Send { session, message: Message::Registered { .. } } if *session == who.id);
    effects.iter().any(registered)
}

/// A realm with two links in which `bob` has a prefix and `carol` is about to register an exact procedure under it.
fn overlapping() -> (TestRealm, TestSession, TestSession, u64) {
    let realm = TestRealm::new();
    let (bob, carol) = (realm.join(), realm.join());
    bob.registers_with("com.", by("prefix"));
    realm.link(NODE_2);
    realm.link(NODE_3);
    carol.asks_to_register("com.a", Dict::new());
    let effects = realm.commit();
    assert!(!is_registered(&effects, &carol));
    let asked = questions(&effects);
    let index = i128::from(realm.index());
    let [(NODE_2, ask, at), (NODE_3, same, _)] = asked[..] else {
        panic!("{asked:?}")
    };
    assert_eq!((at, same), (index, ask), "one question, about that entry");
    (realm, bob, carol, ask)
}

#[test]
fn registered_waits_until_every_linked_node_knows_of_it() {
    let (realm, bob, carol, ask) = overlapping();
    let alice = realm.join();
    assert_eq!(
        alice.reaches("com.a"),
        bob.id,
        "nothing is invoked that was not told REGISTERED"
    );
    assert_eq!(realm.hears(NODE_3, answers(ask)), []);
    assert_eq!(realm.hears(NODE_3, answers(ask)), [], "twice is not two");
    let effects = realm.hears(NODE_2, answers(ask));
    assert!(is_registered(&effects, &carol) && effects.len() == 1);
    assert_eq!(alice.reaches("com.a"), carol.id);
    assert_eq!(realm.next_deadline_in(), None);
}

#[test]
fn a_node_that_goes_or_lags_is_not_waited_for() {
    let (realm, _, carol, ask) = overlapping();
    realm.hears(NODE_3, answers(ask));
    assert!(is_registered(&realm.input(Input::PeerDown { node: NODE_2 }), &carol));
    let (realm, _, carol, ask) = overlapping();
    realm.hears(NODE_3, answers(ask));
    assert!(!is_registered(&realm.pass(secs(4)), &carol));
    assert!(is_registered(&realm.pass(secs(1)), &carol));
    assert_eq!(realm.stats().registered_unconfirmed, 1);
    assert_eq!(realm.hears(NODE_2, answers(ask)), [], "too late");
}

#[test]
fn what_comes_for_a_callee_before_its_registered_waits_behind_it() {
    let (realm, _, carol, ask) = overlapping();
    let its = registration(2);
    assert_eq!(realm.hears(NODE_2, invoke(1, its, carol.id, realm.index())), []);
    realm.hears(NODE_2, answers(ask));
    let effects = realm.hears(NODE_3, answers(ask));
    assert!(is_registered(&effects[..1], &carol));
    assert_eq!(invoked(&effects[1..]), carol.id);
}

#[test]
fn who_asks_once_more_meanwhile_hears_both_answers_then() {
    let realm = TestRealm::new();
    let (bob, carol) = (realm.join(), realm.join());
    bob.registers_with("com.", by("prefix"));
    realm.link(NODE_2);
    let shares = || carol.asks_to_register("com.a", Dict::new().with("invoke", "roundrobin"));
    shares();
    let [(_, ask, _)] = questions(&realm.commit())[..] else {
        panic!()
    };
    shares();
    assert_eq!(realm.commit(), []);
    let effects = realm.hears(NODE_2, answers(ask));
    assert!(
        effects.len() == 2
            && effects
                .iter()
                .all(|effect| is_registered(std::slice::from_ref(effect), &carol))
    );
}

#[test]
fn a_callee_that_leaves_or_loses_it_meanwhile_is_told_so_once() {
    let (realm, _, carol, ask) = overlapping();
    carol.leaves();
    realm.hears(NODE_2, answers(ask));
    assert_eq!(realm.hears(NODE_3, answers(ask)), []);
    let (realm, _, carol, ask) = overlapping();
    let (request, effects) = carol.unregisters(registration(2));
    assert_eq!(error_of(&effects), "wamp.error.no_such_registration", "{request}");
    let revoke = crate::router::Op::Revoke {
        registration: registration(2),
        callee: None,
        reason: "moved".into(),
    };
    assert!(is_registered(&realm.commit_by(NODE_2, revoke), &carol));
    realm.hears(NODE_2, answers(ask));
    assert_eq!(realm.hears(NODE_3, answers(ask)), []);
}

#[test]
fn only_what_may_change_the_way_of_a_call_waits() {
    let waits = |standing: &[(&str, &str)], new: (&str, &str)| {
        let realm = TestRealm::new();
        let (bob, carol) = (realm.join(), realm.join());
        for (uri, policy) in standing {
            bob.registers_with(uri, by(policy));
        }
        realm.link(NODE_2);
        carol.asks_to_register(new.0, by(new.1));
        let effects = realm.commit();
        assert_eq!(is_registered(&effects, &carol), questions(&effects).is_empty());
        !is_registered(&effects, &carol)
    };
    let (exact, prefix, wildcard) = ("exact", "prefix", "wildcard");
    assert!(!waits(&[("com.b", exact)], ("com.a", exact)));
    assert!(!waits(&[("org.", prefix)], ("com.a", exact)));
    assert!(waits(&[("com..x", wildcard)], ("com.a.x", exact)));
    assert!(!waits(&[("com..x", wildcard)], ("com.a.y", exact)));
    assert!(waits(&[("com.", prefix)], ("com.a", prefix)));
    assert!(
        !waits(&[("com.a", prefix)], ("com.", prefix)),
        "the longer one came first already"
    );
    assert!(waits(&[("com..x", wildcard)], ("com.", prefix)));
    assert!(!waits(&[("com.a", exact), ("com.", prefix)], ("com..x", wildcard)));
    assert!(waits(&[("com..x", wildcard)], ("com.a.", wildcard)));
}

#[test]
fn a_node_answers_when_its_log_is_there() {
    let realm = TestRealm::new();
    realm.link(NODE_2);
    realm.join();
    let asks = |ask, index| PeerFrame::MetaAsk {
        ask,
        question: Dict::new().with("what", "applied").with("index", index),
    };
    let answered = |effects: &[Effect]| -> Vec<u64> {
        let answer = |effect: &Effect| match effect {
            Effect::Forward {
                to: NODE_2,
                frame: PeerFrame::MetaAnswer { ask, .. },
                ..
            } => Some(*ask),
            _ => None,
        };
        effects.iter().filter_map(answer).collect()
    };
    assert_eq!(answered(&realm.hears(NODE_2, asks(1, 1_u64))), [1]);
    assert_eq!(realm.hears(NODE_2, asks(2, 3)), []);
    assert_eq!(realm.hears(NODE_2, asks(3, 2)), []);
    assert_eq!(answered(&realm.input(Input::AppliedTo { index: 2 })), [3]);
    assert_eq!(answered(&realm.input(Input::AppliedTo { index: 3 })), [2]);
    assert_eq!(realm.hears(NODE_2, asks(4, 9)), []);
    realm.input(Input::PeerDown { node: NODE_2 });
    assert_eq!(realm.input(Input::AppliedTo { index: 9 }), []);
    assert_eq!(realm.inside(|realm| realm.node()), ME);
}
