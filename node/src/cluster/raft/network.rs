//! Raft's calls to other nodes.
//!
//! Every call has a deadline: openraft's own, which it hands in, or for the long-lived append stream the time within which an answer to
//! what was sent must come. Addresses, TLS and the check of the peer's certificate lie below [`Peers`].

use std::{
    future::Future,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use openraft::{
    OptionalSend, RPCTypes,
    base::{BoxFuture, BoxStream},
    errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Timeout, Unreachable},
    network::{RPCOption, RaftNetworkFactory, RaftNetworkV2},
    raft::{
        AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult, TransferLeaderRequest,
        TransferLeaderResponse, VoteRequest, VoteResponse,
    },
};
use ringfort_proto::cluster::v1::{self as pb, raft_client::RaftClient};
use tonic::{Code, Status, transport::Channel};

use super::{
    convert::{self, Malformed},
    types::{MemberName, Snapshot, Types, Vote},
};
use crate::cluster::consensus::Peers;

/// Who this node is to others.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub(crate) cluster_id: String,
    pub(crate) raft_id: u64,
    pub(crate) name: String,
}

/// Makes a [`Peer`] for each member.
pub(crate) struct Network {
    pub(crate) me: Arc<Identity>,
    pub(crate) peers: Arc<dyn Peers>,
}

impl RaftNetworkFactory<Types> for Network {
    type Network = Peer;

    async fn new_client(&mut self, target: u64, node: &MemberName) -> Peer {
        Peer {
            me: self.me.clone(),
            peers: self.peers.clone(),
            target,
            name: node.0.clone(),
        }
    }
}

/// The way to one other member.
pub(crate) struct Peer {
    me: Arc<Identity>,
    peers: Arc<dyn Peers>,
    target: u64,
    name: String,
}

impl Peer {
    fn client(&self) -> Result<RaftClient<Channel>, Unreachable<Types>> {
        let channel = self
            .peers
            .channel(&self.name)
            .ok_or_else(|| Unreachable::from_string(format!("no way to node {}", self.name)))?;
        Ok(RaftClient::new(channel)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX))
    }

    fn envelope(&self) -> pb::RaftEnvelope {
        pb::RaftEnvelope {
            version: WIRE_VERSION,
            cluster_id: self.me.cluster_id.clone(),
            from: self.me.raft_id,
            from_name: self.me.name.clone(),
            to: self.target,
        }
    }

    fn timeout(&self, action: RPCTypes, timeout: Duration) -> Timeout<Types> {
        Timeout {
            action,
            id: self.me.raft_id,
            target: self.target,
            timeout,
        }
    }

    /// A unary call within its deadline.
    async fn call<T>(
        &self,
        action: RPCTypes,
        option: &RPCOption,
        call: impl Future<Output = Result<tonic::Response<T>, Status>>,
    ) -> Result<T, RPCError<Types>> {
        match tokio::time::timeout(option.soft_ttl(), call).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(self.failed(action, option, &status)),
            Err(_) => Err(self.timeout(action, option.soft_ttl()).into()),
        }
    }

    fn failed(&self, action: RPCTypes, option: &RPCOption, status: &Status) -> RPCError<Types> {
        match status.code() {
            Code::DeadlineExceeded => self.timeout(action, option.soft_ttl()).into(),
            Code::FailedPrecondition | Code::PermissionDenied => {
                tracing::warn!(peer = %self.name, reason = status.message(), "a peer refused a consensus call");
                Unreachable::from_string(format!("node {} refused: {}", self.name, status.message())).into()
            }
            _ => Unreachable::from_string(format!("node {}: {status}", self.name)).into(),
        }
    }

    async fn ask(
        &self,
        rpc: VoteRequest<Types>,
        option: RPCOption,
        round: Round,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        let mut client = self.client()?;
        let request = convert::vote_request_to_pb(&rpc, self.envelope());
        let reply = match round {
            Round::Vote => self.call(RPCTypes::Vote, &option, client.vote(request)).await?,
            Round::PreVote => self.call(RPCTypes::Vote, &option, client.pre_vote(request)).await?,
        };
        convert::vote_reply_from_pb(&reply).map_err(nonsense)
    }

    /// The append stream, whose answers come back in the order of what was sent.
    async fn append<'s, S>(&self, mut input: S, option: RPCOption) -> Result<BoxStream<'s, AppendResult>, RPCError<Types>>
    where
        S: Stream<Item = AppendEntriesRequest<Types>> + OptionalSend + Unpin + 'static,
    {
        // Asked for before the peer is: this is where openraft waits after a failure, or a peer that is down would be dialled
        // without a pause.
        let Some(first) = input.next().await else {
            return Ok(Box::pin(stream::empty()));
        };
        let mut client = self.client()?;
        let progress = Arc::new(Progress::default());
        let mut envelope = Some(self.envelope());
        let counted = progress.clone();
        let requests = stream::once(async { first }).chain(input).map(move |request| {
            counted.sent.fetch_add(1, Ordering::Relaxed);
            convert::append_to_pb(&request, envelope.take())
        });
        let ttl = option.soft_ttl();
        let late = self.timeout(RPCTypes::AppendEntries, ttl);
        let answer = match progress.watch(ttl, client.append(requests)).await {
            Some(Ok(response)) => response.into_inner(),
            Some(Err(status)) => return Err(self.failed(RPCTypes::AppendEntries, &option, &status)),
            None => return Err(late.into()),
        };
        let name = self.name.clone();
        let replies = stream::unfold(Some((answer, progress)), move |state| {
            let (late, name) = (late.clone(), name.clone());
            async move {
                let (mut answer, progress) = state?;
                let result = match progress.watch(ttl, answer.message()).await {
                    Some(Ok(Some(reply))) => convert::append_reply_from_pb(&reply).map_err(nonsense),
                    Some(Ok(None)) => return None,
                    Some(Err(status)) => Err(Unreachable::from_string(format!("node {name}: {status}")).into()),
                    None => Err(late.into()),
                };
                progress.received.fetch_add(1, Ordering::Relaxed);
                let more = matches!(result, Ok(Ok(_))).then_some((answer, progress));
                Some((result, more))
            }
        });
        Ok(Box::pin(replies))
    }

    async fn send_snapshot(
        &self,
        vote: Vote,
        snapshot: Snapshot,
        option: &RPCOption,
    ) -> Result<SnapshotResponse<Types>, RPCError<Types>> {
        let mut client = self.client()?;
        let head = pb::RaftSnapshotHead {
            envelope: Some(self.envelope()),
            vote: Some(convert::vote_to_pb(&vote)),
            meta: Some(convert::snapshot_meta_to_pb(&snapshot.meta)),
            length: snapshot.snapshot.len() as u64,
            crc: crc32fast::hash(&snapshot.snapshot),
        };
        let part = |part| pb::RaftSnapshotPart { part: Some(part) };
        let head = part(pb::raft_snapshot_part::Part::Head(head));
        let pieces = stream::iter(pieces(snapshot.snapshot)).map(move |piece| part(pb::raft_snapshot_part::Part::Data(piece)));
        let parts = stream::once(async move { head }).chain(pieces);
        let reply = self
            .call(RPCTypes::InstallSnapshot, option, client.install_snapshot(parts))
            .await?;
        let vote = reply
            .vote
            .as_ref()
            .map(convert::vote_from_pb)
            .ok_or_else(|| nonsense(Malformed::Missing("vote of a snapshot reply")))?;
        Ok(SnapshotResponse::new(vote))
    }
}

type AppendResult = Result<StreamAppendResult<Types>, RPCError<Types>>;

enum Round {
    Vote,
    PreVote,
}

impl RaftNetworkV2<Types> for Peer {
    type SnapshotData = Bytes;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        let mut replies = self.append(Box::pin(stream::once(async move { rpc })), option).await?;
        match replies.next().await {
            Some(result) => Ok(result?.into()),
            None => Err(NetworkError::from_string(format!("node {} gave no answer", self.name)).into()),
        }
    }

    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        option: RPCOption,
    ) -> BoxFuture<'s, Result<BoxStream<'s, AppendResult>, RPCError<Types>>>
    where
        S: Stream<Item = AppendEntriesRequest<Types>> + OptionalSend + Unpin + 'static,
    {
        Box::pin(self.append(input, option))
    }

    async fn vote(&mut self, rpc: VoteRequest<Types>, option: RPCOption) -> Result<VoteResponse<Types>, RPCError<Types>> {
        self.ask(rpc, option, Round::Vote).await
    }

    async fn pre_vote(&mut self, rpc: VoteRequest<Types>, option: RPCOption) -> Result<VoteResponse<Types>, RPCError<Types>> {
        self.ask(rpc, option, Round::PreVote).await
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        tokio::select! {
            biased; // A leader that was deposed stops sending first.
            closed = cancel => Err(closed.into()),
            sent = self.send_snapshot(vote, snapshot, &option) => Ok(sent?),
        }
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<Types>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<Types>, RPCError<Types>> {
        let mut client = self.client()?;
        let request = convert::transfer_to_pb(&request, self.envelope());
        let reply = self
            .call(RPCTypes::TransferLeader, &option, client.transfer_leader(request))
            .await?;
        convert::transfer_reply_from_pb(&reply).map_err(nonsense)
    }
}

/// How much of what was sent is answered.
#[derive(Default)]
struct Progress {
    sent: AtomicU64,
    received: AtomicU64,
}

impl Progress {
    fn is_waiting(&self) -> bool {
        self.sent.load(Ordering::Relaxed) > self.received.load(Ordering::Relaxed)
    }

    /// Waits for `next`; `None` once an answer has been due for `ttl`. With nothing sent a stream may rest for as long as it likes.
    async fn watch<F: Future>(&self, ttl: Duration, next: F) -> Option<F::Output> {
        let mut next = pin!(next);
        let mut was_waiting = self.is_waiting();
        loop {
            match tokio::time::timeout(ttl, &mut next).await {
                Ok(output) => return Some(output),
                Err(_) if was_waiting => return None,
                Err(_) => was_waiting = self.is_waiting(),
            }
        }
    }
}

fn pieces(data: Bytes) -> impl Iterator<Item = Bytes> {
    let count = data.len().div_ceil(SNAPSHOT_PIECE_BYTES);
    (0..count).map(move |at| data.slice(at * SNAPSHOT_PIECE_BYTES..((at + 1) * SNAPSHOT_PIECE_BYTES).min(data.len())))
}

fn nonsense(error: Malformed) -> RPCError<Types> {
    NetworkError::new(&error).into()
}

/// The version this node speaks; a receiver refuses what it does not know.
pub(crate) const WIRE_VERSION: u32 = 1;
/// The largest message on the wire: one append with one large command, and room to spare.
pub(crate) const MESSAGE_BYTES_MAX: usize = 32 * 1024 * 1024;
/// The largest piece of a snapshot.
pub(crate) const SNAPSHOT_PIECE_BYTES: usize = 1024 * 1024;
