//! What nodes ask each other to answer a meta call, and how they answer.
//!
//! Questions and answers are dicts, so that a node of another version can tell what it does not know. Every answer carries a log
//! index: it is true once the asking node has come that far. The answer to "flush" comes when the joins and ends of all sessions
//! that the answering node had when it was asked are applied there; what it has registered lies before it by itself, since
//! REGISTERED follows the apply.

use super::{Meta, Realm, authorizer, kill, presence, removal, subscription};
use crate::{
    router::{LogIndex, NodeRef, PeerFrame, turn::Turn},
    wamp::{Dict, RegistrationId, SessionId},
};

/// A question to every node.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Question {
    /// Answer when the log has what you have.
    Flush,
    /// Answer when your log is there.
    Applied(LogIndex),
    /// End sessions of yours.
    Kill(kill::Order),
    /// Take a subscription from a session of yours.
    Remove(removal::Order),
    /// Forget what authorizers have decided about sessions of yours.
    Invalidate(authorizer::Order),
    /// Tell of subscriptions of yours.
    Subscriptions(subscription::Which),
    /// No question, but what the keeper of subscriptions has to know; it is not answered.
    Report(presence::Report),
}

/// Something about a session of this node that the log is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::router) enum Own {
    /// It joined.
    Joined,
    /// It ended.
    Gone,
    /// A change of its testaments, by number.
    Testament(u64),
    /// It asked for a change of definitions, by number.
    Definition(u64),
    /// A registration is taken from it; it may be of another node.
    Removal(RegistrationId),
}

/// A node that waits for this node's log.
#[derive(Debug)]
pub(super) struct FlushWaiter {
    node: NodeRef,
    ask: u64,
    /// How many own joins and ends have to be settled.
    own: u64,
}

impl Question {
    pub(super) fn to_dict(&self) -> Dict {
        match self {
            Self::Flush => Dict::new().with("what", "flush"),
            Self::Applied(index) => Dict::new().with("what", "applied").with("index", *index),
            Self::Kill(order) => order.to_dict().with("what", "kill"),
            Self::Remove(order) => order.to_dict().with("what", "remove"),
            Self::Invalidate(order) => order.to_dict().with("what", "invalidate"),
            Self::Subscriptions(which) => which.to_dict().with("what", "subscriptions"),
            Self::Report(report) => report.to_dict().with("what", "report"),
        }
    }

    fn from_dict(dict: &Dict) -> Option<Self> {
        match dict.text("what")? {
            "flush" => Some(Self::Flush),
            "applied" => u64::try_from(dict.get("index")?.as_integer()?).ok().map(Self::Applied),
            "kill" => kill::Order::from_dict(dict).map(Self::Kill),
            "invalidate" => authorizer::Order::from_dict(dict).map(Self::Invalidate),
            "remove" => removal::Order::from_dict(dict).map(Self::Remove),
            "subscriptions" => subscription::Which::from_dict(dict).map(Self::Subscriptions),
            "report" => presence::Report::from_dict(dict).map(Self::Report),
            _ => None,
        }
    }
}

impl Realm {
    /// This node's part of an answer. A flush has none: its answer is the log.
    pub(super) fn answer_here(&mut self, turn: &mut Turn<'_>, question: Question) -> Dict {
        match question {
            Question::Flush | Question::Applied(_) | Question::Report(_) => Dict::new(),
            Question::Kill(order) => self.carry_out_kill(turn, &order),
            Question::Invalidate(order) => self.carry_out_invalidation(turn, &order),
            Question::Remove(order) => self.carry_out_removal(turn, &order),
            Question::Subscriptions(which) => self.rows_here(&which),
        }
    }

    /// Another node asks. What this version does not understand it does not answer: the asking node names it as missing.
    pub(in crate::router) fn on_meta_ask(&mut self, turn: &mut Turn<'_>, from: NodeRef, ask: u64, question: &Dict) {
        match Question::from_dict(question) {
            Some(Question::Flush) if self.meta.settled < self.meta.proposed() => {
                if self.meta.flushes.len() >= self.config.limits.meta_calls_max {
                    self.stats.dropped_meta_asks += 1;
                    return;
                }
                let own = self.meta.proposed();
                self.meta.flushes.push_back(FlushWaiter { node: from, ask, own });
            }
            Some(Question::Report(report)) => self.take_report(turn, from, report),
            Some(Question::Applied(index)) => self.on_ask_applied(turn, from, ask, index),
            Some(question) => {
                let index = if question == Question::Flush { self.applied } else { 0 };
                let answer = self.answer_here(turn, question);
                turn.forward(from, router(), PeerFrame::MetaAnswer { ask, index, answer });
            }
            None => self.stats.dropped_meta_asks += 1,
        }
    }

    /// Another node answers.
    pub(in crate::router) fn on_meta_answer(
        &mut self,
        turn: &mut Turn<'_>,
        from: NodeRef,
        ask: u64,
        index: LogIndex,
        answer: Dict,
    ) {
        if self.on_overlap_answer(turn, from, ask) || self.on_echo(turn, from, ask) {
            return;
        }
        let Some(pending) = self.meta.pending.get_mut(&ask).filter(|p| p.waiting.contains(&from)) else {
            self.stats.dropped_late_frames += 1;
            return;
        };
        pending.waiting.remove(&from);
        pending.answered.insert(from);
        pending.index = pending.index.max(index);
        pending.answers.push(answer);
        self.advance_meta_call(turn, ask);
    }

    /// The link to a node ended: it answers nothing any more and waits for nothing.
    pub(in crate::router) fn detach_node_from_meta(&mut self, turn: &mut Turn<'_>, node: NodeRef) {
        self.detach_node_from_presence(turn, node);
        self.detach_node_from_overlaps(turn, node);
        self.detach_node_from_echoes(turn, node);
        self.meta.flushes.retain(|waiter| waiter.node != node);
        let mut waiting = Vec::new();
        for (ask, pending) in &mut self.meta.pending {
            if pending.waiting.remove(&node) {
                pending.missing.insert(node);
                waiting.push(*ask);
            }
        }
        waiting.into_iter().for_each(|ask| self.advance_meta_call(turn, ask));
    }

    /// Tells the nodes for which this node's log has come far enough.
    pub(super) fn answer_flushes(&mut self, turn: &mut Turn<'_>) {
        while self.meta.flushes.front().is_some_and(|first| first.own <= self.meta.settled) {
            let Some(waiter) = self.meta.flushes.pop_front() else { return };
            let (ask, index, answer) = (waiter.ask, self.applied, Dict::new());
            turn.forward(waiter.node, router(), PeerFrame::MetaAnswer { ask, index, answer });
        }
    }

    /// The registry came from a snapshot: joins and ends that it holds are settled.
    ///
    /// A session of which both are under way and no row is there may have neither or both applied. It is taken for both: its row, if
    /// it comes at all, goes again.
    pub(super) fn settle_own_rows(&mut self) {
        let ends: Vec<SessionId> = self
            .meta
            .own
            .iter()
            .filter(|(_, own)| *own == Own::Gone)
            .map(|(s, _)| *s)
            .collect();
        while let Some((session, own)) = self.meta.own.front().copied() {
            let there = self.registry.session(session).is_some_and(|row| row.node == self.me);
            let settled = match own {
                Own::Removal(id) => self
                    .registry
                    .registration(id)
                    .is_none_or(|r| r.callees.iter().all(|c| c.session != session)),
                Own::Gone => !there,
                Own::Definition(number) => number <= self.registry.definitions().settled(self.me),
                _ if !there => ends.contains(&session),
                Own::Joined => true,
                Own::Testament(number) => number <= self.registry.testaments_number(session),
            };
            if !settled {
                return;
            }
            self.meta.own.pop_front();
            self.meta.settled += 1;
        }
    }
}

impl Meta {
    /// The log is told something about a session of this node.
    pub(in crate::router) fn note_proposed(&mut self, session: SessionId, own: Own) {
        self.own.push_back((session, own));
    }

    /// Another change of a session's testaments; gives its number.
    pub(super) fn note_testament(&mut self, session: SessionId) -> u64 {
        self.last_testament += 1;
        self.note_proposed(session, Own::Testament(self.last_testament));
        self.last_testament
    }

    /// How many changes of a session's testaments the log has not applied.
    pub(super) fn testaments_under_way(&self, session: SessionId) -> usize {
        let of_session = |(id, own): &&(SessionId, Own)| *id == session && matches!(own, Own::Testament(_));
        self.own.iter().filter(of_session).count()
    }

    /// The log applied what it was told about a session of this node.
    pub(super) fn note_applied(&mut self, session: SessionId, own: Own) {
        // Ops of one node are applied in the order in which it proposed them, so what stands before it was swallowed by a snapshot.
        if let Some(at) = self.own.iter().position(|told| *told == (session, own)) {
            self.own.drain(..=at);
            self.settled += at as u64 + 1;
        }
    }

    /// The log applied a change of definitions that a session of this node asked for.
    pub(super) fn note_definition_applied(&mut self, number: u64) {
        let told = self.own.iter().find(|(_, own)| *own == Own::Definition(number));
        if let Some((session, own)) = told.copied() {
            self.note_applied(session, own);
        }
    }

    /// How much the log was told about sessions of this node.
    pub(super) fn proposed(&self) -> u64 {
        self.settled + self.own.len() as u64
    }

    /// A new life of this node: nothing of the one before is under way.
    pub(in crate::router) fn forget_own(&mut self) {
        self.settled += self.own.len() as u64;
        self.own.clear();
    }
}

/// Whose lane answers take: they belong to no session, and no order with other frames is promised.
pub(super) fn router() -> SessionId {
    SessionId::new(1).expect("1 lies in the id range")
}
