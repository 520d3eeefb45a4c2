//! JSON Web Tokens: whether one was made by an issuer that is trusted, for this audience, and is in force.
//!
//! The arithmetic alone: keys and the time of day come in. Three algorithms are known, all with public keys: `RS256`, `ES256` and
//! `EdDSA` with Ed25519. There is no `none`, and nothing with a shared secret, so a public key can never be taken for one: the
//! algorithm has to fit the kind of the key, be allowed by the issuer's rules, and be the key's own where that names one.
//!
//! Choice: written on `ring`, which is here for TLS anyway, and not on a JWT library: those read the clock themselves, and bring
//! algorithms that must not be.
//!
//! Spec: RFC 7515 (JWS compact form), RFC 7517 (JWK sets), RFC 7519 (claims), RFC 8037 (EdDSA), RFC 8725 (what to be careful about).

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use ring::signature::{self, RsaPublicKeyComponents, UnparsedPublicKey};
use serde_json::{Map, Value};

/// How a token is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// RSA with PKCS #1 v1.5 and SHA-256, keys of 2048 to 8192 bits.
    Rs256,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// Ed25519.
    EdDsa,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Rs256, Self::Es256, Self::EdDsa];

    /// Its name in `alg`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
        }
    }

    /// The one of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.name() == name)
    }
}

/// The public keys of an issuer.
#[derive(Clone, Debug, Default)]
pub struct KeySet(Vec<Key>);

#[derive(Clone, Debug)]
struct Key {
    kid: Option<String>,
    algorithm: Algorithm,
    material: Material,
}

#[derive(Clone, Debug)]
enum Material {
    Rsa {
        n: Vec<u8>,
        e: Vec<u8>,
    },
    /// An uncompressed point, or the 32 bytes of an Ed25519 key.
    Bytes(Vec<u8>),
}

/// A text that is no set of keys.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no set of keys: {0}")]
pub struct NoKeys(&'static str);

/// What an issuer's tokens are held to, and what is made of their claims.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// `iss` has to be this.
    pub issuer: String,
    /// `aud` has to be this, or hold it.
    pub audience: String,
    /// The algorithms that are taken.
    pub algorithms: Vec<Algorithm>,
    /// How far clocks may differ, in seconds.
    pub leeway: u64,
    /// The claim that gives the authid.
    pub authid_claim: String,
    /// The claim that gives the role.
    pub role_claim: String,
    /// The role of tokens that give none; `None`: they are refused.
    pub role: Option<String>,
    /// The roles that tokens may give.
    pub roles: Vec<String>,
}

/// What a good token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// Whom the issuer calls so.
    pub subject: String,
    /// The name within the realm.
    pub authid: String,
    /// The role.
    pub role: String,
    /// When it ends, leeway counted in, in seconds since 1970 (UTC).
    pub until: u64,
}

/// Why a token is refused. For the log of the node, not for who shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Bad {
    /// It is no token.
    #[error("not a token")]
    Form,
    /// Its algorithm is not allowed, or not that of the key.
    #[error("signed with an algorithm that is not allowed")]
    Algorithm,
    /// Nobody knows the key it names. The issuer may have new ones.
    #[error("signed with a key that is not known")]
    UnknownKey,
    /// The signature is not that of the key.
    #[error("the signature is wrong")]
    Signature,
    /// It is of another issuer.
    #[error("of another issuer")]
    Issuer,
    /// It is for somebody else.
    #[error("for another audience")]
    Audience,
    /// Its time is over.
    #[error("expired")]
    Expired,
    /// Its time has not come.
    #[error("not in force yet")]
    Early,
    /// A claim is missing, or is no name.
    #[error("a claim is missing or of the wrong type")]
    Claim,
    /// The issuer may not give that role.
    #[error("it gives a role that its issuer may not give")]
    Role,
}

/// The longest token that is looked at, in bytes.
const TOKEN_BYTES_MAX: usize = 12 * 1024;
/// Keys of a set that are read; the rest is ignored.
const KEYS_MAX: usize = 64;
/// The longest authid taken from a claim, in bytes.
const NAME_BYTES_MAX: usize = 255;

/// True for what has the form of a token: a ticket of that form is judged as one.
pub fn looks_like_token(text: &str) -> bool {
    let mut parts = text.split('.');
    let part = |part: Option<&str>| part.is_some_and(|part| !part.is_empty());
    // Base64 of `{"`.
    text.starts_with("eyJ") && part(parts.next()) && part(parts.next()) && parts.next().is_some() && parts.next().is_none()
}

/// The issuer that a token says it is of; nothing is verified.
pub fn issuer_of(token: &str) -> Option<String> {
    let claims = object(token.split('.').nth(1)?).ok()?;
    claims.get("iss")?.as_str().map(str::to_owned)
}

impl KeySet {
    /// Reads a JWK set, or a single JWK. Keys of other kinds, or for other purposes, are passed over.
    ///
    /// # Errors
    /// It is none, or has no key that could be used.
    pub fn read(text: &str) -> Result<Self, NoKeys> {
        let value: Value = serde_json::from_str(text).map_err(|_| NoKeys("not JSON"))?;
        let single;
        let keys = match value.get("keys") {
            Some(Value::Array(keys)) => keys,
            Some(_) => return Err(NoKeys("keys is no list")),
            None => {
                single = vec![value];
                &single
            }
        };
        let keys: Vec<Key> = keys.iter().filter_map(Key::read).take(KEYS_MAX).collect();
        if keys.is_empty() {
            return Err(NoKeys("it has no RSA, P-256 or Ed25519 key for signatures"));
        }
        Ok(Self(keys))
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True if there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The key that a token names; without a name the only one of that algorithm.
    fn find(&self, kid: Option<&str>, algorithm: Algorithm) -> Result<&Key, Bad> {
        if let Some(kid) = kid {
            let mut named = self.0.iter().filter(|key| key.kid.as_deref() == Some(kid)).peekable();
            named.peek().ok_or(Bad::UnknownKey)?;
            return named.find(|key| key.algorithm == algorithm).ok_or(Bad::Algorithm);
        }
        let mut fitting = self.0.iter().filter(|key| key.algorithm == algorithm);
        match (fitting.next(), fitting.next()) {
            (Some(key), None) => Ok(key),
            _ => Err(Bad::UnknownKey),
        }
    }
}

impl Key {
    fn read(jwk: &Value) -> Option<Self> {
        let text = |name: &str| jwk.get(name).and_then(Value::as_str);
        let bytes = |name: &str| BASE64_URL_SAFE_NO_PAD.decode(text(name)?).ok();
        if text("use").is_some_and(|purpose| purpose != "sig") {
            return None;
        }
        let verifies = |ops: &Vec<Value>| ops.iter().any(|op| op.as_str() == Some("verify"));
        if jwk.get("key_ops").is_some_and(|ops| !ops.as_array().is_some_and(verifies)) {
            return None;
        }
        let (algorithm, material) = match (text("kty")?, text("crv")) {
            ("RSA", _) => {
                let (n, e) = (bytes("n")?, bytes("e")?);
                (Algorithm::Rs256, Material::Rsa { n, e })
            }
            ("EC", Some("P-256")) => {
                let (x, y) = (bytes("x")?, bytes("y")?);
                if x.len() != 32 || y.len() != 32 {
                    return None;
                }
                (Algorithm::Es256, Material::Bytes([&[4][..], &x, &y].concat()))
            }
            ("OKP", Some("Ed25519")) => (Algorithm::EdDsa, Material::Bytes(bytes("x").filter(|x| x.len() == 32)?)),
            _ => return None,
        };
        let own = jwk.get("alg").is_none_or(|own| own.as_str() == Some(algorithm.name()));
        own.then(|| Self {
            kid: text("kid").map(str::to_owned),
            algorithm,
            material,
        })
    }

    fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        let verified = match (&self.material, self.algorithm) {
            (Material::Rsa { n, e }, _) => {
                RsaPublicKeyComponents { n, e }.verify(&signature::RSA_PKCS1_2048_8192_SHA256, message, signature)
            }
            (Material::Bytes(key), Algorithm::EdDsa) => {
                UnparsedPublicKey::new(&signature::ED25519, key).verify(message, signature)
            }
            (Material::Bytes(key), _) => {
                UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, key).verify(message, signature)
            }
        };
        verified.is_ok()
    }
}

impl Rules {
    /// Judges a token at a time, in seconds since 1970 (UTC).
    ///
    /// # Errors
    /// It is not let in, and why. Nothing that a token claims is looked at before its signature was found right.
    pub fn verify(&self, keys: &KeySet, token: &str, now: u64) -> Result<Claims, Bad> {
        if token.len() > TOKEN_BYTES_MAX || !looks_like_token(token) {
            return Err(Bad::Form);
        }
        let (message, signature) = token.rsplit_once('.').ok_or(Bad::Form)?;
        let (header, claims) = message.split_once('.').ok_or(Bad::Form)?;
        let header = object(header)?;
        let algorithm = header.get("alg").and_then(Value::as_str).and_then(Algorithm::from_name);
        let algorithm = algorithm.filter(|one| self.algorithms.contains(one)).ok_or(Bad::Algorithm)?;
        // What is critical and not known must not be passed over (RFC 7515, 4.1.11).
        if header.contains_key("crit") {
            return Err(Bad::Form);
        }
        let kid = match header.get("kid") {
            None => None,
            Some(kid) => Some(kid.as_str().ok_or(Bad::Form)?),
        };
        let key = keys.find(kid, algorithm)?;
        let signature = BASE64_URL_SAFE_NO_PAD.decode(signature).map_err(|_| Bad::Form)?;
        if !key.verify(message.as_bytes(), &signature) {
            return Err(Bad::Signature);
        }
        self.judge(&object(claims)?, now)
    }

    fn judge(&self, claims: &Map<String, Value>, now: u64) -> Result<Claims, Bad> {
        if claims.get("iss").and_then(Value::as_str) != Some(&self.issuer) {
            return Err(Bad::Issuer);
        }
        let is_ours = |audience: &Value| audience.as_str() == Some(&self.audience);
        let for_us = match claims.get("aud") {
            Some(Value::Array(list)) => list.iter().any(is_ours),
            Some(one) => is_ours(one),
            None => false,
        };
        if !for_us {
            return Err(Bad::Audience);
        }
        let until = time(claims, "exp")?.ok_or(Bad::Claim)?.saturating_add(self.leeway);
        if until <= now {
            return Err(Bad::Expired);
        }
        for from in ["nbf", "iat"] {
            if time(claims, from)?.is_some_and(|from| from > now.saturating_add(self.leeway)) {
                return Err(Bad::Early);
            }
        }
        let name = |claim: &str| {
            let name = claim_at(claims, claim).and_then(Value::as_str);
            name.filter(|name| !name.is_empty() && name.len() <= NAME_BYTES_MAX && !name.chars().any(char::is_control))
        };
        Ok(Claims {
            subject: name("sub").or_else(|| name(&self.authid_claim)).ok_or(Bad::Claim)?.to_owned(),
            authid: name(&self.authid_claim).ok_or(Bad::Claim)?.to_owned(),
            role: self.role_of(claims)?,
            until,
        })
    }

    /// The role that the claim gives: of a list, the first in the order of [`Self::roles`].
    fn role_of(&self, claims: &Map<String, Value>) -> Result<String, Bad> {
        let given: Vec<&str> = match claim_at(claims, &self.role_claim) {
            None | Some(Value::Null) => return self.role.clone().ok_or(Bad::Role),
            Some(Value::String(role)) => vec![role],
            Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).collect(),
            Some(_) => return Err(Bad::Claim),
        };
        let may = self.roles.iter().find(|role| given.contains(&role.as_str()));
        may.cloned().ok_or(Bad::Role)
    }
}

/// The claim of that name; where there is none, the one that dots lead to (`realm_access.roles`).
fn claim_at<'a>(claims: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    if let Some(claim) = claims.get(name) {
        return Some(claim);
    }
    let (first, rest) = name.split_once('.')?;
    rest.split('.').try_fold(claims.get(first)?, |value, part| value.get(part))
}

/// A time, in whole seconds since 1970; issuers may write fractions.
fn time(claims: &Map<String, Value>, name: &str) -> Result<Option<u64>, Bad> {
    match claims.get(name) {
        None => Ok(None),
        Some(value) => match (value.as_u64(), value.as_f64()) {
            (Some(time), _) => Ok(Some(time)),
            (None, Some(time)) if (0.0..1e15).contains(&time) => Ok(Some(time as u64)),
            _ => Err(Bad::Claim),
        },
    }
}

fn object(part: &str) -> Result<Map<String, Value>, Bad> {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(part).map_err(|_| Bad::Form)?;
    match serde_json::from_slice(&bytes) {
        Ok(Value::Object(object)) => Ok(object),
        _ => Err(Bad::Form),
    }
}

#[cfg(test)]
#[path = "jwt_tests.rs"]
mod tests;
