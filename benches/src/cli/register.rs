//! The arguments of `register`.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use ringfort_bench::{
    load::{Detail, register},
    outcome::{Load, Outcome},
};

use super::{
    common::{Output, Span},
    load::{Wamp, unique},
};

/// `register`
#[derive(Debug, Args)]
pub(crate) struct Register {
    /// Where: ws://, wss://, tcp:// (RawSocket, also rs://) or tls:// (also rss://, tcps://).
    #[arg(long)]
    url: String,
    /// Sessions that register.
    #[arg(long, default_value_t = 1)]
    sessions: u32,
    /// Procedures that each session registers and unregisters at the same time; 1 is one after the other.
    #[arg(long, default_value_t = 1)]
    window: u32,
    /// Measure beside how long writing and syncing a small record takes in this folder; choose one on the router's disk.
    #[arg(long)]
    fsync_dir: Option<PathBuf>,
    /// Measure beside how long a round trip takes: a ping of the transport.
    #[arg(long)]
    rtt: bool,
    /// Fail if the 99th percentile of REGISTERED is more than so many times (3 syncs + 2 round trips).
    #[arg(long, requires = "fsync_dir", requires = "rtt")]
    ratio_max: Option<f64>,
    #[command(flatten)]
    wamp: Wamp,
    #[command(flatten)]
    span: Span,
    #[command(flatten)]
    output: Output,
}

impl Register {
    pub(crate) async fn run(self) -> Result<bool> {
        let at = self.wamp.target(&self.url)?;
        let load = Load {
            scenario: "register".to_owned(),
            urls: vec![at.endpoint().url.to_string()],
            serializer: Some(self.wamp.serializer.name().to_owned()),
            senders: self.sessions,
            receivers: 0,
            window: self.window,
            payload: 0,
            rate: None,
        };
        let plan = register::Plan {
            at,
            sessions: self.sessions,
            window: self.window,
            procedure: unique("ringfort.bench.register"),
            timing: self.span.timing()?,
            pids: self.output.pids.clone(),
            fsync_dir: self.fsync_dir,
            round_trips: self.rtt,
            ratio_max: self.ratio_max,
        };
        let (measured, register) = register::run(&plan).await?;
        self.output
            .report(&Outcome::new(load, measured).with_detail(Detail::Register(Box::new(register))))
    }
}
