//! The advanced profile of publish and subscribe with autobahn-python, on one node and across nodes.

use std::time::Duration;

use ringfort_cluster_tests::{
    cluster::{Addresses, Demo},
    record_result,
    scripts::{clients_dir, python_command, run},
};

const PATIENCE: Duration = Duration::from_secs(180);

#[tokio::test]
async fn patterns_lists_identification_shards_and_receipts_hold_on_one_node_and_across_nodes() {
    let demo = Demo::start(240).await.expect("demo");
    let places: [(&str, &Addresses, &Addresses); 2] =
        [("one", demo.node(1), demo.node(1)), ("across", demo.node(1), demo.node(3))];
    for (place, near, far) in places {
        let mut command = python_command(&clients_dir().join("autobahn_pubsub.py")).expect("packages");
        command.arg(format!("{},{}", near.websocket, near.rawsocket));
        command.arg(format!("{},{}", far.websocket, far.rawsocket));
        let done = run(command, PATIENCE).await.expect("run").checked().expect("autobahn-python");
        assert_eq!(done.last_line(), "6 passed, 0 failed", "three serializers on two transports");
        record_result(&format!("pubsub-advanced-{place}"), done.last_line());
    }
}
