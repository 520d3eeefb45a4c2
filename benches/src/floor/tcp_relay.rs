//! The TCP floor: frames with four bytes of length before them, on plain TCP.

use anyhow::{Context as _, Result, ensure};
use bytes::{Buf as _, Bytes, BytesMut};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use super::{
    BATCH_MAX,
    frame::{self, Kind},
    hub::{From, Hub},
};

/// Room for one read.
const READ_ROOM: usize = 64 * 1024;

/// The largest frame a client may send.
const FRAME_MAX: usize = 64 << 20;

/// Serves clients until the listener fails.
pub async fn serve(listener: TcpListener, hub: Hub) -> Result<()> {
    loop {
        let (tcp, _) = listener.accept().await?;
        tcp.set_nodelay(true)?;
        let hub = hub.clone();
        tokio::spawn(async move { client(tcp, hub).await.ok() });
    }
}

async fn client(mut tcp: TcpStream, hub: Hub) -> Result<()> {
    let mut input = BytesMut::new();
    let hello = loop {
        if let Some(frame) = split(&mut input)? {
            break frame;
        }
        read(&mut tcp, &mut input).await?;
    };
    let mut seat = hub.seat(&hello)?;
    let mut output = Vec::new();
    append(&mut output, &frame::head(Kind::Ready, 0, 0));
    tcp.write_all(&output).await?;
    let mut batch = Vec::with_capacity(BATCH_MAX);
    loop {
        tokio::select! {
            count = seat.queue.recv_many(&mut batch, BATCH_MAX) => {
                if count == 0 {
                    return Ok(());
                }
                output.clear();
                for frame in batch.drain(..) {
                    append(&mut output, &frame);
                }
                tcp.write_all(&output).await?;
            }
            done = read(&mut tcp, &mut input) => {
                done?;
                while let Some(frame) = split(&mut input)? {
                    hub.route(frame, From::Client);
                }
            }
        }
    }
}

async fn read(tcp: &mut TcpStream, input: &mut BytesMut) -> Result<()> {
    input.reserve(READ_ROOM);
    ensure!(tcp.read_buf(input).await? > 0, "the client has left");
    Ok(())
}

fn append(output: &mut Vec<u8>, frame: &[u8]) {
    output.extend_from_slice(&(frame.len() as u32).to_be_bytes());
    output.extend_from_slice(frame);
}

fn split(input: &mut BytesMut) -> Result<Option<Bytes>> {
    let Some(prefix) = input.first_chunk() else {
        return Ok(None);
    };
    let len = u32::from_be_bytes(*prefix) as usize;
    (len <= FRAME_MAX).then_some(()).context("a frame beyond 64 MiB")?;
    if input.len() < 4 + len {
        return Ok(None);
    }
    input.advance(4);
    Ok(Some(input.split_to(len).freeze()))
}
