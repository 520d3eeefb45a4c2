//! CANCEL and INTERRUPT: calls whose answer is not wanted any more.
//!
//! Invariants: a cancelled call ends in one answer like any other; a callee is told to give up at most once per invocation, and only
//! if it announced that it can; an answer it gives to an invocation that has ended is dropped and never held against it, for the
//! ids of ended invocations are those up to the last one given out.
//!
//! Spec: WAMP advanced profile, "Call Canceling".

use super::call::Answer;
use crate::{
    router::{
        NodeRef, PeerFrame, Realm,
        abilities::Ability,
        compat::CancelAnswer,
        frame::{CallId, InterruptMode},
        session_table::{Call, Caller},
        turn::Turn,
    },
    wamp::{Dict, Message, RequestId, SessionId, error_uri},
};

impl Realm {
    /// CANCEL of a call. One of a call that has ended, or never was, is ignored.
    ///
    /// Choice: without a mode it is `killnowait`. A mode nobody knows ends the call as `killnowait` does, with an error that says so:
    /// an ERROR can only answer the CALL, and a call has one answer.
    pub(in crate::router) fn on_cancel(&mut self, turn: &mut Turn<'_>, session: SessionId, request: RequestId, options: &Dict) {
        let (reason, error) = match options.text("mode") {
            None | Some("killnowait") => (Some(error_uri::CANCELED), error_uri::CANCELED),
            Some("skip") => (None, error_uri::CANCELED),
            Some("kill") if self.kill(turn, session, request) => return,
            Some("kill") => (None, error_uri::CANCELED),
            Some(_) => (Some(error_uri::CANCELED), error_uri::INVALID_ARGUMENT),
        };
        let forgets = self
            .sessions
            .get(session)
            .is_some_and(|s| s.info.compat.cancel_answer == CancelAnswer::Kill);
        let ended = if forgets && options.text("mode") != Some("kill") {
            self.drop_call(turn, session, request, reason)
        } else {
            self.give_up_call(turn, session, request, reason, error)
        };
        if ended {
            self.stats.calls_canceled += 1;
        } else {
            self.stats.dropped_cancels += 1;
        }
    }

    /// Has the callee told to give up while its answer is waited for. False if it cannot be told.
    fn kill(&mut self, turn: &mut Turn<'_>, session: SessionId, request: RequestId) -> bool {
        let call = self.sessions.get_mut(session).and_then(|s| s.calls.get_mut(&request));
        match call {
            None => false,
            Some(Call::Local { callee, invocation, .. }) => {
                let (callee, invocation) = (*callee, *invocation);
                self.interrupt(turn, callee, invocation, InterruptMode::Kill, error_uri::CANCELED)
            }
            Some(Call::Remote { node, call, flow, .. }) => {
                let (node, call) = (*node, *call);
                // Its node knows whether the callee can be told, and answers in its place if not.
                if !std::mem::replace(&mut flow.get_or_insert_default().killed, true) {
                    let (mode, reason) = (InterruptMode::Kill, error_uri::CANCELED.into());
                    turn.forward(node, session, PeerFrame::Interrupt { call, mode, reason });
                }
                true
            }
        }
    }

    /// Lets the callee of a call that was just taken out know that its answer is not wanted; not at all without a `reason`.
    pub(super) fn abandon(&mut self, turn: &mut Turn<'_>, session: SessionId, call: Call, reason: Option<&str>) {
        match call {
            Call::Local { callee, invocation, .. } => {
                if let Some(reason) = reason {
                    self.interrupt(turn, callee, invocation, InterruptMode::KillNoWait, reason);
                }
                if let Some(callee) = self.sessions.get_mut(callee) {
                    callee.invocations.remove(&invocation);
                }
            }
            Call::Remote { node, call, .. } => {
                self.dealer.outgoing.remove(&(node, call));
                let mode = InterruptMode::KillNoWait;
                let frame = match reason {
                    Some(reason) => PeerFrame::Interrupt {
                        call,
                        mode,
                        reason: reason.into(),
                    },
                    None => PeerFrame::Forget { call },
                };
                turn.forward(node, session, frame);
            }
        }
    }

    /// Tells a callee of this node to give up an open invocation, unless it was told before. False if it cannot be told.
    pub(super) fn interrupt(
        &mut self,
        turn: &mut Turn<'_>,
        callee: SessionId,
        request: RequestId,
        mode: InterruptMode,
        reason: &str,
    ) -> bool {
        let Some(session) = self.sessions.get_mut(callee).filter(|s| s.can(Ability::GiveUp)) else {
            return false;
        };
        let Some(invocation) = session.invocations.get_mut(&request) else {
            return false;
        };
        if !std::mem::replace(&mut invocation.interrupted, true) {
            self.stats.interrupts += 1;
            let options = Dict::new().with("mode", mode.name()).with("reason", reason);
            turn.send(callee, Message::Interrupt { request, options });
        }
        true
    }

    /// Callee's node: a call from elsewhere is cancelled.
    pub(in crate::router) fn on_interrupt(
        &mut self,
        turn: &mut Turn<'_>,
        from: NodeRef,
        call: CallId,
        mode: InterruptMode,
        reason: &str,
    ) {
        let Some((callee, request)) = self.dealer.incoming.get(&(from, call)).copied() else {
            let Some(callee) = self.dealer.parked.callee_of(from, call) else {
                self.stats.dropped_late_frames += 1;
                return;
            };
            self.forget_parked_invokes(turn, |i| i.from == from && i.call == call);
            if mode == InterruptMode::Kill {
                let caller = Caller::Remote { node: from, call };
                self.answer(turn, callee, caller, Answer::canceled("not_invoked"));
            }
            return;
        };
        let told = self.interrupt(turn, callee, request, mode, reason);
        if told && mode == InterruptMode::Kill {
            return;
        }
        if let Some(callee) = self.sessions.get_mut(callee) {
            callee.invocations.remove(&request);
        }
        if mode == InterruptMode::Kill {
            // As the text has it, a callee that cannot be told makes it `skip`.
            let caller = Caller::Remote { node: from, call };
            let answer = Answer::Error {
                details: Dict::new(),
                error: error_uri::CANCELED.into(),
                payload: crate::wamp::Payload::EMPTY,
            };
            self.answer(turn, callee, caller, answer);
        } else {
            self.dealer.incoming.remove(&(from, call));
        }
    }
}
