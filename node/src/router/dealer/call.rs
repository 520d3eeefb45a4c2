//! CALL, its way to a callee, and the answer's way back.
//!
//! Spec: WAMP basic profile, "Calling and Invocations", "Call Errors".

use super::flow::admit;
use crate::{
    router::{
        LogIndex, PeerFrame, Realm, RegisterWishes, passthru,
        registry::Callee,
        session_table::{Again, Call, Caller, Invocation, ParkedCall},
        turn::{Turn, because, reason},
    },
    wamp::{Dict, Message, Payload, RegistrationId, RequestId, SessionId, Uri, error_uri, message::code},
};

/// What a lookup found.
#[derive(Clone, Copy)]
pub(super) struct Found {
    pub(super) registration: RegistrationId,
    pub(super) callee: Callee,
    pub(super) index: LogIndex,
    pub(super) wishes: RegisterWishes,
}

/// Why a session of this node was not invoked.
#[derive(Clone, Copy, Debug)]
pub(super) enum NotInvoked {
    /// It is not here.
    Gone,
    /// It did not announce what the call needs.
    Lacks(&'static str),
}

impl NotInvoked {
    /// The error that answers the call.
    pub(super) fn error(self) -> (&'static str, Dict) {
        match self {
            Self::Gone => (error_uri::NO_AVAILABLE_CALLEE, reason("callee_gone")),
            Self::Lacks(feature) => (
                error_uri::FEATURE_NOT_SUPPORTED,
                because(&format!("the callee did not announce {feature}")),
            ),
        }
    }
}

/// The final answer of a callee.
pub(in crate::router) enum Answer {
    Result { details: Dict, payload: Payload },
    Error { details: Dict, error: Uri, payload: Payload },
}

impl Answer {
    /// The callee, or its node, is gone.
    pub(super) fn canceled(cause: &str) -> Self {
        Self::Error {
            details: reason(cause),
            error: Uri::from(error_uri::CANCELED),
            payload: Payload::EMPTY,
        }
    }
}

impl Realm {
    pub(in crate::router) fn on_call(
        &mut self,
        turn: &mut Turn<'_>,
        session: SessionId,
        request: RequestId,
        options: &Dict,
        procedure: Uri,
        payload: Payload,
    ) {
        let flow = if options.is_empty() && self.calls_are_plain {
            None
        } else {
            match self.begin_flow(turn, session, request, options) {
                Ok(flow) => flow,
                Err(()) => return,
            }
        };
        let found = self.find(&procedure);
        // Nobody registers in `wamp.*`: what is called there is the router's own, or misses like any other.
        if found.is_none() && procedure.is_reserved() && self.on_own_call(turn, session, request, &procedure, &payload) {
            return;
        }
        // What is registered was checked when it was.
        if found.is_none() && !procedure.is_uri(self.config.uri_check) {
            return self.refuse_call(turn, session, request, flow, error_uri::INVALID_URI, Dict::new());
        }
        let Some(caller) = self.sessions.get(session) else { return };
        if caller.calls.len() + caller.parked.len() >= self.config.limits.open_calls_max {
            let details = because("too many open calls in this session (setting open_calls_max)");
            return self.refuse_call(turn, session, request, flow, error_uri::UNAVAILABLE, details);
        }
        let its_turn = caller.parked.is_empty();
        let what = Again {
            order: self.dealer.next_order(),
            procedure,
            payload,
            flow,
        };
        match found {
            Some(found) if its_turn => {
                self.stats.calls += 1;
                self.route(turn, session, request, what, found, false);
            }
            _ => self.park_call(turn, session, request, what, found.is_none()),
        }
    }

    /// Lets a call wait: for a read barrier if it missed, else for its turn behind one that does.
    fn park_call(&mut self, turn: &mut Turn<'_>, session: SessionId, request: RequestId, what: Again, missed: bool) {
        let limits = &self.config.limits;
        let Some(caller) = self.sessions.get_mut(session) else {
            return;
        };
        let full = caller.parked.len() >= limits.parked_calls_max
            || caller.parked_bytes.saturating_add(what.payload.bytes().len()) > limits.parked_bytes_max;
        if full {
            let details =
                because("too many calls wait for the procedure of an earlier one (settings parked_calls_max, parked_bytes_max)");
            return self.refuse_call(turn, session, request, what.flow, error_uri::UNAVAILABLE, details);
        }
        let wait = missed.then(|| self.dealer.barriers.join());
        caller.park(ParkedCall {
            request,
            what,
            wait,
            retried: false,
            parts: Vec::new(),
        });
        self.dealer.barriers.waiting.insert(session);
        self.stats.calls += 1;
        self.stats.calls_parked += 1;
    }

    /// The registration that a CALL of `procedure` goes to.
    ///
    /// One whose callee is a session of this node counts only while that session may be invoked: UNREGISTER and the end of a
    /// session take effect here before the log says so.
    pub(super) fn find(&self, procedure: &str) -> Option<Found> {
        let registration = self.registry.lookup(procedure)?;
        let callee = *registration.callees.first()?;
        let found = Found {
            registration: registration.id,
            callee,
            index: registration.index,
            wishes: registration.wishes,
        };
        if callee.node == self.me && !self.sessions.may_be_invoked(callee.session, registration.id) {
            return None;
        }
        Some(found)
    }

    /// Sends a call to its callee.
    pub(super) fn route(
        &mut self,
        turn: &mut Turn<'_>,
        session: SessionId,
        request: RequestId,
        mut what: Again,
        found: Found,
        retried: bool,
    ) {
        let mut flow = what.flow.take();
        if !self.has_lease(turn.now) {
            let error = error_uri::NO_AVAILABLE_CALLEE;
            return self.refuse_call(turn, session, request, flow, error, reason("no_lease"));
        }
        let details = if flow.is_none() && found.wishes == RegisterWishes::NONE {
            Dict::new()
        } else {
            self.details_for(session, request, &mut flow, &found)
        };
        let Callee { node, session: callee } = found.callee;
        let call = if node == self.me {
            let caller = Caller::Local { session, request };
            match self.invoke(turn, callee, found.registration, caller, details, what.payload) {
                Ok(invocation) => Call::Local {
                    callee,
                    invocation,
                    flow,
                },
                Err(why) => {
                    let (error, details) = why.error();
                    return self.refuse_call(turn, session, request, flow, error, details);
                }
            }
        } else if self.peers.contains(&node) {
            let call = self.dealer.next_call();
            let (registration, index, payload) = (found.registration, found.index, what.payload.clone());
            let frame = PeerFrame::Invoke {
                call,
                registration,
                callee,
                index,
                details,
                payload,
            };
            turn.forward(node, session, frame);
            self.stats.invocations_forwarded += 1;
            self.dealer.outgoing.insert((node, call), (session, request));
            Call::Remote {
                node,
                call,
                again: (!retried).then(|| Box::new(what)),
                flow,
            }
        } else {
            // Nothing was delivered, so this is not the loss of a call under way.
            let error = error_uri::NO_AVAILABLE_CALLEE;
            return self.refuse_call(turn, session, request, flow, error, reason("no_link"));
        };
        if let Some(caller) = self.sessions.get_mut(session) {
            caller.calls.insert(request, call);
        }
    }

    /// Sends an INVOCATION to a session of this node.
    pub(super) fn invoke(
        &mut self,
        turn: &mut Turn<'_>,
        callee: SessionId,
        registration: RegistrationId,
        caller: Caller,
        mut details: Dict,
        payload: Payload,
    ) -> Result<RequestId, NotInvoked> {
        let session = self.sessions.get_mut(callee).ok_or(NotInvoked::Gone)?;
        let in_parts = if details.is_empty() {
            false
        } else {
            admit(session.abilities, &mut details).map_err(NotInvoked::Lacks)?
        };
        let request = session.next_invocation();
        let invocation = Invocation {
            caller,
            in_parts,
            interrupted: false,
            continued: false,
        };
        session.invocations.insert(request, invocation);
        self.put_fence(registration, &mut details);
        turn.send(
            callee,
            Message::Invocation {
                request,
                registration,
                details,
                payload,
            },
        );
        self.stats.invocations += 1;
        Ok(request)
    }

    /// Adds what lets a callee guard side effects, where the realm is set to.
    pub(super) fn put_fence(&self, registration: RegistrationId, details: &mut Dict) {
        if self.config.fence_details {
            let epoch = u64::from(self.me.epoch);
            details.set(
                "_fence",
                Dict::new().with("registration", registration.get()).with("epoch", epoch),
            );
        }
    }

    pub(in crate::router) fn on_yield(
        &mut self,
        turn: &mut Turn<'_>,
        callee: SessionId,
        request: RequestId,
        options: &Dict,
        payload: Payload,
    ) {
        if options.is_empty() {
            self.on_result(turn, callee, request, Dict::new(), payload);
        } else {
            self.on_yield_with(turn, callee, request, options, payload);
        }
    }

    /// A callee's final result.
    pub(super) fn on_result(
        &mut self,
        turn: &mut Turn<'_>,
        callee: SessionId,
        request: RequestId,
        details: Dict,
        payload: Payload,
    ) {
        if let Some(invocation) = self.end_invocation(turn, callee, request) {
            self.answer(turn, callee, invocation.caller, Answer::Result { details, payload });
        }
    }

    pub(in crate::router) fn on_callee_error(
        &mut self,
        turn: &mut Turn<'_>,
        callee: SessionId,
        request: RequestId,
        details: Dict,
        error: Uri,
        payload: Payload,
    ) {
        if let Some(invocation) = self.end_invocation(turn, callee, request) {
            self.answer(turn, callee, invocation.caller, Answer::Error { details, error, payload });
        }
    }

    /// Takes out the invocation that a callee answers.
    ///
    /// Spec: an answer to an invocation that was never issued breaks the protocol; one to an invocation that has ended (its
    /// caller left, its caller's node was lost, a second answer) is the callee's innocent race and is dropped.
    fn end_invocation(&mut self, turn: &mut Turn<'_>, callee: SessionId, request: RequestId) -> Option<Invocation> {
        let session = self.sessions.get_mut(callee)?;
        let open = session.invocations.remove(&request);
        if open.is_none() {
            self.judge_late_answer(turn, callee, request);
        }
        open
    }

    /// Judges an answer to an invocation that is not open.
    pub(super) fn judge_late_answer(&mut self, turn: &mut Turn<'_>, callee: SessionId, request: RequestId) {
        if self.sessions.get(callee).is_some_and(|s| request.get() > s.last_invocation) {
            let rule = "YIELD or ERROR answers an invocation that this session was never sent";
            self.abort(turn, callee, rule);
        } else {
            self.stats.dropped_late_answers += 1;
        }
    }

    /// Hands a callee's final answer to the caller, whose record ends here or on its node.
    pub(super) fn answer(&mut self, turn: &mut Turn<'_>, callee: SessionId, caller: Caller, answer: Answer) {
        match caller {
            Caller::Local { session, request } => {
                if self.take_call(session, request).is_some() {
                    self.conclude(turn, session, request, answer);
                }
            }
            Caller::Remote { node, call } => {
                self.dealer.incoming.remove(&(node, call));
                let frame = match answer {
                    Answer::Result { details, payload } => PeerFrame::Result { call, details, payload },
                    Answer::Error { details, error, payload } => PeerFrame::Error {
                        call,
                        details,
                        error,
                        payload,
                    },
                };
                turn.forward(node, callee, frame);
            }
        }
    }

    /// Tells a caller of this node the final answer of a call whose record was just taken out.
    pub(super) fn conclude(&mut self, turn: &mut Turn<'_>, session: SessionId, request: RequestId, answer: Answer) {
        let message = match answer {
            // Choice: the caller hears what the text would have the callee told, for no message can tell the callee about a YIELD.
            Answer::Result { details, .. } if self.cannot_open(session, &details) => {
                let details = because("the payload of the answer is of a kind that this caller did not announce");
                let error = error_uri::FEATURE_NOT_SUPPORTED;
                return self.refuse(turn, session, code::CALL, request, error, details);
            }
            Answer::Result { details, payload } => {
                self.stats.results += 1;
                Message::Result {
                    request,
                    details,
                    payload,
                }
            }
            Answer::Error { details, error, payload } => {
                let opaque = !details.is_empty() && passthru::is_opaque(&details) && self.cannot_open(session, &details);
                let payload = if opaque { Payload::EMPTY } else { payload };
                self.stats.call_errors += 1;
                Message::Error {
                    request_type: code::CALL,
                    request,
                    details,
                    error,
                    payload,
                }
            }
        };
        turn.send(session, message);
    }
}
