//! The handling of one input: its time and the effects it has had so far.

use std::time::Instant;

use super::{Effect, NodeRef, Op, PeerFrame};
use crate::wamp::{Dict, Message, Payload, RequestId, SessionId, Uri};

/// One input being handled.
pub(super) struct Turn<'a> {
    /// When the input happened.
    pub(super) now: Instant,
    /// Its consequences, in delivery order.
    pub(super) effects: &'a mut Vec<Effect>,
}

impl Turn<'_> {
    pub(super) fn send(&mut self, session: SessionId, message: Message) {
        self.effects.push(Effect::Send { session, message });
    }

    /// Answers a request with an ERROR without payload.
    pub(super) fn error(&mut self, session: SessionId, request_type: u64, request: RequestId, error: &str, details: Dict) {
        let error = Uri::from(error);
        self.send(
            session,
            Message::Error {
                request_type,
                request,
                details,
                error,
                payload: Payload::EMPTY,
            },
        );
    }

    pub(super) fn propose(&mut self, op: Op) {
        self.effects.push(Effect::Propose { op });
    }

    pub(super) fn forward(&mut self, to: NodeRef, source: SessionId, frame: PeerFrame) {
        self.effects.push(Effect::Forward { to, source, frame });
    }
}

/// ERROR or ABORT details that say in words what was wrong.
pub(super) fn because(message: &str) -> Dict {
    Dict::new().with("message", message)
}

/// ERROR details that name a machine-readable cause.
pub(super) fn reason(reason: &str) -> Dict {
    Dict::new().with("_reason", reason)
}
