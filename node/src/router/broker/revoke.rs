//! Ending a subscription that its session did not give up.
//!
//! Spec: WAMP advanced profile, "Subscription Revocation". A session that announced the feature is told by an UNSUBSCRIBED of request 0;
//! any other just hears nothing any more.

use crate::{
    router::{PeerFrame, Realm, SessionInfo, turn::Turn},
    wamp::{Dict, Message, SessionId, SubscriptionId, Uri},
};

impl Realm {
    /// Ends a subscription of a session of this or of another node, as far as a link to that node is up.
    pub(in crate::router) fn on_revoke_subscription(
        &mut self,
        turn: &mut Turn<'_>,
        session: SessionId,
        subscription: SubscriptionId,
        reason: Uri,
    ) {
        if self.sessions.get(session).is_some() {
            return self.revoke_here(turn, session, subscription, reason);
        }
        match self.registry.session(session).map(|row| row.node) {
            Some(node) if self.peers.contains(&node) => {
                let frame = PeerFrame::RevokeSubscription {
                    session,
                    subscription,
                    reason,
                };
                turn.forward(node, session, frame);
            }
            _ => self.stats.dropped_no_session += 1,
        }
    }

    /// Ends a subscription of a session of this node; nothing happens if there is none.
    pub(in crate::router) fn revoke_here(
        &mut self,
        turn: &mut Turn<'_>,
        session: SessionId,
        subscription: SubscriptionId,
        reason: Uri,
    ) {
        let Some(subscribed) = self.take_subscription(turn, session, subscription) else {
            self.stats.dropped_no_session += 1;
            return;
        };
        self.stats.subscriptions_revoked += 1;
        let is_told = |info: &SessionInfo| info.announced(FEATURE) && !info.compat.revoked_silently;
        if self.session_info(session).is_some_and(is_told) {
            let details = Dict::new()
                .with("subscription", subscription.get())
                .with("reason", reason.as_str());
            turn.send(session, Message::Unsubscribed { request: None, details });
        }
        self.remove_subscriber(turn, session, subscription, &subscribed);
    }
}

/// What a subscriber announces that can be told of a revocation.
const FEATURE: &str = "subscriber.subscription_revocation";
