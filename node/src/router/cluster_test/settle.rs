//! The end of a random walk: all faults are removed, everything runs dry, and what stands must work.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{BarrierOutcome, NODES, PROCEDURES, TOPICS, World};
use crate::{
    router::Stats,
    wamp::{Dict, Message, Uri},
};

impl World {
    pub(super) fn settle(&mut self) {
        self.heal();
        self.run_dry();
        // Whatever still waits, waits for something that a fault has taken away: the deadlines end it.
        self.pass(Duration::from_secs(11));
        self.run_dry();
        assert_eq!(self.oracle.unanswered(), Vec::<String>::new());
        assert_eq!(self.oracle.missed(), Vec::<String>::new());
        for node in self.alive() {
            let realm = &self.nodes[node].realm;
            assert_eq!(
                (realm.open_call_count(), realm.open_invocation_count()),
                (0, 0),
                "node {node}"
            );
            assert_eq!(realm.next_deadline(), None, "node {node}");
            assert!(realm.dealer.outgoing.is_empty() && realm.dealer.incoming.is_empty() && realm.dealer.parked.count == 0);
            let rows: Vec<_> = realm.registry().sessions().map(|(id, _)| id).collect();
            assert_eq!(rows, self.oracle.living(), "the session index of node {node}");
            let held = realm.registry().registrations();
            let held: BTreeSet<_> = held.flat_map(|r| r.callees.iter().map(|c| (r.id, c.session))).collect();
            assert_eq!(held, self.oracle.all_held(), "the registrations of node {node}");
        }
        self.oracle.meta_is_complete();
        self.everything_that_stands_works();
    }

    fn heal(&mut self) {
        self.fence();
        for _ in 0..2 * NODES * NODES {
            self.notice_loss(0);
        }
        for _ in 0..NODES * NODES {
            self.reconnect(0);
        }
    }

    /// Lets everything under way arrive and every callee answer.
    pub(super) fn run_dry(&mut self) {
        for round in 0.. {
            assert!(round < 100_000, "no end");
            let before = self.pending();
            self.commit(0, 1);
            self.apply(0);
            self.deliver_data(0);
            self.deliver_control(0);
            self.confirm(0);
            self.answer_barrier(0, BarrierOutcome::Passed);
            self.answer(0, 1);
            if before == 0 && self.pending() == 0 {
                return;
            }
        }
    }

    fn pending(&self) -> usize {
        let nodes = self.alive().into_iter().map(|n| {
            let node = &self.nodes[n];
            let confirmed = node.unconfirmed.values().filter(|w| w.is_empty()).count();
            node.barriers.len() + (self.log.len() - node.applied) + confirmed
        });
        let proposals: usize = self.nodes.iter().map(|n| n.proposals.len()).sum();
        let data: usize = self.data.values().map(|q| q.len()).sum();
        let control: usize = self.control.values().map(|q| q.len()).sum();
        nodes.sum::<usize>() + proposals + data + control + self.oracle.invoked().len()
    }

    /// From every node every procedure that is held can be called, and every subscriber hears what is published.
    fn everything_that_stands_works(&mut self) {
        for node in self.alive() {
            let newcomer = self.join_at(node);
            for procedure in PROCEDURES {
                let best = self.oracle.best(&Uri::from(procedure));
                let invocations = |world: &World| world.nodes.iter().map(|n| n.realm.stats().invocations).sum::<u64>();
                let before = invocations(self);
                let payload = self.oracle.question(newcomer);
                let request = self.oracle.next_request(newcomer);
                let procedure = Uri::from(procedure);
                self.says(
                    newcomer,
                    Message::Call {
                        request,
                        options: Dict::new(),
                        procedure,
                        payload,
                    },
                );
                self.run_dry();
                assert_eq!(invocations(self) - before, u64::from(best.is_some()));
                assert!(best.is_none() || self.oracle.last_invoked() == best);
            }
            for (n, topic) in TOPICS.into_iter().enumerate() {
                let topic = Uri::from(topic);
                let payload = self.oracle.news(newcomer, &topic, &Dict::new());
                let request = self.oracle.next_request(newcomer);
                let message = Message::Publish {
                    request,
                    options: Dict::new(),
                    topic: topic.clone(),
                    payload,
                };
                self.says(newcomer, message);
                self.run_dry();
                for subscriber in self.oracle.subscribers(&topic) {
                    assert_eq!(self.oracle.last_heard(subscriber, newcomer), Some(n as u64 + 1), "{topic}");
                }
            }
        }
        assert_eq!(self.oracle.unanswered(), Vec::<String>::new());
    }
}

/// What a few hundred random walks must have met.
pub(super) const EXPECTED: [&str; 52] = [
    "meta_overdue",
    "listed exactly",
    "defined anew",
    "undefined",
    "define wamp.error.unavailable",
    "wamp.reflect.on_define",
    "listed with nodes missing",
    "killed",
    "kill wamp.error.no_such_session",
    "wamp.session.on_join",
    "wamp.session.on_leave",
    "revoked",
    "sharded",
    "subscriptions_revoked",
    "results",
    "invocations_forwarded",
    "calls_parked",
    "calls_retried",
    "calls_rerouted",
    "registrations_revoked",
    "max_concurrency_reached",
    "callees_unavailable",
    "stale_route",
    "barriers_failed",
    "events_forwarded",
    "subscribed_unconfirmed",
    "unregistered_unconfirmed",
    "registers_expired",
    "registers_late",
    "invokes_parked",
    "invokes_refused",
    "dropped_late_answers",
    "dropped_late_frames",
    "dropped_late_barriers",
    "wamp.error.no_such_procedure",
    "wamp.error.no_available_callee",
    "wamp.error.canceled",
    "wamp.error.unavailable",
    "REGISTER wamp.error.procedure_already_exists",
    "wamp.error.timeout",
    "wamp.error.invalid_argument",
    "wamp.error.feature_not_supported",
    "a part of a result",
    "a part of arguments",
    "interrupt kill",
    "interrupt killnowait",
    "calls_canceled",
    "calls_timed_out",
    "dropped_cancels",
    "dropped_progress",
    "dropped_late_parts",
    "call_parts",
];

pub(super) fn add(seen: &mut BTreeMap<String, u64>, stats: &Stats) {
    for (name, count) in [
        ("meta_overdue", stats.meta_overdue),
        ("results", stats.results),
        ("subscriptions_revoked", stats.subscriptions_revoked),
        ("invocations_forwarded", stats.invocations_forwarded),
        ("calls_parked", stats.calls_parked),
        ("calls_retried", stats.calls_retried),
        ("calls_rerouted", stats.calls_rerouted),
        ("registrations_revoked", stats.registrations_revoked),
        ("barriers_failed", stats.barriers_failed),
        ("events_forwarded", stats.events_forwarded),
        ("subscribed_unconfirmed", stats.subscribed_unconfirmed),
        ("unregistered_unconfirmed", stats.unregistered_unconfirmed),
        ("registers_expired", stats.registers_expired),
        ("registers_late", stats.registers_late),
        ("invokes_parked", stats.invokes_parked),
        ("invokes_refused", stats.invokes_refused),
        ("dropped_late_answers", stats.dropped_late_answers),
        ("dropped_late_frames", stats.dropped_late_frames),
        ("dropped_late_barriers", stats.dropped_late_barriers),
        ("calls_canceled", stats.calls_canceled),
        ("calls_timed_out", stats.calls_timed_out),
        ("dropped_cancels", stats.dropped_cancels),
        ("dropped_progress", stats.dropped_progress),
        ("dropped_late_parts", stats.dropped_late_parts),
        ("call_parts", stats.call_parts),
    ] {
        *seen.entry(name.to_owned()).or_default() += count;
    }
}
