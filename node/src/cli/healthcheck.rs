//! `ringfort healthcheck`: for container images that have no curl.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use clap::Args;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{Failure, environment, print_line, small_runtime};
use crate::config::{Config, Source};

/// Ask a node whether it is ready, or whether it lives: exit code 0 if it answers 200, else 1.
///
/// With --config it asks the node of this machine that has these settings, on its observability port or else its admin port, and the
/// RINGFORT__ variables count as they do for serve.
#[derive(Debug, Args)]
pub(super) struct Healthcheck {
    /// What to ask, plain http; by default the admin port that serve has without settings.
    #[arg(long, conflicts_with_all = ["config", "ready", "live"])]
    url: Option<String>,
    /// The TOML file with the settings of the node, or - for standard input.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Whether clients are served as they should be; the default.
    #[arg(long, conflicts_with = "live")]
    ready: bool,
    /// Whether the process goes on at all.
    #[arg(long)]
    live: bool,
    /// Seconds to wait for the answer.
    #[arg(long, default_value_t = 3, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=300))]
    timeout: u64,
}

/// The status line stands at the very beginning; this is far more than it needs.
const HEAD_BYTES_MAX: u64 = 4096;

impl Healthcheck {
    pub(super) fn run(self) -> Result<(), Failure> {
        let deadline = Duration::from_secs(self.timeout);
        let url = self.url()?;
        let asked = async { tokio::time::timeout(deadline, status(&url)).await };
        let status = small_runtime()?.block_on(asked);
        let word = if self.live { "live" } else { "ready" };
        match status.unwrap_or_else(|_| Err(Failure::new(format!("{url}: no answer within {} s", self.timeout))))? {
            200 => print_line(word),
            status => Err(Failure::new(format!("{url}: not {word}, it answered {status}"))),
        }
    }

    /// Whom to ask what.
    fn url(&self) -> Result<String, Failure> {
        if let Some(url) = &self.url {
            return Ok(url.clone());
        }
        let config = match &self.config {
            Some(_) => Config::load(&Source::from_argument(self.config.as_deref()), environment())?,
            None => Config::default(),
        };
        ask(&config, self.live).ok_or_else(|| Failure {
            code: 3,
            text: "neither observability.address nor admin.address is set: nobody answers there".to_owned(),
        })
    }
}

/// Where the node with these settings answers; `None` if nowhere.
fn ask(config: &Config, live: bool) -> Option<String> {
    let (address, path) = match (config.observability.address.0, config.admin.address.0) {
        (Some(address), _) => (address, if live { "livez" } else { "readyz" }),
        (None, Some(address)) => (address, if live { "healthz" } else { "readyz" }),
        (None, None) => return None,
    };
    Some(format!("http://{}/{path}", from_here(address)))
}

/// The address under which this machine reaches what listens on `address`.
fn from_here(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Bind;

    #[test]
    fn the_node_of_a_configuration_is_asked_where_it_answers() {
        let mut config = Config::default();
        assert_eq!(ask(&config, false).as_deref(), Some("http://127.0.0.1:7500/readyz"));
        assert_eq!(ask(&config, true).as_deref(), Some("http://127.0.0.1:7500/healthz"));
        config.observability.address = Bind("0.0.0.0:7600".parse().ok());
        assert_eq!(ask(&config, false).as_deref(), Some("http://127.0.0.1:7600/readyz"));
        config.observability.address = Bind("[::]:7600".parse().ok());
        assert_eq!(ask(&config, true).as_deref(), Some("http://[::1]:7600/livez"));
        config.observability.address = Bind(None);
        config.admin.address = Bind(None);
        assert_eq!(ask(&config, true), None);
    }
}
