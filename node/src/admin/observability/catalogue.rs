//! The counters of the core as metrics, and the page that lists all of them.
//!
//! The core's counters are named by the core (`router/stats.rs`): each `name` there is `ringfort_realm_name_total`, and those that begin
//! with `dropped_` are one metric with a reason. A counter that is added there is a metric without anything to be done here.

use std::{borrow::Cow, sync::OnceLock};

use crate::{
    router::Stats,
    telemetry::{Kind, Label, Metric, Values, names},
};

/// The counters of a realm's core.
pub(super) struct Core {
    /// In the order of [`Stats::values`].
    pub(super) counters: Vec<Counter>,
    /// What [`Counter::Dropped`] is a reason of.
    pub(super) dropped: Metric,
}

/// One of them.
pub(super) enum Counter {
    /// A metric of its own.
    Own(Metric),
    /// A reason for dropping a message.
    Dropped(&'static str),
}

const BY_REALM: &[Label] = &[names::REALM];
const BY_REASON: &[Label] = &[
    names::REALM,
    Label {
        name: "reason",
        values: Values::PerEach("reason below"),
    },
];

/// Made once: a scrape needs all of them.
pub(super) fn core() -> &'static Core {
    static CORE: OnceLock<Core> = OnceLock::new();
    CORE.get_or_init(|| {
        let counter = |(name, help): &(&'static str, &'static str)| match name.strip_prefix("dropped_") {
            Some(reason) => Counter::Dropped(reason),
            None => Counter::Own(Metric {
                name: Cow::Owned(format!("ringfort_realm_{name}_total")),
                kind: Kind::Counter,
                labels: BY_REALM,
                help: Cow::Borrowed(help.trim()),
            }),
        };
        Core {
            counters: Stats::NAMES.iter().map(counter).collect(),
            dropped: Metric {
                name: Cow::Borrowed("ringfort_realm_dropped_total"),
                kind: Kind::Counter,
                labels: BY_REASON,
                help: Cow::Borrowed("Messages and frames that the core dropped, by reason."),
            },
        }
    })
}

#[cfg(test)]
mod tests;
