//! `ticket`: a shared secret, sent as it is. What is kept is a salted hash of it.
//!
//! Spec: WAMP advanced profile, "Ticket-based Authentication".

use subtle::ConstantTimeEq;

use super::{hmac_sha256, kdf::Kdf};

/// What a ticket is checked against.
#[derive(Clone, PartialEq, Eq)]
pub struct TicketVerifier {
    /// How slowly it is hashed; `None` for a plain salted hash, which is for long random tickets.
    pub kdf: Option<Kdf>,
    /// The salt, 8 to 64 bytes.
    pub salt: Vec<u8>,
    /// The hash.
    pub hash: [u8; 32],
}

impl TicketVerifier {
    /// The verifier of a ticket; `None` if the costs cannot be used.
    pub fn of(ticket: &[u8], kdf: Option<Kdf>, salt: Vec<u8>) -> Option<Self> {
        let hash = hash(ticket, kdf, &salt)?;
        Some(Self { kdf, salt, hash })
    }

    /// True if this is the ticket.
    pub fn verify(&self, ticket: &[u8]) -> bool {
        hash(ticket, self.kdf, &self.salt).is_some_and(|hash| hash.ct_eq(&self.hash).into())
    }
}

fn hash(ticket: &[u8], kdf: Option<Kdf>, salt: &[u8]) -> Option<[u8; 32]> {
    match kdf {
        None => Some(hmac_sha256(salt, &[ticket])),
        Some(kdf) => kdf.derive(ticket, salt).map(|key| *key),
    }
}
