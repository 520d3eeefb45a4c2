//! Soaks: a clean one, one whose router dies, and the bound on memory.
#![allow(clippy::unwrap_used)] // A test may fail by panicking.

mod mini_router;

use std::{net::SocketAddr, process::Stdio, time::Duration};

use ringfort::wamp::Serializer;
use ringfort_bench::{
    load::{
        Pace, Stop, Timing, pubsub, rpc,
        soak::{self, churn},
    },
    outcome::Outcome,
    peer::Target,
    wire::Endpoint,
};

fn plan(scheme: &str, router: SocketAddr) -> soak::Plan {
    let path = if scheme == "ws" { "/ws" } else { "" };
    let at = Target::Wamp {
        endpoint: Endpoint::parse(&format!("{scheme}://{router}{path}"), None).unwrap(),
        realm: "realm1".into(),
        serializer: Serializer::Cbor,
        ticket: None,
    };
    let timing = Timing {
        warmup: Duration::from_millis(100),
        stop: Stop::After(Duration::from_secs(2)),
        drain: Duration::from_secs(20),
    };
    soak::Plan {
        calls: rpc::Plan {
            callers_at: at.clone(),
            callees_at: at.clone(),
            callers: 2,
            callees: 2,
            invoke: None,
            procedure: "soak.echo".into(),
            window: 16,
            payload: 64,
            pace: Pace::Rate(200.0),
            timing,
            pids: Vec::new(),
        },
        events: pubsub::Plan {
            publishers_at: at.clone(),
            subscribers_at: vec![at.clone(), at.clone()],
            publishers: 2,
            subscribers: 4,
            topic: "soak.topic".into(),
            window: 16,
            pacing: pubsub::Pacing::Delivery,
            payload: 64,
            pace: Pace::Rate(50.0),
            timing,
            pids: Vec::new(),
        },
        churn: churn::Plan {
            at: vec![at],
            lanes: 2,
            rate: 20.0,
            prefix: "soak.churn".into(),
        },
        timing,
        pids: vec![std::process::id()],
        sample_every: Duration::from_millis(200),
        rss_growth_max_kib_per_hour: None,
    }
}

#[tokio::test]
async fn a_mixed_load_is_measured_kind_by_kind_and_judged_together() {
    let router = mini_router::start().await;
    for scheme in ["ws", "tcp"] {
        let (measured, soak) = soak::run(&plan(scheme, router)).await.unwrap();
        assert!(measured.history.is_clean(), "{}", measured.history);
        assert_eq!(measured.history.failed, 0, "{:?}", measured.first_failure);
        assert!(soak.complaints().is_empty(), "{soak:?}");
        // 200 calls and 50 × 4 deliveries a second; those that were due are counted, however late they came.
        let due = measured.elapsed.as_secs_f64() * 200.0;
        for part in [soak.calls, soak.events] {
            assert!((part.operations as f64 - due).abs() < 30.0, "{due} were due: {soak:?}");
        }
        assert!(soak.cycles.operations >= 5, "{soak:?}");
        assert!(soak.calls.latency.p50_us > 0.0 && soak.cycles.latency.p50_us > 0.0);
        assert!(soak.memory.samples.len() >= 5 && soak.memory.trends.len() == 1);
        assert!(measured.trace.series.iter().map(|point| point.operations).sum::<u64>() == measured.operations);
        // The sum of both histories: 2 callers' calls and 2 publishers' events.
        assert!(measured.history.sent > soak.calls.operations && measured.history.delivered > measured.operations);
    }
}

#[tokio::test]
async fn a_router_that_dies_ends_the_soak_early_with_a_report() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let router = runtime.spawn(mini_router::start()).await.unwrap();
    let mut plan = plan("ws", router);
    plan.timing.stop = Stop::After(Duration::from_secs(3600));
    let killer = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(1500)).await;
        runtime.shutdown_background();
    });
    let (measured, soak) = soak::run(&plan).await.unwrap();
    killer.await.unwrap();
    assert!(soak.calls.operations > 100, "what was measured until then is kept: {soak:?}");
    assert!(soak.interrupted.is_some() && !soak.complaints().is_empty(), "{soak:?}");
    assert!(measured.elapsed < Duration::from_secs(60));
}

#[tokio::test]
async fn the_command_fails_on_growth_and_writes_result_and_page() {
    let router = format!("ws://{}/ws", mini_router::start().await);
    let folder = tempfile::tempdir().unwrap();
    let (json, html) = (folder.path().join("s.json"), folder.path().join("s.html"));
    // What no process can exceed, and what every process does.
    for (max, passes) in [("1e15", true), ("-1e15", false)] {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_ringfort-bench"));
        command
            .args([
                "soak",
                "--url",
                &format!("{router},{router}"),
                "--secs",
                "1",
                "--warmup",
                "0.1",
            ])
            .args(["--rate", "100", "--event-rate", "20", "--sample-secs", "0.2"])
            .args(["--pid", &std::process::id().to_string()])
            .arg(format!("--rss-growth-max-kib-per-hour={max}"))
            .arg("--json")
            .arg(&json)
            .arg("--html")
            .arg(&html)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        let output = command.output().await.unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(if passes { 0 } else { 1 }), "{text}");
        assert!(text.contains("KiB per hour over the second half"), "{text}");
        let outcome: Outcome = serde_json::from_str(&std::fs::read_to_string(&json).unwrap()).unwrap();
        assert_eq!(outcome.passed, passes);
        assert!(std::fs::read_to_string(&html).unwrap().contains("RSS of each router"));
    }
}
