//! `wamp-scram` and Autobahn's `scram`: a password proved by both sides without being sent.
//!
//! Spec: WAMP advanced profile, "Salted Challenge Response Authentication Mechanism"; RFC 5802. Autobahn's dialect differs in three
//! ways: the bare channel binding stands behind `c=`, the KDF is called `argon2id-13`, and with Argon2id the salted password is the
//! base64 text of the hash. Both forms of `c=` are tried for both, the text's first, and a verifier made from a password holds the
//! keys of both forms.

use std::borrow::Cow;

use base64::{
    Engine,
    prelude::{BASE64_STANDARD, BASE64_STANDARD_NO_PAD},
};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};
use zeroize::Zeroizing;

use super::{hmac_sha256, kdf::Kdf};

/// What is kept of a password.
#[derive(Clone, PartialEq, Eq)]
pub struct ScramKeys {
    /// How the client salts its password.
    pub kdf: Kdf,
    /// The salt, 8 to 64 bytes.
    pub salt: Vec<u8>,
    /// As the text has it.
    pub keys: KeyPair,
    /// As Autobahn has it, with Argon2id only.
    pub autobahn: Option<KeyPair>,
}

/// `StoredKey` and `ServerKey` of RFC 5802.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyPair {
    /// Checks proofs.
    pub stored: [u8; 32],
    /// Proves to the client that the router knows its verifier.
    pub server: [u8; 32],
}

/// An exchange, as far as both sides sign it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// The authid as the client sent it.
    pub authid: String,
    /// The client's nonce.
    pub client_nonce: String,
    /// The client's nonce followed by the router's.
    pub nonce: String,
    /// The channel binding: its type and data.
    pub binding: Option<(String, Vec<u8>)>,
}

/// The password as it is hashed, RFC 4013; what that forbids is taken as it is.
pub fn normalized(password: &str) -> Cow<'_, str> {
    stringprep::saslprep(password).unwrap_or(Cow::Borrowed(password))
}

impl KeyPair {
    /// From a salted password.
    pub fn of(salted_password: &[u8]) -> Self {
        let client_key = Zeroizing::new(hmac_sha256(salted_password, &[b"Client Key"]));
        Self {
            stored: Sha256::digest(*client_key).into(),
            server: hmac_sha256(salted_password, &[b"Server Key"]),
        }
    }
}

impl ScramKeys {
    /// The verifier of a password; `None` if the costs cannot be used.
    pub fn of(password: &str, kdf: Kdf, salt: Vec<u8>) -> Option<Self> {
        let salted = kdf.derive(normalized(password).as_bytes(), &salt)?;
        let text = Zeroizing::new(BASE64_STANDARD_NO_PAD.encode(*salted));
        Some(Self {
            kdf,
            salt,
            keys: KeyPair::of(&*salted),
            autobahn: matches!(kdf, Kdf::Argon2id { .. }).then(|| KeyPair::of(text.as_bytes())),
        })
    }

    /// The cost that goes into `i=`.
    pub fn iterations(&self) -> u32 {
        match self.kdf {
            Kdf::Pbkdf2 { iterations } | Kdf::Argon2id { iterations, .. } => iterations,
        }
    }

    /// Judges a proof (base64); the server's signature (base64) if it is right. Every form is computed, whichever is right.
    pub fn verify(&self, exchange: &Exchange, proof: &str) -> Option<String> {
        let decoded = BASE64_STANDARD.decode(proof.trim_end()).unwrap_or_default();
        let well_formed = decoded.len() == 32;
        let mut proof = [0; 32];
        if well_formed {
            proof.copy_from_slice(&decoded);
        }
        let text_form = self.auth_message(exchange, &exchange.text_binding());
        let bare = match &exchange.binding {
            None => String::new(),
            Some((_, data)) => BASE64_STANDARD.encode(data),
        };
        let bare_form = self.auth_message(exchange, &bare);
        let (mut right, mut signature) = (Choice::from(0), [0; 32]);
        for keys in std::iter::once(&self.keys).chain(&self.autobahn) {
            for message in [&text_form, &bare_form] {
                let client_signature = hmac_sha256(&keys.stored, &[message.as_bytes()]);
                let mut client_key = Zeroizing::new(client_signature);
                client_key.iter_mut().zip(proof).for_each(|(byte, with)| *byte ^= with);
                let this = <[u8; 32]>::from(Sha256::digest(*client_key)).ct_eq(&keys.stored);
                let server_signature = hmac_sha256(&keys.server, &[message.as_bytes()]);
                for (byte, with) in signature.iter_mut().zip(server_signature) {
                    byte.conditional_assign(&with, this);
                }
                right |= this;
            }
        }
        (bool::from(right) && well_formed).then(|| BASE64_STANDARD.encode(signature))
    }

    fn auth_message(&self, exchange: &Exchange, binding: &str) -> String {
        let name = normalized(&exchange.authid).replace('=', "=3D").replace(',', "=2C");
        format!(
            "n={name},r={},r={nonce},s={},i={},c={binding},r={nonce}",
            exchange.client_nonce,
            BASE64_STANDARD.encode(&self.salt),
            self.iterations(),
            nonce = exchange.nonce,
        )
    }
}

impl Exchange {
    /// What stands behind `c=` in the text's form: flag, two commas and the binding's data, in base64.
    fn text_binding(&self) -> String {
        let bytes = match &self.binding {
            None => b"n,,".to_vec(),
            Some((kind, data)) => [format!("p={kind},,").as_bytes(), data].concat(),
        };
        BASE64_STANDARD.encode(bytes)
    }
}

#[cfg(test)]
#[path = "scram_tests.rs"]
mod tests;
