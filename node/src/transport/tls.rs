//! TLS of a listener: certificates and keys from PEM files, shown by the name a client asks for, TLS 1.2 and 1.3; and who among
//! clients with a certificate is let in.

use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use rustls::{
    CertificateError, RootCertStore, ServerConfig,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, UnixTime, pem, pem::PemObject},
    server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier, danger::ClientCertVerifier},
    sign::CertifiedKey,
};
use tokio_rustls::TlsAcceptor;
use x509_parser::prelude::{CertificateRevocationList, FromDer, GeneralName, X509Certificate};

/// Where the certificates and their keys are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// The server's certificate, shown where no other one fits.
    pub certificate: PathBuf,
    /// PEM: its private key.
    pub key: PathBuf,
    /// Further ones, each shown to clients that ask for one of its names.
    pub others: Vec<Pair>,
    /// What is done about clients that ask for a name no certificate has.
    pub unknown_name: UnknownName,
    /// Which clients have to show a certificate.
    pub clients: ClientCertificates,
    /// PEM: revocation lists of the authorities of clients. A certificate of an authority without a list is let in.
    pub revoked: Option<PathBuf>,
    /// What a list past its time is worth.
    pub expired: ExpiredLists,
}

/// A certificate and its key, as PEM files: the server's certificate, followed by its intermediates.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pair {
    /// The certificate.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// What is done about a client that asks for a name no certificate has, or for none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnknownName {
    /// It is shown the first certificate, as ordinary web servers do.
    #[default]
    Default,
    /// Its handshake fails.
    Refuse,
}

/// What a revocation list past its time is worth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ExpiredLists {
    /// It counts as it is.
    #[default]
    Accept,
    /// Certificates of its authority are refused until there is a newer one.
    Refuse,
}

/// Which clients have to show a certificate, and the file (PEM) of the authorities that may have signed it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ClientCertificates {
    /// None is asked for.
    #[default]
    Off,
    /// One is asked for; who has none is let in without, who shows a wrong one is not.
    Optional(PathBuf),
    /// Who has none is not let in.
    Required(PathBuf),
}

/// Why TLS cannot be set up. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read.
    #[error("cannot read {what} {}; check that the file exists and that this user may read it", file.display())]
    Read {
        /// What it should hold.
        what: &'static str,
        /// The file.
        file: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file holds something else.
    #[error("{} holds no {what} in PEM form; it should have a line \"-----BEGIN {label}-----\"", file.display())]
    Empty {
        /// What it should hold.
        what: &'static str,
        /// The file.
        file: PathBuf,
        /// The PEM label.
        label: &'static str,
    },
    /// A file is damaged.
    #[error("{} is damaged: the {what} in it cannot be decoded ({detail}); make or fetch it anew", file.display())]
    Damaged {
        /// What it should hold.
        what: &'static str,
        /// The file.
        file: PathBuf,
        /// What the decoder says.
        detail: String,
    },
    /// The authorities of clients cannot be used.
    #[error("{} cannot be used to check the certificates of clients ({detail}); name a PEM file of certificate authorities", file.display())]
    Authorities {
        /// The file.
        file: PathBuf,
        /// Why.
        detail: String,
    },
    /// Certificate and key do not work together.
    #[error("certificate {} and key {} cannot be used together; make sure that the key is this certificate's", certificate.display(), key.display())]
    Mismatch {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// Why.
        #[source]
        source: rustls::Error,
    },
}

/// What a listener's files hold.
#[derive(Clone)]
pub struct Material {
    /// Accepts TLS connections.
    pub acceptor: TlsAcceptor,
    /// Judges the certificates of clients, where they are asked for.
    clients: Option<Arc<dyn ClientCertVerifier>>,
    /// When the first of the revocation lists is past its time.
    pub lists_until: Option<SystemTime>,
}

/// What is to be said of a client's certificate after its handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It would be let in again.
    Good,
    /// It, or an authority between it and a trusted one, was revoked, or its authority is trusted no more.
    Revoked,
    /// It would not be let in again, though nobody has revoked it: it, or the list of its authority, is past its time.
    Outdated,
}

impl Material {
    /// Judges the certificates that a client has shown, its own first.
    pub fn standing(&self, chain: &[CertificateDer<'_>]) -> Standing {
        let (Some(clients), Some((own, others))) = (&self.clients, chain.split_first()) else {
            return Standing::Good;
        };
        match clients.verify_client_cert(own, others, UnixTime::now()) {
            Ok(_) => Standing::Good,
            Err(rustls::Error::InvalidCertificate(
                CertificateError::Revoked | CertificateError::UnknownIssuer | CertificateError::BadSignature,
            )) => Standing::Revoked,
            Err(_) => Standing::Outdated,
        }
    }
}

/// Reads the files and builds what accepts TLS connections.
///
/// # Errors
/// A file is missing, unreadable, damaged, or does not fit the other.
pub fn material(files: &TlsFiles) -> Result<Material, Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let names = ByName::read(files, &provider)?;
    let config = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(|source| mismatch(&files.certificate, &files.key, source))?;
    let lists = files
        .revoked
        .as_deref()
        .map(revocation_lists)
        .transpose()?
        .unwrap_or_default();
    let lists_until = lists.iter().filter_map(|list| next_update(list)).min();
    let (clients, config) = match &files.clients {
        ClientCertificates::Off => (None, config.with_no_client_auth()),
        ClientCertificates::Optional(file) | ClientCertificates::Required(file) => {
            let clients = verifier(file, lists, files, &provider)?;
            (Some(Arc::clone(&clients)), config.with_client_cert_verifier(clients))
        }
    };
    let mut config = config.with_cert_resolver(Arc::new(names));
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Material {
        acceptor: TlsAcceptor::from(Arc::new(config)),
        clients,
        lists_until,
    })
}

/// The server's certificates by the names they are for.
#[derive(Debug)]
struct ByName {
    exact: HashMap<String, Arc<CertifiedKey>>,
    /// By what follows the `*.` of a wildcard, which stands for one label.
    wildcard: HashMap<String, Arc<CertifiedKey>>,
    default: Option<Arc<CertifiedKey>>,
}

impl ByName {
    fn read(files: &TlsFiles, provider: &CryptoProvider) -> Result<Self, Error> {
        let first = certified(&files.certificate, &files.key, provider)?;
        let mut names = Self {
            exact: HashMap::new(),
            wildcard: HashMap::new(),
            default: (files.unknown_name == UnknownName::Default).then(|| Arc::clone(&first)),
        };
        names.add(&first);
        for Pair { certificate, key } in &files.others {
            names.add(&certified(certificate, key, provider)?);
        }
        Ok(names)
    }

    /// Of two certificates for one name the first counts.
    fn add(&mut self, key: &Arc<CertifiedKey>) {
        for name in key.cert.first().map(|leaf| dns_names(leaf)).unwrap_or_default() {
            let (table, name) = match name.strip_prefix("*.") {
                Some(rest) => (&mut self.wildcard, rest.to_owned()),
                None => (&mut self.exact, name),
            };
            table.entry(name).or_insert_with(|| Arc::clone(key));
        }
    }

    fn find(&self, name: &str) -> Option<&Arc<CertifiedKey>> {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        let above = |name: &str| name.split_once('.').and_then(|(_, above)| self.wildcard.get(above));
        self.exact.get(&name).or_else(|| above(&name))
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let named = hello.server_name().and_then(|name| self.find(name));
        named.or(self.default.as_ref()).cloned()
    }
}

/// The DNS names a certificate is for, in lower case.
pub fn dns_names(der: &[u8]) -> Vec<String> {
    let Ok((_, certificate)) = X509Certificate::from_der(der) else {
        return Vec::new();
    };
    let alternative = certificate.subject_alternative_name().ok().flatten();
    let general = alternative.iter().flat_map(|extension| &extension.value.general_names);
    let names = general.filter_map(|name| match name {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
        _ => None,
    });
    names.collect()
}

fn certified(certificate: &Path, key: &Path, provider: &CryptoProvider) -> Result<Arc<CertifiedKey>, Error> {
    let certified = CertifiedKey::from_der(certificates(certificate)?, private_key(key)?, provider);
    certified.map(Arc::new).map_err(|source| mismatch(certificate, key, source))
}

fn mismatch(certificate: &Path, key: &Path, source: rustls::Error) -> Error {
    Error::Mismatch {
        certificate: certificate.into(),
        key: key.into(),
        source,
    }
}

/// When a revocation list says that there is a newer one.
fn next_update(list: &[u8]) -> Option<SystemTime> {
    let (_, list) = CertificateRevocationList::from_der(list).ok()?;
    let seconds = u64::try_from(list.next_update()?.timestamp()).ok()?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

fn verifier(
    file: &Path,
    lists: Vec<CertificateRevocationListDer<'static>>,
    files: &TlsFiles,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, Error> {
    let wrong = |detail: String| Error::Authorities {
        file: file.into(),
        detail,
    };
    let mut roots = RootCertStore::empty();
    for authority in certificates(file)? {
        roots.add(authority).map_err(|error| wrong(error.to_string()))?;
    }
    let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
    if !lists.is_empty() {
        builder = builder.with_crls(lists).allow_unknown_revocation_status();
    }
    if files.expired == ExpiredLists::Refuse {
        builder = builder.enforce_revocation_expiration();
    }
    if !matches!(files.clients, ClientCertificates::Required(_)) {
        builder = builder.allow_unauthenticated();
    }
    builder.build().map_err(|error| wrong(error.to_string()))
}

fn revocation_lists(file: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, Error> {
    const WHAT: &str = "revocation list";
    let text = read(file, WHAT)?;
    let found = CertificateRevocationListDer::pem_slice_iter(&text).collect::<Result<Vec<_>, _>>();
    match found {
        Ok(found) if found.is_empty() => Err(Error::Empty {
            what: WHAT,
            file: file.into(),
            label: "X509 CRL",
        }),
        Ok(found) => Ok(found),
        Err(error) => Err(Error::Damaged {
            what: WHAT,
            file: file.into(),
            detail: error.to_string(),
        }),
    }
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    const WHAT: &str = "certificate";
    let text = read(file, WHAT)?;
    let found = CertificateDer::pem_slice_iter(&text).collect::<Result<Vec<_>, _>>();
    match found {
        Ok(found) if found.is_empty() => Err(Error::Empty {
            what: WHAT,
            file: file.into(),
            label: "CERTIFICATE",
        }),
        Ok(found) => Ok(found),
        Err(error) => Err(Error::Damaged {
            what: WHAT,
            file: file.into(),
            detail: error.to_string(),
        }),
    }
}

fn private_key(file: &Path) -> Result<PrivateKeyDer<'static>, Error> {
    const WHAT: &str = "private key";
    let text = read(file, WHAT)?;
    PrivateKeyDer::from_pem_slice(&text).map_err(|error| match error {
        pem::Error::NoItemsFound => Error::Empty {
            what: WHAT,
            file: file.into(),
            label: "PRIVATE KEY",
        },
        error => Error::Damaged {
            what: WHAT,
            file: file.into(),
            detail: error.to_string(),
        },
    })
}

fn read(file: &Path, what: &'static str) -> Result<Vec<u8>, Error> {
    std::fs::read(file).map_err(|source| Error::Read {
        what,
        file: file.into(),
        source,
    })
}

#[cfg(test)]
#[path = "tls_tests.rs"]
mod tests;
