//! `listener.profile` and `[listener.compat]`: clients that differ from the WAMP text.

use serde::{Deserialize, Serialize};

use super::TimeoutUnit;

/// What kind of clients come in by a listener.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// Such that do as the WAMP text says.
    #[default]
    Strict,
    /// Such that are built with Autobahn.
    Autobahn,
    /// Whole systems that were written for Crossbar.
    Crossbar,
}

/// Single switches for clients that differ from the WAMP text. What is not set here is as `listener.profile` has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Compat {
    /// How the ids of requests are checked. `strict`: 1, 2, 3 … as the text says; anything else ends the session, with this setting
    /// in the ABORT. `lenient`: any id that is not in flight. `off`: any; a request whose id is in flight is refused, since its
    /// answer could not be told apart. Default `strict`; `lenient` in the profiles `autobahn` and `crossbar`, for old clients
    /// draw ids at random, and wampy goes on counting when it reconnects.
    pub request_id_check: Option<RequestIdCheck>,
    /// In what these clients write and read time limits of calls: `ms` or `s`. Default as `realm.timeout_unit` says, which is `ms`
    /// like the text; `s` in the profiles `autobahn` and `crossbar`, since Autobahn documents seconds and Crossbar waits for seconds.
    /// The wrong unit is a factor of a thousand, either way.
    pub timeout_unit: Option<TimeoutUnit>,
    /// By which names these clients know some errors: `wamp` those of the text, `autobahn` the older ones that Autobahn has
    /// (`no_auth_method`, `authentication_failed`, `disclose_me.not_allowed`, `procedure_exists_with_different_invocation_policy`),
    /// `crossbar` those and `wamp.error.canceled` for a call that took too long, `crossbar.error.max_concurrency_reached` for
    /// callees that have enough to do. Default `wamp`; in the profiles as they are called.
    pub error_uris: Option<ErrorUris>,
    /// What some meta procedures answer. `wamp`: `kill_by_authrole` and `kill_all` how many sessions, `add_testament` and
    /// `flush_testaments` nothing. `crossbar`: the list of sessions, an id, and how many testaments. Default `wamp`; `crossbar` in
    /// the profile of that name.
    pub meta_results: Option<MetaResults>,
    /// The arguments of `wamp.session.on_leave`: `full` session id, authid and authrole, `id` the session id alone, as handlers
    /// expect that were written for Crossbar. Default `full`; `id` in the profile `crossbar`.
    pub on_leave: Option<OnLeave>,
    /// Which calls are answered once their caller has cancelled them. `always`: each, as the text says, by one ERROR. `kill`: those
    /// that are cancelled in mode `kill`; autobahn-js forgets a call that it cancels otherwise, and ends its session on an answer to
    /// it. Default `always`; `kill` in the profile `autobahn`.
    pub cancel_answer: Option<CancelAnswer>,
    /// Whether a subscriber that announces `subscription_revocation` hears of subscriptions that are taken from it. Default `true`;
    /// `false` in the profiles `autobahn` and `crossbar`, for autobahn-python announces it and ends its session when it hears so.
    pub revoked_subscriptions_told: Option<bool>,
    /// Whether a callee may send its result in parts that announces `progressive_call_results` without `call_canceling`. The text
    /// wants both. Default `false`; `true` in the profiles `autobahn` and `crossbar`, for autobahn-js announces the former alone.
    pub progress_without_canceling: Option<bool>,
    /// Whether a WebSocket client has to name a subprotocol. `false`: one that names none speaks `wamp.2.json`, as Crossbar's
    /// `require_websocket_subprotocol = false` has it. Default `true`; `false` in the profile `crossbar`.
    pub subprotocol_required: Option<bool>,
    /// By which HTTP status a long-poll client is told that its message was taken: 202, as the text says, or 204, as Crossbar says and
    /// autobahn-js wants it. Default 202; 204 in the profiles `autobahn` and `crossbar`.
    pub longpoll_taken: Option<u16>,
}

/// How request ids are checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RequestIdCheck {
    /// 1, 2, 3 …
    #[default]
    Strict,
    /// Any that is not in flight.
    Lenient,
    /// Any.
    Off,
}

/// By which names errors are told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ErrorUris {
    /// Those of the text.
    #[default]
    Wamp,
    /// Autobahn's.
    Autobahn,
    /// Crossbar's.
    Crossbar,
}

/// Whose results meta procedures give.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum MetaResults {
    /// Those of the text.
    #[default]
    Wamp,
    /// Crossbar's.
    Crossbar,
}

/// What subscribers hear of sessions that leave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum OnLeave {
    /// Session id, authid, authrole.
    #[default]
    Full,
    /// The session id.
    Id,
}

/// Which cancelled calls are answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CancelAnswer {
    /// All.
    #[default]
    Always,
    /// Those in mode `kill`.
    Kill,
}

impl Profile {
    /// The switches that the profile sets.
    pub fn switches(self) -> Compat {
        match self {
            Self::Strict => Compat::default(),
            Self::Autobahn => Compat {
                request_id_check: Some(RequestIdCheck::Lenient),
                timeout_unit: Some(TimeoutUnit::Seconds),
                error_uris: Some(ErrorUris::Autobahn),
                cancel_answer: Some(CancelAnswer::Kill),
                revoked_subscriptions_told: Some(false),
                progress_without_canceling: Some(true),
                longpoll_taken: Some(204),
                ..Compat::default()
            },
            Self::Crossbar => Compat {
                request_id_check: Some(RequestIdCheck::Lenient),
                timeout_unit: Some(TimeoutUnit::Seconds),
                error_uris: Some(ErrorUris::Crossbar),
                meta_results: Some(MetaResults::Crossbar),
                on_leave: Some(OnLeave::Id),
                cancel_answer: None,
                revoked_subscriptions_told: Some(false),
                progress_without_canceling: Some(true),
                subprotocol_required: Some(false),
                longpoll_taken: Some(204),
            },
        }
    }
}

impl Compat {
    /// These switches, and where one is not set, that of the profile.
    pub fn over(&self, profile: Profile) -> Self {
        let switches = profile.switches();
        Self {
            request_id_check: self.request_id_check.or(switches.request_id_check),
            timeout_unit: self.timeout_unit.or(switches.timeout_unit),
            error_uris: self.error_uris.or(switches.error_uris),
            meta_results: self.meta_results.or(switches.meta_results),
            on_leave: self.on_leave.or(switches.on_leave),
            cancel_answer: self.cancel_answer.or(switches.cancel_answer),
            revoked_subscriptions_told: self.revoked_subscriptions_told.or(switches.revoked_subscriptions_told),
            progress_without_canceling: self.progress_without_canceling.or(switches.progress_without_canceling),
            subprotocol_required: self.subprotocol_required.or(switches.subprotocol_required),
            longpoll_taken: self.longpoll_taken.or(switches.longpoll_taken),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_strict_profile_sets_nothing() {
        assert_eq!(Profile::default().switches(), Compat::default());
    }

    #[test]
    fn a_switch_goes_before_the_profile() {
        let compat = Compat {
            request_id_check: Some(RequestIdCheck::Off),
            timeout_unit: Some(TimeoutUnit::Milliseconds),
            error_uris: Some(ErrorUris::Wamp),
            meta_results: Some(MetaResults::Wamp),
            on_leave: Some(OnLeave::Full),
            cancel_answer: Some(CancelAnswer::Always),
            revoked_subscriptions_told: Some(true),
            progress_without_canceling: Some(false),
            subprotocol_required: Some(true),
            longpoll_taken: Some(202),
        };
        assert_eq!(compat.over(Profile::Crossbar), compat);
        assert_eq!(Compat::default().over(Profile::Crossbar), Profile::Crossbar.switches());
        let one = Compat {
            on_leave: Some(OnLeave::Full),
            ..Compat::default()
        };
        let over = one.over(Profile::Crossbar);
        assert_eq!(
            (over.on_leave, over.meta_results),
            (Some(OnLeave::Full), Some(MetaResults::Crossbar))
        );
    }
}
