//! The node's connections as a whole: what they share, whether they are let in, and how all of them are ended.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::{
    auth::{Shown, TlsFacts},
    limits::SessionLimits,
    outbox::{End, Outbox, OutboxStats},
    realm::Realms,
};
use crate::wamp::Uri;

/// Everything the sessions of a node share.
#[derive(Debug)]
pub struct Service {
    /// The realms they can join.
    pub realms: Arc<Realms>,
    /// The limits they live under.
    pub limits: SessionLimits,
    /// The connections there are.
    pub sessions: Arc<Sessions>,
    /// What their outboxes count.
    pub stats: Arc<OutboxStats>,
}

impl Service {
    /// A service without connections that is not ready yet; see [`Sessions::set_ready`].
    pub fn new(realms: Arc<Realms>, limits: SessionLimits) -> Arc<Self> {
        Arc::new(Self {
            realms,
            limits,
            sessions: Arc::default(),
            stats: Arc::default(),
        })
    }
}

/// The connections of a node that speak WAMP, with or without an established session.
#[derive(Debug, Default)]
pub struct Sessions {
    ready: AtomicBool,
    next: AtomicU64,
    connections: Mutex<HashMap<u64, Known>>,
    /// Why every connection is being ended just now.
    closing: Mutex<Option<Uri>>,
    ended: Notify,
    revoked: AtomicU64,
}

/// A connection, and by which certificate it came in.
#[derive(Debug)]
struct Known {
    outbox: Arc<Outbox>,
    tls: Option<Arc<TlsFacts>>,
}

impl Sessions {
    /// Lets clients in, or keeps them out: HTTP then answers 503 and HELLO gets ABORT `wamp.error.unavailable`.
    pub fn set_ready(&self, ready: bool) {
        if ready {
            *self.closing.lock() = None;
        }
        self.ready.store(ready, Ordering::Release);
    }

    /// True if clients are let in.
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    /// How many connections there are.
    pub fn len(&self) -> usize {
        self.connections.lock().len()
    }

    /// True if there is no connection.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Their outboxes, for looking at.
    pub fn outboxes(&self) -> Vec<Arc<Outbox>> {
        self.connections.lock().values().map(|known| known.outbox.clone()).collect()
    }

    /// Enters a connection; it is struck off when the guard is dropped.
    pub(super) fn enter(self: &Arc<Self>, outbox: &Arc<Outbox>, tls: Option<&Arc<TlsFacts>>) -> Entered {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let known = Known {
            outbox: outbox.clone(),
            tls: tls.filter(|tls| tls.shown.is_some()).cloned(),
        };
        self.connections.lock().insert(number, known);
        // After the insertion: either this sees the reason, or `close_all` sees the connection.
        if let Some(reason) = self.closing.lock().clone() {
            outbox.request_end(End::Goodbye(reason));
        }
        Entered {
            sessions: self.clone(),
            number,
        }
    }

    /// Ends every session with a GOODBYE of `reason` and waits until their connections are closed, at most for `bound`; what is
    /// left then is cut. The caller calls [`Self::set_ready`] before, or new sessions come meanwhile. Returns how many were cut.
    pub async fn close_all(&self, reason: &Uri, bound: Duration) -> usize {
        *self.closing.lock() = Some(reason.clone());
        let all = self.outboxes();
        for outbox in all {
            outbox.request_end(End::Goodbye(reason.clone()));
        }
        if tokio::time::timeout(bound, self.emptied()).await.is_ok() {
            return 0;
        }
        let left = self.outboxes();
        for outbox in &left {
            outbox.broken();
        }
        // Their tasks have only to notice; the caller may rely on it that no session is left.
        if tokio::time::timeout(CUT_WITHIN, self.emptied()).await.is_err() {
            tracing::error!("connections that were cut are still there");
        }
        left.len()
    }

    /// Ends the connections that came in by a certificate which `is_revoked` says is worth nothing any more, with a GOODBYE of
    /// `reason`. Returns how many. Judges one after the other, without a lock: not for an async thread where there may be many.
    pub fn end_revoked(&self, reason: &Uri, is_revoked: impl Fn(&Shown) -> bool) -> u64 {
        let all: Vec<_> = {
            let connections = self.connections.lock();
            let certified = connections
                .values()
                .filter_map(|known| Some((known.outbox.clone(), known.tls.clone()?)));
            certified.collect()
        };
        let mut ended = 0;
        for (outbox, tls) in all {
            if tls.shown.as_ref().is_some_and(|shown| is_revoked(shown)) {
                outbox.request_end(End::Revoked(reason.clone()));
                ended += 1;
            }
        }
        self.revoked.fetch_add(ended, Ordering::Relaxed);
        ended
    }

    /// How many connections were ended because their certificate was revoked.
    pub fn revoked(&self) -> u64 {
        self.revoked.load(Ordering::Relaxed)
    }

    async fn emptied(&self) {
        loop {
            let ended = self.ended.notified();
            if self.is_empty() {
                return;
            }
            ended.await;
        }
    }
}

/// How long the tasks of connections that were cut may take to end.
const CUT_WITHIN: Duration = Duration::from_secs(1);

/// A connection's place among the [`Sessions`].
#[derive(Debug)]
pub(super) struct Entered {
    sessions: Arc<Sessions>,
    number: u64,
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.sessions.connections.lock().remove(&self.number);
        self.sessions.ended.notify_waiters();
    }
}
