use std::sync::Arc;

use super::*;
use crate::{
    router::{SessionInfo, SlowConsumer},
    session::{
        limits::SessionLimits,
        loopback,
        outbox::{Outbox, Touched, WireFormat},
        realm::RealmHandle,
    },
    transport::framing::Framing,
    wamp::{Dict, Payload, PublicationId, RequestId, Serializer, SubscriptionId, Value},
};

fn session(id: u64) -> SessionId {
    SessionId::new(id).unwrap()
}

fn join(realm: &RealmHandle, id: u64) {
    let wire = WireFormat {
        serializer: Serializer::Json,
        framing: Framing::RawSocket,
        message_bytes_max: usize::MAX,
    };
    let outbox = Outbox::new(wire, &SessionLimits::default(), None, Arc::default());
    let info = SessionInfo {
        authid: "x".into(),
        authrole: "guest".into(),
        authmethod: "anonymous".into(),
        authprovider: "static".into(),
        trustlevel: None,
        features: Vec::new(),
        compat: crate::router::Compat::default(),
        bounds: crate::router::Bounds::default(),
        whence: None,
    };
    let welcome = Message::Welcome {
        session: session(id),
        details: Dict::new(),
    };
    realm.join(session(id), info, &welcome, &outbox, &mut Touched::new());
}

fn publish(topic: &str, options: Dict, arg: &str) -> Message {
    Message::Publish {
        request: RequestId::new(1).unwrap(),
        options,
        topic: Uri::from(topic),
        payload: Payload::from_values(Serializer::Json, &[Value::from(arg)], &Dict::new()),
    }
}

fn exact(uri: &str) -> Watched {
    Watched::Uri {
        policy: MatchPolicy::Exact,
        uri: Uri::from(uri),
    }
}

#[tokio::test]
async fn a_tap_sees_its_session_alone_and_nothing_once_it_is_dropped() {
    let realm = loopback::realm("realm1");
    join(&realm, 11);
    join(&realm, 12);
    let tap = realm.tap(Watched::Session(session(11)), false);
    let say = |id| realm.messages(session(id), [publish("com.a", Dict::new(), "x")], &mut Touched::new());
    say(12);
    say(11);
    let seen = tap.take().heads;
    assert_eq!((seen.len(), seen[0].session, seen[0].kind), (1, session(11), "PUBLISH"));
    assert!(seen[0].from_client && seen[0].uri.as_deref() == Some("com.a") && seen[0].payload.is_none());
    let other = realm.tap(exact("com.b"), false);
    drop(tap);
    say(11);
    assert!(other.take().heads.is_empty(), "another topic");
}

#[test]
fn a_tap_by_uri_tells_several_receivers_in_one_head() {
    let realm = crate::router::Realm::new(
        crate::router::RealmConfig::new(Uri::from("realm1"), 1, [0; 16]),
        crate::router::NodeRef {
            slot: crate::router::Slot(1),
            epoch: 1,
        },
    );
    let buffer = Arc::new(Buffer::default());
    let mut tap = Tap::new(exact("com.a"), true, buffer.clone());
    let event = |topic: &str| Message::Event {
        subscription: SubscriptionId::new(5).unwrap(),
        publication: PublicationId::new(6).unwrap(),
        details: Dict::new().with("topic", topic),
        payload: Payload::from_values(Serializer::Json, &[Value::from("x")], &Dict::new()),
    };
    let fan_out = |topic: &str| Effect::FanoutAs {
        slow: SlowConsumer::DropNewest,
        sessions: vec![session(1), session(2), session(3)],
        message: event(topic),
    };
    tap.outgoing(&realm, &[fan_out("com.a"), fan_out("com.b"), Effect::Barrier]);
    let seen = buffer.take().heads;
    assert_eq!((seen.len(), seen[0].receivers, seen[0].session), (1, 3, session(1)));
    assert_eq!((seen[0].subscription, seen[0].publication), (Some(5), Some(6)));
    assert!(
        seen[0]
            .payload
            .as_ref()
            .is_some_and(|payload| payload.bytes().len() == seen[0].payload_bytes)
    );
}

#[test]
fn what_finds_no_room_is_counted_before_it_is_copied() {
    let buffer = Buffer::default();
    let long = "x".repeat(60 << 10);
    let message = publish("com.a", Dict::new(), &long);
    let mut made = 0;
    for _ in 0..5_000 {
        buffer.put(|| {
            made += 1;
            let passing = Passing {
                from_client: true,
                session: session(1),
                receivers: 1,
                message: &message,
                about: None,
            };
            Head::of(passing, true)
        });
    }
    let filled = buffer.take();
    assert_eq!(filled.heads.len() as u64 + filled.lost, 5_000);
    assert_eq!(filled.heads.len(), made);
    let bytes: usize = filled.heads.iter().map(Head::bytes).sum();
    assert!(bytes <= BYTES_MAX + (64 << 10), "{bytes}");
    assert_eq!(buffer.take().lost, 0, "counted once");
}

#[test]
fn options_that_may_be_private_are_named_and_not_told() {
    let options = Dict::new()
        .with("acknowledge", true)
        .with("exclude", vec![Value::from(7_u64)])
        .with("_secret", "psst")
        .with("match", "m".repeat(500));
    let passing = Passing {
        from_client: true,
        session: session(1),
        receivers: 1,
        message: &publish("com.a", options, "psst"),
        about: None,
    };
    let head = Head::of(passing, false);
    assert_eq!(head.options.bool("acknowledge"), Some(true));
    assert_eq!(head.options.text("exclude"), Some("…"));
    assert_eq!(head.options.text("_secret"), Some("…"));
    assert!(head.options.text("match").is_some_and(|text| text.len() < 200));
    assert!(!format!("{head:?}").contains("psst"));
}
