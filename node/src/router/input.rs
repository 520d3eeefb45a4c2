//! Everything that can happen to a realm.

use std::{
    net::{IpAddr, SocketAddr},
    time::Instant,
};

use super::{
    Ask, Bearer, Compat, LogIndex, NodeRef, Op, PeerFrame, Pools, Refreshed, TopicKey,
    kept::{HistoryAnswer, HistoryPage, Retained},
};
use crate::wamp::{Message, RequestId, SessionId, SubscriptionId, Uri};

/// Who a session is, fixed at WELCOME.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionInfo {
    /// The authenticated name.
    pub authid: String,
    /// The role it acts in.
    pub authrole: String,
    /// How it was authenticated (`anonymous`, `ticket`, …).
    pub authmethod: String,
    /// Who authenticated it (`static`, `dynamic`, …).
    pub authprovider: String,
    /// How far callees and subscribers are told to trust it, unless its role says otherwise; `None`: they are told nothing.
    pub trustlevel: Option<u64>,
    /// The features it announced, as `role.feature` (`caller.progressive_call_results`), sorted.
    pub features: Vec<String>,
    /// How it is met, by the listener it came in by.
    pub compat: Compat,
    /// What it may hold together with others.
    pub pools: Pools,
    /// Where its connection comes from, where that is known.
    pub whence: Option<Whence>,
}

/// Where a connection comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Whence {
    /// The address of the peer.
    pub source: IpAddr,
    /// The address of this node that it came in by.
    pub listener: Option<SocketAddr>,
}

impl SessionInfo {
    /// True if the session announced that feature, named as in [`Self::features`].
    pub fn announced(&self, feature: &str) -> bool {
        self.features.binary_search_by(|known| known.as_str().cmp(feature)).is_ok()
    }
}

/// How a read barrier ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BarrierOutcome {
    /// Everything committed anywhere before the barrier started is applied here.
    Passed,
    /// No quorum answered in time: what this node knows may be stale.
    Failed,
}

/// Something that happened. The realm appends its consequences to the effect list.
#[derive(Clone, Debug)]
pub enum Input {
    /// A session was established on this node; its WELCOME is already in its outbox.
    SessionJoined { session: SessionId, info: SessionInfo },
    /// A session that has just joined stands on a token, and ends with it.
    Bearer { session: SessionId, bearer: Box<Bearer> },
    /// The shell asks a procedure of a client; answered by one [`super::Effect::Answered`].
    Ask(Box<Ask>),
    /// What [`super::Effect::Refresh`] came to.
    Refreshed(Box<Refreshed>),
    /// An established session of this node sent a legal message (never HELLO, GOODBYE, ABORT, AUTHENTICATE).
    Message { session: SessionId, message: Message },
    /// An INVOCATION could not be written to its callee; its call ends with this error.
    InvocationUndelivered {
        session: SessionId,
        request: RequestId,
        error: Uri,
    },
    /// A part of the result of a session's call could not be written to it; the call ends with this error.
    ProgressUndelivered {
        session: SessionId,
        request: RequestId,
        error: Uri,
    },
    /// This node is about to send its sessions away: shared registrations that others have too are taken from all of its callees.
    DismissShared { hold_ms: u32 },
    /// That session is sent away next: all its registrations are taken from it. Its open invocations go on.
    Dismiss { session: SessionId, hold_ms: u32 },
    /// A session of this node is over: GOODBYE, ABORT, lost transport or killed. The one way out.
    SessionGone { session: SessionId },
    /// The committed log reached `index`, and `op`, proposed by the node life `by`, is to be applied.
    Applied { index: LogIndex, by: NodeRef, op: Op },
    /// The ops that follow were proposed at that time, milliseconds since 1970 (UTC) by the clock of the node that proposed them.
    LogTime { unix_ms: u64 },
    /// The committed log says that this node life is over (fenced or left): its rows and registrations go.
    NodeFenced { index: LogIndex, node: NodeRef },
    /// The log is applied up to `index`; frames that waited for it can go on.
    AppliedTo { index: LogIndex },
    /// The read barrier that [`super::Effect::Barrier`] asked for ended.
    Barrier { outcome: BarrierOutcome },
    /// Every linked node knows this node's interest in the topic that was announced under `ticket`.
    InterestAcked { ticket: u64 },
    /// The store's answer to [`super::Effect::AskHistory`].
    HistoryAnswer(Box<HistoryAnswer>),
    /// The store's answer to [`super::Effect::TellHistory`].
    HistoryPage(Box<HistoryPage>),
    /// What the store has retained; before any session joins.
    Retained(Vec<Retained>),
    /// A subscription of a session, on whatever node, is to end without its asking; `reason` is what the session is told.
    RevokeSubscription {
        session: SessionId,
        subscription: SubscriptionId,
        reason: Uri,
    },
    /// A session of this node has begun to lose events; the first one lost was of this subscription.
    SlowConsumer {
        session: SessionId,
        subscription: SubscriptionId,
    },
    /// A link to a node life is up: its interest follows.
    PeerUp { node: NodeRef },
    /// Frames reach that node life from now on; those since [`Self::PeerUp`] may be lost.
    PeerReady { node: NodeRef },
    /// The link to that node life ended: open calls over it finish now, its interest is forgotten.
    PeerDown { node: NodeRef },
    /// A linked node began (`true`) or ceased (`false`) to want events of these topics, patterns and shards.
    PeerInterest { node: NodeRef, changes: Vec<(TopicKey, bool)> },
    /// A linked node said something.
    Peer { from: NodeRef, frame: PeerFrame },
    /// This node may start invocations of `single` registrations until then (DESIGN §4.1).
    Lease { until: Instant },
    /// This node has been cut off, or behind with its log, for so long that the log may have taken rights away it does not know of.
    RightsStale,
    /// It knows of them again.
    RightsKnown,
    /// Time passed; [`super::Realm::next_deadline`] said when to send it.
    Tick,
}
