//! Three nodes in one process, over loopback TCP, with a state machine that remembers what it was told.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::{net::TcpListener, task::JoinHandle};
use tonic::transport::{Channel, Endpoint, Server, server::TcpIncoming};

use crate::cluster::consensus::{AuthenticatedPeer, Consensus, ConsensusConfig, Peers, StateMachine};

/// Commands in the order in which they were applied.
#[derive(Default)]
pub(super) struct History {
    pub(super) applied: Vec<(u64, Vec<u8>)>,
    pub(super) restored_at: Option<u64>,
    pub(super) told: u64,
}

pub(super) struct Recorder(pub(super) Arc<Mutex<History>>);

impl StateMachine for Recorder {
    fn apply(&mut self, index: u64, command: &[u8]) -> Bytes {
        let mut history = self.0.lock();
        assert!(
            history.applied.last().is_none_or(|(last, _)| *last < index),
            "an index was applied twice or out of order"
        );
        history.applied.push((index, command.to_vec()));
        let mut outcome = b"ok ".to_vec();
        outcome.extend_from_slice(command);
        outcome.into()
    }

    fn applied_to(&mut self, index: u64) {
        self.0.lock().told = index;
    }

    fn snapshot(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for (index, command) in &self.0.lock().applied {
            out.extend_from_slice(&index.to_le_bytes());
            out.extend_from_slice(&(command.len() as u64).to_le_bytes());
            out.extend_from_slice(command);
        }
        out
    }

    fn restore(&mut self, index: u64, mut bytes: &[u8]) -> Result<(), String> {
        let mut applied = Vec::new();
        while !bytes.is_empty() {
            let at = number(&mut bytes)?;
            let length = number(&mut bytes)? as usize;
            applied.push((at, bytes.split_off(..length).ok_or("cut short")?.to_vec()));
        }
        *self.0.lock() = History {
            applied,
            restored_at: Some(index),
            told: index,
        };
        Ok(())
    }
}

fn number(bytes: &mut &[u8]) -> Result<u64, String> {
    let (head, rest) = bytes.split_first_chunk::<8>().ok_or("cut short")?;
    *bytes = rest;
    Ok(u64::from_le_bytes(*head))
}

/// Addresses by name; a name taken out is unreachable.
#[derive(Default)]
pub(super) struct Directory {
    channels: Mutex<BTreeMap<String, Channel>>,
    addresses: Mutex<BTreeMap<String, SocketAddr>>,
    /// How often the way to a node was asked for.
    pub(super) asked: Mutex<BTreeMap<String, usize>>,
}

/// What one node sees of the directory: links can be cut one by one.
pub(super) struct View {
    directory: Arc<Directory>,
    cut: Arc<Mutex<bool>>,
}

impl Peers for View {
    fn channel(&self, node: &str) -> Option<Channel> {
        if *self.cut.lock() {
            return None;
        }
        *self.directory.asked.lock().entry(node.to_owned()).or_default() += 1;
        let address = *self.directory.addresses.lock().get(node)?;
        let mut channels = self.directory.channels.lock();
        let make = || {
            Endpoint::from_shared(format!("http://{address}"))
                .expect("an address")
                .connect_timeout(Duration::from_millis(200))
                .connect_lazy()
        };
        Some(channels.entry(node.to_owned()).or_insert_with(make).clone())
    }
}

pub(super) struct Node {
    pub(super) name: String,
    pub(super) id: u64,
    pub(super) consensus: Consensus,
    pub(super) history: Arc<Mutex<History>>,
    pub(super) address: SocketAddr,
    /// Set to cut this node off from the others, in both directions.
    pub(super) cut: Arc<Mutex<bool>>,
    server: JoinHandle<()>,
}

impl Node {
    /// Starts a node and its server; `adjust` changes the fast test settings.
    pub(super) async fn start(
        directory: &Arc<Directory>,
        id: u64,
        data_dir: Option<PathBuf>,
        adjust: impl FnOnce(&mut ConsensusConfig),
    ) -> Self {
        let name = format!("n{id}");
        let mut config = quick(id);
        config.data_dir = data_dir;
        adjust(&mut config);
        let (history, cut) = (Arc::new(Mutex::new(History::default())), Arc::new(Mutex::new(false)));
        let view = View {
            directory: directory.clone(),
            cut: cut.clone(),
        };
        let consensus = Consensus::start(config, Box::new(Recorder(history.clone())), Arc::new(view))
            .await
            .expect("a start");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        directory.addresses.lock().insert(name.clone(), address);
        directory.channels.lock().remove(&name);
        let service = consensus.service().expect("a core node");
        let gate = cut.clone();
        let guard = move |request: tonic::Request<()>| {
            if *gate.lock() {
                Err(tonic::Status::unavailable("cut"))
            } else {
                Ok(request)
            }
        };
        let server = Server::builder()
            .layer(tonic::service::interceptor::InterceptorLayer::new(guard))
            .add_service(service)
            .serve_with_incoming(TcpIncoming::from(listener));
        let server = tokio::spawn(async move {
            // Ends when aborted.
            let _ = server.await;
        });
        Self {
            name,
            id,
            consensus,
            history,
            address,
            cut,
            server,
        }
    }

    /// Stops answering and taking part, as if the process were gone.
    pub(super) async fn kill(self, directory: &Directory) {
        directory.addresses.lock().remove(&self.name);
        directory.channels.lock().remove(&self.name);
        self.server.abort();
        self.consensus.shutdown().await;
    }

    pub(super) fn commands(&self) -> Vec<Vec<u8>> {
        self.history
            .lock()
            .applied
            .iter()
            .map(|(_, command)| command.clone())
            .collect()
    }

    /// Waits until everything up to `index` is applied here.
    pub(super) async fn applied(&self, index: u64) {
        let mut applied = self.consensus.applied();
        within(applied.wait_for(|applied| *applied >= index))
            .await
            .expect("a running node");
    }
}

/// Settings that elect within a second, and still stand a busy machine.
pub(super) fn quick(id: u64) -> ConsensusConfig {
    let mut config = ConsensusConfig::new("test", id, format!("n{id}"));
    config.heartbeat = Duration::from_millis(100);
    config.election_min = Duration::from_millis(300);
    config.election_max = Duration::from_millis(600);
    config.quorum_loss_probe = Duration::from_millis(1200);
    config.propose_timeout = Duration::from_secs(2);
    config
}

pub(super) fn members(ids: impl IntoIterator<Item = u64>) -> BTreeMap<u64, String> {
    ids.into_iter().map(|id| (id, format!("n{id}"))).collect()
}

/// Three initialised nodes in memory.
pub(super) async fn three(directory: &Arc<Directory>) -> Vec<Node> {
    let mut nodes = Vec::new();
    for id in 1..=3 {
        nodes.push(Node::start(directory, id, None, |_| ()).await);
    }
    nodes[0]
        .consensus
        .initialize(members(1..=3))
        .await
        .expect("a first membership");
    nodes
}

/// The position of the node that leads by the word of all of them, waiting for it.
pub(super) async fn leader(nodes: &[Node]) -> usize {
    let begun = Instant::now();
    loop {
        let words: Vec<_> = nodes
            .iter()
            .map(|node| node.consensus.leadership().borrow().clone())
            .collect();
        let first = words[0].leader.clone();
        if first.is_some() && words.iter().all(|word| word.leader == first) && words.iter().filter(|word| word.is_me).count() == 1
        {
            return words.iter().position(|word| word.is_me).expect("just counted");
        }
        assert!(begun.elapsed() < LONG, "no leader: {words:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Proposes on whichever node leads until taken; panics on an unknown outcome.
pub(super) async fn propose(node: &Node, commands: impl IntoIterator<Item = String>) -> Vec<u64> {
    let commands: Vec<Bytes> = commands.into_iter().map(Bytes::from).collect();
    let outcomes = node.consensus.propose(commands).await;
    outcomes.into_iter().map(|outcome| outcome.expect("an outcome").0).collect()
}

pub(super) async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(LONG, future).await.expect("in time")
}

/// What the server of a real node puts into the extensions.
pub(super) fn authenticated(name: &str) -> AuthenticatedPeer {
    AuthenticatedPeer(name.to_owned())
}

pub(super) const LONG: Duration = Duration::from_secs(10);
