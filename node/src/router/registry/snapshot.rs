//! The registry as bytes: deterministic, versioned, checked when read.
//!
//! Layout, integers little-endian, text as `u32` length and UTF-8: version byte; `u64` ids given; `u32` count of (slot `u16`, epoch
//! `u32`) fenced; `u32` count of registrations (id `u64`, policy `u8`, invoke `u8`, wishes `u8`, index `u64`, created `u64`, procedure, `u32`
//! count of (slot, epoch, session `u64`, since `u64`)); `u32` count of sessions (id `u64`, slot, epoch, authid, authrole, authmethod,
//! authprovider, hushed `u8`); `u32` count of sessions with testaments (id `u64`, number of the newest change `u64`, `u32` count of
//! (number `u64`, scope `u8`, topic, options, payload)); `u64` numbers given to definitions; `u32` count of definitions (kind `u8`, policy
//! `u8`, number `u64`, URI, text); `u32` count of (slot, epoch, number of its newest change of definitions `u64`); `u64` revision of roles
//! and principals; `u32` count of roles (name, revision `u64`, `u32` count of permissions (uri, policy `u8`, allow `u8`, deny `u8`,
//! disclose `u8`: 0 for none)); `u32` count of principals (authid, revision `u64`, role, `u32` count of credentials as text). A payload is
//! serializer `u8`, elements `u8` and its bytes, as text. Maps stand in key order.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{COUNTER_MAX, Callee, Registration, Registry, SessionRow, Testaments};
use crate::{
    auth::{Credential, Principal},
    router::{
        Authority, Disclosure, InvokePolicy, LogIndex, MatchPolicy, NodeRef, Permission, RegisterWishes, Rights, Slot, Testament,
        TestamentScope,
        policy::authority,
        reflection::{Definition, Kind, Row},
    },
    wamp::{Payload, RegistrationId, Serializer, SessionId, Uri},
};

/// The first byte of every snapshot this build writes.
const VERSION: u8 = 3;

impl Registry {
    /// Appends the registry; equal registries give equal bytes.
    pub fn write_snapshot(&self, out: &mut Vec<u8>) {
        out.push(VERSION);
        out.extend_from_slice(&self.ids_given.to_le_bytes());
        write_len(out, self.fenced.len());
        for (slot, epoch) in &self.fenced {
            write_node(
                out,
                NodeRef {
                    slot: *slot,
                    epoch: *epoch,
                },
            );
        }
        write_len(out, self.registrations.len());
        for r in self.registrations() {
            out.extend_from_slice(&r.id.get().to_le_bytes());
            out.push(r.policy.code());
            out.push(r.invoke.code());
            out.push(r.wishes.code());
            out.extend_from_slice(&r.index.to_le_bytes());
            out.extend_from_slice(&r.created_ms.to_le_bytes());
            write_text(out, &r.procedure);
            write_len(out, r.callees.len());
            for callee in &r.callees {
                write_node(out, callee.node);
                out.extend_from_slice(&callee.session.get().to_le_bytes());
                let since = self.held_since(*callee, r.id).unwrap_or(r.index);
                out.extend_from_slice(&since.to_le_bytes());
            }
        }
        write_len(out, self.sessions.len());
        for (id, row) in &self.sessions {
            out.extend_from_slice(&id.get().to_le_bytes());
            write_node(out, row.node);
            write_text(out, &row.authid);
            write_text(out, &row.authrole);
            write_text(out, &row.authmethod);
            write_text(out, &row.authprovider);
            out.push(u8::from(row.hushed));
        }
        write_len(out, self.testaments.len());
        for (id, testaments) in &self.testaments {
            out.extend_from_slice(&id.get().to_le_bytes());
            out.extend_from_slice(&testaments.number.to_le_bytes());
            write_len(out, testaments.list.len());
            for testament in &testaments.list {
                out.extend_from_slice(&testament.number.to_le_bytes());
                out.push(testament.scope.code());
                write_text(out, &testament.topic);
                write_payload(out, &testament.options);
                write_payload(out, &testament.payload);
            }
        }
        let (given, settled) = self.definitions.counters();
        out.extend_from_slice(&given.to_le_bytes());
        write_len(out, self.definitions.iter().len());
        for row in self.definitions.iter() {
            out.push(row.definition.kind.code());
            out.push(row.definition.policy.code());
            out.extend_from_slice(&row.number.to_le_bytes());
            write_text(out, &row.definition.uri);
            write_text(out, &row.definition.text);
        }
        write_len(out, settled.len());
        for (node, number) in settled {
            write_node(out, node);
            out.extend_from_slice(&number.to_le_bytes());
        }
        write_authority(out, &self.authority);
    }

    /// Reads what [`Self::write_snapshot`] wrote.
    ///
    /// # Errors
    /// The bytes are not a snapshot of a version this build knows.
    pub fn read_snapshot(bytes: &[u8]) -> Result<Self, String> {
        let mut input = Reader { rest: bytes };
        match input.u8()? {
            VERSION => {}
            other => return Err(format!("unknown registry snapshot version {other}")),
        }
        let mut registry = Registry {
            ids_given: input.u64()?,
            ..Registry::default()
        };
        if registry.ids_given > COUNTER_MAX {
            return Err("more registration ids given than there are".into());
        }
        for _ in 0..input.u32()? {
            let node = input.node()?;
            registry.fenced.insert(node.slot, node.epoch);
        }
        for _ in 0..input.u32()? {
            let (registration, since) = input.registration()?;
            let taken = registry.registrations.contains_key(&registration.id)
                || registry.id_of(registration.policy, &registration.procedure).is_some();
            if taken {
                return Err(format!("registration {} stands twice", registration.id));
            }
            let id = registration.id;
            registry.insert(registration);
            for (callee, index) in since {
                registry.by_callee.entry(callee).or_default().insert(id, index);
            }
        }
        for _ in 0..input.u32()? {
            let id = input.session()?;
            let row = SessionRow {
                node: input.node()?,
                authid: input.text()?.to_owned(),
                authrole: input.text()?.to_owned(),
                authmethod: input.text()?.to_owned(),
                authprovider: input.text()?.to_owned(),
                hushed: input.flag()?,
            };
            registry.insert_session(id, row);
        }
        for _ in 0..input.u32()? {
            let (id, number) = (input.session()?, input.u64()?);
            let list = (0..input.u32()?).map(|_| input.testament()).collect::<Result<_, _>>()?;
            registry.testaments.insert(id, Testaments { number, list });
        }
        let given = input.u64()?;
        for _ in 0..input.u32()? {
            if !registry.definitions.restore(input.definition()?) {
                return Err("a definition stands twice".into());
            }
        }
        let mut settled = BTreeMap::new();
        for _ in 0..input.u32()? {
            settled.insert(input.node()?, input.u64()?);
        }
        registry.definitions.set_counters(given, settled);
        registry.authority = input.authority()?;
        if !input.rest.is_empty() {
            return Err("bytes after the end of the registry snapshot".into());
        }
        registry.check()?;
        Ok(registry)
    }
}

fn write_authority(out: &mut Vec<u8>, authority: &Authority) {
    out.extend_from_slice(&authority.revision.to_le_bytes());
    write_len(out, authority.roles.len());
    for (name, row) in &authority.roles {
        write_text(out, name);
        out.extend_from_slice(&row.revision.to_le_bytes());
        write_len(out, row.value.len());
        for permission in &row.value {
            write_text(out, &permission.uri);
            out.push(permission.policy.code());
            out.push(permission.allow.code());
            out.push(permission.deny.code());
            out.push(permission.disclose.map_or(0, Disclosure::code));
        }
    }
    write_len(out, authority.principals.len());
    for (authid, row) in &authority.principals {
        write_text(out, authid);
        out.extend_from_slice(&row.revision.to_le_bytes());
        write_text(out, &row.value.role);
        write_len(out, row.value.credentials.len());
        for credential in &row.value.credentials {
            write_text(out, &credential.to_text());
        }
    }
}

fn write_len(out: &mut Vec<u8>, len: usize) {
    // A count beyond u32 would need more memory than the rows it counts could ever have had.
    out.extend_from_slice(&u32::try_from(len).expect("counts and texts stay below 2^32").to_le_bytes());
}

fn write_text(out: &mut Vec<u8>, text: &str) {
    write_len(out, text.len());
    out.extend_from_slice(text.as_bytes());
}

fn write_payload(out: &mut Vec<u8>, payload: &Payload) {
    out.extend_from_slice(&[payload.serializer().rawsocket_id(), payload.elements()]);
    write_len(out, payload.bytes().len());
    out.extend_from_slice(payload.bytes());
}

fn write_node(out: &mut Vec<u8>, node: NodeRef) {
    out.extend_from_slice(&node.slot.0.to_le_bytes());
    out.extend_from_slice(&node.epoch.to_le_bytes());
}

/// Takes values off the front of untrusted bytes.
struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], String> {
        let (head, rest) = self.rest.split_at_checked(len).ok_or("registry snapshot ends early")?;
        self.rest = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let (head, rest) = self.rest.split_first_chunk().ok_or("registry snapshot ends early")?;
        self.rest = rest;
        Ok(*head)
    }

    fn u8(&mut self) -> Result<u8, String> {
        Ok(u8::from_le_bytes(self.array()?))
    }

    fn flag(&mut self) -> Result<bool, String> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err("registry snapshot holds a flag that is neither 0 nor 1".into()),
        }
    }

    fn u32(&mut self) -> Result<u32, String> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64, String> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    fn text(&mut self) -> Result<&'a str, String> {
        let len = self.u32()? as usize;
        std::str::from_utf8(self.take(len)?).map_err(|_| "registry snapshot holds text that is not UTF-8".into())
    }

    fn authority(&mut self) -> Result<Authority, String> {
        let mut authority = Authority {
            revision: self.u64()?,
            ..Authority::default()
        };
        for _ in 0..self.u32()? {
            let (name, revision) = (self.text()?.to_owned(), self.u64()?);
            let value = (0..self.u32()?).map(|_| self.permission()).collect::<Result<_, _>>()?;
            authority.roles.insert(name, authority::Row { revision, value });
        }
        for _ in 0..self.u32()? {
            let (authid, revision) = (self.text()?.to_owned(), self.u64()?);
            let role = self.text()?.to_owned();
            let credentials = (0..self.u32()?).map(|_| self.credential()).collect::<Result<_, _>>()?;
            let value = Principal {
                authid: authid.clone(),
                role,
                credentials,
            };
            authority.principals.insert(authid, authority::Row { revision, value });
        }
        Ok(authority)
    }

    fn permission(&mut self) -> Result<Permission, String> {
        Ok(Permission {
            uri: Uri::from(self.text()?),
            policy: MatchPolicy::from_code(self.u8()?).ok_or("unknown match policy of a permission")?,
            allow: Rights::from_code(self.u8()?).ok_or("unknown rights")?,
            deny: Rights::from_code(self.u8()?).ok_or("unknown rights")?,
            disclose: match self.u8()? {
                0 => None,
                code => Some(Disclosure::from_code(code).ok_or("unknown disclosure")?),
            },
        })
    }

    fn credential(&mut self) -> Result<Credential, String> {
        // What is wrong with it is said without it.
        self.text()?.parse().map_err(|error| format!("{error}"))
    }

    fn testament(&mut self) -> Result<Testament, String> {
        Ok(Testament {
            number: self.u64()?,
            scope: TestamentScope::from_code(self.u8()?).ok_or("unknown scope of a testament")?,
            topic: Uri::from(self.text()?),
            options: self.payload()?,
            payload: self.payload()?,
        })
    }

    fn definition(&mut self) -> Result<Row, String> {
        let kind = Kind::from_code(self.u8()?).ok_or("unknown kind of a definition")?;
        let policy = MatchPolicy::from_code(self.u8()?).ok_or("unknown match policy")?;
        let number = self.u64()?;
        let uri = Uri::from(self.text()?);
        Ok(Row {
            definition: Definition::from_parts(kind, policy, uri, self.text()?.into()),
            number,
        })
    }

    /// A payload is trusted to be well-formed: the codec of the node that put it into the log has proven it.
    fn payload(&mut self) -> Result<Payload, String> {
        let serializer = Serializer::from_rawsocket_id(self.u8()?).ok_or("unknown serializer of a payload")?;
        let elements = self.u8()?;
        let len = self.u32()? as usize;
        let bytes = self.take(len)?;
        if elements > 2 || (elements == 0) != bytes.is_empty() {
            return Err("registry snapshot holds a payload that is none".into());
        }
        Ok(Payload::from_proven(serializer, elements, Bytes::copy_from_slice(bytes)))
    }

    fn node(&mut self) -> Result<NodeRef, String> {
        Ok(NodeRef {
            slot: Slot(u16::from_le_bytes(self.array()?)),
            epoch: self.u32()?,
        })
    }

    fn session(&mut self) -> Result<SessionId, String> {
        SessionId::new(self.u64()?).ok_or_else(|| "session id out of range".into())
    }

    /// A registration, and since when each callee has it.
    fn registration(&mut self) -> Result<(Registration, Vec<(Callee, LogIndex)>), String> {
        let id = RegistrationId::new(self.u64()?).ok_or("registration id out of range")?;
        let policy = MatchPolicy::from_code(self.u8()?).ok_or("unknown match policy")?;
        let invoke = InvokePolicy::from_code(self.u8()?).ok_or("unknown invocation policy")?;
        let wishes = RegisterWishes::from_code(self.u8()?).ok_or("unknown wishes of a registration")?;
        let index = self.u64()?;
        let created_ms = self.u64()?;
        let procedure = Uri::from(self.text()?);
        let mut since = Vec::new();
        for _ in 0..self.u32()? {
            let callee = Callee {
                node: self.node()?,
                session: self.session()?,
            };
            since.push((callee, self.u64()?));
        }
        let registration = Registration {
            id,
            procedure,
            policy,
            invoke,
            wishes,
            index,
            callees: since.iter().map(|(callee, _)| *callee).collect(),
            created_ms,
        };
        Ok((registration, since))
    }
}
