//! SUBSCRIBE, UNSUBSCRIBE and the announcing of interest.

use crate::{
    router::{
        Effect, Input, RealmLimits, TopicKey,
        testing::{TestRealm, TestSession, error_of, secs},
    },
    wamp::{Dict, Message, RequestId, SubscriptionId, Uri, Value, message::code},
};

const NEWS: &str = "com.news";

fn interest(wanted: bool, ticket: u64) -> Effect {
    Effect::Interest {
        topic: TopicKey::from(NEWS),
        wanted,
        ticket,
    }
}

fn id(realm: &TestRealm) -> SubscriptionId {
    realm.inside(|r| r.ids.subscription(crate::router::MatchPolicy::Exact, NEWS))
}

fn subscribed(who: &TestSession, request: RequestId, subscription: SubscriptionId) -> Effect {
    who.gets(Message::Subscribed { request, subscription })
}

fn unsubscribed(who: &TestSession, request: RequestId) -> Effect {
    who.gets(Message::Unsubscribed {
        request: Some(request),
        details: Dict::new(),
    })
}

#[test]
fn subscribed_waits_until_every_node_knows() {
    let realm = TestRealm::new();
    let (alice, bob) = (realm.join(), realm.join());
    let (request, effects) = bob.asks_to_subscribe(NEWS);
    assert_eq!(effects, [interest(true, 1)]);
    assert_eq!(alice.publishes(NEWS, Dict::new()).1, []);
    assert_eq!(
        realm.input(Input::InterestAcked { ticket: 1 }),
        [subscribed(&bob, request, id(&realm))]
    );
    assert!(matches!(
        alice.publishes(NEWS, Dict::new()).1.as_slice(),
        [Effect::Fanout { .. }]
    ));
}

#[test]
fn whoever_subscribes_meanwhile_waits_too_and_whoever_comes_later_does_not() {
    let realm = TestRealm::new();
    let (alice, bob, carol) = (realm.join(), realm.join(), realm.join());
    let (first, _) = bob.asks_to_subscribe(NEWS);
    let (second, effects) = alice.asks_to_subscribe(NEWS);
    assert_eq!(effects, []);
    let expected = [subscribed(&bob, first, id(&realm)), subscribed(&alice, second, id(&realm))];
    assert_eq!(realm.input(Input::InterestAcked { ticket: 1 }), expected);
    let (third, effects) = carol.asks_to_subscribe(NEWS);
    assert_eq!(effects, [subscribed(&carol, third, id(&realm))]);
}

#[test]
fn a_repeated_subscribe_gives_the_same_subscription_and_no_second_event() {
    let realm = TestRealm::new();
    let (alice, bob) = (realm.join(), realm.join());
    let (first, _) = bob.asks_to_subscribe(NEWS);
    let (second, effects) = bob.asks_to_subscribe(NEWS);
    assert_eq!(effects, []);
    let expected = [subscribed(&bob, first, id(&realm)), subscribed(&bob, second, id(&realm))];
    assert_eq!(realm.input(Input::InterestAcked { ticket: 1 }), expected);
    let (third, effects) = bob.asks_to_subscribe(NEWS);
    assert_eq!(effects, [subscribed(&bob, third, id(&realm))]);
    match alice.publishes(NEWS, Dict::new()).1.as_slice() {
        [Effect::Fanout { sessions, .. }] => assert_eq!(sessions, &[bob.id]),
        other => panic!("{other:?}"),
    }
    assert_eq!(realm.inside(|r| r.subscription_count()), 1);
}

#[test]
fn the_last_subscriber_takes_the_interest_along() {
    let realm = TestRealm::new();
    let (alice, bob) = (realm.join(), realm.join());
    let news = bob.subscribes(NEWS);
    alice.subscribes(NEWS);
    let (request, effects) = bob.unsubscribes(news);
    assert_eq!(effects, [unsubscribed(&bob, request)]);
    let (request, effects) = alice.unsubscribes(news);
    assert_eq!(effects, [unsubscribed(&alice, request), interest(false, 2)]);
    assert_eq!(alice.asks_to_subscribe(NEWS).1, [interest(true, 3)]);
}

#[test]
fn a_session_that_leaves_is_unsubscribed() {
    let realm = TestRealm::new();
    let (alice, bob) = (realm.join(), realm.join());
    bob.subscribes(NEWS);
    assert_eq!(bob.leaves(), [interest(false, 2), bob.gone()]);
    assert_eq!(alice.publishes(NEWS, Dict::new()).1, []);
}

#[test]
fn only_own_subscriptions_can_be_unsubscribed_and_once() {
    let realm = TestRealm::new();
    let (alice, bob) = (realm.join(), realm.join());
    let news = bob.subscribes(NEWS);
    assert_eq!(error_of(&alice.unsubscribes(news).1), "wamp.error.no_such_subscription");
    bob.unsubscribes(news);
    assert_eq!(error_of(&bob.unsubscribes(news).1), "wamp.error.no_such_subscription");
}

#[test]
fn unsubscribing_while_the_subscribe_waits_answers_both_in_order() {
    let realm = TestRealm::new();
    let bob = realm.join();
    let (first, _) = bob.asks_to_subscribe(NEWS);
    let (second, effects) = bob.unsubscribes(id(&realm));
    assert_eq!(
        effects,
        [
            subscribed(&bob, first, id(&realm)),
            unsubscribed(&bob, second),
            interest(false, 2)
        ]
    );
    assert_eq!(realm.input(Input::InterestAcked { ticket: 1 }), []);
    assert_eq!(realm.next_deadline_in(), None);
}

#[test]
fn an_old_confirmation_does_not_count_for_a_new_announcement() {
    let realm = TestRealm::new();
    let bob = realm.join();
    bob.asks_to_subscribe(NEWS);
    bob.unsubscribes(id(&realm));
    let (request, effects) = bob.asks_to_subscribe(NEWS);
    assert_eq!(effects, [interest(true, 3)]);
    assert_eq!(realm.input(Input::InterestAcked { ticket: 1 }), []);
    assert_eq!(
        realm.input(Input::InterestAcked { ticket: 3 }),
        [subscribed(&bob, request, id(&realm))]
    );
}

#[test]
fn subscribed_waits_five_seconds_and_no_longer() {
    let realm = TestRealm::new();
    let (alice, bob) = (realm.join(), realm.join());
    let (first, _) = bob.asks_to_subscribe(NEWS);
    assert_eq!(realm.pass(secs(4)), []);
    assert_eq!(realm.pass(secs(1)), [subscribed(&bob, first, id(&realm))]);
    assert_eq!(realm.stats().subscribed_unconfirmed, 1);
    // Who comes later still waits for the confirmation, which may yet come.
    let (second, effects) = alice.asks_to_subscribe(NEWS);
    assert_eq!(effects, []);
    assert_eq!(realm.next_deadline_in(), Some(secs(5)));
    assert_eq!(
        realm.input(Input::InterestAcked { ticket: 1 }),
        [subscribed(&alice, second, id(&realm))]
    );
    assert_eq!(realm.next_deadline_in(), None);
}

#[test]
fn unknown_policies_and_bad_topics_are_refused() {
    let realm = TestRealm::new();
    let bob = realm.join();
    let subscribe = |topic: &str, policy: Value| {
        let (options, topic) = (Dict::new().with("match", policy), Uri::from(topic));
        bob.says(Message::Subscribe {
            request: bob.next(),
            options,
            topic,
        })
    };
    assert_eq!(
        error_of(&subscribe("com", Value::from("fuzzy"))),
        "wamp.error.invalid_argument"
    );
    assert_eq!(error_of(&subscribe("com", Value::from(true))), "wamp.error.invalid_argument");
    assert_eq!(
        error_of(&subscribe("com..news", Value::from("exact"))),
        "wamp.error.invalid_uri"
    );
    assert_eq!(
        error_of(&subscribe("com..news", Value::from("prefix"))),
        "wamp.error.invalid_uri"
    );
    assert_eq!(
        error_of(&subscribe("com. .news", Value::from("wildcard"))),
        "wamp.error.invalid_uri"
    );
    assert!(matches!(
        subscribe("wamp.session.on_join", Value::from("exact")).as_slice(),
        [Effect::Interest { .. }]
    ));
}

#[test]
fn a_topic_whose_id_is_taken_is_refused() {
    let realm = TestRealm::new();
    let (alice, bob) = (realm.join(), realm.join());
    let news = id(&realm);
    // No two topics with one hash are known, so the map is made to say there are.
    realm.inside(|r| r.broker.by_id.insert(news, TopicKey::from("com.other")));
    let effects = {
        let (mut effects, now) = (Vec::new(), realm.now());
        let (request, topic) = (bob.next(), Uri::from(NEWS));
        let message = Message::Subscribe {
            request,
            options: Dict::new(),
            topic,
        };
        realm.inside(|r| {
            r.handle(
                now,
                Input::Message {
                    session: bob.id,
                    message,
                },
                &mut effects,
            )
        });
        effects
    };
    assert_eq!(error_of(&effects), "wamp.error.unavailable");
    realm.inside(|r| r.broker.by_id.remove(&news));
    alice.subscribes(NEWS);
}

#[test]
fn subscriptions_of_one_session_are_bounded() {
    let limits = RealmLimits {
        subscriptions_max: 1,
        subscribes_waiting_max: 2,
        ..RealmLimits::default()
    };
    let realm = TestRealm::with(|c| c.limits = limits);
    let bob = realm.join();
    bob.asks_to_subscribe(NEWS);
    bob.asks_to_subscribe(NEWS);
    assert_eq!(error_of(&bob.asks_to_subscribe(NEWS).1), "wamp.error.unavailable");
    assert_eq!(error_of(&bob.asks_to_subscribe("com.other").1), "wamp.error.unavailable");
    assert_eq!(realm.stats().refusals, 2);
    assert_eq!(code::SUBSCRIBE, 32);
}
