//! What a configuration or a document says about rights and principals, as the core takes it.

use crate::{
    auth::{Clear, Credential, Principal, Secret, Seed},
    config,
    router::{Disclosure, MatchPolicy, Permission, Right, Rights},
    wamp::Uri,
};

/// A permission.
pub fn permission(permission: &config::Permission) -> Permission {
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

/// How URIs are compared.
pub fn matching(by: config::Match) -> MatchPolicy {
    match by {
        config::Match::Exact => MatchPolicy::Exact,
        config::Match::Prefix => MatchPolicy::Prefix,
        config::Match::Wildcard => MatchPolicy::Wildcard,
    }
}

/// Who is disclosed.
pub fn disclosure(disclose: config::Disclose) -> Disclosure {
    match disclose {
        config::Disclose::Allow => Disclosure::Allow,
        config::Disclose::Deny => Disclosure::Deny,
        config::Disclose::Always => Disclosure::Always,
    }
}

/// A principal, whose secrets may be given in clear. It was checked.
pub fn seed(principal: &config::Principal) -> Seed {
    let secret = |text: &config::Secret| (!text.expose().is_empty()).then(|| Secret::new(text.expose()));
    let clear = [
        secret(&principal.ticket).map(Clear::Ticket),
        secret(&principal.wampcra).map(|secret| Clear::WampCra {
            secret,
            iterations: principal.wampcra_iterations,
        }),
        secret(&principal.scram).map(|password| Clear::Scram {
            password,
            kdf: principal.kdf(),
        }),
    ];
    // The configuration was checked: every text is a credential.
    let credentials = principal
        .credentials()
        .filter_map(|(_, text)| text.parse::<Credential>().ok());
    Seed {
        principal: Principal {
            authid: principal.authid.clone(),
            role: principal.role.clone(),
            credentials: credentials.collect(),
        },
        clear: clear.into_iter().flatten().collect(),
    }
}
