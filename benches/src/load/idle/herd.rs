//! The idle sessions of one process.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU32, Ordering},
};

use anyhow::Result;
use futures_util::{StreamExt as _, stream};
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use super::{Plan, Share, limits, recorder};
use crate::{peer::Connection, tag::Clock};

/// What became of the sessions of a share.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Joined {
    /// How many were let in.
    pub joined: u32,
    /// How many of those ended by themselves.
    pub ended: u32,
    /// The first reason for either.
    pub first_failure: Option<String>,
    /// Nanoseconds from dialling to being in, with their counts.
    pub latencies: Vec<(u64, u64)>,
}

/// The sessions, as long as it is not dropped.
pub(super) struct Herd {
    joined: Joined,
    watched: Arc<Watched>,
    /// One for each session; aborted on drop.
    _tasks: JoinSet<()>,
}

#[derive(Default)]
struct Watched {
    ended: AtomicU32,
    first_failure: Mutex<Option<String>>,
}

/// A router that refuses so many is not asked further.
const REFUSED_MAX: u32 = 100;

impl Herd {
    /// Joins the share's sessions, some at a time.
    pub(super) async fn join(plan: &Plan, share: Share) -> Result<Self> {
        let count = share.of(plan.sessions);
        limits::allow_connections(count.into())?;
        // With several processes each begins at another source.
        let targets: Vec<_> = match &plan.sources[..] {
            [] => vec![plan.at.clone()],
            sources => sources.iter().map(|source| plan.at.from_source(*source)).collect(),
        };
        let clock = Clock::start();
        let entering = (0..count as usize).map(|number| {
            let target = &targets[(number + share.index as usize) % targets.len()];
            async move {
                let began = clock.nanos();
                (target.enter().await, began)
            }
        });
        let mut entered = stream::iter(entering).buffer_unordered(plan.joining.max(1) as usize);
        let mut herd = Self {
            joined: Joined::default(),
            watched: Arc::default(),
            _tasks: JoinSet::new(),
        };
        let recorder = recorder::Shared::default();
        let mut refused = 0;
        while let Some((connection, began)) = entered.next().await {
            match connection {
                Ok(connection) => {
                    recorder.lock().record(clock.nanos().saturating_sub(began));
                    herd.joined.joined += 1;
                    herd._tasks.spawn(herd.watched.clone().watch(connection));
                }
                Err(error) => {
                    herd.watched.note(format!("{error:#}"));
                    refused += 1;
                    if refused >= REFUSED_MAX {
                        break;
                    }
                }
            }
        }
        herd.joined.latencies = recorder.lock().counts();
        Ok(herd)
    }

    /// What became of the sessions up to now; they end with the herd.
    pub(super) fn end(&self) -> Joined {
        let mut joined = self.joined.clone();
        joined.ended = self.watched.ended.load(Ordering::Relaxed);
        joined.first_failure = self.watched.lock().clone();
        joined
    }
}

impl Watched {
    /// Answers pings, and notes it if the session ends.
    async fn watch(self: Arc<Self>, mut connection: Connection) {
        let error = loop {
            connection.slim();
            if let Err(error) = connection.turn().await {
                break error;
            }
            loop {
                match connection.take() {
                    Ok(Some(_)) => {}
                    Ok(None) => break,
                    Err(error) => return self.end(&error),
                }
            }
            if let Err(error) = connection.flush().await {
                break error;
            }
        };
        self.end(&error);
    }

    fn end(&self, error: &anyhow::Error) {
        self.ended.fetch_add(1, Ordering::Relaxed);
        self.note(format!("{error:#}"));
    }

    fn note(&self, failure: String) {
        self.lock().get_or_insert(failure);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        self.first_failure.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
