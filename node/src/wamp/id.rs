//! WAMP ids: integers in 1..=2^53, one newtype per scope.
//!
//! Spec: WAMP basic profile, "IDs".

use std::{
    collections::HashMap,
    fmt,
    hash::{BuildHasherDefault, Hasher},
};

/// The largest id WAMP allows, 2^53.
pub const ID_MAX: u64 = 1 << 53;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u64);

        impl $name {
            /// The smallest id.
            pub const MIN: Self = Self(1);

            /// The id, if `raw` lies in 1..=2^53.
            pub const fn new(raw: u64) -> Option<Self> {
                if raw == 0 || raw > ID_MAX { None } else { Some(Self(raw)) }
            }

            /// The integer as it stands on the wire, 1..=2^53.
            pub const fn get(self) -> u64 {
                self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

/// Maps keyed by an id of ours. Their keys are drawn by this router, not by a peer, so a weak hash is safe and much cheaper.
pub type IdMap<K, V> = HashMap<K, V, BuildHasherDefault<IdHasher>>;

/// Spreads the bits of one integer: Fibonacci hashing.
#[derive(Clone, Copy, Debug, Default)]
pub struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, value: u64) {
        let mixed = (self.0 ^ value).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.0 = mixed ^ (mixed >> 32);
    }
}

id!(
    /// A session; global scope: unique in the cluster, looks uniformly random.
    SessionId
);
id!(
    /// A publication; global scope, random.
    PublicationId
);
id!(
    /// A registration; cluster and realm scope, equal on every node, never used twice.
    RegistrationId
);
id!(
    /// A subscription; cluster and realm scope: a keyed hash of (realm, match, topic).
    SubscriptionId
);
id!(
    /// A request; session scope, separate per direction, starts at 1 and grows by 1.
    RequestId
);
