//! What callees learn about callers.

use crate::{
    router::{
        Disclosure, Effect, PeerFrame, RegisterWishes,
        frame::CallId,
        testing::{NODE_2, TestRealm, TestSession, error_of, is_abort, payload, register_op, secs, session},
    },
    wamp::{Dict, Uri},
};

fn realm(disclosure: Disclosure) -> TestRealm {
    TestRealm::with(|config| config.disclosure = disclosure)
}

fn identity(who: &TestSession) -> Dict {
    Dict::new()
        .with("caller", who.id.get())
        .with("caller_authid", format!("user{}", who.id))
        .with("caller_authrole", "tester")
}

fn disclose_me() -> Dict {
    Dict::new().with("disclose_me", true)
}

#[test]
fn a_caller_is_named_where_it_asks_for_it() {
    let realm = realm(Disclosure::Allow);
    let (alice, bob) = (realm.join(), realm.join());
    let add = bob.registers("com.add");
    assert_eq!(
        alice.asks("com.add", disclose_me()).1,
        [bob.gets_invocation_with(1, add, identity(&alice))]
    );
    let not = Dict::new().with("disclose_me", false);
    assert_eq!(alice.asks("com.add", not).1, [bob.gets_invocation(2, add)]);
}

#[test]
fn a_caller_is_named_where_the_callee_asks_for_it() {
    let realm = realm(Disclosure::Allow);
    let (alice, bob) = (realm.join(), realm.join());
    let (add, _) = bob.registers_with("com.add", Dict::new().with("disclose_caller", true));
    let named = |n| [bob.gets_invocation_with(n, add, identity(&alice))];
    assert_eq!(alice.calls("com.add").1, named(1));
    assert_eq!(alice.asks("com.add", disclose_me()).1, named(2));
}

#[test]
fn a_realm_may_forbid_it_or_do_it_always() {
    let strict = realm(Disclosure::Deny);
    let (alice, bob) = (strict.join(), strict.join());
    let add = bob.registers("com.add");
    assert_eq!(
        error_of(&alice.asks("com.add", disclose_me()).1),
        "wamp.error.option_disallowed.disclose_me"
    );
    let (_, refused) = bob.asks_to_register("com.sub", Dict::new().with("disclose_caller", true));
    assert_eq!(error_of(&refused), "wamp.error.option_not_allowed");
    assert_eq!(alice.calls("com.add").1, [bob.gets_invocation(1, add)]);
    let open = realm(Disclosure::Always);
    let (alice, bob) = (open.join(), open.join());
    let add = bob.registers("com.add");
    assert_eq!(alice.calls("com.add").1, [bob.gets_invocation_with(1, add, identity(&alice))]);
}

#[test]
fn the_name_travels_to_the_callees_node() {
    let realm = realm(Disclosure::Allow);
    let alice = realm.join();
    let mut op = register_op(201, "com.add");
    if let crate::router::Op::Register { wishes, .. } = &mut op {
        *wishes = RegisterWishes {
            disclose_caller: true,
            ..RegisterWishes::NONE
        };
    }
    realm.commit_by(NODE_2, op);
    realm.link(NODE_2);
    let id = realm.inside(|r| r.registry().lookup(&Uri::from("com.add")).unwrap().id);
    let frame = PeerFrame::Invoke {
        call: CallId(1),
        registration: id,
        callee: session(201),
        index: 2,
        details: identity(&alice),
        payload: payload("question"),
    };
    let expected = Effect::Forward {
        to: NODE_2,
        source: alice.id,
        frame,
    };
    assert_eq!(alice.calls("com.add").1, [expected]);
}

#[test]
fn the_role_of_a_caller_decides_how_far_it_is_trusted() {
    let realm = TestRealm::with(|config| _ = config.trustlevels.insert("tester".into(), 3));
    let (alice, bob) = (realm.join(), realm.join());
    let add = bob.registers("com.add");
    let trust = Dict::new().with("trustlevel", 3_u64);
    assert_eq!(alice.calls("com.add").1, [bob.gets_invocation_with(1, add, trust)]);
    let guest = realm.join_from(Some(1));
    let trust = Dict::new().with("trustlevel", 3_u64);
    assert_eq!(
        guest.calls("com.add").1,
        [bob.gets_invocation_with(2, add, trust)],
        "the role goes first"
    );
    let other = TestRealm::with(|config| _ = config.trustlevels.insert("admin".into(), 9));
    let (alice, bob) = (other.join(), other.join());
    let add = bob.registers("com.add");
    assert_eq!(alice.calls("com.add").1, [bob.gets_invocation(1, add)]);
}

#[test]
fn the_listener_a_caller_comes_by_decides_where_its_role_does_not() {
    let realm = TestRealm::new();
    let (alice, bob) = (realm.join(), realm.join());
    let add = bob.registers("com.add");
    let guest = realm.join_from(Some(0));
    let trust = Dict::new().with("trustlevel", 0_u64);
    assert_eq!(guest.calls("com.add").1, [bob.gets_invocation_with(1, add, trust)]);
    assert_eq!(alice.calls("com.add").1, [bob.gets_invocation(2, add)]);
}

#[test]
fn what_a_caller_writes_about_itself_reaches_nobody() {
    let realm = realm(Disclosure::Allow);
    let (alice, bob) = (realm.join(), realm.join());
    let add = bob.registers("com.add");
    let forged = Dict::new()
        .with("caller", 1_u64)
        .with("caller_authid", "root")
        .with("trustlevel", 99_u64)
        .with("procedure", "com.other");
    let effects = alice.asks("com.add", forged).1;
    assert!(!is_abort(&effects, &alice, ""));
    assert_eq!(effects, [bob.gets_invocation(1, add)]);
}

#[test]
fn a_call_of_which_the_callee_is_told_something_does_not_take_the_short_way() {
    let short = |realm: &TestRealm, options: Dict| {
        let (alice, bob) = (realm.join(), realm.join());
        bob.registers_with("com.add", options);
        let request = alice.next();
        realm.inside(|r| r.plain_route(realm_now(), alice.id, request, "com.add").is_some())
    };
    let disclosing = Dict::new().with("disclose_caller", true);
    assert!(short(&realm(Disclosure::Allow), Dict::new()));
    assert!(!short(&realm(Disclosure::Allow), disclosing));
    assert!(!short(&realm(Disclosure::Always), Dict::new()));
    let trusting = TestRealm::with(|config| _ = config.trustlevels.insert("tester".into(), 1));
    assert!(!short(&trusting, Dict::new()));
    let timed = TestRealm::with(|config| config.call_timeouts.default = Some(secs(1)));
    assert!(!short(&timed, Dict::new()));
}

fn realm_now() -> std::time::Instant {
    crate::router::testing::some_instant()
}
