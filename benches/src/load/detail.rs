//! What only one scenario measures, beside the figures that all of them have.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{churn::Churn, idle::Idle, register::Register, soak::report::Soak, storm::report::Storm};

/// The scenario's own figures, under its name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Detail {
    /// Memory of sessions that are only there.
    Idle(Idle),
    /// Sessions that come and go.
    Churn(Churn),
    /// Registrations that come and go.
    Register(Box<Register>),
    /// Sessions that came back after their node was killed.
    Storm(Box<Storm>),
    /// Hours of mixed load.
    Soak(Box<Soak>),
}

impl Detail {
    /// Why the run fails whatever the history says; empty if it does not.
    pub fn complaints(&self) -> Vec<String> {
        match self {
            Detail::Idle(idle) => idle.complaints(),
            Detail::Churn(churn) => churn.complaints(),
            Detail::Register(register) => register.complaints(),
            Detail::Storm(storm) => storm.complaints(),
            Detail::Soak(soak) => soak.complaints(),
        }
    }

    /// The figure that the scenario is about, with its unit, for tables.
    pub fn figure(&self) -> Option<(f64, &'static str)> {
        match self {
            Detail::Idle(idle) => Some((idle.per_session?.rss_kib, "KiB RSS/session")),
            Detail::Churn(churn) => Some((churn.memory.as_ref()?.growth_kib, "KiB RSS growth")),
            Detail::Register(register) => Some((register.quiet.as_ref()?.ratio?, "× (3 fsync + 2 round trips)")),
            Detail::Storm(storm) => Some((storm.back_100_secs?, "s until all were back")),
            Detail::Soak(soak) => Some((soak.memory.worst_slope()?, "KiB RSS/hour")),
        }
    }

    /// What the run cost, where that is not CPU time per operation.
    pub fn cost(&self) -> Option<f64> {
        match self {
            Detail::Idle(idle) => Some(idle.per_session?.rss_kib),
            Detail::Churn(_) | Detail::Register(_) => None,
            Detail::Storm(storm) => storm.router_cpu_us_per_rejoin,
            Detail::Soak(_) => None,
        }
    }
}

impl fmt::Display for Detail {
    /// Lines of the human report, each ended by a line feed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Detail::Idle(idle) => idle.fmt(f)?,
            Detail::Churn(churn) => churn.fmt(f)?,
            Detail::Register(register) => register.fmt(f)?,
            Detail::Storm(storm) => storm.fmt(f)?,
            Detail::Soak(soak) => soak.fmt(f)?,
        }
        for complaint in self.complaints() {
            writeln!(f, "  wrong       {complaint}")?;
        }
        Ok(())
    }
}
