//! A realm of one node: which spans there are of what its sessions say, and that nothing of them is left behind.

use std::sync::atomic::Ordering;

use super::*;
use crate::{
    config,
    router::SessionInfo,
    session::{
        limits::SessionLimits,
        loopback,
        outbox::{Outbox, Touched, WireFormat},
        realm::{Gathered, RealmHandle},
    },
    telemetry::traces::Recorded,
    transport::framing::Framing,
    wamp::{
        Payload, Serializer, Value,
        codec::{self, Frame, Limits},
        trace::TRACEPARENT,
    },
};

struct Node {
    realm: RealmHandle,
    sessions: Vec<Arc<Outbox>>,
    recorded: Option<Recorded>,
}

fn session(n: usize) -> SessionId {
    SessionId::new(1_000 + n as u64).unwrap()
}

fn id(n: u64) -> RequestId {
    RequestId::new(n).unwrap()
}

impl Node {
    /// Three sessions in a realm of which that part is traced; `None`: it has no tracer.
    fn new(ratio: Option<f64>) -> Self {
        let realm = loopback::realm("realm1");
        let recorded = ratio.map(|ratio| {
            let settings = config::Traces {
                ratio,
                per_second_max: 1_000_000,
                ..config::Traces::default()
            };
            let (tracer, recorded) = Recorded::new(&settings);
            realm.trace_by(tracer, "n1".into());
            recorded
        });
        let sessions = (0..3).map(|n| {
            let wire = WireFormat {
                serializer: Serializer::MsgPack,
                framing: Framing::RawSocket,
                message_bytes_max: usize::MAX,
            };
            let outbox = Outbox::new(wire, &SessionLimits::default(), None, Arc::default());
            let welcome = Message::Welcome {
                session: session(n),
                details: Dict::new(),
            };
            let info = SessionInfo {
                authid: "x".into(),
                authrole: "guest".into(),
                authmethod: "anonymous".into(),
                authprovider: "static".into(),
                trustlevel: None,
                features: vec!["callee.call_canceling".into()],
                compat: crate::router::Compat::default(),
                pools: crate::router::Pools::default(),
                whence: None,
            };
            realm.join(session(n), info, &welcome, &outbox, &mut Touched::new());
            outbox
        });
        let sessions = sessions.collect();
        let node = Self {
            realm,
            sessions,
            recorded,
        };
        (0..3).for_each(|n| drop(node.heard(n)));
        node
    }

    /// As it comes out of a read buffer.
    fn says(&self, who: usize, message: &Message) {
        let mut input = Vec::new();
        codec::encode(message, Serializer::MsgPack, &mut input).unwrap();
        let limits = Limits::default();
        let gathered = match Plain::read(Serializer::MsgPack, &input, 0..input.len(), &limits) {
            Some(plain) => Gathered::Plain(plain),
            None => Gathered::Message(codec::decode(Serializer::MsgPack, Frame::Borrowed(&input), &limits).unwrap()),
        };
        let mut touched = Touched::new();
        self.realm
            .gathered(session(who), [gathered], &input, Serializer::MsgPack, &mut touched);
    }

    fn heard(&self, who: usize) -> Vec<Message> {
        let mut messages = Vec::new();
        while let Some(mut chunk) = self.sessions[who].begin_write() {
            let mut rest = chunk.rest();
            while let [a, b, c, d, after @ ..] = rest {
                let (message, after) = after.split_at(u32::from_be_bytes([*a, *b, *c, *d]) as usize);
                messages.push(codec::decode(Serializer::MsgPack, Frame::Borrowed(message), &Limits::default()).unwrap());
                rest = after;
            }
            chunk.advance(usize::MAX / 2);
            self.sessions[who].end_write(chunk);
        }
        messages
    }

    async fn registers(&self, who: usize, request: u64) {
        self.says(
            who,
            &Message::Register {
                request: id(request),
                options: Dict::new(),
                procedure: "com.add".into(),
            },
        );
        for _ in 0..8 {
            tokio::task::yield_now().await;
        }
        assert!(matches!(self.heard(who)[..], [Message::Registered { .. }]));
    }

    fn calls(&self, who: usize, request: u64, options: Dict) {
        self.says(
            who,
            &Message::Call {
                request: id(request),
                options,
                procedure: "com.add".into(),
                payload: payload(),
            },
        );
    }

    /// The id and the details of the only INVOCATION.
    fn invocation(&self, who: usize) -> (RequestId, Dict) {
        match self.heard(who).pop() {
            Some(Message::Invocation { request, details, .. }) => (request, details),
            other => panic!("{other:?}"),
        }
    }

    fn yields(&self, who: usize, request: RequestId) {
        let (options, payload) = (Dict::new(), payload());
        self.says(
            who,
            &Message::Yield {
                request,
                options,
                payload,
            },
        );
    }

    fn spans(&mut self) -> Vec<Told> {
        self.recorded.as_mut().map(Recorded::take).unwrap_or_default()
    }

    fn open(&self) -> usize {
        let state = self.realm.shared.lock();
        let traces = state.traces.as_ref().unwrap();
        traces.calls.0.len() + traces.links.0.len() + traces.invocations.0.len() + traces.fanouts.len()
    }
}

use crate::telemetry::traces::Told;

fn payload() -> Payload {
    Payload::from_values(Serializer::MsgPack, &[Value::Text("x".into())], &Dict::new())
}

fn given(flag: &str) -> Dict {
    let text = format!("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-{flag}");
    Dict::new().with(TRACEPARENT, text)
}

#[tokio::test]
async fn a_call_of_one_node_has_two_spans_one_the_cause_of_the_other() {
    let mut node = Node::new(Some(1.0));
    node.registers(0, 1).await;
    node.calls(1, 1, Dict::new());
    let (request, details) = node.invocation(0);
    let context = TraceContext::of(&details).unwrap();
    node.yields(0, request);
    assert!(matches!(&node.heard(1)[..], [Message::Result { details, .. }] if details.is_empty()));
    let spans = node.spans();
    let [invocation, call] = &spans[..] else { panic!("{spans:?}") };
    assert_eq!((invocation.name, call.name), ("INVOCATION", "CALL"));
    assert_eq!((invocation.parent, call.parent), (Some(call.context.span), None));
    assert_eq!((invocation.context, call.context.trace), (context, context.trace));
    assert_eq!((call.error.as_deref(), invocation.error.as_deref()), (None, None));
    assert_eq!(node.open(), 0);
}

#[tokio::test]
async fn an_unsampled_call_goes_the_short_way_and_carries_nothing() {
    let (mut none, mut zero) = (Node::new(None), Node::new(Some(0.0)));
    for node in [&none, &zero] {
        node.registers(0, 1).await;
        for n in 1..50 {
            node.calls(1, n, Dict::new());
            let (request, details) = node.invocation(0);
            assert!(details.is_empty());
            node.yields(0, request);
            assert!(matches!(&node.heard(1)[..], [Message::Result { .. }]));
        }
    }
    assert_eq!(none.realm.stats(), zero.realm.stats());
    assert!(none.spans().is_empty() && zero.spans().is_empty());
    assert_eq!(zero.open(), 0);
}

#[tokio::test]
async fn what_a_client_says_of_its_trace_is_handed_on_and_counts() {
    for (ratio, flag, spans) in [(None, "01", 0), (Some(0.0), "01", 2), (Some(1.0), "00", 0)] {
        let mut node = Node::new(ratio);
        node.registers(0, 1).await;
        node.calls(1, 1, given(flag));
        let (request, details) = node.invocation(0);
        let (before, after) = (TraceContext::of(&given(flag)).unwrap(), TraceContext::of(&details).unwrap());
        assert_eq!(
            (after.trace, after.sampled),
            (before.trace, before.sampled),
            "{ratio:?} {flag}"
        );
        assert_eq!(after.span == before.span, spans == 0, "{ratio:?} {flag}");
        node.yields(0, request);
        let told = node.spans();
        assert_eq!(told.len(), spans, "{ratio:?} {flag}");
        if let Some(call) = told.iter().find(|span| span.name == "CALL") {
            assert_eq!(call.parent, Some(before.span));
        }
        node.calls(1, 2, Dict::new().with(TRACEPARENT, "no trace"));
        let (_, details) = node.invocation(0);
        assert_eq!(TraceContext::of(&details).is_some(), ratio == Some(1.0));
    }
}

#[tokio::test]
async fn every_way_out_of_a_call_ends_its_spans() {
    let mut node = Node::new(Some(1.0));
    node.registers(0, 1).await;
    let outcome = |node: &mut Node| {
        let spans = node.spans();
        let error = |name: &str| spans.iter().find(|span| span.name == name).map(|span| span.error.clone());
        (error("CALL").unwrap(), error("INVOCATION"))
    };
    let error = |text: &str| Some(text.to_owned());

    // The callee answers with an error.
    node.calls(1, 1, Dict::new());
    let (request, _) = node.invocation(0);
    node.says(
        0,
        &Message::Error {
            request_type: code::INVOCATION,
            request,
            details: Dict::new(),
            error: "com.broken".into(),
            payload: Payload::EMPTY,
        },
    );
    assert_eq!(outcome(&mut node), (error("com.broken"), Some(error("com.broken"))));

    // The caller cancels, and the callee is interrupted.
    node.calls(1, 2, Dict::new());
    node.invocation(0);
    let (request, options) = (id(2), Dict::new().with("mode", "killnowait"));
    node.says(1, &Message::Cancel { request, options });
    assert_eq!(outcome(&mut node), (error("wamp.error.canceled"), Some(error("interrupted"))));

    // Nobody has the procedure.
    node.says(
        1,
        &Message::Call {
            request: id(3),
            options: Dict::new(),
            procedure: "com.nobody".into(),
            payload: payload(),
        },
    );
    for _ in 0..8 {
        tokio::task::yield_now().await;
    }
    assert_eq!(outcome(&mut node), (error("wamp.error.no_such_procedure"), None));

    // The caller leaves; the callee answers nevertheless.
    node.calls(2, 1, Dict::new());
    node.heard(0);
    node.realm.gone(session(2));
    let spans = node.spans();
    assert_eq!(spans[0].error, error("the caller has left"));
    assert_eq!(spans[1].error, error("interrupted"));

    // The callee leaves.
    node.calls(1, 4, Dict::new());
    node.realm.gone(session(0));
    let (call, invocation) = outcome(&mut node);
    assert_eq!(
        (call, invocation),
        (error("wamp.error.canceled"), Some(error("the callee has left")))
    );
    assert_eq!(node.open(), 0);
}

#[tokio::test]
async fn an_event_is_told_by_its_publisher_and_by_each_fan_out() {
    let mut node = Node::new(Some(1.0));
    for who in 0..2 {
        let (request, options) = (id(1), Dict::new());
        node.says(
            who,
            &Message::Subscribe {
                request,
                options,
                topic: "com.news".into(),
            },
        );
    }
    for _ in 0..8 {
        tokio::task::yield_now().await;
    }
    (0..2).for_each(|who| drop(node.heard(who)));
    let publish = |node: &Node, request: u64, topic: &str| {
        let options = Dict::new().with("acknowledge", true);
        let message = Message::Publish {
            request: id(request),
            options,
            topic: topic.into(),
            payload: payload(),
        };
        node.says(2, &message);
    };
    publish(&node, 1, "com.news");
    let spans = node.spans();
    let [event, published] = &spans[..] else { panic!("{spans:?}") };
    assert_eq!((event.name, published.name), ("EVENT", "PUBLISH"));
    assert_eq!(event.parent, Some(published.context.span));
    for who in 0..2 {
        let heard = node.heard(who);
        assert!(matches!(&heard[..], [Message::Event { details, .. }] if TraceContext::of(details) == Some(event.context)));
    }
    publish(&node, 2, "not a topic");
    let spans = node.spans();
    assert_eq!(spans[0].error.as_deref(), Some("wamp.error.invalid_uri"));
    assert_eq!((spans.len(), node.open()), (1, 0));
}

#[tokio::test]
async fn calls_that_nobody_answers_take_bounded_room() {
    let mut node = Node::new(Some(1.0));
    node.registers(0, 1).await;
    for n in 1..=OPEN_MAX as u64 + 10 {
        node.calls(1, n, Dict::new());
    }
    assert_eq!(node.open(), 2 * OPEN_MAX);
    let spans = node.spans();
    assert_eq!(spans.len(), 20);
    assert!(spans.iter().all(|span| span.error.as_deref() == Some(UNFINISHED)));
    node.realm.gone(session(0));
    node.realm.gone(session(1));
    assert_eq!(node.open(), 0);
    let counts = node
        .recorded
        .as_ref()
        .map(|recorded| recorded.tracer().counts().overflowed.load(Ordering::Relaxed));
    assert_eq!(node.spans().len() as u64 + counts.unwrap(), 2 * OPEN_MAX as u64);
}
