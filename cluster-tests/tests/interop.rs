//! Where other people's clients trip over a router that does as the WAMP text says, and how a listener's profile helps them: one case a
//! trap, with the client it concerns, on one node and across nodes. `docs/clients.md` has the list.

use std::time::Duration;

use ringfort_cluster_tests::{
    cluster::{Addresses, Cluster, Setup},
    record_result,
    scripts::{clients_dir, node_command, python_command, run},
};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(120);

/// A listener for each profile beside the strict one, and a keepalive that a test can wait for.
async fn start() -> (Cluster, Vec<Value>) {
    let profiles = ["profile = \"autobahn\"", "profile = \"crossbar\""];
    let limits = "[limits]\nkeepalive_secs = 1\ndead_peer_secs = 3\n";
    let (cluster, beside) = Cluster::start_with_listeners(Setup::Disks, &profiles, "", limits)
        .await
        .expect("a cluster with three listeners a node");
    let urls = |at: &Addresses| json!([at.websocket, at.rawsocket]);
    let nodes = cluster.nodes.iter().zip(&beside);
    let places = nodes
        .map(|(strict, beside)| json!({"strict": urls(strict), "autobahn": urls(&beside[0]), "crossbar": urls(&beside[1])}))
        .collect();
    (cluster, places)
}

/// One node alone, then callees on node 1 and callers on node 3.
fn pairs(places: &[Value]) -> [(&'static str, String); 2] {
    let pair = |near: usize, far: usize| json!({"near": places[near - 1], "far": places[far - 1]}).to_string();
    [("one", pair(1, 1)), ("across", pair(1, 3))]
}

#[tokio::test]
async fn autobahn_python_and_older_clients_get_round_every_trap_on_one_node_and_across_nodes() {
    let (_cluster, places) = start().await;
    for (place, pair) in pairs(&places) {
        let mut command = python_command(&clients_dir().join("interop.py")).expect("packages");
        command.arg(pair);
        let done = run(command, PATIENCE).await.expect("run").checked();
        let done = done.unwrap_or_else(|error| panic!("{place}: {error}"));
        assert_eq!(done.last_line(), "9 passed, 0 failed", "one line a trap");
        record_result(&format!("interop-python-{place}"), done.last_line());
    }
}

#[tokio::test]
async fn autobahn_js_and_wampy_get_round_every_trap_on_one_node_and_across_nodes() {
    let (_cluster, places) = start().await;
    for (place, pair) in pairs(&places) {
        let mut command = node_command(&clients_dir().join("interop.js")).expect("packages");
        command.arg(pair);
        let done = run(command, PATIENCE).await.expect("run").checked();
        let done = done.unwrap_or_else(|error| panic!("{place}: {error}"));
        assert_eq!(done.last_line(), "7 passed, 0 failed", "one line a trap");
        record_result(&format!("interop-js-{place}"), done.last_line());
    }
}
