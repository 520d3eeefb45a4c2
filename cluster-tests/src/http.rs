//! A GET over plain HTTP/1.1, enough for the status pages of a node.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// Longest wait for one answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// Largest answer read.
const BODY_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Fetches `url` (`http://host:port/path`) and returns status code and body.
///
/// # Errors
/// If nobody answers in time or the answer is not HTTP/1.1.
pub async fn get(url: &str) -> Result<(u16, String)> {
    timeout(PATIENCE, fetch(url))
        .await
        .with_context(|| format!("{url}: no answer within {PATIENCE:?}"))?
}

/// Fetches a JSON document.
///
/// # Errors
/// If the status is not 200 or the body is not JSON.
pub async fn get_json(url: &str) -> Result<Value> {
    let (status, body) = get(url).await?;
    if status != 200 {
        bail!("{url}: status {status}: {body}");
    }
    serde_json::from_str(&body).with_context(|| format!("{url}: not JSON: {body}"))
}

async fn fetch(url: &str) -> Result<(u16, String)> {
    let rest = url
        .strip_prefix("http://")
        .with_context(|| format!("not an http URL: {url}"))?;
    let (host, path) = match rest.split_once('/') {
        Some((host, path)) => (host, format!("/{path}")),
        None => (rest, "/".to_owned()),
    };
    let mut stream = TcpStream::connect(host).await.with_context(|| format!("connect to {host}"))?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nAccept: */*\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(BODY_BYTES_MAX).read_to_end(&mut answer).await?;
    let text = String::from_utf8_lossy(&answer);
    let (head, body) = text
        .split_once("\r\n\r\n")
        .with_context(|| format!("{url}: no end of headers"))?;
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .with_context(|| format!("{url}: {head}"))?;
    let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    Ok((
        status,
        if chunked {
            unchunk(body).context("chunked body")?
        } else {
            body.to_owned()
        },
    ))
}

/// Joins the chunks of a chunked body.
fn unchunk(mut body: &str) -> Result<String> {
    let mut joined = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size.split(';').next().unwrap_or_default().trim(), 16)?;
        if size == 0 {
            return Ok(joined);
        }
        joined.push_str(rest.get(..size).context("chunk cut short")?);
        body = rest.get(size + 2..).context("chunk without its end")?;
    }
    bail!("no last chunk")
}
