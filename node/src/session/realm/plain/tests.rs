//! The short way beside the ordinary one: two realms are told the same, and what every session hears is the same to the byte.

use proptest::prelude::*;

use super::*;
use crate::{
    router::SessionInfo,
    session::{limits::SessionLimits, loopback, outbox::WireFormat},
    transport::framing::Framing,
    wamp::{
        RegistrationId, Value,
        codec::{self, Frame, Limits},
        message::code,
    },
};

/// What a session does.
#[derive(Clone, Debug)]
enum Step {
    /// Several at once, as one read brings them.
    Says(usize, Vec<Said>),
    Leaves(usize),
}

#[derive(Clone, Debug)]
enum Said {
    /// One of [`OFFERS`].
    Register(usize),
    Unregister(u64),
    /// A procedure, and by how much the request id is off.
    Call(u8, u64),
    /// Its payload is longer than some peers take.
    LongCall(u8),
    /// Which open invocation is answered; [`ANY`]: one that was perhaps never issued.
    Yield(usize),
    Error(usize),
    Publish,
    Cancel(u64),
}

fn said() -> impl Strategy<Value = Said> {
    prop_oneof![
        3 => (0..OFFERS.len()).prop_map(Said::Register),
        1 => (1u64..4).prop_map(Said::Unregister),
        8 => ((0u8..8), prop_oneof![60 => Just(0u64), 1 => Just(1)]).prop_map(|(procedure, off)| Said::Call(procedure, off)),
        1 => (0u8..6).prop_map(Said::LongCall),
        8 => (0..=ANY).prop_map(Said::Yield),
        1 => (0..=ANY).prop_map(Said::Error),
        1 => Just(Said::Publish),
        1 => (1u64..8).prop_map(Said::Cancel),
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let says = (0..SESSIONS, prop::collection::vec(said(), 1..6)).prop_map(|(who, what)| Step::Says(who, what));
    prop::collection::vec(prop_oneof![60 => says, 1 => (0..SESSIONS).prop_map(Step::Leaves)], 1..40)
}

const SESSIONS: usize = 4;
const ANY: usize = 80;

/// What is registered: a procedure or pattern, how it is compared, who is invoked, how many invocations are taken at once.
const OFFERS: [(&str, &str, &str, u64); 9] = [
    ("com.p0", "exact", "single", 0),
    ("com.p1", "exact", "single", 0),
    ("com.p2", "exact", "single", 2),
    ("com.p3", "exact", "roundrobin", 0),
    ("com.p4", "exact", "random", 0),
    ("com.p5", "exact", "first", 1),
    ("com.p6", "exact", "last", 0),
    ("com.", "prefix", "roundrobin", 0),
    (".p7", "wildcard", "single", 0),
];

/// One realm and its sessions.
struct Side {
    realm: RealmHandle,
    outboxes: Vec<Arc<Outbox>>,
    plainly: bool,
}

impl Side {
    fn new(plainly: bool) -> Self {
        let realm = loopback::realm("realm1");
        // Two of them may have three open calls together.
        let tally = Arc::new(crate::router::Tally::new("role", [""; 3]));
        let pool = crate::router::Pool::new([0, 0, 3], &tally).expect("a limit");
        let outboxes = (0..SESSIONS)
            .map(|n| {
                let wire = WireFormat {
                    // The last one speaks another serializer, and one takes short messages only.
                    serializer: if n == SESSIONS - 1 {
                        Serializer::Json
                    } else {
                        Serializer::MsgPack
                    },
                    framing: if n == 0 {
                        Framing::RawSocket
                    } else {
                        Framing::WebSocketBinary
                    },
                    message_bytes_max: if n == 1 { 200 } else { usize::MAX },
                };
                let limits = SessionLimits {
                    outbox_bytes_max: 4_000,
                    ..SessionLimits::default()
                };
                let outbox = Outbox::new(wire, &limits, None, Arc::default());
                let session = session(n);
                let welcome = Message::Welcome {
                    session,
                    details: Dict::new(),
                };
                let info = SessionInfo {
                    authid: "x".into(),
                    authrole: "guest".into(),
                    authmethod: "anonymous".into(),
                    authprovider: "static".into(),
                    trustlevel: None,
                    features: (n % 2 == 1).then(|| "callee.call_reroute".to_owned()).into_iter().collect(),
                    compat: crate::router::Compat::default(),
                    pools: (n < 2).then(|| Arc::clone(&pool)).into_iter().collect(),
                    whence: None,
                };
                realm.join(session, info, &welcome, &outbox, &mut Touched::new());
                outbox
            })
            .collect();
        Self {
            realm,
            outboxes,
            plainly,
        }
    }

    fn hears(&mut self, who: usize, messages: &[Message]) {
        let serializer = self.outboxes[who].wire().serializer;
        let (mut input, mut gathered) = (Vec::new(), Vec::new());
        for message in messages {
            let at = input.len();
            codec::encode(message, serializer, &mut input).unwrap();
            let limits = Limits::default();
            let plain = Plain::read(serializer, &input, at..input.len(), &limits).filter(|_| self.plainly);
            gathered.push(match plain {
                Some(plain) => Gathered::Plain(plain),
                None => Gathered::Message(codec::decode(serializer, Frame::Borrowed(&input[at..]), &limits).unwrap()),
            });
        }
        let mut touched = Touched::new();
        self.realm.gathered(session(who), gathered, &input, serializer, &mut touched);
    }

    /// The bytes of each session since the last look; every other time they stay, and its outbox fills.
    fn heard(&self, drain: bool) -> Vec<Vec<u8>> {
        let written = |outbox: &Arc<Outbox>| {
            let mut bytes = Vec::new();
            while drain && let Some(mut chunk) = outbox.begin_write() {
                bytes.extend_from_slice(chunk.rest());
                chunk.advance(usize::MAX / 2);
                outbox.end_write(chunk);
            }
            bytes
        };
        self.outboxes.iter().map(written).collect()
    }
}

fn session(n: usize) -> SessionId {
    SessionId::new(1_000 + n as u64).unwrap()
}

/// What is said as a message; `None` if it would answer an invocation and none of `open` is left.
fn message(said: &Said, last: &mut u64, open: &mut Vec<RequestId>, serializer: Serializer) -> Option<Message> {
    let payload = |length: usize| crate::wamp::Payload::from_values(serializer, &[Value::Text("x".repeat(length))], &Dict::new());
    let mut next = |off: u64| {
        *last += 1;
        RequestId::new(*last + off).unwrap()
    };
    let id = |raw: u64| RequestId::new(raw).unwrap();
    let mut answered = |n: usize| match n {
        ANY => Some(id(7)),
        _ if open.is_empty() => None,
        _ => Some(open.remove(n % open.len())),
    };
    let procedure = |n: u8| Uri::from(format!("com.p{n}").as_str());
    let options = Dict::new();
    Some(match *said {
        Said::Register(n) => {
            let (procedure, policy, invoke, concurrency) = OFFERS[n];
            let options = Dict::new().with("match", policy).with("invoke", invoke);
            Message::Register {
                request: next(0),
                options: options.with("concurrency", concurrency),
                procedure: procedure.into(),
            }
        }
        Said::Unregister(n) => Message::Unregister {
            request: next(0),
            registration: RegistrationId::new(n).unwrap(),
        },
        Said::Call(n, off) => Message::Call {
            request: next(off),
            options,
            procedure: procedure(n),
            payload: payload(10),
        },
        Said::LongCall(n) => Message::Call {
            request: next(0),
            options,
            procedure: procedure(n),
            payload: payload(1_500),
        },
        Said::Yield(n) => Message::Yield {
            request: answered(n)?,
            options,
            payload: payload(5),
        },
        Said::Error(n) => Message::Error {
            request_type: code::INVOCATION,
            request: answered(n)?,
            details: options,
            error: ["com.error", "wamp.error.unavailable"][n % 2].into(),
            payload: payload(5),
        },
        Said::Publish => Message::Publish {
            request: next(0),
            options,
            topic: "com.topic".into(),
            payload: payload(5),
        },
        Said::Cancel(n) => Message::Cancel { request: id(n), options },
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn the_short_way_says_what_the_ordinary_one_says(steps in steps(), patience in 1usize..4) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut sides = [Side::new(false), Side::new(true)];
            let mut requests = [0; SESSIONS];
            for (n, step) in steps.iter().enumerate() {
                match step {
                    Step::Says(who, what) => {
                        let serializer = sides[0].outboxes[*who].wire().serializer;
                        let mut open = sides[0].realm.with_core(|core| core.open_invocations(session(*who)));
                        let said = what.iter().filter_map(|said| message(said, &mut requests[*who], &mut open, serializer));
                        let messages: Vec<_> = said.collect();
                        sides.iter_mut().for_each(|side| side.hears(*who, &messages));
                    }
                    Step::Leaves(who) => sides.iter().for_each(|side| side.realm.gone(session(*who))),
                }
                // The log's turn.
                for _ in 0..8 {
                    tokio::task::yield_now().await;
                }
                let drain = n % patience == 0;
                assert_eq!(sides[0].heard(drain), sides[1].heard(drain), "after step {n}");
                let stats = |side: &Side| side.realm.with_core(|core| (core.check_invariants(), *core.stats()));
                assert_eq!(stats(&sides[0]), stats(&sides[1]), "after step {n}");
                let shell = |side: &Side| (side.realm.stats(), side.outboxes.iter().map(|o| o.end()).collect::<Vec<_>>());
                assert_eq!(shell(&sides[0]), shell(&sides[1]), "after step {n}");
            }
        });
    }
}
