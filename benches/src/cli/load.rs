//! The arguments of loads.

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use clap::{Args, ValueEnum};
use ringfort::wamp;
use ringfort_bench::{
    load::{Measured, Pace, Timing, fill::Fill, pubsub, rpc},
    outcome::{Load, Outcome},
    peer::Target,
    tag::TAG_LEN,
    trust::Trust,
    wire::Endpoint,
};

use super::common::{Output, Span};

/// What every load takes.
#[derive(Debug, Args)]
struct Common {
    /// Bytes of payload; at least 40, which the tag takes.
    #[arg(long, default_value_t = 64)]
    payload: usize,
    /// Messages that each sender keeps under way.
    #[arg(long, default_value_t = 8)]
    window: u32,
    /// Messages per second of all senders together, instead of a closed loop.
    #[arg(long)]
    rate: Option<f64>,
    #[command(flatten)]
    span: Span,
    #[command(flatten)]
    output: Output,
}

/// How to speak WAMP.
#[derive(Debug, Args)]
pub(super) struct Wamp {
    /// The realm.
    #[arg(long, default_value = "realm1")]
    realm: String,
    /// How messages are written.
    #[arg(long, value_enum, default_value = "msgpack")]
    pub(super) serializer: Serializer,
    /// PEM file of the certificate authority for wss:// and tls://.
    #[arg(long)]
    ca: Option<PathBuf>,
    /// Trust any certificate for wss:// and tls://; for load tests of a self-signed one.
    #[arg(long, conflicts_with = "ca")]
    insecure: bool,
    /// Join with ticket authentication: the authid; the ticket comes from the environment variable RINGFORT_BENCH_TICKET.
    #[arg(long)]
    authid: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Serializer {
    Json,
    Msgpack,
    Cbor,
}

/// Ballast.
#[derive(Debug, Args)]
struct Filling {
    /// Register so many more procedures first, which nobody calls; sessions beside the callees hold them.
    #[arg(long, default_value_t = 0)]
    fill_registrations: u32,
    /// Subscribe to so many more wildcard patterns first, which no event matches.
    #[arg(long, default_value_t = 0)]
    fill_subscriptions: u32,
}

impl Filling {
    fn fill(&self) -> Fill {
        Fill {
            registrations: self.fill_registrations,
            subscriptions: self.fill_subscriptions,
        }
    }
}

/// `rpc`
#[derive(Debug, Args)]
pub(crate) struct Rpc {
    /// Where the callers connect: ws://, wss://, tcp:// (RawSocket, also rs://) or tls:// (also rss://, tcps://).
    #[arg(long)]
    url: String,
    /// Where the callees connect, if elsewhere.
    #[arg(long)]
    callee_url: Option<String>,
    /// Callers, one connection each.
    #[arg(long, default_value_t = 16)]
    callers: u32,
    /// Callees, one connection each.
    #[arg(long, default_value_t = 1)]
    callees: u32,
    /// Let all callees share one procedure under this policy (roundrobin, random, …); else each has its own.
    #[arg(long)]
    invoke: Option<String>,
    #[command(flatten)]
    filling: Filling,
    #[command(flatten)]
    wamp: Wamp,
    #[command(flatten)]
    common: Common,
}

/// `nats-rpc`, `floor-rpc`
#[derive(Debug, Args)]
pub(crate) struct PlainRpc {
    /// Where the callers connect: nats://, or for floors ws:// and tcp://.
    #[arg(long)]
    url: String,
    /// Where the callees connect, if elsewhere.
    #[arg(long)]
    callee_url: Option<String>,
    /// Callers, one connection each.
    #[arg(long, default_value_t = 16)]
    callers: u32,
    /// Callees, one connection each.
    #[arg(long, default_value_t = 1)]
    callees: u32,
    #[command(flatten)]
    common: Common,
}

/// `pubsub`
#[derive(Debug, Args)]
pub(crate) struct Pubsub {
    /// Where the publishers connect: ws://, wss://, tcp:// (RawSocket, also rs://) or tls:// (also rss://, tcps://).
    #[arg(long)]
    url: String,
    /// Where the subscribers connect, if elsewhere; several are used in turn.
    #[arg(long, value_delimiter = ',')]
    subscriber_url: Vec<String>,
    /// Publishers, one connection each.
    #[arg(long, default_value_t = 1)]
    publishers: u32,
    /// Subscribers, one connection each.
    #[arg(long, default_value_t = 100)]
    subscribers: u32,
    /// Publish with acknowledgement and open the window by it, instead of by delivery.
    #[arg(long)]
    acknowledge: bool,
    #[command(flatten)]
    filling: Filling,
    #[command(flatten)]
    wamp: Wamp,
    #[command(flatten)]
    common: Common,
}

/// `nats-pubsub`, `floor-pubsub`
#[derive(Debug, Args)]
pub(crate) struct PlainPubsub {
    /// Where the publishers connect: nats://, or for floors ws:// and tcp://.
    #[arg(long)]
    url: String,
    /// Where the subscribers connect, if elsewhere; several are used in turn.
    #[arg(long, value_delimiter = ',')]
    subscriber_url: Vec<String>,
    /// Publishers, one connection each.
    #[arg(long, default_value_t = 1)]
    publishers: u32,
    /// Subscribers, one connection each.
    #[arg(long, default_value_t = 100)]
    subscribers: u32,
    #[command(flatten)]
    common: Common,
}

/// What speaks at the other end of a load without WAMP.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    Nats,
    Floor,
}

impl Rpc {
    pub(crate) async fn run(self) -> Result<bool> {
        let (here, there) = (self.url.clone(), self.callee_url.clone());
        let callers_at = self.wamp.target(&here)?;
        let callees_at = self.wamp.target(there.as_deref().unwrap_or(&here))?;
        let _ballast = self.filling.fill().bring(&callees_at).await?;
        let serializer = Some(self.wamp.serializer.name());
        let sizes = Sizes {
            senders: self.callers,
            receivers: self.callees,
        };
        run_rpc(callers_at, callees_at, sizes, self.invoke, serializer, &self.common).await
    }
}

impl PlainRpc {
    pub(crate) async fn run(self, kind: Kind) -> Result<bool> {
        let callers_at = kind.target(&self.url)?;
        let callees_at = kind.target(self.callee_url.as_deref().unwrap_or(&self.url))?;
        let sizes = Sizes {
            senders: self.callers,
            receivers: self.callees,
        };
        run_rpc(callers_at, callees_at, sizes, None, None, &self.common).await
    }
}

impl Pubsub {
    pub(crate) async fn run(self) -> Result<bool> {
        let pacing = if self.acknowledge {
            pubsub::Pacing::Acknowledgement
        } else {
            pubsub::Pacing::Delivery
        };
        let sizes = Sizes {
            senders: self.publishers,
            receivers: self.subscribers,
        };
        let serializer = Some(self.wamp.serializer.name());
        let target = |url: &str| self.wamp.target(url);
        let _ballast = self.filling.fill().bring(&target(&self.url)?).await?;
        run_pubsub(
            &self.url,
            &self.subscriber_url,
            target,
            sizes,
            pacing,
            serializer,
            &self.common,
        )
        .await
    }
}

impl PlainPubsub {
    pub(crate) async fn run(self, kind: Kind) -> Result<bool> {
        let sizes = Sizes {
            senders: self.publishers,
            receivers: self.subscribers,
        };
        let target = |url: &str| kind.target(url);
        let pacing = pubsub::Pacing::Delivery;
        run_pubsub(&self.url, &self.subscriber_url, target, sizes, pacing, None, &self.common).await
    }
}

#[derive(Clone, Copy)]
struct Sizes {
    senders: u32,
    receivers: u32,
}

async fn run_rpc(
    callers_at: Target,
    callees_at: Target,
    sizes: Sizes,
    invoke: Option<String>,
    serializer: Option<&'static str>,
    common: &Common,
) -> Result<bool> {
    sizes.check()?;
    let mut urls = vec![callers_at.endpoint().url.to_string()];
    if callees_at.endpoint().url != callers_at.endpoint().url {
        urls.push(callees_at.endpoint().url.to_string());
    }
    let load = common.load("rpc", urls, serializer, sizes);
    let plan = rpc::Plan {
        callers_at,
        callees_at,
        callers: sizes.senders,
        callees: sizes.receivers,
        invoke,
        procedure: unique("ringfort.bench.echo"),
        window: common.window,
        payload: common.payload,
        pace: common.pace(),
        timing: common.timing()?,
        pids: common.output.pids.clone(),
    };
    common.report(load, rpc::run(&plan).await?)
}

async fn run_pubsub(
    url: &str,
    subscriber_urls: &[String],
    target: impl Fn(&str) -> Result<Target>,
    sizes: Sizes,
    pacing: pubsub::Pacing,
    serializer: Option<&'static str>,
    common: &Common,
) -> Result<bool> {
    sizes.check()?;
    let mut subscribers_at = subscriber_urls.iter().map(|url| target(url)).collect::<Result<Vec<_>>>()?;
    if subscribers_at.is_empty() {
        subscribers_at.push(target(url)?);
    }
    let urls = [url.to_owned()].into_iter().chain(subscriber_urls.iter().cloned()).collect();
    let load = common.load("pubsub", urls, serializer, sizes);
    let plan = pubsub::Plan {
        publishers_at: target(url)?,
        subscribers_at,
        publishers: sizes.senders,
        subscribers: sizes.receivers,
        topic: unique("ringfort.bench.topic"),
        window: common.window,
        pacing,
        payload: common.payload,
        pace: common.pace(),
        timing: common.timing()?,
        pids: common.output.pids.clone(),
    };
    common.report(load, pubsub::run(&plan).await?)
}

/// Runs side by side on one router must not meet.
pub(super) fn unique(uri: &str) -> String {
    format!("{uri}.p{}", std::process::id())
}

impl Sizes {
    fn check(self) -> Result<()> {
        ensure!(
            self.senders > 0 && self.receivers > 0,
            "a load needs at least one peer on each side"
        );
        Ok(())
    }
}

impl Common {
    fn pace(&self) -> Pace {
        self.rate.map_or(Pace::Closed, Pace::Rate)
    }

    fn timing(&self) -> Result<Timing> {
        ensure!(
            self.payload >= TAG_LEN,
            "--payload must be at least {TAG_LEN}, which the tag takes"
        );
        ensure!(self.window > 0, "--window must be at least 1");
        self.span.timing()
    }

    fn load(&self, scenario: &str, urls: Vec<String>, serializer: Option<&str>, sizes: Sizes) -> Load {
        Load {
            scenario: scenario.to_owned(),
            urls,
            serializer: serializer.map(str::to_owned),
            senders: sizes.senders,
            receivers: sizes.receivers,
            window: self.window,
            payload: self.payload,
            rate: self.rate,
        }
    }

    fn report(&self, load: Load, measured: Measured) -> Result<bool> {
        self.output.report(&Outcome::new(load, measured))
    }
}

impl Wamp {
    pub(super) fn target(&self, url: &str) -> Result<Target> {
        let ticket = match &self.authid {
            None => None,
            Some(authid) => {
                let secret = std::env::var("RINGFORT_BENCH_TICKET");
                Some((
                    authid.clone(),
                    secret.context("--authid needs the ticket in RINGFORT_BENCH_TICKET")?,
                ))
            }
        };
        let trust = match (&self.ca, self.insecure) {
            (Some(file), _) => Trust::Authority(file),
            (None, true) => Trust::Anybody,
            (None, false) => Trust::Nobody,
        };
        Ok(Target::Wamp {
            endpoint: Endpoint::with_trust(url, trust)?,
            realm: self.realm.clone(),
            serializer: self.serializer.wamp(),
            ticket,
        })
    }
}

impl Serializer {
    pub(super) fn name(self) -> &'static str {
        match self {
            Serializer::Json => "json",
            Serializer::Msgpack => "msgpack",
            Serializer::Cbor => "cbor",
        }
    }

    fn wamp(self) -> wamp::Serializer {
        match self {
            Serializer::Json => wamp::Serializer::Json,
            Serializer::Msgpack => wamp::Serializer::MsgPack,
            Serializer::Cbor => wamp::Serializer::Cbor,
        }
    }
}

impl Kind {
    pub(super) fn target(self, url: &str) -> Result<Target> {
        let endpoint = Endpoint::parse(url, None)?;
        Ok(match self {
            Kind::Nats => Target::Nats { endpoint },
            Kind::Floor => Target::Floor { endpoint },
        })
    }
}
