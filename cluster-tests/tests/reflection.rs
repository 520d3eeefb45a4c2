//! Reflection and JSON Schemas as other people's clients use them: a definition made on one node holds on every node.

use std::time::Duration;

use ringfort_cluster_tests::{
    cluster::{Cluster, Setup},
    record_result,
    scripts::{clients_dir, node_command, python_command, run},
};

const PATIENCE: Duration = Duration::from_secs(240);

/// The realm lets clients define, and the configuration defines one procedure itself.
const REALM: &str = r#"allow_define = true
[[realm.definitions]]
uri = "test.fixed"
json = '{"call": {"args": {"items": {"type": "integer"}, "minItems": 1, "maxItems": 1}}}'
"#;

#[tokio::test]
async fn definitions_hold_on_one_node_and_across_nodes() {
    let cluster = Cluster::start_with(Setup::Disks, REALM, "").await.expect("cluster");
    for (place, near, far) in [("one", 0, 0), ("across", 0, 2)] {
        let (near, far) = (&cluster.nodes[near].websocket, &cluster.nodes[far].websocket);
        let mut command = python_command(&clients_dir().join("reflection.py")).expect("packages");
        command.args([near, far]);
        let done = run(command, PATIENCE).await.expect("run").checked().expect("reflection.py");
        assert_eq!(done.last_line(), "12 passed, 0 failed", "four steps in three serializers");
        record_result(&format!("reflection-autobahn-python-{place}"), done.last_line());
        let mut command = node_command(&clients_dir().join("reflection_wampy.js")).expect("packages");
        command.args([near, far]);
        let done = run(command, PATIENCE)
            .await
            .expect("run")
            .checked()
            .expect("reflection_wampy.js");
        assert_eq!(done.last_line(), "3 passed, 0 failed", "three serializers");
        record_result(&format!("reflection-wampy-{place}"), done.last_line());
    }
}
