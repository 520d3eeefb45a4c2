//! The deadlines of a realm, in order.
//!
//! Invariant: a timer is set exactly while its record waits; the record keeps the instant, so it can be taken out again.

use std::{collections::BTreeSet, time::Instant};

use crate::wamp::{PublicationId, RegistrationId, RequestId, SessionId};

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// The running read barrier took too long.
    Barrier,
    /// A REGISTER was not applied in time.
    Register(SessionId, RequestId),
    /// An UNREGISTER was not applied in time.
    Unregister(SessionId, RegistrationId),
    /// A procedure whose callee was sent away was not registered again in time.
    Expected,
    /// The interest announced under this ticket was not confirmed in time.
    Interest(u64),
    /// A publication was not received in time.
    Delivery(PublicationId),
    /// The first parked invocation of a callee waited too long.
    Invoke(SessionId),
    /// A call got no answer in the time that was given for it.
    Call(SessionId, RequestId),
    /// A meta call has waited long enough.
    Meta(u64),
    /// The token that a session stands on is over.
    Bearer(SessionId),
}

/// All deadlines of a realm.
#[derive(Debug, Default)]
pub(super) struct Timers(BTreeSet<(Instant, Timer)>);

impl Timers {
    pub(super) fn set(&mut self, at: Instant, timer: Timer) {
        self.0.insert((at, timer));
    }

    pub(super) fn unset(&mut self, at: Instant, timer: Timer) {
        self.0.remove(&(at, timer));
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.0.first().map(|(at, _)| *at)
    }

    /// Takes out the first timer that is due at `now`.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<Timer> {
        let (at, _) = self.0.first()?;
        if *at > now {
            return None;
        }
        self.0.pop_first().map(|(_, timer)| timer)
    }

    pub(super) fn contains(&self, at: Instant, timer: Timer) -> bool {
        self.0.contains(&(at, timer))
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}
