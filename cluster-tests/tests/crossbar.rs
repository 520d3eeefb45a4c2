//! Every scenario of `ringfort-bench` against Crossbar.io: what works against one router only is no load harness for WAMP.
//!
//! The loads are a second or two long and nothing is said about their speed. What counts is that they run to their end, that
//! something was done, and that the history checker has nothing to object to.

use std::{process::Stdio, time::Duration};

use anyhow::{Context, Result, ensure};
use ringfort_cluster_tests::{
    crossbar::Crossbar,
    process::bench_binary,
    record_result,
    workers::{Worker, coordinate},
};
use serde_json::Value;
use tempfile::TempDir;
use tokio::{process::Command, time::timeout};

/// Where a scenario runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Over {
    /// WebSocket and RawSocket, with all three serializers each.
    Everything,
    /// WebSocket with MessagePack: what it does does not depend on how messages are written.
    WebSocket,
}

/// The scenarios: where each runs, and its arguments. `{url}` and `{pid}` are Crossbar's, `{victim}` and `{victim-pid}` those of a
/// second one that may be killed, `{short}` is [`SHORT`]; `--serializer` and `--json` are added. A new scenario is a line here.
const SCENARIOS: &[(Over, &str)] = &[
    (Over::Everything, "rpc --url {url} --callers 4 --callees 2 {short}"),
    (Over::Everything, "pubsub --url {url} --publishers 2 --subscribers 10 {short}"),
    (Over::WebSocket, "rpc --url {url} --rate 200 {short} --pid {pid}"),
    (
        Over::WebSocket,
        "rpc --url {url} --payload 70000 --callers 2 --window 2 {short}",
    ),
    (Over::WebSocket, "rpc --url {url} --callees 3 --invoke roundrobin {short}"),
    (Over::WebSocket, "rpc --url {url} --callees 3 --invoke random {short}"),
    (Over::WebSocket, "rpc --url {url} --callees 3 --invoke first {short}"),
    (Over::WebSocket, "rpc --url {url} --callees 3 --invoke last {short}"),
    (Over::WebSocket, "pubsub --url {url} --subscribers 5 --rate 100 {short}"),
    (Over::WebSocket, "pubsub --url {url} --subscribers 5 --acknowledge {short}"),
    (Over::WebSocket, "idle --url {url} --sessions 50 --settle 1 --pid {pid}"),
    (
        Over::WebSocket,
        "idle --url {url} --sessions 20 --processes 2 --sources 2 --settle 0.5 --pid {pid}",
    ),
    (
        Over::WebSocket,
        "churn --url {url} --kind connect --parallel 2 {short} --settle 0 --pid {pid}",
    ),
    (
        Over::Everything,
        "churn --url {url} --kind cycle --parallel 2 {short} --settle 0 --pid {pid}",
    ),
    (Over::WebSocket, "register --url {url} --sessions 2 --window 4 --rtt {short}"),
    (
        Over::Everything,
        "soak --url {url},{url} --rate 50 --event-rate 20 --churn-rate 5 --warmup 0.2 --secs 2 --sample-secs 0.5 --pid {pid}",
    ),
    (
        Over::WebSocket,
        "storm --victim-url {victim} --victim-pid {victim-pid} --kill --survivor-url {url} --sessions 60 --processes 2 \
         --backoff-ms 200 --callers 2 --rate 50 --warmup 0.2 --control-secs 1 --after-secs 0.5 --pid {pid}",
    ),
];

/// Warm-up and measurement of a load that only has to work.
const SHORT: &str = "--warmup 0.2 --secs 1";

#[tokio::test]
async fn every_scenario_runs_against_crossbar_without_a_violation() {
    let crossbar = Crossbar::start().await.unwrap_or_else(|error| panic!("{error:#}"));
    let victim = Crossbar::start().await.unwrap_or_else(|error| panic!("{error:#}"));
    let worker = victim.worker_pid().expect("its worker");
    let dir = TempDir::new().expect("dir");
    let mut passed = Vec::new();
    for (over, scenario) in SCENARIOS {
        let arguments = &scenario
            .replace("{victim}", &victim.websocket())
            .replace("{victim-pid}", &worker.to_string());
        let runs: Vec<(String, &[&str])> = match over {
            Over::WebSocket => vec![(crossbar.websocket(), &["msgpack"])],
            Over::Everything => [crossbar.websocket(), crossbar.rawsocket()]
                .map(|url| (url, &["json", "msgpack", "cbor"][..]))
                .to_vec(),
        };
        for (url, serializers) in runs {
            for serializer in serializers {
                let operations = run(&dir, &url, crossbar.pid(), serializer, arguments)
                    .await
                    .unwrap_or_else(|error| panic!("{arguments}, {url}, {serializer}: {error:#}\n{}", crossbar.log_tail()));
                println!("{arguments}, {url}, {serializer}: {operations} operations");
                passed.push(operations);
            }
        }
    }
    record_result(
        "crossbar",
        &format!("{} loads in {} scenarios without a violation", passed.len(), SCENARIOS.len()),
    );
}

/// Calls that callees at two workers take in turn leave gaps at each of them, which only both together fill.
#[tokio::test]
async fn two_workers_share_loads_against_crossbar() {
    let crossbar = Crossbar::start().await.unwrap_or_else(|error| panic!("{error:#}"));
    let dir = TempDir::new().expect("dir");
    let one = Worker::start(&dir, "worker-1").await.expect("worker");
    let two = Worker::start(&dir, "worker-2").await.expect("worker");
    let url = crossbar.websocket();
    for (name, load) in [
        (
            "calls",
            "scenario = \"rpc\"\ncallers = 4\ncallees = 2\ninvoke = \"roundrobin\"",
        ),
        ("events", "scenario = \"pubsub\"\npublishers = 2\nsubscribers = 4"),
    ] {
        let plan = format!("{load}\nurl = \"{url}\"\nwarmup = 0.2\nsecs = 1.0\ndrain = 30.0");
        let run = coordinate(&dir, name, &[&one, &two], &plan).await.expect("run");
        assert_eq!(run.code, Some(0), "{name}: {}\n{}", run.said, crossbar.log_tail());
        let page = run.page.expect("a page");
        assert!(page.contains("Latency by share of operations"), "{page}");
    }
}

#[tokio::test]
async fn a_load_that_crossbar_refuses_is_no_success() {
    let crossbar = Crossbar::start().await.unwrap_or_else(|error| panic!("{error:#}"));
    let dir = TempDir::new().expect("dir");
    let no_such_realm = "rpc --url {url} --realm nowhere {short}";
    let error = run(&dir, &crossbar.websocket(), crossbar.pid(), "json", no_such_realm)
        .await
        .expect_err("there is no such realm");
    assert!(format!("{error:#}").contains("wamp.error.no_such_realm"), "{error:#}");
}

/// Runs one load and gives the number of its operations, if it was good.
async fn run(dir: &TempDir, url: &str, pid: u32, serializer: &str, arguments: &str) -> Result<u64> {
    let file = dir.path().join("outcome.json");
    // A result of an earlier load must not pass for this one's.
    let _ = std::fs::remove_file(&file);
    let filled = arguments
        .replace("{short}", SHORT)
        .replace("{url}", url)
        .replace("{pid}", &pid.to_string());
    let mut command = Command::new(bench_binary());
    command.args(filled.split_whitespace());
    command.args(["--serializer", serializer, "--json"]).arg(&file);
    command
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let output = timeout(Duration::from_secs(120), command.output())
        .await
        .context("no end")??;
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    ensure!(output.status.success(), "{}: {said}", output.status);
    let outcome: Value = serde_json::from_str(&std::fs::read_to_string(&file)?)?;
    ensure!(outcome["passed"] == true, "{outcome}");
    let operations = outcome["operations"].as_u64().context("operations")?;
    ensure!(operations > 0, "nothing was done: {outcome}");
    Ok(operations)
}
