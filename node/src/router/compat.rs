//! How a session is met whose client was written for another router than the text describes.
//!
//! Owns: what a listener's settings say about the sessions that come in by it ([`Compat`]), and what that makes of error URIs. Does
//! not own where each switch takes effect: that is beside the rule which it bends. Every default is what the text says, or what the
//! realm says where the realm has a setting of its own.

use super::{RequestIdCheck, TimeoutUnit};
use crate::wamp::{Dict, error_uri};

/// The switches of one listener, kept with every session that came in by it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compat {
    /// How the ids of its requests are checked; `None`: as the realm has it.
    pub request_id_check: Option<RequestIdCheck>,
    /// In what it writes and reads time limits; `None`: as the realm has it.
    pub timeout_unit: Option<TimeoutUnit>,
    /// By which names it knows some errors.
    pub error_uris: ErrorUris,
    /// What some meta procedures answer.
    pub meta_results: MetaResults,
    /// What it hears of sessions that leave.
    pub on_leave: OnLeave,
    /// Which calls are still answered once they were cancelled.
    pub cancel_answer: CancelAnswer,
    /// It does not hear of subscriptions that are taken from it, though it announced that it can.
    pub revoked_silently: bool,
    /// A callee may answer in parts although it did not announce that it can be told to give up.
    pub progress_without_canceling: bool,
}

/// By which names errors of the router are told (setting `error_uris`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ErrorUris {
    /// Those of the text.
    #[default]
    Wamp,
    /// Where they differ, those that Autobahn knows, which are of older texts.
    Autobahn,
    /// Those, and what Crossbar calls a call that took too long and a callee that has enough to do.
    Crossbar,
}

/// What meta procedures answer whose results differ between the text and Crossbar (setting `meta_results`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MetaResults {
    /// What the text says.
    #[default]
    Wamp,
    /// `kill_by_authrole` and `kill_all` the list of sessions, `add_testament` an id, `flush_testaments` how many there were.
    Crossbar,
}

/// The arguments of `wamp.session.on_leave` (setting `on_leave`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnLeave {
    /// Session id, authid and authrole.
    #[default]
    Full,
    /// The session id alone.
    Id,
}

/// Which calls are still answered once their caller has cancelled them (setting `cancel_answer`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CancelAnswer {
    /// All of them, with one ERROR.
    #[default]
    Always,
    /// Those in mode `kill` alone. Some clients forget a call when they cancel it otherwise, and end on an answer to it.
    Kill,
}

impl ErrorUris {
    /// The name of an error of the router; `details` are those of the ERROR.
    pub fn name<'a>(self, error: &'a str, details: &Dict) -> &'a str {
        match self {
            Self::Wamp => match error {
                POLICY_CONFLICT => error_uri::PROCEDURE_ALREADY_EXISTS,
                other => other,
            },
            Self::Autobahn => older(error),
            Self::Crossbar => match error {
                error_uri::TIMEOUT => error_uri::CANCELED,
                error_uri::NO_AVAILABLE_CALLEE if details.text("_reason") == Some(MAX_CONCURRENCY) => {
                    "crossbar.error.max_concurrency_reached"
                }
                other => older(other),
            },
        }
    }
}

/// `_reason` of a call whose callees all have as many open invocations as they asked for.
pub(super) const MAX_CONCURRENCY: &str = "max_concurrency_reached";

/// REGISTER of a shared procedure by another policy than it has. The text has one error for all that is registered already.
pub(super) const POLICY_CONFLICT: &str = "wamp.error.procedure_exists_with_different_invocation_policy";

fn older(error: &str) -> &str {
    match error {
        error_uri::DISCLOSE_ME_DISALLOWED => "wamp.error.disclose_me.not_allowed",
        error_uri::NO_MATCHING_AUTH_METHOD => "wamp.error.no_auth_method",
        error_uri::AUTHENTICATION_DENIED => error_uri::AUTHENTICATION_FAILED,
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_have_the_names_of_the_text_unless_a_listener_says_otherwise() {
        let none = Dict::new();
        let busy = Dict::new().with("_reason", MAX_CONCURRENCY);
        for (error, details, autobahn, crossbar) in [
            (error_uri::CANCELED, &none, error_uri::CANCELED, error_uri::CANCELED),
            (POLICY_CONFLICT, &none, POLICY_CONFLICT, POLICY_CONFLICT),
            (error_uri::TIMEOUT, &none, error_uri::TIMEOUT, error_uri::CANCELED),
            (
                error_uri::DISCLOSE_ME_DISALLOWED,
                &none,
                "wamp.error.disclose_me.not_allowed",
                "wamp.error.disclose_me.not_allowed",
            ),
            (
                error_uri::NO_MATCHING_AUTH_METHOD,
                &none,
                "wamp.error.no_auth_method",
                "wamp.error.no_auth_method",
            ),
            (
                error_uri::AUTHENTICATION_DENIED,
                &none,
                "wamp.error.authentication_failed",
                "wamp.error.authentication_failed",
            ),
            (
                error_uri::NO_AVAILABLE_CALLEE,
                &none,
                error_uri::NO_AVAILABLE_CALLEE,
                error_uri::NO_AVAILABLE_CALLEE,
            ),
            (
                error_uri::NO_AVAILABLE_CALLEE,
                &busy,
                error_uri::NO_AVAILABLE_CALLEE,
                "crossbar.error.max_concurrency_reached",
            ),
        ] {
            let text = if error == POLICY_CONFLICT {
                error_uri::PROCEDURE_ALREADY_EXISTS
            } else {
                error
            };
            assert_eq!(ErrorUris::Wamp.name(error, details), text);
            assert_eq!(ErrorUris::Autobahn.name(error, details), autobahn);
            assert_eq!(ErrorUris::Crossbar.name(error, details), crossbar);
        }
    }
}
