//! `wamp.reflect.define`, `.undefine` and `.describe`, and `wamp.reflection.{topic,procedure,error}.{list,describe}`.
//!
//! Choice, since the text names these and says no more; where Crossbar had an API its arguments and answers are kept:
//!
//! | procedure | arguments | answer |
//! |---|---|---|
//! | `wamp.reflect.define` | uri, definition | true: it is new; false: it replaces another one; null: it stood there already |
//! | `wamp.reflect.define` | uri, null | as `undefine` of that URI, compared by equality, of all types |
//! | `wamp.reflect.undefine` | uri, optional `{type, match}` | the URI; null: there was none |
//! | `wamp.reflect.describe` | optional uri, optional `{type, match}` | a list of definitions, all that stand under that URI |
//! | `wamp.reflection.X.list` | none | the URIs by match policy: `{exact: […], prefix: […], wildcard: […]}` |
//! | `wamp.reflection.X.describe` | uri, optional `{match}` | without `match`: the definition that counts for the URI; with it: that under the URI; null: none |
//!
//! `wamp.reflect.on_define` carries the URI, the definition and whether it is new, `wamp.reflect.on_undefine` the URI and `{type, match}`;
//! both come from the log, as the events of registrations do. Definitions of the configuration are described like others, are told of
//! by no event and cannot be changed.
//!
//! Spec: WAMP advanced profile, "Interface Reflection".

use super::{
    Args, Outcome, Own, Realm, Refusal,
    args::{invalid, text},
};
use crate::{
    router::{
        MatchPolicy, NodeRef, Op, OpOutcome,
        policy::About,
        reflection::{Change, Definition, Key, Kind, Room},
        turn::{Turn, because},
    },
    wamp::{Dict, SessionId, Uri, Value, error_uri},
};

/// A question about definitions, or a change of one.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Request {
    /// All URIs of a kind.
    List(Kind),
    /// Everything said about a URI, or about all.
    DescribeAll(Which),
    /// What counts for a URI, or stands under one.
    Describe {
        kind: Kind,
        uri: Uri,
        policy: Option<MatchPolicy>,
    },
    /// Says something.
    Define(Box<Definition>),
    /// Takes it back.
    Undefine {
        kind: Option<Kind>,
        policy: MatchPolicy,
        uri: Uri,
    },
}

/// Which definitions are meant; `None`: whatever it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Which {
    kind: Option<Kind>,
    policy: Option<MatchPolicy>,
    uri: Option<Uri>,
}

pub(super) fn parser(procedure: &str) -> Option<super::Parser> {
    use super::Request::Reflection as Of;
    match procedure {
        "wamp.reflect.define" => Some(|args| Ok(Of(define(args)?))),
        "wamp.reflect.undefine" => Some(|args| {
            let uri = uri(args)?;
            let Which { kind, policy, .. } = options(args)?;
            let policy = policy.unwrap_or_default();
            Ok(Of(Request::Undefine { kind, policy, uri }))
        }),
        "wamp.reflect.describe" => Some(|args| {
            let uri = match args.optional() {
                None => None,
                Some(value) => Some(Uri::from(text(value, "uri")?.as_str())),
            };
            let which = Which { uri, ..options(args)? };
            Ok(Of(Request::DescribeAll(which)))
        }),
        "wamp.reflection.topic.list" => Some(|_| Ok(Of(Request::List(Kind::Topic)))),
        "wamp.reflection.procedure.list" => Some(|_| Ok(Of(Request::List(Kind::Procedure)))),
        "wamp.reflection.error.list" => Some(|_| Ok(Of(Request::List(Kind::Error)))),
        "wamp.reflection.topic.describe" => Some(|args| Ok(Of(describe(args, Kind::Topic)?))),
        "wamp.reflection.procedure.describe" => Some(|args| Ok(Of(describe(args, Kind::Procedure)?))),
        "wamp.reflection.error.describe" => Some(|args| Ok(Of(describe(args, Kind::Error)?))),
        _ => None,
    }
}

fn uri(args: &mut Args) -> Result<Uri, Refusal> {
    Ok(Uri::from(args.text("uri")?.as_str()))
}

fn define(args: &mut Args) -> Result<Request, Refusal> {
    let uri = uri(args)?;
    match args.required("definition")? {
        Value::Dict(dict) => {
            let definition = Definition::from_dict(uri, dict, args.check).map_err(|(error, why)| (error, because(&why)))?;
            Ok(Request::Define(Box::new(definition)))
        }
        Value::Null => Ok(Request::Undefine {
            kind: None,
            policy: MatchPolicy::Exact,
            uri,
        }),
        _ => Err(invalid("argument definition is no dict")),
    }
}

fn describe(args: &mut Args, kind: Kind) -> Result<Request, Refusal> {
    let uri = uri(args)?;
    let which = options(args)?;
    if which.kind.is_some_and(|of| of != kind) {
        return Err(invalid("option type is not that of the procedure"));
    }
    let policy = which.policy;
    Ok(Request::Describe { kind, uri, policy })
}

/// `{type, match}`, both optional.
fn options(args: &mut Args) -> Result<Which, Refusal> {
    let mut which = Which::default();
    let options = match args.optional() {
        None => return Ok(which),
        Some(Value::Dict(options)) => options,
        Some(_) => return Err(invalid("argument options is no dict")),
    };
    for (key, value) in &options.0 {
        let name = value.as_text();
        match key.as_str() {
            _ if *value == Value::Null => {}
            "type" => {
                let kind = name.and_then(Kind::from_name);
                which.kind = Some(kind.ok_or_else(|| invalid("option type is none of topic, procedure and error"))?);
            }
            "match" => {
                let policy = name.and_then(MatchPolicy::from_name);
                which.policy = Some(policy.ok_or_else(|| invalid("option match is none of exact, prefix and wildcard"))?);
            }
            other => return Err(invalid(&format!("there is no option {other}"))),
        }
    }
    Ok(which)
}

impl Request {
    /// True if it is for the log.
    pub(super) fn changes(&self) -> bool {
        matches!(self, Self::Define(_) | Self::Undefine { .. })
    }
}

impl Which {
    fn means(&self, definition: &Definition) -> bool {
        self.kind.is_none_or(|kind| kind == definition.kind)
            && self.policy.is_none_or(|policy| policy == definition.policy)
            && self.uri.as_ref().is_none_or(|uri| *uri == definition.uri)
    }
}

impl Realm {
    /// Hands a change of definitions to the log; gives its number.
    pub(super) fn propose_definition(
        &mut self,
        turn: &mut Turn<'_>,
        session: SessionId,
        request: &Request,
    ) -> Result<Option<u64>, Refusal> {
        let keys: Vec<Key> = match request {
            Request::Define(definition) => vec![definition.key()],
            Request::Undefine { kind, policy, uri } => {
                let kinds = Kind::ALL.into_iter().filter(|k| kind.is_none_or(|kind| *k == kind));
                kinds.map(|kind| (kind, *policy, uri.clone())).collect()
            }
            Request::List(_) | Request::DescribeAll(_) | Request::Describe { .. } => return Ok(None),
        };
        if !self.config.allow_define {
            let details = because("clients define nothing in this realm (setting allow_define)");
            return Err((error_uri::NOT_AUTHORIZED, details));
        }
        if keys.iter().any(|key| self.schemas.is_fixed(key)) {
            let details = because("the configuration of the router defines this (realm.definitions)");
            return Err((error_uri::NOT_AUTHORIZED, details));
        }
        let number = self.meta.note_definition(session);
        turn.propose(match request.clone() {
            Request::Define(definition) => Op::Define {
                number,
                definition,
                room: Room {
                    count_max: self.config.limits.definitions_max,
                    bytes_max: self.config.limits.definitions_bytes_max,
                },
            },
            Request::Undefine { kind, policy, uri } => Op::Undefine {
                number,
                kind,
                policy,
                uri,
            },
            Request::List(_) | Request::DescribeAll(_) | Request::Describe { .. } => return Ok(None),
        });
        Ok(Some(number))
    }

    /// The log has a change of definitions: what is checked follows, and whoever asked for it is told.
    pub(in crate::router) fn on_definition_applied(&mut self, by: NodeRef, number: u64, op: &Op, outcome: &OpOutcome) {
        self.follow_definition(op);
        if by == self.me {
            let mut pending = self.meta.pending.values_mut();
            if let Some(pending) = pending.find(|pending| pending.definition == Some(number)) {
                pending.outcome = Some(outcome.clone());
            }
        }
    }

    /// Those of the configuration and of the log that are in force, by key.
    fn definitions(&self) -> impl Iterator<Item = &Definition> {
        let of_log = self.registry.definitions().iter().map(|row| &row.definition);
        let of_log = of_log.filter(|definition| !self.schemas.is_fixed(&definition.key()));
        let mut all: Vec<&Definition> = self.schemas.fixed().chain(of_log).collect();
        all.sort_by_key(|definition| definition.key());
        all.into_iter()
    }

    /// `outcome`: what became of a change, if the log says so.
    pub(super) fn answer_reflection(&self, asker: SessionId, request: &Request, outcome: Option<&OpOutcome>) -> Outcome {
        let known = || self.definitions().filter(|definition| self.knows_of(asker, definition));
        match request {
            Request::List(kind) => {
                let of = |policy: MatchPolicy| {
                    let all = known().filter(|d| d.kind == *kind && d.policy == policy);
                    let uris: Vec<Value> = all.map(|d| d.uri.as_str().into()).collect();
                    (policy.name().to_owned(), uris.into())
                };
                let lists = [MatchPolicy::Exact, MatchPolicy::Prefix, MatchPolicy::Wildcard].map(of);
                Ok(vec![Dict(lists.into()).into()])
            }
            Request::DescribeAll(which) => {
                let all = known().filter(|definition| which.means(definition));
                Ok(vec![all.map(|d| d.to_dict().into()).collect::<Vec<Value>>().into()])
            }
            Request::Describe { kind, uri, policy } => {
                let found = match policy {
                    // What counts for a URI concerns whoever may use that URI, also where it is said of others as well.
                    None if self.may_know(asker, *kind, MatchPolicy::Exact, uri) => self.schemas.best(*kind, uri),
                    None => None,
                    Some(policy) => known().find(|d| (d.kind, d.policy) == (*kind, *policy) && d.uri == *uri),
                };
                Ok(vec![found.map_or(Value::Null, |definition| definition.to_dict().into())])
            }
            Request::Define(_) | Request::Undefine { .. } => Self::answer_change(request, outcome),
        }
    }

    fn knows_of(&self, asker: SessionId, definition: &Definition) -> bool {
        self.may_know(asker, definition.kind, definition.policy, &definition.uri)
    }

    /// True if a session may know what is said of that: as with registrations and subscriptions, whoever may use it. Names of errors are
    /// nobody's.
    fn may_know(&self, asker: SessionId, kind: Kind, policy: MatchPolicy, uri: &Uri) -> bool {
        about(kind, policy, uri).is_none_or(|about| self.sees(asker, &about))
    }

    fn answer_change(request: &Request, outcome: Option<&OpOutcome>) -> Outcome {
        let unavailable = |why: &str| Err((error_uri::UNAVAILABLE, because(why)));
        match (outcome, request) {
            (Some(OpOutcome::Defined(change)), _) => Ok(vec![match change {
                Change::New => true.into(),
                Change::Changed => false.into(),
                Change::Unchanged => Value::Null,
            }]),
            (Some(OpOutcome::Done), Request::Undefine { uri, .. }) => Ok(vec![uri.as_str().into()]),
            (Some(OpOutcome::NotFound), _) => Ok(vec![Value::Null]),
            (Some(OpOutcome::NoRoom), _) => {
                unavailable("too many definitions, or too large (settings definitions_max, definitions_bytes_max)")
            }
            (Some(OpOutcome::Fenced), _) => unavailable("this node is no longer a member"),
            // It was under way too long, or a snapshot has swallowed it.
            _ => unavailable("outcome unknown, ask wamp.reflect.describe"),
        }
    }
}

/// What a definition is about, as far as who may know of it is concerned.
pub(super) fn about(kind: Kind, policy: MatchPolicy, uri: &Uri) -> Option<About> {
    match kind {
        Kind::Topic => Some(About::Subscription(policy, uri.clone())),
        Kind::Procedure => Some(About::Registration(policy, uri.clone())),
        Kind::Error => None,
    }
}

impl super::Meta {
    /// Another change of definitions; gives its number.
    fn note_definition(&mut self, session: SessionId) -> u64 {
        self.last_definition += 1;
        self.note_proposed(session, Own::Definition(self.last_definition));
        self.last_definition
    }
}
