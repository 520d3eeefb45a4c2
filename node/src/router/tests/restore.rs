//! Snapshots of the registry, and a node that skips entries by one.

use crate::{
    router::{
        Effect, Op, Realm, RealmConfig,
        testing::{ME, NODE_2, TestRealm, invoke, registration, secs},
    },
    wamp::{Dict, Message, Uri},
};

fn snapshot(realm: &TestRealm) -> Vec<u8> {
    let mut bytes = Vec::new();
    realm.inside(|r| r.snapshot_registry(&mut bytes));
    bytes
}

fn restore(realm: &TestRealm, bytes: &[u8]) -> Vec<Effect> {
    let mut effects = Vec::new();
    realm.inside(|r| r.restore_registry(99, bytes, &mut effects).unwrap());
    realm.inside(|r| r.check_invariants().unwrap());
    effects
}

#[test]
fn a_snapshot_restores_to_an_equal_registry() {
    let realm = TestRealm::new();
    let bob = realm.join();
    bob.registers("com.add");
    realm.registered_elsewhere(NODE_2, 201, "com.sub");
    realm.fence(crate::router::NodeRef {
        slot: NODE_2.slot,
        epoch: 0,
    });
    let bytes = snapshot(&realm);
    let mut copy = Realm::new(RealmConfig::new(Uri::from("realm1"), 1, [7; 16]), NODE_2);
    copy.restore_registry(9, &bytes, &mut Vec::new()).unwrap();
    let mut again = Vec::new();
    copy.snapshot_registry(&mut again);
    assert_eq!(bytes, again);
    assert_eq!(copy.registry().registrations().collect::<Vec<_>>().len(), 2);
}

#[test]
fn a_registration_swallowed_by_a_snapshot_is_answered() {
    let (realm, other) = (TestRealm::new(), TestRealm::new());
    let (bob, twin) = (realm.join(), other.join());
    assert_eq!(bob.id, twin.id);
    twin.registers("com.add");
    let (request, _) = bob.asks_to_register("com.add", Dict::new());
    let registered = bob.gets(Message::Registered {
        request,
        registration: registration(1),
    });
    assert_eq!(restore(&realm, &snapshot(&other)), [registered]);
    assert_eq!(realm.next_deadline_in(), None);
}

#[test]
fn an_unregister_swallowed_by_a_snapshot_is_answered() {
    let realm = TestRealm::new();
    let bob = realm.join();
    let before = snapshot(&realm);
    let add = bob.registers("com.add");
    let (request, _) = bob.unregisters(add);
    let unregistered = Message::Unregistered {
        request: Some(request),
        details: Dict::new(),
    };
    assert_eq!(restore(&realm, &before), [bob.gets(unregistered)]);
}

#[test]
fn a_registration_that_nobody_waits_for_is_taken_back() {
    let (realm, other) = (TestRealm::new(), TestRealm::new());
    let (bob, twin) = (realm.join(), other.join());
    twin.registers("com.add");
    let back = Op::Unregister {
        session: bob.id,
        request: None,
        registration: registration(1),
    };
    assert_eq!(restore(&realm, &snapshot(&other)), [Effect::Propose { op: back }]);
}

#[test]
fn a_registration_that_is_being_taken_back_answers_no_later_register() {
    let realm = TestRealm::new();
    let bob = realm.join();
    let (_, effects) = bob.asks_to_register("com.add", Dict::new());
    let [Effect::Propose { op }] = effects.as_slice() else {
        panic!("{effects:?}")
    };
    realm.lose_proposals();
    realm.pass(secs(10));
    // It comes to be after all, and its removal is on the way.
    assert!(matches!(
        realm.commit_by(ME, op.clone()).as_slice(),
        [Effect::Propose {
            op: Op::Unregister { .. }
        }]
    ));
    let (request, _) = bob.asks_to_register("com.add", Dict::new());
    assert_eq!(restore(&realm, &snapshot(&realm)), []);
    let registered = Message::Registered {
        request,
        registration: registration(2),
    };
    assert_eq!(realm.commit(), [bob.gets(registered)]);
}

#[test]
fn a_registration_the_snapshot_lacks_is_invoked_no_more() {
    let realm = TestRealm::new();
    let bob = realm.join();
    realm.link(NODE_2);
    let before = snapshot(&realm);
    let add = bob.registers("com.add");
    assert_eq!(restore(&realm, &before), []);
    assert_eq!(realm.hears(NODE_2, invoke(1, add, bob.id, 2)).len(), 1);
    assert_eq!(realm.stats().invokes_refused, 1);
    assert_eq!(bob.id, realm.inside(|r| r.session_ids())[0]);
    assert_eq!(realm.inside(|r| r.node()), ME);
}

#[test]
fn bytes_that_are_no_snapshot_change_nothing() {
    let realm = TestRealm::new();
    let bob = realm.join();
    bob.registers("com.add");
    let good = snapshot(&realm);
    let mut bad: Vec<Vec<u8>> = (0..good.len()).map(|n| good[..n].to_vec()).collect();
    bad.push([&good[..], &[0]].concat());
    bad.push([&[good[0] + 1], &good[1..]].concat());
    for bytes in bad {
        let refused = realm.inside(|r| r.restore_registry(9, &bytes, &mut Vec::new()));
        assert!(refused.is_err());
        assert_eq!(snapshot(&realm), good);
    }
}

#[test]
fn mangled_snapshots_never_panic() {
    let realm = TestRealm::new();
    let bob = realm.join();
    bob.registers("com.add");
    let good = snapshot(&realm);
    for at in 0..good.len() {
        for value in [0, 1, 0x7f, 0xff] {
            let mut bytes = good.clone();
            bytes[at] = value;
            let mut copy = Realm::new(RealmConfig::new(Uri::from("realm1"), 1, [7; 16]), NODE_2);
            if copy.restore_registry(9, &bytes, &mut Vec::new()).is_ok() {
                copy.check_invariants().unwrap();
            }
        }
    }
}
