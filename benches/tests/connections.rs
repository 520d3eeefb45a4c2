//! Idle sessions, churn and registrations, against a small router and against servers that misbehave.
#![allow(clippy::unwrap_used)] // A test may fail by panicking.

mod mini_router;

use std::{net::SocketAddr, time::Duration};

use ringfort::wamp::Serializer;
use ringfort_bench::{
    convict::{Odds, Proxy},
    load::{Detail, Measured, Stop, Timing, churn, idle, register},
    outcome::{Load, Outcome},
    peer::Target,
    trust::Trust,
    wire::Endpoint,
};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpListener,
};

const SERIALIZERS: [Serializer; 3] = [Serializer::Json, Serializer::MsgPack, Serializer::Cbor];

fn wamp(url: &str, serializer: Serializer, trust: Trust<'_>) -> Target {
    Target::Wamp {
        endpoint: Endpoint::with_trust(url, trust).unwrap(),
        realm: "realm1".into(),
        serializer,
        ticket: None,
    }
}

fn plain(scheme: &str, address: SocketAddr, serializer: Serializer) -> Target {
    let path = if scheme == "ws" { "/ws" } else { "" };
    wamp(&format!("{scheme}://{address}{path}"), serializer, Trust::Nobody)
}

fn floor(address: SocketAddr) -> Target {
    Target::Floor {
        endpoint: Endpoint::parse(&format!("ws://{address}"), None).unwrap(),
    }
}

fn idle_plan(at: Target, sessions: u32) -> idle::Plan {
    idle::Plan {
        at,
        sessions,
        sources: Vec::new(),
        joining: 8,
        settle: Duration::from_millis(100),
        pids: vec![std::process::id()],
        rss_max_kib: None,
    }
}

fn churn_plan(at: Target, kind: churn::Kind, cycles: u64) -> churn::Plan {
    churn::Plan {
        at,
        kind,
        lanes: 4,
        procedure: "bench.churn".into(),
        payload: 64,
        timing: timing(cycles),
        pids: vec![std::process::id()],
        sample_every: Duration::from_millis(5),
        settle: Duration::from_millis(10),
        growth_max_kib: None,
    }
}

fn register_plan(at: Target, window: u32) -> register::Plan {
    register::Plan {
        at,
        sessions: 2,
        window,
        procedure: "bench.register".into(),
        timing: timing(200),
        pids: Vec::new(),
        fsync_dir: None,
        round_trips: false,
        ratio_max: None,
    }
}

fn timing(operations: u64) -> Timing {
    Timing {
        warmup: Duration::from_millis(20),
        stop: Stop::Operations(operations),
        drain: Duration::from_secs(20),
    }
}

fn outcome(measured: Measured, detail: Detail) -> Outcome {
    let load = Load {
        scenario: "test".into(),
        urls: Vec::new(),
        serializer: None,
        senders: 1,
        receivers: 0,
        window: 0,
        payload: 0,
        rate: None,
    };
    Outcome::new(load, measured).with_detail(detail)
}

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

#[tokio::test]
async fn idle_sessions_join_and_stay_from_several_sources() {
    let at = plain("ws", mini_router::start().await, Serializer::MsgPack);
    let mut plan = idle_plan(at, 60);
    plan.sources = plan.at.endpoint().loopback_sources(3).unwrap();
    let (measured, idle) = idle::run(&plan, None).await.unwrap();
    assert_eq!((measured.operations, idle.joined, idle.ended), (60, 60, 0));
    assert!(measured.latency.p50_us > 0.0);
    let (before, after) = (idle.before.unwrap(), idle.after.unwrap());
    let difference = after.rss_kib as f64 - before.rss_kib as f64;
    assert!((idle.per_session.unwrap().rss_kib - difference / 60.0).abs() < 1e-9);
    assert!(outcome(measured, Detail::Idle(idle)).passed);
}

#[tokio::test]
async fn sessions_that_end_too_early_fail_an_idle_run() {
    let (listener, address) = listener().await;
    tokio::spawn(async move {
        for number in 0.. {
            let (tcp, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let socket = tokio_tungstenite::accept_async(tcp).await.unwrap();
                // Every fifth leaves at once, long before the others.
                let stay = if number % 5 == 0 { 0 } else { 60 };
                tokio::time::sleep(Duration::from_secs(stay)).await;
                drop(socket);
            });
        }
    });
    let mut plan = idle_plan(floor(address), 20);
    plan.settle = Duration::from_millis(500);
    let (measured, idle) = idle::run(&plan, None).await.unwrap();
    assert_eq!((idle.joined, idle.ended), (20, 4));
    let outcome = outcome(measured, Detail::Idle(idle));
    assert!(!outcome.passed && outcome.first_failure.as_ref().unwrap().contains("closed"));
    assert!(outcome.to_string().contains("4 sessions ended before"), "{outcome}");
}

#[tokio::test]
async fn sessions_that_are_refused_fail_an_idle_run() {
    let (listener, address) = listener().await;
    tokio::spawn(async move {
        let mut kept = Vec::new();
        while kept.len() < 7 {
            let (tcp, _) = listener.accept().await.unwrap();
            kept.push(tokio_tungstenite::accept_async(tcp).await.unwrap());
        }
        drop(listener);
        std::future::pending::<()>().await;
    });
    let (measured, idle) = idle::run(&idle_plan(floor(address), 30), None).await.unwrap();
    assert_eq!((idle.sessions, idle.joined), (30, 7));
    assert!(!outcome(measured, Detail::Idle(idle)).passed);
}

#[tokio::test]
async fn sessions_come_and_go_over_both_transports_in_every_serializer() {
    let router = mini_router::start().await;
    for serializer in SERIALIZERS {
        for scheme in ["ws", "tcp", "rs"] {
            let at = plain(scheme, router, serializer);
            let plan = churn_plan(at.clone(), churn::Kind::Connect, 50);
            let (measured, churn) = churn::run(&plan).await.unwrap();
            assert!(measured.operations >= 50 && measured.history.sent == 0);
            let steps: Vec<_> = churn.steps.iter().map(|step| step.name.as_str()).collect();
            assert_eq!(steps, ["connect", "join"]);
            assert!(outcome(measured, Detail::Churn(churn)).passed);

            let mut plan = churn_plan(at, churn::Kind::Cycle, 100);
            plan.procedure = format!("bench.churn.{scheme}.{serializer:?}");
            let (measured, churn) = churn::run(&plan).await.unwrap();
            assert!(
                measured.history.sent >= 100 && measured.history.is_clean(),
                "{}",
                measured.history
            );
            assert_eq!(measured.history.sent, measured.history.answered);
            let steps: Vec<_> = churn.steps.iter().map(|step| step.name.as_str()).collect();
            assert_eq!(steps, ["connect", "join", "register", "call", "leave"]);
            let memory = churn.memory.as_ref().unwrap();
            assert!(memory.curve.len() >= 2 && memory.max_kib > 0);
            assert!(
                memory.curve[memory.curve.len() - 1].cycles >= 100,
                "the last sample is taken after the end"
            );
            assert!(outcome(measured, Detail::Churn(churn)).passed);
        }
    }
}

#[tokio::test]
async fn cycles_through_a_proxy_that_doubles_are_convicted() {
    let router = mini_router::start().await;
    let (listener, address) = listener().await;
    let odds = Odds {
        double: 0.2,
        ..Odds::default()
    };
    let proxy = Proxy::new(router, odds, 7);
    tokio::spawn(proxy.clone().serve(listener));
    let at = plain("tcp", address, Serializer::MsgPack);
    let (measured, churn) = churn::run(&churn_plan(at, churn::Kind::Cycle, 100)).await.unwrap();
    assert!(measured.history.doubled > 0, "{}", measured.history);
    assert!(!outcome(measured, Detail::Churn(churn)).passed);
}

#[tokio::test]
async fn cycles_that_fail_are_counted_and_a_dead_router_ends_the_run() {
    let (listener, address) = listener().await;
    tokio::spawn(async move {
        for number in 0.. {
            let (tcp, _) = listener.accept().await.unwrap();
            if number % 5 != 0 {
                tokio::spawn(async move { tokio_tungstenite::accept_async(tcp).await.ok() });
            }
        }
    });
    let plan = churn_plan(floor(address), churn::Kind::Connect, 100);
    let (measured, churn) = churn::run(&plan).await.unwrap();
    assert!(churn.failed_cycles >= 10 && measured.first_failure.is_some(), "{churn:?}");
    assert_eq!(churn.steps[0].name, "enter");
    assert!(!outcome(measured, Detail::Churn(churn)).passed);

    let (nobody, address) = self::listener().await;
    drop(nobody);
    let error = churn::run(&churn_plan(floor(address), churn::Kind::Connect, 100))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("in a row"), "{error:#}");
    let error = churn::run(&churn_plan(floor(address), churn::Kind::Cycle, 1))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("only WAMP routers"), "{error:#}");
}

#[tokio::test]
async fn nats_is_greeted_by_both() {
    let (listener, address) = listener().await;
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (reader, mut writer) = tcp.into_split();
                writer.write_all(b"INFO {}\r\n").await.ok();
                let mut lines = BufReader::new(reader).lines();
                while let Ok(Some(line)) = lines.next_line().await {
                    if line == "PING" {
                        writer.write_all(b"PONG\r\n").await.ok();
                    }
                }
            });
        }
    });
    let at = Target::Nats {
        endpoint: Endpoint::parse(&format!("nats://{address}"), None).unwrap(),
    };
    let (_, idle) = idle::run(&idle_plan(at.clone(), 20), None).await.unwrap();
    assert_eq!((idle.joined, idle.ended), (20, 0));
    let (measured, churn) = churn::run(&churn_plan(at, churn::Kind::Connect, 50)).await.unwrap();
    assert!(measured.operations >= 50 && churn.failed_cycles == 0);
}

#[tokio::test]
async fn registrations_come_and_go_one_by_one_and_many_at_once() {
    let router = mini_router::start().await;
    let folder = tempfile::tempdir().unwrap();
    for (scheme, window) in [("ws", 1), ("tcp", 16)] {
        let mut plan = register_plan(plain(scheme, router, Serializer::MsgPack), window);
        plan.fsync_dir = Some(folder.path().to_owned());
        plan.round_trips = true;
        plan.ratio_max = Some(f64::MAX);
        let (measured, register) = register::run(&plan).await.unwrap();
        assert!(measured.operations >= 200 && measured.latency.p50_us > 0.0);
        assert!(register.unregister.p50_us > 0.0);
        let quiet = register.quiet.as_ref().unwrap();
        let (fsync, round_trip) = (quiet.fsync.unwrap(), quiet.round_trip.unwrap());
        assert_eq!((fsync.count, round_trip.count), (500, 500));
        let bound = 3.0 * fsync.latency.p99_us + 2.0 * round_trip.latency.p99_us;
        assert!((quiet.ratio.unwrap() - measured.latency.p99_us / bound).abs() < 1e-9);
        assert!(outcome(measured, Detail::Register(Box::new(register))).passed);
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is left behind");
}

#[tokio::test]
async fn a_bound_that_is_broken_or_cannot_be_judged_fails_a_register_run() {
    let router = mini_router::start().await;
    let mut plan = register_plan(plain("ws", router, Serializer::Json), 1);
    plan.ratio_max = Some(1.0);
    let (measured, mut register) = register::run(&plan).await.unwrap();
    assert!(
        !outcome(measured.clone(), Detail::Register(Box::new(register.clone()))).passed,
        "nothing was measured beside"
    );
    register.quiet = Some(register::beside::Beside {
        fsync: None,
        round_trip: None,
        bound_us: Some(1.0),
        ratio: Some(1.01),
    });
    assert!(!outcome(measured, Detail::Register(Box::new(register))).passed);
}

#[tokio::test]
async fn registrations_without_an_answer_fail_the_run() {
    let mut plan = register_plan(plain("ws", mini_router::start().await, Serializer::Json), 3);
    plan.procedure = "ignored.bench".into();
    plan.timing.stop = Stop::After(Duration::from_millis(50));
    plan.timing.drain = Duration::from_millis(50);
    let (measured, register) = register::run(&plan).await.unwrap();
    assert_eq!((measured.operations, measured.history.unanswered), (0, 6));
    assert!(!outcome(measured, Detail::Register(Box::new(register))).passed);
}

#[tokio::test]
async fn a_router_that_refuses_every_registration_is_named() {
    let mut plan = register_plan(plain("ws", mini_router::start().await, Serializer::Json), 2);
    plan.procedure = "refused.bench".into();
    let error = register::run(&plan).await.unwrap_err();
    assert!(error.to_string().contains("wamp.error.not_authorized"), "{error:#}");
}

#[tokio::test]
async fn every_scenario_runs_over_tls_and_only_with_a_trusted_certificate() {
    let certificate = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let router = mini_router::start_tls(&certificate.cert.pem(), &certificate.signing_key.serialize_pem()).await;
    let folder = tempfile::tempdir().unwrap();
    let (ca, other) = (folder.path().join("ca.pem"), folder.path().join("other.pem"));
    std::fs::write(&ca, certificate.cert.pem()).unwrap();
    let stranger = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    std::fs::write(&other, stranger.cert.pem()).unwrap();
    for scheme in ["wss", "rss", "tcps"] {
        let url = format!("{scheme}://{router}/ws");
        for trust in [Trust::Authority(&ca), Trust::Anybody] {
            let at = wamp(&url, Serializer::Cbor, trust);
            let (_, idle) = idle::run(&idle_plan(at.clone(), 5), None).await.unwrap();
            assert_eq!((idle.joined, idle.ended), (5, 0), "{url} {trust:?}");
            let (measured, churn) = churn::run(&churn_plan(at.clone(), churn::Kind::Cycle, 10)).await.unwrap();
            assert!(outcome(measured, Detail::Churn(churn)).passed);
            let mut plan = register_plan(at, 4);
            plan.round_trips = true;
            let (measured, register) = register::run(&plan).await.unwrap();
            assert!(measured.operations >= 200 && register.quiet.unwrap().round_trip.is_some());
        }
        let at = wamp(&url, Serializer::Cbor, Trust::Authority(&other));
        let (_, idle) = idle::run(&idle_plan(at, 2), None).await.unwrap();
        assert_eq!(idle.joined, 0, "{url} with another authority");
    }
}
