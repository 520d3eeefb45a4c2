//! Sessions of clients that were written for other routers, side by side with such that do as the text says.

use std::time::Duration;

use crate::{
    router::{
        BarrierOutcome::Passed,
        CancelAnswer, Compat, Disclosure, Effect, ErrorUris, MetaResults, OnLeave, PeerFrame, RequestIdCheck, TimeoutUnit,
        frame::CallId,
        testing::{NODE_2, TestRealm, TestSession, error_of, invoke, is_abort, meta_call, payload, request, result_of, secs},
    },
    wamp::{Dict, Message, PublicationId, RequestId, Uri, Value},
};

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn joins(realm: &TestRealm, features: &[&str], compat: Compat) -> TestSession {
    let session = realm.join_changed(|info| {
        info.features = features.iter().map(|feature| (*feature).to_owned()).collect();
        info.compat = compat;
    });
    realm.commit();
    session
}

fn with_uris(realm: &TestRealm, error_uris: ErrorUris) -> TestSession {
    let compat = Compat {
        error_uris,
        ..Compat::default()
    };
    joins(realm, &[], compat)
}

fn seconds() -> Compat {
    Compat {
        timeout_unit: Some(TimeoutUnit::Seconds),
        ..Compat::default()
    }
}

fn limit(n: u64) -> Dict {
    Dict::new().with("timeout", n)
}

fn calls_under(who: &TestSession, id: u64) -> Vec<Effect> {
    who.says(Message::Call {
        request: request(id),
        options: Dict::new(),
        procedure: Uri::from("com.add"),
        payload: payload("question"),
    })
}

#[test]
fn each_session_has_its_own_check_of_request_ids() {
    let realm = TestRealm::new();
    let callee = realm.join();
    callee.registers("com.add");
    let [lenient, off] = [RequestIdCheck::Lenient, RequestIdCheck::Off].map(|check| {
        let compat = Compat {
            request_id_check: Some(check),
            ..Compat::default()
        };
        joins(&realm, &[], compat)
    });
    let strict = realm.join();
    for id in [77, 5, 1 << 53] {
        for old in [&lenient, &off] {
            assert!(matches!(calls_under(old, id)[..], [Effect::Send { session, .. }] if session == callee.id));
        }
    }
    assert_eq!(error_of(&calls_under(&off, 77)), "wamp.error.invalid_argument");
    assert!(is_abort(
        &calls_under(&lenient, 77),
        &lenient,
        "request_id_check = \"lenient\""
    ));
    assert!(is_abort(&calls_under(&strict, 77), &strict, "request_id_check = \"strict\""));
}

#[test]
fn a_strict_session_in_a_lenient_realm_is_strict() {
    let realm = TestRealm::with(|config| config.request_id_check = RequestIdCheck::Lenient);
    let compat = Compat {
        request_id_check: Some(RequestIdCheck::Strict),
        ..Compat::default()
    };
    let strict = joins(&realm, &[], compat);
    assert!(is_abort(&calls_under(&strict, 2), &strict, "request_id_check"));
    let (bob, plain) = (realm.join(), joins(&realm, &[], compat));
    bob.registers("com.add");
    let now = realm.now();
    let short = |who: &TestSession, id| realm.inside(|r| r.plain_route(now, who.id, request(id), "com.add").is_some());
    assert!(short(&plain, 1), "and may take the short way");
    assert!(!short(&bob, 2), "which needs ids that rise");
}

#[test]
fn each_caller_counts_time_in_its_own_unit() {
    let realm = TestRealm::new();
    let (alice, patient) = (realm.join(), joins(&realm, &[], seconds()));
    realm.join().registers("com.add");
    let (quick, _) = alice.asks("com.add", limit(10));
    let (long, _) = patient.asks("com.add", limit(10));
    let timeout = "wamp.error.timeout";
    assert_eq!(realm.pass(ms(10)), [alice.gets_call_error(quick, timeout, Dict::new())]);
    assert_eq!(realm.pass(ms(9_989)), []);
    assert_eq!(realm.pass(ms(1)), [patient.gets_call_error(long, timeout, Dict::new())]);
}

#[test]
fn each_callee_reads_time_in_its_own_unit_wherever_the_call_comes_from() {
    let realm = TestRealm::new();
    let (alice, patient) = (realm.join(), joins(&realm, &[], seconds()));
    let features = ["callee.call_timeout"];
    let keeps = Dict::new().with("forward_timeout", true);
    for (caller, callee, asked, told) in [
        (&alice, realm.join_with(&features), 1_500, 1_500),
        (&alice, joins(&realm, &features, seconds()), 1_500, 2),
        (&patient, realm.join_with(&features), 3, 3_000),
        (&patient, joins(&realm, &features, seconds()), 3, 3),
    ] {
        let procedure = format!("com.add{}", callee.id);
        let (id, _) = callee.registers_with(&procedure, keeps.clone());
        let (_, effects) = caller.asks(&procedure, limit(asked));
        assert_eq!(effects, [callee.gets_invocation_with(1, id, limit(told))]);
    }
    // Between nodes it is milliseconds.
    realm.link(NODE_2);
    let callee = joins(&realm, &features, seconds());
    let (id, _) = callee.registers_with("com.remote", keeps);
    let mut frame = invoke(7, id, callee.id, 1);
    if let PeerFrame::Invoke { details, .. } = &mut frame {
        *details = limit(2_000);
    }
    assert_eq!(realm.hears(NODE_2, frame), [callee.gets_invocation_with(1, id, limit(2))]);
}

#[test]
fn a_limit_travels_in_milliseconds() {
    let realm = TestRealm::new();
    let patient = joins(&realm, &[], seconds());
    let op = crate::router::Op::Register {
        session: crate::router::testing::session(201),
        request: request(1),
        procedure: Uri::from("com.add"),
        policy: crate::router::MatchPolicy::Exact,
        invoke: crate::router::InvokePolicy::Single,
        conflict: crate::router::OnConflict::Refuse,
        wishes: crate::router::RegisterWishes {
            forward_timeout: true,
            ..crate::router::RegisterWishes::NONE
        },
    };
    realm.commit_by(NODE_2, op);
    realm.link(NODE_2);
    let (_, effects) = patient.asks("com.add", limit(2));
    let told = effects.iter().find_map(|effect| match effect {
        Effect::Forward {
            frame: PeerFrame::Invoke { details, call, .. },
            ..
        } => Some((*call, details.clone())),
        _ => None,
    });
    assert_eq!(told, Some((CallId(1), limit(2_000))));
}

#[test]
fn errors_of_the_router_have_the_names_a_client_knows() {
    let realm = TestRealm::with(|config| config.disclosure = Disclosure::Deny);
    let text = realm.join();
    let [autobahn, crossbar] = [ErrorUris::Autobahn, ErrorUris::Crossbar].map(|uris| with_uris(&realm, uris));
    realm.join().registers("com.add");
    realm.join().shares("com.shared", "first");
    let disclosed = Dict::new().with("disclose_me", true);
    for (who, not_disclosed, conflict, timeout) in [
        (
            &text,
            "wamp.error.option_disallowed.disclose_me",
            "wamp.error.procedure_already_exists",
            "wamp.error.timeout",
        ),
        (
            &autobahn,
            "wamp.error.disclose_me.not_allowed",
            "wamp.error.procedure_exists_with_different_invocation_policy",
            "wamp.error.timeout",
        ),
        (
            &crossbar,
            "wamp.error.disclose_me.not_allowed",
            "wamp.error.procedure_exists_with_different_invocation_policy",
            "wamp.error.canceled",
        ),
    ] {
        assert_eq!(error_of(&who.asks("com.add", disclosed.clone()).1), not_disclosed);
        let acknowledged = disclosed.clone().with("acknowledge", true);
        assert_eq!(error_of(&who.publishes("com.topic", acknowledged).1), not_disclosed);
        let registers = |procedure: &str, invoke: &str| {
            who.asks_to_register(procedure, Dict::new().with("invoke", invoke));
            error_of(&realm.commit()).to_owned()
        };
        assert_eq!(registers("com.shared", "last"), conflict);
        assert_eq!(registers("com.add", "last"), "wamp.error.procedure_already_exists");
        who.asks("com.add", limit(10));
        assert_eq!(error_of(&realm.pass(ms(10))), timeout);
    }
}

#[test]
fn a_callees_own_error_keeps_its_name() {
    let realm = TestRealm::new();
    let (crossbar, bob) = (with_uris(&realm, ErrorUris::Crossbar), realm.join());
    bob.registers("com.add");
    crossbar.calls("com.add");
    assert_eq!(error_of(&bob.fails(1, "wamp.error.timeout")), "wamp.error.timeout");
}

#[test]
fn callees_that_have_enough_to_do_have_crossbars_name() {
    let realm = TestRealm::new();
    let crossbar = with_uris(&realm, ErrorUris::Crossbar);
    realm
        .join()
        .registers_with("com.add", Dict::new().with("concurrency", 1_u64).with("invoke", "roundrobin"));
    crossbar.calls("com.add");
    crossbar.calls("com.add");
    assert_eq!(error_of(&realm.barrier(Passed)), "crossbar.error.max_concurrency_reached");
}

#[test]
fn killed_sessions_are_counted_or_listed() {
    let realm = TestRealm::new();
    let compat = Compat {
        meta_results: MetaResults::Crossbar,
        ..Compat::default()
    };
    let (text, crossbar) = (realm.join(), joins(&realm, &[], compat));
    let in_role = |role: &str| {
        let session = realm.join_changed(|info| role.clone_into(&mut info.authrole));
        realm.commit();
        Value::from(session.id.get())
    };
    let kill = |who: &TestSession, role: &str| {
        let effects = meta_call(who, "wamp.session.kill_by_authrole", &[Value::from(role)], Dict::new());
        result_of(&effects, who)
    };
    in_role("a");
    assert_eq!(kill(&text, "a"), [Value::from(1_u64)]);
    let victims: Vec<Value> = ["b", "b"].map(in_role).to_vec();
    assert_eq!(kill(&crossbar, "b"), [Value::from(victims)]);
    assert_eq!(kill(&crossbar, "nobody"), [Value::from(Vec::<Value>::new())]);
}

#[test]
fn testaments_are_answered_with_what_crossbar_answers() {
    let realm = TestRealm::new();
    let compat = Compat {
        meta_results: MetaResults::Crossbar,
        ..Compat::default()
    };
    let (listener, crossbar) = (realm.join(), joins(&realm, &[], compat));
    listener.subscribes("com.will");
    let calls = |procedure: &str, args: &[Value]| {
        meta_call(&crossbar, procedure, args, Dict::new());
        result_of(&realm.commit(), &crossbar)
    };
    let will = [Value::from("com.will"), Vec::<Value>::new().into(), Dict::new().into()];
    calls("wamp.session.add_testament", &will);
    assert_eq!(calls("wamp.session.flush_testaments", &[]), [Value::from(1_u64)]);
    assert_eq!(calls("wamp.session.flush_testaments", &[]), [Value::from(0_u64)]);
    let told = calls("wamp.session.add_testament", &will);
    crossbar.leaves();
    let published: Vec<PublicationId> = realm
        .commit()
        .iter()
        .filter_map(|effect| match effect {
            Effect::Fanout {
                message: Message::Event { publication, .. },
                ..
            } => Some(*publication),
            _ => None,
        })
        .collect();
    assert_eq!(told, published.iter().map(|id| Value::from(id.get())).collect::<Vec<_>>());
}

#[test]
fn some_hear_the_id_alone_of_who_leaves() {
    let realm = TestRealm::new();
    let compat = Compat {
        on_leave: OnLeave::Id,
        ..Compat::default()
    };
    let sessions = [
        (realm.join(), "wamp.session.on_leave", 3),
        (joins(&realm, &[], compat), "wamp.session.on_leave", 1),
        (realm.join(), "wamp.session.", 3),
        (joins(&realm, &[], compat), "wamp.session.", 1),
    ];
    for (session, topic, _) in &sessions {
        let policy = if topic.ends_with('.') { "prefix" } else { "exact" };
        session.subscribes_with(topic, Dict::new().with("match", policy));
    }
    let gone = realm.join_changed(|_| {});
    realm.commit();
    gone.leaves();
    let effects = realm.commit();
    let mut publications = Vec::new();
    for (session, topic, len) in &sessions {
        let heard: Vec<_> = effects
            .iter()
            .filter_map(|effect| match effect {
                Effect::Fanout {
                    sessions,
                    message: Message::Event {
                        publication, payload, ..
                    },
                } if sessions.contains(&session.id) => Some((*publication, payload.to_values().unwrap().0)),
                _ => None,
            })
            .collect();
        assert_eq!(heard.len(), 1, "{topic}: each hears it once: {effects:?}");
        assert_eq!(
            (heard[0].1[0].clone(), heard[0].1.len()),
            (Value::from(gone.id.get()), *len),
            "{topic}"
        );
        publications.push(heard[0].0);
    }
    publications.dedup();
    assert_eq!(publications.len(), 1, "it is one publication");
}

#[test]
fn results_in_parts_come_from_callees_that_cannot_be_canceled_where_the_listener_says_so() {
    let realm = TestRealm::new();
    let lenient = Compat {
        progress_without_canceling: true,
        ..Compat::default()
    };
    let alice = realm.join_with(&["caller.progressive_call_results"]);
    let wanted = || Dict::new().with("receive_progress", true);
    for (compat, parts) in [(Compat::default(), false), (lenient, true)] {
        let bob = joins(&realm, &["callee.progressive_call_results"], compat);
        let procedure = format!("com.add{}", bob.id);
        let add = bob.registers(&procedure);
        let (call, effects): (RequestId, _) = alice.asks(&procedure, wanted());
        let details = if parts { wanted() } else { Dict::new() };
        assert_eq!(effects, [bob.gets_invocation_with(1, add, details)]);
        let more = Dict::new().with("progress", true);
        let expected = if parts {
            vec![alice.gets_result_with(call, more.clone())]
        } else {
            Vec::new()
        };
        assert_eq!(bob.yields_with(1, more), expected);
        assert_eq!(
            alice.cancels(call, "kill"),
            [alice.gets_call_error(call, "wamp.error.canceled", Dict::new())]
        );
    }
    assert_eq!(realm.pass(secs(1)), []);
}

#[test]
fn who_forgets_the_calls_it_cancels_hears_no_more_of_them() {
    let realm = TestRealm::new();
    let forgetful = Compat {
        cancel_answer: CancelAnswer::Kill,
        ..Compat::default()
    };
    let alice = joins(&realm, &[], forgetful);
    let bob = realm.join_with(&["callee.call_canceling"]);
    bob.registers("com.add");
    for (n, mode) in [(1, "killnowait"), (2, "skip")] {
        let (call, _) = alice.asks("com.add", limit(100));
        let effects = alice.cancels(call, mode);
        let told = matches!(effects[..], [Effect::Send { session, .. }] if session == bob.id);
        assert!(
            told == (mode == "killnowait") && effects.len() == usize::from(told),
            "{mode}: {effects:?}"
        );
        assert_eq!(bob.yields(n), [], "what the callee still says harms nobody");
    }
    assert_eq!(realm.pass(secs(1)), [], "nor does the clock");
    // In mode `kill` it waits for the callee's word.
    let (call, _) = alice.calls("com.add");
    assert_eq!(
        alice.cancels(call, "kill"),
        [bob.gets_interrupt(3, "kill", "wamp.error.canceled")]
    );
    assert_eq!(error_of(&bob.fails(3, "com.stopped")), "com.stopped");
    // A call that waits for a read barrier is forgotten too.
    let (parked, effects) = alice.calls("com.none");
    assert_eq!(effects, [Effect::Barrier]);
    assert_eq!(alice.cancels(parked, "skip"), []);
    assert_eq!(realm.barrier(Passed), []);
    assert_eq!(realm.stats().calls_canceled, 3);
}
