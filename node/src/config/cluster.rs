//! `[cluster]`: the nodes that form one router, how they find and prove themselves, where the log is kept.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::{HostPort, address};

/// The cluster this node belongs to. Left out, the node is a cluster of its own with a single voter.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Cluster {
    /// The cluster's name: letters, digits, `-`, `_` and `.`, at most 63. Every link checks it, so that nodes of two clusters
    /// never mix. Default `ringfort`; it must be given as soon as a peer is on another machine.
    pub id: String,
    /// What this node is to the others: `core`, with a disk and a vote, or `edge`, which serves clients, keeps nothing and comes and
    /// goes without a trace. Default `core`. An edge node needs `cluster.peers` to find the core nodes, and no `cluster.data_dir`.
    pub kind: NodeKind,
    /// IP address and port on which this node listens for the others. Default `127.0.0.1:7400`. A lone node opens it only with
    /// `cluster.advertise`, so that others can join it.
    #[serde(deserialize_with = "address::socket_address")]
    pub address: SocketAddr,
    /// Where the others reach this node: an IP address or DNS name, and the port. Default: what the entry of this node in
    /// `cluster.peers` says, else `cluster.address`. Required for a node without such an entry that listens on `0.0.0.0`.
    pub advertise: Option<HostPort>,
    /// The voters with which a new cluster begins, this node included, the same list on every node:
    /// `[{ name = "n1", address = "10.0.0.1:7400" }, …]`. An odd number; more than half of them must be up. Addresses may be DNS names.
    /// Default none: a single node. Once the cluster runs, who votes stands in its log (`ringfort admin nodes`). A name that is added
    /// here on the running nodes may then join without being announced; see `docs/operating.md`. For an edge node, or with
    /// `cluster.join`: some members of the running cluster, of which one has to answer.
    pub peers: Vec<Peer>,
    /// True for a core node that joins a running cluster and never founds one, so that it need not stand in its own `cluster.peers`.
    /// Default false. A node with an empty disk joins where a peer knows a cluster, whatever stands here.
    pub join: bool,
    /// Directory of the replicated log and of the node's identity; made if missing, one per node. Default none: everything
    /// is in memory and forgotten at the end of the process (`durable = false`), for demos and first tries.
    pub data_dir: Option<PathBuf>,
    /// Mutual TLS between the nodes; see `[cluster.tls]`. Required unless every address of the cluster is loopback.
    pub tls: Option<ClusterTls>,
    /// How fast losses are noticed; see `[cluster.timing]`.
    pub timing: Timing,
}

/// What a node is to the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum NodeKind {
    /// It has a disk and a vote.
    #[default]
    Core,
    /// It has neither.
    Edge,
}

/// One core node of the cluster.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Peer {
    /// The `node.name` of that node. Required, unique.
    pub name: String,
    /// Where the other nodes reach it: an IP address or DNS name, and the port. Required, unique.
    pub address: HostPort,
}

/// The certificates with which nodes prove themselves to each other; `ringfort ca` makes them.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClusterTls {
    /// PEM file of the authority that signed the certificates of all nodes. Required.
    pub ca: PathBuf,
    /// PEM file of this node's certificate. It names the node: `ringfort://CLUSTER_ID/NODE_NAME` as URI. Required.
    pub certificate: PathBuf,
    /// PEM file of its private key; readable by the node's user only. Required.
    pub key: PathBuf,
}

/// The clockwork of leadership and leases, equal on every node. The defaults suit one site and links below 100 ms.
///
/// It must hold that `0.75 · lease_ttl − renew > leader lease (1 s) + 2 · election_max`: else an ordinary election would already
/// end the leases of healthy nodes.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Timing {
    /// Milliseconds between the leader's heartbeats. Default 200. At most a third of `election_min_ms`, or one lost packet
    /// starts an election.
    pub heartbeat_ms: u64,
    /// The shortest time, in milliseconds, without a heartbeat after which a node campaigns. Default 600.
    pub election_min_ms: u64,
    /// The longest such time; each campaign draws between the two, so that campaigns rarely collide. Default 1000.
    pub election_max_ms: u64,
    /// Milliseconds for which a node's lease holds without renewal; its registrations are free at most a second later.
    /// Default 6000. Smaller frees a dead node's procedures sooner, larger survives longer elections.
    pub lease_ttl_ms: u64,
    /// Milliseconds between two renewals of the lease. Default 500.
    pub renew_ms: u64,
}

impl Default for Cluster {
    fn default() -> Self {
        Self {
            id: Self::DEFAULT_ID.to_owned(),
            kind: NodeKind::Core,
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, 7400)),
            advertise: None,
            peers: Vec::new(),
            join: false,
            data_dir: None,
            tls: None,
            timing: Timing::default(),
        }
    }
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            heartbeat_ms: 200,
            election_min_ms: 600,
            election_max_ms: 1000,
            lease_ttl_ms: 6000,
            renew_ms: 500,
        }
    }
}

impl Cluster {
    /// The id of a cluster that was given none.
    pub const DEFAULT_ID: &str = "ringfort";

    /// True if this node is the only voter and no other is to join it: then no cluster port is opened.
    pub fn is_single(&self) -> bool {
        self.founds() && self.peers.len() <= 1 && self.advertise.is_none()
    }

    /// True for a node that may begin a new cluster.
    pub fn founds(&self) -> bool {
        self.kind == NodeKind::Core && !self.join
    }

    /// Where other nodes reach the node called `name`, which is this one.
    pub fn advertised(&self, name: &str) -> HostPort {
        let listed = || self.peer(name).map(|peer| peer.address.clone());
        let listens = || HostPort {
            host: self.address.ip().to_string(),
            port: self.address.port(),
        };
        self.advertise.clone().or_else(listed).unwrap_or_else(listens)
    }

    /// The entry of the node called `name`.
    pub fn peer(&self, name: &str) -> Option<&Peer> {
        self.peers.iter().find(|peer| peer.name == name)
    }

    /// True if every address of the cluster, this node's and its peers', is loopback; then TLS may be left out.
    pub fn is_loopback(&self) -> bool {
        let advertised = self.advertise.as_ref().is_none_or(HostPort::is_loopback);
        self.address.ip().is_loopback() && advertised && self.peers.iter().all(|peer| peer.address.is_loopback())
    }
}

impl Timing {
    /// The time for which a leader that has heard from its quorum stays leader (LL), see `DESIGN` §4.1.
    pub const LEADER_LEASE: Duration = Duration::from_secs(1);

    /// Time between two heartbeats.
    pub fn heartbeat(&self) -> Duration {
        Duration::from_millis(self.heartbeat_ms)
    }

    /// Shortest time to a campaign.
    pub fn election_min(&self) -> Duration {
        Duration::from_millis(self.election_min_ms)
    }

    /// Longest time to a campaign.
    pub fn election_max(&self) -> Duration {
        Duration::from_millis(self.election_max_ms)
    }

    /// How long a lease holds.
    pub fn lease_ttl(&self) -> Duration {
        Duration::from_millis(self.lease_ttl_ms)
    }

    /// Time between two renewals of a lease.
    pub fn renew(&self) -> Duration {
        Duration::from_millis(self.renew_ms)
    }
}
