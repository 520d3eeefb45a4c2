//! SUBSCRIBE and UNSUBSCRIBE, and the announcing of interest.
//!
//! Spec: WAMP basic profile, "Subscribing and Unsubscribing"; advanced profile, "Pattern-based Subscriptions".

use super::{Interest, Topic};
use crate::{
    router::{
        Effect, MatchPolicy, Realm,
        dealer::check_choice,
        session_table::Subscribed,
        timers::Timer,
        turn::{Turn, because},
    },
    wamp::{Dict, Message, RequestId, SessionId, SubscriptionId, Uri, error_uri, message::code},
};

impl Realm {
    pub(in crate::router) fn on_subscribe(
        &mut self,
        turn: &mut Turn<'_>,
        session: SessionId,
        request: RequestId,
        options: &Dict,
        topic: Uri,
    ) {
        if let Err((error, details)) = check_choice(options, "match", "exact", &["prefix", "wildcard"]) {
            return self.refuse(turn, session, code::SUBSCRIBE, request, error, details);
        }
        if !topic.is_uri(self.config.uri_check) {
            return self.refuse(turn, session, code::SUBSCRIBE, request, error_uri::INVALID_URI, Dict::new());
        }
        let id = self.ids.subscription(MatchPolicy::Exact, &topic);
        if self.broker.by_id.get(&id).is_some_and(|known| *known != topic) {
            // Two topics, one hash: chances are 2^-53 a pair. The later one is refused rather than mixed up with the other.
            let details = because("this topic's subscription id is taken by another topic");
            return self.refuse(turn, session, code::SUBSCRIBE, request, error_uri::UNAVAILABLE, details);
        }
        let Some(subscriber) = self.sessions.get(session) else {
            return;
        };
        let limits = &self.config.limits;
        let full = match subscriber.subscriptions.get(&id) {
            Some(subscribed) => subscribed.waiting.len() >= limits.subscribes_waiting_max,
            None => subscriber.subscriptions.len() >= limits.subscriptions_max,
        };
        if full {
            let details = because("too many subscriptions in this session (settings subscriptions_max, subscribes_waiting_max)");
            return self.refuse(turn, session, code::SUBSCRIBE, request, error_uri::UNAVAILABLE, details);
        }
        if options.bool("get_retained") == Some(true) {
            self.keeper.wanted.insert((session, request));
        }
        self.subscribe(turn, session, request, topic, id);
    }

    fn subscribe(&mut self, turn: &mut Turn<'_>, session: SessionId, request: RequestId, topic: Uri, id: SubscriptionId) {
        let Some(subscriber) = self.sessions.get_mut(session) else {
            return;
        };
        let known = subscriber.subscriptions.get(&id).map(|s| s.order);
        let order = known.unwrap_or_else(|| self.broker.next_order());
        if !self.broker.topics.contains_key(&topic) {
            self.announce(turn, &topic, id);
        }
        let Some(entry) = self.broker.topics.get_mut(&topic) else {
            return;
        };
        let active = entry.interest == Interest::Confirmed || entry.active.contains_key(&order);
        let Some(subscriber) = self.sessions.get_mut(session) else {
            return;
        };
        let subscribed = subscriber.subscriptions.entry(id).or_insert(Subscribed {
            order,
            waiting: Vec::new(),
        });
        if active {
            entry.active.insert(order, session);
            return self.subscribed(turn, session, request, id);
        }
        entry.pending.insert(order, session);
        subscribed.waiting.push(request);
        if let Interest::Announced {
            deadline: deadline @ None,
            ..
        } = &mut entry.interest
        {
            let at = turn.now + self.config.limits.subscribe_wait;
            *deadline = Some(at);
            self.timers.set(at, Timer::Interest(id));
        }
    }

    /// The first subscriber of a topic on this node: asks the other nodes for its events.
    fn announce(&mut self, turn: &mut Turn<'_>, topic: &Uri, id: SubscriptionId) {
        let ticket = self.broker.next_ticket();
        let interest = Interest::Announced { ticket, deadline: None };
        let entry = Topic {
            id,
            interest,
            active: Default::default(),
            pending: Default::default(),
        };
        self.broker.topics.insert(topic.clone(), entry);
        self.broker.by_id.insert(id, topic.clone());
        self.broker.tickets.insert(ticket, topic.clone());
        turn.effects.push(Effect::Interest {
            topic: topic.clone(),
            wanted: true,
            ticket,
        });
    }

    /// Every linked node knows of the interest that was announced under `ticket`.
    pub(in crate::router) fn on_interest_acked(&mut self, turn: &mut Turn<'_>, ticket: u64) {
        // A ticket whose topic has lost all subscribers since is not in the map any more.
        let Some(topic) = self.broker.tickets.remove(&ticket) else {
            return;
        };
        let Some(entry) = self.broker.topics.get_mut(&topic) else {
            return;
        };
        let before = std::mem::replace(&mut entry.interest, Interest::Confirmed);
        if let Interest::Announced { deadline: Some(at), .. } = before {
            self.timers.unset(at, Timer::Interest(entry.id));
        }
        self.activate_pending(turn, &topic);
    }

    /// Not every linked node confirmed in time (its link is being reset); the subscribers wait no longer. The timer is out already.
    pub(in crate::router) fn on_interest_overdue(&mut self, turn: &mut Turn<'_>, subscription: SubscriptionId) {
        let Some(topic) = self.broker.by_id.get(&subscription).cloned() else {
            return;
        };
        let Some(entry) = self.broker.topics.get_mut(&topic) else {
            return;
        };
        if let Interest::Announced { deadline, .. } = &mut entry.interest {
            *deadline = None;
        }
        self.stats.subscribed_unconfirmed += entry.pending.len() as u64;
        self.activate_pending(turn, &topic);
    }

    fn activate_pending(&mut self, turn: &mut Turn<'_>, topic: &Uri) {
        let Some(entry) = self.broker.topics.get_mut(topic) else {
            return;
        };
        let subscription = entry.id;
        let pending = std::mem::take(&mut entry.pending);
        entry.active.extend(&pending);
        for session in pending.into_values() {
            let subscribed = self
                .sessions
                .get_mut(session)
                .and_then(|s| s.subscriptions.get_mut(&subscription));
            let waiting = subscribed.map(|s| std::mem::take(&mut s.waiting)).unwrap_or_default();
            for request in waiting {
                self.subscribed(turn, session, request, subscription);
            }
        }
    }

    pub(in crate::router) fn on_unsubscribe(
        &mut self,
        turn: &mut Turn<'_>,
        session: SessionId,
        request: RequestId,
        subscription: SubscriptionId,
    ) {
        let Some(subscriber) = self.sessions.get_mut(session) else {
            return;
        };
        let Some(subscribed) = subscriber.subscriptions.remove(&subscription) else {
            return self.refuse(
                turn,
                session,
                code::UNSUBSCRIBE,
                request,
                error_uri::NO_SUCH_SUBSCRIPTION,
                Dict::new(),
            );
        };
        // Subscription ids outlive sessions, so a client may know the id before it is told. Its SUBSCRIBEs are answered first.
        for request in subscribed.waiting {
            self.keeper.wanted.remove(&(session, request));
            turn.send(session, Message::Subscribed { request, subscription });
        }
        turn.send(
            session,
            Message::Unsubscribed {
                request: Some(request),
                details: Dict::new(),
            },
        );
        self.remove_subscriber(turn, subscription, subscribed.order);
    }

    /// Takes a subscriber off its topic; with the last one this node's interest ends.
    pub(super) fn remove_subscriber(&mut self, turn: &mut Turn<'_>, subscription: SubscriptionId, order: u64) {
        let Some(topic) = self.broker.by_id.get(&subscription).cloned() else {
            return;
        };
        let Some(entry) = self.broker.topics.get_mut(&topic) else {
            return;
        };
        entry.active.remove(&order);
        entry.pending.remove(&order);
        let nobody_waits = entry.pending.is_empty();
        if let Interest::Announced { deadline, .. } = &mut entry.interest
            && nobody_waits
            && let Some(at) = deadline.take()
        {
            self.timers.unset(at, Timer::Interest(subscription));
        }
        if !entry.active.is_empty() || !nobody_waits {
            return;
        }
        if let Interest::Announced { ticket, .. } = entry.interest {
            self.broker.tickets.remove(&ticket);
        }
        self.broker.topics.remove(&topic);
        self.broker.by_id.remove(&subscription);
        let ticket = self.broker.next_ticket();
        turn.effects.push(Effect::Interest {
            topic,
            wanted: false,
            ticket,
        });
    }
}
