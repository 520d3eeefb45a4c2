//! The loads and the convicting proxy against a WAMP router: clean runs are acquitted, each disturbance is convicted.
#![allow(clippy::unwrap_used)] // A test may fail by panicking.

mod mini_router;

use std::{net::SocketAddr, time::Duration};

use ringfort::wamp::Serializer;
use ringfort_bench::{
    convict::{Odds, Proxy},
    load::{Measured, Pace, Stop, Timing, pubsub, rpc},
    peer::Target,
    wire::Endpoint,
};
use tokio::net::TcpListener;

fn target(scheme: &str, address: SocketAddr, serializer: Serializer) -> Target {
    let path = if scheme == "ws" { "/ws" } else { "" };
    let endpoint = Endpoint::parse(&format!("{scheme}://{address}{path}"), None).unwrap();
    Target::Wamp {
        endpoint,
        realm: "realm1".into(),
        serializer,
        ticket: None,
    }
}

fn timing(operations: u64, drain: Duration) -> Timing {
    Timing {
        warmup: Duration::from_millis(20),
        stop: Stop::Operations(operations),
        drain,
    }
}

fn rpc_plan(at: &Target) -> rpc::Plan {
    rpc::Plan {
        callers_at: at.clone(),
        callees_at: at.clone(),
        callers: 4,
        callees: 2,
        invoke: None,
        procedure: "bench.echo".into(),
        window: 4,
        payload: 64,
        pace: Pace::Closed,
        timing: timing(2000, Duration::from_secs(20)),
        pids: vec![std::process::id()],
    }
}

fn pubsub_plan(at: &Target) -> pubsub::Plan {
    pubsub::Plan {
        publishers_at: at.clone(),
        subscribers_at: vec![at.clone()],
        publishers: 2,
        subscribers: 5,
        topic: "bench.topic".into(),
        window: 4,
        pacing: pubsub::Pacing::Delivery,
        payload: 64,
        pace: Pace::Closed,
        timing: timing(5000, Duration::from_secs(20)),
        pids: Vec::new(),
    }
}

fn assert_clean(measured: &Measured, operations: u64) {
    assert!(measured.history.is_clean(), "{}", measured.history);
    assert_eq!(measured.history.failed, 0, "{:?}", measured.first_failure);
    assert!(measured.operations >= operations);
    let latency = measured.latency;
    assert!(latency.p50_us > 0.0 && latency.p50_us <= latency.p99_us && latency.p99_us <= latency.p999_us);
}

#[tokio::test]
async fn calls_and_events_over_both_transports_in_every_serializer() {
    let router = mini_router::start().await;
    for serializer in [Serializer::Json, Serializer::MsgPack, Serializer::Cbor] {
        for scheme in ["ws", "tcp"] {
            let at = target(scheme, router, serializer);
            let mut plan = rpc_plan(&at);
            plan.procedure = format!("bench.{scheme}.{serializer:?}");
            let measured = rpc::run(&plan).await.unwrap();
            assert_clean(&measured, 2000);
            assert_eq!(measured.history.sent, measured.history.answered);
            assert!(measured.routers[&std::process::id()].rss_kib > 0);
            let mut plan = pubsub_plan(&at);
            plan.topic = format!("bench.topic.{scheme}.{serializer:?}");
            let measured = pubsub::run(&plan).await.unwrap();
            assert_clean(&measured, 5000);
            assert_eq!(measured.history.delivered, 5 * measured.history.sent);
        }
    }
}

#[tokio::test]
async fn large_payloads_pass_whole() {
    let at = target("ws", mini_router::start().await, Serializer::MsgPack);
    let mut plan = rpc_plan(&at);
    (plan.payload, plan.timing.stop) = (300_000, Stop::Operations(50));
    assert_clean(&rpc::run(&plan).await.unwrap(), 50);
}

#[tokio::test]
async fn acknowledged_publications_pace_a_publisher_too() {
    let at = target("ws", mini_router::start().await, Serializer::Json);
    let mut plan = pubsub_plan(&at);
    plan.pacing = pubsub::Pacing::Acknowledgement;
    let measured = pubsub::run(&plan).await.unwrap();
    assert_clean(&measured, 5000);
    assert_eq!(measured.history.answered, measured.history.sent);
}

#[tokio::test]
async fn a_fixed_rate_is_kept() {
    let at = target("ws", mini_router::start().await, Serializer::MsgPack);
    let stop = Stop::After(Duration::from_secs(2));
    let (mut calls, mut events) = (rpc_plan(&at), pubsub_plan(&at));
    (calls.pace, calls.timing.stop) = (Pace::Rate(500.0), stop);
    (events.pace, events.timing.stop) = (Pace::Rate(100.0), stop);
    // The schedule is exact (see its own tests); here a machine under load may be late with some, but never early.
    let kept = |measured: &Measured, rate: f64| {
        let due = rate * measured.elapsed.as_secs_f64();
        (0.5 * due..=1.1 * due).contains(&(measured.operations as f64))
    };
    let measured = rpc::run(&calls).await.unwrap();
    assert_clean(&measured, 1);
    assert!(kept(&measured, 500.0), "{measured:?} at 500/s");
    let measured = pubsub::run(&events).await.unwrap();
    assert_clean(&measured, 1);
    assert!(kept(&measured, 500.0), "{measured:?} at 100/s to 5");
}

#[tokio::test]
async fn refused_calls_are_counted_and_named() {
    let at = target("ws", mini_router::start().await, Serializer::MsgPack);
    let nowhere = mini_router::start().await;
    let mut plan = rpc_plan(&at);
    plan.callees_at = target("ws", nowhere, Serializer::MsgPack);
    plan.timing.stop = Stop::After(Duration::from_millis(50));
    let measured = rpc::run(&plan).await.unwrap();
    assert_eq!(measured.operations, 0);
    assert!(measured.history.is_clean() && measured.history.failed > 0);
    assert_eq!(measured.first_failure.as_deref(), Some("wamp.error.no_such_procedure"));
}

/// Runs calls and events through the proxy; everything else is as in the clean runs.
async fn disturbed(scheme: &str, odds: Odds) -> (Measured, Measured, Proxy) {
    let router = mini_router::start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = target(scheme, listener.local_addr().unwrap(), Serializer::MsgPack);
    let proxy = Proxy::new(router, odds, 42);
    tokio::spawn(proxy.clone().serve(listener));
    let (mut calls, mut events) = (rpc_plan(&at), pubsub_plan(&at));
    // A dropped message closes its place in the window for good, so the runs end by time and need little patience.
    calls.timing.stop = Stop::After(Duration::from_millis(400));
    calls.timing.drain = Duration::from_millis(500);
    events.timing = calls.timing;
    (rpc::run(&calls).await.unwrap(), pubsub::run(&events).await.unwrap(), proxy)
}

#[tokio::test]
async fn the_checker_acquits_the_proxy_when_it_only_relays() {
    for scheme in ["ws", "tcp"] {
        let (calls, events, proxy) = disturbed(scheme, Odds::default()).await;
        assert_clean(&calls, 100);
        assert_clean(&events, 100);
        assert!(
            proxy.counts.seen.load(std::sync::atomic::Ordering::Relaxed) > 200,
            "it did see the deliveries"
        );
    }
}

#[tokio::test]
async fn the_checker_convicts_dropping() {
    for scheme in ["ws", "tcp"] {
        let (calls, events, proxy) = disturbed(
            scheme,
            Odds {
                drop: 0.05,
                ..Odds::default()
            },
        )
        .await;
        assert!(calls.history.lost > 0 && calls.history.unanswered > 0, "{}", calls.history);
        assert!(events.history.lost > 0, "{}", events.history);
        assert_eq!(calls.history.lost + events.history.lost, proxy.counts.disturbed());
    }
}

#[tokio::test]
async fn the_checker_convicts_doubling() {
    for scheme in ["ws", "tcp"] {
        let (calls, events, proxy) = disturbed(
            scheme,
            Odds {
                double: 0.05,
                ..Odds::default()
            },
        )
        .await;
        assert!(calls.history.doubled > 0 && events.history.doubled > 0);
        assert_eq!(calls.history.doubled + events.history.doubled, proxy.counts.disturbed());
        assert_eq!(calls.history.lost + events.history.lost, 0);
    }
}

#[tokio::test]
async fn the_checker_convicts_reordering() {
    for scheme in ["ws", "tcp"] {
        let (calls, events, _) = disturbed(
            scheme,
            Odds {
                reorder: 0.05,
                ..Odds::default()
            },
        )
        .await;
        assert!(calls.history.reordered > 0, "{}", calls.history);
        assert!(events.history.reordered > 0, "{}", events.history);
        assert_eq!(calls.history.violations(), calls.history.reordered);
        assert_eq!(events.history.violations(), events.history.reordered);
    }
}
