//! The arguments of loads from several machines.

use std::{fs, net::SocketAddr, path::PathBuf};

use anyhow::{Context as _, Result};
use clap::Args;
use ringfort_bench::spread::{
    Token,
    coordinator::{self, Workers},
    plan::Plan,
    worker,
};

use super::common::{Files, seconds};

/// `worker`
#[derive(Debug, Args)]
pub(crate) struct Worker {
    /// Where coordinators connect. Anything but loopback needs a token.
    #[arg(long)]
    listen: SocketAddr,
    /// What coordinators must show; else from the environment variable RINGFORT_BENCH_TOKEN, which `ps` does not show.
    #[arg(long)]
    token: Option<String>,
    /// PEM file of the certificate authority for wss:// and tls://.
    #[arg(long)]
    ca: Option<PathBuf>,
    /// End after one run.
    #[arg(long)]
    once: bool,
}

/// `coordinate`
#[derive(Debug, Args)]
pub(crate) struct Coordinate {
    /// The plan, see `docs/performance.md`.
    plan: PathBuf,
    /// The workers, `host:port` each. A name that stands for several addresses stands for as many workers, so the name of a
    /// headless Service is enough.
    #[arg(long, value_delimiter = ',', required = true)]
    workers: Vec<String>,
    /// How many workers there must be; default: as many as there are.
    #[arg(long)]
    count: Option<usize>,
    /// Seconds to wait for them to be there.
    #[arg(long, default_value_t = 60.0)]
    wait: f64,
    /// What the workers want to be shown; else from the environment variable RINGFORT_BENCH_TOKEN.
    #[arg(long)]
    token: Option<String>,
    #[command(flatten)]
    files: Files,
}

impl Worker {
    pub(crate) async fn run(self) -> Result<bool> {
        let config = worker::Config {
            token: token(self.token)?,
            ticket: std::env::var("RINGFORT_BENCH_TICKET").ok(),
            ca: self.ca,
            once: self.once,
        };
        worker::check_address(self.listen, &config)?;
        let listener = super::servers::bind(self.listen).await?;
        println!("worker listens on {}", listener.local_addr()?);
        worker::serve(listener, config).await?;
        Ok(true)
    }
}

impl Coordinate {
    pub(crate) async fn run(self) -> Result<bool> {
        let text = fs::read_to_string(&self.plan).with_context(|| format!("cannot read {}", self.plan.display()))?;
        let plan = Plan::parse(&text).with_context(|| format!("{} is not understood", self.plan.display()))?;
        let workers = Workers {
            names: self.workers,
            count: self.count,
            wait: seconds(self.wait, "--wait")?,
            token: token(self.token)?,
        };
        let outcome = coordinator::run(&plan, &workers).await?;
        if let Some(file) = &self.files.json {
            outcome.save(file)?;
        }
        self.files.page(&outcome.outcome)?;
        println!("{outcome}");
        Ok(outcome.outcome.passed)
    }
}

fn token(given: Option<String>) -> Result<Option<Token>> {
    let given = given.or_else(|| std::env::var("RINGFORT_BENCH_TOKEN").ok().filter(|token| !token.is_empty()));
    given
        .map(|text| Token::new(&text).context("a token is one word of visible ASCII characters"))
        .transpose()
}
