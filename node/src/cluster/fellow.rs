//! How the admin part of one node asks that of another: over the control connection, and answered on the main runtime, so that a long list
//! delays no heartbeat.
//!
//! Owns: the way, and who is there to be asked. Does not own what is asked or answered: `admin/` does, through [`Answering`]. A node of an
//! earlier version does not know the service and counts as one that does not answer.

use std::{sync::Arc, time::Duration};

use ringfort_proto::{
    admin::v1::WatchReply,
    cluster::v1::{
        self as pb,
        answer::Answer as Told,
        fellow_client::FellowClient,
        fellow_server::{Fellow, FellowServer},
        question::Question as Asked,
    },
};
use tokio::{
    runtime::Handle,
    sync::{mpsc, watch},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::{
    machine::ClusterView,
    net::{PeerChannels, PeerIdentity},
    shared::Shared,
};
use crate::router::NodeRef;

/// Who answers for a node.
#[tonic::async_trait]
pub trait Answering: Send + Sync + 'static {
    /// Answers one question.
    async fn answer(&self, question: Asked) -> Result<Told, Status>;
    /// Watches messages until the receiver is dropped or the time is over.
    async fn watch(&self, question: pb::TapQuestion) -> Result<mpsc::Receiver<WatchReply>, Status>;
}

/// The service that other nodes ask.
pub fn service(cluster_id: &str, shared: &Arc<Shared>, data: &Handle) -> FellowServer<impl Fellow> {
    FellowServer::new(Service {
        cluster_id: cluster_id.into(),
        shared: Arc::clone(shared),
        data: data.clone(),
    })
}

struct Service {
    cluster_id: Arc<str>,
    shared: Arc<Shared>,
    data: Handle,
}

impl Service {
    fn answering(&self, cluster_id: &str, peer: PeerIdentity) -> Result<Arc<dyn Answering>, Status> {
        if *cluster_id != *self.cluster_id {
            return Err(Status::permission_denied(format!(
                "this is cluster {:?}, the request is for {cluster_id:?}: compare cluster.id in both configurations",
                self.cluster_id
            )));
        }
        tracing::debug!(peer = peer.name.as_deref(), "asked by the admin part of another node");
        let answering = self.shared.answering().cloned();
        answering.ok_or_else(|| Status::unavailable("this node is starting"))
    }
}

#[tonic::async_trait]
impl Fellow for Service {
    async fn ask(&self, request: Request<pb::Question>) -> Result<Response<pb::Answer>, Status> {
        let peer = PeerIdentity::of(&request);
        let request = request.into_inner();
        let answering = self.answering(&request.cluster_id, peer)?;
        let question = request
            .question
            .ok_or_else(|| Status::unimplemented("a question that this version does not know"))?;
        let answered = self.data.spawn(async move { answering.answer(question).await }).await;
        let answer = answered.map_err(|_| Status::internal("the answer panicked"))??;
        Ok(Response::new(pb::Answer { answer: Some(answer) }))
    }

    type TapStream = std::pin::Pin<Box<dyn tokio_stream::Stream<Item = Result<WatchReply, Status>> + Send>>;

    async fn tap(&self, request: Request<pb::TapQuestion>) -> Result<Response<Self::TapStream>, Status> {
        use tokio_stream::StreamExt;
        let peer = PeerIdentity::of(&request);
        let request = request.into_inner();
        let answering = self.answering(&request.cluster_id, peer)?;
        let answered = self.data.spawn(async move { answering.watch(request).await }).await;
        let replies = answered.map_err(|_| Status::internal("the answer panicked"))??;
        Ok(Response::new(Box::pin(ReceiverStream::new(replies).map(Ok))))
    }
}

/// The admin parts of the members, this node's own included.
#[derive(Clone)]
pub struct Fellows {
    cluster_id: Arc<str>,
    name: Arc<str>,
    channels: PeerChannels,
    view: watch::Receiver<ClusterView>,
    shared: Arc<Shared>,
}

impl Fellows {
    pub(super) fn new(
        cluster_id: &str,
        name: &str,
        channels: PeerChannels,
        view: watch::Receiver<ClusterView>,
        shared: &Arc<Shared>,
    ) -> Self {
        Self {
            cluster_id: cluster_id.into(),
            name: name.into(),
            channels,
            view,
            shared: Arc::clone(shared),
        }
    }

    /// This node's name.
    pub fn own_name(&self) -> &str {
        &self.name
    }

    /// The names of the members that are not fenced, sorted.
    pub fn names(&self) -> Vec<String> {
        let table = Arc::clone(&self.view.borrow().table);
        let mut names: Vec<String> = table.live().map(|(_, row)| row.name.clone()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// The name of a node life; empty if it is over.
    pub fn name_of(&self, node: NodeRef) -> String {
        let table = Arc::clone(&self.view.borrow().table);
        let found = table.live().find(|(life, _)| *life == node);
        found.map(|(_, row)| row.name.clone()).unwrap_or_default()
    }

    /// Asks a node one question.
    ///
    /// # Errors
    /// What the node says, or that it cannot be reached in time.
    pub async fn ask(&self, node: &str, question: Asked, within: Duration) -> Result<Told, Status> {
        let asking = async {
            if *node == *self.name {
                let answering = self.shared.answering().cloned();
                let answering = answering.ok_or_else(|| Status::unavailable("this node is starting"))?;
                return answering.answer(question).await;
            }
            let question = pb::Question {
                cluster_id: self.cluster_id.to_string(),
                question: Some(question),
            };
            let reply = self.client(node)?.ask(question).await?;
            let answer = reply.into_inner().answer;
            answer.ok_or_else(|| Status::unimplemented("an answer that this version does not know"))
        };
        match tokio::time::timeout(within, asking).await {
            Ok(answered) => answered,
            Err(_) => Err(Status::unavailable(format!(
                "{node} does not answer within {} ms",
                within.as_millis()
            ))),
        }
    }

    /// Has a node watch messages.
    ///
    /// # Errors
    /// What the node says, or that it cannot be reached in time.
    pub async fn watch(&self, node: &str, question: pb::TapQuestion, within: Duration) -> Result<Watching, Status> {
        let asking = async {
            if *node == *self.name {
                let answering = self.shared.answering().cloned();
                let answering = answering.ok_or_else(|| Status::unavailable("this node is starting"))?;
                return answering.watch(question).await.map(Watching::Here);
            }
            let question = pb::TapQuestion {
                cluster_id: self.cluster_id.to_string(),
                ..question
            };
            let replies = self.client(node)?.tap(question).await?;
            Ok(Watching::There(Box::new(replies.into_inner())))
        };
        match tokio::time::timeout(within, asking).await {
            Ok(answered) => answered,
            Err(_) => Err(Status::unavailable(format!(
                "{node} does not answer within {} ms",
                within.as_millis()
            ))),
        }
    }

    fn client(&self, node: &str) -> Result<FellowClient<tonic::transport::Channel>, Status> {
        let channel = self.channels.channel(node);
        let channel = channel.ok_or_else(|| Status::unavailable(format!("nobody knows where {node} is")))?;
        Ok(FellowClient::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX))
    }
}

/// What a node that watches sends.
pub enum Watching {
    /// This one.
    Here(mpsc::Receiver<WatchReply>),
    /// Another one.
    There(Box<tonic::Streaming<WatchReply>>),
}

impl Watching {
    /// The next reply; `None` after the last.
    ///
    /// # Errors
    /// The node is gone.
    pub async fn next(&mut self) -> Result<Option<WatchReply>, Status> {
        match self {
            Self::Here(replies) => Ok(replies.recv().await),
            Self::There(replies) => replies.message().await,
        }
    }
}

/// The longest answer of another node: a page of rows is far below.
const ANSWER_BYTES_MAX: usize = 16 << 20;
