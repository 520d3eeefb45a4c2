//! The nodes of the cluster, and which of them there are to be.

use std::time::Duration;

use clap::Args;
use ringfort_proto::admin::v1::{self as pb, cluster_client::ClusterClient};
use serde_json::json;
use tonic::transport::Channel;

use super::{
    output::{Output, Shown, Sure, Table, Watch, or_dash},
    reply::refused,
};
use crate::cli::Failure;

/// List the nodes, how they stand, and what is being changed about them. A star marks the leader.
#[derive(Debug, Args)]
pub(super) struct List {
    #[command(flatten)]
    watch: Watch,
}

/// Have another core node lead: the one that is named, or whichever is the furthest.
#[derive(Debug, Args)]
pub(super) struct MoveLeadership {
    to: Option<String>,
}

/// Announce a core node. It becomes a learner when it comes, and a voter by itself once it has caught up.
#[derive(Debug, Args)]
pub(super) struct Add {
    name: String,
    /// The core node whose place it takes, in one change; its own name for a node that lost its disk.
    #[arg(long, value_name = "NAME")]
    replaces: Option<String>,
}

/// Remove a core node for good: it ends its sessions and stops. Or withdraw an announcement.
#[derive(Debug, Args)]
pub(super) struct Remove {
    name: String,
    #[command(flatten)]
    sure: Sure,
}

/// Above what a removal waits for sessions to end.
pub(super) const REMOVE_WITHIN: Duration = Duration::from_secs(70);

impl List {
    pub(super) async fn ask(self, channel: Channel, output: Output) -> Result<(), Failure> {
        let cluster = ClusterClient::new(channel);
        let shown = async || {
            let mut cluster = cluster.clone();
            let reply = cluster
                .list_nodes(pb::ListNodesRequest {})
                .await
                .map_err(refused)?
                .into_inner();
            Ok(Shown::new(document(&reply), table(&reply)))
        };
        self.watch.show(output, shown).await
    }
}

impl MoveLeadership {
    pub(super) async fn ask(self, channel: Channel, output: Output) -> Result<(), Failure> {
        let to = self.to.unwrap_or_default();
        let moved = ClusterClient::new(channel)
            .move_leadership(pb::MoveLeadershipRequest { to })
            .await;
        let leader = moved.map_err(refused)?.into_inner().leader;
        output.show(&Shown::new(json!({ "leader": leader }), format!("{leader} leads")))
    }
}

impl Add {
    pub(super) async fn ask(self, channel: Channel, output: Output) -> Result<(), Failure> {
        let name = self.name;
        let request = pb::AddNodeRequest {
            name: name.clone(),
            replaces: self.replaces.unwrap_or_default(),
        };
        let added = ClusterClient::new(channel).add_node(request).await;
        let index = added.map_err(refused)?.into_inner().index;
        let text = format!(
            "{name} is announced at log index {index}: start it with an empty data directory and the core nodes as cluster.peers"
        );
        output.show(&Shown::new(json!({ "announced": name, "index": index }), text))
    }
}

impl Remove {
    pub(super) async fn ask(self, channel: Channel, output: Output) -> Result<(), Failure> {
        let name = self.name;
        self.sure.ask(&format!("{name} ends its sessions and stops for good"))?;
        let request = pb::RemoveNodeRequest { name: name.clone() };
        let removed = ClusterClient::new(channel).remove_node(request).await;
        let index = removed.map_err(refused)?.into_inner().index;
        let text = format!("{name} is removed");
        output.show(&Shown::new(json!({ "removed": name, "index": index }), text))
    }
}

fn kind(node: &pb::Node) -> &'static str {
    match node.kind() {
        pb::NodeKind::Edge => "edge",
        pb::NodeKind::Core | pb::NodeKind::Unspecified => "core",
    }
}

fn vote(node: &pb::Node) -> &'static str {
    match node.vote() {
        pb::Vote::Voter => "voter",
        pb::Vote::Learner => "learner",
        pb::Vote::None | pb::Vote::Unspecified => "none",
    }
}

fn table(reply: &pb::ListNodesReply) -> String {
    let mut table = Table::new([
        "NAME", "KIND", "VOTE", "STAGE", "SLOT", "APPLIED", "LAG", "LEASE", "LINKS", "SESSIONS", "ADDRESS",
    ]);
    for node in &reply.nodes {
        let of = |text: String| if node.answered { text } else { "-".to_owned() };
        let up = node.links.iter().filter(|link| link.phase == "up").count();
        table.row([
            format!("{}{}", node.name, if node.leader { "*" } else { "" }),
            kind(node).to_owned(),
            vote(node).to_owned(),
            node.stage.clone(),
            or_dash(&if node.slot == 0 {
                String::new()
            } else {
                format!("{}/{}", node.slot, node.epoch)
            }),
            of(node.applied.to_string()),
            of(node.lag.to_string()),
            of(format!("{:.1}s", node.lease_ms as f64 / 1e3)),
            of(format!("{up}/{}", node.links.len())),
            of(node.sessions.to_string()),
            or_dash(&node.address),
        ]);
    }
    let mut text = table.render();
    for node in &reply.nodes {
        for link in node.links.iter().filter(|link| link.phase != "up") {
            text += &format!("{} to {}: {} {}\n", node.name, link.to, link.phase, link.error);
        }
    }
    if !reply.change.is_empty() {
        text += &format!("under way: {}\n", reply.change);
    }
    if !reply.last_change.is_empty() {
        text += &format!("last change: {}\n", reply.last_change);
    }
    text
}

fn document(reply: &pb::ListNodesReply) -> serde_json::Value {
    let nodes = reply.nodes.iter().map(|node| {
        let links = node
            .links
            .iter()
            .map(|link| json!({ "to": link.to, "phase": link.phase, "error": link.error, "queued_bytes": link.queued_bytes }));
        json!({
            "name": node.name,
            "address": node.address,
            "kind": kind(node),
            "vote": vote(node),
            "slot": node.slot,
            "epoch": node.epoch,
            "stage": node.stage,
            "version": node.version,
            "leader": node.leader,
            "applied": node.applied,
            "lag": node.lag,
            "lease_ms": node.lease_ms,
            "draining": node.draining,
            "sessions": node.sessions,
            "answered": node.answered,
            "replaces": node.replaces,
            "links": links.collect::<Vec<_>>(),
        })
    });
    json!({
        "nodes": nodes.collect::<Vec<_>>(),
        "change": reply.change,
        "last_change": reply.last_change,
        "leader": reply.leader,
    })
}
