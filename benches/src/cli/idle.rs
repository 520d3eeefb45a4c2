//! The arguments of `idle`, `nats-idle` and `floor-idle`.

use std::{net::IpAddr, str::FromStr};

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;
use ringfort_bench::{
    load::{
        Detail,
        idle::{self, Share, children::Children, serve_share},
    },
    outcome::{Load, Outcome},
    peer::Target,
};

use super::{
    common::{Output, seconds},
    load::{Kind, Wamp},
};

/// `idle`
#[derive(Debug, Args)]
pub(crate) struct Idle {
    /// Where: ws://, wss://, tcp:// (RawSocket, also rs://) or tls:// (also rss://, tcps://).
    #[arg(long)]
    url: String,
    #[command(flatten)]
    wamp: Wamp,
    #[command(flatten)]
    sessions: Sessions,
}

/// `nats-idle`, `floor-idle`
#[derive(Debug, Args)]
pub(crate) struct PlainIdle {
    /// Where: nats://, or for floors ws:// and tcp://.
    #[arg(long)]
    url: String,
    #[command(flatten)]
    sessions: Sessions,
}

#[derive(Debug, Args)]
struct Sessions {
    /// Sessions, one connection each.
    #[arg(long, default_value_t = 5000)]
    sessions: u32,
    /// Sessions that join at the same time, in each process.
    #[arg(long, default_value_t = 64)]
    joining: u32,
    /// Seconds between the last join and the measurement; sessions that end meanwhile fail the run.
    #[arg(long, default_value_t = 3.0)]
    settle: f64,
    /// Connect from so many local addresses 127.0.0.1, 127.0.0.2, … in turn; for a router on this machine.
    #[arg(long, conflicts_with = "source_ip")]
    sources: Option<u8>,
    /// Connect from these local addresses in turn.
    #[arg(long, value_delimiter = ',')]
    source_ip: Vec<IpAddr>,
    /// Spread the sessions over so many processes: each may open only so many files.
    #[arg(long, default_value_t = 1)]
    processes: u32,
    /// Fail if a session takes more KiB of resident memory than this.
    #[arg(long)]
    rss_max_kib: Option<f64>,
    /// Hold this share and tell our parent; for child processes only.
    #[arg(long, hide = true)]
    share: Option<Index>,
    #[command(flatten)]
    output: Output,
}

/// `INDEX/COUNT`
#[derive(Clone, Copy, Debug)]
struct Index(Share);

impl FromStr for Index {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (index, count) = text.split_once('/').context("a share is INDEX/COUNT")?;
        let (index, count) = (index.parse()?, count.parse()?);
        ensure!(index < count, "a share is INDEX/COUNT, INDEX below COUNT");
        Ok(Self(Share { index, count }))
    }
}

impl Idle {
    pub(crate) async fn run(self) -> Result<bool> {
        let at = self.wamp.target(&self.url)?;
        self.sessions.run(at, Some(self.wamp.serializer.name())).await
    }
}

impl PlainIdle {
    pub(crate) async fn run(self, kind: Kind) -> Result<bool> {
        self.sessions.run(kind.target(&self.url)?, None).await
    }
}

impl Sessions {
    async fn run(self, at: Target, serializer: Option<&str>) -> Result<bool> {
        let load = Load {
            scenario: "idle".to_owned(),
            urls: vec![at.endpoint().url.to_string()],
            serializer: serializer.map(str::to_owned),
            senders: self.sessions,
            receivers: 0,
            window: 0,
            payload: 0,
            rate: None,
        };
        let plan = idle::Plan {
            sources: match self.sources {
                Some(count) => at.endpoint().loopback_sources(count)?,
                None => self.source_ip.clone(),
            },
            at,
            sessions: self.sessions,
            joining: self.joining,
            settle: seconds(self.settle, "--settle")?,
            pids: self.output.pids.clone(),
            rss_max_kib: self.rss_max_kib,
        };
        if let Some(Index(share)) = self.share {
            serve_share(&plan, share).await?;
            return Ok(true);
        }
        let children = match self.processes {
            0 => bail!("--processes must be at least 1"),
            1 => None,
            count => {
                let own = std::env::current_exe().context("our own path is unknown")?;
                let command = [own.into_os_string()].into_iter().chain(std::env::args_os().skip(1));
                Some(Children {
                    command: command.collect(),
                    count,
                })
            }
        };
        let (measured, idle) = idle::run(&plan, children).await?;
        self.output
            .report(&Outcome::new(load, measured).with_detail(Detail::Idle(idle)))
    }
}
