use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::{
    router::{Compat, ErrorUris, RequestIdCheck},
    session::{
        auth::PeerFacts,
        limits::SessionLimits,
        outbox::{Outbox, WireFormat},
        testing::{JSON, PATIENCE, TestClient, TestNode, Way, eventually, hello, roles, ways},
    },
    transport::{
        framing::{Decoder, Framing},
        listener::ListenerConfig,
        rawsocket,
    },
    wamp::{Dict, Message, RequestId, Serializer, Value, error_uri},
};

fn quick() -> SessionLimits {
    SessionLimits {
        ping_after: Duration::from_millis(40),
        dead_after: Duration::from_millis(400),
        close_timeout: Duration::from_millis(100),
        ..SessionLimits::default()
    }
}

const RAW: Way = Way {
    raw: true,
    batched: false,
    serializer: Serializer::Json,
};

#[tokio::test]
async fn a_silent_websocket_peer_is_pinged_and_taken_for_dead_when_it_stays_silent() {
    let node = TestNode::with_limits(quick()).await;
    let mut client = node.connect(JSON).await;
    let session = client.hello().await;
    // Read below the client library, which would answer the ping.
    let mut ping = [0; 2];
    client.stream().read_exact(&mut ping).await.unwrap();
    assert_eq!(ping, [0x89, 0]);
    assert!(node.realm.has(session));
    let mut rest = Vec::new();
    timeout(PATIENCE, client.stream().read_to_end(&mut rest))
        .await
        .unwrap()
        .unwrap();
    assert!(rest.is_empty(), "one ping for one silence");
    eventually("the session is gone", || !node.realm.has(session)).await;
}

#[tokio::test]
async fn a_websocket_peer_that_answers_pings_stays() {
    let node = TestNode::with_limits(quick()).await;
    let mut client = node.connect(JSON).await;
    let session = client.hello().await;
    // The client library answers pings while it waits for a message.
    let waiting = timeout(Duration::from_millis(1000), client.recv()).await;
    assert!(waiting.is_err(), "nothing came: {waiting:?}");
    assert!(node.realm.has(session));
}

#[tokio::test]
async fn a_rawsocket_peer_is_pinged_only_after_it_has_pinged() {
    let node = TestNode::with_limits(quick()).await;
    let mut client = node.connect(RAW).await;
    let session = client.hello().await;
    let mut frame = [0; 4];
    let silence = timeout(Duration::from_millis(600), client.stream().read_exact(&mut frame)).await;
    assert!(silence.is_err(), "some implementations end on a ping: {frame:?}");
    assert!(node.realm.has(session), "silence alone is no sign of death here");
    client.send_raw(b"\x01\0\0\0").await;
    client.stream().read_exact(&mut frame).await.unwrap();
    assert_eq!(frame, [2, 0, 0, 0], "the pong");
    client.stream().read_exact(&mut frame).await.unwrap();
    assert_eq!(frame, [1, 0, 0, 0], "a ping of the router's own");
    eventually("the session is gone", || !node.realm.has(session)).await;
}

#[tokio::test]
async fn without_a_session_in_time_the_connection_is_closed() {
    let limits = SessionLimits {
        handshake_timeout: Duration::from_millis(100),
        ..quick()
    };
    let node = TestNode::with_limits(limits).await;
    for way in ways() {
        let mut client = node.connect(way).await;
        assert_eq!(client.aborted().await, error_uri::TIMEOUT);
        // Between HELLO and AUTHENTICATE the same clock runs.
        let mut client = node.connect(way).await;
        let methods = vec![Value::Text("ticket".into())];
        client
            .send(&hello("realm1", roles().with("authmethods", methods).with("authid", "lamp")))
            .await;
        assert!(matches!(client.recv().await, Some(Message::Challenge { .. })));
        assert_eq!(client.aborted().await, error_uri::TIMEOUT);
    }
    // Nothing at all, half a head, half a RawSocket handshake.
    for bytes in [&b""[..], b"GET /ws HTTP/1.1\r\nHo", b"\x7F\xF1"] {
        let mut stream = TcpStream::connect(node.address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut rest = Vec::new();
        timeout(PATIENCE, stream.read_to_end(&mut rest)).await.unwrap().unwrap();
        assert!(rest.is_empty());
    }
}

#[tokio::test]
async fn an_established_session_outlives_the_handshake_timeout() {
    let limits = SessionLimits {
        handshake_timeout: Duration::from_millis(100),
        ..SessionLimits::default()
    };
    let node = TestNode::with_limits(limits).await;
    let mut client = node.join(JSON).await;
    tokio::time::sleep(Duration::from_millis(250)).await;
    assert!(client.is_alive().await);
}

#[tokio::test]
async fn before_welcome_a_client_may_send_4_kib_at_a_time_and_so_much_in_all() {
    let node = TestNode::with_limits(SessionLimits {
        handshake_bytes_max: 6_000,
        ..SessionLimits::default()
    })
    .await;
    let text = |len: usize| Value::Text("x".repeat(len));
    for way in ways() {
        let mut client = node.connect(way).await;
        client.send(&hello("realm1", roles().with("agent", text(3_500)))).await;
        assert!(matches!(client.recv().await, Some(Message::Welcome { .. })));

        let mut client = node.connect(way).await;
        client.send(&hello("realm1", roles().with("agent", text(4_100)))).await;
        assert_eq!(client.aborted().await, error_uri::PROTOCOL_VIOLATION);

        // In two messages.
        let mut client = node.connect(way).await;
        let methods = vec![Value::Text("ticket".into())];
        let details = roles()
            .with("authmethods", methods)
            .with("authid", "lamp")
            .with("agent", text(3_500));
        client.send(&hello("realm1", details)).await;
        assert!(matches!(client.recv().await, Some(Message::Challenge { .. })));
        client
            .send(&Message::Authenticate {
                signature: "x".repeat(3_500),
                extra: Dict::new(),
            })
            .await;
        assert_eq!(client.aborted().await, error_uri::PROTOCOL_VIOLATION);
    }
}

#[tokio::test]
async fn a_message_above_the_limit_ends_the_session() {
    let node = TestNode::with_limits(SessionLimits {
        message_bytes_max: 100_000,
        ..SessionLimits::default()
    })
    .await;
    for serializer in Serializer::ALL {
        let mut client = node.join(Way { serializer, ..JSON }).await;
        client.call("a.b", &[Value::Text("x".repeat(99_000))]).await;
        assert!(matches!(client.recv().await, Some(Message::Error { .. })));
        client.call("a.b", &[Value::Text("x".repeat(101_000))]).await;
        assert_eq!(client.aborted().await, error_uri::PROTOCOL_VIOLATION);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_towards_a_subscriber_that_reads_is_slowed_at_its_source_and_nothing_is_lost() {
    let limits = SessionLimits {
        outbox_bytes_max: 1 << 20,
        ..SessionLimits::default()
    };
    let node = TestNode::with_limits(limits).await;
    let way = Way {
        raw: true,
        batched: false,
        serializer: Serializer::MsgPack,
    };
    let mut publisher = node.join(way).await;
    let mut subscriber = node.join(way).await;
    subscriber.subscribe("com.topic").await;
    const EVENTS: i128 = 1500;
    let reading = tokio::spawn(async move {
        for n in 0..EVENTS {
            let Some(Message::Event { payload, .. }) = subscriber.recv().await else {
                panic!("no EVENT")
            };
            assert_eq!(payload.to_values().unwrap().0[0], Value::Integer(n));
        }
    });
    for n in 0..EVENTS {
        publisher
            .publish("com.topic", &[Value::Integer(n), Value::Binary(vec![0; 30_000])], false)
            .await;
    }
    reading.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscriber_that_does_not_read_holds_nobody_up() {
    let limits = SessionLimits {
        outbox_bytes_max: 1 << 20,
        ..SessionLimits::default()
    };
    let node = TestNode::with_limits(limits).await;
    let way = Way {
        raw: true,
        batched: false,
        serializer: Serializer::MsgPack,
    };
    let mut stuck = node.join(way).await;
    stuck.subscribe("com.topic").await;
    let mut publisher = node.join(way).await;
    let flood = async {
        for n in 0..1000 {
            publisher
                .publish("com.topic", &[Value::Integer(n), Value::Binary(vec![0; 30_000])], false)
                .await;
        }
        assert!(publisher.is_alive().await);
    };
    timeout(PATIENCE, flood).await.expect("the publisher is not held up for long");
    assert!(
        node.service
            .stats
            .events_dropped_full
            .load(std::sync::atomic::Ordering::Relaxed)
            > 0
    );
    // It lost events, not its session.
    let Some(Message::Event { .. }) = stuck.recv().await else {
        panic!("no EVENT")
    };
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_does_not_read_its_results_is_ended() {
    let limits = SessionLimits {
        outbox_bytes_max: 1 << 20,
        ..SessionLimits::default()
    };
    let node = TestNode::with_limits(limits).await;
    let mut callee = node.join(RAW).await;
    callee.register("com.big").await;
    let mut caller = node.connect(RAW).await;
    let session = caller.hello().await;
    for _ in 0..400 {
        caller.call("com.big", &[]).await;
    }
    let answering = async {
        while node.realm.has(session) {
            let Some(Message::Invocation { request, .. }) = callee.recv().await else {
                panic!("no INVOCATION")
            };
            let payload = callee.payload(&[Value::Text("x".repeat(60_000))]);
            callee
                .send(&Message::Yield {
                    request,
                    options: Dict::new(),
                    payload,
                })
                .await;
        }
    };
    timeout(PATIENCE, answering).await.expect("the session is ended");
    assert_eq!(
        node.service.stats.slow_consumers.load(std::sync::atomic::Ordering::Relaxed),
        1
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_floods_and_does_not_read_is_not_read_either_and_ended_after_a_while() {
    let limits = SessionLimits {
        outbox_bytes_max: 1 << 20,
        slow_consumer_after: Duration::from_millis(200),
        ping_after: Duration::from_millis(50),
        ..SessionLimits::default()
    };
    let node = TestNode::with_limits(limits).await;
    let mut client = node.connect(RAW).await;
    let session = client.hello().await;
    let realm = node.realm.clone();
    client.register("com.own").await;
    // Every call comes back as an invocation that nobody reads.
    let flood = async {
        while realm.has(session) {
            client.call("com.own", &[Value::Text("x".repeat(30_000))]).await;
        }
    };
    tokio::select! {
        () = flood => {}
        () = eventually("the session is ended", || !realm.has(session)) => {}
    }
    assert_eq!(
        node.service.stats.slow_consumers.load(std::sync::atomic::Ordering::Relaxed),
        0,
        "it was paused, not overrun"
    );
}

#[tokio::test]
async fn what_came_before_a_violation_in_the_same_read_is_answered_first_and_what_follows_it_never() {
    const PUBLICATIONS: u64 = 100;
    let node = TestNode::start().await;
    let mut subscriber = node.join(RAW).await;
    subscriber.subscribe("com.example.news").await;
    let mut client = node.join(RAW).await;
    let frame = |text: &str| [&(text.len() as u32).to_be_bytes()[..], text.as_bytes()].concat();
    let publish = |request: u64| {
        frame(&format!(
            "[16,{request},{{\"acknowledge\":true}},\"com.example.news\",[{request}]]"
        ))
    };
    let mut bytes: Vec<u8> = (1..=PUBLICATIONS).flat_map(publish).collect();
    bytes.extend(frame("[16,\"no id\"]"));
    bytes.extend(publish(PUBLICATIONS + 1));
    client.send_raw(&bytes).await;
    for expected in 1..=PUBLICATIONS {
        match client.recv().await {
            Some(Message::Published { request, .. }) => assert_eq!(request.get(), expected),
            other => panic!("PUBLISHED {expected} expected: {other:?}"),
        }
    }
    assert_eq!(client.aborted().await, error_uri::PROTOCOL_VIOLATION);
    let mut last = 0;
    while let Ok(Some(Message::Event { payload, .. })) = timeout(Duration::from_millis(300), subscriber.recv()).await {
        let (args, _) = payload.to_values().unwrap();
        last += 1;
        assert_eq!(args, [Value::from(last)]);
    }
    assert_eq!(last, PUBLICATIONS);
}

#[tokio::test]
async fn a_cut_connection_ends_its_session() {
    let node = TestNode::start().await;
    let mut client: TestClient = node.connect(JSON).await;
    let session = client.hello().await;
    node.service.sessions.set_ready(false);
    drop(client);
    eventually("the session is gone", || !node.realm.has(session)).await;
    eventually("the connection is forgotten", || node.service.sessions.is_empty()).await;
}

#[tokio::test]
async fn the_task_of_an_idle_session_is_small() {
    let node = TestNode::start().await;
    let stream = TcpStream::connect(node.address).await.unwrap();
    let connection = super::Connection {
        io: crate::transport::io::Stream::Plain(stream).into(),
        decoder: Decoder::RawSocket(rawsocket::frame::Decoder::new(1)),
        wire: WireFormat {
            serializer: Serializer::Json,
            framing: Framing::RawSocket,
            message_bytes_max: 1,
        },
        peer: std::sync::Arc::new(PeerFacts::from_address([127, 0, 0, 1].into())),
        compat: crate::router::Compat::default(),
        pass: None,
        read_ahead: Vec::new(),
        since: super::now(),
    };
    // What an idle connection costs beside its socket; a growth is a decision.
    eprintln!("task {} outbox {}", size_of::<super::Task>(), size_of::<Outbox>());
    let future = super::run(connection, node.service.clone());
    assert!(size_of_val(&future) <= 1024, "{}", size_of_val(&future));
}

#[tokio::test]
async fn a_listeners_switches_reach_its_sessions() {
    let lenient = ListenerConfig {
        compat: Compat {
            request_id_check: Some(RequestIdCheck::Lenient),
            error_uris: ErrorUris::Autobahn,
            ..Compat::default()
        },
        ..ListenerConfig::default()
    };
    for (config, refused, lives) in [
        (ListenerConfig::default(), "wamp.error.no_matching_auth_method", false),
        (lenient, "wamp.error.no_auth_method", true),
    ] {
        let node = TestNode::with(SessionLimits::default(), config).await;
        let mut nobody = node.connect(JSON).await;
        let details = roles().with("authmethods", vec![Value::from("no-such-method")]);
        nobody.send(&hello("realm1", details)).await;
        match nobody.recv().await {
            Some(Message::Abort { reason, .. }) => assert_eq!(&*reason, refused),
            other => panic!("{other:?}"),
        }
        let mut client = node.join(JSON).await;
        let subscribe = Message::Subscribe {
            request: RequestId::new(4711).unwrap(),
            options: Dict::new(),
            topic: "com.topic".into(),
        };
        client.send(&subscribe).await;
        match client.recv().await {
            Some(Message::Subscribed { .. }) => assert!(lives),
            Some(Message::Abort { reason, .. }) => assert_eq!((&*reason, lives), ("wamp.error.protocol_violation", false)),
            other => panic!("{other:?}"),
        }
    }
}
