//! Crossbar.io as a peer: the router that everybody else's figures and habits come from, to show that a load works against any
//! router.
//!
//! It is installed from PyPI by `cargo xtask setup` into a virtual environment of its own, since it asks for older versions of
//! packages that the client scripts use newer.

use std::{path::PathBuf, process::Command, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use serde_json::json;
use tempfile::TempDir;
use tokio::{
    net::TcpStream,
    time::{Instant, sleep},
};

use crate::{
    cluster::REALM,
    ports::free_port,
    process::{Process, Signal},
};

/// It takes some 5 s on an idle machine, half of them for imports, in two processes one after the other.
const START: Duration = Duration::from_secs(120);
/// How long it may take to end its worker when asked to; then it is killed.
const END: Duration = Duration::from_secs(20);

/// One Crossbar node with one router worker, a WebSocket and a RawSocket listener on loopback, and everything allowed to everyone
/// in [`REALM`].
#[derive(Debug)]
pub struct Crossbar {
    process: Process,
    websocket_port: u16,
    rawsocket_port: u16,
    // Behind the process, which writes into it.
    _dir: TempDir,
}

/// The `crossbar` program: `RINGFORT_CROSSBAR`, else the one that `cargo xtask setup` installs.
pub fn program() -> PathBuf {
    std::env::var_os("RINGFORT_CROSSBAR").map_or_else(|| crate::target_dir().join("crossbar/bin/crossbar"), PathBuf::from)
}

impl Crossbar {
    /// Starts it and waits until both listeners take connections.
    ///
    /// # Errors
    /// If it is not installed or does not come up within two minutes; the error carries the end of its log.
    pub async fn start() -> Result<Self> {
        let program = program();
        ensure!(program.is_file(), "{} is missing: run `cargo xtask setup`", program.display());
        let dir = tempfile::Builder::new().prefix("ringfort-crossbar-").tempdir()?;
        let (websocket_port, rawsocket_port) = (free_port(), free_port());
        let config = config(websocket_port, rawsocket_port).to_string();
        std::fs::write(dir.path().join("config.json"), config).context("write its configuration")?;
        let mut command = Command::new(program);
        command.arg("start").arg("--cbdir").arg(dir.path());
        command.env("PYTHONDONTWRITEBYTECODE", "1").env("HOME", dir.path());
        let mut crossbar = Self {
            process: Process::start("crossbar", command, dir.path())?,
            websocket_port,
            rawsocket_port,
            _dir: dir,
        };
        let deadline = Instant::now() + START;
        for port in [websocket_port, rawsocket_port] {
            while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
                if let Some(status) = crossbar.process.exited() {
                    bail!("crossbar ended with {status} before it was ready:\n{}", crossbar.log_tail());
                }
                ensure!(
                    Instant::now() < deadline,
                    "crossbar not ready within {START:?}:\n{}",
                    crossbar.log_tail()
                );
                sleep(Duration::from_millis(100)).await;
            }
        }
        Ok(crossbar)
    }

    /// Its WebSocket URL.
    pub fn websocket(&self) -> String {
        format!("ws://127.0.0.1:{}/ws", self.websocket_port)
    }

    /// Its RawSocket URL, `tcp://host:port`.
    pub fn rawsocket(&self) -> String {
        format!("tcp://127.0.0.1:{}", self.rawsocket_port)
    }

    /// The process id of the controller, whose child the router worker is.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// The process id of the router worker, which holds the sessions.
    ///
    /// # Errors
    /// If the controller has no child or another number of them than one.
    pub fn worker_pid(&self) -> Result<u32> {
        let pid = self.pid();
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
        match children.split_ascii_whitespace().collect::<Vec<_>>()[..] {
            [worker] => Ok(worker.parse()?),
            _ => bail!("the controller has the children {children:?} instead of one worker"),
        }
    }

    /// The last lines it has logged.
    pub fn log_tail(&self) -> String {
        let log = self.process.stdout() + &self.process.stderr();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }
}

impl Drop for Crossbar {
    fn drop(&mut self) {
        // Asked to, the controller takes its worker with it; killed, it would leave it to find out by itself.
        let asked = self.process.signal(Signal::Terminate);
        if asked.is_err() || self.process.wait(END).is_err() {
            self.process.kill();
        }
    }
}

fn config(websocket_port: u16, rawsocket_port: u16) -> serde_json::Value {
    let transport = |kind: &str, port: u16| {
        json!({
            "type": kind,
            "endpoint": {"type": "tcp", "interface": "127.0.0.1", "port": port},
            "serializers": ["json", "msgpack", "cbor"],
            "auth": {"anonymous": {"type": "static", "role": "anonymous"}},
        })
    };
    let everything = json!({
        "uri": "",
        "match": "prefix",
        "allow": {"call": true, "register": true, "publish": true, "subscribe": true},
        "disclose": {"caller": false, "publisher": false},
        "cache": true,
    });
    json!({
        "version": 2,
        "controller": {},
        "workers": [{
            "type": "router",
            "realms": [{"name": REALM, "roles": [{"name": "anonymous", "permissions": [everything]}]}],
            "transports": [transport("websocket", websocket_port), transport("rawsocket", rawsocket_port)],
        }],
    })
}
