//! What becomes of events that a subscriber does not take as fast as they come.

use super::MatchPolicy;
use crate::wamp::Uri;

/// What gives way when a session's outbox is full of events (setting `slow_consumer` of a topic).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SlowConsumer {
    /// The new event.
    #[default]
    DropNewest,
    /// The oldest event that waits: what the subscriber gets in the end is the newest.
    DropOldest,
    /// As [`Self::DropOldest`], and of events with one key only the newest waits. The key is the event's topic and, where the
    /// publisher gives it, PUBLISH.Options `_key`.
    KeepLast,
    /// The session: who must not miss an event and misses one has to begin anew.
    EndSession,
}

/// A topic, or a pattern of topics, whose events are not to be treated as others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicRule {
    /// How topics are compared with `uri`. Of several rules that match, the best counts, as with registrations.
    pub policy: MatchPolicy,
    /// The topic or pattern.
    pub uri: Uri,
    /// What gives way.
    pub slow: SlowConsumer,
}
