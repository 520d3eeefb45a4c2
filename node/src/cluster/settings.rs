//! The settings of a realm as the log and the admin API write them.

use ringfort_proto::admin::v1 as pb;
use serde_json::{Map, Value, json};

use crate::config;

/// As they are written.
pub fn to_pb(realm: &config::Realm) -> pb::RealmSettings {
    // The words of the configuration, which are the words of the API. Serializing a struct of texts and numbers cannot fail.
    let words = serde_json::to_value(realm).unwrap_or_default();
    let word = |key: &str| words[key].as_str().unwrap_or_default().to_owned();
    let quota = &realm.quota;
    pb::RealmSettings {
        anonymous: word("anonymous"),
        anonymous_role: realm.anonymous_role.clone(),
        uri_check: word("uri_check"),
        disclose: word("disclose"),
        trustlevels: realm
            .trustlevels
            .iter()
            .map(|(role, level)| pb::Trustlevel {
                role: role.clone(),
                level: *level,
            })
            .collect(),
        call_timeout_min: realm.call_timeout_min,
        call_timeout_default: realm.call_timeout_default,
        call_timeout_max: realm.call_timeout_max,
        timeout_unit: word("timeout_unit"),
        prefer_local_callees: realm.prefer_local_callees,
        allow_force_reregister: realm.allow_force_reregister,
        allow_define: realm.allow_define,
        on_conflict: word("on_conflict"),
        authenticator: realm.authenticator.clone(),
        authenticator_timeout_ms: realm.authenticator_timeout_ms,
        authorizer: realm.authorizer.clone(),
        authorizer_timeout_ms: realm.authorizer_timeout_ms,
        authorizer_cache_secs: Some(realm.authorizer_cache_secs),
        quota: (*quota != config::Quota::default()).then_some(pb::Quota {
            sessions_max: quota.sessions_max,
            handshakes_per_sec: quota.handshakes_per_sec,
            messages_per_sec: quota.messages_per_sec,
            bytes_per_sec: quota.bytes_per_sec,
            message_bytes_max: quota.message_bytes_max as u64,
            subscriptions_max: quota.subscriptions_max,
            registrations_max: quota.registrations_max,
            calls_max: quota.calls_max,
        }),
    }
}

/// The reverse of [`to_pb`], for a realm of that name; what is left out is the default. What the values are worth is not checked.
///
/// # Errors
/// A word that is none of those that the setting has.
pub fn from_pb(name: &str, settings: &pb::RealmSettings) -> Result<config::Realm, String> {
    let mut map = Map::new();
    map.insert("name".to_owned(), json!(name));
    let words = [
        ("anonymous", &settings.anonymous),
        ("anonymous_role", &settings.anonymous_role),
        ("uri_check", &settings.uri_check),
        ("disclose", &settings.disclose),
        ("timeout_unit", &settings.timeout_unit),
        ("on_conflict", &settings.on_conflict),
        ("authenticator", &settings.authenticator),
        ("authorizer", &settings.authorizer),
    ];
    for (key, word) in words.into_iter().filter(|(_, word)| !word.is_empty()) {
        map.insert(key.to_owned(), json!(word));
    }
    let numbers = [
        ("call_timeout_min", settings.call_timeout_min),
        ("call_timeout_default", settings.call_timeout_default),
        ("call_timeout_max", settings.call_timeout_max),
        ("authenticator_timeout_ms", settings.authenticator_timeout_ms.into()),
        ("authorizer_timeout_ms", settings.authorizer_timeout_ms.into()),
    ];
    for (key, number) in numbers.into_iter().filter(|(_, number)| *number != 0) {
        map.insert(key.to_owned(), json!(number));
    }
    if let Some(seconds) = settings.authorizer_cache_secs {
        map.insert("authorizer_cache_secs".to_owned(), json!(seconds));
    }
    // One by one, so that it can be said which is wrong.
    for (key, value) in &map {
        let one = Value::Object(Map::from_iter([(key.clone(), value.clone())]));
        serde_json::from_value::<config::Realm>(one).map_err(|error| format!("{key}: {error}"))?;
    }
    let realm: config::Realm = serde_json::from_value(Value::Object(map)).map_err(|error| error.to_string())?;
    let quota = settings.quota.unwrap_or_default();
    Ok(config::Realm {
        trustlevels: settings.trustlevels.iter().map(|one| (one.role.clone(), one.level)).collect(),
        prefer_local_callees: settings.prefer_local_callees,
        allow_force_reregister: settings.allow_force_reregister,
        allow_define: settings.allow_define,
        rights: config::RightsFrom::Seed,
        quota: config::Quota {
            sessions_max: quota.sessions_max,
            handshakes_per_sec: quota.handshakes_per_sec,
            messages_per_sec: quota.messages_per_sec,
            bytes_per_sec: quota.bytes_per_sec,
            message_bytes_max: usize::try_from(quota.message_bytes_max).unwrap_or(usize::MAX),
            subscriptions_max: quota.subscriptions_max,
            registrations_max: quota.registrations_max,
            calls_max: quota.calls_max,
        },
        ..realm
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_read_as_they_are_written() {
        let some = config::Realm {
            name: "com.example".to_owned(),
            anonymous: config::Anonymous::Loopback,
            anonymous_role: "guest".to_owned(),
            uri_check: config::UriCheck::Strict,
            disclose: config::Disclose::Always,
            trustlevels: [("admin".to_owned(), 5)].into(),
            call_timeout_min: 1,
            call_timeout_default: 20,
            call_timeout_max: 300,
            timeout_unit: config::TimeoutUnit::Seconds,
            prefer_local_callees: true,
            allow_force_reregister: true,
            allow_define: true,
            on_conflict: config::OnConflict::SamePrincipalReplaces,
            authenticator: "com.who".to_owned(),
            authenticator_timeout_ms: 11,
            authorizer: "com.may".to_owned(),
            authorizer_timeout_ms: 12,
            authorizer_cache_secs: 0,
            rights: config::RightsFrom::Seed,
            quota: config::Quota {
                sessions_max: 9,
                message_bytes_max: 10,
                ..config::Quota::default()
            },
            ..config::Realm::default()
        };
        assert_eq!(from_pb("com.example", &to_pb(&some)), Ok(some));
        let plain = config::Realm {
            name: "a".to_owned(),
            rights: config::RightsFrom::Seed,
            ..config::Realm::default()
        };
        assert_eq!(from_pb("a", &pb::RealmSettings::default()), Ok(plain));
    }

    #[test]
    fn a_word_that_is_none_is_named() {
        let settings = pb::RealmSettings {
            disclose: "perhaps".to_owned(),
            ..pb::RealmSettings::default()
        };
        let said = from_pb("a", &settings).unwrap_err();
        assert!(said.starts_with("disclose: ") && said.contains("always"), "{said}");
    }
}
