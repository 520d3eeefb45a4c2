//! One small document over HTTPS: the keys of an issuer.
//!
//! Bounded in size and time, no redirects, nothing kept open. The server's certificate is checked against the authorities of a file that
//! the operator names; the TLS stack is the one that everything else here uses.

use std::{fmt, path::Path, sync::Arc, time::Duration};

use http::{Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use rustls_pki_types::{CertificateDer, pem::PemObject};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// How long one question may take in all.
const WITHIN: Duration = Duration::from_secs(10);
/// The longest document, in bytes.
const BYTES_MAX: usize = 256 * 1024;

/// A document at an https URL.
#[derive(Clone)]
pub struct KeyUrl {
    uri: Uri,
    host: String,
    port: u16,
    tls: TlsConnector,
}

impl fmt::Debug for KeyUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("KeyUrl").field(&self.uri).finish()
    }
}

impl KeyUrl {
    /// The document at `url`, whose server shows a certificate of an authority in the PEM file `authorities`.
    ///
    /// # Errors
    /// It is no https URL, or the file has no certificates; the text for the operator.
    pub fn new(url: &str, authorities: &Path) -> Result<Self, String> {
        let uri: Uri = url.parse().map_err(|_| "not a URL".to_owned())?;
        if uri.scheme_str() != Some("https") {
            return Err("not an https URL".to_owned());
        }
        let host = uri.host().ok_or("it names no host")?.to_owned();
        let mut roots = RootCertStore::empty();
        let read = CertificateDer::pem_file_iter(authorities).map_err(|error| error.to_string())?;
        for certificate in read {
            // Bundles of the system hold some that webpki does not take; those are passed over.
            let _ = roots.add(certificate.map_err(|error| error.to_string())?);
        }
        if roots.is_empty() {
            return Err(format!("{} has no certificate of an authority", authorities.display()));
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self {
            port: uri.port_u16().unwrap_or(443),
            uri,
            host,
            tls: TlsConnector::from(Arc::new(config)),
        })
    }

    /// Fetches it.
    ///
    /// # Errors
    /// It did not come whole and in time; the text for the log.
    pub async fn get(&self) -> Result<String, String> {
        match tokio::time::timeout(WITHIN, self.fetch()).await {
            Ok(fetched) => fetched,
            Err(_) => Err("no answer in time".to_owned()),
        }
    }

    async fn fetch(&self) -> Result<String, String> {
        let text = |error: &dyn std::error::Error| error.to_string();
        let bare = self.host.trim_start_matches('[').trim_end_matches(']');
        let stream = TcpStream::connect((bare, self.port)).await.map_err(|error| text(&error))?;
        let name = ServerName::try_from(bare.to_owned()).map_err(|error| text(&error))?;
        let stream = self.tls.connect(name, stream).await.map_err(|error| text(&error))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| text(&error))?;
        let authority = self.uri.authority().map_or(bare, |authority| authority.as_str());
        let path = self.uri.path_and_query().map_or("/", |path| path.as_str());
        let request = Request::get(path)
            .header(header::HOST, authority)
            .header(header::ACCEPT, "application/jwk-set+json, application/json")
            .body(Empty::<bytes::Bytes>::new())
            .map_err(|error| text(&error))?;
        let answer = async {
            let response = sender.send_request(request).await.map_err(|error| text(&error))?;
            if response.status() != StatusCode::OK {
                return Err(format!("the server says {}", response.status()));
            }
            let body = Limited::new(response.into_body(), BYTES_MAX).collect().await;
            let body = body.map_err(|error| error.to_string())?.to_bytes();
            String::from_utf8(body.to_vec()).map_err(|error| text(&error))
        };
        // The connection moves what is asked and answered; it ends with this.
        tokio::pin!(connection);
        tokio::pin!(answer);
        tokio::select! {
            answered = &mut answer => answered,
            _ = &mut connection => answer.await,
        }
    }
}
