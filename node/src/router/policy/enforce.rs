//! What a realm does with its policy: asks it, refuses, keeps from sight, and ends what stood on a right that is gone.
//!
//! Invariant: once a policy was changed here, no session of this node has a subscription, a registration that may be invoked, or an open
//! or parked call which the new policy would refuse.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Instant,
};

use super::{
    Authority, Change, Changed, NotedWhat, Policy, Request, Right, authority::sessions_stand, dynamic::Key, known::May,
    known::Verdict, role::Who,
};
use crate::{
    router::{
        Disclosure, Effect, LogIndex, MatchPolicy, Op, Realm, SessionInfo,
        registry::SessionRow,
        session_table::{Call, Held},
        timers::Timer,
        turn::{Turn, because},
    },
    wamp::{Dict, Message, RegistrationId, RequestId, SessionId, SubscriptionId, Uri, error_uri, message::code},
};

/// A registration or subscription, as far as who may know of it is concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::router) enum About {
    Registration(MatchPolicy, Uri),
    Subscription(MatchPolicy, Uri),
}

impl About {
    pub(in crate::router) const fn kind(&self) -> &'static str {
        match self {
            Self::Registration(..) => "registration",
            Self::Subscription(..) => "subscription",
        }
    }

    pub(in crate::router) const fn what(&self) -> (MatchPolicy, &Uri) {
        match self {
            Self::Registration(policy, uri) | Self::Subscription(policy, uri) => (*policy, uri),
        }
    }

    pub(in crate::router) fn read(kind: &str, policy: MatchPolicy, uri: Uri) -> Option<Self> {
        match kind {
            "registration" => Some(Self::Registration(policy, uri)),
            "subscription" => Some(Self::Subscription(policy, uri)),
            _ => None,
        }
    }

    /// Whoever has one of these rights there may know of it.
    const fn rights(&self) -> [Right; 2] {
        match self {
            Self::Registration(..) => [Right::Call, Right::Register],
            Self::Subscription(..) => [Right::Subscribe, Right::Publish],
        }
    }
}

impl Realm {
    /// What a session of this node may do with a URI.
    pub(in crate::router) fn verdict(&mut self, session: SessionId, right: Right, uri: &Uri) -> Verdict {
        match self.sessions.get_mut(session) {
            Some(asking) => asking.may.judge(&asking.info, right, uri),
            None => Verdict {
                allowed: false,
                discloses: false,
            },
        }
    }

    /// True if a session of this node may do `right`, and the same by a pattern where the URI is one.
    pub(in crate::router) fn may_by(&mut self, session: SessionId, right: Right, policy: MatchPolicy, uri: &Uri) -> bool {
        if policy == MatchPolicy::Exact {
            return self.verdict(session, right, uri).allowed;
        }
        let asking = self.sessions.get_mut(session);
        asking.is_some_and(|asking| asking.may.judge_pattern(&asking.info, right, policy, uri))
    }

    /// True if what a session of this node has by a right may stand.
    fn may_keep(&mut self, session: SessionId, right: Right, policy: MatchPolicy, uri: &Uri) -> bool {
        let asking = self.sessions.get_mut(session);
        asking.is_some_and(|asking| asking.may.lets_stand(&asking.info, right, policy, uri))
    }

    /// Whether a caller or publisher of this node is disclosed.
    pub(in crate::router) fn disclosure(&self, session: SessionId, right: Right, uri: &str) -> Disclosure {
        let asking = self.sessions.get(session);
        let own = asking.and_then(|asking| asking.may.disclosure(&asking.info, right, uri));
        own.unwrap_or(self.config.disclosure)
    }

    /// The same of a session that may be gone: whether it may publish there, and whether it is disclosed.
    pub(in crate::router) fn row_may_publish(&self, row: &SessionRow, topic: &str) -> Option<Disclosure> {
        let who = Who {
            authid: &row.authid,
            authrole: &row.authrole,
        };
        let ruling = self.policy.role(&row.authrole).judge(who, Right::Publish, topic);
        ruling.allowed.then_some(ruling.disclose.unwrap_or(self.config.disclosure))
    }

    /// True if a session of this node may know of it.
    pub(in crate::router) fn sees(&self, session: SessionId, about: &About) -> bool {
        let Some(asking) = self.sessions.get(session) else {
            return false;
        };
        let (policy, uri) = about.what();
        about.rights().into_iter().any(|right| match policy {
            MatchPolicy::Exact => asking.may.would(&asking.info, right, uri),
            _ => asking.may.judge_all(&asking.info, &[right], policy, uri),
        })
    }

    /// What the details of a refusal say. Nothing of what others may do, nor of what is there.
    pub(in crate::router) fn missing(&self, session: SessionId, right: Right, uri: &Uri) -> Dict {
        let role = self.session_info(session).map_or("", |info| info.authrole.as_str());
        because(&format!("role {role} lacks the permission to {} {uri}", right.name()))
    }

    /// Refuses a request that needs a right its session does not have.
    pub(in crate::router) fn refuse_unauthorized(
        &mut self,
        turn: &mut Turn<'_>,
        session: SessionId,
        (request_type, request): (u64, RequestId),
        right: Right,
        uri: &Uri,
    ) {
        self.note_refusal(turn, session, right, uri);
        let (error, details) = self.denial(session, right, uri);
        self.refuse(turn, session, request_type, request, error, details);
    }

    /// What a session is told that lacks a right; something else where nobody has decided about that.
    pub(in crate::router) fn denial(&self, session: SessionId, right: Right, uri: &Uri) -> (&'static str, Dict) {
        if self.undecided {
            let details = because("it could not be decided whether this is permitted");
            return (error_uri::AUTHORIZATION_FAILED, details);
        }
        (error_uri::NOT_AUTHORIZED, self.missing(session, right, uri))
    }

    /// What a session has that no permission decides about.
    pub(in crate::router) fn standing_in_question(&mut self, session: SessionId) -> VecDeque<Key> {
        let topics = self.subscriptions_of(session).into_iter();
        let mut keys: Vec<Key> = topics
            .map(|(_, key)| Key {
                right: Right::Subscribe,
                policy: key.policy,
                uri: key.uri,
            })
            .collect();
        let Some(asking) = self.sessions.get_mut(session) else {
            return VecDeque::new();
        };
        let held = asking.registrations.keys().filter_map(|id| self.registry.registration(*id));
        keys.extend(held.map(|registration| Key {
            right: Right::Register,
            policy: registration.policy,
            uri: registration.procedure.clone(),
        }));
        keys.retain(|key| !asking.may.is_decided(&asking.info, key.right, key.policy, &key.uri));
        keys.into()
    }

    /// The policy in force.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Puts another policy in force and ends what sessions of this node have by rights that are gone.
    pub(in crate::router) fn put_in_force(&mut self, turn: &mut Turn<'_>, policy: Policy) {
        self.policy = policy;
        // First all, then what follows from it: the end of one session's subscription is told to others, by what they may know now.
        let mut narrowed = Vec::new();
        for session in self.sessions.ids() {
            let asking = self.sessions.get_mut(session);
            if asking.is_some_and(|asking| asking.may.renew(&self.policy, &asking.info.authrole) && !asking.may.open) {
                narrowed.push(session);
            }
        }
        for session in narrowed {
            let calls = self.end_unauthorized_calls(turn, session);
            let registrations = self.end_unauthorized_registrations(turn, session);
            let subscriptions = self.end_unauthorized_subscriptions(turn, session);
            if calls + registrations + subscriptions > 0 {
                self.note(turn, session, || NotedWhat::Lost {
                    calls,
                    registrations,
                    subscriptions,
                });
            }
        }
    }

    /// The log reached a change of roles or principals: applies it, and ends here what stood on what it takes away.
    pub fn change(&mut self, now: Instant, index: LogIndex, request: &Request, effects: &mut Vec<Effect>) -> Changed {
        self.applied = self.applied.max(index.saturating_sub(1));
        let turn = &mut Turn { now, effects };
        let former = match &request.change {
            Change::PutPrincipal { principal } => self.registry.authority.principal(&principal.authid).cloned(),
            _ => None,
        };
        let changed = self.registry.authority.apply(request);
        if !matches!(changed, Changed::Done(_)) {
            return changed;
        }
        match &request.change {
            Change::PutRole { role, permissions } if !self.config.policy.has_role(role) => {
                let mut policy = self.policy.clone();
                policy.set_role(role, Some(self.policy.role_of(permissions)));
                self.put_in_force(turn, policy);
            }
            Change::RemoveRole { role } if !self.config.policy.has_role(role) => {
                let mut policy = self.policy.clone();
                policy.set_role(role, None);
                self.put_in_force(turn, policy);
            }
            // The configuration's own stands.
            Change::PutRole { .. } | Change::RemoveRole { .. } => {}
            Change::PutPrincipal { principal } => {
                if former.is_some_and(|former| !sessions_stand(&former.value, principal)) {
                    self.end_sessions_of(turn, &principal.authid);
                }
            }
            Change::RemovePrincipal { authid } => self.end_sessions_of(turn, authid),
            // Nobody was there before whom it could take anything from.
            Change::Seed { .. } => {
                let policy = self.config.policy.with(&self.registry.authority);
                self.put_in_force(turn, policy);
            }
        }
        self.hear_answers(turn);
        self.start_wanted_barrier(turn);
        changed
    }

    /// Remembers whose sessions end since the registry was replaced by `newer`; the input that follows does it.
    pub(in crate::router) fn note_authority(&mut self, newer: &Authority) {
        let revoked = self.registry.authority.revoked_by(newer);
        if self.registry.authority != *newer {
            self.unsettled.get_or_insert_default().extend(revoked);
        }
    }

    /// Does what [`Self::note_authority`] has remembered.
    pub(in crate::router) fn settle_authority(&mut self, turn: &mut Turn<'_>) {
        let Some(revoked) = self.unsettled.take() else { return };
        let policy = self.config.policy.with(&self.registry.authority);
        self.put_in_force(turn, policy);
        revoked.iter().for_each(|authid| self.end_sessions_of(turn, authid));
    }

    /// Ends the sessions of this node that have joined as a principal. Nobody of that name who came in otherwise is meant.
    fn end_sessions_of(&mut self, turn: &mut Turn<'_>, authid: &str) {
        let is_its = |info: &SessionInfo| info.authid == authid && info.authmethod != "anonymous";
        let of_it = |id: &SessionId| self.session_info(*id).is_some_and(is_its);
        let sessions: Vec<SessionId> = self.sessions.ids().into_iter().filter(of_it).collect();
        for session in sessions {
            self.end_session(turn, session, "the principal was revoked or changed");
        }
    }

    /// This node cannot know what the log has taken away: sessions that stand on what the log says end, as if all of it were. Those whose
    /// role and name are of the configuration stay.
    pub(in crate::router) fn on_rights_stale(&mut self, turn: &mut Turn<'_>) {
        if !std::mem::replace(&mut self.rights_stale, true) {
            for session in self.sessions.ids() {
                self.end_if_revocable(turn, session);
            }
        }
    }

    /// Ends a session that the log could have revoked.
    pub(in crate::router) fn end_if_revocable(&mut self, turn: &mut Turn<'_>, session: SessionId) {
        let authority = &self.registry.authority;
        let revocable = self.session_info(session).is_some_and(|info| {
            let by_role = authority.roles.contains_key(&info.authrole) && !self.config.policy.has_role(&info.authrole);
            by_role || info.authmethod != "anonymous" && authority.principal(&info.authid).is_some()
        });
        if revocable {
            let why = "this node has lost the cluster and cannot know whether the session still has its rights";
            self.end_session(turn, session, why);
        }
    }

    fn end_session(&mut self, turn: &mut Turn<'_>, session: SessionId, why: &'static str) {
        self.note(turn, session, || NotedWhat::Ended { why });
        let goodbye = Message::Goodbye {
            details: because(why),
            reason: Uri::from(error_uri::NOT_AUTHORIZED),
        };
        turn.effects.push(Effect::Kill { session, goodbye });
        self.detach(turn, session);
        self.stats.sessions_killed += 1;
    }

    /// What the log says about roles and principals.
    pub fn authority(&self) -> &Authority {
        &self.registry.authority
    }

    /// Returns how many.
    pub(super) fn end_unauthorized_subscriptions(&mut self, turn: &mut Turn<'_>, session: SessionId) -> usize {
        let mut ended = 0;
        for (id, key) in self.subscriptions_of(session) {
            if self.may_keep(session, Right::Subscribe, key.policy, &key.uri) {
                continue;
            }
            ended += 1;
            // It has not heard SUBSCRIBED, and does not hear it any more.
            let subscribed = self.sessions.get_mut(session).and_then(|s| s.subscriptions.get_mut(&id));
            let waiting = subscribed.map(|s| std::mem::take(&mut s.waiting)).unwrap_or_default();
            for request in waiting {
                self.keeper.wanted.remove(&(session, request));
                self.refuse_unauthorized(turn, session, (code::SUBSCRIBE, request), Right::Subscribe, &key.uri);
            }
            turn.effects.push(Effect::SubscriptionEnded {
                session,
                subscription: id,
            });
            self.revoke_here(turn, session, id, Uri::from(error_uri::NOT_AUTHORIZED));
        }
        ended
    }

    fn subscriptions_of(&self, session: SessionId) -> Vec<(SubscriptionId, crate::router::TopicKey)> {
        let subscriptions = self.sessions.get(session).into_iter().flat_map(|s| s.subscriptions.keys());
        subscriptions
            .filter_map(|id| Some((*id, self.broker.by_id.get(id)?.clone())))
            .collect()
    }

    /// Returns how many.
    pub(super) fn end_unauthorized_registrations(&mut self, turn: &mut Turn<'_>, session: SessionId) -> usize {
        let Some(callee) = self.sessions.get(session) else { return 0 };
        let mut ended = 0;
        let waiting: Vec<_> = callee
            .registering
            .iter()
            .map(|(request, r)| (*request, r.policy, r.procedure.clone(), r.deadline))
            .collect();
        let active = callee.registrations.iter();
        let held: Vec<(RegistrationId, MatchPolicy, Uri)> = active
            .filter(|(_, held)| !matches!(held, Held::Leaving { .. }))
            .filter_map(|(id, _)| self.registry.registration(*id))
            .map(|registration| (registration.id, registration.policy, registration.procedure.clone()))
            .collect();
        for (request, policy, procedure, deadline) in waiting {
            if !self.may_keep(session, Right::Register, policy, &procedure) {
                ended += 1;
                // If it comes to be after all, it is taken back, as one that came too late.
                if let Some(callee) = self.sessions.get_mut(session) {
                    callee.end_registering(request);
                }
                self.timers.unset(deadline, Timer::Register(session, request));
                self.refuse_unauthorized(turn, session, (code::REGISTER, request), Right::Register, &procedure);
            }
        }
        for (id, policy, procedure) in held {
            if !self.may_keep(session, Right::Register, policy, &procedure) {
                ended += 1;
                self.take_registration_back(turn, session, (id, &procedure));
            }
        }
        ended
    }

    /// Nothing is invoked any more; the log takes it away everywhere. Who has not heard REGISTERED does not hear it any more.
    fn take_registration_back(
        &mut self,
        turn: &mut Turn<'_>,
        session: SessionId,
        (registration, procedure): (RegistrationId, &Uri),
    ) {
        let Some(callee) = self.sessions.get_mut(session) else {
            return;
        };
        let Some(held) = callee.registrations.get_mut(&registration) else {
            return;
        };
        let since = held.since();
        let held = std::mem::replace(held, Held::Leaving { since, waiting: None });
        self.stats.registrations_revoked += 1;
        if let Held::Arriving { requests, .. } = held {
            for request in requests {
                self.refuse_unauthorized(turn, session, (code::REGISTER, request), Right::Register, procedure);
            }
            self.drain_invokes(turn, session);
        } else if callee.can(crate::router::abilities::Ability::LoseRegistrations) {
            let details = Dict::new()
                .with("registration", registration.get())
                .with("reason", error_uri::NOT_AUTHORIZED);
            turn.send(session, Message::Unregistered { request: None, details });
        }
        turn.propose(Op::Unregister {
            session,
            request: None,
            registration,
        });
        self.end_invocations_of(turn, session, registration);
    }

    /// Returns how many.
    fn end_unauthorized_calls(&mut self, turn: &mut Turn<'_>, session: SessionId) -> usize {
        let mut ended = 0;
        for (request, procedure) in self.calls_of(session) {
            let allowed = match procedure {
                Some((MatchPolicy::Exact, procedure)) => self.may_keep(session, Right::Call, MatchPolicy::Exact, &procedure),
                // Choice: who might do everything may have called any URI of the pattern. The call stands if all of them may be called.
                Some((policy, pattern)) => self.may_keep(session, Right::Call, policy, &pattern),
                // The registration is gone, and what it was of with it.
                None => false,
            };
            if !allowed {
                ended += 1;
                self.stats.unauthorized += 1;
                let error = error_uri::NOT_AUTHORIZED;
                self.give_up_call(turn, session, request, Some(error), error);
            }
        }
        ended
    }

    /// The open and parked calls of a session, and what each called.
    fn calls_of(&self, session: SessionId) -> Vec<(RequestId, Option<(MatchPolicy, Uri)>)> {
        let Some(caller) = self.sessions.get(session) else {
            return Vec::new();
        };
        let mut held: BTreeMap<SessionId, BTreeMap<u32, RegistrationId>> = BTreeMap::new();
        let mut calls = Vec::with_capacity(caller.calls.len() + caller.parked.len());
        for (request, call) in caller.calls.iter() {
            let called = match call {
                _ if call.flow().is_some_and(|flow| flow.called.is_some()) => {
                    let called = call.flow().and_then(|flow| flow.called.clone());
                    called.map(|procedure| (MatchPolicy::Exact, procedure))
                }
                Call::Local { again: Some(what), .. } => Some((MatchPolicy::Exact, what.procedure.clone())),
                Call::Remote { again, .. } => Some((MatchPolicy::Exact, again.procedure().clone())),
                Call::Local { callee, invocation, .. } => self.sessions.get(*callee).and_then(|answering| {
                    let of_callee = held.entry(*callee).or_insert_with(|| {
                        let held = answering.registrations.keys();
                        held.map(|id| (id.get() as u32, *id)).collect()
                    });
                    let id = of_callee.get(&answering.invocations.get(invocation)?.of)?;
                    let registration = self.registry.registration(*id)?;
                    Some((registration.policy, registration.procedure.clone()))
                }),
            };
            calls.push((request, called));
        }
        let parked = caller.parked.iter();
        calls.extend(parked.map(|call| (call.request, Some((MatchPolicy::Exact, call.what.procedure.clone())))));
        calls
    }

    /// What a new session may do.
    pub(in crate::router) fn may_of(&self, authrole: &str) -> May {
        May::new(&self.policy, authrole)
    }
}
