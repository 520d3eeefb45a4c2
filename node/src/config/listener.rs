//! `[[listener]]`: a public port. WebSocket, RawSocket and plain HTTP share it and are told apart by the first bytes.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Compat, Profile, Quota, address};

/// One public port.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Listener {
    /// IP address and port to listen on. Default `127.0.0.1:8080`: clients of this machine only. `0.0.0.0:8443` and `[::]:8443`
    /// take clients from everywhere, best with `listener.tls`. Port `0` lets the system choose a free one.
    #[serde(deserialize_with = "address::socket_address")]
    pub address: SocketAddr,
    /// The HTTP path of the WebSocket endpoint. Default `/ws`. Other paths are answered as an ordinary web server would.
    pub path: String,
    /// Web origins whose pages may connect, such as `https://example.org`; `*` stands for any. Default none: only pages that
    /// came from this very host and port, which may always connect. Clients that are no browsers send no origin and are not touched by this.
    pub origins: Vec<String>,
    /// Whether WAMP RawSocket is spoken on this port too. Default `true`.
    pub rawsocket: bool,
    /// How far callees and subscribers are told to trust who comes this way (`trustlevel` in the details they get), from 0, the
    /// lowest. `realm.trustlevels` goes before it. Default none: they are told nothing.
    pub trustlevel: Option<u16>,
    /// Whether tickets, tokens among them, are taken without TLS from other machines, where anybody on the way reads them. Default `false`:
    /// without TLS they are taken over loopback addresses only. For ports whose TLS ends at a proxy.
    pub tickets_in_clear: bool,
    /// Whether browsers get a cookie, with which somebody who has proved itself once need not do so again on this node for a day
    /// (authentication method `cookie`). Default `false`. The cookie is `HttpOnly`, `SameSite=Strict` and, with TLS, `Secure`.
    pub cookies: bool,
    /// What is served to ordinary HTTP requests: `""` nothing, `lamp` the built-in lamp page, anything else a directory of
    /// files (a directory called lamp is written `./lamp`). Default nothing.
    pub pages: Pages,
    /// What kind of clients come this way: `strict` those that do as the WAMP text says, `autobahn` those built with Autobahn,
    /// `crossbar` whole systems that were written for Crossbar. A profile sets the switches of `[listener.compat]`, each of which can
    /// be set by itself as well; `docs/clients.md` has the table. Default `strict`. Where a client counts time limits in seconds, as
    /// Autobahn's documentation has it, `strict` takes its 10 for 10 milliseconds.
    pub profile: Profile,
    /// Single switches for clients that differ from the WAMP text; see `[listener.compat]`. Default none.
    pub compat: Compat,
    /// HTTP long-poll for clients that can open no WebSocket; see `[listener.longpoll]`. Default none: it is not spoken.
    pub longpoll: Option<Longpoll>,
    /// What all that come this way may take together; see `[listener.quota]`. Default: anything, up to `limits.sessions_max` connections.
    pub quota: Quota,
    /// Encrypts this port; see `[listener.tls]`. Default none, which is for loopback and for ports behind a TLS proxy.
    pub tls: Option<ListenerTls>,
}

/// HTTP long-poll of a public port. The session lives on the node where it was opened, so a balancer has to send all requests of a client
/// to the same node.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Longpoll {
    /// The HTTP path under which clients find `/open`, `/ID/receive`, `/ID/send` and `/ID/close`. Default `/lp`.
    pub path: String,
    /// Seconds a poll waits for a message before it is answered with none. Default 10. Must be less than clients and proxies allow a
    /// request to take; browsers' Autobahn allows 12.
    pub wait_secs: u64,
    /// Seconds without a poll after which a session ends. Default 30.
    pub idle_secs: u64,
}

impl Default for Longpoll {
    fn default() -> Self {
        Self {
            path: "/lp".to_owned(),
            wait_secs: 10,
            idle_secs: 30,
        }
    }
}

/// TLS of a public port.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct ListenerTls {
    /// PEM file of the server's certificate, followed by its intermediates. Required. `ringfort keygen` makes one to try with.
    pub certificate: PathBuf,
    /// PEM file of the certificate's private key; readable by the node's user only. Required.
    pub key: PathBuf,
    /// Further certificates, each a `[[listener.tls.also]]` with `certificate` and `key` as above: a client that asks for a name (SNI) is
    /// shown the first one whose DNS names have it; `*.example.org` stands for one label. Default none.
    pub also: Vec<CertificateAndKey>,
    /// What is done about clients that ask for a name no certificate has, or for none: `default` shows them the first certificate,
    /// `refuse` ends the handshake, so that who looks for servers by their addresses does not even learn a name. Default `default`.
    pub unknown_name: UnknownName,
    /// Which clients have to show a certificate of their own: `off` none is asked for one; `optional` who has none is let in without,
    /// who shows a wrong one is not; `required` only who has one is let in. With one, a client can use the authentication method
    /// `tls`; see `principal.certificates`. Default `off`.
    pub client_certificates: ClientCertificates,
    /// PEM file of the authorities that sign the certificates of clients. Required unless `client_certificates` is `off`.
    pub client_ca: PathBuf,
    /// PEM file of the revocation lists of these authorities and of those below them, one after the other. Default none. It counts for
    /// new connections, for resumed ones and for open sessions, which are ended. Certificates of an authority without a list are let in.
    /// All these files are read again when they change; what cannot be used is complained about in the log and leaves the former in place.
    pub client_crl: Option<PathBuf>,
    /// What is done while one of these lists is past its time: `accept` takes it as it is, and complains in the log; `refuse` lets
    /// nobody in whose authority's list it is, until there is a newer one (open sessions go on). Default `accept`: a forgotten renewal
    /// must not stop all devices.
    pub crl_expired: CrlExpired,
}

/// A certificate and its private key.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct CertificateAndKey {
    /// PEM file of the certificate, followed by its intermediates. Required.
    pub certificate: PathBuf,
    /// PEM file of its private key. Required.
    pub key: PathBuf,
}

/// What is done about clients that ask for an unknown name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum UnknownName {
    /// They are shown the first certificate.
    #[default]
    Default,
    /// Their handshake fails.
    Refuse,
}

/// What is done while a revocation list is past its time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CrlExpired {
    /// It counts as it is.
    #[default]
    Accept,
    /// Nobody is let in by it.
    Refuse,
}

/// Which clients have to show a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ClientCertificates {
    /// None is asked for.
    #[default]
    Off,
    /// One is asked for.
    Optional,
    /// Nobody comes in without.
    Required,
}

/// What a listener serves to ordinary HTTP requests.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Pages {
    /// Nothing: every path answers 404.
    #[default]
    None,
    /// The lamp page that is built into the binary.
    Lamp,
    /// The files of a directory.
    Directory(PathBuf),
}

impl Default for Listener {
    fn default() -> Self {
        Self {
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)),
            path: "/ws".to_owned(),
            origins: Vec::new(),
            rawsocket: true,
            trustlevel: None,
            tickets_in_clear: false,
            cookies: false,
            pages: Pages::None,
            profile: Profile::Strict,
            compat: Compat::default(),
            longpoll: None,
            quota: Quota::default(),
            tls: None,
        }
    }
}

impl<'de> Deserialize<'de> for Pages {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Ok(match text.as_str() {
            "" => Pages::None,
            "lamp" => Pages::Lamp,
            _ => Pages::Directory(PathBuf::from(text)),
        })
    }
}

impl Serialize for Pages {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Pages::None => serializer.serialize_str(""),
            Pages::Lamp => serializer.serialize_str("lamp"),
            Pages::Directory(path) => serializer.collect_str(&path.display()),
        }
    }
}
