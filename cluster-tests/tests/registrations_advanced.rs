//! Patterns and shared registrations as other people's clients use them: the same from every node of the cluster.

use std::time::Duration;

use ringfort_cluster_tests::{
    cluster::Demo,
    record_result,
    scripts::{clients_dir, python_command, run},
};

const PATIENCE: Duration = Duration::from_secs(180);

#[tokio::test]
async fn autobahn_python_meets_patterns_and_policies_alike_on_one_node_and_across_nodes() {
    let demo = Demo::start(240).await.expect("demo");
    for (place, near, far) in [("one", demo.node(1), demo.node(1)), ("across", demo.node(1), demo.node(3))] {
        let mut command = python_command(&clients_dir().join("registrations.py")).expect("packages");
        command.args([&near.websocket, &far.websocket]);
        let done = run(command, PATIENCE).await.expect("run").checked();
        let done = done.unwrap_or_else(|error| panic!("{place}: {error}"));
        assert_eq!(done.last_line(), "6 passed, 0 failed", "three steps, from either end");
        record_result(&format!("registrations-advanced-{place}"), done.last_line());
    }
}
