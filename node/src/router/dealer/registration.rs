//! REGISTER and UNREGISTER, and what the log makes of them.
//!
//! Invariants: REGISTERED follows the commit and the apply on this node, never an earlier guess; a registration is invoked only
//! while its session holds it as active here; one whose REGISTER was given up is taken back and never invoked.
//!
//! Spec: WAMP basic profile, "Registering and Unregistering"; advanced profile, "Pattern-based Registrations", "Shared Registration".

use std::time::Instant;

use crate::{
    router::{
        Effect, LogIndex, MatchPolicy, NodeRef, Op, OpOutcome, Realm,
        registry::Callee,
        session_table::{Held, Registering},
        timers::Timer,
        turn::{Turn, because},
    },
    wamp::{Dict, Message, RegistrationId, RequestId, SessionId, Uri, Value, error_uri, message::code},
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
        let choices = [
            ("match", "exact", ["prefix", "wildcard"].as_slice()),
            ("invoke", "single", &["roundrobin", "random", "first", "last"]),
        ];
        for (option, works, known) in choices {
            if let Err((error, details)) = check_choice(options, option, works, known) {
                return self.refuse(turn, session, code::REGISTER, request, error, details);
            }
        }
        if !procedure.is_uri(self.config.uri_check) || procedure.is_reserved() {
            return self.refuse(turn, session, code::REGISTER, request, error_uri::INVALID_URI, Dict::new());
        }
        let Some(callee) = self.sessions.get_mut(session) else {
            return;
        };
        if callee.registering.len() + callee.registrations.len() >= self.config.limits.registrations_max {
            let details = because("too many registrations in this session (setting registrations_max)");
            return self.refuse(turn, session, code::REGISTER, request, error_uri::UNAVAILABLE, details);
        }
        let deadline = turn.now + self.config.limits.register_wait;
        callee.registering.insert(
            request,
            Registering {
                procedure: procedure.clone(),
                deadline,
            },
        );
        self.timers.set(deadline, Timer::Register(session, request));
        turn.propose(Op::Register {
            session,
            request,
            procedure,
            policy: MatchPolicy::Exact,
        });
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
        let Some(held @ Held::Active) = held else {
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
    pub(in crate::router) fn on_applied(&mut self, turn: &mut Turn<'_>, index: LogIndex, by: NodeRef, op: Op) {
        // Other ops may stand at the same index, so only what lies before it is certainly complete.
        self.applied = self.applied.max(index.saturating_sub(1));
        let outcome = self.registry.apply(index, by, &op);
        if by != self.me {
            return;
        }
        match op {
            Op::Register {
                session,
                request,
                procedure,
                policy: _,
            } => {
                self.on_register_applied(turn, session, request, &procedure, outcome);
            }
            Op::Unregister {
                session,
                request: _,
                registration,
            } => self.on_unregister_applied(turn, session, registration),
            Op::SessionJoined { .. }
            | Op::SessionGone { .. }
            | Op::AddTestament { .. }
            | Op::FlushTestaments { .. }
            | Op::Hush { .. } => {}
        }
    }

    fn on_register_applied(
        &mut self,
        turn: &mut Turn<'_>,
        session: SessionId,
        request: RequestId,
        procedure: &Uri,
        outcome: OpOutcome,
    ) {
        // A session that left has its SessionGone op behind this one, which takes the registration away everywhere.
        let Some(callee) = self.sessions.get_mut(session) else {
            return;
        };
        let waiting = callee
            .registering
            .get(&request)
            .filter(|r| r.procedure == *procedure)
            .map(|r| r.deadline);
        if let Some(deadline) = waiting {
            callee.registering.remove(&request);
            self.timers.unset(deadline, Timer::Register(session, request));
        }
        match (waiting, outcome) {
            (Some(_), OpOutcome::Registered(registration)) => {
                callee.registrations.insert(registration, Held::Active);
                turn.send(session, Message::Registered { request, registration });
            }
            (Some(_), OpOutcome::Fenced) => {
                let details = because("this node is no longer a member");
                self.refuse(turn, session, code::REGISTER, request, error_uri::UNAVAILABLE, details);
            }
            (Some(_), _) => {
                self.refuse(
                    turn,
                    session,
                    code::REGISTER,
                    request,
                    error_uri::PROCEDURE_ALREADY_EXISTS,
                    Dict::new(),
                );
            }
            (None, OpOutcome::Registered(registration)) => {
                self.stats.registers_late += 1;
                // The client has asked again meanwhile: this is what it wants. Its second op finds the procedure taken, by itself.
                let again = callee.registering.iter().find(|(_, r)| r.procedure == *procedure);
                if let Some((again, deadline)) = again.map(|(request, r)| (*request, r.deadline)) {
                    callee.registering.remove(&again);
                    callee.registrations.insert(registration, Held::Active);
                    self.timers.unset(deadline, Timer::Register(session, again));
                    let request = again;
                    turn.send(session, Message::Registered { request, registration });
                    return;
                }
                callee.registrations.insert(registration, Held::Leaving { waiting: None });
                turn.propose(Op::Unregister {
                    session,
                    request: None,
                    registration,
                });
            }
            (None, _) => {}
        }
    }

    fn on_unregister_applied(&mut self, turn: &mut Turn<'_>, session: SessionId, registration: RegistrationId) {
        let Some(callee) = self.sessions.get_mut(session) else {
            return;
        };
        // Gone either way: if the log did not find it, something else had taken it.
        if let Some(Held::Leaving {
            waiting: Some((request, deadline)),
        }) = callee.registrations.remove(&registration)
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
        if callee.registering.remove(&request).is_some() {
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
        if let Some(Held::Leaving { waiting }) = held
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
            let replicated: Vec<(RegistrationId, Uri)> = self
                .registry
                .registrations_of(Callee { node, session })
                .map(|r| (r.id, r.procedure.clone()))
                .collect();
            let lost = |id: &RegistrationId| !replicated.iter().any(|(r, _)| r == id);
            let gone: Vec<RegistrationId> = callee.registrations.keys().copied().filter(lost).collect();
            for id in gone {
                if let Some(Held::Leaving {
                    waiting: Some((request, deadline)),
                }) = callee.registrations.remove(&id)
                {
                    self.timers.unset(deadline, Timer::Unregister(session, id));
                    let message = Message::Unregistered {
                        request: Some(request),
                        details: Dict::new(),
                    };
                    effects.push(Effect::Send { session, message });
                }
            }
            for (registration, procedure) in replicated {
                if callee.registrations.contains_key(&registration) {
                    continue;
                }
                let waiting = callee
                    .registering
                    .iter()
                    .find(|(_, r)| r.procedure == procedure)
                    .map(|(request, r)| (*request, r.deadline));
                let Some((request, deadline)) = waiting else {
                    self.stats.registers_late += 1;
                    callee.registrations.insert(registration, Held::Leaving { waiting: None });
                    effects.push(Effect::Propose {
                        op: Op::Unregister {
                            session,
                            request: None,
                            registration,
                        },
                    });
                    continue;
                };
                callee.registering.remove(&request);
                self.timers.unset(deadline, Timer::Register(session, request));
                callee.registrations.insert(registration, Held::Active);
                effects.push(Effect::Send {
                    session,
                    message: Message::Registered { request, registration },
                });
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
            } => Some((*deadline, Timer::Unregister(id, *registration))),
            _ => None,
        });
        let timers: Vec<(Instant, Timer)> = registering.chain(leaving).collect();
        timers.into_iter().for_each(|(at, timer)| self.timers.unset(at, timer));
    }
}

/// Checks an option that picks one of several policies, of which only `works` is announced.
pub(in crate::router) fn check_choice(
    options: &Dict,
    option: &str,
    works: &str,
    known: &[&str],
) -> Result<(), (&'static str, Dict)> {
    match options.get(option) {
        None => Ok(()),
        Some(Value::Text(choice)) if choice == works => Ok(()),
        Some(Value::Text(choice)) if known.contains(&choice.as_str()) => Err((
            error_uri::OPTION_NOT_ALLOWED,
            because(&format!("option {option} = \"{choice}\" is not announced")),
        )),
        Some(_) => Err((
            error_uri::INVALID_ARGUMENT,
            because(&format!("option {option} has an unknown value")),
        )),
    }
}
