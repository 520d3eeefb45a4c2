//! What subscribers ask for and nodes tell each other about: a topic, or a pattern of topics, or a shard of either.

use std::sync::Arc;

use super::MatchPolicy;
use crate::wamp::Uri;

/// The node key of a sharded subscription. Spec: WAMP advanced profile, "Sharded Subscription".
pub type Shard = Arc<str>;

/// The longest node key taken in a SUBSCRIBE, in bytes: it stands in tables of every node.
pub const SHARD_BYTES_MAX: usize = 255;

/// A key of interest: two subscribers of one node have equal keys exactly where one event is for both of them or for neither.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicKey {
    /// How the topic is compared.
    pub policy: MatchPolicy,
    /// The topic, or the pattern.
    pub uri: Uri,
    /// The node key of the subscribers; `None` for those without one.
    pub shard: Option<Shard>,
}

impl TopicKey {
    /// All events of one topic.
    pub fn exact(topic: impl Into<Uri>) -> Self {
        Self {
            policy: MatchPolicy::Exact,
            uri: topic.into(),
            shard: None,
        }
    }

    /// How many bytes its texts hold.
    pub fn text_bytes(&self) -> usize {
        self.uri.len() + self.shard.as_ref().map_or(0, |shard| shard.len())
    }
}

impl From<&str> for TopicKey {
    fn from(topic: &str) -> Self {
        Self::exact(topic)
    }
}
