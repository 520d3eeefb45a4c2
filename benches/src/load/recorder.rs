//! Counts operations and their latencies.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
};

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// What a run records while it is measured.
#[derive(Debug)]
pub(super) struct Recorder {
    /// Nanoseconds, since the [sampler](super::sampler) took it last: it adds the pieces up, so that one recording per operation
    /// serves both the whole and the time series.
    histogram: Histogram<u64>,
    operations: u64,
    /// Further histograms, each over the operations that were due from an instant on; for runs in several parts.
    windows: Vec<(u64, Histogram<u64>)>,
    pub(super) first_failure: Option<String>,
    /// Errors by URI; bounded, see [`Recorder::failure`].
    pub(super) errors: BTreeMap<String, u64>,
}

/// Latencies above are counted as this one, an hour.
const LATENCY_MAX_NANOS: u64 = 3_600_000_000_000;

/// Different errors that are told apart; further ones count together. A router could send a new URI with each answer.
const ERRORS_MAX: usize = 32;

/// What further kinds of errors count as.
const OTHER_ERRORS: &str = "(others)";

/// A histogram of nanoseconds that takes every latency, with three significant digits.
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_MAX_NANOS, 3).expect("1 .. 1 hour and 3 digits are legal bounds")
}

impl Recorder {
    pub(super) fn record(&mut self, nanos: u64) {
        self.histogram.saturating_record(nanos);
        self.operations += 1;
    }

    /// Records into the window that `due` falls into; nothing while there are none.
    pub(super) fn record_in_window(&mut self, due: u64, nanos: u64) {
        if let Some((_, histogram)) = self.windows.iter_mut().rev().find(|(from, _)| *from <= due) {
            histogram.saturating_record(nanos);
        }
    }

    /// From `from` on, by the run's clock, operations count into a window of their own.
    pub(super) fn open_window(&mut self, from: u64) {
        self.windows.push((from, histogram()));
    }

    /// Operations and latencies of each window, in order.
    pub(super) fn windows(&self) -> Vec<(u64, Latency)> {
        self.windows.iter().map(|(_, h)| (h.len(), Latency::of(h))).collect()
    }

    /// Counts operations without a latency, since they began by another process's clock.
    pub(super) fn count_foreign(&mut self, count: u64) {
        self.operations += count;
    }

    pub(super) fn operations(&self) -> u64 {
        self.operations
    }

    /// Exchanges what was recorded since the last exchange for an empty histogram.
    pub(super) fn exchange(&mut self, empty: &mut Histogram<u64>) {
        std::mem::swap(&mut self.histogram, empty);
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
            self.operations += count;
        }
    }

    /// The latencies since the last exchange.
    pub(super) fn latency(&self) -> Latency {
        Latency::of(&self.histogram)
    }

    /// Counts an error; the first one is also kept as it is.
    pub(super) fn failure(&mut self, reason: String) {
        if self.first_failure.is_none() {
            self.first_failure = Some(reason.clone());
        }
        count_error(&mut self.errors, reason, 1);
    }
}

/// Adds `count` to the errors called `reason`.
pub(super) fn count_error(errors: &mut BTreeMap<String, u64>, reason: String, count: u64) {
    let known = errors.len() < ERRORS_MAX || errors.contains_key(&reason);
    *errors
        .entry(if known { reason } else { OTHER_ERRORS.to_owned() })
        .or_default() += count;
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
    /// The latencies in a histogram of nanoseconds.
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
        Self(Mutex::new(Recorder {
            histogram: histogram(),
            operations: 0,
            windows: Vec::new(),
            first_failure: None,
            errors: BTreeMap::new(),
        }))
    }
}

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, Recorder> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_counts_into_the_window_it_was_due_in_however_late_it_ends() {
        let shared = Shared::default();
        let mut recorder = shared.lock();
        recorder.record_in_window(5, 1_000);
        recorder.open_window(10);
        recorder.open_window(20);
        for (due, nanos) in [(9, 1), (10, 1_000_000), (19, 2_000_000), (20, 5_000_000)] {
            recorder.record_in_window(due, nanos);
        }
        let windows = recorder.windows();
        assert_eq!(windows.iter().map(|(count, _)| *count).collect::<Vec<_>>(), [2, 1]);
        assert!((windows[0].1.max_us - 2_000.0).abs() < 5.0, "{windows:?}");
        assert!((windows[1].1.p50_us - 5_000.0).abs() < 10.0, "{windows:?}");
    }

    #[test]
    fn errors_are_counted_by_uri_and_their_kinds_are_bounded() {
        let shared = Shared::default();
        for index in 0..1000 {
            shared.lock().failure(format!("error.{index}"));
            shared.lock().failure("error.0".to_owned());
        }
        let recorder = shared.lock();
        assert_eq!(recorder.first_failure.as_deref(), Some("error.0"));
        assert_eq!(recorder.errors["error.0"], 1001);
        assert_eq!(recorder.errors.len(), ERRORS_MAX + 1);
        assert_eq!(recorder.errors.values().sum::<u64>(), 2000);
    }
}
