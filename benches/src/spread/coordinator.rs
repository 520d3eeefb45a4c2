//! The coordinator: splits a plan over workers, starts them together, judges what they saw.

use std::{
    collections::BTreeMap,
    io::{IsTerminal as _, Write as _},
    net::SocketAddr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result, bail, ensure};
use futures_util::future::try_join_all;
use prost::Message as _;
use ringfort_proto::bench::v1::{self, Order, Report, order::Order as Step, report::Report as Said, worker_client::WorkerClient};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, sleep_until, timeout, timeout_at},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Streaming, transport::Endpoint};

use super::{
    KEEPALIVE, MESSAGE_BYTES_MAX, Token,
    outcome::{SpreadOutcome, WorkerOutcome},
    part::Speaks,
    plan::Plan,
    seen::{self, Figures},
};
use crate::{
    history::History,
    load::{Latency, Measured, histogram, series::Trace},
    outcome::{Load, Outcome},
    usage::{self, Usage},
};

/// Where the workers are.
#[derive(Clone, Debug)]
pub struct Workers {
    /// `host:port` each; a name that stands for several addresses stands for as many workers.
    pub names: Vec<String>,
    /// How many there must be; if absent, as many as the names stand for.
    pub count: Option<usize>,
    /// How long to wait for them to be there.
    pub wait: Duration,
    /// What they want to be shown.
    pub token: Option<Token>,
}

/// A worker says something once a second; after this time without a word it counts as lost.
const SILENCE_MAX: Duration = Duration::from_secs(15);

/// Time beyond what a step is meant to take: for the network, and for machines that have other things to do.
const MARGIN: Duration = Duration::from_secs(30);

/// Bytes of history that one worker may send.
const HISTORY_BYTES_MAX: usize = 256 << 20;

/// Runs `plan` on all workers and judges the whole.
///
/// # Errors
/// When workers cannot be reached, refuse their part, are lost or late, or say what cannot be. The others are stopped then.
pub async fn run(plan: &Plan, workers: &Workers) -> Result<SpreadOutcome> {
    let mut crew = Crew::assemble(plan, workers).await?;
    let load = load(plan);
    crew.gather("connecting", plan.setup, |said| matches!(said, Said::Ready(_)).then_some(()))
        .await?;
    crew.order(|_| Step::Go(v1::Go {})).await?;
    let going = plan.warmup + plan.measure + plan.drain + MARGIN;
    let (sent, routers) = {
        let sampling = sample_routers(plan);
        let sending = crew.gather("sending", going, |said| match said {
            Said::Sent(sent) => Some(sent.messages),
            _ => None,
        });
        tokio::try_join!(sending, sampling)?
    };
    let sent = sent.iter().fold(0u64, |all, one| all.saturating_add(*one));
    crew.order(|_| Step::Drain(v1::Drain { sent })).await?;
    crew.gather("draining", plan.drain + MARGIN, |said| {
        matches!(said, Said::Drained(_)).then_some(())
    })
    .await?;
    crew.order(|_| Step::Finish(v1::Finish {})).await?;
    let mut history = History::new(plan.scenario.expect(plan.receivers));
    let figures = crew.figures(plan, &mut history).await?;
    Ok(conclude(plan, load, &crew, figures, history, routers))
}

/// The workers of a run. Dropping it ends the run at each of them.
struct Crew(Vec<Peer>);

struct Peer {
    address: SocketAddr,
    orders: mpsc::Sender<Order>,
    reports: Streaming<Report>,
    /// Operations that it has measured so far.
    operations: u64,
}

impl Crew {
    async fn assemble(plan: &Plan, workers: &Workers) -> Result<Self> {
        let addresses = resolve(workers).await?;
        let count = u32::try_from(addresses.len())?;
        plan.check_split(count)?;
        let uri = unique_uri(plan);
        let joining = (0..).zip(&addresses).map(|(index, address)| {
            let part = plan.part(index, count, &uri);
            async move {
                let peer = Peer::hire(*address, part, workers);
                peer.await.with_context(|| format!("worker {address}"))
            }
        });
        Ok(Self(try_join_all(joining).await?))
    }

    /// Gives every worker its next order, all at once.
    async fn order(&mut self, step: impl Fn(usize) -> Step) -> Result<()> {
        for (index, peer) in self.0.iter().enumerate() {
            let order = Order {
                order: Some(step(index)),
            };
            // There is room for every step of a run. An order that finds nobody is found out by the missing answer.
            peer.orders.try_send(order).ok();
        }
        Ok(())
    }

    /// Waits until each worker has said what `wanted` looks for.
    async fn gather<T>(&mut self, doing: &str, patience: Duration, wanted: impl Fn(&Said) -> Option<T>) -> Result<Vec<T>> {
        let deadline = Instant::now() + patience;
        let (progress, mut changes) = mpsc::channel(64);
        let answers = (0..).zip(&mut self.0).map(|(index, peer)| {
            let (wanted, progress) = (&wanted, progress.clone());
            async move {
                let address = peer.address;
                let answer = peer.until(deadline, wanted, |operations| {
                    // A line on a screen that is full may miss a beat.
                    progress.try_send((index, operations)).ok();
                });
                answer.await.with_context(|| format!("worker {address} failed while {doing}"))
            }
        });
        let answers = try_join_all(answers);
        drop(progress);
        let shown = async {
            let (mut counts, begun) = (BTreeMap::<usize, u64>::new(), Instant::now());
            let terminal = std::io::stderr().is_terminal();
            while let Some((index, operations)) = changes.recv().await {
                counts.insert(index, operations);
                let (all, secs) = (counts.values().sum::<u64>(), begun.elapsed().as_secs());
                if terminal {
                    eprint!("\r\x1b[K{secs} s {doing}: {all} operations by {} workers", counts.len());
                    std::io::stderr().flush().ok();
                }
            }
            if terminal {
                eprint!("\r\x1b[K");
            }
        };
        let (answers, ()) = tokio::join!(answers, shown);
        answers
    }

    /// Takes what each worker saw into `history`, and its figures.
    async fn figures(&mut self, plan: &Plan, history: &mut History) -> Result<Vec<Figures>> {
        let groups = match plan.scenario.expect(plan.receivers) {
            crate::history::Expect::Calls => 1,
            crate::history::Expect::Events { groups } => groups,
        };
        let mut all = Vec::new();
        for peer in &mut self.0 {
            let address = peer.address;
            let figures = peer.figures(plan.senders, groups, history).await;
            all.push(figures.with_context(|| format!("worker {address} failed while reporting"))?);
        }
        Ok(all)
    }
}

impl Peer {
    async fn hire(address: SocketAddr, part: v1::Part, workers: &Workers) -> Result<Self> {
        let endpoint = Endpoint::from_shared(format!("http://{address}"))?
            .tcp_nodelay(true)
            .connect_timeout(KEEPALIVE)
            .http2_keep_alive_interval(KEEPALIVE)
            .keep_alive_timeout(KEEPALIVE)
            .keep_alive_while_idle(true);
        let deadline = Instant::now() + workers.wait;
        let channel = loop {
            match endpoint.connect().await {
                Ok(channel) => break channel,
                Err(error) if Instant::now() >= deadline => return Err(error).context("cannot be reached"),
                Err(_) => sleep(Duration::from_millis(200)).await,
            }
        };
        let (orders, queue) = mpsc::channel(8);
        let first = Order {
            order: Some(Step::Part(part)),
        };
        orders.try_send(first).context("there is room for the first order")?;
        let mut request = Request::new(ReceiverStream::new(queue));
        if let Some(token) = &workers.token {
            token.sign(&mut request);
        }
        let mut client = WorkerClient::new(channel)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        let answered = timeout(SILENCE_MAX, client.run(request)).await.context("does not answer")?;
        let reports = answered.map_err(said)?.into_inner();
        Ok(Self {
            address,
            orders,
            reports,
            operations: 0,
        })
    }

    /// The next thing it says.
    async fn next(&mut self, deadline: Instant) -> Result<Said> {
        let silent = Instant::now() + SILENCE_MAX;
        let Ok(message) = timeout_at(deadline.min(silent), self.reports.message()).await else {
            if silent < deadline {
                bail!("it was lost: nothing was heard for {} s", SILENCE_MAX.as_secs());
            }
            bail!("it is late");
        };
        let report = message.map_err(said)?.context("it was lost: it left before the end")?;
        report.report.context("it says what this version does not know")
    }

    async fn until<T>(&mut self, deadline: Instant, wanted: impl Fn(&Said) -> Option<T>, beat: impl Fn(u64)) -> Result<T> {
        loop {
            let said = self.next(deadline).await?;
            if let Some(found) = wanted(&said) {
                return Ok(found);
            }
            match said {
                Said::Beat(v1::Beat { operations }) => {
                    self.operations = operations;
                    beat(operations);
                }
                other => bail!("it is out of step: {other:?}"),
            }
        }
    }

    async fn figures(&mut self, senders: u32, groups: u32, history: &mut History) -> Result<Figures> {
        let mut bytes = 0;
        loop {
            // The others wait their turn meanwhile, and say no more than that they live.
            match self.next(Instant::now() + MARGIN).await? {
                Said::Beat(_) => {}
                Said::Chunk(chunk) => {
                    bytes += chunk.encoded_len();
                    ensure!(
                        bytes <= HISTORY_BYTES_MAX,
                        "its history is larger than {HISTORY_BYTES_MAX} bytes"
                    );
                    seen::add_chunk(history, chunk, senders, groups)?;
                }
                Said::Result(result) => {
                    let figures = seen::read_result(result)?;
                    history.add_counts(&figures.counts);
                    return Ok(figures);
                }
                other => bail!("it is out of step: {other:?}"),
            }
        }
    }
}

/// A worker's or the network's word for what went wrong.
fn said(status: tonic::Status) -> anyhow::Error {
    match status.code() {
        // A worker's own words; the network's come with other codes.
        tonic::Code::Aborted | tonic::Code::Unauthenticated | tonic::Code::ResourceExhausted => {
            anyhow::anyhow!("{}", status.message())
        }
        _ => anyhow::anyhow!("it was lost: {}", status.message()),
    }
}

/// The addresses behind the names, once there are enough.
async fn resolve(workers: &Workers) -> Result<Vec<SocketAddr>> {
    let deadline = Instant::now() + workers.wait;
    loop {
        let found = look_up(&workers.names).await;
        let enough = |found: &Vec<SocketAddr>| found.len() >= workers.count.unwrap_or(1);
        match (found, workers.count) {
            (Ok(mut found), count) if enough(&found) => {
                found.truncate(count.unwrap_or(usize::MAX));
                return Ok(found);
            }
            (Err(error), _) if Instant::now() >= deadline => return Err(error),
            (Ok(found), Some(count)) if Instant::now() >= deadline => {
                bail!("there are {} workers instead of {count}: {found:?}", found.len())
            }
            (Ok(_), None) if Instant::now() >= deadline => bail!("{:?} stands for no worker", workers.names),
            _ => sleep(Duration::from_millis(500)).await,
        }
    }
}

/// All addresses, each once. Of a name with addresses of both families only those of the first one's count, since both lead to
/// the same workers.
async fn look_up(names: &[String]) -> Result<Vec<SocketAddr>> {
    let mut all = Vec::new();
    for name in names {
        let found = tokio::net::lookup_host(name.as_str()).await;
        let found: Vec<_> = found.with_context(|| format!("{name} is not known"))?.collect();
        let family = found.first().map(SocketAddr::is_ipv4);
        for address in found.into_iter().filter(|address| Some(address.is_ipv4()) == family) {
            if !all.contains(&address) {
                all.push(address);
            }
        }
    }
    all.sort_unstable();
    Ok(all)
}

/// Runs side by side on one router must not meet, and coordinators on several machines may have the same process id.
fn unique_uri(plan: &Plan) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let kind = plan.scenario.name().replace('-', ".");
    format!("ringfort.bench.{kind}.p{}.t{}", std::process::id(), now.as_nanos())
}

/// What the processes of the router used while the workers measured, give or take the way of an order to them.
async fn sample_routers(plan: &Plan) -> Result<BTreeMap<u32, Usage>> {
    let start = Instant::now() + plan.warmup;
    sleep_until(start).await;
    let before = usage::sample(&plan.pids)?;
    sleep_until(start + plan.measure).await;
    let mut after = usage::sample(&plan.pids)?;
    for (pid, usage) in &mut after {
        usage.cpu_us = usage.cpu_us.saturating_sub(before[pid].cpu_us);
    }
    Ok(after)
}

fn load(plan: &Plan) -> Load {
    let receivers = plan.receiver_urls.iter().filter(|url| **url != plan.sender_url);
    Load {
        scenario: match plan.scenario.kind {
            super::part::Kind::Calls => "rpc".to_owned(),
            super::part::Kind::Events => "pubsub".to_owned(),
        },
        urls: [&plan.sender_url].into_iter().chain(receivers).cloned().collect(),
        serializer: (plan.scenario.speaks == Speaks::Wamp).then(|| plan.serializer.clone()),
        senders: plan.senders,
        receivers: plan.receivers,
        window: plan.window,
        payload: plan.payload,
        rate: plan.rate,
    }
}

fn conclude(
    plan: &Plan,
    load: Load,
    crew: &Crew,
    figures: Vec<Figures>,
    history: History,
    routers: BTreeMap<u32, Usage>,
) -> SpreadOutcome {
    let count = crew.0.len() as u32;
    let mut latencies = histogram();
    for one in &figures {
        // All have the bounds of ours; that was checked when they came in.
        latencies.add(&one.latencies).ok();
    }
    let workers = (0..).zip(&crew.0).zip(&figures).map(|((index, peer), one)| {
        let shares = plan.shares(index, count);
        WorkerOutcome {
            address: peer.address.to_string(),
            senders: shares.senders.count,
            receivers: shares.receivers.count,
            operations: one.operations,
            per_sec: one.operations as f64 / one.elapsed.as_secs_f64().max(1e-6),
            latency: Latency::of(&one.latencies),
            client_cpu_us: one.client_cpu_us as f64 / one.operations.max(1) as f64,
        }
    });
    let workers = workers.collect();
    let sum = |figure: fn(&Figures) -> u64| figures.iter().map(figure).fold(0, u64::saturating_add);
    let measured = Measured {
        elapsed: figures.iter().map(|one| one.elapsed).max().unwrap_or_default(),
        operations: sum(|one| one.operations),
        latency: Latency::of(&latencies),
        routers,
        client_cpu_us: sum(|one| one.client_cpu_us),
        history: history.report(),
        first_failure: figures.iter().find_map(|one| one.first_failure.clone()),
        trace: Trace::of(&latencies),
        histogram: latencies.clone(),
    };
    SpreadOutcome {
        latencies: latencies.len(),
        outcome: Outcome::new(load, measured),
        workers,
    }
}
