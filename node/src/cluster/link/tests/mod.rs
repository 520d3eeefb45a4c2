//! Links between nodes of one process, over real sockets.

mod frames;
mod hostile;
mod interest;
mod lives;

use std::{net::SocketAddr, sync::atomic::AtomicUsize};

use bytes::Bytes;
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
    router::{
        Slot,
        frame::{CallId, Refusal},
    },
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

    fn take(&self, from: NodeRef, frame: PeerFrame) {
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

    fn frames(&self, from: NodeRef, frames: &mut Frames<'_>) {
        while let Some(realm) = frames.next_realm() {
            assert_eq!(&*realm, "realm1");
            while let Some(frame) = frames.next_frame() {
                self.take(from, frame);
            }
        }
    }

    fn interest(&self, from: NodeRef, _realm: &Uri, changes: Vec<(TopicKey, bool)>) {
        let mut closed = self.gate.lock();
        self.opened.wait_while(&mut closed, |closed| *closed);
        drop(closed);
        for (topic, wanted) in changes {
            self.note(Noted::Interest(from, topic.uri.to_string(), wanted));
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
        let serve_control = net::server()
            .add_service(links.control_service())
            .serve_with_incoming(of_control);
        let tasks = vec![
            control.spawn(acceptor.run()).abort_handle(),
            control.spawn(serve_control).abort_handle(),
            data.spawn(links.clone().serve_lanes(of_data)).abort_handle(),
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
        audience: None,
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
