//! The control service: what other nodes ask this one besides consensus and router links.

use std::sync::Arc;

use ringfort_proto::cluster::v1::{self as pb, control_server::Control};
use tonic::{Request, Response, Status};

use super::{
    command::node_ref,
    consensus::{Consensus, ProposeError, ReadError},
    drain::{self, Drain},
    leader::Renewal,
    lease::LeaseBook,
};

/// At most this many commands in one request.
const COMMANDS_MAX: usize = 1_024;

/// Answers for this node.
pub struct ControlService {
    /// The id every request must carry.
    pub cluster_id: String,
    /// This node's name.
    pub name: String,
    /// This node's id in consensus.
    pub raft_id: u64,
    /// The voters it expects, sorted.
    pub expected: Vec<String>,
    /// Asked for everything that only a leader may answer.
    pub consensus: Consensus,
    /// The leases this node grants while it leads.
    pub book: Arc<LeaseBook>,
    /// How far this node is in going away.
    pub drain: Drain,
}

impl ControlService {
    fn check(&self, cluster_id: &str) -> Result<(), Status> {
        if cluster_id == self.cluster_id {
            return Ok(());
        }
        Err(Status::permission_denied(format!(
            "this is cluster {:?}, the request is for {cluster_id:?}: compare cluster.id in both configurations",
            self.cluster_id
        )))
    }
}

fn not_leader(leader: Option<String>) -> pb::NotLeader {
    pb::NotLeader {
        leader: leader.unwrap_or_default(),
    }
}

#[tonic::async_trait]
impl Control for ControlService {
    async fn info(&self, request: Request<pb::InfoRequest>) -> Result<Response<pb::InfoReply>, Status> {
        self.check(&request.get_ref().cluster_id)?;
        Ok(Response::new(pb::InfoReply {
            cluster_id: self.cluster_id.clone(),
            name: self.name.clone(),
            raft_id: self.raft_id,
            initialized: self.consensus.is_initialized(),
            expected: self.expected.clone(),
        }))
    }

    async fn propose(&self, request: Request<pb::ProposeRequest>) -> Result<Response<pb::ProposeReply>, Status> {
        self.check(&request.get_ref().cluster_id)?;
        let commands = request.into_inner().commands;
        if commands.len() > COMMANDS_MAX {
            return Err(Status::invalid_argument(format!(
                "more than {COMMANDS_MAX} commands in one request"
            )));
        }
        let results = self.consensus.propose(commands).await.into_iter().map(|result| {
            use pb::propose_result::Result as R;
            pb::ProposeResult {
                result: Some(match result {
                    Ok((index, outcome)) => R::Committed(pb::Committed { index, outcome }),
                    Err(ProposeError::NotLeader { leader }) => R::NotLeader(not_leader(leader)),
                    Err(ProposeError::Unknown(why)) => R::Unknown(why),
                    Err(refused) => R::Refused(refused.to_string()),
                }),
            }
        });
        Ok(Response::new(pb::ProposeReply {
            results: results.collect(),
        }))
    }

    async fn read_index(&self, request: Request<pb::ReadIndexRequest>) -> Result<Response<pb::ReadIndexReply>, Status> {
        use pb::read_index_reply::Result as R;
        self.check(&request.get_ref().cluster_id)?;
        let result = match self.consensus.read_index().await {
            Ok(index) => R::Index(index),
            Err(ReadError::NotLeader { leader }) => R::NotLeader(not_leader(leader)),
            Err(error) => R::Failed(error.to_string()),
        };
        Ok(Response::new(pb::ReadIndexReply { result: Some(result) }))
    }

    async fn renew(&self, request: Request<pb::RenewRequest>) -> Result<Response<pb::RenewReply>, Status> {
        use pb::renew_reply::Result as R;
        let request = request.into_inner();
        self.check(&request.cluster_id)?;
        let node = node_ref(request.slot, request.epoch).map_err(|e| Status::invalid_argument(e.to_string()))?;
        let leadership = self.consensus.leadership().borrow().clone();
        let mut log = 0;
        let result = if !leadership.is_me {
            R::NotLeader(not_leader(leadership.leader.map(|(_, name)| name)))
        } else {
            match self.book.renew(node, &self.consensus) {
                Renewal::Granted { log: applied } => {
                    log = applied;
                    R::Granted(true)
                }
                Renewal::Fenced => R::Fenced(true),
                Renewal::Refused => R::Refused("the leader's own quorum contact is too old".to_owned()),
            }
        };
        Ok(Response::new(pb::RenewReply {
            result: Some(result),
            log,
        }))
    }

    async fn drain(&self, request: Request<pb::DrainRequest>) -> Result<Response<pb::DrainReply>, Status> {
        self.check(&request.get_ref().cluster_id)?;
        let question = drain::question(request.get_ref())?;
        let progress = self.drain.answer(question);
        let progress = progress.map_err(|error| Status::failed_precondition(error.to_string()))?;
        Ok(Response::new(drain::told(&progress)))
    }
}
