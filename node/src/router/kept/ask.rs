//! `wamp.subscription.get_events`.
//!
//! Choice: a keyword that the text does not know is refused, since it was meant to change the answer and would not; null stands for one
//! that is not there. A publication that is not in the history is refused too: paging that went on from the beginning, or ended, would
//! be taken for the truth. Who may subscribe there may ask, if it may call the procedure.

use crate::{
    router::{
        Effect, MatchPolicy, Realm, Right,
        turn::{Turn, because},
    },
    wamp::{
        Dict, Message, Payload, PublicationId, RequestId, Serializer, SessionId, SubscriptionId, Uri, Value, error_uri,
        history::{Filter, Found},
        message::code,
        timestamp,
    },
};

/// A question to the store; answered by one [`HistoryAnswer`].
#[derive(Clone, Debug, PartialEq)]
pub struct AskHistory {
    /// Who asks.
    pub session: SessionId,
    /// Its CALL.
    pub request: RequestId,
    /// The subscription it asks about.
    pub subscription: SubscriptionId,
    /// Whose history it is: a place in [`crate::router::RealmConfig::kept`].
    pub rule: usize,
    /// True if the events are of more than one topic, and say of which.
    pub names_topics: bool,
    /// Which events.
    pub filter: Filter,
}

/// The answer to an [`AskHistory`].
#[derive(Clone, Debug, PartialEq)]
pub struct HistoryAnswer {
    /// Who asked.
    pub session: SessionId,
    /// Its CALL.
    pub request: RequestId,
    /// The payload of its RESULT ([`history_payload`]), or why there is none.
    pub result: Result<Payload, HistoryFailure>,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HistoryFailure {
    /// A filter names a publication that is not, or no longer, in the history.
    UnknownPublication(PublicationId),
    /// The store cannot answer now.
    Unavailable,
}

/// What a RESULT of `get_events` carries: an event per argument, and `is_limit_reached` if there may be more.
pub fn history_payload(ask: &AskHistory, found: Found) -> Payload {
    let events = found.events.into_iter().map(|event| {
        let mut details = event.details;
        if ask.names_topics {
            details.set("topic", event.topic.as_str());
        }
        let mut told = Dict::new()
            .with("timestamp", timestamp::format(event.stamp.time))
            .with("subscription", ask.subscription.get())
            .with("publication", event.stamp.publication.get())
            .with("details", details);
        // What this router has kept can be read; were it not so, the event would come without its payload.
        let (args, kwargs) = event.payload.to_values().unwrap_or_default();
        if event.payload.elements() > 0 {
            told.set("args", args);
        }
        if event.payload.elements() > 1 {
            told.set("kwargs", kwargs);
        }
        Value::Dict(told)
    });
    let events: Vec<Value> = events.collect();
    let about = Dict::new().with("is_limit_reached", found.cut);
    Payload::from_values(Serializer::Cbor, &events, &about)
}

impl Realm {
    /// A CALL of `wamp.*`. False: the router has no such procedure.
    pub(in crate::router) fn on_own_call(
        &mut self,
        turn: &mut Turn<'_>,
        session: SessionId,
        request: RequestId,
        procedure: &Uri,
        payload: &Payload,
    ) -> bool {
        self.on_history_call(turn, session, request, procedure, payload)
            || self.on_refresh_call(turn, session, request, procedure, payload)
            || self.on_meta_call(turn, session, request, procedure, payload)
    }

    fn on_history_call(
        &mut self,
        turn: &mut Turn<'_>,
        session: SessionId,
        request: RequestId,
        procedure: &Uri,
        payload: &Payload,
    ) -> bool {
        if procedure.as_str() != GET_EVENTS {
            return false;
        }
        match self.read_ask(session, request, payload) {
            Ok(ask) => {
                self.stats.history_calls += 1;
                self.keeper.asking.insert((session, request));
                turn.effects.push(Effect::AskHistory(Box::new(ask)));
            }
            Err((error, details)) => self.refuse(turn, session, code::CALL, request, error, details),
        }
        true
    }

    fn read_ask(&self, session: SessionId, request: RequestId, payload: &Payload) -> Result<AskHistory, Refusal> {
        let limits = &self.config.limits;
        let of_session = self
            .keeper
            .asking
            .range((session, FIRST)..)
            .take_while(|(of, _)| *of == session);
        if of_session.count() >= limits.history_calls_max {
            let details = because("too many questions of this session about histories wait (setting history_calls_max)");
            return Err((error_uri::UNAVAILABLE, details));
        }
        if payload.bytes().len() > ARGUMENTS_BYTES_MAX {
            return Err(invalid("the arguments are too long"));
        }
        let (args, kwargs) = payload.to_values().map_err(|_| invalid("the arguments cannot be read"))?;
        let [subscription] = args.as_slice() else {
            return Err(invalid("one argument is expected, the subscription"));
        };
        let subscription = id(subscription, SubscriptionId::new).ok_or_else(|| invalid("argument subscription is no id"))?;
        let mut filter = read_filter(&kwargs, limits.history_answer_max)?;
        let Some(asker) = self.asker(session) else {
            return Err((error_uri::NO_SUCH_SESSION, Dict::new()));
        };
        filter.asker = Some(asker);
        if !self.may_read(session, subscription) {
            return Err((
                error_uri::NOT_AUTHORIZED,
                because("this needs the right to subscribe to the topic"),
            ));
        }
        let (rule, topic) = self.history_of(subscription)?;
        if let Some(topic) = topic {
            if filter.topic.as_ref().is_some_and(|wanted| *wanted != topic) {
                filter.limit = 0;
            }
            filter.topic = Some(topic);
        }
        let of_pattern = self
            .keeper
            .rules
            .get(rule)
            .is_some_and(|rule| rule.policy != crate::router::MatchPolicy::Exact);
        Ok(AskHistory {
            session,
            request,
            subscription,
            rule,
            names_topics: of_pattern && self.keeper.histories.contains_key(&subscription),
            filter,
        })
    }

    /// True if the session may subscribe to what it asks about, or nobody has heard of it.
    fn may_read(&self, session: SessionId, subscription: SubscriptionId) -> bool {
        let of_history = self
            .keeper
            .histories
            .get(&subscription)
            .and_then(|rule| self.keeper.rules.get(*rule));
        let key = match of_history {
            Some(rule) => Some((rule.policy, rule.uri.clone())),
            None => self.subscribed_pattern(subscription),
        };
        let Some((asking, (policy, uri))) = self.sessions.get(session).zip(key) else {
            // Whether there is such a subscription is told below.
            return true;
        };
        match policy {
            MatchPolicy::Exact => asking.may.would(&asking.info, Right::Subscribe, &uri),
            _ => {
                let needed = [Right::Subscribe, Right::SubscribePattern];
                asking.may.judge_all(&asking.info, &needed, policy, &uri)
            }
        }
    }

    /// The history that holds the events of a subscription, and the topic to which it is to be narrowed.
    ///
    /// A subscription of one topic under an entry of the configuration for a pattern has its events in the history of that pattern.
    fn history_of(&self, subscription: SubscriptionId) -> Result<(usize, Option<Uri>), Refusal> {
        if let Some(rule) = self.keeper.histories.get(&subscription) {
            return Ok((*rule, None));
        }
        let Some((policy, topic)) = self.subscribed_pattern(subscription) else {
            return Err((error_uri::NO_SUCH_SUBSCRIPTION, Dict::new()));
        };
        let rule = match policy {
            crate::router::MatchPolicy::Exact => self.keeper.rules.kept_by(&topic).first().copied(),
            _ => None,
        };
        let none = || {
            (
                error_uri::HISTORY_UNAVAILABLE,
                because("no history is kept of this subscription's topics"),
            )
        };
        Ok((rule.ok_or_else(none)?, Some(topic)))
    }

    /// The store has answered.
    pub(in crate::router) fn on_history_answer(&mut self, turn: &mut Turn<'_>, answer: HistoryAnswer) {
        let HistoryAnswer {
            session,
            request,
            result,
        } = answer;
        if !self.keeper.asking.remove(&(session, request)) {
            self.stats.dropped_no_session += 1;
            return;
        }
        let (error, details) = match result {
            Ok(payload) => {
                self.stats.results += 1;
                let details = Dict::new();
                turn.send(
                    session,
                    Message::Result {
                        request,
                        details,
                        payload,
                    },
                );
                return;
            }
            Err(HistoryFailure::UnknownPublication(id)) => (
                error_uri::INVALID_ARGUMENT,
                because(&format!("publication {id} is not, or no longer, in this history")),
            ),
            Err(HistoryFailure::Unavailable) => (error_uri::HISTORY_UNAVAILABLE, because("the store does not answer")),
        };
        self.refuse(turn, session, code::CALL, request, error, details);
    }
}

/// The procedure.
const GET_EVENTS: &str = "wamp.subscription.get_events";
/// A URI and a few numbers and times.
const ARGUMENTS_BYTES_MAX: usize = 16 << 10;
const FIRST: RequestId = RequestId::new(1).expect("1 lies in the id range");

type Refusal = (&'static str, Dict);

fn invalid(why: &str) -> Refusal {
    (error_uri::INVALID_ARGUMENT, because(why))
}

fn id<T>(value: &Value, make: impl Fn(u64) -> Option<T>) -> Option<T> {
    value.as_integer().and_then(|raw| u64::try_from(raw).ok()).and_then(make)
}

fn read_filter(kwargs: &Dict, limit_max: usize) -> Result<Filter, Refusal> {
    let mut filter = Filter::all(limit_max);
    let (mut earliest, mut latest) = (0, u64::MAX);
    let mut nothing = false;
    for (key, value) in kwargs.0.iter().filter(|(_, value)| *value != Value::Null) {
        let wrong = |what: &str| invalid(&format!("keyword {key} is no {what}"));
        let publication = || id(value, PublicationId::new).map(Some).ok_or_else(|| wrong("publication id"));
        let time = || {
            let text = value.as_text().and_then(timestamp::parse);
            text.ok_or_else(|| wrong("RFC 3339 time, such as 2024-03-01T12:30:05.25Z"))
        };
        match key.as_str() {
            "reverse" => filter.reverse = value.as_bool().ok_or_else(|| wrong("boolean"))?,
            "limit" => {
                let limit = id(value, |limit| (limit > 0).then_some(limit)).ok_or_else(|| wrong("positive integer"))?;
                filter.limit = usize::try_from(limit).unwrap_or(usize::MAX).min(limit_max);
            }
            "from_time" => {
                let at = time()?;
                earliest = earliest.max(at.micros.saturating_add(u64::from(at.beyond)));
            }
            "after_time" => earliest = earliest.max(time()?.micros.saturating_add(1)),
            "until_time" => latest = latest.min(time()?.micros),
            "before_time" => {
                let at = time()?;
                let last = at.micros.saturating_add(u64::from(at.beyond)).checked_sub(1);
                nothing |= last.is_none();
                latest = latest.min(last.unwrap_or(0));
            }
            "topic" => filter.topic = Some(Uri::from(value.as_text().ok_or_else(|| wrong("URI"))?)),
            "from_publication" => filter.from_publication = publication()?,
            "after_publication" => filter.after_publication = publication()?,
            "before_publication" => filter.before_publication = publication()?,
            "until_publication" => filter.until_publication = publication()?,
            _ => return Err(invalid(&format!("the procedure has no keyword argument {key}"))),
        }
    }
    if nothing {
        earliest = latest.saturating_add(1);
    }
    filter.times = earliest..=latest;
    Ok(filter)
}
