//! What the router announces in WELCOME: only what works.
//!
//! Spec: WAMP advanced profile, "Feature Announcement".

use crate::wamp::Dict;

/// What the dealer can do.
const DEALER: [&str; 7] = [
    "progressive_call_results",
    "progressive_call_invocations",
    "call_canceling",
    "call_timeout",
    "caller_identification",
    "call_trustlevels",
    "payload_passthru_mode",
];

/// `WELCOME.details.roles`: broker and dealer, each with its features.
pub fn announced_roles() -> Dict {
    let broker = Dict::new()
        .with("publisher_exclusion", true)
        .with("payload_passthru_mode", true);
    let mut dealer = Dict::new();
    for feature in DEALER {
        dealer.set(feature, true);
    }
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
        let broker = Dict::new()
            .with("publisher_exclusion", true)
            .with("payload_passthru_mode", true);
        assert_eq!(features("broker"), Some(broker));
        let dealer = features("dealer").unwrap();
        assert!(DEALER.iter().all(|feature| dealer.bool(feature) == Some(true)));
        assert_eq!(dealer.0.len(), DEALER.len());
    }
}
