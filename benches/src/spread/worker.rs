//! A worker: waits for a coordinator and carries its share of one load at a time.

use std::{
    net::SocketAddr,
    path::PathBuf,
    pin::pin,
    sync::{Arc, OnceLock},
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use ringfort_proto::bench::v1::{
    self, Order, Report,
    order::Order as Step,
    report::Report as Said,
    worker_server::{Worker as Service, WorkerServer},
};
use tokio::{
    net::TcpListener,
    sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc},
    time::{MissedTickBehavior, interval, timeout},
};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Request, Response, Status, Streaming, transport::Server};

use super::{
    BEAT, KEEPALIVE, MESSAGE_BYTES_MAX, Token,
    part::{Job, Local},
    seen,
};
use crate::load::ensemble::Ensemble;

/// How a worker is set up.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// What a coordinator must show.
    pub token: Option<Token>,
    /// The ticket for plans with an authid.
    pub ticket: Option<String>,
    /// PEM file of the certificate authority for `wss://` and `tls://`.
    pub ca: Option<PathBuf>,
    /// End after one run.
    pub once: bool,
}

/// Reports that may wait for the coordinator to read them.
const REPORTS_MAX: usize = 8;

/// Time for the first order after a connection was let in, and for the connection to close after the last run.
const PATIENCE: Duration = Duration::from_secs(10);

/// Checks that `address` may be listened on.
///
/// # Errors
/// When others than this machine could start loads without a token.
pub fn check_address(address: SocketAddr, config: &Config) -> Result<()> {
    ensure!(
        address.ip().is_loopback() || config.token.is_some(),
        "a worker on {address} without a token would let anyone on the network start loads: give --token or RINGFORT_BENCH_TOKEN"
    );
    Ok(())
}

/// Serves coordinators, until the listener fails or the only run is over.
///
/// # Errors
/// When the listener fails.
pub async fn serve(listener: TcpListener, config: Config) -> Result<()> {
    check_address(listener.local_addr()?, &config)?;
    let worker = Worker {
        config: Arc::new(config),
        free: Arc::new(Semaphore::new(1)),
        over: Arc::new(Notify::new()),
    };
    let over = worker.over.clone();
    let once = worker.config.once;
    let service = WorkerServer::new(worker)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    let ended = async {
        over.notified().await;
        if !once {
            std::future::pending().await
        }
    };
    let mut ended = pin!(ended);
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let mut serving = pin!(
        Server::builder()
            .tcp_nodelay(true)
            .http2_keepalive_interval(Some(KEEPALIVE))
            .http2_keepalive_timeout(Some(KEEPALIVE))
            .add_service(service)
            .serve_with_incoming_shutdown(TcpListenerStream::new(listener), async {
                stopped.await.ok();
            })
    );
    tokio::select! {
        served = &mut serving => return Ok(served?),
        () = &mut ended => {}
    }
    // The last figures may still be on their way; a coordinator that does not go must not keep us.
    stop.send(()).ok();
    timeout(PATIENCE, serving).await.unwrap_or(Ok(()))?;
    Ok(())
}

#[derive(Clone)]
struct Worker {
    config: Arc<Config>,
    free: Arc<Semaphore>,
    over: Arc<Notify>,
}

#[tonic::async_trait]
impl Service for Worker {
    type RunStream = ReceiverStream<Result<Report, Status>>;

    async fn run(&self, request: Request<Streaming<Order>>) -> Result<Response<Self::RunStream>, Status> {
        if let Some(token) = &self.config.token {
            token.check(&request)?;
        }
        let Ok(permit) = self.free.clone().try_acquire_owned() else {
            return Err(Status::resource_exhausted("this worker is busy with another run"));
        };
        let (reports, stream) = mpsc::channel(REPORTS_MAX);
        tokio::spawn(self.clone().one_run(request.into_inner(), reports, permit));
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

impl Worker {
    /// Runs until the load is over or the coordinator is gone, whichever is first; all sessions end with it.
    async fn one_run(
        self,
        orders: Streaming<Order>,
        reports: mpsc::Sender<Result<Report, Status>>,
        permit: OwnedSemaphorePermit,
    ) {
        let ran = tokio::select! {
            ran = Box::pin(self.carry(orders, reports.clone())) => ran,
            () = reports.closed() => Err(anyhow::anyhow!("the coordinator went away")),
        };
        match ran {
            Ok(()) => eprintln!("the run is over"),
            Err(error) => {
                eprintln!("the run has ended early: {error:#}");
                let text = seen::shortened(&format!("{error:#}"));
                // Nobody may be there to read it.
                timeout(PATIENCE, reports.send(Err(Status::aborted(text)))).await.ok();
            }
        }
        drop(permit);
        drop(reports);
        self.over.notify_one();
    }

    async fn carry(&self, orders: Streaming<Order>, reports: mpsc::Sender<Result<Report, Status>>) -> Result<()> {
        let mut seat = Seat {
            orders,
            reports: reports.clone(),
            operations: Arc::new(OnceLock::new()),
        };
        let first = timeout(PATIENCE, seat.order()).await.context("no part came")??;
        let Step::Part(part) = first else {
            bail!("the first order is no part");
        };
        let local = Local {
            ticket: self.config.ticket.as_deref(),
            ca: self.config.ca.as_deref(),
        };
        let job = Job::new(part, &local)?;
        let beating = beat(reports, seat.operations.clone());
        let carrying = async {
            let witness = job.run(&mut seat).await?;
            for chunk in seen::chunks(&witness.history) {
                seat.say(Said::Chunk(chunk)).await?;
            }
            seat.say(Said::Result(seen::write_result(&witness)?)).await
        };
        tokio::select! {
            carried = Box::pin(carrying) => carried,
            () = beating => bail!("the coordinator went away"),
        }
    }
}

type Operations = Arc<OnceLock<Box<dyn Fn() -> u64 + Send + Sync>>>;

/// Says once a second that this worker lives, until nobody listens.
async fn beat(reports: mpsc::Sender<Result<Report, Status>>, operations: Operations) {
    let mut ticks = interval(BEAT);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let operations = operations.get().map_or(0, |count| count());
        let beat = Said::Beat(v1::Beat { operations });
        if reports.send(Ok(Report { report: Some(beat) })).await.is_err() {
            return;
        }
    }
}

/// A worker's place in the ensemble.
struct Seat {
    orders: Streaming<Order>,
    reports: mpsc::Sender<Result<Report, Status>>,
    operations: Operations,
}

impl Seat {
    async fn say(&self, said: Said) -> Result<()> {
        let sent = self.reports.send(Ok(Report { report: Some(said) })).await;
        sent.ok().context("the coordinator went away")
    }

    async fn order(&mut self) -> Result<Step> {
        let order = self.orders.message().await.context("the coordinator was lost")?;
        let order = order.context("the coordinator has ended the run")?;
        order.order.context("an order that this version does not know")
    }
}

impl Ensemble for Seat {
    async fn ready(&mut self) -> Result<()> {
        self.say(Said::Ready(v1::Ready {})).await?;
        match self.order().await? {
            Step::Go(_) => Ok(()),
            other => bail!("expected to go, got {other:?}"),
        }
    }

    fn watch(&mut self, operations: Box<dyn Fn() -> u64 + Send + Sync>) {
        // There is one load in a run.
        self.operations.set(operations).ok();
    }

    async fn sent(&mut self, messages: u64) -> Result<u64> {
        self.say(Said::Sent(v1::Sent { messages })).await?;
        match self.order().await? {
            Step::Drain(drain) => Ok(drain.sent),
            other => bail!("expected to drain, got {other:?}"),
        }
    }

    async fn drained(&mut self) -> Result<()> {
        self.say(Said::Drained(v1::Drained {})).await?;
        match self.order().await? {
            Step::Finish(_) => Ok(()),
            other => bail!("expected to finish, got {other:?}"),
        }
    }
}
