//! The outbox of a session: messages in, a chunk for the socket out.

use std::sync::Arc;

use divan::{Bencher, counter::ItemsCount};
use ringfort::{
    session::{
        limits::SessionLimits,
        outbox::{Outbox, OutboxStats, Pushed, Shared, Touched, WireFormat},
    },
    transport::framing::Framing,
    wamp::{Dict, Message, Serializer},
};

use crate::{SERIALIZERS, payload, request};

/// As under TLS, where only the session's task writes: nothing here has a socket.
fn outbox(serializer: Serializer) -> Arc<Outbox> {
    let framing = match serializer {
        Serializer::Json => Framing::WebSocketText,
        Serializer::MsgPack | Serializer::Cbor => Framing::WebSocketBinary,
    };
    let wire = WireFormat {
        serializer,
        framing,
        message_bytes_max: usize::MAX,
    };
    Outbox::new(wire, &SessionLimits::default(), None, Arc::new(OutboxStats::default()))
}

fn take_all(outbox: &Outbox) -> usize {
    let mut bytes = 0;
    while let Some(mut chunk) = outbox.begin_write() {
        let taken = chunk.rest().len();
        chunk.advance(taken);
        bytes += taken;
        outbox.end_write(chunk);
    }
    bytes
}

fn result(serializer: Serializer) -> Message {
    Message::Result {
        request: request(7),
        details: Dict::new(),
        payload: payload(serializer, 64),
    }
}

/// Sixteen answers, then one chunk: what a busy session's turn is.
#[divan::bench(args = SERIALIZERS)]
fn push_16_take(bencher: Bencher<'_, '_>, serializer: Serializer) {
    let (outbox, message) = (outbox(serializer), result(serializer));
    bencher.counter(ItemsCount::new(16u32)).bench_local(|| {
        let mut touched = Touched::new();
        for _ in 0..16 {
            assert_eq!(outbox.push(&message, &mut touched), Pushed::Queued);
        }
        take_all(&outbox)
    });
}

/// One answer in another serializer than it came in.
#[divan::bench]
fn push_transcoded_take(bencher: Bencher<'_, '_>) {
    let (outbox, message) = (outbox(Serializer::Json), result(Serializer::MsgPack));
    bencher.bench_local(|| {
        assert_eq!(outbox.push(&message, &mut Touched::new()), Pushed::Queued);
        take_all(&outbox)
    });
}

/// One event for 1,000 sessions, encoded once, and the chunk of each.
#[divan::bench]
fn push_shared_to_1000_take(bencher: Bencher<'_, '_>) {
    let outboxes: Vec<_> = (0..1000).map(|_| outbox(Serializer::MsgPack)).collect();
    let message = result(Serializer::MsgPack);
    bencher.counter(ItemsCount::new(outboxes.len())).bench_local(|| {
        let (mut touched, mut shared) = (Touched::new(), Shared::new(&message));
        for outbox in &outboxes {
            assert_eq!(outbox.push_shared(&mut shared, &mut touched), Pushed::Queued);
        }
        outboxes.iter().map(|outbox| take_all(outbox)).sum::<usize>()
    });
}
