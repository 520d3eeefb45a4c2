//! Reflection: defining, asking, the events, and what payloads are held to, as sessions of one node see it.

use crate::{
    router::{
        Effect, MatchPolicy, Op, PeerFrame, Permission, Policy, RealmConfig, Role,
        policy::testing::allow,
        reflection::{Definition, Kind, Room},
        testing::{
            NODE_2, TestRealm, TestSession, error_of, invoke, meta_call, payload, request, result_of, secs, topics, values,
        },
    },
    wamp::{Dict, Message, Payload, Serializer, Uri, Value, message::code},
};

const DEFINE: &str = "wamp.reflect.define";
const ROOM: Room = Room {
    count_max: 100,
    bytes_max: 100_000,
};

fn open(config: &mut RealmConfig) {
    config.allow_define = true;
}

/// `{args: schema}` where the schema says that there is one integer.
fn one_integer() -> Dict {
    let item = Dict::new().with("type", "integer");
    let schema = Dict::new()
        .with("items", item)
        .with("minItems", 1_u64)
        .with("maxItems", 1_u64);
    Dict::new().with("args", schema)
}

fn one_text() -> Dict {
    let item = Dict::new().with("type", "string").with("maxLength", 6_u64);
    Dict::new().with("args", Dict::new().with("items", item))
}

fn about(kind: &str) -> Dict {
    Dict::new().with("type", kind)
}

fn defines(realm: &TestRealm, who: &TestSession, uri: &str, definition: Dict) -> Value {
    let effects = meta_call(who, DEFINE, &[uri.into(), definition.into()], Dict::new());
    assert!(matches!(effects[..], [Effect::Propose { .. }]), "{effects:?}");
    result_of(&realm.commit(), who)[0].clone()
}

fn asks(who: &TestSession, procedure: &str, args: &[Value]) -> Value {
    result_of(&meta_call(who, procedure, args, Dict::new()), who)[0].clone()
}

fn fails(who: &TestSession, procedure: &str, args: &[Value]) -> String {
    error_of(&meta_call(who, procedure, args, Dict::new())).to_owned()
}

fn numbers(number: u64) -> Payload {
    Payload::from_values(Serializer::MsgPack, &[number.into()], &Dict::new())
}

/// The details of the one ERROR `wamp.error.invalid_argument` among effects: path and rule.
fn violation(effects: &[Effect]) -> (String, String) {
    let details = effects.iter().find_map(|effect| match effect {
        Effect::Send {
            message: Message::Error { error, details, .. },
            ..
        } if error.as_str() == "wamp.error.invalid_argument" => Some(details.clone()),
        _ => None,
    });
    let details = details.unwrap_or_else(|| panic!("no violation among {effects:?}"));
    let text = |key| details.text(key).unwrap_or_default().to_owned();
    assert!(!text("message").is_empty());
    (text("path"), text("rule"))
}

fn pair(path: &str, rule: &str) -> (String, String) {
    (path.to_owned(), rule.to_owned())
}

#[test]
fn what_was_defined_is_listed_described_and_taken_back() {
    let realm = TestRealm::with(open);
    let (alice, bob) = (realm.join(), realm.join());
    let add = about("procedure").with("description", "adds");
    assert_eq!(defines(&realm, &alice, "com.add", add.clone()), Value::Bool(true));
    assert_eq!(defines(&realm, &bob, "com.add", add.clone()), Value::Null);
    let add = add.with("description", "adds two");
    assert_eq!(defines(&realm, &bob, "com.add", add.clone()), Value::Bool(false));
    let lamp = about("topic").with("match", "prefix");
    defines(&realm, &bob, "com.lamp.", lamp.clone());
    defines(&realm, &bob, "com.add", about("error"));

    let told = |of: &Dict, uri: &str| {
        let mut keys = with_match(of);
        keys.set("uri", uri);
        let mut list = keys.0;
        list.sort_by(|one, other| one.0.cmp(&other.0));
        list
    };
    let sorted = |value: &Value| {
        let mut list = value.as_dict().unwrap_or_else(|| panic!("{value:?}")).0.clone();
        list.sort_by(|one, other| one.0.cmp(&other.0));
        list
    };
    let described = asks(&alice, "wamp.reflection.procedure.describe", &["com.add".into()]);
    assert_eq!(sorted(&described), told(&add, "com.add"));
    let described = asks(&alice, "wamp.reflection.topic.describe", &["com.lamp.one".into()]);
    assert_eq!(sorted(&described), told(&lamp, "com.lamp."), "what counts for a URI");
    let exact = Value::Dict(Dict::new().with("match", "exact"));
    assert_eq!(
        asks(&alice, "wamp.reflection.topic.describe", &["com.lamp.".into(), exact.clone()]),
        Value::Null
    );
    assert_eq!(asks(&alice, "wamp.reflection.error.describe", &["com.x".into()]), Value::Null);
    let lists = |exact: Vec<Value>, prefix: Vec<Value>| {
        let lists = Dict::new().with("exact", exact).with("prefix", prefix);
        Value::Dict(lists.with("wildcard", vec![]))
    };
    assert_eq!(
        asks(&alice, "wamp.reflection.topic.list", &[]),
        lists(vec![], vec!["com.lamp.".into()])
    );
    assert_eq!(
        asks(&alice, "wamp.reflection.error.list", &[]),
        lists(vec!["com.add".into()], vec![])
    );
    let all = |args: &[Value]| asks(&alice, "wamp.reflect.describe", args).as_list().unwrap().len();
    assert_eq!((all(&[]), all(&["com.add".into()]), all(&["com.x".into()])), (3, 2, 0));
    assert_eq!(all(&[Value::Null, exact]), 2);

    meta_call(
        &alice,
        "wamp.reflect.undefine",
        &["com.add".into(), about("error").into()],
        Dict::new(),
    );
    assert_eq!(result_of(&realm.commit(), &alice), ["com.add".into()]);
    // Crossbar's way to say it.
    meta_call(&alice, DEFINE, &["com.add".into(), Value::Null], Dict::new());
    assert_eq!(result_of(&realm.commit(), &alice), ["com.add".into()]);
    meta_call(&alice, DEFINE, &["com.add".into(), Value::Null], Dict::new());
    assert_eq!(result_of(&realm.commit(), &alice), [Value::Null]);
    assert_eq!(all(&[]), 1);
}

/// The same with the match policy that holds where none is given.
fn with_match(dict: &Dict) -> Dict {
    let mut dict = dict.clone();
    if dict.get("match").is_none() {
        dict.set("match", "exact");
    }
    dict
}

#[test]
fn who_may_not_define_and_what_cannot_be_defined_is_refused() {
    let realm = TestRealm::new();
    let alice = realm.join();
    let args = ["com.a".into(), about("topic").into()];
    assert_eq!(fails(&alice, DEFINE, &args), "wamp.error.not_authorized");
    assert_eq!(
        fails(&alice, "wamp.reflect.undefine", &args[..1]),
        "wamp.error.not_authorized"
    );
    let realm = TestRealm::with(open);
    let alice = realm.join();
    let define = |uri: &str, definition: Value| fails(&alice, DEFINE, &[uri.into(), definition]);
    assert_eq!(define("com.a", "text".into()), "wamp.error.invalid_argument");
    assert_eq!(define("com.a", Dict::new().into()), "wamp.error.invalid_argument");
    assert_eq!(define("com.a", about("lamp").into()), "wamp.error.invalid_argument");
    assert_eq!(
        define("com.a", about("topic").with("match", "fuzzy").into()),
        "wamp.error.invalid_argument"
    );
    assert_eq!(
        define("com.a", about("topic").with("event", 7_u64).into()),
        "wamp.error.invalid_argument"
    );
    assert_eq!(define("com..a", about("topic").into()), "wamp.error.invalid_uri");
    assert_eq!(define("wamp.a", about("topic").into()), "wamp.error.invalid_uri");
    let options = Value::Dict(Dict::new().with("mtach", "exact"));
    assert_eq!(
        fails(&alice, "wamp.reflect.undefine", &["com.a".into(), options]),
        "wamp.error.invalid_argument"
    );
    assert!(realm.commit().is_empty(), "nothing was proposed");
}

#[test]
fn who_may_not_use_a_uri_learns_nothing_of_what_is_said_of_it() {
    use MatchPolicy::{Exact, Prefix};
    let realm = TestRealm::with(|config| {
        open(config);
        config.policy = Policy::new([
            (
                "guest".to_owned(),
                Role::new(vec![
                    allow("call", Prefix, "wamp."),
                    allow("subscribe", Prefix, "wamp."),
                    allow("call", Exact, "com.mine"),
                    allow("subscribe", Exact, "com.news.mine"),
                ]),
            ),
            ("tester".to_owned(), Role::new(vec![Permission::all()])),
        ]);
    });
    let admin = realm.join();
    let guest = realm.join_changed(|info| info.authrole = "guest".to_owned());
    realm.commit();
    guest.subscribes("wamp.reflect.on_define");
    guest.subscribes("wamp.reflect.on_undefine");
    let told = |effects: &[Effect]| topics(&realm, effects).len();
    let says = |uri: &str, what: Dict| {
        meta_call(&admin, DEFINE, &[uri.into(), what.into()], Dict::new());
        told(&realm.commit())
    };
    assert_eq!(says("com.theirs", about("procedure").with("call", one_integer())), 0);
    assert_eq!(
        says("com.", about("procedure").with("match", "prefix").with("call", one_integer())),
        0
    );
    assert_eq!(says("com.news.theirs", about("topic")), 0);
    assert_eq!(says("com.mine", about("procedure").with("call", one_integer())), 1);
    assert_eq!(says("com.news.mine", about("topic")), 1);
    assert_eq!(says("com.fault", about("error")), 1, "names of errors are nobody's");

    for uri in ["com.theirs", "com.nowhere"] {
        let text = Payload::from_values(Serializer::MsgPack, &["seven".into()], &Dict::new());
        assert_eq!(error_of(&guest.calls_with(uri, text).1), "wamp.error.not_authorized", "{uri}");
        assert_eq!(asks(&guest, "wamp.reflection.procedure.describe", &[uri.into()]), Value::Null);
        assert_eq!(asks(&guest, "wamp.reflect.describe", &[uri.into()]), Value::List(Vec::new()));
    }
    let listed = |who: &TestSession, kind: &str| {
        let lists = asks(who, &format!("wamp.reflection.{kind}.list"), &[]);
        let lists = lists.as_dict().unwrap().clone();
        let count = |(_, uris): &(String, Value)| uris.as_list().unwrap().len();
        lists.0.iter().map(count).sum::<usize>()
    };
    let all = |kind| (listed(&guest, kind), listed(&admin, kind));
    assert_eq!([all("procedure"), all("topic"), all("error")], [(1, 3), (1, 2), (1, 1)]);
    assert_eq!(asks(&guest, "wamp.reflect.describe", &[]).as_list().unwrap().len(), 3);
    let mine = asks(&guest, "wamp.reflection.procedure.describe", &["com.mine".into()]);
    assert_ne!(mine, Value::Null);
    let stands = Value::Dict(Dict::new().with("match", "prefix"));
    assert_eq!(
        asks(&guest, "wamp.reflection.procedure.describe", &["com.".into(), stands]),
        Value::Null
    );
    meta_call(&admin, "wamp.reflect.undefine", &["com.theirs".into()], Dict::new());
    assert_eq!(told(&realm.commit()), 0);
    meta_call(&admin, "wamp.reflect.undefine", &["com.mine".into()], Dict::new());
    assert_eq!(told(&realm.commit()), 1);
}

#[test]
fn there_is_room_for_so_many_definitions_and_an_unknown_outcome_is_said() {
    let realm = TestRealm::with(|config| {
        open(config);
        config.limits.definitions_max = 1;
    });
    let alice = realm.join();
    assert_eq!(defines(&realm, &alice, "com.a", about("topic")), Value::Bool(true));
    meta_call(&alice, DEFINE, &["com.b".into(), about("topic").into()], Dict::new());
    assert_eq!(error_of(&realm.commit()), "wamp.error.unavailable");
    meta_call(&alice, DEFINE, &["com.a".into(), Value::Null], Dict::new());
    assert_eq!(error_of(&realm.pass(secs(10))), "wamp.error.unavailable");
}

#[test]
fn changes_of_definitions_are_told_once_each() {
    let realm = TestRealm::with(open);
    let (alice, bob) = (realm.join(), realm.join());
    bob.subscribes("wamp.reflect.on_define");
    bob.subscribes("wamp.reflect.on_undefine");
    let change = |definition: Value| {
        meta_call(&alice, DEFINE, &["com.a".into(), definition], Dict::new());
        realm.commit()
    };
    let effects = change(about("topic").into());
    assert_eq!(topics(&realm, &effects), ["wamp.reflect.on_define"]);
    let args = values(&effects).remove(0);
    assert_eq!((&args[0], &args[2]), (&"com.a".into(), &Value::Bool(true)));
    assert_eq!(args[1].as_dict().unwrap().text("type"), Some("topic"));
    assert_eq!(
        values(&change(about("topic").into())),
        Vec::<Vec<Value>>::new(),
        "nothing changed"
    );
    let again = values(&change(about("topic").with("x", 1_u64).into())).remove(0);
    assert_eq!(again[2], Value::Bool(false));
    change(about("error").into());
    let effects = change(Value::Null);
    assert_eq!(
        topics(&realm, &effects),
        ["wamp.reflect.on_undefine", "wamp.reflect.on_undefine"]
    );
    let what = |kind: &str| Value::Dict(about(kind).with("match", "exact"));
    assert_eq!(
        values(&effects),
        [vec!["com.a".into(), what("topic")], vec!["com.a".into(), what("error")]]
    );
    let elsewhere = Op::Define {
        number: 1,
        definition: Box::new(Definition::from_parts(
            Kind::Topic,
            MatchPolicy::Exact,
            Uri::from("com.b"),
            "{}".into(),
        )),
        room: ROOM,
    };
    assert_eq!(
        topics(&realm, &realm.commit_by(NODE_2, elsewhere)),
        ["wamp.reflect.on_define"],
        "whoever defines"
    );
}

#[test]
fn a_snapshot_brings_definitions_tells_of_them_and_settles_what_it_swallowed() {
    let (realm, other) = (TestRealm::with(open), TestRealm::with(open));
    let (alice, twin) = (realm.join(), other.join());
    alice.subscribes("wamp.reflect.on_define");
    let definition = about("procedure").with("call", one_integer());
    defines(&other, &twin, "com.add", definition.clone());
    meta_call(&alice, DEFINE, &["com.add".into(), definition.into()], Dict::new());
    realm.lose_proposals();
    let mut bytes = Vec::new();
    other.inside(|realm| realm.snapshot_registry(&mut bytes));
    let index = realm.next_index();
    let mut effects = Vec::new();
    realm
        .inside(|realm| realm.restore_registry(index, &bytes, &mut effects))
        .unwrap();
    effects.extend(realm.input(crate::router::Input::AppliedTo { index }));
    assert_eq!(topics(&realm, &effects), ["wamp.reflect.on_define"]);
    let unknown = effects.iter().any(|effect| matches!(effect, Effect::Send { message: Message::Error { error, .. }, .. } if error.as_str() == "wamp.error.unavailable"));
    assert!(unknown, "the outcome is not known: {effects:?}");
    violation(&alice.calls("com.add").1);
}

#[test]
fn arguments_are_held_to_the_schema_before_anybody_is_invoked() {
    let realm = TestRealm::with(open);
    let (alice, bob) = (realm.join(), realm.join());
    let add = bob.registers("com.add");
    defines(&realm, &alice, "com.add", about("procedure").with("call", one_integer()));
    let (_, effects) = alice.calls("com.add");
    assert_eq!(effects.len(), 1);
    assert_eq!(violation(&effects), pair("/args/0", "/call/args/items/type"));
    let (_, effects) = alice.calls_with("com.add", Payload::EMPTY);
    assert_eq!(violation(&effects), pair("/args", "/call/args/minItems"));
    assert_eq!(realm.stats().schema_violations, 2);
    let (request, effects) = alice.calls_with("com.add", numbers(7));
    assert!(
        matches!(&effects[..], [Effect::Send { session, message: Message::Invocation { registration, .. } }]
        if (*session, *registration) == (bob.id, add))
    );
    assert_eq!(bob.yields(1), [alice.gets_result(request)], "the answer has no schema");
    // Others are not held to it.
    bob.registers("com.sub");
    assert_eq!(alice.calls("com.sub").1.len(), 1);
    meta_call(&alice, "wamp.reflect.undefine", &["com.add".into()], Dict::new());
    realm.commit();
    assert!(matches!(
        alice.calls("com.add").1[..],
        [Effect::Send {
            message: Message::Invocation { .. },
            ..
        }]
    ));
}

#[test]
fn the_best_definition_counts() {
    let realm = TestRealm::with(open);
    let (alice, bob) = (realm.join(), realm.join());
    let strict = |policy: &str| about("procedure").with("match", policy).with("call", one_integer());
    defines(&realm, &alice, "com.", strict("prefix"));
    defines(&realm, &alice, "org..x", strict("wildcard"));
    bob.registers("com.a.x");
    bob.registers("org.b.x");
    violation(&alice.calls("com.a.x").1);
    violation(&alice.calls("org.b.x").1);
    defines(&realm, &alice, "com.a.x", about("procedure"));
    assert_eq!(alice.calls("com.a.x").1.len(), 1);
    assert!(matches!(
        alice.calls("com.a.x").1[..],
        [Effect::Send {
            message: Message::Invocation { .. },
            ..
        }]
    ));
    // Nobody speaks for the protocol's own procedures.
    defines(&realm, &alice, "", strict("prefix"));
    asks(&alice, "wamp.session.count", &[]);
}

#[test]
fn an_answer_that_breaks_the_schema_reaches_the_caller_as_an_error() {
    let realm = TestRealm::with(open);
    let (alice, bob) = (realm.join(), realm.join());
    bob.registers("com.add");
    defines(&realm, &alice, "com.add", about("procedure").with("result", one_integer()));
    alice.calls("com.add");
    assert_eq!(violation(&bob.yields(1)), pair("/args/0", "/result/args/items/type"));
    let (asked, _) = alice.calls("com.add");
    let message = Message::Yield {
        request: request(2),
        options: Dict::new(),
        payload: numbers(5),
    };
    let expected = Message::Result {
        request: asked,
        details: Dict::new(),
        payload: numbers(5),
    };
    assert_eq!(bob.says(message), [alice.gets(expected)]);
    assert_eq!(realm.inside(|realm| realm.open_call_count()), 0);
}

#[test]
fn an_error_that_breaks_the_schema_of_its_uri_is_replaced() {
    let realm = TestRealm::with(open);
    let (alice, bob) = (realm.join(), realm.join());
    bob.registers("com.add");
    defines(
        &realm,
        &alice,
        "com.error.",
        about("error").with("match", "prefix").with("error", one_integer()),
    );
    alice.calls("com.add");
    let effects = bob.fails(1, "com.error.full");
    assert_eq!(violation(&effects), pair("/args", "/error/args/minItems"));
    assert!(
        matches!(&effects[0], Effect::Send { message: Message::Error { details, .. }, .. }
        if details.text("error") == Some("com.error.full"))
    );
    alice.calls("com.add");
    assert_eq!(error_of(&bob.fails(2, "com.other")), "com.other");
}

#[test]
fn an_event_that_breaks_the_schema_is_refused_or_dropped_and_counted() {
    let realm = TestRealm::with(open);
    let (alice, bob) = (realm.join(), realm.join());
    bob.subscribes("com.lamp");
    defines(&realm, &alice, "com.lamp", about("topic").with("event", one_integer()));
    let (request, effects) = alice.publishes("com.lamp", Dict::new().with("acknowledge", true));
    assert_eq!(violation(&effects), pair("/args/0", "/event/args/items/type"));
    assert!(
        matches!(&effects[..], [Effect::Send { message: Message::Error { request_type: code::PUBLISH, request: r, .. }, .. }]
        if *r == request)
    );
    assert_eq!(alice.publishes("com.lamp", Dict::new()).1, []);
    assert_eq!(realm.stats().dropped_publications, 1);
    let message = Message::Publish {
        request: alice.next(),
        options: Dict::new(),
        topic: Uri::from("com.lamp"),
        payload: numbers(1),
    };
    assert!(matches!(alice.says(message)[..], [Effect::Fanout { .. }]));
    // A testament is an event too.
    let will = ["com.lamp".into(), vec![Value::from("x")].into(), Dict::new().into()];
    assert_eq!(
        fails(&alice, "wamp.session.add_testament", &will),
        "wamp.error.invalid_argument"
    );
}

#[test]
fn sealed_and_oversized_payloads_pass_only_where_they_may() {
    let realm = TestRealm::with(|config| {
        open(config);
        config.limits.schema_payload_bytes_max = 40;
    });
    let (alice, bob) = (
        realm.join_with(&["publisher.payload_passthru_mode"]),
        realm.join_with(&["subscriber.payload_passthru_mode"]),
    );
    bob.subscribes("com.lamp");
    let definition = about("topic").with("event", one_text());
    defines(&realm, &alice, "com.lamp", definition.clone());
    let sealed = Dict::new().with("ppt_scheme", "x_mine").with("acknowledge", true);
    violation(&alice.publishes("com.lamp", sealed.clone()).1);
    defines(&realm, &alice, "com.lamp", definition.with("allow_sealed", true));
    assert_eq!(alice.publishes("com.lamp", sealed).1.len(), 2);
    let message = Message::Publish {
        request: alice.next(),
        options: Dict::new().with("acknowledge", true),
        topic: Uri::from("com.lamp"),
        payload: payload(&"x".repeat(60)),
    };
    violation(&alice.says(message));
}

#[test]
fn parts_of_arguments_and_results_are_held_to_the_schema_and_end_the_call() {
    let realm = TestRealm::with(open);
    let alice = realm.join_with(&[
        "caller.call_canceling",
        "caller.progressive_call_invocations",
        "caller.progressive_call_results",
    ]);
    let bob = realm.join_with(&[
        "callee.call_canceling",
        "callee.progressive_call_invocations",
        "callee.progressive_call_results",
    ]);
    bob.registers("com.add");
    let definition = about("procedure").with("call", one_text()).with("progress", one_text());
    defines(&realm, &alice, "com.add", definition);
    let call = |request, text: &str, more: bool| {
        alice.says(Message::Call {
            request,
            options: Dict::new().with("progress", more).with("receive_progress", true),
            procedure: Uri::from("com.add"),
            payload: payload(text),
        })
    };
    let first = alice.next();
    assert_eq!(call(first, "one", true).len(), 1);
    let effects = call(first, "much too long", true);
    assert_eq!(violation(&effects), pair("/args/0", "/call/args/items/maxLength"));
    assert!(
        effects
            .iter()
            .any(|effect| matches!(effect, Effect::Send { session, message: Message::Interrupt { .. } } if *session == bob.id)),
        "the callee is told: {effects:?}"
    );
    assert_eq!(call(first, "late", false), []);
    let second = alice.next();
    call(second, "one", false);
    let progress = |text: &str| {
        bob.says(Message::Yield {
            request: request(2),
            options: Dict::new().with("progress", true),
            payload: payload(text),
        })
    };
    assert_eq!(progress("part").len(), 1);
    assert_eq!(violation(&progress("a part that is too long")).0, "/args/0");
    assert_eq!(realm.inside(|realm| realm.open_call_count()), 0);
}

#[test]
fn the_callers_node_judges_what_comes_from_another() {
    let realm = TestRealm::with(open);
    let alice = realm.join();
    realm.link(NODE_2);
    realm.registered_elsewhere(NODE_2, 900, "com.add");
    let definition = about("procedure").with("call", one_text()).with("result", one_text());
    let effects = meta_call(&alice, DEFINE, &["com.add".into(), definition.into()], Dict::new());
    assert!(matches!(effects[..], [Effect::Propose { .. }]), "nobody is asked");
    realm.commit();
    let (_, effects) = alice.calls_with("com.add", payload("question that is long"));
    violation(&effects);
    let (_, effects) = alice.calls_with("com.add", payload("short"));
    let [
        Effect::Forward {
            to: NODE_2,
            frame: PeerFrame::Invoke { call, .. },
            ..
        },
    ] = effects[..]
    else {
        panic!("{effects:?}")
    };
    let (details, long) = (Dict::new(), payload("an answer that is long"));
    let effects = realm.hears(
        NODE_2,
        PeerFrame::Result {
            call,
            details,
            payload: long,
        },
    );
    assert_eq!(violation(&effects), pair("/args/0", "/result/args/items/maxLength"));
    // The callee's node takes what the caller's node let through.
    let bob = realm.join();
    let bobs = bob.registers("com.mine");
    defines_late(&realm, "com.mine");
    assert_eq!(realm.hears(NODE_2, invoke(5, bobs, bob.id, realm.index())).len(), 1);
}

/// Another node defines a procedure whose arguments are one integer.
fn defines_late(realm: &TestRealm, uri: &str) {
    let json = r#"{"call": {"args": {"items": {"type": "integer"}}}}"#;
    let definition = Definition::from_json(Kind::Procedure, MatchPolicy::Exact, Uri::from(uri), json).unwrap();
    let op = Op::Define {
        number: 9,
        definition: Box::new(definition),
        room: ROOM,
    };
    assert_eq!(realm.commit_by(NODE_2, op), []);
}

#[test]
fn the_short_way_is_closed_while_calls_are_looked_at() {
    let realm = TestRealm::with(open);
    let (alice, bob) = (realm.join(), realm.join());
    bob.registers("com.add");
    bob.registers("com.sub");
    let is_plain = |procedure: &str| {
        let now = realm.now();
        realm.inside(|realm| realm.plain_route(now, alice.id, request(1), procedure).is_some())
    };
    assert!(is_plain("com.add"));
    defines_late(&realm, "com.add");
    assert!(!is_plain("com.add") && !is_plain("com.sub"));
    let op = Op::Undefine {
        number: 10,
        kind: Some(Kind::Procedure),
        policy: MatchPolicy::Exact,
        uri: Uri::from("com.add"),
    };
    realm.commit_by(NODE_2, op);
    assert!(is_plain("com.add"));
    // Topics do not matter to calls, nor what checks nothing.
    defines(&realm, &bob, "com.add", about("procedure").with("call", Dict::new()));
    defines(&realm, &bob, "com.add", about("topic").with("event", one_integer()));
    assert!(is_plain("com.add"));
    let by_config = TestRealm::with(|config| config.definitions = vec![fixed()]);
    let carol = by_config.join();
    carol.registers("com.x");
    let now = by_config.now();
    let route = by_config.inside(|realm| realm.plain_route(now, carol.id, request(2), "com.x"));
    assert_eq!(route, None);
}

fn fixed() -> Definition {
    let json = r#"{"call": {"args": {"maxItems": 0}}, "description": "fixed"}"#;
    Definition::from_json(Kind::Procedure, MatchPolicy::Exact, Uri::from("com.add"), json).unwrap()
}

#[test]
fn what_the_configuration_says_holds_and_cannot_be_changed() {
    let realm = TestRealm::with(|config| {
        open(config);
        config.definitions = vec![fixed()];
    });
    let (alice, bob) = (realm.join(), realm.join());
    bob.registers("com.add");
    violation(&alice.calls("com.add").1);
    let args = ["com.add".into(), about("procedure").into()];
    assert_eq!(fails(&alice, DEFINE, &args), "wamp.error.not_authorized");
    assert_eq!(
        fails(&alice, "wamp.reflect.undefine", &args[..1]),
        "wamp.error.not_authorized"
    );
    // The log of an earlier configuration may say otherwise.
    defines_late(&realm, "com.add");
    violation(&alice.calls("com.add").1);
    let all = asks(&alice, "wamp.reflect.describe", &[]);
    let told: Vec<Option<&str>> = all
        .as_list()
        .unwrap()
        .iter()
        .map(|d| d.as_dict()?.text("description"))
        .collect();
    assert_eq!(told, [Some("fixed")]);
    let op = Op::Undefine {
        number: 11,
        kind: None,
        policy: MatchPolicy::Exact,
        uri: Uri::from("com.add"),
    };
    realm.commit_by(NODE_2, op);
    violation(&alice.calls("com.add").1);
}
