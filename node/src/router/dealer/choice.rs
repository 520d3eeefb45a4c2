//! Which callee a call goes to, and which one next if that one does not take it.
//!
//! Invariants: a callee of a registration is asked at most once for a call, apart from the one retry of a stale route behind a read barrier; a call
//! that a callee has seen, or that it was too busy for, stays with that registration; the choice depends on the registry, the
//! call's number and this node's own count alone.
//!
//! Spec: WAMP advanced profile, "Pattern-based Registrations", "Shared Registration", "Sharded Registration", "Call Re-Routing".

use std::hash::Hasher;

use siphasher::sip::SipHasher24;

use crate::{
    router::{
        InvokePolicy, LogIndex, Realm, RegisterWishes,
        compat::MAX_CONCURRENCY,
        frame::Refusal,
        ids::mix,
        registry::{Callee, Registration},
        session_table::{Again, ParkedCall, Readiness, Tries},
        turn::{Turn, because, reason},
    },
    wamp::{Dict, RegistrationId, RequestId, SessionId, Uri, error_uri, id::IdMap},
};

/// What a lookup found.
#[derive(Clone, Copy)]
pub(in crate::router) struct Found {
    pub(super) registration: RegistrationId,
    pub(super) callee: Callee,
    pub(super) index: LogIndex,
    /// The INVOCATION says which procedure was called: the registration does not tell.
    pub(super) by_pattern: bool,
    /// Another callee could take the call.
    pub(super) has_others: bool,
    /// It is the best there is, and it takes no further invocation for now.
    pub(super) busy: bool,
    /// Others may have joined that this node does not know of yet.
    pub(super) shares: bool,
    /// What its callees asked for.
    pub(super) wishes: RegisterWishes,
    /// Where the round goes on, if this call moves it.
    pub(super) next: Option<usize>,
}

/// Where the rounds of this node stand: which callee of a registration is next.
#[derive(Debug, Default)]
pub(in crate::router) struct Rounds(IdMap<RegistrationId, usize>);

impl Rounds {
    /// Remembers who is next. Rounds of registrations that are gone are forgotten once they are the greater part.
    fn set(&mut self, registration: RegistrationId, next: usize, stands: impl Fn(RegistrationId) -> bool, standing: usize) {
        if self.0.len() > 2 * standing + 16 {
            self.0.retain(|registration, _| stands(*registration));
        }
        self.0.insert(registration, next);
    }
}

impl Realm {
    /// The registration and the callee that a CALL of `procedure` goes to.
    ///
    /// A callee of this node counts only while its session may be invoked: UNREGISTER and the end of a session take effect here
    /// before the log says so. So a registration that is left with no other gives way to the next one that matches.
    pub(super) fn find(&self, procedure: &Uri, tries: Option<&Tries>) -> Option<Found> {
        if let Some(bound) = tries.and_then(|tries| tries.bound_to) {
            return self.choose(self.registry.registration(bound)?, tries);
        }
        if let Some(exact) = self.registry.lookup(procedure)
            && let Some(found) = self.choose(exact, tries)
        {
            return Some(found);
        }
        self.registry
            .matching_patterns(procedure)
            .find_map(|registration| self.choose(registration, tries))
    }

    /// The same for a call that went nowhere yet, looked up by the one hash of an exact procedure.
    pub(super) fn find_exact(&self, procedure: &str) -> Option<Found> {
        self.choose(self.registry.lookup(procedure)?, None)
    }

    fn choose(&self, registration: &Registration, tries: Option<&Tries>) -> Option<Found> {
        let (at, busy) = match registration.callees.as_slice() {
            [only] if tries.is_none() => match self.readiness(*only, registration.id) {
                Readiness::Gone => return None,
                readiness => (0, readiness == Readiness::Busy),
            },
            _ => self.choose_among(registration, tries)?,
        };
        let count = registration.callees.len();
        Some(Found {
            registration: registration.id,
            callee: *registration.callees.get(at)?,
            index: registration.index,
            by_pattern: registration.policy != crate::router::MatchPolicy::Exact,
            has_others: count > 1,
            busy,
            wishes: registration.wishes,
            shares: registration.invoke != InvokePolicy::Single,
            next: (registration.invoke == InvokePolicy::RoundRobin && count > 1).then_some(at + 1),
        })
    }

    /// The place of the callee that is next by the registration's policy, and whether it is too busy, among those that were not
    /// asked yet: first those that this node can reach and that have room, those of this node before if the realm says so.
    fn choose_among(&self, registration: &Registration, tries: Option<&Tries>) -> Option<(usize, bool)> {
        let asked = tries.map_or(&[][..], |tries| &tries.asked);
        let is_left = |callee: &Callee| !asked.contains(&(registration.id, *callee));
        if let Some((tries, shard)) = tries.and_then(|tries| Some((tries, tries.shard?))) {
            // The shard is that callee and no other: were it asked in vain, another one would answer for what it does not have. Only
            // when its node says, also behind a read barrier, that it is gone has the shard another callee, before the log says so.
            let is_gone = tries.retried && tries.worst == Some(Refusal::Stale);
            return (asked.is_empty() || is_gone)
                .then(|| self.choose_shard(registration, shard, is_left))
                .flatten();
        }
        let is_ready = |callee: &Callee| {
            is_left(callee) && self.can_reach(*callee) && self.readiness(*callee, registration.id) == Readiness::Ready
        };
        let near = (self.config.prefer_local_callees)
            .then(|| self.choose_by_policy(registration, |callee| callee.node == self.me && is_ready(callee)))
            .flatten();
        let ready = near.or_else(|| self.choose_by_policy(registration, is_ready));
        if let Some(at) = ready {
            return Some((at, false));
        }
        // Nobody: the first one that is there at all says why.
        let there = |callee: &Callee| is_left(callee) && self.readiness(*callee, registration.id) != Readiness::Gone;
        let at = registration.callees.iter().position(there)?;
        let busy = self.readiness(*registration.callees.get(at)?, registration.id) == Readiness::Busy;
        Some((at, busy))
    }

    fn choose_by_policy(&self, registration: &Registration, fits: impl Fn(&Callee) -> bool) -> Option<usize> {
        let callees = registration.callees.as_slice();
        match registration.invoke {
            InvokePolicy::Single | InvokePolicy::First => callees.iter().position(fits),
            InvokePolicy::Last => callees.iter().rposition(fits),
            InvokePolicy::RoundRobin => {
                let next = self.dealer.rounds.0.get(&registration.id).copied().unwrap_or(0);
                let (before, from) = callees.split_at_checked(next).unwrap_or((callees, &[]));
                let later = from.iter().position(&fits).map(|at| before.len() + at);
                later.or_else(|| before.iter().position(fits))
            }
            InvokePolicy::Random => {
                let draw = |attempt: u64| mix(self.config.seed ^ mix(self.dealer.last_order ^ attempt << 48));
                let count = callees.len() as u64;
                let at = (0..RANDOM_DRAWS).map(|attempt| (draw(attempt) % count.max(1)) as usize);
                let drawn = at.into_iter().find(|at| callees.get(*at).is_some_and(&fits));
                drawn.or_else(|| {
                    let left: Vec<usize> = (0..callees.len()).filter(|at| callees.get(*at).is_some_and(&fits)).collect();
                    let at = draw(RANDOM_DRAWS) % (left.len() as u64).max(1);
                    left.get(at as usize).copied()
                })
            }
        }
    }

    /// The callee that a key belongs to: the one that weighs most with it. When a callee comes or goes, only the keys that it
    /// gains or had change hands, and every node finds the same one.
    fn choose_shard(&self, registration: &Registration, shard: u64, is_left: impl Fn(&Callee) -> bool) -> Option<(usize, bool)> {
        let there = registration.callees.iter().enumerate().filter(|(_, callee)| is_left(callee));
        let there = there.filter(|(_, callee)| self.readiness(**callee, registration.id) != Readiness::Gone);
        let (at, callee) = there.max_by_key(|(_, callee)| (mix(shard ^ mix(callee.session.get())), **callee))?;
        Some((at, self.readiness(*callee, registration.id) == Readiness::Busy))
    }

    fn readiness(&self, callee: Callee, registration: RegistrationId) -> Readiness {
        if callee.node == self.me {
            self.sessions.readiness(callee.session, registration)
        } else {
            Readiness::Ready
        }
    }

    fn can_reach(&self, callee: Callee) -> bool {
        callee.node == self.me || self.peers.contains(&callee.node)
    }

    /// Moves the round of a registration on: a call goes to its callee.
    pub(super) fn move_round(&mut self, found: &Found) {
        if let Some(next) = found.next {
            let registry = &self.registry;
            let stands = |id| registry.registration(id).is_some();
            self.dealer
                .rounds
                .set(found.registration, next, stands, registry.registration_count());
        }
    }

    /// What decides the callee of a call in partition mode, from CALL.Options. `Err` is the refusal.
    ///
    /// Choice: the text is a sketch. `rkey` alone is enough; `runmode` may be left out or must be "partition".
    pub(super) fn shard_of(&self, options: &Dict) -> Result<Option<u64>, Dict> {
        let key = options.text("rkey");
        match (options.text("runmode"), key) {
            (None | Some("partition"), Some(key)) => {
                let mut hasher = SipHasher24::new_with_key(&self.config.id_key);
                hasher.write(key.as_bytes());
                Ok(Some(hasher.finish()))
            }
            (None, None) => Ok(None),
            (Some("partition"), None) => Err(because("runmode \"partition\" needs an rkey")),
            (Some(_), _) => Err(because("option runmode has an unknown value")),
        }
    }

    /// The callee did not take the call, or its node did not let it come there: another one is asked, or the caller hears why there
    /// is none.
    ///
    /// Later CALLs of that caller that are already under way are not called back, so the order towards a callee is kept from the
    /// retry on: what the caller calls from now on waits behind it, or is sent behind it.
    pub(super) fn ask_another(
        &mut self,
        turn: &mut Turn<'_>,
        session: SessionId,
        request: RequestId,
        mut what: Again,
        asked: Callee,
        why: Refusal,
    ) {
        let tries = what.tries.get_or_insert_default();
        tries
            .asked
            .extend(what.registration.map(|registration| (registration, asked)));
        tries.worst = tries.worst.max(Some(why));
        if matches!(why, Refusal::Busy | Refusal::Unavailable) {
            tries.bound_to = what.registration;
        }
        let (worst, retried) = (tries.worst.unwrap_or(why), tries.retried);
        if let Some(found) = self.find(&what.procedure, what.tries.as_deref()) {
            self.stats.calls_rerouted += 1;
            return self.route(turn, session, request, what, found);
        }
        let may_have_missed_one = match worst {
            Refusal::Stale | Refusal::NoLease => true,
            Refusal::Busy | Refusal::Unavailable => what
                .registration
                .and_then(|id| self.registry.registration(id))
                .is_some_and(|registration| registration.invoke != InvokePolicy::Single),
        };
        if may_have_missed_one && !retried {
            return self.park_for_retry(turn, session, request, what, worst);
        }
        let (error, details) = nobody_left(worst);
        self.refuse_call(turn, session, request, what.flow, error, details);
    }

    /// Looks up once more, behind a fresh read barrier: a callee that was told REGISTERED counts, whether this node knows of it yet
    /// or not.
    pub(super) fn park_for_retry(
        &mut self,
        turn: &mut Turn<'_>,
        session: SessionId,
        request: RequestId,
        mut what: Again,
        why: Refusal,
    ) {
        let limits = &self.config.limits;
        let Some(caller) = self.sessions.get_mut(session) else {
            return;
        };
        let full = caller.parked.len() >= limits.parked_calls_max
            || caller.parked_bytes.saturating_add(what.payload.bytes().len()) > limits.parked_bytes_max;
        if full && matches!(why, Refusal::Busy | Refusal::Unavailable) {
            let (error, details) = nobody_left(why);
            return self.refuse_call(turn, session, request, what.flow, error, details);
        }
        let wait = Some(self.dealer.barriers.join());
        let tries = what.tries.get_or_insert_default();
        // Who declined is not asked again; a route that was stale may be a good one by then.
        if tries.bound_to.is_none() {
            tries.asked.clear();
        }
        tries.worst = tries.worst.max(Some(why));
        tries.retried = true;
        caller.park(ParkedCall {
            request,
            what,
            wait,
            retried: true,
            held: false,
            parts: Vec::new(),
        });
        self.dealer.barriers.waiting.insert(session);
        self.stats.calls_retried += 1;
    }
}

/// What a caller hears when nobody is left to ask.
pub(super) fn nobody_left(why: Refusal) -> (&'static str, Dict) {
    match why {
        // Refused twice, with a read barrier in between: the callee has left and its node knows, though the log does not say so yet.
        // The caller hears what it would hear on that node, and a moment later everywhere.
        Refusal::Stale => (error_uri::NO_SUCH_PROCEDURE, reason("stale_route")),
        Refusal::NoLease => (error_uri::NO_AVAILABLE_CALLEE, reason("callee_node_without_lease")),
        Refusal::Busy => (error_uri::NO_AVAILABLE_CALLEE, reason(MAX_CONCURRENCY)),
        Refusal::Unavailable => (error_uri::NO_AVAILABLE_CALLEE, reason("callees_unavailable")),
    }
}

/// So many callees are drawn before those that fit are counted.
const RANDOM_DRAWS: u64 = 4;
