//! The memory of the routers over hours, and whether it grows.

use std::{sync::mpsc, thread, time::Duration};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use crate::{load::series::line_through, usage};

/// Memory of each router over time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    /// The processes.
    pub pids: Vec<u32>,
    /// What they held, in order of time; at most 2,000 samples, so that a long run has them further apart.
    pub samples: Vec<Sample>,
    /// Of each process: how its resident memory changed over the second half of the run.
    pub trends: Vec<Trend>,
}

/// One look at all processes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// Seconds since the measurement began.
    pub at_secs: f64,
    /// Resident KiB of each process.
    pub rss_kib: Vec<u64>,
    /// Proportional KiB of each process; 0 where the kernel does not tell.
    pub pss_kib: Vec<u64>,
}

/// A straight line through samples (least squares).
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Trend {
    /// How fast it rises.
    pub kib_per_hour: f64,
    /// Its value at the beginning of the measurement.
    pub start_kib: f64,
}

/// Samples kept; then every other one goes.
const SAMPLES_MAX: usize = 2000;

impl Memory {
    /// An empty curve of `pids`.
    pub fn of(pids: Vec<u32>) -> Self {
        Self { pids, ..Self::default() }
    }

    /// Adds a sample that is later than all others.
    pub fn push(&mut self, sample: Sample) {
        self.samples.push(sample);
        if self.samples.len() > SAMPLES_MAX {
            let mut index = 0;
            self.samples.retain(|_| {
                index += 1;
                index % 2 == 1
            });
        }
    }

    /// Draws the trends through what was sampled in the second half.
    pub fn conclude(&mut self) {
        let end = self.samples.last().map_or(0.0, |sample| sample.at_secs);
        let late = || self.samples.iter().filter(|sample| sample.at_secs >= end / 2.0);
        let of = |process: usize| {
            let points: Vec<(f64, f64)> = late()
                .filter_map(|sample| Some((sample.at_secs, *sample.rss_kib.get(process)? as f64)))
                .collect();
            Trend::through(&points)
        };
        self.trends = (0..self.pids.len()).map(of).collect();
    }

    /// The steepest trend in KiB per hour, if any process was watched.
    pub fn worst_slope(&self) -> Option<f64> {
        self.trends.iter().map(|trend| trend.kib_per_hour).max_by(f64::total_cmp)
    }
}

impl Trend {
    /// The line that lies closest to `points` (seconds, KiB); flat if they are at one instant.
    fn through(points: &[(f64, f64)]) -> Self {
        let (per_sec, start_kib) = line_through(points);
        Self {
            kib_per_hour: per_sec * 3600.0,
            start_kib,
        }
    }
}

/// Samples in a thread of its own: for proportional memory the kernel walks all pages, which takes a while.
pub(super) struct Watching {
    stop: mpsc::Sender<()>,
    ended: oneshot::Receiver<(Memory, Option<String>)>,
}

impl Watching {
    /// Looks at `pids` at once and `every` so often.
    pub(super) fn start(pids: &[u32], every: Duration) -> Result<Self> {
        let ((stop, stopped), (end, ended)) = (mpsc::channel(), oneshot::channel());
        let pids = pids.to_vec();
        thread::Builder::new()
            .name("memory".to_owned())
            .spawn(move || {
                // Nobody listens when the run has failed already.
                end.send(watch(pids, every, &stopped)).ok();
            })
            .context("no thread to watch memory")?;
        Ok(Self { stop, ended })
    }

    /// Returns when a process is gone, and with its name.
    pub(super) async fn until_gone(&mut self) -> (Memory, String) {
        match (&mut self.ended).await {
            Ok((memory, reason)) => (memory, reason.unwrap_or_default()),
            Err(_) => (Memory::default(), "the watch on memory has ended".to_owned()),
        }
    }

    /// Takes a last sample.
    pub(super) async fn finish(self) -> Memory {
        drop(self.stop);
        self.ended.await.map_or_else(|_| Memory::default(), |(memory, _)| memory)
    }
}

fn watch(pids: Vec<u32>, every: Duration, stopped: &mpsc::Receiver<()>) -> (Memory, Option<String>) {
    let start = std::time::Instant::now();
    let mut memory = Memory::of(pids);
    let mut ended = false;
    let gone = loop {
        match usage::sample(&memory.pids) {
            // In the order of the pids as they were given.
            Ok(usage) => memory.push(Sample {
                at_secs: start.elapsed().as_secs_f64(),
                rss_kib: memory.pids.iter().map(|pid| usage[pid].rss_kib).collect(),
                pss_kib: memory.pids.iter().map(|pid| usage[pid].pss_kib).collect(),
            }),
            Err(error) => break Some(format!("{error:#}")),
        }
        if ended {
            break None;
        }
        ended = !matches!(stopped.recv_timeout(every), Err(mpsc::RecvTimeoutError::Timeout));
    };
    memory.conclude();
    (memory, gone)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory(rss: impl Fn(f64) -> f64, samples: u32) -> Memory {
        let mut memory = Memory::of(vec![7]);
        for index in 0..samples {
            let at_secs = f64::from(index) * 5.0;
            memory.push(Sample {
                at_secs,
                rss_kib: vec![rss(at_secs) as u64],
                pss_kib: vec![0],
            });
        }
        memory.conclude();
        memory
    }

    #[test]
    fn a_leak_shows_as_its_rate_also_when_samples_were_thinned_out() {
        for samples in [20, 1999, 30_000] {
            let memory = memory(|secs| 50_000.0 + secs * 2.0, samples);
            assert!(memory.samples.len() <= SAMPLES_MAX);
            assert!((memory.worst_slope().unwrap() - 7200.0).abs() < 1.0, "{:?}", memory.trends);
            assert!((memory.trends[0].start_kib - 50_000.0).abs() < 5.0);
        }
    }

    #[test]
    fn what_a_router_takes_at_the_beginning_is_no_leak() {
        let memory = memory(|secs| 90_000.0 - 40_000.0 * (-secs / 60.0).exp(), 700);
        assert!(memory.worst_slope().unwrap().abs() < 5.0, "{:?}", memory.trends);
    }

    #[test]
    fn no_process_and_one_sample_have_no_slope_to_speak_of() {
        assert_eq!(Memory::default().worst_slope(), None);
        assert_eq!(memory(|_| 5.0, 1).worst_slope(), Some(0.0));
    }

    #[tokio::test]
    async fn watching_ends_with_a_process_or_when_told() {
        let watching = Watching::start(&[std::process::id()], Duration::from_millis(20)).unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
        let memory = watching.finish().await;
        assert!(memory.samples.len() >= 2 && memory.samples[0].rss_kib[0] > 100);
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let mut watching = Watching::start(&[child.id()], Duration::from_millis(20)).unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
        let id = child.id();
        child.kill().unwrap();
        child.wait().unwrap();
        let (memory, reason) = watching.until_gone().await;
        assert!(!memory.samples.is_empty() && reason.contains(&id.to_string()), "{reason}");
    }
}
