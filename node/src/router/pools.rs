//! What several sessions may hold together: the subscriptions, registrations and open calls of a principal, a role, a source.
//!
//! A pool is shared by sessions, also of several realms, so it is made of atomic numbers; a session without pools has none of this, and pays
//! one branch where it takes or gives back a call.
//!
//! Invariants: of each pool that it draws on, a session has taken as many places as it holds things, or one more while a request of it is
//! looked at; what a session has taken comes back with its record, however that ends.

use std::sync::{
    Arc,
    atomic::{AtomicU32, AtomicU64, Ordering},
};

use super::session_table::Session;

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pooled {
    /// Subscriptions, from SUBSCRIBE on.
    Subscriptions,
    /// Registrations, from REGISTER on.
    Registrations,
    /// Calls that wait for their last answer.
    Calls,
}

const POOLED: [Pooled; 3] = [Pooled::Subscriptions, Pooled::Registrations, Pooled::Calls];

impl Pooled {
    /// As it stands in what people read.
    const fn name(self) -> &'static str {
        match self {
            Self::Subscriptions => "subscriptions",
            Self::Registrations => "registrations",
            Self::Calls => "open calls",
        }
    }
}

/// What pools of one kind have in common: whose they are, and how often they were found empty.
#[derive(Debug)]
pub struct Tally {
    scope: &'static str,
    reasons: [&'static str; POOLED.len()],
    refused: [AtomicU64; POOLED.len()],
}

impl Tally {
    /// Of pools of that scope (`principal`, …); `reasons`: what the record says where one is empty, in the order of [`Pooled`].
    pub fn new(scope: &'static str, reasons: [&'static str; POOLED.len()]) -> Self {
        Self {
            scope,
            reasons,
            refused: Default::default(),
        }
    }

    /// How often one of them was found empty.
    pub fn refused(&self, what: Pooled) -> u64 {
        self.refused[what as usize].load(Ordering::Relaxed)
    }
}

/// How much the sessions of one scope hold, and may hold.
#[derive(Debug)]
pub struct Pool {
    /// 0 for any number.
    most: [u32; POOLED.len()],
    taken: [AtomicU32; POOLED.len()],
    tally: Arc<Tally>,
}

impl Pool {
    /// One of which nothing is taken; `most` in the order of [`Pooled`], 0 for any number. `None` if there would be no limit in it.
    pub fn new(most: [u32; POOLED.len()], tally: &Arc<Tally>) -> Option<Arc<Self>> {
        most.iter().any(|most| *most != 0).then(|| {
            Arc::new(Self {
                most,
                taken: Default::default(),
                tally: Arc::clone(tally),
            })
        })
    }

    /// How much is taken.
    pub fn taken(&self, what: Pooled) -> u32 {
        self.taken[what as usize].load(Ordering::Acquire)
    }

    /// True if nothing is taken.
    pub fn is_unused(&self) -> bool {
        POOLED.iter().all(|what| self.taken(*what) == 0)
    }

    fn limits(&self, what: Pooled) -> bool {
        self.most[what as usize] != 0
    }

    fn has_room(&self, what: Pooled) -> bool {
        !self.limits(what) || self.taken(what) < self.most[what as usize]
    }

    fn try_take(&self, what: Pooled) -> bool {
        if !self.limits(what) {
            return true;
        }
        let most = self.most[what as usize];
        let one_more = |taken: u32| (taken < most).then(|| taken + 1);
        self.taken[what as usize]
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more)
            .is_ok()
    }

    fn take(&self, what: Pooled, count: u32) {
        if self.limits(what) && count > 0 {
            self.taken[what as usize].fetch_add(count, Ordering::AcqRel);
        }
    }

    fn give_back(&self, what: Pooled, count: u32) {
        if self.limits(what) && count > 0 {
            self.taken[what as usize].fetch_sub(count, Ordering::AcqRel);
        }
    }
}

/// The pools that a session draws on; by default none.
#[derive(Clone, Debug, Default)]
pub struct Pools(Option<Arc<[Arc<Pool>]>>);

impl FromIterator<Arc<Pool>> for Pools {
    fn from_iter<T: IntoIterator<Item = Arc<Pool>>>(pools: T) -> Self {
        let pools: Vec<_> = pools.into_iter().collect();
        Self((!pools.is_empty()).then(|| pools.into()))
    }
}

impl PartialEq for Pools {
    fn eq(&self, other: &Self) -> bool {
        let (mine, others) = (self.0.as_deref().unwrap_or_default(), other.0.as_deref().unwrap_or_default());
        mine.len() == others.len() && mine.iter().zip(others).all(|(one, other)| Arc::ptr_eq(one, other))
    }
}

impl Eq for Pools {}

/// What one session has taken.
#[derive(Debug)]
pub(super) struct Draw {
    pools: Arc<[Arc<Pool>]>,
    taken: [u32; POOLED.len()],
}

/// A pool is empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Empty {
    /// For the record.
    pub(super) reason: &'static str,
    scope: &'static str,
    what: Pooled,
    setting: &'static str,
}

impl Empty {
    /// For whoever asked.
    pub(super) fn text(&self) -> String {
        let Self {
            scope, what, setting, ..
        } = self;
        let what = what.name();
        format!("this {scope} holds as many {what} as it may, all its sessions together (setting {setting} of the {scope})")
    }
}

impl Draw {
    /// Of these pools nothing; `None` if there are none.
    pub(super) fn of(pools: &Pools) -> Option<Box<Self>> {
        let pools = Arc::clone(pools.0.as_ref()?);
        Some(Box::new(Self {
            pools,
            taken: Default::default(),
        }))
    }

    fn try_take(&mut self, what: Pooled) -> Result<(), Empty> {
        for (at, pool) in self.pools.iter().enumerate() {
            if pool.try_take(what) {
                continue;
            }
            self.pools[..at].iter().for_each(|taken| taken.give_back(what, 1));
            let tally = &pool.tally;
            tally.refused[what as usize].fetch_add(1, Ordering::Relaxed);
            return Err(Empty {
                reason: tally.reasons[what as usize],
                scope: tally.scope,
                what,
                setting: match what {
                    Pooled::Subscriptions => "subscriptions_max",
                    Pooled::Registrations => "registrations_max",
                    Pooled::Calls => "calls_max",
                },
            });
        }
        self.taken[what as usize] += 1;
        Ok(())
    }

    fn set(&mut self, what: Pooled, held: u32) {
        let taken = std::mem::replace(&mut self.taken[what as usize], held);
        for pool in self.pools.iter() {
            pool.take(what, held.saturating_sub(taken));
            pool.give_back(what, taken.saturating_sub(held));
        }
    }
}

impl Drop for Draw {
    fn drop(&mut self) {
        POOLED.into_iter().for_each(|what| self.set(what, 0));
    }
}

impl Session {
    /// Takes a place for one more thing that the session is about to hold; if it then does not, [`Self::recount`] gives it back.
    pub(super) fn reserve(&mut self, what: Pooled) -> Result<(), Empty> {
        if self.draw.is_none() {
            return Ok(());
        }
        let held = self.held(what);
        match &mut self.draw {
            Some(draw) if draw.taken[what as usize] <= held => draw.try_take(what),
            _ => Ok(()),
        }
    }

    /// True if the pools that it draws on have a place for one more.
    pub(super) fn has_room(&self, what: Pooled) -> bool {
        let pools = self.draw.as_ref().map(|draw| &draw.pools);
        pools.is_none_or(|pools| pools.iter().all(|pool| pool.has_room(what)))
    }

    /// What the session holds has changed.
    pub(super) fn recount(&mut self, what: Pooled) {
        if self.draw.is_some() {
            let held = self.held(what);
            if let Some(draw) = &mut self.draw
                && draw.taken[what as usize] != held
            {
                draw.set(what, held);
            }
        }
    }

    /// The pools that miscount what the session holds, for the check of invariants.
    pub(super) fn miscounts(&self) -> Option<Pooled> {
        let draw = self.draw.as_ref()?;
        POOLED.into_iter().find(|what| draw.taken[*what as usize] != self.held(*what))
    }

    fn held(&self, what: Pooled) -> u32 {
        let held = match what {
            Pooled::Subscriptions => self.subscriptions.len(),
            Pooled::Registrations => self.registering.len() + self.registrations.len(),
            Pooled::Calls => self.calls.len() + self.parked.len(),
        };
        u32::try_from(held).unwrap_or(u32::MAX)
    }
}
