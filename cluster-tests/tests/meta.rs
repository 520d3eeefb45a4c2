//! The meta API as autobahn-python sees it, on one node and across nodes: every procedure and every event.

use std::time::Duration;

use ringfort_cluster_tests::{
    cluster::Demo,
    record_result,
    scripts::{clients_dir, python_command, run},
};

const PATIENCE: Duration = Duration::from_secs(180);

#[tokio::test]
async fn every_meta_procedure_and_event_works_on_one_node_and_across_nodes() {
    let demo = Demo::start(240).await.expect("demo");
    for (place, near, far) in [("one", 1, 1), ("across", 1, 3)] {
        let mut command = python_command(&clients_dir().join("meta.py")).expect("packages");
        command.args([&demo.node(near).websocket, &demo.node(far).websocket]);
        let done = run(command, PATIENCE).await.expect("run").checked().expect("meta.py");
        assert_eq!(done.last_line(), "12 passed, 0 failed", "four families in three serializers");
        record_result(&format!("meta-{place}"), done.last_line());
    }
}
