//! The arguments of a storm.

use std::{net::IpAddr, str::FromStr, sync::Arc, time::Duration};

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;
use ringfort_bench::{
    limits,
    load::{
        Detail, Pace, Stop, Timing, rpc,
        storm::{
            self, Killer,
            backoff::Backoff,
            fleet::Fleet,
            launch::{self, Fleets},
        },
    },
    outcome::{Load, Outcome},
    tag::TAG_LEN,
};

use super::{
    common::{Output, seconds},
    load::{Wamp, unique},
};

/// Sessions that share one process: half of what small machines let it open, and a third of the ports of one source address.
const SESSIONS_PER_PROCESS: u32 = 10_000;

/// `storm`
#[derive(Debug, Args)]
pub(crate) struct Storm {
    /// The node that is killed: ws://, wss://, tcp:// (RawSocket) or tls://.
    #[arg(long)]
    victim_url: String,
    /// Its process id.
    #[arg(long)]
    victim_pid: Option<u32>,
    /// Send SIGKILL to --victim-pid. Without it, somebody else kills the node when told to.
    #[arg(long, requires = "victim_pid")]
    kill: bool,
    /// The nodes that stay; sessions come back to all of them in turn.
    #[arg(long, value_delimiter = ',', required = true)]
    survivor_url: Vec<String>,
    /// Sessions on the victim.
    #[arg(long, default_value_t = 15_000)]
    sessions: u32,
    /// Processes they live in; by default one for each 10,000. On loopback each has a source address of its own.
    #[arg(long)]
    processes: Option<u8>,
    /// The most that a session waits before it comes back, in milliseconds; doubled with each attempt that fails. How long it really
    /// waits is drawn evenly from nothing to that.
    #[arg(long, default_value_t = 1000)]
    backoff_ms: u64,
    /// The longest such wait.
    #[arg(long, default_value_t = 30_000)]
    backoff_max_ms: u64,
    /// Repeats the same waits.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Callers on the first survivor that go on through the storm; they call the last survivor.
    #[arg(long, default_value_t = 16)]
    callers: u32,
    /// Callees, on the last survivor.
    #[arg(long, default_value_t = 1)]
    callees: u32,
    /// Their calls per second, all together.
    #[arg(long, default_value_t = 1000.0)]
    rate: f64,
    /// Calls that one caller may have open; those that are due meanwhile wait, and that counts.
    #[arg(long, default_value_t = 64)]
    window: u32,
    /// Bytes of payload.
    #[arg(long, default_value_t = 64)]
    payload: usize,
    /// Seconds of calls before anything is measured.
    #[arg(long, default_value_t = 2.0)]
    warmup: f64,
    /// Seconds of calls measured before the kill.
    #[arg(long, default_value_t = 10.0)]
    control_secs: f64,
    /// Seconds measured after all are back; each must still be there.
    #[arg(long, default_value_t = 5.0)]
    after_secs: f64,
    /// Seconds to wait until all are back, and for the kill where somebody else does it.
    #[arg(long, default_value_t = 120.0)]
    patience_secs: f64,
    /// Seconds to wait at the end for calls under way.
    #[arg(long, default_value_t = 10.0)]
    drain: f64,
    /// Fail if the 99th percentile of the calls rises to more than this many times.
    #[arg(long)]
    p99_ratio_max: Option<f64>,
    #[command(flatten)]
    wamp: Wamp,
    #[command(flatten)]
    output: Output,
    /// Be one of the processes that hold sessions. For our own use.
    #[arg(long, hide = true)]
    fleet: Option<Share>,
}

/// `FIRST:SESSIONS`, and `:SOURCE` on loopback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Share {
    first: u32,
    sessions: u32,
    source: Option<IpAddr>,
}

impl FromStr for Share {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut parts = text.splitn(3, ':');
        let mut number = || {
            parts
                .next()
                .context("FIRST:SESSIONS[:SOURCE]")?
                .parse()
                .context("not a number")
        };
        let (first, sessions) = (number()?, number()?);
        let source = parts.next().map(str::parse).transpose()?;
        Ok(Self { first, sessions, source })
    }
}

impl Storm {
    pub(crate) async fn run(self) -> Result<bool> {
        if let Some(share) = self.fleet {
            limits::allow_connections(share.sessions.into())?;
            launch::serve(self.fleet_of(share)?).await?;
            return Ok(true);
        }
        let plan = self.plan()?;
        let (measured, storm) = storm::run(&plan).await?;
        let load = Load {
            scenario: "storm".to_owned(),
            urls: [&self.victim_url].into_iter().chain(&self.survivor_url).cloned().collect(),
            serializer: Some(self.wamp.serializer.name().to_owned()),
            senders: self.callers,
            receivers: self.callees,
            window: self.window,
            payload: self.payload,
            rate: Some(self.rate),
        };
        let outcome = Outcome::new(load, measured).with_detail(Detail::Storm(Box::new(storm)));
        self.output.report(&outcome)
    }

    fn plan(&self) -> Result<storm::Plan> {
        ensure!(
            self.callers > 0 && self.callees > 0 && self.window > 0 && self.sessions > 0,
            "--sessions, --callers, --callees and --window must be at least 1"
        );
        ensure!(
            self.payload >= TAG_LEN,
            "--payload must be at least {TAG_LEN}, which the tag takes"
        );
        let (Some(first), Some(last)) = (self.survivor_url.first(), self.survivor_url.last()) else {
            bail!("--survivor-url is needed");
        };
        let killer = match self.victim_pid.filter(|_| self.kill) {
            Some(pid) => Killer::Us(pid),
            None => Killer::Operator { bell: Arc::default() },
        };
        ensure!(
            self.victim_pid.is_none_or(|pid| !self.output.pids.contains(&pid)),
            "--pid names the routers that stay, so --victim-pid cannot be among them"
        );
        let control = rpc::Plan {
            callers_at: self.wamp.target(first)?,
            callees_at: self.wamp.target(last)?,
            callers: self.callers,
            callees: self.callees,
            invoke: None,
            procedure: unique("ringfort.bench.echo"),
            window: self.window,
            payload: self.payload,
            pace: Pace::Rate(self.rate),
            timing: Timing {
                warmup: seconds(self.warmup, "--warmup")?,
                stop: Stop::Operations(u64::MAX),
                drain: seconds(self.drain, "--drain")?,
            },
            pids: self.output.pids.clone(),
        };
        Ok(storm::Plan {
            control,
            fleets: self.fleets()?,
            sessions: self.sessions,
            killer,
            before: seconds(self.control_secs, "--control-secs")?,
            after: seconds(self.after_secs, "--after-secs")?,
            patience: seconds(self.patience_secs, "--patience-secs")?,
            backoff: (
                Duration::from_millis(self.backoff_ms),
                Duration::from_millis(self.backoff_max_ms),
            ),
            p99_ratio_max: self.p99_ratio_max,
        })
    }

    fn fleets(&self) -> Result<Fleets> {
        let wanted = self.sessions.div_ceil(SESSIONS_PER_PROCESS);
        let processes = match self.processes {
            Some(processes) => processes,
            None => u8::try_from(wanted).ok().context("so many sessions need --processes")?,
        };
        ensure!(processes > 0, "--processes must be at least 1");
        // Elsewhere than on loopback, the system chooses.
        let sources = self
            .wamp
            .target(&self.victim_url)?
            .endpoint()
            .loopback_sources(processes)
            .ok();
        let count = u32::from(processes);
        let own: Vec<_> = std::env::args_os().skip(1).collect();
        let arguments = (0..count).map(|index| {
            let first = u64::from(self.sessions) * u64::from(index) / u64::from(count);
            let end = u64::from(self.sessions) * u64::from(index + 1) / u64::from(count);
            let source = sources.as_ref().and_then(|sources| sources.get(index as usize));
            let source = source.map(|source| format!(":{source}")).unwrap_or_default();
            let mut arguments = own.clone();
            arguments.push(format!("--fleet={first}:{}{source}", end - first).into());
            arguments
        });
        Ok(Fleets::Processes {
            program: std::env::current_exe().context("our own path is unknown")?,
            arguments: arguments.collect(),
        })
    }

    fn fleet_of(&self, share: Share) -> Result<Fleet> {
        let survivors = self.survivor_url.iter().map(|url| self.wamp.target(url));
        let millis = Duration::from_millis;
        Ok(Fleet {
            victim: self.wamp.target(&self.victim_url)?,
            survivors: survivors.collect::<Result<_>>()?,
            first: share.first,
            sessions: share.sessions,
            source: share.source,
            backoff: Backoff::new(millis(self.backoff_ms), millis(self.backoff_max_ms), self.seed),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_reads_with_and_without_a_source() {
        let source = "127.0.0.2".parse().unwrap();
        let share = |first, sessions, source| Share { first, sessions, source };
        assert_eq!(
            "7500:7500:127.0.0.2".parse::<Share>().unwrap(),
            share(7500, 7500, Some(source))
        );
        assert_eq!("0:5:::1".parse::<Share>().unwrap(), share(0, 5, Some("::1".parse().unwrap())));
        assert_eq!("0:5".parse::<Share>().unwrap(), share(0, 5, None));
        assert!("5".parse::<Share>().is_err() && "a:b".parse::<Share>().is_err());
    }
}
