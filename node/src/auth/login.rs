//! What nodes tell each other of the logins of browsers (`session::auth::cookie`).

use sha2::{Digest, Sha256};

use super::Principal;

/// Something other nodes are to know. Times are milliseconds since 1970 (UTC).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CookieNews {
    /// Somebody has proved itself on a connection with that cookie.
    Bound(Box<Bound>),
    /// That is over.
    Forgotten {
        /// The hash of the cookie.
        cookie: [u8; 32],
        /// Since when.
        at_ms: u64,
    },
    /// Some of that could not be said: nothing that was learned from others is to be relied on.
    Lost,
}

/// A login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bound {
    /// The hash of the cookie.
    pub cookie: [u8; 32],
    /// The realm.
    pub realm: String,
    /// The principal.
    pub authid: String,
    /// What it was then, see [`fingerprint`].
    pub principal: [u8; 32],
    /// When it was made.
    pub at_ms: u64,
    /// When it ends.
    pub until_ms: u64,
}

/// A hash of all that a principal is, so that one that was changed is known for another.
pub fn fingerprint(principal: &Principal) -> [u8; 32] {
    let mut hash = Sha256::new();
    let mut part = |text: &str| {
        hash.update((text.len() as u64).to_be_bytes());
        hash.update(text);
    };
    part(&principal.authid);
    part(&principal.role);
    principal.credentials.iter().for_each(|one| part(&one.to_text()));
    hash.finalize().into()
}
