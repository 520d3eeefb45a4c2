//! Spans as OTLP has them.

use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value},
    resource::v1::Resource,
    trace::v1::{self as otlp, ResourceSpans, ScopeSpans, Status, span::SpanKind, status::StatusCode},
};

use super::{Attribute, Kind, Span};

/// Who sends the spans.
pub(super) fn resource(service: &str, node: &str) -> Resource {
    let text = |key: &str, value: &str| pair(key, Attribute::from(value));
    Resource {
        attributes: vec![
            text("service.name", service),
            text("service.instance.id", node),
            text("service.version", env!("CARGO_PKG_VERSION")),
        ],
        ..Resource::default()
    }
}

/// One request with these spans.
pub(super) fn request(resource: &Resource, spans: Vec<Span>) -> ExportTraceServiceRequest {
    let scope = InstrumentationScope {
        name: "ringfort".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..InstrumentationScope::default()
    };
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(resource.clone()),
            scope_spans: vec![ScopeSpans {
                scope: Some(scope),
                spans: spans.into_iter().map(span).collect(),
                ..ScopeSpans::default()
            }],
            ..ResourceSpans::default()
        }],
    }
}

fn span(span: Span) -> otlp::Span {
    let after = |time: std::time::Duration| span.start.saturating_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    let kind = match span.kind {
        Kind::Server => SpanKind::Server,
        Kind::Client => SpanKind::Client,
        Kind::Producer => SpanKind::Producer,
        Kind::Consumer => SpanKind::Consumer,
    };
    let events = span.events.iter().map(|(at, name)| otlp::span::Event {
        time_unix_nano: after(*at),
        name: (*name).to_owned(),
        ..otlp::span::Event::default()
    });
    let status = span.error.as_ref().map(|error| Status {
        message: error.clone(),
        code: StatusCode::Error.into(),
    });
    otlp::Span {
        trace_id: span.trace.to_vec(),
        span_id: span.id.to_vec(),
        parent_span_id: span.parent.map(|parent| parent.to_vec()).unwrap_or_default(),
        // Sampled; it is known whether the parent is remote, and whether it is.
        flags: 0x101 | if span.parent_is_remote { 0x200 } else { 0 },
        name: span.name.to_owned(),
        kind: kind.into(),
        start_time_unix_nano: span.start,
        end_time_unix_nano: after(span.took),
        events: events.collect(),
        status,
        attributes: span.attributes.into_iter().map(|(key, value)| pair(key, value)).collect(),
        ..otlp::Span::default()
    }
}

fn pair(key: &str, value: Attribute) -> KeyValue {
    let value = match value {
        Attribute::Text(text) => any_value::Value::StringValue(text),
        Attribute::Number(number) => any_value::Value::IntValue(i64::try_from(number).unwrap_or(i64::MAX)),
    };
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wamp::TraceContext;

    #[test]
    fn a_span_keeps_what_it_was_told() {
        let from = TraceContext::parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01").unwrap();
        let mut begun = Span::continued("CALL", Kind::Server, from)
            .with("wamp.uri", "com.add")
            .with("wamp.session", 7);
        begun.event("routed");
        let sent = request(&resource("ringfort", "n1"), vec![begun.end(Some("wamp.error.canceled"))]);
        let group = &sent.resource_spans[0];
        let told = &group.scope_spans[0].spans[0];
        assert_eq!(
            (told.trace_id.as_slice(), told.parent_span_id.as_slice()),
            (&from.trace[..], &from.span[..])
        );
        assert_eq!((told.span_id.len(), told.flags, told.name.as_str()), (8, 0x301, "CALL"));
        assert!(told.end_time_unix_nano >= told.start_time_unix_nano && told.start_time_unix_nano > 0);
        assert_eq!(told.attributes.len(), 2);
        assert_eq!(told.events[0].name, "routed");
        let status = told.status.as_ref().unwrap();
        assert_eq!((status.code, status.message.as_str()), (2, "wamp.error.canceled"));
        let named: Vec<&str> = group
            .resource
            .as_ref()
            .unwrap()
            .attributes
            .iter()
            .map(|one| one.key.as_str())
            .collect();
        assert_eq!(named, ["service.name", "service.instance.id", "service.version"]);
    }
}
