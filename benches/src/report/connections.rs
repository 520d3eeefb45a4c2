//! What the scenarios about connections have to show: memory of sessions, and how long steps take.

use super::{
    lines::{Line, Lines},
    page::Page,
    scale::{Kind, Unit},
    scenario::{KIB_PER_MIB, figures},
};
use crate::{
    load::{Latency, churn::Churn, idle::Idle, register::Register},
    progress::{duration, thousands},
};

/// Memory of sessions that were only there.
pub(super) fn describe_idle(page: &mut Page, idle: &Idle) {
    page.heading("The sessions");
    let mib = |kib: u64| Unit::Mib.show(kib as f64 / KIB_PER_MIB);
    let mut tiles = vec![(
        "sessions joined",
        thousands(idle.joined.into()),
        format!(
            "of {}, {} ended",
            thousands(idle.sessions.into()),
            thousands(idle.ended.into())
        ),
    )];
    if let (Some(before), Some(after), Some(per)) = (idle.before, idle.after, idle.per_session) {
        tiles.extend([
            (
                "RSS per session",
                format!("{:.2} KiB", per.rss_kib),
                format!("{} before, {} with all", mib(before.rss_kib), mib(after.rss_kib)),
            ),
            (
                "PSS per session",
                format!("{:.2} KiB", per.pss_kib),
                format!("{} before, {} with all", mib(before.pss_kib), mib(after.pss_kib)),
            ),
        ]);
    }
    page.tiles(&tiles);
}

/// Memory over cycles, and the steps of a cycle.
pub(super) fn describe_churn(page: &mut Page, churn: &Churn) {
    page.heading("The cycles");
    if let Some(memory) = &churn.memory {
        let mib = |kib: f64| Unit::Mib.show(kib / KIB_PER_MIB);
        page.tiles(&[
            (
                "growth of RSS",
                format!("{:+.0} KiB", memory.growth_kib),
                format!("{:+.2} KiB per 1,000 cycles", memory.slope_kib_per_1000),
            ),
            (
                "RSS at the end",
                mib(memory.end_kib),
                format!("{} at the start", mib(memory.start_kib)),
            ),
            (
                "RSS afterwards",
                mib(memory.after_kib as f64),
                format!("{} before", mib(memory.before_kib as f64)),
            ),
        ]);
        let curve = memory.curve.iter();
        let points = curve.map(|point| (point.cycles as f64, point.rss_kib as f64 / KIB_PER_MIB));
        page.plots(&[Lines {
            title: "RSS of all routers, by cycles done",
            x: (Kind::FromZero, Unit::Count),
            y: (Kind::Near, Unit::Mib),
            lines: vec![Line::plain("RSS", 0, points.collect())],
            marks: Vec::new(),
        }
        .figure()]);
    }
    let rows: Vec<_> = churn
        .steps
        .iter()
        .map(|step| named(&step.name, times(&step.latency)))
        .collect();
    page.table(&["step", "p50", "p99", "p99.9", "max"], &rows);
}

/// What was measured beside the registrations.
pub(super) fn describe_register(page: &mut Page, register: &Register) {
    page.heading("Registrations");
    let quiet = register.quiet.as_ref();
    if let Some((ratio, bound)) = quiet.and_then(|quiet| quiet.ratio.zip(quiet.bound_us)) {
        page.tiles(&[(
            "p99 of REGISTER",
            Unit::Ratio.show(ratio),
            format!("of 3 fsyncs + 2 round trips, {}", duration(bound)),
        )]);
    }
    let mut unregister = times(&register.unregister).to_vec();
    unregister.insert(0, "–".to_owned());
    let mut rows = vec![named("UNREGISTER", unregister)];
    for (when, beside) in [("quiet", &register.quiet), ("loaded", &register.loaded)] {
        let Some(beside) = beside else { continue };
        for (name, probe) in [("fsync", &beside.fsync), ("round trip", &beside.round_trip)] {
            if let Some(probe) = probe {
                rows.push(named(&format!("{name}, {when}"), figures(probe.count, &probe.latency)));
            }
        }
    }
    page.table(&["", "count", "p50", "p99", "p99.9", "max"], &rows);
}

fn times(latency: &Latency) -> [String; 4] {
    [latency.p50_us, latency.p99_us, latency.p999_us, latency.max_us].map(duration)
}

fn named(name: &str, figures: impl IntoIterator<Item = String>) -> Vec<String> {
    [name.to_owned()].into_iter().chain(figures).collect()
}
