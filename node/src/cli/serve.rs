//! `ringfort serve`: one node, until it is told to stop.

use std::{net::SocketAddr, path::PathBuf};

use clap::Args;
use serde_json::json;

use super::{Failure, environment, logging, print_line, signals};
use crate::{
    config::{Config, Source},
    node::{self, RunningNode},
};

/// Run one node.
///
/// Without --config it runs alone on 127.0.0.1:8080, with realm1 open to clients of this machine. SIGTERM or Ctrl-C drains it, as
/// `ringfort admin drain` does, and then stops it; a second one skips what is waited for. The file is read again when it changes, and at
/// SIGHUP; docs/operating.md says what can be changed like that. Exit codes: 3 wrong settings, 4 a port is taken, 5 a certificate or key,
/// 6 the data directory, 12 it was removed from its cluster for good.
#[derive(Debug, Args)]
pub(super) struct Serve {
    /// The TOML file with the settings, or - for standard input; docs/config.md lists them.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print one line of JSON with the addresses once clients are served; for programs that start a node.
    #[arg(long)]
    ready_json: bool,
    /// Stop when standard input ends; for programs that start a node and may be killed.
    #[arg(long)]
    exit_with_stdin: bool,
}

impl Serve {
    pub(super) fn run(self) -> Result<(), Failure> {
        let source = Source::from_argument(self.config.as_deref());
        let config = Config::load(&source, environment())?;
        logging::start(&config.log);
        tracing::info!(settings = config.redacted(), "starting");
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        if config.node.worker_threads > 0 {
            builder.worker_threads(config.node.worker_threads);
        }
        let runtime = builder.enable_all().thread_name("ringfort").build();
        let runtime = runtime.map_err(|error| Failure::new(format!("cannot start threads: {error}")))?;
        runtime.block_on(Box::pin(self.serve(config, source)))
    }

    async fn serve(self, config: Config, source: Source) -> Result<(), Failure> {
        let mut stop = signals::Stop::new()?;
        let mut hangup = signals::Hangup::new()?;
        let mut stdin_ended = self.exit_with_stdin.then(signals::end_of_stdin);
        let parent_gone = async {
            match &mut stdin_ended {
                // An error means that the watching thread ended, which it does only at the end of standard input.
                Some(ended) => drop(ended.await),
                None => std::future::pending().await,
            }
        };
        let mut node = node::start(config).await.map_err(|error| Failure {
            code: error.exit_code(),
            text: error.to_string(),
        })?;
        node.reload_from(source, environment().collect());
        tokio::pin!(parent_gone);
        let told_to_stop = tokio::select! {
            () = node.wait_ready() => false,
            why = node.failed() => {
                let failure = failure(&node, &why);
                node.stop().await;
                return Err(failure);
            }
            () = stop.wait() => true,
            () = node.drain_asked() => true,
            () = hangup.reload(&node) => true,
            () = &mut parent_gone => true,
        };
        let mut result = Ok(());
        if !told_to_stop {
            tracing::info!(listeners = ?node.listeners(), "ready to serve clients");
            if self.ready_json {
                result = print_line(&ready_line(&node));
            }
        }
        while !told_to_stop && result.is_ok() {
            tokio::select! {
                why = node.failed() => {
                    result = Err(failure(&node, &why));
                    break;
                }
                () = stop.wait() => node.ask_to_drain("a signal"),
                () = node.drain_asked() => {}
                () = hangup.reload(&node) => {}
                () = &mut parent_gone => break,
            }
            let drained = node.drain();
            tokio::pin!(drained);
            let goes = loop {
                tokio::select! {
                    goes = &mut drained => break goes,
                    why = node.failed() => {
                        result = Err(failure(&node, &why));
                        break true;
                    }
                    () = stop.wait() => node.hurry(),
                    () = &mut parent_gone => break true,
                }
            };
            if goes {
                break;
            }
        }
        tracing::info!("stopping");
        node.stop().await;
        result
    }
}

fn failure(node: &RunningNode, why: &str) -> Failure {
    Failure {
        code: node.failure_code(),
        text: format!("the node had to stop: {why}"),
    }
}

/// What `--ready-json` prints: `{"admin":"127.0.0.1:1","listeners":["127.0.0.1:2"],"observability":null,"pid":3}`.
fn ready_line(node: &RunningNode) -> String {
    let listeners: Vec<String> = node.listeners().iter().map(SocketAddr::to_string).collect();
    let text = |address: Option<SocketAddr>| address.map(|address| address.to_string());
    let (admin, observability) = (text(node.admin_address()), text(node.observability_address()));
    json!({ "listeners": listeners, "admin": admin, "observability": observability, "pid": std::process::id() }).to_string()
}
