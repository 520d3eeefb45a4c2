//! What a run looked like over time and in its latencies, in bounded memory whatever its length.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// More than one figure for the whole run: the plots of a report are made of these.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Trace {
    /// About one point a second, in order; fewer in runs of more than 20 minutes.
    pub series: Vec<Point>,
    /// The latency curve: share of operations (0 to 1) and the microseconds that they took at most, both ascending.
    pub percentiles: Vec<(f64, f64)>,
    /// Errors by URI, over the whole run.
    pub errors: BTreeMap<String, u64>,
}

impl Trace {
    /// The curve of latencies alone, from nanoseconds.
    pub fn of(histogram: &Histogram<u64>) -> Self {
        Self {
            percentiles: percentiles(histogram),
            ..Self::default()
        }
    }
}

/// One interval of the measurement.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// When it ended, in seconds since the measurement began.
    pub at_secs: f64,
    /// Its length in seconds.
    pub secs: f64,
    /// Operations that ended in it.
    pub operations: u64,
    /// Median latency in microseconds; of a joined interval, the mean of the medians, by operations.
    pub p50_us: f64,
    /// 99th percentile in microseconds; of a joined interval, the worse one.
    pub p99_us: f64,
    /// CPU time of all router processes in microseconds; absent when none was named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub router_cpu_us: Option<u64>,
    /// Resident KiB of each router process at the end, in the order of their process ids.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rss_kib: Vec<u64>,
}

impl Point {
    /// Operations per second.
    pub fn per_sec(&self) -> f64 {
        self.operations as f64 / self.secs.max(1e-9)
    }

    /// Router CPU microseconds per operation, if processes were named and anything happened.
    pub fn cpu_per_operation(&self) -> Option<f64> {
        let cpu = self.router_cpu_us.filter(|_| self.operations > 0)?;
        Some(cpu as f64 / self.operations as f64)
    }

    fn join(self, later: Point) -> Point {
        let operations = self.operations + later.operations;
        let weighed = self.p50_us * self.operations as f64 + later.p50_us * later.operations as f64;
        Point {
            at_secs: later.at_secs,
            secs: self.secs + later.secs,
            operations,
            p50_us: weighed / operations.max(1) as f64,
            p99_us: self.p99_us.max(later.p99_us),
            router_cpu_us: self.router_cpu_us.map(|cpu| cpu + later.router_cpu_us.unwrap_or(0)),
            rss_kib: later.rss_kib,
        }
    }
}

/// Points kept; then neighbours are joined, and each further point takes twice as long.
const POINTS_MAX: usize = 1200;

/// A growing time series.
#[derive(Debug)]
pub(super) struct Series {
    points: Vec<Point>,
    per_point: u32,
    open: Option<Point>,
    in_open: u32,
}

impl Series {
    pub(super) fn new() -> Self {
        Self {
            points: Vec::new(),
            per_point: 1,
            open: None,
            in_open: 0,
        }
    }

    pub(super) fn push(&mut self, point: Point) {
        self.open = Some(match self.open.take() {
            Some(open) => open.join(point),
            None => point,
        });
        self.in_open += 1;
        if self.in_open < self.per_point {
            return;
        }
        self.in_open = 0;
        self.points.extend(self.open.take());
        if self.points.len() >= POINTS_MAX {
            self.per_point *= 2;
            let mut old = std::mem::take(&mut self.points).into_iter();
            while let Some(first) = old.next() {
                self.points.push(match old.next() {
                    Some(second) => first.join(second),
                    None => first,
                });
            }
        }
    }

    pub(super) fn finish(mut self) -> Vec<Point> {
        self.points.extend(self.open.take());
        self.points
    }
}

/// Ten shares for each further nine of 99.99…, as far as the operations are enough to tell.
fn percentiles(histogram: &Histogram<u64>) -> Vec<(f64, f64)> {
    if histogram.is_empty() {
        return Vec::new();
    }
    let us = |q: f64| histogram.value_at_quantile(q) as f64 / 1000.0;
    let shares = (0..).map(|step| 10f64.powf(-f64::from(step) / 10.0));
    let mut curve: Vec<_> = shares
        .take_while(|rest| rest * histogram.len() as f64 >= 1.0)
        .map(|rest| (1.0 - rest, us(1.0 - rest)))
        .collect();
    curve.push((1.0, histogram.max() as f64 / 1000.0));
    curve
}

/// The straight line that lies closest to `points` (least squares): how fast it rises, and its value at 0. Flat if all lie above one
/// place.
pub(super) fn line_through(points: &[(f64, f64)]) -> (f64, f64) {
    let count = points.len().max(1) as f64;
    let mean = |of: &dyn Fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(&|p| p.0), mean(&|p| p.1));
    let spread: f64 = points.iter().map(|p| (p.0 - x).powi(2)).sum();
    let common: f64 = points.iter().map(|p| (p.0 - x) * (p.1 - y)).sum();
    let slope = if spread > 0.0 { common / spread } else { 0.0 };
    (slope, y - slope * x)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::recorder::histogram;

    fn second(at: u32) -> Point {
        Point {
            at_secs: f64::from(at) + 1.0,
            secs: 1.0,
            operations: 10,
            p50_us: 5.0,
            p99_us: f64::from(at),
            router_cpu_us: Some(20),
            rss_kib: vec![u64::from(at)],
        }
    }

    #[test]
    fn a_long_run_keeps_all_operations_in_bounded_points() {
        let mut series = Series::new();
        for at in 0..10_000 {
            series.push(second(at));
            assert!(series.points.len() < POINTS_MAX);
        }
        let points = series.finish();
        assert!(points.len() > POINTS_MAX / 2, "{}", points.len());
        assert_eq!(points.iter().map(|p| p.operations).sum::<u64>(), 100_000);
        assert_eq!(points.iter().filter_map(|p| p.router_cpu_us).sum::<u64>(), 200_000);
        assert_eq!(points.iter().map(|p| p.secs).sum::<f64>(), 10_000.0);
        assert!(points.windows(2).all(|w| w[0].at_secs < w[1].at_secs));
        let last = points.last().unwrap();
        assert_eq!((last.p50_us, last.p99_us, last.rss_kib[0]), (5.0, 9999.0, 9999));
        assert_eq!((last.per_sec(), last.cpu_per_operation()), (10.0, Some(2.0)));
    }

    #[test]
    fn a_short_run_keeps_every_second() {
        let mut series = Series::new();
        (0..5).for_each(|at| series.push(second(at)));
        assert_eq!(series.finish(), (0..5).map(second).collect::<Vec<_>>());
    }

    #[test]
    fn the_latency_curve_ascends_to_the_worst_and_ends_where_operations_do() {
        let mut latencies = histogram();
        (1..=1000).for_each(|us| latencies.record(us * 1000).unwrap());
        let curve = percentiles(&latencies);
        assert!(curve.windows(2).all(|w| w[0].0 < w[1].0 && w[0].1 <= w[1].1), "{curve:?}");
        assert_eq!(
            curve.len(),
            32,
            "three nines of ten shares, the first one and the worst: {curve:?}"
        );
        let (share, worst) = curve[curve.len() - 1];
        assert!(share == 1.0 && (worst - 1000.0).abs() < 1.0);
        assert!(percentiles(&histogram()).is_empty());
    }
}
