//! `[[realm.definitions]]`: what is said of topics, procedures and errors, and so what their payloads are held to.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Match;

/// What is said of a topic, a procedure or an error, or of all that match a pattern, for `wamp.reflect.describe`, and the JSON Schemas
/// that payloads are held to. Clients cannot change it. Of several that match a URI the best one counts: the exact one, else the
/// longest prefix, else the wildcard pattern whose components are named furthest. The same list on every node.
///
/// A definition is a JSON object. `call`, `result` and `progress` (parts of a result) of a procedure, `event` of a topic and `error`
/// of an error each hold a JSON Schema (draft 2020-12) for `args`, the list of positional arguments, and `kwargs`, the keyword
/// arguments, or for one of both: `{"call": {"args": {"items": {"type": "integer"}, "maxItems": 2}}}`. In a schema `$ref` begins with
/// `#` and does not come back to itself; regular expressions are those without look-around; `format` is not checked. Sealed payloads
/// (payload passthru) are refused where there is a schema, unless the definition says `"allow_sealed": true`. Whatever else it says is
/// for people and tools.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Definition {
    /// The URI, or the pattern, such as `com.example.lamp.set`. Required.
    pub uri: String,
    /// How `uri` is compared: `exact`, `prefix` or `wildcard`. Default `exact`.
    pub r#match: Match,
    /// What it is about: `topic`, `procedure` or `error`. Default `procedure`.
    pub r#type: DefinitionType,
    /// The definition as JSON text. Either this or `file`.
    pub json: Option<String>,
    /// A file with the definition as JSON text. Read once, at the start.
    pub file: Option<PathBuf>,
}

/// What a definition is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DefinitionType {
    /// Events are published to it.
    Topic,
    /// It is called.
    #[default]
    Procedure,
    /// Calls end with it.
    Error,
}
