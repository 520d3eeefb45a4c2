//! The method `ticket`: a shared secret, sent as it is; over an open network only under TLS.
//!
//! Spec: WAMP advanced profile, "Ticket-based Authentication".

use std::{hash::Hasher, sync::OnceLock};

use siphasher::sip128::{Hasher128, SipHasher24};
use subtle::ConstantTimeEq;

use super::{Identity, RealmAuth};

/// Its name on the wire.
pub const METHOD: &str = "ticket";

/// The identity of `authid` if the ticket is its own. Somebody unknown costs the same time as a wrong ticket.
pub fn verify(realm: &RealmAuth, authid: String, presented: &str) -> Option<Identity> {
    let principal = realm.principals.get(&authid);
    let expected = principal.and_then(|p| p.ticket.as_ref());
    let equal = digest(expected.map_or("", |secret| secret.expose())).ct_eq(&digest(presented));
    match (principal, expected) {
        (Some(principal), Some(_)) if bool::from(equal) => Some(Identity {
            authid,
            authrole: principal.role.clone(),
            authmethod: METHOD,
            authprovider: "static",
        }),
        _ => None,
    }
}

/// A digest under a key of this process: equal in length whatever the secret's, so that the comparison tells nothing of it.
fn digest(secret: &str) -> [u8; 16] {
    static KEY: OnceLock<[u8; 16]> = OnceLock::new();
    let key = KEY.get_or_init(|| {
        let mut key = [0; 16];
        // Without a random key the digest still separates all but contrived secrets.
        let _ = getrandom::fill(&mut key);
        key
    });
    let mut hasher = SipHasher24::new_with_key(key);
    hasher.write(secret.as_bytes());
    hasher.finish128().as_bytes()
}
