//! Gossip: what nodes tell each other about themselves, with chitchat over our own control connections.
//!
//! Owns: vitals and who is heard of. A hint only: membership, ownership and interest are decided elsewhere, and nothing is removed
//! because a node is not heard of. Start reading at [`Membership`]; [`transport`] is how chitchat's messages travel.

#[cfg(test)]
mod tests;
mod transport;
mod vitals;

use std::{sync::Arc, time::Duration};

use chitchat::{ChitchatConfig, ChitchatHandle, ChitchatId, FailureDetectorConfig, ProtocolVersion, spawn_chitchat};
use ringfort_proto::cluster::v1::gossip_server::GossipServer;
use tokio::{runtime::Handle, sync::watch, task::JoinHandle};

use self::transport::{Bridge, BridgeTransport, address_of};
use super::net::PeerChannels;

pub use transport::GossipService;
pub use vitals::{ClusterVitals, Seen, Vitals};

/// Who is heard of, and what they say. Behind a trait so that chitchat can be replaced.
pub trait Membership: Send + Sync {
    /// The vitals of every node heard of, this one included; changes as they do.
    fn vitals(&self) -> watch::Receiver<ClusterVitals>;
    /// Says something new about this node. The latest wins.
    fn publish(&self, vitals: Vitals);
}

/// How the gossip behaves.
#[derive(Clone, Debug)]
pub struct Config {
    /// How often a node talks to up to three others. Vitals reach every node within a few rounds.
    pub interval: Duration,
    /// Tells the lives of a node apart: grows with each start. The node's epoch or its start time.
    pub generation: u64,
    /// How long a node that is not heard of is remembered. At most 15 minutes: with more, dead lives crowd the digest.
    pub grace_period: Duration,
}

impl Config {
    /// The defaults for the life that began at `generation`.
    pub fn new(generation: u64) -> Self {
        Self {
            interval: Duration::from_millis(500),
            generation,
            grace_period: GRACE_PERIOD_MAX,
        }
    }
}

const GRACE_PERIOD_MAX: Duration = Duration::from_secs(15 * 60);

/// The gossip of this node. Dropping it ends it.
pub struct Gossip {
    bridge: Arc<Bridge>,
    vitals: watch::Receiver<ClusterVitals>,
    publish: watch::Sender<Vitals>,
    keeper: JoinHandle<()>,
}

/// The gossip could not be started.
#[derive(Debug, thiserror::Error)]
#[error("cannot start the gossip: {0}")]
pub struct Error(String);

impl Gossip {
    /// Starts to gossip with every node that `channels` has an address of, and with those they know. Everything runs on `control`.
    /// The service has to be served for answers to come in.
    ///
    /// # Errors
    /// No socket for chitchat could be opened on the loopback interface.
    pub async fn start(config: Config, channels: PeerChannels, control: &Handle, first: Vitals) -> Result<Self, Error> {
        let identity = channels.dialer().identity().clone();
        let mut seeds = channels.addresses().names();
        seeds.retain(|name| name != identity.name());
        let grace_period = config.grace_period.min(GRACE_PERIOD_MAX);
        let (publish, published) = watch::channel(first.clone());
        let bridge = Arc::new(Bridge::new(channels, control.clone(), published.clone()));
        let transport = BridgeTransport(bridge.clone());
        let settings = ChitchatConfig {
            chitchat_id: ChitchatId::new(identity.name(), config.generation, address_of(identity.name())),
            cluster_id: identity.cluster_id().to_owned(),
            gossip_interval: config.interval,
            listen_addr: address_of(identity.name()),
            seed_nodes: seeds.iter().map(|name| address_of(name).to_string()).collect(),
            failure_detector_config: FailureDetectorConfig {
                initial_interval: config.interval,
                dead_node_grace_period: grace_period,
                ..FailureDetectorConfig::default()
            },
            marked_for_deletion_grace_period: grace_period,
            catchup_callback: None,
            extra_liveness_predicate: None,
            // Stays at V0 until no node of an older version is left anywhere.
            protocol_version: ProtocolVersion::V0,
        };
        let pairs = first
            .to_pairs()
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value))
            .collect();
        let starting = control.spawn(async move { spawn_chitchat(settings, pairs, &transport).await });
        let handle = starting
            .await
            .map_err(|error| Error(error.to_string()))?
            .map_err(|error| Error(format!("{error:#}")))?;
        let (seen, vitals) = watch::channel(ClusterVitals::new());
        let keeper = control.spawn(keep(handle, bridge.clone(), published, seen));
        Ok(Self {
            bridge,
            vitals,
            publish,
            keeper,
        })
    }

    /// Lets go of what is kept for a node that is gone, given its name.
    pub fn forgetter(&self) -> impl Fn(&str) + Send + use<> {
        let bridge = Arc::downgrade(&self.bridge);
        move |name| {
            if let Some(bridge) = bridge.upgrade() {
                bridge.forget(name);
            }
        }
    }

    /// The service for the control server.
    pub fn service(&self) -> GossipServer<GossipService> {
        GossipServer::new(GossipService(self.bridge.clone()))
    }
}

impl Membership for Gossip {
    fn vitals(&self) -> watch::Receiver<ClusterVitals> {
        self.vitals.clone()
    }

    fn publish(&self, vitals: Vitals) {
        self.publish.send_if_modified(|current| {
            let changed = *current != vitals;
            *current = vitals;
            changed
        });
    }
}

impl Drop for Gossip {
    fn drop(&mut self) {
        self.keeper.abort();
        self.bridge.close();
    }
}

/// Carries what is published into chitchat and what chitchat hears into `seen`.
async fn keep(
    handle: ChitchatHandle,
    bridge: Arc<Bridge>,
    mut published: watch::Receiver<Vitals>,
    seen: watch::Sender<ClusterVitals>,
) {
    let handle = AbortOnDrop(handle);
    let mut live = handle.0.with_chitchat(|chitchat| chitchat.live_nodes_watcher()).await;
    loop {
        let vitals = handle.0.with_chitchat(|chitchat| everyone(chitchat)).await;
        for (name, node) in &vitals {
            // What one that is gone has said last is heard for a while.
            if node.live && *name != bridge.name() && !node.vitals.cluster_address.is_empty() {
                bridge.channels().addresses().learn(name, &node.vitals.cluster_address);
            }
        }
        seen.send_if_modified(|current| {
            let changed = *current != vitals;
            *current = vitals;
            changed
        });
        tokio::select! {
            changed = published.changed() => {
                if changed.is_err() {
                    return;
                }
                let pairs = published.borrow_and_update().to_pairs();
                handle.0.with_chitchat(|chitchat| {
                    let own = chitchat.self_node_state();
                    for (key, value) in &pairs {
                        if own.get(key) != Some(value) {
                            own.set(key, value);
                        }
                    }
                }).await;
            }
            changed = live.changed() => {
                if changed.is_err() {
                    return;
                }
            }
        }
    }
}

/// Every node heard of, by name; of several lives of a node the latest.
fn everyone(chitchat: &chitchat::Chitchat) -> ClusterVitals {
    let live: std::collections::HashSet<&ChitchatId> = chitchat.live_nodes().collect();
    let mut vitals = ClusterVitals::new();
    // In the order of names, then generations: a later one replaces an earlier one.
    for (id, state) in chitchat.node_states() {
        // Its name has come round before its vitals: it has said nothing yet.
        if state.num_key_values() == 0 {
            continue;
        }
        let seen = Seen {
            vitals: Vitals::from_pairs(|key| state.get(key)),
            live: live.contains(id),
        };
        vitals.insert(id.node_id.to_string(), seen);
    }
    vitals
}

struct AbortOnDrop(ChitchatHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
