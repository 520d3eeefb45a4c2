//! Retained events for those who subscribe.

use crate::{
    router::{Effect, MatchPolicy, Realm, pattern, turn::Turn},
    wamp::{Message, RequestId, SessionId, SubscriptionId, Uri, history::Asker},
};

impl Realm {
    /// Tells a session that it is subscribed, and what is retained if it asked for that.
    pub(in crate::router) fn subscribed(
        &mut self,
        turn: &mut Turn<'_>,
        session: SessionId,
        request: RequestId,
        subscription: SubscriptionId,
    ) {
        turn.send(session, Message::Subscribed { request, subscription });
        if !self.keeper.wanted.is_empty() && self.keeper.wanted.remove(&(session, request)) {
            self.replay(turn, session, subscription);
        }
    }

    fn replay(&mut self, turn: &mut Turn<'_>, session: SessionId, subscription: SubscriptionId) {
        let (Some(asker), Some((policy, uri))) = (self.asker(session), self.subscribed_pattern(subscription)) else {
            return;
        };
        let table = &self.keeper.retained;
        let events = match policy {
            MatchPolicy::Exact => table.newest_for(&uri, &asker).into_iter().collect(),
            MatchPolicy::Prefix => table.newest_of_all(&uri, |_| true, &asker),
            MatchPolicy::Wildcard => {
                // What stands before the first empty component is equal in all that match.
                let start = uri.split('.').take_while(|component| !component.is_empty());
                let start = start.fold(0, |end, component| end + component.len() + 1).min(uri.len());
                table.newest_of_all(&uri[..start], |topic| pattern::wildcard_matches(&uri, topic), &asker)
            }
        };
        self.stats.events += events.len() as u64;
        for event in events {
            let mut details = event.details.clone();
            if policy != MatchPolicy::Exact {
                details.set("topic", event.topic.as_str());
            }
            details.set("retained", true);
            let message = Message::Event {
                subscription,
                publication: event.stamp.publication,
                details,
                payload: event.payload.clone(),
            };
            turn.effects.push(Effect::Send { session, message });
        }
    }

    /// Who a session is to the lists of an event.
    pub(in crate::router) fn asker(&self, session: SessionId) -> Option<Asker> {
        let info = &self.sessions.get(session)?.info;
        Some(Asker {
            authid: info.authid.clone(),
            authrole: info.authrole.clone(),
        })
    }

    /// What a subscription of this node or of a linked one is about.
    pub(super) fn subscribed_pattern(&self, subscription: SubscriptionId) -> Option<(MatchPolicy, Uri)> {
        let here = self.broker.by_id.get(&subscription);
        here.map(|key| (key.policy, key.uri.clone()))
            .or_else(|| self.broker.far_by_id.get(&subscription).cloned())
    }
}
