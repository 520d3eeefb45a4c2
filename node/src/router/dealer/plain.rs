//! The short way of a call between two sessions of this node, without options or details: no message value, no effect.
//!
//! The shell asks what would become of it ([`Realm::plain_route`], [`Realm::plain_answer`]), sees whether it can write that as it is,
//! and then has it done. `None` changes nothing: the message takes the ordinary way, which also judges whatever is wrong with it.

use std::time::Instant;

use crate::{
    router::{
        Realm, RegisterWishes, RequestIdCheck,
        session_table::{Call, Caller, Invocation},
    },
    wamp::{RegistrationId, RequestId, SessionId, id::ID_MAX},
};

/// Where a plain CALL goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlainRoute {
    /// What is invoked.
    pub registration: RegistrationId,
    /// By whom it is answered: a session of this node.
    pub callee: SessionId,
}

/// Whom a plain YIELD answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlainAnswer {
    /// The caller: a session of this node.
    pub caller: SessionId,
    /// The request id of its CALL.
    pub request: RequestId,
}

impl Realm {
    /// Where a CALL without options goes if it takes the short way.
    pub fn plain_route(&self, now: Instant, session: SessionId, request: RequestId, procedure: &str) -> Option<PlainRoute> {
        let caller = self.sessions.get(session)?;
        let in_order = caller.request_id_check == RequestIdCheck::Strict && request.get() == caller.last_request % ID_MAX + 1;
        if !in_order || !self.calls_are_plain || self.config.fence_details || !caller.parked.is_empty() || !self.has_lease(now) {
            return None;
        }
        if caller.calls.len() >= self.config.limits.open_calls_max.min(caller.info.bounds.calls as usize) {
            return None;
        }
        if !caller.may.plainly_call(procedure) {
            return None;
        }
        let found = self.find_exact(procedure)?;
        // With several callees, the choice may depend on what was called before, and what is kept of the call on who is chosen.
        let plain = !found.has_others && !found.busy && found.wishes == RegisterWishes::NONE;
        (plain && found.callee.node == self.me).then_some(PlainRoute {
            registration: found.registration,
            callee: found.callee.session,
        })
    }

    /// Makes the call that [`Self::plain_route`] found, before anything else happens, and returns the request id of its INVOCATION.
    pub fn plain_call(&mut self, session: SessionId, request: RequestId, route: PlainRoute) -> Option<RequestId> {
        self.sessions.get(session)?;
        self.dealer.next_order();
        let callee = self.sessions.get_mut(route.callee)?;
        let invocation = callee.next_invocation();
        let caller = Caller::Local { session, request };
        let record = Invocation {
            caller,
            of: route.registration.get() as u32,
            in_parts: false,
            begun: false,
            interrupted: false,
            continued: false,
        };
        callee.invocations.insert(invocation, route.registration, record);
        let caller = self.sessions.get_mut(session)?;
        caller.last_request = request.get();
        let call = Call::Local {
            callee: route.callee,
            invocation,
            again: None,
            flow: None,
        };
        caller.add_call(request, call);
        self.stats.calls += 1;
        self.stats.invocations += 1;
        Some(invocation)
    }

    /// Whom a YIELD without options answers, if that takes the short way.
    pub fn plain_answer(&self, callee: SessionId, invocation: RequestId) -> Option<PlainAnswer> {
        let open = self.sessions.get(callee)?.invocations.get(&invocation)?;
        let Caller::Local { session, request } = open.caller else {
            return None;
        };
        let call = self.sessions.get(session)?.calls.get(&request)?;
        let plain = matches!(call, Call::Local { flow: None, .. }) && !open.interrupted && !open.continued;
        let caller = session;
        plain.then_some(PlainAnswer { caller, request })
    }

    /// Ends the call that [`Self::plain_answer`] found with its result.
    pub fn plain_yield(&mut self, callee: SessionId, invocation: RequestId, answer: PlainAnswer) {
        if let Some(callee) = self.sessions.get_mut(callee) {
            callee.invocations.remove(&invocation);
        }
        if let Some(caller) = self.sessions.get_mut(answer.caller) {
            caller.take_call(answer.request);
        }
        self.stats.results += 1;
    }
}
