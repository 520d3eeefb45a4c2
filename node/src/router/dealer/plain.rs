//! The short way of a call without options or details: no message value, no effect; between two sessions of this node, or between
//! one of this node and a router link.
//!
//! The shell asks what would become of it ([`Realm::plain_route`], [`Realm::plain_answer`], [`Realm::plain_result`]), sees whether it
//! can write that as it is, and then has it done. `None` changes nothing: the message takes the ordinary way, which also judges
//! whatever is wrong with it.

use std::time::Instant;

use crate::{
    router::{
        LogIndex, NodeRef, PeerFrame, Realm, RegisterWishes, RequestIdCheck,
        frame::{CallId, PlainFrame, Refusal},
        pools::Pooled,
        registry::Callee,
        session_table::{Asked, Call, Caller, Invocation, Readiness},
    },
    wamp::{Payload, RegistrationId, RequestId, SessionId, id::ID_MAX},
};

/// Where a plain CALL goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlainRoute {
    /// What is invoked.
    pub registration: RegistrationId,
    /// By whom it is answered.
    pub callee: PlainCallee,
}

/// Who answers a plain CALL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlainCallee {
    /// A session of this node.
    Here(SessionId),
    /// A session of a node to which there is a link.
    There {
        /// That node.
        node: NodeRef,
        /// The session.
        session: SessionId,
        /// The log index at which the registration came to be.
        index: LogIndex,
    },
}

/// Whom a plain YIELD answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlainAnswer {
    /// A session of this node.
    Here {
        /// The caller.
        caller: SessionId,
        /// The request id of its CALL.
        request: RequestId,
    },
    /// A session of another node.
    There {
        /// That node.
        node: NodeRef,
        /// The call's number there.
        call: CallId,
    },
}

impl Realm {
    /// Where a CALL without options goes if it takes the short way.
    pub fn plain_route(&self, now: Instant, session: SessionId, request: RequestId, procedure: &str) -> Option<PlainRoute> {
        let caller = self.sessions.get(session)?;
        let in_order = caller.request_id_check == RequestIdCheck::Strict && request.get() == caller.last_request % ID_MAX + 1;
        if !in_order || !self.calls_are_plain || self.config.fence_details || !caller.parked.is_empty() || !self.has_lease(now) {
            return None;
        }
        if caller.calls.len() >= self.config.limits.open_calls_max || !caller.has_room(Pooled::Calls) {
            return None;
        }
        if !caller.may.plainly_call(procedure) {
            return None;
        }
        let found = self.find_exact(procedure)?;
        // With several callees, the choice may depend on what was called before, and what is kept of the call on who is chosen.
        let plain = !found.has_others && !found.busy && found.wishes == RegisterWishes::NONE;
        let (registration, Callee { node, session }) = (found.registration, found.callee);
        let callee = if node == self.me {
            PlainCallee::Here(session)
        } else {
            let index = found.index;
            PlainCallee::There { node, session, index }
        };
        // Elsewhere, too little is kept of a call to send it to somebody else.
        let reached = node == self.me || !found.shares && self.peers.contains(&node);
        (plain && reached).then_some(PlainRoute { registration, callee })
    }

    /// Makes the call that [`Self::plain_route`] found, before anything else happens, to a session of this node; returns the request
    /// id of its INVOCATION.
    pub fn plain_call(
        &mut self,
        session: SessionId,
        request: RequestId,
        registration: RegistrationId,
        callee: SessionId,
    ) -> Option<RequestId> {
        self.sessions.get_mut(session)?.reserve(Pooled::Calls).ok()?;
        self.dealer.next_order();
        let invocation = self.plain_invocation(registration, callee, Caller::Local { session, request })?;
        let call = Call::Local {
            callee,
            invocation,
            again: None,
            flow: None,
        };
        self.note_plain_call(session, request, call);
        Some(invocation)
    }

    /// The same to a session of another node; returns what its node is to be told, with the payload.
    pub fn plain_call_there(
        &mut self,
        session: SessionId,
        request: RequestId,
        route: PlainRoute,
    ) -> Option<(NodeRef, PlainFrame)> {
        let PlainCallee::There {
            node,
            session: callee,
            index,
        } = route.callee
        else {
            return None;
        };
        self.sessions.get_mut(session)?.reserve(Pooled::Calls).ok()?;
        let registration = route.registration;
        let procedure = self.registry.registration(registration)?.procedure.clone();
        let (order, call) = (self.dealer.next_order(), self.dealer.next_call());
        self.dealer.outgoing.insert((node, call), (session, request));
        let again = Asked::Plain {
            order,
            procedure,
            registration,
        };
        let record = Call::Remote {
            node,
            call,
            again,
            flow: None,
        };
        self.note_plain_call(session, request, record);
        self.stats.invocations_forwarded += 1;
        let frame = PlainFrame::Invoke {
            call,
            registration,
            callee,
            index,
        };
        Some((node, frame))
    }

    fn note_plain_call(&mut self, session: SessionId, request: RequestId, call: Call) {
        if let Some(caller) = self.sessions.get_mut(session) {
            caller.last_request = request.get();
            caller.add_call(request, call);
        }
        self.stats.calls += 1;
    }

    fn plain_invocation(&mut self, registration: RegistrationId, callee: SessionId, caller: Caller) -> Option<RequestId> {
        let callee = self.sessions.get_mut(callee)?;
        let invocation = callee.next_invocation();
        let record = Invocation {
            caller,
            of: registration.get() as u32,
            in_parts: false,
            begun: false,
            interrupted: false,
            continued: false,
        };
        callee.invocations.insert(invocation, registration, record);
        self.stats.invocations += 1;
        Some(invocation)
    }

    /// What comes back where no link took a plain call.
    pub fn plain_refusal(frame: PlainFrame, payload: Payload) -> Option<PeerFrame> {
        let PlainFrame::Invoke { call, callee, .. } = frame else {
            return None;
        };
        let why = Refusal::Stale;
        Some(PeerFrame::Nack {
            call,
            callee,
            why,
            payload,
        })
    }

    /// Starts an invocation for a call from another node, if nothing has to be waited for or refused; returns its request id.
    pub fn plain_invoke(&mut self, now: Instant, from: NodeRef, frame: PlainFrame) -> Option<RequestId> {
        let PlainFrame::Invoke {
            call,
            registration,
            callee,
            index,
        } = frame
        else {
            return None;
        };
        let first = self.dealer.parked.count == 0 && !self.dealer.incoming.contains_key(&(from, call));
        let known = index <= self.applied || self.sessions.holds(callee, registration);
        let ready = first && known && !self.config.fence_details && self.peers.contains(&from) && self.has_lease(now);
        if !ready || self.sessions.readiness(callee, registration) != Readiness::Ready {
            return None;
        }
        let request = self.plain_invocation(registration, callee, Caller::Remote { node: from, call })?;
        self.dealer.incoming.insert((from, call), (callee, request));
        Some(request)
    }

    /// The caller, and the request id of its CALL, that a result from another node is for, if that takes the short way.
    pub fn plain_result(&self, from: NodeRef, call: CallId) -> Option<(SessionId, RequestId)> {
        let (session, request) = *self.dealer.outgoing.get(&(from, call))?;
        let call = self.sessions.get(session)?.calls.get(&request)?;
        (self.peers.contains(&from) && matches!(call, Call::Remote { flow: None, .. })).then_some((session, request))
    }

    /// Ends the call that [`Self::plain_result`] found with its result.
    pub fn plain_conclude(&mut self, from: NodeRef, call: CallId, (session, request): (SessionId, RequestId)) {
        self.dealer.outgoing.remove(&(from, call));
        if let Some(caller) = self.sessions.get_mut(session) {
            caller.take_call(request);
        }
        self.stats.results += 1;
    }

    /// Whom a YIELD without options answers, if that takes the short way.
    pub fn plain_answer(&self, callee: SessionId, invocation: RequestId) -> Option<PlainAnswer> {
        let open = self.sessions.get(callee)?.invocations.get(&invocation)?;
        if open.interrupted || open.continued {
            return None;
        }
        match open.caller {
            Caller::Local { session, request } => {
                let call = self.sessions.get(session)?.calls.get(&request)?;
                let caller = session;
                matches!(call, Call::Local { flow: None, .. }).then_some(PlainAnswer::Here { caller, request })
            }
            Caller::Remote { node, call } => Some(PlainAnswer::There { node, call }),
        }
    }

    /// Ends the invocation that [`Self::plain_answer`] found with its result, and the call if it is of this node.
    pub fn plain_yield(&mut self, callee: SessionId, invocation: RequestId, answer: PlainAnswer) {
        if let Some(callee) = self.sessions.get_mut(callee) {
            callee.invocations.remove(&invocation);
        }
        match answer {
            PlainAnswer::Here { caller, request } => {
                if let Some(caller) = self.sessions.get_mut(caller) {
                    caller.take_call(request);
                }
                self.stats.results += 1;
            }
            PlainAnswer::There { node, call } => _ = self.dealer.incoming.remove(&(node, call)),
        }
    }
}
