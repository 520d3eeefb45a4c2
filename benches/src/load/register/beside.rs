//! What a disk and a round trip take on this machine, measured beside the registrations.
//!
//! - **Sync**: append a record of [`RECORD_LEN`] bytes to a file and `fdatasync` it, as a log does.
//! - **Round trip**: a ping of WebSocket or RawSocket and its pong, on a session of its own that is otherwise silent.

use std::{
    fmt,
    fs::{self, File, OpenOptions},
    io::Write as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use tokio::{task::spawn_blocking, time::sleep};

use super::Plan;
use crate::{
    load::{Latency, Phase, Run, recorder},
    peer::{session::Session, within},
};

/// Bytes of a record: about what one registration takes in a log.
pub const RECORD_LEN: usize = 256;

/// Syncs and round trips in one quiet measurement, of which there are two.
const QUIET_COUNT: u32 = 250;

/// The pause between two of them under load: few enough to disturb nothing.
const LOADED_PAUSE: Duration = Duration::from_millis(20);

/// How often REGISTERED may wait for the disk and for the network at its 99th percentile.
const SYNCS: f64 = 3.0;
const ROUND_TRIPS: f64 = 2.0;

/// Syncs and round trips, and what they say about REGISTERED.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Beside {
    /// Writing and syncing a small record; absent without `--fsync-dir`.
    pub fsync: Option<Probe>,
    /// A ping and its pong; absent without `--rtt`.
    pub round_trip: Option<Probe>,
    /// 3 syncs and 2 round trips in microseconds, both at their 99th percentile; absent unless both were measured.
    pub bound_us: Option<f64>,
    /// The 99th percentile of REGISTERED divided by the bound.
    pub ratio: Option<f64>,
}

/// One kind of measurement.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Probe {
    /// How many.
    pub count: u64,
    /// How long they took.
    #[serde(flatten)]
    pub latency: Latency,
}

/// Measurements while they are taken.
#[derive(Default)]
pub(super) struct Records {
    fsync: recorder::Shared,
    round_trip: recorder::Shared,
}

/// What measures.
pub(super) struct Probes {
    log: Option<Log>,
    session: Option<Session>,
}

/// A file to append to, removed when dropped.
struct Log {
    path: PathBuf,
    file: File,
}

impl Probes {
    /// Opens what the plan asks for.
    pub(super) async fn open(plan: &Plan) -> Result<Self> {
        let log = plan.fsync_dir.as_deref().map(Log::create).transpose()?;
        let session = if plan.round_trips {
            Some(within("join for round trips", Session::joined(&plan.at)).await?)
        } else {
            None
        };
        Ok(Self { log, session })
    }

    /// Measures one after the other while nothing else goes on.
    pub(super) async fn measure_quietly(mut self, records: &Records) -> Result<Self> {
        for _ in 0..QUIET_COUNT {
            self.measure(records).await?;
        }
        Ok(self)
    }

    /// Measures now and then until the run stops measuring.
    pub(super) async fn measure_along(mut self, run: Arc<Run>, records: Arc<Records>) -> Result<Self> {
        while run.is_sending() {
            sleep(LOADED_PAUSE).await;
            if run.is(Phase::Measuring) {
                self.measure(&records).await?;
            }
        }
        Ok(self)
    }

    async fn measure(&mut self, records: &Records) -> Result<()> {
        if let Some(mut log) = self.log.take() {
            let (log, took) = spawn_blocking(move || log.append().map(|took| (log, took)))
                .await
                .context("appending has panicked")??;
            self.log = Some(log);
            records.fsync.lock().record(nanos(took));
        }
        if let Some(session) = &mut self.session {
            let start = Instant::now();
            within("see a pong", session.ping()).await?;
            records.round_trip.lock().record(nanos(start.elapsed()));
        }
        Ok(())
    }
}

impl Records {
    /// Nothing if nothing was measured.
    pub(super) fn sum_up(&self, registered_p99_us: f64) -> Option<Beside> {
        let probe = |recorder: &recorder::Shared| {
            let recorder = recorder.lock();
            (recorder.operations() > 0).then(|| Probe {
                count: recorder.operations(),
                latency: recorder.latency(),
            })
        };
        let (fsync, round_trip) = (probe(&self.fsync), probe(&self.round_trip));
        (fsync.is_some() || round_trip.is_some()).then(|| Beside::new(fsync, round_trip, registered_p99_us))
    }
}

impl Beside {
    fn new(fsync: Option<Probe>, round_trip: Option<Probe>, registered_p99_us: f64) -> Self {
        let p99 = |probe: Probe| probe.latency.p99_us;
        let bound_us = fsync.zip(round_trip).map(|(f, r)| SYNCS * p99(f) + ROUND_TRIPS * p99(r));
        Self {
            fsync,
            round_trip,
            bound_us,
            ratio: bound_us.map(|bound| registered_p99_us / bound),
        }
    }
}

impl fmt::Display for Beside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, probe) in [("fsync", &self.fsync), ("round trip", &self.round_trip)] {
            if let Some(Probe { count, latency }) = probe {
                writeln!(f, "    {name:10}  {latency} ({count} times)")?;
            }
        }
        if let (Some(bound), Some(ratio)) = (self.bound_us, self.ratio) {
            writeln!(f, "    p99 is {ratio:.2} times 3 fsyncs + 2 round trips ({bound:.0} µs)")?;
        }
        Ok(())
    }
}

impl Log {
    fn create(folder: &Path) -> Result<Self> {
        let path = folder.join(format!("ringfort-bench-fsync-{}", std::process::id()));
        let file = OpenOptions::new().append(true).create_new(true).open(&path);
        let file = file.with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self { path, file })
    }

    fn append(&mut self) -> Result<Duration> {
        let start = Instant::now();
        self.file.write_all(&[b'x'; RECORD_LEN])?;
        self.file
            .sync_data()
            .with_context(|| format!("cannot sync {}", self.path.display()))?;
        Ok(start.elapsed())
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        // A left-over of some KiB in a folder for measurements harms nobody.
        fs::remove_file(&self.path).ok();
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probe(p99_us: f64) -> Option<Probe> {
        let latency = Latency {
            p99_us,
            ..Latency::default()
        };
        Some(Probe { count: 1, latency })
    }

    #[test]
    fn the_bound_is_three_syncs_and_two_round_trips() {
        let beside = Beside::new(probe(1000.0), probe(50.0), 4650.0);
        assert_eq!((beside.bound_us, beside.ratio), (Some(3100.0), Some(1.5)));
        assert_eq!(Beside::new(probe(1000.0), None, 1.0).ratio, None);
        assert!(Records::default().sum_up(1.0).is_none());
    }

    #[test]
    fn a_log_appends_and_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = Log::create(folder.path()).unwrap();
        log.append().unwrap();
        log.append().unwrap();
        assert_eq!(fs::metadata(&log.path).unwrap().len(), 2 * RECORD_LEN as u64);
        assert!(Log::create(folder.path()).is_err(), "one at a time");
        drop(log);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        assert!(Log::create(Path::new("/nonexistent")).is_err());
    }
}
