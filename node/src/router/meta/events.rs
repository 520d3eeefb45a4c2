//! Meta events of sessions and registrations, derived from the log.
//!
//! Every node looks at what an op, a fence or a snapshot changes in its copy of the registry and tells its own subscribers. So an
//! event is told once per subscriber, in the order of the log, under the same publication id on every node, also for sessions of a
//! node that crashed. Nothing is sent between nodes. Without a subscriber here, an op costs a few lookups more.
//!
//! Choice: one op tells first what ended (on_unregister before on_delete, then testaments, then on_leave), then what began (on_join, on_create before
//! on_register). A node that skips entries by a snapshot tells the difference; what came and went in between is not told there.
//!
//! Spec: WAMP advanced profile, "Session Meta API", "Registration Meta API".

use std::collections::{BTreeMap, BTreeSet};

use super::{
    ask::{Own, router},
    reflection, registration, session,
};
use crate::{
    router::{
        Audience, LogIndex, MatchPolicy, NodeRef, Op, Realm, Testament,
        broker::Event,
        compat::OnLeave,
        policy::About,
        reflection::{Key, Kind, Row},
        registry::{Callee, Registration, SessionRow},
        turn::Turn,
    },
    wamp::{Dict, Payload, RegistrationId, Serializer, SessionId, Uri, Value},
};

const ON_JOIN: &str = "wamp.session.on_join";
const ON_LEAVE: &str = "wamp.session.on_leave";
const ON_CREATE: &str = "wamp.registration.on_create";
const ON_REGISTER: &str = "wamp.registration.on_register";
const ON_UNREGISTER: &str = "wamp.registration.on_unregister";
const ON_DELETE: &str = "wamp.registration.on_delete";
const ON_DEFINE: &str = "wamp.reflect.on_define";
const ON_UNDEFINE: &str = "wamp.reflect.on_undefine";
const FROM_THE_LOG: [&str; 8] = [
    ON_JOIN,
    ON_LEAVE,
    ON_CREATE,
    ON_REGISTER,
    ON_UNREGISTER,
    ON_DELETE,
    ON_DEFINE,
    ON_UNDEFINE,
];

/// The part of the registry that something may change.
pub(in crate::router) enum Scope {
    /// A session and its registrations.
    Session(Callee),
    /// The registration of a procedure.
    Procedure(MatchPolicy, Uri),
    /// One registration.
    Registration(RegistrationId),
    /// The definitions of a URI.
    Definitions(MatchPolicy, Uri),
    /// Sessions and registrations of a node life and those before it.
    Node(NodeRef),
    /// All of it.
    All,
}

/// What stood there.
#[derive(Default)]
pub(in crate::router) struct Seen {
    sessions: BTreeMap<SessionId, (SessionRow, Vec<Testament>)>,
    registrations: BTreeMap<RegistrationId, Registration>,
    definitions: BTreeMap<Key, Row>,
}

/// Something that was there before and is not, or the reverse.
#[derive(Debug)]
pub(super) enum Change {
    Joined(SessionId, SessionRow),
    Left(SessionId, SessionRow, Vec<Testament>),
    Created(SessionId, Box<Registration>),
    Registered(SessionId, RegistrationId, About),
    Unregistered(SessionId, RegistrationId, About),
    Deleted(SessionId, RegistrationId, About),
    /// And whether nothing stood in its place.
    Defined(Box<Row>, bool),
    Undefined(Box<Row>),
}

impl Scope {
    fn of(node: NodeRef, op: &Op) -> Option<Self> {
        match op {
            Op::SessionJoined { session, .. } | Op::SessionGone { session } => {
                let session = *session;
                Some(Self::Session(Callee { node, session }))
            }
            Op::Register { procedure, policy, .. } => Some(Self::Procedure(*policy, procedure.clone())),
            Op::Unregister { registration, .. } | Op::Dismiss { registration, .. } | Op::Revoke { registration, .. } => {
                Some(Self::Registration(*registration))
            }
            Op::Define { definition, .. } => Some(Self::Definitions(definition.policy, definition.uri.clone())),
            Op::Undefine { policy, uri, .. } => Some(Self::Definitions(*policy, uri.clone())),
            Op::AddTestament { .. } | Op::FlushTestaments { .. } | Op::Hush { .. } => None,
        }
    }
}

impl Realm {
    /// The log reached an op: applies it and tells what it has changed.
    pub(in crate::router) fn on_log_op(&mut self, turn: &mut Turn<'_>, index: LogIndex, by: NodeRef, op: Op) {
        match op {
            Op::SessionJoined { session, .. } if by == self.me => self.meta.note_applied(session, Own::Joined),
            Op::SessionGone { session } if by == self.me => self.meta.note_applied(session, Own::Gone),
            Op::Revoke {
                registration,
                callee: Some(session),
                ..
            } if by == self.me => self.meta.note_applied(session, Own::Removal(registration)),
            Op::AddTestament { session, ref testament } if by == self.me => {
                self.meta.note_applied(session, Own::Testament(testament.number));
            }
            Op::FlushTestaments { session, number, .. } if by == self.me => {
                self.meta.note_applied(session, Own::Testament(number));
            }
            Op::Define { number, .. } | Op::Undefine { number, .. } if by == self.me => self.meta.note_definition_applied(number),
            _ => {}
        }
        let watched = if self.is_watched() { Scope::of(by, &op) } else { None };
        let before = watched.map(|scope| (self.look(&scope), scope));
        self.on_applied(turn, index, by, op);
        if let Some((before, scope)) = before {
            self.tell_difference(turn, index, &scope, &before);
        }
    }

    /// The log says that a node life is over: ends it and tells what that has changed.
    pub(in crate::router) fn on_log_fence(&mut self, turn: &mut Turn<'_>, index: LogIndex, node: NodeRef) {
        let scope = Scope::Node(node);
        let before = self.is_watched().then(|| self.look(&scope));
        self.on_node_fenced(turn, index, node);
        if let Some(before) = before {
            self.tell_difference(turn, index, &scope, &before);
        }
    }

    /// The time of the ops that follow.
    pub(in crate::router) fn on_log_time(&mut self, turn: &Turn<'_>, unix_ms: u64) {
        self.registry.set_time(unix_ms);
        self.meta.clock = Some((turn.now, unix_ms));
    }

    /// What stands in the registry, for [`Self::note_restored`]; `None` if nobody listens.
    pub(in crate::router) fn look_before_restore(&self) -> Option<Seen> {
        self.is_watched().then(|| self.look(&Scope::All))
    }

    /// The registry came from a snapshot: what it has changed is told with the next input of the log.
    pub(in crate::router) fn note_restored(&mut self, before: Option<Seen>) {
        self.settle_own_rows();
        if let Some(before) = before {
            let changes = self.difference(&Scope::All, &before);
            self.meta.untold.extend(changes);
        }
    }

    pub(super) fn tell_untold(&mut self, turn: &mut Turn<'_>) {
        let index = self.applied;
        for change in std::mem::take(&mut self.meta.untold) {
            self.tell(turn, index, &change);
        }
    }

    /// True if what changes may have to be told: a session of this node subscribes to any of these events, or testaments stand.
    fn is_watched(&self) -> bool {
        self.registry.has_testaments() || FROM_THE_LOG.iter().any(|topic| self.listens(topic))
    }

    /// True if a session of this node wants events of `topic`.
    pub(super) fn listens(&self, topic: &str) -> bool {
        self.broker.topics.matches(topic).next().is_some()
    }

    fn look(&self, scope: &Scope) -> Seen {
        let mut seen = Seen::default();
        let registry = &self.registry;
        let with_testaments = |id, row: &SessionRow| (id, (row.clone(), registry.testaments(id).to_vec()));
        match scope {
            Scope::Session(callee) => {
                let row = registry.session(callee.session).filter(|row| row.node == callee.node);
                seen.sessions.extend(row.map(|row| with_testaments(callee.session, row)));
                seen.keep(registry.registrations_of(*callee));
            }
            Scope::Procedure(policy, procedure) => seen.keep(registry.lookup_pattern(*policy, procedure)),
            Scope::Registration(id) => seen.keep(registry.registration(*id)),
            Scope::Definitions(policy, uri) => {
                let keys = Kind::ALL.into_iter().map(|kind| (kind, *policy, uri.clone()));
                let rows = keys.filter_map(|key| registry.definitions().get(&key));
                seen.definitions.extend(rows.map(|row| (row.definition.key(), row.clone())));
            }
            Scope::Node(node) => {
                let of_node = |n: NodeRef| n.slot == node.slot && n.epoch <= node.epoch;
                let rows = registry.sessions().filter(|(_, row)| of_node(row.node));
                seen.sessions.extend(rows.map(|(id, row)| with_testaments(id, row)));
                seen.keep(registry.registrations().filter(|r| r.callees.iter().any(|c| of_node(c.node))));
            }
            Scope::All => {
                seen.sessions
                    .extend(registry.sessions().map(|(id, row)| with_testaments(id, row)));
                seen.keep(registry.registrations());
                let rows = registry.definitions().iter();
                seen.definitions.extend(rows.map(|row| (row.definition.key(), row.clone())));
            }
        }
        seen
    }

    fn tell_difference(&mut self, turn: &mut Turn<'_>, index: LogIndex, scope: &Scope, before: &Seen) {
        for change in self.difference(scope, before) {
            self.tell(turn, index, &change);
        }
    }

    fn difference(&self, scope: &Scope, before: &Seen) -> Vec<Change> {
        let mut after = self.look(scope);
        // What lost its last tie to the scope may stand on without it.
        let others = before.registrations.keys().filter_map(|id| self.registry.registration(*id));
        after.keep(others);
        let (mut ended, mut begun) = (Vec::new(), Vec::new());
        let ids: BTreeSet<RegistrationId> = before
            .registrations
            .keys()
            .chain(after.registrations.keys())
            .copied()
            .collect();
        for id in ids {
            let (old, new) = (before.registrations.get(&id), after.registrations.get(&id));
            let Some(about) = new.or(old).map(about) else { continue };
            let callees = |of: Option<&Registration>| -> Vec<SessionId> {
                of.into_iter().flat_map(|r| &r.callees).map(|callee| callee.session).collect()
            };
            let (old_callees, new_callees) = (callees(old), callees(new));
            let gone = old_callees.iter().filter(|session| !new_callees.contains(session));
            ended.extend(gone.map(|session| Change::Unregistered(*session, id, about.clone())));
            let come: Vec<SessionId> = new_callees.iter().filter(|s| !old_callees.contains(s)).copied().collect();
            match (old, new) {
                (Some(_), None) => ended.extend(old_callees.last().map(|session| Change::Deleted(*session, id, about.clone()))),
                (None, Some(new)) => begun.extend(come.first().map(|session| Change::Created(*session, Box::new(new.clone())))),
                _ => {}
            }
            begun.extend(come.into_iter().map(|session| Change::Registered(session, id, about.clone())));
        }
        let only_in = |one: &Seen, other: &Seen| {
            let rows = one.sessions.iter().filter(|(id, _)| !other.sessions.contains_key(id));
            rows.map(|(id, (row, testaments))| (*id, row.clone(), testaments.clone()))
                .collect::<Vec<_>>()
        };
        let left = only_in(before, &after).into_iter().filter(|(_, row, _)| !row.hushed);
        let joined = only_in(&after, before);
        ended.extend(left.map(|(session, row, testaments)| Change::Left(session, row, testaments)));
        ended.extend(joined.into_iter().map(|(session, row, _)| Change::Joined(session, row)));
        ended.extend(begun);
        let gone = before
            .definitions
            .iter()
            .filter(|(key, _)| !after.definitions.contains_key(*key));
        ended.extend(gone.map(|(_, row)| Change::Undefined(Box::new(row.clone()))));
        for (key, row) in &after.definitions {
            let old = before.definitions.get(key);
            if old.is_none_or(|old| old.number != row.number) {
                ended.push(Change::Defined(Box::new(row.clone()), old.is_none()));
            }
        }
        ended
    }

    fn tell(&mut self, turn: &mut Turn<'_>, index: LogIndex, change: &Change) {
        if let Change::Left(session, row, testaments) = change {
            self.publish_testaments(turn, *session, row, testaments.clone());
        }
        let (topic, session) = match change {
            Change::Defined(..) => (ON_DEFINE, router()),
            Change::Undefined(_) => (ON_UNDEFINE, router()),
            Change::Joined(session, _) => (ON_JOIN, *session),
            Change::Left(session, ..) => (ON_LEAVE, *session),
            Change::Created(session, _) => (ON_CREATE, *session),
            Change::Registered(session, ..) => (ON_REGISTER, *session),
            Change::Unregistered(session, ..) => (ON_UNREGISTER, *session),
            Change::Deleted(session, ..) => (ON_DELETE, *session),
        };
        if !self.listens(topic) {
            return;
        }
        let id = Value::from(session.get());
        let (args, about) = match change {
            Change::Joined(session, row) => (vec![session::details(*session, row).into()], 0),
            Change::Left(_, row, _) => (vec![id, row.authid.as_str().into(), row.authrole.as_str().into()], 0),
            Change::Defined(row, new) => {
                let definition = &row.definition;
                let args = vec![definition.uri.as_str().into(), definition.to_dict().into(), (*new).into()];
                (args, row.number)
            }
            Change::Undefined(row) => {
                let definition = &row.definition;
                let what = Dict::new()
                    .with("type", definition.kind.name())
                    .with("match", definition.policy.name());
                (vec![definition.uri.as_str().into(), what.into()], row.number)
            }
            Change::Created(_, new) => (vec![id, registration::details(new).into()], new.id.get()),
            Change::Registered(_, about, _) | Change::Unregistered(_, about, _) | Change::Deleted(_, about, _) => {
                (vec![id, Value::from(about.get())], about.get())
            }
        };
        // A session may come to a registration and go more than once; the rest happens once and has the same id also where a node
        // learns of it by a snapshot.
        let again = match change {
            Change::Registered(..) | Change::Unregistered(..) => index,
            _ => 0,
        };
        let seen_by = match change {
            Change::Joined(..) | Change::Left(..) => None,
            Change::Defined(row, _) | Change::Undefined(row) => {
                let definition = &row.definition;
                reflection::about(definition.kind, definition.policy, &definition.uri).and_then(Audience::who_sees)
            }
            Change::Created(_, new) => Audience::who_sees(self::about(new)),
            Change::Registered(_, _, about) | Change::Unregistered(_, _, about) | Change::Deleted(_, _, about) => {
                Audience::who_sees(about.clone())
            }
        };
        let publication = self.ids.derived(topic, &[session.get(), about, again]);
        let short = match change {
            Change::Left(..) => self.hear_ids_alone(topic),
            _ => Vec::new(),
        };
        let mut event = Event {
            publication,
            topic: Uri::from(topic),
            publisher: session,
            exclude_me: false,
            acknowledged: false,
            audience: seen_by,
            keep: None,
            details: Dict::new(),
            payload: payload(&args),
        };
        if !short.is_empty() {
            let (those, others) = Audience::split(short);
            event.audience = Some(Box::new(others));
            let event = Event {
                publication,
                topic: Uri::from(topic),
                publisher: session,
                exclude_me: false,
                acknowledged: false,
                audience: Some(Box::new(those)),
                keep: None,
                details: Dict::new(),
                payload: payload(&args[..1]),
            };
            self.deliver(turn, event);
        }
        self.deliver(turn, event);
    }

    /// The subscribers of this node to `wamp.session.on_leave` whose listener has them hear the session id alone.
    fn hear_ids_alone(&self, topic: &str) -> Vec<SessionId> {
        let topics = self.broker.topics.matches(topic);
        let subscribers = topics
            .flat_map(|topic| topic.groups())
            .flat_map(|(_, group)| group.active.values());
        let is_short = |id: &SessionId| self.sessions.get(*id).is_some_and(|s| s.info.compat.on_leave == OnLeave::Id);
        subscribers.copied().filter(is_short).collect()
    }
}

fn payload(args: &[Value]) -> Payload {
    Payload::from_values(Serializer::MsgPack, args, &Dict::new())
}

/// What a registration's events are about.
fn about(registration: &Registration) -> About {
    About::Registration(registration.policy, registration.procedure.clone())
}

impl Seen {
    fn keep<'a>(&mut self, registrations: impl IntoIterator<Item = &'a Registration>) {
        let all = registrations
            .into_iter()
            .map(|registration| (registration.id, registration.clone()));
        self.registrations.extend(all);
    }
}
