//! Agreement between core nodes: an ordered log of opaque commands, applied alike on every one of them.
//!
//! This is the whole surface the rest of the node sees; the library behind it stays in `raft/`. What a command means, who may propose it
//! and how a lost reply is recognised on a retry are the state machine's business, how a peer is reached is [`Peers`]'.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, io,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use ringfort_proto::cluster::v1::raft_server::{Raft, RaftServer};
use tokio::sync::watch;

use super::{
    feed::follower::Follower,
    raft::{Engine, Setup},
};

/// What the log is applied to.
///
/// `apply` and `restore` are total functions of state and input: no clock, randomness, configuration or unordered iteration, or nodes
/// drift apart. All methods run on the runtime [`Consensus::start`] was called on and must not block.
pub trait StateMachine: Send + 'static {
    /// Applies one committed command; pure function of state and command. Returns the outcome bytes.
    fn apply(&mut self, index: u64, command: &[u8]) -> Bytes;
    /// Called after a batch: everything up to `index` is applied, blank and membership entries too.
    fn applied_to(&mut self, index: u64);
    /// The whole state, for [`StateMachine::restore`].
    fn snapshot(&self) -> Vec<u8>;
    /// Replaces the whole state by one that has applied everything up to `index`.
    ///
    /// # Errors
    /// Where the bytes are not understood; the node then stops, since it cannot follow the log any more.
    fn restore(&mut self, index: u64, bytes: &[u8]) -> Result<(), String>;
}

/// Gives a channel to a peer by node *name*. Address resolution, TLS and identity checks happen below it.
pub trait Peers: Send + Sync + 'static {
    /// `None` where no address is known. Cheap: called for every heartbeat.
    fn channel(&self, node: &str) -> Option<tonic::transport::Channel>;
}

/// The node a connection authenticated, to be put into the extensions of its requests by the server that accepted it. Calls that claim
/// to come from another node are then refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthenticatedPeer(pub String);

/// Called when the disk refuses to keep what was to be acknowledged. It must not return, tests aside.
pub type FatalHook = Arc<dyn Fn(&io::Error) + Send + Sync>;

/// Settings of one voter.
#[derive(Clone)]
pub struct ConsensusConfig {
    /// The cluster this node belongs to. Calls and files of another one are refused.
    pub cluster_id: String,
    /// This node's id among the voters: random, made at first start, never used again for another disk.
    pub raft_id: u64,
    /// This node's name, by which [`Peers`] of others find it.
    pub name: String,
    /// Where log and snapshots stand, in a folder `raft` of their own. `None`: in memory, gone with the process.
    pub data_dir: Option<PathBuf>,
    /// How often the leader proves that it is alive. Default 200 ms.
    pub heartbeat: Duration,
    /// The shortest wait before campaigning, after the leader's lease ran out. Default 600 ms; above the heartbeat.
    pub election_min: Duration,
    /// The longest such wait, and the length of the leader's lease. Default 1 s. Too small elects needlessly on a busy disk, too
    /// large leaves the cluster without a leader for longer.
    pub election_max: Duration,
    /// After losing its quorum a leader falls silent for this long at a time, so that the others can elect. Default 2 s; at least
    /// twice `election_max`.
    pub quorum_loss_probe: Duration,
    /// How long a proposal may stay unanswered before its outcome is reported as unknown. Default 5 s.
    pub propose_timeout: Duration,
    /// A snapshot is taken after this many entries. Default 10,000. Smaller means shorter restarts and more writing.
    pub snapshot_entries: u64,
    /// A snapshot is also taken after this many bytes of commands. Default 64 MiB.
    pub snapshot_bytes: u64,
    /// Entries kept in the log behind a snapshot, so that a follower that was away briefly needs no snapshot. Default 2,000.
    pub kept_entries: u64,
    /// How long sending one snapshot to a follower may take. Default 60 s.
    pub snapshot_timeout: Duration,
    /// Size of a segment file of the log. Default 16 MiB.
    pub segment_bytes: u64,
    /// How much of the log stays in memory. Default 32 MiB.
    pub cache_bytes: usize,
    /// What to do when the disk fails. Default: say so and abort the process, because only a restart shows what is really stored.
    pub on_disk_failure: FatalHook,
}

impl ConsensusConfig {
    /// The defaults for one node.
    pub fn new(cluster_id: impl Into<String>, raft_id: u64, name: impl Into<String>) -> Self {
        Self {
            cluster_id: cluster_id.into(),
            raft_id,
            name: name.into(),
            data_dir: None,
            heartbeat: Duration::from_millis(200),
            election_min: Duration::from_millis(600),
            election_max: Duration::from_millis(1000),
            quorum_loss_probe: Duration::from_secs(2),
            propose_timeout: Duration::from_secs(5),
            snapshot_entries: 10_000,
            snapshot_bytes: 64 * 1024 * 1024,
            kept_entries: 2_000,
            snapshot_timeout: Duration::from_secs(60),
            segment_bytes: 16 * 1024 * 1024,
            cache_bytes: 32 * 1024 * 1024,
            on_disk_failure: Arc::new(abort),
        }
    }

    /// How long a leader may act on its last contact with a quorum; others campaign only after it.
    pub fn leader_lease(&self) -> Duration {
        self.election_max
    }

    /// Checks the relations between the settings.
    ///
    /// # Errors
    /// Names the setting and what it has to be.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let demand =
            |holds: bool, key: &'static str, demand: &'static str| if holds { Ok(()) } else { Err(ConfigError { key, demand }) };
        demand(!self.cluster_id.is_empty(), "cluster_id", "be set")?;
        demand(!self.name.is_empty(), "name", "be set")?;
        demand(self.heartbeat >= Duration::from_millis(10), "heartbeat", "be at least 10 ms")?;
        demand(
            self.election_min >= self.heartbeat * 2,
            "election_min",
            "be at least twice the heartbeat",
        )?;
        demand(self.election_max > self.election_min, "election_max", "be above election_min")?;
        demand(
            self.quorum_loss_probe >= self.election_max * 2,
            "quorum_loss_probe",
            "be at least twice election_max",
        )?;
        demand(
            self.propose_timeout > self.election_max,
            "propose_timeout",
            "be above election_max",
        )?;
        demand(self.snapshot_entries > 0, "snapshot_entries", "be at least 1")?;
        demand(self.snapshot_bytes > 0, "snapshot_bytes", "be at least 1")?;
        demand(
            self.snapshot_timeout > self.election_max,
            "snapshot_timeout",
            "be above election_max",
        )?;
        demand(self.segment_bytes >= 4096, "segment_bytes", "be at least 4096")
    }
}

impl fmt::Debug for ConsensusConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConsensusConfig")
            .field("cluster_id", &self.cluster_id)
            .field("raft_id", &format_args!("{:016x}", self.raft_id))
            .field("name", &self.name)
            .field("data_dir", &self.data_dir)
            .field("heartbeat", &self.heartbeat)
            .field("election_min", &self.election_min)
            .field("election_max", &self.election_max)
            .finish_non_exhaustive()
    }
}

/// A setting that does not go with the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("consensus setting {key} has to {demand}")]
pub struct ConfigError {
    /// The field of [`ConsensusConfig`].
    pub key: &'static str,
    /// What it has to be.
    pub demand: &'static str,
}

/// Why consensus did not start. Nothing was changed on disk.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A setting is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The data folder cannot be read, written or locked.
    #[error("{path}: {source}")]
    Io {
        /// File or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Data that had been durable is damaged or missing; the text names file, offset and remedy.
    #[error("{0}")]
    Corrupt(String),
    /// The data was written by a newer version, or belongs to another node or cluster; the text says which.
    #[error("{0}")]
    Foreign(String),
    /// The consensus library refused.
    #[error("consensus did not start: {0}")]
    Engine(String),
}

/// Why the first membership was not set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InitializeError {
    /// This node already has a log or a vote; whoever set it up was first. Not an error for a bootstrap that any node may perform.
    #[error("the cluster is initialised already")]
    Already,
    /// This node is not among the given members.
    #[error("this node is not among the members")]
    NotAMember,
    /// This node is stopping or broken.
    #[error("consensus has stopped: {0}")]
    Stopped(String),
}

/// Why a command has no outcome.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// Not taken; ask the leader, if one is known.
    #[error("this node does not lead; the leader is {}", leader.as_deref().unwrap_or("unknown"))]
    NotLeader {
        /// The leader's name.
        leader: Option<String>,
    },
    /// Not taken: this node leads but has not heard from a quorum lately.
    #[error("the leader has no quorum")]
    NoQuorum,
    /// Not taken: longer than a command may be.
    #[error("a command of {bytes} bytes is above the limit of {max}")]
    TooLarge {
        /// Its length.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// Taken, and then no answer: it may be applied or not, now or later. A retry has to be recognisable to the state machine.
    #[error("the outcome is unknown: {0}")]
    Unknown(String),
    /// Not taken: this node is stopping or broken.
    #[error("consensus has stopped: {0}")]
    Stopped(String),
}

/// Why a read barrier failed. Nothing changed; a retry helps once there is a leader with a quorum.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// Ask the leader, if one is known.
    #[error("this node does not lead; the leader is {}", leader.as_deref().unwrap_or("unknown"))]
    NotLeader {
        /// The leader's name.
        leader: Option<String>,
    },
    /// Too few voters answered in time.
    #[error("the leader has no quorum")]
    NoQuorum,
    /// This node is stopping or broken.
    #[error("consensus has stopped: {0}")]
    Stopped(String),
}

/// Why the leadership did not move.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransferError {
    /// Only the leader can hand over.
    #[error("this node does not lead")]
    NotLeader,
    /// There is no other voter, or not the one asked for.
    #[error("there is no voter to hand over to")]
    NoTarget,
    /// The target did not take over in time; this node may lead on.
    #[error("the leadership did not move within {0:?}")]
    Timeout(Duration),
    /// This node is stopping or broken.
    #[error("consensus has stopped: {0}")]
    Stopped(String),
}

/// Why the membership did not change. Unless it says so, nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// Only the leader changes it.
    #[error("this node does not lead")]
    NotLeader,
    /// Another change is not committed yet, or what was asked for cannot be.
    #[error("{0}")]
    Refused(String),
    /// No answer in time: the change may be made, now or later.
    #[error("the outcome is unknown: {0}")]
    Unknown(String),
}

/// What a leader knows of the members' progress.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Up to which index the log of each member is known to be that of the leader.
    pub matched: BTreeMap<u64, u64>,
    /// How long ago what each other member has since answered was sent.
    pub heard: BTreeMap<u64, Duration>,
    /// A change of voters is half done.
    pub joint: bool,
}

/// Who leads, as far as this node knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leadership {
    /// The greatest term seen.
    pub term: u64,
    /// Id and name of the leader of that term.
    pub leader: Option<(u64, String)>,
    /// Whether that is this node. It may have been deposed without knowing: see [`Consensus::quorum_contact_age`].
    pub is_me: bool,
}

/// One member of the cluster's consensus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its Raft id.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// Whether it votes, or only learns.
    pub voter: bool,
}

/// The log, for inspection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogState {
    /// Index of the last entry, committed or not.
    pub last: Option<u64>,
    /// Index known to be committed.
    pub committed: Option<u64>,
    /// Index applied to the state machine.
    pub applied: u64,
    /// Index the newest snapshot covers.
    pub snapshot: Option<u64>,
    /// Index up to which the log was dropped.
    pub purged: Option<u64>,
    /// Whether acknowledged commands survive the end of the process.
    pub durable: bool,
    /// How often data was synced to disk since the start.
    pub syncs: u64,
    /// How many writes those syncs made durable.
    pub synced_writes: u64,
}

/// Handle to this node's part in the agreement. Clones share it; all methods may be called from any runtime.
#[derive(Clone)]
pub struct Consensus {
    part: Part,
}

#[derive(Clone)]
enum Part {
    /// A core node: it has the log, and a vote or the prospect of one.
    Core(Engine),
    /// An edge node: what it has comes from a core node.
    Edge(Follower),
}

impl Consensus {
    /// Reads log and snapshot back, applies what is known to be committed, and takes part from then on. Its tasks run on the current
    /// runtime.
    ///
    /// # Errors
    /// See [`StartError`]: each has to be shown to the operator.
    pub async fn start(
        config: ConsensusConfig,
        machine: Box<dyn StateMachine>,
        peers: Arc<dyn Peers>,
    ) -> Result<Self, StartError> {
        config.validate()?;
        Ok(Self {
            part: Part::Core(Engine::start(Setup::open(config)?, machine, peers).await?),
        })
    }

    /// Follows the cluster that `seeds`, names of core nodes, belong to, without a part in what it agrees on.
    pub fn follow(
        cluster_id: &str,
        name: &str,
        seeds: Vec<String>,
        machine: Box<dyn StateMachine>,
        peers: Arc<dyn Peers>,
    ) -> Self {
        Self {
            part: Part::Edge(Follower::start(cluster_id, name, seeds, machine, peers)),
        }
    }

    /// The service to be added to the control server; an edge node has none.
    pub fn service(&self) -> Option<RaftServer<impl Raft + use<>>> {
        match &self.part {
            Part::Core(engine) => Some(engine.service()),
            Part::Edge(_) => None,
        }
    }

    /// True for a core node.
    pub fn keeps_the_log(&self) -> bool {
        matches!(self.part, Part::Core(_))
    }

    /// Whether this node knows any membership, or has ever voted.
    pub fn is_initialized(&self) -> bool {
        match &self.part {
            Part::Core(engine) => engine.is_initialized(),
            Part::Edge(follower) => *follower.applied().borrow() > 0,
        }
    }

    /// Sets the first membership: all expected voters at once, id and name. Every node may do so with the same members; one leads.
    ///
    /// # Errors
    /// See [`InitializeError`].
    pub async fn initialize(&self, members: BTreeMap<u64, String>) -> Result<(), InitializeError> {
        match &self.part {
            Part::Core(engine) => engine.initialize(members).await,
            Part::Edge(_) => Err(InitializeError::NotAMember),
        }
    }

    /// Proposes commands, in order, and waits until each was applied on this node. To be called on the leader. Calls may overlap: they
    /// are queued in the order in which their futures are first polled, and written together.
    pub async fn propose(&self, commands: Vec<Bytes>) -> Vec<Result<(u64, Bytes), ProposeError>> {
        match &self.part {
            Part::Core(engine) => engine.propose(commands).await,
            Part::Edge(follower) => {
                let leader = follower.leader();
                let refused = |_| Err(ProposeError::NotLeader { leader: leader.clone() });
                commands.iter().map(refused).collect()
            }
        }
    }

    /// Confirms with a quorum that this node still leads, and gives the index a reader on any node has to wait for to see everything
    /// acknowledged before this call.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn read_index(&self) -> Result<u64, ReadError> {
        match &self.part {
            Part::Core(engine) => engine.read_index().await,
            Part::Edge(follower) => Err(ReadError::NotLeader {
                leader: follower.leader(),
            }),
        }
    }

    /// The index up to which this node has applied; 0 before anything was.
    pub fn applied(&self) -> watch::Receiver<u64> {
        match &self.part {
            Part::Core(engine) => engine.applied(),
            Part::Edge(follower) => follower.applied(),
        }
    }

    /// Notes that the leader has applied the log up to `index`. A core node hears that from the leader itself.
    pub fn heard_of(&self, index: u64) {
        if let Part::Edge(follower) = &self.part {
            follower.heard_of(index);
        }
    }

    /// Who leads.
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        match &self.part {
            Part::Core(engine) => engine.leadership(),
            Part::Edge(follower) => follower.leadership(),
        }
    }

    /// On the leader: how long ago it sent what a quorum has since answered. `None` elsewhere, and before the first such answer.
    pub fn quorum_contact_age(&self) -> Option<Duration> {
        self.core()?.quorum_contact_age()
    }

    /// All members, in the order of their ids. An edge node is none.
    pub fn members(&self) -> Vec<Member> {
        match &self.part {
            Part::Core(engine) => engine.members(),
            Part::Edge(follower) => follower.members(),
        }
    }

    /// On the leader: how far the members are. `None` elsewhere.
    pub fn progress(&self) -> Option<Progress> {
        self.core()?.progress()
    }

    /// Has a node follow the log without a vote.
    ///
    /// # Errors
    /// See [`ChangeError`].
    pub async fn add_learner(&self, id: u64, name: &str) -> Result<(), ChangeError> {
        let engine = self.core().ok_or(ChangeError::NotLeader)?;
        engine.add_learner(id, name).await
    }

    /// Makes learners voters and voters learners, all in one change; finishes a change of another leader that is half done.
    ///
    /// # Errors
    /// See [`ChangeError`].
    pub async fn change_voters(&self, add: BTreeSet<u64>, remove: BTreeSet<u64>) -> Result<(), ChangeError> {
        let engine = self.core().ok_or(ChangeError::NotLeader)?;
        engine.change_voters(add, remove).await
    }

    /// Drops a learner.
    ///
    /// # Errors
    /// See [`ChangeError`].
    pub async fn drop_learner(&self, id: u64) -> Result<(), ChangeError> {
        let engine = self.core().ok_or(ChangeError::NotLeader)?;
        engine.drop_learner(id).await
    }

    /// The log, for inspection.
    pub fn log_state(&self) -> LogState {
        match &self.part {
            Part::Core(engine) => engine.log_state(),
            Part::Edge(follower) => follower.log_state(),
        }
    }

    /// The whole applied state and how far it goes, for those that follow; nothing on an edge node, which nobody follows.
    pub fn state(&self) -> (u64, Bytes) {
        self.core().map(Engine::state).unwrap_or_default()
    }

    /// Hands the leadership to `to`, or to the voter whose log is the most complete, and waits until it moved.
    ///
    /// # Errors
    /// See [`TransferError`].
    pub async fn transfer_leadership(&self, to: Option<u64>) -> Result<(), TransferError> {
        let engine = self.core().ok_or(TransferError::NotLeader)?;
        engine.transfer_leadership(|id| to.is_none_or(|to| to == id)).await
    }

    /// Hands the leadership, if this node has it, to the voter whose log is the most complete among those that `is_fit` says of by
    /// name, and waits until it moved. Does nothing on a node that does not lead.
    ///
    /// # Errors
    /// See [`TransferError`].
    pub async fn transfer_leadership_away(&self, is_fit: impl Fn(&str) -> bool) -> Result<(), TransferError> {
        let Some(engine) = self.core() else { return Ok(()) };
        let members = self.members();
        let fit: Vec<u64> = members
            .iter()
            .filter(|member| member.voter && is_fit(&member.name))
            .map(|member| member.id)
            .collect();
        match engine.transfer_leadership(|id| fit.contains(&id)).await {
            Err(TransferError::NotLeader) => Ok(()),
            moved => moved,
        }
    }

    /// Resolves once consensus takes no part any more: it was shut down, or storage or state machine failed it. The node has to end.
    pub async fn stopped(&self) {
        let mut leadership = self.leadership();
        while leadership.changed().await.is_ok() {}
    }

    /// Stops taking part. What was acknowledged is on disk.
    pub async fn shutdown(&self) {
        match &self.part {
            Part::Core(engine) => engine.shutdown().await,
            Part::Edge(follower) => follower.stop(),
        }
    }

    fn core(&self) -> Option<&Engine> {
        match &self.part {
            Part::Core(engine) => Some(engine),
            Part::Edge(_) => None,
        }
    }
}

/// The default of [`ConsensusConfig::on_disk_failure`].
fn abort(error: &io::Error) {
    tracing::error!(%error, "the log cannot be written, aborting: only a restart shows what is really stored");
    // Tracing may be buffered or off, and this is the last thing the process says.
    eprintln!("ringfort: the log cannot be written ({error}); aborting, restart once the disk is healthy");
    std::process::abort();
}
