//! What listeners, sources, realms, roles and principals may take of a node: whoever exceeds it is told or slowed, it is counted, and nobody
//! else notices.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use ringfort_cluster_tests::{
    cluster::{REALM, open_to},
    http,
    ports::free_port,
    process::{Process, binary},
    secrets,
    wamp::Client,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::{sleep, timeout},
};

const PATIENCE: Duration = Duration::from_secs(20);

struct Node {
    _process: Process,
    dir: TempDir,
    ports: Vec<u16>,
    admin: String,
}

impl Node {
    /// A node with a listener for each of these lines, `realm` behind its realm and `end` behind everything.
    async fn start(listeners: &[&str], realm: &str, end: &str) -> Result<Self> {
        let dir = secrets::folder("ringfort-test-")?;
        let ports: Vec<u16> = listeners.iter().map(|_| free_port()).collect();
        let admin = free_port();
        let mut text = format!(
            "[node]\nname = \"n1\"\n[[realm]]\nname = \"{REALM}\"\nanonymous = \"loopback\"\n{realm}\n\
             [admin]\naddress = \"127.0.0.1:{admin}\"\n[observability]\naddress = \"off\"\n[audit]\npath = {:?}\n{end}\n",
            dir.path().join("audit.jsonl"),
        );
        for (lines, port) in listeners.iter().zip(&ports) {
            text += &format!("[[listener]]\naddress = \"127.0.0.1:{port}\"\norigins = [\"*\"]\n{lines}\n");
        }
        let config = dir.path().join("n1.toml");
        std::fs::write(&config, text)?;
        let mut command = std::process::Command::new(binary());
        command
            .arg("serve")
            .arg("--config")
            .arg(&config)
            .args(["--ready-json", "--exit-with-stdin"]);
        let mut process = Process::start("n1", command, dir.path())?;
        process.first_json_line(Duration::from_secs(30)).await?;
        Ok(Self {
            _process: process,
            dir,
            ports,
            admin: format!("http://127.0.0.1:{admin}"),
        })
    }

    async fn counted(&self, scope: &str, reason: &str) -> Result<u64> {
        let status = http::get_json(&format!("{}/status", self.admin)).await?;
        Ok(status["limits"][scope][reason].as_u64().unwrap_or(0))
    }

    /// The records of refusals by these walls for these reasons, in that order; waits for them.
    async fn refusals(&self, wanted: &[(&str, &str)]) -> Result<Vec<Value>> {
        let begun = Instant::now();
        loop {
            let text = std::fs::read_to_string(self.dir.path().join("audit.jsonl"))?;
            let records: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
            let of = |(wall, reason): &(&str, &str)| {
                let is_it =
                    |record: &&Value| record["kind"] == "refused" && record["step"] == *wall && record["reason"] == *reason;
                records.iter().find(is_it).cloned()
            };
            let found: Vec<Option<Value>> = wanted.iter().map(of).collect();
            if found.iter().all(Option::is_some) {
                return Ok(found.into_iter().flatten().collect());
            }
            ensure!(begun.elapsed() < PATIENCE, "{wanted:?} are not all in the audit log:\n{text}");
            sleep(Duration::from_millis(200)).await;
        }
    }

    async fn join(&self, at: usize) -> Result<Client> {
        Client::join(&format!("ws://127.0.0.1:{}/ws", self.ports[at]), REALM).await
    }
}

/// A connection from an address of this machine.
async fn from(source: [u8; 4], port: u16) -> Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((source, 0).into())?;
    Ok(timeout(PATIENCE, socket.connect(([127, 0, 0, 1], port).into())).await??)
}

/// What the node answers to the request for a page.
async fn asked(mut stream: TcpStream) -> Result<String> {
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n")
        .await?;
    let mut answer = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut answer)).await??;
    let text = String::from_utf8_lossy(&answer);
    Ok(text.lines().next().unwrap_or("closed").to_owned())
}

#[tokio::test]
async fn a_source_and_a_listener_have_only_so_many_connections() -> Result<()> {
    let open = open_to(&["anonymous"]);
    let node = Node::start(
        &["", "[listener.quota]\nsessions_max = 6\n"],
        &open,
        "[limits.per_source]\nsessions_max = 4\n",
    )
    .await?;
    let (plain, limited) = (node.ports[0], node.ports[1]);
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(from([127, 0, 3, 1], plain).await?);
    }
    sleep(Duration::from_millis(200)).await;
    ensure!(asked(from([127, 0, 3, 1], plain).await?).await?.contains("429"));
    let mut raw = from([127, 0, 3, 1], plain).await?;
    raw.write_all(&[0x7F, 0xF1, 0, 0]).await?;
    let mut answer = [0; 4];
    timeout(PATIENCE, raw.read_exact(&mut answer)).await??;
    ensure!(answer == [0x7F, 0x40, 0, 0], "maximum connection count reached: {answer:x?}");
    ensure!(
        asked(from([127, 0, 3, 2], plain).await?).await?.contains("404"),
        "somebody else"
    );
    ensure!(node.counted("source", "sessions_refused").await? == 2);
    held.pop();
    sleep(Duration::from_millis(200)).await;
    ensure!(
        asked(from([127, 0, 3, 1], plain).await?).await?.contains("404"),
        "after one has gone"
    );

    for source in 10..16 {
        held.push(from([127, 0, 3, source], limited).await?);
    }
    sleep(Duration::from_millis(200)).await;
    ensure!(asked(from([127, 0, 3, 30], limited).await?).await?.contains("429"));
    ensure!(
        asked(from([127, 0, 3, 30], plain).await?).await?.contains("404"),
        "another listener"
    );
    ensure!(node.counted("listener", "sessions_refused").await? == 1);
    let records = [
        ("limit", "sessions_max of the source"),
        ("limit", "sessions_max of the listener"),
    ];
    let records = node.refusals(&records).await?;
    ensure!(
        records[0]["source"] == "127.0.3.1" && records[1]["source"] == "127.0.3.30",
        "{records:?}"
    );
    Ok(())
}

#[tokio::test]
async fn who_connects_too_often_is_refused_for_a_moment() -> Result<()> {
    let node = Node::start(
        &[""],
        &open_to(&["anonymous"]),
        "[limits.per_source]\nhandshakes_per_sec = 5\n",
    )
    .await?;
    let begun = Instant::now();
    let mut refused = 0_u32;
    for _ in 0..20 {
        if asked(from([127, 0, 3, 1], node.ports[0]).await?).await?.contains("429") {
            refused += 1;
        }
    }
    // A second's worth at once, then as many as time allows.
    let let_in = 5.0 + 5.0 * begun.elapsed().as_secs_f64();
    ensure!(
        f64::from(refused) + let_in + 1.0 >= 20.0 && refused <= 15,
        "{refused} of 20 in {:?}",
        begun.elapsed()
    );
    ensure!(node.counted("source", "handshakes_refused").await? == u64::from(refused));
    let record = &node.refusals(&[("limit", "handshakes_per_sec of the source")]).await?[0];
    ensure!(
        record["source"] == "127.0.3.1" && record["count"].as_u64() <= Some(u64::from(refused)),
        "{record}"
    );
    ensure!(
        asked(from([127, 0, 3, 2], node.ports[0]).await?).await?.contains("404"),
        "somebody else"
    );
    sleep(Duration::from_millis(1100)).await;
    ensure!(
        asked(from([127, 0, 3, 1], node.ports[0]).await?).await?.contains("404"),
        "later"
    );
    Ok(())
}

#[tokio::test]
async fn a_realm_and_a_role_have_only_so_many_sessions_and_who_leaves_makes_room() -> Result<()> {
    let open = open_to(&["anonymous"]).replace("name = \"anonymous\"", "name = \"anonymous\", quota = { sessions_max = 2 }");
    let node = Node::start(&[""], &open, "").await?;
    let one = node.join(0).await?;
    let _two = node.join(0).await?;
    let error = node.join(0).await.err().context("a third")?;
    ensure!(format!("{error:#}").contains("a limit of this role is reached"), "{error:#}");
    one.leave().await?;
    node.join(0).await.context("after one has left")?;
    ensure!(node.counted("role", "sessions_refused").await? == 1);
    let record = &node.refusals(&[("limit", "sessions_max of the role")]).await?[0];
    ensure!(record["role"] == "anonymous" && record["realm"] == REALM, "{record}");
    Ok(())
}

#[tokio::test]
async fn what_sessions_hold_is_summed_over_their_principal_and_role_and_source() -> Result<()> {
    let limits = "subscriptions_max = 3, registrations_max = 2, calls_max = 4";
    let open = open_to(&["anonymous"]).replace(
        "name = \"anonymous\"",
        &format!(
            "name = \"anonymous\", per_principal = {{ {limits}, message_bytes_max = 4000 }}, quota = {{ subscriptions_max = 5 }}"
        ),
    );
    let node = Node::start(&[""], &open, "[limits.per_source]\nregistrations_max = 3\n").await?;
    let (client, other) = (node.join(0).await?, node.join(0).await?);
    for at in 0..3 {
        client.subscribe(&format!("org.example.{at}")).await??;
    }
    let refused = client.subscribe("org.example.more").await?.err().context("a fourth")?;
    ensure!(refused.uri == "wamp.error.unavailable", "{refused}");
    // Each anonymous session is a principal of its own, but they share a role and a source.
    other.subscribe("org.example.3").await??;
    other.subscribe("org.example.4").await??;
    let refused = other.subscribe("org.example.5").await?.err().context("a sixth of the role")?;
    ensure!(refused.uri == "wamp.error.unavailable", "{refused}");
    let slow = client.register("org.example.slow").await??;
    client.register("org.example.b").await??;
    let refused = client.register("org.example.c").await?.err().context("a third")?;
    ensure!(refused.uri == "wamp.error.unavailable", "{refused}");
    let last = other.register("org.example.d").await??;
    let refused = other
        .register("org.example.e")
        .await?
        .err()
        .context("a fourth of the source")?;
    ensure!(refused.uri == "wamp.error.unavailable", "{refused}");
    other.unregister(last.id).await??;
    other.register("org.example.e").await??;
    client.unregister(slow.id).await??;
    let slow = client.register("org.example.slow").await??;
    let mut open = Vec::new();
    for _ in 0..4 {
        open.push(client.start_call("org.example.slow", &[]).await?);
    }
    let refused = client.call("org.example.slow", &[]).await?.err().context("a fifth")?;
    ensure!(refused.uri == "wamp.error.unavailable", "{refused}");
    for (scope, reason, count) in [
        ("principal", "subscriptions_refused", 1),
        ("role", "subscriptions_refused", 1),
        ("principal", "registrations_refused", 1),
        ("source", "registrations_refused", 1),
        ("principal", "calls_refused", 1),
        ("role", "calls_refused", 0),
    ] {
        let counted = node.counted(scope, reason).await?;
        ensure!(counted == count, "{scope} {reason}: {counted}");
    }
    ensure!(node.counted_held().await? == 5);
    let echo = client.serve_echo(slow);
    for answer in open {
        answer.within(PATIENCE).await??;
    }
    client.call("org.example.slow", &[json!(1)]).await??;
    echo.abort();
    client.leave().await?;
    let third = node.join(0).await?;
    third.subscribe("org.example.0").await??;
    third
        .register("org.example.b")
        .await?
        .context("what the first session held is free again")?;

    other.publish("org.example.0", &[json!("x".repeat(8000))]).await?;
    let begun = Instant::now();
    while other.ended().is_none() {
        ensure!(begun.elapsed() < PATIENCE, "a message above the limit");
        sleep(Duration::from_millis(20)).await;
    }

    // All of it is in the audit log, with who it was.
    let lines = node
        .refusals(&[
            ("limit", "subscriptions_max of the principal"),
            ("limit", "subscriptions_max of the role"),
            ("limit", "registrations_max of the principal"),
            ("limit", "registrations_max of the source"),
            ("limit", "calls_max of the principal"),
            ("limit", "message_bytes_max"),
        ])
        .await?;
    for line in lines {
        ensure!(line["role"] == "anonymous" && line["source"] == "127.0.0.1", "{line}");
        ensure!(
            line["session"].is_u64() && line["authid"].is_string() && line["realm"] == REALM,
            "{line}"
        );
    }
    Ok(())
}

impl Node {
    async fn counted_held(&self) -> Result<u64> {
        let status = http::get_json(&format!("{}/status", self.admin)).await?;
        status["limits"]["held_refused"].as_u64().context("a count")
    }
}

/// How long it takes until `count` publications of 100 bytes have been taken in.
async fn published(client: &Client, count: u64) -> Result<Duration> {
    let begun = Instant::now();
    for at in 0..count {
        client
            .publish("org.example.rate", &[json!(at), json!("x".repeat(60))])
            .await?;
    }
    client.publish_acknowledged("org.example.rate", &[Value::Null]).await??;
    Ok(begun.elapsed())
}

#[tokio::test]
async fn who_sends_too_much_is_slowed_and_loses_nothing_and_nobody_else_is() -> Result<()> {
    let roles = open_to(&["anonymous"]).replace(
        "name = \"anonymous\"",
        "name = \"anonymous\", per_principal = { messages_per_sec = 100 }",
    );
    let node = Node::start(&["", "[listener.quota]\nbytes_per_sec = 20000\n"], &roles, "").await?;
    let watching = node.join(0).await?;
    let mut subscription = watching.subscribe("org.example.rate").await??;
    let slowed = node.join(0).await?;
    // What one read brings is taken as a whole; what comes after it waits.
    let took = published(&slowed, 300).await? + published(&slowed, 1).await?;
    ensure!(
        took > Duration::from_millis(1500) && took < Duration::from_secs(8),
        "{took:?} for 300 at 100 a second"
    );
    for at in 0..300 {
        let event = timeout(PATIENCE, subscription.events.recv()).await?.context("an event")?;
        ensure!(event.args[0] == at, "in order, and none is missing: {event:?}");
    }
    ensure!(node.counted("principal", "messages_slowed").await? > 0);
    let quick = node.join(0).await?;
    let took = published(&quick, 50).await?;
    ensure!(took < Duration::from_secs(1), "{took:?}: another principal");

    let (one, two) = (node.join(1).await?, node.join(1).await?);
    let begun = Instant::now();
    for _ in 0..2 {
        let (a, b) = tokio::join!(published(&one, 200), published(&two, 200));
        a.and(b)?;
    }
    let took = begun.elapsed();
    // Some 110 bytes each: a second's worth at once, the rest at 20,000 a second.
    ensure!(took > Duration::from_millis(800) && took < Duration::from_secs(8), "{took:?}");
    ensure!(node.counted("listener", "bytes_slowed").await? > 0);
    Ok(())
}
