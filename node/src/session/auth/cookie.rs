//! The method `cookie`: a browser that has proved itself once need not do so again, whatever node it comes to.
//!
//! A listener with cookies gives every WebSocket one, drawn at random, unless it shows one that stands for somebody; it means nothing until
//! a session on that connection has authenticated with another method. One that a browser merely shows is never bound anew: somebody who
//! can plant cookies would share it. From then on a HELLO of the same browser for the same realm that offers `cookie` is let in as
//! the same principal, until the cookie grows old, the client leaves with `wamp.close.logout`, its session is killed, or the principal
//! is changed or removed.
//!
//! A node tells all linked ones of logins that are made and over there. What it has learned from others it relies on only while it is sure
//! to hear of their end: when a link goes down, or news had to be left out, all of that is forgotten, and the browser proves itself
//! again. A login lives as long as the node where it was made.
//!
//! Spec: WAMP advanced profile, "Cookie-based Authentication", which leaves all of this open. Choice: what is stored and told is a hash
//! of the cookie; what was bound as `anonymous`, or by a token or an authenticator, is not. Choice: a login that is over stays over for
//! what other nodes may still say of it: their news counts only if it is newer by more than clocks may differ.

use std::{
    collections::HashMap,
    sync::{Arc, OnceLock},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use parking_lot::Mutex;
use sha2::{Digest, Sha256};

use super::{Cookie, Identity, PeerFacts};
use crate::auth::{
    Principal, Principals,
    login::{Bound, CookieNews, fingerprint},
};

/// Its name on the wire.
pub const METHOD: &str = "cookie";
/// The cookie's name.
pub const NAME: &str = "ringfort";
/// Bytes of randomness in a cookie.
const BYTES: usize = 24;
/// How far the clocks of two nodes may differ, in milliseconds; and how long news may be under way.
const SKEW_MS: u64 = 5_000;

/// The logins of browsers, as far as this node knows them.
pub struct Cookies {
    state: Mutex<State>,
    max: usize,
    /// How long a login is good for.
    pub lifetime: Duration,
    /// Takes what other nodes are to know.
    tell: OnceLock<Box<dyn Fn(CookieNews) + Send + Sync>>,
}

#[derive(Debug, Default)]
struct State {
    logins: HashMap<[u8; 32], Login>,
    /// Logins that are over, and since when.
    over: HashMap<[u8; 32], u64>,
    /// How many logins have come.
    count: u64,
}

#[derive(Debug)]
struct Login {
    bound: Bound,
    /// It was made on another node.
    learned: bool,
    /// Its place among all that have come here.
    order: u64,
}

impl std::fmt::Debug for Cookies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cookies").field("max", &self.max).finish_non_exhaustive()
    }
}

impl Cookies {
    /// None yet; at most `max` at a time, the oldest goes first.
    pub fn new(max: usize, lifetime: Duration) -> Self {
        Self {
            state: Mutex::default(),
            max: max.max(1),
            lifetime,
            tell: OnceLock::new(),
        }
    }

    /// Whom to tell of logins here. Only the first counts.
    pub fn tell_others(&self, tell: impl Fn(CookieNews) + Send + Sync + 'static) {
        let _ = self.tell.set(Box::new(tell));
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
        let key = key(&peer.cookie.as_ref()?.value);
        let mut state = self.state.lock();
        let login = &state.logins.get(&key)?.bound;
        if login.until_ms <= now_ms() {
            state.logins.remove(&key);
            return None;
        }
        if login.realm != realm || authid.is_some_and(|authid| authid != login.authid) {
            return None;
        }
        let principal = principals.by_authid(&login.authid);
        let principal = principal.filter(|principal| fingerprint(principal) == login.principal);
        if principal.is_none() {
            state.logins.remove(&key);
        }
        principal.map(|principal| Identity::of(&principal, METHOD))
    }

    /// True if that cookie stands for somebody.
    pub fn is_bound(&self, cookie: &str) -> bool {
        let state = self.state.lock();
        state
            .logins
            .get(&key(cookie))
            .is_some_and(|login| login.bound.until_ms > now_ms())
    }

    /// Remembers who proved itself on a connection with that cookie, and tells the others. One that the browser showed and that stood
    /// for nobody, or for somebody else, is worth nothing from now on: whoever had put it there would be let in by it.
    pub fn bind(&self, cookie: &Cookie, realm: &str, principal: &Arc<Principal>) {
        let now = now_ms();
        if !cookie.drawn && !self.stands_for(&cookie.value, realm, principal) {
            return self.forget(&cookie.value);
        }
        let bound = Bound {
            cookie: key(&cookie.value),
            realm: realm.to_owned(),
            authid: principal.authid.clone(),
            principal: fingerprint(principal),
            at_ms: now,
            until_ms: now.saturating_add(millis(self.lifetime)),
        };
        self.insert(bound.clone(), false);
        self.tell(CookieNews::Bound(Box::new(bound)));
    }

    fn stands_for(&self, cookie: &str, realm: &str, principal: &Principal) -> bool {
        let state = self.state.lock();
        let bound = state.logins.get(&key(cookie)).map(|login| &login.bound);
        bound.is_some_and(|bound| bound.realm == realm && bound.authid == principal.authid)
    }

    fn insert(&self, bound: Bound, learned: bool) {
        let now = now_ms();
        let mut state = self.state.lock();
        if state.logins.len() >= self.max {
            state.logins.retain(|_, login| login.bound.until_ms > now);
        }
        if state.logins.len() >= self.max
            && let Some(oldest) = state.logins.iter().min_by_key(|(_, one)| one.order).map(|(key, _)| *key)
        {
            state.logins.remove(&oldest);
        }
        state.count += 1;
        let order = state.count;
        state.logins.insert(bound.cookie, Login { bound, learned, order });
    }

    /// Forgets who had that cookie, here and everywhere.
    pub fn forget(&self, cookie: &str) {
        let (cookie, at_ms) = (key(cookie), now_ms());
        self.end(cookie, at_ms);
        self.tell(CookieNews::Forgotten { cookie, at_ms });
    }

    fn end(&self, cookie: [u8; 32], at_ms: u64) {
        let mut state = self.state.lock();
        state.logins.remove(&cookie);
        if state.over.len() >= self.max {
            // What is older than news can be is known to nobody any more.
            let past = now_ms().saturating_sub(millis(self.lifetime).min(3_600_000));
            state.over.retain(|_, since| *since > past);
        }
        if state.over.len() >= self.max {
            // Somebody logs out in masses: rather have all others prove themselves again than one come back.
            state.logins.retain(|_, login| !login.learned);
            state.over.clear();
        }
        let since = state.over.entry(cookie).or_default();
        *since = at_ms.max(*since);
    }

    /// Takes what another node says.
    pub fn told(&self, news: CookieNews) {
        match news {
            CookieNews::Bound(bound) => {
                let over = self.state.lock().over.get(&bound.cookie).copied();
                let newer = over.is_none_or(|since| bound.at_ms > since.saturating_add(SKEW_MS));
                // Nobody makes logins that last longer than they do here.
                let until_ms = bound.until_ms.min(now_ms().saturating_add(millis(self.lifetime)));
                if newer {
                    self.insert(Bound { until_ms, ..*bound }, true);
                }
            }
            CookieNews::Forgotten { cookie, at_ms } => self.end(cookie, at_ms),
            CookieNews::Lost => self.rely_on_nobody(),
        }
    }

    /// The end of logins elsewhere may go unheard: those that were made on other nodes are forgotten.
    pub fn rely_on_nobody(&self) {
        self.state.lock().logins.retain(|_, login| !login.learned);
    }

    /// Tells the logins that were made here once more: another node has come.
    pub fn tell_again(&self) {
        let now = now_ms();
        let own: Vec<Bound> = {
            let state = self.state.lock();
            let own = state
                .logins
                .values()
                .filter(|login| !login.learned && login.bound.until_ms > now);
            own.map(|login| login.bound.clone()).collect()
        };
        own.into_iter()
            .for_each(|bound| self.tell(CookieNews::Bound(Box::new(bound))));
    }

    fn tell(&self, news: CookieNews) {
        if let Some(tell) = self.tell.get() {
            tell(news);
        }
    }
}

fn key(cookie: &str) -> [u8; 32] {
    Sha256::digest(cookie.as_bytes()).into()
}

fn now_ms() -> u64 {
    millis(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[path = "cookie_tests.rs"]
mod tests;
