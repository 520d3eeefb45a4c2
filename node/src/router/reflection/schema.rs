//! JSON Schemas: which ones are taken, how they are compiled, and what they say of a payload.
//!
//! A schema comes from whoever may define, and a payload from anybody, so both are bounded: nothing is fetched, regular expressions
//! run without backtracking and are small, and the steps of a judgement are at most (schemas in the schema) × (values in the payload).
//! For that, Choice: `$ref` names a place in the same schema (`#` or `#/…`) and never comes back to itself; `$id` below the root,
//! `$anchor`, `$dynamicRef` and `$dynamicAnchor` are refused. `format` says something to people only, as the draft has it.

use base64::{Engine, prelude::BASE64_STANDARD};
use jsonschema::{Draft, PatternOptions, Validator};
use serde_json::{Map, Number, Value as Json};

use super::Definition;
use crate::wamp::{Dict, Value};

/// What a definition checks.
#[derive(Debug, Default)]
pub(in crate::router) struct Checks {
    pub(super) call: Option<Shape>,
    pub(super) result: Option<Shape>,
    pub(super) progress: Option<Shape>,
    pub(super) event: Option<Shape>,
    pub(super) error: Option<Shape>,
    /// A sealed payload passes unseen.
    pub(super) allow_sealed: bool,
    /// Nothing passes, for this reason.
    pub(super) impassable: Option<String>,
}

/// What the arguments of a message look like.
#[derive(Debug)]
pub(super) struct Shape {
    args: Option<Validator>,
    kwargs: Option<Validator>,
}

/// What is wrong with a payload.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Violation {
    /// Where: a JSON pointer that begins with `/args` or `/kwargs`.
    pub(super) path: String,
    /// Which rule: a JSON pointer into the definition's dict of that message.
    pub(super) rule: String,
    /// The rule in words, without the value that breaks it.
    pub(super) message: String,
}

/// Schemas in one schema, those behind `$ref` counted each time. A regular expression counts for many, and a schema with an
/// `unevaluated…` twice: what is in it is looked at twice.
const WEIGHT_MAX: usize = 5_000;
/// What a regular expression counts.
const PATTERN_WEIGHT: usize = 250;
/// Levels of schemas in schemas, `$ref` included.
const DEPTH_MAX: usize = 48;
/// Bytes of a compiled regular expression; Unicode classes take tens of kilobytes.
const PATTERN_BYTES_MAX: usize = 256 << 10;
/// Bytes of the rule in words.
const MESSAGE_BYTES_MAX: usize = 300;

const DRAFT: &str = "https://json-schema.org/draft/2020-12/schema";

impl Checks {
    /// Compiles the schemas of a definition; `None` if it has none.
    pub(in crate::router) fn of(definition: &Definition) -> Result<Option<Self>, String> {
        let object: Map<String, Json> =
            serde_json::from_str(&definition.text).map_err(|error| format!("the definition is no JSON object: {error}"))?;
        let mut checks = Self {
            allow_sealed: match object.get("allow_sealed") {
                None => false,
                Some(Json::Bool(allow)) => *allow,
                Some(_) => return Err("allow_sealed is neither true nor false".into()),
            },
            ..Self::default()
        };
        let mut any = false;
        for name in ["call", "result", "progress", "event", "error"] {
            let Some(shape) = object.get(name) else { continue };
            if !definition.kind.messages().contains(&name) {
                let kind = definition.kind.name();
                return Err(format!("the definition of a {kind} says nothing about {name}"));
            }
            let shape = Shape::compile(shape).map_err(|why| format!("{name}: {why}"))?;
            any |= shape.is_some();
            match name {
                "call" => checks.call = shape,
                "result" => checks.result = shape,
                "progress" => checks.progress = shape,
                "event" => checks.event = shape,
                _ => checks.error = shape,
            }
        }
        Ok(any.then_some(checks))
    }

    /// Lets nothing pass.
    pub(super) fn impassable(why: String) -> Self {
        Self {
            impassable: Some(why),
            ..Self::default()
        }
    }

    /// True if the call's further messages will be looked at: parts of its arguments, its answer.
    pub(super) fn outlasts_the_call(&self) -> bool {
        self.call.is_some() || self.result.is_some() || self.progress.is_some()
    }
}

impl Shape {
    fn compile(json: &Json) -> Result<Option<Self>, String> {
        let Json::Object(object) = json else {
            return Err("not a dict of args and kwargs".into());
        };
        if let Some(key) = object.keys().find(|key| !matches!(key.as_str(), "args" | "kwargs")) {
            return Err(format!("{key} is neither args nor kwargs"));
        }
        let one = |key: &str| {
            let schema = object.get(key).filter(|schema| !schema.is_null());
            schema
                .map(|schema| compile(schema).map_err(|why| format!("{key}: {why}")))
                .transpose()
        };
        let shape = Self {
            args: one("args")?,
            kwargs: one("kwargs")?,
        };
        Ok((shape.args.is_some() || shape.kwargs.is_some()).then_some(shape))
    }

    /// What is wrong with arguments.
    pub(super) fn violation(&self, args: Vec<Value>, kwargs: Dict) -> Option<Violation> {
        let args = ("args", &self.args, Value::List(args));
        let kwargs = ("kwargs", &self.kwargs, Value::Dict(kwargs));
        [args, kwargs].into_iter().find_map(|(name, validator, value)| {
            let validator = validator.as_ref()?;
            let json = match to_json(&value) {
                Ok(json) => json,
                Err(what) => {
                    return Some(Violation {
                        path: format!("/{name}"),
                        rule: format!("/{name}"),
                        message: format!("the payload holds {what}"),
                    });
                }
            };
            let error = validator.validate(&json).err()?;
            let mut message = error.masked().to_string();
            if message.len() > MESSAGE_BYTES_MAX {
                let end = (0..=MESSAGE_BYTES_MAX).rev().find(|at| message.is_char_boundary(*at));
                message.truncate(end.unwrap_or(0));
                message.push('…');
            }
            Some(Violation {
                path: format!("/{name}{}", error.instance_path()),
                rule: format!("/{name}{}", error.schema_path()),
                message,
            })
        })
    }
}

fn compile(schema: &Json) -> Result<Validator, String> {
    if let Some(other) = schema
        .get("$schema")
        .filter(|draft| draft.as_str().map(|d| d.trim_end_matches('#')) != Some(DRAFT))
    {
        return Err(format!("$schema {other} is not {DRAFT}"));
    }
    let mut weigher = Weigher {
        root: schema,
        under_way: Vec::new(),
    };
    if weigher.weigh(schema, 0)? > WEIGHT_MAX {
        return Err(format!("the schema is too large: more than {WEIGHT_MAX} steps"));
    }
    let patterns = PatternOptions::regex()
        .size_limit(PATTERN_BYTES_MAX)
        .dfa_size_limit(PATTERN_BYTES_MAX);
    jsonschema::options()
        .with_draft(Draft::Draft202012)
        .with_pattern_options(patterns)
        .should_validate_formats(false)
        .offline()
        .build(schema)
        .map_err(|error| {
            let mut text = error.masked().to_string();
            text.truncate(
                (0..=MESSAGE_BYTES_MAX.min(text.len()))
                    .rev()
                    .find(|at| text.is_char_boundary(*at))
                    .unwrap_or(0),
            );
            format!("not a JSON Schema: {text}")
        })
}

/// Finds out how much a schema asks for before it is compiled.
struct Weigher<'a> {
    root: &'a Json,
    /// The `$ref`s that are being followed.
    under_way: Vec<&'a str>,
}

impl<'a> Weigher<'a> {
    /// An upper bound of the steps it takes to hold one value to it. Whatever stands in a schema is counted as if it were one.
    fn weigh(&mut self, schema: &'a Json, depth: usize) -> Result<usize, String> {
        if depth > DEPTH_MAX {
            return Err(format!("the schema is nested deeper than {DEPTH_MAX}"));
        }
        let mut weight = 1;
        match schema {
            Json::Array(list) => {
                for inner in list {
                    weight = add(weight, self.weigh(inner, depth + 1)?)?;
                }
            }
            Json::Object(object) => {
                for (key, inner) in object {
                    let of_key = match (key.as_str(), inner) {
                        ("$ref", Json::String(to)) => self.follow(to, depth)?,
                        ("$id", Json::String(_)) if depth > 0 => return Err("$id stands below the root".into()),
                        ("$anchor" | "$dynamicAnchor" | "$dynamicRef" | "$recursiveRef", Json::String(_)) => {
                            return Err(format!("{key} is not supported, write $ref with #/…"));
                        }
                        ("pattern", Json::String(_)) => PATTERN_WEIGHT,
                        ("patternProperties", Json::Object(patterns)) => {
                            let expressions = patterns.len().saturating_mul(PATTERN_WEIGHT);
                            add(expressions, self.weigh(inner, depth + 1)?)?
                        }
                        _ => self.weigh(inner, depth + 1)?,
                    };
                    weight = add(weight, of_key)?;
                }
                let twice = ["unevaluatedProperties", "unevaluatedItems"];
                for _ in twice.iter().filter(|key| object.contains_key(**key)) {
                    weight = add(weight, weight)?;
                }
            }
            _ => {}
        }
        Ok(weight)
    }

    fn follow(&mut self, to: &'a str, depth: usize) -> Result<usize, String> {
        let target = to.strip_prefix('#').filter(|pointer| !pointer.contains('%'));
        let target = target.and_then(|pointer| self.root.pointer(pointer));
        let Some(target) = target else {
            return Err(format!("$ref {to:?} names no place in the same schema"));
        };
        if self.under_way.contains(&to) {
            return Err(format!("$ref {to:?} comes back to itself"));
        }
        self.under_way.push(to);
        let weight = self.weigh(target, depth + 1);
        self.under_way.pop();
        weight
    }
}

/// Ends the count where it is too much already: a few `$ref`s can stand for more than could ever be counted.
fn add(one: usize, other: usize) -> Result<usize, String> {
    let sum = one.saturating_add(other);
    if sum > WEIGHT_MAX {
        return Err(format!("the schema asks for more than {WEIGHT_MAX} steps"));
    }
    Ok(sum)
}

/// A value as JSON has it, binary and text as the codec writes them: binary as U+0000 and base64. Integers beyond 64 bits become
/// doubles.
///
/// # Errors
/// What JSON cannot carry.
pub(super) fn to_json(value: &Value) -> Result<Json, &'static str> {
    Ok(match value {
        Value::Null => Json::Null,
        Value::Bool(value) => Json::Bool(*value),
        Value::Integer(value) => match (i64::try_from(*value), u64::try_from(*value)) {
            (Ok(value), _) => value.into(),
            (_, Ok(value)) => value.into(),
            _ => Number::from_f64(*value as f64).map_or(Json::Null, Json::Number),
        },
        Value::Float(value) => Json::Number(Number::from_f64(*value).ok_or("a number that is not finite")?),
        Value::Text(text) => Json::String(text.clone()),
        Value::Binary(bytes) => Json::String(format!("\0{}", BASE64_STANDARD.encode(bytes))),
        Value::List(list) => Json::Array(list.iter().map(to_json).collect::<Result<_, _>>()?),
        Value::Dict(dict) => {
            let entry = |(key, value): &(String, Value)| -> Result<_, &'static str> { Ok((key.clone(), to_json(value)?)) };
            Json::Object(dict.0.iter().map(entry).collect::<Result<_, _>>()?)
        }
    })
}

/// The reverse, for what this router wrote.
pub(super) fn from_json(json: Json) -> Value {
    match json {
        Json::Null => Value::Null,
        Json::Bool(value) => value.into(),
        Json::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(value), _) => value.into(),
            (_, Some(value)) => value.into(),
            _ => number.as_f64().map_or(Value::Null, Value::from),
        },
        Json::String(text) => match text.strip_prefix('\0').map(|rest| BASE64_STANDARD.decode(rest)) {
            Some(Ok(bytes)) => Value::Binary(bytes),
            _ => Value::Text(text),
        },
        Json::Array(list) => Value::List(list.into_iter().map(from_json).collect()),
        Json::Object(object) => Value::Dict(Dict(object.into_iter().map(|(key, value)| (key, from_json(value))).collect())),
    }
}
