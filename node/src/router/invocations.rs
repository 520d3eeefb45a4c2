//! The open invocations of one callee, and how many of each registration it takes at once.
//!
//! Invariants: an invocation of a registration with a bound is counted exactly while it is open; a callee without such a
//! registration pays one branch for them.

use std::{collections::BTreeMap, num::NonZeroU32};

use super::{session_table::Invocation, window::Window};
use crate::wamp::{RegistrationId, RequestId};

/// Invocations without a final answer, by request id.
#[derive(Debug, Default)]
pub(super) struct Invocations {
    open: Window<Invocation>,
    bounds: Option<Box<Bounds>>,
}

/// What REGISTER.Options.concurrency, of Crossbar, asks for.
#[derive(Debug, Default)]
struct Bounds {
    registrations: BTreeMap<RegistrationId, Bound>,
    /// The open invocations that count.
    counted: BTreeMap<RequestId, RegistrationId>,
}

#[derive(Debug)]
struct Bound {
    max: NonZeroU32,
    open: u32,
}

impl Invocations {
    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    pub(super) fn get(&self, request: &RequestId) -> Option<&Invocation> {
        self.open.get(request)
    }

    pub(super) fn get_mut(&mut self, request: &RequestId) -> Option<&mut Invocation> {
        self.open.get_mut(request)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (RequestId, &Invocation)> {
        self.open.iter()
    }

    pub(super) fn into_values(self) -> impl Iterator<Item = Invocation> {
        self.open.into_values()
    }

    /// Adds an invocation of `registration`.
    pub(super) fn insert(&mut self, request: RequestId, registration: RegistrationId, invocation: Invocation) {
        self.open.insert(request, invocation);
        if let Some(bounds) = &mut self.bounds
            && let Some(bound) = bounds.registrations.get_mut(&registration)
        {
            bound.open += 1;
            bounds.counted.insert(request, registration);
        }
    }

    /// Takes an invocation out: it was answered, or nobody waits for its answer any more.
    pub(super) fn remove(&mut self, request: &RequestId) -> Option<Invocation> {
        if let Some(bounds) = &mut self.bounds
            && let Some(registration) = bounds.counted.remove(request)
            && let Some(bound) = bounds.registrations.get_mut(&registration)
        {
            bound.open -= 1;
        }
        self.open.remove(request)
    }

    /// Bounds how many invocations of `registration` are open at once.
    pub(super) fn bound(&mut self, registration: RegistrationId, max: NonZeroU32) {
        let bounds = self.bounds.get_or_insert_default();
        bounds.registrations.entry(registration).or_insert(Bound { max, open: 0 }).max = max;
    }

    /// Forgets the bound of a registration that the callee does not hold any more.
    pub(super) fn unbound(&mut self, registration: RegistrationId) {
        let Some(bounds) = &mut self.bounds else { return };
        bounds.registrations.remove(&registration);
        bounds.counted.retain(|_, counted| *counted != registration);
        if bounds.registrations.is_empty() {
            self.bounds = None;
        }
    }

    /// How many invocations of `registration` are open.
    pub(super) fn open_of(&self, registration: RegistrationId) -> usize {
        self.open
            .iter()
            .filter(|(_, one)| one.of == registration.get() as u32)
            .count()
    }

    /// How many invocations of `registration` may be open at once; `None`: any number.
    pub(super) fn bound_of(&self, registration: RegistrationId) -> Option<NonZeroU32> {
        let bounds = self.bounds.as_ref()?;
        bounds.registrations.get(&registration).map(|bound| bound.max)
    }

    /// True if no further invocation of `registration` may be opened for now.
    pub(super) fn is_full(&self, registration: RegistrationId) -> bool {
        let bound = self
            .bounds
            .as_ref()
            .and_then(|bounds| bounds.registrations.get(&registration));
        bound.is_some_and(|bound| bound.open >= bound.max.get())
    }

    /// Walks the counts.
    ///
    /// # Errors
    /// Says which one is wrong.
    pub(super) fn check(&self) -> Result<(), String> {
        let Some(bounds) = &self.bounds else { return Ok(()) };
        for (registration, bound) in &bounds.registrations {
            let counted = bounds.counted.values().filter(|counted| *counted == registration).count();
            if counted != bound.open as usize {
                return Err(format!(
                    "{registration} has {counted} open invocations and counts {}",
                    bound.open
                ));
            }
        }
        match bounds.counted.keys().find(|request| !self.open.contains_key(request)) {
            Some(request) => Err(format!("invocation {request} is counted and not open")),
            None => Ok(()),
        }
    }
}
