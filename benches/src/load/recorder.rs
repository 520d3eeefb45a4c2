//! Counts operations and their latencies.

use std::sync::{Mutex, MutexGuard, PoisonError};

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// What a run records while it is measured.
#[derive(Debug)]
pub(super) struct Recorder {
    /// Nanoseconds, three significant digits.
    histogram: Histogram<u64>,
    /// Operations without a latency, since they began by another process's clock.
    pub(super) foreign: u64,
    pub(super) first_failure: Option<String>,
}

/// Latencies above are counted as this one, an hour.
const LATENCY_MAX_NANOS: u64 = 3_600_000_000_000;

impl Recorder {
    pub(super) fn record(&mut self, nanos: u64) {
        self.histogram.saturating_record(nanos);
    }

    pub(super) fn operations(&self) -> u64 {
        self.histogram.len() + self.foreign
    }

    pub(super) fn histogram(&self) -> &Histogram<u64> {
        &self.histogram
    }

    pub(super) fn latency(&self) -> Latency {
        Latency::of(&self.histogram)
    }
}

/// A histogram that takes every latency, with three significant digits.
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_MAX_NANOS, 3).expect("1 .. 1 hour and 3 digits are legal bounds")
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

impl Latency {
    /// Reads them from a histogram of nanoseconds.
    pub fn of(histogram: &Histogram<u64>) -> Self {
        let quantile = |q| histogram.value_at_quantile(q) as f64 / 1000.0;
        Self {
            p50_us: quantile(0.5),
            p99_us: quantile(0.99),
            p999_us: quantile(0.999),
            max_us: histogram.max() as f64 / 1000.0,
            mean_us: histogram.mean() / 1000.0,
        }
    }
}

/// A recorder that the tasks of a run write together.
#[derive(Debug)]
pub(super) struct Shared(Mutex<Recorder>);

impl Default for Shared {
    fn default() -> Self {
        Self(Mutex::new(Recorder {
            histogram: histogram(),
            foreign: 0,
            first_failure: None,
        }))
    }
}

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, Recorder> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
