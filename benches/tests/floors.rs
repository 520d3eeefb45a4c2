//! The loads against each floor, the two-hop one included.
#![allow(clippy::unwrap_used)] // A test may fail by panicking.

use std::{net::SocketAddr, time::Duration};

use ringfort_bench::{
    floor::{BATCH_MAX, hub::Hub, link, tcp_relay, ws_relay},
    load::{Pace, Stop, Timing, pubsub, rpc},
    peer::Target,
    wire::Endpoint,
};
use tokio::net::TcpListener;

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

async fn websocket_relay(hub: &Hub) -> Target {
    let (listener, address) = listener().await;
    tokio::spawn(ws_relay::serve(listener, hub.clone(), BATCH_MAX));
    floor("ws", address)
}

fn floor(scheme: &str, address: SocketAddr) -> Target {
    Target::Floor {
        endpoint: Endpoint::parse(&format!("{scheme}://{address}"), None).unwrap(),
    }
}

/// Callers and publishers at `near`, callees and subscribers at `far`.
async fn load(near: &Target, far: &Target) {
    let timing = Timing {
        warmup: Duration::from_millis(20),
        stop: Stop::Operations(3000),
        drain: Duration::from_secs(20),
    };
    let calls = rpc::Plan {
        callers_at: near.clone(),
        callees_at: far.clone(),
        callers: 8,
        callees: 1,
        invoke: None,
        procedure: String::new(),
        window: 8,
        payload: 64,
        pace: Pace::Closed,
        timing,
        pids: Vec::new(),
    };
    let events = pubsub::Plan {
        publishers_at: near.clone(),
        subscribers_at: vec![far.clone()],
        publishers: 2,
        subscribers: 20,
        topic: String::new(),
        window: 4,
        pacing: pubsub::Pacing::Delivery,
        payload: 1024,
        pace: Pace::Closed,
        timing,
        pids: Vec::new(),
    };
    for measured in [rpc::run(&calls).await.unwrap(), pubsub::run(&events).await.unwrap()] {
        assert!(measured.history.is_clean(), "{}", measured.history);
        assert!(measured.operations >= 3000);
        assert_eq!(measured.history.failed, 0);
    }
}

#[tokio::test]
async fn the_websocket_relay_carries_both_loads() {
    let at = websocket_relay(&Hub::new()).await;
    load(&at, &at).await;
}

#[tokio::test]
async fn the_tcp_relay_carries_both_loads() {
    let (listener, address) = listener().await;
    tokio::spawn(tcp_relay::serve(listener, Hub::new()));
    let at = floor("tcp", address);
    load(&at, &at).await;
}

#[tokio::test]
async fn two_relays_joined_by_a_stream_carry_both_loads_across_and_back() {
    let (near, far) = (Hub::new(), Hub::new());
    let (at_near, at_far) = (websocket_relay(&near).await, websocket_relay(&far).await);
    // The listener of tonic binds by itself, so a free port is found and given back first.
    let (listener, address) = listener().await;
    drop(listener);
    tokio::spawn(link::listen(address, far));
    tokio::spawn(link::dial(address, near.clone()));
    near.linked().await;
    load(&at_near, &at_far).await;
}
