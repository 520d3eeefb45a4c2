use super::*;
use crate::session::testing::{hello, realms, roles};

fn handshake() -> Handshake {
    let peer = PeerFacts {
        trustlevel: Some(4),
        ..PeerFacts::from_address([127, 0, 0, 1].into())
    };
    Handshake::new(realms().0, Arc::new(peer))
}

fn aborted(step: Step) -> String {
    match step {
        Step::Abort(Message::Abort { reason, details, .. }) => {
            assert!(details.text("message").is_some());
            reason.to_string()
        }
        other => panic!("no ABORT but {other:?}"),
    }
}

fn accepted(step: Step) -> SessionInfo {
    match step {
        Step::Accepted(accepted) => accepted.info,
        other => panic!("not accepted but {other:?}"),
    }
}

#[tokio::test]
async fn hello_without_methods_asks_for_anonymous() {
    let info = accepted(handshake().on_message(hello("realm1", roles())));
    assert_eq!(
        (info.authmethod.as_str(), info.authrole.as_str(), info.authprovider.as_str()),
        ("anonymous", "guest", "static")
    );
    let empty = roles().with("authmethods", Vec::<Value>::new()).with("authid", Value::Null);
    assert_eq!(
        accepted(handshake().on_message(hello("realm1", empty))).authmethod,
        "anonymous"
    );
}

#[tokio::test]
async fn announced_features_are_listed_by_role_and_sorted() {
    let features = |list: &[(&str, bool)]| {
        let announced = list.iter().fold(Dict::new(), |dict, (name, on)| dict.with(*name, *on));
        Dict::new().with("features", announced)
    };
    let roles = Dict::new()
        .with("subscriber", features(&[("pattern_based_subscription", true)]))
        .with(
            "caller",
            features(&[
                ("progressive_call_results", true),
                ("call_canceling", true),
                ("call_timeout", false),
            ]),
        )
        .with("philosopher", 5u64);
    let info = accepted(handshake().on_message(hello("realm1", Dict::new().with("roles", roles))));
    assert_eq!(
        info.features,
        [
            "caller.call_canceling",
            "caller.progressive_call_results",
            "subscriber.pattern_based_subscription"
        ]
    );
}

#[tokio::test]
async fn a_feature_that_nobody_knows_may_be_anything_and_a_known_one_is_a_boolean() {
    let with = |feature: &str, value: Value| {
        let features = Dict::new().with(feature, value).with("call_canceling", true);
        let roles = Dict::new().with("caller", Dict::new().with("features", features));
        handshake().on_message(hello("realm1", Dict::new().with("roles", roles)))
    };
    for (feature, value) in [("_of_my_own", Value::from("1.2")), ("call_timeout", Value::Null)] {
        assert_eq!(
            accepted(with(feature, value)).features,
            ["caller.call_canceling"],
            "{feature}"
        );
    }
    assert_eq!(
        aborted(with("call_timeout", Value::from(1_u64))),
        "wamp.error.protocol_violation"
    );
}

#[tokio::test]
async fn nobody_announces_more_features_than_are_kept() {
    let with = |count: usize| {
        let names = (0..count).map(|at| format!("feature{at}"));
        let features = names.fold(Dict::new(), |dict, name| dict.with(name, true));
        let roles = Dict::new().with("caller", Dict::new().with("features", features));
        handshake().on_message(hello("realm1", Dict::new().with("roles", roles)))
    };
    assert_eq!(accepted(with(FEATURES_MAX)).features.len(), FEATURES_MAX);
    assert_eq!(aborted(with(FEATURES_MAX + 1)), "wamp.error.protocol_violation");
}

#[tokio::test]
async fn welcome_tells_the_client_what_it_is() {
    let Step::Accepted(accepted) = handshake().on_message(hello("realm1", roles())) else {
        panic!("not accepted")
    };
    let session = SessionId::new(42).unwrap();
    let Message::Welcome {
        session: welcomed,
        details,
    } = accepted.welcome(session)
    else {
        panic!("no WELCOME")
    };
    assert_eq!(welcomed, session);
    assert_eq!(details.text("authid"), Some(accepted.info.authid.as_str()));
    assert_eq!(details.dict("roles"), Some(&features::announced_roles()));
    assert_eq!(accepted.info.trustlevel, Some(4), "that of the way it came");
    for key in ["agent", "realm", "authrole", "authmethod", "authprovider"] {
        assert!(details.text(key).is_some_and(|text| !text.is_empty()), "{key}");
    }
}

#[tokio::test]
async fn malformed_details_are_violations() {
    let with = |key: &str, value: Value| roles().with(key, value);
    let role = |value: Value| Dict::new().with("roles", Dict::new().with("caller", value));
    let number = || Value::Integer(1);
    for details in [
        Dict::new(),
        Dict::new().with("roles", number()),
        Dict::new().with("roles", Dict::new()),
        Dict::new().with("roles", Dict::new().with("broker", Dict::new())),
        role(Value::Null),
        role(Value::List(vec![])),
        role(Dict::new().with("features", number()).into()),
        role(
            Dict::new()
                .with("features", Dict::new().with("call_canceling", number()))
                .into(),
        ),
        with("authmethods", "ticket".into()),
        with("authmethods", vec![number()].into()),
        with("authid", number()),
        with("authrole", number()),
        with("authextra", number()),
        with("agent", number()),
    ] {
        let text = format!("{details:?}");
        assert_eq!(
            aborted(handshake().on_message(hello("realm1", details))),
            error_uri::PROTOCOL_VIOLATION,
            "{text}"
        );
    }
}

#[tokio::test]
async fn unknown_attributes_are_ignored() {
    let details = roles().with("resumable", true).with("_custom", 7u64).with("x", Dict::new());
    accepted(handshake().on_message(hello("realm1", details)));
}

#[tokio::test]
async fn the_role_asked_for_is_not_the_role_one_gets() {
    let info = accepted(handshake().on_message(hello("realm1", roles().with("authrole", "admin"))));
    assert_eq!(info.authrole, "guest");
}

#[tokio::test]
async fn realms_are_checked() {
    assert_eq!(
        aborted(handshake().on_message(hello("no.such", roles()))),
        error_uri::NO_SUCH_REALM
    );
    for realm in ["bad realm", "a..b", "#", ""] {
        assert_eq!(
            aborted(handshake().on_message(hello(realm, roles()))),
            error_uri::INVALID_URI,
            "{realm}"
        );
    }
}

#[tokio::test]
async fn methods_that_are_not_for_the_realm_are_refused() {
    let offer = |realm: &str, methods: &[&str]| {
        let methods: Vec<Value> = methods.iter().map(|m| Value::Text((*m).into())).collect();
        aborted(handshake().on_message(hello(realm, roles().with("authmethods", methods).with("authid", "lamp"))))
    };
    assert_eq!(offer("closed", &["anonymous"]), error_uri::AUTHENTICATION_REQUIRED);
    assert_eq!(offer("closed", &[]), error_uri::AUTHENTICATION_REQUIRED);
    assert_eq!(offer("closed", &["ticket", "anonymous"]), error_uri::NO_MATCHING_AUTH_METHOD);
    assert_eq!(offer("realm1", &["wampcra", "scram"]), error_uri::NO_MATCHING_AUTH_METHOD);
}

fn challenged(authid: &str) -> Handshake {
    let mut handshake = handshake();
    let details = roles()
        .with("authmethods", vec![Value::Text("ticket".into())])
        .with("authid", authid);
    match handshake.on_message(hello("realm1", details)) {
        Step::Send(Message::Challenge { method, .. }) => assert_eq!(method, "ticket"),
        other => panic!("no CHALLENGE but {other:?}"),
    }
    handshake
}

/// What becomes of AUTHENTICATE once it is judged.
fn judged(handshake: &mut Handshake, ticket: &str) -> Step {
    match handshake.on_message(authenticate(ticket)) {
        Step::Judge(attempt) => handshake.on_verified(attempt.judge()),
        other => other,
    }
}

fn authenticate(ticket: &str) -> Message {
    Message::Authenticate {
        signature: ticket.into(),
        extra: Dict::new(),
    }
}

#[tokio::test]
async fn the_right_ticket_opens_and_the_wrong_one_and_the_unknown_user_get_the_same_answer() {
    let info = accepted(judged(&mut challenged("lamp"), "shines"));
    assert_eq!(
        (info.authid.as_str(), info.authrole.as_str(), info.authmethod.as_str()),
        ("lamp", "device", "ticket")
    );
    let wrong = format!("{:?}", judged(&mut challenged("lamp"), "dark"));
    let unknown = format!("{:?}", judged(&mut challenged("ghost"), "shines"));
    assert_eq!(wrong, unknown);
    assert_eq!(
        aborted(judged(&mut challenged("lamp"), "dark")),
        error_uri::AUTHENTICATION_DENIED
    );
}

#[tokio::test]
async fn messages_out_of_turn_are_violations_and_nothing_follows_them() {
    for message in [
        hello("realm1", roles()),
        Message::Goodbye {
            details: Dict::new(),
            reason: "a.b".into(),
        },
    ] {
        let mut handshake = challenged("lamp");
        assert_eq!(aborted(handshake.on_message(message)), error_uri::PROTOCOL_VIOLATION);
        assert_eq!(
            aborted(handshake.on_message(authenticate("shines"))),
            error_uri::PROTOCOL_VIOLATION
        );
    }
    assert_eq!(
        aborted(handshake().on_message(authenticate("shines"))),
        error_uri::PROTOCOL_VIOLATION
    );
}

#[tokio::test]
async fn an_abort_by_the_client_closes_in_silence() {
    let abort = || abort_message("com.tired", "");
    assert!(matches!(handshake().on_message(abort()), Step::Close));
    assert!(matches!(challenged("lamp").on_message(abort()), Step::Close));
}
