//! The cases of the conformance table (`conformance/rows/`), each in three serializers, on one node and over three.
//!
//! They leave `wamp-table.json` among the artifacts, from which `cargo xtask conformance` checks or writes
//! `docs/wamp-conformance.md`.

use std::time::Duration;

use ringfort_cluster_tests::{
    artifacts_dir,
    cluster::{Cluster, REALM, Setup, open_to},
    record_result,
    scripts::{python_command, run},
    workspace_root,
};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(400);

/// What the cases expect of their realm.
const REALM_LINES: &str = r#"
allow_force_reregister = true
trustlevels = { anonymous = 3, device = 7 }
[[realm.topics]]
uri = "table.kept."
match = "prefix"
history = {}
"#;

/// What the cases expect besides; `ROLES` stands for who may do everything.
const MORE: &str = r#"
[limits]
handshake_secs = 4
failed_logins_delay_max_ms = 2000
failed_logins_free = 1000
failed_logins_per_source_max = 2000
failed_logins_per_principal_max = 2000

[[realm]]
name = "table.closed"
anonymous = "loopback"
ROLESdisclose = "deny"

[[realm]]
name = "table.private"
ROLES
[[realm]]
name = "table.kill"
anonymous = "loopback"
ROLES
[[realm]]
name = "table.reflection"
anonymous = "loopback"
allow_define = true
ROLES
[[realm]]
name = "table.rules"
anonymous = "loopback"
topics = [{ uri = "table.closed.kept.", match = "prefix", history = {} }]
roles = [{ name = "anonymous", permissions = [
    { uri = "table.", match = "prefix", allow = ["all"] },
    { uri = "table.closed.", match = "prefix", deny = ["all"] },
    { uri = "table.closed.open.", match = "prefix", allow = ["call", "register", "subscribe"] },
    { uri = "wamp.subscription.", match = "prefix", allow = ["call"] },
] }, { name = "keeper", permissions = [{ uri = "", match = "prefix", allow = ["all"] }] }]

[[principal]]
realm = "realm1"
authid = "cra-plain"
role = "device"
wampcra = "cra-secret-1"
wampcra_iterations = 0

[[principal]]
realm = "realm1"
authid = "cra-salted"
role = "device"
wampcra = "cra-secret-2"

[[principal]]
realm = "realm1"
authid = "scram-pbkdf2"
role = "device"
scram = "pencil-and-paper"
scram_iterations = 1000

[[principal]]
realm = "realm1"
authid = "scram-argon2"
role = "device"
scram = "brush-and-canvas"
scram_kdf = "argon2id13"
scram_iterations = 2
scram_memory = 256

[[principal]]
realm = "realm1"
authid = "signer"
role = "device"
public_keys = ["8a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c"]

[[principal]]
realm = "realm1"
authid = "lamp"
role = "device"
ticket = "shines bright"

[[principal]]
realm = "realm1"
authid = "door"
role = "portal"
ticket = "opens quietly"

[[principal]]
realm = "table.private"
authid = "lamp"
role = "device"
ticket = "shines bright"

[[principal]]
realm = "table.rules"
authid = "keeper"
role = "keeper"
ticket = "opens all"

[[principal]]
realm = "table.kill"
authid = "guest"
role = "visitor"
ticket = "comes and goes"
"#;

#[tokio::test]
async fn every_case_of_the_table_passes_in_every_serializer_on_one_node_and_over_three() {
    let roles = open_to(&["anonymous", "device", "portal", "visitor"]);
    let (lines, more) = (format!("{roles}{REALM_LINES}"), MORE.replace("ROLES", &roles));
    let cluster = Cluster::start_with(Setup::Disks, &lines, &more).await.expect("cluster");
    let file = artifacts_dir().join("wamp-table.json");
    let _ = std::fs::remove_file(&file);
    let join = |urls: Vec<&str>| urls.join(",");
    let command = || {
        let mut command = python_command(&workspace_root().join("cluster-tests/conformance/table.py")).expect("packages");
        command
            .env(
                "WAMP_URLS",
                join(cluster.nodes.iter().map(|node| node.websocket.as_str()).collect()),
            )
            .env(
                "RAWSOCKET_URLS",
                join(cluster.nodes.iter().map(|node| node.rawsocket.as_str()).collect()),
            )
            .env("REALM", REALM);
        command
    };
    // The same over batched WebSockets, all but what ends a node.
    let mut batched = command();
    batched.args(["--variant", "three-*"]).env("BATCHED", "1");
    let done = run(batched, PATIENCE).await.expect("run").checked().expect("batched");
    record_result("wamp-table-batched", done.last_line());
    let mut all = command();
    all.arg("--json")
        .arg(&file)
        .args(["--slow", "10", "--stop-pid", &cluster.nodes[2].pid.to_string()]);
    let done = run(all, PATIENCE).await.expect("run");
    println!("{}", done.stdout);
    record_result("wamp-table", done.last_line());
    let done = done.checked().expect("table.py");
    let results: Value = serde_json::from_str(&std::fs::read_to_string(&file).expect("results")).expect("JSON");
    let cases = results["cases"].as_object().expect("cases");
    let runs: usize = cases
        .values()
        .filter_map(|case| Some(case["variants"].as_object()?.len()))
        .sum();
    assert_eq!(runs, cases.len() * 6, "each case in six variants: {}", done.last_line());
    assert!(cases.len() >= 100, "only {} cases", cases.len());
}
