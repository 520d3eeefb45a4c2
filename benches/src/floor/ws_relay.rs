//! The WebSocket floor: a bare tokio-tungstenite relay.

use anyhow::{Context as _, Result};
use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _, stream::SplitSink};
use tokio::{
    net::{TcpListener, TcpStream},
    task::AbortHandle,
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{self, Message},
};

use super::{
    frame::{self, Kind},
    hub::{From, Hub, Seat},
};

/// Serves clients until the listener fails; at most `batch` frames are written between two flushes.
pub async fn serve(listener: TcpListener, hub: Hub, batch: usize) -> Result<()> {
    loop {
        let (tcp, _) = listener.accept().await?;
        tcp.set_nodelay(true)?;
        // A client that goes away, politely or not, is no event for a relay.
        let hub = hub.clone();
        tokio::spawn(async move { Box::pin(client(tcp, hub, batch)).await.ok() });
    }
}

async fn client(tcp: TcpStream, hub: Hub, batch: usize) -> Result<()> {
    let mut socket = tokio_tungstenite::accept_async(tcp).await?;
    let hello = next_frame(&mut socket).await?;
    let seat = hub.seat(&hello)?;
    socket
        .send(binary(Bytes::copy_from_slice(&frame::head(Kind::Ready, 0, 0))))
        .await?;
    let (sink, mut stream) = socket.split();
    // The writer has a task of its own: one task for both would try the socket's read side at every delivery, and tungstenite
    // clears its whole read buffer before each try.
    let writer = AbortOnDrop(tokio::spawn(write(sink, seat, batch)).abort_handle());
    while let Some(frame) = stream.next().await {
        if let Message::Binary(frame) = frame? {
            hub.route(frame, From::Client);
        }
    }
    drop(writer);
    Ok(())
}

/// Writes what is queued for the client, one flush for each batch.
async fn write(mut sink: SplitSink<WebSocketStream<TcpStream>, Message>, mut seat: Seat, batch: usize) -> Result<()> {
    let mut frames = Vec::with_capacity(batch);
    while seat.queue.recv_many(&mut frames, batch).await > 0 {
        for frame in frames.drain(..) {
            sink.feed(binary(frame)).await?;
        }
        sink.flush().await?;
    }
    Ok(())
}

/// Ends the writer with the reader, which gives the client's seat back.
struct AbortOnDrop(AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
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
