//! Subscribers that do not keep up: which policy an event is under, and who is told when a session begins to lose events.
//!
//! Choice: WAMP names no meta event for this. Ours is [`TOPIC`], published on behalf of the session like an event of its own, so it
//! reaches subscribers on every node and not the session itself.

use super::Event;
use crate::{
    router::{MatchPolicy, Realm, SlowConsumer, TopicRule, pattern::Index, turn::Turn},
    wamp::{Dict, Payload, Serializer, SessionId, SubscriptionId, Uri, Value},
};

/// Tells that a session loses events: args `[session]`, kwargs `authid`, `authrole`, `subscription`, and `topic` and `match` of the
/// subscription whose event was lost. Once, until the session has caught up.
const TOPIC: &str = "ringfort.session.on_slow_consumer";

impl Realm {
    /// The policy of events of a topic.
    pub(super) fn slow_consumer(&self, topic: &str) -> SlowConsumer {
        match &self.broker.rules {
            None => SlowConsumer::default(),
            Some(rules) => rules.best(topic).copied().unwrap_or_default(),
        }
    }

    /// A session has begun to lose events.
    pub(in crate::router) fn on_slow_consumer(&mut self, turn: &mut Turn<'_>, session: SessionId, subscription: SubscriptionId) {
        let Some(info) = self.session_info(session) else {
            return;
        };
        let mut about = Dict::new()
            .with("authid", info.authid.as_str())
            .with("authrole", info.authrole.as_str())
            .with("subscription", subscription.get());
        if let Some(key) = self.broker.by_id.get(&subscription) {
            about.set("topic", key.uri.as_str());
            about.set("match", name(key.policy));
        }
        self.stats.slow_consumers += 1;
        let event = Event {
            publication: self.ids.publication(),
            topic: Uri::from(TOPIC),
            publisher: session,
            exclude_me: true,
            audience: None,
            details: Dict::new(),
            payload: Payload::from_values(Serializer::Json, &[Value::from(session.get())], &about),
        };
        self.publish(turn, event);
    }
}

fn name(policy: MatchPolicy) -> &'static str {
    match policy {
        MatchPolicy::Exact => "exact",
        MatchPolicy::Prefix => "prefix",
        MatchPolicy::Wildcard => "wildcard",
    }
}

/// The rules by topic; `None` if there are none. Of two rules for one pattern the later counts.
pub(super) fn index(rules: &[TopicRule]) -> Option<Box<Index<SlowConsumer>>> {
    if rules.is_empty() {
        return None;
    }
    let mut index = Index::default();
    for rule in rules {
        index.insert(rule.policy, &rule.uri, rule.slow);
    }
    Some(Box::new(index))
}
