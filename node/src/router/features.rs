//! What the router announces in WELCOME: only what works.
//!
//! Spec: WAMP advanced profile, "Feature Announcement".

use crate::wamp::Dict;

/// `WELCOME.details.roles`: broker and dealer, each with its features.
pub fn announced_roles() -> Dict {
    let broker = Dict::new().with("publisher_exclusion", true);
    let dealer = Dict::new()
        .with("pattern_based_registration", true)
        .with("shared_registration", true)
        .with("sharded_registration", true)
        .with("call_reroute", true)
        .with("registration_revocation", true);
    Dict::new()
        .with("broker", Dict::new().with("features", broker))
        .with("dealer", Dict::new().with("features", dealer))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_roles_are_announced_and_nothing_that_does_not_work() {
        let roles = announced_roles();
        let features = |role: &str| roles.dict(role).and_then(|r| r.dict("features")).cloned();
        assert_eq!(features("broker"), Some(Dict::new().with("publisher_exclusion", true)));
        let dealer = [
            "pattern_based_registration",
            "shared_registration",
            "sharded_registration",
            "call_reroute",
            "registration_revocation",
        ];
        let dealer = dealer.into_iter().fold(Dict::new(), |all, feature| all.with(feature, true));
        assert_eq!(features("dealer"), Some(dealer));
    }
}
