//! The router's resident memory over the cycles: what a session leaves behind shows as a slope.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use anyhow::Result;
use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use crate::{
    load::{Phase, Run, series::line_through},
    usage::Watch,
};

/// One sample.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// Seconds since the measurement began.
    pub secs: f64,
    /// Cycles done since then.
    pub cycles: u64,
    /// Resident memory of all router processes in KiB.
    pub rss_kib: u64,
}

/// The curve while it is drawn.
#[derive(Debug, Default)]
pub(super) struct Curve(Mutex<Vec<Point>>);

/// What the curve says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    /// KiB before the first session.
    pub before_kib: u64,
    /// KiB at the beginning of the measurement, after the warm-up: the median of the first tenth of the samples.
    pub start_kib: f64,
    /// KiB at its end: the median of the last tenth.
    pub end_kib: f64,
    /// The largest sample.
    pub max_kib: u64,
    /// KiB some time after the last session has gone.
    pub after_kib: u64,
    /// From start to end.
    pub growth_kib: f64,
    /// The straight line through all samples: KiB per 1,000 cycles.
    pub slope_kib_per_1000: f64,
    /// The samples, evenly spread.
    pub curve: Vec<Point>,
}

/// Samples kept; a longer curve loses every second one.
const POINTS_MAX: usize = 512;

impl Curve {
    /// Samples while the run is measured, at its first and last moment too.
    pub(super) async fn draw(self: Arc<Self>, run: Arc<Run>, pids: Vec<u32>, mut every: Duration) -> Result<()> {
        let mut changes = run.changes.subscribe();
        while run.is(Phase::Warmup) {
            changes.changed().await?;
        }
        let (start, mut watch) = (Instant::now(), Watch::new(pids));
        loop {
            // Looked at before the sample, so that the last sample is taken after the end.
            let last = !run.is(Phase::Measuring);
            let point = Point {
                secs: start.elapsed().as_secs_f64(),
                cycles: run.recorder.lock().operations(),
                rss_kib: watch.rss_kib()?,
            };
            if self.push(point) {
                every *= 2;
            }
            if last {
                return Ok(());
            }
            tokio::select! {
                () = sleep(every) => {}
                _ = changes.changed() => {}
            }
        }
    }

    /// Sums the curve up; nothing if there is none.
    pub(super) fn memory(&self, before_kib: u64, after_kib: u64) -> Option<Memory> {
        let curve = self.lock().clone();
        let tenth = curve.len().div_ceil(10);
        let start_kib = median(curve.get(..tenth)?)?;
        let end_kib = median(curve.get(curve.len() - tenth..)?)?;
        let points: Vec<_> = curve
            .iter()
            .map(|point| (point.cycles as f64, point.rss_kib as f64))
            .collect();
        let (slope, _) = line_through(&points);
        Some(Memory {
            before_kib,
            start_kib,
            end_kib,
            max_kib: curve.iter().map(|point| point.rss_kib).max()?,
            after_kib,
            growth_kib: end_kib - start_kib,
            slope_kib_per_1000: 1000.0 * slope,
            curve,
        })
    }

    /// Adds a sample; true if the curve was thinned out for it.
    fn push(&self, point: Point) -> bool {
        let mut points = self.lock();
        let full = points.len() >= POINTS_MAX;
        if full {
            let mut index = 0;
            points.retain(|_| {
                index += 1;
                index % 2 == 1
            });
        }
        points.push(point);
        full
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Point>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn median(points: &[Point]) -> Option<f64> {
    let mut sorted: Vec<u64> = points.iter().map(|point| point.rss_kib).collect();
    sorted.sort_unstable();
    let upper = *sorted.get(sorted.len() / 2)?;
    let lower = *sorted.get((sorted.len() - 1) / 2)?;
    Some((lower + upper) as f64 / 2.0)
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "  RSS         {} KiB before, {:.0} at the start, {:.0} at the end, {} at most, {} after",
            self.before_kib, self.start_kib, self.end_kib, self.max_kib, self.after_kib
        )?;
        writeln!(
            f,
            "  growth      {:+.0} KiB, {:+.2} KiB per 1,000 cycles",
            self.growth_kib, self.slope_kib_per_1000
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(points: impl Iterator<Item = (u64, u64)>) -> Curve {
        let curve = Curve::default();
        for (cycles, rss_kib) in points {
            let secs = cycles as f64 / 1000.0;
            curve.push(Point { secs, cycles, rss_kib });
        }
        curve
    }

    #[test]
    fn a_leak_shows_as_growth_and_slope_and_a_steady_router_as_none() {
        let leak = drawn((0..100).map(|i| (i * 1000, 5000 + 3 * i))).memory(4000, 6000).unwrap();
        assert!((leak.slope_kib_per_1000 - 3.0).abs() < 1e-9, "{leak:?}");
        assert!((leak.growth_kib - 270.0).abs() < 1e-9 && leak.max_kib == 5297, "{leak:?}");
        let steady = drawn((0..100).map(|i| (i * 1000, 5000 + i % 2))).memory(4000, 5000).unwrap();
        assert!(
            steady.slope_kib_per_1000.abs() < 0.01 && steady.growth_kib.abs() < 1.0,
            "{steady:?}"
        );
    }

    #[test]
    fn a_single_peak_is_no_growth_but_the_maximum() {
        let points = (0..100).map(|i| (i, if i == 50 { 90_000 } else { 5000 }));
        let memory = drawn(points).memory(0, 0).unwrap();
        assert_eq!((memory.growth_kib, memory.max_kib), (0.0, 90_000));
    }

    #[test]
    fn a_curve_of_any_length_stays_short_and_keeps_its_ends() {
        let curve = drawn((0..10_000).map(|i| (i, i))).memory(0, 0).unwrap().curve;
        assert!(curve.len() <= POINTS_MAX && curve.len() > POINTS_MAX / 2, "{}", curve.len());
        assert_eq!((curve[0].cycles, curve[curve.len() - 1].cycles), (0, 9999));
        assert!(Curve::default().memory(0, 0).is_none());
    }
}
