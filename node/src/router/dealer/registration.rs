//! REGISTER and UNREGISTER, and what the log makes of them.
//!
//! Invariants: REGISTERED follows the commit and the apply on this node, never an earlier guess; a registration is invoked only
//! while its session holds it as active here; one whose REGISTER was given up is taken back and never invoked.
//!
//! Spec: WAMP basic profile, "Registering and Unregistering"; advanced profile, "Pattern-based Registrations", "Shared Registration".

use std::{collections::BTreeMap, num::NonZeroU32, time::Instant};

use super::revocation::{LOST, REPLACED};
use crate::{
    router::{
        Disclosure, Effect, InvokePolicy, LogIndex, MatchPolicy, NodeRef, OnConflict, Op, OpOutcome, Realm, RegisterWishes,
        Right,
        abilities::Ability,
        compat::POLICY_CONFLICT,
        pattern,
        pools::Pooled,
        registry::Callee,
        session_table::{Held, Registering},
        timers::Timer,
        turn::{Turn, because},
    },
    wamp::{Dict, Message, RegistrationId, RequestId, SessionId, Uri, error_uri, message::code},
};

impl Realm {
    pub(in crate::router) fn on_register(
        &mut self,
        turn: &mut Turn<'_>,
        session: SessionId,
        request: RequestId,
        options: &Dict,
        procedure: Uri,
    ) {
        let wish = match self.read_wish(options) {
            Ok(wish) => wish,
            Err((error, details)) => return self.refuse(turn, session, code::REGISTER, request, error, details),
        };
        let Wish {
            policy,
            invoke,
            conflict,
            concurrency,
        } = wish;
        if !pattern::is_valid(policy, &procedure, self.config.uri_check) || procedure.is_of_the_router() {
            return self.refuse(turn, session, code::REGISTER, request, error_uri::INVALID_URI, Dict::new());
        }
        if !self.may_by(session, Right::Register, policy, &procedure) {
            let right = if policy == MatchPolicy::Exact {
                Right::Register
            } else {
                Right::RegisterPattern
            };
            return self.refuse_unauthorized(turn, session, (code::REGISTER, request), right, &procedure);
        }
        let takes = options.bool("force_reregister") == Some(true);
        if takes && !self.may_take(session, policy, &procedure) {
            return self.refuse_unauthorized(turn, session, (code::REGISTER, request), Right::ForceReregister, &procedure);
        }
        let disclose_caller = options.bool("disclose_caller") == Some(true);
        if disclose_caller && self.config.disclosure == Disclosure::Deny {
            self.note_ruled_out(turn, session, "disclose", &procedure);
            let details = because("this realm discloses no caller (setting disclose = \"deny\")");
            return self.refuse(turn, session, code::REGISTER, request, error_uri::OPTION_NOT_ALLOWED, details);
        }
        let Some(callee) = self.sessions.get_mut(session) else {
            return;
        };
        let wishes = RegisterWishes {
            disclose_caller,
            forward_timeout: options.bool("forward_timeout") == Some(true) && callee.can(Ability::KeepTime),
        };
        if callee.registering.len() + callee.registrations.len() >= self.config.limits.registrations_max {
            self.note_limit(turn, session, "registrations_per_session_max", &procedure);
            let details = because("too many registrations in this session (setting registrations_per_session_max)");
            return self.refuse(turn, session, code::REGISTER, request, error_uri::UNAVAILABLE, details);
        }
        if let Err(empty) = callee.reserve(Pooled::Registrations) {
            self.note_limit(turn, session, empty.reason, &procedure);
            let details = because(&empty.text());
            return self.refuse(turn, session, code::REGISTER, request, error_uri::UNAVAILABLE, details);
        }
        let deadline = turn.now + self.config.limits.register_wait;
        callee.registering.insert(
            request,
            Registering {
                procedure: procedure.clone(),
                policy,
                invoke,
                concurrency,
                deadline,
            },
        );
        self.timers.set(deadline, Timer::Register(session, request));
        turn.propose(Op::Register {
            session,
            request,
            procedure,
            policy,
            wishes,
            invoke,
            conflict,
        });
    }

    /// True if the session may take a procedure from whoever holds it.
    fn may_take(&self, session: SessionId, policy: MatchPolicy, procedure: &Uri) -> bool {
        let callee = self.sessions.get(session);
        callee.is_some_and(|callee| {
            callee
                .may
                .judge_all(&callee.info, &[Right::ForceReregister], policy, procedure)
        })
    }

    /// What REGISTER.Options ask for.
    fn read_wish(&self, options: &Dict) -> Result<Wish, (&'static str, Dict)> {
        let mut wish = Wish::default();
        if options.is_empty() {
            wish.conflict = self.config.on_conflict;
            return Ok(wish);
        }
        let unknown = |option: &str| {
            let details = because(&format!("option {option} has an unknown value"));
            (error_uri::INVALID_ARGUMENT, details)
        };
        if let Some(value) = options.get("match") {
            let named = value.as_text().and_then(MatchPolicy::from_name);
            wish.policy = named.ok_or_else(|| unknown("match"))?;
        }
        if let Some(value) = options.get("invoke") {
            let named = value.as_text().and_then(InvokePolicy::from_name);
            wish.invoke = named.ok_or_else(|| unknown("invoke"))?;
        }
        if let Some(value) = options.get("concurrency") {
            let count = value.as_integer().and_then(|count| u32::try_from(count).ok());
            // Choice: 0 asks for no bound, as leaving it out does.
            wish.concurrency = NonZeroU32::new(count.ok_or_else(|| unknown("concurrency"))?);
        }
        wish.conflict = match options.bool("force_reregister") {
            Some(true) if !self.config.allow_force_reregister => {
                let details = because("force_reregister is not allowed in this realm (setting allow_force_reregister)");
                return Err((error_uri::OPTION_NOT_ALLOWED, details));
            }
            Some(true) => OnConflict::Replace,
            _ => self.config.on_conflict,
        };
        Ok(wish)
    }

    pub(in crate::router) fn on_unregister(
        &mut self,
        turn: &mut Turn<'_>,
        session: SessionId,
        request: RequestId,
        registration: RegistrationId,
    ) {
        let deadline = turn.now + self.config.limits.unregister_wait;
        let held = self
            .sessions
            .get_mut(session)
            .and_then(|s| s.registrations.get_mut(&registration));
        let Some(held @ &mut Held::Active { since }) = held else {
            return self.refuse(
                turn,
                session,
                code::UNREGISTER,
                request,
                error_uri::NO_SUCH_REGISTRATION,
                Dict::new(),
            );
        };
        *held = Held::Leaving {
            since,
            waiting: Some((request, deadline)),
        };
        self.timers.set(deadline, Timer::Unregister(session, registration));
        turn.propose(Op::Unregister {
            session,
            request: Some(request),
            registration,
        });
    }

    /// The log reached an op. Every node changes its registry; the node that proposed it answers its session.
    pub(super) fn apply_op(&mut self, turn: &mut Turn<'_>, index: LogIndex, by: NodeRef, op: Op) {
        // Other ops may stand at the same index, so only what lies before it is certainly complete.
        self.applied = self.applied.max(index.saturating_sub(1));
        let mut outcome = self.registry.apply(index, by, &op);
        if let Op::Define { number, .. } | Op::Undefine { number, .. } = &op {
            self.on_definition_applied(by, *number, &op, &outcome);
            return;
        }
        // Who has lost a registration is told by his own node, whoever took it.
        match (&outcome, &op) {
            (OpOutcome::Revoked(lost), Op::Revoke { reason, .. }) => self.on_lost(turn.effects, lost, reason),
            (OpOutcome::Replaced { registration, lost }, _) => {
                let registration = *registration;
                self.on_lost(turn.effects, lost, REPLACED);
                outcome = OpOutcome::Registered(registration);
            }
            _ => {}
        }
        if by != self.me {
            return;
        }
        match op {
            Op::Register {
                session,
                request,
                procedure,
                policy,
                invoke,
                ..
            } => {
                self.on_register_applied(turn, session, request, (policy, invoke, &procedure), index, outcome);
            }
            Op::Unregister {
                session, registration, ..
            }
            | Op::Dismiss {
                session, registration, ..
            } => self.on_unregister_applied(turn, session, registration),
            Op::SessionJoined { .. }
            | Op::SessionGone { .. }
            | Op::Revoke { .. }
            | Op::AddTestament { .. }
            | Op::FlushTestaments { .. }
            | Op::Define { .. }
            | Op::Undefine { .. }
            | Op::Hush { .. } => {}
        }
    }

    fn on_register_applied(
        &mut self,
        turn: &mut Turn<'_>,
        session: SessionId,
        request: RequestId,
        (policy, invoke, procedure): (MatchPolicy, InvokePolicy, &Uri),
        index: LogIndex,
        outcome: OpOutcome,
    ) {
        let is_it = |r: &Registering| (r.policy, r.invoke) == (policy, invoke) && r.procedure == *procedure;
        let node = self.me;
        let since = |registration| {
            self.registry
                .held_since(Callee { node, session }, registration)
                .unwrap_or(index)
        };
        // A session that left has its SessionGone op behind this one, which takes the registration away everywhere.
        let Some(callee) = self.sessions.get_mut(session) else {
            return;
        };
        let waiting = callee
            .registering
            .get(&request)
            .filter(|r| is_it(r))
            .map(|r| (r.deadline, r.concurrency));
        if let Some((deadline, _)) = waiting {
            callee.end_registering(request);
            self.timers.unset(deadline, Timer::Register(session, request));
        }
        match (waiting, outcome) {
            (Some((_, concurrency)), OpOutcome::Registered(registration)) => {
                let since = since(registration);
                self.welcome(turn.effects, session, request, (registration, since), concurrency);
            }
            (Some(_), OpOutcome::Fenced) => {
                let details = because("this node is no longer a member");
                self.refuse(turn, session, code::REGISTER, request, error_uri::UNAVAILABLE, details);
            }
            (Some(_), outcome) => {
                let details = match outcome {
                    OpOutcome::AlreadyExists(invoke) => {
                        because(&format!("registered already, with invoke = \"{}\"", invoke.name()))
                    }
                    _ => Dict::new(),
                };
                let error = match outcome {
                    OpOutcome::AlreadyExists(there) if there != InvokePolicy::Single && there != invoke => POLICY_CONFLICT,
                    _ => error_uri::PROCEDURE_ALREADY_EXISTS,
                };
                self.refuse(turn, session, code::REGISTER, request, error, details);
            }
            // It had this registration before, by an earlier REGISTER, and goes on having it.
            (None, OpOutcome::Registered(registration)) if callee.registrations.contains_key(&registration) => {
                self.stats.registers_late += 1;
            }
            (None, OpOutcome::Registered(registration)) => {
                self.stats.registers_late += 1;
                // The client has asked again meanwhile: this is what it wants. Its second op finds the procedure taken, by itself.
                let again = callee.registering.iter().find(|(_, r)| is_it(r));
                if let Some((again, deadline, concurrency)) = again.map(|(request, r)| (*request, r.deadline, r.concurrency)) {
                    callee.end_registering(again);
                    self.timers.unset(deadline, Timer::Register(session, again));
                    let since = since(registration);
                    return self.welcome(turn.effects, session, again, (registration, since), concurrency);
                }
                let since = since(registration);
                callee
                    .registrations
                    .insert(registration, Held::Leaving { since, waiting: None });
                callee.recount(Pooled::Registrations);
                turn.propose(Op::Unregister {
                    session,
                    request: None,
                    registration,
                });
            }
            (None, _) => {}
        }
    }

    /// A session has its registration: it is told, at once or when other nodes know of it too.
    fn welcome(
        &mut self,
        effects: &mut Vec<Effect>,
        session: SessionId,
        request: RequestId,
        (registration, since): (RegistrationId, LogIndex),
        concurrency: Option<NonZeroU32>,
    ) {
        let waits = self.overlaps(registration, since);
        let Some(callee) = self.sessions.get_mut(session) else {
            return;
        };
        match callee.registrations.get_mut(&registration) {
            // It asks once more for what it waits for: both are answered then.
            Some(Held::Arriving { requests, .. }) => {
                requests.push(request);
                return callee.hold(registration, since, concurrency);
            }
            None if waits => {
                let requests = vec![request];
                callee.registrations.insert(registration, Held::Arriving { since, requests });
                callee.hold(registration, since, concurrency);
                return self.await_overlap(session, registration);
            }
            _ => {}
        }
        callee.hold(registration, since, concurrency);
        let message = Message::Registered { request, registration };
        effects.push(Effect::Send { session, message });
    }

    fn on_unregister_applied(&mut self, turn: &mut Turn<'_>, session: SessionId, registration: RegistrationId) {
        let Some(callee) = self.sessions.get_mut(session) else {
            return;
        };
        // Gone either way: if the log did not find it, something else had taken it.
        if let Some(Held::Leaving {
            waiting: Some((request, deadline)),
            ..
        }) = callee.let_go(registration)
        {
            self.timers.unset(deadline, Timer::Unregister(session, registration));
            turn.send(
                session,
                Message::Unregistered {
                    request: Some(request),
                    details: Dict::new(),
                },
            );
        }
    }

    /// A REGISTER waited too long. If it comes to be after all, it is taken back.
    pub(in crate::router) fn on_register_overdue(&mut self, turn: &mut Turn<'_>, session: SessionId, request: RequestId) {
        let Some(callee) = self.sessions.get_mut(session) else {
            return;
        };
        if callee.end_registering(request).is_some() {
            self.stats.registers_expired += 1;
            let details = because("no quorum, outcome unknown");
            self.refuse(turn, session, code::REGISTER, request, error_uri::UNAVAILABLE, details);
        }
    }

    /// The log is slow: the removal on this node was all the session needs to be safe from invocations.
    pub(in crate::router) fn on_unregister_overdue(
        &mut self,
        turn: &mut Turn<'_>,
        session: SessionId,
        registration: RegistrationId,
    ) {
        let held = self
            .sessions
            .get_mut(session)
            .and_then(|s| s.registrations.get_mut(&registration));
        if let Some(Held::Leaving { waiting, .. }) = held
            && let Some((request, _)) = waiting.take()
        {
            self.stats.unregistered_unconfirmed += 1;
            turn.send(
                session,
                Message::Unregistered {
                    request: Some(request),
                    details: Dict::new(),
                },
            );
        }
    }

    /// Makes the sessions of this node agree with a registry that changed other than op by op.
    pub(in crate::router) fn settle_registrations(&mut self, effects: &mut Vec<Effect>) {
        for session in self.sessions.ids() {
            let Some(callee) = self.sessions.get_mut(session) else {
                continue;
            };
            let node = self.me;
            let replicated: BTreeMap<RegistrationId, (LogIndex, (MatchPolicy, InvokePolicy), Uri)> = self
                .registry
                .held_by(Callee { node, session })
                .map(|(r, since)| (r.id, (since, (r.policy, r.invoke), r.procedure.clone())))
                .collect();
            // What was given up and registered again under the same id is another registration, too.
            let lost = |id: &RegistrationId, held: &Held| replicated.get(id).is_none_or(|(since, ..)| *since != held.since());
            let held = callee.registrations.iter();
            let gone: Vec<RegistrationId> = held.filter(|(id, held)| lost(id, held)).map(|(id, _)| *id).collect();
            for id in gone {
                self.lose(effects, session, id, LOST);
            }
            for (registration, (since, policies, procedure)) in replicated {
                let Some(callee) = self.sessions.get_mut(session) else {
                    break;
                };
                if callee.registrations.contains_key(&registration) {
                    continue;
                }
                let waiting = callee
                    .registering
                    .iter()
                    .find(|(_, r)| (r.policy, r.invoke) == policies && r.procedure == procedure)
                    .map(|(request, r)| (*request, r.deadline, r.concurrency));
                let Some((request, deadline, concurrency)) = waiting else {
                    self.stats.registers_late += 1;
                    callee
                        .registrations
                        .insert(registration, Held::Leaving { since, waiting: None });
                    callee.recount(Pooled::Registrations);
                    effects.push(Effect::Propose {
                        op: Op::Unregister {
                            session,
                            request: None,
                            registration,
                        },
                    });
                    continue;
                };
                callee.end_registering(request);
                self.timers.unset(deadline, Timer::Register(session, request));
                self.welcome(effects, session, request, (registration, since), concurrency);
            }
        }
    }

    /// A session is gone: what waited for the log waits no more.
    pub(super) fn drop_registration_timers(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get(id) else { return };
        let registering = session
            .registering
            .iter()
            .map(|(request, r)| (r.deadline, Timer::Register(id, *request)));
        let leaving = session.registrations.iter().filter_map(|(registration, held)| match held {
            Held::Leaving {
                waiting: Some((_, deadline)),
                ..
            } => Some((*deadline, Timer::Unregister(id, *registration))),
            _ => None,
        });
        let timers: Vec<(Instant, Timer)> = registering.chain(leaving).collect();
        timers.into_iter().for_each(|(at, timer)| self.timers.unset(at, timer));
    }
}

/// What a REGISTER asks for beside its procedure.
#[derive(Default)]
struct Wish {
    policy: MatchPolicy,
    invoke: InvokePolicy,
    conflict: OnConflict,
    concurrency: Option<NonZeroU32>,
}
