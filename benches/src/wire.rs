//! A client's connection as bytes: one socket, an input and an output buffer, and one place that waits.
//!
//! The load client is meant to cost little beside the router it measures: everything that is to be sent is gathered and written
//! with one call per turn, and one read takes what has come. Both directions move in the same wait, so a peer that stops reading
//! until we read cannot deadlock us.

use std::{
    future::poll_fn,
    io,
    path::Path,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use anyhow::{Context as _, Result, bail};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::{
    TlsConnector,
    rustls::{
        ClientConfig, RootCertStore,
        pki_types::{CertificateDer, ServerName, pem::PemObject},
    },
};
use tokio_tungstenite::tungstenite::http::Uri;

/// What a connection runs on: plain TCP or TLS.
pub trait Io: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

/// Room made for each read; what a busy router sends between two turns of a client.
const READ_ROOM: usize = 64 * 1024;

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
        } else if self.input.len() - self.unread.end < READ_ROOM {
            self.input.copy_within(self.unread.clone(), 0);
            self.unread = 0..self.unread.len();
        }
        if self.input.len() - self.unread.end < READ_ROOM {
            self.input.resize((self.unread.end + READ_ROOM).max(2 * self.unread.end), 0);
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
    /// `tcp://`, `tls://`
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
}

impl Endpoint {
    /// Reads a URL; `ca` is the PEM file of the certificate authority that `wss://` and `tls://` are checked against.
    ///
    /// # Errors
    /// When the URL is not one of the known schemes with host and port, or the file cannot be used.
    pub fn parse(url: &str, ca: Option<&Path>) -> Result<Self> {
        let parsed: Uri = url.parse().with_context(|| format!("{url} is not a URL"))?;
        let (transport, secure, default_port) = match parsed.scheme_str() {
            Some("ws") => (Transport::WebSocket, false, Some(80)),
            Some("wss") => (Transport::WebSocket, true, Some(443)),
            Some("tcp") => (Transport::RawSocket, false, None),
            Some("tls") => (Transport::RawSocket, true, None),
            Some("nats") => (Transport::Nats, false, Some(4222)),
            _ => bail!("{url}: the scheme must be ws, wss, tcp, tls (RawSocket) or nats"),
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
        let tls = match (secure, ca) {
            (false, _) => None,
            (true, None) => bail!("{url} needs --ca FILE, the certificate authority to trust"),
            (true, Some(file)) => Some(trust(file)?),
        };
        Ok(Self {
            url: parsed,
            transport,
            tls,
            host,
            port,
        })
    }

    /// Opens the socket, and TLS when the scheme asks for it.
    ///
    /// # Errors
    /// When the address cannot be reached or TLS fails.
    pub async fn dial(&self) -> Result<Box<dyn Io>> {
        let address = (self.host.as_str(), self.port);
        let tcp = TcpStream::connect(address)
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
}

fn trust(file: &Path) -> Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    let certificates = CertificateDer::pem_file_iter(file).with_context(|| format!("cannot read {}", file.display()))?;
    for certificate in certificates {
        roots.add(certificate.with_context(|| format!("{} holds no certificate", file.display()))?)?;
    }
    Ok(Arc::new(
        ClientConfig::builder().with_root_certificates(roots).with_no_client_auth(),
    ))
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
        for bad in ["http://x:1", "tcp://x", "ws://", "wss://x:1", "nonsense"] {
            assert!(Endpoint::parse(bad, None).is_err(), "{bad}");
        }
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
