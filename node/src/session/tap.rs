//! A look at the messages of one session, or about one URI, as they pass the realm.
//!
//! Owns: what is watched, the head that is kept of a message ([`head`]), how the URI of an answer is known ([`requests`]), and the bounded
//! buffer from which the admin part takes heads. Does not own where messages pass: that is the realm's shell (`realm/tapping.rs`).
//!
//! Invariants: nothing here waits, and what finds no room is dropped and counted before anything of it is copied. Heads hold neither
//! payload, unless that is asked for, nor option values that may be private.

mod head;
mod requests;

use parking_lot::Mutex;

use crate::{
    router::{Effect, MatchPolicy, Realm, pattern},
    wamp::{Message, SessionId, Uri},
};
pub use head::Head;
use head::Passing;
use requests::Requests;

/// What is watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Watched {
    /// Everything of one session.
    Session(SessionId),
    /// Every message about a URI, of any session of this node.
    Uri {
        /// How URIs are compared,
        policy: MatchPolicy,
        /// and with what.
        uri: Uri,
    },
}

/// A tap as the realm has it.
#[derive(Debug)]
pub(super) struct Tap {
    watched: Watched,
    payload: bool,
    requests: Requests,
    buffer: std::sync::Arc<Buffer>,
}

/// Where a tap leaves what it saw.
#[derive(Debug, Default)]
pub struct Buffer(Mutex<Filled>);

/// What a tap has seen since it was last asked.
#[derive(Debug, Default)]
pub struct Filled {
    /// In the order in which they passed.
    pub heads: Vec<Head>,
    /// How many found no room.
    pub lost: u64,
    bytes: usize,
}

/// Heads that wait at most.
const HEADS_MAX: usize = 1_024;
/// Bytes they take at most, those of payloads included.
const BYTES_MAX: usize = 1 << 20;

impl Buffer {
    /// Takes out what is there.
    pub fn take(&self) -> Filled {
        std::mem::take(&mut self.0.lock())
    }

    fn put(&self, head: impl FnOnce() -> Head) {
        let mut filled = self.0.lock();
        if filled.heads.len() >= HEADS_MAX || filled.bytes >= BYTES_MAX {
            filled.lost += 1;
            return;
        }
        let head = head();
        filled.bytes += head.bytes();
        filled.heads.push(head);
    }
}

impl Watched {
    /// True if what is about that URI is watched, whoever's it is.
    fn is_about(&self, about: &str) -> bool {
        match self {
            Self::Session(_) => false,
            Self::Uri { policy, uri } => match policy {
                MatchPolicy::Exact => about == &**uri,
                MatchPolicy::Prefix => about.starts_with(&**uri),
                MatchPolicy::Wildcard => pattern::wildcard_matches(uri, about),
            },
        }
    }
}

impl Tap {
    pub(super) fn new(watched: Watched, payload: bool, buffer: std::sync::Arc<Buffer>) -> Self {
        Self {
            watched,
            payload,
            requests: Requests::default(),
            buffer,
        }
    }

    /// A session sent a message, which the core has not seen yet.
    pub(super) fn incoming(&mut self, core: &Realm, session: SessionId, message: &Message) {
        let of_session = self.watched == Watched::Session(session);
        if !of_session && matches!(self.watched, Watched::Session(_)) {
            return;
        }
        let about = self.requests.of_client(core, session, message);
        let wanted = of_session || about.as_deref().is_some_and(|uri| self.watched.is_about(uri));
        if !wanted {
            return;
        }
        if let Some(uri) = &about {
            self.requests.sent(session, message, uri);
        }
        let passing = Passing {
            from_client: true,
            session,
            receivers: 1,
            message,
            about,
        };
        self.buffer.put(|| Head::of(passing, self.payload));
    }

    /// What the core wants its shell to do, before it is done.
    pub(super) fn outgoing(&mut self, core: &Realm, effects: &[Effect]) {
        for effect in effects {
            let (sessions, message) = match effect {
                Effect::Send { session, message } | Effect::Abort { session, message } => {
                    (std::slice::from_ref(session), message)
                }
                Effect::Kill { session, goodbye } => (std::slice::from_ref(session), goodbye),
                Effect::Fanout { sessions, message } | Effect::FanoutAs { sessions, message, .. } => (&sessions[..], message),
                _ => continue,
            };
            let session = match &self.watched {
                Watched::Session(session) if !sessions.contains(session) => continue,
                Watched::Session(session) => *session,
                Watched::Uri { .. } => match sessions.first() {
                    Some(session) => *session,
                    None => continue,
                },
            };
            let about = self.requests.of_router(core, session, message);
            let by_uri = matches!(self.watched, Watched::Uri { .. });
            if by_uri && !about.as_deref().is_some_and(|uri| self.watched.is_about(uri)) {
                continue;
            }
            if let Some(uri) = &about {
                self.requests.heard(session, message, uri);
            }
            let passing = Passing {
                from_client: false,
                session,
                receivers: sessions.len(),
                message,
                about,
            };
            self.buffer.put(|| Head::of(passing, self.payload));
        }
    }
}

#[cfg(test)]
#[path = "tap_tests.rs"]
mod tests;
