//! Arguments, and what they start.

mod churn;
mod collector;
mod common;
mod idle;
mod load;
mod register;
mod servers;
mod soak;
mod spread;
mod storm;

use anyhow::{Context as _, Result};
use clap::{Args, Parser, Subcommand};
use ringfort_bench::{compare, report};

/// Load test a WAMP router, or what it is compared with.
#[derive(Debug, Parser)]
#[command(name = "ringfort-bench", version)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Threads of the load client, or of a floor. One is leanest; more help when the client is what limits.
    #[arg(long, global = true, default_value_t = 1)]
    threads: usize,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Calls through a WAMP router.
    Rpc(load::Rpc),
    /// Events through a WAMP router.
    Pubsub(load::Pubsub),
    /// Request and reply through a NATS server.
    NatsRpc(load::PlainRpc),
    /// Fan-out through a NATS server.
    NatsPubsub(load::PlainPubsub),
    /// Calls through one of the floors.
    FloorRpc(load::PlainRpc),
    /// Fan-out through one of the floors.
    FloorPubsub(load::PlainPubsub),
    /// Sessions that are only there, and the memory they take in a WAMP router.
    Idle(idle::Idle),
    /// The same in a NATS server.
    NatsIdle(idle::PlainIdle),
    /// The same in one of the floors, upgraded and no more.
    FloorIdle(idle::PlainIdle),
    /// Sessions that come and go at a WAMP router.
    Churn(churn::Churn),
    /// Connections that come and go at a NATS server.
    NatsChurn(churn::PlainChurn),
    /// Connections that come and go at one of the floors: accept and upgrade.
    FloorChurn(churn::PlainChurn),
    /// Registrations that come and go at a WAMP router.
    Register(register::Register),
    /// Serves a floor: a relay without WAMP to measure against.
    #[command(subcommand)]
    Floor(servers::Floor),
    /// Serves a collector of traces that throws away what it gets.
    Collector(collector::Collector),
    /// Serves a proxy before a WAMP router that reorders, drops and doubles what it delivers, to convict the history checker.
    ConvictProxy(servers::ConvictProxy),
    /// Kills a node and sees all its sessions come back to the others, while those go on working.
    Storm(storm::Storm),
    /// Calls, events and sessions that come and go for hours, and the memory of the routers meanwhile.
    Soak(soak::Soak),
    /// Turns a JSON result of a run or a comparison into a page with plots.
    Report(Report),
    /// Runs several targets in interleaved rounds and prints medians with minimum and maximum.
    Compare(Compare),
    /// Waits for a coordinator and carries its share of a load from many machines.
    Worker(spread::Worker),
    /// Splits a load over workers, starts them together and judges the whole.
    Coordinate(spread::Coordinate),
}

#[derive(Debug, Args)]
struct Compare {
    /// The targets, see `docs/performance.md`.
    targets: std::path::PathBuf,
    /// Rounds; overrides the file.
    #[arg(long)]
    rounds: Option<u32>,
    /// Write all results as JSON.
    #[arg(long)]
    json: Option<std::path::PathBuf>,
    /// Write all results as a page with plots: one file, which needs no network.
    #[arg(long)]
    html: Option<std::path::PathBuf>,
}

#[derive(Debug, Args)]
struct Report {
    /// What `--json` wrote.
    results: std::path::PathBuf,
    /// The page to write.
    #[arg(long)]
    html: std::path::PathBuf,
}

impl Cli {
    /// Runs the command; false means that the run was wrong.
    pub(crate) fn run(self) -> Result<bool> {
        let mut builder = if self.threads > 1 {
            tokio::runtime::Builder::new_multi_thread()
        } else {
            tokio::runtime::Builder::new_current_thread()
        };
        let runtime = builder
            .worker_threads(self.threads.max(1))
            .enable_all()
            .build()
            .context("no runtime")?;
        runtime.block_on(Box::pin(async {
            match self.command {
                Command::Rpc(rpc) => rpc.run().await,
                Command::Pubsub(pubsub) => pubsub.run().await,
                Command::NatsRpc(rpc) => rpc.run(load::Kind::Nats).await,
                Command::NatsPubsub(pubsub) => pubsub.run(load::Kind::Nats).await,
                Command::FloorRpc(rpc) => rpc.run(load::Kind::Floor).await,
                Command::FloorPubsub(pubsub) => pubsub.run(load::Kind::Floor).await,
                Command::Idle(idle) => idle.run().await,
                Command::NatsIdle(idle) => idle.run(load::Kind::Nats).await,
                Command::FloorIdle(idle) => idle.run(load::Kind::Floor).await,
                Command::Churn(churn) => churn.run().await,
                Command::NatsChurn(churn) => churn.run(load::Kind::Nats).await,
                Command::FloorChurn(churn) => churn.run(load::Kind::Floor).await,
                Command::Register(register) => register.run().await,
                Command::Floor(floor) => floor.run().await,
                Command::Collector(collector) => collector.run().await,
                Command::ConvictProxy(proxy) => proxy.run().await,
                Command::Compare(compare) => {
                    let Compare { json, html, .. } = &compare;
                    compare::run(&compare.targets, compare.rounds, json.as_deref(), html.as_deref()).await
                }
                Command::Storm(storm) => storm.run().await,
                Command::Soak(soak) => soak.run().await,
                Command::Report(Report { results, html }) => report::convert(&results, &html).map(|()| true),
                Command::Worker(worker) => worker.run().await,
                Command::Coordinate(coordinate) => coordinate.run().await,
            }
        }))
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use clap::CommandFactory as _;
    use ringfort_bench::compare::targets::Targets;

    use super::*;

    #[test]
    fn the_arguments_fit_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_file_of_targets_runs_what_we_understand() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("targets");
        let mut runs = 0;
        for file in fs::read_dir(folder).unwrap() {
            let file = file.unwrap().path();
            let targets = Targets::parse(&fs::read_to_string(&file).unwrap()).unwrap();
            for target in targets.target {
                // What a process prints comes later; a process id must be a number already.
                let filled = |word: &String| {
                    if word.ends_with("/pid}") {
                        "2".to_owned()
                    } else {
                        word.clone()
                    }
                };
                let given: Vec<String> = target.run.iter().map(filled).collect();
                let words = ["ringfort-bench"].into_iter().chain(given.iter().map(String::as_str));
                let words = words.chain(["--pid", "1", "--json", "x"]);
                let parsed = Cli::try_parse_from(words);
                assert!(parsed.is_ok(), "{}: {:?}: {parsed:?}", file.display(), target.name);
                runs += 1;
            }
        }
        assert!(runs > 30, "{runs} targets");
    }
}
