//! The registry alone: a pure function of its ops.

use super::*;
use crate::{router::testing::register_op, wamp::RequestId};

const NODE: NodeRef = NodeRef { slot: Slot(4), epoch: 2 };
const OTHER: NodeRef = NodeRef { slot: Slot(5), epoch: 1 };

fn session(raw: u64) -> SessionId {
    SessionId::new(raw).unwrap()
}

fn registered(outcome: OpOutcome) -> RegistrationId {
    match outcome {
        OpOutcome::Registered(id) => id,
        other => panic!("{other:?}"),
    }
}

#[test]
fn ids_count_up_and_are_never_given_again() {
    let mut registry = Registry::default();
    let first = registered(registry.apply(1, NODE, &register_op(1, "a")));
    let out = Op::Unregister {
        session: session(1),
        request: None,
        registration: first,
    };
    assert_eq!(registry.apply(2, NODE, &out), OpOutcome::Done);
    let second = registered(registry.apply(3, NODE, &register_op(1, "a")));
    assert_eq!((first.get(), second.get()), (1, 2));
    assert_eq!(registry.registration(second).unwrap().index, 3);
    registry.check().unwrap();
}

#[test]
fn an_op_touches_only_what_belongs_to_the_node_life_that_proposed_it() {
    let mut registry = Registry::default();
    let id = registered(registry.apply(1, NODE, &register_op(1, "a")));
    let foreign = Op::Unregister {
        session: session(1),
        request: None,
        registration: id,
    };
    assert_eq!(registry.apply(2, OTHER, &foreign), OpOutcome::NotFound);
    assert_eq!(
        registry.apply(3, OTHER, &Op::SessionGone { session: session(1) }),
        OpOutcome::NotFound
    );
    assert!(registry.registration(id).is_some());
}

#[test]
fn policies_do_not_exclude_each_other() {
    let mut registry = Registry::default();
    let request = RequestId::new(1).unwrap();
    for policy in [MatchPolicy::Exact, MatchPolicy::Prefix, MatchPolicy::Wildcard] {
        let op = Op::Register {
            session: session(1),
            request,
            procedure: Uri::from("a"),
            policy,
            invoke: InvokePolicy::Single,
            conflict: OnConflict::Refuse,
        };
        registered(registry.apply(1, NODE, &op));
        assert_eq!(registry.apply(1, OTHER, &op), OpOutcome::AlreadyExists(InvokePolicy::Single));
    }
    assert_eq!(registry.lookup(&Uri::from("a")).unwrap().policy, MatchPolicy::Exact);
    registry.check().unwrap();
    registry.fence(NODE);
    assert_eq!(registry.registrations().len(), 0);
    registry.check().unwrap();
}

#[test]
fn a_fence_ends_one_life_and_the_next_one_starts_clean() {
    let mut registry = Registry::default();
    let joined = |n: u64| Op::SessionJoined {
        session: session(n),
        authid: "a".into(),
        authrole: "b".into(),
        authmethod: "c".into(),
        authprovider: "d".into(),
    };
    assert_eq!(registry.apply(1, NODE, &joined(1)), OpOutcome::Done);
    assert_eq!(registry.apply(1, OTHER, &joined(2)), OpOutcome::Done);
    registered(registry.apply(2, NODE, &register_op(1, "a")));
    registry.fence(NODE);
    assert_eq!(registry.sessions().map(|(id, _)| id).collect::<Vec<_>>(), [session(2)]);
    assert_eq!(registry.apply(4, NODE, &register_op(1, "a")), OpOutcome::Fenced);
    let next = NodeRef {
        slot: NODE.slot,
        epoch: NODE.epoch + 1,
    };
    registered(registry.apply(5, next, &register_op(3, "a")));
    // A fence that is told again ends nothing of the next life.
    registry.fence(NODE);
    assert_eq!(registry.registrations().len(), 1);
    registry.check().unwrap();
}
