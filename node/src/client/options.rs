//! Where a client connects to, as whom, and how.

use std::{fmt, path::PathBuf, str::FromStr, time::Duration};

use super::Error;
use crate::wamp::Serializer;

/// How a client connects.
#[derive(Clone, Debug)]
pub struct Options {
    /// The router.
    pub url: Url,
    /// The realm to join.
    pub realm: String,
    /// The serializer; it must be one that the router speaks.
    pub serializer: Serializer,
    /// As whom.
    pub auth: Auth,
    /// Whom to trust where the URL asks for TLS.
    pub trust: Trust,
    /// How long each step may take: the connection with its handshake, and each request.
    pub timeout: Duration,
    /// How many messages may wait in each queue: outgoing ones, and events or invocations of one subscription or registration.
    pub queue: usize,
}

/// How a client proves itself.
#[derive(Clone, Debug, Default)]
pub enum Auth {
    /// Not at all.
    #[default]
    Anonymous,
    /// By a secret it shares with the router.
    Ticket {
        /// The name it authenticates as.
        authid: String,
        /// The secret.
        ticket: Ticket,
    },
}

/// A ticket; never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Ticket(String);

/// Whom a client trusts to be the router.
#[derive(Clone, Debug, Default)]
pub enum Trust {
    /// The authorities that the operating system trusts.
    #[default]
    System,
    /// The authorities in a PEM file.
    File(PathBuf),
    /// Anybody: the connection is encrypted, but to whom is not known.
    Anybody,
}

/// The address of a router: `ws://`, `wss://`, `tcp://` or `tcps://`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// How to speak.
    pub scheme: Scheme,
    /// IP address (an IPv6 one without brackets) or DNS name.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The whole URL as it was given.
    text: String,
}

/// The transports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// WebSocket.
    Ws,
    /// WebSocket over TLS.
    Wss,
    /// RawSocket.
    Tcp,
    /// RawSocket over TLS.
    Tcps,
}

impl Options {
    /// Anonymous, JSON, ten seconds for each step.
    pub fn new(url: Url, realm: impl Into<String>) -> Self {
        Self {
            url,
            realm: realm.into(),
            serializer: Serializer::Json,
            auth: Auth::Anonymous,
            trust: Trust::System,
            timeout: Duration::from_secs(10),
            queue: 1024,
        }
    }
}

impl Ticket {
    /// Wraps the secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The secret itself.
    pub(super) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Scheme {
    /// True if bytes are encrypted.
    pub fn is_tls(self) -> bool {
        matches!(self, Scheme::Wss | Scheme::Tcps)
    }

    /// True for the WebSocket schemes.
    pub fn is_websocket(self) -> bool {
        matches!(self, Scheme::Ws | Scheme::Wss)
    }
}

impl Url {
    /// The URL as it was given.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Host and port as they are written in an address.
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl FromStr for Url {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let error = |why| Error::Url {
            url: text.to_owned(),
            why,
        };
        let uri: http::Uri = text.parse().map_err(|_| error("not readable"))?;
        let scheme = match uri.scheme_str() {
            Some("ws") => Scheme::Ws,
            Some("wss") => Scheme::Wss,
            Some("tcp" | "rs") => Scheme::Tcp,
            Some("tcps" | "rss") => Scheme::Tcps,
            _ => return Err(error("it begins with ws://, wss://, tcp:// or tcps://")),
        };
        let host = uri
            .host()
            .filter(|host| !host.is_empty())
            .ok_or_else(|| error("the host is missing"))?;
        let port = match (uri.port_u16(), scheme) {
            (Some(port), _) => port,
            (None, Scheme::Ws) => 80,
            (None, Scheme::Wss) => 443,
            (None, Scheme::Tcp | Scheme::Tcps) => return Err(error("the port is missing, as in tcp://127.0.0.1:8080")),
        };
        if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            return Err(error("credentials do not belong into a URL"));
        }
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        Ok(Self {
            scheme,
            host,
            port,
            text: text.to_owned(),
        })
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
