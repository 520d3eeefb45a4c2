//! Sessions: who is there, what one does, ending some, and who does not keep up.

use clap::Args;
use ringfort_proto::admin::v1 as pb;
use serde_json::{Value, json};
use tonic::transport::Channel;

use super::{
    output::{Output, Shown, Sure, Table, Watch, or_dash, time},
    reply::{UNCONFIRMED, refused},
};
use crate::cli::Failure;

/// List the sessions of all nodes.
#[derive(Debug, Args)]
pub(super) struct List {
    /// Only of this realm.
    #[arg(long)]
    realm: Option<String>,
    /// Only of this node.
    #[arg(long)]
    node: Option<String>,
    /// Only of this name.
    #[arg(long)]
    authid: Option<String>,
    /// Only in this role.
    #[arg(long)]
    role: Option<String>,
    /// Only from this IP address; the nodes are asked then.
    #[arg(long, value_name = "ADDRESS")]
    source: Option<String>,
    /// At most so many.
    #[arg(long, default_value = "1000")]
    limit: usize,
    #[command(flatten)]
    watch: Watch,
}

/// Show one session.
#[derive(Debug, Args)]
pub(super) struct Get {
    id: u64,
    #[command(flatten)]
    watch: Watch,
}

/// End the sessions that match all that is given; at least one is needed. Each hears GOODBYE.
#[derive(Debug, Args)]
pub(super) struct Kill {
    /// This one.
    #[arg(long, value_name = "ID")]
    session: Option<u64>,
    /// Those of this name.
    #[arg(long)]
    authid: Option<String>,
    /// Those in this role.
    #[arg(long)]
    role: Option<String>,
    /// Those of this realm.
    #[arg(long)]
    realm: Option<String>,
    /// Those of this node.
    #[arg(long)]
    node: Option<String>,
    /// The reason they hear.
    #[arg(long, value_name = "URI", default_value = "wamp.close.killed")]
    reason: String,
    /// What they hear beside it, for people.
    #[arg(long, default_value = "")]
    message: String,
    #[command(flatten)]
    sure: Sure,
}

/// List the sessions that do not take what they are sent as fast as it comes, the fullest outbox first.
#[derive(Debug, Args)]
pub(super) struct Slow {
    /// Only of this realm.
    #[arg(long)]
    realm: Option<String>,
    /// Only of this node.
    #[arg(long)]
    node: Option<String>,
    /// At most so many, 1000 at the most.
    #[arg(long, default_value = "100")]
    limit: u32,
    #[command(flatten)]
    watch: Watch,
}

fn row(session: &pb::Session) -> Value {
    json!({
        "id": session.id, "realm": session.realm, "node": session.node, "authid": session.authid, "authrole": session.authrole,
        "authmethod": session.authmethod, "authprovider": session.authprovider, "source": session.source,
    })
}

impl List {
    pub(super) async fn ask(self, channel: Channel, output: Output) -> Result<(), Failure> {
        let mut sessions = pb::sessions_client::SessionsClient::new(channel);
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let make = async || {
            let mut table = Table::new(["SESSION", "REALM", "NODE", "AUTHID", "ROLE", "METHOD", "SOURCE"]);
            let (mut rows, mut missing, mut page_token) = (Vec::new(), Vec::new(), String::new());
            loop {
                let request = pb::ListSessionsRequest {
                    realm: text(&self.realm),
                    node: text(&self.node),
                    authid: text(&self.authid),
                    authrole: text(&self.role),
                    source: text(&self.source),
                    page_size: u32::try_from(self.limit - rows.len()).unwrap_or(u32::MAX),
                    page_token,
                };
                let reply = sessions.list(request).await.map_err(refused)?.into_inner();
                for one in &reply.sessions {
                    rows.push(row(one));
                    let texts = [
                        &one.realm,
                        &one.node,
                        &one.authid,
                        &one.authrole,
                        &one.authmethod,
                        &one.source,
                    ];
                    let [realm, node, authid, role, method, source] = texts.map(|text| or_dash(text));
                    table.row([one.id.to_string(), realm, node, authid, role, method, source]);
                }
                missing = merged(missing, reply.missing);
                page_token = reply.next_page_token;
                if page_token.is_empty() || rows.len() >= self.limit {
                    break;
                }
            }
            let json = json!({ "sessions": rows, "more": !page_token.is_empty(), "missing": missing });
            Ok(Shown::new(json, table.render()).without(&missing))
        };
        self.watch.show(output, make).await
    }
}

/// All names of two lists, each once.
fn merged(mut names: Vec<String>, more: Vec<String>) -> Vec<String> {
    names.extend(more);
    names.sort();
    names.dedup();
    names
}

impl Get {
    pub(super) async fn ask(self, channel: Channel, output: Output) -> Result<(), Failure> {
        let mut sessions = pb::sessions_client::SessionsClient::new(channel);
        let make = async || {
            let request = pb::GetSessionRequest { id: self.id };
            let reply = sessions.get(request).await.map_err(refused)?.into_inner();
            let session = reply.session.clone().unwrap_or_default();
            let mut json = json!({
                "transport": reply.transport, "tls": reply.tls, "serializer": reply.serializer, "listener": reply.listener,
                "since_ms": reply.since_ms, "outbox_bytes": reply.outbox_bytes, "outbox_messages": reply.outbox_messages,
                "registrations": reply.registrations, "subscriptions": reply.subscriptions, "open_calls": reply.open_calls,
                "open_invocations": reply.open_invocations, "bytes_out": reply.bytes_out, "last_request": reply.last_request,
                "invocations": reply.invocations, "features": reply.features,
            });
            json["session"] = row(&session);
            Ok(Shown::new(json, details(&session, &reply)))
        };
        self.watch.show(output, make).await
    }
}

/// One session as a table of two columns.
fn details(session: &pb::Session, reply: &pb::GetSessionReply) -> String {
    let tls = if reply.tls { " over TLS" } else { "" };
    let id = session.id.to_string();
    let mut table = Table::new(["SESSION", &id]);
    let mut line = |name: &str, value: String| table.row([name.to_owned(), value]);
    line("realm", session.realm.clone());
    line("node", session.node.clone());
    line("authid", session.authid.clone());
    line("role", session.authrole.clone());
    line("method", format!("{} ({})", session.authmethod, session.authprovider));
    line("source", or_dash(&session.source));
    line("listener", or_dash(&reply.listener));
    line("transport", format!("{}, {}{tls}", reply.transport, reply.serializer));
    line("since", time(reply.since_ms));
    line(
        "outbox",
        format!("{} messages, {} bytes", reply.outbox_messages, reply.outbox_bytes),
    );
    line(
        "sent to it",
        format!("{} bytes, {} invocations", reply.bytes_out, reply.invocations),
    );
    line("last request", reply.last_request.to_string());
    line("registrations", reply.registrations.to_string());
    line("subscriptions", reply.subscriptions.to_string());
    line(
        "open",
        format!("{} calls, {} invocations", reply.open_calls, reply.open_invocations),
    );
    line("features", or_dash(&reply.features.join(" ")));
    table.render()
}

impl Kill {
    pub(super) async fn ask(self, channel: Channel, output: Output) -> Result<(), Failure> {
        let order = pb::KillSessionsRequest {
            id: self.session.unwrap_or(0),
            authid: self.authid.unwrap_or_default(),
            authrole: self.role.unwrap_or_default(),
            realm: self.realm.unwrap_or_default(),
            node: self.node.unwrap_or_default(),
            reason: self.reason,
            message: self.message,
        };
        let id = if order.id == 0 { String::new() } else { order.id.to_string() };
        let parts = [
            ("session", &id),
            ("authid", &order.authid),
            ("role", &order.authrole),
            ("realm", &order.realm),
            ("node", &order.node),
        ];
        let parts = parts.into_iter().filter(|(_, text)| !text.is_empty());
        let selector: Vec<String> = parts.map(|(name, text)| format!("{name} {text}")).collect();
        // What says nothing is refused by the node, which says what is needed.
        if !selector.is_empty() {
            self.sure
                .ask(&format!("this ends every session of {}", selector.join(", ")))?;
        }
        let reply = pb::sessions_client::SessionsClient::new(channel).kill(order).await;
        let reply = reply.map_err(refused)?.into_inner();
        let total: u64 = reply.nodes.iter().map(|node| node.ended).sum();
        let mut table = Table::new(["NODE", "ENDED"]);
        for node in &reply.nodes {
            table.row([node.node.clone(), node.ended.to_string()]);
        }
        let nodes: Vec<Value> = reply
            .nodes
            .iter()
            .map(|one| json!({ "node": one.node, "ended": one.ended }))
            .collect();
        let json = json!({ "ended": total, "nodes": nodes, "missing": reply.missing });
        output.show(&Shown::new(json, table.render()))?;
        if reply.missing.is_empty() {
            return Ok(());
        }
        Err(Failure {
            code: UNCONFIRMED,
            text: format!("no answer from {}: what they ended is not known", reply.missing.join(", ")),
        })
    }
}

impl Slow {
    pub(super) async fn ask(self, channel: Channel, output: Output) -> Result<(), Failure> {
        let mut slow = pb::slow_consumers_client::SlowConsumersClient::new(channel);
        let make = async || {
            let request = pb::ListSlowConsumersRequest {
                realm: self.realm.clone().unwrap_or_default(),
                node: self.node.clone().unwrap_or_default(),
                limit: self.limit,
            };
            let reply = slow.list(request).await.map_err(refused)?.into_inner();
            let mut table = Table::new([
                "SESSION", "REALM", "NODE", "AUTHID", "ROLE", "OUTBOX", "OF", "HELD", "DROPPED", "SINCE",
            ]);
            let mut rows = Vec::new();
            for one in &reply.consumers {
                rows.push(json!({
                    "session": one.session, "realm": one.realm, "node": one.node, "authid": one.authid, "authrole": one.authrole,
                    "outbox_bytes": one.outbox_bytes, "outbox_messages": one.outbox_messages,
                    "outbox_bytes_max": one.outbox_bytes_max, "held": one.held, "dropped": one.dropped, "since_ms": one.since_ms,
                }));
                let numbers = [one.session, one.outbox_bytes, one.outbox_bytes_max, one.held, one.dropped];
                let [session, bytes, most, held, dropped] = numbers.map(|number| number.to_string());
                let [realm, node, authid, role] = [&one.realm, &one.node, &one.authid, &one.authrole].map(|text| or_dash(text));
                table.row([
                    session,
                    realm,
                    node,
                    authid,
                    role,
                    bytes,
                    most,
                    held,
                    dropped,
                    time(one.since_ms),
                ]);
            }
            let json = json!({ "consumers": rows, "missing": reply.missing });
            Ok(Shown::new(json, table.render()).without(&reply.missing))
        };
        self.watch.show(output, make).await
    }
}
