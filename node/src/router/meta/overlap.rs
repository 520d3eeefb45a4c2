//! REGISTERED of a registration that overlaps another one waits until every linked node's log is there.
//!
//! A node whose log is behind would send a call to the pattern that matched before, and no miss would tell it to look twice. So the
//! node of such a callee asks the others, and says REGISTERED when all have applied the entry. Until then nothing is invoked: this
//! node's own callers go where they went before, and calls from nodes that are there already wait with the invocations that came ahead
//! of the log.
//!
//! Choice: a node without a link is not waited for, since no call of its could reach the callee; one that has a link and does not come
//! that far is waited for as long as its lease lasts at most (`overlap_wait`), and then REGISTERED is sent and counted. Whether two
//! patterns overlap is guessed on the safe side where a wildcard pattern is involved: a wait too many costs a round trip.

use std::{collections::BTreeSet, time::Instant};

use super::{Question, Realm, ask::router};
use crate::{
    router::{LogIndex, MatchPolicy, NodeRef, PeerFrame, registry::Registration, session_table::Held, timers::Timer, turn::Turn},
    wamp::{Message, RegistrationId, SessionId},
};

/// A REGISTER that the log has and that is not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::router) struct Arriving {
    session: SessionId,
    registration: RegistrationId,
}

/// A question to the other nodes whether their log is there.
#[derive(Debug)]
pub(in crate::router) struct Overlap {
    arriving: Vec<Arriving>,
    /// Nodes whose answer is awaited.
    pub(in crate::router) waiting: BTreeSet<NodeRef>,
    pub(in crate::router) deadline: Instant,
}

/// A node that waits until this node's log has come that far.
#[derive(Debug)]
pub(super) struct ApplyWaiter {
    node: NodeRef,
    ask: u64,
    index: LogIndex,
}

impl Realm {
    /// True if REGISTERED of a registration that came to be at `index` has to wait for other nodes.
    pub(in crate::router) fn overlaps(&self, registration: RegistrationId, index: LogIndex) -> bool {
        let Some(registration) = self.registry.registration(registration) else {
            return false;
        };
        // A further callee of a registration changes nothing about which registration a call goes to.
        let is_new = registration.index == index && registration.callees.len() == 1;
        is_new && !self.peers.is_empty() && self.has_overlap(registration)
    }

    fn has_overlap(&self, registration: &Registration) -> bool {
        let registry = &self.registry;
        match registration.policy {
            MatchPolicy::Exact => registry.matching_patterns(&registration.procedure).next().is_some(),
            // Longer prefixes come before this one whether or not it is there.
            MatchPolicy::Prefix => {
                let mut others = registry.matching_patterns(&registration.procedure);
                registry.wildcard_count() > 0 || others.any(|other| other.id != registration.id)
            }
            MatchPolicy::Wildcard => registry.wildcard_count() > 1,
        }
    }

    /// REGISTERED waits; [`Self::ask_about_overlaps`] follows when the entry is applied whole.
    pub(in crate::router) fn await_overlap(&mut self, session: SessionId, registration: RegistrationId) {
        self.meta.arriving.push(Arriving { session, registration });
    }

    /// The log went on: asks the others about what it brought that overlaps.
    pub(super) fn ask_about_overlaps(&mut self, turn: &mut Turn<'_>) {
        if self.meta.arriving.is_empty() {
            return;
        }
        let overlap = Overlap {
            arriving: std::mem::take(&mut self.meta.arriving),
            waiting: self.peers.clone(),
            deadline: turn.now + self.config.limits.overlap_wait,
        };
        if overlap.waiting.is_empty() {
            return self.conclude_overlap(turn, overlap);
        }
        let ask = self.meta.next_ask();
        for node in &overlap.waiting {
            let question = Question::Applied(self.applied).to_dict();
            turn.forward(*node, router(), PeerFrame::MetaAsk { ask, question });
        }
        self.timers.set(overlap.deadline, Timer::Meta(ask));
        self.meta.overlaps.insert(ask, overlap);
    }

    /// Another node asks to be told when this node's log is there.
    pub(super) fn on_ask_applied(&mut self, turn: &mut Turn<'_>, node: NodeRef, ask: u64, index: LogIndex) {
        if index <= self.applied {
            return self.tell_applied(turn, node, ask);
        }
        if self.meta.appliers.len() >= self.config.limits.meta_calls_max {
            self.stats.dropped_meta_asks += 1;
            return;
        }
        self.meta.appliers.push(ApplyWaiter { node, ask, index });
    }

    /// The log went on: tells those that waited for that.
    pub(super) fn answer_appliers(&mut self, turn: &mut Turn<'_>) {
        if self.meta.appliers.is_empty() {
            return;
        }
        let applied = self.applied;
        let (due, waiting) = std::mem::take(&mut self.meta.appliers)
            .into_iter()
            .partition(|waiter: &ApplyWaiter| waiter.index <= applied);
        self.meta.appliers = waiting;
        for waiter in due {
            self.tell_applied(turn, waiter.node, waiter.ask);
        }
    }

    fn tell_applied(&self, turn: &mut Turn<'_>, node: NodeRef, ask: u64) {
        let (index, answer) = (self.applied, crate::wamp::Dict::new());
        turn.forward(node, router(), PeerFrame::MetaAnswer { ask, index, answer });
    }

    /// Takes an answer if it is to such a question.
    pub(super) fn on_overlap_answer(&mut self, turn: &mut Turn<'_>, from: NodeRef, ask: u64) -> bool {
        let Some(overlap) = self.meta.overlaps.get_mut(&ask) else {
            return false;
        };
        if !overlap.waiting.remove(&from) {
            return false;
        }
        if overlap.waiting.is_empty() {
            self.end_overlap(turn, ask);
        }
        true
    }

    /// The link to a node ended: it is not waited for, and waits for nothing.
    pub(super) fn detach_node_from_overlaps(&mut self, turn: &mut Turn<'_>, node: NodeRef) {
        self.meta.appliers.retain(|waiter| waiter.node != node);
        let mut done = Vec::new();
        for (ask, overlap) in &mut self.meta.overlaps {
            if overlap.waiting.remove(&node) && overlap.waiting.is_empty() {
                done.push(*ask);
            }
        }
        done.into_iter().for_each(|ask| self.end_overlap(turn, ask));
    }

    /// A node did not get there in time; the timer is out already. False if there is no such question.
    pub(super) fn on_overlap_overdue(&mut self, turn: &mut Turn<'_>, ask: u64) -> bool {
        let Some(overlap) = self.meta.overlaps.remove(&ask) else {
            return false;
        };
        self.stats.registered_unconfirmed += overlap.arriving.len() as u64;
        self.conclude_overlap(turn, overlap);
        true
    }

    fn end_overlap(&mut self, turn: &mut Turn<'_>, ask: u64) {
        if let Some(overlap) = self.meta.overlaps.remove(&ask) {
            self.timers.unset(overlap.deadline, Timer::Meta(ask));
            self.conclude_overlap(turn, overlap);
        }
    }

    /// Says REGISTERED, and lets in what waited for that.
    fn conclude_overlap(&mut self, turn: &mut Turn<'_>, overlap: Overlap) {
        for Arriving { session, registration } in overlap.arriving {
            // The session may be gone meanwhile, or have lost the registration, and then it was told.
            let held = self
                .sessions
                .get_mut(session)
                .and_then(|s| s.registrations.get_mut(&registration));
            let requests = held.map(Held::arrive).unwrap_or_default();
            for request in &requests {
                let request = *request;
                turn.send(session, Message::Registered { request, registration });
            }
            if !requests.is_empty() {
                self.drain_invokes(turn, session);
            }
        }
    }

    /// True if a REGISTER of that session waits for a question that is open, or is about to be asked.
    pub(in crate::router) fn is_arriving(&self, session: SessionId, registration: RegistrationId) -> bool {
        let it = Arriving { session, registration };
        let asked = self.meta.overlaps.values().flat_map(|overlap| &overlap.arriving);
        asked.chain(&self.meta.arriving).any(|arriving| *arriving == it)
    }
}
