//! The registration meta API: its procedures and events.

use crate::{
    router::{
        Effect, Input, Op, PeerFrame,
        testing::{NODE_2, TestRealm, TestSession, error_of, meta_call, register_op, result_of, session, topics, values},
    },
    wamp::{Dict, RegistrationId, Value},
};

fn id(registration: RegistrationId) -> Value {
    Value::from(registration.get())
}

fn ask(alice: &TestSession, procedure: &str, args: &[Value]) -> Vec<Value> {
    result_of(&meta_call(alice, procedure, args, Dict::new()), alice)
}

#[test]
fn registrations_are_listed_looked_up_matched_and_described() {
    let realm = TestRealm::new();
    let (alice, bob) = (realm.join(), realm.join());
    assert_eq!(
        realm.input(Input::LogTime {
            unix_ms: 1_709_164_800_001
        }),
        []
    );
    let add = bob.registers("com.add");
    let sub = bob.registers("com.sub");
    let lists = Dict::new()
        .with("exact", vec![id(add), id(sub)])
        .with("prefix", vec![])
        .with("wildcard", vec![]);
    assert_eq!(ask(&alice, "wamp.registration.list", &[]), [Value::Dict(lists)]);
    let exact = Value::Dict(Dict::new().with("match", "exact"));
    let prefix = Value::Dict(Dict::new().with("match", "prefix"));
    assert_eq!(ask(&alice, "wamp.registration.lookup", &["com.add".into()]), [id(add)]);
    assert_eq!(ask(&alice, "wamp.registration.lookup", &["com.add".into(), exact]), [id(add)]);
    assert_eq!(
        ask(&alice, "wamp.registration.lookup", &["com.add".into(), prefix]),
        [Value::Null]
    );
    assert_eq!(ask(&alice, "wamp.registration.match", &["com.sub".into()]), [id(sub)]);
    assert_eq!(ask(&alice, "wamp.registration.match", &["com.mul".into()]), [Value::Null]);
    let details = Dict::new()
        .with("id", add.get())
        .with("created", "2024-02-29T00:00:00.001Z")
        .with("uri", "com.add")
        .with("match", "exact")
        .with("invoke", "single");
    assert_eq!(ask(&alice, "wamp.registration.get", &[id(add)]), [Value::Dict(details)]);
    assert_eq!(
        ask(&alice, "wamp.registration.list_callees", &[id(add)]),
        [Value::from(vec![Value::from(bob.id.get())])]
    );
    assert_eq!(
        ask(&alice, "wamp.registration.count_callees", &[id(add)]),
        [Value::from(1_u64)]
    );
}

#[test]
fn what_is_wrong_with_a_question_about_registrations_is_said() {
    let realm = TestRealm::new();
    let alice = realm.join();
    let error = |procedure: &str, args: &[Value]| error_of(&meta_call(&alice, procedure, args, Dict::new())).to_owned();
    for procedure in ["get", "list_callees", "count_callees"] {
        let procedure = format!("wamp.registration.{procedure}");
        assert_eq!(error(&procedure, &[Value::from(9_u64)]), "wamp.error.no_such_registration");
        assert_eq!(error(&procedure, &["9".into()]), "wamp.error.invalid_argument");
    }
    let options = |policy: &str| Value::Dict(Dict::new().with("match", policy));
    assert_eq!(
        error("wamp.registration.lookup", &["com.a".into(), options("fuzzy")]),
        "wamp.error.invalid_argument"
    );
    assert_eq!(
        error("wamp.registration.lookup", &["com..a".into()]),
        "wamp.error.invalid_uri"
    );
    assert_eq!(error("wamp.registration.match", &["com.".into()]), "wamp.error.invalid_uri");
    assert_eq!(error("wamp.registration.list", &["9".into()]), "wamp.error.invalid_argument");
}

#[test]
fn a_list_is_narrowed_to_one_session() {
    let realm = TestRealm::new();
    let (alice, bob) = (realm.join(), realm.join());
    let (add, _) = (bob.registers("com.add"), alice.registers("com.sub"));
    let its = |registrations: &[RegistrationId]| {
        let exact: Vec<Value> = registrations.iter().copied().map(id).collect();
        let lists = Dict::new()
            .with("exact", exact)
            .with("prefix", vec![])
            .with("wildcard", vec![]);
        [Value::Dict(lists)]
    };
    let bobs = Value::from(bob.id.get());
    assert_eq!(
        ask(&alice, "wamp.registration.list", std::slice::from_ref(&bobs)),
        its(&[add])
    );
    let keyword = meta_call(&alice, "wamp.registration.list", &[], Dict::new().with("session_id", bobs));
    assert_eq!(result_of(&keyword, &alice), its(&[add]));
    assert_eq!(ask(&alice, "wamp.registration.list", &[99_u64.into()]), its(&[]));
}

#[test]
fn registrations_are_told_in_the_order_of_their_life() {
    let realm = TestRealm::new();
    let alice = realm.join();
    for topic in ["on_delete", "on_unregister", "on_register", "on_create"] {
        alice.subscribes(&format!("wamp.registration.{topic}"));
    }
    let told = |effects: &[Effect]| topics(&realm, effects);
    let effects = realm.commit_by(NODE_2, register_op(201, "com.add"));
    assert_eq!(
        told(&effects),
        ["wamp.registration.on_create", "wamp.registration.on_register"]
    );
    let [created, registered] = &values(&effects)[..] else {
        panic!()
    };
    assert_eq!(created[0], Value::from(201_u64));
    assert_eq!(created[1].as_dict().unwrap().text("uri"), Some("com.add"));
    assert_eq!(registered[..], [Value::from(201_u64), Value::from(1_u64)]);
    // Refused: nothing came to be.
    assert_eq!(realm.commit_by(NODE_2, register_op(202, "com.add")), []);
    let effects = realm.commit_by(NODE_2, Op::SessionGone { session: session(201) });
    assert_eq!(
        told(&effects),
        ["wamp.registration.on_unregister", "wamp.registration.on_delete"]
    );
    assert_eq!(
        values(&effects),
        [[Value::from(201_u64), Value::from(1_u64)], [201_u64.into(), 1_u64.into()]]
    );
    assert_eq!(realm.commit_by(NODE_2, register_op(203, "com.add")).len(), 2);
    assert_eq!(
        told(&realm.fence(NODE_2)),
        ["wamp.registration.on_unregister", "wamp.registration.on_delete"]
    );
}

#[test]
fn a_callee_is_removed_by_the_log_and_the_answer_waits_for_it() {
    let realm = TestRealm::new();
    let (alice, bob) = (realm.join(), realm.join());
    let add = bob.registers("com.add");
    let args = [id(add), Value::from(bob.id.get()), "com.tired".into()];
    let effects = meta_call(&alice, "wamp.registration.remove_callee", &args, Dict::new());
    assert!(
        matches!(effects[..], [Effect::Propose { op: Op::Revoke { .. } }]),
        "{effects:?}"
    );
    assert_eq!(result_of(&realm.commit(), &alice), []);
    assert_eq!(realm.inside(|realm| realm.registry().registrations().len()), 0);
    let error = |args: &[Value]| {
        let effects = meta_call(&alice, "wamp.registration.remove_callee", args, Dict::new());
        error_of(&effects).to_owned()
    };
    assert_eq!(error(&args), "wamp.error.no_such_registration");
    let sub = bob.registers("com.sub");
    assert_eq!(error(&[id(sub), Value::from(alice.id.get())]), "wamp.error.no_such_session");
    assert_eq!(error(&[id(sub)]), "wamp.error.invalid_argument");
    let words = [id(sub), Value::from(bob.id.get()), "no URI".into()];
    assert_eq!(error(&words), "wamp.error.invalid_uri", "the callee may end on it");
}

#[test]
fn a_callee_that_the_log_has_not_brought_here_yet_is_waited_for() {
    let realm = TestRealm::new();
    let alice = realm.join();
    realm.commit();
    realm.link(NODE_2);
    let args = [Value::from(1_u64), Value::from(201_u64)];
    let asks = || {
        let effects = meta_call(&alice, "wamp.registration.remove_callee", &args, Dict::new());
        let [
            Effect::Forward {
                frame: PeerFrame::MetaAsk { ask, .. },
                ..
            },
        ] = effects[..]
        else {
            panic!("{effects:?}")
        };
        ask
    };
    let answers = |ask, index| {
        let answer = Dict::new();
        realm.hears(NODE_2, PeerFrame::MetaAnswer { ask, index, answer })
    };
    let applied = realm.inside(|realm| realm.applied());
    let ask = asks();
    assert_eq!(answers(ask, applied + 1), [], "the other node is further");
    let effects = realm.commit_by(NODE_2, register_op(201, "com.add"));
    assert!(
        matches!(effects[..], [Effect::Propose { op: Op::Revoke { .. } }]),
        "{effects:?}"
    );
    assert_eq!(result_of(&realm.commit(), &alice), []);
    let applied = realm.inside(|realm| realm.applied());
    let effects = answers(asks(), applied);
    assert_eq!(error_of(&effects), "wamp.error.no_such_registration");
}
