//! The two-hop floor: two WebSocket relays in two processes, joined by one tonic bidirectional stream.
//!
//! One relay listens for the other, which dials at start. What is queued travels as one gRPC message of up to 128 frames or
//! 64 KiB, without lingering; HTTP/2 windows are 8 MiB per stream and 32 MiB per connection on both ends. The service is written
//! out by hand: one method, `/floor.Link/Join`, a stream of [`Batch`] each way.

use std::{
    convert::Infallible,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use futures_util::Stream;
use tokio::sync::mpsc;
use tonic::{
    Request, Response, Status, Streaming,
    body::Body,
    client::Grpc as Client,
    codegen::{BoxFuture, Service, http},
    server::{Grpc as Server, NamedService, StreamingService},
    transport::{Endpoint, server::TcpIncoming},
};
use tonic_prost::ProstCodec;

use super::hub::{From, Hub};

const FRAMES_MAX: usize = 128;
const BYTES_MAX: usize = 64 * 1024;
const STREAM_WINDOW: u32 = 8 << 20;
const CONNECTION_WINDOW: u32 = 32 << 20;

/// One gRPC message: several frames.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Batch {
    /// In the order of sending.
    #[prost(bytes = "bytes", repeated, tag = "1")]
    pub frames: Vec<Bytes>,
}

/// Waits for the other relay on `address` and serves it, until the listener fails.
pub async fn listen(address: SocketAddr, hub: Hub) -> Result<()> {
    let incoming = TcpIncoming::bind(address)
        .with_context(|| format!("cannot listen on {address}"))?
        .with_nodelay(Some(true));
    let server = tonic::transport::Server::builder()
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .add_service(LinkService(hub))
        .serve_with_incoming(incoming);
    Ok(server.await?)
}

/// Joins the relay that listens on `address`, trying for 10 s, and relays until the stream ends.
pub async fn dial(address: SocketAddr, hub: Hub) -> Result<()> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))?
        .tcp_nodelay(true)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW);
    let mut attempt = 0;
    let channel = loop {
        match endpoint.connect().await {
            Ok(channel) => break channel,
            Err(error) if attempt == 100 => return Err(error).context("the other relay does not answer"),
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
        attempt += 1;
    };
    let mut client = Client::new(channel);
    client.ready().await?;
    let codec = ProstCodec::<Batch, Batch>::default();
    let path = http::uri::PathAndQuery::from_static("/floor.Link/Join");
    // Frames wait in the queue until the stream stands.
    let outbound = Outbound::new(hub.link());
    let inbound = client.streaming(Request::new(outbound), path, codec).await?.into_inner();
    deliver(inbound, hub).await
}

async fn deliver(mut inbound: Streaming<Batch>, hub: Hub) -> Result<()> {
    while let Some(batch) = inbound.message().await? {
        for frame in batch.frames {
            hub.route(frame, From::Link);
        }
    }
    Ok(())
}

/// The queue towards the other relay as a stream of batches.
pub struct Outbound {
    queue: mpsc::Receiver<Bytes>,
    pending: Vec<Bytes>,
}

impl Outbound {
    fn new(queue: mpsc::Receiver<Bytes>) -> Self {
        Self {
            queue,
            pending: Vec::new(),
        }
    }

    /// Takes what fits into one batch out of what is pending.
    fn cut(&mut self) -> Batch {
        let mut bytes = 0;
        let fits = self.pending.iter().take_while(|frame| {
            let first = bytes == 0;
            bytes += frame.len();
            first || bytes <= BYTES_MAX
        });
        let count = fits.count();
        Batch {
            frames: self.pending.drain(..count).collect(),
        }
    }
}

impl Stream for Outbound {
    type Item = Batch;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Batch>> {
        let this = self.get_mut();
        if this.pending.is_empty() && ready!(this.queue.poll_recv_many(cx, &mut this.pending, FRAMES_MAX)) == 0 {
            return Poll::Ready(None);
        }
        Poll::Ready(Some(this.cut()))
    }
}

/// Without an error case, so that the one stream type serves both ends.
struct Fallible(Outbound);

impl Stream for Fallible {
    type Item = Result<Batch, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Pin::new(&mut self.0).poll_next(cx).map(|batch| batch.map(Ok))
    }
}

#[derive(Clone)]
struct LinkService(Hub);

impl NamedService for LinkService {
    const NAME: &'static str = "floor.Link";
}

impl Service<http::Request<Body>> for LinkService {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let service = self.clone();
        Box::pin(async move {
            if request.uri().path() != "/floor.Link/Join" {
                return Ok(Status::unimplemented("only Join").into_http());
            }
            Ok(Server::new(ProstCodec::<Batch, Batch>::default())
                .streaming(service, request)
                .await)
        })
    }
}

impl StreamingService<Batch> for LinkService {
    type Response = Batch;
    type ResponseStream = Fallible;
    type Future = BoxFuture<Response<Fallible>, Status>;

    fn call(&mut self, request: Request<Streaming<Batch>>) -> Self::Future {
        let hub = self.0.clone();
        let outbound = Fallible(Outbound::new(hub.link()));
        tokio::spawn(deliver(request.into_inner(), hub));
        Box::pin(async move { Ok(Response::new(outbound)) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_end_at_their_bytes_but_take_at_least_one_frame() {
        let (_sender, queue) = mpsc::channel(1);
        let mut outbound = Outbound::new(queue);
        outbound.pending = [40_000, 20_000, 30_000, 100_000]
            .map(|len| Bytes::from(vec![0; len]))
            .to_vec();
        let lens: Vec<_> = std::iter::from_fn(|| (!outbound.pending.is_empty()).then(|| outbound.cut().frames.len())).collect();
        assert_eq!(lens, [2, 1, 1]);
    }
}
