//! Which settings exist, taken from the structs themselves, and the check of a tree against them.
//!
//! Every setting has a default, so each can be tried alone: an error of the deserializer then belongs to that one key, and all
//! wrong keys are found in one go.

use std::fmt;

use serde::{
    Deserializer,
    de::{DeserializeOwned, Visitor},
    forward_to_deserialize_any,
};
use toml::Value;

use super::{
    Admin, AdminClient, AdminTls, Audit, CertificateAndKey, Cluster, ClusterTls, Compat, Definition, Drain, History, Jwt, Limits,
    Listener, ListenerTls, Log, Longpoll, Node as NodeSection, Observability, Peer, Permission, Principal, Problem, Quota, Realm,
    Role, Store, StoreRedis, Timing, Topic, Traces,
    tree::{Entry, Node},
};

/// A section of the file.
pub(super) struct Section {
    /// Its key in the section around it.
    pub(super) key: &'static str,
    /// True for `[[section]]`.
    pub(super) repeated: bool,
    /// The keys of its struct.
    pub(super) keys: fn() -> &'static [&'static str],
    /// Whether a table with a few of its keys can be read.
    pub(super) try_read: fn(toml::Table) -> Result<(), toml::de::Error>,
    /// The sections inside.
    pub(super) sections: &'static [Section],
}

/// The sections of a file, in the order of the documentation.
pub(super) const SECTIONS: &[Section] = &[
    one::<NodeSection>("node", &[]),
    many::<Listener>(
        "listener",
        &[
            one::<Compat>("compat", &[]),
            one::<Longpoll>("longpoll", &[]),
            one::<Quota>("quota", &[]),
            one::<ListenerTls>("tls", &[many::<CertificateAndKey>("also", &[])]),
        ],
    ),
    many::<Realm>(
        "realm",
        &[
            many::<Role>(
                "roles",
                &[
                    many::<Permission>("permissions", &[]),
                    one::<Quota>("quota", &[]),
                    one::<Quota>("per_principal", &[]),
                ],
            ),
            many::<Topic>("topics", &[one::<History>("history", &[])]),
            many::<Definition>("definitions", &[]),
            many::<Jwt>("jwt", &[]),
            one::<Quota>("quota", &[]),
        ],
    ),
    many::<Principal>("principal", &[]),
    one::<Cluster>(
        "cluster",
        &[
            many::<Peer>("peers", &[]),
            one::<ClusterTls>("tls", &[]),
            one::<Timing>("timing", &[]),
        ],
    ),
    one::<Drain>("drain", &[]),
    one::<Admin>("admin", &[one::<AdminTls>("tls", &[]), many::<AdminClient>("clients", &[])]),
    one::<Audit>("audit", &[]),
    one::<Observability>("observability", &[one::<Traces>("traces", &[])]),
    one::<Limits>("limits", &[one::<Quota>("per_source", &[])]),
    one::<Store>("store", &[one::<StoreRedis>("redis", &[])]),
    one::<Log>("log", &[]),
];

/// Settings whose values are shown nowhere.
const SECRETS: &[&str] = &["ticket", "wampcra", "scram", "verifiers", "url", "headers"];

const fn one<T: DeserializeOwned + 'static>(key: &'static str, sections: &'static [Section]) -> Section {
    Section {
        key,
        repeated: false,
        keys: keys_of::<T>,
        try_read: try_read::<T>,
        sections,
    }
}

const fn many<T: DeserializeOwned + 'static>(key: &'static str, sections: &'static [Section]) -> Section {
    Section {
        key,
        repeated: true,
        keys: keys_of::<T>,
        try_read: try_read::<T>,
        sections,
    }
}

fn try_read<T: DeserializeOwned>(table: toml::Table) -> Result<(), toml::de::Error> {
    Value::Table(table).try_into::<T>().map(drop)
}

/// Checks every key and value of the file; mends texts from the environment that read as something else.
pub(super) fn check(root: &mut Entry) -> Vec<Problem> {
    let mut problems = Vec::new();
    let Node::Table(entries) = &mut root.node else {
        return problems;
    };
    let keys: Vec<&str> = SECTIONS.iter().map(|section| section.key).collect();
    for (key, entry) in entries {
        match SECTIONS.iter().find(|section| section.key == key) {
            Some(section) => section.check(key, entry, &mut problems),
            None => problems.push(unknown(key, key, &keys).at(Some(entry.origin.clone()))),
        }
    }
    problems
}

impl Section {
    fn check(&self, path: &str, entry: &mut Entry, problems: &mut Vec<Problem>) {
        let origin = Some(entry.origin.clone());
        match (&mut entry.node, self.repeated) {
            (Node::Table(_), false) => self.check_table(path, entry, problems),
            (Node::List(items), true) => {
                for (index, item) in items.iter_mut().enumerate() {
                    let path = format!("{path}[{index}]");
                    if let Node::Table(_) = item.node {
                        self.check_table(&path, item, problems);
                    } else {
                        let remedy = format!("write a table: {{ {} = … }}", (self.keys)().first().unwrap_or(&"key"));
                        problems
                            .push(Problem::new(path, "wrong type: a table is expected", remedy).at(Some(item.origin.clone())));
                    }
                }
            }
            (Node::Table(_), true) => {
                let what = "wrong type: this section can be repeated and has double brackets";
                problems.push(Problem::new(path, what, format!("write [[{path}]] instead of [{path}]")).at(origin));
            }
            (_, repeated) => {
                let form = if repeated {
                    format!("[[{path}]]")
                } else {
                    format!("[{path}]")
                };
                problems.push(
                    Problem::new(
                        path,
                        "wrong type: a section is expected",
                        format!("write {form}, then its keys"),
                    )
                    .at(origin),
                );
            }
        }
    }

    fn check_table(&self, path: &str, entry: &mut Entry, problems: &mut Vec<Problem>) {
        let Node::Table(entries) = &mut entry.node else { return };
        for (key, entry) in entries {
            let path = format!("{path}.{key}");
            if let Some(section) = self.sections.iter().find(|section| section.key == key) {
                section.check(&path, entry, problems);
            } else if !(self.keys)().contains(&key.as_str()) {
                problems.push(unknown(&path, key, (self.keys)()).at(Some(entry.origin.clone())));
            } else if let Err(error) = self.check_value(key, entry) {
                let secret = SECRETS.contains(&key.as_str());
                let what = if secret {
                    "wrong type: text is expected".to_owned()
                } else {
                    plain(error.message())
                };
                let problem = Problem::new(&path, what, format!("see {path} in docs/config.md")).at(Some(entry.origin.clone()));
                problems.push(if secret {
                    problem
                } else {
                    problem.value(shorten(&entry.to_value().to_string()))
                });
            }
        }
    }

    fn check_value(&self, key: &str, entry: &mut Entry) -> Result<(), toml::de::Error> {
        let alone = |value| toml::Table::from_iter([(key.to_owned(), value)]);
        let error = match (self.try_read)(alone(entry.to_value())) {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        // RINGFORT__NODE__NAME=7 means the text "7".
        if let Node::Leaf { value, text: Some(text) } = &mut entry.node {
            let as_text = Value::String(text.clone());
            if (self.try_read)(alone(as_text.clone())).is_ok() {
                *value = as_text;
                return Ok(());
            }
        }
        Err(error)
    }
}

fn unknown(path: &str, key: &str, keys: &[&str]) -> Problem {
    let nearest = keys.iter().map(|known| (distance(key, known), known)).min();
    let all = keys.join(", ");
    let remedy = match nearest {
        Some((distance, known)) if distance <= 1 + key.len() / 4 => format!("did you mean {known}? known here: {all}"),
        _ => format!("remove it; known here: {all}"),
    };
    Problem::new(path, "unknown setting", remedy)
}

/// The error text of the deserializer in an operator's words.
fn plain(message: &str) -> String {
    let message = message.lines().next().unwrap_or_default();
    let Some((found, expected)) = message.rsplit_once(", expected ") else {
        return message.to_owned();
    };
    let expected = match expected {
        "a string" | "path string" => "a string (text in quotes)",
        "a boolean" => "true or false",
        "a sequence" => "a list",
        "u16" | "u32" | "u64" | "usize" => "a whole number from 0",
        other => other,
    };
    if found.starts_with("unknown variant") {
        return format!(
            "not one of the values {}",
            expected.trim_start_matches("one of ").replace('`', "")
        );
    }
    let kind = if found.starts_with("invalid type") {
        "wrong type"
    } else {
        "out of range"
    };
    format!("{kind}: {expected} is expected")
}

fn shorten(text: &str) -> String {
    match text.char_indices().nth(80) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

/// Edit distance (insert, delete, replace). Keys are short; longer texts are cut, which only weakens the guess.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, l) in left.chars().take(64).enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, r) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(l != *r);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[right.len()]
}

/// The keys of a struct, as its derived `Deserialize` names them.
fn keys_of<T: DeserializeOwned>() -> &'static [&'static str] {
    match T::deserialize(KeysOnly) {
        Err(Keys(keys)) => keys,
        Ok(_) => &[],
    }
}

/// A deserializer that holds nothing: it only learns which keys the struct asks for.
struct KeysOnly;

/// What [`KeysOnly`] learned, carried out as its error.
#[derive(Debug)]
struct Keys(&'static [&'static str]);

impl<'de> Deserializer<'de> for KeysOnly {
    type Error = Keys;

    fn deserialize_any<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, Keys> {
        Err(Keys(&[]))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        _visitor: V,
    ) -> Result<V::Value, Keys> {
        Err(Keys(fields))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct newtype_struct
        seq tuple tuple_struct map enum identifier ignored_any
    }
}

impl std::error::Error for Keys {}

impl fmt::Display for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(", "))
    }
}

impl serde::de::Error for Keys {
    fn custom<T: fmt::Display>(_message: T) -> Self {
        Keys(&[])
    }
}
