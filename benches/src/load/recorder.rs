//! Counts operations and their latencies.

use std::{
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
};

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// What a run records while it is measured.
#[derive(Debug)]
pub(super) struct Recorder {
    /// Nanoseconds, three significant digits.
    histogram: Histogram<u64>,
    pub(super) first_failure: Option<String>,
}

/// Latencies above are counted as this one, an hour.
const LATENCY_MAX_NANOS: u64 = 3_600_000_000_000;

impl Recorder {
    pub(super) fn record(&mut self, nanos: u64) {
        self.histogram.saturating_record(nanos);
    }

    pub(super) fn operations(&self) -> u64 {
        self.histogram.len()
    }

    /// Each recorded value in nanoseconds and how often it was seen, for another process to add to its own.
    pub(super) fn counts(&self) -> Vec<(u64, u64)> {
        let recorded = self.histogram.iter_recorded();
        recorded
            .map(|value| (value.value_iterated_to(), value.count_at_value()))
            .collect()
    }

    /// Adds what another recorder has counted.
    pub(super) fn add(&mut self, counts: &[(u64, u64)]) {
        for (nanos, count) in counts {
            self.histogram.saturating_record_n(*nanos, *count);
        }
    }

    pub(super) fn latency(&self) -> Latency {
        let quantile = |q| self.histogram.value_at_quantile(q) as f64 / 1000.0;
        Latency {
            p50_us: quantile(0.5),
            p99_us: quantile(0.99),
            p999_us: quantile(0.999),
            max_us: self.histogram.max() as f64 / 1000.0,
            mean_us: self.histogram.mean() / 1000.0,
        }
    }
}

/// The latencies of a run in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// Median.
    pub p50_us: f64,
    /// 99 of 100 are at most so.
    pub p99_us: f64,
    /// 999 of 1,000.
    pub p999_us: f64,
    /// The worst.
    pub max_us: f64,
    /// The mean.
    pub mean_us: f64,
}

impl fmt::Display for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "p50 {:.0} µs, p99 {:.0} µs, max {:.0} µs",
            self.p50_us, self.p99_us, self.max_us
        )
    }
}

/// A recorder that the tasks of a run write together.
#[derive(Debug)]
pub(super) struct Shared(Mutex<Recorder>);

impl Default for Shared {
    fn default() -> Self {
        let histogram = Histogram::new_with_bounds(1, LATENCY_MAX_NANOS, 3).expect("1 .. 1 hour and 3 digits are legal bounds");
        Self(Mutex::new(Recorder {
            histogram,
            first_failure: None,
        }))
    }
}

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, Recorder> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
