//! What is noted for the record about rights: requests that were refused, sessions that ended, what others lost.
//!
//! Only where [`RealmConfig::noted`](crate::router::RealmConfig::noted) says that somebody keeps it.

use super::Right;
use crate::{
    router::{Effect, Realm, SessionInfo, Whence, turn::Turn},
    wamp::{SessionId, Uri},
};

/// Something about the rights of a session of this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Noted {
    /// The session.
    pub session: SessionId,
    /// Who it is.
    pub authid: String,
    /// In which role.
    pub authrole: String,
    /// Where its connection comes from.
    pub whence: Option<Whence>,
    /// What happened.
    pub what: NotedWhat,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotedWhat {
    /// A request was refused.
    Refused {
        /// The right that it needed.
        right: Right,
        /// On which URI.
        uri: Uri,
    },
    /// A request was refused for something else than a right.
    Denied {
        /// Which wall that was: `limit`, or `authorization` where a rule on options is meant.
        wall: &'static str,
        /// The setting, and whose it is where that is not the session.
        reason: &'static str,
        /// What was to be called, registered, subscribed to, …
        uri: Uri,
    },
    /// The session was ended by a call of `wamp.session.kill…`.
    Killed {
        /// Who has called: its session.
        by: SessionId,
        /// And its authid, where that is known.
        authid: String,
    },
    /// The session was ended.
    Ended {
        /// Why.
        why: &'static str,
    },
    /// The session goes on without what stood on a right that is gone.
    Lost {
        /// Calls that ended.
        calls: usize,
        /// Registrations that were taken back.
        registrations: usize,
        /// Subscriptions that ended.
        subscriptions: usize,
    },
}

impl Realm {
    /// Notes something of a session that is still there.
    pub(in crate::router) fn note(&self, turn: &mut Turn<'_>, session: SessionId, what: impl FnOnce() -> NotedWhat) {
        if !self.config.noted {
            return;
        }
        let Some(SessionInfo {
            authid,
            authrole,
            whence,
            ..
        }) = self.session_info(session)
        else {
            return;
        };
        turn.effects.push(Effect::Note(Box::new(Noted {
            session,
            authid: authid.clone(),
            authrole: authrole.clone(),
            whence: *whence,
            what: what(),
        })));
    }

    /// Counts and notes that a session holds as much as it may.
    pub(in crate::router) fn note_limit(&mut self, turn: &mut Turn<'_>, session: SessionId, reason: &'static str, uri: &Uri) {
        self.stats.over_limits += 1;
        self.note(turn, session, || NotedWhat::Denied {
            wall: "limit",
            reason,
            uri: uri.clone(),
        });
    }

    /// Notes that a session asked for something that a setting rules out, whoever asks.
    pub(in crate::router) fn note_ruled_out(&self, turn: &mut Turn<'_>, session: SessionId, setting: &'static str, uri: &Uri) {
        self.note(turn, session, || NotedWhat::Denied {
            wall: "authorization",
            reason: setting,
            uri: uri.clone(),
        });
    }

    /// Counts and notes that a session lacks a right that it needed.
    pub(in crate::router) fn note_refusal(&mut self, turn: &mut Turn<'_>, session: SessionId, right: Right, uri: &Uri) {
        self.stats.unauthorized += 1;
        self.note(turn, session, || NotedWhat::Refused { right, uri: uri.clone() });
    }
}
