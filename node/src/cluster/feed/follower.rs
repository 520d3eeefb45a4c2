//! A node without a vote: what it has is what a core node has sent it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::BytesMut;
use parking_lot::Mutex;
use ringfort_proto::cluster::v1::{self as pb, control_client::ControlClient};
use tokio::{
    sync::watch,
    task::AbortHandle,
    time::{Instant, timeout},
};
use tonic::Streaming;

use super::source::PART_BYTES;
use crate::{
    cluster::consensus::{Leadership, LogState, Member, Peers, StateMachine},
    router::LogIndex,
};

/// How long a core node may take to begin.
const BEGIN_WITHIN: Duration = Duration::from_secs(2);
/// A source that is silent for this long is gone; it speaks four times a second.
const SILENCE_MAX: Duration = Duration::from_millis(1_500);
/// A source that is behind, or knows of no leader, for this long does not help.
const USELESS_AFTER: Duration = Duration::from_secs(3);
/// Pause before the next core node is asked, the longer the more have failed.
const PAUSE: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// A part holds one command at least, and those have up to 16 MiB.
const MESSAGE_BYTES_MAX: usize = 20 * 1024 * 1024;
/// As for a snapshot of consensus.
const STATE_BYTES_MAX: u64 = 1024 * 1024 * 1024;

/// A cheap handle.
#[derive(Clone)]
pub struct Follower(Arc<Shared>);

struct Shared {
    cluster_id: String,
    name: String,
    /// Core nodes of the configuration, by which it finds the others.
    seeds: Vec<String>,
    applied: watch::Sender<LogIndex>,
    leadership: watch::Sender<Leadership>,
    members: Mutex<Vec<Member>>,
    durable: AtomicBool,
    /// The furthest index that the leader has told of.
    wanted: AtomicU64,
    task: Mutex<Option<AbortHandle>>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        if let Some(task) = self.task.lock().take() {
            task.abort();
        }
    }
}

/// Why another source is looked for.
#[derive(Debug)]
struct Lost(String);

impl Follower {
    /// Follows the cluster that `seeds` know, and applies what it does to `machine`. Its task runs on the current runtime.
    pub(in crate::cluster) fn start(
        cluster_id: &str,
        name: &str,
        seeds: Vec<String>,
        machine: Box<dyn StateMachine>,
        peers: Arc<dyn Peers>,
    ) -> Self {
        let shared = Arc::new(Shared {
            cluster_id: cluster_id.to_owned(),
            name: name.to_owned(),
            seeds,
            applied: watch::Sender::new(0),
            leadership: watch::Sender::default(),
            members: Mutex::default(),
            durable: AtomicBool::new(false),
            wanted: AtomicU64::new(0),
            task: Mutex::default(),
        });
        let task = tokio::spawn(run(Arc::downgrade(&shared), machine, peers));
        *shared.task.lock() = Some(task.abort_handle());
        Self(shared)
    }

    pub(in crate::cluster) fn applied(&self) -> watch::Receiver<LogIndex> {
        self.0.applied.subscribe()
    }

    pub(in crate::cluster) fn leadership(&self) -> watch::Receiver<Leadership> {
        self.0.leadership.subscribe()
    }

    pub(in crate::cluster) fn leader(&self) -> Option<String> {
        self.0.leadership.borrow().leader.clone().map(|(_, name)| name)
    }

    pub(in crate::cluster) fn members(&self) -> Vec<Member> {
        self.0.members.lock().clone()
    }

    pub(in crate::cluster) fn log_state(&self) -> LogState {
        let applied = *self.0.applied.borrow();
        LogState {
            last: Some(applied),
            committed: Some(applied),
            applied,
            durable: self.0.durable.load(Relaxed),
            ..LogState::default()
        }
    }

    /// Notes that the leader has applied the log up to there: a source that does not bring it soon is no good.
    pub(in crate::cluster) fn heard_of(&self, index: LogIndex) {
        self.0.wanted.fetch_max(index, Relaxed);
    }

    /// Ends it.
    pub(in crate::cluster) fn stop(&self) {
        if let Some(task) = self.0.task.lock().take() {
            task.abort();
        }
    }
}

impl Shared {
    /// Whom to ask: the members, else those of the configuration.
    fn sources(&self) -> Vec<String> {
        let mut names: Vec<String> = self.members.lock().iter().map(|member| member.name.clone()).collect();
        names.extend(self.seeds.iter().cloned());
        let mut known = std::collections::HashSet::new();
        names.retain(|name| *name != self.name && known.insert(name.clone()));
        names
    }
}

async fn run(shared: std::sync::Weak<Shared>, mut machine: Box<dyn StateMachine>, peers: Arc<dyn Peers>) {
    // Spread over the core nodes: where each begins comes from its name.
    let mut turn = shared
        .upgrade()
        .map_or(0, |shared| crc32fast::hash(shared.name.as_bytes()) as usize);
    let mut failed = 0_u32;
    loop {
        let Some(shared) = shared.upgrade() else { return };
        let sources = shared.sources();
        let Some(source) = sources.get(turn % sources.len().max(1)) else {
            tokio::time::sleep(PAUSE_MAX).await;
            continue;
        };
        let before = *shared.applied.borrow();
        let Lost(why) = follow(&shared, &mut *machine, &*peers, source).await;
        let progressed = *shared.applied.borrow() != before;
        failed = if progressed { 0 } else { failed.saturating_add(1) };
        tracing::info!(source, why, "looking for another core node to follow");
        turn = turn.wrapping_add(1);
        drop(shared);
        // Once round without a word: more haste would not help.
        tokio::time::sleep((PAUSE * failed.min(20)).min(PAUSE_MAX)).await;
    }
}

/// Follows one core node for as long as that is of use.
async fn follow(shared: &Shared, machine: &mut dyn StateMachine, peers: &dyn Peers, source: &str) -> Lost {
    let Some(channel) = peers.channel(source) else {
        return Lost("it has no address".to_owned());
    };
    let request = pb::FollowRequest {
        cluster_id: shared.cluster_id.clone(),
        from: shared.name.clone(),
        applied: *shared.applied.borrow(),
    };
    let mut client = ControlClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX);
    let mut parts = match timeout(BEGIN_WITHIN, client.follow(request)).await {
        Ok(Ok(reply)) => reply.into_inner(),
        Ok(Err(status)) => return Lost(status.to_string()),
        Err(_) => return Lost("it does not answer".to_owned()),
    };
    tracing::info!(source, applied = *shared.applied.borrow(), "following a core node");
    let mut useful = Instant::now();
    loop {
        let part = match next(&mut parts).await {
            Ok(part) => part,
            Err(lost) => return lost,
        };
        let taken = match part {
            pb::feed_part::Part::Pulse(pulse) => {
                if is_useful(shared, &pulse) {
                    useful = Instant::now();
                }
                take_pulse(shared, pulse);
                Ok(())
            }
            pb::feed_part::Part::Entries(entries) => take_entries(shared, machine, entries),
            pb::feed_part::Part::Snapshot(head) => take_state(shared, machine, &head, &mut parts).await,
            pb::feed_part::Part::Piece(_) => Err(Lost("a piece of no state".to_owned())),
        };
        if let Err(lost) = taken {
            return lost;
        }
        if useful.elapsed() > USELESS_AFTER {
            return Lost("it is behind, or knows of no leader".to_owned());
        }
        // Whatever else runs on this thread has its turn.
        tokio::task::yield_now().await;
    }
}

/// A source that is not behind what this node has, or has heard of, and knows who leads.
fn is_useful(shared: &Shared, pulse: &pb::FeedPulse) -> bool {
    let wanted = shared.wanted.load(Relaxed).max(*shared.applied.borrow());
    pulse.applied >= wanted && pulse.leader_id != 0
}

fn take_pulse(shared: &Shared, pulse: pb::FeedPulse) {
    let leader = (pulse.leader_id != 0).then_some((pulse.leader_id, pulse.leader));
    let now = Leadership {
        term: pulse.term,
        leader,
        is_me: false,
    };
    shared.durable.store(pulse.durable, Relaxed);
    let members = pulse.members.into_iter().map(|member| Member {
        id: member.raft_id,
        name: member.name,
        voter: member.voter,
    });
    *shared.members.lock() = members.collect();
    shared.leadership.send_if_modified(|known| {
        // A source that lags behind must not take back what a better one has told.
        let newer = now.term > known.term || now.term == known.term && now.leader.is_some();
        let changed = newer && *known != now;
        if changed {
            *known = now;
        }
        changed
    });
}

fn take_entries(shared: &Shared, machine: &mut dyn StateMachine, entries: pb::FeedEntries) -> Result<(), Lost> {
    let mut applied = *shared.applied.borrow();
    for (index, command) in (entries.first..).zip(entries.commands) {
        if index <= applied {
            continue;
        }
        if index != applied + 1 {
            return Err(Lost(format!("entry {index} came where {} belongs", applied + 1)));
        }
        if !command.is_empty() {
            // Whoever proposed it hears its outcome from the leader.
            let _ = machine.apply(index, &command);
        }
        applied = index;
    }
    machine.applied_to(applied);
    shared
        .applied
        .send_if_modified(|known| std::mem::replace(known, applied) != applied);
    Ok(())
}

async fn take_state(
    shared: &Shared,
    machine: &mut dyn StateMachine,
    head: &pb::FeedSnapshot,
    parts: &mut Streaming<pb::FeedPart>,
) -> Result<(), Lost> {
    let length = usize::try_from(head.bytes).ok().filter(|_| head.bytes <= STATE_BYTES_MAX);
    let length = length.ok_or_else(|| Lost(format!("a state of {} bytes", head.bytes)))?;
    // Grown as it comes: the announced length alone is no reason to allocate.
    let mut state = BytesMut::new();
    while state.len() < length {
        match next(parts).await? {
            pb::feed_part::Part::Piece(piece) if piece.len() <= PART_BYTES && state.len() + piece.len() <= length => {
                state.extend_from_slice(&piece);
            }
            _ => return Err(Lost("a state that is not followed by its pieces".to_owned())),
        }
    }
    if crc32fast::hash(&state) != head.crc {
        return Err(Lost("a state that did not arrive as it was sent".to_owned()));
    }
    if head.index < *shared.applied.borrow() {
        return Err(Lost("a state from before what is known here".to_owned()));
    }
    tracing::info!(index = head.index, bytes = length, "taking the state of a core node");
    machine.restore(head.index, &state).map_err(Lost)?;
    shared.applied.send_replace(head.index);
    Ok(())
}

async fn next(parts: &mut Streaming<pb::FeedPart>) -> Result<pb::feed_part::Part, Lost> {
    match timeout(SILENCE_MAX, parts.message()).await {
        Ok(Ok(Some(part))) => part.part.ok_or_else(|| Lost("a part this build does not know".to_owned())),
        Ok(Ok(None)) => Err(Lost("it ended the feed".to_owned())),
        Ok(Err(status)) => Err(Lost(status.to_string())),
        Err(_) => Err(Lost(format!("silent for {SILENCE_MAX:?}"))),
    }
}
