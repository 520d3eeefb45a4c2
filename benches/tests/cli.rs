//! The program itself: sessions in child processes, exit codes, and a comparison of scenarios about connections.
#![allow(clippy::unwrap_used)] // A test may fail by panicking.

mod mini_router;

use std::{path::Path, process::Output};

use ringfort_bench::{compare::Results, load::Detail, outcome::Outcome};
use tokio::{net::TcpListener, process::Command};

async fn bench(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringfort-bench"));
    command.args(arguments).kill_on_drop(true).output().await.unwrap()
}

fn outcome(file: &Path) -> Outcome {
    serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap()
}

/// A port that was free a moment ago.
async fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap().port()
}

#[tokio::test]
async fn idle_sessions_are_spread_over_processes_and_their_figures_add_up() {
    let router = mini_router::start().await;
    let folder = tempfile::tempdir().unwrap();
    let json = folder.path().join("o.json");
    let (url, pid) = (format!("ws://{router}/ws"), std::process::id().to_string());
    let mut arguments = vec![
        "idle",
        "--url",
        &url,
        "--sessions",
        "41",
        "--processes",
        "3",
        "--sources",
        "2",
    ];
    arguments.extend(["--settle", "0.1", "--pid", &pid, "--json", json.to_str().unwrap()]);
    let output = bench(&arguments).await;
    assert!(output.status.success(), "{output:?}");
    let outcome = outcome(&json);
    let Some(Detail::Idle(idle)) = &outcome.detail else {
        panic!("{outcome:?}");
    };
    assert_eq!((outcome.operations, idle.sessions, idle.joined, idle.ended), (41, 41, 41, 0));
    assert!(idle.per_session.is_some() && outcome.latency.p50_us > 0.0);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("KiB RSS") && text.trim_end().ends_with("passed"), "{text}");
}

#[tokio::test]
async fn exit_codes_tell_a_wrong_run_from_one_that_could_not_run() {
    let router = mini_router::start().await;
    let (url, pid) = (format!("ws://{router}/ws"), std::process::id().to_string());
    let idle = ["idle", "--url", &url, "--sessions", "3", "--settle", "0", "--pid", &pid];
    // Whatever a session takes, it is more than this.
    let judged = bench(&[&idle[..], &["--rss-max-kib=-1000000"]].concat()).await;
    assert_eq!(judged.status.code(), Some(1), "{judged:?}");
    assert!(String::from_utf8(judged.stdout).unwrap().contains("were allowed"));
    for bad in [
        &["idle", "--url", "wss://127.0.0.1:1/ws"][..],
        &["idle", "--url", &url, "--sources", "0"],
        &["idle", "--url", &url, "--processes", "0"],
        &["idle", "--url", &url, "--sessions", "4000000000"],
        &["churn", "--url", &url, "--payload", "3"],
        &["churn", "--url", &url, "--parallel", "0"],
        &["register", "--url", &url, "--fsync-dir", "/nonexistent"],
        &["register", "--url", &url, "--ratio-max", "1"],
        &["nats-churn", "--url", "nats://127.0.0.1:1"],
    ] {
        let output = bench(bad).await;
        assert_eq!(output.status.code(), Some(2), "{bad:?}: {output:?}");
        assert!(!output.stderr.is_empty());
    }
}

#[tokio::test]
async fn connections_compare_in_rounds_by_what_they_are_about() {
    let folder = tempfile::tempdir().unwrap();
    let (file, json) = (folder.path().join("t.toml"), folder.path().join("r.json"));
    let port = free_port().await;
    let mut text = "rounds = 2\n".to_owned();
    for (name, run) in [
        ("idle", r#""floor-idle", "--sessions", "200", "--settle", "0.2""#),
        (
            "churn",
            r#""floor-churn", "--ops", "200", "--warmup", "0.1", "--settle", "0""#,
        ),
    ] {
        text += &format!(
            r#"
[[target]]
name = "{name}"
against = "idle"
run = [{run}, "--url", "ws://127.0.0.1:{port}"]
[[target.process]]
command = ["{{self}}", "floor", "ws-relay", "--listen", "127.0.0.1:{port}"]
ready = ["127.0.0.1:{port}"]
"#
        );
    }
    std::fs::write(&file, text).unwrap();
    let output = bench(&["compare", file.to_str().unwrap(), "--json", json.to_str().unwrap()]).await;
    assert!(output.status.success(), "{output:?}");
    let results: Results = serde_json::from_str(&std::fs::read_to_string(&json).unwrap()).unwrap();
    let (_, idle) = &results.targets[0];
    for outcome in idle {
        let Some(Detail::Idle(figures)) = &outcome.detail else {
            panic!("{outcome:?}");
        };
        let memory = figures.per_session.unwrap().rss_kib;
        assert!(memory > 0.0 && outcome.cost() == Some(memory));
    }
    let (_, churn) = &results.targets[1];
    assert!(
        churn
            .iter()
            .all(|outcome| outcome.operations >= 200 && outcome.cost() == outcome.router_cpu_us)
    );
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(table.contains("| figure |") && table.contains("KiB RSS/session |"), "{table}");
    assert!(table.contains("1.00 (1.00–1.00) × idle"), "{table}");
}
