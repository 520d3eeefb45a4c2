//! The realm's replicated state: registrations and the session index.
//!
//! Invariants: a pure function of the ops applied so far, in their order; a procedure has at most one registration per match
//! policy; a registration has at least one callee, and one only if it does not share; an id is never given twice; nothing belongs to a node life that was fenced.

mod snapshot;

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    ops::Bound,
};

use super::{
    Authority, InvokePolicy, LogIndex, MatchPolicy, NodeRef, OnConflict, Op, OpOutcome, RegisterWishes, Slot, Testament,
    op::Lost,
    pattern,
    reflection::{Definition, Definitions},
};
use crate::wamp::{RegistrationId, SessionId, Uri, id::IdMap};

/// A session that answers invocations of a registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Callee {
    /// The node life it is connected to.
    pub node: NodeRef,
    /// Itself.
    pub session: SessionId,
}

/// A procedure that can be called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// Its id, equal on every node.
    pub id: RegistrationId,
    /// What it is called by.
    pub procedure: Uri,
    /// How a CALL's procedure is compared with it.
    pub policy: MatchPolicy,
    /// Which callee a call goes to; that of the first REGISTER.
    pub invoke: InvokePolicy,
    /// The log index at which its newest callee registered.
    pub index: LogIndex,
    /// What its first callee asked for.
    pub wishes: RegisterWishes,
    /// Who answers, in order of registration.
    pub callees: Vec<Callee>,
    /// When it was asked for, milliseconds since 1970 (UTC); 0 if the log did not say.
    pub created_ms: u64,
}

/// What a REGISTER asks for.
struct Offer<'a> {
    procedure: &'a Uri,
    policy: MatchPolicy,
    invoke: InvokePolicy,
    wishes: RegisterWishes,
}

/// A row of the session index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionRow {
    /// The node life it is connected to.
    pub node: NodeRef,
    /// The authenticated name.
    pub authid: String,
    /// The role it acts in.
    pub authrole: String,
    /// How it was authenticated.
    pub authmethod: String,
    /// Who authenticated it.
    pub authprovider: String,
    /// Its end is told to nobody ([`Op::Hush`]).
    pub hushed: bool,
}

/// The testaments of a session.
#[derive(Clone, Debug, Default, PartialEq)]
struct Testaments {
    /// The number of the newest change.
    number: u64,
    /// In the order in which they were made.
    list: Vec<Testament>,
}

/// Registrations and sessions of one realm, on all nodes.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    // Ordered where the order shows: every call looks one up, whatever their number.
    registrations: IdMap<RegistrationId, Registration>,
    procedures: pattern::Index<RegistrationId>,
    /// What each callee holds, and the log index at which it registered that.
    by_callee: BTreeMap<Callee, BTreeMap<RegistrationId, LogIndex>>,
    sessions: BTreeMap<SessionId, SessionRow>,
    /// How many sessions each node life has; no life stands here without one.
    by_node: BTreeMap<NodeRef, usize>,
    /// The highest epoch of each slot that is over: an op of it that is still in the log changes nothing.
    fenced: BTreeMap<Slot, u32>,
    /// Of sessions that have a row.
    testaments: BTreeMap<SessionId, Testaments>,
    /// What is said of topics, procedures and errors.
    definitions: Definitions,
    /// Roles and principals.
    pub(super) authority: Authority,
    /// How many registration ids were given.
    ids_given: u64,
    /// When the ops now being applied were proposed. No state: the log says it anew before ops.
    time_ms: u64,
}

/// Registration ids are `shard 10 ‖ counter 43`; all shards map to 0 for now.
const COUNTER_MAX: u64 = (1 << 43) - 1;

impl Registry {
    /// Applies one op of the node life `by` at `index`.
    pub fn apply(&mut self, index: LogIndex, by: NodeRef, op: &Op) -> OpOutcome {
        if self.fenced.get(&by.slot).is_some_and(|epoch| by.epoch <= *epoch) {
            return OpOutcome::Fenced;
        }
        match op {
            Op::SessionJoined {
                session,
                authid,
                authrole,
                authmethod,
                authprovider,
            } => {
                let row = SessionRow {
                    node: by,
                    authid: authid.clone(),
                    authrole: authrole.clone(),
                    authmethod: authmethod.clone(),
                    authprovider: authprovider.clone(),
                    hushed: false,
                };
                self.insert_session(*session, row);
                OpOutcome::Done
            }
            Op::Hush { session } => match self.sessions.get_mut(session) {
                Some(row) if row.node == by => {
                    row.hushed = true;
                    self.testaments.remove(session);
                    OpOutcome::Done
                }
                _ => OpOutcome::NotFound,
            },
            Op::AddTestament { session, testament } => self.change_testaments(by, *session, testament.number, |list| {
                list.push((**testament).clone());
            }),
            Op::FlushTestaments { session, number, scope } => self.change_testaments(by, *session, *number, |list| {
                list.retain(|testament| testament.scope != *scope)
            }),
            Op::SessionGone { session } => self.remove_session(Callee {
                node: by,
                session: *session,
            }),
            Op::Register {
                session,
                request: _,
                procedure,
                policy,
                wishes,
                invoke,
                conflict,
            } => {
                let callee = Callee {
                    node: by,
                    session: *session,
                };
                let offer = Offer {
                    procedure,
                    policy: *policy,
                    invoke: *invoke,
                    wishes: *wishes,
                };
                self.register(index, callee, &offer, *conflict)
            }
            Op::Unregister {
                session, registration, ..
            }
            | Op::Dismiss {
                session, registration, ..
            } => {
                let removed = self.remove_callee(
                    Callee {
                        node: by,
                        session: *session,
                    },
                    *registration,
                );
                if removed { OpOutcome::Done } else { OpOutcome::NotFound }
            }
            Op::Revoke {
                registration, callee, ..
            } => match self.evict(*registration, *callee) {
                Some(lost) => OpOutcome::Revoked(lost),
                None => OpOutcome::NotFound,
            },
            Op::Define {
                number,
                definition,
                room,
            } => self.definitions.define(by, *number, definition, *room),
            Op::Undefine {
                number,
                kind,
                policy,
                uri,
            } => self.definitions.undefine(by, *number, *kind, *policy, uri),
        }
    }

    /// Removes everything of that node life; whatever it still has in the log changes nothing.
    pub fn fence(&mut self, node: NodeRef) {
        let epoch = self.fenced.entry(node.slot).or_insert(node.epoch);
        *epoch = node.epoch.max(*epoch);
        let over = NodeRef {
            slot: node.slot,
            epoch: *epoch,
        };
        let is_over = |n: NodeRef| n.slot == over.slot && n.epoch <= over.epoch;
        let gone: Vec<Callee> = self.by_callee.keys().filter(|c| is_over(c.node)).copied().collect();
        for callee in gone {
            self.remove_registrations(callee);
        }
        self.sessions.retain(|_, row| !is_over(row.node));
        self.by_node.retain(|node, _| !is_over(*node));
        self.testaments.retain(|session, _| self.sessions.contains_key(session));
        self.definitions.forget(is_over);
    }

    /// When the newest ops were proposed, milliseconds since 1970 (UTC).
    pub(super) fn time_ms(&self) -> u64 {
        self.time_ms
    }

    /// What follows was proposed at `unix_ms`.
    pub(super) fn set_time(&mut self, unix_ms: u64) {
        self.time_ms = unix_ms;
    }

    /// The registration an exact lookup of `procedure` finds.
    pub fn lookup(&self, procedure: &str) -> Option<&Registration> {
        self.registrations.get(self.procedures.exact(procedure)?)
    }

    /// The registration of this very pattern.
    pub fn lookup_pattern(&self, policy: MatchPolicy, pattern: &Uri) -> Option<&Registration> {
        self.registrations.get(&self.id_of(policy, pattern)?)
    }

    /// The registrations by prefix or wildcard that a CALL of `procedure` matches, the best first.
    ///
    /// Choice: none matches what is the protocol's own. Clients may not register it, and a pattern is no way around that.
    pub fn matching_patterns(&self, procedure: &Uri) -> impl Iterator<Item = &Registration> {
        let free = self.procedures.pattern_count() > 0 && !procedure.is_of_the_router();
        let ids = free.then(|| self.procedures.patterns(procedure)).into_iter().flatten();
        ids.filter_map(|id| self.registrations.get(id))
    }

    /// How many registrations are by wildcard.
    pub(super) fn wildcard_count(&self) -> usize {
        self.procedures.wildcard_count()
    }

    /// The registration that a CALL of `procedure` goes to.
    pub fn best_match(&self, procedure: &Uri) -> Option<&Registration> {
        self.lookup(procedure).or_else(|| self.matching_patterns(procedure).next())
    }

    /// The registration of that id.
    pub fn registration(&self, id: RegistrationId) -> Option<&Registration> {
        self.registrations.get(&id)
    }

    /// All registrations, by id.
    pub fn registrations(&self) -> impl ExactSizeIterator<Item = &Registration> {
        let mut all: Vec<&Registration> = self.registrations.values().collect();
        all.sort_unstable_by_key(|registration| registration.id);
        all.into_iter()
    }

    /// All registrations, in no order.
    pub(super) fn registrations_unordered(&self) -> impl Iterator<Item = &Registration> {
        self.registrations.values()
    }

    /// How many registrations there are.
    pub fn registration_count(&self) -> usize {
        self.registrations.len()
    }

    /// The registrations of one callee, by id.
    pub fn registrations_of(&self, callee: Callee) -> impl Iterator<Item = &Registration> {
        self.held_by(callee).map(|(registration, _)| registration)
    }

    /// The same, each with the log index at which the callee registered it.
    pub(super) fn held_by(&self, callee: Callee) -> impl Iterator<Item = (&Registration, LogIndex)> {
        let held = self.by_callee.get(&callee).into_iter().flatten();
        held.filter_map(|(id, since)| Some((self.registrations.get(id)?, *since)))
    }

    /// The log index at which the callee registered that, if it did.
    pub(super) fn held_since(&self, callee: Callee, id: RegistrationId) -> Option<LogIndex> {
        self.by_callee.get(&callee)?.get(&id).copied()
    }

    /// The row of a session of any node.
    pub fn session(&self, session: SessionId) -> Option<&SessionRow> {
        self.sessions.get(&session)
    }

    /// All sessions of the realm, by id.
    pub fn sessions(&self) -> impl ExactSizeIterator<Item = (SessionId, &SessionRow)> {
        self.sessions.iter().map(|(id, row)| (*id, row))
    }

    /// The sessions after one, by id; all without one.
    pub(super) fn session_range(&self, after: Option<SessionId>) -> impl Iterator<Item = (SessionId, &SessionRow)> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.sessions.range((from, Bound::Unbounded)).map(|(id, row)| (*id, row))
    }

    /// The node lives that have a session, by slot.
    pub fn nodes(&self) -> impl Iterator<Item = NodeRef> {
        self.by_node.keys().copied()
    }

    /// The testaments of a session, in the order in which they were made.
    pub fn testaments(&self, session: SessionId) -> &[Testament] {
        self.testaments.get(&session).map(|of| of.list.as_slice()).unwrap_or_default()
    }

    /// Adds definitions to those that stand, or puts them in their place.
    pub(super) fn edit_definitions(&mut self, clear: bool, more: &[Definition]) {
        if clear {
            self.definitions.clear();
        }
        more.iter().for_each(|definition| self.definitions.put(definition));
    }

    /// What is said of topics, procedures and errors.
    pub fn definitions(&self) -> &Definitions {
        &self.definitions
    }

    /// The number of the newest change of a session's testaments; 0 if there was none.
    pub(super) fn testaments_number(&self, session: SessionId) -> u64 {
        self.testaments.get(&session).map_or(0, |of| of.number)
    }

    /// True if any session has had testaments.
    pub(super) fn has_testaments(&self) -> bool {
        !self.testaments.is_empty()
    }

    fn change_testaments(
        &mut self,
        by: NodeRef,
        session: SessionId,
        number: u64,
        change: impl FnOnce(&mut Vec<Testament>),
    ) -> OpOutcome {
        if self.sessions.get(&session).is_none_or(|row| row.node != by) {
            return OpOutcome::NotFound;
        }
        let testaments = self.testaments.entry(session).or_default();
        testaments.number = number;
        change(&mut testaments.list);
        OpOutcome::Done
    }

    fn insert_session(&mut self, id: SessionId, row: SessionRow) {
        *self.by_node.entry(row.node).or_default() += 1;
        if let Some(before) = self.sessions.insert(id, row) {
            self.uncount(before.node);
        }
    }

    fn uncount(&mut self, node: NodeRef) {
        if let Some(count) = self.by_node.get_mut(&node) {
            *count -= 1;
            if *count == 0 {
                self.by_node.remove(&node);
            }
        }
    }

    fn register(&mut self, index: LogIndex, callee: Callee, offer: &Offer<'_>, conflict: OnConflict) -> OpOutcome {
        let invoke = offer.invoke;
        let standing = self
            .id_of(offer.policy, offer.procedure)
            .and_then(|id| self.registrations.get_mut(&id));
        let Some(standing) = standing else {
            return match self.add(index, callee, offer) {
                Some(registration) => OpOutcome::Registered(registration),
                None => OpOutcome::AlreadyExists(invoke),
            };
        };
        let (id, by) = (standing.id, standing.invoke);
        let shares = by != InvokePolicy::Single && by == invoke;
        if shares && conflict != OnConflict::Replace {
            // Choice: a session that registers once more is told what it has.
            if let Entry::Vacant(place) = self.by_callee.entry(callee).or_default().entry(id) {
                place.insert(index);
                standing.callees.push(callee);
                standing.index = index;
            }
            return OpOutcome::Registered(id);
        }
        let replaces = match conflict {
            OnConflict::Refuse => false,
            OnConflict::SamePrincipalReplaces => by == invoke && self.is_of_same_principal(id, callee),
            OnConflict::Replace => true,
        };
        if !replaces || self.ids_given >= COUNTER_MAX {
            return OpOutcome::AlreadyExists(by);
        }
        let lost = self.evict(id, None);
        match (self.add(index, callee, offer), lost) {
            (Some(registration), Some(lost)) => OpOutcome::Replaced { registration, lost },
            _ => OpOutcome::AlreadyExists(by),
        }
    }

    /// Adds a registration. 2^43 of them are out of reach: at a million a second they last for 278 days of nothing else, and then
    /// REGISTER is refused.
    fn add(&mut self, index: LogIndex, callee: Callee, offer: &Offer<'_>) -> Option<RegistrationId> {
        let id = self.next_id()?;
        self.insert(Registration {
            id,
            procedure: offer.procedure.clone(),
            policy: offer.policy,
            invoke: offer.invoke,
            index,
            wishes: offer.wishes,
            callees: vec![callee],
            created_ms: self.time_ms,
        });
        Some(id)
    }

    /// True if every callee of a registration is another session of the same authid and authrole.
    fn is_of_same_principal(&self, id: RegistrationId, callee: Callee) -> bool {
        let (Some(row), Some(registration)) = (self.sessions.get(&callee.session), self.registrations.get(&id)) else {
            return false;
        };
        registration.callees.iter().all(|held| {
            let same = |other: &SessionRow| (&other.authid, &other.authrole) == (&row.authid, &row.authrole);
            held.session != callee.session && self.sessions.get(&held.session).is_some_and(same)
        })
    }

    /// Takes one callee, or all of them, off a registration. `None` if it has no such callee.
    fn evict(&mut self, id: RegistrationId, session: Option<SessionId>) -> Option<Lost> {
        let all = self.registrations.get(&id)?.callees.iter();
        let callees: Vec<Callee> = all.filter(|c| session.is_none_or(|s| c.session == s)).copied().collect();
        for callee in &callees {
            self.remove_callee(*callee, id);
        }
        (!callees.is_empty()).then_some(Lost {
            registration: id,
            callees,
        })
    }

    fn next_id(&mut self) -> Option<RegistrationId> {
        if self.ids_given >= COUNTER_MAX {
            return None;
        }
        self.ids_given += 1;
        RegistrationId::new(self.ids_given)
    }

    fn id_of(&self, policy: MatchPolicy, procedure: &Uri) -> Option<RegistrationId> {
        self.procedures.get(policy, procedure).copied()
    }

    fn insert(&mut self, registration: Registration) {
        let id = registration.id;
        self.procedures.insert(registration.policy, &registration.procedure, id);
        for callee in &registration.callees {
            self.by_callee.entry(*callee).or_default().insert(id, registration.index);
        }
        self.registrations.insert(id, registration);
    }

    fn remove_session(&mut self, session: Callee) -> OpOutcome {
        self.remove_registrations(session);
        match self.sessions.get(&session.session) {
            Some(row) if row.node == session.node => {
                self.sessions.remove(&session.session);
                self.uncount(session.node);
                self.testaments.remove(&session.session);
                OpOutcome::Done
            }
            _ => OpOutcome::NotFound,
        }
    }

    fn remove_registrations(&mut self, callee: Callee) {
        let ids: Vec<RegistrationId> = self.by_callee.get(&callee).into_iter().flatten().map(|(id, _)| *id).collect();
        for id in ids {
            self.remove_callee(callee, id);
        }
    }

    /// Takes `callee` off a registration, which goes with its last callee. False if it was not on it.
    fn remove_callee(&mut self, callee: Callee, id: RegistrationId) -> bool {
        let Some(held) = self.by_callee.get_mut(&callee) else {
            return false;
        };
        if held.remove(&id).is_none() {
            return false;
        }
        if held.is_empty() {
            self.by_callee.remove(&callee);
        }
        let Some(registration) = self.registrations.get_mut(&id) else {
            return false;
        };
        registration.callees.retain(|c| *c != callee);
        if !registration.callees.is_empty() {
            return true;
        }
        if let Some(gone) = self.registrations.remove(&id) {
            self.procedures.remove(gone.policy, &gone.procedure);
        }
        true
    }

    /// Walks all indices.
    ///
    /// # Errors
    /// Says which one disagrees.
    pub(super) fn check(&self) -> Result<(), String> {
        let mut held = 0;
        for (id, r) in &self.registrations {
            if *id != r.id || r.callees.is_empty() || self.id_of(r.policy, &r.procedure) != Some(*id) {
                return Err(format!("registration {id} is not indexed by its procedure or has no callee"));
            }
            if r.invoke == InvokePolicy::Single && r.callees.len() > 1 {
                return Err(format!("registration {id} does not share and has several callees"));
            }
            if r.callees.iter().collect::<BTreeSet<_>>().len() < r.callees.len() {
                return Err(format!("registration {id} has a callee twice"));
            }
            if id.get() > self.ids_given {
                return Err(format!("registration {id} was never given"));
            }
            for callee in &r.callees {
                held += 1;
                if !self.by_callee.get(callee).is_some_and(|held| held.contains_key(id)) {
                    return Err(format!("registration {id} is not indexed by its callee {callee:?}"));
                }
                if self.fenced.get(&callee.node.slot).is_some_and(|e| callee.node.epoch <= *e) {
                    return Err(format!("registration {id} belongs to a fenced node life"));
                }
            }
        }
        if held != self.by_callee.values().map(BTreeMap::len).sum::<usize>() || self.by_callee.values().any(BTreeMap::is_empty) {
            return Err("the callee index has entries without a registration".into());
        }
        if self.testaments.keys().any(|session| !self.sessions.contains_key(session)) {
            return Err("a session that is gone has testaments".into());
        }
        let mut by_node = BTreeMap::new();
        for row in self.sessions.values() {
            *by_node.entry(row.node).or_insert(0_usize) += 1;
        }
        if by_node != self.by_node {
            return Err("the sessions of a node are miscounted".into());
        }
        if self.registrations.len() != self.procedures.len() {
            return Err("the procedure index has entries without a registration".into());
        }
        self.definitions.check()
    }
}

#[cfg(test)]
mod tests;
