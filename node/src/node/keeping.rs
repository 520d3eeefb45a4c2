//! The stores of a node, and which realm keeps what in which.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use crate::{
    config::{self, Config},
    router::{
        Input, MatchPolicy, RealmConfig,
        kept::{Copies, KeptRule, Retain, RetainedLimits},
    },
    session::{
        keeping::{KeepRule, Keeping},
        realm::RealmHandle,
    },
    store::{Bounds, Effort, Embedded, Error, LogName, QueueBounds, Redis, RedisSettings, StoreHandle},
    wamp::Uri,
};

/// The stores of this node.
pub(super) struct Stores {
    embedded: StoreHandle,
    redis: Option<StoreHandle>,
}

impl Stores {
    /// Opens them. A Redis server need not be up.
    pub(super) fn open(config: &Config) -> Result<Self, Error> {
        let store = &config.store;
        let bounds = QueueBounds {
            bytes_max: store.queue_bytes_max,
            queries_max: store.queries_max,
            ..QueueBounds::default()
        };
        let embedded = match &config.cluster.data_dir {
            Some(folder) => {
                std::fs::create_dir_all(folder).map_err(|error| Error::Unavailable {
                    what: "making the data directory",
                    reason: error.to_string(),
                })?;
                Embedded::open(&folder.join("events.redb"), store.cache_bytes)?
            }
            None => Embedded::in_memory()?,
        };
        let redis = match &store.redis {
            Some(redis) => {
                let settings = RedisSettings {
                    url: redis.url.expose().to_owned(),
                    prefix: format!("{}:{}", redis.prefix, config.cluster.id),
                    timeout: redis.timeout(),
                };
                Some(StoreHandle::start(Arc::new(Redis::new(settings)?), bounds))
            }
            None => None,
        };
        let embedded = StoreHandle::start(Arc::new(embedded), bounds);
        Ok(Self { embedded, redis })
    }

    /// Where a realm keeps its events.
    pub(super) fn keeping(&self, realm: &config::Realm, config: &Config) -> Keeping {
        let name = Uri::from(realm.name.as_str());
        let rules = realm.topics.iter().map(|topic| KeepRule {
            store: self.of(topic.store).clone(),
            history: topic.history.as_ref().map(|history| {
                let log = LogName {
                    realm: name.clone(),
                    policy: match topic.r#match {
                        config::Match::Exact => "exact",
                        config::Match::Prefix => "prefix",
                        config::Match::Wildcard => "wildcard",
                    },
                    uri: Uri::from(topic.uri.as_str()),
                };
                let bounds = Bounds {
                    events_max: history.max_events,
                    bytes_max: history.max_bytes,
                    age_max: (history.max_age_secs > 0).then(|| Duration::from_secs(history.max_age_secs)),
                };
                (Arc::new(log), bounds)
            }),
        });
        Keeping {
            rules: rules.collect(),
            realm: name,
            default: self.embedded.clone(),
            effort: Effort {
                // Where messages are small, so is the default.
                bytes_max: config.store.answer_bytes_max.min(config.limits.message_bytes_max / 4),
                scanned_max: SCANNED_MAX,
            },
        }
    }

    /// All of them, by the names that the configuration has for them.
    pub(super) fn named(&self) -> Vec<(&'static str, StoreHandle)> {
        let embedded = std::iter::once(("embedded", self.embedded.clone()));
        embedded.chain(self.redis.clone().map(|redis| ("redis", redis))).collect()
    }

    fn of(&self, kind: config::StoreKind) -> &StoreHandle {
        match kind {
            config::StoreKind::Embedded => &self.embedded,
            // The configuration was checked: who says redis has one.
            config::StoreKind::Redis => self.redis.as_ref().unwrap_or(&self.embedded),
        }
    }

    /// Waits until everything is written, or for `bound`.
    pub(super) async fn finish(&self, bound: Duration) {
        for store in [Some(&self.embedded), self.redis.as_ref()].into_iter().flatten() {
            if tokio::time::timeout(bound, store.flush()).await.is_err() {
                tracing::warn!("a store did not take everything in time; what waited is lost");
            }
        }
    }
}

/// How many events one question may look at, those that its asker may not see included.
const SCANNED_MAX: usize = 100_000;

/// What the core of a realm has to know.
pub(super) fn configure(core: &mut RealmConfig, realm: &config::Realm, store: &config::Store) {
    core.kept = realm.topics.iter().map(rule).collect();
    core.retained = RetainedLimits {
        topics_max: store.retained_topics_max,
        bytes_max: store.retained_bytes_max,
        ..RetainedLimits::default()
    };
    core.limits.history_answer_max = store.answer_events_max;
}

fn rule(topic: &config::Topic) -> KeptRule {
    KeptRule {
        policy: match topic.r#match {
            config::Match::Exact => MatchPolicy::Exact,
            config::Match::Prefix => MatchPolicy::Prefix,
            config::Match::Wildcard => MatchPolicy::Wildcard,
        },
        uri: Uri::from(topic.uri.as_str()),
        retain: topic.retain.map(|retain| match retain {
            config::Retain::Never => Retain::Never,
            config::Retain::Asked => Retain::Asked,
            config::Retain::Always => Retain::Always,
        }),
        empty_clears: topic.empty_clears,
        history: topic.history.as_ref().map(|_| match topic.store {
            config::StoreKind::Embedded => Copies::OnEachNode,
            config::StoreKind::Redis => Copies::Shared,
        }),
    }
}

/// Tells a realm the time now and then, and trims its histories by age; ends with the realm's cluster part, when it is aborted.
pub(super) async fn look_after(realm: RealmHandle, keeping: Keeping) {
    let mut tick = tokio::time::interval(EVERY);
    loop {
        tick.tick().await;
        tell_time(&realm);
        keeping.trim();
    }
}

/// How often clocks are compared: they drift by milliseconds in that time.
pub(super) const EVERY: Duration = Duration::from_secs(30);

/// Tells a realm the time.
pub(super) fn tell_time(realm: &RealmHandle) {
    let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let time = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    realm.change_core(|core, _, _| core.set_wall_clock(Instant::now(), time));
}

/// Gives a realm what its stores have retained, before any session joins, and says how far its histories go.
///
/// # Errors
/// The database of this node cannot be read.
pub(super) async fn restore(realm: &RealmHandle, keeping: &Keeping) -> Result<(), Error> {
    let ends = keeping.ends().await?;
    realm.change_core(|core, _, _| core.set_history_ends(ends));
    let retained = keeping.retained().await;
    if !retained.is_empty() {
        realm.input(Input::Retained(retained));
    }
    Ok(())
}
