//! Request ids, messages a client may not send, and the end of who breaks the protocol.

use crate::{
    router::{
        Effect, RequestIdCheck,
        testing::{TestRealm, TestSession, error_of, is_abort, payload, publication, registration, request, session},
    },
    wamp::{Dict, Message, Payload, SubscriptionId, Uri, id::ID_MAX, message::code},
};

fn publish(raw: u64) -> Message {
    Message::Publish {
        request: request(raw),
        options: Dict::new(),
        topic: Uri::from("com.news"),
        payload: Payload::EMPTY,
    }
}

fn register(raw: u64, procedure: &str) -> Message {
    Message::Register {
        request: request(raw),
        options: Dict::new(),
        procedure: Uri::from(procedure),
    }
}

fn realm(check: RequestIdCheck) -> (TestRealm, TestSession) {
    let realm = TestRealm::with(|c| c.request_id_check = check);
    let alice = realm.join();
    (realm, alice)
}

#[test]
fn request_ids_start_at_1_and_grow_by_1_over_all_kinds() {
    let (_, alice) = realm(RequestIdCheck::Strict);
    assert_eq!(alice.says(publish(1)), []);
    assert!(matches!(
        alice.says(register(2, "com.add")).as_slice(),
        [Effect::Propose { .. }]
    ));
    let topic = Uri::from("com.news");
    alice.says(Message::Subscribe {
        request: request(3),
        options: Dict::new(),
        topic,
    });
    let unsubscribe = Message::Unsubscribe {
        request: request(4),
        subscription: SubscriptionId::new(1).unwrap(),
    };
    assert_eq!(error_of(&alice.says(unsubscribe)), "wamp.error.no_such_subscription");
    let unregister = Message::Unregister {
        request: request(5),
        registration: registration(1),
    };
    assert_eq!(error_of(&alice.says(unregister)), "wamp.error.no_such_registration");
    let call = Message::Call {
        request: request(6),
        options: Dict::new(),
        procedure: Uri::from("x"),
        payload: Payload::EMPTY,
    };
    assert_eq!(alice.says(call), [Effect::Barrier]);
}

#[test]
fn a_gap_or_a_repeat_or_a_bad_start_ends_the_session() {
    for ids in [&[2][..], &[1, 3], &[1, 1]] {
        let (_, alice) = realm(RequestIdCheck::Strict);
        let (last, first) = ids.split_last().unwrap();
        first.iter().for_each(|id| assert_eq!(alice.says(publish(*id)), []));
        assert!(is_abort(&alice.says(publish(*last)), &alice, "request_id_check"), "{ids:?}");
    }
}

#[test]
fn request_ids_wrap_to_1() {
    let (realm, alice) = realm(RequestIdCheck::Strict);
    realm.inside(|r| r.sessions.get_mut(alice.id).unwrap().last_request = ID_MAX - 1);
    assert_eq!(alice.says(publish(ID_MAX)), []);
    assert_eq!(alice.says(publish(1)), []);
}

#[test]
fn lenient_takes_any_id_that_is_not_in_flight() {
    let (_, alice) = realm(RequestIdCheck::Lenient);
    assert_eq!(alice.says(publish(77)), []);
    assert_eq!(alice.says(publish(77)), []);
    alice.says(register(5, "com.add"));
    assert!(is_abort(&alice.says(publish(5)), &alice, "in flight"));
}

#[test]
fn lenient_knows_every_kind_of_request_in_flight() {
    let kinds = [
        register(5, "com.add"),
        Message::Subscribe {
            request: request(5),
            options: Dict::new(),
            topic: Uri::from("com.news"),
        },
        Message::Call {
            request: request(5),
            options: Dict::new(),
            procedure: Uri::from("com.miss"),
            payload: Payload::EMPTY,
        },
        Message::Call {
            request: request(5),
            options: Dict::new(),
            procedure: Uri::from("com.hit"),
            payload: Payload::EMPTY,
        },
        Message::Unregister {
            request: request(5),
            registration: registration(1),
        },
    ];
    for first in kinds {
        let (_, alice) = realm(RequestIdCheck::Lenient);
        assert_eq!(alice.registers("com.hit"), registration(1));
        alice.says(first.clone());
        assert!(is_abort(&alice.says(publish(5)), &alice, "in flight"), "{first:?}");
    }
}

#[test]
fn off_refuses_only_what_could_not_be_answered() {
    let (_, alice) = realm(RequestIdCheck::Off);
    alice.says(register(5, "com.add"));
    assert_eq!(error_of(&alice.says(register(5, "com.sub"))), "wamp.error.invalid_argument");
    assert_eq!(alice.says(publish(9)), []);
}

#[test]
fn messages_of_a_router_end_the_session_that_sends_them() {
    let details = Dict::new;
    let error = |request_type| Message::Error {
        request_type,
        request: request(1),
        details: details(),
        error: Uri::from("com.e"),
        payload: Payload::EMPTY,
    };
    let subscription = SubscriptionId::new(1).unwrap();
    for message in [
        Message::Welcome {
            session: session(1),
            details: details(),
        },
        Message::Hello {
            realm: Uri::from("realm1"),
            details: details(),
        },
        Message::Challenge {
            method: "ticket".into(),
            extra: details(),
        },
        Message::Published {
            request: request(1),
            publication: publication(1),
        },
        Message::Subscribed {
            request: request(1),
            subscription,
        },
        Message::Unsubscribed {
            request: Some(request(1)),
            details: details(),
        },
        Message::Event {
            subscription,
            publication: publication(1),
            details: details(),
            payload: Payload::EMPTY,
        },
        Message::Result {
            request: request(1),
            details: details(),
            payload: Payload::EMPTY,
        },
        Message::Registered {
            request: request(1),
            registration: registration(1),
        },
        Message::Unregistered {
            request: Some(request(1)),
            details: details(),
        },
        Message::Invocation {
            request: request(1),
            registration: registration(1),
            details: details(),
            payload: Payload::EMPTY,
        },
        Message::Interrupt {
            request: request(1),
            options: details(),
        },
        error(code::CALL),
        error(code::REGISTER),
        error(3),
    ] {
        let realm = TestRealm::new();
        let alice = realm.join();
        assert!(is_abort(&alice.says(message.clone()), &alice, ""), "{message:?}");
    }
}

#[test]
fn event_received_is_counted_and_ignored() {
    let realm = TestRealm::new();
    let alice = realm.join();
    assert_eq!(
        alice.says(Message::EventReceived {
            publication: publication(1)
        }),
        []
    );
    assert_eq!(realm.stats().dropped_event_received, 1);
}

#[test]
fn who_broke_the_protocol_is_gone_at_once_and_heard_no_more() {
    let realm = TestRealm::new();
    let (alice, bob) = (realm.join(), realm.join());
    let news = bob.subscribes("com.news");
    bob.registers("com.add");
    assert!(is_abort(
        &bob.says(Message::Interrupt {
            request: request(1),
            options: Dict::new()
        }),
        &bob,
        "may not send"
    ));
    assert_eq!(alice.publishes("com.news", Dict::new()).1, []);
    assert_eq!(alice.calls("com.add").1, [Effect::Barrier]);
    assert_eq!(
        bob.says(Message::Unsubscribe {
            request: request(3),
            subscription: news
        }),
        []
    );
    assert_eq!(bob.leaves(), []);
    assert_eq!(realm.stats().aborts, 1);
}

#[test]
fn unknown_options_are_ignored() {
    let realm = TestRealm::new();
    let (alice, bob) = (realm.join(), realm.join());
    let odd = || {
        Dict::new()
            .with("_odd", 1_u64)
            .with("receive_progress", true)
            .with("timeout", "soon")
    };
    let (call, effects) = bob.asks_to_register("com.add", odd());
    assert!(matches!(effects.as_slice(), [Effect::Propose { .. }]));
    assert!(
        matches!(realm.commit().as_slice(), [Effect::Send { message: Message::Registered { request: r, .. }, .. }] if *r == call)
    );
    let request = alice.next();
    let call = Message::Call {
        request,
        options: odd(),
        procedure: Uri::from("com.add"),
        payload: payload("question"),
    };
    assert_eq!(alice.says(call), [bob.gets_invocation(1, registration(1))]);
}
