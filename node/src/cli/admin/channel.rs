//! The connection of `ringfort admin`: plain to a loopback address, or TLS with a certificate of its own.

use std::{path::PathBuf, sync::Arc, time::Duration};

use clap::Args;
use http::Uri;
use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint};

use super::reply::UNREACHABLE;
use crate::cli::{Failure, files::failure};

/// Where the admin port is, and how it is reached.
#[derive(Debug, Args)]
pub(super) struct Target {
    /// The admin port of a node: http://ADDRESS:PORT, or https:// where it has certificates.
    #[arg(long, default_value = "http://127.0.0.1:7500", global = true)]
    url: Uri,
    /// With https: a PEM file with the authorities that sign the certificates of nodes.
    #[arg(long, value_name = "FILE", global = true)]
    ca: Option<PathBuf>,
    /// With https: a PEM file with the certificate to show.
    #[arg(long, value_name = "FILE", global = true, requires = "key")]
    cert: Option<PathBuf>,
    /// With https: a PEM file with its private key.
    #[arg(long, value_name = "FILE", global = true, requires = "cert")]
    key: Option<PathBuf>,
}

/// Above what a change waits for nodes.
const WITHIN: Duration = Duration::from_secs(10);

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

impl Target {
    /// Connects.
    pub(super) async fn connect(&self) -> Result<Channel, Failure> {
        let usage = |text: String| Failure { code: 2, text };
        let tls = match self.url.scheme_str() {
            Some("http") if self.cert.is_none() && self.ca.is_none() => None,
            Some("http") => return Err(usage("certificates are shown to https:// only".to_owned())),
            Some("https") => Some(TlsConnector::from(Arc::new(self.tls()?))),
            _ => {
                return Err(usage(format!(
                    "--url {}: write http:// or https://, then an address and a port",
                    self.url
                )));
            }
        };
        let host = self.url.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let port = self.url.port_u16().unwrap_or(7500);
        // What is encrypted is the connection that is handed over, so that the client above need not know.
        let plain = format!("http://{}", self.url.authority().map_or("", |authority| authority.as_str()));
        let endpoint = Endpoint::from_shared(plain).map_err(Failure::new)?;
        let connector = tower::service_fn(move |_: Uri| {
            let (tls, host) = (tls.clone(), host.clone());
            async move {
                let stream = TcpStream::connect((host.as_str(), port)).await?;
                let stream: Box<dyn Stream> = match tls {
                    None => Box::new(stream),
                    Some(tls) => {
                        let name = ServerName::try_from(host).map_err(std::io::Error::other)?;
                        Box::new(tls.connect(name, stream).await?)
                    }
                };
                Ok::<_, std::io::Error>(TokioIo::new(stream))
            }
        });
        let endpoint = endpoint.connect_timeout(WITHIN).timeout(WITHIN);
        endpoint.connect_with_connector(connector).await.map_err(|error| {
            let mut text = format!("{}: {error}", self.url);
            let mut cause = std::error::Error::source(&error);
            while let Some(error) = cause {
                text.push_str(&format!(": {error}"));
                cause = error.source();
            }
            Failure { code: UNREACHABLE, text }
        })
    }

    fn tls(&self) -> Result<ClientConfig, Failure> {
        let ca = self
            .ca
            .as_ref()
            .ok_or_else(|| failure("https needs --ca FILE: who signs the certificates of nodes"))?;
        let mut roots = RootCertStore::empty();
        for authority in certificates(ca)? {
            roots
                .add(authority)
                .map_err(|error| failure(format!("{}: {error}", ca.display())))?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(failure)?
            .with_root_certificates(roots);
        let mut config = match (&self.cert, &self.key) {
            (Some(certificate), Some(file)) => {
                let key = PrivateKeyDer::from_pem_file(file).map_err(|error| failure(format!("{}: {error}", file.display())))?;
                let chain = certificates(certificate)?;
                builder.with_client_auth_cert(chain, key).map_err(failure)?
            }
            _ => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(config)
    }
}

fn certificates(file: &PathBuf) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    read.map_err(|error| failure(format!("{}: {error}", file.display())))
}
