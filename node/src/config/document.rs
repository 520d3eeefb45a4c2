//! The part of a configuration that may stand in replicated state: `[[realm]]` and `[[principal]]`, in a file of its own.

use super::{Config, Principal, Problem, Realm, Report};

/// Realms, roles and principals of one document, checked as those of a configuration are.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Document {
    /// With their roles.
    pub realms: Vec<Realm>,
    /// Of these realms.
    pub principals: Vec<Principal>,
}

/// What a document may hold.
const TABLES: [&str; 2] = ["realm", "principal"];

impl Document {
    /// Reads a document: JSON if it begins with a brace, else TOML.
    ///
    /// # Errors
    /// Everything that is wrong with it, as one text. Secrets do not stand in it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let report = |problems| {
            let source_name = "the document".to_owned();
            Report { source_name, problems }.to_string()
        };
        let one = |what: String, remedy: &str| report(vec![Problem::new("", what, remedy)]);
        let as_toml;
        let text = if text.trim_start().starts_with('{') {
            // A message of the parser may show what stands there; its place does not.
            let value: serde_json::Value = serde_json::from_str(text).map_err(|error| {
                let what = format!("no JSON: line {}, column {}", error.line(), error.column());
                one(what, "mend it, or write TOML")
            })?;
            as_toml = toml::to_string(&value).map_err(|_| one("null, or a number beyond 64 bits".to_owned(), "leave it out"))?;
            &as_toml
        } else {
            text
        };
        if let Ok(table) = text.parse::<toml::Table>() {
            let strangers: Vec<Problem> = table
                .keys()
                .filter(|key| !TABLES.contains(&key.as_str()))
                .map(|key| {
                    let what = "a document has [[realm]] and [[principal]] only";
                    Problem::new(key.as_str(), what, "leave it to the configuration file of each node")
                })
                .collect();
            if !strangers.is_empty() {
                return Err(report(strangers));
            }
        }
        let config = Config::from_text(text, false, []).map_err(report)?;
        Ok(Self {
            realms: config.realms,
            principals: config.principals,
        })
    }

    /// Says what is wrong with the settings of a realm that are well-formed.
    ///
    /// # Errors
    /// All of it, as one text.
    pub fn check_realm(realm: &Realm) -> Result<(), String> {
        let config = Config {
            realms: vec![Realm {
                // What it is about is checked where the realm is seeded by a file.
                rights: super::RightsFrom::Fixed,
                ..realm.clone()
            }],
            ..Config::default()
        };
        let problems = super::validate::validate(&config);
        if problems.is_empty() {
            return Ok(());
        }
        let told = problems.into_iter().map(|problem| {
            let path = problem.path.trim_start_matches("realm[0].");
            format!("{path}: {}: {}", problem.what, problem.remedy)
        });
        Err(told.collect::<Vec<_>>().join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOML: &str = "[[realm]]\nname = \"a\"\nroles = [{ name = \"r\", permissions = [{ uri = \"c.\", match = \"prefix\", allow = [\"call\"] }] }]\nuri_check = \"strict\"\n\
        [[principal]]\nrealm = \"a\"\nauthid = \"p\"\nrole = \"r\"\nticket = \"long-enough-a-ticket\"\n";

    #[test]
    fn the_same_in_json_and_toml_is_the_same() {
        let json = r#" {"realm": [{"name": "a", "roles": [{"name": "r", "permissions": [{"uri": "c.", "match": "prefix", "allow": ["call"]}]}], "uri_check": "strict"}],
            "principal": [{"realm": "a", "authid": "p", "role": "r", "ticket": "long-enough-a-ticket"}]}"#;
        let (one, other) = (Document::parse(TOML).unwrap(), Document::parse(json).unwrap());
        assert_eq!(one, other);
        assert_eq!((one.realms.len(), one.principals.len()), (1, 1));
    }

    #[test]
    fn what_is_wrong_is_all_said_and_no_secret_with_it() {
        let said = |text: &str| Document::parse(text).unwrap_err();
        let wrong = said(
            &TOML
                .replace("realm = \"a\"", "realm = \"b\"")
                .replace("allow = [\"call\"]", "allow = []"),
        );
        assert!(wrong.contains("no such realm") && wrong.contains("allows nothing"), "{wrong}");
        assert!(!wrong.contains("long-enough"), "{wrong}");
        assert!(said("[node]\nname = \"n1\"\n").contains("[[realm]] and [[principal]] only"));
        assert!(said("{\"realm\": [").contains("line 1"));
        assert!(said("{\"realm\": null}").contains("null"));
        assert!(said("[[realm]]\nname = \"a\"\ncolour = 3\n").contains("colour"));
    }

    #[test]
    fn settings_of_a_realm_are_checked_as_in_a_file() {
        let realm = Realm {
            name: "not a name".to_owned(),
            authorizer_timeout_ms: 1,
            ..Realm::default()
        };
        let said = Document::check_realm(&realm).unwrap_err();
        assert!(said.contains("name: not an URI") && said.contains("10 to 60000"), "{said}");
        let good = Realm {
            name: "a.b".to_owned(),
            ..Realm::default()
        };
        assert_eq!(Document::check_realm(&good), Ok(()));
    }
}
