//! What only one scenario has to show.

use super::{
    connections,
    lines::{COLOURS, Line, Lines, Look},
    page::Page,
    scale::{Kind, Unit},
};
use crate::{
    load::{
        Detail, Latency,
        soak::{memory::Memory, report::Soak},
        storm::report::Storm,
    },
    progress::{duration, thousands},
};

/// Memory comes in KiB and is shown in MiB.
pub(super) const KIB_PER_MIB: f64 = 1024.0;

/// Adds what `detail` has to show.
pub(super) fn describe(page: &mut Page, detail: &Detail) {
    match detail {
        Detail::Storm(storm) => describe_storm(page, storm),
        Detail::Soak(soak) => describe_soak(page, soak),
        Detail::Idle(idle) => connections::describe_idle(page, idle),
        Detail::Churn(churn) => connections::describe_churn(page, churn),
        Detail::Register(register) => connections::describe_register(page, register),
    }
}

/// When the storm began and was over.
pub(super) fn marks(storm: &Storm) -> Vec<(f64, &'static str)> {
    let over = storm.back_100_secs.map(|secs| (storm.killed_at_secs + secs, "all back"));
    [(storm.killed_at_secs, "killed")].into_iter().chain(over).collect()
}

fn describe_storm(page: &mut Page, storm: &Storm) {
    page.heading("The storm");
    let secs = |secs: Option<f64>| secs.map_or("never".to_owned(), |secs| format!("{secs:.2} s"));
    let refused: u64 = storm.refused.values().sum();
    let ratio = storm.p99_ratio.map_or(String::new(), |ratio| Unit::Ratio.show(ratio));
    let rejoin = storm
        .router_cpu_us_per_rejoin
        .map_or("–".to_owned(), |us| format!("{us:.0} µs"));
    page.tiles(&[
        (
            "sessions back",
            thousands(storm.live.into()),
            format!("of {}", thousands(storm.sessions.into())),
        ),
        (
            "all back after",
            secs(storm.back_100_secs),
            format!("50 % {}, 99 % {}", secs(storm.back_50_secs), secs(storm.back_99_secs)),
        ),
        (
            "p99 of other calls",
            ratio,
            format!(
                "{} by {}",
                duration(storm.during.latency.p99_us),
                duration(storm.before.latency.p99_us)
            ),
        ),
        ("router CPU per rejoin", rejoin, "without the calls".to_owned()),
        (
            "attempts that failed",
            thousands(refused as f64),
            format!("backoff {} to {} s", storm.backoff_secs.0, storm.backoff_secs.1),
        ),
    ]);
    let start = [(0.0, 0.0)];
    page.plots(&[Lines {
        title: "Sessions that are back, since the kill",
        x: (Kind::Time, Unit::Seconds),
        y: (Kind::FromZero, Unit::Share),
        lines: vec![Line::plain(
            "back",
            2,
            start.into_iter().chain(storm.returned.iter().copied()).collect(),
        )],
        marks: Vec::new(),
    }
    .figure()]);
    let parts = [("before", &storm.before), ("during", &storm.during), ("after", &storm.after)];
    let rows = parts.map(|(name, part)| {
        let mut row = vec![name.to_owned(), format!("{:.1} s", part.secs)];
        row.extend(figures(part.operations, &part.latency));
        row
    });
    page.table(
        &["calls between survivors", "length", "calls", "p50", "p99", "p99.9", "max"],
        &rows,
    );
    let reasons: Vec<_> = storm
        .refused
        .iter()
        .map(|(reason, count)| format!("{count} × {reason}"))
        .collect();
    page.list(&reasons);
}

fn describe_soak(page: &mut Page, soak: &Soak) {
    page.heading("Memory");
    page.plots(&[
        memory_plot(&soak.memory, "RSS of each router, and its trend over the second half"),
        {
            let pss = (0..soak.memory.pids.len()).map(|process| memory_line(&soak.memory, process, |s| &s.pss_kib));
            let lines = pss.filter(|line| line.points.iter().any(|point| point.1 > 0.0)).collect();
            Lines {
                title: "PSS of each router",
                x: (Kind::Time, Unit::Seconds),
                y: (Kind::Near, Unit::Mib),
                lines,
                marks: Vec::new(),
            }
            .figure()
        },
    ]);
    let of_processes = soak.memory.pids.iter().zip(&soak.memory.trends).enumerate();
    let rows: Vec<_> = of_processes
        .map(|(process, (pid, trend))| {
            let rss = memory_line(&soak.memory, process, |s| &s.rss_kib).points;
            let most = rss.iter().map(|point| point.1).fold(f64::NAN, f64::max);
            let show = |point: Option<&(f64, f64)>| Unit::Mib.show(point.map_or(f64::NAN, |point| point.1));
            vec![
                format!("pid {pid}"),
                show(rss.first()),
                show(rss.last()),
                Unit::Mib.show(most),
                format!("{:+.0} KiB/h", trend.kib_per_hour),
            ]
        })
        .collect();
    page.table(&["router", "RSS first", "last", "most", "trend"], &rows);
    page.heading("The mixed load");
    let parts = [
        ("calls", &soak.calls),
        ("events", &soak.events),
        ("sessions that came and went", &soak.cycles),
    ];
    let rows = parts.map(|(name, part)| {
        let mut row = vec![name.to_owned()];
        row.extend(figures(part.operations, &part.latency));
        row
    });
    page.table(&["", "count", "p50", "p99", "p99.9", "max"], &rows);
    let reasons: Vec<_> = soak
        .cycle_errors
        .iter()
        .map(|(reason, count)| format!("{count} × {reason}"))
        .collect();
    page.list(&reasons);
}

fn memory_plot(memory: &Memory, title: &str) -> String {
    let mut lines: Vec<Line> = (0..memory.pids.len())
        .map(|process| memory_line(memory, process, |sample| &sample.rss_kib))
        .collect();
    let end = memory.samples.last().map_or(0.0, |sample| sample.at_secs);
    for (process, trend) in memory.trends.iter().enumerate() {
        let at = |secs: f64| (secs, (trend.start_kib + trend.kib_per_hour / 3600.0 * secs) / KIB_PER_MIB);
        lines.push(Line {
            name: "trend".to_owned(),
            points: vec![at(end / 2.0), at(end)],
            look: Look::Dashed(process % COLOURS),
        });
    }
    Lines {
        title,
        x: (Kind::Time, Unit::Seconds),
        y: (Kind::Near, Unit::Mib),
        lines,
        marks: Vec::new(),
    }
    .figure()
}

fn memory_line(memory: &Memory, process: usize, of: impl Fn(&crate::load::soak::memory::Sample) -> &Vec<u64>) -> Line {
    let name = memory.pids.get(process).map_or(String::new(), |pid| format!("pid {pid}"));
    let points = memory
        .samples
        .iter()
        .filter_map(|sample| Some((sample.at_secs, *of(sample).get(process)? as f64 / KIB_PER_MIB)));
    Line::plain(name, process % COLOURS, points.collect())
}

/// A count and its latencies, for a row of a table.
pub(super) fn figures(operations: u64, latency: &Latency) -> Vec<String> {
    let Latency {
        p50_us,
        p99_us,
        p999_us,
        max_us,
        ..
    } = *latency;
    let times = [p50_us, p99_us, p999_us, max_us].map(duration);
    [thousands(operations as f64)].into_iter().chain(times).collect()
}
