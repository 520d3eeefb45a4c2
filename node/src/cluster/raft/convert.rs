//! Between openraft's types and protobuf: the only place where both meet.
//!
//! The wire and the disk are ours, not openraft's serde, so that a change of openraft is not a change of format. Everything decoded
//! here came from a peer or a file: what openraft would take for granted is checked, since it asserts on nonsense.

use std::collections::{BTreeMap, BTreeSet};

use openraft::{
    raft::{
        AppendEntriesRequest, StreamAppendError, StreamAppendResult, TransferLeaderError, TransferLeaderRequest,
        TransferLeaderResponse, VoteRequest, VoteResponse,
    },
    vote::RaftLeaderId,
};
use ringfort_proto::cluster::v1 as pb;

use super::types::{
    Command, Entry, LeaderId, LogId, MemberName, Membership, Payload, SnapshotMeta, StoredMembership, Types, Vote,
};

/// A message that decoded as protobuf and yet means nothing.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum Malformed {
    /// A field without which the message has no meaning.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A variant this version does not know, most likely written by a newer one.
    #[error("{0} of a kind this version does not know; upgrade this node")]
    Unknown(&'static str),
    /// Entries that do not follow one another.
    #[error("entry {found} stands where {expected} belongs")]
    Gap { expected: u64, found: u64 },
    /// An entry from a leader later than the one who sends it, or earlier than the one before it.
    #[error("entry {0} is out of the order of leaders")]
    Leader(u64),
    /// A set of voters and members that contradict each other.
    #[error("membership is contradictory: {0}")]
    Membership(String),
}

pub(crate) fn log_id_to_pb(id: &LogId) -> pb::RaftLogId {
    pb::RaftLogId {
        term: id.committed_leader_id().term,
        node: id.committed_leader_id().node_id,
        index: id.index(),
    }
}

pub(crate) fn log_id_from_pb(id: &pb::RaftLogId) -> LogId {
    LogId::new(
        LeaderId {
            term: id.term,
            node_id: id.node,
        },
        id.index,
    )
}

pub(crate) fn vote_to_pb(vote: &Vote) -> pb::RaftVote {
    pb::RaftVote {
        term: vote.leader_id.term,
        node: vote.leader_id.node_id,
        committed: vote.committed,
    }
}

pub(crate) fn vote_from_pb(vote: &pb::RaftVote) -> Vote {
    Vote {
        leader_id: LeaderId::new(vote.term, vote.node),
        committed: vote.committed,
    }
}

fn membership_to_pb(membership: &Membership) -> pb::RaftMembership {
    pb::RaftMembership {
        configs: membership
            .get_joint_config()
            .iter()
            .map(|voters| pb::RaftVoters {
                ids: voters.iter().copied().collect(),
            })
            .collect(),
        nodes: membership
            .nodes()
            .map(|(id, name)| pb::RaftMember {
                id: *id,
                name: name.0.clone(),
            })
            .collect(),
    }
}

fn membership_from_pb(membership: &pb::RaftMembership) -> Result<Membership, Malformed> {
    let configs: Vec<BTreeSet<u64>> = membership
        .configs
        .iter()
        .map(|voters| voters.ids.iter().copied().collect())
        .collect();
    let nodes: BTreeMap<u64, MemberName> = membership
        .nodes
        .iter()
        .map(|node| (node.id, MemberName(node.name.clone())))
        .collect();
    if configs.is_empty() && nodes.is_empty() {
        return Ok(Membership::default());
    }
    Membership::new(configs, nodes).map_err(|error| Malformed::Membership(error.to_string()))
}

fn stored_membership_to_pb(stored: &StoredMembership) -> pb::RaftStoredMembership {
    pb::RaftStoredMembership {
        log_id: stored.log_id().as_ref().map(log_id_to_pb),
        membership: Some(membership_to_pb(stored.membership())),
    }
}

fn stored_membership_from_pb(stored: &pb::RaftStoredMembership) -> Result<StoredMembership, Malformed> {
    let membership = stored.membership.as_ref().ok_or(Malformed::Missing("membership"))?;
    Ok(StoredMembership::new(
        stored.log_id.as_ref().map(log_id_from_pb),
        membership_from_pb(membership)?,
    ))
}

pub(crate) fn snapshot_meta_to_pb(meta: &SnapshotMeta) -> pb::RaftSnapshotMeta {
    pb::RaftSnapshotMeta {
        last: meta.last_log_id.as_ref().map(log_id_to_pb),
        membership: Some(stored_membership_to_pb(&meta.last_membership)),
    }
}

pub(crate) fn snapshot_meta_from_pb(meta: &pb::RaftSnapshotMeta) -> Result<SnapshotMeta, Malformed> {
    let membership = meta
        .membership
        .as_ref()
        .ok_or(Malformed::Missing("membership of the snapshot"))?;
    Ok(SnapshotMeta {
        last_log_id: meta.last.as_ref().map(log_id_from_pb),
        last_membership: stored_membership_from_pb(membership)?,
    })
}

pub(crate) fn entry_to_pb(entry: &Entry) -> pb::RaftEntry {
    use pb::raft_entry::Payload as Wire;
    pb::RaftEntry {
        log_id: Some(log_id_to_pb(&entry.log_id)),
        payload: Some(match &entry.payload {
            Payload::Blank => Wire::Blank(pb::RaftBlank {}),
            Payload::Normal(command) => Wire::Command(command.0.clone()),
            Payload::Membership(membership) => Wire::Membership(membership_to_pb(membership)),
        }),
    }
}

pub(crate) fn entry_from_pb(entry: pb::RaftEntry) -> Result<Entry, Malformed> {
    use pb::raft_entry::Payload as Wire;
    let log_id = entry
        .log_id
        .as_ref()
        .map(log_id_from_pb)
        .ok_or(Malformed::Missing("log id of an entry"))?;
    let payload = match entry.payload.ok_or(Malformed::Unknown("an entry"))? {
        Wire::Blank(_) => Payload::Blank,
        Wire::Command(command) => Payload::Normal(Command(command)),
        Wire::Membership(membership) => Payload::Membership(membership_from_pb(&membership)?),
    };
    Ok(Entry { log_id, payload })
}

pub(crate) fn append_to_pb(request: &AppendEntriesRequest<Types>, envelope: Option<pb::RaftEnvelope>) -> pb::RaftAppendRequest {
    pb::RaftAppendRequest {
        envelope,
        vote: Some(vote_to_pb(&request.vote)),
        prev: request.prev_log_id.as_ref().map(log_id_to_pb),
        commit: request.leader_commit.as_ref().map(log_id_to_pb),
        entries: request.entries.iter().map(entry_to_pb).collect(),
    }
}

pub(crate) fn append_from_pb(request: pb::RaftAppendRequest) -> Result<AppendEntriesRequest<Types>, Malformed> {
    let vote = request
        .vote
        .as_ref()
        .map(vote_from_pb)
        .ok_or(Malformed::Missing("vote of an append"))?;
    let prev_log_id = request.prev.as_ref().map(log_id_from_pb);
    let entries = request
        .entries
        .into_iter()
        .map(entry_from_pb)
        .collect::<Result<Vec<_>, _>>()?;
    // A hole in the log is beyond repair, and openraft trusts its peers here.
    let mut expected = prev_log_id.map_or(0, |id| id.index().saturating_add(1));
    let mut before = prev_log_id.map(|id| *id.committed_leader_id());
    for entry in &entries {
        let (index, leader) = (entry.log_id.index(), *entry.log_id.committed_leader_id());
        if index != expected {
            return Err(Malformed::Gap { expected, found: index });
        }
        if before > Some(leader) || leader > vote.leader_id {
            return Err(Malformed::Leader(index));
        }
        (expected, before) = (expected.saturating_add(1), Some(leader));
    }
    Ok(AppendEntriesRequest {
        vote,
        prev_log_id,
        entries,
        leader_commit: request.commit.as_ref().map(log_id_from_pb),
    })
}

pub(crate) fn append_reply_to_pb(result: &StreamAppendResult<Types>) -> pb::RaftAppendReply {
    use pb::raft_append_reply::Result as Wire;
    pb::RaftAppendReply {
        result: Some(match result {
            Ok(matched) => Wire::Matched(pb::RaftMatched {
                log_id: matched.as_ref().map(log_id_to_pb),
            }),
            Err(StreamAppendError::Conflict(log_id)) => Wire::Conflict(log_id_to_pb(log_id)),
            Err(StreamAppendError::HigherVote(vote)) => Wire::HigherVote(vote_to_pb(vote)),
        }),
    }
}

pub(crate) fn append_reply_from_pb(reply: &pb::RaftAppendReply) -> Result<StreamAppendResult<Types>, Malformed> {
    use pb::raft_append_reply::Result as Wire;
    Ok(match reply.result.as_ref().ok_or(Malformed::Unknown("an append reply"))? {
        Wire::Matched(matched) => Ok(matched.log_id.as_ref().map(log_id_from_pb)),
        Wire::Conflict(log_id) => Err(StreamAppendError::Conflict(log_id_from_pb(log_id))),
        Wire::HigherVote(vote) => Err(StreamAppendError::HigherVote(vote_from_pb(vote))),
    })
}

pub(crate) fn vote_request_to_pb(request: &VoteRequest<Types>, envelope: pb::RaftEnvelope) -> pb::RaftVoteRequest {
    pb::RaftVoteRequest {
        envelope: Some(envelope),
        vote: Some(vote_to_pb(&request.vote)),
        last: request.last_log_id.as_ref().map(log_id_to_pb),
        leadership_transfer: request.leadership_transfer,
    }
}

pub(crate) fn vote_request_from_pb(request: &pb::RaftVoteRequest) -> Result<VoteRequest<Types>, Malformed> {
    let vote = request
        .vote
        .as_ref()
        .map(vote_from_pb)
        .ok_or(Malformed::Missing("vote of a vote request"))?;
    let mut out = VoteRequest::new(vote, request.last.as_ref().map(log_id_from_pb));
    out.leadership_transfer = request.leadership_transfer;
    Ok(out)
}

pub(crate) fn vote_reply_to_pb(reply: &VoteResponse<Types>) -> pb::RaftVoteReply {
    pb::RaftVoteReply {
        vote: Some(vote_to_pb(&reply.vote)),
        granted: reply.vote_granted,
        last: reply.last_log_id.as_ref().map(log_id_to_pb),
    }
}

pub(crate) fn vote_reply_from_pb(reply: &pb::RaftVoteReply) -> Result<VoteResponse<Types>, Malformed> {
    let vote = reply
        .vote
        .as_ref()
        .map(vote_from_pb)
        .ok_or(Malformed::Missing("vote of a vote reply"))?;
    Ok(VoteResponse::new(
        vote,
        reply.last.as_ref().map(log_id_from_pb),
        reply.granted,
    ))
}

pub(crate) fn transfer_to_pb(request: &TransferLeaderRequest<Types>, envelope: pb::RaftEnvelope) -> pb::RaftTransferRequest {
    pb::RaftTransferRequest {
        envelope: Some(envelope),
        from_leader: Some(vote_to_pb(request.from_leader())),
        to: *request.to_node_id(),
        last: request.last_log_id().map(log_id_to_pb),
    }
}

pub(crate) fn transfer_from_pb(request: &pb::RaftTransferRequest) -> Result<TransferLeaderRequest<Types>, Malformed> {
    let from = request
        .from_leader
        .as_ref()
        .map(vote_from_pb)
        .ok_or(Malformed::Missing("vote of a transfer"))?;
    Ok(TransferLeaderRequest::new(
        from,
        request.to,
        request.last.as_ref().map(log_id_from_pb),
    ))
}

pub(crate) fn transfer_reply_to_pb(reply: &TransferLeaderResponse<Types>) -> pb::RaftTransferReply {
    use pb::raft_transfer_reply::Result as Wire;
    pb::RaftTransferReply {
        result: Some(match reply {
            Ok(()) => Wire::Accepted(pb::RaftBlank {}),
            Err(TransferLeaderError::VoteChanged { expected, actual }) => Wire::VoteChanged(pb::RaftVoteChanged {
                expected: Some(vote_to_pb(expected)),
                actual: Some(vote_to_pb(actual)),
            }),
            Err(TransferLeaderError::LogNotFlushed { expected, actual }) => Wire::LogNotFlushed(pb::RaftLogNotFlushed {
                expected: expected.as_ref().map(log_id_to_pb),
                actual: actual.as_ref().map(log_id_to_pb),
            }),
        }),
    }
}

pub(crate) fn transfer_reply_from_pb(reply: &pb::RaftTransferReply) -> Result<TransferLeaderResponse<Types>, Malformed> {
    use pb::raft_transfer_reply::Result as Wire;
    Ok(match reply.result.as_ref().ok_or(Malformed::Unknown("a transfer reply"))? {
        Wire::Accepted(_) => Ok(()),
        Wire::VoteChanged(changed) => Err(TransferLeaderError::VoteChanged {
            expected: changed
                .expected
                .as_ref()
                .map(vote_from_pb)
                .ok_or(Malformed::Missing("expected vote"))?,
            actual: changed
                .actual
                .as_ref()
                .map(vote_from_pb)
                .ok_or(Malformed::Missing("actual vote"))?,
        }),
        Wire::LogNotFlushed(flushed) => Err(TransferLeaderError::LogNotFlushed {
            expected: flushed.expected.as_ref().map(log_id_from_pb),
            actual: flushed.actual.as_ref().map(log_id_from_pb),
        }),
    })
}
