//! The methods with a challenge: what CHALLENGE says, and how AUTHENTICATE is judged.
//!
//! Spec: WAMP advanced profile, "Ticket-based Authentication", "Challenge Response Authentication", "Salted Challenge Response
//! Authentication Mechanism", "Cryptosign-based Authentication".

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::json;
use subtle::ConstantTimeEq;

use super::{Authenticator, Identity, Learned, Offer, PeerFacts, Promise, RealmAuth, Tokens, authenticator, is_cryptosign};
use crate::{
    auth::{
        Credential, Principal, Principals,
        cryptosign::{self, hex, unhex},
        jwt,
        kdf::Kdf,
        scram::Exchange,
    },
    wamp::{Dict, Value, timestamp},
};

/// Who an exchange is about.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The principal, or a stand-in.
    pub principal: &'a Arc<Principal>,
    /// False for a stand-in.
    pub real: bool,
}

/// A method that was begun.
#[derive(Debug)]
pub struct Challenged {
    /// Its name, for CHALLENGE.
    pub method: &'static str,
    /// What CHALLENGE says beside.
    pub extra: Dict,
    /// What AUTHENTICATE is judged by.
    pub pending: Pending,
}

/// An exchange that waits for AUTHENTICATE.
#[derive(Debug)]
pub struct Pending {
    principals: Arc<Principals>,
    principal: Arc<Principal>,
    /// False for a stand-in, to which nothing proves itself.
    real: bool,
    method: &'static str,
    proof: Proof,
    /// Whose tokens may come as tickets.
    tokens: Option<Arc<Tokens>>,
    /// Who is asked about a ticket that is of no principal; and whose refusals take their time.
    authenticator: Option<Arc<Authenticator>>,
    /// What it has said already, and is to be told in WELCOME.
    asked: Option<Option<Dict>>,
    session: Option<Promise>,
}

#[derive(Debug)]
enum Proof {
    Ticket,
    WampCra { challenge: String },
    Scram { exchange: Box<Exchange> },
    CryptoSign { key: [u8; 32], message: cryptosign::Challenge },
}

/// Whom a ticket is of, to be asked of an authenticator.
pub(super) struct Question {
    authenticator: Arc<Authenticator>,
    principals: Arc<Principals>,
    authid: String,
    details: Dict,
}

impl Question {
    /// Asks.
    pub(super) async fn ask(self) -> Verified {
        let learned = self
            .authenticator
            .ask(TICKET, Some(&self.authid), self.details, &self.principals);
        match learned.await {
            Some(learned) => Verified::As(Box::new(learned.identity(TICKET))),
            None => Verified::Denied,
        }
    }
}

/// What AUTHENTICATE came to.
#[derive(Debug)]
pub enum Verified {
    /// It is who it says it is.
    As(Box<Identity>),
    /// It is not, or nobody is.
    Denied,
    /// An authenticator was asked at HELLO: whom it knows.
    Learned(Option<Box<Learned>>),
}

/// The names of the methods with a challenge.
pub(in crate::session) const TICKET: &str = "ticket";
const WAMPCRA: &str = "wampcra";
const SCRAM: &str = "wamp-scram";
const SCRAM_OF_AUTOBAHN: &str = "scram";
pub(super) const CRYPTOSIGN: &str = "cryptosign";
/// The only channel binding: what TLS 1.3 has (RFC 9266).
const TLS_EXPORTER: &str = "tls-exporter";
/// The longest nonce taken from a client, in characters.
const NONCE_MAX: usize = 256;

/// The credential a method needs; `None` for methods without a challenge.
pub(super) fn needs(method: &str) -> Option<fn(&Credential) -> bool> {
    Some(match method {
        TICKET => |one| matches!(one, Credential::Ticket(_)),
        WAMPCRA => |one| matches!(one, Credential::WampCra(_)),
        SCRAM | SCRAM_OF_AUTOBAHN => |one| matches!(one, Credential::Scram(_)),
        CRYPTOSIGN => is_cryptosign,
        _ => return None,
    })
}

/// Whether an authenticator is asked when a method is offered: `Some(Some)` at HELLO, `Some(None)` at AUTHENTICATE, `None` never.
pub(super) fn asked_first(method: &str) -> Option<Option<&'static str>> {
    match method {
        TICKET => Some(None),
        _ => [WAMPCRA, SCRAM, SCRAM_OF_AUTOBAHN, CRYPTOSIGN]
            .into_iter()
            .find(|known| *known == method)
            .map(Some),
    }
}

/// Begins `method` for `subject`, if it has a credential for that and the client has said what is needed.
pub(super) fn begin(
    auth: &RealmAuth,
    method: &str,
    subject: Subject<'_>,
    offer: Offer<'_>,
    peer: &PeerFacts,
    session: &impl Fn() -> Option<Promise>,
) -> Option<Challenged> {
    let of = |subject: Subject<'_>, method, proof, extra| Challenged {
        method,
        extra,
        pending: Pending {
            principals: Arc::clone(&auth.principals),
            principal: Arc::clone(subject.principal),
            real: subject.real,
            method,
            proof,
            tokens: auth.tokens.clone(),
            authenticator: auth.authenticator.clone(),
            asked: None,
            session: None,
        },
    };
    let credential = |is: fn(&Credential) -> bool| subject.principal.credentials.iter().find(|one| is(one));
    match method {
        TICKET => {
            // A token may be of anybody who is no principal.
            if subject.real || (auth.tokens.is_none() && auth.authenticator.is_none()) {
                credential(needs(TICKET)?)?;
            }
            Some(of(subject, TICKET, Proof::Ticket, Dict::new()))
        }
        WAMPCRA => {
            let Credential::WampCra(key) = credential(needs(WAMPCRA)?)? else {
                return None;
            };
            let promise = session()?;
            let challenge = json!({
                "authid": subject.principal.authid,
                "authrole": subject.principal.role,
                "authmethod": WAMPCRA,
                "authprovider": if auth.authenticator.is_some() && auth.principals.by_authid(&subject.principal.authid).is_none() {
                    "dynamic"
                } else {
                    "static"
                },
                "nonce": BASE64_STANDARD.encode(random::<32>()?),
                "timestamp": timestamp_now(),
                "session": promise.session()?.get(),
            });
            let challenge = challenge.to_string();
            let mut extra = Dict::new().with("challenge", challenge.as_str());
            if let Some(salting) = &key.salting {
                extra.set("salt", salting.salt.as_str());
                extra.set("keylen", u64::from(salting.keylen));
                extra.set("iterations", u64::from(salting.iterations));
            }
            let mut challenged = of(subject, WAMPCRA, Proof::WampCra { challenge }, extra);
            challenged.pending.session = Some(promise);
            Some(challenged)
        }
        SCRAM => scram(SCRAM, subject, offer, peer).map(|(proof, extra)| of(subject, SCRAM, proof, extra)),
        SCRAM_OF_AUTOBAHN => {
            scram(SCRAM_OF_AUTOBAHN, subject, offer, peer).map(|(proof, extra)| of(subject, SCRAM_OF_AUTOBAHN, proof, extra))
        }
        CRYPTOSIGN => {
            let said = offer.extra?;
            let key = unhex(said.text("pubkey")?)?;
            // Without an authid the key says who it is.
            let by_key;
            let subject = if offer.authid.is_some() {
                subject
            } else {
                let found = auth.principals.by_key(&key);
                let real = found.is_some();
                let stand_in = auth.principals.stand_in(&hex(&key), is_cryptosign);
                by_key = found.unwrap_or(stand_in);
                Subject {
                    principal: &by_key,
                    real,
                }
            };
            let mut keys = subject.principal.credentials.iter().filter_map(|one| match one {
                Credential::CryptoSign(known) => Some(*known),
                _ => None,
            });
            let first = keys.next()?;
            let own = first == key || keys.any(|known| known == key);
            let (proof, extra) = cryptosign(auth, if own { key } else { first }, said, peer)?;
            let mut challenged = of(subject, CRYPTOSIGN, proof, extra);
            challenged.pending.real &= own;
            Some(challenged)
        }
        _ => None,
    }
}

fn scram(method: &'static str, subject: Subject<'_>, offer: Offer<'_>, peer: &PeerFacts) -> Option<(Proof, Dict)> {
    let keys = subject.principal.credentials.iter().find_map(|one| match one {
        Credential::Scram(keys) => Some(keys),
        _ => None,
    })?;
    let said = offer.extra?;
    let client_nonce = said.text("nonce").filter(|nonce| is_nonce(nonce))?;
    let binding = match said.get("channel_binding").filter(|binding| **binding != Value::Null) {
        None => None,
        // One that cannot be had ends the method: the client asked for it.
        Some(kind) if kind.as_text() == Some(TLS_EXPORTER) => Some((TLS_EXPORTER.to_owned(), peer.exporter()?.to_vec())),
        Some(_) => return None,
    };
    let nonce = client_nonce.to_owned() + &BASE64_STANDARD.encode(random::<16>()?);
    let autobahn = method == SCRAM_OF_AUTOBAHN;
    let mut extra = Dict::new()
        .with("nonce", nonce.as_str())
        .with("salt", BASE64_STANDARD.encode(&keys.salt).as_str())
        .with("iterations", u64::from(keys.iterations()));
    match keys.kdf {
        Kdf::Pbkdf2 { .. } => {
            extra.set("kdf", keys.kdf.name());
            // Autobahn takes a null for a number.
            if !autobahn {
                extra.set("memory", Value::Null);
            }
        }
        Kdf::Argon2id { memory, .. } => {
            extra.set("kdf", if autobahn { "argon2id-13" } else { keys.kdf.name() });
            extra.set("memory", u64::from(memory));
        }
    }
    let exchange = Exchange {
        authid: subject.principal.authid.clone(),
        client_nonce: client_nonce.to_owned(),
        nonce,
        binding,
    };
    let exchange = Box::new(exchange);
    Some((Proof::Scram { exchange }, extra))
}

fn cryptosign(auth: &RealmAuth, key: [u8; 32], said: &Dict, peer: &PeerFacts) -> Option<(Proof, Dict)> {
    // Choice: a binding that cannot be had is left out, as the text allows; the client decides whether it goes on.
    let channel_id = peer.exporter().filter(|_| said.text("channel_binding") == Some(TLS_EXPORTER));
    let challenge = random::<32>()?;
    let binding = match channel_id {
        Some(_) => Value::from(TLS_EXPORTER),
        None => Value::Null,
    };
    let mut extra = Dict::new()
        .with("challenge", hex(&challenge).as_str())
        .with("channel_binding", binding);
    if let (Some(router), Some(asked)) = (&auth.router_key, said.text("challenge").and_then(unhex)) {
        extra.set("pubkey", hex(router.verifying_key().as_bytes()).as_str());
        let signed = cryptosign::sign(router, &cryptosign::message(&asked, channel_id));
        extra.set("signature", signed.as_str());
    }
    let message = cryptosign::message(&challenge, channel_id);
    Some((Proof::CryptoSign { key, message }, extra))
}

impl Pending {
    /// Who the client says it is; the key of slowing down.
    pub fn authid(&self) -> &str {
        &self.principal.authid
    }

    /// The authenticator has said who it is about.
    pub(super) fn asked(&mut self, extra: Option<Dict>) {
        self.asked = Some(extra);
    }

    /// True if somebody may have to be asked, and a refusal takes its time.
    pub fn is_asked_about(&self) -> bool {
        self.authenticator.is_some()
    }

    /// The question about a ticket that is of no principal.
    pub(super) fn question(&self, ticket: &str, peer: &PeerFacts) -> Option<Question> {
        let authenticator = self.authenticator.as_ref().filter(|_| !self.real)?;
        // A name that is a principal's is not asked about, though its exchange may be with a stand-in.
        let known = self.principals.by_authid(&self.principal.authid).is_some();
        (matches!(self.proof, Proof::Ticket) && !known && !ticket.is_empty()).then(|| Question {
            authenticator: Arc::clone(authenticator),
            principals: Arc::clone(&self.principals),
            authid: self.principal.authid.clone(),
            details: authenticator::details(TICKET, None, peer).with("ticket", ticket),
        })
    }

    /// True if judging takes so long that it must not be done on an async thread.
    pub fn is_expensive(&self) -> bool {
        let slow = |one: &Credential| matches!(one, Credential::Ticket(ticket) if ticket.kdf.is_some());
        matches!(self.proof, Proof::Ticket) && self.principal.credentials.iter().any(slow)
    }

    /// Judges AUTHENTICATE; the same for a wrong secret and for somebody unknown.
    pub fn verify(self, signature: &str, said: &Dict) -> Verified {
        self.principals.count_verification();
        let mut extra = None;
        let right = match (&self.proof, self.credential()) {
            (Proof::Ticket, Some(Credential::Ticket(ticket))) => ticket.verify(signature.as_bytes()),
            (Proof::WampCra { challenge }, Some(Credential::WampCra(key))) => key.verify(challenge, signature),
            (Proof::Scram { exchange }, Some(Credential::Scram(keys))) => {
                let server = keys.verify(exchange, signature);
                let repeated = repeats(exchange, said);
                extra = server.as_deref().map(|server| {
                    let both = Dict::new().with("verifier", server).with("scram_server_signature", server);
                    Box::new(both)
                });
                server.is_some() && repeated
            }
            (Proof::CryptoSign { key, message }, _) => cryptosign::verify(key, message, signature),
            _ => false,
        };
        // Judged for those who are principals too, though of no use to them, so that nothing tells who is one.
        let bearer = match (&self.proof, &self.tokens) {
            (Proof::Ticket, Some(tokens)) if jwt::looks_like_token(signature) => tokens.verify(signature),
            _ => None,
        };
        if let Some(bearer) = bearer {
            let named = self.principal.authid.is_empty() || self.principal.authid == bearer.authid;
            // The realm's own principals prove themselves by what the realm knows of them.
            if named && !self.real && self.principals.by_authid(&bearer.authid).is_none() {
                return Verified::As(Box::new(Identity::by_token(bearer, self.method)));
            }
        }
        if let Some(said_beside) = self.asked {
            // A principal of that name may have come to be meanwhile.
            let stands = self.real && self.principals.by_authid(&self.principal.authid).is_none();
            if !(right && stands) {
                return Verified::Denied;
            }
            let mut said = said_beside.unwrap_or_default();
            if let Some(own) = extra {
                said.0.extend(own.0);
            }
            let learned = Learned {
                principal: Arc::clone(&self.principal),
                extra: (!said.0.is_empty()).then_some(said),
            };
            let mut identity = learned.identity(self.method);
            identity.session = self.session;
            return Verified::As(Box::new(identity));
        }
        // Somebody who was removed or changed meanwhile is nobody now.
        if !(right && self.real && self.principals.is_current(&self.principal)) {
            return Verified::Denied;
        }
        let identity = Identity {
            extra,
            session: self.session,
            ..Identity::of(&self.principal, self.method)
        };
        Verified::As(Box::new(identity))
    }

    fn credential(&self) -> Option<&Credential> {
        let is = needs(self.method)?;
        self.principal.credentials.iter().find(|one| is(one))
    }
}

/// True if AUTHENTICATE repeats what was agreed on. What it leaves out is bound by the proof anyhow; Autobahn leaves out all.
fn repeats(exchange: &Exchange, said: &Dict) -> bool {
    let nonce = said.text("nonce").is_none_or(|nonce| nonce == exchange.nonce);
    let kind = said.text("channel_binding");
    let data = said
        .text("cbind_data")
        .map(|data| BASE64_STANDARD.decode(data).unwrap_or_default());
    let bound = match &exchange.binding {
        None => kind.is_none() && data.is_none(),
        Some((agreed, known)) => kind.is_none_or(|kind| kind == agreed) && data.is_some_and(|data| data.ct_eq(known).into()),
    };
    nonce && bound
}

/// Base64, as the text wants it; Autobahn's nonces are too. A comma would open another attribute of the signed message.
fn is_nonce(nonce: &str) -> bool {
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=' | b'-' | b'_');
    !nonce.is_empty() && nonce.len() <= NONCE_MAX && nonce.bytes().all(fine)
}

/// The time of day as ISO 8601 in UTC.
fn timestamp_now() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    timestamp::format(u64::try_from(since.as_micros()).unwrap_or_default())
}

/// Fresh random bytes; `None` if the operating system has none, and then nobody is challenged.
fn random<const N: usize>() -> Option<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).ok().map(|()| bytes)
}
