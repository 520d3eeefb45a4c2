//! Which definitions are taken, and what their schemas say of payloads.

use super::*;
use crate::wamp::Serializer;

fn procedure(json: &str) -> Result<Definition, String> {
    Definition::from_json(Kind::Procedure, MatchPolicy::Exact, Uri::from("com.add"), json)
}

/// A procedure whose arguments are held to this schema.
fn of_args(schema: &str) -> Result<Definition, String> {
    procedure(&format!("{{\"call\": {{\"args\": {schema}}}}}"))
}

/// Where and by which rule arguments break the schema.
fn breaks(schema: &str, args: &[Value]) -> Option<(String, String)> {
    let checks = Checks::of(&of_args(schema).unwrap()).unwrap().unwrap();
    let violation = checks.call.unwrap().violation(args.to_vec(), Dict::new())?;
    Some((violation.path, violation.rule))
}

fn some(path: &str, rule: &str) -> Option<(String, String)> {
    Some((path.to_owned(), rule.to_owned()))
}

#[test]
fn a_payload_that_breaks_a_rule_is_told_where_and_which() {
    let schema = r##"{"prefixItems": [{"type": "integer"}, {"$ref": "#/$defs/name"}], "items": false, "minItems": 1,
        "$defs": {"name": {"type": "string", "pattern": "^\\w{2,8}$"}}}"##;
    assert_eq!(breaks(schema, &[7_u64.into(), "lamp".into()]), None);
    assert_eq!(
        breaks(schema, &[Value::Float(7.0)]),
        None,
        "a double without fraction is an integer"
    );
    assert_eq!(breaks(schema, &[]), some("/args", "/args/minItems"));
    assert_eq!(breaks(schema, &["7".into()]), some("/args/0", "/args/prefixItems/0/type"));
    let (path, rule) = breaks(schema, &[7_u64.into(), "x".into()]).unwrap();
    assert_eq!((path.as_str(), rule.ends_with("/pattern")), ("/args/1", true), "{rule}");
    assert!(breaks(schema, &[7_u64.into(), "lamp".into(), Value::Null]).is_some());
}

#[test]
fn kwargs_are_held_to_their_own_schema() {
    let json = r#"{"call": {"kwargs": {"required": ["on"], "properties": {"on": {"type": "boolean"}}}}}"#;
    let checks = Checks::of(&procedure(json).unwrap()).unwrap().unwrap();
    let shape = checks.call.unwrap();
    let says = |kwargs: Dict| shape.violation(vec![1_u64.into()], kwargs).map(|v| (v.path, v.rule));
    assert_eq!(says(Dict::new().with("on", true)), None);
    assert_eq!(says(Dict::new()), some("/kwargs", "/kwargs/required"));
    assert_eq!(
        says(Dict::new().with("on", 1_u64)),
        some("/kwargs/on", "/kwargs/properties/on/type")
    );
}

#[test]
fn values_that_json_does_not_have_are_those_of_the_codec() {
    let schema = r#"{"items": {"type": ["string", "integer"]}}"#;
    for value in [
        Value::Binary(vec![1, 2, 3]),
        Value::Integer(i128::from(u64::MAX)),
        Value::Integer(-(1 << 64)),
        Value::Text("\0".into()),
    ] {
        assert_eq!(breaks(schema, std::slice::from_ref(&value)), None, "{value:?}");
        let binary = matches!(value, Value::Binary(_));
        let json = schema::to_json(&value).unwrap();
        if binary {
            assert_eq!(json, "\0AQID", "as the JSON serializer writes it");
        }
    }
    assert_eq!(breaks(schema, &[Value::Float(f64::NAN)]), some("/args", "/args"));
    let payload = crate::wamp::Payload::from_values(Serializer::Cbor, &[Value::Binary(vec![0; 3])], &Dict::new());
    let (args, _) = payload.transcode(Serializer::Json).unwrap().to_values().unwrap();
    assert_eq!(breaks(schema, &args), None);
}

#[test]
fn a_message_of_a_rule_does_not_show_the_payload() {
    let definition = of_args(r#"{"items": {"type": "integer"}}"#).unwrap();
    let shape = Checks::of(&definition).unwrap().unwrap().call.unwrap();
    let violation = shape.violation(vec!["secret".into()], Dict::new()).unwrap();
    assert!(
        !violation.message.contains("secret") && violation.message.contains("integer"),
        "{violation:?}"
    );
}

/// Asserts that `json` is refused with a reason that says `part`.
#[track_caller]
fn refused(json: &str, part: &str) {
    let why = procedure(json).expect_err("must be refused");
    assert!(why.contains(part), "{part:?} is missing in {why:?}");
}

#[test]
fn what_is_no_definition_is_refused_with_a_reason() {
    refused("[]", "no JSON object");
    refused(r#"{"event": {"args": true}}"#, "procedure says nothing about event");
    refused(r#"{"call": true}"#, "call: not a dict");
    refused(r#"{"call": {"arg": true}}"#, "arg is neither args nor kwargs");
    refused(r#"{"call": {"args": 7}}"#, "call: args: not a JSON Schema");
    refused(r#"{"call": {"args": {"type": "intege"}}}"#, "not a JSON Schema");
    refused(
        r#"{"call": {"args": {"$schema": "http://json-schema.org/draft-07/schema#"}}}"#,
        "draft",
    );
    refused(r#"{"allow_sealed": 1}"#, "allow_sealed");
    refused(r#"{"call": {"args": {"pattern": "(?=x)"}}}"#, "not a JSON Schema");
    refused(r#"{"call": {"args": {"pattern": "(a)\\1"}}}"#, "not a JSON Schema");
    refused(r#"{"call": {"args": {"pattern": "\\w{10000}"}}}"#, "not a JSON Schema");
    assert!(procedure(r#"{"description": "adds", "call": {}}"#).is_ok());
    let wild = Definition::from_json(Kind::Topic, MatchPolicy::Exact, Uri::from("com..x"), "{}");
    assert!(wild.is_err());
    let own = Definition::from_json(Kind::Topic, MatchPolicy::Exact, Uri::from("wamp.x"), "{}");
    assert!(own.is_err());
}

#[test]
fn nothing_is_fetched_and_no_schema_comes_back_to_itself() {
    for reference in [
        "https://example.org/x",
        "file:///etc/passwd",
        "other",
        "#/$defs/none",
        "#x",
        "%23",
    ] {
        refused(
            &format!(r#"{{"call": {{"args": {{"$ref": "{reference}"}}}}}}"#),
            "names no place in the same schema",
        );
    }
    refused(r##"{"call": {"args": {"$ref": "#"}}}"##, "comes back to itself");
    refused(
        r##"{"call": {"args": {"items": {"$ref": "#/$defs/a"}, "$defs": {"a": {"items": {"$ref": "#/$defs/a"}}}}}}"##,
        "comes back to itself",
    );
    refused(
        r##"{"call": {"args": {"$dynamicRef": "#a"}}}"##,
        "$dynamicRef is not supported",
    );
    refused(r#"{"call": {"args": {"items": {"$id": "x"}}}}"#, "$id stands below the root");
}

#[test]
fn a_schema_that_asks_for_too_much_is_refused() {
    // Each of 40 names twice the next: 2^40 steps.
    let mut levels: Vec<String> = (0..40)
        .map(|n| {
            format!(
                r##""l{n}": {{"allOf": [{{"$ref": "#/$defs/l{}"}}, {{"$ref": "#/$defs/l{}"}}]}}"##,
                n + 1,
                n + 1
            )
        })
        .collect();
    levels.push(r#""l40": {"type": "integer"}"#.to_owned());
    let bomb = format!(r##"{{"$ref": "#/$defs/l0", "$defs": {{{}}}}}"##, levels.join(", "));
    assert!(of_args(&bomb).is_err());
    let short =
        r##"{"$ref": "#/$defs/a", "$defs": {"a": {"allOf": [{"$ref": "#/$defs/b"}, {"$ref": "#/$defs/b"}]}, "b": true}}"##;
    assert!(of_args(short).is_ok(), "a reference may be used twice");
    let deep = format!("{}true{}", r#"{"items": "#.repeat(60), "}".repeat(60));
    assert!(of_args(&deep).unwrap_err().contains("deeper"));
    let wide = format!(r#"{{"enum": [{}0]}}"#, "0, ".repeat(6_000));
    assert!(of_args(&wide).unwrap_err().contains("5000"));
    let expressions: Vec<String> = (0..30).map(|n| format!(r#"{{"pattern": "{n}"}}"#)).collect();
    assert!(of_args(&format!(r#"{{"anyOf": [{}]}}"#, expressions.join(", "))).is_err());
    let mut nested = "true".to_owned();
    for _ in 0..14 {
        nested = format!(r#"{{"allOf": [{nested}], "unevaluatedItems": false}}"#);
    }
    assert!(of_args(&nested).is_err(), "looked at 2^14 times");
}

#[test]
fn what_is_said_survives_and_its_order_does_not_matter() {
    let dict = |first: &str, second: &str| {
        let mut dict = Dict::new().with("type", "topic");
        for key in [first, second] {
            dict.set(
                key,
                Value::List(vec![Value::Null, (-7_i64).into(), Value::Float(0.5), "x".into()]),
            );
        }
        dict
    };
    let make = |dict| Definition::from_dict(Uri::from("com.t"), dict, UriCheck::Loose).unwrap();
    let (one, other) = (make(dict("a", "b")), make(dict("b", "a")));
    assert_eq!(one, other);
    let told = one.to_dict();
    assert_eq!(told.get("a"), dict("a", "b").get("a"));
    let facts = ["type", "match", "uri"].map(|key| told.text(key).unwrap());
    assert_eq!(facts, ["topic", "exact", "com.t"]);
}

#[test]
fn the_table_keeps_to_the_room_it_is_given() {
    let node = crate::router::testing::ME;
    let room = |count_max, bytes_max| Room { count_max, bytes_max };
    let definition = |uri: &str, text: &str| Definition::from_parts(Kind::Topic, MatchPolicy::Exact, Uri::from(uri), text.into());
    let mut table = Definitions::default();
    let (a, b) = (definition("a", "{}"), definition("b", "{}"));
    let longer = definition("a", r#"{"x":1}"#);
    use crate::router::OpOutcome::{Defined, Done, NoRoom, NotFound};
    let mut does = |number, what: &Definition, room| {
        let outcome = table.define(node, number, what, room);
        table.check().unwrap();
        outcome
    };
    assert_eq!(does(1, &a, room(1, 9)), Defined(Change::New));
    assert_eq!(does(2, &b, room(1, 9)), NoRoom);
    assert_eq!(does(3, &b, room(2, 5)), NoRoom);
    assert_eq!(does(4, &a, room(0, 0)), Defined(Change::Unchanged));
    assert_eq!(
        does(5, &longer, room(1, 9)),
        Defined(Change::Changed),
        "what it replaces makes room"
    );
    let mut takes = |number, kind| {
        let outcome = table.undefine(node, number, kind, MatchPolicy::Exact, &Uri::from("a"));
        table.check().unwrap();
        outcome
    };
    assert_eq!(takes(6, Some(Kind::Error)), NotFound);
    assert_eq!(takes(7, None), Done);
    assert_eq!((table.iter().len(), table.settled(node)), (0, 7));
}
