//! What the configuration says about rights, as the core takes it.

pub(super) use crate::admin::settings::{disclosure, matching};
use crate::{
    admin::settings::permission,
    config,
    router::{Permission, Policy, Role},
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
