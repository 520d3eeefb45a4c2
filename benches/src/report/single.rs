//! The page of one run.

use super::{
    lines::{COLOURS, Line, Lines},
    page::{Page, Verdict},
    scale::{Kind, Unit},
    scenario::{self, KIB_PER_MIB},
};
use crate::{
    load::{Detail, series::Point},
    outcome::Outcome,
    progress::{duration, thousands},
};

/// The page of `outcome`.
pub fn single(outcome: &Outcome) -> String {
    let load = &outcome.load;
    let verdict = if outcome.passed { Verdict::Passed } else { Verdict::Failed };
    let mut page = Page::new(&load.scenario, verdict, &load.urls.join(" → "));
    page.tiles(&tiles(outcome));
    if let Some(detail) = &outcome.detail {
        page.list(&detail.complaints());
        scenario::describe(&mut page, detail);
    }
    page.heading("Latency, rate and cost");
    page.plots(&plots(outcome));
    if outcome.trace.series.is_empty() {
        page.paragraph("This result holds no time series.");
    }
    history(&mut page, outcome);
    if !outcome.routers.is_empty() {
        page.heading("Router processes");
        let row = |router: &crate::outcome::Router| {
            let usage = &router.usage;
            vec![
                format!("pid {}", router.pid),
                format!("{:.2} s", usage.cpu_us as f64 / 1e6),
                Unit::Mib.show(usage.rss_kib as f64 / KIB_PER_MIB),
                Unit::Mib.show(usage.pss_kib as f64 / KIB_PER_MIB),
            ]
        };
        let rows: Vec<_> = outcome.routers.iter().map(row).collect();
        page.table(&["process", "CPU time", "RSS at the end", "PSS at the end"], &rows);
    }
    page.heading("The load");
    page.table(&["", ""], &facts(outcome));
    page.finish()
}

fn tiles(outcome: &Outcome) -> Vec<(&'static str, String, String)> {
    let latency = &outcome.latency;
    let basis = if outcome.load.rate.is_some() {
        "since due"
    } else {
        "closed loop"
    };
    let mut tiles = vec![
        (
            "operations/s",
            thousands(outcome.per_sec),
            format!("{} in {:.1} s", thousands(outcome.operations as f64), outcome.secs),
        ),
        ("median latency", duration(latency.p50_us), basis.to_owned()),
        (
            "p99",
            duration(latency.p99_us),
            format!("p99.9 {}", duration(latency.p999_us)),
        ),
        (
            "worst",
            duration(latency.max_us),
            format!("mean {}", duration(latency.mean_us)),
        ),
    ];
    if let Some(cpu) = outcome.router_cpu_us {
        let processes = format!("{} router(s)", outcome.routers.len());
        tiles.push(("CPU per operation", Unit::MicrosPer.show(cpu), processes));
        let rss: u64 = outcome.routers.iter().map(|router| router.usage.rss_kib).sum();
        tiles.push((
            "router memory",
            Unit::Mib.show(rss as f64 / KIB_PER_MIB),
            "RSS at the end".to_owned(),
        ));
    }
    let violations = outcome.history.violations();
    tiles.push((
        "violations",
        thousands(violations as f64),
        format!("{} errors", thousands(outcome.history.failed as f64)),
    ));
    tiles
}

fn plots(outcome: &Outcome) -> Vec<String> {
    let series = &outcome.trace.series;
    let time = (Kind::Time, Unit::Seconds);
    let over_time = |figure: &dyn Fn(&Point) -> f64| series.iter().map(|p| (p.at_secs, figure(p))).collect::<Vec<_>>();
    // Seconds in which nothing ended have no latency.
    let latency = |figure: &dyn Fn(&Point) -> f64| {
        let busy = series.iter().filter(|p| p.operations > 0);
        busy.map(|p| (p.at_secs, figure(p))).collect::<Vec<_>>()
    };
    let marks = || match &outcome.detail {
        Some(Detail::Storm(storm)) => scenario::marks(storm),
        _ => Vec::new(),
    };
    let rss = (0..series.iter().map(|p| p.rss_kib.len()).max().unwrap_or(0)).map(|process| {
        let name = outcome
            .routers
            .get(process)
            .map_or(String::new(), |router| format!("pid {}", router.pid));
        let points = series
            .iter()
            .filter_map(|p| Some((p.at_secs, *p.rss_kib.get(process)? as f64 / KIB_PER_MIB)));
        Line::plain(name, process % COLOURS, points.collect())
    });
    let plots = [
        Lines {
            title: "Latency by share of operations",
            x: (Kind::Nines, Unit::Share),
            y: (Kind::Log, Unit::Micros),
            lines: vec![Line::plain("latency", 0, curve(&outcome.trace.percentiles))],
            marks: Vec::new(),
        },
        Lines {
            title: "Latency over time",
            x: time,
            y: (Kind::Log, Unit::Micros),
            lines: vec![
                Line::plain("p99", 1, latency(&|p| p.p99_us)),
                Line::plain("median", 0, latency(&|p| p.p50_us)),
            ],
            marks: marks(),
        },
        Lines {
            title: "Operations per second",
            x: time,
            y: (Kind::FromZero, Unit::Count),
            lines: vec![Line::plain("operations/s", 2, over_time(&Point::per_sec))],
            marks: marks(),
        },
        Lines {
            title: "Router CPU per operation",
            x: time,
            y: (Kind::FromZero, Unit::MicrosPer),
            lines: vec![Line::plain(
                "CPU",
                3,
                over_time(&|p| p.cpu_per_operation().unwrap_or(f64::NAN)),
            )],
            marks: marks(),
        },
        Lines {
            title: "Router memory (RSS)",
            x: time,
            y: (Kind::Near, Unit::Mib),
            lines: rss.collect(),
            marks: marks(),
        },
    ];
    plots.iter().map(Lines::figure).collect()
}

/// The latency curve as it is drawn: the worst of all, whose share is 1 and would lie infinitely far away, half a step behind the
/// others.
pub(super) fn curve(percentiles: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let mut curve = percentiles.to_vec();
    if let [.., (before, _), (last, _)] = &mut curve[..] {
        *last = 1.0 - (1.0 - *before) / 2.0;
    }
    curve
}

fn history(page: &mut Page, outcome: &Outcome) {
    let history = &outcome.history;
    page.heading("History");
    let counts = [
        ("sent", history.sent),
        ("delivered", history.delivered),
        ("answered", history.answered),
        ("failed", history.failed),
        ("lost", history.lost),
        ("doubled", history.doubled),
        ("reordered", history.reordered),
        ("unanswered", history.unanswered),
        ("answered twice", history.answered_twice),
        ("invented", history.invented),
        ("damaged", history.damaged),
        ("misdirected", history.misdirected),
    ];
    page.table(
        &counts.map(|(name, _)| name),
        &[counts.map(|(_, count)| thousands(count as f64)).to_vec()],
    );
    page.list(&history.examples);
    if !outcome.trace.errors.is_empty() {
        page.heading("Errors");
        let rows = outcome.trace.errors.iter();
        let rows: Vec<_> = rows.map(|(uri, count)| vec![uri.clone(), thousands(*count as f64)]).collect();
        page.table(&["error", "count"], &rows);
    }
}

fn facts(outcome: &Outcome) -> Vec<Vec<String>> {
    let load = &outcome.load;
    let pace = match load.rate {
        Some(rate) => format!("{rate} messages/s, latency from the instant each was due"),
        None if load.window == 0 => "nothing is sent".to_owned(),
        None => format!("closed loop, window {}", load.window),
    };
    let row = |name: &str, value: String| vec![name.to_owned(), value];
    vec![
        row("senders, receivers", format!("{}, {}", load.senders, load.receivers)),
        row("pace", pace),
        row("payload", format!("{} B", load.payload)),
        row("serializer", load.serializer.clone().unwrap_or_else(|| "–".to_owned())),
        row(
            "client CPU",
            format!("{} per operation", Unit::MicrosPer.show(outcome.client_cpu_us)),
        ),
    ]
}
