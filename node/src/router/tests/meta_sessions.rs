//! The session meta API: its procedures on one node and across links, and its events.

use crate::{
    router::{
        Effect, Input, NodeRef, Op, PeerFrame,
        testing::{ME, NODE_2, NODE_3, TestRealm, TestSession, error_of, meta_call, result_of, secs, session, values},
    },
    wamp::{Dict, Message, Uri, Value},
};

fn joined(n: u64, authrole: &str) -> Op {
    Op::SessionJoined {
        session: session(n),
        authid: format!("user{n}"),
        authrole: authrole.into(),
        authmethod: "ticket".into(),
        authprovider: "static".into(),
    }
}

fn ints(list: &[u64]) -> Value {
    list.iter().map(|n| Value::from(*n)).collect::<Vec<_>>().into()
}

fn texts(list: &[&str]) -> Value {
    list.iter().map(|text| Value::from(*text)).collect::<Vec<_>>().into()
}

/// The questions among effects, as (node, number, question).
fn asked(effects: &[Effect]) -> Vec<(NodeRef, u64, Dict)> {
    let frames = effects.iter().filter_map(|effect| match effect {
        Effect::Forward {
            to,
            frame: PeerFrame::MetaAsk { ask, question },
            ..
        } => Some((*to, *ask, question.clone())),
        _ => None,
    });
    frames.collect()
}

fn answer(ask: u64, index: u64, answer: Dict) -> PeerFrame {
    PeerFrame::MetaAnswer { ask, index, answer }
}

/// The ids in a killing node's answer.
fn killed(ids: &[u64]) -> Dict {
    Dict::new().with("killed", ints(ids))
}

/// The GOODBYE that a killed session gets, as reason and message.
fn goodbye(effects: &[Effect], who: &TestSession) -> Option<(String, Option<String>)> {
    effects.iter().find_map(|effect| match effect {
        Effect::Kill {
            session,
            goodbye: Message::Goodbye { details, reason },
        } if *session == who.id => Some((reason.to_string(), details.text("message").map(str::to_owned))),
        _ => None,
    })
}

#[test]
fn sessions_are_counted_and_listed_in_all_and_by_role() {
    let realm = TestRealm::new();
    let alice = realm.join();
    let bob = realm.join();
    assert_eq!(realm.commit_by(NODE_2, joined(201, "admin")), []);
    // Node 2 has a session and no link: whether that is all of it nobody knows.
    realm.link(NODE_2);
    let ask = |procedure: &str, args: &[Value]| {
        let effects = meta_call(&alice, procedure, args, Dict::new());
        let ask = asked(&effects)[0].1;
        result_of(&realm.hears(NODE_2, answer(ask, 3, Dict::new())), &alice)
    };
    assert_eq!(ask("wamp.session.count", &[]), [Value::from(3_u64)]);
    assert_eq!(ask("wamp.session.count", &[texts(&["admin", "x"])]), [Value::from(1_u64)]);
    assert_eq!(ask("wamp.session.count", &[texts(&[])]), [Value::from(0_u64)]);
    assert_eq!(
        ask("wamp.session.list", &[Value::Null]),
        [ints(&[alice.id.get(), bob.id.get(), 201])]
    );
    assert_eq!(
        ask("wamp.session.list", &[texts(&["tester"])]),
        [ints(&[alice.id.get(), bob.id.get()])]
    );
    let details = Dict::new()
        .with("session", 201_u64)
        .with("authid", "user201")
        .with("authrole", "admin")
        .with("authmethod", "ticket")
        .with("authprovider", "static");
    assert_eq!(ask("wamp.session.get", &[Value::from(201_u64)]), [Value::Dict(details)]);
}

#[test]
fn what_is_no_session_is_no_such_session_and_what_is_no_id_an_invalid_argument() {
    let realm = TestRealm::new();
    let alice = realm.join();
    let error = |procedure: &str, args: &[Value], kwargs: Dict| {
        let effects = meta_call(&alice, procedure, args, kwargs);
        error_of(&effects).to_owned()
    };
    let none = Dict::new;
    assert_eq!(
        error("wamp.session.get", &[Value::from(9_u64)], none()),
        "wamp.error.no_such_session"
    );
    for (procedure, args, kwargs) in [
        ("wamp.session.get", vec![], none()),
        ("wamp.session.get", vec![Value::from("9")], none()),
        ("wamp.session.get", vec![Value::from(0_u64)], none()),
        ("wamp.session.get", vec![Value::from(9_u64), Value::from(1_u64)], none()),
        ("wamp.session.get", vec![Value::from(9_u64)], none().with("depth", 1_u64)),
        ("wamp.session.count", vec![Value::from("admin")], none()),
        ("wamp.session.count", vec![vec![Value::from(1_u64)].into()], none()),
        ("wamp.session.kill", vec![], none()),
        ("wamp.session.kill_by_authid", vec![Value::from(1_u64)], none()),
        ("wamp.session.kill_all", vec![Value::from("x")], none()),
        ("wamp.session.kill_all", vec![], none().with("message", 1_u64)),
    ] {
        assert_eq!(
            error(procedure, &args, kwargs),
            "wamp.error.invalid_argument",
            "{procedure} {args:?}"
        );
    }
    for reason in [Value::from(""), Value::from("a..b"), Value::from("a b"), Value::from(1_u64)] {
        for procedure in [
            "wamp.session.kill",
            "wamp.session.kill_by_authid",
            "wamp.session.kill_by_authrole",
        ] {
            let who = if procedure == "wamp.session.kill" {
                Value::from(9_u64)
            } else {
                Value::from("x")
            };
            let kwargs = none().with("reason", reason.clone());
            assert_eq!(error(procedure, &[who], kwargs), "wamp.error.invalid_uri");
        }
    }
}

#[test]
fn a_count_waits_until_the_callers_own_join_is_in_the_log() {
    let realm = TestRealm::new();
    let alice = realm.join_uncommitted();
    assert_eq!(meta_call(&alice, "wamp.session.count", &[], Dict::new()), []);
    let effects = realm.commit();
    assert_eq!(result_of(&effects, &alice), [Value::from(1_u64)]);
    assert_eq!(realm.next_deadline_in(), None);
}

#[test]
fn a_count_waits_for_every_node_and_for_the_index_it_says() {
    let realm = TestRealm::new();
    let alice = realm.join();
    realm.link(NODE_2);
    realm.link(NODE_3);
    let effects = meta_call(&alice, "wamp.session.count", &[], Dict::new());
    let [(NODE_2, ask, question), (NODE_3, same, _)] = &asked(&effects)[..] else {
        panic!("{effects:?}");
    };
    assert_eq!((ask, question), (same, &Dict::new().with("what", "flush")));
    assert_eq!(realm.hears(NODE_2, answer(*ask, 2, Dict::new())), []);
    assert_eq!(realm.hears(NODE_3, answer(*ask, 1, Dict::new())), []);
    // Node 2 was at index 2, and this node is at 1.
    assert_eq!(realm.index(), 1);
    let effects = realm.commit_by(NODE_2, joined(201, "admin"));
    assert_eq!(result_of(&effects, &alice), [Value::from(2_u64)]);
    assert_eq!(realm.hears(NODE_3, answer(*ask, 1, Dict::new())), []);
    assert_eq!(realm.stats().dropped_late_frames, 1);
}

#[test]
fn a_node_that_does_not_answer_or_has_no_link_is_named() {
    let realm = TestRealm::new();
    let alice = realm.join();
    realm.link(NODE_2);
    assert_eq!(realm.commit_by(NODE_3, joined(301, "admin")), []);
    meta_call(&alice, "wamp.session.count", &[], Dict::new());
    assert_eq!(realm.pass(std::time::Duration::from_millis(249)), []);
    let effects = realm.pass(std::time::Duration::from_millis(1));
    let [
        Effect::Send {
            message: Message::Result { details, .. },
            ..
        },
    ] = &effects[..]
    else {
        panic!("{effects:?}");
    };
    assert_eq!(*details, Dict::new().with("_missing", texts(&["2.1", "3.7"])));
    assert_eq!(result_of(&effects, &alice), [Value::from(2_u64)]);
    // A link that ends ends the waiting at once.
    meta_call(&alice, "wamp.session.count", &[], Dict::new());
    let effects = realm.input(Input::PeerDown { node: NODE_2 });
    assert_eq!(result_of(&effects, &alice), [Value::from(2_u64)]);
}

#[test]
fn a_node_that_is_asked_answers_when_its_own_sessions_are_in_the_log() {
    let realm = TestRealm::new();
    realm.link(NODE_2);
    let ask = |ask| PeerFrame::MetaAsk {
        ask,
        question: Dict::new().with("what", "flush"),
    };
    let told = |effects: &[Effect]| match effects {
        [Effect::Forward { to: NODE_2, frame, .. }] => frame.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(told(&realm.hears(NODE_2, ask(1))), answer(1, 0, Dict::new()));
    let alice = realm.join_uncommitted();
    assert_eq!(realm.hears(NODE_2, ask(2)), []);
    assert_eq!(told(&realm.commit()), answer(2, 1, Dict::new()));
    alice.leaves();
    assert_eq!(realm.hears(NODE_2, ask(3)), []);
    assert_eq!(told(&realm.commit()), answer(3, 2, Dict::new()));
    let unknown = PeerFrame::MetaAsk {
        ask: 4,
        question: Dict::new().with("what", "weather"),
    };
    assert_eq!(realm.hears(NODE_2, unknown), []);
    assert_eq!(realm.stats().dropped_meta_asks, 1);
}

#[test]
fn a_killed_session_is_gone_at_once_and_hears_reason_and_message() {
    let realm = TestRealm::new();
    let (alice, bob) = (realm.join(), realm.join());
    bob.registers("com.add");
    let kwargs = Dict::new().with("reason", "com.fired").with("message", "clear your desk");
    let effects = meta_call(&alice, "wamp.session.kill", &[Value::from(bob.id.get())], kwargs);
    assert_eq!(
        goodbye(&effects, &bob),
        Some(("com.fired".into(), Some("clear your desk".into())))
    );
    assert!(effects.contains(&bob.gone()));
    assert_eq!(result_of(&effects, &alice), []);
    assert_eq!(realm.inside(|realm| realm.session_ids()), [alice.id]);
    let again = meta_call(&alice, "wamp.session.kill", &[Value::from(bob.id.get())], Dict::new());
    assert_eq!(error_of(&again), "wamp.error.no_such_session");
}

#[test]
fn nobody_kills_oneself() {
    let realm = TestRealm::new();
    let alice = realm.join();
    let effects = meta_call(&alice, "wamp.session.kill", &[Value::from(alice.id.get())], Dict::new());
    assert_eq!(error_of(&effects), "wamp.error.no_such_session");
    let effects = meta_call(&alice, "wamp.session.kill_all", &[], Dict::new());
    assert_eq!(result_of(&effects, &alice), [Value::from(0_u64)]);
    let effects = meta_call(&alice, "wamp.session.kill_by_authrole", &[Value::from("tester")], Dict::new());
    assert_eq!(result_of(&effects, &alice), [Value::from(0_u64)]);
}

#[test]
fn sessions_are_killed_by_name_and_by_role_with_the_default_reason() {
    let realm = TestRealm::new();
    let (alice, bob, carol) = (realm.join(), realm.join(), realm.join());
    let name = Value::Text(format!("user{}", bob.id));
    let effects = meta_call(&alice, "wamp.session.kill_by_authid", &[name], Dict::new());
    assert_eq!(goodbye(&effects, &bob), Some(("wamp.close.killed".into(), None)));
    assert_eq!(result_of(&effects, &alice), [ints(&[bob.id.get()])]);
    let effects = meta_call(&alice, "wamp.session.kill_by_authrole", &[Value::from("tester")], Dict::new());
    assert_eq!(goodbye(&effects, &carol), Some(("wamp.close.killed".into(), None)));
    assert_eq!(result_of(&effects, &alice), [Value::from(1_u64)]);
}

#[test]
fn a_kill_reaches_the_sessions_of_other_nodes() {
    let (here, there) = (TestRealm::new(), TestRealm::new());
    here.link(NODE_2);
    there.link(NODE_2);
    let alice = here.join();
    let _ = there.join();
    let (bob, carol) = (there.join(), there.join());
    let effects = meta_call(&alice, "wamp.session.kill_by_authrole", &[Value::from("tester")], Dict::new());
    let [(_, ask, question)] = asked(&effects).try_into().unwrap();
    let effects = there.hears(NODE_2, PeerFrame::MetaAsk { ask, question });
    // The caller's own id is spared there too: ids are unique in the cluster.
    assert!(goodbye(&effects, &bob).is_some() && goodbye(&effects, &carol).is_some());
    let Some(Effect::Forward { frame, .. }) = effects.last() else {
        panic!("{effects:?}");
    };
    assert_eq!(*frame, answer(ask, 0, killed(&[bob.id.get(), carol.id.get()])));
    let effects = here.hears(NODE_2, frame.clone());
    assert_eq!(result_of(&effects, &alice), [Value::from(2_u64)]);
}

#[test]
fn a_kill_of_one_session_whose_node_is_silent_has_an_unknown_outcome() {
    let realm = TestRealm::new();
    let alice = realm.join();
    realm.link(NODE_2);
    meta_call(&alice, "wamp.session.kill", &[Value::from(201_u64)], Dict::new());
    assert_eq!(error_of(&realm.pass(secs(1))), "wamp.error.unavailable");
}

#[test]
fn a_caller_that_leaves_takes_its_meta_call_along() {
    let realm = TestRealm::new();
    let alice = realm.join();
    realm.link(NODE_2);
    let ask = asked(&meta_call(&alice, "wamp.session.count", &[], Dict::new()))[0].1;
    assert_eq!(alice.leaves(), [alice.gone()]);
    assert_eq!(realm.hears(NODE_2, answer(ask, 0, Dict::new())), []);
    assert_eq!(realm.next_deadline_in(), None);
}

#[test]
fn meta_calls_are_bounded_in_number_and_size() {
    let realm = TestRealm::with(|config| {
        config.limits.meta_calls_max = 1;
        config.limits.meta_call_bytes_max = 40;
    });
    let alice = realm.join();
    realm.link(NODE_2);
    let long = Value::from("x".repeat(50));
    let effects = meta_call(&alice, "wamp.session.kill_by_authid", &[long], Dict::new());
    assert_eq!(error_of(&effects), "wamp.error.invalid_argument");
    meta_call(&alice, "wamp.session.count", &[], Dict::new());
    let effects = meta_call(&alice, "wamp.session.count", &[], Dict::new());
    assert_eq!(error_of(&effects), "wamp.error.unavailable");
}

#[test]
fn joins_and_leaves_are_told_once_on_every_node_also_for_those_of_a_fenced_node() {
    let realm = TestRealm::new();
    let alice = realm.join();
    alice.subscribes("wamp.session.on_join");
    alice.subscribes("wamp.session.on_leave");
    let details = |n: u64| {
        Value::Dict(
            Dict::new()
                .with("session", n)
                .with("authid", format!("user{n}"))
                .with("authrole", "admin")
                .with("authmethod", "ticket")
                .with("authprovider", "static"),
        )
    };
    let left = |n: u64| vec![Value::from(n), Value::from(format!("user{n}")), Value::from("admin")];
    assert_eq!(values(&realm.commit_by(NODE_2, joined(201, "admin"))), [vec![details(201)]]);
    assert_eq!(values(&realm.commit_by(NODE_2, joined(202, "admin"))), [vec![details(202)]]);
    let gone = |n| Op::SessionGone { session: session(n) };
    assert_eq!(values(&realm.commit_by(NODE_2, gone(201))), [left(201)]);
    assert_eq!(values(&realm.commit_by(NODE_2, gone(201))), Vec::<Vec<Value>>::new());
    assert_eq!(values(&realm.fence(NODE_2)), [left(202)]);
    assert_eq!(values(&realm.fence(NODE_2)), Vec::<Vec<Value>>::new());
    assert_eq!(values(&realm.commit_by(NODE_2, gone(202))), Vec::<Vec<Value>>::new());
}

#[test]
fn a_meta_event_has_the_same_publication_on_every_node() {
    let publications = [ME, NODE_3].map(|node| {
        let realm = TestRealm::with(|config| config.seed = u64::from(node.slot.0));
        let alice = realm.join();
        alice.subscribes("wamp.session.on_join");
        match &realm.commit_by(NODE_2, joined(201, "admin"))[..] {
            [
                Effect::Fanout {
                    message: Message::Event { publication, .. },
                    ..
                },
            ] => *publication,
            other => panic!("{other:?}"),
        }
    });
    assert_eq!(publications[0], publications[1]);
}

#[test]
fn closing_all_sessions_is_told_to_nobody_and_other_kills_are() {
    let realm = TestRealm::new();
    let (alice, bob) = (realm.join(), realm.join());
    alice.subscribes("wamp.session.on_leave");
    meta_call(&alice, "wamp.session.kill", &[Value::from(bob.id.get())], Dict::new());
    assert_eq!(values(&realm.commit()).len(), 1);
    let _carol = realm.join();
    let effects = meta_call(&alice, "wamp.session.kill_all", &[], Dict::new());
    assert_eq!(result_of(&effects, &alice), [Value::from(1_u64)]);
    assert_eq!(realm.commit(), []);
    assert_eq!(realm.inside(|realm| realm.registry().sessions().len()), 1);
}

#[test]
fn what_a_snapshot_has_changed_is_told() {
    let (realm, other) = (TestRealm::new(), TestRealm::new());
    let (alice, _) = (realm.join(), other.join());
    assert_eq!(realm.commit_by(NODE_2, joined(201, "admin")), []);
    assert_eq!(other.commit_by(NODE_2, joined(202, "admin")), []);
    alice.subscribes("wamp.session.on_join");
    alice.subscribes("wamp.session.on_leave");
    let mut bytes = Vec::new();
    other.inside(|realm| realm.snapshot_registry(&mut bytes));
    let mut effects = Vec::new();
    realm.inside(|realm| realm.restore_registry(9, &bytes, &mut effects).unwrap());
    assert_eq!(effects, []);
    let told = values(&realm.input(Input::AppliedTo { index: 9 }));
    let sessions: Vec<_> = told.iter().map(|args| args.len()).collect();
    assert_eq!(sessions, [3, 1]);
    assert_eq!(realm.input(Input::AppliedTo { index: 9 }), []);
}

#[test]
fn a_join_swallowed_by_a_snapshot_keeps_nobody_waiting() {
    let (realm, other) = (TestRealm::new(), TestRealm::new());
    let (alice, _) = (realm.join_uncommitted(), other.join());
    let gone = realm.join_uncommitted();
    gone.leaves();
    realm.lose_proposals();
    assert_eq!(meta_call(&alice, "wamp.session.count", &[], Dict::new()), []);
    let mut bytes = Vec::new();
    other.inside(|realm| realm.snapshot_registry(&mut bytes));
    realm.inside(|realm| realm.restore_registry(9, &bytes, &mut Vec::new()).unwrap());
    let effects = realm.input(Input::AppliedTo { index: 9 });
    assert_eq!(result_of(&effects, &alice), [Value::from(1_u64)]);
}

#[test]
fn what_the_router_does_not_have_misses_like_any_other_procedure() {
    let realm = TestRealm::new();
    let alice = realm.join();
    let effects = meta_call(&alice, "wamp.session.dance", &[], Dict::new());
    assert_eq!(effects, [Effect::Barrier]);
    let (_, effects) = alice.calls(&Uri::from("wamp.session.count"));
    // The question of `calls` is an argument that the procedure does not take as it stands.
    assert_eq!(error_of(&effects), "wamp.error.invalid_argument");
}

#[test]
fn who_was_killed_and_by_whom_is_noted_where_somebody_keeps_it() {
    use crate::router::policy::NotedWhat;
    let realm = TestRealm::with(|config| config.noted = true);
    let (alice, bob) = (realm.join(), realm.join());
    let effects = meta_call(&alice, "wamp.session.kill", &[bob.id.get().into()], Dict::new());
    let noted = effects.iter().find_map(|effect| match effect {
        Effect::Note(noted) => Some((noted.session, noted.authid.clone(), noted.what.clone())),
        _ => None,
    });
    let killed = NotedWhat::Killed {
        by: alice.id,
        authid: format!("user{}", alice.id),
    };
    assert_eq!(noted, Some((bob.id, format!("user{}", bob.id), killed)));
}
