//! A span: one step of a trace, from its beginning to its end.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::random;
use crate::wamp::TraceContext;

/// One step of a trace.
#[derive(Clone, Debug)]
pub struct Span {
    pub(super) trace: [u8; 16],
    pub(super) id: [u8; 8],
    pub(super) parent: Option<[u8; 8]>,
    /// The step that has caused it was taken elsewhere.
    pub(super) parent_is_remote: bool,
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    /// Nanoseconds since 1970 (UTC), by this node's clock.
    pub(super) start: u64,
    pub(super) took: Duration,
    pub(super) attributes: Vec<(&'static str, Attribute)>,
    pub(super) events: Vec<(Duration, &'static str)>,
    /// What went wrong.
    pub(super) error: Option<String>,
    begun: Instant,
}

/// What a step is to those who take part in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Somebody has asked for it and waits.
    Server,
    /// Somebody is asked, and waited for.
    Client,
    /// Somebody has sent it and does not wait.
    Producer,
    /// It is handed to whom it is for.
    Consumer,
}

/// A value that a span carries.
#[derive(Clone, Debug, PartialEq)]
pub enum Attribute {
    /// A text.
    Text(String),
    /// A number.
    Number(u64),
}

impl From<&str> for Attribute {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<u64> for Attribute {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

impl Span {
    /// A step of `trace` that begins now, caused by the span `parent` of this node, if by any.
    pub fn begin(name: &'static str, kind: Kind, trace: [u8; 16], parent: Option<[u8; 8]>) -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            trace,
            id: random(),
            parent,
            parent_is_remote: false,
            name,
            kind,
            start: u64::try_from(since.as_nanos()).unwrap_or(u64::MAX),
            took: Duration::ZERO,
            attributes: Vec::new(),
            events: Vec::new(),
            error: None,
            begun: Instant::now(),
        }
    }

    /// The same, caused by what somebody else has told of.
    pub fn continued(name: &'static str, kind: Kind, from: TraceContext) -> Self {
        Self {
            parent_is_remote: true,
            ..Self::begin(name, kind, from.trace, Some(from.span))
        }
    }

    /// The same span with one more value.
    #[must_use]
    pub fn with(mut self, key: &'static str, value: impl Into<Attribute>) -> Self {
        self.attributes.push((key, value.into()));
        self
    }

    /// Adds a value.
    pub fn add(&mut self, key: &'static str, value: impl Into<Attribute>) {
        self.attributes.push((key, value.into()));
    }

    /// Something happens on the way. The first few are kept.
    pub fn event(&mut self, name: &'static str) {
        if self.events.len() < EVENTS_MAX {
            self.events.push((self.begun.elapsed(), name));
        }
    }

    /// It is over; `error` says what went wrong, if something did.
    #[must_use]
    pub fn end(mut self, error: Option<&str>) -> Self {
        self.took = self.begun.elapsed();
        self.error = error.map(str::to_owned);
        self
    }

    /// How long it has lasted by now.
    pub fn age(&self) -> Duration {
        self.begun.elapsed()
    }
}

/// A call may be sent to many callees, one after the other.
const EVENTS_MAX: usize = 16;
