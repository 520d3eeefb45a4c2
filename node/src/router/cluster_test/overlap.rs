//! A registration that overlaps another one, across nodes whose logs are not equally far.

use super::*;
use crate::wamp::{Dict, Message};

impl World {
    fn registers(&mut self, session: SessionId, procedure: &str, policy: MatchPolicy) {
        let request = self.oracle.next_request(session);
        let message = Message::Register {
            request,
            options: Dict::new().with("match", policy.name()).with("invoke", "single"),
            procedure: Uri::from(procedure),
        };
        self.says(session, message);
        self.commit(0, 1);
    }

    fn applies(&mut self, node: usize) {
        let behind: Vec<usize> = (0..NODES).filter(|n| self.nodes[*n].applied < self.log.len()).collect();
        self.apply(behind.iter().position(|n| *n == node).expect("it is behind"));
    }
}

#[test]
fn no_call_made_after_registered_goes_to_the_pattern_that_matched_before() {
    let mut world = World::new();
    let (bob, carol) = (world.join_at(1), world.join_at(0));
    let alice = world.join_at(2);
    world.run_dry();
    world.registers(bob, "com.", Prefix);
    world.run_dry();
    world.registers(carol, "com.a", Exact);
    world.applies(0);
    world.applies(1);
    for _ in 0..20 {
        world.deliver_data(0);
    }
    assert!(world.oracle.held(carol, 0).is_none(), "the third node does not know of it");
    // A call from there still goes where it went before.
    let calls = |world: &mut World| {
        let payload = world.oracle.question(alice);
        let request = world.oracle.next_request(alice);
        let message = Message::Call {
            request,
            options: Dict::new(),
            procedure: Uri::from("com.a"),
            payload,
        };
        world.says(alice, message);
        for _ in 0..20 {
            world.deliver_data(0);
        }
        world.oracle.last_invoked()
    };
    assert_eq!(calls(&mut world), world.oracle.held(bob, 0));
    world.applies(2);
    for _ in 0..20 {
        world.deliver_data(0);
    }
    assert!(world.oracle.held(carol, 0).is_some(), "REGISTERED");
    assert_eq!(calls(&mut world), world.oracle.held(carol, 0));
    world.settle();
}
