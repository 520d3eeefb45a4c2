//! Publications whose publisher waits until they are received.

use crate::{
    router::{
        Effect, Input, PeerFrame, TopicKey,
        testing::{NODE_2, TestRealm, TestSession, error_of, payload, publication, secs, session},
    },
    wamp::{Dict, Message, PublicationId, RequestId},
};

const NEWS: &str = "com.news";

fn answering(realm: &TestRealm) -> TestSession {
    answering_as(realm, "subscriber")
}

fn answering_as(realm: &TestRealm, role: &str) -> TestSession {
    realm.join_with(&[&format!("{role}.x_acknowledged_event_delivery")])
}

fn wanted() -> Dict {
    Dict::new().with("acknowledge", true).with("_acknowledge_delivery", true)
}

fn received(session: &TestSession, publication: PublicationId) -> Vec<Effect> {
    session.says(Message::EventReceived { publication })
}

fn is_published(publisher: &TestSession, request: RequestId, publication: PublicationId) -> Effect {
    publisher.gets(Message::Published { request, publication })
}

/// The publication in the first event or frame.
fn id_of(effects: &[Effect]) -> PublicationId {
    match effects.first() {
        Some(
            Effect::Fanout {
                message: Message::Event { publication, .. },
                ..
            }
            | Effect::Forward {
                frame: PeerFrame::Event { publication, .. },
                ..
            },
        ) => *publication,
        other => panic!("{other:?}"),
    }
}

#[test]
fn published_waits_for_all_who_answer_and_for_nobody_else() {
    let realm = TestRealm::new();
    let (publisher, plain) = (realm.join(), realm.join());
    let (ann, bob) = (answering_as(&realm, "publisher"), answering(&realm));
    for subscriber in [&plain, &ann, &bob] {
        subscriber.subscribes(NEWS);
    }
    // Bob has two subscriptions that match, so he answers twice.
    bob.subscribes_with("com", Dict::new().with("match", "prefix"));
    let (request, effects) = publisher.publishes(NEWS, wanted());
    let id = id_of(&effects);
    let marked = |effect: &Effect| match effect {
        Effect::Fanout {
            sessions,
            message: Message::Event { details, .. },
        } => (sessions.len(), details.bool("x_acknowledged_delivery")),
        other => panic!("{other:?}"),
    };
    let marked: Vec<_> = effects.iter().map(marked).collect();
    assert_eq!(marked, [(2, Some(true)), (1, None), (1, Some(true))]);
    assert_eq!(received(&plain, id), []);
    assert_eq!(realm.stats().dropped_event_received, 1);
    assert_eq!(received(&ann, id), []);
    assert_eq!(received(&bob, id), []);
    assert_eq!(received(&bob, id), [is_published(&publisher, request, id)]);
    assert_eq!(received(&bob, id), []);
    assert_eq!(realm.next_deadline_in(), None);
}

#[test]
fn without_anybody_who_answers_published_comes_at_once() {
    let realm = TestRealm::new();
    let (publisher, plain) = (realm.join(), realm.join());
    let (request, effects) = publisher.publishes(NEWS, wanted());
    assert!(matches!(&effects[..], [Effect::Send { message: Message::Published { request: r, .. }, .. }] if *r == request));
    plain.subscribes(NEWS);
    let (request, effects) = publisher.publishes(NEWS, wanted());
    let expected = is_published(&publisher, request, id_of(&effects));
    assert_eq!(effects.last(), Some(&expected));
    let (_, effects) = publisher.publishes(NEWS, Dict::new().with("_acknowledge_delivery", true));
    assert_eq!(effects.len(), 1, "nobody asked to be answered");
}

#[test]
fn who_leaves_is_not_waited_for() {
    let realm = TestRealm::new();
    let (publisher, ann) = (realm.join(), answering(&realm));
    ann.subscribes(NEWS);
    let (request, effects) = publisher.publishes(NEWS, wanted());
    let id = id_of(&effects);
    assert_eq!(ann.leaves()[0], is_published(&publisher, request, id));
    let bob = answering(&realm);
    bob.subscribes(NEWS);
    let (_, effects) = publisher.publishes(NEWS, wanted());
    assert_eq!(publisher.leaves(), [publisher.gone()]);
    assert_eq!(received(&bob, id_of(&effects)), []);
}

#[test]
fn what_is_not_received_in_time_is_an_error() {
    let realm = TestRealm::new();
    let (publisher, ann) = (realm.join(), answering(&realm));
    ann.subscribes(NEWS);
    let (_, effects) = publisher.publishes(NEWS, wanted());
    let id = id_of(&effects);
    assert_eq!(realm.pass(secs(9)), []);
    assert_eq!(error_of(&realm.pass(secs(1))), "wamp.error.timeout");
    assert_eq!(received(&ann, id), []);
    assert_eq!(realm.stats().deliveries_expired, 1);
}

#[test]
fn publications_that_wait_are_bounded() {
    let realm = TestRealm::with(|c| c.limits.deliveries_max = 1);
    let (publisher, ann) = (realm.join(), answering(&realm));
    ann.subscribes(NEWS);
    publisher.publishes(NEWS, wanted());
    assert_eq!(error_of(&publisher.publishes(NEWS, wanted()).1), "wamp.error.unavailable");
}

#[test]
fn other_nodes_say_when_theirs_have_it_or_are_lost() {
    let realm = TestRealm::new();
    let publisher = realm.join();
    realm.link(NODE_2);
    let changes = vec![(TopicKey::from(NEWS), true)];
    realm.input(Input::PeerInterest { node: NODE_2, changes });
    let (request, effects) = publisher.publishes(NEWS, wanted());
    let id = id_of(&effects);
    assert!(matches!(
        &effects[..],
        [Effect::Forward {
            frame: PeerFrame::Event { acknowledged: true, .. },
            ..
        }]
    ));
    let delivered = PeerFrame::Delivered { publication: id };
    assert_eq!(
        realm.hears(NODE_2, delivered.clone()),
        [is_published(&publisher, request, id)]
    );
    assert_eq!(realm.hears(NODE_2, delivered), []);
    let (request, effects) = publisher.publishes(NEWS, wanted());
    let id = id_of(&effects);
    let lost = realm.input(Input::PeerDown { node: NODE_2 });
    assert_eq!(lost, [is_published(&publisher, request, id)]);
}

#[test]
fn an_event_from_elsewhere_is_answered_when_the_subscribers_here_have_it() {
    let realm = TestRealm::new();
    let ann = answering(&realm);
    let news = ann.subscribes(NEWS);
    realm.link(NODE_2);
    let id = publication(5);
    let event = || PeerFrame::Event {
        publication: id,
        topic: NEWS.into(),
        publisher: session(900),
        exclude_me: true,
        acknowledged: true,
        audience: None,
        keep: None,
        details: Dict::new(),
        payload: payload("news"),
    };
    let delivered = Effect::Forward {
        to: NODE_2,
        source: session(900),
        frame: PeerFrame::Delivered { publication: id },
    };
    assert_eq!(realm.hears(NODE_2, event()).len(), 1);
    assert_eq!(received(&ann, id), std::slice::from_ref(&delivered));
    ann.unsubscribes(news);
    assert_eq!(realm.hears(NODE_2, event()), [delivered]);
}
