//! What operators see of three real nodes under load: metrics through a real Prometheus, alert rules, the dashboard, probes, and the log.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    process::Command,
    time::Duration,
};

use ringfort_cluster_tests::{
    cluster::{Cluster, REALM, Setup},
    http,
    ports::free_port,
    process::binary,
    prometheus::{Prometheus, promtool},
    record_result,
    wamp::Client,
    workspace_root,
};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

fn file(path: &str) -> PathBuf {
    workspace_root().join(path)
}

fn text(path: &str) -> String {
    std::fs::read_to_string(file(path)).expect(path)
}

/// What docs/metrics.md says of a metric: its kind, and its labels with their values, none where they are not listed.
#[derive(Debug)]
struct Documented {
    kind: String,
    labels: BTreeMap<String, Vec<String>>,
}

fn documented() -> BTreeMap<String, Documented> {
    let page = text("docs/metrics.md");
    let mut metrics = BTreeMap::new();
    for line in page.lines() {
        let cells: Vec<&str> = line.split(" | ").collect();
        let [name, kind, labels, _] = cells[..] else { continue };
        let Some(name) = name.strip_prefix("| `").and_then(|name| name.strip_suffix('`')) else {
            continue;
        };
        let label = |text: &str| {
            let (label, values) = text.trim().strip_prefix('`')?.split_once("`: ")?;
            let values = if values.starts_with("each ") {
                Vec::new()
            } else {
                values.split(", ").map(str::to_owned).collect()
            };
            Some((label.to_owned(), values))
        };
        let labels = labels.split(';').filter_map(label).collect();
        let kind = kind.to_owned();
        metrics.insert(name.to_owned(), Documented { kind, labels });
    }
    assert!(metrics.len() > 60, "{} metrics in docs/metrics.md", metrics.len());
    metrics
}

/// Name, labels and value of each sample of an answer.
fn samples(text: &str) -> Vec<(String, BTreeMap<String, String>, f64)> {
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let sample = |line: &str| {
        let (series, value) = line.rsplit_once(' ').expect("a value");
        let (name, labels) = match series.split_once('{') {
            Some((name, labels)) => (name, labels.trim_end_matches('}')),
            None => (series, ""),
        };
        let pairs = labels.split("\",").filter(|pair| !pair.is_empty());
        let labels = pairs.map(|pair| {
            let (label, value) = pair.split_once("=\"").expect("a label");
            (label.to_owned(), value.trim_end_matches('"').to_owned())
        });
        (name.to_owned(), labels.collect(), value.parse().expect(line))
    };
    lines.map(sample).collect()
}

#[test]
fn every_alert_fires_when_it_should_and_has_a_page_in_the_runbook() {
    let rules = file("deploy/prometheus/alerts.yaml");
    let tests = file("deploy/prometheus/alerts_test.yaml");
    for arguments in [
        ["check", "rules", rules.to_str().expect("path")],
        ["test", "rules", tests.to_str().expect("path")],
    ] {
        let output = promtool(&arguments, None).expect("promtool");
        let said = format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        assert!(output.status.success() && said.contains("SUCCESS"), "{arguments:?}: {said}");
    }
    let known = documented();
    let (tests, runbook) = (text("deploy/prometheus/alerts_test.yaml"), text("docs/runbook.md"));
    let alerts = text("deploy/prometheus/alerts.yaml");
    let mut names = BTreeSet::new();
    for rule in alerts.split("- alert: ").skip(1) {
        let name = rule.lines().next().expect("a name").trim();
        assert!(names.insert(name), "{name} stands twice");
        assert!(
            runbook.contains(&format!("\n## {name}\n")),
            "{name} is not in docs/runbook.md"
        );
        assert!(
            rule.contains(&format!("docs/runbook.md#{}'", name.to_lowercase())),
            "{name} names no page"
        );
        let test = tests
            .split(&format!("    name: {name}\n"))
            .nth(1)
            .unwrap_or_else(|| panic!("{name} has no test"));
        let test = test.split("\n  - interval").next().expect("a test");
        assert!(
            test.contains("exp_alerts: []") && test.contains("exp_labels"),
            "{name} is not shown to fire and not to fire"
        );
        let expression = rule
            .lines()
            .find_map(|line| line.trim().strip_prefix("expr: "))
            .expect("an expression");
        let words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let metrics: Vec<&str> = words
            .filter(|word| word.starts_with("ringfort_") || word.starts_with("process_"))
            .collect();
        assert!(!metrics.is_empty() || expression.contains("up{"), "{name} looks at no metric");
        for metric in metrics {
            let plain = metric.trim_end_matches("_bucket");
            assert!(
                known.contains_key(plain),
                "{name} looks at {metric}, which is not in docs/metrics.md"
            );
        }
    }
    for page in runbook.lines().filter_map(|line| line.strip_prefix("## ")) {
        assert!(
            names.contains(page),
            "docs/runbook.md has a page for {page}, which is no alert"
        );
    }
    record_result("metrics-rules", &format!("{} alerts, each tested and explained", names.len()));
}

/// Three nodes with observability ports, and where those are.
async fn watched(id: &str) -> (Cluster, Vec<String>) {
    let mut cluster = Cluster::prepare(Setup::DisksAndTls, id).expect("configuration");
    let mut ports = Vec::new();
    for node in 0..3 {
        let address = format!("127.0.0.1:{}", free_port());
        let config = cluster.config_path(node);
        let before = std::fs::read_to_string(&config).expect("configuration");
        let after = before.replace(
            "[observability]\naddress = \"off\"",
            &format!("[observability]\naddress = \"{address}\""),
        );
        assert_ne!(before, after);
        std::fs::write(&config, after + "\n[log]\nformat = \"json\"\n").expect("configuration");
        cluster.launch(node).expect("launch");
        ports.push(address);
    }
    for node in 0..3 {
        cluster.wait_ready(node).await.expect("ready");
    }
    (cluster, ports)
}

/// Calls, events, joins and refusals between the nodes until it is dropped.
struct Load(Vec<tokio::task::JoinHandle<()>>);

impl Drop for Load {
    fn drop(&mut self) {
        self.0.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

impl Load {
    async fn start(cluster: &Cluster) -> Self {
        let mut callees = Vec::new();
        for (number, node) in cluster.nodes.iter().enumerate() {
            let callee = node.join().await.expect("callee");
            let registration = callee
                .register(&format!("test.metrics.{number}"))
                .await
                .expect("answer")
                .expect("registered");
            drop(callee.serve_echo(registration));
            callees.push(callee);
        }
        let mut tasks = Vec::new();
        for (node, callee) in cluster.nodes.iter().zip(callees) {
            let subscriber = node.join().await.expect("subscriber");
            let subscription = subscriber
                .subscribe("test.metrics.topic")
                .await
                .expect("answer")
                .expect("subscribed");
            let caller = node.join().await.expect("caller");
            let url = node.websocket.clone();
            tasks.push(tokio::spawn(async move {
                let _held = (callee, subscriber, subscription);
                for turn in 0_u64.. {
                    for procedure in 0..3 {
                        let answer = caller
                            .call(&format!("test.metrics.{procedure}"), &[json!(turn)])
                            .await
                            .expect("call");
                        assert_eq!(answer, Ok(vec![json!(turn)]));
                    }
                    caller.publish("test.metrics.topic", &[json!(turn)]).await.expect("publish");
                    assert!(caller.call("test.metrics.nobody", &[]).await.expect("call").is_err());
                    assert!(Client::join(&url, "no.such.realm").await.is_err());
                    Client::join(&url, REALM).await.expect("join").leave().await.expect("leave");
                    sleep(Duration::from_millis(100)).await;
                }
            }));
        }
        Self(tasks)
    }

    fn check(&self) {
        assert!(
            !self.0.iter().any(tokio::task::JoinHandle::is_finished),
            "the load has stopped"
        );
    }
}

/// Panels that the load of this test makes show something; the others show what should not happen, or is too rare.
const NOT_ZERO: &[&str] = &[
    "Ready nodes",
    "Leader",
    "Versions",
    "Uptime",
    "Sessions",
    "Sessions by transport",
    "Calls",
    "Results and errors",
    "Publications",
    "Events",
    "Invocations",
    "Messages sent",
    "Joins",
    "Ends by reason",
    "Handshakes refused",
    "Connections",
    "Term",
    "Entries applied",
    "Lease",
    "Log sync p99",
    "Links up",
    "Link bytes",
    "Link round trip",
    "Processor",
    "Memory",
    "Open files",
    "Disk free",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_documented_is_shown_and_every_panel_has_data() {
    let (cluster, ports) = watched("metrics").await;
    let load = Load::start(&cluster).await;
    let prometheus = Prometheus::start(cluster.dir(), &ports, &file("deploy/prometheus/alerts.yaml"))
        .await
        .expect("prometheus");
    let (nodes, shown) = (ports.len(), what_is_shown(&cluster, &ports).await);

    let board: Value = serde_json::from_str(&text("deploy/grafana/ringfort.json")).expect("JSON");
    let panels: Vec<(String, Vec<String>)> = board["panels"]
        .as_array()
        .expect("panels")
        .iter()
        .filter_map(|panel| {
            let targets = panel["targets"].as_array()?;
            let of = |target: &Value| target["expr"].as_str().expect("expr").to_owned();
            Some((panel["title"].as_str()?.to_owned(), targets.iter().map(of).collect()))
        })
        .collect();
    for title in NOT_ZERO {
        assert!(panels.iter().any(|(known, _)| known == title), "there is no panel {title}");
    }
    let filled = |query: &str| {
        query
            .replace("$job", ".*")
            .replace("$instance", ".*")
            .replace("$realm", ".*")
            .replace("$__rate_interval", "10s")
    };
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut queries = 0;
    for (title, targets) in &panels {
        loop {
            let mut sum = 0.0;
            let mut missing = None;
            for target in targets {
                let values = prometheus.query(&filled(target)).await.expect(title);
                if values.is_empty() {
                    missing = Some(target);
                }
                sum += values.iter().filter(|value| value.is_finite()).sum::<f64>();
            }
            let zero = NOT_ZERO.contains(&title.as_str()) && sum <= 0.0;
            if missing.is_none() && !zero {
                break;
            }
            assert!(
                Instant::now() < deadline,
                "{title}: {missing:?} has no data, or all of it is 0 ({sum})"
            );
            load.check();
            sleep(Duration::from_millis(500)).await;
        }
        queries += targets.len();
    }
    assert_eq!(prometheus.query("sum(ringfort_ready)").await.expect("ready"), [3.0]);
    assert_eq!(prometheus.query("sum(ringfort_raft_is_leader)").await.expect("leader"), [1.0]);
    assert_eq!(prometheus.query("sum(ringfort_link_up)").await.expect("links"), [6.0]);
    // One callee, one subscriber and one caller a node; whoever joins and leaves at once comes on top.
    let sessions = prometheus.query("sum(ringfort_sessions)").await.expect("sessions")[0];
    assert!((9.0..=12.0).contains(&sessions), "{sessions} sessions");
    for [name, health, state] in prometheus.alerts().await.expect("rules") {
        assert_eq!(health, "ok", "{name}");
        assert_ne!(state, "firing", "{name} fires on a healthy cluster");
    }
    load.check();
    drop(load);
    record_result(
        "metrics",
        &format!(
            "{nodes} nodes show {shown} metrics; {queries} queries of {} panels have data",
            panels.len()
        ),
    );
}

/// Compares what each node shows with the documentation; returns how many metrics that is.
async fn what_is_shown(cluster: &Cluster, ports: &[String]) -> usize {
    let known = documented();
    for port in ports {
        let (status, page) = http::get(&format!("http://{port}/metrics")).await.expect("metrics");
        assert_eq!(status, 200);
        let saved = cluster.dir().join("page.prom");
        std::fs::write(&saved, &page).expect("page");
        let output = promtool(&["check", "metrics"], Some(&saved)).expect("promtool");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let kinds: BTreeMap<&str, &str> = page
            .lines()
            .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '))
            .collect();
        let kinds_known: BTreeMap<&str, &str> = known
            .iter()
            .map(|(name, metric)| (name.as_str(), metric.kind.as_str()))
            .collect();
        assert_eq!(kinds, kinds_known, "what is shown is what is documented");
        for (name, labels, _) in samples(&page) {
            let plain = ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|end| name.strip_suffix(end).filter(|name| known.contains_key(*name)));
            let metric = &known[plain.unwrap_or(&name)];
            let mut keys: Vec<&String> = labels.keys().collect();
            keys.retain(|key| plain.is_none() || *key != "le");
            assert_eq!(keys, metric.labels.keys().collect::<Vec<_>>(), "{name}");
            for (label, values) in &metric.labels {
                assert!(
                    values.is_empty() || values.contains(&labels[label]),
                    "{name}: {label} = {}",
                    labels[label]
                );
            }
        }
        assert!(!page.contains("test.metrics"), "no URI of a client is a label");
    }
    known.len()
}

fn healthcheck(cluster: &Cluster, node: usize, which: &str) -> Option<i32> {
    let mut command = Command::new(binary());
    command
        .args(["healthcheck", which, "--timeout", "2", "--config"])
        .arg(cluster.config_path(node));
    command.output().expect("healthcheck").status.code()
}

async fn status(port: &str, path: &str) -> u16 {
    http::get(&format!("http://{port}/{path}"))
        .await
        .map_or(0, |(status, _)| status)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_without_a_quorum_lives_and_is_not_ready() {
    let (mut cluster, ports) = watched("probes").await;
    for (node, port) in ports.iter().enumerate() {
        for path in ["livez", "readyz", "startupz"] {
            assert_eq!(status(port, path).await, 200, "{path}");
        }
        assert_eq!(
            (healthcheck(&cluster, node, "--ready"), healthcheck(&cluster, node, "--live")),
            (Some(0), Some(0))
        );
    }
    assert_eq!(status(&ports[0], "elsewhere").await, 404);
    // One node of three may go: the others stay ready, through an election if it led.
    let leader = cluster.leader().await.expect("leader");
    cluster.kill(leader);
    let (stays, goes) = ((leader + 1) % 3, (leader + 2) % 3);
    let until = Instant::now() + Duration::from_secs(5);
    while Instant::now() < until {
        assert_eq!(
            (status(&ports[stays], "readyz").await, status(&ports[goes], "readyz").await),
            (200, 200)
        );
        sleep(Duration::from_millis(100)).await;
    }
    cluster.kill(goes);
    let began = Instant::now();
    let why = loop {
        let (code, why) = http::get(&format!("http://{}/readyz", ports[stays])).await.expect("readyz");
        assert_eq!(code == 503, why.contains("FAIL"), "{code}: {why}");
        if code == 503 {
            break why;
        }
        assert!(began.elapsed() < Duration::from_secs(20), "without a quorum: {why}");
        sleep(Duration::from_millis(50)).await;
    };
    let unready_after = began.elapsed();
    assert!(why.contains("FAIL lease"), "a node without a quorum loses its lease: {why}");
    assert_eq!(
        (status(&ports[stays], "livez").await, status(&ports[stays], "startupz").await),
        (200, 200)
    );
    assert_eq!(
        (
            healthcheck(&cluster, stays, "--ready"),
            healthcheck(&cluster, stays, "--live")
        ),
        (Some(1), Some(0))
    );
    let (_, page) = http::get(&format!("http://{}/metrics", ports[stays])).await.expect("metrics");
    let value = |name: &str| {
        samples(&page)
            .iter()
            .find(|(known, ..)| known == name)
            .map(|(.., value)| *value)
    };
    assert_eq!(
        (value("ringfort_ready"), value("ringfort_lease_seconds")),
        (Some(0.0), Some(0.0))
    );
    cluster.launch(goes).expect("launch");
    let again = Instant::now();
    while status(&ports[stays], "readyz").await != 200 {
        assert!(again.elapsed() < Duration::from_secs(30), "not ready again with a quorum");
        sleep(Duration::from_millis(100)).await;
    }
    record_result(
        "metrics-probes",
        &format!(
            "not ready {:.1} s after the quorum was lost, ready {:.1} s after it came back",
            unready_after.as_secs_f64(),
            again.elapsed().as_secs_f64()
        ),
    );
}

/// What `ringfort admin log-level` says with these words behind it.
fn log_level(cluster: &Cluster, words: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(binary());
    command
        .args(["admin", "--url", &cluster.nodes[0].admin, "log-level"])
        .args(words);
    let output = command.output().expect("admin");
    (
        output.status.code(),
        String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_level_changes_while_the_node_runs_and_no_line_has_a_payload() {
    const SECRET: &str = "a-payload-that-nobody-may-read";
    let (mut cluster, _) = watched("logs").await;
    let callee = cluster.nodes[1].join().await.expect("callee");
    let registration = callee.register("test.logs.echo").await.expect("answer").expect("registered");
    drop(callee.serve_echo(registration));
    let speak = async |cluster: &Cluster| {
        let caller = cluster.nodes[0].join().await.expect("caller");
        let answer = caller.call("test.logs.echo", &[json!(SECRET)]).await.expect("call");
        assert_eq!(answer, Ok(vec![json!(SECRET)]));
        caller
            .publish_acknowledged("test.logs.topic", &[json!(SECRET)])
            .await
            .expect("answer")
            .expect("published");
    };
    let established = |cluster: &mut Cluster| {
        cluster
            .process(0)
            .expect("process")
            .stderr()
            .matches("session established")
            .count()
    };
    assert_eq!(log_level(&cluster, &[]), (Some(0), "info (configured: info)".to_owned()));
    speak(&cluster).await;
    assert_eq!(established(&mut cluster), 0, "info tells no session");
    assert_eq!(log_level(&cluster, &["loud"]).0, Some(9));
    let (code, said) = log_level(&cluster, &["trace", "--back-after", "3"]);
    assert_eq!((code, said.as_str()), (Some(0), "trace (configured: info)"));
    speak(&cluster).await;
    let deadline = Instant::now() + Duration::from_secs(5);
    while established(&mut cluster) == 0 {
        assert!(Instant::now() < deadline, "trace tells each session");
        sleep(Duration::from_millis(50)).await;
    }
    let deadline = Instant::now() + Duration::from_secs(10);
    while log_level(&cluster, &[]).1 != "info (configured: info)" {
        assert!(Instant::now() < deadline, "it does not go back by itself");
        sleep(Duration::from_millis(200)).await;
    }
    let told = established(&mut cluster);
    speak(&cluster).await;
    sleep(Duration::from_millis(200)).await;
    assert_eq!(established(&mut cluster), told, "info again");
    let log = cluster.process(0).expect("process").stderr();
    let lines = log.lines().filter(|line| !line.trim().is_empty());
    for line in lines {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(line["level"].is_string() && line["timestamp"].is_string(), "{line}");
    }
    assert!(
        !log.contains(SECRET),
        "a payload is in the log: {:?}",
        log.lines().find(|line| line.contains(SECRET))
    );
    record_result(
        "metrics-logs",
        &format!("{} lines of JSON, none with a payload", log.lines().count()),
    );
}

#[test]
fn the_unit_for_systemd_lets_the_router_do_little_else() {
    let unit = file("deploy/systemd/ringfort.service");
    let judged = Command::new("systemd-analyze")
        .args(["security", "--offline=true", "--threshold=15", "--no-pager"])
        .arg(&unit)
        .output()
        .expect("systemd-analyze; cargo xtask setup installs it");
    let said = String::from_utf8_lossy(&judged.stdout);
    assert!(judged.status.success(), "more exposed than 1.5 of 10:\n{said}");
    let exposure = said
        .lines()
        .find(|line| line.contains("Overall exposure"))
        .expect("a judgement");
    record_result("metrics-unit", exposure.trim_start_matches("→ ").trim());
}
