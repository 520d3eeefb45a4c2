//! The subscription meta API: its procedures on one node and across links, and its events.

use crate::{
    router::{
        Effect, Input, PeerFrame, TopicKey,
        testing::{NODE_2, TestRealm, TestSession, error_of, meta_call, result_of, topics, values},
    },
    wamp::{Dict, Message, SubscriptionId, Uri, Value},
};

fn id(subscription: SubscriptionId) -> Value {
    Value::from(subscription.get())
}

fn ids(list: &[u64]) -> Value {
    list.iter().map(|n| Value::from(*n)).collect::<Vec<_>>().into()
}

fn ask(alice: &TestSession, procedure: &str, args: &[Value]) -> Vec<Value> {
    result_of(&meta_call(alice, procedure, args, Dict::new()), alice)
}

fn with_match(policy: &str) -> Dict {
    Dict::new().with("match", policy)
}

/// Subscribes under a policy, and every node confirms at once.
fn subscribes(realm: &TestRealm, who: &TestSession, topic: &str, policy: &str) -> (SubscriptionId, Vec<Effect>) {
    let request = who.next();
    let effects = who.says(Message::Subscribe {
        request,
        options: with_match(policy),
        topic: Uri::from(topic),
    });
    let effects = match &effects[..] {
        [
            Effect::Interest {
                wanted: true, ticket, ..
            },
        ] => realm.input(Input::InterestAcked { ticket: *ticket }),
        _ => effects,
    };
    let id = effects.iter().find_map(|effect| match effect {
        Effect::Send {
            message: Message::Subscribed { subscription, .. },
            ..
        } => Some(*subscription),
        _ => None,
    });
    (id.expect("SUBSCRIBED"), effects)
}

#[test]
fn subscriptions_are_listed_looked_up_matched_and_described() {
    let realm = TestRealm::new();
    let (alice, bob) = (realm.join(), realm.join());
    realm.input(Input::LogTime {
        unix_ms: 1_709_164_800_001,
    });
    let exact = subscribes(&realm, &bob, "com.lamp.on", "exact").0;
    let prefix = subscribes(&realm, &bob, "com.lamp", "prefix").0;
    let wildcard = subscribes(&realm, &bob, "com..on", "wildcard").0;
    assert_eq!(subscribes(&realm, &alice, "com.lamp.on", "exact").0, exact);
    let lists = Dict::new()
        .with("exact", vec![id(exact)])
        .with("prefix", vec![id(prefix)])
        .with("wildcard", vec![id(wildcard)]);
    assert_eq!(ask(&alice, "wamp.subscription.list", &[]), [Value::Dict(lists)]);
    assert_eq!(ask(&alice, "wamp.subscription.lookup", &["com.lamp.on".into()]), [id(exact)]);
    let options = Value::Dict(with_match("wildcard"));
    assert_eq!(
        ask(&alice, "wamp.subscription.lookup", &["com..on".into(), options]),
        [id(wildcard)]
    );
    assert_eq!(ask(&alice, "wamp.subscription.lookup", &["com.lamp".into()]), [Value::Null]);
    let mut all = [exact, prefix, wildcard].map(|id| id.get());
    all.sort_unstable();
    assert_eq!(ask(&alice, "wamp.subscription.match", &["com.lamp.on".into()]), [ids(&all)]);
    assert_eq!(ask(&alice, "wamp.subscription.match", &["com.x".into()]), [Value::Null]);
    let details = Dict::new()
        .with("id", wildcard.get())
        .with("created", "2024-02-29T00:00:00.001Z")
        .with("uri", "com..on")
        .with("match", "wildcard");
    assert_eq!(ask(&alice, "wamp.subscription.get", &[id(wildcard)]), [Value::Dict(details)]);
    let both = ids(&[alice.id.get(), bob.id.get()]);
    assert_eq!(ask(&alice, "wamp.subscription.list_subscribers", &[id(exact)]), [both]);
    assert_eq!(
        ask(&alice, "wamp.subscription.count_subscribers", &[id(exact)]),
        [2_u64.into()]
    );
    bob.leaves();
    assert_eq!(
        ask(&alice, "wamp.subscription.count_subscribers", &[id(exact)]),
        [1_u64.into()]
    );
    assert_eq!(
        ask(&alice, "wamp.subscription.match", &["com.lamp.on".into()]),
        [ids(&[exact.get()])]
    );
}

#[test]
fn a_list_is_narrowed_to_one_session_whatever_node_it_is_on() {
    let realm = TestRealm::new();
    let (alice, bob) = (realm.join(), realm.join());
    let exact = subscribes(&realm, &bob, "com.lamp", "exact").0;
    subscribes(&realm, &alice, "com.door", "exact");
    let its = |ids: &[SubscriptionId]| {
        let exact: Vec<Value> = ids.iter().copied().map(id).collect();
        let lists = Dict::new()
            .with("exact", exact)
            .with("prefix", vec![])
            .with("wildcard", vec![]);
        [Value::Dict(lists)]
    };
    let bobs = Value::from(bob.id.get());
    assert_eq!(
        ask(&alice, "wamp.subscription.list", std::slice::from_ref(&bobs)),
        its(&[exact])
    );
    let keyword = meta_call(
        &alice,
        "wamp.subscription.list",
        &[],
        Dict::new().with("session_id", bobs.clone()),
    );
    assert_eq!(result_of(&keyword, &alice), its(&[exact]));
    assert_eq!(ask(&alice, "wamp.subscription.list", &[99_u64.into()]), its(&[]));
    // Who has not heard SUBSCRIBED has none yet.
    bob.asks_to_subscribe("com.new");
    assert_eq!(ask(&alice, "wamp.subscription.list", &[bobs]), its(&[exact]));
}

#[test]
fn what_is_wrong_with_a_question_about_subscriptions_is_said() {
    let realm = TestRealm::new();
    let alice = realm.join();
    let error = |procedure: &str, args: &[Value]| error_of(&meta_call(&alice, procedure, args, Dict::new())).to_owned();
    for procedure in ["get", "list_subscribers", "count_subscribers"] {
        let procedure = format!("wamp.subscription.{procedure}");
        assert_eq!(error(&procedure, &[Value::from(9_u64)]), "wamp.error.no_such_subscription");
        assert_eq!(error(&procedure, &["9".into()]), "wamp.error.invalid_argument");
    }
    assert_eq!(error("wamp.subscription.match", &["a..b".into()]), "wamp.error.invalid_uri");
    assert_eq!(
        error("wamp.subscription.lookup", &["a".into(), 1_u64.into()]),
        "wamp.error.invalid_argument"
    );
}

#[test]
fn the_subscribers_of_all_nodes_are_put_together() {
    let (here, there) = (TestRealm::new(), TestRealm::new());
    here.link(NODE_2);
    there.link(NODE_2);
    let (alice, _) = (here.join(), there.join());
    let bob = there.join();
    here.input(Input::LogTime { unix_ms: 2_000 });
    there.input(Input::LogTime { unix_ms: 1_000 });
    let topic = subscribes(&here, &alice, "com.x", "exact").0;
    subscribes(&there, &bob, "com.x", "exact");
    let other = subscribes(&there, &bob, "com.y", "exact").0;
    let ask = |procedure: &str, args: &[Value]| {
        let effects = meta_call(&alice, procedure, args, Dict::new());
        let [Effect::Forward { frame, .. }] = &effects[..] else {
            panic!("{effects:?}")
        };
        let effects = there.hears(NODE_2, frame.clone());
        let [
            Effect::Forward {
                frame: frame @ PeerFrame::MetaAnswer { .. },
                ..
            },
        ] = &effects[..]
        else {
            panic!("{effects:?}")
        };
        result_of(&here.hears(NODE_2, frame.clone()), &alice)
    };
    let both = ids(&[alice.id.get(), bob.id.get()]);
    assert_eq!(ask("wamp.subscription.list_subscribers", &[id(topic)]), [both]);
    assert_eq!(ask("wamp.subscription.count_subscribers", &[id(topic)]), [2_u64.into()]);
    let details = ask("wamp.subscription.get", &[id(topic)]);
    assert_eq!(
        details[0].as_dict().unwrap().text("created"),
        Some("1970-01-01T00:00:01.000Z")
    );
    assert_eq!(ask("wamp.subscription.lookup", &["com.y".into()]), [id(other)]);
    let mut all = [topic.get(), other.get()];
    all.sort_unstable();
    let lists = ask("wamp.subscription.list", &[]);
    assert_eq!(lists[0].as_dict().unwrap().get("exact"), Some(&ids(&all)));
}

#[test]
fn subscriptions_are_told_in_the_order_of_their_life_and_not_those_of_the_protocols_own_topics() {
    let realm = TestRealm::new();
    let (alice, bob, carol) = (realm.join(), realm.join(), realm.join());
    let watched = subscribes(&realm, &alice, "wamp.subscription", "prefix").1;
    assert_eq!(values(&watched), Vec::<Vec<Value>>::new());
    let told = |effects: &[Effect]| -> Vec<(String, Vec<Value>)> {
        let events = effects.iter().filter_map(|effect| match effect {
            Effect::Fanout {
                sessions,
                message: Message::Event { details, payload, .. },
            } => {
                assert_eq!(sessions[..], [alice.id]);
                let topic = details
                    .text("topic")
                    .unwrap()
                    .trim_start_matches("wamp.subscription.")
                    .to_owned();
                Some((topic, payload.to_values().unwrap().0))
            }
            _ => None,
        });
        events.collect()
    };
    let (topic, effects) = subscribes(&realm, &bob, "com.x", "exact");
    let args = |who: &TestSession| vec![Value::from(who.id.get()), id(topic)];
    let [(create, created), subscribed] = &told(&effects)[..] else {
        panic!("{effects:?}")
    };
    assert_eq!((create.as_str(), &created[0]), ("on_create", &Value::from(bob.id.get())));
    assert_eq!(created[1].as_dict().unwrap().text("uri"), Some("com.x"));
    assert_eq!(*subscribed, ("on_subscribe".to_owned(), args(&bob)));
    // A second SUBSCRIBE of the same session adds nobody.
    assert_eq!(told(&subscribes(&realm, &bob, "com.x", "exact").1), []);
    assert_eq!(
        told(&subscribes(&realm, &carol, "com.x", "exact").1),
        [("on_subscribe".to_owned(), args(&carol))]
    );
    assert_eq!(told(&bob.unsubscribes(topic).1), [("on_unsubscribe".to_owned(), args(&bob))]);
    let expected = [
        ("on_unsubscribe".to_owned(), args(&carol)),
        ("on_delete".to_owned(), args(&carol)),
    ];
    assert_eq!(told(&carol.leaves()), expected);
}

#[test]
fn a_session_that_leaves_hears_nothing_of_its_own_end() {
    let realm = TestRealm::new();
    let alice = realm.join();
    for topic in [
        "com.a",
        "com.z",
        "wamp.subscription.on_unsubscribe",
        "wamp.subscription.on_delete",
    ] {
        subscribes(&realm, &alice, topic, "exact");
    }
    assert_eq!(values(&alice.leaves()), Vec::<Vec<Value>>::new());
}

#[test]
fn one_node_keeps_account_of_a_subscription_and_tells_of_its_beginning_and_end() {
    let (here, there) = (TestRealm::new(), TestRealm::new());
    let alice = here.join();
    let (bob, carol) = (here.join(), here.join());
    here.link(NODE_2);
    here.input(Input::PeerReady { node: NODE_2 });
    there.link(NODE_2);
    for topic in ["on_create", "on_subscribe", "on_unsubscribe", "on_delete"] {
        subscribes(&there, &there.join(), &format!("wamp.subscription.{topic}"), "exact");
        let changes = vec![(TopicKey::exact(format!("wamp.subscription.{topic}").as_str()), true)];
        here.input(Input::PeerInterest { node: NODE_2, changes });
    }
    let name = |name: &str| format!("wamp.subscription.{name}");
    // What is reported to the other node, and the events told there, then.
    let told = |effects: &[Effect]| {
        let reports = effects.iter().filter_map(|effect| match effect {
            Effect::Forward {
                frame: frame @ PeerFrame::MetaAsk { ask: 0, .. },
                ..
            } => Some(topics(&there, &there.hears(NODE_2, frame.clone()))),
            _ => None,
        });
        reports.collect::<Vec<_>>()
    };
    let mut kept = [0, 0];
    for n in 0..16 {
        let (_, effects) = subscribes(&here, &bob, &format!("com.x{n}"), "exact");
        if told(&effects).is_empty() {
            // This node keeps account itself, and the events go to the other one.
            kept[0] += 1;
            assert!(effects.iter().any(|effect| matches!(
                effect,
                Effect::Forward {
                    frame: PeerFrame::Event { .. },
                    ..
                }
            )));
            continue;
        }
        kept[1] += 1;
        let uri = format!("com.y{n}");
        let (second, effects) = subscribes(&here, &carol, &uri, "exact");
        if let [events] = &told(&effects)[..] {
            assert_eq!(*events, [name("on_create"), name("on_subscribe")]);
            // Another of the same node comes, and both go.
            assert_eq!(told(&subscribes(&here, &alice, &uri, "exact").1), [[name("on_subscribe")]]);
            assert_eq!(told(&carol.unsubscribes(second).1), [[name("on_unsubscribe")]]);
            assert_eq!(
                told(&alice.unsubscribes(second).1),
                [vec![name("on_unsubscribe"), name("on_delete")]]
            );
        }
    }
    assert!(kept.iter().all(|count| *count > 2), "{kept:?}");
    // The other node is lost: this one keeps account of what it has, and nothing is told twice.
    subscribes(&here, &alice, "wamp.subscription.on_create", "exact");
    subscribes(&here, &alice, "wamp.subscription.on_delete", "exact");
    let effects = here.input(Input::PeerDown { node: NODE_2 });
    assert_eq!(topics(&here, &effects), Vec::<String>::new());
    let (topic, effects) = subscribes(&here, &carol, "com.x0", "exact");
    assert_eq!(topics(&here, &effects), Vec::<String>::new(), "bob was there before");
    assert_eq!(topics(&here, &bob.unsubscribes(topic).1), Vec::<String>::new());
    assert_eq!(topics(&here, &carol.unsubscribes(topic).1), [name("on_delete")]);
}

#[test]
fn a_session_hears_nothing_of_what_its_own_end_decides() {
    let realm = TestRealm::new();
    let (alice, bob) = (realm.join(), realm.join());
    realm.link(NODE_2);
    subscribes(&realm, &alice, "wamp.subscription.on_create", "exact");
    subscribes(&realm, &alice, "wamp.subscription.on_subscribe", "exact");
    // Ids of topics decide in which order alice's subscriptions end: some of these end before those that would hear of it.
    for n in 0..8 {
        subscribes(&realm, &bob, &format!("com.x{n}"), "exact");
        subscribes(&realm, &alice, &format!("com.x{n}"), "exact");
    }
    let tells = |effect: &Effect| matches!(effect, Effect::Send { .. } | Effect::Fanout { .. });
    let effects = alice.leaves();
    assert!(!effects.iter().any(tells), "{effects:?}");
}

#[test]
fn a_subscriber_is_removed_wherever_it_is() {
    let (here, there) = (TestRealm::new(), TestRealm::new());
    here.link(NODE_2);
    there.link(NODE_2);
    let (alice, _) = (here.join(), there.join());
    let bob = there.join();
    let topic = subscribes(&there, &bob, "com.x", "exact").0;
    let remove = || {
        let args = [id(topic), Value::from(bob.id.get()), "com.tired".into()];
        let effects = meta_call(&alice, "wamp.subscription.remove_subscriber", &args, Dict::new());
        let [Effect::Forward { frame, .. }] = &effects[..] else {
            panic!("{effects:?}")
        };
        let effects = there.hears(NODE_2, frame.clone());
        let Some(Effect::Forward { frame, .. }) = effects.last() else {
            panic!("{effects:?}")
        };
        here.hears(NODE_2, frame.clone())
    };
    assert_eq!(result_of(&remove(), &alice), []);
    assert_eq!(there.inside(|realm| realm.subscription_count()), 0);
    assert_eq!(error_of(&remove()), "wamp.error.no_such_subscription");
}
