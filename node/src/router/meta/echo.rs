//! A SUBSCRIBE that asks for what is retained waits until what the other nodes have sent before is here.
//!
//! A retained event is on its way to this node when its publisher hears PUBLISHED elsewhere. Its node's answer to a question comes behind
//! it on the same lane, so whoever subscribes once something was published is given it, from any node.
//!
//! Choice: a node without a link is not waited for, one that does not answer no longer than for a meta call (`meta_wait`); a realm with
//! several lanes between two nodes keeps this order on one of them.

use std::{collections::BTreeSet, time::Instant};

use super::{Question, Realm, ask::router};
use crate::{
    router::{NodeRef, PeerFrame, timers::Timer, turn::Turn},
    wamp::{Dict, RequestId, SessionId, Uri},
};

/// A SUBSCRIBE that waits.
#[derive(Debug)]
pub(in crate::router) struct Echo {
    pub(in crate::router) session: SessionId,
    request: RequestId,
    options: Dict,
    topic: Uri,
    /// Nodes whose answer is awaited.
    pub(in crate::router) waiting: BTreeSet<NodeRef>,
    pub(in crate::router) deadline: Instant,
}

impl Realm {
    /// Lets a SUBSCRIBE wait for what other nodes have sent; false if there is nobody to wait for, or no room to wait.
    pub(in crate::router) fn await_echo(
        &mut self,
        turn: &mut Turn<'_>,
        session: SessionId,
        request: RequestId,
        options: &Dict,
        topic: &Uri,
    ) -> bool {
        if self.peers.is_empty() || self.meta.echoes.len() >= self.config.limits.meta_calls_max {
            return false;
        }
        let ask = self.meta.next_ask();
        for node in &self.peers {
            // What no log can be behind is answered at once.
            let question = Question::Applied(0).to_dict();
            turn.forward(*node, router(), PeerFrame::MetaAsk { ask, question });
        }
        let echo = Echo {
            session,
            request,
            options: options.clone(),
            topic: topic.clone(),
            waiting: self.peers.clone(),
            deadline: turn.now + self.config.limits.meta_wait,
        };
        self.timers.set(echo.deadline, Timer::Meta(ask));
        self.meta.echoes.insert(ask, echo);
        true
    }

    /// Takes an answer if it is to such a question.
    pub(super) fn on_echo(&mut self, turn: &mut Turn<'_>, from: NodeRef, ask: u64) -> bool {
        let Some(echo) = self.meta.echoes.get_mut(&ask) else {
            return false;
        };
        if !echo.waiting.remove(&from) {
            return false;
        }
        if echo.waiting.is_empty() {
            self.end_echo(turn, ask);
        }
        true
    }

    /// The link to a node ended: it is not waited for.
    pub(super) fn detach_node_from_echoes(&mut self, turn: &mut Turn<'_>, node: NodeRef) {
        let mut done = Vec::new();
        for (ask, echo) in &mut self.meta.echoes {
            if echo.waiting.remove(&node) && echo.waiting.is_empty() {
                done.push(*ask);
            }
        }
        done.into_iter().for_each(|ask| self.end_echo(turn, ask));
    }

    /// A node did not answer in time; the timer is out already. False if there is no such question.
    pub(super) fn on_echo_overdue(&mut self, turn: &mut Turn<'_>, ask: u64) -> bool {
        let Some(echo) = self.meta.echoes.remove(&ask) else {
            return false;
        };
        self.stats.meta_overdue += 1;
        self.subscribe_now(turn, echo.session, echo.request, &echo.options, echo.topic);
        true
    }

    /// A subscription of the session ends: what it has asked for before waits no more, so that it is dealt with before.
    pub(in crate::router) fn hurry_echoes(&mut self, turn: &mut Turn<'_>, session: SessionId) {
        let of_session = self.meta.echoes.iter().filter(|(_, echo)| echo.session == session);
        let asks: Vec<u64> = of_session.map(|(ask, _)| *ask).collect();
        asks.into_iter().for_each(|ask| self.end_echo(turn, ask));
    }

    /// A session is gone: nothing of it waits.
    pub(super) fn detach_echoes(&mut self, session: SessionId) {
        let timers = &mut self.timers;
        self.meta.echoes.retain(|ask, echo| {
            let stays = echo.session != session;
            if !stays {
                timers.unset(echo.deadline, Timer::Meta(*ask));
            }
            stays
        });
    }

    fn end_echo(&mut self, turn: &mut Turn<'_>, ask: u64) {
        if let Some(echo) = self.meta.echoes.remove(&ask) {
            self.timers.unset(echo.deadline, Timer::Meta(ask));
            self.subscribe_now(turn, echo.session, echo.request, &echo.options, echo.topic);
        }
    }
}
