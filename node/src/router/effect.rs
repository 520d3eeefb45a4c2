//! Everything a realm can ask for.

use super::{NodeRef, Op, PeerFrame, TopicKey};
use crate::wamp::{Message, SessionId};

/// A request of the core to its shell. Effects are carried out in order, while the shell still holds the realm.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Put the message into the outbox of a session of this node.
    Send { session: SessionId, message: Message },
    /// Put the same message into several outboxes, in this order; encoded once per serializer.
    Fanout { sessions: Vec<SessionId>, message: Message },
    /// The session broke the protocol: send this ABORT, then close its transport. `SessionGone` follows from the shell.
    Abort { session: SessionId, message: Message },
    /// The session was killed, and the core has forgotten it already: send this GOODBYE, then close its transport.
    Kill { session: SessionId, goodbye: Message },
    /// Hand the op to the committed log; order is kept.
    Propose { op: Op },
    /// Start a read barrier; one answer, [`super::Input::Barrier`], per effect.
    Barrier,
    /// This node begins (`true`) or ceases (`false`) to want events of `topic`, a topic, pattern or shard of it. A beginning is answered by
    /// [`super::Input::InterestAcked`] with `ticket` once every linked node knows.
    Interest { topic: TopicKey, wanted: bool, ticket: u64 },
    /// Send the frame to a linked node on the lane of `source`.
    Forward {
        to: NodeRef,
        source: SessionId,
        frame: PeerFrame,
    },
}
