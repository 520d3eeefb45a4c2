//! Subscriptions and their subscribers.

use clap::Args;
use ringfort_proto::admin::v1 as pb;
use serde_json::{Value, json};
use tonic::transport::Channel;

use super::{
    output::{Output, Shown, Table, Watch, time},
    reply::refused,
};
use crate::cli::Failure;

/// List the subscriptions of all nodes.
#[derive(Debug, Args)]
pub(super) struct List {
    /// Only of this realm.
    #[arg(long)]
    realm: Option<String>,
    /// Only those whose topic or pattern begins with this.
    #[arg(long, value_name = "TEXT")]
    prefix: Option<String>,
    /// Only those with a subscriber on this node, and only those are counted.
    #[arg(long)]
    node: Option<String>,
    /// At most so many.
    #[arg(long, default_value = "1000")]
    limit: usize,
    #[command(flatten)]
    watch: Watch,
}

/// Show a subscription and its subscribers.
#[derive(Debug, Args)]
pub(super) struct Get {
    realm: String,
    /// Its id, or its topic or pattern.
    which: String,
    /// With a topic or pattern: exact, prefix or wildcard.
    #[arg(long = "match", default_value = "exact")]
    policy: String,
    #[command(flatten)]
    watch: Watch,
}

fn row(one: &pb::Subscription) -> Value {
    let nodes = one.nodes.iter();
    let nodes: Vec<Value> = nodes
        .map(|of| json!({ "node": of.node, "subscribers": of.subscribers, "sessions": of.sessions }))
        .collect();
    json!({
        "id": one.id, "realm": one.realm, "uri": one.uri, "match": one.r#match, "created_ms": one.created_ms, "nodes": nodes,
    })
}

fn head() -> Table {
    Table::new(["SUBSCRIPTION", "REALM", "URI", "MATCH", "SUBSCRIBERS", "NODES", "SINCE"])
}

fn line(table: &mut Table, one: &pb::Subscription) {
    let total: u64 = one.nodes.iter().map(|of| of.subscribers).sum();
    let nodes: Vec<String> = one.nodes.iter().map(|of| format!("{}:{}", of.node, of.subscribers)).collect();
    let (id, realm, uri) = (one.id.to_string(), one.realm.clone(), format!("\"{}\"", one.uri));
    table.row([
        id,
        realm,
        uri,
        one.r#match.clone(),
        total.to_string(),
        nodes.join(","),
        time(one.created_ms),
    ]);
}

impl List {
    pub(super) async fn ask(self, channel: Channel, output: Output) -> Result<(), Failure> {
        let mut subscriptions = pb::subscriptions_client::SubscriptionsClient::new(channel);
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let make = async || {
            let (mut table, mut rows) = (head(), Vec::new());
            let (mut missing, mut page_token) = (Vec::new(), String::new());
            loop {
                let request = pb::ListSubscriptionsRequest {
                    realm: text(&self.realm),
                    uri_prefix: text(&self.prefix),
                    node: text(&self.node),
                    page_size: u32::try_from(self.limit - rows.len()).unwrap_or(u32::MAX),
                    page_token,
                };
                let reply = subscriptions.list(request).await.map_err(refused)?.into_inner();
                for one in &reply.subscriptions {
                    rows.push(row(one));
                    line(&mut table, one);
                }
                missing.extend(reply.missing);
                page_token = reply.next_page_token;
                if page_token.is_empty() || rows.len() >= self.limit {
                    break;
                }
            }
            missing.sort();
            missing.dedup();
            let json = json!({ "subscriptions": rows, "more": !page_token.is_empty(), "missing": missing });
            Ok(Shown::new(json, table.render()).without(&missing))
        };
        self.watch.show(output, make).await
    }
}

impl Get {
    pub(super) async fn ask(self, channel: Channel, output: Output) -> Result<(), Failure> {
        let mut subscriptions = pb::subscriptions_client::SubscriptionsClient::new(channel);
        let make = async || {
            let id = self.which.parse().unwrap_or(0);
            let request = pb::GetSubscriptionRequest {
                realm: self.realm.clone(),
                id,
                uri: if id == 0 { self.which.clone() } else { String::new() },
                r#match: self.policy.clone(),
            };
            let reply = subscriptions.get(request).await.map_err(refused)?.into_inner();
            let subscription = reply.subscription.unwrap_or_default();
            let mut table = head();
            line(&mut table, &subscription);
            let mut subscribers = Table::new(["SUBSCRIBER", "NODE"]);
            for of in &subscription.nodes {
                for session in &of.sessions {
                    subscribers.row([session.to_string(), of.node.clone()]);
                }
            }
            let mut json = row(&subscription);
            json["missing"] = reply.missing.clone().into();
            let text = format!("{}\n{}", table.render(), subscribers.render());
            Ok(Shown::new(json, text).without(&reply.missing))
        };
        self.watch.show(output, make).await
    }
}
