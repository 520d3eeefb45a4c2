//! `wampcra`: a challenge signed with a shared secret, or with a key derived from it.
//!
//! Spec: WAMP advanced profile, "Challenge Response Authentication". Choice: with a salt the HMAC key is the base64 *text* of the
//! derived bytes, as every client has it; the text does not say so.

use base64::{Engine, prelude::BASE64_STANDARD};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::{Secret, hmac_sha256, kdf};

/// What signatures of a principal are checked with.
#[derive(Clone, PartialEq, Eq)]
pub struct CraKey {
    /// The key of the HMAC: the secret's bytes, or the base64 text of what was derived from it.
    pub key: Secret,
    /// How the client derives that key; `None` where it is the secret itself.
    pub salting: Option<Salting>,
}

/// What a client needs to derive its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Salting {
    /// The salt, a text as it goes over the wire.
    pub salt: String,
    /// Iterations of PBKDF2-HMAC-SHA-256.
    pub iterations: u32,
    /// Bytes to derive.
    pub keylen: u32,
}

/// Bytes of a derived key.
pub const KEYLEN: u32 = 32;

impl CraKey {
    /// The key of a secret that is used as it is.
    pub fn plain(secret: &[u8]) -> Self {
        Self {
            key: Secret::new(secret),
            salting: None,
        }
    }

    /// The key derived from a secret; `None` if the cost cannot be paid.
    pub fn salted(secret: &[u8], salting: Salting) -> Option<Self> {
        if !(1..=kdf::PBKDF2_ITERATIONS_MAX).contains(&salting.iterations) || !(16..=64).contains(&salting.keylen) {
            return None;
        }
        let mut derived = Zeroizing::new(vec![0; salting.keylen as usize]);
        pbkdf2::pbkdf2_hmac::<Sha256>(secret, salting.salt.as_bytes(), salting.iterations, &mut derived);
        Some(Self {
            key: Secret::new(BASE64_STANDARD.encode(&*derived)),
            salting: Some(salting),
        })
    }

    /// True if `signature` (base64) is that of `challenge`.
    pub fn verify(&self, challenge: &str, signature: &str) -> bool {
        let expected = hmac_sha256(self.key.expose(), &[challenge.as_bytes()]);
        let given = BASE64_STANDARD.decode(signature.trim_end()).unwrap_or_default();
        given.ct_eq(&expected).into()
    }
}
