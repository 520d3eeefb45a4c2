//! `ringfort demo`: three nodes, a lamp, and its page, in memory and on loopback.
//!
//! Each node is a process of its own, `ringfort serve --config -`, so what is shown is what is shipped. The demo itself holds
//! the lamp. A node ends when its standard input does, so none outlives the demo, however the demo ends.

mod lamp;
mod nodes;

use std::time::Duration;

use clap::Args;
use serde_json::{Value as Json, json};

use self::nodes::Nodes;
use super::{Failure, logging, print_line, signals::Stop};
use crate::config::{Log, LogFormat};

/// Start three nodes on free ports of this machine, with a lamp on node 1 and its page on all of them.
///
/// Nothing is written to disk. realm1 is open to programs of this machine. Ctrl-C ends it.
#[derive(Debug, Args)]
pub(super) struct Demo {
    /// Print one line of JSON with the addresses of the nodes instead of text; for scripts.
    #[arg(long)]
    json: bool,
    /// End after so many seconds.
    #[arg(long = "for", value_name = "SECONDS")]
    seconds: Option<u64>,
    /// Show the logs of the nodes at this level: error, warn, info, debug.
    #[arg(long, value_name = "LEVEL", default_value = "error")]
    log: String,
}

/// The realm of the demo.
const REALM: &str = "realm1";

impl Demo {
    pub(super) fn run(self) -> Result<(), Failure> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build();
        let runtime = runtime.map_err(|error| Failure::new(format!("cannot start: {error}")))?;
        runtime.block_on(Box::pin(self.show()))
    }

    async fn show(self) -> Result<(), Failure> {
        if self.log.parse::<tracing_subscriber::filter::Targets>().is_err() {
            return Err(Failure {
                code: 2,
                text: format!("--log {}: write error, warn, info or debug", self.log),
            });
        }
        logging::start(&Log {
            level: self.log.clone(),
            format: LogFormat::Text,
        });
        let mut stop = Stop::new()?;
        let mut nodes = tokio::select! {
            nodes = Nodes::start(&self.log) => nodes?,
            () = stop.wait() => return Ok(()),
        };
        let result = tokio::select! {
            result = self.run_lamp(&mut nodes) => result,
            () = stop.wait() => Ok(()),
        };
        nodes.stop().await;
        result
    }

    /// Lights the lamp, tells where everything is, and waits for the end.
    async fn run_lamp(&self, nodes: &mut Nodes) -> Result<(), Failure> {
        let (registered, mut is_registered) = tokio::sync::mpsc::channel(1);
        let mut lamp = tokio::spawn(lamp::run(nodes.rawsocket_urls(), registered));
        let shown = tokio::time::timeout(LAMP_PATIENCE, is_registered.recv()).await;
        if shown.is_err() {
            lamp.abort();
            return Err(Failure::new(format!(
                "the lamp could not register within {} s",
                LAMP_PATIENCE.as_secs()
            )));
        }
        if self.json {
            print_line(&description(nodes).to_string())?;
        } else {
            print_line(&text(nodes))?;
        }
        let over = async {
            match self.seconds {
                Some(seconds) => tokio::time::sleep(Duration::from_secs(seconds)).await,
                None => std::future::pending().await,
            }
        };
        let result = tokio::select! {
            () = over => Ok(()),
            () = nodes.all_gone() => Err(Failure::new("all nodes have ended")),
            _ = &mut lamp => Err(Failure::new("the lamp has ended")),
        };
        lamp.abort();
        result
    }
}

/// A lamp that needs longer will not come at all.
const LAMP_PATIENCE: Duration = Duration::from_secs(10);

/// The line for scripts.
fn description(nodes: &Nodes) -> Json {
    let nodes = nodes.iter().map(|node| {
        json!({
            "name": node.name,
            "websocket": format!("ws://{}/ws", node.address),
            "rawsocket": format!("tcp://{}", node.address),
            "admin": node.admin.map(|address| format!("http://{address}")),
            "page": format!("http://{}/", node.address),
            "pid": node.pid,
            "realm": REALM,
        })
    });
    json!({ "realm": REALM, "nodes": nodes.collect::<Vec<_>>() })
}

/// The lines for people.
fn text(nodes: &Nodes) -> String {
    let mut text = String::from("Three nodes form one router; a lamp is on node n1.\n\n");
    for node in nodes.iter().skip(1) {
        text.push_str(&format!("  lamp page  http://{}/  (node {})\n", node.address, node.name));
    }
    if let (Some(first), Some(last)) = (nodes.iter().next(), nodes.iter().last()) {
        text.push_str(&format!(
            "  lamp page  http://{}/  (node {}, where the lamp is)\n\n",
            first.address, first.name
        ));
        text.push_str("Open two of them side by side and switch the lamp. From a shell:\n\n");
        text.push_str(&format!("  ringfort call lamp.set true --url ws://{}/ws\n", last.address));
        text.push_str(&format!(
            "  ringfort subscribe lamp.changed --url ws://{}/ws\n\n",
            first.address
        ));
        let pids: Vec<String> = nodes.iter().map(|node| format!("{} {}", node.name, node.pid)).collect();
        text.push_str(&format!("Process ids: {}. Ctrl-C ends it.", pids.join(", ")));
    }
    text
}
