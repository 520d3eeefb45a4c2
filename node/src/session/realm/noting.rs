//! What the core notes about rights, as records of the audit log.

use crate::{
    audit::{Audit, Event, Lost, Refusal},
    router::policy::{Noted, NotedWhat},
    wamp::Uri,
};

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
        source,
        listener,
        realm: Some(realm.to_string()),
        authid: Some(noted.authid.clone()),
        role: Some(noted.authrole.clone()),
        session: Some(noted.session.get()),
        lost,
        ..Event::of("revoked")
    });
}
