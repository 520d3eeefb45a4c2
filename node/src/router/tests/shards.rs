//! Sharded subscriptions: node keys and resource keys.

use std::collections::BTreeSet;

use crate::{
    router::{
        Effect, Input, MatchPolicy, NodeRef, PeerFrame, TopicKey,
        testing::{NODE_2, NODE_3, TestRealm, error_of},
    },
    wamp::{Dict, Message, SessionId, Uri},
};

const NEWS: &str = "com.news";

fn nkey(key: &str) -> Dict {
    Dict::new().with("nkey", key)
}

fn rkey(key: impl std::fmt::Display) -> Dict {
    Dict::new().with("rkey", key.to_string())
}

fn reached(effects: &[Effect]) -> Vec<SessionId> {
    let sessions = |effect: &Effect| match effect {
        Effect::Fanout { sessions, .. } => sessions.clone(),
        Effect::Forward { .. } => Vec::new(),
        other => panic!("{other:?}"),
    };
    effects.iter().flat_map(sessions).collect()
}

#[test]
fn an_event_with_a_resource_key_goes_to_one_shard_and_to_all_without_a_node_key() {
    let realm = TestRealm::new();
    let publisher = realm.join();
    let plain = realm.join();
    plain.subscribes(NEWS);
    let shards: Vec<_> = ["a", "a", "b", "c"]
        .into_iter()
        .map(|key| {
            let session = realm.join();
            session.subscribes_with(NEWS, nkey(key));
            session.id
        })
        .collect();
    let mut seen = BTreeSet::new();
    for resource in 0..50 {
        let got = reached(&publisher.publishes(NEWS, rkey(resource)).1);
        assert_eq!(got, reached(&publisher.publishes(NEWS, rkey(resource)).1), "always the same");
        assert_eq!(got[0], plain.id);
        assert!([&shards[..2], &shards[2..3], &shards[3..]].contains(&&got[1..]), "{got:?}");
        seen.insert(got);
    }
    assert_eq!(seen.len(), 3, "every shard has its share");
    assert_eq!(reached(&publisher.publishes(NEWS, Dict::new()).1).len(), 5);
}

#[test]
fn a_shard_that_leaves_moves_only_what_it_had() {
    let realm = TestRealm::new();
    let publisher = realm.join();
    let shards = ["a", "b", "c"].map(|key| {
        let session = realm.join();
        session.subscribes_with(NEWS, nkey(key));
        session
    });
    let owner = |n: u32| reached(&publisher.publishes(NEWS, rkey(n)).1)[0];
    let before: Vec<_> = (0..100).map(owner).collect();
    shards[1].leaves();
    for (n, had) in before.into_iter().enumerate() {
        let has = owner(n as u32);
        assert!(has == had || had == shards[1].id, "resource {n} moved");
    }
}

fn wants(realm: &TestRealm, node: NodeRef, shard: &str) {
    let key = TopicKey {
        policy: MatchPolicy::Prefix,
        uri: "com.".into(),
        shard: Some(shard.into()),
    };
    let changes = vec![(key, true)];
    assert_eq!(realm.input(Input::PeerInterest { node, changes }), []);
}

#[test]
fn the_shards_of_other_nodes_count_and_only_their_nodes_get_a_copy() {
    let realm = TestRealm::new();
    let (publisher, here) = (realm.join(), realm.join());
    here.subscribes_with("com.", nkey("one").with("match", "prefix"));
    for (node, shard) in [(NODE_2, "two"), (NODE_3, "three")] {
        realm.link(node);
        wants(&realm, node, shard);
    }
    let (mut local, mut remote) = (0, BTreeSet::new());
    for resource in 0..60 {
        let (_, effects) = publisher.publishes(NEWS, rkey(resource));
        match effects.as_slice() {
            [Effect::Fanout { .. }] => local += 1,
            [
                Effect::Forward {
                    to,
                    frame: PeerFrame::Event { audience, .. },
                    ..
                },
            ] => {
                assert!(audience.is_some(), "the other node is told the shard");
                remote.insert(*to);
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(local > 0 && remote.len() == 2);
    assert_eq!(publisher.publishes(NEWS, Dict::new()).1.len(), 3);
}

#[test]
fn a_node_delivers_to_the_shard_that_the_publishers_node_chose() {
    let (there, here) = (TestRealm::new(), TestRealm::new());
    // Ids are unique in a cluster; each of these worlds begins with the same one.
    let (publisher, _) = (there.join(), here.join());
    let shards = ["two", "three"].map(|shard| {
        let session = here.join();
        session.subscribes_with("com.", nkey(shard).with("match", "prefix"));
        session.id
    });
    there.link(NODE_2);
    here.link(NODE_2);
    wants(&there, NODE_2, "two");
    wants(&there, NODE_2, "three");
    let mut got = BTreeSet::new();
    for resource in 0..30 {
        let (_, effects) = publisher.publishes(NEWS, rkey(resource));
        let [Effect::Forward { frame, .. }] = effects.as_slice() else {
            panic!("{effects:?}")
        };
        let reached = reached(&here.hears(NODE_2, frame.clone()));
        assert_eq!(reached.len(), 1);
        got.extend(reached);
    }
    assert_eq!(got, shards.into());
}

#[test]
fn a_session_has_one_node_key_per_subscription() {
    let realm = TestRealm::new();
    let bob = realm.join();
    let news = bob.subscribes_with(NEWS, nkey("a"));
    assert_eq!(bob.subscribes_with(NEWS, nkey("a")), news);
    let subscribe = |options: Dict| {
        error_of(&bob.says(Message::Subscribe {
            request: bob.next(),
            options,
            topic: Uri::from(NEWS),
        }))
        .to_owned()
    };
    assert_eq!(subscribe(nkey("b")), "wamp.error.invalid_argument");
    assert_eq!(subscribe(Dict::new()), "wamp.error.invalid_argument");
    assert_eq!(subscribe(nkey(&"x".repeat(256))), "wamp.error.invalid_argument");
    let (_, effects) = bob.unsubscribes(news);
    assert_eq!(effects.len(), 2);
    assert_eq!(realm.inside(|r| r.topics()), []);
}
