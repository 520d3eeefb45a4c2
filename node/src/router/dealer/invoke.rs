//! Calls that cross nodes: the frames about them, on both ends.
//!
//! Invariants: an invocation that this node cannot start is refused with NACK and leaves no trace; one that comes ahead of this
//! node's log waits, and whatever else comes for the same callee waits behind it, so that no call overtakes another.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Instant,
};

use super::call::Answer;
use crate::{
    router::{
        LogIndex, NodeRef, PeerFrame, Realm,
        frame::CallId,
        frame::Refusal,
        registry::Callee,
        session_table::{Call, Caller, Readiness},
        timers::Timer,
        turn::Turn,
    },
    wamp::{Dict, Payload, RegistrationId, SessionId},
};

/// Invocations from other nodes that wait for this node's log, per callee in the order in which they came.
#[derive(Debug, Default)]
pub(in crate::router) struct ParkedInvokes {
    pub(in crate::router) by_callee: BTreeMap<SessionId, VecDeque<ParkedInvoke>>,
    pub(in crate::router) count: usize,
    pub(in crate::router) bytes: usize,
}

/// An invocation that waits for this node's log.
#[derive(Debug)]
pub(in crate::router) struct ParkedInvoke {
    pub(in crate::router) invoke: Invoke,
    pub(in crate::router) deadline: Instant,
}

/// The content of [`PeerFrame::Invoke`] and where it came from.
#[derive(Debug)]
pub(in crate::router) struct Invoke {
    pub(in crate::router) from: NodeRef,
    pub(in crate::router) call: CallId,
    pub(in crate::router) registration: RegistrationId,
    pub(in crate::router) callee: SessionId,
    pub(in crate::router) index: LogIndex,
    pub(in crate::router) details: Dict,
    pub(in crate::router) payload: Payload,
}

impl ParkedInvokes {
    fn push(&mut self, parked: ParkedInvoke) {
        self.count += 1;
        self.bytes += parked.invoke.payload.bytes().len();
        self.by_callee.entry(parked.invoke.callee).or_default().push_back(parked);
    }

    fn pop(&mut self, callee: SessionId) -> Option<ParkedInvoke> {
        let queue = self.by_callee.get_mut(&callee)?;
        let first = queue.pop_front();
        if queue.is_empty() {
            self.by_callee.remove(&callee);
        }
        if let Some(first) = &first {
            self.count -= 1;
            self.bytes -= first.invoke.payload.bytes().len();
        }
        first
    }

    fn first(&self, callee: SessionId) -> Option<&ParkedInvoke> {
        self.by_callee.get(&callee)?.front()
    }

    fn callees(&self) -> Vec<SessionId> {
        self.by_callee.keys().copied().collect()
    }
}

impl Realm {
    /// Callee's node: a call from elsewhere.
    pub(in crate::router) fn on_invoke(&mut self, turn: &mut Turn<'_>, mut invoke: Invoke) {
        let behind = self.dealer.parked.by_callee.contains_key(&invoke.callee);
        if !behind && !self.is_ahead(&invoke) {
            return self.accept_invoke(turn, invoke);
        }
        let limits = &self.config.limits;
        let full = self.dealer.parked.count >= limits.parked_invokes_max
            || self.dealer.parked.bytes.saturating_add(invoke.payload.bytes().len()) > limits.parked_invokes_bytes_max;
        if full {
            return self.nack(turn, &invoke, Refusal::Stale);
        }
        let deadline = turn.now + limits.invoke_wait;
        if !behind {
            self.timers.set(deadline, Timer::Invoke(invoke.callee));
        }
        self.stats.invokes_parked += 1;
        // What waits must not hold the memory of the whole batch it came in.
        invoke.payload = invoke.payload.apart();
        self.dealer.parked.push(ParkedInvoke { invoke, deadline });
    }

    /// The log went on: invocations that waited for it go on too.
    pub(in crate::router) fn on_applied_to(&mut self, turn: &mut Turn<'_>, index: LogIndex) {
        self.applied = self.applied.max(index);
        for callee in self.dealer.parked.callees() {
            self.drain_invokes(turn, callee);
        }
    }

    /// The first parked invocation of a callee waited too long; its timer is out already.
    pub(in crate::router) fn on_invoke_overdue(&mut self, turn: &mut Turn<'_>, callee: SessionId) {
        let Some(parked) = self.dealer.parked.pop(callee) else {
            return;
        };
        self.nack(turn, &parked.invoke, Refusal::Stale);
        if let Some(next) = self.dealer.parked.first(callee) {
            self.timers.set(next.deadline, Timer::Invoke(callee));
        }
        self.drain_invokes(turn, callee);
    }

    /// Refuses everything that waits for a callee that is gone.
    pub(super) fn nack_parked_invokes(&mut self, turn: &mut Turn<'_>, callee: SessionId) {
        while let Some(invoke) = self.unpark_invoke(callee) {
            self.nack(turn, &invoke, Refusal::Stale);
        }
    }

    /// Forgets what waits and matches: its caller is gone.
    pub(super) fn forget_parked_invokes(&mut self, turn: &mut Turn<'_>, is_gone: impl Fn(&Invoke) -> bool) -> usize {
        let mut forgotten = 0;
        for callee in self.dealer.parked.callees() {
            let mut kept = Vec::new();
            while let Some(first) = self.dealer.parked.first(callee) {
                let deadline = first.deadline;
                match self.unpark_invoke(callee) {
                    Some(invoke) if is_gone(&invoke) => forgotten += 1,
                    Some(invoke) => kept.push(ParkedInvoke { invoke, deadline }),
                    None => break,
                }
            }
            if let Some(first) = kept.first() {
                self.timers.set(first.deadline, Timer::Invoke(callee));
            }
            kept.into_iter().for_each(|parked| self.dealer.parked.push(parked));
            // The one in front may have been all that held the others back.
            self.drain_invokes(turn, callee);
        }
        forgotten
    }

    fn drain_invokes(&mut self, turn: &mut Turn<'_>, callee: SessionId) {
        while self.dealer.parked.first(callee).is_some_and(|p| !self.is_ahead(&p.invoke)) {
            if let Some(invoke) = self.unpark_invoke(callee) {
                self.accept_invoke(turn, invoke);
            }
        }
    }

    /// Takes the first parked invocation of a callee out and moves the timer to the next one.
    fn unpark_invoke(&mut self, callee: SessionId) -> Option<Invoke> {
        let parked = self.dealer.parked.pop(callee)?;
        self.timers.unset(parked.deadline, Timer::Invoke(callee));
        if let Some(next) = self.dealer.parked.first(callee) {
            self.timers.set(next.deadline, Timer::Invoke(callee));
        }
        Some(parked.invoke)
    }

    /// True if the caller's node may know of a callee that this node's log has not reached.
    fn is_ahead(&self, invoke: &Invoke) -> bool {
        invoke.index > self.applied && !self.sessions.holds(invoke.callee, invoke.registration)
    }

    fn accept_invoke(&mut self, turn: &mut Turn<'_>, invoke: Invoke) {
        let key = (invoke.from, invoke.call);
        if self.dealer.incoming.contains_key(&key) {
            self.stats.dropped_repeated_frames += 1;
            return;
        }
        if !self.has_lease(turn.now) {
            return self.nack(turn, &invoke, Refusal::NoLease);
        }
        match self.sessions.readiness(invoke.callee, invoke.registration) {
            Readiness::Ready => {}
            Readiness::Busy => return self.nack(turn, &invoke, Refusal::Busy),
            Readiness::Gone => return self.nack(turn, &invoke, Refusal::Stale),
        }
        let caller = Caller::Remote {
            node: invoke.from,
            call: invoke.call,
        };
        let (callee, registration) = (invoke.callee, invoke.registration);
        if let Some(request) = self.invoke(turn, callee, registration, caller, invoke.details, invoke.payload) {
            self.dealer.incoming.insert(key, (callee, request));
        }
    }

    fn nack(&mut self, turn: &mut Turn<'_>, invoke: &Invoke, why: Refusal) {
        self.stats.invokes_refused += 1;
        let (call, callee) = (invoke.call, invoke.callee);
        turn.forward(invoke.from, callee, PeerFrame::Nack { call, callee, why });
    }

    /// Callee's node: the caller is gone.
    pub(in crate::router) fn on_forget(&mut self, turn: &mut Turn<'_>, from: NodeRef, call: CallId) {
        if let Some((callee, request)) = self.dealer.incoming.remove(&(from, call)) {
            if let Some(callee) = self.sessions.get_mut(callee) {
                callee.invocations.remove(&request);
            }
        } else if self.forget_parked_invokes(turn, |i| i.from == from && i.call == call) == 0 {
            self.stats.dropped_late_frames += 1;
        }
    }

    /// Caller's node: the final answer.
    pub(in crate::router) fn on_remote_answer(&mut self, turn: &mut Turn<'_>, from: NodeRef, call: CallId, answer: Answer) {
        let Some((session, request)) = self.dealer.outgoing.remove(&(from, call)) else {
            self.stats.dropped_late_frames += 1;
            return;
        };
        if let Some(caller) = self.sessions.get_mut(session) {
            caller.take_call(request);
            self.conclude(turn, session, request, answer);
        }
    }

    /// Caller's node: a callee does not take the call.
    pub(in crate::router) fn on_nack(
        &mut self,
        turn: &mut Turn<'_>,
        from: NodeRef,
        call: CallId,
        callee: SessionId,
        why: Refusal,
    ) {
        let Some((session, request)) = self.dealer.outgoing.remove(&(from, call)) else {
            self.stats.dropped_late_frames += 1;
            return;
        };
        let call = self.sessions.get_mut(session).and_then(|caller| caller.take_call(request));
        if let Some(Call::Remote { again: Some(what), .. }) = call {
            let asked = Callee {
                node: from,
                session: callee,
            };
            self.ask_another(turn, session, request, *what, asked, why);
        }
    }
}
