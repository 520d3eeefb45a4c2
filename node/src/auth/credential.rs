//! A credential as it is kept, and its text form.
//!
//! | text | what it is |
//! |---|---|
//! | `ticket:sha256:SALT:HASH` | salted hash of a long random ticket |
//! | `ticket:argon2id13:MEMORY:ITERATIONS:SALT:HASH`, `ticket:pbkdf2:ITERATIONS:SALT:HASH` | slow hash of a ticket that people chose |
//! | `wampcra:plain:KEY`, `wampcra:pbkdf2:ITERATIONS:KEYLEN:SALT:KEY` | HMAC key, and how clients derive it; SALT is base64 of the text on the wire |
//! | `scram:pbkdf2:ITERATIONS:SALT:STORED:SERVER` | verifier of a password |
//! | `scram:argon2id13:MEMORY:ITERATIONS:SALT:STORED:SERVER[:STORED:SERVER]` | the same; the second pair is for Autobahn's dialect |
//! | `cryptosign:HEX` | an Ed25519 public key |
//! | `tls:sha256:HEX`, `tls:cn:NAME`, `tls:dns:NAME`, `tls:uri:URI`, `tls:email:ADDRESS` | a client certificate |
//!
//! Values are base64 where nothing else is said, MEMORY is in KiB.

use std::{fmt, str::FromStr};

use base64::{Engine, prelude::BASE64_STANDARD};
use serde::{Deserialize, Serialize};

use super::{
    CertificateMatch, Secret,
    cryptosign::{hex, unhex},
    kdf::Kdf,
    scram::{KeyPair, ScramKeys},
    ticket::TicketVerifier,
    wampcra::{CraKey, KEYLEN, Salting},
};

/// What a principal can prove itself with.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Credential {
    /// For `ticket`.
    Ticket(TicketVerifier),
    /// For `wampcra`.
    WampCra(CraKey),
    /// For `wamp-scram` and `scram`.
    Scram(ScramKeys),
    /// For `cryptosign`: an Ed25519 public key.
    CryptoSign([u8; 32]),
    /// For `tls`.
    Certificate(CertificateMatch),
}

/// A secret in clear, of which a [`Credential`] is to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Clear {
    /// A ticket; its verifier is a salted hash.
    Ticket(Secret),
    /// A secret for `wampcra`; 0 iterations for the exchange without a salt.
    WampCra {
        /// The secret.
        secret: Secret,
        /// Iterations of PBKDF2.
        iterations: u32,
    },
    /// A password for SCRAM.
    Scram {
        /// The password, UTF-8.
        password: Secret,
        /// How it is salted.
        kdf: Kdf,
    },
}

/// A text that is no credential. Says what is wrong, never what stands there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a credential: {0}")]
pub struct Invalid(&'static str);

impl Clear {
    /// The method it is for, as in the text form.
    pub fn kind(&self) -> &'static str {
        match self {
            Clear::Ticket(_) => "ticket",
            Clear::WampCra { .. } => "wampcra",
            Clear::Scram { .. } => "scram",
        }
    }

    /// True if that verifier is one that would be made of this secret. Takes as long as its KDF costs.
    pub fn is_behind(&self, verifier: &Credential) -> bool {
        match (self, verifier) {
            (Clear::Ticket(ticket), Credential::Ticket(verifier)) => verifier.kdf.is_none() && verifier.verify(ticket.expose()),
            (Clear::WampCra { secret, iterations }, Credential::WampCra(key)) => match &key.salting {
                None => *iterations == 0 && CraKey::plain(secret.expose()) == *key,
                Some(with) => {
                    with.iterations == *iterations
                        && with.keylen == KEYLEN
                        && CraKey::salted(secret.expose(), with.clone()).is_some_and(|made| made == *key)
                }
            },
            (Clear::Scram { password, kdf }, Credential::Scram(keys)) => {
                let password = std::str::from_utf8(password.expose()).ok();
                keys.kdf == *kdf
                    && password
                        .and_then(|password| ScramKeys::of(password, *kdf, keys.salt.clone()))
                        .is_some_and(|made| made == *keys)
            }
            _ => false,
        }
    }

    /// Its verifier, with 16 bytes of salt. May take as long as its KDF costs; `None` if that cost cannot be paid.
    pub fn credential(&self, salt: [u8; 16]) -> Option<Credential> {
        match self {
            Clear::Ticket(ticket) => TicketVerifier::of(ticket.expose(), None, salt.to_vec()).map(Credential::Ticket),
            Clear::WampCra { secret, iterations: 0 } => Some(Credential::WampCra(CraKey::plain(secret.expose()))),
            Clear::WampCra { secret, iterations } => {
                let salting = Salting {
                    salt: BASE64_STANDARD.encode(salt),
                    iterations: *iterations,
                    keylen: KEYLEN,
                };
                CraKey::salted(secret.expose(), salting).map(Credential::WampCra)
            }
            Clear::Scram { password, kdf } => {
                let password = std::str::from_utf8(password.expose()).ok()?;
                ScramKeys::of(password, *kdf, salt.to_vec()).map(Credential::Scram)
            }
        }
    }
}

impl Credential {
    /// The text form. It holds what an attacker could search passwords with: keep it like a secret.
    pub fn to_text(&self) -> String {
        let b64 = |bytes: &[u8]| BASE64_STANDARD.encode(bytes);
        match self {
            Credential::Ticket(ticket) => {
                let kdf = ticket.kdf.map_or_else(|| "sha256".to_owned(), kdf_text);
                format!("ticket:{kdf}:{}:{}", b64(&ticket.salt), b64(&ticket.hash))
            }
            Credential::WampCra(CraKey { key, salting: None }) => format!("wampcra:plain:{}", b64(key.expose())),
            Credential::WampCra(CraKey {
                key,
                salting: Some(with),
            }) => format!(
                "wampcra:pbkdf2:{}:{}:{}:{}",
                with.iterations,
                with.keylen,
                b64(with.salt.as_bytes()),
                b64(key.expose())
            ),
            Credential::Scram(scram) => {
                let mut text = format!("scram:{}:{}", kdf_text(scram.kdf), b64(&scram.salt));
                for keys in std::iter::once(&scram.keys).chain(&scram.autobahn) {
                    text.push_str(&format!(":{}:{}", b64(&keys.stored), b64(&keys.server)));
                }
                text
            }
            Credential::CryptoSign(key) => format!("cryptosign:{}", hex(key)),
            Credential::Certificate(certificate) => format!("tls:{certificate}"),
        }
    }

    /// What it is, for people: the method, its cost, and what is public of it. No secret, no salt, no hash.
    pub fn describe(&self) -> String {
        match self {
            Credential::Ticket(ticket) => format!("ticket ({})", ticket.kdf.map_or_else(|| "sha256".to_owned(), kdf_text)),
            Credential::WampCra(CraKey { salting: None, .. }) => "wampcra (unsalted)".to_owned(),
            Credential::WampCra(CraKey { salting: Some(with), .. }) => format!("wampcra (pbkdf2:{})", with.iterations),
            Credential::Scram(scram) => format!("scram ({})", kdf_text(scram.kdf)),
            Credential::CryptoSign(key) => format!("cryptosign {}", hex(key)),
            Credential::Certificate(certificate) => format!("tls {certificate}"),
        }
    }

    /// The method it is for, as in the text form.
    pub fn kind(&self) -> &'static str {
        match self {
            Credential::Ticket(_) => "ticket",
            Credential::WampCra(_) => "wampcra",
            Credential::Scram(_) => "scram",
            Credential::CryptoSign(_) => "cryptosign",
            Credential::Certificate(_) => "tls",
        }
    }

    /// What an exchange shows of it whoever it belongs to: the method and its parameters, without salt and keys.
    pub fn shape(&self) -> String {
        match self {
            Credential::Ticket(ticket) => format!("{} {}", self.describe(), ticket.salt.len()),
            Credential::Scram(scram) => format!(
                "{} {} {}",
                self.describe(),
                scram.salt.len(),
                u8::from(scram.autobahn.is_some())
            ),
            Credential::WampCra(CraKey { salting: Some(with), .. }) => {
                format!("{} {} {}", self.describe(), with.keylen, with.salt.len())
            }
            Credential::WampCra(_) => self.describe(),
            Credential::CryptoSign(_) => "cryptosign".to_owned(),
            Credential::Certificate(_) => "tls".to_owned(),
        }
    }
}

fn kdf_text(kdf: Kdf) -> String {
    match kdf {
        Kdf::Pbkdf2 { iterations } => format!("pbkdf2:{iterations}"),
        Kdf::Argon2id { memory, iterations } => format!("argon2id13:{memory}:{iterations}"),
    }
}

impl FromStr for Credential {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let (method, rest) = text.trim().split_once(':').ok_or(Invalid("it has no method"))?;
        match method {
            "cryptosign" => unhex(rest)
                .map(Credential::CryptoSign)
                .ok_or(Invalid("a cryptosign key is 64 digits of hex")),
            "tls" => CertificateMatch::from_text(rest)
                .map(Credential::Certificate)
                .ok_or(Invalid("a certificate is sha256:, cn:, dns:, uri: or email: with a value")),
            "ticket" => {
                let mut fields = Fields::new(rest);
                let kdf = match fields.peek() {
                    Some("sha256") => {
                        fields.next()?;
                        None
                    }
                    _ => Some(fields.kdf()?),
                };
                let (salt, hash) = (fields.salt()?, fields.key()?);
                fields.end(Credential::Ticket(TicketVerifier { kdf, salt, hash }))
            }
            "wampcra" => Self::wampcra(rest),
            "scram" => {
                let mut fields = Fields::new(rest);
                let (kdf, salt) = (fields.kdf()?, fields.salt()?);
                let keys = fields.pair()?;
                let autobahn = fields.peek().is_some().then(|| fields.pair()).transpose()?;
                fields.end(Credential::Scram(ScramKeys {
                    kdf,
                    salt,
                    keys,
                    autobahn,
                }))
            }
            _ => Err(Invalid("its method is none of ticket, wampcra, scram, cryptosign, tls")),
        }
    }
}

impl Credential {
    fn wampcra(rest: &str) -> Result<Self, Invalid> {
        let mut fields = Fields::new(rest);
        let salting = match fields.next()? {
            "plain" => None,
            "pbkdf2" => {
                let (iterations, keylen) = (fields.number()?, fields.number()?);
                if !(Kdf::Pbkdf2 { iterations }).is_sane() || !(16..=64).contains(&keylen) {
                    return Err(Invalid("the cost is out of range"));
                }
                let salt = String::from_utf8(fields.bytes()?).map_err(|_| Invalid("the salt is no text"))?;
                Some(Salting {
                    salt,
                    iterations,
                    keylen,
                })
            }
            _ => return Err(Invalid("a wampcra key is plain or pbkdf2")),
        };
        let key = fields.bytes()?;
        if key.is_empty() || key.len() > 1024 {
            return Err(Invalid("the key is empty or too long"));
        }
        fields.end(Credential::WampCra(CraKey {
            key: Secret::new(key),
            salting,
        }))
    }
}

/// The fields of a text form.
struct Fields<'a>(std::iter::Peekable<std::str::Split<'a, char>>);

impl<'a> Fields<'a> {
    fn new(text: &'a str) -> Self {
        Self(text.split(':').peekable())
    }

    fn peek(&mut self) -> Option<&'a str> {
        self.0.peek().copied()
    }

    fn next(&mut self) -> Result<&'a str, Invalid> {
        self.0.next().ok_or(Invalid("it has too few fields"))
    }

    fn number(&mut self) -> Result<u32, Invalid> {
        self.next()?.parse().map_err(|_| Invalid("a number is none"))
    }

    fn bytes(&mut self) -> Result<Vec<u8>, Invalid> {
        BASE64_STANDARD
            .decode(self.next()?)
            .map_err(|_| Invalid("a value is not base64"))
    }

    fn salt(&mut self) -> Result<Vec<u8>, Invalid> {
        let salt = self.bytes()?;
        if (8..=64).contains(&salt.len()) {
            Ok(salt)
        } else {
            Err(Invalid("a salt has 8 to 64 bytes"))
        }
    }

    fn key(&mut self) -> Result<[u8; 32], Invalid> {
        self.bytes()?.try_into().map_err(|_| Invalid("a key has 32 bytes"))
    }

    fn pair(&mut self) -> Result<KeyPair, Invalid> {
        Ok(KeyPair {
            stored: self.key()?,
            server: self.key()?,
        })
    }

    fn kdf(&mut self) -> Result<Kdf, Invalid> {
        let kdf = match self.next()? {
            "pbkdf2" => Kdf::Pbkdf2 {
                iterations: self.number()?,
            },
            "argon2id13" => Kdf::Argon2id {
                memory: self.number()?,
                iterations: self.number()?,
            },
            _ => return Err(Invalid("its hash is none of sha256 (tickets only), pbkdf2, argon2id13")),
        };
        if kdf.is_sane() {
            Ok(kdf)
        } else {
            Err(Invalid("the cost is out of range"))
        }
    }

    fn end(mut self, credential: Credential) -> Result<Credential, Invalid> {
        match self.0.next() {
            None => Ok(credential),
            Some(_) => Err(Invalid("it has too many fields")),
        }
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.describe())
    }
}

impl TryFrom<String> for Credential {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        text.parse()
    }
}

impl From<Credential> for String {
    fn from(credential: Credential) -> Self {
        credential.to_text()
    }
}

#[cfg(test)]
#[path = "credential_tests.rs"]
mod tests;
