//! Read barriers: what a node does not know may still have been committed before the CALL was made.
//!
//! A lookup that misses waits for the *next* barrier to start; one in flight may have begun before the registration that the
//! caller was told of. One runs, one may be wanted; all misses meanwhile share the wanted one. No miss is remembered.
//!
//! Invariants: barrier numbers count up from 1; a session waits exactly while it has parked calls; the answers of barriers that
//! were given up come, in the order of asking, before those of later ones.

use std::{collections::BTreeSet, time::Instant};

use super::choice::nobody_left;
use crate::{
    router::{BarrierOutcome, Effect, Realm, timers::Timer, turn::Turn, turn::because},
    wamp::{Dict, SessionId, error_uri},
};

/// The barriers of a realm.
#[derive(Debug, Default)]
pub(in crate::router) struct Barriers {
    /// How many have ended.
    ended: u64,
    /// The deadline of the running one, if one runs.
    pub(in crate::router) running: Option<Instant>,
    /// The last one to end failed.
    last_failed: bool,
    /// Somebody waits for a barrier that has not started.
    wanted: bool,
    /// Barriers that were given up and whose answer has not come.
    overdue: u64,
    /// Sessions with parked calls.
    pub(in crate::router) waiting: BTreeSet<SessionId>,
}

impl Barriers {
    /// The number of the next barrier to start, which will now start as soon as none runs.
    pub(super) fn join(&mut self) -> u64 {
        self.wanted = true;
        self.ended + 1 + u64::from(self.running.is_some())
    }
}

impl Realm {
    /// Starts the barrier somebody wants, unless one runs.
    pub(in crate::router) fn start_wanted_barrier(&mut self, turn: &mut Turn<'_>) {
        let barriers = &mut self.dealer.barriers;
        if !barriers.wanted || barriers.running.is_some() {
            return;
        }
        barriers.wanted = false;
        if barriers.waiting.is_empty() {
            return;
        }
        let deadline = turn.now + self.config.limits.barrier_wait;
        barriers.running = Some(deadline);
        self.timers.set(deadline, Timer::Barrier);
        self.stats.barriers += 1;
        turn.effects.push(Effect::Barrier);
    }

    pub(in crate::router) fn on_barrier(&mut self, turn: &mut Turn<'_>, outcome: BarrierOutcome) {
        let barriers = &mut self.dealer.barriers;
        if barriers.overdue > 0 {
            barriers.overdue -= 1;
            self.stats.dropped_late_barriers += 1;
            return;
        }
        let Some(deadline) = barriers.running else {
            self.stats.dropped_late_barriers += 1;
            return;
        };
        self.timers.unset(deadline, Timer::Barrier);
        self.end_barrier(turn, outcome);
    }

    /// Gives up the running barrier; its timer is out already.
    pub(in crate::router) fn on_barrier_overdue(&mut self, turn: &mut Turn<'_>) {
        self.dealer.barriers.overdue += 1;
        self.end_barrier(turn, BarrierOutcome::Failed);
    }

    fn end_barrier(&mut self, turn: &mut Turn<'_>, outcome: BarrierOutcome) {
        if outcome == BarrierOutcome::Failed {
            self.stats.barriers_failed += 1;
        }
        let barriers = &mut self.dealer.barriers;
        barriers.running = None;
        barriers.ended += 1;
        barriers.last_failed = outcome == BarrierOutcome::Failed;
        let waiting: Vec<SessionId> = barriers.waiting.iter().copied().collect();
        for session in waiting {
            self.drain_parked(turn, session, outcome);
        }
    }

    /// A parked call of a session is gone: those that waited behind it only go on.
    pub(super) fn resume_parked(&mut self, turn: &mut Turn<'_>, session: SessionId) {
        let outcome = if self.dealer.barriers.last_failed {
            BarrierOutcome::Failed
        } else {
            BarrierOutcome::Passed
        };
        self.drain_parked(turn, session, outcome);
    }

    /// Lets a session's parked calls go on, in their order, up to one that still has to wait. `outcome` is that of the last barrier.
    fn drain_parked(&mut self, turn: &mut Turn<'_>, session: SessionId, outcome: BarrierOutcome) {
        while let Some(head) = self.sessions.get(session).and_then(|s| s.parked.front()) {
            // A later barrier than the one it waited for says at least as much, and failing with it is safe.
            let due = head.wait.is_some_and(|number| number <= self.dealer.barriers.ended);
            let outcome = if head.held { BarrierOutcome::Passed } else { outcome };
            let may_route = if head.retried {
                due && outcome == BarrierOutcome::Passed
            } else {
                true
            };
            let found = if may_route {
                self.find(&head.what.procedure, head.what.tries.as_deref())
            } else {
                None
            };
            if found.is_none() && !due {
                // It hit when it came and misses now: it waits like any other miss.
                if head.wait.is_none() {
                    let number = self.dealer.barriers.join();
                    if let Some(head) = self.sessions.get_mut(session).and_then(|s| s.parked.front_mut()) {
                        head.wait = Some(number);
                    }
                }
                return;
            }
            if found.is_none() && outcome == BarrierOutcome::Passed && self.may_come_again(&head.what) {
                if let Some(head) = self.sessions.get_mut(session).and_then(|s| s.parked.front_mut()) {
                    self.stats.calls_held += u64::from(!head.held);
                    head.held = true;
                }
                return;
            }
            let Some(call) = self.sessions.get_mut(session).and_then(|s| s.unpark()) else {
                break;
            };
            match (found, outcome) {
                (Some(found), _) => {
                    self.route(turn, session, call.request, call.what, found);
                    for part in call.parts {
                        self.resume_part(turn, session, call.request, part);
                    }
                }
                (None, BarrierOutcome::Passed) => {
                    let declined = call.what.tries.and_then(|tries| tries.bound_to.and(tries.worst));
                    let (error, details) = declined.map_or_else(|| (error_uri::NO_SUCH_PROCEDURE, Dict::new()), nobody_left);
                    self.refuse_call(turn, session, call.request, call.what.flow, error, details);
                }
                (None, BarrierOutcome::Failed) => {
                    let details = because("no quorum: whether the procedure exists is unknown");
                    let error = error_uri::UNAVAILABLE;
                    self.refuse_call(turn, session, call.request, call.what.flow, error, details);
                }
            }
            self.recount_calls(session);
        }
        self.dealer.barriers.waiting.remove(&session);
    }
}
