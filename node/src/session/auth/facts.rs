//! What is known of a peer before it says anything.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use rustls_pki_types::CertificateDer;

use crate::auth::CertificateMatch;

/// What is known of a peer before it says anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerFacts {
    /// Where its connection comes from.
    pub source: IpAddr,
    /// By which address of this node, where that is known.
    pub listener: Option<SocketAddr>,
    /// How far those who come this way are trusted, where the listener says so.
    pub trustlevel: Option<u16>,
    /// Whether its listener takes tickets without TLS from other machines.
    pub tickets_in_clear: bool,
    /// What its TLS connection is, if it has one.
    pub tls: Option<Arc<TlsFacts>>,
    /// The cookie its WebSocket was opened with or was given, where the listener has cookies.
    pub cookie: Option<Cookie>,
}

/// The cookie of a WebSocket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cookie {
    /// What the browser keeps.
    pub value: Arc<str>,
    /// It was drawn for this connection, so that nobody else can know it. One that a browser shows may have been put there by somebody.
    pub drawn: bool,
}

/// A TLS connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFacts {
    /// Its `tls-exporter` channel binding (RFC 9266); TLS 1.3 only, since before it two connections could share one.
    pub exporter: Option<[u8; 32]>,
    /// The names of the client certificate that the listener has verified, most telling first; none without one.
    pub certificate: Vec<CertificateMatch>,
    /// The certificates it came in by, to be judged again when revocation lists change; none without one.
    pub shown: Option<Box<Shown>>,
}

/// The certificates of a client, and who has judged them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// The client's own, followed by its authorities.
    pub chain: Vec<CertificateDer<'static>>,
    /// The number of the listener it came to.
    pub listener: u64,
    /// The number of that listener's material that has let it in.
    pub generation: u64,
}

impl PeerFacts {
    /// True if nobody on the way reads a ticket along, or that was configured.
    pub fn may_show_tickets(&self) -> bool {
        self.tls.is_some() || self.source.is_loopback() || self.tickets_in_clear
    }

    /// A peer of whom only the address is known.
    pub fn from_address(source: IpAddr) -> Self {
        Self {
            source: source.to_canonical(),
            listener: None,
            trustlevel: None,
            tickets_in_clear: false,
            tls: None,
            cookie: None,
        }
    }

    /// True if its connection comes from a loopback address.
    pub fn is_loopback(&self) -> bool {
        self.source.is_loopback()
    }

    /// The channel binding of its connection.
    pub fn exporter(&self) -> Option<&[u8; 32]> {
        self.tls.as_ref().and_then(|tls| tls.exporter.as_ref())
    }
}
