//! Results and arguments that come in parts.
//!
//! Invariants: parts of a result reach the caller in the order in which they were yielded and before the final answer; a caller that
//! did not ask for parts gets none; parts of arguments reach the one callee that got the first, in their order, under one
//! INVOCATION id and with the details of the first.
//!
//! Spec: WAMP advanced profile, "Progressive Call Results", "Progressive Call Invocations".

use super::{Invoke, flow::admit};
use crate::{
    router::{
        NodeRef, PeerFrame, Realm,
        abilities::Ability,
        frame::{CallId, InterruptMode},
        passthru,
        session_table::{Call, Caller, Part},
        turn::{Turn, because},
    },
    wamp::{Dict, Message, Payload, RegistrationId, RequestId, SessionId, Uri, error_uri},
};

/// What the id of a CALL makes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::router) enum CallKind {
    /// A new call.
    New,
    /// A further part of an open one.
    Part,
    /// Neither; it was dealt with.
    Settled,
}

impl Realm {
    /// A further part of the arguments of an open call. Only `progress` counts of its options, as the text has it.
    pub(in crate::router) fn on_call_part(
        &mut self,
        turn: &mut Turn<'_>,
        session: SessionId,
        request: RequestId,
        options: &Dict,
        payload: Payload,
    ) {
        let more = options.bool("progress") == Some(true);
        let Some(caller) = self.sessions.get_mut(session) else {
            return;
        };
        if !more && let Some(streams) = &mut caller.streams {
            streams.complete(request);
        }
        self.stats.call_parts += 1;
        if !self.check_call_part(turn, session, request, options, &payload) {
            return;
        }
        let limits = &self.config.limits;
        let Some(caller) = self.sessions.get_mut(session) else {
            return;
        };
        let Some(parked) = caller.parked.iter_mut().find(|parked| parked.request == request) else {
            return self.send_part(turn, session, request, Part { more, payload });
        };
        let bytes = caller.parked_bytes.saturating_add(payload.bytes().len());
        if parked.parts.len() < limits.parked_calls_max && bytes <= limits.parked_bytes_max {
            parked.parts.push(Part { more, payload });
            caller.parked_bytes = bytes;
            return;
        }
        if let Some(call) = caller.unpark_call(request) {
            self.note_limit(turn, session, "parked_calls_max", &call.what.procedure);
            let details =
                because("too many parts of this call wait for its procedure (settings parked_calls_max, parked_bytes_max)");
            self.refuse_call(turn, session, request, call.what.flow, error_uri::UNAVAILABLE, details);
            self.resume_parked(turn, session);
        }
    }

    /// Sends on a part that waited with its call; it goes on waiting if the call does.
    pub(super) fn resume_part(&mut self, turn: &mut Turn<'_>, session: SessionId, request: RequestId, part: Part) {
        if let Some(caller) = self.sessions.get_mut(session)
            && let Some(parked) = caller.parked.iter_mut().find(|parked| parked.request == request)
        {
            caller.parked_bytes += part.payload.bytes().len();
            parked.parts.push(part);
            return;
        }
        self.send_part(turn, session, request, part);
    }

    /// Sends a further part of arguments after the first.
    pub(super) fn send_part(&mut self, turn: &mut Turn<'_>, session: SessionId, request: RequestId, part: Part) {
        let call = self.sessions.get_mut(session).and_then(|s| s.calls.get_mut(&request));
        let Some(call) = call else {
            // The first part was refused meanwhile.
            self.stats.dropped_late_parts += 1;
            return;
        };
        let Some(stream) = call.flow_mut().as_mut().and_then(|flow| flow.stream.as_mut()) else {
            return;
        };
        let Some(to) = &stream.to else { return };
        stream.sent = true;
        let (registration, callee) = (to.registration, to.callee);
        let mut details = to.details.clone();
        if part.more {
            details.set("progress", true);
        }
        let payload = part.payload;
        match call {
            Call::Local { invocation, .. } => {
                let invocation = *invocation;
                self.invoke_part(turn, callee, invocation, registration, details, payload);
            }
            Call::Remote { node, call, .. } => {
                let frame = PeerFrame::Chunk {
                    call: *call,
                    registration,
                    callee,
                    details,
                    payload,
                };
                turn.forward(*node, session, frame);
            }
        }
    }

    /// Callee's node: a further part of the arguments of a call from elsewhere.
    pub(super) fn accept_part(&mut self, turn: &mut Turn<'_>, part: Invoke) {
        match self.dealer.incoming.get(&(part.from, part.call)).copied() {
            Some((callee, request)) => {
                self.invoke_part(turn, callee, request, part.registration, part.details, part.payload);
            }
            None => self.stats.dropped_late_frames += 1,
        }
    }

    /// Sends the callee a further INVOCATION of an id it has.
    fn invoke_part(
        &mut self,
        turn: &mut Turn<'_>,
        callee: SessionId,
        request: RequestId,
        registration: RegistrationId,
        mut details: Dict,
        payload: Payload,
    ) {
        let Some(session) = self.sessions.get_mut(callee) else {
            return;
        };
        if let Some(invocation) = session.invocations.get_mut(&request) {
            invocation.continued = true;
        }
        // What the callee lacks was found out with the first part; here only what it does not know is taken out.
        if admit(session, &mut details).is_err() {
            return;
        }
        self.put_fence(registration, &mut details);
        self.stats.invocation_parts += 1;
        let message = Message::Invocation {
            request,
            registration,
            details,
            payload,
        };
        turn.send(callee, message);
    }

    /// An INVOCATION could not be written to its callee: its caller is told this error, and the callee, if it knows of the call, to
    /// give up.
    pub(in crate::router) fn on_invocation_undelivered(
        &mut self,
        turn: &mut Turn<'_>,
        callee: SessionId,
        request: RequestId,
        error: Uri,
    ) {
        let invocation = self.sessions.get(callee).and_then(|s| s.invocations.get(&request));
        if invocation.is_some_and(|invocation| invocation.continued) {
            self.interrupt(turn, callee, request, InterruptMode::KillNoWait, &error);
        }
        self.on_callee_error(turn, callee, request, Dict::new(), error, Payload::EMPTY);
    }

    /// A callee's YIELD with options.
    pub(super) fn on_yield_with(
        &mut self,
        turn: &mut Turn<'_>,
        callee: SessionId,
        request: RequestId,
        options: &Dict,
        payload: Payload,
    ) {
        let sealed = passthru::is_used(options);
        if sealed && !self.sessions.get(callee).is_some_and(|s| s.can(Ability::ReceiveSealedCalls)) {
            let rule = "YIELD.Options.ppt_scheme without callee feature payload_passthru_mode in HELLO";
            return self.abort(turn, callee, rule);
        }
        let details = passthru::of(options);
        if options.bool("progress") == Some(true) {
            self.on_progress(turn, callee, request, details, payload);
        } else {
            self.on_result(turn, callee, request, details, payload);
        }
    }

    fn on_progress(&mut self, turn: &mut Turn<'_>, callee: SessionId, request: RequestId, details: Dict, payload: Payload) {
        let invocation = self.sessions.get_mut(callee).and_then(|s| s.invocations.get_mut(&request));
        let Some(invocation) = invocation else {
            return self.judge_late_answer(turn, callee, request);
        };
        if !invocation.in_parts {
            self.stats.dropped_progress += 1;
            return;
        }
        invocation.begun = true;
        match invocation.caller {
            Caller::Local { session, request } => self.progress(turn, session, request, details, payload),
            Caller::Remote { node, call } => turn.forward(node, callee, PeerFrame::Progress { call, details, payload }),
        }
    }

    /// Caller's node: a part of a result from elsewhere.
    pub(in crate::router) fn on_remote_progress(
        &mut self,
        turn: &mut Turn<'_>,
        from: NodeRef,
        call: CallId,
        details: Dict,
        payload: Payload,
    ) {
        match self.dealer.outgoing.get(&(from, call)).copied() {
            Some((session, request)) => self.progress(turn, session, request, details, payload),
            None => self.stats.dropped_late_frames += 1,
        }
    }

    /// Gives a caller of this node a part of its result.
    fn progress(&mut self, turn: &mut Turn<'_>, session: SessionId, request: RequestId, mut details: Dict, payload: Payload) {
        if self.cannot_open(session, &details) {
            let error = error_uri::FEATURE_NOT_SUPPORTED;
            self.give_up_call(turn, session, request, Some(error), error);
            return;
        }
        if !self.check_progress(turn, session, request, &details, &payload) {
            return;
        }
        self.wind_up(turn, session, request);
        self.stats.progressive_results += 1;
        details.set("progress", true);
        let message = Message::Result {
            request,
            details,
            payload,
        };
        turn.send(session, message);
    }

    /// True if the payload these details belong to is of a kind that the caller did not announce.
    pub(super) fn cannot_open(&self, session: SessionId, details: &Dict) -> bool {
        if details.is_empty() {
            return false;
        }
        let can = |ability| self.sessions.get(session).is_some_and(|s| s.can(ability));
        passthru::is_used(details) && !can(Ability::ReceiveSealedResults)
            || passthru::is_opaque(details) && !can(Ability::OpaqueResults)
    }

    /// Tells another node that the parts of a call that could not be brought to its callee will never come.
    pub(super) fn break_off(&mut self, turn: &mut Turn<'_>, session: SessionId, node: NodeRef, call: CallId) {
        let (mode, reason) = (InterruptMode::KillNoWait, error_uri::CANCELED.into());
        turn.forward(node, session, PeerFrame::Interrupt { call, mode, reason });
    }
}
