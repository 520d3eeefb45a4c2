//! WAMP values as JSON on the command line. Binary is written as WAMP writes it in JSON: U+0000, then base64.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::Value as Json;

use crate::wamp::{Dict, Value};

/// The value of one argument. A word that is no JSON is text, unless it looks as if JSON was meant.
pub(super) fn argument(text: &str) -> Result<Value, String> {
    match serde_json::from_str::<Json>(text) {
        Ok(json) => Ok(from_json(json)),
        Err(error) if text.starts_with(['{', '[', '"']) => Err(format!("not readable as JSON: {error}")),
        Err(_) => Ok(Value::from(text)),
    }
}

/// Named values, from a JSON object.
pub(super) fn dict(text: &str) -> Result<Dict, String> {
    match serde_json::from_str(text) {
        Ok(json) => match from_json(json) {
            Value::Dict(dict) => Ok(dict),
            _ => Err("a JSON object such as {\"on\": true} is wanted".to_owned()),
        },
        Err(error) => Err(format!("not readable as JSON: {error}")),
    }
}

pub(super) fn from_json(json: Json) -> Value {
    match json {
        Json::Null => Value::Null,
        Json::Bool(bool) => Value::Bool(bool),
        Json::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(integer), ..) => Value::Integer(integer.into()),
            (_, Some(integer), _) => Value::Integer(integer.into()),
            (.., float) => Value::Float(float.unwrap_or(f64::NAN)),
        },
        Json::String(text) => match text.strip_prefix('\0').map(|base64| STANDARD.decode(base64)) {
            Some(Ok(bytes)) => Value::Binary(bytes),
            _ => Value::Text(text),
        },
        Json::Array(list) => Value::List(list.into_iter().map(from_json).collect()),
        Json::Object(map) => Value::Dict(Dict(map.into_iter().map(|(key, value)| (key, from_json(value))).collect())),
    }
}

/// The JSON of a value. Integers beyond 64 bits and NaN, which JSON readers do not agree on, become text.
pub(super) fn to_json(value: &Value) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::Bool(bool) => Json::Bool(*bool),
        Value::Integer(integer) => match (i64::try_from(*integer), u64::try_from(*integer)) {
            (Ok(integer), _) => integer.into(),
            (_, Ok(integer)) => integer.into(),
            _ => integer.to_string().into(),
        },
        Value::Float(float) => serde_json::Number::from_f64(*float).map_or_else(|| float.to_string().into(), Json::Number),
        Value::Text(text) => text.clone().into(),
        Value::Binary(bytes) => format!("\0{}", STANDARD.encode(bytes)).into(),
        Value::List(list) => list.iter().map(to_json).collect(),
        Value::Dict(dict) => dict_to_json(dict),
    }
}

pub(super) fn dict_to_json(dict: &Dict) -> Json {
    Json::Object(dict.0.iter().map(|(key, value)| (key.clone(), to_json(value))).collect())
}

/// Args and kwargs as one JSON value: the value itself where there is just one, else both.
pub(super) fn payload(args: &[Value], kwargs: &Dict) -> Json {
    match (args, kwargs.is_empty()) {
        ([], true) => Json::Null,
        ([single], true) => to_json(single),
        _ => full_payload(args, kwargs),
    }
}

/// Args and kwargs as an object of both.
pub(super) fn full_payload(args: &[Value], kwargs: &Dict) -> Json {
    let args: Json = args.iter().map(to_json).collect();
    serde_json::json!({ "args": args, "kwargs": dict_to_json(kwargs) })
}
