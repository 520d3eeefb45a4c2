//! Sessions that stand on a token: they end with it, unless they show a newer one.
//!
//! A session shows it by calling `ringfort.session.refresh`. The shell knows the issuers' keys, so it judges the token and says what it
//! came to. The newer one has to be of the same issuer for the same subject, and to give the same authid and role: whoever is to
//! become somebody else logs in anew.
//!
//! Invariants: a session has a timer [`Timer::Bearer`] exactly while it stands on a token; one refresh of a session runs at a time.

use std::{collections::BTreeMap, time::Instant};

use super::{
    Effect, Realm,
    policy::NotedWhat,
    timers::Timer,
    turn::{Turn, because},
};
use crate::{
    auth::Secret,
    wamp::{Dict, Message, Payload, RequestId, SessionId, Uri, Value, error_uri, message::code},
};

/// The procedure by which a session shows a newer token.
pub const REFRESH: &str = "ringfort.session.refresh";

/// Whom a token names, and how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bearer {
    /// Who made it.
    pub issuer: String,
    /// Whom the issuer calls so.
    pub subject: String,
    /// The name of its sessions.
    pub authid: String,
    /// Their role.
    pub authrole: String,
    /// When they end.
    pub until: Instant,
}

impl Bearer {
    fn is_of_the_same(&self, other: &Self) -> bool {
        (&self.issuer, &self.subject, &self.authid, &self.authrole)
            == (&other.issuer, &other.subject, &other.authid, &other.authrole)
    }
}

/// A newer token of a session, to be judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refresh {
    /// Whose.
    pub session: SessionId,
    /// The CALL that shows it.
    pub request: RequestId,
    /// The token.
    pub token: Secret,
}

/// What a newer token came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refreshed {
    /// Whose.
    pub session: SessionId,
    /// The CALL that showed it.
    pub request: RequestId,
    /// Whom it names; `None`: it was not let in.
    pub bearer: Option<Bearer>,
}

/// The sessions of this node that stand on tokens.
#[derive(Debug, Default)]
pub(super) struct Bearers(BTreeMap<SessionId, Standing>);

#[derive(Debug)]
struct Standing {
    bearer: Bearer,
    refreshing: Option<RequestId>,
}

impl Bearers {
    /// True if the session waits for the answer of that CALL.
    pub(super) fn awaits(&self, session: SessionId, request: RequestId) -> bool {
        self.0.get(&session).is_some_and(|one| one.refreshing == Some(request))
    }
}

impl Bearers {
    /// When the session of each ends.
    pub(super) fn ends(&self) -> impl Iterator<Item = (SessionId, Instant)> {
        self.0.iter().map(|(session, standing)| (*session, standing.bearer.until))
    }
}

impl Realm {
    /// A session that has just joined stands on a token.
    pub(super) fn on_bearer(&mut self, session: SessionId, bearer: Bearer) {
        if self.sessions.get(session).is_none() {
            return;
        }
        self.timers.set(bearer.until, Timer::Bearer(session));
        let refreshing = None;
        self.bearers.0.insert(session, Standing { bearer, refreshing });
    }

    /// A session is gone.
    pub(super) fn detach_bearer(&mut self, session: SessionId) {
        if let Some(standing) = self.bearers.0.remove(&session) {
            self.timers.unset(standing.bearer.until, Timer::Bearer(session));
        }
    }

    /// The time of a token is over. The timer is out already.
    pub(super) fn on_bearer_overdue(&mut self, turn: &mut Turn<'_>, session: SessionId) {
        self.bearers.0.remove(&session);
        self.stats.sessions_expired += 1;
        let goodbye = Message::Goodbye {
            details: because("the token of this session has expired"),
            reason: Uri::from(error_uri::EXPIRED),
        };
        turn.effects.push(Effect::Kill { session, goodbye });
        self.detach(turn, session);
    }

    /// A CALL of [`REFRESH`]. False: it is another procedure.
    pub(super) fn on_refresh_call(
        &mut self,
        turn: &mut Turn<'_>,
        session: SessionId,
        request: RequestId,
        procedure: &Uri,
        payload: &Payload,
    ) -> bool {
        if procedure.as_str() != REFRESH {
            return false;
        }
        let bytes_max = self.config.limits.meta_call_bytes_max;
        let token = Some(payload).filter(|payload| payload.bytes().len() <= bytes_max);
        let token = token.and_then(|payload| payload.to_values().ok()).and_then(|(args, _)| {
            let token = args.first().and_then(Value::as_text);
            token.map(|token| Secret::new(token.as_bytes()))
        });
        let (error, text) = match (self.bearers.0.get_mut(&session), token) {
            (None, _) => (error_uri::NO_SUCH_PRINCIPAL, "this session does not stand on a token"),
            (Some(_), None) => (error_uri::INVALID_ARGUMENT, "the first argument is the newer token"),
            (Some(one), Some(_)) if one.refreshing.is_some() => (error_uri::UNAVAILABLE, "another refresh is under way"),
            (Some(one), Some(token)) => {
                one.refreshing = Some(request);
                let refresh = Refresh { session, request, token };
                turn.effects.push(Effect::Refresh(Box::new(refresh)));
                return true;
            }
        };
        self.refuse(turn, session, code::CALL, request, error, because(text));
        true
    }

    /// The shell has judged a newer token.
    pub(super) fn on_refreshed(&mut self, turn: &mut Turn<'_>, refreshed: Refreshed) {
        let Refreshed {
            session,
            request,
            bearer,
        } = refreshed;
        let Some(standing) = self.bearers.0.get_mut(&session).filter(|one| one.refreshing == Some(request)) else {
            return;
        };
        standing.refreshing = None;
        let newer = bearer.filter(|newer| newer.is_of_the_same(&standing.bearer) && newer.until >= standing.bearer.until);
        let Some(newer) = newer else {
            self.note(turn, session, || NotedWhat::Denied {
                wall: "authentication",
                reason: "no newer token of the same subject",
                uri: Uri::from(REFRESH),
            });
            let details = because("this is no newer token of the same subject with the same role");
            return self.refuse(turn, session, code::CALL, request, error_uri::AUTHENTICATION_FAILED, details);
        };
        let left = newer.until.saturating_duration_since(turn.now);
        self.timers.unset(standing.bearer.until, Timer::Bearer(session));
        self.timers.set(newer.until, Timer::Bearer(session));
        standing.bearer = newer;
        self.stats.results += 1;
        let serializer = crate::wamp::Serializer::Json;
        turn.send(
            session,
            Message::Result {
                request,
                details: Dict::new(),
                payload: Payload::from_values(serializer, &[Value::from(left.as_secs())], &Dict::new()),
            },
        );
    }
}
