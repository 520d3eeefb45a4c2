//! Registrations that the router takes back: by an op of the log ([`crate::router::Op::Revoke`], or a REGISTER that replaces), on
//! whatever node their callees are.
//!
//! Invariant: a session of this node loses a registration in the same step in which the registry does, so nothing is invoked after
//! the UNREGISTERED that says so.
//!
//! Spec: WAMP advanced profile, "Registration Revocation".

use super::call::Answer;
use crate::{
    router::{Effect, Realm, abilities::Ability, frame::InterruptMode, op::Lost, session_table::Held, timers::Timer, turn::Turn},
    wamp::{Dict, Message, RegistrationId, RequestId, SessionId, error_uri},
};

impl Realm {
    /// Sessions of this node among those who have lost a registration.
    pub(super) fn on_lost(&mut self, effects: &mut Vec<Effect>, lost: &Lost, reason: &str) {
        let me = self.me;
        for callee in lost.callees.iter().filter(|callee| callee.node == me) {
            self.lose(effects, callee.session, lost.registration, reason);
        }
    }

    /// Takes a registration from a session of this node that the registry does not list any more.
    ///
    /// Spec: WAMP advanced profile, "Registration Revocation": UNREGISTERED of request 0, to those who announced it.
    pub(super) fn lose(&mut self, effects: &mut Vec<Effect>, session: SessionId, registration: RegistrationId, reason: &str) {
        let Some(callee) = self.sessions.get_mut(session) else {
            return;
        };
        let message = match callee.let_go(registration) {
            // It had given it up itself, and waits for this answer.
            Some(Held::Leaving {
                waiting: Some((request, deadline)),
                ..
            }) => {
                self.timers.unset(deadline, Timer::Unregister(session, registration));
                Message::Unregistered {
                    request: Some(request),
                    details: Dict::new(),
                }
            }
            Some(held @ (Held::Active { .. } | Held::Arriving { .. })) => {
                if let Held::Arriving { requests, .. } = held {
                    let told = requests
                        .into_iter()
                        .map(|request| Message::Registered { request, registration });
                    effects.extend(told.map(|message| Effect::Send { session, message }));
                }
                self.stats.registrations_revoked += 1;
                if !callee.can(Ability::LoseRegistrations) {
                    return;
                }
                let details = Dict::new().with("registration", registration.get()).with("reason", reason);
                Message::Unregistered { request: None, details }
            }
            _ => return,
        };
        effects.push(Effect::Send { session, message });
    }
}

impl Realm {
    /// Ends the open invocations of a registration that a session of this node may not have any more; their callers are told, and the
    /// callee is told to give up.
    pub(in crate::router) fn end_invocations_of(
        &mut self,
        turn: &mut Turn<'_>,
        session: SessionId,
        registration: RegistrationId,
    ) {
        let Some(callee) = self.sessions.get(session) else { return };
        let of_it = callee
            .invocations
            .iter()
            .filter(|(_, invocation)| invocation.of == registration.get() as u32);
        let open: Vec<RequestId> = of_it.map(|(request, _)| request).collect();
        for request in open {
            let (mode, reason) = (InterruptMode::KillNoWait, error_uri::NOT_AUTHORIZED);
            self.interrupt(turn, session, request, mode, reason);
            let callee = self.sessions.get_mut(session);
            if let Some(invocation) = callee.and_then(|callee| callee.invocations.remove(&request)) {
                self.answer(turn, session, invocation.caller, Answer::canceled("callee_not_authorized"));
            }
        }
    }
}

/// Why a callee lost a registration to another one. The text has any words there; autobahn-python ends its session on what is no URI.
pub(super) const REPLACED: &str = "ringfort.registration.replaced";

/// Why a callee lost a registration while its node was not looking.
pub(super) const LOST: &str = "ringfort.registration.lost";
