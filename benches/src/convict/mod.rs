//! A proxy that disturbs what a WAMP router delivers, to prove that the history checker notices.
//!
//! It stands between clients and router, reads the router's frames on WebSocket (without TLS) and RawSocket, and treats each
//! EVENT and INVOCATION by the throw of seeded dice: pass, drop, double, or hold back behind later ones. Everything else passes
//! as it came, and so does everything from the clients. Fragmented WebSocket messages are not looked into.

mod mangler;
mod stream;

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    time::timeout,
};

use mangler::Mangler;
pub use mangler::Odds;
use stream::{Frames, Piece};

/// What a proxy has done so far.
#[derive(Debug, Default)]
pub struct Counts {
    /// Deliveries seen.
    pub seen: AtomicU64,
    /// Deliveries dropped.
    pub dropped: AtomicU64,
    /// Deliveries doubled.
    pub doubled: AtomicU64,
    /// Deliveries held back.
    pub reordered: AtomicU64,
}

/// A held delivery goes out at the latest when nothing has come for so long: the load may be waiting for it.
const HOLD_TIMEOUT: Duration = Duration::from_millis(20);

/// A proxy before one router.
#[derive(Clone, Debug)]
pub struct Proxy {
    /// The router.
    pub target: SocketAddr,
    /// How likely each disturbance is.
    pub odds: Odds,
    /// Where the dice begin; each connection throws its own.
    pub seed: u64,
    /// What was done.
    pub counts: Arc<Counts>,
}

impl Proxy {
    /// A proxy for `target`.
    pub fn new(target: SocketAddr, odds: Odds, seed: u64) -> Self {
        Self {
            target,
            odds,
            seed,
            counts: Arc::default(),
        }
    }

    /// Serves clients until the listener fails.
    ///
    /// # Errors
    /// When it fails.
    pub async fn serve(self, listener: TcpListener) -> Result<()> {
        for number in 0.. {
            let (client, _) = listener.accept().await?;
            let proxy = self.clone();
            tokio::spawn(async move {
                if let Err(error) = proxy.connection(client, number).await {
                    eprintln!("convict-proxy: {error:#}");
                }
            });
        }
        Ok(())
    }

    async fn connection(self, client: TcpStream, number: u64) -> Result<()> {
        let router = TcpStream::connect(self.target)
            .await
            .with_context(|| format!("cannot reach {}", self.target))?;
        client.set_nodelay(true)?;
        router.set_nodelay(true)?;
        let (mut from_client, to_client) = client.into_split();
        let (from_router, mut to_router) = router.into_split();
        // The client's first bytes tell the transport, and for RawSocket the serializer.
        let mut opening = [0; 4];
        from_client.read_exact(&mut opening).await?;
        to_router.write_all(&opening).await?;
        let frames = Frames::opened_by(opening);
        let mangler = Mangler::new(self.odds, self.seed.wrapping_add(number), self.counts);
        let upstream = tokio::spawn(async move { tokio::io::copy(&mut from_client, &mut to_router).await });
        let done = downstream(from_router, to_client, frames, mangler).await;
        upstream.abort();
        done
    }
}

/// Carries the router's frames to the client, disturbed.
async fn downstream(
    mut router: OwnedReadHalf,
    mut client: OwnedWriteHalf,
    mut frames: Frames,
    mut mangler: Mangler,
) -> Result<()> {
    let (mut input, mut output) = (Vec::new(), Vec::new());
    loop {
        let read = router.read_buf(&mut input);
        let count = if mangler.holds() {
            timeout(HOLD_TIMEOUT, read).await.ok()
        } else {
            Some(read.await)
        };
        match count.transpose()? {
            Some(0) => return Ok(()),
            Some(_) => {}
            None => mangler.release(&mut output),
        }
        let mut used = 0;
        while let Some((piece, len)) = frames.next(&input[used..])? {
            let bytes = &input[used..used + len];
            match piece {
                Piece::Delivery => mangler.pass(bytes, &mut output),
                Piece::Other => output.extend_from_slice(bytes),
            }
            used += len;
        }
        input.drain(..used);
        if input.len() > stream::FRAME_MAX {
            bail!("a frame of more than {} bytes", stream::FRAME_MAX);
        }
        client.write_all(&output).await?;
        output.clear();
    }
}

impl Counts {
    /// All disturbances together.
    pub fn disturbed(&self) -> u64 {
        [&self.dropped, &self.doubled, &self.reordered]
            .iter()
            .map(|c| c.load(Ordering::Relaxed))
            .sum()
    }
}
