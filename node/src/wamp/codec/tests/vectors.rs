//! The published vectors, used in place. Where the folder is missing the tests say so and pass.

use std::{collections::BTreeMap, fs, path::Path};

use super::*;

/// The vectors include the older bare payloads.
const LIMITS: Limits = Limits {
    depth_max: 128,
    dict_values_max: 1000,
    payload_transparency: true,
};

/// Every sample of every file: its name, and the sample.
fn samples() -> Vec<(String, serde_json::Value)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/vectors/wamp/singlemessage");
    let mut samples = Vec::new();
    for group in ["basic", "advanced"] {
        let Ok(files) = fs::read_dir(root.join(group)) else {
            println!("skipped: no vectors in {}", root.join(group).display());
            continue;
        };
        for file in files {
            let path = file.expect("a directory entry").path();
            let text = fs::read_to_string(&path).expect("a readable vector");
            let vector: serde_json::Value = serde_json::from_str(&text).expect("a vector in json");
            let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
            samples.extend(
                vector["samples"]
                    .as_array()
                    .expect("samples")
                    .iter()
                    .map(|sample| (name.clone(), sample.clone())),
            );
        }
    }
    println!("{} samples", samples.len());
    samples
}

/// The listed encodings of a sample.
fn variants(sample: &serde_json::Value, serializer: Serializer) -> Vec<Vec<u8>> {
    let listed = sample["serializers"][serializer.name()]
        .as_array()
        .cloned()
        .unwrap_or_default();
    listed
        .iter()
        .map(|variant| hex(variant["bytes_hex"].as_str().expect("hexadecimal bytes")))
        .collect()
}

/// What the vectors call the fields of a message, without the empty ones.
fn attributes(message: &Message) -> BTreeMap<&'static str, Value> {
    fn id(raw: u64) -> Value {
        Value::from(raw)
    }
    fn dict(dict: &Dict) -> Value {
        Value::Dict(dict.clone())
    }
    let text = |uri: &Uri| Value::from(uri.as_str());
    let roles = |details: &Dict| details.get("roles").cloned().unwrap_or(Value::Null);
    let mut fields = vec![("message_type", id(message.code()))];
    fields.extend(match message {
        Message::Hello { realm, details } => vec![("realm", text(realm)), ("roles", roles(details))],
        Message::Welcome { session, details } => vec![("session_id", id(session.get())), ("roles", roles(details))],
        Message::Abort { details, reason, .. } | Message::Goodbye { details, reason } => {
            vec![("details", dict(details)), ("reason", text(reason))]
        }
        Message::Challenge { method, extra } => vec![("method", method.as_str().into()), ("extra", dict(extra))],
        Message::Authenticate { signature, extra } => vec![("signature", signature.as_str().into()), ("extra", dict(extra))],
        Message::Error {
            request_type,
            request,
            details,
            error,
            ..
        } => vec![
            ("request_type", id(*request_type)),
            ("request_id", id(request.get())),
            ("details", dict(details)),
            ("error", text(error)),
        ],
        Message::Publish {
            request, options, topic, ..
        }
        | Message::Subscribe { request, options, topic } => {
            vec![
                ("request_id", id(request.get())),
                ("options", dict(options)),
                ("topic", text(topic)),
            ]
        }
        Message::Published { request, publication } => {
            vec![("request_id", id(request.get())), ("publication_id", id(publication.get()))]
        }
        Message::Subscribed { request, subscription } | Message::Unsubscribe { request, subscription } => {
            vec![("request_id", id(request.get())), ("subscription_id", id(subscription.get()))]
        }
        Message::Unsubscribed { request, .. } | Message::Unregistered { request, .. } => {
            vec![("request_id", id(request.expect("an answer").get()))]
        }
        Message::Event {
            subscription,
            publication,
            details,
            ..
        } => {
            vec![
                ("subscription", id(subscription.get())),
                ("publication", id(publication.get())),
                ("details", dict(details)),
            ]
        }
        Message::Call {
            request,
            options,
            procedure,
            ..
        }
        | Message::Register {
            request,
            options,
            procedure,
        } => {
            vec![
                ("request_id", id(request.get())),
                ("options", dict(options)),
                ("procedure", text(procedure)),
            ]
        }
        Message::Cancel { request, options }
        | Message::Interrupt { request, options }
        | Message::Yield { request, options, .. } => {
            vec![("request_id", id(request.get())), ("options", dict(options))]
        }
        Message::Result { request, details, .. } => vec![("request_id", id(request.get())), ("details", dict(details))],
        Message::Registered { request, registration } | Message::Unregister { request, registration } => {
            vec![("request_id", id(request.get())), ("registration_id", id(registration.get()))]
        }
        Message::Invocation {
            request,
            registration,
            details,
            ..
        } => {
            vec![
                ("request_id", id(request.get())),
                ("registration_id", id(registration.get())),
                ("details", dict(details)),
            ]
        }
        Message::EventReceived { publication } => vec![("publication_id", id(publication.get()))],
    });
    let (args, kwargs) = payload_of(message).to_values().expect("values");
    match &args[..] {
        [Value::Binary(opaque)] => {
            fields.push((
                "payload",
                opaque.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into(),
            ));
        }
        [] => {}
        _ => fields.push(("args", args.into())),
    }
    if !kwargs.is_empty() {
        fields.push(("kwargs", kwargs.into()));
    }
    fields.into_iter().map(|(key, value)| (key, sorted(value))).collect()
}

/// Dicts in the order of their keys, as the vectors' attributes come.
fn sorted(value: Value) -> Value {
    match value {
        Value::Dict(Dict(mut entries)) => {
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            Value::Dict(Dict(entries.into_iter().map(|(key, value)| (key, sorted(value))).collect()))
        }
        Value::List(list) => Value::List(list.into_iter().map(sorted).collect()),
        other => other,
    }
}

fn value(json: &serde_json::Value) -> Value {
    match json {
        serde_json::Value::Null => Value::Null,
        serde_json::Value::Bool(value) => (*value).into(),
        serde_json::Value::Number(number) => match number.as_i64() {
            Some(integer) => integer.into(),
            None => number.as_f64().expect("a double").into(),
        },
        serde_json::Value::String(text) => text.as_str().into(),
        serde_json::Value::Array(list) => list.iter().map(value).collect::<Vec<_>>().into(),
        serde_json::Value::Object(dict) => sorted(Dict(dict.iter().map(|(key, v)| (key.clone(), value(v))).collect()).into()),
    }
}

#[test]
fn samples_decode_to_their_attributes_and_encode_to_a_listed_variant() {
    let mut seen = 0;
    for (name, sample) in samples() {
        let Some(expected) = sample["expected_attributes"].as_object() else {
            continue;
        };
        let expected: BTreeMap<&str, Value> = expected
            .iter()
            .filter(|(_, v)| !v.is_null())
            .map(|(key, v)| (key.as_str(), value(v)))
            .collect();
        for from in Serializer::ALL {
            let decoded: Vec<Message> = variants(&sample, from)
                .iter()
                .filter_map(|bytes| read_within(from, bytes, &LIMITS).ok())
                .collect();
            assert!(!decoded.is_empty(), "{name}: no {from:?} variant decodes");
            assert!(
                decoded.iter().any(|message| attributes(message) == expected),
                "{name}, {from:?}: {:?} is not {expected:?}",
                attributes(&decoded[0])
            );
            for to in Serializer::ALL {
                let written = write(&decoded[0], to);
                assert!(
                    variants(&sample, to).contains(&written),
                    "{name}: {from:?} written as {to:?}: {}",
                    String::from_utf8_lossy(&written)
                );
                seen += 1;
            }
        }
    }
    println!("{seen} encodings compared");
}

#[test]
fn validation_samples_are_accepted_or_refused_as_they_say() {
    for (name, sample) in samples() {
        if !sample["wmsg"].is_array() {
            continue;
        }
        let text = sample["wmsg"].to_string();
        let outcome = read_within(Serializer::Json, text.as_bytes(), &LIMITS);
        match sample["expected_error"]["contains"].as_str() {
            None => assert!(outcome.is_ok(), "{name}: {text} refused: {outcome:?}"),
            Some(part) => {
                let said = outcome.expect_err(&text).to_string();
                assert!(said.contains(part), "{name}: {text}: {said:?} does not name {part}");
            }
        }
    }
}
