//! The lives of this node in the cluster: join, get a lease, link up, serve; fenced, end everything and join anew.
//!
//! A life is one [`NodeRef`]. Between two lives no session exists here: ids, registrations and interest all belong to a life.

use std::{sync::Arc, time::Duration};

use tokio::sync::{mpsc, oneshot, watch};

use super::{
    command::{Command, Outcome},
    consensus::Consensus,
    leader::{Error, Leader},
    lease::{self, Rights, Timing},
    link::Member,
    machine::ClusterView,
    proposer,
    session_id::SessionIds,
    shared::Shared,
};
use crate::{
    router::{Input, NodeRef},
    telemetry::{self, names},
};

/// Pause before a join is asked for again.
const RETRY: Duration = Duration::from_millis(50);

/// Where this node stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Waiting for a quorum, a slot, a lease or links; serves nobody.
    Joining,
    /// A life that serves clients.
    Member(NodeRef),
    /// It said goodbye to the cluster.
    Left,
}

/// What the sessions' side is told; each is answered through the channel in it.
#[derive(Debug)]
pub enum Gate {
    /// Clients may come.
    Open(oneshot::Sender<()>),
    /// No new clients; end every session, then answer.
    Close(oneshot::Sender<()>),
}

/// Everything the supervisor needs.
pub struct Supervisor {
    /// This node's consensus id.
    pub raft_id: u64,
    /// Its name.
    pub name: String,
    /// The cluster's id, compared with what the log says.
    pub cluster_id: String,
    /// Times.
    pub timing: Timing,
    /// This node's part in consensus; without it the node has to end.
    pub consensus: Consensus,
    /// The way to the leader.
    pub leader: Leader,
    /// What the log decided.
    pub view: watch::Receiver<ClusterView>,
    /// Queues and realms.
    pub shared: Arc<Shared>,
    /// The sessions' side.
    pub gate: mpsc::Sender<Gate>,
    /// Published stage.
    pub stage: watch::Sender<Stage>,
    /// Changes to true when the node is to leave.
    pub leaving: watch::Receiver<bool>,
    /// Changes to true when others say that this disk was removed for good.
    pub removed: watch::Receiver<bool>,
    /// This node has no disk and no vote.
    pub edge: bool,
    /// Where others reach it; empty for a node that is its own cluster.
    pub advertised: String,
}

/// Why the supervisor gave up.
#[derive(Debug, thiserror::Error)]
pub enum Fatal {
    /// The log holds what this build cannot apply.
    #[error("{0}")]
    Halted(String),
    /// Storage failed, or a snapshot could not be read; the log before says which.
    #[error("consensus has stopped: see the log for what failed it")]
    ConsensusStopped,
    /// The data belongs to another cluster.
    #[error("the log belongs to cluster {found:?}, the configuration says {wanted:?}: correct cluster.id or cluster.data_dir")]
    ForeignLog { found: String, wanted: String },
    /// An operator has removed this node; it must not come back by itself.
    #[error("this node was removed from the cluster for good")]
    Removed,
}

impl Supervisor {
    /// Lives until told to leave.
    ///
    /// # Errors
    /// The node cannot go on at all, see [`Fatal`]; its sessions were ended.
    pub async fn run(mut self) -> Result<(), Fatal> {
        loop {
            let (mut leaving, mut removed) = (self.leaving.clone(), self.removed.clone());
            let consensus = self.consensus.clone();
            let life = tokio::select! {
                life = self.join() => life?,
                () = until_true(&mut removed) => return Err(Fatal::Removed),
                () = consensus.stopped() => return Err(Fatal::ConsensusStopped),
                () = until_true(&mut leaving) => {
                    self.forget_joining().await;
                    self.stage.send_replace(Stage::Left);
                    return Ok(());
                }
            };
            let ended = self.live(life).await;
            self.close_gate().await;
            let leaves = *self.leaving.borrow() || matches!(ended, Err(Fatal::Removed));
            if leaves {
                if let Some(links) = self.shared.links() {
                    links.drain(DRAIN_WITHIN).await;
                }
                self.leave(life).await;
            }
            self.shared.ids.lock().take();
            self.shared.ops.clear();
            if let Some(links) = self.shared.links() {
                links.stop();
            }
            self.stage.send_replace(if leaves { Stage::Left } else { Stage::Joining });
            ended?;
            if leaves {
                return Ok(());
            }
            telemetry::count(&names::LIVES_FENCED, &[]);
            tracing::warn!(slot = life.slot.0, epoch = life.epoch, "this life was fenced; joining anew");
        }
    }

    /// Gets a slot and an epoch from the log.
    async fn join(&mut self) -> Result<NodeRef, Fatal> {
        let incarnation = random_u64();
        let join = Command::Join {
            raft_id: self.raft_id,
            incarnation,
            name: self.name.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            edge: self.edge,
            address: self.advertised.clone(),
        };
        let mut reported = false;
        loop {
            self.check_view()?;
            let key_known = self.view.borrow().id_key.is_some();
            if self.edge && !key_known {
                // It is not the one to initialise a cluster; what it follows brings the key.
                self.applied(|view| view.id_key.is_some() || view.fatal.is_some()).await;
                continue;
            }
            let command = if key_known {
                join.clone()
            } else {
                let mut id_key = [0; 16];
                id_key[..8].copy_from_slice(&random_u64().to_le_bytes());
                id_key[8..].copy_from_slice(&random_u64().to_le_bytes());
                Command::Init {
                    cluster_id: self.cluster_id.clone(),
                    id_key,
                }
            };
            match self.leader.propose(&command).await {
                Ok((_, Outcome::Joined(life))) => {
                    self.applied(|view| view.table.is_live(life) || view.fatal.is_some()).await;
                    self.check_view()?;
                    // A long log is still being applied here otherwise; asking again gives the same life.
                    if self.view.borrow().table.is_live(life) {
                        return Ok(life);
                    }
                }
                Ok((_, Outcome::Removed)) => return Err(Fatal::Removed),
                Ok((_, Outcome::Done)) => self.applied(|view| view.id_key.is_some() || view.fatal.is_some()).await,
                Ok((_, outcome)) => {
                    tracing::error!(?outcome, "joining was refused");
                    tokio::time::sleep(RETRY * 20).await;
                }
                Err(error) => {
                    if !reported && !matches!(error, Error::NoLeader | Error::NotLeader) {
                        tracing::info!(%error, "joining");
                        reported = true;
                    }
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }

    /// Waits, bounded, until the log applied here says so; a lost wait is retried by the caller's loop.
    async fn applied(&mut self, wanted: impl FnMut(&ClusterView) -> bool) {
        let _ = tokio::time::timeout(Duration::from_secs(5), self.view.wait_for(wanted)).await;
    }

    fn check_view(&self) -> Result<(), Fatal> {
        let view = self.view.borrow();
        if let Some(why) = &view.fatal {
            return Err(Fatal::Halted(why.clone()));
        }
        if view.roster.is_retired(self.raft_id) {
            return Err(Fatal::Removed);
        }
        match &view.cluster_id {
            Some(found) if *found != self.cluster_id => Err(Fatal::ForeignLog {
                found: found.clone(),
                wanted: self.cluster_id.clone(),
            }),
            _ => Ok(()),
        }
    }

    /// Serves until this life is over or the node is to leave.
    async fn live(&mut self, life: NodeRef) -> Result<(), Fatal> {
        let key = self.view.borrow().id_key.unwrap_or_default();
        self.shared.begin_life(life, key);
        *self.shared.ids.lock() = Some(SessionIds::new(key, life));
        tracing::info!(slot = life.slot.0, epoch = life.epoch, "joined");

        let (shared, leased) = (Arc::clone(&self.shared), watch::Sender::new(false));
        let (lease, leases) = watch::channel(None);
        let mut has_lease = leased.subscribe();
        let (mut rights, applied) = (Rights::default(), self.consensus.applied());
        let keep = lease::keep(life, self.timing, self.leader.clone(), move |until, log| {
            shared.lease(until);
            if let Some(until) = rights.granted(log, until, *applied.borrow()) {
                lease.send_replace(Some(until));
                // Before that its log does not know who may come in.
                leased.send_replace(true);
            }
        });
        let (queue, leader) = (Arc::clone(&self.shared), self.leader.clone());
        let propose = proposer::run(&queue.ops, life, leader);
        let told = Arc::clone(&self.shared);
        let all = |input: Input| told.tell_all(&input);
        let stale = lease::watch_rights(leases, || all(Input::RightsStale), || all(Input::RightsKnown));
        let (mut leaving, mut removed) = (self.leaving.clone(), self.removed.clone());
        let consensus = self.consensus.clone();
        tokio::select! {
            () = consensus.stopped() => Err(Fatal::ConsensusStopped),
            () = until_true(&mut removed) => Err(Fatal::Removed),
            () = keep => Ok(()),
            () = stale => Ok(()),
            () = propose => Ok(()),
            () = until_true(&mut leaving) => Ok(()),
            over = self.serve(life, &mut has_lease) => over,
        }
    }

    /// Follows the node table; opens the gate once there is a lease and every other life is linked or gone.
    async fn serve(&mut self, life: NodeRef, has_lease: &mut watch::Receiver<bool>) -> Result<(), Fatal> {
        let mut open = false;
        let mut recheck = tokio::time::interval(Duration::from_millis(20));
        recheck.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut linked = None;
        loop {
            self.check_view()?;
            let table = Arc::clone(&self.view.borrow_and_update().table);
            if !table.is_live(life) {
                return Ok(());
            }
            let members: Vec<Member> = table
                .live()
                .filter(|(node, _)| *node != life)
                .map(|(node, row)| Member {
                    node,
                    name: row.name.clone(),
                })
                .collect();
            let synced = self
                .shared
                .links()
                .is_none_or(|links| members.iter().all(|member| links.synced(member.node)));
            if linked.as_ref() != Some(&members) {
                if let Some(links) = self.shared.links() {
                    links.set_members(life, members.clone());
                }
                linked = Some(members);
            } else if !open && synced && *has_lease.borrow() {
                open = true;
                self.open_gate().await;
                self.stage.send_replace(Stage::Member(life));
                tracing::info!(slot = life.slot.0, "serving clients");
            }
            tokio::select! {
                changed = self.view.changed() => {
                    if changed.is_err() {
                        return Ok(());
                    }
                }
                _ = recheck.tick(), if !open => {}
            }
        }
    }

    async fn open_gate(&self) {
        let (done, answered) = oneshot::channel();
        if self.gate.send(Gate::Open(done)).await.is_ok() {
            let _ = answered.await;
        }
    }

    async fn close_gate(&self) {
        self.stage.send_replace(Stage::Joining);
        let (done, answered) = oneshot::channel();
        if self.gate.send(Gate::Close(done)).await.is_ok() {
            let _ = answered.await;
        }
    }

    /// Ends this node's life in the log, so that nobody has to wait for a lease to run out.
    async fn leave(&self, life: NodeRef) {
        let fence = Command::Fence {
            node: life,
            reason: "left".to_owned(),
        };
        let told = async {
            // The leader may be leaving too: whoever leads next is told then.
            while self.leader.propose(&fence).await.is_err() {
                tokio::time::sleep(RETRY).await;
            }
        };
        if tokio::time::timeout(LEAVE_WITHIN, told).await.is_err() {
            tracing::warn!("left without telling the cluster: no quorum in time");
        }
    }

    /// Told to leave while joining: the join may have been committed, and nobody shall wait for a node that is not there.
    async fn forget_joining(&self) {
        let table = Arc::clone(&self.view.borrow().table);
        if let Some((life, _)) = table.live().find(|(_, row)| row.raft_id == self.raft_id) {
            self.leave(life).await;
        }
    }
}

/// How long answers under way to other nodes may take to go out.
const DRAIN_WITHIN: Duration = Duration::from_millis(500);

/// How long a node that stops tries to tell the cluster.
const LEAVE_WITHIN: Duration = Duration::from_secs(2);

async fn until_true(flag: &mut watch::Receiver<bool>) {
    if flag.wait_for(|set| *set).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// A random number from the operating system, never 0.
pub fn random_u64() -> u64 {
    loop {
        match getrandom::u64() {
            Ok(0) => {}
            Ok(random) => return random,
            Err(error) => {
                // Linux answers once it has booted; without randomness nothing here is safe to start.
                tracing::error!(%error, "no randomness from the operating system");
                std::thread::sleep(Duration::from_millis(100));
            }
        }
    }
}
