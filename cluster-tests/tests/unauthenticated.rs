//! What somebody can take of a node before it has proved who it is: thousands of connections of each kind that never get as far as a
//! session. Each costs at most 16 KiB of memory and is closed in time, and a client that means well is served meanwhile.

mod strangers;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use ringfort_cluster_tests::{
    cluster::{REALM, make_certificates},
    ports::free_port,
    process::{Process, binary},
    record_result,
    wamp::Client,
};
use strangers::{Kind, Stranger};
use tempfile::TempDir;
use tokio::time::sleep;

/// What one connection may cost before its session, in bytes of the node's proportional set size.
const BYTES_EACH_MAX: u64 = 16 * 1024;
/// How long a connection may take to a session; long enough that all can be opened meanwhile, on a machine that does a lot else.
const HANDSHAKE: Duration = Duration::from_secs(8);
/// The same under TLS, of which each connection costs both sides a handshake.
const TLS_HANDSHAKE: Duration = Duration::from_secs(16);
/// What a connection that has had its time may take beside for its last words, on a machine that does a lot else.
const CLOSING: Duration = Duration::from_secs(6);
/// Connections of each kind at a time.
const MANY: usize = 2_000;

/// One node that serves a plain port and one with TLS.
struct Node {
    process: Process,
    plain: u16,
    tls: u16,
    dir: TempDir,
}

impl Node {
    async fn start(handshake: Duration) -> Result<Self> {
        let dir = ringfort_cluster_tests::secrets::folder("ringfort-test-")?;
        make_certificates(&dir.path().join("ca"), "strangers", &["n1"])?;
        let (plain, tls, admin) = (free_port(), free_port(), free_port());
        let file = |name: &str| dir.path().join("ca").join(name);
        let roles = ringfort_cluster_tests::cluster::OPEN;
        let text = format!(
            "[node]\nname = \"n1\"\n[[listener]]\naddress = \"127.0.0.1:{plain}\"\norigins = [\"*\"]\npages = \"lamp\"\n\
             [[listener]]\naddress = \"127.0.0.1:{tls}\"\n[listener.tls]\ncertificate = {:?}\nkey = {:?}\n\
             [[realm]]\nname = \"{REALM}\"\nanonymous = \"loopback\"\n{roles}\
             [[principal]]\nrealm = \"{REALM}\"\nauthid = \"lamp\"\nrole = \"anonymous\"\nticket = \"never-shown-by-a-stranger\"\n\
             [limits]\nhandshake_secs = {}\n\
             [admin]\naddress = \"127.0.0.1:{admin}\"\n[observability]\naddress = \"off\"\n",
            file("n1.pem"),
            file("n1.key"),
            handshake.as_secs(),
        );
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
            process,
            plain,
            tls,
            dir,
        })
    }

    fn port(&self, kind: Kind) -> u16 {
        if kind.is_tls() { self.tls } else { self.plain }
    }

    /// Bytes of memory that are this process's.
    fn memory(&self) -> Result<u64> {
        let file = format!("/proc/{}/smaps_rollup", self.process.pid());
        let text = std::fs::read_to_string(&file).context(file)?;
        let line = text.lines().find_map(|line| line.strip_prefix("Pss:")).context("no Pss")?;
        let kib: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
        Ok(kib * 1024)
    }

    fn sockets(&self) -> usize {
        let files = std::fs::read_dir(format!("/proc/{}/fd", self.process.pid()))
            .into_iter()
            .flatten()
            .flatten();
        files
            .filter(|file| std::fs::read_link(file.path()).is_ok_and(|to| to.to_string_lossy().starts_with("socket:")))
            .count()
    }
}

/// A client that means well: joins, calls itself and leaves, again and again; how often and how long the slowest took.
async fn served(url: String, mut stop: tokio::sync::watch::Receiver<bool>) -> Result<(u32, Duration)> {
    let (mut rounds, mut slowest) = (0, Duration::ZERO);
    while !*stop.borrow() {
        let begun = Instant::now();
        let client = Client::join(&url, REALM).await?;
        let registration = client.register("org.example.echo").await??;
        let echo = client.serve_echo(registration);
        client.call("org.example.echo", &[1.into()]).await??;
        slowest = slowest.max(begun.elapsed());
        client.leave().await?;
        echo.abort();
        rounds += 1;
        let _ = tokio::time::timeout(Duration::from_millis(200), stop.changed()).await;
    }
    Ok((rounds, slowest))
}

/// Opens `MANY` connections of a kind on a node of its own, and says what each has cost.
async fn many(kind: Kind) -> Result<u64> {
    let handshake = if kind.is_tls() { TLS_HANDSHAKE } else { HANDSHAKE };
    let node = Node::start(handshake).await?;
    let (stop, stopping) = tokio::sync::watch::channel(false);
    let good = tokio::spawn(served(format!("ws://127.0.0.1:{}/ws", node.plain), stopping));
    sleep(Duration::from_millis(500)).await;
    let (before, sockets) = (node.memory()?, node.sockets());

    let begun = Instant::now();
    let opening = async {
        let mut strangers = Vec::new();
        for first in (0..MANY).step_by(50) {
            let batch = (first..(first + 50).min(MANY)).map(|_| Stranger::open(kind, node.port(kind)));
            for stranger in futures_util::future::join_all(batch).await {
                strangers.push(tokio::spawn(stranger?.stay()));
            }
        }
        anyhow::Ok((strangers, begun.elapsed()))
    };
    // The most that any number of connections has cost each, near the time when most were there.
    let watching = async {
        let (mut at_once, mut each) = (0, 0);
        while begun.elapsed() < handshake {
            let open = node.sockets().saturating_sub(sockets);
            if open > at_once {
                at_once = open;
                each = 0;
            }
            if open * 100 >= at_once * 95 && open > 0 {
                each = each.max(node.memory()?.saturating_sub(before) / open as u64);
            }
            sleep(Duration::from_millis(100)).await;
        }
        anyhow::Ok((at_once, each))
    };
    let (opened, watched) = tokio::join!(opening, watching);
    let ((strangers, opened_in), (at_once, each)) = (opened?, watched?);
    ensure!(at_once * 10 >= MANY * 6, "{kind:?}: only {at_once} were there at a time");

    let mut longest = Duration::ZERO;
    for stranger in strangers {
        longest = longest.max(stranger.await??);
    }
    stop.send_replace(true);
    let (rounds, slowest) = good.await??;
    let line = format!(
        "{each} bytes each, {at_once} at a time, opened in {:.1} s, the last closed after {:.1} s; beside them {rounds} sessions, the slowest took {:.2} s",
        opened_in.as_secs_f64(),
        longest.as_secs_f64(),
        slowest.as_secs_f64()
    );
    record_result(&format!("unauthenticated-{kind:?}").to_lowercase(), &line);
    ensure!(each <= BYTES_EACH_MAX, "{kind:?}: {line}");
    ensure!(longest <= handshake + CLOSING, "{kind:?}: {line}");
    ensure!(rounds >= 3 && slowest < Duration::from_secs(10), "{kind:?}: {line}");
    let log = std::fs::read_to_string(node.dir.path().join("n1.err"))?;
    ensure!(!log.contains("panicked"), "{log}");
    Ok(each)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_without_a_session_cost_little_and_are_closed_in_time() {
    let only = std::env::var("RINGFORT_STRANGERS").ok();
    let mut failed = Vec::new();
    for kind in Kind::ALL {
        if only.as_ref().is_some_and(|only| !format!("{kind:?}").contains(only.as_str())) {
            continue;
        }
        if let Err(error) = many(kind).await {
            println!("{error:#}");
            failed.push(format!("{error:#}"));
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_of_tls_longer_than_anything_to_be_said_ends_its_connection_at_once() {
    let node = Node::start(TLS_HANDSHAKE).await.expect("node");
    let all = (0..50).map(|_| strangers::record_too_long(node.tls));
    for lasted in futures_util::future::join_all(all).await {
        let lasted = lasted.expect("closed by the node");
        assert!(lasted < TLS_HANDSHAKE / 2, "{lasted:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_far_too_large_or_too_deep_is_refused_at_once() {
    let node = Node::start(HANDSHAKE).await.expect("node");
    let mut before = 0;
    // The first time fills the buffers that all share.
    for _ in 0..2 {
        before = node.memory().expect("memory");
        for (what, bytes) in strangers::outrageous() {
            let begun = Instant::now();
            let all = (0..100).map(|_| strangers::pour(node.plain, bytes.clone(), 64 << 20));
            for taken in futures_util::future::join_all(all).await {
                let taken = taken.expect("closed by the node");
                // What fits into the buffers of two sockets was never the node's.
                assert!(taken < 16 << 20, "{what}: {taken} bytes were taken");
            }
            assert!(begun.elapsed() < HANDSHAKE, "{what}: {:?}", begun.elapsed());
        }
    }
    let grown = node.memory().expect("memory").saturating_sub(before);
    record_result(
        "unauthenticated-outrageous",
        &format!("{grown} bytes for 100 connections of each kind"),
    );
    assert!(grown < 100 * BYTES_EACH_MAX, "{grown} bytes");
    let client = Client::join(&format!("ws://127.0.0.1:{}/ws", node.plain), REALM).await;
    client.expect("a session").leave().await.expect("leave");
}
