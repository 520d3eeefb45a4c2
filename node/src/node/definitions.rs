//! The definitions that a configuration gives a realm.

use crate::{
    config::{self, DefinitionType, Match},
    router::{
        MatchPolicy,
        reflection::{Definition, Kind},
    },
    wamp::Uri,
};

/// A definition in the configuration that is none.
#[derive(Debug, thiserror::Error)]
#[error("realm {realm}: the definition of {uri}: {why}")]
pub struct BadDefinition {
    /// The realm.
    pub realm: String,
    /// The URI of the definition.
    pub uri: String,
    /// What is wrong with it.
    pub why: String,
}

/// Those of a realm.
///
/// # Errors
/// The first one that is none.
pub(super) fn of(realm: &config::Realm) -> Result<Vec<Definition>, BadDefinition> {
    let one = |definition: &config::Definition| {
        definition_of(definition).map_err(|why| BadDefinition {
            realm: realm.name.clone(),
            uri: definition.uri.clone(),
            why,
        })
    };
    realm.definitions.iter().map(one).collect()
}

fn definition_of(definition: &config::Definition) -> Result<Definition, String> {
    let kind = match definition.r#type {
        DefinitionType::Topic => Kind::Topic,
        DefinitionType::Procedure => Kind::Procedure,
        DefinitionType::Error => Kind::Error,
    };
    let policy = match definition.r#match {
        Match::Exact => MatchPolicy::Exact,
        Match::Prefix => MatchPolicy::Prefix,
        Match::Wildcard => MatchPolicy::Wildcard,
    };
    let text = match (&definition.json, &definition.file) {
        (Some(text), _) => text.clone(),
        (None, Some(file)) => std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?,
        (None, None) => "{}".to_owned(),
    };
    Definition::from_json(kind, policy, Uri::from(definition.uri.as_str()), &text)
}
