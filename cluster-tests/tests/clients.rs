//! Other people's WAMP clients: autobahn-python, autobahn-js and wampy, on one node and across nodes.

use std::time::Duration;

use ringfort_cluster_tests::{
    cluster::{Addresses, Demo},
    record_result,
    scripts::{Finished, clients_dir, node_command, python_command, run},
};

const PATIENCE: Duration = Duration::from_secs(180);

/// One node alone, then callee and subscriber on node 1 with caller and publisher on node 3.
fn places(demo: &Demo) -> [(&'static str, &Addresses, &Addresses); 2] {
    [("one", demo.node(1), demo.node(1)), ("across", demo.node(1), demo.node(3))]
}

async fn python(mode: &str, near: &Addresses, far: &Addresses) -> Finished {
    let mut command = python_command(&clients_dir().join("autobahn_python.py")).expect("packages");
    command.arg(mode);
    command.arg(format!("{},{}", near.websocket, near.rawsocket));
    command.arg(format!("{},{}", far.websocket, far.rawsocket));
    run(command, PATIENCE).await.expect("run").checked().expect("autobahn-python")
}

async fn javascript(script: &str, suite: &str) {
    let demo = Demo::start(240).await.expect("demo");
    for (place, near, far) in places(&demo) {
        let mut command = node_command(&clients_dir().join(script)).expect("packages");
        command.args([&near.websocket, &far.websocket]);
        let done = run(command, PATIENCE)
            .await
            .expect("run")
            .checked()
            .unwrap_or_else(|error| panic!("{script}, {place}: {error}"));
        assert_eq!(done.last_line(), "3 passed, 0 failed");
        record_result(&format!("{suite}-{place}"), done.last_line());
    }
}

#[tokio::test]
async fn autobahn_python_does_everything_on_one_node_and_across_nodes() {
    let demo = Demo::start(240).await.expect("demo");
    for (place, near, far) in places(&demo) {
        let done = python("steps", near, far).await;
        assert_eq!(
            done.last_line(),
            "9 passed, 0 failed",
            "three serializers on three transports"
        );
        record_result(&format!("autobahn-python-{place}"), done.last_line());
    }
}

#[tokio::test]
async fn payloads_of_every_type_are_equal_between_all_nine_pairs_of_serializers() {
    let demo = Demo::start(240).await.expect("demo");
    for (place, near, far) in places(&demo) {
        let done = python("pairs", near, far).await;
        assert_eq!(done.last_line(), "18 passed, 0 failed", "nine pairs on two transports");
        record_result(&format!("serializer-pairs-{place}"), done.last_line());
    }
}

#[tokio::test]
async fn autobahn_js_does_everything_on_one_node_and_across_nodes() {
    javascript("autobahn_js.js", "autobahn-js").await;
}

#[tokio::test]
async fn wampy_does_everything_on_one_node_and_across_nodes() {
    javascript("wampy.js", "wampy").await;
}
