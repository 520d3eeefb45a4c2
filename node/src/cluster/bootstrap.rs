//! How a core node with an empty disk comes to its part: as a founder of a new cluster, or as a newcomer of a running one.
//!
//! **Founding.** All expected voters become members at once, in any start order. Only the node whose name sorts first initialises, and only
//! once every expected node has answered, expects the same nodes, and is empty. A node with `cluster.join` never does.
//!
//! **Joining.** Where any node that answers knows a cluster, nobody founds one: a second cluster of the same id would split the first.
//! Instead this node asks that one to be admitted. Whether it is, and in whose place, the log decides (`super::roster`); until then it
//! waits and says why. So a node that lost its disk waits for an operator's word.
//!
//! **Being removed.** A node whose disk was removed for good while it was down, or cut off, hears of no leader any more. Then it asks
//! around, and whoever knows tells it.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures_util::future::join_all;
use ringfort_proto::cluster::v1::{self as pb, InfoReply, InfoRequest, control_client::ControlClient};
use tokio::{sync::watch, time::Instant};

use super::{
    consensus::{Consensus, Peers},
    net::Addresses,
};

/// Pause between two rounds of asking.
const PAUSE: Duration = Duration::from_millis(100);
/// How often a wait that goes on is reported.
const REPORT_EVERY: Duration = Duration::from_secs(5);
const ASK_DEADLINE: Duration = Duration::from_secs(1);
/// A log entry is committed for it.
const ADMIT_DEADLINE: Duration = Duration::from_secs(3);
/// Pause between two requests to be admitted.
const ADMIT_EVERY: Duration = Duration::from_secs(1);
/// Without a leader for this long, a node asks whether it is still wanted.
const LEADERLESS: Duration = Duration::from_secs(2);

/// A core node that looks for its part.
pub struct Newcomer {
    /// Its part in consensus, initialised or not.
    pub consensus: Consensus,
    /// The way to others.
    pub peers: Arc<dyn Peers>,
    /// Whom it knows.
    pub addresses: Addresses,
    /// The cluster it belongs to.
    pub cluster_id: String,
    /// Its name.
    pub name: String,
    /// Its disk.
    pub raft_id: u64,
    /// The voters of its configuration, sorted.
    pub expected: Vec<String>,
    /// It never founds a cluster.
    pub joins: bool,
    /// Where others reach it.
    pub advertised: String,
    /// Set once it is known that this disk was removed for good.
    pub removed: watch::Sender<bool>,
}

/// What a round of asking found.
#[derive(Debug, PartialEq, Eq)]
enum Finding {
    /// Everybody is there, agrees and is empty: their consensus ids and names.
    Ready(BTreeMap<u64, String>),
    /// This one belongs to a cluster.
    Running(String),
    /// This disk was removed for good.
    Removed,
    /// Not yet, for this reason.
    Wait(String),
}

impl Newcomer {
    /// Finds this node's part, then watches over it for as long as the node runs.
    pub async fn run(self) {
        let mut reported: Option<(Instant, String)> = None;
        while !self.consensus.is_initialized() {
            let mut pause = PAUSE;
            let replies = self.ask_all().await;
            let why = match judge((&self.name, self.raft_id), &self.expected, self.founds(), &replies) {
                Finding::Ready(members) => {
                    tracing::info!(?members, "initialising the cluster");
                    if let Err(error) = self.consensus.initialize(members).await {
                        tracing::warn!(%error, "initialising");
                    }
                    continue;
                }
                Finding::Removed => return self.stop(),
                Finding::Running(of) => {
                    pause = ADMIT_EVERY;
                    match self.ask_in(&of).await {
                        Ok(()) => format!("{of} has let this node in, the leader is to bring the log"),
                        Err(None) => return self.stop(),
                        Err(Some(why)) => why,
                    }
                }
                Finding::Wait(why) => why,
            };
            let due = reported
                .as_ref()
                .is_none_or(|(at, said)| *said != why || at.elapsed() > REPORT_EVERY);
            if due {
                tracing::info!(why, "waiting for a part in a cluster");
                reported = Some((Instant::now(), why));
            }
            tokio::time::sleep(pause).await;
        }
        self.watch().await;
    }

    /// True if founding a cluster is this node's part.
    fn founds(&self) -> bool {
        !self.joins && self.expected.iter().min() == Some(&self.name)
    }

    fn stop(&self) {
        self.removed.send_replace(true);
    }

    /// Asks around whenever no leader has been heard of for a while; a learner, to whom a leader that fell silent is still the leader, as
    /// long as it learns.
    async fn watch(&self) {
        let mut leadership = self.consensus.leadership();
        loop {
            let leaderless = async { leadership.wait_for(|now| now.leader.is_none()).await.is_ok() };
            let leaderless = tokio::time::timeout(LEADERLESS, leaderless).await;
            match leaderless {
                Ok(false) => return,
                Ok(true) => {
                    let found = leadership.wait_for(|now| now.leader.is_some());
                    if tokio::time::timeout(LEADERLESS, found).await.is_ok() {
                        continue;
                    }
                }
                Err(_) if self.votes() => continue,
                Err(_) => {}
            }
            if self
                .ask_all()
                .await
                .iter()
                .any(|(_, reply)| matches!(reply, Ok(reply) if reply.removed))
            {
                return self.stop();
            }
        }
    }

    fn votes(&self) -> bool {
        let members = self.consensus.members();
        members.iter().any(|member| member.id == self.raft_id && member.voter)
    }

    /// Asks everybody it knows of, all at once.
    async fn ask_all(&self) -> Vec<(String, Result<InfoReply, String>)> {
        let mut names = self.expected.clone();
        names.extend(self.addresses.names());
        names.sort();
        names.dedup();
        let asked = names.into_iter().filter(|name| *name != self.name).map(|name| async {
            let reply = self.ask(&name).await;
            (name, reply)
        });
        join_all(asked).await
    }

    async fn ask(&self, name: &str) -> Result<InfoReply, String> {
        let channel = self.peers.channel(name).ok_or_else(|| format!("{name} has no address"))?;
        let request = InfoRequest {
            cluster_id: self.cluster_id.clone(),
            from: self.name.clone(),
            raft_id: self.raft_id,
        };
        match tokio::time::timeout(ASK_DEADLINE, ControlClient::new(channel).info(request)).await {
            Ok(Ok(reply)) => Ok(reply.into_inner()),
            Ok(Err(status)) => Err(format!("{name}: {status}")),
            Err(_) => Err(format!("{name} does not answer")),
        }
    }

    /// Asks a member to be let in. `Err(None)`: never again.
    async fn ask_in(&self, member: &str) -> Result<(), Option<String>> {
        use pb::admit_reply::Result as R;
        let channel = self
            .peers
            .channel(member)
            .ok_or_else(|| Some(format!("{member} has no address")))?;
        let request = pb::AdmitRequest {
            cluster_id: self.cluster_id.clone(),
            raft_id: self.raft_id,
            name: self.name.clone(),
            address: self.advertised.clone(),
        };
        let asked = tokio::time::timeout(ADMIT_DEADLINE, ControlClient::new(channel).admit(request)).await;
        let reply = match asked {
            Ok(Ok(reply)) => reply.into_inner(),
            Ok(Err(status)) => return Err(Some(format!("{member}: {status}"))),
            Err(_) => return Err(Some(format!("{member} does not answer"))),
        };
        match reply.result {
            Some(R::Planned(_)) => Ok(()),
            Some(R::Removed(_)) => Err(None),
            Some(R::Refused(why) | R::Unknown(why)) => Err(Some(why)),
            None => Err(Some(format!("{member} answers what this build does not know"))),
        }
    }
}

fn judge(me: (&str, u64), expected: &[String], founds: bool, replies: &[(String, Result<InfoReply, String>)]) -> Finding {
    let answers = || replies.iter().filter_map(|(name, reply)| Some((name, reply.as_ref().ok()?)));
    if answers().any(|(_, reply)| reply.removed) {
        return Finding::Removed;
    }
    let running: Vec<(&String, &InfoReply)> = answers().filter(|(_, reply)| reply.initialized).collect();
    if let Some((name, _)) = running.iter().find(|(_, reply)| reply.known) {
        return Finding::Wait(format!("{name} knows this node as a member, the leader is to bring the log"));
    }
    if let Some((name, _)) = running.first() {
        return Finding::Running((*name).clone());
    }
    if !founds {
        return Finding::Wait("no node that answers belongs to a cluster yet".to_owned());
    }
    let mut members = BTreeMap::from([(me.1, me.0.to_owned())]);
    for (name, reply) in replies.iter().filter(|(name, _)| expected.contains(name)) {
        let reply = match reply {
            Ok(reply) => reply,
            Err(why) => return Finding::Wait(why.clone()),
        };
        if reply.name != *name {
            return Finding::Wait(format!(
                "the address of {name} is that of {}: correct cluster.peers",
                reply.name
            ));
        }
        if reply.expected != expected {
            return Finding::Wait(format!(
                "{name} expects {:?}, this node {expected:?}: make cluster.peers equal",
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

    type Reply = (String, Result<InfoReply, String>);

    fn expected() -> Vec<String> {
        vec!["n1".to_owned(), "n2".to_owned(), "n3".to_owned()]
    }

    fn reply(name: &str, raft_id: u64) -> Reply {
        let reply = InfoReply {
            cluster_id: "c".into(),
            name: name.into(),
            raft_id,
            expected: expected(),
            ..InfoReply::default()
        };
        (name.to_owned(), Ok(reply))
    }

    fn but(mut reply: Reply, change: impl FnOnce(&mut InfoReply)) -> Reply {
        change(reply.1.as_mut().unwrap());
        reply
    }

    fn judged(replies: &[Reply]) -> Finding {
        judge(("n1", 1), &expected(), true, replies)
    }

    #[test]
    fn all_empty_and_agreed_is_ready_for_the_first_only() {
        let replies = [reply("n2", 2), reply("n3", 3)];
        let members = BTreeMap::from([(1, "n1".to_owned()), (2, "n2".to_owned()), (3, "n3".to_owned())]);
        assert_eq!(judged(&replies), Finding::Ready(members));
        assert!(matches!(judge(("n2", 2), &expected(), false, &replies), Finding::Wait(_)));
    }

    #[test]
    fn nobody_founds_a_cluster_while_one_expected_node_is_silent_expects_others_or_is_misnamed() {
        let others = but(reply("n3", 3), |reply| reply.expected.push("n4".to_owned()));
        let misnamed = but(reply("n3", 3), |reply| reply.name = "n4".to_owned());
        let silent = ("n3".to_owned(), Err("n3 does not answer".to_owned()));
        for bad in [others, misnamed, silent, reply("n3", 1)] {
            assert!(matches!(judged(&[reply("n2", 2), bad]), Finding::Wait(_)));
        }
    }

    #[test]
    fn whoever_knows_a_cluster_is_asked_for_a_place_in_it_and_no_other_is_founded() {
        let running = |name| but(reply(name, 2), |reply| reply.initialized = true);
        let silent = ("n3".to_owned(), Err("n3 does not answer".to_owned()));
        assert_eq!(judged(&[running("n2"), silent.clone()]), Finding::Running("n2".to_owned()));
        // One that no configuration names.
        assert_eq!(judged(&[silent, running("n9")]), Finding::Running("n9".to_owned()));
        // A founder that the leader has not reached yet needs no place.
        let known = but(running("n2"), |reply| reply.known = true);
        assert!(matches!(judged(&[known.clone(), running("n3")]), Finding::Wait(_)));
        let removed = but(known, |reply| reply.removed = true);
        assert_eq!(judged(&[removed]), Finding::Removed);
    }
}
