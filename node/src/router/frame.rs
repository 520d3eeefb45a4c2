//! What two nodes say to each other about calls and events of one realm.
//!
//! Spec: none (WAMP leaves router-to-router open). Every frame travels on the lane of its source session, so WAMP's pairwise
//! orders hold. A frame names its link's two node lives implicitly: a link belongs to exactly one pair of [`super::NodeRef`]s and
//! ends with either, so a frame never crosses an epoch.

use super::{Audience, LogIndex, kept::KeepMark};
use crate::wamp::{Dict, Payload, PublicationId, RegistrationId, SessionId, SubscriptionId, Uri};

/// A call's number at the node of its caller; unique in that node's life and realm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(pub u64);

/// What becomes of an invocation whose callee is told to give up.
///
/// Spec: WAMP advanced profile, "Call Canceling".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InterruptMode {
    /// The callee's answer is waited for and is that of the call.
    Kill,
    /// Whatever the callee answers is dropped.
    KillNoWait,
}

impl InterruptMode {
    /// Its name in CANCEL and INTERRUPT.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::KillNoWait => "killnowait",
        }
    }
}

/// Whose messages fill an outbox on another node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FloodSource {
    /// The publisher of an event.
    Publisher(SessionId),
    /// The caller of a call that is open.
    Call(CallId),
    /// The callee of such a call, which answers in parts; the number is that of its caller's node.
    Answer(CallId),
}

/// Why a callee, or its node, does not take a call. The later ones say more: where all callees refuse, the caller hears the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Refusal {
    /// The callee is not, or no longer, there, or too much waits for its node's log. Nothing was delivered.
    Stale,
    /// Its node may not start invocations for now. Nothing was delivered.
    NoLease,
    /// It has as many open invocations as it asked for. Nothing was delivered.
    Busy,
    /// It answered `wamp.error.unavailable`.
    Unavailable,
}

impl Refusal {
    /// Its number on the wire; never changes.
    pub const fn code(self) -> u8 {
        match self {
            Self::Stale => 0,
            Self::NoLease => 1,
            Self::Busy => 2,
            Self::Unavailable => 3,
        }
    }

    /// The one with that number. What a newer node says and this one does not know counts as stale: nothing was begun.
    pub const fn from_code(code: u8) -> Self {
        match code {
            1 => Self::NoLease,
            2 => Self::Busy,
            3 => Self::Unavailable,
            _ => Self::Stale,
        }
    }
}

/// A [`PeerFrame::Invoke`] or [`PeerFrame::Result`] without details, but for its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlainFrame {
    /// See [`PeerFrame::Invoke`].
    Invoke {
        call: CallId,
        registration: RegistrationId,
        callee: SessionId,
        index: LogIndex,
    },
    /// See [`PeerFrame::Result`].
    Result { call: CallId },
}

impl PlainFrame {
    /// The same frame, whole.
    pub fn with(self, payload: Payload) -> PeerFrame {
        let details = Dict::new();
        match self {
            Self::Invoke {
                call,
                registration,
                callee,
                index,
            } => PeerFrame::Invoke {
                call,
                registration,
                callee,
                index,
                details,
                payload,
            },
            Self::Result { call } => PeerFrame::Result { call, details, payload },
        }
    }
}

/// A message between the cores of one realm on two nodes.
#[derive(Clone, Debug, PartialEq)]
pub enum PeerFrame {
    /// Caller's node to callee's node: start an invocation of `callee`'s `registration`.
    ///
    /// `index` is the log index at which the registration came to be: an owner whose log is behind parks the frame.
    Invoke {
        call: CallId,
        registration: RegistrationId,
        callee: SessionId,
        index: LogIndex,
        details: Dict,
        payload: Payload,
    },
    /// Caller's node to callee's node: the next part of the arguments of an invocation that comes in parts. Its place among the frames
    /// to that callee is kept as that of an `Invoke` is.
    Chunk {
        call: CallId,
        registration: RegistrationId,
        callee: SessionId,
        details: Dict,
        payload: Payload,
    },
    /// Callee's node to caller's node: a part of the result; more follows.
    Progress { call: CallId, details: Dict, payload: Payload },
    /// Callee's node to caller's node: the final result.
    Result { call: CallId, details: Dict, payload: Payload },
    /// Callee's node to caller's node: the final error.
    Error {
        call: CallId,
        details: Dict,
        error: Uri,
        payload: Payload,
    },
    /// Callee's node to caller's node: `callee` does not take the call, and whatever it did with it, it did not begin. The caller's
    /// node may ask another one, or look up again, once.
    ///
    /// `payload` is that of the call where the callee was not sent it: a caller's node that has not kept it sends it on.
    Nack {
        call: CallId,
        callee: SessionId,
        why: Refusal,
        payload: Payload,
    },
    /// Caller's node to callee's node: whatever the callee answers is dropped, and it is not told.
    Forget { call: CallId },
    /// Receiver's node to source's node: what this session sends fills an outbox here faster than its peer reads. It is not to be
    /// read for a moment (`hold`), or may be read again.
    Flood { source: FloodSource, hold: bool },
    /// Caller's node to callee's node: the callee is to give up. `reason` is an error URI for it.
    Interrupt { call: CallId, mode: InterruptMode, reason: Uri },
    /// Publisher's node to a node with interest: one copy, whatever the number of subscribers there.
    Event {
        publication: PublicationId,
        topic: Uri,
        publisher: SessionId,
        exclude_me: bool,
        /// Its publisher waits until it is received: answered by [`PeerFrame::Delivered`].
        acknowledged: bool,
        /// Who gets it; `None`: every subscriber.
        audience: Option<Box<Audience>>,
        /// That the node is to keep it, and as of when.
        keep: Option<Box<KeepMark>>,
        details: Dict,
        payload: Payload,
    },
    /// Subscriber's node to publisher's node: all subscribers here that answer events have this one.
    Delivered { publication: PublicationId },
    /// Any node to a subscriber's node: end this subscription of the session; `reason` is what it is told.
    RevokeSubscription {
        session: SessionId,
        subscription: SubscriptionId,
        reason: Uri,
    },
    /// What a node retains, told part by part; see `kept/share.rs`.
    Kept { what: Dict },
    /// A node asks another for a part of the answer to a meta procedure. `ask` is unique in the asking node's life and realm.
    MetaAsk { ask: u64, question: Dict },
    /// The answer, true once the asking node has applied the log up to `index`.
    MetaAnswer { ask: u64, index: LogIndex, answer: Dict },
}
