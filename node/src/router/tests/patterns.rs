//! Subscriptions to patterns of topics.

use crate::{
    router::{
        Effect, Input, MatchPolicy, PeerFrame, TopicKey,
        testing::{NODE_2, NODE_3, TestRealm, TestSession, payload, publication, session},
    },
    wamp::{Dict, Message, SubscriptionId, Uri},
};

fn prefix() -> Dict {
    Dict::new().with("match", "prefix")
}

fn wildcard() -> Dict {
    Dict::new().with("match", "wildcard")
}

/// Who gets an event under which subscription, and the topic it is told.
fn events(effects: &[Effect]) -> Vec<(u64, SubscriptionId, Option<&str>)> {
    let mut publications = Vec::new();
    let mut events = Vec::new();
    for effect in effects {
        let Effect::Fanout {
            sessions,
            message:
                Message::Event {
                    subscription,
                    publication,
                    details,
                    ..
                },
        } = effect
        else {
            panic!("{effect:?}")
        };
        publications.push(*publication);
        events.extend(sessions.iter().map(|s| (s.get(), *subscription, details.text("topic"))));
    }
    publications.dedup();
    assert!(publications.len() <= 1, "one publication id");
    events
}

#[test]
fn one_event_comes_for_each_matching_subscription_and_patterns_tell_the_topic() {
    let realm = TestRealm::new();
    let (alice, bob) = (realm.join(), realm.join());
    let bobs = bob.id.get();
    let exact = bob.subscribes("com.news.sport");
    let long = bob.subscribes_with("com.news", prefix());
    let short = bob.subscribes_with("com.n", prefix());
    let wild = bob.subscribes_with("com..sport", wildcard());
    bob.subscribes_with("com.news.", wildcard().with("match", "prefix"));
    bob.subscribes_with("com..weather", wildcard());
    bob.subscribes_with("com.", wildcard());
    let (_, effects) = alice.publishes("com.news.sport", Dict::new());
    let topic = Some("com.news.sport");
    let got = events(&effects);
    assert_eq!(got[0], (bobs, exact, None));
    for expected in [(bobs, long, topic), (bobs, short, topic), (bobs, wild, topic)] {
        assert!(got.contains(&expected));
    }
    assert_eq!(got.len(), 5);
    assert_eq!(realm.stats().events, 5);
    let (_, effects) = alice.publishes("com.news-flash", Dict::new());
    let under: Vec<_> = events(&effects).iter().map(|(_, subscription, _)| *subscription).collect();
    assert_eq!(under.len(), 3, "two prefixes and com. as a wildcard");
    assert!(under.contains(&long) && under.contains(&short));
}

#[test]
fn the_same_text_is_another_subscription_under_another_policy() {
    let realm = TestRealm::new();
    let bob = realm.join();
    let ids = [
        bob.subscribes("com.a"),
        bob.subscribes_with("com.a", prefix()),
        bob.subscribes_with("com.a", wildcard()),
    ];
    assert!(ids[0] != ids[1] && ids[1] != ids[2] && ids[0] != ids[2]);
    assert_eq!(bob.subscribes_with("com.a", prefix()), ids[1]);
    let alice = realm.join();
    assert_eq!(events(&alice.publishes("com.a", Dict::new()).1).len(), 3);
    bob.unsubscribes(ids[1]);
    assert_eq!(events(&alice.publishes("com.a", Dict::new()).1).len(), 2);
    assert_eq!(events(&alice.publishes("com.ab", Dict::new()).1).len(), 0);
}

#[test]
fn subscribed_to_a_pattern_waits_until_every_node_knows() {
    let realm = TestRealm::new();
    let (alice, bob) = (realm.join(), realm.join());
    let (request, topic) = (bob.next(), Uri::from("com."));
    let effects = bob.says(Message::Subscribe {
        request,
        options: prefix(),
        topic,
    });
    let key = TopicKey {
        policy: MatchPolicy::Prefix,
        uri: "com.".into(),
        shard: None,
    };
    let expected = Effect::Interest {
        topic: key.clone(),
        wanted: true,
        ticket: 1,
    };
    assert_eq!(effects, [expected]);
    assert_eq!(alice.publishes("com.a", Dict::new()).1, []);
    assert_eq!(realm.inside(|r| r.topics()), [key]);
    assert_eq!(realm.input(Input::InterestAcked { ticket: 1 }).len(), 1);
    assert_eq!(events(&alice.publishes("com.a", Dict::new()).1).len(), 1);
}

fn wants(realm: &TestRealm, node: crate::router::NodeRef, policy: MatchPolicy, uri: &str, wanted: bool) {
    let key = TopicKey {
        policy,
        uri: uri.into(),
        shard: None,
    };
    let changes = vec![(key, wanted)];
    assert_eq!(realm.input(Input::PeerInterest { node, changes }), []);
}

fn forwarded(effects: &[Effect]) -> Vec<crate::router::NodeRef> {
    let to = |effect: &Effect| match effect {
        Effect::Forward { to, .. } => *to,
        other => panic!("{other:?}"),
    };
    effects.iter().map(to).collect()
}

#[test]
fn a_node_gets_one_copy_whatever_of_its_topics_and_patterns_match() {
    let realm = TestRealm::new();
    let alice = realm.join();
    realm.link(NODE_2);
    realm.link(NODE_3);
    for (policy, uri) in [
        (MatchPolicy::Exact, "com.a.b"),
        (MatchPolicy::Prefix, "com"),
        (MatchPolicy::Prefix, "com.a"),
        (MatchPolicy::Wildcard, "com..b"),
    ] {
        wants(&realm, NODE_3, policy, uri, true);
    }
    wants(&realm, NODE_2, MatchPolicy::Wildcard, "com..", true);
    let publish = |topic| forwarded(&alice.publishes(topic, Dict::new()).1);
    assert_eq!(publish("com.a.b"), [NODE_2, NODE_3]);
    assert_eq!(publish("com.x"), [NODE_3]);
    assert_eq!(publish("org.a.b"), []);
    wants(&realm, NODE_3, MatchPolicy::Prefix, "com", false);
    assert_eq!(publish("com.x"), []);
    assert_eq!(publish("com.a.b"), [NODE_2, NODE_3]);
    realm.input(Input::PeerDown { node: NODE_3 });
    assert_eq!(publish("com.a.b"), [NODE_2]);
}

#[test]
fn an_event_from_elsewhere_finds_the_patterns_of_this_node() {
    let realm = TestRealm::new();
    let (alice, bob): (TestSession, _) = (realm.join(), realm.join());
    let wild = alice.subscribes_with(".news", wildcard());
    let all = bob.subscribes_with("", prefix());
    realm.link(NODE_2);
    let frame = |topic: &str| PeerFrame::Event {
        publication: publication(5),
        topic: topic.into(),
        publisher: session(900),
        exclude_me: true,
        audience: None,
        details: Dict::new(),
        payload: payload("news"),
    };
    let effects = realm.hears(NODE_2, frame("com.news"));
    let topic = Some("com.news");
    assert_eq!(events(&effects), [(bob.id.get(), all, topic), (alice.id.get(), wild, topic)]);
    bob.unsubscribes(all);
    assert_eq!(realm.hears(NODE_2, frame("com.other")), []);
    assert_eq!(realm.stats().dropped_unwanted_events, 1);
}
