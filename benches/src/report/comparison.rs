//! The page of a comparison.

use super::{
    bars::{Bar, Bars},
    lines::{COLOURS, Line, Lines},
    page::{Page, Verdict},
    scale::{Kind, Unit},
    single::curve,
};
use crate::{
    compare::{
        Results,
        summary::{Row, Spread, Summary},
    },
    outcome::Outcome,
};

/// The page of `results`: a chart of all ratios, then for each reference the targets that are compared with it.
pub fn comparison(results: &Results) -> String {
    let outcomes = || results.targets.iter().flat_map(|(_, rounds)| rounds);
    let failed = outcomes().filter(|outcome| !outcome.passed).count();
    let rounds = results.targets.iter().map(|(_, rounds)| rounds.len()).max().unwrap_or(0);
    let verdict = if failed == 0 { Verdict::Passed } else { Verdict::Failed };
    let subtitle = format!(
        "{} targets in {rounds} interleaved rounds; bars are medians, whiskers minimum and maximum; {failed} runs failed",
        results.targets.len()
    );
    let mut page = Page::new("Comparison", verdict, &subtitle);
    let summary = Summary::of(results);
    let rows = summary.rows();
    ratios(&mut page, rows);
    for reference in references(results) {
        let belongs = |row: &&Row| row.name == reference || row.against() == Some(reference);
        let group: Vec<&Row> = rows.iter().filter(belongs).collect();
        page.heading(&shared_beginning(&group).unwrap_or_else(|| reference.to_owned()));
        page.plots(&charts(results, &group));
    }
    page.heading("All figures");
    table(&mut page, rows);
    page.finish()
}

/// What targets are compared with, and those that are compared with nothing, in the order of the file.
fn references(results: &Results) -> Vec<&str> {
    let names = results.targets.iter().map(|(name, _)| name.as_str());
    let is_reference = |name: &str| results.against.values().any(|against| against == name);
    names
        .filter(|name| is_reference(name) || !results.against.contains_key(*name))
        .collect()
}

fn ratios(page: &mut Page, rows: &[Row]) {
    let bars: Vec<Bar> = rows
        .iter()
        .filter_map(|row| {
            let (ratio, against) = row.ratio.as_ref()?;
            let colour = if ratio.median <= 1.0 { 2 } else { 1 };
            Some(bar(&row.name, *ratio, colour, format!("of {against}")))
        })
        .collect();
    if bars.is_empty() {
        return;
    }
    page.heading("Cost, by the cost of the reference in the same round");
    page.plots(&[Bars {
        title: "Ratio to the reference",
        unit: Unit::Ratio,
        bars,
        line: Some(1.0),
    }
    .figure()]);
}

fn charts(results: &Results, group: &[&Row]) -> Vec<String> {
    let chart = |title: &'static str, unit: Unit, figure: &dyn Fn(&Row) -> Spread| {
        let bars = group.iter().map(|row| {
            // The reference is grey.
            let colour = if row.ratio.is_some() { 0 } else { 4 };
            bar(&row.name, figure(row), colour, String::new())
        });
        Bars {
            title,
            unit,
            bars: bars.collect(),
            line: None,
        }
        .figure()
    };
    let mut charts = vec![
        chart("Router CPU per operation", Unit::MicrosPer, &|row| row.cpu),
        chart("Operations per second", Unit::Count, &|row| row.per_sec),
        chart("Median latency", Unit::Micros, &|row| row.p50),
        chart("99th percentile of latency", Unit::Micros, &|row| row.p99),
    ];
    charts.extend(own_figure(group));
    let line = |(index, row): (usize, &&Row)| {
        let rounds = results.targets.iter().find(|(name, _)| *name == row.name);
        let points = rounds
            .and_then(|(_, rounds)| middle(rounds))
            .map(|o| curve(&o.trace.percentiles));
        Line::plain(row.name.as_str(), index % COLOURS, points.unwrap_or_default())
    };
    charts.push(
        Lines {
            title: "Latency by share of operations",
            x: (Kind::Nines, Unit::Share),
            y: (Kind::Log, Unit::Micros),
            lines: group.iter().enumerate().map(line).collect(),
            marks: Vec::new(),
        }
        .figure(),
    );
    charts
}

/// The figure that the scenario of this group is about.
fn own_figure(group: &[&Row]) -> Option<String> {
    let (_, title) = group.iter().find_map(|row| row.figure)?;
    let bars = group.iter().filter_map(|row| {
        let (spread, _) = row.figure?;
        Some(bar(&row.name, spread, if row.ratio.is_some() { 0 } else { 4 }, String::new()))
    });
    let chart = Bars {
        title,
        unit: Unit::Count,
        bars: bars.collect(),
        line: None,
    };
    Some(chart.figure())
}

/// The round whose 99th percentile is in the middle.
fn middle(rounds: &[Outcome]) -> Option<&Outcome> {
    let mut passed: Vec<&Outcome> = rounds.iter().filter(|outcome| outcome.passed).collect();
    passed.sort_by(|a, b| a.latency.p99_us.total_cmp(&b.latency.p99_us));
    passed.get(passed.len() / 2).copied()
}

fn bar(name: &str, spread: Spread, colour: usize, remark: String) -> Bar<'_> {
    let Spread { median, min, max } = spread;
    Bar {
        name,
        median,
        min,
        max,
        remark,
        colour,
    }
}

/// "rpc 16x8" for "rpc 16x8: ringfort" and "rpc 16x8: ws floor".
fn shared_beginning(group: &[&Row]) -> Option<String> {
    let (first, _) = group.first()?.name.split_once(':')?;
    let shared = group
        .iter()
        .all(|row| row.name.split_once(':').is_some_and(|(other, _)| other == first));
    shared.then(|| first.to_owned())
}

fn table(page: &mut Page, rows: &[Row]) {
    let rows: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            let failed = if row.failed > 0 {
                format!(" ({} failed)", row.failed)
            } else {
                String::new()
            };
            let ratio = row.ratio.as_ref();
            vec![
                format!("{}{failed}", row.name),
                row.cpu.digits(2),
                ratio.map_or(String::new(), |(ratio, _)| ratio.digits(2)),
                row.per_sec.digits(0),
                row.p50.digits(0),
                row.p99.digits(0),
                row.rss_mib.digits(1),
            ]
        })
        .collect();
    page.table(
        &["target", "router CPU µs/op", "ratio", "op/s", "p50 µs", "p99 µs", "RSS MiB"],
        &rows,
    );
}
