//! What the end of a session or of a node means for calls and registrations.
//!
//! Invariants: every call whose callee is gone ends in ERROR `wamp.error.canceled`, one whose callee's node is lost in
//! `wamp.error.network_failure`; every call whose caller is gone leaves no record, and its callee is told to give up if it announced
//! that it can.
//!
//! Spec: WAMP advanced profile, "Call Canceling": "Callee Leaving", "Caller Leaving".

use std::time::Instant;

use super::call::Answer;
use crate::{
    router::{NodeRef, Realm, frame::InterruptMode, session_table::Call, session_table::Caller, timers::Timer, turn::Turn},
    wamp::{SessionId, error_uri},
};

impl Realm {
    /// Ends everything the session has as caller and callee.
    pub(in crate::router) fn detach_dealer(&mut self, turn: &mut Turn<'_>, session: SessionId) {
        // Its own calls first: one that it made to itself must not be answered to a session that is gone.
        self.forget_calls_of(turn, session);
        self.cancel_invocations_of(turn, session);
        self.nack_parked_invokes(turn, session);
        self.drop_registration_timers(session);
        self.dealer.barriers.waiting.remove(&session);
    }

    fn forget_calls_of(&mut self, turn: &mut Turn<'_>, session: SessionId) {
        let Some(caller) = self.sessions.get_mut(session) else {
            return;
        };
        let parked = std::mem::take(&mut caller.parked);
        caller.parked_bytes = 0;
        caller.kept_bytes = 0;
        let calls = std::mem::take(&mut caller.calls);
        let open = calls.iter().map(|(request, call)| (request, call.flow()));
        let waiting = parked.iter().map(|call| (call.request, call.what.flow.as_deref()));
        let timers = open
            .chain(waiting)
            .filter_map(|(request, flow)| Some((flow?.deadline?, Timer::Call(session, request))));
        let timers: Vec<(Instant, Timer)> = timers.collect();
        timers.into_iter().for_each(|(at, timer)| self.timers.unset(at, timer));
        for call in calls.into_values() {
            // One that it made to itself is told to nobody.
            let to_itself = matches!(call, Call::Local { callee, .. } if callee == session);
            self.abandon(turn, session, call, (!to_itself).then_some(error_uri::CANCELED));
        }
    }

    fn cancel_invocations_of(&mut self, turn: &mut Turn<'_>, session: SessionId) {
        let Some(callee) = self.sessions.get_mut(session) else {
            return;
        };
        for invocation in std::mem::take(&mut callee.invocations).into_values() {
            self.answer(turn, session, invocation.caller, Answer::canceled("callee_gone"));
        }
    }

    /// Ends every call to and from a node life that was lost.
    pub(in crate::router) fn detach_node_from_dealer(&mut self, turn: &mut Turn<'_>, node: NodeRef) {
        for call in self.dealer.outgoing.calls_of(node) {
            self.on_remote_answer(turn, node, call, Answer::unreachable("callee_node_lost"));
        }
        for call in self.dealer.incoming.calls_of(node) {
            if let Some((callee, request)) = self.dealer.incoming.remove(&(node, call)) {
                self.interrupt(turn, callee, request, InterruptMode::KillNoWait, error_uri::CANCELED);
                if let Some(callee) = self.sessions.get_mut(callee) {
                    debug_assert!(matches!(
                        callee.invocations.get(&request).map(|i| i.caller),
                        Some(Caller::Remote { .. })
                    ));
                    callee.invocations.remove(&request);
                }
            }
        }
        self.dealer.outgoing.forget(node);
        self.dealer.incoming.forget(node);
        self.forget_parked_invokes(turn, |invoke| invoke.from == node);
    }
}
