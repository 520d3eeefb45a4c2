//! One scope of limits, such as a source or a principal: what it may take, and what it has.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use super::{
    bucket::Bucket,
    counts::{Counts, Reason, Scope},
};
use crate::router::Pool;

/// What a scope may take, all its sessions on this node together. 0 stands for any amount.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quota {
    /// Connections of a listener or source, sessions of a realm, role or principal, at a time.
    pub sessions_max: u32,
    /// New ones in a second.
    pub handshakes_per_sec: u32,
    /// Messages that come in a second.
    pub messages_per_sec: u32,
    /// Bytes that come in a second.
    pub bytes_per_sec: u64,
    /// Bytes of one message.
    pub message_bytes_max: usize,
    /// Subscriptions.
    pub subscriptions_max: u32,
    /// Registrations.
    pub registrations_max: u32,
    /// Calls that wait for an answer.
    pub calls_max: u32,
}

impl Quota {
    /// True if it limits nothing.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// A scope and what it has taken.
#[derive(Debug)]
pub(super) struct Meter {
    pub(super) scope: Scope,
    pub(super) quota: Quota,
    sessions: AtomicU32,
    handshakes: Bucket,
    messages: Bucket,
    bytes: Bucket,
    /// What its sessions hold in their realms, where that is limited.
    pub(super) pool: Option<Arc<Pool>>,
}

impl Meter {
    pub(super) fn new(scope: Scope, quota: Quota, counts: &Counts) -> Arc<Self> {
        let held = [quota.subscriptions_max, quota.registrations_max, quota.calls_max];
        Arc::new(Self {
            scope,
            quota,
            sessions: AtomicU32::new(0),
            handshakes: Bucket::default(),
            messages: Bucket::default(),
            bytes: Bucket::default(),
            pool: Pool::new(held, counts.held(scope)),
        })
    }

    /// Takes a place for one more connection or session.
    pub(super) fn enter(self: &Arc<Self>, now: Duration, counts: &Counts) -> Result<Place, (Scope, Reason)> {
        let refused = |reason| {
            counts.count(self.scope, reason);
            Err((self.scope, reason))
        };
        let rate = u64::from(self.quota.handshakes_per_sec);
        if rate != 0 && !self.handshakes.try_draw(now, rate) {
            return refused(Reason::Handshakes);
        }
        let most = if self.quota.sessions_max == 0 {
            u32::MAX
        } else {
            self.quota.sessions_max
        };
        let entered = self
            .sessions
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, |open| (open < most).then(|| open + 1));
        match entered {
            Ok(_) => Ok(Place(Arc::clone(self))),
            Err(_) => refused(Reason::Sessions),
        }
    }

    /// Counts what has come, and says how long nothing more is to be read, and which rate says so.
    pub(super) fn charge(&self, now: Duration, messages: u64, bytes: u64) -> (Duration, Reason) {
        let quota = &self.quota;
        let mut wait = (Duration::ZERO, Reason::Messages);
        if quota.messages_per_sec != 0 {
            wait.0 = self.messages.draw(now, messages, u64::from(quota.messages_per_sec));
        }
        if quota.bytes_per_sec != 0 {
            let until = self.bytes.draw(now, bytes, quota.bytes_per_sec);
            if until > wait.0 {
                wait = (until, Reason::Bytes);
            }
        }
        wait
    }

    /// True if nobody is there and nothing would be forgotten with it.
    pub(super) fn is_idle(&self, now: Duration) -> bool {
        let quiet = |bucket: &Bucket| bucket.is_idle(now);
        if self.pool.as_ref().is_some_and(|pool| !pool.is_unused()) {
            return false;
        }
        self.sessions.load(Ordering::Acquire) == 0 && quiet(&self.handshakes) && quiet(&self.messages) && quiet(&self.bytes)
    }
}

/// A place in a scope; given back when dropped.
#[derive(Debug)]
pub(super) struct Place(pub(super) Arc<Meter>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.sessions.fetch_sub(1, Ordering::AcqRel);
    }
}
