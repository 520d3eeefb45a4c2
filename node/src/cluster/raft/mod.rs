//! The consensus library and everything it needs: the only folder that knows openraft.
//!
//! Reading order: `types.rs` (what openraft is instantiated with), `store/` (log, snapshots, disk), `state_machine.rs`, `network.rs` and
//! `service.rs` (calls out and in), `convert.rs` (the wire and disk format), and here [`Engine`], which puts them together.

mod convert;
mod membership;
mod network;
mod service;
mod state_machine;
mod store;
mod types;

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::StreamExt;
use openraft::{
    Config, Instant, Raft, RaftMetrics, ReadPolicy, ServerState, SnapshotPolicy,
    async_runtime::watch::WatchReceiver,
    errors::{
        ClientWriteError, Fatal, ForwardReason, ForwardToLeader, InitializeError as NotInitialized, LinearizableReadError,
        RaftError,
    },
};
use ringfort_proto::cluster::v1::raft_server::{Raft as RaftRpc, RaftServer};
use tokio::{
    sync::{Mutex, Notify, watch},
    task::AbortHandle,
};

use self::{
    network::{Identity, MESSAGE_BYTES_MAX, Network},
    service::RaftService,
    state_machine::Machine,
    store::{
        Log, LogStore, OpenError,
        disk::{Disk, RealDisk},
        file::{FileLog, Sizes},
        memory::MemoryLog,
        snapshot::Snapshots,
    },
    types::{Command, MemberName, Types},
};
use super::consensus::{
    ConsensusConfig, InitializeError, Leadership, LogState, Member, Peers, ProposeError, ReadError, StartError, StateMachine,
    TransferError,
};

/// openraft's handle.
type RaftHandle = Raft<Types, Machine>;

/// A configuration with its opened storage.
pub(super) struct Setup {
    config: ConsensusConfig,
    log: Arc<dyn LogStore>,
    snapshots: Snapshots,
}

impl Setup {
    /// Opens the storage the configuration names.
    pub(super) fn open(config: ConsensusConfig) -> Result<Self, StartError> {
        match &config.data_dir {
            None => Ok(Self {
                config,
                log: Arc::new(MemoryLog::new()),
                snapshots: Snapshots::in_memory(),
            }),
            Some(data_dir) => {
                let folder = data_dir.join(FOLDER);
                let disk = RealDisk::open(&folder).map_err(|source| StartError::Io { path: folder, source })?;
                Self::on_disk(config, Arc::new(disk))
            }
        }
    }

    /// Opens log and snapshots on `disk`.
    fn on_disk(config: ConsensusConfig, disk: Arc<dyn Disk>) -> Result<Self, StartError> {
        let sizes = Sizes {
            segment_bytes: config.segment_bytes,
            cache_bytes: config.cache_bytes,
            ..Sizes::default()
        };
        let log = FileLog::open(
            disk.clone(),
            &config.cluster_id,
            config.raft_id,
            sizes,
            config.on_disk_failure.clone(),
        )?;
        let snapshots = Snapshots::on_disk(disk.clone(), &config.cluster_id, log.marks().purged)?;
        if log.is_new() && !snapshots.is_empty() {
            // Without its log this node does not know whom it voted for and what it acknowledged.
            return Err(StartError::Corrupt(format!(
                "{} holds snapshots but no log: the log files were removed. Remove this node from the cluster, delete its whole data folder, \
                 and let it join as a new node",
                disk.path("").display()
            )));
        }
        Ok(Self {
            config,
            log: Arc::new(log),
            snapshots,
        })
    }
}

impl From<OpenError> for StartError {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Io { path, source } => Self::Io { path, source },
            OpenError::Corrupt { .. } => Self::Corrupt(error.to_string()),
            OpenError::Newer { .. } | OpenError::Foreign { .. } => Self::Foreign(error.to_string()),
        }
    }
}

/// A running voter. Clones share it.
#[derive(Clone)]
pub(super) struct Engine(Arc<Running>);

struct Running {
    raft: RaftHandle,
    machine: Machine,
    log: Arc<dyn LogStore>,
    me: Arc<Identity>,
    leadership: watch::Receiver<Leadership>,
    lease: Duration,
    propose_timeout: Duration,
    /// Keeps proposals in the order of the calls.
    turn: Mutex<()>,
    /// The last term in which proposals waited for the first contact: one wait has to do.
    waited_in_term: AtomicU64,
    helpers: Vec<AbortHandle>,
}

impl Drop for Running {
    fn drop(&mut self) {
        for helper in &self.helpers {
            helper.abort();
        }
    }
}

impl Engine {
    pub(super) async fn start(setup: Setup, machine: Box<dyn StateMachine>, peers: Arc<dyn Peers>) -> Result<Self, StartError> {
        let Setup { config, log, snapshots } = setup;
        let me = Arc::new(Identity {
            cluster_id: config.cluster_id.clone(),
            raft_id: config.raft_id,
            name: config.name.clone(),
        });
        let library = library_config(&config)
            .validate()
            .map_err(|error| StartError::Engine(error.to_string()))?;
        let snapshot_due = Arc::new(Notify::new());
        let machine = Machine::new(machine, snapshots, config.snapshot_bytes, snapshot_due.clone());
        let network = Network { me: me.clone(), peers };
        let starting = Raft::new(
            config.raft_id,
            Arc::new(library),
            network,
            Log::new(log.clone()),
            machine.clone(),
        );
        let raft: RaftHandle = Box::pin(starting)
            .await
            .map_err(|fatal| StartError::Engine(fatal.to_string()))?;
        let (leadership, told) = watch::channel(leadership_of(&raft, &me));
        let helpers = vec![
            tokio::spawn(watch_leadership(raft.clone(), me.clone(), leadership)).abort_handle(),
            tokio::spawn(take_snapshots(raft.clone(), snapshot_due)).abort_handle(),
        ];
        let alone = {
            let metrics = raft.metrics();
            let metrics = metrics.borrow_watched();
            metrics.membership_config.voter_ids().eq([config.raft_id])
        };
        if alone {
            // Nobody else could object: no reason to wait out a lease.
            raft.trigger()
                .elect(false)
                .await
                .map_err(|fatal| StartError::Engine(fatal.to_string()))?;
        }
        let (lease, propose_timeout) = (config.leader_lease(), config.propose_timeout);
        let running = Running {
            raft,
            machine,
            log,
            me,
            leadership: told,
            lease,
            propose_timeout,
            turn: Mutex::new(()),
            waited_in_term: AtomicU64::new(0),
            helpers,
        };
        Ok(Self(Arc::new(running)))
    }

    pub(super) fn service(&self) -> RaftServer<impl RaftRpc + use<>> {
        let service = RaftService::new(self.0.raft.clone(), self.0.me.clone());
        RaftServer::new(service)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX)
    }

    pub(super) fn is_initialized(&self) -> bool {
        let marks = self.0.log.marks();
        marks.last.is_some() || marks.vote.is_some_and(|vote| vote.leader_id.term > 0)
    }

    pub(super) async fn initialize(&self, members: BTreeMap<u64, String>) -> Result<(), InitializeError> {
        let members: BTreeMap<u64, MemberName> = members.into_iter().map(|(id, name)| (id, MemberName(name))).collect();
        self.0.raft.initialize(members).await.map_err(|error| match error {
            RaftError::APIError(NotInitialized::NotAllowed(_)) => InitializeError::Already,
            RaftError::APIError(NotInitialized::NotInMembers(_)) => InitializeError::NotAMember,
            RaftError::Fatal(fatal) => InitializeError::Stopped(fatal.to_string()),
        })
    }

    pub(super) async fn propose(&self, commands: Vec<Bytes>) -> Vec<Result<(u64, Bytes), ProposeError>> {
        let fits = |command: &Bytes| command.len() <= COMMAND_BYTES_MAX;
        let mut outcomes: Vec<_> = commands
            .iter()
            .map(|command| {
                if fits(command) {
                    None
                } else {
                    Some(Err(ProposeError::TooLarge {
                        bytes: command.len(),
                        max: COMMAND_BYTES_MAX,
                    }))
                }
            })
            .collect();
        let accepted = commands.into_iter().filter(fits).map(Command);
        let written = {
            // Fair: whoever asks first is queued first.
            let _turn = self.0.turn.lock().await;
            self.first_contact().await;
            self.0.raft.client_write_many(accepted).await
        };
        let written = match written {
            Ok(written) => written,
            Err(fatal) => {
                return outcomes
                    .into_iter()
                    .map(|known| known.unwrap_or_else(|| Err(ProposeError::Stopped(fatal.to_string()))))
                    .collect();
            }
        };
        let mut written = std::pin::pin!(written);
        let mut waiting = outcomes.iter_mut().filter(|outcome| outcome.is_none());
        let deadline = tokio::time::Instant::now() + self.0.propose_timeout;
        let mut reason = format!("no answer within {:?}", self.0.propose_timeout);
        for outcome in waiting.by_ref() {
            *outcome = Some(match tokio::time::timeout_at(deadline, written.next()).await {
                Ok(Some(Ok(Ok(response)))) => Ok((response.log_id.index(), response.response.0)),
                Ok(Some(Ok(Err(error)))) => Err(refused(error)),
                Ok(Some(Err(fatal))) => {
                    reason = fatal.to_string();
                    break;
                }
                Ok(None) => {
                    reason = "consensus has stopped".to_owned();
                    break;
                }
                Err(_) => break,
            });
        }
        outcomes
            .into_iter()
            .map(|known| known.unwrap_or_else(|| Err(ProposeError::Unknown(reason.clone()))))
            .collect()
    }

    /// Lets a leader just elected hear from a quorum once: until then openraft refuses commands, as after the loss of one.
    async fn first_contact(&self) {
        let mut metrics = self.0.raft.metrics();
        let is_new = |metrics: &RaftMetrics<Types>| metrics.state == ServerState::Leader && metrics.last_quorum_acked.is_none();
        let term = metrics.borrow_watched().current_term;
        if !is_new(&metrics.borrow_watched()) || self.0.waited_in_term.swap(term, Ordering::Relaxed) == term {
            return;
        }
        let contact = async {
            while is_new(&metrics.borrow_and_update()) {
                if metrics.changed().await.is_err() {
                    return;
                }
            }
        };
        // On timeout the answer says that there is no quorum.
        let _ = tokio::time::timeout(self.0.lease, contact).await;
    }

    pub(super) async fn read_index(&self) -> Result<u64, ReadError> {
        match self.0.raft.get_read_linearizer(ReadPolicy::ReadIndex).await {
            Ok(linearizer) => Ok(linearizer.read_log_id().index()),
            Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(forward))) => match forward.reason {
                ForwardReason::LeaseExpired => Err(ReadError::NoQuorum),
                _ => Err(ReadError::NotLeader {
                    leader: leader_name(forward),
                }),
            },
            Err(RaftError::APIError(LinearizableReadError::QuorumNotEnough(_))) => Err(ReadError::NoQuorum),
            Err(RaftError::Fatal(fatal)) => Err(ReadError::Stopped(fatal.to_string())),
        }
    }

    pub(super) fn applied(&self) -> watch::Receiver<u64> {
        self.0.machine.applied()
    }

    pub(super) fn leadership(&self) -> watch::Receiver<Leadership> {
        self.0.leadership.clone()
    }

    pub(super) fn quorum_contact_age(&self) -> Option<Duration> {
        let metrics = self.0.raft.metrics();
        let metrics = metrics.borrow_watched();
        if metrics.state != ServerState::Leader {
            return None;
        }
        if metrics.membership_config.voter_ids().eq([self.0.me.raft_id]) {
            // A quorum of one is always in contact with itself.
            return Some(Duration::ZERO);
        }
        metrics.last_quorum_acked.map(|at| at.into_inner().elapsed())
    }

    pub(super) fn members(&self) -> Vec<Member> {
        let metrics = self.0.raft.metrics();
        let metrics = metrics.borrow_watched();
        let config = &metrics.membership_config;
        let voters: BTreeSet<u64> = config.voter_ids().collect();
        config
            .nodes()
            .map(|(id, name)| Member {
                id: *id,
                name: name.0.clone(),
                voter: voters.contains(id),
            })
            .collect()
    }

    pub(super) fn state(&self) -> (u64, Bytes) {
        self.0.machine.state()
    }

    pub(super) fn log_state(&self) -> LogState {
        let (marks, stats) = (self.0.log.marks(), self.0.log.stats());
        LogState {
            last: marks.last.map(|id| id.index()),
            committed: marks.committed.map(|id| id.index()),
            applied: *self.0.machine.applied().borrow(),
            snapshot: self.0.machine.snapshot_index(),
            purged: marks.purged.map(|id| id.index()),
            durable: stats.durable,
            syncs: stats.syncs,
            synced_writes: stats.acknowledged,
        }
    }

    pub(super) async fn transfer_leadership(&self, may_lead: impl Fn(u64) -> bool) -> Result<(), TransferError> {
        let target = {
            let metrics = self.0.raft.metrics();
            let metrics = metrics.borrow_watched();
            let Some(followers) = metrics.replication.as_ref().filter(|_| metrics.state == ServerState::Leader) else {
                return Err(TransferError::NotLeader);
            };
            metrics
                .membership_config
                .voter_ids()
                .filter(|id| *id != self.0.me.raft_id && may_lead(*id))
                .max_by_key(|id| followers.get(id).copied().flatten())
        };
        let target = target.ok_or(TransferError::NoTarget)?;
        let stopped = |fatal: Fatal<Types>| TransferError::Stopped(fatal.to_string());
        self.0.raft.trigger().transfer_leader(target).await.map_err(stopped)?;
        let mut leadership = self.0.leadership.clone();
        let moved = leadership.wait_for(|now| now.leader.as_ref().is_some_and(|(id, _)| *id == target));
        match tokio::time::timeout(TRANSFER_DEADLINE, moved).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(TransferError::Stopped("it is being shut down".to_owned())),
            Err(_) => Err(TransferError::Timeout(TRANSFER_DEADLINE)),
        }
    }

    pub(super) async fn shutdown(&self) {
        if let Err(error) = self.0.raft.shutdown().await {
            tracing::error!(%error, "consensus did not stop in order");
        }
        for helper in &self.0.helpers {
            helper.abort();
        }
    }
}

fn library_config(config: &ConsensusConfig) -> Config {
    let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    Config {
        cluster_name: config.cluster_id.clone(),
        heartbeat_interval: millis(config.heartbeat),
        election_timeout_min: millis(config.election_min),
        election_timeout_max: millis(config.election_max),
        install_snapshot_timeout: millis(config.snapshot_timeout),
        quorum_loss_probe_interval: Some(millis(config.quorum_loss_probe)),
        enable_pre_vote: Some(true),
        // The commit mark is written without a sync of its own, so a restarted leader may know less than it once did: it has to be
        // elected again, which shows it the rest.
        enable_leader_restore: Some(false),
        snapshot_policy: SnapshotPolicy::LogsSinceLast(config.snapshot_entries),
        replication_lag_threshold: config.snapshot_entries.saturating_add(config.kept_entries),
        max_in_snapshot_log_to_keep: config.kept_entries,
        snapshot_max_chunk_size: network::SNAPSHOT_PIECE_BYTES as u64,
        max_payload_entries: 4096,
        backoff: "50ms 100ms 200ms ...500ms".to_owned(),
        ..Config::default()
    }
}

/// Translates openraft's metrics for as long as it runs.
async fn watch_leadership(raft: RaftHandle, me: Arc<Identity>, leadership: watch::Sender<Leadership>) {
    let mut changes = raft.server_metrics();
    loop {
        let now = leadership_of(&raft, &me);
        leadership.send_if_modified(|known| (*known != now).then(|| *known = now).is_some());
        if changes.changed().await.is_err() {
            // Whatever it knew last is not true of a core that has ended; the end of the channel says that it has.
            leadership.send_replace(Leadership::default());
            return;
        }
        // Marks the change as seen.
        drop(changes.borrow_and_update());
    }
}

fn leadership_of(raft: &RaftHandle, me: &Identity) -> Leadership {
    let metrics = raft.metrics();
    let metrics = metrics.borrow_watched();
    let name = |id: &u64| {
        metrics
            .membership_config
            .get_node(id)
            .map(|name| name.0.clone())
            .unwrap_or_default()
    };
    let leader = metrics.current_leader.map(|id| (id, name(&id)));
    let is_me = metrics.state == ServerState::Leader && metrics.current_leader == Some(me.raft_id);
    Leadership {
        term: metrics.current_term,
        leader,
        is_me,
    }
}

/// Asks for a snapshot whenever the log has grown by enough bytes; openraft itself counts entries only.
async fn take_snapshots(raft: RaftHandle, due: Arc<Notify>) {
    loop {
        due.notified().await;
        if raft.trigger().snapshot().await.is_err() {
            return;
        }
    }
}

fn refused(error: ClientWriteError<Types>) -> ProposeError {
    match error {
        ClientWriteError::ForwardToLeader(forward) => match forward.reason {
            ForwardReason::LeaseExpired => ProposeError::NoQuorum,
            _ => ProposeError::NotLeader {
                leader: leader_name(forward),
            },
        },
        ClientWriteError::LogEntryDiscarded(_) => ProposeError::Unknown("the leader changed".to_owned()),
        other => ProposeError::Unknown(other.to_string()),
    }
}

fn leader_name(forward: ForwardToLeader<Types>) -> Option<String> {
    forward.leader_node.map(|name| name.0)
}

/// The folder below the data folder.
const FOLDER: &str = "raft";
/// The longest command.
const COMMAND_BYTES_MAX: usize = 16 * 1024 * 1024;
/// How long a transfer of the leadership may take.
const TRANSFER_DEADLINE: Duration = Duration::from_secs(5);
