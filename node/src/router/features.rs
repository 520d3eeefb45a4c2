//! What the router announces in WELCOME: only what works.
//!
//! Spec: WAMP advanced profile, "Feature Announcement".

use crate::wamp::Dict;

/// `WELCOME.details.roles`: broker and dealer, each with its features.
pub fn announced_roles() -> Dict {
    let broker = features(&BROKER);
    let dealer = features(&DEALER);
    Dict::new()
        .with("broker", Dict::new().with("features", broker))
        .with("dealer", Dict::new().with("features", dealer))
}

/// What works of publish and subscribe.
const BROKER: [&str; 9] = [
    "publisher_exclusion",
    "subscriber_blackwhite_listing",
    "publisher_identification",
    "publication_trustlevels",
    "pattern_based_subscription",
    "subscription_revocation",
    "sharded_subscription",
    "session_meta_api",
    "subscription_meta_api",
];

/// What works of calls.
const DEALER: [&str; 8] = [
    "pattern_based_registration",
    "shared_registration",
    "sharded_registration",
    "call_reroute",
    "registration_revocation",
    "session_meta_api",
    "registration_meta_api",
    "testament_meta_api",
];

fn features(names: &[&str]) -> Dict {
    Dict(names.iter().map(|name| ((*name).to_owned(), true.into())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_roles_are_announced_and_nothing_that_does_not_work() {
        let roles = announced_roles();
        let features = |role: &str| roles.dict(role).and_then(|r| r.dict("features")).cloned();
        assert_eq!(features("broker"), Some(super::features(&BROKER)));
        assert_eq!(features("dealer"), Some(super::features(&DEALER)));
    }
}
