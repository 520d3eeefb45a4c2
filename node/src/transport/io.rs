//! Sockets: a connection before its session (a stream), and under one (polled by the session's task, written by many).

use std::{
    cell::RefCell,
    io::{self, Read as _},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use socket2::{SockRef, TcpKeepalive};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, Interest, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::server::TlsStream;

use super::bounded::Bounded;
use crate::session::outbox::{Chunk, Outbox};

/// A connection during its handshakes.
#[derive(Debug)]
pub enum Stream {
    /// Plain TCP.
    Plain(TcpStream),
    /// TLS over TCP.
    Tls(Box<TlsStream<Bounded>>),
}

impl Stream {
    /// From now on records of TLS are taken as they come.
    pub fn unbind(&mut self) {
        if let Stream::Tls(tls) = self {
            tls.get_mut().0.unbind();
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(s) => Pin::new(s).poll_read(cx, buf),
            Stream::Tls(s) => Pin::new(s).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Plain(s) => Pin::new(s).poll_write(cx, buf),
            Stream::Tls(s) => Pin::new(s).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(s) => Pin::new(s).poll_flush(cx),
            Stream::Tls(s) => Pin::new(s).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(s) => Pin::new(s).poll_shutdown(cx),
            Stream::Tls(s) => Pin::new(s).poll_shutdown(cx),
        }
    }
}

/// A stream whose first bytes were read already.
#[derive(Debug)]
pub struct Rewound {
    /// What was read.
    pub ahead: Vec<u8>,
    /// How much of that was read again.
    pub at: usize,
    /// The rest.
    pub stream: Stream,
}

impl AsyncRead for Rewound {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let ahead = &self.ahead[self.at..];
        if ahead.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buf);
        }
        let len = ahead.len().min(buf.remaining());
        buf.put_slice(&ahead[..len]);
        self.at += len;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Rewound {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Has the kernel find out that a silent peer is gone, and give unacknowledged data up, within `dead_after`.
pub fn watch_peer(socket: &TcpStream, idle: Duration, dead_after: Duration) -> io::Result<()> {
    let socket = SockRef::from(socket);
    let interval = (dead_after.saturating_sub(idle) / 4).max(Duration::from_secs(1));
    let idle = idle.max(Duration::from_secs(1));
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(idle).with_interval(interval).with_retries(4))?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(dead_after))?;
    Ok(())
}

/// The socket under a session.
#[derive(Debug)]
pub enum Io {
    /// Plain TCP, which the outbox shares: whoever fills it writes.
    Plain(Arc<TcpStream>),
    /// TLS, written by the session's task only.
    Tls(Box<Owned<TlsStream<Bounded>>>),
    /// A pipe in memory, likewise.
    Piped(Box<Owned<DuplexStream>>),
}

/// A stream that one task alone writes, and what is being written to it.
#[derive(Debug)]
pub struct Owned<S> {
    stream: S,
    chunk: Option<Chunk>,
    unflushed: bool,
}

/// How much is read of a peer that has heard the last words.
const FORGOTTEN_BYTES_MAX: usize = 1 << 20;

/// How much one read takes at most: a batch.
const BATCH_BYTES_MAX: usize = 64 * 1024;

thread_local! {
    /// The read buffer of this worker thread. Between a read and the handling of what it brought there is no await.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; BATCH_BYTES_MAX].into());
}

/// Runs `f` on this thread's read buffer: what [`Io::poll`] has read in the same poll of the task.
pub fn scratch<R>(f: impl FnOnce(&mut [u8]) -> R) -> R {
    SCRATCH.with_borrow_mut(|buffer| f(buffer))
}

impl From<Stream> for Io {
    fn from(stream: Stream) -> Self {
        match stream {
            Stream::Plain(stream) => Io::Plain(Arc::new(stream)),
            Stream::Tls(stream) => Io::Tls(Box::new(Owned::new(*stream))),
        }
    }
}

impl Io {
    /// A pipe in memory.
    pub fn piped(stream: DuplexStream) -> Self {
        Io::Piped(Box::new(Owned::new(stream)))
    }

    /// The socket for the outbox to share, where it can.
    pub fn shared(&self) -> Option<Arc<TcpStream>> {
        match self {
            Io::Plain(socket) => Some(socket.clone()),
            Io::Tls(_) | Io::Piped(_) => None,
        }
    }

    /// A session is established: from now on the peer may send what it likes, as long as the session takes it.
    pub fn unbind(&mut self) {
        if let Io::Tls(tls) = self {
            tls.stream.get_mut().0.unbind();
        }
    }

    /// True if others write this socket too.
    pub fn is_shared(&self) -> bool {
        matches!(self, Io::Plain(_))
    }

    /// Writes what the outbox holds as the socket takes it, and reads a batch into [`scratch`], if `reading` and
    /// while the peer has no more than half an outbox unread. Resolves with the number of bytes read, 0 at the end of the stream.
    pub fn poll(&mut self, cx: &mut Context<'_>, reading: bool, outbox: &Outbox) -> Poll<io::Result<usize>> {
        match self {
            Io::Plain(socket) => {
                while outbox.is_blocked() {
                    match socket.poll_write_ready(cx) {
                        Poll::Pending => break,
                        Poll::Ready(Err(e)) => return Poll::Ready(Err(e)),
                        Poll::Ready(Ok(())) => {
                            outbox.unblock();
                            outbox.flush();
                        }
                    }
                }
                if !reading || outbox.above_most() {
                    return Poll::Pending;
                }
                loop {
                    ready!(socket.poll_read_ready(cx))?;
                    match scratch(|buffer| read_batch(socket, buffer)) {
                        Err(e) if e.kind() == io::ErrorKind::WouldBlock || e.kind() == io::ErrorKind::Interrupted => {}
                        result => return Poll::Ready(result),
                    }
                }
            }
            Io::Tls(tls) => tls.poll(cx, reading, outbox),
            Io::Piped(pipe) => pipe.poll(cx, reading, outbox),
        }
    }

    /// Writes until the outbox is empty.
    pub async fn write_all_of(&mut self, outbox: &Outbox) -> io::Result<()> {
        match self {
            Io::Plain(socket) => loop {
                outbox.flush();
                if outbox.queued_bytes() == 0 {
                    return Ok(());
                }
                if outbox.is_blocked() {
                    socket.writable().await?;
                    outbox.unblock();
                } else {
                    // Another thread is writing; it finishes in a moment, or finds the socket full and says so.
                    let _ = tokio::time::timeout(Duration::from_millis(5), outbox.woken()).await;
                }
            },
            Io::Tls(tls) => std::future::poll_fn(|cx| tls.poll_write(cx, outbox)).await,
            Io::Piped(pipe) => std::future::poll_fn(|cx| pipe.poll_write(cx, outbox)).await,
        }
    }

    /// Closes the writing side.
    pub async fn shutdown(&mut self) -> io::Result<()> {
        match self {
            Io::Plain(socket) => SockRef::from(&**socket).shutdown(std::net::Shutdown::Write),
            Io::Tls(tls) => tls.stream.shutdown().await,
            Io::Piped(pipe) => pipe.stream.shutdown().await,
        }
    }

    /// Reads and forgets until the peer closes its side, or has sent so much more that it only wants to be read.
    pub async fn read_to_end(&mut self) {
        let mut left = FORGOTTEN_BYTES_MAX;
        match self {
            Io::Plain(socket) => loop {
                if socket.readable().await.is_err() {
                    return;
                }
                match scratch(|buffer| socket.try_read(buffer)) {
                    Ok(0) => return,
                    Ok(read) if read < left => left -= read,
                    Ok(_) => return,
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                    Err(_) => return,
                }
            },
            Io::Tls(tls) => tls.read_to_end(left).await,
            Io::Piped(pipe) => pipe.read_to_end(left).await,
        }
    }
}

/// Reads what is there. A read that does not fill the buffer has emptied the socket: its readiness is taken back at once, which
/// saves the read that would only find nothing.
fn read_batch(socket: &TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
    let mut emptied_by = 0;
    let result = socket.try_io(Interest::READABLE, || {
        let read = (&*SockRef::from(socket)).read(buffer)?;
        if 0 < read && read < buffer.len() {
            emptied_by = read;
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(read)
    });
    if emptied_by > 0 { Ok(emptied_by) } else { result }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Owned<S> {
    fn new(stream: S) -> Self {
        Self {
            stream,
            chunk: None,
            unflushed: false,
        }
    }

    /// See [`Io::poll`].
    fn poll(&mut self, cx: &mut Context<'_>, reading: bool, outbox: &Outbox) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Err(e)) = self.poll_write(cx, outbox) {
            return Poll::Ready(Err(e));
        }
        if !reading || outbox.above_most() {
            return Poll::Pending;
        }
        scratch(|buffer| {
            let mut buffer = ReadBuf::new(buffer);
            ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer))?;
            Poll::Ready(Ok(buffer.filled().len()))
        })
    }

    /// Reads and forgets until the peer closes its side, or has sent as much as is `left`.
    async fn read_to_end(&mut self, mut left: usize) {
        let mut buffer = vec![0; 4096];
        while let Ok(read @ 1..) = self.stream.read(&mut buffer).await {
            if read >= left {
                return;
            }
            left -= read;
        }
    }

    /// Writes what the outbox holds; ready when nothing is left, here or in the layer below.
    fn poll_write(&mut self, cx: &mut Context<'_>, outbox: &Outbox) -> Poll<io::Result<()>> {
        loop {
            let Some(chunk) = self.chunk.as_mut() else {
                match outbox.begin_write() {
                    Some(chunk) => {
                        self.chunk = Some(chunk);
                        continue;
                    }
                    None if self.unflushed => {
                        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
                        self.unflushed = false;
                        return Poll::Ready(Ok(()));
                    }
                    None => return Poll::Ready(Ok(())),
                }
            };
            if chunk.rest().is_empty() {
                if let Some(chunk) = self.chunk.take() {
                    outbox.end_write(chunk);
                }
                continue;
            }
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, chunk.rest()))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            chunk.advance(written);
            outbox.note_in_flight(chunk.rest().len());
            self.unflushed = true;
        }
    }
}
