//! What the services that look at the whole cluster have in common: which realms and nodes a filter means, and asking the nodes.

use std::{collections::BTreeSet, time::Duration};

use futures_util::future::join_all;
use ringfort_proto::cluster::v1::{answer::Answer, question::Question};
use tonic::{Request, Status};

use super::{
    caller::Caller,
    deadline,
    refusal::{invalid, not_found},
};
use crate::{
    audit::{Audit, Event},
    cluster::Inspect,
    router::{MatchPolicy, NodeRef},
    session::realm::RealmHandle,
};

/// The handles of a service.
#[derive(Clone)]
pub(super) struct Look {
    pub(super) inspect: Inspect,
    pub(super) audit: Audit,
}

/// What nodes said.
pub(super) struct Asked {
    /// By name of the node.
    pub(super) answers: Vec<(String, Answer)>,
    /// Who did not answer in time, sorted.
    pub(super) missing: Vec<String>,
}

/// How long other nodes may take.
const WITHIN: Duration = Duration::from_secs(2);

impl Look {
    /// The realms a filter means, by name: one, or all of them if it is empty.
    pub(super) fn realms(&self, filter: &str) -> Result<Vec<RealmHandle>, Status> {
        if filter.is_empty() {
            return Ok(self.inspect.shared.realms().cloned().collect());
        }
        self.realm(filter).map(|realm| vec![realm])
    }

    /// The realm of that name.
    pub(super) fn realm(&self, name: &str) -> Result<RealmHandle, Status> {
        if name.is_empty() {
            return Err(invalid("realm is empty", "name the realm"));
        }
        let found = self.inspect.shared.realm(name).cloned();
        let known = || {
            let names: Vec<&str> = self.inspect.shared.realms().map(|realm| realm.name().as_str()).collect();
            format!("the configuration of this node has {}", names.join(", "))
        };
        found.ok_or_else(|| not_found(&format!("there is no realm {name}"), &known()))
    }

    /// The members a filter means: one, or all of them if it is empty.
    pub(super) fn nodes(&self, filter: &str) -> Result<Vec<String>, Status> {
        let names = self.inspect.fellows.names();
        if filter.is_empty() {
            return Ok(names);
        }
        if names.iter().any(|name| name == filter) {
            return Ok(vec![filter.to_owned()]);
        }
        let remedy = format!("members are {}", names.join(", "));
        Err(not_found(&format!("there is no member {filter}"), &remedy))
    }

    /// The present lives of the members that a filter means.
    pub(super) fn lives(&self, filter: &str) -> Result<BTreeSet<NodeRef>, Status> {
        let names = self.nodes(filter)?;
        let view = self.inspect.view.borrow();
        let lives = view.table.live().filter(|(_, row)| names.contains(&row.name));
        Ok(lives.map(|(life, _)| life).collect())
    }

    /// Asks nodes at once, for as long as the client waits and no longer than two seconds.
    pub(super) async fn ask<T>(&self, request: &Request<T>, nodes: Vec<String>, question: &Question) -> Asked {
        let within = deadline::within(request, WITHIN);
        let asking = nodes.into_iter().map(|node| async move {
            let answer = self.inspect.fellows.ask(&node, question.clone(), within).await;
            (node, answer)
        });
        let mut asked = Asked {
            answers: Vec::new(),
            missing: Vec::new(),
        };
        for (node, answer) in join_all(asking).await {
            match answer {
                Ok(answer) => asked.answers.push((node, answer)),
                Err(error) => {
                    tracing::info!(node, %error, "a node has not answered the admin part");
                    asked.missing.push(node);
                }
            }
        }
        asked
    }

    /// Has a record of a change on the disk before it is made.
    ///
    /// # Errors
    /// It is not there; nothing was changed.
    pub(super) async fn record_asked(&self, event: Event) -> Result<(), Status> {
        let asked = self.audit.commit(Event {
            step: Some("asked"),
            ..event
        });
        asked
            .await
            .map_err(|error| Status::unavailable(format!("nothing was changed: {error}")))
    }

    /// Has a record of what came of a change on the disk before it is answered.
    ///
    /// # Errors
    /// It is not there.
    pub(super) async fn record_outcome(&self, event: Event, failed: Option<&Status>) -> Result<(), Status> {
        let event = match failed {
            None => Event {
                step: Some("done"),
                ..event
            },
            Some(status) => Event {
                step: Some("failed"),
                reason: Some(format!("{:?}: {}", status.code(), status.message())),
                ..event
            },
        };
        let noted = self.audit.commit(event).await;
        noted.map_err(|error| {
            Status::unknown(format!(
                "what came of it could not be recorded, look before trying again: {error}"
            ))
        })
    }
}

/// Who asks.
///
/// # Errors
/// The request came by another way than the admin port.
pub(super) fn caller<T>(request: &Request<T>) -> Result<Caller, Status> {
    let caller = request.extensions().get::<Caller>().cloned();
    caller.ok_or_else(|| Status::unauthenticated("it is not known who asks"))
}

/// The match policy of that name; exact for the empty one.
pub(super) fn policy(name: &str) -> Result<MatchPolicy, Status> {
    match name {
        "" => Ok(MatchPolicy::Exact),
        name => MatchPolicy::from_name(name).ok_or_else(|| invalid(&format!("match is {name}"), "use exact, prefix or wildcard")),
    }
}
