//! How sessions and handshakes end, as metrics name it.

use super::outbox::End;
use crate::telemetry::{self, Values, names};

/// A connection was told ABORT before a session was established; `reason` is what it was told.
pub(super) fn refused(reason: &str) {
    let last = reason.rsplit('.').next().unwrap_or_default();
    let known = match names::HANDSHAKES_REFUSED.labels[0].values {
        Values::OneOf(values) => values.iter().find(|value| **value == last),
        Values::PerEach(_) => None,
    };
    telemetry::count(&names::HANDSHAKES_REFUSED, &[known.copied().unwrap_or("other")]);
}

/// A session ended for `reason`, one of those of [`names::SESSIONS_ENDED`].
pub(super) fn ended(reason: &'static str) {
    telemetry::count(&names::SESSIONS_ENDED, &[reason]);
}

/// Why a session ended that did not end itself, from what its outbox was told and whether the connection is lost.
pub(super) fn reason(end: Option<&End>, lost: bool) -> &'static str {
    match end {
        Some(End::SlowConsumer) => "slow_consumer",
        Some(End::Goodbye(_) | End::Revoked(_) | End::SentAway { .. } | End::Killed { .. }) => "killed",
        Some(End::Aborted) => "protocol_violation",
        Some(End::Broken) => "lost",
        None if lost => "lost",
        None => "closed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_end_has_a_reason_that_the_metric_knows() {
        let ends = [
            None,
            Some(End::Aborted),
            Some(End::SlowConsumer),
            Some(End::Broken),
            Some(End::Goodbye("wamp.close.system_shutdown".into())),
            Some(End::Killed {
                reason: "wamp.close.killed".into(),
                text: None,
            }),
        ];
        let Values::OneOf(known) = names::SESSIONS_ENDED.labels[0].values else {
            panic!("a bounded label")
        };
        for end in &ends {
            for lost in [false, true] {
                let reason = reason(end.as_ref(), lost);
                assert!(known.contains(&reason), "{reason}");
            }
        }
        assert_eq!((reason(None, true), reason(None, false)), ("lost", "closed"));
    }
}
