//! Plain HTTP on the public port: reading a request's head, and the pages an ordinary web server would serve.
//!
//! The WebSocket endpoint is one path among others: whoever asks for it without upgrading gets the same 404 as for a page that
//! does not exist.

use std::{
    convert::Infallible,
    io,
    mem::MaybeUninit,
    pin::Pin,
    sync::Arc,
    task::{Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};

use super::{
    io::{Rewound, Stream},
    longpoll::{LongPoll, Stay},
};
use crate::session::auth::PeerFacts;

/// What a listener serves to browsers.
pub trait Pages: Send + Sync + 'static {
    /// The content type and content of the page at `path` (it begins with `/`, has no query, is percent-encoded as it came).
    fn get(&self, path: &str) -> Option<(String, Bytes)>;
}

/// No page at all.
#[derive(Clone, Copy, Debug)]
pub struct NoPages;

impl Pages for NoPages {
    fn get(&self, _path: &str) -> Option<(String, Bytes)> {
        None
    }
}

/// The head of the first request on a connection.
#[derive(Clone, Debug)]
pub struct Head {
    /// The method.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// 1 for HTTP/1.1.
    pub minor_version: u8,
    /// The header fields; of equal names all are kept.
    pub fields: HeaderMap,
    /// How long the head is.
    pub bytes: usize,
}

/// Why a head cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadHead {
    /// It is no HTTP/1.
    Malformed,
    /// It is longer than the server takes, or has too many fields.
    TooLong,
}

const FIELDS_MAX: usize = 64;

impl Head {
    /// The head at the beginning of `bytes`, of at most `bytes_max`; `None` while it is not complete.
    ///
    /// # Errors
    /// It will never be a head this server takes.
    pub fn parse(bytes: &[u8], bytes_max: usize) -> Result<Option<Self>, BadHead> {
        let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
        let mut request = httparse::Request::new(&mut fields);
        let len = match request.parse(bytes) {
            Ok(httparse::Status::Complete(len)) if len <= bytes_max => len,
            Ok(httparse::Status::Complete(_)) | Err(httparse::Error::TooManyHeaders) => return Err(BadHead::TooLong),
            Ok(httparse::Status::Partial) if bytes.len() < bytes_max => return Ok(None),
            Ok(httparse::Status::Partial) => return Err(BadHead::TooLong),
            Err(_) => return Err(BadHead::Malformed),
        };
        let (Some(method), Some(target), Some(minor_version)) = (request.method, request.path, request.version) else {
            return Err(BadHead::Malformed);
        };
        let mut map = HeaderMap::with_capacity(request.headers.len());
        for field in request.headers.iter() {
            let name = header::HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| BadHead::Malformed)?;
            let value = HeaderValue::from_bytes(field.value).map_err(|_| BadHead::Malformed)?;
            map.append(name, value);
        }
        Ok(Some(Self {
            method: method.to_owned(),
            target: target.to_owned(),
            minor_version,
            fields: map,
            bytes: len,
        }))
    }

    /// The path without the query.
    pub fn path(&self) -> &str {
        path_of(&self.target)
    }

    /// The only value of a field, if it is text.
    pub fn field(&self, name: header::HeaderName) -> Option<&str> {
        self.fields.get(name).and_then(|value| value.to_str().ok())
    }

    /// True if one of the comma-separated values of the field is `token`, whatever its case.
    pub fn has_token(&self, name: header::HeaderName, token: &str) -> bool {
        self.list(name).any(|value| value.eq_ignore_ascii_case(token))
    }

    /// The comma-separated values of all fields of that name.
    pub fn list(&self, name: header::HeaderName) -> impl Iterator<Item = &str> {
        let values = self.fields.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
        values
            .flat_map(|value| value.split(','))
            .map(str::trim)
            .filter(|value| !value.is_empty())
    }
}

fn path_of(target: &str) -> &str {
    target.split(['?', '#']).next().unwrap_or_default()
}

/// Reads until the first head, of at most `bytes_max`, is complete; `ahead` holds what was read, the head and whatever followed it. What
/// is read at a time is what has come, so that a head sent byte by byte costs its bytes only.
///
/// # Errors
/// The connection ended (inner: the head is none).
pub async fn read_head(stream: &mut Stream, ahead: &mut Vec<u8>, bytes_max: usize) -> io::Result<Result<Head, BadHead>> {
    loop {
        match Head::parse(ahead, bytes_max) {
            Ok(Some(head)) => return Ok(Ok(head)),
            Err(bad) => return Ok(Err(bad)),
            Ok(None) => {}
        }
        let len = std::future::poll_fn(|cx| {
            // On the stack of the thread, not in the future, which waits most of the time.
            let mut piece = [MaybeUninit::uninit(); PIECE_BYTES_MAX];
            let mut piece = ReadBuf::uninit(&mut piece);
            ready!(Pin::new(&mut *stream).poll_read(cx, &mut piece))?;
            let len = piece.filled().len();
            if ahead.capacity() - ahead.len() < len {
                // Not twice as much as there is: the rest may never come.
                ahead.reserve_exact(len.max(LATER_BYTES));
            }
            ahead.extend_from_slice(piece.filled());
            Poll::Ready(io::Result::Ok(piece.filled().len()))
        });
        if len.await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// How much of a head is read at a time.
const PIECE_BYTES_MAX: usize = 4096;
/// For how much more there is room at least, so that what comes byte by byte is not copied with each.
const LATER_BYTES: usize = 256;

/// Answers with a status and no more, and closes.
///
/// # Errors
/// The connection ended.
pub async fn refuse(stream: &mut Stream, status: StatusCode, extra: &str) -> io::Result<()> {
    let reason = status.canonical_reason().unwrap_or("Refused");
    let text = format!(
        "HTTP/1.1 {} {reason}\r\n{extra}Content-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{reason}\n",
        status.as_u16(),
        reason.len() + 1
    );
    stream.write_all(text.as_bytes()).await?;
    stream.shutdown().await
}

/// How long one connection may fetch pages (one that polls, longer), and how long it may take for one request's head.
const PAGES_TIMEOUT: Duration = Duration::from_secs(60);
const PAGE_HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// What hyper keeps of a request at most; it takes no less.
const PAGE_BUFFER_BYTES: usize = 8 * 1024;

/// Serves pages to a browser, and long-poll where there is any; what was read of its first request is in `ahead`.
pub async fn serve(stream: Stream, ahead: Vec<u8>, pages: Arc<dyn Pages>, longpoll: Option<Arc<LongPoll>>, peer: Arc<PeerFacts>) {
    let io = TokioIo::new(Rewound { ahead, at: 0, stream });
    let stay = Arc::new(Stay::new(PAGES_TIMEOUT));
    let until = stay.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        let (pages, longpoll, peer, stay) = (pages.clone(), longpoll.clone(), peer.clone(), stay.clone());
        async move {
            let path = request.uri().path().to_owned();
            Ok::<_, Infallible>(match longpoll.as_ref().and_then(|of| Some((of, of.route(&path)?))) {
                Some((longpoll, route)) => longpoll.answer(route, request, &peer, &stay).await,
                None => page(&*pages, &request),
            })
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PAGE_HEAD_TIMEOUT)
        .max_buf_size(PAGE_BUFFER_BYTES)
        // Else a page would be copied into a buffer that the connection keeps.
        .writev(true)
        .serve_connection(io, service);
    let mut connection = std::pin::pin!(connection);
    // A browser that leaves, breaks HTTP or takes too long is not our concern.
    loop {
        let limit = until.until();
        if tokio::time::timeout_at(limit, &mut connection).await.is_ok() || until.until() <= limit {
            return;
        }
    }
}

fn page(pages: &dyn Pages, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let (status, content_type, content) = match *request.method() {
        Method::GET | Method::HEAD => match pages.get(request.uri().path()) {
            Some((content_type, content)) => (StatusCode::OK, content_type, content),
            None => plain(StatusCode::NOT_FOUND),
        },
        _ => plain(StatusCode::METHOD_NOT_ALLOWED),
    };
    let content_type = HeaderValue::from_str(&content_type).unwrap_or(HeaderValue::from_static("application/octet-stream"));
    let mut response = Response::new(Full::new(content));
    *response.status_mut() = status;
    let fields = response.headers_mut();
    fields.insert(header::CONTENT_TYPE, content_type);
    fields.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if status == StatusCode::METHOD_NOT_ALLOWED {
        fields.insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        fields.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

fn plain(status: StatusCode) -> (StatusCode, String, Bytes) {
    let text = status.canonical_reason().unwrap_or_default();
    (status, "text/plain".to_owned(), Bytes::from(format!("{text}\n")))
}

#[cfg(test)]
#[path = "http_tests.rs"]
mod tests;
