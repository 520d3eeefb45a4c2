//! Testaments: adding and flushing them, and what is published when a session ends.

use crate::{
    router::{
        Effect, Input, MatchPolicy, Op, Testament, TestamentScope,
        kept::{Copies, Keep, KeptRule},
        testing::{NODE_2, TestRealm, TestSession, error_of, meta_call, result_of, secs, session, topics, values},
    },
    wamp::{Dict, Message, Payload, Serializer, Uri, Value},
};

const ADD: &str = "wamp.session.add_testament";
const FLUSH: &str = "wamp.session.flush_testaments";

fn will(topic: &str, word: &str) -> [Value; 3] {
    [topic.into(), vec![Value::from(word)].into(), Dict::new().into()]
}

fn scoped(scope: &str) -> Dict {
    Dict::new().with("scope", scope)
}

/// Adds a testament and sees it committed.
fn adds(realm: &TestRealm, who: &TestSession, topic: &str, word: &str, kwargs: Dict) {
    let effects = meta_call(who, ADD, &will(topic, word), kwargs);
    assert!(matches!(effects[..], [Effect::Propose { .. }]), "{effects:?}");
    assert_eq!(result_of(&realm.commit(), who), []);
}

fn flushes(realm: &TestRealm, who: &TestSession, kwargs: Dict) {
    meta_call(who, FLUSH, &[], kwargs);
    assert_eq!(result_of(&realm.commit(), who), []);
}

fn words(effects: &[Effect]) -> Vec<Value> {
    values(effects).into_iter().map(|args| args[0].clone()).collect()
}

fn foreign(session_id: u64, number: u64, word: &str) -> Op {
    Op::AddTestament {
        session: session(session_id),
        testament: Box::new(Testament {
            number,
            scope: TestamentScope::Destroyed,
            topic: Uri::from("com.will"),
            options: Payload::EMPTY,
            payload: Payload::from_values(Serializer::Json, &[word.into()], &Dict::new()),
        }),
    }
}

fn joined(n: u64) -> Op {
    Op::SessionJoined {
        session: session(n),
        authid: "a".into(),
        authrole: "b".into(),
        authmethod: "c".into(),
        authprovider: "d".into(),
    }
}

#[test]
fn testaments_are_published_when_the_session_ends_detached_first_in_the_order_they_were_made() {
    let realm = TestRealm::new();
    let (alice, bob) = (realm.join(), realm.join());
    alice.subscribes("com.will");
    alice.subscribes("wamp.session.on_leave");
    adds(&realm, &bob, "com.will", "third", Dict::new());
    adds(&realm, &bob, "com.will", "first", scoped("detached"));
    adds(&realm, &bob, "com.will", "fourth", scoped("destroyed"));
    adds(&realm, &bob, "com.will", "second", scoped("detached"));
    bob.leaves();
    let effects = realm.commit();
    assert_eq!(words(&effects)[..4], ["first", "second", "third", "fourth"].map(Value::from));
    assert_eq!(topics(&realm, &effects)[4], "wamp.session.on_leave");
    assert_eq!(realm.stats().testaments, 4);
}

#[test]
fn a_flush_takes_back_one_scope() {
    let realm = TestRealm::new();
    let (alice, bob) = (realm.join(), realm.join());
    alice.subscribes("com.will");
    adds(&realm, &bob, "com.will", "a", Dict::new());
    adds(&realm, &bob, "com.will", "b", scoped("detached"));
    flushes(&realm, &bob, Dict::new());
    adds(&realm, &bob, "com.will", "c", Dict::new());
    flushes(&realm, &bob, scoped("detached"));
    bob.leaves();
    assert_eq!(words(&realm.commit()), [Value::from("c")]);
}

#[test]
fn the_testaments_of_a_fenced_node_are_published_once_under_the_same_id_everywhere() {
    let publications = [1, 2].map(|seed| {
        let realm = TestRealm::with(|config| config.seed = seed);
        let alice = realm.join();
        alice.subscribes("com.will");
        assert_eq!(realm.commit_by(NODE_2, joined(201)), []);
        assert_eq!(realm.commit_by(NODE_2, foreign(201, 1, "x")), []);
        assert_eq!(realm.commit_by(NODE_2, foreign(201, 2, "y")), []);
        let effects = realm.fence(NODE_2);
        assert_eq!(words(&effects), ["x", "y"].map(Value::from));
        assert_eq!(realm.fence(NODE_2), []);
        let ids = effects.iter().map(|effect| match effect {
            Effect::Fanout {
                message: Message::Event { publication, .. },
                ..
            } => *publication,
            other => panic!("{other:?}"),
        });
        ids.collect::<Vec<_>>()
    });
    assert_eq!(publications[0], publications[1]);
    assert_ne!(publications[0][0], publications[0][1]);
}

#[test]
fn testaments_outlive_a_snapshot_and_those_of_sessions_that_it_ends_are_published() {
    let (realm, other) = (TestRealm::new(), TestRealm::new());
    let (alice, _) = (realm.join(), other.join());
    alice.subscribes("com.will");
    for r in [&realm, &other] {
        assert_eq!(r.commit_by(NODE_2, joined(201)), []);
        assert_eq!(r.commit_by(NODE_2, foreign(201, 1, "x")), []);
    }
    let restored = |realm: &TestRealm| {
        let mut bytes = Vec::new();
        other.inside(|r| r.snapshot_registry(&mut bytes));
        realm.inside(|r| r.restore_registry(9, &bytes, &mut Vec::new()).unwrap());
        let mut again = Vec::new();
        realm.inside(|r| r.snapshot_registry(&mut again));
        assert_eq!(bytes, again);
        realm.input(Input::AppliedTo { index: 9 })
    };
    assert_eq!(restored(&realm), []);
    other.fence(NODE_2);
    assert_eq!(words(&restored(&realm)), [Value::from("x")]);
}

#[test]
fn a_testament_of_a_session_that_was_killed_is_published_and_of_one_that_ended_with_all_is_not() {
    let realm = TestRealm::new();
    let (alice, bob, carol) = (realm.join(), realm.join(), realm.join());
    alice.subscribes("com.will");
    adds(&realm, &bob, "com.will", "bob's", Dict::new());
    adds(&realm, &carol, "com.will", "carol's", Dict::new());
    meta_call(&alice, "wamp.session.kill", &[Value::from(bob.id.get())], Dict::new());
    assert_eq!(words(&realm.commit()), [Value::from("bob's")]);
    meta_call(&alice, "wamp.session.kill_all", &[], Dict::new());
    assert_eq!(realm.commit(), []);
}

#[test]
fn a_testament_is_retained_kept_and_sealed_as_its_options_say() {
    let realm = TestRealm::with(|config| {
        config.kept = vec![KeptRule {
            policy: MatchPolicy::Exact,
            uri: Uri::from("com.kept"),
            retain: None,
            empty_clears: false,
            history: Some(Copies::Shared),
        }];
    });
    realm.link(NODE_2);
    let (alice, bob) = (realm.join(), realm.join());
    realm.input(Input::LogTime { unix_ms: 5_000 });
    let options = Dict::new()
        .with("retain", true)
        .with("ppt_scheme", "x_seal")
        .with("_key", "lamp");
    for (topic, options) in [("com.will", options), ("com.kept", Dict::new()), ("com.plain", Dict::new())] {
        adds(&realm, &bob, topic, topic, Dict::new().with("publish_options", options));
    }
    bob.leaves();
    let effects = realm.commit();
    let kept: Vec<&Keep> = effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Keep(keep) => Some(&**keep),
            _ => None,
        })
        .collect();
    let [
        Keep::Retain { retained, own: true, .. },
        Keep::Append { event, own: true, .. },
    ] = kept[..]
    else {
        panic!("{effects:?}")
    };
    let will = &retained.events[0];
    let details = Dict::new().with("ppt_scheme", "x_seal").with("_key", "lamp");
    assert_eq!((&*will.topic, &will.details), ("com.will", &details));
    assert_eq!(&*event.topic, "com.kept");
    // As of when its node said that the session is over.
    assert_eq!([will.stamp.time, event.stamp.time], [5_001_000, 5_001_001]);
    let subscribe = Message::Subscribe {
        request: alice.next(),
        options: Dict::new().with("get_retained", true),
        topic: Uri::from("com.will"),
    };
    alice.says(subscribe);
    let effects = realm.input(Input::PeerDown { node: NODE_2 });
    let Some(Effect::Interest { ticket, .. }) = effects.last() else {
        panic!("{effects:?}")
    };
    let ticket = *ticket;
    let effects = realm.input(Input::InterestAcked { ticket });
    let retained = effects.iter().find_map(|effect| match effect {
        Effect::Send {
            message: Message::Event { details, payload, .. },
            ..
        } => Some((details.bool("retained"), payload.to_values().unwrap().0)),
        _ => None,
    });
    assert_eq!(retained, Some((Some(true), vec!["com.will".into()])), "{effects:?}");
}

#[test]
fn what_is_wrong_with_a_testament_is_said() {
    let realm = TestRealm::new();
    let bob = realm.join();
    let error = |procedure: &str, args: &[Value], kwargs: Dict| error_of(&meta_call(&bob, procedure, args, kwargs)).to_owned();
    let options = |options: Dict| Dict::new().with("publish_options", options);
    for (args, kwargs) in [
        (&will("com.will", "x")[..1], Dict::new()),
        (&will("com.will", "x")[..2], Dict::new()),
        (&["com.will".into(), 1_u64.into(), Dict::new().into()], Dict::new()),
        (&["com.will".into(), vec![].into(), 1_u64.into()], Dict::new()),
        (&will("com.will", "x"), scoped("lost")),
        (&will("com.will", "x"), options(Dict::new().with("exclude_me", 1_u64))),
        (&will("com.will", "x"), options(Dict::new().with("eligible", "everybody"))),
        (&will("com.will", "x"), Dict::new().with("publish_options", true)),
    ] {
        assert_eq!(error(ADD, args, kwargs), "wamp.error.invalid_argument");
    }
    assert_eq!(error(ADD, &will("com..will", "x"), Dict::new()), "wamp.error.invalid_uri");
    assert_eq!(error(ADD, &will("wamp.will", "x"), Dict::new()), "wamp.error.invalid_uri");
    assert_eq!(error(FLUSH, &[], scoped("lost")), "wamp.error.invalid_argument");
    assert_eq!(error(FLUSH, &["detached".into()], Dict::new()), "wamp.error.invalid_argument");
}

#[test]
fn testaments_are_bounded_those_under_way_included() {
    let realm = TestRealm::with(|config| config.limits.testaments_max = 2);
    let bob = realm.join();
    adds(&realm, &bob, "com.will", "a", Dict::new());
    meta_call(&bob, ADD, &will("com.will", "b"), Dict::new());
    let effects = meta_call(&bob, ADD, &will("com.will", "c"), Dict::new());
    assert_eq!(error_of(&effects), "wamp.error.unavailable");
    realm.commit();
    flushes(&realm, &bob, Dict::new());
    adds(&realm, &bob, "com.will", "c", Dict::new());
}

#[test]
fn a_testament_that_the_log_does_not_take_in_time_has_an_unknown_outcome() {
    let realm = TestRealm::new();
    let bob = realm.join();
    realm.link(NODE_2);
    meta_call(&bob, ADD, &will("com.will", "a"), Dict::new());
    assert_eq!(realm.pass(secs(9)), []);
    assert_eq!(error_of(&realm.pass(secs(1))), "wamp.error.unavailable");
    realm.commit();
    assert_eq!(realm.inside(|r| r.registry().testaments(bob.id).len()), 1);
}

#[test]
fn an_op_of_another_node_touches_no_testament() {
    let realm = TestRealm::new();
    let bob = realm.join();
    assert_eq!(realm.commit_by(NODE_2, foreign(bob.id.get(), 1, "x")), []);
    assert_eq!(realm.inside(|r| r.registry().testaments(bob.id).len()), 0);
}
