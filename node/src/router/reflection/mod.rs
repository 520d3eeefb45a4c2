//! What is said of topics, procedures and errors: definitions, and the JSON Schemas in them that payloads are held to.
//!
//! Owns: [`Definition`], the replicated table of them ([`table`]), their compiled form ([`schema`], [`schemas`]) and the judgement of
//! payloads ([`judge`]). Does not own the procedures and events by which clients define and ask: those are in `meta/reflection`.
//!
//! A definition is a dict. `type` is `topic`, `procedure` or `error`, `match` how its URI is compared. Of the rest these keys mean
//! something to the router: `call`, `result` and `progress` (parts of a result) of a procedure, `event` of a topic and `error` of an
//! error, each a dict with a JSON Schema (draft 2020-12) for `args`, the list of positional arguments, and `kwargs`, the dict of
//! keyword arguments, or for one of both; and `allow_sealed`. Whatever else stands there is for people and tools.
//!
//! Of several definitions that match a URI the best one counts, in the order in which registrations are chosen.
//!
//! Invariants: a payload is judged on the node of the session that asks: a call's arguments and its answer on the caller's node, an
//! event on the publisher's; a realm without schemas pays one branch; one that cannot be compiled lets nothing pass.
//!
//! Spec: WAMP advanced profile, "Interface Reflection", a sketch that names procedures and events and no arguments. Where Crossbar had
//! an API (`define`, `describe` and their events) its arguments and answers are kept.

mod judge;
mod schema;
mod schemas;
pub mod table;

use std::sync::Arc;

use serde_json::{Map, Value as Json};

use super::{MatchPolicy, pattern};
use crate::wamp::{Dict, Uri, UriCheck, Value, error_uri};

pub(super) use schema::Checks;
pub(super) use schemas::Schemas;
pub use table::{Change, Definitions, Room, Row};

/// What a definition is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Events are published to it.
    Topic,
    /// It is called.
    Procedure,
    /// Calls end with it.
    Error,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Topic, Self::Procedure, Self::Error];

    /// Its number in the log and in snapshots; never changes. 0 stands for all of them.
    pub const fn code(self) -> u8 {
        match self {
            Self::Topic => 1,
            Self::Procedure => 2,
            Self::Error => 3,
        }
    }

    /// The kind with that number.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.code() == code)
    }

    /// Its name in definitions.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Topic => "topic",
            Self::Procedure => "procedure",
            Self::Error => "error",
        }
    }

    /// The kind of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// The messages whose payloads its definitions may speak of.
    const fn messages(self) -> &'static [&'static str] {
        match self {
            Self::Topic => &["event"],
            Self::Procedure => &["call", "result", "progress"],
            Self::Error => &["error"],
        }
    }
}

/// What a definition stands under.
pub type Key = (Kind, MatchPolicy, Uri);

/// What is said of a topic, a procedure or an error, or of all that match a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Definition {
    /// What it is about.
    pub kind: Kind,
    /// How URIs are compared with [`Self::uri`].
    pub policy: MatchPolicy,
    /// A URI or a pattern.
    pub uri: Uri,
    /// Everything said, as the JSON text of an object, its keys in order; `type` and `match` among them.
    pub text: Arc<str>,
}

/// Why something is no definition: an error URI and the reason in words.
pub type Fault = (&'static str, String);

impl Definition {
    /// The definition that a client gives as a dict.
    ///
    /// # Errors
    /// It says too little, something of the wrong type, or has a schema that is none or asks for too much.
    pub fn from_dict(uri: Uri, dict: Dict, check: UriCheck) -> Result<Self, Fault> {
        let invalid = |why: String| (error_uri::INVALID_ARGUMENT, why);
        let json = schema::to_json(&Value::Dict(dict)).map_err(|what| invalid(format!("the definition holds {what}")))?;
        let Json::Object(mut object) = json else {
            return Err(invalid("the definition is no dict".into()));
        };
        let kind = match object.get("type") {
            Some(Json::String(name)) => Kind::from_name(name),
            _ => None,
        };
        let kind = kind.ok_or_else(|| invalid("type is none of topic, procedure and error".into()))?;
        let policy = match object.get("match") {
            None | Some(Json::Null) => Some(MatchPolicy::Exact),
            Some(Json::String(name)) => MatchPolicy::from_name(name),
            Some(_) => None,
        };
        let policy = policy.ok_or_else(|| invalid("match is none of exact, prefix and wildcard".into()))?;
        object.insert("match".into(), policy.name().into());
        let definition = Self::new(kind, policy, uri, &object);
        if !definition.has_valid_uri(check) {
            return Err((error_uri::INVALID_URI, "uri is no valid URI".into()));
        }
        definition.verify().map_err(invalid)?;
        Ok(definition)
    }

    /// The definition that a configuration gives as the JSON text of an object; `type` and `match` stand beside it.
    ///
    /// # Errors
    /// As [`Self::from_dict`], in words.
    pub fn from_json(kind: Kind, policy: MatchPolicy, uri: Uri, text: &str) -> Result<Self, String> {
        let object: Map<String, Json> = serde_json::from_str(text).map_err(|error| format!("no JSON object: {error}"))?;
        let mut object = object;
        object.insert("type".into(), kind.name().into());
        object.insert("match".into(), policy.name().into());
        let definition = Self::new(kind, policy, uri, &object);
        if !definition.has_valid_uri(UriCheck::Loose) {
            return Err("its URI is not valid".into());
        }
        definition.verify()?;
        Ok(definition)
    }

    fn new(kind: Kind, policy: MatchPolicy, uri: Uri, object: &Map<String, Json>) -> Self {
        // Sorted here, so that it does not matter what a map of that crate does.
        let sorted: std::collections::BTreeMap<&String, &Json> = object.iter().collect();
        let text = serde_json::to_string(&sorted).unwrap_or_default().into();
        Self { kind, policy, uri, text }
    }

    /// The same from the log or a snapshot, where it was checked before.
    pub fn from_parts(kind: Kind, policy: MatchPolicy, uri: Uri, text: Arc<str>) -> Self {
        Self { kind, policy, uri, text }
    }

    /// What it stands under.
    pub fn key(&self) -> Key {
        (self.kind, self.policy, self.uri.clone())
    }

    /// How much it takes of the room for definitions.
    pub fn bytes(&self) -> usize {
        self.uri.len() + self.text.len()
    }

    /// What clients are told: all that was said, and the URI.
    pub fn to_dict(&self) -> Dict {
        let mut dict = match serde_json::from_str(&self.text).map(schema::from_json) {
            Ok(Value::Dict(dict)) => dict,
            // What is in the log was made above; a text that cannot be read still has its key.
            _ => Dict::new().with("type", self.kind.name()).with("match", self.policy.name()),
        };
        dict.set("uri", self.uri.as_str());
        dict
    }

    /// Choice: what begins with `wamp.` is the protocol's own, and nobody says what it carries.
    fn has_valid_uri(&self, check: UriCheck) -> bool {
        pattern::is_valid(self.policy, &self.uri, check) && !self.uri.is_reserved()
    }

    fn verify(&self) -> Result<(), String> {
        Checks::of(self).map(drop)
    }
}

#[cfg(test)]
mod tests;
