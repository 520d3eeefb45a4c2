//! PUBLISH and what becomes of it.

use crate::{
    router::{
        Effect, Input, PeerFrame, TopicKey,
        testing::{NODE_2, NODE_3, TestRealm, TestSession, error_of, payload, publication, session},
    },
    wamp::{Dict, Message, PublicationId, SubscriptionId, Uri},
};

const NEWS: &str = "com.news";

fn fanout(to: &[&TestSession], subscription: SubscriptionId, publication: PublicationId) -> Effect {
    let message = Message::Event {
        subscription,
        publication,
        details: Dict::new(),
        payload: payload("news"),
    };
    Effect::Fanout {
        sessions: to.iter().map(|s| s.id).collect(),
        message,
    }
}

fn event(publication: PublicationId, publisher: &TestSession) -> PeerFrame {
    let (topic, publisher, details) = (Uri::from(NEWS), publisher.id, Dict::new());
    PeerFrame::Event {
        publication,
        topic,
        publisher,
        exclude_me: true,
        audience: None,
        details,
        payload: payload("news"),
    }
}

/// The publication id in the first effect.
fn published(effects: &[Effect]) -> PublicationId {
    match effects.first() {
        Some(Effect::Fanout {
            message: Message::Event { publication, .. },
            ..
        })
        | Some(Effect::Forward {
            frame: PeerFrame::Event { publication, .. },
            ..
        })
        | Some(Effect::Send {
            message: Message::Published { publication, .. },
            ..
        }) => *publication,
        other => panic!("no publication in {other:?}"),
    }
}

fn acknowledge() -> Dict {
    Dict::new().with("acknowledge", true)
}

#[test]
fn an_event_reaches_all_subscribers_in_order_of_subscribing_but_not_its_publisher() {
    let realm = TestRealm::new();
    let (alice, bob, carol) = (realm.join(), realm.join(), realm.join());
    let news = carol.subscribes(NEWS);
    alice.subscribes(NEWS);
    bob.subscribes(NEWS);
    let (_, effects) = alice.publishes(NEWS, Dict::new());
    assert_eq!(effects, [fanout(&[&carol, &bob], news, published(&effects))]);
    assert_eq!(realm.stats().events, 2);
}

#[test]
fn the_publisher_gets_its_own_event_where_it_asks_for_it() {
    let realm = TestRealm::new();
    let alice = realm.join();
    let news = alice.subscribes(NEWS);
    let (_, effects) = alice.publishes(NEWS, Dict::new().with("exclude_me", false));
    assert_eq!(effects, [fanout(&[&alice], news, published(&effects))]);
    assert_eq!(alice.publishes(NEWS, Dict::new().with("exclude_me", true)).1, []);
}

#[test]
fn acknowledge_is_answered_after_the_event_also_without_receivers() {
    let realm = TestRealm::new();
    let (alice, bob) = (realm.join(), realm.join());
    let (request, effects) = alice.publishes(NEWS, acknowledge());
    let publication = published(&effects);
    assert_eq!(effects, [alice.gets(Message::Published { request, publication })]);
    let news = bob.subscribes(NEWS);
    let (request, effects) = alice.publishes(NEWS, acknowledge());
    let publication = published(&effects);
    let expected = [
        fanout(&[&bob], news, publication),
        alice.gets(Message::Published { request, publication }),
    ];
    assert_eq!(effects, expected);
}

#[test]
fn bad_topics_are_refused_and_only_told_where_asked_for() {
    let realm = TestRealm::new();
    let alice = realm.join();
    for bad in ["", "com..news", "com news", "wamp.session.on_join"] {
        assert_eq!(
            error_of(&alice.publishes(bad, acknowledge()).1),
            "wamp.error.invalid_uri",
            "{bad:?}"
        );
        assert_eq!(alice.publishes(bad, Dict::new()).1, []);
    }
    assert_eq!((realm.stats().refusals, realm.stats().dropped_publications), (4, 4));
}

#[test]
fn options_of_a_wrong_type_are_refused() {
    let realm = TestRealm::new();
    let (alice, bob) = (realm.join(), realm.join());
    bob.subscribes(NEWS);
    assert_eq!(
        error_of(&alice.publishes(NEWS, Dict::new().with("acknowledge", 1_u64)).1),
        "wamp.error.invalid_argument"
    );
    assert_eq!(
        error_of(&alice.publishes(NEWS, acknowledge().with("exclude_me", "no")).1),
        "wamp.error.invalid_argument"
    );
    assert_eq!(alice.publishes(NEWS, Dict::new().with("exclude_me", "no")).1, []);
}

#[test]
fn nothing_comes_after_unsubscribe() {
    let realm = TestRealm::new();
    let (alice, bob) = (realm.join(), realm.join());
    let news = bob.subscribes(NEWS);
    bob.unsubscribes(news);
    assert_eq!(alice.publishes(NEWS, Dict::new()).1, []);
}

#[test]
fn one_copy_goes_to_each_interested_node_in_slot_order() {
    let realm = TestRealm::new();
    let (alice, bob) = (realm.join(), realm.join());
    let news = bob.subscribes(NEWS);
    for node in [NODE_3, NODE_2] {
        realm.link(node);
        let changes = vec![(TopicKey::from(NEWS), true), (TopicKey::from("com.other"), true)];
        assert_eq!(realm.input(Input::PeerInterest { node, changes }), []);
    }
    let (_, effects) = alice.publishes(NEWS, Dict::new());
    let p = published(&effects);
    let forward = |to| Effect::Forward {
        to,
        source: alice.id,
        frame: event(p, &alice),
    };
    assert_eq!(effects, [forward(NODE_2), forward(NODE_3), fanout(&[&bob], news, p)]);
}

#[test]
fn a_node_that_lost_interest_or_its_link_gets_nothing() {
    let realm = TestRealm::new();
    let alice = realm.join();
    for node in [NODE_2, NODE_3] {
        realm.link(node);
        realm.input(Input::PeerInterest {
            node,
            changes: vec![(TopicKey::from(NEWS), true)],
        });
    }
    realm.input(Input::PeerInterest {
        node: NODE_2,
        changes: vec![(TopicKey::from(NEWS), false)],
    });
    assert_eq!(realm.input(Input::PeerDown { node: NODE_3 }), []);
    assert_eq!(alice.publishes(NEWS, Dict::new()).1, []);
}

#[test]
fn interest_without_a_link_is_not_taken() {
    let realm = TestRealm::new();
    let alice = realm.join();
    realm.input(Input::PeerInterest {
        node: NODE_2,
        changes: vec![(TopicKey::from(NEWS), true)],
    });
    assert_eq!(alice.publishes(NEWS, Dict::new()).1, []);
    assert_eq!(realm.stats().dropped_unlinked, 1);
}

#[test]
fn an_event_from_elsewhere_is_delivered_here_and_never_sent_on() {
    let realm = TestRealm::new();
    let bob = realm.join();
    let news = bob.subscribes(NEWS);
    for node in [NODE_2, NODE_3] {
        realm.link(node);
        realm.input(Input::PeerInterest {
            node,
            changes: vec![(TopicKey::from(NEWS), true)],
        });
    }
    let (topic, publisher) = (Uri::from(NEWS), session(201));
    let frame = PeerFrame::Event {
        publication: publication(5),
        topic,
        publisher,
        exclude_me: true,
        audience: None,
        details: Dict::new(),
        payload: payload("news"),
    };
    assert_eq!(realm.hears(NODE_2, frame), [fanout(&[&bob], news, publication(5))]);
}

#[test]
fn an_event_from_elsewhere_that_nobody_wants_any_more_is_counted() {
    let realm = TestRealm::new();
    let alice = realm.join();
    realm.link(NODE_2);
    assert_eq!(realm.hears(NODE_2, event(publication(5), &alice)), []);
    assert_eq!(realm.stats().dropped_unwanted_events, 1);
}

#[test]
fn the_same_seed_and_inputs_give_the_same_effects() {
    let run = || {
        let realm = TestRealm::new();
        let (alice, bob) = (realm.join(), realm.join());
        bob.subscribes(NEWS);
        [alice.publishes(NEWS, acknowledge()).1, alice.publishes(NEWS, acknowledge()).1]
    };
    assert_eq!(run(), run());
}
