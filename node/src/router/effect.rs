//! Everything a realm can ask for.

use super::{
    Answered, NodeRef, Op, PeerFrame, Refresh, SlowConsumer, TopicKey,
    kept::{AskHistory, Keep, TellHistory},
    policy::Noted,
};
use crate::wamp::{Message, SessionId, SubscriptionId};

/// A request of the core to its shell. Effects are carried out in order, while the shell still holds the realm.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Put the message into the outbox of a session of this node.
    Send { session: SessionId, message: Message },
    /// Put the same message into several outboxes, in this order; encoded once per serializer.
    Fanout { sessions: Vec<SessionId>, message: Message },
    /// As [`Self::Fanout`], for an event whose topic has a policy of its own for subscribers that do not keep up.
    FanoutAs {
        slow: SlowConsumer,
        sessions: Vec<SessionId>,
        message: Message,
    },
    /// The session broke the protocol: send this ABORT, then close its transport. `SessionGone` follows from the shell.
    Abort { session: SessionId, message: Message },
    /// The session was killed, and the core has forgotten it already: send this GOODBYE, then close its transport.
    Kill { session: SessionId, goodbye: Message },
    /// The session was taken off a subscription: what a fan-out under way still has for it is not for it any more.
    SubscriptionEnded {
        session: SessionId,
        subscription: SubscriptionId,
    },
    /// Hand the op to the committed log; order is kept.
    Propose { op: Op },
    /// Tell the store to keep something, or to forget it.
    Keep(Box<Keep>),
    /// Look up a history; answered by one [`super::Input::HistoryAnswer`].
    AskHistory(Box<AskHistory>),
    /// Look up a history for another node; answered by one [`super::Input::HistoryPage`], or none if the store does not answer.
    TellHistory(Box<TellHistory>),
    /// What a question of the shell came to.
    Answered(Box<Answered>),
    /// Judge a newer token; answered by one [`super::Input::Refreshed`].
    Refresh(Box<Refresh>),
    /// Start a read barrier; one answer, [`super::Input::Barrier`], per effect.
    Barrier,
    /// This node begins (`true`) or ceases (`false`) to want events of `topic`, a topic, pattern or shard of it. A beginning is answered by
    /// [`super::Input::InterestAcked`] with `ticket` once every linked node knows.
    Interest { topic: TopicKey, wanted: bool, ticket: u64 },
    /// Do not read from a session of this node for a moment (`hold`), or read from it again: it floods an outbox elsewhere.
    Flood { session: SessionId, hold: bool },
    /// Note for the record that a right was missing, or that something ended for want of one.
    Note(Box<Noted>),
    /// Send the frame to a linked node on the lane of `source`.
    Forward {
        to: NodeRef,
        source: SessionId,
        frame: PeerFrame,
    },
}
