//! What several sessions may hold together.

use std::sync::Arc;

use proptest::prelude::*;

use crate::{
    router::{
        BarrierOutcome::Passed,
        Effect, Pool, Pooled, Tally,
        policy::NotedWhat,
        testing::{TestRealm, TestSession, error_of, request},
    },
    wamp::{Dict, Message, RequestId, SubscriptionId},
};

const UNAVAILABLE: &str = "wamp.error.unavailable";
const KINDS: [Pooled; 3] = [Pooled::Subscriptions, Pooled::Registrations, Pooled::Calls];

fn tally() -> Arc<Tally> {
    let reasons = [
        "subscriptions_max of the role",
        "registrations_max of the role",
        "calls_max of the role",
    ];
    Arc::new(Tally::new("role", reasons))
}

fn pool(most: [u32; 3]) -> Arc<Pool> {
    Pool::new(most, &tally()).unwrap()
}

/// A session that draws on these pools.
fn join(realm: &TestRealm, pools: &[&Arc<Pool>]) -> TestSession {
    let session = realm.join_changed(|info| info.pools = pools.iter().map(|pool| Arc::clone(pool)).collect());
    realm.commit();
    session
}

#[test]
fn sessions_that_share_a_pool_are_held_to_it_together_and_no_other_is() {
    let realm = TestRealm::new();
    let tally = tally();
    let pool = Pool::new([2, 2, 2], &tally).unwrap();
    let (one, two, other) = (join(&realm, &[&pool]), join(&realm, &[&pool]), join(&realm, &[]));
    let add = other.registers("com.add");

    let kept = one.subscribes("com.a");
    two.subscribes("com.a");
    assert_eq!(error_of(&one.asks_to_subscribe("com.b").1), UNAVAILABLE);
    one.subscribes("com.a");
    assert_eq!(
        pool.taken(Pooled::Subscriptions),
        2,
        "what it has already takes no further place"
    );
    one.unsubscribes(kept);
    two.subscribes("com.b");

    let mine = one.registers("com.a");
    two.registers("com.b");
    assert_eq!(error_of(&two.asks_to_register("com.c", Dict::new()).1), UNAVAILABLE);
    one.unregisters(mine);
    realm.commit();
    two.registers("com.c");

    one.calls("com.add");
    two.calls("com.add");
    assert_eq!(error_of(&one.calls("com.add").1), UNAVAILABLE);
    other.yields(2);
    assert_eq!(one.calls("com.add").1, [other.gets_invocation(3, add)]);

    for topic in ["com.a", "com.b", "com.c"] {
        other.subscribes(topic);
    }
    assert_eq!(KINDS.map(|what| tally.refused(what)), [1, 1, 1]);
    assert_eq!(realm.stats().over_limits, 3);
    two.leaves();
    assert_eq!(
        KINDS.map(|what| pool.taken(what)),
        [0, 0, 2],
        "what it held is free with its end"
    );
    one.leaves();
    assert!(pool.is_unused());
}

#[test]
fn calls_that_wait_for_a_barrier_have_a_place_and_a_refused_one_takes_none() {
    let realm = TestRealm::new();
    let (role, principal) = (pool([0, 0, 3]), pool([0, 0, 2]));
    let (one, two) = (join(&realm, &[&principal, &role]), join(&realm, &[&role]));
    one.calls("com.nowhere");
    one.calls("com.nowhere");
    let refused = one.calls("com.nowhere").1;
    let Some(Effect::Send { message, .. }) = refused.first() else {
        panic!("{refused:?}");
    };
    assert!(
        format!("{message:?}").contains("this role holds as many open calls"),
        "{message:?}"
    );
    assert_eq!((role.taken(Pooled::Calls), principal.taken(Pooled::Calls)), (2, 2));
    two.calls("com.nowhere");
    assert_eq!(error_of(&two.calls("com.nowhere").1), UNAVAILABLE);
    realm.barrier(Passed);
    realm.barrier(Passed);
    assert!(role.is_unused() && principal.is_unused());
}

#[test]
fn what_finds_no_place_is_noted_with_whose_limit_it_is() {
    let realm = TestRealm::with(|config| config.noted = true);
    let pool = pool([1, 0, 0]);
    let one = join(&realm, &[&pool]);
    one.subscribes("com.a");
    let effects = one.asks_to_subscribe("com.b").1;
    let noted = effects.iter().find_map(|effect| match effect {
        Effect::Note(noted) => Some((noted.session, noted.what.clone())),
        _ => None,
    });
    let denied = NotedWhat::Denied {
        wall: "limit",
        reason: "subscriptions_max of the role",
        uri: "com.b".into(),
    };
    assert_eq!(noted, Some((one.id, denied)));
}

#[derive(Clone, Debug)]
enum Step {
    Join(u8),
    Leave(usize),
    Subscribe(usize, u8),
    Unsubscribe(usize, usize),
    Register(usize, u8),
    Unregister(usize, u8),
    Commit,
    Lose,
    Call(usize, u8),
    /// By the short way.
    PlainCall(usize, u8),
    Yield(usize, u64),
    Cancel(usize, u64),
    Barrier,
    Pass(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let who = 0_usize..6;
    let step = prop_oneof![
        (0_u8..4).prop_map(Step::Join),
        who.clone().prop_map(Step::Leave),
        (who.clone(), 0_u8..4).prop_map(|(who, what)| Step::Subscribe(who, what)),
        (who.clone(), 0_usize..4).prop_map(|(who, what)| Step::Unsubscribe(who, what)),
        (who.clone(), 0_u8..4).prop_map(|(who, what)| Step::Register(who, what)),
        (who.clone(), 0_u8..4).prop_map(|(who, what)| Step::Unregister(who, what)),
        Just(Step::Commit),
        Just(Step::Lose),
        (who.clone(), 0_u8..5).prop_map(|(who, what)| Step::Call(who, what)),
        (who.clone(), 0_u8..5).prop_map(|(who, what)| Step::PlainCall(who, what)),
        (who.clone(), 1_u64..12).prop_map(|(who, what)| Step::Yield(who, what)),
        (who, 1_u64..12).prop_map(|(who, what)| Step::Cancel(who, what)),
        Just(Step::Barrier),
        (1_u64..6_000).prop_map(Step::Pass),
    ];
    prop::collection::vec(step, 1..120)
}

/// What one session holds, as the realm itself would list it.
fn held(realm: &TestRealm, session: &TestSession) -> [u32; 3] {
    realm.inside(|realm| {
        let session = realm.sessions.get(session.id).unwrap();
        let registrations = session.registering.len() + session.registrations.len();
        let calls = session.calls.len() + session.parked.len();
        [session.subscriptions.len(), registrations, calls].map(|count| u32::try_from(count).unwrap())
    })
}

fn name(what: u8) -> String {
    format!("com.{what}")
}

proptest! {
    /// After every step of a random walk, each pool holds what its sessions hold, and never more than it may.
    #[test]
    fn a_pool_holds_what_its_sessions_hold_and_never_more(steps in steps()) {
        let realm = TestRealm::new();
        let pools = [pool([3, 0, 2]), pool([2, 2, 3])];
        let mut sessions: Vec<(TestSession, Vec<usize>)> = Vec::new();
        let mut subscriptions: Vec<SubscriptionId> = Vec::new();
        for step in steps {
            match step {
                Step::Join(which) if sessions.len() < 6 => {
                    let drawn: Vec<usize> = (0..2).filter(|at| which & (1 << at) != 0).collect();
                    let of: Vec<_> = drawn.iter().map(|at| &pools[*at]).collect();
                    sessions.push((join(&realm, &of), drawn));
                }
                Step::Leave(who) if who < sessions.len() => _ = sessions.remove(who).0.leaves(),
                Step::Subscribe(who, what) if who < sessions.len() => {
                    let effects = sessions[who].0.asks_to_subscribe(&name(what)).1;
                    for effect in &effects {
                        if let Effect::Interest { ticket, .. } = effect {
                            realm.input(crate::router::Input::InterestAcked { ticket: *ticket });
                        }
                    }
                    let told = effects.iter().filter_map(|effect| match effect {
                        Effect::Send { message: Message::Subscribed { subscription, .. }, .. } => Some(*subscription),
                        _ => None,
                    });
                    subscriptions.extend(told);
                }
                Step::Unsubscribe(who, what) if who < sessions.len() && what < subscriptions.len() => {
                    sessions[who].0.unsubscribes(subscriptions[what]);
                }
                Step::Register(who, what) if who < sessions.len() => {
                    let options = Dict::new().with("invoke", "roundrobin");
                    sessions[who].0.asks_to_register(&name(what), options);
                }
                Step::Unregister(who, what) if who < sessions.len() => {
                    let id = realm.inside(|realm| {
                        let registrations = &realm.sessions.get(sessions[who].0.id).unwrap().registrations;
                        registrations.keys().nth(what.into()).copied()
                    });
                    if let Some(id) = id {
                        sessions[who].0.unregisters(id);
                    }
                }
                Step::Commit => _ = realm.commit(),
                Step::Lose => realm.lose_proposals(),
                Step::Call(who, what) if who < sessions.len() => _ = sessions[who].0.calls(&name(what)),
                Step::PlainCall(who, what) if who < sessions.len() => {
                    let caller = &sessions[who].0;
                    let request: RequestId = caller.next();
                    let now = realm.now();
                    let made = realm.inside(|realm| {
                        let route = realm.plain_route(now, caller.id, request, &name(what))?;
                        let crate::router::dealer::plain::PlainCallee::Here(callee) = route.callee else { return None };
                        realm.plain_call(caller.id, request, route.registration, callee)
                    });
                    if made.is_none() {
                        caller.asks_again(request, &name(what), Dict::new());
                    }
                }
                Step::Yield(who, what) if who < sessions.len() => _ = sessions[who].0.yields(what),
                Step::Cancel(who, what) if who < sessions.len() => _ = sessions[who].0.cancels(request(what), "skip"),
                Step::Barrier => _ = realm.barrier(Passed),
                Step::Pass(millis) => _ = realm.pass(std::time::Duration::from_millis(millis)),
                _ => {}
            }
            // Who answers what it was never asked has lost its session.
            sessions.retain(|(session, _)| realm.inside(|realm| realm.sessions.get(session.id).is_some()));
            for (at, (pool, most)) in pools.iter().zip([[3, 0, 2], [2, 2, 3]]).enumerate() {
                let mut sum = [0; 3];
                for (session, _) in sessions.iter().filter(|(_, drawn)| drawn.contains(&at)) {
                    let held = held(&realm, session);
                    (0..3).for_each(|what| sum[what] += held[what]);
                }
                for (what, kind) in KINDS.into_iter().enumerate() {
                    if most[what] != 0 {
                        prop_assert_eq!(pool.taken(kind), sum[what], "{:?} of pool {}", kind, at);
                        prop_assert!(sum[what] <= most[what], "{:?} of pool {}: {}", kind, at, sum[what]);
                    }
                }
            }
        }
        sessions.iter().for_each(|(session, _)| _ = session.leaves());
        prop_assert!(pools.iter().all(|pool| pool.is_unused()));
    }
}
