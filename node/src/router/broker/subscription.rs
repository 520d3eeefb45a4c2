//! SUBSCRIBE and UNSUBSCRIBE, and the announcing of interest.
//!
//! Spec: WAMP basic profile, "Subscribing and Unsubscribing"; advanced profile, "Pattern-based Subscriptions".

use std::collections::BTreeMap;

use super::{Group, Interest, Topic};
use crate::{
    router::{
        Effect, MatchPolicy, Realm, Right, Shard, TopicKey, pattern,
        session_table::Subscribed,
        timers::Timer,
        topic::SHARD_BYTES_MAX,
        turn::{Turn, because},
    },
    wamp::{Dict, Message, RequestId, SessionId, SubscriptionId, Uri, Value, error_uri, message::code},
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
        let waits = options.bool("get_retained") == Some(true) && self.await_echo(turn, session, request, options, &topic);
        if !waits {
            self.subscribe_now(turn, session, request, options, topic);
        }
    }

    /// The same for one that has nothing more to wait for.
    pub(in crate::router) fn subscribe_now(
        &mut self,
        turn: &mut Turn<'_>,
        session: SessionId,
        request: RequestId,
        options: &Dict,
        topic: Uri,
    ) {
        let key = match read_key(options, topic) {
            Ok(key) => key,
            Err(details) => {
                return self.refuse(turn, session, code::SUBSCRIBE, request, error_uri::INVALID_ARGUMENT, details);
            }
        };
        if !pattern::is_valid(key.policy, &key.uri, self.config.uri_check) {
            return self.refuse(turn, session, code::SUBSCRIBE, request, error_uri::INVALID_URI, Dict::new());
        }
        if !self.may_by(session, Right::Subscribe, key.policy, &key.uri) {
            let exact = key.policy == MatchPolicy::Exact;
            let right = if exact { Right::Subscribe } else { Right::SubscribePattern };
            return self.refuse_unauthorized(turn, session, (code::SUBSCRIBE, request), right, &key.uri);
        }
        let id = self.ids.subscription(key.policy, &key.uri);
        let same = |known: &TopicKey| (known.policy, &known.uri) == (key.policy, &key.uri);
        if self.broker.by_id.get(&id).is_some_and(|known| !same(known)) {
            // Two topics, one hash: chances are 2^-53 a pair. The later one is refused rather than mixed up with the other.
            let details = because("this topic's subscription id is taken by another topic");
            return self.refuse(turn, session, code::SUBSCRIBE, request, error_uri::UNAVAILABLE, details);
        }
        let Some(subscriber) = self.sessions.get(session) else {
            return;
        };
        let limits = &self.config.limits;
        let known = subscriber.subscriptions.get(&id);
        let full = match known {
            Some(subscribed) => subscribed.waiting.len() >= limits.subscribes_waiting_max,
            None => subscriber.subscriptions.len() >= limits.subscriptions_max.min(subscriber.info.bounds.subscriptions as usize),
        };
        if full {
            self.stats.over_limits += 1;
            let details = because("too many subscriptions in this session (settings subscriptions_max, subscribes_waiting_max)");
            return self.refuse(turn, session, code::SUBSCRIBE, request, error_uri::UNAVAILABLE, details);
        }
        if known.is_some_and(|known| known.shard != key.shard) {
            // A session has one subscription of a topic, and it cannot be in two shards.
            let details = because("this session is subscribed already, under another nkey");
            return self.refuse(turn, session, code::SUBSCRIBE, request, error_uri::INVALID_ARGUMENT, details);
        }
        if options.bool("get_retained") == Some(true) {
            self.keeper.wanted.insert((session, request));
        }
        self.subscribe(turn, session, request, &key, id);
    }

    fn subscribe(&mut self, turn: &mut Turn<'_>, session: SessionId, request: RequestId, key: &TopicKey, id: SubscriptionId) {
        let Some(subscriber) = self.sessions.get_mut(session) else {
            return;
        };
        let known = subscriber.subscriptions.get(&id).map(|s| s.order);
        let order = known.unwrap_or_else(|| self.broker.next_order());
        if self.broker.group_mut(key).is_none() {
            self.announce(turn, key, id);
        }
        let Some((_, group)) = self.broker.group_mut(key) else {
            return;
        };
        let active = group.interest == Interest::Confirmed || group.active.contains_key(&order);
        let Some(subscriber) = self.sessions.get_mut(session) else {
            return;
        };
        let subscribed = subscriber.subscriptions.entry(id).or_insert_with(|| Subscribed {
            order,
            shard: key.shard.clone(),
            waiting: Vec::new(),
        });
        if active {
            let came = group.active.insert(order, session).is_none();
            self.subscribed(turn, session, request, id);
            if came {
                self.on_subscriber_came(turn, session, id);
            }
            return;
        }
        group.pending.insert(order, session);
        subscribed.waiting.push(request);
        if let Interest::Announced {
            ticket,
            deadline: deadline @ None,
        } = &mut group.interest
        {
            let at = turn.now + self.config.limits.subscribe_wait;
            *deadline = Some(at);
            self.timers.set(at, Timer::Interest(*ticket));
        }
    }

    /// The first subscriber of this node under a key: asks the other nodes for its events.
    fn announce(&mut self, turn: &mut Turn<'_>, key: &TopicKey, id: SubscriptionId) {
        let ticket = self.broker.next_ticket();
        let group = Group {
            interest: Interest::Announced { ticket, deadline: None },
            active: BTreeMap::new(),
            pending: BTreeMap::new(),
        };
        if self.broker.topics.get(key.policy, &key.uri).is_none() {
            let topic = Topic {
                id,
                policy: key.policy,
                group: None,
                shards: BTreeMap::new(),
            };
            self.broker.topics.insert(key.policy, &key.uri, topic);
            let unsharded = TopicKey {
                shard: None,
                ..key.clone()
            };
            self.broker.by_id.insert(id, unsharded);
        }
        if let Some(topic) = self.broker.topics.get_mut(key.policy, &key.uri) {
            match &key.shard {
                None => topic.group = Some(group),
                Some(shard) => _ = topic.shards.insert(shard.clone(), group),
            }
        }
        self.broker.tickets.insert(ticket, key.clone());
        turn.effects.push(Effect::Interest {
            topic: key.clone(),
            wanted: true,
            ticket,
        });
    }

    /// Every linked node knows of the interest that was announced under `ticket`.
    pub(in crate::router) fn on_interest_acked(&mut self, turn: &mut Turn<'_>, ticket: u64) {
        // A ticket whose key has lost all subscribers since is not in the map any more.
        let Some(key) = self.broker.tickets.remove(&ticket) else {
            return;
        };
        let Some((_, group)) = self.broker.group_mut(&key) else {
            return;
        };
        let before = std::mem::replace(&mut group.interest, Interest::Confirmed);
        if let Interest::Announced { deadline: Some(at), .. } = before {
            self.timers.unset(at, Timer::Interest(ticket));
        }
        self.activate_pending(turn, &key);
    }

    /// Not every linked node confirmed in time (its link is being reset); the subscribers wait no longer. The timer is out already.
    pub(in crate::router) fn on_interest_overdue(&mut self, turn: &mut Turn<'_>, ticket: u64) {
        let Some(key) = self.broker.tickets.get(&ticket).cloned() else {
            return;
        };
        let Some((_, group)) = self.broker.group_mut(&key) else {
            return;
        };
        if let Interest::Announced { deadline, .. } = &mut group.interest {
            *deadline = None;
        }
        let unconfirmed = group.pending.len() as u64;
        self.stats.subscribed_unconfirmed += unconfirmed;
        self.activate_pending(turn, &key);
    }

    fn activate_pending(&mut self, turn: &mut Turn<'_>, key: &TopicKey) {
        let Some((subscription, group)) = self.broker.group_mut(key) else {
            return;
        };
        let pending = std::mem::take(&mut group.pending);
        group.active.extend(&pending);
        let mut came = Vec::new();
        for session in pending.into_values() {
            came.push(session);
            let subscribed = self
                .sessions
                .get_mut(session)
                .and_then(|s| s.subscriptions.get_mut(&subscription));
            let waiting = subscribed.map(|s| std::mem::take(&mut s.waiting)).unwrap_or_default();
            for request in waiting {
                self.subscribed(turn, session, request, subscription);
            }
        }
        came.into_iter()
            .for_each(|session| self.on_subscriber_came(turn, session, subscription));
    }

    pub(in crate::router) fn on_unsubscribe(
        &mut self,
        turn: &mut Turn<'_>,
        session: SessionId,
        request: RequestId,
        subscription: SubscriptionId,
    ) {
        let Some(subscribed) = self.take_subscription(turn, session, subscription) else {
            if self.sessions.get(session).is_some() {
                let error = error_uri::NO_SUCH_SUBSCRIPTION;
                self.refuse(turn, session, code::UNSUBSCRIBE, request, error, Dict::new());
            }
            return;
        };
        turn.send(
            session,
            Message::Unsubscribed {
                request: Some(request),
                details: Dict::new(),
            },
        );
        self.remove_subscriber(turn, session, subscription, &subscribed);
    }

    /// Takes a subscription out of its session; what the session still waits to hear of it is answered.
    pub(super) fn take_subscription(
        &mut self,
        turn: &mut Turn<'_>,
        session: SessionId,
        subscription: SubscriptionId,
    ) -> Option<Subscribed> {
        self.hurry_echoes(turn, session);
        let mut subscribed = self.sessions.get_mut(session)?.subscriptions.remove(&subscription)?;
        // Subscription ids outlive sessions, so a client may know the id before it is told. Its SUBSCRIBEs are answered first.
        for request in subscribed.waiting.drain(..) {
            self.keeper.wanted.remove(&(session, request));
            turn.send(session, Message::Subscribed { request, subscription });
        }
        Some(subscribed)
    }

    /// Takes a subscriber off its topic, and tells whoever wants to know.
    pub(super) fn remove_subscriber(
        &mut self,
        turn: &mut Turn<'_>,
        session: SessionId,
        subscription: SubscriptionId,
        subscribed: &Subscribed,
    ) {
        if let Some(key) = self.take_off_topic(turn, subscription, subscribed) {
            self.on_subscriber_went(turn, session, subscription, &key);
        }
    }

    /// Takes a subscriber off its topic; with the last one this node's interest ends. The key, if it had heard SUBSCRIBED.
    pub(super) fn take_off_topic(
        &mut self,
        turn: &mut Turn<'_>,
        subscription: SubscriptionId,
        subscribed: &Subscribed,
    ) -> Option<TopicKey> {
        let key = TopicKey {
            shard: subscribed.shard.clone(),
            ..self.broker.by_id.get(&subscription)?.clone()
        };
        let (_, group) = self.broker.group_mut(&key)?;
        let went = group.active.remove(&subscribed.order);
        group.pending.remove(&subscribed.order);
        let nobody_waits = group.pending.is_empty();
        let nobody_is_left = nobody_waits && group.active.is_empty();
        if let Interest::Announced { ticket, deadline } = &mut group.interest {
            let ticket = *ticket;
            if nobody_waits && let Some(at) = deadline.take() {
                self.timers.unset(at, Timer::Interest(ticket));
            }
            if nobody_is_left {
                self.broker.tickets.remove(&ticket);
            }
        }
        if nobody_is_left {
            self.renounce(turn, subscription, key.clone());
        }
        went.map(|_| key)
    }

    /// The last subscriber of this node under a key is gone: the other nodes need not send its events any more.
    fn renounce(&mut self, turn: &mut Turn<'_>, subscription: SubscriptionId, key: TopicKey) {
        let Some(topic) = self.broker.topics.get_mut(key.policy, &key.uri) else {
            return;
        };
        match &key.shard {
            None => topic.group = None,
            Some(shard) => _ = topic.shards.remove(shard),
        }
        if topic.group.is_none() && topic.shards.is_empty() {
            self.broker.topics.remove(key.policy, &key.uri);
            self.broker.by_id.remove(&subscription);
        }
        let ticket = self.broker.next_ticket();
        turn.effects.push(Effect::Interest {
            topic: key,
            wanted: false,
            ticket,
        });
    }
}

/// What a SUBSCRIBE is for.
///
/// # Errors
/// The details of the ERROR `wamp.error.invalid_argument`.
fn read_key(options: &Dict, uri: Uri) -> Result<TopicKey, Dict> {
    let policy = match options.get("match") {
        None => MatchPolicy::Exact,
        Some(Value::Text(policy)) => match policy.as_str() {
            "exact" => MatchPolicy::Exact,
            "prefix" => MatchPolicy::Prefix,
            "wildcard" => MatchPolicy::Wildcard,
            _ => return Err(because("option match is none of exact, prefix and wildcard")),
        },
        Some(_) => return Err(because("option match is no text")),
    };
    let shard = match options.get("nkey") {
        None => None,
        Some(Value::Text(shard)) if shard.len() <= SHARD_BYTES_MAX => Some(Shard::from(shard.as_str())),
        Some(_) => return Err(because("option nkey is no text of at most 255 bytes")),
    };
    Ok(TopicKey { policy, uri, shard })
}
