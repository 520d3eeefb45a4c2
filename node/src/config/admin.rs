//! `[admin]`: the port from which the node is looked at and steered.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Bind;

/// The admin port.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Admin {
    /// IP address and port of the admin interface, or `off`. Default `127.0.0.1:7500`. On a loopback address without `admin.tls`
    /// whoever reaches the port is trusted with everything; on any other address `admin.tls` is required.
    pub address: Bind,
    /// Mutual TLS: every client shows a certificate. Default none.
    pub tls: Option<AdminTls>,
    /// Who may do what there, by certificate. Default nobody. Without `admin.tls` not looked at.
    pub clients: Vec<AdminClient>,
    /// Whether an `owner` may see what messages carry when it watches them (`ringfort admin tap --payload`), and not their heads alone.
    /// Default `false`. It has to be set on every node whose sessions are watched; each watch stands in the audit log either way.
    pub tap_payload: bool,
}

/// Certificates of the admin port. All files are read again when they change; what cannot be used is complained about in the log and
/// leaves the former in place. Connections that are open go on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdminTls {
    /// PEM file with the certificate of this port, followed by its intermediates. Required. That of `cluster.tls` will do.
    pub certificate: PathBuf,
    /// PEM file with its private key. Required.
    pub key: PathBuf,
    /// PEM file with the authorities that sign the certificates of clients. Required. One of its own is best: see `ringfort ca`.
    pub client_ca: PathBuf,
    /// PEM file of their revocation lists. Default none.
    pub client_crl: Option<PathBuf>,
}

/// A client of the admin port. The first entry that names the certificate counts; a certificate that none names may do nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdminClient {
    /// A name of its certificate: `cn:alice`, `dns:ops.example.com`, `email:alice@example.com`, `uri:…` or `sha256:…`, the fingerprint.
    /// Required. Records of what it does name it so.
    pub certificate: String,
    /// `viewer` looks; `operator` also adds, changes and revokes principals, ends sessions, takes registrations back and watches heads of
    /// messages; `owner` also changes roles and what they may do, and watches payload.
    /// Default `viewer`.
    pub role: AdminRole,
}

/// What a client of the admin port may do; each may what those before it may.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AdminRole {
    /// Look.
    #[default]
    Viewer,
    /// Change principals, end sessions, watch messages.
    Operator,
    /// Change everything.
    Owner,
}

impl AdminRole {
    /// Its name in the settings.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Owner => "owner",
        }
    }
}

impl Default for Admin {
    fn default() -> Self {
        Self {
            address: Bind::loopback(7500),
            tls: None,
            clients: Vec::new(),
            tap_payload: false,
        }
    }
}
