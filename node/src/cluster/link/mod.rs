//! Router links: calls, events and interest between each pair of nodes.
//!
//! Owns: dialing, the handshake, the lanes and their queues, liveness, fragmentation, and carrying the interest tables of
//! [`super::interest`]. Does not own what frames mean ([`crate::router`]) or who is a member (the node table, which comes in by
//! [`Links::set_members`]). Start reading at [`Links`], then [`life`], then [`lane`].
//!
//! A link belongs to two node lives. It is one control stream (pings, interest) on a connection of its own and K data lanes on
//! theirs; the lower slot dials. The end of any of its streams ends it. What the rest of the node sees of it is [`LinkEvents`].
//!
//! Invariants: `up` comes before anything else of a link and `down` after everything else, each once; frames of one source
//! arrive in the order in which they were forwarded, none missing before the link ends; an interest ticket is answered once.

mod accept;
pub mod backoff;
#[doc(hidden)]
pub mod bench_support;
mod control;
pub mod convert;
mod details;
mod dial;
mod fragment;
mod frame;
mod hello;
mod lane;
mod life;
mod pull;
mod receive;
mod stats;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc,
        atomic::{
            AtomicBool, AtomicU64,
            Ordering::{AcqRel, Acquire, Relaxed, Release},
        },
    },
    time::{Duration, Instant},
};

use parking_lot::{Mutex, RwLock};
use tokio::{
    runtime::Handle,
    sync::{Notify, watch},
    time::{MissedTickBehavior, interval},
};

use self::{
    backoff::Random,
    lane::{Lane, Pushed},
    life::Link,
};
use super::{
    interest::{Key, Own, Replicas},
    net::PeerChannels,
};
use crate::{
    auth::{login::CookieNews, throttle::Report},
    router::{NodeRef, PeerFrame, TopicKey, frame::PlainFrame},
    session::cluster::Drain,
    wamp::{SessionId, Uri, codec::plain::Elements},
};

pub use accept::LinkService;
pub use receive::Frames;
pub use stats::Counters;

/// What happens on links. Calls come from several tasks; those about one link in the stated order. None may wait.
pub trait LinkEvents: Send + Sync + 'static {
    /// A link to a node life is up. Its interest and its frames follow.
    fn up(&self, node: NodeRef);
    /// From now on frames reach the node; those that were forwarded since [`Self::up`] did not. Once per `up`, unless the link ends.
    fn ready(&self, _node: NodeRef) {}
    /// The link ended; nothing of it follows. Once per [`Self::up`].
    fn down(&self, node: NodeRef);
    /// Frames of one lane in order; those that are not taken out are lost.
    fn frames(&self, from: NodeRef, frames: &mut Frames<'_>);
    /// A linked node began (`true`) or ceased to want events of these topics. Acknowledged when this returns.
    fn interest(&self, from: NodeRef, realm: &Uri, changes: Vec<(TopicKey, bool)>);
    /// Every linked node has applied the interest that was announced under `ticket`.
    fn interest_acked(&self, realm: &Uri, ticket: u64);
    /// How an attempt to log in has ended on a linked node.
    fn login(&self, _report: Report) {}
    /// What became of the login of a browser on a linked node.
    fn cookie(&self, _news: CookieNews) {}
}

/// Another node as the replicated node table knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its life.
    pub node: NodeRef,
    /// Its name, which its certificate carries.
    pub name: String,
}

/// How links behave. The relations between the times are those of DESIGN §4.1.
#[derive(Clone, Debug)]
pub struct Config {
    /// Data lanes per link, the same on every node. More lanes, more cores per pair of nodes; order is kept per source session.
    pub lanes: u32,
    /// How often a control stream is pinged.
    pub ping_interval: Duration,
    /// A control stream without any frame for this long ends its link.
    pub silence_max: Duration,
    /// A node that makes no progress with this node's interest for this long has its link reset.
    pub ack_deadline: Duration,
    /// How long a topic nobody wants any more is kept, to damp flapping.
    pub linger: Duration,
    /// How long a handshake may take.
    pub handshake_within: Duration,
    /// A data lane that holds frames and sends none for this long ends its link.
    pub stall_max: Duration,
    /// The first and the longest wait between attempts.
    pub backoff: (Duration, Duration),
    /// Interest that differs from what the gossip says for longer than this is pulled.
    pub disagreement_max: Duration,
    /// Decides the jitter and the numbers of attempts.
    pub seed: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            lanes: 1,
            ping_interval: Duration::from_secs(1),
            silence_max: Duration::from_secs(3),
            ack_deadline: Duration::from_secs(2),
            linger: Duration::from_secs(2),
            handshake_within: Duration::from_secs(5),
            stall_max: Duration::from_secs(10),
            backoff: (Duration::from_millis(50), Duration::from_secs(2)),
            disagreement_max: Duration::from_secs(2),
            seed: 0,
        }
    }
}

/// How far a link is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Not connected: this node dials, or waits to be dialed.
    Dialing,
    /// Connected; the streams introduce themselves.
    Handshaking,
    /// Frames flow; interest is being exchanged.
    Syncing,
    /// Frames flow, and each end knows the other's interest.
    Up,
    /// One of the ends is about to leave.
    Draining,
}

impl Phase {
    fn from_u8(number: u8) -> Self {
        let all = [Phase::Dialing, Phase::Handshaking, Phase::Syncing, Phase::Up, Phase::Draining];
        all.into_iter().find(|phase| *phase as u8 == number).unwrap_or(Phase::Dialing)
    }
}

/// How the link to one member stands, for admin and metrics.
#[derive(Clone, Debug)]
pub struct LinkState {
    /// The other end.
    pub member: Member,
    /// How far it is.
    pub phase: Phase,
    /// What waits to be sent.
    pub queued_bytes: usize,
    /// Why the last attempt or link ended; empty if none has.
    pub last_error: String,
    /// What the link has done; `None` while there is none.
    pub counters: Option<Arc<Counters>>,
}

/// The links of this node. Cheap to clone; all clones are the same links.
#[derive(Clone)]
pub struct Links(Arc<Shared>);

/// What all tasks of the links share. Locks are taken one at a time, except `members` before `claims`.
struct Shared {
    config: Config,
    peers: PeerChannels,
    control: Handle,
    data: Handle,
    events: Arc<dyn LinkEvents>,
    members: Mutex<Members>,
    /// Every link from its handshake until nothing of it is heard any more: at most one per node life.
    claims: Mutex<HashMap<NodeRef, Claim>>,
    /// The links that are up.
    table: RwLock<BTreeMap<NodeRef, Arc<Link>>>,
    /// Lanes that have got frames since the last flush; `any_touched` says so without a lock.
    touched: Mutex<Vec<Arc<Lane>>>,
    any_touched: AtomicBool,
    own: Arc<Mutex<Own>>,
    own_touched: AtomicBool,
    replicas: Mutex<Replicas>,
    /// Tickets may be ready.
    acks: Notify,
    /// Counts changes of any link's phase.
    changes: watch::Sender<u64>,
    /// Frames for nodes without a link.
    unroutable: AtomicU64,
    refusals: Mutex<HashMap<String, String>>,
}

struct Claim {
    link: Arc<Link>,
    /// Where the acceptor's lanes are handed in; `None` on the dialing side and once all are there.
    lanes: Option<accept::LaneSender>,
}

struct Members {
    me: Option<NodeRef>,
    peers: BTreeMap<NodeRef, Peer>,
    random: Random,
}

struct Peer {
    name: String,
    last_error: String,
    /// Dropping it stops the dialing task.
    _dialing: Option<watch::Sender<()>>,
}

impl Links {
    /// Links that dial through `peers`. Control streams live on the runtime `control`, lanes and events on `data`.
    pub fn new(config: Config, peers: PeerChannels, events: Arc<dyn LinkEvents>, control: Handle, data: Handle) -> Self {
        let key = Key::of(peers.dialer().identity().cluster_id());
        let shared = Arc::new(Shared {
            peers,
            events,
            members: Mutex::new(Members {
                me: None,
                peers: BTreeMap::new(),
                random: Random::new(config.seed),
            }),
            claims: Mutex::default(),
            table: RwLock::default(),
            touched: Mutex::default(),
            any_touched: AtomicBool::new(false),
            own: Arc::new(Mutex::new(Own::new(key, config.linger))),
            own_touched: AtomicBool::new(false),
            replicas: Mutex::new(Replicas::new(key)),
            acks: Notify::new(),
            changes: watch::Sender::new(0),
            unroutable: AtomicU64::new(0),
            refusals: Mutex::default(),
            control,
            data: data.clone(),
            config,
        });
        data.spawn(answer_tickets(Arc::downgrade(&shared)));
        Self(shared)
    }

    /// What the node table says now: who this node is and who else is a member. Links to others end, links to new ones begin.
    pub fn set_members(&self, me: NodeRef, members: Vec<Member>) {
        self.0.clone().set_members(Some(me), members);
    }

    /// Ends every link and begins none: this node's life is over, or it is shutting down.
    pub fn stop(&self) {
        self.0.clone().set_members(None, Vec::new());
    }

    /// Queues a frame for a linked node on the lane of `source`. Never waits. False if it will not be sent: no link is up, or
    /// the lane is full and the frame is an event or an invocation. Results are never refused by a link that is up: one that
    /// is too large travels as an error, and when they pile up the link is reset.
    pub fn forward(&self, realm: &Uri, to: NodeRef, source: SessionId, frame: PeerFrame) -> bool {
        self.push(to, source, |lane| lane.push(realm, source, &frame))
    }

    /// The same for a frame that says nothing but what every one of its kind does.
    pub fn forward_plain(&self, realm: &Uri, to: NodeRef, source: SessionId, frame: PlainFrame, payload: Elements<'_>) -> bool {
        self.push(to, source, |lane| lane.push_plain(realm, source, frame, payload))
    }

    fn push(&self, to: NodeRef, source: SessionId, push: impl FnOnce(&Lane) -> Pushed) -> bool {
        let table = self.0.table.read();
        let Some(link) = table.get(&to) else {
            self.0.unroutable.fetch_add(1, Relaxed);
            return false;
        };
        let Some(lane) = link.lanes.get(lane_of(source, link.lanes.len())) else {
            return false;
        };
        match push(lane) {
            Pushed::Queued { first } => {
                if first {
                    self.0.touched.lock().push(lane.clone());
                    self.0.any_touched.store(true, Release);
                }
                true
            }
            Pushed::Refused => false,
            Pushed::Overflow => {
                link.end("results pile up: the node does not take them");
                false
            }
        }
    }

    /// Notes that this node begins or ceases to want events of a topic. A beginning is answered by
    /// [`LinkEvents::interest_acked`] from another task, once every linked node has applied it.
    pub fn interest(&self, realm: &Uri, topic: &TopicKey, wanted: bool, ticket: u64) {
        let now = Instant::now();
        let mut own = self.0.own.lock();
        if wanted {
            own.want(realm, topic, ticket, now);
        } else {
            own.unwant(realm, topic, now);
        }
        self.0.own_touched.store(true, Relaxed);
    }

    /// The lanes above their threshold.
    pub fn congested(&self) -> Vec<Arc<dyn Drain>> {
        let table = self.0.table.read();
        let lanes = table.values().flat_map(|link| &link.lanes).filter(|lane| lane.is_congested());
        lanes.map(|lane| lane.clone() as Arc<dyn Drain>).collect()
    }

    /// Wakes what calls since the last flush have filled; called after the realm's lock was released.
    pub fn flush(&self) {
        if self.0.any_touched.load(Acquire) && self.0.any_touched.swap(false, AcqRel) {
            let lanes = std::mem::take(&mut *self.0.touched.lock());
            lanes.iter().for_each(|lane| lane.wake());
        }
        if self.0.own_touched.load(Relaxed) && self.0.own_touched.swap(false, Relaxed) {
            self.0.wake_controls();
            self.0.acks.notify_one();
        }
    }

    /// How the link to each member stands, by slot.
    pub fn link_states(&self) -> Vec<LinkState> {
        let members = self.0.members.lock();
        let claims = self.0.claims.lock();
        let states = members.peers.iter().map(|(node, peer)| {
            let link = claims.get(node).map(|claim| &claim.link);
            LinkState {
                member: Member {
                    node: *node,
                    name: peer.name.clone(),
                },
                phase: link.map_or(Phase::Dialing, |link| link.phase()),
                queued_bytes: link.map_or(0, |link| link.lanes.iter().map(|lane| lane.bytes()).sum()),
                last_error: peer.last_error.clone(),
                counters: link.map(|link| link.counters.clone()),
            }
        });
        states.collect()
    }

    /// True if a link to `node` is up and each end has applied the other's whole interest.
    pub fn synced(&self, node: NodeRef) -> bool {
        self.0.table.read().get(&node).is_some_and(|link| link.is_synced())
    }

    /// Waits until each of `nodes` is synced or no longer a member. A node serves clients only after this.
    pub async fn wait_synced(&self, nodes: &[NodeRef]) {
        let mut changes = self.0.changes.subscribe();
        loop {
            let waits = |node: &NodeRef| !self.synced(*node) && self.0.members.lock().peers.contains_key(node);
            if !nodes.iter().any(waits) {
                return;
            }
            // The sender lives as long as `self`.
            let _ = changes.changed().await;
        }
    }

    /// Changes whenever a link's phase does; its value means nothing.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.0.changes.subscribe()
    }

    /// Version and digest of this node's interest, for the gossip.
    pub fn interest_summary(&self) -> (u64, u64) {
        let own = self.0.own.lock();
        (own.table().version(), own.table().digest())
    }

    /// Frames that were forwarded to nodes without a link.
    pub fn unroutable(&self) -> u64 {
        self.0.unroutable.load(Relaxed)
    }

    /// Tells all linked nodes how an attempt to log in has ended.
    pub fn login(&self, report: Report) {
        for link in self.0.table.read().values() {
            link.control.login(report);
        }
    }

    /// Tells all linked nodes what became of the login of a browser.
    pub fn cookie(&self, news: &CookieNews) {
        for link in self.0.table.read().values() {
            link.control.cookie(news);
        }
    }

    /// Tells the others that this node is about to leave, and waits until everything queued for them was sent, at most `within`.
    pub async fn drain(&self, within: Duration) {
        let links: Vec<_> = self.0.table.read().values().cloned().collect();
        for link in &links {
            link.set_phase(Phase::Draining);
            link.control.drain();
        }
        self.0.changed();
        let sent = async {
            let mut look = interval(Duration::from_millis(10));
            while links
                .iter()
                .any(|link| link.ended().is_none() && !link.lanes.iter().all(|lane| lane.is_empty()))
            {
                look.tick().await;
                links.iter().flat_map(|link| &link.lanes).for_each(|lane| lane.wake());
            }
        };
        if tokio::time::timeout(within, sent).await.is_err() {
            tracing::warn!("router links were not drained in time");
        }
    }
}

impl Shared {
    fn set_members(self: Arc<Self>, me: Option<NodeRef>, members: Vec<Member>) {
        let mut guard = self.members.lock();
        let state = &mut *guard;
        let before = std::mem::take(&mut state.peers);
        let mut kept = if state.me == me { before } else { BTreeMap::new() };
        state.me = me;
        for Member { node, name } in members {
            let Some(me) = me.filter(|me| me.slot != node.slot) else {
                continue;
            };
            let peer = match kept.remove(&node).filter(|peer| peer.name == name) {
                Some(peer) => peer,
                None => {
                    let dialing = (me.slot < node.slot).then(|| {
                        let (stop, stopped) = watch::channel(());
                        let seed = state.random.next_u64();
                        self.control
                            .spawn(dial::keep_linked(self.clone(), me, node, name.clone(), seed, stopped));
                        stop
                    });
                    Peer {
                        name,
                        last_error: String::new(),
                        _dialing: dialing,
                    }
                }
            };
            state.peers.insert(node, peer);
        }
        let current = |node: &NodeRef, name: &str| state.peers.get(node).is_some_and(|peer| peer.name == name);
        // A link made by an earlier life of this node carries that life's epoch in its hello, so it must go as well.
        let stale = |link: &&Arc<Link>| !current(&link.node, &link.name) || me.is_none_or(|me| link.made_by != me);
        let gone: Vec<_> = self
            .claims
            .lock()
            .values()
            .map(|claim| &claim.link)
            .filter(stale)
            .cloned()
            .collect();
        drop(guard);
        for link in gone {
            link.end("it is no longer a member, or this node's own life changed");
        }
        let members = self.members.lock();
        self.replicas.lock().retain(|node| members.peers.contains_key(&node));
        drop(members);
        self.changed();
    }

    /// Notes why an attempt at a link, or a link, ended. True if it was another reason last time.
    fn note_error(&self, node: NodeRef, error: &str) -> bool {
        let mut members = self.members.lock();
        let Some(peer) = members.peers.get_mut(&node) else {
            return false;
        };
        let new = peer.last_error != error;
        error.clone_into(&mut peer.last_error);
        new
    }

    /// Makes `link` the only one to its node: an earlier one is ended and waited for.
    async fn claim(&self, link: &Arc<Link>, lanes: Option<accept::LaneSender>) {
        let mut lanes = lanes;
        loop {
            let earlier = {
                let mut claims = self.claims.lock();
                match claims.get(&link.node) {
                    Some(claim) => claim.link.clone(),
                    None => {
                        claims.insert(
                            link.node,
                            Claim {
                                link: link.clone(),
                                lanes: lanes.take(),
                            },
                        );
                        return;
                    }
                }
            };
            earlier.end("replaced by a newer connection");
            earlier.until_over().await;
        }
    }

    /// The reverse of [`Self::claim`], when nothing of the link is heard any more.
    fn release(&self, link: &Arc<Link>) {
        let mut claims = self.claims.lock();
        if claims.get(&link.node).is_some_and(|claim| Arc::ptr_eq(&claim.link, link)) {
            claims.remove(&link.node);
        }
        drop(claims);
        link.set_over();
        self.changed();
    }

    fn wake_controls(&self) {
        self.table.read().values().for_each(|link| link.control.wake());
    }

    fn changed(&self) {
        self.changes.send_modify(|count| *count = count.wrapping_add(1));
    }
}

/// Hands out tickets that have become ready, and announces what has lingered long enough. Runs on the main runtime, since realms
/// are locked for it. Ends with the links.
async fn answer_tickets(shared: std::sync::Weak<Shared>) {
    let mut look = interval(Duration::from_millis(100));
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let Some(shared) = shared.upgrade() else { return };
        let (expired, ready) = {
            let mut own = shared.own.lock();
            (own.expire(Instant::now()), own.take_ready())
        };
        if expired {
            shared.wake_controls();
        }
        for (realm, ticket) in ready {
            shared.events.interest_acked(&realm, ticket);
        }
        tokio::select! {
            () = shared.acks.notified() => {}
            _ = look.tick() => {}
        }
    }
}

/// The lane of a source: the same for all its frames, so that they stay in order.
fn lane_of(source: SessionId, lanes: usize) -> usize {
    if lanes <= 1 {
        return 0;
    }
    // Ids are drawn by the nodes, never by a client: spreading them takes no keyed hash.
    let spread = source.get().wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    (spread % lanes as u64) as usize
}

/// The longest message of a stream: a batch, a fragment and their overhead, or a part of an interest table.
const MESSAGE_BYTES_MAX: usize = 512 << 10;
