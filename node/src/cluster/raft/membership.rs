//! Changes of the membership, one openraft call each; what to change and when is [`crate::cluster::autopilot`]'s business.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use openraft::{
    ChangeMembers, Instant, ServerState,
    async_runtime::watch::WatchReceiver,
    errors::{ClientWriteError, RaftError},
};

use super::{
    Engine,
    types::{MemberName, Types},
};
use crate::cluster::consensus::{ChangeError, Progress};

/// How long a change may take: two entries, each through the slower half of the voters.
const CHANGE_DEADLINE: Duration = Duration::from_secs(10);

impl Engine {
    pub(in crate::cluster) fn progress(&self) -> Option<Progress> {
        let metrics = self.0.raft.metrics();
        let metrics = metrics.borrow_watched();
        let replication = metrics
            .replication
            .as_ref()
            .filter(|_| metrics.state == ServerState::Leader)?;
        let mut matched: BTreeMap<u64, u64> = replication
            .iter()
            .filter_map(|(id, log)| Some((*id, log.as_ref()?.index())))
            .collect();
        matched.insert(self.0.me.raft_id, metrics.last_log_index.unwrap_or(0));
        let heard = metrics.heartbeat.iter().flatten();
        let heard = heard.filter_map(|(id, at)| Some((*id, (*at)?.into_inner().elapsed())));
        Some(Progress {
            matched,
            heard: heard.collect(),
            joint: metrics.membership_config.membership().get_joint_config().len() > 1,
        })
    }

    pub(in crate::cluster) async fn add_learner(&self, id: u64, name: &str) -> Result<(), ChangeError> {
        settled(self.0.raft.add_learner(id, MemberName(name.to_owned()), false)).await
    }

    pub(in crate::cluster) async fn change_voters(&self, add: BTreeSet<u64>, remove: BTreeSet<u64>) -> Result<(), ChangeError> {
        let change = ChangeMembers::Batch(vec![ChangeMembers::AddVoterIds(add), ChangeMembers::RemoveVoters(remove)]);
        settled(self.0.raft.change_membership(change, true)).await
    }

    pub(in crate::cluster) async fn drop_learner(&self, id: u64) -> Result<(), ChangeError> {
        let change = ChangeMembers::RemoveNodes(BTreeSet::from([id]));
        settled(self.0.raft.change_membership(change, true)).await
    }
}

async fn settled<T>(
    change: impl Future<Output = Result<T, RaftError<Types, ClientWriteError<Types>>>>,
) -> Result<(), ChangeError> {
    match tokio::time::timeout(CHANGE_DEADLINE, change).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(RaftError::APIError(ClientWriteError::ForwardToLeader(_)))) => Err(ChangeError::NotLeader),
        Ok(Err(RaftError::APIError(ClientWriteError::ChangeMembershipError(error)))) => {
            Err(ChangeError::Refused(error.to_string()))
        }
        Ok(Err(error)) => Err(ChangeError::Unknown(error.to_string())),
        Err(_) => Err(ChangeError::Unknown(format!("no answer within {CHANGE_DEADLINE:?}"))),
    }
}
