//! `tls`: a principal is known by the client certificate its connection was made with.

use std::fmt;

use super::cryptosign::{hex, unhex};

/// Which certificate is a principal's. The listener has checked that a trusted authority signed it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CertificateMatch {
    /// The SHA-256 of its DER form.
    Fingerprint([u8; 32]),
    /// The common name of its subject.
    CommonName(String),
    /// A DNS name among its subject alternative names.
    Dns(String),
    /// A URI among them.
    Uri(String),
    /// A mail address among them.
    Email(String),
}

impl CertificateMatch {
    /// From `sha256:HEX`, `cn:NAME`, `dns:NAME`, `uri:URI` or `email:ADDRESS`.
    pub fn from_text(text: &str) -> Option<Self> {
        let (kind, value) = text.split_once(':')?;
        if value.is_empty() || value.len() > 512 {
            return None;
        }
        Some(match kind {
            "sha256" => Self::Fingerprint(unhex(&value.replace(':', ""))?),
            "cn" => Self::CommonName(value.to_owned()),
            "dns" => Self::Dns(value.to_ascii_lowercase()),
            "uri" => Self::Uri(value.to_owned()),
            "email" => Self::Email(value.to_owned()),
            _ => return None,
        })
    }
}

impl fmt::Display for CertificateMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fingerprint(hash) => write!(f, "sha256:{}", hex(hash)),
            Self::CommonName(name) => write!(f, "cn:{name}"),
            Self::Dns(name) => write!(f, "dns:{name}"),
            Self::Uri(uri) => write!(f, "uri:{uri}"),
            Self::Email(address) => write!(f, "email:{address}"),
        }
    }
}
