//! A follower against sources of its own making, over real connections.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use parking_lot::Mutex;
use ringfort_proto::cluster::v1::{
    self as pb,
    control_server::{Control, ControlServer},
};
use tokio::{runtime::Handle, sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::follower::Follower;
use crate::cluster::{
    consensus::StateMachine,
    net::{self, Acceptor, Addresses, Dialer, Identity, PeerChannels, Security},
};

type Part = Result<pb::FeedPart, Status>;
type Reply<T> = Result<Response<T>, Status>;

/// A core node that sends what a test says.
#[derive(Clone)]
struct Source {
    /// What each follower has asked for, and the way to it.
    followers: mpsc::Sender<(u64, mpsc::Sender<Part>)>,
}

fn unasked<T>() -> Reply<T> {
    Err(Status::unimplemented("not asked here"))
}

#[tonic::async_trait]
impl Control for Source {
    type FollowStream = ReceiverStream<Part>;

    async fn follow(&self, request: Request<pb::FollowRequest>) -> Reply<Self::FollowStream> {
        let (to, parts) = mpsc::channel(16);
        let asked = (request.into_inner().applied, to);
        self.followers
            .send(asked)
            .await
            .map_err(|_| Status::unavailable("the test is over"))?;
        Ok(Response::new(ReceiverStream::new(parts)))
    }
    async fn info(&self, _: Request<pb::InfoRequest>) -> Reply<pb::InfoReply> {
        unasked()
    }
    async fn propose(&self, _: Request<pb::ProposeRequest>) -> Reply<pb::ProposeReply> {
        unasked()
    }
    async fn read_index(&self, _: Request<pb::ReadIndexRequest>) -> Reply<pb::ReadIndexReply> {
        unasked()
    }
    async fn renew(&self, _: Request<pb::RenewRequest>) -> Reply<pb::RenewReply> {
        unasked()
    }
    async fn admit(&self, _: Request<pb::AdmitRequest>) -> Reply<pb::AdmitReply> {
        unasked()
    }
    async fn move_leadership(&self, _: Request<pb::MoveLeadershipRequest>) -> Reply<pb::MoveLeadershipReply> {
        unasked()
    }
    async fn status(&self, _: Request<pb::StatusRequest>) -> Reply<pb::NodeStatus> {
        unasked()
    }
    async fn drain(&self, _: Request<pb::DrainRequest>) -> Reply<pb::DrainReply> {
        unasked()
    }
}

/// Starts a source; returns where it is and who follows it.
async fn source(name: &str) -> (String, mpsc::Receiver<(u64, mpsc::Sender<Part>)>) {
    let identity = Identity::new("c", name).unwrap();
    let (acceptor, control, _data) = Acceptor::bind("127.0.0.1:0", identity, Security::Plain, Handle::current())
        .await
        .unwrap();
    let address = acceptor.local_addr().unwrap().to_string();
    tokio::spawn(acceptor.run());
    let (followers, followed) = mpsc::channel(4);
    let served = net::server().add_service(ControlServer::new(Source { followers }));
    tokio::spawn(served.serve_with_incoming(control));
    (address, followed)
}

/// What was done to the state machine.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<String>>>);

impl StateMachine for Seen {
    fn apply(&mut self, index: u64, command: &[u8]) -> Bytes {
        self.0.lock().push(format!("{index}={}", String::from_utf8_lossy(command)));
        Bytes::new()
    }
    fn applied_to(&mut self, _: u64) {}
    fn snapshot(&self) -> Vec<u8> {
        Vec::new()
    }
    fn restore(&mut self, index: u64, bytes: &[u8]) -> Result<(), String> {
        self.0.lock().push(format!("state {index} of {} bytes", bytes.len()));
        Ok(())
    }
}

fn part(part: pb::feed_part::Part) -> Part {
    Ok(pb::FeedPart { part: Some(part) })
}

fn entries(first: u64, commands: &[&'static str]) -> Part {
    let commands = commands.iter().map(|text| Bytes::from_static(text.as_bytes())).collect();
    part(pb::feed_part::Part::Entries(pb::FeedEntries { first, commands }))
}

fn pulse(applied: u64, leader: &str) -> Part {
    let members = ["n1", "n2"].into_iter().zip(1..).map(|(name, raft_id)| pb::FeedMember {
        raft_id,
        name: name.to_owned(),
        voter: true,
    });
    part(pb::feed_part::Part::Pulse(pb::FeedPulse {
        applied,
        term: 3,
        leader: leader.to_owned(),
        leader_id: 1,
        members: members.collect(),
        durable: true,
    }))
}

fn state(index: u64, bytes: &[u8], crc: u32) -> [Part; 2] {
    let head = pb::FeedSnapshot {
        index,
        bytes: bytes.len() as u64,
        crc,
    };
    [
        part(pb::feed_part::Part::Snapshot(head)),
        part(pb::feed_part::Part::Piece(Bytes::copy_from_slice(bytes))),
    ]
}

async fn next(followed: &mut mpsc::Receiver<(u64, mpsc::Sender<Part>)>) -> (u64, mpsc::Sender<Part>) {
    timeout(Duration::from_secs(10), followed.recv())
        .await
        .expect("nobody follows")
        .expect("a follower")
}

async fn reaches(follower: &Follower, index: u64) {
    let mut applied = follower.applied();
    let reached = applied.wait_for(|at| *at == index);
    timeout(Duration::from_secs(10), reached)
        .await
        .expect("not reached")
        .expect("it runs");
}

fn follow(sources: &[(&str, &str)]) -> (Follower, Seen) {
    let addresses = Addresses::configured(sources.iter().map(|(name, at)| (*name, *at)));
    let dialer = Dialer::new(Identity::new("c", "edge").unwrap(), Security::Plain, addresses);
    let peers = Arc::new(PeerChannels::new(dialer, Handle::current()));
    let seen = Seen::default();
    let names = sources.iter().map(|(name, _)| (*name).to_owned()).collect();
    (Follower::start("c", "edge", names, Box::new(seen.clone()), peers), seen)
}

#[tokio::test]
async fn a_follower_takes_the_state_and_the_tail_and_goes_on_elsewhere_where_it_was() {
    let ((one, mut by_one), (two, mut by_two)) = (source("n1").await, source("n2").await);
    let (follower, seen) = follow(&[("n1", &one), ("n2", &two)]);
    let (first, mut from) = tokio::select! {
        (applied, to) = next(&mut by_one) => { assert_eq!(applied, 0); (1, to) }
        (applied, to) = next(&mut by_two) => { assert_eq!(applied, 0); (2, to) }
    };
    let crc = crc32fast::hash(b"state");
    for part in state(7, b"state", crc)
        .into_iter()
        .chain([pulse(9, "n1"), entries(8, &["a", ""])])
    {
        from.send(part).await.unwrap();
    }
    reaches(&follower, 9).await;
    let known: Vec<String> = follower.members().into_iter().map(|member| member.name).collect();
    assert_eq!(
        (known.join(" "), follower.leader().as_deref()),
        ("n1 n2".to_owned(), Some("n1"))
    );
    assert!(follower.log_state().durable);
    drop(from);

    let other = if first == 1 { &mut by_two } else { &mut by_one };
    let applied;
    (applied, from) = next(other).await;
    assert_eq!(applied, 9);
    // What it has already is no harm.
    from.send(entries(9, &["", "b"])).await.unwrap();
    reaches(&follower, 10).await;
    assert_eq!(*seen.0.lock(), ["state 7 of 5 bytes", "8=a", "10=b"]);
    // The leader is remembered while nobody feeds it.
    assert_eq!(follower.leader().as_deref(), Some("n1"));
}

#[tokio::test]
async fn whatever_does_not_fit_ends_the_feed_and_is_not_applied() {
    let (one, mut by_one) = source("n1").await;
    let (follower, seen) = follow(&[("n1", &one)]);
    let (_, from) = next(&mut by_one).await;
    from.send(entries(1, &["a"])).await.unwrap();
    reaches(&follower, 1).await;
    let (crc, piece) = (crc32fast::hash(b"state"), state(9, b"piece", 0)[1].clone());
    let wrong: Vec<Vec<Part>> = vec![
        vec![entries(3, &["a gap"])],
        state(9, b"state", crc ^ 1).into(),
        state(0, b"state", crc).into(),
        vec![piece],
        vec![Ok(pb::FeedPart { part: None })],
        vec![state(9, b"state", crc)[0].clone(), entries(2, &["in the middle of a state"])],
    ];
    let mut from = from;
    for parts in wrong {
        for part in parts {
            from.send(part).await.unwrap();
        }
        let applied;
        (applied, from) = next(&mut by_one).await;
        assert_eq!(applied, 1);
    }
    assert_eq!(*seen.0.lock(), ["1=a"]);
}

#[tokio::test]
async fn a_source_that_is_silent_or_behind_is_left() {
    let (one, mut by_one) = source("n1").await;
    let (follower, _seen) = follow(&[("n1", &one)]);
    let (_, silent) = next(&mut by_one).await;
    let (_, behind) = next(&mut by_one).await;
    drop(silent);
    follower.heard_of(5);
    let until = tokio::time::Instant::now() + Duration::from_secs(8);
    // It speaks, and never gets to where the leader is.
    while behind.send(pulse(4, "n1")).await.is_ok() {
        assert!(tokio::time::Instant::now() < until, "it still listens");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
