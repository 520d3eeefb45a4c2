//! Mutual TLS of the admin port.
//!
//! The files are looked at before a connection is accepted, at most every two seconds: size and time of change. What cannot be used is
//! complained about and leaves the former material in place.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use parking_lot::Mutex;
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};
use tokio_rustls::TlsAcceptor;

use crate::config::AdminTls;

/// Why the port cannot be protected.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file.
    #[error("{}: {source}", file.display())]
    File {
        /// Which.
        file: PathBuf,
        /// Why.
        source: rustls::pki_types::pem::Error,
    },
    /// What stands in the files.
    #[error("{0}")]
    Material(String),
}

/// What accepts connections, as the files say.
pub(super) struct Acceptor {
    files: AdminTls,
    state: Mutex<State>,
}

struct State {
    acceptor: TlsAcceptor,
    look: Vec<Look>,
    looked: Instant,
}

/// What a file looks like from outside; `None` if it is not there.
type Look = Option<(u64, Option<SystemTime>)>;

const LOOK_EVERY: Duration = Duration::from_secs(2);

impl Acceptor {
    pub(super) fn new(files: &AdminTls) -> Result<Self, Error> {
        let state = State {
            look: look(files),
            acceptor: acceptor(files)?,
            looked: Instant::now(),
        };
        Ok(Self {
            files: files.clone(),
            state: Mutex::new(state),
        })
    }

    /// What accepts the next connection.
    pub(super) fn current(&self) -> TlsAcceptor {
        let mut state = self.state.lock();
        if state.looked.elapsed() >= LOOK_EVERY {
            state.looked = Instant::now();
            let now = look(&self.files);
            if now != state.look {
                state.look = now;
                match acceptor(&self.files) {
                    Ok(acceptor) => {
                        state.acceptor = acceptor;
                        tracing::info!("the certificates of the admin port were read again");
                    }
                    Err(error) => tracing::error!(%error, "the certificates of the admin port have changed and cannot be used"),
                }
            }
        }
        state.acceptor.clone()
    }
}

fn look(files: &AdminTls) -> Vec<Look> {
    let paths = [&files.certificate, &files.key, &files.client_ca]
        .into_iter()
        .chain(&files.client_crl);
    let look = |path: &PathBuf| {
        let data = std::fs::metadata(path).ok()?;
        Some((data.len(), data.modified().ok()))
    };
    paths.map(look).collect()
}

fn acceptor(files: &AdminTls) -> Result<TlsAcceptor, Error> {
    let material = |error: &dyn std::fmt::Display| Error::Material(error.to_string());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    for authority in all::<CertificateDer<'static>>(&files.client_ca)? {
        roots.add(authority).map_err(|error| material(&error))?;
    }
    let mut verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
    if let Some(file) = &files.client_crl {
        // A certificate no list knows of is good, as with listeners; that a list is past its time does not let anybody in.
        verifier = verifier
            .with_crls(all::<CertificateRevocationListDer<'static>>(file)?)
            .allow_unknown_revocation_status();
    }
    let verifier = verifier.build().map_err(|error| material(&error))?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|source| Error::File {
        file: files.key.clone(),
        source,
    })?;
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(|error| material(&error))?
        .with_client_cert_verifier(verifier)
        .with_single_cert(all(&files.certificate)?, key);
    let mut config = config.map_err(|error| material(&error))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    // Nothing is resumed: a client shows its certificate each time, to the authorities and revocations of that time.
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn all<T: PemObject>(file: &Path) -> Result<Vec<T>, Error> {
    let read = T::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<T>, _>>);
    read.map_err(|source| Error::File {
        file: file.to_owned(),
        source,
    })
}
