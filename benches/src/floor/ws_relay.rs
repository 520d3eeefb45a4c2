//! The WebSocket floor: a bare tokio-tungstenite relay.

use anyhow::{Context as _, Result};
use bytes::Bytes;
use futures_util::{FutureExt as _, SinkExt as _, StreamExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{self, Message},
};

use super::{
    BATCH_MAX,
    frame::{self, Kind},
    hub::{From, Hub},
};

/// Serves clients until the listener fails.
pub async fn serve(listener: TcpListener, hub: Hub) -> Result<()> {
    loop {
        let (tcp, _) = listener.accept().await?;
        tcp.set_nodelay(true)?;
        // A client that goes away, politely or not, is no event for a relay.
        let hub = hub.clone();
        tokio::spawn(async move { Box::pin(client(tcp, hub)).await.ok() });
    }
}

async fn client(tcp: TcpStream, hub: Hub) -> Result<()> {
    let mut socket = tokio_tungstenite::accept_async(tcp).await?;
    let hello = next_frame(&mut socket).await?;
    let mut seat = hub.seat(&hello)?;
    socket
        .send(binary(Bytes::copy_from_slice(&frame::head(Kind::Ready, 0, 0))))
        .await?;
    let mut batch = Vec::with_capacity(BATCH_MAX);
    loop {
        tokio::select! {
            count = seat.queue.recv_many(&mut batch, BATCH_MAX) => {
                if count == 0 {
                    return Ok(());
                }
                for frame in batch.drain(..) {
                    socket.feed(binary(frame)).await?;
                }
                socket.flush().await?;
            }
            frame = next_frame(&mut socket) => {
                hub.route(frame?, From::Client);
                while let Some(frame) = next_frame(&mut socket).now_or_never() {
                    hub.route(frame?, From::Client);
                }
            }
        }
    }
}

fn binary(frame: Bytes) -> Message {
    Message::Binary(frame)
}

async fn next_frame(socket: &mut WebSocketStream<TcpStream>) -> Result<Bytes> {
    loop {
        match socket.next().await.context("the client has left")?? {
            Message::Binary(frame) => return Ok(frame),
            Message::Close(_) => return Err(tungstenite::Error::ConnectionClosed.into()),
            _ => {}
        }
    }
}
