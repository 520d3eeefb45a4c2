use std::fs;

use bytes::Bytes;
use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::*;
use crate::session::{
    limits::SessionLimits,
    testing::{JSON, PATIENCE, TestClient, TestNode},
};

struct OnePage;

impl Pages for OnePage {
    fn get(&self, path: &str) -> Option<(String, Bytes)> {
        (path == "/").then(|| ("text/html".to_owned(), Bytes::from_static(b"<p>lamp</p>")))
    }
}

async fn node(config: ListenerConfig) -> TestNode {
    TestNode::with(SessionLimits::default(), config).await
}

/// Sends bytes and reads until the listener closes.
async fn exchange(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut answer))
        .await
        .expect("a close in time")
        .unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

async fn get(address: SocketAddr, path: &str, fields: &str) -> String {
    exchange(
        address,
        format!("GET {path} HTTP/1.1\r\nHost: here\r\nConnection: close\r\n{fields}\r\n").as_bytes(),
    )
    .await
}

const UPGRADE: &str = "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

async fn upgrade(address: SocketAddr, path: &str, fields: &str) -> String {
    let text = format!("GET {path} HTTP/1.1\r\nHost: here\r\nConnection: Upgrade\r\n{UPGRADE}{fields}\r\n");
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = vec![0; 1024];
    let len = timeout(PATIENCE, stream.read(&mut answer))
        .await
        .expect("an answer in time")
        .unwrap();
    String::from_utf8_lossy(&answer[..len]).into_owned()
}

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or("none")
}

fn without_date(answer: &str) -> String {
    answer
        .lines()
        .filter(|line| !line.starts_with("date:"))
        .collect::<Vec<_>>()
        .join("\n")
}

#[tokio::test]
async fn pages_are_served_and_the_endpoint_does_not_show() {
    let node = node(ListenerConfig {
        pages: Arc::new(OnePage),
        path: "/secret".into(),
        ..Default::default()
    })
    .await;
    let answer = get(node.address, "/?x=1", "").await;
    assert_eq!(status(&answer), "200");
    assert!(
        answer.contains("content-type: text/html\r\n") && answer.ends_with("<p>lamp</p>"),
        "{answer}"
    );
    let head = exchange(node.address, b"HEAD / HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n").await;
    assert!(
        head.contains("content-length: 11\r\n") && head.ends_with("\r\n\r\n"),
        "{head}"
    );
    let post = exchange(node.address, b"POST / HTTP/1.1\r\nHost: here\r\nContent-Length: 0\r\n\r\n").await;
    assert_eq!(status(&post), "405");

    let missing = get(node.address, "/missing", "").await;
    assert_eq!(status(&missing), "404");
    let asked_plainly = get(node.address, "/secret", "").await;
    assert_eq!(
        without_date(&asked_plainly),
        without_date(&missing),
        "whoever does not know the path learns nothing"
    );
    let upgrade_elsewhere = upgrade(node.address, "/ws", "Sec-WebSocket-Protocol: wamp.2.json\r\n").await;
    assert_eq!(status(&upgrade_elsewhere), "404");
    let upgrade_there = upgrade(node.address, "/secret?token=1", "Sec-WebSocket-Protocol: wamp.2.json\r\n").await;
    assert_eq!(status(&upgrade_there), "101");
}

#[tokio::test]
async fn two_pages_come_over_one_connection() {
    let node = node(ListenerConfig {
        pages: Arc::new(OnePage),
        ..Default::default()
    })
    .await;
    let two = b"GET / HTTP/1.1\r\nHost: here\r\n\r\nGET / HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n";
    assert_eq!(exchange(node.address, two).await.matches("<p>lamp</p>").count(), 2);
}

#[tokio::test]
async fn web_pages_of_foreign_origins_are_refused() {
    let config = ListenerConfig {
        origins: websocket::Origins::from_list(&["https://good.example".into()]),
        ..Default::default()
    };
    let node = node(config).await;
    let from = |origin: &'static str| upgrade(node.address, "/ws", origin);
    assert_eq!(
        status(&from("Sec-WebSocket-Protocol: wamp.2.json\r\nOrigin: https://evil.example\r\n").await),
        "403"
    );
    assert_eq!(
        status(&from("Sec-WebSocket-Protocol: wamp.2.json\r\nOrigin: https://good.example\r\n").await),
        "101"
    );
    assert_eq!(status(&from("Sec-WebSocket-Protocol: wamp.2.json\r\n").await), "101");
    assert_eq!(status(&from("Sec-WebSocket-Protocol: chat\r\n").await), "400");
}

#[tokio::test]
async fn what_is_neither_is_answered_like_a_web_server_would() {
    let node = node(ListenerConfig::default()).await;
    assert_eq!(
        status(&exchange(node.address, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03").await),
        "400"
    );
    assert_eq!(status(&exchange(node.address, b"\0\x01\x02\r\n\r\n").await), "400");
    let mut long = b"GET / HTTP/1.1\r\nX: ".to_vec();
    long.resize(4096, b'a');
    assert_eq!(status(&exchange(node.address, &long).await), "431");
}

#[tokio::test]
async fn rawsocket_handshakes_are_refused_with_their_reason() {
    let node = node(ListenerConfig::default()).await;
    assert_eq!(exchange(node.address, b"\x7F\xF4\0\0").await.as_bytes(), b"\x7F\x10\0\0");
    assert_eq!(exchange(node.address, b"\x7F\xF1\0\x01").await.as_bytes(), b"\x7F\x30\0\0");
    let without = self::node(ListenerConfig {
        rawsocket: false,
        ..Default::default()
    })
    .await;
    assert_eq!(status(&exchange(without.address, b"\x7F\xF1\0\0").await), "400");
}

#[tokio::test]
async fn a_full_listener_says_so_and_takes_new_clients_when_others_leave() {
    let node = node(ListenerConfig {
        connections_max: 2,
        ..Default::default()
    })
    .await;
    let one = node.join(JSON).await;
    let mut two = node.join(JSON).await;
    assert_eq!(exchange(node.address, b"\x7F\xF1\0\0").await.as_bytes(), b"\x7F\x40\0\0");
    assert_eq!(
        status(&upgrade(node.address, "/ws", "Sec-WebSocket-Protocol: wamp.2.json\r\n").await),
        "503"
    );
    assert!(two.is_alive().await);
    drop(one);
    crate::session::testing::eventually("a place is free", || node.service.sessions.len() == 1).await;
    // The permit is given back just after the connection was forgotten.
    let joined = async {
        loop {
            if status(&upgrade(node.address, "/ws", "Sec-WebSocket-Protocol: wamp.2.json\r\n").await) == "101" {
                return;
            }
        }
    };
    timeout(PATIENCE, joined).await.expect("a place is free");
}

#[tokio::test]
async fn a_node_that_is_not_ready_answers_503() {
    let node = node(ListenerConfig::default()).await;
    node.service.sessions.set_ready(false);
    let answer = upgrade(node.address, "/ws", "Sec-WebSocket-Protocol: wamp.2.json\r\n").await;
    assert_eq!(status(&answer), "503");
}

#[tokio::test]
async fn half_open_connections_do_not_stop_sessions() {
    let node = node(ListenerConfig::default()).await;
    let mut half = Vec::new();
    for n in 0..200 {
        let mut stream = TcpStream::connect(node.address).await.unwrap();
        if n % 2 == 0 {
            stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nUpgr").await.unwrap();
        }
        half.push(stream);
    }
    assert!(node.join(JSON).await.is_alive().await);
}

#[tokio::test]
async fn a_port_in_use_is_named_with_a_remedy() {
    let node = node(ListenerConfig::default()).await;
    let config = ListenerConfig {
        address: node.address,
        ..Default::default()
    };
    let error = bind(config, node.service.clone()).await.unwrap_err().to_string();
    assert_eq!(
        error,
        format!(
            "cannot listen on {}; another process has this port: end it or configure another port",
            node.address
        )
    );
}

#[tokio::test]
async fn a_listener_stops_accepting_when_told() {
    let node = node(ListenerConfig::default()).await;
    let bound = bind(
        ListenerConfig {
            address: ([127, 0, 0, 1], 0).into(),
            ..Default::default()
        },
        node.service.clone(),
    )
    .await
    .unwrap();
    let address = bound.local_addr();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = tokio::spawn(bound.serve(async {
        let _ = stopped.await;
    }));
    let mut client = TestClient::connect(address, JSON).await;
    client.hello().await;
    stop.send(()).unwrap();
    serving.await.unwrap();
    assert!(TcpStream::connect(address).await.is_err());
    assert!(client.is_alive().await, "sessions go on");
}

struct Secured {
    node: TestNode,
    connector: TlsConnector,
    _files: tempfile::TempDir,
}

async fn secured(plain_beside_tls: bool) -> Secured {
    let files = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let tls = tls::TlsFiles {
        certificate: files.path().join("x.pem"),
        key: files.path().join("x.key"),
        ..tls::TlsFiles::default()
    };
    fs::write(&tls.certificate, made.cert.pem()).unwrap();
    fs::write(&tls.key, made.signing_key.serialize_pem()).unwrap();
    let node = node(ListenerConfig {
        tls: Some(tls),
        plain_beside_tls,
        pages: Arc::new(OnePage),
        ..Default::default()
    })
    .await;
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Secured {
        node,
        connector: TlsConnector::from(Arc::new(config)),
        _files: files,
    }
}

impl Secured {
    async fn connect(&self) -> tokio_rustls::client::TlsStream<TcpStream> {
        let stream = TcpStream::connect(self.node.address).await.unwrap();
        self.connector
            .connect(ServerName::try_from("localhost").unwrap(), stream)
            .await
            .unwrap()
    }
}

#[tokio::test]
async fn under_tls_pages_rawsocket_and_large_answers_go() {
    let secured = secured(false).await;
    let mut page = secured.connect().await;
    page.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut answer = Vec::new();
    let _ = timeout(PATIENCE, page.read_to_end(&mut answer)).await.unwrap();
    assert!(String::from_utf8_lossy(&answer).ends_with("<p>lamp</p>"));

    let mut raw = secured.connect().await;
    raw.write_all(b"\x7F\xF1\0\0").await.unwrap();
    let mut reply = [0; 4];
    raw.read_exact(&mut reply).await.unwrap();
    assert_eq!(reply, [0x7F, 0xF1, 0, 0]);
    let say = |text: String| [&(text.len() as u32).to_be_bytes()[..], text.as_bytes()].concat();
    raw.write_all(&say(r#"[1,"realm1",{"roles":{"publisher":{},"subscriber":{}}}]"#.into()))
        .await
        .unwrap();
    let welcome = hear(&mut raw).await;
    assert!(welcome.starts_with("[2,"));
    // An event above what the socket takes at once.
    let long = "x".repeat(8 << 20);
    let publish = say(format!(r#"[16,2,{{"exclude_me":false}},"com.topic",["{long}"]]"#));
    raw.write_all(&say(r#"[32,1,{},"com.topic"]"#.into())).await.unwrap();
    assert!(hear(&mut raw).await.starts_with("[33,1,"));
    raw.write_all(&publish).await.unwrap();
    // What the socket does not take at once stays in the TLS layer, which nobody but a flush sends on.
    raw.flush().await.unwrap();
    let event = hear(&mut raw).await;
    assert!(event.starts_with("[36,") && event.ends_with(&format!("[\"{long}\"]]")));
    raw.write_all(&say(r#"[6,{},"wamp.close.close_realm"]"#.into()))
        .await
        .unwrap();
    assert!(hear(&mut raw).await.starts_with("[6,"));
}

async fn hear(stream: &mut tokio_rustls::client::TlsStream<TcpStream>) -> String {
    let mut prefix = [0; 4];
    timeout(PATIENCE, stream.read_exact(&mut prefix)).await.unwrap().unwrap();
    let mut message = vec![0; u32::from_be_bytes(prefix) as usize];
    timeout(PATIENCE, stream.read_exact(&mut message)).await.unwrap().unwrap();
    String::from_utf8(message).unwrap()
}

#[tokio::test]
async fn a_port_with_tls_takes_plain_connections_only_where_configured() {
    let secured_only = secured(false).await;
    assert_eq!(status(&get(secured_only.node.address, "/", "").await), "400");
    assert_eq!(status(&exchange(secured_only.node.address, b"\x7F\xF1\0\0").await), "400");
    let both = secured(true).await;
    assert_eq!(status(&get(both.node.address, "/", "").await), "200");
    assert!(both.node.join(JSON).await.is_alive().await);
}
