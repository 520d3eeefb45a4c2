//! Authentication: who a peer is, found out by an exchange of messages.
//!
//! Owns the exchange: which of the offered methods is taken, what stands in CHALLENGE, what AUTHENTICATE is checked against. Does
//! not own principals and the arithmetic of methods, which are [`crate::auth`], nor sockets. Start reading at [`RealmAuth::begin`].
//!
//! Spec: WAMP advanced profile, "Authentication". The client offers methods in order; the first that the principal it names can
//! carry out is taken. Who is unknown, or has none of the methods, goes through the same exchange with a stand-in and gets the same
//! answer as somebody with a wrong secret; the verifier runs for both.

pub mod anonymous;
pub mod authenticator;
pub mod challenge;
pub mod cookie;
pub mod facts;
pub mod guard;
pub mod key_url;
mod promise;
pub mod tokens;

use std::{collections::HashMap, sync::Arc};

use ed25519_dalek::SigningKey;

pub use anonymous::Anonymous;
pub use authenticator::{Authenticator, Learned};
pub use challenge::{Challenged, Pending, Verified};
pub use facts::{Cookie, PeerFacts, Shown, TlsFacts};
pub use guard::Guard;
pub use promise::Promise;
pub use tokens::Tokens;

use crate::{
    auth::{Clear, Credential, Principal, Principals, Secret, Seed, cryptosign::unhex},
    router::Bearer,
    wamp::Dict,
};

/// Who may join a realm, and how.
#[derive(Clone, Debug)]
pub struct RealmAuth {
    /// Who may join without a credential.
    pub anonymous: Anonymous,
    /// The role such sessions get.
    pub anonymous_role: String,
    /// Who may join with one.
    pub principals: Arc<Principals>,
    /// What the router proves itself with to clients of `cryptosign` that ask for it.
    pub router_key: Option<Arc<SigningKey>>,
    /// Whose tokens are taken for tickets.
    pub tokens: Option<Arc<Tokens>>,
    /// Who is asked about those who are no principals.
    pub authenticator: Option<Arc<Authenticator>>,
}

impl Default for RealmAuth {
    fn default() -> Self {
        Self::new("", Vec::new())
    }
}

/// Somebody whose identity is established.
#[derive(Debug)]
pub struct Identity {
    /// The authenticated name.
    pub authid: String,
    /// The role it acts in.
    pub authrole: String,
    /// How it was authenticated.
    pub authmethod: &'static str,
    /// Who authenticated it.
    pub authprovider: &'static str,
    /// What WELCOME tells it beside, such as the router's own proof.
    pub extra: Option<Box<Dict>>,
    /// The principal it is; `None` for anonymous.
    pub principal: Option<Arc<Principal>>,
    /// The token its session stands on, and ends with.
    pub bearer: Option<Box<Bearer>>,
    /// The id its session was promised in CHALLENGE.
    pub session: Option<Promise>,
}

/// What a client says in HELLO that concerns authentication.
#[derive(Clone, Copy, Debug)]
pub struct Offer<'a> {
    /// The methods it offers, in its order.
    pub methods: &'a [&'a str],
    /// Who it says it is.
    pub authid: Option<&'a str>,
    /// What its methods need.
    pub extra: Option<&'a Dict>,
}

/// What is done about HELLO.
#[derive(Debug)]
pub enum Begin {
    /// The peer is known without further words.
    Known(Identity),
    /// Send CHALLENGE, then wait.
    Challenge(Box<Challenged>),
}

/// Why no method was begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoMethod {
    /// Only anonymous access was asked for, and this peer may not have it.
    AuthenticationRequired,
    /// None of the offered methods is for this realm.
    NoMatch,
}

impl Identity {
    /// Somebody of that name and role.
    pub fn new(authid: String, authrole: String, authmethod: &'static str) -> Self {
        Self {
            authid,
            authrole,
            authmethod,
            authprovider: "static",
            extra: None,
            principal: None,
            bearer: None,
            session: None,
        }
    }

    /// Whom a token names.
    pub fn by_token(bearer: Box<Bearer>, authmethod: &'static str) -> Self {
        Self {
            authprovider: "jwt",
            bearer: Some(bearer.clone()),
            ..Self::new(bearer.authid, bearer.authrole, authmethod)
        }
    }

    /// A principal that has proved itself.
    pub fn of(principal: &Arc<Principal>, authmethod: &'static str) -> Self {
        Self {
            principal: Some(Arc::clone(principal)),
            ..Self::new(principal.authid.clone(), principal.role.clone(), authmethod)
        }
    }
}

impl RealmAuth {
    /// A realm of that name that only these principals may join.
    pub fn new(realm: &str, seeds: Vec<Seed>) -> Self {
        Self {
            anonymous: Anonymous::Off,
            anonymous_role: String::new(),
            principals: Arc::new(Principals::new(realm, seeds)),
            router_key: None,
            tokens: None,
            authenticator: None,
        }
    }

    /// A realm, unlocked, whose principals have tickets: authid, role and ticket of each. For tests and tools.
    pub fn with_tickets(realm: &str, tickets: &HashMap<String, (String, String)>) -> Self {
        let seed = |(authid, (role, ticket)): (&String, &(String, String))| Seed {
            principal: Principal {
                authid: authid.clone(),
                role: role.clone(),
                credentials: Vec::new(),
            },
            clear: vec![Clear::Ticket(Secret::new(ticket.as_bytes()))],
        };
        let auth = Self::new(realm, tickets.iter().map(seed).collect());
        auth.principals.unlock(&[0; 16]);
        auth
    }

    /// Begins the first of the offered methods that can be carried out. `session` promises an id for the session, where a method
    /// names it; `cookies` are the logins that browsers need not repeat.
    ///
    /// # Errors
    /// There is none.
    pub fn begin(
        &self,
        realm: &str,
        offer: Offer<'_>,
        peer: &PeerFacts,
        cookies: &cookie::Cookies,
        session: impl Fn() -> Option<Promise>,
    ) -> Result<Begin, NoMethod> {
        let principals = &self.principals;
        let known = offer.authid.and_then(|authid| principals.by_authid(authid));
        // Made for those who are known too, so that it takes as long, and only where a method needs it.
        let needed: Vec<_> = offer.methods.iter().filter_map(|method| challenge::needs(method)).collect();
        let stand_in = principals.stand_in(offer.authid.unwrap_or_default(), |one| needed.iter().any(|is| is(one)));
        let subject = known.as_ref().unwrap_or(&stand_in);
        for method in offer.methods {
            let begun = match *method {
                anonymous::METHOD if self.anonymous.admits(peer) => {
                    return Ok(Begin::Known(anonymous::identity(&self.anonymous_role)));
                }
                cookie::METHOD => cookies.identity(realm, offer.authid, peer, principals),
                TLS => self.by_certificate(offer.authid, peer),
                _ => None,
            };
            if let Some(identity) = begun {
                return Ok(Begin::Known(identity));
            }
            let subject = challenge::Subject {
                principal: subject,
                real: known.is_some(),
            };
            if let Some(challenged) = challenge::begin(self, method, subject, offer, peer, &session) {
                return Ok(Begin::Challenge(Box::new(challenged)));
            }
        }
        // Who is known and has none of the methods is not told so: that would tell that it exists.
        for method in offer.methods.iter().filter(|_| known.is_some()) {
            let subject = challenge::Subject {
                principal: &stand_in,
                real: false,
            };
            if let Some(challenged) = challenge::begin(self, method, subject, offer, peer, &session) {
                return Ok(Begin::Challenge(Box::new(challenged)));
            }
        }
        let only_anonymous = offer.methods.iter().all(|method| *method == anonymous::METHOD);
        Err(if only_anonymous {
            NoMethod::AuthenticationRequired
        } else {
            NoMethod::NoMatch
        })
    }

    /// The method for which the authenticator has to say what a client proves, before that can be challenged; `None`: it is not to be
    /// asked, or not yet. What would be taken before that method in [`Self::begin`] is.
    pub fn asks_about(&self, realm: &str, offer: Offer<'_>, peer: &PeerFacts, cookies: &cookie::Cookies) -> Option<&'static str> {
        self.authenticator.as_ref()?;
        if offer.authid.is_some_and(|authid| self.principals.by_authid(authid).is_some()) {
            return None;
        }
        for method in offer.methods {
            match *method {
                anonymous::METHOD if self.anonymous.admits(peer) => return None,
                cookie::METHOD if cookies.identity(realm, offer.authid, peer, &self.principals).is_some() => return None,
                TLS if self.by_certificate(offer.authid, peer).is_some() => return None,
                _ => {}
            }
            match challenge::asked_first(method) {
                Some(None) => return None,
                Some(Some(_)) if offer.authid.is_none() && !self.asks_by_key(method, offer) => {}
                Some(Some(method)) => return Some(method),
                None => {}
            }
        }
        None
    }

    /// True if the method is the one where a key says who somebody is, and the key is of no principal.
    fn asks_by_key(&self, method: &str, offer: Offer<'_>) -> bool {
        let key = offer.extra.and_then(|extra| unhex(extra.text("pubkey")?));
        method == challenge::CRYPTOSIGN && key.is_some_and(|key| self.principals.by_key(&key).is_none())
    }

    /// Begins a method with what the authenticator has said, or with a stand-in if it knows nobody of that name.
    ///
    /// # Errors
    /// The client has not said what the method needs.
    pub fn begin_with(
        &self,
        method: &'static str,
        learned: Option<Learned>,
        offer: Offer<'_>,
        peer: &PeerFacts,
        session: impl Fn() -> Option<Promise>,
    ) -> Result<Begin, NoMethod> {
        let (real, extra) = (learned.is_some(), learned.as_ref().and_then(|learned| learned.extra.clone()));
        let key = offer.extra.and_then(|extra| extra.text("pubkey"));
        let name = offer.authid.or(key).unwrap_or_default();
        let principal = match learned {
            Some(learned) => {
                self.principals.learn(&learned.principal);
                learned.principal
            }
            None => self.principals.stand_in_like_learned(name, method),
        };
        let subject = challenge::Subject {
            principal: &principal,
            real,
        };
        // The name is known now, so that nothing looks for another by the key.
        let offer = Offer {
            authid: Some(name),
            ..offer
        };
        let challenged = challenge::begin(self, method, subject, offer, peer, &session);
        let mut challenged = challenged.ok_or(NoMethod::NoMatch)?;
        challenged.pending.asked(extra);
        Ok(Begin::Challenge(Box::new(challenged)))
    }

    /// The principal of the connection's client certificate, unless the client asks for another.
    fn by_certificate(&self, authid: Option<&str>, peer: &PeerFacts) -> Option<Identity> {
        let names = &peer.tls.as_ref()?.certificate;
        let principal = self.principals.by_certificate(names)?;
        authid
            .is_none_or(|authid| authid == principal.authid)
            .then(|| Identity::of(&principal, TLS))
    }
}

/// The method whose proof is the client certificate of the connection.
pub const TLS: &str = "tls";

/// True for a public key.
fn is_cryptosign(credential: &Credential) -> bool {
    matches!(credential, Credential::CryptoSign(_))
}

#[cfg(test)]
#[path = "auth_tests.rs"]
mod tests;
