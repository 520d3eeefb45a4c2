//! Interest by another way: when the gossip says that a node's interest is not what this node knows of it, the whole table is
//! pulled, from its owner or from any node that knows it.

use std::{
    collections::HashMap,
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::{Stream, StreamExt, stream};
use ringfort_proto::cluster::v1::{self as pb, link_client::LinkClient};
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval, timeout},
};
use tonic::Status;

use super::{Links, Shared, convert, hello::said, life::Apply};
use crate::{
    cluster::{
        gossip::ClusterVitals,
        interest::{self, Change, Table},
        net::explain,
    },
    router::NodeRef,
};

/// The parts of a table.
pub(super) type Tables = Pin<Box<dyn Stream<Item = Result<pb::InterestTable, Status>> + Send>>;

/// Answers a pull out of this node's own table or out of what it knows of another's.
pub(super) fn serve(shared: &Shared, request: &pb::PullInterestRequest) -> Result<Tables, Status> {
    if request.cluster_id != shared.peers.dialer().identity().cluster_id() {
        return Err(Status::failed_precondition("another cluster"));
    }
    let origin = request
        .origin
        .as_ref()
        .and_then(convert::node_in)
        .ok_or_else(|| Status::invalid_argument("no valid node"))?;
    let me = shared.members.lock().me;
    let parts_of = |table: &Table| (table.version(), table.digest(), table.entries());
    let (version, digest, entries) = if me == Some(origin) {
        parts_of(shared.own.lock().table())
    } else {
        let replicas = shared.replicas.lock();
        parts_of(
            replicas
                .get(origin)
                .ok_or_else(|| Status::not_found("nothing is known of that node here"))?,
        )
    };
    let parts = interest::parts(entries);
    let last = parts.len() - 1;
    let tables = parts.into_iter().enumerate().map(move |(number, part)| {
        let realms = convert::changes_out(&part);
        Ok(pb::InterestTable {
            version,
            digest,
            realms,
            last: number == last,
        })
    });
    Ok(stream::iter(tables).boxed())
}

impl Links {
    /// Compares what the gossip says about interest with what is known here, and pulls what differs for too long. Spawns a task on
    /// the control runtime that ends with the links or the gossip.
    pub fn follow_gossip(&self, vitals: watch::Receiver<ClusterVitals>) {
        let shared = Arc::downgrade(&self.0);
        self.0.control.spawn(async move {
            let mut look = interval(LOOK_EVERY);
            look.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut since = HashMap::new();
            while vitals.has_changed().is_ok() {
                look.tick().await;
                let Some(shared) = shared.upgrade() else { return };
                let nodes = vitals
                    .borrow()
                    .values()
                    .filter_map(|seen| Some((seen.vitals.node?, seen.vitals.interest)))
                    .collect();
                compare(&shared, nodes, &mut since).await;
            }
        });
    }
}

/// Pulls the tables that have differed from `said` for too long; `since` remembers for how long.
async fn compare(shared: &Arc<Shared>, said: Vec<(NodeRef, (u64, u64))>, since: &mut HashMap<NodeRef, Instant>) {
    let now = Instant::now();
    let differs = |(node, (version, digest)): &(NodeRef, (u64, u64))| {
        shared.members.lock().peers.contains_key(node) && shared.replicas.lock().disagrees(*node, *version, *digest)
    };
    let differing: Vec<NodeRef> = said.iter().filter(|entry| differs(entry)).map(|(node, _)| *node).collect();
    since.retain(|node, _| differing.contains(node));
    for node in differing {
        let first = *since.entry(node).or_insert(now);
        if now.saturating_duration_since(first) > shared.config.disagreement_max {
            // Whatever comes of it, the next pull is not before another such time.
            since.insert(node, now);
            pull(shared, node).await;
        }
    }
}

/// Pulls the table of `origin` from itself, else from others.
async fn pull(shared: &Arc<Shared>, origin: NodeRef) {
    let (origin_name, others) = {
        let members = shared.members.lock();
        let Some(peer) = members.peers.get(&origin) else { return };
        let others = members
            .peers
            .iter()
            .filter(|(node, _)| **node != origin)
            .map(|(_, peer)| peer.name.clone());
        (peer.name.clone(), others.take(ASKED_MAX).collect::<Vec<_>>())
    };
    for name in std::iter::once(origin_name.clone()).chain(others) {
        match timeout(PULL_WITHIN, pull_from(shared, &name, origin, &origin_name)).await {
            Ok(Ok((version, entries))) => {
                tracing::info!(origin = %said(origin, &origin_name), from = %name, version, "pulled a diverged interest table");
                let link = shared.table.read().get(&origin).cloned();
                let over_link = link.is_some_and(|link| {
                    link.apply(Apply::Table {
                        version,
                        entries: entries.clone(),
                    })
                });
                if !over_link {
                    // Without a link no event goes there; the table is kept for others to pull.
                    shared.replicas.lock().replace(origin, version, &entries);
                }
                return;
            }
            Ok(Err(error)) => tracing::debug!(from = %name, error, "cannot pull an interest table"),
            Err(_) => tracing::debug!(from = %name, "pulling an interest table took too long"),
        }
    }
    tracing::warn!(origin = %said(origin, &origin_name), "no node could give a diverged interest table");
}

async fn pull_from(shared: &Shared, from: &str, origin: NodeRef, origin_name: &str) -> Result<(u64, Vec<Change>), String> {
    let channel = shared.peers.channel(from).ok_or("no address")?;
    let cluster_id = shared.peers.dialer().identity().cluster_id().to_owned();
    let request = pb::PullInterestRequest {
        cluster_id,
        origin: Some(convert::node_out(origin, origin_name)),
    };
    let mut client = LinkClient::new(channel).max_decoding_message_size(super::MESSAGE_BYTES_MAX);
    let mut parts = client
        .pull_interest(request)
        .await
        .map_err(|status| explain(&status))?
        .into_inner();
    let mut entries = Vec::new();
    while let Some(part) = parts.message().await.map_err(|status| explain(&status))? {
        entries.extend(convert::changes_in(&part.realms).map_err(|malformed| malformed.to_string())?);
        if entries.len() > ENTRIES_MAX {
            return Err(format!("more than {ENTRIES_MAX} entries"));
        }
        if part.last {
            return Ok((part.version, entries));
        }
    }
    Err("the table ended early".to_owned())
}

const LOOK_EVERY: Duration = Duration::from_millis(250);
const PULL_WITHIN: Duration = Duration::from_secs(10);
/// How many nodes besides the owner are asked.
const ASKED_MAX: usize = 3;
/// A table beyond this is not taken over, whoever sends it.
const ENTRIES_MAX: usize = 10_000_000;
