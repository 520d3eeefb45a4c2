//! Arguments, and what they start.

mod load;
mod servers;
mod spread;

use anyhow::{Context as _, Result};
use clap::{Args, Parser, Subcommand};
use ringfort_bench::compare;

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
    /// Serves a floor: a relay without WAMP to measure against.
    #[command(subcommand)]
    Floor(servers::Floor),
    /// Serves a proxy before a WAMP router that reorders, drops and doubles what it delivers, to convict the history checker.
    ConvictProxy(servers::ConvictProxy),
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
                Command::Floor(floor) => floor.run().await,
                Command::ConvictProxy(proxy) => proxy.run().await,
                Command::Worker(worker) => worker.run().await,
                Command::Coordinate(coordinate) => coordinate.run().await,
                Command::Compare(compare) => compare::run(&compare.targets, compare.rounds, compare.json.as_deref()).await,
            }
        }))
    }
}
