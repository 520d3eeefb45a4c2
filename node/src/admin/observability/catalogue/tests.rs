//! Keeps `docs/metrics.md` equal to the code, and names what Prometheus expects of them.
//!
//! `RINGFORT_WRITE_DOCS=../docs/metrics.md cargo test -p ringfort --lib -- metrics_reference` writes the page anew.

use std::{collections::BTreeSet, fmt::Write};

use super::*;
use crate::telemetry::names::{EVENTS, GROUPS};

const INTRODUCTION: &str = "# Metrics

With `[observability] address` set, a node answers `GET /metrics` there in the text format of Prometheus. All names begin with
`ringfort_`, apart from those of the process, which are called as everywhere. Labels have bounds: realms are those of the configuration and of the log,
peers the other nodes, and the rest has the values that stand here. No session, URI, address or payload is in any of them.

Rules for alerts, with a test of each, are in [deploy/prometheus](../deploy/prometheus/alerts.yaml), what to do when one fires in the
[runbook](runbook.md), and a dashboard for Grafana in [deploy/grafana](../deploy/grafana/ringfort.json).

This page is made from the source; a test keeps both equal.
";

fn labels(metric: &Metric) -> String {
    let one = |label: &Label| match label.values {
        Values::OneOf(values) => format!("`{}`: {}", label.name, values.join(", ")),
        Values::PerEach(of) => format!("`{}`: each {of}", label.name),
    };
    metric.labels.iter().map(one).collect::<Vec<_>>().join("; ")
}

fn kind(metric: &Metric) -> &'static str {
    match metric.kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Histogram(_) => "histogram",
    }
}

fn table(title: &str, metrics: &[&Metric], out: &mut String) {
    writeln!(out, "\n## {title}\n\n| metric | kind | labels | meaning |\n|---|---|---|---|").unwrap();
    for metric in metrics {
        writeln!(
            out,
            "| `{}` | {} | {} | {} |",
            metric.name,
            kind(metric),
            labels(metric),
            metric.help
        )
        .unwrap();
    }
}

fn own() -> Vec<&'static Metric> {
    let own = |counter: &'static Counter| match counter {
        Counter::Own(metric) => Some(metric),
        Counter::Dropped(_) => None,
    };
    let mut metrics: Vec<_> = core().counters.iter().filter_map(own).collect();
    metrics.push(&core().dropped);
    metrics
}

#[test]
fn metrics_reference_matches_the_code() {
    let mut text = INTRODUCTION.to_owned();
    for group in GROUPS {
        table(group.title, group.metrics, &mut text);
    }
    table("What the core of a realm counts", &own(), &mut text);
    text.push_str("\nThe reasons of `ringfort_realm_dropped_total`:\n\n| reason | meaning |\n|---|---|\n");
    for (name, help) in Stats::NAMES {
        if let Some(reason) = name.strip_prefix("dropped_") {
            let help = help.trim().trim_start_matches("Dropped: ");
            writeln!(text, "| `{reason}` | {help} |").unwrap();
        }
    }
    if let Ok(file) = std::env::var("RINGFORT_WRITE_DOCS") {
        std::fs::write(file, &text).unwrap();
        return;
    }
    let committed = include_str!("../../../../../docs/metrics.md");
    assert!(
        text == committed,
        "docs/metrics.md is not what the code says; see the top of this file"
    );
}

#[test]
fn names_are_as_prometheus_wants_them() {
    let all: Vec<&Metric> = GROUPS
        .iter()
        .flat_map(|group| group.metrics.iter().copied())
        .chain(own())
        .collect();
    let mut seen = BTreeSet::new();
    for metric in &all {
        let name = &*metric.name;
        assert!(seen.insert(name), "{name} stands twice");
        assert!(name.starts_with("ringfort_") || name.starts_with("process_"), "{name}");
        assert!(
            name.bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_'),
            "{name}"
        );
        assert_eq!(name.ends_with("_total"), metric.kind == Kind::Counter, "{name}");
        assert!(metric.help.len() > 8 && metric.help.ends_with('.'), "{name}: {}", metric.help);
    }
    for metric in EVENTS {
        assert!(
            all.iter().any(|known| known.name == metric.name),
            "{} is in no group",
            metric.name
        );
        let bounded = |label: &Label| matches!(label.values, Values::OneOf(_));
        assert!(
            metric.labels.iter().all(bounded),
            "{}: an event has stated labels only",
            metric.name
        );
    }
}
