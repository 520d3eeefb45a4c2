//! The cluster: consensus, membership, links, and what turns them into inputs of the realms.
//!
//! Owns: the node's identity and lives ([`member`]), the replicated state machine ([`machine`]), leases and fences ([`lease`]),
//! read barriers ([`barrier`]), the queue of ops ([`proposer`]), and below them consensus ([`raft`] behind [`consensus`]), router
//! links ([`link`]), topic interest ([`interest`]), gossip ([`gossip`]) and how nodes reach each other ([`net`]). Does not own routing:
//! realms decide, this carries. Start reading at [`start`], then [`member`].
//!
//! Everything but the data lanes runs on one operating-system thread with its own runtime, so that a flood of calls cannot delay a
//! heartbeat, nor an election a call.

pub mod autopilot;
pub mod barrier;
pub mod bootstrap;
pub mod catalog;
mod change;
pub mod command;
pub mod consensus;
pub mod control;
pub mod drain;
pub mod edits;
pub mod feed;
pub mod fellow;
pub mod floods;
pub mod gossip;
pub mod health;
pub mod identity;
pub mod interest;
pub mod leader;
pub mod lease;
pub mod link;
pub mod machine;
pub mod member;
pub mod net;
mod places;
pub mod proposer;
pub mod raft;
pub mod roster;
pub mod session_id;
pub mod settings;
pub mod shared;
pub mod table;

use std::{net::SocketAddr, path::PathBuf, sync::Arc, thread};

use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot, watch},
};
use tonic::service::interceptor::InterceptedService;

use self::{
    consensus::{Consensus, ConsensusConfig},
    drain::Drain,
    feed::{
        source::Source,
        tail::{Recorded, Tail},
    },
    gossip::Membership,
    health::Health,
    leader::Leader,
    lease::{LeaseBook, Timing},
    machine::{ClusterView, Machine, RecentLog},
    member::{Fatal, Gate, Stage, Supervisor},
    net::{Acceptor, Addresses, Dialer, PeerChannels, Security},
    shared::{IntoRealms, Shared},
};
use crate::audit::Audit;

/// What the cluster part of a node is built from, checked.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Who this node is.
    pub identity: net::Identity,
    /// Name and cluster address of every expected voter, or of members through which this node finds its cluster.
    pub peers: Vec<(String, String)>,
    /// It never founds a cluster.
    pub joins: bool,
    /// It has no disk and no vote.
    pub edge: bool,
    /// Where other nodes reach this one; empty for a node that is its own cluster.
    pub advertised: String,
    /// Where to listen for other nodes; `None` for a node that is its own cluster.
    pub listen: Option<String>,
    /// How connections between nodes are protected.
    pub security: Security,
    /// Where the log is kept; `None` keeps it in memory only.
    pub data_dir: Option<PathBuf>,
    /// Keeps who was refused on the cluster address.
    pub audit: Audit,
    /// Times.
    pub timing: Timing,
    /// How long this node takes at most to go away.
    pub stops_within: std::time::Duration,
}

/// The cluster part could not start; nothing of it runs.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data directory.
    #[error(transparent)]
    Identity(#[from] identity::Error),
    /// Listening, certificates, names.
    #[error(transparent)]
    Net(#[from] net::Error),
    /// Consensus: its log or snapshots.
    #[error(transparent)]
    Consensus(#[from] consensus::StartError),
    /// The gossip.
    #[error(transparent)]
    Gossip(#[from] gossip::Error),
    /// The operating system gave no thread or runtime.
    #[error("starting the control thread: {0}")]
    Thread(#[from] std::io::Error),
    /// The control thread ended while it started.
    #[error("the control thread ended while it started")]
    Ended,
}

/// What people may look at.
#[derive(Clone)]
pub struct Inspect {
    /// Where this node stands.
    pub stage: watch::Receiver<Stage>,
    /// What the log decided.
    pub view: watch::Receiver<ClusterView>,
    /// The newest applied commands.
    pub recent: RecentLog,
    /// Consensus.
    pub consensus: Consensus,
    /// The queues, links and realms.
    pub shared: Arc<Shared>,
    /// Where this node listens for others.
    pub address: Option<SocketAddr>,
    /// What of this node others may ask for.
    pub health: Health,
    /// The way to other nodes, by name.
    pub peers: Arc<dyn consensus::Peers>,
    /// What the gossip says of every node; `None` for a node that is its own cluster.
    pub heard: Option<watch::Receiver<gossip::ClusterVitals>>,
    /// The way to the log.
    pub leader: Leader,
    /// When the control thread last did anything, which is every second.
    pub pulse: watch::Receiver<std::time::Instant>,
    /// For how long a node goes on after its last renewal.
    pub node_lease: std::time::Duration,
    /// How far this node is in going away.
    pub drain: Drain,
    /// The way to the admin parts of other nodes.
    pub fellows: fellow::Fellows,
}

/// Why the cluster part ended by itself.
#[derive(Clone, Debug)]
struct Ended {
    why: String,
    removed: bool,
}

/// The running cluster part of a node.
pub struct Running {
    /// What people may look at.
    pub inspect: Inspect,
    leave: watch::Sender<bool>,
    ended: watch::Receiver<Option<Result<(), Ended>>>,
    thread: thread::JoinHandle<()>,
}

impl Running {
    /// Resolves when this node can take no part any more, with the reason; until then it is pending.
    ///
    /// # Errors
    /// It ended by itself; without an error it was told to leave.
    pub async fn ended(&self) -> Result<(), String> {
        let mut ended = self.ended.clone();
        match ended.wait_for(Option::is_some).await {
            Ok(result) => result.clone().unwrap_or(Ok(())).map_err(|ended| ended.why),
            Err(_) => Err("the control thread panicked".to_owned()),
        }
    }

    /// True if it ended because this node was removed from its cluster for good.
    pub fn was_removed(&self) -> bool {
        matches!(&*self.ended.borrow(), Some(Err(ended)) if ended.removed)
    }

    /// Ends all sessions, leaves the cluster and stops the control thread.
    pub async fn leave(self) {
        self.leave.send_replace(true);
        if let Err(error) = self.ended().await {
            tracing::error!(%error, "leaving");
        }
        drop(self.leave);
        let _ = tokio::task::spawn_blocking(move || self.thread.join()).await;
    }
}

impl consensus::Peers for PeerChannels {
    fn channel(&self, node: &str) -> Option<tonic::transport::Channel> {
        PeerChannels::channel(self, node)
    }
}

/// Starts the cluster part: its control thread, and the data lanes on the runtime `data`.
///
/// `machine` holds the realms; `gate` is told when clients may come and when every session has to end.
///
/// # Errors
/// See [`StartError`]; nothing keeps running.
pub async fn start(
    settings: Settings,
    shared: Arc<Shared>,
    machine: Machine,
    gate: mpsc::Sender<Gate>,
    data: Handle,
) -> Result<Running, StartError> {
    let (started, ready) = oneshot::channel();
    let (over, ended) = watch::channel(None);
    let (leave, leaving) = watch::channel(false);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let thread = thread::Builder::new().name("ringfort-control".to_owned()).spawn(move || {
        runtime.block_on(async move {
            match Box::pin(control(settings, shared, machine, gate, data, leaving)).await {
                Ok((inspect, supervisor, mut tasks)) => {
                    let _ = started.send(Ok(inspect));
                    let result = supervisor.run().await;
                    let removed = matches!(result, Err(Fatal::Removed));
                    if removed && let Err(error) = tasks.identity.mark_removed() {
                        tracing::error!(%error, "that this node was removed could not be written down");
                    }
                    tasks.stop().await;
                    let ended = |error: Fatal| Ended {
                        why: error.to_string(),
                        removed,
                    };
                    over.send_replace(Some(result.map_err(ended)));
                }
                Err(error) => {
                    let _ = started.send(Err(error));
                }
            }
        });
    })?;
    let inspect = ready.await.map_err(|_| StartError::Ended)??;
    Ok(Running {
        inspect,
        leave,
        ended,
        thread,
    })
}

/// What runs beside the supervisor until it is done.
struct Tasks {
    tasks: tokio::task::JoinSet<()>,
    consensus: Consensus,
    identity: identity::Held,
}

impl Tasks {
    async fn stop(mut self) {
        self.consensus.shutdown().await;
        self.tasks.shutdown().await;
    }
}

async fn control(
    settings: Settings,
    shared: Arc<Shared>,
    machine: Machine,
    gate: mpsc::Sender<Gate>,
    data: Handle,
    leaving: watch::Receiver<bool>,
) -> Result<(Inspect, Supervisor, Tasks), StartError> {
    let (cluster_id, name) = (settings.identity.cluster_id().to_owned(), settings.identity.name().to_owned());
    let held = identity::load(settings.data_dir.as_deref(), &cluster_id, &name, member::random_u64)?;
    let raft_id = held.identity.raft_id;
    let mut tasks = tokio::task::JoinSet::new();
    let handle = Handle::current();

    let addresses = Addresses::configured(settings.peers.iter().cloned());
    let channels = PeerChannels::new(
        Dialer::new(settings.identity.clone(), settings.security.clone(), addresses.clone()),
        handle.clone(),
    );
    let peers: Arc<dyn consensus::Peers> = Arc::new(channels.clone());
    let acceptor = match &settings.listen {
        Some(address) => {
            let (identity, security) = (settings.identity.clone(), settings.security.clone());
            let (acceptor, control, lanes) = Acceptor::bind(address, identity, security, data.clone()).await?;
            Some((acceptor.audited_by(settings.audit.clone()), control, lanes))
        }
        None => None,
    };

    let (view, recent) = (machine.view(), machine.recent());
    let mut expected: Vec<String> = settings.peers.iter().map(|(name, _)| name.clone()).collect();
    expected.sort();
    let tail = Arc::<Tail>::default();
    let consensus = if settings.edge {
        Consensus::follow(&cluster_id, &name, expected.clone(), Box::new(machine), Arc::clone(&peers))
    } else {
        let config = ConsensusConfig {
            data_dir: settings.data_dir.clone(),
            heartbeat: settings.timing.heartbeat,
            election_min: settings.timing.election_min,
            election_max: settings.timing.election_max,
            quorum_loss_probe: settings.timing.election_max * 2,
            ..ConsensusConfig::new(&cluster_id, raft_id, &name)
        };
        let machine = Recorded::new(Box::new(machine), Arc::clone(&tail));
        Consensus::start(config, Box::new(machine), Arc::clone(&peers)).await?
    };

    let book = Arc::new(LeaseBook::new(settings.timing, view.clone()));
    let leader = Leader::new(consensus.clone(), Arc::clone(&peers), Arc::clone(&book), &cluster_id);

    let stage = watch::Sender::new(Stage::Joining);
    let advertised = settings.advertised.clone();
    let health = Health {
        name: name.clone(),
        stage: stage.subscribe(),
        consensus: consensus.clone(),
        shared: Arc::clone(&shared),
        leaving: leaving.clone(),
    };
    let drain = Drain::new(settings.stops_within);
    let (mut address, mut heard) = (None, None);
    if let Some((acceptor, control_connections, data_connections)) = acceptor {
        address = acceptor.local_addr().ok();
        let events = Arc::new(IntoRealms(Arc::clone(&shared)));
        let config = link::Config {
            seed: member::random_u64(),
            ..link::Config::default()
        };
        let links = link::Links::new(config, channels.clone(), events, handle.clone(), data.clone());
        shared.wire_links(links.clone());
        let gossip = gossip::Gossip::start(
            gossip::Config::new(start_millis()),
            channels.clone(),
            &handle,
            gossip::Vitals {
                cluster_address: advertised.clone(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                ..gossip::Vitals::default()
            },
        )
        .await?;
        links.follow_gossip(gossip.vitals());
        heard = Some(gossip.vitals());
        let service = control::ControlService {
            cluster_id: cluster_id.clone(),
            name: name.clone(),
            raft_id,
            expected: expected.clone(),
            consensus: consensus.clone(),
            book: Arc::clone(&book),
            leader: leader.clone(),
            view: view.clone(),
            health: health.clone(),
            feed: Source::new(consensus.clone(), tail),
            drain: drain.clone(),
        };
        let on_control = net::server()
            .add_optional_service(consensus.service().map(|raft| InterceptedService::new(raft, authenticated)))
            .add_service(ringfort_proto::cluster::v1::control_server::ControlServer::new(service))
            .add_service(links.control_service())
            .add_service(fellow::service(&cluster_id, &shared, &data))
            .add_service(gossip.service());
        tasks.spawn(async move {
            if let Err(error) = on_control.serve_with_incoming(control_connections).await {
                tracing::error!(%error, "control connections");
            }
        });
        data.spawn(links.clone().serve_lanes(data_connections));
        tasks.spawn(acceptor.run());
        tasks.spawn(places::keep(view.clone(), channels.clone(), gossip.forgetter()));
        tasks.spawn(tell_vitals(
            gossip,
            advertised.clone(),
            stage.subscribe(),
            drain.clone(),
            consensus.clone(),
            links,
        ));
    }

    tasks.spawn(lease::fence_silent(book, consensus.clone()));
    let (barriers, barrier_leader, applied) = (Arc::clone(&shared), leader.clone(), consensus.applied());
    tasks.spawn(async move {
        let done = |realm: &crate::wamp::Uri, outcome| {
            if let Some(realm) = barriers.realm(realm) {
                realm.input(crate::router::Input::Barrier { outcome });
            }
        };
        barrier::run(&barriers.barriers, barrier_leader, applied, done).await;
    });
    let removed = watch::Sender::new(false);
    let told_removed = removed.subscribe();
    tasks.spawn(autopilot::run(raft_id, consensus.clone(), view.clone()));
    let newcomer = bootstrap::Newcomer {
        consensus: consensus.clone(),
        peers: Arc::clone(&peers),
        addresses,
        cluster_id: cluster_id.clone(),
        name: name.clone(),
        raft_id,
        expected,
        joins: settings.joins,
        advertised: advertised.clone(),
        removed,
    };
    if !settings.edge {
        tasks.spawn(newcomer.run());
    }

    let (beat, pulse) = watch::channel(std::time::Instant::now());
    tasks.spawn(async move {
        let mut tick = tokio::time::interval(PULSE_EVERY);
        loop {
            tick.tick().await;
            beat.send_replace(std::time::Instant::now());
        }
    });
    let inspect = Inspect {
        pulse,
        stage: stage.subscribe(),
        view: view.clone(),
        recent,
        consensus: consensus.clone(),
        shared: Arc::clone(&shared),
        address,
        health,
        heard,
        leader: leader.clone(),
        node_lease: settings.timing.node_lease(),
        drain,
        peers,
        fellows: fellow::Fellows::new(&cluster_id, &name, channels.clone(), view.clone(), &shared),
    };
    let timing = settings.timing;
    let supervisor = Supervisor {
        raft_id,
        name,
        cluster_id,
        timing,
        consensus: consensus.clone(),
        leader,
        view,
        shared,
        gate,
        stage,
        leaving,
        removed: told_removed,
        edge: settings.edge,
        advertised,
    };
    Ok((
        inspect,
        supervisor,
        Tasks {
            tasks,
            consensus,
            identity: held,
        },
    ))
}

/// Hands consensus the name that the connection's certificate proved, so that nobody can speak for another voter.
fn authenticated(mut request: tonic::Request<()>) -> Result<tonic::Request<()>, tonic::Status> {
    if let Some(name) = net::PeerIdentity::of(&request).name {
        request.extensions_mut().insert(consensus::AuthenticatedPeer(name));
    }
    Ok(request)
}

/// Tells the gossip how this node is, for as long as the node runs.
async fn tell_vitals(
    gossip: gossip::Gossip,
    advertised: String,
    stage: watch::Receiver<Stage>,
    drain: Drain,
    consensus: Consensus,
    links: link::Links,
) {
    let mut tick = tokio::time::interval(VITALS_EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let node = match *stage.borrow() {
            Stage::Member(node) => Some(node),
            Stage::Joining | Stage::Left => None,
        };
        gossip.publish(gossip::Vitals {
            cluster_address: advertised.clone(),
            public_addresses: Vec::new(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            node,
            load: 0,
            applied: *consensus.applied().borrow(),
            interest: links.interest_summary(),
            draining: drain.is_draining(),
        });
    }
}

/// How often the control thread shows that it goes on.
const PULSE_EVERY: std::time::Duration = std::time::Duration::from_secs(1);

/// How often this node's vitals are looked at; unchanged ones are not told again.
const VITALS_EVERY: std::time::Duration = std::time::Duration::from_millis(500);

/// Milliseconds since 1970 at this start: grows from one start of a node to the next.
fn start_millis() -> u64 {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
