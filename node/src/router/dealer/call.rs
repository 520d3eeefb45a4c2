//! CALL, its way to a callee, and the answer's way back.
//!
//! Spec: WAMP basic profile, "Calling and Invocations", "Call Errors".

use super::{
    choice::{Found, nobody_left},
    flow::admit,
};
use crate::{
    router::{
        PeerFrame, Realm, RegisterWishes, Right,
        abilities::Ability,
        frame::Refusal,
        passthru,
        pools::Pooled,
        reflection::Kind,
        registry::Callee,
        session_table::{Again, Asked, Call, Caller, Invocation, ParkedCall, Tries},
        turn::{Turn, because, reason},
    },
    wamp::{Dict, Message, Payload, RegistrationId, RequestId, SessionId, Uri, error_uri, message::code},
};

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
    /// The callee is gone.
    pub(super) fn canceled(cause: &str) -> Self {
        Self::of_the_router(error_uri::CANCELED, cause)
    }

    /// The callee's node is gone, or there is no way to it any more: whether the callee ran is unknown.
    pub(super) fn unreachable(cause: &str) -> Self {
        Self::of_the_router(error_uri::NETWORK_FAILURE, cause)
    }

    fn of_the_router(error: &str, cause: &str) -> Self {
        Self::Error {
            details: reason(cause),
            error: Uri::from(error),
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
        let verdict = self.verdict(session, Right::Call, &procedure);
        let (flow, tries) = if options.is_empty() && self.calls_are_plain && !verdict.discloses {
            (None, None)
        } else {
            let Ok(mut flow) = self.begin_flow(turn, session, request, options, &procedure) else {
                return;
            };
            // Whoever may not call it is not told what it would take.
            if verdict.allowed && self.schemas.check(Kind::Procedure) {
                match self.check_call(&procedure, options, &payload) {
                    Ok(None) => {}
                    Ok(checks) => flow.get_or_insert_default().checks = checks,
                    Err(details) => {
                        return self.refuse_call(turn, session, request, flow, error_uri::INVALID_ARGUMENT, details);
                    }
                }
            }
            match self.shard_of(options) {
                Ok(shard) => (flow, shard.map(Tries::of_shard)),
                Err(details) => {
                    return self.refuse_call(turn, session, request, flow, error_uri::INVALID_ARGUMENT, details);
                }
            }
        };
        // Before anything is looked up: the answer is the same whether the procedure exists or not.
        if !verdict.allowed {
            self.note_refusal(turn, session, Right::Call, &procedure);
            let (error, details) = self.denial(session, Right::Call, &procedure);
            return self.refuse_call(turn, session, request, flow, error, details);
        }
        let found = self.find(&procedure, tries.as_deref());
        // Nobody registers there: what is called there is the router's own, or misses like any other.
        if found.is_none() && procedure.is_of_the_router() && self.on_own_call(turn, session, request, &procedure, &payload) {
            // The router answers in a time of its own.
            if let Some(flow) = &flow {
                self.end_flow(session, request, flow);
            }
            return;
        }
        // What is registered was checked when it was.
        if found.is_none() && !procedure.is_uri(self.config.uri_check) {
            return self.refuse_call(turn, session, request, flow, error_uri::INVALID_URI, Dict::new());
        }
        let Some(caller) = self.sessions.get_mut(session) else {
            return;
        };
        if caller.calls.len() + caller.parked.len() >= self.config.limits.open_calls_max {
            self.note_limit(turn, session, "calls_per_session_max", &procedure);
            let details = because("too many open calls in this session (setting calls_per_session_max)");
            return self.refuse_call(turn, session, request, flow, error_uri::UNAVAILABLE, details);
        }
        let its_turn = caller.parked.is_empty();
        if let Err(empty) = caller.reserve(Pooled::Calls) {
            self.note_limit(turn, session, empty.reason, &procedure);
            let details = because(&empty.text());
            return self.refuse_call(turn, session, request, flow, error_uri::UNAVAILABLE, details);
        }
        let what = Again {
            order: self.dealer.next_order(),
            procedure,
            payload,
            flow,
            tries,
            registration: None,
        };
        match found {
            Some(found) if its_turn => {
                self.stats.calls += 1;
                self.route(turn, session, request, what, found);
            }
            _ => self.park_call(turn, session, request, what, found.is_none()),
        }
        self.recount_calls(session);
    }

    /// Whatever became of a call of the session that had a place among the open ones.
    pub(super) fn recount_calls(&mut self, session: SessionId) {
        if let Some(caller) = self.sessions.get_mut(session) {
            caller.recount(Pooled::Calls);
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
            self.note_limit(turn, session, "parked_calls_max", &what.procedure);
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
            held: false,
            parts: Vec::new(),
        });
        self.dealer.barriers.waiting.insert(session);
        self.stats.calls += 1;
        self.stats.calls_parked += 1;
    }

    /// Sends a call to its callee.
    pub(super) fn route(&mut self, turn: &mut Turn<'_>, session: SessionId, request: RequestId, mut what: Again, found: Found) {
        if !self.has_lease(turn.now) {
            let error = error_uri::NO_AVAILABLE_CALLEE;
            return self.refuse_call(turn, session, request, what.flow, error, reason("no_lease"));
        }
        if found.busy {
            let retried = what.tries.as_ref().is_some_and(|tries| tries.retried);
            if found.shares && !retried {
                return self.park_for_retry(turn, session, request, what, Refusal::Busy);
            }
            let (error, details) = nobody_left(Refusal::Busy);
            return self.refuse_call(turn, session, request, what.flow, error, details);
        }
        self.move_round(&found);
        what.registration = Some(found.registration);
        let mut flow = what.flow.take();
        let details = if flow.is_none() && found.wishes == RegisterWishes::NONE && !found.by_pattern {
            Dict::new()
        } else {
            self.details_for(session, request, &what.procedure, &mut flow, &found)
        };
        let Callee { node, session: callee } = found.callee;
        let call = if node == self.me {
            let caller = Caller::Local { session, request };
            let (payload, again) = if found.has_others && self.may_be_asked_of_another(session, callee, &what.payload) {
                (what.payload.clone(), Some(Box::new(what)))
            } else {
                (what.payload, None)
            };
            match self.invoke(turn, callee, found.registration, caller, details, payload) {
                Ok(invocation) => Call::Local {
                    callee,
                    invocation,
                    again,
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
                again: Asked::Kept(Box::new(what)),
                flow,
            }
        } else {
            // Nothing was delivered, so this is not the loss of a call under way.
            let error = error_uri::NO_AVAILABLE_CALLEE;
            return self.refuse_call(turn, session, request, flow, error, reason("no_link"));
        };
        if let Some(caller) = self.sessions.get_mut(session) {
            caller.add_call(request, call);
        }
    }

    /// True if the callee may pass a call on and there is room to keep its payload until then.
    fn may_be_asked_of_another(&self, caller: SessionId, callee: SessionId, payload: &Payload) -> bool {
        let passes_on = self.sessions.get(callee).is_some_and(|callee| callee.can(Ability::PassOn));
        let room = self.config.limits.parked_bytes_max;
        passes_on
            && self
                .sessions
                .get(caller)
                .is_some_and(|caller| caller.kept_bytes.saturating_add(payload.bytes().len()) <= room)
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
            admit(session, &mut details).map_err(NotInvoked::Lacks)?
        };
        let request = session.next_invocation();
        let invocation = Invocation {
            caller,
            of: registration.get() as u32,
            in_parts,
            begun: false,
            interrupted: false,
            continued: false,
        };
        session.invocations.insert(request, registration, invocation);
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
        let Some(invocation) = self.end_invocation(turn, callee, request) else {
            return;
        };
        // Choice: what the caller has seen a part of, or has sent more of, or does not want any more, is not begun anew elsewhere.
        let untouched = !invocation.begun && !invocation.continued && !invocation.interrupted;
        let passes_on = untouched
            && *error == *error_uri::UNAVAILABLE
            && self.sessions.get(callee).is_some_and(|callee| callee.can(Ability::PassOn));
        if passes_on {
            self.pass_on(turn, callee, invocation.caller);
        } else {
            self.answer(turn, callee, invocation.caller, Answer::Error { details, error, payload });
        }
    }

    /// A callee is unavailable: its call goes to another one, which the caller's node finds.
    ///
    /// Spec: WAMP advanced profile, "Call Re-Routing".
    fn pass_on(&mut self, turn: &mut Turn<'_>, callee: SessionId, caller: Caller) {
        let why = Refusal::Unavailable;
        match caller {
            Caller::Local { session, request } => {
                let taken = self.sessions.get_mut(session).and_then(|caller| caller.take_call(request));
                let Some(mut call) = taken else { return };
                let flow = call.flow_mut().take();
                if let Call::Local { again: Some(what), .. } = call {
                    let asked = Callee {
                        node: self.me,
                        session: callee,
                    };
                    return self.ask_another(turn, session, request, Again { flow, ..*what }, asked, why);
                }
                let (error, details) = nobody_left(why);
                self.refuse_call(turn, session, request, flow, error, details);
            }
            Caller::Remote { node, call } => {
                self.dealer.incoming.remove(&(node, call));
                // The callee has seen it, and what it was sent is not here any more.
                let payload = Payload::EMPTY;
                turn.forward(
                    node,
                    callee,
                    PeerFrame::Nack {
                        call,
                        callee,
                        why,
                        payload,
                    },
                );
            }
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
                if let Some(call) = self.take_call(session, request) {
                    let answer = self.checked_answer(&call, answer);
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
