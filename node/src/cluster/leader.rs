//! Reaching the leader: asked here when this node leads, over the control connection when another does.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use ringfort_proto::cluster::v1::{self as pb, control_client::ControlClient};
use tonic::transport::Channel;

use super::{
    command::{Command, Outcome},
    consensus::{Consensus, Peers, ProposeError, ReadError, TransferError},
    lease::LeaseBook,
};
use crate::router::{LogIndex, NodeRef};

/// How long one request to the leader may take before its outcome counts as unknown.
const REQUEST_DEADLINE: Duration = Duration::from_millis(1_500);

/// The same for a renewal: one that is late is asked again, at the next leader if need be.
const RENEW_DEADLINE: Duration = Duration::from_millis(700);

/// The same for moving the leadership, which takes an election at most.
const HAND_OVER_DEADLINE: Duration = Duration::from_secs(7);

/// A request the leader did not, or not knowingly, carry out.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No leader is known; nothing was sent.
    #[error("no leader is known")]
    NoLeader,
    /// The node asked does not lead; nothing was changed. Ask again.
    #[error("that node does not lead")]
    NotLeader,
    /// The leader would not take it, mostly for want of a quorum; nothing was changed.
    #[error("the leader refused: {0}")]
    Refused(String),
    /// The reply was lost: the command may or may not be committed. Only a recognisable repeat may be sent again.
    #[error("outcome unknown: {0}")]
    Unknown(String),
    /// The leader answered with something this build cannot read.
    #[error("unreadable answer: {0}")]
    Unreadable(String),
}

impl From<ProposeError> for Error {
    fn from(error: ProposeError) -> Self {
        match error {
            ProposeError::NotLeader { .. } => Error::NotLeader,
            ProposeError::Unknown(why) => Error::Unknown(why),
            refused @ (ProposeError::NoQuorum | ProposeError::TooLarge { .. } | ProposeError::Stopped(_)) => {
                Error::Refused(refused.to_string())
            }
        }
    }
}

/// The answer to a lease renewal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// Extended, counted from the moment the request was sent.
    Granted {
        /// How far the leader had applied the log.
        log: LogIndex,
    },
    /// Not now: the leader's own quorum contact is too old.
    Refused,
    /// That life is over.
    Fenced,
}

/// A cheap handle.
#[derive(Clone)]
pub struct Leader {
    consensus: Consensus,
    peers: Arc<dyn Peers>,
    book: Arc<LeaseBook>,
    cluster_id: Arc<str>,
}

impl Leader {
    /// Requests go to whoever `consensus` says leads, through `peers`, or to `book` where this node grants leases itself.
    pub fn new(consensus: Consensus, peers: Arc<dyn Peers>, book: Arc<LeaseBook>, cluster_id: &str) -> Self {
        Self {
            consensus,
            peers,
            book,
            cluster_id: cluster_id.into(),
        }
    }

    /// Commits one command and tells what applying it did.
    ///
    /// # Errors
    /// See [`Error`]: only [`Error::Unknown`] leaves it open whether the state changed.
    pub async fn propose(&self, command: &Command) -> Result<(LogIndex, Outcome), Error> {
        let bytes = command.encode();
        let (index, outcome) = match self.target()? {
            None => {
                let mut results = self.consensus.propose(vec![bytes]).await;
                results
                    .pop()
                    .ok_or_else(|| Error::Unknown("no result".to_owned()))?
                    .map_err(Error::from)?
            }
            Some(client) => self.propose_remotely(client, bytes).await?,
        };
        Ok((
            index,
            Outcome::decode(&outcome).map_err(|e| Error::Unreadable(e.to_string()))?,
        ))
    }

    /// The log index that a read started now has to wait for.
    ///
    /// # Errors
    /// No quorum confirmed it in time.
    pub async fn read_index(&self) -> Result<LogIndex, Error> {
        let Some(mut client) = self.target()? else {
            return self.consensus.read_index().await.map_err(|error| match error {
                ReadError::NotLeader { .. } => Error::NotLeader,
                other => Error::Refused(other.to_string()),
            });
        };
        let request = pb::ReadIndexRequest {
            cluster_id: self.cluster_id.to_string(),
        };
        match within(REQUEST_DEADLINE, client.read_index(request)).await?.result {
            Some(pb::read_index_reply::Result::Index(index)) => {
                self.consensus.heard_of(index);
                Ok(index)
            }
            Some(pb::read_index_reply::Result::NotLeader(_)) => Err(Error::NotLeader),
            Some(pb::read_index_reply::Result::Failed(why)) => Err(Error::Refused(why)),
            None => Err(Error::Unreadable("empty read index reply".to_owned())),
        }
    }

    /// Asks for the lease of `node` to be extended.
    ///
    /// # Errors
    /// Nothing was granted, or the grant was lost on the way: treat it as not granted.
    pub async fn renew(&self, node: NodeRef) -> Result<Renewal, Error> {
        let Some(mut client) = self.target()? else {
            return Ok(self.book.renew(node, &self.consensus));
        };
        let request = pb::RenewRequest {
            cluster_id: self.cluster_id.to_string(),
            slot: node.slot.0.into(),
            epoch: node.epoch,
        };
        let reply = within(RENEW_DEADLINE, client.renew(request)).await?;
        match reply.result {
            Some(pb::renew_reply::Result::Granted(_)) => {
                self.consensus.heard_of(reply.log);
                Ok(Renewal::Granted { log: reply.log })
            }
            Some(pb::renew_reply::Result::Refused(_)) => Ok(Renewal::Refused),
            Some(pb::renew_reply::Result::Fenced(_)) => Ok(Renewal::Fenced),
            Some(pb::renew_reply::Result::NotLeader(_)) => Err(Error::NotLeader),
            None => Err(Error::Unreadable("empty renewal reply".to_owned())),
        }
    }

    /// Has another core node lead: the one called `to`, or whichever is the furthest where that is empty. Returns the new leader.
    ///
    /// # Errors
    /// It has not moved, or that is not known.
    pub async fn hand_over(&self, to: &str) -> Result<String, Error> {
        use pb::move_leadership_reply::Result as R;
        let Some(mut client) = self.target()? else {
            return self.hand_over_here(to).await;
        };
        let request = pb::MoveLeadershipRequest {
            cluster_id: self.cluster_id.to_string(),
            to: to.to_owned(),
        };
        match within(HAND_OVER_DEADLINE, client.move_leadership(request)).await?.result {
            Some(R::Leader(leader)) => Ok(leader),
            Some(R::NotLeader(_)) => Err(Error::NotLeader),
            Some(R::Refused(why)) => Err(Error::Refused(why)),
            None => Err(Error::Unreadable("empty reply about the leadership".to_owned())),
        }
    }

    /// The same where this node leads.
    ///
    /// # Errors
    /// As for [`Self::hand_over`].
    pub async fn hand_over_here(&self, to: &str) -> Result<String, Error> {
        let leadership = self.consensus.leadership();
        let leads = || leadership.borrow().leader.clone().map(|(_, name)| name).unwrap_or_default();
        if !leadership.borrow().is_me {
            return Err(Error::NotLeader);
        }
        if leads() == to {
            return Ok(to.to_owned());
        }
        let voters = self.consensus.members().into_iter().filter(|member| member.voter);
        let target = match to {
            "" => None,
            _ => {
                let voters: Vec<_> = voters.collect();
                let found = voters.iter().find(|member| member.name == to).map(|member| member.id);
                Some(found.ok_or_else(|| {
                    let mut names: Vec<&str> = voters.iter().map(|member| member.name.as_str()).collect();
                    names.sort_unstable();
                    Error::Refused(format!("{to} is no core node with a vote; there are {}", names.join(", ")))
                })?)
            }
        };
        match self.consensus.transfer_leadership(target).await {
            Ok(()) => Ok(leads()),
            Err(TransferError::NotLeader) => Err(Error::NotLeader),
            Err(error) => Err(Error::Refused(error.to_string())),
        }
    }

    /// `None`: this node leads.
    fn target(&self) -> Result<Option<ControlClient<Channel>>, Error> {
        let leadership = self.consensus.leadership().borrow().clone();
        if leadership.is_me {
            return Ok(None);
        }
        let (_, name) = leadership.leader.ok_or(Error::NoLeader)?;
        let channel = self.peers.channel(&name).ok_or(Error::NoLeader)?;
        Ok(Some(ControlClient::new(channel)))
    }

    async fn propose_remotely(&self, mut client: ControlClient<Channel>, command: Bytes) -> Result<(LogIndex, Bytes), Error> {
        let request = pb::ProposeRequest {
            cluster_id: self.cluster_id.to_string(),
            commands: vec![command],
        };
        let mut reply = within(REQUEST_DEADLINE, client.propose(request)).await?;
        match reply.results.pop().and_then(|r| r.result) {
            Some(pb::propose_result::Result::Committed(committed)) => Ok((committed.index, committed.outcome)),
            Some(pb::propose_result::Result::NotLeader(_)) => Err(Error::NotLeader),
            Some(pb::propose_result::Result::Refused(why)) => Err(Error::Refused(why)),
            Some(pb::propose_result::Result::Unknown(why)) => Err(Error::Unknown(why)),
            None => Err(Error::Unreadable("empty propose reply".to_owned())),
        }
    }
}

/// Bounds a request as a whole: a timeout of the request itself does not cover the time in which its connection is opened.
async fn within<T>(
    deadline: Duration,
    request: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>,
) -> Result<T, Error> {
    match tokio::time::timeout(deadline, request).await {
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(status)) => Err(Error::Unknown(status.to_string())),
        Err(_) => Err(Error::Unknown(format!("no answer within {deadline:?}"))),
    }
}
