use std::collections::BTreeMap;

use super::*;
use crate::{
    history,
    load::{
        Detail, Latency,
        churn::{self, Churn},
        idle::{self, Idle},
        register::{
            Register,
            beside::{Beside, Probe},
        },
        series::{Point, Trace},
        soak::{
            memory::{Memory, Sample},
            report::Soak,
        },
        storm::report::Storm,
    },
    outcome::{Load, Router},
    usage::Usage,
};

const NASTY: &str = "</title><script>alert('&\"x')</script>\u{1b}[2K";

fn outcome() -> Outcome {
    let point = |at: u32| Point {
        at_secs: f64::from(at),
        secs: 1.0,
        operations: 100 + u64::from(at),
        p50_us: 250.0,
        p99_us: 4000.0,
        router_cpu_us: Some(400),
        rss_kib: vec![40_000 + u64::from(at), 41_000],
    };
    let router = |pid| Router {
        pid,
        usage: Usage {
            cpu_us: 100,
            rss_kib: 40_000,
            pss_kib: 30_000,
        },
    };
    Outcome {
        load: Load {
            scenario: "rpc".into(),
            urls: vec![format!("ws://{NASTY}")],
            serializer: Some(NASTY.into()),
            senders: 1,
            receivers: 1,
            window: 1,
            payload: 64,
            rate: Some(100.0),
        },
        secs: 20.0,
        operations: 2000,
        per_sec: 100.0,
        latency: Latency {
            p50_us: 250.0,
            p99_us: 4000.0,
            p999_us: 5000.0,
            max_us: 6000.0,
            mean_us: 300.0,
        },
        router_cpu_us: Some(4.0),
        routers: vec![router(7), router(8)],
        client_cpu_us: 3.0,
        history: history::Report {
            examples: vec![NASTY.to_owned()],
            ..Default::default()
        },
        first_failure: None,
        trace: Trace {
            series: (1..=20).map(point).collect(),
            percentiles: vec![(0.0, 100.0), (0.5, 250.0), (0.99, 4000.0), (1.0, 6000.0)],
            errors: BTreeMap::from([(NASTY.to_owned(), 3)]),
        },
        detail: None,
        passed: true,
    }
}

/// Every tag is closed in order, and nothing reaches outside.
fn assert_well_formed(page: &str) {
    assert!(page.starts_with("<!doctype html>"));
    for forbidden in ["<script", "http://", "https://", "url(", "@import", "\u{1b}", "NaN", "inf"] {
        assert!(!page.contains(forbidden), "{forbidden} in {page}");
    }
    let mut open = Vec::new();
    let body = page.split_once("<style>").unwrap();
    let rest = format!("{}{}", body.0, body.1.split_once("</style>").unwrap().1);
    for tag in rest.split('<').skip(1) {
        let (tag, _) = tag.split_once('>').unwrap();
        let name = tag.trim_start_matches('/').split([' ', '/']).next().unwrap();
        match name {
            "!doctype" | "meta" => {}
            _ if tag.ends_with('/') => {}
            _ if tag.starts_with('/') => assert_eq!(open.pop(), Some(name), "{tag}"),
            _ => open.push(name),
        }
        assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
    }
    assert_eq!(open, Vec::<&str>::new());
}

fn charts(page: &str) -> Vec<&str> {
    let titles = page.split("aria-label=\"").skip(1);
    titles.map(|title| title.split_once('"').unwrap().0).collect()
}

#[test]
fn a_run_has_a_plot_of_everything_that_was_sampled_and_nothing_from_outside_is_markup() {
    let page = single(&outcome());
    assert_well_formed(&page);
    assert_eq!(
        charts(&page),
        [
            "Latency by share of operations",
            "Latency over time",
            "Operations per second",
            "Router CPU per operation",
            "Router memory (RSS)"
        ]
    );
    assert!(page.contains("&lt;script&gt;alert(&#39;&amp;&quot;x&#39;)&lt;/script&gt;"));
    assert!(page.contains("pid 7") && page.contains("prefers-color-scheme"));
}

#[test]
fn a_run_without_routers_or_points_leaves_plots_out() {
    let mut bare = outcome();
    (bare.routers, bare.router_cpu_us, bare.passed) = (Vec::new(), None, false);
    bare.trace = Trace::default();
    bare.latency.p99_us = f64::NAN;
    let page = single(&bare);
    assert_well_formed(&page);
    assert!(charts(&page).is_empty() && page.contains("no time series") && page.contains("badge bad"));
}

#[test]
fn a_storm_shows_the_way_back_and_marks_the_kill() {
    let mut stormy = outcome();
    stormy.detail = Some(Detail::Storm(Box::new(Storm {
        sessions: 10,
        live: 9,
        killed_at_secs: 5.0,
        returned: vec![(1.0, 0.5), (2.0, 0.9)],
        refused: BTreeMap::from([(NASTY.to_owned(), 4)]),
        ..Storm::default()
    })));
    let page = single(&stormy);
    assert_well_formed(&page);
    assert!(charts(&page).contains(&"Sessions that are back, since the kill"));
    assert_eq!(page.matches(">killed</text>").count(), 4);
    assert!(page.contains("9 of 10 sessions are back"), "the complaint is shown");
}

#[test]
fn a_soak_shows_memory_with_its_trend() {
    let mut memory = Memory::of(vec![7]);
    for at in 0..50u32 {
        memory.push(Sample {
            at_secs: f64::from(at) * 60.0,
            rss_kib: vec![40_000 + u64::from(at)],
            pss_kib: vec![0],
        });
    }
    memory.conclude();
    let mut soaked = outcome();
    soaked.detail = Some(Detail::Soak(Box::new(Soak {
        memory,
        ..Soak::default()
    })));
    let page = single(&soaked);
    assert_well_formed(&page);
    assert!(charts(&page).contains(&"RSS of each router, and its trend over the second half"));
    assert!(!charts(&page).contains(&"PSS of each router"), "the kernel told no PSS");
    assert!(page.contains("line dash") && page.contains("+60 KiB/h"), "{page}");
}

#[test]
fn sessions_show_what_they_take_and_where_the_limit_was() {
    let memory = |rss_kib| idle::Memory { rss_kib, pss_kib: 0 };
    let mut idle = outcome();
    idle.detail = Some(Detail::Idle(Idle {
        sessions: 1000,
        joined: 999,
        ended: 0,
        settle_secs: 3.0,
        before: Some(memory(10_240)),
        after: Some(memory(20_480)),
        per_session: Some(idle::PerSession {
            rss_kib: 10.25,
            pss_kib: 0.0,
        }),
        rss_max_kib: None,
    }));
    let page = single(&idle);
    assert_well_formed(&page);
    assert!(
        page.contains("10.25 KiB") && page.contains("1 of 1000 sessions did not get in"),
        "{page}"
    );
}

#[test]
fn cycles_show_their_steps_and_the_memory_they_leave() {
    let point = |at: u32| churn::curve::Point {
        secs: f64::from(at),
        cycles: u64::from(at) * 100,
        rss_kib: 5000 + u64::from(at),
    };
    let mut churned = outcome();
    churned.detail = Some(Detail::Churn(Churn {
        failed_cycles: 0,
        steps: vec![churn::cycle::StepLatency {
            name: NASTY.to_owned(),
            latency: Latency::default(),
        }],
        memory: Some(churn::curve::Memory {
            before_kib: 4000,
            start_kib: 5000.0,
            end_kib: 5009.0,
            max_kib: 5009,
            after_kib: 5005,
            growth_kib: 9.0,
            slope_kib_per_1000: 10.0,
            curve: (0..10).map(point).collect(),
        }),
        growth_max_kib: Some(5.0),
    }));
    let page = single(&churned);
    assert_well_formed(&page);
    assert!(charts(&page).contains(&"RSS of all routers, by cycles done"));
    assert!(page.contains("+9 KiB") && page.contains("5 were allowed"), "{page}");
}

#[test]
fn registrations_show_what_was_measured_beside() {
    let probe = Probe {
        count: 41,
        latency: Latency::default(),
    };
    let mut registered = outcome();
    registered.detail = Some(Detail::Register(Box::new(Register {
        unregister: Latency::default(),
        quiet: Some(Beside {
            fsync: Some(probe),
            round_trip: None,
            bound_us: Some(3100.0),
            ratio: Some(1.5),
        }),
        loaded: None,
        ratio_max: None,
    })));
    let page = single(&registered);
    assert_well_formed(&page);
    assert!(
        page.contains("fsync, quiet") && page.contains("3 fsyncs + 2 round trips"),
        "{page}"
    );
}

#[test]
fn a_comparison_has_bars_with_whiskers_by_reference_and_the_ratios() {
    let rounds = |cpu: [f64; 3]| {
        cpu.map(|cpu| Outcome {
            router_cpu_us: Some(cpu),
            ..outcome()
        })
        .to_vec()
    };
    let mut failed = rounds([1.0, 1.0, 1.0]);
    failed[0].passed = false;
    let results = Results {
        targets: vec![
            ("rpc: floor".into(), rounds([4.0, 5.0, 8.0])),
            ("rpc: ours".into(), rounds([2.0, 5.0, 6.0])),
            (format!("alone {NASTY}"), failed),
        ],
        against: [("rpc: ours".to_owned(), "rpc: floor".to_owned())].into(),
    };
    let page = comparison(&results);
    assert_well_formed(&page);
    let charts = charts(&page);
    assert_eq!(charts[0], "Ratio to the reference");
    assert_eq!(charts.iter().filter(|title| **title == "Router CPU per operation").count(), 2);
    assert!(page.contains("<title>rpc: ours: 5 µs (2 µs to 6 µs)</title>"), "{page}");
    assert!(page.contains("<h2>rpc</h2>") && page.contains("1 runs failed") && page.contains("(1 failed)"));
}

#[test]
fn what_was_written_as_json_becomes_the_same_page() {
    let folder = tempfile::tempdir().unwrap();
    let (json, html) = (folder.path().join("r.json"), folder.path().join("r.html"));
    outcome().save(&json).unwrap();
    convert(&json, &html).unwrap();
    assert_eq!(fs::read_to_string(&html).unwrap(), single(&outcome()));
    let results = Results {
        targets: vec![("a".into(), vec![outcome()])],
        against: BTreeMap::new(),
    };
    fs::write(&json, serde_json::to_string(&results).unwrap()).unwrap();
    convert(&json, &html).unwrap();
    assert_eq!(fs::read_to_string(&html).unwrap(), comparison(&results));
    for bad in ["", "{}", "[1]", "{\"targets\":3}"] {
        fs::write(&json, bad).unwrap();
        assert!(convert(&json, &html).is_err(), "{bad:?}");
    }
}
