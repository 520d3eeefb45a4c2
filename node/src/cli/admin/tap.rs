//! A look at messages as they pass.

use clap::Args;
use ringfort_proto::admin::v1 as pb;
use serde_json::json;
use tonic::transport::Channel;

use super::{
    output::{Output, or_dash, time},
    reply::{UNREACHABLE, refused},
};
use crate::cli::{Failure, print_line};

/// Watch the messages of a session, or about a URI, as they pass; heads only unless --payload is given and permitted.
///
/// With --output json each message is one line. What comes too fast to be read is lost and counted. Ends when the time is over.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("what").required(true).args(["session", "uri"]))]
pub(super) struct Tap {
    /// Of this session.
    #[arg(long, value_name = "ID")]
    session: Option<u64>,
    /// About this URI, of any session of the realm.
    #[arg(long)]
    uri: Option<String>,
    /// With --uri: the realm.
    #[arg(long, default_value = "realm1")]
    realm: String,
    /// With --uri: exact, prefix or wildcard.
    #[arg(long = "match", default_value = "exact")]
    policy: String,
    /// With --uri: only on this node.
    #[arg(long, default_value = "")]
    node: String,
    /// For so long, at most 600.
    #[arg(long, default_value = "60")]
    seconds: u32,
    /// Show what messages carry: takes the role owner, and admin.tap_payload on the nodes.
    #[arg(long)]
    payload: bool,
}

impl Tap {
    pub(super) async fn ask(self, channel: Channel, output: Output) -> Result<(), Failure> {
        let by_uri = self.session.is_none();
        let request = pb::WatchRequest {
            realm: if by_uri { self.realm } else { String::new() },
            session: self.session.unwrap_or(0),
            uri: self.uri.unwrap_or_default(),
            r#match: if by_uri { self.policy } else { String::new() },
            node: self.node,
            seconds: self.seconds,
            payload: self.payload,
        };
        let mut replies = pb::tap_client::TapClient::new(channel)
            .watch(request)
            .await
            .map_err(refused)?
            .into_inner();
        let mut gone = None;
        while let Some(reply) = replies.message().await.map_err(refused)? {
            if !reply.missing.is_empty() {
                eprintln!("ringfort: not watched on {}: no answer from there", reply.missing.join(", "));
            }
            for head in &reply.heads {
                print_line(&shown(&reply.node, head, output))?;
            }
            if reply.lost > 0 {
                eprintln!(
                    "ringfort: {} messages on {} came too fast and are not shown",
                    reply.lost, reply.node
                );
            }
            if !reply.ended.is_empty() {
                eprintln!("ringfort: {}: {}", reply.node, reply.ended);
                if reply.ended.starts_with("the node is gone") {
                    gone = Some(reply.node);
                }
            }
        }
        match gone {
            None => Ok(()),
            Some(node) => Err(Failure {
                code: UNREACHABLE,
                text: format!("{node} was not watched to the end"),
            }),
        }
    }
}

fn shown(node: &str, head: &pb::MessageHead, output: Output) -> String {
    if output == Output::Json {
        let json = json!({
            "time_ms": head.time_ms, "node": node, "from_client": head.from_client, "session": head.session,
            "receivers": head.receivers, "type": head.r#type, "request": head.request, "registration": head.registration,
            "subscription": head.subscription, "publication": head.publication, "uri": head.uri, "error": head.error,
            "options": serde_json::from_str(&head.options).unwrap_or(serde_json::Value::Null),
            "payload_bytes": head.payload_bytes, "payload": head.payload,
        });
        return json.to_string();
    }
    let clock = time(head.time_ms);
    let clock = clock
        .split_once('T')
        .map_or(clock.as_str(), |(_, clock)| clock.trim_end_matches('Z'));
    let whom = match head.receivers {
        0 | 1 => head.session.to_string(),
        many => format!("{} and {} more", head.session, many - 1),
    };
    let mut line = format!(
        "{clock}.{:03} {node} {} {whom} {:<12} {}",
        head.time_ms % 1_000,
        if head.from_client { "<-" } else { "->" },
        head.r#type,
        or_dash(&head.uri),
    );
    for (name, id) in [
        ("request", head.request),
        ("registration", head.registration),
        ("subscription", head.subscription),
        ("publication", head.publication),
    ] {
        if id != 0 {
            line.push_str(&format!(" {name}={id}"));
        }
    }
    if !head.error.is_empty() {
        line.push_str(&format!(" error={}", head.error));
    }
    if head.options != "{}" {
        line.push_str(&format!(" {}", head.options));
    }
    line.push_str(&format!(" {} bytes", head.payload_bytes));
    if let Some(payload) = &head.payload {
        line.push_str(&format!(" {payload}"));
    }
    line.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
