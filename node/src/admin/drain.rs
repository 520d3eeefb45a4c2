//! Sending a node away over gRPC: `proto/ringfort/admin/v1/drain.proto` says what each call does.
//!
//! Any node is asked about any other one: it asks that node over the connection between them. A wish is in the audit log of the node
//! that was asked before it is passed on, and what came of it before it is answered.

use std::{sync::Arc, time::Duration};

use ringfort_proto::{
    admin::v1::{self as pb, drain_server},
    cluster::v1::DrainReply,
};
use tonic::{Code, Request, Response, Status};

use super::{caller::Caller, status::Source};
use crate::{
    audit::{Audit, Event},
    cluster::{
        Inspect,
        drain::{Question, Wish, ask, told},
    },
};

/// The service.
#[derive(Clone)]
pub(super) struct Drains {
    inspect: Inspect,
    name: Arc<str>,
    audit: Audit,
}

/// A bound that somebody gives in place of a setting.
const MOST: Duration = Duration::from_secs(3600);

impl Drains {
    pub(super) fn new(source: &Source) -> Self {
        Self {
            inspect: source.inspect.clone(),
            name: source.name.as_str().into(),
            audit: source.realms.audit.clone(),
        }
    }

    async fn ask(&self, node: &str, question: Question) -> Result<pb::DrainStatus, Status> {
        let node = if node.is_empty() { &self.name } else { node };
        if *node == *self.name {
            let progress = self.inspect.drain.answer(question);
            let progress = progress.map_err(|error| Status::failed_precondition(error.to_string()))?;
            return Ok(status(node, told(&progress)));
        }
        let cluster_id = self.inspect.view.borrow().cluster_id.clone().unwrap_or_default();
        let answer = ask(self.inspect.peers.as_ref(), &cluster_id, node, &question).await;
        match answer {
            Ok(reply) => Ok(status(node, reply)),
            // It has answered, or nobody knows of it.
            Err(error)
                if matches!(
                    error.code(),
                    Code::NotFound | Code::FailedPrecondition | Code::InvalidArgument
                ) =>
            {
                Err(error)
            }
            Err(_) if matches!(question, Question::Status) && !self.is_member(node) => Ok(pb::DrainStatus {
                node: node.to_owned(),
                phase: "left".to_owned(),
                ..pb::DrainStatus::default()
            }),
            Err(error) => Err(Status::unavailable(format!("{node}: {}", error.message()))),
        }
    }

    fn is_member(&self, node: &str) -> bool {
        let table = Arc::clone(&self.inspect.view.borrow().table);
        table.live().any(|(_, row)| row.name == node)
    }

    /// As [`Self::ask`], and recorded.
    async fn change(
        &self,
        caller: &Caller,
        what: &'static str,
        node: &str,
        question: Question,
    ) -> Result<pb::DrainStatus, Status> {
        let named = if node.is_empty() { &self.name } else { node };
        let event = |step, reason| Event {
            step: Some(step),
            admin: Some(caller.name.to_string()),
            source: Some(caller.source.ip()),
            what: Some(format!("{what} {named}")),
            reason,
            ..Event::of("change")
        };
        if self.audit.is_open() {
            let asked = self.audit.commit(event("asked", None)).await;
            asked.map_err(|error| Status::unavailable(format!("nothing was done: {error}")))?;
        }
        let made = self.ask(node, question).await;
        if self.audit.is_open() {
            let outcome = match &made {
                Ok(_) => event("done", None),
                Err(status) => event("failed", Some(format!("{:?}: {}", status.code(), status.message()))),
            };
            let noted = self.audit.commit(outcome).await;
            noted.map_err(|error| {
                Status::unknown(format!(
                    "what came of it could not be recorded, look before trying again: {error}"
                ))
            })?;
        }
        made
    }
}

fn status(node: &str, reply: DrainReply) -> pb::DrainStatus {
    pb::DrainStatus {
        node: node.to_owned(),
        phase: reply.phase,
        by: reply.by,
        running_ms: reply.running_ms,
        at_most_ms: reply.at_most_ms,
        sessions: reply.sessions,
        sessions_left: reply.sessions_left,
    }
}

fn caller<T>(request: &Request<T>) -> Result<Caller, Status> {
    let caller = request.extensions().get::<Caller>().cloned();
    caller.ok_or_else(|| Status::unauthenticated("it is not known who asks"))
}

fn bound(field: &str, millis: Option<u64>) -> Result<Option<Duration>, Status> {
    let bound = millis.map(Duration::from_millis);
    if bound.is_some_and(|bound| bound > MOST) {
        return Err(Status::invalid_argument(format!("{field} is above an hour (3600000)")));
    }
    Ok(bound)
}

#[tonic::async_trait]
impl drain_server::Drain for Drains {
    async fn start(&self, request: Request<pb::StartDrainRequest>) -> Result<Response<pb::DrainStatus>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let wish = Wish {
            by: format!("{} on {}", caller.name, self.name),
            window: bound("window_ms", request.window_ms)?,
            load_balancer_delay: bound("load_balancer_delay_ms", request.load_balancer_delay_ms)?,
            at_once: request.at_once,
        };
        let started = self.change(&caller, "drain", &request.node, Question::Start(wish)).await?;
        Ok(Response::new(started))
    }

    async fn status(&self, request: Request<pb::DrainStatusRequest>) -> Result<Response<pb::DrainStatus>, Status> {
        let status = self.ask(&request.get_ref().node, Question::Status).await?;
        Ok(Response::new(status))
    }

    async fn cancel(&self, request: Request<pb::CancelDrainRequest>) -> Result<Response<pb::DrainStatus>, Status> {
        let caller = caller(&request)?;
        let cancelled = self
            .change(&caller, "cancel_drain", &request.get_ref().node, Question::Cancel)
            .await?;
        Ok(Response::new(cancelled))
    }
}
