//! A client's connection as bytes: one socket, an input and an output buffer, and one place that waits.
//!
//! The load client is meant to cost little beside the router it measures: everything that is to be sent is gathered and written
//! with one call per turn, and one read takes what has come. Both directions move in the same wait, so a peer that stops reading
//! until we read cannot deadlock us.

use std::{
    future::poll_fn,
    io,
    net::IpAddr,
    path::Path,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use anyhow::{Context as _, Result, bail, ensure};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpSocket, TcpStream, lookup_host},
};
use tokio_rustls::{
    TlsConnector,
    rustls::{ClientConfig, pki_types::ServerName},
};
use tokio_tungstenite::tungstenite::http::Uri;

use crate::trust::{self, Trust};

/// What a connection runs on: plain TCP or TLS.
pub trait Io: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

/// Room made for each read; what a busy router sends between two turns of a client.
const READ_ROOM: usize = 64 * 1024;

/// Room of a connection that is expected to stay quiet, see [`Wire::slim`].
const SLIM_ROOM: usize = 1024;

/// The most that may wait to be written before a sender should hold back.
pub const OUTPUT_MAX: usize = 1 << 20;

/// A connected socket with its buffers.
pub struct Wire {
    io: Box<dyn Io>,
    input: Vec<u8>,
    /// The unread part of `input`.
    unread: std::ops::Range<usize>,
    /// What is to be written; append freely, [`Wire::turn`] writes it.
    pub output: Vec<u8>,
    written: usize,
    /// Room made for each read.
    room: usize,
}

impl Wire {
    /// Wraps a connected stream.
    pub fn new(io: Box<dyn Io>) -> Self {
        Self {
            io,
            input: Vec::new(),
            unread: 0..0,
            output: Vec::new(),
            written: 0,
            room: READ_ROOM,
        }
    }

    /// Gives memory back and reads in small pieces from now on: for thousands of connections that are only to be there.
    pub fn slim(&mut self) {
        self.room = SLIM_ROOM;
        if self.unread.is_empty() {
            self.unread = 0..0;
            self.input = Vec::new();
        }
        if self.output.is_empty() {
            self.output = Vec::new();
        }
    }

    /// The bytes that have come and were not consumed yet.
    pub fn input(&mut self) -> &mut [u8] {
        &mut self.input[self.unread.clone()]
    }

    /// Drops the first `count` bytes of [`Wire::input`].
    pub fn consume(&mut self, count: usize) {
        self.unread.start = (self.unread.start + count).min(self.unread.end);
    }

    /// True if so much waits to be written that nothing should be added for now.
    pub fn is_congested(&self) -> bool {
        self.output.len() - self.written > OUTPUT_MAX
    }

    /// Writes what is due and waits until something has come. Cancel safe.
    ///
    /// # Errors
    /// When the connection fails or the peer has closed it.
    pub async fn turn(&mut self) -> io::Result<()> {
        poll_fn(|cx| {
            let flushed = self.poll_flush(cx)?;
            match self.poll_fill(cx)? {
                Poll::Ready(()) => Poll::Ready(Ok(())),
                Poll::Pending => {
                    // A pending flush has registered its waker; the next turn goes on with it.
                    let _ = flushed;
                    Poll::Pending
                }
            }
        })
        .await
    }

    /// Writes everything that is due. Cancel safe.
    ///
    /// # Errors
    /// When the connection fails.
    pub async fn flush(&mut self) -> io::Result<()> {
        poll_fn(|cx| self.poll_flush(cx)).await
    }

    /// The stream, once the handshake that needs it whole is over or before it began; nothing may be buffered.
    pub fn into_io(self) -> Box<dyn Io> {
        self.io
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.output.is_empty() {
            return Poll::Ready(Ok(()));
        }
        while self.written < self.output.len() {
            let count = ready!(Pin::new(&mut self.io).poll_write(cx, &self.output[self.written..]))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += count;
        }
        ready!(Pin::new(&mut self.io).poll_flush(cx))?;
        self.output.clear();
        self.written = 0;
        Poll::Ready(Ok(()))
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.unread.is_empty() {
            self.unread = 0..0;
        } else if self.input.len() - self.unread.end < self.room {
            self.input.copy_within(self.unread.clone(), 0);
            self.unread = 0..self.unread.len();
        }
        if self.input.len() - self.unread.end < self.room {
            self.input.resize((self.unread.end + self.room).max(2 * self.unread.end), 0);
        }
        let mut room = ReadBuf::new(&mut self.input[self.unread.end..]);
        ready!(Pin::new(&mut self.io).poll_read(cx, &mut room))?;
        let count = room.filled().len();
        if count == 0 {
            return Poll::Ready(Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the peer closed the connection",
            )));
        }
        self.unread.end += count;
        Poll::Ready(Ok(()))
    }
}

/// What carries the messages, by the scheme of the URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// `ws://`, `wss://`
    WebSocket,
    /// `tcp://` or `rs://`; with TLS `tls://`, `tcps://` or `rss://`
    RawSocket,
    /// `nats://`
    Nats,
}

/// An address to load.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// The URL as given.
    pub url: Uri,
    /// What the scheme says.
    pub transport: Transport,
    tls: Option<Arc<ClientConfig>>,
    host: String,
    port: u16,
    source: Option<IpAddr>,
}

impl Endpoint {
    /// Reads a URL; `ca` is the PEM file of the certificate authority that URLs with TLS are checked against.
    ///
    /// # Errors
    /// When the URL is not one of the known schemes with host and port, or the file cannot be used.
    pub fn parse(url: &str, ca: Option<&Path>) -> Result<Self> {
        Self::with_trust(url, ca.map_or(Trust::Nobody, Trust::Authority))
    }

    /// Reads a URL; `trust` says which server a URL with TLS may lead to.
    ///
    /// # Errors
    /// As [`Endpoint::parse`].
    pub fn with_trust(url: &str, trust: Trust<'_>) -> Result<Self> {
        let parsed: Uri = url.parse().with_context(|| format!("{url} is not a URL"))?;
        let (transport, secure, default_port) = match parsed.scheme_str() {
            Some("ws") => (Transport::WebSocket, false, Some(80)),
            Some("wss") => (Transport::WebSocket, true, Some(443)),
            Some("tcp" | "rs") => (Transport::RawSocket, false, None),
            Some("tls" | "tcps" | "rss") => (Transport::RawSocket, true, None),
            Some("nats") => (Transport::Nats, false, Some(4222)),
            _ => bail!("{url}: the scheme must be ws, wss, tcp or rs, tls or tcps or rss (RawSocket), or nats"),
        };
        let host = parsed
            .host()
            .with_context(|| format!("{url} names no host"))?
            .trim_matches(['[', ']'])
            .to_owned();
        let port = parsed
            .port_u16()
            .or(default_port)
            .with_context(|| format!("{url} names no port"))?;
        let tls = match (secure, trust) {
            (false, _) => None,
            (true, Trust::Nobody) => bail!("{url} needs --ca FILE, the certificate authority to trust, or --insecure"),
            (true, trust) => Some(trust::client(trust)?),
        };
        Ok(Self {
            url: parsed,
            transport,
            tls,
            host,
            port,
            source: None,
        })
    }

    /// The same address, reached from the local address `source`. One source has some 28,000 ports for one destination.
    pub fn from_source(mut self, source: IpAddr) -> Self {
        self.source = Some(source);
        self
    }

    /// Opens the socket, and TLS when the scheme asks for it.
    ///
    /// # Errors
    /// When the address cannot be reached or TLS fails.
    pub async fn dial(&self) -> Result<Box<dyn Io>> {
        let tcp = self
            .connect()
            .await
            .with_context(|| format!("cannot connect to {}", self.url))?;
        tcp.set_nodelay(true)?;
        let Some(config) = &self.tls else {
            return Ok(Box::new(tcp));
        };
        let name = ServerName::try_from(self.host.clone()).with_context(|| format!("{} is no server name", self.host))?;
        let tls = TlsConnector::from(config.clone()).connect(name, tcp).await;
        Ok(Box::new(tls.with_context(|| format!("no TLS with {}", self.url))?))
    }

    async fn connect(&self) -> Result<TcpStream> {
        let address = (self.host.as_str(), self.port);
        let Some(source) = self.source else {
            return Ok(TcpStream::connect(address).await?);
        };
        let found = lookup_host(address).await?.find(|to| to.is_ipv4() == source.is_ipv4());
        let to = found.with_context(|| format!("it has no address that {source} can reach"))?;
        let socket = if to.is_ipv4() {
            TcpSocket::new_v4()
        } else {
            TcpSocket::new_v6()
        }?;
        socket
            .bind((source, 0).into())
            .with_context(|| format!("cannot use the source address {source}"))?;
        Ok(socket.connect(to).await?)
    }

    /// The first `count` addresses 127.0.0.1, 127.0.0.2, … as sources; for targets on this machine.
    ///
    /// # Errors
    /// When there are not so many (254), or the target is not on IPv4 loopback.
    pub fn loopback_sources(&self, count: u8) -> Result<Vec<IpAddr>> {
        ensure!((1..=254).contains(&count), "there can be 1 to 254 sources");
        let local = self.host == "localhost" || self.host.parse().is_ok_and(|to: std::net::Ipv4Addr| to.is_loopback());
        ensure!(local, "{}: sources 127.0.0.x reach only 127.x addresses", self.url);
        Ok((1..=count).map(|last| IpAddr::from([127, 0, 0, last])).collect())
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    #[test]
    fn urls_name_transport_host_and_port() {
        let endpoint = Endpoint::parse("ws://127.0.0.1:8080/ws", None).unwrap();
        assert_eq!((endpoint.transport, endpoint.port), (Transport::WebSocket, 8080));
        assert_eq!(Endpoint::parse("tcp://[::1]:7", None).unwrap().host, "::1");
        assert_eq!(Endpoint::parse("nats://localhost", None).unwrap().port, 4222);
        for bad in ["http://x:1", "tcp://x", "ws://", "wss://x:1", "rss://x:1", "nonsense"] {
            assert!(Endpoint::parse(bad, None).is_err(), "{bad}");
        }
        for raw in ["tls", "tcps", "rss"] {
            let endpoint = Endpoint::with_trust(&format!("{raw}://x:1"), Trust::Anybody).unwrap();
            assert!(endpoint.transport == Transport::RawSocket && endpoint.tls.is_some(), "{raw}");
        }
    }

    #[tokio::test]
    async fn a_connection_comes_from_the_source_it_was_given() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = Endpoint::parse(&format!("tcp://{}", listener.local_addr().unwrap()), None).unwrap();
        let sources = endpoint.loopback_sources(3).unwrap();
        assert_eq!(sources.len(), 3);
        for source in sources {
            let _connection = endpoint.clone().from_source(source).dial().await.unwrap();
            assert_eq!(listener.accept().await.unwrap().1.ip(), source);
        }
        assert!(endpoint.loopback_sources(0).is_err());
        assert!(
            Endpoint::parse("tcp://192.0.2.1:1", None)
                .unwrap()
                .loopback_sources(1)
                .is_err()
        );
    }

    #[tokio::test]
    async fn a_slim_wire_holds_little_and_still_reads_what_is_large() {
        let (near, mut far) = duplex(1 << 16);
        let mut wire = Wire::new(Box::new(near));
        far.write_all(b"hello").await.unwrap();
        wire.turn().await.unwrap();
        wire.consume(5);
        wire.slim();
        assert_eq!((wire.input.capacity(), wire.output.capacity()), (0, 0));
        far.write_all(&[7; 20_000]).await.unwrap();
        while wire.input().len() < 20_000 {
            wire.turn().await.unwrap();
        }
        assert!(wire.input().iter().all(|byte| *byte == 7));
    }

    #[tokio::test]
    async fn a_turn_writes_everything_and_takes_what_came_while_the_peer_reads_late() {
        let (near, mut far) = duplex(1000);
        let mut wire = Wire::new(Box::new(near));
        wire.output = vec![7; 5000];
        let peer = tokio::spawn(async move {
            far.write_all(b"first").await.unwrap();
            let mut got = vec![0; 5000];
            far.read_exact(&mut got).await.unwrap();
            far.write_all(b"second").await.unwrap();
            (got, far)
        });
        while wire.input() != b"firstsecond" {
            wire.turn().await.unwrap();
        }
        wire.consume(5);
        assert_eq!(wire.input(), b"second");
        let (got, far) = peer.await.unwrap();
        assert_eq!(got, vec![7; 5000]);
        drop(far);
        assert_eq!(wire.turn().await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
