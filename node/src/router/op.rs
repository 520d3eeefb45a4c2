//! What a node asks the committed log to change in one realm, and what comes of it.

use std::num::NonZeroU32;

use super::{
    NodeRef,
    reflection::{Change, Definition, Kind, Room},
    registry::Callee,
};
use crate::wamp::{Payload, RegistrationId, RequestId, SessionId, Uri};

/// How the URI of a registration or subscription is compared. Spec: advanced profile, "Pattern-based Registrations/Subscriptions".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MatchPolicy {
    /// Equality.
    #[default]
    Exact,
    /// Leading characters.
    Prefix,
    /// Component by component, an empty one matches any one.
    Wildcard,
}

impl MatchPolicy {
    /// Its number in id hashes and snapshots; never changes.
    pub const fn code(self) -> u8 {
        match self {
            Self::Exact => 0,
            Self::Prefix => 1,
            Self::Wildcard => 2,
        }
    }

    /// Its name in options and details.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Prefix => "prefix",
            Self::Wildcard => "wildcard",
        }
    }

    /// The policy of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Exact, Self::Prefix, Self::Wildcard]
            .into_iter()
            .find(|policy| policy.name() == name)
    }

    /// The policy with that number.
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Exact),
            1 => Some(Self::Prefix),
            2 => Some(Self::Wildcard),
            _ => None,
        }
    }
}

/// Which callee of a registration a call goes to. Spec: advanced profile, "Shared Registration".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum InvokePolicy {
    /// There is one.
    #[default]
    Single,
    /// One after the other, in the order of registration. Choice: each node counts for its own callers.
    RoundRobin,
    /// Any.
    Random,
    /// The one that registered first.
    First,
    /// The one that registered last.
    Last,
}

impl InvokePolicy {
    const ALL: [Self; 5] = [Self::Single, Self::RoundRobin, Self::Random, Self::First, Self::Last];

    /// Its name in REGISTER.Options.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Single => "single",
            Self::RoundRobin => "roundrobin",
            Self::Random => "random",
            Self::First => "first",
            Self::Last => "last",
        }
    }

    /// The policy of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|policy| policy.name() == name)
    }

    /// Its number in the log and in snapshots; never changes.
    pub const fn code(self) -> u8 {
        match self {
            Self::Single => 0,
            Self::RoundRobin => 1,
            Self::Random => 2,
            Self::First => 3,
            Self::Last => 4,
        }
    }

    /// The policy with that number.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|policy| policy.code() == code)
    }
}

/// What a REGISTER does to a registration that does not share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnConflict {
    /// It is refused.
    #[default]
    Refuse,
    /// It takes the place of a `single` registration of the same authid and authrole: a device that came back meets its own old
    /// session, whose end nobody has noticed yet.
    SamePrincipalReplaces,
    /// It takes the place of whatever is registered: REGISTER.Options.force_reregister, of Crossbar.
    Replace,
}

impl OnConflict {
    /// Its number in the log; never changes.
    pub const fn code(self) -> u8 {
        match self {
            Self::Refuse => 0,
            Self::SamePrincipalReplaces => 1,
            Self::Replace => 2,
        }
    }

    /// The one with that number.
    pub fn from_code(code: u8) -> Option<Self> {
        [Self::Refuse, Self::SamePrincipalReplaces, Self::Replace]
            .into_iter()
            .find(|conflict| conflict.code() == code)
    }
}

/// The node life and log position an [`Op`] comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The node whose session asked for it.
    pub node: NodeRef,
}

/// What a REGISTER asks for beside the procedure. Those of the first callee hold for a registration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RegisterWishes {
    /// Callees want to know who calls.
    pub disclose_caller: bool,
    /// Callees keep the time of a call themselves, and announced that they can.
    pub forward_timeout: bool,
}

impl RegisterWishes {
    /// None.
    pub const NONE: Self = Self {
        disclose_caller: false,
        forward_timeout: false,
    };

    /// Their number in snapshots; never changes.
    pub const fn code(self) -> u8 {
        self.disclose_caller as u8 | (self.forward_timeout as u8) << 1
    }

    /// The wishes with that number.
    pub const fn from_code(code: u8) -> Option<Self> {
        if code > 3 {
            return None;
        }
        Some(Self {
            disclose_caller: code & 1 != 0,
            forward_timeout: code & 2 != 0,
        })
    }
}

/// One replicated change of a realm. Applied in log order on every node; a pure function of registry and op.
///
/// Every op belongs to the node life that proposed it. Ops of one node are applied in the order in which it proposed them.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// A session joined (session index).
    SessionJoined {
        session: SessionId,
        authid: String,
        authrole: String,
        authmethod: String,
        authprovider: String,
    },
    /// A session is gone: its row and all its registrations go.
    SessionGone { session: SessionId },
    /// REGISTER. Adds a callee to a registration that shares by the same policy; else `conflict` decides.
    Register {
        session: SessionId,
        request: RequestId,
        procedure: Uri,
        policy: MatchPolicy,
        wishes: RegisterWishes,
        invoke: InvokePolicy,
        conflict: OnConflict,
    },
    /// UNREGISTER of a registration the session holds. `request` is `None` where nobody waits for the outcome.
    Unregister {
        session: SessionId,
        request: Option<RequestId>,
        registration: RegistrationId,
    },
    /// Takes a registration from a session of the node that proposes it, which is about to send that session away. Where nobody else has
    /// it, calls of it wait for somebody to register it again, at most so long.
    Dismiss {
        session: SessionId,
        registration: RegistrationId,
        hold_ms: NonZeroU32,
    },
    /// What is published when the session ends.
    AddTestament { session: SessionId, testament: Box<Testament> },
    /// Takes the session's testaments of a scope back.
    FlushTestaments {
        session: SessionId,
        number: u64,
        scope: TestamentScope,
    },
    /// The end of the session will be told to nobody: no meta event, no testament.
    ///
    /// Spec: WAMP advanced profile, "Session Meta API": closing all sessions generates neither.
    Hush { session: SessionId },
    /// The router takes a registration away from one of its callees, or from all of them, whatever node they are on.
    Revoke {
        registration: RegistrationId,
        callee: Option<SessionId>,
        /// For the callees: UNREGISTERED.Details.reason.
        reason: String,
    },
    /// Says what a topic, procedure or error is like. `number` counts the changes of definitions that the node asks for.
    Define {
        number: u64,
        definition: Box<Definition>,
        room: Room,
    },
    /// Takes that back; `kind`: only for one of the three.
    Undefine {
        number: u64,
        kind: Option<Kind>,
        policy: MatchPolicy,
        uri: Uri,
    },
}

/// What a session wants published when it ends. Spec: WAMP advanced profile, "Testament".
#[derive(Clone, Debug, PartialEq)]
pub struct Testament {
    /// Counts the changes of testaments of the session's node: it orders those of one session and names each.
    pub number: u64,
    /// Which end it is for.
    pub scope: TestamentScope,
    /// Where it is published.
    pub topic: Uri,
    /// The options of its PUBLISH, as keyword values.
    pub options: Payload,
    /// What is published.
    pub payload: Payload,
}

/// Which end of a session a testament is for, in the order in which they come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TestamentScope {
    /// Its transport is gone.
    Detached,
    /// It can never come back.
    Destroyed,
}

impl TestamentScope {
    /// Its number in snapshots and the log; never changes.
    pub const fn code(self) -> u8 {
        match self {
            Self::Detached => 0,
            Self::Destroyed => 1,
        }
    }

    /// The scope with that number.
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Detached),
            1 => Some(Self::Destroyed),
            _ => None,
        }
    }

    /// The scope of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "detached" => Some(Self::Detached),
            "destroyed" => Some(Self::Destroyed),
            _ => None,
        }
    }
}

/// Callees that have lost a registration other than by their own UNREGISTER or end, in the order of registration.
#[derive(Clone, Debug, PartialEq)]
pub struct Lost {
    /// What they have lost.
    pub registration: RegistrationId,
    /// Who.
    pub callees: Vec<Callee>,
}

/// What applying an [`Op`] did.
#[derive(Clone, Debug, PartialEq)]
pub enum OpOutcome {
    /// The change was made.
    Done,
    /// The procedure is now registered under this id.
    Registered(RegistrationId),
    /// The procedure is now registered under this id, and those who held it under another one have lost it.
    Replaced { registration: RegistrationId, lost: Lost },
    /// The procedure has a registration that does not share, or shares by this other policy.
    AlreadyExists(InvokePolicy),
    /// These callees have lost their registration.
    Revoked(Lost),
    /// The definition stands, and what stood there before.
    Defined(Change),
    /// There are as many definitions as there may be.
    NoRoom,
    /// Nothing of that name is there.
    NotFound,
    /// The op comes from a node life that is over; nothing was changed.
    Fenced,
}
