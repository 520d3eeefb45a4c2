//! Stand-ins: who asks for somebody who does not exist meets a principal that looks like the others and knows no secret.
//!
//! A stand-in takes the methods and parameters of the realm's own principals, each set as often as it occurs among them, chosen by a
//! keyed hash of the authid: always the same for one name, on every node and after every restart, and rarely another when
//! principals come and go. Its salts and keys come from the same hash. Nothing proves itself to it, and the work is the same.

use std::{collections::BTreeMap, sync::LazyLock};

use base64::{Engine, prelude::BASE64_STANDARD};
use ed25519_dalek::SigningKey;

use super::{
    CertificateMatch, Credential, Principal, Secret, hmac_sha256,
    kdf::Kdf,
    scram::{KeyPair, ScramKeys},
    ticket::TicketVerifier,
    wampcra::{CraKey, Salting},
};

/// What the principals of a realm look like.
#[derive(Debug, Default)]
pub struct Shapes(BTreeMap<String, Shape>);

/// Principals that cannot be told apart by what an exchange shows before it is over.
#[derive(Debug)]
struct Shape {
    count: u32,
    role: String,
    /// Credentials of that shape that are nobody's.
    pattern: Vec<Credential>,
}

impl Shapes {
    /// Counts a principal in.
    pub fn add(&mut self, principal: &Principal) {
        let entry = self.0.entry(shape(principal)).or_insert_with(|| {
            // What is kept as the pattern holds nothing of the principal.
            let faked = principal.credentials.iter().enumerate();
            Shape {
                count: 0,
                role: principal.role.clone(),
                pattern: faked.map(|(at, one)| fake(one, &[0; 32], "", at)).collect(),
            }
        });
        entry.count = entry.count.saturating_add(1);
    }

    /// How many kinds of principals there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True if there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// True if there is one that looks the same.
    pub fn has(&self, principal: &Principal) -> bool {
        self.0.contains_key(&shape(principal))
    }

    /// Counts a principal out.
    pub fn remove(&mut self, principal: &Principal) {
        let shape = shape(principal);
        if let Some(entry) = self.0.get_mut(&shape) {
            entry.count -= 1;
            if entry.count == 0 {
                self.0.remove(&shape);
            }
        }
    }

    /// Whether any principal has a credential for which `is` holds.
    pub fn any(&self, is: impl Fn(&Credential) -> bool) -> bool {
        self.0.values().any(|shape| shape.pattern.iter().any(&is))
    }

    /// The stand-in of that name, among the shapes that have a credential for which `is` holds.
    pub fn stand_in(&self, key: &[u8; 32], authid: &str, is: impl Fn(&Credential) -> bool) -> Principal {
        // Weighted rendezvous hashing: the set with the highest score wins, and a score depends on that set alone.
        let score = |name: &str, count: u32| {
            let hash = hmac_sha256(key, &[b"shape", authid.as_bytes(), &[0], name.as_bytes()]);
            let [a, b, c, d, ..] = hash;
            let unit = (f64::from(u32::from_be_bytes([a, b, c, d])) + 0.5) / (f64::from(u32::MAX) + 1.0);
            f64::from(count) / -unit.ln()
        };
        let chosen = self
            .0
            .iter()
            .filter(|(_, shape)| shape.pattern.iter().any(&is))
            .map(|(name, shape)| (score(name, shape.count), shape))
            .max_by(|a, b| a.0.total_cmp(&b.0));
        let (role, pattern) = chosen.map_or(("", [].as_slice()), |(_, shape)| (&shape.role, &shape.pattern));
        let credentials = pattern.iter().enumerate();
        Principal {
            authid: authid.to_owned(),
            role: role.to_owned(),
            credentials: credentials.map(|(at, one)| fake(one, key, authid, at)).collect(),
        }
    }
}

/// What people mostly use for a method, in a form that is nobody's.
pub fn usual(kind: &str) -> Option<Credential> {
    let zeros = || KeyPair {
        stored: [0; 32],
        server: [0; 32],
    };
    match kind {
        "wampcra" => Some(Credential::WampCra(CraKey::plain(b"nobody's"))),
        "scram" => Some(Credential::Scram(ScramKeys {
            kdf: Kdf::Pbkdf2 { iterations: 10_000 },
            salt: vec![0; 16],
            keys: zeros(),
            autobahn: None,
        })),
        "cryptosign" => Some(Credential::CryptoSign(*NOBODYS_KEY)),
        _ => None,
    }
}

/// A point of the curve, so that checking a signature with it takes as long as with any. It proves nothing: stand-ins are let in by nobody.
static NOBODYS_KEY: LazyLock<[u8; 32]> = LazyLock::new(|| SigningKey::from_bytes(&[0x52; 32]).verifying_key().to_bytes());

fn shape(principal: &Principal) -> String {
    // The role stands in the challenge of `wampcra`.
    let credentials: String = principal.credentials.iter().map(|one| one.shape() + ";").collect();
    format!("{};{credentials}", principal.role)
}

/// A credential of the same shape that nobody has.
fn fake(like: &Credential, key: &[u8; 32], authid: &str, at: usize) -> Credential {
    let at = u8::try_from(at).unwrap_or(u8::MAX);
    let draw = |what: &str| hmac_sha256(key, &[what.as_bytes(), &[0, at], authid.as_bytes()]);
    let bytes = |what: &str, len: usize| {
        let [first, second] = [draw(what), hmac_sha256(&draw(what), &[b"more"])];
        [first, second].concat()[..len.min(64)].to_vec()
    };
    let pair = |what: &str| KeyPair {
        stored: draw(what),
        server: hmac_sha256(&draw(what), &[b"server"]),
    };
    match like {
        Credential::Ticket(ticket) => Credential::Ticket(TicketVerifier {
            kdf: ticket.kdf,
            salt: bytes("salt", ticket.salt.len()),
            hash: draw("hash"),
        }),
        Credential::WampCra(cra) => Credential::WampCra(CraKey {
            key: Secret::new(BASE64_STANDARD.encode(draw("key"))),
            salting: cra.salting.as_ref().map(|with| Salting {
                salt: BASE64_STANDARD.encode(bytes("salt", with.salt.len() / 4 * 3 - padding(&with.salt))),
                iterations: with.iterations,
                keylen: with.keylen,
            }),
        }),
        Credential::Scram(scram) => Credential::Scram(ScramKeys {
            kdf: scram.kdf,
            salt: bytes("salt", scram.salt.len()),
            keys: pair("keys"),
            autobahn: scram.autobahn.as_ref().map(|_| pair("autobahn")),
        }),
        // The exchange shows no key of the principal, so one serves all stand-ins; to make one takes long enough to be noticed.
        Credential::CryptoSign(_) => Credential::CryptoSign(*NOBODYS_KEY),
        Credential::Certificate(_) => Credential::Certificate(CertificateMatch::Fingerprint(draw("certificate"))),
    }
}

/// The padding of a base64 text, so that one of the same length can be made.
fn padding(text: &str) -> usize {
    text.bytes()
        .rev()
        .take(2)
        .filter(|byte| *byte == b'=')
        .count()
        .min(text.len() / 4 * 3)
}
