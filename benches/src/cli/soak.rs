//! The arguments of a soak.

use anyhow::{Result, bail, ensure};
use clap::Args;
use ringfort_bench::{
    load::{
        Detail, Pace, Stop, Timing, pubsub, rpc,
        soak::{self, churn},
    },
    outcome::{Load, Outcome},
    tag::TAG_LEN,
};

use super::{
    common::{Output, seconds},
    load::{Wamp, unique},
};

/// `soak`
#[derive(Debug, Args)]
pub(crate) struct Soak {
    /// The nodes: ws://, wss://, tcp:// (RawSocket) or tls://. Callers are on the first and callees on the last, publishers on the
    /// first and subscribers on all, and sessions that come and go are on all.
    #[arg(long, value_delimiter = ',', required = true)]
    url: Vec<String>,
    /// Callers.
    #[arg(long, default_value_t = 8)]
    callers: u32,
    /// Callees, one procedure each.
    #[arg(long, default_value_t = 4)]
    callees: u32,
    /// Calls per second, all together.
    #[arg(long, default_value_t = 500.0)]
    rate: f64,
    /// Publishers.
    #[arg(long, default_value_t = 2)]
    publishers: u32,
    /// Subscribers.
    #[arg(long, default_value_t = 10)]
    subscribers: u32,
    /// Events per second, all publishers together; each goes to every subscriber.
    #[arg(long, default_value_t = 50.0)]
    event_rate: f64,
    /// Sessions per second that come, register, subscribe, answer a call, hear an event and go; 0 for none.
    #[arg(long, default_value_t = 10.0)]
    churn_rate: f64,
    /// How many of these are there at a time.
    #[arg(long, default_value_t = 4)]
    churn: u32,
    /// Calls that one caller may have open; those that are due meanwhile wait, and that counts.
    #[arg(long, default_value_t = 64)]
    window: u32,
    /// Bytes of payload.
    #[arg(long, default_value_t = 64)]
    payload: usize,
    /// Seconds to measure.
    #[arg(long, default_value_t = 3600.0)]
    secs: f64,
    /// Seconds of load before.
    #[arg(long, default_value_t = 10.0)]
    warmup: f64,
    /// Seconds to wait at the end for what is under way.
    #[arg(long, default_value_t = 10.0)]
    drain: f64,
    /// Seconds between two looks at memory.
    #[arg(long, default_value_t = 5.0)]
    sample_secs: f64,
    /// Fail if the resident memory of a router rises faster, by the trend over the second half.
    #[arg(long)]
    rss_growth_max_kib_per_hour: Option<f64>,
    #[command(flatten)]
    wamp: Wamp,
    #[command(flatten)]
    output: Output,
}

impl Soak {
    pub(crate) async fn run(self) -> Result<bool> {
        let plan = self.plan()?;
        let load = Load {
            scenario: "soak".to_owned(),
            urls: self.url.clone(),
            serializer: Some(self.wamp.serializer.name().to_owned()),
            senders: self.callers + self.publishers,
            receivers: self.callees + self.subscribers,
            window: self.window,
            payload: self.payload,
            rate: Some(self.rate + self.event_rate),
        };
        let (measured, soak) = soak::run(&plan).await?;
        let outcome = Outcome::new(load, measured).with_detail(Detail::Soak(Box::new(soak)));
        self.output.report(&outcome)
    }

    fn plan(&self) -> Result<soak::Plan> {
        let counts = [self.callers, self.callees, self.publishers, self.subscribers, self.window];
        ensure!(
            counts.iter().all(|count| (1..=100_000).contains(count)),
            "--callers, --callees, --publishers, --subscribers and --window must be 1 to 100000"
        );
        ensure!(
            self.payload >= TAG_LEN,
            "--payload must be at least {TAG_LEN}, which the tag takes"
        );
        ensure!(self.churn_rate >= 0.0, "--churn-rate must be a number from 0");
        let sample_every = seconds(self.sample_secs, "--sample-secs")?;
        ensure!(!sample_every.is_zero(), "--sample-secs must be above 0");
        ensure!(
            self.rss_growth_max_kib_per_hour.is_none() || !self.output.pids.is_empty(),
            "--rss-growth-max-kib-per-hour needs --pid"
        );
        let at = self.url.iter().map(|url| self.wamp.target(url)).collect::<Result<Vec<_>>>()?;
        let (Some(first), Some(last)) = (at.first().cloned(), at.last().cloned()) else {
            bail!("--url is needed");
        };
        let timing = Timing {
            warmup: seconds(self.warmup, "--warmup")?,
            stop: Stop::After(seconds(self.secs, "--secs")?),
            drain: seconds(self.drain, "--drain")?,
        };
        Ok(soak::Plan {
            calls: rpc::Plan {
                callers_at: first.clone(),
                callees_at: last,
                callers: self.callers,
                callees: self.callees,
                invoke: None,
                procedure: unique("ringfort.bench.echo"),
                window: self.window,
                payload: self.payload,
                pace: Pace::Rate(self.rate),
                timing,
                pids: Vec::new(),
            },
            events: pubsub::Plan {
                publishers_at: first,
                subscribers_at: at.clone(),
                publishers: self.publishers,
                subscribers: self.subscribers,
                topic: unique("ringfort.bench.topic"),
                window: self.window,
                pacing: pubsub::Pacing::Delivery,
                payload: self.payload,
                pace: Pace::Rate(self.event_rate),
                timing,
                pids: Vec::new(),
            },
            churn: churn::Plan {
                at,
                lanes: self.churn,
                rate: self.churn_rate,
                prefix: unique("ringfort.bench.churn"),
            },
            timing,
            pids: self.output.pids.clone(),
            sample_every,
            rss_growth_max_kib_per_hour: self.rss_growth_max_kib_per_hour,
        })
    }
}
