//! What the sessions' side and the cluster's side of a node share: the implementation of [`session::cluster::Cluster`] and of the
//! links' events.
//!
//! Everything here is called from many threads and only enqueues. Locks are held for the push alone; none is held while a realm is
//! entered, so the order is always realm → queue.
//!
//! [`session::cluster::Cluster`]: crate::session::cluster::Cluster

use std::{
    collections::BTreeMap,
    sync::{
        Arc, OnceLock,
        atomic::{
            AtomicBool,
            Ordering::{AcqRel, Acquire, Release},
        },
    },
    time::Instant,
};

use parking_lot::Mutex;

use super::{
    barrier::BarrierQueue,
    fellow::Answering,
    floods::Floods,
    link::{Frames, LinkEvents, Links},
    proposer::OpQueue,
    session_id::SessionIds,
};
use crate::{
    auth::{login::CookieNews, throttle::Report},
    router::{
        Input, NodeRef, Op, PeerFrame, TopicKey,
        frame::{CallId, PlainFrame, Refusal},
    },
    session::{
        auth::Guard,
        cluster::{Cluster, Drain},
        outbox::Touched,
        realm::RealmHandle,
    },
    wamp::{Payload, SessionId, Uri, codec::plain::Elements},
};

/// The queues between a node's sessions and its cluster.
#[derive(Default)]
pub struct Shared {
    /// Ops for the log.
    pub ops: OpQueue,
    /// Requests for read barriers.
    pub barriers: BarrierQueue,
    /// Session ids of the present life; `None` between lives.
    pub ids: Mutex<Option<SessionIds>>,
    links: OnceLock<Links>,
    /// Who slows failed logins down.
    guard: OnceLock<Arc<Guard>>,
    realms: OnceLock<BTreeMap<Uri, RealmHandle>>,
    /// Who answers the admin parts of other nodes.
    answering: OnceLock<Arc<dyn Answering>>,
    /// Invokes no link took; they come back as a Nack once the realm is released.
    bounced: Mutex<Vec<(Uri, NodeRef, CallId, SessionId)>>,
    /// Outboxes of this node that other nodes fill.
    pub(super) floods: Floods,
    /// Tickets of a node without links: nobody else has to know.
    acked: Mutex<Vec<(Uri, u64)>>,
    /// What [`Cluster::flush`] has to look at, set after it was filled: nearly every flush finds none of it, and takes no lock.
    ops_filled: AtomicBool,
    barriers_filled: AtomicBool,
    returns_filled: AtomicBool,
}

impl Shared {
    /// Sets what could not exist before this did. Called once each, before any session.
    pub fn wire(&self, realms: BTreeMap<Uri, RealmHandle>) {
        let _ = self.realms.set(realms);
    }

    /// Has `guard` tell the guards of other nodes of logins here, and hear of theirs. Once, before any session.
    pub fn wire_guard(self: &Arc<Self>, guard: &Arc<Guard>) {
        let _ = self.guard.set(Arc::clone(guard));
        let shared = Arc::downgrade(self);
        guard.tell_others(move |report| {
            if let Some(links) = shared.upgrade().as_ref().and_then(|shared| shared.links.get()) {
                links.login(report);
            }
        });
        let shared = Arc::downgrade(self);
        guard.cookies.tell_others(move |news| {
            if let Some(links) = shared.upgrade().as_ref().and_then(|shared| shared.links.get()) {
                links.cookie(&news);
            }
        });
    }

    /// Says who answers for this node what admin parts ask, those of other nodes and its own. Once.
    pub fn answer_by(&self, answering: Arc<dyn Answering>) {
        let _ = self.answering.set(answering);
    }

    /// Who answers for this node what admin parts ask; nobody before it has started.
    pub fn answering(&self) -> Option<&Arc<dyn Answering>> {
        self.answering.get()
    }

    /// Sets the links, once.
    pub fn wire_links(&self, links: Links) {
        let _ = self.links.set(links);
    }

    /// The links, once they are wired.
    pub fn links(&self) -> Option<&Links> {
        self.links.get()
    }

    /// The configured realms.
    pub fn realms(&self) -> impl Iterator<Item = &RealmHandle> {
        self.realms.get().into_iter().flat_map(BTreeMap::values)
    }

    /// The realm of that name.
    pub fn realm(&self, name: &str) -> Option<&RealmHandle> {
        self.realms.get().and_then(|realms| realms.get(name))
    }

    /// Tells every realm until when this node may start invocations of `single` registrations.
    pub fn lease(&self, until: Instant) {
        for realm in self.realms() {
            realm.input(Input::Lease { until });
        }
    }

    fn return_acked(&self) {
        let acked = std::mem::take(&mut *self.acked.lock());
        for (realm, ticket) in acked {
            if let Some(realm) = self.realm(&realm) {
                realm.input(Input::InterestAcked { ticket });
            }
        }
    }

    fn return_bounced(&self) {
        loop {
            let bounced = std::mem::take(&mut *self.bounced.lock());
            if bounced.is_empty() {
                return;
            }
            for (realm, from, call, callee) in bounced {
                if let Some(realm) = self.realm(&realm) {
                    realm.input(Input::Peer {
                        from,
                        // Its caller's node, this one, has kept what it was.
                        frame: PeerFrame::Nack {
                            call,
                            callee,
                            why: Refusal::Stale,
                            payload: Payload::EMPTY,
                        },
                    });
                }
            }
        }
    }
}

impl Cluster for Shared {
    fn propose(&self, realm: &Uri, op: Op) {
        self.ops.push(realm, op);
        self.ops_filled.store(true, Release);
    }

    fn forward(&self, realm: &Uri, to: NodeRef, source: SessionId, frame: PeerFrame) {
        let call = match &frame {
            PeerFrame::Invoke { call, callee, .. } | PeerFrame::Chunk { call, callee, .. } => Some((*call, *callee)),
            _ => None,
        };
        let taken = self.links.get().is_some_and(|links| links.forward(realm, to, source, frame));
        if let (false, Some((call, callee))) = (taken, call) {
            self.bounced.lock().push((realm.clone(), to, call, callee));
            self.returns_filled.store(true, Release);
        }
    }

    fn forward_plain(&self, realm: &Uri, to: NodeRef, source: SessionId, frame: PlainFrame, payload: Elements<'_>) -> bool {
        let links = self.links.get();
        links.is_some_and(|links| links.forward_plain(realm, to, source, frame, payload))
    }

    fn interest(&self, realm: &Uri, topic: &TopicKey, wanted: bool, ticket: u64) {
        match self.links.get() {
            Some(links) => links.interest(realm, topic, wanted, ticket),
            None if wanted => {
                self.acked.lock().push((realm.clone(), ticket));
                self.returns_filled.store(true, Release);
            }
            None => {}
        }
    }

    fn barrier(&self, realm: &Uri) {
        self.barriers.push(realm);
        self.barriers_filled.store(true, Release);
    }

    fn flush(&self) {
        if take(&self.ops_filled) {
            self.ops.flush();
        }
        if take(&self.barriers_filled) {
            self.barriers.flush();
        }
        if let Some(links) = self.links.get() {
            links.flush();
        }
        while take(&self.returns_filled) {
            self.return_bounced();
            self.return_acked();
        }
    }

    fn congested(&self) -> Vec<Arc<dyn Drain>> {
        self.links.get().map(Links::congested).unwrap_or_default()
    }

    fn new_session_id(&self) -> Option<SessionId> {
        if self.ops.is_full() {
            return None;
        }
        self.ids.lock().as_mut().and_then(SessionIds::draw)
    }

    fn return_session_id(&self, session: SessionId) {
        if let Some(ids) = self.ids.lock().as_mut() {
            ids.give_back(session);
        }
    }

    fn is_own(&self, session: SessionId) -> bool {
        self.ids.lock().as_ref().is_some_and(|ids| ids.is_own(session))
    }

    fn secret(&self) -> Option<[u8; 16]> {
        self.ids.lock().as_ref().map(SessionIds::secret)
    }
}

/// True if the flag was set; it is not any more.
fn take(flag: &AtomicBool) -> bool {
    flag.load(Acquire) && flag.swap(false, AcqRel)
}

/// The links' events, handed to the realms.
pub struct IntoRealms(pub Arc<Shared>);

impl LinkEvents for IntoRealms {
    fn login(&self, report: Report) {
        if let Some(guard) = self.0.guard.get() {
            guard.told(report);
        }
    }

    fn cookie(&self, news: CookieNews) {
        if let Some(guard) = self.0.guard.get() {
            guard.cookies.told(news);
        }
    }

    fn up(&self, node: NodeRef) {
        for realm in self.0.realms() {
            realm.input(Input::PeerUp { node });
        }
    }

    fn ready(&self, node: NodeRef) {
        if let Some(guard) = self.0.guard.get() {
            guard.cookies.tell_again();
        }
        for realm in self.0.realms() {
            realm.input(Input::PeerReady { node });
        }
    }

    fn down(&self, node: NodeRef) {
        if let Some(guard) = self.0.guard.get() {
            guard.cookies.rely_on_nobody();
        }
        for realm in self.0.realms() {
            realm.input(Input::PeerDown { node });
        }
    }

    fn frames(&self, from: NodeRef, frames: &mut Frames<'_>) {
        let mut touched = Touched::new();
        let mut entered = None;
        while let Some(name) = frames.next_realm() {
            let Some(realm) = self.0.realm(&name) else { continue };
            while realm.frames(from, frames, FRAMES_AT_ONCE, &mut touched) == FRAMES_AT_ONCE {}
            let congested = touched.take_congested();
            if !congested.is_empty() {
                touched.flush_own(OWN_FLUSHES_MAX);
                Floods::note(&self.0, from, realm.name(), congested);
            }
            entered = Some(realm);
        }
        touched.flush_own(OWN_FLUSHES_MAX);
        if let Some(realm) = entered {
            realm.flush();
        }
    }

    fn interest(&self, from: NodeRef, realm: &Uri, changes: Vec<(TopicKey, bool)>) {
        if let Some(realm) = self.0.realm(realm) {
            realm.input(Input::PeerInterest { node: from, changes });
        }
    }

    fn interest_acked(&self, realm: &Uri, ticket: u64) {
        if let Some(realm) = self.0.realm(realm) {
            realm.input(Input::InterestAcked { ticket });
        }
    }
}

/// How many frames of another node enter a realm before a session may.
const FRAMES_AT_ONCE: usize = 32;
/// How many outboxes the reader of a lane writes itself after a batch; more of them wake their sessions' tasks.
const OWN_FLUSHES_MAX: usize = 32;
