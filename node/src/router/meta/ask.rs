//! What nodes ask each other to answer a meta call, and how they answer.
//!
//! Questions and answers are dicts, so that a node of another version can tell what it does not know. Every answer carries a log
//! index: it is true once the asking node has come that far. The answer to "flush" comes when the joins and ends of all sessions
//! that the answering node had when it was asked are applied there; what it has registered lies before it by itself, since
//! REGISTERED follows the apply.

use super::{Meta, Realm, kill};
use crate::{
    router::{LogIndex, NodeRef, PeerFrame, Registry, turn::Turn},
    wamp::{Dict, SessionId},
};

/// A question to every node.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Question {
    /// Answer when the log has what you have.
    Flush,
    /// End sessions of yours.
    Kill(kill::Order),
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
            Self::Kill(order) => order.to_dict().with("what", "kill"),
        }
    }

    fn from_dict(dict: &Dict) -> Option<Self> {
        match dict.text("what")? {
            "flush" => Some(Self::Flush),
            "kill" => kill::Order::from_dict(dict).map(Self::Kill),
            _ => None,
        }
    }
}

impl Realm {
    /// This node's part of an answer. A flush has none: its answer is the log.
    pub(super) fn answer_here(&mut self, turn: &mut Turn<'_>, question: Question) -> Dict {
        match question {
            Question::Flush => Dict::new(),
            Question::Kill(order) => self.carry_out_kill(turn, &order),
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
        let Some(pending) = self.meta.pending.get_mut(&ask).filter(|p| p.waiting.contains(&from)) else {
            self.stats.dropped_late_frames += 1;
            return;
        };
        pending.waiting.remove(&from);
        pending.index = pending.index.max(index);
        pending.answers.push(answer);
        self.advance_meta_call(turn, ask);
    }

    /// The link to a node ended: it answers nothing any more and waits for nothing.
    pub(in crate::router) fn detach_node_from_meta(&mut self, turn: &mut Turn<'_>, node: NodeRef) {
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
        let ends: Vec<SessionId> = self.meta.own.iter().filter(|(_, joined)| !joined).map(|(s, _)| *s).collect();
        while let Some((session, joined)) = self.meta.own.front().copied() {
            let there = has_row(&self.registry, session, self.me);
            if there != joined && !(joined && ends.contains(&session)) {
                return;
            }
            self.meta.own.pop_front();
            self.meta.settled += 1;
        }
    }
}

impl Meta {
    /// A session of this node joined or ended, and the log is told.
    pub(in crate::router) fn note_proposed(&mut self, session: SessionId, joined: bool) {
        self.own.push_back((session, joined));
    }

    /// The log applied a join or an end of a session of this node.
    pub(super) fn note_applied(&mut self, session: SessionId, joined: bool) {
        // Ops of one node are applied in the order in which it proposed them, so what stands before it was swallowed by a snapshot.
        if let Some(at) = self.own.iter().position(|own| *own == (session, joined)) {
            self.own.drain(..=at);
            self.settled += at as u64 + 1;
        }
    }

    /// How many joins and ends this node has proposed.
    pub(super) fn proposed(&self) -> u64 {
        self.settled + self.own.len() as u64
    }

    /// A new life of this node: nothing of the one before is under way.
    pub(in crate::router) fn forget_own(&mut self) {
        self.settled += self.own.len() as u64;
        self.own.clear();
    }
}

fn has_row(registry: &Registry, session: SessionId, node: NodeRef) -> bool {
    registry.session(session).is_some_and(|row| row.node == node)
}

/// Whose lane answers take: they belong to no session, and no order with other frames is promised.
pub(super) fn router() -> SessionId {
    SessionId::new(1).expect("1 lies in the id range")
}
