//! What the core notes about rights, as records of the audit log.

use super::RealmHandle;
use crate::{
    audit::{Audit, Event, Lost, Refusal},
    router::{
        SessionInfo,
        policy::{Noted, NotedWhat},
    },
    wamp::{SessionId, Uri},
};

impl RealmHandle {
    /// Has the audit log keep that a session of this realm was refused something, with what is known of it.
    pub fn note_refusal(&self, session: SessionId, refusal: &Refusal<'_>) {
        let Some(audit) = self.shared.audit.get().filter(|audit| audit.is_open()) else {
            return;
        };
        let info = self.with_core(|core| core.session_info(session).cloned());
        let (authid, role) = info
            .as_ref()
            .map_or(("", ""), |info| (info.authid.as_str(), info.authrole.as_str()));
        audit.refused(&Refusal {
            realm: &self.shared.name,
            authid,
            role,
            session: Some(session.get()),
            ..*refusal
        });
    }

    /// Has the audit log keep that a session of this realm was ended; it is still there.
    pub fn note_revocation(&self, session: SessionId, why: &'static str) {
        let Some(audit) = self.shared.audit.get().filter(|audit| audit.is_open()) else {
            return;
        };
        let info = self.with_core(|core| core.session_info(session).cloned());
        if let Some(SessionInfo {
            authid,
            authrole,
            whence,
            ..
        }) = info
        {
            let what = NotedWhat::Ended { why };
            let noted = Noted {
                session,
                authid,
                authrole,
                whence,
                what,
            };
            note(audit, &self.shared.name, &noted);
        }
    }
}

/// Hands it over; does not wait.
pub(super) fn note(audit: &Audit, realm: &Uri, noted: &Noted) {
    let (source, listener) = (noted.whence.map(|w| w.source), noted.whence.and_then(|w| w.listener));
    let (reason, lost) = match &noted.what {
        NotedWhat::Refused { right, uri } => {
            return audit.refused(&Refusal {
                source,
                listener,
                realm,
                authid: &noted.authid,
                role: &noted.authrole,
                session: Some(noted.session.get()),
                what: uri,
                ..Refusal::of("authorization", right.name())
            });
        }
        NotedWhat::Denied { wall, reason, uri } => {
            return audit.refused(&Refusal {
                source,
                listener,
                realm,
                authid: &noted.authid,
                role: &noted.authrole,
                session: Some(noted.session.get()),
                what: uri,
                ..Refusal::of(wall, reason)
            });
        }
        NotedWhat::Killed { by, authid } => {
            return audit.note(Event {
                reason: Some("killed through the meta API".to_owned()),
                what: Some(format!("by {authid}, session {by}")),
                ..of_session(realm, noted, "revoked")
            });
        }
        NotedWhat::Ended { why } => (*why, None),
        NotedWhat::Lost {
            calls,
            registrations,
            subscriptions,
        } => {
            let lost = Lost {
                calls: *calls,
                registrations: *registrations,
                subscriptions: *subscriptions,
            };
            ("a right of its role is gone", Some(lost))
        }
    };
    audit.note(Event {
        reason: Some(reason.to_owned()),
        lost,
        ..of_session(realm, noted, "revoked")
    });
}

/// An event of that kind about the session.
fn of_session(realm: &Uri, noted: &Noted, kind: &'static str) -> Event {
    Event {
        source: noted.whence.map(|whence| whence.source),
        listener: noted.whence.and_then(|whence| whence.listener),
        realm: Some(realm.to_string()),
        authid: Some(noted.authid.clone()),
        role: Some(noted.authrole.clone()),
        session: Some(noted.session.get()),
        ..Event::of(kind)
    }
}
