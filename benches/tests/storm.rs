//! Storms: sessions that come back, sessions that cannot, and the command from kill to page.
#![allow(clippy::unwrap_used)] // A test may fail by panicking.

mod mini_router;

use std::{
    net::SocketAddr,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use ringfort::wamp::Serializer;
use ringfort_bench::{
    load::{
        Pace, Stop, Timing, rpc,
        storm::{self, Killer, backoff::Backoff, fleet::Fleet, launch::Fleets, report::Storm},
    },
    outcome::Outcome,
    peer::Target,
    wire::Endpoint,
};
use tokio::runtime::Runtime;

fn target(address: SocketAddr) -> Target {
    Target::Wamp {
        endpoint: Endpoint::parse(&format!("ws://{address}/ws"), None).unwrap(),
        realm: "realm1".into(),
        serializer: Serializer::MsgPack,
        ticket: None,
    }
}

/// A router whose connections all end at once when the runtime is shut down.
async fn mortal_router() -> (Runtime, SocketAddr) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let address = runtime.spawn(mini_router::start()).await.unwrap();
    (runtime, address)
}

fn plan(victim: SocketAddr, survivors: &[SocketAddr], control_at: SocketAddr) -> storm::Plan {
    let millis = Duration::from_millis;
    let fleet = |first| Fleet {
        victim: target(victim),
        survivors: survivors.iter().copied().map(target).collect(),
        first,
        sessions: 30,
        source: None,
        backoff: Backoff::new(millis(100), millis(400), 1),
    };
    storm::Plan {
        control: rpc::Plan {
            callers_at: target(control_at),
            callees_at: target(control_at),
            callers: 2,
            callees: 1,
            invoke: None,
            procedure: "bench.echo".into(),
            window: 8,
            payload: 64,
            pace: Pace::Rate(200.0),
            timing: Timing {
                warmup: millis(100),
                stop: Stop::Operations(u64::MAX),
                drain: Duration::from_secs(20),
            },
            pids: vec![std::process::id()],
        },
        fleets: Fleets::Here(vec![fleet(0), fleet(30)]),
        sessions: 60,
        killer: Killer::Operator { bell: Arc::default() },
        before: millis(500),
        after: millis(300),
        patience: Duration::from_secs(30),
        backoff: (millis(100), millis(400)),
        p99_ratio_max: None,
    }
}

/// The storm's report, with the victim killed when it is time.
async fn raise(plan: storm::Plan, victim: Runtime) -> Storm {
    let Killer::Operator { bell } = plan.killer.clone() else {
        panic!("the node has no process of its own");
    };
    let killer = tokio::spawn(async move {
        bell.notified().await;
        victim.shutdown_background();
    });
    let (measured, storm) = storm::run(&plan).await.unwrap();
    killer.await.unwrap();
    assert!(measured.history.is_clean(), "{}", measured.history);
    assert_eq!(measured.history.failed, 0);
    storm
}

#[tokio::test]
async fn all_sessions_come_back_and_the_calls_before_during_and_after_are_told_apart() {
    let (runtime, victim) = mortal_router().await;
    let survivors = [mini_router::start().await, mini_router::start().await];
    let storm = raise(plan(victim, &survivors, survivors[0]), runtime).await;
    assert!(storm.all_back && storm.complaints().is_empty(), "{storm:?}");
    assert_eq!(
        (storm.live, storm.sessions, storm.processes, storm.lost_early),
        (60, 60, 2, 0)
    );
    assert_eq!(storm.refused.values().sum::<u64>(), 0);
    let (half, all) = (storm.back_50_secs.unwrap(), storm.back_100_secs.unwrap());
    assert!(
        half <= storm.back_99_secs.unwrap() && storm.back_99_secs.unwrap() <= all,
        "{storm:?}"
    );
    assert!(storm.before.operations >= 80 && storm.during.operations > 0 && storm.after.operations >= 40);
    assert!(storm.p99_ratio.is_some() && storm.router_cpu_us_per_rejoin_gross.is_some());
    let text = storm.to_string();
    assert!(text.contains("60 of 60 sessions back"), "{text}");
}

#[tokio::test]
async fn sessions_that_find_no_router_are_not_back_and_their_attempts_are_counted() {
    let (runtime, victim) = mortal_router().await;
    let router = mini_router::start().await;
    // A port where nothing listens any more.
    let nowhere = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut plan = plan(victim, &[nowhere], router);
    plan.patience = Duration::from_secs(5);
    let storm = raise(plan, runtime).await;
    assert!(!storm.all_back, "{storm:?}");
    assert_eq!((storm.live, storm.back_50_secs), (0, None));
    assert!(
        storm.refused.keys().any(|reason| reason.contains("refused")),
        "{:?}",
        storm.refused
    );
    assert!(storm.refused.values().sum::<u64>() >= 60);
    assert!(storm.complaints()[0].contains("0 of 60"), "{:?}", storm.complaints());
}

#[tokio::test]
async fn a_node_that_nobody_kills_is_an_error() {
    let router = mini_router::start().await;
    let mut plan = plan(router, &[router], router);
    plan.patience = Duration::from_millis(300);
    let error = storm::run(&plan).await.unwrap_err();
    assert!(format!("{error:#}").contains("still lives"), "{error:#}");
    plan.killer = Killer::Us(0);
    let error = storm::run(&plan).await.unwrap_err();
    assert!(format!("{error:#}").contains("no process to kill"), "{error:#}");
}

/// Ended with the test, however that ends.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

const BENCH: &str = env!("CARGO_BIN_EXE_ringfort-bench");

#[tokio::test]
async fn the_command_kills_the_node_and_writes_result_and_page() {
    let router = mini_router::start().await;
    let survivor = format!("ws://{router}/ws");
    let folder = tempfile::tempdir().unwrap();
    let (json, html) = (folder.path().join("s.json"), folder.path().join("s.html"));
    for (ratio_max, passes) in [("1000000", true), ("0", false)] {
        // The relay in front of the router stands for the node that dies.
        let listen = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut command = Command::new(BENCH);
        command.args([
            "convict-proxy",
            "--listen",
            &listen.to_string(),
            "--target",
            &router.to_string(),
        ]);
        let mut node = Running(command.spawn().unwrap());
        while tokio::net::TcpStream::connect(listen).await.is_err() {
            assert!(node.0.try_wait().unwrap().is_none(), "the proxy has ended");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let mut command = tokio::process::Command::new(BENCH);
        command
            .args([
                "storm",
                "--victim-url",
                &format!("ws://{listen}/ws"),
                "--kill",
                "--victim-pid",
            ])
            .arg(node.0.id().to_string())
            .args(["--survivor-url", &survivor, "--sessions", "41", "--processes", "2"])
            .args([
                "--warmup",
                "0.1",
                "--control-secs",
                "0.5",
                "--after-secs",
                "0.2",
                "--rate",
                "100",
            ])
            .args(["--backoff-ms", "100", "--p99-ratio-max", ratio_max])
            .args(["--pid", &std::process::id().to_string()])
            .arg("--json")
            .arg(&json)
            .arg("--html")
            .arg(&html)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        let output = command.output().await.unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(if passes { 0 } else { 1 }), "{text}");
        assert!(text.contains("41 of 41 sessions back") && !text.contains('\u{1b}'), "{text}");
        assert!(node.0.try_wait().unwrap().is_some(), "it was killed");
        let outcome: Outcome = serde_json::from_str(&std::fs::read_to_string(&json).unwrap()).unwrap();
        assert_eq!((outcome.passed, outcome.load.scenario.as_str()), (passes, "storm"));
        assert!(!outcome.trace.series.is_empty() && outcome.operations > 50);
        assert!(std::fs::read_to_string(&html).unwrap().contains("Sessions that are back"));
    }
}
