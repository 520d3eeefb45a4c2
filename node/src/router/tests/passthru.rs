//! Payloads that only the peers can read.

use crate::{
    router::{
        Effect, PeerFrame,
        frame::CallId,
        testing::{NODE_2, TestRealm, TestSession, error_of, invoke, is_abort, payload, request},
    },
    wamp::{Dict, Message, Payload, RegistrationId, Uri, message::code},
};

const SEALS: [&str; 6] = [
    "caller.payload_passthru_mode",
    "callee.payload_passthru_mode",
    "caller.payload_transparency",
    "callee.payload_transparency",
    "callee.call_canceling",
    "callee.progressive_call_results",
];

fn sealed() -> Dict {
    Dict::new()
        .with("ppt_scheme", "wamp")
        .with("ppt_serializer", "cbor")
        .with("ppt_cipher", "xsalsa20poly1305")
        .with("ppt_keyid", "k1")
}

fn legacy() -> Dict {
    Dict::new()
        .with("enc_algo", "cryptobox")
        .with("enc_key", "k")
        .with("enc_serializer", "json")
}

fn both(caller: &[&str], callee: &[&str]) -> (TestRealm, TestSession, TestSession, RegistrationId) {
    let realm = TestRealm::new();
    let (alice, bob) = (realm.join_with(caller), realm.join_with(callee));
    let add = bob.registers("com.add");
    (realm, alice, bob, add)
}

#[test]
fn what_seals_a_payload_goes_with_it_both_ways() {
    let (_, alice, bob, add) = both(&SEALS, &SEALS);
    for (n, seal) in [(1, sealed()), (2, legacy())] {
        let (call, effects) = alice.asks("com.add", seal.clone());
        assert_eq!(effects, [bob.gets_invocation_with(n, add, seal.clone())]);
        let yielded = seal.clone().with("_other", 1_u64);
        assert_eq!(bob.yields_with(n, yielded), [alice.gets_result_with(call, seal)]);
    }
}

#[test]
fn it_goes_with_parts_of_a_result_and_with_errors() {
    let (_, alice, bob, _) = both(&SEALS, &SEALS);
    let (call, _) = alice.asks("com.add", sealed().with("receive_progress", true));
    let part = sealed().with("progress", true);
    assert_eq!(bob.yields_with(1, part.clone()), [alice.gets_result_with(call, part)]);
    let error = |request_type, request| Message::Error {
        request_type,
        request,
        details: sealed(),
        error: Uri::from("com.error"),
        payload: payload("why"),
    };
    assert_eq!(
        bob.says(error(code::INVOCATION, request(1))),
        [alice.gets(error(code::CALL, call))]
    );
}

#[test]
fn who_did_not_announce_it_may_not_send_it() {
    let (_, alice, bob, _) = both(&[], &[]);
    alice.calls("com.add");
    assert!(is_abort(&bob.yields_with(1, sealed()), &bob, "payload_passthru_mode"));
    let (_, alice, _, _) = both(&[], &[]);
    assert!(is_abort(&alice.asks("com.add", sealed()).1, &alice, "payload_passthru_mode"));
    let (_, alice, _, _) = both(&[], &[]);
    assert!(is_abort(
        &alice.publishes("com.news", sealed()).1,
        &alice,
        "payload_passthru_mode"
    ));
}

#[test]
fn a_callee_that_cannot_open_it_is_not_invoked() {
    let (realm, alice, bob, add) = both(&SEALS, &[]);
    assert_eq!(
        error_of(&alice.asks("com.add", sealed()).1),
        "wamp.error.feature_not_supported"
    );
    assert_eq!(
        error_of(&alice.asks("com.add", legacy()).1),
        "wamp.error.feature_not_supported"
    );
    realm.link(NODE_2);
    let mut frame = invoke(7, add, bob.id, 2);
    if let PeerFrame::Invoke { details, .. } = &mut frame {
        *details = sealed();
    }
    match realm.hears(NODE_2, frame).as_slice() {
        [
            Effect::Forward {
                frame: PeerFrame::Error { call, error, .. },
                ..
            },
        ] => assert_eq!((*call, error.as_str()), (CallId(7), "wamp.error.feature_not_supported")),
        other => panic!("{other:?}"),
    }
    assert_eq!(alice.calls("com.add").1, [bob.gets_invocation(1, add)], "no id was lost");
}

#[test]
fn a_caller_that_cannot_open_the_answer_hears_so() {
    let (_, alice, bob, _) = both(&[], &SEALS);
    alice.calls("com.add");
    assert_eq!(error_of(&bob.yields_with(1, sealed())), "wamp.error.feature_not_supported");
    alice.calls("com.add");
    assert_eq!(error_of(&bob.yields_with(2, legacy())), "wamp.error.feature_not_supported");
    let (call, _) = alice.calls("com.add");
    let details = legacy();
    let error = |request_type, request, payload| Message::Error {
        request_type,
        request,
        details: details.clone(),
        error: Uri::from("com.error"),
        payload,
    };
    assert_eq!(
        bob.says(error(code::INVOCATION, request(3), payload("no list"))),
        [alice.gets(error(code::CALL, call, Payload::EMPTY))]
    );
    let (call, _) = alice.asks("com.add", Dict::new().with("receive_progress", true));
    let unsupported = "wamp.error.feature_not_supported";
    let expected = [
        bob.gets_interrupt(4, "killnowait", unsupported),
        alice.gets_call_error(call, unsupported, Dict::new()),
    ];
    assert_eq!(bob.yields_with(4, sealed().with("progress", true)), expected);
}

#[test]
fn it_goes_with_events_here_and_elsewhere() {
    let realm = TestRealm::new();
    let alice = realm.join_with(&["publisher.payload_passthru_mode"]);
    let (bob, carol) = (realm.join_with(&["subscriber.payload_transparency"]), realm.join());
    bob.subscribes("com.news");
    carol.subscribes("com.news");
    realm.link(NODE_2);
    let interest = vec![(crate::router::TopicKey::from("com.news"), true)];
    realm.input(crate::router::Input::PeerInterest {
        node: NODE_2,
        changes: interest,
    });
    for (seal, heard_by) in [(sealed(), vec![bob.id, carol.id]), (legacy(), vec![bob.id])] {
        let effects = alice.publishes("com.news", seal.clone()).1;
        let [
            Effect::Forward {
                frame: PeerFrame::Event { details: there, .. },
                ..
            },
            Effect::Fanout {
                sessions,
                message: Message::Event { details: here, .. },
            },
        ] = effects.as_slice()
        else {
            panic!("{effects:?}")
        };
        assert_eq!((there, here, sessions), (&seal, &seal, &heard_by));
    }
}
