//! HTTP long-poll with autobahn-js, the client that has it, on one node and across nodes.

use std::time::Duration;

use ringfort_cluster_tests::{
    cluster::{Addresses, Cluster, Setup},
    record_result,
    scripts::{clients_dir, node_command, run},
};

const PATIENCE: Duration = Duration::from_secs(120);

#[tokio::test]
async fn autobahn_js_polls_on_one_node_and_across_nodes() {
    let lines = "profile = \"autobahn\"\n[listener.longpoll]\nwait_secs = 1\nidle_secs = 3\n";
    let (_cluster, beside) = Cluster::start_with_listeners(Setup::Disks, &[lines], "", "")
        .await
        .expect("cluster");
    let url = |node: usize| {
        let at: &Addresses = &beside[node][0];
        at.websocket.replace("ws://", "http://").replace("/ws", "/lp")
    };
    for (place, near, far) in [("one", 0, 0), ("across", 0, 2)] {
        let mut command = node_command(&clients_dir().join("longpoll.js")).expect("packages");
        command.args([url(near), url(far)]);
        let done = run(command, PATIENCE).await.expect("run").checked();
        let done = done.unwrap_or_else(|error| panic!("{place}: {error}"));
        assert_eq!(done.last_line(), "1 passed, 0 failed");
        record_result(&format!("longpoll-{place}"), done.last_line());
    }
}
