//! How a listener's clients are met, from its settings.

use std::time::Duration;

use http::StatusCode;

use crate::{
    config::{self, Listener},
    router::{CancelAnswer, Compat, ErrorUris, MetaResults, OnLeave, RequestIdCheck, TimeoutUnit},
    transport::{longpoll, websocket::Subprotocol},
};

/// What the sessions of a listener carry with them.
pub(super) fn of(listener: &Listener) -> Compat {
    let switches = listener.compat.over(listener.profile);
    Compat {
        request_id_check: switches.request_id_check.map(|check| match check {
            config::RequestIdCheck::Strict => RequestIdCheck::Strict,
            config::RequestIdCheck::Lenient => RequestIdCheck::Lenient,
            config::RequestIdCheck::Off => RequestIdCheck::Off,
        }),
        timeout_unit: switches.timeout_unit.map(timeout_unit),
        error_uris: match switches.error_uris.unwrap_or_default() {
            config::ErrorUris::Wamp => ErrorUris::Wamp,
            config::ErrorUris::Autobahn => ErrorUris::Autobahn,
            config::ErrorUris::Crossbar => ErrorUris::Crossbar,
        },
        meta_results: match switches.meta_results.unwrap_or_default() {
            config::MetaResults::Wamp => MetaResults::Wamp,
            config::MetaResults::Crossbar => MetaResults::Crossbar,
        },
        on_leave: match switches.on_leave.unwrap_or_default() {
            config::OnLeave::Full => OnLeave::Full,
            config::OnLeave::Id => OnLeave::Id,
        },
        cancel_answer: match switches.cancel_answer.unwrap_or_default() {
            config::CancelAnswer::Always => CancelAnswer::Always,
            config::CancelAnswer::Kill => CancelAnswer::Kill,
        },
        revoked_silently: switches.revoked_subscriptions_told == Some(false),
        progress_without_canceling: switches.progress_without_canceling.unwrap_or(false),
    }
}

/// Whether its WebSocket clients have to name a subprotocol.
pub(super) fn subprotocol(listener: &Listener) -> Subprotocol {
    match listener.compat.over(listener.profile).subprotocol_required {
        Some(false) => Subprotocol::Optional,
        Some(true) | None => Subprotocol::Required,
    }
}

/// How it does long-poll, if it does.
pub(super) fn longpoll(listener: &Listener) -> Option<longpoll::Settings> {
    let taken = listener.compat.over(listener.profile).longpoll_taken;
    listener.longpoll.as_ref().map(|longpoll| longpoll::Settings {
        path: longpoll.path.clone(),
        wait: Duration::from_secs(longpoll.wait_secs),
        idle: Duration::from_secs(longpoll.idle_secs),
        taken: match taken {
            Some(204) => StatusCode::NO_CONTENT,
            _ => StatusCode::ACCEPTED,
        },
    })
}

/// In what time limits are counted.
pub(super) fn timeout_unit(unit: config::TimeoutUnit) -> TimeoutUnit {
    match unit {
        config::TimeoutUnit::Milliseconds => TimeoutUnit::Milliseconds,
        config::TimeoutUnit::Seconds => TimeoutUnit::Seconds,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_that_says_nothing_is_strict() {
        let listener = Listener::default();
        assert_eq!(
            (of(&listener), subprotocol(&listener)),
            (Compat::default(), Subprotocol::Required)
        );
    }

    #[test]
    fn long_poll_is_spoken_where_configured_and_says_204_to_autobahn() {
        let mut listener = Listener::default();
        assert_eq!(longpoll(&listener), None);
        listener.longpoll = Some(config::Longpoll::default());
        assert_eq!(longpoll(&listener), Some(longpoll::Settings::default()));
        listener.profile = config::Profile::Autobahn;
        assert_eq!(longpoll(&listener).unwrap().taken, StatusCode::NO_CONTENT);
        listener.compat.longpoll_taken = Some(202);
        assert_eq!(longpoll(&listener).unwrap().taken, StatusCode::ACCEPTED);
    }

    #[test]
    fn profiles_and_switches_come_through() {
        let mut listener = Listener {
            profile: config::Profile::Crossbar,
            ..Listener::default()
        };
        let crossbar = Compat {
            request_id_check: Some(RequestIdCheck::Lenient),
            timeout_unit: Some(TimeoutUnit::Seconds),
            error_uris: ErrorUris::Crossbar,
            meta_results: MetaResults::Crossbar,
            on_leave: OnLeave::Id,
            cancel_answer: CancelAnswer::Always,
            revoked_silently: true,
            progress_without_canceling: true,
        };
        assert_eq!((of(&listener), subprotocol(&listener)), (crossbar, Subprotocol::Optional));
        listener.compat.on_leave = Some(config::OnLeave::Full);
        listener.compat.subprotocol_required = Some(true);
        let mixed = Compat {
            on_leave: OnLeave::Full,
            ..crossbar
        };
        assert_eq!((of(&listener), subprotocol(&listener)), (mixed, Subprotocol::Required));
        listener = Listener {
            profile: config::Profile::Autobahn,
            ..Listener::default()
        };
        let autobahn = Compat {
            error_uris: ErrorUris::Autobahn,
            meta_results: MetaResults::Wamp,
            on_leave: OnLeave::Full,
            cancel_answer: CancelAnswer::Kill,
            ..crossbar
        };
        assert_eq!((of(&listener), subprotocol(&listener)), (autobahn, Subprotocol::Required));
    }
}
