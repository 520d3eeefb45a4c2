//! Arguments that every scenario takes: how long, what to measure, where results go.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context as _, Result};
use clap::Args;
use ringfort_bench::{
    load::{Stop, Timing},
    outcome::Outcome,
    report,
};

/// How long a load runs.
#[derive(Debug, Args)]
pub(super) struct Span {
    /// Seconds to measure.
    #[arg(long, default_value_t = 5.0)]
    secs: f64,
    /// Operations to measure, instead of `--secs`.
    #[arg(long, visible_aliases = ["calls", "cycles"])]
    ops: Option<u64>,
    /// Seconds of load before.
    #[arg(long, default_value_t = 1.0)]
    warmup: f64,
    /// Seconds to wait at the end for what is under way.
    #[arg(long, default_value_t = 10.0)]
    drain: f64,
}

/// What is measured and where it goes.
#[derive(Debug, Args)]
pub(super) struct Output {
    /// Process ids of the router, one per node; each counts with its children.
    #[arg(long = "pid", value_delimiter = ',')]
    pub(super) pids: Vec<u32>,
    #[command(flatten)]
    files: Files,
}

/// Where results go beside standard output.
#[derive(Debug, Args)]
pub(super) struct Files {
    /// Write the result as JSON.
    #[arg(long)]
    pub(super) json: Option<PathBuf>,
    /// Write the result as a page with plots: one file, which needs no network.
    #[arg(long)]
    html: Option<PathBuf>,
}

impl Span {
    pub(super) fn timing(&self) -> Result<Timing> {
        Ok(Timing {
            warmup: seconds(self.warmup, "--warmup")?,
            stop: match self.ops {
                Some(count) => Stop::Operations(count.max(1)),
                None => Stop::After(seconds(self.secs, "--secs")?),
            },
            drain: seconds(self.drain, "--drain")?,
        })
    }
}

impl Output {
    /// Writes and prints the outcome; the result is whether it passed.
    pub(super) fn report(&self, outcome: &Outcome) -> Result<bool> {
        if let Some(file) = &self.files.json {
            outcome.save(file)?;
        }
        self.files.page(outcome)?;
        println!("{outcome}");
        Ok(outcome.passed)
    }
}

impl Files {
    /// Writes the page, if one is wanted.
    pub(super) fn page(&self, outcome: &Outcome) -> Result<()> {
        match &self.html {
            Some(file) => report::write(file, &report::single(outcome)),
            None => Ok(()),
        }
    }
}

/// A time from the command line.
pub(super) fn seconds(value: f64, name: &str) -> Result<Duration> {
    Duration::try_from_secs_f64(value).with_context(|| format!("{name} must be a time in seconds"))
}
