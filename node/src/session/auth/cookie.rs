//! The method `cookie`: a browser that has proved itself once need not do so again.
//!
//! A listener with cookies gives every WebSocket one, drawn at random; it means nothing until a session on that connection has
//! authenticated with another method. From then on a HELLO of the same browser for the same realm that offers `cookie` is let in as
//! the same principal, until the cookie grows old, the client leaves with `wamp.close.logout`, its session is killed, or the principal
//! is changed or removed. The store is this node's own and bounded; on another node the browser proves itself again.
//!
//! Spec: WAMP advanced profile, "Cookie-based Authentication", which leaves all of this open. Choice: what is stored is a hash of
//! the cookie; what was bound as `anonymous` is not.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use parking_lot::Mutex;
use sha2::{Digest, Sha256};

use super::{Identity, PeerFacts};
use crate::auth::{Principal, Principals};

/// Its name on the wire.
pub const METHOD: &str = "cookie";
/// The cookie's name.
pub const NAME: &str = "ringfort";
/// Bytes of randomness in a cookie.
const BYTES: usize = 24;

/// The logins of browsers on this node.
#[derive(Debug)]
pub struct Cookies {
    logins: Mutex<HashMap<[u8; 32], Login>>,
    max: usize,
    /// How long a login is good for.
    pub lifetime: Duration,
}

#[derive(Debug)]
struct Login {
    realm: String,
    principal: Arc<Principal>,
    until: Instant,
}

impl Cookies {
    /// None yet; at most `max` at a time, the oldest goes first.
    pub fn new(max: usize, lifetime: Duration) -> Self {
        Self {
            logins: Mutex::default(),
            max: max.max(1),
            lifetime,
        }
    }

    /// A new cookie; `None` if the operating system has no random numbers.
    pub fn draw() -> Option<Arc<str>> {
        let mut random = [0; BYTES];
        getrandom::fill(&mut random).ok()?;
        Some(BASE64_URL_SAFE_NO_PAD.encode(random).into())
    }

    /// The cookie in a `Cookie` field, if it could be one of ours.
    pub fn read(field: &str) -> Option<Arc<str>> {
        let pairs = field.split(';').filter_map(|pair| pair.trim().split_once('='));
        let (_, value) = pairs.into_iter().find(|(name, _)| *name == NAME)?;
        let decoded = BASE64_URL_SAFE_NO_PAD.decode(value).ok()?;
        (decoded.len() == BYTES).then(|| value.into())
    }

    /// Who the peer's cookie was bound to in that realm, if that still is somebody.
    pub(super) fn identity(
        &self,
        realm: &str,
        authid: Option<&str>,
        peer: &PeerFacts,
        principals: &Principals,
    ) -> Option<Identity> {
        let key = key(peer.cookie.as_deref()?);
        let mut logins = self.logins.lock();
        let login = logins.get(&key)?;
        if login.until <= Instant::now() || !principals.is_current(&login.principal) {
            logins.remove(&key);
            return None;
        }
        let fits = login.realm == realm && authid.is_none_or(|authid| authid == login.principal.authid);
        fits.then(|| Identity::of(&login.principal, METHOD))
    }

    /// Remembers who proved itself on a connection with that cookie.
    pub fn bind(&self, cookie: &str, realm: &str, principal: &Arc<Principal>) {
        let now = Instant::now();
        let login = Login {
            realm: realm.to_owned(),
            principal: Arc::clone(principal),
            until: now + self.lifetime,
        };
        let mut logins = self.logins.lock();
        if logins.len() >= self.max {
            logins.retain(|_, login| login.until > now);
        }
        if logins.len() >= self.max
            && let Some(oldest) = logins.iter().min_by_key(|(_, login)| login.until).map(|(key, _)| *key)
        {
            logins.remove(&oldest);
        }
        logins.insert(key(cookie), login);
    }

    /// Forgets who had that cookie.
    pub fn forget(&self, cookie: &str) {
        self.logins.lock().remove(&key(cookie));
    }
}

fn key(cookie: &str) -> [u8; 32] {
    Sha256::digest(cookie.as_bytes()).into()
}
