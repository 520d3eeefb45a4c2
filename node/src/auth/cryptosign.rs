//! `cryptosign`: a challenge signed with an Ed25519 key, bound to the TLS channel where the client asks for it.
//!
//! Spec: WAMP advanced profile, "Cryptosign-based Authentication".

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use subtle::ConstantTimeEq;

/// A random challenge, a channel id, or what is signed.
pub type Challenge = [u8; 32];

/// What is signed: the challenge, mixed with the channel id where the exchange is bound to one.
pub fn message(challenge: &Challenge, channel_id: Option<&Challenge>) -> Challenge {
    let mut message = *challenge;
    if let Some(channel_id) = channel_id {
        for (byte, with) in message.iter_mut().zip(channel_id) {
            *byte ^= with;
        }
    }
    message
}

/// The signature and what it signs, in hex, as AUTHENTICATE and CHALLENGE carry it.
pub fn sign(key: &SigningKey, message: &Challenge) -> String {
    let mut text = hex(&key.sign(message).to_bytes());
    text.push_str(&hex(message));
    text
}

/// True if `signed` is the hex of a signature by `key` followed by `message`. Choice: the signature alone is taken too.
pub fn verify(key: &[u8; 32], message: &Challenge, signed: &str) -> bool {
    let bytes = unhex_all(signed).unwrap_or_default();
    // What cannot be right is still checked, so that it takes as long.
    let (signature, repeated) = match bytes.split_at_checked(64) {
        Some((signature, rest)) if rest.is_empty() || bool::from(rest.ct_eq(message)) => (signature, true),
        _ => ([0; 64].as_slice(), false),
    };
    let mut fixed = [0; 64];
    fixed.copy_from_slice(signature);
    let valid = VerifyingKey::from_bytes(key).is_ok_and(|key| key.verify_strict(message, &Signature::from_bytes(&fixed)).is_ok());
    valid && repeated
}

/// Lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble & 15)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(*byte)]).collect()
}

/// Exactly 32 bytes of hex, whatever its case.
pub fn unhex(text: &str) -> Option<[u8; 32]> {
    unhex_all(text)?.try_into().ok()
}

fn unhex_all(text: &str) -> Option<Vec<u8>> {
    let digits = text.chars().map(|c| c.to_digit(16).and_then(|d| u8::try_from(d).ok()));
    let digits = digits.collect::<Option<Vec<u8>>>()?;
    let pairs = digits.chunks_exact(2);
    pairs
        .remainder()
        .is_empty()
        .then(|| pairs.map(|pair| pair[0] << 4 | pair[1]).collect())
}

#[cfg(test)]
#[path = "cryptosign_tests.rs"]
mod tests;
