//! The sessions of a storm: each loses its node and comes back by itself, as a device would.
//!
//! A fleet is the part of them that lives in one process. It knows nothing of the others or of the verdict: it reports when its
//! sessions were lost and when they were back, by the wall clock, since processes of one machine share no other.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use tokio::{
    sync::{Semaphore, mpsc},
    task::JoinSet,
    time::{MissedTickBehavior, interval, sleep},
};

use super::backoff::Backoff;
use crate::{
    load::{CONNECTING_MAX, recorder::count_error},
    peer::{Connection, Role, Target},
};

/// Part of the sessions of a storm.
#[derive(Clone, Debug)]
pub struct Fleet {
    /// The node that will be killed.
    pub victim: Target,
    /// Where sessions go then, each beginning with another one and trying the next when refused.
    pub survivors: Vec<Target>,
    /// The number of the first session within the storm.
    pub first: u32,
    /// The number of sessions.
    pub sessions: u32,
    /// The local address they connect from.
    pub source: Option<IpAddr>,
    /// How they wait between attempts.
    pub backoff: Backoff,
}

/// What a fleet tells.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct News {
    /// Sessions that are joined now.
    pub live: u32,
    /// When sessions were lost for the first time since the last news, in microseconds of the Unix epoch.
    pub lost: Vec<u64>,
    /// When sessions were back for the first time since the last news.
    pub back: Vec<u64>,
    /// Sessions that were lost again after they had come back, since the last news.
    pub lost_again: u32,
    /// Attempts that failed since the last news, by reason.
    pub failures: BTreeMap<String, u64>,
    /// The fleet cannot take part, and why.
    pub broken: Option<String>,
}

/// The time between two news.
const NEWS_EVERY: Duration = Duration::from_millis(100);

impl Fleet {
    /// Joins all sessions and keeps them joined until the receiver of the news is dropped. The first attempts are no storm: a
    /// limited number connects at a time, and none may fail.
    pub async fn run(self, news: mpsc::Sender<News>) {
        if let Err(error) = self.live(&news).await {
            let broken = News {
                broken: Some(format!("{error:#}")),
                ..News::default()
            };
            // Without a receiver nobody wants to know.
            news.send(broken).await.ok();
        }
    }

    async fn live(self, news: &mpsc::Sender<News>) -> Result<()> {
        let log = Arc::new(Log::default());
        let permits = Arc::new(Semaphore::new(CONNECTING_MAX));
        let from_source = |target: &Target| {
            self.source
                .map_or_else(|| target.clone(), |source| target.from_source(source))
        };
        let survivors: Arc<[Target]> = self.survivors.iter().map(from_source).collect();
        let victim = Arc::new(from_source(&self.victim));
        let mut tasks = JoinSet::new();
        for index in self.first..self.first + self.sessions {
            let session = Session {
                index,
                log: log.clone(),
                survivors: survivors.clone(),
                backoff: self.backoff.of_session(index),
            };
            tasks.spawn(session.live(victim.clone(), permits.clone()));
        }
        let mut ticks = interval(NEWS_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => if news.send(log.take()).await.is_err() {
                    return Ok(());
                },
                () = news.closed() => return Ok(()),
                Some(ended) = tasks.join_next() => ended.context("a session of the fleet has panicked")??,
            }
        }
    }
}

/// What the sessions have seen since the last news.
#[derive(Default)]
struct Log(Mutex<News>);

impl Log {
    fn lock(&self) -> MutexGuard<'_, News> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> News {
        let mut news = self.lock();
        let live = news.live;
        std::mem::replace(&mut *news, News { live, ..News::default() })
    }
}

struct Session {
    index: u32,
    log: Arc<Log>,
    survivors: Arc<[Target]>,
    backoff: Backoff,
}

impl Session {
    async fn live(mut self, victim: Arc<Target>, permits: Arc<Semaphore>) -> Result<()> {
        let permit = permits.acquire().await?;
        let mut connection = self.join(&victim).await?;
        drop(permit);
        self.log.lock().live += 1;
        let mut returned = false;
        loop {
            until_lost(&mut connection).await;
            {
                let mut log = self.log.lock();
                log.live -= 1;
                if returned {
                    log.lost_again += 1;
                } else {
                    log.lost.push(unix_us());
                }
            }
            // The old socket closes before the new one opens, or half as many sessions would exhaust the open files.
            drop(connection);
            connection = self.rejoin().await;
            let mut log = self.log.lock();
            log.live += 1;
            if !std::mem::replace(&mut returned, true) {
                log.back.push(unix_us());
            }
        }
    }

    /// Tries until it succeeds; who has no more patience drops the fleet.
    async fn rejoin(&mut self) -> Connection {
        self.backoff.reset();
        loop {
            sleep(self.backoff.wait()).await;
            let at = (self.index as usize + self.backoff.attempts()) % self.survivors.len().max(1);
            match self.join(&self.survivors[at]).await {
                Ok(connection) => return connection,
                Err(error) => count_error(&mut self.log.lock().failures, error.root_cause().to_string(), 1),
            }
        }
    }

    async fn join(&self, target: &Target) -> Result<Connection> {
        let role = Role::Caller {
            index: self.index,
            procedure: "ringfort.bench.storm".to_owned(),
        };
        let mut connection = target.connect(&role).await?;
        connection.slim();
        Ok(connection)
    }
}

/// Answers the router's pings until the connection ends.
async fn until_lost(connection: &mut Connection) {
    while connection.turn().await.is_ok() {
        while match connection.take() {
            Ok(incoming) => incoming.is_some(),
            Err(_) => return,
        } {}
        connection.slim();
    }
}

/// The wall clock in microseconds.
pub(super) fn unix_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}
