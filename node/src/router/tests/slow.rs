//! Policies for subscribers that do not keep up, and the meta event of one.

use crate::{
    router::{
        Effect, Input, MatchPolicy, SlowConsumer, TopicKey, TopicRule,
        testing::{NODE_2, TestRealm, error_of},
    },
    wamp::{Dict, Message, Payload, Serializer, Uri, Value},
};

const META: &str = "ringfort.session.on_slow_consumer";

fn rule(policy: MatchPolicy, uri: &str, slow: SlowConsumer) -> TopicRule {
    let uri = Uri::from(uri);
    TopicRule { policy, uri, slow }
}

#[test]
fn the_best_rule_of_a_topic_goes_with_its_events() {
    let realm = TestRealm::with(|c| {
        c.topics = vec![
            rule(MatchPolicy::Prefix, "com.", SlowConsumer::DropOldest),
            rule(MatchPolicy::Prefix, "com.state.", SlowConsumer::KeepLast),
            rule(MatchPolicy::Exact, "com.state.alarm", SlowConsumer::EndSession),
        ];
    });
    let (alice, bob) = (realm.join(), realm.join());
    bob.subscribes_with("", Dict::new().with("match", "prefix"));
    let policy = |topic: &str| match alice.publishes(topic, Dict::new()).1.as_slice() {
        [Effect::Fanout { .. }] => SlowConsumer::DropNewest,
        [Effect::FanoutAs { slow, .. }] => *slow,
        other => panic!("{other:?}"),
    };
    assert_eq!(policy("org.x"), SlowConsumer::DropNewest);
    assert_eq!(policy("com.x"), SlowConsumer::DropOldest);
    assert_eq!(policy("com.state.x"), SlowConsumer::KeepLast);
    assert_eq!(policy("com.state.alarm"), SlowConsumer::EndSession);
}

#[test]
fn the_key_of_an_event_travels_in_its_details() {
    let realm = TestRealm::new();
    let (alice, bob) = (realm.join(), realm.join());
    bob.subscribes("com.state");
    match alice.publishes("com.state", Dict::new().with("_key", "lamp1")).1.as_slice() {
        [
            Effect::Fanout {
                message: Message::Event { details, .. },
                ..
            },
        ] => assert_eq!(*details, Dict::new().with("_key", "lamp1")),
        other => panic!("{other:?}"),
    }
    let wrong = Dict::new().with("acknowledge", true).with("_key", 7u64);
    assert_eq!(
        error_of(&alice.publishes("com.state", wrong).1),
        "wamp.error.invalid_argument"
    );
}

#[test]
fn who_begins_to_lose_events_is_told_of_on_every_node_but_not_to_itself() {
    let realm = TestRealm::new();
    let (slow, watcher) = (realm.join(), realm.join());
    let subscription = slow.subscribes("com.news");
    slow.subscribes(META);
    watcher.subscribes(META);
    realm.link(NODE_2);
    let changes = vec![(TopicKey::from(META), true)];
    realm.input(Input::PeerInterest { node: NODE_2, changes });
    let session = slow.id;
    let effects = realm.input(Input::SlowConsumer { session, subscription });
    let about = Dict::new()
        .with("authid", format!("user{session}"))
        .with("authrole", "tester")
        .with("subscription", subscription.get())
        .with("topic", "com.news")
        .with("match", "exact");
    let expected = Payload::from_values(Serializer::Json, &[Value::from(session.get())], &about);
    match effects.as_slice() {
        [
            Effect::Forward { to: NODE_2, .. },
            Effect::Fanout {
                sessions,
                message: Message::Event { payload, .. },
            },
        ] => assert_eq!((sessions.as_slice(), payload), (&[watcher.id][..], &expected)),
        other => panic!("{other:?}"),
    }
    assert_eq!(realm.stats().slow_consumers, 1);
}

#[test]
fn clients_do_not_publish_under_the_routers_own_topics() {
    let realm = TestRealm::new();
    let alice = realm.join();
    let (_, effects) = alice.publishes(META, Dict::new().with("acknowledge", true));
    assert_eq!(error_of(&effects), "wamp.error.invalid_uri");
}
