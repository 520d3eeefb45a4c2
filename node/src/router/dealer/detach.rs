//! What the end of a session or of a node means for calls and registrations.
//!
//! Invariants: every call whose callee is gone ends in ERROR `wamp.error.canceled`; every call whose caller is gone leaves no
//! record; a lost node's calls say so in `_reason`.
//!
//! Spec: WAMP advanced profile, "Call Canceling": "Callee Leaving", "Caller Leaving".

use super::call::Answer;
use crate::{
    router::{
        NodeRef, PeerFrame, Realm,
        session_table::{Call, Caller},
        turn::Turn,
    },
    wamp::SessionId,
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
        caller.parked.clear();
        caller.parked_bytes = 0;
        caller.kept_bytes = 0;
        for call in std::mem::take(&mut caller.calls).into_values() {
            match call {
                Call::Local { callee, invocation, .. } => {
                    if let Some(callee) = self.sessions.get_mut(callee) {
                        callee.invocations.remove(&invocation);
                    }
                }
                Call::Remote { node, call, again: _ } => {
                    self.dealer.outgoing.remove(&(node, call));
                    turn.forward(node, session, PeerFrame::Forget { call });
                }
            }
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
            self.on_remote_answer(turn, node, call, Answer::canceled("callee_node_lost"));
        }
        for call in self.dealer.incoming.calls_of(node) {
            if let Some((callee, request)) = self.dealer.incoming.remove(&(node, call))
                && let Some(callee) = self.sessions.get_mut(callee)
            {
                debug_assert!(matches!(
                    callee.invocations.get(&request).map(|i| i.caller),
                    Some(Caller::Remote { .. })
                ));
                callee.invocations.remove(&request);
            }
        }
        self.dealer.outgoing.forget(node);
        self.dealer.incoming.forget(node);
        self.forget_parked_invokes(turn, |invoke| invoke.from == node);
    }
}
