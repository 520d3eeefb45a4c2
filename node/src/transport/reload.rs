//! TLS material that is read again when its files change.
//!
//! Files are looked at now and then: size and time of change, which sees replaced files, links and mounted secrets alike. What cannot
//! be used is complained about once and leaves the former material in place. New material means new session tickets: whoever was let
//! in under the former authorities or revocations has to show its certificate again. Sessions that are open by a certificate which the new
//! material would call revoked are ended by the listener.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use parking_lot::RwLock;

use super::tls::{self, ClientCertificates, Material, Standing, TlsFiles};
use crate::session::auth::Shown;

/// How often the files of a listener are looked at.
pub const LOOK_EVERY: Duration = Duration::from_secs(2);

/// What accepts TLS connections, as the files say now.
pub struct Reloading {
    files: TlsFiles,
    current: RwLock<Material>,
    /// Counts up with each new material.
    generation: AtomicU64,
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
            current: RwLock::new(tls::material(files)?),
            files: files.clone(),
            generation: AtomicU64::new(0),
        })
    }

    /// What judges the next connection, and the number of it.
    pub fn current(&self) -> (Material, u64) {
        let material = self.current.read();
        (material.clone(), self.generation())
    }

    /// True if new material has come to count since a client was let in, and calls its certificate revoked.
    pub fn has_revoked(&self, shown: &Shown) -> bool {
        self.generation() != shown.generation && self.current().0.standing(&shown.chain) == Standing::Revoked
    }

    /// The number of the material that counts now.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Looks at the files every so often, for ever, and calls `renewed` after new material has come to count.
    pub async fn watch<F: Future<Output = ()> + Send>(self: Arc<Self>, every: Duration, renewed: impl Fn() -> F + Send) {
        let mut known = self.look().await;
        let mut complained = None;
        loop {
            self.complain_of_lists(&mut complained);
            tokio::time::sleep(every).await;
            let now = self.look().await;
            if now != known {
                // Half of a pair may be written by now: should it not fit, the other half changes the look again.
                known = now;
                if self.reload() {
                    renewed().await;
                }
            }
        }
    }

    /// Says once that a revocation list is past its time.
    fn complain_of_lists(&self, complained: &mut Option<SystemTime>) {
        let until = self.current.read().lists_until;
        if until.is_some_and(|until| until < SystemTime::now()) && *complained != until {
            *complained = until;
            let policy = match self.files.expired {
                tls::ExpiredLists::Accept => "it counts as it is",
                tls::ExpiredLists::Refuse => "certificates of its authority are refused",
            };
            let file = self.files.revoked.as_ref().map(|file| file.display().to_string());
            tracing::warn!(file, policy, "a revocation list is past its time and has to be renewed");
        }
    }

    /// Reads the files again; true if what they hold counts now.
    fn reload(&self) -> bool {
        match tls::material(&self.files) {
            Ok(material) => {
                let mut current = self.current.write();
                *current = material;
                self.generation.fetch_add(1, Ordering::AcqRel);
                tracing::info!(certificate = %self.files.certificate.display(), "TLS material was read again");
                true
            }
            Err(error) => {
                tracing::error!(%error, "TLS material has changed and cannot be used; the former stays");
                false
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
        let others = self.files.others.iter().flat_map(|pair| [&pair.certificate, &pair.key]);
        [&self.files.certificate, &self.files.key]
            .into_iter()
            .chain(others)
            .chain(authorities)
            .chain(&self.files.revoked)
    }
}

#[cfg(test)]
#[path = "reload_tests.rs"]
mod tests;
