use super::{writing::KEEP_BYTES_MAX, *};
use crate::{
    transport::framing::Framing,
    wamp::{
        Dict, Payload, PublicationId, RegistrationId, RequestId, Serializer, SubscriptionId, Value, error_uri, message::code,
    },
};

fn outbox_of(serializer: Serializer, message_bytes_max: usize, limits: &SessionLimits) -> Arc<Outbox> {
    let wire = WireFormat {
        serializer,
        framing: Framing::RawSocket,
        message_bytes_max,
    };
    Outbox::new(wire, limits, None, Arc::default())
}

fn outbox(bytes_max: usize) -> Arc<Outbox> {
    let limits = SessionLimits {
        outbox_bytes_max: bytes_max,
        ..SessionLimits::default()
    };
    outbox_of(Serializer::Json, usize::MAX, &limits)
}

fn payload(serializer: Serializer, value: Value) -> Payload {
    Payload::from_values(serializer, &[value], &Dict::new())
}

fn text(len: usize) -> Payload {
    payload(Serializer::Json, Value::Text("x".repeat(len)))
}

fn event(payload: Payload) -> Message {
    Message::Event {
        subscription: SubscriptionId::new(1).unwrap(),
        publication: PublicationId::new(2).unwrap(),
        details: Dict::new(),
        payload,
    }
}

fn result(payload: Payload) -> Message {
    Message::Result {
        request: RequestId::new(3).unwrap(),
        details: Dict::new(),
        payload,
    }
}

fn progress(payload: Payload) -> Message {
    Message::Result {
        request: RequestId::new(3).unwrap(),
        details: Dict::new().with("progress", true),
        payload,
    }
}

fn invocation(payload: Payload) -> Message {
    Message::Invocation {
        request: RequestId::new(4).unwrap(),
        registration: RegistrationId::new(5).unwrap(),
        details: Dict::new(),
        payload,
    }
}

/// Writes everything; the messages as text, without their prefixes.
fn drain(outbox: &Outbox) -> Vec<String> {
    let mut messages = Vec::new();
    while let Some(mut chunk) = outbox.begin_write() {
        let mut rest = chunk.rest();
        while let [a, b, c, d, after @ ..] = rest {
            let (message, after) = after.split_at(u32::from_be_bytes([*a, *b, *c, *d]) as usize);
            messages.push(String::from_utf8_lossy(message).into_owned());
            rest = after;
        }
        chunk.advance(usize::MAX / 2);
        outbox.end_write(chunk);
    }
    messages
}

fn push(outbox: &Arc<Outbox>, message: &Message) -> Pushed {
    outbox.push(message, &mut Touched::new())
}

#[test]
fn messages_leave_in_the_order_in_which_they_came() {
    let outbox = outbox(1 << 20);
    assert_eq!(push(&outbox, &event(text(1))), Pushed::Queued);
    let first = outbox.begin_write().unwrap();
    assert_eq!(push(&outbox, &result(text(1))), Pushed::Queued);
    assert!(outbox.begin_write().is_none(), "one writer at a time");
    outbox.leave_write(first);
    outbox.unblock();
    assert_eq!(drain(&outbox), ["[36,1,2,{},[\"x\"]]", "[50,3,{},[\"x\"]]"]);
    assert_eq!(outbox.queued_bytes(), 0);
}

#[test]
fn events_use_three_quarters_of_the_budget_and_are_dropped_beyond() {
    let outbox = outbox(10_000);
    let sent = (0..20).filter(|_| push(&outbox, &event(text(900))) == Pushed::Queued).count();
    assert_eq!(sent, 8);
    assert_eq!(outbox.stats.events_dropped_full.load(Ordering::Relaxed), 12);
    assert_eq!(push(&outbox, &result(text(900))), Pushed::Queued, "replies still fit");
    assert_eq!(drain(&outbox).len(), 9);
    assert_eq!(push(&outbox, &event(text(900))), Pushed::Queued);
}

#[test]
fn a_session_that_does_not_read_its_answers_is_ended() {
    for message in [result(text(900)), invocation(text(900))] {
        let outbox = outbox(10_000);
        let mut last = Pushed::Queued;
        for _ in 0..11 {
            last = push(&outbox, &message);
        }
        assert_eq!(last, Pushed::SlowConsumer);
        assert_eq!(outbox.end(), Some(End::SlowConsumer));
        assert_eq!(push(&outbox, &message), Pushed::Closed);
        assert_eq!((outbox.queued_bytes(), drain(&outbox).len()), (0, 0), "its memory is free");
        assert_eq!(outbox.stats.slow_consumers.load(Ordering::Relaxed), 1);
    }
}

#[test]
fn messages_are_counted_too() {
    let limits = SessionLimits {
        outbox_messages_max: 10,
        ..SessionLimits::default()
    };
    let outbox = outbox_of(Serializer::Json, usize::MAX, &limits);
    let sent = (0..20).filter(|_| push(&outbox, &event(text(1))) == Pushed::Queued).count();
    assert_eq!(sent, 8);
    for _ in 0..2 {
        assert_eq!(push(&outbox, &result(text(1))), Pushed::Queued);
    }
    assert_eq!(push(&outbox, &result(text(1))), Pushed::SlowConsumer);
}

#[test]
fn a_message_longer_than_the_budget_goes_into_an_empty_outbox() {
    let outbox = outbox(1000);
    assert_eq!(push(&outbox, &event(text(5000))), Pushed::Queued);
    assert_eq!(push(&outbox, &event(text(5000))), Pushed::Losing);
    assert_eq!(push(&outbox, &event(text(5000))), Pushed::Dropped);
    assert_eq!(drain(&outbox).len(), 1);
}

#[test]
fn what_is_too_long_for_the_peer_is_dropped_replaced_or_given_back() {
    let outbox = outbox_of(Serializer::Json, 512, &SessionLimits::default());
    assert_eq!(push(&outbox, &event(text(600))), Pushed::Dropped);
    assert_eq!(
        push(&outbox, &invocation(text(600))),
        Pushed::Undeliverable(error_uri::PAYLOAD_SIZE_EXCEEDED)
    );
    assert_eq!(
        push(&outbox, &progress(text(600))),
        Pushed::Undeliverable(error_uri::PAYLOAD_SIZE_EXCEEDED)
    );
    assert_eq!(push(&outbox, &result(text(600))), Pushed::Queued);
    let error = Message::Error {
        request_type: code::CALL,
        request: RequestId::new(9).unwrap(),
        details: Dict::new(),
        error: "com.mine".into(),
        payload: text(600),
    };
    assert_eq!(push(&outbox, &error), Pushed::Queued);
    assert_eq!(push(&outbox, &event(text(400))), Pushed::Queued);
    let written = drain(&outbox);
    assert_eq!(
        written[..2],
        ["[8,48,3,{},\"wamp.error.payload_size_exceeded\"]", "[8,48,9,{},\"com.mine\"]"]
    );
    assert_eq!(written.len(), 3);
    assert_eq!(outbox.stats.events_dropped_size.load(Ordering::Relaxed), 1);
}

#[test]
fn what_the_serializer_cannot_carry_is_dropped_replaced_or_given_back() {
    let outbox = outbox(1 << 20);
    let nan = || payload(Serializer::Cbor, Value::Float(f64::NAN));
    assert_eq!(push(&outbox, &event(nan())), Pushed::Dropped);
    assert_eq!(
        push(&outbox, &invocation(nan())),
        Pushed::Undeliverable("wamp.error.invalid_payload")
    );
    assert_eq!(push(&outbox, &result(nan())), Pushed::Queued);
    assert_eq!(
        push(&outbox, &event(payload(Serializer::Cbor, Value::Integer(1)))),
        Pushed::Queued
    );
    assert_eq!(
        drain(&outbox),
        ["[8,48,3,{},\"wamp.error.invalid_payload\"]", "[36,1,2,{},[1]]"]
    );
    assert_eq!(outbox.stats.events_dropped_payload.load(Ordering::Relaxed), 1);
}

#[test]
fn a_shared_event_is_the_same_bytes_as_a_single_one() {
    let message = event(payload(Serializer::MsgPack, Value::Text("grün".into())));
    let mut shared = Shared::new(&message);
    let limits = SessionLimits::default();
    for serializer in Serializer::ALL {
        for framing in [Framing::RawSocket, Framing::WebSocketBinary] {
            let wire = WireFormat {
                serializer,
                framing,
                message_bytes_max: usize::MAX,
            };
            let one = Outbox::new(wire, &limits, None, Arc::default());
            let other = Outbox::new(wire, &limits, None, Arc::default());
            assert_eq!(one.push(&message, &mut Touched::new()), Pushed::Queued);
            assert_eq!(other.push_shared(&mut shared, &mut Touched::new()), Pushed::Queued);
            assert_eq!(one.begin_write().unwrap().rest(), other.begin_write().unwrap().rest());
        }
    }
    let small = outbox_of(Serializer::Json, 5, &limits);
    assert_eq!(small.push_shared(&mut shared, &mut Touched::new()), Pushed::Dropped);
}

#[test]
fn nothing_follows_an_abort() {
    let outbox = outbox(1 << 20);
    push(&outbox, &result(text(1)));
    outbox.abort(&Message::Abort {
        details: Dict::new(),
        reason: "a.b".into(),
        payload: Payload::EMPTY,
    });
    assert_eq!(push(&outbox, &event(text(1))), Pushed::Closed);
    outbox.abort(&Message::Abort {
        details: Dict::new(),
        reason: "c.d".into(),
        payload: Payload::EMPTY,
    });
    assert_eq!(drain(&outbox), ["[50,3,{},[\"x\"]]", "[3,{},\"a.b\"]"]);
    assert_eq!(outbox.end(), Some(End::Aborted));
}

#[test]
fn the_first_reason_to_end_stands_but_a_goodbye_gives_way() {
    let outbox = outbox(1 << 20);
    outbox.request_end(End::Goodbye("a.b".into()));
    assert!(outbox.is_open());
    assert_eq!(
        push(&outbox, &result(text(1))),
        Pushed::Queued,
        "what is under way still arrives"
    );
    outbox.request_end(End::SlowConsumer);
    outbox.request_end(End::Aborted);
    assert_eq!(outbox.end(), Some(End::SlowConsumer));
    assert!(!outbox.is_open());
}

#[test]
fn an_outbox_is_touched_once_until_somebody_writes_it() {
    let outbox = outbox(1 << 20);
    let mut touched = Touched::new();
    for _ in 0..3 {
        outbox.push(&event(text(1)), &mut touched);
    }
    assert_eq!(touched.len(), 1);
    let mut other = Touched::new();
    outbox.push(&event(text(1)), &mut other);
    assert!(other.is_empty(), "the first has undertaken to flush");
    drain(&outbox);
    outbox.push(&event(text(1)), &mut other);
    assert_eq!(other.len(), 1);
}

#[test]
fn a_congested_outbox_is_reported_until_it_drains_or_is_a_laggard() {
    let outbox = outbox(20_000);
    let mut touched = Touched::new();
    outbox.push(&event(text(900)), &mut touched);
    assert!(touched.take_congested().is_empty());
    for _ in 0..3 {
        outbox.push(&event(text(900)), &mut touched);
    }
    assert_eq!(touched.take_congested().len(), 1);
    assert_eq!(outbox.congestion(), Some(0));
    let mut chunk = outbox.begin_write().unwrap();
    chunk.advance(1000);
    outbox.leave_write(chunk);
    assert_eq!(outbox.congestion(), Some(1000));
    outbox.set_laggard();
    assert_eq!(outbox.congestion(), None);
    outbox.push(&result(text(900)), &mut touched);
    assert!(touched.take_congested().is_empty(), "nobody waits for a laggard");
    outbox.unblock();
    while let Some(mut chunk) = outbox.begin_write() {
        chunk.advance(usize::MAX / 2);
        outbox.end_write(chunk);
    }
    outbox.push(&event(text(900)), &mut touched);
    for _ in 0..3 {
        outbox.push(&event(text(900)), &mut touched);
    }
    assert_eq!(touched.take_congested().len(), 1, "it has drained, so it is no laggard");
}

#[test]
fn buffers_are_freed_when_drained() {
    let outbox = outbox(1 << 20);
    push(&outbox, &result(text(100_000)));
    drain(&outbox);
    {
        let inner = outbox.inner.lock();
        assert!(inner.front.bytes.capacity() <= KEEP_BYTES_MAX && inner.back.capacity() <= KEEP_BYTES_MAX);
    }
    push(&outbox, &result(text(10)));
    drain(&outbox);
    outbox.trim();
    let inner = outbox.inner.lock();
    assert_eq!(
        (inner.front.bytes.capacity(), inner.back.capacity()),
        (0, 0),
        "an idle session owns no buffer"
    );
}

#[test]
fn pongs_are_refused_to_a_peer_that_does_not_read_them() {
    let outbox = outbox(1000);
    let pong = pong(outbox.wire(), &[1; 100]);
    let taken = (0..100).filter(|_| outbox.push_raw(&pong)).count();
    assert_eq!(taken, 4);
}

#[test]
fn a_long_foreign_payload_is_transcoded_when_it_is_written_and_keeps_its_place() {
    let outbox = outbox(1 << 20);
    let long = |n: u64| payload(Serializer::Cbor, Value::List(vec![n.into(); 4000]));
    push(&outbox, &result(text(1)));
    push(&outbox, &event(long(1)));
    push(&outbox, &result(text(2)));
    push(&outbox, &event(long(2)));
    push(&outbox, &event(long(3)));
    assert!(outbox.push_raw(b"\0\0\0\x02[]"));
    assert_eq!(outbox.inner.lock().later.len(), 3, "nothing was transcoded yet");
    let written = drain(&outbox);
    let beginnings: Vec<_> = written.iter().map(|message| &message[..message.len().min(14)]).collect();
    assert_eq!(
        beginnings,
        [
            "[50,3,{},[\"x\"]",
            "[36,1,2,{},[[1",
            "[50,3,{},[\"xx\"",
            "[36,1,2,{},[[2",
            "[36,1,2,{},[[3",
            "[]"
        ]
    );
    let inner = outbox.inner.lock();
    assert_eq!(
        (inner.queued_bytes(), inner.queued_messages(), inner.later_messages),
        (0, 0, 0)
    );
    assert_eq!(
        inner.admitted,
        written.iter().map(|message| message.len() as u64 + 4).sum::<u64>()
    );
}

#[test]
fn long_foreign_payloads_count_against_the_budget() {
    let outbox = outbox(100_000);
    let long = || payload(Serializer::Cbor, Value::Text("x".repeat(20_000)));
    let sent = (0..10).filter(|_| push(&outbox, &event(long())) == Pushed::Queued).count();
    assert_eq!(sent, 3);
    assert_eq!(push(&outbox, &result(long())), Pushed::Queued);
    assert_eq!(push(&outbox, &result(long())), Pushed::SlowConsumer);
}

#[test]
fn a_long_payload_that_cannot_be_carried_is_dropped_replaced_or_refused_when_it_is_written() {
    let outbox = outbox(1 << 20);
    let long = || payload(Serializer::Cbor, Value::List(vec![Value::Float(f64::NAN); 4000]));
    assert_eq!(push(&outbox, &event(long())), Pushed::Queued);
    assert_eq!(push(&outbox, &invocation(long())), Pushed::Queued);
    assert_eq!(push(&outbox, &progress(long())), Pushed::Queued);
    assert_eq!(push(&outbox, &result(long())), Pushed::Queued);
    assert_eq!(drain(&outbox), ["[8,48,3,{},\"wamp.error.invalid_payload\"]"]);
    assert_eq!(
        outbox.take_refused(),
        [
            (
                Undelivered::Invocation(RequestId::new(4).unwrap()),
                "wamp.error.invalid_payload"
            ),
            (
                Undelivered::Progress(RequestId::new(3).unwrap()),
                "wamp.error.invalid_payload"
            ),
        ]
    );
    assert_eq!(outbox.stats.events_dropped_payload.load(Ordering::Relaxed), 1);

    push(&outbox, &invocation(long()));
    outbox.next_session();
    drain(&outbox);
    assert!(outbox.take_refused().is_empty(), "the session it was for is over");
}

#[test]
fn a_long_shared_event_is_transcoded_once_for_all() {
    let message = event(payload(Serializer::Cbor, Value::Text("x".repeat(5000))));
    let mut shared = Shared::new(&message);
    let boxes: Vec<_> = (0..3).map(|_| outbox(1 << 20)).collect();
    for outbox in &boxes {
        assert_eq!(outbox.push_shared(&mut shared, &mut Touched::new()), Pushed::Queued);
    }
    let first = boxes[0].inner.lock().later[0].encoding.clone();
    assert!(
        boxes
            .iter()
            .all(|outbox| Arc::ptr_eq(&outbox.inner.lock().later[0].encoding, &first))
    );
    let expected = format!("[36,1,2,{{}},[\"{}\"]]", "x".repeat(5000));
    for outbox in &boxes {
        assert!(drain(outbox) == [expected.as_str()]);
    }
}
