//! Keeps `docs/config.schema.json`, which editors use, equal to the structs, and holds configurations against it.
//!
//! `RINGFORT_WRITE_DOCS=../docs/config.schema.json cargo test -p ringfort json_schema_matches` writes it anew. What a key takes is found
//! out by trying values on the deserializer itself, so nothing about it is written twice.

use serde_json::{Map, Value as Json, json};
use toml::Value;

use super::reference::{about, meaning};
use crate::config::schema::{SECTIONS, Section};

const COMMITTED: &str = include_str!("../../../../docs/config.schema.json");

#[test]
fn json_schema_matches_the_structs() {
    let mut properties = Map::new();
    for section in SECTIONS {
        properties.insert(section.key.to_owned(), of_section(section, ""));
    }
    let schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Settings of a Ringfort node",
        "description": "What ringfort serve --config FILE reads; docs/config.md says the same for people.",
        "type": "object",
        "additionalProperties": false,
        "properties": properties,
    });
    let text = serde_json::to_string_pretty(&schema).unwrap() + "\n";
    if let Ok(file) = std::env::var("RINGFORT_WRITE_DOCS") {
        std::fs::write(file, &text).unwrap();
        return;
    }
    assert!(
        text == COMMITTED,
        "docs/config.schema.json is not what the structs say; see the top of this file"
    );
}

fn of_section(section: &Section, parent: &str) -> Json {
    let path = format!("{parent}{}", section.key);
    let mut properties = Map::new();
    for key in (section.keys)() {
        let inner = section.sections.iter().find(|inner| inner.key == *key);
        let of_key = match inner {
            Some(inner) => of_section(inner, &format!("{path}.")),
            None => {
                let mut taken = of_key(section, key);
                taken.insert("description".to_owned(), meaning(&path, key).into());
                Json::Object(taken)
            }
        };
        properties.insert((*key).to_owned(), of_key);
    }
    let table = json!({
        "description": about(&path),
        "type": "object",
        "additionalProperties": false,
        "properties": properties,
    });
    match section.repeated {
        true => json!({ "type": "array", "items": table }),
        false => table,
    }
}

/// What a key takes.
fn of_key(section: &Section, key: &str) -> Map<String, Json> {
    let tried = |value: Value| (section.try_read)(toml::Table::from_iter([(key.to_owned(), value)]));
    // A value of the right type may be out of range, or of a form that is refused.
    let takes = |value: Value| {
        tried(value)
            .err()
            .is_none_or(|error| !error.message().starts_with("invalid type"))
    };
    let text = |text: &str| Value::String(text.to_owned());
    let mut kinds = Vec::new();
    let mut schema = Map::new();
    if takes(Value::Boolean(true)) {
        kinds.push("boolean");
    }
    if takes(Value::Float(0.5)) {
        kinds.push("number");
    } else if takes(Value::Integer(1)) {
        kinds.push("integer");
        if tried(Value::Integer(-1)).is_err() {
            schema.insert("minimum".to_owned(), 0.into());
        }
    }
    if takes(text("x")) {
        kinds.push("string");
        if let Some(words) = tried(text("\u{1}")).err().and_then(|error| variants(error.message())) {
            schema.insert("enum".to_owned(), words.into());
        }
    }
    if takes(Value::Array(Vec::new())) {
        kinds.push("array");
        let item = |value: Value| takes(Value::Array(vec![value]));
        let of_items = if item(text("x")) {
            let words = tried(Value::Array(vec![text("\u{1}")])).err();
            match words.and_then(|error| variants(error.message())) {
                Some(words) => json!({ "enum": words }),
                None => json!({ "type": "string" }),
            }
        } else if item(Value::Integer(1)) {
            json!({ "type": "integer" })
        } else {
            json!({ "type": "object" })
        };
        schema.insert("items".to_owned(), of_items);
    }
    if takes(Value::Table(toml::Table::new())) {
        kinds.push("object");
    }
    assert!(!kinds.is_empty(), "nothing can be written for {key}");
    let kinds = match kinds[..] {
        [kind] => json!(kind),
        _ => json!(kinds),
    };
    if !schema.contains_key("enum") {
        schema.insert("type".to_owned(), kinds);
    }
    schema
}

/// The words in the message about one that is unknown.
fn variants(message: &str) -> Option<Vec<String>> {
    let (_, known) = message.strip_prefix("unknown variant")?.rsplit_once(", expected ")?;
    let words: Vec<String> = known.split('`').skip(1).step_by(2).map(str::to_owned).collect();
    (!words.is_empty()).then_some(words)
}

fn validator() -> jsonschema::Validator {
    jsonschema::validator_for(&serde_json::from_str(COMMITTED).unwrap()).unwrap()
}

fn errors(text: &str) -> Vec<String> {
    let tree: Value = toml::from_str::<toml::Table>(text).unwrap().into();
    let tree = serde_json::to_value(tree).unwrap();
    validator()
        .iter_errors(&tree)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect()
}

#[test]
fn every_configuration_of_the_documentation_is_valid_by_the_schema() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let mut seen = 0;
    for page in ["config", "clients", "authorization", "operating", "deploying"] {
        let Ok(text) = std::fs::read_to_string(format!("{root}/docs/{page}.md")) else {
            continue;
        };
        for block in text.split("```toml\n").skip(1).filter_map(|rest| rest.split("\n```").next()) {
            // Pieces of a section stand in its page without their heading.
            if block.contains('[') && toml::from_str::<toml::Table>(block).is_ok() {
                seen += 1;
                assert_eq!(errors(block), Vec::<String>::new(), "docs/{page}.md\n{block}");
            }
        }
    }
    assert!(seen >= 3, "{seen} seen");
    let whole = toml::to_string(&crate::config::Config::default()).unwrap();
    assert_eq!(errors(&whole), Vec::<String>::new());
}

#[test]
fn what_the_node_would_refuse_by_key_or_type_the_schema_refuses() {
    for bad in [
        "[lissener]\n",
        "[log]\nlevle = \"info\"\n",
        "[log]\nformat = \"yaml\"\n",
        "[limits]\nsessions_max = \"many\"\n",
        "[limits]\nsessions_max = -1\n",
        "[[realm]]\nname = 7\n",
        "[[realm.roles]]\nname = \"a\"\npermissions = [{ uri = \"\", allow = [\"everything\"] }]\n",
        "[listener]\naddress = \"127.0.0.1:1\"\n",
        "[observability.traces]\nratio = \"much\"\n",
    ] {
        assert!(!errors(bad).is_empty(), "{bad}");
    }
    let good = "[[realm]]\nname = \"a\"\ntrustlevels = { admin = 5 }\n[[realm.roles]]\nname = \"a\"\npermissions = [{ uri = \"\", allow = [\"all\"] }]\n\
                [observability]\naddress = \"off\"\n[observability.traces]\nratio = 0.5\nheaders = [\"a: b\"]\n";
    assert_eq!(errors(good), Vec::<String>::new());
}
