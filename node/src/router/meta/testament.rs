//! `wamp.session.add_testament` and `.flush_testaments`, and what becomes of testaments.
//!
//! Testaments stand in the registry, on every node. When the log says that their session is over, each node gives them to its own
//! subscribers: the end of a crashed node's session is in the log too, so its testaments are published once, by whatever nodes are
//! left, and their publication id follows from the session and the testament's number. One that is to be retained, or is of a topic with
//! a history, is kept by each node for itself.
//!
//! Choice: there is no session resumption, so both scopes are published when the session ends, `detached` first. `acknowledge` means
//! nothing here. Testaments of a session that ended with all others (`wamp.session.kill_all`) are not published, as the text says.
//!
//! Spec: WAMP advanced profile, "Testament".

use super::{
    Args, Outcome, Realm, Refusal,
    args::{invalid, invalid_uri, text},
};
use crate::{
    router::{
        Disclosure, NodeRef, Op, Right,
        broker::Event,
        op::{Testament, TestamentScope},
        passthru,
        registry::SessionRow,
        turn::{Turn, because},
    },
    wamp::{Dict, Payload, PublicationId, Serializer, SessionId, Uri, Value, codec::options, error_uri, message::code},
};

/// A change of a session's testaments.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Request {
    /// One more.
    Add(Box<Will>),
    /// None of this scope any more.
    Flush(TestamentScope),
}

/// A testament as the caller gives it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Will {
    scope: TestamentScope,
    topic: Uri,
    options: Dict,
    args: Vec<Value>,
    kwargs: Dict,
}

pub(super) fn parser(procedure: &str) -> Option<super::Parser> {
    match procedure {
        "wamp.session.add_testament" => Some(|args| {
            let topic = args.uri("topic")?;
            if topic.is_reserved() {
                return Err(invalid_uri("topic"));
            }
            let will = Will {
                topic,
                args: match args.required("args")? {
                    Value::List(args) => args,
                    Value::Null => Vec::new(),
                    _ => return Err(invalid("argument args is no list")),
                },
                kwargs: match args.required("kwargs")? {
                    Value::Dict(kwargs) => kwargs,
                    Value::Null => Dict::new(),
                    _ => return Err(invalid("argument kwargs is no dict")),
                },
                options: match args.keyword("publish_options") {
                    Some(Value::Dict(options)) => checked(options)?,
                    None => Dict::new(),
                    Some(_) => return Err(invalid("publish_options is no dict")),
                },
                scope: scope(args)?,
            };
            Ok(super::Request::Testament(Request::Add(Box::new(will))))
        }),
        "wamp.session.flush_testaments" => Some(|args| Ok(super::Request::Testament(Request::Flush(scope(args)?)))),
        _ => None,
    }
}

fn scope(args: &mut Args) -> Result<TestamentScope, Refusal> {
    let Some(name) = args.keyword("scope") else {
        return Ok(TestamentScope::Destroyed);
    };
    let name = text(name, "scope")?;
    TestamentScope::from_name(&name).ok_or_else(|| invalid("scope is neither detached nor destroyed"))
}

fn checked(mut dict: Dict) -> Result<Dict, Refusal> {
    // Clients write null for options they do not set.
    dict.0.retain(|(_, value)| *value != Value::Null);
    match options::check(code::PUBLISH, &dict) {
        Ok(()) => Ok(dict),
        Err(wrong) => Err(invalid(&format!("publish option {} is not {}", wrong.key, wrong.expected))),
    }
}

impl Realm {
    /// Hands a change of a session's testaments to the log. What Crossbar answers is returned: the id under which a testament will be
    /// published, or how many are dropped.
    pub(super) fn propose_testament(
        &mut self,
        turn: &mut Turn<'_>,
        session: SessionId,
        serializer: Serializer,
        request: &Request,
    ) -> Result<u64, Refusal> {
        if let Request::Add(will) = request
            && !self.verdict(session, Right::Publish, &will.topic).allowed
        {
            self.stats.unauthorized += 1;
            return Err((error_uri::NOT_AUTHORIZED, self.missing(session, Right::Publish, &will.topic)));
        }
        if let Request::Add(will) = request
            && will.options.bool("disclose_me") == Some(true)
            && self.disclosure(session, Right::Publish, &will.topic) == Disclosure::Deny
        {
            let details = because("this realm does not disclose who publishes (setting disclose = \"deny\")");
            return Err((error_uri::DISCLOSE_ME_DISALLOWED, details));
        }
        if let Request::Add(will) = request {
            let payload = Payload::from_values(serializer, &will.args, &will.kwargs);
            self.check_event(&will.topic, &will.options, &payload)
                .map_err(|details| (error_uri::INVALID_ARGUMENT, details))?;
        }
        let (there, under_way) = (
            self.registry.testaments(session).len(),
            self.meta.testaments_under_way(session),
        );
        if matches!(request, Request::Add(_)) && there + under_way >= self.config.limits.testaments_max {
            let details = because("too many testaments of this session (setting testaments_per_session_max)");
            return Err((error_uri::UNAVAILABLE, details));
        }
        let number = self.meta.note_testament(session);
        let told = match request {
            Request::Add(_) => self.testament_id(self.me, session, number).get(),
            Request::Flush(scope) => {
                let there = self.registry.testaments(session).iter();
                there.filter(|testament| testament.scope == *scope).count() as u64
            }
        };
        turn.propose(match request {
            Request::Add(will) => Op::AddTestament {
                session,
                testament: Box::new(Testament {
                    number,
                    scope: will.scope,
                    topic: will.topic.clone(),
                    options: Payload::from_values(Serializer::Cbor, &[], &will.options),
                    payload: Payload::from_values(serializer, &will.args, &will.kwargs),
                }),
            },
            Request::Flush(scope) => Op::FlushTestaments {
                session,
                number,
                scope: *scope,
            },
        });
        Ok(told)
    }

    /// The id under which a testament is published, the same on every node.
    fn testament_id(&self, node: NodeRef, session: SessionId, number: u64) -> PublicationId {
        let facts = [u64::from(node.slot.0), u64::from(node.epoch), session.get(), number];
        self.ids.derived("testament", &facts)
    }

    /// The answer, once the log has the change; `unknown`: it does not in time. `told`: what the caller expects beyond the text.
    pub(super) fn answer_testament(unknown: bool, told: Option<u64>) -> Outcome {
        if unknown {
            return Err((error_uri::UNAVAILABLE, because("no quorum, outcome unknown")));
        }
        Ok(told.map(Value::from).into_iter().collect())
    }

    /// The log says that a session is over: gives its testaments to the subscribers of this node.
    pub(super) fn publish_testaments(
        &mut self,
        turn: &mut Turn<'_>,
        session: SessionId,
        row: &SessionRow,
        mut testaments: Vec<Testament>,
    ) {
        testaments.sort_by_key(|testament| (testament.scope, testament.number));
        for (nth, testament) in (0..).zip(testaments) {
            let publication = self.testament_id(row.node, session, testament.number);
            self.stats.testaments += 1;
            // What was proposed can be read; options that cannot would leave the event to everybody.
            let Ok((_, options)) = testament.options.to_values() else {
                continue;
            };
            // Judged anew: the right may have gone since.
            let Some(disclosure) = self.row_may_publish(row, &testament.topic) else {
                self.stats.unauthorized += 1;
                continue;
            };
            let (audience, disclose_me) = self.audience_of(&testament.topic, &options);
            let disclose = disclose_me && disclosure != Disclosure::Deny || disclosure == Disclosure::Always;
            let mut details = self.details_of(session, &row.authid, &row.authrole, disclose);
            passthru::copy(&options, &mut details);
            if let Some(key) = options.text("_key") {
                details.set("_key", key);
            }
            let event = Event {
                publication,
                topic: testament.topic,
                publisher: session,
                exclude_me: true,
                acknowledged: false,
                keep: None,
                audience,
                details,
                payload: testament.payload,
            };
            let retain = options.bool("retain") == Some(true);
            if let Some(mark) = self.testament_mark(turn.now, &event, retain, nth, row.node) {
                // Also in a store that nodes share: which of them will still be there nobody knows.
                self.keep(turn, &event, mark, true);
            }
            self.deliver(turn, event);
        }
    }
}
