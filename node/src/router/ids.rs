//! Where the ids of a realm come from.
//!
//! Invariants: the same seed gives the same publication ids; a subscription id depends on the cluster's key, realm, policy and
//! topic alone, so every node gives a topic the same id without asking.
//!
//! Spec: WAMP basic profile, "IDs". Registration ids come from the registry, request ids of invocations from the session table.

use std::hash::Hasher;

use siphasher::sip::SipHasher24;

use super::MatchPolicy;
use crate::wamp::{PublicationId, SubscriptionId, Uri, id::ID_MAX};

/// The realm's source of ids.
#[derive(Debug)]
pub(super) struct IdSource {
    state: u64,
    key: [u8; 16],
    realm: Uri,
}

impl IdSource {
    /// A source whose publication ids follow from `seed` and whose subscription ids follow from `key`.
    pub(super) fn new(seed: u64, key: [u8; 16], realm: Uri) -> Self {
        Self { state: seed, key, realm }
    }

    /// Replaces the key: the cluster has told it.
    pub(super) fn set_key(&mut self, key: [u8; 16]) {
        self.key = key;
    }

    /// The next publication id, uniform over the whole range.
    pub(super) fn publication(&mut self) -> PublicationId {
        // SplitMix64: one addition and a finalizer whose every output bit depends on every state bit.
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        PublicationId::new(fold(mix(self.state))).expect("fold stays in the id range")
    }

    /// The publication id of an event that every node derives from the same facts.
    pub(super) fn derived(&self, topic: &str, facts: &[u64]) -> PublicationId {
        let mut hasher = SipHasher24::new_with_key(&self.key);
        hasher.write(&(self.realm.len() as u64).to_le_bytes());
        hasher.write(self.realm.as_bytes());
        hasher.write(topic.as_bytes());
        // No text holds this byte, so topic and facts cannot be taken for each other.
        hasher.write(&[0xff]);
        facts.iter().for_each(|fact| hasher.write(&fact.to_le_bytes()));
        PublicationId::new(fold(hasher.finish())).expect("fold stays in the id range")
    }

    /// The id of the subscription of `topic` under `policy`.
    pub(super) fn subscription(&self, policy: MatchPolicy, topic: &str) -> SubscriptionId {
        let mut hasher = SipHasher24::new_with_key(&self.key);
        // The realm's length separates realm and topic; the policy has a fixed width.
        hasher.write(&(self.realm.len() as u64).to_le_bytes());
        hasher.write(self.realm.as_bytes());
        hasher.write(&[policy.code()]);
        hasher.write(topic.as_bytes());
        SubscriptionId::new(fold(hasher.finish())).expect("fold stays in the id range")
    }

    /// How well a resource key and a node key of a sharded subscription go together; the same on every node.
    pub(super) fn shard_weight(&self, resource: &str, shard: &str) -> u64 {
        let mut hasher = SipHasher24::new_with_key(&self.key);
        hasher.write(&(resource.len() as u64).to_le_bytes());
        hasher.write(resource.as_bytes());
        hasher.write(shard.as_bytes());
        hasher.finish()
    }
}

/// The finalizer of SplitMix64: every bit of the answer depends on every bit of `z`.
pub(super) fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Maps 64 random bits to 1..=2^53, each equally likely.
fn fold(bits: u64) -> u64 {
    (bits & (ID_MAX - 1)) + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_publications_and_another_seed_others() {
        let take = |seed| {
            let mut ids = IdSource::new(seed, [0; 16], Uri::from("r"));
            [ids.publication(), ids.publication(), ids.publication()]
        };
        assert_eq!(take(7), take(7));
        assert_ne!(take(7), take(8));
    }

    #[test]
    fn a_subscription_id_depends_on_key_realm_policy_and_topic() {
        let id = |key: u8, realm: &str, policy, topic| IdSource::new(0, [key; 16], Uri::from(realm)).subscription(policy, topic);
        let base = id(1, "r", MatchPolicy::Exact, "a.b");
        assert_eq!(base, id(1, "r", MatchPolicy::Exact, "a.b"));
        for other in [
            id(2, "r", MatchPolicy::Exact, "a.b"),
            id(1, "s", MatchPolicy::Exact, "a.b"),
            id(1, "r", MatchPolicy::Prefix, "a.b"),
            id(1, "r", MatchPolicy::Exact, "a.c"),
        ] {
            assert_ne!(base, other);
        }
    }

    #[test]
    fn ids_reach_both_ends_of_the_range() {
        assert_eq!(fold(0), 1);
        assert_eq!(fold(u64::MAX), ID_MAX);
    }
}
