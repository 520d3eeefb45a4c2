//! The arguments of `churn`, `nats-churn` and `floor-churn`.

use std::time::Duration;

use anyhow::{Result, ensure};
use clap::{Args, ValueEnum};
use ringfort_bench::{
    load::{Detail, churn},
    outcome::{Load, Outcome},
    peer::Target,
    tag::TAG_LEN,
};

use super::{
    common::{Output, Span, seconds},
    load::{Kind, Wamp, unique},
};

/// `churn`
#[derive(Debug, Args)]
pub(crate) struct Churn {
    /// Where: ws://, wss://, tcp:// (RawSocket, also rs://) or tls:// (also rss://, tcps://).
    #[arg(long)]
    url: String,
    /// What comes and goes.
    #[arg(long, value_enum, default_value = "connect")]
    kind: Cycle,
    /// Bytes of payload of the call in a cycle; at least 40, which the tag takes.
    #[arg(long, default_value_t = 64)]
    payload: usize,
    #[command(flatten)]
    wamp: Wamp,
    #[command(flatten)]
    lanes: Lanes,
}

/// `nats-churn`, `floor-churn`
#[derive(Debug, Args)]
pub(crate) struct PlainChurn {
    /// Where: nats://, or for floors ws:// and tcp://.
    #[arg(long)]
    url: String,
    #[command(flatten)]
    lanes: Lanes,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Cycle {
    /// Connect, join, close.
    Connect,
    /// Connect, join, register, call, leave.
    Cycle,
}

#[derive(Debug, Args)]
struct Lanes {
    /// Lanes that run one cycle after the other, at the same time.
    #[arg(long, default_value_t = 8)]
    parallel: u32,
    /// Milliseconds between two samples of the router's memory.
    #[arg(long, default_value_t = 100)]
    sample_ms: u32,
    /// Seconds between the last session and the last sample.
    #[arg(long, default_value_t = 1.0)]
    settle: f64,
    /// Fail if the router's resident memory grows by more KiB than this after the warm-up.
    #[arg(long)]
    rss_growth_max_kib: Option<f64>,
    #[command(flatten)]
    span: Span,
    #[command(flatten)]
    output: Output,
}

impl Churn {
    pub(crate) async fn run(self) -> Result<bool> {
        ensure!(
            self.payload >= TAG_LEN,
            "--payload must be at least {TAG_LEN}, which the tag takes"
        );
        let at = self.wamp.target(&self.url)?;
        let (kind, payload) = match self.kind {
            Cycle::Connect => (churn::Kind::Connect, 0),
            Cycle::Cycle => (churn::Kind::Cycle, self.payload),
        };
        let serializer = Some(self.wamp.serializer.name());
        self.lanes.run(at, kind, payload, serializer).await
    }
}

impl PlainChurn {
    pub(crate) async fn run(self, kind: Kind) -> Result<bool> {
        let at = kind.target(&self.url)?;
        self.lanes.run(at, churn::Kind::Connect, 0, None).await
    }
}

impl Lanes {
    async fn run(self, at: Target, kind: churn::Kind, payload: usize, serializer: Option<&str>) -> Result<bool> {
        let scenario = match kind {
            churn::Kind::Connect => "churn-connect",
            churn::Kind::Cycle => "churn-cycle",
        };
        let load = Load {
            scenario: scenario.to_owned(),
            urls: vec![at.endpoint().url.to_string()],
            serializer: serializer.map(str::to_owned),
            senders: self.parallel,
            receivers: 0,
            window: 0,
            payload,
            rate: None,
        };
        let plan = churn::Plan {
            at,
            kind,
            lanes: self.parallel,
            procedure: unique("ringfort.bench.churn"),
            payload,
            timing: self.span.timing()?,
            pids: self.output.pids.clone(),
            sample_every: Duration::from_millis(self.sample_ms.max(1).into()),
            settle: seconds(self.settle, "--settle")?,
            growth_max_kib: self.rss_growth_max_kib,
        };
        let (measured, churn) = churn::run(&plan).await?;
        self.output
            .report(&Outcome::new(load, measured).with_detail(Detail::Churn(churn)))
    }
}
