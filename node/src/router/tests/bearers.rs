//! Sessions that stand on a token.

use crate::{
    router::{
        Bearer, Effect, Input, REFRESH, Refreshed,
        testing::{TestRealm, TestSession, error_of, meta_call, result_of, secs},
    },
    wamp::{Dict, Message, RequestId, Value},
};

fn bearer(realm: &TestRealm, seconds: u64) -> Bearer {
    Bearer {
        issuer: "https://issuer.example".into(),
        subject: "lamp".into(),
        authid: "lamp".into(),
        authrole: "device".into(),
        until: realm.now() + secs(seconds),
    }
}

fn joins(realm: &TestRealm, seconds: u64) -> TestSession {
    let session = realm.join();
    let bearer = Box::new(bearer(realm, seconds));
    assert_eq!(
        realm.input(Input::Bearer {
            session: session.id,
            bearer
        }),
        []
    );
    session
}

fn is_ended(effects: &[Effect], who: &TestSession) -> bool {
    effects.iter().any(|effect| match effect {
        Effect::Kill { session, goodbye } => {
            *session == who.id
                && matches!(goodbye, Message::Goodbye { reason, .. } if reason.as_str() == "ringfort.close.expired")
        }
        _ => false,
    })
}

/// Shows a newer token, and has the shell say what it came to.
fn refresh(realm: &TestRealm, session: &TestSession, bearer: Option<Bearer>) -> Vec<Effect> {
    let effects = meta_call(session, REFRESH, &[Value::from("eyJ.newer.token")], Dict::new());
    let [Effect::Refresh(refresh)] = effects.as_slice() else {
        panic!("{effects:?}");
    };
    assert_eq!(refresh.token.expose(), b"eyJ.newer.token");
    assert!(!format!("{effects:?}").contains("newer"), "a token is shown by nothing");
    realm.input(Input::Refreshed(Box::new(Refreshed {
        session: session.id,
        request: refresh.request,
        bearer,
    })))
}

#[test]
fn a_session_ends_with_its_token_and_no_other_does() {
    let realm = TestRealm::new();
    let (first, second, other) = (joins(&realm, 10), joins(&realm, 20), realm.join());
    assert_eq!(realm.pass(secs(9)), []);
    let effects = realm.pass(secs(2));
    assert!(is_ended(&effects, &first) && !is_ended(&effects, &second) && !is_ended(&effects, &other));
    assert_eq!(realm.stats().sessions_expired, 1);
    second.leaves();
    assert_eq!(realm.pass(secs(30)), [], "who has left has no timer");
}

#[test]
fn a_newer_token_of_the_same_subject_keeps_it() {
    let realm = TestRealm::new();
    let session = joins(&realm, 10);
    let newer = bearer(&realm, 100);
    let effects = refresh(&realm, &session, Some(newer));
    assert_eq!(result_of(&effects, &session), [Value::from(100_u64)]);
    assert_eq!(realm.pass(secs(99)), []);
    assert!(is_ended(&realm.pass(secs(1)), &session));
}

#[test]
fn what_is_no_newer_token_of_the_same_subject_changes_nothing() {
    let realm = TestRealm::new();
    let session = joins(&realm, 10);
    let good = || bearer(&realm, 100);
    let bad = [
        None,
        Some(bearer(&realm, 9)),
        Some(Bearer {
            issuer: "https://other.example".into(),
            ..good()
        }),
        Some(Bearer {
            subject: "fan".into(),
            ..good()
        }),
        Some(Bearer {
            authid: "fan".into(),
            ..good()
        }),
        Some(Bearer {
            authrole: "admin".into(),
            ..good()
        }),
    ];
    for bearer in bad {
        let effects = refresh(&realm, &session, bearer);
        assert_eq!(error_of(&effects), "wamp.error.authentication_failed");
    }
    assert!(is_ended(&realm.pass(secs(10)), &session));
}

#[test]
fn only_those_who_stand_on_a_token_show_newer_ones_and_one_at_a_time() {
    let realm = TestRealm::new();
    let (session, other) = (joins(&realm, 10), realm.join());
    let show = |who: &TestSession, args: &[Value]| meta_call(who, REFRESH, args, Dict::new());
    assert_eq!(error_of(&show(&other, &[Value::from("eyJ")])), "wamp.error.no_such_principal");
    assert_eq!(error_of(&show(&session, &[])), "wamp.error.invalid_argument");
    assert_eq!(
        error_of(&show(&session, &[Value::from(4_u64)])),
        "wamp.error.invalid_argument"
    );
    assert!(matches!(
        show(&session, &[Value::from("eyJ")]).as_slice(),
        [Effect::Refresh(_)]
    ));
    assert_eq!(error_of(&show(&session, &[Value::from("eyJ")])), "wamp.error.unavailable");
    // Nobody may take the tokens of others.
    let (_, effects) = other.asks_to_register(REFRESH, Dict::new());
    assert_eq!(error_of(&effects), "wamp.error.invalid_uri");
    // An answer that nobody waits for is none.
    session.leaves();
    let request = RequestId::new(3).unwrap();
    let late = Refreshed {
        session: session.id,
        request,
        bearer: None,
    };
    assert_eq!(realm.input(Input::Refreshed(Box::new(late))), []);
}
