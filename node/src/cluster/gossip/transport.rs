//! How chitchat's messages travel: as gRPC calls on the control channels that all nodes share.
//!
//! chitchat 0.13 can only write its messages to a UDP socket of its own. So it gets one on the loopback interface, and each peer
//! is a second such socket beside it, connected to the first: what arrives at a peer's socket is sent to that peer as a gRPC
//! call, and what the peer sends comes out of it. Nothing but these sockets can talk to chitchat's, since both ends check the
//! source address.
//!
//! chitchat knows nodes by socket address, the cluster knows them by name. So a node's address in the gossip is a hash of its name
//! ([`address_of`]), and names lead to real addresses in one place only, [`super::super::net::Addresses`].

use std::{
    collections::HashMap,
    hash::Hasher,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use chitchat::{
    ChitchatEnvelope,
    transport::{RecvOutcome, SendOutcome, Socket, Transport, UdpTransport},
};
use parking_lot::Mutex;
use ringfort_proto::cluster::v1::{GossipEnvelope, GossipReply, gossip_client::GossipClient, gossip_server};
use siphasher::sip::SipHasher13;
use tokio::{
    net::UdpSocket,
    runtime::Handle,
    sync::watch,
    task::AbortHandle,
    time::{sleep, timeout},
};
use tonic::{Request, Response, Status};

use super::vitals::Vitals;
use crate::cluster::net::{Identity, PeerChannels, PeerIdentity};

/// The address by which the gossip knows the node of this name: unique local IPv6, never dialed.
pub(super) fn address_of(name: &str) -> SocketAddr {
    let half = |number| {
        let mut hasher = SipHasher13::new_with_keys(0, number);
        hasher.write(name.as_bytes());
        hasher.finish()
    };
    let bits = (u128::from(half(1)) << 64 | u128::from(half(2))) & (u128::MAX >> 8) | 0xfd << 120;
    SocketAddr::new(Ipv6Addr::from_bits(bits).into(), 1)
}

/// Between chitchat's socket and the nodes.
pub(super) struct Bridge {
    channels: PeerChannels,
    control: Handle,
    own: watch::Receiver<Vitals>,
    state: Mutex<State>,
    /// Messages that were not passed on: nobody there, or too many at once. Gossip tolerates it.
    dropped: AtomicU64,
}

#[derive(Default)]
struct State {
    /// chitchat's socket; `None` before it is opened and after the end.
    inner: Option<SocketAddr>,
    by_name: HashMap<String, Arc<Relay>>,
    by_socket: HashMap<SocketAddr, SocketAddr>,
}

/// The socket that stands for a peer.
struct Relay {
    socket: UdpSocket,
    address: SocketAddr,
    sender: Mutex<Option<AbortHandle>>,
}

impl Bridge {
    pub(super) fn new(channels: PeerChannels, control: Handle, own: watch::Receiver<Vitals>) -> Self {
        Self {
            channels,
            control,
            own,
            state: Mutex::default(),
            dropped: AtomicU64::new(0),
        }
    }

    pub(super) fn channels(&self) -> &PeerChannels {
        &self.channels
    }

    pub(super) fn name(&self) -> &str {
        self.channels.dialer().identity().name()
    }

    /// chitchat's socket.
    #[cfg(test)]
    pub(super) fn inner(&self) -> Option<SocketAddr> {
        self.state.lock().inner
    }

    /// Ends everything; later messages are dropped.
    pub(super) fn close(&self) {
        let state = std::mem::take(&mut *self.state.lock());
        for relay in state.by_name.values() {
            if let Some(sender) = relay.sender.lock().take() {
                sender.abort();
            }
        }
    }

    /// Lets go of the socket that stands for a peer.
    pub(super) fn forget(&self, name: &str) {
        let mut state = self.state.lock();
        if let Some(relay) = state.by_name.remove(name) {
            state.by_socket.remove(&relay.address);
            if let Some(sender) = relay.sender.lock().take() {
                sender.abort();
            }
        }
    }

    /// How many peers have a socket here.
    #[cfg(test)]
    pub(super) fn relays(&self) -> usize {
        self.state.lock().by_name.len()
    }

    /// The socket that stands for a peer, made when it is first needed.
    fn relay(self: &Arc<Self>, name: &str) -> Option<Arc<Relay>> {
        let mut state = self.state.lock();
        if let Some(relay) = state.by_name.get(name) {
            return Some(relay.clone());
        }
        let inner = state.inner.filter(|_| state.by_name.len() < RELAYS_MAX)?;
        let relay = Arc::new(
            self.open_relay(inner)
                .inspect_err(|error| tracing::warn!(%error, "no socket for gossip"))
                .ok()?,
        );
        let carrying = self
            .control
            .spawn(carry(Arc::downgrade(self), relay.clone(), name.to_owned()));
        *relay.sender.lock() = Some(carrying.abort_handle());
        state.by_socket.insert(relay.address, address_of(name));
        state.by_name.insert(name.to_owned(), relay.clone());
        Some(relay)
    }

    fn open_relay(&self, inner: SocketAddr) -> std::io::Result<Relay> {
        let socket = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.connect(inner)?;
        socket.set_nonblocking(true)?;
        let address = socket.local_addr()?;
        let _guard = self.control.enter();
        Ok(Relay {
            socket: UdpSocket::from_std(socket)?,
            address,
            sender: Mutex::new(None),
        })
    }

    fn drop_one(&self) {
        self.dropped.fetch_add(1, Relaxed);
    }
}

/// Sends what chitchat says to one peer. One call at a time: the socket's buffer is the queue, and what it cannot hold is lost.
async fn carry(bridge: std::sync::Weak<Bridge>, relay: Arc<Relay>, name: String) {
    let mut buffer = vec![0; ENVELOPE_BYTES_MAX];
    loop {
        let received = relay.socket.recv(&mut buffer).await;
        let Some(bridge) = bridge.upgrade() else { return };
        let Ok(length) = received else {
            sleep(PAUSE).await;
            continue;
        };
        let Some(channel) = bridge.channels.channel(&name) else {
            bridge.drop_one();
            continue;
        };
        let message = GossipEnvelope {
            from: bridge.name().to_owned(),
            envelope: Bytes::copy_from_slice(&buffer[..length]),
            address: bridge.own.borrow().cluster_address.clone(),
        };
        let sent = timeout(SEND_WITHIN, async { GossipClient::new(channel).exchange(message).await }).await;
        if !matches!(sent, Ok(Ok(_))) {
            bridge.drop_one();
        }
    }
}

/// Opens the one socket chitchat gets.
pub(super) struct BridgeTransport(pub(super) Arc<Bridge>);

#[tonic::async_trait]
impl Transport for BridgeTransport {
    async fn open(&self, listen_addr: SocketAddr) -> anyhow::Result<Box<dyn Socket>> {
        let inner = UdpTransport.open((Ipv4Addr::LOCALHOST, 0).into()).await?;
        self.0.state.lock().inner = Some(inner.local_addr()?);
        Ok(Box::new(BridgeSocket {
            bridge: self.0.clone(),
            inner,
            address: listen_addr,
            names: HashMap::new(),
        }))
    }
}

struct BridgeSocket {
    bridge: Arc<Bridge>,
    inner: Box<dyn Socket>,
    address: SocketAddr,
    /// Names by gossip address, as far as known.
    names: HashMap<SocketAddr, String>,
}

impl BridgeSocket {
    fn name_of(&mut self, address: SocketAddr) -> Option<&str> {
        if !self.names.contains_key(&address) {
            let mut known = self.bridge.channels.addresses().names();
            known.extend(self.bridge.state.lock().by_name.keys().cloned());
            self.names = known.into_iter().map(|name| (address_of(&name), name)).collect();
        }
        self.names.get(&address).map(String::as_str)
    }
}

#[tonic::async_trait]
impl Socket for BridgeSocket {
    fn local_addr(&self) -> anyhow::Result<SocketAddr> {
        Ok(self.address)
    }

    async fn send(&mut self, to: SocketAddr, envelope: ChitchatEnvelope) -> anyhow::Result<SendOutcome> {
        // One that was let go is still said to be there for a while, and would get a socket again.
        let addresses = self.bridge.channels().addresses().clone();
        let name = self
            .name_of(to)
            .filter(|name| addresses.get(name).is_some())
            .map(str::to_owned);
        let relay = name.and_then(|name| self.bridge.relay(&name));
        let Some(relay) = relay else {
            self.bridge.drop_one();
            return Ok(SendOutcome { num_bytes_sent: 0 });
        };
        match self.inner.send(relay.address, envelope).await {
            Ok(outcome) => Ok(outcome),
            Err(error) => {
                // An error from here would be taken for the end of the transport.
                tracing::debug!(error = format!("{error:#}"), "a gossip message was not sent");
                self.bridge.drop_one();
                Ok(SendOutcome { num_bytes_sent: 0 })
            }
        }
    }

    async fn recv(&mut self) -> anyhow::Result<RecvOutcome> {
        loop {
            match self.inner.recv().await {
                Ok(outcome) => {
                    // Whatever else is on this machine may send datagrams, but not from a peer's socket.
                    let from = self.bridge.state.lock().by_socket.get(&outcome.from_addr).copied();
                    match from {
                        Some(from_addr) => return Ok(RecvOutcome { from_addr, ..outcome }),
                        None => self.bridge.drop_one(),
                    }
                }
                Err(error) => {
                    // An error from here would end the gossip for good.
                    tracing::warn!(error = format!("{error:#}"), "cannot read gossip");
                    sleep(PAUSE).await;
                }
            }
        }
    }
}

/// Takes gossip from other nodes.
#[derive(Clone)]
pub struct GossipService(pub(super) Arc<Bridge>);

#[tonic::async_trait]
impl gossip_server::Gossip for GossipService {
    async fn exchange(&self, request: Request<GossipEnvelope>) -> Result<Response<GossipReply>, Status> {
        let peer = PeerIdentity::of(&request);
        let GossipEnvelope { from, envelope, address } = request.into_inner();
        let bridge = &self.0;
        if !peer.may_be(&from) {
            return Err(Status::permission_denied("the certificate is for another node"));
        }
        let cluster_id = bridge.channels.dialer().identity().cluster_id();
        if Identity::new(cluster_id, from.as_str()).is_err() || from == bridge.name() || envelope.len() > ENVELOPE_BYTES_MAX {
            return Err(Status::invalid_argument("not a gossip message of another node"));
        }
        if !address.is_empty() && address.len() <= ADDRESS_BYTES_MAX {
            // So that it can be answered, before the gossip itself tells where it is.
            bridge.channels.addresses().learn(&from, &address);
        }
        let passed_on = bridge
            .relay(&from)
            .is_some_and(|relay| relay.socket.try_send(&envelope).is_ok());
        if !passed_on {
            bridge.drop_one();
        }
        Ok(Response::new(GossipReply {}))
    }
}

/// The largest UDP datagram, which is also chitchat's limit.
const ENVELOPE_BYTES_MAX: usize = 65_507;
const ADDRESS_BYTES_MAX: usize = 256;
/// A cluster has at most 4,095 slots.
const RELAYS_MAX: usize = 4096;
const SEND_WITHIN: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(100);
