//! Holding payloads to the schemas of a realm.
//!
//! Choice: a payload that breaks a rule is answered with `wamp.error.invalid_argument`, whose details say where (`path`, a JSON pointer
//! that begins with `/args` or `/kwargs`), which rule (`rule`, a JSON pointer into the definition) and what it demands (`message`).
//! A sealed payload cannot be looked into and is refused, unless the definition says `allow_sealed`.

use std::sync::Arc;

use super::{Checks, Kind};
use crate::{
    router::{
        Op, Realm,
        dealer::Answer,
        passthru,
        session_table::Call,
        turn::{Turn, because},
    },
    wamp::{Dict, Payload, RequestId, SessionId, Uri, error_uri},
};

/// The message whose payload is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    Call,
    Result,
    Progress,
    Event,
    Error,
}

impl Said {
    /// Its key in a definition.
    const fn name(self) -> &'static str {
        match self {
            Self::Call => "call",
            Self::Result => "result",
            Self::Progress => "progress",
            Self::Event => "event",
            Self::Error => "error",
        }
    }
}

impl Realm {
    /// The log changed a definition: what is checked follows.
    pub(in crate::router) fn follow_definition(&mut self, op: &Op) {
        let keys = match op {
            Op::Define { definition, .. } => vec![definition.key()],
            Op::Undefine { kind, policy, uri, .. } => {
                let kinds = Kind::ALL.into_iter().filter(|k| kind.is_none_or(|kind| *k == kind));
                kinds.map(|kind| (kind, *policy, uri.clone())).collect()
            }
            _ => return,
        };
        for key in keys {
            match self.registry.definitions().get(&key) {
                Some(row) => self.schemas.put(&row.definition),
                None => self.schemas.take(&key),
            }
        }
        self.judge_plainness();
    }

    /// The registry came from a snapshot.
    pub(in crate::router) fn refresh_schemas(&mut self) {
        let definitions = self.registry.definitions().iter().map(|row| &row.definition);
        self.schemas.replace(definitions);
        self.judge_plainness();
    }

    /// Judges the arguments of a CALL; gives what is left to judge of it.
    ///
    /// # Errors
    /// The details of the ERROR.
    pub(in crate::router) fn check_call(
        &mut self,
        procedure: &Uri,
        options: &Dict,
        payload: &Payload,
    ) -> Result<Option<Arc<Checks>>, Dict> {
        let Some(checks) = self.schemas.checks(Kind::Procedure, procedure).cloned() else {
            return Ok(None);
        };
        self.judge(&checks, Said::Call, options, payload)?;
        Ok(checks.outlasts_the_call().then_some(checks))
    }

    /// Judges a further part of the arguments of a call. False: the call is over, and everybody knows.
    pub(in crate::router) fn check_call_part(
        &mut self,
        turn: &mut Turn<'_>,
        session: SessionId,
        request: RequestId,
        options: &Dict,
        payload: &Payload,
    ) -> bool {
        self.check_open_call(turn, session, request, Said::Call, options, payload)
    }

    /// Judges a part of the result of a call of this node. False: the call is over, and everybody knows.
    pub(in crate::router) fn check_progress(
        &mut self,
        turn: &mut Turn<'_>,
        session: SessionId,
        request: RequestId,
        details: &Dict,
        payload: &Payload,
    ) -> bool {
        self.check_open_call(turn, session, request, Said::Progress, details, payload)
    }

    fn check_open_call(
        &mut self,
        turn: &mut Turn<'_>,
        session: SessionId,
        request: RequestId,
        said: Said,
        details: &Dict,
        payload: &Payload,
    ) -> bool {
        let Some(caller) = self.sessions.get(session) else {
            return true;
        };
        let open = caller.calls.get(&request).and_then(Call::flow);
        let waiting = || {
            let parked = caller.parked.iter().find(|parked| parked.request == request)?;
            parked.what.flow.as_deref()
        };
        let Some(checks) = open.or_else(waiting).and_then(|flow| flow.checks.clone()) else {
            return true;
        };
        match self.judge(&checks, said, details, payload) {
            Ok(()) => true,
            Err(details) => {
                let error = error_uri::INVALID_ARGUMENT;
                self.give_up_call_because(turn, session, request, Some(error), error, details);
                false
            }
        }
    }

    /// Judges the answer to a call of this node; one that breaks a rule is replaced by an error that says so.
    pub(in crate::router) fn checked_answer(&mut self, call: &Call, answer: Answer) -> Answer {
        let verdict = match &answer {
            Answer::Result { details, payload } => {
                let Some(checks) = call.flow().and_then(|flow| flow.checks.clone()) else {
                    return answer;
                };
                self.judge(&checks, Said::Result, details, payload)
            }
            Answer::Error { details, error, payload } => {
                if !self.schemas.check(Kind::Error) {
                    return answer;
                }
                let Some(checks) = self.schemas.checks(Kind::Error, error).cloned() else {
                    return answer;
                };
                let verdict = self.judge(&checks, Said::Error, details, payload);
                verdict.map_err(|details| details.with("error", error.as_str()))
            }
        };
        match verdict {
            Ok(()) => answer,
            Err(details) => Answer::Error {
                details,
                error: Uri::from(error_uri::INVALID_ARGUMENT),
                payload: Payload::EMPTY,
            },
        }
    }

    /// Judges what is published to a topic.
    ///
    /// # Errors
    /// The details of the ERROR.
    pub(in crate::router) fn check_event(&mut self, topic: &Uri, options: &Dict, payload: &Payload) -> Result<(), Dict> {
        match self.schemas.checks(Kind::Topic, topic).cloned() {
            Some(checks) => self.judge(&checks, Said::Event, options, payload),
            None => Ok(()),
        }
    }

    fn judge(&mut self, checks: &Checks, said: Said, options: &Dict, payload: &Payload) -> Result<(), Dict> {
        let judged = self.obeys(checks, said, options, payload);
        if judged.is_err() {
            self.stats.schema_violations += 1;
        }
        judged
    }

    fn obeys(&self, checks: &Checks, said: Said, options: &Dict, payload: &Payload) -> Result<(), Dict> {
        if let Some(why) = &checks.impassable {
            return Err(because(&format!("the schema of this URI cannot be used on this node: {why}")));
        }
        let shape = match said {
            Said::Call => &checks.call,
            Said::Result => &checks.result,
            Said::Progress => &checks.progress,
            Said::Event => &checks.event,
            Said::Error => &checks.error,
        };
        let Some(shape) = shape else { return Ok(()) };
        let name = said.name();
        if !options.is_empty() && (passthru::is_used(options) || passthru::is_opaque(options)) {
            if checks.allow_sealed {
                return Ok(());
            }
            let words =
                format!("{name}: a sealed payload cannot be held to the schema of this URI (its definition lacks allow_sealed)");
            return Err(because(&words));
        }
        let bytes_max = self.config.limits.schema_payload_bytes_max;
        if payload.bytes().len() > bytes_max {
            let words =
                format!("{name}: more than {bytes_max} bytes are not held to a schema (setting schema_payload_bytes_max)");
            return Err(because(&words));
        }
        let (args, kwargs) = payload
            .to_values()
            .map_err(|error| because(&format!("{name}: the payload cannot be read: {error}")))?;
        match shape.violation(args, kwargs) {
            None => Ok(()),
            Some(violation) => {
                let words = format!("{name}: {}: {}", violation.path, violation.message);
                Err(because(&words)
                    .with("path", violation.path)
                    .with("rule", format!("/{name}{}", violation.rule)))
            }
        }
    }
}
