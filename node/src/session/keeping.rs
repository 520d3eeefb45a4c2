//! The keeping of events: what the core asks of the store, carried out.
//!
//! One [`Keeping`] per realm knows which entry of the configuration keeps what where. Writes go into the queue of a store and never
//! wait; a question is asked by a task of its own, which also builds the answer, so that the realm is entered only to hand it over.

use std::sync::Arc;

use super::cluster::Drain;
use crate::{
    router::kept::{AskHistory, HistoryAnswer, HistoryFailure, HistoryPage, Keep, Retained, TellHistory, history_payload},
    store::{Bounds, Effort, Error, LogName, RetainedTopic, StoreHandle, Write},
    wamp::{Uri, history::Filter, timestamp::Micros},
};

/// What one entry of the configuration keeps, and where.
#[derive(Clone)]
pub struct KeepRule {
    /// Where.
    pub store: StoreHandle,
    /// Its history, if it has one, and how much that keeps.
    pub history: Option<(Arc<LogName>, Bounds)>,
}

/// Where the events of a realm are kept.
#[derive(Clone)]
pub struct Keeping {
    /// The realm.
    pub realm: Uri,
    /// The entries of the configuration, in its order.
    pub rules: Vec<KeepRule>,
    /// Where retained events of other topics are kept.
    pub default: StoreHandle,
    /// How much work one question may make.
    pub effort: Effort,
}

impl Keeping {
    /// Carries out a request of the core; it only enqueues.
    pub(super) fn keep(&self, keep: Keep) {
        match keep {
            Keep::Append { rules, event, own } => {
                for rule in rules.into_iter().filter_map(|at| self.rules.get(at)) {
                    // Who shares a store leaves the writing to the publisher's node.
                    if let Some((log, bounds)) = rule.history.as_ref().filter(|_| own || !rule.store.is_shared()) {
                        let (log, bounds, event) = (Arc::clone(log), *bounds, Arc::clone(&event));
                        rule.store.write(Write::Append { log, bounds, event });
                    }
                }
            }
            Keep::Retain { rule, retained, own } => {
                let store = self.store(rule);
                // One that ends with this process need not be told: the core has it in memory too.
                if store.is_durable() && (own || !store.is_shared()) {
                    let Retained { topic, cleared, events } = *retained;
                    let events = events.iter().map(|event| (**event).clone()).collect();
                    let (realm, topic) = (self.realm.clone(), Box::new(RetainedTopic { topic, cleared, events }));
                    store.write(Write::Retain { realm, topic });
                }
            }
            Keep::Forget { rule, topic } => {
                let realm = self.realm.clone();
                self.store(rule).write(Write::Forget { realm, topic });
            }
        }
    }

    fn store(&self, rule: Option<usize>) -> &StoreHandle {
        rule.and_then(|at| self.rules.get(at))
            .map_or(&self.default, |rule| &rule.store)
    }

    /// Every store, each once as far as that shows.
    fn stores(&self) -> impl Iterator<Item = &StoreHandle> {
        let mut seen = [false; 2];
        let all = std::iter::once(&self.default).chain(self.rules.iter().map(|rule| &rule.store));
        all.filter(move |store| !std::mem::replace(&mut seen[usize::from(store.is_shared())], true))
    }

    /// Asks the store.
    pub(super) async fn answer(&self, ask: AskHistory) -> HistoryAnswer {
        let (session, request) = (ask.session, ask.request);
        let result = match self.rules.get(ask.rule).and_then(|rule| Some((rule, rule.history.as_ref()?))) {
            None => Err(HistoryFailure::Unavailable),
            Some((rule, (log, _))) => match rule.store.query(log, &ask.filter, self.effort).await {
                Ok(found) => Ok(history_payload(&ask, found)),
                Err(Error::UnknownPublication(id)) => Err(HistoryFailure::UnknownPublication(id)),
                Err(error) => {
                    tracing::warn!(realm = %self.realm, %error, "a question about a history was not answered");
                    Err(HistoryFailure::Unavailable)
                }
            },
        };
        HistoryAnswer {
            session,
            request,
            result,
        }
    }

    /// Looks up what another node lacks; `None` if the store does not answer.
    pub(super) async fn page(&self, tell: TellHistory) -> Option<HistoryPage> {
        let rule = self.rules.get(tell.rule)?;
        let (log, _) = rule.history.as_ref()?;
        let effort = Effort {
            bytes_max: PAGE_BYTES,
            ..self.effort
        };
        match rule.store.query(log, &tell.filter, effort).await {
            Ok(found) => Some(HistoryPage {
                to: tell.to,
                rule: tell.rule,
                found,
            }),
            Err(error) => {
                tracing::warn!(realm = %self.realm, %error, "another node was not told what it lacks of a history");
                None
            }
        }
    }

    /// When the newest event of each history of this node's own was published; 0 where there is none.
    ///
    /// # Errors
    /// A store cannot be read.
    pub async fn ends(&self) -> Result<Vec<Micros>, Error> {
        let newest = Filter {
            reverse: true,
            ..Filter::all(1)
        };
        let mut ends = Vec::new();
        for rule in &self.rules {
            let end = match rule.history.as_ref().filter(|_| !rule.store.is_shared()) {
                Some((log, _)) => rule.store.query(log, &newest, self.effort).await?.events.pop(),
                None => None,
            };
            ends.push(end.map_or(0, |event| event.stamp.time));
        }
        Ok(ends)
    }

    /// What the stores have retained for this realm. A store that cannot be read is logged; what it has comes back from other nodes,
    /// or when it is published again.
    pub async fn retained(&self) -> Vec<Retained> {
        let mut all = Vec::new();
        for store in self.stores() {
            match store.retained(&self.realm).await {
                Ok(topics) => all.extend(topics.into_iter().map(|topic| Retained {
                    topic: topic.topic,
                    cleared: topic.cleared,
                    events: topic.events.into_iter().map(Arc::new).collect(),
                })),
                Err(error) => tracing::warn!(realm = %self.realm, %error, "the store does not tell what is retained"),
            }
        }
        all
    }

    /// Trims the histories by age, which no event of theirs does while none comes.
    pub fn trim(&self) {
        for rule in &self.rules {
            if let Some((log, bounds)) = rule.history.as_ref().filter(|(_, bounds)| bounds.age_max.is_some()) {
                let (log, bounds) = (Arc::clone(log), *bounds);
                rule.store.write(Write::Trim { log, bounds });
            }
        }
    }

    /// The stores whose queues fill faster than they are written.
    pub(super) fn congested(&self) -> Vec<Arc<dyn Drain>> {
        let congested = self.stores().filter(|store| store.congestion().is_some());
        congested
            .map(|store| Arc::new(Queue(store.clone())) as Arc<dyn Drain>)
            .collect()
    }
}

/// About how much of a history one message to another node holds.
const PAGE_BYTES: usize = 128 << 10;

/// The queue of a store, for those who wait until it has drained.
struct Queue(StoreHandle);

impl Drain for Queue {
    fn congestion(&self) -> Option<u64> {
        self.0.congestion()
    }

    fn set_laggard(&self) {
        self.0.set_laggard();
    }
}
