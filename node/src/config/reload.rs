//! A newer version of the file, read while the node runs: what of it can be in force at once, and what has changed.

use toml::Value;

use super::{Config, Principal, Quota, Realm, RightsFrom};

impl Config {
    /// What is in force once `newer` has been read while this is. Whatever is not taken over here needs a restart; docs/operating.md
    /// has the list.
    pub fn reloaded(&self, newer: &Config) -> Config {
        let mut config = self.clone();
        config.log.level.clone_from(&newer.log.level);
        config.limits = newer.limits.clone();
        // The places of a listener are made when it begins to listen.
        config.limits.sessions_max = self.limits.sessions_max;
        keep_held(&mut config.limits.per_source, self.limits.per_source);
        let traces = &mut config.observability.traces;
        traces.ratio = newer.observability.traces.ratio;
        traces.per_second_max = newer.observability.traces.per_second_max;
        traces.from_clients_per_second_max = newer.observability.traces.from_clients_per_second_max;
        for realm in &mut config.realms {
            if let Some(newer) = of_name(&newer.realms, &realm.name) {
                take_over(realm, newer);
            }
        }
        let known = |principal: &Principal| of_name(&config.realms, &principal.realm).is_some();
        let principals = newer.principals.iter().filter(|one| known(one));
        config.principals = principals.cloned().collect();
        config
    }

    /// The settings that `newer` says otherwise, by their paths in it. Values are not told, for some are secret.
    pub fn changed_in(&self, newer: &Config) -> Vec<String> {
        let mut paths = Vec::new();
        let tree = |config: &Config| {
            let mut config = config.clone();
            config.realms.clear();
            config.principals.clear();
            Value::try_from(config)
        };
        if let (Ok(old), Ok(new)) = (tree(self), tree(newer)) {
            compare("", &old, &new, &mut paths);
        }
        // Secrets are masked in a tree.
        if self.store != newer.store && !paths.iter().any(|path| path.starts_with("store")) {
            paths.push("store.redis.url".to_owned());
        }
        if self.observability.traces.headers != newer.observability.traces.headers {
            paths.retain(|path| path != "observability.traces.headers");
            paths.push("observability.traces.headers".to_owned());
        }
        for (index, realm) in newer.realms.iter().enumerate() {
            let path = format!("realm[{index}]");
            match of_name(&self.realms, &realm.name) {
                None => paths.push(format!("{path} ({} is new)", realm.name)),
                Some(old) if old == realm => {}
                Some(old) => {
                    if let (Ok(old), Ok(new)) = (Value::try_from(old), Value::try_from(realm)) {
                        compare(&path, &old, &new, &mut paths);
                    }
                }
            }
        }
        for realm in self
            .realms
            .iter()
            .filter(|realm| of_name(&newer.realms, &realm.name).is_none())
        {
            paths.push(format!("realm {} (not there any more)", realm.name));
        }
        let of = |all: &[Principal], one: &Principal| {
            let is_it = |other: &&Principal| other.realm == one.realm && other.authid == one.authid;
            all.iter().find(is_it).cloned()
        };
        for (index, principal) in newer.principals.iter().enumerate() {
            match of(&self.principals, principal) {
                None => paths.push(format!("principal[{index}] ({} is new)", principal.authid)),
                Some(old) if old == *principal => {}
                Some(_) => paths.push(format!("principal[{index}] ({})", principal.authid)),
            }
        }
        for principal in self.principals.iter().filter(|one| of(&newer.principals, one).is_none()) {
            paths.push(format!(
                "principal {} of {} (not there any more)",
                principal.authid, principal.realm
            ));
        }
        paths
    }

    /// The rights of realms that only begin with what the file says; changes of them have no effect.
    pub fn seeds_changed_in(&self, newer: &Config) -> Vec<String> {
        let mut changed = Vec::new();
        for (index, realm) in newer.realms.iter().enumerate() {
            let Some(old) = of_name(&self.realms, &realm.name) else {
                continue;
            };
            if old.rights != RightsFrom::Seed || realm.rights != RightsFrom::Seed {
                continue;
            }
            let of = |config: &Config| -> Vec<Principal> {
                let of_realm = config.principals.iter().filter(|one| one.realm == realm.name);
                of_realm.cloned().collect()
            };
            if old.roles != realm.roles {
                changed.push(format!("realm[{index}].roles"));
            }
            if of(self) != of(newer) {
                changed.push(format!("principal (those of {})", realm.name));
            }
        }
        changed
    }
}

fn of_name<'a>(realms: &'a [Realm], name: &str) -> Option<&'a Realm> {
    realms.iter().find(|realm| realm.name == name)
}

fn take_over(realm: &mut Realm, newer: &Realm) {
    if realm.rights != newer.rights {
        return;
    }
    let former = std::mem::replace(&mut realm.roles, newer.roles.clone());
    for role in &mut realm.roles {
        if let Some(former) = former.iter().find(|former| former.name == role.name) {
            keep_held(&mut role.quota, former.quota);
            keep_held(&mut role.per_principal, former.per_principal);
        }
    }
    realm.disclose = newer.disclose;
    realm.trustlevels.clone_from(&newer.trustlevels);
    realm.call_timeout_min = newer.call_timeout_min;
    realm.call_timeout_default = newer.call_timeout_default;
    realm.call_timeout_max = newer.call_timeout_max;
    realm.prefer_local_callees = newer.prefer_local_callees;
    realm.allow_force_reregister = newer.allow_force_reregister;
    realm.allow_define = newer.allow_define;
    let former = std::mem::replace(&mut realm.quota, newer.quota);
    keep_held(&mut realm.quota, former);
}

/// How much the sessions of a scope may hold together is fixed when the scope is made: what they hold was counted against it.
fn keep_held(quota: &mut Quota, former: Quota) {
    quota.subscriptions_max = former.subscriptions_max;
    quota.registrations_max = former.registrations_max;
    quota.calls_max = former.calls_max;
}

/// Lists of tables are compared place by place where they are as long as before; of others the whole is named.
fn compare(path: &str, old: &Value, new: &Value, paths: &mut Vec<String>) {
    if old == new {
        return;
    }
    let at = |key: &str| {
        if path.is_empty() {
            key.to_owned()
        } else {
            format!("{path}.{key}")
        }
    };
    match (old, new) {
        (Value::Table(old), Value::Table(new)) => {
            let keys = old.keys().chain(new.keys().filter(|key| !old.contains_key(*key)));
            for key in keys {
                match (old.get(key), new.get(key)) {
                    (Some(old), Some(new)) => compare(&at(key), old, new, paths),
                    _ => paths.push(at(key)),
                }
            }
        }
        (Value::Array(old), Value::Array(new)) if path == "listener" && old.len() == new.len() => {
            for (index, (old, new)) in old.iter().zip(new).enumerate() {
                compare(&format!("{path}[{index}]"), old, new, paths);
            }
        }
        _ => paths.push(path.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Role, Secret};

    fn lamp(ticket: &str) -> Principal {
        Principal {
            realm: "realm1".to_owned(),
            authid: "lamp".to_owned(),
            role: "device".to_owned(),
            ticket: Secret::new(ticket),
            ..Principal::default()
        }
    }

    #[test]
    fn what_is_taken_over_and_what_is_left_add_up_to_what_has_changed() {
        let old = Config::default();
        let mut new = old.clone();
        new.log.level = "debug".to_owned();
        new.limits.calls_per_session_max = 7;
        new.limits.sessions_max = 8;
        new.listeners[0].path = "/other".to_owned();
        new.realms[0].roles.push(Role::open("device"));
        new.realms[0].uri_check = crate::config::UriCheck::Strict;
        new.principals.push(lamp("a long secret"));
        new.realms.push(Realm {
            name: "realm2".to_owned(),
            ..Realm::default()
        });
        new.principals.push(Principal {
            realm: "realm2".to_owned(),
            ..lamp("a long secret")
        });
        let in_force = old.reloaded(&new);
        assert_eq!(
            old.changed_in(&in_force),
            [
                "limits.calls_per_session_max",
                "log.level",
                "realm[0].roles",
                "principal[0] (lamp is new)"
            ]
        );
        assert_eq!(
            in_force.changed_in(&new),
            [
                "limits.sessions_max",
                "listener[0].path",
                "realm[0].uri_check",
                "realm[1] (realm2 is new)",
                "principal[1] (lamp is new)"
            ]
        );
        assert!(in_force.changed_in(&in_force.reloaded(&in_force)).is_empty());
        // Back again.
        assert!(in_force.reloaded(&old).changed_in(&old).is_empty());
    }

    #[test]
    fn a_changed_secret_is_seen_and_not_told() {
        let with = |ticket: &str| {
            let mut config = Config::default();
            config.principals.push(lamp(ticket));
            config
                .observability
                .traces
                .headers
                .push(Secret::new(format!("key: {ticket}")));
            config
        };
        let changed = with("one long secret").changed_in(&with("another secret"));
        assert_eq!(changed, ["observability.traces.headers", "principal[0] (lamp)"]);
        let gone = with("one long secret").changed_in(&Config::default());
        assert!(
            gone.contains(&"principal lamp of realm1 (not there any more)".to_owned()),
            "{gone:?}"
        );
    }

    #[test]
    fn changed_seeds_have_no_effect_and_are_named() {
        let mut old = Config::default();
        old.realms[0].rights = RightsFrom::Seed;
        let mut new = old.clone();
        new.realms[0].roles.clear();
        new.principals.push(lamp("a long secret"));
        assert_eq!(old.seeds_changed_in(&new), ["realm[0].roles", "principal (those of realm1)"]);
        assert!(Config::default().seeds_changed_in(&new).is_empty());
    }
}
