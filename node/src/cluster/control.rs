//! The control service: what other nodes ask this one besides consensus and router links.

use std::sync::Arc;

use ringfort_proto::cluster::v1::{self as pb, control_server::Control};
use tokio::sync::watch;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::{
    command::{Command, Outcome, node_ref},
    consensus::{Consensus, ProposeError, ReadError},
    drain::{self, Drain},
    feed::source::Source,
    health::Health,
    leader::{Error, Leader, Renewal},
    lease::LeaseBook,
    machine::ClusterView,
    net::{self, PeerIdentity},
    roster::{Goal, Step},
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
    /// The way to the log for those who may not know the leader yet.
    pub leader: Leader,
    /// What the log decided.
    pub view: watch::Receiver<ClusterView>,
    /// How this node stands.
    pub health: Health,
    /// Where edge nodes get the log from.
    pub feed: Source,
    /// How far this node is in going away.
    pub drain: Drain,
}

/// The longest address that a node may name.
const ADDRESS_BYTES_MAX: usize = 256;

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

impl ControlService {
    /// Why a node may not come under its name as long as no operator says that it replaces the one that has it.
    fn has_another_disk(&self, name: &str, raft_id: u64) -> Option<String> {
        let members = self.consensus.members();
        let taken = members.iter().any(|member| member.name == name && member.id != raft_id);
        let roster = Arc::clone(&self.view.borrow().roster);
        let comes = matches!(roster.open().map(|plan| &plan.goal), Some(Goal::Add { raft_id: open, .. }) if *open == raft_id);
        let replaces = roster
            .announced()
            .any(|(announced, of)| announced == name && of == Some(name));
        (taken && !comes && !replaces).then(|| {
            format!("{name} is a core node with another disk: if that disk is lost, run ringfort admin add-node {name} --replaces {name}")
        })
    }
}

fn not_leader(leader: Option<String>) -> pb::NotLeader {
    pb::NotLeader {
        leader: leader.unwrap_or_default(),
    }
}

#[tonic::async_trait]
impl Control for ControlService {
    type FollowStream = ReceiverStream<Result<pb::FeedPart, Status>>;

    async fn follow(&self, request: Request<pb::FollowRequest>) -> Result<Response<Self::FollowStream>, Status> {
        let peer = PeerIdentity::of(&request);
        let request = request.into_inner();
        self.check(&request.cluster_id)?;
        if !peer.may_be(&request.from) {
            return Err(Status::permission_denied("the certificate is for another node"));
        }
        tracing::info!(follower = request.from, applied = request.applied, "a node follows");
        self.feed.follow(request.applied).map(Response::new)
    }

    async fn info(&self, request: Request<pb::InfoRequest>) -> Result<Response<pb::InfoReply>, Status> {
        let request = request.into_inner();
        self.check(&request.cluster_id)?;
        let members = self.consensus.members();
        Ok(Response::new(pb::InfoReply {
            known: members.iter().any(|member| member.id == request.raft_id),
            removed: self.view.borrow().roster.is_retired(request.raft_id),
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

    async fn admit(&self, request: Request<pb::AdmitRequest>) -> Result<Response<pb::AdmitReply>, Status> {
        use pb::admit_reply::Result as R;
        let peer = PeerIdentity::of(&request);
        let request = request.into_inner();
        self.check(&request.cluster_id)?;
        if !peer.may_be(&request.name) {
            return Err(Status::permission_denied("the certificate is for another node"));
        }
        net::Identity::new(self.cluster_id.as_str(), request.name.as_str())
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        if request.address.len() > ADDRESS_BYTES_MAX || request.raft_id == 0 {
            return Err(Status::invalid_argument("no disk, or an address that is too long"));
        }
        if let Some(why) = self.has_another_disk(&request.name, request.raft_id) {
            let result = Some(R::Refused(why));
            return Ok(Response::new(pb::AdmitReply { result }));
        }
        let step = Step::Admit {
            listed: self.expected.contains(&request.name),
            raft_id: request.raft_id,
            name: request.name,
            address: request.address,
        };
        let result = match self.leader.propose(&Command::Membership(step)).await {
            Ok((_, Outcome::Planned(plan))) => R::Planned(plan),
            Ok((_, Outcome::Removed)) => R::Removed(true),
            Ok((_, Outcome::Refused(why))) => R::Refused(why),
            Ok((_, outcome)) => R::Unknown(format!("the log answered {outcome:?}")),
            Err(error) => R::Unknown(error.to_string()),
        };
        Ok(Response::new(pb::AdmitReply { result: Some(result) }))
    }

    async fn move_leadership(
        &self,
        request: Request<pb::MoveLeadershipRequest>,
    ) -> Result<Response<pb::MoveLeadershipReply>, Status> {
        use pb::move_leadership_reply::Result as R;
        let request = request.into_inner();
        self.check(&request.cluster_id)?;
        let result = match self.leader.hand_over_here(&request.to).await {
            Ok(leader) => R::Leader(leader),
            Err(Error::NotLeader) => {
                let leader = self.consensus.leadership().borrow().leader.clone();
                R::NotLeader(not_leader(leader.map(|(_, name)| name)))
            }
            Err(error) => R::Refused(error.to_string()),
        };
        Ok(Response::new(pb::MoveLeadershipReply { result: Some(result) }))
    }

    async fn status(&self, request: Request<pb::StatusRequest>) -> Result<Response<pb::NodeStatus>, Status> {
        self.check(&request.get_ref().cluster_id)?;
        Ok(Response::new(self.health.status()))
    }

    async fn drain(&self, request: Request<pb::DrainRequest>) -> Result<Response<pb::DrainReply>, Status> {
        self.check(&request.get_ref().cluster_id)?;
        let question = drain::question(request.get_ref())?;
        let progress = self.drain.answer(question);
        let progress = progress.map_err(|error| Status::failed_precondition(error.to_string()))?;
        Ok(Response::new(drain::told(&progress)))
    }
}
