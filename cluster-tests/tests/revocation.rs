//! Who is revoked is gone everywhere, soon, and alone: among 5,000 principals on three nodes, and with one node cut off.
//!
//! The second test needs root and `ip`. Every name made here carries the process id, and is removed again.

use std::{
    collections::BTreeSet,
    fmt::Write,
    process::{Command, Output},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use futures_util::{StreamExt, stream};
use ringfort_cluster_tests::{
    cluster::{Cluster, OPEN, REALM, Setup, make_certificates},
    process::{Process, binary},
    record_result,
    wamp::Client,
};
use serde_json::Value;

const PRINCIPALS: usize = 5_000;
/// How soon the sessions of somebody who was revoked have to be gone.
const WITHIN: Duration = Duration::from_secs(2);

fn ringfort(words: &[&str]) -> Output {
    Command::new(binary()).args(words).output().expect("run ringfort")
}

fn said(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

fn authid(n: usize) -> String {
    format!("device-{n:04}")
}

fn ticket(n: usize) -> String {
    format!("a-ticket-of-its-own-{n:04}")
}

/// Three nodes whose first realm begins with the principals, each with an audit log.
async fn cluster_of_principals() -> Result<Cluster> {
    let mut cluster = Cluster::prepare(Setup::Disks, "revocation")?;
    let mut principals = String::new();
    for n in 0..PRINCIPALS {
        let (authid, ticket) = (authid(n), ticket(n));
        write!(
            principals,
            "[[principal]]\nrealm = \"{REALM}\"\nauthid = \"{authid}\"\nrole = \"device\"\nticket = \"{ticket}\"\n"
        )?;
    }
    let realm = format!("name = \"{REALM}\"\nanonymous = \"loopback\"\n");
    for node in 0..3 {
        let file = cluster.config_path(node);
        let text = std::fs::read_to_string(&file)?;
        let begins = format!("{realm}rights = \"seed\"\n");
        let text = text.replacen(&realm, &begins, 1).replace(
            "name = \"anonymous\"",
            "name = \"device\", permissions = [{ uri = \"\", match = \"prefix\", allow = [\"all\"] }] }, { name = \"anonymous\"",
        );
        let audit = cluster.dir().join(format!("audit-{node}.jsonl"));
        let text = format!("{text}\n[limits]\nfailed_logins_free = 100\n[audit]\npath = {audit:?}\n{principals}");
        std::fs::write(&file, text)?;
        cluster.launch(node)?;
    }
    for node in 0..3 {
        cluster.wait_ready(node).await?;
    }
    Ok(cluster)
}

#[tokio::test]
async fn one_of_five_thousand_is_revoked_everywhere_within_two_seconds_and_alone() -> Result<()> {
    let cluster = cluster_of_principals().await?;
    let begun = Instant::now();
    let logins = (0..PRINCIPALS).map(|n| {
        let url = cluster.nodes[n % 3].websocket.clone();
        async move {
            Client::login(&url, REALM, &authid(n), &ticket(n))
                .await
                .with_context(|| authid(n))
        }
    });
    let mut clients: Vec<Client> = stream::iter(logins)
        .buffered(64)
        .collect::<Vec<_>>()
        .await
        .into_iter()
        .collect::<Result<_>>()?;
    let logged_in = begun.elapsed();
    // The one to be revoked has a session on every node.
    let victim = PRINCIPALS / 2;
    let mut victims = Vec::new();
    for node in &cluster.nodes {
        victims.push(Client::login(&node.websocket, REALM, &authid(victim), &ticket(victim)).await?);
    }
    ensure!(clients.iter().all(|client| client.ended().is_none()), "all are there");

    let revoked = Instant::now();
    let url = cluster.nodes[1].admin.clone();
    let command = tokio::task::spawn_blocking(move || {
        ringfort(&["admin", "--url", &url, "remove-principal", REALM, &authid(victim), "--yes"])
    });
    // A session is over with its GOODBYE; a client that does not answer that is cut off a while later.
    let mut over = BTreeSet::new();
    let gone = loop {
        for client in victims.iter_mut().chain([&mut clients[victim]]) {
            let goodbye = client.strays.try_recv().is_ok_and(|message| message[0] == 6);
            if goodbye || client.ended().is_some() {
                over.insert(client.session());
            }
        }
        let there = victims.len() + 1 - over.len();
        if there == 0 {
            break revoked.elapsed();
        }
        ensure!(
            revoked.elapsed() < Duration::from_secs(20),
            "{there} of its sessions are still there"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    ensure!(gone < WITHIN, "its last session ended only after {gone:?}");
    let output = command.await?;
    ensure!(output.status.success(), "{}", said(&output));
    ensure!(
        ["n1", "n2", "n3"].iter().all(|name| said(&output).contains(name)),
        "{}",
        said(&output)
    );

    // Whatever else it might have ended has ended by then.
    tokio::time::sleep(WITHIN * 2).await;
    ensure!(
        victims
            .iter()
            .chain([&clients[victim]])
            .all(|client| client.ended().is_some()),
        "a connection of it stays open"
    );
    let others = || clients.iter().enumerate().filter(|(n, _)| *n != victim);
    let ended: Vec<usize> = others()
        .filter(|(_, client)| client.ended().is_some())
        .map(|(n, _)| n)
        .collect();
    ensure!(ended.is_empty(), "sessions of others have ended: {ended:?}");
    for node in &cluster.nodes {
        let again = Client::login(&node.websocket, REALM, &authid(victim), &ticket(victim)).await;
        ensure!(again.is_err(), "{} lets it in again", node.name);
    }
    let registration = clients[0].register("com.still").await??;
    let echo = clients[0].serve_echo(registration);
    for (_, client) in others().step_by(501) {
        client.call("com.still", &[]).await?.context("others do as before")?;
    }
    echo.abort();

    let mut records = BTreeSet::new();
    for node in 0..3 {
        let path = cluster.dir().join(format!("audit-{node}.jsonl"));
        let text = std::fs::read_to_string(&path)?;
        for line in text.lines() {
            let record: Value = serde_json::from_str(line).with_context(|| line.to_owned())?;
            if record["kind"] == "revoked" {
                ensure!(
                    record["authid"] == authid(victim) && record["source"] == "127.0.0.1",
                    "{record}"
                );
                records.insert((node, record["session"].as_u64().context("session")?));
            }
        }
        ensure!(!text.contains("a-ticket-of-its-own"), "a credential in the audit log");
        let output = ringfort(&["audit", "verify", &path.display().to_string()]);
        ensure!(output.status.success(), "{}", said(&output));
    }
    let sessions: BTreeSet<u64> = victims.iter().chain([&clients[victim]]).map(Client::session).collect();
    ensure!(
        records.iter().map(|(_, session)| *session).collect::<BTreeSet<_>>() == sessions && records.len() == sessions.len(),
        "each of {sessions:?} once in {records:?}"
    );
    record_result(
        "revocation",
        &format!(
            "one of {PRINCIPALS} principals on three nodes: its 4 sessions gone after {gone:.1?}, nobody else's (logins took {logged_in:.1?})"
        ),
    );
    Ok(())
}

const NODES: usize = 3;

/// Three hosts on one bridge, each with a node.
struct Hosts {
    id: u32,
    dir: tempfile::TempDir,
    nodes: Vec<Process>,
}

fn ip(words: &str) -> Result<()> {
    let output = Command::new("ip").args(words.split(' ')).output()?;
    ensure!(output.status.success(), "ip {words}: {}", said(&output));
    Ok(())
}

impl Hosts {
    fn start() -> Result<Self> {
        let mut hosts = Self {
            id: std::process::id() % 10_000,
            dir: tempfile::tempdir()?,
            nodes: Vec::new(),
        };
        ip(&format!("link add {} type bridge", hosts.bridge()))?;
        ip(&format!("link set {} up", hosts.bridge()))?;
        make_certificates(&hosts.dir.path().join("pki"), "cut-off", &["n0", "n1", "n2"])?;
        for node in 0..NODES {
            let (host, wire) = (hosts.host(node), hosts.wire(node));
            ip(&format!("netns add {host}"))?;
            ip(&format!("link add {wire} type veth peer name eth0 netns {host}"))?;
            ip(&format!("link set {wire} master {} up", hosts.bridge()))?;
            ip(&format!("-n {host} addr add {}/24 dev eth0", hosts.address(node)))?;
            ip(&format!("-n {host} link set lo up"))?;
            ip(&format!("-n {host} link set eth0 up"))?;
        }
        for node in 0..NODES {
            let file = hosts.dir.path().join(format!("n{node}.toml"));
            std::fs::write(&file, hosts.config(node))?;
            let mut command = hosts.inside(node);
            command.arg(binary()).args(["serve", "--config"]).arg(&file);
            hosts
                .nodes
                .push(Process::start(&format!("n{node}"), command, hosts.dir.path())?);
        }
        for node in 0..NODES {
            let begun = Instant::now();
            while hosts.status(node).is_none_or(|status| status["ready"] != true) {
                if begun.elapsed() > Duration::from_secs(30) {
                    bail!("node {node} is not ready: {}", hosts.nodes[node].log_tail());
                }
                std::thread::sleep(Duration::from_millis(100));
            }
        }
        Ok(hosts)
    }

    fn bridge(&self) -> String {
        format!("rvb{}", self.id)
    }

    fn host(&self, node: usize) -> String {
        format!("rv{}n{node}", self.id)
    }

    fn wire(&self, node: usize) -> String {
        format!("rvv{}n{node}", self.id)
    }

    fn address(&self, node: usize) -> String {
        format!("10.78.{}.{}", self.id % 200 + 1, node + 1)
    }

    /// Anonymous clients of the first realm act in a role of the log, those of the second in one of the file.
    fn config(&self, node: usize) -> String {
        let peer = |peer: usize| format!("{{ name = \"n{peer}\", address = \"{}:7400\" }}", self.address(peer));
        let peers: Vec<String> = (0..NODES).map(peer).collect();
        let dir = self.dir.path().display();
        format!(
            "[node]\nname = \"n{node}\"\n[[listener]]\naddress = \"127.0.0.1:8080\"\n\
             [[realm]]\nname = \"realm1\"\nanonymous = \"loopback\"\nrights = \"seed\"\n{OPEN}\
             [[realm]]\nname = \"realm2\"\nanonymous = \"loopback\"\n{OPEN}\
             [audit]\npath = \"{dir}/audit-{node}.jsonl\"\n\
             [admin]\naddress = \"127.0.0.1:7500\"\n[cluster]\nid = \"cut-off\"\naddress = \"{}:7400\"\n\
             data_dir = \"{dir}/n{node}\"\npeers = [{}]\n[cluster.tls]\nca = \"{dir}/pki/ca.pem\"\n\
             certificate = \"{dir}/pki/n{node}.pem\"\nkey = \"{dir}/pki/n{node}.key\"\n",
            self.address(node),
            peers.join(", ")
        )
    }

    /// A command that runs on the host of a node.
    fn inside(&self, node: usize) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.host(node)]);
        command
    }

    fn status(&self, node: usize) -> Option<Value> {
        let script = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:7500/status', timeout=2).read().decode())";
        let output = self.inside(node).args(["python3", "-c", script]).output().ok()?;
        serde_json::from_slice(&output.stdout).ok()
    }

    fn subscriber(&self, node: usize, realm: &str) -> Result<Process> {
        let mut command = self.inside(node);
        command.arg(binary()).args(["subscribe", "com.news", "--realm", realm]);
        Process::start(&format!("subscriber-{realm}"), command, self.dir.path())
    }

    /// What a client on that host hears that publishes.
    fn publish(&self, node: usize, realm: &str) -> Result<Output> {
        let mut command = self.inside(node);
        command.arg("timeout").arg("5").arg(binary());
        Ok(command.args(["publish", "com.news", "--realm", realm]).output()?)
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        for node in &mut self.nodes {
            node.kill();
        }
        for node in 0..NODES {
            // What was never made cannot be removed; that is fine.
            let _ = ip(&format!("netns del {}", self.host(node)));
        }
        let _ = ip(&format!("link del {}", self.bridge()));
    }
}

/// The seconds within which the answer says that a node stops.
fn stops_within(text: &str, node: usize) -> Option<u64> {
    let words = text.split(&format!("not confirmed by n{node}, which stops within ")).nth(1)?;
    words.split(' ').next()?.parse().ok()
}

#[test]
fn a_node_that_is_cut_off_is_named_with_the_time_by_which_it_stops_and_keeps_to_it() -> Result<()> {
    let hosts = Hosts::start()?;
    let leader = hosts.status(0).context("status")?["leader"].as_str().map(str::to_owned);
    // The leader itself: nobody tells it that it is cut off.
    let victim: usize = leader.and_then(|name| name[1..].parse().ok()).context("no leader")?;
    let other = (victim + 1) % NODES;
    let (mut revocable, mut fixed) = (hosts.subscriber(victim, "realm1")?, hosts.subscriber(victim, "realm2")?);
    let begun = Instant::now();
    let subscribed = |process: &Process| !process.stdout().is_empty();
    while !subscribed(&revocable) || !subscribed(&fixed) {
        hosts.publish(other, "realm1")?;
        hosts.publish(other, "realm2")?;
        ensure!(
            begun.elapsed() < Duration::from_secs(20),
            "not subscribed: {}",
            revocable.log_tail()
        );
    }

    // The link stays up; packets vanish.
    ip(&format!("link set {} nomaster", hosts.wire(victim)))?;
    let cut = Instant::now();
    // Once the others have a leader again.
    let (answered, text) = loop {
        let mut command = hosts.inside(other);
        let output = command
            .arg(binary())
            .args(["admin", "remove-role", "realm1", "anonymous", "--yes"])
            .output()?;
        match output.status.code() {
            Some(7) => break (Instant::now(), said(&output)),
            Some(0) => bail!("a node that is cut off has confirmed: {}", said(&output)),
            _ => ensure!(cut.elapsed() < Duration::from_secs(15), "{}", said(&output)),
        }
    };
    let promised = Duration::from_secs(stops_within(&text, victim).with_context(|| text.clone())?);
    ensure!(promised <= Duration::from_secs(7), "{text}");
    let ended = loop {
        if revocable.exited().is_some() {
            break answered.elapsed();
        }
        ensure!(
            answered.elapsed() < promised + Duration::from_secs(10),
            "its session never ended"
        );
        std::thread::sleep(Duration::from_millis(20));
    };
    ensure!(
        ended <= promised,
        "it was to stop within {promised:?} and did after {ended:?}"
    );
    let why = revocable.stderr();
    ensure!(why.contains("not_authorized"), "{why}");
    // Nobody comes in by rights that may be gone; who stands on the file stays.
    ensure!(
        !hosts.publish(victim, "realm1")?.status.success(),
        "a node that knows of no rights lets somebody in"
    );
    ensure!(
        fixed.exited().is_none(),
        "a session whose rights are of the file has ended: {}",
        fixed.log_tail()
    );

    ip(&format!("link set {} master {}", hosts.wire(victim), hosts.bridge()))?;
    let healed = Instant::now();
    loop {
        let output = hosts.publish(victim, "realm2")?;
        if output.status.success() && hosts.status(victim).is_some_and(|status| status["ready"] == true) {
            break;
        }
        ensure!(
            healed.elapsed() < Duration::from_secs(30),
            "not healed: {}",
            hosts.nodes[victim].log_tail()
        );
    }
    let mut guest = hosts.subscriber(victim, "realm1")?;
    let status = guest.wait(Duration::from_secs(10))?;
    ensure!(
        !status.success() && guest.stderr().contains("not_authorized"),
        "what was removed is back: {}",
        guest.log_tail()
    );
    for node in 0..NODES {
        let path = hosts.dir.path().join(format!("audit-{node}.jsonl")).display().to_string();
        let output = ringfort(&["audit", "verify", &path]);
        ensure!(output.status.success(), "{}", said(&output));
    }
    record_result(
        "revocation-cut-off",
        &format!("the answer promised {promised:?}; the cut-off leader's session ended {ended:.1?} after it"),
    );
    Ok(())
}
