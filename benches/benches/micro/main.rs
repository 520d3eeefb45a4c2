//! Micro-benchmarks: what single steps of a message's life cost, without sockets or tasks.
//!
//! `cargo bench -p ringfort-bench` measures, `cargo bench -p ringfort-bench -- outbox` a part; a test run does each step once. Times
//! are of one thread, and allocations are counted beside them. They say where a cost is, not what a router costs: figures that
//! count are taken by `ringfort-bench compare`, see `docs/performance.md`.
#![allow(clippy::unwrap_used)] // A benchmark may fail by panicking.

mod codec;
mod link;
mod matching;
mod outbox;
mod registry;

use ringfort::{
    router::{NodeRef, Slot},
    wamp::{Dict, Message, Payload, RequestId, Serializer, SessionId, Uri, Value},
};

#[global_allocator]
static ALLOCATIONS: divan::AllocProfiler = divan::AllocProfiler::system();

fn main() {
    divan::main();
}

const SERIALIZERS: [Serializer; 3] = [Serializer::Json, Serializer::MsgPack, Serializer::Cbor];

/// This node.
const ME: NodeRef = NodeRef { slot: Slot(1), epoch: 1 };

/// A small and a large number of entries. That a benchmark runs at all needs no million.
fn sizes() -> [usize; 2] {
    let measuring = std::env::args().any(|argument| argument == "--bench");
    [1_000, if measuring { 1_000_000 } else { 2_000 }]
}

fn session(number: u64) -> SessionId {
    SessionId::new(number).unwrap()
}

fn request(number: u64) -> RequestId {
    RequestId::new(number).unwrap()
}

/// One text argument of `len` bytes, as the loads of the harness carry it.
fn payload(serializer: Serializer, len: usize) -> Payload {
    Payload::from_values(serializer, &[Value::Text("x".repeat(len))], &Dict::new())
}

/// A telemetry event's payload: what transcoding has to walk through.
fn structured(serializer: Serializer) -> Payload {
    let reading = |number: i64| {
        let reading = Dict::new()
            .with("sensor", "temperature")
            .with("unit", "K")
            .with("seq", number);
        Value::from(reading.with("value", 293.15 + number as f64 / 8.0).with("good", true))
    };
    let kwargs = Dict::new().with("device", "lamp-17").with("site", "roof");
    Payload::from_values(serializer, &(0..8).map(reading).collect::<Vec<_>>(), &kwargs)
}

fn call(number: u64, procedure: Uri, payload: Payload) -> Message {
    Message::Call {
        request: request(number),
        options: Dict::new(),
        procedure,
        payload,
    }
}
