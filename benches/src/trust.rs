//! TLS of the load client: whom it trusts.
//!
//! Sessions are never resumed: the thousands of connections of a load stand for as many different devices, none of which holds
//! the ticket of another, so every handshake is a full one.

use std::{path::Path, sync::Arc};

use anyhow::{Context as _, Result};
use tokio_rustls::rustls::{
    self, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
};

/// Which servers a connection with TLS may lead to.
#[derive(Clone, Copy, Debug)]
pub enum Trust<'a> {
    /// None: such URLs are refused.
    Nobody,
    /// Those whose certificate was signed by an authority in this PEM file.
    Authority(&'a Path),
    /// All: a load test against a self-signed certificate. The handshake is otherwise a real one.
    Anybody,
}

/// The TLS settings of a client.
///
/// # Errors
/// When the file of authorities cannot be used.
pub(crate) fn client(trust: Trust<'_>) -> Result<Arc<ClientConfig>> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions()?;
    let mut config = match trust {
        Trust::Authority(file) => builder.with_root_certificates(roots(file)?).with_no_client_auth(),
        Trust::Nobody => builder.with_root_certificates(RootCertStore::empty()).with_no_client_auth(),
        Trust::Anybody => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Unchecked(provider)))
            .with_no_client_auth(),
    };
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

fn roots(file: &Path) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    let certificates = CertificateDer::pem_file_iter(file).with_context(|| format!("cannot read {}", file.display()))?;
    for certificate in certificates {
        roots.add(certificate.with_context(|| format!("{} holds no certificate", file.display()))?)?;
    }
    Ok(roots)
}

/// Takes every certificate, but demands that the server holds its key: the cost of the handshake stays what it is.
#[derive(Debug)]
struct Unchecked(Arc<CryptoProvider>);

impl ServerCertVerifier for Unchecked {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
