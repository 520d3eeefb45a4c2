//! The cluster as sessions see it. Implemented in `cluster/`, wired in `node.rs`.

use std::sync::Arc;

use crate::{
    router::{NodeRef, Op, PeerFrame, TopicKey, frame::PlainFrame},
    wamp::{SessionId, Uri, codec::plain::Elements},
};

/// A queue that may fill faster than it drains: an outbox, or a lane to another node.
pub trait Drain: Send + Sync {
    /// How many bytes it ever passed on, while it is above its threshold and not given up as a laggard.
    fn congestion(&self) -> Option<u64>;
    /// Nobody waits for it any more until it has drained below that.
    fn set_laggard(&self);
}

/// A frame of another node.
pub enum Arrived<'a> {
    /// One without details, and its payload.
    Plain(PlainFrame, Elements<'a>),
    /// Any other.
    Frame(PeerFrame),
}

/// Frames of another node for one realm, in their order.
pub trait Incoming {
    /// The next one.
    fn next(&mut self) -> Option<Arrived<'_>>;
}

/// What a realm's shell needs from the cluster. Every method is called while the realm is locked: it only enqueues, never blocks,
/// and keeps the order of calls. Answers come back later as inputs of [`super::realm::RealmHandle`], from another task.
pub trait Cluster: Send + Sync + 'static {
    /// Queues an op of `realm` for the committed log. It comes back as `Input::Applied` on every node.
    fn propose(&self, realm: &Uri, op: Op);
    /// Queues a frame for a linked node, on the lane of `source`. Dropped and counted where no link is up.
    fn forward(&self, realm: &Uri, to: NodeRef, source: SessionId, frame: PeerFrame);
    /// The same for a frame that says nothing but what every one of its kind does. False where it is dropped; a result is never told so.
    fn forward_plain(&self, realm: &Uri, to: NodeRef, source: SessionId, frame: PlainFrame, payload: Elements<'_>) -> bool {
        self.forward(realm, to, source, frame.with(payload.to_payload()));
        true
    }
    /// Queues a change of this node's interest. A beginning is answered by `Input::InterestAcked { ticket }`.
    fn interest(&self, realm: &Uri, topic: &TopicKey, wanted: bool, ticket: u64);
    /// Asks for a read barrier that starts after this call. Answered by exactly one `Input::Barrier` to `realm`.
    fn barrier(&self, realm: &Uri);
    /// Wakes what the calls since the last `flush` have filled; called after the realm was released.
    fn flush(&self);
    /// What this node's sessions have filled faster than it drains; asked after a batch that forwarded frames.
    fn congested(&self) -> Vec<Arc<dyn Drain>> {
        Vec::new()
    }
    /// An id for a new session of this node; `None` while the node has no epoch (not joined, or fenced).
    fn new_session_id(&self) -> Option<SessionId>;
    /// Takes back an id that no session got. Those of an earlier life of the node are forgotten.
    fn return_session_id(&self, _session: SessionId) {}
    /// True if the id is of this life of the node.
    fn is_own(&self, _session: SessionId) -> bool {
        true
    }
    /// The key that all nodes of the cluster share and nobody else knows; `None` while the node has no epoch.
    fn secret(&self) -> Option<[u8; 16]> {
        None
    }
}
