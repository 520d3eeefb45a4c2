//! Tickets that are JSON Web Tokens: whose they are, by the keys that the issuers have now.
//!
//! A realm may trust several issuers (`[[realm.jwt]]`). The keys of each stand in a file, which is read again when it changes, or at a
//! URL, which is asked now and then and when a token names a key that nobody knows. What cannot be read leaves the former keys in
//! place; an issuer whose keys were never there lets nobody in.
//!
//! The arithmetic is [`crate::auth::jwt`]; the clock is here.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use parking_lot::RwLock;
use tokio::sync::Notify;

use super::key_url::KeyUrl;
use crate::{
    auth::jwt::{Bad, KeySet, Rules, issuer_of},
    router::Bearer,
};

/// The issuers a realm trusts.
#[derive(Debug, Default)]
pub struct Tokens {
    issuers: Vec<Issuer>,
}

/// An issuer of tokens.
#[derive(Debug)]
pub struct Issuer {
    rules: Rules,
    source: KeySource,
    keys: RwLock<KeySet>,
    /// Somebody showed a token with a key that is not known.
    wanted: Notify,
}

/// Where the keys of an issuer stand.
#[derive(Clone, Debug)]
pub enum KeySource {
    /// A file with a JWK set.
    File(PathBuf),
    /// A URL with one.
    Url(KeyUrl),
}

/// How often a file is looked at.
pub const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often a URL is asked when nothing calls for it.
const ASK_EVERY: Duration = Duration::from_secs(300);
/// How long after an answer, or after the first failure, a URL is not asked again; doubled for each further failure.
const ASK_AGAIN: Duration = Duration::from_secs(5);
/// The longest pause after failures.
const ASK_AGAIN_MAX: Duration = Duration::from_secs(120);
/// The largest file of keys, in bytes.
const FILE_BYTES_MAX: u64 = 256 * 1024;

impl Issuer {
    /// An issuer whose keys are not there yet.
    pub fn new(rules: Rules, source: KeySource) -> Self {
        Self {
            rules,
            source,
            keys: RwLock::default(),
            wanted: Notify::new(),
        }
    }

    /// Takes these keys from now on.
    pub fn set_keys(&self, keys: KeySet) {
        *self.keys.write() = keys;
    }
}

/// Reads a file of keys.
///
/// # Errors
/// It cannot be read or is no set of keys; the text for the operator.
pub fn read_keys(file: &std::path::Path) -> Result<KeySet, String> {
    let metadata = std::fs::metadata(file).map_err(|error| error.to_string())?;
    if metadata.len() > FILE_BYTES_MAX {
        return Err(format!("larger than {FILE_BYTES_MAX} bytes"));
    }
    let text = std::fs::read_to_string(file).map_err(|error| error.to_string())?;
    KeySet::read(&text).map_err(|error| error.to_string())
}

impl Tokens {
    /// Those of these issuers.
    pub fn new(issuers: Vec<Issuer>) -> Self {
        Self { issuers }
    }

    /// Reads the files of keys, so that tokens are taken from the start.
    pub fn read_files(&self) {
        for issuer in &self.issuers {
            if let KeySource::File(file) = &issuer.source {
                issuer.read_file(file);
            }
        }
    }

    /// Whose token that is; `None` if it is nobody's. Why stands in the log, not in the answer.
    pub fn verify(&self, token: &str) -> Option<Box<Bearer>> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let issuer = issuer_of(token);
        let issuer = self.issuers.iter().find(|one| issuer.as_ref() == Some(&one.rules.issuer));
        let Some(issuer) = issuer else {
            tracing::debug!("a token of an issuer that is not trusted was refused");
            return None;
        };
        let judged = issuer.rules.verify(&issuer.keys.read(), token, now.as_secs());
        match judged {
            Ok(claims) => {
                let left = Duration::from_secs(claims.until).saturating_sub(now);
                // Centuries ahead means never; no clock reaches that far.
                let until = clock().checked_add(left.min(Duration::from_secs(100 * 365 * 24 * 3600)))?;
                Some(Box::new(Bearer {
                    issuer: issuer.rules.issuer.clone(),
                    subject: claims.subject,
                    authid: claims.authid,
                    authrole: claims.role,
                    until,
                }))
            }
            Err(why) => {
                if why == Bad::UnknownKey {
                    issuer.wanted.notify_one();
                }
                tracing::info!(issuer = %issuer.rules.issuer, %why, "a token was refused");
                None
            }
        }
    }

    /// Keeps the keys of one issuer as its source has them, for ever.
    async fn follow(&self, issuer: &Issuer) {
        match &issuer.source {
            KeySource::File(file) => {
                let mut known = None;
                loop {
                    let look = tokio::fs::metadata(file).await.ok();
                    let look = look.map(|metadata| (metadata.len(), metadata.modified().ok()));
                    if look != known {
                        known = look;
                        issuer.read_file(file);
                    }
                    tokio::time::sleep(LOOK_EVERY).await;
                }
            }
            KeySource::Url(url) => {
                let mut pause = ASK_AGAIN;
                loop {
                    let answer = url
                        .get()
                        .await
                        .and_then(|text| KeySet::read(&text).map_err(|error| error.to_string()));
                    match answer {
                        Ok(keys) => {
                            tracing::debug!(issuer = %issuer.rules.issuer, keys = keys.len(), "keys were fetched");
                            issuer.set_keys(keys);
                            pause = ASK_AGAIN;
                            tokio::time::sleep(ASK_AGAIN).await;
                            // Whichever is first: the time, or a token with a new key.
                            let _ = tokio::time::timeout(ASK_EVERY, issuer.wanted.notified()).await;
                        }
                        Err(error) => {
                            tracing::warn!(issuer = %issuer.rules.issuer, error, "keys could not be fetched; the former stay");
                            tokio::time::sleep(pause).await;
                            pause = (pause * 2).min(ASK_AGAIN_MAX);
                        }
                    }
                }
            }
        }
    }

    /// Keeps the keys of all issuers as their sources have them, for ever.
    pub async fn watch(self: Arc<Self>) {
        let each = self.issuers.iter().map(|issuer| Box::pin(self.follow(issuer)));
        futures_util::future::join_all(each).await;
    }
}

impl Issuer {
    fn read_file(&self, file: &std::path::Path) {
        match read_keys(file) {
            Ok(keys) => self.set_keys(keys),
            Err(error) => {
                tracing::error!(file = %file.display(), error, "the keys of an issuer cannot be read; the former stay");
            }
        }
    }
}

/// The clock of sessions; tokio's, so that tests can pause it.
fn clock() -> Instant {
    tokio::time::Instant::now().into_std()
}
