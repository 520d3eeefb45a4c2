//! Procedures of clients that decide: who may do what, and what the shell asks.

use std::time::Duration;

use crate::{
    router::{
        Answered, Ask, Disclosure, Effect, Input, MatchPolicy, PeerFrame, Permission, Policy, Right, Rights, Role,
        testing::{NODE_2, TestRealm, TestSession, error_of, invoked, meta_call, request, result_of, secs},
    },
    wamp::{Dict, Message, Payload, Serializer, Uri, Value},
};

const JUDGE: &str = "com.judge";
const NOT_AUTHORIZED: &str = "wamp.error.not_authorized";
const FAILED: &str = "wamp.error.authorization_failed";

fn permission(allow: &[Right], deny: &[Right], policy: MatchPolicy, uri: &str) -> Permission {
    Permission {
        uri: Uri::from(uri),
        policy,
        allow: allow.iter().copied().collect::<Rights>(),
        deny: deny.iter().copied().collect::<Rights>(),
        disclose: None,
    }
}

/// `guest` may call `com.free` and may not call `com.locked`; of the rest the judge decides. `admin` may do everything.
fn policy() -> Policy {
    let guest = vec![
        permission(&[Right::Call], &[], MatchPolicy::Exact, "com.free"),
        permission(&[], &[Right::Call, Right::Subscribe], MatchPolicy::Exact, "com.locked"),
    ];
    Policy::new([
        ("guest".to_owned(), Role::new(guest)),
        ("admin".to_owned(), Role::new(vec![Permission::all()])),
    ])
    .asking(Some(Uri::from(JUDGE)))
}

fn realm() -> TestRealm {
    TestRealm::with(|config| {
        config.policy = policy();
        config.authorizer_timeout = Duration::from_secs(3);
        config.authorizer_cache = Duration::from_secs(60);
    })
}

fn join(realm: &TestRealm, role: &str) -> TestSession {
    let session = realm.join_changed(|info| {
        info.authrole = role.to_owned();
        info.features = ["callee.registration_revocation", "subscriber.subscription_revocation"]
            .map(str::to_owned)
            .to_vec();
    });
    realm.commit();
    session
}

/// A judge, somebody who answers calls, and a guest.
fn court(realm: &TestRealm) -> (TestSession, TestSession, TestSession) {
    let (judge, callee, guest) = (join(realm, "admin"), join(realm, "admin"), join(realm, "guest"));
    judge.registers(JUDGE);
    (judge, callee, guest)
}

/// The questions that were put to the judge: URI and action of each.
fn asked(effects: &[Effect], judge: &TestSession) -> Vec<(String, String)> {
    let of = |effect: &Effect| match effect {
        Effect::Send {
            session,
            message: Message::Invocation { payload, .. },
        } if *session == judge.id => {
            let (args, _) = payload.to_values().unwrap();
            let text = |at: usize| args[at].as_text().unwrap().to_owned();
            assert_eq!(args[0].as_dict().unwrap().text("authrole"), Some("guest"));
            Some((text(1), text(2)))
        }
        _ => None,
    };
    effects.iter().filter_map(of).collect()
}

fn says(judge: &TestSession, invocation: u64, answer: Value) -> Vec<Effect> {
    judge.says(Message::Yield {
        request: request(invocation),
        options: Dict::new(),
        payload: Payload::from_values(Serializer::Json, &[answer], &Dict::new()),
    })
}

fn question(uri: &str, action: &str) -> Vec<(String, String)> {
    vec![(uri.to_owned(), action.to_owned())]
}

#[test]
fn what_no_permission_decides_is_asked_about_and_the_answer_remembered() {
    let realm = realm();
    let (judge, callee, guest) = court(&realm);
    callee.registers("com.add");
    let (_, effects) = guest.calls("com.add");
    assert_eq!(asked(&effects, &judge), question("com.add", "call"));
    assert_eq!(invoked(&says(&judge, 1, true.into())), callee.id);
    let (_, effects) = guest.calls("com.add");
    assert_eq!(invoked(&effects), callee.id, "remembered");
    realm.pass(secs(61));
    let (_, effects) = guest.calls("com.add");
    assert_eq!(asked(&effects, &judge), question("com.add", "call"), "forgotten in time");
    assert_eq!(error_of(&says(&judge, 2, false.into())), NOT_AUTHORIZED);
    assert_eq!(
        error_of(&guest.calls("com.add").1),
        NOT_AUTHORIZED,
        "a denial is remembered too"
    );
}

#[test]
fn what_permissions_decide_is_asked_of_nobody() {
    let realm = realm();
    let (judge, callee, guest) = court(&realm);
    callee.registers("com.free");
    callee.registers("com.locked");
    assert_eq!(invoked(&guest.calls("com.free").1), callee.id);
    assert_eq!(error_of(&guest.calls("com.locked").1), NOT_AUTHORIZED);
    // An admin may do everything, the judge among them.
    assert_eq!(invoked(&callee.calls("com.free").1), callee.id);
    assert_eq!(realm.stats().questions, 0);
    // A pattern that a denial lies in is refused, whatever the judge thinks.
    let pattern = |uri: &str| {
        guest.says(Message::Subscribe {
            request: guest.next(),
            options: Dict::new().with("match", "prefix"),
            topic: uri.into(),
        })
    };
    assert_eq!(error_of(&pattern("com.")), NOT_AUTHORIZED);
    assert_eq!(realm.stats().questions, 0);
    assert_eq!(asked(&pattern("com.news."), &judge), question("com.news.", "subscribe"));
}

#[test]
fn requests_wait_in_their_order_and_answers_to_invocations_do_not() {
    let realm = realm();
    let (judge, callee, guest) = court(&realm);
    callee.registers("com.add");
    callee.registers("com.free");
    let own = {
        let (_, effects) = guest.asks_to_register("com.own", Dict::new());
        assert_eq!(asked(&effects, &judge), question("com.own", "register"));
        says(&judge, 1, true.into());
        realm.commit();
        callee.calls("com.own");
        1
    };
    assert_eq!(asked(&guest.calls("com.add").1, &judge), question("com.add", "call"));
    assert_eq!(
        guest.calls("com.free").1,
        [],
        "what is permitted waits behind what is not decided"
    );
    assert_eq!(guest.publishes("com.news", Dict::new()).1, []);
    assert!(!guest.yields(own).is_empty(), "an answer waits for nobody");
    let effects = says(&judge, 2, true.into());
    let invocations = effects.iter().filter_map(|effect| match effect {
        Effect::Send {
            message: Message::Invocation { request, .. },
            session,
        } if *session == callee.id => Some(request.get()),
        _ => None,
    });
    assert_eq!(invocations.collect::<Vec<_>>(), [1, 2]);
    assert_eq!(
        asked(&effects, &judge),
        question("com.news", "publish"),
        "then the next is asked about"
    );
}

#[test]
fn where_nobody_decides_requests_are_refused_and_say_so() {
    let realm = realm();
    let guest = join(&realm, "guest");
    // Nobody has registered the procedure.
    assert_eq!(guest.calls("com.add").1, [Effect::Barrier]);
    let effects = realm.barrier(crate::router::BarrierOutcome::Passed);
    assert_eq!(error_of(&effects), FAILED);
    assert_eq!(error_of(&guest.calls("com.add").1), FAILED, "not asked anew for a second");
    realm.pass(secs(2));
    // Nonsense, an error, no answer in time.
    let judge = join(&realm, "admin");
    judge.registers(JUDGE);
    let (_, effects) = guest.asks_to_subscribe("com.news");
    assert_eq!(asked(&effects, &judge), question("com.news", "subscribe"));
    assert_eq!(error_of(&says(&judge, 1, Value::from("yes"))), FAILED);
    let loud = Dict::new().with("acknowledge", true);
    guest.publishes("com.news", loud);
    assert_eq!(error_of(&judge.fails(2, "com.example.broken")), FAILED);
    guest.asks_to_register("com.own", Dict::new());
    let effects = realm.pass(secs(4));
    assert!(effects.iter().any(|effect| matches!(
        effect,
        Effect::Send { session, message: Message::Error { error, .. } } if *session == guest.id && error.as_str() == FAILED
    )));
    assert_eq!(realm.stats().undecided, 4);
    // A judge that leaves decides nothing either.
    guest.calls("com.other");
    let effects = judge.leaves();
    assert!(effects.iter().any(|effect| matches!(
        effect,
        Effect::Send { session, message: Message::Error { error, .. } } if *session == guest.id && error.as_str() == FAILED
    )));
}

#[test]
fn an_answer_may_forbid_to_remember_it_and_may_disclose() {
    let realm = realm();
    let (judge, callee, guest) = court(&realm);
    callee.registers("com.add");
    let once = || Dict::new().with("allow", true).with("cache", false).with("disclose", true);
    for n in 1..=2 {
        assert_eq!(asked(&guest.calls("com.add").1, &judge), question("com.add", "call"));
        let effects = says(&judge, n, once().into());
        let [
            Effect::Send {
                message: Message::Invocation { details, .. },
                ..
            },
        ] = effects.as_slice()
        else {
            panic!("{effects:?}");
        };
        assert!(details.get("caller").is_some(), "disclosed");
    }
    assert_eq!(Disclosure::default(), Disclosure::Allow);
}

#[test]
fn an_invalidation_has_all_asked_anew_and_ends_what_is_not_allowed_any_more() {
    let realm = realm();
    let (judge, callee, guest) = court(&realm);
    callee.registers("com.add");
    guest.calls("com.add");
    says(&judge, 1, true.into());
    for (n, topic) in [(2, "com.kept"), (3, "com.lost")] {
        guest.asks_to_subscribe(topic);
        says(&judge, n, true.into());
    }
    let effects = meta_call(
        &callee,
        "ringfort.authorizer.invalidate",
        &[Value::from("nobody")],
        Dict::new(),
    );
    assert_eq!(result_of(&effects, &callee), [Value::from(0_u64)]);
    let effects = meta_call(&callee, "ringfort.authorizer.invalidate", &[], Dict::new());
    assert_eq!(result_of(&effects, &callee), [Value::from(1_u64)]);
    // What it has is asked about, one after the other.
    let mut next = asked(&effects, &judge);
    for n in 4..=5 {
        assert_eq!(next.len(), 1, "{next:?}");
        let effects = says(&judge, n, (next[0].0 == "com.kept").into());
        let ended = effects
            .iter()
            .any(|effect| matches!(effect, Effect::SubscriptionEnded { .. }));
        assert_eq!(ended, next[0].0 == "com.lost");
        next = asked(&effects, &judge);
    }
    assert_eq!(next, []);
    assert_eq!(asked(&guest.calls("com.add").1, &judge), question("com.add", "call"));
}

#[test]
fn an_answer_from_before_an_invalidation_counts_for_nothing() {
    let realm = realm();
    let (judge, callee, guest) = court(&realm);
    callee.registers("com.add");
    guest.calls("com.add");
    meta_call(&callee, "ringfort.authorizer.invalidate", &[], Dict::new());
    let effects = says(&judge, 1, true.into());
    assert_eq!(asked(&effects, &judge), question("com.add", "call"));
    assert_eq!(error_of(&says(&judge, 2, false.into())), NOT_AUTHORIZED);
}

#[test]
fn a_judge_of_another_node_is_asked_and_one_that_is_lost_decides_nothing() {
    let realm = realm();
    realm.link(NODE_2);
    realm.registered_elsewhere(NODE_2, 900, JUDGE);
    let (callee, guest) = (join(&realm, "admin"), join(&realm, "guest"));
    callee.registers("com.add");
    let (_, effects) = guest.calls("com.add");
    let call = effects.iter().find_map(|effect| match effect {
        Effect::Forward {
            frame: PeerFrame::Invoke { call, .. },
            ..
        } => Some(*call),
        _ => None,
    });
    let answer = PeerFrame::Result {
        call: call.expect("it is asked there"),
        details: Dict::new(),
        payload: Payload::from_values(Serializer::Json, &[true.into()], &Dict::new()),
    };
    assert_eq!(invoked(&realm.hears(NODE_2, answer)), callee.id);
    guest.calls("com.other");
    let effects = realm.input(Input::PeerDown { node: NODE_2 });
    assert!(effects.iter().any(|effect| matches!(
        effect,
        Effect::Send { session, message: Message::Error { error, .. } } if *session == guest.id && error.as_str() == FAILED
    )));
}

#[test]
fn the_shell_gets_one_answer_and_the_routers_session_is_seen_by_nobody() {
    let realm = realm();
    let (judge, callee, _) = court(&realm);
    let ask = |ticket| Ask {
        ticket,
        procedure: Uri::from(JUDGE),
        payload: Payload::EMPTY,
        timeout: Duration::from_secs(1),
    };
    let effects = realm.input(Input::Ask(Box::new(ask(7))));
    assert_eq!(invoked(&effects), judge.id);
    let answered = |effects: &[Effect]| {
        let of = |effect: &Effect| match effect {
            Effect::Answered(answered) => Some((**answered).clone()),
            _ => None,
        };
        effects.iter().filter_map(of).collect::<Vec<Answered>>()
    };
    let effects = says(&judge, 1, Value::from("device"));
    let answers = answered(&effects);
    let [
        Answered {
            ticket: 7,
            outcome: Ok(payload),
        },
    ] = answers.as_slice()
    else {
        panic!("{effects:?}");
    };
    assert_eq!(payload.to_values().unwrap().0, [Value::from("device")]);
    realm.input(Input::Ask(Box::new(ask(8))));
    let late = answered(&realm.pass(secs(2)));
    assert!(matches!(late.as_slice(), [Answered { ticket: 8, outcome: Err(error) }] if error.as_str() == "wamp.error.timeout"));
    assert_eq!(
        result_of(&meta_call(&callee, "wamp.session.count", &[], Dict::new()), &callee),
        [Value::from(3_u64)]
    );
    let effects = meta_call(&callee, "wamp.session.kill_all", &[], Dict::new());
    assert_eq!(
        effects.iter().filter(|effect| matches!(effect, Effect::Kill { .. })).count(),
        2
    );
    realm.input(Input::Ask(Box::new(ask(9))));
}
