//! Calls and events across nodes under load: in order, none lost, none doubled, and proof that the judge would notice.
//!
//! The load and its judge are `ringfort-bench`, which exits with 1 where its history checker finds a violation.

use std::{process::Stdio, time::Duration};

use anyhow::{Context, Result, ensure};
use ringfort_cluster_tests::{
    cluster::Demo,
    long,
    ports::free_port,
    process::{Process, bench_binary},
    record_result,
};
use serde_json::Value;
use tempfile::TempDir;
use tokio::{net::TcpStream, process::Command, time::timeout};

/// The result of one load: whether the checker was content, and the document with its counts.
struct Judged {
    content: bool,
    outcome: Value,
}

async fn load(dir: &TempDir, name: &str, arguments: &[&str]) -> Result<Judged> {
    let file = dir.path().join(format!("{name}.json"));
    let mut command = Command::new(bench_binary());
    command.args(arguments).arg("--json").arg(&file).args(["--warmup", "0.2"]);
    command
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let output = timeout(Duration::from_secs(240), command.output())
        .await
        .with_context(|| format!("{name}: no end"))??;
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    println!("--- {name}\n{said}");
    ensure!(
        matches!(output.status.code(), Some(0 | 1)),
        "{name} could not run: {}\n{said}",
        output.status
    );
    let outcome = serde_json::from_str(&std::fs::read_to_string(&file)?)?;
    Ok(Judged {
        content: output.status.success(),
        outcome,
    })
}

/// A count of the history, which may lie at the top or in a part of the document.
fn count(document: &Value, name: &str) -> u64 {
    match document {
        Value::Object(map) => map
            .iter()
            .map(|(key, value)| {
                if key == name {
                    value.as_u64().unwrap_or(0)
                } else {
                    count(value, name)
                }
            })
            .sum(),
        _ => 0,
    }
}

const VIOLATIONS: [&str; 8] = [
    "lost",
    "doubled",
    "reordered",
    "unanswered",
    "answered_twice",
    "invented",
    "damaged",
    "misdirected",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_and_events_across_nodes_under_load_arrive_once_and_in_order() {
    let demo = Demo::start(500).await.expect("demo");
    let dir = TempDir::new().expect("dir");
    let [one, two, three] = [1, 2, 3].map(|number| demo.node(number).websocket.as_str());
    let (calls, events) = if long() { ("600000", "2000000") } else { ("40000", "60000") };
    // All at once, each crossing links in another direction; the serializers differ from load to load.
    let there = [
        "rpc",
        "--url",
        three,
        "--callee-url",
        one,
        "--callers",
        "8",
        "--callees",
        "2",
        "--ops",
        calls,
        "--serializer",
        "msgpack",
    ];
    let back = [
        "rpc",
        "--url",
        one,
        "--callee-url",
        two,
        "--callers",
        "8",
        "--callees",
        "2",
        "--ops",
        calls,
        "--serializer",
        "json",
    ];
    let around = format!("{one},{two},{three}");
    let wide = [
        "pubsub",
        "--url",
        two,
        "--subscriber-url",
        &around,
        "--publishers",
        "4",
        "--subscribers",
        "12",
        "--ops",
        events,
        "--serializer",
        "cbor",
    ];
    let (there, back, wide) = tokio::join!(
        load(&dir, "there", &there),
        load(&dir, "back", &back),
        load(&dir, "wide", &wide)
    );
    let mut total = 0;
    for (name, judged) in [("rpc 3 to 1", there), ("rpc 1 to 2", back), ("pubsub 2 to all", wide)] {
        let Judged { content, outcome } = judged.unwrap_or_else(|error| panic!("{name}: {error:#}"));
        let delivered = count(&outcome, "delivered");
        for violation in VIOLATIONS {
            assert_eq!(count(&outcome, violation), 0, "{name}: {violation}: {outcome:#}");
        }
        assert_eq!(count(&outcome, "failed"), 0, "{name}: failed calls: {outcome:#}");
        assert!(content, "{name}: {outcome:#}");
        total += delivered;
    }
    assert!(total >= 100_000, "only {total} deliveries");
    record_result(
        "history",
        &format!("{total} calls and events across nodes: none lost, doubled or out of order"),
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_that_reorders_drops_or_doubles_is_convicted() {
    let demo = Demo::start(240).await.expect("demo");
    let dir = TempDir::new().expect("dir");
    let router = demo
        .node(3)
        .websocket
        .trim_start_matches("ws://")
        .trim_end_matches("/ws")
        .to_owned();
    let mut convicted = 0;
    for (fault, crime) in [("--reorder", "reordered"), ("--drop", "lost"), ("--double", "doubled")] {
        let listen = format!("127.0.0.1:{}", free_port());
        let mut command = std::process::Command::new(bench_binary());
        command.args(["convict-proxy", "--listen", &listen, "--target", &router, fault, "0.01"]);
        let proxy = Process::start(&format!("proxy{fault}"), command, dir.path()).expect("proxy");
        let reachable = async {
            while TcpStream::connect(&listen).await.is_err() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(Duration::from_secs(10), reachable)
            .await
            .unwrap_or_else(|_| panic!("proxy: {}", proxy.log_tail()));
        let through = format!("ws://{listen}/ws");
        let publisher = demo.node(1).websocket.as_str();
        let arguments = [
            "pubsub",
            "--url",
            publisher,
            "--subscriber-url",
            &through,
            "--publishers",
            "2",
            "--subscribers",
            "4",
            "--secs",
            "2",
            "--drain",
            "2",
        ];
        let judged = load(&dir, crime, &arguments).await;
        let Judged { content, outcome } = judged.unwrap_or_else(|error| panic!("{fault}: {error:#}"));
        assert!(!content, "{fault} was not noticed: {outcome:#}");
        assert!(count(&outcome, crime) > 0, "{fault} was not called {crime}: {outcome:#}");
        convicted += 1;
    }
    assert_eq!(convicted, 3);
}
