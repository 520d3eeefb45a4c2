//! What a TLS connection says of its client: the names of its certificate, and the channel's own binding.

use rustls::{ProtocolVersion, ServerConnection};
use sha2::{Digest, Sha256};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::{
    auth::CertificateMatch,
    session::auth::{Shown, TlsFacts},
};

/// How many names of a certificate are looked at; an authority that signs more than these is not one to trust.
const NAMES_MAX: usize = 32;

/// What a connection whose handshake is done says of its client; `listener` and `generation` are the numbers of who let it in.
pub fn facts(connection: &ServerConnection, listener: u64, generation: u64) -> TlsFacts {
    let chain = connection.peer_certificates().unwrap_or_default();
    let leaf = chain.first();
    let shown = leaf.map(|_| {
        Box::new(Shown {
            chain: chain.to_vec(),
            listener,
            generation,
        })
    });
    TlsFacts {
        exporter: exporter(connection),
        certificate: leaf.map(|leaf| names(leaf)).unwrap_or_default(),
        shown,
    }
}

/// The channel binding `tls-exporter`. Choice: TLS 1.3 only; before it, RFC 9266 needs more than the version to rule out two
/// connections with one value.
fn exporter(connection: &ServerConnection) -> Option<[u8; 32]> {
    if connection.protocol_version() != Some(ProtocolVersion::TLSv1_3) {
        return None;
    }
    connection
        .export_keying_material([0; 32], b"EXPORTER-Channel-Binding", Some(b""))
        .ok()
}

/// The names a certificate goes by: its fingerprint, then URI, DNS and mail names, the common name last.
fn names(der: &[u8]) -> Vec<CertificateMatch> {
    let mut names = vec![CertificateMatch::Fingerprint(Sha256::digest(der).into())];
    let Ok((_, certificate)) = X509Certificate::from_der(der) else {
        return names;
    };
    let alternative = certificate.subject_alternative_name().ok().flatten();
    let general = alternative.iter().flat_map(|extension| &extension.value.general_names);
    let mut more: Vec<CertificateMatch> = general
        .filter_map(|name| match name {
            GeneralName::URI(uri) => Some(CertificateMatch::Uri((*uri).to_owned())),
            GeneralName::DNSName(name) => Some(CertificateMatch::Dns(name.to_ascii_lowercase())),
            GeneralName::RFC822Name(address) => Some(CertificateMatch::Email((*address).to_owned())),
            _ => None,
        })
        .take(NAMES_MAX)
        .collect();
    more.sort_by_key(|name| match name {
        CertificateMatch::Uri(_) => 0,
        CertificateMatch::Dns(_) => 1,
        _ => 2,
    });
    names.append(&mut more);
    let common = certificate.subject().iter_common_name().filter_map(|name| name.as_str().ok());
    names.extend(common.take(1).map(|name| CertificateMatch::CommonName(name.to_owned())));
    names
}
