//! What the replicated log carries, as types, and its bytes.
//!
//! The bytes are protobuf (`proto/ringfort/cluster/v1/log.proto`), never a library's own encoding: a log written today must be
//! readable by the next build. A command that this build does not know is an error on which the node stops; it is never skipped,
//! since a skipped command makes two registries of one log.

use std::num::NonZeroU32;

use bytes::Bytes;
use prost::Message as _;
use ringfort_proto::cluster::v1 as pb;

use super::{
    catalog::{Edits, RealmRevision},
    change, edits,
    roster::{self, Step},
};
use crate::{
    router::{
        Changed, InvokePolicy, LogIndex, MatchPolicy, NodeRef, OnConflict, Op, RegisterWishes, Slot, Testament, TestamentScope,
        policy::Request,
        reflection::{Definition, Kind, Room},
    },
    wamp::{Payload, RegistrationId, RequestId, Serializer, SessionId, Uri},
};

/// The command version this build writes and understands.
const VERSION: u32 = 4;
/// The oldest one it understands: a node that joined then is a core node.
const OLDEST: u32 = 3;

/// How an outcome says that there is no room.
const FULL: &str = "the realm has as many of these as it can";

/// One entry of the replicated log.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Fixes the cluster's id and the key of its session and subscription ids. The first one wins.
    Init { cluster_id: String, id_key: [u8; 16] },
    /// A node asks for a slot and a new epoch. Ends an earlier life of the same disk (`raft_id`).
    Join {
        raft_id: u64,
        incarnation: u64,
        name: String,
        version: String,
        edge: bool,
        address: String,
    },
    /// Ends a node life: its sessions and registrations go.
    Fence { node: NodeRef, reason: String },
    /// Changes of realms, in the order in which the sessions of one node life asked for them.
    ///
    /// `at_ms` is when they were proposed, milliseconds since 1970 (UTC) by the proposer's clock.
    Batch {
        node: NodeRef,
        seq: u64,
        at_ms: u64,
        ops: Vec<(Uri, Op)>,
    },
    /// A change of roles or principals of a realm, and who asked for it.
    Change { realm: Uri, actor: String, request: Request },
    /// Changes of realms, and of roles and principals of several of them: all, or nothing.
    Edit(Box<Edits>),
    /// A step of the core membership.
    Membership(Step),
}

/// What applying a [`Command`] did.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// Applied, or recognised as a repeat of something applied before.
    Done,
    /// The node's new life.
    Joined(NodeRef),
    /// The node life that proposed this is over; nothing was changed.
    Fenced,
    /// A batch before this one is missing; nothing was changed.
    OutOfOrder { expected: u64 },
    /// Nothing was changed, for this reason.
    Refused(String),
    /// What came of a change of roles or principals.
    Changed(Changed),
    /// An [`Command::Edit`] was done; the revisions of the realms it names.
    Edited(Vec<RealmRevision>),
    /// Nothing was changed: a realm has other revisions than expected.
    Stale(RealmRevision),
    /// A plan was opened, or was open already for the same disk.
    Planned(LogIndex),
    /// The disk that asks was removed from the cluster for good.
    Removed,
}

/// Bytes that are not a command, snapshot or outcome of a version this build knows.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Not protobuf of the expected shape.
    #[error("not a cluster message: {0}")]
    Malformed(#[from] prost::DecodeError),
    /// Written by a newer build.
    #[error("{what} has version {found}, this build knows up to {known}: run the newer build")]
    Version { what: &'static str, found: u32, known: u32 },
    /// A field is missing or out of range.
    #[error("{0}")]
    Field(&'static str),
}

impl Command {
    /// The bytes that go into the log.
    pub fn encode(&self) -> Bytes {
        let body = match self {
            Command::Init { cluster_id, id_key } => pb::command::Body::Init(pb::InitCluster {
                cluster_id: cluster_id.clone(),
                id_key: Bytes::copy_from_slice(id_key),
            }),
            Command::Join {
                raft_id,
                incarnation,
                name,
                version,
                edge,
                address,
            } => pb::command::Body::Join(pb::NodeJoin {
                raft_id: *raft_id,
                incarnation: *incarnation,
                name: name.clone(),
                version: version.clone(),
                edge: *edge,
                address: address.clone(),
            }),
            Command::Fence { node, reason } => pb::command::Body::Fence(pb::FenceNode {
                slot: node.slot.0.into(),
                epoch: node.epoch,
                reason: reason.clone(),
            }),
            Command::Batch { node, seq, at_ms, ops } => pb::command::Body::Batch(pb::Batch {
                slot: node.slot.0.into(),
                epoch: node.epoch,
                seq: *seq,
                at_ms: *at_ms,
                ops: ops.iter().map(|(realm, op)| op_to_pb(realm, op)).collect(),
            }),
            Command::Change { realm, actor, request } => pb::command::Body::Change(change::to_pb(realm, actor, request)),
            Command::Edit(edit) => pb::command::Body::Edit(edits::to_pb(edit)),
            Command::Membership(step) => pb::command::Body::Membership(roster::step_to_pb(step)),
        };
        pb::Command {
            version: VERSION,
            shard: 0,
            body: Some(body),
        }
        .encode_to_vec()
        .into()
    }

    /// The command in these bytes of the log.
    ///
    /// # Errors
    /// The bytes are from a newer build or damaged; the node must stop applying.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let command = pb::Command::decode(bytes)?;
        if !(OLDEST..=VERSION).contains(&command.version) {
            return Err(DecodeError::Version {
                what: "log entry",
                found: command.version,
                known: VERSION,
            });
        }
        match command
            .body
            .ok_or(DecodeError::Field("log entry without a body this build knows"))?
        {
            pb::command::Body::Init(init) => Ok(Command::Init {
                cluster_id: init.cluster_id,
                id_key: init
                    .id_key
                    .as_ref()
                    .try_into()
                    .map_err(|_| DecodeError::Field("id key is not 16 bytes"))?,
            }),
            pb::command::Body::Join(join) => Ok(Command::Join {
                raft_id: join.raft_id,
                incarnation: join.incarnation,
                name: join.name,
                version: join.version,
                edge: join.edge,
                address: join.address,
            }),
            pb::command::Body::Fence(fence) => Ok(Command::Fence {
                node: node_ref(fence.slot, fence.epoch)?,
                reason: fence.reason,
            }),
            pb::command::Body::Batch(batch) => Ok(Command::Batch {
                node: node_ref(batch.slot, batch.epoch)?,
                seq: batch.seq,
                at_ms: batch.at_ms,
                ops: batch.ops.into_iter().map(op_from_pb).collect::<Result<_, _>>()?,
            }),
            pb::command::Body::Change(change) => {
                let (realm, actor, request) = change::from_pb(change)?;
                Ok(Command::Change { realm, actor, request })
            }
            pb::command::Body::Edit(edit) => Ok(Command::Edit(Box::new(edits::from_pb(edit)?))),
            pb::command::Body::Membership(membership) => Ok(Command::Membership(roster::step_from_pb(membership)?)),
        }
    }
}

impl Outcome {
    /// The bytes that travel back to the proposer.
    pub fn encode(&self) -> Bytes {
        let outcome = match self {
            Outcome::Done => pb::outcome::Outcome::Done(pb::Done {}),
            Outcome::Joined(node) => pb::outcome::Outcome::Joined(pb::Joined {
                slot: node.slot.0.into(),
                epoch: node.epoch,
            }),
            Outcome::Fenced => pb::outcome::Outcome::Fenced(pb::Fenced {}),
            Outcome::OutOfOrder { expected } => pb::outcome::Outcome::OutOfOrder(pb::OutOfOrder { expected: *expected }),
            Outcome::Refused(reason) => pb::outcome::Outcome::Refused(reason.clone()),
            Outcome::Changed(Changed::Full) => pb::outcome::Outcome::Refused(FULL.to_owned()),
            Outcome::Changed(Changed::Done(revision)) => pb::outcome::Outcome::Changed(*revision),
            Outcome::Changed(Changed::Conflict(revision)) => pb::outcome::Outcome::Conflict(*revision),
            Outcome::Changed(Changed::NotFound) => pb::outcome::Outcome::NotFound(pb::NotFound {}),
            Outcome::Edited(realms) => pb::outcome::Outcome::Edited(pb::Edited {
                realms: realms.iter().map(edits::revision_to_pb).collect(),
            }),
            Outcome::Stale(realm) => pb::outcome::Outcome::Stale(edits::revision_to_pb(realm)),
            Outcome::Planned(plan) => pb::outcome::Outcome::Planned(*plan),
            Outcome::Removed => pb::outcome::Outcome::Removed(pb::RemovedDisk {}),
        };
        pb::Outcome { outcome: Some(outcome) }.encode_to_vec().into()
    }

    /// The outcome in these bytes.
    ///
    /// # Errors
    /// The answering node runs a newer build or the bytes are damaged.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let outcome = pb::Outcome::decode(bytes)?
            .outcome
            .ok_or(DecodeError::Field("outcome this build does not know"))?;
        Ok(match outcome {
            pb::outcome::Outcome::Done(_) => Outcome::Done,
            pb::outcome::Outcome::Joined(joined) => Outcome::Joined(node_ref(joined.slot, joined.epoch)?),
            pb::outcome::Outcome::Fenced(_) => Outcome::Fenced,
            pb::outcome::Outcome::OutOfOrder(out) => Outcome::OutOfOrder { expected: out.expected },
            pb::outcome::Outcome::Refused(reason) if reason == FULL => Outcome::Changed(Changed::Full),
            pb::outcome::Outcome::Refused(reason) => Outcome::Refused(reason),
            pb::outcome::Outcome::Changed(revision) => Outcome::Changed(Changed::Done(revision)),
            pb::outcome::Outcome::Conflict(revision) => Outcome::Changed(Changed::Conflict(revision)),
            pb::outcome::Outcome::NotFound(_) => Outcome::Changed(Changed::NotFound),
            pb::outcome::Outcome::Edited(edited) => {
                Outcome::Edited(edited.realms.into_iter().map(edits::revision_from_pb).collect())
            }
            pb::outcome::Outcome::Stale(realm) => Outcome::Stale(edits::revision_from_pb(realm)),
            pb::outcome::Outcome::Planned(plan) => Outcome::Planned(plan),
            pb::outcome::Outcome::Removed(_) => Outcome::Removed,
        })
    }
}

/// A node life from its two numbers on the wire.
pub(super) fn node_ref(slot: u32, epoch: u32) -> Result<NodeRef, DecodeError> {
    match u16::try_from(slot) {
        Ok(slot @ 1..=4095) if (1..=32_767).contains(&epoch) => Ok(NodeRef { slot: Slot(slot), epoch }),
        _ => Err(DecodeError::Field("node slot or epoch out of range")),
    }
}

fn op_to_pb(realm: &Uri, op: &Op) -> pb::RealmOp {
    use pb::realm_op::Op as P;
    let op = match op {
        Op::SessionJoined {
            session,
            authid,
            authrole,
            authmethod,
            authprovider,
        } => P::SessionJoined(pb::SessionJoined {
            session: session.get(),
            authid: authid.clone(),
            authrole: authrole.clone(),
            authmethod: authmethod.clone(),
            authprovider: authprovider.clone(),
        }),
        Op::AddTestament { session, testament } => P::AddTestament(pb::AddTestament {
            session: session.get(),
            number: testament.number,
            scope: testament.scope.code().into(),
            topic: testament.topic.to_string(),
            options: Some(payload_to_pb(&testament.options)),
            payload: Some(payload_to_pb(&testament.payload)),
        }),
        Op::FlushTestaments { session, number, scope } => P::FlushTestaments(pb::FlushTestaments {
            session: session.get(),
            number: *number,
            scope: scope.code().into(),
        }),
        Op::Hush { session } => P::Hush(pb::Hush { session: session.get() }),
        Op::SessionGone { session } => P::SessionGone(pb::SessionGone { session: session.get() }),
        Op::Register {
            session,
            request,
            procedure,
            policy,
            wishes,
            invoke,
            conflict,
        } => P::Register(pb::Register {
            session: session.get(),
            request: request.get(),
            procedure: procedure.to_string(),
            r#match: match policy {
                MatchPolicy::Exact => 0,
                MatchPolicy::Prefix => 1,
                MatchPolicy::Wildcard => 2,
            },
            disclose_caller: wishes.disclose_caller,
            forward_timeout: wishes.forward_timeout,
            invoke: invoke.code().into(),
            conflict: conflict.code().into(),
        }),
        Op::Unregister {
            session,
            request,
            registration,
        } => P::Unregister(pb::Unregister {
            session: session.get(),
            request: request.map_or(0, RequestId::get),
            registration: registration.get(),
            hold_ms: 0,
        }),
        Op::Dismiss {
            session,
            registration,
            hold_ms,
        } => P::Unregister(pb::Unregister {
            session: session.get(),
            request: 0,
            registration: registration.get(),
            hold_ms: hold_ms.get(),
        }),
        Op::Define {
            number,
            definition,
            room,
        } => P::Define(pb::Define {
            number: *number,
            kind: definition.kind.code().into(),
            r#match: definition.policy.code().into(),
            uri: definition.uri.to_string(),
            text: definition.text.to_string(),
            count_max: room.count_max,
            bytes_max: room.bytes_max,
        }),
        Op::Undefine {
            number,
            kind,
            policy,
            uri,
        } => P::Undefine(pb::Undefine {
            number: *number,
            kind: kind.map_or(0, Kind::code).into(),
            r#match: policy.code().into(),
            uri: uri.to_string(),
        }),
        Op::Revoke {
            registration,
            callee,
            reason,
        } => P::Revoke(pb::Revoke {
            registration: registration.get(),
            callee: callee.map_or(0, SessionId::get),
            reason: reason.clone(),
        }),
    };
    pb::RealmOp {
        realm: realm.to_string(),
        op: Some(op),
    }
}

fn op_from_pb(op: pb::RealmOp) -> Result<(Uri, Op), DecodeError> {
    use pb::realm_op::Op as P;
    let session = |raw| SessionId::new(raw).ok_or(DecodeError::Field("session id out of range"));
    let scope = |raw| {
        let scope = u8::try_from(raw).ok().and_then(TestamentScope::from_code);
        scope.ok_or(DecodeError::Field("scope of a testament that this build does not know"))
    };
    let small = |code| u8::try_from(code).ok();
    let policy = |code| {
        let policy = small(code).and_then(MatchPolicy::from_code);
        policy.ok_or(DecodeError::Field("match policy this build does not know"))
    };
    let kind = |code| {
        let kind = small(code).and_then(Kind::from_code);
        kind.ok_or(DecodeError::Field("kind of a definition that this build does not know"))
    };
    let decoded = match op.op.ok_or(DecodeError::Field("realm op this build does not know"))? {
        P::SessionJoined(joined) => Op::SessionJoined {
            session: session(joined.session)?,
            authid: joined.authid,
            authrole: joined.authrole,
            authmethod: joined.authmethod,
            authprovider: joined.authprovider,
        },
        P::AddTestament(add) => Op::AddTestament {
            session: session(add.session)?,
            testament: Box::new(Testament {
                number: add.number,
                scope: scope(add.scope)?,
                topic: Uri::new(add.topic),
                options: payload_from_pb(add.options)?,
                payload: payload_from_pb(add.payload)?,
            }),
        },
        P::FlushTestaments(flush) => Op::FlushTestaments {
            session: session(flush.session)?,
            number: flush.number,
            scope: scope(flush.scope)?,
        },
        P::Hush(hush) => Op::Hush {
            session: session(hush.session)?,
        },
        P::SessionGone(gone) => Op::SessionGone {
            session: session(gone.session)?,
        },
        P::Register(register) => Op::Register {
            session: session(register.session)?,
            request: RequestId::new(register.request).ok_or(DecodeError::Field("request id out of range"))?,
            procedure: Uri::new(register.procedure),
            policy: match register.r#match {
                0 => MatchPolicy::Exact,
                1 => MatchPolicy::Prefix,
                2 => MatchPolicy::Wildcard,
                _ => return Err(DecodeError::Field("match policy this build does not know")),
            },
            wishes: RegisterWishes {
                disclose_caller: register.disclose_caller,
                forward_timeout: register.forward_timeout,
            },
            invoke: small(register.invoke)
                .and_then(InvokePolicy::from_code)
                .ok_or(DecodeError::Field("invocation policy this build does not know"))?,
            conflict: small(register.conflict)
                .and_then(OnConflict::from_code)
                .ok_or(DecodeError::Field("rule for conflicts this build does not know"))?,
        },
        P::Unregister(unregister) => {
            let session = session(unregister.session)?;
            let registration = RegistrationId::new(unregister.registration);
            let registration = registration.ok_or(DecodeError::Field("registration id out of range"))?;
            match NonZeroU32::new(unregister.hold_ms) {
                None => Op::Unregister {
                    session,
                    request: RequestId::new(unregister.request),
                    registration,
                },
                Some(hold_ms) => Op::Dismiss {
                    session,
                    registration,
                    hold_ms,
                },
            }
        }
        P::Define(define) => Op::Define {
            number: define.number,
            definition: Box::new(Definition::from_parts(
                kind(define.kind)?,
                policy(define.r#match)?,
                Uri::new(define.uri),
                define.text.into(),
            )),
            room: Room {
                count_max: define.count_max,
                bytes_max: define.bytes_max,
            },
        },
        P::Undefine(undefine) => Op::Undefine {
            number: undefine.number,
            kind: match undefine.kind {
                0 => None,
                code => Some(kind(code)?),
            },
            policy: policy(undefine.r#match)?,
            uri: Uri::new(undefine.uri),
        },
        P::Revoke(revoke) => Op::Revoke {
            registration: RegistrationId::new(revoke.registration).ok_or(DecodeError::Field("registration id out of range"))?,
            callee: match revoke.callee {
                0 => None,
                raw => Some(session(raw)?),
            },
            reason: revoke.reason,
        },
    };
    Ok((Uri::new(op.realm), decoded))
}

fn payload_to_pb(payload: &Payload) -> pb::Payload {
    pb::Payload {
        serializer: payload.serializer().rawsocket_id().into(),
        elements: payload.elements().into(),
        bytes: payload.bytes().clone(),
    }
}

/// The payload is trusted to be well-formed: the codec of the node that proposed it has proven it.
fn payload_from_pb(payload: Option<pb::Payload>) -> Result<Payload, DecodeError> {
    let payload = payload.unwrap_or_default();
    let serializer = u8::try_from(payload.serializer).ok().and_then(Serializer::from_rawsocket_id);
    match (serializer, payload.elements) {
        (_, 0) if payload.bytes.is_empty() => Ok(Payload::EMPTY),
        // Apart: an entry of the log must not live as long as what it put into the registry.
        (Some(serializer), elements @ 1..=2) if !payload.bytes.is_empty() => {
            Ok(Payload::from_proven(serializer, elements as u8, payload.bytes).apart())
        }
        _ => Err(DecodeError::Field("a payload that is none")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        auth::Principal,
        router::{Change, Disclosure, Permission},
    };

    fn node(slot: u16, epoch: u32) -> NodeRef {
        NodeRef { slot: Slot(slot), epoch }
    }

    #[test]
    fn every_command_survives_its_bytes() {
        let session = SessionId::new(7).unwrap();
        let ops = vec![
            (
                Uri::from("r"),
                Op::SessionJoined {
                    session,
                    authid: "a".into(),
                    authrole: "b".into(),
                    authmethod: "c".into(),
                    authprovider: "d".into(),
                },
            ),
            (Uri::from("r"), Op::Hush { session }),
            (
                Uri::from("r"),
                Op::Define {
                    number: 3,
                    definition: Box::new(Definition::from_parts(
                        Kind::Error,
                        MatchPolicy::Prefix,
                        Uri::from("lamp.error."),
                        "{}".into(),
                    )),
                    room: Room {
                        count_max: 7,
                        bytes_max: 8,
                    },
                },
            ),
            (
                Uri::from("r"),
                Op::Undefine {
                    number: 4,
                    kind: Some(Kind::Topic),
                    policy: MatchPolicy::Wildcard,
                    uri: Uri::from("lamp..on"),
                },
            ),
            (
                Uri::from("r"),
                Op::Undefine {
                    number: 5,
                    kind: None,
                    policy: MatchPolicy::Exact,
                    uri: Uri::from("lamp"),
                },
            ),
            (
                Uri::from("r"),
                Op::AddTestament {
                    session,
                    testament: Box::new(Testament {
                        number: 9,
                        scope: TestamentScope::Detached,
                        topic: Uri::from("lamp.off"),
                        options: Payload::EMPTY,
                        payload: Payload::from_proven(Serializer::Json, 1, Bytes::from_static(b"[1]")),
                    }),
                },
            ),
            (
                Uri::from("r"),
                Op::FlushTestaments {
                    session,
                    number: 10,
                    scope: TestamentScope::Destroyed,
                },
            ),
            (
                Uri::from("r"),
                Op::Register {
                    session,
                    request: RequestId::new(3).unwrap(),
                    procedure: Uri::from("lamp.set"),
                    policy: MatchPolicy::Wildcard,
                    wishes: RegisterWishes {
                        disclose_caller: true,
                        forward_timeout: true,
                    },
                    invoke: InvokePolicy::RoundRobin,
                    conflict: OnConflict::Replace,
                },
            ),
            (
                Uri::from("r"),
                Op::Revoke {
                    registration: RegistrationId::new(9).unwrap(),
                    callee: None,
                    reason: "why".into(),
                },
            ),
            (
                Uri::from("r"),
                Op::Revoke {
                    registration: RegistrationId::new(9).unwrap(),
                    callee: Some(session),
                    reason: String::new(),
                },
            ),
            (
                Uri::from("r"),
                Op::Unregister {
                    session,
                    request: None,
                    registration: RegistrationId::new(9).unwrap(),
                },
            ),
            (
                Uri::from("r"),
                Op::Dismiss {
                    session,
                    registration: RegistrationId::new(9).unwrap(),
                    hold_ms: NonZeroU32::new(3_000).unwrap(),
                },
            ),
            (Uri::from("r"), Op::SessionGone { session }),
        ];
        for command in [
            Command::Init {
                cluster_id: "c".into(),
                id_key: [7; 16],
            },
            Command::Join {
                raft_id: 1,
                incarnation: 2,
                name: "n1".into(),
                version: "0.1.0".into(),
                edge: true,
                address: "10.0.0.1:7400".into(),
            },
            Command::Membership(Step::Announce {
                name: "n4".into(),
                replaces: Some("n2".into()),
                actor: "somebody".into(),
            }),
            Command::Membership(Step::Announce {
                name: "n4".into(),
                replaces: None,
                actor: String::new(),
            }),
            Command::Membership(Step::Admit {
                raft_id: 7,
                name: "n4".into(),
                address: "10.0.0.4:7400".into(),
                listed: true,
            }),
            Command::Membership(Step::PlanRemoval {
                name: "n4".into(),
                actor: "somebody".into(),
            }),
            Command::Membership(Step::Retire {
                plan: 3,
                raft_id: 7,
                name: "n4".into(),
            }),
            Command::Membership(Step::Close {
                plan: 3,
                failed: Some("no".into()),
            }),
            Command::Membership(Step::Close { plan: 3, failed: None }),
            Command::Fence {
                node: node(3, 4),
                reason: "silent".into(),
            },
            Command::Batch {
                node: node(4095, 32_767),
                seq: 12,
                at_ms: 1_700_000_000_123,
                ops,
            },
            Command::Change {
                realm: Uri::from("r"),
                actor: "somebody".into(),
                request: Request {
                    change: Change::PutRole {
                        role: "device".into(),
                        permissions: vec![Permission {
                            disclose: Some(Disclosure::Deny),
                            ..Permission::all()
                        }],
                    },
                    expected: Some(0),
                },
            },
            Command::Change {
                realm: Uri::from("r"),
                actor: String::new(),
                request: Request {
                    change: Change::PutPrincipal {
                        principal: Principal {
                            authid: "lamp".into(),
                            role: "device".into(),
                            credentials: vec![format!("cryptosign:{}", "7".repeat(64)).parse().unwrap()],
                        },
                    },
                    expected: None,
                },
            },
            Command::Change {
                realm: Uri::from("r"),
                actor: "configuration".into(),
                request: Request {
                    change: Change::Seed {
                        roles: vec![("device".into(), vec![Permission::all()]), ("idle".into(), Vec::new())],
                        principals: vec![Principal {
                            authid: "lamp".into(),
                            role: "device".into(),
                            credentials: vec![format!("cryptosign:{}", "7".repeat(64)).parse().unwrap()],
                        }],
                    },
                    expected: None,
                },
            },
            Command::Change {
                realm: Uri::from("r"),
                actor: String::new(),
                request: Request {
                    change: Change::RemovePrincipal { authid: "lamp".into() },
                    expected: Some(7),
                },
            },
        ] {
            assert_eq!(Command::decode(&command.encode()).unwrap(), command);
        }
    }

    #[test]
    fn every_outcome_survives_its_bytes() {
        for outcome in [
            Outcome::Done,
            Outcome::Joined(node(1, 1)),
            Outcome::Fenced,
            Outcome::OutOfOrder { expected: 9 },
            Outcome::Refused("no".into()),
            Outcome::Changed(Changed::Done(7)),
            Outcome::Changed(Changed::Conflict(0)),
            Outcome::Changed(Changed::NotFound),
            Outcome::Changed(Changed::Full),
            Outcome::Planned(17),
            Outcome::Removed,
        ] {
            assert_eq!(Outcome::decode(&outcome.encode()).unwrap(), outcome);
        }
    }

    #[test]
    fn a_join_of_the_version_before_is_that_of_a_core_node() {
        let join = pb::NodeJoin {
            raft_id: 1,
            incarnation: 2,
            name: "n1".into(),
            version: "0.1.0".into(),
            ..pb::NodeJoin::default()
        };
        let entry = pb::Command {
            version: OLDEST,
            shard: 0,
            body: Some(pb::command::Body::Join(join)),
        };
        let decoded = Command::decode(&entry.encode_to_vec()).unwrap();
        assert!(matches!(decoded, Command::Join { edge: false, .. }), "{decoded:?}");
    }

    #[test]
    fn an_entry_of_a_newer_build_is_an_error_that_says_so() {
        let newer = pb::Command {
            version: VERSION + 1,
            shard: 0,
            body: None,
        }
        .encode_to_vec();
        assert!(
            Command::decode(&newer)
                .unwrap_err()
                .to_string()
                .contains("run the newer build")
        );
        let unknown_body = pb::Command {
            version: VERSION,
            shard: 0,
            body: None,
        }
        .encode_to_vec();
        assert!(Command::decode(&unknown_body).is_err());
    }
}
