//! What a node refuses from the network, and that what it sends comes out the same.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
};

use bytes::Bytes;
use futures_util::StreamExt;
use openraft::raft::{AppendEntriesRequest, StreamAppendError};
use ringfort_proto::cluster::v1::{self as pb, raft_client::RaftClient};
use tonic::{
    Code, Request, Status,
    transport::{Channel, Endpoint, Server, server::TcpIncoming},
};

use super::support::{Directory, Node, authenticated, leader, propose, three};
use crate::cluster::raft::{
    convert::{self, Malformed},
    types::{Command, Entry, LeaderId, LogId, MemberName, Membership, Payload, SnapshotMeta, StoredMembership, Types, Vote},
};

fn envelope(from: u64, to: u64) -> pb::RaftEnvelope {
    pb::RaftEnvelope {
        version: 1,
        cluster_id: "test".to_owned(),
        from,
        from_name: format!("n{from}"),
        to,
    }
}

fn client(address: SocketAddr) -> RaftClient<Channel> {
    RaftClient::new(
        Endpoint::from_shared(format!("http://{address}"))
            .expect("an address")
            .connect_lazy(),
    )
}

fn pb_vote(term: u64, node: u64, committed: bool) -> Option<pb::RaftVote> {
    Some(pb::RaftVote { term, node, committed })
}

/// Sends one message by each call and returns the refusals.
async fn all_calls(node: &Node, envelope: pb::RaftEnvelope) -> Vec<Status> {
    let mut client = client(node.address);
    let (from, to) = (envelope.from, envelope.to);
    let envelope = Some(envelope);
    let ask = pb::RaftVoteRequest {
        envelope: envelope.clone(),
        vote: pb_vote(99, from, false),
        last: None,
        leadership_transfer: false,
    };
    let append = pb::RaftAppendRequest {
        envelope: envelope.clone(),
        vote: pb_vote(99, from, true),
        ..Default::default()
    };
    let head = pb::RaftSnapshotHead {
        envelope: envelope.clone(),
        vote: pb_vote(99, from, true),
        ..Default::default()
    };
    let part = pb::RaftSnapshotPart {
        part: Some(pb::raft_snapshot_part::Part::Head(head)),
    };
    let transfer = pb::RaftTransferRequest {
        envelope,
        from_leader: pb_vote(99, from, true),
        to,
        last: None,
    };
    let answered = client
        .append(futures_util::stream::iter([append]))
        .await
        .expect("an open stream")
        .into_inner()
        .next()
        .await;
    vec![
        client.vote(ask.clone()).await.expect_err("a refusal"),
        client.pre_vote(ask).await.expect_err("a refusal"),
        client.transfer_leader(transfer).await.expect_err("a refusal"),
        client
            .install_snapshot(futures_util::stream::iter([part]))
            .await
            .expect_err("a refusal"),
        answered.expect("an answer").expect_err("a refusal"),
    ]
}

#[tokio::test]
async fn calls_from_elsewhere_or_meant_for_another_are_refused() {
    let directory = Arc::new(Directory::default());
    let nodes = three(&directory).await;
    let at = leader(&nodes).await;
    let term = nodes[at].consensus.leadership().borrow().term;
    let node = &nodes[0];
    let foreign = pb::RaftEnvelope {
        cluster_id: "another".to_owned(),
        ..envelope(2, 1)
    };
    let newer = pb::RaftEnvelope {
        version: 2,
        ..envelope(2, 1)
    };
    let mistaken = envelope(2, 77);
    let cases = [
        (foreign, "belongs to cluster \"test\", not \"another\""),
        (newer, "upgrade node n1"),
        (mistaken, "a node that lost its disk is a new one"),
    ];
    for (envelope, text) in cases {
        for status in all_calls(node, envelope).await {
            assert_eq!(status.code(), Code::FailedPrecondition, "{status}");
            assert!(status.message().contains(text), "{status}");
        }
    }
    let pretender = pb::RaftEnvelope {
        from_name: "n3".to_owned(),
        ..envelope(2, 1)
    };
    for status in all_calls(node, pretender).await {
        assert_eq!(status.code(), Code::PermissionDenied, "{status}");
    }
    // Nothing of this was heard: the leadership stands and works.
    let written = propose(&nodes[at], ["x".to_owned()]).await[0];
    node.applied(written).await;
    assert_eq!(nodes[at].consensus.leadership().borrow().term, term);
}

#[tokio::test]
async fn nobody_speaks_for_a_node_the_link_did_not_authenticate() {
    let directory = Arc::new(Directory::default());
    let nodes = three(&directory).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let stamp = |mut request: Request<()>| {
        request.extensions_mut().insert(authenticated("n3"));
        Ok::<_, Status>(request)
    };
    let stamped = Server::builder()
        .layer(tonic::service::interceptor::InterceptorLayer::new(stamp))
        .add_service(nodes[0].consensus.service().expect("a core node"));
    let server = tokio::spawn(stamped.serve_with_incoming(TcpIncoming::from(listener)));
    let mut client = client(address);
    let ask = |from| pb::RaftVoteRequest {
        envelope: Some(envelope(from, 1)),
        vote: pb_vote(1, from, false),
        last: None,
        leadership_transfer: false,
    };
    let refused = client.pre_vote(ask(2)).await.expect_err("a refusal");
    assert_eq!(
        (refused.code(), refused.message()),
        (Code::PermissionDenied, "node n3 speaks for n2")
    );
    client.pre_vote(ask(3)).await.expect("an answer");
    server.abort();
}

#[tokio::test]
async fn contradictions_are_refused_before_they_reach_the_log() {
    let directory = Arc::new(Directory::default());
    let nodes = three(&directory).await;
    let at = leader(&nodes).await;
    let mut client = client(nodes[0].address);
    let ask = pb::RaftVoteRequest {
        envelope: Some(envelope(2, 1)),
        vote: pb_vote(99, 3, false),
        last: None,
        leadership_transfer: false,
    };
    assert_eq!(
        client.vote(ask).await.expect_err("a refusal").code(),
        Code::InvalidArgument,
        "a vote for somebody else"
    );
    let entry = pb::RaftEntry {
        log_id: Some(pb::RaftLogId {
            term: 1,
            node: 2,
            index: 7,
        }),
        payload: None,
    };
    let append = |vote, entry: &pb::RaftEntry| pb::RaftAppendRequest {
        envelope: Some(envelope(2, 1)),
        vote,
        entries: vec![entry.clone()],
        ..Default::default()
    };
    let blank = pb::RaftEntry {
        payload: Some(pb::raft_entry::Payload::Blank(pb::RaftBlank {})),
        ..entry.clone()
    };
    for request in [
        append(pb_vote(99, 2, true), &entry),
        append(pb_vote(99, 2, true), &blank),
        append(pb_vote(99, 2, false), &blank),
    ] {
        let mut replies = client
            .append(futures_util::stream::iter([request]))
            .await
            .expect("an open stream")
            .into_inner();
        assert_eq!(
            replies.next().await.expect("an answer").expect_err("a refusal").code(),
            Code::InvalidArgument
        );
    }
    let membership = Some(pb::RaftStoredMembership {
        log_id: None,
        membership: Some(pb::RaftMembership::default()),
    });
    let meta = |term| {
        Some(pb::RaftSnapshotMeta {
            last: Some(pb::RaftLogId {
                term,
                node: 2,
                index: 1000,
            }),
            membership: membership.clone(),
        })
    };
    let head = |term, length, crc| pb::RaftSnapshotHead {
        envelope: Some(envelope(2, 1)),
        vote: pb_vote(99, 2, true),
        meta: meta(term),
        length,
        crc,
    };
    use pb::raft_snapshot_part::Part::{Data, Head};
    let data = || Data(Bytes::from_static(b"abc"));
    let crc = crc32fast::hash(b"abc");
    let wrong = [
        (vec![data()], Code::InvalidArgument),
        (vec![Head(head(100, 3, crc)), data()], Code::InvalidArgument),
        (vec![Head(head(99, 2, crc)), data()], Code::InvalidArgument),
        (vec![Head(head(99, 4, crc)), data()], Code::DataLoss),
        (vec![Head(head(99, 3, crc + 1)), data()], Code::DataLoss),
        (vec![Head(head(99, u64::MAX, crc)), data()], Code::ResourceExhausted),
    ];
    for (parts, code) in wrong {
        let parts: Vec<_> = parts
            .into_iter()
            .map(|part| pb::RaftSnapshotPart { part: Some(part) })
            .collect();
        assert_eq!(
            client
                .install_snapshot(futures_util::stream::iter(parts))
                .await
                .expect_err("a refusal")
                .code(),
            code
        );
    }
    let written = propose(&nodes[at], ["x".to_owned()]).await[0];
    nodes[0].applied(written).await;
}

#[test]
fn everything_survives_the_wire() {
    let leader = LeaderId { term: 3, node_id: 9 };
    let log_id = |index| LogId::new(leader, index);
    let names: BTreeMap<u64, MemberName> = (1..=4).map(|id| (id, MemberName(format!("n{id}")))).collect();
    let joint = Membership::new(vec![BTreeSet::from([1, 2, 3]), BTreeSet::from([2, 3])], names).expect("a membership");
    let payloads = [
        Payload::Blank,
        Payload::Normal(Command(Bytes::from_static(b"abc"))),
        Payload::Membership(joint.clone()),
    ];
    let entries: Vec<Entry> = payloads
        .into_iter()
        .zip(5..)
        .map(|(payload, index)| Entry {
            log_id: log_id(index),
            payload,
        })
        .collect();
    let vote = Vote {
        leader_id: leader,
        committed: true,
    };
    let request = AppendEntriesRequest::<Types> {
        vote,
        prev_log_id: Some(log_id(4)),
        entries: entries.clone(),
        leader_commit: Some(log_id(2)),
    };
    let back = convert::append_from_pb(convert::append_to_pb(&request, None)).expect("sense");
    assert_eq!(
        (back.vote, back.prev_log_id, back.entries, back.leader_commit),
        (vote, Some(log_id(4)), entries, Some(log_id(2)))
    );
    let replies = [
        Ok(None),
        Ok(Some(log_id(1))),
        Err(StreamAppendError::Conflict(log_id(1))),
        Err(StreamAppendError::HigherVote(vote)),
    ];
    for reply in replies {
        assert_eq!(convert::append_reply_from_pb(&convert::append_reply_to_pb(&reply)), Ok(reply));
    }
    for last_membership in [StoredMembership::new(Some(log_id(1)), joint), StoredMembership::default()] {
        let meta = SnapshotMeta {
            last_log_id: Some(log_id(8)),
            last_membership,
        };
        assert_eq!(convert::snapshot_meta_from_pb(&convert::snapshot_meta_to_pb(&meta)), Ok(meta));
    }
}

#[test]
fn entries_of_an_unknown_kind_or_out_of_order_are_not_guessed_at() {
    let at = |term, index| Some(pb::RaftLogId { term, node: 1, index });
    let blank = |term, index| pb::RaftEntry {
        log_id: at(term, index),
        payload: Some(pb::raft_entry::Payload::Blank(pb::RaftBlank {})),
    };
    let request = |entries| pb::RaftAppendRequest {
        vote: pb_vote(5, 1, true),
        prev: at(2, 3),
        entries,
        ..Default::default()
    };
    let refused = |entries| convert::append_from_pb(request(entries)).expect_err("a refusal");
    assert_eq!(
        refused(vec![pb::RaftEntry {
            log_id: at(3, 4),
            payload: None
        }]),
        Malformed::Unknown("an entry")
    );
    assert_eq!(
        refused(vec![blank(3, 4), blank(3, 6)]),
        Malformed::Gap { expected: 5, found: 6 }
    );
    assert_eq!(refused(vec![blank(1, 4)]), Malformed::Leader(4));
    assert_eq!(refused(vec![blank(6, 4)]), Malformed::Leader(4));
    let voters = pb::RaftMembership {
        configs: vec![pb::RaftVoters { ids: vec![1] }],
        nodes: vec![],
    };
    let entry = pb::RaftEntry {
        log_id: at(3, 4),
        payload: Some(pb::raft_entry::Payload::Membership(voters)),
    };
    assert!(matches!(refused(vec![entry]), Malformed::Membership(_)));
}
