//! The nodes of the cluster over gRPC: `proto/ringfort/admin/v1/cluster.proto`.
//!
//! What stands in a list comes from the log, which this node has applied, and from each node itself, asked at that moment. A change goes
//! into the log and is carried out by the leader (`cluster/autopilot.rs`); here it is only waited for.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use ringfort_proto::{
    admin::v1::{self as pb, cluster_server::Cluster},
    cluster::v1::{NodeStatus, StatusRequest, control_client::ControlClient},
};
use serde_json::json;
use tonic::{Request, Response, Status};

use super::{
    access::{caller, refusal},
    recorded::recorded,
};
use crate::{
    audit::Audit,
    cluster::{
        Inspect,
        command::{Command, Outcome},
        leader::Error,
        machine::ClusterView,
        net,
        roster::{Plan, Step},
    },
};

/// The service.
#[derive(Clone)]
pub struct Nodes {
    inspect: Inspect,
    name: Arc<str>,
    audit: Audit,
}

/// How long a node may take to say how it stands.
const ASK_WITHIN: Duration = Duration::from_secs(1);
/// How long a removal is waited for: the leadership may have to move, and sessions to end.
const REMOVE_WITHIN: Duration = Duration::from_secs(60);

/// How long a leader that can decide is waited for.
const LEADER_WITHIN: Duration = Duration::from_secs(3);
const ASK_AGAIN: Duration = Duration::from_millis(100);

type Reply<T> = Result<Response<T>, Status>;

impl Nodes {
    /// The service of the node `name`, whose changes are kept in `audit`.
    pub fn new(inspect: Inspect, name: &str, audit: Audit) -> Self {
        Self {
            inspect,
            name: name.into(),
            audit,
        }
    }

    fn view(&self) -> ClusterView {
        self.inspect.view.borrow().clone()
    }

    /// Every node that is known of, by name.
    async fn nodes(&self) -> BTreeMap<String, pb::Node> {
        let view = self.view();
        let mut nodes = known(&view, &self.inspect);
        let asked = nodes.keys().map(|name| async { (name.clone(), self.ask(name, &view).await) });
        let answers: Vec<(String, Option<NodeStatus>)> = join_all(asked).await;
        for (name, status) in answers {
            if let (Some(node), Some(status)) = (nodes.get_mut(&name), status) {
                tell(node, status);
            }
        }
        let furthest = nodes.values().map(|node| node.applied).max().unwrap_or(0);
        let leader = self.leader();
        for node in nodes.values_mut() {
            node.leader = node.name == leader;
            if node.answered {
                node.lag = furthest - node.applied;
            }
        }
        nodes
    }

    fn leader(&self) -> String {
        let leadership = self.inspect.consensus.leadership().borrow().clone();
        leadership.leader.map(|(_, name)| name).unwrap_or_default()
    }

    /// What a node says of itself; `None` if it does not answer.
    async fn ask(&self, name: &str, view: &ClusterView) -> Option<NodeStatus> {
        if *name == *self.name {
            return Some(self.inspect.health.status());
        }
        let channel = self.inspect.peers.channel(name)?;
        let request = StatusRequest {
            cluster_id: view.cluster_id.clone()?,
        };
        let asked = async { ControlClient::new(channel).status(request).await };
        let answer = tokio::time::timeout(ASK_WITHIN, asked).await.ok()?.ok()?.into_inner();
        // Another node may stand where this one was.
        (answer.name == name).then_some(answer)
    }

    fn check_name(&self, name: &str) -> Result<(), Status> {
        let cluster = self.view().cluster_id.unwrap_or_default();
        net::Identity::new(cluster, name).map_err(|error| Status::invalid_argument(error.to_string()))?;
        Ok(())
    }

    fn is_edge(&self, name: &str) -> bool {
        let table = self.view().table;
        table.live().any(|(_, row)| row.edge && row.name == name)
    }

    /// Has the log take a step. Asked again for a moment where it was not taken: a leader that is new has to hear from its quorum first.
    async fn propose(&self, step: Step) -> Result<(u64, Outcome), Status> {
        let command = Command::Membership(step);
        let until = Instant::now() + LEADER_WITHIN;
        loop {
            match self.inspect.leader.propose(&command).await {
                Err(Error::NoLeader | Error::NotLeader | Error::Refused(_)) if Instant::now() < until => {
                    tokio::time::sleep(ASK_AGAIN).await;
                }
                answer => return answer.map_err(refusal),
            }
        }
    }

    async fn add(&self, actor: String, request: pb::AddNodeRequest) -> Reply<pb::AddNodeReply> {
        let pb::AddNodeRequest { name, replaces } = request;
        self.check_name(&name)?;
        if self.is_edge(&name) {
            let text = format!("{name} is an edge node: it comes and goes by itself, only core nodes are announced");
            return Err(Status::failed_precondition(text));
        }
        let members = self.inspect.consensus.members();
        let is_member = |name: &str| members.iter().any(|member| member.name == name);
        if is_member(&name) && replaces != name {
            return Err(Status::failed_precondition(format!(
                "{name} is a core node already: if its disk is lost, run ringfort admin add-node {name} --replaces {name}"
            )));
        }
        if !replaces.is_empty() && !is_member(&replaces) {
            let mut names: Vec<&str> = members.iter().map(|member| member.name.as_str()).collect();
            names.sort_unstable();
            let text = format!(
                "there is no core node {replaces} to be replaced; there are {}",
                names.join(", ")
            );
            return Err(Status::failed_precondition(text));
        }
        let step = Step::Announce {
            name,
            replaces: (!replaces.is_empty()).then_some(replaces),
            actor,
        };
        match self.propose(step).await? {
            (index, Outcome::Done) => Ok(Response::new(pb::AddNodeReply { index })),
            (_, Outcome::Refused(why)) => Err(Status::failed_precondition(why)),
            (_, other) => Err(Status::internal(format!("the log answered {other:?}"))),
        }
    }

    async fn remove(&self, actor: String, name: String) -> Reply<pb::RemoveNodeReply> {
        self.check_name(&name)?;
        if self.is_edge(&name) {
            let text = format!("{name} is an edge node: stop its process, which leaves nothing behind");
            return Err(Status::failed_precondition(text));
        }
        let step = Step::PlanRemoval {
            name: name.clone(),
            actor,
        };
        let index = match self.propose(step).await? {
            (_, Outcome::Planned(plan)) => plan,
            (_, Outcome::Refused(why)) => return Err(Status::failed_precondition(why)),
            (_, other) => return Err(Status::internal(format!("the log answered {other:?}"))),
        };
        let mut view = self.inspect.view.clone();
        let over = view.wait_for(|view| {
            let roster = &view.roster;
            // A node that is asked to remove itself answers before it stops.
            roster.closed(index).is_some() || name == *self.name && roster.has_retired(index)
        });
        let failed = match tokio::time::timeout(REMOVE_WITHIN, over).await {
            Ok(Ok(view)) => view.roster.closed(index).and_then(|closed| closed.failed.clone()),
            Ok(Err(_)) => {
                return Err(Status::unavailable(
                    "this node stops; ask another one with ringfort admin nodes",
                ));
            }
            Err(_) => {
                let text = format!("{name} is still being removed; ringfort admin nodes tells how it goes on");
                return Err(Status::deadline_exceeded(text));
            }
        };
        match failed {
            None => Ok(Response::new(pb::RemoveNodeReply { index })),
            Some(why) => Err(Status::failed_precondition(why)),
        }
    }
}

/// What the log and the membership of consensus say.
fn known(view: &ClusterView, inspect: &Inspect) -> BTreeMap<String, pb::Node> {
    let mut nodes: BTreeMap<String, pb::Node> = BTreeMap::new();
    for (name, replaces) in view.roster.announced() {
        let node = pb::Node {
            name: name.to_owned(),
            kind: pb::NodeKind::Core.into(),
            vote: pb::Vote::None.into(),
            stage: "announced".to_owned(),
            replaces: replaces.unwrap_or_default().to_owned(),
            ..pb::Node::default()
        };
        nodes.insert(name.to_owned(), node);
    }
    for member in inspect.consensus.members() {
        let node = nodes.entry(member.name.clone()).or_default();
        node.name = member.name;
        node.kind = pb::NodeKind::Core.into();
        node.stage = "lost".to_owned();
        let vote = if member.voter { pb::Vote::Voter } else { pb::Vote::Learner };
        node.vote = node.vote.max(vote.into());
    }
    for (life, row) in view.table.live() {
        let node = nodes.entry(row.name.clone()).or_default();
        node.name.clone_from(&row.name);
        node.kind = if row.edge { pb::NodeKind::Edge } else { pb::NodeKind::Core }.into();
        node.vote = node.vote.max(pb::Vote::None.into());
        node.address.clone_from(&row.address);
        node.version.clone_from(&row.version);
        node.stage = "lost".to_owned();
        (node.slot, node.epoch) = (life.slot.0.into(), life.epoch);
    }
    nodes
}

/// Adds what a node says of itself.
fn tell(node: &mut pb::Node, status: NodeStatus) {
    node.answered = true;
    node.stage = if status.draining {
        "draining".to_owned()
    } else {
        status.stage
    };
    node.version = status.version;
    node.applied = status.applied;
    node.lease_ms = status.lease_ms;
    node.draining = status.draining;
    node.sessions = status.sessions;
    let links = status.links.into_iter().map(|link| pb::NodeLink {
        to: link.name,
        phase: link.phase,
        error: link.error,
        queued_bytes: link.queued_bytes,
    });
    node.links = links.collect();
}

#[tonic::async_trait]
impl Cluster for Nodes {
    async fn list_nodes(&self, _: Request<pb::ListNodesRequest>) -> Reply<pb::ListNodesReply> {
        let nodes = self.nodes().await.into_values().collect();
        let roster = self.view().roster;
        let last = roster.last_closed().map(|closed| match &closed.failed {
            None => format!("{}: done", closed.name),
            Some(why) => format!("{}: {why}", closed.name),
        });
        Ok(Response::new(pb::ListNodesReply {
            nodes,
            change: roster.open().map(Plan::describe).unwrap_or_default(),
            last_change: last.unwrap_or_default(),
            leader: self.leader(),
        }))
    }

    async fn get_node(&self, request: Request<pb::GetNodeRequest>) -> Reply<pb::Node> {
        let name = request.into_inner().name;
        let node = self.nodes().await.remove(&name);
        node.map(Response::new)
            .ok_or_else(|| Status::not_found(format!("there is no node {name}")))
    }

    async fn move_leadership(&self, request: Request<pb::MoveLeadershipRequest>) -> Reply<pb::MoveLeadershipReply> {
        let caller = caller(&request)?;
        let to = request.into_inner().to;
        let moved = async {
            match self.inspect.leader.hand_over(&to).await {
                Ok(leader) => Ok(Response::new(pb::MoveLeadershipReply { leader })),
                Err(Error::Refused(why)) => Err(Status::failed_precondition(why)),
                Err(error) => Err(refusal(error)),
            }
        };
        recorded(
            &self.audit,
            &caller,
            "leadership".to_owned(),
            json!({ "to": to }),
            |_| None,
            moved,
        )
        .await
    }

    async fn add_node(&self, request: Request<pb::AddNodeRequest>) -> Reply<pb::AddNodeReply> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let (what, after) = (format!("add node {}", request.name), json!({ "replaces": request.replaces }));
        let actor = format!("{} on {}", caller.name, self.name);
        let added = self.add(actor, request);
        recorded(&self.audit, &caller, what, after, |reply| Some(reply.index), added).await
    }

    async fn remove_node(&self, request: Request<pb::RemoveNodeRequest>) -> Reply<pb::RemoveNodeReply> {
        let caller = caller(&request)?;
        let name = request.into_inner().name;
        let what = format!("remove node {name}");
        let actor = format!("{} on {}", caller.name, self.name);
        let removed = self.remove(actor, name);
        recorded(
            &self.audit,
            &caller,
            what,
            serde_json::Value::Null,
            |reply| Some(reply.index),
            removed,
        )
        .await
    }
}
