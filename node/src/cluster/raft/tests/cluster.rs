//! Three nodes over loopback TCP: elections, proposals, reads, lost leaders and lost quorums.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;

use super::support::{Directory, LONG, Node, leader, members, propose, three, within};
use crate::cluster::consensus::{InitializeError, ProposeError, ReadError, TransferError};

#[tokio::test]
async fn a_thousand_commands_are_applied_alike_on_all_nodes() {
    let directory = Arc::new(Directory::default());
    let nodes = three(&directory).await;
    let at = leader(&nodes).await;
    let outcomes = nodes[at]
        .consensus
        .propose((0..1000).map(|n| Bytes::from(format!("command {n}"))).collect())
        .await;
    let mut last = 0;
    for (n, outcome) in outcomes.into_iter().enumerate() {
        let (index, bytes) = outcome.expect("an outcome");
        assert_eq!(bytes, format!("ok command {n}"));
        assert!(index > last);
        last = index;
    }
    let expected: Vec<Vec<u8>> = (0..1000).map(|n| format!("command {n}").into_bytes()).collect();
    for node in &nodes {
        node.applied(last).await;
        assert_eq!(node.commands(), expected, "on {}", node.name);
        assert_eq!(node.history.lock().told, *node.consensus.applied().borrow());
        assert_eq!(node.consensus.members().iter().filter(|member| member.voter).count(), 3);
        assert!(!node.consensus.log_state().durable);
    }
}

#[tokio::test]
async fn a_peer_that_is_down_is_not_dialled_without_a_pause() {
    let directory = Arc::new(Directory::default());
    let mut nodes = three(&directory).await;
    let at = leader(&nodes).await;
    let lost = nodes.remove((at + 1) % 3);
    let name = lost.name.clone();
    let asked = || directory.asked.lock().get(&name).copied().unwrap_or(0);
    let at = nodes
        .iter()
        .position(|node| node.consensus.leadership().borrow().is_me)
        .expect("it lives");
    lost.kill(&directory).await;
    let before = asked();
    for n in 0..20 {
        propose(&nodes[at], [format!("command {n}")]).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // Ten heartbeats and twenty proposals in that second; without the pause it is some ten thousand.
    let dialled = asked() - before;
    assert!((1..150).contains(&dialled), "dialled {dialled} times");
}

#[tokio::test]
async fn proposals_may_overlap() {
    let directory = Arc::new(Directory::default());
    let nodes = three(&directory).await;
    let at = leader(&nodes).await;
    let one = |n: usize| nodes[at].consensus.propose(vec![Bytes::from(n.to_string())]);
    let answers = futures_util::future::join_all((0..100).map(one)).await;
    let indices: Vec<u64> = answers
        .into_iter()
        .flatten()
        .map(|outcome| outcome.expect("an outcome").0)
        .collect();
    assert!(
        indices.is_sorted_by(|a, b| a < b),
        "queued in the order of the calls: {indices:?}"
    );
}

#[tokio::test]
async fn a_follower_names_the_leader() {
    let directory = Arc::new(Directory::default());
    let nodes = three(&directory).await;
    let at = leader(&nodes).await;
    let leader_name = Some(nodes[at].name.clone());
    let follower = &nodes[(at + 1) % 3].consensus;
    let refused = follower.propose(vec![Bytes::from_static(b"x")]).await.remove(0);
    assert_eq!(
        refused,
        Err(ProposeError::NotLeader {
            leader: leader_name.clone()
        })
    );
    assert_eq!(follower.read_index().await, Err(ReadError::NotLeader { leader: leader_name }));
    assert_eq!(follower.quorum_contact_age(), None);
    assert_eq!(follower.transfer_leadership(None).await, Err(TransferError::NotLeader));
}

#[tokio::test]
async fn a_read_index_covers_everything_acknowledged() {
    let directory = Arc::new(Directory::default());
    let nodes = three(&directory).await;
    let at = leader(&nodes).await;
    let written = propose(&nodes[at], ["x".to_owned()]).await[0];
    let index = nodes[at].consensus.read_index().await.expect("a quorum");
    assert!(index >= written);
    nodes[(at + 1) % 3].applied(index).await;
    assert_eq!(nodes[(at + 1) % 3].commands(), [b"x".to_vec()]);
    assert!(nodes[at].consensus.quorum_contact_age().expect("a leader") < Duration::from_secs(2));
}

#[tokio::test]
async fn initialising_again_changes_nothing() {
    let directory = Arc::new(Directory::default());
    let node = Node::start(&directory, 1, None, |_| ()).await;
    assert!(!node.consensus.is_initialized());
    assert_eq!(
        node.consensus.initialize(members([2])).await,
        Err(InitializeError::NotAMember)
    );
    node.consensus.initialize(members([1])).await.expect("a first membership");
    assert!(node.consensus.is_initialized());
    assert_eq!(node.consensus.initialize(members([1])).await, Err(InitializeError::Already));
}

#[tokio::test]
async fn every_node_may_initialise_with_the_same_members() {
    let directory = Arc::new(Directory::default());
    let mut nodes = Vec::new();
    for id in 1..=3 {
        nodes.push(Node::start(&directory, id, None, |_| ()).await);
    }
    let all = nodes.iter().map(|node| node.consensus.initialize(members(1..=3)));
    for done in futures_util::future::join_all(all).await {
        assert!(matches!(done, Ok(()) | Err(InitializeError::Already)), "{done:?}");
    }
    let at = leader(&nodes).await;
    let last = propose(&nodes[at], ["x".to_owned()]).await[0];
    for node in &nodes {
        node.applied(last).await;
        assert_eq!(node.commands(), [b"x".to_vec()]);
    }
}

#[tokio::test]
async fn a_lone_voter_needs_nobody() {
    let directory = Arc::new(Directory::default());
    let node = Node::start(&directory, 1, None, |_| ()).await;
    node.consensus.initialize(members([1])).await.expect("a first membership");
    let nodes = [node];
    leader(&nodes).await;
    let written = propose(&nodes[0], ["x".to_owned()]).await[0];
    // Longer than its lease, without any contact.
    tokio::time::sleep(Duration::from_millis(700)).await;
    propose(&nodes[0], ["y".to_owned()]).await;
    assert!(nodes[0].consensus.read_index().await.expect("a quorum of one") > written);
    assert_eq!(nodes[0].consensus.quorum_contact_age(), Some(Duration::ZERO));
    assert_eq!(
        nodes[0].consensus.transfer_leadership(None).await,
        Err(TransferError::NoTarget)
    );
}

#[tokio::test]
async fn another_node_takes_over_from_a_killed_leader() {
    let directory = Arc::new(Directory::default());
    let mut nodes = three(&directory).await;
    let at = leader(&nodes).await;
    let before = nodes[at].consensus.leadership().borrow().term;
    propose(&nodes[at], ["before".to_owned()]).await;
    nodes.remove(at).kill(&directory).await;
    let survivor = nodes[0].consensus.leadership();
    let mut moved = survivor.clone();
    within(moved.wait_for(|now| now.term > before && now.leader.is_some()))
        .await
        .expect("running");
    let at = leader(&nodes).await;
    let last = propose(&nodes[at], ["after".to_owned()]).await[0];
    for node in &nodes {
        node.applied(last).await;
        assert_eq!(node.commands(), [b"before".to_vec(), b"after".to_vec()]);
    }
}

#[tokio::test]
async fn the_leadership_can_be_handed_over() {
    let directory = Arc::new(Directory::default());
    let nodes = three(&directory).await;
    let at = leader(&nodes).await;
    propose(&nodes[at], (0..10).map(|n| n.to_string())).await;
    let target = &nodes[(at + 1) % 3];
    // Nobody fell silent, so nobody but the target has a reason to campaign.
    nodes[at]
        .consensus
        .transfer_leadership(Some(target.id))
        .await
        .expect("a move");
    assert_eq!(leader(&nodes).await, (at + 1) % 3);
    target
        .consensus
        .transfer_leadership(None)
        .await
        .expect("a move to whoever is best");
    let unknown = nodes[leader(&nodes).await].consensus.transfer_leadership(Some(99)).await;
    assert_eq!(unknown, Err(TransferError::NoTarget));
}

#[tokio::test]
async fn without_a_quorum_nothing_is_accepted() {
    let directory = Arc::new(Directory::default());
    let mut nodes = three(&directory).await;
    let at = leader(&nodes).await;
    propose(&nodes[at], ["before".to_owned()]).await;
    let left = nodes.remove(at);
    for node in nodes {
        node.kill(&directory).await;
    }
    assert_eq!(left.consensus.read_index().await, Err(ReadError::NoQuorum));
    // The lease has run out with the failed read: new commands are refused at once, not queued.
    let refused = left.consensus.propose(vec![Bytes::from_static(b"after")]).await.remove(0);
    assert_eq!(refused, Err(ProposeError::NoQuorum));
    assert!(
        left.consensus
            .quorum_contact_age()
            .is_none_or(|age| age >= Duration::from_millis(600))
    );
    assert_eq!(left.commands(), [b"before".to_vec()]);
}

#[tokio::test]
async fn a_command_taken_before_the_quorum_went_is_unknown() {
    let directory = Arc::new(Directory::default());
    let nodes = three(&directory).await;
    let at = leader(&nodes).await;
    for node in &nodes {
        *node.cut.lock() = true;
    }
    // Within the lease the leader still takes it.
    let outcome = nodes[at].consensus.propose(vec![Bytes::from_static(b"x")]).await.remove(0);
    assert!(matches!(outcome, Err(ProposeError::Unknown(_))), "{outcome:?}");
}

#[tokio::test]
async fn an_isolated_node_does_not_disturb_the_others_when_it_returns() {
    let directory = Arc::new(Directory::default());
    let nodes = three(&directory).await;
    let at = leader(&nodes).await;
    let term = nodes[at].consensus.leadership().borrow().term;
    let lost = &nodes[(at + 1) % 3];
    *lost.cut.lock() = true;
    // Long enough for several rounds of campaigning.
    let last = propose(&nodes[at], (0..10).map(|n| n.to_string())).await[9];
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert_eq!(
        lost.consensus.leadership().borrow().term,
        term,
        "pre-vote keeps an isolated node from raising the term"
    );
    *lost.cut.lock() = false;
    lost.applied(last).await;
    assert_eq!(nodes[at].consensus.leadership().borrow().term, term);
    assert!(nodes[at].consensus.leadership().borrow().is_me);
}

#[tokio::test]
async fn a_follower_far_behind_catches_up_by_snapshot() {
    let directory = Arc::new(Directory::default());
    let small = |config: &mut crate::cluster::consensus::ConsensusConfig| {
        config.snapshot_entries = 50;
        config.kept_entries = 10;
    };
    let mut nodes = Vec::new();
    for id in 1..=3 {
        nodes.push(Node::start(&directory, id, None, small).await);
    }
    nodes[0]
        .consensus
        .initialize(members(1..=3))
        .await
        .expect("a first membership");
    let at = leader(&nodes).await;
    let lost = (at + 1) % 3;
    *nodes[lost].cut.lock() = true;
    let mut last = 0;
    // Long commands make the snapshot several pieces.
    let long = "x".repeat(10_000);
    for round in 0..4 {
        last = *propose(&nodes[at], (0..100).map(|n| format!("{round} {n} {long}")))
            .await
            .last()
            .expect("some");
    }
    let begun = Instant::now();
    while nodes[at].consensus.log_state().purged.is_none_or(|purged| purged < 100) {
        assert!(begun.elapsed() < LONG, "{:?}", nodes[at].consensus.log_state());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    *nodes[lost].cut.lock() = false;
    nodes[lost].applied(last).await;
    assert!(
        nodes[lost].history.lock().restored_at.is_some(),
        "the log alone no longer reaches that far back"
    );
    assert_eq!(nodes[lost].commands(), nodes[at].commands());
}

#[tokio::test]
async fn commands_above_the_limit_are_refused_alone() {
    let directory = Arc::new(Directory::default());
    let nodes = three(&directory).await;
    let at = leader(&nodes).await;
    let commands = vec![
        Bytes::from_static(b"a"),
        Bytes::from(vec![0; 16 * 1024 * 1024 + 1]),
        Bytes::from_static(b"b"),
    ];
    let outcomes = nodes[at].consensus.propose(commands).await;
    assert!(
        matches!(outcomes[..], [Ok(_), Err(ProposeError::TooLarge { .. }), Ok(_)]),
        "{outcomes:?}"
    );
    assert_eq!(nodes[at].commands(), [b"a".to_vec(), b"b".to_vec()]);
}
