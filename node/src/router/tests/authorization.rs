//! Who may do what: refusals, what stays out of sight, and what ends with a right.

use std::time::Instant;

use crate::{
    auth::Principal,
    router::{
        Change, Changed, Disclosure, Effect, MatchPolicy, PeerFrame, Permission, Policy, Right, Role, TopicKey,
        dealer::plain::{PlainCallee, PlainRoute},
        policy::{
            Request,
            testing::{allow, deny},
        },
        testing::{
            NODE_2, TestRealm, TestSession, error_of, invoke, meta_call, request, result, result_of, session, topics, values,
        },
        turn::Turn,
    },
    wamp::{Dict, Message, Uri, Value, message::code},
};
use MatchPolicy::{Exact, Prefix};

/// A role `guest` with these permissions, and one `admin` that may do everything.
fn policy(permissions: &[Permission]) -> Policy {
    Policy::new([
        ("guest".to_owned(), Role::new(permissions.to_vec())),
        ("admin".to_owned(), Role::new(vec![Permission::all()])),
    ])
}

fn realm(permissions: &[Permission]) -> TestRealm {
    TestRealm::with(|config| config.policy = policy(permissions))
}

fn join(realm: &TestRealm, role: &str) -> TestSession {
    let features = [
        "callee.call_canceling",
        "callee.registration_revocation",
        "subscriber.subscription_revocation",
    ];
    let session = realm.join_changed(|info| {
        info.authrole = role.to_owned();
        info.features = features.map(str::to_owned).to_vec();
    });
    realm.commit();
    session
}

/// Puts other permissions of `guest` in force.
fn change(realm: &TestRealm, permissions: &[Permission]) -> Vec<Effect> {
    let now: Instant = realm.now();
    let mut effects = Vec::new();
    realm.inside(|realm| {
        let turn = &mut Turn {
            now,
            effects: &mut effects,
        };
        realm.put_in_force(turn, policy(permissions));
        realm.check_invariants().expect("invariants hold");
    });
    for effect in &effects {
        if let Effect::Propose { op } = effect {
            effects_of_commit(realm, op);
        }
    }
    effects
}

fn effects_of_commit(realm: &TestRealm, op: &crate::router::Op) {
    let _ = realm.commit_by(crate::router::testing::ME, op.clone());
}

const NOT_AUTHORIZED: &str = "wamp.error.not_authorized";

#[test]
fn nothing_is_permitted_that_is_not_allowed() {
    let realm = realm(&[]);
    for role in ["guest", "ghost"] {
        let guest = join(&realm, role);
        assert_eq!(error_of(&guest.calls("com.add").1), NOT_AUTHORIZED);
        assert_eq!(error_of(&guest.calls("wamp.session.count").1), NOT_AUTHORIZED);
        assert_eq!(error_of(&guest.asks_to_register("com.add", Dict::new()).1), NOT_AUTHORIZED);
        assert_eq!(error_of(&guest.asks_to_subscribe("com.news").1), NOT_AUTHORIZED);
        let loud = Dict::new().with("acknowledge", true);
        assert_eq!(error_of(&guest.publishes("com.news", loud).1), NOT_AUTHORIZED);
        assert_eq!(guest.publishes("com.news", Dict::new()).1, []);
    }
    assert_eq!(realm.stats().unauthorized, 12);
}

#[test]
fn a_refusal_says_what_is_missing_and_nothing_of_what_is_there() {
    let realm = realm(&[]);
    let (admin, guest) = (join(&realm, "admin"), join(&realm, "guest"));
    admin.registers("com.there");
    let refusals: Vec<Effect> = ["com.there", "com.nowhere"]
        .into_iter()
        .map(|procedure| {
            let (request, effects) = guest.calls(procedure);
            let details = Dict::new().with("message", format!("role guest lacks the permission to call {procedure}"));
            assert_eq!(effects, [guest.gets_call_error(request, NOT_AUTHORIZED, details)]);
            effects.into_iter().next().unwrap()
        })
        .collect();
    assert_eq!(refusals.len(), 2);
}

#[test]
fn each_verb_is_permitted_by_itself() {
    for right in [Right::Call, Right::Register, Right::Publish, Right::Subscribe] {
        let realm = realm(&[allow(right.name(), Prefix, "com.")]);
        let (admin, guest) = (join(&realm, "admin"), join(&realm, "guest"));
        admin.registers("com.add");
        let refused = |effects: Vec<Effect>| match effects.first() {
            Some(Effect::Send {
                message: Message::Error { error, .. },
                ..
            }) => error.as_str() == NOT_AUTHORIZED,
            _ => false,
        };
        assert_eq!(refused(guest.calls("com.add").1), right != Right::Call);
        assert_eq!(
            refused(guest.asks_to_register("com.mine", Dict::new()).1),
            right != Right::Register
        );
        assert_eq!(refused(guest.asks_to_subscribe("com.news").1), right != Right::Subscribe);
        let loud = Dict::new().with("acknowledge", true);
        assert_eq!(refused(guest.publishes("com.news", loud).1), right != Right::Publish);
    }
}

#[test]
fn patterns_are_granted_apart() {
    let realm = realm(&[
        allow("subscribe register", Prefix, "com."),
        allow("subscribe_pattern register_pattern", Prefix, "com.open."),
        deny("subscribe register", Exact, "com.open.secret"),
    ]);
    let guest = join(&realm, "guest");
    let by = |policy: &str| Dict::new().with("match", policy);
    let subscribe = |policy: &str, uri: &str| {
        let (request, topic) = (guest.next(), Uri::from(uri));
        guest.says(Message::Subscribe {
            request,
            options: by(policy),
            topic,
        })
    };
    assert_eq!(error_of(&subscribe("prefix", "com.")), NOT_AUTHORIZED);
    assert_eq!(
        error_of(&subscribe("prefix", "com.open.")),
        NOT_AUTHORIZED,
        "a denial is inside"
    );
    assert_eq!(error_of(&subscribe("wildcard", "com.open.")), NOT_AUTHORIZED, "here as well");
    assert!(matches!(subscribe("prefix", "com.open.a.")[..], [Effect::Interest { .. }]));
    assert!(matches!(subscribe("wildcard", "com.open..x")[..], [Effect::Interest { .. }]));
    for (policy, uri, taken) in [
        ("prefix", "com.", false),
        ("prefix", "com.open.", false),
        ("prefix", "com.open.a.", true),
        ("wildcard", "com.open..x", true),
        ("exact", "com.a", true),
    ] {
        let (_, effects) = guest.asks_to_register(uri, by(policy));
        assert_eq!(matches!(effects[..], [Effect::Propose { .. }]), taken, "{policy} {uri}");
    }
}

#[test]
fn taking_a_procedure_from_its_callee_is_a_right_of_its_own() {
    let permissions = [
        allow("register", Prefix, "com."),
        allow("force_reregister", Exact, "com.mine"),
    ];
    let realm = TestRealm::with(|config| {
        config.policy = policy(&permissions);
        config.allow_force_reregister = true;
    });
    let guest = join(&realm, "guest");
    let force = || Dict::new().with("force_reregister", true);
    assert_eq!(error_of(&guest.asks_to_register("com.other", force()).1), NOT_AUTHORIZED);
    let (_, effects) = guest.asks_to_register("com.mine", force());
    assert!(matches!(effects[..], [Effect::Propose { .. }]));
}

#[test]
fn the_short_way_of_a_call_is_no_way_around() {
    let realm = realm(&[allow("call", Exact, "com.open")]);
    let (admin, guest) = (join(&realm, "admin"), join(&realm, "guest"));
    let open = admin.registers("com.open");
    admin.registers("com.closed");
    let now = realm.now();
    let route = |who: &TestSession, number: u64, procedure: &str| {
        realm.inside(|realm| realm.plain_route(now, who.id, request(number), procedure))
    };
    // What was not asked before takes the ordinary way, which decides.
    assert_eq!(route(&guest, 1, "com.open"), None);
    assert_eq!(route(&guest, 1, "com.closed"), None);
    assert_eq!(guest.calls("com.open").1, [admin.gets_invocation(1, open)]);
    assert_eq!(error_of(&guest.calls("com.closed").1), NOT_AUTHORIZED);
    let there = Some(PlainRoute {
        registration: open,
        callee: PlainCallee::Here(admin.id),
    });
    assert_eq!(route(&guest, 3, "com.open"), there);
    assert_eq!(route(&guest, 3, "com.closed"), None);
    // The call under way ends with the right, and what was known is forgotten.
    change(&realm, &[]);
    assert_eq!(route(&guest, 3, "com.open"), None);
}

#[test]
fn what_a_session_asked_for_is_remembered_within_bounds() {
    let realm = realm(&[allow("publish", Prefix, "com.")]);
    let guest = join(&realm, "guest");
    for n in 0..2_000 {
        guest.publishes(&format!("com.topic{n}"), Dict::new());
        guest.publishes(&format!("org.topic{n}"), Dict::new());
    }
    let known = realm.inside(|realm| realm.sessions.get(guest.id).unwrap().may.known_count());
    assert!((1..=256).contains(&known), "{known}");
    assert_eq!((realm.stats().publications, realm.stats().unauthorized), (2_000, 2_000));
}

#[test]
fn a_permission_says_who_is_disclosed() {
    let disclosing = |disclose, uri| Permission {
        disclose: Some(disclose),
        ..allow("call publish", Exact, uri)
    };
    let realm = realm(&[
        disclosing(Disclosure::Always, "com.named"),
        disclosing(Disclosure::Deny, "com.hidden"),
        allow("call publish", Exact, "com.either"),
    ]);
    let (admin, guest) = (join(&realm, "admin"), join(&realm, "guest"));
    for procedure in ["com.named", "com.hidden", "com.either"] {
        admin.registers_with(procedure, Dict::new().with("disclose_caller", procedure == "com.hidden"));
        admin.subscribes(procedure);
    }
    let caller_in = |effects: &[Effect]| match effects {
        [
            Effect::Send {
                message: Message::Invocation { details, .. },
                ..
            },
        ] => details.get("caller").is_some(),
        [
            Effect::Fanout {
                message: Message::Event { details, .. },
                ..
            },
        ] => details.get("publisher").is_some(),
        other => panic!("{other:?}"),
    };
    let me = || Dict::new().with("disclose_me", true);
    assert!(caller_in(&guest.calls("com.named").1) && caller_in(&guest.publishes("com.named", Dict::new()).1));
    assert!(!caller_in(&guest.calls("com.hidden").1) && !caller_in(&guest.publishes("com.hidden", Dict::new()).1));
    assert!(!caller_in(&guest.calls("com.either").1) && caller_in(&guest.asks("com.either", me()).1));
    assert_eq!(
        error_of(&guest.asks("com.hidden", me()).1),
        "wamp.error.option_disallowed.disclose_me"
    );
    let loud = me().with("acknowledge", true);
    assert_eq!(
        error_of(&guest.publishes("com.hidden", loud).1),
        "wamp.error.option_disallowed.disclose_me"
    );
}

#[test]
fn the_meta_api_shows_what_the_asker_may_see() {
    let realm = realm(&[
        allow("call", Prefix, "wamp."),
        allow("subscribe", Prefix, "wamp."),
        allow("call", Exact, "com.open"),
        allow("publish", Exact, "com.news"),
    ]);
    let (admin, guest) = (join(&realm, "admin"), join(&realm, "guest"));
    for topic in ["create", "register", "unregister", "delete"] {
        guest.subscribes(&format!("wamp.registration.on_{topic}"));
        guest.subscribes(&format!("wamp.subscription.on_{topic}"));
    }
    guest.subscribes("wamp.subscription.on_subscribe");
    let (request, _) = admin.asks_to_register("com.secret", Dict::new());
    let told = realm.commit();
    assert_eq!(told.len(), 1, "REGISTERED of {request} and nothing to the guest: {told:?}");
    admin.asks_to_register("com.open", Dict::new());
    assert_eq!(
        topics(&realm, &realm.commit()),
        ["wamp.registration.on_create", "wamp.registration.on_register"]
    );
    admin.asks_to_register("com.open.pattern.", Dict::new().with("match", "prefix"));
    assert_eq!(values(&realm.commit()).len(), 0, "a pattern that the guest may not call");
    let ids = |effects: &[Effect], kind: &str| match &result_of(effects, &guest)[..] {
        [Value::Dict(lists)] => lists.get(kind).and_then(Value::as_list).unwrap().len(),
        other => panic!("{other:?}"),
    };
    assert_eq!(
        ids(&meta_call(&guest, "wamp.registration.list", &[], Dict::new()), "exact"),
        1
    );
    assert_eq!(
        ids(&meta_call(&guest, "wamp.registration.list", &[], Dict::new()), "prefix"),
        0
    );
    let secret = realm.inside(|realm| realm.registry().lookup("com.secret").unwrap().id);
    for procedure in ["get", "list_callees", "count_callees"] {
        let name = format!("wamp.registration.{procedure}");
        let hidden = meta_call(&guest, &name, &[secret.get().into()], Dict::new());
        let absent = meta_call(&guest, &name, &[9_999_u64.into()], Dict::new());
        assert_eq!(error_of(&hidden), "wamp.error.no_such_registration");
        assert_eq!(error_of(&absent), "wamp.error.no_such_registration");
    }
    for procedure in ["lookup", "match"] {
        let name = format!("wamp.registration.{procedure}");
        let hidden = meta_call(&guest, &name, &["com.secret".into()], Dict::new());
        assert_eq!(result_of(&hidden, &guest), [Value::Null]);
    }
    let (open, secret) = (admin.subscribes("com.news"), admin.subscribes("com.secret.news"));
    assert_eq!(
        ids(&meta_call(&guest, "wamp.subscription.list", &[], Dict::new()), "exact"),
        1 + 9
    );
    let count = |id: u64| meta_call(&guest, "wamp.subscription.count_subscribers", &[id.into()], Dict::new());
    assert_eq!(result_of(&count(open.get()), &guest), [1_u64.into()]);
    assert_eq!(error_of(&count(secret.get())), "wamp.error.no_such_subscription");
    // Of a history the text has it otherwise.
    let events = |id: u64| meta_call(&guest, "wamp.subscription.get_events", &[id.into()], Dict::new());
    assert_eq!(error_of(&events(secret.get())), "wamp.error.not_authorized");
    assert_eq!(error_of(&events(9_999)), "wamp.error.no_such_subscription");
}

#[test]
fn meta_events_of_subscriptions_go_to_those_who_may_know() {
    let realm = realm(&[allow("subscribe", Prefix, "wamp."), allow("publish", Exact, "com.news")]);
    let (admin, guest) = (join(&realm, "admin"), join(&realm, "guest"));
    guest.subscribes("wamp.subscription.on_create");
    let seen = |effects: Vec<Effect>| topics(&realm, &effects);
    let subscribe = |topic: &str| {
        let (_, effects) = admin.asks_to_subscribe(topic);
        let ticket = effects.iter().find_map(|effect| match effect {
            Effect::Interest { ticket, .. } => Some(*ticket),
            _ => None,
        });
        realm.input(crate::router::Input::InterestAcked { ticket: ticket.unwrap() })
    };
    assert_eq!(seen(subscribe("com.secret")), [""; 0]);
    assert_eq!(seen(subscribe("com.news")), ["wamp.subscription.on_create"]);
}

#[test]
fn a_testament_needs_the_right_to_publish_when_it_is_made_and_when_it_is_published() {
    let permissions = [allow("call", Prefix, "wamp."), allow("publish", Exact, "com.will")];
    let realm = realm(&permissions);
    let (admin, guest) = (join(&realm, "admin"), join(&realm, "guest"));
    admin.subscribes("com.will");
    let add = |topic: &str| {
        let args = [topic.into(), Value::List(Vec::new()), Value::Dict(Dict::new())];
        meta_call(&guest, "wamp.session.add_testament", &args, Dict::new())
    };
    assert_eq!(error_of(&add("com.other")), NOT_AUTHORIZED);
    add("com.will");
    realm.commit();
    let other = join(&realm, "guest");
    let args = ["com.will".into(), Value::List(Vec::new()), Value::Dict(Dict::new())];
    meta_call(&other, "wamp.session.add_testament", &args, Dict::new());
    realm.commit();
    other.leaves();
    assert_eq!(topics(&realm, &realm.commit()), ["com.will"]);
    change(&realm, &permissions[..1]);
    guest.leaves();
    assert_eq!(topics(&realm, &realm.commit()), [""; 0]);
}

#[test]
fn a_subscription_ends_with_its_right() {
    let both = allow("subscribe subscribe_pattern", Prefix, "com.");
    let realm = realm(std::slice::from_ref(&both));
    let (admin, guest) = (join(&realm, "admin"), join(&realm, "guest"));
    let kept = guest.subscribes("com.kept");
    let lost = guest.subscribes("com.lost");
    let pattern = guest.subscribes_with("com.lo", Dict::new().with("match", "prefix"));
    let effects = change(&realm, &[both, deny("subscribe", Exact, "com.lost")]);
    let told = |id: u64| {
        guest.gets(Message::Unsubscribed {
            request: None,
            details: Dict::new().with("subscription", id).with("reason", NOT_AUTHORIZED),
        })
    };
    for id in [lost, pattern] {
        assert!(effects.contains(&told(id.get())));
        let ended = Effect::SubscriptionEnded {
            session: guest.id,
            subscription: id,
        };
        assert!(effects.contains(&ended));
    }
    assert!(!effects.contains(&told(kept.get())));
    assert_eq!(admin.publishes("com.lost", Dict::new()).1, []);
    assert!(matches!(
        admin.publishes("com.kept", Dict::new()).1[..],
        [Effect::Fanout { .. }]
    ));
}

#[test]
fn a_subscription_that_waits_to_be_confirmed_is_refused_instead() {
    let realm = realm(&[allow("subscribe", Prefix, "")]);
    let guest = join(&realm, "guest");
    let (request, effects) = guest.asks_to_subscribe("com.a");
    assert!(matches!(effects[..], [Effect::Interest { wanted: true, .. }]));
    let effects = change(&realm, &[]);
    let refused = |effect: &Effect| matches!(effect, Effect::Send { message: Message::Error { request_type: code::SUBSCRIBE, request: r, .. }, .. } if *r == request);
    assert!(effects.iter().any(refused), "{effects:?}");
    let subscribed = |effect: &Effect| {
        matches!(
            effect,
            Effect::Send {
                message: Message::Subscribed { .. },
                ..
            }
        )
    };
    assert!(!effects.iter().any(subscribed));
    let off = Effect::Interest {
        topic: TopicKey::from("com.a"),
        wanted: false,
        ticket: 2,
    };
    assert!(effects.contains(&off));
}

#[test]
fn a_registration_and_its_open_calls_end_with_its_right() {
    let realm = realm(&[allow("register", Prefix, "com.")]);
    let (admin, guest) = (join(&realm, "admin"), join(&realm, "guest"));
    let (kept, lost) = (guest.registers("com.kept"), guest.registers("com.lost"));
    let (stands, _) = admin.calls("com.kept");
    let (ends, _) = admin.calls("com.lost");
    realm.link(NODE_2);
    let index = realm.index();
    realm.hears(NODE_2, invoke(9, lost, guest.id, index));
    let effects = change(&realm, &[allow("register", Exact, "com.kept")]);
    let reason = Dict::new().with("_reason", "callee_not_authorized");
    assert!(effects.contains(&admin.gets_call_error(ends, "wamp.error.canceled", reason)));
    assert!(effects.contains(&guest.gets_interrupt(2, "killnowait", NOT_AUTHORIZED)));
    assert!(effects.contains(&guest.gets_interrupt(3, "killnowait", NOT_AUTHORIZED)));
    let forwards = effects.iter().filter(|e| matches!(e, Effect::Forward { .. })).count();
    assert_eq!(forwards, 1, "the caller elsewhere is told");
    let unregistered = guest.gets(Message::Unregistered {
        request: None,
        details: Dict::new().with("registration", lost.get()).with("reason", NOT_AUTHORIZED),
    });
    assert!(effects.contains(&unregistered));
    assert!(realm.inside(|realm| realm.registry().registration(lost).is_none() && realm.registry().registration(kept).is_some()));
    assert_eq!(guest.yields(1), [admin.gets_result(stands)]);
    assert_eq!(guest.yields(2), [], "late, and nobody's fault");
}

#[test]
fn a_registration_under_way_does_not_come_to_be() {
    let realm = realm(&[allow("register", Prefix, "")]);
    let guest = join(&realm, "guest");
    let (request, _) = guest.asks_to_register("com.a", Dict::new());
    let effects = change(&realm, &[]);
    assert_eq!(error_of(&effects), NOT_AUTHORIZED);
    let refused =
        |effect: &Effect| matches!(effect, Effect::Send { message: Message::Error { request: r, .. }, .. } if *r == request);
    assert!(effects.iter().any(refused));
    let after = realm.commit();
    assert!(!after.iter().any(|e| matches!(e, Effect::Send { .. })), "{after:?}");
    assert!(realm.inside(|realm| realm.registry().lookup("com.a").is_none()));
}

#[test]
fn a_registration_that_waits_for_other_nodes_is_refused_instead() {
    let realm = realm(&[allow("register", Prefix, "com.")]);
    let (admin, guest) = (join(&realm, "admin"), join(&realm, "guest"));
    admin.registers_with("com.", Dict::new().with("match", "prefix"));
    realm.link(NODE_2);
    let (request, _) = guest.asks_to_register("com.a", Dict::new());
    realm.commit();
    let registration = realm.inside(|realm| realm.registry().lookup("com.a").unwrap().id);
    let ahead = realm.hears(NODE_2, invoke(9, registration, guest.id, realm.index()));
    assert_eq!(ahead, [], "waits for REGISTERED, too");

    let effects = change(&realm, &[]);
    let told = effects.iter().filter_map(|effect| match effect {
        Effect::Send { session, message } if *session == guest.id => Some(message),
        _ => None,
    });
    let told: Vec<&Message> = told.collect();
    assert!(
        matches!(told[..], [Message::Error { request: r, error, .. }] if *r == request && error.as_str() == NOT_AUTHORIZED),
        "neither REGISTERED nor an invocation: {told:?}"
    );
    let nacked = |effect: &Effect| {
        matches!(
            effect,
            Effect::Forward {
                frame: PeerFrame::Nack { .. },
                ..
            }
        )
    };
    assert!(effects.iter().any(nacked), "{effects:?}");
    assert!(realm.inside(|realm| realm.registry().registration(registration).is_none()));
}

#[test]
fn open_and_parked_calls_end_with_the_right_of_their_caller() {
    let realm = realm(&[allow("call", Prefix, "")]);
    let (admin, guest) = (join(&realm, "admin"), join(&realm, "guest"));
    admin.registers("com.kept");
    admin.registers("com.lost");
    admin.registers_with("org.", Dict::new().with("match", "prefix"));
    realm.link(NODE_2);
    realm.registered_elsewhere(NODE_2, 7, "com.far");
    let (stands, _) = guest.calls("com.kept");
    let ended = ["com.lost", "com.far", "org.x", "com.nowhere"].map(|procedure| guest.calls(procedure).0);
    let effects = change(&realm, &[allow("call", Exact, "com.kept")]);
    for request in ended {
        let error = guest.gets_call_error(request, NOT_AUTHORIZED, Dict::new());
        assert!(effects.contains(&error), "{request}");
    }
    assert!(effects.contains(&admin.gets_interrupt(2, "killnowait", NOT_AUTHORIZED)));
    assert!(matches!(
        effects.iter().find(|e| matches!(e, Effect::Forward { .. })),
        Some(Effect::Forward { to: NODE_2, .. })
    ));
    assert_eq!(admin.yields(1), [guest.gets_result(stands)]);
    assert_eq!(realm.hears(NODE_2, result(1)), [], "nobody waits for it any more");
}

#[test]
fn who_keeps_every_right_notices_nothing() {
    let realm = realm(&[allow("call", Prefix, ""), allow("subscribe", Prefix, "")]);
    let (admin, guest) = (join(&realm, "admin"), join(&realm, "guest"));
    admin.registers("com.a");
    guest.subscribes("com.a");
    let (call, _) = guest.calls("com.a");
    assert_eq!(change(&realm, &[allow("call subscribe", Exact, "com.a")]), []);
    assert_eq!(admin.yields(1), [guest.gets_result(call)]);
}

/// Has the log change something.
fn apply(realm: &TestRealm, change: Change, expected: Option<u64>) -> (Changed, Vec<Effect>) {
    let (now, index) = (realm.now(), realm.next_index());
    let mut effects = Vec::new();
    let request = Request { change, expected };
    let changed = realm.inside(|realm| {
        let changed = realm.change(now, index, &request, &mut effects);
        realm.check_invariants().expect("invariants hold");
        changed
    });
    (changed, effects)
}

fn put_role(role: &str, permissions: &[Permission]) -> Change {
    Change::PutRole {
        role: role.to_owned(),
        permissions: permissions.to_vec(),
    }
}

fn principal(authid: &str, role: &str, keys: &[char]) -> Principal {
    let key = |digit: &char| format!("cryptosign:{}", digit.to_string().repeat(64)).parse().unwrap();
    Principal {
        authid: authid.to_owned(),
        role: role.to_owned(),
        credentials: keys.iter().map(key).collect(),
    }
}

#[test]
fn roles_of_the_log_stand_beside_those_of_the_configuration() {
    let realm = realm(&[]);
    let lamp = join(&realm, "lamp");
    assert_eq!(error_of(&lamp.asks_to_subscribe("com.a").1), NOT_AUTHORIZED);
    let permissions = [allow("subscribe", Prefix, "com.")];
    assert_eq!(
        apply(&realm, put_role("lamp", &permissions), Some(0)),
        (Changed::Done(1), Vec::new())
    );
    let subscription = lamp.subscribes("com.a");
    assert_eq!(
        apply(&realm, put_role("lamp", &[]), Some(7)),
        (Changed::Conflict(1), Vec::new())
    );
    let (changed, effects) = apply(&realm, Change::RemoveRole { role: "lamp".into() }, Some(1));
    assert_eq!(changed, Changed::Done(2));
    let ended = Effect::SubscriptionEnded {
        session: lamp.id,
        subscription,
    };
    assert!(effects.contains(&ended));
    assert_eq!(
        apply(&realm, Change::RemoveRole { role: "lamp".into() }, None).0,
        Changed::NotFound
    );
    // What the file says of a role is not changed by the log.
    apply(&realm, put_role("guest", &[Permission::all()]), None);
    let guest = join(&realm, "guest");
    assert_eq!(error_of(&guest.calls("com.a").1), NOT_AUTHORIZED);
}

#[test]
fn a_revoked_principal_loses_its_sessions_and_nobody_else_does() {
    let realm = realm(&[]);
    let as_lamp = |authid: &str, method: &str| {
        let session = realm.join_changed(|info| {
            info.authid = authid.to_owned();
            info.authrole = "admin".to_owned();
            info.authmethod = method.to_owned();
        });
        realm.commit();
        session
    };
    let put = |realm: &TestRealm, principal: Principal| apply(realm, Change::PutPrincipal { principal }, None).1;
    let killed = |effects: &[Effect]| -> Vec<_> {
        let kills = effects.iter().filter_map(|effect| match effect {
            Effect::Kill { session, .. } => Some(*session),
            _ => None,
        });
        kills.collect()
    };
    put(&realm, principal("lamp", "admin", &['1', '2']));
    put(&realm, principal("door", "admin", &['3']));
    let (lamp, twin, door) = (
        as_lamp("lamp", "ticket"),
        as_lamp("lamp", "wampcra"),
        as_lamp("door", "ticket"),
    );
    let stranger = as_lamp("lamp", "anonymous");
    assert_eq!(killed(&put(&realm, principal("lamp", "admin", &['2', '1', '4']))), []);
    let (changed, effects) = apply(&realm, Change::RemovePrincipal { authid: "lamp".into() }, None);
    assert_eq!((changed, killed(&effects)), (Changed::Done(4), vec![lamp.id, twin.id]));
    assert!(effects.contains(&lamp.gone()) && !effects.contains(&door.gone()) && !effects.contains(&stranger.gone()));
    assert_eq!(
        killed(&put(&realm, principal("door", "guest", &['3']))),
        [door.id],
        "another role"
    );
    let door = as_lamp("door", "cryptosign");
    assert_eq!(
        killed(&put(&realm, principal("door", "guest", &['4']))),
        [door.id],
        "a credential is gone"
    );
}

#[test]
fn a_snapshot_brings_roles_and_principals_and_ends_what_they_take_away() {
    let (ahead, behind) = (realm(&[]), realm(&[]));
    let permissions = [
        deny("call", Prefix, "com."),
        Permission {
            disclose: Some(Disclosure::Deny),
            ..allow("subscribe publish", MatchPolicy::Wildcard, "com..x")
        },
    ];
    for realm in [&ahead, &behind] {
        apply(realm, put_role("lamp", &[allow("subscribe", Prefix, "com.")]), None);
        for authid in ["kept", "lost"] {
            let principal = principal(authid, "lamp", &['1']);
            apply(realm, Change::PutPrincipal { principal }, None);
        }
    }
    let join_as = |authid: &str| {
        let session = behind.join_changed(|info| {
            info.authid = authid.to_owned();
            info.authrole = "lamp".to_owned();
            info.authmethod = "ticket".to_owned();
        });
        behind.commit();
        session
    };
    let (kept, lost) = (join_as("kept"), join_as("lost"));
    let topic = kept.subscribes("com.a");
    apply(&ahead, put_role("lamp", &permissions), None);
    apply(&ahead, Change::RemovePrincipal { authid: "lost".into() }, None);
    let (mut bytes, mut again, mut effects) = (Vec::new(), Vec::new(), Vec::new());
    ahead.inside(|realm| realm.snapshot_registry(&mut bytes));
    let index = behind.next_index() + 5;
    behind.inside(|realm| {
        realm
            .restore_registry(index, &bytes, &mut effects)
            .expect("a snapshot of this build")
    });
    behind.inside(|realm| realm.snapshot_registry(&mut again));
    assert_eq!(bytes, again);
    let effects = behind.input(crate::router::Input::AppliedTo { index });
    let ended = Effect::SubscriptionEnded {
        session: kept.id,
        subscription: topic,
    };
    assert!(effects.contains(&ended) && effects.contains(&lost.gone()) && !effects.contains(&kept.gone()));
    assert_eq!(behind.input(crate::router::Input::AppliedTo { index }), []);
    for cut in [bytes.len() - 1, bytes.len() - 40] {
        assert!(behind.inside(|realm| realm.restore_registry(index, &bytes[..cut], &mut Vec::new()).is_err()));
    }
}

#[test]
fn what_the_log_is_asked_for_is_checked_first() {
    assert!(put_role("", &[]).check().is_err());
    assert!(put_role(&"x".repeat(256), &[]).check().is_err());
    assert!(put_role("x", &vec![Permission::all(); 1_001]).check().is_err());
    assert!(
        put_role("x", &[allow("call", Exact, "a..b")])
            .check()
            .unwrap_err()
            .contains("permission 1")
    );
    assert_eq!(put_role("x", &[Permission::all()]).check(), Ok(()));
    let principal = principal("lamp", "", &[]);
    assert!(Change::PutPrincipal { principal }.check().is_err());
}

#[test]
fn a_node_that_lost_the_cluster_ends_what_the_log_could_have_revoked() {
    let realm = realm(&[]);
    apply(&realm, put_role("lamp", &[allow("subscribe", Prefix, "com.")]), None);
    let principal = principal("door", "admin", &['1']);
    apply(&realm, Change::PutPrincipal { principal }, None);
    let (lamp, guest) = (join(&realm, "lamp"), join(&realm, "guest"));
    let door = realm.join_changed(|info| {
        (info.authid, info.authrole, info.authmethod) = ("door".into(), "admin".into(), "ticket".into());
    });
    realm.commit();
    let ended = |effects: &[Effect], who: &TestSession| {
        let killed = |effect: &Effect| matches!(effect, Effect::Kill { session, .. } if *session == who.id);
        effects.iter().any(killed)
    };
    let effects = realm.input(crate::router::Input::RightsStale);
    assert!(ended(&effects, &lamp) && ended(&effects, &door) && !ended(&effects, &guest));
    assert_eq!(realm.input(crate::router::Input::RightsStale), []);
    let info = |role: &str| crate::router::SessionInfo {
        authid: "x".into(),
        authrole: role.into(),
        authmethod: "anonymous".into(),
        authprovider: "static".into(),
        trustlevel: None,
        features: Vec::new(),
        compat: crate::router::Compat::default(),
        bounds: crate::router::Bounds::default(),
        whence: None,
    };
    let joins = |number: u64, role: &str| {
        let (session, info) = (session(number), info(role));
        realm.input(crate::router::Input::SessionJoined { session, info }).len()
    };
    assert_eq!(
        (joins(501, "guest"), joins(502, "lamp")),
        (1, 3),
        "who comes now is sent away"
    );
    let until = realm.now() + crate::router::testing::secs(10);
    realm.input(crate::router::Input::Lease { until });
    assert_eq!(joins(503, "lamp"), 3, "a lease alone does not say that the log is known");
    realm.input(crate::router::Input::RightsKnown);
    assert_eq!(joins(504, "lamp"), 1, "the log is known again");
}

#[test]
fn a_realm_is_seeded_once_and_what_was_removed_does_not_come_back() {
    let realm = realm(&[]);
    let seed = || Change::Seed {
        roles: vec![
            ("lamp".to_owned(), vec![allow("subscribe", Prefix, "com.")]),
            ("guest".to_owned(), vec![Permission::all()]),
        ],
        principals: vec![principal("door", "lamp", &['1'])],
    };
    let lamp = join(&realm, "lamp");
    assert_eq!(error_of(&lamp.asks_to_subscribe("com.a").1), NOT_AUTHORIZED);
    assert_eq!(apply(&realm, seed(), None).0, Changed::Done(1));
    lamp.subscribes("com.a");
    assert_eq!(
        apply(&realm, seed(), None),
        (Changed::Conflict(1), Vec::new()),
        "another node asks too"
    );
    // What the file fixes stands before what it seeds.
    let guest = join(&realm, "guest");
    assert_eq!(error_of(&guest.calls("com.a").1), NOT_AUTHORIZED);
    for change in [
        Change::RemoveRole { role: "lamp".into() },
        Change::RemoveRole { role: "guest".into() },
        Change::RemovePrincipal { authid: "door".into() },
    ] {
        assert!(matches!(apply(&realm, change, None).0, Changed::Done(_)));
    }
    assert_eq!(
        apply(&realm, seed(), None).0,
        Changed::Conflict(4),
        "the node was started again"
    );
    assert_eq!(error_of(&lamp.asks_to_subscribe("com.a").1), NOT_AUTHORIZED);
}

#[test]
fn refusals_and_what_is_lost_or_ended_is_noted_where_somebody_keeps_it() {
    use crate::router::policy::NotedWhat;
    let noted = |effects: &[Effect]| -> Vec<(crate::wamp::SessionId, NotedWhat)> {
        let notes = effects.iter().filter_map(|effect| match effect {
            Effect::Note(noted) => Some((noted.session, noted.what.clone())),
            _ => None,
        });
        notes.collect()
    };
    let realm = realm(&[]);
    let lamp = join(&realm, "lamp");
    let effects = lamp.asks_to_subscribe("com.a").1;
    assert_eq!(noted(&effects), [], "nobody keeps it");
    realm.inside(|realm| realm.config.noted = true);
    let refused = |right| NotedWhat::Refused {
        right,
        uri: Uri::from("com.a"),
    };
    assert_eq!(
        noted(&lamp.asks_to_subscribe("com.a").1),
        [(lamp.id, refused(Right::Subscribe))]
    );
    assert_eq!(noted(&lamp.calls("com.a").1), [(lamp.id, refused(Right::Call))]);
    apply(&realm, put_role("lamp", &[allow("subscribe", Prefix, "com.")]), None);
    lamp.subscribes("com.a");
    lamp.subscribes("com.b");
    let (_, effects) = apply(&realm, put_role("lamp", &[allow("subscribe", Prefix, "com.b")]), None);
    let lost = NotedWhat::Lost {
        calls: 0,
        registrations: 0,
        subscriptions: 1,
    };
    assert_eq!(noted(&effects), [(lamp.id, lost)]);
    let ended = noted(&realm.input(crate::router::Input::RightsStale));
    assert!(
        matches!(ended[..], [(id, NotedWhat::Ended { .. })] if id == lamp.id),
        "{ended:?}"
    );
}
