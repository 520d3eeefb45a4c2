use std::{net::SocketAddr, sync::atomic::AtomicUsize};

use bytes::Bytes;
use ringfort_proto::cluster::v1 as pb;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::AbortHandle,
    time::timeout,
};
use tokio_stream::wrappers::TcpListenerStream;

use super::*;
use crate::{
    cluster::{
        gossip::{ClusterVitals, Seen, Vitals},
        interest::Change,
        net::{self, Acceptor, Addresses, Dialer, Identity, Kind, Security},
    },
    router::{Slot, frame::CallId},
    wamp::{Dict, Payload, PublicationId, Serializer},
};

#[derive(Clone, Debug, PartialEq)]
enum Noted {
    Up(NodeRef),
    Down(NodeRef),
    Frame(NodeRef, PeerFrame),
    Interest(NodeRef, String, bool),
    Acked(u64),
}

/// Notes everything; `gate` holds up the application of interest.
#[derive(Default)]
struct Recorder {
    seen: Mutex<Vec<Noted>>,
    gate: Mutex<bool>,
    opened: parking_lot::Condvar,
    /// Counted instead of kept: (source, number) of small events, in order per source.
    last: Mutex<HashMap<u64, u64>>,
    counted: AtomicUsize,
    changed: Notify,
}

impl Recorder {
    fn note(&self, what: Noted) {
        self.seen.lock().push(what);
        self.changed.notify_waiters();
    }

    /// From now on interest is not applied, until it is again.
    fn close_gate(&self, closed: bool) {
        *self.gate.lock() = closed;
        self.opened.notify_all();
    }

    fn seen(&self) -> Vec<Noted> {
        self.seen.lock().clone()
    }

    fn count(&self, what: &Noted) -> usize {
        self.seen.lock().iter().filter(|seen| *seen == what).count()
    }

    async fn until(&self, what: &str, mut done: impl FnMut(&[Noted]) -> bool) {
        let wait = async {
            loop {
                let changed = self.changed.notified();
                let mut changed = std::pin::pin!(changed);
                changed.as_mut().enable();
                if done(&self.seen.lock()) {
                    return;
                }
                changed.await;
            }
        };
        if timeout(Duration::from_secs(10), wait).await.is_err() {
            panic!(
                "never seen: {what}; seen: {:?}",
                self.seen().iter().take(50).collect::<Vec<_>>()
            );
        }
    }
}

impl LinkEvents for Recorder {
    fn up(&self, node: NodeRef) {
        self.note(Noted::Up(node));
    }

    fn down(&self, node: NodeRef) {
        self.note(Noted::Down(node));
    }

    fn frames(&self, from: NodeRef, frames: Vec<(Uri, PeerFrame)>) {
        for (realm, frame) in frames {
            assert_eq!(&*realm, "realm1");
            match frame {
                PeerFrame::Event {
                    publication, publisher, ..
                } => {
                    let mut last = self.last.lock();
                    let before = last.insert(publisher.get(), publication.get()).unwrap_or(0);
                    assert_eq!(publication.get(), before + 1, "the events of source {publisher}");
                    self.counted.fetch_add(1, Relaxed);
                    self.changed.notify_waiters();
                }
                frame => self.note(Noted::Frame(from, frame)),
            }
        }
    }

    fn interest(&self, from: NodeRef, _realm: &Uri, changes: Vec<(Uri, bool)>) {
        let mut closed = self.gate.lock();
        self.opened.wait_while(&mut closed, |closed| *closed);
        drop(closed);
        for (topic, wanted) in changes {
            self.note(Noted::Interest(from, topic.to_string(), wanted));
        }
    }

    fn interest_acked(&self, _realm: &Uri, ticket: u64) {
        self.note(Noted::Acked(ticket));
    }
}

struct Node {
    me: NodeRef,
    links: Links,
    seen: Arc<Recorder>,
    address: SocketAddr,
    addresses: Addresses,
    tasks: Vec<AbortHandle>,
}

impl Drop for Node {
    fn drop(&mut self) {
        self.links.stop();
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

fn quick() -> Config {
    Config {
        backoff: (Duration::from_millis(10), Duration::from_millis(100)),
        seed: 7,
        linger: Duration::ZERO,
        ..Config::default()
    }
}

fn life(slot: u16, epoch: u32) -> NodeRef {
    NodeRef { slot: Slot(slot), epoch }
}

fn member(slot: u16, epoch: u32) -> Member {
    Member {
        node: life(slot, epoch),
        name: format!("n{slot}"),
    }
}

impl Node {
    /// Node `n<slot>` of epoch 1, listening, knowing nobody.
    async fn start(slot: u16, config: Config) -> Self {
        let identity = Identity::new("test", format!("n{slot}")).unwrap();
        Self::start_as(slot, config, identity, Security::Plain, Handle::current(), Handle::current()).await
    }

    async fn start_as(slot: u16, config: Config, identity: Identity, security: Security, control: Handle, data: Handle) -> Self {
        let _ = tracing_subscriber::fmt().with_test_writer().try_init();
        let seen = Arc::<Recorder>::default();
        let addresses = Addresses::default();
        let (acceptor, of_control, of_data) = control
            .spawn({
                let (identity, security, data) = (identity.clone(), security.clone(), data.clone());
                async move { Acceptor::bind("127.0.0.1:0", identity, security, data).await.unwrap() }
            })
            .await
            .unwrap();
        let address = acceptor.local_addr().unwrap();
        let peers = PeerChannels::new(Dialer::new(identity, security, addresses.clone()), control.clone());
        let links = Links::new(config, peers, seen.clone(), control.clone(), data.clone());
        let serve = |kind, incoming| net::server().add_service(links.service(kind)).serve_with_incoming(incoming);
        let tasks = vec![
            control.spawn(acceptor.run()).abort_handle(),
            control.spawn(serve(Kind::Control, of_control)).abort_handle(),
            data.spawn(serve(Kind::Data, of_data)).abort_handle(),
        ];
        Self {
            me: life(slot, 1),
            links,
            seen,
            address,
            addresses,
            tasks,
        }
    }

    fn knows(&self, others: &[&Node]) {
        for other in others {
            self.addresses
                .learn(&format!("n{}", other.me.slot.0), &other.address.to_string());
        }
        let members = others.iter().map(|other| member(other.me.slot.0, other.me.epoch)).collect();
        self.links.set_members(self.me, members);
    }

    fn sends(&self, to: &Node, source: u64, frame: PeerFrame) -> bool {
        self.links.forward(&"realm1".into(), to.me, session(source), frame)
    }

    fn wants(&self, topic: &str, ticket: u64) {
        self.links.interest(&"realm1".into(), &topic.into(), true, ticket);
        self.links.flush();
    }

    fn gives_up(&self, topic: &str) {
        self.links.interest(&"realm1".into(), &topic.into(), false, 0);
        self.links.flush();
    }

    fn last_error(&self) -> String {
        self.links
            .link_states()
            .first()
            .map(|state| state.last_error.clone())
            .unwrap_or_default()
    }
}

async fn pair() -> (Node, Node) {
    let (one, two) = (Node::start(1, quick()).await, Node::start(2, quick()).await);
    one.knows(&[&two]);
    two.knows(&[&one]);
    synced(&[&one, &two]).await;
    (one, two)
}

async fn synced(nodes: &[&Node]) {
    for node in nodes {
        let others: Vec<_> = nodes.iter().map(|other| other.me).filter(|other| *other != node.me).collect();
        let wait = node.links.wait_synced(&others);
        assert!(
            timeout(Duration::from_secs(10), wait).await.is_ok(),
            "{:?}: {:?}",
            node.me,
            node.links.link_states()
        );
    }
}

async fn until(what: &str, done: impl Fn() -> bool) {
    let wait = async {
        while !done() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(timeout(Duration::from_secs(10), wait).await.is_ok(), "never: {what}");
}

fn session(id: u64) -> SessionId {
    SessionId::new(id).unwrap()
}

fn event(source: u64, number: u64, length: usize) -> PeerFrame {
    let payload = match length {
        0 => Payload::EMPTY,
        _ => Payload::from_proven(Serializer::MsgPack, 1, Bytes::from(vec![0xc0; length])),
    };
    PeerFrame::Event {
        publication: PublicationId::new(number).unwrap(),
        topic: "com.topic".into(),
        publisher: session(source),
        exclude_me: true,
        details: Dict::new(),
        payload,
    }
}

fn result(number: u64, length: usize) -> PeerFrame {
    let payload = match length {
        0 => Payload::EMPTY,
        _ => Payload::from_proven(Serializer::Json, 1, (0..length).map(|i| b'0' + (i % 10) as u8).collect()),
    };
    PeerFrame::Result {
        call: CallId(number),
        details: Dict::new().with("n", number),
        payload,
    }
}

/// Forwards connections to a node; can hold them up or cut them.
struct Proxy {
    address: SocketAddr,
    paused: watch::Sender<bool>,
    connections: Arc<Mutex<Vec<AbortHandle>>>,
    task: AbortHandle,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
        self.cut(0..usize::MAX);
    }
}

impl Proxy {
    async fn before(node: &Node) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, to) = (listener.local_addr().unwrap(), node.address);
        let paused = watch::Sender::new(false);
        let connections = Arc::<Mutex<Vec<AbortHandle>>>::default();
        let (pause, kept) = (paused.clone(), connections.clone());
        let task = tokio::spawn(async move {
            while let Ok((from, _)) = listener.accept().await {
                let pause = pause.subscribe();
                let carry = tokio::spawn(async move {
                    let Ok(to) = TcpStream::connect(to).await else { return };
                    let ((from_in, from_out), (to_in, to_out)) = (from.into_split(), to.into_split());
                    tokio::select! {
                        () = copy(from_in, to_out, pause.clone()) => {}
                        () = copy(to_in, from_out, pause) => {}
                    }
                });
                kept.lock().push(carry.abort_handle());
            }
        });
        Self {
            address,
            paused,
            connections,
            task: task.abort_handle(),
        }
    }

    fn cut(&self, which: std::ops::Range<usize>) {
        let connections = self.connections.lock();
        connections
            .iter()
            .skip(which.start)
            .take(which.len())
            .for_each(AbortHandle::abort);
    }
}

async fn copy(
    mut from: impl tokio::io::AsyncRead + Unpin,
    mut to: impl tokio::io::AsyncWrite + Unpin,
    mut paused: watch::Receiver<bool>,
) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        let _ = paused.wait_for(|paused| !*paused).await;
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_carry_frames_and_interest_both_ways() {
    let (one, two) = pair().await;
    assert!(one.sends(&two, 5, result(1, 10)));
    assert!(two.sends(&one, 6, result(2, 0)));
    one.links.flush();
    two.links.flush();
    two.seen
        .until("the frame of node 1", |seen| {
            seen.contains(&Noted::Frame(one.me, result(1, 10)))
        })
        .await;
    one.seen
        .until("the frame of node 2", |seen| {
            seen.contains(&Noted::Frame(two.me, result(2, 0)))
        })
        .await;

    one.wants("com.a", 41);
    one.seen.until("the ticket", |seen| seen.contains(&Noted::Acked(41))).await;
    assert_eq!(two.seen.count(&Noted::Interest(one.me, "com.a".into(), true)), 1);
    one.gives_up("com.a");
    two.seen
        .until("its end", |seen| {
            seen.contains(&Noted::Interest(one.me, "com.a".into(), false))
        })
        .await;
    assert_eq!(one.links.link_states()[0].phase, Phase::Up);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_frames_arrive_in_order_per_source_while_large_ones_pass() {
    let (one, two) = pair().await;
    const SOURCES: u64 = 8;
    const EACH: u64 = 12_500;
    let send = |from: &Node, to: NodeRef, sources: std::ops::Range<u64>| {
        let links = from.links.clone();
        std::thread::spawn(move || {
            for number in 1..=EACH {
                for source in sources.clone() {
                    let length = if number % 500 == source { 200_000 } else { 64 };
                    // The lane is bounded: one that is full refuses, and the sender comes again.
                    while !links.forward(&"realm1".into(), to, session(source), event(source, number, length)) {
                        links.flush();
                        std::thread::sleep(Duration::from_micros(200));
                    }
                }
                if number % 8 == 0 {
                    links.flush();
                }
            }
            links.flush();
        })
    };
    let threads = [
        send(&one, two.me, 1..3),
        send(&one, two.me, 3..5),
        send(&two, one.me, 5..7),
        send(&two, one.me, 7..9),
    ];
    let expected = (SOURCES / 2 * EACH) as usize;
    for node in [&two, &one] {
        until("all frames", || node.seen.counted.load(Relaxed) >= expected).await;
        assert_eq!(node.seen.counted.load(Relaxed), expected);
        assert_eq!(node.seen.last.lock().values().copied().collect::<Vec<_>>(), [EACH; 4]);
        assert_eq!(
            node.seen.count(&Noted::Down(one.me)) + node.seen.count(&Noted::Down(two.me)),
            0
        );
    }
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    let state = &one.links.link_states()[0];
    assert_eq!(state.queued_bytes, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn several_lanes_keep_the_order_of_each_source() {
    let config = || Config { lanes: 3, ..quick() };
    let (one, two) = (Node::start(1, config()).await, Node::start(2, config()).await);
    one.knows(&[&two]);
    two.knows(&[&one]);
    synced(&[&one, &two]).await;
    for number in 1..=500 {
        for source in 1..=16 {
            assert!(one.sends(
                &two,
                source,
                event(source, number, if number % 50 == 0 { 100_000 } else { 0 })
            ));
        }
        one.links.flush();
    }
    until("all frames", || two.seen.counted.load(Relaxed) == 8_000).await;
    let used: std::collections::HashSet<_> = (1..=16).map(|source| lane_of(session(source), 3)).collect();
    assert_eq!(used.len(), 3, "the sources are spread over the lanes");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_frame_arrives_whole() {
    let (one, two) = pair().await;
    let large = result(1, 5 << 20);
    assert!(one.sends(&two, 1, large.clone()));
    assert!(one.sends(&two, 2, result(2, 1)));
    one.links.flush();
    two.seen
        .until("both", |seen| {
            seen.iter().filter(|seen| matches!(seen, Noted::Frame(..))).count() == 2
        })
        .await;
    let frames: Vec<_> = two
        .seen
        .seen()
        .into_iter()
        .filter(|seen| matches!(seen, Noted::Frame(..)))
        .collect();
    assert!(
        frames == [Noted::Frame(one.me, result(2, 1)), Noted::Frame(one.me, large)],
        "the small one passes, the large one is whole"
    );
}

/// Runs a test in which a node is held up while it applies interest. It does that on a thread of its own: a held-up thread of the
/// runtime that everybody shares could be the one that looks after its sockets and timers.
fn with_slow_node<F: Future<Output = ()>>(test: impl FnOnce(Handle) -> F) {
    let runtime = |threads| {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(threads)
            .enable_all()
            .build()
            .unwrap()
    };
    let (main, slow) = (runtime(2), runtime(1));
    main.block_on(test(slow.handle().clone()));
    slow.shutdown_timeout(Duration::from_millis(100));
}

#[test]
fn interest_is_acknowledged_only_after_every_peer_has_applied_it() {
    with_slow_node(acknowledged_after_applied);
}

async fn acknowledged_after_applied(slow: Handle) {
    let identity = Identity::new("test", "n3").unwrap();
    let three = Node::start_as(3, quick(), identity, Security::Plain, Handle::current(), slow).await;
    let nodes = [Node::start(1, quick()).await, Node::start(2, quick()).await, three];
    let [one, two, three] = &nodes;
    one.knows(&[two, three]);
    two.knows(&[one, three]);
    three.knows(&[one, two]);
    synced(&[one, two, three]).await;
    three.seen.close_gate(true);
    two.wants("com.a", 1);
    one.seen
        .until("node 1 applies it", |seen| {
            seen.contains(&Noted::Interest(two.me, "com.a".into(), true))
        })
        .await;
    tokio::time::sleep(Duration::from_millis(150)).await;
    let early = two.seen.count(&Noted::Acked(1));
    three.seen.close_gate(false);
    assert_eq!(early, 0, "node 3 has not applied it");
    two.seen.until("the ticket", |seen| seen.contains(&Noted::Acked(1))).await;
    assert_eq!(three.seen.count(&Noted::Interest(two.me, "com.a".into(), true)), 1);
    two.wants("com.b", 2);
    two.seen
        .until("the next ticket", |seen| seen.contains(&Noted::Acked(2)))
        .await;
    assert_eq!(two.seen.count(&Noted::Acked(1)), 1);
}

#[test]
fn a_peer_that_misses_the_deadline_has_its_link_reset_and_is_not_waited_for() {
    with_slow_node(not_waited_for);
}

async fn not_waited_for(slow: Handle) {
    let config = || Config {
        ack_deadline: Duration::from_millis(300),
        ..quick()
    };
    let identity = Identity::new("test", "n2").unwrap();
    let one = Node::start(1, config()).await;
    let two = Node::start_as(2, config(), identity, Security::Plain, Handle::current(), slow).await;
    one.knows(&[&two]);
    two.knows(&[&one]);
    synced(&[&one, &two]).await;
    two.seen.close_gate(true);
    one.wants("com.a", 1);
    one.seen.until("the reset", |seen| seen.contains(&Noted::Down(two.me))).await;
    until("the reason", || one.last_error().contains("not acknowledged")).await;
    one.seen.until("the ticket", |seen| seen.contains(&Noted::Acked(1))).await;
    two.seen.close_gate(false);
    synced(&[&one, &two]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_links_interest_is_acknowledged_from_another_task() {
    let one = Node::start(1, quick()).await;
    one.links.set_members(one.me, vec![]);
    one.links.interest(&"realm1".into(), &"com.a".into(), true, 9);
    assert_eq!(one.seen.count(&Noted::Acked(9)), 0, "not inside the call");
    one.links.flush();
    one.seen.until("the ticket", |seen| seen.contains(&Noted::Acked(9))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_node_gets_the_whole_interest_after_up_and_before_it_counts_as_synced() {
    let one = Node::start(1, quick()).await;
    one.links.set_members(one.me, vec![]);
    for i in 0..5_000 {
        one.links
            .interest(&"realm1".into(), &format!("com.topic.{i}").as_str().into(), true, i);
    }
    one.links.flush();
    let two = Node::start(2, quick()).await;
    one.knows(&[&two]);
    two.knows(&[&one]);
    synced(&[&one, &two]).await;
    let seen = two.seen.seen();
    assert_eq!(seen[0], Noted::Up(one.me));
    assert_eq!(seen.len(), 5_001);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_one_connection_ends_the_link_once_and_it_comes_back() {
    for which in [0..1, 1..2] {
        let (one, two) = (Node::start(1, quick()).await, Node::start(2, quick()).await);
        let proxy = Proxy::before(&two).await;
        one.addresses.learn("n2", &proxy.address.to_string());
        one.knows(&[]);
        one.links.set_members(one.me, vec![member(2, 1)]);
        two.links.set_members(two.me, vec![member(1, 1)]);
        synced(&[&one, &two]).await;
        let since = std::time::Instant::now();
        proxy.cut(which);
        one.seen
            .until("down at node 1", |seen| seen.contains(&Noted::Down(two.me)))
            .await;
        two.seen
            .until("down at node 2", |seen| seen.contains(&Noted::Down(one.me)))
            .await;
        assert!(since.elapsed() < Duration::from_millis(500), "{:?}", since.elapsed());
        for (node, other) in [(&one, &two), (&two, &one)] {
            node.seen
                .until("up again", |seen| {
                    seen.iter().filter(|s| **s == Noted::Up(other.me)).count() == 2
                })
                .await;
            assert_eq!(node.seen.count(&Noted::Down(other.me)), 1);
            assert_eq!(
                node.seen
                    .seen()
                    .iter()
                    .filter(|s| !matches!(s, Noted::Up(_) | Noted::Down(_)))
                    .count(),
                0
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_peer_is_given_up_after_three_seconds() {
    let (one, two) = (Node::start(1, quick()).await, Node::start(2, quick()).await);
    let proxy = Proxy::before(&two).await;
    one.addresses.learn("n2", &proxy.address.to_string());
    one.links.set_members(one.me, vec![member(2, 1)]);
    two.links.set_members(two.me, vec![member(1, 1)]);
    synced(&[&one, &two]).await;
    // Longer than the limit: pings keep a link without traffic alive.
    tokio::time::sleep(Duration::from_millis(3_300)).await;
    assert_eq!(one.seen.seen(), [Noted::Up(two.me)]);
    let since = std::time::Instant::now();
    proxy.paused.send_replace(true);
    for (node, other) in [(&one, &two), (&two, &one)] {
        node.seen.until("down", |seen| seen.contains(&Noted::Down(other.me))).await;
        let took = since.elapsed().as_millis();
        assert!((1_900..4_000).contains(&took), "{took} ms");
        assert_eq!(node.seen.count(&Noted::Down(other.me)), 1);
    }
    assert!(!one.sends(&two, 1, result(1, 1)), "nothing is queued for a lost node");
    proxy.paused.send_replace(false);
    synced(&[&one, &two]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_of_another_epoch_or_cluster_or_with_other_lanes_is_refused_until_that_is_put_right() {
    let (one, two) = (Node::start(1, quick()).await, Node::start(2, quick()).await);
    one.addresses.learn("n2", &two.address.to_string());
    two.knows(&[&one]);
    one.links.set_members(one.me, vec![member(2, 5)]);
    until("the refusal", || {
        one.last_error()
            .contains("means n2 (slot 2 epoch 5), this is n2 (slot 2 epoch 1)")
    })
    .await;
    two.links.set_members(two.me, vec![]);
    one.links.set_members(one.me, vec![member(2, 1)]);
    until("the refusal", || {
        one.last_error().contains("n1 (slot 1 epoch 1) is not in the node table here")
    })
    .await;
    assert_eq!((one.seen.seen(), two.seen.seen()), (vec![], vec![]));
    two.knows(&[&one]);
    synced(&[&one, &two]).await;

    let other = Identity::new("other", "n1").unwrap();
    let foreign = Node::start_as(1, quick(), other, Security::Plain, Handle::current(), Handle::current()).await;
    foreign.knows(&[&two]);
    until("the refusal", || {
        foreign.last_error().contains("cluster \"other\" is not cluster \"test\"")
    })
    .await;
    let lanes = Node::start(1, Config { lanes: 2, ..quick() }).await;
    lanes.knows(&[&two]);
    until("the refusal", || {
        lanes.last_error().contains("2 lanes on one end, 1 on the other")
    })
    .await;
    assert_eq!(two.seen.seen(), [Noted::Up(one.me)], "the link that was up is not disturbed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_life_of_a_node_takes_the_place_of_the_old_one() {
    let (one, mut two) = pair().await;
    two.me = life(2, 2);
    two.links.set_members(two.me, vec![member(1, 1)]);
    one.links.set_members(one.me, vec![member(2, 2)]);
    synced(&[&one, &two]).await;
    one.seen
        .until("the end of the old life", |seen| seen.contains(&Noted::Down(life(2, 1))))
        .await;
    // Two lives are two peers: each has its own order, and nothing is promised between them.
    let of = |node| {
        let seen = one.seen.seen();
        seen.into_iter()
            .filter(move |noted| *noted == Noted::Up(node) || *noted == Noted::Down(node))
            .collect::<Vec<_>>()
    };
    assert_eq!(of(life(2, 1)), [Noted::Up(life(2, 1)), Noted::Down(life(2, 1))]);
    assert_eq!(of(life(2, 2)), [Noted::Up(life(2, 2))]);
    assert!(!one.links.forward(&"realm1".into(), life(2, 1), session(1), result(1, 1)));
    assert_eq!(one.links.unroutable(), 1);
    two.links.stop();
    one.seen
        .until("the end", |seen| seen.last() == Some(&Noted::Down(life(2, 2))))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dialer_that_comes_again_takes_the_place_of_its_own_dead_link() {
    let two = Node::start(2, quick()).await;
    let first = Node::start(1, quick()).await;
    two.links.set_members(two.me, vec![member(1, 1)]);
    first.knows(&[&two]);
    synced(&[&first, &two]).await;
    // Another process claims to be the same life: for node 2 that is what a lost connection nobody noticed looks like.
    let second = Node::start(1, quick()).await;
    second.knows(&[&two]);
    synced(&[&second, &two]).await;
    two.seen
        .until("two links", |seen| {
            seen.iter().filter(|s| matches!(s, Noted::Up(_))).count() > 1
        })
        .await;
    first.links.stop();
    let seen = two.seen.seen();
    let shape: Vec<_> = seen.iter().map(|s| matches!(s, Noted::Up(_))).collect();
    assert!(
        shape.iter().enumerate().all(|(i, up)| *up == (i % 2 == 0)),
        "up and down take turns: {seen:?}"
    );
    assert!(shape.len() >= 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn interest_that_differs_from_the_gossip_is_pulled_from_its_owner() {
    let config = || Config {
        disagreement_max: Duration::from_millis(200),
        ..quick()
    };
    let (one, two) = (Node::start(1, config()).await, Node::start(2, config()).await);
    one.knows(&[&two]);
    two.knows(&[&one]);
    synced(&[&one, &two]).await;
    one.wants("com.a", 1);
    one.wants("com.b", 2);
    one.seen.until("the tickets", |seen| seen.contains(&Noted::Acked(2))).await;

    // A bug or a flipped bit: node 2 has another table at the same version.
    let (version, _) = one.links.interest_summary();
    let wrong = [("com.b", true), ("com.c", true)].map(|(topic, wanted)| Change {
        realm: "realm1".into(),
        topic: topic.into(),
        wanted,
    });
    two.links.0.replicas.lock().replace(one.me, version, &wrong);
    let vitals = Vitals {
        node: Some(one.me),
        interest: one.links.interest_summary(),
        ..Vitals::default()
    };
    let gossip = watch::Sender::new(ClusterVitals::from([("n1".to_owned(), Seen { vitals, live: true })]));
    two.links.follow_gossip(gossip.subscribe());
    let corrected = [("com.a", true), ("com.c", false)].map(|(topic, wanted)| Noted::Interest(one.me, topic.into(), wanted));
    two.seen
        .until("the correction", |seen| {
            corrected.iter().all(|change| seen.iter().skip(3).any(|seen| seen == change))
        })
        .await;
    one.wants("com.d", 3);
    one.seen.until("deltas go on", |seen| seen.contains(&Noted::Acked(3))).await;
    assert_eq!(two.seen.count(&Noted::Down(one.me)), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn interest_of_a_node_that_cannot_be_reached_is_pulled_from_a_third_one() {
    let config = || Config {
        disagreement_max: Duration::from_millis(200),
        ..quick()
    };
    let nodes = [
        Node::start(1, config()).await,
        Node::start(2, config()).await,
        Node::start(3, config()).await,
    ];
    let [one, two, three] = &nodes;
    one.knows(&[three]);
    three.knows(&[one, two]);
    two.addresses.learn("n1", "127.0.0.1:1");
    two.knows(&[three]);
    two.links.set_members(two.me, vec![member(1, 1), member(3, 1)]);
    synced(&[one, three]).await;
    one.wants("com.a", 1);
    one.seen.until("the ticket", |seen| seen.contains(&Noted::Acked(1))).await;
    let vitals = Vitals {
        node: Some(one.me),
        interest: one.links.interest_summary(),
        ..Vitals::default()
    };
    let gossip = watch::Sender::new(ClusterVitals::from([("n1".to_owned(), Seen { vitals, live: true })]));
    two.links.follow_gossip(gossip.subscribe());
    let known = || {
        two.links
            .0
            .replicas
            .lock()
            .get(one.me)
            .map(|table| (table.version(), table.digest()))
    };
    until("the table", || known() == Some(one.links.interest_summary())).await;
    assert!(!two.seen.seen().contains(&Noted::Up(one.me)));
    assert_eq!(
        two.seen.count(&Noted::Interest(one.me, "com.a".into(), true)),
        0,
        "no core hears of a node without a link"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn draining_sends_what_is_queued_and_is_seen_by_the_peer() {
    let (one, two) = pair().await;
    for number in 1..=2_000 {
        assert!(one.sends(&two, 1, event(1, number, 1_000)));
    }
    one.links.drain(Duration::from_secs(5)).await;
    until("all frames", || two.seen.counted.load(Relaxed) == 2_000).await;
    until("the phase", || two.links.link_states()[0].phase == Phase::Draining).await;
    assert_eq!(one.links.link_states()[0].phase, Phase::Draining);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_breaks_the_protocol_loses_its_link() {
    // A peer of our own making: it greets as it should, then says what no node says.
    struct Liar(watch::Sender<Vec<pb::LinkBatch>>);
    #[tonic::async_trait]
    impl pb::link_server::Link for Liar {
        type OpenStream = std::pin::Pin<Box<dyn futures_util::Stream<Item = Result<pb::LinkBatch, tonic::Status>> + Send>>;
        type PullInterestStream = tokio_stream::Empty<Result<pb::InterestTable, tonic::Status>>;

        async fn open(
            &self,
            request: tonic::Request<tonic::Streaming<pb::LinkBatch>>,
        ) -> Result<tonic::Response<Self::OpenStream>, tonic::Status> {
            let mut incoming = request.into_inner();
            let hello = incoming.message().await?.unwrap().hello.unwrap();
            let (me, you) = (hello.you.clone(), hello.me.clone());
            let lies = if hello.kind() == pb::StreamKind::Data {
                self.0.borrow().clone()
            } else {
                Vec::new()
            };
            let mut said = vec![Ok(pb::LinkBatch {
                hello: Some(pb::LinkHello { me, you, ..hello }),
                ..Default::default()
            })];
            said.extend(lies.into_iter().map(Ok));
            let hold = async_stream_of(incoming);
            Ok(tonic::Response::new(Box::pin(futures_util::StreamExt::chain(
                futures_util::stream::iter(said),
                hold,
            ))))
        }

        async fn pull_interest(
            &self,
            _: tonic::Request<pb::PullInterestRequest>,
        ) -> Result<tonic::Response<Self::PullInterestStream>, tonic::Status> {
            Ok(tonic::Response::new(tokio_stream::empty()))
        }
    }
    /// Says nothing, for as long as the other end listens.
    fn async_stream_of(
        incoming: tonic::Streaming<pb::LinkBatch>,
    ) -> impl futures_util::Stream<Item = Result<pb::LinkBatch, tonic::Status>> {
        futures_util::stream::unfold(incoming, |mut incoming| async move {
            while let Ok(Some(_)) = incoming.message().await {}
            None
        })
    }

    let lies = watch::Sender::new(Vec::new());
    let (control, data) = (TcpListener::bind("127.0.0.1:0").await.unwrap(), lies.clone());
    let address = control.local_addr().unwrap();
    // Without an acceptor the four bytes would be taken for HTTP; read them off.
    let incoming = futures_util::StreamExt::then(TcpListenerStream::new(control), |stream| async {
        let mut stream = stream?;
        stream.read_exact(&mut [0; 4]).await?;
        Ok::<_, std::io::Error>(stream)
    });
    let service = pb::link_server::LinkServer::new(Liar(data));
    let server = tokio::spawn(net::server().add_service(service).serve_with_incoming(incoming)).abort_handle();
    let one = Node::start(1, quick()).await;
    one.addresses.learn("n2", &address.to_string());

    let frame = |kind| pb::LinkFrame {
        realm: Bytes::from_static(b"realm1"),
        kind: Some(kind),
    };
    let nack = || frame(pb::link_frame::Kind::Nack(pb::LinkNack { call: 1 }));
    let batch = |first_seq, frames| pb::LinkBatch {
        first_seq,
        frames,
        ..Default::default()
    };
    let bad_id = frame(pb::link_frame::Kind::Invoke(pb::LinkInvoke::default()));
    let unknown = pb::LinkFrame {
        realm: Bytes::new(),
        kind: None,
    };
    for (said, reason) in [
        (vec![batch(2, vec![nack()])], "frame 2 follows frame 0"),
        (
            vec![batch(1, vec![nack()]), batch(1, vec![nack()])],
            "frame 1 follows frame 1",
        ),
        (vec![batch(1, vec![bad_id])], "registration is not an id"),
        (
            vec![batch(1, vec![unknown]), batch(2, vec![nack()]), batch(4, vec![])],
            "not acknowledged",
        ),
    ] {
        lies.send_replace(said);
        one.links.set_members(one.me, vec![member(2, 1)]);
        until(reason, || one.last_error().contains(reason)).await;
        one.links.stop();
    }
    let heard = one.seen.count(&Noted::Frame(life(2, 1), PeerFrame::Nack { call: CallId(1) }));
    assert!(
        heard >= 2,
        "frames before the fault, and those after an unknown one, are delivered"
    );
    server.abort();
}

#[test]
fn links_work_over_tls_with_control_and_data_on_their_own_runtimes() {
    let authority = net::tests::Authority::new();
    let control = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let data = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    data.block_on(async {
        let start = async |slot: u16| {
            let identity = Identity::new("test", format!("n{slot}")).unwrap();
            let security = Security::Tls(authority.tls(&identity));
            Node::start_as(
                slot,
                quick(),
                identity,
                security,
                control.handle().clone(),
                data.handle().clone(),
            )
            .await
        };
        let (one, two) = (start(1).await, start(2).await);
        one.knows(&[&two]);
        two.knows(&[&one]);
        synced(&[&one, &two]).await;
        assert!(one.sends(&two, 1, result(1, 300_000)));
        one.links.flush();
        two.seen
            .until("the frame", |seen| seen.contains(&Noted::Frame(one.me, result(1, 300_000))))
            .await;
        two.wants("com.a", 1);
        two.seen.until("the ticket", |seen| seen.contains(&Noted::Acked(1))).await;

        // A node with a good certificate for one name cannot take the slot of another.
        let liar = Identity::new("test", "n3").unwrap();
        let peers = PeerChannels::new(
            Dialer::new(liar.clone(), Security::Tls(authority.tls(&liar)), one.addresses.clone()),
            control.handle().clone(),
        );
        let mut client = pb::link_client::LinkClient::new(peers.channel("n2").unwrap());
        let ends = hello::Ends {
            cluster_id: "test".into(),
            me: one.me,
            my_name: "n1".into(),
            you: two.me,
            your_name: "n2".into(),
            lanes: 1,
            attempt: 1,
        };
        let said = pb::LinkBatch {
            hello: Some(ends.hello(Kind::Control, 0)),
            ..Default::default()
        };
        let refused = client.open(tokio_stream::once(said)).await.unwrap_err();
        assert!(refused.message().contains("certificate is for n3"), "{refused}");
    });
    data.shutdown_timeout(Duration::from_millis(100));
    control.shutdown_timeout(Duration::from_millis(100));
}
