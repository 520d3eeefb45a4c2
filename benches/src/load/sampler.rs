//! Looks at a run once a second: the time series, and the line on the terminal.
//!
//! It has a thread of its own, since reading `/proc` takes longer than a message does and would show in the latencies.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{self, RecvTimeoutError},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use hdrhistogram::Histogram;

use super::{
    recorder::{Latency, Shared, histogram},
    series::{Point, Series},
};
use crate::{
    progress::{Progress, duration, thousands},
    usage::{Usage, Watch},
};

/// The time between two points.
const INTERVAL: Duration = Duration::from_secs(1);

/// What a scenario adds to the line on the terminal.
#[derive(Clone, Debug, Default)]
pub(super) struct Note(Arc<Mutex<String>>);

impl Note {
    pub(super) fn set(&self, text: String) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = text;
    }

    fn get(&self) -> String {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A running sampler; dropping it ends it.
pub(super) struct Sampler {
    note: Note,
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<Sampled>>,
}

/// What it has gathered.
pub(super) struct Sampled {
    pub(super) histogram: Histogram<u64>,
    pub(super) series: Vec<Point>,
}

/// What to look at, and what to call it.
pub(super) struct Subject {
    /// The beginning of the line on the terminal.
    pub(super) title: String,
    /// One or several recorders that are added up.
    pub(super) recorders: Vec<Arc<Shared>>,
    /// What the routers had used when the measurement began.
    pub(super) routers: BTreeMap<u32, Usage>,
    /// The length of the measurement, if it is known.
    pub(super) planned: Option<Duration>,
}

impl Sampler {
    pub(super) fn start(subject: Subject) -> Result<Self> {
        let ((stop, stopped), note) = (mpsc::channel(), Note::default());
        let noted = note.clone();
        let thread = thread::Builder::new()
            .name("sampler".to_owned())
            .spawn(move || Sampling::new(subject, noted).run(&stopped))
            .context("no thread for the sampler")?;
        Ok(Self {
            note,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    pub(super) fn note(&self) -> Note {
        self.note.clone()
    }

    /// Takes what was recorded last and ends.
    pub(super) async fn finish(mut self) -> Result<Sampled> {
        self.stop = None;
        let thread = self.thread.take().context("a sampler finishes once")?;
        let joined = tokio::task::spawn_blocking(move || thread.join()).await?;
        joined.map_err(|_| anyhow::anyhow!("the sampler has panicked"))
    }
}

impl Drop for Sampler {
    /// Waits for the thread, so that its line is gone before the reason is told.
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

struct Sampling {
    subject: Subject,
    note: Note,
    watch: Watch,
    start: Instant,
    /// When the last point ended, since `start`.
    latest: Duration,
    cpu_us: u64,
    cpu_total_us: u64,
    total: Histogram<u64>,
    spare: Histogram<u64>,
    interval: Histogram<u64>,
    series: Series,
}

impl Sampling {
    fn new(subject: Subject, note: Note) -> Self {
        Self {
            note,
            watch: Watch::new(subject.routers.keys().copied().collect()),
            start: Instant::now(),
            latest: Duration::ZERO,
            cpu_us: subject.routers.values().map(|usage| usage.cpu_us).sum(),
            cpu_total_us: 0,
            total: histogram(),
            spare: histogram(),
            interval: histogram(),
            series: Series::new(),
            subject,
        }
    }

    fn run(mut self, stopped: &mpsc::Receiver<()>) -> Sampled {
        let mut progress = Progress::new();
        let mut due = INTERVAL;
        loop {
            let wait = (self.start + due).saturating_duration_since(Instant::now());
            let ended = !matches!(stopped.recv_timeout(wait), Err(RecvTimeoutError::Timeout));
            let point = self.take();
            if progress.is_visible() && !ended {
                progress.show(&self.line(&point));
            }
            // A run that ends just after a full second has no point for what is next to nothing.
            if !ended || point.operations > 0 || point.secs > 0.1 {
                self.series.push(point);
            }
            if ended {
                return Sampled {
                    histogram: self.total,
                    series: self.series.finish(),
                };
            }
            // After a machine that stood still, points are not made up for.
            due = self.latest.max(due) + INTERVAL;
        }
    }

    /// Ends an interval. The recorders are held for an exchange of pointers only.
    fn take(&mut self) -> Point {
        self.interval.reset();
        for recorder in &self.subject.recorders {
            recorder.lock().exchange(&mut self.spare);
            // Both have the same bounds, so adding cannot fail.
            self.interval.add(&self.spare).ok();
            self.spare.reset();
        }
        self.total.add(&self.interval).ok();
        let now = self.start.elapsed();
        let usage = self.watch.sample();
        let named = !usage.is_empty();
        let cpu_us: u64 = usage.iter().map(|usage| usage.cpu_us).sum();
        let spent = cpu_us.saturating_sub(self.cpu_us);
        (self.cpu_us, self.cpu_total_us) = (cpu_us, self.cpu_total_us + spent);
        let latency = Latency::of(&self.interval);
        let point = Point {
            at_secs: now.as_secs_f64(),
            secs: (now - self.latest).as_secs_f64(),
            operations: self.interval.len(),
            p50_us: latency.p50_us,
            p99_us: latency.p99_us,
            router_cpu_us: named.then_some(spent),
            rss_kib: usage.iter().map(|usage| usage.rss_kib).collect(),
        };
        self.latest = now;
        point
    }

    fn line(&self, point: &Point) -> String {
        let latency = Latency::of(&self.total);
        let mut line = format!("{}  {:.0}", self.subject.title, self.latest.as_secs_f64());
        if let Some(planned) = self.subject.planned {
            line += &format!("/{:.0}", planned.as_secs_f64());
        }
        line += &format!(
            " s  {}/s  p50 {}  p99 {}",
            thousands(point.per_sec()),
            duration(latency.p50_us),
            duration(latency.p99_us)
        );
        if point.router_cpu_us.is_some() {
            let cpu = self.cpu_total_us as f64 / self.total.len().max(1) as f64;
            let rss = point.rss_kib.iter().sum::<u64>() as f64 / 1024.0;
            line += &format!("  router {cpu:.2} µs CPU/op, {rss:.1} MiB");
        }
        let note = self.note.get();
        if !note.is_empty() {
            line += &format!("  {note}");
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(recorders: Vec<Arc<Shared>>) -> Subject {
        Subject {
            title: "calls".to_owned(),
            recorders,
            routers: crate::usage::sample(&[std::process::id()]).unwrap(),
            planned: Some(Duration::from_secs(60)),
        }
    }

    #[tokio::test]
    async fn everything_that_was_recorded_is_in_the_total_and_in_the_series() {
        let recorders = [Arc::new(Shared::default()), Arc::new(Shared::default())];
        let sampler = Sampler::start(subject(recorders.to_vec())).unwrap();
        for index in 0..1300 {
            recorders[index % 2].lock().record(1_000_000);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let sampled = sampler.finish().await.unwrap();
        assert_eq!(sampled.histogram.len(), 1300);
        assert!(sampled.series.len() >= 2, "it took more than a second: {:?}", sampled.series);
        assert_eq!(sampled.series.iter().map(|p| p.operations).sum::<u64>(), 1300);
        assert!(sampled.series.iter().all(|p| p.router_cpu_us.is_some() && p.rss_kib[0] > 0));
        assert_eq!(recorders[0].lock().operations(), 650);
    }

    #[test]
    fn the_line_tells_rate_latencies_cost_and_memory() {
        let recorder = Arc::new(Shared::default());
        (0..100).for_each(|_| recorder.lock().record(281_000));
        let note = Note::default();
        note.set("7 back".to_owned());
        let mut sampling = Sampling::new(subject(vec![recorder]), note);
        let mut point = sampling.take();
        (point.operations, point.secs, sampling.cpu_total_us) = (45_120, 1.0, 350);
        (sampling.latest, point.rss_kib) = (Duration::from_secs(12), vec![41 * 1024, 1024]);
        assert_eq!(
            sampling.line(&point),
            "calls  12/60 s  45,120/s  p50 281 µs  p99 281 µs  router 3.50 µs CPU/op, 42.0 MiB  7 back"
        );
    }
}
