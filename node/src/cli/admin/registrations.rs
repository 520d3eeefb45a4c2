//! Registrations and their callees, and taking them back.

use clap::Args;
use ringfort_proto::admin::v1 as pb;
use serde_json::{Value, json};
use tonic::transport::Channel;

use super::{
    output::{Output, Shown, Sure, Table, Watch, time},
    reply::{confirmed, refused, told},
};
use crate::cli::Failure;

/// List the registrations of all nodes.
#[derive(Debug, Args)]
pub(super) struct List {
    /// Only of this realm.
    #[arg(long)]
    realm: Option<String>,
    /// Only those whose URI begins with this.
    #[arg(long, value_name = "TEXT")]
    prefix: Option<String>,
    /// Only those with a callee on this node.
    #[arg(long)]
    node: Option<String>,
    /// At most so many.
    #[arg(long, default_value = "1000")]
    limit: usize,
    #[command(flatten)]
    watch: Watch,
}

/// Show a registration and its callees.
#[derive(Debug, Args)]
pub(super) struct Get {
    realm: String,
    /// Its id, or its URI.
    which: String,
    /// With a URI: exact, prefix or wildcard.
    #[arg(long = "match", default_value = "exact")]
    policy: String,
    #[command(flatten)]
    watch: Watch,
}

/// Take a registration from one of its callees, or from all. They may register it anew.
#[derive(Debug, Args)]
pub(super) struct Remove {
    realm: String,
    id: u64,
    /// Only from this callee.
    #[arg(long, value_name = "SESSION")]
    callee: Option<u64>,
    /// The reason they hear.
    #[arg(long, value_name = "URI", default_value = "wamp.close.killed")]
    reason: String,
    #[command(flatten)]
    sure: Sure,
}

fn row(one: &pb::Registration) -> Value {
    json!({
        "id": one.id, "realm": one.realm, "uri": one.uri, "match": one.r#match, "invoke": one.invoke,
        "created_ms": one.created_ms, "callees": one.callees, "nodes": one.nodes,
    })
}

fn head() -> Table {
    Table::new([
        "REGISTRATION",
        "REALM",
        "URI",
        "MATCH",
        "INVOKE",
        "CALLEES",
        "NODES",
        "CREATED",
    ])
}

fn line(table: &mut Table, one: &pb::Registration) {
    let uri = format!("\"{}\"", one.uri);
    let [realm, r#match, invoke] = [&one.realm, &one.r#match, &one.invoke].map(Clone::clone);
    let (id, callees) = (one.id.to_string(), one.callees.to_string());
    table.row([
        id,
        realm,
        uri,
        r#match,
        invoke,
        callees,
        one.nodes.join(","),
        time(one.created_ms),
    ]);
}

impl List {
    pub(super) async fn ask(self, channel: Channel, output: Output) -> Result<(), Failure> {
        let mut registrations = pb::registrations_client::RegistrationsClient::new(channel);
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let make = async || {
            let (mut table, mut rows, mut page_token) = (head(), Vec::new(), String::new());
            loop {
                let request = pb::ListRegistrationsRequest {
                    realm: text(&self.realm),
                    uri_prefix: text(&self.prefix),
                    node: text(&self.node),
                    page_size: u32::try_from(self.limit - rows.len()).unwrap_or(u32::MAX),
                    page_token,
                };
                let reply = registrations.list(request).await.map_err(refused)?.into_inner();
                for one in &reply.registrations {
                    rows.push(row(one));
                    line(&mut table, one);
                }
                page_token = reply.next_page_token;
                if page_token.is_empty() || rows.len() >= self.limit {
                    break;
                }
            }
            let json = json!({ "registrations": rows, "more": !page_token.is_empty() });
            Ok(Shown::new(json, table.render()))
        };
        self.watch.show(output, make).await
    }
}

impl Get {
    pub(super) async fn ask(self, channel: Channel, output: Output) -> Result<(), Failure> {
        let mut registrations = pb::registrations_client::RegistrationsClient::new(channel);
        let make = async || {
            let id = self.which.parse().unwrap_or(0);
            let request = pb::GetRegistrationRequest {
                realm: self.realm.clone(),
                id,
                uri: if id == 0 { self.which.clone() } else { String::new() },
                r#match: self.policy.clone(),
            };
            let reply = registrations.get(request).await.map_err(refused)?.into_inner();
            let registration = reply.registration.unwrap_or_default();
            let mut table = head();
            line(&mut table, &registration);
            let mut callees = Table::new(["CALLEE", "NODE", "AUTHID", "OPEN", "CONCURRENCY"]);
            let mut rows = Vec::new();
            for one in &reply.callees {
                let open = one.state.map(|state| state.open_invocations);
                let most = one.state.map(|state| state.concurrency);
                rows.push(json!({
                    "session": one.session, "node": one.node, "authid": one.authid, "open_invocations": open, "concurrency": most,
                }));
                let open = open.map_or("?".to_owned(), |open| open.to_string());
                let most = match most {
                    None => "?".to_owned(),
                    Some(0) => "any".to_owned(),
                    Some(most) => most.to_string(),
                };
                callees.row([one.session.to_string(), one.node.clone(), one.authid.clone(), open, most]);
            }
            let mut json = row(&registration);
            json["callees"] = rows.into();
            json["missing"] = reply.missing.clone().into();
            let text = format!("{}\n{}", table.render(), callees.render());
            Ok(Shown::new(json, text).without(&reply.missing))
        };
        self.watch.show(output, make).await
    }
}

impl Remove {
    pub(super) async fn ask(self, channel: Channel, output: Output) -> Result<(), Failure> {
        let whom = self
            .callee
            .map_or("all its callees".to_owned(), |session| format!("session {session}"));
        self.sure.ask(&format!(
            "this takes registration {} of realm {} from {whom}",
            self.id, self.realm
        ))?;
        let request = pb::RemoveRegistrationRequest {
            realm: self.realm,
            id: self.id,
            session: self.callee.unwrap_or(0),
            reason: self.reason,
        };
        let reply = pb::registrations_client::RegistrationsClient::new(channel)
            .remove(request)
            .await;
        let reply = reply.map_err(refused)?.into_inner();
        let text = format!("taken from {}, in force on {}", reply.removed, reply.confirmed.join(", "));
        let json = json!({
            "removed": reply.removed, "confirmed": reply.confirmed, "unconfirmed": told(&reply.unconfirmed),
        });
        output.show(&Shown::new(json, text))?;
        confirmed(&reply.unconfirmed)
    }
}
