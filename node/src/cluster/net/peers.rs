//! Dialing: where nodes are, and channels to them by name.

use std::{collections::HashMap, sync::Arc};

use hyper_util::rt::TokioIo;
use parking_lot::{Mutex, RwLock};
use rustls_pki_types::ServerName;
use tokio::{io::AsyncWriteExt, net::TcpStream, runtime::Handle, time::timeout};
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint};

use super::{
    Bundle, ClusterIo, Error, IDENTIFY_WITHIN, Identity, Kind, On, PeerIdentity, Security, endpoint,
    io::{Socket, Stream},
    tls,
};

/// Where the nodes of the cluster are, by name. Cheap to clone; all clones share one table.
///
/// An address is only where to look: who answers there is proven by TLS. It may be a host name, resolved at each dial. What a node says of
/// itself is tried first, then what the configuration says: a node may have moved since the one was said or the other was written.
#[derive(Clone, Debug, Default)]
pub struct Addresses(Arc<RwLock<HashMap<String, Address>>>);

#[derive(Clone, Debug, Default)]
struct Address {
    configured: Option<String>,
    learned: Option<String>,
}

impl Address {
    fn candidates(&self) -> impl Iterator<Item = &String> {
        self.learned.iter().chain(&self.configured)
    }
}

impl Addresses {
    /// The addresses from the configuration.
    pub fn configured<N: Into<String>, A: Into<String>>(peers: impl IntoIterator<Item = (N, A)>) -> Self {
        let entries = peers.into_iter().map(|(name, at)| {
            let address = Address {
                configured: Some(at.into()),
                learned: None,
            };
            (name.into(), address)
        });
        Self(Arc::new(RwLock::new(entries.collect())))
    }

    /// Notes what gossip or the node table says about a node; ignored once [`LEARNED_MAX`] nodes are known. True if it changed anything.
    pub fn learn(&self, name: &str, at: &str) -> bool {
        let mut table = self.0.write();
        if !table.contains_key(name) && table.len() >= LEARNED_MAX {
            return false;
        }
        let known = table.entry(name.to_owned()).or_default();
        let learned = (known.configured.as_deref() != Some(at)).then(|| at.to_owned());
        std::mem::replace(&mut known.learned, learned.clone()) != learned
    }

    /// Forgets a learned address.
    pub fn forget(&self, name: &str) {
        let mut table = self.0.write();
        match table.get_mut(name) {
            Some(known) if known.configured.is_some() => known.learned = None,
            _ => _ = table.remove(name),
        }
    }

    /// Where a node is.
    pub fn get(&self, name: &str) -> Option<String> {
        self.0.read().get(name).and_then(|known| known.candidates().next().cloned())
    }

    /// Where a node may be, the likeliest first.
    fn candidates(&self, name: &str) -> Vec<String> {
        let table = self.0.read();
        table
            .get(name)
            .map(|known| known.candidates().cloned().collect())
            .unwrap_or_default()
    }

    /// Every node with an address.
    pub fn names(&self) -> Vec<String> {
        self.0.read().keys().cloned().collect()
    }
}

/// A cluster has at most 4,095 slots.
const LEARNED_MAX: usize = 4096;

/// Opens identified connections to nodes.
#[derive(Clone)]
pub struct Dialer {
    identity: Identity,
    security: Security,
    addresses: Addresses,
}

impl Dialer {
    /// Dials as `identity` the nodes that `addresses` knows.
    pub fn new(identity: Identity, security: Security, addresses: Addresses) -> Self {
        Self {
            identity,
            security,
            addresses,
        }
    }

    /// Who dials.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Where it dials.
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// Dials `node`, proves that it is `node`, and says what the connection is for.
    ///
    /// # Errors
    /// No address, nobody there, or somebody else. Nothing has been said to the other end beyond TLS.
    pub async fn dial(&self, node: &str, kind: Kind) -> Result<ClusterIo, Error> {
        let candidates = self.addresses.candidates(node);
        let within = IDENTIFY_WITHIN / u32::try_from(candidates.len().max(1)).unwrap_or(1);
        let mut failed = Error::NoAddress { node: node.to_owned() };
        for address in candidates {
            if let Security::Plain = self.security {
                // Addresses are also learned from others, long after the configured ones were checked.
                if let Err(error) = Security::plain([&*address]) {
                    failed = error;
                    continue;
                }
            }
            failed = match timeout(within, self.open(node, &address, kind)).await {
                Ok(Ok(io)) => return Ok(io),
                Ok(Err(error)) => error,
                Err(_) => Error::TooSlow {
                    peer: format!("node {node} at {address}"),
                },
            };
        }
        Err(failed)
    }

    async fn open(&self, node: &str, address: &str, kind: Kind) -> Result<ClusterIo, Error> {
        let peer = || format!("node {node} at {address}");
        let stream = TcpStream::connect(address).await.map_err(|source| Error::Unreachable {
            node: node.to_owned(),
            address: address.to_owned(),
            source,
        })?;
        let socket = Socket::new(stream).map_err(|source| Error::Io { peer: peer(), source })?;
        let identity = PeerIdentity {
            name: Some(node.to_owned()),
        };
        let mut io = match &self.security {
            Security::Plain => ClusterIo {
                stream: Stream::Plain(socket),
                peer: identity,
            },
            Security::Tls(tls) => {
                // Certificates carry URIs, so the name in the ClientHello is the same for every node and means nothing.
                let name = ServerName::try_from("node.ringfort.invalid").expect("a constant host name");
                let stream = TlsConnector::from(tls.client.clone())
                    .connect(name, socket)
                    .await
                    .map_err(|source| Error::Handshake { peer: peer(), source })?;
                let chain = stream.get_ref().1.peer_certificates();
                if tls::peer_name(&self.identity, chain).as_deref() != Some(node) {
                    let expected = format!("ringfort://{}/{node}", self.identity.cluster_id());
                    return Err(Error::WrongPeer {
                        peer: peer(),
                        found: tls::shown(chain),
                        expected,
                    });
                }
                ClusterIo {
                    stream: Stream::Client(Box::new(stream)),
                    peer: identity,
                }
            }
        };
        let written = async {
            io.write_all(&kind.magic()).await?;
            io.flush().await
        };
        written.await.map_err(|source| Error::Io { peer: peer(), source })?;
        Ok(io)
    }

    /// A connection of its own to `node`, up when this returns. Its tasks and its socket live on `runtime`.
    ///
    /// # Errors
    /// As [`Self::dial`], or HTTP/2 could not be agreed on.
    pub async fn connect(&self, node: &str, kind: Kind, runtime: &Handle) -> Result<Channel, Error> {
        self.connect_with(endpoint(On(runtime.clone())), node, kind, runtime).await
    }

    /// As [`Self::connect`], with all of the connection in one task, which the bundle that is returned adds to.
    ///
    /// # Errors
    /// As [`Self::connect`].
    pub async fn connect_bundled(&self, node: &str, kind: Kind, runtime: &Handle) -> Result<(Channel, Bundle), Error> {
        let bundle = Bundle::spawn(runtime);
        let channel = self.connect_with(endpoint(bundle.clone()), node, kind, runtime).await?;
        Ok((channel, bundle))
    }

    async fn connect_with(&self, endpoint: Endpoint, node: &str, kind: Kind, runtime: &Handle) -> Result<Channel, Error> {
        let connector = self.connector(node, kind);
        let connecting = runtime.spawn(async move { endpoint.connect_with_connector(connector).await });
        match connecting.await {
            Ok(outcome) => outcome.map_err(|source| Error::Connect {
                node: node.to_owned(),
                source,
            }),
            Err(_) => Err(Error::Stopped { node: node.to_owned() }),
        }
    }

    /// A channel that dials when it is first used and again when its connection has ended. Its tasks live on `runtime`.
    pub fn connect_lazy(&self, node: &str, kind: Kind, runtime: &Handle) -> Channel {
        let _guard = runtime.enter();
        endpoint(On(runtime.clone())).connect_with_connector_lazy(self.connector(node, kind))
    }

    fn connector(
        &self,
        node: &str,
        kind: Kind,
    ) -> impl tower::Service<
        http::Uri,
        Response = TokioIo<ClusterIo>,
        Error = Error,
        Future = impl Future<Output = Result<TokioIo<ClusterIo>, Error>> + Send + use<>,
    > + Send
    + use<> {
        let (dialer, node) = (self.clone(), node.to_owned());
        tower::service_fn(move |_: http::Uri| {
            let (dialer, node) = (dialer.clone(), node.clone());
            async move { dialer.dial(&node, kind).await.map(TokioIo::new) }
        })
    }
}

/// Control channels to other nodes by name, shared by raft, gossip and whoever else asks one question at a time.
#[derive(Clone)]
pub struct PeerChannels(Arc<Shared>);

struct Shared {
    dialer: Dialer,
    control: Handle,
    channels: Mutex<HashMap<String, Channel>>,
}

impl PeerChannels {
    /// Channels whose connections live on the runtime `control`.
    pub fn new(dialer: Dialer, control: Handle) -> Self {
        Self(Arc::new(Shared {
            dialer,
            control,
            channels: Mutex::default(),
        }))
    }

    /// The control channel to a node, which connects when it is used; `None` while nobody knows where the node is.
    pub fn channel(&self, node: &str) -> Option<Channel> {
        let shared = &*self.0;
        shared.dialer.addresses().get(node)?;
        let mut channels = shared.channels.lock();
        if let Some(channel) = channels.get(node) {
            return Some(channel.clone());
        }
        let channel = shared.dialer.connect_lazy(node, Kind::Control, &shared.control);
        channels.insert(node.to_owned(), channel.clone());
        Some(channel)
    }

    /// Drops the channel to a node that is no longer a member; requests under way end by themselves.
    pub fn forget(&self, node: &str) {
        self.0.channels.lock().remove(node);
        self.0.dialer.addresses().forget(node);
    }

    /// Where the nodes are.
    pub fn addresses(&self) -> &Addresses {
        self.0.dialer.addresses()
    }

    /// What dials.
    pub fn dialer(&self) -> &Dialer {
        &self.0.dialer
    }
}
