//! The arguments of what serves: floors and the convicting proxy.

use std::net::SocketAddr;

use anyhow::{Context as _, Result};
use clap::{Args, Subcommand};
use ringfort_bench::{
    convict::{Odds, Proxy},
    floor::{BATCH_MAX, hub::Hub, link, tcp_relay, ws_relay},
};
use tokio::net::TcpListener;

/// `floor …`
#[derive(Debug, Subcommand)]
pub(crate) enum Floor {
    /// A bare tokio-tungstenite relay.
    WsRelay(Listen),
    /// One of two such relays joined by a tonic stream: one waits for the link, the other dials it.
    WsTwoHop(TwoHop),
    /// A relay of length-prefixed frames on TCP.
    TcpRelay(Tcp),
}

#[derive(Debug, Args)]
pub(crate) struct Tcp {
    /// Where clients connect.
    #[arg(long)]
    listen: SocketAddr,
}

#[derive(Debug, Args)]
pub(crate) struct Listen {
    /// Where clients connect.
    #[arg(long)]
    listen: SocketAddr,
    /// Where the clients of another load connect, which has nothing to do with the first but shares the threads.
    #[arg(long)]
    beside: Option<SocketAddr>,
    #[command(flatten)]
    making: Making,
}

/// How a WebSocket floor is made; `--threads` says on how many it runs.
#[derive(Debug, Args)]
pub(crate) struct Making {
    /// Frames written between two flushes at most; 1 flushes each by itself.
    #[arg(long, default_value_t = BATCH_MAX, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=65_536))]
    batch: usize,
}

#[derive(Debug, Args)]
pub(crate) struct TwoHop {
    /// Where clients connect.
    #[arg(long)]
    listen: SocketAddr,
    /// Wait for the other relay here.
    #[arg(long, conflicts_with = "link_to", required_unless_present = "link_to")]
    link_listen: Option<SocketAddr>,
    /// Dial the other relay there.
    #[arg(long)]
    link_to: Option<SocketAddr>,
    #[command(flatten)]
    making: Making,
}

/// `convict-proxy`
#[derive(Debug, Args)]
pub(crate) struct ConvictProxy {
    /// Where clients connect.
    #[arg(long)]
    listen: SocketAddr,
    /// The router.
    #[arg(long)]
    target: SocketAddr,
    /// Share of deliveries (EVENT, INVOCATION) to hold back behind later ones, 0 to 1.
    #[arg(long, default_value_t = 0.0)]
    reorder: f64,
    /// Share to drop.
    #[arg(long, default_value_t = 0.0)]
    drop: f64,
    /// Share to deliver twice.
    #[arg(long, default_value_t = 0.0)]
    double: f64,
    /// Repeats the same decisions.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

impl Floor {
    /// Serves until the process is ended.
    pub(crate) async fn run(self) -> Result<bool> {
        let hub = Hub::new();
        match self {
            Floor::WsRelay(Listen { listen, beside, making }) => {
                if let Some(beside) = beside {
                    let listener = bind(beside).await?;
                    tokio::spawn(ws_relay::serve(listener, Hub::new(), making.batch));
                }
                ws_relay::serve(bind(listen).await?, hub, making.batch).await?;
            }
            Floor::TcpRelay(Tcp { listen }) => tcp_relay::serve(bind(listen).await?, hub).await?,
            Floor::WsTwoHop(TwoHop {
                listen,
                link_listen,
                link_to,
                making,
            }) => {
                let joined = async {
                    match (link_listen, link_to) {
                        (Some(address), _) => link::listen(address, hub.clone()).await,
                        (None, Some(address)) => link::dial(address, hub.clone()).await,
                        (None, None) => anyhow::bail!("--link-listen or --link-to is needed"),
                    }
                };
                // Who can connect can also be reached across.
                let serving = async {
                    hub.linked().await;
                    ws_relay::serve(bind(listen).await?, hub.clone(), making.batch).await
                };
                tokio::select! {
                    ended = joined => ended.context("the link between the relays ended")?,
                    ended = serving => ended?,
                }
            }
        }
        Ok(true)
    }
}

impl ConvictProxy {
    /// Serves until the process is ended.
    pub(crate) async fn run(self) -> Result<bool> {
        let odds = Odds {
            reorder: self.reorder,
            drop: self.drop,
            double: self.double,
        };
        Proxy::new(self.target, odds, self.seed)
            .serve(bind(self.listen).await?)
            .await?;
        Ok(true)
    }
}

pub(super) async fn bind(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}"))
}
