//! What the configuration says about rights, as the core takes it.

use crate::{
    config,
    router::{Disclosure, MatchPolicy, Permission, Policy, Right, Rights, Role},
    wamp::Uri,
};

/// The roles that the configuration gives a realm, and their permissions; where it only seeds them, what they begin with.
pub fn policy(realm: &config::Realm) -> Policy {
    let role = |role: &config::Role| {
        let permissions = role.permissions.iter().map(permission).collect();
        (role.name.clone(), Role::new(permissions).asking(named(&role.authorizer)))
    };
    Policy::new(realm.roles.iter().map(role)).asking(named(&realm.authorizer))
}

fn named(procedure: &str) -> Option<Uri> {
    (!procedure.is_empty()).then(|| Uri::from(procedure))
}

/// The same as they go into the log.
pub(super) fn roles(realm: &config::Realm) -> Vec<(String, Vec<Permission>)> {
    let role = |role: &config::Role| (role.name.clone(), role.permissions.iter().map(permission).collect());
    realm.roles.iter().map(role).collect()
}

/// What stands whatever the log says: no role where the configuration only seeds them, and who is asked about what no role decides.
pub(super) fn fixed(realm: &config::Realm) -> Policy {
    match realm.rights {
        config::RightsFrom::Fixed => policy(realm),
        config::RightsFrom::Seed => Policy::default().asking(named(&realm.authorizer)),
    }
}

fn permission(permission: &config::Permission) -> Permission {
    Permission {
        uri: Uri::from(permission.uri.as_str()),
        policy: matching(permission.r#match),
        allow: rights(&permission.allow),
        deny: rights(&permission.deny),
        disclose: permission.disclose.map(disclosure),
    }
}

fn rights(names: &[config::Right]) -> Rights {
    if names.contains(&config::Right::All) {
        return Rights::ALL;
    }
    let right = |name: &config::Right| match name {
        config::Right::Call => Some(Right::Call),
        config::Right::Register => Some(Right::Register),
        config::Right::RegisterPattern => Some(Right::RegisterPattern),
        config::Right::ForceReregister => Some(Right::ForceReregister),
        config::Right::Publish => Some(Right::Publish),
        config::Right::Subscribe => Some(Right::Subscribe),
        config::Right::SubscribePattern => Some(Right::SubscribePattern),
        config::Right::All => None,
    };
    names.iter().filter_map(right).collect()
}

pub(super) fn matching(by: config::Match) -> MatchPolicy {
    match by {
        config::Match::Exact => MatchPolicy::Exact,
        config::Match::Prefix => MatchPolicy::Prefix,
        config::Match::Wildcard => MatchPolicy::Wildcard,
    }
}

pub(super) fn disclosure(disclose: config::Disclose) -> Disclosure {
    match disclose {
        config::Disclose::Allow => Disclosure::Allow,
        config::Disclose::Deny => Disclosure::Deny,
        config::Disclose::Always => Disclosure::Always,
    }
}
