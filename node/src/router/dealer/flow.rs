//! What a CALL asks for beyond one plain answer: a time limit, its caller's name, parts of arguments and results, a sealed payload.
//!
//! Invariants: a plain call has no [`Flow`] and pays one branch for that; a call with a deadline has its timer set while it is open
//! or parked, and only then; what the callee has to announce is judged on the callee's node, which knows what it announced.
//!
//! Spec: WAMP advanced profile, "Call Timeouts", "Caller Identification", "Call Trust Levels", "Progressive Call Results",
//! "Progressive Call Invocations", "Payload Passthru Mode".

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{call::Answer, choice::Found};
use crate::{
    router::{
        Disclosure, Realm, Right,
        abilities::Ability,
        passthru,
        realm::{CallTimeouts, TimeoutUnit},
        reflection::Checks,
        session_table::{Call, Session},
        timers::Timer,
        turn::{Turn, because},
    },
    wamp::{Dict, RegistrationId, RequestId, SessionId, Uri, Value, error_uri, message::code},
};

/// The wishes of one CALL.
#[derive(Debug, Default)]
pub(in crate::router) struct Flow {
    /// What goes into INVOCATION.Details whoever the callee is, apart from `progress`.
    details: Dict,
    /// For how long the callee may say nothing.
    patience: Option<Duration>,
    /// How much longer the dealer waits, since the callee keeps the time itself.
    grace: Duration,
    /// When the call ends unless the callee says something; its timer is set.
    pub(in crate::router) deadline: Option<Instant>,
    /// What was called, where the callee has a pattern and the caller may not do everything: whether it still may is asked anew when
    /// rights change.
    pub(in crate::router) called: Option<Uri>,
    /// Its arguments come in parts.
    pub(super) stream: Option<Stream>,
    /// A callee elsewhere was told to give up, and its answer is waited for.
    pub(super) killed: bool,
    /// What its further messages are held to.
    pub(in crate::router) checks: Option<Arc<Checks>>,
}

/// Arguments that come in parts.
#[derive(Debug, Default)]
pub(in crate::router) struct Stream {
    /// Where all parts go, once the first one went there.
    pub(super) to: Option<StreamTarget>,
    /// More than the first part was sent: the call cannot be begun anew elsewhere.
    pub(super) sent: bool,
}

/// The callee of a call that comes in parts.
#[derive(Debug)]
pub(in crate::router) struct StreamTarget {
    pub(super) registration: RegistrationId,
    pub(super) callee: SessionId,
    /// INVOCATION.Details of every part, apart from `progress`.
    pub(super) details: Dict,
}

/// Why a CALL is not taken.
enum Objection {
    /// Its session broke the protocol by it.
    Violation(&'static str),
    /// The call is answered with this error.
    Refusal(&'static str, Dict),
}

impl Realm {
    /// Reads the options of a CALL and starts its clock. `Err`: the call was answered, or its session is over.
    pub(super) fn begin_flow(
        &mut self,
        turn: &mut Turn<'_>,
        session: SessionId,
        request: RequestId,
        options: &Dict,
        procedure: &Uri,
    ) -> Result<Option<Box<Flow>>, ()> {
        let in_parts = options.bool("progress") == Some(true);
        let mut flow = match self.read_options(session, options, in_parts, procedure) {
            Ok(flow) => flow,
            Err(Objection::Violation(rule)) => {
                self.abort(turn, session, rule);
                return Err(());
            }
            Err(Objection::Refusal(error, details)) => {
                if in_parts && let Some(caller) = self.sessions.get_mut(session) {
                    // The parts that follow are on their way already.
                    let streams = caller.streams.get_or_insert_default();
                    streams.begin(request);
                    streams.end(request);
                }
                if error == error_uri::DISCLOSE_ME_DISALLOWED {
                    self.note_ruled_out(turn, session, "disclose", procedure);
                }
                self.refuse(turn, session, code::CALL, request, error, details);
                return Err(());
            }
        };
        if in_parts {
            flow.stream = Some(Stream::default());
            if let Some(caller) = self.sessions.get_mut(session) {
                caller.streams.get_or_insert_default().begin(request);
            }
        }
        if let Some(patience) = flow.patience {
            let deadline = turn.now + patience;
            flow.deadline = Some(deadline);
            self.timers.set(deadline, Timer::Call(session, request));
        }
        let plain = flow.details.is_empty() && flow.patience.is_none() && flow.stream.is_none();
        Ok((!plain).then(|| Box::new(flow)))
    }

    fn read_options(&self, session: SessionId, options: &Dict, in_parts: bool, procedure: &Uri) -> Result<Flow, Objection> {
        let Some(caller) = self.sessions.get(session) else {
            return Ok(Flow::default());
        };
        if in_parts && !caller.can(Ability::CallInParts) {
            let rule = "CALL.Options.progress without caller feature progressive_call_invocations in HELLO";
            return Err(Objection::Violation(rule));
        }
        if passthru::is_used(options) && !caller.can(Ability::ReceiveSealedResults) {
            let rule = "CALL.Options.ppt_scheme without caller feature payload_passthru_mode in HELLO";
            return Err(Objection::Violation(rule));
        }
        let mut details = Dict::new();
        let disclosure = self.disclosure(session, Right::Call, procedure);
        match (disclosure, options.bool("disclose_me") == Some(true)) {
            (Disclosure::Deny, true) => {
                let details = because("no caller is disclosed here (setting disclose = \"deny\" of the realm or permission)");
                return Err(Objection::Refusal(error_uri::DISCLOSE_ME_DISALLOWED, details));
            }
            (Disclosure::Always, _) | (Disclosure::Allow, true) => self.disclose(session, &mut details),
            (Disclosure::Deny | Disclosure::Allow, false) => {}
        }
        if let Some(level) = self.trustlevel(session) {
            details.set("trustlevel", level);
        }
        if options.bool("receive_progress") == Some(true) {
            details.set("receive_progress", true);
        }
        passthru::copy(options, &mut details);
        let patience = self
            .config
            .call_timeouts
            .patience(options.get("timeout"), caller.timeout_unit);
        Ok(Flow {
            details,
            patience,
            ..Flow::default()
        })
    }

    fn disclose(&self, session: SessionId, details: &mut Dict) {
        if let Some(caller) = self.sessions.get(session) {
            details.set("caller", session.get());
            details.set("caller_authid", caller.info.authid.as_str());
            details.set("caller_authrole", caller.info.authrole.as_str());
        }
    }

    /// INVOCATION.Details for the callee that was found; remembers for further parts where they go.
    pub(super) fn details_for(
        &mut self,
        session: SessionId,
        request: RequestId,
        procedure: &Uri,
        flow: &mut Option<Box<Flow>>,
        found: &Found,
    ) -> Dict {
        let mut details = flow.as_ref().map_or(Dict::new(), |flow| flow.details.clone());
        let disclosed = details.get("caller").is_some();
        if found.wishes.disclose_caller && !disclosed && self.disclosure(session, Right::Call, procedure) != Disclosure::Deny {
            self.disclose(session, &mut details);
        }
        if found.by_pattern {
            details.set("procedure", &**procedure);
            if self.sessions.get(session).is_some_and(|caller| !caller.may.open) {
                flow.get_or_insert_default().called = Some(procedure.clone());
            }
        }
        let Some(flow) = flow else { return details };
        let mut grace = Duration::ZERO;
        if let (true, Some(patience)) = (found.wishes.forward_timeout, flow.patience) {
            // Between nodes in milliseconds; the callee's node knows in what the callee counts.
            details.set("timeout", TimeoutUnit::Milliseconds.number(patience));
            grace = self.config.limits.forwarded_timeout_grace;
        }
        // A callee that was asked before may have had another grace, or none.
        if let Some(deadline) = flow.deadline.filter(|_| grace != flow.grace) {
            let moved = deadline - flow.grace + grace;
            self.timers.unset(deadline, Timer::Call(session, request));
            self.timers.set(moved, Timer::Call(session, request));
            flow.deadline = Some(moved);
        }
        flow.grace = grace;
        if let Some(stream) = &mut flow.stream {
            stream.to = Some(StreamTarget {
                registration: found.registration,
                callee: found.callee.session,
                details: details.clone(),
            });
            details.set("progress", true);
        }
        details
    }

    /// The callee said something: its time begins anew.
    pub(super) fn wind_up(&mut self, turn: &Turn<'_>, session: SessionId, request: RequestId) {
        let call = self.sessions.get_mut(session).and_then(|s| s.calls.get_mut(&request));
        if let Some(flow) = call.and_then(|call| call.flow_mut().as_mut())
            && let (Some(patience), Some(deadline)) = (flow.patience, flow.deadline)
        {
            let later = turn.now + patience + flow.grace;
            flow.deadline = Some(later);
            self.timers.unset(deadline, Timer::Call(session, request));
            self.timers.set(later, Timer::Call(session, request));
        }
    }

    /// A call ended: its clock stops, and what still comes of its arguments is late.
    pub(super) fn end_flow(&mut self, session: SessionId, request: RequestId, flow: &Flow) {
        if let Some(deadline) = flow.deadline {
            self.timers.unset(deadline, Timer::Call(session, request));
        }
        if flow.stream.is_some()
            && let Some(streams) = self.sessions.get_mut(session).and_then(|s| s.streams.as_mut())
        {
            streams.end(request);
        }
    }

    /// Takes out the record of an open call; the caller is told by somebody else.
    pub(super) fn take_call(&mut self, session: SessionId, request: RequestId) -> Option<Call> {
        let call = self.sessions.get_mut(session)?.take_call(request)?;
        if let Some(flow) = call.flow() {
            self.end_flow(session, request, flow);
        }
        Some(call)
    }

    /// Answers with an ERROR a call that is with no callee.
    pub(super) fn refuse_call(
        &mut self,
        turn: &mut Turn<'_>,
        session: SessionId,
        request: RequestId,
        flow: Option<Box<Flow>>,
        error: &str,
        details: Dict,
    ) {
        if let Some(flow) = flow {
            self.end_flow(session, request, &flow);
        }
        self.refuse(turn, session, code::CALL, request, error, details);
    }

    /// A call got no answer in its time; its timer is out already.
    ///
    /// Spec: as cancellation in mode `killnowait` where the callee announced canceling, else `skip`.
    pub(in crate::router) fn on_call_overdue(&mut self, turn: &mut Turn<'_>, session: SessionId, request: RequestId) {
        self.stats.calls_timed_out += 1;
        self.give_up_call(turn, session, request, Some(error_uri::TIMEOUT), error_uri::TIMEOUT);
    }

    /// Ends a call of this node whose caller has forgotten it already: nobody is answered. False if there is no such call.
    pub(super) fn drop_call(
        &mut self,
        turn: &mut Turn<'_>,
        session: SessionId,
        request: RequestId,
        reason: Option<&str>,
    ) -> bool {
        if let Some(call) = self.take_call(session, request) {
            self.abandon(turn, session, call, reason);
            return true;
        }
        let Some(call) = self.sessions.get_mut(session).and_then(|s| s.unpark_call(request)) else {
            return false;
        };
        if let Some(flow) = call.what.flow {
            self.end_flow(session, request, &flow);
        }
        self.resume_parked(turn, session);
        true
    }

    /// Ends a call of this node, parked or open, with an error of the dealer's. `reason`: what the callee is told, if anything.
    /// False if there is no such call.
    pub(in crate::router) fn give_up_call(
        &mut self,
        turn: &mut Turn<'_>,
        session: SessionId,
        request: RequestId,
        reason: Option<&str>,
        error: &str,
    ) -> bool {
        self.give_up_call_because(turn, session, request, reason, error, Dict::new())
    }

    /// The same with details for the caller.
    pub(in crate::router) fn give_up_call_because(
        &mut self,
        turn: &mut Turn<'_>,
        session: SessionId,
        request: RequestId,
        reason: Option<&str>,
        error: &str,
        details: Dict,
    ) -> bool {
        if let Some(call) = self.take_call(session, request) {
            self.abandon(turn, session, call, reason);
            let answer = Answer::Error {
                error: Uri::from(self.error_name(session, error, &details)),
                details,
                payload: crate::wamp::Payload::EMPTY,
            };
            self.conclude(turn, session, request, answer);
            return true;
        }
        let Some(call) = self.sessions.get_mut(session).and_then(|s| s.unpark_call(request)) else {
            return false;
        };
        self.refuse_call(turn, session, request, call.what.flow, error, details);
        // Others may have waited behind it only.
        self.resume_parked(turn, session);
        true
    }
}

/// Takes out of INVOCATION.Details what the callee did not announce, and writes its time limit as the callee counts it; true if it
/// may answer in parts.
///
/// # Errors
/// The feature without which it cannot be invoked like this.
pub(super) fn admit(callee: &Session, details: &mut Dict) -> Result<bool, &'static str> {
    let abilities = callee.abilities;
    if details.bool("progress") == Some(true) && !abilities.has(Ability::InvokedInParts) {
        return Err("progressive_call_invocations and call_canceling");
    }
    if passthru::is_used(details) && !abilities.has(Ability::ReceiveSealedCalls) {
        return Err("payload_passthru_mode");
    }
    if passthru::is_opaque(details) && !abilities.has(Ability::OpaqueCalls) {
        return Err("payload_transparency");
    }
    if callee.timeout_unit != TimeoutUnit::Milliseconds
        && let Some(millis) = details.get("timeout").and_then(Value::as_integer)
    {
        let time = Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX));
        details.set("timeout", callee.timeout_unit.number(time));
    }
    let in_parts = details.bool("receive_progress") == Some(true) && abilities.has(Ability::ResultInParts);
    if !in_parts {
        details.0.retain(|(key, _)| key != "receive_progress");
    }
    Ok(in_parts)
}

impl CallTimeouts {
    /// How long a callee may say nothing, if a CALL says this about it; `None`: forever.
    fn patience(&self, asked: Option<&Value>, unit: TimeoutUnit) -> Option<Duration> {
        let asked = asked
            .and_then(Value::as_integer)
            .and_then(|n| u64::try_from(n).ok())
            .unwrap_or(0);
        let wanted = match asked {
            0 => self.default,
            asked => Some(unit.duration(asked)),
        };
        match (wanted, self.max) {
            (None, max) => max,
            (Some(wanted), max) => {
                let wanted = wanted.max(self.min);
                Some(max.map_or(wanted, |max| wanted.min(max)))
            }
        }
    }
}

impl TimeoutUnit {
    fn duration(self, number: u64) -> Duration {
        // Beyond 285,000 years nobody looks; an instant that far ahead can still be reckoned with.
        match self {
            Self::Milliseconds => Duration::from_millis(number.min(1 << 53)),
            Self::Seconds => Duration::from_secs(number.min(1 << 43)),
        }
    }

    /// The reverse, rounded up.
    fn number(self, time: Duration) -> u64 {
        let millis = time.as_nanos().div_ceil(1_000_000);
        let number = match self {
            Self::Milliseconds => millis,
            Self::Seconds => millis.div_ceil(1_000),
        };
        u64::try_from(number).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: CallTimeouts = CallTimeouts {
        min: Duration::ZERO,
        default: None,
        max: None,
        unit: TimeoutUnit::Milliseconds,
    };

    fn millis(timeouts: &CallTimeouts, asked: i128) -> Option<u128> {
        timeouts
            .patience(Some(&Value::Integer(asked)), timeouts.unit)
            .map(|time| time.as_millis())
    }

    #[test]
    fn what_a_call_asks_for_is_held_between_the_bounds() {
        assert_eq!(
            (millis(&NONE, 0), millis(&NONE, 7), NONE.patience(None, NONE.unit)),
            (None, Some(7), None)
        );
        let ms = Duration::from_millis;
        let bounded = CallTimeouts {
            min: ms(10),
            default: Some(ms(50)),
            max: Some(ms(100)),
            ..NONE
        };
        assert_eq!(bounded.patience(None, NONE.unit), Some(ms(50)));
        for (asked, got) in [(0, 50), (1, 10), (70, 70), (1_000, 100)] {
            assert_eq!(millis(&bounded, asked), Some(got), "{asked}");
        }
        let capped = CallTimeouts {
            max: Some(ms(100)),
            ..NONE
        };
        assert_eq!(capped.patience(None, NONE.unit), Some(ms(100)), "nothing may last longer");
    }

    #[test]
    fn seconds_are_read_and_written_as_such() {
        let seconds = CallTimeouts {
            unit: TimeoutUnit::Seconds,
            ..NONE
        };
        assert_eq!(millis(&seconds, 10), Some(10_000));
        assert_eq!(TimeoutUnit::Seconds.number(Duration::from_millis(1_001)), 2);
        assert_eq!(TimeoutUnit::Milliseconds.number(Duration::from_micros(1_001)), 2);
    }

    #[test]
    fn a_time_without_end_can_be_reckoned_with() {
        for unit in [TimeoutUnit::Milliseconds, TimeoutUnit::Seconds] {
            let timeouts = CallTimeouts { unit, ..NONE };
            let patience = timeouts.patience(Some(&Value::Integer(i128::from(u64::MAX))), unit).unwrap();
            assert!(crate::router::testing::some_instant().checked_add(patience * 2).is_some());
        }
    }
}
