//! Who gets an event and what it is told: black and white lists, identification of the publisher, trust levels.

use crate::{
    router::{
        Audience, Disclose, Effect, Input, PeerFrame, TopicKey,
        testing::{NODE_2, TestRealm, TestSession, error_of, payload, publication, session},
    },
    wamp::{Dict, Message, SessionId, Uri, Value},
};

const NEWS: &str = "com.news";

/// Four subscribers: ann and bob are admins, cyd and dan are guests.
fn world() -> (TestRealm, TestSession, [TestSession; 4]) {
    let realm = TestRealm::new();
    let publisher = realm.join();
    let who = [("ann", "admin"), ("bob", "admin"), ("cyd", "guest"), ("dan", "guest")];
    let subscribers = who.map(|(authid, role)| {
        let session = realm.join_like(|info| (info.authid, info.authrole) = (authid.into(), role.into()));
        realm.commit();
        session.subscribes(NEWS);
        session
    });
    (realm, publisher, subscribers)
}

/// The sessions that get an event.
fn reached(effects: &[Effect]) -> Vec<SessionId> {
    match effects {
        [] => Vec::new(),
        [Effect::Fanout { sessions, .. }] => sessions.clone(),
        other => panic!("{other:?}"),
    }
}

fn details_of(effects: &[Effect]) -> &Dict {
    match effects {
        [
            Effect::Fanout {
                message: Message::Event { details, .. },
                ..
            },
        ] => details,
        other => panic!("no event in {other:?}"),
    }
}

fn names(names: &[&str]) -> Value {
    Value::List(names.iter().map(|name| Value::from(*name)).collect())
}

fn ids(sessions: &[&TestSession]) -> Value {
    Value::List(sessions.iter().map(|s| Value::from(s.id.get())).collect())
}

#[test]
fn each_list_says_who_gets_the_event_and_all_of_them_must_agree() {
    let (_, publisher, [ann, bob, cyd, dan]) = world();
    type Case<'a> = (&'a [(&'a str, Value)], &'a [&'a TestSession]);
    let cases: [Case<'_>; 11] = [
        (&[("exclude", ids(&[&dan, &ann]))], &[&bob, &cyd]),
        (&[("eligible", ids(&[&dan, &ann, &publisher]))], &[&ann, &dan]),
        (&[("exclude_authid", names(&["bob", "nobody"]))], &[&ann, &cyd, &dan]),
        (&[("eligible_authid", names(&["cyd", "bob"]))], &[&bob, &cyd]),
        (&[("exclude_authrole", names(&["guest"]))], &[&ann, &bob]),
        (&[("eligible_authrole", names(&["guest"]))], &[&cyd, &dan]),
        (
            &[("eligible_authrole", names(&["guest"])), ("exclude_authid", names(&["cyd"]))],
            &[&dan],
        ),
        (
            &[("eligible_authid", names(&["ann", "cyd"])), ("exclude", ids(&[&ann]))],
            &[&cyd],
        ),
        (&[("eligible", ids(&[&ann])), ("eligible_authrole", names(&["guest"]))], &[]),
        (&[("eligible_authid", names(&[]))], &[]),
        (
            &[("exclude_authid", names(&[])), ("exclude", ids(&[]))],
            &[&ann, &bob, &cyd, &dan],
        ),
    ];
    for (lists, expected) in cases {
        let options = Dict(lists.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect());
        let expected: Vec<_> = expected.iter().map(|s| s.id).collect();
        assert_eq!(reached(&publisher.publishes(NEWS, options).1), expected, "{lists:?}");
    }
}

#[test]
fn an_empty_white_list_of_sessions_is_for_nobody() {
    let (_, publisher, _) = world();
    assert_eq!(publisher.publishes(NEWS, Dict::new().with("eligible", Vec::new())).1, []);
}

#[test]
fn the_publisher_stays_excluded_although_it_is_eligible() {
    let (_, publisher, _) = world();
    publisher.subscribes(NEWS);
    let eligible = || Dict::new().with("eligible", ids(&[&publisher]));
    assert_eq!(reached(&publisher.publishes(NEWS, eligible()).1), []);
    let included = eligible().with("exclude_me", false);
    assert_eq!(reached(&publisher.publishes(NEWS, included).1), [publisher.id]);
}

#[test]
fn lists_of_a_wrong_type_are_refused() {
    let (_, publisher, _) = world();
    for key in Audience::OPTIONS {
        let options = Dict::new().with("acknowledge", true).with(key, vec![Value::Bool(true)]);
        assert_eq!(
            error_of(&publisher.publishes(NEWS, options).1),
            "wamp.error.invalid_argument",
            "{key}"
        );
    }
}

#[test]
fn lists_travel_with_the_event_and_are_judged_where_the_subscriber_is() {
    let (realm, publisher, [ann, ..]) = world();
    realm.link(NODE_2);
    let changes = vec![(TopicKey::from(NEWS), true)];
    realm.input(Input::PeerInterest { node: NODE_2, changes });
    let options = Dict::new().with("eligible_authid", names(&["ann"]));
    let audience = Some(Box::new(Audience::from_dict(&options).unwrap()));
    match publisher.publishes(NEWS, options).1.as_slice() {
        [
            Effect::Forward {
                frame: PeerFrame::Event { audience: sent, .. },
                ..
            },
            Effect::Fanout { sessions, .. },
        ] => assert_eq!((sent, sessions.as_slice()), (&audience, &[ann.id][..])),
        other => panic!("{other:?}"),
    }
    let frame = PeerFrame::Event {
        publication: publication(5),
        topic: Uri::from(NEWS),
        publisher: session(900),
        exclude_me: true,
        audience,
        details: Dict::new(),
        payload: payload("news"),
    };
    assert_eq!(reached(&realm.hears(NODE_2, frame)), [ann.id]);
}

#[test]
fn lists_come_back_from_their_dict_as_they_were() {
    let lists = Dict::new()
        .with("exclude", vec![Value::from(3u64), Value::from(1u64)])
        .with("eligible", Vec::new())
        .with("exclude_authid", names(&["b", "a"]))
        .with("eligible_authrole", names(&["r"]));
    let audience = Audience::from_dict(&lists).unwrap();
    assert_eq!(Audience::from_dict(&audience.to_dict()), Ok(audience));
}

fn realm_of(disclose: Disclose) -> (TestRealm, TestSession) {
    let realm = TestRealm::with(|c| c.disclose = disclose);
    let publisher = realm.join_like(|info| (info.authid, info.authrole) = ("ann".into(), "admin".into()));
    realm.commit();
    realm.join().subscribes(NEWS);
    (realm, publisher)
}

fn disclosed(publisher: &TestSession) -> Dict {
    Dict::new()
        .with("publisher", publisher.id.get())
        .with("publisher_authid", "ann")
        .with("publisher_authrole", "admin")
}

#[test]
fn the_publisher_is_told_where_it_asks_for_it() {
    let (_, publisher) = realm_of(Disclose::Allow);
    assert_eq!(*details_of(&publisher.publishes(NEWS, Dict::new()).1), Dict::new());
    let (_, effects) = publisher.publishes(NEWS, Dict::new().with("disclose_me", true));
    assert_eq!(*details_of(&effects), disclosed(&publisher));
}

#[test]
fn a_realm_that_always_discloses_does_not_wait_to_be_asked() {
    let (_, publisher) = realm_of(Disclose::Always);
    let (_, effects) = publisher.publishes(NEWS, Dict::new().with("disclose_me", false));
    assert_eq!(*details_of(&effects), disclosed(&publisher));
}

#[test]
fn a_realm_that_denies_refuses_and_says_so_where_asked_for() {
    let (realm, publisher) = realm_of(Disclose::Deny);
    let disclose = || Dict::new().with("disclose_me", true);
    assert_eq!(publisher.publishes(NEWS, disclose()).1, []);
    let (_, effects) = publisher.publishes(NEWS, disclose().with("acknowledge", true));
    assert_eq!(error_of(&effects), "wamp.error.option_disallowed.disclose_me");
    assert_eq!((realm.stats().refusals, realm.stats().dropped_publications), (1, 1));
    let (_, effects) = publisher.publishes(NEWS, Dict::new().with("disclose_me", false));
    assert_eq!(*details_of(&effects), Dict::new());
}

#[test]
fn events_carry_the_trust_level_of_the_publishers_role() {
    let realm = TestRealm::with(|c| c.trustlevels = [("admin".to_owned(), 7)].into());
    let admin = realm.join_like(|info| info.authrole = "admin".into());
    realm.commit();
    let other = realm.join();
    realm.join().subscribes(NEWS);
    assert_eq!(
        *details_of(&admin.publishes(NEWS, Dict::new()).1),
        Dict::new().with("trustlevel", 7u64)
    );
    assert_eq!(*details_of(&other.publishes(NEWS, Dict::new()).1), Dict::new());
}
