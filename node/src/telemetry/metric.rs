//! What a metric is: a name, a kind, labels with bounds, and a sentence that says what it means.

use std::borrow::Cow;

/// A metric.
#[derive(Clone, Debug, PartialEq)]
pub struct Metric {
    /// Its name, with the unit and `_total` at the end as Prometheus has it.
    pub name: Cow<'static, str>,
    /// What kind it is.
    pub kind: Kind,
    /// By what it is told apart.
    pub labels: &'static [Label],
    /// What it says, in a sentence.
    pub help: Cow<'static, str>,
}

/// What a metric does over time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// It grows until the process, or what it counts, begins anew.
    Counter,
    /// It goes up and down.
    Gauge,
    /// It counts values below these bounds.
    Histogram(&'static [f64]),
}

/// By what a metric is told apart.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Label {
    /// Its name.
    pub name: &'static str,
    /// The values it can have.
    pub values: Values,
}

/// The values of a label.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Values {
    /// These.
    OneOf(&'static [&'static str]),
    /// As many as there are of that, in words.
    PerEach(&'static str),
}

/// Metrics that belong together.
#[derive(Clone, Copy, Debug)]
pub struct Group {
    /// What they are about.
    pub title: &'static str,
    /// They.
    pub metrics: &'static [&'static Metric],
}

pub(super) const fn metric(kind: Kind, name: &'static str, labels: &'static [Label], help: &'static str) -> Metric {
    Metric {
        name: Cow::Borrowed(name),
        kind,
        labels,
        help: Cow::Borrowed(help),
    }
}

pub(super) const fn one_of(name: &'static str, values: &'static [&'static str]) -> Label {
    Label {
        name,
        values: Values::OneOf(values),
    }
}

pub(super) const fn per_each(name: &'static str, of: &'static str) -> Label {
    Label {
        name,
        values: Values::PerEach(of),
    }
}
