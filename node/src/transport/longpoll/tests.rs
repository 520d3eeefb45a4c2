use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::*;
use crate::{
    session::{
        limits::SessionLimits,
        testing::{JSON, PATIENCE, TestNode, eventually},
    },
    transport::listener::ListenerConfig,
    wamp::Value,
};

async fn node(settings: Settings, config: ListenerConfig) -> TestNode {
    let longpoll = Some(settings);
    let limits = SessionLimits {
        message_bytes_max: 100_000,
        ..SessionLimits::default()
    };
    TestNode::with(limits, ListenerConfig { longpoll, ..config }).await
}

fn quick() -> Settings {
    Settings {
        wait: Duration::from_millis(300),
        ..Settings::default()
    }
}

/// The status, the head and the body of the answer to a request on a connection of its own.
async fn request(node: &TestNode, method: &str, path: &str, fields: &str, body: &[u8]) -> (u16, String, Vec<u8>) {
    let mut stream = TcpStream::connect(node.address).await.unwrap();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: here\r\nConnection: close\r\nContent-Length: {}\r\n{fields}\r\n",
        body.len()
    );
    stream.write_all(&[head.as_bytes(), body].concat()).await.unwrap();
    let mut answer = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut answer))
        .await
        .expect("an answer in time")
        .unwrap();
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .expect("a status");
    (status, head, answer[end + 4..].to_vec())
}

async fn post(node: &TestNode, path: &str, body: impl AsRef<[u8]>) -> (u16, Vec<u8>) {
    let (status, _, body) = request(node, "POST", path, "", body.as_ref()).await;
    (status, body)
}

/// The base path of a new transport.
async fn open(node: &TestNode, protocol: &str) -> String {
    let (status, body) = post(node, "/lp/open", format!(r#"{{"protocols":["wamp.2.flurry","{protocol}"]}}"#)).await;
    assert_eq!(status, 200);
    let answer: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(answer["protocol"], protocol);
    let id = answer["transport"].as_str().unwrap();
    assert_eq!(id.len(), 32, "192 bits");
    format!("/lp/{id}")
}

const HELLO: &str = r#"[1,"realm1",{"roles":{"publisher":{},"subscriber":{},"caller":{},"callee":{}}}]"#;

async fn send(node: &TestNode, base: &str, text: &str) {
    let (status, body) = post(node, &format!("{base}/send"), text).await;
    assert_eq!((status, body), (202, Vec::new()), "{text}");
}

async fn receive(node: &TestNode, base: &str) -> String {
    let (status, body) = post(node, &format!("{base}/receive"), "").await;
    assert_eq!(status, 200);
    String::from_utf8(body).unwrap()
}

/// The base path of a session.
async fn join(node: &TestNode) -> String {
    let base = open(node, "wamp.2.json").await;
    send(node, &base, HELLO).await;
    assert!(receive(node, &base).await.starts_with("[2,"));
    base
}

#[tokio::test]
async fn calls_and_events_come_one_message_a_poll() {
    let node = &node(quick(), ListenerConfig::default()).await;
    let base = &join(node).await;
    send(node, base, r#"[32,1,{},"com.topic"]"#).await;
    let subscribed = receive(node, base).await;
    assert!(subscribed.starts_with("[33,1,"), "{subscribed}");
    let mut other = node.join(JSON).await;
    other.publish("com.topic", &[Value::Text("a".into())], false).await;
    other.publish("com.topic", &[Value::Text("b".into())], false).await;
    for text in [r#"["a"]"#, r#"["b"]"#] {
        let event = receive(node, base).await;
        assert!(event.starts_with("[36,") && event.contains(text), "{event}");
    }
    assert_eq!(
        post(node, &format!("{base}/receive"), "").await,
        (204, Vec::new()),
        "nothing came"
    );
    // A poll that waits is answered when something comes.
    let poll = async { receive(node, base).await };
    let publish = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        other.publish("com.topic", &[Value::Text("c".into())], false).await;
    };
    let (event, _) = tokio::join!(poll, publish);
    assert!(event.contains(r#"["c"]"#), "{event}");
    send(node, base, r#"[6,{},"wamp.close.close_realm"]"#).await;
    assert!(receive(node, base).await.starts_with("[6,"));
    assert_eq!(post(node, &format!("{base}/close?x=1"), "").await.0, 202);
    assert_eq!(post(node, &format!("{base}/receive"), "").await.0, 404);
    drop(other);
    eventually("the session ends", || node.service.sessions.is_empty()).await;
}

#[tokio::test]
async fn batches_bring_all_that_is_there() {
    let node = &node(quick(), ListenerConfig::default()).await;
    let base = &open(node, "wamp.2.json.batched").await;
    send(node, base, &format!("{HELLO}\x1e")).await;
    let welcome = receive(node, base).await;
    assert!(welcome.starts_with("[2,") && welcome.ends_with('\x1e'));
    let three: String = (1..=3)
        .map(|n| format!("[16,{n},{{\"acknowledge\":true}},\"com.topic\"]\x1e"))
        .collect();
    send(node, base, &three).await;
    let mut answers = String::new();
    while answers.matches('\x1e').count() < 3 {
        answers += &receive(node, base).await;
    }
    assert!(answers.contains("[17,1,") && answers.contains("\x1e[17,3,"), "{answers}");
    for bad in ["", "[16,4,{},\"com.topic\"]"] {
        assert_eq!(post(node, &format!("{base}/send"), bad).await.0, 400, "{bad:?}");
    }
    let base = &open(node, "wamp.2.cbor.batched").await;
    // [1, "realm1", {"roles": {"caller": {}}}]
    let hello = b"\x83\x01\x66realm1\xa1\x65roles\xa1\x66caller\xa0";
    let body = [&(hello.len() as u32).to_be_bytes()[..], hello].concat();
    assert_eq!(post(node, &format!("{base}/send"), body).await.0, 202);
    let (status, head, body) = request(node, "POST", &format!("{base}/receive"), "", b"").await;
    assert_eq!(status, 200);
    assert!(head.contains("content-type: application/cbor"), "{head}");
    let len = u32::from_be_bytes(*body.first_chunk().unwrap()) as usize;
    assert_eq!((len, &body[4..6]), (body.len() - 4, &[0x83, 2][..]));
}

#[tokio::test]
async fn what_is_no_request_of_it_is_refused() {
    let node = &node(quick(), ListenerConfig::default()).await;
    for body in ["", "[]", "{}", r#"{"protocols":[]}"#, r#"{"protocols":["wamp.2.flurry",7]}"#] {
        assert_eq!(post(node, "/lp/open", body).await.0, 400, "{body}");
    }
    assert_eq!(post(node, "/lp/open", vec![b' '; 5000]).await.0, 413);
    assert_eq!(post(node, "/lp/none/receive", "").await.0, 404);
    assert_eq!(post(node, "/lp/none/elsewhere", "").await.0, 405, "a page");
    assert_eq!(request(node, "GET", "/lp/open", "", b"").await.0, 405);
    let base = &join(node).await;
    assert_eq!(post(node, &format!("{base}/send"), vec![b' '; 100_001]).await.0, 413);
    assert_eq!(post(node, &format!("{base}/send"), "").await.0, 400);
    // What breaks WAMP ends the session, and the last words still come.
    send(node, base, "no json").await;
    assert!(receive(node, base).await.contains("wamp.error.protocol_violation"));
    assert_eq!(post(node, &format!("{base}/receive"), "").await.0, 404);
    assert_eq!(post(node, &format!("{base}/send"), "[]").await.0, 404);
}

#[tokio::test]
async fn before_welcome_little_is_taken() {
    let node = &node(quick(), ListenerConfig::default()).await;
    let base = &open(node, "wamp.2.json").await;
    let long = format!("{HELLO}{}", " ".repeat(17_000));
    assert_eq!(post(node, &format!("{base}/send"), &long).await.0, 413);
    send(node, base, HELLO).await;
    assert!(receive(node, base).await.starts_with("[2,"));
    let text = "x".repeat(60_000);
    send(node, base, &format!(r#"[48,1,{{}},"com.nobody",["{text}"]]"#)).await;
    assert!(receive(node, base).await.contains("no_such_procedure"));
}

#[tokio::test]
async fn a_client_that_does_not_poll_loses_its_session_and_its_place() {
    let settings = Settings {
        wait: Duration::from_millis(400),
        idle: Duration::from_millis(200),
        ..Settings::default()
    };
    let config = ListenerConfig {
        connections_max: 3,
        ..ListenerConfig::default()
    };
    let node = &node(settings, config).await;
    let base = &join(node).await;
    // Polling, it stays, however long.
    for _ in 0..2 {
        assert_eq!(post(node, &format!("{base}/receive"), "").await.0, 204);
    }
    assert_eq!(node.service.sessions.len(), 1);
    open(node, "wamp.2.json").await;
    let (status, body) = post(node, "/lp/open", r#"{"protocols":["wamp.2.json"]}"#).await;
    assert_eq!(
        (status, body),
        (503, b"Service Unavailable\n".to_vec()),
        "two transports and a request are three"
    );
    eventually("both end", || node.service.sessions.is_empty()).await;
    assert_eq!(post(node, &format!("{base}/receive"), "").await.0, 404);
    join(node).await;
}

#[tokio::test]
async fn pages_of_other_origins_are_refused_and_admitted_ones_may_read() {
    let config = ListenerConfig {
        origins: Origins::from_list(&["https://good.example".into()]),
        ..ListenerConfig::default()
    };
    let settings = Settings {
        taken: StatusCode::NO_CONTENT,
        ..quick()
    };
    let node = &node(settings, config).await;
    let body = br#"{"protocols":["wamp.2.json"]}"#;
    let (status, head, _) = request(node, "POST", "/lp/open", "Origin: https://evil.example\r\n", body).await;
    assert_eq!(status, 403);
    assert!(!head.contains("access-control"), "{head}");
    assert_eq!(node.service.sessions.len(), 0);
    let (status, head, body) = request(node, "POST", "/lp/open", "Origin: https://good.example\r\n", body).await;
    assert_eq!(status, 200);
    assert!(
        head.contains("access-control-allow-origin: https://good.example\r\n"),
        "{head}"
    );
    let answer: serde_json::Value = serde_json::from_slice(&body).unwrap();
    let path = format!("/lp/{}/send", answer["transport"].as_str().unwrap());
    let (status, head, _) = request(node, "OPTIONS", &path, "Origin: https://good.example\r\n", b"").await;
    assert_eq!(status, 204);
    assert!(head.contains("access-control-allow-headers: content-type"), "{head}");
    assert_eq!(post(node, &path, HELLO).await.0, 204, "as the profile says");
}

#[tokio::test]
async fn a_poll_that_was_given_up_loses_nothing() {
    let node = &node(Settings::default(), ListenerConfig::default()).await;
    let base = &join(node).await;
    let head = format!("POST {base}/receive HTTP/1.1\r\nHost: here\r\nContent-Length: 0\r\n\r\n");
    let mut stream = TcpStream::connect(node.address).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    drop(stream);
    tokio::time::sleep(Duration::from_millis(100)).await;
    send(node, base, r#"[16,1,{"acknowledge":true},"com.topic"]"#).await;
    assert!(receive(node, base).await.starts_with("[17,1,"));
}

#[tokio::test]
async fn paths_belong_to_it_or_to_the_pages() {
    let realms = crate::session::testing::realms().0;
    let service = Service::new(realms, SessionLimits::default());
    let at = |path: &str| {
        let settings = Settings {
            path: path.into(),
            ..Settings::default()
        };
        LongPoll::new(
            settings,
            (Origins::Any, Compat::default()),
            service.clone(),
            (Arc::new(Semaphore::new(1)), ListenerQuota::default()),
            None,
        )
    };
    let lp = at("/a/lp");
    assert_eq!(lp.route("/a/lp/open"), Some(Route::Open));
    assert_eq!(lp.route("/a/lp/x/receive"), Some(Route::Receive("x")));
    assert_eq!(lp.route("/a/lp/x/send"), Some(Route::Send("x")));
    assert_eq!(lp.route("/a/lp/x/close"), Some(Route::Close("x")));
    for other in [
        "/a/lp",
        "/a/lp/",
        "/a/lpopen",
        "/a/lp/x",
        "/a/lp/x/y/send",
        "/open",
        "/b/lp/open",
    ] {
        assert_eq!(lp.route(other), None, "{other}");
    }
    assert_eq!(at("/").route("/open"), Some(Route::Open));
}
