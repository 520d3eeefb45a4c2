//! CALL, its way to a callee, and the answer's way back.
//!
//! Spec: WAMP basic profile, "Calling and Invocations", "Call Errors".

use super::choice::Found;
use crate::{
    router::{
        PeerFrame, Realm,
        frame::Refusal,
        registry::Callee,
        session_table::{Again, Call, Caller, Invocation, ParkedCall, Tries},
        turn::{Turn, because, reason},
    },
    wamp::{Dict, Message, Payload, RegistrationId, RequestId, SessionId, Uri, error_uri, message::code},
};

/// The final answer of a callee.
pub(in crate::router) enum Answer {
    Result { payload: Payload },
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
        let mut tries = None;
        if !options.is_empty() {
            match self.shard_of(options) {
                Ok(None) => {}
                Ok(shard) => {
                    tries = Some(Box::new(Tries {
                        shard,
                        ..Tries::default()
                    }));
                }
                Err(details) => {
                    return self.refuse(turn, session, code::CALL, request, error_uri::INVALID_ARGUMENT, details);
                }
            }
        }
        let found = self.find(&procedure, tries.as_deref());
        // Nobody registers in `wamp.*`: what is called there is the router's own, or misses like any other.
        if found.is_none() && procedure.is_reserved() && self.on_meta_call(turn, session, request, &procedure, &payload) {
            return;
        }
        // What is registered was checked when it was.
        if found.is_none() && !procedure.is_uri(self.config.uri_check) {
            return self.refuse(turn, session, code::CALL, request, error_uri::INVALID_URI, Dict::new());
        }
        let Some(caller) = self.sessions.get(session) else { return };
        if caller.calls.len() + caller.parked.len() >= self.config.limits.open_calls_max {
            let details = because("too many open calls in this session (setting open_calls_max)");
            return self.refuse(turn, session, code::CALL, request, error_uri::UNAVAILABLE, details);
        }
        let its_turn = caller.parked.is_empty();
        let what = Again {
            order: self.dealer.next_order(),
            procedure,
            payload,
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
            return self.refuse(turn, session, code::CALL, request, error_uri::UNAVAILABLE, details);
        }
        let wait = missed.then(|| self.dealer.barriers.join());
        caller.park(ParkedCall {
            request,
            what,
            wait,
            retried: false,
        });
        self.dealer.barriers.waiting.insert(session);
        self.stats.calls += 1;
        self.stats.calls_parked += 1;
    }

    /// Sends a call to its callee.
    pub(super) fn route(&mut self, turn: &mut Turn<'_>, session: SessionId, request: RequestId, mut what: Again, found: Found) {
        if !self.has_lease(turn.now) {
            return self.refuse(
                turn,
                session,
                code::CALL,
                request,
                error_uri::NO_AVAILABLE_CALLEE,
                reason("no_lease"),
            );
        }
        if found.busy {
            let details = reason("max_concurrency_reached");
            return self.refuse(turn, session, code::CALL, request, error_uri::NO_AVAILABLE_CALLEE, details);
        }
        self.move_round(&found);
        what.registration = Some(found.registration);
        let mut details = Dict::new();
        if found.by_pattern {
            details.set("procedure", &*what.procedure);
        }
        let Callee { node, session: callee } = found.callee;
        let call = if node == self.me {
            let caller = Caller::Local { session, request };
            let (payload, again) = if found.has_others && self.may_be_asked_of_another(session, callee, &what.payload) {
                (what.payload.clone(), Some(Box::new(what)))
            } else {
                (what.payload, None)
            };
            let Some(invocation) = self.invoke(turn, callee, found.registration, caller, details, payload) else {
                return;
            };
            Call::Local {
                callee,
                invocation,
                again,
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
                again: Some(Box::new(what)),
            }
        } else {
            // Nothing was delivered, so this is not the loss of a call under way.
            return self.refuse(
                turn,
                session,
                code::CALL,
                request,
                error_uri::NO_AVAILABLE_CALLEE,
                reason("no_link"),
            );
        };
        if let Some(caller) = self.sessions.get_mut(session) {
            caller.add_call(request, call);
        }
    }

    /// True if the callee may pass a call on and there is room to keep its payload until then.
    fn may_be_asked_of_another(&self, caller: SessionId, callee: SessionId, payload: &Payload) -> bool {
        let passes_on = self.sessions.get(callee).is_some_and(|callee| callee.announced(CALL_REROUTE));
        let room = self.config.limits.parked_bytes_max;
        passes_on
            && self
                .sessions
                .get(caller)
                .is_some_and(|caller| caller.kept_bytes.saturating_add(payload.bytes().len()) <= room)
    }

    /// Sends an INVOCATION to a session of this node; `None` if it is not here.
    pub(super) fn invoke(
        &mut self,
        turn: &mut Turn<'_>,
        callee: SessionId,
        registration: RegistrationId,
        caller: Caller,
        mut details: Dict,
        payload: Payload,
    ) -> Option<RequestId> {
        let session = self.sessions.get_mut(callee)?;
        let request = session.next_invocation();
        session.invocations.insert(request, registration, Invocation { caller });
        if self.config.fence_details {
            let epoch = u64::from(self.me.epoch);
            details.set(
                "_fence",
                Dict::new().with("registration", registration.get()).with("epoch", epoch),
            );
        }
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
        Some(request)
    }

    pub(in crate::router) fn on_yield(
        &mut self,
        turn: &mut Turn<'_>,
        callee: SessionId,
        request: RequestId,
        options: &Dict,
        payload: Payload,
    ) {
        if options.bool("progress") == Some(true) && self.is_open_invocation(callee, request) {
            self.stats.dropped_progress += 1;
            return;
        }
        if let Some(invocation) = self.end_invocation(turn, callee, request) {
            self.answer(turn, callee, invocation.caller, Answer::Result { payload });
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
        let passes_on =
            *error == *error_uri::UNAVAILABLE && self.sessions.get(callee).is_some_and(|callee| callee.announced(CALL_REROUTE));
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
                let Some(caller) = self.sessions.get_mut(session) else {
                    return;
                };
                if let Some(Call::Local { again: Some(what), .. }) = caller.take_call(request) {
                    let asked = Callee {
                        node: self.me,
                        session: callee,
                    };
                    return self.ask_another(turn, session, request, *what, asked, why);
                }
                let (error, details) = (error_uri::NO_AVAILABLE_CALLEE, reason("callees_unavailable"));
                self.refuse(turn, session, code::CALL, request, error, details);
            }
            Caller::Remote { node, call } => {
                self.dealer.incoming.remove(&(node, call));
                turn.forward(node, callee, PeerFrame::Nack { call, callee, why });
            }
        }
    }

    fn is_open_invocation(&self, callee: SessionId, request: RequestId) -> bool {
        self.sessions
            .get(callee)
            .is_some_and(|s| s.invocations.contains_key(&request))
    }

    /// Takes out the invocation that a callee answers.
    ///
    /// Spec: an answer to an invocation that was never issued breaks the protocol; one to an invocation that has ended (its
    /// caller left, its caller's node was lost, a second answer) is the callee's innocent race and is dropped.
    fn end_invocation(&mut self, turn: &mut Turn<'_>, callee: SessionId, request: RequestId) -> Option<Invocation> {
        let session = self.sessions.get_mut(callee)?;
        let open = session.invocations.remove(&request);
        if open.is_none() {
            if request.get() > session.last_invocation {
                self.abort(
                    turn,
                    callee,
                    "YIELD or ERROR answers an invocation that this session was never sent",
                );
            } else {
                self.stats.dropped_late_answers += 1;
            }
        }
        open
    }

    /// Hands a callee's final answer to the caller, whose record ends here or on its node.
    pub(super) fn answer(&mut self, turn: &mut Turn<'_>, callee: SessionId, caller: Caller, answer: Answer) {
        match caller {
            Caller::Local { session, request } => {
                if let Some(caller) = self.sessions.get_mut(session) {
                    caller.take_call(request);
                    self.conclude(turn, session, request, answer);
                }
            }
            Caller::Remote { node, call } => {
                self.dealer.incoming.remove(&(node, call));
                let frame = match answer {
                    Answer::Result { payload } => PeerFrame::Result {
                        call,
                        details: Dict::new(),
                        payload,
                    },
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
            Answer::Result { payload } => {
                self.stats.results += 1;
                Message::Result {
                    request,
                    details: Dict::new(),
                    payload,
                }
            }
            Answer::Error { details, error, payload } => {
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

/// The feature of a callee whose `wamp.error.unavailable` is an answer to the dealer and not to the caller.
const CALL_REROUTE: &str = "callee.call_reroute";
