//! Sharded subscriptions: which of a topic's node keys an event with a resource key goes to.
//!
//! Spec: WAMP advanced profile, "Sharded Subscription" (a sketch: it names SUBSCRIBE.Options.nkey and PUBLISH.Options.rkey and says
//! no more than that the broker partitions).
//! Choice: of all node keys that a subscription has in the cluster, a resource key belongs to one, by rendezvous hashing: the one whose
//! hash with the resource key is largest. So the same resource key goes to the same node key from every node and in every topic, and
//! a node key that comes or goes moves none but its own. The publisher's node chooses, by what it knows of the others, and says so in
//! the event; so an event is never for two shards of a subscription. Subscribers without a node key get every event, and an event
//! without a resource key is for all node keys. While a node key comes or goes an event can miss it, as it could miss a subscriber.

use std::collections::BTreeMap;

use super::Audience;
use crate::{
    router::{Realm, Shard},
    wamp::SubscriptionId,
};

impl Realm {
    /// Has an event with a resource key go to one shard of each subscription that has some.
    pub(super) fn choose_shards<'s>(&'s self, topic: &str, resource: &str, audience: &mut Audience) {
        let mut chosen: BTreeMap<SubscriptionId, (u64, &'s Shard)> = BTreeMap::new();
        let mut consider = |subscription: SubscriptionId, shard: &'s Shard| {
            // Equal hashes are decided by the key, so that every node decides alike.
            let candidate = (self.ids.shard_weight(resource, shard), shard);
            let best = chosen.entry(subscription).or_insert(candidate);
            *best = candidate.max(*best);
        };
        for here in self.broker.topics.matches(topic) {
            let ready = here.shards.iter().filter(|(_, group)| !group.active.is_empty());
            ready.for_each(|(shard, _)| consider(here.id, shard));
        }
        for elsewhere in self.broker.interested.matches(topic) {
            elsewhere.shards.keys().for_each(|shard| consider(elsewhere.id, shard));
        }
        audience.shards = Some(chosen.into_iter().map(|(id, (_, shard))| (id, shard.clone())).collect());
    }
}
