//! Results in parts, cancelling, time limits and the caller's name, with other people's clients, on one node and across nodes.

use std::time::Duration;

use ringfort_cluster_tests::{
    cluster::{Addresses, Demo},
    record_result,
    scripts::{clients_dir, node_command, python_command, run},
};

const PATIENCE: Duration = Duration::from_secs(180);

/// One node alone, then the callee on node 1 and the caller on node 3.
fn places(demo: &Demo) -> [(&'static str, &Addresses, &Addresses); 2] {
    [("one", demo.node(1), demo.node(1)), ("across", demo.node(1), demo.node(3))]
}

#[tokio::test]
async fn autobahn_python_streams_cancels_and_times_calls_on_one_node_and_across_nodes() {
    let demo = Demo::start(240).await.expect("demo");
    for (place, near, far) in places(&demo) {
        let mut command = python_command(&clients_dir().join("calls_python.py")).expect("packages");
        command.arg(format!("{},{}", near.websocket, near.rawsocket));
        command.arg(format!("{},{}", far.websocket, far.rawsocket));
        let done = run(command, PATIENCE).await.expect("run").checked().expect("autobahn-python");
        assert_eq!(done.last_line(), "6 passed, 0 failed", "three serializers on two transports");
        record_result(&format!("autobahn-python-calls-{place}"), done.last_line());
    }
}

#[tokio::test]
async fn wampy_seals_times_cancels_and_streams_calls_on_one_node_and_across_nodes() {
    let demo = Demo::start(240).await.expect("demo");
    for (place, near, far) in places(&demo) {
        let mut command = node_command(&clients_dir().join("calls_wampy.js")).expect("packages");
        command.args([&near.websocket, &far.websocket]);
        let done = run(command, PATIENCE).await.expect("run").checked().expect("wampy");
        assert_eq!(done.last_line(), "3 passed, 0 failed", "three serializers");
        record_result(&format!("wampy-calls-{place}"), done.last_line());
    }
}
