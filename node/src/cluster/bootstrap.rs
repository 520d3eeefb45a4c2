//! The first start of a cluster: all expected voters become members at once, in any start order.
//!
//! Only the node whose name sorts first initialises, and only once every expected node has answered, expects the same nodes, and is
//! empty. Where any of them knows a cluster already, nobody initialises: the members of that cluster will find their way, and a node
//! that lost its disk waits, since making a second cluster of the same id would split the first.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use ringfort_proto::cluster::v1::{InfoReply, InfoRequest, control_client::ControlClient};

use super::consensus::{Consensus, Peers};

/// Pause between two rounds of asking.
const PAUSE: Duration = Duration::from_millis(100);
/// How often a wait that goes on is reported.
const REPORT_EVERY: u32 = 50;
const ASK_DEADLINE: Duration = Duration::from_secs(1);

/// What a round of asking found.
#[derive(Debug, PartialEq, Eq)]
enum Finding {
    /// Everybody is there, agrees and is empty: their consensus ids and names.
    Ready(BTreeMap<u64, String>),
    /// Not yet, for this reason.
    Wait(String),
}

/// Initialises the cluster if that is this node's part; returns once this node's consensus is initialised, by whomever.
pub async fn run(consensus: &Consensus, peers: Arc<dyn Peers>, cluster_id: &str, me: (&str, u64), expected: &[String]) {
    let first = expected.iter().min().is_some_and(|name| name == me.0);
    let mut rounds = 0u32;
    while !consensus.is_initialized() {
        if first {
            match ask_all(&*peers, cluster_id, me, expected).await {
                Finding::Ready(members) => {
                    tracing::info!(?members, "initialising the cluster");
                    if let Err(error) = consensus.initialize(members).await {
                        tracing::warn!(%error, "initialising");
                    }
                    continue;
                }
                Finding::Wait(why) if rounds.is_multiple_of(REPORT_EVERY) => {
                    tracing::info!(%why, "waiting to initialise the cluster");
                }
                Finding::Wait(_) => {}
            }
        } else if rounds.is_multiple_of(REPORT_EVERY) {
            tracing::info!("waiting for the cluster to be initialised");
        }
        rounds = rounds.wrapping_add(1);
        tokio::time::sleep(PAUSE).await;
    }
}

async fn ask_all(peers: &dyn Peers, cluster_id: &str, me: (&str, u64), expected: &[String]) -> Finding {
    let mut replies = Vec::new();
    for name in expected.iter().filter(|name| *name != me.0) {
        let Some(channel) = peers.channel(name) else {
            return Finding::Wait(format!("{name} has no address"));
        };
        let mut request = tonic::Request::new(InfoRequest {
            cluster_id: cluster_id.to_owned(),
            from: me.0.to_owned(),
        });
        request.set_timeout(ASK_DEADLINE);
        match tokio::time::timeout(ASK_DEADLINE, ControlClient::new(channel).info(request)).await {
            Ok(Ok(reply)) => replies.push((name.clone(), reply.into_inner())),
            Ok(Err(status)) => return Finding::Wait(format!("{name}: {status}")),
            Err(_) => return Finding::Wait(format!("{name} does not answer")),
        }
    }
    judge(me, expected, replies)
}

fn judge(me: (&str, u64), expected: &[String], replies: Vec<(String, InfoReply)>) -> Finding {
    let mut sorted = expected.to_vec();
    sorted.sort();
    let mut members = BTreeMap::from([(me.1, me.0.to_owned())]);
    for (name, reply) in replies {
        if reply.name != name {
            return Finding::Wait(format!(
                "the address of {name} is that of {}: correct cluster.peers",
                reply.name
            ));
        }
        if reply.initialized {
            return Finding::Wait(format!("{name} belongs to a cluster already, and this node's disk is empty"));
        }
        if reply.expected != sorted {
            return Finding::Wait(format!(
                "{name} expects {:?}, this node {sorted:?}: make cluster.peers equal",
                reply.expected
            ));
        }
        if members.insert(reply.raft_id, name.clone()).is_some() {
            return Finding::Wait(format!("{name} has the consensus id of another node: was its disk copied?"));
        }
    }
    Finding::Ready(members)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(name: &str, raft_id: u64) -> (String, InfoReply) {
        let expected = vec!["n1".to_owned(), "n2".to_owned()];
        let reply = InfoReply {
            cluster_id: "c".into(),
            name: name.into(),
            raft_id,
            initialized: false,
            expected,
        };
        (name.to_owned(), reply)
    }

    fn judged(replies: Vec<(String, InfoReply)>) -> Finding {
        judge(("n1", 1), &["n2".to_owned(), "n1".to_owned()], replies)
    }

    #[test]
    fn all_empty_and_agreed_is_ready() {
        let members = BTreeMap::from([(1, "n1".to_owned()), (2, "n2".to_owned())]);
        assert_eq!(judged(vec![reply("n2", 2)]), Finding::Ready(members));
    }

    #[test]
    fn a_peer_that_knows_a_cluster_or_expects_others_or_is_misnamed_stops_it() {
        let mut initialized = reply("n2", 2);
        initialized.1.initialized = true;
        let mut others = reply("n2", 2);
        others.1.expected.push("n3".to_owned());
        let mut misnamed = reply("n2", 2);
        misnamed.1.name = "n3".to_owned();
        for bad in [initialized, others, misnamed, reply("n2", 1)] {
            assert!(matches!(judged(vec![bad]), Finding::Wait(_)));
        }
    }
}
