//! The two ends of a connection between nodes as tonic takes them.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    runtime::Handle,
};
use tokio_rustls::{client, server};
use tonic::transport::server::Connected;

/// What the certificate of a connection's dialer says; found in the extensions of each request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerIdentity {
    /// The node's name; `None` where TLS is off and nothing is proven.
    pub name: Option<String>,
}

impl PeerIdentity {
    /// Who sent a request; nobody in particular if it did not come through an [`super::Acceptor`].
    pub fn of<T>(request: &tonic::Request<T>) -> Self {
        request.extensions().get::<Self>().cloned().unwrap_or(Self { name: None })
    }

    /// False if the certificate names somebody else than `name`.
    pub fn may_be(&self, name: &str) -> bool {
        self.name.as_deref().is_none_or(|proven| proven == name)
    }
}

/// An identified connection, either end.
pub struct ClusterIo {
    pub(super) stream: Stream,
    pub(super) peer: PeerIdentity,
}

pub(super) enum Stream {
    Plain(Socket),
    Client(Box<client::TlsStream<Socket>>),
    Server(Box<server::TlsStream<Socket>>),
}

impl ClusterIo {
    /// Moves the socket to another runtime, so that its readiness is polled by the threads that use it.
    pub(super) fn rehome(&mut self, runtime: &Handle) -> io::Result<()> {
        match &mut self.stream {
            Stream::Plain(socket) => socket.rehome(runtime),
            Stream::Client(tls) => tls.get_mut().0.rehome(runtime),
            Stream::Server(tls) => tls.get_mut().0.rehome(runtime),
        }
    }
}

impl Connected for ClusterIo {
    type ConnectInfo = PeerIdentity;

    fn connect_info(&self) -> PeerIdentity {
        self.peer.clone()
    }
}

/// A TCP stream that can change its runtime. Empty only after a failed [`Self::rehome`].
pub(super) struct Socket(Option<TcpStream>);

impl Socket {
    /// A connected socket, set up as connections between nodes are: no delay for small writes, and an end when the other side
    /// confirms nothing for [`UNCONFIRMED_MAX`].
    ///
    /// # Errors
    /// The operating system refuses one of these.
    pub(super) fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        #[cfg(target_os = "linux")]
        socket2::SockRef::from(&stream).set_tcp_user_timeout(Some(UNCONFIRMED_MAX))?;
        Ok(Self(Some(stream)))
    }

    fn rehome(&mut self, runtime: &Handle) -> io::Result<()> {
        let stream = self.0.take().ok_or_else(lost)?.into_std()?;
        let _guard = runtime.enter();
        self.0 = Some(TcpStream::from_std(stream)?);
        Ok(())
    }

    fn get(&mut self) -> io::Result<Pin<&mut TcpStream>> {
        self.0.as_mut().map(Pin::new).ok_or_else(lost)
    }
}

/// After a partition TCP tries again in ever longer intervals, up to two minutes; a new connection is there sooner. Not shorter than
/// the stall that a data lane is allowed, since a peer that takes nothing counts here too.
#[cfg(target_os = "linux")]
const UNCONFIRMED_MAX: std::time::Duration = std::time::Duration::from_secs(10);

fn lost() -> io::Error {
    io::Error::from(io::ErrorKind::NotConnected)
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.get()?.poll_read(cx, buf)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.get()?.poll_write(cx, buf)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        self.get()?.poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.as_ref().is_some_and(AsyncWrite::is_write_vectored)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get()?.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get()?.poll_shutdown(cx)
    }
}

/// Calls the same method of whichever stream there is.
macro_rules! each {
    ($self:expr, $stream:ident => $call:expr) => {
        match &mut $self.get_mut().stream {
            Stream::Plain($stream) => {
                let $stream = Pin::new($stream);
                $call
            }
            Stream::Client($stream) => {
                let $stream = Pin::new(&mut **$stream);
                $call
            }
            Stream::Server($stream) => {
                let $stream = Pin::new(&mut **$stream);
                $call
            }
        }
    };
}

impl AsyncRead for ClusterIo {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => stream.poll_read(cx, buf))
    }
}

impl AsyncWrite for ClusterIo {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        each!(self, stream => stream.poll_write(cx, buf))
    }

    fn poll_write_vectored(self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        each!(self, stream => stream.poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Stream::Plain(stream) => stream.is_write_vectored(),
            Stream::Client(stream) => stream.is_write_vectored(),
            Stream::Server(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => stream.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => stream.poll_shutdown(cx))
    }
}
