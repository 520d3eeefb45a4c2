//! One suite, every transport: each behaviour runs over WebSocket and RawSocket with all three serializers.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::testing::{JSON, TestClient, TestNode, Way, hello, roles, ways};
use crate::wamp::{Dict, Message, Payload, Serializer, Value, error_uri, message::code};

macro_rules! over_every_way {
    ($($(#[$meta:meta])* async fn $name:ident($node:ident, $way:ident) $body:block)*) => {$(
        $(#[$meta])*
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            let $node = &TestNode::start().await;
            for $way in ways() {
                eprintln!("{:?}", $way);
                Box::pin(async move $body).await;
            }
        }
    )*};
}

fn goodbye() -> Message {
    Message::Goodbye {
        details: Dict::new(),
        reason: error_uri::CLOSE_REALM.into(),
    }
}

async fn expect_goodbye_and_out(client: &mut TestClient) {
    match client.recv().await {
        Some(Message::Goodbye { reason, .. }) => assert_eq!(&*reason, error_uri::GOODBYE_AND_OUT),
        other => panic!("no GOODBYE but {other:?}"),
    }
}

over_every_way! {
    async fn welcome_says_who_the_session_is(node, way) {
        let mut client = node.connect(way).await;
        client.send(&hello("realm1", roles())).await;
        let Some(Message::Welcome { details, .. }) = client.recv().await else { panic!("no WELCOME") };
        assert_eq!(details.text("authmethod"), Some("anonymous"));
        assert_eq!(details.text("authrole"), Some("guest"));
        assert_eq!(details.text("realm"), Some("realm1"));
        assert!(details.text("authid").unwrap().len() > 16);
        assert!(details.text("agent").unwrap().starts_with("Ringfort/"));
        assert!(details.dict("roles").unwrap().dict("dealer").is_some());
    }

    async fn a_call_reaches_its_callee_and_the_result_comes_back(node, way) {
        let mut callee = node.join(way).await;
        let mut caller = node.join(way).await;
        callee.register("com.echo").await;
        let args = [Value::Integer(1), Value::Text("zwölf".into()), Value::Binary(vec![0, 255])];
        let request = caller.call("com.echo", &args).await;
        callee.echo().await;
        let Some(Message::Result { request: answered, payload, .. }) = caller.recv().await else { panic!("no RESULT") };
        assert_eq!(answered, request);
        assert_eq!(payload.to_values().unwrap(), (args.to_vec(), Dict::new()));
        callee.send(&goodbye()).await;
        expect_goodbye_and_out(&mut callee).await;
    }

    async fn an_event_reaches_subscribers_of_every_way(node, way) {
        let mut publisher = node.join(way).await;
        let mut subscribers = Vec::new();
        for other in ways() {
            let mut subscriber = node.join(other).await;
            subscriber.subscribe("com.topic").await;
            subscribers.push(subscriber);
        }
        let args = [Value::Float(0.5), Value::Null, Value::List(vec![Value::Bool(true)])];
        let request = publisher.publish("com.topic", &args, true).await;
        let Some(Message::Published { request: r, publication }) = publisher.recv().await else { panic!("no PUBLISHED") };
        assert_eq!(r, request);
        for subscriber in &mut subscribers {
            let Some(Message::Event { publication: p, payload, .. }) = subscriber.recv().await else { panic!("no EVENT") };
            assert_eq!((p, payload.to_values().unwrap().0), (publication, args.to_vec()));
        }
    }

    async fn messages_of_every_size_go_both_ways(node, way) {
        let mut callee = node.join(way).await;
        let mut caller = node.join(way).await;
        callee.register("com.echo").await;
        for size in [0, 1, 100, 125, 126, 4_000, 5_000, 65_500, 70_000, 2_000_000] {
            let text: String = "ab€".chars().cycle().take(size).collect();
            caller.call("com.echo", &[Value::Text(text.clone())]).await;
            callee.echo().await;
            let Some(Message::Result { payload, .. }) = caller.recv().await else { panic!("no RESULT") };
            assert!(payload.to_values().unwrap().0 == [Value::Text(text)], "{size}");
        }
        callee.send(&goodbye()).await;
        expect_goodbye_and_out(&mut callee).await;
    }

    async fn goodbye_frees_the_registrations_before_it_is_answered_and_the_connection_can_be_used_again(node, way) {
        let mut leaving = node.join(way).await;
        let mut other = node.join(way).await;
        leaving.register("com.proc").await;
        leaving.send(&goodbye()).await;
        expect_goodbye_and_out(&mut leaving).await;
        other.register("com.proc").await;
        leaving.hello().await;
        assert!(leaving.is_alive().await);
        other.send(&goodbye()).await;
        expect_goodbye_and_out(&mut other).await;
    }

    async fn goodbye_and_the_next_hello_may_come_in_one_packet(node, way) {
        let mut client = node.join(way).await;
        client.send(&goodbye()).await;
        client.send(&hello("realm1", roles())).await;
        expect_goodbye_and_out(&mut client).await;
        assert!(matches!(client.recv().await, Some(Message::Welcome { .. })));
    }

    async fn a_second_hello_is_a_violation_and_the_session_is_gone_at_once(node, way) {
        let mut client = node.connect(way).await;
        let session = client.hello().await;
        assert!(node.realm.has(session));
        client.send(&hello("realm1", roles())).await;
        assert_eq!(client.aborted().await, error_uri::PROTOCOL_VIOLATION);
        assert!(!node.realm.has(session));
    }

    async fn messages_before_hello_are_violations(node, way) {
        let request = crate::wamp::RequestId::new(1).unwrap();
        for message in [
            goodbye(),
            Message::Call { request, options: Dict::new(), procedure: "a.b".into(), payload: Payload::EMPTY },
            Message::Authenticate { signature: String::new(), extra: Dict::new() },
            Message::Yield { request, options: Dict::new(), payload: Payload::EMPTY },
        ] {
            let mut client = node.connect(way).await;
            client.send(&message).await;
            assert_eq!(client.aborted().await, error_uri::PROTOCOL_VIOLATION);
        }
    }

    async fn router_messages_and_foreign_errors_from_a_client_are_violations(node, way) {
        let request = crate::wamp::RequestId::new(1).unwrap();
        for message in [
            Message::Welcome { session: crate::wamp::SessionId::new(1).unwrap(), details: roles() },
            Message::Result { request, details: Dict::new(), payload: Payload::EMPTY },
            Message::Error { request_type: code::CALL, request, details: Dict::new(), error: "a.b".into(), payload: Payload::EMPTY },
        ] {
            let mut client = node.join(way).await;
            client.send(&message).await;
            assert_eq!(client.aborted().await, error_uri::PROTOCOL_VIOLATION);
        }
    }

    async fn what_is_no_wamp_message_is_a_violation(node, way) {
        let mut client = node.join(way).await;
        client.send_bytes(b"{}".to_vec()).await;
        assert_eq!(client.aborted().await, error_uri::PROTOCOL_VIOLATION);
    }

    async fn an_abort_by_the_client_is_not_answered(node, way) {
        let mut client = node.connect(way).await;
        let session = client.hello().await;
        client.send(&Message::Abort { details: Dict::new(), reason: "com.tired".into(), payload: Payload::EMPTY }).await;
        assert_eq!(client.recv().await, None);
        assert!(!node.realm.has(session));
    }

    async fn a_lost_connection_frees_its_registrations(node, way) {
        let mut lost = node.connect(way).await;
        let session = lost.hello().await;
        lost.register("com.lost").await;
        drop(lost);
        super::testing::eventually("the session is gone", || !node.realm.has(session)).await;
        let mut other = node.join(way).await;
        other.register("com.lost").await;
        other.send(&goodbye()).await;
        expect_goodbye_and_out(&mut other).await;
    }

    async fn a_ticket_is_asked_for_and_judged(node, way) {
        for (authid, ticket, right) in [("lamp", "shines", true), ("lamp", "dark", false), ("ghost", "shines", false)] {
            let mut client = node.connect(way).await;
            let methods = vec![Value::Text("wampcra".into()), Value::Text("ticket".into())];
            client.send(&hello("realm1", roles().with("authmethods", methods).with("authid", authid))).await;
            match client.recv().await {
                Some(Message::Challenge { method, extra }) => assert_eq!((method.as_str(), extra), ("ticket", Dict::new())),
                other => panic!("no CHALLENGE but {other:?}"),
            }
            client.send(&Message::Authenticate { signature: ticket.into(), extra: Dict::new() }).await;
            if right {
                let Some(Message::Welcome { details, .. }) = client.recv().await else { panic!("no WELCOME") };
                assert_eq!((details.text("authid"), details.text("authrole")), (Some("lamp"), Some("device")));
            } else {
                assert_eq!(client.aborted().await, error_uri::AUTHENTICATION_DENIED);
            }
        }
    }

    async fn many_calls_in_flight_are_answered_in_order(node, way) {
        let mut callee = node.join(way).await;
        let mut caller = node.join(way).await;
        callee.register("com.many").await;
        for n in 0..200 {
            caller.call("com.many", &[Value::Integer(n)]).await;
        }
        for _ in 0..200 {
            callee.echo().await;
        }
        for n in 0..200 {
            let Some(Message::Result { payload, .. }) = caller.recv().await else { panic!("no RESULT") };
            assert_eq!(payload.to_values().unwrap().0, [Value::Integer(n)]);
        }
        callee.send(&goodbye()).await;
        expect_goodbye_and_out(&mut callee).await;
    }

    async fn shutdown_says_goodbye_to_every_session(_node, way) {
        let node = TestNode::start().await;
        let mut established = node.join(way).await;
        let mut waiting = node.connect(way).await;
        node.service.sessions.set_ready(false);
        let reason = error_uri::SYSTEM_SHUTDOWN.into();
        let closing = node.service.clone();
        let closed = tokio::spawn(async move { closing.sessions.close_all(&reason, super::testing::PATIENCE).await });
        match established.recv().await {
            Some(Message::Goodbye { reason, .. }) => assert_eq!(&*reason, error_uri::SYSTEM_SHUTDOWN),
            other => panic!("no GOODBYE but {other:?}"),
        }
        established.send(&Message::Goodbye { details: Dict::new(), reason: error_uri::GOODBYE_AND_OUT.into() }).await;
        assert_eq!(established.recv().await, None);
        assert_eq!(waiting.aborted().await, error_uri::SYSTEM_SHUTDOWN);
        assert_eq!(closed.await.unwrap(), 0, "nobody had to be cut off");
        assert!(node.service.sessions.is_empty());
    }
}

#[tokio::test]
async fn a_node_that_is_not_ready_refuses_hello() {
    let node = TestNode::start().await;
    let mut client = node.connect(JSON).await;
    node.service.sessions.set_ready(false);
    client.send(&hello("realm1", roles())).await;
    assert_eq!(client.aborted().await, error_uri::UNAVAILABLE);
}

#[tokio::test]
async fn a_session_can_be_killed_with_a_reason() {
    let node = TestNode::start().await;
    let mut client = node.connect(JSON).await;
    let session = client.hello().await;
    assert!(node.realm.kill(session, error_uri::KILLED.into()));
    let Some(Message::Goodbye { reason, .. }) = client.recv().await else {
        panic!("no GOODBYE")
    };
    assert_eq!(&*reason, error_uri::KILLED);
    assert!(!node.realm.kill(session, error_uri::KILLED.into()), "it is gone already");
}

#[tokio::test]
async fn a_client_that_does_not_answer_the_goodbye_is_closed_all_the_same() {
    let limits = super::limits::SessionLimits {
        close_timeout: std::time::Duration::from_millis(50),
        ..Default::default()
    };
    let node = TestNode::with_limits(limits).await;
    for way in ways() {
        let mut client = node.connect(way).await;
        let session = client.hello().await;
        node.realm.kill(session, error_uri::KILLED.into());
        assert!(matches!(client.recv().await, Some(Message::Goodbye { .. })));
        assert_eq!(client.recv().await, None);
    }
}

#[tokio::test]
async fn rawsocket_pings_are_answered_with_their_payload() {
    let node = TestNode::start().await;
    let mut client = node
        .join(Way {
            raw: true,
            batched: false,
            serializer: Serializer::Json,
        })
        .await;
    client.send_raw(b"\x01\0\0\x05there").await;
    let mut pong = [0; 9];
    client.stream().read_exact(&mut pong).await.unwrap();
    assert_eq!(&pong, b"\x02\0\0\x05there");
    assert!(client.is_alive().await);
}

#[tokio::test]
async fn websocket_pings_are_answered_with_their_payload_also_inside_a_fragmented_message() {
    let node = TestNode::start().await;
    let mut client = node.join(JSON).await;
    // Under a mask of zeros: the first half of a CALL, a ping, the other half.
    client
        .send_raw(b"\x01\x85\0\0\0\0[48,1\x89\x82\0\0\0\0hi\x80\x8b\0\0\0\0,{},\"a.bc\"]")
        .await;
    let mut pong = [0; 4];
    client.stream().read_exact(&mut pong).await.unwrap();
    assert_eq!(&pong, b"\x8a\x02hi");
    let Some(Message::Error { error, .. }) = client.recv().await else {
        panic!("no ERROR")
    };
    assert_eq!(&*error, error_uri::NO_SUCH_PROCEDURE);
}

#[tokio::test]
async fn websocket_faults_close_with_the_code_of_the_fault() {
    let limits = super::limits::SessionLimits {
        message_bytes_max: 1000,
        ..Default::default()
    };
    let node = TestNode::with_limits(limits).await;
    for (bytes, code) in [
        (&b"\x81\x05hello"[..], 1002),
        (b"\x83\x80\0\0\0\0", 1002),
        (b"\x80\x80\0\0\0\0", 1002),
        (b"\x81\x82\0\0\0\0\xff\xff", 1007),
        (b"\x81\xfe\x03\xe9\0\0\0\0", 1009),
        (b"\x82\x81\0\0\0\0x", 1002),
        (b"\x88\x82\0\0\0\0\x0f\xa1", 4001),
        (b"\x88\x80\0\0\0\0", 1000),
    ] {
        let mut client = node.connect(JSON).await;
        let session = client.hello().await;
        client.stream().write_all(bytes).await.unwrap();
        assert_eq!(client.close_code().await, Some(code), "{bytes:?}");
        super::testing::eventually("the session is gone", || !node.realm.has(session)).await;
    }
}

#[tokio::test]
async fn a_rawsocket_client_hears_no_message_above_its_limit() {
    let node = TestNode::start().await;
    let stream = tokio::net::TcpStream::connect(node.address).await.unwrap();
    let mut small = TestClient::raw(stream, Serializer::Json, 0).await;
    // All that this router announces takes more than 512 bytes: such a client hears of no features, and has its session.
    small.send(&hello("realm1", roles())).await;
    let Some(Message::Welcome { details, .. }) = small.recv().await else {
        panic!("no WELCOME")
    };
    let announced = |role: &str| details.dict("roles").and_then(|roles| roles.dict(role)).cloned();
    assert_eq!(
        (announced("broker"), announced("dealer")),
        (Some(Dict::new()), Some(Dict::new()))
    );
    let mut other = node.join(JSON).await;
    small.subscribe("com.topic").await;
    small.register("com.small").await;
    other.register("com.big").await;

    // A long event is dropped, the next arrives.
    other.publish("com.topic", &[Value::Text("x".repeat(5_000))], false).await;
    other.publish("com.topic", &[Value::Integer(2)], false).await;
    let Some(Message::Event { payload, .. }) = small.recv().await else {
        panic!("no EVENT")
    };
    assert_eq!(payload.to_values().unwrap().0, [Value::Integer(2)]);

    // A long invocation goes back to its caller as an error, and the callee lives on.
    let request = other.call("com.small", &[Value::Text("x".repeat(5_000))]).await;
    match other.recv().await {
        Some(Message::Error { request: r, error, .. }) => {
            assert_eq!((r, &*error), (request, error_uri::PAYLOAD_SIZE_EXCEEDED));
        }
        other => panic!("no ERROR but {other:?}"),
    }
    other.call("com.small", &[Value::Integer(1)]).await;
    small.echo().await;
    assert!(matches!(other.recv().await, Some(Message::Result { .. })));

    // A long result becomes an error.
    let request = small.call("com.big", &[]).await;
    let Some(Message::Invocation { request: invocation, .. }) = other.recv().await else {
        panic!("no INVOCATION")
    };
    let payload = other.payload(&[Value::Text("x".repeat(5_000))]);
    other
        .send(&Message::Yield {
            request: invocation,
            options: Dict::new(),
            payload,
        })
        .await;
    match small.recv().await {
        Some(Message::Error { request: r, error, .. }) => assert_eq!((r, &*error), (request, error_uri::PAYLOAD_SIZE_EXCEEDED)),
        other => panic!("no ERROR but {other:?}"),
    }
}

#[tokio::test]
async fn what_json_cannot_carry_never_reaches_a_json_client() {
    let node = TestNode::start().await;
    let mut json = node.join(JSON).await;
    let mut cbor = node
        .join(Way {
            raw: true,
            batched: false,
            serializer: Serializer::Cbor,
        })
        .await;
    json.subscribe("com.topic").await;
    json.register("com.proc").await;
    cbor.publish("com.topic", &[Value::Float(f64::NAN)], false).await;
    let request = cbor.call("com.proc", &[Value::Float(f64::INFINITY)]).await;
    match cbor.recv().await {
        Some(Message::Error { request: r, error, .. }) => assert_eq!((r, &*error), (request, "wamp.error.invalid_payload")),
        other => panic!("no ERROR but {other:?}"),
    }
    assert!(json.is_alive().await, "and nothing came before");

    // A long payload is looked at only when it is written; the caller hears of it all the same.
    let long = [Value::List(vec![Value::Float(f64::NAN); 10_000])];
    cbor.publish("com.topic", &long, false).await;
    let request = cbor.call("com.proc", &long).await;
    match cbor.recv().await {
        Some(Message::Error { request: r, error, .. }) => assert_eq!((r, &*error), (request, "wamp.error.invalid_payload")),
        other => panic!("no ERROR but {other:?}"),
    }
    assert!(json.is_alive().await, "and nothing came before");
}

#[tokio::test]
async fn a_session_can_be_killed_by_another_and_is_gone_when_the_killer_hears_of_it() {
    let node = TestNode::start().await;
    for way in ways() {
        let mut victim = node.connect(way).await;
        let session = victim.hello().await;
        let mut killer = node.connect(way).await;
        let own = killer.hello().await;
        killer.call("wamp.session.kill", &[session.get().into()]).await;
        assert!(matches!(killer.recv().await, Some(Message::Result { .. })));
        assert!(!node.realm.has(session));
        let Some(Message::Goodbye { reason, .. }) = victim.recv().await else {
            panic!("no GOODBYE")
        };
        assert_eq!(&*reason, error_uri::KILLED);
        killer.call("wamp.session.list", &[]).await;
        let Some(Message::Result { payload, .. }) = killer.recv().await else {
            panic!("no RESULT")
        };
        let ids: Vec<Value> = vec![own.get().into()];
        assert_eq!(payload.to_values().unwrap().0, [ids.into()]);
        victim.send(&goodbye()).await;
        assert_eq!(victim.recv().await, None);
        node.realm.kill(own, error_uri::KILLED.into());
        assert!(matches!(killer.recv().await, Some(Message::Goodbye { .. })));
        killer.send(&goodbye()).await;
        assert_eq!(killer.recv().await, None);
        super::testing::eventually("the killer is gone", || !node.realm.has(own)).await;
    }
}

#[tokio::test]
async fn what_comes_in_a_batch_is_answered_in_a_batch_and_a_goodbye_in_its_middle_is_no_end() {
    let node = TestNode::start().await;
    for serializer in Serializer::ALL {
        let way = Way {
            batched: true,
            serializer,
            ..JSON
        };
        let mut client = node.join(way).await;
        let publications: Vec<Message> = (0..20)
            .map(|_| Message::Publish {
                request: client.next_request(),
                options: Dict::new().with("acknowledge", true),
                topic: "com.nobody".into(),
                payload: Payload::EMPTY,
            })
            .collect();
        client.send_batch(&publications).await;
        for n in 1..=20 {
            match client.recv().await {
                Some(Message::Published { request, .. }) => assert_eq!(request.get(), n),
                other => panic!("no PUBLISHED but {other:?}"),
            }
            if n == 1 {
                assert!(
                    client.batched() >= 10,
                    "answers come together, not {} at a time",
                    client.batched() + 1
                );
            }
        }
        // The rest of a batch behind GOODBYE is for the next session, whether it lies in one read or in several.
        for agent in [10, 9_000] {
            let details = roles().with("agent", Value::Text("x".repeat(agent)));
            client.send_batch(&[goodbye(), hello("realm1", details)]).await;
            expect_goodbye_and_out(&mut client).await;
            assert!(matches!(client.recv().await, Some(Message::Welcome { .. })));
        }
    }
}

#[tokio::test]
async fn a_json_client_hears_the_separator_that_it_speaks() {
    let node = TestNode::start().await;
    let way = Way { batched: true, ..JSON };
    for separator in [0x1E, 0x18] {
        let mut client = node.connect(way).await;
        let stream = client.stream();
        let hello = format!("[1,\"realm1\",{{\"roles\":{{\"caller\":{{}}}}}}]{}", char::from(separator));
        let mask = [0; 4];
        let head = [&[0x81, 0x80 | hello.len() as u8][..], &mask].concat();
        stream.write_all(&[&head, hello.as_bytes()].concat()).await.unwrap();
        let mut head = [0; 4];
        stream.read_exact(&mut head).await.unwrap();
        assert_eq!(head[..2], [0x81, 126]);
        let mut batch = vec![0; usize::from(u16::from_be_bytes([head[2], head[3]]))];
        stream.read_exact(&mut batch).await.unwrap();
        assert!(batch.starts_with(b"[2,"), "{}", String::from_utf8_lossy(&batch));
        assert_eq!(batch.last(), Some(&separator));
    }
}
