//! TLS material that is read again when its files change.
//!
//! Files are looked at now and then: size and time of change, which sees replaced files, links and mounted secrets alike. What cannot
//! be used is complained about once and leaves the former material in place. New material means new session tickets: whoever was let
//! in under the former authorities or revocations has to show its certificate again.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use parking_lot::RwLock;
use tokio_rustls::TlsAcceptor;

use super::tls::{self, ClientCertificates, TlsFiles};

/// How often the files of a listener are looked at.
pub const LOOK_EVERY: Duration = Duration::from_secs(2);

/// What accepts TLS connections, as the files say now.
pub struct Reloading {
    files: TlsFiles,
    acceptor: RwLock<TlsAcceptor>,
}

/// What a file looks like from outside; `None` if it is not there.
type Look = Option<(u64, Option<SystemTime>)>;

impl Reloading {
    /// Reads the files.
    ///
    /// # Errors
    /// They cannot be used.
    pub fn new(files: &TlsFiles) -> Result<Self, tls::Error> {
        Ok(Self {
            acceptor: RwLock::new(tls::acceptor(files)?),
            files: files.clone(),
        })
    }

    /// What accepts the next connection.
    pub fn acceptor(&self) -> TlsAcceptor {
        self.acceptor.read().clone()
    }

    /// Looks at the files every so often, for ever.
    pub async fn watch(self: Arc<Self>, every: Duration) {
        let mut known = self.look().await;
        loop {
            tokio::time::sleep(every).await;
            let now = self.look().await;
            if now != known {
                // Half of a pair may be written by now: should it not fit, the other half changes the look again.
                known = now;
                self.reload();
            }
        }
    }

    /// Reads the files again.
    fn reload(&self) {
        match tls::acceptor(&self.files) {
            Ok(acceptor) => {
                *self.acceptor.write() = acceptor;
                tracing::info!(certificate = %self.files.certificate.display(), "TLS material was read again");
            }
            Err(error) => {
                tracing::error!(%error, "TLS material has changed and cannot be used; the former stays");
            }
        }
    }

    async fn look(&self) -> Vec<Look> {
        let mut looks = Vec::new();
        for file in self.paths() {
            let metadata = tokio::fs::metadata(file).await.ok();
            looks.push(metadata.map(|metadata| (metadata.len(), metadata.modified().ok())));
        }
        looks
    }

    fn paths(&self) -> impl Iterator<Item = &PathBuf> {
        let authorities = match &self.files.clients {
            ClientCertificates::Off => None,
            ClientCertificates::Optional(file) | ClientCertificates::Required(file) => Some(file),
        };
        [&self.files.certificate, &self.files.key]
            .into_iter()
            .chain(authorities)
            .chain(&self.files.revoked)
    }
}

#[cfg(test)]
#[path = "reload_tests.rs"]
mod tests;
