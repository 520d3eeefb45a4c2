//! A walk over every index of a realm. Slow; for tests and the simulator, after every input.

use std::collections::BTreeSet;

use super::{
    NodeRef, Realm, TopicKey,
    asker::asker,
    broker::{Group, Interest},
    registry::Callee,
    session_table::{Call, Caller, Held, ParkedCall, Session},
    timers::Timer,
};
use crate::wamp::SessionId;

/// Fails the walk with a message.
macro_rules! demand {
    ($what:expr, $($text:tt)+) => {
        if !$what {
            return Err(format!($($text)+));
        }
    };
}

impl Realm {
    /// Checks that all records and indices agree.
    ///
    /// # Errors
    /// Says what disagrees; the realm is broken.
    pub fn check_invariants(&self) -> Result<(), String> {
        self.registry.check()?;
        self.keeper.retained.check()?;
        for (session, _) in self.keeper.wanted.iter().chain(&self.keeper.asking) {
            demand!(
                self.sessions.get(*session).is_some(),
                "{session} waits for kept events and is gone"
            );
        }
        let mut timers = 0;
        let mut calls_out = 0;
        let mut calls_in = 0;
        let questions = self.sessions.get(asker()).map_or(0, |s| s.calls.len() + s.parked.len());
        demand!(
            questions == self.asker.open(),
            "{} questions are open and {questions} are asked",
            self.asker.open()
        );
        for id in self.sessions.ids().into_iter().chain([asker()]) {
            let Some(session) = self.sessions.get(id) else { continue };
            if let Some(what) = session.miscounts() {
                return Err(format!("what {id} has taken of its pools is not what it holds: {what:?}"));
            }
            self.check_caller(id, session, &mut calls_out)?;
            self.check_flows(id, session, &mut timers)?;
            self.check_callee(id, session, &mut calls_in, &mut timers)?;
            self.check_subscriber(id, session)?;
        }
        demand!(
            calls_out == self.dealer.outgoing.len(),
            "an outgoing call has no record at its caller"
        );
        demand!(calls_in == self.dealer.incoming.len(), "an incoming call has no invocation");
        for id in &self.dealer.barriers.waiting {
            demand!(self.sessions.get(*id).is_some(), "{id} waits for a barrier and is gone");
        }
        self.check_parked_invokes(&mut timers)?;
        self.check_topics(&mut timers)?;
        for (publication, delivery) in &self.broker.deliveries.open {
            let timer = Timer::Delivery(*publication);
            demand!(
                self.timers.contains(delivery.deadline, timer),
                "publication {publication} has no timer"
            );
            timers += 1;
        }
        let (waiting, expected) = self.broker.deliveries.counts();
        demand!(
            waiting == expected,
            "{waiting} receipts are waited for and {expected} are expected"
        );
        demand!(self.meta.ready.is_subset(&self.peers), "a node without a link keeps account");
        for (id, nodes) in &self.meta.presence {
            let linked = |node: &NodeRef| *node == self.me || self.peers.contains(node);
            demand!(
                !nodes.is_empty() && nodes.iter().all(linked),
                "subscription {id} is kept for nobody, or for a node without a link"
            );
        }
        for (ask, echo) in &self.meta.echoes {
            demand!(
                self.timers.contains(echo.deadline, Timer::Meta(*ask)) && self.sessions.get(echo.session).is_some(),
                "the SUBSCRIBE {ask} that waits has no timer, or no session"
            );
            demand!(
                !echo.waiting.is_empty() && echo.waiting.is_subset(&self.peers),
                "the SUBSCRIBE {ask} waits for nobody, or for a node without a link"
            );
            timers += 1;
        }
        for (ask, overlap) in &self.meta.overlaps {
            demand!(
                self.timers.contains(overlap.deadline, Timer::Meta(*ask)),
                "the question {ask} about overlaps has no timer"
            );
            demand!(
                !overlap.waiting.is_empty() && overlap.waiting.is_subset(&self.peers),
                "the question {ask} about overlaps waits for nobody, or for a node without a link"
            );
            timers += 1;
        }
        for (ask, pending) in &self.meta.pending {
            demand!(
                self.timers.contains(pending.deadline, Timer::Meta(*ask)),
                "meta call {ask} has no timer"
            );
            demand!(
                self.sessions.get(pending.session).is_some(),
                "meta call {ask} is of a session that is gone"
            );
            demand!(
                pending.waiting.is_subset(&self.peers),
                "meta call {ask} waits for a node without a link"
            );
            timers += 1;
        }
        for (session, until) in self.bearers.ends() {
            demand!(
                self.sessions.get(session).is_some(),
                "{session} stands on a token and is gone"
            );
            demand!(
                self.timers.contains(until, Timer::Bearer(session)),
                "the token of {session} has no timer"
            );
            timers += 1;
        }
        if let Some(at) = self.dealer.barriers.running {
            demand!(self.timers.contains(at, Timer::Barrier), "the running barrier has no timer");
            timers += 1;
        }
        if let Some(at) = self.dealer.expected.first_end() {
            demand!(
                self.timers.contains(at, Timer::Expected),
                "procedures are expected and no timer ends that"
            );
            timers += 1;
        }
        demand!(
            timers == self.timers.len(),
            "{} timers are set and {timers} have a record",
            self.timers.len()
        );
        Ok(())
    }

    fn check_caller(&self, id: SessionId, session: &Session, calls_out: &mut usize) -> Result<(), String> {
        for (request, call) in session.calls.iter() {
            match call {
                Call::Local { callee, invocation, .. } => {
                    let record = self.sessions.get(*callee).and_then(|s| s.invocations.get(invocation));
                    let expected = Caller::Local { session: id, request };
                    demand!(
                        record.is_some_and(|i| i.caller == expected),
                        "call {request} of {id} has no invocation"
                    );
                }
                Call::Remote { node, call, .. } => {
                    *calls_out += 1;
                    demand!(
                        self.peers.contains(node),
                        "call {request} of {id} is with a node without a link"
                    );
                    let indexed = self.dealer.outgoing.get(&(*node, *call));
                    demand!(indexed == Some(&(id, request)), "call {request} of {id} is not indexed");
                }
            }
        }
        let parked: Vec<u64> = session.parked.iter().map(|p| p.what.order).collect();
        demand!(parked.is_sorted(), "parked calls of {id} are out of order");
        let distinct: BTreeSet<_> = session
            .parked
            .iter()
            .map(|p| p.request)
            .chain(session.calls.iter().map(|(request, _)| request))
            .collect();
        demand!(
            distinct.len() == session.parked.len() + session.calls.len(),
            "{id} has two open calls of one request id"
        );
        let bytes: usize = session.parked.iter().map(ParkedCall::bytes).sum();
        demand!(bytes == session.parked_bytes, "parked bytes of {id} are miscounted");
        let kept: usize = session.calls.iter().map(|(_, call)| call.kept_bytes()).sum();
        demand!(kept == session.kept_bytes, "kept bytes of {id} are miscounted");
        let waits = self.dealer.barriers.waiting.contains(&id);
        demand!(
            waits != session.parked.is_empty(),
            "{id} has parked calls and does not wait, or the reverse"
        );
        Ok(())
    }

    /// Deadlines have their timers, and every call of which parts are to come is there.
    fn check_flows(&self, id: SessionId, session: &Session, timers: &mut usize) -> Result<(), String> {
        let open = session.calls.iter().map(|(request, call)| (request, call.flow()));
        let parked = session.parked.iter().map(|call| (call.request, call.what.flow.as_deref()));
        for (request, flow) in open.chain(parked) {
            if let Some(deadline) = flow.and_then(|flow| flow.deadline) {
                *timers += 1;
                let timer = Timer::Call(id, request);
                demand!(self.timers.contains(deadline, timer), "call {request} of {id} has no timer");
            }
        }
        for request in session.streams.iter().flat_map(|streams| streams.open()) {
            let there = session.calls.contains_key(&request) || session.parked.iter().any(|p| p.request == request);
            demand!(there, "call {request} of {id} waits for parts and is gone");
        }
        Ok(())
    }

    fn check_callee(&self, id: SessionId, session: &Session, calls_in: &mut usize, timers: &mut usize) -> Result<(), String> {
        for (request, invocation) in session.invocations.iter() {
            demand!(
                request.get() <= session.last_invocation,
                "invocation {request} of {id} was never issued"
            );
            match invocation.caller {
                Caller::Local {
                    session: caller,
                    request: call,
                } => {
                    let record = self.sessions.get(caller).and_then(|s| s.calls.get(&call));
                    let there =
                        matches!(record, Some(Call::Local { callee, invocation, .. }) if *callee == id && *invocation == request);
                    demand!(there, "invocation {request} of {id} has no call");
                }
                Caller::Remote { node, call } => {
                    *calls_in += 1;
                    demand!(
                        self.peers.contains(&node),
                        "invocation {request} of {id} is for a node without a link"
                    );
                    let indexed = self.dealer.incoming.get(&(node, call));
                    demand!(indexed == Some(&(id, request)), "invocation {request} of {id} is not indexed");
                }
            }
        }
        session.invocations.check()?;
        for (request, registering) in &session.registering {
            *timers += 1;
            let timer = Timer::Register(id, *request);
            demand!(
                self.timers.contains(registering.deadline, timer),
                "REGISTER {request} of {id} has no timer"
            );
        }
        for (registration, held) in &session.registrations {
            demand!(
                !matches!(held, Held::Arriving { .. }) || self.is_arriving(id, *registration),
                "{id} waits for REGISTERED of {registration}, and no question is open about it"
            );
            if let Held::Leaving {
                waiting: Some((_, deadline)),
                ..
            } = held
            {
                *timers += 1;
                let timer = Timer::Unregister(id, *registration);
                demand!(
                    self.timers.contains(*deadline, timer),
                    "UNREGISTER of {registration} of {id} has no timer"
                );
            }
            let row = self.registry.registration(*registration);
            let there = row.is_some_and(|r| r.callees.iter().any(|c| c.node == self.me && c.session == id));
            demand!(there, "{id} holds {registration}, which the registry does not have");
            let callee = Callee {
                node: self.me,
                session: id,
            };
            demand!(
                self.registry.held_since(callee, *registration) == Some(held.since()),
                "{id} holds {registration} since another time than the registry says"
            );
        }
        Ok(())
    }

    fn check_subscriber(&self, id: SessionId, session: &Session) -> Result<(), String> {
        for (subscription, subscribed) in &session.subscriptions {
            let key = self.broker.by_id.get(subscription);
            let topic = key.and_then(|key| self.broker.topics.get(key.policy, &key.uri));
            let group = topic.and_then(|topic| match &subscribed.shard {
                None => topic.group.as_ref(),
                Some(shard) => topic.shards.get(shard),
            });
            let Some(group) = group else {
                return Err(format!("{subscription} of {id} has no topic"));
            };
            let list = if subscribed.waiting.is_empty() {
                &group.active
            } else {
                &group.pending
            };
            demand!(
                list.get(&subscribed.order) == Some(&id),
                "{subscription} of {id} is not in its topic's list"
            );
        }
        Ok(())
    }

    fn check_topics(&self, timers: &mut usize) -> Result<(), String> {
        demand!(
            self.broker.topics.len() == self.broker.by_id.len(),
            "a subscription id has no topic"
        );
        let mut subscribers = 0;
        let mut tickets = 0;
        for (id, key) in &self.broker.by_id {
            let Some(topic) = self.broker.topics.get(key.policy, &key.uri) else {
                return Err(format!("{id} has no topic"));
            };
            demand!(
                topic.id == *id && topic.policy == key.policy && key.shard.is_none(),
                "topic {key:?} is not indexed by its id"
            );
            demand!(topic.groups().next().is_some(), "topic {key:?} has no group");
            for (shard, group) in topic.groups() {
                let key = TopicKey {
                    shard: shard.cloned(),
                    ..key.clone()
                };
                self.check_group(&key, group, &mut tickets, timers)?;
                subscribers += group.active.len() + group.pending.len();
            }
        }
        demand!(tickets == self.broker.tickets.len(), "a ticket has no topic");
        let of_sessions: usize = self
            .sessions
            .ids()
            .iter()
            .filter_map(|id| self.sessions.get(*id))
            .map(|s| s.subscriptions.len())
            .sum();
        demand!(subscribers == of_sessions, "a topic lists a session that is not subscribed");
        self.check_interested()
    }

    fn check_group(&self, key: &TopicKey, group: &Group, tickets: &mut usize, timers: &mut usize) -> Result<(), String> {
        demand!(
            !group.active.is_empty() || !group.pending.is_empty(),
            "{key:?} has no subscriber"
        );
        let waited_for = match group.interest {
            Interest::Confirmed => false,
            Interest::Announced { ticket, deadline } => {
                *tickets += 1;
                demand!(
                    self.broker.tickets.get(&ticket) == Some(key),
                    "the ticket of {key:?} is not indexed"
                );
                if let Some(at) = deadline {
                    *timers += 1;
                    demand!(
                        self.timers.contains(at, Timer::Interest(ticket)),
                        "the interest in {key:?} has no timer"
                    );
                }
                deadline.is_some()
            }
        };
        demand!(
            waited_for != group.pending.is_empty(),
            "subscribers of {key:?} wait without a deadline, or the reverse"
        );
        Ok(())
    }

    fn check_interested(&self) -> Result<(), String> {
        let mut distinct = BTreeSet::new();
        let mut wants = 0;
        for (node, keys) in &self.broker.wanted_by {
            demand!(self.peers.contains(node), "interest of {node:?}, which has no link");
            for key in keys {
                let Some(known) = self.broker.interested.get(key.policy, &key.uri) else {
                    return Err(format!("the interest of {node:?} in {key:?} is indexed one way only"));
                };
                let nodes = match &key.shard {
                    None => Some(&known.nodes),
                    Some(shard) => known.shards.get(shard),
                };
                demand!(
                    nodes.is_some_and(|nodes| nodes.contains(node)),
                    "the interest of {node:?} in {key:?} is indexed one way only"
                );
                demand!(
                    known.id == self.ids.subscription(key.policy, &key.uri),
                    "{key:?} has another id"
                );
                demand!(
                    self.broker.far_by_id.get(&known.id) == Some(&(key.policy, key.uri.clone())),
                    "{key:?} is not found by its id"
                );
                if distinct.insert((key.policy, key.uri.clone())) {
                    wants += known.nodes.len() + known.shards.values().map(BTreeSet::len).sum::<usize>();
                }
            }
        }
        let wanted: usize = self.broker.wanted_by.values().map(BTreeSet::len).sum();
        demand!(
            wants == wanted && distinct.len() == self.broker.interested.len() && distinct.len() == self.broker.far_by_id.len(),
            "interest of a node that does not want it"
        );
        Ok(())
    }

    fn check_parked_invokes(&self, timers: &mut usize) -> Result<(), String> {
        let parked = &self.dealer.parked;
        let (mut count, mut bytes) = (0, 0);
        for (callee, queue) in &parked.by_callee {
            count += queue.len();
            bytes += queue.iter().map(|p| p.invoke.payload.bytes().len()).sum::<usize>();
            let Some(first) = queue.front() else {
                return Err(format!("an empty queue of invocations for {callee}"));
            };
            *timers += 1;
            demand!(
                self.timers.contains(first.deadline, Timer::Invoke(*callee)),
                "invocations for {callee} have no timer"
            );
            for waiting in queue {
                demand!(
                    self.peers.contains(&waiting.invoke.from),
                    "an invocation for {callee} waits for a lost node"
                );
            }
        }
        demand!(
            count == parked.count && bytes == parked.bytes,
            "parked invocations are miscounted"
        );
        Ok(())
    }
}
