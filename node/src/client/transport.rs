//! Frames to and from a router, over whichever transport the URL names.

use bytes::Bytes;
use futures_util::{
    SinkExt, StreamExt,
    stream::{SplitSink, SplitStream},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf},
    net::TcpStream,
};
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{
        self, ClientRequestBuilder, Utf8Bytes,
        protocol::{Message as WsMessage, WebSocketConfig},
    },
};

use super::{
    Error, Options, Outgoing,
    rawsocket::{self, Frames, Kind},
    tls,
};
use crate::wamp::Serializer;

/// The most a router may send in one message, and the most that is sent over WebSocket.
pub(super) const MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A byte stream, encrypted or not. Visible only because it is inside [`Reader`] and [`Writer`].
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}
pub(super) type Wire = Box<dyn Stream>;

/// Frames from the router.
pub(super) enum Reader {
    WebSocket(SplitStream<WebSocketStream<Wire>>),
    RawSocket(Frames<ReadHalf<Wire>>),
}

/// Frames to the router.
pub(super) enum Writer {
    WebSocket {
        sink: SplitSink<WebSocketStream<Wire>, WsMessage>,
        text: bool,
    },
    RawSocket {
        stream: WriteHalf<Wire>,
        buffer: Vec<u8>,
    },
}

/// A frame from the router.
pub(super) enum Incoming {
    Message(Bytes),
    Ping(Bytes),
}

/// A connection whose transport handshake is done.
pub(super) struct Connection {
    pub(super) reader: Reader,
    pub(super) writer: Writer,
    /// Bytes that the router takes in one message.
    pub(super) message_bytes_max: usize,
}

/// Connects to the router and agrees on the serializer.
pub(super) async fn connect(options: &Options) -> Result<Connection, Error> {
    let url = &options.url;
    let connect_error = |error: std::io::Error| Error::Connect {
        address: url.authority(),
        why: error.to_string(),
    };
    let stream = TcpStream::connect((url.host.as_str(), url.port))
        .await
        .map_err(connect_error)?;
    stream.set_nodelay(true).map_err(connect_error)?;
    let mut wire: Wire = if url.scheme.is_tls() {
        Box::new(tls::connect(stream, url, &options.trust).await?)
    } else {
        Box::new(stream)
    };
    if url.scheme.is_websocket() {
        return websocket(wire, options).await;
    }
    let message_bytes_max = rawsocket::handshake(&mut wire, options.serializer, &url.authority()).await?;
    let (reader, writer) = tokio::io::split(wire);
    let writer = Writer::RawSocket {
        stream: writer,
        buffer: Vec::new(),
    };
    Ok(Connection {
        reader: Reader::RawSocket(Frames::new(reader)),
        writer,
        message_bytes_max,
    })
}

async fn websocket(wire: Wire, options: &Options) -> Result<Connection, Error> {
    let address = options.url.authority();
    let protocol = match options.serializer {
        Serializer::Json => "wamp.2.json",
        Serializer::MsgPack => "wamp.2.msgpack",
        Serializer::Cbor => "wamp.2.cbor",
    };
    let uri = options.url.as_str().parse().map_err(|_| Error::Url {
        url: options.url.to_string(),
        why: "not readable",
    })?;
    let request = ClientRequestBuilder::new(uri).with_sub_protocol(protocol);
    let limit = Some(MESSAGE_BYTES_MAX);
    let config = WebSocketConfig::default().max_message_size(limit).max_frame_size(limit);
    let (stream, response) = client_async_with_config(request, wire, Some(config)).await.map_err(|error| {
        let why = match error {
            tungstenite::Error::Http(response) => format!("it answered {}", response.status()),
            tungstenite::Error::Protocol(tungstenite::error::ProtocolError::SecWebSocketSubProtocolError(_)) => {
                format!("it does not speak {protocol}")
            }
            error => error.to_string(),
        };
        Error::Handshake {
            address: address.clone(),
            why,
        }
    })?;
    let chosen = response
        .headers()
        .get("sec-websocket-protocol")
        .and_then(|value| value.to_str().ok());
    if chosen != Some(protocol) {
        return Err(Error::Handshake {
            address,
            why: format!("it does not speak {protocol}"),
        });
    }
    let (sink, stream) = stream.split();
    let writer = Writer::WebSocket {
        sink,
        text: options.serializer == Serializer::Json,
    };
    Ok(Connection {
        reader: Reader::WebSocket(stream),
        writer,
        message_bytes_max: MESSAGE_BYTES_MAX,
    })
}

impl Reader {
    /// The next frame; `None` when the router has closed the connection in good order. Safe to drop while it waits.
    pub(super) async fn next(&mut self) -> Result<Option<Incoming>, Error> {
        match self {
            Reader::WebSocket(stream) => loop {
                return match stream.next().await {
                    Some(Ok(WsMessage::Text(text))) => Ok(Some(Incoming::Message(text.into()))),
                    Some(Ok(WsMessage::Binary(bytes))) => Ok(Some(Incoming::Message(bytes))),
                    // tungstenite answers pings and echoes the close frame by itself.
                    Some(Ok(WsMessage::Ping(_) | WsMessage::Pong(_) | WsMessage::Close(_) | WsMessage::Frame(_))) => continue,
                    Some(Err(tungstenite::Error::ConnectionClosed)) | None => Ok(None),
                    Some(Err(error)) => Err(Error::Closed { why: error.to_string() }),
                };
            },
            Reader::RawSocket(frames) => loop {
                return match frames.next().await? {
                    Some((Kind::Message, frame)) => Ok(Some(Incoming::Message(frame))),
                    Some((Kind::Ping, payload)) => Ok(Some(Incoming::Ping(payload))),
                    Some((Kind::Pong, _)) => continue,
                    None => Ok(None),
                };
            },
        }
    }
}

impl Writer {
    /// Takes a frame; it may wait until [`Writer::flush`].
    pub(super) async fn feed(&mut self, outgoing: Outgoing) -> Result<(), Error> {
        match self {
            Writer::WebSocket { sink, text } => {
                let message = match outgoing {
                    Outgoing::Message(frame) if *text => {
                        let text = Utf8Bytes::try_from(Bytes::from(frame));
                        WsMessage::Text(text.map_err(|_| Error::Encode {
                            why: "JSON that is no UTF-8".to_owned(),
                        })?)
                    }
                    Outgoing::Message(frame) => WsMessage::Binary(frame.into()),
                    Outgoing::Pong(payload) => WsMessage::Pong(payload),
                    Outgoing::Close => WsMessage::Close(None),
                };
                sink.feed(message)
                    .await
                    .map_err(|error| Error::Closed { why: error.to_string() })
            }
            Writer::RawSocket { stream, buffer } => {
                match outgoing {
                    Outgoing::Message(frame) => rawsocket::append(buffer, Kind::Message, &frame),
                    Outgoing::Pong(payload) => rawsocket::append(buffer, Kind::Pong, &payload),
                    Outgoing::Close => {}
                }
                if buffer.len() >= FLUSH_BYTES {
                    write(stream, buffer).await
                } else {
                    Ok(())
                }
            }
        }
    }

    /// Sends what was taken.
    pub(super) async fn flush(&mut self) -> Result<(), Error> {
        match self {
            Writer::WebSocket { sink, .. } => sink.flush().await.map_err(|error| Error::Closed { why: error.to_string() }),
            Writer::RawSocket { stream, buffer } => write(stream, buffer).await,
        }
    }

    /// Closes the sending side.
    pub(super) async fn close(&mut self) {
        // The connection is over either way.
        match self {
            Writer::WebSocket { sink, .. } => drop(sink.close().await),
            Writer::RawSocket { stream, .. } => drop(stream.shutdown().await),
        }
    }
}

/// Frames are gathered up to this size before they are written.
const FLUSH_BYTES: usize = 64 * 1024;

async fn write(stream: &mut WriteHalf<Wire>, buffer: &mut Vec<u8>) -> Result<(), Error> {
    let written = async {
        stream.write_all(buffer).await?;
        stream.flush().await
    };
    written.await.map_err(|error| Error::Closed { why: error.to_string() })?;
    buffer.clear();
    buffer.shrink_to(FLUSH_BYTES);
    Ok(())
}
