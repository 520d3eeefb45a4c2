//! What a node asks the committed log to change in one realm, and what comes of it.

use super::NodeRef;
use crate::wamp::{Payload, RegistrationId, RequestId, SessionId, Uri};

/// How the URI of a registration or subscription is compared. Spec: advanced profile, "Pattern-based Registrations/Subscriptions".
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MatchPolicy {
    /// Equality.
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

/// The node life and log position an [`Op`] comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The node whose session asked for it.
    pub node: NodeRef,
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
    /// REGISTER. Refused if an exact `single` registration of the procedure exists.
    Register {
        session: SessionId,
        request: RequestId,
        procedure: Uri,
        policy: MatchPolicy,
    },
    /// UNREGISTER of a registration the session holds. `request` is `None` where nobody waits for the outcome.
    Unregister {
        session: SessionId,
        request: Option<RequestId>,
        registration: RegistrationId,
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

/// What applying an [`Op`] did.
#[derive(Clone, Debug, PartialEq)]
pub enum OpOutcome {
    /// The change was made.
    Done,
    /// The procedure is now registered under this id.
    Registered(RegistrationId),
    /// The procedure has a registration that does not share.
    AlreadyExists,
    /// Nothing of that name is there.
    NotFound,
    /// The op comes from a node life that is over; nothing was changed.
    Fenced,
}
