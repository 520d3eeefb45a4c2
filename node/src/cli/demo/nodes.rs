//! The three processes of the demo.

use std::{
    fmt::Write,
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use serde::Deserialize;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    process::{Child, ChildStdin, ChildStdout, Command},
    time::timeout,
};

use super::{Failure, REALM};
use crate::client::Url;

/// The nodes, which run as long as this is not dropped.
pub(super) struct Nodes(Vec<Node>);

/// One node that serves clients.
pub(super) struct Node {
    pub(super) name: String,
    pub(super) address: SocketAddr,
    pub(super) admin: Option<SocketAddr>,
    pub(super) pid: u32,
    child: Child,
    /// The node ends when this is closed.
    stdin: Option<ChildStdin>,
    /// Kept open, for a closed one would fail the node's next print.
    _stdout: BufReader<ChildStdout>,
}

/// What `serve --ready-json` prints.
#[derive(Deserialize)]
struct Ready {
    listeners: Vec<SocketAddr>,
    admin: Option<SocketAddr>,
    pid: u32,
}

const COUNT: usize = 3;
/// Somebody else may take a free port before our node does; then all is started anew with other ports.
const ATTEMPTS: usize = 5;
const START_PATIENCE: Duration = Duration::from_secs(30);
const STOP_PATIENCE: Duration = Duration::from_secs(7);
/// The exit code of a node whose port is taken.
const PORT_TAKEN: i32 = 4;
/// The longest line that a node may announce itself with.
const READY_BYTES_MAX: u64 = 64 * 1024;

/// Why the nodes did not start.
enum StartError {
    PortTaken,
    Other(Failure),
}

impl Nodes {
    /// Starts three nodes and waits until all serve clients.
    pub(super) async fn start(log: &str) -> Result<Self, Failure> {
        for _ in 0..ATTEMPTS {
            match Self::try_start(log).await {
                Ok(nodes) => return Ok(nodes),
                Err(StartError::PortTaken) => {}
                Err(StartError::Other(failure)) => return Err(failure),
            }
        }
        Err(Failure {
            code: PORT_TAKEN as u8,
            text: "free ports were taken by others again and again".to_owned(),
        })
    }

    async fn try_start(log: &str) -> Result<Self, StartError> {
        let other = |what: &str, error: io::Error| StartError::Other(Failure::new(format!("{what}: {error}")));
        let ports = free_ports().map_err(|error| other("cannot find free ports on 127.0.0.1", error))?;
        // Dropping a child kills it, so an early return leaves none behind.
        let mut children = Vec::new();
        for number in 1..=COUNT {
            let child = spawn(&settings(number, &ports, log)).await;
            children.push(child.map_err(|error| other("cannot start a node", error))?);
        }
        let ready = async {
            // All at once: one that ends for want of its port would leave the others waiting for it.
            let nodes = children
                .into_iter()
                .enumerate()
                .map(|(index, child)| Node::when_ready(format!("n{}", index + 1), child));
            futures_util::future::try_join_all(nodes).await.map(Self)
        };
        let late = || {
            Err(StartError::Other(Failure::new(format!(
                "the nodes were not ready within {} s",
                START_PATIENCE.as_secs()
            ))))
        };
        timeout(START_PATIENCE, ready).await.unwrap_or_else(|_| late())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Node> {
        self.0.iter()
    }

    /// Where the lamp connects, node 1 first.
    pub(super) fn rawsocket_urls(&self) -> Vec<Url> {
        self.iter()
            .filter_map(|node| format!("tcp://{}", node.address).parse().ok())
            .collect()
    }

    /// Reports each node that ends, and returns when the last one has.
    pub(super) async fn all_gone(&mut self) {
        let ends = self.0.iter_mut().map(|node| async {
            let status = node.child.wait().await;
            eprintln!("ringfort demo: node {} has ended{}", node.name, describe(status.ok()));
        });
        futures_util::future::join_all(ends).await;
    }

    /// Lets the nodes stop in good order, and ends those that do not.
    pub(super) async fn stop(mut self) {
        for node in &mut self.0 {
            drop(node.stdin.take());
        }
        let stopped = futures_util::future::join_all(self.0.iter_mut().map(|node| node.child.wait()));
        if timeout(STOP_PATIENCE, stopped).await.is_err() {
            for node in &mut self.0 {
                // Fails only for a node that has just ended.
                drop(node.child.kill().await);
            }
        }
    }
}

impl Node {
    async fn when_ready(name: String, mut child: Child) -> Result<Self, StartError> {
        let other = |why: String| StartError::Other(Failure::new(format!("node {name} did not start{why}")));
        let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(other(String::new()));
        };
        let mut stdout = BufReader::new(stdout);
        let mut line = String::new();
        let read = (&mut stdout).take(READY_BYTES_MAX).read_line(&mut line).await;
        if read.map_err(|error| other(format!(": {error}")))? == 0 {
            let status = child.wait().await.ok();
            return Err(match status.and_then(|status| status.code()) {
                Some(PORT_TAKEN) => StartError::PortTaken,
                _ => other(describe(status)),
            });
        }
        let ready: Ready = serde_json::from_str(&line).map_err(|error| other(format!(": {error}")))?;
        let address = *ready
            .listeners
            .first()
            .ok_or_else(|| other(": it has no listener".to_owned()))?;
        Ok(Self {
            name,
            address,
            admin: ready.admin,
            pid: ready.pid,
            child,
            stdin: Some(stdin),
            _stdout: stdout,
        })
    }
}

/// Starts a node and gives it its settings.
async fn spawn(settings: &str) -> io::Result<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["serve", "--config", "-", "--ready-json", "--exit-with-stdin"]);
    // The demo's nodes are as they are here, whatever a node of this user is told by the environment.
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("RINGFORT__")) {
        command.env_remove(name);
    }
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    if let Some(stdin) = &mut child.stdin {
        stdin.write_all(settings.as_bytes()).await?;
        stdin.flush().await?;
    }
    Ok(child)
}

/// The settings of node `number`.
fn settings(number: usize, ports: &[u16; COUNT], log: &str) -> String {
    let port = ports[number - 1];
    // Any origin: the demo holds nothing but a lamp, and pages of your own may try it.
    let mut text = format!(
        r#"
        node = {{ name = "n{number}", worker_threads = 2, drain_secs = 1 }}
        listener = [{{ address = "127.0.0.1:0", origins = ["*"], pages = "lamp" }}]
        realm = [{{ name = "{REALM}", anonymous = "loopback", roles = [
            {{ name = "anonymous", permissions = [{{ uri = "", match = "prefix", allow = ["all"] }}] }}
        ] }}]
        admin = {{ address = "127.0.0.1:0" }}
        observability = {{ address = "off" }}
        log = {{ level = "{log}" }}
        [cluster]
        id = "demo"
        address = "127.0.0.1:{port}"
        "#
    );
    for (index, port) in ports.iter().enumerate() {
        // Writing to a text cannot fail.
        let _ = writeln!(
            text,
            "[[cluster.peers]]\nname = \"n{}\"\naddress = \"127.0.0.1:{port}\"",
            index + 1
        );
    }
    text.push_str("# end of config\n");
    text
}

/// Ports that are free right now, below the range from which the system takes ports for outgoing connections: one of those could
/// be gone between this and the node's own bind.
fn free_ports() -> io::Result<[u16; COUNT]> {
    // Different demos begin at different places; without randomness they only try longer.
    let start = getrandom::u32().unwrap_or_else(|_| std::process::id());
    let candidates = (0..RANGE).map(|step| FIRST + (u32::from(step).wrapping_add(start) % u32::from(RANGE)) as u16);
    // All are held until all are known, so that they differ.
    let mut held = Vec::new();
    for port in candidates {
        if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            held.push((port, listener));
        }
        if held.len() == COUNT {
            return Ok(std::array::from_fn(|n| held[n].0));
        }
    }
    Err(io::Error::new(
        io::ErrorKind::AddrInUse,
        "every port from 20000 to 31999 is taken",
    ))
}

/// Where the search for ports begins, and how many it looks at.
const FIRST: u16 = 20_000;
const RANGE: u16 = 12_000;

fn describe(status: Option<ExitStatus>) -> String {
    status.map(|status| format!(": {status}")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn the_settings_of_each_node_pass_every_check() {
        let ports = free_ports().unwrap();
        for number in 1..=COUNT {
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), settings(number, &ports, "warn")).unwrap();
            let config = Config::load(&crate::config::Source::File(file.path().to_owned()), []).unwrap();
            assert_eq!(config.node.name, format!("n{number}"));
            assert_eq!(config.cluster.peers.len(), COUNT);
            assert_eq!(config.cluster.peers[number - 1].address.port, config.cluster.address.port());
        }
    }
}
