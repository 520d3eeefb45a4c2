//! `_traceparent` is handed on, and nothing is done about it; and settings that change while a realm is used.

use crate::{
    router::{
        CallTimeouts, Effect, PeerFrame, Policy,
        kept::Keep,
        policy::Resettled,
        testing::{NODE_2, TestRealm},
    },
    wamp::{Dict, Message, SessionId},
};

const GIVEN: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";

fn traced() -> Dict {
    Dict::new().with("_traceparent", GIVEN)
}

#[test]
fn the_trace_of_a_call_is_told_to_the_callee_here_and_elsewhere_and_not_to_the_caller() {
    let realm = TestRealm::new();
    let (caller, callee) = (realm.join(), realm.join());
    let id = callee.registers("com.add");
    let (call, effects) = caller.asks("com.add", traced());
    assert_eq!(effects, [callee.gets_invocation_with(1, id, traced())]);
    assert_eq!(callee.yields(1), [caller.gets_result(call)]);
    // What is of another form is as good as none.
    let (_, effects) = caller.asks("com.add", Dict::new().with("_traceparent", "00-1-2-3"));
    assert_eq!(effects, [callee.gets_invocation(2, id)]);
    realm.link(NODE_2);
    realm.registered_elsewhere(NODE_2, 77, "com.far");
    let (_, effects) = caller.asks("com.far", traced());
    assert!(
        matches!(&effects[..], [Effect::Forward { frame: PeerFrame::Invoke { details, .. }, .. }] if *details == traced()),
        "{effects:?}"
    );
}

#[test]
fn the_trace_of_an_event_is_told_to_its_subscribers_and_not_kept() {
    let realm = TestRealm::new();
    let (publisher, subscriber) = (realm.join(), realm.join());
    subscriber.subscribes("com.lamp");
    let (_, effects) = publisher.publishes("com.lamp", traced().with("retain", true));
    let told = effects.iter().find_map(|effect| match effect {
        Effect::Fanout {
            message: Message::Event { details, .. },
            ..
        } => details.text("_traceparent"),
        _ => None,
    });
    assert_eq!(told, Some(GIVEN));
    let kept = effects.iter().find_map(|effect| match effect {
        Effect::Keep(keep) => match &**keep {
            Keep::Retain { .. } => Some(format!("{keep:?}")),
            _ => None,
        },
        _ => None,
    });
    assert!(kept.is_some_and(|kept| !kept.contains("traceparent")));
}

fn settings(realm: &TestRealm) -> Resettled {
    realm.inside(|core| Resettled::from(core.config.clone()))
}

fn resettle(realm: &TestRealm, settings: Resettled, revoked: &[&str]) -> Vec<Effect> {
    let (now, mut effects) = (realm.now(), Vec::new());
    let revoked: Vec<String> = revoked.iter().map(|name| (*name).to_owned()).collect();
    realm.inside(|core| core.resettle(now, settings, &revoked, &mut effects));
    effects
}

fn killed(effects: &[Effect]) -> Vec<SessionId> {
    let killed = effects.iter().filter_map(|effect| match effect {
        Effect::Kill { session, .. } => Some(*session),
        _ => None,
    });
    killed.collect()
}

#[test]
fn settings_that_change_end_what_stood_on_them_and_nothing_else() {
    let realm = TestRealm::new();
    let lamp = realm.join_changed(|info| {
        info.authid = "lamp".to_owned();
        info.authmethod = "ticket".to_owned();
    });
    let fan = realm.join_changed(|info| {
        info.authid = "fan".to_owned();
        info.authmethod = "ticket".to_owned();
    });
    realm.commit();
    fan.subscribes("com.news");
    // The same settings, and nobody revoked: nothing happens.
    assert_eq!(resettle(&realm, settings(&realm), &[]), []);
    assert_eq!(killed(&resettle(&realm, settings(&realm), &["lamp"])), [lamp.id]);
    // Nobody may do anything any more.
    let none = Resettled {
        policy: Some(Policy::default()),
        ..settings(&realm)
    };
    let effects = resettle(&realm, none, &[]);
    let ended = |effect: &Effect| matches!(effect, Effect::SubscriptionEnded { session, .. } if *session == fan.id);
    assert!(effects.iter().any(ended) && killed(&effects).is_empty(), "{effects:?}");
}

#[test]
fn a_default_time_limit_closes_the_short_way_and_counts_for_the_next_call() {
    let realm = TestRealm::new();
    let (caller, callee) = (realm.join(), realm.join());
    callee.registers("com.add");
    assert!(realm.inside(|core| core.calls_are_plain));
    let mut changed = settings(&realm);
    changed.call_timeouts = CallTimeouts {
        default: Some(std::time::Duration::from_secs(1)),
        ..changed.call_timeouts
    };
    resettle(&realm, changed, &[]);
    assert!(!realm.inside(|core| core.calls_are_plain));
    let (call, _) = caller.calls("com.add");
    let effects = realm.pass(std::time::Duration::from_secs(2));
    assert!(
        effects.contains(&caller.gets_call_error(call, "wamp.error.timeout", Dict::new())),
        "{effects:?}"
    );
}
