//! What the router announces in WELCOME: only what works.
//!
//! Spec: WAMP advanced profile, "Feature Announcement".

use crate::wamp::Dict;

/// `WELCOME.details.roles`: broker and dealer, each with its features.
pub fn announced_roles() -> Dict {
    let broker = features(BROKER);
    let dealer = features(DEALER);
    Dict::new()
        .with("broker", Dict::new().with("features", broker))
        .with("dealer", Dict::new().with("features", dealer))
}

/// True if a feature of that name means something to this router, in whatever role.
pub fn is_known(feature: &str) -> bool {
    BROKER.iter().chain(DEALER).any(|known| *known == feature)
}

/// What works of publish and subscribe.
const BROKER: &[&str] = &[
    "publisher_exclusion",
    "subscriber_blackwhite_listing",
    "publisher_identification",
    "publication_trustlevels",
    "session_meta_api",
    "event_retention",
    "event_history",
    "pattern_based_subscription",
    "subscription_revocation",
    "sharded_subscription",
    "subscription_meta_api",
    "reflection",
    "payload_passthru_mode",
    // Of Autobahn, not of the text.
    "x_acknowledged_event_delivery",
];

/// What works of remote procedure calls.
const DEALER: &[&str] = &[
    "progressive_call_results",
    "progressive_call_invocations",
    "call_canceling",
    "call_timeout",
    "caller_identification",
    "call_trustlevels",
    "pattern_based_registration",
    "shared_registration",
    "sharded_registration",
    "call_reroute",
    "registration_revocation",
    "payload_passthru_mode",
    "session_meta_api",
    "registration_meta_api",
    "testament_meta_api",
    "reflection",
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
        assert_eq!(features("broker"), Some(super::features(BROKER)));
        assert_eq!(features("dealer"), Some(super::features(DEALER)));
    }

    /// A row of the section `feature` of the list behind `docs/wamp-conformance.md`: a feature of the text.
    #[derive(serde::Deserialize)]
    struct Row {
        id: String,
        #[serde(default)]
        roles: Vec<String>,
        /// Why it is not announced.
        exception: Option<String>,
    }

    #[derive(serde::Deserialize)]
    struct Section {
        id: String,
        rows: Vec<Row>,
    }

    #[test]
    fn every_feature_of_the_text_is_announced_in_its_roles_but_for_documented_exceptions() {
        let list = include_str!("../../../cluster-tests/conformance/rows.toml");
        let sections: std::collections::BTreeMap<String, Vec<Section>> = toml::from_str(list).unwrap();
        let rows = || sections["section"].iter().filter(|section| section.id == "feature");
        assert!(rows().flat_map(|section| &section.rows).count() >= 26);
        for (role, names) in [("broker", BROKER), ("dealer", DEALER)] {
            let in_role = rows()
                .flat_map(|section| &section.rows)
                .filter(|row| row.exception.is_none() && row.roles.iter().any(|of| of == role));
            let mut wanted: Vec<&str> = in_role.filter_map(|row| row.id.strip_prefix("feature.")).collect();
            // What is of a client and not of the text says so by its name.
            let mut announced: Vec<&str> = names.iter().copied().filter(|name| !name.starts_with("x_")).collect();
            wanted.sort_unstable();
            announced.sort_unstable();
            assert_eq!(announced, wanted, "{role}");
        }
    }
}
