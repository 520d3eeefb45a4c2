//! Who may join: every method with the clients that have it, on node 1 and node 3, and what strangers meet.

use std::{path::Path, process::Command as StdCommand, time::Duration};

use ringfort_cluster_tests::{
    cluster::{Cluster, Setup, open_to},
    http, record_result,
    scripts::{Finished, clients_dir, node_command, python_command, run},
};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(240);

/// Everybody who may join, by the methods they have.
const PRINCIPALS: &str = r#"
[[principal]]
realm = "realm1"
authid = "ticket"
role = "device"
ticket = "ticket-secret-1"

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
"#;

/// The seed of the key above.
const SEED: &str = "0101010101010101010101010101010101010101010101010101010101010101";

fn attempt(method: &str) -> Vec<Value> {
    let one = |authid: &str, secret: &str| json!({"method": method, "authid": authid, "secret": secret, "role": "device"});
    match method {
        "ticket" => vec![one("ticket", "ticket-secret-1")],
        "wampcra" => vec![one("cra-plain", "cra-secret-1"), one("cra-salted", "cra-secret-2")],
        // Autobahn's PBKDF2 takes the salt for bytes, which it is not: with this KDF it cannot be used.
        "scram" => vec![one("scram-argon2", "brush-and-canvas")],
        "wamp-scram" => vec![
            one("scram-pbkdf2", "pencil-and-paper"),
            one("scram-argon2", "brush-and-canvas"),
        ],
        "cryptosign" => vec![one("signer", SEED)],
        _ => vec![json!({"method": "anonymous", "authid": null, "role": "anonymous"})],
    }
}

fn attempts(methods: &[&str]) -> String {
    Value::from(methods.iter().flat_map(|method| attempt(method)).collect::<Vec<_>>()).to_string()
}

/// Slowing down is looked at by itself; here wrong secrets are tried in numbers.
const UNHURRIED: &str = "\n[limits]\nfailed_logins_free = 100000\nfailed_logins_per_source_max = 1000000\nfailed_logins_per_principal_max = 1000000\n";

/// One test at a time: what one measures, another must not disturb.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

async fn cluster(end: &str) -> Cluster {
    Cluster::start_with(
        Setup::Disks,
        &open_to(&["anonymous", "device"]),
        &format!("{PRINCIPALS}{end}"),
    )
    .await
    .expect("cluster")
}

async fn script(command: Result<tokio::process::Command, anyhow::Error>, arguments: &[&str]) -> Finished {
    let mut command = command.expect("packages");
    command.args(arguments);
    run(command, PATIENCE).await.expect("run").checked().expect("the script")
}

async fn python(name: &str, arguments: &[&str]) -> Finished {
    script(python_command(&clients_dir().join(name)), arguments).await
}

/// What a script of one JSON line said.
async fn text_client(arguments: &[&str]) -> Value {
    let done = python("auth_text.py", arguments).await;
    serde_json::from_str(done.last_line()).expect("a line of JSON")
}

#[tokio::test]
async fn every_method_works_with_the_clients_that_have_it_on_node_1_and_node_3() {
    let _alone = ALONE.lock().await;
    let cluster = cluster(UNHURRIED).await;
    let [near, _, far] = &cluster.nodes[..] else {
        panic!("three nodes")
    };
    let urls = format!("{},{}", near.websocket, far.websocket);
    let raw = format!("{},{}", near.rawsocket, far.rawsocket);

    let all = attempts(&["ticket", "wampcra", "scram", "cryptosign", "anonymous"]);
    let done = python("auth_autobahn.py", &[&urls, &all]).await;
    assert_eq!(done.last_line(), "22 passed, 0 failed", "{}", done.stdout);
    record_result("authentication-autobahn-python", done.last_line());

    let all = attempts(&["ticket", "wampcra", "cryptosign", "anonymous"]);
    let done = script(node_command(&clients_dir().join("auth_autobahn_js.js")), &[&urls, &all]).await;
    assert_eq!(done.last_line(), "18 passed, 0 failed", "{}", done.stdout);
    record_result("authentication-autobahn-js", done.last_line());

    let all = attempts(&["ticket", "wampcra", "anonymous"]);
    let done = script(node_command(&clients_dir().join("auth_wampy.js")), &[&urls, &all]).await;
    assert_eq!(done.last_line(), "14 passed, 0 failed", "{}", done.stdout);
    record_result("authentication-wampy", done.last_line());

    let all = attempts(&["ticket", "wampcra", "wamp-scram", "cryptosign"]);
    let done = python("auth_text.py", &["methods", &raw, &all]).await;
    assert_eq!(done.last_line(), "30 passed, 0 failed", "{}", done.stdout);
    record_result("authentication-text", done.last_line());
}

fn openssl(dir: &Path, arguments: &str) {
    let done = StdCommand::new("openssl")
        .args(arguments.split_whitespace())
        .current_dir(dir)
        .output()
        .expect("openssl");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

#[tokio::test]
async fn tls_binds_the_exchange_to_the_connection_and_certificates_are_principals() {
    let _alone = ALONE.lock().await;
    let dir = tempfile::tempdir().expect("dir");
    let curve = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2";
    openssl(
        dir.path(),
        &format!("req -x509 {curve} -keyout ca.key -out ca.pem -subj /CN=test-ca"),
    );
    let leaf = "-CA ca.pem -CAkey ca.key -addext basicConstraints=critical,CA:FALSE";
    openssl(
        dir.path(),
        &format!(
            "req -x509 {curve} {leaf} -keyout server.key -out server.pem -subj /CN=server -addext subjectAltName=DNS:localhost,IP:127.0.0.1"
        ),
    );
    openssl(
        dir.path(),
        &format!(
            "req -x509 {curve} {leaf} -keyout client.key -out client.pem -subj /CN=lamp-7 -addext subjectAltName=URI:urn:example:lamp-7"
        ),
    );
    // The public key of the seed of 2s, by the same arithmetic as the client's.
    std::fs::write(dir.path().join("router.key"), "02".repeat(32)).expect("key");
    let router = "8139770ea87d175f56a35466c34c7ecccb8d8a91b4ee37a25df60f5b8fc9b394";
    let path = |name: &str| dir.path().join(name).display().to_string();

    let mut cluster = Cluster::prepare(Setup::Disks, "cluster-with-certificates").expect("cluster");
    let more = format!(
        "{PRINCIPALS}{UNHURRIED}\n[[principal]]\nrealm = \"realm1\"\nauthid = \"lamp-7\"\nrole = \"device\"\ncertificates = [\"uri:urn:example:lamp-7\"]\n"
    );
    let mut urls = Vec::new();
    for node in 0..3 {
        let port = ringfort_cluster_tests::ports::free_port();
        let file = cluster.config_path(node);
        let text = std::fs::read_to_string(&file).expect("config");
        let listener = format!(
            "\n[[listener]]\naddress = \"127.0.0.1:{port}\"\n[listener.tls]\ncertificate = {:?}\nkey = {:?}\nclient_certificates = \"optional\"\nclient_ca = {:?}\n",
            path("server.pem"),
            path("server.key"),
            path("ca.pem")
        );
        let named = text.replacen("[node]\n", &format!("[node]\ncryptosign_key = {:?}\n", path("router.key")), 1);
        std::fs::write(&file, format!("{named}{more}{listener}")).expect("config");
        urls.push(format!("tls://127.0.0.1:{port}"));
    }
    for node in 0..3 {
        cluster.launch(node).expect("launch");
    }
    for node in 0..3 {
        cluster.wait_ready(node).await.expect("ready");
    }
    let urls = format!("{},{}", urls[0], urls[2]);
    let bound: Value = serde_json::from_str(&attempts(&["wamp-scram", "cryptosign"])).expect("attempts");
    let plan = json!({"attempts": bound, "router": router, "tls": "lamp-7"}).to_string();
    let (ca, certificate, key) = (path("ca.pem"), path("client.pem"), path("client.key"));
    let done = python("auth_text.py", &["tls", &urls, &ca, &certificate, &key, &plan]).await;
    assert_eq!(done.last_line(), "26 passed, 0 failed", "{}", done.stdout);
    record_result("authentication-tls", done.last_line());
}

#[tokio::test]
async fn a_browser_that_has_proved_itself_need_not_do_so_again_until_it_logs_out() {
    let _alone = ALONE.lock().await;
    let mut cluster = Cluster::prepare(Setup::Disks, "cluster-with-cookies").expect("cluster");
    for node in 0..3 {
        let file = cluster.config_path(node);
        let text = std::fs::read_to_string(&file).expect("config");
        let text = text.replacen("rawsocket = true\n", "rawsocket = true\ncookies = true\n", 1);
        std::fs::write(&file, format!("{text}{PRINCIPALS}")).expect("config");
    }
    for node in 0..3 {
        cluster.launch(node).expect("launch");
    }
    cluster.wait_ready(2).await.expect("ready");
    let urls: Vec<&str> = cluster.nodes.iter().map(|node| node.websocket.as_str()).collect();
    for urls in [urls[2].to_owned(), urls.join(",")] {
        let done = python("auth_text.py", &["cookie", &urls, "ticket", "ticket-secret-1"]).await;
        assert_eq!(done.last_line(), "cookie ok", "{urls}");
    }
}

#[tokio::test]
async fn tokens_are_taken_as_tickets_and_end_their_sessions() {
    let _alone = ALONE.lock().await;
    let keys = tempfile::tempdir().expect("directory");
    let dir = keys.path().to_str().expect("path");
    python("auth_deciders.py", &["keys", dir]).await;
    let lines = format!(
        "{}jwt = [{{ issuer = \"https://issuer.example\", audience = \"ringfort\", keys_file = \"{dir}/keys.json\", leeway_secs = 0, \
         roles = [\"device\"] }}]\n",
        open_to(&["anonymous", "device"])
    );
    let cluster = Cluster::start_with(Setup::Disks, &lines, &format!("{PRINCIPALS}{UNHURRIED}"))
        .await
        .expect("cluster");
    let urls = format!("{},{}", cluster.nodes[0].websocket, cluster.nodes[2].websocket);
    let done = python("auth_deciders.py", &["jwt", &urls, dir]).await;
    assert_eq!(done.last_line(), "14 passed, 0 failed", "{}", done.stdout);
    record_result("authentication-jwt", done.last_line());
}

#[tokio::test]
async fn a_procedure_says_who_clients_are_that_are_no_principals() {
    let _alone = ALONE.lock().await;
    let lines = format!(
        "{}authenticator = \"com.example.authenticate\"\nauthenticator_timeout_ms = 2000\n",
        open_to(&["anonymous", "device"])
    );
    let cluster = Cluster::start_with(Setup::Disks, &lines, &format!("{PRINCIPALS}{UNHURRIED}"))
        .await
        .expect("cluster");
    let urls = format!("{},{}", cluster.nodes[0].websocket, cluster.nodes[2].websocket);
    let done = python("auth_deciders.py", &["authenticator", &urls]).await;
    assert_eq!(done.last_line(), "1 passed, 0 failed", "{}", done.stdout);
    record_result("authentication-authenticator", done.last_line());
}

#[tokio::test]
async fn somebody_unknown_cannot_be_told_from_a_wrong_secret() {
    let _alone = ALONE.lock().await;
    // One set of parameters for each method: a stand-in takes one of those there are, and here it is known which.
    let alike = PRINCIPALS
        .split_inclusive("\n\n")
        .filter(|one| !one.contains("cra-plain") && !one.contains("argon2"));
    let alike = alike.collect::<String>();
    let cluster = Cluster::start_with(
        Setup::Disks,
        &open_to(&["anonymous", "device"]),
        &format!("{alike}{UNHURRIED}"),
    )
    .await
    .expect("cluster");
    let node = &cluster.nodes[0];
    let verifications = async || {
        let status = http::get_json(&format!("{}/status", node.admin)).await.expect("status");
        status["authentication"]["verifications"].as_u64().expect("a count")
    };
    for (method, known) in [
        ("ticket", "ticket"),
        ("wampcra", "cra-salted"),
        ("wamp-scram", "scram-pbkdf2"),
        ("cryptosign", "signer"),
    ] {
        let before = verifications().await;
        let told = text_client(&["ghosts", &node.rawsocket, "500", known, method]).await;
        assert_eq!(verifications().await - before, 1020, "the verifier runs for both");
        assert_eq!(told["same_messages"], true, "{method}: {told}");
        assert_eq!(told["salts"], json!([1, 1]), "{method}: always the same salt, for both");
        for part in 0..2 {
            let median = |who: &str| told[who][part].as_f64().expect("a median");
            let ratio = median("unknown") / median("known");
            assert!((0.9..=1.1).contains(&ratio), "{method}, part {part}: {told}");
        }
        record_result(&format!("unknown-against-wrong-{method}"), &told.to_string());
    }
}

#[tokio::test]
async fn guessing_is_slowed_down_and_refused_on_every_node_and_nobody_else_notices() {
    let _alone = ALONE.lock().await;
    let cluster =
        cluster("\n[limits]\nfailed_logins_delay_ms = 20\nfailed_logins_delay_max_ms = 500\nfailed_logins_forget_secs = 600\n")
            .await;
    let [near, middle, far] = &cluster.nodes[..] else {
        panic!("three nodes")
    };
    let login = async |at: &str, source: &str| text_client(&["login", at, "ticket", "ticket-secret-1", source]).await;
    // At home here; its session lives through all that follows.
    assert_eq!(login(&near.rawsocket, "127.0.9.1").await["result"], "welcome");
    let session = near.join().await.expect("a session");

    // One source, a thousand guesses for a name that is somebody's.
    let told = text_client(&["guess", &near.rawsocket, "1000", "cra-plain"]).await;
    assert!(told["refused"].as_u64() >= Some(960), "{told}");
    assert!(told["longest"].as_f64() >= Some(0.4), "slowed before that: {told}");
    record_result("guesses-from-one-source", &told.to_string());
    for node in [near, middle, far] {
        let told = login(&node.rawsocket, "127.77.0.1").await;
        assert_eq!(
            told["result"], "wamp.error.authentication_denied",
            "{}: even with the right secret",
            node.name
        );
        let elsewhere = login(&node.rawsocket, "127.0.9.2").await;
        assert_eq!(elsewhere["result"], "welcome", "{}", node.name);
        assert!(elsewhere["wait"].as_f64() < Some(3.0), "{elsewhere}");
    }

    // One principal, guessed from a hundred sources on node 3.
    let told = text_client(&["guess", &far.rawsocket, "300", "ticket", "100"]).await;
    assert!(told["refused"].as_u64() >= Some(200), "{told}");
    record_result("guesses-of-one-principal", &told.to_string());
    for node in [near, middle, far] {
        let stranger = login(&node.rawsocket, "127.0.9.200").await;
        assert_eq!(stranger["result"], "wamp.error.authentication_denied", "{}", node.name);
        let at_home = login(&node.rawsocket, "127.0.9.1").await;
        assert_eq!(at_home["result"], "welcome", "{}: where it usually is", node.name);
    }
    assert!(
        session.call("wamp.session.count", &[]).await.expect("an answer").is_ok(),
        "a session lives on"
    );
}
