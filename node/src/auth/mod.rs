//! Who may join: principals, what they prove themselves with, and the arithmetic of every method.
//!
//! Owns: [`Principal`] and its [`Credential`]s with their text form, the table a handshake looks them up in ([`Principals`]), the
//! stand-ins for those who do not exist ([`mock`]), and the pure part of each method, one file each. Does not own the exchange of
//! messages, which is `session::auth`; knows no socket, no clock and no random source: nonces, salts and times come in.
//!
//! Who calls what:
//! - `config` reads verifiers by [`Credential::from_str`](std::str::FromStr) and hands secrets in clear over as [`Clear`];
//! - `node` makes one [`Principals`] per realm from the configuration, and calls [`Principals::unlock`] with the key that all nodes
//!   of the cluster share before the first client is let in;
//! - the replicated state calls [`Principals::replace`], [`Principals::put`] and [`Principals::remove`] as its entries are applied.
//!   A principal of the configuration goes before a replicated one of the same name, and is not changed by these;
//! - `session::auth` looks up by authid, public key or certificate, verifies, and asks [`Principals::is_current`] before it lets in.
//!
//! Nothing here shows a secret: `Debug` of every type that holds one prints `***`, and [`Credential::describe`] is for people. The
//! text form ([`Credential::to_text`], also its serde form) holds verifiers and is to be kept like a secret.

pub mod certificate;
pub mod credential;
pub mod cryptosign;
pub mod jwt;
pub mod kdf;
pub mod login;
pub mod mock;
pub mod principals;
pub mod scram;
mod secret;
pub mod throttle;
pub mod ticket;
pub mod wampcra;

use hmac::{Hmac, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

pub use certificate::CertificateMatch;
pub use credential::{Clear, Credential, Invalid};
pub use principals::{Principals, Seed};
pub use secret::Secret;

/// Somebody who may join a realm with a credential.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Principal {
    /// The name it authenticates as, unique within its realm.
    pub authid: String,
    /// The role its sessions get.
    pub role: String,
    /// What it can prove itself with. Several of one method are tried in order where the method allows that (`cryptosign`, `tls`);
    /// of the others the first counts.
    pub credentials: Vec<Credential>,
}

/// HMAC-SHA-256.
pub(crate) fn hmac_sha256(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    // Keys of every length are legal; `new_from_slice` cannot fail for HMAC.
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of every length");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}
