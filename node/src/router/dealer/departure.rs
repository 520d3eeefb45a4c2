//! A node sends its sessions away: who goes when, what is taken from callees before, and who waits for them to come back.
//!
//! The log takes a registration from its callee ([`Op::Dismiss`]) before the callee hears anything. From the entry on every node sends
//! calls to the other callees; where there is none, they wait for one as those wait that a read barrier let miss. A call that was on
//! its way to the callee when the entry was applied is refused as stale and looked up again, so none is lost. What the callee had
//! begun, it ends.
//!
//! Invariants: a call waits for a callee only if it missed behind a read barrier, and never longer than the entry said; which
//! procedures are expected is this node's own memory, on which no replicated state depends; an expected procedure has a timer.

use std::{
    collections::BTreeSet,
    num::NonZeroU32,
    time::{Duration, Instant},
};

use crate::{
    router::{
        LogIndex, MatchPolicy, NodeRef, Op, Realm, pattern,
        session_table::{Again, Held},
        timers::Timer,
        turn::Turn,
    },
    wamp::{RegistrationId, SessionId, Uri},
};

/// Which of the sessions of a node that sends all away is sent first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Departing {
    /// It has registrations: the sooner it is elsewhere, the sooner it is called again.
    Callee,
    /// It calls or publishes.
    Client,
    /// It has subscriptions and no registrations.
    Subscriber,
}

/// What a session of this node still has under way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UnderWay {
    /// Registrations by which it can be invoked.
    pub registrations: usize,
    /// Invocations without a final answer.
    pub invocations: usize,
    /// Calls without a final answer.
    pub calls: usize,
}

impl UnderWay {
    /// True if it can go and nobody misses an answer.
    pub fn is_done(&self) -> bool {
        *self == Self::default()
    }
}

/// Procedures and patterns whose last callee was sent away, and how long they are expected to come again.
#[derive(Debug, Default)]
pub(in crate::router) struct Expected {
    procedures: pattern::Index<Instant>,
    ends: BTreeSet<(Instant, MatchPolicy, Uri)>,
}

/// So many are expected at once; calls of more miss.
const EXPECTED_MAX: usize = 10_000;

/// Longer than this nobody waits, whatever the entry says.
const HOLD_MAX: Duration = Duration::from_secs(60);

impl Expected {
    /// When the first wait ends.
    pub(in crate::router) fn first_end(&self) -> Option<Instant> {
        self.ends.first().map(|(at, ..)| *at)
    }

    fn covers(&self, procedure: &Uri) -> bool {
        !self.ends.is_empty() && self.procedures.matches(procedure).next().is_some()
    }

    fn insert(&mut self, policy: MatchPolicy, procedure: Uri, until: Instant) {
        if self.ends.len() >= EXPECTED_MAX {
            return;
        }
        if let Some(before) = self.procedures.insert(policy, &procedure, until) {
            self.ends.remove(&(before, policy, procedure.clone()));
        }
        self.ends.insert((until, policy, procedure));
    }

    fn remove_until(&mut self, now: Instant) {
        while self.first_end().is_some_and(|at| at <= now) {
            if let Some((_, policy, procedure)) = self.ends.pop_first() {
                self.procedures.remove(policy, &procedure);
            }
        }
    }
}

impl Realm {
    /// The sessions of this node, in the order in which it is best to send them away.
    pub fn departures(&self) -> Vec<(Departing, SessionId)> {
        let of = |id: SessionId| {
            let session = self.sessions.get(id)?;
            let departing = if !session.registrations.is_empty() || !session.registering.is_empty() {
                Departing::Callee
            } else if session.subscriptions.is_empty() {
                Departing::Client
            } else {
                Departing::Subscriber
            };
            Some((departing, id))
        };
        let mut all: Vec<_> = self.sessions.ids().into_iter().filter_map(of).collect();
        all.sort_unstable();
        all
    }

    /// What a session of this node still has under way; nothing if it is not here.
    pub fn under_way(&self, session: SessionId) -> UnderWay {
        self.sessions.get(session).map_or_else(UnderWay::default, |session| UnderWay {
            registrations: session.registrations.values().filter(|held| is_invoked(held)).count(),
            invocations: session.invocations.len(),
            calls: session.calls.len() + session.parked.len(),
        })
    }

    /// How many registrations of this node's sessions have callees elsewhere too, each session counted.
    pub fn shared_registration_count(&self) -> usize {
        let of = |id: SessionId| {
            let held = self.sessions.get(id)?.registrations.iter();
            Some(
                held.filter(|(id, held)| is_invoked(held) && self.is_elsewhere_too(**id))
                    .count(),
            )
        };
        self.sessions.ids().into_iter().filter_map(of).sum()
    }

    fn is_elsewhere_too(&self, registration: RegistrationId) -> bool {
        let registration = self.registry.registration(registration);
        registration.is_some_and(|registration| registration.callees.iter().any(|callee| callee.node != self.me))
    }

    pub(in crate::router) fn on_dismiss_shared(&mut self, turn: &mut Turn<'_>, hold_ms: u32) {
        for session in self.sessions.ids() {
            self.dismiss(turn, session, hold_ms, Self::is_elsewhere_too);
        }
    }

    pub(in crate::router) fn on_dismiss(&mut self, turn: &mut Turn<'_>, session: SessionId, hold_ms: u32) {
        self.dismiss(turn, session, hold_ms, |_, _| true);
    }

    /// Asks the log to take registrations from a session. Until it says so, the session is invoked as before: were calls refused sooner,
    /// a caller's node that looks again could find the same callee.
    fn dismiss(&mut self, turn: &mut Turn<'_>, session: SessionId, hold_ms: u32, which: impl Fn(&Self, RegistrationId) -> bool) {
        let Some(callee) = self.sessions.get(session) else { return };
        let invoked = callee.registrations.iter().filter(|(_, held)| is_invoked(held));
        let all: Vec<_> = invoked.map(|(id, _)| *id).filter(|id| which(self, *id)).collect();
        for registration in all {
            turn.propose(match NonZeroU32::new(hold_ms) {
                Some(hold_ms) => Op::Dismiss {
                    session,
                    registration,
                    hold_ms,
                },
                None => Op::Unregister {
                    session,
                    request: None,
                    registration,
                },
            });
        }
    }

    /// The log reached an op; see [`Self::apply_op`]. What a dismissal leaves without a callee is expected again.
    pub(in crate::router) fn on_applied(&mut self, turn: &mut Turn<'_>, index: LogIndex, by: NodeRef, op: Op) {
        let Op::Dismiss {
            registration, hold_ms, ..
        } = op
        else {
            return self.apply_op(turn, index, by, op);
        };
        let before = self.registry.registration(registration);
        let before = before.map(|registration| (registration.policy, registration.procedure.clone()));
        self.apply_op(turn, index, by, op);
        if let Some((policy, procedure)) = before
            && self.registry.registration(registration).is_none()
        {
            let hold = Duration::from_millis(hold_ms.get().into()).min(HOLD_MAX);
            self.change_expected(|expected| expected.insert(policy, procedure, turn.now + hold));
        }
    }

    /// True if a call that missed is to wait for its procedure to be registered again. One that a callee has declined is not.
    pub(super) fn may_come_again(&self, what: &Again) -> bool {
        self.dealer.expected.covers(&what.procedure) && what.tries.as_ref().is_none_or(|tries| tries.bound_to.is_none())
    }

    /// The log went on: calls that wait for a callee may find one.
    pub(in crate::router) fn look_again(&mut self, turn: &mut Turn<'_>) {
        if self.dealer.expected.first_end().is_some() {
            self.resume_waiting(turn);
        }
    }

    /// The time of the first expected procedure is over; its timer is out already.
    pub(in crate::router) fn on_expected_overdue(&mut self, turn: &mut Turn<'_>) {
        let now = turn.now;
        self.change_expected(|expected| expected.remove_until(now));
        self.resume_waiting(turn);
    }

    fn resume_waiting(&mut self, turn: &mut Turn<'_>) {
        let waiting: Vec<SessionId> = self.dealer.barriers.waiting.iter().copied().collect();
        for session in waiting {
            self.resume_parked(turn, session);
        }
    }

    fn change_expected(&mut self, change: impl FnOnce(&mut Expected)) {
        if let Some(at) = self.dealer.expected.first_end() {
            self.timers.unset(at, Timer::Expected);
        }
        change(&mut self.dealer.expected);
        if let Some(at) = self.dealer.expected.first_end() {
            self.timers.set(at, Timer::Expected);
        }
    }
}

fn is_invoked(held: &Held) -> bool {
    matches!(held, Held::Active { .. })
}
