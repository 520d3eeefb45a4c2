//! Subscriptions that are ended without their session's asking.

use crate::{
    router::{
        Effect, Input, PeerFrame, TopicKey,
        testing::{NODE_2, TestRealm, TestSession, session},
    },
    wamp::{Dict, Message, SubscriptionId, Uri},
};

const NEWS: &str = "com.news";

fn revoke(realm: &TestRealm, session: &TestSession, subscription: SubscriptionId) -> Vec<Effect> {
    realm.input(Input::RevokeSubscription {
        session: session.id,
        subscription,
        reason: Uri::from("com.why"),
    })
}

fn told(session: &TestSession, subscription: SubscriptionId) -> Effect {
    session.gets(Message::Unsubscribed {
        request: None,
        details: Dict::new().with("subscription", subscription.get()).with("reason", "com.why"),
    })
}

fn renounced(ticket: u64) -> Effect {
    Effect::Interest {
        topic: TopicKey::from(NEWS),
        wanted: false,
        ticket,
    }
}

fn announcing(realm: &TestRealm) -> TestSession {
    let session = realm.join_changed(|info| info.features = vec!["subscriber.subscription_revocation".into()]);
    realm.commit();
    session
}

#[test]
fn who_announced_it_is_told_and_hears_nothing_any_more() {
    let realm = TestRealm::new();
    let (alice, bob) = (realm.join(), announcing(&realm));
    let news = bob.subscribes(NEWS);
    assert_eq!(revoke(&realm, &bob, news), [told(&bob, news), renounced(2)]);
    assert_eq!(alice.publishes(NEWS, Dict::new()).1, []);
    assert_eq!(revoke(&realm, &bob, news), []);
    assert_eq!(realm.stats().subscriptions_revoked, 1);
}

#[test]
fn others_are_unsubscribed_silently() {
    let realm = TestRealm::new();
    let bob = realm.join();
    let news = bob.subscribes(NEWS);
    assert_eq!(revoke(&realm, &bob, news), [renounced(2)]);
}

#[test]
fn so_are_those_whose_listener_knows_that_they_cannot_bear_to_be_told() {
    let realm = TestRealm::new();
    let bob = realm.join_changed(|info| {
        info.features = vec!["subscriber.subscription_revocation".into()];
        info.compat.revoked_silently = true;
    });
    realm.commit();
    let news = bob.subscribes(NEWS);
    assert_eq!(revoke(&realm, &bob, news), [renounced(2)]);
}

#[test]
fn a_subscribe_that_waits_is_answered_first() {
    let realm = TestRealm::new();
    let bob = announcing(&realm);
    let (request, _) = bob.asks_to_subscribe(NEWS);
    let news = realm.inside(|r| r.ids.subscription(crate::router::MatchPolicy::Exact, NEWS));
    let subscribed = bob.gets(Message::Subscribed {
        request,
        subscription: news,
    });
    assert_eq!(revoke(&realm, &bob, news), [subscribed, told(&bob, news), renounced(2)]);
}

#[test]
fn it_reaches_a_session_of_another_node_and_comes_from_one() {
    let realm = TestRealm::new();
    let bob = announcing(&realm);
    let news = bob.subscribes(NEWS);
    realm.link(NODE_2);
    let reason = Uri::from("com.why");
    let frame = |session| PeerFrame::RevokeSubscription {
        session,
        subscription: news,
        reason: reason.clone(),
    };
    assert_eq!(realm.hears(NODE_2, frame(bob.id)), [told(&bob, news), renounced(2)]);
    let elsewhere = session(900);
    let joined = crate::router::Op::SessionJoined {
        session: elsewhere,
        authid: "x".into(),
        authrole: "y".into(),
        authmethod: "anonymous".into(),
        authprovider: "static".into(),
    };
    realm.commit_by(NODE_2, joined);
    let effects = realm.input(Input::RevokeSubscription {
        session: elsewhere,
        subscription: news,
        reason: reason.clone(),
    });
    let forward = Effect::Forward {
        to: NODE_2,
        source: elsewhere,
        frame: frame(elsewhere),
    };
    assert_eq!(effects, [forward]);
}
