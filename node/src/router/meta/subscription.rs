//! `wamp.subscription.list`, `.lookup`, `.match`, `.get`, `.list_subscribers` and `.count_subscribers`, and the events of
//! subscriptions.
//!
//! Who subscribes to what stands at the subscriber's node alone: every node is asked, and the answers are put together. They are
//! exact, since a session counts from the moment its SUBSCRIBED is sent.
//!
//! Events are published by the node that keeps account of the subscription ([`super::presence`]), all on one lane, so they are heard in
//! order. A subscription is created with its first subscriber in the cluster and deleted with its last.
//!
//! Spec: WAMP advanced profile, "Subscription Meta API". Subscriptions of `wamp.*` topics are listed and make no events.

use std::{collections::BTreeMap, time::Instant};

use super::{
    Outcome, Realm,
    presence::{Change, What, lane},
    time::iso_8601,
};
use crate::{
    router::{Audience, MatchPolicy, TopicKey, broker::Event, policy::About, turn::Turn},
    wamp::{Dict, Payload, Serializer, SessionId, SubscriptionId, Uri, Value, error_uri},
};

const ON_CREATE: &str = "wamp.subscription.on_create";
const ON_SUBSCRIBE: &str = "wamp.subscription.on_subscribe";
const ON_UNSUBSCRIBE: &str = "wamp.subscription.on_unsubscribe";
const ON_DELETE: &str = "wamp.subscription.on_delete";

/// A question about subscriptions.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Request {
    /// All ids, or those of one subscriber, by match policy.
    List { subscriber: Option<SessionId> },
    /// The subscription of a URI under a policy.
    Lookup { topic: Uri, policy: MatchPolicy },
    /// All subscriptions that an event of the topic goes to.
    Match { topic: Uri },
    /// What one is.
    Get { subscription: SubscriptionId },
    /// Who its subscribers are.
    ListSubscribers { subscription: SubscriptionId },
    /// How many they are.
    CountSubscribers { subscription: SubscriptionId },
}

/// Which subscriptions a node is asked for.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Which {
    /// All.
    All,
    /// Those of a session. It is told as the only subscriber.
    Of(SessionId),
    /// Those that match a topic.
    Matching(Uri),
    /// One. Its subscribers are told too.
    Id(SubscriptionId),
}

/// What a node, or all of them together, know of a subscription.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    pub(super) policy: MatchPolicy,
    pub(super) uri: Uri,
    /// When the first of its present subscribers came, milliseconds since 1970 (UTC).
    pub(super) created_ms: u64,
    /// Empty where they were not asked for.
    pub(super) subscribers: Vec<SessionId>,
}

pub(super) fn parser(procedure: &str) -> Option<super::Parser> {
    use super::Request::Subscription as Of;
    match procedure {
        "wamp.subscription.list" => Some(|args| {
            let subscriber = args.optional_session()?;
            Ok(Of(Request::List { subscriber }))
        }),
        "wamp.subscription.lookup" => Some(|args| {
            let (topic, policy) = args.uri_and_match("topic")?;
            Ok(Of(Request::Lookup { topic, policy }))
        }),
        "wamp.subscription.match" => Some(|args| {
            let topic = args.uri("topic")?;
            Ok(Of(Request::Match { topic }))
        }),
        "wamp.subscription.get" => Some(|args| {
            let subscription = args.subscription()?;
            Ok(Of(Request::Get { subscription }))
        }),
        "wamp.subscription.list_subscribers" => Some(|args| {
            let subscription = args.subscription()?;
            Ok(Of(Request::ListSubscribers { subscription }))
        }),
        "wamp.subscription.count_subscribers" => Some(|args| {
            let subscription = args.subscription()?;
            Ok(Of(Request::CountSubscribers { subscription }))
        }),
        _ => None,
    }
}

impl Which {
    pub(super) fn to_dict(&self) -> Dict {
        match self {
            Self::All => Dict::new(),
            Self::Of(session) => Dict::new().with("session", session.get()),
            Self::Matching(topic) => Dict::new().with("topic", &**topic),
            Self::Id(id) => Dict::new().with("id", id.get()),
        }
    }

    pub(super) fn from_dict(dict: &Dict) -> Option<Self> {
        let raw = |value: &Value| u64::try_from(value.as_integer()?).ok();
        match (dict.get("id"), dict.text("topic"), dict.get("session")) {
            (Some(id), ..) => SubscriptionId::new(raw(id)?).map(Self::Id),
            (None, Some(topic), _) => Some(Self::Matching(Uri::from(topic))),
            (None, None, Some(session)) => SessionId::new(raw(session)?).map(Self::Of),
            (None, None, None) => Some(Self::All),
        }
    }
}

impl Row {
    fn details(&self, id: SubscriptionId) -> Dict {
        Dict::new()
            .with("id", id.get())
            .with("created", iso_8601(self.created_ms))
            .with("uri", &*self.uri)
            .with("match", self.policy.name())
    }

    fn to_value(&self, id: SubscriptionId) -> Value {
        let subscribers: Vec<Value> = self.subscribers.iter().map(|session| Value::from(session.get())).collect();
        let row = Dict::new()
            .with("id", id.get())
            .with("match", self.policy.name())
            .with("uri", &*self.uri)
            .with("created", self.created_ms)
            .with("subscribers", subscribers);
        row.into()
    }

    pub(super) fn from_value(value: &Value) -> Option<(SubscriptionId, Self)> {
        let (row, raw) = (value.as_dict()?, |value: &Value| u64::try_from(value.as_integer()?).ok());
        let id = SubscriptionId::new(raw(row.get("id")?)?)?;
        let subscribers = row.get("subscribers")?.as_list()?.iter();
        let row = Self {
            policy: MatchPolicy::from_name(row.text("match")?)?,
            uri: Uri::from(row.text("uri")?),
            created_ms: raw(row.get("created")?)?,
            subscribers: subscribers
                .map(|session| SessionId::new(raw(session)?))
                .collect::<Option<_>>()?,
        };
        Some((id, row))
    }
}

impl Request {
    /// What the nodes are asked.
    pub(super) fn which(&self, id_of: impl FnOnce(MatchPolicy, &Uri) -> SubscriptionId) -> Which {
        match self {
            Self::List { subscriber: None } => Which::All,
            Self::List {
                subscriber: Some(session),
            } => Which::Of(*session),
            Self::Lookup { topic, policy } => Which::Id(id_of(*policy, topic)),
            Self::Match { topic } => Which::Matching(topic.clone()),
            Self::Get { subscription } | Self::ListSubscribers { subscription } | Self::CountSubscribers { subscription } => {
                Which::Id(*subscription)
            }
        }
    }
}

/// The answer, put together from those of all nodes: what is not `seen` is not there.
pub(super) fn answer(request: &Request, answers: &[Dict], seen: impl Fn(&About) -> bool) -> Outcome {
    let mut rows: BTreeMap<SubscriptionId, Row> = BTreeMap::new();
    let all = answers
        .iter()
        .filter_map(|answer| answer.get("rows").and_then(Value::as_list));
    for (id, row) in all.flatten().filter_map(Row::from_value) {
        match rows.get_mut(&id) {
            None => _ = rows.insert(id, row),
            Some(known) => {
                known.created_ms = known.created_ms.min(row.created_ms);
                known.subscribers.extend(row.subscribers);
            }
        }
    }
    rows.retain(|_, row| seen(&About::Subscription(row.policy, row.uri.clone())));
    let ids = |rows: &BTreeMap<SubscriptionId, Row>| rows.keys().map(|id| Value::from(id.get())).collect::<Vec<_>>();
    // The question was for one, so there is at most one row.
    let one = || {
        rows.first_key_value()
            .ok_or_else(|| (error_uri::NO_SUCH_SUBSCRIPTION, Dict::new()))
    };
    Ok(match request {
        Request::List { subscriber } => {
            // A node of an earlier version tells all, without their subscribers.
            let is_its = |row: &Row| subscriber.is_none_or(|session| row.subscribers.contains(&session));
            let of = |policy: MatchPolicy| {
                let of_policy = rows.iter().filter(|(_, row)| row.policy == policy && is_its(row));
                let ids: Vec<Value> = of_policy.map(|(id, _)| Value::from(id.get())).collect();
                (policy.name().to_owned(), Value::from(ids))
            };
            let lists = [MatchPolicy::Exact, MatchPolicy::Prefix, MatchPolicy::Wildcard].map(of);
            vec![Dict(lists.into()).into()]
        }
        Request::Lookup { topic, policy } => {
            let same = |row: &Row| (row.policy, &row.uri) == (*policy, topic);
            let found = one().ok().filter(|(_, row)| same(row));
            vec![found.map_or(Value::Null, |(id, _)| Value::from(id.get()))]
        }
        Request::Match { .. } if rows.is_empty() => vec![Value::Null],
        Request::Match { .. } => vec![ids(&rows).into()],
        Request::Get { .. } => {
            let (id, row) = one()?;
            vec![row.details(*id).into()]
        }
        Request::ListSubscribers { .. } => {
            let mut sessions = one()?.1.subscribers.clone();
            sessions.sort_unstable();
            let sessions: Vec<Value> = sessions.iter().map(|session| Value::from(session.get())).collect();
            vec![sessions.into()]
        }
        Request::CountSubscribers { .. } => vec![Value::from(one()?.1.subscribers.len() as u64)],
    })
}

impl Realm {
    /// What this node knows of the subscriptions asked for.
    pub(super) fn rows_here(&self, which: &Which) -> Dict {
        let broker = &self.broker;
        let mut rows: Vec<(SubscriptionId, Row)> = match which {
            Which::All => broker.by_id.keys().filter_map(|id| self.row_of(*id, false)).collect(),
            Which::Of(session) => self.rows_of(*session),
            Which::Matching(uri) => broker
                .topics
                .matches(uri)
                .filter_map(|topic| self.row_of(topic.id, false))
                .collect(),
            Which::Id(id) => self.row_of(*id, true).into_iter().collect(),
        };
        rows.sort_unstable_by_key(|(id, _)| *id);
        let rows: Vec<Value> = rows.iter().map(|(id, row)| row.to_value(*id)).collect();
        Dict::new().with("rows", rows)
    }

    /// The subscriptions of which a session of this node has heard SUBSCRIBED.
    fn rows_of(&self, session: SessionId) -> Vec<(SubscriptionId, Row)> {
        let subscribed = self.sessions.get(session).into_iter().flat_map(|of| &of.subscriptions);
        let heard = subscribed.filter(|(id, subscribed)| {
            let topic = self
                .broker
                .by_id
                .get(id)
                .and_then(|key| self.broker.topics.get(key.policy, &key.uri));
            topic.is_some_and(|topic| topic.groups().any(|(_, group)| group.active.contains_key(&subscribed.order)))
        });
        let rows = heard.filter_map(|(id, _)| self.row_of(*id, false));
        let subscribers = vec![session];
        rows.map(|(id, row)| {
            (
                id,
                Row {
                    subscribers: subscribers.clone(),
                    ..row
                },
            )
        })
        .collect()
    }

    /// One subscription; `None` while nobody here has heard SUBSCRIBED.
    fn row_of(&self, id: SubscriptionId, tell_subscribers: bool) -> Option<(SubscriptionId, Row)> {
        let key = self.broker.by_id.get(&id)?;
        let row = Row {
            policy: key.policy,
            uri: key.uri.clone(),
            created_ms: *self.meta.created.get(&id)?,
            subscribers: if tell_subscribers {
                let topic = self.broker.topics.get(key.policy, &key.uri)?;
                topic.groups().flat_map(|(_, group)| group.active.values().copied()).collect()
            } else {
                Vec::new()
            },
        };
        Some((id, row))
    }

    /// When the first of the present subscribers of this node came; `None` while nobody here has heard SUBSCRIBED.
    pub(in crate::router) fn subscribed_since(&self, id: SubscriptionId) -> Option<u64> {
        self.meta.created.get(&id).copied()
    }

    /// A session of this node has heard SUBSCRIBED, for the first time of this subscription.
    pub(in crate::router) fn on_subscriber_came(&mut self, turn: &mut Turn<'_>, session: SessionId, id: SubscriptionId) {
        let now = self.unix_ms(turn.now);
        let first = !self.meta.created.contains_key(&id);
        let created_ms = *self.meta.created.entry(id).or_insert(now);
        let Some(key) = self.broker.by_id.get(&id).filter(|key| !key.uri.is_reserved()) else {
            return;
        };
        if first || self.is_wanted(ON_SUBSCRIBE) {
            let change = Change {
                session,
                subscription: id,
                policy: key.policy,
                uri: key.uri.clone(),
                what: What::Came {
                    first: first.then_some(created_ms),
                },
            };
            self.report(turn, change);
        }
    }

    /// A session of this node that had heard SUBSCRIBED is no subscriber any more.
    pub(in crate::router) fn on_subscriber_went(
        &mut self,
        turn: &mut Turn<'_>,
        session: SessionId,
        id: SubscriptionId,
        key: &TopicKey,
    ) {
        let topic = self.broker.topics.get(key.policy, &key.uri);
        let last = topic.is_none_or(|topic| topic.groups().all(|(_, group)| group.active.is_empty()));
        if last {
            self.meta.created.remove(&id);
        }
        if !key.uri.is_reserved() && (last || self.is_wanted(ON_UNSUBSCRIBE)) {
            let change = Change {
                session,
                subscription: id,
                policy: key.policy,
                uri: key.uri.clone(),
                what: What::Went { last },
            };
            self.report(turn, change);
        }
    }

    pub(super) fn tell_created(&mut self, turn: &mut Turn<'_>, session: SessionId, id: SubscriptionId, row: &Row) {
        if self.is_wanted(ON_CREATE) {
            let about = About::Subscription(row.policy, row.uri.clone());
            let args = [session.get().into(), row.details(id).into()];
            self.publish_meta(turn, ON_CREATE, id, about, &args);
        }
    }

    pub(super) fn tell_subscribed(&mut self, turn: &mut Turn<'_>, session: SessionId, id: SubscriptionId, about: About) {
        self.tell_change(turn, ON_SUBSCRIBE, session, id, about);
    }

    pub(super) fn tell_unsubscribed(&mut self, turn: &mut Turn<'_>, session: SessionId, id: SubscriptionId, about: About) {
        self.tell_change(turn, ON_UNSUBSCRIBE, session, id, about);
    }

    pub(super) fn tell_deleted(&mut self, turn: &mut Turn<'_>, session: SessionId, id: SubscriptionId, about: About) {
        self.tell_change(turn, ON_DELETE, session, id, about);
    }

    fn tell_change(&mut self, turn: &mut Turn<'_>, topic: &str, session: SessionId, id: SubscriptionId, about: About) {
        if self.is_wanted(topic) {
            self.publish_meta(turn, topic, id, about, &[session.get().into(), id.get().into()]);
        }
    }

    /// True if any node, as far as this one knows, has a subscriber of `topic`.
    fn is_wanted(&self, topic: &str) -> bool {
        self.listens(topic) || self.broker.interested.matches(topic).next().is_some()
    }

    /// Publishes an event of the router about a subscription.
    fn publish_meta(&mut self, turn: &mut Turn<'_>, topic: &str, id: SubscriptionId, about: About, args: &[Value]) {
        let payload = Payload::from_values(Serializer::MsgPack, args, &Dict::new());
        let event = Event {
            publication: self.ids.publication(),
            topic: Uri::from(topic),
            publisher: lane(id),
            exclude_me: false,
            acknowledged: false,
            keep: None,
            audience: Audience::who_sees(about),
            details: Dict::new(),
            payload,
        };
        self.publish(turn, event);
    }

    /// The time, milliseconds since 1970 (UTC), by what the log last said; 0 if it said nothing yet.
    fn unix_ms(&self, now: Instant) -> u64 {
        let Some((heard, unix_ms)) = self.meta.clock else { return 0 };
        let since = now.saturating_duration_since(heard).as_millis();
        unix_ms.saturating_add(u64::try_from(since).unwrap_or(u64::MAX))
    }
}
