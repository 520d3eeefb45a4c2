//! What nodes tell each other about themselves, as the gossip's key-value pairs.

use std::collections::BTreeMap;

use crate::router::{NodeRef, Slot};

/// What a node says about itself. Small, changes often, and only a hint: nothing is granted, revoked or removed because of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Vitals {
    /// Where other nodes reach it.
    pub cluster_address: String,
    /// Where clients reach it.
    pub public_addresses: Vec<String>,
    /// Its software version.
    pub version: String,
    /// Its life, once it has one.
    pub node: Option<NodeRef>,
    /// How busy it is, 0 to 1,000.
    pub load: u32,
    /// Up to which index it has applied the log.
    pub applied: u64,
    /// Version and digest of its interest table.
    pub interest: (u64, u64),
    /// It is about to leave.
    pub draining: bool,
}

/// The vitals of a node and whether it is heard of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// What it said last.
    pub vitals: Vitals,
    /// False if the failure detector suspects it. A hint.
    pub live: bool,
}

/// Every node that was heard of, by name.
pub type ClusterVitals = BTreeMap<String, Seen>;

impl Vitals {
    /// As key-value pairs; each value is short.
    pub(super) fn to_pairs(&self) -> Vec<(&'static str, String)> {
        let node = self
            .node
            .map(|node| format!("{}:{}", node.slot.0, node.epoch))
            .unwrap_or_default();
        vec![
            (CLUSTER_ADDRESS, cut(&self.cluster_address)),
            (PUBLIC_ADDRESSES, cut(&self.public_addresses.join(","))),
            (VERSION, cut(&self.version)),
            (NODE, node),
            (LOAD, self.load.to_string()),
            (APPLIED, self.applied.to_string()),
            (INTEREST, format!("{}:{:016x}", self.interest.0, self.interest.1)),
            (DRAINING, u8::from(self.draining).to_string()),
        ]
    }

    /// Out of key-value pairs. What is missing or malformed is as if it had not been said: peers may be of another version.
    pub(super) fn from_pairs<'a>(get: impl Fn(&str) -> Option<&'a str>) -> Self {
        let text = |key| get(key).unwrap_or_default().to_owned();
        let node = get(NODE).and_then(|value| {
            let (slot, epoch) = value.split_once(':')?;
            let slot = slot.parse().ok().filter(|slot| (1..=4095).contains(slot))?;
            Some(NodeRef {
                slot: Slot(slot),
                epoch: epoch.parse().ok()?,
            })
        });
        let interest = get(INTEREST).and_then(|value| {
            let (version, digest) = value.split_once(':')?;
            Some((version.parse().ok()?, u64::from_str_radix(digest, 16).ok()?))
        });
        let addresses = get(PUBLIC_ADDRESSES).unwrap_or_default();
        Self {
            cluster_address: text(CLUSTER_ADDRESS),
            public_addresses: addresses
                .split(',')
                .filter(|address| !address.is_empty())
                .map(str::to_owned)
                .collect(),
            version: text(VERSION),
            node,
            load: get(LOAD).and_then(|value| value.parse().ok()).unwrap_or_default(),
            applied: get(APPLIED).and_then(|value| value.parse().ok()).unwrap_or_default(),
            interest: interest.unwrap_or_default(),
            draining: get(DRAINING) == Some("1"),
        }
    }
}

/// Gossip stays below 2 KiB a node.
fn cut(text: &str) -> String {
    text.chars().take(256).collect()
}

const CLUSTER_ADDRESS: &str = "cluster_address";
const PUBLIC_ADDRESSES: &str = "public_addresses";
const VERSION: &str = "version";
const NODE: &str = "node";
const LOAD: &str = "load";
const APPLIED: &str = "applied";
const INTEREST: &str = "interest";
const DRAINING: &str = "draining";

#[cfg(test)]
mod tests {
    use super::*;

    fn back(vitals: &Vitals) -> Vitals {
        let pairs = vitals.to_pairs();
        Vitals::from_pairs(|key| pairs.iter().find(|(k, _)| *k == key).map(|(_, value)| value.as_str()))
    }

    #[test]
    fn vitals_come_back_as_they_were() {
        let vitals = Vitals {
            cluster_address: "10.0.0.1:7400".into(),
            public_addresses: vec!["ws://a:8080/ws".into(), "tcp://a:8080".into()],
            version: "0.1.0".into(),
            node: Some(NodeRef {
                slot: Slot(4095),
                epoch: 7,
            }),
            load: 500,
            applied: u64::MAX,
            interest: (3, 0xf00d),
            draining: true,
        };
        assert_eq!(back(&vitals), vitals);
        assert_eq!(back(&Vitals::default()), Vitals::default());
    }

    #[test]
    fn nonsense_is_as_if_it_had_not_been_said() {
        assert_eq!(Vitals::from_pairs(|_| None), Vitals::default());
        let nonsense = Vitals::from_pairs(|key| Some(if key == NODE { "9999:1" } else { "x" }));
        assert_eq!((nonsense.node, nonsense.interest, nonsense.applied), (None, (0, 0), 0));
    }
}
