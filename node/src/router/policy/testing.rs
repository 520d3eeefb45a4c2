//! Permissions in few words, for tests.

use super::{MatchPolicy, Permission, Right, Rights};
use crate::wamp::Uri;

/// The rights of these names.
fn rights(names: &str) -> Rights {
    names.split_whitespace().map(|name| Right::from_name(name).unwrap()).collect()
}

/// A permission that grants rights.
pub(in crate::router) fn allow(names: &str, policy: MatchPolicy, uri: &str) -> Permission {
    Permission {
        uri: Uri::from(uri),
        policy,
        allow: rights(names),
        deny: Rights::NONE,
        disclose: None,
    }
}

/// A permission that denies rights.
pub(in crate::router) fn deny(names: &str, policy: MatchPolicy, uri: &str) -> Permission {
    Permission {
        allow: Rights::NONE,
        deny: rights(names),
        ..allow("", policy, uri)
    }
}
