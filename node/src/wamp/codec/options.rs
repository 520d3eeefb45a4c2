//! The types of the options and details that the protocol names.
//!
//! Spec: WAMP basic and advanced profile, the option tables of each message. Unknown keys pass, a known one of the wrong type
//! is a protocol violation. `null` counts as absent in what a router sends and in HELLO and WELCOME, where implementations write
//! it, and nowhere else. The legacy keys of Autobahn and Crossbar (`forward_for`, `enc_algo`, …) are checked as they check them.

use crate::wamp::{Dict, Value, message::code};

/// A known option of the wrong type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// Its key.
    pub key: &'static str,
    /// What it should have been, as a noun phrase.
    pub expected: &'static str,
}

/// What an option must be.
#[derive(Clone, Copy, Debug)]
enum Type {
    Bool,
    /// An integer from 0 on.
    Count,
    Id,
    Text,
    Match,
    EncAlgo,
    Dict,
    Roles,
    Ids,
    Texts,
    Dicts,
}

type Table = &'static [(&'static str, Type)];

const HELLO: Table = &[
    ("roles", Type::Roles),
    ("agent", Type::Text),
    ("authmethods", Type::Texts),
    ("authid", Type::Text),
    ("authrole", Type::Text),
    ("authextra", Type::Dict),
];
const WELCOME: Table = &[
    ("roles", Type::Roles),
    ("agent", Type::Text),
    ("realm", Type::Text),
    ("authid", Type::Text),
    ("authrole", Type::Text),
    ("authmethod", Type::Text),
    ("authprovider", Type::Text),
    ("authextra", Type::Dict),
];
const SUBSCRIBE: Table = &[("match", Type::Match), ("get_retained", Type::Bool), ("nkey", Type::Text)];
const PUBLISH: Table = &[
    ("acknowledge", Type::Bool),
    ("exclude_me", Type::Bool),
    ("exclude", Type::Ids),
    ("eligible", Type::Ids),
    ("exclude_authid", Type::Texts),
    ("eligible_authid", Type::Texts),
    ("exclude_authrole", Type::Texts),
    ("eligible_authrole", Type::Texts),
    ("disclose_me", Type::Bool),
    ("retain", Type::Bool),
    ("rkey", Type::Text),
    ("transaction_hash", Type::Text),
];
const EVENT: Table = &[
    ("topic", Type::Text),
    ("publisher", Type::Id),
    ("publisher_authid", Type::Text),
    ("publisher_authrole", Type::Text),
    ("retained", Type::Bool),
    ("trustlevel", Type::Count),
    ("transaction_hash", Type::Text),
    ("x_acknowledged_delivery", Type::Bool),
];
const REGISTER: Table = &[
    ("match", Type::Match),
    ("invoke", Type::Text),
    ("disclose_caller", Type::Bool),
    ("forward_timeout", Type::Bool),
    ("force_reregister", Type::Bool),
    ("concurrency", Type::Count),
];
const CALL: Table = &[
    ("receive_progress", Type::Bool),
    ("progress", Type::Bool),
    ("timeout", Type::Count),
    ("disclose_me", Type::Bool),
    ("runmode", Type::Text),
    ("rkey", Type::Text),
];
const INVOCATION: Table = &[
    ("procedure", Type::Text),
    ("caller", Type::Id),
    ("caller_authid", Type::Text),
    ("caller_authrole", Type::Text),
    ("receive_progress", Type::Bool),
    ("progress", Type::Bool),
    ("timeout", Type::Count),
    ("trustlevel", Type::Count),
];
const PROGRESS: Table = &[("progress", Type::Bool)];
const MODE: Table = &[("mode", Type::Text)];

/// What any message with a payload may carry beside its own options.
const PAYLOAD: Table = &[
    ("ppt_scheme", Type::Text),
    ("ppt_serializer", Type::Text),
    ("ppt_cipher", Type::Text),
    ("ppt_keyid", Type::Text),
    ("enc_algo", Type::EncAlgo),
    ("enc_key", Type::Text),
    ("enc_serializer", Type::Text),
];
const FORWARDED: Table = &[("forward_for", Type::Dicts)];

/// Checks the options or details of a message of this code.
///
/// # Errors
/// The first known key that has the wrong type.
pub fn check(message: u64, dict: &Dict) -> Result<(), Wrong> {
    let (own, payload): (Table, Table) = match message {
        code::HELLO => (HELLO, &[]),
        code::WELCOME => (WELCOME, &[]),
        code::SUBSCRIBE => (SUBSCRIBE, &[]),
        code::REGISTER => (REGISTER, &[]),
        code::CANCEL | code::INTERRUPT => (MODE, &[]),
        code::PUBLISH => (PUBLISH, PAYLOAD),
        code::EVENT => (EVENT, PAYLOAD),
        code::CALL => (CALL, PAYLOAD),
        code::INVOCATION => (INVOCATION, PAYLOAD),
        code::YIELD | code::RESULT => (PROGRESS, PAYLOAD),
        code::ERROR => (&[], PAYLOAD),
        _ => return Ok(()),
    };
    let null_is_absent = matches!(
        message,
        code::HELLO | code::WELCOME | code::EVENT | code::INVOCATION | code::RESULT
    );
    for (key, value) in &dict.0 {
        let known = [own, payload, FORWARDED]
            .into_iter()
            .flatten()
            .find(|(known, _)| known == key);
        if let Some((key, type_)) = known
            && !(null_is_absent && *value == Value::Null)
            && !type_.holds(value)
        {
            return Err(Wrong {
                key,
                expected: type_.name(),
            });
        }
    }
    Ok(())
}

impl Type {
    fn name(self) -> &'static str {
        match self {
            Type::Bool => "a boolean",
            Type::Count => "an integer from 0 on",
            Type::Id => "an id",
            Type::Text => "text",
            Type::Match => "exact, prefix or wildcard",
            Type::EncAlgo => "a known or private payload encryption",
            Type::Dict => "a dict",
            Type::Roles => "a dict of roles",
            Type::Ids => "a list of ids",
            Type::Texts => "a list of texts",
            Type::Dicts => "a list of dicts",
        }
    }

    fn holds(self, value: &Value) -> bool {
        let all = |type_: Type| {
            value
                .as_list()
                .is_some_and(|list| list.iter().all(|value| type_.holds(value)))
        };
        match self {
            Type::Bool => value.as_bool().is_some(),
            Type::Count => value.as_integer().is_some_and(|count| count >= 0),
            Type::Id => value
                .as_integer()
                .is_some_and(|id| (1..=i128::from(crate::wamp::id::ID_MAX)).contains(&id)),
            Type::Text => value.as_text().is_some(),
            Type::Match => matches!(value.as_text(), Some("exact" | "prefix" | "wildcard")),
            Type::EncAlgo => value
                .as_text()
                .is_some_and(|algo| matches!(algo, "cryptobox" | "mqtt" | "xbr" | "null") || algo.starts_with("x_")),
            Type::Dict => value.as_dict().is_some(),
            Type::Roles => value.as_dict().is_some_and(|roles| {
                roles
                    .0
                    .iter()
                    .all(|(name, role)| !ROLES.contains(&name.as_str()) || is_role(role))
            }),
            Type::Ids => all(Type::Id),
            Type::Texts => all(Type::Text),
            Type::Dicts => all(Type::Dict),
        }
    }
}

/// The roles of the text; what others stand for is not for this router to say.
const ROLES: [&str; 6] = ["publisher", "subscriber", "caller", "callee", "broker", "dealer"];

/// A dict whose `features`, if there are any, are a dict.
fn is_role(role: &Value) -> bool {
    let are_features = |features: &Value| features.as_dict().is_some() || *features == Value::Null;
    role.as_dict()
        .is_some_and(|role| role.get("features").is_none_or(are_features))
}
