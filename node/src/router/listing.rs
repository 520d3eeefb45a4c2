//! What lists of the administration interface show of a realm, page by page, and what one entry of them is. Nothing here changes
//! anything, and none of it holds more rows than a page has.

use std::{collections::BinaryHeap, num::NonZeroU32};

use super::{
    MatchPolicy, Realm, SessionInfo,
    registry::{Registration, Registry, SessionRow},
    session_table::Session,
};
use crate::wamp::{RegistrationId, SessionId, SubscriptionId, Uri};

/// What a session of this node has and does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionState {
    /// Registrations it is a callee of.
    pub registrations: usize,
    /// Subscriptions, those included that wait for SUBSCRIBED.
    pub subscriptions: usize,
    /// Calls without a final answer, parked ones included.
    pub open_calls: usize,
    /// Invocations it has not finished.
    pub open_invocations: usize,
    /// The id of its last request.
    pub last_request: u64,
    /// Invocations it was ever sent.
    pub invocations: u64,
}

/// What a callee of this node does for one registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CalleeState {
    /// Invocations of it without a final answer.
    pub open: usize,
    /// How many it takes at once; `None`: any number.
    pub concurrency: Option<NonZeroU32>,
}

/// A subscription as this node knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscriptionState {
    /// Its id, equal on every node.
    pub id: SubscriptionId,
    /// How topics are compared.
    pub policy: MatchPolicy,
    /// With what.
    pub uri: Uri,
    /// When the first of the present subscribers of this node came, milliseconds since 1970 (UTC).
    pub created_ms: u64,
    /// How many of this node's sessions have heard SUBSCRIBED.
    pub subscribers: usize,
}

impl Registry {
    /// Up to `max` sessions after `after` that `wanted` says are wanted, by id, after a look at no more than `looks`; and the last one
    /// that was looked at, if there are more behind it. Neither bound is 0.
    pub fn sessions_after(
        &self,
        after: Option<SessionId>,
        max: usize,
        looks: usize,
        mut wanted: impl FnMut(SessionId, &SessionRow) -> bool,
    ) -> (Vec<(SessionId, SessionRow)>, Option<SessionId>) {
        let (mut found, mut last) = (Vec::new(), None);
        for (looked, (id, row)) in self.session_range(after).enumerate() {
            if found.len() == max || looked == looks {
                return (found, last);
            }
            if wanted(id, row) {
                found.push((id, row.clone()));
            }
            last = Some(id);
        }
        (found, None)
    }

    /// Up to `max` registrations after `after` that `wanted` says are wanted, by id.
    pub fn registrations_after(
        &self,
        after: Option<RegistrationId>,
        max: usize,
        wanted: impl Fn(&Registration) -> bool,
    ) -> Vec<RegistrationId> {
        let later = self
            .registrations_unordered()
            .filter(|one| after.is_none_or(|after| one.id > after));
        smallest(later.filter(|one| wanted(one)).map(|one| one.id), max)
    }
}

impl Realm {
    /// What a session of this node has and does.
    pub fn session_state(&self, session: SessionId) -> Option<SessionState> {
        self.sessions.get(session).map(|session| SessionState {
            registrations: session.registrations.len(),
            subscriptions: session.subscriptions.len(),
            open_calls: session.calls.len() + session.parked.len(),
            open_invocations: session.invocations.len(),
            last_request: session.last_request,
            invocations: session.last_invocation,
        })
    }

    /// Up to `max` sessions of this node after `after` that `wanted` says are wanted, by id.
    pub fn own_sessions_after(
        &self,
        after: Option<SessionId>,
        max: usize,
        wanted: impl Fn(SessionId, &SessionInfo) -> bool,
    ) -> Vec<SessionId> {
        let later = self.sessions.iter().filter(|(id, _)| after.is_none_or(|after| *id > after));
        let wanted = later.filter(|(id, session): &(SessionId, &Session)| wanted(*id, &session.info));
        smallest(wanted.map(|(id, _)| id), max)
    }

    /// What the callees of a registration that are sessions of this node do.
    pub fn callee_states(&self, registration: RegistrationId) -> Vec<(SessionId, CalleeState)> {
        let Some(found) = self.registry.registration(registration) else {
            return Vec::new();
        };
        let own = found.callees.iter().filter(|callee| callee.node == self.me);
        let state = |session: &Session| CalleeState {
            open: session.invocations.open_of(registration),
            concurrency: session.invocations.bound_of(registration),
        };
        own.filter_map(|callee| Some((callee.session, state(self.sessions.get(callee.session)?))))
            .collect()
    }

    /// Up to `max` subscriptions with subscribers on this node after `after` that `wanted` says are wanted, by id.
    pub fn subscriptions_after(
        &self,
        after: Option<SubscriptionId>,
        max: usize,
        wanted: impl Fn(&Uri) -> bool,
    ) -> Vec<SubscriptionState> {
        let later = self.broker.by_id.iter().filter(|(id, key)| {
            after.is_none_or(|after| **id > after) && wanted(&key.uri) && self.subscribed_since(**id).is_some()
        });
        let ids = smallest(later.map(|(id, _)| *id), max);
        ids.into_iter().filter_map(|id| self.subscription_state(id)).collect()
    }

    /// One subscription with subscribers on this node.
    pub fn subscription_state(&self, id: SubscriptionId) -> Option<SubscriptionState> {
        let key = self.broker.by_id.get(&id)?;
        let topic = self.broker.topics.get(key.policy, &key.uri)?;
        Some(SubscriptionState {
            id,
            policy: key.policy,
            uri: key.uri.clone(),
            created_ms: self.subscribed_since(id)?,
            subscribers: topic.groups().map(|(_, group)| group.active.len()).sum(),
        })
    }

    /// Up to `max` of the sessions of this node that have heard SUBSCRIBED of it.
    pub fn subscribers_of(&self, id: SubscriptionId, max: usize) -> Vec<SessionId> {
        let key = self.broker.by_id.get(&id);
        let topic = key.and_then(|key| self.broker.topics.get(key.policy, &key.uri));
        let all = topic
            .into_iter()
            .flat_map(|topic| topic.groups().flat_map(|(_, group)| group.active.values().copied()));
        all.take(max).collect()
    }

    /// The id of the subscription of a URI under a match policy, whether there is one or not.
    pub fn subscription_id(&self, policy: MatchPolicy, uri: &Uri) -> SubscriptionId {
        self.ids.subscription(policy, uri)
    }

    /// What a subscription of this node is of.
    pub fn topic_of(&self, subscription: SubscriptionId) -> Option<&Uri> {
        self.broker.by_id.get(&subscription).map(|key| &key.uri)
    }
}

/// The `max` smallest, in their order, while no more than that are held.
fn smallest<T: Ord>(items: impl Iterator<Item = T>, max: usize) -> Vec<T> {
    let mut heap = BinaryHeap::new();
    for item in items {
        if heap.len() < max {
            heap.push(item);
        } else if let Some(mut largest) = heap.peek_mut()
            && item < *largest
        {
            *largest = item;
        }
    }
    heap.into_sorted_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_come_in_their_order() {
        let items = [5, 1, 4, 2, 3];
        for (max, expected) in [(0, vec![]), (2, vec![1, 2]), (9, vec![1, 2, 3, 4, 5])] {
            assert_eq!(smallest(items.into_iter(), max), expected);
        }
    }
}
