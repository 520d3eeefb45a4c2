//! Calls that cross nodes: the frames about them, on both ends.
//!
//! Invariants: an invocation that this node cannot start is refused with NACK and leaves no trace; one that comes ahead of this
//! node's log waits, and whatever else comes for the same callee waits behind it, so that no call overtakes another.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Instant,
};

use super::{call::Answer, choice::nobody_left};
use crate::{
    router::{
        LogIndex, NodeRef, PeerFrame, Realm,
        frame::{CallId, Refusal},
        registry::Callee,
        session_table::{Again, Asked, Call, Caller, Readiness},
        timers::Timer,
        turn::{Turn, because},
    },
    wamp::{Dict, Payload, RegistrationId, SessionId, error_uri},
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

/// The content of [`PeerFrame::Invoke`] or [`PeerFrame::Chunk`] and where it came from.
#[derive(Debug)]
pub(in crate::router) struct Invoke {
    pub(in crate::router) from: NodeRef,
    pub(in crate::router) call: CallId,
    pub(in crate::router) registration: RegistrationId,
    pub(in crate::router) callee: SessionId,
    pub(in crate::router) index: LogIndex,
    /// It is a further part of the arguments of that call.
    pub(in crate::router) continues: bool,
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

    /// The callee for which a call from elsewhere waits.
    pub(super) fn callee_of(&self, from: NodeRef, call: CallId) -> Option<SessionId> {
        let waits = |queue: &VecDeque<ParkedInvoke>| queue.iter().any(|p| p.invoke.from == from && p.invoke.call == call);
        self.by_callee
            .iter()
            .find(|(_, queue)| waits(queue))
            .map(|(callee, _)| *callee)
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
            return self.nack(turn, invoke, Refusal::Stale);
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
        self.nack(turn, parked.invoke, Refusal::Stale);
        if let Some(next) = self.dealer.parked.first(callee) {
            self.timers.set(next.deadline, Timer::Invoke(callee));
        }
        self.drain_invokes(turn, callee);
    }

    /// Refuses everything that waits for a callee that is gone.
    pub(super) fn nack_parked_invokes(&mut self, turn: &mut Turn<'_>, callee: SessionId) {
        while let Some(invoke) = self.unpark_invoke(callee) {
            self.nack(turn, invoke, Refusal::Stale);
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

    /// Lets the invocations go on that wait for a callee, up to one that still has to.
    pub(in crate::router) fn drain_invokes(&mut self, turn: &mut Turn<'_>, callee: SessionId) {
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

    /// True if the caller's node may know of a callee that this node's log has not reached, or that was not told REGISTERED.
    fn is_ahead(&self, invoke: &Invoke) -> bool {
        (invoke.index > self.applied && !self.sessions.holds(invoke.callee, invoke.registration))
            || self.sessions.awaits_registered(invoke.callee, invoke.registration)
    }

    fn accept_invoke(&mut self, turn: &mut Turn<'_>, invoke: Invoke) {
        if invoke.continues {
            return self.accept_part(turn, invoke);
        }
        let key = (invoke.from, invoke.call);
        if self.dealer.incoming.contains_key(&key) {
            self.stats.dropped_repeated_frames += 1;
            return;
        }
        if !self.has_lease(turn.now) {
            return self.nack(turn, invoke, Refusal::NoLease);
        }
        match self.sessions.readiness(invoke.callee, invoke.registration) {
            Readiness::Ready => {}
            Readiness::Busy => return self.nack(turn, invoke, Refusal::Busy),
            Readiness::Gone => return self.nack(turn, invoke, Refusal::Stale),
        }
        let caller = Caller::Remote {
            node: invoke.from,
            call: invoke.call,
        };
        let (callee, registration) = (invoke.callee, invoke.registration);
        match self.invoke(turn, callee, registration, caller, invoke.details, invoke.payload) {
            Ok(request) => self.dealer.incoming.insert(key, (callee, request)),
            Err(why) => {
                let (error, details) = why.error();
                let (error, payload) = (error.into(), Payload::EMPTY);
                self.answer(turn, callee, caller, Answer::Error { details, error, payload });
            }
        }
    }

    fn nack(&mut self, turn: &mut Turn<'_>, invoke: Invoke, why: Refusal) {
        self.stats.invokes_refused += 1;
        let (call, callee, payload) = (invoke.call, invoke.callee, invoke.payload);
        let frame = PeerFrame::Nack {
            call,
            callee,
            why,
            payload,
        };
        turn.forward(invoke.from, callee, frame);
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
        if let Some(call) = self.take_call(session, request) {
            let answer = self.checked_answer(&call, answer);
            self.conclude(turn, session, request, answer);
        }
    }

    /// Caller's node: a callee does not take the call.
    pub(in crate::router) fn on_nack(
        &mut self,
        turn: &mut Turn<'_>,
        from: NodeRef,
        call: CallId,
        (callee, why, payload): (SessionId, Refusal, Payload),
    ) {
        let Some((session, request)) = self.dealer.outgoing.remove(&(from, call)) else {
            self.stats.dropped_late_frames += 1;
            return;
        };
        let Some(mut record) = self.sessions.get_mut(session).and_then(|caller| caller.take_call(request)) else {
            return;
        };
        match (record.flow_mut().take(), record) {
            (Some(flow), _) if flow.killed => {
                self.end_flow(session, request, &flow);
                self.conclude(turn, session, request, Answer::canceled("not_invoked"));
            }
            // Its parts are gone; nobody knows how many of them came.
            (Some(flow), _) if flow.stream.as_ref().is_some_and(|stream| stream.sent) => {
                self.break_off(turn, session, from, call);
                let details = because("the callee went away while the arguments were under way");
                let error = error_uri::NO_AVAILABLE_CALLEE;
                self.refuse_call(turn, session, request, Some(flow), error, details);
            }
            (
                flow,
                Call::Remote {
                    again: Asked::Kept(what),
                    ..
                },
            ) => {
                let asked = Callee {
                    node: from,
                    session: callee,
                };
                self.ask_another(turn, session, request, Again { flow, ..*what }, asked, why);
            }
            (
                flow,
                Call::Remote {
                    again:
                        Asked::Plain {
                            order,
                            procedure,
                            registration,
                        },
                    ..
                },
            ) if why != Refusal::Unavailable => {
                let what = Again {
                    order,
                    procedure,
                    payload,
                    flow,
                    tries: None,
                    registration: Some(registration),
                };
                let asked = Callee {
                    node: from,
                    session: callee,
                };
                self.ask_another(turn, session, request, what, asked, why);
            }
            (flow, _) => {
                let (error, details) = nobody_left(why);
                self.refuse_call(turn, session, request, flow, error, details);
            }
        }
    }
}
