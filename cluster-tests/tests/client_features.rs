//! What autobahn-python, autobahn-js and wampy offer and no other suite shows, on one node and across nodes. `docs/clients.md` has, for each
//! client, everything it offers and the script that shows it.

use std::time::Duration;

use ringfort_cluster_tests::{
    cluster::{Addresses, Cluster, Setup},
    record_result,
    scripts::{Finished, clients_dir, node_command, python_command, run},
};
use tokio::process::Command;

const PATIENCE: Duration = Duration::from_secs(120);

/// What the scripts ask of the realm, and a second listener that gives its clients a trust level.
async fn start() -> (Cluster, Vec<Vec<Addresses>>) {
    let realm = r#"
allow_force_reregister = true
[[realm.topics]]
uri = "test.features.history."
match = "prefix"
history = {}
[[realm.topics]]
uri = "test.features.state."
match = "prefix"
retain = "always"
"#;
    Cluster::start_with_listeners(Setup::Disks, &["trustlevel = 3"], realm, "")
        .await
        .expect("a cluster")
}

/// Runs a script with what is near and what is far.
async fn attempt(mut command: Command, near: String, far: String, place: &str) -> Finished {
    command.args([near, far]);
    let done = run(command, PATIENCE).await.expect("run").checked();
    done.unwrap_or_else(|error| panic!("{place}: {error}"))
}

/// Both transports of a node.
fn both(at: &Addresses) -> String {
    format!("{},{}", at.websocket, at.rawsocket)
}

#[tokio::test]
async fn autobahn_python_finds_all_it_offers_on_one_node_and_across_nodes() {
    let (cluster, _) = start().await;
    for (place, far) in [("one", 0), ("across", 2)] {
        let command = python_command(&clients_dir().join("features_python.py")).expect("packages");
        let done = attempt(command, both(&cluster.nodes[0]), both(&cluster.nodes[far]), place).await;
        assert_eq!(done.last_line(), "6 passed, 0 failed", "three serializers on two transports");
        record_result(&format!("features-python-{place}"), done.last_line());
    }
}

#[tokio::test]
async fn autobahn_js_finds_all_it_offers_on_one_node_and_across_nodes() {
    let (cluster, _) = start().await;
    for (place, far) in [("one", 0), ("across", 2)] {
        let command = node_command(&clients_dir().join("features_autobahn.js")).expect("packages");
        let done = attempt(command, both(&cluster.nodes[0]), both(&cluster.nodes[far]), place).await;
        assert_eq!(
            done.last_line(),
            "4 passed, 0 failed",
            "three serializers, and JSON over RawSocket"
        );
        record_result(&format!("features-autobahn-js-{place}"), done.last_line());
    }
}

#[tokio::test]
async fn wampy_finds_all_it_offers_on_one_node_and_across_nodes() {
    let (cluster, beside) = start().await;
    for (place, far) in [("one", 0), ("across", 2)] {
        let command = node_command(&clients_dir().join("features_wampy.js")).expect("packages");
        let (near, far) = (&cluster.nodes[0].websocket, &beside[far][0].websocket);
        let done = attempt(command, near.clone(), far.clone(), place).await;
        assert_eq!(done.last_line(), "3 passed, 0 failed", "three serializers");
        record_result(&format!("features-wampy-{place}"), done.last_line());
    }
}
