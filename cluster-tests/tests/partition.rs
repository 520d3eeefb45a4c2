//! Three hosts in network namespaces, and a wire that is cut: exclusivity holds on both sides of a partition.
//!
//! Needs root and `ip`. Every name made here carries the process id, and is removed again.

use std::{
    process::{Command, Output},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use ringfort_cluster_tests::{
    cluster::{OPEN, make_certificates},
    process::{Process, binary},
    record_result,
};
use serde_json::Value;

const NODES: usize = 3;
const PROCEDURE: &str = "test.partition.exclusive";

/// Three hosts on one bridge, each with a node that runs with a disk and mutual TLS.
struct Hosts {
    id: u32,
    dir: tempfile::TempDir,
    nodes: Vec<Process>,
}

fn run(command: &mut Command) -> Result<Output> {
    command.output().with_context(|| format!("{command:?}"))
}

fn ip(words: &str) -> Result<()> {
    let output = run(Command::new("ip").args(words.split(' ')))?;
    ensure!(
        output.status.success(),
        "ip {words}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

impl Hosts {
    fn start() -> Result<Self> {
        let mut hosts = Self {
            id: std::process::id() % 10_000,
            dir: ringfort_cluster_tests::secrets::folder("ringfort-test-")?,
            nodes: Vec::new(),
        };
        ip(&format!("link add {} type bridge", hosts.bridge()))?;
        ip(&format!("link set {} up", hosts.bridge()))?;
        let names = ["n0", "n1", "n2"];
        let pki = hosts.dir.path().join("pki");
        make_certificates(&pki, "partition", &names)?;
        for node in 0..NODES {
            let (host, wire) = (hosts.host(node), hosts.wire(node));
            ip(&format!("netns add {host}"))?;
            ip(&format!("link add {wire} type veth peer name eth0 netns {host}"))?;
            ip(&format!("link set {wire} master {} up", hosts.bridge()))?;
            ip(&format!("-n {host} addr add {}/24 dev eth0", hosts.address(node)))?;
            ip(&format!("-n {host} link set lo up"))?;
            ip(&format!("-n {host} link set eth0 up"))?;
        }
        for (node, name) in names.iter().enumerate() {
            let file = hosts.dir.path().join(format!("{name}.toml"));
            std::fs::write(&file, hosts.config(node, name))?;
            let mut command = hosts.inside(node);
            command.arg(binary()).args(["serve", "--config"]).arg(&file);
            let process = Process::start(name, command, hosts.dir.path())?;
            hosts.nodes.push(process);
        }
        for node in 0..NODES {
            hosts.ready(node, Duration::from_secs(20))?;
        }
        Ok(hosts)
    }

    fn bridge(&self) -> String {
        format!("rfb{}", self.id)
    }

    fn host(&self, node: usize) -> String {
        format!("rf{}n{node}", self.id)
    }

    fn wire(&self, node: usize) -> String {
        format!("rfv{}n{node}", self.id)
    }

    fn address(&self, node: usize) -> String {
        format!("10.77.{}.{}", self.id % 200 + 1, node + 1)
    }

    fn config(&self, node: usize, name: &str) -> String {
        let peers: Vec<String> = (0..NODES)
            .map(|peer| format!("{{ name = \"n{peer}\", address = \"{}:7400\" }}", self.address(peer)))
            .collect();
        let dir = self.dir.path().display();
        format!(
            "[node]\nname = \"{name}\"\n[[listener]]\naddress = \"127.0.0.1:8080\"\n[[realm]]\nname = \"realm1\"\n\
             anonymous = \"loopback\"\n{OPEN}[admin]\naddress = \"127.0.0.1:7500\"\n[cluster]\nid = \"partition\"\naddress = \"{}:7400\"\n\
             data_dir = \"{dir}/{name}\"\npeers = [{}]\n[cluster.tls]\nca = \"{dir}/pki/ca.pem\"\n\
             certificate = \"{dir}/pki/{name}.pem\"\nkey = \"{dir}/pki/{name}.key\"\n",
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

    fn status(&self, node: usize) -> Result<Value> {
        let script = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:7500/status', timeout=2).read().decode())";
        let output = run(self.inside(node).args(["python3", "-c", script]))?;
        serde_json::from_slice(&output.stdout).context("status")
    }

    /// Waits until a node serves clients; its epoch.
    fn ready(&self, node: usize, patience: Duration) -> Result<u64> {
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline {
            if let Ok(status) = self.status(node)
                && status["ready"] == true
                && let Some(epoch) = status["node"]["epoch"].as_u64()
            {
                return Ok(epoch);
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        bail!("node {node} is not ready: {}", self.nodes[node].log_tail())
    }

    /// What the command line client says to a call on the host of a node.
    fn call(&self, node: usize) -> Result<String> {
        let mut command = self.inside(node);
        command.arg("timeout").arg("5").arg(binary());
        let output = run(command.args(["call", PROCEDURE, "--url", "ws://127.0.0.1:8080/ws", "--realm", "realm1"]))?;
        let said = if output.status.success() {
            output.stdout
        } else {
            output.stderr
        };
        Ok(String::from_utf8_lossy(&said).trim().to_owned())
    }

    /// A callee on the host of a node that answers `reply`; it ends at once if it is refused.
    fn callee(&self, node: usize, reply: &str) -> Result<Process> {
        let mut command = self.inside(node);
        command
            .arg(binary())
            .args(["register", PROCEDURE, "--reply", &format!("\"{reply}\"")]);
        command.args(["--url", "ws://127.0.0.1:8080/ws", "--realm", "realm1"]);
        Process::start(reply, command, self.dir.path())
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

/// The leader, which also has the callee, is cut off without a word. It has to stop invoking before anybody else may have the
/// procedure, and to come back with a new life once the wire is mended.
#[test]
fn a_leader_that_is_cut_off_has_stopped_before_its_procedure_is_free() -> Result<()> {
    let hosts = Hosts::start()?;
    let leader = hosts.status(0)?["leader"]
        .as_str()
        .and_then(|name| name[1..].parse::<usize>().ok());
    let victim = leader.context("no leader")?;
    let other = (victim + 1) % NODES;
    let epoch = hosts.ready(victim, Duration::from_secs(5))?;
    let first = hosts.callee(victim, "first")?;
    let deadline = Instant::now() + Duration::from_secs(5);
    while hosts.call(other)? != "\"first\"" {
        ensure!(
            Instant::now() < deadline,
            "the first callee is not found: {}",
            first.log_tail()
        );
    }

    // The link stays up; packets vanish.
    ip(&format!("link set {} nomaster", hosts.wire(victim)))?;
    let cut = Instant::now();
    let (mut last_first, mut free, mut rival) = (Duration::ZERO, None, None);
    while free.is_none() && cut.elapsed() < Duration::from_secs(30) {
        let asked = cut.elapsed();
        if hosts.call(victim)? == "\"first\"" {
            last_first = asked;
        }
        let mut callee = hosts.callee(other, "second")?;
        let tried = Instant::now();
        while callee.exited().is_none() && tried.elapsed() < Duration::from_millis(700) {
            if hosts.call(other)? == "\"second\"" {
                free = Some(cut.elapsed());
                break;
            }
        }
        rival = free.is_some().then_some(callee);
    }
    let free = free.context("the procedure was never free on the side with the quorum")?;
    ensure!(
        last_first > Duration::ZERO,
        "the cut-off side did not go on at all: nothing was shown"
    );
    ensure!(
        last_first < free,
        "the old callee was still called {last_first:?} after the cut, the new one from {free:?} on"
    );
    ensure!(free < Duration::from_secs(20), "free only after {free:?}");
    for _ in 0..10 {
        let answer = hosts.call(victim)?;
        ensure!(answer != "\"first\"", "the side without a quorum still invokes its callee");
    }

    ip(&format!("link set {} master {}", hosts.wire(victim), hosts.bridge()))?;
    let healed = Instant::now();
    while hosts.call(victim)? != "\"second\"" {
        ensure!(
            healed.elapsed() < Duration::from_secs(20),
            "not healed: {}",
            hosts.nodes[victim].log_tail()
        );
    }
    let back = healed.elapsed();
    ensure!(
        hosts.ready(victim, Duration::from_secs(5))? > epoch,
        "it came back with its old life"
    );
    drop(rival);
    record_result(
        "partition",
        &format!(
            "leader cut off: stopped by {last_first:.1?}, its procedure free after {free:.1?}, back {back:.1?} after the heal"
        ),
    );
    Ok(())
}
