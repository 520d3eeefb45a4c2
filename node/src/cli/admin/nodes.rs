//! `ringfort admin nodes` and the commands that change which nodes there are.

use std::{
    io::{IsTerminal, Write},
    time::Duration,
};

use clap::{Subcommand, ValueEnum};
use ringfort_proto::admin::v1::{self as pb, cluster_client::ClusterClient};
use serde_json::json;
use tonic::transport::Channel;

use super::refused;
use crate::cli::{Failure, print_line};

#[derive(Debug, Subcommand)]
pub(super) enum Nodes {
    /// List the nodes, how they stand, and what is being changed about them.
    Nodes {
        /// text, or json with everything that is known.
        #[arg(long, value_enum, default_value = "text")]
        output: Output,
    },
    /// Have another core node lead: the one that is named, or whichever is the furthest.
    MoveLeadership { to: Option<String> },
    /// Announce a core node. It becomes a learner when it comes, and a voter by itself once it has caught up.
    AddNode {
        name: String,
        /// The core node whose place it takes, in one change; its own name for a node that lost its disk.
        #[arg(long, value_name = "NAME")]
        replaces: Option<String>,
    },
    /// Remove a core node for good: it ends its sessions and stops. Or withdraw an announcement.
    RemoveNode {
        name: String,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Output {
    Text,
    Json,
}

/// Above what a removal waits for sessions to end.
const REMOVE_WITHIN: Duration = Duration::from_secs(70);

impl Nodes {
    /// How long an answer may take, where that is longer than usual.
    pub(super) fn patience(&self) -> Option<Duration> {
        matches!(self, Self::RemoveNode { .. }).then_some(REMOVE_WITHIN)
    }

    pub(super) async fn ask(self, channel: Channel) -> Result<(), Failure> {
        let mut cluster = ClusterClient::new(channel);
        match self {
            Self::Nodes { output } => {
                let reply = cluster
                    .list_nodes(pb::ListNodesRequest {})
                    .await
                    .map_err(refused)?
                    .into_inner();
                match output {
                    Output::Text => table(&reply),
                    Output::Json => print_line(&document(&reply).to_string()),
                }
            }
            Self::MoveLeadership { to } => {
                let request = pb::MoveLeadershipRequest {
                    to: to.unwrap_or_default(),
                };
                let reply = cluster.move_leadership(request).await.map_err(refused)?.into_inner();
                print_line(&format!("{} leads", reply.leader))
            }
            Self::AddNode { name, replaces } => {
                let request = pb::AddNodeRequest {
                    name: name.clone(),
                    replaces: replaces.unwrap_or_default(),
                };
                let reply = cluster.add_node(request).await.map_err(refused)?.into_inner();
                print_line(&format!(
                    "{name} is announced at log index {}: start it with an empty data directory and the core nodes as cluster.peers",
                    reply.index
                ))
            }
            Self::RemoveNode { name, yes } => {
                if !yes {
                    confirm(&name)?;
                }
                let request = pb::RemoveNodeRequest { name: name.clone() };
                cluster.remove_node(request).await.map_err(refused)?;
                print_line(&format!("{name} is removed"))
            }
        }
    }
}

/// Asks on the terminal; without one, nobody could answer.
fn confirm(name: &str) -> Result<(), Failure> {
    let usage = |text: String| Failure { code: 2, text };
    if !std::io::stdin().is_terminal() {
        return Err(usage(format!("removing {name} is for good: say --yes")));
    }
    eprint!("{name} will end its sessions and stop for good. Type its name to go on: ");
    let _ = std::io::stderr().flush();
    let mut line = String::new();
    let read = std::io::stdin().read_line(&mut line);
    read.map_err(|error| Failure::new(format!("standard input: {error}")))?;
    if line.trim() == name {
        return Ok(());
    }
    Err(usage("nothing was removed".to_owned()))
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
        pb::Vote::None | pb::Vote::Unspecified => "-",
    }
}

fn table(reply: &pb::ListNodesReply) -> Result<(), Failure> {
    let heads = [
        "NAME", "KIND", "VOTE", "STAGE", "SLOT", "APPLIED", "LAG", "LEASE", "LINKS", "SESSIONS", "ADDRESS",
    ];
    let mut rows: Vec<Vec<String>> = vec![heads.map(str::to_owned).to_vec()];
    for node in &reply.nodes {
        let of = |number: u64| if node.answered { number.to_string() } else { "-".to_owned() };
        let up = node.links.iter().filter(|link| link.phase == "up").count();
        rows.push(vec![
            format!("{}{}", node.name, if node.leader { "*" } else { "" }),
            kind(node).to_owned(),
            vote(node).to_owned(),
            node.stage.clone(),
            if node.slot == 0 {
                "-".to_owned()
            } else {
                format!("{}/{}", node.slot, node.epoch)
            },
            of(node.applied),
            of(node.lag),
            if node.answered {
                format!("{:.1}s", node.lease_ms as f64 / 1e3)
            } else {
                "-".to_owned()
            },
            if node.answered {
                format!("{up}/{}", node.links.len())
            } else {
                "-".to_owned()
            },
            of(node.sessions),
            node.address.clone(),
        ]);
    }
    for line in columns(&rows) {
        print_line(&line)?;
    }
    for node in &reply.nodes {
        for link in node.links.iter().filter(|link| link.phase != "up") {
            print_line(&format!("{} to {}: {} {}", node.name, link.to, link.phase, link.error))?;
        }
    }
    if !reply.change.is_empty() {
        print_line(&format!("under way: {}", reply.change))?;
    }
    if !reply.last_change.is_empty() {
        print_line(&format!("last change: {}", reply.last_change))?;
    }
    Ok(())
}

/// Rows with their columns below each other.
fn columns(rows: &[Vec<String>]) -> Vec<String> {
    let width = |at: usize| {
        rows.iter()
            .filter_map(|row| row.get(at))
            .map(|cell| cell.chars().count())
            .max()
    };
    let line = |row: &Vec<String>| {
        let cells = row
            .iter()
            .enumerate()
            .map(|(at, cell)| format!("{cell:<0$}", width(at).unwrap_or(0)));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
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
            "vote": match node.vote() { pb::Vote::Voter => "voter", pb::Vote::Learner => "learner", _ => "none" },
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_below_each_other() {
        let row = |cells: [&str; 2]| cells.map(str::to_owned).to_vec();
        assert_eq!(
            columns(&[row(["NAME", "KIND"]), row(["n", "edge"])]),
            ["NAME  KIND", "n     edge"]
        );
    }
}
