//! The checks of a node's place in its cluster: founder, newcomer or edge.

use super::{
    Config, NodeKind, Problem,
    validate::{missing, quoted},
};

/// Each further voter slows every write; past seven, nodes should follow without a vote.
const PEERS_MAX: usize = 7;

pub(super) fn check(config: &Config, problems: &mut Vec<Problem>) {
    let cluster = &config.cluster;
    let listed = cluster.peer(&config.node.name).is_some();
    match cluster.kind {
        NodeKind::Edge => edge(config, listed, problems),
        NodeKind::Core if cluster.join => {
            if !cluster.peers.iter().any(|peer| peer.name != config.node.name) {
                let remedy = "name some core nodes of the running cluster, of which one has to answer";
                problems.push(missing("cluster.peers", remedy));
            }
        }
        NodeKind::Core => founder(config, listed, problems),
    }
    if !cluster.founds() && !listed && cluster.advertise.is_none() && cluster.address.ip().is_unspecified() {
        let remedy = "write the host and port that the other nodes dial, such as 10.0.0.4:7400";
        problems.push(missing("cluster.advertise", remedy));
    }
    if let Some(advertise) = &cluster.advertise
        && (advertise.host.is_empty() || advertise.port == 0)
    {
        let problem = Problem::new(
            "cluster.advertise",
            "nobody can dial it",
            "write a host and a port, such as 10.0.0.4:7400",
        );
        problems.push(problem.value(quoted(advertise)));
    }
}

fn founder(config: &Config, listed: bool, problems: &mut Vec<Problem>) {
    let peers = &config.cluster.peers;
    if !peers.is_empty() && !listed {
        let remedy = "list this node too: cluster.peers names all voters and is the same on every node; or mend node.name; or, where it joins \
                      a running cluster, write cluster.join = true";
        let what = format!("this node, {}, is not among the peers", config.node.name);
        problems.push(Problem::new("cluster.peers", what, remedy));
    }
    if peers.len() > PEERS_MAX || (peers.len() > 1 && peers.len().is_multiple_of(2)) {
        let remedy = "list 1, 3, 5 or 7 voters: an even number survives no more losses than one less";
        problems.push(Problem::new("cluster.peers", "not a useful number of voters", remedy).value(peers.len()));
    }
}

fn edge(config: &Config, listed: bool, problems: &mut Vec<Problem>) {
    let cluster = &config.cluster;
    if cluster.peers.is_empty() {
        problems.push(missing("cluster.peers", "name some core nodes, of which one has to answer"));
    }
    if listed {
        let what = format!("this node, {}, is an edge node and has no vote", config.node.name);
        let remedy = "take it out of the list on all nodes, or leave cluster.kind out";
        problems.push(Problem::new("cluster.peers", what, remedy));
    }
    if let Some(directory) = &cluster.data_dir {
        let remedy = "leave it out, or leave cluster.kind out for a node with a disk and a vote";
        let problem = Problem::new("cluster.data_dir", "an edge node keeps nothing", remedy);
        problems.push(problem.value(quoted(directory.display())));
    }
    if cluster.join {
        let remedy = "leave it out: an edge node does so by its kind";
        problems.push(Problem::new("cluster.join", "it is for core nodes that join a running cluster", remedy).value(true));
    }
}
