//! Raft's calls from other nodes.
//!
//! Nothing reaches openraft before sender, receiver and cluster are checked and the message makes sense: it trusts what it is given and
//! asserts on contradictions.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::BytesMut;
use futures_util::{Stream, StreamExt, stream};
use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::{Fatal, RaftError};
use ringfort_proto::cluster::v1::{self as pb, raft_server};
use tokio::sync::Semaphore;
use tonic::{Extensions, Request, Response, Status, Streaming};

use super::{
    RaftHandle,
    convert::{self, Malformed},
    network::{Identity, SNAPSHOT_PIECE_BYTES, WIRE_VERSION},
    types::{Snapshot, SnapshotMeta, Vote},
};
use crate::cluster::consensus::AuthenticatedPeer;

/// See the module's text.
#[derive(Clone)]
pub(super) struct RaftService {
    raft: RaftHandle,
    me: Arc<Identity>,
    /// One snapshot is received at a time: two would only hold memory.
    receiving: Arc<Semaphore>,
}

impl RaftService {
    pub(super) fn new(raft: RaftHandle, me: Arc<Identity>) -> Self {
        Self {
            raft,
            me,
            receiving: Arc::new(Semaphore::new(1)),
        }
    }

    /// Checks who speaks to whom; returns the sender's id.
    fn check(&self, envelope: Option<&pb::RaftEnvelope>, extensions: &Extensions) -> Result<u64, Status> {
        let envelope = envelope.ok_or_else(|| Status::invalid_argument("the call does not say who sends it"))?;
        if envelope.version > WIRE_VERSION {
            let text = format!(
                "consensus version {} is newer than {WIRE_VERSION}; upgrade node {}",
                envelope.version, self.me.name
            );
            return Err(Status::failed_precondition(text));
        }
        if envelope.cluster_id != self.me.cluster_id {
            let text = format!(
                "node {} belongs to cluster \"{}\", not \"{}\"",
                self.me.name, self.me.cluster_id, envelope.cluster_id
            );
            return Err(Status::failed_precondition(text));
        }
        if envelope.to != self.me.raft_id {
            let text = format!(
                "node {} is {:016x}, not {:016x}: a node that lost its disk is a new one",
                self.me.name, self.me.raft_id, envelope.to
            );
            return Err(Status::failed_precondition(text));
        }
        if let Some(AuthenticatedPeer(name)) = extensions.get()
            && *name != envelope.from_name
        {
            return Err(Status::permission_denied(format!(
                "node {name} speaks for {}",
                envelope.from_name
            )));
        }
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        match metrics.membership_config.get_node(&envelope.from) {
            Some(known) if known.0 != envelope.from_name => Err(Status::permission_denied(format!(
                "{:016x} is node {}, not {}",
                envelope.from, known.0, envelope.from_name
            ))),
            _ if envelope.from == self.me.raft_id => Err(Status::permission_denied("a node does not call itself")),
            _ => Ok(envelope.from),
        }
    }

    /// Checks that a leader speaks for itself.
    fn check_leader(&self, from: u64, vote: &Vote) -> Result<(), Status> {
        if vote.leader_id.node_id == from && vote.committed {
            Ok(())
        } else {
            Err(Status::invalid_argument("the sender does not claim to lead"))
        }
    }

    /// Refuses a snapshot openraft would panic on: one no leader of this history can have.
    fn check_snapshot(&self, vote: &Vote, meta: &SnapshotMeta) -> Result<(), Status> {
        let metrics = self.raft.metrics();
        let committed = metrics.borrow_watched().local_committed;
        let Some(last) = meta.last_log_id else {
            return Err(Status::invalid_argument("a snapshot of nothing"));
        };
        let contradicts = committed.is_some_and(|committed| last > committed && last.index() <= committed.index());
        if *last.committed_leader_id() > vote.leader_id || contradicts {
            return Err(Status::invalid_argument("the snapshot contradicts this node's history"));
        }
        Ok(())
    }

    async fn receive_snapshot(
        &self,
        mut parts: Streaming<pb::RaftSnapshotPart>,
        extensions: &Extensions,
    ) -> Result<(Vote, Snapshot), Status> {
        use pb::raft_snapshot_part::Part;
        let Some(Part::Head(head)) = next(&mut parts).await?.and_then(|part| part.part) else {
            return Err(Status::invalid_argument("a snapshot begins with its head"));
        };
        let from = self.check(head.envelope.as_ref(), extensions)?;
        let vote = head
            .vote
            .as_ref()
            .map(convert::vote_from_pb)
            .ok_or_else(|| malformed(&Malformed::Missing("vote of a snapshot")))?;
        self.check_leader(from, &vote)?;
        let meta = head
            .meta
            .as_ref()
            .ok_or_else(|| malformed(&Malformed::Missing("meta of a snapshot")))?;
        let meta = convert::snapshot_meta_from_pb(meta).map_err(|error| malformed(&error))?;
        self.check_snapshot(&vote, &meta)?;
        let length = usize::try_from(head.length)
            .ok()
            .filter(|length| *length <= SNAPSHOT_BYTES_MAX);
        let length = length.ok_or_else(|| Status::resource_exhausted("the snapshot is above the limit"))?;
        // Grown as it comes: the announced length alone is no reason to allocate.
        let mut data = BytesMut::new();
        while let Some(part) = next(&mut parts).await? {
            let Some(Part::Data(piece)) = part.part else {
                return Err(Status::invalid_argument("a snapshot goes on with data"));
            };
            if piece.len() > SNAPSHOT_PIECE_BYTES || data.len() + piece.len() > length {
                return Err(Status::invalid_argument("the snapshot is longer than announced"));
            }
            data.extend_from_slice(&piece);
        }
        if data.len() != length || crc32fast::hash(&data) != head.crc {
            return Err(Status::data_loss("the snapshot did not arrive as it was sent"));
        }
        Ok((
            vote,
            Snapshot {
                meta,
                snapshot: data.freeze(),
            },
        ))
    }
}

#[tonic::async_trait]
impl raft_server::Raft for RaftService {
    type AppendStream = Pin<Box<dyn Stream<Item = Result<pb::RaftAppendReply, Status>> + Send>>;

    async fn append(&self, request: Request<Streaming<pb::RaftAppendRequest>>) -> Result<Response<Self::AppendStream>, Status> {
        let (_, extensions, incoming) = request.into_parts();
        let service = self.clone();
        let refused = Arc::new(Mutex::new(None));
        let refuse = refused.clone();
        // The answer begins at once: the leader may take its time before the first request.
        let requests = stream::unfold(Some((incoming, None)), move |state| {
            let (service, refuse, extensions) = (service.clone(), refuse.clone(), extensions.clone());
            async move {
                let (mut incoming, mut from) = state?;
                let request = incoming.message().await.ok()??;
                match service.accept_append(&mut from, request, &extensions) {
                    Ok(request) => Some((request, Some((incoming, from)))),
                    Err(status) => {
                        *refuse.lock().unwrap_or_else(PoisonError::into_inner) = Some(status);
                        None
                    }
                }
            }
        });
        let replies = self.raft.stream_append(requests).map(|result| match result {
            Ok(result) => Ok(convert::append_reply_to_pb(&result)),
            Err(fatal) => Err(stopped(&fatal)),
        });
        let last = stream::once(async move { refused.lock().unwrap_or_else(PoisonError::into_inner).take() });
        Ok(Response::new(Box::pin(
            replies.chain(last.filter_map(|status| async move { status.map(Err) })),
        )))
    }

    async fn vote(&self, request: Request<pb::RaftVoteRequest>) -> Result<Response<pb::RaftVoteReply>, Status> {
        let request = self.accept_vote(request)?;
        let reply = self.raft.vote(request).await.map_err(failed)?;
        Ok(Response::new(convert::vote_reply_to_pb(&reply)))
    }

    async fn pre_vote(&self, request: Request<pb::RaftVoteRequest>) -> Result<Response<pb::RaftVoteReply>, Status> {
        let request = self.accept_vote(request)?;
        let reply = self.raft.pre_vote(request).await.map_err(failed)?;
        Ok(Response::new(convert::vote_reply_to_pb(&reply)))
    }

    async fn transfer_leader(
        &self,
        request: Request<pb::RaftTransferRequest>,
    ) -> Result<Response<pb::RaftTransferReply>, Status> {
        let from = self.check(request.get_ref().envelope.as_ref(), request.extensions())?;
        let request = convert::transfer_from_pb(request.get_ref()).map_err(|error| malformed(&error))?;
        self.check_leader(from, request.from_leader())?;
        let reply = self
            .raft
            .handle_transfer_leader(request)
            .await
            .map_err(|fatal| stopped(&fatal))?;
        Ok(Response::new(convert::transfer_reply_to_pb(&reply)))
    }

    async fn install_snapshot(
        &self,
        request: Request<Streaming<pb::RaftSnapshotPart>>,
    ) -> Result<Response<pb::RaftSnapshotReply>, Status> {
        let _one = self
            .receiving
            .try_acquire()
            .map_err(|_| Status::unavailable("another snapshot is being received"))?;
        let (_, extensions, parts) = request.into_parts();
        let (vote, snapshot) = self.receive_snapshot(parts, &extensions).await?;
        let reply = self
            .raft
            .install_full_snapshot(vote, snapshot)
            .await
            .map_err(|fatal| stopped(&fatal))?;
        Ok(Response::new(pb::RaftSnapshotReply {
            vote: Some(convert::vote_to_pb(&reply.vote)),
        }))
    }
}

impl RaftService {
    /// Checks one request of an append stream; `from` is the sender once the first one named it.
    fn accept_append(
        &self,
        from: &mut Option<u64>,
        request: pb::RaftAppendRequest,
        extensions: &Extensions,
    ) -> Result<AppendRequest, Status> {
        let sender = match *from {
            Some(sender) => sender,
            None => *from.insert(self.check(request.envelope.as_ref(), extensions)?),
        };
        let request = convert::append_from_pb(request).map_err(|error| malformed(&error))?;
        self.check_leader(sender, &request.vote)?;
        Ok(request)
    }

    fn accept_vote(
        &self,
        request: Request<pb::RaftVoteRequest>,
    ) -> Result<openraft::raft::VoteRequest<super::types::Types>, Status> {
        let from = self.check(request.get_ref().envelope.as_ref(), request.extensions())?;
        let request = convert::vote_request_from_pb(request.get_ref()).map_err(|error| malformed(&error))?;
        if request.vote.leader_id.node_id != from || request.vote.committed {
            return Err(Status::invalid_argument("a candidate asks for itself"));
        }
        Ok(request)
    }
}

type AppendRequest = openraft::raft::AppendEntriesRequest<super::types::Types>;

/// The next part of a snapshot, within a deadline.
async fn next(parts: &mut Streaming<pb::RaftSnapshotPart>) -> Result<Option<pb::RaftSnapshotPart>, Status> {
    tokio::time::timeout(PART_DEADLINE, parts.message())
        .await
        .map_err(|_| Status::deadline_exceeded("the snapshot stopped coming"))?
}

fn malformed(error: &Malformed) -> Status {
    Status::invalid_argument(error.to_string())
}

fn failed(error: RaftError<super::types::Types>) -> Status {
    match error {
        RaftError::Fatal(fatal) => stopped(&fatal),
        RaftError::APIError(never) => match never {},
    }
}

fn stopped(fatal: &Fatal<super::types::Types>) -> Status {
    Status::unavailable(format!("consensus has stopped: {fatal}"))
}

/// The largest snapshot this node takes.
const SNAPSHOT_BYTES_MAX: usize = 1024 * 1024 * 1024;
/// How long to wait for the next piece of a snapshot.
const PART_DEADLINE: Duration = Duration::from_secs(10);
