//! How a key is made from a password: slowly, so that a stolen verifier is worth little.

use argon2::{Algorithm, Argon2, Params, Version};
use sha2::Sha256;
use zeroize::Zeroizing;

/// A key derivation with its cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kdf {
    /// PBKDF2 with HMAC-SHA-256.
    Pbkdf2 {
        /// How often the HMAC is applied.
        iterations: u32,
    },
    /// Argon2id version 1.3, parallelism 1.
    Argon2id {
        /// Memory in KiB.
        memory: u32,
        /// Passes over it.
        iterations: u32,
    },
}

/// The most iterations of PBKDF2 that are taken: about ten seconds of a core.
pub const PBKDF2_ITERATIONS_MAX: u32 = 10_000_000;
/// The most passes of Argon2id. Text and clients count up to 4,096 with little memory.
pub const ARGON2_ITERATIONS_MAX: u32 = 10_000;
/// The most memory of Argon2id, in KiB: 1 GiB.
pub const ARGON2_MEMORY_MAX: u32 = 1 << 20;

impl Kdf {
    /// True if the cost can be paid and is one.
    pub fn is_sane(self) -> bool {
        match self {
            Kdf::Pbkdf2 { iterations } => (1..=PBKDF2_ITERATIONS_MAX).contains(&iterations),
            Kdf::Argon2id { memory, iterations } => {
                (8..=ARGON2_MEMORY_MAX).contains(&memory) && (1..=ARGON2_ITERATIONS_MAX).contains(&iterations)
            }
        }
    }

    /// Its name as the WAMP text spells it.
    pub fn name(self) -> &'static str {
        match self {
            Kdf::Pbkdf2 { .. } => "pbkdf2",
            Kdf::Argon2id { .. } => "argon2id13",
        }
    }

    /// The key of 32 bytes; `None` if the cost or the salt cannot be used.
    pub fn derive(self, password: &[u8], salt: &[u8]) -> Option<Zeroizing<[u8; 32]>> {
        let mut key = Zeroizing::new([0; 32]);
        if !self.is_sane() {
            return None;
        }
        match self {
            Kdf::Pbkdf2 { iterations } => pbkdf2::pbkdf2_hmac::<Sha256>(password, salt, iterations, &mut *key),
            Kdf::Argon2id { memory, iterations } => {
                let params = Params::new(memory, iterations, 1, Some(32)).ok()?;
                let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
                argon2.hash_password_into(password, salt, &mut *key).ok()?;
            }
        }
        Some(key)
    }
}
