//! `ringfort healthcheck`: for container images that have no curl.

use std::time::Duration;

use clap::Args;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{Failure, print_line, small_runtime};

/// Ask a node whether it is ready: exit code 0 if it answers 200, else 1.
#[derive(Debug, Args)]
pub(super) struct Healthcheck {
    /// What to ask, plain http.
    #[arg(long, default_value = "http://127.0.0.1:7500/readyz")]
    url: String,
    /// Seconds to wait for the answer.
    #[arg(long, default_value_t = 3, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=300))]
    timeout: u64,
}

/// The status line stands at the very beginning; this is far more than it needs.
const HEAD_BYTES_MAX: u64 = 4096;

impl Healthcheck {
    pub(super) fn run(self) -> Result<(), Failure> {
        let deadline = Duration::from_secs(self.timeout);
        let asked = async { tokio::time::timeout(deadline, status(&self.url)).await };
        let status = small_runtime()?.block_on(asked);
        match status.unwrap_or_else(|_| Err(Failure::new(format!("{}: no answer within {} s", self.url, self.timeout))))? {
            200 => print_line("ready"),
            status => Err(Failure::new(format!("{}: not ready, it answered {status}", self.url))),
        }
    }
}

/// The HTTP status that `url` is answered with.
async fn status(url: &str) -> Result<u16, Failure> {
    let failure = |why: &dyn std::fmt::Display| Failure::new(format!("{url}: {why}"));
    let uri: http::Uri = url.parse().map_err(|error| failure(&error))?;
    let (Some("http"), Some(host)) = (uri.scheme_str(), uri.host()) else {
        return Err(Failure {
            code: 2,
            text: format!("{url}: a URL such as http://127.0.0.1:7500/readyz is wanted"),
        });
    };
    let port = uri.port_u16().unwrap_or(80);
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n");
    let bare_host = host.trim_start_matches('[').trim_end_matches(']');
    let mut stream = TcpStream::connect((bare_host, port)).await.map_err(|error| failure(&error))?;
    stream.write_all(request.as_bytes()).await.map_err(|error| failure(&error))?;
    let mut head = Vec::new();
    let mut stream = stream.take(HEAD_BYTES_MAX);
    while !head.contains(&b'\n') && stream.read_buf(&mut head).await.map_err(|error| failure(&error))? > 0 {}
    let line = String::from_utf8_lossy(&head);
    let mut words = line.split_ascii_whitespace();
    match (words.next(), words.next().and_then(|status| status.parse().ok())) {
        (Some(version), Some(status)) if version.starts_with("HTTP/1.") => Ok(status),
        _ => Err(failure(&"what answers there is no web server")),
    }
}
