//! The certificates of a node, and the proof that the other end is a node of the same cluster.
//!
//! The authority signs whoever may be a node; the URI in a certificate says which node of which cluster. Host names and
//! addresses prove nothing here, so nodes may move.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig, SignatureScheme,
    client::{
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor,
    },
    crypto::{CryptoProvider, WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature},
    server::{
        ParsedCertificate, WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
    version::TLS13,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject};
use x509_parser::extensions::GeneralName;

use super::{Error, Identity};

/// Where the PEM files are.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// The authority or authorities that sign node certificates.
    pub ca: PathBuf,
    /// This node's certificate, followed by intermediates if there are any.
    pub certificate: PathBuf,
    /// The certificate's private key.
    pub key: PathBuf,
}

/// Both sides of a node's TLS, ready to use.
#[derive(Clone)]
pub struct ClusterTls {
    pub(super) server: Arc<ServerConfig>,
    pub(super) client: Arc<ClientConfig>,
}

impl fmt::Debug for ClusterTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClusterTls")
    }
}

impl ClusterTls {
    /// Reads the files and makes sure that peers will accept them.
    ///
    /// # Errors
    /// Names the file, what is wrong with it and the remedy: unreadable, not PEM, the wrong key, not signed by the authority,
    /// expired, or made for another node or cluster.
    pub fn load(identity: &Identity, files: &TlsFiles) -> Result<Self, Error> {
        let authorities = certificates(&files.ca)?;
        let chain = certificates(&files.certificate)?;
        let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|error| {
            bad(
                &files.key,
                format!("no usable private key ({error})"),
                "give the PEM file `ringfort ca` made",
            )
        })?;
        let mut roots = RootCertStore::empty();
        for authority in authorities {
            roots.add(authority).map_err(|error| {
                bad(
                    &files.ca,
                    format!("not an authority's certificate ({error})"),
                    "give the CA's PEM file",
                )
            })?;
        }
        let verifier = Arc::new(PeerVerifier::new(identity.cluster_id(), Arc::new(roots), &files.ca)?);
        let own = &chain[0];
        let now = UnixTime::now();
        let issue = "issue it anew with `ringfort ca` for this node and this authority";
        verifier.anchored(own, &chain[1..], now).map_err(|error| {
            let wrong = match error {
                rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
                    format!("not signed by the authority in {}", files.ca.display())
                }
                other => format!("peers will refuse it ({other})"),
            };
            bad(&files.certificate, wrong, issue)
        })?;
        let found = node_uris(own);
        if found != [identity.uri()] {
            let wrong = format!("made for {}, this node is {}", said(&found), identity.uri());
            return Err(bad(
                &files.certificate,
                wrong,
                "issue a certificate with that URI, or correct cluster.id and node.name",
            ));
        }

        let provider = Arc::new(ring::default_provider());
        let pair = |error: rustls::Error| match error {
            rustls::Error::InconsistentKeys(_) => bad(
                &files.key,
                format!("not the key of {}", files.certificate.display()),
                "give the key made with that certificate",
            ),
            other => bad(&files.certificate, other.to_string(), issue),
        };
        let versions = |error: rustls::Error| bad(&files.certificate, error.to_string(), issue);
        let mut server = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&TLS13])
            .map_err(versions)?
            .with_client_cert_verifier(verifier.clone())
            .with_single_cert(chain.clone(), key.clone_key())
            .map_err(pair)?;
        server.alpn_protocols = vec![ALPN.to_vec()];
        let mut client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])
            .map_err(versions)?
            .dangerous() // The name is checked by its URI instead of a host name, not left unchecked.
            .with_custom_certificate_verifier(verifier)
            .with_client_auth_cert(chain, key)
            .map_err(pair)?;
        client.alpn_protocols = vec![ALPN.to_vec()];
        // A resumed session would skip the verifier: after a change of authority old peers would still get in.
        client.resumption = rustls::client::Resumption::disabled();
        server.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
        Ok(Self {
            server: Arc::new(server),
            client: Arc::new(client),
        })
    }
}

/// The node name in a peer's certificate, after TLS has proven that the peer holds it.
pub(super) fn peer_name(identity: &Identity, chain: Option<&[CertificateDer<'_>]>) -> Option<String> {
    let uris = node_uris(chain?.first()?);
    let [uri] = uris.as_slice() else { return None };
    let name = uri
        .strip_prefix("ringfort://")?
        .strip_prefix(identity.cluster_id())?
        .strip_prefix('/')?;
    Identity::new(identity.cluster_id(), name).ok().map(|peer| peer.name)
}

/// Accepts a peer of either side if the authority signed it as a node of this cluster.
#[derive(Debug)]
pub(super) struct PeerVerifier {
    cluster_id: String,
    roots: Arc<RootCertStore>,
    clients: Arc<dyn ClientCertVerifier>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl PeerVerifier {
    pub(super) fn new(cluster_id: &str, roots: Arc<RootCertStore>, ca: &Path) -> Result<Self, Error> {
        let provider: CryptoProvider = ring::default_provider();
        let algorithms = provider.signature_verification_algorithms;
        let clients = WebPkiClientVerifier::builder_with_provider(roots.clone(), Arc::new(provider))
            .build()
            .map_err(|error| bad(ca, error.to_string(), "give the CA's PEM file"))?;
        Ok(Self {
            cluster_id: cluster_id.to_owned(),
            roots,
            clients,
            algorithms,
        })
    }

    fn anchored(&self, own: &CertificateDer<'_>, others: &[CertificateDer<'_>], now: UnixTime) -> Result<(), rustls::Error> {
        let parsed = ParsedCertificate::try_from(own)?;
        verify_server_cert_signed_by_trust_anchor(&parsed, &self.roots, others, now, self.algorithms.all).map_err(|error| {
            match error {
                // Another authority of the same name: to whoever reads the error that is a foreign one.
                rustls::Error::InvalidCertificate(CertificateError::BadSignature) => {
                    rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer)
                }
                other => other,
            }
        })
    }

    /// Refuses other clusters while TLS is being set up, so that the other end is told by an alert.
    fn of_this_cluster(&self, certificate: &CertificateDer<'_>) -> Result<(), rustls::Error> {
        let prefix = format!("ringfort://{}/", self.cluster_id);
        match node_uris(certificate).as_slice() {
            [uri] if uri.starts_with(&prefix) => Ok(()),
            uris => Err(rustls::Error::General(format!(
                "the peer's certificate is for {}, not for {prefix}*",
                said(uris)
            ))),
        }
    }
}

impl ServerCertVerifier for PeerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.anchored(end_entity, intermediates, now)?;
        self.of_this_cluster(end_entity)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

impl ClientCertVerifier for PeerVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.clients.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let verified = self.clients.verify_client_cert(end_entity, intermediates, now)?;
        self.of_this_cluster(end_entity)?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Every certificate of a PEM file; at least one.
fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let remedy = "give a readable PEM file with a CERTIFICATE section";
    let found: Result<Vec<_>, _> = CertificateDer::pem_file_iter(file).and_then(Iterator::collect);
    match found {
        Ok(list) if list.is_empty() => Err(bad(file, "no certificate in it".to_owned(), remedy)),
        Ok(list) => Ok(list),
        Err(error) => Err(bad(file, format!("cannot be read as PEM ({error})"), remedy)),
    }
}

/// The `ringfort://` URIs among a certificate's subject alternative names.
fn node_uris(certificate: &CertificateDer<'_>) -> Vec<String> {
    let Ok((_, parsed)) = x509_parser::parse_x509_certificate(certificate) else {
        return Vec::new();
    };
    let Ok(Some(names)) = parsed.subject_alternative_name() else {
        return Vec::new();
    };
    let uris = names.value.general_names.iter().filter_map(|name| match name {
        GeneralName::URI(uri) if uri.starts_with("ringfort://") => Some((*uri).to_owned()),
        _ => None,
    });
    uris.collect()
}

/// How the URIs of a certificate are named in an error.
pub(super) fn said(uris: &[String]) -> String {
    if uris.is_empty() {
        "no ringfort:// URI".to_owned()
    } else {
        uris.join(" and ")
    }
}

/// What a peer's certificate says, for an error.
pub(super) fn shown(chain: Option<&[CertificateDer<'_>]>) -> String {
    chain
        .and_then(<[_]>::first)
        .map_or_else(|| "nobody".to_owned(), |certificate| said(&node_uris(certificate)))
}

fn bad(file: &Path, wrong: String, remedy: &str) -> Error {
    Error::Certificate {
        file: file.display().to_string(),
        wrong,
        remedy: remedy.to_owned(),
    }
}

const ALPN: &[u8] = b"ringfort-cluster/1";
