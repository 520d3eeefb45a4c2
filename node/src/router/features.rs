//! What the router announces in WELCOME: only what works.
//!
//! Spec: WAMP advanced profile, "Feature Announcement".

use crate::wamp::Dict;

/// `WELCOME.details.roles`: broker and dealer, each with its features.
pub fn announced_roles() -> Dict {
    let broker = Dict::new().with("publisher_exclusion", true).with("session_meta_api", true);
    let dealer = Dict::new()
        .with("session_meta_api", true)
        .with("registration_meta_api", true)
        .with("testament_meta_api", true);
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
        assert_eq!(
            features("broker"),
            Some(Dict::new().with("publisher_exclusion", true).with("session_meta_api", true))
        );
        let dealer = Dict::new()
            .with("session_meta_api", true)
            .with("registration_meta_api", true)
            .with("testament_meta_api", true);
        assert_eq!(features("dealer"), Some(dealer));
    }
}
