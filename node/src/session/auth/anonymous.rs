//! The method `anonymous`: no credential, only where the realm's configuration admits it.

use super::{Identity, PeerFacts};

/// Its name on the wire.
pub const METHOD: &str = "anonymous";

/// Who may join without a credential.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Anonymous {
    /// Nobody.
    #[default]
    Off,
    /// Peers whose connection comes from a loopback address.
    Loopback,
    /// Everybody who reaches the listener.
    On,
}

impl Anonymous {
    /// True if `peer` may join without a credential.
    pub fn admits(self, peer: &PeerFacts) -> bool {
        match self {
            Anonymous::Off => false,
            Anonymous::Loopback => peer.is_loopback(),
            Anonymous::On => true,
        }
    }
}

/// A fresh identity. Choice: the authid is random, whatever the client asked for, so that nobody can pass for somebody.
pub fn identity(role: &str) -> Identity {
    let mut random = [0; 16];
    // The operating system's generator does not fail once it was seeded; were it to, an authid of zeros is still no name of anybody.
    let _ = getrandom::fill(&mut random);
    let authid = format!("anon-{:032x}", u128::from_be_bytes(random));
    Identity::new(authid, role.to_owned(), METHOD)
}
