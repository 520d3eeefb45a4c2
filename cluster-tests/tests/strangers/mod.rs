//! Connections that never become sessions, written to the byte.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::{sleep, timeout},
};
use tokio_rustls::{
    TlsConnector,
    rustls::{
        ClientConfig, DigitallySignedStruct, Error, SignatureScheme,
        client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        crypto::ring,
        pki_types::{CertificateDer, ServerName, UnixTime},
    },
};

/// How a connection goes about not becoming a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Says nothing.
    Silent,
    /// Sends an upgrade byte by byte.
    UpgradeTrickled,
    /// Sends header fields without end.
    EndlessHead,
    /// Sends the handshake of RawSocket byte by byte.
    RawSocketTrickled,
    /// Opens a WebSocket and says no HELLO.
    WebSocketSilent,
    /// Opens a RawSocket and says no HELLO.
    RawSocketSilent,
    /// Sends a HELLO as long as it may be, but for its last byte, over a WebSocket.
    WebSocketHelloUnfinished,
    /// The same over a RawSocket.
    RawSocketHelloUnfinished,
    /// Sends a HELLO that announces as much as it may, and leaves the CHALLENGE unanswered.
    ChallengeUnanswered,
    /// Fetches a page and begins another request.
    PageThenSilent,
    /// Says nothing on a port with TLS.
    TlsSilent,
    /// Sends a ClientHello byte by byte.
    ClientHelloTrickled,
    /// Sends a ClientHello without end.
    ClientHelloEndless,
    /// Sends a ClientHello and does not answer the server's.
    TlsHalfOpen,
    /// Finishes the handshake of TLS and says nothing.
    TlsThenSilent,
    /// Opens a RawSocket over TLS and says no HELLO.
    TlsRawSocketSilent,
    /// Sends a HELLO as long as it may be, but for its last byte, over TLS.
    TlsHelloUnfinished,
    /// Sends header fields without end, over TLS.
    TlsEndlessHead,
    /// Finishes the handshake of TLS and sends a record as long as it may be, but for its last byte.
    TlsRecordUnfinished,
}

impl Kind {
    /// All of them.
    pub(crate) const ALL: [Kind; 19] = [
        Kind::Silent,
        Kind::UpgradeTrickled,
        Kind::EndlessHead,
        Kind::RawSocketTrickled,
        Kind::WebSocketSilent,
        Kind::RawSocketSilent,
        Kind::WebSocketHelloUnfinished,
        Kind::RawSocketHelloUnfinished,
        Kind::ChallengeUnanswered,
        Kind::PageThenSilent,
        Kind::TlsSilent,
        Kind::ClientHelloTrickled,
        Kind::ClientHelloEndless,
        Kind::TlsHalfOpen,
        Kind::TlsThenSilent,
        Kind::TlsRawSocketSilent,
        Kind::TlsHelloUnfinished,
        Kind::TlsEndlessHead,
        Kind::TlsRecordUnfinished,
    ];

    /// True if it goes to the port with TLS.
    pub(crate) fn is_tls(self) -> bool {
        matches!(
            self,
            Kind::TlsSilent
                | Kind::ClientHelloTrickled
                | Kind::ClientHelloEndless
                | Kind::TlsHalfOpen
                | Kind::TlsThenSilent
                | Kind::TlsRawSocketSilent
                | Kind::TlsHelloUnfinished
                | Kind::TlsEndlessHead
                | Kind::TlsRecordUnfinished
        )
    }
}

trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// A connection that has said all it says at once.
pub(crate) struct Stranger {
    stream: Box<dyn Duplex>,
    trickle: Vec<u8>,
    since: Instant,
}

/// The longest HELLO a node takes; what is cut off it is the last byte.
const HELLO_BYTES: usize = 4 * 1024;
const UPGRADE: &str = "GET /ws HTTP/1.1\r\nHost: here\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: wamp.2.json\r\n";
/// RawSocket, the longest messages, JSON.
const RAWSOCKET: [u8; 4] = [0x7F, 0xF1, 0, 0];
/// Between two bytes of who sends byte by byte.
const TRICKLE: Duration = Duration::from_millis(400);

impl Stranger {
    /// Connects and says what is said at once.
    pub(crate) async fn open(kind: Kind, port: u16) -> Result<Self> {
        let since = Instant::now();
        let mut socket = connect(port).await?;
        let mut trickle = Vec::new();
        match kind {
            Kind::Silent | Kind::TlsSilent => {}
            Kind::UpgradeTrickled => trickle = UPGRADE.as_bytes().to_vec(),
            Kind::EndlessHead => {
                socket.write_all(&endless_head()).await?;
                trickle = vec![b'x'; 50];
            }
            Kind::RawSocketTrickled => {
                socket.write_all(&RAWSOCKET[..1]).await?;
                trickle = RAWSOCKET[1..3].to_vec();
            }
            Kind::WebSocketSilent => upgrade(&mut socket).await?,
            Kind::WebSocketHelloUnfinished => {
                upgrade(&mut socket).await?;
                socket.write_all(&unfinished_frame()).await?;
            }
            Kind::RawSocketSilent => rawsocket(&mut socket).await?,
            Kind::RawSocketHelloUnfinished => {
                rawsocket(&mut socket).await?;
                socket.write_all(&unfinished()).await?;
            }
            Kind::ChallengeUnanswered => {
                rawsocket(&mut socket).await?;
                let features: Vec<String> = (0..120).map(|at| format!("\"{at:x<20}\":true")).collect();
                let text = hello(&features);
                let len = u32::try_from(text.len())?;
                socket.write_all(&len.to_be_bytes()).await?;
                socket.write_all(text.as_bytes()).await?;
            }
            Kind::PageThenSilent => {
                socket.write_all(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n").await?;
                let mut some = [0; 64];
                timeout(Duration::from_secs(10), socket.read(&mut some)).await??;
                socket.write_all(b"GET / HTTP/1.1\r\n").await?;
            }
            Kind::ClientHelloTrickled => trickle = client_hello(0),
            Kind::ClientHelloEndless => {
                let hello = client_hello(60_000);
                // As much as is taken; from here on one byte after the other.
                let (at_once, rest) = hello.split_at(HELLO_BYTES - 64);
                socket.write_all(at_once).await?;
                trickle = rest[..60].to_vec();
            }
            Kind::TlsHalfOpen => socket.write_all(&client_hello(0)).await?,
            Kind::TlsThenSilent
            | Kind::TlsRawSocketSilent
            | Kind::TlsHelloUnfinished
            | Kind::TlsEndlessHead
            | Kind::TlsRecordUnfinished => {
                let mut stream = encrypted(socket).await?;
                if kind == Kind::TlsRecordUnfinished {
                    stream.get_mut().0.write_all(&unfinished_record(HELLO_BYTES)).await?;
                } else if kind == Kind::TlsEndlessHead {
                    stream.write_all(&endless_head()).await?;
                    stream.flush().await?;
                    trickle = vec![b'x'; 50];
                } else if kind != Kind::TlsThenSilent {
                    rawsocket(&mut stream).await?;
                }
                if kind == Kind::TlsHelloUnfinished {
                    stream.write_all(&unfinished()).await?;
                    stream.flush().await?;
                }
                return Ok(Self {
                    stream: Box::new(stream),
                    trickle,
                    since,
                });
            }
        }
        Ok(Self {
            stream: Box::new(socket),
            trickle,
            since,
        })
    }

    /// Goes on, byte by byte where that is its kind, until the node closes; how long after the connection that was.
    pub(crate) async fn stay(mut self) -> Result<Duration> {
        let (mut reader, mut writer) = tokio::io::split(self.stream);
        let trickle = std::mem::take(&mut self.trickle);
        let trickling = tokio::spawn(async move {
            for byte in trickle {
                sleep(TRICKLE).await;
                if writer.write_all(&[byte]).await.is_err() || writer.flush().await.is_err() {
                    break;
                }
            }
            // Dropping it would not close the socket, of which the reader has the other half; it stays all the same.
            std::future::pending::<()>().await;
        });
        let closed = timeout(Duration::from_secs(120), async {
            let mut buffer = vec![0; 512];
            while let Ok(1..) = reader.read(&mut buffer).await {}
        });
        closed.await.context("not closed within two minutes")?;
        trickling.abort();
        Ok(self.since.elapsed())
    }
}

/// HELLO with these features of a caller, each as a member of JSON, for a principal that has to prove itself.
fn hello(features: &[String]) -> String {
    format!(
        "[1,\"realm1\",{{\"authmethods\":[\"ticket\"],\"authid\":\"lamp\",\"roles\":{{\"caller\":{{\"features\":{{{}}}}}}}}}]",
        features.join(",")
    )
}

/// Beginnings that no node should read to their end, by what they are.
pub(crate) fn outrageous() -> Vec<(&'static str, Vec<u8>)> {
    let with = |head: &[u8], rest: Vec<u8>| [head, &rest[..]].concat();
    let upgrade = format!("{UPGRADE}\r\n");
    let mut nested = RAWSOCKET.to_vec();
    nested.extend(100_000_u32.to_be_bytes());
    let mut shallow = RAWSOCKET.to_vec();
    shallow.extend(4_000_u32.to_be_bytes());
    let mut whole = RAWSOCKET.to_vec();
    whole.extend(0x00FF_FFFF_u32.to_be_bytes());
    let mut frame = vec![0x81, 0xFF];
    frame.extend((64_u64 << 20).to_be_bytes());
    frame.extend([0; 4]);
    vec![
        ("a WebSocket frame of 64 MB", with(upgrade.as_bytes(), frame)),
        ("a RawSocket frame of 16 MB", whole),
        ("100,000 nested lists", with(&nested, vec![b'['; 100_000])),
        ("4,000 nested lists", with(&shallow, vec![b'['; 4_000])),
        ("header fields without end", with(UPGRADE.as_bytes(), b"X-Filler: ".to_vec())),
    ]
}

/// Sends `bytes` and then whatever it takes, up to `most`; how much the node's side has taken when it closes.
pub(crate) async fn pour(port: u16, bytes: Vec<u8>, most: usize) -> Result<usize> {
    let socket = connect(port).await?;
    let (mut reader, mut writer) = socket.into_split();
    let reading = tokio::spawn(async move {
        let mut buffer = [0; 512];
        while let Ok(1..) = reader.read(&mut buffer).await {}
    });
    let taken = timeout(Duration::from_secs(60), async move {
        let mut taken = 0;
        if writer.write_all(&bytes).await.is_ok() {
            taken += bytes.len();
            let piece = vec![b'x'; 64 * 1024];
            while taken < most {
                match writer.write(&piece).await {
                    Ok(len) => taken += len,
                    Err(_) => break,
                }
            }
        }
        taken
    });
    let taken = taken.await.context("neither taken nor closed")?;
    timeout(Duration::from_secs(30), reading).await.context("not closed")??;
    Ok(taken)
}

async fn connect(port: u16) -> Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    let address = ([127, 0, 0, 1], port).into();
    Ok(timeout(Duration::from_secs(20), socket.connect(address)).await??)
}

async fn upgrade(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> Result<()> {
    stream.write_all(format!("{UPGRADE}\r\n").as_bytes()).await?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        let byte = timeout(Duration::from_secs(20), stream.read_u8()).await??;
        answer.push(byte);
    }
    ensure!(answer.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&answer));
    Ok(())
}

async fn rawsocket(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> Result<()> {
    stream.write_all(&RAWSOCKET).await?;
    stream.flush().await?;
    let mut answer = [0; 4];
    timeout(Duration::from_secs(20), stream.read_exact(&mut answer)).await??;
    ensure!(answer[0] == 0x7F && answer[1] & 0x0F == 1, "{answer:?}");
    Ok(())
}

/// As much of a head as is taken, but for a few bytes.
fn endless_head() -> Vec<u8> {
    let rest = HELLO_BYTES - UPGRADE.len() - 64;
    format!("{UPGRADE}X-Filler: {}", "x".repeat(rest)).into_bytes()
}

/// A RawSocket frame of the longest HELLO, but for its last byte.
fn unfinished() -> Vec<u8> {
    let mut bytes = u32::try_from(HELLO_BYTES).unwrap_or_default().to_be_bytes().to_vec();
    bytes.extend(vec![b'['; HELLO_BYTES - 1]);
    bytes
}

/// A record of TLS of that length, but for its last byte. What is in it nobody will ever try to read.
fn unfinished_record(len: usize) -> Vec<u8> {
    let mut bytes = vec![0x17, 3, 3];
    bytes.extend(u16::try_from(len).unwrap_or(u16::MAX).to_be_bytes());
    bytes.extend(vec![b'x'; len - 1]);
    bytes
}

/// How long a connection lasts that sends a record of TLS longer than anything to be said before a session.
pub(crate) async fn record_too_long(port: u16) -> Result<Duration> {
    let mut stream = encrypted(connect(port).await?).await?;
    let begun = Instant::now();
    // Nothing of it is taken, so that not all of it may find room.
    let written = stream.get_mut().0.write_all(&unfinished_record(16_000)).await;
    let mut some = [0; 64];
    let closed = timeout(Duration::from_secs(60), stream.read(&mut some)).await?;
    ensure!(written.is_err() || !matches!(closed, Ok(1..)), "answered");
    Ok(begun.elapsed())
}

/// The same as a WebSocket frame.
fn unfinished_frame() -> Vec<u8> {
    let mut bytes = vec![0x81, 0xFE];
    bytes.extend(u16::try_from(HELLO_BYTES).unwrap_or_default().to_be_bytes());
    bytes.extend([0; 4]);
    bytes.extend(vec![b'['; HELLO_BYTES - 1]);
    bytes
}

/// A ClientHello of TLS 1.3, with so many bytes of padding, in records.
fn client_hello(padding: usize) -> Vec<u8> {
    let extension = |kind: u16, body: &[u8]| {
        let mut bytes = kind.to_be_bytes().to_vec();
        bytes.extend((body.len() as u16).to_be_bytes());
        bytes.extend_from_slice(body);
        bytes
    };
    let mut extensions = Vec::new();
    extensions.extend(extension(43, &[2, 3, 4]));
    extensions.extend(extension(10, &[0, 2, 0, 29]));
    extensions.extend(extension(13, &[0, 6, 4, 3, 8, 4, 8, 7]));
    let mut share = vec![0, 36, 0, 29, 0, 32];
    share.extend([9; 32]);
    extensions.extend(extension(51, &share));
    if padding > 0 {
        extensions.extend(extension(21, &vec![0; padding]));
    }
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.extend([0, 0, 2, 0x13, 0x01, 1, 0]);
    body.extend((extensions.len() as u16).to_be_bytes());
    body.extend(extensions);
    let mut message = vec![1];
    message.extend(&(body.len() as u32).to_be_bytes()[1..]);
    message.extend(body);
    let mut records = Vec::new();
    for piece in message.chunks(16_384) {
        records.extend([22, 3, 1]);
        records.extend((piece.len() as u16).to_be_bytes());
        records.extend(piece);
    }
    records
}

async fn encrypted(socket: TcpStream) -> Result<tokio_rustls::client::TlsStream<TcpStream>> {
    static CONFIG: std::sync::OnceLock<Arc<ClientConfig>> = std::sync::OnceLock::new();
    let config = CONFIG.get_or_init(|| {
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions");
        Arc::new(
            builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(Anyone))
                .with_no_client_auth(),
        )
    });
    let name = ServerName::try_from("localhost")?;
    Ok(timeout(
        Duration::from_secs(60),
        TlsConnector::from(config.clone()).connect(name, socket),
    )
    .await??)
}

/// Believes every server: who it is is not what these tests are about.
#[derive(Debug)]
struct Anyone;

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ring::default_provider().signature_verification_algorithms.supported_schemes()
    }
}
