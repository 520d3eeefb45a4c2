//! Clusters of real processes: the demo's three, and nodes with a configuration, disks and mutual TLS of their own.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    http,
    ports::free_port,
    process::{Process, Signal, binary, signal},
    secrets,
    wamp::Client,
};

/// The realm every test uses.
pub const REALM: &str = "realm1";
/// A second realm of the clusters with a configuration, to show that nothing crosses.
pub const OTHER_REALM: &str = "realm2";
/// The line of a realm in which anonymous clients may do everything.
pub const OPEN: &str =
    "roles = [{ name = \"anonymous\", permissions = [{ uri = \"\", match = \"prefix\", allow = [\"all\"] }] }]\n";

/// The line of a realm in which the sessions of these roles may do everything.
pub fn open_to(roles: &[&str]) -> String {
    let role =
        |name: &&str| format!("{{ name = \"{name}\", permissions = [{{ uri = \"\", match = \"prefix\", allow = [\"all\"] }}] }}");
    format!("roles = [{}]\n", roles.iter().map(role).collect::<Vec<_>>().join(", "))
}

/// The nodes with which a cluster begins; those that are added later are not among the peers of any configuration.
const FOUNDERS: usize = 3;

/// Longest start of a cluster before a test gives up; three processes share two cores with whatever else runs.
const START: Duration = Duration::from_secs(30);

/// Where one node is reached.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Addresses {
    /// The node's name.
    pub name: String,
    /// WebSocket URL.
    pub websocket: String,
    /// RawSocket URL, `tcp://host:port`.
    pub rawsocket: String,
    /// Base URL of the status pages.
    pub admin: String,
    /// The lamp page.
    pub page: String,
    /// The process id.
    pub pid: u32,
}

impl Addresses {
    fn from_json(node: &Value) -> Result<Self> {
        let text = |key: &str| node[key].as_str().map(|text| text.trim_end_matches('/').to_owned());
        Ok(Self {
            name: text("name").context("name")?,
            websocket: text("websocket").context("websocket")?,
            rawsocket: text("rawsocket").unwrap_or_default(),
            admin: text("admin").unwrap_or_default(),
            page: node["page"].as_str().unwrap_or_default().to_owned(),
            pid: node["pid"].as_u64().context("pid")? as u32,
        })
    }

    /// A session on this node.
    ///
    /// # Errors
    /// If the node does not take it.
    pub async fn join(&self) -> Result<Client> {
        Client::join(&self.websocket, REALM)
            .await
            .with_context(|| format!("join on {}", self.name))
    }

    /// The node's account of itself: name, leader, ready, members.
    ///
    /// # Errors
    /// If it does not answer.
    pub async fn status(&self) -> Result<Value> {
        http::get_json(&format!("{}/status", self.admin)).await
    }
}

/// `ringfort demo --json`, which ends by itself should the test be killed.
#[derive(Debug)]
pub struct Demo {
    process: Process,
    /// The three nodes.
    pub nodes: Vec<Addresses>,
    /// From the start of the program to its line.
    pub started_in: Duration,
    _dir: TempDir,
}

impl Demo {
    /// Starts the demo for at most `seconds` and waits for its line.
    ///
    /// # Errors
    /// If it does not come up; the error carries its log.
    pub async fn start(seconds: u32) -> Result<Self> {
        let dir = secrets::folder("ringfort-demo-")?;
        let mut command = Command::new(binary());
        command.args(["demo", "--json", "--for", &seconds.to_string()]);
        let begun = Instant::now();
        let mut process = Process::start("demo", command, dir.path())?;
        let line = process.first_json_line(START).await?;
        let started_in = begun.elapsed();
        let document: Value = serde_json::from_str(&line).with_context(|| format!("the demo's line: {line}"))?;
        ensure!(document["realm"] == REALM, "realm in {line}");
        let nodes = document["nodes"]
            .as_array()
            .context("nodes")?
            .iter()
            .map(Addresses::from_json)
            .collect::<Result<Vec<_>>>()?;
        ensure!(nodes.len() == 3, "three nodes in {line}");
        Ok(Self {
            process,
            nodes,
            started_in,
            _dir: dir,
        })
    }

    /// The node with this number, counted from 1 as in its name.
    pub fn node(&self, number: usize) -> &Addresses {
        &self.nodes[number - 1]
    }

    /// Ends the demo as Ctrl-C would and says which of its processes are still there afterwards.
    ///
    /// # Errors
    /// If it does not end.
    pub fn stop(mut self) -> Result<Vec<u32>> {
        self.process.signal(Signal::Terminate)?;
        self.process.wait(Duration::from_secs(10))?;
        let alive = |pid: &u32| Path::new(&format!("/proc/{pid}")).exists();
        Ok(self.nodes.iter().map(|node| node.pid).filter(alive).collect())
    }

    /// What the demo and its nodes have logged.
    pub fn log(&self) -> String {
        self.process.stderr()
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        // The demo ends its nodes when asked to; killing it would leave that to them.
        if self.process.exited().is_none() && self.process.signal(Signal::Terminate).is_ok() {
            let _ = self.process.wait(Duration::from_secs(5));
        }
        for node in &self.nodes {
            let of_ours = std::fs::read_to_string(format!("/proc/{}/comm", node.pid)).is_ok_and(|name| name.trim() == "ringfort");
            if of_ours {
                let _ = signal(node.pid, Signal::Kill);
            }
        }
        if std::thread::panicking() {
            eprintln!("--- demo\n{}", self.process.log_tail());
        }
    }
}

/// How the nodes of a [`Cluster`] keep and guard what they have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setup {
    /// A disk for each node, mutual TLS between them.
    DisksAndTls,
    /// A disk, links in the clear over loopback.
    Disks,
}

/// What a node is that joins a running cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Newcomer {
    /// It has a disk and is to vote.
    Core,
    /// It has neither.
    Edge,
}

/// Three `ringfort serve --config` processes, and those that are added.
#[derive(Debug)]
pub struct Cluster {
    /// Cluster id of the certificates and of the configuration.
    pub id: String,
    /// Where each node is; `pid` is 0 while it does not run.
    pub nodes: Vec<Addresses>,
    processes: Vec<Option<Process>>,
    cluster_ports: Vec<u16>,
    setup: Setup,
    dir: TempDir,
}

impl Cluster {
    /// Starts three nodes and waits until each says it is ready.
    ///
    /// # Errors
    /// If one does not come up.
    pub async fn start(setup: Setup) -> Result<Self> {
        let mut cluster = Self::prepare(setup, "cluster-under-test")?;
        cluster.start_all().await?;
        Ok(cluster)
    }

    /// Starts three nodes that serve the files of `pages` to browsers, and waits until each says it is ready.
    ///
    /// # Errors
    /// If one does not come up.
    pub async fn start_with_pages(setup: Setup, pages: &Path) -> Result<Self> {
        let mut cluster = Self::prepare(setup, "cluster-with-pages")?;
        let line = format!("rawsocket = true\npages = {pages:?}\n");
        for node in 0..3 {
            let file = cluster.config_path(node);
            let text = std::fs::read_to_string(&file)?;
            std::fs::write(&file, text.replace("rawsocket = true\n", &line))?;
        }
        cluster.start_all().await?;
        Ok(cluster)
    }

    /// Starts three nodes with `lines` behind their first realm, whose roles they may name ([`open_to`]), and `end` behind everything, and waits until each says it is ready.
    ///
    /// # Errors
    /// If one does not come up.
    pub async fn start_with(setup: Setup, lines: &str, end: &str) -> Result<Self> {
        let mut cluster = Self::prepare(setup, "cluster-with-more")?;
        cluster.add_lines(lines, end)?;
        cluster.start_all().await?;
        Ok(cluster)
    }

    /// Puts `lines` behind the first realm of each configuration, and `end` behind everything.
    fn add_lines(&self, lines: &str, end: &str) -> Result<()> {
        let realm = format!("name = \"{REALM}\"\nanonymous = \"loopback\"\n{OPEN}");
        for node in 0..3 {
            let file = self.config_path(node);
            let text = std::fs::read_to_string(&file)?;
            ensure!(text.contains(&realm), "the realm in {text}");
            let named = if lines.contains("roles = ") {
                realm.replace(OPEN, "")
            } else {
                realm.clone()
            };
            let text = text.replace(&realm, &format!("{named}{lines}\n"));
            std::fs::write(&file, format!("{text}\n{end}"))?;
        }
        Ok(())
    }

    /// Starts three nodes with further listeners, each with lines of its own, and with `lines` and `end` as [`Cluster::start_with`];
    /// waits until each says it is ready. Returns where the further listeners of each node are.
    ///
    /// # Errors
    /// If one does not come up.
    pub async fn start_with_listeners(
        setup: Setup,
        listeners: &[&str],
        lines: &str,
        end: &str,
    ) -> Result<(Self, Vec<Vec<Addresses>>)> {
        let mut cluster = Self::prepare(setup, "cluster-with-listeners")?;
        cluster.add_lines(lines, end)?;
        let mut beside = Vec::new();
        for node in 0..3 {
            let file = cluster.config_path(node);
            let mut text = std::fs::read_to_string(&file)?;
            let mut there = Vec::new();
            for lines in listeners {
                let port = free_port();
                text += &format!("\n[[listener]]\naddress = \"127.0.0.1:{port}\"\npath = \"/ws\"\norigins = [\"*\"]\n{lines}\n");
                there.push(Addresses {
                    websocket: format!("ws://127.0.0.1:{port}/ws"),
                    rawsocket: format!("tcp://127.0.0.1:{port}"),
                    ..cluster.nodes[node].clone()
                });
            }
            std::fs::write(&file, text)?;
            beside.push(there);
        }
        cluster.start_all().await?;
        Ok((cluster, beside))
    }

    async fn start_all(&mut self) -> Result<()> {
        for node in 0..3 {
            self.launch(node)?;
        }
        for node in 0..3 {
            self.wait_ready(node).await?;
        }
        Ok(())
    }

    /// Writes configuration and certificates; starts nothing.
    ///
    /// # Errors
    /// If the certificates cannot be made.
    pub fn prepare(setup: Setup, id: &str) -> Result<Self> {
        let dir = secrets::folder("ringfort-test-")?;
        let names = ["n1", "n2", "n3"];
        let cluster_ports: Vec<u16> = names.iter().map(|_| free_port()).collect();
        let nodes = names
            .iter()
            .map(|name| {
                let (public, admin) = (free_port(), free_port());
                Addresses {
                    name: (*name).to_owned(),
                    websocket: format!("ws://127.0.0.1:{public}/ws"),
                    rawsocket: format!("tcp://127.0.0.1:{public}"),
                    admin: format!("http://127.0.0.1:{admin}"),
                    page: format!("http://127.0.0.1:{public}/"),
                    pid: 0,
                }
            })
            .collect();
        if setup == Setup::DisksAndTls {
            make_certificates(&dir.path().join("ca"), id, &names)?;
        }
        let cluster = Self {
            id: id.to_owned(),
            nodes,
            processes: vec![None, None, None],
            cluster_ports,
            setup,
            dir,
        };
        for (node, name) in names.iter().enumerate() {
            let text = cluster.config(node, id, &cluster.dir.path().join("ca"), &cluster.dir.path().join(name));
            std::fs::write(cluster.config_path(node), text)?;
        }
        Ok(cluster)
    }

    /// The configuration of a node, with the cluster id, certificates and data directory that are given.
    pub fn config(&self, node: usize, id: &str, ca: &Path, data: &Path) -> String {
        let at = &self.nodes[node];
        let host = |url: &str| {
            url.split("://")
                .nth(1)
                .unwrap_or_default()
                .split('/')
                .next()
                .unwrap_or_default()
                .to_owned()
        };
        let founders = self.nodes.iter().take(FOUNDERS);
        let peers: Vec<_> = founders
            .zip(&self.cluster_ports)
            .map(|(peer, port)| format!("{{ name = \"{}\", address = \"127.0.0.1:{port}\" }}", peer.name))
            .collect();
        let tls = match self.setup {
            Setup::Disks => String::new(),
            Setup::DisksAndTls => format!(
                "[cluster.tls]\nca = {:?}\ncertificate = {:?}\nkey = {:?}\n",
                ca.join("ca.pem"),
                ca.join(format!("{}.pem", at.name)),
                ca.join(format!("{}.key", at.name)),
            ),
        };
        format!(
            "[node]\nname = \"{name}\"\n\n[[listener]]\naddress = \"{public}\"\npath = \"/ws\"\norigins = [\"*\"]\nrawsocket = true\n\
             [listener.longpoll]\nwait_secs = 2\nidle_secs = 3\n\n\
             [[realm]]\nname = \"{REALM}\"\nanonymous = \"loopback\"\n{OPEN}\n\
             [[realm]]\nname = \"{OTHER_REALM}\"\nanonymous = \"loopback\"\n{OPEN}\n\
             [cluster]\nid = \"{id}\"\naddress = \"127.0.0.1:{port}\"\npeers = [{peers}]\ndata_dir = {data:?}\n{tls}\n\
             [admin]\naddress = \"{admin}\"\n\n[observability]\naddress = \"off\"\n",
            name = at.name,
            public = host(&at.websocket),
            port = self.cluster_ports[node],
            peers = peers.join(", "),
            admin = host(&at.admin),
        )
    }

    /// Adds a node that joins the running cluster, with its certificate and its configuration: a core node with an empty disk, or an edge
    /// node. Starts nothing; returns its index.
    ///
    /// # Errors
    /// If the certificate cannot be made.
    pub fn add(&mut self, name: &str, newcomer: Newcomer) -> Result<usize> {
        let (public, admin) = (free_port(), free_port());
        self.nodes.push(Addresses {
            name: name.to_owned(),
            websocket: format!("ws://127.0.0.1:{public}/ws"),
            rawsocket: format!("tcp://127.0.0.1:{public}"),
            admin: format!("http://127.0.0.1:{admin}"),
            page: format!("http://127.0.0.1:{public}/"),
            pid: 0,
        });
        self.processes.push(None);
        self.cluster_ports.push(free_port());
        let ca = self.dir.path().join("ca");
        if self.setup == Setup::DisksAndTls {
            certify(&ca, name)?;
        }
        let node = self.nodes.len() - 1;
        let data = self.data_dir(node);
        let text = self.config(node, &self.id, &ca, &data);
        let keeps = format!("data_dir = {data:?}\n");
        let text = match newcomer {
            Newcomer::Core => text.replace(&keeps, &format!("{keeps}join = true\n")),
            Newcomer::Edge => text.replace(&keeps, "kind = \"edge\"\n"),
        };
        std::fs::write(self.config_path(node), text)?;
        Ok(node)
    }

    /// The data directory of a node.
    pub fn data_dir(&self, node: usize) -> PathBuf {
        self.dir.path().join(&self.nodes[node].name)
    }

    /// What `ringfort admin` says through the admin port of a node: its exit code and all of its output.
    ///
    /// # Errors
    /// If the program cannot be run.
    pub fn admin(&self, node: usize, words: &[&str]) -> Result<(i32, String)> {
        let mut command = Command::new(binary());
        command.args(["admin", "--url", &self.nodes[node].admin]).args(words);
        let output = command
            .stdin(std::process::Stdio::null())
            .output()
            .context("run ringfort admin")?;
        let text = [output.stdout, output.stderr].concat();
        Ok((
            output.status.code().unwrap_or(-1),
            String::from_utf8_lossy(&text).into_owned(),
        ))
    }

    /// What `ringfort admin nodes` says through a node, by name.
    ///
    /// # Errors
    /// If it does not answer.
    pub fn known_nodes(&self, node: usize) -> Result<std::collections::BTreeMap<String, Value>> {
        let (code, text) = self.admin(node, &["nodes", "--output", "json"])?;
        ensure!(code == 0, "{text}");
        let document: Value = serde_json::from_str(text.trim()).with_context(|| text.clone())?;
        let nodes = document["nodes"].as_array().context("nodes")?.iter();
        Ok(nodes
            .map(|node| (node["name"].as_str().unwrap_or_default().to_owned(), node.clone()))
            .collect())
    }

    /// Waits for a node to end by itself; returns its exit code.
    ///
    /// # Errors
    /// If it still runs after `patience`.
    pub async fn wait_end(&mut self, node: usize, patience: Duration) -> Result<i32> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(status) = self.process(node)?.exited() {
                self.processes[node] = None;
                self.nodes[node].pid = 0;
                return Ok(status.code().unwrap_or(-1));
            }
            ensure!(
                Instant::now() < deadline,
                "{} still runs after {patience:?}",
                self.nodes[node].name
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The folder of everything this cluster writes.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The file of its configuration, to be changed before it is launched.
    pub fn config_path(&self, node: usize) -> PathBuf {
        self.dir.path().join(format!("{}.toml", self.nodes[node].name))
    }

    /// Starts a node with its own configuration; does not wait.
    ///
    /// # Errors
    /// If it runs already or the program cannot be started.
    pub fn launch(&mut self, node: usize) -> Result<()> {
        let config = self.config_path(node);
        self.launch_with(node, &config)
    }

    /// Starts a process in the place of a node with another configuration.
    ///
    /// # Errors
    /// As for [`Cluster::launch`].
    pub fn launch_with(&mut self, node: usize, config: &Path) -> Result<()> {
        ensure!(self.processes[node].is_none(), "{} runs", self.nodes[node].name);
        let mut command = Command::new(binary());
        command
            .arg("serve")
            .arg("--config")
            .arg(config)
            .args(["--ready-json", "--exit-with-stdin"]);
        let process = Process::start(&self.nodes[node].name.clone(), command, self.dir.path())?;
        self.nodes[node].pid = process.pid();
        self.processes[node] = Some(process);
        Ok(())
    }

    /// Waits for a node's line that says it serves clients.
    ///
    /// # Errors
    /// If it does not come up.
    pub async fn wait_ready(&mut self, node: usize) -> Result<()> {
        let process = self.processes[node].as_mut().context("not started")?;
        process.first_json_line(START).await?;
        Ok(())
    }

    /// The process of a node.
    ///
    /// # Errors
    /// If it does not run.
    pub fn process(&mut self, node: usize) -> Result<&mut Process> {
        self.processes[node].as_mut().context("not running")
    }

    /// Kills a node at once (`kill -9`).
    pub fn kill(&mut self, node: usize) {
        if let Some(mut process) = self.processes[node].take() {
            process.kill();
        }
        self.nodes[node].pid = 0;
    }

    /// Kills all nodes, as near to one moment as three signals can be.
    pub fn kill_all(&mut self) {
        for process in self.processes.iter().flatten() {
            let _ = process.signal(Signal::Kill);
        }
        for node in 0..self.nodes.len() {
            self.kill(node);
        }
    }

    /// Index of the node that all running nodes take for the leader.
    ///
    /// # Errors
    /// If they do not agree within 15 s.
    pub async fn leader(&self) -> Result<usize> {
        let deadline = Instant::now() + Duration::from_secs(15);
        loop {
            let mut named = Vec::new();
            for node in self.nodes.iter().filter(|node| node.pid != 0) {
                let leader = node
                    .status()
                    .await
                    .ok()
                    .and_then(|status| status["leader"].as_str().map(str::to_owned));
                named.push(leader);
            }
            if let Some(Some(leader)) = named.first()
                && named.iter().all(|other| other.as_ref() == Some(leader))
                && let Some(index) = self.nodes.iter().position(|node| &node.name == leader && node.pid != 0)
            {
                return Ok(index);
            }
            if Instant::now() > deadline {
                bail!("no agreed leader: {named:?}");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for process in self.processes.iter_mut().flatten() {
            // A stopped process does take a SIGKILL.
            process.kill();
        }
        if std::thread::panicking() {
            let kept = crate::artifacts_dir().join(format!("failed-{}", std::process::id()));
            let _ = std::fs::create_dir_all(&kept);
            for node in &self.nodes {
                let file = format!("{}.err", node.name);
                let _ = std::fs::copy(self.dir.path().join(&file), kept.join(&file));
            }
            eprintln!("logs of the failed run: {}", kept.display());
        }
    }
}

/// Makes an authority and a certificate for each node in `dir` with the program under test.
///
/// # Errors
/// If the program refuses.
pub fn make_certificates(dir: &Path, cluster_id: &str, names: &[&str]) -> Result<()> {
    run(Command::new(binary())
        .args(["ca", "init", "--cluster-id", cluster_id, "--out"])
        .arg(dir))?;
    names.iter().try_for_each(|name| certify(dir, name))
}

/// Makes a certificate for one more node with the authority in `dir`.
fn certify(dir: &Path, name: &str) -> Result<()> {
    run(Command::new(binary())
        .args(["ca", "node", "--dir"])
        .arg(dir)
        .args(["--name", name, "--host", "127.0.0.1"]))
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output().context("run ringfort ca")?;
    ensure!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
