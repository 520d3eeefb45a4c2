//! A flood from one node towards a peer on another: slowed at its source while the peer reads, and nothing is lost; a peer that does
//! not read holds nobody up.
//!
//! Spoken at the level of bytes (RawSocket, JSON), so that the test decides when a peer reads and how fast.

use std::time::Duration;

use ringfort_cluster_tests::{
    cluster::{Addresses, Demo},
    record_result,
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    time::{sleep, timeout},
};

/// Together three times what the router queues for a peer at most (32 MiB by default, half of it for events).
const MESSAGES: usize = 900;
const MESSAGE_BYTES: usize = 100_000;
/// What the slow peers take at a time, and how long they rest after it: some 20 MB/s, less than a flood brings and more than
/// what makes a laggard.
const GULP: usize = 4;
const REST: Duration = Duration::from_millis(20);

struct Peer {
    reading: OwnedReadHalf,
    writing: OwnedWriteHalf,
}

impl Peer {
    /// A session on that node, subscribed or registered by `request` if there is one.
    async fn join(node: &Addresses, request: Option<Value>) -> Self {
        let address = node.rawsocket.trim_start_matches("tcp://").trim_start_matches("rs://");
        let stream = TcpStream::connect(address).await.expect("connect");
        let (reading, writing) = stream.into_split();
        let mut peer = Self { reading, writing };
        peer.writing.write_all(&[0x7f, 0xf1, 0, 0]).await.expect("handshake");
        let mut reply = [0; 4];
        peer.reading.read_exact(&mut reply).await.expect("handshake");
        peer.say(&json!([1, "realm1", {"roles": {"subscriber": {}, "publisher": {}, "caller": {}, "callee": {}}}]))
            .await;
        assert_eq!(peer.hear().await[0], 2, "WELCOME");
        if let Some(request) = request {
            let answer = request[0].as_u64().expect("a message") + 1;
            peer.say(&request).await;
            assert_eq!(peer.hear().await[0], answer, "the answer to {request}");
        }
        peer
    }

    async fn say(&mut self, message: &Value) {
        say(&mut self.writing, message).await;
    }

    async fn hear(&mut self) -> Value {
        hear(&mut self.reading).await
    }
}

async fn say(to: &mut OwnedWriteHalf, message: &Value) {
    say_text(to, &message.to_string()).await;
}

/// Says a message that is JSON already: a flood must come faster than JSON is written.
async fn say_text(to: &mut OwnedWriteHalf, text: &str) {
    let length = u32::try_from(text.len()).expect("a short message");
    to.write_all(&length.to_be_bytes()).await.expect("send");
    to.write_all(text.as_bytes()).await.expect("send");
}

async fn hear(from: &mut OwnedReadHalf) -> Value {
    let read = async {
        let mut length = [0; 4];
        from.read_exact(&mut length).await?;
        let mut text = vec![0; u32::from_be_bytes(length) as usize];
        from.read_exact(&mut text).await?;
        std::io::Result::Ok(text)
    };
    let text = timeout(Duration::from_secs(30), read)
        .await
        .expect("a message in time")
        .expect("the session lives");
    serde_json::from_slice(&text).expect("JSON")
}

/// The number in the payload at `at`.
fn number(message: &Value, at: usize) -> usize {
    let number = message[at][0].as_u64().unwrap_or_else(|| panic!("no number in {message}"));
    usize::try_from(number).expect("a small number")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscriber_that_reads_gets_every_event_of_a_flood_from_another_node_beside_one_that_does_not() {
    let demo = Demo::start(120).await.expect("demo");
    let subscribe = json!([32, 1, {}, "test.flood"]);
    let _stuck = Peer::join(demo.node(3), Some(subscribe.clone())).await;
    let mut subscriber = Peer::join(demo.node(3), Some(subscribe)).await;
    let mut publisher = Peer::join(demo.node(1), None).await;
    let filler = "x".repeat(MESSAGE_BYTES);
    let publishing = tokio::spawn(async move {
        for n in 0..MESSAGES {
            let (request, acknowledge) = (n + 1, n + 1 == MESSAGES);
            let publish = format!(r#"[16,{request},{{"acknowledge":{acknowledge}}},"test.flood",[{n},"{filler}"]]"#);
            say_text(&mut publisher.writing, &publish).await;
        }
        assert_eq!(publisher.hear().await[0], 17, "PUBLISHED");
    });
    for n in 0..MESSAGES {
        let event = subscriber.hear().await;
        assert_eq!((&event[0], number(&event, 4)), (&json!(36), n), "an event was lost");
        if n % GULP == 0 {
            sleep(REST).await;
        }
    }
    timeout(Duration::from_secs(10), publishing)
        .await
        .expect("the publisher is not held for ever")
        .expect("published");
    record_result(
        "floods",
        &format!("{MESSAGES} events of {MESSAGE_BYTES} bytes across nodes at a slow reader's pace, none lost"),
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_callee_that_reads_gets_every_call_of_a_flood_from_another_node() {
    let demo = Demo::start(120).await.expect("demo");
    let mut callee = Peer::join(demo.node(3), Some(json!([64, 1, {}, "test.flooded"]))).await;
    let Peer {
        mut reading,
        mut writing,
    } = Peer::join(demo.node(1), None).await;
    let filler = "x".repeat(MESSAGE_BYTES);
    let calling = tokio::spawn(async move {
        for n in 0..MESSAGES {
            let call = format!(r#"[48,{},{{}},"test.flooded",[{n},"{filler}"]]"#, n + 1);
            say_text(&mut writing, &call).await;
        }
        writing
    });
    let answers = tokio::spawn(async move {
        for n in 0..MESSAGES {
            let result = hear(&mut reading).await;
            assert_eq!((&result[0], number(&result, 3)), (&json!(50), n), "a call was lost");
        }
    });
    for n in 0..MESSAGES {
        let invocation = callee.hear().await;
        assert_eq!(number(&invocation, 4), n, "an invocation was lost");
        callee.say(&json!([70, invocation[1], {}, [n]])).await;
        if n % GULP == 0 {
            sleep(REST).await;
        }
    }
    answers.await.expect("every call is answered");
    calling.await.expect("called");
    record_result(
        "floods",
        &format!("{MESSAGES} calls of {MESSAGE_BYTES} bytes across nodes at a slow callee's pace, none lost"),
    );
}
