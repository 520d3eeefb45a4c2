//! TLS of a listener: certificate and key from PEM files, TLS 1.2 and 1.3.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    RootCertStore, ServerConfig,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, pem, pem::PemObject},
    server::{WebPkiClientVerifier, danger::ClientCertVerifier},
};
use tokio_rustls::TlsAcceptor;

/// Where the certificate and its key are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// PEM: the server's certificate, followed by its intermediates.
    pub certificate: PathBuf,
    /// PEM: its private key.
    pub key: PathBuf,
    /// Which clients have to show a certificate.
    pub clients: ClientCertificates,
    /// PEM: revocation lists of the authorities of clients. A certificate none of them knows of is let in; a list past its time
    /// still counts.
    pub revoked: Option<PathBuf>,
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

/// Reads the files and builds what accepts TLS connections.
///
/// # Errors
/// A file is missing, unreadable, damaged, or does not fit the other.
pub fn acceptor(files: &TlsFiles) -> Result<TlsAcceptor, Error> {
    let certificates = certificates(&files.certificate)?;
    let key = private_key(&files.key)?;
    let mismatch = |source| Error::Mismatch {
        certificate: files.certificate.clone(),
        key: files.key.clone(),
        source,
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(mismatch)?;
    let config = match &files.clients {
        ClientCertificates::Off => config.with_no_client_auth(),
        ClientCertificates::Optional(file) => {
            config.with_client_cert_verifier(verifier(file, files.revoked.as_deref(), &provider, false)?)
        }
        ClientCertificates::Required(file) => {
            config.with_client_cert_verifier(verifier(file, files.revoked.as_deref(), &provider, true)?)
        }
    };
    let mut config = config.with_single_cert(certificates, key).map_err(mismatch)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn verifier(
    file: &Path,
    revoked: Option<&Path>,
    provider: &Arc<CryptoProvider>,
    required: bool,
) -> Result<Arc<dyn ClientCertVerifier>, Error> {
    let wrong = |detail: String| Error::Authorities {
        file: file.into(),
        detail,
    };
    let mut roots = RootCertStore::empty();
    for authority in certificates(file)? {
        roots.add(authority).map_err(|error| wrong(error.to_string()))?;
    }
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
    let lists = revoked.map(revocation_lists).transpose()?;
    let builder = match lists {
        // Choice: a list past its time counts as it is. To refuse everybody then would let a forgotten renewal stop all devices.
        Some(lists) => builder.with_crls(lists).allow_unknown_revocation_status(),
        None => builder,
    };
    let builder = if required { builder } else { builder.allow_unauthenticated() };
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
