//! The replicated state machine: applies committed commands to the node table and, under their locks, to the realms.
//!
//! Invariants: apply is a pure function of state and command (no clock, randomness or configuration); commands are applied in log
//! order by one caller; nobody else changes a realm's registry. A command this build cannot read halts the machine for good: the
//! node ends rather than skip it.

mod editing;

use std::{
    collections::{BTreeMap, VecDeque},
    panic::AssertUnwindSafe,
    sync::Arc,
};

use bytes::Bytes;
use parking_lot::Mutex;
use prost::Message as _;
use ringfort_proto::cluster::v1 as pb;
use tokio::sync::watch;

pub use editing::{NOT_FRESH, RealmHost};

use super::{
    catalog::Catalog,
    command::{Command, DecodeError, Outcome},
    consensus::StateMachine,
    roster::{Answer, Roster, Step},
    table::{Joining, NodeTable, SlotRow},
};
use crate::{
    router::{Changed, Input, LogIndex, NodeRef, Op, Slot, policy::Request},
    session::realm::RealmHandle,
    wamp::Uri,
};

/// 1 is read too: it has no realms of the log.
const STATE_VERSION: u32 = 2;
/// How many applied commands [`RecentLog`] remembers.
const RECENT_MAX: usize = 8_192;

/// What the log has decided about the cluster itself, published after every change.
#[derive(Clone, Debug, Default)]
pub struct ClusterView {
    /// The id the cluster was initialised with; `None` before.
    pub cluster_id: Option<String>,
    /// The key of session and subscription ids; `None` before the cluster was initialised.
    pub id_key: Option<[u8; 16]>,
    /// Slots and lives.
    pub table: Arc<NodeTable>,
    /// The realms that the log makes.
    pub catalog: Arc<Catalog>,
    /// What took the place of the id key for salts and stand-ins; `None`: nothing did.
    pub restored_key: Option<[u8; 16]>,
    /// Who is to become a core node, and who is not one any more.
    pub roster: Arc<Roster>,
    /// Why this node can apply no further command, if so: it must stop.
    pub fatal: Option<String>,
}

/// One applied command, for people: `ringfort` shows it on the admin port.
#[derive(Clone, Debug)]
pub struct LogLine {
    /// Its place in the log.
    pub index: LogIndex,
    /// What kind of command or op: `join`, `fence`, `register`, ….
    pub kind: &'static str,
    /// Who and what, without payload or secret.
    pub detail: String,
}

/// The newest applied commands, oldest first.
pub type RecentLog = Arc<Mutex<VecDeque<LogLine>>>;

/// The state machine of one node.
pub struct Machine {
    cluster_id: Option<String>,
    id_key: Option<[u8; 16]>,
    table: NodeTable,
    roster: Roster,
    realms: BTreeMap<Uri, RealmHandle>,
    host: Box<dyn RealmHost>,
    catalog: Arc<Catalog>,
    restored_key: Option<[u8; 16]>,
    view: watch::Sender<ClusterView>,
    recent: RecentLog,
    halted: Option<String>,
}

impl Machine {
    /// A machine with nothing applied, over the configured `realms`.
    pub fn new(realms: BTreeMap<Uri, RealmHandle>, host: Box<dyn RealmHost>) -> Self {
        let (view, _) = watch::channel(ClusterView::default());
        Self {
            cluster_id: None,
            id_key: None,
            table: NodeTable::default(),
            roster: Roster::default(),
            realms,
            host,
            catalog: Arc::default(),
            restored_key: None,
            view,
            recent: RecentLog::default(),
            halted: None,
        }
    }

    /// What the log has decided so far, and every change of it.
    pub fn view(&self) -> watch::Receiver<ClusterView> {
        self.view.subscribe()
    }

    /// The newest applied commands.
    pub fn recent(&self) -> RecentLog {
        Arc::clone(&self.recent)
    }

    fn publish(&self) {
        self.view.send_replace(ClusterView {
            cluster_id: self.cluster_id.clone(),
            id_key: self.id_key,
            table: Arc::new(self.table.clone()),
            catalog: Arc::clone(&self.catalog),
            restored_key: self.restored_key,
            roster: Arc::new(self.roster.clone()),
            fatal: self.halted.clone(),
        });
    }

    fn halt(&mut self, why: String) {
        tracing::error!(%why, "the log cannot be applied any further; this node stops");
        self.halted = Some(why);
        self.publish();
    }

    fn apply_command(&mut self, index: LogIndex, command: Command) -> Outcome {
        match command {
            Command::Init { cluster_id, id_key } => {
                if self.id_key.is_none() {
                    self.remember(index, "init", format!("cluster {cluster_id}"));
                    (self.cluster_id, self.id_key) = (Some(cluster_id), Some(id_key));
                    self.publish();
                }
                Outcome::Done
            }
            Command::Join {
                raft_id,
                incarnation,
                name,
                version,
                edge,
                address,
            } => {
                let joining = Joining {
                    raft_id,
                    incarnation,
                    name,
                    version,
                    edge,
                    address,
                };
                self.join(index, joining)
            }
            Command::Fence { node, reason } => {
                if self.table.fence(node) {
                    self.remember(index, "fence", format!("slot {} epoch {}: {reason}", node.slot.0, node.epoch));
                    self.end_life(index, node);
                    self.publish();
                }
                Outcome::Done
            }
            Command::Batch { node, seq, at_ms, ops } => self.batch(index, node, seq, at_ms, ops),
            Command::Change { realm, actor, request } => self.change(index, &realm, &actor, &request),
            Command::Edit(edits) => self.edit(index, &edits),
            Command::Membership(step) => self.membership(index, step),
        }
    }

    fn membership(&mut self, index: LogIndex, step: Step) -> Outcome {
        let (kind, detail) = step.describe();
        match self.roster.apply(index, step) {
            // A node that waits to be let in asks again and again.
            Answer::Refused(why) => Outcome::Refused(why),
            Answer::Removed => Outcome::Removed,
            answer => {
                self.remember(index, kind, detail);
                self.publish();
                match answer {
                    Answer::Planned(plan) => Outcome::Planned(plan),
                    _ => Outcome::Done,
                }
            }
        }
    }

    fn join(&mut self, index: LogIndex, joining: Joining) -> Outcome {
        if self.roster.is_retired(joining.raft_id) {
            return Outcome::Removed;
        }
        let name = joining.name.clone();
        let Some((node, ended)) = self.table.join(joining) else {
            return Outcome::Refused("all 4095 slots are taken".to_owned());
        };
        if let Some(ended) = ended {
            self.remember(
                index,
                "fence",
                format!("slot {} epoch {}: its disk is back", ended.slot.0, ended.epoch),
            );
            self.end_life(index, ended);
        }
        self.remember(index, "join", format!("{name}: slot {} epoch {}", node.slot.0, node.epoch));
        self.publish();
        Outcome::Joined(node)
    }

    fn end_life(&mut self, index: LogIndex, node: NodeRef) {
        for realm in self.realms.values() {
            realm.input(Input::NodeFenced { index, node });
        }
    }

    fn batch(&mut self, index: LogIndex, node: NodeRef, seq: u64, at_ms: u64, ops: Vec<(Uri, Op)>) -> Outcome {
        let Some(row) = self.table.live_mut(node) else {
            return Outcome::Fenced;
        };
        if seq <= row.last_seq {
            return Outcome::Done;
        }
        if seq != row.last_seq + 1 {
            return Outcome::OutOfOrder {
                expected: row.last_seq + 1,
            };
        }
        row.last_seq = seq;
        let mut timed = None;
        for (name, op) in ops {
            let (kind, detail) = describe(&name, &op);
            self.remember(index, kind, detail);
            let realm = realm_in(&mut self.realms, &*self.host, &name);
            if timed.as_ref() != Some(realm.name()) {
                realm.input(Input::LogTime { unix_ms: at_ms });
                timed = Some(realm.name().clone());
            }
            realm.input(Input::Applied { index, by: node, op });
        }
        Outcome::Done
    }

    fn change(&mut self, index: LogIndex, realm: &Uri, actor: &str, request: &Request) -> Outcome {
        let (kind, what) = request.change.describe();
        self.remember(index, kind, format!("{realm} {what} by {actor}"));
        if self.catalog.was_removed(realm) {
            return Outcome::Changed(Changed::NotFound);
        }
        Outcome::Changed(self.realm(realm).change(index, request))
    }

    fn realm(&mut self, name: &Uri) -> RealmHandle {
        realm_in(&mut self.realms, &*self.host, name).clone()
    }

    fn remember(&self, index: LogIndex, kind: &'static str, detail: String) {
        let mut recent = self.recent.lock();
        if recent.len() == RECENT_MAX {
            recent.pop_front();
        }
        recent.push_back(LogLine { index, kind, detail });
    }

    fn restore_state(&mut self, index: LogIndex, bytes: &[u8]) -> Result<(), String> {
        let state = pb::State::decode(bytes).map_err(|e| DecodeError::from(e).to_string())?;
        if !(1..=STATE_VERSION).contains(&state.version) {
            let (found, known) = (state.version, STATE_VERSION);
            return Err(DecodeError::Version {
                what: "snapshot",
                found,
                known,
            }
            .to_string());
        }
        let id_key = match state.id_key.len() {
            0 => None,
            _ => Some(
                state
                    .id_key
                    .as_ref()
                    .try_into()
                    .map_err(|_| "snapshot: id key is not 16 bytes".to_owned())?,
            ),
        };
        let mut rows = Vec::with_capacity(state.slots.len());
        for row in state.slots {
            let node = super::command::node_ref(row.slot, row.epoch).map_err(|e| e.to_string())?;
            rows.push((
                node.slot,
                SlotRow {
                    epoch: row.epoch,
                    live: row.live,
                    raft_id: row.raft_id,
                    incarnation: row.incarnation,
                    name: row.name,
                    version: row.node_version,
                    last_seq: row.last_seq,
                    edge: row.edge,
                    address: row.address,
                },
            ));
        }
        let roster = Roster::from_pb(state.roster.unwrap_or_default()).map_err(|e| e.to_string())?;
        let mut registries: BTreeMap<Uri, Bytes> = state
            .realms
            .into_iter()
            .map(|realm| (Uri::new(realm.realm), realm.registry))
            .collect();
        let catalog = editing::catalog_from_pb(state.catalog_revision, state.catalog).map_err(|e| e.to_string())?;
        let restored_key = match state.restored_key.len() {
            0 => None,
            _ => Some(<[u8; 16]>::try_from(state.restored_key.as_ref()).map_err(|_| "snapshot: key is not 16 bytes")?),
        };
        for name in registries.keys() {
            realm_in(&mut self.realms, &*self.host, name);
        }
        for (name, realm) in &self.realms {
            let registry = registries.remove(name).unwrap_or_default();
            realm.restore(index, &registry)?;
            realm.input(Input::AppliedTo { index });
        }
        self.cluster_id = (!state.cluster_id.is_empty()).then_some(state.cluster_id);
        self.id_key = id_key;
        self.table = NodeTable::from_rows(rows);
        self.restore_catalog(catalog, restored_key);
        self.roster = roster;
        self.publish();
        Ok(())
    }
}

impl StateMachine for Machine {
    fn apply(&mut self, index: LogIndex, command: &[u8]) -> Bytes {
        if let Some(why) = &self.halted {
            return Outcome::Refused(why.clone()).encode();
        }
        let applied = Command::decode(command).map(|command| {
            // A panic would end consensus alone and leave a node that looks alive. What was half applied is not used any more.
            std::panic::catch_unwind(AssertUnwindSafe(|| self.apply_command(index, command)))
        });
        let outcome = match applied {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => {
                self.halt(format!("log entry {index}: applying it panicked"));
                Outcome::Refused("panicked".to_owned())
            }
            Err(error) => {
                self.halt(format!("log entry {index}: {error}"));
                Outcome::Refused(error.to_string())
            }
        };
        outcome.encode()
    }

    fn applied_to(&mut self, index: LogIndex) {
        if self.halted.is_none()
            && let Some(realm) = self.realms.values().find(|realm| realm.has_failed())
        {
            // Its copy of the registry stands still from now on; it must neither be used nor go into a snapshot.
            let why = format!("the core of realm {} has panicked", realm.name());
            self.halt(why);
        }
        for realm in self.realms.values() {
            realm.input(Input::AppliedTo { index });
        }
    }

    fn snapshot(&self) -> Vec<u8> {
        let slots = self.table.rows().map(|(Slot(slot), row)| pb::SlotRow {
            slot: slot.into(),
            epoch: row.epoch,
            live: row.live,
            raft_id: row.raft_id,
            incarnation: row.incarnation,
            name: row.name.clone(),
            node_version: row.version.clone(),
            last_seq: row.last_seq,
            edge: row.edge,
            address: row.address.clone(),
        });
        let realms = self.realms.iter().map(|(name, realm)| {
            let mut registry = Vec::new();
            realm.with_core(|core| core.snapshot_registry(&mut registry));
            pb::RealmState {
                realm: name.to_string(),
                registry: registry.into(),
            }
        });
        pb::State {
            version: STATE_VERSION,
            cluster_id: self.cluster_id.clone().unwrap_or_default(),
            id_key: self.id_key.map(|key| Bytes::copy_from_slice(&key)).unwrap_or_default(),
            slots: slots.collect(),
            realms: realms.collect(),
            catalog_revision: self.catalog.revision,
            catalog: editing::catalog_to_pb(&self.catalog),
            restored_key: self.restored_key.map(|key| Bytes::copy_from_slice(&key)).unwrap_or_default(),
            roster: Some(self.roster.to_pb()),
        }
        .encode_to_vec()
    }

    fn restore(&mut self, index: LogIndex, bytes: &[u8]) -> Result<(), String> {
        let restored = self.restore_state(index, bytes);
        if let Err(why) = &restored {
            self.halt(format!("snapshot up to log entry {index}: {why}"));
        }
        restored
    }
}

/// The shell of a realm that the log names.
fn realm_in<'a>(realms: &'a mut BTreeMap<Uri, RealmHandle>, host: &dyn RealmHost, name: &Uri) -> &'a RealmHandle {
    realms.entry(name.clone()).or_insert_with_key(|name| host.shell(name))
}

fn describe(realm: &Uri, op: &Op) -> (&'static str, String) {
    match op {
        Op::SessionJoined { session, .. } => ("session_joined", format!("{realm} {session}")),
        Op::AddTestament { session, testament } => ("add_testament", format!("{realm} {} {session}", testament.topic)),
        Op::FlushTestaments { session, .. } => ("flush_testaments", format!("{realm} {session}")),
        Op::Define { definition, .. } => ("define", format!("{realm} {} {}", definition.kind.name(), definition.uri)),
        Op::Undefine { uri, .. } => ("undefine", format!("{realm} {uri}")),
        Op::Hush { session } => ("hush", format!("{realm} {session}")),
        Op::SessionGone { session } => ("session_gone", format!("{realm} {session}")),
        Op::Register { session, procedure, .. } => ("register", format!("{realm} {procedure} {session}")),
        Op::Unregister {
            session, registration, ..
        } => ("unregister", format!("{realm} {registration} {session}")),
        Op::Dismiss {
            session, registration, ..
        } => ("dismiss", format!("{realm} {registration} {session}")),
        Op::Revoke {
            registration, callee, ..
        } => ("revoke", format!("{realm} {registration} {callee:?}")),
    }
}
